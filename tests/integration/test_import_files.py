import csv
import gzip
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, func, select

from noisegate.alert import Origin
from noisegate.errors import InputError, SettingsError
from noisegate.scrub import Scrubber
from noisegate.settings import Settings
from noisegate.store import files
from noisegate.store.database import open_store
from noisegate.store.files import import_file
from noisegate.store.identity import Identity
from noisegate.store.ingest import store_raw
from noisegate.store.mapping import load_map
from noisegate.store.tables import AlertRow, SequenceRow, VerdictRow

Row = dict[str, object]

ROWS: list[Row] = [
    {
        "id": f"A{n}",
        "svc": f"shop-{n % 3}",
        "alarm": "DiskFull",
        "fired": 1690000000 + n,
        "cleared": 1690000100 + n if n % 5 else None,
        "host": f"h{n}",
        "rest": "x",
    }
    for n in range(40)
]
COLUMNS = {
    "alert_id": "id",
    "service": "svc",
    "name": "alarm",
    "starts_at": "fired",
    "ends_at": "cleared",
}


FOLDER = b"folder"
_PACKED = gzip.compress(b'{"name": "secret"}\n' * 999)
BROKEN_GZIP = _PACKED[:30] + b"\xff" * 20 + _PACKED[50:]


def as_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS = {"csv": as_csv, "jsonl": as_jsonl, "ndjson": as_jsonl, "parquet": as_parquet}


def write(folder: Path, name: str, rows: list[Row] = ROWS) -> Path:
    kind, _, packed = name.partition(".")
    path = folder / f"alerts.{kind}"
    WRITERS[kind](path, rows)
    if packed:
        path = path.with_name(f"alerts.{name}")
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    return path


def rows_of(engine: Engine) -> list[tuple[object, ...]]:
    names = ("alert_id", "fingerprint", "service", "name", "labels", "starts_at", "ends_at")
    with engine.connect() as connection:
        query = select(*(getattr(AlertRow, n) for n in names)).order_by(AlertRow.starts_at)
        return [tuple(row) for row in connection.execute(query)]


def numbers(engine: Engine) -> tuple[int | None, int | None]:
    with engine.connect() as connection:
        return (
            connection.execute(select(func.max(AlertRow.seq))).scalar_one(),
            connection.execute(select(SequenceRow.value)).scalar_one_or_none(),
        )


@pytest.fixture
def store_of() -> Iterator[Callable[[Settings], Engine]]:
    opened: list[Engine] = []

    def open_(settings: Settings) -> Engine:
        opened.append(open_store(settings))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.dispose()


@pytest.mark.parametrize("name", ["csv.gz", "jsonl", "jsonl.gz", "ndjson", "parquet", "parquet.gz"])
def test_every_kind_of_file_gives_the_same_alerts(
    sqlite_settings: Settings, store_of: Callable[[Settings], Engine], tmp_path: Path, name: str
) -> None:
    engine = store_of(sqlite_settings)
    first = import_file(sqlite_settings, write(tmp_path, "csv"), COLUMNS, ["host"])
    assert (first.read, first.new, first.open, first.ignored) == (40, 40, 8, ("rest",))
    expected, seen = rows_of(engine), numbers(engine)
    again = import_file(sqlite_settings, write(tmp_path, name), COLUMNS, ["host"])
    assert (again.new, again.changed, again.unchanged) == (0, 0, 40)
    assert rows_of(engine) == expected
    assert numbers(engine) == seen


def test_a_later_file_completes_ends_acks_and_verdicts(
    settings: Settings, store: Engine, tmp_path: Path
) -> None:
    early: list[Row] = [
        {"service": "s", "name": str(n), "starts_at": 100 + n, "message": "m"} for n in range(4)
    ]
    import_file(settings, write(tmp_path, "csv", early), {})
    late: list[Row] = [
        early[0] | {"ends_at": 200, "acked_at": 150, "verdict": "real", "message": ""},
        early[1] | {"ends_at": None, "acked_at": None, "verdict": "noise"},
        early[2] | {"ends_at": None, "acked_at": None, "verdict": None},
    ]
    done = import_file(settings, write(tmp_path, "csv", late), {})
    assert (done.new, done.changed, done.unchanged, done.verdicts) == (0, 1, 2, 2)
    with store.connect() as connection:
        query = select(AlertRow.ends_at, AlertRow.acked_at, AlertRow.message, VerdictRow.given_at)
        query = query.outerjoin_from(AlertRow, VerdictRow).order_by(AlertRow.starts_at)
        found = [tuple(row) for row in connection.execute(query)]
    s = 1_000_000
    assert found == [
        (200 * s, 150 * s, "m", 150 * s),
        (None, None, "m", 101 * s),
        (None, None, "m", None),
        (None, None, "m", None),
    ]
    # The earlier file again takes nothing away.
    assert import_file(settings, write(tmp_path, "csv", early), {}).unchanged == 4


