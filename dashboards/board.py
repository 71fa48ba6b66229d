"""What our dashboards have in common: colours by meaning, variables, links, layout, usual panels.

A colour means one thing in every panel; whoever needs another one adds a meaning here.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import cycle
from typing import Any

import attr
from grafanalib import core

from dashboards.grafana11 import (
    COLUMNS,
    PROMETHEUS,
    Annotation,
    Color,
    Dashboard,
    Field,
    Json,
    Lines,
    Mapping,
    Override,
    Panel,
    Row,
    Stat,
    Style,
    Target,
    Thresholds,
    TimeSeries,
    Transformation,
    Variable,
)
from observability.burn import CompileOptions
from observability.slo import Slo
from observability.specs import load_slos

GOOD = "green"
SOON = "orange"
"""A ticket: somebody should look in working hours."""
NOW = "red"
"""A page, a broken limit, something lost."""
BLIND = "purple"
"""Nobody can tell: series gone, stuck or wrong."""
QUIET = "#7e8794"
"""Neither good nor bad: idle, unchanged, delivered as usual."""
MEASURED = "blue"
SECOND = "light-blue"
"""What is measured beside it, or its bound."""
STRONG = "dark-blue"
PROMISED = "dark-yellow"
"""What the champion showed before it was promoted."""

KINDS = (
    *("blue", "#e0b400", "#1fa8a0", "#d683ce", "#a1887f"),
    *("#7fa7c9", "#b5b84a", "#9fa8da", "#c9a27e", "#6b8e9f"),
)
"""For things of one rank, such as SLOs: no colour that judges."""

DASHED: Json = {"fill": "dash", "dash": [8, 6]}
"""Lines of limits, objectives and promises."""

BY_VALUE = Color("thresholds")
BY_NAME = Color("palette-classic-by-name")

NO_RULES = "no rules?"
"""Said by numbers that are only missing when the recording rules are not loaded."""

FIRING = Mapping(
    {
        "0": ("quiet", GOOD),
        "1": ("ticket", SOON),
        "2": ("blind", BLIND),
        "3": ("page", NOW),
    }
)
"""The states that `firing` gives."""


@cache
def slos() -> dict[str, Slo]:
    """Our SLOs by name: where thresholds come from."""
    return {slo.name: slo for slo in load_slos()}


def fixed(color: str) -> Color:
    """This colour, whatever the value."""
    return Color("fixed", color)


def named(name: str, color: str, **more: Any) -> Override:
    """A series that has a colour of its own."""
    return Override(name, Lines(color=fixed(color), **more))


def ranked(names: Iterable[str], **more: Any) -> tuple[Override, ...]:
    """Series of one rank, each with a colour of its own."""
    return tuple(
        named(name, color, **more) for name, color in zip(names, cycle(KINDS), strict=False)
    )


def limit(name: str, color: str = NOW) -> Override:
    """A line that should not be crossed."""
    style = Lines(color=fixed(color), lineStyle=DASHED, lineWidth=1, fillOpacity=0)
    return Override(name, style)


def band(value: str, low: str, high: str, color: str) -> tuple[Override, ...]:
    """A dashed line between its bounds."""
    edge = Lines(color=fixed(color), lineWidth=0, fillOpacity=12, fillBelowTo=low)
    return (
        limit(value, color),
        Override(high, edge),
        Override(low, Lines(color=fixed(color), lineWidth=0, fillOpacity=0)),
    )


def firing(selector: str, over: str = "") -> str:
    """PromQL: the worst state of slo:firing:state series that match, as in FIRING.

    Args:
        selector: matchers, such as slo=~"$slo".
        over: a window, such as $__rate_interval, whose worst counts.
    """
    gauges = (slo.name for slo in slos().values() if not slo.tiers and slo.severity == "page")
    paged = "|".join(gauges)
    blind = "absent|stuck|invalid"
    weights = {
        'tier=~"page.*"': 3,
        f'tier="over",slo=~"{paged}"': 3,
        f'tier="over",slo!~"{paged}"': 1,
        f'tier=~"{blind}"': 2,
        f'tier!~"page.*|over|{blind}"': 1,
    }
    states = {f"slo:firing:state{{{selector},{more}}}": weight for more, weight in weights.items()}
    return " or ".join(
        f"{weight} * {f'max_over_time({state}[{over}])' if over else state}"
        for state, weight in states.items()
    )


def ratio(part: str, whole: str) -> str:
    """PromQL: part / whole, nothing while there is no whole (never NaN)."""
    return f"{part} / ({whole} > 0)"


def rate(series: str, by: str = "") -> str:
    """PromQL: events a minute, by labels."""
    return f"60 * sum{f' by ({by})' if by else ''} (rate({series}[$__rate_interval]))"


def grown(series: str, window: str, by: str = "") -> str:
    """PromQL: whole events in a window, by labels."""
    return f"round(sum{f' by ({by})' if by else ''} (increase({series}[{window}])))"


def merged(titles: dict[str, str]) -> list[Transformation]:
    """One table of several queries: their common label and values (Value #A ...), in this order."""
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(titles)},
        "renameByName": titles,
    }
    return [Transformation("merge"), Transformation("organize", options)]


def number(
    id: int,
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    steps: Sequence[tuple[float, str]] = (),
    base: str = GOOD,
    empty: str = "no data",
    unknown: str = QUIET,
    decimals: int | None = None,
    mappings: Sequence[Mapping] | None = None,
    legend: str = "__auto",
    **more: Any,
) -> Stat:
    """One number as it stands at the end of the time range.

    `base` is its colour below the first step, `unknown` that of the text `empty` without a number:
    where nothing is known nothing is well.
    """
    look = Field(
        unit=unit,
        decimals=decimals,
        noValue=empty,
        color=BY_VALUE,
        thresholds=Thresholds(unknown, [(-1e9, base), *steps]),
        mappings=mappings,
    )
    target = Target(expr=expr, legendFormat=legend, instant=True)
    return Stat(id=id, title=title, description=description, targets=[target], fields=look, **more)


