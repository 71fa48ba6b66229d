"""Made-up series of an SLO in promtool's notation, from what happens in each minute."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, product

from observability import states, texts
from observability.expected import Minute
from observability.promql import Counted
from observability.slo import Freshness, Latency, Selector, Slo, known_metrics

OTHER = "other"


def series(slo: Slo, minutes: Sequence[Minute], unborn: bool = False) -> list[dict[str, str]]:
    """`input_series` of a promtool test with interval 1m.

    Args:
        slo: whose series.
        minutes: what happens in each.
        unborn: the bad series begins with its first event.
    """
    counted = Counted.of(slo)
    if counted is None:
        gauge = states.selectors(slo)[0]
        return [_row(gauge.metric, label_values(gauge)[0], _levels(slo, minutes))]
    total, bad = [m.total for m in minutes], [m.bad * counted.unit for m in minutes]
    good = [m.total - m.bad for m in minutes]
    present = [m.present for m in minutes]
    part = good if counted.part_is_good else bad
    starts = 0
    if unborn and not counted.part_is_good:
        starts = next((at for at, count in enumerate(bad) if count), len(bad))
    (name, labels), (other_name, other) = _apart(slo, counted)
    rest = total if name != other_name else (bad if counted.part_is_good else good)
    return [
        _row(other_name, other, _counter(rest, present, 0)),
        _row(name, labels, _counter(part, present, starts)),
    ]


def _apart(slo: Slo, counted: Counted) -> list[tuple[str, dict[str, str]]]:
    """Name and labels of the good or bad series, and of the series of all other events."""
    part, total = counted.part, counted.total
    if isinstance(slo.kind, Latency):
        bound = {"le": f"{slo.kind.threshold_s:.12g}"}
        rest = Selector(part.metric, part.matchers[:-1])
        return [
            (part.metric, label_values(rest)[0] | bound),
            (total.metric, label_values(total)[0]),
        ]
    inside = next(
        values
        for values in label_values(part, total)
        if part.metric != total.metric or matches(total, values)
    )
    outside = next(
        values
        for values in label_values(total, part)
        if part.metric != total.metric or not matches(part, values)
    )
    return [(part.metric, inside), (total.metric, outside)]


def label_values(selector: Selector, beside: Selector | None = None) -> list[dict[str, str]]:
    """Labels that a selector matches, with values that its matchers name or that none does."""
    spec = known_metrics().get(selector.metric)
    matchers = (*selector.matchers, *(beside.matchers if beside else ()))
    names = dict.fromkeys((*(spec.labels if spec else ()), *(m[0] for m in matchers)))
    choices = [
        [*dict.fromkeys((OTHER, *(v for m in matchers if m[0] == name for v in m[2].split("|"))))]
        for name in names
        if name != "le"
    ]
    found = [dict(zip(names, values, strict=False)) for values in product(*choices)]
    return [values for values in found if matches(selector, values)]


def matches(selector: Selector, labels: dict[str, str]) -> bool:
    """Whether a series with these labels is selected."""
    for label, operator, value in selector.matchers:
        has = labels.get(label, "")
        same = re.fullmatch(value, has) is not None if "~" in operator else has == value
        if same == operator.startswith("!"):
            return False
    return True


def _row(metric: str, labels: dict[str, str], values: str) -> dict[str, str]:
    inner = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{metric}{{{inner}}}" if inner else metric, "values": values}


def _counter(events: Sequence[float], present: Sequence[bool], starts: int) -> str:
    """a+bxn of a counter; it counts on while nobody sees it."""
    parts, level = [], 0.0
    runs = groupby(
        zip(events, present, range(len(events)), strict=True), lambda e: (e[:2], e[2] < starts)
    )
    for ((each, seen), before), group in runs:
        n = len(list(group))
        if before:
            parts.append(f"_x{n}")
        elif not seen:
            parts.append("stale" + (f" _x{n - 1}" if n > 1 else ""))
            level += each * n
        else:
            parts.append(f"{level + each:.10g}+{each:.10g}x{n - 1}")
            level += each * n
    return " ".join(parts)


def _levels(slo: Slo, minutes: Sequence[Minute]) -> str:
    return " ".join(_level_runs(slo, minutes))


def _level_runs(slo: Slo, minutes: Sequence[Minute]) -> Iterator[str]:
    limit, at = texts.limit(slo), 0
    for minute, group in groupby(minutes, lambda m: (m.bad, m.present)):
        n = len(list(group))
        times, present = minute
        level = times * (max(limit, 1.0) if times > 1 else limit)
        if not present:
            yield "stale" + (f" _x{n - 1}" if n > 1 else "")
        elif isinstance(slo.kind, Freshness):
            # As old in every minute: its time moves with the clock.
            yield f"{at * 60 - level:.12g}+60x{n - 1}"
        else:
            yield f"{level:.12g}x{n - 1}"
        at += n
