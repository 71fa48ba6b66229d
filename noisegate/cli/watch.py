"""Commands that watch noisegate itself: exporter."""

from typing import Annotated

import typer

from noisegate.errors import SettingsError

ORIGINS = ("live", "simulated")


def exporter(
    port: Annotated[int, typer.Option(help="Port; 0: any free one.", min=0, max=65_535)] = 9464,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    origin: Annotated[
        str, typer.Option(help="Rows that count: live, or simulated (NOISEGATE_EXPORTER_ORIGIN).")
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Print one scrape, and end.")] = False,
) -> None:
    """Serve our metrics to Prometheus: /metrics, /healthz.

    Counters are made from the database's rows, so that a restart, a second exporter or deleted old
    rows change nothing. A scrape fails while the database does not answer.
    """
    import signal

    from noisegate.settings import load_settings
    from observability.exporter import metrics_page, serve

    if origin and origin not in ORIGINS:
        raise SettingsError(f"--origin {origin}: give one of {', '.join(ORIGINS)}")
    settings = load_settings(**({"exporter_origin": origin} if origin else {}))
    if once:
        typer.echo(metrics_page(settings), nl=False)
        return

    def leave(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
    try:
        serve(settings, host, port, ready=lambda url: typer.echo(f"serving {url}"))
    except KeyboardInterrupt:
        typer.echo("exporter ended")
