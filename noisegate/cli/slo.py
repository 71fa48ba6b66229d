"""Commands of the SLOs: slo check, list, explain, build."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisegate.cli.data import AsJson

if TYPE_CHECKING:
    from noisegate.settings import Settings
    from observability.explain import Meaning
    from observability.slo import Slo

app = typer.Typer(
    help="SLOs as code: check specs, explain them, build rules and alerts from them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

GENERATED = Path("deploy/generated")
"""Where built files go, below the working directory."""

Specs = Annotated[
    Path | None,
    typer.Option("--specs", help="Folder of OpenSLO files; default: noisegate's own SLOs."),
]
AnyMetric = Annotated[
    bool,
    typer.Option(
        "--no-metrics", help="Do not check metric and label names: specs of another exporter."
    ),
]


def load(specs: Path | None, any_metric: bool = False) -> "tuple[Slo, ...]":
    """The SLOs of a folder, or our own.

    Raises:
        MissingError: there is no spec.
        InputError: a spec cannot be used.
    """
    from observability.specs import OURS, SLOS, load_slos

    return load_slos(specs or SLOS, None if any_metric else OURS)


@app.command()
def check(
    specs: Annotated[
        Path | None,
        typer.Argument(help="A folder of OpenSLO files, or one; default: noisegate's own."),
    ] = None,
    any_metric: AnyMetric = False,
    as_json: AsJson = False,
) -> None:
    """Check specs: one line for each problem, with file, line and the way out.

    Remarks are worth knowing and no problem. The exit code is 3 if there is a problem.

        noisegate slo check

        noisegate slo check my-slos/ --no-metrics
    """
    from dataclasses import asdict

    from noisegate.cli.output import print_json
    from noisegate.errors import InputError
    from observability.specs import OURS, SLOS, read_specs

    reading = read_specs(specs or SLOS, None if any_metric else OURS)
    problems = len(reading.problems)
    if as_json:
        print_json([asdict(finding) for finding in reading.findings])
    else:
        for finding in reading.findings:
            typer.echo(str(finding))
        remarks = len(reading.findings) - problems
        typer.echo(f"{len(reading.slos)} SLOs are good, {problems} problems, {remarks} remarks")
    if problems:
        raise typer.Exit(InputError.exit_code)


@app.command(name="list")
def list_slos(specs: Specs = None, any_metric: AnyMetric = False, as_json: AsJson = False) -> None:
    """List the SLOs: objective, kind, and what can be told of them.

    noisegate slo list --json
    """
    from noisegate.cli.output import print_json, print_table

    slos = load(specs, any_metric)
    if as_json:
        print_json([as_json_data(slo) for slo in slos])
        return
    rows = [
        [
            slo.name,
            f"{100 * slo.objective:g} %",
            kind_name(slo),
            f"{slo.window_s / 86_400:g}d",
            ", ".join(tier.name for tier in slo.tiers) or slo.severity,
            slo.display_name,
        ]
        for slo in slos
    ]
    print_table(["name", "objective", "kind", "window", "alerts", "what it says"], rows)


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="Name of the SLO.")],
    specs: Specs = None,
    any_metric: AnyMetric = False,
    as_json: AsJson = False,
) -> None:
    """Explain an SLO: its budget, and when each alert fires and resolves, and why.

    noisegate slo explain decision-availability
    """
    from noisegate.cli.output import print_json
    from noisegate.errors import MissingError
    from observability.documents import near
    from observability.explain import as_text
    from observability.explain import explain as meaning_of

    by_name = {slo.name: slo for slo in load(specs, any_metric)}
    if name not in by_name:
        raise MissingError(f"no SLO {name}: {near(name, by_name)}")
    meaning = meaning_of(by_name[name])
    if as_json:
        print_json(_meaning_data(meaning))
    else:
        typer.echo("\n".join(as_text(meaning)))


@app.command()
def build(
    specs: Specs = None,
    any_metric: AnyMetric = False,
    out: Annotated[
        Path, typer.Option("--out", help="Folder that files are written to.")
    ] = GENERATED,
    only_check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say what is stale (exit code 4).")
    ] = False,
    shorten: Annotated[
        float,
        typer.Option("--shorten", help="Divide all windows and waits by this: for trials.", min=1),
    ] = 1.0,
) -> None:
    """Build Prometheus rules, their promtool tests and Grafana alert rules from specs.

    noisegate slo build --out rules/

    noisegate slo build --out rules/ --check
    """
    from noisegate.errors import MissingError, SettingsError
    from noisegate.settings import load_settings

    if out.exists() and not out.is_dir():
        raise SettingsError(f"--out {out}: that is a file, give a folder")
    files = built_files(load(specs, any_metric), load_settings(), shorten)
    stale = [path for path, text in files.items() if not _is(out / path, text)]
    left = left_over(out, files)
    if only_check and (stale or left):
        raise MissingError(
            f"{len(stale)} of {len(files)} files below {out} are stale or missing, {len(left)} are "
            f"of no spec, {[*stale, *left][0]} first: run `noisegate slo build`"
        )
    for path in stale:
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(files[path], encoding="utf-8")
    for path in left:
        (out / path).unlink()
    typer.echo(
        f"{len(files)} files below {out} are up to date, {len(stale)} of them written now"
        + (f"; {len(left)} of specs that are gone removed" if left else "")
    )


def left_over(out: Path, files: Mapping[str, str]) -> list[str]:
    """Rules and tests that an earlier build wrote and no spec makes any more, below a folder.

    They would stay live: Prometheus reads all files of its folder.
    """
    from observability.prometheus_rules import RULES, TESTS

    found = []
    for pattern in (RULES.format("*"), TESTS.format("*")):
        for path in sorted(out.glob(pattern)):
            name = path.relative_to(out).as_posix()
            with path.open(encoding="utf-8") as file:
                ours = file.readline().startswith("# Written by `make generate`")
            found += [name] if ours and name not in files else []
    return found


def built_files(
    slos: "tuple[Slo, ...]", settings: "Settings", shorten: float = 1.0
) -> dict[str, str]:
    """All that is built from SLOs: relative path -> text."""
    from dashboards.alerting import provisioning_files
    from observability.burn import CompileOptions, compile_slo
    from observability.prometheus_rules import rule_files, watchdog_file

    options = CompileOptions(settings.grafana_url, settings.runbook_url, shorten=shorten)
    compiled = [compile_slo(slo, options) for slo in slos]
    by_prometheus = settings.alerts_by == "prometheus"
    rules = rule_files(compiled, options, alerts=by_prometheus)
    if by_prometheus:
        rules |= watchdog_file(options)
    return rules | provisioning_files(compiled, options, settings.alerts_by)


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def kind_name(slo: "Slo") -> str:
    """The kind as specs write it: events, latency, consecutive-failures ..."""
    name = type(slo.kind).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def as_json_data(slo: "Slo") -> dict[str, Any]:
    """An SLO as JSON holds it."""
    from dataclasses import asdict

    from observability.checks import selectors

    data = asdict(slo)
    data["kind"] = kind_name(slo)
    data["series"] = {field: str(selector) for field, selector in selectors(slo.kind)}
    return data


def _meaning_data(meaning: "Meaning") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(meaning) | {"slo": as_json_data(meaning.slo)}
