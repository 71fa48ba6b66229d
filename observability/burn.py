"""SLOs -> what is recorded and when who is told what, as values; files are written elsewhere.

Recorded series (labels besides: slo, service). Windows are named by their nominal length.

    slo:objective:ratio                    the declared objective: the list of SLOs
    slo:total:count1m  slo:bad:count1m     events in the last minute, exact; the bad ones may be
                                           negative where total and part are of different minutes
    slo:window:total{window}               events in 5m 30m 1h 2h 6h 1d 3d, and the tiers' windows
    slo:window:bad{window}                 bad ones
    slo:errors:ratio{window}               bad share; 0 when idle
    slo:burn:rate{window}                  that over (1 - objective)
    slo:total:count{period}                events in the SLO's window (period="30d")
    slo:bad:count{period}                  bad ones
    slo:budget:remaining{period}           1 full, 0 spent, negative overspent; never NaN
    slo:budget:exhaustion_seconds{period}  until it is spent at the burn rate of 1h, if it burns
    slo:level:value  slo:level:limit       Freshness, ConsecutiveFailures, Level: seconds or runs
    slo:bound:ratio{side}                  Delayed: lower and upper bound of the bad share
    slo:series:count{of}                   series of the SLI: of all events, of the good or bad ones
    slo:series:lost                        1 while some of them are gone, else 0
    slo:firing:state{tier}                 1 while the tier holds, else 0; hysteresis in it

Events of the level kinds are the minutes in which the level is known. Of Mean they are the most
that could be spent, so seconds.

Tiers: the Burn names (page_1h ...), absent (page), stuck (ticket), invalid (ticket), over (level
kinds), unproven (Delayed). An alert reads its state, so Prometheus and Grafana cannot disagree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from observability import promql, states, texts
from observability.promql import (
    Clock,
    Counted,
    duration,
    merged,
    number,
    recorded,
    remembered,
)
from observability.slo import Delayed, Freshness, Slo

WINDOWS_S = (300.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0, 259_200.0)
"""Of every SLO."""

SHORT_S = 3_600.0
"""Windows up to it are counted from samples at every short interval, longer ones by the minute."""


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
    """The selector of its recorded state: slo:firing:state{slo="...",service="...",tier="..."}."""
    value: str
    """PromQL of the number that its texts show (burn rate, age, ...): labels slo and service."""
    for_s: float
    """0: what must last is in the state."""
    labels: Mapping[str, str]
    """slo, service, severity, tier, and long and short of a burn tier."""
    annotations: Mapping[str, str]
    """summary, description, runbook_url, dashboard_url, ...: Go templates, of `$value` only."""
    facts: Mapping[str, str]
    """More numbers for its texts, as PromQL: budget_left (a share), exhausted_in (seconds)."""


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

    @property
    def clock(self) -> Clock:
        """How long a nominal duration really is."""
        return Clock(self.shorten, self.interval_s)


def compile_slo(slo: Slo, options: CompileOptions | None = None) -> Compiled:
    """Turn an SLO into records and alerts."""
    options = options or CompileOptions()
    labels = {"slo": slo.name, "service": slo.service}
    records = tuple(
        Record(name, expr, labels | extra, interval_s)
        for group, interval_s in (
            (_short_group(slo, options.clock), options.clock.short_s),
            (_minute_group(slo, options.clock), options.clock.minute_s),
        )
        for name, expr, extra in group
    )
    return Compiled(slo, records, tuple(_alerts(slo, options)))


def inhibit_rules() -> list[dict[str, list[str]]]:
    """Which alerts say more than which others of the same SLO, as Alertmanager's inhibit_rules."""
    same = ["slo", "service"]
    weaker = ["stuck", "invalid"]
    return [
        {
            "source_matchers": ['tier="absent"'],
            "target_matchers": ['slo!=""', 'tier!="absent"'],
            "equal": same,
        },
        {
            "source_matchers": ['slo!=""', 'severity="page"'],
            "target_matchers": ['slo!=""', 'severity="ticket"', f'tier!~"{"|".join(weaker)}"'],
            "equal": same,
        },
    ]


