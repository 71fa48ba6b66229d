"""What can be said of an SLO before it runs: alerts that cannot fire, series that do not exist.

Pure: an SLO and the series that are exported in, judgements out; specs.py adds file and line.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from noisegate.metrics import MetricSpec
from observability.documents import near
from observability.labels import apart, compiled, find, known_values, selects, words
from observability.promql import Counted
from observability.slo import (
    WORKBOOK,
    Burn,
    ConsecutiveFailures,
    Delayed,
    Events,
    Freshness,
    Kind,
    Latency,
    Level,
    Mean,
    Selector,
    Slo,
)
from observability.states import LEAST_BAD, events_to_prove

LEAST_EVENTS_PER_MIN = 0.1
"""Below it a burn rate says nothing: one bad event is a page, and an hour may hold none."""

TARGET_LABELS = ("instance", "job")
"""Labels that Prometheus adds to every series that it scrapes."""

_PARTS = ("bucket", "sum", "count")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with an SLO, or worth knowing, and the way out."""

    about: str
    """The part: name, objective, value, window, tiers, events-per-minute, or a series' field."""
    message: str
    remark: bool = False


def judge(slo: Slo, metrics: Mapping[str, MetricSpec] | None) -> Iterator[Judgement]:
    """Judge an SLO; series only where `metrics` (by name, as slo.known_metrics) is given."""
    yield from _reach(slo)
    yield from _traffic(slo)
    yield from _kind(slo)
    if not slo.description:
        yield Judgement("name", "has no description: say what a user loses when it burns", True)
    wrong: list[Judgement] = []
    if metrics is not None:
        for about, selector in selectors(slo.kind):
            wrong += _series(about, selector, slo.kind, metrics)
    yield from wrong or _parts(slo)


def limit(slo: Slo, tier: Burn) -> float:
    """The error share above which a tier's condition holds."""
    return tier.factor * (1 - slo.objective)


def can_fire(slo: Slo, tier: Burn) -> bool:
    """Whether any error share reaches a tier: none exceeds 1."""
    return limit(slo, tier) < 1 - 1e-9


def has_enough(slo: Slo, tier: Burn) -> bool:
    """Whether its long window holds as many events as it needs bad ones, if traffic is declared."""
    rate = slo.traffic_per_min
    return rate is None or rate * tier.long_s / 60 > LEAST_BAD - 1e-9


def selectors(kind: Kind) -> tuple[tuple[str, Selector], ...]:
    """The series of an SLI, each with the field that names it."""
    found: dict[str, Selector | None]
    match kind:
        case Events(total, bad, good):
            found = {"bad": bad, "good": good, "total": total}
        case Latency(histogram):
            found = {"histogram": histogram}
        case Mean(sum=total, count=count):
            found = {"sum": total, "count": count}
        case Delayed(total, bad):
            found = {"bad": bad, "total": total}
        case Freshness(timestamp):
            found = {"timestamp": timestamp}
        case ConsecutiveFailures(failures):
            found = {"failures": failures}
        case Level(gauge):
            found = {"gauge": gauge}
    return tuple((name, selector) for name, selector in found.items() if selector)


def _reach(slo: Slo) -> Iterator[Judgement]:
    for tier in slo.tiers:
        if tier.long_s > slo.window_s:
            yield Judgement(
                "window",
                f"tier {tier.name} looks back {_days(tier.long_s)}, further than the window of "
                f"{_days(slo.window_s)}: make the window longer, or leave the tier out",
            )
    never = [tier for tier in slo.tiers if not can_fire(slo, tier)]
    if not never:
        return
    worst = max(never, key=lambda tier: tier.factor)
    names = " and ".join(tier.name for tier in never)
    offered = slo.tiers if slo.tiers != WORKBOOK else WORKBOOK
    left = ",".join(tier.name for tier in offered if can_fire(slo, tier)) or "none"
    keep = f'noisegate/tiers: "{left}"' if offered is WORKBOOK else f"only {left}"
    yield Judgement(
        "objective",
        f"{names} can never fire: {worst.factor:g} x (1 - {slo.objective:g}) = "
        f"{limit(slo, worst):.4g}, and no error share exceeds 1: keep {keep}, "
        f"or set an objective above {math.ceil((1 - 1 / worst.factor) * 1e4) / 1e4:g}",
    )


