"""`noisegate try --prometheus URL`: a real server, one command, a report, nothing else changed."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

STEP_S = 60
ALERTS = 900


def history(end_s: int) -> str:
    """OpenMetrics of ALERTS: a third of the alerts lasts half an hour, the others 2 minutes."""
    lines = ["# TYPE ALERTS gauge"]
    for name in range(3):
        labels = f'alertname="Alert{name}",alertstate="firing",job="shop",severity="warning"'
        start = end_s - (ALERTS // 3 + 1) * 3_600
        for number in range(ALERTS // 3):
            begin = start + number * 3_600 + name * 600
            samples = 30 if number % 3 == 0 else 2
            lines += [f"ALERTS{{{labels}}} 1 {begin + i * STEP_S}" for i in range(samples)]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that holds the history; its URL."""
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus here: install the Debian package prometheus")
    end = int(time.time()) // 7_200 * 7_200
    (tmp_path / "history.txt").write_text(history(end))
    making = ["promtool", "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run(
        [*making, tmp_path / "history.txt", tmp_path / "data"], check=True, capture_output=True
    )
    (tmp_path / "prometheus.yml").write_text(f"global: {{evaluation_interval: {STEP_S}s}}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            "--storage.tsdb.retention.time=90d",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{url}/-/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.timeout(400)
def test_one_command_shows_what_would_have_been_kept_off_and_changes_nothing(
    server: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    noisegate = Path(sys.executable).parent / "noisegate"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NOISEGATE_")}
    done = subprocess.run(
        [noisegate, "try", "--prometheus", server, "--days", "14", "--json"],
        cwd=work,
        env=environment | {"NOISEGATE_DELAY_BUDGET_S": "120"},
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["alerts"] == ALERTS
    assert told["figures"]["delay_s"]["value"] <= 120
    assert told["figures"]["lost"]["value"] == 0
    assert [path.name for path in work.iterdir()] == ["noisegate-report.html"]
    assert "alerts" in (work / "noisegate-report.html").read_text(encoding="utf-8")
