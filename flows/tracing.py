"""Spans of flows and their tasks: ours, not Prefect's, so that there is one of each.

Prefect's own spans are turned off: their names are made up for each run, a task that runs out of
time never ends its span, and they would quote the words of any error.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.runtime import flow_run, task_run
from prefect.settings import PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY, temporary_settings

from flows.local import in_worker
from noisegate.learning.cluster import workers_set_up_by
from noisegate.spans import span
from observability.entry import RAY_WORKER, set_up


@contextmanager
def our_spans() -> Iterator[None]:
    """Inside, Prefect makes no spans."""
    with temporary_settings({PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY: False}):
        yield


@contextmanager
def flow_span() -> Iterator[None]:
    """The body of a flow (decorate it); in a Prefect worker's process, telemetry's set-up first."""
    set_up(service=in_worker())
    # The attributes have Prefect's names: they find the run in its pages.
    about = {"prefect.run.id": str(flow_run.id), "prefect.run.name": str(flow_run.name)}
    with our_spans(), workers_set_up_by(RAY_WORKER), span(str(flow_run.flow_name), about):
        yield


@contextmanager
def task_span() -> Iterator[None]:
    """One attempt of a task (decorate its function)."""
    about: dict[str, str | int] = {
        "prefect.run.id": str(task_run.id),
        "prefect.run.name": str(task_run.name),
        "prefect.run.attempt": int(task_run.run_count or 1),
    }
    with span(str(task_run.task_name), about):
        yield
