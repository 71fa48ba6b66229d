"""What no single real server shows: other versions, queriers over several servers, and limits.

A synthetic server answers the few queries that a history is read with, over HTTP, from samples
that the test names.
"""

import json
import re
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from noisegate.adapters.prometheus import History, PrometheusSource, read_history
from noisegate.errors import UnreachableError

NOW = int(time.time()) // 60 * 60
BASE = NOW - 7200


@dataclass
class Synthetic:
    """Series of samples (slots of 15 s after BASE, with an offset) and how the server is."""

    series: list[tuple[dict[str, str], list[float]]] = field(default_factory=list)
    left_edge: bool = True
    """2.x includes the sample at the left edge of a range, 3.x does not."""
    most_range_s: float = float("inf")
    endpoints: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failures: int = 0
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    def add(self, slots: list[int], offset: float = 0, **labels: str) -> None:
        named = {"__name__": "ALERTS", "alertstate": "firing"} | labels
        self.series.append((named, [BASE + 15 * slot + offset for slot in slots]))

    def answer(self, path: str, params: dict[str, list[str]]) -> tuple[int, Any]:
        self.asked.append(params)
        if self.failures:
            self.failures -= 1
            return 503, None
        if path == "query":
            return self._query(params["query"][0], float(params["time"][0]))
        if path == "query_range":
            start, end, step = (float(params[k][0]) for k in ("start", "end", "step"))
            steps = [start + i * step for i in range(round((end - start) / step) + 1)]
            return 200, {"resultType": "matrix", "result": self._range(params["query"][0], steps)}
        if path in self.endpoints:
            return 200, self.endpoints[path]
        return 404, None

    def _query(self, query: str, at: float) -> tuple[int, Any]:
        if query.startswith("vector"):
            return 200, {"result": []}
        if query.startswith("count by"):
            names = {m["alertname"] for m, t in self._alerts(query) if self._newest(t, at)}
            return 200, {"result": [{"metric": {"alertname": n}} for n in names]}
        if "noisegate_part" in query:
            return 200, {"result": [{"metric": m} for m, _ in self._busy(query, [at], 300)]}
        span = float(re.search(r"\[(\d+)ms\]", query)[1]) / 1000
        if span > self.most_range_s:
            return 422, {"errorType": "execution", "error": "too many samples"}
        result = []
        for metric, times in self._alerts(query):
            inside = [t for t in times if at - span < t <= at]
            if self.left_edge and at - span in times:
                inside.insert(0, at - span)
            if inside:
                result.append({"metric": metric, "values": [[t, "1"] for t in inside]})
        return 200, {"result": result}

    def _range(self, query: str, steps: list[float]) -> list[dict[str, Any]]:
        if "count_over_time" in query:
            span = float(re.search(r"\[(\d+)ms\]", query)[1]) / 1000
            return [
                {"metric": metric, "values": [[t, "1"] for t in steps if t in busy]}
                for metric, busy in self._busy(query, steps, span)
            ]
        shown = [
            (m, [t for t in steps if self._newest(times, t)]) for m, times in self._alerts(query)
        ]
        return [{"metric": m, "values": [[t, "1"] for t in ts]} for m, ts in shown if ts]

    def _busy(
        self, query: str, steps: list[float], span: float
    ) -> list[tuple[dict[str, str], set[float]]]:
        by = [name for name in re.search(r"by \((.*?)\)", query)[1].split(",") if name]
        found: dict[tuple[str, ...], set[float]] = {}
        for metric, times in self.series:
            if re.search(rf"\({metric['__name__']}\W", query):
                busy = found.setdefault(tuple(metric.get(name, "") for name in by), set())
                busy |= {t for t in steps if self._newest(times, t) > t - span}
        return [(dict(zip(by, key, strict=True)), busy) for key, busy in found.items() if busy]

    def _alerts(self, query: str) -> list[tuple[dict[str, str], list[float]]]:
        named = re.search(r',alertname=~"(.*?)"', query)
        return [
            (metric, times)
            for metric, times in self.series
            if metric["__name__"] in ("ALERTS", "GRAFANA_ALERTS")
            and (named is None or re.fullmatch(named[1], metric["alertname"]))
        ]

    @staticmethod
    def _newest(times: list[float], at: float) -> float:
        before = bisect_right(times, at)
        return times[before - 1] if before and times[before - 1] > at - 300 else 0


@pytest.fixture
def server() -> Iterator[tuple[Synthetic, str]]:
    synthetic = Synthetic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path = url.path.removeprefix("/api/v1/")
            status, data = synthetic.answer(path, parse_qs(url.query))
            if data is not None and "errorType" in data:
                body = {"status": "error"} | data
            else:
                body = {"status": "success", "data": data, "warnings": synthetic.warnings}
            content = json.dumps(body).encode() if data is not None else b"not found"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield synthetic, f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()


def read(url: str, begin: int = 0, end: int = 480, **options: Any) -> History:
    source = PrometheusSource(url, **options.pop("source", {}))
    return read_history(
        source,
        start_us=(BASE + begin * 15) * 1_000_000,
        end_us=(BASE + end * 15) * 1_000_000,
        **options,
    )


def spans(history: History) -> list[tuple[str, float, float | None]]:
    """Name, first slot and end slot of each alert."""
    found = [row for batch in history for row in batch.to_pylist()]
    slot = lambda at: None if at is None else (at.timestamp() - BASE) / 15  # noqa: E731
    return sorted((r["name"], slot(r["starts_at"]), slot(r["ends_at"])) for r in found)


