"""What messages show of words that are not ours: names and forms, never the text of an alert."""

import pytest
from psycopg.errors import CheckViolation, RaiseException
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from noisegate.errors import SettingsError
from noisegate.store.database import unreachable
from noisegate.store.mapping import map_columns

MARK = "Kowalski at db7, kiwi@example.com"
"""Stands for the raw text of an alert."""


def test_a_file_without_a_header_does_not_put_its_first_row_into_the_message() -> None:
    row = ["checkout", MARK, "2026-01-02T03:04:05Z", "kiwi@example.com"]
    with pytest.raises(SettingsError) as caught:
        map_columns(row, {}, [], "history.csv")
    assert str(caught.value) == (
        "which column is starts_at? Say starts_at=THEIRS: history.csv has checkout, "
        "aaaaaaaa aa aa9, <aaaaa>, 9999-99-99a99:99:99a, <EMAIL>"
    )


def test_columns_that_are_left_out_are_named_unless_the_name_is_data() -> None:
    mapped = map_columns(["name", "starts_at", "Alert Title", "x-id", MARK], {}, [], "f")
    assert mapped.ignored == ("Alert Title", "x-id", "aaaaaaaa aa aa9, <aaaaa>")


class OperationalError(Exception):
    """As drivers name it (PEP 249)."""


class ProgrammingError(Exception):
    """The same."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(OperationalError("no such table: alerts"), "no such table: alerts",
                     id="of the connection or the query"),
        pytest.param(ProgrammingError('near "a@example.com"'), 'near "<EMAIL>"',
                     id="of the query, whose words are scrubbed"),
        pytest.param(RaiseException(f"bad row {MARK}"), "RaiseException", id="of a function"),
        pytest.param(CheckViolation(f"bad row {MARK}"), "CheckViolation", id="of a row"),
        pytest.param(
            OperationalError(f"Could not decode to UTF-8 column 'm' with text '{MARK}'"),
            "Could not decode to UTF-8 column 'm'", id="of a row, by SQLite",
        ),
    ],
)  # fmt: skip
def test_a_database_says_why_without_quoting_a_row(error: Exception, told: str) -> None:
    wrapped = DBAPIError("SELECT 1", {}, error)
    url = make_url("postgresql://ann:planted@db/alerts")
    assert f" does not answer ({told}): " in str(unreachable("ALERT_DB_URI", url, wrapped))
