"""Alerts keep the number they were inserted with, so that the exporter counts each of them once."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give every alert its first number; of those that are there, only the newest is known."""
    # A default, since SQLite adds no column that is NOT NULL without one.
    op.add_column(
        "alert", sa.Column("first_seq", sa.BigInteger, nullable=False, server_default="0")
    )
    op.execute("UPDATE alert SET first_seq = seq")
    op.create_index("ix_alert_first_seq", "alert", ["first_seq"])
