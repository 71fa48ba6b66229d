import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, insert, select, update

from noisegate.alert import ALERT_SCHEMA
from noisegate.errors import MissingError, SettingsError
from noisegate.scrub import VERSION, Scrubber
from noisegate.settings import Settings
from noisegate.store import reading, snapshot
from noisegate.store.database import open_store, take_numbers, upgrade, writing
from noisegate.store.ingest import SEQUENCE, store_alerts
from noisegate.store.tables import AlertRow, VerdictRow

S = 1_000_000


def alerts(*numbers: int, **values: object) -> pa.RecordBatch:
    rows = [
        {
            "alert_id": f"{n:032x}",
            "fingerprint": f"{n % 7:032x}",
            "source": "test",
            "origin": "import",
            "service": f"s{n % 2}",
            "name": "n",
            "starts_at": n * S,
        }
        | values
        for n in numbers
    ]
    return pa.RecordBatch.from_pylist(rows, schema=ALERT_SCHEMA)


def rows(ref: snapshot.SnapshotRef) -> dict[int, dict[str, Any]]:
    found = [row for batch in snapshot.read(ref) for row in batch.to_pylist()]
    by_id = {int(row["alert_id"], 16): row for row in found}
    assert len(by_id) == len(found) == ref.rows
    return by_id


def manifest(ref: snapshot.SnapshotRef) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(ref.path.read_text())
    return content


def test_it_holds_the_stores_rows(settings: Settings, store: Engine) -> None:
    assert snapshot.latest(settings) is None
    store_alerts(store, [alerts(*range(100), message="of <EMAIL> and <IPV4:0a1b2c3d4e5f>")])
    ref = snapshot.extend(settings, store)
    assert sorted(rows(ref)) == list(range(100))
    assert snapshot.latest(settings) == ref
    told = manifest(ref)
    assert told["entities"] == {"EMAIL": 100, "IPV4": 100}
    assert [column["name"] for column in told["schema"]] == ALERT_SCHEMA.names
    assert (told["rows"], told["source"]["kind"], told["watermark"]) == (100, "store", 100)
    assert {b.schema for b in snapshot.read(ref)} == {ALERT_SCHEMA}
    assert [b.num_rows for b in snapshot.read(ref, ["name"], batch_rows=60)] == [60, 40]


def test_an_empty_store_gives_an_empty_snapshot(settings: Settings, store: Engine) -> None:
    ref = snapshot.extend(settings, store)
    assert (ref.rows, list(snapshot.read(ref))) == (0, [])
    assert snapshot.table(ref, ["service", "starts_at"], newest=5).num_rows == 0


def test_nothing_new_is_the_same_snapshot(settings: Settings, store: Engine) -> None:
    store_alerts(store, [alerts(1, 2, 3)])
    ref = snapshot.extend(settings, store)
    files = {path: path.stat().st_mtime_ns for path in settings.home.rglob("snapshots/**/*.*")}
    store_alerts(store, [alerts(1, 2)])
    assert snapshot.extend(settings, store) == ref
    assert files == {p: p.stat().st_mtime_ns for p in settings.home.rglob("snapshots/**/*.*")}


def test_late_changes_supersede_the_older_row(settings: Settings, store: Engine) -> None:
    store_alerts(store, [alerts(*range(50), message="<EMAIL>")])
    first = snapshot.extend(settings, store)
    store_alerts(store, [alerts(3, ends_at=9 * S), alerts(4, message="clean"), alerts(60)])
    with writing(store) as connection:
        number = take_numbers(connection, SEQUENCE, 2)
        judged = {"alert_id": f"{5:032x}", "origin": "live"}
        connection.execute(
            insert(VerdictRow),
            [
                {**judged, "verdict_id": "a", "verdict": "noise", "given_at": 90, "seq": number},
                {**judged, "verdict_id": "b", "verdict": "real", "given_at": 80, "seq": number + 1},
            ],
        )
    second = snapshot.extend(settings, store)
    found = rows(second)
    assert (first.rows, second.rows, first.digest == second.digest) == (50, 51, False)
    assert found[3]["ends_at"].timestamp() == 9
    assert found[4]["message"] == "clean"
    assert (found[5]["verdict"], found[5]["verdict_at"].timestamp() * S) == ("noise", 90)
    assert manifest(second)["entities"] == {"EMAIL": 49}
    assert rows(first)[3]["ends_at"] is None  # the older snapshot is still what it was


