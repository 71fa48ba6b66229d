"""The demo keeps to a store of its own, and an interrupted one goes on with the same history."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import Engine, select

from noisegate.alert import MICROS, Origin
from noisegate.errors import InputError, SettingsError
from noisegate.learning.demo import KIND, tell
from noisegate.scrub import Scrubber
from noisegate.settings import Settings
from noisegate.store.audit import AuditAction, promotions, record
from noisegate.store.database import open_store
from noisegate.store.facts import Kind
from noisegate.store.identity import Identity
from noisegate.store.ingest import store_raw
from noisegate.store.tables import AlertRow, EventRow

BEGUN_US = 1_750_000_000 * MICROS
HOUR_US = 3_600 * MICROS


def import_one(settings: Settings, engine: Engine, source: str, origin: Origin) -> None:
    """One alert of somebody's own."""
    raw = pa.record_batch(
        {"service": ["a"], "name": ["x"], "message": ["m"], "starts_at": [1_750_000_000]}
    )
    identity = Identity.from_settings(settings)
    store_raw(engine, raw, identity=identity, scrubber=Scrubber(), source=source, origin=origin)


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        pytest.param("web", Origin.LIVE, id="live ones"),
        pytest.param("file", Origin.IMPORT, id="imported ones"),
        pytest.param("demo", Origin.IMPORT, id="imported ones whose source is called demo"),
        pytest.param("file", Origin.SIMULATED, id="simulated ones of another history"),
    ],
)
def test_a_store_with_other_alerts_is_refused_and_left_alone(
    sqlite_settings: Settings, source: str, origin: Origin
) -> None:
    engine = open_store(sqlite_settings)
    import_one(sqlite_settings, engine, source, origin)
    with pytest.raises(InputError) as refused:
        tell(sqlite_settings, alerts=2_000, days=5, seed=7, now_us=BEGUN_US)
    message = str(refused.value)
    assert f"(origin {origin.value})" in message and "\n" not in message
    assert "NOISEGATE_HOME" in message and "NOISEGATE_DB_URL" in message
    assert "--" not in message  # no way around it
    assert events(engine, KIND) == []
    engine.dispose()


def test_a_store_with_a_champion_whose_alerts_lie_elsewhere_is_refused(
    sqlite_settings: Settings,
) -> None:
    engine = open_store(sqlite_settings)
    record(engine, AuditAction.PROMOTE, 1, "d" * 32, who="retrain flow", why="better")
    with pytest.raises(InputError, match=r"holds a champion .*NOISEGATE_HOME.*NOISEGATE_DB_URL"):
        tell(sqlite_settings, alerts=2_000, days=5, seed=7, now_us=BEGUN_US)
    assert len(promotions(engine)) == 1
    engine.dispose()


def test_it_does_not_learn_from_a_database_of_the_teams_own(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(alert_db_uri="sqlite:////nowhere/team.db")
    with pytest.raises(SettingsError, match="ALERT_DB_URI is set"):
        tell(settings, alerts=2_000, days=5, seed=7, now_us=BEGUN_US)


def interrupted(settings: Settings, now_us: int) -> None:
    """A telling that is interrupted once its history is in the store."""
    told: list[str] = []

    def interrupt(what: str) -> None:
        told.append(what)
        if what != "simulating alerts":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell(settings, alerts=2_000, days=5, seed=7, now_us=now_us, progress=interrupt)
    assert len(told) == 2


def events(engine: Engine, kind: str) -> list[dict[str, object]]:
    """The payloads of these events."""
    with engine.connect() as connection:
        query = select(EventRow.payload).where(EventRow.kind == kind).order_by(EventRow.seq)
        return [dict(payload) for payload in connection.scalars(query)]


def held(engine: Engine) -> tuple[list[object], Counter[str]]:
    """Its alerts, and how much was scrubbed in them."""
    row = AlertRow
    query = select(row.service, row.name, row.starts_at, row.ends_at, row.message)
    with engine.connect() as connection:
        alerts: list[object] = sorted(
            (tuple(found) for found in connection.execute(query)), key=repr
        )
    scrubbed: Counter[str] = Counter()
    for payload in events(engine, Kind.SCRUB):
        scrubbed.update(payload["entities"])  # type: ignore[call-overload]
    return alerts, scrubbed


def test_an_interrupted_telling_goes_on_with_its_history_and_counts_it_once(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    later_us = BEGUN_US + 30 * HOUR_US
    often, once = make_settings(home=tmp_path / "often"), make_settings(home=tmp_path / "once")
    for now_us in (BEGUN_US, BEGUN_US + 17 * HOUR_US, later_us):
        interrupted(often, now_us)

    # Interrupted at once: nothing but the beginning is there.
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell(once, alerts=2_000, days=5, seed=7, now_us=BEGUN_US, progress=interrupt)
    interrupted(once, later_us)
    engines = open_store(often), open_store(once)
    (alerts, scrubbed), (expected, expected_scrubbed) = map(held, engines)
    assert len(alerts) > 1_000 and alerts == expected
    assert sum(scrubbed.values()) > 100 and scrubbed == expected_scrubbed
    assert {payload["begun_us"] for payload in events(engines[0], KIND)} == {BEGUN_US}
    for engine in engines:
        engine.dispose()
