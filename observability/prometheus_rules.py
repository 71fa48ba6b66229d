"""Compiled SLOs -> Prometheus rule files and promtool test files, as text."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import yaml

from observability import promtool_tests
from observability.burn import Alert, Compiled, CompileOptions, Record
from observability.promql import duration

Json = dict[str, Any]

RULES, TESTS = "rules/{}.rules.yaml", "rules/tests/{}.test.yaml"

_HEAD = "# Written by `make generate` from {}. Do not edit.\n"


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
            tests = promtool_tests.tests(one, f"../{name}.rules.yaml", names)
            files[TESTS.format(name)] = _text(tests, source)
    return files


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
        "budget_left": _queried(left, "humanizePercentage", "not known"),
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


def _text(document: Json, source: str) -> str:
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=96, allow_unicode=True)
    return _HEAD.format(source) + body
