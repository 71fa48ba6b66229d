"""Policy + replayed past -> operating points: the lowest price of delay that keeps the promise.

A hold changes no duration, so every price can be replayed on past alerts. The price in force is the
lowest one whose replayed mean delay of real alerts is probably within the budget (AIM), and almost
surely within BOUND times the budget (CONFIDENCE). Only outcomes known when choosing count.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from noisegate.decision.decide import Steps, hold_steps, seconds
from noisegate.decision.history import grid
from noisegate.decision.outcomes import Bools, Floats, Ints
from noisegate.decision.policy import CANDIDATES, NO_POINT, PRICES, OperatingPoint
from noisegate.learning.examples import Examples
from noisegate.model.durations import Forecast

BOUND = 1.1
"""The upper bound of the mean delay may exceed the budget by this factor."""
CONFIDENCE = 0.95
AIM = 0.8
"""Confidence with which the mean itself is within the budget: one that met it exactly would be over
it in half of all cases."""
BLOCKS = 50
"""Blocks of consecutive alerts that bounds are taken over: alerts come in bursts."""
LEAST_REAL = 30
"""Known real alerts below which nothing is promised, so everything pages."""


def replayed_steps(examples: Examples, forecast: Forecast) -> Steps:
    """Hold of each alert at each price, 0 where a floor applies, shape (n, len(PRICES))."""
    steps = np.zeros((len(examples), len(PRICES)), dtype=np.uint8)
    may = examples.floor < 0
    steps[may] = hold_steps(
        forecast.cdf[may], PRICES, examples.transient_s[may], examples.max_hold_s[may]
    )
    return steps


def kept_off(hold_s: Floats, clear_s: Floats) -> Bools:
    """Whether an alert that clears after `clear_s` never pages: its hold lasts as long."""
    return (hold_s > 0) & (clear_s <= hold_s)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The replayed past of one candidate in the order in which it became known.

    Attributes:
        known_us: when each real alert became known, ascending, shape (r,).
        delay_sum_s: delay of the first k real alerts at each price, shape (r + 1, p).
        noise_known_us: when each noise alert became known, ascending, shape (m,).
        off_sum: how many of the first k noise alerts each price keeps off, shape (m + 1, p).
    """

    known_us: Ints
    delay_sum_s: Floats
    noise_known_us: Ints
    off_sum: Ints

    @classmethod
    def of(cls, examples: Examples, steps: Steps, rows: Bools | None = None) -> "Ledger":
        """Replay the alerts in `rows` (default: all) at every price."""
        outcome = examples.outcome
        chosen = ~outcome.censored if rows is None else rows & ~outcome.censored
        ordered = np.argsort(outcome.known_us, kind="stable")
        # As it stood then: a verdict given days later must not price what was decided before.
        real = ordered[(chosen & outcome.real_then)[ordered]]
        noise = ordered[(chosen & outcome.noise_then)[ordered]]
        delay = seconds(steps[real], examples.transient_s[real, None])
        hold = seconds(steps[noise], examples.transient_s[noise, None])
        off = kept_off(hold, outcome.clear_s[noise, None])
        width = steps.shape[1]
        return cls(
            outcome.known_us[real],
            np.concatenate([np.zeros((1, width)), np.cumsum(delay, axis=0)]),
            outcome.known_us[noise],
            np.concatenate([np.zeros((1, width), np.int64), np.cumsum(off, axis=0)]),
        )

    def real_before(self, at_us: Ints) -> Ints:
        """Real alerts known before each moment."""
        return np.searchsorted(self.known_us, at_us, side="left")

    def mean_delay_s(self, at_us: Ints) -> Floats:
        """Mean delay of the real alerts known before each moment, at each price, shape (k, p)."""
        count = self.real_before(at_us)
        return np.asarray(self.delay_sum_s[count] / np.maximum(count, 1)[:, None])

    def upper_delay_s(self, at_us: Ints, confidence: float = CONFIDENCE) -> Floats:
        """Its upper bound: Student's t over the means of consecutive blocks, shape (k, p)."""
        mean, error, degrees = self._blocks(at_us)
        return mean + _quantiles(confidence, degrees) * error

    def _blocks(self, at_us: Ints) -> tuple[Floats, Floats, Ints]:
        """Mean over blocks and its standard error, shape (k, p), with degrees of freedom, (k,)."""
        count = self.real_before(at_us)
        blocks = np.clip(count // 2, 2, BLOCKS)
        mean = np.empty((len(count), self.delay_sum_s.shape[1]))
        error = np.empty_like(mean)
        for row, (n, b) in enumerate(zip(count, blocks, strict=True)):
            edges = np.arange(b + 1) * n // b
            size = np.maximum(np.diff(edges), 1)[:, None]
            means = np.diff(self.delay_sum_s[edges], axis=0) / size
            mean[row] = means.mean(axis=0)
            error[row] = means.std(axis=0, ddof=1) / np.sqrt(b)
        return mean, error, blocks - 1

    def choose(self, at_us: Ints, budget_s: float) -> Ints:
        """Index of the price in force at each moment, -1 where there is too little evidence."""
        mean, error, degrees = self._blocks(at_us)
        probably, surely = (
            mean + _quantiles(confidence, degrees) * error for confidence in (AIM, CONFIDENCE)
        )
        kept = (probably <= budget_s) & (surely <= BOUND * budget_s)
        found = kept.any(axis=1) & (self.real_before(at_us) >= LEAST_REAL)
        return np.where(found, kept.argmax(axis=1), -1)

    def point(self, at_us: int, budget_s: float) -> OperatingPoint:
        """The operating point in force at one moment, and what it rests on."""
        at = np.array([at_us])
        price = int(self.choose(at, budget_s)[0])
        if price < 0:
            return NO_POINT
        noise = int(np.searchsorted(self.noise_known_us, at_us, side="left"))
        return OperatingPoint(
            price=float(PRICES[price]),
            real_alerts=int(self.real_before(at)[0]),
            delay_s=float(self.mean_delay_s(at)[0, price]),
            delay_upper_s=float(self.upper_delay_s(at)[0, price]),
            noise_off=float(self.off_sum[noise, price] / max(1, noise)),
        )


def _quantiles(confidence: float, degrees: Ints) -> Floats:
    return np.asarray(stats.t.ppf(confidence, degrees), dtype=np.float64)[:, None]


def choose_candidate(
    examples: Examples, steps: dict[str, Steps], at_us: int, budget_s: float
) -> str:
    """Name the candidate that keeps most noise off at the budget, judged on what is known by then.

    Each is set to spend the same mean delay on the past (between two prices), and compared with the
    rule pair by pair over blocks of consecutive alerts; one that is not clearly better loses to it.
    """
    outcome = examples.outcome
    known = (outcome.known_us < at_us) & ~outcome.censored
    real, noise = (
        np.flatnonzero(known & label) for label in (outcome.real_then, outcome.noise_then)
    )
    if len(real) < LEAST_REAL or len(noise) < BLOCKS:
        return CANDIDATES[0]
    off = {
        name: _off_at_budget(examples, candidate, real, noise, budget_s)
        for name, candidate in steps.items()
    }
    best, best_off = CANDIDATES[0], off[CANDIDATES[0]].mean()
    for name in CANDIDATES[1:]:
        gain = off[name] - off[CANDIDATES[0]]
        means = np.array([block.mean() for block in np.array_split(gain, BLOCKS)])
        error = means.std(ddof=1) / np.sqrt(BLOCKS)
        clearly = gain.mean() > stats.t.ppf(CONFIDENCE, BLOCKS - 1) * error
        if clearly and off[name].mean() > best_off:
            best, best_off = name, off[name].mean()
    return best


def _off_at_budget(
    examples: Examples, steps: Steps, real: Ints, noise: Ints, budget_s: float
) -> Floats:
    """Share of each noise alert kept off where the mean delay is exactly the budget, shape (m,)."""
    relative = np.concatenate([[0.0], grid(1.0)])
    delay = np.array(
        [
            (relative[steps[real, j]] * examples.transient_s[real]).mean()
            for j in range(steps.shape[1])
        ]
    )
    j = int(np.argmax(delay <= budget_s)) if (delay <= budget_s).any() else len(delay) - 1
    over = max(j - 1, 0)
    share = (budget_s - delay[j]) / (delay[over] - delay[j]) if delay[over] > delay[j] else 0.0
    share = float(np.clip(share, 0.0, 1.0))
    clear_s, t = examples.outcome.clear_s[noise], examples.transient_s[noise]
    kept = [kept_off(relative[steps[noise, k]] * t, clear_s).astype(np.float64) for k in (j, over)]
    return np.asarray((1 - share) * kept[0] + share * kept[1])
