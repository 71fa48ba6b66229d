"""From a snapshot to what is learned from: outcomes, keys, what was known when each fired."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from noisegate.decision.decide import floors, wanted_by_people
from noisegate.decision.history import (
    FINGERPRINT,
    NEIGHBOURS,
    Ids,
    Keys,
    Seen,
    Singles,
    buckets,
    replay,
)
from noisegate.decision.outcomes import Bools, Floats, Ints, Outcomes, outcomes
from noisegate.decision.policy import policy_for
from noisegate.errors import MissingError
from noisegate.model.embed import Embedder, EmbeddingCache, alert_text, template
from noisegate.model.neighbours import TemplateIndex, causal_neighbours
from noisegate.settings import Settings
from noisegate.spans import span
from noisegate.store.snapshot import SnapshotRef, table

COLUMNS = (
    "alert_id", "fingerprint", "service", "name", "severity", "message", "labels",
    "starts_at", "ends_at", "acked_at", "verdict", "verdict_at",
)  # fmt: skip
LEAST_SIMILARITY = 0.6
"""Cosine similarity under which a template's history is not borrowed."""


@dataclass(frozen=True)
class Templates:
    """The templates of a history by first appearance, and their vectors, shape (m, dim)."""

    vectors: Singles

    def index(self) -> TemplateIndex:
        """Build the nearest-neighbour index that goes into the champion."""
        index = TemplateIndex(self.vectors.shape[1])
        index.add(self.vectors)
        return index


@dataclass(frozen=True)
class Examples:
    """A history ready to learn from: n alerts sorted by start.

    Attributes:
        alerts: alert_id, service, name, severity and times, n rows.
        outcome: what came of each.
        keys: whose history each belongs to.
        transient_s: T of each, seconds, shape (n,).
        max_hold_s: longest hold of each, seconds, shape (n,).
        floor: index into FLOORS, -1 where none applies, shape (n,).
        seen: what was known of each when it fired.
        bucket: grid step each cleared in, STEPS: outlived T, shape (n,).
        templates: the templates, None where the alerts carry no text worth embedding.
        data_digest: digest of the snapshot.
    """

    alerts: pa.Table
    outcome: Outcomes
    keys: Keys
    transient_s: Floats
    max_hold_s: Floats
    floor: npt.NDArray[np.int8]
    seen: Seen
    bucket: Ints
    templates: Templates | None
    data_digest: str

    def __len__(self) -> int:
        return len(self.outcome)

    @cached_property
    def services(self) -> npt.NDArray[np.object_]:
        """Service of each alert, shape (n,)."""
        return np.array(self.alerts["service"].to_pylist(), dtype=object)

    def digest(self, stop: int) -> str:
        """Digest of all that a forecast of the first `stop` alerts can depend on.

        Equal for a history and for any longer one, as long as nothing before has changed.
        """
        o, until = self.outcome, self.outcome.starts_us[stop - 1]
        known = o.known_us[:stop] < until
        parts = (
            o.starts_us[:stop],
            np.where(known, o.known_us[:stop], -1),
            np.where(known, self.bucket[:stop], -1),
            np.where(known & o.transient[:stop], o.clear_s[:stop], -1.0),
            _by_first_appearance(self.keys.ids[:stop]),
            self.keys.near[:stop] >= 0,
            self.keys.similarity[:stop],
            self.transient_s[:stop],
        )
        digest = hashlib.sha256()
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def load_examples(
    settings: Settings,
    ref: SnapshotRef,
    *,
    now_us: int | None = None,
    stop: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Examples:
    """Read the newest alerts of a snapshot and replay them.

    Args:
        settings: T, policy, group and embedding model.
        ref: the snapshot.
        now_us: end of the history, microseconds; default: the last moment it speaks of.
        stop: leave out the alerts from this one on, as if they had not fired yet.
        progress: told what is being done.

    Raises:
        MissingError: the snapshot holds no alerts.
    """
    say = progress or (lambda _: None)
    say("reading the snapshot")
    alerts = table(ref, COLUMNS, newest=_newest(settings, ref.rows))
    alerts = alerts.slice(0, stop)
    if len(alerts) == 0:
        raise MissingError(
            "the history holds no alerts: run `noisegate import` or `simulate` first"
        )
    last_us = max(
        pc.max(alerts[c]).cast(pa.int64()).as_py() or 0
        for c in ("starts_at", "ends_at", "acked_at", "verdict_at")
    )
    transient_s, max_hold_s = _limits(settings, alerts["service"])
    outcome = outcomes(alerts, transient_s, last_us + 1 if now_us is None else now_us)
    say("embedding new templates")
    ids, texts = _template_ids(alerts)
    templates = _embed(settings, texts)
    keys = _keys(settings, alerts, ids, templates)
    say("replaying the history")
    seen, _ = replay(outcome, keys, transient_s)
    return Examples(
        alerts=alerts.select(["alert_id", "service", "name", "severity", "starts_at", "ends_at"]),
        outcome=outcome,
        keys=keys,
        transient_s=transient_s,
        max_hold_s=max_hold_s,
        floor=floors(
            alerts["severity"].to_pylist(),
            _protected(settings, alerts["labels"]),
            wanted_by_people(keys.ids[:, FINGERPRINT].astype(np.int64), outcome),
            seen.known,
            settings.min_outcomes,
            settings.never_hold,
            settings.severities,
        ),
        seen=seen,
        bucket=buckets(outcome, transient_s),
        templates=templates,
        data_digest=ref.digest,
    )


def _newest(settings: Settings, rows: int) -> int:
    """How many of the newest alerts to read: the window's start moves in steps of a tenth.

    So the alerts that a fold learned from stay the same for a while, and its forecasts are reused.
    """
    step = settings.train_alerts // 10
    dropped = max(0, rows - settings.train_alerts) // step * step
    return rows - dropped


def _limits(settings: Settings, services: pa.ChunkedArray) -> tuple[Floats, Floats]:
    encoded = services.combine_chunks().dictionary_encode()
    policies = [policy_for(settings, name) for name in encoded.dictionary.to_pylist()]
    code = encoded.indices.to_numpy()
    transient = np.array([p.transient_s for p in policies])[code]
    return transient, np.array([p.max_hold_s for p in policies])[code]


def _protected(settings: Settings, labels: pa.ChunkedArray) -> Bools:
    mark = np.zeros(len(labels), dtype=np.bool_)
    for name, value in settings.protected_labels.items():
        # Labels are stored as JSON with sorted keys and no spaces, so a pair is a fixed string.
        pair = f"{orjson.dumps(name).decode()}:{orjson.dumps(value).decode()}"
        mark |= pc.match_substring(labels.fill_null(""), pair).to_numpy()
    return mark


def _template_ids(alerts: pa.Table) -> tuple[Ids, tuple[str, ...]]:
    texts = template(
        alert_text(*(alerts[c].combine_chunks() for c in ("name", "message", "service")))
    )
    encoded = texts.dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int32), tuple(encoded.dictionary.to_pylist())


