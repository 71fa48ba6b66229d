"""A team's own alert database (ALERT_DB_URI), whichever SQLAlchemy can speak to; only ever read."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    TextClause,
    column,
    create_engine,
    event,
    select,
    table,
    text,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from noisegate.errors import InputError, SettingsError, UnreachableError
from noisegate.scrub.quoting import column_name
from noisegate.settings import Settings
from noisegate.spans import watched
from noisegate.store.database import connect_url, shown_url, unreachable
from noisegate.store.mapping import ColumnMap, map_columns

SETTING = "ALERT_DB_URI"
_SLACK = timedelta(hours=1)
"""Rows are read again this far back: a row may become visible after a younger one."""

_ALIAS = "noisegate_source"
Mark = dict[str, Any]
"""How far a source has been read, as JSON: see `_encode`."""


@dataclass(frozen=True, slots=True)
class Source:
    """The team's database, open, with its columns matched."""

    engine: Engine
    url: URL
    rows: FromClause | TextClause
    columns: ColumnMap
    updated_at: str | None
    reread_days: float

    def describe(self) -> dict[str, Any]:
        """What makes two sources the same, as JSON; without a password."""
        return {
            "kind": "alert database",
            "url": shown_url(self.url),
            "rows": str(self.rows),
            "columns": dict(self.columns.read),
            "updated_at": self.updated_at,
        }

    def read(
        self, mark: Mark | None, batch_rows: int
    ) -> Iterator[tuple[pa.RecordBatch, Mark | None]]:
        """Read raw rows by start, from a mark on (None: all), each batch with the newest mark.

        Raises:
            UnreachableError: the database does not answer, or refuses the query.
        """
        marking = self.updated_at or self.columns.read["starts_at"]
        theirs = list(dict.fromkeys([*self.columns.read.values(), marking]))
        query: Select[*tuple[Any, ...]] = select(*(column(name) for name in theirs)).select_from(
            self.rows
        )
        if mark is not None:
            query = query.where(self._since(marking, mark))
        query = query.order_by(*(column(name) for name in self._order()))
        newest = None if mark is None else _decode(mark)
        try:
            with _read_only(self.engine) as connection:
                result = connection.execution_options(yield_per=batch_rows).execute(query)
                for rows in result.partitions():
                    values = dict(zip(theirs, zip(*rows, strict=True), strict=True))
                    newest = _newest(newest, values[marking])
                    raw = pa.record_batch(
                        [as_array(values[name]) for name in self.columns.read.values()],
                        names=list(self.columns.read),
                    )
                    yield raw, None if newest is None else _encode(newest)
        except SQLAlchemyError as error:
            raise unreachable(SETTING, self.url, error) from None

    def _order(self) -> list[str]:
        read = self.columns.read
        if "alert_id" in read:
            return [read["starts_at"]]
        # Without ids, rows that start together are told apart by their order: it must be fixed.
        return list(dict.fromkeys([read["starts_at"], *read.values()]))

    def _since(self, name: str, mark: Mark) -> ColumnElement[bool]:
        newest = _decode(mark)
        back = _SLACK if self.updated_at else timedelta(days=self.reread_days)
        later: ColumnElement[bool] = column(name) >= _earlier(newest, back)
        return later


def open_source(settings: Settings) -> Source:
    """Open ALERT_DB_URI and match its columns.

    Raises:
        SettingsError: the URL or `[source]` is wrong.
        UnreachableError: the database does not answer.
    """
    wanted = settings.source
    if bool(wanted.table) == bool(wanted.query):
        raise SettingsError("ALERT_DB_URI needs source.table or source.query (one of them)")
    url = connect_url(settings.alert_db_uri, SETTING)
    engine = _engine(url)
    rows: FromClause | TextClause
    if wanted.table:
        schema, _, name = wanted.table.rpartition(".")
        rows = table(name, schema=schema or None)
    else:
        rows = text(f"({str(wanted.query).strip().rstrip(';')}) {_ALIAS}")
    try:
        with _read_only(engine) as connection:
            probe = select(text("*")).select_from(rows).where(text("1 = 0"))
            available = list(connection.execute(probe).keys())
    except (SQLAlchemyError, TypeError) as error:  # TypeError: the driver knows no such option
        raise unreachable(SETTING, url, error) from None
    where = wanted.table or "source.query"
    columns = map_columns(available, wanted.columns, wanted.labels, where)
    if wanted.updated_at and wanted.updated_at not in available:
        raise SettingsError(
            f"no column {wanted.updated_at!r} (source.updated_at): "
            f"{where} has {', '.join(map(column_name, available))}"
        )
    if wanted.updated_at and "alert_id" not in columns.read:
        raise SettingsError(
            "source.updated_at needs an id: say source.columns.alert_id, or leave updated_at "
            "out, and source.reread_days are read again each time"
        )
    return Source(engine, url, rows, columns, wanted.updated_at, wanted.reread_days)


