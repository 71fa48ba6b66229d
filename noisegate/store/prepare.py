"""Raw rows in, alerts out: identified by what came, then scrubbed; bad rows refused with a reason.

Raw text exists here and in the reader that hands it in, in memory, and nowhere else.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from noisegate.alert import ALERT_SCHEMA, Origin
from noisegate.errors import SettingsError
from noisegate.scrub import Scrubber
from noisegate.scrub.labels import scrub_labels
from noisegate.scrub.quoting import shape
from noisegate.store.identity import Identity
from noisegate.store.times import TIME, parse_times

TEXTS = ("alert_id", "fingerprint", "service", "name", "severity", "message", "verdict")
TIMES = ("starts_at", "ends_at", "acked_at", "verdict_at")
COLUMNS = (*TEXTS, *TIMES)
"""What a raw table may hold, besides labels."""

SOURCE_CHARS = 64
LABEL = "label:"
"""Prefix of a raw column that is a label."""

_VERDICTS = pa.array(["noise", "real"])


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was refused: its number (from 1), the field, and why. Never its text.

    `detail` holds values only where they were read as times; of what is no time it shows the
    shape, every digit as 9 and every letter as a.
    """

    row: int
    field: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Alerts (ALERT_SCHEMA), the refused rows, and how often each kind of entity was replaced."""

    alerts: pa.RecordBatch
    rejected: tuple[Rejected, ...]
    entities: Counter[str]


@dataclass
class Occurrences:
    """Counts how often each alert of an import came before: exact, in memory that does not grow.

    Rows without an own id may be alike in labels and start and still be different alerts: the
    n-th such row of a file is the n-th such alert, so that the same file gives the same alerts.
    The counts live in a temporary SQLite file of 8-byte hashes.
    """

    _seen: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect(""))

    def __post_init__(self) -> None:
        """Create the table."""
        self._seen.execute("CREATE TABLE seen (key INTEGER PRIMARY KEY, n INTEGER NOT NULL)")

    def number(self, keys: np.ndarray) -> np.ndarray:
        """For each key (int64) of a batch, how often it came before: in this batch and earlier."""
        distinct, inverse, count = np.unique(keys, return_inverse=True, return_counts=True)
        before = np.zeros(len(distinct), np.int64)
        asked = json.dumps(distinct.tolist())
        query = "SELECT key, n FROM seen WHERE key IN (SELECT value FROM json_each(?))"
        for key, n in self._seen.execute(query, (asked,)):
            before[np.searchsorted(distinct, key)] = n
        self._seen.executemany(
            "INSERT INTO seen VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET n = n + excluded.n",
            zip(distinct.tolist(), count.tolist(), strict=True),
        )
        order = np.argsort(inverse, kind="stable")
        first = np.concatenate([[0], np.cumsum(count)[:-1]])
        rank = np.empty(len(keys), np.int64)
        rank[order] = np.arange(len(keys)) - np.repeat(first, count)
        return rank + before[inverse]


def prepare(
    raw: pa.RecordBatch | pa.Table,
    *,
    identity: Identity,
    scrubber: Scrubber,
    source: str,
    origin: Origin = Origin.IMPORT,
    first_row: int = 1,
    rows: np.ndarray | None = None,
    occurrences: Occurrences | None = None,
) -> Prepared:
    """Turn raw rows into alerts.

    Args:
        raw: columns of `COLUMNS` (each may be missing but starts_at and one of service and name),
            of any Arrow type; times as `parse_times` reads them. A column `label:NAME` is the
            label NAME. A column `labels` (JSON objects as text) holds whole label sets instead:
            then identity is these labels alone; service and name are only for people.
        identity: the identity key and settings.
        scrubber: applied to service, name, severity, message and label values.
        source: the system that the rows come from; part of each alert's identity.
        origin: live, import or simulated.
        first_row: number of the first row, for refusals.
        rows: the number of every row, where they do not follow each other.
        occurrences: tells rows without an own id apart that are alike in labels and start, over
            all batches of one import; None: such rows are one alert.

    Returns:
        ALERT_SCHEMA rows in the order given, without the refused ones.

    Raises:
        SettingsError: `source` is empty or too long.
    """
    if not 0 < len(source) <= SOURCE_CHARS:
        raise SettingsError(f"source = {source!r}: give a name of 1 to {SOURCE_CHARS} characters")
    if isinstance(raw, pa.Table):
        raw = raw.combine_chunks()
    columns = {name: _flat(raw.column(name)) for name in raw.schema.names}
    n = raw.num_rows
    refusals = _Refusals(n, np.arange(first_row, first_row + n) if rows is None else rows)
    labels = [name for name in columns if name.startswith(LABEL)]
    text, times = _read(columns, (*TEXTS, "labels", *labels), n, refusals)
    _check(text, times, refusals)
    good = refusals.good()
    if good is not None:
        text = {name: column.filter(good) for name, column in text.items()}
        times = {name: column.filter(good) for name, column in times.items()}
    alerts, entities = _assemble(text, times, identity, scrubber, source, origin, occurrences)
    return Prepared(alerts, refusals.listed(), entities)


def _assemble(
    text: dict[str, pa.Array],
    times: dict[str, pa.Array],
    identity: Identity,
    scrubber: Scrubber,
    source: str,
    origin: Origin,
    occurrences: Occurrences | None,
) -> tuple[pa.RecordBatch, Counter[str]]:
    """Identify by the raw text, then scrub it."""
    label_columns = {
        name.removeprefix(LABEL): column for name, column in text.items() if name.startswith(LABEL)
    }
    if text["labels"].null_count < len(text["labels"]):
        label_columns |= labels_to_columns(text["labels"])
        named: dict[str, pa.Array] = {}
    else:
        named = {"service": text["service"], "alertname": text["name"]}
    fingerprint, alert_id = _identify(
        identity, source, text, named | label_columns, times["starts_at"], occurrences
    )
    entities: Counter[str] = Counter()
    clean = {
        name: _scrub(scrubber, text[name], entities)
        for name in ("service", "name", "severity", "message")
    }
    kept, found = scrub_labels(scrubber, label_columns)
    entities.update(found)
    verdict_at = pc.coalesce(
        times["verdict_at"], times["acked_at"], times["ends_at"], times["starts_at"]
    )
    size = len(alert_id)
    values = {
        "alert_id": alert_id,
        "fingerprint": fingerprint,
        "source": pa.repeat(source, size),
        "origin": pa.repeat(str(origin), size),
        "service": clean["service"].fill_null(""),
        "name": clean["name"].fill_null(""),
        "severity": clean["severity"],
        "message": clean["message"],
        "labels": columns_to_labels(kept, size),
        "starts_at": times["starts_at"],
        "ends_at": times["ends_at"],
        "acked_at": times["acked_at"],
        "verdict": text["verdict"],
        "verdict_at": pc.if_else(text["verdict"].is_valid(), verdict_at, pa.scalar(None, TIME)),
    }
    alerts = pa.record_batch([values[f.name] for f in ALERT_SCHEMA], schema=ALERT_SCHEMA)
    return alerts, entities


class _Refusals:
    """The first fault of every row."""

    def __init__(self, n: int, rows: np.ndarray) -> None:
        self._rows = rows
        self._fault = np.zeros(n, np.int16)
        self._reasons: list[tuple[str, str]] = []
        self._details: dict[int, str] = {}

    def add(
        self,
        bad: np.ndarray,
        field: str,
        reason: str,
        detail: Callable[[pa.Array], list[str]] | None = None,
    ) -> None:
        fresh = bad & (self._fault == 0)
        if fresh.any():
            self._reasons.append((field, reason))
            self._fault[fresh] = len(self._reasons)
            if detail is not None:
                where = np.flatnonzero(fresh)
                shown = detail(pa.array(where))
                self._details |= dict(zip(where.tolist(), shown, strict=True))

    def good(self) -> pa.Array | None:
        return pa.array(self._fault == 0) if self._reasons else None

    def listed(self) -> tuple[Rejected, ...]:
        found = []
        for i in np.flatnonzero(self._fault).tolist():
            field, reason = self._reasons[self._fault[i] - 1]
            found.append(Rejected(int(self._rows[i]), field, reason, self._details.get(i, "")))
        return tuple(found)


def _shapes(column: pa.Array, where: pa.Array) -> list[str]:
    # What people need to see is the format; the digits and letters may be anybody's.
    values = column.take(where).cast(pa.string()).to_pylist()
    return [shape(value) for value in values]


def _pairs(times: dict[str, pa.Array], field: str, where: pa.Array) -> list[str]:
    early, late = times[field].take(where), times["starts_at"].take(where)
    pair = pc.binary_join_element_wise(early.cast(pa.string()), late.cast(pa.string()), " < ")
    return list(pair.to_pylist())


def _read(
    columns: dict[str, pa.Array], texts: Sequence[str], n: int, refusals: _Refusals
) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
    text, times = {}, {}
    for name in texts:
        column, broken = _as_text(columns.get(name, pa.nulls(n, pa.string())))
        if broken is not None:
            refusals.add(broken, name, "is not UTF-8")
        text[name] = column if name == "message" else pc.utf8_trim_whitespace(column)
        text[name] = pc.if_else(pc.equal(text[name], ""), None, text[name])
    for name in TIMES:
        column = columns.get(name, pa.nulls(n))
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            column, broken = _as_text(column)
            if broken is not None:
                refusals.add(broken, name, "is not UTF-8")
        times[name], bad = parse_times(column)
        if bad.any():
            refusals.add(bad, name, "is not a time", partial(_shapes, column))
    return text, times


def _check(text: dict[str, pa.Array], times: dict[str, pa.Array], refusals: _Refusals) -> None:
    start, end, ack = times["starts_at"], times["ends_at"], times["acked_at"]
    refusals.add(_mask(start.is_null()), "starts_at", "is missing")
    for name, time in (("ends_at", end), ("acked_at", ack)):
        early = _mask(pc.less(time, start))
        refusals.add(early, name, "lies before starts_at", partial(_pairs, times, name))
    nameless = pc.and_(text["service"].is_null(), text["name"].is_null())
    refusals.add(_mask(nameless), "name", "is missing, and service too")
    text["verdict"] = pc.utf8_lower(text["verdict"])
    unknown = pc.invert(pc.is_in(text["verdict"], value_set=_VERDICTS))
    unknown = pc.and_(unknown, text["verdict"].is_valid())
    refusals.add(_mask(unknown), "verdict", "is neither noise nor real")


def _identify(
    identity: Identity,
    source: str,
    text: dict[str, pa.Array],
    labels: dict[str, pa.Array],
    starts_at: pa.Array,
    occurrences: Occurrences | None,
) -> tuple[pa.Array, pa.Array]:
    """Fingerprints and alert ids; hashing label sets once each, not once a row."""
    theirs = text["fingerprint"]
    firsts, codes = _distinct([*labels.values(), theirs])
    sets = [
        {k: v for k, v in zip(labels, row, strict=True) if v is not None}
        for row in zip(*(c.take(firsts).to_pylist() for c in labels.values()), strict=True)
    ]
    given = theirs.take(firsts).to_pylist()
    prints = [
        identity.fingerprint(s) if g is None else identity.fingerprint_of(g)
        for s, g in zip(sets, given, strict=True)
    ]
    series = [
        identity.series(s if g is None else s | {"": g}) for s, g in zip(sets, given, strict=True)
    ]
    fingerprint = pa.array(prints, pa.string()).take(codes)
    starts = starts_at.cast(pa.int64()).to_numpy()
    own = text["alert_id"].to_pylist()
    each = pa.array(series, pa.string()).take(codes).to_pylist()
    nth = np.zeros(len(starts), np.int64)
    if occurrences is not None and text["alert_id"].null_count:
        heads = np.array([int(s[:15], 16) for s in series], np.int64)
        # Odd multiplier: starts of one series never collide.
        keys = heads[codes.to_numpy()] ^ (starts * np.int64(0x1E3779B97F4A7C15))
        anonymous = _mask(text["alert_id"].is_null())
        nth[anonymous] = occurrences.number(keys[anonymous])
    ids = identity.alert_ids(source, own, each, starts, nth)
    return fingerprint, pa.array(ids, pa.string())


def _distinct(columns: list[pa.Array]) -> tuple[pa.Array, pa.Array]:
    """Rows that are alike: the first of each kind, and every row's kind."""
    codes = np.zeros(len(columns[0]), np.int64)
    firsts = np.zeros(min(1, len(codes)), np.int64)
    for column in columns:
        if column.null_count == len(column):
            continue
        encoded = column.dictionary_encode(null_encoding="encode")
        wide = codes * len(encoded.dictionary) + encoded.indices.to_numpy()
        _, firsts, codes = np.unique(wide, return_index=True, return_inverse=True)
    return pa.array(firsts), pa.array(codes)


