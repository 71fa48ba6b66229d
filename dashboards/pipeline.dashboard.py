"""Pipeline: does retraining go well, is the champion fresh, and is personal data kept out."""

from dashboards.board import (
    BLIND,
    BY_VALUE,
    CELLS,
    GOOD,
    MEASURED,
    NOW,
    QUIET,
    SECOND,
    SOON,
    STACKED_BARS,
    STACKED_LINES,
    STRONG,
    board,
    grown,
    label_of,
    limit,
    lines,
    merged,
    named,
    number,
    rate,
    slos,
)
from dashboards.grafana11 import (
    Annotation,
    BarGauge,
    Column,
    Field,
    Legend,
    Lines,
    Override,
    Row,
    Style,
    Table,
    Target,
    Thresholds,
)
from observability import texts

FLOW = 'flow=~"$flow"'
BAD = f'{FLOW},outcome=~"failed|crashed"'
OUTCOMES = {
    "promoted": GOOD,
    "unchanged": QUIET,
    "refused": MEASURED,
    "failed": NOW,
    "crashed": BLIND,
}
"""promoted, refused and unchanged are good; a crashed run left no reason."""
STAGE = 'noisegate_run_last_stage_duration_seconds{flow="retrain"}'
CHAMPION_S = texts.limit(slos()["champion-freshness"])
ALERTS_S = texts.limit(slos()["alert-freshness"])
RETRAIN_S = texts.limit(slos()["retrain-duration"])
SLOW = Thresholds(GOOD, [(0.8 * RETRAIN_S, SOON), (RETRAIN_S, NOW)])

first = Row(
    panels=[
        number(
            1,
            "Failures in a row",
            "Runs that failed or crashed, up to the newest, of the flow that has most. The first "
            "of a retraining is a ticket.",
            f"max(noisegate_run_consecutive_failures{{{FLOW}}})",
            steps=[(1, NOW)],
            empty="no runs",
            colorMode="background",
        ),
        number(
            2,
            "Since a good retrain",
            "Time since a retraining that ended promoted, refused or unchanged.",
            'time() - max(noisegate_run_last_success_timestamp_seconds{flow="retrain"})',
            unit="s",
            decimals=1,
            steps=[(0.9 * CHAMPION_S, SOON), (CHAMPION_S, NOW)],
            empty="never",
        ),
        number(
            3,
            "Champion confirmed",
            "Time since a run promoted the champion or found it still the best.",
            "time() - max(noisegate_champion_confirmed_timestamp_seconds)",
            unit="s",
            decimals=1,
            steps=[(0.9 * CHAMPION_S, SOON), (CHAMPION_S, NOW)],
            empty="no champion",
        ),
        number(
            4,
            "Newest alert",
            "Age of the newest alert stored: nothing is learned from a history that has stopped.",
            "time() - max(noisegate_newest_alert_timestamp_seconds)",
            unit="s",
            decimals=1,
            steps=[(0.5 * ALERTS_S, SOON), (ALERTS_S, NOW)],
            empty="no alerts",
        ),
        number(
            5,
            "PII canary missed",
            "Canaries in a row, up to the newest, whose made-up personal data came out again.",
            "max(noisegate_pii_canary_consecutive_failures)",
            steps=[(1, NOW)],
            empty="no canary",
            colorMode="background",
        ),
        number(
            6,
            "Champion",
            "Version of the champion that decides.",
            "max(noisegate_champion_version)",
            unit="prefix:v",
            base=QUIET,
            empty="none",
        ),
    ]
)

