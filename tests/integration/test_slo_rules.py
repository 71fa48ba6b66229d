"""The rules of our SLOs in Prometheus' own rule engine (promtool)."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from observability.burn import CompileOptions, compile_slo
from observability.expected import Minute, firing
from observability.prometheus_rules import groups, rule_files
from observability.slo import Events, Selector, Slo
from observability.specs import load_slos

Json = dict[str, Any]
SLOS = {slo.name: slo for slo in load_slos()}
TOTAL = 'requests_total{code="200"}'
BAD = 'requests_total{code="500"}'
REQUESTS = Slo(
    name="requests",
    display_name="Requests are answered",
    description="",
    service="shop",
    objective=0.999,
    kind=Events(
        Selector("requests_total"), bad=Selector("requests_total", (("code", "=", "500"),))
    ),
    traffic_per_min=1_000,
)

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")


def promtool(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run_tests(
    folder: Path, rules: list[Json], series: dict[str, str], tests: Json, step: str
) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yml").write_text(json.dumps({"groups": rules}))
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": step,
        "group_eval_order": [group["name"] for group in rules],
        "tests": [
            {
                "interval": step,
                "input_series": [{"series": name, "values": text} for name, text in series.items()],
                **tests,
            }
        ],
    }
    (folder / "test.yml").write_text(json.dumps(document))
    return promtool("test", "rules", "test.yml", cwd=folder)


def answers(
    folder: Path,
    rules: list[Json],
    series: dict[str, str],
    at: Sequence[tuple[str, str]],
    step: str,
) -> list[str]:
    """What queries give at some times: promtool says it where a test fails, so every one does."""
    wrong = [{"labels": "none", "value": -1}]
    tests = [{"expr": query, "eval_time": time, "exp_samples": wrong} for query, time in at]
    done = run_tests(folder, rules, series, {"promql_expr_test": tests}, step)
    found = re.findall(r"^\s+got:\s?(.*)$", done.stdout + done.stderr, re.M)
    assert len(found) == len(at), done.stdout + done.stderr
    return found


def test_the_rules_of_all_our_slos_are_clean(tmp_path: Path) -> None:
    files = rule_files([compile_slo(slo) for slo in SLOS.values()])
    write(tmp_path, files)
    rules = [name for name in files if name.endswith(".rules.yaml")]
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", *rules, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", sorted(SLOS))
def test_the_rules_say_what_counting_says(name: str, tmp_path: Path) -> None:
    write(tmp_path, rule_files([compile_slo(SLOS[name])]))
    done = promtool("test", "rules", f"rules/tests/{name}.test.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("14.4 -", "30 -"), id="another factor"),
        pytest.param(
            lambda text: re.sub(r"\n *or \(\(.* unless .*and on \(\) count.*", "", text),
            id="a series' first events are not counted",
        ),
        pytest.param(
            lambda text: text.replace("decisions_total[6m]", "decisions_total[30m]"),
            id="series that are gone are told too late",
        ),
        pytest.param(lambda text: text.replace(" == 1\n", " == 2\n"), id="no alert fires"),
        pytest.param(
            lambda text: text.replace("slo:total:count1m{", "slo:bad:count1m{"),
            id="the budget is taken of the bad events",
        ),
    ],
)
def test_a_rule_that_is_wrong_fails_its_tests(change: Callable[[str], str], tmp_path: Path) -> None:
    files = rule_files([compile_slo(SLOS["decision-availability"])])
    rules, tests = files
    changed = change(files[rules])
    assert changed != files[rules]
    document = yaml.safe_load(files[tests])
    bite = ("total outage", "vanished", "15 times")
    document["tests"] = [t for t in document["tests"] if any(word in t["name"] for word in bite)]
    write(tmp_path, {rules: changed, tests: yaml.safe_dump(document)})
    assert promtool("check", "rules", rules, cwd=tmp_path).returncode == 0
    assert promtool("test", "rules", tests, cwd=tmp_path).returncode == 1


def counters(*phases: tuple[int, int, int]) -> dict[str, str]:
    """Good and bad counters in promtool's notation, of (steps, good, bad) for each step."""
    parts: dict[str, list[str]] = {TOTAL: [], BAD: []}
    level = {TOTAL: 0, BAD: 0}
    for steps, *each in phases:
        for name, count in zip(parts, each, strict=True):
            parts[name].append(f"{level[name] + count}+{count}x{steps - 1}")
            level[name] += count * steps
    return {name: " ".join(values) for name, values in parts.items()}


