"""The lease of a flow, on SQLite and on PostgreSQL."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, insert, text, update

from noisegate.alert import MICROS, Origin
from noisegate.errors import BusyError, InputError, NoisegateError
from noisegate.settings import Settings
from noisegate.store.audit import AuditAction, promotions, record
from noisegate.store.database import open_store, take_numbers, upgrade, writing
from noisegate.store.runs import RunOutcome, database_now, lease, past_runs
from noisegate.store.tables import RunRow

LIVE = Origin.LIVE.value


def new_id() -> str:
    return uuid.uuid4().hex


def age_heartbeat(store: Engine, run_id: str, seconds: float) -> None:
    """What a process that died that long ago leaves behind."""
    with store.begin() as connection:
        connection.execute(
            update(RunRow)
            .where(RunRow.run_id == run_id)
            .values(heartbeat_at=database_now(connection) - int(seconds * MICROS))
        )


def wait_until(true: Callable[[], bool]) -> None:
    while not true():  # the suite's own timeout ends it
        time.sleep(0.01)


def test_the_row_is_written_at_the_start_and_closed_at_the_end(store: Engine) -> None:
    run_id = new_id()
    with lease(store, "retrain", run_id, LIVE) as run:
        (begun,) = past_runs(store)
        assert (begun.run_id, begun.ended_at, begun.outcome) == (run_id, None, None)
        run.finish(RunOutcome.REFUSED, reasons=["delay: 70 s"], version=3)
    (ended,) = past_runs(store)
    assert ended.outcome == "refused"
    assert ended.detail == {"reasons": ["delay: 70 s"], "version": 3}
    assert ended.ended_at is not None and ended.ended_at >= ended.started_at


def test_a_second_run_is_refused_while_the_first_lives_and_names_it(store: Engine) -> None:
    first = new_id()
    with lease(store, "retrain", first, LIVE) as run:
        with pytest.raises(BusyError, match=first), lease(store, "retrain", new_id(), LIVE):
            raise AssertionError("two at a time")
        run.finish(RunOutcome.UNCHANGED)
    assert [past.outcome for past in past_runs(store)] == ["unchanged"]


@pytest.mark.parametrize(
    ("other", "never_beside", "busy"),
    [
        pytest.param("tune", ("retrain",), True, id="a flow that never runs beside it waits"),
        pytest.param("digest", (), False, id="a flow with nothing to do with it runs"),
    ],
)
def test_flows_exclude_each_other_where_they_say_so(
    store: Engine, other: str, never_beside: tuple[str, ...], busy: bool
) -> None:
    refused = False
    with lease(store, "retrain", new_id(), LIVE) as run:
        run.finish(RunOutcome.UNCHANGED)
        try:
            with lease(store, other, new_id(), LIVE, never_beside=never_beside) as second:
                second.finish(RunOutcome.UNCHANGED)
        except BusyError:
            refused = True
    assert refused is busy


def test_of_many_that_start_at_once_one_runs(store: Engine) -> None:
    racers = 4
    gate, done = threading.Barrier(racers), threading.Barrier(racers)

    def race(_: int) -> bool:
        gate.wait()
        try:
            with lease(store, "retrain", new_id(), LIVE) as run:
                run.finish(RunOutcome.UNCHANGED)
                done.wait()
                return True
        except BusyError:
            done.wait()
            return False

    with ThreadPoolExecutor(racers) as pool:
        assert sorted(pool.map(race, range(racers))) == [False] * (racers - 1) + [True]


def test_a_stale_heartbeat_counts_as_crashed_and_is_taken_over(store: Engine) -> None:
    dead, next_one = new_id(), new_id()
    with lease(store, "retrain", dead, LIVE) as run:
        age_heartbeat(store, dead, 61)
        with lease(store, "retrain", next_one, LIVE) as second:
            second.finish(RunOutcome.PROMOTED)
        run.finish(RunOutcome.PROMOTED)  # the sleeper wakes up: too late
    outcomes = {past.run_id: past.outcome for past in past_runs(store)}
    assert outcomes == {dead: "crashed", next_one: "promoted"}


@pytest.mark.parametrize(
    ("does", "outcome", "busy"),
    [
        pytest.param(
            {"ended_at": 2, "outcome": "promoted"}, "promoted", False, id="one that closes itself"
        ),
        pytest.param({"heartbeat_at": 2**62}, None, True, id="one that wakes up"),
    ],
)
def test_a_silent_run_that_speaks_just_then_keeps_what_it_says(
    make_settings: Callable[..., Settings],
    postgresql_url: str,
    does: dict[str, object],
    outcome: str | None,
    busy: bool,
) -> None:
    """On PostgreSQL, where a taker waits for it in the midst of taking over."""
    settings = make_settings(db_url=postgresql_url)
    upgrade(settings)
    store, silent = open_store(settings), new_id()
    with writing(store) as connection:
        row = {"run_id": silent, "flow": "retrain", "origin": LIVE}
        connection.execute(insert(RunRow).values(**row, started_at=1, heartbeat_at=1))
    refused: list[BusyError] = []

    def take_over() -> None:
        try:
            with lease(store, "retrain", new_id(), LIVE) as run:
                run.finish(RunOutcome.UNCHANGED)
        except BusyError as error:
            refused.append(error)

    taker = threading.Thread(target=take_over)
    with writing(store) as connection:
        seq = take_numbers(connection, "run_ended", 1)
        taker.start()
        wait_until(lambda: waits_for_a_lock(store))
        ends = {"seq": seq} if outcome else {}
        connection.execute(update(RunRow).where(RunRow.run_id == silent).values(**does, **ends))
    taker.join()

    found = {past.run_id: past.outcome for past in past_runs(store)}
    store.dispose()
    assert found[silent] == outcome
    assert bool(refused) is busy


def waits_for_a_lock(store: Engine) -> bool:
    ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with store.connect() as connection:
        return bool(connection.scalar(text(f"{ours} AND wait_event_type = 'Lock'")))


def test_a_heartbeat_less_than_a_minute_old_still_holds(store: Engine) -> None:
    alive = new_id()
    with lease(store, "retrain", alive, LIVE) as run:
        age_heartbeat(store, alive, 55)
        with pytest.raises(BusyError), lease(store, "retrain", new_id(), LIVE):
            raise AssertionError("two at a time")
        run.finish(RunOutcome.UNCHANGED)


def test_the_heartbeat_goes_on_while_the_run_works(store: Engine) -> None:
    with lease(store, "retrain", new_id(), LIVE, heartbeat_s=0.02) as run:
        began = past_runs(store)[0].heartbeat_at
        wait_until(lambda: past_runs(store)[0].heartbeat_at > began)
        run.finish(RunOutcome.UNCHANGED)
    assert not [t for t in threading.enumerate() if t.name == "run-heartbeat" and t.is_alive()]


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        pytest.param(InputError("row 3 has no start"), "row 3 has no start", id="ours in full"),
        pytest.param(ValueError("disk full on db01"), "ValueError", id="others by class alone"),
        pytest.param(KeyboardInterrupt(), "KeyboardInterrupt", id="an interrupt by name"),
    ],
)
def test_an_error_ends_the_run_as_failed(store: Engine, error: BaseException, noted: str) -> None:
    with pytest.raises(type(error)), lease(store, "retrain", new_id(), LIVE):
        raise error
    (past,) = past_runs(store)
    assert (past.outcome, past.detail) == ("failed", {"error": noted})


def test_a_run_that_forgets_to_say_how_it_ended_failed(store: Engine) -> None:
    with pytest.raises(RuntimeError), lease(store, "retrain", new_id(), LIVE):
        pass
    assert past_runs(store)[0].outcome == "failed"


def test_a_run_that_was_taken_over_promotes_nothing(store: Engine) -> None:
    sleeper = new_id()
    with lease(store, "retrain", sleeper, LIVE) as run:
        age_heartbeat(store, sleeper, 61)
        with lease(store, "retrain", new_id(), LIVE) as second:
            second.finish(RunOutcome.UNCHANGED)
        with pytest.raises(BusyError, match="lost its lease"):
            record(
                store, AuditAction.PROMOTE, 1, "a" * 32, who="t", why="t", after=0, run_id=sleeper
            )
        run.finish(RunOutcome.FAILED)
    assert promotions(store) == []


def test_of_promotions_judged_against_one_champion_one_is_written(store: Engine) -> None:
    start = threading.Barrier(4)

    def promote(version: int) -> bool:
        start.wait()
        digest = f"{version:032x}"
        try:
            record(store, AuditAction.PROMOTE, version, digest, who="t", why="t", after=0)
        except NoisegateError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(promote, range(1, 5))) == [False, False, False, True]
    assert len(promotions(store)) == 1
