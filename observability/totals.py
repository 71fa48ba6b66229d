"""Totals that survive whatever happens: restarts, a second exporter, rows that are deleted.

A table is read in the order of its numbers (`seq`, which is commit order) from a persisted cursor,
`STEP` numbers at a time. Groups are made while only reading; then the cursor moves and the totals
grow in one short transaction, if the cursor is still where the reading began. So two exporters
count every row once, and no writer waits while ten million rows are read for the first time.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, case, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from noisegate import metrics
from noisegate.alert import Action, Origin, Reason
from noisegate.metrics import MOST_SERVICES, MetricSpec
from noisegate.scrub import Entity
from noisegate.store.audit import AuditAction
from noisegate.store.database import BUSY_TIMEOUT_S, locked, writing
from noisegate.store.facts import Became, Status
from noisegate.store.reading import reading
from noisegate.store.runs import RunOutcome, store_errors
from noisegate.store.tables import TotalRow
from observability.counting import (
    EXEMPLAR,
    FACTS,
    FLOWS,
    NEWEST_ALERT,
    OTHER,
    Facts,
    Series,
    bounds,
    group_of,
    grouped_rows,
    series,
)

_log = logging.getLogger(__name__)

STEP = 200_000
"""Numbers read in one transaction at most."""

_CURSOR, _SERVICE = "cursor", "service"
"""`metric` of the rows of `total` that say how far was read, and which services were chosen."""

_LONGEST_SERVICE = 200
"""Characters of a service that has series of its own: a longer one is hardly a name."""

_LABELS_CHARS = 512
"""Width of `total.labels`."""


def count(engine: Engine, origin: str, wait_s: float | None = None) -> int:
    """Bring the totals up to date with every table; returns how many rows were new.

    Args:
        engine: our store.
        origin: live or simulated: rows of another one are passed over.
        wait_s: how long to wait for another writer on SQLite, seconds; then the rest is left for
            the next time, with a warning. None: as long as any writer waits, and all or an error.
    """
    rows = 0
    patience = BUSY_TIMEOUT_S if wait_s is None else wait_s
    try:
        for facts in FACTS:
            for counted in _catch_up(engine, facts, origin, patience):
                rows += counted
    except DBAPIError as error:
        if wait_s is None or not locked(error):
            raise
        _log.warning(
            "another program has held the database for over %g s: counters stand still until it "
            "lets go",
            wait_s,
        )
    return rows


def totals(connection: Connection, origin: str) -> dict[Series, float]:
    """Everything counted so far; besides the series, EXEMPLAR by `le` and NEWEST_ALERT."""
    query = select(TotalRow.metric, TotalRow.labels, TotalRow.value).where(
        TotalRow.origin == origin, TotalRow.metric.not_in((_CURSOR, _SERVICE))
    )
    return {
        Series(metric, tuple(sorted(json.loads(labels).items()))): value
        for metric, labels, value in connection.execute(query)
    }


def services(connection: Connection, origin: str) -> list[str]:
    """The services that have series of their own, in the order in which they were first counted."""
    query = select(TotalRow.labels).where(TotalRow.metric == _SERVICE, TotalRow.origin == origin)
    rows = connection.scalars(query.order_by(TotalRow.value))
    return [json.loads(labels)["service"] for labels in rows]


def counters(engine: Engine, origin: str) -> dict[Series, float]:
    """The counters and histograms of the last scrape, by series; those at 0 included."""
    with store_errors(engine), reading(engine) as connection:
        found = zeros(services(connection, origin)) | totals(connection, origin)
    return {one: value for one, value in found.items() if one.name not in (EXEMPLAR, NEWEST_ALERT)}


def zeros(own_services: Iterable[str]) -> dict[Series, float]:
    """Every counter that is known to be possible, at 0."""
    found: list[Series] = [
        *(series(metrics.ALERTS, origin=origin) for origin in Origin),
        *(series(metrics.DECISIONS, **labels) for labels in _decisions()),
        *_histogram(metrics.DECISION_LATENCY),
        *_histogram(metrics.REAL_DELAY),
        series(metrics.REAL),
        series(metrics.LOST),
        *(series(metrics.HOLDOUT, outcome=outcome) for outcome in Became),
        *(
            series(metrics.CORRECTIONS, was=was, outcome=outcome)
            for was in Became
            for outcome in (Became.NOISE, Became.REAL)
            if was != outcome
        ),
        *(series(metrics.VERDICTS, verdict=verdict) for verdict in (Became.NOISE, Became.REAL)),
        *(series(metrics.SCRUBBED, entity=entity) for entity in Entity),
        *(series(metrics.FINDINGS, entity=entity) for entity in Entity),
        series(metrics.CANARY_PLANTED),
        series(metrics.CANARY_MISSED),
        *(series(metrics.PROMOTIONS, action=action) for action in AuditAction),
    ]
    for flow in FLOWS:
        found += (series(metrics.RUNS, flow=flow, outcome=outcome) for outcome in RunOutcome)
        found += _histogram(metrics.RUN_DURATION, flow=flow)
    for service in (*own_services, OTHER):
        found.append(series(metrics.SERVICE_DELAY, service=service))
        found += (
            series(metrics.OUTCOMES, service=service, outcome=outcome, paged=paged)
            for outcome in Became
            for paged in ("true", "false")
        )
    return dict.fromkeys(found, 0.0)


def _decisions() -> Iterator[dict[str, str]]:
    """The decisions that can be; a failed or late one paged, whatever the reason."""
    for reason in Reason:
        hold = reason is Reason.USUALLY_CLEARS
        for action in (Action.HOLD, Action.MUTE) if hold else (Action.PAGE,):
            yield {"action": action, "reason": reason, "status": Status.OK}
        for status in (Status.FAILED, Status.TOO_LATE):
            yield {"action": Action.PAGE, "reason": reason, "status": status}


def _histogram(spec: MetricSpec, **labels: str) -> Iterator[Series]:
    yield from (series(spec, "_bucket", le=le, **labels) for le in bounds(spec))
    yield series(spec, "_count", **labels)
    yield series(spec, "_sum", **labels)


@dataclass(slots=True)
class _Change:
    """What a range of rows adds."""

    rows: int = 0
    totals: defaultdict[Series, float] = field(default_factory=lambda: defaultdict(float))
    highest: dict[Series, float] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)


def _catch_up(engine: Engine, facts: Facts, origin: str, wait_s: float) -> Iterator[int]:
    """Count a table's new rows; yields how many each step counted."""
    while True:
        with reading(engine) as connection:
            low = _cursor(connection, facts, origin)
            newest = connection.execute(select(func.max(facts.seq))).scalar_one() or 0
            if newest <= (low or 0):
                return
            high = min(newest, (low or 0) + STEP)
            change = _read(connection, facts, origin, low or 0, high)
        with writing(engine, wait_s) as connection:
            # Somebody else was faster: what was read is theirs, and is read on from there.
            moved = _move(connection, facts, origin, low, high)
            if moved:
                _write(connection, origin, change)
        if moved:
            yield change.rows


