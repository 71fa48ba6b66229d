"""The pictures of the report: SVG that takes its colours from the page, light or dark."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape

from noisegate.learning.breakdown import Periods, Shares
from noisegate.learning.curves import BINS, Curve, Reliability
from noisegate.learning.wording import day, duration, number, percent

WIDE, NARROW = 910, 360
"""Widths that pictures are drawn in, pixels: text in them stays readable on a phone, too."""

COLOURS = """

:root{--page:#f6f7f8;--ink:#1a1d21;--soft:#5b6370;--line:#e3e5e9;--card:#fff;--gate:#1d5fd1;--rule:#c96f12;
--fixed:#7d8590;--good:#187a47;--bad:#bf3426;--wash:#eaf1fc}
@media(prefers-color-scheme:dark){:root{--page:#101318;--ink:#e7eaee;--soft:#9aa4b1;--line:#2c333d;--card:#181c22;
--gate:#6da6ff;--rule:#eda553;--fixed:#8e97a4;--good:#56c98b;--bad:#ff7f70;--wash:#1b2a42}}
"""
STYLE = """
svg{display:block;max-width:100%;height:auto;
font:13px system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums}
svg text{fill:var(--ink)}svg .soft{fill:var(--soft)}svg .small{font-size:12px}
svg .strong{font-weight:650}svg .halo{paint-order:stroke;stroke:var(--card);stroke-width:4px;
stroke-linejoin:round}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 4}
svg .curve{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}
svg .gate{stroke:var(--gate)}svg .rule{stroke:var(--rule)}svg .fixed{stroke:var(--fixed)}
svg .fixed.curve{stroke-dasharray:6 5;stroke-width:2}
svg .dot{stroke:var(--card);stroke-width:1.5}svg .dot.gate{fill:var(--gate)}
svg .dot.rule{fill:var(--rule)}svg .whisker{stroke-width:2;opacity:.55}
svg .bar{fill:var(--gate);opacity:.28}svg .name.gate{fill:var(--gate);stroke:none}
svg .name.rule{fill:var(--rule);stroke:none}svg .name.fixed{fill:var(--soft);stroke:none}
svg .title{font-size:19px;letter-spacing:-.01em}svg .thin.curve{stroke-width:1.5}
svg .mark{fill:var(--gate);stroke:var(--card);stroke-width:2.5}
"""


@dataclass
class Drawing:
    """An SVG picture that grows by elements; every text and attribute is escaped."""

    width: float
    height: float
    label: str
    parts: list[Markup] = field(default_factory=list)

    def add(self, tag: str, text: str = "", *, tip: str = "", **attributes: object) -> None:
        """Add an element; a trailing _ of a name goes, others become -; `tip` shows on hover."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        written = Markup("").join(
            Markup(' {}="{}"').format(name, _number(value)) for name, value in named.items()
        )
        title = Markup("<title>{}</title>").format(tip) if tip else Markup("")
        self.parts.append(Markup("<{0}{1}>{2}{3}</{0}>").format(tag, written, title, text))

    def text(self, x: float, y: float, text: str, class_: str = "", anchor: str = "start") -> None:
        """Add a text whose baseline begins (or ends, or is centred) at x, y."""
        self.add("text", text, x=x, y=y, class_=class_, text_anchor=anchor)

    def line(self, x1: float, y1: float, x2: float, y2: float, class_: str) -> None:
        """Add a straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)

    def polyline(self, points: Sequence[tuple[float, float]], class_: str) -> None:
        """Add a line through points."""
        written = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self.add("polyline", points=written, class_=class_)

    def markup(self, head: str = "") -> Markup:
        """The picture; `head` stands in its opening tag."""
        size = f"0 0 {_number(self.width)} {_number(self.height)}"
        start = Markup('<svg{} viewBox="{}" width="{}" role="img" aria-label="{}">').format(
            Markup(head), size, _number(self.width), escape(self.label)
        )
        return start + Markup("").join(self.parts) + Markup("</svg>")


def _number(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps lo..hi to pixels start..stop; what lies beyond stays at the edge."""

    lo: float
    hi: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        share = (value - self.lo) / (self.hi - self.lo)
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)


def ticks(hi: float, most: int) -> list[float]:
    """Round values from 0 to `hi`, at most `most` + 1 of them."""
    steps = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400)
    step = next(
        (s for s in steps if hi / s <= most), steps[-1] * max(1, round(hi / steps[-1] / most))
    )
    return [float(step * i) for i in range(int(hi / step) + 1)]


