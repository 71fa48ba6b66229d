"""Facts in, metrics out: right across restarts, replicas, retention, late verdicts, origins."""

import itertools
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, delete, insert, select, text, update

from noisegate.alert import ALERT_SCHEMA, MICROS, Action, Origin
from noisegate.errors import SettingsError, UnreachableError
from noisegate.metrics import MOST_SERVICES, OTHER_SERVICES
from noisegate.scrub import Entity, Scrubber
from noisegate.scrub.rules import RULES
from noisegate.settings import Settings
from noisegate.store import audit, canary
from noisegate.store.database import open_store, upgrade, writing
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
from noisegate.store.files import import_file
from noisegate.store.ingest import store_alerts
from noisegate.store.runs import RunOutcome, database_now, lease
from noisegate.store.snapshot import extend
from noisegate.store.tables import DecisionRow, OutcomeRow, RunRow, VerdictRow
from observability import exporter, totals
from observability.exporter import Exporter, counters, dated, metrics_page

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
Add = Callable[[str, str], None]
DAY_US = 86_400 * MICROS
T0 = 1_760_000_000 * MICROS
_ids = itertools.count()


def decision(**changes: object) -> DecisionFact:
    facts: dict[str, object] = {
        "decision_id": uuid.uuid4().hex,
        "alert_id": uuid.uuid4().hex,
        "origin": Origin.LIVE,
        "service": "web",
        "at": T0 + next(_ids) * MICROS,
        "action": Action.PAGE,
        "reason": "severity_floor",
        "hold_s": 0.0,
        "status": Status.OK,
        "latency_us": 900,
        "version": 1,
    }
    return DecisionFact(**(facts | changes))  # type: ignore[arg-type]


def outcome(**changes: object) -> OutcomeFact:
    facts: dict[str, object] = {
        "decision_id": uuid.uuid4().hex,
        "alert_id": uuid.uuid4().hex,
        "origin": Origin.LIVE,
        "service": "web",
        "outcome": Became.NOISE,
        "paged": False,
        "delay_s": 0.0,
        "known_at": T0 + next(_ids) * MICROS,
    }
    return OutcomeFact(**(facts | changes))  # type: ignore[arg-type]


def decide(engine: Engine, *facts: DecisionFact) -> None:
    with writing(engine) as connection:
        append_decisions(connection, facts)


def learn(engine: Engine, *facts: OutcomeFact) -> None:
    with writing(engine) as connection:
        append_outcomes(connection, facts)


def tell(
    engine: Engine, kind: str, payload: dict[str, object], origin: Origin = Origin.LIVE
) -> None:
    with writing(engine) as connection:
        at = T0 + next(_ids) * MICROS
        append_events(connection, [Event(kind, at, at, origin, payload)])


def alerts(n: int, *, first: int = 0, ended: bool = False, origin: str = "live") -> pa.RecordBatch:
    rows = [
        {
            "alert_id": f"{i:032x}",
            "fingerprint": "f" * 32,
            "source": "test",
            "origin": origin,
            "service": "web",
            "name": "Disk",
            "starts_at": T0 + i * MICROS,
            "ends_at": T0 + (i + 60) * MICROS if ended else None,
        }
        for i in range(first, first + n)
    ]
    return pa.RecordBatch.from_pylist(rows, ALERT_SCHEMA)


def ended_run(engine: Engine, outcome: RunOutcome, flow: str = "retrain", **detail: object) -> None:
    with lease(engine, flow, uuid.uuid4().hex, "live") as run:
        run.finish(outcome, **detail)


def scrape(settings: Settings) -> Series:
    page = metrics_page(settings)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def value(found: Series, name: str, **labels: str) -> float | None:
    return found.get((f"noisegate_{name}", frozenset(labels.items())))


def total(found: Series, name: str, **labels: str) -> float:
    wanted = frozenset(labels.items())
    return sum(v for (n, have), v in found.items() if n == f"noisegate_{name}" and wanted <= have)


def counted(found: Series) -> Series:
    """What must never fall: counters, and the series of histograms."""
    endings = ("_total", "_bucket", "_count", "_sum")
    return {key: v for key, v in found.items() if key[0].endswith(endings)}