def _cursor(connection: Connection, facts: Facts, origin: str) -> int | None:
    found = connection.scalar(
        select(TotalRow.value).where(
            TotalRow.metric == _CURSOR,
            TotalRow.labels == _labels(table=facts.table),
            TotalRow.origin == origin,
        )
    )
    return None if found is None else int(found)


def _move(connection: Connection, facts: Facts, origin: str, low: int | None, high: int) -> bool:
    row = {"metric": _CURSOR, "labels": _labels(table=facts.table), "origin": origin}
    statement: Any = update(TotalRow).filter_by(**row).where(TotalRow.value == low)
    statement = statement.values(value=high)
    if low is None:
        statement = _insert(connection).values(**row, value=high).on_conflict_do_nothing()
    counted = connection.execute(statement.execution_options(preserve_rowcount=True))
    return int(counted.rowcount) == 1


def _read(connection: Connection, facts: Facts, origin: str, low: int, high: int) -> _Change:
    change = _Change()
    where = facts.where(origin) & (facts.seq > low) & (facts.seq <= high)
    own = services(connection, origin) if facts.service is not None else []
    if facts.service is not None and len(own) < MOST_SERVICES:
        change.services = _new_services(connection, facts, where, own)
    query = grouped_rows(facts, literal(0), [*own, *change.services], where, facts.grouped)
    for row in connection.execute(query, execution_options={"yield_per": 10_000}):
        group = group_of(row)
        change.rows += group.n
        for one, value in facts.increments(group):
            change.totals[one] += value
        for one, value in facts.marks(origin, group):
            change.highest[one] = max(value, change.highest.get(one, value))
    return change


def _new_services(
    connection: Connection, facts: Facts, where: ColumnElement[bool], own: Sequence[str]
) -> list[str]:
    assert facts.service is not None
    query = (
        select(facts.service)
        .where(where, facts.service.not_in([*own, OTHER]))
        .where(func.length(facts.service) <= _LONGEST_SERVICE)
        .group_by(facts.service)
        .order_by(func.min(facts.seq))
        .limit(MOST_SERVICES - len(own))
    )
    widest = {"outcome": Became.CENSORED.value, "paged": "false"}
    found = connection.scalars(query).all()
    return [s for s in found if len(_labels(**widest, service=s)) <= _LABELS_CHARS]


def _write(connection: Connection, origin: str, change: _Change) -> None:
    first = len(services(connection, origin)) + 1
    chosen = [(_SERVICE, _labels(service=s), rank) for rank, s in enumerate(change.services, first)]
    _upsert(connection, origin, chosen, lambda there, comes: there)
    _upsert(connection, origin, _rows(change.totals), lambda there, comes: there + comes)
    _upsert(
        connection,
        origin,
        _rows(change.highest),
        lambda there, comes: case((comes > there, comes), else_=there),
    )


def _rows(values: Mapping[Series, float]) -> list[tuple[str, str, float]]:
    return [(one.name, _labels(**dict(one.labels)), value) for one, value in values.items()]


def _upsert(
    connection: Connection,
    origin: str,
    rows: Iterable[tuple[str, str, float]],
    merge: Callable[[Any, Any], ColumnElement[Any]],
) -> None:
    values = [{"metric": m, "labels": k, "origin": origin, "value": v} for m, k, v in rows]
    if values:
        statement = _insert(connection)
        merged = merge(TotalRow.value, statement.excluded.value)
        statement = statement.on_conflict_do_update(
            index_elements=["metric", "labels", "origin"], set_={"value": merged}
        )
        connection.execute(statement, values)


def _insert(connection: Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(TotalRow)


def _labels(**labels: str) -> str:
    return json.dumps(labels, sort_keys=True, ensure_ascii=False)