@span("embed")
def _embed(settings: Settings, texts: tuple[str, ...]) -> Templates | None:
    if len(texts) < 2:
        return None
    embedder = Embedder.open(settings.embedding_model, settings.home)
    return Templates(EmbeddingCache(settings.home).vectors(texts, lambda: embedder))


def _keys(settings: Settings, alerts: pa.Table, template: Ids, templates: Templates | None) -> Keys:
    columns = [
        alerts["fingerprint"],
        alerts["service"],
        _group(settings, alerts),
        pa.repeat("", len(alerts)),
    ]
    ids = np.empty((len(alerts), 5), dtype=np.int32)
    sizes: list[int] = []
    for level, column in enumerate(columns):
        combined = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = combined.dictionary_encode()
        ids[:, level] = encoded.indices.to_numpy() + sum(sizes)
        sizes.append(len(encoded.dictionary))
    base = sum(sizes)
    ids[:, 4] = template + base
    sizes.append(int(template.max()) + 1)
    near = np.full((sizes[4], NEIGHBOURS), -1, dtype=np.int32)
    similarity = np.zeros((sizes[4], NEIGHBOURS), dtype=np.float32)
    near[:, 0], similarity[:, 0] = np.arange(sizes[4]), 1.0
    if templates is not None:
        found, cosine = causal_neighbours(templates.vectors, NEIGHBOURS - 1, LEAST_SIMILARITY)
        near[:, 1:], similarity[:, 1:] = found, cosine
    near = np.where(near >= 0, near + base, -1).astype(np.int32)
    levels = np.repeat(np.arange(5), sizes).astype(np.int32)
    return Keys(ids, levels, near[template], similarity[template])


def _group(settings: Settings, alerts: pa.Table) -> pa.ChunkedArray:
    """The level above the fingerprint; auto: the name, where most names occur in several services.

    Which of the two is looked up on the first alerts only, so that no later alert can turn it.
    """
    if settings.group.startswith("label:"):
        from noisegate.store.reading import label_values

        return label_values(alerts["labels"], settings.group.removeprefix("label:"))
    if settings.group != "auto":
        return alerts[settings.group]
    first = alerts.slice(0, 1_000).group_by("name")
    spread = first.aggregate([("service", "count_distinct")])["service_count_distinct"]
    shared = pc.mean(pc.greater(spread, 1)).as_py()
    return alerts["name" if shared > 0.5 else "service"]


def _by_first_appearance(ids: Ids) -> Ids:
    """Renumber keys by first appearance, level by level: the same for every longer history."""
    out = np.empty_like(ids)
    for level in range(ids.shape[1]):
        _, first, inverse = np.unique(ids[:, level], return_index=True, return_inverse=True)
        out[:, level] = np.argsort(np.argsort(first))[inverse]
    return out
