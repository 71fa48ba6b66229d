"""What a server tells about itself before its history is read: rules, intervals, labels, limits."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisegate.adapters.prometheus.client import Client, PrometheusSource, TooHeavyError, times_of
from noisegate.adapters.prometheus.episodes import Labels, Millis
from noisegate.adapters.prometheus.labels import (
    Rules,
    ServerConfig,
    duration_ms,
    read_config,
    read_rules,
)
from noisegate.errors import InputError

_LOOKBACK_MS = 300_000
_PROBES, _PROBE_MS = 24, 900_000


@dataclass(frozen=True, slots=True)
class Window:
    """A window in ms, not yet on any grid."""

    start: int
    end: int
    now: int
    follow_back: int

    @classmethod
    def of(cls, start_us: int, end_us: int, follow_back_s: float) -> "Window":
        """Cut a window in microseconds off at now.

        Raises:
            InputError: nothing is left of it.
        """
        now = time.time_ns() // 1_000_000
        start, end = start_us // 1000, min(end_us // 1000, now)
        if start >= end:
            raise InputError(
                f"history from {start_us} to {end_us} us is empty: give a start before its end "
                "and before now, such as --days 30"
            )
        return cls(start, end, now, round(follow_back_s * 1000))


@dataclass(frozen=True, slots=True)
class Server:
    """What one server told about itself before its history is read. Times in ms."""

    rules: Rules
    config: ServerConfig
    usual: Mapping[str, int]
    default: int
    lookback: int
    cut_before: float
    server_labels: tuple[str, ...]
    uncertain: tuple[str, ...]

    def interval(self, labels: Labels) -> tuple[int, str]:
        """Evaluation interval of a series, ms, and where it is known from."""
        rule = self.rules.find(labels)
        if rule is not None:
            return rule.interval, "rules"
        name = dict(labels).get("alertname", "")
        if name in self.usual:
            return self.usual[name], "usual spacing"
        return self.default, "evaluation_interval"


def ask(
    client: Client,
    source: PrometheusSource,
    selector: str,
    replica_labels: Sequence[str],
    window: Window,
) -> Server:
    """Ask a server about itself.

    Raises:
        UnreachableError: it does not answer as Prometheus does.
        InputError: its relabelling cannot be followed, or `match` is no selector.
    """
    client.query("vector(1)", window.end)
    uncertain = ["ALERTS knows no silences, inhibition or routes: these are alerts, not pages"]
    told = client.optional("status/config")
    config = read_config(told["yaml"] if told else "", replica_labels)
    if not told:
        uncertain.append("external labels and relabelling are unknown: status/config is not there")
    if config.ambiguous:
        uncertain.append("Alertmanagers relabel differently: only the common part is applied")
    rules = read_rules(client.optional("rules") or {})
    flags = client.optional("status/flags") or {}
    lookback = duration_ms(str(flags.get("query.lookback-delta", ""))) or _LOOKBACK_MS
    server_labels = source.server_labels or _stores(client.optional("stores"))
    usual = _usual_spacing(client, selector, rules, window)
    default = config.evaluation_interval
    if not told and usual:
        default = round(float(np.median(list(usual.values()))))
    return Server(
        rules=rules,
        config=config,
        usual=usual,
        default=default,
        lookback=lookback,
        cut_before=_cut_before(client.optional("status/runtimeinfo"), window.now),
        server_labels=tuple(k for k in server_labels if k not in replica_labels),
        uncertain=tuple(uncertain),
    )


def _usual_spacing(client: Client, selector: str, rules: Rules, window: Window) -> dict[str, int]:
    """Median distance of samples, ms, of alert names that have no rule now."""
    names = client.label_values("alertname", f"{{{selector}}}", window.start, window.end)
    unknown = set(names or ()) - set(rules.alerts)
    if names is not None and not unknown:
        return {}
    gaps: dict[str, list[Millis]] = {}
    for at in np.linspace(window.start, window.end, _PROBES + 1)[1:].astype(np.int64).tolist():
        for series in _probe(client, selector, at):
            name = series["metric"].get("alertname", "")
            if name not in rules.alerts and len(series["values"]) > 1:
                gaps.setdefault(name, []).append(np.diff(times_of(series["values"])))
    return {name: round(float(np.median(np.concatenate(g)))) for name, g in gaps.items()}


def _probe(client: Client, selector: str, at: int) -> list[dict[str, Any]]:
    """Samples of a short time; of a shorter one where the server refuses."""
    span = _PROBE_MS
    while span >= 30_000:
        try:
            return client.query(f"{{{selector}}}[{span}ms]", at)
        except TooHeavyError:
            span //= 2
    return []


def _stores(data: Any) -> tuple[str, ...]:
    """Names of the labels that tell apart what stands behind a Thanos querier."""
    names: set[str] = set()
    if isinstance(data, Mapping):
        for stores in data.values():
            for store in stores or ():
                for labels in store.get("labelSets") or ():
                    names |= set(labels)
    return tuple(sorted(names))


def _cut_before(runtime: Any, now: int) -> float:
    """Before when retention may have deleted data; unknown or by size: at any time."""
    retention = duration_ms(str((runtime or {}).get("storageRetention", "")))
    return math.inf if retention is None else now - retention
