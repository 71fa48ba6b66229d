"""The command line: help is light, errors are one line with a code of their own, JSON is JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import noisegate.cli
from noisegate import errors
from noisegate.cli import checks
from noisegate.cli.app import app

HEAVY = (
    "alembic", "faiss", "flows", "lightgbm", "mlflow", "numba", "numpy", "onnxruntime", "pandas",
    "prefect", "pyarrow", "ray", "scipy", "sentence_transformers", "sqlalchemy", "torch",
)  # fmt: skip
"""Packages that cost more than help may take."""

GOOD_ROWS = "service,name,starts_at,ends_at\ndb,DiskFull,0,60\nweb,Slow,100,160\n"
BAD_ROWS = "service,name,starts_at,ends_at\ndb,DiskFull,100,60\nweb,Slow,never,160\n"

Run = Callable[..., tuple[int, str, str]]


def _commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, command in getattr(group, "commands", {}).items():
        found += _commands(command, (*path, name))
    return found


COMMANDS = _commands(typer.main.get_command(app))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a home of its own: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)  # where no noisegate.toml lies
    monkeypatch.setenv("NOISEGATE_HOME", str(tmp_path / "home"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["noisegate", *arguments])
        with pytest.raises(SystemExit) as left:
            noisegate.cli.main()
        out, err = capsys.readouterr()
        code = left.value.code
        return (0 if code is None else int(code)), out, err

    return call


def _one_line(text: str) -> str:
    assert text.startswith("noisegate: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: " ".join(path) or "noisegate")
def test_every_command_explains_itself(command: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Usage:" in out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: " ".join(path) or "noisegate")
def test_every_option_has_a_help_text(command: tuple[str, ...]) -> None:
    one: Any = typer.main.get_command(app)
    for name in command:
        one = one.commands[name]
    silent = {"--as-json", "--help"}
    described = {o for p in one.params if getattr(p, "help", None) for o in p.opts}
    options = {o for p in one.params for o in p.opts if o.startswith("-")}
    assert options - described <= silent


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from noisegate.cli.app import app\n"
        f"for path in {COMMANDS!r}:\n"
        "    app([*path, '--help'], standalone_mode=False)\n"
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    loaded = done.stdout.rpartition("loaded:")[2].split()
    assert not set(loaded) & set(HEAVY)


def test_every_kind_of_error_has_an_exit_code_of_its_own() -> None:
    kinds = [errors.NoisegateError, *errors.NoisegateError.__subclasses__()]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        pytest.param({"NOISEGATE_SEED": "x"}, "seed = 'x'", id="no integer"),
        pytest.param({"NOISEGATE_TRANSIENT_S": "-1"}, "transient_s = '-1'", id="out of range"),
        pytest.param({"NOISEGATE_GROUP": "team"}, "group = 'team'", id="no such choice"),
        pytest.param({"NOISEGATE_NEVER_HOLD": "critical"}, "never_hold is no JSON", id="no JSON"),
        pytest.param(
            {"NOISEGATE_SERVICES__db__TRANSIENT_S": "0"},
            "services.db.transient_s = '0'",
            id="of one service",
        ),
        pytest.param(
            {"NOISEGATE_SEED": "x", "NOISEGATE_RAY_WORKERS": "0"}, "ray_workers = '0'", id="two"
        ),
    ],
)
def test_a_bad_setting_is_named_with_its_value(
    variables: dict[str, str], names: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, out, err = run("doctor")
    assert (code, out) == (errors.SettingsError.exit_code, "")
    assert names in _one_line(err)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("transient = 300", "no such setting: transient", id="a key that is none"),
        pytest.param("seed =", "noisegate.toml is no TOML", id="no TOML"),
        pytest.param("[source]\ntabel = 'x'", "no such setting: source.tabel", id="a nested key"),
    ],
)
def test_a_bad_file_of_settings_is_named(content: str, says: str, run: Run) -> None:
    Path("noisegate.toml").write_text(content)
    code, _, err = run("doctor")
    assert code == errors.SettingsError.exit_code
    assert says in _one_line(err)


def test_a_misspelt_url_does_not_show_its_password(run: Run) -> None:
    Path("noisegate.toml").write_text("database_uri = 'postgresql://noisegate:hunter2@db/x'")
    assert "hunter2" not in run("doctor")[2]


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        pytest.param(("import",), errors.SettingsError, "--prometheus URL", id="import of nothing"),
        pytest.param(
            ("import", "a.csv", "--prometheus", "http://127.0.0.1:1"),
            errors.SettingsError,
            "one of the two",
            id="import of two things",
        ),
        pytest.param(("try",), errors.SettingsError, "--prometheus URL", id="try nothing"),
        pytest.param(
            ("import", "good.csv", "--column", "starts_at"),
            errors.SettingsError,
            "OURS=THEIRS",
            id="half a column",
        ),
        pytest.param(
            ("import", "good.csv", "--column", "starts_at=fired"),
            errors.SettingsError,
            "good.csv has service, name, starts_at, ends_at",
            id="a column that is not there",
        ),
        pytest.param(
            ("import", "bad.csv"), errors.InputError, "nothing landed", id="a file of bad rows"
        ),
        pytest.param(
            ("import", "none.csv"), errors.InputError, "cannot be read", id="no such file"
        ),
        pytest.param(
            ("import", "--prometheus", "http://127.0.0.1:1", "--days", "1"),
            errors.UnreachableError,
            "127.0.0.1:1",
            id="a server that is down",
        ),
        pytest.param(
            ("backtest", "--transient", "60"),
            errors.MissingError,
            "noisegate import",
            id="a back-test of nothing",
        ),
        pytest.param(
            ("backtest", "--test-from", "noon"),
            errors.InputError,
            "'noon'",
            id="a time that is none",
        ),
    ],
)
def test_an_error_is_one_line_that_names_the_way_out(
    arguments: tuple[str, ...], kind: type[errors.NoisegateError], says: str, run: Run
) -> None:
    Path("good.csv").write_text(GOOD_ROWS)
    Path("bad.csv").write_text(BAD_ROWS)
    run("db", "upgrade")
    code, out, err = run(*arguments)
    assert (code, out) == (kind.exit_code, "")
    assert says in _one_line(err)


def test_a_command_before_the_first_migration_names_it(run: Run) -> None:
    code, _, err = run("backtest")
    assert code == errors.MissingError.exit_code
    assert "noisegate db upgrade" in _one_line(err)


def test_a_hold_longer_than_t_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("good.csv").write_text(GOOD_ROWS)
    run("db", "upgrade")
    run("import", "good.csv")
    monkeypatch.setenv("NOISEGATE_MAX_HOLD_S", "200")
    code, _, err = run("backtest", "--transient", "100")
    assert code == errors.PolicyError.exit_code
    assert "max_hold_s is 200" in _one_line(err)


def test_an_unforeseen_error_quotes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("text of an alert")

    monkeypatch.setattr(checks, "run_checks", fail)
    code, _, err = run("doctor")
    assert code == 1
    assert "ValueError" in _one_line(err)
    assert "text of an alert" not in err
    code, _, err = run("doctor", "--debug")
    assert code == 1
    assert "in fail\n" in err and err.endswith("\nValueError\n")  # where it was, not what it said


def test_nobody_is_told_that_we_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = (
        "DO_NOT_TRACK",
        "HF_HUB_DISABLE_TELEMETRY",
        "MLFLOW_DISABLE_TELEMETRY",
        "RAY_USAGE_STATS_ENABLED",
        "PREFECT_SERVER_ANALYTICS_ENABLED",
    )
    environment: dict[str, str] = {}
    monkeypatch.setattr("os.environ", environment)
    monkeypatch.setattr(sys, "argv", ["noisegate", "--help"])
    with pytest.raises(SystemExit):
        noisegate.cli.main()
    assert set(variables) <= set(environment)


def test_what_a_machine_reads_is_one_json_document(run: Run) -> None:
    Path("good.csv").write_text(GOOD_ROWS)
    migrated = run("db", "upgrade", "--json")
    assert json.loads(migrated[1])["before"] is None
    imported = json.loads(run("import", "good.csv", "--json")[1])
    assert (imported["read"], imported["new"], imported["refused"]) == (2, 2, 0)
    again = json.loads(run("import", "good.csv", "--json")[1])
    assert (again["new"], again["unchanged"]) == (0, 2)
    simulated = ("simulate", "--alerts", "200", "--days", "3", "--services", "3", "--json")
    assert json.loads(run(*simulated)[1])["new"] == 200
    assert json.loads(run(*simulated, "--once")[1])["new"] == 0


def test_an_import_says_which_columns_it_left_out(run: Run) -> None:
    Path("more.csv").write_text(
        GOOD_ROWS.replace("\n", ",x\n").replace("ends_at,x", "ends_at,host")
    )
    run("db", "upgrade")
    code, out, _ = run("import", "more.csv")
    assert code == 0
    assert "2 new" in out
    assert "ignored columns: host" in out
    assert "--label" in out
