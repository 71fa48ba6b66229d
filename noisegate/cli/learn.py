"""Commands that learn and judge: retrain, tune, backtest, report."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from noisegate.cli.data import AsJson

if TYPE_CHECKING:
    from flows.champion import FlowResult
    from noisegate.learning.backtest import Lived
    from noisegate.learning.card import Figure
    from noisegate.learning.examples import Examples
    from noisegate.settings import Settings
    from noisegate.store.snapshot import SnapshotRef


RunOrigin = Annotated[
    Literal["live", "import", "simulated"], typer.Option(help="What the run counts as.")
]


def retrain(
    origin: RunOrigin = "live",
    as_json: AsJson = False,
) -> None:
    """Learn from the history, judge on later data, promote behind gates: one run of the flow.

    Ends `promoted`, `refused` (each failed gate is named; the champion stays), or `unchanged`.
    """
    from flows.local import run_retrain
    from noisegate.alert import Origin
    from noisegate.cli.output import progress
    from noisegate.settings import load_settings

    with progress() as say:
        result = run_retrain(load_settings(), Origin(origin), say)
    _print_run(result, as_json)


def tune(
    origin: RunOrigin = "live",
    as_json: AsJson = False,
) -> None:
    """Choose operating points anew on the newest outcomes; no model is fitted."""
    from flows.local import run_tune
    from noisegate.alert import Origin
    from noisegate.cli.output import progress
    from noisegate.settings import load_settings

    with progress() as say:
        result = run_tune(load_settings(), Origin(origin), say)
    _print_run(result, as_json)


def _print_run(result: "FlowResult", as_json: bool) -> None:
    from noisegate.cli.output import as_rows, figures_line, print_json

    report = None if result.folder is None else result.folder / "report.html"
    if as_json:
        print_json(
            {
                "flow": result.flow,
                "run_id": result.run_id,
                "outcome": result.outcome,
                "reasons": result.reasons,
                "version": result.version,
                "report": report,
                "figures": as_rows(result.figures or {}),
                "gates": [asdict(gate) for gate in result.gates],
            }
        )
        return
    named = "" if result.version is None else f" (version {result.version})"
    typer.echo(f"{result.flow}: {result.outcome}{named}")
    for reason in result.reasons:
        typer.echo(f"  {reason}")
    if result.figures:
        typer.echo(f"on later data: {figures_line(result.figures)}")
    for gate in result.gates:
        typer.echo(f"  {'pass' if gate.passed else 'FAIL'} {gate.name}: {gate.reason}")
    if report is not None:
        typer.echo(f"report: {report}")


@dataclass(frozen=True)
class Judged:
    """A history judged on its later part."""

    examples: "Examples"
    lived: "Lived"
    figures: dict[str, "Figure"]
    report: Path


def judge_store(
    settings: "Settings",
    *,
    test_fraction: float,
    test_from_us: int | None = None,
    report: bool = False,
    progress: Callable[[str], None],
) -> Judged:
    """Snapshot our store (or ALERT_DB_URI) and replay its later part as production would have."""
    import numpy as np

    from noisegate.errors import InputError
    from noisegate.learning.backtest import Candidates, first_of_fraction, live_through
    from noisegate.learning.cluster import cluster
    from noisegate.learning.examples import load_examples
    from noisegate.learning.figures import measure
    from noisegate.store.database import open_store
    from noisegate.store.snapshot import extend

    engine = open_store(settings)
    try:
        ref = extend(settings, engine)
    finally:
        engine.dispose()
    examples = load_examples(settings, ref, progress=progress)
    if test_from_us is None:
        first = first_of_fraction(len(examples), test_fraction)
    else:
        first = int(np.searchsorted(examples.outcome.starts_us, test_from_us))
        if not 0 < first < len(examples):
            raise InputError(
                "--test-from leaves no alerts on one side: give a time inside the history"
            )
    with cluster(settings):
        candidates = Candidates.of(settings, examples, progress)
        path = _report(settings, ref, test_fraction, progress) if report else Path()
    lived = live_through(settings, examples, candidates, first)
    rows = np.arange(first, len(examples))
    return Judged(
        examples, lived, measure(examples.outcome, rows, lived.hold_s, settings.seed), path
    )


def _report(
    settings: "Settings", ref: "SnapshotRef", fraction: float, progress: Callable[[str], None]
) -> Path:
    from noisegate.learning.train import train

    return train(settings, ref, None, progress, fraction).report


def backtest(
    test_fraction: Annotated[
        float, typer.Option(help="Share of the newest alerts that is judged.")
    ] = 0.3,
    test_from: Annotated[
        str | None, typer.Option(help="Judge from this time on instead (ISO 8601 or seconds).")
    ] = None,
    transient: Annotated[
        float | None, typer.Option(help="T, seconds. Default: the settings, by service.")
    ] = None,
    delay_budget: Annotated[
        float | None, typer.Option(help="Mean delay of real alerts, seconds. Default: settings.")
    ] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="Write alert_id, action, hold_seconds, reason (CSV).")
    ] = None,
    alerts: Annotated[
        Path | None, typer.Option(help="Write alert_id, starts_at, ends_at (CSV).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay the last part of the history as production would have lived it.

    State is up to date at every decision, models and operating points are those of their time, and
    nothing is known early. Hold margin and route delay count as 0 and the longest hold is T, unless
    they are set. Changes nothing but the snapshot and the cache of forecasts.
    """
    from noisegate.cli.output import check_writable, progress
    from noisegate.learning.backtest import (
        alerts_table,
        check_fraction,
        decisions_table,
        write_csv,
    )
    from noisegate.settings import load_settings

    check_writable("--decisions", decisions)
    check_writable("--alerts", alerts, decisions)
    check_fraction(test_fraction)
    from_us = None if test_from is None else _micros(test_from)
    options: dict[str, object] = {}
    if transient is not None:
        options["transient_s"] = transient
    if delay_budget is not None:
        options["delay_budget_s"] = delay_budget
    chosen = load_settings(**options)
    unset = {"hold_margin_s", "route_delay_s"} - chosen.model_fields_set
    settings = load_settings(**options, **dict.fromkeys(unset, 0.0))
    with progress() as say:
        judged = judge_store(
            settings,
            test_fraction=test_fraction,
            test_from_us=from_us,
            progress=say,
        )
    if decisions is not None:
        write_csv(decisions_table(judged.examples, judged.lived), decisions)
    if alerts is not None:
        write_csv(alerts_table(judged.examples, judged.lived.first), alerts)
    print_judged(judged, as_json)