def lines(
    id: int,
    title: str,
    description: str,
    series: dict[str, str] | Sequence[Target],
    *,
    look: Lines,
    overrides: Sequence[Override] = (),
    w: int = 12,
    h: int = 8,
    **more: Any,
) -> TimeSeries:
    """Lines over time; `series`: legend -> PromQL."""
    targets = (
        [Target(expr=expr, legendFormat=legend) for legend, expr in series.items()]
        if isinstance(series, dict)
        else list(series)
    )
    base = Lines(showPoints="never", lineWidth=2, spanNulls=False, color=BY_NAME, noValue="no data")
    changed = {k: v for k in attr.fields_dict(Lines) if (v := getattr(look, k)) is not None}
    return TimeSeries(
        id=id,
        title=title,
        description=description,
        targets=targets,
        fields=attr.evolve(base, **changed),
        overrides=overrides,
        w=w,
        h=h,
        **more,
    )


STACKED_BARS: dict[str, Any] = {
    "drawStyle": "bars",
    "fillOpacity": 80,
    "lineWidth": 0,
    "stacking": Style(mode="normal", group="A"),
    "min": 0,
}
STACKED_LINES: dict[str, Any] = {
    "fillOpacity": 60,
    "lineWidth": 0,
    "stacking": Style(mode="normal", group="A"),
    "min": 0,
}

CELLS: dict[str, Any] = {
    "noValue": "-",
    "align": "left",
    "cellOptions": Style(type="auto"),
    "inspect": False,
}
"""Of tables: what is not overridden."""

# Around the panels

TAG = "noisegate"
SOURCE = Variable(
    name="datasource",
    label="Data source",
    description="The Prometheus that scrapes the exporter and evaluates the SLO rules.",
    type="datasource",
    query="prometheus",
    refresh=1,
)


def choice(name: str, label: str, description: str, values: str, default: str) -> Variable:
    """A variable of fixed values, separated by commas."""
    options = [{"selected": v == default, "text": v, "value": v} for v in values.split(",")]
    current = next(option for option in options if option["selected"])
    return Variable(
        name=name,
        label=label,
        description=description,
        type="custom",
        query=values,
        current=current,
        options=options,
    )


def label_of(
    name: str, label: str, description: str, series: str, key: str, *, every: bool = True
) -> Variable:
    """A variable that holds values of a label; `every`: several, at first all."""
    return Variable(
        name=name,
        label=label,
        description=description,
        type="query",
        query={
            "qryType": 1,
            "query": f"label_values({series}, {key})",
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
        },
        current={"selected": True, "text": ["All"], "value": ["$__all"]} if every else None,
        multi=every,
        includeAll=every,
        datasource=PROMETHEUS,
        refresh=2,
        sort=1,
    )


SERVICE = label_of(
    "service", "Service", "The services whose SLOs are shown.", "slo:objective:ratio", "service"
)


def window_of(label: str) -> Variable:
    """The window of burn rates and shares: one choice, kept from dashboard to dashboard."""
    about = "The time that rates and shares are taken over: short ones see what happens now."
    return choice("window", label, about, "5m,30m,1h,2h,6h,1d,3d", "1h")


def to(uid: str, title: str, variables: str = "") -> core.DataLink:
    """A link to another dashboard that keeps the time range and the data source."""
    kept = "${__url_time_range}&${datasource:queryparam}"
    return core.DataLink(title=title, linkUrl=f"/d/{uid}?{variables}&{kept}")


def runbook(name: str) -> core.DashboardLink:
    """A link to a runbook, by its file's name without the ending."""
    uri = f"{CompileOptions().runbook_url}/{name}.md"
    return core.DashboardLink(
        type="link", title="Runbook", uri=uri, icon="doc", keepTime=False, targetBlank=True
    )


def board(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    since: str,
    variables: Sequence[Variable] = (),
    annotations: Sequence[Annotation] = (),
    links: Sequence[core.DashboardLink] = (),
) -> Dashboard:
    """A dashboard with what all of ours have."""
    others = core.DashboardLink(
        asDropdown=False, includeVars=True, keepTime=True, tags=[TAG], title="noisegate"
    )
    return Dashboard(
        uid=uid,
        title=title,
        description=description,
        tags=[TAG],
        panels=laid_out(rows),
        links=[others, *links],
        time=core.Time(since, "now"),
        templating=core.Templating(list=[SOURCE, *variables]),
        annotations=core.Annotations(list=list(annotations)),
    )


def laid_out(rows: Sequence[Row]) -> list[core.Panel]:
    """Place rows below each other, and their panels from left to right in 24 columns."""
    out: list[core.Panel] = []
    y = 0
    for row in rows:
        y += bool(row.title)
        head = core.GridPos(h=1, w=COLUMNS, x=0, y=y - 1)
        placed, bottom = _placed(row.panels, y)
        out += [attr.evolve(row, gridPos=head, panels=placed)] if row.title else []
        out += [] if row.collapsed else placed
        y = y if row.collapsed else bottom
    return out


def _placed(panels: Sequence[Panel], y: int) -> tuple[list[Panel], int]:
    placed: list[Panel] = []
    x = height = 0
    for panel in panels:
        if x + panel.w > COLUMNS:
            x, y, height = 0, y + height, 0
        place = core.GridPos(h=panel.h, w=panel.w, x=x, y=y)
        placed.append(attr.evolve(panel, gridPos=place))
        x, height = x + panel.w, max(height, panel.h)
    return placed, y + height
