"""What a span may say, what may leave, and what happens when nobody takes it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace

import pytest
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.metrics import get_meter
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from noisegate import spans
from noisegate.errors import InputError, UnforeseenError
from noisegate.spans import continued, of_run, span
from observability import telemetry
from observability.telemetry import Leaving, _RunIds

MARK = "Kowalski-at-db7"
"""Stands for the raw text of an alert."""


class Collector(SpanExporter):
    """Keeps what it gets, or refuses it."""

    def __init__(self) -> None:
        self.got: list[ReadableSpan] = []
        self.calls = 0
        self.away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls += 1
        if self.away:
            return SpanExportResult.FAILURE
        self.got += spans
        return SpanExportResult.SUCCESS

    def named(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.got}


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def provider(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> Iterator[trace.TracerProvider]:
    """A provider of the test's own; the process keeps none."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(_RunIds())
    made.add_span_processor(SimpleSpanProcessor(Leaving(collector, "http://collector:4318")))
    monkeypatch.setattr(trace, "get_tracer", made.get_tracer)
    yield made
    made.shutdown()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(InputError("row 3: no time"), "row 3: no time", id="ours in our words"),
        pytest.param(UnforeseenError("KeyError"), "KeyError", id="an unforeseen one by its class"),
        pytest.param(ValueError(f"bad {MARK}"), "ValueError", id="another's by its class alone"),
        pytest.param(KeyboardInterrupt(), "KeyboardInterrupt", id="an interruption"),
    ],
)
def test_a_failed_span_says_what_may_be_said(
    provider: TracerProvider, collector: Collector, error: BaseException, said: str
) -> None:
    cause = ValueError(MARK)
    with suppress(type(error)), span("work"):
        raise error from cause
    (got,) = collector.got
    assert got.status.description == said
    assert MARK not in got.to_json()
    kind = f"{type(error).__module__}.{type(error).__name__}"
    assert got.attributes is not None and got.attributes["error.type"] == kind
    assert [event.name for event in got.events] == ["exception"]


def test_every_span_of_a_run_carries_its_id_in_another_process_too(
    provider: TracerProvider, collector: Collector
) -> None:
    with span("flow"), of_run("f" * 32):
        carrier = spans.carried()
    with continued(carrier), span("task"):
        pass
    with span("another"):
        pass
    got = collector.named()
    assert {name: (s.attributes or {}).get("noisegate.run_id") for name, s in got.items()} == {
        "flow": "f" * 32,
        "task": "f" * 32,
        "another": None,
    }
    assert got["task"].parent is not None and got["flow"].context is not None
    assert got["task"].parent.span_id == got["flow"].context.span_id


def test_a_statement_leaves_without_values_and_an_error_of_the_driver_without_words(
    provider: TracerProvider, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "database")
    engine = create_engine("sqlite:////nowhere/../tmp/:memory:", creator=_memory)
    usage = get_meter("test").create_up_down_counter("connections")
    EngineTracer(provider.get_tracer(telemetry._SQL), engine, usage)  # type: ignore[no-untyped-call]
    with span("work"), engine.connect() as connection:
        connection.execute(text(f"SELECT 'it''s {MARK}', 12345, :given"), {"given": MARK})
        with pytest.raises(SQLAlchemyError):
            connection.execute(text(f"SELECT {MARK.replace('-', '_')} FROM nothing"))
    statement, failed, _ = collector.got
    assert statement.attributes is not None
    assert statement.attributes["db.query.text"] == "SELECT ?, ?, ?"
    assert statement.attributes["db.operation.name"] == "SELECT"
    assert statement.attributes["db.system.name"] == "sqlite"
    assert not failed.status.is_ok and failed.status.description is None
    assert MARK not in statement.to_json() + failed.to_json()


def _memory() -> object:
    import sqlite3

    return sqlite3.connect(":memory:")


def test_statements_of_no_span_and_of_no_meaning_stay(
    provider: TracerProvider, collector: Collector
) -> None:
    tracer = provider.get_tracer(telemetry._SQL)
    tracer.start_span("UPDATE heartbeat").end()
    with span("work"):
        tracer.start_span("BEGIN IMMEDIATE noisegate.db").end()
        tracer.start_span("SELECT noisegate.db", attributes={"db.query.text": "SELECT 1"}).end()
    assert list(collector.named()) == ["SELECT", "work"]


def test_a_collector_that_is_away_is_asked_once_and_named_once(
    provider: TracerProvider,
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector.away = True
    leaving = Leaving(collector, "https://me:planted@collector:4318/v1?key=planted")
    with span("work"):
        pass
    collector.calls = 0
    caplog.clear()
    (kept,) = [ReadableSpan("work")]
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert leaving.export([kept]) is SpanExportResult.FAILURE
    assert collector.calls == 1
    (line,) = caplog.messages
    assert "https://collector:4318/v1" in line and "planted" not in line


def test_a_collector_is_waited_for_longer_each_time_until_it_is_back(
    collector: Collector, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1_000.0
    monkeypatch.setattr(telemetry, "time", SimpleNamespace(monotonic=lambda: now_s))
    leaving = Leaving(collector, "http://collector:4318")

    def silent_s() -> list[int]:
        """Seconds from one try to the next, over three minutes."""
        nonlocal now_s
        tries = []
        for second in range(180):
            before = collector.calls
            leaving.export([ReadableSpan("work")])
            tries += [second] * (collector.calls > before)
            now_s += 1
        return [later - earlier for earlier, later in pairwise(tries)]

    collector.away = True
    assert silent_s() == [5, 10, 20, 40, 60]
    assert len(caplog.messages) == 1
    now_s += 60
    collector.away = False
    assert set(silent_s()) == {1}
    collector.away = True
    assert silent_s()[:2] == [5, 10]
    assert len(caplog.messages) == 2


OLD_NAMES = {
    "db.statement": f"SELECT '{MARK}', 1",
    "db.operation": f"/home/{MARK}/noisegate.db",
    "db.name": f"/home/{MARK}/noisegate.db",
    "db.system": "sqlite",
    "db.user": MARK,
}
"""What the instrumentation says by the old conventions."""


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="alone"),
        pytest.param(
            {
                "db.query.text": OLD_NAMES["db.statement"],
                "db.operation.name": OLD_NAMES["db.operation"],
                "db.namespace": OLD_NAMES["db.name"],
                "db.system.name": "sqlite",
            },
            id="beside the stable ones",
        ),
    ],
)
def test_old_names_of_database_attributes_leave_as_the_stable_ones_without_values(
    provider: TracerProvider, collector: Collector, more: dict[str, str]
) -> None:
    tracer = provider.get_tracer(telemetry._SQL)
    with span("work"):
        tracer.start_span(f"SELECT /home/{MARK}/noisegate.db", attributes=OLD_NAMES | more).end()
    statement, _ = collector.got
    assert statement.name == "SELECT noisegate.db"
    assert dict(statement.attributes or {}) == {
        "db.query.text": "SELECT ?, ?",
        "db.operation.name": "SELECT",
        "db.namespace": "noisegate.db",
        "db.system.name": "sqlite",
    }


def test_a_trace_goes_on_whatever_the_global_propagator_is(
    provider: TracerProvider, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CompositePropagator([]))
    with span("fan out"), of_run("f" * 32):
        carrier = spans.carried()
    with continued(carrier), span("task"):
        pass
    got = collector.named()
    assert got["task"].parent is not None and got["fan out"].context is not None
    assert got["task"].parent.span_id == got["fan out"].context.span_id
    assert (got["task"].attributes or {})["noisegate.run_id"] == "f" * 32
