"""Single gaps, each with what the server shows of it, and what becomes of the alert."""

import numpy as np
import pytest

from noisegate.adapters.prometheus.episodes import (
    Chunk,
    Episode,
    Episodes,
    Labels,
    Reading,
)
from noisegate.adapters.prometheus.replicas import Uniter

A: Labels = (("alertname", "A"),)
FAST: Labels = (("alertname", "Fast"),)
SLOW: Labels = (("alertname", "Slow"),)
INTERVALS = {A: 60, FAST: 15, SLOW: 60}


def spans(
    active: list[int],
    *,
    fast: list[int] | None = None,
    slow: list[int] | None = None,
    hidden: list[int] | None = None,
    end: int = 3600,
    chunk: int = 3600,
) -> list[tuple[int, int | None]]:
    """Episodes of A, in seconds, from its samples and those of alerts of other intervals."""
    reading = Reading(lambda key: INTERVALS[key] * 1000, lambda _: (), lookback=300_000)
    episodes = Episodes(reading)
    found: list[Episode] = []
    named = {A: active, FAST: fast or [], SLOW: slow or []}
    for start in range(0, end, chunk):
        grid = np.arange(start + 15, min(end, start + chunk) + 1, 15)
        firing = {
            key: np.array([t * 1000 for t in times if start < t <= grid[-1]], np.int64)
            for key, times in named.items()
        }
        gone = np.isin(grid, hidden or [])
        seen = [any(t <= p < t + 300 for t in active) for p in grid]
        found += episodes.feed(
            Chunk(
                start=start * 1000,
                end=int(grid[-1]) * 1000,
                firing={key: times for key, times in firing.items() if times.size},
                pending={},
                grid=grid * 1000,
                present={
                    A: grid[np.array(seen) & ~gone] * 1000,
                    FAST: grid * 1000,
                    SLOW: grid * 1000,
                },
                activity={},
            )
        )
    found += episodes.finish(end * 1000)
    seconds = lambda ms: None if ms is None else ms // 1000  # noqa: E731
    return sorted((seconds(e.start), seconds(e.end)) for e in found if e.labels == A)


EVERY_MINUTE = list(range(60, 3600, 60))


@pytest.mark.parametrize("chunk", [60, 600, 3600])
@pytest.mark.parametrize(
    ("active", "shown", "expected"),
    [
        pytest.param(
            [60, 120, 240, 300], {"hidden": [180, 195, 210, 225]}, [(60, 180), (240, None)],
            id="a marker ends it, however short the gap"),
        pytest.param(
            [60, 120, 240, 300], {}, [(60, None)],
            id="nobody was evaluated: the server was down"),
        pytest.param(
            [60, 120, 360, 420], {"slow": EVERY_MINUTE}, [(60, 180), (360, 480)],
            id="another alert of its interval was evaluated: it had ended"),
        pytest.param(
            # Back at 200: the fast group writes from 245 on, this one from 360.
            [60, 120, 360, 420], {"fast": list(range(245, 600, 15)), "end": 480}, [(60, None)],
            id="a faster group is sooner back after a start: no proof"),
        pytest.param(
            [60, 120, 660, 720], {"fast": list(range(245, 900, 15)), "end": 780},
            [(60, 180), (660, None)],
            id="but a proof when it is back for long"),
        pytest.param(
            [60, 120, 480, 540], {"fast": [135, 150, 165, 180], "end": 600}, [(60, None)],
            id="a server that stops writes others a little longer: no proof"),
        pytest.param(
            list(range(60, 2000, 240)), {"slow": EVERY_MINUTE}, [(60, 2040)],
            id="it was evaluated that seldom: a spacing, no gaps"),
        pytest.param(
            [60, 120, 360, 600, 660], {"slow": [360, 420, 480, 540, 600, 660]},
            [(60, 420), (600, None)],
            id="a stop of the server as long as a later gap is no spacing"),
    ],
)  # fmt: skip
def test_a_gap_is_an_end_or_a_stop_of_the_server(active, shown, expected, chunk):
    assert spans(active, **shown, chunk=chunk) == expected


def part(replica: str, start: int, end: int | None) -> Episode:
    return Episode((("alertname", "A"), ("replica", replica)), start, end, seen=start)


def united(*parts: Episode) -> list[tuple[int, int | None]]:
    uniter = Uniter(lambda labels: labels[:1])
    uniter.add(parts)
    return [(alert.start, alert.end) for alert in uniter.ready(None, {})]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param([part("a", 1, 9), part("b", 3, 12)], [(1, 12)], id="overlapping ones are one"),
        pytest.param([part("a", 1, 9), part("b", 10, 12)], [(1, 9), (10, 12)], id="others are not"),
        pytest.param([part("a", 1, 9), part("a", 9, 12)], [(1, 9), (9, 12)],
                     id="one series is never united with itself"),
        pytest.param([part("a", 1, None), part("b", 2, 4), part("b", 6, 8)], [(1, None)],
                     id="one that goes on covers what its twin saw in pieces"),
    ],
)  # fmt: skip
def test_replicas_are_united(parts, expected):
    assert united(*parts) == expected


def test_an_alert_waits_for_its_replica_that_still_fires():
    uniter = Uniter(lambda labels: labels[:1])
    uniter.add([part("a", 1, 9)])
    twin = {part("b", 4, None).labels: 4}
    assert uniter.ready(20, twin) == []
    assert uniter.oldest() == 1
    assert [(alert.start, alert.end) for alert in uniter.ready(20, {})] == [(1, 9)]
