"""What tests of several parts share: a home of their own, both databases, the real histories."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from noisegate.settings import Settings, load_settings
from noisegate.store import database

REPO = Path(__file__).resolve().parent.parent
_OURS = ("NOISEGATE_", "ALERT_DB_URI", "RAY_ADDRESS", "MLFLOW_", "PREFECT_", "OTEL_")


@pytest.fixture(scope="session", autouse=True)
def _nothing_from_outside() -> Iterator[None]:
    """No setting of the person who runs the tests reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_OURS) and name != "NOISEGATE_DATA_DIR":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real alert histories, which are not part of this repository."""
    folder = Path(os.environ.get("NOISEGATE_DATA_DIR") or REPO.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real alert histories at {folder}: set NOISEGATE_DATA_DIR")
    return folder


@pytest.fixture
def make_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings over a home of the test's own."""
    monkeypatch.chdir(tmp_path)  # where no noisegate.toml lies

    def make(**overrides: object) -> Settings:
        return load_settings(**({"home": tmp_path / "home"} | overrides))

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Settings:
    """Settings over a home and a migrated database of the test's own, on each kind of database."""
    overrides: dict[str, object] = {}
    if request.param == "postgresql":
        overrides["db_url"] = request.getfixturevalue("postgresql_url")
    made = make_settings(**overrides)
    database.upgrade(made)
    return made


@pytest.fixture
def sqlite_settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings over a home and a migrated SQLite database of the test's own."""
    made = make_settings()
    database.upgrade(made)
    return made


@pytest.fixture
def store(settings: Settings) -> Iterator[Engine]:
    """The open database of `settings`."""
    engine = database.open_store(settings)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql_url(_postgresql: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a fresh, empty PostgreSQL database."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(f"{_postgresql}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield f"{_postgresql}/{name}"
    with psycopg.connect(f"{_postgresql}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def _postgresql() -> Iterator[str]:
    """A real server, one for each test process: its URL without a database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL server: install the Debian package postgresql")
    programs = found[-1]
    # Not under pytest's folder, which only its owner may enter: the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="noisegate-postgresql-"))
    prefix: list[str] = []
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("no user postgres: install the Debian package postgresql")
        os.chown(folder, user.pw_uid, user.pw_gid)
        prefix = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *options: str) -> None:
        command = [*prefix, str(programs / program), "-D", str(folder / "data"), *options]
        # To a file: the server keeps a pipe open for good.
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            done = subprocess.run(command, stdout=log, stderr=log, timeout=120, cwd="/")
        assert done.returncode == 0, (folder.parent / f"{folder.name}.log").read_text()[-2000:]

    run("initdb", "-U", "noisegate", "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync")
    port = _free_port()
    server = f"-p {port} -k {folder} -h 127.0.0.1 -F -c full_page_writes=off"
    run("pg_ctl", "-w", "-o", server, "start")
    try:
        yield f"postgresql://noisegate@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.log").unlink()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
