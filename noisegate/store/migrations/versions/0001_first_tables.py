"""The first tables: alert, verdict, run, event, sequence."""

import time
import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "alert",
        sa.Column("alert_id", sa.String(32), primary_key=True),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("severity", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("labels", sa.Text),
        sa.Column("starts_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger),
        sa.Column("acked_at", sa.BigInteger),
        sa.Column("scrubber", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_alert_starts_at", "alert", ["starts_at"])
    op.create_index("ix_alert_seq", "alert", ["seq"])
    op.create_table(
        "verdict",
        sa.Column("verdict_id", sa.String(32), primary_key=True),
        sa.Column("alert_id", sa.String(32), sa.ForeignKey("alert.alert_id"), nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("given_by", sa.String(64)),
        sa.Column("given_at", sa.BigInteger, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_verdict_alert_id", "verdict", ["alert_id"])
    op.create_index("ix_verdict_seq", "verdict", ["seq"])
    op.create_table(
        "run",
        sa.Column("run_id", sa.String(32), primary_key=True),
        sa.Column("flow", sa.String(32), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("outcome", sa.String(16)),
        sa.Column("detail", sa.JSON),
    )
    op.create_index("ix_run_started_at", "run", ["started_at"])
    op.create_index(
        "one_open_run",
        "run",
        ["flow"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    event = op.create_table(
        "event",
        sa.Column(
            "event_id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("known_at", sa.BigInteger, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
    )
    op.create_index("ix_event_kind", "event", ["kind"])
    op.create_table(
        "sequence",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    # The database's own name: a snapshot of another one is never extended from this one.
    now = time.time_ns() // 1000
    op.bulk_insert(
        event,
        [
            {
                "kind": "store",
                "at": now,
                "known_at": now,
                "origin": "live",
                "payload": {"store_id": uuid.uuid4().hex},
            }
        ],
    )
