"""How long Prometheus takes for the budgets of five SLOs over 30 days; part of slo_rules.py."""

import json
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np

QUERIES = {
    "ours, from the counts": "1 - sum_over_time(slo:bad:count1m[30d])"
    " / sum_over_time(slo:total:count1m[30d]) / 0.001",
    "ours, as recorded every minute": "slo:budget:remaining",
    "mean of ratios": "1 - sum_over_time(requests:ratio5m[30d])"
    " / count_over_time(requests:ratio5m[30d]) / 0.001",
}


def queries(days: int = 30, slos: int = 5, rounds: int = 30) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _write_history(home / "history.txt", days, slos)
        create = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"]
        subprocess.run(create, cwd=home, check=True, capture_output=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (home / "prometheus.yml").write_text("global: {}\n")
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        command += [
            f"--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.retention.time=10y",
        ]
        times: dict[str, list[float]] = {name: [] for name in QUERIES}
        with subprocess.Popen(command, cwd=home, stderr=subprocess.DEVNULL) as server:
            try:
                _wait(f"http://127.0.0.1:{port}/-/ready")
                for _ in range(rounds):  # in turns: a busy machine hurts them alike
                    for name, query in QUERIES.items():
                        url = f"http://127.0.0.1:{port}/api/v1/query"
                        times[name].append(_timed(url, query, slos))
            finally:
                server.terminate()
    print(f"\nQuery of the budgets of {slos} SLOs over {days} days")
    rows = [[n, f"{statistics.median(ms):.1f}", f"{min(ms):.1f}"] for n, ms in times.items()]
    table(["", "median ms", "best ms"], rows)


END_S = 1_700_000_000 // 60 * 60
SERIES = ("slo:total:count1m", "slo:bad:count1m", "slo:budget:remaining", "requests:ratio5m")


def _write_history(path: Path, days: int, slos: int) -> None:
    draw = np.random.default_rng(1)
    minutes = END_S - 60 * np.arange(days * 1_440)[::-1]
    with path.open("w") as file:
        for name in SERIES:
            file.write(f"# TYPE {name} gauge\n")
            for slo in range(slos):
                total = draw.poisson(1_000, len(minutes))
                bad = draw.poisson(0.4, len(minutes))
                values: np.ndarray = bad / total
                if name.endswith("count1m"):
                    values = total if "total" in name else bad
                lines = zip(values.tolist(), minutes.tolist(), strict=True)
                file.writelines(f'{name}{{slo="{slo}"}} {value} {at}\n' for value, at in lines)
        file.write("# EOF\n")


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def _timed(url: str, query: str, results: int) -> float:
    """Milliseconds of a query."""
    full = f"{url}?{urllib.parse.urlencode({'query': query, 'time': END_S})}"
    start = time.perf_counter()
    with urllib.request.urlopen(full, timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    assert len(found) == results
    return 1_000 * (time.perf_counter() - start)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [head, ["---"] * len(head), *rows]
    print("\n".join("| " + " | ".join(line) + " |" for line in lines), flush=True)
