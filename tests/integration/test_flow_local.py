"""The flows on their own Prefect server, a real MLflow and a real store; the model is made up."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exception
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from flows import local
from flows.local import local_prefect, run_retrain
from flows.unquoted import unquoted
from noisegate.alert import Origin
from noisegate.errors import BusyError, InputError, MissingError, NoisegateError
from noisegate.learning.reconcile import reconcile
from noisegate.learning.registry import Registry
from noisegate.model.pointer import read_pointer
from noisegate.settings import Settings
from noisegate.store.database import open_store, take_numbers, writing
from noisegate.store.runs import RunOutcome, lease, past_runs
from noisegate.store.snapshot import SnapshotRef, extend
from noisegate.store.tables import AlertRow, EventRow

MARK = "Kowalski-at-db7"
"""Stands for the raw text of an alert."""


@dataclass(frozen=True)
class Trained:
    """What the flows take from training."""

    path: Path


@dataclass
class MadeUpTraining:
    """Stands in for hours of learning: a folder with a manifest, as told."""

    refused: bool = False
    error: Exception | None = None
    fitted: list[str] = field(default_factory=list)

    def train(
        self, settings: Settings, ref: SnapshotRef, champion: Path | None, progress: object = None
    ) -> Trained:
        self.fitted.append(ref.digest)
        return self.folder(settings, ref, f"{len(self.fitted):x}" * 32)

    def tune(
        self, settings: Settings, ref: SnapshotRef, champion: Path, progress: object = None
    ) -> Trained:
        return self.folder(settings, ref, "f" * 32)

    def folder(self, settings: Settings, ref: SnapshotRef, digest: str) -> Trained:
        if self.error:
            raise self.error
        delay = {
            "name": "delay",
            "passed": not self.refused,
            "figure": 70.0,
            "limit": 60.0,
            "reason": "mean delay 70 s, the budget is 60 s",
        }
        manifest = {
            "digest": digest,
            "data_digest": ref.digest,
            "config_digest": "c",
            "candidate": "rule",
            "trained_from_us": 0,
            "trained_to_us": 1,
            "figures": {"noise_off": {"value": 0.6, "lo": 0.5, "hi": 0.7}},
            "gates": [delay],
            "versions": {},
        }
        path = settings.home.resolve() / "models" / digest
        path.mkdir(parents=True, exist_ok=True)
        (path / "manifest.json").write_text(json.dumps(manifest))
        (path / "points.json").write_text(digest)
        return Trained(path)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> MadeUpTraining:
    made_up, module = MadeUpTraining(), ModuleType("noisegate.learning.train")
    for name, value in {
        "train": made_up.train,
        "tune": made_up.tune,
        "config_digest": lambda settings: "c",
    }.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return made_up


@pytest.fixture
def store(sqlite_settings: Settings) -> Iterator[Engine]:
    engine = open_store(sqlite_settings)
    yield engine
    engine.dispose()


def add_alert(store: Engine, number: int) -> None:
    with writing(store) as connection:
        connection.execute(
            insert(AlertRow).values(
                alert_id=f"{number:032x}",
                fingerprint="a" * 32,
                source="test",
                origin=Origin.SIMULATED.value,
                service="checkout",
                name="HighLatency",
                starts_at=number * 10**9,
                ends_at=number * 10**9 + 10**8,
                scrubber=1,
                seq=take_numbers(connection, "alert", 1),
            )
        )


def prefect_facts() -> tuple[dict[str, str], list[dict[str, object]]]:
    """What Prefect keeps: artifacts (key -> text) and the parameters of flow runs."""
    from prefect.client.orchestration import get_client

    async def ask() -> tuple[dict[str, str], list[dict[str, object]]]:
        async with get_client() as client:
            artifacts = await client.read_artifacts()
            runs = await client.read_flow_runs()
        # The oldest last, so that the newest of a key wins.
        artifacts.sort(key=lambda artifact: str(artifact.created))
        texts = {str(artifact.key): str(artifact.data) for artifact in artifacts}
        return texts, [run.parameters for run in runs]

    return asyncio.run(ask())


def test_the_life_of_a_champion(
    sqlite_settings: Settings, store: Engine, training: MadeUpTraining
) -> None:
    add_alert(store, 1)
    with local_prefect(sqlite_settings):
        from flows.retrain import retrain
        from flows.rollback import rollback
        from flows.tune import tune

        first = retrain(origin="simulated")
        assert (first.outcome, first.version) == (RunOutcome.PROMOTED, 1)

        again = retrain(origin="simulated")
        assert (again.outcome, again.version) == (RunOutcome.UNCHANGED, 1)
        assert again.reasons == ("nothing new: champion kept",)
        assert len(training.fitted) == 1  # nothing new: nothing learned

        add_alert(store, 2)
        training.refused = True
        refused = retrain(origin="simulated")
        assert (refused.outcome, refused.version) == (RunOutcome.REFUSED, 2)
        assert refused.reasons == ("delay: mean delay 70 s, the budget is 60 s",)
        pointer = read_pointer(sqlite_settings.home)
        assert pointer is not None and pointer.version == 1

        training.refused = False
        tuned = tune(origin="simulated")
        assert (tuned.outcome, tuned.version) == (RunOutcome.PROMOTED, 3)
        assert tune(origin="simulated").outcome is RunOutcome.UNCHANGED

        # The tuned champion has seen these data, but was not fitted on them: refit.
        assert retrain(origin="simulated").outcome is RunOutcome.PROMOTED

        # 1 (fit on the first data), 3 (tuned), 4 (fit anew): back twice is the first.
        assert rollback(who="eve", why="pages too late") == 3
        assert rollback(who="eve", why="still") == 1

        # Both copies of the champion are gone: learned anew, not failed for good.
        shutil.rmtree(sqlite_settings.home / "models")
        shutil.rmtree(sqlite_settings.home / "mlartifacts")
        assert retrain(origin="simulated").outcome is RunOutcome.PROMOTED

        texts, parameters = prefect_facts()

    assert "# retrain: promoted" in texts["retrain-result"]
    assert "| noise_off | 0.6 | 0.5 to 0.7 |" in texts["retrain-result"]
    assert "tune: unchanged" in texts["tune-result"]
    assert {"origin": "simulated"} in parameters
    assert all(set(kept) <= {"origin", "who", "why"} for kept in parameters)
    # Prefect's database and messages; no result of a task, no row.
    kept = {path.name for path in (sqlite_settings.home / "prefect").iterdir()}
    assert "storage" not in kept
    outcomes = [(run.flow, run.outcome) for run in reversed(past_runs(store))]
    assert outcomes == [
        ("retrain", "promoted"),
        ("retrain", "unchanged"),
        ("retrain", "refused"),
        ("tune", "promoted"),
        ("tune", "unchanged"),
        ("retrain", "promoted"),
        ("rollback", "promoted"),
        ("rollback", "promoted"),
        ("retrain", "promoted"),
    ]
    assert past_runs(store, "retrain")[2].detail["reasons"] == list(refused.reasons)
    # What the exporter shows of runs: how long each stage took, and the canary of each run.
    stages = [run.detail.get("stages", {}) for run in reversed(past_runs(store, "retrain"))]
    judged = ["snapshot", "train", "register"]
    done = [[*judged, "promote"], ["snapshot"], judged, [*judged, "promote"]]
    assert [list(took) for took in stages[:4]] == [sorted(names) for names in done]
    with store.connect() as connection:
        canaries = select(EventRow.origin).where(EventRow.kind == "canary")
        assert list(connection.scalars(canaries)) == ["simulated"] * 7


def test_errors_reach_the_caller_as_they_are_and_the_row_says_failed(
    sqlite_settings: Settings, store: Engine, training: MadeUpTraining
) -> None:
    with local_prefect(sqlite_settings):
        from flows.retrain import retrain
        from flows.tune import tune

        with pytest.raises(MissingError, match="no champion to tune"):
            tune()
        training.error = MissingError("there are no alerts: run `noisegate import`")
        with pytest.raises(MissingError, match="there are no alerts"):
            retrain()
        with lease(store, "tune", "f" * 32, "live") as run:
            with pytest.raises(BusyError, match="f" * 32):
                retrain()
            run.finish(RunOutcome.UNCHANGED)
    failed = [run.detail.get("error") for run in past_runs(store) if run.outcome == "failed"]
    assert "there are no alerts: run `noisegate import`" in failed
    assert read_pointer(sqlite_settings.home) is None


def test_what_an_unforeseen_error_says_is_kept_nowhere(
    sqlite_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_too(server: Any) -> None:
        leave(server)
        server.process.wait()

    leave = local._Server.leave
    monkeypatch.setattr(local._Server, "leave", wait_too)
    with local_prefect(sqlite_settings):
        import flows.champion as steps
        from flows.retrain import retrain

        def extend(*_: object) -> None:
            raise ValueError(f"cannot convert {MARK}")

        monkeypatch.setattr(steps, "extend", extend)  # in a task
        with pytest.raises(RuntimeError, match=r"^ValueError$") as in_task:
            retrain()
        # Of the body of a flow, outside its tasks.
        monkeypatch.setattr(steps.Registry, "last_audit_id", extend)
        with pytest.raises(RuntimeError, match=r"^ValueError$") as in_flow:
            retrain()
    for caught in (in_task, in_flow):
        traceback = "".join(format_exception(caught.value))
        assert MARK not in traceback and "in extend" in traceback  # where it was, not what it said
    details = [dict(run.detail) for run in past_runs(store)]
    assert [detail.pop("error") for detail in details] == ["ValueError"] * 2
    assert all(set(detail) <= {"stages"} for detail in details)  # numbers
    files = [path for path in sqlite_settings.home.rglob("*") if path.is_file()]
    assert any(b"ValueError" in path.read_bytes() for path in files)
    assert [path.name for path in files if MARK.encode() in path.read_bytes()] == []


def test_the_cause_of_an_error_of_ours_is_not_told_with_it() -> None:
    @unquoted()
    def read() -> None:
        try:
            raise ValueError(f"cannot convert {MARK}")
        except ValueError as error:
            raise InputError("row 3: ends_at is no time") from error

    with pytest.raises(InputError, match="row 3") as caught:
        read()
    assert MARK not in "".join(format_exception(caught.value))


def test_a_champion_that_mlflow_has_lost_is_learned_anew(
    sqlite_settings: Settings, store: Engine, training: MadeUpTraining
) -> None:
    add_alert(store, 1)
    folder = training.train(sqlite_settings, extend(sqlite_settings, store), None).path
    registry = Registry(sqlite_settings, store)
    version = registry.register(folder, flow="retrain", run_id="0" * 32)
    registry.promote(version, who="ann", why="first")
    for path in sqlite_settings.home.glob("mlflow.db*"):
        path.unlink()
    # The same file by another name: MLflow keeps the lost one open by its address.
    other_name = f"sqlite:///{sqlite_settings.home / '..' / 'home' / 'mlflow.db'}"
    settings = sqlite_settings.model_copy(update={"mlflow_tracking_uri": other_name})
    result = run_retrain(settings)
    assert result.outcome is RunOutcome.PROMOTED
    champion = Registry(settings, store).champion()
    assert champion is not None and champion.manifest.digest == "2" * 32
    pointer = read_pointer(settings.home)
    assert pointer is not None and pointer.digest == "2" * 32
    assert reconcile(Registry(settings, store)) == []


def test_a_store_that_is_not_migrated_is_named_before_anything_is_learned(
    make_settings: Callable[..., Settings], training: MadeUpTraining
) -> None:
    with pytest.raises(NoisegateError, match="noisegate db upgrade"):
        run_retrain(make_settings())
    assert training.fitted == []


def test_the_local_server_dies_with_its_run_however_it_dies(sqlite_settings: Settings) -> None:
    child = (
        "import sys, time; from pathlib import Path;"
        "from flows.local import _server\n"
        "with _server(Path(sys.argv[1])) as server:\n"
        "    print(server.process.pid, flush=True)\n"
        "    print(server.url(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PREFECT_HOME": str(sqlite_settings.home / "prefect")}
    with subprocess.Popen(
        [sys.executable, "-c", child, str(sqlite_settings.home)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as run:
        assert run.stdout is not None
        server = int(run.stdout.readline())
        assert run.stdout.readline().startswith("http://127.0.0.1:")
        run.send_signal(signal.SIGKILL)
    while Path(f"/proc/{server}/exe").exists():  # the suite's own timeout ends it
        time.sleep(0.1)
