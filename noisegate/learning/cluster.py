"""Ray: local for the run, or a cluster by RAY_ADDRESS; waits are bounded, late tasks cancelled."""

import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from noisegate.errors import UnreachableError
from noisegate.settings import Settings
from noisegate.spans import carried, continued, flush, span

TASK_TIMEOUT_S = 1_800.0
"""Longest wait for all tasks of one call, seconds."""


@dataclass(frozen=True, slots=True)
class Task:
    """A plain function and its own arguments; the shared ones come first and go to Ray once."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


_worker_setup: ContextVar[str | None] = ContextVar("noisegate_worker_setup", default=None)


@contextmanager
def workers_set_up_by(dotted_name: str) -> Iterator[None]:
    """Inside, a cluster that is connected to has each of its worker processes call this function.

    A name, because what it names (telemetry) stands above us and is not ours to import.
    """
    token = _worker_setup.set(dotted_name)
    try:
        yield
    finally:
        _worker_setup.reset(token)


@contextmanager
def cluster(settings: Settings) -> Iterator[None]:
    """Connect to Ray, starting a local one unless RAY_ADDRESS names a cluster.

    Nested use keeps the outer connection.

    Raises:
        UnreachableError: the cluster does not answer.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if settings.ray_address:
        _knock(settings.ray_address)
    else:
        # It may listen on every interface: nobody but this run has the key.
        os.environ["RAY_AUTH_MODE"] = "token"
        # Once a process: Ray reads it once.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    if ray.is_initialized():
        yield
        return
    local = {
        "num_cpus": settings.ray_workers,
        "object_store_memory": 1 << 30,
    }
    options: dict[str, Any] = {"address": settings.ray_address} if settings.ray_address else local
    environment: dict[str, Any] = {
        "env_vars": {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    }
    if setup := _worker_setup.get():
        environment["worker_process_setup_hook"] = setup
    try:
        ray.init(
            **options,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=False,
            runtime_env=environment,
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UnreachableError(
            f"Ray at {settings.ray_address or 'this machine'}: {type(error).__name__}: "
            "check RAY_ADDRESS, or unset it to run Ray locally"
        ) from error
    try:
        # Ray says there that a worker died, and a result would no longer be JSON.
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail soon where nobody listens: Ray itself tries for over a minute, then ends the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # such as "auto": Ray knows what it means
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UnreachableError(
            f"Ray at {address}: {type(error).__name__}: check RAY_ADDRESS, or unset it to run "
            "Ray locally"
        ) from None


def run_tasks(
    settings: Settings,
    shared: tuple[Any, ...],
    tasks: Sequence[Task],
    *,
    progress: Callable[[str], None] | None = None,
    what: str = "working",
) -> list[Any]:
    """Run each task as `function(*shared, *arguments)` on Ray; results in the order of the tasks.

    Raises:
        UnreachableError: Ray does not answer, or the tasks were not done in time (and cancelled).
    """
    say = progress or (lambda _: None)
    if not tasks:
        return []
    with cluster(settings), span(what, {"noisegate.tasks": len(tasks)}):
        import ray

        handles = [ray.put(value) for value in shared]
        # A killed worker costs a retry, not the run.
        remote = ray.remote(num_cpus=1, max_retries=2)(_call)
        carrier = carried()
        waiting = [
            remote.remote(task.function, task.arguments, carrier, *handles) for task in tasks
        ]
        order, until = list(waiting), time.monotonic() + TASK_TIMEOUT_S
        try:
            while waiting:
                left = max(0.0, until - time.monotonic())
                done, waiting = ray.wait(waiting, num_returns=1, timeout=left)
                if not done:
                    raise UnreachableError(
                        f"Ray: {what}: {len(waiting)} of {len(order)} tasks were not done in "
                        f"{TASK_TIMEOUT_S:g} s: give Ray more CPUs (NOISEGATE_RAY_WORKERS)"
                    )
                say(f"{what}: {len(order) - len(waiting)} of {len(order)}")
            return list(ray.get(order, timeout=TASK_TIMEOUT_S))
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
            raise UnreachableError(
                f"Ray: {what}: {type(error).__name__}: give Ray more memory, or learn from fewer "
                "alerts (NOISEGATE_TRAIN_ALERTS)"
            ) from None
        finally:
            for handle in waiting:
                ray.cancel(handle, force=True)


def _call(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    carrier: Mapping[str, str],
    *shared: Any,
) -> Any:
    """What a worker does: one task, as a span of the trace that it belongs to."""
    name = {"code.function.name": f"{function.__module__}.{function.__qualname__}"}
    try:
        with continued(carrier), span(function.__name__, name):
            return function(*shared, *arguments)
    finally:
        flush()  # Ray ends its workers without a word
