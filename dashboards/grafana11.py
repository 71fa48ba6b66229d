"""What Grafana 11.6 reads, as attrs classes in grafanalib's style: only what we draw.

grafanalib 0.7.1 writes the panels of Grafana 6 to 8 and leaves the rest to migrations, which do not
run on a file that says it is new. These classes write what the migrations would have made: data
sources as objects, `showLegend`, `cellOptions`, no `rows`. What grafanalib still writes rightly
(GridPos, Time, Templating, Annotations, links of fields and dashboards) is used as it is.

An attribute has the name that Grafana gives it, and None leaves it out. What a subclass of `Field`
adds is `custom`, what a subclass of `Panel` adds is `options`: those of one type of panel.
"""

import string
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import attr
from attr.validators import in_, instance_of, min_len
from grafanalib import core

Json = dict[str, Any]

SCHEMA_VERSION = 41
COLUMNS = 24


def _given(value: object, besides: type | None = None) -> Json:
    """Attributes that are not None, by name; those that the class `besides` has too left out."""
    known = {a.name for a in attr.fields(cast(Any, besides))} if besides else set()
    names = [a.name for a in attr.fields(cast(Any, type(value))) if a.name not in known]
    return {name: held for name in names if (held := getattr(value, name)) is not None}


class Plain:
    """A value whose JSON is its attributes."""

    def to_json_data(self) -> Json:
        """Attributes by name."""
        return _given(self)


@attr.frozen
class DataSource(Plain):
    """By the kind of its plugin and its uid, or a variable that holds one."""

    type: str
    uid: str


PROMETHEUS = DataSource("prometheus", "${datasource}")


@attr.frozen(kw_only=True)
class Target(Plain):
    """One PromQL query: over the time range, or `instant` at its end. A panel gives the refId."""

    expr: str = attr.ib(validator=min_len(1))
    legendFormat: str = "__auto"
    instant: bool = False
    range: bool = attr.Factory(lambda self: not self.instant, takes_self=True)
    format: str = attr.ib(default="time_series", validator=in_(["time_series", "table", "heatmap"]))
    exemplar: bool = False
    interval: str | None = None  # the least step, such as 1d
    refId: str | None = None
    datasource: DataSource = PROMETHEUS


# How values are shown


def _rising(_: object, named: "attr.Attribute[Any]", steps: Sequence[tuple[float, str]]) -> None:
    bounds = [bound for bound, _ in steps]
    if bounds != sorted(set(bounds)):
        raise ValueError(f"{named.name}: bounds {bounds} do not rise")


@attr.frozen
class Thresholds:
    """A colour from each bound on; `base` below the first."""

    base: str
    steps: Sequence[tuple[float, str]] = attr.ib(default=(), validator=_rising)

    def to_json_data(self) -> Json:
        """The first step has no bound: null, not "null" and not 0."""
        first: Json = {"color": self.base, "value": None}
        rest = [{"color": color, "value": bound} for bound, color in self.steps]
        return {"mode": "absolute", "steps": [first, *rest]}


@attr.frozen
class Mapping:
    """What stands for a value: value -> (text, colour)."""

    texts: dict[str, tuple[str, str]]

    def to_json_data(self) -> Json:
        """A mapping of values, in this order."""
        options = {
            value: {"color": color, "index": index, "text": text}
            for index, (value, (text, color)) in enumerate(self.texts.items())
        }
        return {"options": options, "type": "value"}


@attr.frozen
class Color(Plain):
    """`fixed` with a colour; thresholds, palette-classic-by-name, ..."""

    mode: str
    fixedColor: str | None = None


@attr.frozen(kw_only=True)
class Field:
    """How values are shown: the defaults of a panel, or what an Override changes."""

    unit: str | None = None
    decimals: int | None = None
    min: float | None = None
    max: float | None = None
    displayName: str | None = None
    noValue: str | None = None
    color: Color | None = None
    thresholds: Thresholds | None = None
    mappings: Sequence[Mapping] | None = None
    links: Sequence[core.DataLink] | None = None

    def _parts(self) -> tuple[Json, Json]:
        custom = _given(self, besides=Field)
        return {k: v for k, v in _given(self).items() if k not in custom}, custom

    def to_json_data(self) -> Json:
        """`fieldConfig.defaults`."""
        standard, custom = self._parts()
        return standard | ({"custom": custom} if custom else {})

    def properties(self) -> list[Json]:
        """The same as the properties of an override."""
        standard, custom = self._parts()
        named = standard | {f"custom.{name}": value for name, value in custom.items()}
        return [{"id": name, "value": value} for name, value in named.items()]


