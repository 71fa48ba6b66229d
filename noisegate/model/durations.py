"""The duration distribution of an alert that fires: history rule, hazard model, their blend."""

from pathlib import Path
from typing import NamedTuple

import lightgbm
import numpy as np

from noisegate.decision.history import CURVES, FEATURES, STEPS, Seen, Singles
from noisegate.decision.outcomes import Floats, Ints

MODEL_VERSION = 2
"""Counts up when a fitted model or its forecasts change."""

COARSE = 6
"""Grid steps in one step of the hazard: within it, the rule's curve says how the rest is spread."""
STAGES = STEPS // COARSE

_PARAMETERS = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "min_data_in_leaf": 400,
    "max_bin": 63,
    "feature_fraction": 0.5,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
_TREES = 60

COLUMNS = (
    "stage",
    *(f"{curve}_hazard" for curve in CURVES),
    "fingerprint_survival",
    "neighbours_survival",
    "fingerprint_real",
    *FEATURES,
)
"""Columns that the hazard model sees: the stage, the curves at that stage, and the features."""

# What each ablation leaves out.
TEXT_COLUMNS = frozenset(
    (
        "neighbours_hazard",
        "neighbours_survival",
        *(name for name in FEATURES if name.startswith("neighbour")),
    )
)


class Forecast(NamedTuple):
    """P(clears by itself within each grid step), shape (n, STEPS); 1 - the last is P(real)."""

    cdf: Singles


def rule(seen: Seen) -> Forecast:
    """Forecast from the fingerprint's own past, backed off to its group's and everything's."""
    return Forecast(np.cumsum(seen.curves[:, 0, :STEPS], axis=1, dtype=np.float32))


def blend(first: Forecast, second: Forecast) -> Forecast:
    """The mean of two forecasts: steadier than either when the stream drifts."""
    return Forecast((first.cdf + second.cdf) / np.float32(2))


class _Expanded(NamedTuple):
    columns: Singles
    row: Ints
    stage: Ints


def _expand(seen: Seen, stages: Ints) -> _Expanded:
    """One row per alert and stage survived: the person-period form of a discrete-time hazard."""
    n = len(stages)
    ends = np.arange(1, STAGES + 1) * COARSE - 1
    cumulated = np.cumsum(seen.curves, axis=2)[:, :, ends]
    survival = 1 - np.concatenate([np.zeros((n, len(CURVES), 1), np.float32), cumulated], axis=2)
    hazard = 1 - survival[:, :, 1:] / np.maximum(survival[:, :, :-1], 1e-6)
    row = np.repeat(np.arange(n), stages)
    stage = np.arange(len(row)) - np.repeat(np.cumsum(stages) - stages, stages)
    columns = np.empty((len(row), len(COLUMNS)), dtype=np.float32)
    columns[:, 0] = stage
    for c in range(len(CURVES)):
        columns[:, 1 + c] = hazard[row, c, stage]
    columns[:, 5] = survival[row, 0, stage + 1]
    columns[:, 6] = survival[row, 3, stage + 1]
    columns[:, 7] = survival[row, 0, -1]
    columns[:, 8:] = seen.features[row]
    return _Expanded(columns, row, stage)


class Hazard:
    """A discrete-time hazard, P(clears in this stage | firing at its start), by boosted trees.

    Singer and Willett (1993), "It's about time": one row per alert and stage survived, a binary
    outcome each. The trees see the rule's own curve, so they learn where it is wrong.
    """

    def __init__(self, booster: lightgbm.Booster, columns: Ints) -> None:
        self._booster, self._columns = booster, columns

    @classmethod
    def fit(cls, seen: Seen, bucket: Ints, seed: int, *, text: bool = True) -> "Hazard":
        """Fit on n alerts whose outcome is known.

        Args:
            seen: what was known of each when it fired.
            bucket: step of the grid each cleared in, STEPS: outlived T, shape (n,).
            seed: of the trees.
            text: use the columns that come from the alert's text.
        """
        rows = _expand(seen, np.minimum(bucket // COARSE, STAGES - 1) + 1)
        cleared = (bucket[rows.row] // COARSE == rows.stage) & (bucket[rows.row] < STEPS)
        keep = [i for i, name in enumerate(COLUMNS) if text or name not in TEXT_COLUMNS]
        columns = np.array(keep, dtype=np.int64)
        data = lightgbm.Dataset(
            rows.columns[:, columns],
            cleared.astype(np.float32),
            params={"max_bin": 63, "verbose": -1},
        )
        parameters = {**_PARAMETERS, "seed": seed}
        return cls(lightgbm.train(parameters, data, num_boost_round=_TREES), columns)

    def predict(self, seen: Seen) -> Forecast:
        """Forecast n alerts; bit for bit the same for one alert alone and among others."""
        n = len(seen.features)
        rows = _expand(seen, np.full(n, STAGES))
        hazard = self._booster.predict(rows.columns[:, self._columns], num_threads=1)
        firing_on = 1.0 - np.asarray(hazard, dtype=np.float64).reshape(n, STAGES)
        survival = np.asarray(np.cumprod(firing_on, axis=1), dtype=np.float64)
        return Forecast(_refine(survival, rule(seen).cdf))

    def save(self, folder: Path) -> None:
        """Write the model as text into a folder."""
        self._booster.save_model(str(folder / "hazard.txt"))
        np.save(folder / "hazard_columns.npy", self._columns)

    @classmethod
    def load(cls, folder: Path) -> "Hazard":
        """Read what `save` wrote. Raises ValueError if it is damaged."""
        try:
            booster = lightgbm.Booster(model_file=str(folder / "hazard.txt"))
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(str(error)) from None
        return cls(booster, np.load(folder / "hazard_columns.npy"))


def fit(seen: Seen, bucket: Ints, rows: Ints, seed: int) -> Hazard:
    """Fit a hazard on `rows` of what was seen."""
    return Hazard.fit(seen.rows(rows), bucket[rows], seed)


def fit_and_forecast(
    seen: Seen, bucket: Ints, rows: Ints, start: int, stop: int, seed: int, text: bool
) -> Singles:
    """Fit a hazard on `rows` and forecast alerts start..stop: cdf, shape (stop - start, STEPS)."""
    model = Hazard.fit(seen.rows(rows), bucket[rows], seed, text=text)
    return model.predict(seen.rows(slice(start, stop))).cdf


def _refine(survival: Floats, own: Singles) -> Singles:
    """Spread what clears in each coarse stage over its grid steps in the rule's proportions."""
    n = len(survival)
    start = np.concatenate([np.ones((n, 1)), survival[:, :-1]], axis=1)
    steps = np.diff(own, axis=1, prepend=np.float32(0)).reshape(n, STAGES, COARSE) + 1e-9
    share = np.cumsum(steps, axis=2) / steps.sum(axis=2, keepdims=True)
    cdf = (1 - start)[:, :, None] + share * (start - survival)[:, :, None]
    return np.asarray(cdf.reshape(n, STEPS), dtype=np.float32)
