"""A failed retrain and failed decisions reach people, and so does their end: nothing is simulated.

A real Prometheus and Alertmanager, the real exporter over a database, rules as they are generated
but for the windows (the compiler's own parameter), routes as they are deployed but for receivers
and waits.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import Engine

from noisegate.alert import MICROS, Action, Origin
from noisegate.decision.decide import Reason
from noisegate.settings import Settings
from noisegate.store.database import open_store, upgrade, writing
from noisegate.store.facts import DecisionFact, Status, append_decisions
from noisegate.store.runs import past_runs
from observability.burn import CompileOptions, compile_slo
from observability.prometheus_rules import rule_files
from observability.specs import load_slos

REPO = Path(__file__).resolve().parents[2]
NOISEGATE = Path(sys.executable).parent / "noisegate"
OPTIONS = CompileOptions(shorten=30)
"""An hour takes two minutes, five minutes ten seconds; scrapes and rules a second."""
SLOS = ("retrain-success", "decision-availability")
Json = dict[str, Any]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


class Webhook:
    """Where Alertmanager sends: the notifications, each with its receiver."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Json]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                told.append((self.path.strip("/"), json.loads(self.rfile.read(size))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True)
        self.thread.start()

    def find(self, name: str, status: str) -> tuple[str, Json] | None:
        """The receiver and the alert of the first notification that says so."""
        for receiver, body in list(self.told):
            for alert in body["alerts"]:
                if (alert["labels"]["alertname"], alert["status"]) == (name, status):
                    return receiver, alert
        return None

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    one = Webhook()
    yield one
    one.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a command until the test ends; its log lies beside."""
    started: list[subprocess.Popen[str]] = []

    def run(
        command: Sequence[object], environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        with (tmp_path / f"{Path(str(command[0])).name}-{len(started)}.log").open("w") as log:
            process = subprocess.Popen(
                list(map(str, command)), env=environment, cwd=tmp_path, text=True,
                stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of the test's own, with a history that is small and easy enough to learn from."""
    ours = ("NOISEGATE_", "PREFECT_", "MLFLOW_", "OTEL_")
    own = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    # A budget that the longest hold cannot exceed: this is no test of what is promised.
    own |= {"NOISEGATE_HOME": str(tmp_path / "home"), "NOISEGATE_DELAY_BUDGET_S": "300"}
    simulate = [NOISEGATE, "simulate", "--alerts", "1500", "--days", "40", "--services", "6"]
    subprocess.run(simulate, env=own, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    return own


@pytest.fixture
def store(environment: dict[str, str]) -> Iterator[Engine]:
    settings = Settings(home=Path(environment["NOISEGATE_HOME"]))
    upgrade(settings)
    engine = open_store(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def prometheus(
    start: Callable[..., "subprocess.Popen[str]"],
    environment: dict[str, str],
    store: Engine,
    webhook: Webhook,
    tmp_path: Path,
) -> str:
    """Exporter, Alertmanager and Prometheus; the latter's URL."""
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: install the Debian package {program}")
    decide(store, Status.OK, 50)  # before anybody counts: the error series is not yet born
    exporter = start([NOISEGATE, "exporter", "--origin", "simulated", "--port", "0"], environment)
    assert exporter.stdout is not None
    scraped = re.search(r"127\.0\.0\.1:\d+", exporter.stdout.readline())
    assert scraped is not None

    alertmanager = f"127.0.0.1:{free_port()}"
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(routes(webhook.url)))
    start([
        "prometheus-alertmanager", f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'alertmanager'}", "--cluster.listen-address=",
        f"--web.listen-address={alertmanager}",
    ])  # fmt: skip
    until(lambda: answers(f"http://{alertmanager}/-/ready"))

    server = f"127.0.0.1:{free_port()}"
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump(scrapes(scraped[0], alertmanager, tmp_path / "rules")))
    compiled = [compile_slo(slo, OPTIONS) for slo in load_slos() if slo.name in SLOS]
    for name, text in rule_files(compiled, OPTIONS).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["promtool", "check", "config", config], check=True, capture_output=True)
    start([
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address={server}",
    ])  # fmt: skip
    until(lambda: answers(f"http://{server}/-/ready"))
    return f"http://{server}"


