"""Structured logs: JSON lines with the trace's id, in words that quote no alert."""

import json
import logging
import sys

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from noisegate.errors import InputError, SettingsError
from noisegate.spans import of_run
from observability.entry import traces_endpoint
from observability.logs import JsonLines, wants_json

MARK = "Kowalski-at-db7"
"""Stands for the raw text of an alert."""


def line(logger: str, message: str, *values: object, error: BaseException | None = None) -> str:
    exc_info = None if error is None else (type(error), error, None)
    record = logging.LogRecord(logger, logging.WARNING, "", 0, message, values, exc_info)
    return JsonLines().format(record)


def test_a_line_names_its_trace_and_its_run() -> None:
    at = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(at)), of_run("f" * 32):
        said = json.loads(line("noisegate.store.runs", "run %s\nended", "x"))
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "warning",
        "logger": "noisegate.store.runs",
        "message": "run x\nended",
        "trace_id": f"{0xABC:032x}",
        "span_id": f"{0xDEF:016x}",
        "run_id": "f" * 32,
    }


def test_a_line_is_one_line_and_names_no_trace_where_there_is_none() -> None:
    text = line("flows.champion", "two\nlines")
    assert "\n" not in text
    assert set(json.loads(text)) == {"time", "level", "logger", "message"}


@pytest.mark.parametrize(
    ("logger", "message", "values", "error", "told"),
    [
        pytest.param("noisegate.x", "a %s", ("b",), None, {"message": "a b"}, id="ours in full"),
        pytest.param(
            "sqlalchemy.pool", "bad %s", (MARK,), None, {"message": "bad %s"},
            id="a library's template without its values",
        ),
        pytest.param("mlflow", f"bad {MARK}", (), None, {}, id="a library's own words not at all"),
        pytest.param(
            "noisegate.x", "no", (), ValueError(MARK), {"error": "ValueError"},
            id="another's error by its class",
        ),
        pytest.param(
            "noisegate.x", "no", (), InputError("row 3"), {"error": "InputError: row 3"},
            id="our error in our words",
        ),
    ],
)  # fmt: skip
def test_a_line_quotes_no_alert(
    logger: str,
    message: str,
    values: tuple[object, ...],
    error: Exception | None,
    told: dict[str, str],
) -> None:
    text = line(logger, message, *values, error=error)
    assert MARK not in text
    assert told.items() <= json.loads(text).items()


@pytest.mark.parametrize(
    ("variable", "service", "terminal", "json_lines"),
    [
        pytest.param("", False, False, False, id="a command writes text"),
        pytest.param("", True, False, True, id="a service writes JSON"),
        pytest.param("", True, True, False, id="a service on a terminal writes text"),
        pytest.param("json", False, True, True, id="a command that is told to writes JSON"),
        pytest.param("TEXT", True, False, False, id="a service that is told to writes text"),
    ],
)
def test_who_writes_json(
    variable: str,
    service: bool,
    terminal: bool,
    json_lines: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOISEGATE_LOG_FORMAT", variable)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert wants_json(service) is json_lines


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEGATE_LOG_FORMAT", "xml")
    with pytest.raises(SettingsError, match="NOISEGATE_LOG_FORMAT = 'xml': write json or text"):
        wants_json(service=False)


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        pytest.param({}, None, id="nowhere"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, "http://a", id="all signals"),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "b"}, "b",
            id="traces elsewhere",
        ),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, None, id="an empty one is none"),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "a", "OTEL_SDK_DISABLED": "True"}, None, id="disabled"
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "a", "OTEL_TRACES_EXPORTER": "none"}, None,
            id="traces disabled",
        ),
    ],
)  # fmt: skip
def test_where_traces_go(
    environment: dict[str, str], endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert traces_endpoint() == endpoint
