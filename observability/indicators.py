"""The indicator of an OpenSLO document: which kind of SLI it is, and over which series."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import promql_parser

from observability.documents import Fields
from observability.slo import (
    ConsecutiveFailures,
    Delayed,
    Events,
    Freshness,
    Kind,
    Latency,
    Level,
    Mean,
    Selector,
)

GAUGES = ("freshness", "consecutive-failures", "level")
"""Kinds whose SLI is a gauge: minutes are counted, not events."""

_THRESHOLDS = {
    "latency": ("histogram",),
    "mean": ("sum", "count", "most"),
    "freshness": ("timestamp",),
    "consecutive-failures": ("failures",),
    "level": ("gauge", "unit"),
}
"""Kinds of a thresholdMetric, and their fields."""

UNITS = ("s", "bytes", "ratio", "count")
"""Units of a level."""

_NOWHERE = Selector("")
"""Stands where a selector could not be read; the document is refused then."""

_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


@dataclass(frozen=True, slots=True)
class Indicator:
    """An SLI but for the value that its objective compares it with."""

    name: str
    """events | latency | mean | delayed | freshness | consecutive-failures | level."""
    kind: Callable[[float], Kind]
    """Makes the SLI from the objective's value; ratios ignore it."""

    @property
    def unread(self) -> bool:
        """Whether it could not be read, so that nothing can be said of what fits it."""
        return self.name == "unread"

    @property
    def burns(self) -> bool:
        """Whether it has burn-rate tiers."""
        return self.name in ("events", "latency", "mean")

    @property
    def has_value(self) -> bool:
        """Whether its objective has `op` and `value`."""
        return self.name in _THRESHOLDS


_UNREAD = Indicator("unread", lambda _: Events(_NOWHERE))


def read_indicator(indicator: Fields, lines: dict[str, int]) -> Indicator:
    """Read `spec.indicator`; the line of each series is added to `lines`."""
    metadata = indicator.child("metadata", ("name", "displayName", "labels", "annotations"))
    metadata.name()
    metadata.text("displayName", default="")
    way = "write it in the metadata of the SLO"
    metadata.unsupported({"labels": way, "annotations": way})
    spec = indicator.child("spec", ("description", "thresholdMetric", "ratioMetric"))
    spec.text("description", default="")
    metric = spec.one_of("thresholdMetric", "ratioMetric")
    if not metric:
        return _UNREAD
    if metric == "thresholdMetric":
        return _threshold(spec.child("thresholdMetric", ("metricSource",)), lines)
    known = ("counter", "good", "bad", "total", "raw", "rawType")
    return _ratio(spec.child("ratioMetric", known), lines)


def _source(metric: Fields, types: dict[str, str]) -> tuple[str, Fields]:
    """The type of a metricSource, and its spec."""
    source = metric.child("metricSource", ("metricSourceRef", "type", "spec"))
    source.unsupported({"metricSourceRef": "data sources are not read, write `type: Prometheus`"})
    return source.choice("type", types), source.child("spec", ())


def _ratio(ratio: Fields, lines: dict[str, int]) -> Indicator:
    way = "a stored ratio forgets how many events it had, write total and good or bad"
    if "raw" in ratio or "rawType" in ratio:
        ratio.unsupported({"raw": way, "rawType": way})
        return _UNREAD
    if not ratio.flag("counter"):
        ratio.refuse("counter", "must be true: events are counted by counters")
    part = ratio.one_of("good", "bad")
    if not part:
        return _UNREAD
    chosen, spec = _source(
        ratio.child(part, ("metricSource",)), {"Prometheus": "", "noisegate": ""}
    )
    _, total_spec = _source(ratio.child("total", ("metricSource",)), {"Prometheus": ""})
    total_spec.only("query")
    total = _selector(total_spec, "query", lines, "total")
    counted = _selector(spec, "query", lines, part)
    if chosen == "noisegate":
        return _delayed(spec, part, counted, total)
    spec.only("query")
    bad, good = (counted, None) if part == "bad" else (None, counted)
    return Indicator("events", lambda _: Events(total, bad=bad, good=good))


