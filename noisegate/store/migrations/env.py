"""Alembic's entry point: runs on the connection, and in the transaction, of `database.upgrade`."""

from alembic import context

from noisegate.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # True for SQLite too, since we begin its transactions ourselves: half a migration never stays.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
