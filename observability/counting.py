"""Facts -> counters: which series the rows of each table add to.

One mapping serves both paths: a scrape lets the database group the new rows (see totals.py), and
`increments` hands out the same groups with their time, so that the past can be written.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client.utils import floatToGoString
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    case,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.orm import InstrumentedAttribute, aliased

from noisegate import metrics
from noisegate.alert import MICROS, Origin, Reason
from noisegate.metrics import OTHER_SERVICES, MetricSpec
from noisegate.scrub import Entity
from noisegate.store.facts import Became, Kind
from noisegate.store.tables import (
    AlertRow,
    DecisionRow,
    EventRow,
    OutcomeRow,
    RunRow,
    VerdictRow,
)

OTHER = OTHER_SERVICES
"""Label value of whatever has no series of its own."""

LEARNING = ("retrain", "tune")
"""Flows that confirm the champion."""

FLOWS = (*LEARNING, "rollback")
"""Flows that have series of their own; runs of another are counted together, as OTHER."""

EXEMPLAR, NEWEST_ALERT = "exemplar", "newest_alert"
"""What is remembered beside the series: by `le` the newest traced decision, the newest start."""


class Series(NamedTuple):
    """One time series: its name as on /metrics (with _bucket, _sum, _count), its labels by name."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


Increment = tuple[Series, float]

Expression = ColumnElement[Any] | InstrumentedAttribute[Any]


def series(spec: MetricSpec, part: str = "", **labels: str) -> Series:
    """A series of a metric; `part` is _bucket, _sum or _count of a histogram."""
    return Series(spec.name + part, tuple(sorted(labels.items())))


def bounds(spec: MetricSpec) -> list[str]:
    """The `le` of a histogram's buckets, +Inf last."""
    return [*map(floatToGoString, spec.buckets), "+Inf"]


class Group(NamedTuple):
    """Rows of one table that agree in all keys."""

    at: int
    """Their time, microseconds since 1970, UTC; 0 where nobody asked."""
    keys: tuple[Any, ...]
    n: int
    sum: float
    mark: int | None
    """The highest of something: the newest decision with a trace, the newest start of an alert."""


def _nothing(_origin: str, _group: Group) -> Iterator[Increment]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Facts:
    """One table as the exporter reads it."""

    table: str
    seq: Expression
    at: Expression
    """When a row counts, microseconds since 1970, UTC."""
    keys: Callable[[Sequence[str]], Sequence[Expression]]
    """What rows are grouped by, given the services that have series of their own."""
    increments: Callable[[Group], Iterator[Increment]]
    where: Callable[[str], ColumnElement[bool]]
    """Given the origin that is exported: which rows count."""
    sum: Expression = field(default_factory=lambda: literal(0))
    mark: Expression = field(default_factory=lambda: literal(0))
    marks: Callable[[str, Group], Iterator[Increment]] = _nothing
    """Given the origin: highest values to remember, by what is no series."""
    grouped: bool = True
    service: Expression | None = None


def increments(
    connection: Connection,
    facts: Facts,
    origin: str,
    own: Sequence[str],
    since_us: int,
    until_us: int,
    step_us: int,
) -> Iterator[tuple[int, Increment]]:
    """What the rows of one table added, and when: since_us < time <= until_us, by time.

    Times are rounded up to a multiple of `step_us`, and what falls together is added up.
    """
    at = facts.at if step_us == 1 else (facts.at + (step_us - 1)) // step_us * step_us
    where = facts.where(origin) & (facts.at > since_us) & (facts.at <= until_us)
    grouped = facts.grouped and step_us > 1
    query = grouped_rows(facts, at, own, where, grouped)
    rows = connection.execute(query.order_by("at"), execution_options={"yield_per": 10_000})
    for row in rows:
        group = group_of(row)
        for increment in facts.increments(group):
            yield group.at, increment


# Which series a group adds to


def _decisions(group: Group) -> Iterator[Increment]:
    action, reason, status, bucket = group.keys
    reason = reason if reason in _REASONS else OTHER
    yield series(metrics.DECISIONS, action=action, reason=reason, status=status), group.n
    if bucket >= 0:
        yield from _observed(metrics.DECISION_LATENCY, bucket, group.n, group.sum / MICROS)


