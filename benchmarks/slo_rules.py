"""SLO rules beside the usual ones on the same made-up series: alerts, budgets, query time.

    python -m benchmarks.slo_rules [--only alerts|tickets|budgets|queries]... [--days N]

Needs promtool and prometheus. `two` is the form of one page and one ticket alert, each quick or
slow; `four` has an alert for each pair of windows, with `for` of 2m, 15m, 1h and 3h. Both take the
rates of the raw counters. Every number is Prometheus' own: promtool evaluates the rules, a real
server answers the timed queries.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.slo_queries import queries, table
from observability.burn import CompileOptions, compile_slo
from observability.prometheus_rules import groups
from observability.promql import duration
from observability.slo import WORKBOOK, Events, Selector, Slo

Json = dict[str, Any]
OBJECTIVE = 0.999
ALL, BAD = "requests_total", 'requests_total{code="500"}'
GOOD = 'requests_total{code="200"}'
SLO = Slo(
    name="requests",
    display_name="Requests are answered",
    description="",
    service="shop",
    objective=OBJECTIVE,
    kind=Events(Selector(ALL), bad=Selector(ALL, (("code", "=", "500"),))),
    traffic_per_min=120_000,
)
PER_S = 2_000  # a tenth of the budget is a whole number of errors in 15 s


# The forms


def ours() -> list[Json]:
    return groups(compile_slo(SLO), CompileOptions())


def plain(waits: Sequence[str] | None) -> list[Json]:
    """One alert a severity (None), or one for each pair of windows with these waits."""
    windows = sorted({window for tier in WORKBOOK for window in (tier.long_s, tier.short_s)})
    rules: list[Json] = [
        {
            "record": f"requests:ratio{duration(window)}",
            "expr": f"sum(rate({BAD}[{duration(window)}]))/sum(rate({ALL}[{duration(window)}]))",
        }
        for window in windows
    ]
    pairs = [
        " and ".join(
            f"requests:ratio{duration(window)} > {tier.factor * (1 - OBJECTIVE):.12g}"
            for window in (tier.long_s, tier.short_s)
        )
        for tier in WORKBOOK
    ]
    labels = [{"slo": "requests", "severity": tier.severity} for tier in WORKBOOK]
    if waits is None:
        for at, name in ((0, "Page"), (2, "Ticket")):
            both = f"({pairs[at]}) or ({pairs[at + 1]})"
            rules.append({"alert": name, "expr": both, "labels": labels[at]})
    else:
        for tier, pair, label, wait in zip(WORKBOOK, pairs, labels, waits, strict=True):
            rules.append({"alert": tier.name, "expr": pair, "for": wait, "labels": label})
    return [{"name": "plain", "rules": rules}]


FORMS: dict[str, Callable[[], list[Json]]] = {
    "ours": ours,
    "two": lambda: plain(None),
    "four": lambda: plain(("2m", "15m", "1h", "3h")),
}


def only(found: list[Json], wanted: set[str]) -> list[Json]:
    """The rules with one of these names or labels: long runs are costly."""

    def names(rule: Json) -> set[str]:
        labels = rule.get("labels", {})
        own = {rule.get("record", ""), rule.get("alert", "")}
        return own | {labels.get("window", ""), labels.get("tier", "")}

    return [
        {**group, "rules": [rule for rule in group["rules"] if names(rule) & wanted]}
        for group in found
    ]


# Series


@dataclass(frozen=True)
class Phase:
    """A stretch of time."""

    seconds: float
    bad: float = 0.1
    """Multiples of the errors that are allowed; 1000 is all."""
    traffic: float = 1.0
    present: bool = True


def counters(phases: Sequence[Phase], step: int) -> dict[str, str]:
    """The good and the bad counter in promtool's notation."""
    found = {}
    for series, bad_one in ((GOOD, False), (BAD, True)):
        parts, level = [], 0
        for phase in phases:
            steps = round(phase.seconds / step)
            events = PER_S * step * phase.traffic
            bad = min(events, events * phase.bad * (1 - OBJECTIVE))
            each = round(bad if bad_one else events - bad)
            if phase.present:
                parts.append(f"{level + each}+{each}x{steps - 1}")
                level += each * steps
            else:
                parts.append(f"stale _x{steps - 1}")
                level = 0  # whoever comes back counts anew
        found[series] = " ".join(parts)
    return found