@dataclass(frozen=True, slots=True)
class Line:
    """A named curve; its look (gate, rule, fixed) is a class of STYLE."""

    name: str
    look: str
    curve: Curve


@dataclass(frozen=True, slots=True)
class Operating:
    """Where the gate stood on later data: value, low and high end of delay and noise off.

    `fixed_s` is the mean delay at which a fixed hold keeps as much noise off, seconds; inf: none
    does. `ceiling` is the share of the noise that may be held at all.
    """

    delay_s: tuple[float, float, float]
    noise_off: tuple[float, float, float]
    budget_s: float
    fixed_s: float
    ceiling: float = 1.0


def curve_plot(
    lines: Sequence[Line], operating: Operating, longest_s: float, width: int = WIDE
) -> Drawing:
    """Noise off against mean delay of real alerts: learned gate, rule alone, fixed holds."""
    wide = width > 600
    left, right, top, bottom = (52.0, 146.0, 30.0, 46.0) if wide else (48.0, 12.0, 84.0, 44.0)
    height = 400.0 if wide else 350.0
    drawing = Drawing(
        float(width),
        height,
        f"Noise off against mean delay of real alerts: {percent(operating.noise_off[0])} "
        f"at {duration(operating.delay_s[0])}",
    )
    x = Scale(0, longest_s, left, width - right)
    tops = [share for line in lines for _, share in _inside(line, longest_s)]
    highest = max(*tops, 1.08 * operating.noise_off[2], min(1.0, 1.08 * operating.ceiling))
    y = Scale(0, next((s for s in (0.25, 0.5, 0.75) if highest <= s), 1.0), height - bottom, top)
    _axes(drawing, x, y, most=9 if wide else 6)
    _budget(drawing, x, y, operating.budget_s)
    if operating.ceiling < 1:
        drawing.line(x.start, y(operating.ceiling), x.stop, y(operating.ceiling), "guide")
        said = f"all that may be held: {percent(operating.ceiling)}"
        drawing.text(x.stop, y(operating.ceiling) - 6, said, "soft small halo", "end")
    for line in reversed(lines):  # the gate on top
        _curve(drawing, line, x, y)
    if operating.noise_off[0] > 0:
        _operating(drawing, operating, x, y, wide=wide)
    _names(drawing, lines, x, y, wide=wide)
    return drawing


def _axes(drawing: Drawing, x: Scale, y: Scale, most: int) -> None:
    for share in np.linspace(0, y.hi, 6 if y.hi in (0.25, 0.5) else 4 if y.hi == 0.75 else 5):
        drawing.line(x.start, y(share), x.stop, y(share), "axis" if share == 0 else "grid")
        drawing.text(x.start - 8, y(share) + 4, percent(float(share)), "soft small", "end")
    drawing.text(4, y.stop - 9, "noise off", "soft small")
    in_minutes = x.hi > 300
    for second in ticks(x.hi, most):
        value = second / 60 if in_minutes else second
        drawing.line(x(second), y.start, x(second), y.start + 4, "axis")
        drawing.text(x(second), y.start + 18, f"{value:g}", "soft small", "middle")
    unit = "minutes" if in_minutes else "seconds"
    middle = (x.start + x.stop) / 2
    drawing.text(middle, y.start + 38, f"mean delay of real alerts, {unit}", "soft", "middle")


def _budget(drawing: Drawing, x: Scale, y: Scale, budget_s: float) -> None:
    if budget_s > x.hi:
        return
    drawing.line(x(budget_s), y.start, x(budget_s), y.stop - 4, "guide")
    # Neither over the name of the axis nor out of the picture.
    at = min(max(x(budget_s), x.start + 74), x.stop - 60)
    drawing.text(at, y.stop - 9, f"delay budget {duration(budget_s)}", "soft small", "middle")


def _curve(drawing: Drawing, line: Line, x: Scale, y: Scale) -> None:
    points = [(x(d), y(off)) for d, off in _inside(line, x.hi)]
    drawing.polyline(points, f"curve {line.look}")
    if line.look == "fixed":
        return
    for d, off in _inside(line, x.hi)[1:]:
        tip = f"{line.name}: {percent(off)} of the noise off at {duration(d)}"
        drawing.add("circle", cx=x(d), cy=y(off), r=4.0, class_=f"dot {line.look}", tip=tip)


def _inside(line: Line, longest_s: float) -> list[tuple[float, float]]:
    """The points of a curve in order of delay, from a gate that holds nothing on."""
    points = zip(line.curve.delay_s.tolist(), line.curve.noise_off.tolist(), strict=True)
    return sorted({(0.0, 0.0), *(point for point in points if point[0] <= longest_s)})