def _traffic(slo: Slo) -> Iterator[Judgement]:
    if not isinstance(slo.kind, Events | Latency | Mean | Delayed):
        return
    rate = slo.traffic_per_min
    if rate is None:
        yield Judgement(
            "name",
            "declares no traffic: annotate noisegate/events-per-minute, so that low traffic is "
            "told from an outage and the budget can be counted in events",
            True,
        )
    elif slo.tiers and rate < LEAST_EVENTS_PER_MIN:
        yield Judgement(
            "events-per-minute",
            f"{rate:g} events per minute are too few for burn-rate alerts (at least "
            f"{LEAST_EVENTS_PER_MIN:g}): use kind freshness or consecutive-failures for a "
            'scheduled job, delayed for a counted bound, or noisegate/tiers: "none"',
        )
    elif few := [tier for tier in slo.tiers if not has_enough(slo, tier)]:
        names = " and ".join(tier.name for tier in few)
        longest = max(tier.long_s for tier in few)
        yield Judgement(
            "tiers",
            f"{names} can never fire: at {rate:g} events per minute {_days(longest)} hold "
            f"{rate * longest / 60:.3g}, and fewer than {LEAST_BAD} bad ones are no rate: look "
            f"back at least {math.ceil(LEAST_BAD / rate - 1e-9)}m",
        )
    elif not isinstance(slo.kind, Mean) and (hasty := [t for t in slo.tiers if _hasty(slo, t)]):
        names = " and ".join(tier.name for tier in hasty)
        yield Judgement(
            "events-per-minute",
            f"at {rate:g} events per minute {LEAST_BAD} bad ones are enough for {names}",
            True,
        )


def _hasty(slo: Slo, tier: Burn) -> bool:
    """Whether the fewest bad events that a tier looks at fire it, among the expected ones."""
    assert slo.traffic_per_min is not None
    return limit(slo, tier) * slo.traffic_per_min * tier.long_s / 60 < LEAST_BAD


def _kind(slo: Slo) -> Iterator[Judgement]:
    match slo.kind:
        case Events(total, bad, good) if total in (bad, good):
            yield Judgement(
                "total", "is the same series as the events it is compared with: name all events"
            )
        case Mean(at_most=at_most, most=most) if abs(1 - at_most / most - slo.objective) > 1e-9:
            yield Judgement(
                "objective",
                f"target {slo.objective:g} is not 1 - value / most = {1 - at_most / most:.9g}: "
                "the two say the same, write that one (value must be below most)",
            )
        case ConsecutiveFailures(at_most=at_most) if at_most != int(at_most):
            yield Judgement("value", f"{at_most:g} failures cannot be: give a whole number")
        case Freshness(timestamp) if not timestamp.metric.endswith(("_seconds", "_timestamp")):
            yield Judgement(
                "timestamp",
                f"{timestamp.metric} does not look like a time: name a gauge of seconds since "
                "1970, which by convention ends in _timestamp_seconds",
            )
        case Delayed() if slo.traffic_per_min is not None:
            needed = events_to_prove(slo)
            expected = slo.traffic_per_min * slo.window_s / 60
            if expected < needed:
                yield Judgement(
                    "objective",
                    f"cannot be proven: {needed} events without a bad one are needed, and "
                    f"{_days(slo.window_s)} hold {expected:.0f}: lower it, or lengthen the window",
                )


def _parts(slo: Slo) -> Iterator[Judgement]:
    """Matchers that select nothing, or too much, whatever is exported."""
    empty = [
        Judgement(about, f"{selector} selects nothing: its matchers contradict each other")
        for about, selector in selectors(slo.kind)
        if find(selector).sure
    ]
    yield from empty
    counted = Counted.of(slo)
    if empty or not isinstance(slo.kind, Events | Delayed) or counted is None:
        return
    part, total = counted.part, counted.total
    if part.metric != total.metric or part == total:
        return
    name, rest = ("good", "bad") if counted.part_is_good else ("bad", "good")
    inside, outside = apart(part, total)
    if inside.sure:
        yield Judgement(name, f"{part} is no part of total {total}: let total name all events")
    elif outside.sure:
        yield Judgement(
            name, f"{part} takes all of total, nothing {rest} remains: select the {name} events"
        )
    elif (stray := _stray(part, total)) is not None:
        yield Judgement(
            "total", f"leaves out {name} events, such as {stray}: let it name all events", True
        )


def _stray(part: Selector, total: Selector) -> Selector | None:
    """A series of the part that is not in the total."""
    labels = find(part, but_not=total).labels
    if labels is None or any(label == "le" for label, _, _ in total.matchers):
        return None
    named = {label for label, _, _ in (*part.matchers, *total.matchers)}
    return Selector(part.metric, tuple((k, "=", v) for k, v in labels.items() if k in named))


