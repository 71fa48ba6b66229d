"""One real retrain is one trace: a real collector's end, real Ray workers, one of them killed."""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import update

from noisegate.alert import Origin
from noisegate.settings import Settings
from noisegate.simulate.history import SimulationPlan, simulate
from noisegate.store import database
from noisegate.store.files import import_file
from noisegate.store.tables import AlertRow

MARK = "Kowalski-at-db7"
"""Stands for the raw text of an alert."""

PASSWORD = "planted-password"

TASKS = (
    "take_snapshot",
    "audit_snapshot",
    "train_candidates",
    "register_candidate",
    "publish_result",
)
"""Of every retrain that learns; whether such a small history promotes, too, is not our matter."""

RETRAIN = """
import os, signal, sys, time
from pathlib import Path
from noisegate.cli import main
from noisegate.learning import folds

seen, kill = Path(sys.argv[1]), sys.argv[2] == "kill"
fit_and_forecast = folds.fit_and_forecast

def fit_on_two_workers(*arguments):
    (seen / str(os.getpid())).touch()
    while len(list(seen.iterdir())) < 2:  # the other worker has begun, too
        time.sleep(0.05)
    if kill:
        try:
            (seen.parent / "killed").mkdir()
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return fit_and_forecast(*arguments)

folds.fit_and_forecast = fit_on_two_workers
sys.argv = ["noisegate", "retrain", "--json"]
main()
"""


@dataclass(frozen=True)
class Told:
    """One span as it arrived."""

    name: str
    span_id: bytes
    parent_id: bytes
    trace_id: bytes
    scope: str
    pid: int
    service: str
    failed: bool
    attributes: Mapping[str, object]


class Collector:
    """An OTLP/HTTP receiver on a free port."""

    def __init__(self) -> None:
        bodies: list[bytes] = []

        class Receive(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.bodies = bodies
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receive)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> list[Told]:
        found = []
        for body in self.bodies:
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                process = _plain(of_process.resource.attributes)
                for scope in of_process.scope_spans:
                    found += [
                        Told(
                            span.name,
                            span.span_id,
                            span.parent_span_id,
                            span.trace_id,
                            scope.scope.name,
                            int(str(process["process.pid"])),
                            str(process["service.name"]),
                            span.status.code == span.status.STATUS_CODE_ERROR,
                            _plain(span.attributes),
                        )
                        for span in scope.spans
                    ]
        return found