runs = lines(
    10,
    "Runs a day, by how they ended",
    "The last 30 days. Promoted, refused and unchanged are good; failed and crashed are not.",
    [
        Target(
            expr=grown(f"noisegate_runs_total{{{FLOW}}}", "1d", "outcome"),
            legendFormat="{{outcome}}",
            interval="1d",
        )
    ],
    look=Lines(unit="short", decimals=0, **STACKED_BARS, axisSoftMax=4),
    overrides=[named(outcome, color) for outcome, color in OUTCOMES.items()],
    legend=Legend(calcs=["sum"]),
    timeFrom="30d",
)
flows = Table(
    id=11,
    title="Flows",
    description="The newest run of each flow: when it ended, when one last went well, how long it "
    "took, and how many failed in a row.",
    w=12,
    h=8,
    targets=[
        Target(expr=f"max by (flow) ({expr})", format="table", instant=True, legendFormat="")
        for expr in (
            f"noisegate_run_consecutive_failures{{{FLOW}}}",
            f"time() - noisegate_run_last_end_timestamp_seconds{{{FLOW}}}",
            f"time() - noisegate_run_last_success_timestamp_seconds{{{FLOW}}}",
            f"noisegate_run_last_duration_seconds{{{FLOW}}}",
            f"{grown(f'noisegate_runs_total{{{FLOW}}}', '$__range', 'flow')}",
        )
    ],
    transformations=merged(
        {
            "flow": "Flow",
            "Value #A": "Failed",
            "Value #E": "Runs",
            "Value #B": "Ended",
            "Value #C": "Went well",
            "Value #D": "Took",
        }
    ),
    fields=Column(**CELLS),
    overrides=[
        Override("Flow", Column(width=85)),
        Override("Runs", Column(decimals=0, width=60)),
        Override(
            "Failed",
            Column(
                thresholds=Thresholds(GOOD, [(1, NOW)]),
                cellOptions=Style(type="color-text"),
                width=70,
            ),
        ),
        Override("/Ended|Went well|Took/", Column(unit="s", decimals=1, width=115)),
    ],
)
duration = lines(
    12,
    "Duration of the newest run",
    "Of each flow; the line is what a retraining may take.",
    {
        "{{flow}}": f"noisegate_run_last_duration_seconds{{{FLOW}}} / 60",
        "limit of a retraining": 'max(slo:level:limit{slo="retrain-duration"}) / 60',
    },
    look=Lines(unit="m", min=0, lineInterpolation="stepAfter"),
    overrides=[
        limit("limit of a retraining"),
        named("retrain", MEASURED),
        named("tune", SECOND),
        named("rollback", QUIET),
    ],
)
stages = lines(
    13,
    "Stages of the newest retraining",
    "Where its time went; a stage that the run did not come to takes none.",
    {"{{stage}}": f"max by (stage) ({STAGE}) / 60"},
    look=Lines(unit="m", lineInterpolation="stepAfter", **STACKED_LINES),
    overrides=[
        named("snapshot", SECOND),
        named("train", MEASURED),
        named("register", STRONG),
        named("promote", GOOD),
    ],
)
failures = lines(
    14,
    "Failures in a row",
    "Runs that failed or crashed, up to the newest one.",
    {"{{flow}}": f"noisegate_run_consecutive_failures{{{FLOW}}}"},
    look=Lines(
        unit="short",
        decimals=0,
        min=0,
        axisSoftMax=2,
        lineInterpolation="stepAfter",
        fillOpacity=20,
        thresholds=Thresholds("transparent", [(1, NOW)]),
        thresholdsStyle=Style(mode="dashed"),
    ),
    overrides=[named("retrain", MEASURED), named("tune", SECOND), named("rollback", QUIET)],
)
version = lines(
    15,
    "Version of the champion",
    "Steps up: promotions; steps down: roll-backs. Refusals are marks without a step.",
    {"version": "max(noisegate_champion_version)"},
    look=Lines(unit="prefix:v", decimals=0, lineInterpolation="stepAfter", fillOpacity=10),
    overrides=[named("version", MEASURED)],
    legend=Legend(showLegend=False),
)

confirmed = lines(
    20,
    "Champion last confirmed",
    "Time since a run promoted it or found it still the best, and what is allowed.",
    {
        "age": "(time() - max(noisegate_champion_confirmed_timestamp_seconds)) / 86400",
        "limit": 'max(slo:level:limit{slo="champion-freshness"}) / 86400',
    },
    look=Lines(unit="suffix: d", min=0, fillOpacity=10),
    overrides=[named("age", MEASURED), limit("limit")],
    w=8,
)
newest = lines(
    21,
    "Age of the newest alert",
    "It rises while no alert comes, and falls with each one.",
    {
        "age": "(time() - max(noisegate_newest_alert_timestamp_seconds)) / 3600",
        "limit": 'max(slo:level:limit{slo="alert-freshness"}) / 3600',
    },
    look=Lines(unit="suffix: h", min=0, fillOpacity=10),
    overrides=[named("age", MEASURED), limit("limit")],
    w=8,
)
stored = lines(
    22,
    "Alerts stored a minute",
    "By where they came from: live ones, imports, simulated ones.",
    {"{{origin}}": rate("noisegate_alerts_total", "origin")},
    look=Lines(unit="short", **STACKED_LINES),
    overrides=[named("live", MEASURED), named("import", SECOND), named("simulated", QUIET)],
    w=8,
)

