"""SLO detail: one SLO of any kind; alerts link here with var-slo=NAME."""

from dashboards.board import (
    BLIND,
    BY_VALUE,
    CELLS,
    FIRING,
    GOOD,
    MEASURED,
    NO_RULES,
    NOW,
    QUIET,
    SECOND,
    SERVICE,
    SOON,
    board,
    firing,
    label_of,
    limit,
    lines,
    named,
    number,
    ranked,
    runbook,
    slos,
    window_of,
)
from dashboards.grafana11 import (
    Column,
    Field,
    Legend,
    Lines,
    Override,
    Row,
    StateTimeline,
    Style,
    Table,
    Target,
    Thresholds,
    Transformation,
)
from observability.slo import WORKBOOK, ConsecutiveFailures, Level

THIS = 'slo=~"$slo"'
NO_BURN = "no burn rate"
NO_LEVEL = "this SLO counts events, no level"
NO_BOUND = "outcomes of this SLO do not come late"
COUNTS = "|".join(
    name
    for name, slo in slos().items()
    if isinstance(slo.kind, ConsecutiveFailures)
    or (isinstance(slo.kind, Level) and slo.kind.unit != "s")
)
"""SLOs whose level is no time."""

FACTORS = sorted({tier.factor for tier in WORKBOOK})
FASTEST = Thresholds(
    "transparent",
    [
        (f, NOW if any(t.factor == f and t.severity == "page" for t in WORKBOOK) else SOON)
        for f in FACTORS
    ],
)
"""Lines at the factors of the tiers, in the colour of their severity."""

first = Row(
    panels=[
        number(
            1,
            "State",
            "The worst that is known now: well, a ticket, blind (nothing is known), or a page.",
            f"max({firing(THIS)})",
            mappings=[FIRING],
            steps=[(1, SOON), (2, BLIND), (3, NOW)],
            empty=NO_RULES,
            unknown=BLIND,
            colorMode="background",
        ),
        number(
            2,
            "Objective",
            "Share of good events, or of good time, that is promised.",
            f"max(slo:objective:ratio{{{THIS}}})",
            unit="percentunit",
            base=QUIET,
            empty=NO_RULES,
            unknown=BLIND,
        ),
        number(
            3,
            "Budget left",
            "Share of the allowed failures that have not happened within the window; negative when "
            "the objective is missed.",
            f"min(slo:budget:remaining{{{THIS}}})",
            unit="percentunit",
            decimals=1,
            base=NOW,
            steps=[(0.0, SOON), (0.25, GOOD)],
            empty="no data",
        ),
        number(
            4,
            "Spent in",
            "Time until the budget is spent, if it goes on as in the last hour.",
            f"min(slo:budget:exhaustion_seconds{{{THIS}}})",
            unit="s",
            decimals=1,
            base=NOW,
            steps=[(86_400, SOON), (7 * 86_400, GOOD)],
            empty="not burning",
        ),
        number(
            5,
            "Bad events",
            "Events that failed, within the window; of a mean (delay) its sum, in seconds; of an "
            "age or a level the minutes above its limit.",
            f"max(slo:bad:count{{{THIS}}})",
            base=QUIET,
            empty="not counted",
        ),
        number(
            6,
            "Events",
            "All events within the window; of a mean what could have been spent, in seconds; of an "
            "age or a level minutes.",
            f"max(slo:total:count{{{THIS}}})",
            base=QUIET,
            empty="not counted",
        ),
    ]
)

