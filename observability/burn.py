"""SLOs -> what is recorded and when who is told what, as values; files are written elsewhere.

Recorded series (labels besides: slo, service):

    slo:objective:ratio                    the declared objective: the list of SLOs
    slo:total:count1m  slo:bad:count1m     events in the last minute, exact
    slo:errors:ratio{window}               bad share over 5m 30m 1h 2h 6h 1d 3d; 0 when idle
    slo:burn:rate{window}                  that over (1 - objective)
    slo:total:count{period}                events in the SLO's window (period="30d")
    slo:bad:count{period}                  bad ones
    slo:budget:remaining{period}           1 full, 0 spent, negative overspent; never NaN
    slo:budget:exhaustion_seconds{period}  time until it is spent at the 1h burn rate, if it burns
    slo:level:value  slo:level:limit       Freshness, ConsecutiveFailures, Level: seconds or runs
    slo:bound:ratio{side}                  Delayed: lower and upper bound of the bad share
    slo:firing:state{tier}                 1 while the tier's condition holds, else 0; hysteresis in it

Tiers: the Burn names (page_1h ...), absent (page), stuck (ticket), invalid (ticket), over (level
kinds), unproven (Delayed). An alert reads its state, so Prometheus and Grafana cannot disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from observability.slo import Slo


@dataclass(frozen=True, slots=True)
class Record:
    """One recording rule."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)
    interval_s: float = 15.0
    """The interval of the rule group it stands in."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of one tier of one SLO."""

    name: str
    """CamelCase of the SLO's name and the tier, such as DecisionAvailabilityBurn1h."""
    slo: Slo
    tier: str
    severity: str
    """page | ticket."""
    state: str
    """The selector of its recorded state: slo:firing:state{slo="...",tier="..."}."""
    value: str
    """PromQL of the number that its texts show (burn rate, age, ...)."""
    for_s: float
    labels: Mapping[str, str]
    """slo, service, severity, tier, and long and short of a burn tier."""
    annotations: Mapping[str, str]
    """summary, description, runbook_url, dashboard_url, ...; Go templates of Prometheus."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one SLO becomes."""

    slo: Slo
    records: tuple[Record, ...]
    """In the order of evaluation."""
    alerts: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Parameters of the compiler that no spec holds."""

    grafana_url: str = "http://localhost:3000"
    runbook_url: str = "https://github.com/noisegate/noisegate/blob/main/docs/runbooks"
    shorten: float = 1.0
    """All windows, intervals and waits are divided by it (tests against real servers)."""
    interval_s: float = 15.0
    """Evaluation interval of short windows; Prometheus' scrape interval."""


def compile_slo(slo: Slo, options: CompileOptions | None = None) -> Compiled:
    """Turn an SLO into records and alerts."""
    raise NotImplementedError
