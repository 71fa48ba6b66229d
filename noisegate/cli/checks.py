"""The doctor: one check a layer, each with what was found and the way out."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from noisegate.errors import NoisegateError
from noisegate.settings import Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    subject: str
    status: Literal["fine", "note", "wrong", "mended"]
    found: str
    way_out: str = ""


def run_checks(settings: Settings, *, fix: bool = False) -> list[Check]:
    """Look at everything; an error in one check does not keep the next from running."""
    checks: list[Check] = []
    looks = (
        _settings, _scrub, _store, _source, _snapshot, _audit, _model, _embedding, _ray, _runs,
        partial(_registry, fix=fix),
    )  # fmt: skip
    for look in looks:
        name = getattr(look, "__name__", "registry").strip("_")
        try:
            checks += look(settings)
        except NoisegateError as error:
            checks.append(Check(name, "wrong", *split_error(error)))
        except Exception as error:  # a check that fails is a finding, too
            found = f"unexpected {type(error).__name__}"
            checks.append(Check(name, "wrong", found, "run it again with --debug and report it"))
    return checks


def split_error(error: NoisegateError) -> tuple[str, str]:
    """What is wrong, and the way out, of an error's line."""
    found, _, way_out = str(error).rpartition(": ")
    return (found, way_out) if found else (way_out, "")


def _settings(settings: Settings) -> Iterator[Check]:
    from noisegate.decision.policy import policy_for

    for service in (None, *settings.services):
        policy_for(settings, service)
    chosen = ", ".join(sorted(settings.model_fields_set)) or "all defaults"
    yield Check("settings", "fine", f"home {settings.home.resolve()}; set: {chosen}")


def _scrub(settings: Settings) -> Iterator[Check]:
    from noisegate.scrub.config import describe, load_scrubber

    load_scrubber(settings.scrub)
    yield Check("scrub", "fine", describe(settings.scrub))


def _store(settings: Settings) -> Iterator[Check]:
    from sqlalchemy import func, select

    from noisegate.store.database import open_store
    from noisegate.store.tables import AlertRow

    engine = open_store(settings)
    with engine.connect() as connection:
        count = connection.execute(select(func.count()).select_from(AlertRow)).scalar_one()
    engine.dispose()
    where = f"{engine.url.get_backend_name()}, migrated, {count:,} alerts"
    if count or settings.alert_db_uri:
        yield Check("store", "fine", where)
    else:
        yield Check("store", "note", where, "run `noisegate import FILE`, or set ALERT_DB_URI")


def _source(settings: Settings) -> Iterator[Check]:
    if not settings.alert_db_uri:
        yield Check("source", "fine", "our own store (ALERT_DB_URI is not set)")
        return
    from noisegate.store.source import open_source

    open_source(settings)
    yield Check("source", "fine", "ALERT_DB_URI answers, read-only")


def _snapshot(settings: Settings) -> Iterator[Check]:
    from noisegate.store.snapshot import latest

    ref = latest(settings)
    if ref is None:
        yield Check("snapshot", "note", "none yet", "run `noisegate retrain`")
    else:
        yield Check("snapshot", "fine", f"{ref.rows:,} alerts, digest {ref.digest[:12]}")


def _audit(settings: Settings) -> Iterator[Check]:
    from noisegate.store.database import open_store
    from noisegate.store.snapshot_audit import last_audit

    engine = open_store(settings)
    last = last_audit(engine)
    engine.dispose()
    if last is None:
        yield Check("audit", "note", "no snapshot was audited yet", "run `noisegate retrain`")
    else:
        found, _, way_out = last.says.partition("; ")
        yield Check("audit", "fine" if last.passed else "wrong", found, way_out)


def _model(settings: Settings) -> Iterator[Check]:
    from noisegate.model.champion import Champion
    from noisegate.model.pointer import read_pointer

    pointer = read_pointer(settings.home.resolve())
    if pointer is None:
        yield Check("champion", "note", "none yet: everything pages", "run `noisegate retrain`")
        return
    model = Champion.load(settings.home / "models" / pointer.digest)
    price = model.points[""].price
    what = "pages everything (too little evidence)" if price is None else f"price {price:.3g}"
    yield Check("champion", "fine", f"version {pointer.version}, {model.candidate}, {what}")


def _embedding(settings: Settings) -> Iterator[Check]:
    from noisegate.model.embed import Embedder

    embedder = Embedder.open(settings.embedding_model, settings.home)
    yield Check("embedding", "fine", f"{settings.embedding_model}, {embedder.dim} dimensions")


def _ray(settings: Settings) -> Iterator[Check]:
    if not settings.ray_address:
        yield Check("ray", "fine", f"local for each run, {settings.ray_workers} CPUs")
        return
    from noisegate.learning.cluster import cluster

    with cluster(settings):
        yield Check("ray", "fine", "RAY_ADDRESS answers")


def _runs(settings: Settings) -> Iterator[Check]:
    from noisegate.store.database import open_store
    from noisegate.store.runs import past_runs

    engine = open_store(settings)
    last = past_runs(engine, limit=1)
    engine.dispose()
    if not last:
        yield Check("runs", "note", "none yet", "run `noisegate retrain`")
        return
    outcome = last[0].outcome or "running"
    bad = outcome in ("failed", "crashed")
    way_out = "run it again; a half-done promotion is completed first" if bad else ""
    yield Check("runs", "note" if bad else "fine", f"last: {last[0].flow}, {outcome}", way_out)


def _registry(settings: Settings, fix: bool) -> Iterator[Check]:
    from noisegate.cli.models import registry
    from noisegate.learning.reconcile import reconcile

    with registry(settings) as found:
        findings = reconcile(found, fix=fix)
    for finding in findings:
        way_out = "" if finding.mended else finding.mend
        yield Check(
            finding.subject, "mended" if finding.mended else "wrong", finding.problem, way_out
        )
    if not findings:
        yield Check("registry", "fine", "audit, alias and pointer agree")
