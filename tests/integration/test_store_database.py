from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event, insert, make_url, select, text

from noisegate.alert import ALERT_SCHEMA
from noisegate.errors import MissingError, SettingsError, UnreachableError
from noisegate.settings import Settings
from noisegate.store import database, snapshot
from noisegate.store.ingest import store_alerts
from noisegate.store.tables import Base, SequenceRow

MakeSettings = Callable[..., Settings]


def test_models_are_the_migrated_schema(store: Engine) -> None:
    with store.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_again_changes_nothing(settings: Settings) -> None:
    before, after = database.upgrade(settings)
    assert before == after is not None


def test_what_the_first_release_wrote_is_numbered_in_the_order_of_its_ends(
    make_settings: MakeSettings, postgresql_url: str
) -> None:
    for made in (make_settings(), make_settings(db_url=postgresql_url)):
        with at_schema(made, "0001") as engine, database.writing(engine) as connection:
            for run, ended in (("late", 9), ("open", None), ("early", 5), ("also early", 5)):
                row = {"run": run, "flow": run, "ended": ended}
                connection.execute(text(A_RUN), row)
            for kind in ("promotion", "promotion"):
                connection.execute(text(AN_EVENT), {"kind": kind})
            connection.execute(text(AN_ALERT))
        said = asked_to_migrate(made)
        engine = database.open_store(made)
        with engine.connect() as connection:

            def found(query: str) -> list[tuple[object, ...]]:
                return [tuple(row) for row in connection.execute(text(query))]

            runs = found("SELECT run_id, seq FROM run WHERE seq IS NOT NULL ORDER BY seq")
            events = found("SELECT seq FROM event ORDER BY event_id")
            sequences = found("SELECT name, value FROM sequence ORDER BY name")
            alerts = found("SELECT seq, first_seq FROM alert")
        engine.dispose()

        assert runs == [("also early", 1), ("early", 2), ("late", 3)]
        assert events == [(None,), (1,), (2,)]
        assert sequences == [("event", 2), ("run_ended", 3)]
        assert alerts == [(7, 7)]
        # SQLite before 3.39 knows it only after GROUP BY: Ubuntu 22.04 has 3.37.
        assert not [statement for statement in said if "HAVING" in statement]


A_RUN = """INSERT INTO run (run_id, flow, origin, started_at, heartbeat_at, ended_at)
           VALUES (:run, :flow, 'live', 1, 1, :ended)"""
AN_EVENT = """INSERT INTO event (kind, at, known_at, origin, payload)
              VALUES (:kind, 1, 1, 'live', '{}')"""
AN_ALERT = """INSERT INTO alert (alert_id, fingerprint, source, origin, service, name, starts_at,
                                 scrubber, seq)
              VALUES ('a', 'f', 'test', 'live', 'web', 'Disk', 1, 1, 7)"""


@contextmanager
def at_schema(made: Settings, revision: str) -> Iterator[Engine]:
    """A database of an older release."""
    with pytest.MonkeyPatch.context() as patch:
        upgrade = command.upgrade
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, revision))
        database.upgrade(made)
    engine = create_engine(database.connect_url(made.database_url, "test"))
    yield engine
    engine.dispose()


def asked_to_migrate(made: Settings) -> list[str]:
    """Migrate, and return the statements."""
    said: list[str] = []

    def note(_: object, __: object, statement: str, *rest: object) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        database.upgrade(made)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return said


def test_two_upgrades_at_once_take_turns(
    make_settings: MakeSettings, postgresql_url: str, tmp_path: Path
) -> None:
    for made in (make_settings(), make_settings(db_url=postgresql_url)):
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(database.upgrade, [made, made]))
        assert {before for before, _ in done} == {None, done[0][1]}


def test_a_database_that_is_not_migrated_says_what_to_do(
    make_settings: MakeSettings, postgresql_url: str
) -> None:
    for made in (make_settings(), make_settings(db_url=postgresql_url)):
        with pytest.raises(MissingError, match="run `noisegate db upgrade`"):
            database.open_store(made)
    assert not (make_settings().home / "noisegate.db").exists()


def test_an_older_schema_says_what_to_do(settings: Settings) -> None:
    engine = database.open_store(settings)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    engine.dispose()
    with pytest.raises(MissingError, match="at schema 0000"):
        database.open_store(settings)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        pytest.param(
            "postgres://bob:s3cret@127.0.0.1:1/x",
            UnreachableError,
            "bob:\\*\\*\\*@",
            id="no server",
        ),
        pytest.param("not a url s3cret", SettingsError, "not a database URL", id="no URL"),
        pytest.param("mysql://bob:s3cret@h/x", SettingsError, "is a mysql database", id="other"),
    ],
)
def test_a_wrong_url_names_the_setting_and_no_password(
    make_settings: MakeSettings, url: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=f"NOISEGATE_DB_URL.*{says}") as caught:
        database.open_store(make_settings(db_url=url))
    assert "s3cret" not in str(caught.value)


