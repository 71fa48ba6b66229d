"""Snapshots: what models learn from. Scrubbed Parquet, named by its rows, grown from a watermark.

Under NOISEGATE_HOME/snapshots lie `parts/` (immutable files named by their content), `manifests/`
(one a snapshot, named by its digest) and `latest` (the digest of the newest). Every file is
written under another name, synced and renamed, and a snapshot counts only once `latest` names it.

The digest is a function of the schema and the rows alone: not of their order, nor of how many
steps the snapshot grew in.
"""

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Engine, select

from noisegate.alert import ALERT_SCHEMA, Origin
from noisegate.errors import MissingError
from noisegate.scrub import VERSION
from noisegate.scrub.config import DEFAULT_DIGEST, custom_tokens, load_scrubber, scrub_digest
from noisegate.settings import Settings
from noisegate.store.database import make_home, writing
from noisegate.store.facts import Event, Kind, append_events
from noisegate.store.files import Tally
from noisegate.store.identity import Identity
from noisegate.store.ingest import record_scrubbed
from noisegate.store.parts import (
    PART_ROWS,
    Part,
    count_entities,
    drop_rows,
    find_rows,
    last_of_each,
    read_part,
    rebatch,
    require_whole,
    row_hashes,
    sum_hashes,
    writable,
    write_atomically,
    write_part,
)
from noisegate.store.prepare import Occurrences, prepare
from noisegate.store.reading import newest_number, read_alerts, reading, scrub_again, store_id
from noisegate.store.runs import database_now, store_errors
from noisegate.store.source import open_source
from noisegate.store.tables import EventRow

FORMAT = 1
LATEST = "latest"

_MANY_SMALL = 8
"""Parts under half full that are borne before they are written together."""
_MUCH_DROPPED = 0.25
"""Share of dropped rows over which a part is written anew."""
_ORPHAN_S = 86_400.0
"""Age at which a file that no manifest names (left by a kill) is removed, seconds."""
_KEPT_S = 7 * 86_400.0
"""How long a superseded snapshot stays, seconds: a run that still reads it keeps its parts."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """A reference that goes anywhere that sees the same disk: rows never travel."""

    digest: str
    path: Path
    rows: int


@dataclass(slots=True)
class _State:
    """A snapshot being made: the manifest's content."""

    source: dict[str, Any]
    scrubber: int = VERSION
    scrub_settings: str = DEFAULT_DIGEST
    custom_tokens: frozenset[str] = frozenset()
    watermark: Any = None
    parts: list[Part] = field(default_factory=list)
    total: int = 0
    entities: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return sum(part.live for part in self.parts)

    @property
    def digest(self) -> str:
        schema = [(f.name, str(f.type), f.nullable) for f in ALERT_SCHEMA]
        content = json.dumps([FORMAT, schema, self.rows, f"{self.total:064x}"])
        return hashlib.sha256(content.encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "digest": self.digest,
            "rows": self.rows,
            "schema": [{"name": f.name, "type": str(f.type)} for f in ALERT_SCHEMA],
            "sum": f"{self.total:064x}",
            "entities": dict(sorted((k, v) for k, v in self.entities.items() if v)),
            "scrubber": self.scrubber,
            "scrub_settings": self.scrub_settings,
            "custom_tokens": sorted(self.custom_tokens),
            "source": self.source,
            "watermark": self.watermark,
            "parts": [part.as_json() for part in self.parts],
        }


def extend(
    settings: Settings, engine: Engine, *, progress: Callable[[int], None] | None = None
) -> SnapshotRef:
    """Bring the snapshot up to date: from ALERT_DB_URI if set, else from our own store.

    Reads only what is new or changed since the last one. Memory: a batch or two.

    Args:
        settings: home, source, identity.
        engine: our own store.
        progress: called with the number of rows read so far.

    Returns:
        The new snapshot; the last one if nothing has changed.

    Raises:
        SettingsError, UnreachableError, InputError: the source, as `open_source` and `prepare`.
        SettingsError: the snapshot's folder cannot be written.
    """
    folder = _folder(settings)
    last = _load_whole(folder)
    if settings.alert_db_uri:
        state = _from_source(settings, folder, last, progress)
    else:
        with store_errors(engine):
            state = _from_store(settings, engine, folder, last, progress)
    # A dropped row still stands in its file, as the rules of its time have scrubbed it.
    better = last is not None and not _scrubbed_alike(last, state)
    _compact(folder / "parts", state, 0.0 if better else _MUCH_DROPPED)
    if settings.alert_db_uri:  # alerts of our own store are counted when they come
        # Before it is published: a snapshot that nobody could record is made again.
        with store_errors(engine):
            _record(engine, folder / "parts", last, state)
    ref = _publish(folder, state)
    _sweep(folder)
    return ref