def test_decisions_are_counted_by_what_was_decided_and_how_fast(
    settings: Settings, store: Engine
) -> None:
    decide(
        store,
        decision(latency_us=500),
        decision(latency_us=501),
        decision(latency_us=15_000),
        decision(action=Action.HOLD, reason="usually_clears", latency_us=15_001),
        decision(status=Status.TOO_LATE, latency_us=3_000_000),
        decision(status=Status.FAILED, latency_us=None),
    )

    found = scrape(settings)

    page = {"action": "page", "reason": "severity_floor"}
    assert value(found, "decisions_total", **page, status="ok") == 3
    assert value(found, "decisions_total", **page, status="failed") == 1
    assert value(found, "decisions_total", **page, status="too_late") == 1
    hold = {"action": "hold", "reason": "usually_clears", "status": "ok"}
    assert value(found, "decisions_total", **hold) == 1
    buckets = {le: value(found, "decision_latency_seconds_bucket", le=le) for le in LATENCIES}
    assert buckets == {"0.0005": 1, "0.001": 2, "0.008": 2, "0.015": 3, "0.03": 4, "+Inf": 5}
    assert value(found, "decision_latency_seconds_count") == 5
    assert value(found, "decision_latency_seconds_sum") == pytest.approx(3.031002)


LATENCIES = ("0.0005", "0.001", "0.008", "0.015", "0.03", "+Inf")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(
            {"outcome": Became.NOISE, "paged": False},
            {"outcomes_total": 1},
            id="noise kept off counts as an outcome, and as nothing else",
        ),
        pytest.param(
            {"outcome": Became.REAL, "paged": True, "delay_s": 45.0},
            {
                "outcomes_total": 1,
                "real_alerts_total": 1,
                "real_delay_seconds_count": 1,
                "real_delay_seconds_sum": 45,
                "service_delay_seconds_total": 45,
            },
            id="a real one that paged counts with its delay",
        ),
        pytest.param(
            {"outcome": Became.REAL, "paged": False, "delay_s": 45.0},
            {"outcomes_total": 1, "real_alerts_total": 1, "lost_alerts_total": 1},
            id="a real one that never paged is lost, and has no delay",
        ),
        pytest.param(
            {"outcome": Became.NOISE, "paged": True, "holdout": True},
            {"outcomes_total": 1, "holdout_outcomes_total": 1},
            id="an alert paged by lot counts in the holdout too",
        ),
        pytest.param(
            {"outcome": Became.REAL, "was": Became.UNSEEN, "paged": False},
            {"outcome_corrections_total": 1, "real_alerts_total": 1, "lost_alerts_total": 1},
            id="a late verdict that says real is a correction, and shows a loss",
        ),
        pytest.param(
            {"outcome": Became.NOISE, "was": Became.REAL, "paged": True, "holdout": True},
            {"outcome_corrections_total": 1},
            id="a late verdict that says noise takes nothing back",
        ),
    ],
)
def test_an_outcome_counts_once_in_each_counter_it_belongs_to(
    settings: Settings, store: Engine, facts: dict[str, object], expected: dict[str, float]
) -> None:
    learn(store, outcome(**facts))

    found = scrape(settings)

    names = (
        "outcomes_total",
        "outcome_corrections_total",
        "real_alerts_total",
        "lost_alerts_total",
        "holdout_outcomes_total",
        "real_delay_seconds_count",
        "real_delay_seconds_sum",
        "service_delay_seconds_total",
    )
    assert {n: v for n in names if (v := total(found, n))} == expected


def test_a_late_verdict_changes_no_counter_that_was_counted(
    settings: Settings, store: Engine
) -> None:
    said = {"decision_id": "d" * 32, "alert_id": "a" * 32}
    learn(store, outcome(**said, outcome=Became.UNSEEN))
    before = scrape(settings)

    learn(store, outcome(**said, outcome=Became.REAL, was=Became.UNSEEN))
    after = scrape(settings)

    assert total(after, "outcomes_total") == total(before, "outcomes_total") == 1
    assert value(after, "outcome_corrections_total", was="unseen", outcome="real") == 1
    assert value(after, "lost_alerts_total") == 1
    assert not [key for key, v in counted(before).items() if after[key] < v]


@pytest.mark.parametrize("at_once", [True, False], ids=["in one scrape", "scrape by scrape"])
def test_a_verdict_that_goes_back_and_forth_shows_one_real_alert(
    settings: Settings, store: Engine, at_once: bool
) -> None:
    said = {"decision_id": "d" * 32, "alert_id": "a" * 32}
    words = [Became.UNSEEN, Became.REAL, Became.NOISE, Became.REAL, Became.NOISE, Became.REAL]
    for was, now in itertools.pairwise([None, *words]):
        learn(store, outcome(**said, outcome=now, was=was))
        if not at_once:
            scrape(settings)
    learn(store, outcome(outcome=Became.REAL))

    found = scrape(settings)

    assert value(found, "outcome_corrections_total", was="noise", outcome="real") == 2
    assert value(found, "real_alerts_total") == 2
    assert value(found, "lost_alerts_total") == 2


