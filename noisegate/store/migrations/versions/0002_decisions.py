"""What the exporter counts: decision, outcome, total; commit order for runs, events and alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create and extend them."""
    op.create_table(
        "decision",
        sa.Column("decision_id", sa.String(32), primary_key=True),
        sa.Column("alert_id", sa.String(32), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("hold_s", sa.Float, nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("latency_us", sa.BigInteger),
        sa.Column("version", sa.Integer),
        sa.Column("holdout", sa.Boolean, nullable=False),
        sa.Column("trace_id", sa.String(32)),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    for column in ("alert_id", "at", "seq"):
        op.create_index(f"ix_decision_{column}", "decision", [column])
    op.create_table(
        "outcome",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("decision_id", sa.String(32), nullable=False),
        sa.Column("alert_id", sa.String(32), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("was", sa.String(8)),
        sa.Column("paged", sa.Boolean, nullable=False),
        sa.Column("delay_s", sa.Float, nullable=False),
        sa.Column("holdout", sa.Boolean, nullable=False),
        sa.Column("known_at", sa.BigInteger, nullable=False),
    )
    for column in ("decision_id", "known_at"):
        op.create_index(f"ix_outcome_{column}", "outcome", [column])
    op.create_table(
        "total",
        sa.Column("metric", sa.String(128), primary_key=True),
        sa.Column("labels", sa.String(512), primary_key=True),
        sa.Column("origin", sa.String(16), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
    for table, key, which in (
        ("run", "run_id", "ended_at IS NOT NULL"),
        ("event", "event_id", "kind <> 'store'"),
    ):
        op.add_column(table, sa.Column("seq", sa.BigInteger))
        op.create_index(f"ix_{table}_seq", table, ["seq"])
        order = "ended_at, run_id" if table == "run" else "event_id"
        op.execute(
            f"UPDATE {table} SET seq = numbered.n FROM (SELECT {key} AS k, ROW_NUMBER() OVER "
            f"(ORDER BY {order}) AS n FROM {table} WHERE {which}) AS numbered "
            f"WHERE numbered.k = {table}.{key}"
        )
        # `run` orders the flows that exclude each other already; ended runs have their own.
        name = "run_ended" if table == "run" else "event"
        op.execute(
            f"INSERT INTO sequence (name, value) SELECT '{name}', n "
            f"FROM (SELECT MAX(seq) AS n FROM {table}) AS m WHERE n IS NOT NULL"
        )
    # Alerts keep the number they were inserted with, so that the exporter counts each of them once;
    # of those that are there, only the newest is known. SQLite adds no column that is NOT NULL
    # without a default.
    op.add_column(
        "alert", sa.Column("first_seq", sa.BigInteger, nullable=False, server_default="0")
    )
    op.execute("UPDATE alert SET first_seq = seq")
    op.create_index("ix_alert_first_seq", "alert", ["first_seq"])
