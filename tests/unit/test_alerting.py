"""Grafana's alerting files, and Alertmanager's configuration: shape, links, routes and words."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafanalib._gen import DashboardEncoder

from dashboards import notifications
from dashboards.alerting import (
    AlertGroup,
    InstantQuery,
    Record,
    RecordingRule,
    provisioning_files,
    rule_uid,
)
from dashboards.build import dashboard_files
from observability.burn import Alert, CompileOptions, compile_slo, inhibit_rules
from observability.prometheus_rules import rule_files, watchdog_file
from observability.specs import load_slos

Json = dict[str, Any]

OPTIONS = CompileOptions()
COMPILED = [compile_slo(slo, OPTIONS) for slo in load_slos()]
ALERTS = [alert for one in COMPILED for alert in one.alerts]
FILES = provisioning_files(COMPILED, OPTIONS, "grafana")
RULES: dict[str, Json] = {
    rule["title"]: rule
    for group in yaml.safe_load(FILES["alerts.grafana.yaml"])["groups"]
    for rule in group["rules"]
}
NOTIFY = yaml.safe_load(FILES["notifications.grafana.yaml"])
ALERTMANAGER = Path(__file__).resolve().parents[2] / "deploy" / "alertmanager.yml"

needs_amtool = pytest.mark.skipif(
    not shutil.which("amtool"), reason="needs Debian's prometheus-alertmanager"
)


def texts(value: object) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def test_every_alert_and_only_they_have_a_rule() -> None:
    ours = {alert.name for alert in ALERTS}
    assert ours < set(RULES)
    (watchdog,) = set(RULES) - ours
    assert watchdog.startswith("SloRecordsUnreadable")


def test_watchdogs_of_two_builds_count_their_own_slos_and_are_two() -> None:
    """One Grafana, one Prometheus: neither may count, or replace, the other's."""
    builds = [COMPILED[:2], COMPILED[2:]]
    seen = []
    for build in builds:
        text = provisioning_files(build, OPTIONS, "grafana")["alerts.grafana.yaml"]
        group = yaml.safe_load(text)["groups"][-1]
        (rule,) = group["rules"]
        asked = rule["data"][0]["model"]["expr"]
        number, names = re.fullmatch(r'(\d+) - count.+slo=~"(.+)"}\)\)', asked).groups()  # type: ignore[union-attr]
        assert names.split("|") == sorted(one.slo.name for one in build)
        assert int(number) == len(build)
        seen.append((group["name"], rule["uid"], rule["title"]))
    assert all(one != other for one, other in zip(*seen, strict=True))


def test_uids_are_unique_and_such_as_grafana_takes() -> None:
    uids = [rule["uid"] for rule in RULES.values()]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", uid) for uid in uids)


@pytest.mark.parametrize(
    ("slo", "tier"),
    [
        pytest.param("decision-availability", "page_1h", id="a short name is kept"),
        pytest.param("s" * 70, "ticket_3d", id="a long name is cut"),
    ],
)
def test_a_uid_says_slo_and_tier_for_good(slo: str, tier: str) -> None:
    uid = rule_uid(slo, tier)
    assert len(uid) <= 40 and uid.startswith(slo[:31])
    assert uid == rule_uid(slo, tier) != rule_uid(slo, "absent")


@pytest.mark.parametrize("live", ["prometheus", "grafana"])
def test_either_prometheus_or_grafana_is_live(live: str) -> None:
    text = provisioning_files(COMPILED, OPTIONS, live)["alerts.grafana.yaml"]
    groups = yaml.safe_load(text)["groups"]
    paused = {rule["isPaused"] for group in groups for rule in group["rules"]}
    assert paused == {live == "prometheus"}


@pytest.mark.parametrize("alerts", [True, False], ids=["prometheus", "grafana"])
def test_prometheus_keeps_its_records_whoever_alerts(alerts: bool) -> None:
    files = rule_files(COMPILED, OPTIONS, alerts=alerts)
    text = files["rules/decision-availability.rules.yaml"]
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert any("alert" in rule for rule in rules) is alerts
    assert {"tier": "page_1h", "slo": "decision-availability", "service": "noisegate"} in [
        rule["labels"] for rule in rules if rule.get("record") == "slo:firing:state"
    ]


