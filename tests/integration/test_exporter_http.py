"""The exporter's server: what Prometheus reads, what happens without a database, a clean end."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from noisegate.alert import Action, Origin
from noisegate.errors import MissingError, SettingsError
from noisegate.settings import Settings
from noisegate.store.database import writing
from noisegate.store.facts import DecisionFact, Status, append_decisions
from observability.exporter import Exporter, listen, metrics_page, serve

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@contextmanager
def serving(settings: Settings, engine: Engine) -> Iterator[str]:
    with listen(Exporter(settings, engine), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def get(url: str, accept: str = "") -> tuple[int, str, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def decide(engine: Engine, n: int = 1) -> None:
    with writing(engine) as connection:
        facts = [
            DecisionFact(
                decision_id=f"{i:032x}",
                alert_id=f"{i:032x}",
                origin=Origin.LIVE,
                service="web",
                at=1_760_000_000_000_000,
                action=Action.PAGE,
                reason="severity_floor",
                hold_s=0.0,
                status=Status.OK,
                latency_us=900,
                version=None,
                trace_id="c" * 32,
            )
            for i in range(n)
        ]
        append_decisions(connection, facts)


def test_metrics_come_in_both_formats(settings: Settings, store: Engine) -> None:
    decide(store)
    with serving(settings, store) as url:
        status, kind, plain = get(f"{url}/metrics")
        assert (status, kind.split(";")[0]) == (200, "text/plain")
        assert "trace_id" not in plain

        status, kind, rich = get(f"{url}/metrics", OPENMETRICS)
        assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
        assert 'le="0.001"} 1.0 # {trace_id="' in rich
        assert rich.endswith("# EOF\n")

        assert get(f"{url}/healthz")[0] == 200
        assert get(f"{url}/else")[0] == 404


def test_promtool_has_nothing_to_say(settings: Settings, store: Engine) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: install the Debian package prometheus")
    decide(store)

    page = metrics_page(settings)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_database_scrapes_fail_and_the_exporter_lives_on(
    settings: Settings, store: Engine
) -> None:
    decide(store)
    with serving(settings, store) as url:
        with out_of_reach(settings, store):
            status, _, said = get(f"{url}/metrics")
            assert status == 503
            assert "NOISEGATE_DB_URL" in said and len(said.splitlines()) == 1
            assert get(f"{url}/healthz")[0] == 200
        status, _, page = get(f"{url}/metrics")
    assert status == 200
    assert 'noisegate_decisions_total{action="page",reason="severity_floor",status="ok"} 1' in page


@contextmanager
def out_of_reach(settings: Settings, store: Engine) -> Iterator[None]:
    """The database, for a while, does not answer."""
    if settings.db_url:
        server, _, name = settings.db_url.rpartition("/")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            yield
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        return
    path = settings.home / "noisegate.db"
    files = [file for file in path.parent.glob("noisegate.db*") if file.is_file()]
    for file in files:
        file.rename(file.with_name(f"gone-{file.name}"))
    path.mkdir()
    store.dispose()  # an open file would answer wherever it lies
    yield
    path.rmdir()
    for file in files:
        file.with_name(f"gone-{file.name}").rename(file)


def test_scrapes_at_once_wait_for_each_other(settings: Settings, store: Engine) -> None:
    decide(store, 100)
    with serving(settings, store) as url, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(get, [f"{url}/metrics"] * 6))

    assert {status for status, _, _ in answers} == {200}
    decided = 'reason="severity_floor",status="ok"} 100.0'
    assert all(decided in page for _, _, page in answers)


def test_a_busy_port_is_named(sqlite_settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"--port {port} \(Address already in use\)"):
            serve(sqlite_settings, "127.0.0.1", port)


def test_a_store_that_is_not_migrated_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="noisegate db upgrade"):
        serve(Settings(home=tmp_path / "home"), "127.0.0.1", 0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a container ends"])
def test_the_command_serves_until_it_is_told_to_end(
    sqlite_settings: Settings, how: signal.Signals
) -> None:
    run = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    run += "from noisegate.cli import main; sys.argv[0] = 'noisegate'; main()"
    command = [sys.executable, "-c", run, "exporter", "--port", "0", "--origin", "simulated"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"NOISEGATE_HOME": str(sqlite_settings.home), "PATH": "/usr/bin:/bin"},
    )
    assert process.stdout is not None
    url = process.stdout.readline().removeprefix("serving ").strip()
    assert get(url)[0] == 200

    process.send_signal(how)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "exporter ended\n", "")
