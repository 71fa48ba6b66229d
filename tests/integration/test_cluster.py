"""Ray for real: local, a cluster by its address, a killed worker, a task that takes too long."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from noisegate.errors import UnreachableError
from noisegate.learning import cluster
from noisegate.learning.cluster import Task, run_tasks
from noisegate.settings import Settings

def add(shared, x):
    return shared + x

def die_once(shared, flag):
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return shared

def sleep(shared, flag):
    Path(flag).touch()
    time.sleep(600)

settings = Settings(home=sys.argv[1], ray_address=sys.argv[2])
told = []
got = run_tasks(settings, (10,), [Task(add, (i,)) for i in range(5)], progress=told.append)
assert got == [10, 11, 12, 13, 14], got
assert told[-1] == "working: 5 of 5", told
assert run_tasks(settings, (), []) == []
if not sys.argv[2]:
    flag = sys.argv[1] + "/died"
    assert run_tasks(settings, (7,), [Task(die_once, (flag,))]) == [7]
    assert Path(flag).exists()
    cluster.TASK_TIMEOUT_S = 3.0
    try:
        run_tasks(settings, (7,), [Task(sleep, (sys.argv[1] + "/slept",))], what="sleeping")
    except UnreachableError as error:
        assert "sleeping: 1 of 1 tasks" in str(error), error
    else:
        raise AssertionError("it waited")
print("fine")
"""


def run(tmp_path: Path, address: str = "") -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, script, tmp_path, address], capture_output=True, text=True, timeout=280
    )


@pytest.mark.timeout(300)
def test_tasks_come_back_in_order_a_killed_one_is_retried_a_late_one_cancelled(
    tmp_path: Path,
) -> None:
    done = run(tmp_path)
    assert done.stdout.endswith("fine\n"), done.stderr[-2000:]


@pytest.mark.timeout(300)
def test_a_cluster_is_used_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Path(sys.executable).parent / "ray"
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path has 107 characters
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    head = subprocess.Popen(
        [ray, "start", "--head", "--block", f"--port={port}", "--num-cpus=1",
         "--include-dashboard=false", f"--temp-dir={short}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        for _ in range(600):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.1)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        done = run(tmp_path, f"127.0.0.1:{port}")
        assert done.stdout.endswith("fine\n"), done.stderr[-2000:]
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(timeout=60)
        shutil.rmtree(short, ignore_errors=True)


@pytest.mark.timeout(120)
def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "127.0.0.1:1")
    assert "UnreachableError" in done.stderr
    assert "RAY_ADDRESS" in done.stderr
