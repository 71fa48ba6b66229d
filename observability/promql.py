"""PromQL that counts: exact, 0 when idle, right across births, restarts and missed scrapes.

`increase` extrapolates, and does not see a series' first events: an error label that appears with
the first error. So events are differences of samples here, taken for each series by itself.
"""

from dataclasses import dataclass

from noisegate.metrics import BUILD
from observability.slo import Delayed, Events, Latency, Mean, Selector, Slo, known_metrics

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))

MINUTE_LOOKBACK_S = 6 * 3_600.0
"""A series that comes back within it is continued; what it counted meanwhile is not lost."""

WINDOW_LOOKBACK_S = 3_600.0
"""The same for windows that are counted from samples: they need the value where they begin."""


def duration(seconds: float) -> str:
    """A duration as Prometheus writes it: 5400 is 1h30m, .25 is 250ms."""
    rest, parts = round(seconds * 1_000), []
    for size, unit in _UNITS:
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(parts) or "0s"


def number(value: float) -> str:
    """A number as short as it is exact enough: 1 - 0.999 is 0.001."""
    return f"{value:.12g}"


@dataclass(frozen=True, slots=True)
class Clock:
    """Real durations of what is named by its nominal one: tests run on a faster clock."""

    shorten: float = 1.0
    interval_s: float = 15.0

    def seconds(self, nominal_s: float) -> float:
        """How long that really is."""
        return nominal_s / self.shorten

    def __call__(self, nominal_s: float) -> str:
        """That, in PromQL."""
        return duration(self.seconds(nominal_s))

    @property
    def short_s(self) -> float:
        """Interval of the groups that page, and of scrapes; never below a second."""
        return max(1.0, self.seconds(self.interval_s))

    @property
    def minute_s(self) -> float:
        """Interval of the other groups, and the window of counts by the minute."""
        return max(1.0, self.seconds(60.0))


@dataclass(frozen=True, slots=True)
class Counted:
    """The counters of an SLI: all events, and those that are good or bad."""

    total: Selector
    part: Selector
    part_is_good: bool
    unit: float = 1.0
    """What one event adds to the total at most."""
    late: bool = False
    """Bad events are known later than the events they are compared with."""

    @classmethod
    def of(cls, slo: Slo) -> "Counted | None":
        """Those of an SLO; None for the kinds that watch a gauge."""
        match slo.kind:
            case Events(total, bad, good):
                part = good if bad is None else bad
                assert part is not None, f"{slo.name} has neither good nor bad events"
                return cls(total, part, bad is None)
            case Latency(histogram, threshold_s):
                bound = ("le", *_bound(threshold_s))
                return cls(
                    Selector(f"{histogram.metric}_count", histogram.matchers),
                    Selector(f"{histogram.metric}_bucket", (*histogram.matchers, bound)),
                    True,
                )
            case Mean(sum=total, count=count, most=most):
                return cls(count, total, False, most)
            case Delayed(total, bad):
                return cls(total, bad, False, late=True)
        return None

    def bad(self, part: str, total: str) -> str:
        """Bad events of a minute, of its counts: two expressions of one sample.

        Where total and part move in different minutes (a job starts in one and ends in another) it
        may be less than 0 or more than all. Only sums are clamped: else the noise would add up.
        """
        return f"{total} - on () ({part})" if self.part_is_good else part

    def clamped(self, bad: str, total: str) -> str:
        """Bad events of a stretch, from 0 to all."""
        return bad if self.late else at_most(f"clamp_min({bad}, 0)", total)


def _bound(threshold_s: float) -> tuple[str, str]:
    # Clients write whole bounds as 1 or as 1.0, and Prometheus 3 makes the one the other.
    if threshold_s == int(threshold_s):
        return "=~", rf"{threshold_s:g}(\.0)?"
    return "=", f"{threshold_s:.12g}"


def recorded(name: str, slo: Slo, **labels: str) -> str:
    """A recorded series as it is now: of the service that the SLO has now.

    A label with several values (5m|1h) is matched as a regular expression.
    """
    return _recorded(name, {"slo": slo.name, "service": slo.service} | labels)