def test_sqlite_is_safe_beside_other_processes(sqlite_settings: Settings) -> None:
    engine = database.open_store(sqlite_settings)
    with engine.connect() as connection:
        asked = ("journal_mode", "foreign_keys", "busy_timeout")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in asked]
    engine.dispose()
    assert found == ["wal", 1, database.BUSY_TIMEOUT_S * 1000]
    assert sqlite_settings.home.stat().st_mode & 0o777 == 0o700


def test_numbers_are_consecutive_and_rolled_back_with_their_transaction(store: Engine) -> None:
    with database.writing(store) as connection:
        assert database.take_numbers(connection, "x", 5) == 1
        assert database.take_numbers(connection, "x", 1) == 6
        assert database.take_numbers(connection, "y", 1) == 1
    with store.connect() as connection:
        database.take_numbers(connection, "x", 100)
    with database.writing(store) as connection:
        assert database.take_numbers(connection, "x", 1) == 7


def test_numbers_are_in_commit_order(store: Engine) -> None:
    """Whoever sees number k sees everything below it, however writers interleave."""

    def write(_: int) -> None:
        with database.writing(store) as connection:
            k = database.take_numbers(connection, "x", 1)
            connection.execute(insert(SequenceRow).values(name=f"seen {k}", value=k))

    def look(_: int) -> bool:
        with store.connect() as connection:
            seen = set(
                connection.execute(
                    select(SequenceRow.value).where(SequenceRow.name.like("seen %"))
                ).scalars()
            )
        return seen == set(range(1, len(seen) + 1))

    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(write, i) for i in range(40)]
        assert all(pool.map(look, range(40)))
        for writer in writers:
            writer.result()
    assert look(0)


QUERY_PASSWORD = "postgresql+psycopg://127.0.0.1:1/db?user=u&{key}=hunter2"


@pytest.mark.parametrize("key", ["password", "passwd", "sslpassword", "token", "PWD"])
def test_a_password_in_the_query_is_never_shown(key: str) -> None:
    url = make_url(QUERY_PASSWORD.format(key=key))
    assert f"{key}=***" in database.shown_url(url)
    assert "hunter2" not in database.shown_url(url)
    said = str(database.unreachable("NOISEGATE_DB_URL", url, ValueError("no: hunter2, hunter2")))
    assert "(no: ***, ***)" in said
    assert "hunter2" not in said


def test_a_schema_of_a_newer_noisegate_says_what_to_do(settings: Settings) -> None:
    engine = database.open_store(settings)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(MissingError, match=r"at schema 9999.* install the newer noisegate"):
        database.upgrade(settings)


def test_a_database_in_a_place_that_is_no_folder_says_so(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    made = make_settings(db_url=f"sqlite:///{tmp_path / 'file' / 'x.db'}")
    with pytest.raises(SettingsError, match=r"NOISEGATE_DB_URL.*cannot be created"):
        database.upgrade(made)


@pytest.mark.parametrize(
    "batch",
    [pytest.param(1, id="while rows are copied"), pytest.param(2, id="when rows are merged")],
)
def test_a_server_that_goes_away_in_an_import_is_unreachable(
    make_settings: MakeSettings, postgresql_url: str, batch: int
) -> None:
    made = make_settings(db_url=postgresql_url)
    database.upgrade(made)
    engine = database.open_store(made)
    row = dict.fromkeys(ALERT_SCHEMA.names, "x") | {"alert_id": "0" * 32, "starts_at": 0}
    row |= dict.fromkeys(("ends_at", "acked_at", "verdict", "verdict_at"))
    rows = pa.RecordBatch.from_pylist([row], schema=ALERT_SCHEMA)

    def batches() -> Iterator[pa.RecordBatch]:
        for n in (1, 2):
            yield rows
            if n == batch:
                end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                with psycopg.connect(postgresql_url.rpartition("/")[0] + "/postgres") as other:
                    other.execute(end, [engine.url.database])

    with pytest.raises(UnreachableError, match="NOISEGATE_DB_URL"):
        store_alerts(engine, batches())
    engine.dispose()


def test_a_damaged_database_is_unreachable(sqlite_settings: Settings) -> None:
    engine = database.open_store(sqlite_settings)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE verdict"))
    rows = pa.RecordBatch.from_pylist([], schema=ALERT_SCHEMA)
    assert store_alerts(engine, [rows]).read == 0
    with pytest.raises(UnreachableError, match="no such table: verdict"):
        snapshot.extend(sqlite_settings, engine)
    engine.dispose()