scrubbed = BarGauge(
    id=30,
    title="Replaced by the scrubber",
    description="Personal data and secrets that the scrubber replaced within the time range.",
    w=8,
    h=8,
    targets=[
        Target(
            expr="topk(8, "
            + grown("noisegate_scrubbed_entities_total", "$__range", "entity")
            + " > 0)",
            legendFormat="{{entity}}",
            instant=True,
        )
    ],
    fields=Field(
        unit="short", min=0, color=BY_VALUE, thresholds=Thresholds(MEASURED), noValue="none"
    ),
)
found = lines(
    31,
    "Found in snapshots",
    "Personal data that an audit still found in a snapshot: each is a hole in the rules.",
    [
        Target(
            expr=grown("noisegate_snapshot_findings_total", "1d", "entity") + " > 0",
            legendFormat="{{entity}}",
            interval="1d",
        )
    ],
    look=Lines(unit="short", decimals=0, **STACKED_BARS, noValue="none found"),
    w=8,
)
canary = lines(
    32,
    "PII canary",
    "Made-up personal data sent through the scrubber by each run, and what came out again.",
    [
        Target(
            expr=grown("noisegate_pii_canary_planted_total", "1d"),
            legendFormat="planted",
            interval="1d",
        ),
        Target(
            expr=grown("noisegate_pii_canary_missed_total", "1d"),
            legendFormat="missed",
            interval="1d",
        ),
    ],
    look=Lines(unit="short", decimals=0, drawStyle="bars", fillOpacity=80, lineWidth=0, min=0),
    overrides=[named("planted", QUIET), named("missed", NOW)],
    legend=Legend(calcs=["sum"]),
    w=8,
)
scrape = lines(
    33,
    "Scrape of the exporter",
    "Time that the last scrape took; it grows with the rows that are new, not with all.",
    {"took": "max(noisegate_exporter_collect_duration_seconds)"},
    look=Lines(unit="s", min=0),
    overrides=[named("took", MEASURED)],
    legend=Legend(showLegend=False),
)
counted = lines(
    34,
    "Rows counted by each scrape",
    "Decisions, outcomes, runs and events that were new.",
    {"rows": "max(noisegate_exporter_collect_rows)"},
    look=Lines(unit="short", min=0),
    overrides=[named("rows", MEASURED)],
    legend=Legend(showLegend=False),
)


def grew(name: str, counter: str, color: str) -> Annotation:
    """Marks where a counter grew."""
    # Steps are long in a long time range: the second part sees what falls between two of them.
    expr = " or ".join(f"sum(increase({counter}[{over}])) > 0" for over in ("10m", "$__interval"))
    return Annotation(name=name, expr=expr, iconColor=color)


dashboard = board(
    "noisegate-pipeline",
    "Pipeline",
    "Does retraining go well, is the champion fresh, is personal data kept out?",
    [
        first,
        Row(panels=[runs, flows]),
        Row(id=40, title="Runs", panels=[duration, stages, failures, version]),
        Row(id=41, title="Freshness", panels=[confirmed, newest, stored]),
        Row(id=42, title="Personal data", panels=[scrubbed, found, canary]),
        Row(id=43, title="Exporter", panels=[scrape, counted], collapsed=True),
    ],
    since="now-7d",
    variables=[
        label_of("flow", "Flow", "The flows whose runs are shown.", "noisegate_runs_total", "flow")
    ],
    annotations=[
        grew("Promoted", 'noisegate_promotions_total{action="promote"}', GOOD),
        grew("Rolled back", 'noisegate_promotions_total{action="rollback"}', SOON),
        grew("Refused", f'noisegate_runs_total{{{FLOW},outcome="refused"}}', MEASURED),
        grew("Failed", f"noisegate_runs_total{{{BAD}}}", NOW),
    ],
)
