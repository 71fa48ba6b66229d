import tempfile
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from noisegate.alert import ALERT_SCHEMA
from noisegate.settings import Settings, load_settings
from noisegate.store import database, parts, snapshot
from noisegate.store.ingest import store_alerts

State = tuple[int, int | None, str | None, str | None]
STATES = st.tuples(
    st.integers(0, 25),  # which alert
    st.none() | st.integers(0, 5),  # seconds until its end
    st.sampled_from([None, "a", "<EMAIL>", "b\nc"]),  # message
    st.sampled_from([None, "noise", "real"]),
)


def as_batch(states: list[State]) -> pa.RecordBatch:
    rows = [
        {
            "alert_id": f"{n:032x}",
            "fingerprint": f"{n % 3:032x}",
            "source": "test",
            "origin": "import",
            "service": f"s{n % 2}",
            "name": "n",
            "message": message,
            "starts_at": n // 2 * 1_000_000,
            "ends_at": None if end is None else (n // 2 + end) * 1_000_000,
            "verdict": verdict,
            "verdict_at": None if verdict is None else (n // 2) * 1_000_000,
        }
        for n, end, message, verdict in states
    ]
    return pa.RecordBatch.from_pylist(rows, schema=ALERT_SCHEMA)


def fresh(folder: str, name: str) -> Settings:
    made = load_settings(home=Path(folder) / name)
    database.upgrade(made)
    return made


@given(steps=st.lists(st.lists(STATES, max_size=12), min_size=1, max_size=6))
@settings(max_examples=10, deadline=None)
def test_a_snapshot_is_its_rows_however_it_grew(steps: list[list[State]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        grown, whole = fresh(folder, "grown"), fresh(folder, "whole")
        step_by_step, at_once = database.open_store(grown), database.open_store(whole)
        for states in steps:
            store_alerts(step_by_step, [as_batch(states)])
            ref = snapshot.extend(grown, step_by_step)
            assert snapshot.extend(grown, step_by_step) == ref == snapshot.latest(grown)
        store_alerts(at_once, [as_batch(states) for states in steps])
        expected = snapshot.extend(whole, at_once)
        assert (ref.digest, ref.rows) == (expected.digest, expected.rows)
        assert snapshot.table(ref, ALERT_SCHEMA.names) == snapshot.table(
            expected, ALERT_SCHEMA.names
        )
        step_by_step.dispose()
        at_once.dispose()


@given(hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=50))
def test_the_sum_of_hashes_is_a_sum(hashes: list[bytes]) -> None:
    expected = sum(int.from_bytes(h) for h in hashes) % (1 << 256)
    assert parts.sum_hashes(hashes) == parts.sum_hashes(hashes[::-1]) == expected