def latest(settings: Settings) -> SnapshotRef | None:
    """The newest whole snapshot, or None if there is none yet.

    Raises:
        MissingError: its manifest is damaged.
    """
    folder = settings.home.resolve() / "snapshots"
    state = _load_latest(folder)
    return None if state is None else _ref(folder, state)


def read(
    ref: SnapshotRef, columns: Sequence[str] | None = None, batch_rows: int = PART_ROWS
) -> Iterator[pa.RecordBatch]:
    """Read the current state of every alert, in no promised order. Memory: one part.

    Args:
        ref: which snapshot.
        columns: of ALERT_SCHEMA; None: all.
        batch_rows: rows of a batch at most.

    Raises:
        MissingError: the snapshot is gone.
    """
    folder, state = _open(ref)
    for part in state.parts:
        for batch in read_part(folder, part, columns).to_batches(max_chunksize=batch_rows):
            if batch.num_rows:
                yield batch


def table(ref: SnapshotRef, columns: Sequence[str], newest: int | None = None) -> pa.Table:
    """The newest alerts by start, as one table sorted by (starts_at, alert_id).

    Args:
        ref: which snapshot.
        columns: of ALERT_SCHEMA.
        newest: how many; None: all.

    Raises:
        MissingError: the snapshot is gone.
    """
    folder, state = _open(ref)
    wanted = list(dict.fromkeys([*columns, "starts_at", "alert_id"]))
    limit = state.rows if newest is None else newest
    schema = pa.schema([ALERT_SCHEMA.field(name) for name in wanted])
    found, oldest = schema.empty_table(), None
    waiting: list[pa.Table] = []
    # The latest parts first: once enough alerts are found, older parts are not even opened.
    for part in sorted(state.parts, key=lambda part: part.max_start, reverse=True):
        if oldest is not None and part.max_start < oldest:
            break
        waiting.append(read_part(folder, part, wanted))
        if found.num_rows + sum(t.num_rows for t in waiting) >= limit + PART_ROWS:
            found, waiting = _newest(pa.concat_tables([found, *waiting]), limit), []
            oldest = found.column("starts_at")[0].value if found.num_rows == limit else None
    found = _newest(pa.concat_tables([found, *waiting]), limit)
    return found.select(list(columns)).combine_chunks()


def _newest(alerts: pa.Table, limit: int) -> pa.Table:
    order = pc.sort_indices(alerts, [("starts_at", "ascending"), ("alert_id", "ascending")])
    return alerts.take(order[max(0, len(order) - limit) :])


def _scrubbed_alike(one: _State, other: _State) -> bool:
    return (one.scrubber, one.scrub_settings) == (other.scrubber, other.scrub_settings)


def _from_store(
    settings: Settings,
    engine: Engine,
    folder: Path,
    last: _State | None,
    progress: Callable[[int], None] | None,
) -> _State:
    scrubber, digest = load_scrubber(settings.scrub), scrub_digest(settings.scrub)
    with reading(engine) as connection:
        source = {"kind": "store", "store_id": store_id(connection)}
        newest = newest_number(connection)
    # A smaller newest number: the database was restored from a backup.
    known = last is not None and last.source == source and newest >= last.watermark
    state = _continued(last) if known and last else _State(source, watermark=0)
    # Of a store without a snapshot only this is known: other marks mean settings of one's own.
    before = state.scrub_settings if known else DEFAULT_DIGEST
    alike = state.scrubber == VERSION and before == digest
    scrub_again(
        engine,
        scrubber,
        since=state.watermark if alike else 0,
        everything=not before == digest == DEFAULT_DIGEST,
    )
    state.scrubber, state.scrub_settings = VERSION, digest
    state.custom_tokens |= custom_tokens(settings.scrub)
    done = 0
    with reading(engine) as connection:
        newest = newest_number(connection)
        found = read_alerts(connection, since=state.watermark) if newest else iter(())
        for batch in rebatch(pa.table(rows) for rows in found):
            _merge(folder / "parts", state, batch)
            done += batch.num_rows
            if progress:
                progress(done)
    state.watermark = newest
    return state


