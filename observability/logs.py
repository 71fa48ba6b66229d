"""Structured logs: one JSON object a line on standard error, and never the text of an alert."""

import json
import logging
import os
import sys
from datetime import UTC, datetime

from opentelemetry import baggage, trace

from noisegate.errors import NoisegateError, SettingsError, UnforeseenError
from noisegate.spans import RUN_ID

VARIABLE = "NOISEGATE_LOG_FORMAT"

_OURS = ("noisegate", "flows", "observability", "dashboards")

_WITHHELD = f"(a library's own words, which might quote an alert: {VARIABLE}=text shows them)"


class JsonLines(logging.Formatter):
    """Fields: time (UTC), level, logger, message; trace_id, span_id, run_id where there are any.

    Of an error its class, and its words if it is one of ours. Of another library's record the
    template without its values.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line, without a line break in it."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["error"] = _said(error)
        at = trace.get_current_span().get_span_context()
        if at.is_valid:
            line["trace_id"] = trace.format_trace_id(at.trace_id)
            line["span_id"] = trace.format_span_id(at.span_id)
        run_id = baggage.get_baggage(RUN_ID)
        if run_id is not None:
            line["run_id"] = run_id
        return json.dumps(line, ensure_ascii=False, default=str)


def wants_json(service: bool) -> bool:
    """What NOISEGATE_LOG_FORMAT asks for; else JSON for a service whose log nobody reads live.

    Raises:
        SettingsError: it is neither json nor text.
    """
    asked = os.environ.get(VARIABLE, "").strip().lower()
    if asked not in ("", "json", "text"):
        raise SettingsError(f"{VARIABLE} = {asked!r}: write json or text")
    return asked == "json" if asked else service and not sys.stderr.isatty()


def write_json_lines() -> None:
    """Every record of this process becomes one JSON line on standard error.

    Again after Prefect has been imported: it puts a handler of its own in the root's place.
    """
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if not _shows(handler)]
    handler = _StandardError()
    handler.setFormatter(JsonLines())
    handler.addFilter(_matters)
    root.addHandler(handler)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)


class _StandardError(logging.Handler):
    """Writes to what standard error is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def _shows(handler: logging.Handler) -> bool:
    """Whether it writes to the terminal, as ours does from now on."""
    return isinstance(handler, _StandardError) or getattr(handler, "stream", None) in (
        sys.stderr,
        sys.stdout,
    )


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _OURS


def _matters(record: logging.LogRecord) -> bool:
    return _is_ours(record) or record.levelno >= logging.WARNING


def _message(record: logging.LogRecord) -> str:
    if _is_ours(record):
        return record.getMessage()
    return str(record.msg) if record.args else _WITHHELD


def _said(error: BaseException) -> str:
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, NoisegateError | UnforeseenError) else name
