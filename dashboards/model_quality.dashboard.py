"""Model quality: how much noise stays off, what real alerts pay, is the promise kept."""

from grafanalib import core

from dashboards.board import (
    CELLS,
    GOOD,
    MEASURED,
    NOW,
    PROMISED,
    QUIET,
    SECOND,
    SOON,
    STACKED_BARS,
    band,
    board,
    choice,
    grown,
    label_of,
    limit,
    lines,
    merged,
    named,
    number,
    ratio,
    slos,
)
from dashboards.grafana11 import (
    Column,
    Lines,
    Override,
    Row,
    Style,
    Table,
    Target,
    Thresholds,
    Transformation,
)
from observability.slo import Mean

MINE = 'service=~"$alerts_of"'
NOISE = 'outcome=~"noise|unseen"'
REAL = 'outcome="real"'
JUDGED = 'outcome!="censored"'
SERVICE_DELAY = f"noisegate_service_delay_seconds_total{{{MINE}}}"
NOISE_OFF = slos()["noise-reduction"].objective
LOST = 1 - slos()["lost-alerts"].objective
DELAY = slos()["delay-promise"].kind
assert isinstance(DELAY, Mean)
DELAY_S = DELAY.at_most


def outcomes(matchers: str, window: str, by: str = "") -> str:
    """PromQL: alerts of the services whose outcome became known in a window."""
    series = f"noisegate_outcomes_total{{{MINE},{matchers}}}"
    return f"sum{f' by ({by})' if by else ''} (increase({series}[{window}]))"


def noise_off(window: str, by: str = "") -> str:
    """PromQL: share of noise that never paged; what cleared unseen while held counts as off."""
    return ratio(outcomes(f'{NOISE},paged="false"', window, by), outcomes(NOISE, window, by))


def pages_off(window: str) -> str:
    """PromQL: share of all judged alerts that never paged."""
    return ratio(outcomes(f'{JUDGED},paged="false"', window), outcomes(JUDGED, window))


def lost(window: str) -> str:
    """PromQL: share of real alerts that never paged."""
    return ratio(
        f"sum(increase(noisegate_lost_alerts_total[{window}]))",
        f"sum(increase(noisegate_real_alerts_total[{window}]))",
    )


def delay_s(window: str) -> str:
    """PromQL: mean time that real alerts were held, seconds."""
    return ratio(
        f"sum(increase(noisegate_real_delay_seconds_sum[{window}]))",
        f"sum(increase(noisegate_real_delay_seconds_count[{window}]))",
    )


def promised(figure: str) -> dict[str, str]:
    """Legend -> PromQL of a champion's figure and its bounds."""
    return {
        name: f'max(noisegate_champion_figure_ratio{{figure="{figure}",bound="{bound}"}})'
        for name, bound in (("promised", "value"), ("at least", "low"), ("at most", "high"))
    }


PROMISE = band("promised", "at least", "at most", PROMISED)

first = Row(
    panels=[
        number(
            1,
            "Noise off",
            "Share of noise that never paged, of what became known in the trailing window.",
            noise_off("$trailing"),
            unit="percentunit",
            decimals=1,
            base=NOW,
            steps=[(NOISE_OFF, GOOD)],
            empty="no noise yet",
            colorMode="background",
        ),
        number(
            2,
            "Mean delay of real",
            "How long real alerts were kept off the pager, on average; all services.",
            delay_s("$trailing"),
            unit="s",
            decimals=1,
            steps=[(0.9 * DELAY_S, SOON), (DELAY_S, NOW)],
            empty="none real yet",
            colorMode="background",
        ),
        number(
            3,
            "Real alerts lost",
            "Share of real alerts that never paged, known by holdout or verdict; all services.",
            lost("$trailing"),
            unit="percentunit",
            decimals=2,
            steps=[(LOST, NOW)],
            empty="none real yet",
            colorMode="background",
        ),
        number(
            4,
            "Lost at most",
            "Upper bound of the share of real alerts that are lost: what may be claimed, over 30 "
            "days. Needs enough real alerts to be small.",
            'max(slo:bound:ratio{slo="lost-alerts",side="upper"})',
            unit="percentunit",
            decimals=2,
            steps=[(LOST, NOW)],
            empty="no rules?",
        ),
        number(
            5,
            "Pages off",
            "Share of all alerts that never paged.",
            pages_off("$trailing"),
            unit="percentunit",
            decimals=1,
            base=QUIET,
            empty="none yet",
        ),
        number(
            6,
            "Against promise",
            "Points of noise off above (+) or below (-) what the champion showed before it was "
            "promoted.",
            f"100 * ({noise_off('$trailing')}"
            ' - on () max(noisegate_champion_figure_ratio{figure="noise_off",bound="value"}))',
            unit="suffix: pts",
            decimals=1,
            base=NOW,
            steps=[(-10, SOON), (-5, GOOD)],
            empty="no champion",
        ),
    ]
)

