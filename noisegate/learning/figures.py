"""What decisions were worth: noise off, pages off, lost, delay; with intervals."""

from dataclasses import dataclass

import numpy as np

from noisegate.decision.outcomes import Floats, Ints, Outcomes
from noisegate.errors import InputError
from noisegate.learning.card import Figure
from noisegate.learning.promise import BLOCKS, kept_off

DRAWS = 400
"""Bootstrap samples of an interval."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What the figures are made of, summed over each block of consecutive alerts, shape (b,)."""

    alerts: Floats
    noise: Floats
    noise_off: Floats
    pages_off: Floats
    real: Floats
    lost: Floats
    delay_s: Floats
    delayed: Floats

    @classmethod
    def of(cls, outcome: Outcomes, rows: Ints, hold_s: Floats, blocks: int = BLOCKS) -> "Sums":
        """Sum over blocks of the alerts `rows`, held for `hold_s`, both of shape (k,)."""
        off = kept_off(hold_s, outcome.clear_s[rows])
        noise, real = outcome.noise[rows], outcome.real[rows]
        paged_real = real & ~off
        edges = np.linspace(0, len(rows), min(blocks, len(rows)) + 1).astype(int)[:-1]
        columns = (
            noise | real, noise, noise & off, (noise | real) & off, real, real & off,
            np.where(paged_real, hold_s, 0.0), paged_real & (hold_s > 0),
        )  # fmt: skip
        return cls(*(np.add.reduceat(c.astype(np.float64), edges) for c in columns))

    def figures(self, weights: Floats | None = None) -> dict[str, Floats]:
        """Each figure, for blocks drawn `weights` times, shape (draws, b); default: once each."""
        w = np.ones((1, len(self.alerts))) if weights is None else weights
        alerts, noise, real = (np.maximum(w @ x, 1) for x in (self.alerts, self.noise, self.real))
        paged_real = np.maximum(w @ (self.real - self.lost), 1)
        return {
            "noise_off": w @ self.noise_off / noise,
            "pages_off": w @ self.pages_off / alerts,
            "lost": w @ self.lost / real,
            "delay_s": w @ self.delay_s / paged_real,
            "real_delayed": w @ self.delayed / paged_real,
        }


def resampled(blocks: int, seed: int, draws: int = DRAWS) -> Floats:
    """How often each block is drawn in each bootstrap sample, shape (draws, blocks)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(np.float64)


def measure(
    outcome: Outcomes, rows: Ints, hold_s: Floats, seed: int, *, upper: float = 0.975
) -> dict[str, Figure]:
    """Measure decisions, with a central interval from a bootstrap over blocks of alerts.

    Kuensch (1989): alerts come in bursts, so blocks are drawn, not alerts.

    Args:
        outcome: of the whole history.
        rows: alerts that are judged, ascending, shape (k,); censored ones are left out.
        hold_s: seconds each was held, shape (k,).
        seed: of the bootstrap.
        upper: quantile of the upper end; the lower end is 1 - upper.

    Raises:
        InputError: no outcome of these alerts is known yet.
    """
    known = ~outcome.censored[rows]
    if not known.any():
        raise InputError(
            f"none of the {len(rows)} judged alerts has cleared or outlived T: nothing to judge "
            "on; import a longer history"
        )
    sums = Sums.of(outcome, rows[known], hold_s[known])
    drawn = sums.figures(resampled(len(sums.alerts), seed))
    return {
        name: Figure(
            float(value[0]),
            float(np.quantile(drawn[name], 1 - upper)),
            float(np.quantile(drawn[name], upper)),
        )
        for name, value in sums.figures().items()
    }


def paired_gain(
    outcome: Outcomes, rows: Ints, hold_s: Floats, other_s: Floats, seed: int
) -> Figure:
    """How much more noise `hold_s` keeps off than `other_s` on the same alerts."""
    known = ~outcome.censored[rows]
    mine = Sums.of(outcome, rows[known], hold_s[known])
    theirs = Sums.of(outcome, rows[known], other_s[known])
    weights = resampled(len(mine.alerts), seed)
    drawn = mine.figures(weights)["noise_off"] - theirs.figures(weights)["noise_off"]
    point = mine.figures()["noise_off"] - theirs.figures()["noise_off"]
    return Figure(
        float(point[0]), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))
    )


def fixed_hold_noise_off(outcome: Outcomes, rows: Ints, delay_s: float) -> float:
    """Noise off that a fixed hold of `delay_s` for every alert reaches: what `for:` would do."""
    noise = rows[outcome.noise[rows]]
    return float(kept_off(np.full(len(noise), delay_s), outcome.clear_s[noise]).mean())