def ask(
    rules: list[Json], series: dict[str, str], step: int, end: int, queries: Sequence[str]
) -> list[list[tuple[dict[str, str], float]]]:
    """What queries give at `end` seconds; promtool says it where a test fails, so all do."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rules.yml").write_text(json.dumps({"groups": rules}))
        nonsense = [{"labels": "none", "value": -1}]
        document = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": f"{step}s",
            "group_eval_order": [group["name"] for group in rules],
            "tests": [
                {
                    "interval": f"{step}s",
                    "input_series": [
                        {"series": name, "values": values} for name, values in series.items()
                    ],
                    "promql_expr_test": [
                        {"expr": query, "eval_time": f"{end}s", "exp_samples": nonsense}
                        for query in queries
                    ],
                }
            ],
        }
        test = Path(folder) / "test.yml"
        test.write_text(json.dumps(document))
        command = ["promtool", "test", "rules", str(test)]
        text = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = re.findall(r"^\s+got:\s?(.*)$", text.stdout + text.stderr, re.M)
    if len(lines) != len(queries):
        raise SystemExit(f"promtool did not answer: {(text.stdout + text.stderr)[:2000]}")
    return [list(_samples(line)) for line in lines]


def _samples(line: str) -> Iterator[tuple[dict[str, str], float]]:
    for labels, value in re.findall(r"(?:\S*\{([^}]*)\})\s+(\S+?)(?:,|$)", line):
        yield dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)


# Minutes to page and to resolve


@dataclass(frozen=True)
class Drill:
    """What happens, and the calm before and after it."""

    name: str
    event: Phase
    after: Phase = field(default_factory=lambda: Phase(2 * 3_600))
    history_h: float = 6
    step: int = 15


DRILLS = (
    Drill("total outage, 10 min", Phase(600, bad=1_000)),
    Drill("15x, 75 min", Phase(75 * 60, bad=15)),
    Drill("7x, 6 h", Phase(6 * 3_600, bad=7)),
    Drill("3x, 3 d", Phase(72 * 3_600, bad=3), Phase(12 * 3_600), history_h=72, step=60),
    Drill("1x, 80 h", Phase(80 * 3_600, bad=1), Phase(12 * 3_600), history_h=72, step=60),
    Drill("vanished, 2 h", Phase(7_200, present=False), Phase(1_200)),
    Drill("stuck, 1 h", Phase(3_600, traffic=0), Phase(1_200)),
    Drill("idle, 15 min", Phase(900, traffic=0), Phase(1_200)),
)


def drill(case: Drill, form: str) -> str:
    """Of each alert, minutes until it fires / until it ends after the event."""
    phases = [Phase(case.history_h * 3_600), case.event, case.after]
    # The last calm sample is a step before the history's length: the first stands at 0.
    start = round(case.history_h * 3_600) - case.step
    end = start + round(case.event.seconds + case.after.seconds)
    times = f'timestamp(ALERTS{{alertstate="firing"}})[{end - start}s:{case.step}s]'
    queries = [f"{what}_over_time({times})" for what in ("min", "max")]
    series = counters(phases, case.step)
    first, last = (
        {labels["alertname"].removeprefix("Requests"): value for labels, value in answer}
        for answer in ask(FORMS[form](), series, case.step, end, queries)
    )
    cells = []
    for name, fires_at in sorted(first.items(), key=lambda item: item[1]):
        quiet_at = last[name] + case.step
        after = (quiet_at - start - case.event.seconds) / 60
        ends = "later" if quiet_at > end else f"{after:.4g}"
        cells.append(f"{name} {(fires_at - start) / 60:.4g} / {ends}")
    return "; ".join(cells) or "-"


def alerts_table() -> None:
    jobs = [(case, form) for case in DRILLS for form in FORMS]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(jobs, pool.map(lambda job: drill(*job), jobs), strict=True))
    print("\nMinutes until an alert fires / until it ends after the event, objective 99.9 %")
    table(["", *FORMS], [[c.name, *(found[c, form] for form in FORMS)] for c in DRILLS])


# Tickets at exactly the budget rate


def noisy(per_minute: float, days: int, seed: int) -> dict[str, str]:
    """Counters of Poisson traffic of which exactly the allowed share is bad, in the mean."""
    draw = np.random.default_rng(seed)
    bad = draw.poisson(per_minute * (1 - OBJECTIVE), days * 1_440)
    good = draw.poisson(per_minute * OBJECTIVE, days * 1_440)
    return {
        name: " ".join(map(str, np.cumsum(events))) for name, events in ((GOOD, good), (BAD, bad))
    }


def tickets(per_minute: float, usual: bool, days: int, seed: int) -> dict[str, int]:
    """Tickets of so many days, by form, after three days in which windows fill.

    Those that begin then, and those that are open at their start.
    """
    tiers = [tier for tier in WORKBOOK if tier.severity == "ticket"]
    windows = {duration(window) for tier in tiers for window in (tier.long_s, tier.short_s)}
    names = {"Ticket", *(tier.name for tier in tiers)}
    if usual:
        ratios = {f"requests:ratio{window}" for window in windows}
        (two,), (four,) = FORMS["two"](), FORMS["four"]()
        waiting = [rule for rule in four["rules"] if "alert" in rule]
        rules = only([{**two, "rules": two["rules"] + waiting}], ratios | names)
    else:
        counts = {"slo:objective:ratio", "slo:total:count1m", "slo:bad:count1m"}
        rules = only(ours(), counts | windows | names)
    firing = 'ALERTS{alertstate="firing",severity="ticket"}'
    begun = f"({firing} unless {firing} offset 1m)[86340s:1m]"
    # By the day: promtool loads at most 10,000 samples in a query.
    queries = [
        f"sum by (alertname) (sum_over_time({begun} offset {86_400 * day + 60}s))"
        for day in range(days)
    ]
    queries.append(f"count by (alertname) ({firing} offset {86_400 * days}s)")
    end = (days + 3) * 86_400 - 60
    found = dict.fromkeys(("two", "four") if usual else ("ours",), 0)
    for answer in ask(rules, noisy(per_minute, days + 3, seed), 60, end, queries):
        for labels, value in answer:
            form = "ours" if not usual else "two" if labels["alertname"] == "Ticket" else "four"
            found[form] += round(value)
    return found


def tickets_table(days: int) -> None:
    rates = (10.0, 100.0, 1_000.0)
    jobs = [(rate, usual, days, seed) for seed, rate in enumerate(rates) for usual in (False, True)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: tickets(*job), jobs))
    print(f"\nTickets in {days} days at exactly the budget rate, Poisson traffic")
    rows = []
    for mine, theirs, rate in zip(found[::2], found[1::2], rates, strict=True):
        by_form = mine | theirs
        rows.append([f"{rate:g} events/min", *(str(by_form[form]) for form in FORMS)])
    table(["", *FORMS], rows)


# Budgets against counted events


@dataclass(frozen=True)
class Budget:
    """Events by the minute, and what Prometheus does not see of them."""

    name: str
    good: np.ndarray
    bad: np.ndarray
    restarts: tuple[int, ...] = ()
    missed: tuple[int, ...] = ()
    """Minutes in which no scrape succeeds."""

    def series(self) -> dict[str, str]:
        """Its counters in promtool's notation, interval 1m."""
        found = {}
        for name, events in ((GOOD, self.good), (BAD, self.bad)):
            values, level, born = [], 0, False
            for minute, count in enumerate(events.tolist()):
                level = count if minute in self.restarts else level + count
                born = born or name == GOOD or level > 0
                gone = minute in self.missed
                values.append(("stale" if gone else str(level)) if born else "_")
            found[name] = " ".join(values)
        return found

    def left(self) -> float:
        """Share of budget left, by counting; the last minute is not scraped yet."""
        good, bad = self.good[1:-1].sum(), self.bad[1:-1].sum()
        return float(1 - bad / (good + bad) / (1 - OBJECTIVE))