def _series(
    about: str, selector: Selector, kind: Kind, metrics: Mapping[str, MetricSpec]
) -> Iterator[Judgement]:
    name = selector.metric
    if isinstance(kind, Latency):
        spec = metrics.get(f"{name}_bucket")
        if spec is None:
            yield Judgement(about, _no_histogram(name, metrics))
            return
        if kind.threshold_s not in spec.buckets:
            yield Judgement("value", _no_bound(kind.threshold_s, spec))
    else:
        spec = metrics.get(name)
        want = "gauge" if about in ("timestamp", "failures", "gauge") else "counter"
        if spec is None:
            yield Judgement(about, _no_series(name, metrics))
            return
        if problem := _wrong_kind(selector, spec, want, about):
            yield Judgement(about, problem)
    known = (*spec.labels, *TARGET_LABELS, *(("le",) if name.endswith("_bucket") else ()))
    for label, operator, text in selector.matchers:
        if label not in known:
            yield Judgement(about, f"{name} has no label {label}: {near(label, known)}")
        elif problem := _no_value(label, operator, text, known_values(name, label)):
            yield Judgement(about, f"{name} has no {problem}")


def _no_value(label: str, operator: str, text: str, values: tuple[str, ...]) -> str:
    """Why a matcher names a value that never is, and the near one; a typo would stay silent."""
    if not values:
        return ""
    named = [word for word in words(operator, text) if word or (text == "" and operator == "=")]
    for word in named:
        if word not in values:
            return f'{label}="{word[:60]}": {near(word, values)}'
    if "~" not in operator or words(operator, text) or not compiled(text):
        return ""
    # What a regex excludes must be there, too.
    if any(selects([(label, "=~", text)], label, value) for value in values):
        return ""
    return f'{label} that matches "{text[:60]}": {near(text, values)}'


def _no_series(name: str, metrics: Mapping[str, MetricSpec]) -> str:
    if f"{name}_bucket" in metrics:
        return f"{name} is a histogram, no series: name {name}_count for its events"
    return f"metric {name} is not exported: {near(name, metrics)}"


def _no_histogram(name: str, metrics: Mapping[str, MetricSpec]) -> str:
    base = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
    if base != name and f"{base}_bucket" in metrics:
        return f"{name} is a part of a histogram: name it {base}"
    if name in metrics:
        return f"{name} is a {metrics[name].kind}: latency needs a histogram"
    bases = {series.removesuffix("_bucket") for series in metrics if series.endswith("_bucket")}
    return f"histogram {name} is not exported: {near(name, bases)}"


def _no_bound(threshold: float, spec: MetricSpec) -> str:
    below = [bound for bound in spec.buckets if bound < threshold][-1:]
    above = [bound for bound in spec.buckets if bound > threshold][:1]
    nearest = " or ".join(f"{bound:g}" for bound in below + above)
    return f"{threshold:g} is no bucket bound of {spec.name}: give {nearest}, the nearest ones"


def _wrong_kind(selector: Selector, spec: MetricSpec, want: str, about: str) -> str:
    name = selector.metric
    if spec.kind != "histogram":
        if spec.kind == want:
            return ""
        if want == "counter":
            return f"{name} is a gauge: events need a counter, such as one that ends in _total"
        return f"{name} is a {spec.kind}: this kind needs a gauge"
    if want == "gauge":
        return f"{name} is a part of a histogram: this kind needs a gauge"
    if name.endswith("_sum") and about != "sum":
        return f"{name} is a sum, no count: name {spec.name}_count"
    if name.endswith("_bucket"):
        bounds = [value for label, _, value in selector.matchers if label == "le"]
        # As clients write them: 1.0, not 1, which would match nothing.
        exported = (*map(str, spec.buckets), "+Inf")
        if sum(selects(selector.matchers, "le", bound) for bound in exported) != 1:
            if len(bounds) == 1 and (right := _same_number(bounds[0], exported)):
                return f'{name} has no le="{bounds[0]}": write le="{right}", as it is exported'
            return f"{name} counts an event in each of its buckets: add le of one, or kind latency"
    return ""


def _same_number(text: str, exported: tuple[str, ...]) -> str:
    try:
        return next((bound for bound in exported if float(bound) == float(text)), "")
    except ValueError:
        return ""


def _days(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600)):
        if seconds >= size:
            return f"{seconds / size:g}{unit}"
    return f"{seconds / 60:g}m"
