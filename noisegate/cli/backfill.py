"""`noisegate slo backfill`: the past of our metrics and rules, for Prometheus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noisegate.cli.slo import AnyMetric, Specs, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from observability.slo import Slo

JOB, INSTANCE = "noisegate", "exporter:9464"
"""Labels of the live scrape, as in deploy/prometheus.yml."""


def backfill(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write OpenMetrics text here, and keep it.")
    ] = None,
    prometheus_data: Annotated[
        Path | None,
        typer.Option(
            "--prometheus-data",
            help="Data folder of a Prometheus: make blocks there, of metrics and rules.",
        ),
    ] = None,
    days: Annotated[float, typer.Option(help="How far back.")] = 30.0,
    until: Annotated[
        str | None,
        typer.Option(help="Up to this time (ISO 8601 or seconds): the first live scrape. [now]"),
    ] = None,
    step: Annotated[
        int, typer.Option(help="Seconds between two evaluations of a rule: 60, 120 or 240.")
    ] = 240,
    job: Annotated[str, typer.Option(help="Label `job` of the live scrape.")] = JOB,
    instance: Annotated[str, typer.Option(help="Label `instance` of the live scrape.")] = INSTANCE,
    origin: Annotated[
        str, typer.Option(help="Rows that count: live, or simulated (NOISEGATE_EXPORTER_ORIGIN).")
    ] = "",
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo", help="Only rules of this SLO (repeat it), and no metrics: it is new."
        ),
    ] = None,
    specs: Specs = None,
    any_metric: AnyMetric = False,
) -> None:
    """Write the past, so that a new SLO has its history on the first day.

    Metrics come from dated rows; recording rules are evaluated over them by a Prometheus of its
    own, which must be installed (so must promtool). A Prometheus that runs over the data folder
    finds the new blocks within two minutes.

        noisegate slo backfill --prometheus-data /var/lib/prometheus

        noisegate slo backfill --prometheus-data data/ --slo decision-latency

        noisegate slo backfill --out past/ --days 7
    """
    import time

    from noisegate.cli.output import progress
    from noisegate.errors import SettingsError
    from noisegate.settings import load_settings
    from noisegate.store.database import open_store
    from observability.backfill import backfill as fill
    from observability.backfill import write_text
    from observability.past_metrics import Span

    if out is None and prometheus_data is None:
        raise SettingsError("slo backfill: give --out DIR, --prometheus-data DIR, or both")
    slos = _chosen(load(specs, any_metric), slo or [])
    span = Span.of(days, time.time() if until is None else _seconds(until))
    labels = {"job": job, "instance": instance}
    settings = load_settings(**({"exporter_origin": origin} if origin else {}))
    engine = open_store(settings)
    try:
        with progress() as say:
            if prometheus_data is None:
                assert out is not None
                files = write_text(settings, engine, span, labels, out, say)
                typer.echo(f"{len(files)} files in {out}: import each of them with")
                typer.echo(f"  promtool tsdb create-blocks-from openmetrics {files[0]} DATA")
                return
            filled = fill(
                settings,
                engine,
                slos,
                span,
                labels,
                prometheus_data,
                step_s=step,
                only_rules=bool(slo),
                keep=out,
                progress=say,
            )
    finally:
        engine.dispose()
    typer.echo(
        f"{len(filled.blocks)} blocks in {prometheus_data}: "
        f"metrics {filled.metrics_s:.0f} s, rules of {len(slos)} SLOs {filled.rules_s:.0f} s"
    )


def _chosen(slos: "Sequence[Slo]", names: "Sequence[str]") -> "list[Slo]":
    """The SLOs of these names; no name: all.

    Raises:
        MissingError: there is no such SLO.
    """
    from noisegate.errors import MissingError
    from observability.documents import near

    by_name = {slo.name: slo for slo in slos}
    for name in names:
        if name not in by_name:
            raise MissingError(f"--slo {name}: {near(name, by_name)}")
    return [by_name[name] for name in names or by_name]


def _seconds(text: str) -> float:
    import pyarrow as pa

    from noisegate.alert import MICROS
    from noisegate.errors import InputError
    from noisegate.store.times import parse_times

    times, _ = parse_times(pa.array([text]))
    if times[0].as_py() is None:
        raise InputError(f"--until {text!r} is no time: write 2026-01-31T00:00:00Z or seconds")
    return float(times.cast(pa.int64())[0].as_py()) / MICROS
