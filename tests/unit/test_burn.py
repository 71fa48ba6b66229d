import re
from dataclasses import replace

import pytest

from observability import states
from observability.burn import Compiled, CompileOptions, Record, compile_slo, inhibit_rules
from observability.promql import Clock, Counted, duration, minute_count
from observability.slo import (
    DAY_S,
    WORKBOOK,
    Burn,
    ConsecutiveFailures,
    Delayed,
    Events,
    Freshness,
    Kind,
    Latency,
    Level,
    Mean,
    Selector,
    Slo,
)

DECISIONS = Selector("noisegate_decisions_total")
FAILED = Selector("noisegate_decisions_total", (("status", "=", "failed"),))
EVENTS = Events(DECISIONS, bad=FAILED)
LATENCY = Latency(Selector("noisegate_decision_latency_seconds"), 0.015)
DELAY = "noisegate_real_delay_seconds"
MEAN = Mean(Selector(f"{DELAY}_sum"), Selector(f"{DELAY}_count"), 60, 300)
LOST = Delayed(Selector("noisegate_real_alerts_total"), Selector("noisegate_lost_alerts_total"))
FRESH = Freshness(Selector("noisegate_newest_alert_timestamp_seconds"), 3_600)
FAILURES = ConsecutiveFailures(Selector("noisegate_run_consecutive_failures"), 0)
LEVEL = Level(Selector("noisegate_run_last_duration_seconds", (("flow", "=", "retrain"),)), 1_800)

COUNTS = [
    pytest.param(EVENTS, id="events"),
    pytest.param(LATENCY, id="latency"),
    pytest.param(MEAN, id="mean"),
    pytest.param(LOST, id="delayed"),
]
LEVELS = [
    pytest.param(FRESH, id="freshness"),
    pytest.param(FAILURES, id="consecutive failures"),
    pytest.param(LEVEL, id="level"),
]

ALWAYS = {
    "slo:objective:ratio",
    "slo:total:count1m",
    "slo:bad:count1m",
    "slo:window:total",
    "slo:window:bad",
    "slo:errors:ratio",
    "slo:burn:rate",
    "slo:total:count",
    "slo:bad:count",
    "slo:budget:remaining",
    "slo:budget:exhaustion_seconds",
    "slo:firing:state",
}


def slo(kind: Kind = EVENTS, **changes: object) -> Slo:
    tiers = WORKBOOK if isinstance(kind, Events | Latency | Mean) else ()
    made = Slo(
        name="decisions-made",
        display_name="Decisions are made",
        description="",
        service="noisegate",
        objective=0.999,
        kind=kind,
        tiers=tiers,
        traffic_per_min=10.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def find(compiled: Compiled, name: str, **labels: str) -> Record:
    (found,) = (
        record
        for record in compiled.records
        if record.name == name and labels.items() <= record.labels.items()
    )
    return found


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        pytest.param(300, "5m", id="minutes"),
        pytest.param(30 * DAY_S, "30d", id="days, never weeks or months"),
        pytest.param(5_400, "1h30m", id="two units"),
        pytest.param(2.5, "2s500ms", id="parts of a second"),
        pytest.param(0.0004, "0s", id="nothing"),
    ],
)
def test_a_duration_is_written_as_prometheus_reads_it(seconds: float, written: str) -> None:
    assert duration(seconds) == written


@pytest.mark.parametrize("kind", [*COUNTS, *LEVELS])
def test_every_kind_records_what_dashboards_read(kind: Kind) -> None:
    compiled = compile_slo(slo(kind))
    assert {record.name for record in compiled.records} >= ALWAYS
    assert all(record.labels["slo"] == "decisions-made" for record in compiled.records)
    assert all(record.labels["service"] == "noisegate" for record in compiled.records)


@pytest.mark.parametrize("kind", [*COUNTS, *LEVELS])
def test_no_series_is_recorded_twice(kind: Kind) -> None:
    records = compile_slo(slo(kind)).records
    series = [(record.name, tuple(sorted(record.labels.items()))) for record in records]
    assert len(series) == len(set(series))


@pytest.mark.parametrize("kind", [*COUNTS, *LEVELS])
def test_a_record_reads_only_what_was_recorded_before_it_or_remembers(kind: Kind) -> None:
    seen: set[str] = set()
    reads = re.compile(r"(slo:\w+:\w+)\{[^}]*\}(\[)?")
    for record in compile_slo(slo(kind)).records:
        later = {name for name, ranged in reads.findall(record.expr) if not ranged} - seen
        # The absent state reads the count of the whole window, which the slower group records.
        assert later <= {"slo:total:count"} if record.labels.get("tier") == "absent" else not later
        seen.add(record.name)


