"""Noise off against mean delay of real alerts on two public histories, by delay budget.

    python -m benchmarks.quality [--data DIR] [--set NAME] [--home DIR] [--json FILE]

The last 30 % of each history is lived through as `noisegate backtest` does it (T at most is held,
no margin), once for each budget: by the learned gate, by the history rule alone, and by one fixed
hold for every alert. The histories are not part of this repository.
"""

import argparse
import csv
import gzip
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisegate.learning.backtest import Candidates, first_of_fraction, live_through
from noisegate.learning.breakdown import Judged, Service, services, spread
from noisegate.learning.cluster import cluster
from noisegate.learning.examples import Examples, load_examples
from noisegate.learning.figures import fixed_hold_noise_off, measure
from noisegate.settings import Settings, load_settings
from noisegate.store.database import open_store, upgrade
from noisegate.store.files import import_file
from noisegate.store.snapshot import extend

Row = dict[str, Any]
TEST_FRACTION = 0.3


@dataclass(frozen=True, slots=True)
class Real:
    """A public history: how it is read, its T, the budgets of its curve, in seconds."""

    file: str
    transient_s: float
    columns: dict[str, str]
    budgets_s: tuple[float, ...]
    drop: str | None = None
    """A service left out altogether: one flapping monitor with nearly half of all alerts."""
    without: str | None = None
    """A service whose real alerts are most of the test part: also judged without it."""


SETS = {
    "telecom": Real(
        "telecom/alarms.csv.gz",
        300.0,
        {
            "service": "device_id",
            "name": "alarm_id",
            "starts_at": "start_timestamp",
            "ends_at": "end_timestamp",
        },
        (10, 20, 30, 45, 60, 90, 120, 150, 180, 240),
    ),
    "upptime": Real(
        "upptime/alerts.csv.gz",
        900.0,
        {"service": "tenant", "name": "monitor"},
        (20, 40, 60, 90, 120, 180, 240, 300, 420, 540),
        drop="t084",
        without="t047",
    ),
}


def load(real: Real, data: Path, home: Path) -> tuple[Settings, Examples]:
    """Import a history into a home of its own, and replay it."""
    settings = load_settings(
        home=home, transient_s=real.transient_s, hold_margin_s=0.0, route_delay_s=0.0
    )
    upgrade(settings)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "history.csv"
        with gzip.open(data / real.file, "rt", newline="") as source, kept.open("w") as file:
            reader = csv.DictReader(source)
            writer = csv.DictWriter(file, reader.fieldnames or [])
            writer.writeheader()
            writer.writerows(r for r in reader if r[real.columns["service"]] != real.drop)
        # Ids of their own would be as good; without, alerts of all sets are told apart alike.
        import_file(settings, kept, real.columns)
    engine = open_store(settings)
    try:
        return settings, load_examples(settings, extend(settings, engine))
    finally:
        engine.dispose()


def curve(settings: Settings, examples: Examples, real: Real) -> list[Row]:
    """One row a budget: gate, rule and fixed hold, the gate's spread over services."""
    with cluster(settings):
        candidates = Candidates.of(settings, examples)
    first = first_of_fraction(len(examples), TEST_FRACTION)
    rows = np.arange(first, len(examples))
    rest = np.array([name != real.without for name in examples.services[first:]])
    found = []
    for budget_s in real.budgets_s:
        gate = live_through(settings, examples, candidates, first, budget_s=budget_s)
        rule = live_through(settings, examples, candidates, first, budget_s=budget_s, only="rule")
        row: Row = {"budget_s": budget_s}
        for name, lived, chosen in (
            ("gate", gate, np.ones(len(rows), np.bool_)),
            ("rule", rule, np.ones(len(rows), np.bool_)),
            ("gate_without", gate, rest),
        ):
            if chosen.all() and name == "gate_without":
                continue
            figures = measure(examples.outcome, rows[chosen], lived.hold_s[chosen], settings.seed)
            row[name] = {key: (f.value, f.lo, f.hi) for key, f in figures.items()}
        row["fixed"] = {"noise_off": fixed_hold_noise_off(examples.outcome, rows, budget_s)}
        # What one hold for all would need to be to cost the same delay as the gate did.
        spent_s = row["gate"]["delay_s"][0]
        row["fixed_at_gate_delay"] = fixed_hold_noise_off(examples.outcome, rows, spent_s)
        even = spread(services(examples, Judged.of(examples, gate)))
        row["macro"] = {"noise_off": even.macro_noise_off, "delay_s": even.macro_delay_s}
        row["slowest"], row["noisiest"] = _service(even.slowest), _service(even.noisiest)
        found.append(row)
    return found


def _service(one: Service | None) -> Row | None:
    """The worst service among those with enough alerts to tell."""
    if one is None:
        return None
    return {"name": one.name, "real": one.real, "noise_off": one.noise_off, "delay_s": one.delay_s}


def table(name: str, real: Real, rows: list[Row]) -> list[str]:
    """The curve as text: noise off @ realised mean delay of real alerts, seconds."""

    def at(figures: Row) -> str:
        return f"{figures['noise_off'][0]:.3f} @ {figures['delay_s'][0]:5.1f}"

    head = ["budget s", "gate", "lost", "rule", "fixed hold", "macro mean", "slowest service"]
    if real.without:
        head.append(f"without {real.without}")
    lines = [head]
    for row in rows:
        slow = row["slowest"]
        cells = [
            f"{row['budget_s']:g}",
            at(row["gate"]),
            f"{row['gate']['lost'][0]:.4f}",
            at(row["rule"]),
            f"{row['fixed']['noise_off']:.3f} @ {row['budget_s']:5.1f}",
            f"{row['macro']['noise_off']:.3f} @ {row['macro']['delay_s']:5.1f}",
            f"{slow['noise_off']:.3f} @ {slow['delay_s']:5.1f} {slow['name']}" if slow else "-",
        ]
        lines.append([*cells, at(row["gate_without"])] if real.without else cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return [f"{name}, T = {real.transient_s:g} s: noise off @ mean delay of real alerts", *text, ""]


def main() -> int:
    """Measure and print."""
    default = os.environ.get("NOISEGATE_DATA_DIR")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="default: NOISEGATE_DATA_DIR or ../shared/data")
    parser.add_argument("--set", choices=SETS, action="append", dest="sets")
    parser.add_argument("--home", type=Path, help="keep what is learned here, for the next time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    chosen = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    data = chosen.data or (Path(default) if default else here.parent / "shared" / "data")
    if not data.is_dir():
        print(f"no real alert histories at {data}: set NOISEGATE_DATA_DIR", file=sys.stderr)
        return 1
    found = {}
    with tempfile.TemporaryDirectory(prefix="noisegate-quality-") as temporary:
        for name in chosen.sets or SETS:
            home = (chosen.home or Path(temporary)) / name
            home.mkdir(parents=True, exist_ok=True)
            settings, examples = load(SETS[name], data, home)
            found[name] = curve(settings, examples, SETS[name])
            print("\n".join(table(name, SETS[name], found[name])), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
