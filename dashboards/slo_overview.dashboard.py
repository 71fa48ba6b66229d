"""SLO overview: are we well, and if not, which promise is in danger and since when."""

from functools import partial

from grafanalib import core

from dashboards.board import (
    BLIND,
    BY_NAME,
    BY_VALUE,
    CELLS,
    FIRING,
    GOOD,
    NO_RULES,
    NOW,
    QUIET,
    SERVICE,
    SOON,
    board,
    firing,
    lines,
    merged,
    number,
    ranked,
    slos,
    to,
    window_of,
)
from dashboards.grafana11 import (
    AlertList,
    Column,
    Field,
    Lines,
    Override,
    Row,
    StateTimeline,
    Style,
    Table,
    Target,
    Thresholds,
)

MINE = 'service=~"$service"'
STATES = firing(MINE)
DECLARED = f"count(slo:objective:ratio{{{MINE}}})"
OF_LIMIT = f"slo:level:value{{{MINE}}} / clamp_min(slo:level:limit{{{MINE}}}, 1)"
BUDGET_LEFT = Thresholds(NOW, [(0.0, SOON), (0.25, GOOD)])
DETAIL = to("noisegate-slo-detail", "SLO detail", "var-slo=${__data.fields.SLO}")


def how_many(condition: str) -> str:
    """PromQL: SLOs for which the condition holds; 0, not nothing, where SLOs are declared."""
    return f"count({condition}) or 0 * {DECLARED}"


def in_state(state: int) -> str:
    """PromQL: SLOs whose worst state is this one."""
    return how_many(f"max by (slo) ({STATES}) == {state}")


how_bad = partial(number, empty=NO_RULES, unknown=BLIND, colorMode="background")
"""A number of SLOs: its colour says how bad it is, and that nothing is known."""

well = Row(
    panels=[
        how_bad(
            1,
            "Paging now",
            "SLOs that burn so fast, or are so broken, that somebody is paged.",
            in_state(3),
            steps=[(1, NOW)],
        ),
        how_bad(
            2,
            "Blind",
            "SLOs of which nothing is known: their series are gone, stuck, or cannot be true. "
            "Series that are gone page.",
            in_state(2),
            steps=[(1, BLIND)],
        ),
        how_bad(
            3,
            "Tickets open",
            "SLOs with a ticket and nothing worse: for working hours.",
            in_state(1),
            steps=[(1, SOON)],
        ),
        how_bad(
            4,
            "Out of budget",
            "SLOs that have failed more often than the objective allows, over their window.",
            how_many(f"slo:budget:remaining{{{MINE}}} < 0"),
            steps=[(1, NOW)],
        ),
        number(
            5,
            "Least budget",
            "The SLO with the least error budget left, and how much that is.",
            f"bottomk(1, slo:budget:remaining{{{MINE}}})",
            unit="percentunit",
            decimals=0,
            base=NOW,
            steps=[(0.0, SOON), (0.25, GOOD)],
            empty=NO_RULES,
            unknown=BLIND,
            legend="{{slo}}",
            textMode="value_and_name",
        ),
        number(
            6,
            "SLOs watched",
            "SLOs whose rules are evaluated. None: the recording rules are not loaded.",
            DECLARED,
            base=NOW,
            steps=[(1, QUIET)],
            empty=NO_RULES,
            unknown=BLIND,
        ),
    ]
)

