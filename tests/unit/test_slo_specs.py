"""OpenSLO specs: what is read becomes an SLO, all else is refused by file, line and way out."""

import re
from pathlib import Path

import pytest

from noisegate.errors import InputError, MissingError
from observability.documents import MOST_BYTES
from observability.slo import (
    WORKBOOK,
    Burn,
    ConsecutiveFailures,
    Delayed,
    Events,
    Freshness,
    Latency,
    Level,
    Mean,
    Selector,
    known_metrics,
)
from observability.specs import OURS, SLOS, Reading, load_slos, read_specs

EVENTS = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout
  displayName: Checkout works
  annotations:
    noisegate/events-per-minute: "20"
    example.com/team: shop
spec:
  service: shop
  description: People can pay.
  indicator:
    metadata:
      name: failed-decisions
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource:
            type: Prometheus
            spec:
              query: sum(noisegate_decisions_total{status="failed"})
        total:
          metricSource:
            type: Prometheus
            spec:
              query: noisegate_decisions_total
  timeWindow:
    - duration: 4w
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - displayName: Good
      targetPercent: 99.9
"""

LATENCY = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: quick
  annotations:
    noisegate/events-per-minute: "20"
spec:
  service: shop
  description: People do not wait.
  indicator:
    metadata:
      name: quick-decisions
    spec:
      thresholdMetric:
        metricSource:
          type: noisegate
          spec:
            kind: latency
            histogram: noisegate_decision_latency_seconds
  budgetingMethod: Occurrences
  objectives:
    - op: lte
      value: 0.015
      target: 0.99
"""

MEAN = LATENCY.replace("kind: latency", "kind: mean").replace(
    "            histogram: noisegate_decision_latency_seconds\n",
    "            sum: noisegate_real_delay_seconds_sum\n"
    "            count: noisegate_real_delay_seconds_count\n"
    "            most: 300\n",
).replace("value: 0.015", "value: 60").replace("target: 0.99", "target: 0.8").replace(
    'minute: "20"\n', 'minute: "20"\n    noisegate/tiers: "ticket_1d,ticket_3d"\n'
)  # fmt: skip

GAUGE = (
    LATENCY.replace('  annotations:\n    noisegate/events-per-minute: "20"\n', "")
    .replace("Occurrences", "Timeslices")
    .replace("      target: 0.99\n", "      target: 0.99\n      timeSliceTarget: 1\n")
    .replace("timeSliceTarget: 1\n", "timeSliceTarget: 1\n      timeSliceWindow: 1m\n")
)


def gauge(kind: str, fields: str, value: str) -> str:
    lines = "".join(f"            {line}\n" for line in fields.split("; "))
    return (
        GAUGE.replace("kind: latency", f"kind: {kind}")
        .replace("            histogram: noisegate_decision_latency_seconds\n", lines)
        .replace("value: 0.015", f"value: {value}")
    )


POLICY = """\
  alertPolicies:
    - kind: AlertPolicy
      metadata:
        name: fast
      spec:
        alertWhenBreaching: true
        conditions:
          - kind: AlertCondition
            metadata:
              name: fast-burn
            spec:
              severity: page
              condition:
                kind: burnrate
                op: gte
                threshold: 10
                lookbackWindow: 2h
                alertAfter: 0m
        notificationTargets:
          - targetRef: page
"""


def read(tmp_path: Path, *texts: str, metrics: object = OURS) -> Reading:
    for index, text in enumerate(texts):
        (tmp_path / f"{index}.yaml").write_text(text, encoding="utf-8")
    return read_specs(tmp_path, metrics)  # type: ignore[arg-type]


def problem(tmp_path: Path, text: str) -> tuple[int, str]:
    """Line and message of the one problem of a spec."""
    reading = read(tmp_path, text)
    assert len(reading.problems) == 1, [str(found) for found in reading.findings]
    assert reading.slos == ()
    found = reading.problems[0]
    assert "\n" not in str(found)
    assert str(found).startswith(f"{tmp_path / '0.yaml'}:{found.line}: ")
    return found.line, found.message


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


# What is read


def test_a_ratio_of_counters_becomes_events(tmp_path: Path) -> None:
    (slo,) = read(tmp_path, EVENTS).slos
    assert (slo.name, slo.display_name, slo.service) == ("checkout", "Checkout works", "shop")
    assert slo.description == "People can pay."
    assert (slo.objective, slo.window_s, slo.traffic_per_min) == (0.999, 28 * 86_400, 20.0)
    assert slo.kind == Events(
        Selector("noisegate_decisions_total"),
        bad=Selector("noisegate_decisions_total", (("status", "=", "failed"),)),
    )
    assert (slo.tiers, slo.runbook, slo.severity) == (WORKBOOK, "checkout", "ticket")