def test_flows_and_reasons_that_are_unknown_are_counted_together(
    settings: Settings, store: Engine
) -> None:
    ended_run(store, RunOutcome.UNCHANGED, flow="digest")
    ended_run(store, RunOutcome.FAILED, flow="of a colleague")
    set_times(store, duration_s=100)
    decide(store, decision(reason="a whim"), decision(reason="another"))

    found = scrape(settings)

    assert total(found, "runs_total", flow="_other") == 2
    buckets = [
        value(found, "run_duration_seconds_bucket", flow="_other", le=le)
        for le in ("10.0", "60.0", "120.0", "+Inf")
    ]
    assert buckets == [0, 0, 2, 2]
    assert total(found, "decisions_total", reason="_other") == 2
    labels = {dict(key).get("flow") for _, key in found}
    assert labels == {None, "retrain", "tune", "rollback", "_other"}


def test_a_run_that_tells_no_figures_leaves_the_champion_without(
    settings: Settings, store: Engine
) -> None:
    ended_run(store, RunOutcome.PROMOTED, version=1)
    tell(store, Kind.PROMOTION, {"action": "promote", "version": 1})

    found = scrape(settings)

    assert value(found, "champion_version") == 1
    assert total(found, "champion_figure_ratio") == 0


def test_a_restart_and_a_second_scrape_count_nothing_twice(
    settings: Settings, store: Engine
) -> None:
    decide(store, *(decision() for _ in range(7)))
    learn(store, *(outcome() for _ in range(5)))

    first, again = scrape(settings), scrape(settings)

    assert value(first, "exporter_collect_rows") == 12
    assert value(again, "exporter_collect_rows") == 0
    assert counted(first) == counted(again)


def test_rows_that_are_deleted_stay_counted(settings: Settings, store: Engine) -> None:
    decide(store, *(decision(trace_id="1" * 32) for _ in range(7)))
    learn(store, *(outcome(service=f"s{i}") for i in range(5)))
    ended_run(store, RunOutcome.PROMOTED)
    before = scrape(settings)

    with writing(store) as connection:
        for table in (DecisionRow, OutcomeRow, RunRow):
            connection.execute(delete(table))
    emptied = scrape(settings)
    decide(store, decision())
    after = scrape(settings)

    assert counted(emptied) == counted(before)
    assert total(after, "decisions_total") == 8


def test_exporters_at_once_count_each_row_once(
    settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "STEP", 7)
    failures: list[BaseException] = []
    written = threading.Event()

    def write() -> None:
        for i in range(30):
            decide(store, *(decision() for _ in range(3)))
            learn(store, *(outcome(service=f"s{4 * i + k}") for k in range(4)))
        written.set()

    def export() -> None:
        engine = open_store(settings)
        try:
            while not written.is_set():
                totals.count(engine, "live")
            totals.count(engine, "live")
        except BaseException as error:
            failures.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=run) for run in (write, export, export, export)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = scrape(settings)
    assert not failures
    assert total(found, "decisions_total") == 90
    assert total(found, "outcomes_total") == 120
    assert services_of(found) == {*(f"s{i}" for i in range(MOST_SERVICES)), OTHER_SERVICES}


def services_of(found: Series) -> set[str]:
    return {dict(k)["service"] for n, k in found if n == "noisegate_outcomes_total"}


def test_a_scrape_with_nothing_new_waits_for_no_writer(settings: Settings, store: Engine) -> None:
    decide(store, decision())
    scrape(settings)

    with writing(store) as connection:  # on SQLite the only writer there can be
        append_decisions(connection, [decision()])
        meanwhile = scrape(settings)

    assert total(meanwhile, "decisions_total") == 1
    assert total(scrape(settings), "decisions_total") == 2


def test_a_scrape_beside_a_long_writer_shows_what_was_counted_before(
    sqlite_settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "WRITER_S", 0.05)
    store = open_store(sqlite_settings)
    decide(store, decision())
    scrape(sqlite_settings)
    decide(store, decision())

    with writing(store):
        meanwhile = scrape(sqlite_settings)
    after = scrape(sqlite_settings)
    store.dispose()

    assert total(meanwhile, "decisions_total") == 1
    assert "another program has held the database for over 0.05 s" in caplog.text
    assert total(after, "decisions_total") == 2


