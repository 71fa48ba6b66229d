"""What counting rules have recorded, straight from dated rows: no need to ask Prometheus.

Prometheus would difference hundreds of series at each moment. The samples of the past are written
from dated increments, so the differences are sums of those: of the minute before the last (the rule
looks an interval back), or of a window. A test holds both against each other for each of our SLOs.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import promql_parser

from noisegate.alert import MICROS
from observability.burn import SHORT_S, Record
from observability.counting import Series
from observability.exporter import Dated
from observability.past_metrics import MINUTE_S, Span, number
from observability.promql import Counted
from observability.slo import Selector, Slo
from observability.tsdb import Samples

Floats = npt.NDArray[np.float64]

_COUNTS = re.compile(r"slo:((?P<window>window):)?(?P<what>total|bad)(?(window)|:count1m)$")
"""Names of the rules that count."""

_MATCHES: dict[str, Callable[[str, str], bool]] = {
    "=": lambda want, value: value == want,
    "!=": lambda want, value: value != want,
    "=~": lambda want, value: re.fullmatch(want, value) is not None,
    "!~": lambda want, value: re.fullmatch(want, value) is None,
}


@dataclass(slots=True)
class Counts:
    """Events of each minute of a past: all, and those that are good or bad."""

    span: Span
    counted: Counted
    total: Floats = field(init=False)
    part: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has happened yet."""
        self.total, self.part = np.zeros((2, len(self.span.times())))

    def recorded(self, what: str, window_s: float | None) -> Floats:
        """What a rule that counts has recorded each minute.

        Args:
            what: total or bad.
            window_s: events of this window, as its samples show them, at first of what there is;
                None: of the last minute.
        """
        total, part = (
            _before(counts) if window_s is None else _trailing(counts, window_s)
            for counts in (self.total, self.part)
        )
        total = total * self.counted.unit
        if what == "total":
            return total
        bad = total - part if self.counted.part_is_good else part
        # Only a window is clamped: in a minute there may be more of a part than of all.
        return bad if self.counted.late or window_s is None else np.clip(bad, 0.0, total)


@dataclass(frozen=True, slots=True)
class PastCounts:
    """The counts of SLOs over a past."""

    span: Span
    by_slo: dict[str, Counts]

    @classmethod
    def of(cls, slos: Sequence[Slo], changes: Iterable[Dated], span: Span) -> "PastCounts":
        """Count what happened after the span began, minute by minute; in order of time or not."""
        counted = {slo.name: Counted.of(slo) for slo in slos}
        found = cls(span, {name: Counts(span, one) for name, one in counted.items() if one})
        goes_to: dict[Series, list[Floats]] = {}
        for change in changes:
            if change.is_gauge or not change.value:
                continue
            if change.series not in goes_to:
                goes_to[change.series] = found._arrays(change.series)
            place = -(-(change.at_us - span.since_s * MICROS) // (MINUTE_S * MICROS))
            for array in goes_to[change.series]:
                array[place] += change.value
        return found

    def of_record(self, record: Record, times: range) -> Samples | None:
        """What a counting rule has recorded at these minutes; None: it is none of those."""
        counts, name = self.by_slo.get(record.labels.get("slo", "")), _COUNTS.match(record.name)
        if counts is None or name is None:
            return None
        window_s = None
        if name["window"]:
            window_s = promql_parser.parse_duration(record.labels["window"]).total_seconds()
            if window_s > SHORT_S:
                return None  # summed up from what was recorded by the minute: Prometheus does that
        values = counts.recorded(name["what"], window_s)
        first = (times.start - self.span.since_s) // MINUTE_S
        chosen = values[first :: times.step // MINUTE_S][: len(times)]
        return list(zip(times, map(number, chosen.tolist()), strict=True))

    def _arrays(self, series: Series) -> list[Floats]:
        """Where a series is counted."""
        return [
            array
            for counts in self.by_slo.values()
            for selector, array in (
                (counts.counted.total, counts.total),
                (counts.counted.part, counts.part),
            )
            if _matches(selector, series)
        ]


def _matches(selector: Selector, series: Series) -> bool:
    labels = dict(series.labels)
    return selector.metric == series.name and all(
        _MATCHES[operator](want, labels.get(label, ""))
        for label, operator, want in selector.matchers
    )


def _before(counts: Floats) -> Floats:
    """Those of the minute before each."""
    return np.concatenate([[0.0], counts[:-1]])


def _trailing(counts: Floats, window_s: float) -> Floats:
    """The sum over a window up to each minute; at first over what there is."""
    width = round(window_s / MINUTE_S)
    # Sums of whole numbers are exact; of seconds, 1e-9 off after 30 days.
    total = np.concatenate([[0.0], np.cumsum(counts)])
    found: Floats = total[1:] - total[np.maximum(np.arange(len(counts)) + 1 - width, 0)]
    return found