@pytest.mark.parametrize("left_edge", [True, False], ids=["2.x", "3.x"])
@pytest.mark.parametrize("chunk_s", [15, 60, 600, 7200])
def test_a_sample_on_the_edge_of_a_chunk_counts_once_on_every_version(server, left_edge, chunk_s):
    synthetic, url = server
    synthetic.left_edge = left_edge
    synthetic.add(list(range(480)), alertname="Watchdog")
    synthetic.add([*range(20, 41), *range(60, 81)], alertname="A")  # slot 40 ends a chunk of 600 s
    history = read(url, begin=-20, chunk_s=chunk_s)
    assert [s for s in spans(history) if s[0] == "A"] == [("A", 20, 41), ("A", 60, 81)]
    assert history.facts.samples == 480 + 42


def test_a_server_that_refuses_large_queries_is_asked_for_less(server):
    synthetic, url = server
    synthetic.add(list(range(480)), alertname="Watchdog")
    synthetic.add(list(range(20, 41)), alertname="A")
    expected = spans(read(url, begin=-20))
    synthetic.most_range_s = 200
    assert spans(read(url, begin=-20)) == expected
    synthetic.most_range_s = 1
    with pytest.raises(UnreachableError, match="--match"):
        spans(read(url, begin=-20))


def test_a_server_that_is_starting_is_waited_for(server):
    synthetic, url = server
    synthetic.add(list(range(480)), alertname="Watchdog")
    synthetic.add(list(range(20, 41)), alertname="A")
    synthetic.failures = 2
    assert "A" in [s[0] for s in spans(read(url, begin=-20))]


def test_servers_behind_a_querier_are_told_apart_by_the_labels_of_its_stores(server):
    synthetic, url = server
    synthetic.endpoints["stores"] = {
        "sidecar": [{"labelSets": [{"cluster": "eu"}]}, {"labelSets": [{"cluster": "us"}]}]
    }
    synthetic.add(list(range(480)), alertname="Watchdog", cluster="eu")
    down = [slot for slot in range(480) if not 100 <= slot < 120]
    synthetic.add(down, alertname="Watchdog", cluster="us")
    synthetic.add([*range(90, 100), *range(120, 130)], alertname="A", cluster="us")
    synthetic.add([*range(90, 100), *range(120, 130)], alertname="A", cluster="eu")
    history = read(url, begin=-20)
    # `us` was down and its alert went on; `eu` was up and saw it end.
    assert [s for s in spans(history) if s[0] == "A"] == [
        ("A", 90, 100),
        ("A", 90, 130),
        ("A", 120, 130),
    ]
    assert all(q["dedup"] == ["true"] for q in synthetic.asked if "query" in q)
    assert all(q["max_source_resolution"] == ["0s"] for q in synthetic.asked if "query" in q)


def test_alerts_that_grafana_writes_are_read_without_the_labels_of_its_states(server):
    synthetic, url = server
    named = {"__name__": "GRAFANA_ALERTS", "alertname": "G", "grafana_rule_uid": "u1"}
    synthetic.add(list(range(480)), alertname="Watchdog")
    synthetic.add(list(range(20, 30)), grafana_alertstate="alerting", **named)
    synthetic.add(list(range(30, 40)), grafana_alertstate="recovering", **named)
    rows = [row for batch in read(url, begin=-20) for row in batch.to_pylist()]
    (found,) = [row for row in rows if row["name"] == "G"]
    assert json.loads(found["labels"]) == {"alertname": "G"}
    assert (found["ends_at"] - found["starts_at"]).total_seconds() == 20 * 15


def test_an_interval_that_was_longer_then_makes_no_alert_of_every_sample(server):
    synthetic, url = server
    synthetic.endpoints["rules"] = {
        "groups": [{"interval": 15, "rules": [{"type": "alerting", "name": n}]} for n in ("A", "W")]
    }
    synthetic.add(list(range(480)), alertname="W")
    synthetic.add(list(range(100, 140, 4)), alertname="A")  # evaluated every minute at the time
    assert [s for s in spans(read(url, begin=-20)) if s[0] == "A"] == [("A", 100, 137)]


def test_alerts_at_the_edge_of_what_retention_has_left_are_dropped_and_counted(server):
    synthetic, url = server
    synthetic.add(list(range(480)), alertname="Watchdog")
    synthetic.add(list(range(20, 30)), alertname="A")
    synthetic.endpoints["status/runtimeinfo"] = {"storageRetention": "1h30m"}
    history = read(url, begin=-20)
    assert [s[0] for s in spans(history)] == ["A"]
    assert history.facts.edge_dropped == 1
    synthetic.endpoints["status/runtimeinfo"] = {"storageRetention": "15d"}
    assert [s[0] for s in spans(read(url, begin=-20))] == ["A", "Watchdog"]


def test_what_a_server_does_not_tell_and_what_it_warns_of_is_passed_on(server):
    synthetic, url = server
    synthetic.warnings = ["a store is down"]
    synthetic.add(list(range(480)), alertname="Watchdog")
    synthetic.add(list(range(20, 41)), alertname="A")
    history = read(url, begin=-20)
    assert ("A", 20, 41) in spans(history)
    uncertain = " / ".join(history.facts.uncertain)
    for part in ("external labels", "a store is down", "a guess", "not pages"):
        assert part in uncertain


def test_progress_runs_to_one(server):
    _, url = server
    seen: list[float] = []
    list(read(url, progress=seen.append, chunk_s=600))
    assert seen == sorted(seen)
    assert seen[-1] == 1
