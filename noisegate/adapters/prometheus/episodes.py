"""Firing episodes from the samples of `ALERTS`: pure, in milliseconds, a chunk at a time.

Words: a sample of an alert series is active when it fires or is pending. A run is a stretch of
active samples of one series without a resolution between them; its episode begins at the first
firing sample. A gap between two active samples is a resolution when a staleness marker lies in it
(the series is invisible to a look-back query although its sample is recent), or when other series
of the same server were evaluated while this one was due. Otherwise the server was down, and the run
goes on, a renewed `for` (pending samples after the restart) included.

A server that has started is blind for two evaluations of each group: it writes no `ALERTS` before
it has restored its state (rules/group.go, `RestoreForState`). Scrapes and recording rules go on
meanwhile, and after the rules have stopped, so they prove a resolution only some intervals away
from the samples on both sides; other alerts that are evaluated no more often prove it at once.

Every decision rests on sample times and on a look-back grid that does not depend on the chunks, so
the size of the chunks never changes the episodes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Millis = npt.NDArray[np.int64]
Labels = tuple[tuple[str, str], ...]
"""Labels of a series, sorted by name, without the name and the state."""

_DUE = 0.99
"""Share of an interval after which the next evaluation counts as due: times jitter a little."""
_BLIND = 2
"""Evaluations after a start of the server of which no alert is written."""
_STOPPING = 2
"""Intervals for which a server may still scrape while it stops, its rules being stopped already."""
_SLACK = 1.5
"""Gaps up to this many intervals are no gaps: one slot was late, none was skipped."""
_ALIKE = 0.25
"""Relative difference up to which two spacings are the same spacing."""

_NONE: Millis = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the server said about the time in (start, end]; all times in ms, arrays sorted.

    Args:
        firing: times of firing samples by series.
        pending: times of pending samples by series.
        grid: look-back steps; start and end are steps themselves.
        present: steps at which the series is visible to a look-back query.
        activity: ends of the stretches of time (of a length that the reading names) in which
            anything of a server was evaluated or scraped, by server.
    """

    start: int
    end: int
    firing: Mapping[Labels, Millis]
    pending: Mapping[Labels, Millis]
    grid: Millis
    present: Mapping[Labels, Millis]
    activity: Mapping[Labels, Millis]


@dataclass(frozen=True, slots=True)
class Episode:
    """One firing episode of one series. `end` is None while it fires."""

    labels: Labels
    start: int
    end: int | None
    seen: int
    """Its last active sample."""
    outages: int = 0
    """Gaps of the server that the episode outlived."""
    edge: bool = False
    """It was already firing when the data begins: its start is unknown."""
    marked: bool = True
    """A staleness marker gave the end; otherwise only other series show that it had ended."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a history is to be read.

    Args:
        interval: evaluation interval of a series, ms.
        server: the labels that name the server of a series (empty: there is one server).
        lookback: how far back an instant query looks, ms.
        edge: where reading begins, if some series were active there already.
        cut_before: data of a server that begins before this moment may begin there because older
            data was deleted; what begins later is the server's own first start.
        known: servers that were there before reading begins.
        stretch: length of the stretches of `Chunk.activity`, ms.
    """

    interval: Callable[[Labels], int]
    server: Callable[[Labels], Labels]
    lookback: int = 300_000
    edge: int | None = None
    cut_before: float = -math.inf
    known: frozenset[Labels] = frozenset()
    stretch: int = 0


@dataclass(slots=True)
class _Run:
    """A run under way, and what is known about the time since its last active sample."""

    first: int
    last: int
    start: int | None = None
    edge: bool = False
    outages: int = 0
    spacing: int = 0
    """Distance of the last two samples; 0 with one sample."""
    absent: int | None = None
    """First step after `last` at which the series is hidden by a marker."""
    busy: int | None = None
    """First activity of the server after it may have been stopping."""
    rival: int | None = None
    """First sample of an alert evaluated no more often, at or after the next due evaluation."""
    held: "_Run | None" = None
    """An earlier run that ended `held_gap` ago; one more such gap, and it is the usual spacing."""
    held_gap: int = 0


@dataclass(frozen=True, slots=True)
class _Signs:
    """What a chunk shows beside the samples of one series."""

    hidden: Millis
    rivals: tuple[Millis, ...]
    """Times of alerts that are evaluated no more often."""
    others: tuple[Millis, ...]
    """Times of alerts that are evaluated more often."""
    stretches: Millis
    """Begins of the stretches with any sample."""


def _before(until: int, moments: Sequence[int | None]) -> int | None:
    """The first of the moments, if it lies before `until`."""
    first = min((m for m in moments if m is not None), default=until)
    return first if first < until else None


def _alike(a: int, b: int) -> bool:
    return abs(a - b) <= _ALIKE * max(a, b)