def test_the_past_waits_for_a_writer_as_long_as_anybody(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the past must not be written: after the wait it is an error."""
    monkeypatch.setattr(totals, "BUSY_TIMEOUT_S", 0.05)
    store = open_store(sqlite_settings)
    decide(store, decision())

    with writing(store), pytest.raises(UnreachableError, match="database is locked"):
        next(dated(store, sqlite_settings, 0, T0 * 2))
    store.dispose()


def test_numbers_are_in_commit_order_so_a_cursor_skips_no_late_commit(
    make_settings: Callable[..., Settings], postgresql_url: str
) -> None:
    settings = make_settings(db_url=postgresql_url)
    upgrade(settings)
    engine = open_store(settings)
    began, done = threading.Event(), threading.Event()

    def second() -> None:
        with writing(engine) as connection:
            connection.execute(select(1))  # its transaction is open, too
            began.set()
            append_decisions(connection, [decision(reason="protected_label")])
        done.set()

    with writing(engine) as first:
        append_decisions(first, [decision(reason="severity_floor")])
        other = threading.Thread(target=second)
        other.start()
        began.wait(30)
        # The second takes its number only once the first has committed: it can't come before it.
        assert not done.wait(0.5)
        assert total(scrape(settings), "decisions_total") == 0
    other.join()

    found = scrape(settings)
    with engine.connect() as connection:
        order = connection.execute(select(DecisionRow.reason).order_by(DecisionRow.seq)).all()
    engine.dispose()
    assert [row.reason for row in order] == ["severity_floor", "protected_label"]
    assert total(found, "decisions_total") == 2


def test_a_transaction_that_is_rolled_back_leaves_no_gap_that_stops_the_count(
    settings: Settings, store: Engine
) -> None:
    with pytest.raises(RuntimeError), writing(store) as connection:
        append_decisions(connection, [decision()])
        raise RuntimeError
    decide(store, decision())

    assert total(scrape(settings), "decisions_total") == 1


def test_rows_of_another_origin_never_count(settings: Settings, store: Engine) -> None:
    for origin in Origin:
        decide(store, decision(origin=origin))
        learn(store, outcome(origin=origin))
        tell(store, Kind.CANARY, {"planted": 2, "missed": 1}, origin)
        tell(store, Kind.SCRUB, {"entities": {"EMAIL": 3}}, origin)
        with lease(store, "retrain", uuid.uuid4().hex, origin) as run:
            run.finish(RunOutcome.REFUSED)
    store_alerts(store, [alerts(2), alerts(3, first=10, origin="simulated")])
    store_alerts(store, [alerts(1, first=20, origin="import")])
    simulated = settings.model_copy(update={"exporter_origin": "simulated"})

    for exported in (settings, simulated, settings):
        found = scrape(exported)
        assert total(found, "decisions_total") == 1
        assert total(found, "outcomes_total") == 1
        assert total(found, "runs_total") == 1
        assert value(found, "pii_canary_planted_total") == 2
        assert value(found, "scrubbed_entities_total", entity="EMAIL") == 3
        by_origin = {o: value(found, "alerts_total", origin=o) for o in Origin}
        assert by_origin == {"live": 2, "simulated": 3, "import": 1}


def test_services_beyond_the_most_are_counted_together(
    settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "STEP", 40)
    names = [f"service-{i}" for i in range(MOST_SERVICES + 30)]
    learn(store, *(outcome(service=name) for name in names[:50]))
    scrape(settings)
    learn(store, *(outcome(service=name) for name in reversed(names)))
    found = scrape(settings)

    assert total(found, "outcomes_total") == len(names) + 50
    # In the order in which they came: the first fifty, then the last of the list.
    own = {*names[:50], *names[-50:]}
    assert services_of(found) == {*own, OTHER_SERVICES}
    assert total(found, "outcomes_total", service=OTHER_SERVICES) == 30


@pytest.mark.parametrize(
    ("service", "shown"),
    [
        pytest.param('a"b\\c\nd', 'a"b\\c\nd', id="quotes and line breaks are escaped"),
        pytest.param("größe", "größe", id="any letters"),
        pytest.param("x" * 201, OTHER_SERVICES, id="too long for a name"),
        pytest.param('"' * 200, '"' * 200, id="quotes that still fit"),
        pytest.param("\x01" * 200, OTHER_SERVICES, id="too long once it is escaped"),
        pytest.param(OTHER_SERVICES, OTHER_SERVICES, id="named as the rest is"),
        pytest.param("", "", id="without a name"),
    ],
)
def test_a_service_may_have_any_name(
    settings: Settings, store: Engine, service: str, shown: str
) -> None:
    learn(store, outcome(service=service), outcome(service="web"))

    found = scrape(settings)

    assert total(found, "outcomes_total", service=shown) == 1
    assert total(found, "outcomes_total") == 2


def test_an_alert_counts_when_it_is_stored_not_when_it_changes(
    settings: Settings, store: Engine
) -> None:
    store_alerts(store, [alerts(5)])
    first = scrape(settings)
    store_alerts(store, [alerts(5, ended=True), alerts(2, first=5)])
    changed = scrape(settings)
    store_alerts(store, [alerts(7, ended=True)])
    store_alerts(store, [alerts(7, ended=True)])

    assert value(first, "alerts_total", origin="live") == 5
    assert value(changed, "alerts_total", origin="live") == 7
    assert value(scrape(settings), "alerts_total", origin="live") == 7
    assert value(changed, "newest_alert_timestamp_seconds") == (T0 / MICROS) + 6


def test_an_alert_dated_in_the_future_is_not_the_newest(settings: Settings, store: Engine) -> None:
    in_ten_years = round(time.time() + 10 * 365 * 86_400 - T0 / MICROS)
    store_alerts(store, [alerts(1), alerts(1, first=in_ten_years)])
    first = scrape(settings)
    store_alerts(store, [alerts(1, first=60)])
    second = scrape(settings)

    assert value(first, "alerts_total", origin="live") == 2
    assert value(first, "newest_alert_timestamp_seconds") == T0 / MICROS
    assert value(second, "newest_alert_timestamp_seconds") == T0 / MICROS + 60


def test_verdicts_are_counted_by_what_they_say(settings: Settings, store: Engine) -> None:
    store_alerts(store, [alerts(1)])
    with store.begin() as connection:
        for seq, said in enumerate(("noise", "real", "noise"), start=100):
            row = {"verdict_id": uuid.uuid4().hex, "alert_id": f"{0:032x}", "verdict": said}
            connection.execute(
                insert(VerdictRow).values(**row, given_at=T0, origin="live", seq=seq)
            )

    found = scrape(settings)

    assert value(found, "verdicts_total", verdict="noise") == 2
    assert value(found, "verdicts_total", verdict="real") == 1


def test_every_series_of_an_error_exists_before_the_first_error(
    settings: Settings, store: Engine
) -> None:
    found = scrape(settings)

    assert (
        value(found, "decisions_total", action="page", reason="severity_floor", status="failed")
        == 0
    )
    assert value(found, "lost_alerts_total") == 0
    assert value(found, "pii_canary_missed_total") == 0
    assert value(found, "decision_latency_seconds_bucket", le="0.015") == 0
    for flow in ("retrain", "tune", "rollback"):
        assert value(found, "runs_total", flow=flow, outcome="crashed") == 0
        assert value(found, "run_consecutive_failures", flow=flow) == 0
    for entity in Entity:
        assert value(found, "snapshot_findings_total", entity=entity) == 0


def test_runs_tell_how_they_ended_and_how_long_they_took(settings: Settings, store: Engine) -> None:
    stages = {"snapshot": 2.0, "train": 30.5}
    ended_run(store, RunOutcome.PROMOTED, stages={"snapshot": 1.0, "register": 5.0})
    ended_run(store, RunOutcome.FAILED)
    ended_run(store, RunOutcome.FAILED, stages=stages)
    ended_run(store, RunOutcome.FAILED, flow="tune")
    ended_run(store, RunOutcome.UNCHANGED, flow="tune")
    set_times(store, duration_s=100)

    found = scrape(settings)

    assert value(found, "runs_total", flow="retrain", outcome="failed") == 2
    assert value(found, "run_consecutive_failures", flow="retrain") == 2
    assert value(found, "run_consecutive_failures", flow="tune") == 0
    assert value(found, "run_last_duration_seconds", flow="retrain") == 100
    assert value(found, "run_duration_seconds_bucket", flow="retrain", le="60.0") == 0
    assert value(found, "run_duration_seconds_bucket", flow="retrain", le="120.0") == 3
    ends = [
        value(found, f"run_last_{n}_timestamp_seconds", flow="retrain") for n in ("success", "end")
    ]
    assert ends == [T0 / MICROS + 100, T0 / MICROS + 300]
    took = {
        s: value(found, "run_last_stage_duration_seconds", flow="retrain", stage=s) for s in STAGES
    }
    assert took == {"snapshot": 2.0, "train": 30.5, "register": 0.0, "promote": 0.0}


STAGES = ("snapshot", "train", "register", "promote")


def set_times(engine: Engine, duration_s: int) -> None:
    """Runs of a test end at once: as if the k-th had ended at T0 + k x duration."""
    with engine.begin() as connection:
        ended = T0 + RunRow.seq * duration_s * MICROS
        connection.execute(
            update(RunRow).values(ended_at=ended, started_at=ended - duration_s * MICROS)
        )


@pytest.mark.parametrize(
    ("silent_s", "failures"),
    [
        pytest.param(30, 1, id="a run that beats is no failure"),
        pytest.param(90, 2, id="a run without a heartbeat counts as crashed"),
    ],
)
def test_a_run_that_died_counts_before_anybody_closes_its_row(
    settings: Settings, store: Engine, silent_s: int, failures: int
) -> None:
    ended_run(store, RunOutcome.FAILED)
    with store.begin() as connection:
        now = database_now(connection)
        times = {"started_at": now - 120 * MICROS, "heartbeat_at": now - silent_s * MICROS}
        connection.execute(
            insert(RunRow).values(run_id="o" * 32, flow="retrain", origin="live", **times)
        )

    assert value(scrape(settings), "run_consecutive_failures", flow="retrain") == failures


def test_the_champion_is_the_newest_promotion_with_what_its_run_found(
    settings: Settings, store: Engine
) -> None:
    before = scrape(settings)
    for version, noise_off in ((1, 0.7), (2, 0.8)):
        audit.record(store, audit.AuditAction.PROMOTE, version, "d", who="me", why="test")
        figures = {
            "noise_off": {"value": noise_off, "lo": 0.6, "hi": 0.9},
            "delay_s": {"value": 50.0, "lo": None, "hi": None},
        }
        ended_run(store, RunOutcome.PROMOTED, version=version, figures=figures)
    second = scrape(settings)
    audit.record(store, audit.AuditAction.ROLLBACK, 1, "d", who="me", why="test")
    back = scrape(settings)

    share = {"figure": "noise_off", "bound": "value"}
    assert value(before, "champion_version") is None
    assert value(before, "champion_confirmed_timestamp_seconds") is None
    assert value(second, "champion_version") == 2
    assert value(second, "champion_figure_ratio", **share) == 0.8
    assert value(second, "champion_figure_ratio", figure="noise_off", bound="high") == 0.9
    assert value(second, "champion_delay_seconds", bound="value") == 50
    assert value(second, "champion_delay_seconds", bound="low") is None
    assert value(back, "champion_version") == 1
    assert value(back, "champion_figure_ratio", **share) == 0.7
    assert value(back, "promotions_total", action="promote") == 2
    assert value(back, "promotions_total", action="rollback") == 1
    assert value(back, "delay_budget_seconds") == settings.delay_budget_s


def test_only_a_good_run_or_a_promotion_confirms_the_champion(
    settings: Settings, store: Engine
) -> None:
    tell(store, Kind.PROMOTION, {"action": "promote", "version": 1})
    ended_run(store, RunOutcome.UNCHANGED)
    ended_run(store, RunOutcome.FAILED)
    ended_run(store, RunOutcome.PROMOTED, flow="rollback")
    set_times(store, duration_s=3_600)

    confirmed = value(scrape(settings), "champion_confirmed_timestamp_seconds")

    assert confirmed == T0 / MICROS + 3_600


def test_the_canary_is_planted_and_what_comes_out_is_counted(
    settings: Settings, store: Engine
) -> None:
    blind = Scrubber(rules=[rule for rule in RULES if rule.entity is not Entity.EMAIL])

    caught = canary.plant(settings, store, "live")
    fine = scrape(settings)
    missed = [canary.plant(settings, store, "live", blind) for _ in range(2)]
    alarm = scrape(settings)

    assert not caught
    assert set(missed[0]) == {Entity.EMAIL}
    assert value(fine, "pii_canary_planted_total") == 2 * len(canary.PLANTED)
    assert value(fine, "pii_canary_consecutive_failures") == 0
    assert value(alarm, "pii_canary_consecutive_failures") == 2
    assert value(alarm, "pii_canary_missed_total") == 4
    canary.plant(settings, store, "live")
    assert value(scrape(settings), "pii_canary_consecutive_failures") == 0


@pytest.mark.parametrize("entity", canary.PLANTED)
def test_the_canary_misses_an_entity_whose_rules_are_gone(entity: Entity) -> None:
    rules = [rule for rule in RULES if rule.entity is not entity]
    text, planted = canary.PLANTED[entity]

    (left,), _ = Scrubber(rules=rules).texts([text.format(planted)])
    (clean,), _ = Scrubber().texts([text.format(planted)])

    assert left is not None and clean is not None
    assert entity in canary.missed(left)
    assert not canary.missed(clean)


def test_an_import_records_what_it_replaced_once_it_has_landed(
    settings: Settings, store: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "alerts.csv"
    file.write_text(
        "service,message,starts_at\n"
        "web,mail to jane.doe@example.com bounced,2026-01-01T00:00:00Z\n"
        "web,mail to john.doe@example.com from 198.51.100.7,2026-01-01T00:01:00Z\n"
    )

    import_file(settings, file, {}, origin=Origin.SIMULATED)
    import_file(settings, file, {}, origin=Origin.SIMULATED)
    found = scrape(settings.model_copy(update={"exporter_origin": "simulated"}))

    assert value(found, "scrubbed_entities_total", entity="EMAIL") == 2
    assert value(found, "scrubbed_entities_total", entity="IPV4") == 1
    assert value(scrape(settings), "scrubbed_entities_total", entity="EMAIL") == 0


def test_imports_that_overlap_count_a_row_once(settings: Settings, tmp_path: Path) -> None:
    rows = [
        f"web,mail to {who}@example.com from 198.51.100.{i},2026-01-01T00:0{i}:00Z,{ends}"
        for i, (who, ends) in enumerate([("jo", ""), ("al", ""), ("bo", ""), ("cy", "")])
    ]
    counts = []
    for lines in (rows[:3], rows[1:], [rows[0] + "2026-01-01T01:00:00Z", *rows[1:]], rows):
        file = tmp_path / "alerts.csv"
        file.write_text("\n".join(["service,message,starts_at,ends_at", *lines]))
        import_file(settings, file, {}, origin=Origin.LIVE)
        found = scrape(settings)
        counts.append(value(found, "scrubbed_entities_total", entity="EMAIL"))

    assert counts == [3, 4, 5, 5]  # the third file completes one row: it is scrubbed once more
    assert value(found, "scrubbed_entities_total", entity="IPV4") == 5


THE_NEXT_DAY = 1_767_312_000  # 2026-01-02


@pytest.fixture
def teams(make_settings: Callable[..., Settings], tmp_path: Path) -> Iterator[tuple[Settings, Add]]:
    """A store beside the team's own database, and how an alert gets into that."""
    theirs = sqlite3.connect(tmp_path / "team.db", isolation_level=None)
    theirs.execute("CREATE TABLE alerts (service TEXT, message TEXT, starts_at TEXT)")
    settings = make_settings(
        alert_db_uri=f"sqlite:///{tmp_path / 'team.db'}", source={"table": "alerts"}
    )
    upgrade(settings)

    def add(message: str, starts_at: str) -> None:
        theirs.execute("INSERT INTO alerts VALUES ('web', ?, ?)", (message, starts_at))

    add("from jane.doe@example.com", "2026-01-01T00:00:00Z")
    yield settings, add
    theirs.close()


def test_a_snapshot_of_the_teams_own_database_records_what_is_new_in_it(
    teams: tuple[Settings, Add],
) -> None:
    settings, add = teams
    engine = open_store(settings)

    counts = []
    for more in (None, ("from joe.doe@example.com", "2026-01-02T00:00:00Z"), None):
        if more:
            add(*more)
        extend(settings, engine)
        found = scrape(settings)
        counts.append(value(found, "scrubbed_entities_total", entity="EMAIL"))
        newest = value(found, "newest_alert_timestamp_seconds")
    engine.dispose()

    assert counts == [1, 2, 2]
    assert newest == THE_NEXT_DAY


def test_an_alert_of_theirs_dated_in_the_future_is_not_the_newest(
    teams: tuple[Settings, Add],
) -> None:
    settings, add = teams
    engine = open_store(settings)
    add("dated by a broken clock", "2099-01-01T00:00:00Z")
    add("fine", "2026-01-02T00:00:00Z")

    extend(settings, engine)
    engine.dispose()

    assert value(scrape(settings), "newest_alert_timestamp_seconds") == THE_NEXT_DAY


def test_a_snapshot_that_could_not_be_recorded_is_recorded_by_the_next(
    teams: tuple[Settings, Add],
) -> None:
    settings, add = teams
    engine = open_store(settings)
    extend(settings, engine)
    add("from joe.doe@example.com", "2026-01-02T00:00:00Z")
    rename(engine, "event", "away")
    with pytest.raises(UnreachableError, match="no such table: event"):
        extend(settings, engine)
    rename(engine, "away", "event")

    extend(settings, engine)
    engine.dispose()

    assert value(scrape(settings), "scrubbed_entities_total", entity="EMAIL") == 2


def rename(engine: Engine, old: str, new: str) -> None:
    with writing(engine) as connection:
        connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


def test_a_snapshot_that_could_not_be_published_is_not_recorded_twice(
    teams: tuple[Settings, Add],
) -> None:
    settings, _ = teams
    engine = open_store(settings)
    in_the_way = settings.home / "snapshots" / "latest"
    in_the_way.mkdir(parents=True)
    with pytest.raises((SettingsError, OSError)):
        extend(settings, engine)
    in_the_way.rmdir()

    extend(settings, engine)
    engine.dispose()

    assert value(scrape(settings), "scrubbed_entities_total", entity="EMAIL") == 1


def test_findings_of_an_unknown_kind_get_no_series_of_their_own(
    settings: Settings, store: Engine
) -> None:
    tell(store, Kind.FINDING, {"entities": {"EMAIL": 2, "jane.doe@example.com": 1}})

    found = scrape(settings)

    assert value(found, "snapshot_findings_total", entity="EMAIL") == 2
    assert value(found, "snapshot_findings_total", entity="_other") == 1


def test_buckets_of_the_latency_name_the_newest_trace(settings: Settings, store: Engine) -> None:
    first, newest = "a" * 32, "b" * 32
    decide(
        store,
        decision(latency_us=700, trace_id=first),
        decision(latency_us=800, trace_id=newest, at=T0),
        decision(latency_us=900, trace_id=None),
    )

    exemplars = {}
    exporter = Exporter(settings, store)
    for page in (openmetrics_page(exporter), openmetrics_page(Exporter(settings, store))):
        exemplars = {
            sample.labels["le"]: sample.exemplar
            for family in openmetrics(page)
            for sample in family.samples
            if sample.exemplar is not None
        }
        assert set(exemplars) == {"0.001"}
        assert exemplars["0.001"].labels == {"trace_id": newest}
        assert exemplars["0.001"].value == 0.0008
        assert float(exemplars["0.001"].timestamp) == T0 / MICROS


def openmetrics_page(exporter: Exporter) -> str:
    from prometheus_client.openmetrics.exposition import generate_latest

    class Collected:
        def collect(self) -> Iterator[object]:
            yield from exporter.collect()

    return generate_latest(Collected()).decode()  # type: ignore[arg-type]


@pytest.mark.parametrize("step_s", [1e-6, 15.0, DAY_US / MICROS])
def test_the_past_adds_up_to_what_the_exporter_shows(
    settings: Settings, store: Engine, step_s: float
) -> None:
    store_alerts(store, [alerts(20, ended=True)])
    decide(store, *(decision(latency_us=700 * (i + 1)) for i in range(20)))
    learn(store, *(outcome(service=f"s{i}", outcome=Became.REAL, paged=True) for i in range(120)))
    ended_run(store, RunOutcome.UNCHANGED)
    ended_run(store, RunOutcome.FAILED)
    audit.record(store, audit.AuditAction.PROMOTE, 3, "d", who="me", why="test")
    tell(store, Kind.CANARY, {"planted": 4, "missed": 1})
    live = scrape(settings)

    sums: Series = {}
    changes = list(dated(store, settings, 0, T0 * 2, step_us=round(step_s * MICROS)))
    for change in changes:
        key = (change.series.name, frozenset(change.series.labels))
        sums[key] = change.value if change.is_gauge else sums.get(key, 0.0) + change.value

    assert [c.at_us for c in changes] == sorted(c.at_us for c in changes)
    of_itself = {"noisegate_exporter_collect_rows", "noisegate_exporter_collect_duration_seconds"}
    assert sums == pytest.approx({k: v for k, v in live.items() if k[0] not in of_itself})
    known = {(s.name, frozenset(s.labels)): v for s, v in counters(store, "live").items()}
    assert known == pytest.approx({k: v for k, v in sums.items() if k in known})
