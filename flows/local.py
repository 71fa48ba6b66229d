"""Run a flow here and now (`make run`, the command line), on its own Prefect server if need be."""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisegate.alert import Origin
from noisegate.errors import NoisegateError, UnreachableError
from noisegate.settings import Settings, load_settings
from noisegate.spans import span
from noisegate.store.database import make_home

if TYPE_CHECKING:
    from flows.champion import FlowResult

START_S = 120.0
"""How long the local Prefect server may take to start (the first time it makes its tables)."""

DRAIN_S = 10.0
"""How long Prefect may take to tell its server the last events of a run, seconds."""

_OFF = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)
"""Services of the server that one run has no use for."""


def local_environment(home: Path) -> dict[str, str]:
    """Prefect's settings for a run without a server: quiet, no analytics, all under the home."""
    secret = f"noisegate:{secrets.token_urlsafe(16)}"
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",  # flows/tracing.py says why
        # Other users of this machine see the port; without the secret it tells them nothing.
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_API_AUTH_STRING": secret,
        **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _OFF},
    }


Progress = Callable[[str], None]
"""Told what a run is doing, in a few words."""

_chosen: ContextVar[Settings | None] = ContextVar("noisegate_settings", default=None)
_progress: ContextVar[Progress | None] = ContextVar("noisegate_progress", default=None)


def chosen_settings() -> Settings:
    """The settings of the run here and now, else those of the environment (a Prefect worker).

    They are no parameter of the flow, for Prefect stores parameters, and a URL has a password.
    """
    return _chosen.get() or load_settings()


def in_worker() -> bool:
    """Whether a Prefect worker runs the flow in a process of its own: nobody chose settings."""
    return _chosen.get() is None


def say(what: str) -> None:
    """Tell whoever watches the run here and now what it is doing; nobody watches a worker's."""
    if progress := _progress.get():
        progress(what)


def run_retrain(
    settings: Settings, origin: Origin = Origin.LIVE, progress: Progress | None = None
) -> "FlowResult":
    """Run the retrain flow here and now.

    Args:
        settings: everything.
        origin: of the run's row: live, or simulated where the alerts are.
        progress: told what is being done.

    Raises:
        BusyError: another retrain is running.
        MissingError: the store has not been migrated, or holds no alerts.
        UnreachableError: the database, MLflow or Prefect does not answer.
    """
    with local_prefect(settings, progress):
        from flows.retrain import retrain

        return retrain(origin=origin.value)


def run_tune(
    settings: Settings, origin: Origin = Origin.LIVE, progress: Progress | None = None
) -> "FlowResult":
    """Run the tune flow here and now. Raises as `run_retrain`; without a champion MissingError."""
    with local_prefect(settings, progress):
        from flows.tune import tune

        return tune(origin=origin.value)


@contextmanager
def local_prefect(settings: Settings, progress: Progress | None = None) -> Iterator[None]:
    """Inside, flows find these settings, and a Prefect server: PREFECT_API_URL's, or our own.

    Nothing may import Prefect before this: it reads its settings when it is imported.

    Raises:
        UnreachableError: the local server does not start.
    """
    tokens = _chosen.set(settings), _progress.set(progress)
    try:
        if os.environ.get("PREFECT_API_URL"):
            from flows.tracing import our_spans

            with our_spans():
                yield
            return
        home = make_home(settings)
        environment = local_environment(home)
        with _environment(environment), _server(home) as server:
            say("starting Prefect and MLflow")
            with span("start_prefect"):
                _warm_up(settings)
                environment["PREFECT_API_URL"] = server.url()
            with _prefect_settings(environment):
                yield
    finally:
        _chosen.reset(tokens[0])
        _progress.reset(tokens[1])


class _Server:
    """The child that serves; see flows/server.py."""

    def __init__(self, home: Path) -> None:
        self.log = home / "prefect" / "server.log"
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Not ours to interrupt: it ends when its standard input does.
                start_new_session=True,
            )

    def url(self) -> str:
        """Wait until it answers, and say where.

        Raises:
            UnreachableError: it ended, or did not answer in time.
        """
        assert self.process.stdout is not None
        late = threading.Timer(START_S, self.process.kill)
        late.start()
        url = self.process.stdout.readline().strip()
        late.cancel()
        if not url:
            raise UnreachableError(
                f"the local Prefect server did not start within {START_S:g} s: see {self.log}, "
                "or set PREFECT_API_URL to a running server"
            )
        return url

    def leave(self) -> None:
        """Let it end by itself, in its own time: it still writes down what it heard."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        threading.Thread(target=self.process.wait, daemon=True).start()


@contextmanager
def _server(home: Path) -> Iterator[_Server]:
    server = _Server(home)
    try:
        yield server
    finally:
        server.leave()


def _warm_up(settings: Settings) -> None:
    """While the server starts: the imports, and MLflow's tables. Two cores, half the wait."""
    from noisegate.learning.registry import Registry
    from noisegate.store.database import open_store

    engine = open_store(settings)
    # An MLflow that does not answer fails the run itself, or no row would say so and nobody hear.
    with suppress(NoisegateError):
        Registry(settings, engine)
    engine.dispose()

    import flows.retrain  # noqa: F401


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _prefect_settings(values: Mapping[str, str]) -> Iterator[None]:
    # The environment alone does for a first import; not for a process that runs a second flow.
    import prefect.settings

    ours: dict[Any, str | None] = {
        getattr(prefect.settings, name): value
        for name, value in values.items()
        if hasattr(prefect.settings, name)
    }
    from prefect.events.worker import EventsWorker

    # The run's row has its heartbeat; Prefect's own would be waited for, a second at the end.
    ours[prefect.settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
    with prefect.settings.temporary_settings(ours):
        try:
            yield
        finally:
            # What it still has to say, it says now: its server is about to leave.
            EventsWorker.drain_all(timeout=DRAIN_S)
