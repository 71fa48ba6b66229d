"""The past of our metrics, from dated rows, as OpenMetrics text for promtool.

What is written is what scrapes would have seen: the labels of the live scrape, each counter ending
at the value the live scrape goes on from. One file for each block of Prometheus' storage, so that
promtool reads each once; memory holds the changes of one block.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import IO

from sqlalchemy import Engine

from noisegate.alert import MICROS
from noisegate.errors import SettingsError
from noisegate.settings import Settings
from observability.counting import Series
from observability.exporter import Dated, dated
from observability.slo import Selector
from observability.totals import counters
from observability.tsdb import BLOCK_S

MINUTE_S = 60
"""How far apart the samples of a counter that moves are, seconds: rules count by the minute."""

REPEAT_S = 240
"""A service's counter that stands still is written so often, for there are many: Prometheus shows a
sample for five minutes. Others are written every minute, for graphs of a day ask for their rates.
"""

_DAY_US = 86_400 * MICROS


@dataclass(frozen=True, slots=True)
class Span:
    """The past that is written: whole minutes, seconds since 1970, both ends belong to it."""

    since_s: int
    until_s: int

    @classmethod
    def of(cls, days: float, until_s: float) -> "Span":
        """The `days` up to a moment.

        Raises:
            SettingsError: the days are none.
        """
        if not 0 < days < 10_000:
            raise SettingsError(f"--days {days:g}: give a number from 0.1 on, such as 30")
        until = int(until_s) // MINUTE_S * MINUTE_S
        return cls(int(until - days * 86_400) // MINUTE_S * MINUTE_S, until)

    def blocks(self) -> Iterator["Span"]:
        """This past, cut at multiples of BLOCK_S, which begin the later one."""
        low = self.since_s
        while low <= self.until_s:
            edge = (low // BLOCK_S + 1) * BLOCK_S
            yield Span(low, min(edge - MINUTE_S, self.until_s))
            low = edge

    def changes(self, settings: Settings, engine: Engine) -> Iterator[Dated]:
        """What was counted in it, by time. Raises: as `dated`."""
        # Rounded up to whole minutes: the scrape at t sees what happened by t.
        since_us, until_us = self.since_s * MICROS, self.until_s * MICROS
        return dated(engine, settings, since_us, until_us, step_us=MINUTE_S * MICROS)

    def times(self, step_s: int = MINUTE_S) -> range:
        """Its moments that are multiples of a step."""
        return range(-(-self.since_s // step_s) * step_s, self.until_s + 1, step_s)


def write_past(
    settings: Settings,
    engine: Engine,
    folder: Path,
    span: Span,
    labels: Mapping[str, str],
    progress: Callable[[float], None] | None = None,
) -> Iterator[Path]:
    """Write the past of every metric, a file for each block: yields each as it is done.

    Args:
        settings: exporter_origin: whose rows count.
        engine: our store.
        folder: where files are written.
        span: which past.
        labels: of the scrape: job and instance.
        progress: told the share that is done.

    Raises:
        UnreachableError: the database does not answer.
    """
    past = _Past(_begins(settings, engine, span), labels)
    coming = _Coming(span.changes(settings, engine))
    for block in span.blocks():
        path = folder / f"noisegate-{block.since_s}.om"
        with path.open("w", encoding="utf-8") as file:
            past.write(file, block, coming.until(block.until_s))
        if progress:
            progress((block.until_s - span.since_s) / max(1, span.until_s - span.since_s))
        yield path


def write_samples(
    file: IO[str], name: str, labels: Mapping[str, str], samples: Iterable[tuple[int, str]]
) -> None:
    """Write one series: (seconds since 1970, value), ascending."""
    head = _head(name, labels)
    for value, run in groupby(samples, key=itemgetter(1)):
        start = f"{head}{value} "
        file.write(start + start.join([f"{at}\n" for at, _ in run]))


def _begins(settings: Settings, engine: Engine, span: Span) -> dict[Series, tuple[float, float]]:
    """Of each counter its value at `since` and now: what has been added since is taken off."""
    added: defaultdict[Series, float] = defaultdict(float)
    # Rows may be dated after the span, even after now by another clock.
    ahead_us = (span.until_s + 10 * 365 * 86_400) * MICROS
    for change in dated(engine, settings, span.since_s * MICROS, ahead_us, step_us=_DAY_US):
        if not change.is_gauge:
            added[change.series] += change.value
    now = counters(engine, settings.exporter_origin)
    names = {*now, *added}
    return {
        one: (max(0.0, _snapped(now.get(one, 0.0) - added[one])), now.get(one, 0.0))
        for one in names
    }


def _snapped(value: float) -> float:
    """A whole number where only rounding keeps it from one."""
    return float(round(value)) if abs(value - round(value)) < 1e-6 else value


class _Coming:
    """Changes in order of time, taken block by block."""

    def __init__(self, changes: Iterator[Dated]) -> None:
        self.changes = changes
        self.next = next(changes, None)

    def until(self, at_s: int) -> Iterator[Dated]:
        """Those up to a moment."""
        while self.next is not None and self.next.at_us <= at_s * MICROS:
            yield self.next
            self.next = next(self.changes, None)


@dataclass(slots=True)
class _Ends:
    """A counter's way from its value at `since` to the one that the live scrape shows."""

    value: float
    end: float

    def add(self, amount: float) -> float:
        """Its next value: exactly the end when it is there, for less by rounding is a restart."""
        self.value = min(self.value + amount, self.end)
        if self.end - self.value <= 1e-9 * self.end:
            self.value = self.end
        return self.value