def test_an_alert_in_several_rows_is_one(settings: Settings, store: Engine, tmp_path: Path) -> None:
    states: list[Row] = [
        {"alert_id": "1", "name": "n", "starts_at": 5, "ends_at": e} for e in (None, 9, 8)
    ]
    done = import_file(settings, write(tmp_path, "csv", states), {})
    assert (done.read, done.new) == (3, 1)
    assert [row[-1] for row in rows_of(store)] == [8_000_000]


def test_rows_alike_without_ids_are_all_kept_and_found_again(
    settings: Settings, store: Engine, tmp_path: Path
) -> None:
    twins: list[Row] = [{"name": "n", "starts_at": 5, "ends_at": e} for e in (9, None, 7, 7)]
    path = write(tmp_path, "csv", twins)
    assert import_file(settings, path, {}).new == 4
    assert import_file(settings, path, {}).unchanged == 4
    twins[1]["ends_at"] = 12
    assert import_file(settings, write(tmp_path, "csv", twins), {}).changed == 1
    ends = sorted(str(row[-1]) for row in rows_of(store))
    assert ends == ["12000000", "7000000", "7000000", "9000000"]


BAD = b"""service,name,starts_at,ends_at,message
a,b,1690000000,,"two
lines"
a,b
\xff\xfe,b,1690000001,1690000009,m
a,b,1690000002,1600000000,
a,b,bob@example.com,,
a,b,16900000012,,
a,b,1,2,3,4
,,5,6,7
"""


def test_bad_rows_are_refused_by_number_and_the_good_ones_land(
    make_settings: Callable[..., Settings], sqlite_settings: Settings, tmp_path: Path
) -> None:
    settings = make_settings(max_bad_row_share=0.8)
    path, rejects = tmp_path / "bad.csv", tmp_path / "rejects.csv"
    path.write_bytes(BAD)
    done = import_file(settings, path, {}, rejects=rejects)
    assert (done.read, done.new, done.refused) == (8, 2, 6)
    assert rejects.read_text().splitlines() == [
        "row,field,reason,detail",
        "2,row,has not as many fields as the header,",
        "3,service,is not UTF-8,",
        "4,ends_at,lies before starts_at,2020-09-13 12:26:40.000000Z < 2023-07-22 04:26:42.000000Z",
        "5,starts_at,is not a time,aaa@aaaaaaa.aaa",
        "7,row,has not as many fields as the header,",
        '8,name,"is missing, and service too",',
    ]
    assert rejects.stat().st_mode & 0o777 == 0o600