KINDS = {
    "good over total": (
        EVENTS.replace("        bad:", "        good:").replace('status="failed"', 'status!="ok"'),
        Events(
            Selector("noisegate_decisions_total"),
            good=Selector("noisegate_decisions_total", (("status", "!=", "ok"),)),
        ),
    ),
    "latency": (LATENCY, Latency(Selector("noisegate_decision_latency_seconds"), 0.015)),
    "mean": (
        MEAN,
        Mean(
            Selector("noisegate_real_delay_seconds_sum"),
            Selector("noisegate_real_delay_seconds_count"),
            60.0,
            300.0,
        ),
    ),
    "delayed": (
        EVENTS.replace(
            "type: Prometheus\n            spec:\n              query: sum(",
            "type: noisegate\n            spec:\n              kind: delayed\n"
            "              confidence: 0.9\n              query: sum(",
        ),
        Delayed(
            Selector("noisegate_decisions_total"),
            Selector("noisegate_decisions_total", (("status", "=", "failed"),)),
            0.9,
        ),
    ),
    "freshness": (
        gauge("freshness", "timestamp: noisegate_newest_alert_timestamp_seconds", "3600"),
        Freshness(Selector("noisegate_newest_alert_timestamp_seconds"), 3600.0),
    ),
    "consecutive failures": (
        gauge(
            "consecutive-failures",
            'failures: \'noisegate_run_consecutive_failures{flow="tune",job=~"a|b"}\'',
            "0",
        ),
        ConsecutiveFailures(
            Selector(
                "noisegate_run_consecutive_failures", (("flow", "=", "tune"), ("job", "=~", "a|b"))
            ),
            0.0,
        ),
    ),
    "level": (
        gauge("level", "gauge: noisegate_run_last_duration_seconds; unit: bytes", "1.5e3"),
        Level(Selector("noisegate_run_last_duration_seconds"), 1500.0, "bytes"),
    ),
}


@pytest.mark.parametrize(("text", "kind"), KINDS.values(), ids=KINDS)
def test_each_kind_is_read(text: str, kind: object, tmp_path: Path) -> None:
    reading = read(tmp_path, text)
    assert [str(found) for found in reading.findings] == []
    assert [slo.kind for slo in reading.slos] == [kind]


def test_a_kind_without_burn_rates_has_no_tiers_and_a_severity(tmp_path: Path) -> None:
    text = gauge("freshness", "timestamp: noisegate_newest_alert_timestamp_seconds", "3600")
    text = text.replace(
        "name: quick\n", 'name: quick\n  annotations: {noisegate/severity: "page"}\n'
    )
    (slo,) = read(tmp_path, text).slos
    assert (slo.tiers, slo.severity) == ((), "page")


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("ticket_3d, page_1h", ["page_1h", "ticket_3d"]),
        ("ticket_1d", ["ticket_1d"]),
        ("none", []),
    ],
)
def test_tiers_are_chosen_by_name(chosen: str, names: list[str], tmp_path: Path) -> None:
    text = EVENTS.replace("minute: ", f'minute: "20"\n    noisegate/tiers: "{chosen}"  # ')
    assert [tier.name for tier in read(tmp_path, text).slos[0].tiers] == names


def test_a_tier_of_ones_own_is_an_openslo_alert_policy(tmp_path: Path) -> None:
    (slo,) = read(tmp_path, EVENTS + POLICY).slos
    assert slo.tiers == (Burn("page_2h", "page", 10.0, 7_200.0, 600.0),)


def test_the_short_window_of_a_tier_can_be_set(tmp_path: Path) -> None:
    annotated = POLICY.replace(
        "name: fast-burn\n",
        'name: fast-burn\n              annotations: {noisegate/short-window: "15m"}\n',
    )
    (slo,) = read(tmp_path, EVENTS + annotated).slos
    assert slo.tiers == (Burn("page_2h", "page", 10.0, 7_200.0, 900.0),)


def test_a_file_may_hold_several_documents(tmp_path: Path) -> None:
    reading = read(tmp_path, f"---\n{EVENTS}---\n{LATENCY}")
    assert [slo.name for slo in reading.slos] == ["checkout", "quick"]


def test_one_file_can_be_read_alone(tmp_path: Path) -> None:
    read(tmp_path, EVENTS, LATENCY)
    assert [slo.name for slo in load_slos(tmp_path / "1.yaml")] == ["quick"]


def test_a_selector_reads_back_as_it_was_written(tmp_path: Path) -> None:
    query = r"""'http_requests_total{status=~"4\\d\\d",reason="say \"no\""}'"""
    text = EVENTS.replace('sum(noisegate_decisions_total{status="failed"})', query)
    (slo,) = read(tmp_path, text, metrics=None).slos
    assert isinstance(slo.kind, Events)
    assert f"'{slo.kind.bad}'" == query


# What is refused: (what is replaced, by what, where it stands, what is said)

