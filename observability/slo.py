"""SLOs as values: one dataclass per kind of SLI. OpenSLO v1 YAML is read by specs.py."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from noisegate.metrics import METRICS, MetricSpec

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and what its labels must match: an instant-vector selector of PromQL."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    """(label, operator, value); the operator is one of = != =~ !~."""

    def __str__(self) -> str:
        inner = ",".join(f"{label}{op}{_quoted(value)}" for label, op, value in self.matchers)
        return f"{self.metric}{{{inner}}}" if inner else self.metric


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class Events:
    """Share of events that are good: exactly one of good and bad over total; all are counters."""

    total: Selector
    bad: Selector | None = None
    good: Selector | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Share of events within a threshold, which must be a bucket bound of the histogram."""

    histogram: Selector
    """Its base name, without `_bucket`."""
    threshold_s: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean that has a ceiling: `most` per event could be spent, `at_most` may be on average.

    Bad is the sum, total is `most` x the count, so that the objective 1 - at_most / most says:
    the mean is at most `at_most`.
    """

    sum: Selector
    count: Selector
    at_most: float
    most: float


@dataclass(frozen=True, slots=True)
class Delayed:
    """Share of events whose label comes late (a verdict): judged by a bound on the counts."""

    total: Selector
    bad: Selector
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Freshness:
    """Age of something: now less a gauge that holds a time, seconds since 1970."""

    timestamp: Selector
    at_most_s: float


@dataclass(frozen=True, slots=True)
class ConsecutiveFailures:
    """Failures in a row of a scheduled job, up to the newest run: a gauge."""

    failures: Selector
    at_most: float
    """The alert fires above it: 0 says at the first failure."""


@dataclass(frozen=True, slots=True)
class Level:
    """A gauge that must not exceed a level, such as the duration of a job's last run."""

    gauge: Selector
    at_most: float
    unit: str = "s"


Kind = Events | Latency | Mean | Delayed | Freshness | ConsecutiveFailures | Level


@dataclass(frozen=True, slots=True)
class Burn:
    """One tier of burn-rate alerts: both windows above factor x (1 - objective)."""

    name: str
    """Such as page_1h; the `tier` label."""
    severity: str
    """page | ticket."""
    factor: float
    long_s: float
    short_s: float


WORKBOOK = (
    Burn("page_1h", "page", 14.4, 3_600.0, 300.0),
    Burn("page_6h", "page", 6.0, 21_600.0, 1_800.0),
    Burn("ticket_1d", "ticket", 3.0, DAY_S, 7_200.0),
    Burn("ticket_3d", "ticket", 1.0, 3 * DAY_S, 21_600.0),
)
"""The Site Reliability Workbook's pairs, chapter 5, for a window of 30 days."""


@dataclass(frozen=True, slots=True)
class Slo:
    """One objective."""

    name: str
    """Lower case with hyphens, unique: the `slo` label."""
    display_name: str
    description: str
    service: str
    objective: float
    """Share of good events (or of time), in (0, 1)."""
    kind: Kind
    window_s: float = 30 * DAY_S
    """Rolling."""
    tiers: tuple[Burn, ...] = WORKBOOK
    """Burn-rate tiers of Events, Latency and Mean; empty for the others."""
    severity: str = "ticket"
    """page | ticket: of the one alert of the kinds without burn rates."""
    traffic_per_min: float | None = None
    """Declared events per minute; None: not declared."""
    runbook: str = ""
    """File under the runbook folder, without its ending; default: the name."""
    file: Path | None = field(default=None, compare=False)


def known_metrics(metrics: Iterable[MetricSpec] = METRICS) -> dict[str, MetricSpec]:
    """Metrics by the names of their series (`_bucket`, `_sum`, `_count` too); default: ours."""
    found: dict[str, MetricSpec] = {}
    for spec in metrics:
        if spec.kind == "histogram":
            found |= {f"{spec.name}_{part}": spec for part in ("bucket", "sum", "count")}
        else:
            found[spec.name] = spec
    return found
