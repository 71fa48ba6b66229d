"""Alert history from a real Prometheus: rules that fire, flap, clear and survive its restarts.

The server sends its alerts to a receiver that keeps what Alertmanager would have been told; that,
and when the tests broke and mended things, is what the history is held against.
"""

import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from noisegate.adapters.prometheus import (
    RAW_SCHEMA,
    History,
    PrometheusSource,
    import_history,
    read_history,
)
from noisegate.errors import InputError, UnreachableError
from noisegate.scrub import Scrubber
from noisegate.store.identity import Identity
from noisegate.store.ingest import ImportReport, prepare, store_alerts

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus binary on the PATH"
)
pytestmark = [needs_prometheus, pytest.mark.e2e]

SECOND = 1_000_000
STARTING = timedelta(seconds=6)
RULES = """
groups:
- name: fast
  interval: 1s
  rules:
  - record: job:broken:sum
    expr: sum(broken)
  - alert: Broken
    expr: broken == 1
    labels: {severity: page}
    annotations: {summary: "{{ $labels.part }} is broken"}
  - alert: BrokenForLong
    expr: broken == 1
    for: 4s
    annotations: {description: "still broken"}
  - alert: Fresh  # sees at once what was mended while the server was down
    expr: max_over_time(broken{part="mended-while-down"}[3s]) == 1
  - alert: Watchdog
    expr: vector(1)
    labels: {part: none}
  - alert: Private
    expr: broken{part="flaps"} == 1
    labels: {audience: nobody}
"""
CONFIG = """
global:
  scrape_interval: 1s
  evaluation_interval: 1m
  external_labels: {cluster: test, replica: a, severity: ticket}
rule_files: [rules.yml]
scrape_configs:
- job_name: plant
  static_configs: [{targets: ["127.0.0.1:PLANT"]}]
alerting:
  alert_relabel_configs:
  - {source_labels: [audience], regex: nobody, action: drop}
  - {source_labels: [part], regex: "(.)(.*)", target_label: initial, replacement: "${1}"}
  - {source_labels: [part, alertname], modulus: 1000, target_label: shard, action: hashmod}
  - {regex: "initial", replacement: "first_letter", action: labelmap}
  - {regex: job, action: labeldrop}
  alertmanagers:
  - static_configs: [{targets: ["127.0.0.1:RECEIVER"]}]
    api_version: v2
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def now_us() -> int:
    return time.time_ns() // 1000


class Served:
    """A small HTTP server in a thread."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], tuple[int, bytes]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Plant:
    """Parts that break and are mended; scraped by Prometheus."""

    broken: dict[str, int] = field(default_factory=dict)

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        lines = [f'broken{{part="{part}"}} {state}' for part, state in self.broken.items()]
        return 200, ("\n".join(lines) + "\n").encode()


@dataclass
class Receiver:
    """What Alertmanager would have been told: labels and startsAt of every alert."""

    told: set[tuple[str, str]] = field(default_factory=set)

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        for alert in json.loads(body):
            labels = {k: v for k, v in alert["labels"].items() if k != "replica"}
            self.told.add((json.dumps(labels, sort_keys=True), alert["startsAt"]))
        return 200, b""


class Prometheus:
    """A real server in a directory of its own."""

    def __init__(self, home: Path, config: str, rules: str = "", web: str = "") -> None:
        self.home, self.port = home, free_port()
        home.mkdir(parents=True, exist_ok=True)
        (home / "prometheus.yml").write_text(config)
        (home / "rules.yml").write_text(rules)
        self.args: list[str] = []
        if web:
            (home / "web.yml").write_text(web)
            self.args.append(f"--web.config.file={home / 'web.yml'}")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **client: Any) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self.home / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    "--web.enable-lifecycle",
                    *self.args,
                ],
                stdout=log,
                stderr=log,
            )
        url = f"{client.pop('scheme', 'http')}://127.0.0.1:{self.port}/-/ready"
        for _ in range(300):
            try:
                if httpx.get(url, **client).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError((self.home / "log").read_text()[-2000:])

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None


def rows(history: History) -> list[dict[str, Any]]:
    found = [row for batch in history for row in batch.to_pylist()]
    for row in found:
        row["labels"] = json.loads(row["labels"])
    return sorted(found, key=lambda r: (r["name"], r["starts_at"]))


