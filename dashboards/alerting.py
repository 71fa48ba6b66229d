"""SLO alerts as Grafana 11 alert rules: the same values as in Prometheus' rule files.

grafanalib's own alert rules have the shape of Grafana's API, which file provisioning refuses; these
have the shape of files (https://grafana.com/docs/grafana/v11.6/alerting/set-up/
provision-alerting-resources/file-provisioning/). A rule reads the recorded state of its tier, so
its hysteresis is Prometheus' and the two kinds of rules cannot disagree.

Grafana replaces `$NAME` by the environment's value in labels, titles and names, not in annotations.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence

import attr
import yaml
from grafanalib import core
from grafanalib._gen import DashboardEncoder

from dashboards.grafana11 import Json, Plain
from dashboards.notifications import MESSAGES, notifications
from observability.burn import Alert, Compiled, CompileOptions, inhibit_rules
from observability.promql import duration
from observability.texts import DASHBOARD, PANELS, family

FOLDER = "noisegate"
DATA_SOURCE = "prometheus"
"""uid of the data source, as deploy/ provisions it: alert rules know no variables."""

_LOOK_BACK_S = 600
_SCHEDULER_S = 10
"""Grafana evaluates at multiples of this."""

OVERVIEW = "noisegate-slo-overview"
_STATE, _CONDITION, VALUE = "A", "T", "B"
VALUE_READ = f"$values.{VALUE} "
_FACTS = {
    "budget_left": ("100 * ", 'printf "%.1f%%"', "not known"),
    "exhausted_in": ("", "humanizeDuration", "not at the rate of the last hour"),
}
# One query without an answer is NoData for its whole rule, whatever the condition says: so what
# the texts alone read answers always, with a number that nothing measured comes near.
_NOT_KNOWN, _KNOWN_ABOVE = "-1e18", "-1e17"
_HEAD = "Written by `make generate` from observability/slos. Do not edit."


@attr.frozen(kw_only=True)
class InstantQuery:
    """What a rule asks of Prometheus: one number, now."""

    refId: str
    expr: str
    datasource: str = DATA_SOURCE

    def to_json_data(self) -> Json:
        """Return what a provisioning file holds."""
        return {
            "refId": self.refId,
            "relativeTimeRange": {"from": _LOOK_BACK_S, "to": 0},
            "datasourceUid": self.datasource,
            "model": {
                "refId": self.refId,
                "datasource": {"type": "prometheus", "uid": self.datasource},
                "expr": self.expr,
                "instant": True,
                "range": False,
            },
        }


@attr.frozen(kw_only=True)
class Threshold:
    """The condition: true while the number of another refId is above a limit."""

    refId: str
    expression: str
    above: float

    def to_json_data(self) -> Json:
        """Return what a provisioning file holds."""
        return {
            "refId": self.refId,
            "relativeTimeRange": {"from": 0, "to": 0},
            "datasourceUid": "__expr__",
            "model": {
                "refId": self.refId,
                "datasource": {"type": "__expr__", "uid": "__expr__"},
                "type": "threshold",
                "expression": self.expression,
                "conditions": [{"evaluator": {"type": "gt", "params": [self.above]}}],
            },
        }


class _Rule(Plain):
    labels: Mapping[str, str]

    def to_json_data(self) -> Json:
        """Return what a provisioning file holds."""
        data = {name.rstrip("_"): value for name, value in super().to_json_data().items()}
        return data | {
            "labels": {key: text.replace("$", "$$") for key, text in self.labels.items()}
        }


@attr.frozen(kw_only=True)
class AlertRule(_Rule):
    """A Grafana-managed alert rule, flat, as files hold it.

    Args:
        uid: stable, unique, at most 40 of A-Z a-z 0-9 _ -.
        title: unique in its folder; the label `alertname`.
        condition: refId of the query or expression that decides.
        data: queries and expressions.
        noDataState: what no answer means: Alerting, OK or KeepLast.
        execErrState: what an error means: Alerting, OK or KeepLast.
        for_: how long the condition must hold, such as 5m.
        dashboardUid, panelId: the panel that shows what the rule judges.
    """

    uid: str
    title: str
    condition: str
    data: Sequence["InstantQuery | Threshold"]
    noDataState: str
    execErrState: str
    for_: str
    isPaused: bool = False
    dashboardUid: str
    panelId: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@attr.frozen(kw_only=True)
class RecordingRule(_Rule):
    """A Grafana-managed recording rule: `record` says which refId is written as which metric."""

    uid: str
    title: str
    data: Sequence[InstantQuery]
    record: "Record"
    isPaused: bool = False
    labels: Mapping[str, str] = attr.Factory(dict)


@attr.frozen
class Record:
    """The number of the refId `source` is written as `metric`."""

    metric: str
    source: str

    def to_json_data(self) -> Json:
        """Return what a provisioning file holds."""
        return {"metric": self.metric, "from": self.source}


@attr.s(auto_attribs=True, kw_only=True)
class AlertGroup(core.AlertGroup):
    """Rules that are evaluated together, in the shape of files."""

    name: str
    rules: Sequence[AlertRule | RecordingRule]  # type: ignore[assignment]  # theirs: a list
    folder: str = FOLDER
    evaluateInterval: str = "1m"
    orgId: int = 1

    def to_json_data(self) -> Json:
        """Return what a provisioning file holds."""
        return {
            "orgId": self.orgId,
            "name": self.name,
            "folder": self.folder,
            "interval": self.evaluateInterval,
            "rules": self.rules,
        }


def rule_uid(slo: str, tier: str) -> str:
    """Name a rule for good: readable where 40 characters are enough, else cut, with a digest."""
    name = f"{slo}-{tier}"
    if len(name) <= 40:
        return name
    return f"{name[:31]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def provisioning_files(
    compiled: Sequence[Compiled], options: CompileOptions, alerts_by: str
) -> dict[str, str]:
    """Write what Grafana's provisioning reads, and the message templates of Alertmanager.

    Args:
        compiled: the SLOs, in the order in which their groups are written.
        options: those they were compiled with.
        alerts_by: prometheus | grafana: who is live; with prometheus every rule here is paused.

    Returns:
        Relative path: text. Grafana's files end in `.grafana.yaml`.
    """
    paused = alerts_by != "grafana"
    groups = [group for one in compiled for group in _groups(one, options, paused)]
    groups.append(_watchdog(compiled, options, paused))
    return {
        "alerts.grafana.yaml": _text(core.AlertFileBasedProvisioning(groups)),
        "notifications.grafana.yaml": _text(notifications()),
        "alertmanager/noisegate.tmpl": "{{/* " + _HEAD + " */}}\n" + MESSAGES,
    }


def _groups(one: Compiled, options: CompileOptions, paused: bool) -> Iterator[AlertGroup]:
    """One group of an SLO for what pages, and one for its tickets."""
    for severity, interval_s in (
        ("page", options.clock.short_s),
        ("ticket", options.clock.minute_s),
    ):
        alerts = [alert for alert in one.alerts if alert.severity == severity]
        if alerts:
            yield AlertGroup(
                name=f"{one.slo.name} {severity}s",
                evaluateInterval=_interval(interval_s),
                rules=[_rule(alert, one.alerts, paused) for alert in alerts],
            )


def _interval(seconds: float) -> str:
    return duration(max(_SCHEDULER_S, seconds // _SCHEDULER_S * _SCHEDULER_S))


def _rule(alert: Alert, alerts: Sequence[Alert], paused: bool) -> AlertRule:
    texts = {name: _in_grafana(text) for name, text in alert.annotations.items()}
    numbers = {VALUE: alert.value} if any(VALUE_READ in text for text in texts.values()) else {}
    for (name, (times, form, otherwise)), ref in zip(_FACTS.items(), "CD", strict=True):
        numbers[ref] = times + alert.facts[name]
        texts[name] = _read(ref, form, otherwise)
    return AlertRule(
        uid=rule_uid(alert.slo.name, alert.tier),
        title=alert.name,
        condition=_CONDITION,
        data=[
            InstantQuery(refId=_STATE, expr=_firing(alert, alerts)),
            Threshold(refId=_CONDITION, expression=_STATE, above=0),
            *(
                InstantQuery(refId=ref, expr=f"max({expr}) or vector({_NOT_KNOWN})")
                for ref, expr in numbers.items()
            ),
        ],
        # No answer means that a stronger alert speaks instead, or that nothing is recorded, which
        # is the watchdog's to tell: neither may resolve what fires, or make anything fire.
        noDataState="KeepLast",
        execErrState="KeepLast",
        for_=duration(alert.for_s),
        isPaused=paused,
        dashboardUid=DASHBOARD,
        panelId=PANELS[family(alert.slo, alert.tier)],
        labels=alert.labels,
        annotations=texts,
    )


def _firing(alert: Alert, alerts: Sequence[Alert]) -> str:
    """1 or 0; nothing while another alert inhibits this one.

    Grafana's own Alertmanager refuses inhibition rules, so the query keeps them.
    """
    # Without labels: those of the rule are all that an instance has, with and without data.
    state = f"max({alert.state})"
    stronger = [other.tier for other in alerts if _inhibits(other, alert)]
    if not stronger:
        return state
    states = f'slo:firing:state{{slo="{alert.slo.name}",tier=~"{"|".join(stronger)}"}}'
    return f"{state} unless (max({states}) == 1)"


def _inhibits(source: Alert, target: Alert) -> bool:
    return any(
        _matches(rule["source_matchers"], source.labels)
        and _matches(rule["target_matchers"], target.labels)
        and all(source.labels.get(name) == target.labels.get(name) for name in rule["equal"])
        for rule in inhibit_rules()
    )


def _matches(matchers: Sequence[str], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy all matchers, such as tier=~"a|b", as Alertmanager reads them."""
    for matcher in matchers:
        found = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', matcher)
        assert found, f"{matcher} is no matcher"
        name, operator, quoted = found.groups()
        text = labels.get(name, "")
        same = re.fullmatch(quoted, text) is not None if "~" in operator else text == quoted
        if same != (operator in ("=", "=~")):
            return False
    return True