def routes(webhook: str) -> Json:
    """deploy/alertmanager.yml: receivers send to the webhook, waits are short, weekends count."""
    config: Json = yaml.safe_load((REPO / "deploy" / "alertmanager.yml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
        route.pop("mute_time_intervals", None)
    config["receivers"] = [
        {
            "name": one["name"],
            "webhook_configs": [{"url": f"{webhook}/{one['name']}", "send_resolved": True}],
        }
        for one in config["receivers"]
    ]
    del config["global"], config["templates"]
    return config


def scrapes(exporter: str, alertmanager: str, rules: Path) -> Json:
    """deploy/prometheus.yml with the addresses here, on the fast clock."""
    config: Json = yaml.safe_load((REPO / "deploy" / "prometheus.yml").read_text())
    every = f"{OPTIONS.clock.short_s:g}s"
    config["global"] = dict.fromkeys(config["global"], every)
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    config["rule_files"] = [str(rules / Path(config["rule_files"][0]).name)]
    (job,) = [one for one in config["scrape_configs"] if one["job_name"] == "noisegate"]
    job["static_configs"] = [{"targets": [exporter]}]
    config["scrape_configs"] = [job]
    return config


def decide(store: Engine, status: Status, count: int) -> None:
    """Append decisions, as the gate does."""
    now = time.time_ns() // 1_000
    facts = [
        DecisionFact(
            decision_id=uuid.uuid4().hex, alert_id=uuid.uuid4().hex, origin=Origin.SIMULATED,
            service="checkout",
            at=now, action=Action.PAGE, reason=Reason.SEVERITY_FLOOR.value, hold_s=0.0,
            status=status, latency_us=int(0.004 * MICROS), version=None,
        )
        for _ in range(count)
    ]  # fmt: skip
    with writing(store) as connection:
        append_decisions(connection, facts)


def query(prometheus: str, expression: str) -> list[float]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}).json()
    return [float(series["value"][1]) for series in answer["data"]["result"]]


def until(true: Callable[[], object]) -> None:
    """Wait; the test's own time limit ends it."""
    while not true():
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def says_what_to_do(alert: Json) -> None:
    """It has a summary, the budget left as a share, and a runbook that is there."""
    texts = alert["annotations"]
    assert texts["summary"] and texts["description"]
    assert re.fullmatch(r"-?[\d.]+(e\+\d+)?%", texts["budget_left"]), texts["budget_left"]
    assert "var-slo=" in texts["dashboard_url"] and "viewPanel=" in texts["panel_url"]
    page, _, heading = texts["runbook_url"].rpartition("/")[2].partition("#")
    runbook = (REPO / "docs" / "runbooks" / page).read_text()
    assert heading in re.findall(r"^## (\w+)", runbook.lower(), re.MULTILINE)


def test_failures_page_and_mended_ones_resolve(
    prometheus: str,
    webhook: Webhook,
    store: Engine,
    environment: dict[str, str],
    start: Callable[..., "subprocess.Popen[str]"],
    tmp_path: Path,
) -> None:
    for slo, tier in (("decision-availability", "page_1h"), ("retrain-success", "over")):
        state = f'slo:firing:state{{slo="{slo}",tier="{tier}"}}'
        until(lambda state=state: query(prometheus, state) == [0.0])
    assert webhook.told == []

    # A retrain that cannot reach MLflow fails, for real.
    unreachable = environment | {"NOISEGATE_MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    command = [NOISEGATE, "retrain", "--origin", "simulated"]
    failed = subprocess.run(
        command, env=unreachable, cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert failed.returncode == 5 and "NOISEGATE_MLFLOW_TRACKING_URI" in failed.stderr
    assert [run.outcome for run in past_runs(store)] == ["failed"]
    until(lambda: webhook.find("RetrainSuccessOver", "firing"))
    receiver, alert = webhook.find("RetrainSuccessOver", "firing") or ("", {})
    assert receiver == "noisegate-tickets" and alert["labels"]["severity"] == "ticket"
    says_what_to_do(alert)

    # It is mended and runs again; meanwhile decisions fail.
    mended = start(command, environment)
    decide(store, Status.OK, 40)
    decide(store, Status.FAILED, 20)
    until(lambda: webhook.find("DecisionAvailabilityBurn1h", "firing"))
    receiver, alert = webhook.find("DecisionAvailabilityBurn1h", "firing") or ("", {})
    assert receiver == "noisegate-pages" and alert["labels"]["severity"] == "page"
    says_what_to_do(alert)
    until(lambda: webhook.find("DecisionAvailabilityBurn1h", "resolved"))
    receiver, alert = webhook.find("DecisionAvailabilityBurn1h", "resolved") or ("", {})
    # A third of the decisions counted are bad, where one of a thousand may be.
    assert receiver == "noisegate-pages" and alert["annotations"]["budget_left"].startswith("-")

    mended.wait(300)
    assert past_runs(store, limit=1)[0].outcome in ("promoted", "refused", "unchanged")
    until(lambda: webhook.find("RetrainSuccessOver", "resolved"))
    receiver, alert = webhook.find("RetrainSuccessOver", "resolved") or ("", {})
    assert receiver == "noisegate-tickets"