def print_judged(judged: Judged, as_json: bool, **more: Any) -> None:
    """Print what a history would have gained."""
    from noisegate.cli.output import as_rows, figures_line, print_json

    count = len(judged.examples) - judged.lived.first
    if as_json:
        print_json({"judged_alerts": count, "figures": as_rows(judged.figures), **more})
        return
    typer.echo(f"{count:,} of {len(judged.examples):,} alerts judged, the newest")
    typer.echo(figures_line(judged.figures))
    for line in _why_nothing(judged):
        typer.echo(line)
    for name in ("noise_off", "delay_s"):
        figure = judged.figures[name]
        typer.echo(f"  {name} 95 % interval {figure.lo:.3f} to {figure.hi:.3f}")
    for name, value in more.items():
        typer.echo(f"{name}: {value}")


def _why_nothing(judged: Judged) -> Iterator[str]:
    """What keeps a history from being learned from, in words."""
    from noisegate.learning.promise import LEAST_REAL

    outcome = judged.examples.outcome
    real, noise = int(outcome.real.sum()), int(outcome.noise.sum())
    endless = sum(end is None for end in judged.examples.alerts["ends_at"].to_pylist())
    if endless > 0.5 * len(outcome):
        yield f"{endless:,} of {len(outcome):,} alerts have no end: map the column ends_at"
    if min(real, noise) < LEAST_REAL:
        yield (
            f"{real:,} real and {noise:,} noise alerts are known, {LEAST_REAL} of each are needed: "
            "everything pages"
        )
    elif (judged.lived.price < 0).all():
        yield "no price of delay keeps the promise on the past: everything pages"


def _micros(text: str) -> int:
    import pyarrow as pa

    from noisegate.errors import InputError
    from noisegate.store.times import parse_times

    times, _ = parse_times(pa.array([text]))
    if times[0].as_py() is None:
        raise InputError(f"--test-from {text!r} is no time: write 2026-01-31T00:00:00Z or seconds")
    return int(times.cast(pa.int64())[0].as_py())


def report(
    version: Annotated[
        str, typer.Argument(help="Model version or alias: champion, challenger, 3.")
    ] = "champion",
    out: Annotated[Path | None, typer.Option(help="Copy the report here.")] = None,
) -> None:
    """Say where a model's report lies, or copy it."""
    import shutil

    from noisegate.cli.models import registry
    from noisegate.cli.output import check_writable
    from noisegate.settings import load_settings

    check_writable("--out", out)
    with registry(load_settings()) as found:
        path = found.folder(found.show(version)) / "report.html"
    if out is not None:
        shutil.copyfile(path, out)
    typer.echo(str(out or path))
