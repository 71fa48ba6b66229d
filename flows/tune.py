"""The tune flow: operating points chosen anew on the newest outcomes, without fitting a model."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.champion import (
    FlowResult,
    LearningRun,
    audit_snapshot,
    learning_run,
    publish_result,
    refuse_to_learn,
    settle,
    take_snapshot,
)
from flows.local import chosen_settings, say
from flows.tracing import flow_span, task_span
from flows.unquoted import unquoted
from noisegate.alert import Origin
from noisegate.errors import MissingError
from noisegate.store.runs import RunOutcome
from noisegate.store.snapshot import SnapshotRef


@task(timeout_seconds=3600, cache_policy=NO_CACHE)
@task_span()
@unquoted()
def pick_points(learning: LearningRun, ref: SnapshotRef, champion: Path) -> Path:
    """Replay the trailing window under the champion; the folder with the points that keep it."""
    from noisegate.learning.train import tune as tune_points

    return tune_points(learning.settings, ref, champion, say).path


@flow(name="tune", timeout_seconds=2 * 3600, persist_result=False)
@flow_span()
def tune(origin: str = Origin.LIVE.value) -> FlowResult:
    """Choose operating points anew; promote them behind the same gates as a new model."""
    from noisegate.learning.train import config_digest

    settings = chosen_settings()
    with learning_run(settings, "tune", origin) as learning:
        champion = learning.champion_folder
        if champion is None:
            raise MissingError("there is no champion to tune: run `noisegate retrain` first")
        with learning.stage("snapshot"):
            ref = take_snapshot(learning)
            audited = audit_snapshot(learning, ref)
        if not audited.passed:
            result = refuse_to_learn(learning, audited)
        elif learning.is_current(ref, config_digest(settings)):
            result = learning.end(RunOutcome.UNCHANGED, "nothing new: operating points kept")
        else:
            with learning.stage("train"):
                points = pick_points(learning, ref, champion)
            if _points(points) == _points(champion):
                result = learning.end(RunOutcome.UNCHANGED, "the best points are the present ones")
            else:
                result = settle(learning, points)
    publish_result(result, return_state=True)  # a failure to show it changes no outcome
    return result


def _points(folder: Path) -> bytes:
    return (folder / "points.json").read_bytes()
