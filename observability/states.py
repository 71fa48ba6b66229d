"""When the tiers of an SLO hold, as PromQL whose value is 1 or 0 and which always has a value.

Each is recorded as slo:firing:state{slo,tier} and reads what it was before: that is the hysteresis,
and what survives a restart.
"""

from math import ceil, log
from statistics import NormalDist

from observability.promql import (
    Clock,
    Counted,
    duration,
    exporter_alive,
    merged,
    number,
)
from observability.slo import (
    DAY_S,
    Burn,
    ConsecutiveFailures,
    Delayed,
    Freshness,
    Level,
    Selector,
    Slo,
)

HOLD = 0.9
"""A tier that fires holds down to this share of its threshold."""

SIGMA = 3.0
"""A ticket holds while chance alone explains that it is below: standard deviations."""

LEAST_BAD = 3
"""Bad events without which nothing burns: one or two are no rate."""

ABSENT_S = 360.0
SILENT_S = 1_800.0
UNLIKELY = 1e-6
"""Chance of a silence at declared traffic below which it is a ticket."""

MEMORY_S = 3_600.0
"""How long a state is remembered while nothing is evaluated."""

WEEK_S = 7 * DAY_S


def burn_state(slo: Slo, tier: Burn, clock: Clock) -> str:
    """Both windows burn faster than the tier's factor; then, until one is clearly slower."""
    counted = Counted.of(slo)
    assert counted is not None, f"{slo.name} has burn tiers but counts nothing"
    long = duration(tier.long_s)
    both = f'slo="{slo.name}",window=~"{long}|{duration(tier.short_s)}"'
    before = _before(slo, tier.name, clock)
    factor, slack = number(tier.factor), number(tier.factor * (1 - HOLD))
    if tier.severity == "ticket":
        # Poisson: a burn rate whose bad share is e over n events varies by sqrt(rate / (e n)).
        variance = number(HOLD * tier.factor / (1 - slo.objective) * counted.unit)
        total = f"clamp_min(slo:window:total{{{both}}}, 1)"
        slack = f"({slack} + {number(SIGMA)} * sqrt({variance} / {total}))"
        limit = f"> bool\n  {factor} - {slack}\n  * on (slo, service) group_left () {before}"
    else:
        limit = f"> bool on (slo, service) group_left ()\n  ({factor} - {slack} * {before})"
    enough = number(LEAST_BAD * counted.unit)
    return (
        f"min by (slo, service) (\n  slo:burn:rate{{{both}}}\n  {limit}\n)\n"
        f"* on (slo, service) "
        f'(slo:window:bad{{slo="{slo.name}",window="{long}"}} >= bool {enough})\n'
        f'or 0 * slo:objective:ratio{{slo="{slo.name}"}}'
    )


def absent_state(slo: Slo, period: str, clock: Clock) -> str:
    """A declared SLO has no series for six minutes, for as long as there are none.

    Not while our exporter answers and no event was seen in the whole window: nothing happened yet.
    Not in the first minutes of a Prometheus, which has seen nothing at all.
    """
    watched = selectors(slo)[0]
    objective = f'slo:objective:ratio{{slo="{slo.name}"}}'
    margin = duration(3 * clock.short_s)
    since = f"{objective}[{margin}] offset {clock(ABSENT_S - 60)}"
    lines = [
        f"last_over_time({since})",
        f"or last_over_time({_state(slo, 'absent')}[{clock(MEMORY_S)}]) == 1",
        f"unless on () count(last_over_time({watched}[{clock(ABSENT_S)}]))",
    ]
    if alive := exporter_alive(watched, clock(ABSENT_S)):
        seen = f'slo:total:count{{slo="{slo.name}",period="{period}"}}'
        lines.append(f"unless on () ({alive} and on () {seen} == 0)")
    # `or` binds loosest: what is excluded must be excluded from both.
    first, second, *rest = lines
    inner = "\n  ".join((f"({first} {second})", *rest))
    return f"max by (slo, service) (\n  {inner}\n) > bool 0 or 0 * {objective}"


def stuck_state(slo: Slo, clock: Clock) -> str | None:
    """No event for half an hour or longer, where chance does not explain it; None: never."""
    counted = Counted.of(slo)
    if counted is None or (counted.late and slo.traffic_per_min is None):
        return None
    silent_s = silence_s(slo)
    total = f'slo:total:count1m{{slo="{slo.name}"}}'
    events = f"sum_over_time({total}[{clock(silent_s)}]"
    watching = f"last_over_time({total}[{duration(3 * clock.minute_s)}] offset {clock(silent_s)})"
    least = -log(UNLIKELY) * counted.unit
    if slo.traffic_per_min is None:
        usual = f"and {events} offset {clock(WEEK_S)}) >= {number(ceil(least))}"
    else:  # nights are quieter than the mean: not when it was as quiet a day ago
        usual = f"unless {events} offset {clock(DAY_S)}) < {number(ceil(least / 4))}"
    return (
        f"max by (slo, service) (\n  {events}) == 0 and {watching} {usual}\n"
        f"  or last_over_time({_state(slo, 'stuck')}[{clock(MEMORY_S)}]) == 1 "
        f"and on (slo, service) {events}) == 0\n"
        f') >= bool 0 or 0 * slo:objective:ratio{{slo="{slo.name}"}}'
    )