Rule = tuple[str, str, dict[str, str]]
"""Name, expression, and labels besides slo and service."""


def _short_group(slo: Slo, clock: Clock) -> Iterator[Rule]:
    """What must be known at once."""
    counted = Counted.of(slo)
    yield "slo:objective:ratio", f"vector({number(slo.objective)})", {}
    if counted:
        short = [window for window in _windows(slo) if window <= SHORT_S]
        for window_s in short:
            yield from _window_from_samples(slo, counted, window_s, clock)
            yield from _rates(slo, window_s)
    else:
        yield from _level(slo, clock)
        yield "slo:firing:state", states.over_state(slo, clock), {"tier": "over"}
    for tier in slo.tiers:
        if tier.long_s <= SHORT_S:
            yield "slo:firing:state", states.burn_state(slo, tier, clock), {"tier": tier.name}
    absent = states.absent_state(slo, duration(slo.window_s), clock)
    yield "slo:firing:state", absent, {"tier": "absent"}


def _minute_group(slo: Slo, clock: Clock) -> Iterator[Rule]:
    """Counts by the minute, and what stands on them."""
    counted, period = Counted.of(slo), duration(slo.window_s)
    yield from _minute_counts(slo, counted, clock)
    long = [window for window in _windows(slo) if window > SHORT_S or not counted]
    for window_s in long:
        labels = {"window": duration(window_s)}
        yield from _sums(slo, counted, "slo:window:{}", window_s, labels, clock)
        yield from _rates(slo, window_s)
    yield from _budget(slo, counted, clock)
    for tier in slo.tiers:
        if tier.long_s > SHORT_S:
            yield "slo:firing:state", states.burn_state(slo, tier, clock), {"tier": tier.name}
    if isinstance(slo.kind, Delayed):
        for side, sign in (("lower", "-"), ("upper", "+")):
            yield "slo:bound:ratio", states.wilson_bound(slo, period, sign), {"side": side}
        unproven = states.unproven_state(slo, clock, period)
        yield "slo:firing:state", unproven, {"tier": "unproven"}
    if stuck := states.stuck_state(slo, clock):
        yield "slo:firing:state", stuck, {"tier": "stuck"}
    for of, series in states.series_counts(slo, clock).items():
        yield "slo:series:count", series, {"of": of}
    yield "slo:series:lost", states.lost_series(slo, clock), {}
    invalid = states.invalid_state(slo, period, clock)
    yield "slo:firing:state", invalid, {"tier": "invalid"}


def _windows(slo: Slo) -> list[float]:
    tiers = {window for tier in slo.tiers for window in (tier.long_s, tier.short_s)}
    return sorted({*WINDOWS_S, *tiers})


def _window_from_samples(
    slo: Slo, counted: Counted, window_s: float, clock: Clock
) -> Iterator[Rule]:
    labels = {"window": duration(window_s)}
    total, part = (
        promql.window_count(selector, counted.total, window_s, clock)
        for selector in (counted.total, counted.part)
    )
    known = recorded("slo:window:total", slo, **labels)
    yield "slo:window:total", _in_units(counted, total), labels
    yield "slo:window:bad", counted.clamped(counted.bad(part, known), known), labels


def _minute_counts(slo: Slo, counted: Counted | None, clock: Clock) -> Iterator[Rule]:
    if counted is None:
        level, limit = (recorded(f"slo:level:{what}", slo) for what in ("value", "limit"))
        yield "slo:total:count1m", f"count({level}) or vector(0)", {}
        yield "slo:bad:count1m", f"sum({level} > bool on (slo) {limit}) or vector(0)", {}
        return
    known = recorded("slo:total:count1m", slo)
    total = promql.minute_count(counted.total, counted.total, clock)
    most_born = None if counted.late else known
    part = promql.minute_count(counted.part, counted.total, clock, most_born)
    yield "slo:total:count1m", _in_units(counted, total), {}
    yield "slo:bad:count1m", counted.bad(part, known), {}


