"""Scrape time and memory of the exporter: `python -m benchmarks.exporter [DECISIONS ...]`.

A SQLite store of so many decisions, each with its alert and its outcome, is made in SQL. Measured,
each in a process of its own: the first scrape, which counts everything; the next one with nothing
new; and one after 1,000 more decisions. Memory is the peak over that of the imports.
"""

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.steps import measured

SIZES = (100_000, 1_000_000, 10_000_000)
NEW = 1_000

_NUMBERS = "WITH RECURSIVE k(n) AS (SELECT :low UNION ALL SELECT n + 1 FROM k WHERE n < :high)"
_TABLES = {
    "alert": "printf('%032x', n), printf('%032x', n % 4000), 'bench', 'live', "
    "'service-' || n % 60, 'name-' || n % 700, 'warning', 'Disk of <IPV4> is 93 % full', "
    """'{"team":"db"}', :base + n * 250000, :base + n * 250000 + 90000000, NULL, 1, n, n""",
    "decision": "printf('%032x', n), printf('%032x', n), 'live', 'service-' || n % 60, "
    ":base + n * 250000, CASE WHEN n % 3 THEN 'hold' ELSE 'page' END, "
    "CASE WHEN n % 3 THEN 'usually_clears' ELSE 'not_worth_the_delay' END, "
    "CASE WHEN n % 3 THEN 60.0 ELSE 0.0 END, CASE WHEN n % 5000 THEN 'ok' ELSE 'failed' END, "
    "(n * 7919) % 20000, 1, n % 50 = 0, CASE WHEN n % 10 THEN NULL ELSE printf('%032x', n) END, n",
    "outcome": "n, printf('%032x', n), printf('%032x', n), 'live', 'service-' || n % 60, "
    "CASE WHEN n % 10 THEN 'noise' ELSE 'real' END, NULL, n % 3 = 0, "
    "CASE WHEN n % 3 THEN 60.0 ELSE 0.0 END, n % 50 = 0, :base + n * 250000 + 300000000",
}
_BASE = 1_700_000_000_000_000


def main(sizes: tuple[int, ...]) -> None:
    print(
        f"{'decisions':>12} {'store':>9} {'first scrape':>13} {'of it CPU':>10} {'memory':>8} "
        f"{'nothing new':>12} {'memory':>8} {'1,000 new':>10} {'memory':>8}"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="noisegate-bench-") as folder:
            home = Path(folder)
            fill(home, 1, size)
            store_mb = (home / "noisegate.db").stat().st_size / 2**20
            first, idle = in_process(home), in_process(home)
            fill(home, size + 1, size + NEW)
            new = in_process(home)
            assert (first["rows"], idle["rows"], new["rows"]) == (3 * size, 0, 3 * NEW)
        print(
            f"{size:>12,} {store_mb:>6.0f} MB {first['seconds']:>11.2f} s "
            f"{first['cpu']:>8.2f} s {first['peak_mb']:>5.0f} MB {1000 * idle['seconds']:>9.0f} ms "
            f"{idle['peak_mb']:>5.0f} MB {1000 * new['seconds']:>7.0f} ms "
            f"{new['peak_mb']:>5.0f} MB",
            flush=True,
        )


def fill(home: Path, low: int, high: int) -> None:
    from noisegate.settings import load_settings
    from noisegate.store.database import upgrade

    upgrade(load_settings(home=home))
    database = sqlite3.connect(home / "noisegate.db")
    for first in range(low, high + 1, 1_000_000):
        limits = {"low": first, "high": min(high, first + 999_999), "base": _BASE}
        for table, row in _TABLES.items():
            with database:
                database.execute(f"INSERT INTO {table} {_NUMBERS} SELECT {row} FROM k", limits)
    database.close()


def in_process(home: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.exporter", "--scrape", str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    facts: dict[str, float] = json.loads(done.stdout)
    return facts


def scrape(home: Path) -> None:
    from noisegate import metrics
    from noisegate.settings import load_settings
    from noisegate.store.database import open_store
    from observability.exporter import Exporter

    settings = load_settings(home=home)
    exporter = Exporter(settings, open_store(settings))
    began = time.process_time()
    with measured() as facts:
        families = exporter.collect()
    facts["cpu"] = time.process_time() - began
    rows = next(family for family in families if family.name == metrics.COLLECT_ROWS.name)
    print(json.dumps(facts | {"rows": rows.samples[0].value}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--scrape"]:
        scrape(Path(sys.argv[2]))
    else:
        main(tuple(int(a.replace("_", "")) for a in sys.argv[1:]) or SIZES)
