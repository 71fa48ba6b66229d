"""The exporter: durable rows -> Prometheus metrics, over HTTP.

Counters are totals that `counting` keeps in the database, gauges are read as they stand. Series of
every known combination of small labels exist from the first scrape, at 0: a rate over a series that
is born with its first error misses just that error.
"""

import heapq
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.samples import Exemplar
from sqlalchemy import Connection, Engine, select

from noisegate import __version__, metrics
from noisegate.alert import MICROS
from noisegate.errors import NoisegateError, SettingsError, UnreachableError
from noisegate.metrics import METRICS, MetricSpec
from noisegate.settings import Settings
from noisegate.store.database import open_store
from noisegate.store.reading import reading
from noisegate.store.runs import store_errors
from noisegate.store.tables import DecisionRow
from observability.counting import (
    EXEMPLAR,
    FACTS,
    NEWEST_ALERT,
    Increment,
    Series,
    bounds,
    increments,
    series,
)
from observability.gauges import dated_gauges, standing
from observability.totals import count, counters, services, totals, zeros

__all__ = ["Dated", "Exporter", "counters", "dated", "listen", "metrics_page", "serve"]

WAIT_S = 30.0
"""How long a scrape waits for the one before it, seconds."""

WRITER_S = 2.5
"""How long a scrape waits for a writer on SQLite, seconds: Prometheus gives up after 10."""

_log = logging.getLogger(__name__)


class Dated(NamedTuple):
    """One change of one series in the past."""

    at_us: int
    """Microseconds since 1970, UTC."""
    series: Series
    value: float
    """Of a counter (or a series of a histogram): what is added. Of a gauge: what it is set to."""
    is_gauge: bool


@dataclass(frozen=True, slots=True)
class Exporter:
    """Reads metrics from our store; one scrape at a time."""

    settings: Settings
    engine: Engine
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> list[Metric]:
        """Count what is new, and return every metric.

        While another program holds SQLite's file, what was counted before is returned.

        Raises:
            UnreachableError: the database does not answer, or an earlier scrape is still counting.
        """
        if not self._turn.acquire(timeout=WAIT_S):
            raise UnreachableError(
                f"an earlier scrape has been counting for over {WAIT_S:g} s: "
                "the first one over many rows takes long, and goes on; scrape again"
            )
        try:
            began = time.monotonic()
            with store_errors(self.engine):
                rows = count(self.engine, self.settings.exporter_origin, WRITER_S)
                values, exemplars = _read(self.engine, self.settings)
            values[series(metrics.COLLECT_ROWS)] = rows
            values[series(metrics.COLLECT_DURATION)] = time.monotonic() - began
            return list(_families(values, exemplars))
        finally:
            self._turn.release()


def metrics_page(settings: Settings) -> str:
    """The text of one scrape, in Prometheus' format.

    Raises:
        MissingError: the store has not been migrated.
        UnreachableError: the database does not answer.
    """
    with _exporter(settings) as exporter:
        return generate_latest(_Collected(exporter.collect())).decode()


def dated(
    engine: Engine, settings: Settings, since_us: int, until_us: int, *, step_us: int = 1
) -> Iterator[Dated]:
    """The changes that the metrics are made of, by time: how to write the past.

    First what is new is counted, so that series have the labels of the live scrape. Begin each
    counter at 0, or at its value in `counters` less the sum of its changes: then it ends where the
    live scrape goes on, though older rows are gone.

    Args:
        engine: our store.
        settings: exporter_origin, delay_budget_s.
        since_us: changes after this moment; how gauges stood, and 0 for each known counter, are
            dated to it.
        until_us: changes up to this moment. Both in microseconds since 1970, UTC.
        step_us: times are rounded up to a multiple of it, and what falls together is added up:
            an interval of scrapes makes it far quicker.

    Yields:
        Changes with at_us that never decreases; of one series, several may bear the same time.

    Raises:
        UnreachableError: the database does not answer.
    """
    origin = settings.exporter_origin
    with store_errors(engine):
        count(engine, origin)
        with reading(engine) as connection:
            own = services(connection, origin)
            known = zeros(own)
            yield from (Dated(since_us, one, 0.0, False) for one in known)
            for one, value in _constants(settings):
                yield Dated(since_us, one, value, True)
        with _open(engine, 1 + len(FACTS)) as connections:
            streams: list[Iterable[Dated]] = [
                (Dated(at, *one, True) for at, one in found)
                for found in [dated_gauges(connections[0], origin, since_us, until_us, step_us)]
            ]
            for connection, facts in zip(connections[1:], FACTS, strict=True):
                found = increments(connection, facts, origin, own, since_us, until_us, step_us)
                streams.append(_counted(found))
            yield from heapq.merge(*streams, key=lambda one: one.at_us)


def _constants(settings: Settings) -> list[Increment]:
    return [
        (series(metrics.DELAY_BUDGET), settings.delay_budget_s),
        (series(metrics.BUILD, version=__version__), 1.0),
    ]


