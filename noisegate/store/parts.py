"""Snapshot parts: immutable Parquet files named by their content, and the rows dropped from them.

Alerts never change in place. A newer state of an alert is written to a new part, and the older
row's position is added to the list of rows dropped from its part.
"""

import hashlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisegate.alert import ALERT_SCHEMA
from noisegate.errors import MissingError, SettingsError
from noisegate.scrub import Entity
from noisegate.scrub.policy import PSEUDONYM

PART_ROWS = 32_768

_TOKEN = re.compile(rf"<([A-Z][A-Z0-9_]{{1,31}})(?:{PSEUDONYM})?>")
_TEXTS = ("service", "name", "severity", "message", "labels")
_NULL = "\0n"  # texts hold no NUL
_SUM_BITS = 256


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a snapshot. `dropped` names the file of dropped positions, if there are any."""

    file: str
    rows: int
    min_start: int
    max_start: int
    dropped: str | None = None
    dropped_rows: int = 0

    @property
    def live(self) -> int:
        """Rows that count."""
        return self.rows - self.dropped_rows

    def as_json(self) -> dict[str, object]:
        """For the manifest."""
        return asdict(self)


def write_part(folder: Path, batch: pa.RecordBatch) -> Part:
    """Write at most PART_ROWS alerts; a file of the same content is the same file."""
    starts = batch.column("starts_at").cast(pa.int64())
    bounds = pc.min_max(starts).as_py()

    def write(file: IO[bytes]) -> None:
        encoded = [name for name in batch.schema.names if name != "alert_id"]
        pq.write_table(
            pa.table(batch),
            file,
            row_group_size=PART_ROWS,
            compression="zstd",
            compression_level=1,
            use_dictionary=encoded,
            write_statistics=False,
        )

    name = _write_named_by_content(folder, ".parquet", write)
    return Part(name, batch.num_rows, bounds["min"], bounds["max"])


def drop_rows(folder: Path, part: Part, positions: np.ndarray) -> Part:
    """Drop more rows (positions in the file) of a part."""
    if not len(positions):
        return part
    dropped = np.union1d(_dropped(folder, part), positions).astype(np.int32)

    def write(file: IO[bytes]) -> None:
        np.save(file, dropped, allow_pickle=False)

    name = _write_named_by_content(folder, ".npy", write)
    return Part(part.file, part.rows, part.min_start, part.max_start, name, len(dropped))


def read_part(folder: Path, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the rows of a part that count.

    Raises:
        MissingError: its file is missing or damaged.
    """
    wanted = ALERT_SCHEMA.names if columns is None else list(columns)
    table = _read_parquet(folder / part.file, wanted)
    schema = pa.schema([ALERT_SCHEMA.field(name) for name in wanted])
    table = table.select(wanted).cast(schema)
    if part.dropped_rows:
        table = table.filter(pa.array(_kept(folder, part)))
    return table


def find_rows(
    folder: Path, part: Part, alert_ids: pa.Array
) -> tuple[np.ndarray, pa.RecordBatch | None]:
    """Find live alerts of a part by id: their positions in the file, and the rows.

    Raises:
        MissingError: its file is missing or damaged.
    """
    ids = _read_parquet(folder / part.file, ["alert_id"])
    found = pc.is_in(ids.column("alert_id").combine_chunks(), value_set=alert_ids)
    mask = found.to_numpy(zero_copy_only=False)
    if part.dropped_rows:
        mask &= _kept(folder, part)
    positions = np.flatnonzero(mask)
    if not len(positions):
        return positions, None
    table = _read_parquet(folder / part.file).take(pa.array(positions))
    return positions, as_batch(table.cast(ALERT_SCHEMA))


def row_hashes(batch: pa.RecordBatch) -> list[bytes]:
    """SHA-256 of every row's content, whatever part or place it stands in."""
    texts = [
        pc.fill_null(
            (c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c).cast(pa.string()), _NULL
        )
        for c in batch.columns
    ]
    joined = pc.binary_join_element_wise(*texts, "\0").cast(pa.binary())
    sha256 = hashlib.sha256
    return [sha256(row).digest() for row in joined.to_pylist()]