def _plain(attributes: Iterable[Any]) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def run(tmp_path: Path, collector: Collector) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own, which has the collector as its endpoint."""

    def call(
        settings: Settings, code: str, *arguments: str, **more: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("OTEL_")},
            "NOISEGATE_HOME": str(settings.home),
            "NOISEGATE_DB_URL": settings.db_url,
            "NOISEGATE_DELAY_BUDGET_S": "300",  # no refusal on so few alerts
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={PASSWORD}",
            **more,
        }
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=500,
        )

    return call


def with_password(settings: Settings) -> Settings:
    if not settings.db_url:
        return settings
    url = settings.db_url.replace("noisegate@", f"noisegate:{PASSWORD}@")
    return settings.model_copy(update={"db_url": url})


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("settings", "fate"),
    [
        pytest.param("postgresql", "live", id="every worker lives"),
        pytest.param("sqlite", "kill", id="a worker is killed and its task retried"),
    ],
    indirect=["settings"],
)
def test_a_retrain_is_one_trace_with_no_task_missing(
    settings: Settings,
    fate: str,
    collector: Collector,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.parquet"
    plan = SimulationPlan(alerts=1_600, days=40, services=8)
    pq.write_table(pa.Table.from_batches(simulate(plan)), path)
    import_file(settings, path, {}, origin=Origin.SIMULATED)
    engine = database.open_store(settings)
    with database.writing(engine) as connection:
        connection.execute(update(AlertRow).values(message=AlertRow.message + f" {MARK}"))
    engine.dispose()
    (tmp_path / "seen").mkdir()
    done = run(with_password(settings), RETRAIN, str(tmp_path / "seen"), fate)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "killed").exists() == (fate == "kill")
    result = json.loads(done.stdout)

    told = collector.spans()
    by_id = {span.span_id: span for span in told}
    assert len({span.trace_id for span in told}) == 1
    assert len(by_id) == len(told)
    (root,) = [span for span in told if not span.parent_id]
    assert (root.name, root.attributes["process.exit.code"]) == ("noisegate retrain", 0)
    assert [span.name for span in told if span.parent_id and span.parent_id not in by_id] == []
    assert {span.service for span in told} == {"noisegate"}

    (flow,) = [span for span in told if span.name == "retrain"]
    tasks = [span for span in told if "prefect.run.attempt" in span.attributes]
    assert Counter(span.name for span in tasks) == Counter(
        [*TASKS, *["promote_candidate"] * (result["outcome"] == "promoted")]
    )
    assert {span.parent_id for span in tasks} == {flow.span_id}
    assert {span.scope for span in told} == {
        "noisegate",
        "opentelemetry.instrumentation.sqlalchemy",
    }  # none of Prefect's own, none of MLflow's

    (fan_out,) = [span for span in told if "noisegate.tasks" in span.attributes]
    remote = [span for span in told if span.parent_id == fan_out.span_id]
    submitted = re.findall(r"fitting folds: \d+ of (\d+)", done.stderr)
    assert len(remote) == fan_out.attributes["noisegate.tasks"] == int(submitted[-1])
    workers = {span.pid for span in remote}
    assert len(workers) >= 2 and root.pid not in workers
    of_run = [span for span in told if span.attributes.get("noisegate.run_id")]
    assert {span.attributes["noisegate.run_id"] for span in of_run} == {result["run_id"]}
    assert {span.name for span in remote} <= {span.name for span in of_run}

    assert {"mlflow create_model_version", "mlflow log_batch"} <= {span.name for span in told}
    statements = [str(span.attributes.get("db.query.text", "")) for span in told]
    assert any("FROM alert" in statement for statement in statements)
    sent = b"".join(collector.bodies)
    assert MARK.encode() not in sent and PASSWORD.encode() not in sent


STATEMENTS = """
import sys
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from noisegate.settings import load_settings
from noisegate.spans import span
from noisegate.store.database import open_store
from observability.entry import set_up

set_up()
engine = open_store(load_settings())
with span("work"), engine.connect() as connection:
    try:
        given = {"given": sys.argv[1]}
        connection.execute(text("SELECT CAST(:given AS INTEGER)"), given)  # PostgreSQL quotes it
        connection.execute(text("SELECT no_such_function(:given)"), given)
    except SQLAlchemyError:
        print("refused")
"""


def test_a_statement_that_fails_quotes_neither_value_nor_password(
    settings: Settings,
    collector: Collector,
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = run(with_password(settings), STATEMENTS, MARK)
    assert done.stdout == "refused\n", done.stderr[-2000:]
    work, statement = collector.spans()[-1], collector.spans()[-2]
    assert work.name == "work" and statement.parent_id == work.span_id
    assert statement.failed and str(statement.attributes["db.query.text"]).startswith("SELECT ")
    sent = b"".join(collector.bodies)
    assert MARK.encode() not in sent and PASSWORD.encode() not in sent


LITERALS = """
import sys
from sqlalchemy import text
from noisegate.settings import load_settings
from noisegate.spans import span
from noisegate.store.database import open_store
from observability.entry import set_up

set_up()
engine = open_store(load_settings())
with span("work"), engine.connect() as connection:
    connection.execute(text(f"SELECT '{sys.argv[1]}'"))