@pytest.mark.parametrize("kind", [*COUNTS, *LEVELS])
def test_every_alert_has_its_state_and_says_what_to_do(kind: Kind) -> None:
    compiled = compile_slo(
        slo(kind), CompileOptions("https://grafana", runbook_url="https://books/")
    )
    for alert in compiled.alerts:
        assert find(compiled, "slo:firing:state", tier=alert.tier)
        assert f'slo="{alert.slo.name}"' in alert.state
        assert alert.labels["severity"] == alert.severity
        assert alert.for_s == 0
        heading = "burn" if "long" in alert.labels else alert.tier
        assert alert.annotations["runbook_url"] == f"https://books/decisions-made.md#{heading}"
        assert alert.annotations["dashboard_url"].startswith("https://grafana/d/")
        texts = " ".join(alert.annotations.values())
        assert set(re.findall(r"\$\w+", texts)) <= {"$value"}
        assert set(alert.facts) == {"budget_left", "exhausted_in"}


@pytest.mark.parametrize(
    ("kind", "tiers"),
    [
        pytest.param(
            EVENTS,
            {
                "absent": "page",
                "page_1h": "page",
                "page_6h": "page",
                "ticket_1d": "ticket",
                "ticket_3d": "ticket",
                "stuck": "ticket",
                "invalid": "ticket",
            },
            id="burn rates, and the silence of what counts events",
        ),
        pytest.param(
            LOST,
            {"absent": "page", "unproven": "ticket", "stuck": "ticket", "invalid": "ticket"},
            id="a bound where labels come late",
        ),
        pytest.param(
            FAILURES,
            {"absent": "page", "over": "ticket", "invalid": "ticket"},
            id="a level, which cannot be stuck",
        ),
    ],
)
def test_each_tier_is_an_alert_of_its_own(kind: Kind, tiers: dict[str, str]) -> None:
    alerts = compile_slo(slo(kind)).alerts
    assert {alert.tier: alert.severity for alert in alerts} == tiers
    assert len({alert.name for alert in alerts}) == len(alerts)


def test_alert_names_are_camel_case_with_the_long_window() -> None:
    names = [alert.name for alert in compile_slo(slo()).alerts]
    assert "DecisionsMadeBurn1h" in names
    assert "DecisionsMadeAbsent" in names


def test_two_tiers_of_one_window_have_two_names() -> None:
    tiers = (Burn("page_1d", "page", 6, DAY_S, 7_200), Burn("ticket_1d", "ticket", 3, DAY_S, 7_200))
    names = [alert.name for alert in compile_slo(slo(tiers=tiers)).alerts]
    assert {"DecisionsMadeBurnPage1d", "DecisionsMadeBurnTicket1d"} <= set(names)


def test_windows_of_a_tier_that_is_not_the_workbooks_are_recorded() -> None:
    compiled = compile_slo(slo(tiers=(Burn("page_2h", "page", 10, 7_200, 600),)))
    assert find(compiled, "slo:burn:rate", window="10m").interval_s == 15
    assert find(compiled, "slo:burn:rate", window="2h").interval_s == 60


def test_the_period_is_a_label_and_the_range_of_the_budget() -> None:
    compiled = compile_slo(slo(window_s=7 * DAY_S))
    assert "[7d]" in find(compiled, "slo:bad:count", period="7d").expr
    assert find(compiled, "slo:budget:remaining", period="7d")


def test_what_our_exporter_counts_is_the_same_at_another_address() -> None:
    ours = minute_count(FAILED, DECISIONS, Clock())
    assert "max by (action, reason, status) (last_over_time(" in ours
    others = minute_count(Selector("requests_total"), Selector("requests_total"), Clock())
    assert "max by" not in others


@pytest.mark.parametrize(
    ("kind", "watched"),
    [
        pytest.param(EVENTS, {"total"}, id="of one metric: all of it"),
        pytest.param(MEAN, {"total", "part"}, id="of two metrics: both"),
        pytest.param(
            Events(Selector("requests_total"), bad=Selector("errors_total")),
            {"total"},
            id="errors of others: not theirs, for they come and go",
        ),
        pytest.param(LEVEL, {"total"}, id="a gauge"),
    ],
)
def test_series_that_must_not_be_lost_are_counted(kind: Kind, watched: set[str]) -> None:
    counted = [r for r in compile_slo(slo(kind)).records if r.name == "slo:series:count"]
    assert {record.labels["of"] for record in counted} == watched


