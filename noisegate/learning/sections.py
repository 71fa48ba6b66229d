"""Sections of the report, each as what its part of the template needs: values and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from markupsafe import Markup

from noisegate.alert import Reason
from noisegate.decision.history import FINGERPRINT
from noisegate.decision.policy import CANDIDATES
from noisegate.learning import plots
from noisegate.learning.backtest import Candidates
from noisegate.learning.breakdown import (
    DAY_US,
    Judged,
    Noisy,
    Service,
    all_but_largest,
    fates,
    over_time,
    services,
    spread,
)
from noisegate.learning.card import Figure
from noisegate.learning.curves import ablation_rows, reliability
from noisegate.learning.examples import Examples
from noisegate.learning.promise import LEAST_REAL
from noisegate.learning.wording import (
    clipped,
    day,
    duration,
    many,
    number,
    percent,
    prometheus_duration,
)
from noisegate.model.champion import Champion
from noisegate.settings import Settings

REASONS = {
    Reason.SEVERITY_FLOOR: "paged at once: a severity that is never held",
    Reason.PROTECTED_LABEL: "paged at once: a protected label",
    Reason.WANTED_BY_PEOPLE: "paged at once: people want it even when it clears",
    Reason.TOO_FEW_OUTCOMES: "paged at once: too few known outcomes",
    Reason.NO_OPERATING_POINT: "paged at once: too little evidence for any hold",
    Reason.NOT_WORTH_THE_DELAY: "paged at once: no hold was worth its delay",
}


def both_widths(drawings: Sequence[plots.Drawing]) -> dict[str, Markup]:
    """A picture for a desktop and one for a phone."""
    return {"wide": drawings[0].markup(), "narrow": drawings[1].markup()}


def service_values(
    examples: Examples, judged: Judged, figures: Mapping[str, Figure]
) -> dict[str, Any]:
    """The services by size; before them all together, and all but the largest."""
    rows = services(examples, judged)
    each = judged.each
    total = Service(
        name="all services",
        alerts=int(each.alerts.sum()),
        noise=int(each.noise.sum()),
        real=int(each.real.sum()),
        noise_off=figures["noise_off"].value,
        pages_off=figures["pages_off"].value,
        delay_s=figures["delay_s"].value,
        lost=int(each.lost.sum()),
    )
    rest = all_but_largest(examples, judged)
    others = [] if rest is None else [replace(rest, name=f"all but {rows[0].name}")]
    return {
        "services": rows,
        "summary": [total, *others],
        "services_say": _services_say(rows),
    }


def _services_say(rows: Sequence[Service]) -> str:
    if not rows:
        return "None of the later alerts has an outcome yet."
    found = spread(rows)
    said = [
        f"{many(len(rows), 'service')}; the largest, {clipped(rows[0].name, 60)}, has "
        f"{percent(found.largest_share)} of the alerts."
    ]
    if not np.isnan(found.macro_noise_off):
        said.append(
            f"Each service counting once, {percent(found.macro_noise_off)} of the noise is off and "
            f"real alerts come {duration(found.macro_delay_s)} later."
        )
    if found.slowest is not None:
        said.append(
            f"Longest mean delay: {duration(found.slowest.delay_s)} in "
            f"{clipped(found.slowest.name, 60)}."
        )
    if found.noisiest is not None:
        said.append(
            f"Least noise off: {percent(found.noisiest.noise_off)} in "
            f"{clipped(found.noisiest.name, 60)}."
        )
    if len(said) > 1:
        said.append(f"(These count services with at least {LEAST_REAL} real, or noise, alerts.)")
    return " ".join(said)


def period_values(settings: Settings, examples: Examples, judged: Judged) -> dict[str, Any]:
    """Noise off and delay over time; nothing to draw for a single period."""
    found = over_time(examples, judged) if len(judged.rows) else None
    if found is None or len(found.starts_us) < 2:
        return {"periods": None, "periods_say": ""}
    name = {1: "a day", 7: "a week"}.get(found.days, f"{found.days} days")
    budget_s, first_us = settings.delay_budget_s, int(examples.outcome.starts_us[0])
    widths = (plots.WIDE, plots.NARROW)
    drawings = [plots.periods_plot(found, budget_s, first_us, width) for width in widths]
    return {
        "periods": both_widths(drawings),
        "periods_say": f"One bar or point for {name}. The promise is about the mean, so the line "
        "that counts is the running mean: it should end at or under the budget (dashed). "
        "Single periods may lie above it.",
    }


def ablation_values(
    settings: Settings,
    examples: Examples,
    candidates: Candidates,
    ablation: Candidates | None,
    judged: Judged,
    first: int,
) -> dict[str, Any]:
    """What each part of the model is good for: history, neighbours by text, the blend."""
    rule, hazard, blend = CANDIDATES
    budget_s = settings.delay_budget_s
    delays_s = [share * (budget_s or 0.1 * settings.transient_s) for share in (0.5, 1.0, 2.0)]
    forecasts = {"history rule": candidates.steps[rule]}
    if ablation is not None and examples.templates is not None:
        forecasts |= {
            "hazard, history only": ablation.steps[hazard],
            "hazard, + neighbours by text": candidates.steps[hazard],
            "blend, history only": ablation.steps[blend],
            "blend, + neighbours by text": candidates.steps[blend],
        }
    else:
        forecasts |= {"hazard": candidates.steps[hazard], "blend": candidates.steps[blend]}
    without = " Its alerts carry too little text for neighbours." if not examples.templates else ""
    return {
        "ablation": ablation_rows(examples, forecasts, first, delays_s, settings.seed),
        "ablation_delays": delays_s,
        "ablation_says": "Noise off at the same mean delay. Here one price of delay is set in "
        "hindsight for the whole later part, so the rows differ by their forecasts alone."
        + without,
        "in_force": _in_force(judged),
    }


def _in_force(judged: Judged) -> str:
    count = np.bincount(judged.candidate, minlength=len(CANDIDATES))
    if not count.any():
        return ""
    shares = [
        f"the {name} for {percent(n / count.sum())}"
        for name, n in zip(CANDIDATES, count, strict=True)
        if n
    ]
    return f"In force on the later part, chosen on the past alone: {', '.join(shares)} of alerts."


def reliability_values(
    settings: Settings, examples: Examples, judged: Judged
) -> list[dict[str, Any]]:
    """The two reliability diagrams."""
    whole, held = reliability(settings, examples, judged)
    named = (
        (whole, "Clears by itself within T", "clear within T"),
        (held, "Clears within its hold (of those held)", "clear within their hold"),
    )
    return [
        {
            "title": title,
            "says": f"{many(int(found.count.sum()), 'alert')}; "
            f"{100 * found.off_by:.1f} points off on average.",
            "picture": plots.reliability_plot(found, happens).markup(),
        }
        for found, title, happens in named
        if found.count.sum()
    ]


def fate_values(examples: Examples, judged: Judged, alerts_only: bool) -> list[dict[str, Any]]:
    """What became of the later alerts, and a colour for each fate."""
    found = fates(examples, judged)
    never = "never shown" if alerts_only else "never paged"
    parts = [
        (f"held, and cleared: {never}", found.held_cleared),
        ("held, still firing at its end: paged then", found.held_paged),
        *((REASONS[reason], n) for reason, n in found.paged.items()),
    ]
    named = [(text, n, colour) for colour, (text, n) in enumerate(parts) if n]
    return [{"text": text, "count": n, "colour": colour} for text, n, colour in named]


def fact_values(examples: Examples, judged: Judged) -> list[tuple[str, str]]:
    """Facts about the data, as name and value."""
    outcome, alerts = examples.outcome, examples.alerts
    known = int((~outcome.censored).sum())
    first, last = int(outcome.starts_us[0]), int(outcome.starts_us[-1])
    names = ("service", "name")
    services_n, names_n = (pc.count_distinct(alerts[name]).as_py() for name in names)
    days = (last - first) / DAY_US
    return [
        ("alerts", number(len(examples))),
        ("judged (the later part)", number(len(judged.rows))),
        ("days", number(days) if days >= 10 else f"{days:.1f}"),
        ("from", day(first, first)),
        ("to", day(last, first)),
        ("services", number(services_n)),
        ("alert names", number(names_n)),
        ("alert series (fingerprints)", number(len(np.unique(examples.keys.ids[:, FINGERPRINT])))),
        ("cleared by themselves within T", percent(outcome.transient.sum() / max(1, known))),
        ("noise", percent(outcome.noise.sum() / max(1, known))),
        ("still firing at the end", number(len(examples) - known)),
    ]


def entity_values(entities: Mapping[str, int] | None) -> list[tuple[str, int]] | None:
    """Scrubbed entities, most frequent first; None: not known."""
    if entities is None:
        return None
    return sorted(((k, n) for k, n in entities.items() if n), key=lambda item: (-item[1], item[0]))


def suggestion(row: Noisy) -> Markup:
    """Plain advice for a noisy alert."""
    fires = f"{number(row.noise)} of {many(row.alerts, 'firing')}"
    if row.useless:
        return Markup("<b>Delete it or fix it</b>: {} were noise.").format(fires)
    if row.for_s is None:
        return Markup("Leave it to the gate: its noise lasts too long for a <code>for:</code>.")
    wait = Markup("<code>for: {}</code>").format(prometheus_duration(row.for_s))
    removed = Markup("{} would remove {} of its noise").format(wait, percent(row.removes))
    if row.real > row.noise:
        leave = "Leave it, for the gate may not hold it" if row.floored else "Leave it to the gate"
        return Markup("{}: most of its firings are real.").format(leave)
    costs = f", and delay {many(row.real, 'real alert')}" if row.real else ""
    never = " The gate may not hold it." if row.floored else ""
    return Markup("{}{}.{}").format(removed, costs, never)


def operating_says(settings: Settings, model: Champion) -> str:
    """The operating point that the judged model would start with."""
    point = model.points[""]
    said = [
        f"Candidate: {model.candidate}.",
        f"T {duration(settings.transient_s)}, delay budget {duration(settings.delay_budget_s)}, "
        f"operating points chosen anew every {settings.tune_every_hours:g} hours.",
    ]
    if point.price is None:
        said.append("No operating point: too little evidence, so everything pages.")
    else:
        said.append(
            f"From now on: price of delay {point.price:.3g}, resting on "
            f"{many(point.real_alerts, 'real alert')} (mean delay {duration(point.delay_s)}, upper "
            f"bound {duration(point.delay_upper_s)}, noise off {percent(point.noise_off)} on the "
            "past)."
        )
    own = len(model.points) - 1
    if own:
        said.append(f"{many(own, 'service')} with an operating point of its own.")
    return " ".join(said)