def silence_s(slo: Slo) -> float:
    """Silence that makes a ticket: half an hour, more where traffic is low; whole minutes."""
    if slo.traffic_per_min is None:
        return SILENT_S
    return max(SILENT_S, 60.0 * ceil(-log(UNLIKELY) / slo.traffic_per_min))


def invalid_state(slo: Slo, period: str, clock: Clock) -> str:
    """The SLI itself is wrong: more good or bad events than events, series lost, no numbers."""
    cases = []
    counted = Counted.of(slo)
    if counted and counted.late:
        labels = f'{{slo="{slo.name}",period="{period}"}}'
        cases.append(f"sum(slo:bad:count{labels}) > 1.01 * sum(slo:total:count{labels}) + 1")
    elif counted:
        hour = clock(3_600)
        part, total = (
            "sum(" + merged(selector, f"increase({selector}[{hour}])") + ")"
            for selector in (counted.part, counted.total)
        )
        unit = number(counted.unit)
        cases.append(f"{part} > {number(1.01 * counted.unit)} * {total} + {unit}")
    whole = selectors(slo)[:1]
    if counted and counted.part_is_good:
        whole = selectors(slo)
    for selector in whole:
        now = merged(selector, f"last_over_time({selector}[{clock(300)}])")
        then = merged(selector, f"last_over_time({selector}[{clock(300)}] offset {clock(3_600)})")
        cases.append(f"count({now}) < 0.5 * count({then})")
    for selector in selectors(slo):
        cases += [f"count({selector} != {selector})", f"count(abs({selector}) == Inf)"]
    if isinstance(slo.kind, Freshness):
        cases.append(f"count({slo.kind.timestamp} > time() + 300)")
    inner = "\n  or ".join(f"({case})" for case in cases)
    return f"count(\n  {inner}\n) or vector(0)"


def over_state(slo: Slo, clock: Clock) -> str:
    """The level is above its limit; then, until it is clearly below."""
    name, slack = f'{{slo="{slo.name}"}}', number(1 - HOLD)
    before = _before(slo, "over", clock)
    return (
        f"slo:level:value{name} > bool on (slo, service)\n"
        f"(slo:level:limit{name} * on (slo, service) (1 - {slack} * {before}))\n"
        f"or 0 * slo:objective:ratio{name}"
    )


def unproven_state(slo: Slo, clock: Clock, period: str) -> str:
    """The promise is broken for sure, or not proven by counts that were enough to prove it."""
    assert isinstance(slo.kind, Delayed)
    allowed, name = number(1 - slo.objective), f'slo="{slo.name}"'
    slack = number((1 - HOLD) * (1 - slo.objective))
    limit = f"({allowed} - {slack} * {_before(slo, 'unproven', clock)})"
    enough = f'slo:total:count{{{name},period="{period}"}} >= bool {events_to_prove(slo)}'
    return (
        "clamp_max(\n"
        f'  (slo:bound:ratio{{{name},side="lower"}} > bool on (slo, service) {limit})\n'
        f'  + on (slo, service) (slo:bound:ratio{{{name},side="upper"}}'
        f" > bool on (slo, service) {limit})\n"
        f"  * on (slo, service) ({enough}), 1\n)\n"
        f"or 0 * slo:objective:ratio{{{name}}}"
    )


def z_score(kind: Delayed) -> float:
    """Standard deviations of a one-sided bound."""
    return NormalDist().inv_cdf(kind.confidence)


def events_to_prove(slo: Slo) -> int:
    """Events, none of them bad, whose upper bound is the promise (Wilson 1927, as recorded)."""
    assert isinstance(slo.kind, Delayed)
    return ceil(z_score(slo.kind) ** 2 * (1 / (1 - slo.objective) - 1) - 1e-6)


def wilson_bound(slo: Slo, period: str, sign: str) -> str:
    """Bound of the bad share: Wilson (1927), "Probable inference", JASA 22, 209-212; one-sided."""
    assert isinstance(slo.kind, Delayed)
    z = z_score(slo.kind)
    labels = f'{{slo="{slo.name}",period="{period}"}}'
    bad, total = f"slo:bad:count{labels}", f"slo:total:count{labels}"
    good = f"(1 - {bad} / clamp_min({total}, 1))"
    root = f"sqrt(clamp_min({bad} * {good}, 0) + {number(z * z / 4)})"
    return (
        f"clamp_min(clamp_max(\n  ({bad} + {number(z * z / 2)} {sign} {number(z)} * {root})\n"
        f"  / ({total} + {number(z * z)}), 1), 0)"
    )


def selectors(slo: Slo) -> list[Selector]:
    """The series of an SLO; first the one without which nothing is known."""
    if counted := Counted.of(slo):
        return [counted.total, counted.part]
    match slo.kind:
        case Freshness(timestamp):
            return [timestamp]
        case ConsecutiveFailures(failures):
            return [failures]
        case Level(gauge):
            return [gauge]
    raise AssertionError(slo.kind)


def _state(slo: Slo, tier: str) -> str:
    return f'slo:firing:state{{slo="{slo.name}",tier="{tier}"}}'


def _before(slo: Slo, tier: str, clock: Clock) -> str:
    """Whether it fired at the evaluation before, 1 or 0, with labels slo and service."""
    remembered = f"last_over_time({_state(slo, tier)}[{clock(MEMORY_S)}])"
    return f'max by (slo, service) ({remembered} or 0 * slo:objective:ratio{{slo="{slo.name}"}})'
