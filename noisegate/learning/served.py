"""The champion as MLflow serves it: what was known of alerts when they fired -> when they clear.

MLflow runs this file to load a logged model; `noisegate` itself must be installed beside it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from noisegate.decision.history import Seen
from noisegate.model.champion import Champion


class Forecasts:
    """Forecasts durations; deciding needs the policy and the floors as well, which the gate has."""

    # In a class of its own, and without a hint on its input: else MLflow guesses a signature.
    champion: Champion

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model folder that was logged."""
        self.champion = Champion.load(Path(context.artifacts["champion"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """P(clears by itself within each step of the grid), shape (n, STEPS).

        Args:
            context: MLflow's.
            model_input: `features`, `curves` and `known` as in `Seen`.
            params: none.
        """
        seen = Seen(
            np.asarray(model_input["features"], np.float32),
            np.asarray(model_input["curves"], np.float32),
            np.asarray(model_input["known"], np.int32),
        )
        cdf: npt.NDArray[np.float32] = self.champion.forecast(seen).cdf
        return cdf


class ServedChampion(Forecasts, PythonModel):
    """The same as MLflow's pyfunc flavour."""


set_model(ServedChampion())
