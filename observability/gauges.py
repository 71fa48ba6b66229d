"""Facts -> gauges: how things stand now, and how they stood when each fact became known.

`Standing` is fed facts in their order and says what each changes. A scrape feeds it the few that
matter still; the past is written by feeding it all of them.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, func, select

from noisegate import metrics
from noisegate.alert import MICROS, Origin
from noisegate.store.facts import Kind
from noisegate.store.runs import STALE_S, RunOutcome, database_now
from noisegate.store.tables import AlertRow, EventRow, RunRow
from observability.counting import (
    FLOWS,
    LEARNING,
    Increment,
    Series,
    counts_as_data,
    series,
)

STAGES = ("snapshot", "train", "register", "promote")
"""Stages of a learning run, in `detail["stages"]` of its row; seconds."""

_LEAKS = (Kind.CANARY, Kind.FINDING)
"""Events that say whether personal data came through."""
_BAD = (RunOutcome.FAILED.value, RunOutcome.CRASHED.value)
_SHARES = ("noise_off", "pages_off", "lost", "real_delayed")
_BOUNDS = {"value": "value", "lo": "low", "hi": "high"}


class EndedRun(NamedTuple):
    """A run that ended; times in microseconds since 1970, UTC."""

    flow: str
    started_at: int
    ended_at: int
    outcome: str
    detail: Mapping[str, Any] | None


class SeenEvent(NamedTuple):
    """A canary, an audit, a snapshot of the team's own database, or a promotion."""

    kind: str
    known_at: int
    payload: Mapping[str, Any]


@dataclass(slots=True)
class Standing:
    """The gauges as they stand, and what is needed to go on."""

    values: dict[Series, float] = field(default_factory=dict)
    _version: int | None = None
    _figures: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _leaks: dict[str, int] = field(default_factory=dict)
    """Canaries and audits in a row, each up to the newest, in which something came through."""

    def __post_init__(self) -> None:
        """Nothing has failed yet."""
        self.values |= {series(metrics.RUN_FAILURES, flow=flow): 0.0 for flow in FLOWS}
        self.values[series(metrics.CANARY_FAILURES)] = 0.0

    def see_run(self, run: EndedRun) -> list[Increment]:
        """The gauges that a run's end sets."""
        flow, detail = run.flow, run.detail or {}
        good, end = run.outcome not in _BAD, run.ended_at / MICROS
        failures = series(metrics.RUN_FAILURES, flow=flow)
        sets: list[Increment] = [
            (failures, 0.0 if good else self.values.get(failures, 0.0) + 1),
            (series(metrics.RUN_LAST_END, flow=flow), end),
            (
                series(metrics.RUN_LAST_DURATION, flow=flow),
                (run.ended_at - run.started_at) / MICROS,
            ),
        ]
        if good:
            sets.append((series(metrics.RUN_LAST_SUCCESS, flow=flow), end))
        if flow in LEARNING:
            # 0 s: a stage that this run did not come to. The one before must not stand for it.
            took = detail.get("stages", {})
            sets += [
                (series(metrics.RUN_LAST_STAGE, flow=flow, stage=stage), took.get(stage, 0.0))
                for stage in STAGES
            ]
        if flow in LEARNING and good:
            if self._version is not None:
                sets.append(self._confirmed(end))
            if detail.get("figures") and detail.get("version") is not None:
                self._figures[detail["version"]] = detail["figures"]
                if detail["version"] == self._version:
                    sets += figure_gauges(detail["figures"])
        return self._set(sets)

    def see_event(self, event: SeenEvent) -> list[Increment]:
        """The gauges that a canary, an audit, a snapshot or a promotion sets."""
        if event.kind in _LEAKS:
            # Two rows, for a canary that is well says nothing of what an audit found.
            self._leaks[event.kind] = self._leaks.get(event.kind, 0) + 1 if _leaked(event) else 0
            failures = series(metrics.CANARY_FAILURES)
            return self._set([(failures, float(sum(self._leaks.values())))])
        if event.kind == Kind.SNAPSHOT:
            newest = event.payload["newest"]
            return [] if newest is None else self.see_alert(newest)
        self._version = int(event.payload["version"])
        return self._set(
            [
                (series(metrics.CHAMPION_VERSION), float(self._version)),
                self._confirmed(event.known_at / MICROS),
                *figure_gauges(self._figures.get(self._version, {})),
            ]
        )

    def _confirmed(self, at_s: float) -> Increment:
        confirmed = series(metrics.CHAMPION_CONFIRMED)
        return confirmed, max(at_s, self.values.get(confirmed, 0.0))

    def see_alert(self, starts_at: float) -> list[Increment]:
        """The newest alert, if it is the newest."""
        newest, at = series(metrics.NEWEST_ALERT), starts_at / MICROS
        return self._set([(newest, at)]) if at > self.values.get(newest, 0.0) else []

    def see(self, fact: EndedRun | SeenEvent | int) -> list[Increment]:
        """The gauges that a fact sets; an integer is the start of an alert."""
        match fact:
            case EndedRun():
                return self.see_run(fact)
            case SeenEvent():
                return self.see_event(fact)
            case _:
                return self.see_alert(fact)

    def _set(self, sets: list[Increment]) -> list[Increment]:
        self.values |= dict(sets)
        return sets


