"""What writing the past costs: metrics and rules of all our SLOs over 30 days of a demo.

NOISEGATE_HOME=.noisegate-demo noisegate demo
python -m benchmarks.backfill .noisegate-demo [--days 30]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from noisegate.settings import load_settings
from noisegate.store.database import open_store
from observability.backfill import backfill
from observability.burn import compile_slo
from observability.past_metrics import Span
from observability.specs import load_slos
from observability.tsdb import serving


def cpu_s() -> tuple[float, float]:
    """CPU time of this process, and of the programs it started."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, theirs = (usage.ru_utime + usage.ru_stime for usage in both)
    return own, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--step", type=int, default=240)
    chosen = parser.parse_args()
    settings = load_settings(home=chosen.home, exporter_origin="simulated")
    engine, slos = open_store(settings), load_slos()
    span = Span.of(chosen.days, time.time())
    labels = {"job": "noisegate", "instance": "exporter:9464"}
    with tempfile.TemporaryDirectory() as folder:
        data, began = Path(folder), time.monotonic()
        filled = backfill(settings, engine, slos, span, labels, data, step_s=chosen.step)
        took = time.monotonic() - began
        own, theirs = cpu_s()
        size = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
        with serving(data) as server:
            ((_, series),) = server.instant('count({__name__=~".+"})', span.until_s)
    engine.dispose()
    rules = sum(len(compile_slo(slo).records) for slo in slos)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [
        ("days", f"{chosen.days:g}"),
        ("SLOs, rules", f"{len(slos)}, {rules}"),
        ("series in Prometheus", f"{series:,.0f}"),
        ("OpenMetrics text of the metrics", f"{filled.text_bytes / 2**20:,.0f} MiB"),
        ("metrics", f"{filled.metrics_s:.1f} s"),
        ("rules", f"{filled.rules_s:.1f} s"),
        ("together", f"{took:.1f} s"),
        ("CPU: noisegate, Prometheus and promtool", f"{own:.1f} s, {theirs:.1f} s"),
        ("peak memory of noisegate", f"{peak:.0f} MiB"),
        ("blocks", f"{len(filled.blocks)}, {size / 2**20:.1f} MiB"),
    ]
    for name, value in rows:
        print(f"{name:42} {value}")


if __name__ == "__main__":
    main()
