"""Unites the episodes of series that are one alert to Alertmanager, as of an HA pair: pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from noisegate.adapters.prometheus.episodes import Episode, Labels


@dataclass(frozen=True, slots=True)
class United:
    """One alert: the union of overlapping episodes of series that are one alert to Alertmanager."""

    identity: Labels
    labels: Labels
    start: int
    end: int | None
    parts: tuple[Episode, ...]


@dataclass(slots=True)
class Uniter:
    """Unites overlapping episodes of replicas; episodes of one series are never united.

    Args:
        identity: what makes two series the same alert; None drops the series.
    """

    identity: Callable[[Labels], Labels | None]
    dropped: int = 0
    _waiting: dict[Labels, list[Episode]] = field(default_factory=dict)

    def add(self, episodes: Sequence[Episode]) -> None:
        """Take episodes whose end is decided (or known to be open)."""
        for episode in episodes:
            identity = self.identity(episode.labels)
            if identity is None:
                self.dropped += 1
            else:
                self._waiting.setdefault(identity, []).append(episode)

    def ready(self, now: int | None, open_starts: Mapping[Labels, int]) -> list[United]:
        """Return the alerts that nothing after `now` can change; with None all of them."""
        first_open: dict[Labels, int] = {}
        for labels, start in open_starts.items():
            identity = self.identity(labels)
            if identity is not None and identity in self._waiting:
                first_open[identity] = min(start, first_open.get(identity, start))
        out: list[United] = []
        for identity in list(self._waiting):
            alerts = _unite(identity, self._waiting[identity])
            keep: list[Episode] = []
            for alert in alerts:
                settled = now is None or (
                    alert.end is not None
                    and alert.end <= now
                    and alert.end < first_open.get(identity, alert.end + 1)
                )
                if settled:
                    out.append(alert)
                else:
                    keep.extend(alert.parts)
            if keep:
                self._waiting[identity] = keep
            else:
                del self._waiting[identity]
        return out

    def oldest(self) -> int | None:
        """Start of the oldest episode that still waits for its replicas."""
        return min((e.start for waiting in self._waiting.values() for e in waiting), default=None)


def _unite(identity: Labels, episodes: list[Episode]) -> list[United]:
    alerts: list[United] = []
    for episode in sorted(episodes, key=lambda e: (e.start, e.labels)):
        last = alerts[-1] if alerts else None
        if last is not None and any(_joins(part, episode) for part in last.parts):
            end = None if last.end is None or episode.end is None else max(last.end, episode.end)
            alerts[-1] = replace(last, end=end, parts=(*last.parts, episode))
        else:
            parts = (episode,)
            alerts.append(United(identity, episode.labels, episode.start, episode.end, parts))
    return alerts


def _joins(part: Episode, later: Episode) -> bool:
    """Whether a later episode overlaps one of another series."""
    return part.labels != later.labels and (part.end is None or later.start <= part.end)