def _from_source(
    settings: Settings, folder: Path, last: _State | None, progress: Callable[[int], None] | None
) -> _State:
    scrubber = load_scrubber(settings.scrub)
    identity, occurrences = Identity.from_settings(settings), Occurrences()
    source = open_source(settings)
    described = source.describe() | {
        "key_id": identity.key_id,
        "identity_labels": sorted(identity.identity_labels),
        "ignore_labels": sorted(identity.ignore_labels),
        "replica_labels": sorted(identity.replica_labels),
    }
    fresh = _State(
        described,
        scrub_settings=scrub_digest(settings.scrub),
        custom_tokens=custom_tokens(settings.scrub),
    )
    known = last is not None and last.source == described and _scrubbed_alike(last, fresh)
    state = _continued(last) if known and last else fresh
    tally = Tally(settings.max_bad_row_share)
    try:
        for raw, mark in source.read(state.watermark, PART_ROWS):
            done = prepare(
                raw,
                identity=identity,
                scrubber=scrubber,
                source="database",
                first_row=tally.read + 1,
                occurrences=occurrences,
            )
            tally.add(done.alerts.num_rows, done.rejected, done.entities)
            _merge(folder / "parts", state, done.alerts)
            state.watermark = mark
            if progress:
                progress(tally.read)
    finally:
        source.engine.dispose()
    tally.check("ALERT_DB_URI", "mend them, leave them out by source.query, or raise the limit")
    return state


def _continued(last: _State) -> _State:
    return replace(last, parts=list(last.parts), entities=Counter(last.entities))


def _record(engine: Engine, parts: Path, last: _State | None, state: _State) -> None:
    """For the exporter: what was replaced in the rows that are new, and how new they are.

    New is what was not recorded yet: a snapshot that was recorded and never published is not
    counted again.
    """
    with reading(engine) as connection:
        now = database_now(connection)
    newest = _newest_start(parts, state, now)
    replaced = {entity: n for entity, n in sorted(state.entities.items()) if n}
    with writing(engine) as connection:
        before = _recorded(connection)
        if before is None:
            before = last.entities if last else Counter()
        record_scrubbed(connection, state.entities - before, Origin.LIVE)
        payload = {"newest": newest, "entities": replaced}
        append_events(connection, [Event(Kind.SNAPSHOT, now, now, Origin.LIVE, payload)])


def _recorded(connection: Connection) -> Counter[str] | None:
    """What was replaced in all rows that were recorded so far; None: nothing was."""
    query = select(EventRow.payload).where(EventRow.kind == Kind.SNAPSHOT.value)
    payload: Any = connection.scalar(query.order_by(EventRow.seq.desc()).limit(1))
    found = (payload or {}).get("entities")
    return None if found is None else Counter(found)


def _newest_start(parts: Path, state: _State, now: int) -> int | None:
    """The newest start that is not after now: one dated in the future says nothing."""
    newest = [part.max_start for part in state.parts if part.max_start <= now]
    for part in state.parts:
        if part.min_start <= now < part.max_start:
            starts = read_part(parts, part, ["starts_at"]).column("starts_at").cast(pa.int64())
            newest.append(pc.max(starts.filter(pc.less_equal(starts, now))).as_py())
    return max((start for start in newest if start is not None), default=None)


def _merge(parts: Path, state: _State, batch: pa.RecordBatch) -> None:
    """Add what is new in a batch, and drop the older rows of the alerts that changed."""
    batch = last_of_each(batch)
    if not batch.num_rows:
        return
    hashes = row_hashes(batch)
    unchanged: set[bytes] = set()
    bounds = pc.min_max(batch.column("starts_at").cast(pa.int64())).as_py()
    for i, part in enumerate(state.parts):
        # An alert's start is part of its id, so its older row starts when it does.
        if part.max_start < bounds["min"] or part.min_start > bounds["max"]:
            continue
        positions, old = find_rows(parts, part, batch.column("alert_id"))
        if old is None:
            continue
        old_hashes = row_hashes(old)
        same = set(old_hashes).intersection(hashes)
        unchanged |= same
        gone = np.array([h not in same for h in old_hashes])
        state.parts[i] = drop_rows(parts, part, positions[gone])
        state.total -= sum_hashes([h for h in old_hashes if h not in same])
        state.entities.subtract(count_entities(old.filter(pa.array(gone)), state.custom_tokens))
    if unchanged:
        fresh = [h not in unchanged for h in hashes]
        batch = batch.filter(pa.array(fresh))
        hashes = [h for h, keep in zip(hashes, fresh, strict=True) if keep]
    if batch.num_rows:
        state.parts.append(write_part(parts, batch))
        state.total += sum_hashes(hashes)
        state.entities.update(count_entities(batch, state.custom_tokens))
    state.total %= 1 << 256


