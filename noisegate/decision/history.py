"""Past outcomes of fingerprint, service, group, template and everything, batch and live.

The three functions `_saw_fire`, `_saw_outcome` and `_look` are compiled (numba) and are the only
code that changes or reads the state. The batch path calls them in a loop over a whole history, the
live path one alert at a time, so both give the same bits. Nothing is read before it was known.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from noisegate.alert import MICROS
from noisegate.decision.outcomes import Floats, Ints, Outcomes

Ids = npt.NDArray[np.int32]
Singles = npt.NDArray[np.float32]

STEPS = 48
"""Steps of the duration grid between 0 and T; one more bucket means "outlives T"."""

LEVELS = ("fingerprint", "service", "group", "all", "template")
FINGERPRINT, SERVICE, GROUP, ALL, TEMPLATE = range(5)

NEIGHBOURS = 8
"""Nearest templates whose history an alert may borrow."""

# Decay per event of the duration histograms: 0.93 forgets a fingerprint's habit in about 14 alerts.
HISTOGRAM_DECAY = np.array([0.93, 0.98, 0.98, 0.998, 0.98])
EVENT_DECAYS = np.array([0.5, 0.8, 0.95, 0.99])
TIME_DECAYS_S = np.array([3_600.0, 86_400.0, 14 * 86_400.0])
FIRE_DECAYS_S = np.array([300.0, 3_600.0, 86_400.0])
BACK_OFF = (2.0, 3.0)
"""Weight, in alerts, of the group behind a fingerprint, and of everything behind a group."""
RECENT = 5


def grid(transient_s: float) -> Floats:
    """Upper ends of the steps, seconds, shape (STEPS,): fine where short holds buy most."""
    return transient_s * (np.arange(1, STEPS + 1) / STEPS) ** 1.5


class State(NamedTuple):
    """What is remembered, one row a key. All levels share one numbering of keys (first axis: K).

    Attributes:
        level: level of each key, shape (K,).
        histogram: decayed counts on the duration grid, shape (K, STEPS + 1).
        events: event-decayed (weight, transient, log seconds to clear), shape (K, 4, 3).
        times: time-decayed (weight, transient), shape (K, 3, 2).
        fires: time-decayed fires, shape (K, 3).
        clock: time of the last fire and the last outcome, seconds; -inf: none, shape (K, 2).
        recent: the last outcomes' durations over T (1: outlived it; -1: none), shape (K, RECENT).
        known: known outcomes, shape (K,).
        open: firing and not yet known, shape (K,).
    """

    level: Ids
    histogram: Singles
    events: Floats
    times: Floats
    fires: Floats
    clock: Floats
    recent: Floats
    known: Ints
    open: Ints


def empty_state(levels: Ids) -> State:
    """A state that has seen nothing, for keys of the given levels, shape (K,)."""
    n = len(levels)
    return State(
        level=levels.astype(np.int32),
        histogram=np.zeros((n, STEPS + 1), dtype=np.float32),
        events=np.zeros((n, len(EVENT_DECAYS), 3)),
        times=np.zeros((n, len(TIME_DECAYS_S), 2)),
        fires=np.zeros((n, len(FIRE_DECAYS_S))),
        clock=np.full((n, 2), -np.inf),
        recent=np.full((n, RECENT), -1.0),
        known=np.zeros(n, dtype=np.int64),
        open=np.zeros(n, dtype=np.int64),
    )


def _level_names(level: str) -> list[str]:
    names = [f"{level}_known", f"{level}_open", f"{level}_since_fire", f"{level}_since_outcome"]
    for decay in EVENT_DECAYS:
        names += [f"{level}_share@{decay:g}", f"{level}_clear_s@{decay:g}"]
    for tau in TIME_DECAYS_S:
        names += [f"{level}_weight@{tau:g}s", f"{level}_share@{tau:g}s"]
    return names + [f"{level}_fires@{tau:g}s" for tau in FIRE_DECAYS_S]


FEATURES: tuple[str, ...] = (
    *(name for level in LEVELS[:4] for name in _level_names(level)),
    *(f"recent_{i}" for i in range(RECENT)),
    "hour_sin",
    "hour_cos",
    "weekday",
    "neighbour_similarity",
    "neighbour_weight",
    "neighbour_share",
)
"""Names of the columns of the feature matrix."""

CURVES = ("fingerprint", "group", "all", "neighbours")
"""Whose decayed duration distribution each curve is, each backed off to the next wider one."""

jit: Callable[..., Callable[..., Any]] = numba.njit(cache=True, nogil=True, fastmath=False)


@jit
def _saw_fire(state, keys, at_s):  # type: ignore[no-untyped-def]
    """Remember that an alert with these keys fired."""
    for key in keys:
        if key < 0:
            continue
        gap = at_s - state.clock[key, 0]
        for q in range(len(FIRE_DECAYS_S)):
            state.fires[key, q] = state.fires[key, q] * np.exp(-gap / FIRE_DECAYS_S[q]) + 1.0
        state.clock[key, 0] = at_s
        state.open[key] += 1


@jit
def _saw_outcome(state, keys, at_s, clear_s, transient, transient_s, bucket):  # type: ignore[no-untyped-def]
    """Remember how an alert with these keys ended; `bucket` is STEPS if it outlived T."""
    for key in keys:
        if key < 0:
            continue
        decay = np.float32(HISTOGRAM_DECAY[state.level[key]])
        for b in range(STEPS + 1):
            state.histogram[key, b] *= decay
        state.histogram[key, bucket] += np.float32(1.0)
        log_clear = np.log1p(clear_s) if transient else 0.0
        for r in range(len(EVENT_DECAYS)):
            for c in range(3):
                state.events[key, r, c] *= EVENT_DECAYS[r]
            state.events[key, r, 0] += 1.0
            if transient:
                state.events[key, r, 1] += 1.0
                state.events[key, r, 2] += log_clear
        gap = at_s - state.clock[key, 1]
        for q in range(len(TIME_DECAYS_S)):
            fade = np.exp(-gap / TIME_DECAYS_S[q])
            state.times[key, q, 0] = state.times[key, q, 0] * fade + 1.0
            state.times[key, q, 1] *= fade
            if transient:
                state.times[key, q, 1] += 1.0
        state.clock[key, 1] = at_s
        for r in range(RECENT - 1, 0, -1):
            state.recent[key, r] = state.recent[key, r - 1]
        state.recent[key, 0] = clear_s / transient_s if transient else 1.0
        state.known[key] += 1
        state.open[key] -= 1


@jit
def _look(state, keys, near, similarity, at_s, features, curves, counts):  # type: ignore[no-untyped-def]
    """Write the features and the duration distributions of an alert that fires now."""
    column = 0
    for level in range(4):
        key = keys[level]
        features[column] = np.log1p(state.known[key])
        features[column + 1] = state.open[key]
        features[column + 2] = np.log1p(min(at_s - state.clock[key, 0], 1e9))
        features[column + 3] = np.log1p(min(at_s - state.clock[key, 1], 1e9))
        column += 4
        for r in range(len(EVENT_DECAYS)):
            weight, cleared = state.events[key, r, 0], state.events[key, r, 1]
            features[column] = cleared / weight if weight > 0 else np.nan
            features[column + 1] = state.events[key, r, 2] / cleared if cleared > 0 else np.nan
            column += 2
        gap = at_s - state.clock[key, 1]
        for q in range(len(TIME_DECAYS_S)):
            weight = state.times[key, q, 0] * np.exp(-gap / TIME_DECAYS_S[q])
            features[column] = weight
            # The share does not fade: numerator and denominator do alike.
            total = state.times[key, q, 0]
            features[column + 1] = state.times[key, q, 1] / total if total > 0 else np.nan
            column += 2
        gap = at_s - state.clock[key, 0]
        for q in range(len(FIRE_DECAYS_S)):
            features[column] = state.fires[key, q] * np.exp(-gap / FIRE_DECAYS_S[q])
            column += 1
    for r in range(RECENT):
        features[column] = state.recent[keys[0], r]
        column += 1
    day = at_s / 86_400.0
    features[column] = np.sin(2 * np.pi * day)
    features[column + 1] = np.cos(2 * np.pi * day)
    features[column + 2] = np.floor(day) % 7
    column += 3

    own, group, everything = keys[0], keys[2], keys[3]
    counts[0], counts[1] = state.known[own], state.known[group]
    counts[2] = state.known[everything]
    total_all, total_group, total_own = 0.0, 0.0, 0.0
    for b in range(STEPS + 1):
        total_all += state.histogram[everything, b]
        total_group += state.histogram[group, b]
        total_own += state.histogram[own, b]
    total_near, best, cleared = 0.0, 0.0, 0.0
    for b in range(STEPS + 1):
        curves[3, b] = 0.0
    for j in range(len(near)):
        if near[j] >= 0 and state.known[near[j]] > 0:
            best = max(best, similarity[j])
            weight = max(similarity[j], 0.0) ** 4
            for b in range(STEPS + 1):
                share = weight * state.histogram[near[j], b]
                curves[3, b] += share
                total_near += share
                if b < STEPS:
                    cleared += share
    features[column] = best if total_near > 0 else np.nan
    features[column + 1] = total_near
    features[column + 2] = cleared / total_near if total_near > 0 else np.nan
    for b in range(STEPS + 1):
        p = state.histogram[everything, b] / total_all if total_all > 0 else 1.0 / (STEPS + 1)
        curves[2, b] = p
        p_near = (curves[3, b] + BACK_OFF[1] * p) / (total_near + BACK_OFF[1])
        curves[3, b] = p_near
        p = (state.histogram[group, b] + BACK_OFF[1] * p) / (total_group + BACK_OFF[1])
        curves[1, b] = p
        curves[0, b] = (state.histogram[own, b] + BACK_OFF[0] * p) / (total_own + BACK_OFF[0])


@jit
def _replay(  # type: ignore[no-untyped-def]
    state,
    keys,
    near,
    similarity,
    start_s,
    known_s,
    order,
    clear_s,
    transient,
    transient_s,
    buckets,
    first,
    last,
    features,
    curves,
    counts,
):
    """Run alerts through the state; on return it holds what is known at the last start."""
    fired, learnt = 0, 0
    for i in range(last):
        now = start_s[i]
        while True:
            fire_s = start_s[fired] if fired < i else np.inf
            outcome_s = known_s[order[learnt]] if learnt < len(order) else np.inf
            # Strictly before now: what happens at the same moment is not known yet.
            if min(fire_s, outcome_s) >= now:
                break
            if fire_s <= outcome_s:
                _saw_fire(state, keys[fired], fire_s)
                fired += 1
            else:
                k = order[learnt]
                _saw_outcome(
                    state, keys[k], outcome_s, clear_s[k], transient[k], transient_s[k], buckets[k]
                )
                learnt += 1
        if i >= first:
            _look(
                state,
                keys[i],
                near[i],
                similarity[i],
                now,
                features[i - first],
                curves[i - first],
                counts[i - first],
            )


class Keys(NamedTuple):
    """Whose history each alert belongs to.

    Attributes:
        ids: key of each alert at each level (-1: none), in one numbering, shape (n, 5).
        levels: level of each key, shape (K,).
        near: template keys whose history the alert may borrow (-1: none), shape (n, NEIGHBOURS).
        similarity: cosine similarity of each, shape (n, NEIGHBOURS).
    """

    ids: Ids
    levels: Ids
    near: Ids
    similarity: Singles


class Seen(NamedTuple):
    """What was known of each alert when it fired.

    Attributes:
        features: shape (n, len(FEATURES)); NaN where nothing is known.
        curves: duration distributions on the grid, the last bucket "outlives T"; shape
            (n, len(CURVES), STEPS + 1).
        known: known outcomes of fingerprint, group and everything, shape (n, 3).
    """

    features: Singles
    curves: Singles
    known: Ids

    def rows(self, which: slice | Ints) -> "Seen":
        """The same of some of the alerts."""
        return Seen(self.features[which], self.curves[which], self.known[which])


def buckets(outcome: Outcomes, transient_s: Floats) -> Ints:
    """Bucket of the duration grid that each alert fell into, shape (n,); STEPS: it outlived T."""
    step = np.searchsorted(grid(1.0), outcome.clear_s / transient_s, side="left")
    return np.where(outcome.transient, np.minimum(step, STEPS - 1), STEPS).astype(np.int64)


def replay(
    outcome: Outcomes, keys: Keys, transient_s: Floats, first: int = 0
) -> tuple[Seen, State]:
    """Replay a history in the order in which it became known.

    Args:
        outcome: n alerts sorted by start.
        keys: their keys.
        transient_s: T of each alert, seconds, shape (n,).
        first: features are written from this alert on; earlier ones are only remembered.

    Returns:
        What was known of alerts first..n when each fired, and the state at the last start.
    """
    n = len(outcome)
    state = empty_state(keys.levels)
    seen = Seen(
        np.empty((n - first, len(FEATURES)), dtype=np.float32),
        np.empty((n - first, len(CURVES), STEPS + 1), dtype=np.float32),
        np.empty((n - first, 3), dtype=np.int32),
    )
    known_s = np.where(outcome.censored, np.inf, outcome.known_us / MICROS)
    _replay(
        state,
        keys.ids,
        keys.near,
        keys.similarity,
        outcome.starts_us / MICROS,
        known_s,
        np.argsort(known_s, kind="stable"),
        outcome.clear_s,
        outcome.transient,
        transient_s,
        buckets(outcome, transient_s),
        first,
        n,
        seen.features,
        seen.curves,
        seen.known,
    )
    return seen, state