"""


@pytest.mark.parametrize("opted", ["", "http", "database/dup", "gen_ai, http/dup"])
def test_no_literal_and_no_path_leaves_whatever_conventions_somebody_opted_for(
    sqlite_settings: Settings,
    collector: Collector,
    run: Callable[..., subprocess.CompletedProcess[str]],
    opted: str,
) -> None:
    done = run(sqlite_settings, LITERALS, MARK, OTEL_SEMCONV_STABILITY_OPT_IN=opted)
    assert done.returncode == 0, done.stderr[-2000:]
    (statement,) = [span for span in collector.spans() if span.parent_id]
    assert statement.attributes["db.query.text"] == "SELECT ?"
    sent = b"".join(collector.bodies)
    assert MARK.encode() not in sent and str(sqlite_settings.home).encode() not in sent


COMMAND = """
import sys
sys.argv = ["noisegate", *sys.argv[1:]]
from noisegate.cli import main
try:
    main()
finally:
    ours = ("opentelemetry.sdk", "observability.telemetry")
    print("LOADED", [name for name in ours if name in sys.modules])
"""


@pytest.mark.parametrize(
    "words",
    [("--help",), ("db", "upgrade"), ("simulate", "--alerts", "50"), ("backtest", "--help")],
)
def test_without_an_endpoint_the_sdk_is_not_even_imported(
    make_settings: Callable[..., Settings],
    run: Callable[..., subprocess.CompletedProcess[str]],
    words: tuple[str, ...],
) -> None:
    settings = make_settings()
    database.upgrade(settings)
    done = run(settings, COMMAND, *words, OTEL_EXPORTER_OTLP_ENDPOINT="")
    assert done.stdout.endswith("LOADED []\n"), done.stdout + done.stderr


@pytest.mark.parametrize("propagators", ["b3", "none", "no such"])
@pytest.mark.parametrize("endpoint", [True, False])
def test_no_choice_of_propagators_breaks_a_command_or_what_it_imports(
    make_settings: Callable[..., Settings],
    run: Callable[..., subprocess.CompletedProcess[str]],
    propagators: str,
    endpoint: bool,
) -> None:
    more = {} if endpoint else {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    code = COMMAND + "    import opentelemetry.propagate\n"
    done = run(make_settings(), code, "db", "upgrade", OTEL_PROPAGATORS=propagators, **more)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("database migrated: empty -> ")


MLFLOW = """
import sys
from opentelemetry import trace
from noisegate.learning.registry import Registry
from noisegate.settings import load_settings
from noisegate.store.database import open_store
from observability.entry import set_up

set_up()
before = trace.get_tracer_provider()
settings = load_settings()
Registry(settings, open_store(settings)).versions()
assert trace.get_tracer_provider() is before
print(type(before).__name__, "observability.telemetry" in sys.modules)
"""


@pytest.mark.parametrize(
    ("endpoint", "provider"),
    [
        pytest.param(False, "ProxyTracerProvider False", id="none of ours, and none of MLflow's"),
        pytest.param(True, "TracerProvider True", id="ours stays"),
    ],
)
def test_mlflow_which_loads_the_sdk_itself_leaves_the_provider_alone(
    sqlite_settings: Settings,
    run: Callable[..., subprocess.CompletedProcess[str]],
    endpoint: bool,
    provider: str,
) -> None:
    more = {} if endpoint else {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}
    done = run(sqlite_settings, MLFLOW, **more)
    assert done.stdout == f"{provider}\n", done.stderr[-2000:]


@pytest.fixture(params=["shut", "silent"])
def nobody(request: pytest.FixtureRequest) -> Iterator[str]:
    """An endpoint that refuses every connection, or takes it and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if request.param == "shut":
            server.close()
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_collector_that_is_away_costs_one_line_and_no_command(
    make_settings: Callable[..., Settings],
    run: Callable[..., subprocess.CompletedProcess[str]],
    nobody: str,
    log_format: str,
) -> None:
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": nobody, "NOISEGATE_LOG_FORMAT": log_format}
    done = run(make_settings(), COMMAND, "db", "upgrade", **away)
    assert done.returncode == 0 and done.stdout.startswith("database migrated: empty -> ")
    (line,) = done.stderr.splitlines()
    message = json.loads(line)["message"] if log_format == "json" else line
    assert message == (
        f"traces are lost: no collector takes them at {nobody} (OTEL_EXPORTER_OTLP_ENDPOINT)"
    )
