"""The registry: MLflow runs, model versions and aliases; promotion behind gates; roll-back; repair.

Three places name the champion, written in this order: the audit (our database), the alias
`champion` (MLflow), the pointer file (what the gate reads). A run that dies in between leaves them
apart; reconcile.py names the difference and mends it from the audit.
"""

import json
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowException
from mlflow.entities import RunStatus
from mlflow.entities.model_registry import ModelVersion
from sqlalchemy import Engine

from noisegate.errors import MissingError, PolicyError
from noisegate.learning.card import (
    GateResult,
    Manifest,
    manifest_json,
    manifest_of,
    model_card,
    read_manifest,
)
from noisegate.learning.logged import fetch_candidate, log_candidate
from noisegate.learning.tracking import answering, connect, experiment, tracking_uri
from noisegate.model.pointer import Pointer, write_pointer
from noisegate.settings import Settings
from noisegate.store.audit import (
    AuditAction,
    Promotion,
    promotions,
    record,
    rolled_back,
    standing,
)
from noisegate.store.runs import past_runs
from noisegate.store.snapshot_audit import Audit, last_audit

MODEL = "noisegate"
"""Name of the registered model and of the MLflow experiment."""

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the registry."""

    version: int
    manifest: Manifest
    flow: str
    aliases: tuple[str, ...]
    created_at: int
    """Microseconds since 1970, UTC."""
    mlflow_run_id: str
    run_id: str
    source: str
    """MLflow's URI of the logged model."""


def audit_gate(audited: Audit | None) -> GateResult:
    """Nothing personal and no secret was found in the snapshot that a model learned from."""
    if audited is None:
        return GateResult("audit", True, None, 0.0, "no audit of its snapshot is on record")
    return GateResult("audit", audited.passed, float(audited.findings), 0.0, audited.says)


