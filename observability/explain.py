"""What an SLO means in numbers: its budget, and when each of its alerts fires and resolves.

Arithmetic on steady traffic, as in the Site Reliability Workbook, chapter 5: errors that begin at
t = 0 with the share e fill a window of w seconds to e x t / w.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from observability.burn import compile_slo
from observability.checks import judge, limit, selectors
from observability.slo import (
    DAY_S,
    Burn,
    ConsecutiveFailures,
    Delayed,
    Freshness,
    Level,
    Mean,
    Slo,
)
from observability.states import (
    ABSENT_S,
    HOLD,
    LEAST_BAD,
    SIGMA,
    events_to_prove,
    silence_s,
)

ERROR_SHARES = (1.0, 0.1, 0.02)
"""Bad shares that are explained."""

_HEAD = (
    *("tier", "looks at", "burn above", "errors above"),
    *("errors", "fires after", "budget spent", "resolves within"),
)


@dataclass(frozen=True, slots=True)
class Firing:
    """When one tier fires at one constant share of errors."""

    error_share: float
    after_s: float | None
    """Seconds after errors begin, and at most a minute until a rule sees it; None: never."""
    resolves_s: float | None
    """Seconds after errors end; None where it never fires."""
    budget_spent: float | None
    """Share of the window's budget that is gone when it fires."""
    why: str = ""
    """Why it never fires; empty if it does."""


@dataclass(frozen=True, slots=True)
class TierMeaning:
    """One burn-rate tier."""

    tier: Burn
    limit: float
    """Both windows must show a larger share of errors, in (0, 1)."""
    firings: tuple[Firing, ...]


@dataclass(frozen=True, slots=True)
class Meaning:
    """One SLO in numbers."""

    slo: Slo
    budget_minutes: float
    """Of full outage in the window; of bad minutes for a gauge."""
    budget_events: float | None
    """Bad events in the window, with the declared traffic."""
    condition: str
    """When the alert of a kind without burn rates fires; empty for the others."""
    tiers: tuple[TierMeaning, ...]
    besides: Mapping[str, str]
    """What the tiers mean that every SLO has."""
    remarks: tuple[str, ...]


def explain(slo: Slo, shares: Sequence[float] = ERROR_SHARES) -> Meaning:
    """Say what an SLO means in numbers; shares of errors are in (0, 1]."""
    budget_s = (1 - slo.objective) * slo.window_s
    traffic = slo.traffic_per_min
    return Meaning(
        slo=slo,
        budget_minutes=budget_s / 60,
        budget_events=None if traffic is None else traffic * budget_s / 60,
        condition=_condition(slo),
        tiers=tuple(
            TierMeaning(tier, limit(slo, tier), tuple(_firing(slo, tier, e) for e in shares))
            for tier in slo.tiers
        ),
        besides=_besides(slo),
        remarks=tuple(judgement.message for judgement in judge(slo, None)),
    )


def _firing(slo: Slo, tier: Burn, error_share: float) -> Firing:
    most = limit(slo, tier)
    if error_share <= most * (1 + 1e-9):
        burn = error_share / (1 - slo.objective)
        why = f"burns at {burn:.3g}x, not above {tier.factor:g}x"
        return Firing(error_share, None, None, None, why)
    # The short window, a part of the long one, is over the limit earlier.
    after = tier.long_s * most / error_share
    if slo.traffic_per_min is not None:
        bad_per_s = error_share * slo.traffic_per_min / 60
        if (expected := bad_per_s * tier.long_s) < LEAST_BAD - 1e-9:
            why = f"{expected:.2g} bad in {_short(tier.long_s)}, {LEAST_BAD} are needed"
            return Firing(error_share, None, None, None, why)
        after = max(after, LEAST_BAD / bad_per_s)
    resolves = min(_resolves(slo, tier, w, error_share) for w in (tier.long_s, tier.short_s))
    spent = error_share * after / ((1 - slo.objective) * slo.window_s)
    return Firing(error_share, after, resolves, spent)


def _resolves(slo: Slo, tier: Burn, window_s: float, error_share: float) -> float:
    """Seconds after the errors until one window lets go; at most the long one: it is empty then.

    It lets go at states.HOLD of its limit, a ticket's later if chance may be why it is below.
    """
    hold = HOLD * tier.factor
    if tier.severity == "ticket" and slo.traffic_per_min is not None:
        events = max(1.0, slo.traffic_per_min * window_s / 60)
        hold -= SIGMA * math.sqrt(HOLD * tier.factor / (1 - slo.objective) / events)
    if hold <= 0:
        return tier.long_s
    return window_s * (1 - hold * (1 - slo.objective) / error_share)


def _condition(slo: Slo) -> str:
    match slo.kind:
        case Freshness(at_most_s=at_most):
            return (
                f"fires when it is older than {duration(at_most)}; resolves when one is younger "
                f"than {duration(HOLD * at_most)}"
            )
        case ConsecutiveFailures(at_most=at_most):
            return f"fires at failure {int(at_most) + 1} in a row; resolves with the next good run"
        case Level(at_most=at_most, unit=unit):
            above, below = (
                duration(level) if unit == "s" else f"{level:g} {unit}"
                for level in (at_most, HOLD * at_most)
            )
            return f"fires when it is above {above}; resolves below {below}"
        case Delayed(confidence=confidence):
            return (
                f"fires when the lower {confidence:.0%} bound of the bad share is above "
                f"{1 - slo.objective:.3g}, or the upper one is, of at least {events_to_prove(slo)} "
                "events (so many, none bad, prove the objective)"
            )
        case _:
            return ""