def test_over_the_share_of_bad_rows_nothing_lands(
    settings: Settings, store: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(BAD)
    with pytest.raises(InputError, match=r"6 of 8 rows are bad .* nothing landed") as caught:
        import_file(settings, path, {}, rejects=tmp_path / "rejects.csv")
    assert "example" not in str(caught.value)
    assert rows_of(store) == []
    assert len((tmp_path / "rejects.csv").read_text().splitlines()) == 7


def test_bad_lines_of_jsonl_are_refused_by_number(
    make_settings: Callable[..., Settings], sqlite_settings: Settings, tmp_path: Path
) -> None:
    path, rejects = tmp_path / "a.jsonl", tmp_path / "r.csv"
    path.write_bytes(
        b'{"name": "n", "starts_at": 5, "tags": {"b": 1}}\n\nnot json\n[1]\n'
        b'{"name": "\xff", "starts_at": 5}\n{"name": 7, "starts_at": 5.5, "service": true}\n'
    )
    settings = make_settings(max_bad_row_share=1)
    done = import_file(settings, path, {}, ["tags"], rejects=rejects)
    assert (done.read, done.new, done.refused) == (5, 2, 3)
    assert [line.split(",")[0] for line in rejects.read_text().splitlines()] == [
        "row",
        "3",
        "4",
        "5",
    ]


def test_rows_are_numbered_across_blocks(
    make_settings: Callable[..., Settings],
    sqlite_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 4096)
    lines = [f"svc,name,{1690000000 + n},text of row {n}" for n in range(2000)]
    for n in (5, 700, 701, 1999):
        lines[n] += ",one too many"
    lines[1500] = "svc,name,no,m"
    path, rejects = tmp_path / "a.csv", tmp_path / "r.csv"
    path.write_text("service,name,starts_at,message\n" + "\n".join(lines))
    done = import_file(sqlite_settings, path, {}, rejects=rejects)
    assert (done.read, done.refused) == (2000, 5)
    found = [line.split(",")[0] for line in rejects.read_text().splitlines()[1:]]
    assert sorted(map(int, found)) == [6, 701, 702, 1501, 2000]


@pytest.mark.parametrize(
    ("columns", "labels", "says"),
    [
        pytest.param({"svc": "svc"}, [], "no column of ours is called 'svc': .*service", id="ours"),
        pytest.param({"service": "nope"}, [], "no column 'nope'.*has id, svc", id="theirs"),
        pytest.param({"name": "alarm"}, [], "which column is starts_at", id="no start"),
        pytest.param({"starts_at": "fired"}, [], "which column is service or name", id="no name"),
        pytest.param({**COLUMNS}, ["zone"], "no column 'zone' .*has id", id="label"),
    ],
)
def test_columns_that_do_not_fit_are_named_with_what_there_is(
    sqlite_settings: Settings, tmp_path: Path, columns: dict[str, str], labels: list[str], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        import_file(sqlite_settings, write(tmp_path, "csv"), columns, labels)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        pytest.param("a.xlsx", b"x", SettingsError, id="another ending"),
        pytest.param("a.csv", None, InputError, id="no file"),
        pytest.param("a.csv.gz", b"secret text", InputError, id="no gzip"),
        pytest.param(
            "a.csv.gz", gzip.compress(b"name,starts_at\n" * 99)[:-9], InputError, id="cut"
        ),
        pytest.param("a.parquet", b"secret text", InputError, id="no Parquet"),
        pytest.param("a.jsonl.gz", BROKEN_GZIP, InputError, id="broken inside"),
        pytest.param("a.csv", b"secret" * 30_000, InputError, id="a header without end"),
        pytest.param("a.csv", FOLDER, InputError, id="a folder, not a CSV"),
        pytest.param("a.jsonl", FOLDER, InputError, id="a folder, not JSON"),
        pytest.param("a.parquet", FOLDER, InputError, id="a folder, not Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_says_so(
    sqlite_settings: Settings,
    tmp_path: Path,
    name: str,
    content: bytes | None,
    error: type[Exception],
) -> None:
    if content == FOLDER:
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=name.replace(".", r"\.")) as caught:
        import_file(sqlite_settings, tmp_path / name, {})
    assert "secret" not in str(caught.value)


def test_a_disk_too_full_for_the_rejects_says_so(sqlite_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,starts_at\nn,never\n")
    with pytest.raises(SettingsError, match=r"--rejects /dev/full .*No space left"):
        import_file(sqlite_settings, path, {}, rejects=Path("/dev/full"))


def test_an_identity_key_that_cannot_be_made_says_so(
    sqlite_settings: Settings,
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limit[1]))  # a disk that is full at byte 8
    try:
        with pytest.raises(SettingsError, match=r"identity\.key cannot be created"):
            Identity.from_settings(sqlite_settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [p for p in sqlite_settings.home.iterdir() if "identity" in p.name] == []


def test_a_map_file_does_it_daily(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    path.write_text('labels = ["host"]\n[columns]\nservice = "svc"\nname = "alarm"\n')
    assert load_map(path) == ({"service": "svc", "name": "alarm"}, ["host"])
    for wrong in ('column = "x"', "[columns]\nname = 1", "labels = 1", "=", "columns = [1]"):
        path.write_text(wrong)
        with pytest.raises(SettingsError, match="map file"):
            load_map(path)


def test_no_raw_text_reaches_the_disk(
    sqlite_settings: Settings, store_of: Callable[[Settings], Engine], tmp_path: Path
) -> None:
    rows: list[Row] = [
        {
            "service": "carol@example.com",
            "name": "n",
            "starts_at": n,
            "message": "carol@example.com",
        }
        for n in range(1, 200)
    ]
    path = write(tmp_path, "csv", rows)
    done = import_file(sqlite_settings, path, {"alert_id": "message"}, ["service"])
    assert done.entities == {"EMAIL": 3 * 199}
    for written in sqlite_settings.home.rglob("*"):
        assert b"carol" not in written.read_bytes() if written.is_file() else True


@pytest.mark.parametrize(
    ("name", "columns", "alerts", "fingerprints"),
    [
        pytest.param(
            "telecom/alarms.csv.gz",
            {
                "service": "device_id",
                "name": "alarm_id",
                "starts_at": "start_timestamp",
                "ends_at": "end_timestamp",
            },
            24_386,
            None,
            id="telecom",
        ),
        pytest.param(
            "upptime/alerts.csv.gz",
            {"service": "tenant", "name": "monitor"},
            16_276,
            409,
            id="upptime",
        ),
    ],
)
def test_a_real_history_is_read_whole(
    settings: Settings,
    store: Engine,
    data_dir: Path,
    name: str,
    columns: dict[str, str],
    alerts: int,
    fingerprints: int | None,
) -> None:
    done = import_file(settings, data_dir / name, columns, origin=Origin.IMPORT)
    assert (done.read, done.new, done.refused) == (alerts, alerts, 0)
    found = rows_of(store)
    theirs = pacsv.read_csv(data_dir / name).to_pylist()
    starts = [row.get("start_timestamp") or row["starts_at"].timestamp() for row in theirs]
    assert [row[5] for row in found] == sorted(round(start * 1e6) for start in starts)
    if fingerprints:
        assert len({row[1] for row in found}) == fingerprints
    again = import_file(settings, data_dir / name, columns)
    assert (again.new, again.changed) == (0, 0)


def test_a_field_that_only_later_lines_have_is_read(
    sqlite_settings: Settings,
    store_of: Callable[[Settings], Engine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)
    rows: list[Row] = [{"name": "n", "starts_at": n} for n in range(1, 10)]
    rows += [{"name": "n", "starts_at": 10, "ends_at": 12}]
    import_file(sqlite_settings, write(tmp_path, "jsonl", rows), {})
    assert rows_of(store_of(sqlite_settings))[-1][-1] == 12_000_000


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbfname,starts_at\r\nn,5\r\n", id="BOM and CRLF"),
        pytest.param(b"x,name,x,starts_at\n1,n,2,5\n", id="a column twice that nobody reads"),
        pytest.param(b'"name","starts_at"\n"n","5"', id="quotes, no last line end"),
    ],
)
def test_csv_as_people_write_it(sqlite_settings: Settings, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert import_file(sqlite_settings, tmp_path / "a.csv", {}).new == 1


def test_a_header_without_rows_is_no_error(sqlite_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,starts_at\n")
    assert import_file(sqlite_settings, tmp_path / "a.csv", {}).read == 0


def test_raw_rows_bit_by_bit_complete_each_other(settings: Settings, store: Engine) -> None:
    """As a Prometheus import does: whole label sets, an end that comes later."""
    labels = '{"alertname": "n", "pod": "a"}'
    given = {
        "identity": Identity.from_settings(settings),
        "scrubber": Scrubber(),
        "source": "prometheus",
    }
    reports = []
    for end in (None, 9, 9):
        row = {"service": "s", "name": "n", "labels": labels, "starts_at": 5, "ends_at": end}
        raw = pa.RecordBatch.from_pylist([row, {"service": "s"}])
        reports.append(store_raw(store, raw, **given))  # type: ignore[arg-type]
    total = reports[0] + reports[1] + reports[2]
    assert (total.read, total.new, total.changed, total.unchanged) == (6, 1, 1, 1)
    assert (total.refused, total.reasons) == (3, {"starts_at is missing": 3})


def test_the_rows_that_an_unclosed_quote_swallows_are_counted(
    sqlite_settings: Settings, tmp_path: Path
) -> None:
    lines = [f"web,disk{i},{1_700_000_000 + i}" for i in range(100)]
    lines[50] = 'web,"disk50,1700000050'
    path = tmp_path / "unclosed.csv"
    path.write_text("\n".join(["service,name,starts_at", *lines, ""]))
    with pytest.raises(InputError, match=r"50 of 100 rows are bad.*a quote not closed"):
        import_file(sqlite_settings, path, {})
