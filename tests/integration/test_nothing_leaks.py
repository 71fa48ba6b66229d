"""Marked personal data and secrets go in by every door; the whole flow runs; none is anywhere.

One home, one history: imports (good, bad, failing), a snapshot, embedding, training on Ray, MLflow,
promotion, report, traces, logs, metrics, and runs that die with raw text in their error.
"""

import base64
import gzip
import http.server
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spacy

from noisegate.scrub import Entity
from noisegate.settings import load_settings
from noisegate.simulate.history import SimulationPlan, simulate
from noisegate.store.snapshot import latest, read

pytestmark = pytest.mark.timeout(1200)

_JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJraXdpcGx1bWFnZSJ9.k1wiPlum4geS1gnature"
PLANTS: dict[Entity, tuple[str, str]] = {
    Entity.PRIVATE_KEY: (
        "-----BEGIN EC PRIV" + "ATE KEY-----\n{}\n-----END EC PRIV" + "ATE KEY-----",
        "MHcCAQEEIkiwiplumage0feather1beak2talon3",
    ),
    Entity.JWT: ("session {} refused", _JWT),
    Entity.URL_CREDENTIALS: ("cannot open amqp://{}@mq.example.net:5672", "kiwisvc:Pl4mageBeak"),
    Entity.AWS_KEY: ("signed with {} at once", "AKIA" + "QPLUMAGEKIWI7BEK"),
    Entity.SECRET: ("login failed: password={}", "K1wiPlum4geBeak"),
    Entity.EMAIL: ("mail to {} bounced", "kiwiplumage.beak@aviary.example.org"),
    Entity.IBAN: ("transfer from {} failed", "GB33 BUKB 2020 1555 5555 55"),
    Entity.CREDIT_CARD: ("card {} declined", "4539 1488 0343 6467"),
    Entity.PHONE: ("pager of {} does not answer", "+44 20 7946 0958"),
    Entity.SSN: ("applicant ssn {} not found", "413-82-6690"),
    Entity.MAC: ("lease for {} expired", "3c:22:fb:7a:91:5e"),
    Entity.IPV6: ("no route to {} from here", "2001:db8:85a3::8a2e:370:7334"),
    Entity.IPV4: ("connection from {} refused", "203.0.113.189"),
    Entity.USER: ("open /home/{}/.kube/config failed", "kiwiplumagebird"),
    Entity.NATIONAL_ID: ("payee with codice fiscale {} unknown", "PLMKWI85T10A562G"),
    Entity.PERSON: ("paged {} twice", "Kiwana Plumridge"),
    Entity.CUSTOM: ("badge {} is blocked", "KIWI-4711-PLUM"),
}
"""Of every entity a text and what in it is the mark; in pieces, so that no scanner fires here."""

SETTINGS = r"""
delay_budget_s = 300  # no refusal on so few alerts
audit_texts = 400

[source]
table = "alerts"

[scrub]
names = "spacy"
names_model = "MODEL"

[[scrub.patterns]]
id = "badge"
token = "BADGE"
pattern = 'KIWI-\d{4}-[A-Z]{4}'
"""

COMMAND = """
from noisegate.cli import main
main()
"""
IMPORT_FAILS = """
from noisegate.store import files

def prepare(raw, **_):
    raise ValueError(f"cannot convert {raw.to_pylist()}")

files.prepare = prepare
"""
RETRAIN = """
from flows import local
leave = local._Server.leave

def leave_and_wait(server):
    leave(server)
    server.process.wait()

local._Server.leave = leave_and_wait  # it still writes down what it heard
"""
RETRAIN_FAILS = """
from noisegate.store import snapshot

def prepare(raw, **_):
    raise ValueError(f"cannot convert {raw.to_pylist()}")

snapshot.prepare = prepare
"""


