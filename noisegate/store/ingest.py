"""Alerts into our own store: an upsert that a repeated import leaves as it was.

Batches are first staged in a temporary table, without any lock on ours; then one short
transaction merges them. So a source that fails, or has too many bad rows, leaves nothing behind.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from noisegate.alert import ALERT_SCHEMA, Origin
from noisegate.scrub import VERSION, Scrubber
from noisegate.store.database import take_numbers, unreachable
from noisegate.store.facts import Event, Kind, append_events
from noisegate.store.identity import Identity
from noisegate.store.parts import count_entities
from noisegate.store.prepare import COLUMNS, LABEL, Occurrences, Prepared, Rejected, prepare
from noisegate.store.runs import database_now, store_errors
from noisegate.store.tables import AlertRow, Base, VerdictRow

__all__ = [
    "COLUMNS",
    "LABEL",
    "ImportReport",
    "Occurrences",
    "Prepared",
    "Rejected",
    "prepare",
    "store_alerts",
    "store_raw",
]

SEQUENCE = "alert"
"""Numbers of alerts and verdicts alike: one watermark sees both."""

_ALERT: Table = Base.metadata.tables[AlertRow.__tablename__]
_VERDICT: Table = Base.metadata.tables[VerdictRow.__tablename__]
_STAGED = Table(
    "staged",
    MetaData(),
    Column("row", BigInteger),
    Column("layer", Integer),
    *(Column(f.name, BigInteger if pa.types.is_timestamp(f.type) else Text) for f in ALERT_SCHEMA),
    prefixes=["TEMPORARY"],
)
_TEXTS = ("service", "name", "severity", "message", "labels")
_MERGED = [c.name for c in _STAGED.c if c.name in _ALERT.c and c.name not in ("alert_id", "origin")]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    `read` = `new` + `changed` + `unchanged` + `refused`, unless one alert came in several rows.
    """

    read: int
    new: int
    changed: int
    unchanged: int
    verdicts: int
    """Verdicts that are new or changed."""
    refused: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    """How many rows were refused, by field and reason."""
    entities: Mapping[str, int] = field(default_factory=dict)
    """How often each kind of personal data or secret was replaced."""
    ignored: tuple[str, ...] = ()
    """Columns of the source that nobody asked for."""
    open: int = 0
    """Alerts without an end."""

    def __add__(self, other: "ImportReport") -> "ImportReport":
        """Both imports as one."""
        return ImportReport(
            self.read + other.read,
            self.new + other.new,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.verdicts + other.verdicts,
            self.refused + other.refused,
            dict(Counter(self.reasons) + Counter(other.reasons)),
            dict(Counter(self.entities) + Counter(other.entities)),
            tuple(dict.fromkeys((*self.ignored, *other.ignored))),
            self.open + other.open,
        )


def store_alerts(
    engine: Engine,
    batches: Iterable[pa.RecordBatch],
    *,
    scrubber_version: int = VERSION,
    progress: Callable[[int], None] | None = None,
    entities: Mapping[str, int] | None = None,
    origin: Origin = Origin.IMPORT,
) -> ImportReport:
    """Merge alerts into our store: unknown ones are added, known ones completed or corrected.

    A value that comes replaces the one that is there; one that is missing leaves it. An alert in
    which nothing changes is not touched. Memory: one batch.

    Args:
        engine: our own store, migrated.
        batches: ALERT_SCHEMA, scrubbed. Raising inside it leaves the store as it was.
        scrubber_version: the mark of the scrubber that these texts went through.
        progress: called with the number of rows read so far.
        entities: what was replaced in these rows, complete when they end: recorded for the
            exporter, of those rows that are new or changed.
        origin: of that record.

    Returns:
        Counts; `refused` and what follows it are the caller's to fill.

    Raises:
        UnreachableError: the database stopped answering, is locked for too long, or full.
    """
    with store_errors(engine):
        # Not `or {}`: a counter is empty, and false, until the batches are read.
        replaced = {} if entities is None else entities
        return _store(engine, batches, scrubber_version, progress, replaced, origin)