def as_array(values: Sequence[Any]) -> pa.Array:
    """A column as a driver gives it to Arrow; what has no one plain type becomes text."""
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return pa.array([_text(value) for value in values], pa.string())
    if pa.types.is_nested(array.type) or isinstance(array.type, pa.BaseExtensionType):
        return pa.array([_text(value) for value in values], pa.string())
    return array


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.isoformat() if isinstance(value, date) else str(value)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        url = _read_only_file(url)
    try:
        engine = watched(create_engine(url, pool_pre_ping=True, hide_parameters=True))
    except (NoSuchModuleError, ArgumentError, ImportError) as error:
        raise SettingsError(f"{SETTING}: {error}: install that database's driver") from None
    if engine.dialect.name in ("mysql", "mariadb"):

        @event.listens_for(engine, "connect")
        def _never_write(connection: Any, _record: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")

    return engine


def _read_only_file(url: URL) -> URL:
    name = url.database or ""
    if name.startswith("file:"):
        return url.update_query_dict({"mode": "ro", "uri": "true"})
    if not Path(name).is_file():
        raise UnreachableError(f"{SETTING}: no SQLite file {name!r}: mend the path")
    return url.set(database=f"file:{quote(str(Path(name).resolve()))}").update_query_dict(
        {"mode": "ro", "uri": "true"}
    )


def _read_only(engine: Engine) -> Connection:
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        # One moment for all batches, and the server itself refuses a write.
        return connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
    return connection


def _newest(newest: Any, values: Sequence[Any]) -> Any:
    present = [value for value in values if value is not None]
    if newest is not None:
        present.append(newest)
    try:
        return max(present, default=None)
    except TypeError:
        raise InputError(
            "the column that tells new rows (source.updated_at, else starts_at) holds values of "
            "several kinds, which have no order: read a query that makes them one kind"
        ) from None


def _encode(value: Any) -> Mark:
    if isinstance(value, datetime):
        return {"kind": "datetime", "value": value.isoformat()}
    if isinstance(value, date):
        return {"kind": "date", "value": value.isoformat()}
    if isinstance(value, int | float | str):
        return {"kind": "plain", "value": value}
    return {"kind": "number", "value": str(value)}


def _decode(mark: Mark) -> Any:
    kind, value = mark["kind"], mark["value"]
    match kind:
        case "datetime":
            return datetime.fromisoformat(value)
        case "date":
            return date.fromisoformat(value)
        case "number":
            return float(value)
        case _:
            return value


def _earlier(value: Any, back: timedelta) -> Any:
    """A value that many days earlier, of the same kind as the column's."""
    if isinstance(value, datetime | date):
        return value - back
    if isinstance(value, int | float):
        size = abs(value)
        unit = 1 if size < 1e11 else 1e3 if size < 1e14 else 1e6 if size < 1e17 else 1e9
        return type(value)(value - back.total_seconds() * unit)
    return _earlier_text(str(value), back)


def _earlier_text(value: str, back: timedelta) -> str:
    # Any ISO form begins with its date, which orders before all of that day's times. One day
    # more, for offsets. Anything else has no order that we know: from the beginning.
    try:
        day = date.fromisoformat(value[:10])
    except ValueError:
        return ""
    return (day - back - timedelta(days=1)).isoformat()
