import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from noisegate.errors import InputError, SettingsError, UnreachableError
from noisegate.settings import Settings
from noisegate.store import snapshot, source
from noisegate.store.database import open_store, upgrade

MakeSettings = Callable[..., Settings]
DAY = 86_400
COLUMNS = {"alert_id": "id", "name": "alarm", "starts_at": "fired", "ends_at": "cleared"}


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team's own SQLite database: 100 alerts, one a day, told by ISO text."""
    path = tmp_path / "team alerts.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE alerts (id INTEGER, alarm TEXT, fired DATETIME, cleared DATETIME,"
            " host TEXT, changed INTEGER)"
        )
        connection.executemany(
            "INSERT INTO alerts VALUES (?, ?, datetime(?, 'unixepoch'), ?, ?, ?)",
            [
                (n, f"alarm {n % 5}", 1690000000 + n * DAY, None, f"10.0.3.{n}", n)
                for n in range(100)
            ],
        )
    connection.close()
    return path


@pytest.fixture
def extend(make_settings: MakeSettings) -> Callable[..., list[dict[str, Any]]]:
    def run(uri: str, **options: object) -> list[dict[str, Any]]:
        given = {"table": "alerts", "columns": COLUMNS, "labels": ["host"]} | options
        settings = make_settings(alert_db_uri=uri, source=given)
        upgrade(settings)
        engine = open_store(settings)
        try:
            ref = snapshot.extend(settings, engine)
            assert snapshot.extend(settings, engine) == ref
        finally:
            engine.dispose()
        found = [row for batch in snapshot.read(ref) for row in batch.to_pylist()]
        assert len({row["alert_id"] for row in found}) == len(found)
        return sorted(found, key=lambda row: row["starts_at"])

    return run


def write(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="re-reading the last days"),
        pytest.param({"updated_at": "changed"}, id="by the column that grows"),
        pytest.param({"table": None, "query": "SELECT * FROM alerts;"}, id="by a query"),
    ],
)
def test_new_rows_and_late_changes_are_seen(
    team: Path, extend: Callable[..., list[dict[str, Any]]], options: dict[str, object]
) -> None:
    uri = f"sqlite:///{team}"
    assert len(extend(uri, **options)) == 100
    write(
        team,
        "UPDATE alerts SET cleared = datetime(fired, '+1 minute'), changed = 101 WHERE id = 90",
        "INSERT INTO alerts VALUES (100, 'new', datetime('2023-11-01'), NULL, 'h', 102)",
    )
    found = extend(uri, **options)
    assert len(found) == 101
    ended = [row for row in found if row["ends_at"]]
    assert [(row["ends_at"] - row["starts_at"]).seconds for row in ended] == [60]
    assert ended[0]["labels"] == '{"host":"<IPV4>"}'


def test_only_the_days_asked_for_are_read_again(
    team: Path, extend: Callable[..., list[dict[str, Any]]]
) -> None:
    uri = f"sqlite:///{team}"
    extend(uri, reread_days=10)
    write(team, "UPDATE alerts SET cleared = datetime(fired, '+1 minute') WHERE id IN (50, 95)")
    found = extend(uri, reread_days=10)
    assert [row["starts_at"].timestamp() for row in found if row["ends_at"]] == [
        1690000000 + 95 * DAY
    ]


def test_it_is_never_written_to(team: Path, extend: Callable[..., list[dict[str, Any]]]) -> None:
    before = team.read_bytes()
    extend(f"sqlite:///{team}")
    assert team.read_bytes() == before
    assert [path.name for path in team.parent.glob("team*")] == [team.name]
    with pytest.raises(UnreachableError, match="ALERT_DB_URI"):
        extend(f"sqlite:///{team}", table=None, query="DELETE FROM alerts RETURNING *")
    assert team.read_bytes() == before


def test_postgresql_is_read_in_a_read_only_transaction(
    postgresql_url: str, extend: Callable[..., list[dict[str, Any]]]
) -> None:
    with psycopg.connect(postgresql_url) as connection:
        connection.execute("CREATE SCHEMA ops")
        connection.execute(
            'CREATE TABLE ops."Alerts" (id uuid, alarm text, "firedAt" timestamptz,'
            " cleared timestamp, host inet, changed timestamptz)"
        )
        connection.execute(
            "INSERT INTO ops.\"Alerts\" SELECT gen_random_uuid(), 'a',"
            " to_timestamp(1690000000 + n), to_timestamp(1690000060 + n) AT TIME ZONE 'UTC',"
            " '10.0.3.1', now() FROM generate_series(0, 99) n"
        )
        connection.execute(
            'CREATE FUNCTION sneak() RETURNS int LANGUAGE sql AS $$ DELETE FROM ops."Alerts";'
            " SELECT 1 $$"
        )
    options = {
        "table": "ops.Alerts",
        "columns": COLUMNS | {"starts_at": "firedAt"},
        "updated_at": "changed",
    }
    found = extend(postgresql_url, **options)
    assert [row["starts_at"].timestamp() for row in found] == [1690000000 + n for n in range(100)]
    assert {(row["ends_at"] - row["starts_at"]).seconds for row in found} == {60}
    with psycopg.connect(postgresql_url) as connection:
        connection.execute(
            "UPDATE ops.\"Alerts\" SET cleared = cleared + interval '1 minute', changed = now()"
            ' WHERE "firedAt" = to_timestamp(1690000007)'
        )
    found = extend(postgresql_url, **options)
    assert [(row["ends_at"] - row["starts_at"]).seconds for row in found].count(120) == 1
    with pytest.raises(UnreachableError, match="read-only"):
        extend(
            postgresql_url,
            table=None,
            query='SELECT id, alarm, "firedAt", cleared, host, sneak() FROM ops."Alerts"',
            columns=COLUMNS | {"starts_at": "firedAt"},
        )