def labels_to_columns(objects: pa.Array) -> dict[str, pa.Array]:
    """Label sets as JSON text to one column per label."""
    encoded = objects.dictionary_encode()
    sets = [orjson.loads(o) for o in encoded.dictionary.to_pylist()]
    names = sorted({name for s in sets for name in s})
    return {
        name: pa.array(
            [None if s.get(name) is None else str(s[name]) for s in sets], pa.string()
        ).take(encoded.indices)
        for name in names
    }


def columns_to_labels(labels: dict[str, pa.Array], n: int) -> pa.Array:
    """One column per label to label sets as JSON text with sorted keys; null: no label."""
    if not labels or not n:
        return pa.nulls(n, pa.string())
    names = sorted(labels)
    firsts, codes = _distinct([labels[name] for name in names])
    texts = []
    for row in zip(*(labels[name].take(firsts).to_pylist() for name in names), strict=True):
        found = {k: v for k, v in zip(names, row, strict=True) if v is not None}
        texts.append(orjson.dumps(found).decode() if found else None)
    return pa.array(texts, pa.string()).take(codes)


def _scrub(scrubber: Scrubber, column: pa.Array, entities: Counter[str]) -> pa.Array:
    if column.null_count == len(column):
        return column
    clean, counts = scrubber.column(column)
    entities.update(counts)
    return clean


def _as_text(column: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """A column as strings, and which rows are no UTF-8 (null there); None: all are."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    broken = None
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            column = column.cast(pa.string())
        except pa.ArrowInvalid:
            decoded = [_decode(value) for value in column.to_pylist()]
            broken = np.array([d is _BROKEN for d in decoded])
            column = pa.array([None if d is _BROKEN else d for d in decoded], pa.string())
    elif not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    if pc.any(pc.match_substring(column, "\0"), min_count=0).as_py():
        column = pc.replace_substring(column, "\0", "\ufffd")  # PostgreSQL's text has no NUL
    return column, broken


_BROKEN = "\0broken\0"


def _decode(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return _BROKEN


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column


def _mask(condition: pa.Array) -> np.ndarray:
    found: np.ndarray = condition.fill_null(False).to_numpy(zero_copy_only=False)
    return found