def _delayed(spec: Fields, part: str, bad: Selector, total: Selector) -> Indicator:
    spec.only("kind", "query", "confidence")
    spec.choice("kind", {"delayed": ""} | dict.fromkeys(_THRESHOLDS, "write a thresholdMetric"))
    if part != "bad":
        spec.refuse("kind", "delayed counts bad events: write `bad` instead of `good`")
    confidence = float(spec.number("confidence", "a share such as 0.95", "0.95"))
    if not 0.5 <= confidence < 1:
        spec.refuse("confidence", f"{confidence:g} is not in [0.5, 1): give a share such as 0.95")
    return Indicator("delayed", lambda _: Delayed(total, bad, confidence))


def _threshold(metric: Fields, lines: dict[str, int]) -> Indicator:
    way = "say what the number is, write `type: noisegate` and its kind"
    _, spec = _source(metric, {"noisegate": "", "Prometheus": way})
    if spec.silent or "kind" not in spec:
        spec.text("kind", "one of " + ", ".join(_THRESHOLDS))
        return _UNREAD
    kinds = dict.fromkeys(_THRESHOLDS, "") | {"delayed": "write it as `bad` of a ratioMetric"}
    name = spec.choice("kind", kinds)
    spec.only("kind", *_THRESHOLDS[name])
    series = [field for field in _THRESHOLDS[name] if field not in ("most", "unit")]
    found = [_selector(spec, field, lines) for field in series]
    first = found[0]
    match name:
        case "latency":
            return Indicator(name, lambda value: Latency(first, value))
        case "mean":
            most = float(spec.number("most", "what one event can cost at most, such as 300"))
            if most <= 0:
                spec.refuse("most", f"{most:g} is not above 0: give what one event can cost")
            return Indicator(name, lambda value: Mean(first, found[1], value, most or 1.0))
        case "freshness":
            return Indicator(name, lambda value: Freshness(first, value))
        case "level":
            unit = spec.choice("unit", dict.fromkeys(UNITS, ""), "s")
            return Indicator(name, lambda value: Level(first, value, unit))
    return Indicator(name, lambda value: ConsecutiveFailures(first, value))


def _selector(spec: Fields, field: str, lines: dict[str, int], about: str = "") -> Selector:
    lines[about or field] = spec.line_of(field)
    text = spec.text(field, "a series such as http_requests_total")
    if not text:
        return _NOWHERE
    try:
        return read_selector(text)
    except ValueError as error:
        spec.refuse(field, f"{' '.join(str(error).split())}: give a series, such as up or sum(up)")
        return _NOWHERE


def read_selector(text: str) -> Selector:
    """A series selector of PromQL; `sum(...)` around it is taken off, for sums are always taken.

    Raises:
        ValueError: it is no PromQL, or more than a selector.
    """
    expression: Any = promql_parser.parse(text)
    while isinstance(expression, promql_parser.ParenExpr) or _is_sum(expression):
        expression = expression.expr
    if not isinstance(expression, promql_parser.VectorSelector):
        raise ValueError("is more than a selector (rates and sums are taken by the rules)")
    if expression.offset or expression.at or expression.matchers.or_matchers:
        raise ValueError("has offset, @ or `or`, which are not read")
    if not expression.name:
        raise ValueError("names no metric")
    return Selector(
        expression.name,
        tuple(
            (m.name, _OPERATORS[str(m.op).removeprefix("MatchOp.")], m.value)
            for m in expression.matchers.matchers
        ),
    )


def _is_sum(expression: Any) -> bool:
    return (
        isinstance(expression, promql_parser.AggregateExpr)
        and str(expression.op) == "sum"
        and expression.modifier is None
    )
