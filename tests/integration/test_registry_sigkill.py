"""A run killed after any of its steps leaves a champion that can be named and that decides."""

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from noisegate.alert import Origin
from noisegate.learning.reconcile import reconcile
from noisegate.learning.registry import Registry
from noisegate.model.pointer import read_pointer
from noisegate.settings import Settings, load_settings
from noisegate.store.audit import AuditAction, promotions
from noisegate.store.database import open_store, upgrade
from noisegate.store.runs import RunOutcome, lease, past_runs
from noisegate.store.snapshot import SnapshotRef, extend

OLD, NEW = "a" * 32, "b" * 32


def steps(home: Path, digest: str, last: str = "none") -> None:
    """Take the steps of a run one by one, as the flow and `promote` do.

    The process ends itself, as the out-of-memory killer would, after the step that it is told.
    """
    settings = load_settings(home=home)
    engine = open_store(settings)
    run_id = uuid.uuid4().hex

    def after(step: str) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    with lease(engine, "retrain", run_id, Origin.LIVE.value, stale_s=0.0) as run:
        registry = Registry(settings, engine)
        seen = registry.last_audit_id()
        ref = extend(settings, engine)
        after("snapshot")
        folder = train(home, digest, ref)
        after("training")
        version = registry.register(folder, flow="retrain", run_id=run_id)
        after("registering")
        row = registry.record(
            version, AuditAction.PROMOTE, "retrain flow", "passed", after=seen, run_id=run_id
        )
        after("audit row")
        registry.set_alias(row.version)
        after("alias")
        registry.point(row)
        after("pointer")
        run.finish(RunOutcome.PROMOTED)
    engine.dispose()


def train(home: Path, digest: str, ref: SnapshotRef) -> Path:
    """A made-up model: the registry looks at nothing but its manifest."""
    manifest = {
        "digest": digest,
        "data_digest": ref.digest,
        "config_digest": "c",
        "candidate": "rule",
        "trained_from_us": 0,
        "trained_to_us": 1,
        "figures": {},
        "gates": [],
        "versions": {},
    }
    folder = home.resolve() / "models" / digest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def run_in_child(home: Path, digest: str, last: str) -> int:
    command = [sys.executable, __file__, str(home), digest, last]
    return subprocess.run(command, timeout=300).returncode


@pytest.fixture(scope="module")
def home_with_old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose champion is OLD, made once: MLflow's migration takes seconds."""
    home = tmp_path_factory.mktemp("old")
    upgrade(load_settings(home=home))
    steps(home, OLD)
    return home


@pytest.fixture
def old_settings(home_with_old: Path, make_settings: Callable[..., Settings]) -> Settings:
    settings = make_settings()
    shutil.copytree(home_with_old, settings.home)
    return settings


def deciding(settings: Settings) -> str:
    """The digest of the model that a gate would load now, from the pointer as it stands."""
    pointer = read_pointer(settings.home)
    assert pointer is not None
    manifest = json.loads((pointer.folder(settings.home) / "manifest.json").read_text())
    digest: str = manifest["digest"]
    assert digest == pointer.digest
    return digest


@pytest.mark.parametrize(
    ("step", "champion", "decides", "apart"),
    [
        pytest.param("snapshot", OLD, OLD, [], id="killed after the snapshot"),
        pytest.param("training", OLD, OLD, [], id="killed after training"),
        pytest.param("registering", OLD, OLD, [], id="killed after registering"),
        pytest.param("audit row", NEW, OLD, ["alias", "pointer"], id="killed after the audit row"),
        pytest.param("alias", NEW, OLD, ["pointer"], id="killed after the alias"),
        pytest.param("pointer", NEW, NEW, [], id="killed after the pointer"),
    ],
)
def test_a_champion_is_left_that_is_named_and_decides(
    old_settings: Settings, step: str, champion: str, decides: str, apart: list[str]
) -> None:
    assert run_in_child(old_settings.home, NEW, step) == -signal.SIGKILL
    assert deciding(old_settings) == decides

    engine = open_store(old_settings)
    registry = Registry(old_settings, engine)
    named = registry.champion()
    assert named is not None and named.manifest.digest == champion
    assert [found.subject for found in reconcile(registry)] == apart
    assert all(found.mended for found in reconcile(registry, fix=True))
    assert reconcile(registry) == []
    assert deciding(old_settings) == champion

    # The next run takes the dead one's lease over and ends where the dead one would have.
    steps(old_settings.home, NEW)
    assert [past.outcome for past in past_runs(engine)] == ["promoted", "crashed", "promoted"]
    assert [row.digest for row in promotions(engine)] == [OLD, NEW]
    assert [version.manifest.digest for version in registry.versions()] == [NEW, OLD]
    assert deciding(old_settings) == NEW
    assert reconcile(registry) == []
    engine.dispose()


def test_before_the_first_champion_there_is_none_to_name(sqlite_settings: Settings) -> None:
    assert run_in_child(sqlite_settings.home, NEW, "registering") == -signal.SIGKILL
    engine = open_store(sqlite_settings)
    registry = Registry(sqlite_settings, engine)
    assert registry.champion() is None
    assert reconcile(registry) == []
    with lease(engine, "retrain", "f" * 32, "live", stale_s=0.0) as next_run:
        next_run.finish(RunOutcome.UNCHANGED)
    assert [past.outcome for past in past_runs(engine)] == ["unchanged", "crashed"]
    engine.dispose()


def test_a_pointer_is_never_half_written(tmp_path: Path) -> None:
    child = (
        "import sys, itertools; from pathlib import Path;"
        "from noisegate.model.pointer import Pointer, write_pointer\n"
        "for n in itertools.count(1):\n"
        "    write_pointer(Path(sys.argv[1]), Pointer(n, 'a' * 32, n, n))\n"
        "    print(n, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", child, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        seen = 0
        while seen < 20:
            written = int(writer.stdout.readline())
            pointer = read_pointer(tmp_path)
            assert pointer is not None and pointer.version >= written
            seen += 1
        writer.kill()
    pointer = read_pointer(tmp_path)
    assert pointer is not None and pointer.version >= written


if __name__ == "__main__":
    steps(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
