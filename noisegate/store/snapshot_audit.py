"""The audit of a snapshot: a sample of its texts is scanned again; a finding stops promotion.

Two looks at each text: by the scrubber's own recognisers, which find what was stored past them or
by older settings, and by scanners that share no rule with them, which find what they miss. What is
found is told by column, alert and kind; its text is written nowhere.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from sqlalchemy import Engine, select

from noisegate.alert import Origin
from noisegate.scrub import Entity, Scrubber
from noisegate.scrub.independent import OUR_TOKEN, suspects
from noisegate.scrub.labels import pair
from noisegate.store.database import writing
from noisegate.store.facts import Event, Kind, append_events
from noisegate.store.runs import database_now, store_errors
from noisegate.store.snapshot import SnapshotRef, read
from noisegate.store.tables import EventRow

LISTED = 20
"""Findings that are named one by one in the event; all are counted."""

_TEXTS = ("source", "service", "name", "severity", "message")
_ROWS_A_TEXT = 8
"""Rows looked at for each text of the sample: many rows repeat the text of another."""
_KEY_CHARS = 16
_RULE = "rule "


@dataclass(frozen=True, slots=True)
class Found:
    """Something that should not stand in a snapshot: where, what, and who says so."""

    column: str
    """Such as `message` or `label instance`."""
    alert_id: str
    entity: str
    by: str
    """`rule ID` of the scrubber, or the independent detector."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How an audit came out."""

    snapshot: str
    rows: int
    """Alerts of the snapshot."""
    texts: int
    """Distinct texts that were scanned."""
    findings: int
    entities: dict[str, int]
    """Findings by entity, as the exporter counts them."""
    by: dict[str, int]
    """Findings by who found them: the entity where the scrubber did, else the detector."""
    listed: tuple[Found, ...] = ()
    at: int = 0
    """When it was recorded, microseconds since 1970, UTC."""

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def says(self) -> str:
        """In a sentence, with the way out; without any text of an alert."""
        name = self.snapshot[:12]
        if self.passed:
            return f"{self.texts:,} texts of snapshot {name} scanned again, nothing found"
        by = ", ".join(f"{name} {n}" for name, n in sorted(self.by.items()))
        few = "1 finding" if self.findings == 1 else f"{self.findings} findings"
        return (
            f"{few} in the sample of snapshot {name}: {by}; see `noisegate db audit`, write a "
            "pattern under [[scrub.patterns]] (if it is none, an entry under [scrub.allow]), then "
            "run `noisegate retrain`"
        )


def audit(ref: SnapshotRef, scrubber: Scrubber, most: int) -> Audit:
    """Scan a sample of a snapshot again. The same snapshot, scrubber and size: the same sample.

    Args:
        ref: the snapshot.
        scrubber: as configured; what its policy keeps and what is allowed is no finding.
        most: distinct texts to scan at most; a snapshot with fewer is scanned whole, unless it
            has over 8 times as many rows. Memory grows with it and not with the snapshot.

    Raises:
        MissingError: the snapshot is gone or damaged.
    """
    sample = _sample(ref, most)
    found = list(_scan(sample, scrubber))
    return Audit(
        snapshot=ref.digest,
        rows=ref.rows,
        texts=len(sample),
        findings=len(found),
        entities=dict(sorted(Counter(one.entity for one in found).items())),
        by=dict(sorted(Counter(_shown(one) for one in found).items())),
        listed=tuple(found),
    )


def record_audit(engine: Engine, done: Audit, origin: str) -> None:
    """Write an audit down, for the exporter, the gate and `doctor`.

    Raises:
        UnreachableError: the database does not answer.
    """
    payload = asdict(done) | {"listed": [asdict(one) for one in done.listed[:LISTED]]}
    del payload["at"]
    with store_errors(engine), writing(engine) as connection:
        now = database_now(connection)
        append_events(connection, [Event(Kind.FINDING, now, now, Origin(origin), payload)])