def forms(entity: Entity) -> list[str]:
    """The text with its mark as people's systems write it: plain, in a URL, as JSON in JSON."""
    text = PLANTS[entity][0].format(PLANTS[entity][1])
    nested = json.dumps({"body": json.dumps({"detail": text})})
    # A recogniser of names reads prose, and `Kiwana%20Plumridge` is none.
    url = f"GET https://api.example.net/v1?q={quote(text, safe='')} failed"
    return [text, nested] if entity is Entity.PERSON else [text, nested, url]


TEXTS = [text for entity in PLANTS for text in forms(entity)]
PLAIN = [forms(entity)[0] for entity in PLANTS]


# What is looked for, and where


@cache
def marks() -> dict[bytes, Entity]:
    """What must stand nowhere: each value, its longer pieces, and how else they may be written."""
    found: dict[bytes, Entity] = {}
    for entity, (_, value) in PLANTS.items():
        pieces = {value, re.sub(r"[ -]", "", value), *re.findall(r"[\w-]{9,}", value)}
        for piece in pieces - {"eyJhbGciOiJIUzI1NiJ9"}:  # every such token begins like this
            for text in {piece, piece.lower(), quote(piece, safe="")}:
                found[text.encode()] = found[text.encode("utf-16-le")] = entity
            for shift in range(3):  # base64 of it anywhere in a longer text
                coded = base64.b64encode(b"\0" * shift + piece.encode())
                found[coded[4 if shift else 0 : len(coded) // 4 * 4 - 4]] = entity
    return {mark: entity for mark, entity in found.items() if len(mark) > 8}


def seen(content: bytes) -> set[str]:
    """The entities whose marks stand in a content."""
    return {entity.value for mark, entity in marks().items() if mark in content}


def contents(path: Path) -> Iterator[bytes]:
    """A file as it is, and what is packed in it: Parquet, SQLite, gzip, zip."""
    raw = path.read_bytes()
    yield raw
    yield from unpacked(raw, path)


def unpacked(raw: bytes, path: Path) -> Iterator[bytes]:
    if raw[:4] == b"PAR1":
        yield json.dumps(pq.read_table(io.BytesIO(raw)).to_pylist(), default=str).encode()
    elif raw[:2] == b"\x1f\x8b":
        yield from (inner := gzip.decompress(raw), *unpacked(inner, path))
    elif raw[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(raw)) as packed:
            for name in packed.namelist():
                yield from (name.encode(), inner := packed.read(name), *unpacked(inner, path))
    elif raw[:15] == b"SQLite format 3":
        with closing(sqlite3.connect(path)) as database:
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
                for row in database.execute(f'SELECT * FROM "{name}"'):
                    for value in row:
                        if isinstance(value, bytes):
                            yield from (value, *unpacked(value, path))
                        elif isinstance(value, str):
                            yield value.encode()


def leaks(*folders: Path) -> dict[str, set[str]]:
    """Of every file below the folders in which marks stand: which; names of files count."""
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        there = seen(str(path).encode())
        # Made from the bundled model alone, and most of all bytes.
        if path.is_file() and path.suffix != ".onnx":
            joined = b"\n".join(contents(path))
            there |= seen(joined) | seen(joined.lower())
        if there:
            found[str(path)] = there
    return found


# The run


@dataclass
class Said:
    """What a command said, and how it ended."""

    command: str
    code: int
    out: str
    err: str


@dataclass
class Ran:
    """All that the commands left behind."""

    home: Path
    work: Path
    temporary: Path
    ray: Path
    said: dict[str, Said] = field(default_factory=dict)
    spans: list[bytes] = field(default_factory=list)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("leaks")
    # Short: Ray puts sockets there.
    done = Ran(folder / "home", folder / "work", folder / "tmp", Path(tempfile.mkdtemp("", "ng-")))
    for made in (done.work, done.temporary, folder / "in"):
        made.mkdir()
    with collector(done.spans) as url:
        run_all(done, folder / "in", url)
    yield done
    shutil.rmtree(done.ray, ignore_errors=True)


def run_all(done: Ran, inputs: Path, url: str) -> None:
    write_inputs(inputs)
    settings = SETTINGS.replace("MODEL", str(inputs / "names"))
    (done.work / "noisegate.toml").write_text(settings)
    environment = {
        **os.environ,
        "NOISEGATE_HOME": str(done.home),
        "NOISEGATE_LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "RAY_TMPDIR": str(done.ray),
        "TMPDIR": str(done.temporary),
    }

    def run(name: str, *words: str, code: str = "", **more: str) -> Said:
        ended = subprocess.run(
            [sys.executable, "-c", code + COMMAND, *words],
            env=environment | more,
            cwd=done.work,
            capture_output=True,
            text=True,
            timeout=500,
        )
        said = Said(" ".join(words), ended.returncode, ended.stdout, ended.stderr)
        done.said[name] = said
        return said

    labels = [f"--label={name}" for name in ("instance", "summary", "description", "user")]
    run("upgrade", "db", "upgrade")
    # What stores nothing does without a recogniser of names, which takes seconds to load.
    nameless = {"NOISEGATE_SCRUB__NAMES": "off"}
    run("headerless", "import", str(inputs / "headerless.csv"), "--debug", **nameless)
    run("bad", "import", str(inputs / "bad.jsonl"), "--rejects", "bad.csv", **nameless)
    good = ["import", str(inputs / "history.jsonl"), *labels, "--json"]
    run("import dies", *good, "--debug", code=IMPORT_FAILS, **nameless)
    run("import", *good, "--rejects", "rejects.csv")
    retrained = run("retrain", "retrain", "--json", code=RETRAIN)
    if json.loads(retrained.out)["outcome"] != "promoted":  # a matter of quality, not of leaks
        run("promote", "models", "promote", "1", "--override", "--why", "no other")
    run("report", "report", "--out", "report.html")
    run("metrics", "exporter", "--once")
    nameless["ALERT_DB_URI"] = f"sqlite:///{inputs / 'team.db'}"
    run("retrain dies", "retrain", "--debug", code=RETRAIN + RETRAIN_FAILS, **nameless)


def write_inputs(inputs: Path) -> None:
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": PLANTS[Entity.PERSON][1]}])  # type: ignore[attr-defined]
    nlp.to_disk(inputs / "names")
    header = f'"{PLAIN[5]}","{PLAIN[12]}",2026-01-02T03:04:05Z\n'
    (inputs / "headerless.csv").write_text(header * 3)
    bad = [json.dumps({"name": "Down", "starts_at": text}) for text in TEXTS]
    (inputs / "bad.jsonl").write_text("\n".join([*bad, f'{{"name": "{PLAIN[5]}']))
    history = pa.Table.from_batches(simulate(SimulationPlan(alerts=4_000, days=60, services=12)))
    rows = history.drop_columns(["labels", "verdict_at"]).to_pylist()
    for number, row in zip(count(), rows, strict=False):
        plant(row, number)
    refused = [{"name": "Down", "starts_at": text, "verdict": text} for text in PLAIN]
    lines = [json.dumps(row, default=str) for row in [*rows, *refused]]
    (inputs / "history.jsonl").write_text("\n".join([*lines, f'{{"name": "{PLAIN[5]}']))
    with closing(sqlite3.connect(inputs / "team.db")) as team:
        team.execute("CREATE TABLE alerts (name TEXT, message TEXT, starts_at TEXT)")
        rows_of_team = [("Down", text, "2026-01-02T03:04:05Z") for text in TEXTS]
        team.executemany("INSERT INTO alerts VALUES (?, ?, ?)", rows_of_team)
        team.commit()


def plant(row: dict[str, object], number: int) -> None:
    """Put a text into every column of an alert that takes one; each text into each column once."""
    row |= {"instance": f"node-{number % 7}:9100", "summary": "up again", "description": "{}"}
    places = ("message", "summary", "description", "instance", "service", "name", "severity")
    place, text = divmod(number, len(TEXTS))
    if place < len(places):
        row[places[place]] = TEXTS[text]
    row["user"] = PLANTS[Entity.USER][1]  # nothing but its label's name tells what it is


class collector:
    """An OTLP/HTTP receiver on a free port."""

    def __init__(self, bodies: list[bytes]) -> None:
        class Receive(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                packed = self.headers.get("content-encoding") == "gzip"
                bodies.append(gzip.decompress(body) if packed else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receive)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


# What must be true


@pytest.mark.parametrize("entity", PLANTS, ids=lambda entity: entity.value)
@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda text: text.encode(), id="plain"),
        pytest.param(lambda text: quote(text, safe="").encode(), id="percent-encoded"),
        pytest.param(lambda text: json.dumps(text).encode(), id="JSON"),
        pytest.param(lambda text: text.encode("utf-16"), id="UTF-16"),
        pytest.param(lambda text: base64.b64encode(text.encode()), id="base64"),
    ],
)
def test_a_mark_is_seen_however_it_is_written(
    entity: Entity, written: Callable[[str], bytes]
) -> None:
    assert entity in seen(written(forms(entity)[0]))


