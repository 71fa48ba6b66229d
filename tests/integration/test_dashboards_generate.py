"""The dashboards through grafanalib's own command, and their queries through a real Prometheus."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import dashboards
from dashboards.build import dashboard_files

SOURCES = sorted(Path(dashboards.__file__).parent.glob("*.dashboard.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_generate_dashboard_writes_what_we_commit(source: Path, tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "generate-dashboard"
    out = tmp_path / "out.json"
    subprocess.run([command, "-o", out, source], check=True, timeout=120)
    text = out.read_text()
    assert text == dashboard_files()[f"dashboards/{json.loads(text)['uid']}.json"]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus: apt-get install prometheus")
    home = tmp_path_factory.mktemp("prometheus")
    (home / "prometheus.yml").write_text("global: {}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = [
        "prometheus",
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(arguments, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                if httpx.get(f"http://{address}/-/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("path", dashboard_files())
def test_a_real_prometheus_understands_every_query(path: str, prometheus: str) -> None:
    board = json.loads(dashboard_files()[path])
    panels = [inner for panel in board["panels"] for inner in panel.get("panels") or [panel]]
    asked = [target["expr"] for panel in panels for target in panel.get("targets") or []]
    asked += [annotation["expr"] for annotation in board["annotations"]["list"]]
    assert asked
    for expr in asked:
        filled = re.sub(r"\$\w+", "5m", re.sub(r'"\$\w+"', '".*"', expr))
        answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": filled}).json()
        assert answer["status"] == "success", f"{answer.get('error')}: {expr}"