def remembered(name: str, slo: Slo, **labels: str) -> str:
    """The same for ranges, which reach back to when the SLO's service had another name.

    There may be several: aggregate them, by (slo) or by nothing.
    """
    return _recorded(name, {"slo": slo.name} | labels)


def _recorded(name: str, labels: dict[str, str]) -> str:
    matchers = [(label, "=~" if "|" in value else "=", value) for label, value in labels.items()]
    return str(Selector(name, tuple(matchers)))


def at_most(value: str, most: str) -> str:
    """The lesser of two numbers, each a single one; without labels."""
    return f"({value}) <= on () {most} or sum({most})"


def merged(selector: Selector, expr: str) -> str:
    """One series for each count, from an expression that keeps the labels of the selector.

    What noisegate exports stands in its database, so that a second exporter, or the same one at
    another address, shows the same counts again. Counters of other processes are their own.
    """
    spec = known_metrics().get(selector.metric)
    if spec is None:
        return expr
    bucket = ("le",) if selector.metric.endswith("_bucket") else ()
    by = ", ".join((*spec.labels, *bucket))
    return f"max by ({by}) ({expr})" if by else f"max({expr})"


def exporter_alive(selector: Selector, window: str) -> str | None:
    """That our exporter answers, for metrics of ours."""
    ours = selector.metric in known_metrics()
    return f"count(last_over_time({BUILD.name}[{window}]))" if ours else None


def minute_count(
    selector: Selector, total: Selector, clock: Clock, most_born: str | None = None
) -> str:
    """Events of the last minute. The sums of consecutive minutes are the events counted.

    It ends an interval ago: a sample is stored when its scrape is over, but dated at its start, so
    that the newest one is not yet seen by an evaluation in between, and would never be counted.
    A series that begins has counted from 0, unless no series of the SLI is known from before. It
    may also come back after long with all that it ever counted: at most `most_born` counts then.

    One exporter of ours at another address, over an older database, counts nothing until it passes
    what was counted: only a series that falls itself was restarted.
    """
    minute, lag = duration(clock.minute_s), clock.short_s
    before = f"offset {duration(clock.minute_s + lag)}"
    lookback = clock(MINUTE_LOOKBACK_S)
    each_now = f"last_over_time({selector}[{minute}] offset {duration(lag)})"
    each_then = f"last_over_time({selector}[{lookback}] {before})"
    top = f"max_over_time({selector}[{minute}] offset {duration(lag)})"
    now, then = merged(selector, each_now), merged(selector, each_then)
    # Restarted: up to then, and since.
    fell = merged(selector, f"({each_now} < {each_then}) + clamp_min({top} - {each_then}, 0)")
    born = f"({now} unless {then}) and on () count(last_over_time({total}[{lookback}] {before}))"
    if most_born is None:
        return _sum(f"{now} - {then} >= 0", fell, born)
    return f"({_sum(f'{now} - {then} >= 0', fell)}) + ({at_most(_sum(born), most_born)})"


def window_count(selector: Selector, total: Selector, window_s: float, clock: Clock) -> str:
    """Events of a short window up to now, from the samples themselves.

    It needs no earlier evaluation, so it is right at once after a restart of Prometheus.
    """
    window, lookback = clock(window_s), clock(WINDOW_LOOKBACK_S)
    before = f"[{lookback}] offset {window}"
    now = merged(selector, f"last_over_time({selector}[{window}])")
    then = merged(selector, f"last_over_time({selector}{before})")
    restarts = merged(selector, f"resets({selector}[{window}])")
    return _sum(
        f"({now} - {then} >= 0) unless {restarts} > 0",
        f"({now} unless {then}) and on () count(last_over_time({total}{before}))",
        merged(selector, f"increase({selector}[{window}])"),  # restarted, or nothing is known
    )


def _sum(*cases: str) -> str:
    # Comparisons drop what is not a number; no series at all is no event.
    inner = "\n  or ".join(f"({case})" for case in cases)
    return f"sum((\n  {inner}\n) >= 0 < Inf) or vector(0)"
