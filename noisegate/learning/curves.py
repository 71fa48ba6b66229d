"""Curves of the report: delay against noise off, forecasts compared, how true they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noisegate.decision.decide import Steps, seconds
from noisegate.decision.history import Singles, grid
from noisegate.decision.outcomes import Bools, Floats, Ints
from noisegate.decision.policy import CANDIDATES
from noisegate.learning.backtest import Candidates, live_through
from noisegate.learning.breakdown import POLICY_FLOORS, Judged, divided
from noisegate.learning.card import Figure
from noisegate.learning.examples import Examples
from noisegate.learning.figures import Sums, resampled
from noisegate.learning.folds import Wanted, candidate_forecasts, hazard_forecasts
from noisegate.learning.promise import BLOCKS, Ledger, kept_off
from noisegate.settings import Settings

BUDGETS = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Delay budgets of the curve, as shares of T."""
BINS = 10
"""Bins of a reliability diagram."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Noise off against realised mean delay of real alerts, shape (k,) each."""

    delay_s: Floats
    noise_off: Floats


def gate_curve(
    settings: Settings,
    examples: Examples,
    candidates: Candidates,
    first: int,
    only: str | None = None,
    ledgers: dict[str, Ledger] | None = None,
) -> Curve:
    """Live through the later part once for each of BUDGETS, in their order.

    Args:
        settings: T, cadence, services.
        examples: n alerts.
        candidates: what each candidate would do.
        first: index of the first alert that is judged.
        only: this candidate alone.
        ledgers: as in `live_through`.
    """
    rows = np.flatnonzero(~examples.outcome.censored[first:]) + first
    points = []
    ledgers = {} if ledgers is None else ledgers
    for share in BUDGETS:
        lived = live_through(
            settings,
            examples,
            candidates,
            first,
            budget_s=share * settings.transient_s,
            only=only,
            ledgers=ledgers,
        )
        sums = Sums.of(examples.outcome, rows, lived.hold_s[rows - first], blocks=1).figures()
        points.append((float(sums["delay_s"][0]), float(sums["noise_off"][0])))
    return Curve(*np.array(points).T)


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same hold for every alert that may be held, whatever is known of it: what `for:` does.

    Attributes:
        clear_s: seconds to clear of the noise that may be held, ascending, shape (m,).
        noise: noise alerts in all.
        real_share: share of the real alerts that may be held.
        ceiling: share of the noise that may be held.
        floored: some alerts may not, by their severity or label, or because people want them.
    """

    clear_s: Floats
    noise: int
    real_share: float
    ceiling: float
    floored: bool

    @classmethod
    def of(cls, examples: Examples, first: int) -> "Fixed":
        """Judge fixed holds on the alerts from `first` on."""
        outcome, rows = examples.outcome, np.arange(first, len(examples))
        floored = np.isin(examples.floor[first:], POLICY_FLOORS)
        noise, real = outcome.noise[rows], outcome.real[rows]
        clear_s = outcome.clear_s[rows[noise & ~floored]]
        return cls(
            np.sort(clear_s[np.isfinite(clear_s)]),
            int(noise.sum()),
            float((real & ~floored).sum() / max(1, real.sum())),
            float((noise & ~floored).sum() / max(1, noise.sum())),
            bool(floored.any()),
        )

    def noise_off(self, hold_s: float) -> float:
        """Share of all noise that a hold of `hold_s` for everything keeps off."""
        kept = np.searchsorted(self.clear_s, hold_s, side="right") if hold_s > 0 else 0
        return float(kept / max(1, self.noise))

    def delay_s(self, hold_s: float) -> float:
        """Mean delay of real alerts: each of those that may be held waits for all of it."""
        return hold_s * self.real_share

    def hold_for(self, delay_s: float) -> float:
        """The hold that spends a mean delay, seconds."""
        return delay_s / self.real_share if self.real_share else np.inf

    def delay_for(self, noise_off: float) -> float:
        """The mean delay at which as much noise is kept off; inf: no hold reaches it."""
        needed = int(np.ceil(noise_off * self.noise - 1e-9))
        if needed > len(self.clear_s):
            return np.inf
        return self.delay_s(float(self.clear_s[needed - 1])) if needed else 0.0


@dataclass(frozen=True, slots=True)
class AblationRow:
    """One forecast: noise off at each delay, and its gain over the first forecast."""

    name: str
    noise_off: tuple[float, ...]
    gain: Figure | None


def ablation_rows(
    examples: Examples,
    forecasts: Mapping[str, Steps],
    first: int,
    delays_s: Sequence[float],
    seed: int,
) -> list[AblationRow]:
    """Compare forecasts at equal delay: one price over the later part, chosen in hindsight.

    So it is the forecasts that differ, and not how well a price could be chosen.

    Args:
        examples: n alerts.
        forecasts: what each would do at every price; the first is what others are compared with.
        first: index of the first alert that is judged.
        delays_s: mean delays of real alerts at which they are compared, seconds; the gain is that
            at the middle one.
        seed: of the bootstrap over blocks of consecutive noise alerts.
    """
    outcome = examples.outcome
    rows = np.arange(first, len(examples))
    real, noise = rows[outcome.real[rows]], rows[outcome.noise[rows]]
    if not len(real) or not len(noise):
        return []
    blocks = min(BLOCKS, len(noise))
    edges = np.linspace(0, len(noise), blocks + 1).astype(int)
    drawn = resampled(blocks, seed)
    size = np.diff(edges)
    found: list[AblationRow] = []
    middle = len(delays_s) // 2
    base = np.empty(0)
    for name, steps in forecasts.items():
        delay = seconds(steps[real], examples.transient_s[real, None]).mean(axis=0)
        hold = seconds(steps[noise], examples.transient_s[noise, None])
        off = np.add.reduceat(
            kept_off(hold, outcome.clear_s[noise, None]).astype(np.float32), edges[:-1], axis=0
        )
        at = [_at_delay(off, delay, d) for d in delays_s]
        base = at[middle] if not found else base
        gains = drawn @ (at[middle] - base) / (drawn @ size)
        gain = Figure(
            float((at[middle] - base).sum() / len(noise)),
            float(np.quantile(gains, 0.025)),
            float(np.quantile(gains, 0.975)),
        )
        shares = tuple(float(kept.sum() / len(noise)) for kept in at)
        found.append(AblationRow(name, shares, gain if found else None))
    return found


def _at_delay(off: Singles, delay_s: Floats, wanted_s: float) -> Floats:
    """Noise kept off in each block, shape (b,), between the two prices around a mean delay.

    Prices rise along the columns of `off`, so `delay_s` falls.
    """
    within = delay_s <= wanted_s
    j = int(within.argmax()) if within.any() else len(delay_s) - 1
    over = max(j - 1, 0)
    spread = delay_s[over] - delay_s[j]
    share = float(np.clip((wanted_s - delay_s[j]) / spread, 0, 1)) if spread > 0 else 0.0
    return np.asarray((1 - share) * off[:, j] + share * off[:, over], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predicted against observed in BINS bins of equal width, shape (BINS,) each; NaN: empty."""

    predicted: Floats
    observed: Floats
    count: Ints

    @classmethod
    def of(cls, probability: Floats | Singles, happened: Bools) -> "Reliability":
        """Compare forecasts with what happened, shape (k,) each."""
        p = probability.astype(np.float64)
        code = np.minimum((p * BINS).astype(np.int64), BINS - 1)
        count = np.bincount(code, minlength=BINS)
        mean = (np.bincount(code, v, minlength=BINS) for v in (p, happened.astype(np.float64)))
        predicted, observed = (divided(total, count) for total in mean)
        return cls(predicted, observed, count)

    @property
    def off_by(self) -> float:
        """Mean distance of predicted and observed over all alerts (expected calibration error)."""
        if not self.count.sum():
            return 0.0
        distance = np.nan_to_num(np.abs(self.predicted - self.observed))
        return float(distance @ self.count / self.count.sum())


