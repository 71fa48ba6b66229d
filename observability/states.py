"""When the tiers of an SLO hold, as PromQL whose value is 1 or 0 and which always has a value.

Each is recorded as slo:firing:state{slo,tier} and reads what it was before: that is the hysteresis,
and what survives a restart.
"""

from math import ceil, floor, log
from statistics import NormalDist

from observability.promql import (
    Clock,
    Counted,
    duration,
    exporter_alive,
    merged,
    number,
    recorded,
    remembered,
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
LOST_S = 300.0
SILENT_S = 1_800.0
WATCHED = 0.9
"""Share of the minutes of a silence that must have been looked at."""
UNLIKELY = 1e-6
"""Chance of a silence at declared traffic below which it is a ticket."""

MEMORY_S = 3_600.0
"""How long a state is remembered while nothing is evaluated."""

WEEK_S = 7 * DAY_S


def burn_state(slo: Slo, tier: Burn, clock: Clock) -> str:
    """Both windows burn faster than the tier's factor; then, until one is clearly slower.

    A short window without events says nothing, so then the long one alone holds what fires.
    """
    counted = Counted.of(slo)
    assert counted is not None, f"{slo.name} has burn tiers but counts nothing"
    long, short = duration(tier.long_s), duration(tier.short_s)
    both = f"{long}|{short}"
    before = _before(slo, tier.name, clock)
    factor, slack = number(tier.factor), number(tier.factor * (1 - HOLD))
    if tier.severity == "ticket":
        # Poisson: a burn rate whose bad share is e over n events varies by sqrt(rate / (e n)).
        variance = number(HOLD * tier.factor / (1 - slo.objective) * counted.unit)
        total = f"clamp_min({recorded('slo:window:total', slo, window=both)}, 1)"
        slack = f"({slack} + {number(SIGMA)} * sqrt({variance} / {total}))"
        limit = f"> bool\n  {factor} - {slack}\n  * on (slo) group_left () {before}"
    else:
        limit = f"> bool on (slo) group_left ()\n  ({factor} - {slack} * {before})"
    enough = number(LEAST_BAD * counted.unit)
    # Less than 1 while it fires: none.
    silent = f"{recorded('slo:window:total', slo, window=short)} < on (slo) group_left () {before}"
    rates = f"{recorded('slo:burn:rate', slo, window=both)} unless on (window) ({silent})"
    return (
        f"min by (slo) (\n  ({rates})\n  {limit}\n)\n"
        f"* on (slo) ({recorded('slo:window:bad', slo, window=long)} >= bool {enough})\n"
        f"{_else_0(slo)}"
    )


def absent_state(slo: Slo, period: str, clock: Clock) -> str:
    """A declared SLO has no series for six minutes, for as long as there are none.

    Not while our exporter answers and no event was seen in the whole window: nothing happened yet.
    Not in the first minutes of a Prometheus, which has seen nothing at all.
    """
    watched = selectors(slo)[0]
    lines = [
        _watched(slo, ABSENT_S - 60, clock),
        f"or last_over_time({_state(slo, 'absent')}[{clock(MEMORY_S)}]) == 1",
        f"unless on () count(last_over_time({watched}[{clock(ABSENT_S)}]))",
    ]
    if alive := exporter_alive(watched, clock(ABSENT_S)):
        seen = f"last_over_time({remembered('slo:total:count', slo, period=period)}[{clock(300)}])"
        lines.append(f"unless on () ({alive} and on () max({seen}) == 0)")
    # `or` binds loosest: what is excluded must be excluded from both.
    first, second, *rest = lines
    inner = "\n  ".join((f"({first} {second})", *rest))
    return f"max by (slo) (\n  {inner}\n) > bool 0\n{_else_0(slo)}"


def stuck_state(slo: Slo, clock: Clock) -> str | None:
    """No event for half an hour or longer, where chance does not explain it; None: never.

    Only if there were events in the SLO's window, and if the silence was watched. As long as it
    lasts it is remembered, also across a long pause of Prometheus.
    """
    counted = Counted.of(slo)
    if counted is None or (counted.late and slo.traffic_per_min is None):
        return None
    silent_s = silence_s(slo)
    total, period = remembered("slo:total:count1m", slo), duration(slo.window_s)
    events = f"sum by (slo) (sum_over_time({total}[{clock(silent_s)}]"
    minutes = floor(WATCHED * clock.seconds(silent_s) / clock.minute_s)
    watched = f"sum by (slo) (count_over_time({total}[{clock(silent_s)}])) >= {minutes}"
    seen = f"on (slo) {recorded('slo:total:count', slo, period=period)} > 0"
    fired = f"{recorded('slo:firing:state', slo, tier='stuck')}[{clock(slo.window_s)}]"
    least = -log(UNLIKELY) * counted.unit
    if slo.traffic_per_min is None:
        usual = f"and {events} offset {clock(WEEK_S)})) >= {number(ceil(least))}"
    else:  # nights are quieter than the mean: not when it was as quiet a day ago
        usual = f"unless {events} offset {clock(DAY_S)})) < {number(ceil(least / 4))}"
    # Single series: the state's own service. That of another name would be 1 for ever.
    return (
        f"max by (slo) (\n  {events})) == 0 and {watched}\n  {usual}\n  and {seen}\n"
        f"  or last_over_time({fired}) == 1 and on (slo) {events})) == 0 and {seen}\n"
        f") >= bool 0\n{_else_0(slo)}"
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
        bad, total = (
            f"sum({recorded(f'slo:{what}:count', slo, period=period)})" for what in ("bad", "total")
        )
        cases.append(f"{bad} > 1.01 * {total} + 1")
    elif counted:
        hour = clock(3_600)
        part, total = (
            "sum(" + merged(selector, f"increase({selector}[{hour}])") + ")"
            for selector in (counted.part, counted.total)
        )
        unit = number(counted.unit)
        cases.append(f"{part} > {number(1.01 * counted.unit)} * {total} + {unit}")
    cases.append(f"count({recorded('slo:series:lost', slo)} == 1)")
    for selector in selectors(slo):
        cases += [f"count({selector} != {selector})", f"count(abs({selector}) == Inf)"]
    if isinstance(slo.kind, Freshness):
        cases.append(f"count({slo.kind.timestamp} > time() + 300)")
    inner = "\n  or ".join(f"({case})" for case in cases)
    return f"count(\n  {inner}\n) or vector(0)"


def series_counts(slo: Slo, clock: Clock) -> dict[str, str]:
    """PromQL of how many series there are, by what they are of."""
    counted = Counted.of(slo)
    watched = dict(zip(("total", "part"), selectors(slo), strict=False))
    if counted and counted.part.metric == counted.total.metric and not counted.part_is_good:
        del watched["part"]  # among those of the total
    elif counted and not (counted.part_is_good or _ours(slo)):
        del watched["part"]  # pods without an error come and go
    return {
        of: f"count({merged(one, f'last_over_time({one}[{clock(LOST_S)}])')}) or vector(0)"
        for of, one in watched.items()
    }


def lost_series(slo: Slo, clock: Clock) -> str:
    """Some of the series are gone, and not come back since; all of them gone is for absent.

    What noisegate exports never loses one, so that is told until they are back or the SLO's window
    has passed, and as long as there is none. Others have lost half of them within an hour: for a
    day at most, for a service may have been made smaller on purpose.
    """
    share, within_s, for_s = (0.5, 3_600.0, DAY_S)
    if _ours(slo):
        share, within_s, for_s = (1.0, DAY_S, max(DAY_S, slo.window_s))
    series, counts = recorded("slo:series:count", slo), remembered("slo:series:count", slo)

    def fewer(span: str) -> str:
        return f"{series} < on (of) {number(share)} * max by (of) (max_over_time({counts}[{span}]))"

    known = f"max({recorded('slo:series:count', slo, of='total')}) > 0"
    memory = f"last_over_time({remembered('slo:series:lost', slo)}[{clock(MEMORY_S)}])"
    before = f"and on () max({memory}) == 1"
    cases = [
        # Not before the first scrapes of a Prometheus that comes back.
        f"{fewer(clock(within_s))} and on () {known} and on () {_watched(slo, LOST_S, clock)}",
        f"{fewer(f'{clock(for_s)}:{clock(within_s / 12)}')} {before}",
    ]
    if _ours(slo):
        cases.append(f"{series} == 0 {before}")
    inner = "\n  or ".join(f"({case})" for case in cases)
    return f"count(\n  {inner}\n) > bool 0 or vector(0)"


def _ours(slo: Slo) -> bool:
    return all(exporter_alive(selector, "1m") for selector in selectors(slo))


def over_state(slo: Slo, clock: Clock) -> str:
    """The level is above its limit; then, until it is clearly below. Failures are whole numbers."""
    value, limit = (recorded(f"slo:level:{what}", slo) for what in ("value", "limit"))
    if not isinstance(slo.kind, ConsecutiveFailures):
        limit = f"({limit} * on (slo) (1 - {number(1 - HOLD)} * {_before(slo, 'over', clock)}))"
    return f"{value} > bool on (slo)\n{limit}\n{_else_0(slo)}"


def unproven_state(slo: Slo, clock: Clock, period: str) -> str:
    """The promise is broken for sure, or not proven by counts that were enough to prove it."""
    assert isinstance(slo.kind, Delayed)
    allowed = number(1 - slo.objective)
    slack = number((1 - HOLD) * (1 - slo.objective))
    limit = f"({allowed} - {slack} * {_before(slo, 'unproven', clock)})"
    total = recorded("slo:total:count", slo, period=period)
    lower, upper = (
        f"({recorded('slo:bound:ratio', slo, side=side)} > bool on (slo) {limit})"
        for side in ("lower", "upper")
    )
    return (
        f"clamp_max(\n  {lower}\n  + on (slo) {upper}\n"
        f"  * on (slo) ({total} >= bool {events_to_prove(slo)}), 1\n)\n{_else_0(slo)}"
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
    bad, total = (recorded(f"slo:{what}:count", slo, period=period) for what in ("bad", "total"))
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
    return remembered("slo:firing:state", slo, tier=tier)


def _before(slo: Slo, tier: str, clock: Clock) -> str:
    """Whether it fired at the evaluation before, 1 or 0, with the label slo."""
    state = f"last_over_time({_state(slo, tier)}[{clock(MEMORY_S)}])"
    return f"max by (slo) ({state} or 0 * {recorded('slo:objective:ratio', slo)})"


def _watched(slo: Slo, ago_s: float, clock: Clock) -> str:
    """Whether rules were evaluated at that time."""
    margin = duration(3 * clock.short_s)
    objective = remembered("slo:objective:ratio", slo)
    return f"last_over_time({objective}[{margin}] offset {clock(ago_s)})"


def _else_0(slo: Slo) -> str:
    # With the labels of a state: the past is followed through one series.
    return f"or 0 * max by (slo) ({recorded('slo:objective:ratio', slo)})"
