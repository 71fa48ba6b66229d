"""The past into a Prometheus: metrics from dated rows, then the recording rules over them."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from noisegate.errors import SettingsError
from noisegate.settings import Settings
from observability.burn import compile_slo
from observability.past_counts import PastCounts
from observability.past_metrics import REPEAT_S, Span, write_past
from observability.past_rules import record_past
from observability.slo import Slo
from observability.tsdb import create_blocks, program


@dataclass(frozen=True, slots=True)
class Filled:
    """What was made."""

    blocks: tuple[Path, ...]
    text_bytes: int
    metrics_s: float
    """Time that the metrics took, seconds."""
    rules_s: float


def write_text(
    settings: Settings,
    engine: Engine,
    span: Span,
    labels: Mapping[str, str],
    out: Path,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write the past of the metrics as OpenMetrics text, a file for each block of Prometheus.

    Args:
        settings: exporter_origin: whose rows count.
        engine: our store.
        span: which past.
        labels: of the live scrape: job and instance.
        out: the folder.
        progress: told what is being done.

    Raises:
        SettingsError: the folder cannot be made.
        UnreachableError: the database does not answer.
    """
    say = progress or (lambda _: None)
    _folder("--out", out)
    said = _shares(say, "writing metrics")
    return list(write_past(settings, engine, out, span, labels, said))


def backfill(
    settings: Settings,
    engine: Engine,
    slos: Sequence[Slo],
    span: Span,
    labels: Mapping[str, str],
    data: Path,
    *,
    step_s: int = REPEAT_S,
    only_rules: bool = False,
    keep: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Filled:
    """Make blocks of the past in a Prometheus' data folder. It may be running.

    Everything is made in a folder of its own beside the blocks, and moved at the end: what fails
    leaves nothing behind.

    Args:
        settings: exporter_origin: whose rows count.
        engine: our store.
        slos: whose rules.
        span: which past.
        labels: of the live scrape: job and instance.
        data: Prometheus' data folder; it is made if it is not there.
        step_s: how often rules are evaluated, seconds.
        only_rules: leave the metrics out: the Prometheus has them.
        keep: leave the text in this folder.
        progress: told what is being done.

    Raises:
        SettingsError: the folder cannot be made, or the step is none.
        MissingError: Prometheus or promtool is not installed.
        UnreachableError: the database, or the Prometheus that evaluates, does not answer.
    """
    if step_s not in (60, 120, 240):
        raise SettingsError(f"--step {step_s}: give 60, 120 or 240 (a sample is seen for 300 s)")
    for name in ("promtool", "prometheus"):
        program(name)
    say = progress or (lambda _: None)
    _folder("--prometheus-data", data)
    if keep is not None:
        _folder("--out", keep)
    with _scratch(data) as scratch:
        text, made, rules = keep or scratch, scratch / "data", scratch / "rules"
        began, size = time.monotonic(), 0
        said = _shares(say, "metrics")
        for path in write_past(settings, engine, text, span, labels, said):
            create_blocks(path, made)
            size += path.stat().st_size
            if keep is None:
                path.unlink()
        between = time.monotonic()
        say("counting")
        counts = PastCounts.of(slos, span.changes(settings, engine), span)
        record_past(
            [record for slo in slos for record in compile_slo(slo).records],
            made,
            text,
            span,
            step_s=step_s,
            keep=keep is not None,
            beside=rules if only_rules else None,
            known=counts.of_record,
            progress=lambda done, of: say(f"rules: {done} of {of}"),
        )
        blocks = _move(rules if only_rules else made, data)
        return Filled(blocks, size, between - began, time.monotonic() - between)


def _folder(option: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{option} {folder} cannot be made ({error.strerror}): choose another folder"
        ) from None


@contextmanager
def _scratch(data: Path) -> Iterator[Path]:
    # Beside the blocks, so that moving them is a rename; Prometheus passes over such a name.
    try:
        folder = Path(tempfile.mkdtemp(prefix="noisegate-backfill-", dir=data))
    except OSError as error:
        raise SettingsError(
            f"--prometheus-data {data} cannot be written to ({error.strerror}): run it as the user "
            "that owns it"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(made: Path, data: Path) -> tuple[Path, ...]:
    """Move blocks (folders with a meta.json), owned as the data folder is."""
    owner = data.stat()
    moved = []
    for meta in sorted(made.glob("*/meta.json")):
        block = meta.parent
        if os.geteuid() == 0:
            for path in (block, *block.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)
        moved.append(block.rename(data / block.name))
    return tuple(moved)


def _shares(say: Callable[[str], None], what: str) -> Callable[[float], None]:
    return lambda share: say(f"{what}: {100 * share:.0f} %")
