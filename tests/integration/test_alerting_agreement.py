"""Prometheus' alerts and Grafana's rules, on the same series: real Prometheus rule evaluation, and
Grafana's evaluation interpreted from its documentation.

https://grafana.com/docs/grafana/v11.6/alerting/fundamentals/alert-rule-evaluation/state-and-health/
"""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerting import provisioning_files
from observability.burn import Alert, Compiled, CompileOptions, compile_slo, inhibit_rules
from observability.prometheus_rules import rule_files
from observability.slo import Burn, Freshness, Slo
from observability.specs import load_slos

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="needs Debian's prometheus")

Json = dict[str, Any]
Answer = float | None | Exception
"""What a query gives: a number, nothing, or an error."""


@dataclass
class GrafanaRule:
    """State of one provisioned rule whose queries give at most one number: so one alert instance.

    Normal | Pending | Alerting. NoData and errors are mapped as the rule says; KeepLast keeps the
    state, and lets a pending one ripen. One data source query without an answer is NoData for the
    whole rule, even if the condition does not read it.
    """

    rule: Json
    state: str = "Normal"
    since_s: float = 0.0

    def evaluate(self, at_s: float, answers: Mapping[str, Answer]) -> str:
        """One evaluation: what every query answered, by refId."""
        told = [answers[ref] for ref in questions(self.rule)]
        errors = [answer for answer in told if isinstance(answer, Exception)]
        result = self._condition(answers) if None not in told else None
        result = errors[0] if errors else result
        if isinstance(result, Exception):
            result = self._mapped(self.rule["execErrState"])
        elif result is None:
            result = self._mapped(self.rule["noDataState"])
        if not result:
            self.state = "Normal"
        elif self.state == "Normal":
            self.state, self.since_s = "Pending", at_s
        if self.state == "Pending" and at_s - self.since_s >= seconds(self.rule["for"]):
            self.state = "Alerting"
        return self.state

    def _mapped(self, state: str) -> bool:
        return {"Alerting": True, "OK": False, "KeepLast": self.state != "Normal"}[state]

    def _condition(self, answers: Mapping[str, Answer]) -> Answer | bool:
        """Grafana's server-side expressions, those that our rules use: a threshold on a query."""
        models = {query["refId"]: query["model"] for query in self.rule["data"]}
        condition = models[self.rule["condition"]]
        assert condition["type"] == "threshold"
        ((evaluator),) = [item["evaluator"] for item in condition["conditions"]]
        assert evaluator["type"] == "gt"
        number = answers[condition["expression"]]
        return number > evaluator["params"][0] if isinstance(number, float) else number


def questions(rule: Json) -> dict[str, str]:
    """What a rule asks Prometheus, by refId."""
    asked = [query for query in rule["data"] if query["datasourceUid"] == "prometheus"]
    return {query["refId"]: query["model"]["expr"] for query in asked}


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([smhd])", duration).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[unit]