def of(found: list[dict[str, Any]], name: str, part: str) -> list[dict[str, Any]]:
    return [r for r in found if r["name"] == name and r["labels"]["part"] == part]


@dataclass
class Story:
    """A server, what was done to it, and when."""

    server: Prometheus
    told: set[tuple[str, str]]
    begin: int
    end: int = 0
    early: list[dict[str, Any]] = field(default_factory=list)
    stopped: int = 0
    started: list[datetime] = field(default_factory=list)

    def read(self, **options: Any) -> History:
        return read_history(
            PrometheusSource(self.server.url),
            start_us=self.begin,
            end_us=self.end,
            replica_labels=["replica"],
            **options,
        )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    plant, receiver = Plant(), Receiver()
    parts = ("flaps", "stays", "mended-while-down", "ends-open", "well")
    plant.broken = dict.fromkeys(parts, 0)
    exporter, alertmanager = Served(plant.answer), Served(receiver.answer)
    config = CONFIG.replace("PLANT", str(exporter.port)).replace("RECEIVER", str(alertmanager.port))
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), config, RULES)
    story = Story(server, receiver.told, now_us())
    try:
        server.start()
        story.started.append(datetime.now(UTC))
        time.sleep(3)
        plant.broken |= {"flaps": 1, "stays": 1, "mended-while-down": 1}
        time.sleep(7)
        for state in (0, 1, 0, 1, 0):  # flaps
            plant.broken["flaps"] = state
            time.sleep(3)
        assert httpx.post(f"{server.url}/-/reload").status_code == 200
        time.sleep(2)
        story.end = now_us()
        story.early = rows(story.read())
        story.stopped = now_us()
        server.stop()
        time.sleep(4)
        plant.broken["mended-while-down"] = 0
        time.sleep(2)
        server.start()
        story.started.append(datetime.now(UTC))
        time.sleep(9)  # a renewed `for` is over
        plant.broken |= {"stays": 0, "mended-while-down": 1}
        time.sleep(4)
        plant.broken |= {"mended-while-down": 0, "ends-open": 1}
        time.sleep(7)
        story.end = now_us()
        yield story
    finally:
        server.stop()
        exporter.close()
        alertmanager.close()


def test_rows_fit_the_raw_schema_and_name_the_service_the_rule_text_and_the_severity(story):
    history = story.read()
    batches = list(history)
    assert all(b.schema == RAW_SCHEMA for b in batches)
    found = rows(iter(batches))
    assert {r["service"] for r in found if r["name"] == "Broken"} == {"Broken"}  # job is dropped
    assert {r["message"] for r in found if r["name"] == "Broken"} == {
        "{{ $labels.part }} is broken"
    }
    assert {r["severity"] for r in found} == {"page", "ticket"}
    assert not {"alertstate", "__name__", "replica"} & {k for r in found for k in r["labels"]}


def test_labels_and_starts_are_those_that_alertmanager_was_told(story):
    read = {(json.dumps(r["labels"], sort_keys=True), r["starts_at"]) for r in rows(story.read())}
    told = {(labels, datetime.fromisoformat(at)) for labels, at in story.told}
    # A server that has just started tells of alerts two evaluations before it stores them, and
    # gives those that never cleared a new start.
    started = {(k, t) for k, t in told if any(abs(t - s) < STARTING for s in story.started)}
    assert told - started <= read
    # What fires as the server starts is told of a minute later.
    assert {k for k, _ in told} == {k for k, _ in read if "Watchdog" not in k}


def test_each_time_it_flaps_is_an_alert_of_its_own(story):
    flaps = of(rows(story.read()), "Broken", "flaps")
    assert len(flaps) == 3
    assert all(f["ends_at"] is not None for f in flaps)
    lengths = [(f["ends_at"] - f["starts_at"]).total_seconds() for f in flaps]
    assert 5 <= lengths[0] <= 9
    assert all(1 <= length <= 6 for length in lengths[1:])


def test_an_alert_that_outlives_a_restart_stays_one_alert_a_renewed_for_included(story):
    history = story.read()
    found = rows(history)
    for name in ("Broken", "BrokenForLong"):
        (stays,) = of(found, name, "stays")
        assert stays["starts_at"].timestamp() * SECOND < story.stopped
        assert stays["ends_at"].timestamp() * SECOND > story.stopped + 15 * SECOND
    # Watchdog, and what was seen to be mended only once it was scraped again.
    assert history.facts.continued == 5


