"""Alembic migrations of our own database, from the first table on."""