noise = lines(
    10,
    "Noise off",
    "What happened over the trailing window, what the champion promised (with its 95 % interval), "
    "and the objective.",
    {"realised": noise_off("$trailing"), **promised("noise_off")},
    look=Lines(
        unit="percentunit",
        max=1,
        axisSoftMin=0.4,
        thresholds=Thresholds("transparent", [(NOISE_OFF, NOW)]),
        thresholdsStyle=Style(mode="dashed"),
    ),
    overrides=[named("realised", MEASURED), *PROMISE],
)
delay = lines(
    11,
    "Mean delay of real alerts",
    "What happened over the trailing window, what the champion promised, and the delay allowed.",
    {
        "realised": delay_s("$trailing"),
        **{
            name: f'max(noisegate_champion_delay_seconds{{bound="{bound}"}})'
            for name, bound in (("promised", "value"), ("at least", "low"), ("at most", "high"))
        },
        "allowed": "max(noisegate_delay_budget_seconds)",
    },
    look=Lines(unit="s", min=0),
    overrides=[named("realised", MEASURED), *PROMISE, limit("allowed")],
)
lost_share = lines(
    12,
    "Real alerts lost",
    "Share over 30 days with its bounds (holdout and verdicts), and what is allowed.",
    {
        "lost": 'max(slo:bad:count{slo="lost-alerts"})'
        ' / (max(slo:total:count{slo="lost-alerts"}) > 0)',
        "lower bound": 'max(slo:bound:ratio{slo="lost-alerts",side="lower"})',
        "upper bound": 'max(slo:bound:ratio{slo="lost-alerts",side="upper"})',
    },
    look=Lines(
        unit="percentunit",
        min=0,
        max=5 * LOST,
        thresholds=Thresholds("transparent", [(LOST, NOW)]),
        thresholdsStyle=Style(mode="dashed"),
    ),
    overrides=[
        named("lost", MEASURED),
        named("upper bound", SECOND, fillBelowTo="lower bound", fillOpacity=12, lineWidth=1),
        named("lower bound", SECOND, lineWidth=1),
    ],
)
pages = lines(
    13,
    "Pages off",
    "Share of all alerts that never paged, and what the champion promised.",
    {"realised": pages_off("$trailing"), **promised("pages_off")},
    look=Lines(unit="percentunit", min=0, max=1),
    overrides=[named("realised", MEASURED), *PROMISE],
)
drift = lines(
    14,
    "Drift: realised less promised",
    "Points of noise off, and of pages off, above (+) or below (-) the champion's figures. It "
    "sinks when alerts change; retraining should bring it back to 0.",
    {
        name: f"100 * ({realised} - on () max(noisegate_champion_figure_ratio"
        f'{{figure="{figure}",bound="value"}}))'
        for name, figure, realised in (
            ("noise off", "noise_off", noise_off("$trailing")),
            ("pages off", "pages_off", pages_off("$trailing")),
        )
    },
    look=Lines(
        unit="suffix: pts",
        decimals=0,
        min=-30,
        max=30,
        thresholds=Thresholds("transparent", [(-10, SOON), (0, QUIET)]),
        thresholdsStyle=Style(mode="dashed"),
    ),
    overrides=[named("noise off", MEASURED), named("pages off", SECOND)],
)
became = lines(
    15,
    "What alerts turned out to be, a day",
    "Noise, real, unseen (cleared while held: nobody can say), censored (no end is known).",
    [
        Target(
            expr=grown(f"noisegate_outcomes_total{{{MINE}}}", "1d", "outcome"),
            legendFormat="{{outcome}}",
            interval="1d",
        )
    ],
    look=Lines(unit="short", decimals=0, **STACKED_BARS),
    overrides=[
        named("noise", QUIET),
        named("unseen", SECOND),
        named("real", MEASURED),
        named("censored", PROMISED),
    ],
)