def store_raw(
    engine: Engine,
    raw: pa.RecordBatch,
    *,
    identity: Identity,
    scrubber: Scrubber,
    source: str,
    origin: Origin = Origin.IMPORT,
) -> ImportReport:
    """Prepare one batch of raw rows and merge it at once: for sources that come bit by bit.

    Args, raises: as `prepare` and `store_alerts`; reports of several batches can be added up.
    """
    done = prepare(raw, identity=identity, scrubber=scrubber, source=source, origin=origin)
    reasons = Counter(f"{r.field} {r.reason}" for r in done.rejected)
    report = store_alerts(
        engine,
        [done.alerts],
        scrubber_version=scrubber.version,
        entities=done.entities,
        origin=origin,
    )
    return replace(
        report,
        read=raw.num_rows,
        refused=reasons.total(),
        reasons=dict(reasons),
        entities=dict(done.entities),
    )


def _store(
    engine: Engine,
    batches: Iterable[pa.RecordBatch],
    scrubber_version: int,
    progress: Callable[[int], None] | None,
    entities: Mapping[str, int],
    origin: Origin,
) -> ImportReport:
    with engine.connect() as connection, _staging(connection):
        read, layers, open_ = _stage(connection, batches, progress)
        if not read:
            return ImportReport(0, 0, 0, 0, 0)
        _settle(connection)
        changed = new = verdicts = 0
        with _write_lock(connection):
            first = take_numbers(connection, SEQUENCE, read)
            before = connection.execute(select(func.count()).select_from(_ALERT)).scalar_one()
            for layer in range(layers):
                changed += _merge_alerts(connection, layer, first, scrubber_version)
                verdicts += _merge_verdicts(connection, layer, first)
            new = connection.execute(select(func.count()).select_from(_ALERT)).scalar_one() - before
            if not changed and not verdicts:
                connection.rollback()  # nothing new: not even numbers are used up
            else:
                if entities and changed < read:
                    entities = _merged_entities(connection, first) & Counter(entities)
                record_scrubbed(connection, entities, origin)
                connection.commit()
    changed -= new
    return ImportReport(read, new, changed, read - new - changed, verdicts, open=open_)


def _merged_entities(connection: Connection, first: int) -> Counter[str]:
    """What stands replaced in the staged rows that were merged: those whose numbers landed."""
    landed = select(_ALERT.c.seq - first).where(_ALERT.c.seq >= first)
    query = select(*(_STAGED.c[name] for name in _TEXTS)).where(_STAGED.c.row.in_(landed))
    found: Counter[str] = Counter()
    rows = connection.execute(query, execution_options={"yield_per": 10_000})
    for some in rows.partitions():
        columns = [pa.array(values, pa.string()) for values in zip(*some, strict=True)]
        # Any name counts as a custom one's: what was not replaced just now is left out later.
        found += count_entities(pa.record_batch(columns, names=_TEXTS), custom=None)
    return found


def record_scrubbed(connection: Connection, entities: Mapping[str, int], origin: Origin) -> None:
    """Record how often each kind of personal data or secret was replaced, for the exporter."""
    found = {str(entity): n for entity, n in sorted(entities.items()) if n > 0}
    if found:
        now = database_now(connection)
        append_events(connection, [Event(Kind.SCRUB, now, now, origin, {"entities": found})])


@contextmanager
def _staging(connection: Connection) -> Iterator[None]:
    _STAGED.create(connection)
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        _STAGED.drop(connection)
        connection.commit()


def _stage(
    connection: Connection,
    batches: Iterable[pa.RecordBatch],
    progress: Callable[[int], None] | None,
) -> tuple[int, int, int]:
    """Copy all batches to the temporary table: rows, layers (rows of one alert), open alerts."""
    copy = _copy_postgresql if connection.dialect.name == "postgresql" else _copy_sqlite
    seen = Occurrences()
    read = layers = open_ = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        ids = batch.column("alert_id").to_pylist()
        layer = seen.number(np.array([int(i[:15], 16) for i in ids], np.int64))
        layers = max(layers, int(layer.max()) + 1)
        open_ += batch.column("ends_at").null_count
        row = np.arange(read, read + batch.num_rows)
        columns = [pa.array(row), pa.array(layer)]
        columns += [
            c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in batch.columns
        ]
        copy(connection, pa.record_batch(columns, names=list(_STAGED.c.keys())))
        read += batch.num_rows
        if progress:
            progress(read)
    return read, layers, open_


