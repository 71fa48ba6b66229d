"""Forecasts of past alerts by the model of their time: what prices and candidates are judged on.

The history is cut into folds that grow with it. Each fold's model is fitted on what was known at
the fold's first alert and forecasts the fold, so no forecast has seen its own outcome. Folds are
fitted on Ray and kept on disk by the digest of what they depend on: more data later costs only the
folds that are new.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisegate.decision.history import STEPS, Singles
from noisegate.decision.outcomes import Ints
from noisegate.learning.cluster import Task, run_tasks
from noisegate.learning.examples import Examples
from noisegate.model.durations import MODEL_VERSION, Forecast, blend, fit_and_forecast, rule
from noisegate.settings import Settings

FIRST_FIT = 1_000
"""Alerts before the first model; until then every candidate forecasts as the rule does."""
LEAST_FIT = 500
"""Known outcomes below which no hazard is fitted: the rule forecasts."""
FIT_ALERTS = 25_000
"""Newest alerts a hazard is fitted on."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A model fitted on alerts before `start` forecasts alerts start..stop."""

    start: int
    stop: int


def plan_folds(n: int) -> list[Fold]:
    """Cut n alerts: a fold begins when the history has grown by a quarter (by half above 20,000).

    Every fold but the last is the same for a longer history.
    """
    folds, start = [], FIRST_FIT
    while start < n:
        stop = start + start // (4 if start < 20_000 else 2)
        folds.append(Fold(start, min(stop, n)))
        start = stop
    return folds


def known_before(examples: Examples, start: int) -> Ints:
    """Alerts whose outcome was known when alert `start` fired: the newest FIT_ALERTS of them."""
    now = examples.outcome.starts_us[start] if start < len(examples) else np.iinfo(np.int64).max
    known = np.flatnonzero(
        (examples.outcome.known_us[:start] < now) & ~examples.outcome.censored[:start]
    )
    return known[-FIT_ALERTS:]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A hazard's forecasts: with or without text columns; before alert `first`, the rule's."""

    text: bool = True
    first: int = 0


def hazard_forecasts(
    settings: Settings,
    examples: Examples,
    wanted: Sequence[Wanted] = (Wanted(),),
    *,
    extra: Sequence[Task] = (),
    progress: Callable[[str], None] | None = None,
) -> tuple[list[Forecast], list[Any]]:
    """Forecast every alert by the hazard of its time; alerts before the first fit, by the rule.

    Args:
        settings: Ray, seed, and the home where forecasts are kept.
        examples: n alerts.
        wanted: which forecasts.
        extra: tasks of (seen, bucket, ...) that run beside the folds.
        progress: told how many folds are done.

    Returns:
        The forecasts in the order of `wanted`, and the results of `extra`.
    """
    simple = rule(examples.seen).cdf
    cdfs = [simple.copy() for _ in wanted]
    folder = settings.home / "cache" / "folds"
    todo: list[tuple[int, Fold, Path]] = []
    for index, one in enumerate(wanted):
        for fold in plan_folds(len(examples)):
            known = known_before(examples, fold.start)
            if fold.stop <= one.first or len(known) < LEAST_FIT:
                continue
            path = folder / f"{_key(examples, fold, settings.seed, one.text)}.npy"
            kept = _load(path, fold)
            if kept is None:
                todo.append((index, fold, path))
            else:
                cdfs[index][fold.start : fold.stop] = kept
    # The largest first, so that no worker waits long for the last one.
    todo.sort(key=lambda item: -item[1].start)
    tasks = [
        Task(
            fit_and_forecast,
            (
                known_before(examples, fold.start),
                fold.start,
                fold.stop,
                settings.seed,
                wanted[index].text,
            ),
        )
        for index, fold, _ in todo
    ]
    shared = (examples.seen, examples.bucket)
    done = run_tasks(settings, shared, [*extra, *tasks], progress=progress, what="fitting folds")
    for (index, fold, path), part in zip(todo, done[len(extra) :], strict=True):
        cdfs[index][fold.start : fold.stop] = part
        _keep(path, part)
    return [Forecast(cdf) for cdf in cdfs], done[: len(extra)]


def candidate_forecasts(examples: Examples, hazard: Forecast) -> dict[str, Forecast]:
    """Forecasts of every candidate, by name, in the order of decision.policy.CANDIDATES."""
    simple = rule(examples.seen)
    return {"rule": simple, "hazard": hazard, "blend": blend(simple, hazard)}


def _key(examples: Examples, fold: Fold, seed: int, text: bool) -> str:
    what = f"{MODEL_VERSION}:{STEPS}:{FIT_ALERTS}:{fold.start}:{fold.stop}:{seed}:{text}"
    return hashlib.sha256(f"{examples.digest(fold.stop)}:{what}".encode()).hexdigest()[:32]


def _load(path: Path, fold: Fold) -> Singles | None:
    with suppress(OSError, ValueError):
        kept: Singles = np.load(path)
        if kept.shape == (fold.stop - fold.start, STEPS):
            os.utime(path)
            return kept
    return None


def _keep(path: Path, part: Singles) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        np.save(file, part)
    Path(file.name).replace(path)


KEPT_BYTES = 1 << 30
"""Forecasts kept on disk."""


def forget_old(settings: Settings) -> None:
    """Delete the forecasts used longest ago, until those kept take at most KEPT_BYTES."""
    folder = settings.home / "cache" / "folds"
    files = sorted(folder.glob("*.npy"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > KEPT_BYTES:
            path.unlink(missing_ok=True)