by_service = Table(
    id=20,
    title="The 12 services with most alerts, over the trailing window",
    description="Alerts whose outcome became known, and what became of them; choose other services "
    "at the top.",
    w=24,
    h=14,
    targets=[
        Target(expr=expr, format="table", instant=True, legendFormat="")
        for expr in (
            f"round({outcomes(JUDGED, '$trailing', 'service')}) > 0",
            f"round({outcomes(NOISE, '$trailing', 'service')})",
            noise_off("$trailing", "service"),
            f"round({outcomes(REAL, '$trailing', 'service')})",
            ratio(
                f"sum by (service) (increase({SERVICE_DELAY}[$trailing]))",
                outcomes(f'{REAL},paged="true"', "$trailing", "service"),
            ),
        )
    ],
    transformations=[
        *merged(
            {
                "service": "Service",
                "Value #A": "Alerts",
                "Value #B": "Noise",
                "Value #C": "Noise off",
                "Value #D": "Real",
                "Value #E": "Mean delay",
            }
        ),
        Transformation("sortBy", {"sort": [{"field": "Alerts", "desc": True}]}),
        Transformation("limit", {"limitField": 12}),
    ],
    fields=Column(**CELLS, unit="locale", decimals=0),
    overrides=[
        Override(
            "Noise off",
            Column(
                unit="percentunit",
                decimals=0,
                min=0,
                max=1,
                thresholds=Thresholds(NOW, [(NOISE_OFF, GOOD)]),
                cellOptions=Style(type="gauge", mode="basic"),
                width=420,
            ),
        ),
        Override(
            "Mean delay",
            Column(
                unit="s",
                decimals=0,
                thresholds=Thresholds(GOOD, [(DELAY_S, SOON)]),
                cellOptions=Style(type="color-text"),
            ),
        ),
    ],
    sortBy=[core.TableSortByField("Alerts", desc=True)],
)
verdicts = lines(
    21,
    "Verdicts a day",
    "What people said about alerts.",
    [
        Target(
            expr=grown("noisegate_verdicts_total", "1d", "verdict"),
            legendFormat="{{verdict}}",
            interval="1d",
        )
    ],
    look=Lines(unit="short", decimals=0, **STACKED_BARS),
    overrides=[named("noise", QUIET), named("real", MEASURED)],
    w=8,
)
holdout = lines(
    22,
    "Holdout outcomes a day",
    "Alerts that paged by lot, so that quality stays measurable, and what they were.",
    [
        Target(
            expr=grown("noisegate_holdout_outcomes_total", "1d", "outcome"),
            legendFormat="{{outcome}}",
            interval="1d",
        )
    ],
    look=Lines(unit="short", decimals=0, **STACKED_BARS, noValue="no holdout"),
    overrides=[
        named("noise", QUIET),
        named("unseen", SECOND),
        named("real", MEASURED),
        named("censored", PROMISED),
    ],
    w=8,
)
corrected = lines(
    23,
    "Corrected by verdicts, a day",
    "Outcomes that a late verdict changed, by what they are now.",
    [
        Target(
            expr=grown("noisegate_outcome_corrections_total", "1d", "outcome"),
            legendFormat="{{outcome}}",
            interval="1d",
        )
    ],
    look=Lines(unit="short", decimals=0, **STACKED_BARS, noValue="none corrected"),
    overrides=[named("noise", QUIET), named("real", MEASURED)],
    w=8,
)

dashboard = board(
    "noisegate-model-quality",
    "Model quality",
    "How much noise stays off the pager, what real alerts pay for it, whether the promise is kept.",
    [
        first,
        Row(panels=[noise, delay]),
        Row(id=30, title="Promise and drift", panels=[lost_share, pages, drift, became]),
        Row(id=31, title="Services", panels=[by_service]),
        Row(id=32, title="What people said", panels=[verdicts, holdout, corrected]),
    ],
    since="now-30d",
    variables=[
        label_of(
            "alerts_of",
            "Service",
            "The services whose alerts are shown.",
            "noisegate_outcomes_total",
            "service",
        ),
        choice("trailing", "Trailing", "What figures are taken over.", "1d,7d,14d,30d", "7d"),
    ],
)