@pytest.mark.parametrize("packed", ["parquet", "sqlite", "gzip", "zip", "name"])
def test_a_mark_is_seen_in_a_packed_file(packed: str, tmp_path: Path) -> None:
    text = " ".join(PLAIN)
    path = tmp_path / "file"
    match packed:
        case "parquet":
            pq.write_table(pa.table({"a": [text]}), path, compression="zstd")
        case "sqlite":
            with closing(sqlite3.connect(path)) as database:
                database.execute("CREATE TABLE a (a BLOB)")
                database.execute("INSERT INTO a VALUES (?)", (gzip.compress(text.encode()),))
                database.commit()
        case "gzip":
            path.write_bytes(gzip.compress(gzip.compress(text.encode())))
        case "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                file.writestr("inner.gz", gzip.compress(text.encode()))
        case "name":
            (tmp_path / PLANTS[Entity.SECRET][1]).touch()
    expected = {"SECRET"} if packed == "name" else {entity.value for entity in PLANTS}
    assert set().union(*leaks(tmp_path).values()) == expected


def test_every_entity_is_planted() -> None:
    assert set(PLANTS) == set(Entity)


def test_all_of_it_went_the_whole_way(ran: Ran) -> None:
    codes = {name: said.code for name, said in ran.said.items() if name != "promote"}
    failed = {"headerless": 2, "bad": 3, "import dies": 1, "retrain dies": 1}
    said = {name: said.err[-600:] for name, said in ran.said.items()}
    assert codes == dict.fromkeys(codes, 0) | failed, said
    ref = latest(load_settings(home=ran.home))
    assert ref is not None
    rows = [row for batch in read(ref) for row in batch.to_pylist()]
    tokens = {entity.value for entity in Entity} - {"CUSTOM"} | {"BADGE"}
    for column in ("service", "name", "severity", "message", "labels"):
        stored = "\n".join(row[column] or "" for row in rows)
        assert {token for token in tokens if f"<{token}>" in stored} == tokens, column
    for name in ("mlartifacts", "embedding", "prefect", "models", "noisegate.db", "mlflow.db"):
        assert (ran.home / name).exists()
    assert list(ran.ray.rglob("worker*.err")) and len(ran.spans) > 5


def test_no_file_holds_a_mark(ran: Ran) -> None:
    assert leaks(ran.home, ran.work, ran.temporary, ran.ray) == {}


def test_no_command_says_a_mark(ran: Ran) -> None:
    told = {name: seen(f"{s.out}\n{s.err}".encode()) for name, s in ran.said.items()}
    assert {name: found for name, found in told.items() if found} == {}


def test_no_span_carries_a_mark(ran: Ran) -> None:
    assert seen(b"\n".join(ran.spans)) == set()


def test_what_failed_says_where_and_what(ran: Ran) -> None:
    for name in ("import dies", "retrain dies"):
        assert "in prepare\n" in ran.said[name].err and "ValueError\n" in ran.said[name].err
    assert "which column is starts_at?" in ran.said["headerless"].err
    refused = (ran.work / "rejects.csv").read_text().splitlines()
    assert refused[0] == "row,field,reason,detail" and "4001,starts_at,is not a time" in refused[1]
