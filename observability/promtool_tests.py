"""Compiled SLO -> promtool tests of its rules: what happens to it, and who must be told when.

A plain count of the events (`expected.py`) says when; the rules must say the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from observability import synthetic
from observability.burn import Compiled
from observability.expected import Minute, budget_left, firing
from observability.promql import Counted, duration, number
from observability.slo import Freshness, Slo
from observability.states import silence_s

Json = dict[str, Any]

MARGIN = 2
"""Minutes before and after a change in which nothing is asserted: samples and rules are apart."""

GAP = 9
"""Minutes without an event at low traffic: more than the shortest window, less than a silence."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Some minutes of the same kind."""

    minutes: int
    each: Minute


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to an SLO."""

    name: str
    phases: tuple[Phase, ...]
    unborn: bool = False
    """The bad series does not exist before its first event."""

    def minutes(self) -> list[Minute]:
        """All of them, in order."""
        return [phase.each for phase in self.phases for _ in range(phase.minutes)]


def tests(compiled: Compiled, rules: str, groups: Sequence[str]) -> Json:
    """The document of `promtool test rules` for one SLO.

    Args:
        compiled: the SLO.
        rules: path of its rule file, relative to the test file.
        groups: names of its rule groups, in the order of evaluation.
    """
    slo = compiled.slo
    scenarios = _events(slo) if Counted.of(slo) else _levels(slo)
    return {
        "rule_files": [rules],
        "evaluation_interval": "1m",
        "group_eval_order": list(groups),
        "tests": [_test(compiled, scenario) for scenario in scenarios],
    }


def _test(compiled: Compiled, scenario: Scenario) -> Json:
    slo, minutes = compiled.slo, scenario.minutes()
    tiers = [alert.tier for alert in compiled.alerts]
    by_minute = [found & set(tiers) for found in firing(slo, minutes)]
    chosen = f'slo="{slo.name}",alertstate="firing"'
    budget = [_budget(slo, minutes)] if Counted.of(slo) else []
    return {
        "name": f"{slo.name}: {scenario.name}",
        "interval": "1m",
        "input_series": synthetic.series(slo, minutes, scenario.unborn),
        "promql_expr_test": [
            {
                "expr": f"count by (tier) (ALERTS{{{chosen}}})",
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": f'{{tier="{tier}"}}', "value": 1}
                    for tier in tiers
                    if tier in by_minute[minute]
                ],
            }
            for minute in _moments(by_minute)
        ]
        + budget,
    }


def _budget(slo: Slo, minutes: Sequence[Minute]) -> Json:
    """The budget at the end, within a thousandth; counts are a sample behind."""
    labels = f'{{slo="{slo.name}",period="{duration(slo.window_s)}"}}'
    left = number(budget_left(slo, minutes[:-1]))
    return {
        "expr": f"abs(slo:budget:remaining{labels} - {left}) < bool 0.001",
        "eval_time": f"{len(minutes) - 1}m",
        "exp_samples": [
            {
                "labels": f'{{slo="{slo.name}",service="{slo.service}",'
                f'period="{duration(slo.window_s)}"}}',
                "value": 1,
            }
        ],
    }


def _moments(by_minute: Sequence[set[str]]) -> list[int]:
    """Minutes just before and after each change, and the last one, where nothing changes near."""
    last = len(by_minute) - 1
    changes = [
        minute for minute in range(1, last + 1) if by_minute[minute] != by_minute[minute - 1]
    ]
    wanted = {last}
    for change in changes:
        wanted |= {change - 1 - MARGIN, change + MARGIN}
    return sorted(
        minute
        for minute in wanted
        if 0 < minute <= last and not any(-MARGIN < change - minute <= MARGIN for change in changes)
    )


def _events(slo: Slo) -> list[Scenario]:
    """Of the kinds that count events: multiples are those of the bad share that is allowed."""
    allowed, counted = 1 - slo.objective, Counted.of(slo)
    assert counted is not None
    traffic = ceil(1_000 / allowed)  # whole numbers: promtool adds them up without rounding
    idle, gone = Minute(0, 0), Minute(0, 0, present=False)

    def at(times: float) -> Minute:
        return Minute(traffic, min(traffic, round(times * allowed * traffic)))

    well, calm, total = at(0), at(0.1), Minute(traffic, traffic)
    found = [
        Scenario(
            "the first errors ever are a total outage, and it recovers",
            (Phase(70, well), Phase(12, total), Phase(48, well)),
            unborn=True,
        ),
        Scenario("at half the budget", (Phase(150, at(0.5)),)),
        Scenario("idle, and back", (Phase(60, calm), Phase(20, idle), Phase(20, calm))),
        Scenario("vanished, and back", (Phase(30, calm), Phase(25, gone), Phase(10, calm))),
        Scenario("it stands still", (Phase(40, calm), Phase(_silence(slo), idle), Phase(5, calm))),
    ]
    if not counted.part_is_good:  # without the good events all would be bad
        part = Minute(traffic, 0, part=False)
        found.append(Scenario("the bad series is gone", (Phase(10, calm), Phase(20, part))))
    if counted.part.metric != counted.total.metric:
        wrong = Minute(traffic, -traffic if counted.part_is_good else 2 * traffic)
        found.append(Scenario("more of a part than of all", (Phase(20, calm), Phase(10, wrong))))
    if slo.tiers:
        found += [
            Scenario("errors at 15 times the budget", (Phase(70, calm), Phase(75, at(15)))),
            Scenario("errors at 3 times the budget", (Phase(10, calm), Phase(170, at(3)))),
        ]
    if any(tier.short_s < GAP * 60 for tier in slo.tiers):
        few, failed, none = Minute(2, 0), Minute(2, 2), Phase(GAP, idle)
        outage = (Phase(12, failed), none, Phase(2, failed), none)
        found.append(Scenario("an outage at low traffic", (Phase(40, few), *outage, Phase(5, few))))
    return found


def _levels(slo: Slo) -> list[Scenario]:
    """Of the kinds that watch a gauge; `bad` is the level, in multiples of the limit."""
    well, over, gone = Minute(1, 0.5), Minute(1, 1.5), Minute(1, 0.5, present=False)
    found = [
        Scenario("over the limit, and mended", (Phase(10, well), Phase(10, over), Phase(10, well))),
        Scenario(
            "over the limit, and just below it",
            (Phase(10, over), Phase(10, Minute(1, 0.95)), Phase(10, well)),
        ),
        Scenario("vanished, and back", (Phase(10, well), Phase(15, gone), Phase(10, well))),
        Scenario("gone while over", (Phase(10, over), Phase(15, gone))),
    ]
    if isinstance(slo.kind, Freshness):
        found.append(Scenario("made in the future", (Phase(10, well), Phase(10, Minute(1, -1)))))
    return found


def _silence(slo: Slo) -> int:
    """Minutes without an event after which that is told, and some more."""
    return round(silence_s(slo) / 60) + 15