def test_only_what_is_new_is_read(settings: Settings, store: Engine) -> None:
    store_alerts(store, [alerts(*range(1000))])
    snapshot.extend(settings, store)
    store_alerts(store, [alerts(5, 2000, message="m")])
    seen: list[int] = []
    snapshot.extend(settings, store, progress=seen.append)
    assert seen == [2]


def test_many_small_steps_are_written_together(settings: Settings, store: Engine) -> None:
    for n in range(30):
        store_alerts(store, [alerts(n, message=str(n)), alerts(0, message=f"again {n}")])
        ref = snapshot.extend(settings, store)
    assert sorted(rows(ref)) == list(range(30))
    assert len(manifest(ref)["parts"]) <= 10
    assert rows(ref)[0]["message"] == "again 29"


def test_the_newest_alerts_come_sorted(
    settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PART_ROWS", 16)
    monkeypatch.setattr(snapshot, "_MANY_SMALL", 1000)
    for first in (40, 0, 80, 60, 20):
        store_alerts(store, [alerts(*range(first + 19, first - 1, -1))])
        ref = snapshot.extend(settings, store)
    store_alerts(store, [alerts(99, ends_at=100 * S)])
    ref = snapshot.extend(settings, store)
    for newest in (1, 7, 30, 99, 100, 500, None):
        found = snapshot.table(ref, ["alert_id", "ends_at"], newest=newest)
        assert found.column_names == ["alert_id", "ends_at"]
        ids = [int(i, 16) for i in found.column("alert_id").to_pylist()]
        assert ids == list(range(100))[-newest if newest else 0 :]
        assert found.column("ends_at").null_count == len(ids) - 1


def test_texts_of_an_older_scrubber_are_scrubbed_again(
    settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = '{"host":"10.20.30.40","who":"dave@example.com"}'
    store_alerts(store, [alerts(1, 2)])
    store_alerts(store, [alerts(3, message="from dave@example.com", labels=labels)])
    first = snapshot.extend(settings, store)
    with store.begin() as connection:
        connection.execute(update(AlertRow).values(scrubber=VERSION - 1))
    told = manifest(first)
    first.path.write_text(json.dumps(told | {"scrubber": VERSION - 1}))
    second = snapshot.extend(settings, store)
    found = rows(second)
    assert found[3]["message"] == "from <EMAIL>"
    assert json.loads(found[3]["labels"]) == {"host": "<IPV4>", "who": "<EMAIL>"}
    assert manifest(second)["scrubber"] == VERSION
    assert reading.scrub_again(store, Scrubber()) == 0
    assert snapshot.extend(settings, store) == second


def test_a_text_that_a_later_import_leaves_is_still_scrubbed_again(
    settings: Settings, store: Engine
) -> None:
    old = alerts(1, message="from dave@example.com")
    store_alerts(store, [old, alerts(2, message="b")], scrubber_version=VERSION - 1)
    store_alerts(store, [alerts(1, ends_at=9 * S), alerts(2, message="c", severity="s")])
    with store.connect() as connection:
        query = select(AlertRow.scrubber).order_by(AlertRow.alert_id)
        assert connection.execute(query).scalars().all() == [VERSION - 1, VERSION]
    found = rows(snapshot.extend(settings, store))
    assert (found[1]["message"], found[1]["ends_at"].timestamp()) == ("from <EMAIL>", 9)


def test_texts_of_an_older_scrubber_leave_the_disk_with_the_last_old_snapshot(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(100)), alerts(100, message="dave@example.com")])
    first = snapshot.extend(sqlite_settings, engine)
    with engine.begin() as connection:
        connection.execute(update(AlertRow).values(scrubber=VERSION - 1))
    first.path.write_text(json.dumps(manifest(first) | {"scrubber": VERSION - 1}))
    monkeypatch.setattr(snapshot, "_ORPHAN_S", -1.0)
    second = snapshot.extend(sqlite_settings, engine)
    assert len(rows(first)) == len(rows(second)) == 101
    monkeypatch.setattr(snapshot, "_KEPT_S", -1.0)
    assert snapshot.extend(sqlite_settings, engine) == second
    assert [p.name for p in first.path.parent.iterdir()] == [second.path.name]
    parts = {p.name for p in (second.path.parent.parent / "parts").iterdir()}
    assert parts == {part["file"] for part in manifest(second)["parts"]}
    for name in parts:
        table = pq.read_table(second.path.parent.parent / "parts" / name)
        assert "dave@example.com" not in table.column("message").to_pylist()
    engine.dispose()