def test_an_alert_that_cleared_while_the_server_was_down_ends_and_the_next_one_is_new(story):
    first, second = of(rows(story.read()), "Fresh", "mended-while-down")
    assert story.stopped - 2 * SECOND < first["ends_at"].timestamp() * SECOND
    assert first["ends_at"].timestamp() * SECOND < story.stopped + 2 * SECOND
    assert second["starts_at"].timestamp() * SECOND > story.stopped + 10 * SECOND
    assert second["ends_at"] is not None


def test_what_still_fires_is_open_and_a_later_import_completes_it(story):
    found = rows(story.read())
    assert of(found, "Broken", "ends-open")[0]["ends_at"] is None
    early = of(story.early, "Broken", "stays")[0]
    late = of(found, "Broken", "stays")[0]
    assert early["ends_at"] is None and late["ends_at"] is not None
    assert (early["starts_at"], early["labels"]) == (late["starts_at"], late["labels"])


def test_facts_count_what_was_found_and_say_what_is_uncertain(story):
    history = story.read()
    found = rows(history)
    facts = history.facts
    assert facts.alerts == len(found)
    assert facts.open == sum(r["ends_at"] is None for r in found)
    assert facts.relabel_dropped == 3  # Private, each time it flapped
    assert facts.intervals["Broken"] == (1.0, "rules")
    assert facts.edge_dropped == 0
    assert any("not pages" in line for line in facts.uncertain)


@pytest.mark.parametrize("chunk_s", [2.0, 7.0, 86_400.0])
def test_the_size_of_the_chunks_changes_nothing(story, chunk_s):
    assert rows(story.read(chunk_s=chunk_s)) == rows(story.read())


def test_a_selector_narrows_the_import_and_the_gaps_are_still_understood(story):
    source = PrometheusSource(story.server.url, match='{alertname="Broken",part!="flaps"}')
    history = read_history(
        source, start_us=story.begin, end_us=story.end, replica_labels=["replica"]
    )
    whole = [r for r in rows(story.read()) if r["name"] == "Broken"]
    assert rows(history) == [r for r in whole if r["labels"]["part"] != "flaps"]


def test_what_fires_at_the_edge_is_followed_back_or_dropped_and_counted(story):
    whole = rows(story.read())
    (stays,) = of(whole, "Broken", "stays")
    edge = round(stays["starts_at"].timestamp() * SECOND) + 3 * SECOND
    late = Story(story.server, story.told, edge, story.end)
    followed = late.read()
    assert of(rows(followed), "Broken", "stays") == [stays]
    assert followed.facts.edge_dropped == 0
    dropped = late.read(follow_back_s=1.0)
    assert of(rows(dropped), "Broken", "stays") == []
    assert dropped.facts.edge_dropped >= 2


# -- history that was back-filled: blocks without staleness markers

SLOT_S = 15
BACKFILL_SLOTS = 6 * 3600 // SLOT_S


@dataclass
class Backfilled:
    """Blocks made by promtool, served by a real server; times are slots of 15 s from `base`."""

    server: Prometheus
    base: int

    def at(self, slot: int, offset: int = 0) -> datetime:
        return datetime.fromtimestamp(self.base + slot * SLOT_S + offset, UTC)

    def read(self, begin: int = -100, end: int = BACKFILL_SLOTS, **options: Any) -> History:
        source = options.pop("source", PrometheusSource(self.server.url))
        return read_history(
            source,
            start_us=(self.base + begin * SLOT_S) * SECOND,
            end_us=(self.base + end * SLOT_S) * SECOND,
            **options,
        )


def openmetrics(base: int, series: list[tuple[dict[str, str], list[int], int]]) -> str:
    """Samples of firing alerts: labels, slots and an offset in seconds for each series."""
    lines = ["# TYPE ALERTS gauge"]
    for labels, slots, offset in series:
        inner = ",".join(f'{k}="{v}"' for k, v in ({"alertstate": "firing"} | labels).items())
        lines += [f"ALERTS{{{inner}}} 1 {base + slot * SLOT_S + offset}" for slot in slots]
    return "\n".join([*lines, "# EOF", ""])