def _compact(parts: Path, state: _State, much_dropped: float) -> None:
    """Write small parts together and parts with many dropped rows anew; the rows stay the same."""
    small = [part for part in state.parts if part.live < PART_ROWS // 2]
    worn = [part for part in state.parts if part.dropped_rows > much_dropped * part.rows]
    victims = set(worn) | (set(small) if len(small) > _MANY_SMALL else set())
    if not victims:
        return
    kept = [part for part in state.parts if part not in victims]
    old = sorted(victims, key=lambda part: part.min_start)
    tables = (read_part(parts, part) for part in old if part.live)
    state.parts = kept + [write_part(parts, batch) for batch in rebatch(tables)]


def _publish(folder: Path, state: _State) -> SnapshotRef:
    ref = _ref(folder, state)
    content = json.dumps(state.as_json(), indent=1).encode()
    if _content(ref.path) != content:
        write_atomically(ref.path, content)
    before = _content(folder / LATEST)
    if before != ref.digest.encode():
        if before is not None:
            with suppress(OSError, ValueError):  # it is old from now on, not from when it was made
                os.utime(folder / "manifests" / f"{before.decode()}.json")
        write_atomically(folder / LATEST, ref.digest.encode())
    return ref


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _sweep(folder: Path) -> None:
    """Remove old snapshots, and what a kill or a compaction left, once nobody can be reading it."""
    newest = (folder / LATEST).read_text()
    for manifest in (folder / "manifests").glob("*.json"):
        if manifest.stem != newest:
            _remove_older(manifest, _KEPT_S)
    named: set[str | None] = set()
    for manifest in (folder / "manifests").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: it names nothing
            for part in json.loads(manifest.read_bytes())["parts"]:
                named |= {part["file"], part["dropped"]}
    strays = [*(folder / "parts").iterdir(), *(folder / "manifests").glob(".tmp-*")]
    for path in [*strays, *folder.glob(".tmp-*")]:
        if path.name not in named:
            _remove_older(path, _ORPHAN_S)


def _remove_older(path: Path, age_s: float) -> None:
    with suppress(OSError):  # another run was faster, or it stays until the next one
        if path.stat().st_mtime < time.time() - age_s:
            path.unlink()


def _folder(settings: Settings) -> Path:
    folder = make_home(settings) / "snapshots"
    for name in ("parts", "manifests"):
        with writable(folder / name):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _ref(folder: Path, state: _State) -> SnapshotRef:
    return SnapshotRef(state.digest, folder / "manifests" / f"{state.digest}.json", state.rows)


def _open(ref: SnapshotRef) -> tuple[Path, _State]:
    state = _load(ref.path)
    if state is None:
        raise MissingError(f"no snapshot at {ref.path}: run `noisegate retrain`")
    return ref.path.parent.parent / "parts", state


def _load_whole(folder: Path) -> _State | None:
    """The newest snapshot to go on from; None if there is none, or a file of it is damaged."""
    try:
        state = _load_latest(folder)
        for part in state.parts if state else ():
            require_whole(folder / "parts", part)
    except MissingError as error:
        _log.warning("the snapshot is made anew from its source: %s", error)
        return None
    return state


def _load_latest(folder: Path) -> _State | None:
    path = folder / LATEST
    try:
        path = folder / "manifests" / f"{path.read_text()}.json"
        return _load(path)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            return None
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> MissingError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
    return MissingError(
        f"{path} cannot be read ({reason}): run `noisegate retrain`, which makes it anew"
    )


def _load(path: Path) -> _State | None:
    try:
        return _parse(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from None


def _parse(found: dict[str, Any]) -> _State | None:
    schema = [{"name": f.name, "type": str(f.type)} for f in ALERT_SCHEMA]
    if found["format"] != FORMAT or found["schema"] != schema:
        return None  # of another version: made anew from the source
    return _State(
        found["source"],
        found["scrubber"],
        found.get("scrub_settings", DEFAULT_DIGEST),
        frozenset(found.get("custom_tokens", ())),
        found["watermark"],
        [Part(**part) for part in found["parts"]],
        int(found["sum"], 16),
        Counter(found["entities"]),
    )
