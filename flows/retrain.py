"""The retrain flow: what is new is learned from, judged on later data, and promoted or refused."""

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
from noisegate.store.runs import RunOutcome
from noisegate.store.snapshot import SnapshotRef


# No retry: it is pure, and would only fail the same way an hour later. The next run starts anew.
@task(timeout_seconds=3 * 3600, cache_policy=NO_CACHE)
@task_span()
@unquoted()
def train_candidates(learning: LearningRun, ref: SnapshotRef) -> Path:
    """Candidates times time folds on Ray; the best one's folder."""
    from noisegate.learning.train import train

    return train(learning.settings, ref, learning.champion_folder, say).path


@flow(name="retrain", timeout_seconds=4 * 3600, persist_result=False)
@flow_span()
def retrain(origin: str = Origin.LIVE.value) -> FlowResult:
    """Load, scrub, learn, judge, promote. A refusal is a result, not an error."""
    from noisegate.learning.train import config_digest

    settings = chosen_settings()
    with learning_run(settings, "retrain", origin) as learning:
        with learning.stage("snapshot"):
            ref = take_snapshot(learning)
            audited = audit_snapshot(learning, ref)
        # A tuned champion has seen these data, but its model was fitted on older ones.
        fitted = learning.champion is not None and learning.champion.flow == "retrain"
        if not audited.passed:
            result = refuse_to_learn(learning, audited)
        elif fitted and learning.is_current(ref, config_digest(settings)):
            result = learning.end(RunOutcome.UNCHANGED, "nothing new: champion kept")
        else:
            with learning.stage("train"):
                folder = train_candidates(learning, ref)
            result = settle(learning, folder)
    publish_result(result, return_state=True)  # a failure to show it changes no outcome
    return result
