"""Commands that bring alert histories in: import, try."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisegate.cli.data import AsJson
from noisegate.errors import SettingsError

if TYPE_CHECKING:
    from noisegate.adapters.prometheus import PrometheusSource
    from noisegate.settings import Settings
    from noisegate.store.ingest import ImportReport

Url = Annotated[str, typer.Option("--prometheus", help="Read a Prometheus-compatible server.")]
Days = Annotated[
    float, typer.Option(help="How many days back (with --prometheus).", min=0.01, max=3_650)
]
Match = Annotated[str, typer.Option(help="Only alerts with these labels, such as 'team=\"db\"'.")]
TokenFile = Annotated[Path | None, typer.Option(help="File with a bearer token.")]
CaFile = Annotated[Path | None, typer.Option(help="Trust these authorities (PEM).")]
CertFile = Annotated[Path | None, typer.Option(help="Client certificate (PEM).")]
KeyFile = Annotated[Path | None, typer.Option(help="Its key (PEM).")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Do not check the server's certificate.")
]
Header = Annotated[
    list[str], typer.Option(help="Header NAME=VALUE to send along, such as X-Scope-OrgID=team.")
]
Columns = Annotated[
    list[str], typer.Option("--column", help="OURS=THEIRS, such as starts_at=fired_at.")
]
Labels = Annotated[list[str], typer.Option("--label", help="Column to keep as a label.")]
MapFile = Annotated[
    Path | None, typer.Option("--map", help="TOML file with [columns] and labels = [...].")
]


def import_alerts(
    file: Annotated[
        Path | None, typer.Argument(help="CSV, JSONL or Parquet file, also .gz.")
    ] = None,
    column: Columns = [],  # noqa: B006 (typer copies it)
    label: Labels = [],  # noqa: B006
    map_file: MapFile = None,
    source: Annotated[str, typer.Option(help="Name of the system the file is from.")] = "file",
    rejects: Annotated[
        Path | None, typer.Option(help="Write refused rows' numbers and reasons here.")
    ] = None,
    prometheus: Url = "",
    days: Days = 30.0,
    match: Match = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    insecure: Insecure = False,
    header: Header = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Import an alert history from a file or a Prometheus.

    Our columns: alert_id, service, name, fingerprint, severity, message, starts_at, ends_at,
    acked_at, verdict. A column that has our name already maps itself. Personal data and secrets are
    scrubbed before anything is written. Importing again adds nothing; a later export completes
    alerts that were still open.
    """
    from noisegate.cli.output import check_writable, counted, print_import, progress, shared
    from noisegate.settings import load_settings
    from noisegate.store.files import import_file
    from noisegate.store.mapping import load_map

    if (file is None) == (not prometheus):
        raise SettingsError("import: give a FILE or --prometheus URL, one of the two")
    check_writable("--rejects", rejects, file, map_file)
    settings = load_settings()
    with progress() as say:
        if file is None:
            server = _source(
                prometheus, match, token_file, ca_file, cert_file, key_file, insecure, header
            )
            report, facts = import_server(settings, server, days, shared(say, "reading alerts"))
        else:
            mapped, kept = load_map(map_file) if map_file else ({}, [])
            report = import_file(
                settings,
                file,
                mapped | _pairs(column, "--column"),
                [*kept, *label],
                source=source,
                rejects=rejects,
                progress=counted(say, "importing"),
            )
            facts = {}
    print_import(report, as_json, facts)


