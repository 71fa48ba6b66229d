"""Forecast + policy -> what to do, and why: for one alert or a whole history, by the same code."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisegate.alert import Action, Decision, Reason
from noisegate.decision.history import STEPS, Singles, grid, jit
from noisegate.decision.outcomes import NEVER, Bools, Floats, Ints, Outcomes

Steps = npt.NDArray[np.uint8]

SHORTEST_HOLD_S = 1.0
"""A hold under a second is a page: no silence is that quick."""

FLOORS = (
    Reason.SEVERITY_FLOOR,
    Reason.PROTECTED_LABEL,
    Reason.WANTED_BY_PEOPLE,
    Reason.TOO_FEW_OUTCOMES,
)
"""Floors that no score can pass, in the order in which they are checked; see `floors`."""


def hold_steps(
    cdf: Singles, prices: Sequence[float] | Floats, transient_s: Floats, max_hold_s: Floats
) -> Steps:
    """Choose each alert's hold at each price of delay.

    The hold h maximises P(clears within h) - price x h x P(real): what it keeps off the pager,
    less what it costs if the alert is real.

    Args:
        cdf: P(clears within each step of the grid), shape (n, STEPS).
        prices: prices of delay, in noise alerts per T of delay, shape (p,).
        transient_s: T of each alert, seconds, shape (n,).
        max_hold_s: longest hold of each alert, seconds, shape (n,).

    Returns:
        Steps of the grid, shape (n, p); 0 pages at once, k holds for grid(T)[k - 1] seconds.
    """
    steps = np.zeros((len(cdf), len(prices)), dtype=np.uint8)
    _choose(cdf, np.asarray(prices, dtype=np.float64), transient_s, max_hold_s, grid(1.0), steps)
    return steps


@jit
def _choose(cdf, prices, transient_s, max_hold_s, relative, steps):  # type: ignore[no-untyped-def]
    for i in range(len(cdf)):
        real = 1.0 - cdf[i, -1]
        last = len(relative)
        for p in range(len(prices)):
            # A dearer delay never holds longer, so what was best before bounds the search.
            if p > 0 and prices[p] >= prices[p - 1]:
                last = steps[i, p - 1]
            best = 0.0
            for k in range(last):
                hold_s = relative[k] * transient_s[i]
                if hold_s < SHORTEST_HOLD_S:
                    continue
                if hold_s > max_hold_s[i]:
                    break
                score = cdf[i, k] - prices[p] * relative[k] * real
                if score > best:
                    best = score
                    steps[i, p] = k + 1


def seconds(steps: npt.NDArray[np.integer], transient_s: Floats) -> Floats:
    """Turn steps of the grid into seconds, shape as `steps`; `transient_s` broadcasts to it."""
    relative = np.concatenate([[0.0], grid(1.0)])
    return np.asarray(relative[steps] * transient_s, dtype=np.float64)


def floors(
    severity: Sequence[str | None],
    protected: Bools,
    wanted: Bools,
    known: npt.NDArray[np.integer],
    min_outcomes: int,
    never_hold: Sequence[str],
    ranked: Sequence[str],
) -> npt.NDArray[np.int8]:
    """Say which floor keeps each alert from being held.

    A history without severities has no severity floor; once one alert had one, a missing severity
    is one that the settings do not rank.

    Args:
        severity: of each alert, n items in order of start.
        protected: carries a protected label, shape (n,).
        wanted: people want alerts of its fingerprint even when they clear, shape (n,).
        known: known outcomes of fingerprint, group and everything, shape (n, 3).
        min_outcomes: at least so many must be known at one of these levels.
        never_hold: severities that always page.
        ranked: severities that may be held otherwise.

    Returns:
        Index into FLOORS, -1 where no floor applies, shape (n,).
    """
    values = {value for value in severity if value is not None}
    may_hold = {v: v.lower() in ranked and v.lower() not in never_hold for v in values}
    ranks = np.logical_or.accumulate([v is not None for v in severity])
    blocked = ranks & ~np.array([may_hold.get(v or "", False) for v in severity], dtype=np.bool_)
    few = known.max(axis=1, initial=0) < min_outcomes
    return np.select([blocked, protected, wanted, few], [0, 1, 2, 3], -1).astype(np.int8)


def wanted_by_people(fingerprint: Ints, outcome: Outcomes) -> Bools:
    """Say of which alerts it was known, when they fired, that people want them though they clear.

    That is so while at least a fifth of the verdicts known on the fingerprint's alerts that cleared
    by themselves says `real`: one slip of the pen among many does not count.

    Args:
        fingerprint: number of each alert's fingerprint, shape (n,).
        outcome: n alerts sorted by start.
    """
    judged = np.flatnonzero((outcome.verdict_us != NEVER) & outcome.transient)
    judged = judged[np.argsort(outcome.verdict_us[judged], kind="stable")]
    result = np.zeros(len(outcome), dtype=np.bool_)
    for one in np.unique(fingerprint[judged[outcome.wanted[judged]]]):
        own = judged[fingerprint[judged] == one]
        fired = np.flatnonzero(fingerprint == one)
        real = np.concatenate([[0], np.cumsum(outcome.wanted[own])])
        so_far = np.searchsorted(outcome.verdict_us[own], outcome.starts_us[fired], side="left")
        result[fired] = (real[so_far] > 0) & (real[so_far] >= 0.2 * so_far)
    return result


def decision(floor: int, step: int | None, transient_s: float) -> Decision:
    """Put one alert's floor (index into FLOORS or -1) and step (None: no price) in words."""
    if floor >= 0:
        return Decision(Action.PAGE, FLOORS[floor])
    if step is None:
        return Decision(Action.PAGE, Reason.NO_OPERATING_POINT)
    if step == 0:
        return Decision(Action.PAGE, Reason.NOT_WORTH_THE_DELAY)
    assert step <= STEPS
    return Decision(Action.HOLD, Reason.USUALLY_CLEARS, float(grid(transient_s)[step - 1]))
