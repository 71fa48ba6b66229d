"""Every dashboard by itself: layout, words, colours, links, and that what it asks for exists."""

import json
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promql_parser import VectorSelector, parse

from dashboards.board import laid_out
from dashboards.build import dashboard_files
from dashboards.grafana11 import COLUMNS, Row, Stat, Target, Thresholds
from observability.burn import compile_slo
from observability.slo import known_metrics
from observability.specs import load_slos
from observability.texts import DASHBOARD, PANELS

Json = dict[str, Any]

BOARDS: dict[str, Json] = {
    Path(path).stem: json.loads(text) for path, text in dashboard_files().items()
}
OF_GRAFANA = {"__interval", "__rate_interval", "__range", "__url_time_range", "__data", "__all"}
SCREEN, CHARACTER, AROUND = 1280, 7.2, 48
"""Pixels: a usual screen, a character of a title, the frame and the sign of the description."""

each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))


def panels(board: Json, *, queried: bool = False) -> Iterator[Json]:
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        for inner in panel.get("panels") or []:
            if not queried or inner["targets"]:
                yield inner


def strings(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def expressions(board: Json) -> list[str]:
    """Every PromQL of a dashboard, with something in place of its variables."""
    asked = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    asked += [annotation["expr"] for annotation in board["annotations"]["list"]]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            asked.append(variable["query"]["query"].removeprefix("label_values(").rsplit(",", 1)[0])
    quoted = [re.sub(r'"\$\w+"', '"x"', expr) for expr in asked]
    return [re.sub(r"\$\w+", "5m", expr) for expr in quoted]


def nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if getattr(node, name, None) is not None:
            yield from nodes(getattr(node, name))
    for argument in getattr(node, "args", None) or ():
        yield from nodes(argument)


def known_series() -> dict[str, set[str]]:
    """Labels by the name of each series that is exported or recorded."""
    found = {name: {*spec.labels, "le"} for name, spec in known_metrics().items()}
    for slo in load_slos():
        for record in compile_slo(slo).records:
            found.setdefault(record.name, {"slo", "service"}).update(record.labels)
    return found


KNOWN = known_series()


def test_there_are_five_dashboards_with_stable_uids() -> None:
    assert set(BOARDS) == {
        "noisegate-slo-overview",
        "noisegate-slo-detail",
        "noisegate-pipeline",
        "noisegate-model-quality",
        "noisegate-decisions",
    }
    assert all(board["uid"] == name for name, board in BOARDS.items())
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)


@each_board
def test_a_dashboard_is_what_grafana_11_reads_without_migrations(board: Json) -> None:
    assert board["schemaVersion"] == 41
    assert board["id"] is None
    assert "rows" not in board
    assert (board["timezone"], board["refresh"], board["graphTooltip"]) == ("browser", "1m", 1)
    kinds = {panel["type"] for panel in panels(board)}
    assert kinds <= {
        *("stat", "timeseries", "table", "bargauge", "state-timeline", "heatmap", "alertlist")
    }


@each_board
def test_every_panel_is_described_has_a_unit_and_its_title_fits(board: Json) -> None:
    for panel in panels(board):
        assert panel["description"].strip()
        needed = len(re.sub(r"\$\w+", "30m", panel["title"])) * CHARACTER
        assert needed <= panel["gridPos"]["w"] * SCREEN / COLUMNS - AROUND, panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        if panel["type"] in ("stat", "timeseries", "bargauge"):
            assert defaults["unit"], panel["title"]
            assert defaults["noValue"], panel["title"]


@each_board
def test_thresholds_begin_without_a_bound_and_rise(board: Json) -> None:
    for panel in panels(board):
        config = panel["fieldConfig"]
        changed = [p for o in config["overrides"] for p in o["properties"]]
        sets = [p["value"] for p in changed if p["id"] == "thresholds"]
        for thresholds in [*sets, *filter(None, [config["defaults"].get("thresholds")])]:
            first, *rest = [step["value"] for step in thresholds["steps"]]
            assert first is None
            assert all(low < high for low, high in pairwise(rest))


@each_board
def test_ids_are_unique_and_every_query_has_a_source_that_can_be_chosen(board: Json) -> None:
    ids = [panel["id"] for panel in [*board["panels"], *panels(board)]]
    assert len(set(ids)) == len({id(p) for p in [*board["panels"], *panels(board)]})
    for panel in panels(board):
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for asked in [panel, *panel["targets"]]:
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_board
def test_variables_that_are_used_exist_and_the_others_are_used(board: Json) -> None:
    declared = {variable["name"] for variable in board["templating"]["list"]}
    used = {
        name
        for text in strings(board)
        for pair in re.findall(r"\$(\w+)|\$\{(\w+)", text)
        for name in pair
        if name
    }
    assert used - OF_GRAFANA == declared


