"""The registry on a real MLflow database: register, gates, promote, roll back, repair."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine

from noisegate.errors import BusyError, MissingError, PolicyError, UnreachableError
from noisegate.learning.reconcile import reconcile
from noisegate.learning.registry import CHALLENGER, CHAMPION, MODEL, Registry, Version
from noisegate.model.pointer import Pointer, read_pointer
from noisegate.settings import Settings
from noisegate.store.audit import promotions
from noisegate.store.database import open_store, upgrade

RUN = "0" * 32


@pytest.fixture(scope="module")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's empty tables, made once: their migration takes seconds."""
    home = tmp_path_factory.mktemp("mlflow")
    # Without our experiment, for that remembers the path of its home.
    MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}").search_experiments()
    return home / "mlflow.db"


@pytest.fixture
def registry(mlflow_tables: Path, sqlite_settings: Settings) -> Iterator[Registry]:
    shutil.copy(mlflow_tables, sqlite_settings.home / "mlflow.db")
    engine: Engine = open_store(sqlite_settings)
    yield Registry(sqlite_settings, engine)
    engine.dispose()


@pytest.fixture
def candidate(sqlite_settings: Settings) -> Callable[..., Path]:
    """A trained folder, made up: the registry looks at nothing but its manifest."""

    def make(letter: str, *, data: str = "d1", failed: str | None = None) -> Path:
        folder = sqlite_settings.home.resolve() / "models" / (letter * 32)
        folder.mkdir(parents=True)
        gates = [
            {
                "name": name,
                "passed": name != failed,
                "figure": 70.0,
                "limit": 60.0,
                "reason": f"{name} is 70 s, allowed are 60 s",
            }
            for name in ("delay", "lost")
        ]
        manifest = {
            "digest": letter * 32,
            "data_digest": data * 32,
            "config_digest": "c" * 64,
            "candidate": "rule",
            "trained_from_us": 0,
            "trained_to_us": 10**15,
            "figures": {"noise_off": {"value": 0.6, "lo": 0.55, "hi": 0.65}},
            "gates": gates,
            "versions": {"python": "3.11.7", "numpy": "2.4.6"},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / "points.json").write_text("{}")
        (folder / "report.html").write_text("<title>report</title>")
        (folder / "plots").mkdir()
        (folder / "plots" / "curve.svg").write_text("<svg/>")
        return folder

    return make


def register(registry: Registry, folder: Path) -> Version:
    return registry.register(folder, flow="retrain", run_id=RUN)


def promote(registry: Registry, folder: Path) -> Version:
    version = register(registry, folder)
    registry.promote(version, who="ann", why="better")
    return registry.show(str(version.version))