def _in_grafana(text: str) -> str:
    """Replace Prometheus' `$value`, which in Grafana is the text of all values, by that of B."""
    return re.sub(r"\{\{ \$value \| (\w+) \}\}", lambda found: _read(VALUE, found[1], "?"), text)


def _read(ref: str, form: str, otherwise: str) -> str:
    # Without data Grafana has no `$values` at all, and writes the texts all the same.
    number = f"{{{{ if gt .Value {_KNOWN_ABOVE} }}}}{{{{ .Value | {form} }}}}"
    other = f"{{{{ else }}}}{otherwise}{{{{ end }}}}"
    return f"{{{{ with $values.{ref} }}}}{number}{other}{other}"


def _watchdog(compiled: Sequence[Compiled], options: CompileOptions, paused: bool) -> AlertGroup:
    """One page for what would make all other rules blind: Prometheus, or its records, are gone.

    Another build may be in the same Grafana, for other SLOs in the same Prometheus: what is counted
    are these SLOs, and the rule is called after them.
    """
    names = sorted(one.slo.name for one in compiled)
    digest = hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]
    states = f'slo:firing:state{{tier="absent",slo=~"{"|".join(names)}"}}'
    rule = AlertRule(
        uid=f"noisegate-slo-records-{digest}",
        title=f"SloRecordsUnreadable-{digest}",
        condition=_CONDITION,
        data=[
            InstantQuery(
                refId=_STATE,
                expr=f"{len(names)} - count(count by (slo) ({states}))",
            ),
            Threshold(refId=_CONDITION, expression=_STATE, above=0),
        ],
        noDataState="Alerting",
        execErrState="Alerting",
        for_="5m",
        isPaused=paused,
        dashboardUid=OVERVIEW,
        panelId=1,
        labels={"severity": "page", "service": "noisegate", "tier": "absent"},
        annotations={
            "summary": "SLOs are not recorded: their alerts cannot fire",
            "description": "Prometheus does not answer Grafana, or does not record the states of "
            f"all {len(names)} SLOs: {', '.join(names)}.",
            "runbook_url": f"{options.runbook_url.rstrip('/')}/slo-records.md#unreadable",
            "dashboard_url": f"{options.grafana_url.rstrip('/')}/d/{OVERVIEW}",
        },
    )
    interval = _interval(options.clock.minute_s)
    return AlertGroup(name=f"records {digest}", evaluateInterval=interval, rules=[rule])


def _text(document: object) -> str:
    """YAML to be read by people; texts of several lines as they are."""
    plain = json.loads(json.dumps(document, cls=DashboardEncoder))
    body = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return f"# {_HEAD}\n{body}"


class _Dumper(yaml.SafeDumper):
    def represent_str(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
