"""Compiled SLOs -> Prometheus rule files and promtool test files, as text."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import yaml

from observability import promtool_tests, synthetic
from observability.burn import Alert, Compiled, CompileOptions, Record
from observability.promql import duration

Json = dict[str, Any]

RULES, TESTS = "rules/{}.rules.yaml", "rules/tests/{}.test.yaml"

WATCHDOG = RULES.format("slo_watchdog")
"""Path of the dead man's switch: no SLO's name has an underscore."""

_HEAD = "# Written by `make generate` from {}. Do not edit.\n"

_UNTESTED = "# No tests: no label values are known that its matchers select, or tell apart.\n"


def rule_files(
    compiled: Iterable[Compiled], options: CompileOptions | None = None, *, alerts: bool = True
) -> dict[str, str]:
    """Write the rules of SLOs, a file each, and the tests of those rules.

    Args:
        compiled: the SLOs.
        options: those they were compiled with.
        alerts: False where Grafana alerts: records alone, which it reads, and no tests of alerts.

    Returns:
        Relative path (rules/NAME.rules.yaml, rules/tests/NAME.test.yaml): text.
    """
    options = options or CompileOptions()
    files: dict[str, str] = {}
    for one in compiled:
        name = one.slo.name
        source = one.slo.file.name if one.slo.file else f"the SLO {name}"
        told = one if alerts else replace(one, alerts=())
        files[RULES.format(name)] = _text({"groups": groups(told, options)}, source)
        if options.shorten == 1 and alerts:
            names = [group_name(one, place) for place in range(2)]
            path = f"../{name}.rules.yaml"
            if synthetic.rows(one.slo) is None:
                none: Json = {"rule_files": [path], "tests": []}
                files[TESTS.format(name)] = _text(none, source, _UNTESTED)
                continue
            tests = promtool_tests.tests(one, path, names)
            files[TESTS.format(name)] = _text(tests, source)
    return files


def watchdog_file(options: CompileOptions | None = None) -> dict[str, str]:
    """Write the alert that always fires: who misses it knows that no other one arrives either.

    Returns:
        Relative path: text.
    """
    options = options or CompileOptions()
    rule: Json = {
        "alert": "SloWatchdog",
        "expr": "vector(1)",
        # Neither an SLO nor a tier: nothing inhibits it, and it inhibits nothing.
        "labels": {"severity": "none", "service": "noisegate"},
        "annotations": {
            "summary": "Alerts of SLOs arrive",
            "description": "Always fires. Where it is missing Prometheus or Alertmanager is dead, "
            "or cannot send.",
            "runbook_url": f"{options.runbook_url.rstrip('/')}/slo-records.md#no-heartbeat",
        },
    }
    document: Json = {"groups": [{"name": "slo-watchdog", "rules": [rule]}]}
    return {WATCHDOG: _text(document, "observability/prometheus_rules.py")}


def groups(compiled: Compiled, options: CompileOptions) -> list[Json]:
    """The rule groups of one SLO: what pages, by the short interval, then the rest."""
    found: dict[float, list[Json]] = {}
    home: dict[str, float] = {}
    for record in compiled.records:
        found.setdefault(record.interval_s, []).append(_record(record))
        home[record.labels.get("tier", "")] = record.interval_s
    for alert in compiled.alerts:
        found[home[alert.tier]].append(_alert(alert))
    return [
        {"name": group_name(compiled, place), "interval": duration(interval_s), "rules": rules}
        for place, (interval_s, rules) in enumerate(found.items())
    ]


def group_name(compiled: Compiled, place: int) -> str:
    """Name of the first (0) or second group of an SLO."""
    return f"slo-{compiled.slo.name}-{('now', 'minutes')[place]}"


def _record(record: Record) -> Json:
    return {"record": record.name, "expr": record.expr, "labels": dict(record.labels)}


def _alert(alert: Alert) -> Json:
    rule: Json = {
        "alert": alert.name,
        "expr": f"{alert.value}\n  and on (slo, service) {alert.state} == 1",
    }
    if alert.for_s:
        rule["for"] = duration(alert.for_s)
    left, lasts = alert.facts["budget_left"], alert.facts["exhausted_in"]
    facts = {
        # humanizePercentage writes four digits: -1.035e+04%.
        "budget_left": _queried(f"100 * {left}", 'printf "%.1f%%"', "not known"),
        "exhausted_in": _queried(lasts, "humanizeDuration", "not at the rate of the last hour"),
    }
    return rule | {"labels": dict(alert.labels), "annotations": {**alert.annotations, **facts}}


def _queried(promql: str, form: str, otherwise: str) -> str:
    # Two results cannot be: the selector names one series.
    answer = f"{{{{ . | first | value | {form} }}}}"
    return f'{{{{ with query "{promql}" }}}}{answer}{{{{ else }}}}{otherwise}{{{{ end }}}}'


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines as they are read, lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _lines)


def _text(document: Json, source: str, remark: str = "") -> str:
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=96, allow_unicode=True)
    return _HEAD.format(source) + remark + body
