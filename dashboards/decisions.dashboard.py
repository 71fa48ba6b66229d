"""Decisions: what the gate does with alerts, why, and how quickly."""

from dashboards.board import (
    GOOD,
    MEASURED,
    NOW,
    QUIET,
    SECOND,
    SOON,
    STACKED_LINES,
    STRONG,
    board,
    lines,
    named,
    number,
    ranked,
    rate,
    ratio,
    slos,
    window_of,
)
from dashboards.grafana11 import Field, Heatmap, Lines, Row, Style, Target, Thresholds
from noisegate.alert import Action, Reason
from observability.slo import Latency

DECISIONS = "noisegate_decisions_total"
LATENCY = "noisegate_decision_latency_seconds"
DELAY = "noisegate_real_delay_seconds"
AVAILABILITY = slos()["decision-availability"]
QUICK = slos()["decision-latency"]
assert isinstance(QUICK.kind, Latency)
THRESHOLD_S = QUICK.kind.threshold_s
ACTIONS = {Action.PAGE: QUIET, Action.HOLD: MEASURED, Action.MUTE: STRONG}
STATUSES = {"failed": NOW, "too_late": SOON}


def summed(series: str, window: str) -> str:
    """PromQL: how many in a window."""
    return f"sum(increase({series}[{window}]))"


def quantile(q: float, histogram: str, window: str) -> str:
    """PromQL: a quantile; nothing, not NaN, while nothing happens."""
    return f"histogram_quantile({q}, sum by (le) (rate({histogram}_bucket[{window}]))) >= 0"


def over_5m(series: dict[str, str]) -> list[Target]:
    """Queries of at least five minutes a step: there are nights with an alert in ten minutes."""
    return [
        Target(expr=expr, legendFormat=legend, interval="5m") for legend, expr in series.items()
    ]


first = Row(
    panels=[
        number(
            1,
            "Decided in time",
            "Share of alerts in the time range whose decision neither failed nor came too late.",
            "1 - "
            + ratio(
                summed(f'{DECISIONS}{{status=~"failed|too_late"}}', "$__range"),
                summed(DECISIONS, "$__range"),
            ),
            unit="percentunit",
            decimals=2,
            base=NOW,
            steps=[(AVAILABILITY.objective, GOOD)],
            empty="no alerts",
            colorMode="background",
        ),
        number(
            2,
            f"Within {THRESHOLD_S * 1000:g} ms",
            "Share of decisions in the time range that took no longer, from the alert's arrival.",
            ratio(
                summed(f'{LATENCY}_bucket{{le="{THRESHOLD_S:g}"}}', "$__range"),
                summed(f"{LATENCY}_count", "$__range"),
            ),
            unit="percentunit",
            decimals=2,
            base=NOW,
            steps=[(QUICK.objective, GOOD)],
            empty="no alerts",
            colorMode="background",
        ),
        number(
            3,
            "P99 latency",
            "99 of 100 decisions in the time range took no longer.",
            quantile(0.99, LATENCY, "$__range"),
            unit="s",
            decimals=1,
            steps=[(THRESHOLD_S, NOW)],
            empty="no alerts",
        ),
        number(
            4,
            "P50 latency",
            "Half of the decisions in the time range took no longer.",
            quantile(0.5, LATENCY, "$__range"),
            unit="s",
            decimals=1,
            steps=[(THRESHOLD_S, NOW)],
            empty="no alerts",
        ),
        number(
            5,
            "Held or muted",
            "Share of alerts in the time range that did not page at once.",
            ratio(
                summed(f'{DECISIONS}{{action=~"hold|mute"}}', "$__range"),
                summed(DECISIONS, "$__range"),
            ),
            unit="percentunit",
            decimals=0,
            base=QUIET,
            empty="no alerts",
        ),
        number(
            6,
            "Decisions",
            "Alerts decided in the time range.",
            f"round({summed(DECISIONS, '$__range')})",
            base=QUIET,
            empty="none",
        ),
    ]
)