def test_a_version_has_its_facts_card_signature_requirements_and_files(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    version = register(registry, candidate("a"))
    client = registry.client
    run = client.get_run(version.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {
        "noise_off": 0.6,
        "noise_off_lo": 0.55,
        "noise_off_hi": 0.65,
    }
    assert run.data.params["data_digest"] == "d1" * 32
    assert run.inputs.dataset_inputs[0].dataset.digest == ("d1" * 32)[:32]
    files = {item.path for item in client.list_artifacts(version.mlflow_run_id)}
    assert files == {"report.html", "manifest.json", "model_card.md", "plots"}
    kept = client.get_model_version(MODEL, str(version.version))
    assert "noise_off | 0.6 | 0.55 to 0.65" in kept.description
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    model = Path(logged.artifact_location.removeprefix("file:"))
    described = (model / "MLmodel").read_text()
    assert '"curves"' in described and "tensor" in described
    pins = (model / "requirements.txt").read_text().split()
    assert "numpy==2.4.6" in pins and all("==" in pin for pin in pins)
    assert (model / "artifacts" / ("a" * 32) / "points.json").exists()
    assert model.is_relative_to(registry.home / "mlartifacts")


def test_registering_again_gives_the_same_version(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    folder = candidate("a")
    first, again = register(registry, folder), register(registry, folder)
    assert (first.version, first.mlflow_run_id) == (again.version, again.mlflow_run_id)
    assert len(registry.client.search_runs([registry.experiment_id])) == 1


def test_registering_again_says_what_the_candidate_was_judged_to_be_now(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    folder = candidate("a", failed="delay")
    first = register(registry, folder)
    path = folder / "manifest.json"
    fresh = json.loads(path.read_text())
    for gate, passed in zip(fresh["gates"], (True, False), strict=True):
        gate |= {"passed": passed, "reason": f"{gate['name']}: judged anew"}
    path.write_text(json.dumps(fresh))
    again = register(registry, folder)
    assert (again.version, again.flow, again.run_id) == (first.version, first.flow, first.run_id)
    assert [gate.name for gate in registry.judge(again) if not gate.passed] == ["lost"]
    kept = registry.client.get_model_version(MODEL, str(again.version))
    assert kept.tags["gates_failed"] == "lost"
    assert "lost: judged anew" in kept.description


def test_a_new_version_is_challenger_and_a_promoted_one_is_not(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    first = register(registry, candidate("a"))
    assert first.aliases == (CHALLENGER,)
    registry.promote(first, who="ann", why="first")
    second = register(registry, candidate("b"))
    aliases = {version.version: version.aliases for version in registry.versions()}
    assert aliases == {first.version: (CHAMPION,), second.version: (CHALLENGER,)}


def test_a_promotion_is_in_audit_alias_and_pointer(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    folder = candidate("a")
    version = promote(registry, folder)
    (row,) = promotions(registry.engine)
    assert (row.version, row.from_version, row.who, row.why) == (1, None, "ann", "better")
    assert version.aliases == (CHAMPION,)
    pointer = read_pointer(registry.home)
    assert pointer == Pointer(1, "a" * 32, row.audit_id, row.at)
    assert pointer.folder(registry.home) == folder
    assert registry.champion() == version
    assert reconcile(registry) == []


def test_promoting_the_champion_again_writes_no_second_row(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    version = promote(registry, candidate("a"))
    registry.promote(version, who="bob", why="again")
    assert len(promotions(registry.engine)) == 1


def test_a_failed_gate_refuses_with_its_reason_unless_overridden(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    version = register(registry, candidate("a", failed="delay"))
    assert [gate.name for gate in registry.judge(version) if not gate.passed] == ["delay"]
    with pytest.raises(PolicyError, match="delay is 70 s, allowed are 60 s"):
        registry.promote(version, who="ann", why="hurry")
    assert promotions(registry.engine) == []
    row = registry.promote(version, who="ann", why="hurry", override=True)
    assert row.why == "hurry [overrides: delay]"


def test_a_candidate_judged_against_an_older_champion_is_not_promoted(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    seen = registry.last_audit_id()
    promote(registry, candidate("a"))
    late = register(registry, candidate("b"))
    with pytest.raises(BusyError, match="ann changed the champion"):
        registry.promote(late, who="retrain", why="passed", after=seen)
    champion = registry.champion()
    assert champion is not None and champion.manifest.digest == "a" * 32


def test_roll_back_goes_to_the_champion_before_and_not_round_in_circles(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    for letter in "abc":
        promote(registry, candidate(letter, data=letter))
    assert registry.rollback(who="eve", why="pages too late").digest == "b" * 32
    assert registry.rollback(who="eve", why="still").digest == "a" * 32
    with pytest.raises(MissingError, match="no earlier champion"):
        registry.rollback(who="eve", why="more")
    assert reconcile(registry) == []
    pointer = read_pointer(registry.home)
    assert pointer is not None and pointer.digest == "a" * 32


def test_what_a_person_took_off_no_flow_puts_back(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    promote(registry, candidate("a"))
    bad = promote(registry, candidate("b"))
    registry.rollback(who="eve", why="pages too late")
    (failed,) = [gate for gate in registry.judge(bad) if not gate.passed]
    assert failed.name == "not_rolled_back" and "eve" in failed.reason
    registry.promote(bad, who="eve", why="it was the network", override=True)
    assert all(gate.passed for gate in registry.judge(bad))


def test_a_champion_whose_folder_is_gone_comes_back_from_mlflow(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    folder = candidate("a")
    version = promote(registry, folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}
    shutil.rmtree(registry.home / "models")
    assert registry.folder(version) == folder
    assert {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()} == before


def break_alias(registry: Registry) -> None:
    registry.client.set_registered_model_alias(MODEL, CHAMPION, "1")


def break_pointer(registry: Registry) -> None:
    (registry.home / "champion.json").write_text("{")


def lose_pointer(registry: Registry) -> None:
    (registry.home / "champion.json").unlink()


def lose_folder(registry: Registry) -> None:
    shutil.rmtree(registry.home / "models" / ("b" * 32))


def leave_run_open(registry: Registry) -> None:
    registry.client.create_run(registry.experiment_id, tags={"noisegate.run_id": "f" * 32})


@pytest.mark.parametrize(
    ("fault", "subject"),
    [
        pytest.param(break_alias, "alias", id="an alias moved by hand goes back"),
        pytest.param(break_pointer, "pointer", id="a torn pointer is written anew"),
        pytest.param(lose_pointer, "pointer", id="a lost pointer is written anew"),
        pytest.param(lose_folder, "model", id="a lost folder is fetched"),
        pytest.param(leave_run_open, "mlflow run", id="an orphaned MLflow run is ended"),
    ],
)
def test_reconcile_names_what_differs_and_mends_it_from_the_audit(
    registry: Registry,
    candidate: Callable[..., Path],
    fault: Callable[[Registry], None],
    subject: str,
) -> None:
    promote(registry, candidate("a"))
    champion = promote(registry, candidate("b"))
    fault(registry)
    (named,) = reconcile(registry)
    assert (named.subject, named.mended) == (subject, False)
    assert [(found.subject, found.mended) for found in reconcile(registry, fix=True)] == [
        (subject, True)
    ]
    assert reconcile(registry) == []
    assert registry.champion() == champion
    pointer = read_pointer(registry.home)
    assert pointer is not None and pointer.version == champion.version


def test_a_lost_audit_is_written_anew_from_the_pointer(
    registry: Registry, candidate: Callable[..., Path]
) -> None:
    champion = promote(registry, candidate("a"))
    registry.engine.dispose()
    for path in registry.home.glob("noisegate.db*"):
        path.unlink()
    upgrade(registry.settings)
    assert [found.subject for found in reconcile(registry, fix=True)] == ["audit"]
    assert registry.champion() == champion
    assert reconcile(registry) == []


def test_another_model_under_the_champions_number_is_not_the_champion(
    mlflow_tables: Path, registry: Registry, candidate: Callable[..., Path]
) -> None:
    promote(registry, candidate("a"))
    # MLflow's database is lost, and its numbers begin anew. (Its store is kept by address.)
    shutil.copy(mlflow_tables, registry.home / "new.db")
    uri = f"sqlite:///{registry.home / 'new.db'}"
    settings = registry.settings.model_copy(update={"mlflow_tracking_uri": uri})
    renewed = Registry(settings, registry.engine)
    other = register(renewed, candidate("b"))
    with pytest.raises(MissingError, match=f"version {other.version} .* not the one that ann"):
        renewed.champion()
    reconcile(renewed, fix=True)
    assert renewed.aliased(CHAMPION) is None


@pytest.mark.parametrize("name", ["7", "champion", "x"], ids=["a number", "an alias", "nonsense"])
def test_a_version_that_is_not_there_is_named(registry: Registry, name: str) -> None:
    with pytest.raises(MissingError, match=name):
        registry.show(name)


def test_an_mlflow_that_does_not_answer_is_named_without_its_password(
    sqlite_settings: Settings, make_settings: Callable[..., Settings]
) -> None:
    nowhere = make_settings(
        mlflow_tracking_uri="postgresql://ann:secret@127.0.0.1:1/none?connect_timeout=1"
    )
    engine = open_store(sqlite_settings)
    with pytest.raises(UnreachableError, match="NOISEGATE_MLFLOW_TRACKING_URI") as caught:
        Registry(nowhere, engine)
    engine.dispose()
    assert "secret" not in str(caught.value) and "127.0.0.1:1" in str(caught.value)