def test_a_superseded_snapshot_stays_some_days_from_then_on(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(1)])
    first = snapshot.extend(sqlite_settings, engine)
    long_ago = time.time() - 90 * 86_400
    for path in [first.path, *(first.path.parent.parent / "parts").iterdir()]:
        os.utime(path, (long_ago, long_ago))
    store_alerts(engine, [alerts(2)])
    second = snapshot.extend(sqlite_settings, engine)
    assert (len(rows(first)), len(rows(second))) == (1, 2)  # a run may be reading it
    os.utime(first.path, (long_ago, long_ago))
    assert snapshot.extend(sqlite_settings, engine) == second
    assert not first.path.exists()
    assert len(rows(second)) == 2
    engine.dispose()


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def of_another_shape(path: Path) -> None:
    path.write_text('{"parts": 1}')


@pytest.mark.parametrize("harm", [remove, empty, flip_a_byte])
@pytest.mark.parametrize("ending", ["parquet", "npy"])
def test_a_part_that_is_missing_or_damaged_is_made_anew(
    sqlite_settings: Settings, harm: Callable[[Path], None], ending: str
) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(50))])
    snapshot.extend(sqlite_settings, engine)
    store_alerts(engine, [alerts(3, ends_at=9 * S)])
    ref = snapshot.extend(sqlite_settings, engine)
    folder = ref.path.parent.parent / "parts"
    harmed = next(p for p in sorted(folder.iterdir()) if p.name.endswith(ending))
    harm(harmed)
    if harm is not flip_a_byte:
        with pytest.raises(MissingError, match=rf"{harmed.name} .*noisegate retrain"):
            list(snapshot.read(ref))
        with pytest.raises(MissingError, match=rf"{harmed.name} .*noisegate retrain"):
            snapshot.table(ref, ["name", "ends_at"])
    again = snapshot.extend(sqlite_settings, engine)
    assert again == ref
    assert rows(again)[3]["ends_at"].timestamp() == 9
    for part in manifest(again)["parts"]:
        assert hashlib.sha256((folder / part["file"]).read_bytes()).hexdigest() in part["file"]
    engine.dispose()


@pytest.mark.parametrize("harm", [empty, flip_a_byte, of_another_shape])
def test_a_damaged_manifest_says_so_and_is_made_anew(
    sqlite_settings: Settings, harm: Callable[[Path], None]
) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(50))])
    ref = snapshot.extend(sqlite_settings, engine)
    harm(ref.path)
    for look in (lambda: snapshot.latest(sqlite_settings), lambda: list(snapshot.read(ref))):
        with pytest.raises(MissingError, match=rf"{ref.path.name} .*noisegate retrain"):
            look()
    assert snapshot.extend(sqlite_settings, engine) == ref == snapshot.latest(sqlite_settings)
    assert len(rows(ref)) == 50
    engine.dispose()


def test_an_old_damaged_manifest_is_swept(sqlite_settings: Settings) -> None:
    engine = open_store(sqlite_settings)
    ref = snapshot.extend(sqlite_settings, engine)
    (ref.path.parent / "damaged.json").write_bytes(b"")
    assert snapshot.extend(sqlite_settings, engine) == ref
    os.utime(ref.path.parent / "damaged.json", (0, 0))
    snapshot.extend(sqlite_settings, engine)
    assert list(ref.path.parent.iterdir()) == [ref.path]
    engine.dispose()


def test_a_pointer_of_garbage_is_made_anew(sqlite_settings: Settings) -> None:
    engine = open_store(sqlite_settings)
    ref = snapshot.extend(sqlite_settings, engine)
    for garbage in (b"", b"\0" * 64, b"\xff" * 64, b"x" * 999):
        (ref.path.parent.parent / "latest").write_bytes(garbage)
        assert snapshot.extend(sqlite_settings, engine) == ref == snapshot.latest(sqlite_settings)
    engine.dispose()


@pytest.mark.parametrize("name", ["snapshots", "snapshots/parts", "snapshots/latest"])
def test_a_folder_that_cannot_be_written_says_so(sqlite_settings: Settings, name: str) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(1)])
    path = sqlite_settings.home / name
    if name.endswith("latest"):
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text("a file where a folder belongs")
    with pytest.raises(SettingsError, match=r"snapshots/.*cannot be written .*NOISEGATE_HOME"):
        snapshot.extend(sqlite_settings, engine)
    engine.dispose()