class Registry:
    """The registry of one home: MLflow's client, our audit and the pointer file together.

    Raises:
        UnreachableError: (every method) MLflow or our database does not answer.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.home = settings.home.resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self._uri = tracking_uri(settings)
        with self._mlflow():
            self.client = connect(self._uri)
            self.experiment_id = experiment(self.client, MODEL, self.home / "mlartifacts")

    # What is there

    def versions(self) -> list[Version]:
        """Every version, newest first."""
        return self._search("")

    def show(self, name: str) -> Version:
        """One version, by its number or its alias.

        Raises:
            MissingError: there is none.
        """
        for version in self.versions():
            if name == str(version.version) or name in version.aliases:
                return version
        raise MissingError(f"no model version {name!r}: see `noisegate models list`")

    def champion(self) -> Version | None:
        """The champion by the audit; None before the first promotion.

        Raises:
            MissingError: MLflow does not have it (any more).
        """
        stack = standing(promotions(self.engine))
        return self.promoted(stack[-1]) if stack else None

    def promoted(self, row: Promotion) -> Version:
        """The version that an audit row made champion.

        Raises:
            MissingError: MLflow does not have it, or (its database is another now) has another
                model under its number.
        """
        version = self.show(str(row.version))
        if version.manifest.digest != row.digest:
            raise MissingError(
                f"model version {row.version} in MLflow is not the one that {row.who} made "
                "champion: run `noisegate retrain`"
            )
        return version

    def last_audit_id(self) -> int:
        """The newest audit row's id, 0 if there is none: what a candidate is judged against."""
        history = promotions(self.engine)
        return history[-1].audit_id if history else 0

    def folder(self, version: Version) -> Path:
        """The version's model folder under the home; fetched from MLflow if it is not there.

        Raises:
            MissingError: it is in neither place, or is not what the registry says.
        """
        folder = self.home / "models" / version.manifest.digest
        if not folder.exists():
            self._fetch(version, folder)
        return self.local(version.manifest.digest)

    def local(self, digest: str) -> Path:
        """The model folder of this digest under the home.

        Raises:
            MissingError: it is not there, or its manifest says another digest.
        """
        folder = self.home / "models" / digest
        if read_manifest(folder).digest != digest:
            raise MissingError(
                f"{folder} holds another model: remove it, and `noisegate doctor --fix` fetches "
                "the right one from MLflow"
            )
        return folder

    def aliased(self, alias: str) -> int | None:
        """The version number that MLflow has under an alias."""
        with self._mlflow():
            number = self._aliases().get(alias)
        return None if number is None else int(number)

    def unfinished(self) -> list[str]:
        """MLflow runs that are open although the run of ours that made them is not."""
        with self._mlflow():
            found = self.client.search_runs(
                [self.experiment_id], "attributes.status = 'RUNNING'", max_results=100
            )
        alive = {run.run_id for run in past_runs(self.engine) if run.ended_at is None}
        return [
            str(run.info.run_id)
            for run in found
            if "noisegate.run_id" in run.data.tags
            and run.data.tags["noisegate.run_id"] not in alive
        ]

    def kill(self, mlflow_run_id: str) -> None:
        """Mark an MLflow run as killed."""
        with self._mlflow():
            self.client.set_terminated(mlflow_run_id, RunStatus.to_string(RunStatus.KILLED))

    # From candidate to champion

    def register(self, folder: Path, *, flow: str, run_id: str) -> Version:
        """Log a trained folder as an MLflow run and a model version, alias `challenger`.

        The same data, configuration and model again: the version that is there already, with what
        the folder says now. Gates depend on the machine and on the champion as well.
        """
        manifest = read_manifest(folder)
        found = self._search(
            f" and tags.digest = '{manifest.digest}'"
            f" and tags.data_digest = '{manifest.data_digest}'"
            f" and tags.config_digest = '{manifest.config_digest}'"
        )
        with self._mlflow():
            if found:
                number = found[0].version
                self._renew(found[0], manifest)
            else:
                logged = log_candidate(
                    self.client, self.experiment_id, folder, manifest, self.settings, flow, run_id
                )
                self._name_model()
                number = int(
                    self.client.create_model_version(
                        MODEL,
                        logged.source,
                        logged.mlflow_run_id,
                        tags={
                            "digest": manifest.digest,
                            "data_digest": manifest.data_digest,
                            "config_digest": manifest.config_digest,
                            "candidate": manifest.candidate,
                            "flow": flow,
                            "run_id": run_id,
                            **_said(manifest),
                        },
                        description=logged.card,
                        # A server takes the source only with it.
                        model_id=logged.source.removeprefix("models:/"),
                    ).version
                )
            if not found or CHAMPION not in found[0].aliases:
                self.client.set_registered_model_alias(MODEL, CHALLENGER, str(number))
        return self.show(str(number))

    def pass_over(self, last: int) -> None:
        """Leave the numbers up to `last` to models that never were: a rehearsal speaks of them."""
        with self._mlflow():
            self._name_model()
            number = 0
            while number < last:
                made = self.client.create_model_version(MODEL, f"rehearsed:/{number + 1}")
                number = int(made.version)
                self.client.delete_model_version(MODEL, str(number))

    def judge(self, version: Version) -> tuple[GateResult, ...]:
        """Every gate of a promotion: the candidate's own and the registry's."""
        audited = last_audit(self.engine, version.manifest.data_digest)
        taken_off = rolled_back(promotions(self.engine), version.manifest.digest)
        never = GateResult("not_rolled_back", True, None, None, "nobody took this model off")
        if taken_off is not None:
            never = GateResult(
                "not_rolled_back",
                False,
                None,
                None,
                f"{taken_off.who} rolled this model back ({taken_off.why}): "
                f"`noisegate models promote {version.version} --override` if it is wanted",
            )
        return (*version.manifest.gates, audit_gate(audited), never)

    def promote(
        self,
        version: Version,
        *,
        who: str,
        why: str,
        after: int | None = None,
        run_id: str | None = None,
        override: bool = False,
    ) -> Promotion:
        """Make a version champion: audit, alias, pointer. Repeating it changes nothing more.

        Args:
            version: the version.
            who: the person or flow that asks.
            why: the reason, in a sentence.
            after: `last_audit_id()` when the version was judged; None: whatever is champion now.
            run_id: the run that promotes, which must still hold its lease.
            override: promote although gates failed (the audit says which).

        Raises:
            PolicyError: a gate failed, and no override.
            BusyError: the champion changed since `after`, or the lease is lost.
        """
        failed = [gate for gate in self.judge(version) if not gate.passed]
        if failed and not override:
            raise PolicyError(
                f"version {version.version} fails "
                + "; ".join(f"{gate.name}: {gate.reason}" for gate in failed)
                + " (promote it all the same with --override)"
            )
        if failed:
            why = f"{why} [overrides: {', '.join(gate.name for gate in failed)}]"
        self.folder(version)  # A champion that cannot be had is none.
        row = self.record(version, AuditAction.PROMOTE, who, why, after=after, run_id=run_id)
        self.set_alias(row.version)
        self.point(row)
        return row

    def rollback(self, *, who: str, why: str) -> Promotion:
        """Go back to the champion before this one, by the audit.

        Raises:
            MissingError: there is none.
        """
        history = promotions(self.engine)
        stack = standing(history)
        if len(stack) < 2:
            raise MissingError("no earlier champion in the audit: see `noisegate models list`")
        version = self.promoted(stack[-2])
        self.folder(version)
        row = self.record(
            version, AuditAction.ROLLBACK, who, why, after=history[-1].audit_id, run_id=None
        )
        self.set_alias(row.version)
        self.point(row)
        return row

    def record(
        self,
        version: Version,
        action: AuditAction,
        who: str,
        why: str,
        *,
        after: int | None,
        run_id: str | None,
    ) -> Promotion:
        """First of the three places: the audit row."""
        return record(
            self.engine,
            action,
            version.version,
            version.manifest.digest,
            who=who,
            why=why,
            after=after,
            run_id=run_id,
        )

    def set_alias(self, number: int) -> None:
        """Second: the alias `champion`; a champion is no challenger any more."""
        with self._mlflow():
            self.client.set_registered_model_alias(MODEL, CHAMPION, str(number))
            if self._aliases().get(CHALLENGER) == str(number):
                self.client.delete_registered_model_alias(MODEL, CHALLENGER)

    def point(self, row: Promotion) -> None:
        """Third: the pointer that the gate reads."""
        write_pointer(self.home, Pointer(row.version, row.digest, row.audit_id, row.at))

    # Helpers

    def _search(self, more: str) -> list[Version]:
        with self._mlflow():
            aliases: dict[str, list[str]] = {}
            for alias, number in self._aliases().items():
                aliases.setdefault(number, []).append(alias)
            found: list[ModelVersion] = []
            token: str | None = None
            while token is None or token:
                page = self.client.search_model_versions(
                    f"name = '{MODEL}'{more}", max_results=1_000, page_token=token
                )
                found += page
                token = page.token or ""
            # A version made by other hands has no manifest and is not ours to judge.
            ours = [
                _version(version, tuple(sorted(aliases.get(str(version.version), ()))))
                for version in found
                if "manifest" in version.tags
            ]
        return sorted(ours, key=lambda version: -version.version)

    def _renew(self, version: Version, manifest: Manifest) -> None:
        number = str(version.version)
        for name, value in _said(manifest).items():
            self.client.set_model_version_tag(MODEL, number, name, value)
        self.client.update_model_version(MODEL, number, model_card(manifest, version.flow))

    def _aliases(self) -> dict[str, str]:
        try:
            registered = self.client.get_registered_model(MODEL)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(number) for alias, number in registered.aliases.items()}

    def _name_model(self) -> None:
        try:
            self.client.create_registered_model(
                MODEL, description="Which alerts clear by themselves, and how soon."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _fetch(self, version: Version, folder: Path) -> None:
        scratch = folder.with_name(f".{folder.name}.{version.version}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        with self._mlflow():
            fetch_candidate(self.client, version.source, version.manifest.digest, scratch)
        (scratch / version.manifest.digest).rename(folder)
        shutil.rmtree(scratch)

    def _mlflow(self) -> AbstractContextManager[None]:
        return answering(self._uri)


def _said(manifest: Manifest) -> dict[str, str]:
    """The tags that tell how a candidate was judged."""
    return {
        "gates_failed": ", ".join(gate.name for gate in manifest.failed),
        "manifest": manifest_json(manifest),
    }


def _version(version: ModelVersion, aliases: tuple[str, ...]) -> Version:
    return Version(
        version=int(version.version),
        manifest=manifest_of(json.loads(version.tags["manifest"])),
        flow=version.tags["flow"],
        aliases=aliases,
        created_at=int(version.creation_timestamp) * 1_000,
        mlflow_run_id=str(version.run_id),
        run_id=version.tags["run_id"],
        source=str(version.source),
    )
