"""Alert histories from files: CSV, JSONL and Parquet, plain or gzipped, a batch at a time."""

import csv
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from noisegate.alert import Origin
from noisegate.errors import InputError, SettingsError
from noisegate.scrub.config import load_scrubber
from noisegate.settings import Settings
from noisegate.store.database import open_store
from noisegate.store.identity import Identity
from noisegate.store.ingest import (
    COLUMNS,
    ImportReport,
    Occurrences,
    Rejected,
    prepare,
    store_alerts,
)
from noisegate.store.mapping import ColumnMap, map_columns

BLOCK_BYTES = 1 << 20
"""Read at once, and the longest possible row: Arrow reads up to 32 blocks ahead."""

BATCH_ROWS = 32_768
_UNPACKED_LIMIT = 1 << 30

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Raw rows with their numbers (from 1, without a header), and rows that are none."""

    raw: pa.RecordBatch
    rows: np.ndarray
    rejected: tuple[Rejected, ...] = ()


@dataclass(slots=True)
class Tally:
    """What was refused and replaced so far, over all batches of one source."""

    max_bad_row_share: float
    read: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    entities: Counter[str] = field(default_factory=Counter)

    def add(self, good: int, rejected: Iterable[Rejected], entities: Mapping[str, int]) -> None:
        """Count one batch."""
        refused = Counter(f"{r.field} {r.reason}" for r in rejected)
        self.refused += refused.total()
        self.read += good + refused.total()
        self.reasons += refused
        self.entities.update(entities)

    def check(self, where: str, advice: str) -> None:
        """Refuse the source as a whole.

        Raises:
            InputError: the share of bad rows is over the limit.
        """
        if self.refused > self.max_bad_row_share * self.read:
            most = ", ".join(f"{reason}: {n}" for reason, n in self.reasons.most_common(3))
            raise InputError(
                f"{where}: {self.refused} of {self.read} rows are bad ({most}), over "
                f"NOISEGATE_MAX_BAD_ROW_SHARE = {self.max_bad_row_share:g}, so nothing landed: "
                f"{advice}"
            )


def import_file(
    settings: Settings,
    path: Path,
    columns: Mapping[str, str],
    labels: Sequence[str] = (),
    *,
    origin: Origin = Origin.IMPORT,
    source: str = "file",
    rejects: Path | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import one file. Again, it adds nothing; a later one completes what is missing.

    An alert is known again by `source`, its start and its alert_id; without an alert_id column by
    service, name, labels and how many such rows with the same start came before it in the file.

    Args:
        settings: our own store, identity, and the share of bad rows that is borne.
        path: .csv, .jsonl, .ndjson or .parquet, each also with .gz.
        columns: ours = theirs.
        labels: their columns kept as labels.
        origin: what the rows count as.
        source: name of the system that wrote the file, if there are several.
        rejects: CSV to write refused rows to (row, field, reason, detail); no text of any alert.
        progress: called with the number of rows read so far.

    Raises:
        SettingsError: the columns do not fit the file.
        InputError: the file cannot be read, or too many rows are bad: nothing landed.
    """
    scrubber = load_scrubber(settings.scrub)
    engine = open_store(settings)
    identity, occurrences = Identity.from_settings(settings), Occurrences()
    tally = Tally(settings.max_bad_row_share)
    mapped: list[ColumnMap] = []

    def plan(available: Sequence[str]) -> ColumnMap:
        mapped[:] = [map_columns(available, columns, labels, path.name)]
        return mapped[0]

    def batches(refuse: Callable[[Iterable[Rejected]], None]) -> Iterator[pa.RecordBatch]:
        for chunk in read_file(path, plan):
            done = prepare(
                chunk.raw,
                identity=identity,
                scrubber=scrubber,
                source=source,
                origin=origin,
                rows=chunk.rows,
                occurrences=occurrences,
            )
            rejected = sorted(chain(chunk.rejected, done.rejected), key=lambda r: r.row)
            refuse(rejected)
            tally.add(done.alerts.num_rows, rejected, done.entities)
            yield done.alerts
        tally.check(path.name, "see them with --rejects FILE, then mend them or raise the limit")

    try:
        with _rejects_file(rejects) as refuse:
            report = store_alerts(
                engine,
                batches(refuse),
                scrubber_version=scrubber.version,
                progress=progress,
                entities=tally.entities,
                origin=origin,
            )
    finally:
        engine.dispose()
    return replace(
        report,
        read=tally.read,
        refused=tally.refused,
        reasons=dict(tally.reasons),
        entities=dict(tally.entities),
        ignored=mapped[0].ignored if mapped else (),
    )