@attr.frozen(kw_only=True)
class Style(Plain):
    """Of thresholds (mode line or dashed), stacking (mode, group), a cell (type, mode)."""

    mode: str | None = None
    group: str | None = None
    type: str | None = None


@attr.frozen(kw_only=True)
class Lines(Field):
    """Fields of a TimeSeries."""

    drawStyle: str | None = None
    lineInterpolation: str | None = None
    lineWidth: int | None = None
    lineStyle: Json | None = None
    fillOpacity: int | None = None
    fillBelowTo: str | None = None
    gradientMode: str | None = None
    showPoints: str | None = None
    spanNulls: bool | int | None = None
    stacking: Style | None = None
    thresholdsStyle: Style | None = None
    scaleDistribution: Json | None = None
    axisSoftMin: float | None = None
    axisSoftMax: float | None = None


@attr.frozen(kw_only=True)
class Column(Field):
    """Fields of a Table."""

    align: str | None = None
    cellOptions: Style | None = None
    inspect: bool | None = None
    width: int | None = None


@attr.frozen
class Override:
    """What differs for the fields of this name, or those that match the /expression/."""

    name: str
    field: Field

    def to_json_data(self) -> Json:
        """One of `fieldConfig.overrides`."""
        matcher = "byRegexp" if self.name.startswith("/") else "byName"
        properties = self.field.properties()
        return {"matcher": {"id": matcher, "options": self.name}, "properties": properties}


@attr.frozen
class Transformation(Plain):
    """A step between queries and drawing, by Grafana's id."""

    id: str
    options: Json = attr.ib(factory=dict)


@attr.frozen
class Legend(Plain):
    """Names of series: list or table, with the values `calcs`."""

    displayMode: str = "list"
    placement: str = "bottom"
    calcs: Sequence[str] = ()
    showLegend: bool = True


LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
ALL_SERIES: Json = {"mode": "multi", "sort": "desc"}

# Of what grafanalib writes, Grafana 11 reads this of a panel, and not that of a dashboard.

_OLDER = {"gnetId", "hideControls", "inputs", "rows", "sharedCrosshair", "style", "timePicker"}
_ROW = ("collapsed", "gridPos", "id", "title", "type")
_PANEL = (
    *("datasource", "description", "gridPos", "id", "links", "targets", "timeFrom", "title"),
    *("transformations", "type"),
)


@attr.define(kw_only=True, slots=False)
class Panel(core.Panel):
    """What all panels have. Ids are given, not counted: alerts and links name them."""

    type: ClassVar[str]
    id: int = attr.ib(validator=instance_of(int))
    title: str = attr.ib(validator=min_len(1))
    description: str = attr.ib(validator=min_len(1))
    w: int = attr.ib(default=4, validator=in_(range(1, COLUMNS + 1)))
    h: int = attr.ib(default=4, validator=in_(range(1, 41)))
    datasource: DataSource = PROMETHEUS
    fields: Field = Field()
    overrides: Sequence[Override] = ()

    def __attrs_post_init__(self) -> None:
        pairs = zip(self.targets, string.ascii_uppercase, strict=False)
        self.targets = [t if t.refId else attr.evolve(t, refId=letter) for t, letter in pairs]

    def to_json_data(self) -> Json:
        """The panel, without what Grafana 11 has no key for."""
        names = (
            "datasource description gridPos id links targets timeFrom title transformations type"
        )
        held = {name: getattr(self, name) for name in names.split()}
        shown = {"defaults": self.fields, "overrides": self.overrides}
        panel = held | {"fieldConfig": shown, "options": _given(self, besides=Panel)}
        return {name: value for name, value in panel.items() if value is not None}