def _operating(drawing: Drawing, at: Operating, x: Scale, y: Scale, *, wide: bool) -> None:
    delay, off = x(at.delay_s[0]), y(at.noise_off[0])
    drawing.line(x(at.delay_s[1]), off, x(at.delay_s[2]), off, "gate whisker")
    drawing.line(delay, y(at.noise_off[1]), delay, y(at.noise_off[2]), "gate whisker")
    reaches = at.fixed_s <= x.hi
    stop = x(at.fixed_s) if reaches else x.stop
    if stop > delay + 30:
        drawing.line(delay + 10, off, stop - 5, off, "guide")
        drawing.add(
            "path", d=f"M{stop - 10:.1f},{off - 4:.1f}l6,4l-6,4",
            fill="none", class_="axis",
        )  # fmt: skip
    tip = (
        f"{percent(at.noise_off[0], 1)} of the noise off "
        f"({percent(at.noise_off[1], 1)} to {percent(at.noise_off[2], 1)}), "
        f"real alerts {duration(at.delay_s[0])} later ({duration(at.delay_s[1])} to "
        f"{duration(at.delay_s[2])})"
    )
    drawing.add("circle", cx=delay, cy=off, r=7.5, class_="mark", tip=tip)
    below = off + 26 if off + 50 < y.start else off - 36
    said = f"{percent(at.noise_off[0])} of the noise off at {duration(at.delay_s[0])}"
    needs = duration(at.fixed_s) if np.isfinite(at.fixed_s) else "more than T"
    start = delay + 12
    if start + 7.2 * len(said) > x.stop + (60 if wide else 0):
        start = x.stop - 7.2 * len(said)
    drawing.text(start, below, said, "strong halo")
    drawing.text(start, below + 17, f"a fixed hold would need {needs}", "soft halo")


def _names(drawing: Drawing, lines: Sequence[Line], x: Scale, y: Scale, *, wide: bool) -> None:
    """Name each curve: at its end where there is room, else above the picture."""
    if not wide:
        for i, line in enumerate(lines):
            drawing.line(4, 12 + 19 * i, 30, 12 + 19 * i, f"curve {line.look}")
            drawing.text(38, 16 + 19 * i, line.name, f"name {line.look} small")
        return
    ends = [(y(_inside(line, x.hi)[-1][1]), line) for line in lines]
    last = -np.inf
    for wanted, line in sorted(ends, key=lambda end: end[0]):
        last = max(wanted, last + 18)
        drawing.text(x.stop + 12, last + 4, line.name, f"name strong {line.look}")


def reliability_plot(found: Reliability, happens: str, width: int = NARROW) -> Drawing:
    """Predicted probability against observed share; below it, how many alerts each bin holds."""
    left, top, side, strip = 46.0, 26.0, width - 66.0, 46.0
    height = top + side + 12 + strip + 44
    drawing = Drawing(
        float(width), height, f"Predicted and observed share of alerts that {happens}"
    )
    x, y = Scale(0, 1, left, left + side), Scale(0, 1, top + side, top)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line(x.start, y(share), x.stop, y(share), "grid")
        drawing.text(x.start - 8, y(share) + 4, percent(share), "soft small", "end")
    drawing.line(x(0), y(0), x(1), y(1), "guide")
    drawing.text(x.start, y.stop - 9, "observed", "soft small")
    base = y.start + 12 + strip
    most = max(int(found.count.max()), 1)
    points = []
    for i, count in enumerate(found.count):
        tip = f"predicted {percent(i / BINS)} to {percent((i + 1) / BINS)}: {number(count)} alerts"
        if count:
            p, o = float(found.predicted[i]), float(found.observed[i])
            points.append((x(p), y(o)))
            tip += f"; mean {percent(p, 1)} predicted, {percent(o, 1)} observed"
        tall = strip * count / most
        drawing.add(
            "rect", x=x(i / BINS) + 1, y=base - tall, width=side / BINS - 2, height=float(tall),
            class_="bar", tip=tip,
        )  # fmt: skip
        if count:
            drawing.add(
                "circle", cx=points[-1][0], cy=points[-1][1], r=4.5, class_="dot gate", tip=tip
            )
    drawing.polyline(points, "curve gate thin")
    drawing.line(x.start, base, x.stop, base, "axis")
    for share in (0.0, 0.5, 1.0):
        drawing.text(x(share), base + 17, percent(share), "soft small", "middle")
    drawing.text((x.start + x.stop) / 2, base + 36, "predicted probability", "soft", "middle")
    return drawing


