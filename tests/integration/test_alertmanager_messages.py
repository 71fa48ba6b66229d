"""The stack's Alertmanager, for real: who is told what, and what is kept from whom.

Slack, PagerDuty and the ticket system are one local server that keeps what it is sent.
"""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.notifications import MESSAGES
from observability.burn import Alert, compile_slo
from observability.prometheus_rules import watchdog_file
from observability.specs import load_slos

Json = dict[str, Any]

ALERTMANAGER = Path(__file__).resolve().parents[2] / "deploy" / "alertmanager.yml"
BINARY = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
pytestmark = pytest.mark.skipif(not BINARY, reason="needs Debian's prometheus-alertmanager")

SLO = "decision-availability"
SENT = {"page_1h", "ticket_1d", "stuck"}


class Outside(BaseHTTPRequestHandler):
    """Slack's, PagerDuty's and the ticket system's side."""

    got: list[tuple[str, Json]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, json.loads(body)))
        self.send_response(202 if self.path == "/pagerduty" else 200)
        self.end_headers()
        self.wfile.write(b'{"status": "success"}' if self.path == "/pagerduty" else b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def outside() -> Iterator[tuple[str, list[tuple[str, Json]]]]:
    handler = type("Handler", (Outside,), {"got": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler.got
        server.shutdown()


def configured(folder: Path, outside: str) -> Path:
    """The stack's configuration, with addresses and secrets of here, and no time to wait."""
    text = ALERTMANAGER.read_text()
    for name, secret in {
        "slack_webhook_url": f"{outside}/slack",
        "pagerduty_key": "k" * 32,
    }.items():
        (folder / name).write_text(secret)
        text = text.replace(f"/run/secrets/{name}", str(folder / name))
    # As docs/install.md says it.
    for line in ("webhook_configs:", "  - url: https://heartbeat.", "    send_resolved: false"):
        text = text.replace(f"    # {line}", f"    {line}")
    text = text.replace("https://heartbeat.example/ping", f"{outside}/heartbeat")
    text = text.replace("http://tickets:8080/alertmanager", f"{outside}/tickets")
    text = text.replace("global:\n", f"global:\n  pagerduty_url: {outside}/pagerduty\n")
    # On a Saturday no ticket would come.
    text = text.replace("group_wait: 10s", "group_wait: 1s").replace(
        "group_wait: 1m", "group_wait: 1s"
    )
    text = text.replace("      mute_time_intervals: [noisegate-weekend]\n", "")
    templates = folder / "generated" / "alertmanager"
    templates.mkdir(parents=True)
    (templates / "noisegate.tmpl").write_text(MESSAGES)
    config = folder / "alertmanager.yml"
    config.write_text(text)
    return config


@pytest.fixture
def alertmanager(
    tmp_path: Path, outside: tuple[str, list[tuple[str, Json]]]
) -> Iterator[tuple[str, list[tuple[str, Json]]]]:
    """A running Alertmanager, and what it sends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    words = [
        *(str(BINARY), f"--config.file={configured(tmp_path, outside[0])}"),
        *(f"--storage.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}"),
        *("--cluster.listen-address=", f"--web.external-url={url}"),
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        wait(lambda: answers(f"{url}/-/ready"), tmp_path / "log")
        yield url, outside[1]
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait(ready: Any, log: Path | None = None, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, log.read_text() if log else "nothing came"
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    except OSError:
        return False


def post(url: str, alerts: list[Alert]) -> None:
    """Fire alerts as Prometheus does, with its templates' numbers in them."""
    numbers = {"budget_left": "81.2%", "exhausted_in": "1d 4h 0m 0s"}
    body = []
    for alert in alerts:
        notes = {
            name: text.replace("{{ $value | humanize }}", "14.8")
            for name, text in alert.annotations.items()
        }
        labels = {"alertname": alert.name, **alert.labels}
        body.append({"labels": labels, "annotations": notes | numbers})
    fire(url, body)


def fire(url: str, body: list[Json]) -> None:
    request = urllib.request.Request(
        f"{url}/api/v2/alerts",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert urllib.request.urlopen(request, timeout=10).status == 200


def test_a_page_reaches_pagerduty_and_slack_and_keeps_its_ticket_back(
    alertmanager: tuple[str, list[tuple[str, Json]]],
) -> None:
    url, got = alertmanager
    (slo,) = [slo for slo in load_slos() if slo.name == SLO]
    post(url, [alert for alert in compile_slo(slo).alerts if alert.tier in SENT])
    wait(lambda: {path for path, _ in got} >= {"/pagerduty", "/slack", "/tickets"} and len(got) > 3)

    (incident,) = [body for path, body in got if path == "/pagerduty"]
    assert incident["event_action"] == "trigger" and incident["routing_key"] == "k" * 32
    summary = incident["payload"]["summary"]
    assert summary.startswith(f"PAGE {SLO}: Decisions are made in time: burns its error budget")
    assert incident["payload"]["severity"] == "critical"
    said = incident["payload"]["custom_details"]["text"]
    for line in ("Error budget left: 81.2%", "Budget spent in: 1d 4h 0m 0s", f"{SLO}.md#burn"):
        assert line in said

    messages = [body["attachments"][0] for path, body in got if path == "/slack"]
    titles = sorted(message["title"].partition(":")[0] for message in messages)
    assert titles == [f"PAGE {SLO}", f"TICKET {SLO}"]
    assert all(f"d/noisegate-slo-detail?var-slo={SLO}" in m["title_link"] for m in messages)

    (ticket,) = [body for path, body in got if path == "/tickets"]
    # The page says what ticket_1d would; that nothing arrives it does not say.
    assert [alert["labels"]["tier"] for alert in ticket["alerts"]] == ["stuck"]


def test_the_dead_man_s_switch_is_heard_by_the_heartbeat_service_alone(
    alertmanager: tuple[str, list[tuple[str, Json]]],
) -> None:
    url, got = alertmanager
    (text,) = watchdog_file().values()
    (rule,) = yaml.safe_load(text)["groups"][0]["rules"]
    labels = {"alertname": rule["alert"], **rule["labels"]}
    fire(url, [{"labels": labels, "annotations": rule["annotations"]}])
    wait(lambda: bool(got))
    ((path, body),) = got
    assert (path, body["status"]) == ("/heartbeat", "firing")
    assert body["commonLabels"]["alertname"] == "SloWatchdog"