def test_a_total_outage_pages_in_a_minute_and_ends_within_six(tmp_path: Path) -> None:
    calm, outage = (250, 9_999, 1), (40, 0, 10_000)
    start = 249 * 15  # the last good sample
    state = 'slo:firing:state{tier="page_1h"}'
    end = start + 40 * 15
    times = (start + 45, start + 75, end + 240, end + 360)
    found = answers(
        tmp_path,
        groups(compile_slo(REQUESTS), CompileOptions())[:1],
        counters(calm, outage, (30, 9_999, 1)),
        [(state, f"{time}s") for time in times],
        "15s",
    )
    assert [float(line.split()[-1]) for line in found] == [0, 1, 1, 0]


def test_the_texts_of_a_page_hold_numbers_and_links(tmp_path: Path) -> None:
    compiled = compile_slo(REQUESTS, CompileOptions("https://grafana", "https://books"))
    alert = next(alert for alert in compiled.alerts if alert.tier == "page_1h")
    # 9 of 60 minutes are bad: 150 times what is allowed. The budget is two minutes behind: 7 of 67.
    expected = {
        name: text.replace("{{ $value | humanize }}", "150")
        for name, text in alert.annotations.items()
    } | {"budget_left": "-10347.8%", "exhausted_in": "0s"}
    test = {
        "alertname": alert.name,
        "eval_time": "69m",
        "exp_alerts": [{"exp_labels": dict(alert.labels), "exp_annotations": expected}],
    }
    rules = groups(compiled, CompileOptions())
    series = counters((61, 1_000, 0), (9, 0, 1_000))
    done = run_tests(tmp_path, rules, series, {"alert_rule_test": [test]}, "1m")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [1, 2])
def test_the_budget_is_what_counting_gives(seed: int, tmp_path: Path) -> None:
    """Day and night 100:1, idle stretches, missed scrapes, restarts, an error series born late."""
    draw = np.random.default_rng(seed)
    minutes = np.arange(720)
    traffic = np.where(minutes % 240 < 120, 10_000, 100) * (minutes % 97 > 12)
    events = {
        TOTAL: draw.poisson(traffic),
        BAD: draw.poisson(traffic * np.where(minutes > 90, 0.004, 0)),
    }
    restarts, missed = set(draw.integers(100, 700, 4)), set(draw.integers(20, 700, 30))
    missed -= {minute - 1 for minute in restarts}  # what is counted then, nobody can know
    series = {}
    for name, counts in events.items():
        values, level, born = [], 0, name == TOTAL
        for minute, count in enumerate(counts.tolist()):
            level = count if minute in restarts else level + count
            born = born or level > 0
            values.append("_" if not born else "stale" if minute in missed else str(level))
        series[name] = " ".join(values)
    bad, good = (int(events[name][1:-1].sum()) for name in (BAD, TOTAL))
    found = answers(
        tmp_path,
        groups(compile_slo(REQUESTS), CompileOptions())[1:],
        series,
        [("slo:budget:remaining", "719m"), ("sum_over_time(slo:total:count1m[30d])", "719m")],
        "1m",
    )
    left, total = (float(line.split()[-1]) for line in found)
    assert total == good + bad
    assert left == pytest.approx(1 - bad / (good + bad) / 0.001, rel=1e-3)


def test_what_is_no_number_is_told_and_never_recorded(tmp_path: Path) -> None:
    slo = SLOS["retrain-duration"]
    broken = {
        "name": "broken",
        "rules": [
            {
                "record": "noisegate_run_last_duration_seconds",
                "labels": {"flow": "retrain"},
                "expr": "vector(0) / 0",
            }
        ],
    }
    rules = [broken, *groups(compile_slo(slo), CompileOptions())]
    queries = ('slo:firing:state{tier="invalid"}', "slo:level:value", "slo:budget:remaining")
    found = answers(tmp_path, rules, {}, [(query, "10m") for query in queries], "1m")
    assert found[0].split()[-1] == "1E+00"
    assert found[1] == "nil"
    assert found[2].split()[-1] == "1E+00"