def sum_hashes(hashes: Sequence[bytes]) -> int:
    """The sum of row hashes modulo 2**256: the same for the same set of rows in any order.

    Additive multiset hashing (Clarke et al. 2003), so that rows that come and go change the sum
    without reading the others.
    """
    limbs = np.frombuffer(b"".join(hashes), ">u4").reshape(-1, _SUM_BITS // 32)
    total = 0
    for limb in limbs.sum(axis=0, dtype=np.uint64).tolist():
        total = (total << 32) + limb
    return total % (1 << _SUM_BITS)


def count_entities(batch: pa.RecordBatch, custom: Container[str] | None = ()) -> Counter[str]:
    """How often each kind of entity stands replaced in the texts.

    Args:
        batch: has the columns of texts.
        custom: names of tokens that patterns of the settings write; None: all but the entities'.
    """
    named: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for name in _TEXTS:
        column = batch.column(name)
        marked = column.filter(pc.match_substring(column, "<")).to_pylist()
        named.update(_TOKEN.findall("\n".join(marked)))
    for token, n in named.items():
        if token in Entity.__members__:
            counts[token] += n
        elif custom is None or token in custom:
            counts[Entity.CUSTOM] += n
    return counts


def last_of_each(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Keep the last row of every alert."""
    ids = batch.column("alert_id")
    if pc.count_distinct(ids).as_py() == len(ids):
        return batch
    values = np.array(ids.to_pylist()[::-1])
    _, first = np.unique(values, return_index=True)
    return batch.take(pa.array(np.sort(len(ids) - 1 - first)))


def as_batch(table: pa.Table) -> pa.RecordBatch:
    """A table as one batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def rebatch(tables: Iterator[pa.Table], rows: int = PART_ROWS) -> Iterator[pa.RecordBatch]:
    """Cut a stream of tables into batches of `rows` rows, the last one shorter."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        if count >= rows:
            whole = pa.concat_tables(waiting)
            done = count - count % rows
            for start in range(0, done, rows):
                yield as_batch(whole.slice(start, rows))
            waiting, count = [whole.slice(done)], count - done
    if count:
        yield as_batch(pa.concat_tables(waiting))


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a kill at any moment leaves the old one, or none, or all of the new.

    Raises:
        SettingsError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}")
    with writable(path):
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, outlives a power cut
        finally:
            os.close(folder)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a file or folder under NOISEGATE_HOME that cannot be written into our error."""
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written ({error.strerror or type(error).__name__}): make room or "
            "let this user write there, or choose another NOISEGATE_HOME"
        ) from None


def require_whole(folder: Path, part: Part) -> None:
    """Read the files of a part and compare them with their names.

    Raises:
        MissingError: one is missing or damaged.
    """
    for name in filter(None, (part.file, part.dropped)):
        if not _is_whole(folder / name):
            raise MissingError(f"{folder / name} is missing or damaged")


def _is_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.stem
    except OSError:
        return False


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
        raise MissingError(
            f"snapshot part {path} cannot be read ({reason}): "
            "run `noisegate retrain`, which makes it anew"
        ) from None


def _read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    with _readable(path):
        return pq.read_table(path, columns=columns, use_threads=False)


def _write_named_by_content(folder: Path, ending: str, write: Callable[[IO[bytes]], None]) -> str:
    buffer = pa.BufferOutputStream()
    write(buffer)
    content = memoryview(buffer.getvalue())
    name = hashlib.sha256(content).hexdigest() + ending
    if _is_whole(folder / name):
        with suppress(OSError):
            os.utime(folder / name)  # young again: it is not swept before a manifest names it
            return name
    write_atomically(folder / name, content)
    return name


def _dropped(folder: Path, part: Part) -> np.ndarray:
    if part.dropped is None:
        return np.zeros(0, np.int32)
    with _readable(folder / part.dropped):
        found: np.ndarray = np.load(folder / part.dropped, allow_pickle=False)
        return found


def _kept(folder: Path, part: Part) -> np.ndarray:
    kept = np.ones(part.rows, bool)
    kept[_dropped(folder, part)] = False
    return kept
