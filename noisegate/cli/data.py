"""Commands around our own store: simulate, db."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pyarrow as pa

    from noisegate.settings import Settings
    from noisegate.simulate import SimulationPlan
    from noisegate.store.ingest import ImportReport

db = typer.Typer(help="Our own database.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@db.command()
def upgrade(as_json: AsJson = False) -> None:
    """Create or migrate our own tables (NOISEGATE_DB_URL). Safe to repeat."""
    from noisegate.cli.output import print_json
    from noisegate.settings import load_settings
    from noisegate.store.database import upgrade as migrate

    before, after = migrate(load_settings())
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        typer.echo(f"database is at schema {after} already")
    else:
        typer.echo(f"database migrated: {before or 'empty'} -> {after}")


@db.command()
def audit(
    texts: Annotated[
        int | None, typer.Option(help="Distinct texts to scan at most.", min=1)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Scan a sample of the newest snapshot again for personal data and secrets. Changes nothing.

    Names columns, alerts and kinds, never a text. `retrain` and `tune` do this by themselves.
    """
    from dataclasses import asdict

    from noisegate.cli.output import print_json, print_table
    from noisegate.errors import MissingError
    from noisegate.scrub.config import load_scrubber
    from noisegate.settings import load_settings
    from noisegate.store.snapshot import latest
    from noisegate.store.snapshot_audit import audit as scan_again

    settings = load_settings()
    ref = latest(settings)
    if ref is None:
        raise MissingError("there is no snapshot to audit: run `noisegate retrain`")
    done = scan_again(ref, load_scrubber(settings.scrub), texts or settings.audit_texts)
    if as_json:
        print_json(asdict(done) | {"at": None})
    else:
        typer.echo(done.says.partition("; ")[0])
        if done.listed:
            header = ("column", "alert", "entity", "found by")
            print_table(header, [(f.column, f.alert_id, f.entity, f.by) for f in done.listed])
    if not done.passed:
        raise typer.Exit(1)


def simulate(
    alerts: Annotated[int, typer.Option(help="How many alerts.", min=1)] = 100_000,
    days: Annotated[float, typer.Option(help="Over how many days.", min=1)] = 180.0,
    services: Annotated[int, typer.Option(help="In how many services.", min=1)] = 80,
    seed: Annotated[int, typer.Option(help="Same seed, same history.", min=0)] = 7,
    once: Annotated[
        bool, typer.Option("--once", help="Do nothing if the store holds alerts already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fill our store with a simulated alert history that has the statistics of real ones.

    It holds storms, flapping, drift, people's verdicts, and made-up personal data and secrets in
    its texts. Its rows carry the origin `simulated` and never count as live.
    """
    from noisegate.cli.output import counted, print_import, progress
    from noisegate.settings import load_settings
    from noisegate.simulate import SimulationPlan
    from noisegate.store.database import upgrade as migrate
    from noisegate.store.ingest import ImportReport

    settings = load_settings()
    migrate(settings)
    if once and _holds_alerts(settings):
        if as_json:
            print_import(ImportReport(0, 0, 0, 0, 0), as_json, {})
        else:
            typer.echo("the store holds alerts already: nothing simulated")
        return
    plan = SimulationPlan(alerts=alerts, days=days, services=services, seed=seed)
    with progress() as say:
        report = store_simulated(settings, plan, counted(say, "simulating"))
    print_import(report, as_json, {})


def _holds_alerts(settings: "Settings") -> bool:
    from sqlalchemy import select

    from noisegate.store.database import open_store
    from noisegate.store.tables import AlertRow

    engine = open_store(settings)
    with engine.connect() as connection:
        found = connection.execute(select(AlertRow.alert_id).limit(1)).first() is not None
    engine.dispose()
    return found


def store_simulated(
    settings: "Settings", plan: "SimulationPlan", count: Callable[[int], None] | None = None
) -> "ImportReport":
    """Simulate a history into our store, scrubbed as any other; `count` hears of rows done."""
    from collections import Counter
    from dataclasses import replace

    from noisegate.alert import Origin
    from noisegate.scrub.config import load_scrubber
    from noisegate.simulate import simulate as simulated
    from noisegate.store.database import open_store
    from noisegate.store.identity import Identity
    from noisegate.store.ingest import Occurrences, prepare, store_alerts

    scrubber = load_scrubber(settings.scrub)
    identity, occurrences = Identity.from_settings(settings), Occurrences()
    entities: Counter[str] = Counter()

    def batches() -> Iterator["pa.RecordBatch"]:
        for raw in simulated(plan):
            done = prepare(
                raw,
                identity=identity,
                scrubber=scrubber,
                source="simulator",
                origin=Origin.SIMULATED,
                occurrences=occurrences,
            )
            entities.update(done.entities)
            yield done.alerts

    engine = open_store(settings)
    try:
        report = store_alerts(
            engine,
            batches(),
            scrubber_version=scrubber.version,
            progress=count,
            entities=entities,
            origin=Origin.SIMULATED,
        )
    finally:
        engine.dispose()
    return replace(report, entities=dict(entities))
