"""What each entry point calls once: logs and traces as the environment asks for.

Traces leave by OTLP/HTTP when an endpoint is configured (OTEL_EXPORTER_OTLP_ENDPOINT or
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT); without one the SDK is not even imported. This module imports
nothing heavy, for every command imports it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from noisegate.errors import NoisegateError, SettingsError

RAY_WORKER = "observability.entry.set_up_ray_worker"
"""What Ray calls in each of its worker processes; flows hand this name down to learning."""

_tracing = False


def set_up(*, service: bool = False) -> None:
    """Set up traces and logs as the environment asks for; again is harmless.

    Args:
        service: nobody watches this process (a Prefect or Ray worker, the exporter): its log is
            JSON lines unless NOISEGATE_LOG_FORMAT, or a terminal, says otherwise.

    Raises:
        SettingsError: NOISEGATE_LOG_FORMAT is neither json nor text.
    """
    global _tracing
    if os.environ.get("OTEL_PROPAGATORS"):
        # One that is not installed here fails whoever imports `opentelemetry.propagate`, which
        # Prefect and the SDK do; our spans carry these two anyway (noisegate/spans.py).
        os.environ["OTEL_PROPAGATORS"] = "tracecontext,baggage"
    if service or os.environ.get("NOISEGATE_LOG_FORMAT"):
        from observability.logs import wants_json, write_json_lines

        if wants_json(service):
            write_json_lines()
    endpoint = traces_endpoint()
    if endpoint and not _tracing:
        from observability.telemetry import set_up_traces

        _tracing = True
        set_up_traces(endpoint)


def set_up_ray_worker() -> None:
    """Set up a Ray worker: it has the environment of Ray's node, and a worker is never refused."""
    with suppress(SettingsError):
        set_up(service=True)


def traces_endpoint() -> str | None:
    """Where traces go; None: nowhere."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return None
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((url for name in names if (url := os.environ.get(name, "").strip())), None)


@contextmanager
def command(name: str, *, service: bool = False) -> Iterator[None]:
    """The whole of one command as the root span of its trace; its arguments stay out of it.

    Args:
        name: its words, such as "models promote".
        service: as in `set_up`.
    """
    set_up(service=service)
    if not _tracing:
        yield
        return
    from opentelemetry.trace import Status, StatusCode

    from noisegate.spans import span

    left: SystemExit | None = None
    with span(f"noisegate {name}".strip(), {"process.executable.name": "noisegate"}) as root:
        try:
            yield
        except SystemExit as exit_:
            left = exit_
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
            root.set_attribute("process.exit.code", code)
            if code:
                root.set_attribute("error.type", str(code))
                root.set_status(Status(StatusCode.ERROR))
        except NoisegateError as error:
            root.set_attribute("process.exit.code", error.exit_code)
            raise
    if left is not None:
        raise left
