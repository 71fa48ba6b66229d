"""Forecast + policy -> what to do, and why: for one alert or a whole history, by the same code."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisegate.alert import Action, Decision, Reason
from noisegate.decision.history import STEPS, Singles, grid
from noisegate.decision.outcomes import Bools, Floats, Ints

Steps = npt.NDArray[np.uint8]

SHORTEST_HOLD_S = 1.0
"""A hold under a second is a page: no silence is that quick."""

FLOORS = (Reason.SEVERITY_FLOOR, Reason.PROTECTED_LABEL, Reason.TOO_FEW_OUTCOMES)
"""Floors that no score can pass, in the order in which they are checked; see `floors`."""


def hold_steps(
    cdf: Singles, prices: Sequence[float] | Floats, transient_s: Floats, max_hold_s: Floats
) -> Steps:
    """Choose each alert's hold at each price of delay.

    The hold h maximises P(clears within h) - price x h x P(real): what it keeps off the pager,
    less what it costs if the alert is real.

    Args:
        cdf: P(clears within each step of the grid), shape (n, STEPS).
        prices: prices of delay, shape (p,).
        transient_s: T of each alert, seconds, shape (n,).
        max_hold_s: longest hold of each alert, seconds, shape (n,).

    Returns:
        Steps of the grid, shape (n, p); 0 pages at once, k holds for grid(T)[k - 1] seconds.
    """
    h = grid(1.0)[None, :] * transient_s[:, None]
    gain = np.where((h <= max_hold_s[:, None]) & (h >= SHORTEST_HOLD_S), cdf, -1.0)
    cost = h * (1.0 - cdf[:, -1:].astype(np.float64))
    steps = np.empty((len(cdf), len(prices)), dtype=np.uint8)
    for j, price in enumerate(prices):
        score = gain - price * cost
        best = score.argmax(axis=1)
        worth = np.take_along_axis(score, best[:, None], axis=1)[:, 0] > 0
        steps[:, j] = np.where(worth, best + 1, 0)
    return steps


def seconds(steps: npt.NDArray[np.integer], transient_s: Floats) -> Floats:
    """Turn steps of the grid into seconds, shape as `steps`; `transient_s` broadcasts to it."""
    return np.concatenate([[0.0], grid(1.0)])[steps] * transient_s


def floors(
    severity: Sequence[str | None],
    protected: Bools,
    known: Ints,
    min_outcomes: int,
    never_hold: Sequence[str],
    ranked: Sequence[str],
) -> npt.NDArray[np.int8]:
    """Say which floor keeps each alert from being held.

    A history without severities has no severity floor; beside others, a missing severity is
    one that the settings do not rank.

    Args:
        severity: of each alert, n items.
        protected: carries a protected label, shape (n,).
        known: known outcomes of fingerprint, group and everything, shape (n, 3).
        min_outcomes: at least so many must be known at one of these levels.
        never_hold: severities that always page.
        ranked: severities that may be held otherwise.

    Returns:
        Index into FLOORS, -1 where no floor applies, shape (n,).
    """
    values = {value for value in severity if value is not None}
    may_hold = {v: v.lower() in ranked and v.lower() not in never_hold for v in values}
    blocked = np.array([bool(values) and not may_hold.get(v or "", False) for v in severity], bool)
    few = known.max(axis=1, initial=0) < min_outcomes
    return np.select([blocked, protected, few], [0, 1, 2], -1).astype(np.int8)


def decision(floor: int, step: int | None, transient_s: float) -> Decision:
    """Put one alert's floor (index into FLOORS or -1) and step (None: no operating point) in words."""
    if floor >= 0:
        return Decision(Action.PAGE, FLOORS[floor])
    if step is None:
        return Decision(Action.PAGE, Reason.NO_OPERATING_POINT)
    if step == 0:
        return Decision(Action.PAGE, Reason.NOT_WORTH_THE_DELAY)
    assert step <= STEPS
    return Decision(Action.HOLD, Reason.USUALLY_CLEARS, float(grid(transient_s)[step - 1]))