def spans(*edges: tuple[int, int]) -> list[int]:
    return [slot for first, end in edges for slot in range(first, end)]


FLAPPING = [(100 + 40 * i, 110 + 40 * i + i % 7) for i in range(30)]


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfilled]:
    base = int(time.time()) // 3600 * 3600 - 12 * 3600
    whole = spans((0, BACKFILL_SLOTS))
    down = [s for s in whole if not 500 <= s < 520]  # replica b's server was down
    series = [
        ({"alertname": "Watchdog", "replica": "a"}, whole, 0),
        ({"alertname": "Watchdog", "replica": "b"}, down, 4),
        ({"alertname": "Flaps", "job": "db", "replica": "a"}, spans(*FLAPPING), 0),
        ({"alertname": "OneSlot", "replica": "a"}, spans((200, 210), (211, 220)), 0),
        ({"alertname": "Pair", "replica": "a"}, spans((480, 530)), 0),
        ({"alertname": "Pair", "replica": "b"}, spans((478, 500), (520, 532)), 4),
        ({"alertname": "Seldom"}, list(range(300, 400, 20)), 0),
    ]
    home = tmp_path_factory.mktemp("backfilled")
    (home / "history.txt").write_text(openmetrics(base, series))
    making = ["promtool", "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run([*making, home / "history.txt", home / "data"], check=True, capture_output=True)
    server = Prometheus(home, "global: {evaluation_interval: 15s}\n")
    try:
        server.start()
        yield Backfilled(server, base)
    finally:
        server.stop()


def test_without_markers_other_series_of_the_server_end_an_alert(backfilled):
    history = backfilled.read()
    found = [r for r in rows(history) if r["name"] == "Flaps"]
    assert [(r["starts_at"], r["ends_at"]) for r in found] == [
        (backfilled.at(first), backfilled.at(end)) for first, end in FLAPPING
    ]
    assert {r["service"] for r in found} == {"db"}
    assert history.facts.unseen_end >= len(FLAPPING)
    one = [r for r in rows(backfilled.read()) if r["name"] == "OneSlot"]
    assert [r["starts_at"] for r in one] == [backfilled.at(200), backfilled.at(211)]


def test_replicas_are_united_into_one_alert_though_one_server_was_down(backfilled):
    history = backfilled.read(replica_labels=["replica"])
    (pair,) = [r for r in rows(history) if r["name"] == "Pair"]
    assert "replica" not in pair["labels"]
    assert pair["starts_at"] == backfilled.at(478, 4)
    assert pair["ends_at"] == backfilled.at(532, 4)
    assert history.facts.united == 2  # and Watchdog
    apart = [r for r in rows(backfilled.read()) if r["name"] == "Pair"]
    assert {r["labels"]["replica"] for r in apart} == {"a", "b"}


def test_the_usual_spacing_stands_in_for_a_rule_that_is_gone(backfilled):
    history = backfilled.read(begin=250, end=600)
    (seldom,) = [r for r in rows(history) if r["name"] == "Seldom"]
    assert history.facts.intervals["Seldom"] == (300.0, "usual spacing")
    assert (seldom["starts_at"], seldom["ends_at"]) == (backfilled.at(300), backfilled.at(400))
    assert any("a guess" in line for line in history.facts.uncertain)


def test_an_alert_whose_server_fell_silent_stays_open_and_is_said_to(backfilled):
    history = backfilled.read(end=BACKFILL_SLOTS + 400, replica_labels=["replica"])
    (watchdog,) = [r for r in rows(history) if r["name"] == "Watchdog"]
    assert watchdog["starts_at"] == backfilled.at(0)
    assert watchdog["ends_at"] is None
    assert any("not been heard of" in line for line in history.facts.uncertain)


def test_what_fires_at_the_edge_of_back_filled_data_is_followed_back_or_dropped(backfilled):
    first, end = FLAPPING[3]
    window = {"begin": first + 4, "end": end + 100}
    followed = [r for r in rows(backfilled.read(**window)) if r["name"] == "Flaps"]
    assert followed[0]["starts_at"] == backfilled.at(first)
    dropped = backfilled.read(**window, follow_back_s=30)
    found = [r for r in rows(dropped) if r["name"] == "Flaps"]
    assert [r["starts_at"] for r in found] == [r["starts_at"] for r in followed[1:]]
    assert dropped.facts.edge_dropped == 3  # Flaps, and Watchdog twice


@pytest.mark.parametrize("chunk_s", [15.0, 600.0, 86_400.0])
def test_chunks_change_nothing_in_back_filled_data(backfilled, chunk_s):
    options = {"begin": 90, "end": 260, "replica_labels": ["replica"]}
    assert rows(backfilled.read(chunk_s=chunk_s, **options)) == rows(backfilled.read(**options))


class Killed(Exception):
    """What a SIGKILL between two batches leaves: nothing after it happens."""


def test_an_import_that_was_killed_goes_on_where_it_was(backfilled, tmp_path):
    stored: dict[tuple[str, datetime], dict[str, Any]] = {}
    requests = []
    resume = tmp_path / "home" / "resume.json"

    def store(batch: pa.RecordBatch, limit: int) -> int:
        for row in batch.to_pylist():
            stored[row["labels"], row["starts_at"]] = row
        if len(stored) >= limit:
            raise Killed
        return batch.num_rows

    for limit in (5, 20, 10**9):
        history = backfilled.read(resume=resume, chunk_s=300, replica_labels=["replica"])
        with suppress(Killed):
            import_history(history, lambda batch, limit=limit: store(batch, limit), rows=1)
        requests.append(history.facts.samples)
    expected = rows(backfilled.read(replica_labels=["replica"]))
    assert history.facts.alerts == len(expected)
    assert sorted((r["name"], r["starts_at"], r["ends_at"] or 0) for r in stored.values()) == [
        (r["name"], r["starts_at"], r["ends_at"] or 0) for r in expected
    ]
    assert "Flaps" not in resume.read_text()
    again = backfilled.read(resume=resume, chunk_s=300, replica_labels=["replica"])
    assert [r["name"] for r in rows(again)] == ["Watchdog"]  # open: told again
    assert again.facts.samples < 2 * sum(requests)


def test_a_resume_file_of_another_selection_is_not_gone_on_with(backfilled, tmp_path):
    resume = tmp_path / "resume.json"
    import_history(backfilled.read(resume=resume), lambda batch: None)
    source = PrometheusSource(backfilled.server.url, match='alertname="Pair"')
    assert len(rows(backfilled.read(resume=resume, source=source))) == 3
    resume.write_text("{")
    with pytest.raises(InputError, match="delete it"):
        backfilled.read(resume=resume)


def test_an_import_lands_in_the_store_once_and_a_later_one_completes_it(
    backfilled, settings, store, tmp_path
):
    identity, scrubber = Identity.from_settings(settings), Scrubber()

    def land(batch: pa.RecordBatch) -> ImportReport:
        raw = prepare(batch, identity=identity, scrubber=scrubber, source="prometheus")
        assert not raw.rejected
        return store_alerts(store, [raw.alerts])

    window = {"begin": 90, "replica_labels": ["replica"]}
    early = backfilled.read(end=485, resume=tmp_path / "resume", **window)
    first = import_history(early, land)
    assert sum(report.new for report in first) == early.facts.alerts
    assert sum(report.open for report in first) == early.facts.open == 2  # Pair and Watchdog
    later = backfilled.read(resume=tmp_path / "resume", **window)
    second = import_history(later, land)
    assert sum(report.changed for report in second) == 1
    third = import_history(backfilled.read(**window), land)
    assert [(report.new, report.changed) for report in third] == [(0, 0)]


# -- doors: certificates, tokens, and what is not Prometheus


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Path]]:
    """A server behind TLS and basic authentication (user, secret), and its certificate."""
    home = tmp_path_factory.mktemp("guarded")
    making = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(home / "key.pem"), "-out", str(home / "cert.pem")]
    subprocess.run([*making.split(), *names, *files], check=True, capture_output=True)
    # bcrypt of "secret"
    secret = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
    web = (
        f"tls_server_config: {{cert_file: {home}/cert.pem, key_file: {home}/key.pem}}\n"
        f'basic_auth_users: {{user: "{secret}"}}\n'
    )
    server = Prometheus(home, "global: {scrape_interval: 1s}\n", web=web)
    try:
        server.start(scheme="https", verify=False, auth=("user", "secret"))
        yield server, home / "cert.pem"
    finally:
        server.stop()


