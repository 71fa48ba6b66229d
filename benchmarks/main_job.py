"""The main job step by step: time, and peak memory over the imports, each in its own process.

    python -m benchmarks.main_job [--alerts N] [--rounds N] [--json FILE] [--limits]

The history is simulated, in a temporary folder. Loading takes turns with pandas.read_sql on the
same table, and the best round of each counts, so that a busy machine hurts both alike. Nothing is
kept between steps but what the product keeps. With --limits, exit 1 when a limit of earlier art is
exceeded.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """What earlier art reaches, and what we do; lower is better."""

    what: str
    figure: float
    limit: float

    @property
    def kept(self) -> bool:
        """Whether it holds."""
        return self.figure < self.limit


def run_step(step: str, folder: Path, *arguments: int) -> Facts:
    """Run one step of benchmarks/steps.py in a process of its own."""
    print(f"{step} ...", file=sys.stderr, flush=True)
    # Not the settings of the person who runs it; no process says that we run.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NOISEGATE_", "ALERT"))}
    environment |= {"DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.steps", step, str(folder), *map(str, arguments)],
        cwd=Path(__file__).resolve().parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{step} exited {done.returncode}")
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


def measure(alerts: int, rounds: int) -> Facts:
    """Run all steps; facts by step, each the best of its rounds by time."""
    found: dict[str, list[Facts]] = {}
    with tempfile.TemporaryDirectory(prefix="noisegate-bench-") as temporary:
        folder = Path(temporary)
        found["prepare"] = [run_step("prepare", folder, alerts)]
        for _ in range(rounds):
            for step in ("read_sql", "load"):
                found.setdefault(step, []).append(run_step(step, folder))
        for step in ("import_csv", "snapshot", "training", "decisions"):
            found[step] = [run_step(step, folder)]
    return {step: min(facts, key=lambda f: f["seconds"]) for step, facts in found.items()}


def limits(alerts: int, steps: Facts) -> list[Limit]:
    """The floor: what earlier art promises."""
    load, decisions = steps["load"], steps["decisions"]
    return [
        Limit("load, s per 100,000 alerts", load["seconds"] * 100_000 / alerts, 10),
        Limit("load, peak MB over imports", load["peak_mb"], 500),
        Limit("import, peak MB over imports", steps["import_csv"]["peak_mb"], 500),
        Limit("training, s", steps["training"]["seconds"], 180),
        Limit("decision, known template, P99 ms", decisions["known_p99_ms"], 15),
        Limit("decision, new template, P99 ms", decisions["new_p99_ms"], 15),
    ]


def table(alerts: int, steps: Facts) -> list[str]:
    """The figures as text."""
    named = {
        "read_sql": "pandas.read_sql, nothing else",
        "load": "team's table -> scrub -> snapshot",
        "import_csv": "CSV file -> scrub -> our store",
        "snapshot": "our store -> snapshot",
        "training": "training, judging, gates, report",
    }
    lines = [f"{alerts:,} alerts{'s':>33}{'alerts/s':>12}{'peak MB':>10}{'imports MB':>12}"]
    for step, name in named.items():
        f = steps[step]
        rate = f"{alerts / f['seconds']:,.0f}"
        lines.append(
            f"{name:36}{f['seconds']:>11.2f}{rate:>12}{f['peak_mb']:>10.0f}{f['baseline_mb']:>12.0f}"
        )
    ratio = steps["load"]["seconds"] / steps["read_sql"]["seconds"]
    lines += ["", f"loading takes {ratio:.2f} times what pandas.read_sql takes on the same table"]
    lines.append("training, from one progress message to the next (Ray starts in the replay):")
    lines += [f"  {stage:40}{s:>8.2f} s" for stage, s in steps["training"]["stages"].items()]
    d = steps["decisions"]
    for kind in ("known", "new"):
        lines.append(
            f"one decision, {kind} template: P50 {d[f'{kind}_p50_ms']:.2f} ms, "
            f"P99 {d[f'{kind}_p99_ms']:.2f} ms"
        )
    lines.append(f"model and embedder in memory: {d['peak_mb']:.0f} MB over imports")
    return lines


def main() -> int:
    """Measure, print, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alerts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="of loading and pandas.read_sql")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--limits", action="store_true", help="exit 1 when one is exceeded")
    chosen = parser.parse_args()
    steps = measure(chosen.alerts, chosen.rounds)
    held = limits(chosen.alerts, steps)
    print("\n".join(table(chosen.alerts, steps)), "", sep="\n")
    for limit in held:
        mark = "ok  " if limit.kept else "OVER"
        print(f"{mark} {limit.what:40}{limit.figure:>9.2f}   limit {limit.limit:g}")
    if chosen.json:
        machine = {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "python": platform.python_version(),
            "system": platform.platform(),
        }
        content = {"alerts": chosen.alerts, "machine": machine, "steps": steps}
        content["limits"] = [
            {"what": x.what, "figure": x.figure, "limit": x.limit, "kept": x.kept} for x in held
        ]
        chosen.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(chosen.limits and not all(limit.kept for limit in held))


if __name__ == "__main__":
    sys.exit(main())