def test_a_full_disk_leaves_the_last_snapshot(sqlite_settings: Settings) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(50))])
    ref = snapshot.extend(sqlite_settings, engine)
    store_alerts(engine, [alerts(*range(100, 200))])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))  # as if full: no file is larger
    try:
        with pytest.raises(SettingsError, match=r"cannot be written \(File too large\)"):
            snapshot.extend(sqlite_settings, engine)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert snapshot.latest(sqlite_settings) == ref
    assert len(rows(ref)) == 50
    engine.dispose()


def test_another_database_is_never_mixed_in(
    make_settings: Callable[..., Settings], sqlite_settings: Settings
) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(10))])
    snapshot.extend(sqlite_settings, engine)
    engine.dispose()
    for path in sqlite_settings.home.glob("noisegate.db*"):
        path.unlink()
    upgrade(sqlite_settings)
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(20, 50))])
    assert sorted(rows(snapshot.extend(sqlite_settings, engine))) == list(range(20, 50))
    engine.dispose()


def test_a_snapshot_that_is_gone_says_so(settings: Settings, store: Engine) -> None:
    ref = snapshot.extend(settings, store)
    ref.path.unlink()
    with pytest.raises(MissingError, match="noisegate retrain"):
        list(snapshot.read(ref))
    assert snapshot.latest(settings) is None
    assert snapshot.extend(settings, store) == ref


KILLED = """
import os, signal, sys
from pathlib import Path
from noisegate.scrub import VERSION
from noisegate.settings import load_settings
from noisegate.store import snapshot
from noisegate.store.database import open_store

when, side = int(sys.argv[2]), sys.argv[3]
replace, count = Path.replace, 0

def fatal(self, target):
    global count
    count += 1
    if count == when and side == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = replace(self, target)
    if count == when:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Path.replace = fatal
settings = load_settings(home=Path(sys.argv[1]))
snapshot.extend(settings, open_store(settings))
"""


def test_a_kill_at_any_moment_leaves_a_whole_snapshot(
    sqlite_settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(40))])
    old = snapshot.extend(sqlite_settings, engine)
    store_alerts(engine, [alerts(3, 4, ends_at=90 * S), alerts(*range(100, 140))])
    engine.dispose()
    # The new part, the dropped rows, the manifest, the pointer: a kill before and after each.
    moments = [(when, side) for when in (1, 2, 3, 4) for side in ("before", "after")]
    homes = [tmp_path / f"{when} {side}" for when, side in moments]
    runs = []
    for home, (when, side) in zip(homes, moments, strict=True):
        shutil.copytree(sqlite_settings.home, home)
        command = [sys.executable, "-c", KILLED, str(home), str(when), side]
        runs.append(subprocess.Popen(command, cwd=tmp_path))
    assert [run.wait() for run in runs] == [-signal.SIGKILL] * 8
    for home, moment in zip(homes, moments, strict=True):
        settings = make_settings(home=home)
        left = snapshot.latest(settings)
        assert left is not None
        assert (left.digest == old.digest) is (moment != (4, "after"))
        assert len(rows(left)) == left.rows
        engine = open_store(settings)
        assert len(rows(snapshot.extend(settings, engine))) == 80
        engine.dispose()


def test_what_a_kill_left_behind_is_swept_a_day_later(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_store(sqlite_settings)
    store_alerts(engine, [alerts(*range(40))])
    ref = snapshot.extend(sqlite_settings, engine)
    folder = ref.path.parent.parent
    strays = [folder / ".tmp-1-a", folder / "parts" / "x.parquet", folder / "parts" / ".tmp-1-b"]
    for stray in strays:
        stray.write_bytes(b"x")
    snapshot.extend(sqlite_settings, engine)
    assert all(stray.exists() for stray in strays)
    monkeypatch.setattr(snapshot, "_ORPHAN_S", -1.0)
    snapshot.extend(sqlite_settings, engine)
    assert not any(stray.exists() for stray in strays)
    assert len(rows(ref)) == 40
    engine.dispose()


def test_parts_are_read_by_anything_that_reads_parquet(settings: Settings, store: Engine) -> None:
    store_alerts(store, [alerts(1, 2)])
    ref = snapshot.extend(settings, store)
    (part,) = manifest(ref)["parts"]
    table = pq.read_table(ref.path.parent.parent / "parts" / part["file"])
    assert table.schema.names == ALERT_SCHEMA.names