def _start(run: _Run) -> int | None:
    """Start of a run, that of the run it holds before its own."""
    if run.held is not None and run.held.start is not None:
        return run.held.start
    return run.start


def _first(times: Millis, at: float, *, after: bool = False) -> int | None:
    """First of the times at or after (or only after) a moment."""
    i = int(np.searchsorted(times, at, side="right" if after else "left"))
    return int(times[i]) if i < times.size else None


@dataclass(slots=True)
class Episodes:
    """Reconstructs episodes: feed it chunks in time order, then finish."""

    reading: Reading
    _runs: dict[Labels, _Run] = field(default_factory=dict)
    _first_seen: dict[Labels, int] = field(default_factory=dict)
    _alerts: dict[Labels, dict[int, Millis]] = field(default_factory=dict)

    def feed(self, chunk: Chunk) -> list[Episode]:
        """Take the next chunk; return the episodes whose end it decides."""
        self._note_servers(chunk)
        self._note_alerts(chunk)
        out: list[Episode] = []
        for labels in {**self._runs, **chunk.firing, **chunk.pending}:
            self._advance(labels, chunk, out)
        return out

    def finish(self, now: int) -> list[Episode]:
        """End the data at `now`: what nothing shows to be over is open."""
        out: list[Episode] = []
        for labels, run in self._runs.items():
            interval = self.reading.interval(labels)
            seldom = now - run.last <= (1 + _ALIKE) * run.spacing
            if self._passed_over(run, now, interval) and not seldom:
                self._close(labels, run, interval, out)
                continue
            self._release(labels, run, out)
            if run.start is not None:
                out.append(Episode(labels, run.start, None, run.last, run.outages, run.edge))
        self._runs.clear()
        return out

    def open_starts(self) -> dict[Labels, int]:
        """Start of each undecided firing episode by series, the held ones included."""
        starts = {labels: _start(run) for labels, run in self._runs.items()}
        return {labels: start for labels, start in starts.items() if start is not None}

    def oldest(self) -> int | None:
        """First active sample of the oldest run with a known start: reading on needs it."""
        firsts = [(r.held or r).first for r in self._runs.values() if not (r.held or r).edge]
        return min(firsts, default=None)

    @property
    def busy(self) -> bool:
        """Whether any run is under way."""
        return bool(self._runs)

    def silent(self, since: int) -> int:
        """Number of undecided runs without an active sample since a moment."""
        return sum(run.last < since for run in self._runs.values())

    def _note_servers(self, chunk: Chunk) -> None:
        firsts = [(server, times) for server, times in chunk.activity.items()]
        for labels, times in (*chunk.firing.items(), *chunk.pending.items()):
            firsts.append((self.reading.server(labels), times))
        for server, times in firsts:
            if times.size:
                first = int(times[0])
                self._first_seen[server] = min(first, self._first_seen.get(server, first))

    def _note_alerts(self, chunk: Chunk) -> None:
        """Gather when alerts of each server were evaluated, by interval."""
        times: dict[Labels, dict[int, list[Millis]]] = {}
        for labels, samples in (*chunk.firing.items(), *chunk.pending.items()):
            server = times.setdefault(self.reading.server(labels), {})
            server.setdefault(self.reading.interval(labels), []).append(samples)
        self._alerts = {
            server: {i: np.unique(np.concatenate(t)) for i, t in by_interval.items()}
            for server, by_interval in times.items()
        }

    def _advance(self, labels: Labels, chunk: Chunk, out: list[Episode]) -> None:
        """Move one series to the end of the chunk."""
        firing = chunk.firing.get(labels, _NONE)
        pending = chunk.pending.get(labels, _NONE)
        times = np.union1d(firing, pending) if pending.size else firing
        hidden = np.setdiff1d(chunk.grid, chunk.present.get(labels, _NONE), assume_unique=True)
        interval = self.reading.interval(labels)
        signs = self._signs(labels, hidden, chunk, interval)
        run = self._runs.pop(labels, None)
        fires = np.isin(times, firing, assume_unique=True) if pending.size else None
        for lo, hi in self._stretches(times, hidden, interval):
            at = int(times[lo])
            if run is not None:
                self._look(run, signs, interval, until=at)
                run = self._cross(labels, run, at, interval, out)
            if run is None:
                run = self._begin(labels, at, fires is None or bool(fires[lo]), interval)
            self._extend(run, times[lo:hi], None if fires is None else fires[lo:hi])
        if run is None:
            return
        self._look(run, signs, interval, until=chunk.end + 1)
        if self._over(run, chunk.end, interval):
            self._close(labels, run, interval, out)
        else:
            self._runs[labels] = run

    def _stretches(self, times: Millis, hidden: Millis, interval: int) -> list[tuple[int, int]]:
        """Cut the samples where a decision is due: everything between two cuts runs on as it is."""
        if not times.size:
            return []
        gaps = np.diff(times)
        # A step hidden between two neighbours is a marker, whatever their distance.
        marks = np.diff(np.searchsorted(hidden, times)) > 0
        due = np.flatnonzero((gaps > _SLACK * interval) | marks) + 1
        # The sample after a decision is looked at, too: its distance may revise it.
        cuts = np.unique(np.concatenate([[0, 1], due, due + 1, [times.size]]))
        cuts = cuts[cuts <= times.size]
        return list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))

    def _begin(self, labels: Labels, at: int, fires: bool, interval: int) -> _Run:
        run = _Run(first=at, last=at)
        if fires:
            reading = self.reading
            server = reading.server(labels)
            reach = at - _SLACK * interval
            run.edge = reading.edge is not None and reach <= reading.edge
            first_seen = self._first_seen.get(server, at)
            if server not in reading.known and first_seen <= reading.cut_before:
                run.edge |= reach <= first_seen
        return run

    @staticmethod
    def _extend(run: _Run, times: Millis, fires: npt.NDArray[np.bool_] | None) -> None:
        last = int(times[-1])
        if run.start is None:
            if fires is None:
                run.start = int(times[0])
            elif fires.any():
                run.start = int(times[int(np.argmax(fires))])
        if last != run.last:
            run.spacing = last - (int(times[-2]) if times.size > 1 else run.last)
        run.last, run.absent, run.busy, run.rival = last, None, None, None

    def _signs(self, labels: Labels, hidden: Millis, chunk: Chunk, interval: int) -> _Signs:
        server = self.reading.server(labels)
        alerts = self._alerts.get(server, {})
        rivals = tuple(times for other, times in alerts.items() if other >= interval)
        others = tuple(times for other, times in alerts.items() if other < interval)
        # In a stretch there was a sample, somewhere: at its begin at the earliest.
        begins = chunk.activity.get(server, _NONE) - self.reading.stretch
        return _Signs(hidden, rivals, others, begins)

    def _look(self, run: _Run, signs: _Signs, interval: int, *, until: int) -> None:
        """Note a marker and due evaluations between the last sample and a moment."""
        due = run.last + _DUE * interval
        if run.absent is None:
            absent = _first(signs.hidden, run.last, after=True)
            if absent is not None and absent < min(until, run.last + self.reading.lookback):
                run.absent = absent
        if run.busy is None:
            lively = run.last + _STOPPING * interval
            begin = _first(signs.stretches, lively)
            end = None if begin is None else begin + self.reading.stretch
            run.busy = _before(until, [end, *(_first(times, lively) for times in signs.others)])
        if run.rival is None:
            run.rival = _before(until, [_first(times, due) for times in signs.rivals])

    @staticmethod
    def _passed_over(run: _Run, at: int, interval: int) -> bool:
        """Whether the run's rule was evaluated without it, if it has no sample before `at`."""
        blind = (1 + _BLIND) * interval
        return (run.busy is not None and run.busy < at - blind) or (
            run.rival is not None and run.rival <= at - _DUE * interval
        )

    def _cross(
        self, labels: Labels, run: _Run, at: int, interval: int, out: list[Episode]
    ) -> _Run | None:
        """Decide the gap before an active sample: the run that goes on, or None if it ended."""
        gap = at - run.last
        single = run.held is not None and run.spacing == 0 and run.absent is None
        if single and gap <= self.reading.lookback and _alike(gap, run.held_gap):
            # Evaluated that seldom at the time (a longer interval, missed iterations): glue.
            assert run.held is not None
            return replace(run.held, start=_start(run), last=run.last, spacing=run.held_gap)
        self._release(labels, run, out)
        if run.absent is not None:
            self._close(labels, run, interval, out)
            return None
        if gap <= _SLACK * interval:
            return run
        if not self._passed_over(run, at, interval):
            run.outages += 1
            run.last = at  # a stop of the server is no spacing
            return run
        if gap > self.reading.lookback:
            self._close(labels, run, interval, out)
            return None
        if run.spacing and _alike(gap, run.spacing):
            return run
        return _Run(first=at, last=at, held=run, held_gap=gap)

    def _over(self, run: _Run, now: int, interval: int) -> bool:
        """Whether nothing that comes later can make the run go on."""
        if run.absent is not None:
            return True
        return self._passed_over(run, now, interval) and now >= run.last + self.reading.lookback

    def _release(self, labels: Labels, run: _Run, out: list[Episode]) -> None:
        if run.held is not None:
            self._close(labels, run.held, self.reading.interval(labels), out)
            run.held = None

    def _close(self, labels: Labels, run: _Run, interval: int, out: list[Episode]) -> None:
        self._release(labels, run, out)
        if run.start is None:
            return
        end = run.last + interval
        if run.absent is not None:
            # Never later than the step that saw it gone: the interval may have been shorter then.
            end = min(end, run.absent)
        marked = run.absent is not None
        out.append(Episode(labels, run.start, end, run.last, run.outages, run.edge, marked))
