"""docs/configuration.md says what noisegate/settings.py says; what other pages show works."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from noisegate.cli import generate
from noisegate.cli.app import app
from noisegate.scrub.config import load_scrubber
from noisegate.settings import (
    ScrubPattern,
    ScrubSettings,
    ServiceSettings,
    Settings,
    SourceSettings,
    load_settings,
)
from noisegate.store.mapping import load_map


def test_the_committed_files_are_what_the_code_generates() -> None:
    assert not generate.stale(generate.generated()), "run `make generate`, then read the diff"


def test_check_tells_a_stale_page_from_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "configuration.md"
    monkeypatch.setattr(generate, "CONFIGURATION", page)
    monkeypatch.setattr(generate, "DEPLOY", tmp_path / "generated")
    assert generate.main(["--check"]) == 1  # there is none yet
    assert "make generate" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    page.write_text(page.read_text(encoding="utf-8") + "edited by hand\n")
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    left = tmp_path / "generated" / "rules" / "an-slo-that-is-gone.rules.yaml"
    left.write_text("groups: []\n")
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert not left.exists()


@pytest.mark.parametrize(
    "model", [Settings, SourceSettings, ServiceSettings, ScrubSettings, ScrubPattern]
)
def test_every_setting_stands_in_the_page_with_its_help(model: type) -> None:
    text = generate.configuration()
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        if name not in ("source", "services", "scrub"):  # tables of their own
            assert f"| `{name}` |" in text
            assert field.description.replace("|", "\\|") in text


@pytest.mark.parametrize(
    ("variable", "key", "value"),
    [
        pytest.param("NOISEGATE_DB_URL", "db_url", "sqlite:////x.db", id="our store"),
        pytest.param("ALERT_DB_URI", "alert_db_uri", "sqlite:////y.db", id="the team's database"),
        pytest.param("RAY_ADDRESS", "ray_address", "auto", id="a Ray cluster"),
        pytest.param("NOISEGATE_GROUP", "group", "label:team", id="the group"),
    ],
)
def test_a_setting_is_read_from_its_variable_and_from_its_key(
    variable: str, key: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"| `{key}` | `{variable}` |" in generate.configuration()
    monkeypatch.chdir(tmp_path)
    Path("noisegate.toml").write_text(f'{key} = "{value}"')
    assert getattr(load_settings(), key) == value
    Path("noisegate.toml").unlink()
    monkeypatch.setenv(variable, value)
    assert getattr(load_settings(), key) == value


def test_the_example_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("noisegate.toml").write_text(generate.EXAMPLE)
    settings = load_settings()
    assert settings.model_fields_set == set(tomllib.loads(generate.EXAMPLE))
    assert settings.services["checkout"].transient_s == 120
    assert load_scrubber(settings.scrub).texts(["EMP-123456"])[0] == ["<EMPLOYEE>"]
    assert settings.source.columns["starts_at"] == "opened_at"


def _blocks(language: str) -> list[str]:
    text = (generate.DOCS / "noise-reduction.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_configurations_shown_are_configurations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [block for block in _blocks("toml") if "[source]" in block]
    assert len(shown) == 2
    for block in shown:
        Path("noisegate.toml").write_text(block)
        source = load_settings().source
        assert bool(source.table) != bool(source.query)


def test_the_map_file_shown_is_one(tmp_path: Path) -> None:
    (block,) = (b for b in _blocks("toml") if "[source]" not in b)
    path = tmp_path / "map.toml"
    path.write_text(block)
    columns, labels = load_map(path)
    assert columns["starts_at"] == "opened"
    assert labels == ["region"]


@pytest.mark.parametrize("page", ["README.md", "docs/noise-reduction.md"])
def test_the_commands_shown_are_commands(page: str) -> None:
    text = (generate.DOCS.parent / page).read_text(encoding="utf-8").replace("\\\n", " ")
    start = r"(?:^ {4}(?:\S+=\S+ )?(?:\.venv/bin/)?|`)noisegate "
    shown = re.findall(start + r"((?:[a-z]+ ?)+)([^`\n]*)", text, re.MULTILINE)
    assert shown
    for words, rest in shown:
        command: Any = typer.main.get_command(app)
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, f"noisegate {words}{rest}"
