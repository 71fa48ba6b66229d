"""The report of one training: what it would have saved, whether it may be promoted, and why."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from noisegate.decision.policy import CANDIDATES
from noisegate.learning import plots, sections
from noisegate.learning.backtest import Candidates, Lived
from noisegate.learning.breakdown import DAY_US, Judged, noisiest, severities
from noisegate.learning.card import Figure, GateResult
from noisegate.learning.curves import BUDGETS, Curve, Fixed, gate_curve
from noisegate.learning.examples import Examples
from noisegate.learning.promise import Ledger
from noisegate.learning.wording import breakable, day, duration, number, percent
from noisegate.model.champion import Champion
from noisegate.settings import Settings
from noisegate.store.snapshot import SnapshotRef, read

SHOWN, LISTED = 12, 300
"""Services in the table at once, and on demand."""
LONGEST = 0.6
"""Right end of the curve, as a share of T."""


def report_html(
    settings: Settings,
    examples: Examples,
    candidates: Candidates,
    ablation: Candidates | None,
    lived: Lived,
    model: Champion,
    figures: dict[str, Figure],
    gates: tuple[GateResult, ...],
    *,
    picture: Path | None = None,
) -> str:
    """One HTML file without references to anything outside it; the same input gives the same bytes.

    Args:
        settings: T, budget, cadence, and the home in which snapshot and forecasts lie.
        examples: the whole history.
        candidates: what each candidate would do.
        ablation: the same of candidates fitted without text columns; None: there are none.
        lived: what the gate would have done with the later part.
        model: the model that was judged, for its operating point.
        figures: of `learning.figures.measure` on the later part.
        gates: of the promotion.
        picture: write the curve here, too, as `save_picture` does.
    """
    judged = Judged.of(examples, lived)
    found, alerts_only = _snapshot_facts(settings, examples)
    drawn = _curve_drawings(settings, examples, candidates, lived, figures)
    if picture is not None:
        _write(drawn[0][0], picture)
    values = {
        "style": Markup(plots.COLOURS + plots.STYLE),
        "title": "what stays off the pager",
        "pages": "alerts" if alerts_only else "pages",
        "alerts_only": alerts_only,
        "data_digest": examples.data_digest,
        "transient_s": settings.transient_s,
        "own_services": any(own.transient_s for own in settings.services.values()),
        "operating": sections.operating_says(settings, model),
        "reliability": sections.reliability_values(settings, examples, judged),
        "fates": sections.fate_values(examples, judged, alerts_only),
        "severities": severities(examples, judged),
        "noisiest": noisiest(examples, judged),
        "facts": sections.fact_values(examples, judged),
        "entities": sections.entity_values(found),
        **_verdict(settings, examples, judged, lived.first, figures, gates, alerts_only),
        **_curve(settings, drawn, figures),
        **sections.ablation_values(settings, examples, candidates, ablation, judged, lived.first),
        **sections.service_values(examples, judged, figures),
        **sections.period_values(settings, examples, judged),
    }
    return _environment().get_template("report.html.j2").render(values)


def save_picture(
    settings: Settings,
    examples: Examples,
    candidates: Candidates,
    lived: Lived,
    figures: dict[str, Figure],
    path: Path,
) -> None:
    """Write the curve as an SVG file of its own, light and dark.

    Args:
        settings: T, budget, cadence.
        examples: the whole history.
        candidates: what each candidate would do.
        lived: what the gate would have done with the later part.
        figures: of `learning.figures.measure` on the later part.
        path: where it goes, such as docs/noise-off.svg.
    """
    _write(_curve_drawings(settings, examples, candidates, lived, figures)[0][0], path)


def _write(drawing: plots.Drawing, path: Path) -> None:
    svg = plots.standalone(drawing, "Noise kept off the pager, for how much delay")
    path.write_text(svg, encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("noisegate.learning", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "number": number,
        "breakable": breakable,
    }
    environment.globals |= {
        "interval": _interval,
        "interval_bare": _interval_bare,
        "points": _points,
        "suggestion": sections.suggestion,
        "shown": SHOWN,
        "listed": LISTED,
    }
    return environment


def _interval_bare(figure: Figure, unit: str, digits: int = 0) -> str:
    write = partial(percent, digits=digits) if unit == "percent" else duration
    return "" if figure.lo is None else f"{write(figure.lo)} to {write(figure.hi or 0.0)}"


def _interval(figure: Figure, unit: str) -> Markup:
    written = _interval_bare(figure, unit)
    return Markup("{}<br>").format(written) if written else Markup("")


def _points(gain: float) -> str:
    """A difference of two shares, in percentage points."""
    return f"{100 * gain:+.1f}".replace("-", "−")


def _snapshot_facts(
    settings: Settings, examples: Examples
) -> tuple[Mapping[str, int] | None, bool]:
    """Scrubbed entities by kind (None: no snapshot here), and whether all is from Prometheus."""
    digest = examples.data_digest
    path = settings.home / "snapshots" / "manifests" / f"{digest}.json"
    if not path.exists():
        return None, False
    found: dict[str, int] = json.loads(path.read_text())["entities"]
    batches = read(SnapshotRef(digest, path, len(examples)), columns=["source"])
    return found, all(pc.all(pc.equal(batch["source"], "prometheus")).as_py() for batch in batches)


def _verdict(
    settings: Settings,
    examples: Examples,
    judged: Judged,
    later: int,
    figures: dict[str, Figure],
    gates: Sequence[GateResult],
    alerts_only: bool,
) -> dict[str, Any]:
    delay, each = figures["delay_s"].value, judged.each
    noise, real, lost = (int(c.sum()) for c in (each.noise, each.real, each.lost))
    budget = settings.delay_budget_s
    failed = [gate for gate in gates if not gate.passed]
    starts = examples.outcome.starts_us
    span_us = int(starts[-1] - starts[later])
    first = int(starts[0])
    since, until = day(int(starts[later]), first), day(int(starts[-1]), first)
    alerts, off = int(each.alerts.sum()), int(each.pages_off.sum())
    weeks = span_us / (7 * DAY_US)
    by_week = weeks >= 2
    rates = [number(n / weeks) if by_week else number(n) for n in (alerts, alerts - off)]
    return {
        "headline": _headline(figures["noise_off"].value, alerts_only),
        "lead": _lead(delay, budget, lost, real, off),
        "judged_on": f"{number(alerts)} later alerts, {since} to {until}, never seen in training",
        "figures": figures,
        "budget_s": budget,
        "over_budget": delay > budget,
        "budget_spent": min(100.0, 100 * delay / budget) if budget else 100.0,
        "noise_count": f"{number(each.noise_off.sum())} of {number(noise)}",
        "weekly": f"{rates[0]} → {rates[1]}{' a week' if by_week else ''}",
        "lost": lost,
        "real": real,
        "gates": failed + [gate for gate in gates if gate.passed],
        "failed": failed,
        "verdict": f"{len(failed)} of {len(gates)} gates failed"
        if failed
        else f"all {len(gates)} gates passed",
    }


def _headline(noise_off: float, alerts_only: bool) -> Markup:
    if not noise_off:
        return Markup("Not yet: <em class=bad>everything would have paged</em>.")
    ending = "reached anyone" if alerts_only else "paged anyone"
    return Markup("<em>{}</em> of the noise would not have {}.").format(percent(noise_off), ending)


def _lead(delay: float, budget: float, lost: int, real: int, off: int) -> str:
    if not off:
        return (
            "Nothing would have been held, so nothing delayed or lost. Why stands below; more "
            "history, or a larger delay budget, is what usually helps."
        )
    stands = "within" if delay <= budget else "over"
    none = "Not one of them would have been lost."
    some = f"{number(lost)} of {number(real)} would have been lost."
    return (
        f"Real alerts would have come {duration(delay)} later on average, {stands} the budget of "
        f"{duration(budget)}. {some if lost else none}"
    )


def _curve_drawings(
    settings: Settings,
    examples: Examples,
    candidates: Candidates,
    lived: Lived,
    figures: dict[str, Figure],
) -> tuple[list[plots.Drawing], list[plots.Line], Fixed]:
    """The curve in both widths, its lines, and the fixed holds it is compared with."""
    first, longest_s = lived.first, LONGEST * settings.transient_s
    fixed = Fixed.of(examples, first)
    ledgers: dict[str, Ledger] = {}
    gate = gate_curve(settings, examples, candidates, first, ledgers=ledgers)
    alone = gate_curve(settings, examples, candidates, first, CANDIDATES[0], ledgers)
    same = np.allclose(gate.noise_off, alone.noise_off, atol=0.002)
    lines = [plots.Line("learned gate" if not same else "gate (history rule)", "gate", gate)]
    if not same:
        lines.append(plots.Line("history rule alone", "rule", alone))
    holds = np.linspace(0, 1, 61)[1:] * longest_s / max(fixed.real_share, 0.01)
    drawn = Curve(fixed.delay_s(1.0) * holds, np.array([fixed.noise_off(h) for h in holds]))
    at = plots.Operating(
        delay_s=_ends(figures["delay_s"]),
        noise_off=_ends(figures["noise_off"]),
        budget_s=settings.delay_budget_s,
        fixed_s=fixed.delay_for(figures["noise_off"].value),
        ceiling=fixed.ceiling if fixed.floored else 1.0,
    )
    shown = [*lines, plots.Line("same hold for all", "fixed", drawn)]
    widths = (plots.WIDE, plots.NARROW)
    return [plots.curve_plot(shown, at, longest_s, width) for width in widths], lines, fixed


def _ends(figure: Figure) -> tuple[float, float, float]:
    value = figure.value
    low, high = figure.lo, figure.hi
    return value, value if low is None else low, value if high is None else high


def _curve(
    settings: Settings,
    drawn: tuple[list[plots.Drawing], list[plots.Line], Fixed],
    figures: dict[str, Figure],
) -> dict[str, Any]:
    drawings, lines, fixed = drawn
    delay, off = figures["delay_s"].value, figures["noise_off"].value
    budgets = [share * settings.transient_s for share in BUDGETS]
    curves = [line.curve for line in lines]
    rows = [
        {
            "budget_s": budget,
            "points": [(float(curve.delay_s[i]), float(curve.noise_off[i])) for curve in curves],
            "fixed": fixed.noise_off(fixed.hold_for(budget)),
        }
        for i, budget in enumerate(budgets)
    ]
    floors = (
        " Alerts that may not be held (by severity, label, or because people want them) page in "
        f"both: no gate could keep off more than {percent(fixed.ceiling)}."
        if fixed.floored
        else ""
    )
    says = (
        f"The gate keeps {percent(off)} of the noise off and delays real alerts by "
        f"{duration(delay)} on average. The same hold for every alert, at the same mean delay, "
        f"keeps off {percent(fixed.noise_off(fixed.hold_for(delay)))}.{floors}"
    )
    return {
        "curve": sections.both_widths(drawings),
        "curve_says": says,
        "curve_table": {"names": [line.name for line in lines], "rows": rows},
    }
