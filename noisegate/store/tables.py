"""The tables. Times are integer microseconds since 1970, UTC: exact, fast, the same everywhere."""

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The declarative base of our tables."""


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


class EventRow(Base):
    """Append-only facts: promotions (audit), outcomes, holdout results, maintenance, findings."""

    __tablename__ = "event"

    event_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    kind: Mapped[str] = mapped_column(String(32), index=True)
    at: Mapped[int] = mapped_column(BigInteger)
    known_at: Mapped[int] = mapped_column(BigInteger)
    origin: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, object]] = mapped_column(JSON)


class SequenceRow(Base):
    """Named counters. Taking numbers locks the row until commit, so numbers are in commit order."""

    __tablename__ = "sequence"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