def try_it(
    file: Annotated[Path | None, typer.Argument(help="Or a file, as in `import`.")] = None,
    column: Columns = [],  # noqa: B006
    label: Labels = [],  # noqa: B006
    prometheus: Url = "",
    days: Days = 30.0,
    match: Match = "",
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    insecure: Insecure = False,
    header: Header = [],  # noqa: B006
    test_fraction: Annotated[float, typer.Option(help="Share of newest alerts to judge on.")] = 0.3,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path(
        "noisegate-report.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Show what noisegate would have kept off the pager, from the history you already have.

    Reads the alerts, learns from the older part, judges on the newer part, writes a report. It
    changes nothing: no store, no model, nothing sent anywhere.
    """
    import shutil
    import tempfile

    from noisegate.cli.learn import judge_store, print_judged
    from noisegate.cli.output import check_writable, progress, shared
    from noisegate.learning.backtest import check_fraction
    from noisegate.settings import load_settings
    from noisegate.store.database import upgrade as migrate
    from noisegate.store.files import import_file

    if (file is None) == (not prometheus):
        raise SettingsError("try: give a FILE or --prometheus URL, one of the two")
    check_writable("--out", out, file)
    check_fraction(test_fraction)
    configured = load_settings()
    with tempfile.TemporaryDirectory(prefix="noisegate-try-") as home, progress() as say:
        settings = configured.model_copy(
            update={
                "home": Path(home),
                "db_url": "",
                "alert_db_uri": "",
                "mlflow_tracking_uri": "",
                "ray_address": "",
            }
        )
        # The exported embedding model is the same everywhere, and costs twenty seconds.
        for export in (configured.home / "embedding").glob("*/"):
            (settings.home / "embedding").mkdir(exist_ok=True)
            (settings.home / "embedding" / export.name).symlink_to(export.resolve())
        migrate(settings)
        if file is None:
            server = _source(
                prometheus, match, token_file, ca_file, cert_file, key_file, insecure, header
            )
            imported, _ = import_server(settings, server, days, shared(say, "reading alerts"))
        else:
            imported = import_file(settings, file, _pairs(column, "--column"), label)
        judged = judge_store(settings, test_fraction=test_fraction, report=True, progress=say)
        shutil.copyfile(judged.report, out)
    print_judged(judged, as_json, alerts=imported.new, report=out)


def import_server(
    settings: "Settings",
    source: "PrometheusSource",
    days: float,
    share: Callable[[float], None],
) -> tuple["ImportReport", dict[str, Any]]:
    """Import the alerts of a server's last days; a run that was cut off is gone on with."""
    import time
    from dataclasses import asdict
    from functools import partial

    from noisegate.adapters.prometheus import import_history, read_history
    from noisegate.alert import MICROS
    from noisegate.scrub.config import load_scrubber
    from noisegate.store.database import open_store
    from noisegate.store.identity import Identity
    from noisegate.store.ingest import ImportReport, store_raw

    scrubber = load_scrubber(settings.scrub)
    engine = open_store(settings)
    store = partial(
        store_raw,
        engine,
        identity=Identity.from_settings(settings),
        scrubber=scrubber,
        source="prometheus",
    )
    now_us = int(time.time() * MICROS)
    history = read_history(
        source,
        start_us=now_us - round(days * 86_400 * MICROS),
        end_us=now_us,
        replica_labels=settings.replica_labels,
        progress=share,
        resume=settings.home / f"prometheus-{source.digest(settings.replica_labels)[:16]}.json",
    )
    try:
        parts = import_history(history, store)
    finally:
        engine.dispose()
    return sum(parts, ImportReport(0, 0, 0, 0, 0)), asdict(history.facts)


def _source(
    url: str,
    match: str,
    token_file: Path | None,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    insecure: bool,
    headers: list[str],
) -> "PrometheusSource":
    from noisegate.adapters.prometheus import PrometheusSource

    return PrometheusSource(
        url=url,
        match=match,
        token_file=token_file,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        insecure=insecure,
        headers=_pairs(headers, "--header"),
    )


def _pairs(given: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for item in given:
        match = re.fullmatch(r"([^=]+)=(.+)", item, re.DOTALL)
        if match is None:
            raise SettingsError(f"{option} {item!r}: write it as OURS=THEIRS")
        pairs[match[1]] = match[2]
    return pairs