def test_a_client_certificate_opens_the_door(guarded, tmp_path):
    _, certificate = guarded
    key = certificate.with_name("key.pem")
    web = (
        f"tls_server_config: {{cert_file: {certificate}, key_file: {key}, "
        f"client_auth_type: RequireAndVerifyClientCert, client_ca_file: {certificate}}}\n"
    )
    context = ssl.create_default_context(cafile=certificate)
    context.load_cert_chain(certificate, key)
    server = Prometheus(tmp_path, "global: {scrape_interval: 1s}\n", web=web)
    try:
        server.start(scheme="https", verify=context)
        url = f"https://127.0.0.1:{server.port}"
        known = PrometheusSource(url, ca_file=certificate, cert_file=certificate, key_file=key)
        assert rows(read_history(known, **window())) == []
        with pytest.raises(UnreachableError):
            read_history(PrometheusSource(url, ca_file=certificate), **window())
    finally:
        server.stop()


def window() -> dict[str, int]:
    return {"start_us": now_us() - 60 * SECOND, "end_us": now_us()}


def test_tls_and_basic_authentication_open_the_door(guarded):
    server, certificate = guarded
    url = f"https://user:secret@127.0.0.1:{server.port}"
    assert rows(read_history(PrometheusSource(url, ca_file=certificate), **window())) == []
    assert rows(read_history(PrometheusSource(url, insecure=True), **window())) == []


