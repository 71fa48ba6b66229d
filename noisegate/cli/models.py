"""Commands of the registry: models list, show, promote, rollback."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from noisegate.cli.data import AsJson

if TYPE_CHECKING:
    from noisegate.learning.registry import Registry, Version
    from noisegate.settings import Settings

app = typer.Typer(help="Model versions: list, show, promote, roll back.", no_args_is_help=True)

Why = Annotated[str, typer.Option("--why", help="The reason, kept in the audit.")]
Who = Annotated[str, typer.Option("--who", help="Who asks, kept in the audit.")]


@contextmanager
def registry(settings: "Settings") -> Iterator["Registry"]:
    """The registry of these settings."""
    from noisegate.learning.registry import Registry
    from noisegate.store.database import open_store

    engine = open_store(settings)
    try:
        yield Registry(settings, engine)
    finally:
        engine.dispose()


def _row(version: "Version") -> dict[str, object]:
    from noisegate.cli.output import as_rows

    manifest = version.manifest
    return {
        "version": version.version,
        "aliases": list(version.aliases),
        "candidate": manifest.candidate,
        "flow": version.flow,
        "created_at": version.created_at,
        "digest": manifest.digest,
        "data_digest": manifest.data_digest,
        "gates_failed": [gate.name for gate in manifest.failed],
        "figures": as_rows(manifest.figures),
    }


@app.command(name="list")
def list_versions(as_json: AsJson = False) -> None:
    """List the versions, newest first."""
    from datetime import UTC, datetime

    from noisegate.alert import MICROS
    from noisegate.cli.output import print_json, print_table
    from noisegate.settings import load_settings

    with registry(load_settings()) as found:
        versions = found.versions()
    if as_json:
        print_json([_row(version) for version in versions])
        return
    rows = [
        [
            str(v.version),
            ", ".join(v.aliases) or "-",
            v.manifest.candidate,
            v.flow,
            datetime.fromtimestamp(v.created_at / MICROS, UTC).strftime("%Y-%m-%d %H:%M"),
            f"{100 * v.manifest.figures['noise_off'].value:.1f} %"
            if "noise_off" in v.manifest.figures
            else "-",
            ", ".join(g.name for g in v.manifest.failed) or "none",
        ]
        for v in versions
    ]
    print_table(
        ["version", "alias", "candidate", "flow", "made (UTC)", "noise off", "failed gates"], rows
    )


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="A number or an alias.")] = "champion",
    as_json: AsJson = False,
) -> None:
    """Show one version's model card."""
    from noisegate.cli.output import print_json
    from noisegate.learning.card import model_card
    from noisegate.settings import load_settings

    with registry(load_settings()) as found:
        one = found.show(version)
    if as_json:
        print_json(_row(one))
    else:
        typer.echo(model_card(one.manifest, one.flow))


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A number or an alias.")],
    why: Why,
    who: Who = "",
    override: Annotated[
        bool, typer.Option("--override", help="Although gates failed; audited.")
    ] = False,
) -> None:
    """Make a version champion. Audited."""
    from noisegate.settings import load_settings

    with registry(load_settings()) as found:
        row = found.promote(
            found.show(version), who=who or getpass.getuser(), why=why, override=override
        )
    typer.echo(f"version {row.version} is champion")


@app.command()
def rollback(why: Why, who: Who = "") -> None:
    """Go back to the champion before this one. Audited."""
    from noisegate.settings import load_settings

    with registry(load_settings()) as found:
        row = found.rollback(who=who or getpass.getuser(), why=why)
    typer.echo(f"version {row.version} is champion again")
