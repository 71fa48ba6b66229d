"""What docker-compose.yml mounts and runs, loaded by the real programs where they can be had.

Commands, environments, mounts and health checks are taken from the file itself; only addresses,
ports and folders are replaced by the test's own. No Docker engine, Grafana, Tempo or OpenTelemetry
collector runs here: of the last two the keys of the configuration are compared with the
documented ones.
"""

import configparser
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from noisegate.learning.registry import Registry
from noisegate.settings import Settings
from noisegate.store.database import open_store, upgrade

REPO = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((REPO / "docker-compose.yml").read_text())[
    "services"
]
PROGRAMS = Path(sys.executable).parent
OWNERS = ("noisegate", "prefect", "mlflow")

Changes = Mapping[str, object]
"""What of the stack's addresses and folders is what here; the first ones go first."""


def replaced(text: str, changes: Changes) -> str:
    for old, new in changes.items():
        text = text.replace(old, str(new))
    return text


def command_of(name: str, changes: Changes, *, after: str | None = None) -> list[str]:
    """The service's command, as its container runs it; or what of it stands after a word."""
    words = [replaced(str(word), changes) for word in SERVICES[name]["command"]]
    return words if after is None else words[words.index(after) + 1 :]


def environment_of(name: str, changes: Changes, **more: object) -> dict[str, str]:
    """This process' environment, without what is set for noisegate, with the service's."""
    ours = ("NOISEGATE_", "PREFECT_", "MLFLOW_", "RAY_", "PG", "OTEL_")
    base = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    given = {
        key: replaced(str(value), changes)
        for key, value in (SERVICES[name].get("environment") or {}).items()
    }
    return (
        base
        | {"PATH": f"{PROGRAMS}:{base['PATH']}"}
        | dict(re.findall(r"^    (\w+_TELEMETRY|DO_NOT_TRACK|\w+_ENABLED)=(\w+)", DOCKERFILE, re.M))
        | given
        | {key: str(value) for key, value in more.items()}
    )


DOCKERFILE = (REPO / "Dockerfile").read_text()


def free_port(low: int = 0) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", low))
        port: int = probe.getsockname()[1]
        return port


def is_healthy(name: str, changes: Changes, environment: Mapping[str, str]) -> bool:
    """Run the service's own health check."""
    words = [replaced(word, changes) for word in SERVICES[name]["healthcheck"]["test"][1:]]
    return subprocess.run(words, env=environment, capture_output=True, timeout=60).returncode == 0