def reliability(
    settings: Settings, examples: Examples, judged: Judged
) -> tuple[Reliability, Reliability]:
    """How true the forecasts in force were: P(clears within T), and of the held, within the hold.

    Forecasts come from the folds' cache: each alert's from a model that had not seen it.
    """
    outcome, rows = examples.outcome, judged.rows
    wanted = Wanted(first=int(rows[0]) if len(rows) else len(examples))
    (hazard,), _ = hazard_forecasts(settings, examples, [wanted])
    forecasts = candidate_forecasts(examples, hazard)
    cdf = np.empty((len(rows), forecasts[CANDIDATES[0]].cdf.shape[1]), dtype=np.float32)
    for index in np.unique(judged.candidate):
        mine = judged.candidate == index
        cdf[mine] = forecasts[CANDIDATES[index]].cdf[rows[mine]]
    held = np.flatnonzero(judged.hold_s > 0)
    relative = judged.hold_s[held] / examples.transient_s[rows[held]]
    step = np.searchsorted(grid(1.0), relative * (1 - 1e-9), side="left")
    cleared = kept_off(judged.hold_s[held], outcome.clear_s[rows[held]])
    return (
        Reliability.of(cdf[:, -1], outcome.transient[rows]),
        Reliability.of(cdf[held, step], cleared),
    )
