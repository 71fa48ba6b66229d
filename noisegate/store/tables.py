"""The tables. Times are integer microseconds since 1970, UTC: exact, fast, the same everywhere."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The declarative base of our tables."""


def _own_seq(context: Any) -> int:
    return int(context.get_current_parameters()["seq"])


class AlertRow(Base):
    """One alert: one firing episode, scrubbed."""

    __tablename__ = "alert"

    alert_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(String(64))
    origin: Mapped[str] = mapped_column(String(16))
    service: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    severity: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[str | None] = mapped_column(Text)
    starts_at: Mapped[int] = mapped_column(BigInteger, index=True)
    ends_at: Mapped[int | None] = mapped_column(BigInteger)
    acked_at: Mapped[int | None] = mapped_column(BigInteger)
    scrubber: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int] = mapped_column(BigInteger, index=True)
    """Grows with every insert and change, in commit order: a snapshot never rereads what it saw."""
    first_seq: Mapped[int] = mapped_column(BigInteger, index=True, default=_own_seq)
    """Its `seq` when it was inserted, kept through changes: the exporter counts it once."""


class VerdictRow(Base):
    """A person's judgement of one alert; the newest by `given_at` counts."""

    __tablename__ = "verdict"

    verdict_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alert.alert_id"), index=True)
    verdict: Mapped[str] = mapped_column(String(8))
    given_by: Mapped[str | None] = mapped_column(String(64))  # keyed hash of a person, never a name
    given_at: Mapped[int] = mapped_column(BigInteger)
    origin: Mapped[str] = mapped_column(String(16))
    seq: Mapped[int] = mapped_column(BigInteger, index=True)


class RunRow(Base):
    """One run of a flow, written at its start; the open row is the lease of its flow."""

    __tablename__ = "run"
    __table_args__ = (
        # At most one open run of a flow: the database itself refuses the second.
        Index(
            "one_open_run",
            "flow",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    run_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    flow: Mapped[str] = mapped_column(String(32))
    origin: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[int] = mapped_column(BigInteger, index=True)
    heartbeat_at: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    outcome: Mapped[str | None] = mapped_column(String(16))
    """promoted | refused | unchanged | failed | crashed; null while it runs."""
    detail: Mapped[dict[str, object] | None] = mapped_column(JSON)
    seq: Mapped[int | None] = mapped_column(BigInteger, index=True)
    """Taken when it ends, in commit order; null while it runs."""


class DecisionRow(Base):
    """What the gate decided for one alert, append-only; the exporter turns rows into counters."""

    __tablename__ = "decision"

    decision_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    alert_id: Mapped[str] = mapped_column(String(32), index=True)
    origin: Mapped[str] = mapped_column(String(16))
    service: Mapped[str] = mapped_column(Text)
    at: Mapped[int] = mapped_column(BigInteger, index=True)
    action: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(String(32))
    hold_s: Mapped[float] = mapped_column(Float)
    status: Mapped[str] = mapped_column(String(8))
    """ok | failed | too_late: a decision that failed or came too late paged."""
    latency_us: Mapped[int | None] = mapped_column(BigInteger)
    """From the alert's arrival to the decision, microseconds; null where it failed before."""
    version: Mapped[int | None] = mapped_column(Integer)
    """The champion's version; null: decided without one."""
    holdout: Mapped[bool] = mapped_column(Boolean)
    """Paged by lot, whatever the model said, so that quality stays measurable."""
    trace_id: Mapped[str | None] = mapped_column(String(32))
    seq: Mapped[int] = mapped_column(BigInteger, index=True)


class OutcomeRow(Base):
    """What became of one decided alert, append-only; a late verdict appends a correction."""

    __tablename__ = "outcome"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    decision_id: Mapped[str] = mapped_column(String(32), index=True)
    alert_id: Mapped[str] = mapped_column(String(32))
    origin: Mapped[str] = mapped_column(String(16))
    service: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(8))
    """noise | real | unseen | censored."""
    was: Mapped[str | None] = mapped_column(String(8))
    """Null: the first word on it. Else a correction, and this is what had been said before."""
    paged: Mapped[bool] = mapped_column(Boolean)
    delay_s: Mapped[float] = mapped_column(Float)
    """How long it was held before it paged or cleared, seconds."""
    holdout: Mapped[bool] = mapped_column(Boolean)
    known_at: Mapped[int] = mapped_column(BigInteger, index=True)


class TotalRow(Base):
    """What the exporter has counted so far, and (`metric` = cursor) up to which row."""

    __tablename__ = "total"

    metric: Mapped[str] = mapped_column(String(128), primary_key=True)
    labels: Mapped[str] = mapped_column(String(512), primary_key=True)
    """A JSON object with sorted keys."""
    origin: Mapped[str] = mapped_column(String(16), primary_key=True)
    value: Mapped[float] = mapped_column(Float)


class EventRow(Base):
    """Append-only facts: promotions (audit), scrubbed entities, canaries, findings, maintenance."""

    __tablename__ = "event"

    event_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    kind: Mapped[str] = mapped_column(String(32), index=True)
    at: Mapped[int] = mapped_column(BigInteger)
    known_at: Mapped[int] = mapped_column(BigInteger)
    origin: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, object]] = mapped_column(JSON)
    seq: Mapped[int | None] = mapped_column(BigInteger, index=True)
    """In commit order, unlike event_id on PostgreSQL; null only in the row of the store's name."""


class SequenceRow(Base):
    """Named counters. Taking numbers locks the row until commit, so numbers are in commit order."""

    __tablename__ = "sequence"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
