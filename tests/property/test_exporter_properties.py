"""Whatever happens in whatever order: counters never fall, and end as if all were counted once."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert

from noisegate.alert import MICROS, Action, Origin
from noisegate.scrub import Entity
from noisegate.settings import Settings, load_settings
from noisegate.store.database import open_store, take_numbers, upgrade, writing
from noisegate.store.facts import (
    Became,
    DecisionFact,
    Event,
    Kind,
    OutcomeFact,
    Status,
    append_decisions,
    append_events,
    append_outcomes,
)
from noisegate.store.runs import RunOutcome
from noisegate.store.tables import (
    AlertRow,
    DecisionRow,
    EventRow,
    OutcomeRow,
    RunRow,
    VerdictRow,
)
from observability import totals
from observability.counting import Series
from observability.exporter import counters, dated

T0 = 1_760_000_000 * MICROS
TIMES = st.integers(T0, T0 + 3600 * MICROS)
ORIGINS = st.sampled_from([Origin.LIVE, Origin.LIVE, Origin.SIMULATED, Origin.IMPORT])
SERVICES = st.sampled_from([f"s{i}" for i in range(6)])


def fresh(_: object = None) -> str:
    return uuid.uuid4().hex


decisions = st.builds(
    DecisionFact,
    decision_id=st.builds(fresh),
    alert_id=st.builds(fresh),
    origin=ORIGINS,
    service=SERVICES,
    at=TIMES,
    action=st.sampled_from(Action),
    reason=st.sampled_from(["severity_floor", "usually_clears", "something_new"]),
    hold_s=st.just(0.0),
    status=st.sampled_from(Status),
    latency_us=st.none() | st.integers(0, 4_000_000),
    version=st.none(),
    trace_id=st.none() | st.builds(fresh),
)
outcomes = st.builds(
    OutcomeFact,
    decision_id=st.builds(fresh) | st.sampled_from(["judged again", "and again"]),
    alert_id=st.builds(fresh),
    origin=ORIGINS,
    service=SERVICES,
    outcome=st.sampled_from(Became),
    paged=st.booleans(),
    delay_s=st.floats(0, 1000),
    known_at=TIMES,
    was=st.none() | st.sampled_from(Became),
    holdout=st.booleans(),
)
entities = st.dictionaries(st.sampled_from([*Entity, "UNKNOWN"]), st.integers(1, 9), max_size=3)
payloads = st.one_of(
    st.tuples(
        st.sampled_from([Kind.SCRUB, Kind.FINDING]), entities.map(lambda found: {"entities": found})
    ),
    st.tuples(st.just(Kind.CANARY), st.just({"planted": 4, "missed": 1})),
    st.tuples(st.just(Kind.PROMOTION), st.just({"action": "promote", "version": 2})),
    st.tuples(st.just(Kind.SNAPSHOT), st.just({"newest": T0})),
    st.tuples(st.just("maintenance"), st.just({"what": "else"})),
)
events = st.builds(
    lambda told, at, origin: Event(told[0], at, at, origin, told[1]), payloads, TIMES, ORIGINS
)


@dataclass(frozen=True)
class Row:
    """A row of a table whose writers are elsewhere."""

    table: type[AlertRow] | type[RunRow] | type[VerdictRow]
    sequence: str
    values: dict[str, Any] = field(default_factory=dict)


alerts = st.builds(
    lambda at, origin: Row(
        AlertRow,
        "alert",
        {
            "alert_id": fresh(),
            "fingerprint": "f",
            "source": "test",
            "origin": origin.value,
            "service": "web",
            "name": "Disk",
            "starts_at": at,
            "scrubber": 1,
        },
    ),
    TIMES,
    ORIGINS,
)
runs = st.builds(
    lambda flow, at, lasted, outcome, origin: Row(
        RunRow,
        "run_ended",
        {
            "run_id": fresh(),
            "flow": flow,
            "origin": origin.value,
            "started_at": at - lasted,
            "heartbeat_at": at,
            "ended_at": at,
            "outcome": outcome.value,
        },
    ),
    st.sampled_from(["retrain", "tune", "digest"]),
    TIMES,
    st.integers(0, 20_000 * MICROS),
    st.sampled_from(RunOutcome),
    ORIGINS,
)
verdicts = st.builds(
    lambda said, at, origin: Row(
        VerdictRow,
        "alert",
        {
            "verdict_id": fresh(),
            "alert_id": "judged",
            "verdict": said,
            "given_at": at,
            "origin": origin.value,
        },
    ),
    st.sampled_from(["noise", "real"]),
    TIMES,
    ORIGINS,
)
facts = st.one_of(decisions, outcomes, outcomes, events, alerts, runs, verdicts)
batches = st.lists(facts, max_size=6)
Batch = list[Any]


def write(engine: Engine, batch: Batch) -> None:
    with writing(engine) as connection:
        for fact in batch:
            match fact:
                case DecisionFact():
                    append_decisions(connection, [replace(fact, decision_id=fresh())])
                case OutcomeFact():
                    append_outcomes(connection, [fact])
                case Event():
                    append_events(connection, [fact])
                case Row():
                    seq = take_numbers(connection, fact.sequence, 1)
                    connection.execute(insert(fact.table).values(**fact.values, seq=seq))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file with the one alert that is judged."""
    home = tmp_path_factory.mktemp("empty")
    made = load_settings(home=home)
    upgrade(made)
    engine = open_store(made)
    row = Row(AlertRow, "alert", {"alert_id": "judged", "fingerprint": "f", "source": "test"})
    rest = {"origin": "import", "service": "web", "name": "x", "starts_at": T0, "scrubber": 1}
    write(engine, [replace(row, values=row.values | rest)])
    engine.dispose()
    return home / "noisegate.db"


