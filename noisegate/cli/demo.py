"""`noisegate demo`: a database whose last 30 days look as if the gate had run, up to now."""

from typing import Annotated

import typer

from noisegate.cli.data import AsJson

_NEXT = """next:
  noisegate exporter --origin simulated     its metrics, as Prometheus reads them
  noisegate slo backfill --out DIR          the past of these metrics, for a Prometheus of your own
  docs/demo.md                              both together, with rules and dashboards"""


def demo(
    alerts: Annotated[
        int, typer.Option(help="About how many alerts of history.", min=2_000)
    ] = 100_000,
    days: Annotated[
        int, typer.Option(help="Decisions, runs and outcomes of so many days.", min=1, max=90)
    ] = 30,
    seed: Annotated[int, typer.Option(help="Same seed, same story.", min=0)] = 7,
    as_json: AsJson = False,
) -> None:
    """Leave a database that looks as if the gate had run for 30 days, up to now.

    Simulates an alert history, learns from it, and replays its last days through the champion:
    decisions, outcomes, verdicts, runs, and one bad day. All of it has the origin `simulated`, so
    none of it counts as live. Once more brings it up to now. It learns a champion of its own, so it
    needs a store of its own: with other alerts in it, or another champion, it is refused.
    """
    from dataclasses import asdict

    from flows.local import run_retrain
    from noisegate.alert import Origin
    from noisegate.cli.output import print_json, progress
    from noisegate.learning.demo import tell
    from noisegate.settings import load_settings

    settings = load_settings()
    with progress() as say:
        added = tell(settings, alerts=alerts, days=days, seed=seed, progress=say)
        result = run_retrain(settings, Origin.SIMULATED, say)
    if as_json:
        print_json({"added": asdict(added), "retrain": result.outcome})
        return
    counts = ", ".join(f"{count:,} {name}" for name, count in asdict(added).items())
    typer.echo(f"added: {counts}")
    typer.echo(f"retrain: {result.outcome}")
    typer.echo(_NEXT)