class _Past:
    """The series as they stand while the past is written in order."""

    def __init__(
        self, begins: Mapping[Series, tuple[float, float]], labels: Mapping[str, str]
    ) -> None:
        self.counters = {series: _Ends(*begin) for series, begin in begins.items()}
        self.gauges: dict[Series, float] = {}
        self.labels = labels

    def write(self, file: IO[str], block: Span, changes: Iterable[Dated]) -> None:
        """Write all samples of a block, series by series."""
        steps: defaultdict[Series, dict[int, float]] = defaultdict(dict)
        for one, value in self.gauges.items():
            steps[one][0] = value
        for one, counter in self.counters.items():
            steps[one][0] = counter.value
        for change in changes:
            place = (change.at_us // MICROS - block.since_s) // MINUTE_S
            one = change.series
            if change.is_gauge:
                steps[one][place] = self.gauges[one] = change.value
            else:
                steps[one][place] = self.counters[one].add(change.value)
        times = [f"{at}\n" for at in block.times()]
        # As scrapes have it: 1 where there was an answer.
        steps[Series("up")][0] = 1.0
        for one in sorted(steps):
            every = REPEAT_S // MINUTE_S if one in self.counters and _of_service(one) else 1
            head = _head(one.name, {**dict(one.labels), **self.labels})
            file.writelines(_runs(head, steps[one], times, every))
        file.write("# EOF\n")


def _of_service(series: Series) -> bool:
    return any(name == "service" for name, _ in series.labels)


def _runs(head: str, steps: Mapping[int, float], times: list[str], every: int) -> Iterator[str]:
    """The samples of one series, from its values by their first place in `times`."""
    for (low, value), (high, _) in pairwise([*steps.items(), (len(times), 0.0)]):
        start = f"{head}{number(value)} "
        # One join for a run of equal values: there are millions of samples.
        yield start + start.join(times[low:high:every])


def _head(name: str, labels: Mapping[str, str]) -> str:
    return f"{Selector(name, tuple((key, '=', labels[key]) for key in sorted(labels)))} "


def number(value: float) -> str:
    """A value as OpenMetrics has it, to the last bit."""
    if abs(value) < 1e15 and value == int(value):
        return str(int(value))
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(repr(value), repr(value))