gauge = Style(type="gauge", mode="basic")
worst_first = Table(
    id=10,
    title="All SLOs, worst first",
    description="One line an SLO; its name opens the detail. Budget: share of the failures that "
    "the objective allows over its window and that have not happened. Burn rate: 1 spends exactly "
    "the budget. Of its limit: where an age, a duration or failures in a row stand now.",
    w=24,
    h=12,
    targets=[
        Target(expr=f"max by (slo) ({expr})", format="table", instant=True, legendFormat="")
        for expr in (
            STATES,
            f"slo:budget:remaining{{{MINE}}}",
            f'slo:burn:rate{{{MINE},window=~"$window"}}',
            f"slo:budget:exhaustion_seconds{{{MINE}}}",
            OF_LIMIT,
            f"slo:objective:ratio{{{MINE}}}",
        )
    ],
    transformations=merged(
        {
            "Value #A": "State",
            "slo": "SLO",
            "Value #B": "Budget left",
            "Value #C": "Burn rate",
            "Value #D": "Spent in",
            "Value #E": "Of its limit",
            "Value #F": "Objective",
        }
    ),
    fields=Column(**CELLS),
    overrides=[
        Override(
            "State",
            Column(
                mappings=[FIRING],
                cellOptions=Style(type="color-background", mode="basic"),
                width=80,
            ),
        ),
        Override("SLO", Column(links=[DETAIL], width=210)),
        Override(
            "Budget left",
            Column(
                unit="percentunit",
                decimals=0,
                min=0,
                max=1,
                thresholds=BUDGET_LEFT,
                cellOptions=gauge,
            ),
        ),
        Override(
            "Burn rate",
            Column(
                unit="suffix:x",
                decimals=1,
                thresholds=Thresholds(GOOD, [(1, SOON), (6, NOW)]),
                cellOptions=Style(type="color-text"),
                width=100,
            ),
        ),
        Override("Spent in", Column(unit="s", decimals=0, width=110)),
        Override(
            "Of its limit",
            Column(
                unit="percentunit",
                decimals=0,
                thresholds=Thresholds(GOOD, [(0.8, SOON), (1.0001, NOW)]),
                cellOptions=Style(type="color-text"),
                width=110,
            ),
        ),
        Override("Objective", Column(unit="percentunit", decimals=2, width=100)),
    ],
    sortBy=[
        core.TableSortByField("State", desc=True),
        core.TableSortByField("Budget left", desc=False),
    ],
)

since_when = StateTimeline(
    id=11,
    title="Since when",
    description="The worst state of each SLO over time. Short pages are not lost: each spot shows "
    "the worst of its time.",
    w=24,
    h=10,
    targets=[
        Target(expr=f"max by (slo) ({firing(MINE, '$__rate_interval')})", legendFormat="{{slo}}")
    ],
    fields=Field(mappings=[FIRING], color=BY_VALUE, noValue=NO_RULES),
)

budgets = lines(
    12,
    "Error budget left",
    "100 %: nothing has failed within the window; below 0 the objective is missed.",
    {"{{slo}}": f"slo:budget:remaining{{{MINE}}}"},
    look=Lines(
        unit="percentunit",
        max=1,
        axisSoftMin=0,
        color=BY_NAME,
        thresholds=Thresholds("transparent", [(0.0, NOW)]),
        thresholdsStyle=Style(mode="dashed"),
    ),
    overrides=ranked(slos()),
    h=10,
)
burn = lines(
    13,
    "Burn rate over $window",
    "How fast budgets are spent; 1 spends exactly the whole within the window.",
    {"{{slo}}": f'slo:burn:rate{{{MINE},window=~"$window"}}'},
    look=Lines(
        unit="suffix:x",
        min=0,
        color=BY_NAME,
        scaleDistribution={"type": "symlog", "log": 10, "linearThreshold": 1},
        thresholds=Thresholds("transparent", [(1, SOON), (14.4, NOW)]),
        thresholdsStyle=Style(mode="dashed"),
        lineWidth=1,
    ),
    overrides=ranked(slos()),
    h=10,
)

alerts = AlertList(
    id=20,
    title="Alerts of the SLOs",
    description="What Grafana itself knows: its own alert rules, and those of the data source if "
    "Grafana may read them. Silences and acknowledgements are seen here.",
    w=24,
    h=9,
    stateFilter={"error": True, "firing": True, "noData": True, "normal": False, "pending": True},
    alertInstanceLabelFilter='{slo=~".+"}',
)

dashboard = board(
    "noisegate-slo-overview",
    "SLO overview",
    "Are we well? Which promise is in danger, since when, and how much may still go wrong.",
    [
        well,
        Row(panels=[worst_first, since_when]),
        Row(id=30, title="Budgets over time", panels=[budgets, burn]),
        Row(id=31, title="Alerts as Grafana sees them", panels=[alerts], collapsed=True),
    ],
    since="now-30d",
    variables=[
        SERVICE,
        window_of("Burn rate over"),
    ],
)
