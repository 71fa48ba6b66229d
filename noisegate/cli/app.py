"""The commands. Heavy imports stand inside them, so that `--help` is quick."""

from typing import Annotated

import typer

from noisegate.cli import backfill, data, demo, history, learn, models, scrub, slo, watch

app = typer.Typer(
    name="noisegate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Keeps alerts that clear by themselves off the pager - delayed, never dropped - and shows "
    "that it loses none that matter.\n\nStart: `noisegate db upgrade`, `noisegate import FILE`, "
    "`noisegate retrain`. Or, changing nothing: `noisegate try --prometheus URL`. "
    "Add `--debug` to any command for a traceback.",
)

app.command(name="try")(history.try_it)
app.command()(data.simulate)
app.command()(demo.demo)
app.command(name="import")(history.import_alerts)
app.command()(scrub.scrub)
app.command()(learn.retrain)
app.command()(learn.tune)
app.command()(learn.backtest)
app.command()(learn.report)
app.command()(watch.exporter)
app.add_typer(models.app, name="models")
slo.app.command()(backfill.backfill)
app.add_typer(slo.app, name="slo")
app.add_typer(data.db, name="db")


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended.")] = False,
    grafana: Annotated[
        str,
        typer.Option(
            help="Ask the Grafana at this URL instead (GRAFANA_TOKEN) whether dashboards, alert "
            "rules and contact points arrived and every panel's query answers."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is configured, reachable and migrated, and how to mend what is not."""
    from noisegate.cli.checks import run_checks
    from noisegate.cli.output import print_checks
    from noisegate.settings import load_settings

    settings = load_settings()
    if grafana:
        from noisegate.cli.grafana_check import ask_grafana

        checks = ask_grafana(grafana, settings)
    else:
        checks = run_checks(settings, fix=fix)
    print_checks(checks, as_json)
    if any(check.status == "wrong" for check in checks):
        raise typer.Exit(1)