def test_the_same_specs_give_the_same_bytes() -> None:
    assert provisioning_files(COMPILED, OPTIONS, "grafana") == FILES


def test_grafana_reads_only_files_of_its_own_at_the_top() -> None:
    """It would read any other YAML of that folder, too, and not start."""
    assert {name for name in FILES if "/" not in name} == {
        "alerts.grafana.yaml",
        "notifications.grafana.yaml",
    }


def test_each_rule_links_to_a_panel_that_exists() -> None:
    boards = {board["uid"]: board for board in map(json.loads, dashboard_files().values())}
    for rule in RULES.values():
        panels = boards[rule["dashboardUid"]]["panels"]
        inner = [panel for row in panels for panel in row.get("panels", [])]
        assert rule["panelId"] in {panel["id"] for panel in [*panels, *inner]}, rule["title"]


def test_queries_answer_one_number_without_labels() -> None:
    """So that an instance has the labels of its rule alone, and stays the same without data."""
    for title, rule in RULES.items():
        for query in rule["data"]:
            expr = query["model"].get("expr", "max(")
            assert expr.startswith("max(") or title.startswith("SloRecordsUnreadable"), expr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_both_kinds_of_rules_say_the_same_in_the_same_labels(alert: Alert) -> None:
    rule, prometheus = RULES[alert.name], prometheus_rules()[alert.name]
    assert rule["labels"] == prometheus["labels"]
    assert rule["annotations"].keys() == prometheus["annotations"].keys()
    for name, text in prometheus["annotations"].items():
        assert words(text) == words(rule["annotations"][name]), name


