"""What the demo tells: 30 days of a gate that never ran, up to now, and later further on."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Engine, func, select, text, true
from typer.testing import CliRunner

from noisegate.alert import MICROS, Origin
from noisegate.cli.app import app
from noisegate.learning.demo import Added, tell
from noisegate.learning.rehearsed_runs import bad_day
from noisegate.settings import load_settings
from noisegate.store.audit import promotions
from noisegate.store.database import open_store
from noisegate.store.tables import AlertRow, Base, DecisionRow, EventRow, OutcomeRow, RunRow

DAY_US = 86_400 * MICROS
ALERTS, SEED = 3_000, 7
TABLES = ("decision", "outcome", "run", "event")


def rows(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(query)))


def facts(engine: Engine) -> dict[str, list[Any]]:
    """All that only grows, in order."""
    return {table: rows(engine, f"SELECT * FROM {table} ORDER BY seq") for table in TABLES}


@dataclass(frozen=True)
class Demo:
    """A demo that was told two days ago, and again."""

    home: Path
    engine: Engine
    now_us: int
    before: dict[str, list[Any]]
    """The facts two days ago."""
    added: Added
    """By the second telling."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    home = tmp_path_factory.mktemp("demo") / "home"
    settings, now_us = load_settings(home=home), int(time.time()) * MICROS
    tell(settings, alerts=ALERTS, days=30, seed=SEED, now_us=now_us - 2 * DAY_US)
    engine = open_store(settings)
    before = facts(engine)
    added = tell(settings, alerts=ALERTS, days=30, seed=SEED, now_us=now_us)
    yield Demo(home, engine, now_us, before, added)
    engine.dispose()


def test_it_ends_now_and_all_of_it_is_simulated(demo: Demo) -> None:
    for table, at in (
        (AlertRow, AlertRow.starts_at),
        (DecisionRow, DecisionRow.at),
        (OutcomeRow, OutcomeRow.known_at),
        (RunRow, RunRow.ended_at),
        (EventRow, EventRow.at),
    ):
        query = select(table.origin, func.max(at)).group_by(table.origin)
        with demo.engine.connect() as connection:
            ((origin, newest),) = connection.execute(query.where(_ours(table)))
        assert origin == Origin.SIMULATED
        assert demo.now_us - 2 * DAY_US < newest <= demo.now_us
    assert promotions(demo.engine) == []  # none of them made a model champion here


def _ours(table: type[Base]) -> ColumnElement[bool]:
    # The store's own name is an event, too.
    return EventRow.seq.is_not(None) if table is EventRow else true()


def test_every_alert_of_the_last_30_days_is_decided_once_when_it_fired(demo: Demo) -> None:
    ((count, most, least, alerts),) = rows(
        demo.engine,
        "SELECT COUNT(*), MAX(d.at - a.starts_at), MIN(d.at - a.starts_at), COUNT(DISTINCT "
        "a.alert_id) FROM decision d JOIN alert a ON a.alert_id = d.alert_id",
    )
    since_us = demo.now_us - 32 * DAY_US  # when it was told first, it was 30 days ago
    ((fired,),) = rows(demo.engine, f"SELECT COUNT(*) FROM alert WHERE starts_at > {since_us}")
    assert count == alerts
    assert abs(count - fired) <= 1  # one may fire just before the 30 days, and be decided in them
    assert 0 < least <= most < 2.1 * MICROS


def test_outcomes_follow_from_the_hold(demo: Demo) -> None:
    found = rows(
        demo.engine,
        "SELECT o.decision_id, o.outcome, o.was, o.paged, o.delay_s, o.known_at, d.at, d.hold_s, "
        "d.action, a.starts_at, a.ends_at "
        "FROM outcome o JOIN decision d ON d.decision_id = o.decision_id "
        "JOIN alert a ON a.alert_id = d.alert_id",
    )
    assert {one.outcome for one in found} == {"noise", "real", "unseen"}
    for one in found:
        assert one.at <= one.known_at <= demo.now_us
        assert one.delay_s <= one.hold_s
        if one.outcome == "unseen":
            assert not one.paged and one.action == "hold"
        if not one.paged:  # it cleared while it was held
            assert (one.ends_at - one.starts_at) / MICROS <= one.hold_s
        assert one.was is None or one.was != one.outcome
    first = [one.decision_id for one in found if one.was is None]
    assert len(first) == len(set(first))


def test_two_in_a_hundred_page_by_lot(demo: Demo) -> None:
    ((held_out, paged, count),) = rows(
        demo.engine,
        "SELECT SUM(holdout), SUM(holdout AND action = 'page' AND reason = 'holdout'), COUNT(*) "
        "FROM decision",
    )
    assert held_out == paged
    assert 0.005 < held_out / count < 0.04


def test_one_bad_day_spends_budget(demo: Demo) -> None:
    incident = bad_day(demo.now_us - 2 * DAY_US)
    bad = [
        at
        for (at,) in rows(demo.engine, "SELECT at FROM decision WHERE status <> 'ok' ORDER BY at")
    ]
    assert len(bad) >= 4
    assert all(incident.begins_us <= at < incident.begins_us + DAY_US for at in bad)
    runs = rows(
        demo.engine,
        f"SELECT flow, outcome FROM run WHERE started_at >= {incident.begins_us} ORDER BY ended_at",
    )
    assert runs[:3] == [("tune", "crashed"), ("retrain", "failed"), ("retrain", "promoted")]


def test_runs_come_as_scheduled_and_say_how_they_went(demo: Demo) -> None:
    runs = rows(demo.engine, "SELECT flow, outcome, ended_at, seq, detail FROM run ORDER BY seq")
    assert Counter(one.flow for one in runs)["tune"] in (38, 39, 40)
    assert {one.outcome for one in runs} == {
        *("promoted", "refused", "unchanged", "failed", "crashed")
    }
    assert all(a.ended_at <= b.ended_at and a.seq + 1 == b.seq for a, b in pairwise(runs))
    for one in runs:
        told = json.loads(one.detail)
        assert ("error" in told) == (one.outcome == "failed")
        assert ("figures" in told) == (one.outcome not in ("failed", "crashed"))


def test_told_later_it_goes_on_and_changes_nothing_that_was_told(demo: Demo) -> None:
    after = facts(demo.engine)
    assert demo.added.decisions and demo.added.outcomes and demo.added.runs
    for table, old in demo.before.items():
        assert after[table][: len(old)] == old, table


@pytest.mark.e2e
def test_the_command_learns_a_champion_and_says_where_to_look_next(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo.home, tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISEGATE_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["demo", "--alerts", "3000"], catch_exceptions=False)
    assert "noisegate slo backfill" in result.stdout
    engine = open_store(load_settings())
    rehearsed = rows(
        engine,
        "SELECT payload FROM event WHERE kind = 'promotion' AND origin = 'simulated' "
        "ORDER BY seq DESC",
    )
    champion = promotions(engine)
    engine.dispose()
    if "retrain: promoted" in result.stdout:
        last = json.loads(rehearsed[0].payload)["version"]
        assert champion[-1].version == last + 1, "numbers go on where the rehearsal ended"
    else:
        assert champion == []
