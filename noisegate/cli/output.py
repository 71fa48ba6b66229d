"""What a person or a machine reads: progress on standard error, results on standard output."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from noisegate.errors import SettingsError

if TYPE_CHECKING:
    from noisegate.cli.checks import Check
    from noisegate.learning.card import Figure
    from noisegate.store.ingest import ImportReport

QUIET_S = 2.0
"""Work is silent for so long before it says how far it is, seconds."""


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being done: one line, rewritten on a terminal."""
    live = sys.stderr.isatty()
    began, shown, last = time.monotonic(), False, ""

    def say(what: str) -> None:
        nonlocal shown, last
        if time.monotonic() - began < QUIET_S and not live:
            return
        if live:
            print(f"\r\x1b[2K{what} ...", end="", file=sys.stderr, flush=True)
            shown = True
        elif what != last:
            print(f"{what} ...", file=sys.stderr, flush=True)
        last = what

    try:
        yield say
    finally:
        if shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def counted(say: Callable[[str], None], what: str) -> Callable[[int], None]:
    """A callback for rows done so far; at most twice a second."""
    shown = 0.0

    def count(rows: int) -> None:
        nonlocal shown
        if time.monotonic() - shown > 0.5:
            say(f"{what}: {rows:,} rows")
            shown = time.monotonic()

    return count


def shared(say: Callable[[str], None], what: str) -> Callable[[float], None]:
    """A callback for the share done so far, in steps of five per cent."""
    shown = -1

    def share(done: float) -> None:
        nonlocal shown
        step = int(done * 20)
        if step != shown:
            say(f"{what}: {100 * done:.0f} %")
            shown = step

    return share


def check_writable(option: str, path: Path | None, *others: Path | None) -> None:
    """Refuse an output path before the work, not after it.

    Raises:
        SettingsError: its folder does not exist, it is a folder itself, or it is one of `others`.
    """
    for other in others:
        if path is not None and other is not None and path.resolve() == other.resolve():
            raise SettingsError(f"{option} {path}: that file is used otherwise: name another one")
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise SettingsError(f"{option} {path}: give a file in a folder that exists")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(value, indent=2, sort_keys=True, default=str))


def print_import(report: "ImportReport", as_json: bool, more: Mapping[str, Any]) -> None:
    """Print what an import did."""
    if as_json:
        print_json(asdict(report) | dict(more))
        return
    typer.echo(
        f"{report.read:,} rows read: {report.new:,} new, {report.changed:,} changed, "
        f"{report.unchanged:,} known already, {report.refused:,} refused; "
        f"{report.open:,} still open"
    )
    if report.verdicts:
        typer.echo(f"{report.verdicts:,} verdicts")
    for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
        typer.echo(f"  refused {count:,}: {reason}")
    if report.entities:
        found = ", ".join(f"{count:,} {name}" for name, count in sorted(report.entities.items()))
        typer.echo(f"scrubbed: {found}")
    if report.ignored:
        typer.echo(f"ignored columns: {', '.join(report.ignored)} (keep one with --label COLUMN)")
    for name, value in more.items():
        typer.echo(f"{name.replace('_', ' ')}: {value}")


def figures_line(figures: Mapping[str, "Figure"]) -> str:
    """The figures that matter, on one line."""
    return (
        f"noise off {100 * figures['noise_off'].value:.1f} %   "
        f"pages off {100 * figures['pages_off'].value:.1f} %   "
        f"lost {100 * figures['lost'].value:.2f} %   "
        f"mean delay of real alerts {figures['delay_s'].value:.1f} s"
    )


def as_rows(figures: Mapping[str, "Figure"]) -> dict[str, dict[str, float | None]]:
    """Figures as plain JSON."""
    return {name: asdict(figure) for name, figure in figures.items()}


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, each as wide as it must be."""
    widths = [max(len(str(row[i])) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        typer.echo("  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def print_checks(checks: Sequence["Check"], as_json: bool) -> None:
    """Print the doctor's findings."""
    if as_json:
        print_json([asdict(check) for check in checks])
        return
    marks = {"fine": "ok   ", "note": "note ", "wrong": "WRONG", "mended": "mended"}
    for check in checks:
        typer.echo(f"{marks[check.status]} {check.subject}: {check.found}")
        if check.way_out:
            typer.echo(f"      -> {check.way_out}")
