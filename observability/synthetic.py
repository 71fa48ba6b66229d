"""Made-up series of an SLO in promtool's notation, from what happens in each minute."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from observability import states, texts
from observability.expected import Minute
from observability.labels import apart, find
from observability.promql import Counted
from observability.slo import Freshness, Selector, Slo


def series(slo: Slo, minutes: Sequence[Minute], unborn: bool = False) -> list[dict[str, str]]:
    """`input_series` of a promtool test with interval 1m.

    Args:
        slo: whose series.
        minutes: what happens in each.
        unborn: the bad series begins with its first event.
    """
    counted, chosen = Counted.of(slo), rows(slo)
    assert chosen is not None, f"{slo.name}: no labels found"
    if counted is None:
        return [_row(*chosen[0], _levels(slo, minutes))]
    total, bad = [m.total for m in minutes], [m.bad * counted.unit for m in minutes]
    good = [m.total - m.bad for m in minutes]
    present = [m.present for m in minutes]
    part = good if counted.part_is_good else bad
    starts = 0
    if unborn and not counted.part_is_good:
        starts = next((at for at, count in enumerate(bad) if count), len(bad))
    (name, labels), (other_name, other) = chosen
    rest = bad if counted.part_is_good else good
    if name != other_name or labels.get("le") != other.get("le"):
        rest = total
    return [
        _row(other_name, other, _counter(rest, present, 0)),
        _row(name, labels, _counter(part, [m.present and m.part for m in minutes], starts)),
    ]


def rows(slo: Slo) -> list[tuple[str, dict[str, str]]] | None:
    """Name and labels of the good or bad series and of that of all other events, or of a gauge.

    None: no labels are found that the matchers select.
    """
    counted = Counted.of(slo)
    if counted is None:
        gauge = states.selectors(slo)[0]
        found = [(gauge, find(gauge))]
    else:
        pair = apart(counted.part, counted.total)
        found = list(zip((counted.part, counted.total), pair, strict=True))
    chosen = [(selector.metric, one.labels) for selector, one in found if one.labels is not None]
    return chosen if len(chosen) == len(found) else None


def _row(metric: str, labels: dict[str, str], values: str) -> dict[str, str]:
    there = tuple((label, "=", value) for label, value in labels.items() if value)
    return {"series": str(Selector(metric, there)), "values": values}


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