def _outcomes(group: Group) -> Iterator[Increment]:
    service, outcome, was, paged, holdout, bucket, said_real = group.keys
    if was is None:
        paged_label = str(bool(paged)).lower()
        labels = {"service": service, "outcome": outcome, "paged": paged_label}
        yield series(metrics.OUTCOMES, **labels), group.n
        if holdout:
            yield series(metrics.HOLDOUT, outcome=outcome), group.n
    else:
        yield series(metrics.CORRECTIONS, was=was, outcome=outcome), group.n
    if outcome != Became.REAL or was == Became.REAL or said_real:
        return
    yield series(metrics.REAL), group.n
    if paged:
        yield from _observed(metrics.REAL_DELAY, bucket, group.n, group.sum)
        yield series(metrics.SERVICE_DELAY, service=service), group.sum
    else:
        yield series(metrics.LOST), group.n


def _runs(group: Group) -> Iterator[Increment]:
    flow, outcome, bucket = group.keys
    flow = flow if flow in FLOWS else OTHER
    yield series(metrics.RUNS, flow=flow, outcome=outcome), group.n
    yield from _observed(metrics.RUN_DURATION, bucket, group.n, group.sum / MICROS, flow=flow)


def _verdicts(group: Group) -> Iterator[Increment]:
    yield series(metrics.VERDICTS, verdict=group.keys[0]), group.n


def _alerts(group: Group) -> Iterator[Increment]:
    yield series(metrics.ALERTS, origin=group.keys[0]), group.n


def _events(group: Group) -> Iterator[Increment]:
    kind, payload = group.keys
    match kind:
        case Kind.SCRUB | Kind.FINDING:
            spec = metrics.SCRUBBED if kind == Kind.SCRUB else metrics.FINDINGS
            for entity, n in payload["entities"].items():
                yield series(spec, entity=entity if entity in list(Entity) else OTHER), n
        case Kind.CANARY:
            yield series(metrics.CANARY_PLANTED), payload["planted"]
            yield series(metrics.CANARY_MISSED), payload["missed"]
        case Kind.PROMOTION:
            yield series(metrics.PROMOTIONS, action=payload["action"]), group.n


def _observed(
    spec: MetricSpec, bucket: int, n: int, total: float, **labels: str
) -> Iterator[Increment]:
    """What n observations in one bucket add to the (cumulative) series of a histogram."""
    for le in bounds(spec)[bucket:]:
        yield series(spec, "_bucket", le=le, **labels), n
    yield series(spec, "_count", **labels), n
    yield series(spec, "_sum", **labels), total


def _newest_traces(_origin: str, group: Group) -> Iterator[Increment]:
    if group.mark is not None:
        le = bounds(metrics.DECISION_LATENCY)[group.keys[3]]
        yield Series(EXEMPLAR, (("le", le),)), group.mark


def _newest_alerts(origin: str, group: Group) -> Iterator[Increment]:
    # Imports, too: what models learn from is fresh, whoever brought it.
    if group.keys[0] in counts_as_data(origin) and group.mark is not None:
        yield Series(NEWEST_ALERT), group.mark


def _newest_read(_origin: str, group: Group) -> Iterator[Increment]:
    kind, payload = group.keys
    if kind == Kind.SNAPSHOT and payload["newest"] is not None:
        yield Series(NEWEST_ALERT), payload["newest"]


def counts_as_data(origin: str) -> tuple[str, ...]:
    """The origins whose alerts say how fresh the data of an exported origin are."""
    return (origin, Origin.IMPORT.value) if origin == Origin.LIVE else (origin,)


# How a table is read


def _bucket(value: Expression, spec: MetricSpec, unit: float = 1.0) -> ColumnElement[Any]:
    """The place of the bucket that a value falls into; -1 where there is no value."""
    whens = [(value <= bound * unit, place) for place, bound in enumerate(spec.buckets)]
    return case((value.is_(None), -1), *whens, else_=len(spec.buckets))


def _own_or_other(own: Sequence[str]) -> ColumnElement[Any]:
    service = OutcomeRow.service
    return case((service.in_(own), service), else_=OTHER) if own else literal(OTHER)


def _said_real() -> ColumnElement[Any]:
    """Whether a correction to real repeats an earlier word: then it counts as no other alert."""
    earlier = aliased(OutcomeRow)
    repeats = exists().where(
        earlier.decision_id == OutcomeRow.decision_id,
        earlier.seq < OutcomeRow.seq,
        earlier.outcome == Became.REAL.value,
    )
    # Looked for only where it matters: corrections are few.
    corrects = (OutcomeRow.outcome == Became.REAL.value) & OutcomeRow.was.is_not(None)
    return case((corrects, repeats), else_=false())


def _now_us() -> int:
    return time.time_ns() // 1000


