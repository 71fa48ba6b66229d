"""The steps of the main job, one a process: `python -m benchmarks.steps STEP FOLDER [ALERTS]`.

Each prints one line of JSON: seconds, the memory after its imports, and the peak over that, in MB.
"""

import gc
import json
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
LABELS = ("cluster", "instance", "pod", "region", "replica", "team")
"""Labels of the simulated alerts that the team's table and the CSV file have as columns."""
_MB = 1 << 20


@contextmanager
def measured() -> Iterator[Facts]:
    """Time the body, and the peak of its memory over what the process held before it."""
    gc.collect()
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5")  # Linux: the peak starts anew, so imports do not hide it
    before = _memory("VmRSS")
    facts: Facts = {"baseline_mb": before}
    began = time.perf_counter()
    yield facts
    facts["seconds"] = time.perf_counter() - began
    facts["peak_mb"] = max(0.0, _memory("VmHWM") - before)


def _memory(name: str) -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MB  # macOS: bytes
    line = next(x for x in status.read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def prepare(folder: Path, alerts: int) -> Facts:
    """A history as a team has it, raw: a table in SQLite, and the same as a CSV file."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    from noisegate.simulate import RAW_SCHEMA, SimulationPlan, simulate

    columns = [name for name in RAW_SCHEMA.names if name not in ("labels", "verdict_at")]
    names = ["id", *columns, *LABELS]
    schema = pa.schema([(name, pa.string()) for name in names])
    database = sqlite3.connect(folder / "team.db")
    database.execute(f"CREATE TABLE alerts (id INTEGER PRIMARY KEY, {', '.join(names[1:])})")
    insert = f"INSERT INTO alerts VALUES ({', '.join('?' * len(names))})"
    with measured() as facts, pa_csv.CSVWriter(folder / "export.csv", schema) as file:
        done = 0
        for batch in simulate(SimulationPlan(alerts=alerts)):
            taken = [
                batch.column(name)
                if pa.types.is_string(batch.schema.field(name).type)
                else batch.column(name).cast(pa.string())
                for name in columns
            ]
            labels = [json.loads(text or "{}") for text in batch.column("labels").to_pylist()]
            taken += [pa.array([each.get(name) for each in labels]) for name in LABELS]
            ids = pa.array([str(done + i) for i in range(batch.num_rows)])
            rows = pa.table([ids, *taken], names=names).cast(schema)
            file.write_table(rows)
            database.executemany(insert, zip(*(c.to_pylist() for c in rows), strict=True))
            done += batch.num_rows
        database.commit()
    database.close()
    return facts


def read_sql(folder: Path) -> Facts:
    """What the same table costs with pandas alone: nothing parsed, scrubbed, kept."""
    import pandas as pd
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{folder / 'team.db'}")
    with measured() as facts:
        facts["rows"] = len(pd.read_sql("SELECT * FROM alerts ORDER BY starts_at", engine))
    engine.dispose()
    return facts


def load(folder: Path) -> Facts:
    """The team's table, raw -> scrubbed, identified -> snapshot."""
    import tempfile

    from noisegate.settings import SourceSettings, load_settings
    from noisegate.store.database import open_store, upgrade
    from noisegate.store.snapshot import extend

    source = SourceSettings(table="alerts", columns={"alert_id": "id"}, labels=list(LABELS))
    with tempfile.TemporaryDirectory(dir=folder) as home:
        settings = load_settings(
            home=Path(home), alert_db_uri=f"sqlite:///{folder / 'team.db'}", source=source
        )
        upgrade(settings)
        engine = open_store(settings)
        with measured() as facts:
            facts["rows"] = extend(settings, engine).rows
        engine.dispose()
    return facts


def import_csv(folder: Path) -> Facts:
    """The same as a CSV file -> scrubbed -> our own store."""
    from noisegate.store.database import upgrade
    from noisegate.store.files import import_file

    settings = _settings(folder)
    upgrade(settings)
    with measured() as facts:
        report = import_file(settings, folder / "export.csv", {"alert_id": "id"}, LABELS)
    return facts | {"rows": report.new, "refused": report.refused}


def snapshot(folder: Path) -> Facts:
    """Our own store, scrubbed already -> snapshot."""
    from noisegate.store.database import open_store
    from noisegate.store.snapshot import extend

    settings = _settings(folder)
    engine = open_store(settings)
    with measured() as facts:
        facts["rows"] = extend(settings, engine).rows
    engine.dispose()
    return facts


def training(folder: Path) -> Facts:
    """Snapshot -> candidates and folds on Ray -> judged model in its folder, from nothing kept."""
    from noisegate.learning.train import train
    from noisegate.store.snapshot import latest

    settings = _settings(folder)
    ref = latest(settings)
    assert ref is not None
    at: list[tuple[float, str]] = []
    with measured() as facts:
        done = train(
            settings, ref, None, lambda what: at.append((time.perf_counter(), what.split(":")[0]))
        )
        at.append((time.perf_counter(), "end"))
    stages: dict[str, float] = {}
    for (began, what), (ended, _) in pairwise(at):
        stages[what] = stages.get(what, 0.0) + ended - began
    gates = {gate.name: gate.passed for gate in done.gates}
    return facts | {"stages": stages, "model": str(done.path), "gates": gates}


def decisions(folder: Path, count: int = 2_000) -> Facts:
    """One alert decided alone, from what is known of it, by the model as loaded from its folder.

    A new template is embedded and its neighbours are looked up first.
    """
    import numpy as np

    from noisegate.decision.history import NEIGHBOURS
    from noisegate.learning.examples import LEAST_SIMILARITY, load_examples
    from noisegate.learning.train import champion_holds
    from noisegate.model.champion import Champion
    from noisegate.model.embed import Embedder
    from noisegate.store.snapshot import latest

    settings = _settings(folder)
    ref = latest(settings)
    assert ref is not None
    (path,) = (p for p in (settings.home / "models").iterdir() if (p / "manifest.json").exists())
    with measured() as facts:
        model = Champion.load(path)
        embedder = Embedder.open(settings.embedding_model, settings.home)
        embedder.embed(["ready"])
    examples = load_examples(settings, ref)

    def known(i: int) -> None:
        champion_holds(examples, model, np.array([len(examples) - 1 - i % len(examples)]))

    def new(i: int) -> None:
        vector = embedder.embed([f"pump {i} of the cooling loop runs dry in hall {i % 7}"])
        if model.index is not None:
            model.index.search(vector, NEIGHBOURS - 1, LEAST_SIMILARITY)
        known(i)

    for name, decide, times in (("known", known, count), ("new", new, count // 4)):
        took = _times_ms(decide, times)
        facts |= {
            f"{name}_p50_ms": float(np.quantile(took, 0.5)),
            f"{name}_p99_ms": float(np.quantile(took, 0.99)),
        }
    return facts | {"candidate": model.candidate}


def _times_ms(decide: Callable[[int], None], times: int) -> list[float]:
    took = []
    for i in range(times + 20):
        began = time.perf_counter()
        decide(i)
        took.append(1_000 * (time.perf_counter() - began))
    return took[20:]


def _settings(folder: Path) -> Any:
    from noisegate.settings import load_settings

    return load_settings(home=folder / "home")


STEPS: dict[str, Callable[..., Facts]] = {
    step.__name__: step
    for step in (prepare, read_sql, load, import_csv, snapshot, training, decisions)
}

if __name__ == "__main__":
    step, folder, *more = sys.argv[1:]
    print(json.dumps(STEPS[step](Path(folder), *map(int, more))))