def budgets() -> Iterator[Budget]:
    draw = np.random.default_rng(7)
    minutes = np.arange(3 * 1_440)
    day = (minutes % 1_440 >= 480) & (minutes % 1_440 < 1_200)

    def drawn(name: str, per_minute: np.ndarray, share: np.ndarray, **what: Any) -> Budget:
        return Budget(
            name, draw.poisson(per_minute * (1 - share)), draw.poisson(per_minute * share), **what
        )

    level, few = np.full(len(minutes), 10_000.0), np.full(len(minutes), 0.0004)
    yield drawn("steady", level, few)
    idle = np.where((minutes % 1_440 >= 100) & (minutes % 1_440 < 112), 0, level)
    yield drawn("idle for 12 minutes a day", idle, few)
    yield drawn(
        "day/night 100:1, errors at night", np.where(day, level, 100), np.where(day, 0.0001, 0.02)
    )
    yield drawn("restart every 4 h", level, few, restarts=tuple(range(240, 4_320, 240)))
    gaps = tuple(m for start in range(200, 4_320, 300) for m in range(start, start + 3))
    yield drawn("three scrapes missed every 5 h", level, few, missed=gaps)
    late = np.where(minutes >= 2_000, 0.0004, 0.0)
    yield drawn("first error ever on the second day", level, late)