def until(true: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait; the suite's own time limit ends it, or the end of the process."""
    while not true():
        assert process.poll() is None, log.read_text()[-4000:]
        time.sleep(0.3)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a command until the test ends: the process and its log."""
    started: list[subprocess.Popen[bytes]] = []

    def run(
        command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> tuple["subprocess.Popen[bytes]", Path]:
        path = tmp_path / f"{len(started)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=REPO
            )
        started.append(process)
        return process, path

    yield run
    for process in reversed(started):
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(40)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left
        process.wait()


@pytest.fixture(scope="module")
def secrets() -> Iterator[Path]:
    """The stack's secrets, made as on a first day; PostgreSQL's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="noisegate-secrets-"))
    subprocess.run(
        ["sh", REPO / "deploy" / "make-secrets.sh", folder], check=True, capture_output=True
    )
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def postgres(secrets: Path) -> Iterator[int]:
    """A PostgreSQL made as the image makes it, with the stack's options and init file; its port."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL server: install the Debian package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="noisegate-stack-"))
    root = os.geteuid() == 0
    if root:  # as in the image: the server's user, whom the socket asks for no password
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    prefix = ["runuser", "-u", "postgres", "--"] if root else []
    log = folder.with_name(f"{folder.name}.log")
    options = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()

    def run(program: str, *arguments: str, read: Path = Path("/dev/null")) -> None:
        words = [*prefix, str(found[-1] / program), *arguments]
        environment = {"PATH": os.environ["PATH"], "SECRETS": str(secrets)}
        if not root:
            environment["PGPASSWORD"] = (secrets / "postgres_password").read_text()
        with log.open("ab") as out, read.open("rb") as text:
            done = subprocess.run(
                words, env=environment, stdin=text, stdout=out, stderr=out, timeout=120, cwd="/"
            )
        assert done.returncode == 0, log.read_text()[-2000:]

    data, port = str(folder / "data"), free_port()
    password = f"--pwfile={secrets / 'postgres_password'}"
    run("initdb", "-D", data, "--username=postgres", password, "--no-sync", *options)
    server = f"-p {port} -k {folder} -h 127.0.0.1 -F"
    run("pg_ctl", "-D", data, "-w", "-o", server, "start")
    try:
        init = REPO / SERVICES["postgres"]["volumes"][1].partition(":")[0]
        once = ("-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", "-U", "postgres")
        run("psql", *once, "-h", str(folder) if root else "127.0.0.1", "-p", str(port), read=init)
        yield port
    finally:
        run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
        log.unlink()


def entry(*command: str) -> list[str]:
    """A command as the image starts it."""
    return ["sh", str(REPO / "deploy" / "entrypoint.sh"), *command]


def connect(port: int, user: str, database: str, password: str) -> None:
    psycopg.connect(
        host="127.0.0.1", port=port, user=user, dbname=database, password=password
    ).close()


def test_postgresql_lets_each_owner_into_its_own_database_only(
    postgres: int, secrets: Path
) -> None:
    own = {name: (secrets / f"{name}_db_password").read_text() for name in OWNERS}
    for user in OWNERS:
        for database in (*OWNERS, "postgres"):
            if user == database:
                connect(postgres, user, database, own[user])
            else:
                with pytest.raises(psycopg.OperationalError, match="permission denied"):
                    connect(postgres, user, database, own[user])
    for user, password in (("noisegate", ""), ("noisegate", own["mlflow"]), ("postgres", "")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            connect(postgres, user, "noisegate", password)
    # The health check, by TCP and without a password.
    check = [*SERVICES["postgres"]["healthcheck"]["test"][1:], f"--port={postgres}"]
    assert subprocess.run(check, capture_output=True).returncode == 0


def test_the_migration_migrates_and_the_exporter_answers_its_health_check(
    postgres: int, secrets: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    port = free_port()
    changes = {
        "/run/secrets": secrets, "@postgres:5432": f"@127.0.0.1:{postgres}", "/app": REPO,
        "/var/lib/noisegate": tmp_path / "home", "0.0.0.0": "127.0.0.1", "9464": port,
    }  # fmt: skip
    more = {"SECRETS": secrets, "OTEL_SDK_DISABLED": "true"}
    environment = environment_of("migrate", changes, **more)
    migrate = entry(*command_of("migrate", changes))
    for expected in ("database migrated: empty ->", "already"):
        done = subprocess.run(migrate, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and expected in done.stdout, done.stderr
    environment = environment_of("exporter", changes, **more)
    process, log = start(entry(*command_of("exporter", changes)), environment)
    until(lambda: is_healthy("exporter", changes, environment), process, log)
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert "noisegate_build_info" in page


def test_a_missing_secret_is_named_and_none_stays_in_the_environment_as_a_file(
    secrets: Path,
) -> None:
    environment = environment_of("prefect-worker", {"/run/secrets": secrets}, SECRETS=secrets)
    done = subprocess.run(entry("env"), env=environment, capture_output=True, text=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert found["PGPASSWORD"] == (secrets / "noisegate_db_password").read_text()
    assert found["PREFECT_API_AUTH_STRING"] == (secrets / "prefect_auth").read_text()
    assert not {"PGPASSWORD_FILE", "PREFECT_API_AUTH_STRING_FILE"} & found.keys()
    # The same for `docker compose exec SERVICE noisegate ...`, which starts beside the entry point.
    for name in ("noisegate", "prefect"):
        script = replaced(
            (REPO / "deploy" / "bin" / name).read_text(),
            {"/app": REPO, f"/venv/bin/{name}": "/usr/bin/env"},
        )
        done = subprocess.run(
            ["sh", "-c", script, name], env=environment, capture_output=True, text=True
        )
        assert f"PGPASSWORD={found['PGPASSWORD']}" in done.stdout.splitlines(), done.stderr
    environment["PGPASSWORD_FILE"] = f"{secrets}/gone"
    done = subprocess.run(entry("env"), env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert "PGPASSWORD_FILE" in done.stderr and "make-secrets.sh" in done.stderr


@pytest.mark.timeout(300)
def test_mlflow_serves_the_stack_and_nobody_else(
    postgres: int, secrets: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    port = free_port()
    changes = {
        "/run/secrets": secrets, "@postgres:5432": f"@127.0.0.1:{postgres}", "/app": REPO,
        "/var/lib/mlflow": tmp_path / "artifacts", "0.0.0.0": "127.0.0.1", "5000": port,
    }  # fmt: skip
    environment = environment_of("mlflow", changes, SECRETS=secrets)
    process, log = start(entry(*command_of("mlflow", changes)), environment)
    until(lambda: is_healthy("mlflow", changes, environment), process, log)
    api = f"http://127.0.0.1:{port}/api/2.0"

    def create(name: str, host: str) -> int:
        sent = {"json": {"name": name}, "headers": {"Host": host}, "timeout": 120}
        return httpx.post(f"{api}/mlflow/experiments/create", **sent).status_code

    assert create("from-a-service", f"mlflow:{port}") == 200
    assert create("from-a-browser-here", f"localhost:{port}") == 200
    assert create("from-a-rebound-name", "evil.example") == 403
    path = f"{api}/mlflow-artifacts/artifacts/one/note.txt"
    uploaded = httpx.put(path, content=b"kept", timeout=120)
    assert uploaded.status_code == 200
    assert (tmp_path / "artifacts" / "one" / "note.txt").read_text() == "kept"
    # A server takes less on trust than a database does.
    settings = Settings(home=tmp_path / "home", mlflow_tracking_uri=f"http://127.0.0.1:{port}")
    upgrade(settings)
    engine = open_store(settings)
    registry = Registry(settings, engine)
    folder = candidate(settings.home.resolve() / "models" / ("a" * 32))
    version = registry.register(folder, flow="retrain", run_id="0" * 32)
    registry.promote(version, who="ann", why="better")
    shutil.rmtree(folder)
    champion = registry.champion()
    assert champion is not None and champion.version == version.version
    assert (registry.folder(champion) / "points.json").read_text() == "{}"
    engine.dispose()
    password = (secrets / "mlflow_db_password").read_text()
    with psycopg.connect(
        host="127.0.0.1", port=postgres, user="mlflow", dbname="mlflow", password=password
    ) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM experiments")}
    assert {"from-a-service", "from-a-browser-here"} <= names


def candidate(folder: Path) -> Path:
    """A trained folder, made up: the registry looks at nothing but its manifest."""
    folder.mkdir(parents=True)
    manifest = {
        "digest": folder.name, "data_digest": "d" * 64, "config_digest": "c" * 64,
        "candidate": "rule", "trained_from_us": 0, "trained_to_us": 10**15, "figures": {},
        "gates": [], "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "points.json").write_text("{}")
    return folder


@pytest.mark.timeout(400)
def test_prefect_asks_for_its_password_takes_the_deployments_and_has_a_worker(
    postgres: int, secrets: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    port, worker_port = free_port(), free_port()
    changes = {
        "/run/secrets": secrets, "@postgres:5432": f"@127.0.0.1:{postgres}", "/app": REPO,
        "prefect-server:4200": f"127.0.0.1:{port}", "/tmp/prefect-ui": tmp_path / "ui",
        "0.0.0.0": "127.0.0.1", "4200": port, "8080": worker_port,
    }  # fmt: skip
    (tmp_path / "prefect").mkdir()
    more = {"SECRETS": secrets, "PREFECT_HOME": tmp_path / "prefect", "OTEL_SDK_DISABLED": "true"}
    environment = environment_of("prefect-server", changes, **more)
    process, log = start(entry(*command_of("prefect-server", changes)), environment)
    until(lambda: is_healthy("prefect-server", changes, environment), process, log)
    filter_ = f"http://127.0.0.1:{port}/api/deployments/filter"
    user, _, password = (secrets / "prefect_auth").read_text().partition(":")
    assert httpx.post(filter_, json={}).status_code == 401
    assert httpx.post(filter_, json={}, auth=(user, "wrong")).status_code == 401

    register = environment_of("register-flows", changes, **more)
    for _ in range(2):  # safe to repeat
        done = subprocess.run(
            entry(*command_of("register-flows", changes)),
            env=register, cwd=tmp_path, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    deployments = httpx.post(filter_, json={}, auth=(user, password)).json()
    assert {one["name"] for one in deployments} == {"retrain", "tune", "rollback"}
    assert {one["pull_steps"][0].popitem()[1]["directory"] for one in deployments} == {str(REPO)}
    # The page that people open is made outside of the program's own folder, which is read-only.
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    assert any((tmp_path / "ui").rglob("index.html"))

    worker = environment_of("prefect-worker", changes, **more)
    process, log = start(entry(*command_of("prefect-worker", changes, after="beside")), worker)
    health = SERVICES["prefect-worker"]["healthcheck"]["test"][:-1]  # without Ray's socket
    words = [replaced(word, changes) for word in health[1:]]
    until(lambda: subprocess.run(words, env=worker).returncode == 0, process, log)


@pytest.mark.timeout(300)
def test_ray_runs_tasks_on_its_worker_for_who_has_the_token(
    secrets: Path, start: Callable[..., Any]
) -> None:
    short = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # a socket's path has 107 characters
    port = free_ray_port()
    script = short / "script.py"
    script.write_text(RAY_SCRIPT)

    def environment(name: str, node: str, **more: object) -> dict[str, str]:
        changes = {"/run/secrets": secrets, "ray-head:6379": f"127.0.0.1:{port}"}
        sizes = {"RAY_STORE_BYTES": 100_000_000, "OTEL_SDK_DISABLED": "true"}
        return environment_of(
            name, changes, RAY_TMPDIR=short / node, SECRETS=secrets, **sizes, **more
        )

    def changes(node: str) -> Changes:
        return {
            "/app": REPO, "ray-head:6379": f"127.0.0.1:{port}", "/tmp/ray": short / node / "ray",
        }  # fmt: skip

    try:
        head = environment("ray-head", "h")
        process, log = start(entry(*command_of("ray-head", changes("h"))), head)
        until(lambda: is_healthy("ray-head", changes("h"), head), process, log)
        worker = environment("ray-worker", "w", NOISEGATE_HOME=short)
        process, log = start(entry(*command_of("ray-worker", changes("w"))), worker)
        until(lambda: is_healthy("ray-worker", changes("w"), worker), process, log)

        beside = command_of("prefect-worker", changes("b"))[:2]
        driver = environment("prefect-worker", "b", NOISEGATE_HOME=short)
        run = entry(*beside, "python", str(script))
        done = subprocess.run(
            run, env=driver, capture_output=True, text=True, timeout=120, cwd=REPO
        )
        assert done.returncode == 0 and "[10, 11, 12]" in done.stdout, done.stdout + done.stderr
        failing = entry(*beside, "sh", "-c", "exit 3")
        done = subprocess.run(failing, env=driver, capture_output=True, timeout=120, cwd=REPO)
        assert done.returncode == 3  # the container ends, and is started again

        stranger = head | {"RAY_AUTH_TOKEN": "x" * 64}
        status = [PROGRAMS / "ray", "status", "--address", f"127.0.0.1:{port}"]
        done = subprocess.run(status, env=stranger, capture_output=True, text=True, timeout=120)
        assert done.returncode != 0 and "InvalidAuthToken" in done.stdout + done.stderr
    finally:
        shutil.rmtree(short, ignore_errors=True)


RAY_SCRIPT = """
import os
from noisegate.learning.cluster import Task, run_tasks
from noisegate.settings import load_settings

