"""OpenTelemetry's SDK, only here: what a trace says of itself, what may leave, how it leaves.

Imported where an endpoint is configured, and only there (entry.py).
"""

import logging
import os
import platform
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry import baggage, metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue
from sqlalchemy import Engine

from noisegate import __version__, spans

SEND_S = 3.0
"""Longest wait for the collector, seconds, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise."""

SILENT_S = (5.0, 60.0)
"""After a collector that did not answer nothing is sent for so long, seconds: nothing waits. At
first, doubled each time in a row, and at most."""

STATEMENT_CHARACTERS = 1_000
"""Of a statement, so much is kept: an insert of many rows names every one of its parameters."""

_SQL = "opentelemetry.instrumentation.sqlalchemy"
_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
_OLD_NAMES = {
    "db.statement": "db.query.text",
    "db.operation": "db.operation.name",
    "db.name": "db.namespace",
    "db.system": "db.system.name",
    "db.user": "",  # it has no stable name, and is nobody's business
}
"""Of attributes that come all the same (OTEL_SEMCONV_STABILITY_OPT_IN=database/dup, or somebody set
the instrumentation up before us): their stable names."""
_QUIET = ("BEGIN", "PRAGMA", "SAVEPOINT", "RELEASE")
"""Statements that say nothing of the work."""
_LITERAL = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|\b\d+(?:\.\d+)?\b", re.DOTALL)

_log = logging.getLogger(__name__)


def set_up_traces(endpoint: str) -> None:
    """Make every span of this process leave for the collector.

    Args:
        endpoint: the collector, for the one line of the log when it does not answer.
    """
    # Stable names of database attributes: the instrumentation would still emit its old ones.
    opted = [word.strip() for word in os.environ.get(_OPT_IN, "").split(",")]
    os.environ[_OPT_IN] = ",".join(dict.fromkeys([*filter(None, opted), "database"]))
    # One line of ours instead of theirs for every batch.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    told = {"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"} & set(os.environ)
    exporter = OTLPSpanExporter() if told else OTLPSpanExporter(timeout=SEND_S)
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(_RunIds())
    provider.add_span_processor(BatchSpanProcessor(Leaving(exporter, endpoint)))
    trace.set_tracer_provider(provider)
    spans.engine_watchers.append(_watch)


def _resource() -> Resource:
    ours: dict[str, str | int] = {
        "service.name": "noisegate",
        "service.version": __version__,
        "process.pid": os.getpid(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
    }
    # What people set (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) goes over ours.
    return Resource.create(ours).merge(OTELResourceDetector().detect())


def _watch(engine: Engine) -> None:
    # The instrumentor would patch SQLAlchemy for everybody: MLflow's statements are not ours.
    usage = metrics.get_meter(_SQL).create_up_down_counter("db.client.connections.usage")
    EngineTracer(trace.get_tracer(_SQL, __version__), engine, usage)  # type: ignore[no-untyped-call]


class _RunIds(SpanProcessor):
    """Every span of a run carries its id."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        run_id = baggage.get_baggage(spans.RUN_ID, parent_context)
        if isinstance(run_id, str):
            span.set_attribute(spans.RUN_ID, run_id)


class Leaving(SpanExporter):
    """The door: what must not leave stays, and a collector that is away is waited for once."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self.exporter = exporter
        self.endpoint = endpoint
        self._silent_until = 0.0
        self._silent_s = SILENT_S[0]
        self._said = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send what may leave; nothing for a while after the collector did not answer."""
        if time.monotonic() < self._silent_until:
            return SpanExportResult.FAILURE
        kept = [cleaned(span) for span in spans if not _is_noise(span)]
        if not kept:
            return SpanExportResult.SUCCESS
        if self.exporter.export(kept) is SpanExportResult.SUCCESS:
            self._silent_s, self._said = SILENT_S[0], False
            return SpanExportResult.SUCCESS
        self._silent_until = time.monotonic() + self._silent_s
        self._silent_s = min(2 * self._silent_s, SILENT_S[1])
        if not self._said:
            self._said = True
            _log.warning(
                "traces are lost: no collector takes them at %s (OTEL_EXPORTER_OTLP_ENDPOINT)",
                _place(self.endpoint),
            )
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the way to the collector."""
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return True


def _place(endpoint: str) -> str:
    """Without user, password and query."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_noise(span: ReadableSpan) -> bool:
    """Statements of nobody's work (heartbeats, scrapes), and those that say nothing of it."""
    is_sql = _scope(span) == _SQL
    return is_sql and (span.parent is None or (span.name or "").startswith(_QUIET))


def _scope(span: ReadableSpan) -> str:
    return span.instrumentation_scope.name if span.instrumentation_scope else ""


def cleaned(span: ReadableSpan) -> ReadableSpan:
    """A span as it may leave: our own as it is; of another's no message of an error, no literal."""
    if _scope(span) == spans.SCOPE:
        return span
    attributes = dict(span.attributes or {})
    name = span.name
    if _scope(span) == _SQL:
        name, attributes = _statement(attributes)
    failed = span.status.status_code is StatusCode.ERROR
    return ReadableSpan(
        name,
        span.context,
        span.parent,
        span.resource,
        attributes,
        [_event(event) for event in span.events],
        span.links,
        span.kind,
        # The driver's words, which may quote a value.
        status=Status(StatusCode.ERROR) if failed else span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _event(event: Event) -> Event:
    attributes = event.attributes or {}
    silent = ("exception.message", "exception.stacktrace")
    kept: Attributes = {key: value for key, value in attributes.items() if key not in silent}
    return Event(event.name, kept, event.timestamp)


def _statement(attributes: dict[str, AttributeValue]) -> tuple[str, dict[str, AttributeValue]]:
    """Name and attributes of a statement, by the conventions for databases: no value in it."""
    for old, stable in _OLD_NAMES.items():
        value = attributes.pop(old, None)
        if stable and value is not None:
            attributes.setdefault(stable, value)
    text = _LITERAL.sub("?", str(attributes.get("db.query.text", "")))
    operation = text.split(maxsplit=1)[0].upper() if text.strip() else "SQL"
    attributes |= {
        "db.query.text": text[:STATEMENT_CHARACTERS],
        "db.operation.name": operation,
    }
    # A SQLite file's whole path: its name is enough.
    if attributes.get("db.system.name") == "sqlite":
        attributes["db.namespace"] = str(attributes.get("db.namespace", "")).rpartition("/")[2]
    return f"{operation} {attributes.get('db.namespace', '')}".strip(), attributes
