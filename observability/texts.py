"""What an alert tells a person at night: what happens, how bad, where to look, what to do."""

from urllib.parse import urlencode

from observability.promql import duration, number
from observability.slo import (
    Burn,
    ConsecutiveFailures,
    Delayed,
    Freshness,
    Level,
    Slo,
)
from observability.states import events_to_prove, silence_s

DASHBOARD = "noisegate-slo-detail"
"""Uid of the dashboard that shows one SLO."""

PANELS = {
    "burn": 11,
    "absent": 14,
    "stuck": 15,
    "invalid": 13,
    "over": 16,
    "unproven": 17,
}
"""Panel of that dashboard that shows a family of tiers."""


def limit(slo: Slo) -> float:
    """The level that must not be exceeded, in seconds or runs."""
    match slo.kind:
        case Freshness(at_most_s=limit) | ConsecutiveFailures(at_most=limit) | Level(at_most=limit):
            return limit
    raise AssertionError(slo.kind)


def family(slo: Slo, tier: str) -> str:
    """The heading of the runbook: burn, or the tier's own name."""
    return "burn" if any(burn.name == tier for burn in slo.tiers) else tier


def camel_case(name: str) -> str:
    """decision-availability-burn_1h is DecisionAvailabilityBurn1h."""
    words = name.replace("_", "-").split("-")
    return "".join(word[:1].upper() + word[1:] for word in words)


def value(slo: Slo, tier: str) -> str:
    """PromQL of the number that the texts call `$value`, with labels slo and service."""
    name = f'slo="{slo.name}"'
    period = duration(slo.window_s)
    found = {
        "over": f"slo:level:value{{{name}}}",
        "unproven": f'slo:bound:ratio{{{name},side="upper"}}',
        "absent": f"slo:objective:ratio{{{name}}}",
        "stuck": f'slo:total:count{{{name},period="{period}"}}',
        "invalid": f'slo:errors:ratio{{{name},window="1h"}}',
    } | {
        burn.name: f'slo:burn:rate{{{name},window="{duration(burn.long_s)}"}}' for burn in slo.tiers
    }
    return f"sum by (slo, service) ({found[tier]})"


def facts(slo: Slo) -> dict[str, str]:
    """Numbers besides `$value`: the share of budget left, and seconds until none is."""
    labels = f"{{slo='{slo.name}',period='{duration(slo.window_s)}'}}"
    return {
        "budget_left": f"slo:budget:remaining{labels}",
        "exhausted_in": f"slo:budget:exhaustion_seconds{labels}",
    }


def annotations(slo: Slo, tier: str, grafana_url: str, runbook_url: str) -> dict[str, str]:
    """Texts and links of one alert; Go templates that use `$value` only."""
    summary, description = _what_happens(slo, tier)
    where = urlencode({"var-slo": slo.name, "var-service": slo.service})
    dashboard = f"{grafana_url.rstrip('/')}/d/{DASHBOARD}?{where}"
    kind = family(slo, tier)
    found = {
        "summary": f"{slo.display_name}: {summary}",
        "description": description,
        "dashboard_url": dashboard,
        "panel_url": f"{dashboard}&viewPanel={PANELS[kind]}",
        "runbook_url": f"{runbook_url.rstrip('/')}/{slo.runbook or slo.name}.md#{kind}",
        "objective": number(slo.objective),
    }
    for burn in slo.tiers:
        if burn.name == tier:
            found["factor"] = number(burn.factor)
    return found


def _what_happens(slo: Slo, tier: str) -> tuple[str, str]:
    for burn in slo.tiers:
        if burn.name == tier:
            return _burning(slo, burn)
    period = duration(slo.window_s)
    match tier:
        case "absent":
            return (
                "nothing is known",
                "Its series are gone for six minutes: the exporter is down, is not scraped, or "
                "no longer exports them. Until they are back nobody sees an outage.",
            )
        case "stuck":
            return (
                f"no event for {duration(silence_s(slo))}",
                "Its series are there and stand still, where traffic makes such a silence very "
                f"unlikely. {{{{ $value | humanize }}}} events were counted in {period}.",
            )
        case "invalid":
            return (
                "the numbers cannot be true",
                "More good or bad events than events, a value that is no number, a time in the "
                "future, or series that are gone. Do not trust its budget until that is mended.",
            )
        case "unproven":
            return _unproven(slo)
        case _:
            return _over(slo)


def _burning(slo: Slo, burn: Burn) -> tuple[str, str]:
    long, short = duration(burn.long_s), duration(burn.short_s)
    share = burn.factor * burn.long_s / slo.window_s
    return (
        "burns its error budget {{ $value | humanize }} times too fast",
        f"Over the last {long} the error budget burns at {{{{ $value | humanize }}}} times the "
        f"rate that it allows, and over the last {short} too (told above {number(burn.factor)}, "
        f"which spends {share:.2%} of the budget of {duration(slo.window_s)} in {long}).",
    )


def _over(slo: Slo) -> tuple[str, str]:
    at_most = limit(slo)
    match slo.kind:
        case Freshness():
            return (
                "{{ $value | humanizeDuration }} old",
                "The newest one is {{ $value | humanizeDuration }} old; at most "
                f"{duration(at_most)} is allowed.",
            )
        case Level(unit="s"):
            return (
                "took {{ $value | humanizeDuration }}",
                "The last one took {{ $value | humanizeDuration }}; at most "
                f"{duration(at_most)} is allowed.",
            )
        case ConsecutiveFailures():
            return (
                "{{ $value | humanize }} failures in a row",
                "The newest runs failed, {{ $value | humanize }} in a row; at most "
                f"{number(at_most)} is allowed.",
            )
    unit = slo.kind.unit if isinstance(slo.kind, Level) else ""
    return (
        f"at {{{{ $value | humanize }}}} {unit}".rstrip(),
        f"The level is {{{{ $value | humanize }}}} {unit}; at most {number(at_most)} is allowed.",
    )


def _unproven(slo: Slo) -> tuple[str, str]:
    assert isinstance(slo.kind, Delayed)
    return (
        "the promise is not proven",
        "The bad share may be as high as {{ $value | humanizePercentage }} "
        f"({slo.kind.confidence:.0%} confidence, {duration(slo.window_s)}); the promise is at most "
        f"{1 - slo.objective:.3%}, and {events_to_prove(slo)} events without a bad one would "
        "prove it. Labels come late: look at single events, not at rates.",
    )
