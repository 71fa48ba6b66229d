"""Spans, by OpenTelemetry's API alone: they cost next to nothing until telemetry is set up.

Everything that makes a span makes it here, so that one rule holds for what a span may say: names,
counts and digests; of an error its class, and its words only if it is one of ours.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from noisegate import __version__
from noisegate.errors import NoisegateError, UnforeseenError

if TYPE_CHECKING:
    from sqlalchemy import Engine

SCOPE = "noisegate"
"""The name of our tracer."""

RUN_ID = "noisegate.run_id"
"""Of spans and of the baggage: so it reaches every span of the run, and its log lines."""

# Not the global one: OTEL_PROPAGATORS is for talk with strangers, and these headers are our own.
_W3C = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])

Attributes = Mapping[str, str | int | float | bool]

engine_watchers: list[Callable[["Engine"], None]] = []
"""Told of every engine of ours: telemetry, above us, watches its statements."""


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """A span around the body, or around a function decorated with it; a child of the current one.

    Args:
        name: one of few: no id, no path, no text of an alert.
        attributes: the same holds for names; values may be ids and counts.
        kind: CLIENT for a call to another system.
    """
    tracer = trace.get_tracer(SCOPE, __version__)
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        record_exception=False,  # it would quote any message and the whole chain of causes
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            note_error(current, error)
            raise


def note_error(current: Span, error: BaseException) -> None:
    """Mark a span as failed, in words that quote no alert."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    ours = isinstance(error, NoisegateError | UnforeseenError)
    said = {"exception.message": str(error)} if ours else {}
    current.add_event("exception", {"exception.type": kind, **said})
    current.set_attribute("error.type", kind)
    current.set_status(Status(StatusCode.ERROR, str(error) if ours else type(error).__name__))


@contextmanager
def of_run(run_id: str) -> Iterator[None]:
    """Inside, every span and every line of the log belongs to this run, in Ray workers as well."""
    trace.get_current_span().set_attribute(RUN_ID, run_id)
    token = context.attach(baggage.set_baggage(RUN_ID, run_id))
    try:
        yield
    finally:
        context.detach(token)


def carried() -> dict[str, str]:
    """The current context as W3C headers, for another process to go on in."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier


@contextmanager
def continued(carrier: Mapping[str, str]) -> Iterator[None]:
    """Inside, spans are children of the span that another process carried over."""
    token = context.attach(_W3C.extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


def flush() -> None:
    """Send what has ended: for a process that may be killed at any moment, such as Ray's workers.

    The wait is bounded by telemetry's set-up; without one there is nothing to send.
    """
    force_flush: Any = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        force_flush()


def watched(engine: "Engine") -> "Engine":
    """An engine of ours, shown to whoever watches statements."""
    for watch in engine_watchers:
        watch(engine)
    return engine