def last_audit(engine: Engine, snapshot: str | None = None) -> Audit | None:
    """The newest audit, or the newest of one snapshot (its digest); None: there is none.

    Raises:
        UnreachableError: the database does not answer.
    """
    query = select(EventRow.at, EventRow.payload).where(EventRow.kind == Kind.FINDING.value)
    named = EventRow.payload["snapshot"].as_string()
    query = query.where(named.is_not(None) if snapshot is None else named == snapshot)
    with store_errors(engine), engine.connect() as connection:
        row = connection.execute(query.order_by(EventRow.seq.desc()).limit(1)).first()
    if row is None:
        return None
    payload = dict(row.payload)
    listed = tuple(Found(**one) for one in payload.pop("listed"))
    return Audit(**payload, listed=listed, at=row.at)


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as it is scanned: of a label its pair as JSON, for the name says what a value is."""

    column: str
    text: str


def _sample(ref: SnapshotRef, most: int) -> dict[_Text, str]:
    """Distinct texts of alerts drawn by the snapshot's digest, each with one alert that has it."""
    sample: dict[_Text, str] = {}
    for alert in _drawn(ref, _ROWS_A_TEXT * most).to_pylist():
        for text in _texts(alert):
            if len(sample) == most:
                return sample
            sample.setdefault(text, alert["alert_id"])
    return sample


def _texts(alert: dict[str, str | None]) -> Iterator[_Text]:
    for column in _TEXTS:
        if alert[column]:
            yield _Text(column, str(alert[column]))
    for name, value in orjson.loads(alert["labels"] or "{}").items():
        yield _Text("labels", pair(name, str(value)))


def _drawn(ref: SnapshotRef, most: int) -> pa.Table:
    """About `most` alerts, all of a smaller snapshot, by a keyed hash of their ids."""
    share = min(1.0, most / max(1, ref.rows))
    kept, keys = [], []
    for batch in read(ref, ["alert_id", *_TEXTS, "labels"]):
        ids = batch.column("alert_id").to_numpy(zero_copy_only=False)
        key = pd.util.hash_array(ids, hash_key=ref.digest[:_KEY_CHARS])
        chosen = key <= np.uint64(share * float(2**64 - 2**12))
        kept.append(pa.table(batch.filter(pa.array(chosen))))
        keys.append(key[chosen])
    if not kept:
        return pa.table({name: pa.array([], pa.string()) for name in ("alert_id", *_TEXTS)})
    order = np.argsort(np.concatenate(keys), kind="stable")
    return pa.concat_tables(kept).take(pa.array(order))


def _scan(sample: dict[_Text, str], scrubber: Scrubber) -> Iterator[Found]:
    texts = list(sample)
    clean, _ = scrubber.texts([one.text for one in texts])
    for one, after in zip(texts, clean, strict=True):
        seen = _ours(one.text, scrubber) if after != one.text else set()
        # A text that our own rules would change is told once, by them.
        seen = seen or {
            (suspect.entity.value, suspect.by)
            for suspect in suspects(one.text)
            if not scrubber.lets_stand(suspect.entity, suspect.text)
        }
        for entity, by in sorted(seen):
            yield Found(_named(one, scrubber), sample[one], entity, by)


def _ours(text: str, scrubber: Scrubber) -> set[tuple[str, str]]:
    """What the scrubber itself finds in a text that it has scrubbed before."""
    tokens = [token.span() for token in OUR_TOKEN.finditer(text)]
    return {
        (found.entity.value, f"{_RULE}{found.rule}")
        for found in scrubber.findings(text)
        # A recogniser of names reads what stands around them: where something has been replaced,
        # it sees another text than the one it was asked about, and what it says is no miss.
        if not (found.kept or (tokens and found.entity is Entity.PERSON))
        and not any(start < found.end and found.start < end for start, end in tokens)
    }


def _named(one: _Text, scrubber: Scrubber) -> str:
    """The column; of a label its name, too, unless that is what must not be told."""
    if one.column != "labels":
        return one.column
    (name,) = orjson.loads(f"{{{one.text}}}")
    whole = _ours(name, scrubber) or list(suspects(name))
    return one.column if whole else f"label {name}"


def _shown(found: Found) -> str:
    return found.entity if found.by.startswith(_RULE) else found.by
