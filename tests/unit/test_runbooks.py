"""Runbooks: every alert has one, and what it says to type or to open exists."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import typer

from dashboards.build import dashboard_files
from noisegate.cli.app import app
from observability.burn import Alert, CompileOptions, compile_slo
from observability.specs import load_slos

REPO = Path(__file__).resolve().parents[2]
RUNBOOKS = REPO / "docs" / "runbooks"
BOOKS = sorted(RUNBOOKS.glob("*.md"))
COMPILED = [compile_slo(slo) for slo in load_slos(REPO / "observability" / "slos")]
GRAFANA = f"{CompileOptions().grafana_url}/d/"
ALERTS = [alert for one in COMPILED for alert in one.alerts]


def headings(book: Path) -> set[str]:
    """Anchors of a file, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", book.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(book: Path) -> Iterator[str]:
    """Every `noisegate ...` of a file, in code blocks and in sentences, without what runs it."""
    text = book.read_text()
    found = re.findall(r"^    (.+)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    for line in found:
        line = re.sub(r"^docker compose exec [\w-]+ ", "", line)
        if line.startswith("noisegate ") and "..." not in line:
            yield line


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.slo.name} {alert.tier}")
def test_each_alert_links_to_a_section_that_exists(alert: Alert) -> None:
    folder, _, rest = alert.annotations["runbook_url"].rpartition("/")
    file, _, anchor = rest.partition("#")
    assert folder == CompileOptions().runbook_url
    assert anchor in headings(RUNBOOKS / file)


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_each_book_begins_with_how_bad_it_is(book: Path) -> None:
    title, first = book.read_text().split("\n\n")[:2]
    assert title.startswith("# ") and first.startswith("**")


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_each_command_of_a_book_exists_with_its_options(book: Path) -> None:
    lines = list(commands(book))
    assert lines, "a runbook without a command"
    wrong = {line: said for line in lines if (said := complaint(shlex.split(line)[1:]))}
    assert not wrong


@pytest.mark.parametrize(
    "line", ["slo frobnicate", "doctor --nope", "models rollback", "slo explain", "retrain twice"]
)
def test_a_command_that_does_not_exist_is_seen(line: str) -> None:
    assert complaint(line.split())


def complaint(words: list[str]) -> str | None:
    """What is wrong with a command line, which is parsed down to its last command, not run."""
    command, name = typer.main.get_command(app), "noisegate"
    try:
        while True:
            context = command.make_context(name, list(words))
            if not hasattr(command, "resolve_command"):
                return None
            words = [*context._protected_args, *context.args]
            _, command, words = command.resolve_command(context, words)
    except Exception as error:  # Typer brings a click of its own, and its errors
        return getattr(error, "message", None) or repr(error)


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_each_link_between_books_leads_to_a_section(book: Path) -> None:
    for file, anchor in re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", book.read_text()):
        assert (RUNBOOKS / file).is_file(), file
        assert not anchor or anchor in headings(RUNBOOKS / file), (file, anchor)


def test_no_book_is_of_no_alert() -> None:
    named = {alert.slo.runbook or alert.slo.name for alert in ALERTS}
    assert {book.stem for book in BOOKS} == named | {"slo-records"}


@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)
def test_no_section_is_of_no_alert(book: Path) -> None:
    mine = [alert for alert in ALERTS if (alert.slo.runbook or alert.slo.name) == book.stem]
    linked = {alert.annotations["runbook_url"].partition("#")[2] for alert in mine}
    sections = set(re.findall(r"^## (.+)$", book.read_text(), re.MULTILINE))
    of_alerts = {section.lower() for section in sections} - {"roll back, stop"}
    assert of_alerts == (linked or {"unreadable", "no heartbeat"})


def test_each_panel_that_a_book_links_to_exists() -> None:
    boards = map(json.loads, dashboard_files().values())
    panels = {b["uid"]: {str(panel["id"]) for panel in nested(b["panels"])} for b in boards}
    names = {one.slo.name for one in COMPILED}
    links = [link for book in BOOKS for link in re.findall(f"{GRAFANA}[^\\s)]+", book.read_text())]
    assert links
    for link in links:
        parts = urlsplit(link)
        asked, uid = parse_qs(parts.query), parts.path.removeprefix("/d/")
        assert uid in panels, link
        assert set(asked.get("viewPanel", [])) <= panels[uid], link
        assert set(asked.get("var-slo", [])) <= names, link


def nested(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from nested(panel.get("panels", []))