def budget_row(case: Budget) -> list[str]:
    end = (len(case.good) - 1) * 60
    rules = only(
        ours(),
        {"slo:total:count1m", "slo:bad:count1m", "slo:budget:remaining"}
        | {"slo:total:count", "slo:bad:count"},
    )
    ratio = f"sum(rate({BAD}[5m])) / sum(rate({ALL}[5m]))"
    rules.append({"name": "mean", "rules": [{"record": "requests:ratio5m", "expr": ratio}]})
    mean = "sum_over_time(requests:ratio5m[30d]) / count_over_time(requests:ratio5m[30d])"
    increase = f"sum(increase({BAD}[{end}s])) / sum(increase({ALL}[{end}s]))"
    queries = ["slo:budget:remaining", *(f"1 - ({q}) / 0.001" for q in (mean, increase))]
    left = case.left()
    found = [
        answer[0][1] if answer else float("nan")
        for answer in ask(rules, case.series(), 60, end, queries)
    ]
    spent = 1 - left
    errors = [
        "NaN" if value != value else f"{value:.4f} ({abs(value - left) / spent:.2%})"
        for value in found
    ]
    return [case.name, f"{left:.4f}", *errors]


def budgets_table() -> None:
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(budget_row, budgets()))
    print("\nBudget left after 3 days (error of the spent share against counted events)")
    table(["", "counted", "ours", "mean of ratios", "increase over all"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=TABLES, help="repeatable; default: all")
    parser.add_argument("--days", type=int, default=30, help="of the table of tickets")
    args = parser.parse_args()
    for name in args.only or TABLES:
        TABLES[name](args.days)


TABLES: dict[str, Callable[[int], None]] = {
    "queries": lambda days: queries(),
    "budgets": lambda days: budgets_table(),
    "alerts": lambda days: alerts_table(),
    "tickets": tickets_table,
}

if __name__ == "__main__":
    main()
