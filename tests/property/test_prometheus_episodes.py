"""Episodes rebuilt from what a server remembers equal what truly happened on it.

A small server is simulated evaluation by evaluation: alerts that come and go, `for`, stops of the
server (its memory of active alerts is lost), staleness markers or none. The rebuilt episodes are
held against the simulation's own record of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from noisegate.adapters.prometheus.episodes import Chunk, Episodes, Labels, Reading

Episode = tuple[int, int | None]
KEY: Labels = (("alertname", "A"),)
WATCHDOG: Labels = (("alertname", "Watchdog"),)
SLOT = 15_000
LOOKBACK = 300_000
BEGIN = 1_700_000_000_000
BLIND = 2
STRETCH = 4 * SLOT


@dataclass
class Remembered:
    """What the server's disk holds about one alert, and what really happened."""

    slots: int = 0
    firing: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    markers: list[int] = field(default_factory=list)
    scrapes: list[int] = field(default_factory=list)
    watchdog: list[int] = field(default_factory=list)
    truth: list[list[int | None]] = field(default_factory=list)
    just_ended: int | None = None
    """Start of the episode that was seen to be over in the newest interval, if any."""

    @property
    def end(self) -> int:
        return BEGIN + self.slots * SLOT


def live(
    problem: list[bool], up: list[bool], for_slots: int, *, phase: int, scraped: int
) -> Remembered:
    """Evaluate a rule and a watchdog at every slot at which the server is up; it scrapes, too."""
    seen = Remembered(slots=len(problem))
    since: int | None = None  # the server's memory
    episode: list[int | None] | None = None
    last = blind = 0
    for slot, (wrong, running) in enumerate(zip(problem, up, strict=True)):
        at = BEGIN + slot * SLOT + phase
        if not running:
            since, blind = None, BLIND
            continue
        seen.scrapes.append(at + scraped)
        # No alert is written before a started server has restored its state.
        if blind:
            since = (slot if since is None else since) if wrong else None
            blind -= 1
            continue
        seen.watchdog.append(at)
        if wrong:
            since, last = slot if since is None else since, at
            if slot - since >= for_slots:
                seen.firing.append(at)
                if episode is None:
                    episode = [at, None]
                    seen.truth.append(episode)
            else:
                seen.pending.append(at)
            continue
        if last == at - SLOT:
            seen.markers.append(at)
        if episode is not None:
            episode[1] = last + SLOT
            if at >= seen.end - SLOT:
                seen.just_ended = episode[0]
        since = episode = None
    return seen


