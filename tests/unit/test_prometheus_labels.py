"""External labels and relabelling change an alert's labels as Prometheus changes them."""

import pytest

from noisegate.adapters.prometheus.labels import (
    Outbound,
    RelabelStep,
    duration_ms,
    read_config,
    read_rules,
)
from noisegate.errors import InputError

LABELS = {"alertname": "Down", "job": "api", "instance": "db-7:9100", "severity": "page"}


def relabelled(**entry: object) -> dict[str, str] | None:
    labels = dict(LABELS)
    return labels if RelabelStep.parse(entry).apply(labels) else None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(
            {"source_labels": ["instance"], "regex": r"(\w+)-(\d+):.*", "target_label": "host",
             "replacement": "${1}_$2"},
            LABELS | {"host": "db_7"}, id="replace fills in what was matched"),
        pytest.param(
            {"source_labels": ["instance"], "regex": "db", "target_label": "host"},
            LABELS, id="a regex is anchored at both ends"),
        pytest.param(
            {"source_labels": ["alertname", "job"], "target_label": "both"},
            LABELS | {"both": "Down;api"}, id="source labels are joined by a semicolon"),
        pytest.param(
            {"source_labels": ["alertname", "job"], "separator": "/", "target_label": "both"},
            LABELS | {"both": "Down/api"}, id="or by another separator"),
        pytest.param(
            {"target_label": "job", "replacement": ""},
            {k: v for k, v in LABELS.items() if k != "job"}, id="an empty replacement removes"),
        pytest.param(
            {"target_label": "cost", "replacement": "$$5"},
            LABELS | {"cost": "$5"}, id="two dollars are one"),
        pytest.param(
            {"source_labels": ["job"], "regex": "(?P<first>.).*", "target_label": "x",
             "replacement": "$first$other"},
            LABELS | {"x": "a"}, id="groups may have names, and unknown ones are empty"),
        pytest.param(
            {"source_labels": ["severity"], "regex": "page|ticket", "action": "keep"},
            LABELS, id="keep keeps what matches"),
        pytest.param(
            {"source_labels": ["severity"], "regex": "info", "action": "keep"},
            None, id="and drops the rest"),
        pytest.param(
            {"source_labels": ["missing"], "regex": "", "action": "drop"},
            None, id="a missing label is an empty one"),
        pytest.param(
            {"source_labels": ["job"], "target_label": "alertname", "action": "keepequal"},
            None, id="keepequal compares two labels"),
        pytest.param(
            {"source_labels": ["job"], "target_label": "job", "action": "dropequal"},
            None, id="dropequal, too"),
        pytest.param(
            {"source_labels": ["job"], "target_label": "job", "action": "uppercase"},
            LABELS | {"job": "API"}, id="uppercase"),
        pytest.param(
            {"source_labels": ["alertname"], "target_label": "name", "action": "Lowercase"},
            LABELS | {"name": "down"}, id="lowercase, however the action is written"),
        pytest.param(
            {"source_labels": ["instance"], "target_label": "shard", "modulus": 1000,
             "action": "hashmod"},
            LABELS | {"shard": "560"}, id="hashmod takes the lower half of the MD5"),
        pytest.param(
            {"regex": "(j)ob", "replacement": "old_${1}", "action": "labelmap"},
            LABELS | {"old_j": "api"}, id="labelmap copies"),
        pytest.param(
            {"regex": "job|instance", "action": "labeldrop"},
            {"alertname": "Down", "severity": "page"}, id="labeldrop"),
        pytest.param(
            {"regex": "alertname", "action": "labelkeep"},
            {"alertname": "Down"}, id="labelkeep"),
    ],
)  # fmt: skip
def test_a_step_does_what_prometheus_does(entry, expected):
    assert relabelled(**entry) == expected


def test_a_regex_that_only_re2_knows_is_an_error_that_names_it():
    with pytest.raises(InputError, match=r"alert_relabel_configs.*\\Q"):
        RelabelStep.parse({"regex": r"\Qa.b\E[[:alpha:]](?<n>"})


CONFIG = """
global:
  evaluation_interval: 1m30s
  external_labels: {cluster: eu, severity: none, replica: "1"}
alerting:
  alert_relabel_configs:
  - {regex: job, action: labeldrop}
  alertmanagers:
  - static_configs: [{targets: [a]}]
    alert_relabel_configs: [{target_label: via, replacement: am}]
"""


def test_external_labels_come_first_and_never_replace_then_relabelling_then_replicas_go():
    config = read_config(CONFIG, ["replica"])
    assert config.evaluation_interval == 90_000
    assert config.outbound.apply(tuple(sorted(LABELS.items()))) == (
        ("alertname", "Down"),
        ("cluster", "eu"),
        ("instance", "db-7:9100"),
        ("severity", "page"),
        ("via", "am"),
    )


def test_alertmanagers_that_relabel_differently_are_said_to():
    config = read_config(CONFIG + "  - static_configs: [{targets: [b]}]\n", [])
    assert config.ambiguous
    assert [step.action for step in config.outbound.steps] == ["labeldrop"]


def test_no_configuration_changes_nothing():
    assert read_config("", []).outbound == Outbound()


RULES = {
    "groups": [
        {
            "interval": 15,
            "rules": [
                {"type": "recording", "name": "job:up:sum"},
                {"type": "recording", "name": "not a metric"},
                {"type": "alerting", "name": "Down", "labels": {"severity": "info"},
                 "annotations": {"description": "long", "summary": "short"}},
            ],
        },
        {
            "interval": 0.5,
            "rules": [
                {"type": "alerting", "name": "Down", "annotations": {"description": "it is down"},
                 "labels": {"severity": "page", "team": "{{ $labels.team }}"}},
                {"type": "alerting", "name": "Mute"},
            ],
        },
    ]
}  # fmt: skip


def test_a_series_belongs_to_the_rule_of_its_name_whose_labels_it_has():
    rules = read_rules(RULES)
    rule = rules.find(tuple(sorted((LABELS | {"team": "db"}).items())))
    assert rule is not None and (rule.interval, rule.text) == (500, "it is down")
    mute = rules.find((("alertname", "Mute"),))
    assert mute is not None and mute.text is None
    assert rules.find((("alertname", "Gone"),)) is None
    assert rules.records == ("job:up:sum",)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("5m", 300_000), ("1h30m", 5_400_000), ("15d", 1_296_000_000), ("90ms", 90), ("", None),
     ("15d or 5GiB", None)],
)  # fmt: skip
def test_durations_are_read_as_prometheus_writes_them(text, ms):
    assert duration_ms(text) == ms
