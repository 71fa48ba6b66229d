"""Our own database: opening, migrating, and numbers in commit order."""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    SQLAlchemyError,
)

from noisegate.errors import MissingError, SettingsError, UnreachableError
from noisegate.scrub.quoting import quotable
from noisegate.settings import Settings
from noisegate.spans import watched
from noisegate.store.tables import SequenceRow

BUSY_TIMEOUT_S = 60
"""How long a writer waits for another one on SQLite: a large import writes for seconds."""

_SECRET_KEY = re.compile("pass|pwd|secret|token|credential|key|odbc_connect", re.IGNORECASE)
"""Keys of a URL's query whose values are never shown; an odbc_connect holds a PWD."""

_OF_CONNECTIONS = {"OperationalError", "InterfaceError"}
_OF_QUERIES = {"ProgrammingError", "InternalError"}
"""Drivers' errors (PEP 249) by what their words are of; those of all others may be of rows."""

_UPGRADE_LOCK = 0x6E6F6973  # "nois": two upgrades of one PostgreSQL database take turns.


def connect_url(url: str, setting: str) -> URL:
    """Parse a database URL; `postgres://` and `postgresql://` both mean psycopg 3.

    Raises:
        SettingsError: it is not an SQLAlchemy URL. The message never holds its text (a password).
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(
            f"{setting} is not a database URL: write it as "
            "postgresql://USER:PASSWORD@HOST/NAME or sqlite:////absolute/path.db"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed


def shown_url(url: URL) -> str:
    """A URL to show or to write down: no password, neither before the host nor in the query."""
    hidden = {key: "***" for key in url.query if _SECRET_KEY.search(key)}
    shown = url.update_query_dict(hidden).render_as_string(hide_password=True)
    return shown.replace("%2A%2A%2A", "***")


def unreachable(setting: str, url: URL, error: Exception) -> UnreachableError:
    """Say which setting's database does not answer, with the password hidden."""
    orig = getattr(error, "orig", None) or error
    reason = str(orig).strip().partition("\n")[0]
    reason = reason.partition(" with text ")[0]  # SQLite quotes what is not UTF-8
    kinds = {kind.__name__ for kind in type(orig).__mro__}
    if "DataError" in kinds:
        reason = "a value in it is not of the kind that the query asks for"  # it would be quoted
    elif _raised_by_code(orig) or (
        "Error" in kinds and not kinds & (_OF_CONNECTIONS | _OF_QUERIES)
    ):
        reason = type(orig).__name__  # a trigger or a function may say anything, of any row
    elif kinds & _OF_QUERIES:
        reason = quotable(reason)
    for secret in _secrets(url):
        reason = reason.replace(secret, "***")
    return UnreachableError(
        f"{setting} = {shown_url(url)} does not answer ({reason}): "
        "start that database or mend the setting"
    )


def _raised_by_code(error: Exception) -> bool:
    """Whether a function in the database raised it (class P0 of PostgreSQL's codes)."""
    return str(getattr(error, "sqlstate", None) or "").startswith("P0")


def _secrets(url: URL) -> list[str]:
    found = [str(url.password)] if url.password else []
    for key, value in url.query.items():
        if _SECRET_KEY.search(key):
            found += [value] if isinstance(value, str) else value
    return [secret for secret in found if secret]


def open_store(settings: Settings) -> Engine:
    """Open our own database, which must be at the newest schema.

    Raises:
        SettingsError: NOISEGATE_DB_URL is no URL of SQLite or PostgreSQL.
        UnreachableError: the database does not answer.
        MissingError: it has not been migrated: run `noisegate db upgrade`.
    """
    url = connect_url(settings.database_url, "NOISEGATE_DB_URL")
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise MissingError(f"no database at {url.database}: run `noisegate db upgrade`")
    engine = _engine(settings, url)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError as error:
        engine.dispose()
        raise unreachable("NOISEGATE_DB_URL", url, error) from None
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if found != head:
        engine.dispose()
        raise MissingError(
            f"the database is at schema {found or 'none'}, this noisegate needs {head}: "
            "run `noisegate db upgrade`"
        )
    return engine