def test_an_idle_service_keeps_its_budget_and_a_new_one_has_it_all(tmp_path: Path) -> None:
    rules = groups(compile_slo(REQUESTS), CompileOptions())
    series = counters((30, 9_995, 5), (30, 0, 0))
    at = [("slo:budget:remaining", time) for time in ("0m", "35m", "59m")]
    first, before, after = (
        float(line.split()[-1]) for line in answers(tmp_path, rules, series, at, "1m")
    )
    assert first == 1
    assert before == after == pytest.approx(0.5)


def test_a_state_outlives_a_pause_of_prometheus(tmp_path: Path) -> None:
    """Nothing is recorded for half an hour: what was held still is, below the factor."""
    paused = [
        {
            **group,
            "rules": [
                rule
                if rule.get("record") != "slo:firing:state"
                else {
                    **rule,
                    "expr": f"({rule['expr']}) unless on () (vector(time()) > 4500 < 6300)",
                }
                for rule in group["rules"]
            ],
        }
        for group in groups(compile_slo(REQUESTS), CompileOptions())[:1]
    ]
    series = counters((66, 10_000, 0), (6, 0, 10_000), (100, 9_860, 139))
    state = 'slo:firing:state{tier="page_1h"}'
    found = answers(tmp_path, paused, series, [(state, f"{m}m") for m in (72, 90, 110)], "1m")
    assert [found[0].split()[-1], found[1], found[2].split()[-1]] == ["1E+00", "nil", "1E+00"]


@pytest.mark.parametrize(
    ("name", "scenario", "change"),
    [
        pytest.param(
            "retrain-duration",
            "just below",
            lambda text: text.replace("(1 - 0.1 *", "(1 - 0.001 *"),
            id="a level that is clearly below only",
        ),
        pytest.param(
            "decision-availability",
            "low traffic",
            lambda text: text.replace("unless on (window)", "unless on (tier)"),
            id="no events in the short window",
        ),
    ],
)
def test_what_holds_an_alert_is_tested(
    name: str, scenario: str, change: Callable[[str], str], tmp_path: Path
) -> None:
    files = rule_files([compile_slo(SLOS[name])])
    rules, tests = files
    document = yaml.safe_load(files[tests])
    document["tests"] = [test for test in document["tests"] if scenario in test["name"]]
    assert len(document["tests"]) == 1
    changed = change(files[rules])
    assert changed != files[rules]
    write(tmp_path, {rules: changed, tests: yaml.safe_dump(document)})
    assert promtool("test", "rules", tests, cwd=tmp_path).returncode == 1


def test_a_page_stands_through_an_outage_at_low_traffic(tmp_path: Path) -> None:
    """0.4 events a minute: every eighth window of 5 minutes is empty."""
    events = np.random.default_rng(3).poisson(0.4 / 4, 4 * 300)
    good, bad = (
        np.cumsum(events * calm) for calm in (np.arange(1200) < 720, np.arange(1200) >= 720)
    )
    series = {TOTAL: " ".join(map(str, good)), BAD: " ".join(map(str, bad))}
    rules = groups(compile_slo(REQUESTS), CompileOptions())[:1]
    state = 'slo:firing:state{tier="page_1h"}'
    queries = (
        f"changes({state}[2h])",
        "min_over_time(slo:window:total{window='5m'}[100m])",
        state,
    )
    found = answers(tmp_path, rules, series, [(query, "299m") for query in queries], "15s")
    assert [float(line.split()[-1]) for line in found] == [1, 0, 1]