@pytest.mark.parametrize(
    ("user", "trusted", "way_out"),
    [
        pytest.param("user:secret", False, "ca_file", id="a certificate of nobody we know"),
        pytest.param("user:wrong", True, "token_file", id="a wrong password"),
    ],
)
def test_a_closed_door_names_the_setting_and_no_secret(guarded, user, trusted, way_out):
    server, certificate = guarded
    source = PrometheusSource(
        f"https://{user}@127.0.0.1:{server.port}", ca_file=certificate if trusted else None
    )
    with pytest.raises(UnreachableError, match=way_out) as error:
        read_history(source, **window())
    assert str(server.port) in str(error.value)
    assert user.split(":")[1] not in str(error.value)


@pytest.fixture(scope="module")
def tokened(backfilled: Backfilled) -> Iterator[Served]:
    """A proxy before the back-filled server that asks for the bearer token `abc`."""

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        if request.headers.get("Authorization") != "Bearer abc":
            return 401, b"who are you?"
        response = httpx.get(backfilled.server.url + request.path.removeprefix("/prefix"))
        return response.status_code, response.content

    served = Served(answer)
    yield served
    served.close()


def test_a_bearer_token_from_a_file_or_a_value_opens_the_door(backfilled, tokened, tmp_path):
    (tmp_path / "token").write_text("abc\n")
    url = tokened.url + "/prefix/"
    expected = rows(backfilled.read(begin=90, end=200))
    for source in (
        PrometheusSource(url, token="abc"),
        PrometheusSource(url, token_file=tmp_path / "token"),
    ):
        assert rows(backfilled.read(begin=90, end=200, source=source)) == expected
        assert "abc" not in repr(source)
    with pytest.raises(UnreachableError, match="token"):
        backfilled.read(source=PrometheusSource(url, token="wrong"))


def nobody() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        pytest.param(lambda u: PrometheusSource(nobody()), UnreachableError, "--prometheus",
                     id="nobody listens"),
        pytest.param(lambda u: PrometheusSource(u + "/wrong"), UnreachableError, "path prefix",
                     id="a wrong path"),
        pytest.param(lambda u: PrometheusSource("ftp://x"), InputError, "http://host:9090",
                     id="no HTTP URL"),
        pytest.param(lambda u: PrometheusSource(u, match="team=db"), InputError, "--match",
                     id="a broken selector"),
        pytest.param(lambda u: PrometheusSource(u, token_file=Path("/nowhere")), InputError,
                     "token_file", id="no token file"),
        pytest.param(lambda u: PrometheusSource(u.replace("http", "https")), UnreachableError,
                     "--prometheus|ca_file", id="TLS to a server without it"),
    ],
)  # fmt: skip
def test_errors_name_the_way_out(backfilled, make, kind, message):
    with pytest.raises(kind, match=message):
        rows(backfilled.read(source=make(backfilled.server.url)))


def test_an_empty_window_is_refused(backfilled):
    with pytest.raises(InputError, match="--days"):
        backfilled.read(begin=10, end=10)