def promtool_answers(
    folder: Path,
    rules: Sequence[Path],
    interval_s: int,
    series: Mapping[str, str],
    queries: Sequence[str],
    times_s: Sequence[int],
) -> dict[tuple[str, int], Answer]:
    """What instant queries give at some times, in a Prometheus that evaluates the rules.

    promtool says what it got where a test fails, so every test here is made to fail.
    """
    wrong = [{"value": -987_654_321}]
    tests = [
        {"expr": query, "eval_time": f"{at}s", "exp_samples": wrong}
        for at in times_s
        for query in queries
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {
        "rule_files": [str(path) for path in rules],
        "evaluation_interval": f"{interval_s}s",
        "tests": [
            {"interval": f"{interval_s}s", "input_series": inputs, "promql_expr_test": tests}
        ],
    }
    file = folder / "ask.yaml"
    file.write_text(yaml.safe_dump(test))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    got = re.findall(r"^\s+got: ?(.*)$", done.stdout + done.stderr, re.MULTILINE)
    assert len(got) == len(tests), (done.stdout + done.stderr)[:2000]
    return {
        (test["expr"], seconds(test["eval_time"])): _number(text)  # type: ignore[arg-type]
        for test, text in zip(tests, got, strict=True)
    }


def _number(text: str) -> float | None:
    """The one sample that promtool prints, if any."""
    return None if text.strip() == "nil" else float(text.rsplit(" ", 1)[1])


OPTIONS = CompileOptions(interval_s=60)
"""Everything is evaluated every minute, which is quick to simulate."""

TIERS = (
    Burn("page_1h", "page", 14.4, 3_600, 300),
    Burn("page_6h", "page", 6, 21_600, 1_800),
    Burn("ticket_6h", "ticket", 3, 21_600, 1_800),
)
"""The workbook's, with a ticket that does not take days."""

BURNS = [
    *((0, 60), (0.5, 20), (4, 290), (2.8, 20), (0, 45)),  # a ticket, its dead band, its end
    *((15, 65), (13.5, 20), (0, 20), (15, 20), (0, 60)),  # a page, its dead band, again, its end
    *((1_000, 8), (0, 90), (2, 30)),  # total outage, and back
]
"""Burn rate, for how many minutes: below, between and above the tiers."""


def our(name: str) -> Slo:
    (slo,) = [slo for slo in load_slos() if slo.name == name]
    return slo


def stairs(slo: Slo) -> dict[str, str]:
    """Counters of decisions that burn as BURNS says, a sample a minute; then none for a while."""
    ok = failed = 0.0
    oks, bads = [], []
    for burn, minutes in BURNS:
        share = burn * (1 - slo.objective)
        for _ in range(minutes):
            ok, failed = ok + 2_000 * (1 - share), failed + 2_000 * share
            oks.append(f"{ok:.3f}")
            bads.append(f"{failed:.3f}")
    gone = "stale _x24"
    name = 'noisegate_decisions_total{action="page",reason="x",status="%s"}'
    return {
        name % "ok": f"{' '.join(oks)} {gone} {oks[-1]}+2000x30",
        name % "failed": f"{' '.join(bads)} {gone} {bads[-1]}+0x30",
    }


def other_kinds() -> tuple[list[Slo], dict[str, str]]:
    """An SLO of every other kind, and series that break and mend each of them; then an outage."""
    fresh = our("alert-freshness")
    assert isinstance(fresh.kind, Freshness)
    fresh = replace(fresh, kind=replace(fresh.kind, at_most_s=1_800))
    slos = [fresh, our("retrain-success"), our("pii-canary"), our("lost-alerts")]
    flow = '{flow="retrain"}'
    newest = " ".join(str(60 * m) for m in [*range(1, 40), *([40] * 60), *range(100, 260)])
    lost = "0x110 0+1x20 20x30"
    return slos, {
        "noisegate_newest_alert_timestamp_seconds": f"{newest} stale _x20 15600+60x40",
        f"noisegate_run_consecutive_failures{flow}": "0x60 1x30 2x30 0x140 stale _x18 0x40",
        "noisegate_pii_canary_consecutive_failures": "0x100 1x40 0x120 stale _x18 0x40",
        "noisegate_real_alerts_total": "0+4x262 stale _x18 1048+4x40",
        "noisegate_lost_alerts_total": f"{lost} 20x100 stale _x18 20x40",
        "noisegate_build_info": "1x262 stale _x18 1x40",
    }


@dataclass(frozen=True)
class Replay:
    """What both kinds of rules said at every minute."""

    alert: Alert
    prometheus: tuple[bool, ...]
    inhibited: tuple[bool, ...]
    grafana: tuple[bool, ...]


@pytest.fixture(scope="module", params=["burn rates", "other kinds"])
def replays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Replay]:
    """Both kinds of rules on the same series, from the same specs."""
    if request.param == "burn rates":
        slo = replace(our("decision-availability"), tiers=TIERS)
        slos, series = [slo], stairs(slo)
        minutes = sum(length for _, length in BURNS) + 55
    else:
        (slos, series), minutes = other_kinds(), 320
    return replay(tmp_path_factory.mktemp("rules"), slos, series, minutes)


def replay(folder: Path, slos: list[Slo], series: dict[str, str], minutes: int) -> list[Replay]:
    """Evaluate Prometheus' rules every minute, and Grafana's ten seconds later."""
    compiled = [compile_slo(slo, OPTIONS) for slo in slos]
    files = []
    for name, text in rule_files(compiled, OPTIONS).items():
        if "/tests/" not in name:
            files.append(folder / Path(name).name)
            files[-1].write_text(text)
    rules = grafana_rules(compiled)
    alerts = [alert for one in compiled for alert in one.alerts]
    firing = {a.name: f'count(ALERTS{{alertname="{a.name}",alertstate="firing"}})' for a in alerts}
    queries = {query for alert in alerts for query in questions(rules[alert.name]).values()}
    times = range(10, 60 * minutes, 60)
    answers = promtool_answers(
        folder, files, 60, series, [*sorted(queries), *firing.values()], list(times)
    )
    said = {a.name: tuple(bool(answers[firing[a.name], at]) for at in times) for a in alerts}
    found = []
    for alert in alerts:
        machine = GrafanaRule(rules[alert.name])
        asked = questions(rules[alert.name])
        states = [
            machine.evaluate(at, {ref: answers[query, at] for ref, query in asked.items()})
            for at in times
        ]
        stronger = [said[other.name] for other in alerts if inhibits(other.labels, alert.labels)]
        inhibited = tuple(any(other[at] for other in stronger) for at in range(minutes))
        grafana = tuple(state == "Alerting" for state in states)
        found.append(Replay(alert, said[alert.name], inhibited, grafana))
    return found


