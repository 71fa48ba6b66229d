"""Alert history of a Prometheus-compatible server: the episodes behind its `ALERTS` series.

`ALERTS` (and `GRAFANA_ALERTS`, where Grafana writes it) knows nothing of silences, inhibition and
routes: these are alerts, not pages. Everything is read in bounded chunks; only times and counts are
remembered between calls, never a label.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar

import pyarrow as pa

from noisegate.adapters.prometheus.client import Client, PrometheusSource, TooHeavyError
from noisegate.adapters.prometheus.reader import RAW_SCHEMA, HistoryFacts, Reader
from noisegate.adapters.prometheus.server import Window, ask
from noisegate.errors import UnreachableError

__all__ = [
    "RAW_SCHEMA",
    "History",
    "HistoryFacts",
    "PrometheusSource",
    "import_history",
    "read_history",
]

Stored = TypeVar("Stored")


class History(Iterator[pa.RecordBatch]):
    """Batches of raw rows (RAW_SCHEMA) in about the order in which the alerts ended.

    Call `commit` when all batches handed out so far are safely stored: the next `read_history` with
    the same `resume` file goes on there.
    """

    def __init__(self, reader: "Reader") -> None:
        """Wrap a reader; use `read_history`."""
        self._reader = reader
        self._batches = reader.batches()

    @property
    def facts(self) -> HistoryFacts:
        """What was found so far."""
        return self._reader.facts

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def commit(self) -> None:
        """Remember that everything handed out so far is stored."""
        self._reader.commit()

    def close(self) -> None:
        """Close the connection; reading to the end does it, too."""
        self._reader.client.close()


def read_history(
    source: PrometheusSource,
    *,
    start_us: int,
    end_us: int,
    replica_labels: Sequence[str] = (),
    chunk_s: float = 3600.0,
    follow_back_s: float = 86_400.0,
    progress: Callable[[float], None] | None = None,
    resume: Path | None = None,
) -> History:
    """Read the alerts that fired in a window.

    Args:
        source: the server.
        start_us: begin of the window, microseconds since 1970.
        end_us: its end; moments to come are cut off.
        replica_labels: labels that tell HA replicas apart; their alerts are united.
        chunk_s: first size of a chunk, seconds; adapted to what the server answers.
        follow_back_s: how far before the window the start of what fires at its edge is looked for.
        progress: called with the share that is read, in [0, 1].
        resume: file that remembers how far an import came. One of the same server and selection
            that covers `start_us` is gone on with: what is stored already is not read again.

    Raises:
        UnreachableError: the server does not answer as Prometheus does.
        InputError: the URL, the selector, the window, the resume file or a setting cannot be used.
    """
    client = Client(source)
    try:
        window = Window.of(start_us, end_us, follow_back_s)
        selector = source.selector
        server = ask(client, source, selector, replica_labels, window)
        digest = source.digest(replica_labels)
        reader = Reader(client, source, selector, server, window, digest, resume)
        reader.prepare(round(chunk_s * 1000))
    except TooHeavyError as error:
        client.close()
        raise UnreachableError(
            f"Prometheus at {source.shown_url} refuses small queries, too ({error}): "
            "raise its query limits, raise timeout_s, or narrow the import with --match"
        ) from None
    except BaseException:
        client.close()
        raise
    reader.progress = progress or reader.progress
    return History(reader)


def import_history(
    history: History, store: Callable[[pa.RecordBatch], Stored], *, rows: int = 20_000
) -> list[Stored]:
    """Hand a history to a store, remembering how far it came.

    Args:
        history: from `read_history`.
        store: takes raw rows and returns once they are safe; alerts that it knows are completed.
        rows: about how many rows are stored at a time.

    Returns:
        What the store returned, in order; empty if nothing fired.
    """
    stored: list[Stored] = []
    waiting: list[pa.RecordBatch] = []
    try:
        for batch in history:
            waiting.append(batch)
            if sum(b.num_rows for b in waiting) >= rows:
                stored.append(store(_join(waiting)))
                waiting.clear()
                history.commit()
        if waiting:
            stored.append(store(_join(waiting)))
        history.commit()
    finally:
        history.close()
    return stored


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches, RAW_SCHEMA).combine_chunks().to_batches()[0]
