"""The demo: a simulated history, and 30 days of a gate rehearsed on it, told up to now.

Told again, it goes on where it stopped: the history is one plan, cut off at the present moment, and
facts are only ever appended, so an exporter that runs meanwhile counts each once.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from noisegate.alert import MICROS, Action, Origin
from noisegate.decision.outcomes import Ints
from noisegate.errors import InputError, SettingsError
from noisegate.learning.backtest import Candidates, Lived, live_through
from noisegate.learning.card import Figure
from noisegate.learning.cluster import cluster
from noisegate.learning.examples import Examples, load_examples
from noisegate.learning.figures import measure
from noisegate.learning.registry import Registry
from noisegate.learning.rehearsal import became, decided
from noisegate.learning.rehearsed_runs import Operated, Standing, bad_day, operated
from noisegate.scrub.config import load_scrubber
from noisegate.settings import Settings
from noisegate.simulate import SimulationPlan, simulate
from noisegate.store.database import open_store, upgrade, writing
from noisegate.store.facts import (
    DecisionFact,
    Event,
    Kind,
    Status,
    append_decisions,
    append_events,
    append_outcomes,
)
from noisegate.store.identity import Identity
from noisegate.store.ingest import Occurrences, prepare, store_alerts
from noisegate.store.runs import append_ended
from noisegate.store.snapshot import extend
from noisegate.store.tables import AlertRow, DecisionRow, EventRow

SOURCE = "demo"
"""`source` of the demo's alerts."""

KIND = "demo"
"""`kind` of the events that say how far the demo has been told; their payload is `Told`."""

HISTORY_DAYS, SPARE_DAYS = 180, 60
"""Length of the history before the first telling, and how long later ones can go on with it."""

JUDGED_DAYS = 54
"""A run's figures are measured on so many days before it: the newest 30 % of the history."""

BATCH_ROWS = 512
"""Alerts imported at once: each import leaves an event of what was scrubbed."""

_DAY_US = 86_400 * MICROS


@dataclass(frozen=True, slots=True)
class Told:
    """What the demo is, and how far it has been told; times in microseconds since 1970, UTC."""

    alerts: int
    seed: int
    begun_us: int
    """When it was first told: it is the same history ever after."""
    history_us: int = 0
    """Alerts are in the store, and what was scrubbed in them is counted, up to then; 0: none."""
    until_us: int = 0
    """Decisions, outcomes and runs are in the store up to then; 0: none."""


@dataclass(frozen=True, slots=True)
class Added:
    """How many rows one telling added."""

    alerts: int
    decisions: int
    outcomes: int
    runs: int


