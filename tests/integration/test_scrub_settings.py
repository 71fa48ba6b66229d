"""Scrub settings reach whatever is stored, also what was stored under other settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from noisegate.cli.checks import run_checks
from noisegate.learning.train import config_digest
from noisegate.scrub import VERSION
from noisegate.settings import Settings
from noisegate.store import canary, snapshot
from noisegate.store.database import open_store
from noisegate.store.files import import_file
from noisegate.store.tables import AlertRow, EventRow

PATTERN = {"id": "employee", "token": "EMPLOYEE", "pattern": r"\bEMP-\d{6}\b"}
CSV = """\
service,name,starts_at,ends_at,message,owner
db EMP-100001,Full,0,60,paged EMP-100002 at 10.0.0.1,EMP-100003
web,Slow,100,160,fine,team
"""


def under(settings: Settings, **scrub: object) -> Settings:
    """The same store under other scrub settings."""
    changed = type(settings.scrub).model_validate(scrub)
    return settings.model_copy(update={"scrub": changed})


def bring_in(settings: Settings, folder: Path, content: str = CSV) -> Any:
    path = folder / "alerts.csv"
    path.write_text(content)
    return import_file(settings, path, {}, ["owner"])


def stored(engine: Engine) -> str:
    with engine.connect() as connection:
        rows = connection.execute(select(AlertRow.__table__).order_by(AlertRow.starts_at)).all()
    return "\n".join(map(str, rows))


def kept(ref: snapshot.SnapshotRef) -> str:
    return "\n".join(str(row) for batch in snapshot.read(ref) for row in batch.to_pylist())


def told(ref: snapshot.SnapshotRef) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ref.path.read_text())
    return content


def test_an_import_leaves_nothing_of_what_a_pattern_finds(
    settings: Settings, store: Engine, tmp_path: Path
) -> None:
    strict = under(settings, patterns=[PATTERN], treatment={"IPV4": "keep"})

    report = bring_in(strict, tmp_path)

    assert report.entities == {"CUSTOM": 3}
    found = stored(store)
    assert "EMP-" not in found
    assert (found.count("<EMPLOYEE>"), found.count("10.0.0.1")) == (3, 1)
    if store.dialect.name == "sqlite":
        files = [path for path in settings.home.rglob("*") if path.is_file()]
        assert not [path for path in files if b"EMP-10000" in path.read_bytes()]
    ref = snapshot.extend(strict, store)
    assert told(ref)["entities"] == {"CUSTOM": 3}


def test_a_new_pattern_scrubs_again_what_is_stored_and_in_the_snapshot(
    settings: Settings, store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in(settings, tmp_path)
    first = snapshot.extend(settings, store)
    before = told(first)
    assert "EMP-100002" in kept(first)
    strict = under(settings, patterns=[PATTERN])
    monkeypatch.setattr(snapshot, "_ORPHAN_S", -1.0)
    monkeypatch.setattr(snapshot, "_KEPT_S", -1.0)

    second = snapshot.extend(strict, store)

    for found in (stored(store), kept(second)):
        assert "EMP-" not in found
        assert found.count("<EMPLOYEE>") == 3
    assert second.digest != first.digest
    assert told(second)["scrub_settings"] != before["scrub_settings"]
    assert snapshot.extend(strict, store) == second
    # The older snapshot is deleted with its files: nothing of them holds the text any more.
    parts = {part["file"] for part in told(second)["parts"]}
    assert {path.name for path in (settings.home / "snapshots" / "parts").iterdir()} == parts


@pytest.mark.parametrize("earlier_snapshot", [True, False])
def test_looser_settings_bring_no_text_back_and_stricter_ones_are_not_forgotten(
    earlier_snapshot: bool, settings: Settings, store: Engine, tmp_path: Path
) -> None:
    bring_in(under(settings, treatment={"IPV4": "keep"}), tmp_path)
    if earlier_snapshot:
        snapshot.extend(under(settings, treatment={"IPV4": "keep"}), store)
    assert "10.0.0.1" in stored(store)

    ref = snapshot.extend(settings, store)

    assert "10.0.0.1" not in stored(store) + kept(ref)
    again = snapshot.extend(under(settings, treatment={"IPV4": "keep"}), store)
    assert again.digest == ref.digest
    assert "<IPV4>" in kept(again)


def test_rows_that_came_under_other_settings_in_between_are_scrubbed_by_todays(
    settings: Settings, store: Engine, tmp_path: Path
) -> None:
    strict = under(settings, patterns=[PATTERN])
    bring_in(strict, tmp_path)
    snapshot.extend(strict, store)
    bring_in(settings, tmp_path, CSV.replace("10000", "20000"))
    assert "EMP-200001" in stored(store)

    ref = snapshot.extend(strict, store)

    assert "EMP-" not in stored(store) + kept(ref)


def test_settings_of_ones_own_are_marked_so_that_the_default_scrubs_again(
    settings: Settings, store: Engine, tmp_path: Path
) -> None:
    def marks() -> list[int]:
        with store.connect() as connection:
            return list(connection.execute(select(AlertRow.scrubber)).scalars())

    bring_in(under(settings, treatment={"IPV4": "keep"}), tmp_path)
    assert marks() == [0, 0]
    snapshot.extend(settings, store)
    assert marks() == [VERSION, VERSION]


def test_a_teams_own_database_is_read_anew_under_other_settings(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    import sqlite3

    from noisegate.store.database import upgrade

    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE pages (service TEXT, starts_at INT, message TEXT)")
        connection.execute("INSERT INTO pages VALUES ('db', 1, 'EMP-100001 at 10.0.0.1')")
    connection.close()
    made = make_settings(alert_db_uri=f"sqlite:///{theirs}", source={"table": "pages"})
    upgrade(made)
    engine = open_store(made)
    first = snapshot.extend(made, engine)
    assert "EMP-100001 at <IPV4>" in kept(first)
    assert snapshot.extend(made, engine) == first

    strict = under(made, patterns=[PATTERN], allow={"IPV4": ["10.0.0.0/8"]})
    second = snapshot.extend(strict, engine)

    engine.dispose()
    assert "<EMPLOYEE> at 10.0.0.1" in kept(second)
    assert told(second)["entities"] == {"CUSTOM": 1}


def test_what_is_learned_depends_on_texts_not_on_the_settings_that_made_them(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    """The digest of the data says it: settings that change no text are no reason to learn again."""
    idle = under(sqlite_settings, patterns=[PATTERN | {"pattern": "NOBODY-\\d"}])
    assert config_digest(idle) == config_digest(sqlite_settings)
    bring_in(sqlite_settings, tmp_path)
    engine = open_store(sqlite_settings)
    plain = snapshot.extend(sqlite_settings, engine)
    same = snapshot.extend(idle, engine)
    other = snapshot.extend(under(sqlite_settings, patterns=[PATTERN]), engine)
    engine.dispose()
    assert plain.digest == same.digest != other.digest


def test_the_canary_goes_the_way_that_the_settings_say(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    engine = open_store(sqlite_settings)
    loose = under(sqlite_settings, treatment={"IPV4": "keep"})
    found = [canary.plant(chosen, engine, "live") for chosen in (sqlite_settings, loose)]
    with engine.connect() as connection:
        payloads = select(EventRow.payload).where(EventRow.kind == "canary").order_by(EventRow.seq)
        told_then = connection.execute(payloads).scalars().all()
    engine.dispose()
    assert found == [[], []]  # what is to stay is no miss
    assert [one["missed"] for one in told_then] == [0, 0]
    assert told_then[0]["planted"] - told_then[1]["planted"] == 2


def test_the_doctor_says_which_settings_are_in_force(sqlite_settings: Settings) -> None:
    (good,) = (
        check
        for check in run_checks(under(sqlite_settings, patterns=[PATTERN]))
        if check.subject == "scrub"
    )
    assert (good.status, good.found) == (
        "fine",
        "treatment token; patterns: employee; names off",
    )
    wrong = under(sqlite_settings, patterns=[PATTERN | {"pattern": "EMP-.*"}])
    (bad,) = (check for check in run_checks(wrong) if check.subject == "scrub")
    assert bad.status == "wrong"
    assert "repeated without end" in bad.found + bad.way_out