def test_rows_alike_without_ids_are_told_apart_and_found_again(
    team: Path, extend: Callable[..., list[dict[str, Any]]]
) -> None:
    write(
        team,
        "CREATE TABLE twins AS SELECT 's' AS name, 5 AS starts_at, e AS ends_at"
        " FROM (SELECT 9 e UNION ALL SELECT 7 UNION ALL SELECT 7 UNION ALL SELECT NULL)",
    )
    options: dict[str, object] = {"table": "twins", "columns": {}, "labels": []}
    assert len(extend(f"sqlite:///{team}", **options)) == 4
    write(team, "UPDATE twins SET ends_at = 8 WHERE ends_at IS NULL")
    found = extend(f"sqlite:///{team}", **options)
    assert sorted(row["ends_at"].timestamp() for row in found) == [7, 7, 8, 9]


def test_too_many_bad_rows_leave_the_last_snapshot(
    team: Path, extend: Callable[..., list[dict[str, Any]]], make_settings: MakeSettings
) -> None:
    extend(f"sqlite:///{team}")
    before = snapshot.latest(make_settings())
    write(team, "UPDATE alerts SET cleared = 'secret text' WHERE id > 80")
    with pytest.raises(InputError, match=r"ALERT_DB_URI: 19 of \d+ rows are bad") as caught:
        extend(f"sqlite:///{team}")
    assert "secret" not in str(caught.value)
    assert snapshot.latest(make_settings()) == before


@pytest.mark.parametrize(
    ("uri", "options", "error", "says"),
    [
        pytest.param("{team}.gone", {}, UnreachableError, "no SQLite file", id="no file"),
        pytest.param("{team}", {"table": "x"}, UnreachableError, "no such table", id="no table"),
        pytest.param("{team}", {"table": None}, SettingsError, "source.table or", id="neither"),
        pytest.param(
            "{team}", {"columns": {"name": "alarm"}}, SettingsError, "starts_at", id="map"
        ),
        pytest.param("{team}", {"updated_at": "x"}, SettingsError, "no column 'x'", id="updated"),
        pytest.param(
            "{team}",
            {"updated_at": "changed", "columns": {"name": "alarm", "starts_at": "fired"}},
            SettingsError,
            "needs an id",
            id="increments without ids",
        ),
    ],
)
def test_what_is_wrong_is_named(
    team: Path,
    extend: Callable[..., list[dict[str, Any]]],
    uri: str,
    options: dict[str, object],
    error: type[Exception],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        extend("sqlite:///" + uri.format(team=team), **options)


def test_a_password_is_never_shown(extend: Callable[..., list[dict[str, Any]]]) -> None:
    with pytest.raises(UnreachableError, match="ALERT_DB_URI") as caught:
        extend("postgresql://bob:s3cret@127.0.0.1:1/x")
    assert "s3cret" not in str(caught.value)


def test_a_password_in_the_query_is_in_no_manifest(team: Path, make_settings: MakeSettings) -> None:
    given = {"table": "alerts", "columns": COLUMNS}
    settings = make_settings(
        alert_db_uri=f"sqlite:///file:{quote(str(team))}?uri=true&password=s3cret", source=given
    )
    upgrade(settings)
    engine = open_store(settings)
    ref = snapshot.extend(settings, engine)
    engine.dispose()
    assert "password=***" in ref.path.read_text()
    assert "s3cret" not in ref.path.read_text()


def test_text_that_is_not_utf_8_is_not_quoted(
    team: Path, extend: Callable[..., list[dict[str, Any]]]
) -> None:
    write(team, "UPDATE alerts SET alarm = CAST(x'736563726574ff' AS TEXT) WHERE id = 5")
    with pytest.raises(UnreachableError, match="not decode to UTF-8") as caught:
        extend(f"sqlite:///{team}")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("newest", "days", "earlier"),
    [
        pytest.param("2023-07-22T04:26:40+02:00", 2, "2023-07-19", id="ISO text, a day for zones"),
        pytest.param("1690000000", 2, "", id="other text has no order: from the beginning"),
        pytest.param(1690000000, 1, 1690000000 - DAY, id="seconds"),
        pytest.param(1690000000000, 1, 1690000000000 - DAY * 1000, id="milliseconds"),
        pytest.param(1690000000.5, 1, 1690000000.5 - DAY, id="fractional seconds"),
    ],
)
def test_a_mark_goes_back_in_its_columns_own_kind(
    newest: object, days: int, earlier: object
) -> None:
    mark = source._encode(newest)
    assert source._earlier(source._decode(mark), timedelta(days=days)) == earlier
