"""Reads a history chunk by chunk: asks, feeds the episodes, tells rows, counts and position."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from noisegate.adapters.prometheus.client import Client, PrometheusSource, TooHeavyError, times_of
from noisegate.adapters.prometheus.episodes import (
    Chunk,
    Episodes,
    Labels,
    Millis,
    Reading,
)
from noisegate.adapters.prometheus.replicas import United, Uniter
from noisegate.adapters.prometheus.server import Server, Window
from noisegate.errors import InputError, UnreachableError

_TIME = pa.timestamp("us", tz="UTC")

RAW_SCHEMA = pa.schema(
    [
        pa.field("service", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("severity", pa.string()),
        pa.field("message", pa.string()),
        pa.field("labels", pa.string(), nullable=False),
        pa.field("starts_at", _TIME, nullable=False),
        pa.field("ends_at", _TIME),
    ]
)
"""Raw rows for the importer. `labels`: JSON of all labels; `ends_at` is null while it fires."""

_STATE = ("__name__", "alertstate", "grafana_alertstate", "grafana_rule_uid")
"""Labels of the series that are no labels of the alert."""
_POINTS = 10_000
"""Steps of one range query; servers refuse more than 11,000."""
_MANY, _FEW = 400_000, 50_000
"""Samples of one chunk over which the next one is halved, under which it is doubled."""
_LONGEST_MS = 86_400_000
_NAMES = 40
_VERSION = 1
_remember = lru_cache(maxsize=65_536)


@dataclass(slots=True)
class HistoryFacts:
    """What was found, for people. Complete once the history has been read to its end."""

    alerts: int = 0
    open: int = 0
    """Alerts that still fire at the end of the window."""
    edge_dropped: int = 0
    """Alerts that fired before the window, or the data, begins: their start is unknown."""
    continued: int = 0
    """Alerts that outlived a stop of the server."""
    unseen_end: int = 0
    """Alerts whose end is only known from other series: no staleness marker was written."""
    relabel_dropped: int = 0
    """Episodes that `alert_relabel_configs` keeps from Alertmanager."""
    united: int = 0
    """Alerts that several replicas reported."""
    samples: int = 0
    requests: int = 0
    intervals: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Evaluation interval by alert name, seconds, and where it is known from."""
    uncertain: list[str] = field(default_factory=list)
    """What could not be known, in words."""


_COUNTS = ("alerts", "edge_dropped", "continued", "unseen_end", "relabel_dropped", "united")