def read_file(path: Path, plan: Callable[[Sequence[str]], ColumnMap]) -> Iterator[Chunk]:
    """Read raw rows; `plan` is asked once, with the file's column names.

    Raises:
        SettingsError: the file's ending is unknown.
        InputError: the file cannot be read. Never quotes its text.
    """
    suffixes = [s.lower() for s in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    readers = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    if not kind or kind[0] not in readers:
        raise SettingsError(f"{path.name}: the ending must be one of {', '.join(readers)} (or .gz)")
    try:
        yield from readers[kind[0]](path, packed, plan)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "broken"
        raise InputError(f"{path} cannot be read ({reason}): give a whole {kind[0]} file") from None
    except (pa.ArrowException, csv.Error):
        # Arrow's own message may quote a row.
        raise InputError(
            f"{path} is no {kind[0]} file, or has a row over {BLOCK_BYTES >> 20} MB: look at it"
        ) from None


def _csv(path: Path, packed: bool, plan: Callable[[Sequence[str]], ColumnMap]) -> Iterator[Chunk]:
    columns = plan(_csv_header(path, packed))
    theirs = list(dict.fromkeys(columns.read.values()))
    broken: list[tuple[int, int]] = []

    def note(row: Any) -> str:
        # An unclosed quote swallows the lines after it: each counts.
        broken.append((row.number, 1 + row.text.count("\n")))
        return "skip"

    with pa.input_stream(path, compression="gzip" if packed else None) as stream:
        reader = pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            convert_options=pacsv.ConvertOptions(
                include_columns=theirs,
                column_types=dict.fromkeys(theirs, pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
        first = 1
        for batch in reader:
            skipped = [n - 1 for n, _ in broken]  # the reader counts the header as row 1
            rejected = tuple(
                Rejected(n - 1, "row", "spans lines: is a quote not closed?")
                if lines > 1
                else Rejected(n - 1, "row", "has not as many fields as the header")
                for n, lines in broken
                for _ in range(lines)
            )
            broken.clear()
            rows = np.arange(first, first + batch.num_rows + len(skipped))
            first = int(rows[-1]) + 1 if len(rows) else first
            yield Chunk(_ours(batch, columns), np.setdiff1d(rows, skipped), rejected)


def _csv_header(path: Path, packed: bool) -> list[str]:
    with _open(path, packed) as stream:
        line = stream.readline(BLOCK_BYTES).decode("utf-8-sig", errors="replace")
    return next(csv.reader([line]), [])


def _jsonl(path: Path, packed: bool, plan: Callable[[Sequence[str]], ColumnMap]) -> Iterator[Chunk]:
    columns: ColumnMap | None = None
    first = 1
    with _open(path, packed) as stream:
        while lines := stream.readlines(BLOCK_BYTES):
            objects: list[dict[str, Any]] = []
            rows, rejected = [], []
            for number, line in enumerate(lines, first):
                try:
                    value = orjson.loads(line)
                except orjson.JSONDecodeError:
                    value = None
                if isinstance(value, dict):
                    objects.append(value)
                    rows.append(number)
                elif line.strip():
                    rejected.append(Rejected(number, "row", "is not a JSON object in UTF-8"))
            first += len(lines)
            if columns is None:
                columns = plan(list(dict.fromkeys(chain.from_iterable(objects))))
                # Lines are free to leave fields out: ours may come later, too.
                columns = replace(columns, read={n: n for n in COLUMNS} | dict(columns.read))
            arrays = [
                pa.array([_json_text(o.get(theirs)) for o in objects], pa.string())
                for theirs in columns.read.values()
            ]
            raw = pa.record_batch(arrays, names=list(columns.read))
            yield Chunk(raw, np.array(rows, np.int64), tuple(rejected))


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return str(value)


def _parquet(
    path: Path, packed: bool, plan: Callable[[Sequence[str]], ColumnMap]
) -> Iterator[Chunk]:
    with pq.ParquetFile(_unpacked(path) if packed else path) as file:
        columns = plan(file.schema_arrow.names)
        theirs = list(dict.fromkeys(columns.read.values()))
        first = 1
        for batch in file.iter_batches(BATCH_ROWS, columns=theirs):
            rows = np.arange(first, first + batch.num_rows)
            first += batch.num_rows
            yield Chunk(_ours(batch, columns), rows)


def _unpacked(path: Path) -> pa.BufferReader:
    # Parquet is read from its end, and raw text may not lie on a disk of ours: so in memory.
    with gzip.open(path) as stream:
        content = stream.read(_UNPACKED_LIMIT + 1)
    if len(content) > _UNPACKED_LIMIT:
        raise InputError(f"{path.name} holds over 1 GB: unpack it first, then import the .parquet")
    return pa.BufferReader(content)


def _ours(batch: pa.RecordBatch, columns: ColumnMap) -> pa.RecordBatch:
    arrays = [batch.column(theirs) for theirs in columns.read.values()]
    return pa.record_batch(arrays, names=list(columns.read))


def _open(path: Path, packed: bool) -> IO[bytes]:
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


@contextmanager
def _rejects_file(path: Path | None) -> Iterator[Callable[[Iterable[Rejected]], None]]:
    if path is None:
        yield lambda _: None
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    with os.fdopen(handle, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)

        def write(rows: Iterable[tuple[object, ...]]) -> None:
            try:
                writer.writerows(rows)
                file.flush()  # a full disk shows here, not when the file is closed
            except OSError as error:
                with suppress(OSError):
                    file.close()
                raise _unwritable(path, error) from None

        write([("row", "field", "reason", "detail")])
        yield lambda found: write((r.row, r.field, r.reason, r.detail) for r in found)


def _unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"--rejects {path} cannot be written ({error.strerror}): choose another file"
    )