@attr.define(kw_only=True, slots=False)
class Stat(Panel):
    """One number a series, large."""

    type: ClassVar[str] = "stat"
    colorMode: str = attr.ib(default="value", validator=in_(["none", "value", "background"]))
    graphMode: str = "none"
    justifyMode: str = "center"
    orientation: str = "auto"
    reduceOptions: Json = LAST
    textMode: str = "auto"


@attr.define(kw_only=True, slots=False)
class BarGauge(Panel):
    """One bar a series."""

    type: ClassVar[str] = "bargauge"
    displayMode: str = "basic"
    namePlacement: str = "auto"
    orientation: str = "horizontal"
    reduceOptions: Json = LAST
    valueMode: str = "color"


@attr.define(kw_only=True, slots=False)
class TimeSeries(Panel):
    """Lines or bars over time."""

    type: ClassVar[str] = "timeseries"
    legend: Legend = Legend()
    tooltip: Json = ALL_SERIES


@attr.define(kw_only=True, slots=False)
class StateTimeline(Panel):
    """One band a series, coloured by its state over time."""

    type: ClassVar[str] = "state-timeline"
    legend: Legend = Legend()
    rowHeight: float = 0.85
    showValue: str = "never"
    tooltip: Json = ALL_SERIES


@attr.define(kw_only=True, slots=False)
class Table(Panel):
    """Rows and columns."""

    type: ClassVar[str] = "table"
    cellHeight: str = "sm"
    sortBy: Sequence[core.TableSortByField] = ()


@attr.define(kw_only=True, slots=False)
class Heatmap(Panel):
    """How many events fell into each bucket of a histogram, over time."""

    type: ClassVar[str] = "heatmap"
    color: Json
    exemplars: Json
    filterValues: Json = attr.Factory(lambda: {"le": 1e-9})
    showValue: str = "never"
    yAxis: Json


@attr.define(kw_only=True, slots=False)
class AlertList(Panel):
    """Alerts that Grafana knows: its own, and those of the data source's rules."""

    type: ClassVar[str] = "alertlist"
    alertInstanceLabelFilter: str = ""
    groupMode: str = "default"
    maxItems: int = 50
    sortOrder: int = 3
    stateFilter: Json
    viewMode: str = "list"


@attr.define(kw_only=True, slots=False)
class Row(core.RowPanel):
    """A headed part of a dashboard, open or closed; without a title it has no head."""

    type: ClassVar[str] = "row"
    id: int = 0
    title: str = ""
    panels: list[Panel] = attr.Factory(list)

    def to_json_data(self) -> Json:
        """Only a closed row holds its panels."""
        held = {name: getattr(self, name) for name in _ROW}
        return held | {"panels": self.panels if self.collapsed else []}


@attr.frozen(kw_only=True)
class Variable(Plain):
    """A choice at the head of a dashboard: type datasource, query or custom."""

    name: str
    label: str
    description: str
    type: str = attr.ib(validator=in_(["datasource", "query", "custom"]))
    query: str | Json
    current: Json | None = None
    options: Sequence[Json] | None = None
    multi: bool = False
    includeAll: bool = False
    datasource: DataSource | None = None
    refresh: int | None = None
    sort: int | None = None


@attr.frozen(kw_only=True)
class Annotation(Plain):
    """Marks at the moments at which a query is above 0."""

    name: str
    expr: str
    iconColor: str
    datasource: DataSource = PROMETHEUS
    enable: bool = True
    hide: bool = False


@attr.define(kw_only=True, slots=False)
class Dashboard(core.Dashboard):
    """A dashboard of Grafana 11.6; `generate-dashboard` writes it."""

    uid: str = attr.ib(validator=min_len(1))
    description: str = attr.ib(validator=min_len(1))
    editable: bool = False
    graphTooltip: int = core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR
    refresh: str = "1m"
    schemaVersion: int = SCHEMA_VERSION
    timezone: str = "browser"

    def to_json_data(self) -> Json:
        """The classic format, without what only older versions read."""
        return {name: held for name, held in vars(self).items() if name not in _OLDER}