def rebuild(
    seen: Remembered, step: int, chunk_steps: list[int], *, markers: bool = True, watchdog: bool
) -> set[Episode]:
    """Feed what the server remembers in chunks of the given numbers of look-back steps."""
    episodes = Episodes(Reading(lambda _: SLOT, lambda _: (), LOOKBACK, stretch=STRETCH))
    firing, pending = np.array(seen.firing, np.int64), np.array(seen.pending, np.int64)
    samples = np.union1d(firing, pending)
    marks = np.array(seen.markers if markers else [], np.int64)
    scrapes = np.array(seen.scrapes, np.int64)
    rival = np.array(seen.watchdog if watchdog else [], np.int64)
    found, start, turn = [], BEGIN // step * step - step, 0
    while start < seen.end:
        # The same last moment for any chunks.
        last = -(-seen.end // step) * step
        end = min(last, start + step * chunk_steps[turn % len(chunk_steps)])
        grid = np.arange(start + step, end + 1, step)
        newest = np.searchsorted(samples, grid, side="right") - 1
        visible = newest >= 0
        sample = samples[newest] if samples.size else grid * 0
        visible &= grid - sample < LOOKBACK
        marked = np.searchsorted(marks, grid, side="right") - 1
        if marks.size:
            visible &= (marked < 0) | (marks[marked] < sample)
        cut = lambda times, lo=start, hi=end: times[(times > lo) & (times <= hi)]  # noqa: E731
        fires = {KEY: cut(firing), WATCHDOG: cut(rival)}
        chunk = Chunk(
            start,
            end,
            {key: times for key, times in fires.items() if times.size},
            {KEY: cut(pending)} if cut(pending).size else {},
            grid,
            {KEY: grid[visible], WATCHDOG: grid},
            {(): cut(np.unique(-(-scrapes // STRETCH) * STRETCH))},
        )
        found += episodes.feed(chunk)
        start, turn = end, turn + 1
    found += episodes.finish(start)
    return {(e.start, e.end) for e in found if e.labels == KEY}


def runs(flags: list[tuple[bool, int]]) -> list[bool]:
    return [value for value, length in flags for _ in range(length)]


def lengths(flags: list[bool]) -> list[tuple[bool, int]]:
    return [(value, len(list(group))) for value, group in groupby(flags)]


stretches = st.lists(st.tuples(st.booleans(), st.integers(1, 25)), min_size=1, max_size=8)
chunkings = st.lists(st.integers(1, 200), min_size=1, max_size=4)
phases = st.integers(0, 49).map(lambda part: part * SLOT // 50)


def ambiguous(seen: Remembered) -> bool:
    """Single samples a constant distance apart without markers: flapping, or a longer interval."""
    samples = sorted(seen.firing + seen.pending)
    gaps = np.diff(samples)
    wide = [
        g > 1.5 * SLOT and not any(a < m < b for m in seen.markers)
        for g, a, b in zip(gaps, samples, samples[1:], strict=False)
    ]
    pairs = zip(zip(gaps, wide, strict=True), zip(gaps[1:], wide[1:], strict=True), strict=False)
    return any(w and v and abs(g - h) <= 0.25 * max(g, h) for (g, w), (h, v) in pairs)


def settled(episodes: Iterable[Episode], seen: Remembered) -> set[Episode]:
    """Episodes; of what just ended it is not yet known, a later import tells."""
    return {(start, None if start == seen.just_ended else end) for start, end in episodes}


@settings(max_examples=80, deadline=None)
@given(stretches, stretches, st.integers(0, 6), phases, phases, chunkings)
def test_episodes_of_a_live_server_are_the_true_ones(
    problem, up, for_slots, phase, scraped, chunks
):
    wrong = runs(problem)
    running = runs([*up, (True, len(wrong))])[: len(wrong)]
    # A server that dies again while it is still blind leaves nothing to tell from.
    assume(all(n > BLIND for value, n in lengths(running)[1:-1] if value))
    seen = live(wrong, running, for_slots, phase=phase, scraped=scraped)
    assume(not ambiguous(seen))
    found = rebuild(seen, SLOT, chunks, watchdog=True)
    assert settled(found, seen) == settled({(start, end) for start, end in seen.truth}, seen)


@settings(max_examples=80, deadline=None)
@given(stretches, st.integers(0, 6), phases, chunkings)
def test_markers_alone_show_what_ended(problem, for_slots, phase, chunks):
    wrong = runs(problem)
    seen = live(wrong, [True] * len(wrong), for_slots, phase=phase, scraped=0)
    seen.scrapes.clear()
    found = rebuild(seen, SLOT, chunks, watchdog=False)
    assert settled(found, seen) == settled({(start, end) for start, end in seen.truth}, seen)


@settings(max_examples=80, deadline=None)
@given(stretches, stretches, st.integers(0, 6), phases, phases, chunkings)
def test_scrapes_alone_never_cut_an_alert_that_outlives_a_stop(
    problem, up, for_slots, phase, scraped, chunks
):
    wrong = runs(problem)
    running = runs([*up, (True, len(wrong))])[: len(wrong)]
    assume(all(n > BLIND for value, n in lengths(running)[1:-1] if value))
    seen = live(wrong, running, for_slots, phase=phase, scraped=scraped)
    found = rebuild(seen, SLOT, chunks, watchdog=False)
    # It may take two for one (cleared and back within a few evaluations of a start), never more.
    assert {start for start, _ in found} <= {start for start, _ in seen.truth}


@settings(max_examples=80, deadline=None)
@given(stretches, st.integers(0, 6), phases, chunkings)
def test_without_markers_other_alerts_show_what_ended(problem, for_slots, phase, chunks):
    wrong = runs(problem)
    seen = live(wrong, [True] * len(wrong), for_slots, phase=phase, scraped=0)
    seen.markers.clear()
    assume(not ambiguous(seen))
    found = rebuild(seen, SLOT, chunks, markers=False, watchdog=True)
    assert settled(found, seen) == settled({(start, end) for start, end in seen.truth}, seen)


@settings(max_examples=80, deadline=None)
@given(
    stretches, stretches, st.integers(0, 6), phases, phases, chunkings, st.booleans(), st.booleans()
)
def test_the_size_of_the_chunks_never_changes_the_episodes(
    problem, up, for_slots, phase, scraped, chunks, markers, watchdog
):
    wrong = runs(problem)
    running = runs([*up, (True, len(wrong))])[: len(wrong)]
    seen = live(wrong, running, for_slots, phase=phase, scraped=scraped)
    for step in (5_000, 40_000):
        whole = rebuild(seen, step, [10_000], markers=markers, watchdog=watchdog)
        for sizes in ([1], chunks):
            assert rebuild(seen, step, sizes, markers=markers, watchdog=watchdog) == whole
