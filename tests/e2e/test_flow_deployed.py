"""A real Prefect server, the real command line, a real worker: the deployment sets a champion."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisegate.alert import Origin
from noisegate.decision.history import CURVES, FEATURES, STEPS, Seen
from noisegate.learning.reconcile import reconcile
from noisegate.learning.registry import CHAMPION, MODEL, Registry
from noisegate.model.champion import Champion
from noisegate.model.pointer import read_pointer
from noisegate.settings import Settings
from noisegate.simulate.history import SimulationPlan, simulate
from noisegate.store.database import open_store
from noisegate.store.files import import_file
from noisegate.store.runs import past_runs

REPO = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect"]

pytestmark = [pytest.mark.e2e]


@pytest.fixture
def history(sqlite_settings: Settings, tmp_path: Path) -> Settings:
    """A store with a simulated history in it, small and easy enough to learn from in a test."""
    path = tmp_path / "history.parquet"
    plan = SimulationPlan(alerts=4_000, days=60, services=12)
    pq.write_table(pa.Table.from_batches(simulate(plan)), path)
    import_file(sqlite_settings, path, {}, origin=Origin.SIMULATED)
    return sqlite_settings


@pytest.fixture
def environment(history: Settings, tmp_path: Path) -> dict[str, str]:
    """What a team sets for its server, its deployments and its worker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path / "prefect"
    home.mkdir()
    return {
        **os.environ,
        "NOISEGATE_HOME": str(history.home),
        # A budget that the longest hold (T less its margin) cannot exceed: on so few alerts a
        # tight one is refused now and then, rightly, and refusals have tests of their own.
        "NOISEGATE_DELAY_BUDGET_S": "300",
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PWD": str(REPO),  # as a shell in the repository has it
    }


@pytest.fixture
def background(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Start a command that runs until the test ends."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> None:
        with (tmp_path / f"{arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [*PREFECT, *arguments],
                env=environment,
                cwd=REPO,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)

    yield start
    for process in reversed(started):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def prefect(environment: dict[str, str], *arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        [*PREFECT, *arguments],
        env=environment,
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
    )
    assert not check or done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def wait_for(url: str) -> None:
    while True:  # the suite's own timeout ends it
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)


def test_a_triggered_deployment_sets_the_champion(
    history: Settings,
    environment: dict[str, str],
    background: Callable[..., None],
    tmp_path: Path,
) -> None:
    api = environment["PREFECT_API_URL"]
    background("server", "start")
    wait_for(f"{api}/health")
    prefect(environment, "work-pool", "create", "noisegate", "--type", "process")
    prefect(environment, "deploy", "--all")
    background("worker", "start", "--pool", "noisegate")
    ran = prefect(environment, "deployment", "run", "retrain/retrain", "--watch", check=False)

    engine = open_store(history)
    (run,) = past_runs(engine)
    logs = (tmp_path / "worker.log").read_text()[-4000:]
    assert run.outcome == "promoted", f"{run.detail}\n{ran[-2000:]}\n{logs}"
    registry = Registry(history, engine)
    champion = registry.champion()
    assert champion is not None and champion.aliases == (CHAMPION,)
    assert reconcile(registry) == []
    pointer = read_pointer(history.home)
    assert pointer is not None and pointer.digest == champion.manifest.digest
    # What MLflow serves forecasts what the gate's folder does.
    seen = Seen(
        np.zeros((3, len(FEATURES)), np.float32),
        np.full((3, len(CURVES), STEPS + 1), 1 / (STEPS + 1), np.float32),
        np.full((3, 3), 9, np.int32),
    )
    mlflow.set_tracking_uri(history.tracking_uri)
    served = mlflow.pyfunc.load_model(f"models:/{MODEL}@{CHAMPION}").predict(seen._asdict())
    expected = Champion.load(pointer.folder(history.home)).forecast(seen).cdf
    np.testing.assert_array_equal(served, expected)
    engine.dispose()

    (artifact,) = httpx.post(f"{api}/artifacts/filter", json={}).json()
    assert artifact["key"] == "retrain-result" and "# retrain: promoted" in artifact["data"]
    flow_runs = httpx.post(f"{api}/flow_runs/filter", json={}).json()
    done = [one for one in flow_runs if one["state_type"] == "COMPLETED"]
    assert [one["parameters"] for one in done] == [{}]  # no row, no setting
    # The schedules are there as well: a week of tunes, and retrains.
    waiting = {one["name"] for one in flow_runs if one["state_type"] == "SCHEDULED"}
    assert waiting
    assert not (tmp_path / "prefect" / "storage").exists()