now_by_window = Table(
    id=10,
    title="Burn rate now",
    description="By window. Two windows of a tier above its factor (lines of the panel beside it) "
    "make it fire: a long one that says it matters, a short one that says it goes on.",
    w=7,
    h=10,
    targets=[
        Target(
            expr=f'max(slo:burn:rate{{{THIS},window="{window}"}})',
            legendFormat=window,
            instant=True,
        )
        for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
    ],
    transformations=[
        Transformation("reduce", {"reducers": ["lastNotNull"]}),
        Transformation("organize", {"renameByName": {"Field": "Over", "Last *": "Burn rate"}}),
    ],
    fields=Column(**CELLS | {"noValue": NO_BURN}),
    overrides=[
        Override("Over", Column(width=60)),
        Override(
            "Burn rate",
            Column(
                unit="suffix:x",
                decimals=1,
                min=0,
                max=15,
                thresholds=Thresholds(GOOD, [(1, SOON), (6, NOW)]),
                cellOptions=Style(type="gauge", mode="basic"),
            ),
        ),
    ],
)
burn = lines(
    11,
    "Burn rate, with the factors of the alerts",
    "1 spends exactly the budget. Lines: 1 and 3 are tickets (over 3 days, 1 day), 6 and 14.4 "
    "pages (over 6 hours, 1 hour). Below 1 the scale is linear, above logarithmic.",
    {
        window: f'max(slo:burn:rate{{{THIS},window="{window}"}})'
        for window in ("1h", "6h", "1d", "3d")
    },
    look=Lines(
        unit="suffix:x",
        min=0,
        lineWidth=1,
        scaleDistribution={"type": "symlog", "log": 10, "linearThreshold": 1},
        axisSoftMax=20,
        thresholds=FASTEST,
        thresholdsStyle=Style(mode="dashed"),
        noValue=NO_BURN,
    ),
    overrides=ranked(["1h", "6h", "1d", "3d"]),
    w=17,
    h=10,
)
budget = lines(
    12,
    "Error budget left",
    "From 100 %: what may still fail of the window that ends at each moment.",
    {"left": f"min(slo:budget:remaining{{{THIS}}})"},
    look=Lines(
        unit="percentunit",
        max=1,
        axisSoftMin=0,
        color=BY_VALUE,
        fillOpacity=15,
        gradientMode="scheme",
        thresholds=Thresholds(NOW, [(0.0, SOON), (0.25, GOOD)]),
        noValue="no data",
    ),
    legend=Legend(showLegend=False),
)
errors = lines(
    13,
    "Share of bad events over $window",
    "What fails, and what the objective allows.",
    {
        "bad share": f'max(slo:errors:ratio{{{THIS},window=~"$window"}})',
        "allowed": f"1 - max(slo:objective:ratio{{{THIS}}}) and on () slo:errors:ratio{{{THIS}}}",
    },
    look=Lines(unit="percentunit", min=0, fillOpacity=10, noValue=NO_BURN),
    overrides=[named("bad share", MEASURED), limit("allowed")],
)
tiers = StateTimeline(
    id=14,
    title="Which alerts fired",
    description="One line a tier: burn rates (page_1h to ticket_3d), absent (series gone: "
    "pages), stuck and invalid (tickets), over (an age or a level), unproven (bounds).",
    w=12,
    h=8,
    targets=[
        Target(
            expr=f"max by (tier) ({firing(THIS, '$__rate_interval')})",
            legendFormat="{{tier}}",
        )
    ],
    fields=Field(mappings=[FIRING], color=BY_VALUE, noValue=NO_RULES),
)
volume = lines(
    15,
    "Events a minute",
    "How many events there are to judge, and how many are bad.",
    {
        "all": f"avg_over_time(slo:total:count1m{{{THIS}}}[$__interval])",
        "bad": f"avg_over_time(slo:bad:count1m{{{THIS}}}[$__interval])",
    },
    look=Lines(unit="short", min=0, fillOpacity=10, lineWidth=1, noValue="no events are counted"),
    overrides=[named("all", QUIET), named("bad", NOW)],
)
level = lines(
    16,
    "Level and its limit",
    "An age, a duration, or failures in a row, beside the most that is allowed.",
    {
        "time": f'max(slo:level:value{{{THIS},slo!~"{COUNTS}"}})',
        "count": f'max(slo:level:value{{{THIS},slo=~"{COUNTS}"}})',
        "limit, time": f'max(slo:level:limit{{{THIS},slo!~"{COUNTS}"}})',
        "limit, count": f'max(slo:level:limit{{{THIS},slo=~"{COUNTS}"}})',
    },
    look=Lines(unit="s", min=0, fillOpacity=10, lineInterpolation="stepAfter", noValue=NO_LEVEL),
    overrides=[
        named("time", MEASURED),
        named("count", MEASURED),
        limit("limit, time"),
        limit("limit, count"),
        Override("/count/", Lines(unit="short", decimals=0)),
    ],
    h=7,
)
bounds = lines(
    17,
    "Share of bad outcomes, between its bounds",
    "Outcomes that are known late are few: the true share lies between the bounds. The promise is "
    "proven while the upper one is below the limit.",
    {
        "upper bound": f'max(slo:bound:ratio{{{THIS},side="upper"}})',
        "lower bound": f'max(slo:bound:ratio{{{THIS},side="lower"}})',
        "allowed": f"1 - max(slo:objective:ratio{{{THIS}}}) and on () slo:bound:ratio{{{THIS}}}",
    },
    look=Lines(unit="percentunit", min=0, noValue=NO_BOUND),
    overrides=[
        named("upper bound", SECOND, fillBelowTo="lower bound", fillOpacity=20),
        named("lower bound", SECOND),
        limit("allowed"),
    ],
    h=7,
)

dashboard = board(
    "noisegate-slo-detail",
    "SLO detail",
    "One SLO: how much may still fail, how fast it is spent, which alerts fired, and why.",
    [
        first,
        Row(panels=[budget, tiers]),
        Row(id=30, title="How fast it is spent", panels=[now_by_window, burn]),
        Row(id=31, title="What is counted", panels=[errors, volume, level, bounds]),
    ],
    since="now-30d",
    variables=[
        SERVICE,
        label_of(
            "slo",
            "SLO",
            "The SLO that is shown.",
            'slo:objective:ratio{service=~"$service"}',
            "slo",
            every=False,
        ),
        window_of("Errors over"),
    ],
    links=[runbook("${slo}")],
)