_REASONS = frozenset(Reason)
_COUNTED_KINDS = [kind.value for kind in Kind if kind is not Kind.PROMOTION]
_DURATION = RunRow.ended_at - RunRow.started_at

FACTS = (
    Facts(
        "decision",
        DecisionRow.seq,
        DecisionRow.at,
        lambda _: (
            DecisionRow.action,
            DecisionRow.reason,
            DecisionRow.status,
            _bucket(DecisionRow.latency_us, metrics.DECISION_LATENCY, MICROS),
        ),
        _decisions,
        lambda origin: DecisionRow.origin == origin,
        sum=DecisionRow.latency_us,
        mark=case(
            (
                DecisionRow.trace_id.is_not(None) & DecisionRow.latency_us.is_not(None),
                DecisionRow.seq,
            )
        ),
        marks=_newest_traces,
    ),
    Facts(
        "outcome",
        OutcomeRow.seq,
        OutcomeRow.known_at,
        lambda own: (
            _own_or_other(own),
            OutcomeRow.outcome,
            OutcomeRow.was,
            OutcomeRow.paged,
            OutcomeRow.holdout,
            _bucket(OutcomeRow.delay_s, metrics.REAL_DELAY),
            _said_real(),
        ),
        _outcomes,
        lambda origin: OutcomeRow.origin == origin,
        sum=OutcomeRow.delay_s,
        service=OutcomeRow.service,
    ),
    Facts(
        "run",
        RunRow.seq,
        RunRow.ended_at,
        lambda _: (RunRow.flow, RunRow.outcome, _bucket(_DURATION, metrics.RUN_DURATION, MICROS)),
        _runs,
        lambda origin: (RunRow.origin == origin) & RunRow.seq.is_not(None),
        sum=_DURATION,
    ),
    # An import may change its verdict in place: that is one more verdict given.
    Facts(
        "verdict",
        VerdictRow.seq,
        VerdictRow.given_at,
        lambda _: (VerdictRow.verdict,),
        _verdicts,
        lambda origin: VerdictRow.origin == origin,
    ),
    # By the number of the insert, which changes leave: an alert that ends is no new alert.
    Facts(
        "alert",
        AlertRow.first_seq,
        AlertRow.starts_at,
        lambda _: (AlertRow.origin,),
        _alerts,
        lambda _: true(),
        # Not one dated in the future: for years, nothing would be newer.
        mark=case(
            (AlertRow.starts_at <= bindparam("now_us", callable_=_now_us), AlertRow.starts_at)
        ),
        marks=_newest_alerts,
    ),
    # The audit is always written as live: there is one champion.
    Facts(
        "event",
        EventRow.seq,
        EventRow.known_at,
        lambda _: (EventRow.kind, EventRow.payload),
        _events,
        lambda origin: or_(
            (EventRow.kind == Kind.PROMOTION.value) & EventRow.origin.in_((origin, Origin.LIVE)),
            EventRow.kind.in_(_COUNTED_KINDS) & (EventRow.origin == origin),
        ),
        marks=_newest_read,
        grouped=False,
    ),
)
"""Every table that is counted."""


def grouped_rows(
    facts: Facts,
    at: Expression,
    own: Sequence[str],
    where: ColumnElement[bool],
    grouped: bool,
) -> Select[*tuple[Any, ...]]:
    """The query of a table's groups, or of its rows one by one; `group_of` reads its rows.

    Args:
        facts: the table.
        at: what stands for the time of a row.
        own: services that have series of their own.
        where: which rows.
        grouped: whether rows that agree in time and keys are added up.
    """
    # Named in a subquery first: PostgreSQL takes two CASEs with parameters for two expressions.
    keys = [key.label(f"key{i}") for i, key in enumerate(facts.keys(own))]
    rows = select(at.label("at"), *keys, facts.sum.label("sum"), facts.mark.label("mark"))
    inner = rows.where(where).subquery()
    names = ["at", *(key.name for key in keys)]
    columns = [inner.c[name] for name in names]
    if not grouped:
        return select(*columns, literal(1).label("n"), inner.c.sum, inner.c.mark)
    return select(
        *columns,
        func.count().label("n"),
        func.sum(inner.c.sum).label("sum"),
        func.max(inner.c.mark).label("mark"),
    ).group_by(*columns)


def group_of(row: Any) -> Group:
    """A row of `grouped_rows` as a value."""
    at, *keys, n, total, mark = row
    return Group(at, tuple(keys), n, float(total or 0), mark)