class Reader:
    """Reads a history; the steps of its look-back grid are the same for any chunks."""

    def __init__(
        self,
        client: Client,
        source: PrometheusSource,
        selector: str,
        server: Server,
        window: Window,
        digest: str,
        resume: Path | None,
    ) -> None:
        self.client = client
        self.facts = HistoryFacts(uncertain=list(server.uncertain))
        self.progress: Callable[[float], None] = lambda share: None
        self._source, self._selector, self._server = source, selector, server
        self._digest, self._resume = digest, resume
        self._outbound = _remember(server.config.outbound.apply)
        self._interval = _remember(self._note_interval)
        intervals = [server.default, *server.usual.values()]
        intervals += [r.interval for rules in server.rules.alerts.values() for r in rules]
        self._step = max(250, min(*intervals, server.lookback))
        self._stretch = 4 * self._step
        self._lively = ("ALERTS", "GRAFANA_ALERTS", "up", *server.rules.records)
        self._margin = server.lookback + 2 * max(intervals)
        self._settle = max(2 * max(intervals), 60_000)
        self._start, self._end = self._floor(window.start), self._floor(window.end)
        self._follow_back = window.follow_back
        self._uniter = Uniter(self._outbound)
        self._reached: dict[str, Any] | None = None
        self._at = 0

    # -- where to read from

    def prepare(self, chunk_ms: int) -> None:
        """Find out where reading begins."""
        self._chunk_ms = max(self._step, self._floor(chunk_ms))
        saved = self._load()
        self._goes_on = self._start if saved is None else saved["position_ms"]
        names = self._active_names(self._goes_on)
        if saved is not None:
            self._start = min(self._start, saved["start_ms"])
            oldest = saved["oldest_ms"]
            begin = (self._goes_on if oldest is None else oldest) - self._margin
            names = None if saved["silent"] else names
            if not saved["done"]:
                for name in _COUNTS:
                    setattr(self.facts, name, saved["counts"][name])
        elif names is None or names:
            begin = self._goes_on - self._follow_back
        else:
            begin = self._goes_on
        self._begin = self._floor(begin)
        self._names = names
        known = self._alive(self._begin)
        self._episodes = Episodes(
            Reading(
                interval=self._interval,
                server=self._server_of,
                lookback=self._server.lookback,
                edge=self._begin if self._begin < self._goes_on else None,
                cut_before=self._server.cut_before,
                known=known,
                stretch=self._stretch,
            )
        )

    def _active_names(self, at: int) -> set[str] | None:
        """Names of the alerts that are active at a moment; None if the server was down then."""
        if not self._alive(at):
            return None
        series = self.client.query(f"count by (alertname) ({{{self._selector}}})", at)
        return {s["metric"].get("alertname", "") for s in series}

    # -- reading

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Batches of raw rows, one for each chunk that has any."""
        restricted = self._selector
        if self._names is not None and 0 < len(self._names) <= _NAMES:
            names = "|".join(map(_escape, sorted(self._names)))
            restricted += f',alertname=~"{_quote(names)}"'
        for _ in self._chunks(self._begin, self._goes_on, restricted):
            # Stored by an earlier call, or before the window.
            self._uniter.ready(self._at, self._episodes.open_starts())
        self._uniter.dropped = self.facts.relabel_dropped
        settled = max(self._goes_on, self._floor(self._end - self._settle))
        for _ in self._chunks(self._goes_on, settled, self._selector):
            rows = self._emit(final=False)
            self._reached = self._state(self._at, done=self._at == settled)
            if rows is not None:
                yield rows
        # The newest samples may still be on their way: what they show is told, not remembered.
        for _ in self._chunks(settled, self._end, self._selector):
            rows = self._emit(final=False)
            if rows is not None:
                yield rows
        rows = self._emit(final=True)
        self._sum_up()
        if rows is not None:
            yield rows
        self.client.close()

    def _chunks(self, start: int, end: int, selector: str) -> Iterator[None]:
        """Read (start, end] into the episodes, chunk by chunk."""
        at = start
        while at < end:
            longest = min(self._chunk_ms, _POINTS * self._step, _LONGEST_MS)
            until = min(end, at + max(self._step, self._floor(longest)))
            try:
                chunk, samples = self._read(at, until, selector)
            except TooHeavyError as error:
                if until - at <= self._step:
                    raise UnreachableError(
                        f"Prometheus at {self._source.shown_url} cannot answer for "
                        f"{self._step / 1000:g} s of alerts ({error}): raise its query limits, "
                        "raise timeout_s, or narrow the import with --match"
                    ) from None
                self._chunk_ms = (until - at) // 2
                continue
            self._uniter.add(self._episodes.feed(chunk))
            self._at = at = until
            self.facts.samples += samples
            if samples > _MANY:
                self._chunk_ms = max(self._step, self._chunk_ms // 2)
            elif samples < _FEW:
                self._chunk_ms = min(self._chunk_ms * 2, _LONGEST_MS)
            self.progress((until - self._begin) / (self._end - self._begin))
            yield

    def _read(self, start: int, end: int, selector: str) -> tuple[Chunk, int]:
        states: dict[str, dict[Labels, Millis]] = {"firing": {}, "pending": {}}
        count = 0
        for series in self.client.query(f"{{{selector}}}[{end - start}ms]", end):
            times = times_of(series["values"])
            times = times[times > start]  # 2.x includes the left edge, 3.x does not
            if times.size:
                state = states[series["metric"]["alertstate"]]
                _add(state, _key(series["metric"]), times)
                count += times.size
        firing, pending = states["firing"], states["pending"]
        present: dict[Labels, Millis] = {}
        grid = np.arange(start + self._step, end + 1, self._step, dtype=np.int64)
        if count or self._episodes.busy:
            gone = ",".join(_STATE[1:])
            shown = f"max without ({gone}) ({{{selector}}})"
            for series in self.client.query_range(shown, start + self._step, end, self._step):
                _add(present, _key(series["metric"]), times_of(series["values"]))
        activity = self._activity(start, end)
        return Chunk(start, end, firing, pending, grid, present, activity), count

    def _activity(self, start: int, end: int) -> dict[Labels, Millis]:
        """Ends of the stretches in (start, end] in which anything of a server was sampled."""
        stretch = self._stretch
        first = start // stretch * stretch + stretch
        # Without `match` the samples that are read show the alerts already.
        metrics = self._lively if self._source.match else self._lively[2:]
        if first > end:
            return {}
        sampled = [f"count_over_time({metric}[{stretch}ms])" for metric in metrics]
        found: dict[Labels, Millis] = {}
        for series in self.client.query_range(self._any(sampled), first, end, stretch):
            _add(found, self._server_of(_key(series["metric"])), times_of(series["values"]))
        return found

    def _alive(self, at: int) -> frozenset[Labels]:
        """Servers that sampled anything within the look-back before a moment."""
        found = self.client.query(self._any(self._lively), at)
        return frozenset(self._server_of(_key(series["metric"])) for series in found)

    def _any(self, selections: Sequence[str]) -> str:
        """Query for the servers at which any of the selections is there."""
        by = ",".join(self._server.server_labels)
        counts = (f"count by ({by}) ({selection})" for selection in selections)
        return " or ".join(
            f'label_replace({count}, "noisegate_part", "{part}", "", "")'
            for part, count in enumerate(counts)
        )

    def _server_of(self, labels: Labels) -> Labels:
        names = self._server.server_labels
        return tuple(pair for pair in labels if pair[0] in names) if names else ()

    # -- what comes out

    def _emit(self, *, final: bool) -> pa.RecordBatch | None:
        if final:
            last = self._episodes.finish(self._end)
            heard = self._end - self._settle - self._server.lookback
            if silent := sum(e.end is None and e.seen < heard for e in last):
                self.facts.uncertain.append(
                    f"{silent} alert series are left open: their server has not been heard of since"
                )
            self._uniter.add(last)
            ready = self._uniter.ready(None, {})
        else:
            ready = self._uniter.ready(self._at, self._episodes.open_starts())
        self.facts.relabel_dropped = self._uniter.dropped
        kept = [alert for alert in ready if self._count(alert)]
        self.facts.requests = self.client.requests
        return self._rows(kept) if kept else None

    def _count(self, alert: United) -> bool:
        """Count an alert; False if it is not to be told."""
        facts = self.facts
        if alert.end is not None and alert.end <= self._start:
            return False
        if alert.parts[0].edge:
            facts.edge_dropped += 1
            return False
        facts.alerts += 1
        facts.open += alert.end is None
        facts.continued += any(part.outages for part in alert.parts)
        facts.united += len({part.labels for part in alert.parts}) > 1
        facts.unseen_end += alert.end is not None and not any(p.marked for p in alert.parts)
        return True

    def _rows(self, alerts: list[United]) -> pa.RecordBatch:
        names = [dict(alert.identity) for alert in alerts]
        rules = [self._server.rules.find(alert.labels) for alert in alerts]
        order = (*self._source.service_labels, "alertname")
        columns = [
            [next((n[k] for k in order if n.get(k)), "unknown") for n in names],
            [n.get("alertname", "unknown") for n in names],
            [n.get("severity") for n in names],
            [rule.text if rule else None for rule in rules],
            [json.dumps(n, sort_keys=True) for n in names],
            [alert.start * 1000 for alert in alerts],
            [None if alert.end is None else alert.end * 1000 for alert in alerts],
        ]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, RAW_SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=RAW_SCHEMA)

    def _note_interval(self, labels: Labels) -> int:
        interval, origin = self._server.interval(labels)
        self.facts.intervals[dict(labels).get("alertname", "")] = (interval / 1000, origin)
        return interval

    def _sum_up(self) -> None:
        facts = self.facts
        guessed = sum(origin != "rules" for _, origin in facts.intervals.values())
        if guessed:
            facts.uncertain.append(
                f"{guessed} alert names have no rule now: their interval is a guess"
            )
        if facts.unseen_end:
            facts.uncertain.append(
                f"{facts.unseen_end} ends have no staleness marker: known to one interval at best"
            )
        facts.uncertain += [f"the server warns: {w[:200]}" for w in sorted(self.client.warnings)]
        facts.requests = self.client.requests

    # -- what is remembered: times and counts, no label

    def _state(self, position: int, *, done: bool) -> dict[str, Any]:
        olds = [o for o in (self._episodes.oldest(), self._uniter.oldest()) if o is not None]
        counts = asdict(self.facts)
        return {
            "version": _VERSION,
            "source": self._digest,
            "start_ms": self._start,
            "position_ms": position,
            "oldest_ms": min(olds, default=None),
            "silent": self._episodes.silent(position - self._server.lookback) > 0,
            "done": done,
            "counts": {name: counts[name] for name in _COUNTS},
        }

    def commit(self) -> None:
        """Write the state that everything handed out so far has led to."""
        if self._resume is None or self._reached is None:
            return
        self._resume.parent.mkdir(parents=True, exist_ok=True)
        draft = self._resume.with_name(self._resume.name + ".new")
        draft.write_text(json.dumps(self._reached))
        draft.replace(self._resume)

    def _load(self) -> dict[str, Any] | None:
        if self._resume is None or not self._resume.exists():
            return None
        try:
            saved: dict[str, Any] = json.loads(self._resume.read_text())
            same = saved["version"] == _VERSION and saved["source"] == self._digest
            covers = saved["start_ms"] <= self._start <= saved["position_ms"] <= self._end
            saved["position_ms"] = self._floor(saved["position_ms"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"resume file {self._resume} cannot be read: delete it to import from the beginning"
            ) from None
        return saved if same and covers else None

    def _floor(self, ms: int) -> int:
        return ms // self._step * self._step


def _key(metric: Mapping[str, str]) -> Labels:
    return tuple(sorted((k, v) for k, v in metric.items() if k not in _STATE))


def _add(series: dict[Labels, Millis], labels: Labels, times: Millis) -> None:
    series[labels] = np.union1d(series[labels], times) if labels in series else times


def _escape(name: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else f"\\{c}" if c.isascii() else c for c in name)


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
