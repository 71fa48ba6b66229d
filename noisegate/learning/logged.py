"""A candidate as MLflow keeps it: a run with figures, plots and report, and a pyfunc model."""

import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunStatus, RunTag
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from noisegate.decision.history import CURVES, FEATURES, STEPS
from noisegate.learning.card import Manifest, model_card
from noisegate.settings import Settings

_SETTINGS = (
    "transient_s",
    "delay_budget_s",
    "max_hold_s",
    "hold_margin_s",
    "route_delay_s",
    "min_outcomes",
    "group",
    "train_alerts",
    "embedding_model",
    "seed",
)
"""Settings that shape a model and hold nothing secret."""

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            TensorSpec(np.dtype(np.float32), (-1, len(FEATURES)), "features"),
            TensorSpec(np.dtype(np.float32), (-1, len(CURVES), STEPS + 1), "curves"),
            TensorSpec(np.dtype(np.int32), (-1, 3), "known"),
        ]
    ),
    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, STEPS))]),
)
"""In: what was known of each alert when it fired (`Seen`); out: P(clears within each step)."""


@dataclass(frozen=True, slots=True)
class Logged:
    """What was logged: the model's URI, its run and its card."""

    source: str
    mlflow_run_id: str
    card: str


def log_candidate(
    client: MlflowClient,
    experiment_id: str,
    folder: Path,
    manifest: Manifest,
    settings: Settings,
    flow: str,
    run_id: str,
) -> Logged:
    """Log one candidate as one MLflow run. A run that fails half-way ends as FAILED."""
    tags = {"noisegate.run_id": run_id, "noisegate.flow": flow, "noisegate.digest": manifest.digest}
    name = f"{flow} {run_id[:8]}"
    mlflow_run = client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
    try:
        card = model_card(manifest, flow)
        _log_facts(client, mlflow_run, manifest, settings)
        _log_files(client, mlflow_run, folder, card)
        source = _log_model(client, experiment_id, mlflow_run, folder, manifest)
    except BaseException:
        client.set_terminated(mlflow_run, RunStatus.to_string(RunStatus.FAILED))
        raise
    client.set_terminated(mlflow_run)
    return Logged(source, mlflow_run, card)


def fetch_candidate(client: MlflowClient, source: str, digest: str, into: Path) -> None:
    """Copy a logged candidate's folder back, to `into`/`digest`."""
    model = client.get_logged_model(source.removeprefix("models:/"))
    mlflow.artifacts.download_artifacts(
        artifact_uri=f"{model.artifact_location}/artifacts/{digest}",
        dst_path=str(into),
        tracking_uri=client.tracking_uri,
    )


def _log_facts(
    client: MlflowClient, mlflow_run: str, manifest: Manifest, settings: Settings
) -> None:
    now = int(time.time() * 1_000)
    metrics: list[Metric] = []
    for name, figure in manifest.figures.items():
        bounds = {name: figure.value, f"{name}_lo": figure.lo, f"{name}_hi": figure.hi}
        metrics += [
            Metric(key, value, now, 0) for key, value in bounds.items() if value is not None
        ]
    params = {name: str(getattr(settings, name)) for name in _SETTINGS}
    params |= {
        "candidate": manifest.candidate,
        "data_digest": manifest.data_digest,
        "config_digest": manifest.config_digest,
        "trained_from_us": str(manifest.trained_from),
        "trained_to_us": str(manifest.trained_to),
    }
    gates = [RunTag(f"gate.{g.name}", f"{g.passed}: {g.reason}") for g in manifest.gates]
    client.log_batch(
        mlflow_run, metrics, [Param(name, value) for name, value in params.items()], gates
    )
    # MLflow takes 36 characters of a digest; the whole one is a parameter above.
    snapshot = Dataset("snapshot", manifest.data_digest[:32], "noisegate", manifest.data_digest)
    client.log_inputs(mlflow_run, [DatasetInput(snapshot, [])])


def _log_files(client: MlflowClient, mlflow_run: str, folder: Path, card: str) -> None:
    client.log_text(mlflow_run, card, "model_card.md")
    for name in ("report.html", "manifest.json"):
        if (folder / name).exists():
            client.log_artifact(mlflow_run, str(folder / name))
    if (folder / "plots").is_dir():
        client.log_artifacts(mlflow_run, str(folder / "plots"), "plots")


def _log_model(
    client: MlflowClient, experiment_id: str, mlflow_run: str, folder: Path, manifest: Manifest
) -> str:
    # Pinned, and told: MLflow's own guess loads the model for eight seconds.
    pins = [
        f"{name}=={version}"
        for name, version in manifest.versions.items()
        if name not in ("python", "noisegate")  # neither comes from a package index
    ]
    model = client.create_logged_model(
        experiment_id, name="candidate", source_run_id=mlflow_run, model_type="noisegate"
    )
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # It would rather guess the signature from type hints or an example: ours is declared.
        warnings.simplefilter("ignore", UserWarning)
        path = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            path=str(path),
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"champion": str(folder)},
            signature=SIGNATURE,
            pip_requirements=pins,
        )
        client.log_model_artifacts(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, "READY")
    return f"models:/{model.model_id}"
