"""Every metric's name, kind, help and labels, in one place; what is counted from which rows.

Names follow Prometheus' conventions: base units, `_total` for counters. No label is unbounded:
services beyond `MOST_SERVICES` are counted together as `OTHER_SERVICES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MOST_SERVICES = 100
"""Services that have series of their own, in the order in which they were first counted."""

OTHER_SERVICES = "_other"
"""The `service` of all further ones."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric. `name` is as it stands on /metrics; of a histogram, without `_bucket`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, without +Inf."""


def _counter(name: str, help: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"noisegate_{name}_total", "counter", help, labels)


def _gauge(name: str, help: str, *labels: str) -> MetricSpec:
    return MetricSpec(f"noisegate_{name}", "gauge", help, labels)


# Alerts and decisions
ALERTS = _counter("alerts", "Alerts stored, by where they came from.", "origin")
DECISIONS = _counter("decisions", "Decisions recorded.", "action", "reason", "status")
DECISION_LATENCY = MetricSpec(
    "noisegate_decision_latency_seconds",
    "histogram",
    "From an alert's arrival to its decision.",
    buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.5),
)
NEWEST_ALERT = _gauge("newest_alert_timestamp_seconds", "Start of the newest alert stored.")

# What became of them
OUTCOMES = _counter(
    "outcomes", "Outcomes, counted when first known.", "service", "outcome", "paged"
)
CORRECTIONS = _counter(
    "outcome_corrections", "Outcomes that a late verdict changed.", "was", "outcome"
)
REAL = _counter("real_alerts", "Alerts known to be real, by outcome or by a later verdict.")
LOST = _counter("lost_alerts", "Real alerts that never paged, known by holdout or verdict.")
REAL_DELAY = MetricSpec(
    "noisegate_real_delay_seconds",
    "histogram",
    "How long real alerts were held before they paged.",
    buckets=(0.0, 5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 600.0, 900.0),
)
SERVICE_DELAY = _counter("service_delay_seconds", "Time real alerts were held.", "service")
HOLDOUT = _counter("holdout_outcomes", "Outcomes of alerts paged by lot.", "outcome")
VERDICTS = _counter("verdicts", "Verdicts people gave.", "verdict")

# Privacy
SCRUBBED = _counter("scrubbed_entities", "Personal data and secrets replaced.", "entity")
FINDINGS = _counter("snapshot_findings", "Personal data found in a snapshot.", "entity")
CANARY_PLANTED = _counter("pii_canary_planted", "Made-up personal data sent through the scrubber.")
CANARY_MISSED = _counter("pii_canary_missed", "Of these, what came out unscrubbed.")
CANARY_FAILURES = _gauge(
    "pii_canary_consecutive_failures",
    "Canaries in a row, up to the newest, that were missed, and audits in a row with findings.",
)

# Runs
RUNS = _counter("runs", "Runs ended.", "flow", "outcome")
RUN_DURATION = MetricSpec(
    "noisegate_run_duration_seconds",
    "histogram",
    "From the start of a run to its end.",
    ("flow",),
    (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0),
)
RUN_FAILURES = _gauge(
    "run_consecutive_failures", "Runs in a row, up to the newest, that failed or crashed.", "flow"
)
RUN_LAST_END = _gauge("run_last_end_timestamp_seconds", "End of the newest run.", "flow")
RUN_LAST_SUCCESS = _gauge(
    "run_last_success_timestamp_seconds", "End of the newest run that went well.", "flow"
)
RUN_LAST_DURATION = _gauge("run_last_duration_seconds", "Duration of the newest run.", "flow")
RUN_LAST_STAGE = _gauge(
    "run_last_stage_duration_seconds", "Duration of a stage of the newest run.", "flow", "stage"
)

# The champion
PROMOTIONS = _counter("promotions", "Promotions and roll-backs.", "action")
CHAMPION_VERSION = _gauge("champion_version", "Version of the champion.")
CHAMPION_CONFIRMED = _gauge(
    "champion_confirmed_timestamp_seconds",
    "When a run last promoted the champion, or found it still the best.",
)
CHAMPION_SHARE = _gauge(
    "champion_figure_ratio",
    "A share that the champion showed on later data; bound: value, low or high.",
    "figure",
    "bound",
)
CHAMPION_DELAY = _gauge(
    "champion_delay_seconds",
    "Mean delay of real alerts that the champion showed on later data.",
    "bound",
)
DELAY_BUDGET = _gauge("delay_budget_seconds", "Mean delay of real alerts that is allowed.")

# The exporter itself
BUILD = _gauge("build_info", "Constant 1; the version that exports.", "version")
COLLECT_DURATION = _gauge("exporter_collect_duration_seconds", "Time the last scrape took.")
COLLECT_ROWS = _gauge("exporter_collect_rows", "Rows counted by the last scrape.")

METRICS: tuple[MetricSpec, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, MetricSpec)
)
"""All of them, in the order above."""

_REASONS = (
    *("severity_floor", "protected_label", "wanted_by_people", "too_few_outcomes"),
    *("no_operating_point", "not_worth_the_delay", "usually_clears", "holdout"),
)
_BECAME = ("noise", "real", "unseen", "censored")
_ENTITIES = (
    *("PRIVATE_KEY", "JWT", "URL_CREDENTIALS", "AWS_KEY", "SECRET", "EMAIL", "IBAN"),
    *("CREDIT_CARD", "PHONE", "SSN", "MAC", "IPV6", "IPV4", "USER"),
    *("NATIONAL_ID", "PERSON", "CUSTOM", OTHER_SERVICES),
)
_FLOWS = {"flow": ("retrain", "tune", "rollback")}
_BOUNDS = {"bound": ("value", "low", "high")}

VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    ALERTS.name: {"origin": ("live", "import", "simulated")},
    DECISIONS.name: {
        "action": ("page", "hold", "mute"),
        "reason": _REASONS,
        "status": ("ok", "failed", "too_late"),
    },
    OUTCOMES.name: {"outcome": _BECAME, "paged": ("true", "false")},
    CORRECTIONS.name: {"was": _BECAME, "outcome": ("noise", "real")},
    HOLDOUT.name: {"outcome": _BECAME},
    VERDICTS.name: {"verdict": ("noise", "real")},
    SCRUBBED.name: {"entity": _ENTITIES},
    FINDINGS.name: {"entity": _ENTITIES},
    RUNS.name: _FLOWS | {"outcome": ("promoted", "refused", "unchanged", "failed", "crashed")},
    PROMOTIONS.name: {"action": ("promote", "rollback")},
    CHAMPION_SHARE.name: _BOUNDS,
    CHAMPION_DELAY.name: _BOUNDS,
    **{
        spec.name: _FLOWS
        for spec in (RUN_DURATION, RUN_FAILURES, RUN_LAST_END, RUN_LAST_SUCCESS, RUN_LAST_DURATION)
    },
    RUN_LAST_STAGE.name: _FLOWS | {"stage": ("snapshot", "train", "register", "promote")},
}
"""All values of the labels whose values are known, by metric and label."""
