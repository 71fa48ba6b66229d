"""Compare audit, alias and pointer, name what differs, and mend it from the audit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from noisegate.errors import MissingError, NoisegateError
from noisegate.learning.registry import CHAMPION, Registry
from noisegate.model.pointer import Pointer, read_pointer
from noisegate.store.audit import AuditAction, Promotion, promotions


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree, and how it is (or was) mended."""

    subject: str
    problem: str
    mend: str
    mended: bool


@dataclass(frozen=True, slots=True)
class _Fault:
    """A finding with what would mend it; None: only a person can."""

    subject: str
    problem: str
    mend: str
    repair: Callable[[], object] | None


def reconcile(registry: Registry, *, fix: bool = False) -> list[Finding]:
    """Name every disagreement about who is champion; with `fix`, mend what can be mended.

    The audit counts: alias and pointer are moved to its newest row, so that a promotion which died
    half-way is completed, and an alias that was moved by hand, unaudited, goes back. Without any
    audit (a lost database) a pointer whose version is known is taken into the audit.

    Raises:
        UnreachableError: MLflow or our database does not answer.
    """
    findings: list[Finding] = []
    for fault in _faults(registry):
        mended = False
        mend = fault.mend
        if fix and fault.repair is not None:
            try:
                fault.repair()
                mended = True
            except NoisegateError as error:
                mend = f"{mend} (tried: {error})"
        findings.append(Finding(fault.subject, fault.problem, mend, mended))
    return findings


def _faults(registry: Registry) -> Iterator[_Fault]:
    history = promotions(registry.engine)
    yield from _unfinished(registry)
    if history:
        yield from _against_audit(registry, history[-1])
    else:
        yield from _without_audit(registry)


def _against_audit(registry: Registry, row: Promotion) -> Iterator[_Fault]:
    alias, pointer = registry.aliased(CHAMPION), _pointer(registry)
    if alias != row.version:
        yield _Fault(
            "alias",
            f"MLflow's alias {CHAMPION} is on version {alias or 'none'}, "
            f"the audit says {row.version} ({row.who}: {row.why})",
            f"set the alias to version {row.version}",
            lambda: registry.set_alias(registry.promoted(row).version),
        )
    folder = registry.home / "models" / row.digest
    try:
        registry.local(row.digest)
    except MissingError as error:
        yield _Fault(
            "model",
            f"the champion's folder is not whole: {error}",
            f"fetch version {row.version} from MLflow into {folder}",
            lambda: registry.folder(registry.promoted(row)),
        )
    if isinstance(pointer, str) or pointer is None or pointer.audit_id != row.audit_id:
        said = pointer.version if isinstance(pointer, Pointer) else pointer or "none"
        yield _Fault(
            "pointer",
            f"the audit says version {row.version}, the gate's pointer: {said}",
            f"point at version {row.version}",
            lambda: registry.point(row),
        )


def _without_audit(registry: Registry) -> Iterator[_Fault]:
    alias, pointer = registry.aliased(CHAMPION), _pointer(registry)
    if isinstance(pointer, str):
        yield _Fault("pointer", pointer, "promote a version: `noisegate models promote`", None)
    elif pointer is not None:
        known = [v for v in registry.versions() if v.manifest.digest == pointer.digest]
        yield _Fault(
            "audit",
            f"the gate decides with version {pointer.version}, and no audit row says why",
            "take that version into the audit" if known else "run `noisegate retrain`",
            (lambda: _adopt(registry, known[0].version, pointer.digest)) if known else None,
        )
    elif alias is not None:
        yield _Fault(
            "alias",
            f"MLflow's alias {CHAMPION} is on version {alias}, and no audit row says why",
            f"`noisegate models promote {alias}`, with your reason",
            None,
        )


def _adopt(registry: Registry, number: int, digest: str) -> None:
    version = registry.show(str(number))
    assert version.manifest.digest == digest
    row = registry.record(
        version,
        AuditAction.PROMOTE,
        "noisegate doctor --fix",
        "the gate decided with it, and the audit was lost",
        after=0,
        run_id=None,
    )
    registry.set_alias(row.version)
    registry.point(row)


def _unfinished(registry: Registry) -> Iterator[_Fault]:
    for mlflow_run in registry.unfinished():
        yield _Fault(
            "mlflow run",
            f"MLflow run {mlflow_run} never ended, and nothing of ours works on it",
            "mark it as killed",
            lambda mlflow_run=mlflow_run: registry.kill(mlflow_run),  # type: ignore[misc]
        )


def _pointer(registry: Registry) -> Pointer | str | None:
    """The pointer, or what is wrong with it."""
    try:
        return read_pointer(registry.home)
    except MissingError as error:
        return str(error)