def _sums(
    slo: Slo,
    counted: Counted | None,
    name: str,
    over_s: float,
    labels: dict[str, str],
    clock: Clock,
) -> Iterator[Rule]:
    """All and bad events of a stretch, from the counts by the minute."""
    total, bad = (
        f"sum(sum_over_time({remembered(f'slo:{what}:count1m', slo)}[{clock(over_s)}]))"
        for what in ("total", "bad")
    )
    known = recorded(name.format("total"), slo, **labels)
    yield name.format("total"), total, labels
    yield name.format("bad"), counted.clamped(bad, known) if counted else bad, labels


def _in_units(counted: Counted, total: str) -> str:
    return total if counted.unit == 1 else f"{number(counted.unit)} * ({total})"


def _rates(slo: Slo, window_s: float) -> Iterator[Rule]:
    """Error ratio and burn rate of a window."""
    labels = {"window": duration(window_s)}
    total, bad, ratio = (
        recorded(name, slo, **labels)
        for name in ("slo:window:total", "slo:window:bad", "slo:errors:ratio")
    )
    yield "slo:errors:ratio", f"{bad} / ({total} > 0) or 0 * {total}", labels
    yield "slo:burn:rate", f"{ratio} / {number(1 - slo.objective)}", labels


def _budget(slo: Slo, counted: Counted | None, clock: Clock) -> Iterator[Rule]:
    """Events of the whole window weigh alike, so idle stretches and nights count as they should."""
    labels = {"period": duration(slo.window_s)}
    yield from _sums(slo, counted, "slo:{}:count", slo.window_s, labels, clock)
    total, bad, left = (
        recorded(name, slo, **labels)
        for name in ("slo:total:count", "slo:bad:count", "slo:budget:remaining")
    )
    share = f"{bad} / ({total} > 0)"
    remaining = f"1 - {share} / {number(1 - slo.objective)} or 1 + 0 * {total}"
    yield "slo:budget:remaining", remaining, labels
    hourly = f"({recorded('slo:burn:rate', slo, window='1h')} > 0)"
    lasts = f"clamp_min({left}, 0) * {number(clock.seconds(slo.window_s))} / on (slo) {hourly}"
    yield "slo:budget:exhaustion_seconds", lasts, labels


def _level(slo: Slo, clock: Clock) -> Iterator[Rule]:
    """The worst of a gauge's series; still known after they are gone, until they are absent."""
    gauge = states.selectors(slo)[0]
    known = merged(gauge, f"last_over_time({gauge}[{clock(states.ABSENT_S)}])")
    fresh = isinstance(slo.kind, Freshness)
    value = f"time() - min({known} > -Inf < Inf)" if fresh else f"max({known} > -Inf < Inf)"
    yield "slo:level:value", value, {}
    yield "slo:level:limit", f"vector({number(texts.limit(slo))})", {}


def _alerts(slo: Slo, options: CompileOptions) -> Iterator[Alert]:
    by_tier = {tier.name: tier for tier in slo.tiers}
    for tier, severity in _tiers(slo).items():
        labels = {"slo": slo.name, "service": slo.service, "severity": severity, "tier": tier}
        burn = by_tier.get(tier)
        if burn:
            labels |= {"long": duration(burn.long_s), "short": duration(burn.short_s)}
        what = f"burn_{labels['long']}" if burn else tier
        if burn and sum(other.long_s == burn.long_s for other in slo.tiers) > 1:
            what = f"burn_{tier}"
        yield Alert(
            name=texts.camel_case(f"{slo.name}-{what}"),
            slo=slo,
            tier=tier,
            severity=severity,
            state=recorded("slo:firing:state", slo, tier=tier),
            value=texts.value(slo, tier),
            for_s=0.0,
            labels=labels,
            annotations=texts.annotations(slo, tier, options.grafana_url, options.runbook_url),
            facts=texts.facts(slo),
        )


def _tiers(slo: Slo) -> dict[str, str]:
    """Tiers of an SLO with their severity, the worst first."""
    own = {tier.name: tier.severity for tier in slo.tiers}
    if Counted.of(slo) is None:
        own["over"] = slo.severity
    if isinstance(slo.kind, Delayed):
        own["unproven"] = slo.severity
    stuck = {"stuck": "ticket"} if states.stuck_state(slo, Clock()) else {}
    return {"absent": "page", **own, **stuck, "invalid": "ticket"}
