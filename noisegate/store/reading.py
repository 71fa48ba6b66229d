"""Alerts out of our own store, as Arrow batches; and texts scrubbed again by better rules."""

from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
from sqlalchemy import (
    Connection,
    Engine,
    Select,
    bindparam,
    func,
    select,
    update,
)

from noisegate.alert import ALERT_SCHEMA
from noisegate.scrub import VERSION, Scrubber
from noisegate.scrub.labels import scrub_labels
from noisegate.store.database import take_numbers, writing
from noisegate.store.ingest import SEQUENCE
from noisegate.store.prepare import columns_to_labels, labels_to_columns
from noisegate.store.tables import AlertRow, Base, EventRow, VerdictRow

STORE_EVENT = "store"
"""Kind of the one event that names this database for good."""

_FETCHED = 8_192
"""Rows that are Python objects at a time: they take ten times the memory of Arrow's."""
_TEXTS = ("service", "name", "severity", "message", "labels")


def store_id(connection: Connection) -> str:
    """The name of this database, drawn when it was created."""
    query = select(EventRow.payload).where(EventRow.kind == STORE_EVENT).order_by(EventRow.event_id)
    payload = connection.execute(query.limit(1)).scalar_one()
    return str(payload["store_id"])


def newest_number(connection: Connection) -> int:
    """The newest number that an alert or a verdict bears: what a reader has seen up to now."""
    newest = [
        connection.execute(select(func.max(column))).scalar_one() or 0
        for column in (AlertRow.seq, VerdictRow.seq)
    ]
    return int(max(newest))


def reading(engine: Engine) -> Connection:
    """A connection whose reads all see one moment of the database, and never block a writer."""
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        connection = connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    return connection


def read_alerts(
    connection: Connection, since: int = 0, batch_rows: int = _FETCHED
) -> Iterator[pa.RecordBatch]:
    """Read alerts that are new or changed (or got a verdict) after number `since`, by start.

    Returns:
        ALERT_SCHEMA batches; an alert's verdict is the newest by `given_at`.
    """
    newest = (
        select(VerdictRow.verdict_id)
        .where(VerdictRow.alert_id == AlertRow.alert_id)
        .order_by(VerdictRow.given_at.desc(), VerdictRow.seq.desc())
        .limit(1)
        .correlate(AlertRow)
        .scalar_subquery()
    )
    columns: list[Any] = [getattr(AlertRow, name) for name in ALERT_SCHEMA.names[:-2]]
    columns += [VerdictRow.verdict, VerdictRow.given_at]
    query: Select[Any] = select(*columns).order_by(AlertRow.starts_at, AlertRow.alert_id)
    query = query.outerjoin_from(AlertRow, VerdictRow, VerdictRow.verdict_id == newest)
    if since:
        changed = select(AlertRow.alert_id).where(AlertRow.seq > since)
        judged = select(VerdictRow.alert_id).where(VerdictRow.seq > since)
        query = query.where(AlertRow.alert_id.in_(changed.union(judged)))
    result = connection.execution_options(yield_per=batch_rows).execute(query)
    for rows in result.partitions():
        arrays = [
            pa.array(values, pa.int64()).cast(f.type)
            if pa.types.is_timestamp(f.type)
            else pa.array(values, f.type)
            for values, f in zip(zip(*rows, strict=True), ALERT_SCHEMA, strict=True)
        ]
        yield pa.record_batch(arrays, schema=ALERT_SCHEMA)


def scrub_again(
    engine: Engine, scrubber: Scrubber, since: int = 0, *, everything: bool = False
) -> int:
    """Scrub the texts that older rules, or none that are known, have scrubbed.

    Args:
        engine: our own store.
        scrubber: the one of today.
        since: look only at rows numbered above it.
        everything: look at texts of today's rules, too: they were scrubbed under other settings.

    Returns:
        How many rows changed; these bear new numbers.
    """
    changed = 0
    columns = [getattr(AlertRow, name) for name in ("alert_id", *_TEXTS, "scrubber", "seq")]
    query = select(*columns).order_by(AlertRow.seq).limit(_FETCHED)
    if not everything:
        query = query.where(AlertRow.scrubber < VERSION)
    with reading(engine) as connection:
        query = query.where(AlertRow.seq <= newest_number(connection))
    while True:
        with writing(engine) as connection:
            rows = connection.execute(query.where(AlertRow.seq > since)).all()
            if not rows:
                return changed
            since = rows[-1].seq
            ids, *texts, marks, _ = zip(*rows, strict=True)
            clean = [scrubber.column(pa.array(t, pa.string()))[0].to_pylist() for t in texts[:-1]]
            labels = _scrub_labels(scrubber, pa.array(texts[-1], pa.string()))
            after = list(zip(*clean, labels, strict=True))
            moved = [i for i, row in enumerate(rows) if tuple(row)[1:-2] != after[i]]
            changed += len(moved)
            if moved:
                first = take_numbers(connection, SEQUENCE, len(moved))
                _update(
                    connection,
                    [
                        {"key": ids[i], "seq": first + k} | dict(zip(_TEXTS, after[i], strict=True))
                        for k, i in enumerate(moved)
                    ],
                )
            remarked = [
                key for key, mark in zip(ids, marks, strict=True) if mark != scrubber.version
            ]
            if remarked:
                _update(connection, [{"key": k, "scrubber": scrubber.version} for k in remarked])


def label_values(labels: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """One label's value in every alert, "" where it has none; `labels` as in ALERT_SCHEMA."""
    encoded = labels.combine_chunks().dictionary_encode()
    values = [orjson.loads(text).get(name) or "" for text in encoded.dictionary.to_pylist()]
    found = pa.array(values, pa.string()).take(encoded.indices).fill_null("")
    return pa.chunked_array([found])


def _scrub_labels(scrubber: Scrubber, labels: pa.Array) -> list[str | None]:
    # Value by value: a match across the quotes of the JSON text would break it.
    columns = labels_to_columns(labels)
    clean, _ = scrub_labels(scrubber, columns)
    found: list[str | None] = columns_to_labels(clean, len(labels)).to_pylist()
    return found


def _update(connection: Connection, rows: list[dict[str, object]]) -> None:
    table = Base.metadata.tables[AlertRow.__tablename__]
    values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "key"}
    statement = update(table).where(table.c.alert_id == bindparam("key")).values(values)
    connection.execute(statement, rows)
