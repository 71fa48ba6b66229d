"""What retrain and tune share: their lease, and the way from a candidate to the champion.

Prefect sees references only (digests, run ids): no rows, no settings, no URL with a password.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.local import say
from flows.tracing import task_span
from flows.unquoted import unquoted
from noisegate.alert import Origin
from noisegate.errors import MissingError, UnreachableError
from noisegate.learning.card import Figure, GateResult, figures_table, gates_table
from noisegate.learning.reconcile import Finding, reconcile
from noisegate.learning.registry import Registry, Version, audit_gate
from noisegate.scrub.config import load_scrubber
from noisegate.settings import Settings
from noisegate.spans import of_run
from noisegate.store.canary import plant
from noisegate.store.database import open_store
from noisegate.store.runs import Run, RunOutcome, lease
from noisegate.store.snapshot import SnapshotRef, extend
from noisegate.store.snapshot_audit import Audit, audit, record_audit

_LEARNING = ("retrain", "tune")
"""Flows that change the champion and the snapshot: one of them at a time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FlowResult:
    """How a run of a flow ended."""

    flow: str
    run_id: str
    outcome: RunOutcome
    reasons: tuple[str, ...]
    """Why: each failed gate of a refusal; else one sentence."""
    version: int | None = None
    folder: Path | None = None
    """The model folder that was judged (its report.html lies in it), or the champion that stays."""
    figures: Mapping[str, Figure] | None = None
    gates: tuple[GateResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What the run found half-done by an earlier one, and mended."""


@dataclass(frozen=True, slots=True)
class LearningRun:
    """One run that holds its lease: what its tasks work with."""

    settings: Settings
    registry: Registry
    run: Run
    champion: Version | None
    """None, too, if it or its folder is nowhere to be had: then a new one must be learned."""
    judged_after: int
    """The newest audit row when the run began: what its candidate is judged against."""
    findings: tuple[Finding, ...]
    origin: str = Origin.LIVE.value

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note in the run's row how long the body took, seconds, retries and failure included."""
        began = time.monotonic()
        try:
            yield
        finally:
            took = {name: round(time.monotonic() - began, 3)}
            stages = self.run.detail.get("stages")
            self.run.detail["stages"] = stages | took if isinstance(stages, dict) else took

    @property
    def champion_folder(self) -> Path | None:
        """The champion's folder under the home, fetched if need be."""
        return None if self.champion is None else self.registry.folder(self.champion)

    def is_current(self, ref: SnapshotRef, config_digest: str) -> bool:
        """Whether the champion has seen these data under this configuration."""
        return self.champion is not None and (
            self.champion.manifest.data_digest,
            self.champion.manifest.config_digest,
        ) == (ref.digest, config_digest)

    def end(
        self,
        outcome: RunOutcome,
        *reasons: str,
        version: Version | None = None,
        gates: tuple[GateResult, ...] = (),
    ) -> FlowResult:
        """Note how the run ended, in its row and as the flow's result."""
        shown = version or self.champion
        figures = shown.manifest.figures if shown else None
        self.run.finish(
            outcome,
            reasons=list(reasons),
            version=shown.version if shown else None,
            digest=shown.manifest.digest if shown else None,
            figures={name: asdict(figure) for name, figure in (figures or {}).items()},
            mended=[finding.problem for finding in self.findings],
        )
        return FlowResult(
            self.run.flow,
            self.run.run_id,
            outcome,
            reasons,
            shown.version if shown else None,
            self.registry.folder(shown) if shown else None,
            figures,
            gates,
            self.findings,
        )


@contextmanager
def learning_run(settings: Settings, flow: str, origin: str) -> Iterator[LearningRun]:
    """Hold the flow's lease; first complete what an earlier run left half-done.

    Raises:
        BusyError: another run of this flow is alive.
        MissingError: the store has not been migrated.
        UnreachableError: the database or MLflow does not answer.
        UnforeseenError: for whatever else is raised, in the body too.
    """
    engine = open_store(settings)
    run_id = uuid.uuid4().hex
    try:
        with (
            unquoted(),
            of_run(run_id),
            lease(engine, flow, run_id, origin, never_beside=_LEARNING) as run,
        ):
            registry = Registry(settings, engine)
            findings = tuple(reconcile(registry, fix=True))
            for finding in findings:
                _log.warning("%s: %s (%s)", finding.subject, finding.problem, finding.mend)
            after = registry.last_audit_id()
            yield LearningRun(settings, registry, run, _champion(registry), after, findings, origin)
    finally:
        engine.dispose()


def _champion(registry: Registry) -> Version | None:
    try:
        champion = registry.champion()
    except MissingError as error:  # the audit names it, and MLflow's database has lost it
        _log.warning("the champion is lost: %s", error)
        return None
    if champion is not None:
        try:
            registry.folder(champion)
        except (MissingError, UnreachableError) as error:
            _log.warning("the champion, version %d, is lost: %s", champion.version, error)
            return None
    return champion


def unreachable(_task: object, _run: object, state: State) -> bool:
    """Retry what a system that did not answer spoilt, and nothing else."""
    return isinstance(state.data, UnreachableError)


@task(
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=unreachable,
    timeout_seconds=3600,
    cache_policy=NO_CACHE,
)
@task_span()
@unquoted()
def take_snapshot(learning: LearningRun) -> SnapshotRef:
    """Bring the snapshot up to date. Content-addressed: again is harmless."""
    say("bringing the snapshot up to date")
    plant(learning.settings, learning.registry.engine, learning.origin)
    return extend(learning.settings, learning.registry.engine)


@task(
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=unreachable,
    timeout_seconds=1800,
    cache_policy=NO_CACHE,
)
@task_span()
@unquoted()
def audit_snapshot(learning: LearningRun, ref: SnapshotRef) -> Audit:
    """Scan a sample of it again, and note what is found. Nothing is learned from a finding."""
    say("scanning a sample of the snapshot again")
    done = audit(ref, load_scrubber(learning.settings.scrub), learning.settings.audit_texts)
    record_audit(learning.registry.engine, done, learning.origin)
    return done


@task(
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=unreachable,
    timeout_seconds=600,
    cache_policy=NO_CACHE,
)
@task_span()
@unquoted()
def register_candidate(learning: LearningRun, folder: Path) -> Version:
    """Log it in MLflow as challenger. Idempotent on data, configuration and model."""
    say("registering in MLflow")
    return learning.registry.register(folder, flow=learning.run.flow, run_id=learning.run.run_id)


@task(
    retries=2,
    retry_delay_seconds=5,
    retry_condition_fn=unreachable,
    timeout_seconds=600,
    cache_policy=NO_CACHE,
)
@task_span()
@unquoted()
def promote_candidate(learning: LearningRun, version: Version, why: str) -> None:
    """Audit row, alias, pointer. Again, it goes on where it stopped."""
    say("promoting")
    learning.registry.promote(
        version,
        who=f"{learning.run.flow} flow",
        why=why,
        after=learning.judged_after,
        run_id=learning.run.run_id,
    )


@task(retries=1, timeout_seconds=60, cache_policy=NO_CACHE)
@task_span()
@unquoted()
def publish_result(result: FlowResult) -> None:
    """Show the result in Prefect: figures, gates, reasons."""
    create_markdown_artifact(
        key=f"{result.flow}-result",
        markdown=result_markdown(result),
        description=f"{result.flow}: {result.outcome}",
    )


def refuse_to_learn(learning: LearningRun, audited: Audit) -> FlowResult:
    """The end of a run whose snapshot holds what it must not: nothing is fitted or registered."""
    gate = audit_gate(audited)
    _log.error("%s", audited.says)
    return learning.end(RunOutcome.REFUSED, f"{gate.name}: {gate.reason}", gates=(gate,))


def settle(learning: LearningRun, folder: Path) -> FlowResult:
    """From a candidate's folder to the champion, or to the reasons why not."""
    with learning.stage("register"):
        version = register_candidate(learning, folder)
    gates = learning.registry.judge(version)
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        reasons = tuple(f"{gate.name}: {gate.reason}" for gate in failed)
        return learning.end(RunOutcome.REFUSED, *reasons, version=version, gates=gates)
    why = f"every gate passed ({', '.join(gate.name for gate in gates)})"
    with learning.stage("promote"):
        promote_candidate(learning, version, why)
    return learning.end(RunOutcome.PROMOTED, why, version=version, gates=gates)


def result_markdown(result: FlowResult) -> str:
    """The result as Markdown."""
    parts = [f"# {result.flow}: {result.outcome}", *(f"- {reason}" for reason in result.reasons)]
    if result.version is not None:
        parts.append(f"\nModel version {result.version}, run `{result.run_id}`.")
    if result.figures:
        parts.append(f"\n{figures_table(result.figures)}")
    if result.gates:
        parts.append(f"\n{gates_table(result.gates)}")
    if result.findings:
        parts += ["\nMended on the way:", *(f"- {found.problem}" for found in result.findings)]
    return "\n".join(parts)