def test_an_slo_keeps_its_budget_when_its_service_is_renamed(tmp_path: Path) -> None:
    old = {
        f'slo:{what}:count1m{{slo="requests",service="old"}}': f"{count}x30"
        for what, count in (("total", 2_000), ("bad", 1))
    }
    old['slo:firing:state{slo="requests",service="old",tier="page_1h"}'] = "0x30"
    rules = groups(compile_slo(REQUESTS), CompileOptions())
    series = counters((100, 2_000, 0)) | old
    query = 'slo:budget:remaining{service="shop"}'
    (found,) = answers(tmp_path, rules, series, [(query, "99m")], "1m")
    events = 31 * 2_000 + 98 * 2_000
    assert float(found.split()[-1]) == pytest.approx(1 - 31 / events / 0.001)


@pytest.mark.parametrize(("kind", "left"), [("bad", -999), ("good", 1)])
def test_events_that_end_a_minute_after_they_began_are_counted(
    kind: str, left: float, tmp_path: Path
) -> None:
    started = " ".join(f"{n} {n}" for n in range(1, 61))
    ended = "0 " + started
    selector = Selector("jobs_ended_total")
    events = Events(Selector("jobs_started_total"), **{kind: selector})
    rules = groups(compile_slo(replace(REQUESTS, kind=events)), CompileOptions())[1:]
    series = {"jobs_started_total": started, "jobs_ended_total": ended}
    (found,) = answers(tmp_path, rules, series, [("slo:budget:remaining", "119m")], "1m")
    assert float(found.split()[-1]) == pytest.approx(left)


def test_a_part_that_comes_back_with_its_history_counts_for_a_minute_at_most(
    tmp_path: Path,
) -> None:
    kind = Events(Selector("jobs_started_total"), bad=Selector("jobs_failed_total"))
    series = {
        "jobs_started_total": "0+1000x500",
        "jobs_failed_total": "5000x60 stale _x400 5000x38",
    }
    rules = groups(compile_slo(replace(REQUESTS, kind=kind)), CompileOptions())[1:]
    (found,) = answers(tmp_path, rules, series, [("slo:bad:count", "499m")], "1m")
    assert float(found.split()[-1]) == 1_000


def test_an_exporter_at_another_address_over_an_older_database_counts_nothing_twice(
    tmp_path: Path,
) -> None:
    name = 'noisegate_decisions_total{action="page",reason="r",status="ok",instance="%s"}'
    series = {name % "a": "10000+10x60 stale", name % "b": "_x61 9000+10x240"}
    rules = groups(compile_slo(SLOS["decision-availability"]), CompileOptions())[1:]
    at = [("slo:total:count", minute) for minute in ("60m", "200m", "240m")]
    found = [float(line.split()[-1]) for line in answers(tmp_path, rules, series, at, "1m")]
    assert found == [590, 600, 780]


def test_series_that_are_gone_are_told_until_they_are_back(tmp_path: Path) -> None:
    series = {
        "noisegate_real_alerts_total": "0+1x1700",
        "noisegate_lost_alerts_total": "0x120 stale _x1500 0x60",
    }
    rules = groups(compile_slo(SLOS["lost-alerts"]), CompileOptions())
    at = [('slo:firing:state{tier="invalid"}', f"{minute}m") for minute in (100, 130, 1610, 1640)]
    found = [float(line.split()[-1]) for line in answers(tmp_path, rules, series, at, "1m")]
    assert found == [0, 1, 1, 0]


def test_nothing_is_stuck_that_never_moved(tmp_path: Path) -> None:
    rules = groups(compile_slo(SLOS["decision-availability"]), CompileOptions())
    series = {'noisegate_build_info{version="1"}': "1x100"}
    queries = [("sum(slo:firing:state)", time) for time in ("20m", "90m")]
    found = answers(tmp_path, rules, series, queries, "1m")
    assert [float(line.split()[-1]) for line in found] == [0, 0]


def test_the_model_of_the_tests_knows_the_workbook_arithmetic() -> None:
    calm, burning = Minute(10_000, 0), Minute(10_000, 150)
    by_minute = firing(REQUESTS, [calm] * 360 + [burning] * 70)
    first = next(at for at, tiers in enumerate(by_minute) if "page_1h" in tiers)
    assert first == pytest.approx(360 + 60 * 14.4 / 15, abs=1)
