"""Facts that are counted: decisions, outcomes and events, appended in commit order.

Numbers (`seq`) are taken inside the transaction that inserts, and the sequence's row stays locked
until it commits: who has seen number k has seen every number below it, on PostgreSQL too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from sqlalchemy import Connection, insert

from noisegate.alert import Action, Origin
from noisegate.store.database import take_numbers
from noisegate.store.tables import DecisionRow, EventRow, OutcomeRow


class Status(StrEnum):
    """How a decision went; the two bad ones paged."""

    OK = "ok"
    FAILED = "failed"
    TOO_LATE = "too_late"


class Became(StrEnum):
    """What became of a decided alert."""

    NOISE = "noise"
    REAL = "real"
    UNSEEN = "unseen"
    CENSORED = "censored"


class Kind(StrEnum):
    """Kinds of events that the exporter counts, with their payload."""

    SCRUB = "scrub"
    """{"entities": {"EMAIL": 3, ...}}: what an import or a snapshot replaced."""
    CANARY = "canary"
    """{"planted": n, "missed": m}: made-up personal data sent through the scrubber by a run."""
    SNAPSHOT = "snapshot"
    """{"newest": us, "entities": {"EMAIL": 3}}: of the team's own database, whose alerts we do not
    store: the newest start that is past (null: none is), and all that is replaced in its alerts."""
    FINDING = "finding"
    """{"entities": {"EMAIL": 1}, "findings": 1, "snapshot": digest, "rows": n, "texts": n,
    "by": {"PlainEmail": 1}, "listed": [{"column", "alert_id", "entity", "by"}, ...]}: what an audit
    of a snapshot found unscrubbed; all zero where it found nothing. See store/snapshot_audit.py."""
    PROMOTION = "promotion"
    """See store/audit.py."""


@dataclass(frozen=True, slots=True)
class DecisionFact:
    """One row of the decision table; times in microseconds since 1970, UTC."""

    decision_id: str
    alert_id: str
    origin: Origin
    service: str
    at: int
    action: Action
    reason: str
    hold_s: float
    status: Status
    latency_us: int | None
    version: int | None
    holdout: bool = False
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeFact:
    """One row of the outcome table; `known_at` in microseconds since 1970, UTC."""

    decision_id: str
    alert_id: str
    origin: Origin
    service: str
    outcome: Became
    paged: bool
    delay_s: float
    known_at: int
    was: Became | None = None
    holdout: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the event table; times in microseconds since 1970, UTC."""

    kind: str
    at: int
    known_at: int
    origin: Origin
    payload: Mapping[str, object]


def append_decisions(connection: Connection, facts: Sequence[DecisionFact]) -> None:
    """Insert decisions, in this order."""
    _append(connection, DecisionRow, "decision", facts)


def append_outcomes(connection: Connection, facts: Sequence[OutcomeFact]) -> None:
    """Insert outcomes and corrections, in this order."""
    _append(connection, OutcomeRow, "outcome", facts)


def append_events(connection: Connection, events: Sequence[Event]) -> None:
    """Insert events, in this order."""
    _append(connection, EventRow, "event", events)


def _append(
    connection: Connection,
    table: type[DecisionRow] | type[OutcomeRow] | type[EventRow],
    name: str,
    facts: Sequence[DecisionFact | OutcomeFact | Event],
) -> None:
    if not facts:
        return
    first = take_numbers(connection, name, len(facts))
    names = [field.name for field in fields(facts[0])]
    rows = [
        {name: _plain(getattr(fact, name)) for name in names} | {"seq": seq}
        for seq, fact in enumerate(facts, start=first)
    ]
    connection.execute(insert(table), rows)


def _plain(value: object) -> object:
    return value.value if isinstance(value, StrEnum) else value