def test_good_events_are_taken_from_all() -> None:
    bad = find(compile_slo(slo(Events(DECISIONS, good=FAILED))), "slo:bad:count1m").expr
    assert bad.startswith("slo:total:count1m{")


def test_bad_events_are_clamped_where_they_are_summed_and_not_by_the_minute() -> None:
    compiled = compile_slo(slo(Events(Selector("jobs_started"), bad=Selector("jobs_failed"))))
    assert "clamp_min(sum(sum_over_time(" in find(compiled, "slo:bad:count").expr
    assert "clamp_min(sum(sum_over_time(" in find(compiled, "slo:window:bad", window="6h").expr
    late = compile_slo(slo(LOST))
    assert find(late, "slo:bad:count").expr.startswith("sum(sum_over_time(")


@pytest.mark.parametrize("kind", [*COUNTS, *LEVELS])
def test_only_ranges_reach_back_to_another_name_of_the_service(kind: Kind) -> None:
    for record in compile_slo(slo(kind)).records:
        for labels, ranged in re.findall(r"slo:\w+:\w+\{([^}]*)\}(\[)?", record.expr):
            own = 'service="noisegate"' in labels
            assert own or ranged, record.expr


def test_a_run_fails_or_it_does_not_so_there_is_no_slack() -> None:
    assert "0.1" in find(compile_slo(slo(LEVEL)), "slo:firing:state", tier="over").expr
    assert "0.1" not in find(compile_slo(slo(FAILURES)), "slo:firing:state", tier="over").expr


def test_a_whole_bucket_bound_is_found_in_both_spellings() -> None:
    counted = Counted.of(slo(Latency(Selector("noisegate_decision_latency_seconds"), 1.0)))
    assert counted is not None
    assert counted.part.matchers == (("le", "=~", r"1(\.0)?"),)


def test_a_mean_counts_what_could_be_spent() -> None:
    total = find(compile_slo(slo(MEAN, objective=0.8)), "slo:total:count1m").expr
    assert total.startswith("300 * (")


@pytest.mark.parametrize("shorten", [60.0, 120.0])
def test_a_faster_clock_shortens_ranges_and_keeps_names(shorten: float) -> None:
    compiled = compile_slo(slo(), CompileOptions(shorten=shorten))
    assert min(record.interval_s for record in compiled.records) == 1
    assert f"[{duration(21_600 / shorten)}]" in find(compiled, "slo:window:bad", window="6h").expr
    assert not any("[3d]" in record.expr for record in compiled.records)
    spent = find(compiled, "slo:budget:exhaustion_seconds", period="30d").expr
    assert f"* {30 * DAY_S / shorten:.12g} " in spent


@pytest.mark.parametrize(
    ("per_minute", "minutes"),
    [
        pytest.param(None, 30, id="not declared: half an hour, as a week ago"),
        pytest.param(100.0, 30, id="busy: half an hour"),
        pytest.param(0.4, 35, id="low: until chance is one in a million"),
    ],
)
def test_silence_is_told_when_chance_does_not_explain_it(
    per_minute: float | None, minutes: int
) -> None:
    assert states.silence_s(slo(traffic_per_min=per_minute)) == 60 * minutes


def test_late_labels_without_declared_traffic_are_never_stuck() -> None:
    tiers = {alert.tier for alert in compile_slo(slo(LOST, traffic_per_min=None)).alerts}
    assert "stuck" not in tiers


def test_events_to_prove_a_promise_are_those_of_the_recorded_bound() -> None:
    promise = slo(LOST, objective=0.99)
    n, z = states.events_to_prove(promise), states.z_score(LOST)
    assert n == 268
    assert z * z / (n + z * z) <= 0.01 < z * z / (n - 1 + z * z)


def test_what_says_more_silences_what_says_less() -> None:
    absent, page = inhibit_rules()
    assert absent["source_matchers"] == ['tier="absent"']
    assert 'severity="ticket"' in page["target_matchers"]
    assert absent["equal"] == page["equal"] == ["slo", "service"]