def figure_gauges(figures: Mapping[str, Any]) -> Iterator[Increment]:
    """The gauges of a champion's figures: {name: {value, lo, hi}} as in a run's detail."""
    for name, figure in figures.items():
        for ours, bound in _BOUNDS.items():
            value = figure.get(ours)
            if value is not None and name in _SHARES:
                yield series(metrics.CHAMPION_SHARE, figure=name, bound=bound), float(value)
            elif value is not None and name == "delay_s":
                yield series(metrics.CHAMPION_DELAY, bound=bound), float(value)


def standing(connection: Connection, origin: str) -> dict[Series, float]:
    """The gauges of runs, events and the champion as they stand now."""
    now = Standing()
    promoted = _newest_promotion(connection, origin)
    if promoted is not None:
        now.see(promoted)
        figures = _figures_of(connection, int(promoted.payload["version"]), origin)
        now.values |= dict(figure_gauges(figures))
    for run in _since_last_success(connection, origin):
        now.see(run)
    for kind in _LEAKS:
        for event in reversed(list(_since_last_clean(connection, kind, origin))):
            now.see(event)
    for flow in _dying(connection, origin):
        now.values[series(metrics.RUN_FAILURES, flow=flow)] = (
            now.values.get(series(metrics.RUN_FAILURES, flow=flow), 0.0) + 1
        )
    return now.values