@contextmanager
def a_store(empty: Path) -> Iterator[tuple[Settings, Engine]]:
    home = empty.parent / fresh()
    home.mkdir()
    shutil.copy(empty, home / empty.name)
    made = load_settings(home=home)
    engine = open_store(made)
    try:
        yield made, engine
    finally:
        engine.dispose()
        shutil.rmtree(home)


quick = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges, and room for services, that a handful of facts exceeds."""
    monkeypatch.setattr(totals, "STEP", 3)
    monkeypatch.setattr(totals, "MOST_SERVICES", 3)


def scraped(engine: Engine, origin: str) -> dict[Series, float]:
    totals.count(engine, origin)
    return counters(engine, origin)


@pytest.mark.usefixtures("_small")
@quick
@given(history=st.lists(batches, max_size=6))
def test_however_often_one_scrapes_the_counters_end_the_same(
    empty: Path, history: list[Batch]
) -> None:
    with a_store(empty) as (_, often), a_store(empty) as (_, once):
        for batch in history:
            write(often, batch)
            write(once, batch)
            scraped(often, "live")
        for origin in ("live", "simulated"):
            assert scraped(often, origin) == pytest.approx(scraped(once, origin))


@pytest.mark.usefixtures("_small")
@quick
@given(history=st.lists(st.tuples(batches, st.booleans()), max_size=6))
def test_counters_never_fall_whatever_is_written_or_deleted(
    empty: Path, history: list[tuple[Batch, bool]]
) -> None:
    with a_store(empty) as (_, engine):
        before: dict[Series, float] = {}
        for batch, old_rows_go in history:
            write(engine, batch)
            now = scraped(engine, "live")
            assert not {one for one, value in before.items() if now.get(one, -1.0) < value}
            before = now
            if old_rows_go:
                with writing(engine) as connection:
                    for table in (DecisionRow, OutcomeRow, EventRow, RunRow, VerdictRow):
                        connection.execute(delete(table))
                assert scraped(engine, "live") == before


@pytest.mark.usefixtures("_small")
@quick
@given(
    history=st.lists(batches, max_size=4),
    step_us=st.sampled_from([1, 15 * MICROS, 600 * MICROS]),
    origin=st.sampled_from(["live", "simulated"]),
)
def test_the_dated_changes_add_up_to_the_counters(
    empty: Path, history: list[Batch], step_us: int, origin: str
) -> None:
    with a_store(empty) as (made, engine):
        for batch in history:
            write(engine, batch)
        exported = made.model_copy(update={"exporter_origin": origin})
        sums: dict[Series, float] = {}
        newest = 0
        for change in dated(engine, exported, T0 - 1, T0 * 2, step_us=step_us):
            assert change.at_us >= newest
            newest = change.at_us
            if not change.is_gauge:
                sums[change.series] = sums.get(change.series, 0.0) + change.value

        assert sums == pytest.approx(counters(engine, origin))


@pytest.mark.usefixtures("_small")
@quick
@given(history=st.lists(batches, max_size=4), cut=TIMES)
def test_a_past_cut_in_two_is_the_same_past(empty: Path, history: list[Batch], cut: int) -> None:
    with a_store(empty) as (made, engine):
        for batch in history:
            write(engine, batch)

        def added(since_us: int, until_us: int) -> list[tuple[int, Series, float]]:
            changes = dated(engine, made, since_us, until_us)
            return sorted(
                (c.at_us, c.series, c.value) for c in changes if not c.is_gauge and c.value
            )

        assert added(0, cut) + added(cut, T0 * 2) == added(0, T0 * 2)