def _read(engine: Engine, settings: Settings) -> tuple[dict[Series, float], dict[str, Exemplar]]:
    origin = settings.exporter_origin
    with reading(engine) as connection:
        counted = totals(connection, origin)
        values = zeros(services(connection, origin)) | counted
        values |= standing(connection, origin) | dict(_constants(settings))
        newest = values.pop(Series(NEWEST_ALERT), None)
        if newest is not None:
            values[series(metrics.NEWEST_ALERT)] = newest / MICROS
        traced = {
            int(values.pop(one)): dict(one.labels)["le"] for one in counted if one.name == EXEMPLAR
        }
        return values, _exemplars(connection, traced)


def _exemplars(connection: Connection, traced: dict[int, str]) -> dict[str, Exemplar]:
    """Of each bucket the newest decision that has a trace; none once its row is gone."""
    columns = (DecisionRow.seq, DecisionRow.trace_id, DecisionRow.latency_us, DecisionRow.at)
    query = select(*columns).where(DecisionRow.seq.in_(list(traced)))
    return {
        traced[seq]: Exemplar({"trace_id": str(trace_id)}, (latency_us or 0) / MICROS, at / MICROS)
        for seq, trace_id, latency_us, at in connection.execute(query)
    }


def _families(values: dict[Series, float], exemplars: dict[str, Exemplar]) -> Iterator[Metric]:
    by_name: dict[str, list[tuple[dict[str, str], float]]] = {}
    for one, value in sorted(values.items()):
        by_name.setdefault(one.name, []).append((dict(one.labels), value))
    for spec in METRICS:
        if spec.kind == "histogram":
            traced = exemplars if spec is metrics.DECISION_LATENCY else {}
            yield _histogram_family(spec, by_name, traced)
            continue
        kind = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
        family = kind(spec.name, spec.help, labels=spec.labels)
        for labels, value in by_name.get(spec.name, ()):
            family.add_metric([labels[name] for name in spec.labels], value)
        yield family


def _histogram_family(
    spec: MetricSpec,
    by_name: dict[str, list[tuple[dict[str, str], float]]],
    exemplars: dict[str, Exemplar],
) -> Metric:
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for labels, value in by_name.get(f"{spec.name}_bucket", ()):
        found.setdefault(tuple(labels[n] for n in spec.labels), {})[labels["le"]] = value
    sums = {
        tuple(labels[n] for n in spec.labels): value
        for labels, value in by_name.get(f"{spec.name}_sum", ())
    }
    family = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
    for key, buckets in found.items():
        # A flow without zeros (OTHER) has no series yet below its fastest run.
        rows = [
            (le, n, exemplars[le]) if le in exemplars else (le, n)
            for le, n in ((le, buckets.get(le, 0.0)) for le in bounds(spec))
        ]
        family.add_metric(key, rows, sums[key])
    return family


def _counted(found: Iterable[tuple[int, Increment]]) -> Iterator[Dated]:
    return (Dated(at, *one, False) for at, one in found)


@contextmanager
def _open(engine: Engine, n: int) -> Iterator[list[Connection]]:
    connections: list[Connection] = []
    try:
        for _ in range(n):
            connections.append(reading(engine))
        yield connections
    finally:
        for connection in connections:
            connection.close()


@contextmanager
def _exporter(settings: Settings) -> Iterator[Exporter]:
    engine = open_store(settings)
    try:
        yield Exporter(settings, engine)
    finally:
        engine.dispose()


@dataclass(frozen=True, slots=True)
class _Collected:
    """What the encoders of prometheus_client take for a registry."""

    families: list[Metric]

    def collect(self) -> list[Metric]:
        return self.families


# Over HTTP


def serve(
    settings: Settings, host: str, port: int, *, ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve /metrics and /healthz until interrupted.

    Args:
        settings: our store, and the origin that is exported.
        host: address to listen on.
        port: port; 0: any free one.
        ready: told the address of /metrics.

    Raises:
        SettingsError: the address cannot be listened on.
        MissingError: the store has not been migrated.
        UnreachableError: the database does not answer now. Later, only scrapes fail.
    """
    with _exporter(settings) as exporter, listen(exporter, host, port) as server:
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{server.server_address[1]}/metrics")
        server.serve_forever()


def listen(exporter: Exporter, host: str, port: int) -> "_Server":
    """Listen, without serving yet; port 0 is any free one.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    try:
        return _Server(exporter, host, port)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"exporter: cannot listen on --host {host} --port {port} ({reason}): "
            "choose another port, or end what listens there"
        ) from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a scrape that waits for the database must not hold up the end

    def __init__(self, exporter: Exporter, host: str, port: int) -> None:
        self.exporter = exporter
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks DNS for our name, and may wait for it.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "noisegate", int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "noisegate", ""
    timeout = 60.0

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/healthz":
            self._answer(200, b"ok\n")
        else:
            self._answer(404, b"try /metrics or /healthz\n")

    def _metrics(self) -> None:
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        try:
            page = encode(_Collected(self.server.exporter.collect()))
        except NoisegateError as error:
            _log.warning("scrape failed: %s", error)
            self._answer(503, f"{error}\n".encode())
        except Exception as error:  # never its words: they might quote a row
            _log.error("scrape failed: unexpected %s", type(error).__name__)
            self._answer(500, f"unexpected {type(error).__name__}: report it\n".encode())
        else:
            self._answer(200, page, content_type)

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # whoever asked does not wait any more
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each scrape tells nothing."""