def periods_plot(periods: Periods, budget_s: float, first_us: int, width: int = WIDE) -> Drawing:
    """Noise off and mean delay of real alerts, period by period."""
    left, right, panel = 52.0, 12.0, 128.0
    height = 2 * panel + 108
    name = {1: "day", 7: "week"}.get(periods.days, f"{periods.days} days")
    drawing = Drawing(float(width), height, f"Noise off and delay of real alerts by {name}")
    n = len(periods.starts_us)
    x = Scale(0, n, left, width - right)
    shares = Shares.of(periods.sums)
    _noise_panel(drawing, periods, shares.noise_off, x, Scale(0, 1, 26 + panel, 26), first_us)
    top = 26 + panel + 48
    _delay_panel(drawing, periods, shares.delay_s, x, (top + panel, top), budget_s, first_us)
    every = max(1, int(np.ceil(n / (width / 78))))
    for i in range(0, n, every):
        at = x(i + 0.5) if n < 60 else x(i)
        text = day(int(periods.starts_us[i]), first_us, year=False)
        drawing.text(at, top + panel + 18, text, "soft small", "middle")
    return drawing


def _period(periods: Periods, i: int, first_us: int) -> str:
    start = day(int(periods.starts_us[i]), first_us)
    return start if periods.days == 1 else f"{periods.days} days from {start}"


def _noise_panel(
    drawing: Drawing, periods: Periods, off: np.ndarray, x: Scale, y: Scale, first_us: int
) -> None:
    drawing.text(0, y.stop - 12, "Noise off", "strong")
    for share in (0.0, 0.5, 1.0):
        drawing.line(x.start, y(share), x.stop, y(share), "axis" if share == 0 else "grid")
        drawing.text(x.start - 8, y(share) + 4, percent(share), "soft small", "end")
    known = np.flatnonzero(~np.isnan(off)).tolist()
    drawing.polyline([(x(i + 0.5), y(float(off[i]))) for i in known], "curve gate")
    for i in known:
        tip = (
            f"{_period(periods, i, first_us)}: {percent(float(off[i]))} of "
            f"{number(periods.sums.noise[i])} noise alerts off"
        )
        drawing.add("circle", cx=x(i + 0.5), cy=y(float(off[i])), r=4.0, class_="dot gate", tip=tip)


def _delay_panel(
    drawing: Drawing,
    periods: Periods,
    delay_s: np.ndarray,
    x: Scale,
    pixels: tuple[float, float],
    budget_s: float,
    first_us: int,
) -> None:
    known = np.flatnonzero(~np.isnan(delay_s)).tolist()
    highest = max([1.0, 1.25 * budget_s, *(float(delay_s[i]) for i in known)])
    y = Scale(0, highest, *pixels)
    drawing.text(0, y.stop - 12, "Mean delay of real alerts", "strong")
    for second in ticks(highest, 4):
        drawing.line(x.start, y(second), x.stop, y(second), "axis" if second == 0 else "grid")
        drawing.text(x.start - 8, y(second) + 4, duration(second), "soft small", "end")
    wide = x(1) - x(0)
    for i in known:
        tip = (
            f"{_period(periods, i, first_us)}: {number(periods.sums.real[i])} real alerts, "
            f"{duration(float(delay_s[i]))} later on average"
        )
        drawing.add(
            "rect", x=x(i) + 0.12 * wide, y=y(float(delay_s[i])), width=0.76 * wide,
            height=y.start - y(float(delay_s[i])), class_="bar", tip=tip,
        )  # fmt: skip
    running = periods.running_delay_s
    drawing.polyline(
        [(x(i + 0.5), y(float(running[i]))) for i in range(len(running)) if running[i] >= 0],
        "curve gate",
    )
    drawing.line(x.start, y(budget_s), x.stop, y(budget_s), "guide")


def standalone(drawing: Drawing, title: str) -> str:
    """A picture as an SVG file of its own, with its colours and a title, light or dark."""
    margin, head = 18.0, 44.0
    width, height = drawing.width + 2 * margin, drawing.height + head + 2 * margin
    page = Drawing(width, height, drawing.label)
    page.parts.append(Markup("<style>{}</style>").format(Markup(COLOURS + STYLE)))
    page.add("rect", width=width, height=height, rx=14, fill="var(--card)")
    page.text(margin + 4, margin + 22, title, "title strong")
    moved = f"translate({_number(margin)},{_number(margin + head)})"
    inside = Markup("").join(drawing.parts)
    page.parts.append(Markup('<g transform="{}">{}</g>').format(moved, inside))
    return str(page.markup(' xmlns="http://www.w3.org/2000/svg"'))