def _copy_sqlite(connection: Connection, batch: pa.RecordBatch) -> None:
    rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
    marks = ", ".join("?" * batch.num_columns)
    connection.exec_driver_sql(f"INSERT INTO staged VALUES ({marks})", rows)


def _copy_postgresql(connection: Connection, batch: pa.RecordBatch) -> None:
    # Arrow writes null as nothing and every text in quotes: what COPY takes for null and text.
    buffer = io.BytesIO()
    pacsv.write_csv(batch, buffer, pacsv.WriteOptions(include_header=False))
    driver: Any = connection.connection.driver_connection
    names = ", ".join(f'"{name}"' for name in batch.schema.names)
    try:
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY staged ({names}) FROM STDIN (FORMAT csv)") as copy,
        ):
            copy.write(buffer.getbuffer())
    except psycopg.Error as error:  # past SQLAlchemy, which would wrap it
        raise unreachable("NOISEGATE_DB_URL", connection.engine.url, error) from None


def _settle(connection: Connection) -> None:
    connection.commit()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE staged")
        connection.commit()


@contextmanager
def _write_lock(connection: Connection) -> Iterator[None]:
    # The same connection, for it alone sees the temporary table. See `database.writing`.
    options = connection.get_execution_options()
    connection.execution_options(sqlite_begin="IMMEDIATE")
    try:
        yield
    finally:
        connection.execution_options(sqlite_begin=options.get("sqlite_begin", "DEFERRED"))


def _merge_alerts(connection: Connection, layer: int, first: int, scrubber_version: int) -> int:
    names = ["alert_id", "origin", *_MERGED, "scrubber", "seq", "first_seq"]
    source = _layer(layer).add_columns(
        *(_STAGED.c[name] for name in names[:-3]),
        literal(scrubber_version, Integer),
        _STAGED.c.row + first,
        _STAGED.c.row + first,
    )
    statement = _insert(connection, _ALERT).from_select(names, source)
    there, comes = _ALERT.c, statement.excluded
    differs = or_(
        *(
            and_(comes[name].is_not(None), there[name].is_distinct_from(comes[name]))
            for name in _MERGED
        )
    )
    values: dict[str, Any] = {name: func.coalesce(comes[name], there[name]) for name in _MERGED}
    kept = or_(*(and_(comes[name].is_(None), there[name].is_not(None)) for name in _TEXTS))
    # A text that stays may be of an older scrubber: the row is as old as its oldest text.
    is_older = and_(kept, there.scrubber < comes.scrubber)
    values["scrubber"] = case((is_older, there.scrubber), else_=comes.scrubber)
    values["seq"] = comes.seq
    statement = statement.on_conflict_do_update(
        index_elements=["alert_id"], set_=values, where=differs
    )
    return _run(connection, statement)


def _merge_verdicts(connection: Connection, layer: int, first: int) -> int:
    # An alert has one verdict of its import, which bears the alert's id; people's have their own.
    s = _STAGED.c
    source = (
        _layer(layer)
        .add_columns(s.alert_id, s.alert_id, s.verdict, s.verdict_at, s.origin, s.row + first)
        .where(s.verdict.is_not(None))
    )
    names = ["verdict_id", "alert_id", "verdict", "given_at", "origin", "seq"]
    statement = _insert(connection, _VERDICT).from_select(names, source)
    there, comes = _VERDICT.c, statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["verdict_id"],
        set_={name: comes[name] for name in ("verdict", "given_at", "seq")},
        where=or_(
            there.verdict.is_distinct_from(comes.verdict),
            there.given_at.is_distinct_from(comes.given_at),
        ),
    )
    return _run(connection, statement)


def _run(connection: Connection, statement: Any) -> int:
    kept = statement.execution_options(preserve_rowcount=True)
    return int(connection.execute(kept).rowcount)


def _layer(layer: int) -> Select[Any]:
    return select().select_from(_STAGED).where(_STAGED.c.layer == layer).order_by(_STAGED.c.row)


def _insert(connection: Connection, table: Table) -> Any:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