def dated_gauges(
    connection: Connection, origin: str, since_us: int, until_us: int, step_us: int
) -> Iterator[tuple[int, Increment]]:
    """How the gauges stood at `since_us`, and what was set until `until_us`, by time.

    Times are rounded up to a multiple of `step_us`.
    """
    runs = connection.execute(_runs(origin).where(RunRow.ended_at <= until_us))
    events = [
        event
        for query in (
            _promotions(origin),
            *(_events(kind, origin) for kind in (*_LEAKS, Kind.SNAPSHOT)),
        )
        for event in map(_event, connection.execute(query.where(EventRow.known_at <= until_us)))
    ]
    facts: Iterable[tuple[int, EndedRun | SeenEvent | int]] = heapq.merge(
        sorted(((run.ended_at, run) for run in map(_run, runs)), key=lambda pair: pair[0]),
        sorted(((e.known_at, e) for e in events), key=lambda pair: pair[0]),
        _starts(connection, origin, since_us, until_us, step_us),
        key=lambda pair: pair[0],
    )
    now, begun = Standing(), False
    for at, fact in facts:
        if at > since_us and not begun:
            begun = True
            yield from ((since_us, one) for one in list(now.values.items()))
        sets = now.see(fact)
        if at > since_us:
            rounded = -(-at // step_us) * step_us
            yield from ((rounded, one) for one in sets)
    if not begun:
        yield from ((since_us, one) for one in now.values.items())


def _starts(
    connection: Connection, origin: str, since_us: int, until_us: int, step_us: int
) -> Iterator[tuple[int, int]]:
    at, ours = AlertRow.starts_at, AlertRow.origin.in_(counts_as_data(origin))
    before = connection.scalar(select(func.max(at)).where(ours, at <= since_us))
    if before is not None:
        yield since_us, before
    step = at if step_us == 1 else (at + (step_us - 1)) // step_us
    rows = select(step.label("step"), at.label("at"))
    inner = rows.where(ours, at > since_us, at <= until_us).subquery()
    newest = select(func.max(inner.c.at)).group_by(inner.c.step).order_by(inner.c.step)
    found = connection.execute(newest, execution_options={"yield_per": 10_000})
    yield from ((start, start) for (start,) in found)


def _runs(origin: str) -> Select[*tuple[Any, ...]]:
    columns = (RunRow.flow, RunRow.started_at, RunRow.ended_at, RunRow.outcome, RunRow.detail)
    return (
        select(*columns)
        .where(RunRow.origin == origin, RunRow.seq.is_not(None), RunRow.flow.in_(FLOWS))
        .order_by(RunRow.seq)
    )


def _run(row: Row[*tuple[Any, ...]]) -> EndedRun:
    return EndedRun(*row)


def _since_last_success(connection: Connection, origin: str) -> Iterator[EndedRun]:
    """Of each flow the last run that went well, and those after it."""
    good = (
        select(RunRow.flow.label("flow"), func.max(RunRow.seq).label("seq"))
        .where(RunRow.origin == origin, RunRow.outcome.not_in(_BAD))
        .group_by(RunRow.flow)
        .subquery()
    )
    query = _runs(origin).outerjoin(good, good.c.flow == RunRow.flow)
    rows = connection.execute(query.where(RunRow.seq >= func.coalesce(good.c.seq, 0)))
    yield from map(_run, rows)


def _figures_of(connection: Connection, version: int, origin: str) -> Mapping[str, Any]:
    """What the newest run that judged this version found."""
    said = (
        _runs(origin)
        .where(
            RunRow.flow.in_(LEARNING),
            RunRow.outcome.not_in(_BAD),
            RunRow.detail["version"].as_integer() == version,
        )
        .order_by(None)
        .order_by(RunRow.seq.desc())
        .limit(1)
    )
    row = connection.execute(said).first()
    detail = None if row is None else _run(row).detail
    return (detail or {}).get("figures") or {}


def _dying(connection: Connection, origin: str) -> list[str]:
    """Flows whose open run has no heartbeat any more: the next run will close it as crashed."""
    stale = database_now(connection) - int(STALE_S * MICROS)
    query = select(RunRow.flow).where(
        RunRow.origin == origin,
        RunRow.flow.in_(FLOWS),
        RunRow.ended_at.is_(None),
        RunRow.heartbeat_at < stale,
    )
    return list(connection.scalars(query))


def _events(kind: Kind, *origins: str) -> Select[*tuple[Any, ...]]:
    return (
        select(EventRow.kind, EventRow.known_at, EventRow.payload)
        .where(EventRow.kind == kind.value, EventRow.origin.in_(origins), EventRow.seq.is_not(None))
        .order_by(EventRow.seq)
    )


def _promotions(origin: str) -> Select[*tuple[Any, ...]]:
    return _events(Kind.PROMOTION, origin, Origin.LIVE.value)  # the audit is always written as live


def _newest_first(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    return query.order_by(None).order_by(EventRow.seq.desc())


def _event(row: Row[*tuple[Any, ...]]) -> SeenEvent:
    return SeenEvent(*row)


def _newest_promotion(connection: Connection, origin: str) -> SeenEvent | None:
    row = connection.execute(_newest_first(_promotions(origin)).limit(1)).first()
    return None if row is None else _event(row)


def _leaked(event: SeenEvent) -> bool:
    """Whether a canary was missed, or an audit found something."""
    if event.kind == Kind.CANARY:
        return bool(event.payload["missed"])
    return any(event.payload["entities"].values())


def _since_last_clean(connection: Connection, kind: Kind, origin: str) -> Iterator[SeenEvent]:
    """Canaries or audits, newest first, up to one in which nothing came through."""
    rows = connection.execute(
        _newest_first(_events(kind, origin)), execution_options={"yield_per": 100}
    )
    for event in map(_event, rows):
        yield event
        if not _leaked(event):
            rows.close()
            return