@each_board
def test_links_lead_to_dashboards_and_variables_that_exist(board: Json) -> None:
    assert any(link["includeVars"] and link["keepTime"] for link in board["links"])
    for text in strings(board):
        for uid, query in re.findall(r"^/d/([\w-]+)\?(\S*)", text):
            names = {variable["name"] for variable in BOARDS[uid]["templating"]["list"]}
            assert set(re.findall(r"var-(\w+)=", query)) <= names
            assert "${__url_time_range}" in query


@pytest.mark.parametrize(
    ("tiers", "title"),
    [
        pytest.param("burn", "Burn rate, with the factors of the alerts", id="a burn rate"),
        pytest.param("absent", "Which alerts fired", id="series that are gone"),
        pytest.param("stuck", "Events a minute", id="series that do not move"),
        pytest.param(
            "invalid", "Share of bad events over $window", id="an SLI that cannot be true"
        ),
        pytest.param("over", "Level and its limit", id="a level above its limit"),
        pytest.param("unproven", "Share of bad outcomes, between its bounds", id="a broken bound"),
    ],
)
def test_an_alert_opens_the_panel_that_shows_it(tiers: str, title: str) -> None:
    titles = {panel["id"]: panel["title"] for panel in panels(BOARDS[DASHBOARD])}
    assert titles[PANELS[tiers]] == title


@each_board
def test_every_series_and_label_in_an_expression_exists(board: Json) -> None:
    for expr in expressions(board):
        for node in nodes(parse(expr)):
            if isinstance(node, VectorSelector):
                assert node.name in KNOWN, expr
                labels = {matcher.name for matcher in node.matchers.matchers}
                assert labels <= KNOWN[node.name], expr


@each_board
def test_no_quotient_can_be_nan(board: Json) -> None:
    """What is divided by is a number, or above 0, or held above 0."""
    for expr in expressions(board):
        for node in nodes(parse(expr)):
            if getattr(node, "op", None) is not None and str(node.op) == "/":
                below = str(node.rhs)
                assert re.fullmatch(r"[\d.]+|\(.* > 0\)|clamp_min\(.*, 1\)", below), expr


@each_board
def test_quantiles_leave_out_what_is_not_a_number(board: Json) -> None:
    for expr in expressions(board):
        assert expr.count("histogram_quantile") == expr.count(">= 0")


def test_a_series_has_the_same_colour_wherever_it_is_shown() -> None:
    seen: dict[str, set[str]] = {}
    for board in BOARDS.values():
        for panel in panels(board):
            for override in panel["fieldConfig"]["overrides"]:
                for changed in override["properties"]:
                    if changed["id"] == "color" and override["matcher"]["id"] == "byName":
                        name = override["matcher"]["options"]
                        seen.setdefault(name, set()).add(changed["value"]["fixedColor"])
    assert {name: colors for name, colors in seen.items() if len(colors) > 1} == {}


@each_board
def test_the_first_row_says_whether_all_is_well_without_scrolling(board: Json) -> None:
    first = [panel for panel in panels(board) if panel["gridPos"]["y"] == 0]
    assert {panel["type"] for panel in first} == {"stat"}
    assert sum(panel["gridPos"]["w"] for panel in first) == COLUMNS
    assert any(panel["options"]["colorMode"] == "background" for panel in first)


def stat(id: int, w: int, h: int) -> Stat:
    target = Target(expr="up")
    return Stat(id=id, title="a", description="b", w=w, h=h, targets=[target])


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.tuples(st.integers(1, COLUMNS), st.integers(1, 12))))
    )
)
def test_whatever_is_laid_out_lies_side_by_side_within_the_columns(
    rows: list[tuple[bool, list[tuple[int, int]]]],
) -> None:
    placed = laid_out(
        [
            Row(id=n, title="r" * titled, panels=[stat(i, w, h) for i, (w, h) in enumerate(sizes)])
            for n, (titled, sizes) in enumerate(rows)
        ]
    )
    boxes = [panel.gridPos for panel in placed]
    assert all(box.x >= 0 and box.x + box.w <= COLUMNS and box.y >= 0 for box in boxes)
    for one, other in combinations(boxes, 2):
        beside = one.x + one.w <= other.x or other.x + other.w <= one.x
        below = one.y + one.h <= other.y or other.y + other.h <= one.y
        assert beside or below


@pytest.mark.parametrize(
    ("make", "named"),
    [
        pytest.param(
            lambda: Thresholds("green", [(2, "red"), (1, "red")]), "steps", id="bounds that fall"
        ),
        pytest.param(lambda: Target(expr=""), "expr", id="a query of nothing"),
        pytest.param(lambda: Target(expr="up", format="graph"), "format", id="an unknown format"),
        pytest.param(
            lambda: Stat(id=1, title="a", description=""), "description", id="no description"
        ),
        pytest.param(lambda: stat(1, 25, 4), "w", id="a panel wider than the dashboard"),
    ],
)
def test_a_slip_is_refused_where_it_is_made(make: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()