def upgrade(settings: Settings) -> tuple[str | None, str]:
    """Migrate our own database to the newest schema; safe to repeat and to run twice at once.

    Returns:
        The schema before (None: an empty database) and after.

    Raises:
        SettingsError, UnreachableError: as `open_store`.
        MissingError: a newer noisegate has migrated it.
    """
    url = connect_url(settings.database_url, "NOISEGATE_DB_URL")
    engine = _engine(settings, url)
    config = _config()
    before: str | None = None
    try:
        with writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"))
            before = MigrationContext.configure(connection).get_current_revision()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            after = MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError as error:
        raise unreachable("NOISEGATE_DB_URL", url, error) from None
    except CommandError:
        raise MissingError(
            f"the database is at schema {before}, which this noisegate does not know: "
            "install the newer noisegate that made it, or restore a backup"
        ) from None
    finally:
        engine.dispose()
    assert after is not None
    return before, after


@contextmanager
def writing(engine: Engine, wait_s: float = BUSY_TIMEOUT_S) -> Iterator[Connection]:
    """A transaction that will write: on SQLite it waits for its turn at the start.

    A transaction that reads first and writes later fails at once ("database is locked", no
    waiting) if somebody else wrote in between; so take this one for read-then-write.

    Args:
        engine: our store.
        wait_s: how long to wait for another writer on SQLite, seconds; then it is `locked`.
    """
    options = {"sqlite_begin": "IMMEDIATE", "sqlite_wait_s": wait_s}
    with engine.execution_options(**options).begin() as connection:
        yield connection


def locked(error: DBAPIError) -> bool:
    """Whether another writer held SQLite's file for longer than we waited."""
    code: int = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY


def take_numbers(connection: Connection, name: str, n: int) -> int:
    """Take n consecutive numbers of a named sequence, counted from 1; returns the first.

    The sequence's row stays locked until this transaction ends, so that a reader who has seen
    number k has seen everything below it. Take them late: other writers wait meanwhile.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(SequenceRow).values(name=name, value=n)
    statement = statement.on_conflict_do_update(
        index_elements=["name"], set_={"value": SequenceRow.value + n}
    )
    last = connection.execute(statement.returning(SequenceRow.value)).scalar_one()
    return int(last) - n + 1


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "noisegate.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _engine(settings: Settings, url: URL) -> Engine:
    make_home(settings)
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise SettingsError(
            f"NOISEGATE_DB_URL is a {backend} database: our own store is SQLite or PostgreSQL "
            "(ALERT_DB_URI may be any other)"
        )
    options: dict[str, Any] = {
        "json_serializer": _json,
        "pool_pre_ping": backend != "sqlite",
        "hide_parameters": True,  # no row in an error message
    }
    try:
        engine = watched(create_engine(url, **options))
    except (NoSuchModuleError, ArgumentError, ImportError) as error:
        raise SettingsError(f"NOISEGATE_DB_URL: {error}") from None
    if backend == "sqlite":
        if url.database and url.database != ":memory:":
            _make_folder_of(Path(url.database))
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_folder_of(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"NOISEGATE_DB_URL: {path.parent} cannot be created ({error.strerror}): "
            "choose another folder"
        ) from None


def make_home(settings: Settings) -> Path:
    """Create NOISEGATE_HOME, for its owner only, and return it as an absolute path.

    Raises:
        SettingsError: it cannot be created.
    """
    home = settings.home.resolve()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"NOISEGATE_HOME = {home} cannot be created ({error.strerror}): choose another folder"
        ) from None
    return home


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transactions start too late (not at a SELECT): we begin them ourselves.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -32000")  # KiB: an import's index fits


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Turn write-ahead logging on; while another process does, SQLite refuses without waiting."""
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    wait_s = options.get("sqlite_wait_s", BUSY_TIMEOUT_S)
    driver: Any = connection.connection.driver_connection
    # Each time: the connection may have been another's, who waited longer or shorter.
    driver.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
    connection.exec_driver_sql(f"BEGIN {options.get('sqlite_begin', 'DEFERRED')}")


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