def _is_gauge(slo: Slo) -> bool:
    return isinstance(slo.kind, Freshness | ConsecutiveFailures | Level)


def _besides(slo: Slo) -> dict[str, str]:
    means = {
        "absent": f"no series for {duration(ABSENT_S)}, so that nobody would be told of anything; "
        "holds until they are back",
        "stuck": f"no event for {duration(silence_s(slo))}, and chance does not explain it",
        "invalid": "the SLI contradicts itself (more bad or good events than events, a part of its "
        "series gone, no number); trust none of this until it is mended",
    }
    severities = {alert.tier: alert.severity for alert in compile_slo(slo).alerts}
    return {tier: f"{severities[tier]}: {why}" for tier, why in means.items() if tier in severities}


def duration(seconds: float) -> str:
    """Two units of a duration: 52 s, 8 min 38 s, 2 h 24 min, 1 d 16 h."""
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    left = round(seconds)
    index = next((i for i, (_, size) in enumerate(units) if left >= size), len(units) - 1)
    parts: list[str] = []
    for name, size in units[index : index + 2]:
        count, left = divmod(left, size)
        parts += [f"{count} {name}"] if count or not parts else []
    return " ".join(parts)


def as_text(meaning: Meaning) -> list[str]:
    """The lines that a person reads."""
    slo = meaning.slo
    of = "of the time" if _is_gauge(slo) else "of events"
    if isinstance(slo.kind, Mean):
        of = f"of {slo.kind.most:g} an event: a mean of at most {slo.kind.at_most:g}"
    lines = [
        f"{slo.name}: {slo.display_name}",
        *textwrap.wrap(slo.description, 88, initial_indent="  ", subsequent_indent="  "),
        "",
        f"objective  {100 * slo.objective:g} % {of}, over {slo.window_s / DAY_S:g} days",
        *(f"{field:<10} {selector}" for field, selector in selectors(slo.kind)),
        f"budget     {_budget(meaning)}",
    ]
    if meaning.condition:
        lines.append(f"{slo.severity:<10} {meaning.condition}")
    if meaning.tiers:
        rows = [row for tier in meaning.tiers for row in _rows(slo, tier)]
        lines += ["", "Errors that begin and stay, on steady traffic, until they end:", ""]
        lines += [*_table(rows), "", "A rule sees it up to a minute later."]
    lines += ["", "Besides, whatever the objective:"]
    lines += [f"  {tier:<8} {why}" for tier, why in meaning.besides.items()]
    return lines + [f"remark: {remark}" for remark in meaning.remarks]


def _budget(meaning: Meaning) -> str:
    slo = meaning.slo
    outage = duration(60 * meaning.budget_minutes)
    if _is_gauge(slo):
        return f"{outage} of bad minutes"
    if meaning.budget_events is None:
        return f"{outage} of full outage"
    total = meaning.budget_events / (1 - slo.objective)
    traffic = f"(at {slo.traffic_per_min:g} a minute)"
    if isinstance(slo.kind, Mean):
        return f"{slo.kind.most * meaning.budget_events:,.0f} for {total:,.0f} events {traffic}"
    bad = f"{meaning.budget_events:,.0f} bad of {total:,.0f} events"
    return f"{outage} of full outage, or {bad} {traffic}"


def _rows(slo: Slo, meaning: TierMeaning) -> list[tuple[str, ...]]:
    tier = meaning.tier
    head: tuple[str, ...] = (
        tier.name,
        f"{_short(tier.long_s)} and {_short(tier.short_s)}",
        f"{tier.factor:g}x",
        f"{100 * meaning.limit:.3g} %",
    )
    rows: list[tuple[str, ...]] = []
    for firing in meaning.firings:
        share = f"{100 * firing.error_share:g} %"
        if isinstance(slo.kind, Mean):
            share += f" (mean {slo.kind.most * firing.error_share:g})"
        if firing.after_s is None or firing.resolves_s is None or firing.budget_spent is None:
            rows.append((*head, share, f"never: {firing.why}", "", ""))
        else:
            spent = f"{100 * firing.budget_spent:.3g} %"
            after, resolves = duration(firing.after_s), duration(firing.resolves_s)
            rows.append((*head, share, after, spent, resolves))
        head = ("",) * 4
    return rows


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    # A `never` runs on into the empty cells behind it.
    widths = [
        max(len(row[i]) for row in (_HEAD, *rows) if not row[i].startswith("never"))
        for i in range(len(_HEAD))
    ]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEAD, *rows)
    ]


def _short(seconds: float) -> str:
    """One unit of a duration, as specs write it: 5m, 1h, 3d."""
    for unit, size in (("d", 86_400), ("h", 3_600)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds / 60:g}m"