REFUSED = {
    # Fields
    "an unknown field": ("displayName: Checkout", "dispalyName: Checkout", "dispalyName",
        "metadata.dispalyName is not known: did you mean displayName?"),
    "an unknown field deep down": ("            type: Prometheus", "            typ: Prometheus",
        "typ:", "typ is not known: did you mean type?"),
    "labels": ("  annotations:", "  labels: {team: shop}\n  annotations:", "labels:",
        "metadata.labels is not supported: alerts do not carry them, write annotations"),
    "a referenced indicator": ("  indicator:\n", "  indicatorRef: other\n  indicator:\n",
        "indicatorRef", "spec.indicatorRef is not supported: write it inline in the SLO"),
    "a data source": ("            type: Prometheus", "            metricSourceRef: main\n"
        "            type: Prometheus", "metricSourceRef", "data sources are not read"),
    "an unknown annotation of ours": ("noisegate/events-per-minute", "noisegate/event-per-minute",
        "noisegate/event-per", "did you mean noisegate/events-per-minute?"),
    "an annotation whose prefix is misspelt": ("noisegate/events-per-minute",
        "noisgate/events-per-minute", "noisgate/", "did you mean noisegate/events-per-minute?"),
    "another kind of object": ("kind: SLO", "kind: SLI", "kind: SLI",
        "kind SLI is not supported: write it inline in the SLO"),
    "a needless object": ("kind: SLO", "kind: Service", "kind: Service", "take the document away"),
    "an older version": ("openslo/v1", "openslo/v1alpha", "openslo/v1alpha",
        "apiVersion openslo/v1alpha is not supported: write openslo/v1"),
    "an unknown version": ("openslo/v1", "openslo/v3", "openslo/v3",
        "apiVersion openslo/v3 is not known: did you mean openslo/v1?"),
    "a missing service": ("  service: shop\n", "", "description: People",
        "spec.service is missing: give a name such as checkout-api"),
    "a name with capitals": ("name: checkout", "name: Checkout", "name: Checkout",
        "metadata.name Checkout is no name: give a-z, 0-9 and - inside, at most 63 of them"),
    "a display name that is too long": ("Checkout works", "x" * 64, "displayName: x",
        "metadata.displayName has 64 characters: OpenSLO allows 63"),
    # The indicator
    "a stored ratio": ("        bad:", "        raw:", "raw:",
        "a stored ratio forgets how many events it had"),
    "good and bad": ("        total:", "        good:\n          metricSource: {}\n        total:",
        "counter:", "ratioMetric must hold good or bad: give one of them"),
    "counters that are none": ("counter: true", "counter: false", "counter: false",
        "counter must be true: events are counted by counters"),
    "a rate": ("query: noisegate_decisions_total", "query: rate(noisegate_decisions_total[5m])",
        "query: rate", "is more than a selector (rates and sums are taken by the rules)"),
    "a grouped sum": ("sum(noisegate", "sum by (job) (noisegate", "query: sum by",
        "is more than a selector"),
    "an offset": ("query: noisegate_decisions_total", "query: noisegate_decisions_total offset 5m",
        "offset 5m", "has offset, @ or `or`, which are not read"),
    "a selector without a metric": ("query: noisegate_decisions_total",
        "query: '{job=\"a\"}'", "query: '", "names no metric"),
    "broken PromQL": ("query: noisegate_decisions_total", "query: noisegate_decisions_total{",
        "query: noisegate_decisions_total{", "give a series, such as up or sum(up)"),
    "another source": ("type: Prometheus", "type: Datadog", "type: Datadog",
        "type Datadog is not known: known are Prometheus, noisegate"),
    # Budget and objective
    "a calendar": ("      isRolling: true",
        "      calendar: {startTime: 2020-01-21 12:30:00, timeZone: UTC}", "calendar",
        "calendar is not supported: budgets are rolling, write `isRolling: true`"),
    "a window that does not roll": ("isRolling: true", "isRolling: false", "isRolling: false",
        "isRolling must be true: budgets are rolling"),
    "a month": ("duration: 4w", "duration: 1M", "duration: 1M",
        "duration 1M is of no fixed length: count it in days, such as 30d"),
    "a duration in seconds": ("duration: 4w", "duration: 30s", "duration: 30s",
        "in seconds, which OpenSLO has not"),
    "a duration with a fraction": ("duration: 4w", "duration: 1.5d", "duration: 1.5d",
        "not a duration: give a whole number and m, h, d or w, such as 30d"),
    "a duration of nothing": ("duration: 4w", "duration: 0d", "duration: 0d", "not a duration"),
    "a window of years": ("duration: 4w", "duration: 400d", "duration: 400d", "more than 366d"),
    "a window shorter than a tier": ("duration: 4w", "duration: 2d", "timeWindow",
        "tier ticket_3d looks back 3d, further than the window of 2d"),
    "a mean of ratios": ("Occurrences", "RatioTimeslices", "RatioTimeslices",
        "a mean of ratios forgets how many events each had, write Occurrences"),
    "time slices of events": ("Occurrences", "Timeslices", "Timeslices",
        "budgetingMethod Timeslices does not fit events: write Occurrences"),
    "an objective of 1": ("targetPercent: 99.9", "target: 1", "target: 1",
        "target 1 is not between 0 and 1: give a share such as 0.999"),
    "an objective in per cent as a share": ("targetPercent: 99.9", "target: 99.9", "target: 99",
        "target 99.9 is not between 0 and 1"),
    "an objective of 0": ("targetPercent: 99.9", "targetPercent: 0", "targetPercent: 0",
        "targetPercent 0 is not between 0 and 100: give a share such as 99.9"),
    "no objective": ("      targetPercent: 99.9\n", "", "displayName: Good",
        "objectives[0].target is missing: give a share between 0 and 1"),
    "two targets": ("targetPercent: 99.9", "targetPercent: 99.9\n      target: 0.999",
        "target: 0.999", "target and targetPercent are both given: give one"),
    "two objectives": ("targetPercent: 99.9", "targetPercent: 99.9\n    - target: 0.9",
        "objectives:", "spec.objectives are 2: one SLO has one, write a second SLO"),
    "a composite": ("targetPercent: 99.9", "targetPercent: 99.9\n      compositeWeight: 2",
        "compositeWeight", "composites are not read, write two SLOs"),
    "a threshold of a ratio": ("targetPercent: 99.9", "targetPercent: 99.9\n      op: gt", "op: gt",
        "op is not supported: events has no threshold, take it away"),
    # Annotations
    "an annotation that is no string": ('minute: "20"', "minute: 20", "minute: 20",
        "20 is read by YAML as int: put it in quotes"),
    "traffic that is no number": ('minute: "20"', 'minute: "many"', "many",
        'many is no traffic: give a number such as "0.5"'),
    "an unknown tier": ('minute: "20"', 'minute: "20"\n    noisegate/tiers: "page_2h"',
        "tiers:", "page_2h is no tier: did you mean page_6h?"),
    "a severity beside tiers": ('minute: "20"', 'minute: "20"\n    noisegate/severity: "page"',
        "severity:", "is of kinds without burn rates: a tier has its own"),
    # Series
    "an unknown metric": ("query: noisegate_decisions_total", "query: noisegate_decision_total",
        "query: noisegate_decision_total",
        "metric noisegate_decision_total is not exported: did you mean noisegate_decisions_total?"),
    "an unknown label": ('status="failed"', 'state="failed"', "state=",
        "noisegate_decisions_total has no label state: did you mean status?"),
    "a gauge where a counter is needed": ("query: noisegate_decisions_total",
        "query: noisegate_champion_version", "query: noisegate_champion",
        "noisegate_champion_version is a gauge: events need a counter"),
    "a histogram's name where a series is needed": ("query: noisegate_decisions_total",
        "query: noisegate_run_duration_seconds", "query: noisegate_run",
        "is a histogram, no series: name noisegate_run_duration_seconds_count for its events"),
    "a sum where a count is needed": ("query: noisegate_decisions_total",
        "query: noisegate_run_duration_seconds_sum", "query: noisegate_run",
        "is a sum, no count: name noisegate_run_duration_seconds_count"),
    "all buckets of a histogram": ("query: noisegate_decisions_total",
        "query: noisegate_run_duration_seconds_bucket", "query: noisegate_run",
        "counts an event in each of its buckets: add le of one, or kind latency"),
    "a bucket that is none": ("query: noisegate_decisions_total",
        "query: noisegate_run_duration_seconds_bucket{le=\"11\"}", "query: noisegate_run",
        "counts an event in each of its buckets"),
    "a bucket in another spelling": ("query: noisegate_decisions_total",
        "query: noisegate_decision_latency_seconds_bucket{le=\"1\"}", "query: noisegate_dec",
        'has no le="1": write le="1.0", as it is exported'),
    "a value that never is": ('status="failed"', 'status="faild"', "status=",
        'noisegate_decisions_total has no status="faild": did you mean failed?'),
    "one of several values that never is": ('status="failed"', 'status=~"failed|to_late"',
        "status=", 'has no status="to_late": did you mean too_late?'),
    "a value to leave out that never is": ('status="failed"', 'status!="okay"', "status!",
        'has no status="okay": known are failed, ok, too_late'),
    "a regex that matches no value": ('status="failed"', 'status=~"fail.?"', "status",
        'has no status that matches "fail.?": known are failed, ok, too_late'),
    "no value": ('status="failed"', 'status=""', "status", 'has no status="": known are failed'),
    "values that exclude each other": ('status="failed"', 'status="failed",status="ok"', "status",
        "selects nothing: its matchers contradict each other"),
    "bad events that are no part of all": ("query: noisegate_decisions_total",
        'query: noisegate_decisions_total{status="ok"}', "sum(noisegate",
        'noisegate_decisions_total{status="failed"} is no part of total '
        'noisegate_decisions_total{status="ok"}: let total name all events'),
    "nothing good": ('status="failed"', 'status=~".+"', "status",
        'takes all of total, nothing good remains: select the bad events'),
    "nothing good, by all the values": ('status="failed"', 'status=~"ok|failed|too_late"',
        "status", "nothing good remains"),
    "the same series twice": ('sum(noisegate_decisions_total{status="failed"})',
        "noisegate_decisions_total", "total:", "is the same series as the events"),
    # What cannot be
    "an alert that can never fire": ("targetPercent: 99.9", "targetPercent: 93.05", "targetPercent",
        "page_1h can never fire: 14.4 x (1 - 0.9305) = 1.001, and no error share exceeds 1: "
        'keep noisegate/tiers: "page_6h,ticket_1d,ticket_3d", or set an objective above 0.9306'),
    "three alerts that can never fire": ("targetPercent: 99.9", "target: 0.5", "target: 0.5",
        "page_1h and page_6h and ticket_1d can never fire: 14.4 x (1 - 0.5) = 7.2, and no error "
        'share exceeds 1: keep noisegate/tiers: "ticket_3d"'),
    "burn rates at too little traffic": ('minute: "20"', 'minute: "0.09"', "0.09",
        "0.09 events per minute are too few for burn-rate alerts (at least 0.1): use kind "
        "freshness or consecutive-failures for a scheduled job, delayed for a counted bound"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "at", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(old: str, new: str, at: str, says: str, tmp_path: Path) -> None:
    assert old in EVENTS
    text = EVENTS.replace(old, new, 1)
    line, message = problem(tmp_path, text)
    assert says in message
    if at != "total:":
        assert line == line_of(text, at)


THRESHOLDS = {
    "a threshold between two bounds": (LATENCY, "0.015", "0.02",
        "0.02 is no bucket bound of noisegate_decision_latency_seconds: give 0.015 or 0.03"),
    "a threshold below all bounds": (LATENCY, "0.015", "0.0001", "give 0.0005, the nearest ones"),
    "a threshold above all bounds": (LATENCY, "0.015", "10", "give 2.5, the nearest ones"),
    "a part of a histogram": (LATENCY, "latency_seconds", "latency_seconds_bucket",
        "is a part of a histogram: name it noisegate_decision_latency_seconds"),
    "a gauge as a histogram": (LATENCY, "noisegate_decision_latency_seconds",
        "noisegate_champion_version", "noisegate_champion_version is a gauge: latency needs"),
    "a histogram that is not there": (LATENCY, "decision_latency", "decision_latenzy",
        "did you mean noisegate_decision_latency_seconds?"),
    "a bare query": (LATENCY, "type: noisegate", "type: Prometheus",
        "say what the number is, write `type: noisegate` and its kind"),
    "an unknown kind": (LATENCY, "kind: latency", "kind: latenzy", "did you mean latency?"),
    "a kind of a ratio": (LATENCY, "kind: latency", "kind: delayed",
        "write it as `bad` of a ratioMetric"),
    "a field of another kind": (LATENCY, "kind: latency", "kind: latency\n            most: 3",
        "spec.most is not known: "),
    "at least": (LATENCY, "op: lte", "op: gte", "op gte is not supported: write lte"),
    "no operator": (LATENCY, "    - op: lte\n      value", "    - value", "op is missing"),
    "a negative threshold": (LATENCY, "0.015", "-0.015", "is too low: give a number above 0"),
    "both metrics": (LATENCY, "      thresholdMetric:\n", "      ratioMetric: {}\n"
        "      thresholdMetric:\n", "must hold thresholdMetric or ratioMetric"),
    "a mean whose target says another thing": (MEAN, "target: 0.8", "target: 0.9",
        "target 0.9 is not 1 - value / most = 0.8"),
    "half a failure": (KINDS["consecutive failures"][0], "value: 0", "value: 0.5",
        "0.5 failures cannot be: give a whole number"),
    "an age of something that is no time": (KINDS["freshness"][0],
        "noisegate_newest_alert_timestamp_seconds", "noisegate_champion_version",
        "noisegate_champion_version does not look like a time"),
    "events of a gauge": (KINDS["freshness"][0], "name: quick\n",
        'name: quick\n  annotations: {noisegate/events-per-minute: "1"}\n',
        "says nothing of freshness: take it away"),
    "tiers of a gauge": (KINDS["freshness"][0], "name: quick\n",
        'name: quick\n  annotations: {noisegate/tiers: "page_1h"}\n',
        "holds burn rates, freshness has none: take it away"),
    "occurrences of a gauge": (KINDS["freshness"][0], "Timeslices", "Occurrences",
        "budgetingMethod Occurrences does not fit freshness: time is counted, write Timeslices"),
    "slices that are half good": (KINDS["freshness"][0], "timeSliceTarget: 1",
        "timeSliceTarget: 0.9", "must be 1: one minute is good or it is not"),
    "long slices": (KINDS["freshness"][0], "timeSliceWindow: 1m", "timeSliceWindow: 5m",
        "must be 1m: a gauge is looked at each minute"),
    "a counter as a gauge": (KINDS["level"][0], "noisegate_run_last_duration_seconds",
        "noisegate_runs_total", "noisegate_runs_total is a counter: this kind needs a gauge"),
    "an unknown unit": (KINDS["level"][0], "unit: bytes", "unit: furlongs",
        "unit furlongs is not known"),
    "confidence of nothing": (KINDS["delayed"][0], "confidence: 0.9", "confidence: 0.1",
        "confidence 0.1 is not in [0.5, 1)"),
    "delayed good events": (KINDS["delayed"][0], "        bad:", "        good:",
        "delayed counts bad events: write `bad` instead of `good`"),
    "a bound that can never be proven": (KINDS["delayed"][0], 'minute: "20"', 'minute: "0.04"',
        "cannot be proven: 1641 events without a bad one are needed, and 28d hold 1613"),
}  # fmt: skip


@pytest.mark.parametrize(("base", "old", "new", "says"), THRESHOLDS.values(), ids=THRESHOLDS)
def test_refused_of_other_kinds(base: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in base
    messages = [found.message for found in read(tmp_path, base.replace(old, new, 1)).problems]
    assert any(says in message for message in messages), messages


POLICIES = {
    "a reference": ("kind: AlertPolicy", "alertPolicyRef: x\n      kind: AlertPolicy",
        "alertPolicyRef is not supported: write it inline"),
    "two conditions": ("        notificationTargets:",
        "          - conditionRef: other\n        notificationTargets:",
        "conditions are 2: OpenSLO has exactly one in a policy"),
    "a silent policy": ("Breaching: true", "Breaching: false", "cannot be false"),
    "a wait": ("alertAfter: 0m", "alertAfter: 5m", "must be 0m: the short window"),
    "below": ("op: gte", "op: lte", "op lte is not supported: write gt"),
    "no burn": ("threshold: 10", "threshold: 0", "0 is no burn rate"),
    "another severity": ("severity: page", "severity: sev1", "severity sev1 is not known"),
    "another target": ("targetRef: page", "targetRef: ticket", "is not the severity page"),
    "windows of half minutes": ("lookbackWindow: 2h", "lookbackWindow: 30m",
        "makes the short window 2.5 minutes, not whole minutes below the long one"),
    "never": ("threshold: 10", "threshold: 1000",
        "page_2h can never fire: 1000 x (1 - 0.999) = 1, and no error share exceeds 1"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), POLICIES.values(), ids=POLICIES)
def test_refused_policies(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in POLICY
    messages = [f.message for f in read(tmp_path, EVENTS + POLICY.replace(old, new, 1)).problems]
    assert any(says in message for message in messages), messages


def test_a_tier_whose_window_holds_too_few_events_is_refused(tmp_path: Path) -> None:
    policy = POLICY.replace("Window: 2h", "Window: 5m").replace(
        "name: fast-burn\n",
        'name: fast-burn\n              annotations: {noisegate/short-window: "1m"}\n',
    )
    line, message = problem(tmp_path, EVENTS.replace('"20"', '"0.1"') + policy)
    assert line == line_of(EVENTS + policy, "alertPolicies")
    assert message == (
        "page_5m can never fire: at 0.1 events per minute 5m hold 0.5, and fewer than 3 bad ones "
        "are no rate: look back at least 30m"
    )
    enough = EVENTS.replace('"20"', '"0.1"') + policy.replace("Window: 5m", "Window: 30m")
    assert len(read(tmp_path, enough).slos) == 1


def test_an_empty_list_of_policies_is_refused(tmp_path: Path) -> None:
    _, message = problem(tmp_path, EVENTS + "  alertPolicies: []\n")
    assert message == (
        'spec.alertPolicies holds no policy: leave it out, or annotate noisegate/tiers: "none"'
    )


@pytest.mark.parametrize("number", ["1:30", '"0.9"', "[]", "0.9.9"])
def test_a_number_that_is_none_is_one_problem(number: str, tmp_path: Path) -> None:
    problem(tmp_path, EVENTS.replace("targetPercent: 99.9", f"target: {number}"))


def test_an_indicator_that_cannot_be_read_is_one_problem(tmp_path: Path) -> None:
    text = LATENCY.replace("      thresholdMetric:", "      thresholdmetric:")
    line, message = problem(tmp_path, text.replace('"20"', '"20"\n    noisegate/tiers: "none"'))
    assert line == line_of(text, "thresholdmetric") + 1
    assert message.endswith("thresholdmetric is not known: did you mean thresholdMetric?")


def test_the_same_tier_twice_is_refused(tmp_path: Path) -> None:
    _, message = problem(tmp_path, EVENTS + POLICY + POLICY.split("\n", 1)[1])
    assert "makes the tier page_2h once more: keep one" in message


YAML = {
    "a tab": ("  service: shop", "\tservice: shop", "indent with spaces, not tabs"),
    "an open quote": ("Checkout works", "'Checkout works", "is no YAML: "),
    "a colon in a text": ("People can pay.", "People: can: pay.", "mapping values are not allowed"),
    "a duplicate key": ("  service: shop", "  service: shop\n  service: shop2",
        "spec.service stands in line 10 already: keep one"),
    "no as a name": ("service: shop", "service: no",
        "no is read by YAML as bool: put it in quotes"),
    "a number as a name": ("service: shop", "service: 1", "1 is read by YAML as int"),
    "sexagesimal": ("targetPercent: 99.9", "targetPercent: 1:30",
        "1:30 is not a plain decimal number"),
    "octal": ("targetPercent: 99.9", "targetPercent: 012", "012 is not a plain decimal number"),
    "infinity": ("targetPercent: 99.9", "targetPercent: .inf", ".inf is not a plain decimal"),
    "not a number": ("targetPercent: 99.9", "targetPercent: .nan", ".nan is not a plain decimal"),
    "underscores": ("targetPercent: 99.9", "targetPercent: 9_9", "9_9 is not a plain decimal"),
    "a quoted number": ("targetPercent: 99.9", 'targetPercent: "99.9"',
        "'99.9' is text: write the number without quotes"),
    "yes for true": ("isRolling: true", "isRolling: yes", "yes is not a truth value"),
    "an empty value": ("service: shop", "service:", "spec.service is empty"),
    "a list for a text": ("service: shop", "service: [shop]", "spec.service is not one value"),
    "a text for a mapping": ("spec:\n  service", "spec: 1\nspecs:\n  service", "is no mapping"),
    "a mapping for a list": ("    - duration: 4w\n      isR", "      duration: 4w\n      isR",
        "spec.timeWindow is not a list: begin each item with `- `"),
    "a tag": ("service: shop", "service: !!python/name:os.system shop", "has the tag"),

    "a merge key": ("  service: shop", "  <<: {a: b}\n  service: shop",
        "spec.<< is not known: merge keys are not read, write it out"),
    "a merge key among annotations": ("  annotations:\n", "  annotations:\n    <<: {a: b}\n",
        "annotations.<< is not one value"),
    "an unknown alias": ("service: shop", "service: *shop", "undefined alias"),
    "a control character": ("People can pay.", "People \x07 can pay.", "is no YAML"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), YAML.values(), ids=YAML)
def test_traps_of_yaml(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in EVENTS
    reading = read(tmp_path, EVENTS.replace(old, new, 1))
    assert any(says in found.message for found in reading.problems), reading.findings
    assert all(found.line > 0 for found in reading.findings)


def test_an_alias_is_refused_where_its_anchor_stands(tmp_path: Path) -> None:
    text = EVENTS.replace(
        "          metricSource:\n", "          metricSource: &source\n", 1
    ).replace(
        "        total:\n          metricSource:\n            type: Prometheus\n            spec:\n"
        "              query: noisegate_decisions_total\n",
        "        total:\n          metricSource: *source\n",
    )
    messages = [found.message for found in read(tmp_path, text).problems]
    assert any("repeats by an alias what stands here: write it out" in m for m in messages)


@pytest.mark.parametrize(
    "text",
    [
        "".join(
            f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(30)
        ),
        "[" * 100_000,
        "a: &a [*a]",
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: &m\n  name: x\nspec: *m\n",
    ],
    ids=["a bomb of aliases", "deep nesting", "a loop", "a mapping twice"],
)
def test_hostile_files_are_refused(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text).problems  # a bomb that goes off would never end


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    line, message = problem(tmp_path, "# " + "x" * MOST_BYTES)
    assert (line, "at most 1000000" in message) == (1, True)


def test_what_a_terminal_would_obey_is_taken_out_of_messages(tmp_path: Path) -> None:
    _, message = problem(tmp_path, EVENTS.replace("name: checkout", 'name: "a\\e[2J\\nb"'))
    assert message.startswith("metadata.name a [2J b is no name")


def test_a_file_without_a_document_is_a_remark(tmp_path: Path) -> None:
    reading = read(tmp_path, "# later\n", EVENTS)
    assert [found.message for found in reading.findings] == [
        "holds no document: nothing is read from it"
    ]
    assert len(reading.slos) == 1


def test_bytes_that_are_no_utf8_are_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(EVENTS.replace("People", "Ann").encode() + b"# \xff\n")
    (found,) = read_specs(tmp_path, OURS).problems
    assert found.line == EVENTS.count("\n") + 1
    assert "byte 0xff is not UTF-8" in found.message


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + EVENTS.encode())
    assert read_specs(tmp_path, OURS).findings == ()


# Folders


def test_a_name_in_two_files_is_refused_and_both_places_are_named(tmp_path: Path) -> None:
    reading = read(tmp_path, EVENTS, LATENCY, EVENTS)
    (found,) = reading.problems
    assert (found.file.name, found.line) == ("2.yaml", 4)
    assert found.message == (
        f"metadata.name checkout is taken by {tmp_path / '0.yaml'}:4: give one another name"
    )


def test_all_problems_of_all_files_are_found(tmp_path: Path) -> None:
    reading = read(tmp_path, EVENTS.replace("4w", "4").replace("99.9", "100"), "x", LATENCY)
    assert [(found.file.name, found.line) for found in reading.problems] == [
        ("0.yaml", 29), ("0.yaml", 34), ("1.yaml", 1),
    ]  # fmt: skip
    assert [slo.name for slo in reading.slos] == ["quick"]


def test_loading_raises_the_first_problem_on_one_line(tmp_path: Path) -> None:
    read(tmp_path, EVENTS.replace("4w", "4").replace("99.9", "100"))
    with pytest.raises(
        InputError, match=r"0\.yaml:29: .*duration 4 is not .*\(and 1 more: "
    ) as one:
        load_slos(tmp_path)
    assert "\n" not in str(one.value)


@pytest.mark.parametrize("folder", ["", "nowhere"], ids=["an empty folder", "no folder"])
def test_no_specs_are_an_error(folder: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"holds no \*\.yaml: name a folder of OpenSLO files"):
        load_slos(tmp_path / folder)


def test_paths_are_shown_as_they_are_reached_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read(tmp_path, EVENTS)
    assert load_slos(tmp_path)[0].file == Path("0.yaml")


# Series of others, remarks


def test_series_are_not_checked_without_metrics(tmp_path: Path) -> None:
    text = EVENTS.replace("noisegate_decisions_total", "http_requests_total")
    assert len(read(tmp_path, text, metrics=None).slos) == 1
    assert len(read(tmp_path, text).problems) == 2


def test_metrics_of_others_can_be_given(tmp_path: Path) -> None:
    text = EVENTS.replace("noisegate_decisions_total", "noisegate_runs_total")
    ours = [spec for spec in known_metrics().values() if spec.name == "noisegate_runs_total"]
    messages = [f.message for f in read(tmp_path, text, metrics=known_metrics(ours)).problems]
    assert messages == [
        "noisegate_runs_total has no label status: known are flow, instance, job, outcome"
    ]


OF_OTHERS = {
    "a literal that total rejects": ('code=~"500|503"', 'code="200"', "is no part of total"),
    "everything": ('code=~".+"', "", "nothing good remains"),
    "everything beside the same": ('job="a",code!=""', 'job="a"', "nothing good remains"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "total", "says"), OF_OTHERS.values(), ids=OF_OTHERS)
def test_parts_of_others_series_are_refused_where_it_is_sure(
    bad: str, total: str, says: str, tmp_path: Path
) -> None:
    text = EVENTS.replace('sum(noisegate_decisions_total{status="failed"})', f"x_total{{{bad}}}")
    text = text.replace("query: noisegate_decisions_total", f"query: x_total{{{total}}}")
    (found,) = read(tmp_path, text, metrics=None).problems
    assert says in found.message
    assert found.line == line_of(text, "x_total{")


REMARKS = {
    "no traffic": ('    noisegate/events-per-minute: "20"\n', "", "declares no traffic: annotate"),
    "no description": ("  description: People can pay.\n", "", "has no description: say what"),
    "events that total leaves out": (
        "noisegate_decisions_total\n  timeW",
        'noisegate_decisions_total{action="page"}\n  timeW',
        'leaves out bad events, such as noisegate_decisions_total{action="hold",status="failed"}'),
    "little traffic": ('"20"', '"0.5"',
        "at 0.5 events per minute 3 bad ones are enough for page_1h"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), REMARKS.values(), ids=REMARKS)
def test_a_remark_refuses_nothing(old: str, new: str, says: str, tmp_path: Path) -> None:
    reading = read(tmp_path, EVENTS.replace(old, new))
    assert (len(reading.slos), reading.problems) == (1, ())
    (found,) = reading.findings
    assert found.remark
    assert says in found.message
    assert re.search(r"0\.yaml:\d+: remark: ", str(found))


# Our own


def test_our_own_specs_are_good() -> None:
    slos = load_slos()
    assert [slo.name for slo in slos] == sorted(path.stem for path in SLOS.glob("*.yaml"))
    assert len(slos) == 10


def test_our_own_specs_describe_themselves() -> None:
    for slo in load_slos():
        assert 80 < len(slo.description) <= 1050, slo.name
        assert slo.service == "noisegate"
        burns = isinstance(slo.kind, Events | Latency | Mean | Delayed)
        assert (slo.traffic_per_min is not None) == burns
