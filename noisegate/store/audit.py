"""The audit of promotions: append-only rows that say who made which version champion, when and why.

It is the first of the three places that name the champion (audit, MLflow alias, pointer file), and
the one that counts: the other two follow it, and are mended from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, select

from noisegate.alert import Origin
from noisegate.errors import BusyError
from noisegate.store.database import take_numbers, writing
from noisegate.store.facts import Event, append_events
from noisegate.store.runs import confirm, database_now, store_errors
from noisegate.store.tables import EventRow

KIND = "promotion"
"""`kind` of these rows in the event table, and the counter that orders their writers."""


class AuditAction(StrEnum):
    """How a version became champion."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Promotion:
    """One audit row: from now on `version` is champion."""

    audit_id: int
    at: int
    """Microseconds since 1970, UTC."""
    action: AuditAction
    version: int
    digest: str
    from_version: int | None
    who: str
    why: str
    run_id: str | None


def promotions(engine: Engine) -> list[Promotion]:
    """Every promotion and roll-back, oldest first."""
    with store_errors(engine), engine.connect() as connection:
        return _read(connection)


def standing(history: Sequence[Promotion]) -> list[Promotion]:
    """The promotions that still stand, oldest first.

    The last is the champion's, the one before is where a roll-back goes. A roll-back takes away
    what it rolled back, for good.
    """
    stack: list[Promotion] = []
    for row in history:
        if row.action is AuditAction.PROMOTE:
            stack.append(row)
        elif stack:
            stack.pop()
    return stack


def rolled_back(history: Sequence[Promotion], digest: str) -> Promotion | None:
    """The roll-back that took this model off, if the last thing said of it is that."""
    digests = {row.version: row.digest for row in history}
    said: Promotion | None = None
    for row in history:
        if row.action is AuditAction.PROMOTE and row.digest == digest:
            said = None
        elif row.action is AuditAction.ROLLBACK and row.from_version is not None:
            said = row if digests.get(row.from_version) == digest else said
    return said


def record(
    engine: Engine,
    action: AuditAction,
    version: int,
    digest: str,
    *,
    who: str,
    why: str,
    after: int | None = None,
    run_id: str | None = None,
) -> Promotion:
    """Write the audit row. A version that is champion already gets no second one.

    Args:
        engine: our store.
        action: promotion or roll-back.
        version: MLflow's version number.
        digest: the model folder's digest.
        who: the person or flow that asks.
        why: the reason, in a sentence.
        after: audit_id of the newest promotion that the caller knew (0: none). None: any.
        run_id: the run that promotes; it must still hold its lease.

    Raises:
        BusyError: somebody else promoted after the one the caller knew, or the lease is lost.
        UnreachableError: the database does not answer.
    """
    with store_errors(engine), writing(engine) as connection:
        # One writer at a time until commit: what it reads is still true when it writes.
        take_numbers(connection, KIND, 1)
        if run_id is not None:
            confirm(connection, run_id)
        history = _read(connection)
        last = history[-1] if history else None
        if last is not None and (last.version, last.digest) == (version, digest):
            return last
        if after is not None and after != (last.audit_id if last else 0):
            raise BusyError(
                f"version {version} was judged against an older champion: "
                f"{last.who if last else 'somebody'} changed the champion meanwhile; run it again"
            )
        payload: dict[str, object] = {
            "action": action.value,
            "version": version,
            "digest": digest,
            "from_version": last.version if last else None,
            "who": who,
            "why": why,
            "run_id": run_id,
        }
        now = database_now(connection)
        append_events(connection, [Event(KIND, now, now, Origin.LIVE, payload)])
        return _read(connection)[-1]


def _read(connection: Connection) -> list[Promotion]:
    rows = connection.execute(
        select(EventRow.event_id, EventRow.at, EventRow.payload)
        # A rehearsed history has promotions, too; they made nothing champion here.
        .where(EventRow.kind == KIND, EventRow.origin == Origin.LIVE.value)
        .order_by(EventRow.event_id)
    )
    return [_promotion(event_id, at, payload) for event_id, at, payload in rows]


def _promotion(event_id: int, at: int, payload: dict[str, object]) -> Promotion:
    from_version, run_id = payload["from_version"], payload["run_id"]
    return Promotion(
        audit_id=event_id,
        at=at,
        action=AuditAction(str(payload["action"])),
        version=int(str(payload["version"])),
        digest=str(payload["digest"]),
        from_version=None if from_version is None else int(str(from_version)),
        who=str(payload["who"]),
        why=str(payload["why"]),
        run_id=None if run_id is None else str(run_id),
    )
