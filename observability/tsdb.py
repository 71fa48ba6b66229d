"""Prometheus' own programs: promtool makes blocks, a server over them answers queries."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from noisegate.errors import InputError, MissingError, UnreachableError

BLOCK_S = 162 * 3_600
"""Span of our blocks, seconds: Prometheus' 2 h times 81; they begin at multiples of it."""

START_S = 60.0
"""How long a server may take to start."""

QUERY_S = 600.0
"""How long one query may take."""

Samples = Sequence[tuple[int, str]]
"""(seconds since 1970, value as Prometheus writes it), ascending."""


def program(name: str) -> str:
    """The path of one of Prometheus' programs.

    Raises:
        MissingError: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingError(
            f"no program {name}: install Prometheus (Debian: apt-get install prometheus), "
            "or do this where it is"
        )
    return found


def create_blocks(text: Path, data: Path) -> None:
    """Turn OpenMetrics text into blocks of at most BLOCK_S.

    Args:
        text: samples with times, within one multiple of BLOCK_S; else promtool reads it often.
        data: Prometheus' data folder.

    Raises:
        MissingError: promtool is not installed.
        InputError: promtool refuses the text.
    """
    done = subprocess.run(
        [
            program("promtool"), "tsdb", "create-blocks-from", "--quiet",
            f"--max-block-duration={BLOCK_S}s", "openmetrics", str(text), str(data),
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise InputError(f"promtool cannot import {text}: {' '.join(reason)}")


@dataclass(frozen=True, slots=True)
class Server:
    """A Prometheus that runs."""

    url: str
    client: httpx.Client

    def range(self, expr: str, times: range) -> list[tuple[dict[str, str], Samples]]:
        """Evaluate at these seconds since 1970: labels and samples of each series.

        Raises:
            InputError: Prometheus refuses the expression.
            UnreachableError: it does not answer.
        """
        asked = {"query": expr, "start": times[0], "end": times[-1], "step": times.step}
        found = self._ask("query_range", asked)
        return [(series["metric"], series["values"]) for series in found]

    def instant(self, expr: str, at_s: float) -> list[tuple[dict[str, str], float]]:
        """Evaluate once: labels and value of each series. Raises: as `range`."""
        return [
            (series["metric"], float(series["value"][1]))
            for series in self._ask("query", {"query": expr, "time": at_s})
        ]

    def series(self, selector: str, start_s: float, end_s: float) -> list[dict[str, str]]:
        """The labels of every series that a selector finds in a stretch. Raises: as `range`."""
        return list(self._answer("series", {"match[]": selector, "start": start_s, "end": end_s}))

    def _ask(self, what: str, asked: Mapping[str, object]) -> list[dict[str, Any]]:
        data = self._answer(what, asked)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        return list(data["result"])

    def _answer(self, what: str, asked: Mapping[str, object]) -> Any:
        try:
            answer = self.client.post(f"{self.url}/api/v1/{what}", data=dict(asked))
            said = orjson.loads(answer.content)
        except (httpx.HTTPError, ValueError) as error:
            raise UnreachableError(
                f"Prometheus at {self.url} does not answer as it should "
                f"({type(error).__name__}): is there memory and disk enough?"
            ) from None
        if said["status"] != "success":
            query = asked.get("query") or asked.get("match[]")
            raise InputError(f"Prometheus refuses `{query}`: {said.get('error')}")
        return said["data"]


@contextmanager
def serving(data: Path, *, config: str = "", options: Sequence[str] = ()) -> Iterator[Server]:
    """Run a Prometheus over a data folder, on a free port of this machine alone.

    It deletes nothing for its age. While it runs it compacts, as every Prometheus does.

    Args:
        data: its data folder.
        config: its configuration; default: it scrapes nothing and has no rules.
        options: of its command line.

    Raises:
        MissingError: Prometheus is not installed.
        UnreachableError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="noisegate-prometheus-") as folder:
        settings = Path(folder) / "prometheus.yml"
        settings.write_text(config or "global: {}\n", encoding="utf-8")
        log = Path(folder) / "log"
        address = f"127.0.0.1:{_free_port()}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={settings}",
                    f"--storage.tsdb.path={data}",
                    "--storage.tsdb.retention.time=100y",
                    f"--web.listen-address={address}",
                    "--query.timeout=10m",
                    "--query.max-samples=500000000",
                    "--log.level=warn",
                    *options,
                ],
                stdout=output,
                stderr=output,
            )
        try:
            with httpx.Client(timeout=QUERY_S) as client:
                server = Server(f"http://{address}", client)
                _wait(process, server, log)
                yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: "subprocess.Popen[bytes]", server: Server, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if server.client.get(f"{server.url}/-/ready").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise UnreachableError(f"Prometheus does not start: {' '.join(said[-1:])}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