@cache
def prometheus_rules() -> dict[str, Json]:
    files = [text for name, text in rule_files(COMPILED, OPTIONS).items() if "/tests/" not in name]
    groups = [group for text in files for group in yaml.safe_load(text)["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


NUMBER = re.compile(
    r"\{\{ (?:\$value|with .+? \}\}(?:\{\{ if .+? \}\})?\{\{ [^}]+?) \| (\w+(?: \"[^\"]+\")?) \}\}"
    r"(?:\{\{ else \}\}(.*?)\{\{ end \}\})?(?:\{\{ else \}\}\2\{\{ end \}\})?"
)


def words(template: str) -> str:
    """A text with how each number is written in its place, and what stands for one not known."""
    return NUMBER.sub(lambda found: f"<{found[1]}, else {found[2] or '?'}>", template)


def test_no_dollar_of_a_label_is_read_as_an_environment_variable() -> None:
    rule = RecordingRule(
        uid="u",
        title="t",
        data=[InstantQuery(refId="A", expr="max(up)")],
        record=Record("grafana_up", "A"),
        labels={"service": "{{ $labels.service }}"},
    )
    group = plain(AlertGroup(name="g", rules=[rule]))
    assert group["rules"][0]["labels"] == {"service": "{{ $$labels.service }}"}
    assert group["rules"][0]["record"] == {"metric": "grafana_up", "from": "A"}
    assert group["interval"] == "1m" and "condition" not in group["rules"][0]


def plain(thing: object) -> Json:
    found: Json = json.loads(json.dumps(thing, cls=DashboardEncoder))
    return found


def test_secrets_are_names_of_the_environment() -> None:
    read = [text for text in texts(NOTIFY) if "$" in text]
    assert {text.removeprefix("$") for text in read} == set(notifications.ENVIRONMENT)


def test_the_contact_points_send_to_slack_pagerduty_and_a_webhook() -> None:
    found = {
        point["name"]: {receiver["type"] for receiver in point["receivers"]}
        for point in NOTIFY["contactPoints"]
    }
    assert found == {
        notifications.PAGES: {"pagerduty", "slack"},
        notifications.TICKETS: {"slack", "webhook"},
    }


def test_alertmanager_inhibits_what_the_compiler_says() -> None:
    assert yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"] == inhibit_rules()


def test_alertmanager_and_grafana_route_alike() -> None:
    ours = yaml.safe_load(ALERTMANAGER.read_text())["route"]
    (theirs,) = NOTIFY["policies"]
    switch, *routes = ours["routes"]
    assert switch["receiver"] == "deadmansswitch"  # of a rule that Grafana does not have
    assert [branch(route) for route in (ours, *routes)] == [
        branch(route) for route in (theirs, *theirs["routes"])
    ]


def branch(route: Json) -> Json:
    matchers = route.get("matchers") or [
        f'{label}{operator}"{value}"' for label, operator, value in route.get("object_matchers", [])
    ]
    kept = ("receiver", "group_by", "group_wait", "group_interval", "repeat_interval")
    return {key: route[key] for key in kept} | {
        "matchers": matchers,
        "muted": route.get("mute_time_intervals"),
    }


@pytest.fixture
def alertmanager(tmp_path: Path) -> Path:
    """The configuration beside its templates, as the stack mounts it."""
    config = tmp_path / "alertmanager.yml"
    config.write_text(ALERTMANAGER.read_text())
    template = tmp_path / "generated" / "alertmanager" / "noisegate.tmpl"
    template.parent.mkdir(parents=True)
    template.write_text(FILES["alertmanager/noisegate.tmpl"])
    return config


def amtool(*words: object) -> str:
    done = subprocess.run(
        ["amtool", *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_amtool
def test_alertmanager_takes_its_configuration(alertmanager: Path) -> None:
    said = amtool("check-config", alertmanager)
    assert "2 inhibit rules" in said and "1 templates" in said


@needs_amtool
def test_each_page_wakes_a_person_and_each_ticket_does_not(alertmanager: Path) -> None:
    wanted = {"page": notifications.PAGES, "ticket": notifications.TICKETS}
    for alert in ALERTS:
        labels = [f"{name}={text}" for name, text in alert.labels.items()]
        amtool(
            *("config", "routes", "test", f"--config.file={alertmanager}"),
            f"--verify.receivers={wanted[alert.severity]}",
            f"alertname={alert.name}",
            *labels,
        )


@needs_amtool
def test_the_dead_man_s_switch_reaches_its_own_receiver_alone(alertmanager: Path) -> None:
    (rule,) = [
        rule
        for text in watchdog_file(OPTIONS).values()
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    ]
    amtool(
        *("config", "routes", "test", f"--config.file={alertmanager}"),
        "--verify.receivers=deadmansswitch",
        f"alertname={rule['alert']}",
        *(f"{name}={text}" for name, text in rule["labels"].items()),
    )


def test_prometheus_finds_the_dead_man_s_switch_clean_and_firing(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        pytest.skip("needs Debian's prometheus")
    ((name, text),) = watchdog_file(OPTIONS).items()
    (tmp_path / Path(name).name).write_text(text)
    (rule,) = yaml.safe_load(text)["groups"][0]["rules"]
    expected = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
    fires = {"alertname": rule["alert"], "eval_time": "0m", "exp_alerts": [expected]}
    test = {"rule_files": [Path(name).name], "tests": [{"alert_rule_test": [fires]}]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    for words in (
        ("check", "rules", "--lint=all", "--lint-fatal", Path(name).name),
        ("test", "rules", "test.yaml"),
    ):
        done = subprocess.run(
            ["promtool", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        pytest.param("vector(-1035)", "-1035.0%", id="overspent"),
        pytest.param("vector(-1e18)", "not known", id="not recorded"),
        pytest.param("vector(1) > 2", "not known", id="no data at all"),
    ],
)
def test_a_text_writes_the_number_or_that_there_is_none(
    query: str, said: str, tmp_path: Path
) -> None:
    """Grafana's templates are Go's, as Prometheus' are, so promtool expands ours."""
    if not shutil.which("promtool"):
        pytest.skip("needs Debian's prometheus")
    text = RULES["DecisionAvailabilityBurn1h"]["annotations"]["budget_left"]
    assert "with $values.C }}" in text
    # What a query gives holds a Value, as Grafana's values do.
    text = text.replace("with $values.C }}", f'range query "{query}" }}}}', 1)
    rule = {"alert": "A", "expr": "vector(1)", "annotations": {"text": text}}
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]})
    )
    fires = {
        "alertname": "A",
        "eval_time": "0m",
        "exp_alerts": [{"exp_annotations": {"text": said}}],
    }
    test = {"rule_files": ["rules.yaml"], "tests": [{"alert_rule_test": [fires]}]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def payload(status: str, count: int) -> Json:
    """What a template is given, by Alertmanager and by Grafana alike."""
    labels = {"slo": "decision-availability", "severity": "page", "service": "noisegate"}
    notes = {
        "summary": "Decisions are made in time: burns its error budget 14.4 times too fast",
        "description": "Over the last 1h the error budget burns.",
        "budget_left": "81.2%",
        "exhausted_in": "1d 4h 0m 0s",
        "runbook_url": "https://example.test/runbooks/decision-availability.md#burn",
        "panel_url": "http://localhost:3000/d/noisegate-slo-detail?viewPanel=11",
    }
    alert = {
        "status": status,
        "labels": labels,
        "annotations": notes,
        "startsAt": "2026-01-01T03:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090",
        "fingerprint": "1",
    }
    return {
        "receiver": notifications.PAGES,
        "status": status,
        "alerts": [alert] * count,
        "groupLabels": {"slo": labels["slo"]},
        "commonLabels": labels,
        "commonAnnotations": notes,
        "externalURL": "http://localhost:9093",
    }


def rendered(alertmanager: Path, name: str, data: Json) -> str:
    file = alertmanager.parent / "payload.json"
    file.write_text(json.dumps(data))
    return amtool(
        *("template", "render", f"--template.data={file}"),
        f"--template.glob={alertmanager.parent}/generated/alertmanager/*.tmpl",
        f'--template.text={{{{ template "{name}" . }}}}',
    )


@needs_amtool
@pytest.mark.parametrize(
    ("status", "count", "title"),
    [
        pytest.param(
            "firing",
            1,
            "PAGE decision-availability: Decisions are made in time: burns its error budget 14.4 "
            "times too fast",
            id="one alert",
        ),
        pytest.param(
            "resolved",
            2,
            "RESOLVED decision-availability: Decisions are made in time: burns its error budget "
            "14.4 times too fast (1 of 2)",
            id="two that are over",
        ),
    ],
)
def test_a_title_says_how_bad_what_and_where(
    alertmanager: Path, status: str, count: int, title: str
) -> None:
    assert rendered(alertmanager, "noisegate.title", payload(status, count)).strip() == title


@needs_amtool
def test_a_message_says_what_is_left_and_where_to_look(alertmanager: Path) -> None:
    lines = rendered(alertmanager, "noisegate.text", payload("firing", 1)).strip().splitlines()
    assert lines == [
        "Decisions are made in time: burns its error budget 14.4 times too fast",
        "Over the last 1h the error budget burns.",
        "Error budget left: 81.2%",
        "Budget spent in: 1d 4h 0m 0s",
        "Runbook: https://example.test/runbooks/decision-availability.md#burn",
        "Panel: http://localhost:3000/d/noisegate-slo-detail?viewPanel=11",
    ]


@needs_amtool
def test_an_alert_without_numbers_has_no_empty_lines(alertmanager: Path) -> None:
    data = payload("firing", 1)
    data["alerts"][0]["annotations"] = {"summary": "SLOs are not recorded"}
    assert rendered(alertmanager, "noisegate.text", data).strip() == "SLOs are not recorded"


def test_templates_hold_no_dollar_that_grafana_would_expand() -> None:
    assert "$" not in notifications.MESSAGES