actions = lines(
    10,
    "Decisions a minute, by action",
    "Page at once, hold (it pages if it still fires then), mute (never for this firing).",
    over_5m({"{{action}}": rate(DECISIONS, "action")}),
    look=Lines(unit="short", **STACKED_LINES),
    overrides=[named(action, color) for action, color in ACTIONS.items()],
)
reasons = lines(
    11,
    "Decisions a minute, by reason",
    "Why: most holds are of alerts that usually clear by themselves.",
    over_5m({"{{reason}}": rate(DECISIONS, "reason")}),
    look=Lines(unit="short", **STACKED_LINES),
    overrides=ranked(sorted(Reason, key=lambda reason: reason is not Reason.USUALLY_CLEARS)),
)
latency = Heatmap(
    id=12,
    title="Latency",
    description="Decisions by how long they took. Marks are exemplars: decisions with a trace.",
    w=12,
    h=9,
    targets=[
        Target(
            expr=f"sum by (le) (increase({LATENCY}_bucket[$__rate_interval]))",
            legendFormat="{{le}}",
            format="heatmap",
            exemplar=True,
            interval="10m",
        )
    ],
    fields=Field(unit="short", decimals=0, noValue="no alerts"),
    color={
        "exponent": 0.5,
        "fill": MEASURED,
        "mode": "scheme",
        "reverse": False,
        "scale": "exponential",
        "scheme": "Blues",
        "steps": 64,
    },
    exemplars={"color": SOON},
    yAxis={"axisPlacement": "left", "reverse": False, "unit": "s"},
)
quantiles = lines(
    13,
    "Latency, P50 and P99 over $window",
    "The line is the objective: 99 of 100 decisions are to be quicker.",
    [
        Target(expr=quantile(0.99, LATENCY, "$window"), legendFormat="P99", exemplar=True),
        Target(expr=quantile(0.5, LATENCY, "$window"), legendFormat="P50"),
    ],
    look=Lines(
        unit="s",
        scaleDistribution={"type": "log", "log": 10},
        lineWidth=1,
        thresholds=Thresholds("transparent", [(THRESHOLD_S, NOW)]),
        thresholdsStyle=Style(mode="dashed"),
    ),
    overrides=[named("P99", MEASURED), named("P50", SECOND)],
    h=9,
)
unwell = lines(
    20,
    "Failed or too late",
    "Decisions that went wrong; their alerts paged, so nothing is lost but sleep.",
    over_5m({"{{status}}": rate(f'{DECISIONS}{{status=~"failed|too_late"}}', "status")}),
    look=Lines(unit="short", **STACKED_LINES, axisSoftMax=1),
    overrides=[named(status, color) for status, color in STATUSES.items()],
)
share = lines(
    21,
    "Share held or muted, over $window",
    "Of all alerts; a sudden change means other alerts, or another champion.",
    {
        action: ratio(
            summed(f'{DECISIONS}{{action="{action}"}}', "$window"), summed(DECISIONS, "$window")
        )
        for action in (Action.HOLD, Action.MUTE)
    },
    look=Lines(unit="percentunit", min=0, max=1, lineWidth=1),
    overrides=[named(action, color) for action, color in ACTIONS.items()],
)
held = Heatmap(
    id=22,
    title="How long real alerts were held",
    description="Alerts that turned out to be real, by the time for which they were kept off the "
    "pager; most are not held at all.",
    w=12,
    h=9,
    targets=[
        Target(
            expr=f"sum by (le) (increase({DELAY}_bucket[$__rate_interval]))",
            legendFormat="{{le}}",
            format="heatmap",
            interval="1h",
        )
    ],
    fields=Field(unit="short", decimals=0, noValue="no real alerts"),
    color=latency.color,
    exemplars=latency.exemplars,
    yAxis=latency.yAxis,
)
rows = lines(
    23,
    "Rows a minute",
    "What the gate writes: decisions, then outcomes when they become known, and verdicts.",
    over_5m(
        {
            "decisions": rate(DECISIONS),
            "outcomes": rate("noisegate_outcomes_total"),
            "verdicts": rate("noisegate_verdicts_total"),
        }
    ),
    look=Lines(unit="short", min=0, lineWidth=1),
    overrides=[named("decisions", MEASURED), named("outcomes", SECOND), named("verdicts", QUIET)],
    h=9,
)

dashboard = board(
    "noisegate-decisions",
    "Decisions",
    "What is done with alerts, why, and how quickly.",
    [
        first,
        Row(panels=[actions, reasons, latency, quantiles]),
        Row(id=30, title="What went wrong, and what it cost", panels=[unwell, share, held, rows]),
    ],
    since="now-24h",
    variables=[window_of("Over")],
)