def tell(
    settings: Settings,
    *,
    alerts: int,
    days: int,
    seed: int,
    now_us: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Added:
    """Tell the demo up to now; every row has the origin `simulated`.

    What an interrupted telling left is gone on with: it is the same history, and counted once.

    Args:
        settings: everything.
        alerts: about how many the history holds when it is first told.
        days: how far back decisions, outcomes and runs go.
        seed: of all that is drawn.
        now_us: microseconds since 1970, UTC; default: the clock's.
        progress: told what is being done.

    Raises:
        InputError: the store holds other alerts, another champion or another demo, or the history
            has run out.
        SettingsError: ALERT_DB_URI is set: the champion would be learned from that database.
        UnreachableError: the database or Ray does not answer.
    """
    say = progress or (lambda _: None)
    if settings.alert_db_uri:
        raise SettingsError(
            "ALERT_DB_URI is set, and the demo learns from its own alerts alone: unset it, and set "
            "NOISEGATE_HOME to a new folder (and NOISEGATE_DB_URL to a new database, if it is set)"
        )
    upgrade(settings)
    now_us = time.time_ns() // 1_000 if now_us is None else now_us
    engine = open_store(settings)
    try:
        before = _begin(engine, Told(alerts, seed, now_us))
        now_us = max(now_us, before.history_us)  # nothing is told twice, whatever the clock says
        told = replace(before, history_us=now_us, until_us=now_us)
        _check_left(told)
        say("simulating alerts")
        new = _store_history(settings, engine, told, before)
        since_us = max(before.until_us, now_us - days * _DAY_US)
        return _Telling(settings, engine, told, since_us).write(new, say)
    finally:
        engine.dispose()


def _begin(engine: Engine, new: Told) -> Told:
    """How far the demo of this store has been told; if there is none, `new` is begun.

    Written down before the first alert: whoever is interrupted goes on with the same history.
    """
    with writing(engine) as connection:
        events = select(EventRow.payload).where(EventRow.kind == KIND)
        payload = connection.scalar(events.order_by(EventRow.seq.desc()).limit(1))
        _refuse_others(connection, payload is None)
        if payload is None:
            append_events(connection, [_said(new, new.begun_us)])
            return new
    before = Told(**{name: int(str(value)) for name, value in payload.items()})
    if (before.alerts, before.seed) != (new.alerts, new.seed):
        raise InputError(
            f"the store holds the demo of --alerts {before.alerts} --seed {before.seed}: "
            "say the same, or set NOISEGATE_HOME to a new folder"
        )
    return before


def _refuse_others(connection: Connection, is_first: bool) -> None:
    """The demo ends in a champion: it must be learned from its alerts alone, and replace no other.

    Raises:
        InputError: the store is not the demo's own.
    """
    is_ours = (AlertRow.source == SOURCE) & (AlertRow.origin == Origin.SIMULATED.value)
    origin = connection.scalar(select(AlertRow.origin).where(~is_ours).limit(1))
    promoted = select(EventRow.seq).where(EventRow.kind == Kind.PROMOTION.value).limit(1)
    if origin is not None:
        held = f"alerts that are not the demo's (origin {origin})"
    elif is_first and connection.scalar(promoted) is not None:
        held = "a champion that is not the demo's"
    else:
        return
    raise InputError(
        f"the store holds {held}: set NOISEGATE_HOME to a new folder (and NOISEGATE_DB_URL to a "
        "new database, if it is set)"
    )


def _said(told: Told, at_us: int) -> Event:
    return Event(KIND, at_us, at_us, Origin.SIMULATED, asdict(told))


def _check_left(told: Told) -> None:
    if told.until_us > told.begun_us + SPARE_DAYS * _DAY_US:
        raise InputError(
            f"the demo was begun over {SPARE_DAYS} days ago, and its history ends there: "
            "set NOISEGATE_HOME to a new folder"
        )


def _store_history(settings: Settings, engine: Engine, told: Told, before: Told) -> int:
    """Import the history up to now; what an earlier telling left open is completed."""
    scrubber = load_scrubber(settings.scrub)
    identity, occurrences = Identity.from_settings(settings), Occurrences()
    mark = pa.scalar(before.history_us, pa.timestamp("us", tz="UTC"))
    events: list[Event] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for raw in _history(told):
            uncounted = pc.greater(raw["starts_at"], mark)
            counted = pc.invert(uncounted)
            for rows, is_new in [(raw.filter(counted), False), (raw.filter(uncounted), True)]:
                if not rows.num_rows:
                    continue
                done = prepare(
                    rows,
                    identity=identity,
                    scrubber=scrubber,
                    source=SOURCE,
                    origin=Origin.SIMULATED,
                    occurrences=occurrences,
                )
                if is_new and done.entities:
                    at = rows["starts_at"][-1].value  # as if imported then
                    entities: dict[str, object] = {"entities": dict(Counter(done.entities))}
                    events.append(Event(Kind.SCRUB, at, at, Origin.SIMULATED, entities))
                yield done.alerts

    report = store_alerts(engine, batches(), scrubber_version=scrubber.version)
    # At once with the mark: interrupted before, the next telling counts them; after, it does not.
    reached = replace(told, until_us=before.until_us)
    with writing(engine) as connection:
        append_events(connection, [*events, _said(reached, told.history_us)])
    return report.new


def _history(told: Told) -> Iterator[pa.RecordBatch]:
    """The history as it is known at `until_us`: what comes later has not happened yet."""
    days = HISTORY_DAYS + SPARE_DAYS
    plan = SimulationPlan(
        alerts=told.alerts * days // HISTORY_DAYS,
        days=days,
        services=max(4, min(80, told.alerts // 1_000)),
        seed=told.seed,
        ends_at_us=told.begun_us + SPARE_DAYS * _DAY_US,
    )
    until = pa.scalar(told.until_us, pa.timestamp("us", tz="UTC"))
    for batch in simulate(plan, BATCH_ROWS):
        known = pa.Table.from_batches([batch]).filter(pc.less_equal(batch["starts_at"], until))
        judged = pc.less_equal(known["verdict_at"], until)
        for name, seen in (
            ("ends_at", pc.less_equal(known["ends_at"], until)),
            ("acked_at", pc.less_equal(known["acked_at"], until)),
            ("verdict", judged),
            ("verdict_at", judged),
        ):
            index = known.schema.get_field_index(name)
            column = pc.if_else(seen, known[name], pa.scalar(None, known[name].type))
            known = known.set_column(index, known.schema.field(name), column)
        yield from known.combine_chunks().to_batches()
        if known.num_rows < batch.num_rows:
            return


@dataclass(frozen=True, slots=True)
class _Telling:
    """One telling: from `since_us` to `told.until_us`."""

    settings: Settings
    engine: Engine
    told: Told
    since_us: int

    def write(self, alerts: int, say: Callable[[str], None]) -> Added:
        examples, lived = self._replay(say)
        say("rehearsing the gate")
        with self.engine.connect() as connection:
            earlier = _decisions(connection, self.since_us - 30 * _DAY_US)
            standing = _standing(connection)
        ran = self._operate(examples, lived, standing)
        decisions = decided(
            examples,
            lived,
            _versions(examples.outcome.starts_us[lived.first :], standing, ran),
            since_us=self.since_us,
            until_us=self.told.until_us,
            seed=self.told.seed,
            incidents=[bad_day(self.told.begun_us)],
        )
        outcomes = became(
            examples,
            [*earlier, *decisions],
            since_us=self.since_us,
            until_us=self.told.until_us,
        )
        # The model that is learned next is the next version, here and in the registry.
        Registry(self.settings, self.engine).pass_over(ran.standing.version)
        with writing(self.engine) as connection:
            append_decisions(connection, decisions)
            append_outcomes(connection, outcomes)
            append_ended(connection, ran.runs)
            append_events(connection, [*ran.events, _said(self.told, self.told.until_us)])
        return Added(alerts, len(decisions), len(outcomes), len(ran.runs))

    def _replay(self, say: Callable[[str], None]) -> tuple[Examples, Lived]:
        """Judge the alerts as production would have; the retrain after it finds the forecasts."""
        ref = extend(self.settings, self.engine)
        examples = load_examples(self.settings, ref, now_us=self.told.until_us, progress=say)
        judged_us = self.since_us - (JUDGED_DAYS + 7) * _DAY_US
        first = max(1, int(np.searchsorted(examples.outcome.starts_us, judged_us)))
        with cluster(self.settings):
            candidates = Candidates.of(self.settings, examples, say)
        return examples, live_through(self.settings, examples, candidates, first)

    def _operate(self, examples: Examples, lived: Lived, standing: Standing | None) -> Operated:
        starts, known = examples.outcome.starts_us, examples.outcome.known_us

        def figures(at_us: int) -> Mapping[str, Figure]:
            low, high = np.searchsorted(starts, [at_us - JUDGED_DAYS * _DAY_US, at_us])
            rows = np.arange(max(int(low), lived.first), high)
            rows = rows[known[rows] < at_us]
            hold_s = lived.hold_s[rows - lived.first]
            return measure(examples.outcome, rows, hold_s, self.settings.seed)

        return operated(
            figures,
            standing,
            # The first champion was there before the first decision.
            since_us=self.since_us - (0 if standing else 7 * _DAY_US),
            until_us=self.told.until_us,
            seed=self.told.seed,
            incident=bad_day(self.told.begun_us),
        )


def _versions(starts_us: Ints, standing: Standing | None, ran: Operated) -> Ints:
    """The version in force at each start, same shape."""
    at, version = zip(*[(0, standing.version if standing else 1), *ran.versions], strict=True)
    found: Ints = np.array(version)[np.searchsorted(np.array(at), starts_us, side="right") - 1]
    return found


def _standing(connection: Connection) -> Standing | None:
    query = (
        select(EventRow.payload)
        .where(EventRow.kind == Kind.PROMOTION.value)
        .order_by(EventRow.seq.desc())
        .limit(1)
    )
    payload = connection.scalar(query)
    return (
        None if payload is None else Standing(int(str(payload["version"])), str(payload["digest"]))
    )


def _decisions(connection: Connection, since_us: int) -> list[DecisionFact]:
    """What earlier tellings decided: some of it becomes known, or is judged, only now."""
    row = DecisionRow
    query = select(
        row.decision_id, row.alert_id, row.service, row.at, row.action, row.reason, row.hold_s,
        row.status, row.latency_us, row.version, row.holdout, row.trace_id,
    ).where(row.origin == Origin.SIMULATED.value, row.at > since_us)  # fmt: skip
    return [
        DecisionFact(
            decision_id=found.decision_id,
            alert_id=found.alert_id,
            origin=Origin.SIMULATED,
            service=found.service,
            at=found.at,
            action=Action(found.action),
            reason=found.reason,
            hold_s=found.hold_s,
            status=Status(found.status),
            latency_us=found.latency_us,
            version=found.version,
            holdout=found.holdout,
            trace_id=found.trace_id,
        )
        for found in connection.execute(query)
    ]
