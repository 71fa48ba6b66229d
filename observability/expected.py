"""Which tiers fire in which minute, from a plain count of events: what rules are tested against.

Written without PromQL, so that a mistake in an expression is not made twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt

from observability import states
from observability.promql import Counted
from observability.slo import Burn, ConsecutiveFailures, Delayed, Freshness, Slo


@dataclass(frozen=True, slots=True)
class Minute:
    """What happens in a minute."""

    total: float
    """Events."""
    bad: float
    """Bad ones of them; of the level kinds, the level in multiples of its limit."""
    present: bool = True
    """Whether Prometheus sees the series."""
    part: bool = True
    """Whether it sees the series of the good or bad events."""


def firing(slo: Slo, minutes: Sequence[Minute]) -> list[set[str]]:
    """Tiers that fire at the end of each minute."""
    found: list[set[str]] = [set() for _ in minutes]
    _mark(found, "absent", _silent(minutes, states.ABSENT_S, gone=True))
    counted = Counted.of(slo)
    if counted is None:
        _mark(found, "over", _over(slo, minutes))
        if isinstance(slo.kind, Freshness):  # made in the future
            _mark(found, "invalid", [minute.present and minute.bad < 0 for minute in minutes])
        return found
    _mark(found, "invalid", _impossible(counted, minutes))
    _mark(found, "invalid", _lost(minutes))
    _mark(found, "stuck", _silent(minutes, states.silence_s(slo), gone=False))
    for tier in slo.tiers:
        _mark(found, tier.name, _burns(slo, tier, minutes))
    if isinstance(slo.kind, Delayed):
        _mark(found, "unproven", _unproven(slo, slo.kind, minutes))
    return found


def budget_left(slo: Slo, minutes: Sequence[Minute]) -> float:
    """Share of the budget that is left after what was counted; the first minute has no before."""
    counted = Counted.of(slo)
    assert counted is not None
    total, bad = (sum(getattr(m, what) for m in minutes[1:]) for what in ("total", "bad"))
    if not counted.late:
        bad = _clamped(bad, total)
    return float(1 - bad / total / (1 - slo.objective))


def _clamped(bad: float, total: float) -> float:
    return max(0.0, min(bad, total))


def _over(slo: Slo, minutes: Sequence[Minute]) -> list[bool]:
    """The level is above its limit, then above most of it; for five minutes as it was last seen."""
    least = 1.0 if isinstance(slo.kind, ConsecutiveFailures) else states.HOLD
    fires: list[bool] = []
    level, gone = 0.0, 0
    for minute in minutes:
        gone = 0 if minute.present else gone + 1
        if minute.present:
            level = minute.bad
        fires.append(gone <= 5 and level > (least if fires and fires[-1] else 1))
    return fires


def _mark(found: list[set[str]], tier: str, fires: Sequence[bool]) -> None:
    for tiers, fire in zip(found, fires, strict=True):
        if fire:
            tiers.add(tier)


def _silent(minutes: Sequence[Minute], for_s: float, gone: bool) -> list[bool]:
    """Whether nothing was seen for so long: no series, or no event."""
    fires, silent_s = [], 0.0
    for minute in minutes:
        heard = minute.present and (gone or minute.total > 0)
        silent_s = 0.0 if heard else silent_s + 60
        fires.append(silent_s >= for_s + 60)
    return fires


def _lost(minutes: Sequence[Minute]) -> list[bool]:
    """The series of the good or bad events are gone for five minutes, and others are not."""
    fires, gone_s = [], 0.0
    for minute in minutes:
        gone_s = 0.0 if minute.part else gone_s + 60
        fires.append(gone_s >= states.LOST_S + 60)
    return fires


def _impossible(counted: Counted, minutes: Sequence[Minute]) -> list[bool]:
    """More good or bad events than events within an hour; late ones, ever."""
    fires = []
    for end in range(1, len(minutes) + 1):
        recent = minutes[0 if counted.late else max(0, end - 60) : end]
        total, bad = sum(m.total for m in recent), sum(m.bad for m in recent)
        part = total - bad if counted.part_is_good else bad
        fires.append(part > 1.01 * total + 1)
    return fires


def _burns(slo: Slo, tier: Burn, minutes: Sequence[Minute]) -> list[bool]:
    allowed, ticket = 1 - slo.objective, tier.severity == "ticket"
    total, bad = _sums(minutes)
    fires, before = [], False
    for end in range(1, len(total)):
        windows = []
        for window_s in (tier.long_s, tier.short_s):
            start = max(0, end - round(window_s / 60))
            n = total[end] - total[start]
            limit = tier.factor
            if before:
                limit *= states.HOLD
                if ticket and n:
                    limit -= states.SIGMA * sqrt(limit / (allowed * n))
            share = _clamped(bad[end] - bad[start], n) / n if n else 0.0
            # A short window without events says nothing: the long one holds what fires.
            windows.append(share / allowed > limit or (before and not n))
        start = max(0, end - round(tier.long_s / 60))
        before = all(windows) and bad[end] - bad[start] >= states.LEAST_BAD
        fires.append(before)
    return fires


def _unproven(slo: Slo, kind: Delayed, minutes: Sequence[Minute]) -> list[bool]:
    allowed, z = 1 - slo.objective, states.z_score(kind)
    fires, before = [], False
    for n, k in list(zip(*_sums(minutes), strict=True))[1:]:
        limit = allowed * (states.HOLD if before else 1)
        centre, spread = k + z * z / 2, z * sqrt(max(0.0, k * (1 - k / max(n, 1.0))) + z * z / 4)
        lower, upper = (centre - spread) / (n + z * z), (centre + spread) / (n + z * z)
        before = lower > limit or (upper > limit and n >= states.events_to_prove(slo))
        fires.append(before)
    return fires


def _sums(minutes: Sequence[Minute]) -> tuple[list[float], list[float]]:
    """Events and bad events before each minute, and after the last."""
    events = [minute.total for minute in minutes]
    bad = [minute.bad for minute in minutes]
    return [0.0, *accumulate(events)], [0.0, *accumulate(bad)]
