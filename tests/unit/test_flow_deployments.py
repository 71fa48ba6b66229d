"""prefect.yaml says what the settings say, and asks nothing of a network."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cronsim import CronSim  # Prefect's own reader of cron lines

from noisegate.settings import Settings, load_settings

REPO = Path(__file__).resolve().parents[2]
TEMPLATE = re.compile(r"\{\{ \$(\w+) \}\}")


@pytest.fixture(scope="module")
def deployments() -> dict[str, dict[str, Any]]:
    text = (REPO / "prefect.yaml").read_text(encoding="utf-8")
    return {one["name"]: one for one in yaml.safe_load(text)["deployments"]}


def gaps(cron: str) -> set[timedelta]:
    """The waits between runs over some weeks."""
    times = list(itertools.islice(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)), 40))
    return {later - earlier for earlier, later in itertools.pairwise(times)}


@pytest.mark.parametrize(
    ("name", "cadence"),
    [
        pytest.param(
            "tune",
            lambda settings: timedelta(hours=settings.tune_every_hours),
            id="tune as often as tune_every_hours",
        ),
        pytest.param(
            "retrain",
            lambda settings: timedelta(days=settings.retrain_every_days),
            id="retrain as often as retrain_every_days",
        ),
    ],
)
def test_schedules_repeat_the_settings_defaults(
    deployments: dict[str, dict[str, Any]], name: str, cadence: Any
) -> None:
    default: Settings = load_settings()
    (schedule,) = deployments[name]["schedules"]
    assert gaps(TEMPLATE.sub("", schedule["cron"])) == {cadence(default)}


@pytest.mark.parametrize(
    ("name", "variable", "value", "expected"),
    [
        pytest.param(
            "tune",
            "NOISEGATE_TUNE_MORE_HOURS",
            ",7,13,19",
            {timedelta(hours=6)},
            id="tune every 6 hours",
        ),
        pytest.param(
            "retrain",
            "NOISEGATE_RETRAIN_MORE_DAYS",
            ",3",
            {timedelta(days=3), timedelta(days=4)},
            id="retrain on Wednesdays too",
        ),
    ],
)
def test_an_environment_variable_overrides_a_schedule(
    deployments: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    variable: str,
    value: str,
    expected: set[timedelta],
) -> None:
    (schedule,) = deployments[name]["schedules"]
    assert TEMPLATE.findall(schedule["cron"]) == [variable]
    assert gaps(TEMPLATE.sub(value, schedule["cron"])) == expected
    monkeypatch.setenv(variable, value)
    load_settings()  # our own settings do not mind the variable


def test_tune_and_retrain_are_scheduled_apart(deployments: dict[str, dict[str, Any]]) -> None:
    crons = [
        TEMPLATE.sub("", deployments[name]["schedules"][0]["cron"])
        for name in deployments
        if deployments[name]["schedules"]
    ]
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    first, second = (set(itertools.islice(CronSim(cron, begin), 400)) for cron in crons)
    assert not first & second


def test_every_deployment_runs_one_at_a_time_from_code_that_is_here(
    deployments: dict[str, dict[str, Any]],
) -> None:
    assert set(deployments) == {"retrain", "tune", "rollback"}
    for one in deployments.values():
        path, function = one["entrypoint"].split(":")
        assert f"\ndef {function}(" in (REPO / path).read_text(encoding="utf-8")
        assert one["concurrency_limit"]["limit"] == 1
    text = yaml.safe_load((REPO / "prefect.yaml").read_text(encoding="utf-8"))
    assert [set(step) for step in text["pull"]] == [
        {"prefect.deployments.steps.set_working_directory"}
    ]