def add(shared, x):
    return shared + x

print(run_tasks(load_settings(), (10,), [Task(add, (i,)) for i in range(3)]))
"""


def free_ray_port() -> int:
    """A port outside of the range in which Ray's own workers listen."""
    while 10_000 <= (port := free_port()) < 20_000:
        pass
    return port


def test_prometheus_starts_with_the_stack_s_command_rules_and_targets(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus here: install the Debian package prometheus")
    port = free_port()
    rules = REPO / "deploy" / "generated" / "rules"
    config = tmp_path / "prometheus.yml"
    config.write_text(
        replaced((REPO / "deploy" / "prometheus.yml").read_text(), {"/etc/prometheus/rules": rules})
    )
    checked = subprocess.run(
        ["promtool", "check", "config", config], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    files = list(rules.glob("*.yaml"))
    assert files, "deploy/generated/rules is empty: run `make generate`"

    changes = {
        "/etc/prometheus/prometheus.yml": config, "=/prometheus": f"={tmp_path / 'data'}",
        "localhost:9090": f"127.0.0.1:{port}", "127.0.0.1:9090": f"127.0.0.1:{port}",
    }  # fmt: skip
    command = command_of("prometheus", changes)
    process, log = start(["prometheus", *command, f"--web.listen-address=127.0.0.1:{port}"])
    health = replaced(SERVICES["prometheus"]["healthcheck"]["test"][-1], changes)
    until(lambda: answers(health), process, log)
    api = f"http://127.0.0.1:{port}/api/v1"
    groups = httpx.get(f"{api}/rules").json()["data"]["groups"]
    assert {Path(group["file"]).name for group in groups} == {path.name for path in files}

    def scrapes_the_exporter() -> bool:
        targets = httpx.get(f"{api}/targets").json()["data"]["activeTargets"]
        return "http://exporter:9464/metrics" in {target["scrapeUrl"] for target in targets}

    until(scrapes_the_exporter, process, log)
    flags = httpx.get(f"{api}/status/flags").json()["data"]
    assert flags["web.enable-admin-api"] == flags["web.enable-lifecycle"] == "false"


def test_alertmanager_starts_with_the_stack_s_command_and_templates(
    secrets: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    if shutil.which("prometheus-alertmanager") is None:
        pytest.skip("no Alertmanager here: install the Debian package prometheus-alertmanager")
    port, own = free_port(), tmp_path / "etc"
    for volume in SERVICES["alertmanager"]["volumes"][1:]:
        source, target, _ = volume.split(":")
        here = own / Path(target).relative_to("/etc/alertmanager")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(REPO / source)
    text = replaced((own / "alertmanager.yml").read_text(), {"/run/secrets": secrets})
    (own / "alertmanager.yml").unlink()
    (own / "alertmanager.yml").write_text(text)
    changes = {
        "/etc/alertmanager": own, "=/alertmanager": f"={tmp_path / 'data'}",
        "localhost:9093": f"127.0.0.1:{port}", "127.0.0.1:9093": f"127.0.0.1:{port}",
    }  # fmt: skip
    command = command_of("alertmanager", changes)
    process, log = start(
        ["prometheus-alertmanager", *command, f"--web.listen-address=127.0.0.1:{port}"]
    )
    health = replaced(SERVICES["alertmanager"]["healthcheck"]["test"][-1], changes)
    until(lambda: answers(health), process, log)
    assert list((own / "generated" / "alertmanager").glob("*.tmpl")), "run `make generate`"


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def keys(value: object, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from keys(one, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for one in value:
            yield from keys(one, f"{path}[]")
    else:
        yield path


# From the documentation of collector 0.159 and Tempo 2.9; both refuse keys that they do not know.
COLLECTOR = {
    "receivers.otlp.protocols.http.endpoint", "processors.memory_limiter.check_interval",
    "processors.memory_limiter.limit_mib", "processors.memory_limiter.spike_limit_mib",
    "exporters.otlp_http.endpoint", "extensions.health_check.endpoint", "service.extensions",
    "service.telemetry.metrics.readers[].pull.exporter.prometheus.host",
    "service.telemetry.metrics.readers[].pull.exporter.prometheus.port",
    "service.pipelines.traces.receivers", "service.pipelines.traces.processors",
    "service.pipelines.traces.exporters",
}  # fmt: skip
TEMPO = {
    "server.http_listen_port", "server.log_level",
    "distributor.receivers.otlp.protocols.http.endpoint",
    "compactor.compaction.block_retention", "storage.trace.backend", "storage.trace.wal.path",
    "storage.trace.local.path", "usage_report.reporting_enabled",
}  # fmt: skip


def test_the_collector_s_file_has_documented_keys_and_its_ends_meet() -> None:
    collector = yaml.safe_load((REPO / "deploy" / "otel-collector.yaml").read_text())
    assert set(keys(collector)) == COLLECTOR
    traces = collector["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(traces[kind]) == set(collector[kind])
    assert traces["processors"][0] == "memory_limiter"
    tempo = yaml.safe_load((REPO / "deploy" / "tempo.yaml").read_text())
    assert set(keys(tempo)) == TEMPO
    # Who sends traces reaches the collector, and the collector Tempo.
    listens = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    sent = {
        one["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
        for one in SERVICES.values()
        if "OTEL_EXPORTER_OTLP_ENDPOINT" in (one.get("environment") or {})
    }
    assert sent == {f"http://otel-collector:{listens.rpartition(':')[2]}"}
    takes = tempo["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    passed = collector["exporters"]["otlp_http"]["endpoint"]
    assert passed == f"http://tempo:{takes.rpartition(':')[2]}"
    limit = collector["processors"]["memory_limiter"]["limit_mib"]
    assert SERVICES["otel-collector"]["deploy"]["resources"]["limits"]["memory"] == "256m"
    assert limit <= 0.8 * 256
    health = collector["extensions"]["health_check"]["endpoint"]
    assert health in SERVICES["otel-collector"]["healthcheck"]["test"][-1]


def test_grafana_is_provisioned_with_the_data_sources_that_dashboards_and_rules_name() -> None:
    folder = REPO / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "noisegate.yaml").read_text())
    by_uid = {one["uid"]: one for one in sources["datasources"]}
    assert {uid: one["type"] for uid, one in by_uid.items()} == {
        "prometheus": "prometheus",
        "tempo": "tempo",
    }
    (link,) = by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["datasourceUid"] == "tempo" and link["name"] == "trace_id"
    config = yaml.safe_load((REPO / "deploy" / "prometheus.yml").read_text())
    assert by_uid["prometheus"]["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    mounts = dict(reversed(volume.split(":")[:2]) for volume in SERVICES["grafana"]["volumes"])
    (provider,) = yaml.safe_load((folder / "dashboards" / "noisegate.yaml").read_text())[
        "providers"
    ]
    dashboards = REPO / mounts[provider["options"]["path"]]
    named = set()
    for path in dashboards.glob("*.json"):
        named |= set(re.findall(r'"uid": "(prometheus|tempo)"', path.read_text()))
        assert json.loads(path.read_text())["uid"]
    assert named <= by_uid.keys()
    alerting = REPO / mounts["/etc/grafana/provisioning/alerting"]
    for path in (one for one in alerting.iterdir() if one.suffix in (".yaml", ".yml", ".json")):
        assert path.name.endswith(".grafana.yaml"), "Grafana would read it"
        assert yaml.safe_load(path.read_text())["apiVersion"] == 1
    environment = SERVICES["grafana"]["environment"]
    from dashboards.notifications import ENVIRONMENT

    given = {name.removesuffix("_FILE") for name in environment}
    assert set(ENVIRONMENT) <= given


def test_grafana_s_settings_have_no_default_password_and_tell_nobody() -> None:
    grafana = configparser.ConfigParser(interpolation=None)
    grafana.read(REPO / "deploy" / "grafana" / "grafana.ini")
    for name in ("admin_password", "secret_key"):
        assert re.fullmatch(r"\$__file\{/run/secrets/\w+\}", grafana["security"][name])
    for section, name, value in (
        ("analytics", "reporting_enabled", "false"),
        ("analytics", "check_for_updates", "false"),
        ("analytics", "check_for_plugin_updates", "false"),
        ("news", "news_feed_enabled", "false"),
        ("plugins", "preinstall_disabled", "true"),
        ("auth.anonymous", "enabled", "false"),
        ("users", "allow_sign_up", "false"),
    ):
        assert grafana[section][name] == value