def grafana_rules(compiled: list[Compiled]) -> dict[str, Json]:
    """The rules of the provisioning file, by title."""
    text = provisioning_files(compiled, OPTIONS, "grafana")["alerts.grafana.yaml"]
    groups = yaml.safe_load(text)["groups"]
    return {rule["title"]: rule for group in groups for rule in group["rules"]}


def inhibits(source: Mapping[str, str], target: Mapping[str, str]) -> bool:
    """As Alertmanager reads inhibit_rules."""
    return any(
        all(match(matcher, source) for matcher in rule["source_matchers"])
        and all(match(matcher, target) for matcher in rule["target_matchers"])
        and all(source.get(label) == target.get(label) for label in rule["equal"])
        for rule in inhibit_rules()
    )


def match(matcher: str, labels: Mapping[str, str]) -> bool:
    name, operator, value = re.split(r"(=~|!~|!=|=)", matcher, maxsplit=1)
    text, value = labels.get(name, ""), value.strip('"')
    return {
        "=": text == value,
        "!=": text != value,
        "=~": bool(re.fullmatch(value, text)),
        "!~": not re.fullmatch(value, text),
    }[operator]


def test_where_nothing_inhibits_both_say_the_same_at_every_minute(replays: list[Replay]) -> None:
    for one in replays:
        moments = zip(one.prometheus, one.grafana, one.inhibited, strict=True)
        differ = [
            at for at, (left, right, muted) in enumerate(moments) if left != right and not muted
        ]
        assert not differ, one.alert.name


def test_what_alertmanager_inhibits_grafana_neither_fires_nor_resolves(
    replays: list[Replay],
) -> None:
    for one in replays:
        for at in range(1, len(one.grafana)):
            if one.inhibited[at]:
                assert one.grafana[at] == one.grafana[at - 1], (one.alert.name, at)


def test_the_grid_makes_each_alert_fire_and_resolve(replays: list[Replay]) -> None:
    """Two rules that never fire agree as well."""
    for one in replays:
        changes = set(zip(one.prometheus, one.prometheus[1:], strict=False))
        if one.alert.tier not in ("stuck", "invalid"):  # hours of silence, series that lie
            assert (False, True) in changes, one.alert.name
        if one.alert.tier not in ("stuck", "invalid", "unproven"):  # 30 days of counts
            assert (True, False) in changes, one.alert.name
        assert any(one.inhibited) or one.alert.tier == "absent", one.alert.name


DOWN: Answer = ConnectionError("Prometheus does not answer")


def rules_of_ours() -> dict[str, Json]:
    return grafana_rules([compile_slo(slo, OPTIONS) for slo in load_slos()])


@pytest.mark.parametrize("answer", [DOWN, None], ids=["an error", "no answer"])
@pytest.mark.parametrize("before", [1.0, 0.0], ids=["firing", "well"])
def test_what_cannot_be_read_changes_no_alert_of_an_slo(answer: Answer, before: float) -> None:
    for name, rule in rules_of_ours().items():
        if not name.startswith("SloRecordsUnreadable"):
            machine, asked = GrafanaRule(rule), questions(rule)
            first = machine.evaluate(0, dict.fromkeys(asked, before))
            gone = dict.fromkeys(asked, answer)
            later = {machine.evaluate(60 * at, gone) for at in range(1, 60)}
            assert later == {first}, name


def test_a_number_of_the_texts_that_is_not_known_silences_no_alert(tmp_path: Path) -> None:
    """Where nothing is recorded every query answers but the condition's, so it alone decides."""
    rules = rules_of_ours()
    asked = {
        query
        for title, rule in rules.items()
        for ref, query in questions(rule).items()
        if ref != "A" and not title.startswith("SloRecordsUnreadable")
    }
    answers = promtool_answers(tmp_path, [], 60, {"up": "1x5"}, sorted(asked), [60])
    silent = sorted(query for query in asked if answers[query, 60] is None)
    assert asked and not silent


@pytest.mark.parametrize(
    "answer", [DOWN, None, 1.0], ids=["Prometheus is down", "it has no rules", "it misses an SLO"]
)
def test_one_rule_pages_after_five_minutes_without_records(answer: Answer) -> None:
    (watchdog,) = [r for t, r in rules_of_ours().items() if t.startswith("SloRecordsUnreadable")]
    machine = GrafanaRule(watchdog)
    said = [machine.evaluate(60 * at, {"A": answer if at > 2 else 0.0}) for at in range(12)]
    assert said == ["Normal"] * 3 + ["Pending"] * 5 + ["Alerting"] * 4
    assert machine.evaluate(720, {"A": 0.0}) == "Normal"
