"""Every expression that we generate is executed on a real Prometheus, and returns data.

The Prometheus holds the demo's 30 days, back-filled. What is right to be empty is listed one by
one, with the reason, in every_expression_empty.yaml beside this file.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerting import provisioning_files
from dashboards.build import dashboard_files
from noisegate import metrics
from noisegate.learning.demo import tell
from noisegate.settings import load_settings
from noisegate.store.database import open_store
from observability.backfill import backfill
from observability.burn import CompileOptions, compile_slo
from observability.past_metrics import Span
from observability.past_rules import selectors
from observability.prometheus_rules import rule_files
from observability.specs import load_slos
from observability.tsdb import Server, serving

EMPTY = Path(__file__).with_name("every_expression_empty.yaml")
DAYS, STEP_S = 30, 240

NOT_IN_THE_PAST = {metrics.COLLECT_DURATION.name, metrics.COLLECT_ROWS.name}
"""Facts of the exporter's own process."""

VALUES = {("slo:budget:exhaustion_seconds", "slo"): {slo.name for slo in load_slos()}}
"""Values that a label can have, where not all of them come in the demo: not every SLO burns."""


@dataclass(frozen=True)
class Expression:
    """One expression, and where it stands."""

    where: str
    texts: tuple[str, ...]
    """`$variables` are replaced; of one that holds one value at a time, by each of its values."""
    rule: str = ""
    """Name of the alert, or name and labels of the record, that it is of."""

    @property
    def name(self) -> str:
        """As it is listed: a rule by its name, others by their text."""
        return self.rule or " ".join(self.texts[0].split())


@dataclass(frozen=True)
class Proof:
    """A Prometheus with the demo's past, until `until_s`."""

    server: Server
    until_s: int

    @property
    def since_s(self) -> int:
        return self.until_s - DAYS * 86_400

    def values(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """What it returns now, NaN left out."""
        return [one for one in self.server.instant(expr, self.until_s) if one[1] == one[1]]

    def now(self, expression: Expression) -> bool:
        """Whether it returns data now."""
        found = [self.values(text) for text in expression.texts]  # all of them are executed
        return any(found)

    def ever(self, expression: Expression) -> bool:
        """Whether it returned anything but NaN in the 30 days."""
        times = range(self.since_s, self.until_s + 1, STEP_S)
        return any(
            value != "NaN"
            for text in expression.texts
            for _, samples in self.server.range(text, times)
            for _, value in samples
        )

    @cached_property
    def labels(self) -> dict[str, dict[str, set[str]]]:
        """Of every metric: its labels, and their values."""
        found: dict[str, dict[str, set[str]]] = {}
        for series in self.server.series('{__name__=~".+"}', self.since_s, self.until_s):
            of = found.setdefault(series.pop("__name__"), {})
            for name, value in series.items():
                of.setdefault(name, set()).add(value)
        return found


@pytest.fixture(scope="module")
def proof(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    folder = tmp_path_factory.mktemp("proof")
    settings = load_settings(home=folder / "home", exporter_origin="simulated")
    tell(settings, alerts=6_000, days=DAYS + 1, seed=7)
    engine = open_store(settings)
    with engine.connect() as connection:
        now_us = connection.exec_driver_sql("SELECT MAX(at) FROM event").scalar_one()
    # To the whole minute after the last fact, so that all of it is in.
    span = Span.of(DAYS, now_us / 1e6 + 60)
    labels = {"job": "noisegate", "instance": "exporter:9464"}
    backfill(settings, engine, load_slos(), span, labels, folder / "data", step_s=STEP_S)
    engine.dispose()
    with serving(folder / "data") as server:
        yield Proof(server, span.until_s)


def generated() -> dict[str, str]:
    """Everything generated that has expressions, as text."""
    options = CompileOptions()
    compiled = [compile_slo(slo, options) for slo in load_slos()]
    rules = {n: t for n, t in rule_files(compiled, options).items() if "/tests/" not in n}
    # Numbers of texts answer always; what is proven is what they answer with data.
    alerts = {
        name: re.sub(r"\s+or\s+vector\(-1e18\)", "", text)
        for name, text in provisioning_files(compiled, options, "grafana").items()
    }
    return rules | {n: t for n, t in alerts.items() if n.endswith(".yaml")} | dashboard_files()


def expressions(files: dict[str, str], proof: Proof) -> Iterator[Expression]:
    """Every expression in them."""
    for name, text in files.items():
        if name.endswith(".json"):
            yield from of_dashboard(name, json.loads(text), proof)
        else:
            for where, node in walk(yaml.safe_load(text), name):
                if isinstance(node, dict) and isinstance(node.get("expr"), str):
                    is_rule = "alert" in node or "record" in node
                    yield Expression(where, (node["expr"],), title(node) if is_rule else "")
                if isinstance(node, str):
                    for query in re.findall(r'\bquery "((?:[^"\\]|\\.)*)"', node):
                        yield Expression(f"{where} (template)", (query,))


def walk(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Every node of a document with its place, named where it has a name."""
    yield where, node
    if isinstance(node, dict):
        for key, child in node.items():
            yield from walk(child, f"{where}/{key}")
    elif isinstance(node, list):
        for place, child in enumerate(node):
            yield from walk(child, f"{where}/{title(child) or place}")


def title(node: Any) -> str:
    if not isinstance(node, dict):
        return ""
    named = next(
        (node[k] for k in ("alert", "title", "record", "name", "refId") if node.get(k)), ""
    )
    labels = node.get("labels") if node.get("record") else None
    return " ".join([str(named), *(v for k, v in (labels or {}).items() if k != "service")])


def of_dashboard(name: str, board: dict[str, Any], proof: Proof) -> Iterator[Expression]:
    """Queries of variables, annotations and panels, with the values that one sees at first."""
    first = {"__rate_interval": "1h", "__interval": "1h", "__range": f"{DAYS}d"}  # graph of days
    several = [first]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found, asked = values_of(variable, first, proof)
            yield Expression(f"{name} variable {variable['name']}", (asked,))
        else:
            found = [str((variable.get("current") or {}).get("value", ""))]
        several = [one | {variable["name"]: value} for one in several for value in found]
        first = several[0]

    def expression(where: str, text: str) -> Expression:
        return Expression(where, tuple(dict.fromkeys(replaced(text, one) for one in several)))

    for annotation in board["annotations"]["list"]:
        if annotation.get("expr"):
            yield expression(f"{name} annotation {annotation['name']}", annotation["expr"])
    for panel in board["panels"]:
        for inner in (panel, *panel.get("panels", ())):
            for target in inner.get("targets", ()):
                yield expression(f"{name} {inner['title']} {target['refId']}", target["expr"])


def values_of(
    variable: dict[str, Any], values: dict[str, str], proof: Proof
) -> tuple[list[str], str]:
    """The values of a variable, all in one if it may hold several; and what was asked for them."""
    match = re.fullmatch(
        r"label_values\((.+), (\w+)\)", replaced(variable["query"]["query"], values)
    )
    assert match, f"another query than label_values: {variable['query']}"
    series, label = match.groups()
    asked = f"count by ({label}) ({series})"
    found = sorted({labels[label] for labels, _ in proof.values(asked) if label in labels})
    return [f"({'|'.join(found)})"] if variable["includeAll"] else found, asked


def replaced(text: str, values: dict[str, str]) -> str:
    pattern = r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))"
    return re.sub(pattern, lambda match: values[match[1] or match[2]], text)


@pytest.mark.e2e
def test_every_expression_returns_data_or_is_listed(
    proof: Proof, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = {one.get("rule") or one["expr"] for one in yaml.safe_load(EMPTY.read_text())}
    found = list(expressions(generated(), proof))
    with ThreadPoolExecutor(2) as pool:
        now = list(pool.map(proof.now, found))
        quiet = [one for one, has_data in zip(found, now, strict=True) if not has_data]
        ever = list(pool.map(proof.ever, quiet))
    empty = [one for one, has_data in zip(quiet, ever, strict=True) if not has_data]
    said = (
        f"{len(found)} expressions ({sum(len(one.texts) for one in found)} with all values of "
        f"variables) executed; {len(found) - len(quiet)} return data now, "
        f"{len(quiet) - len(empty)} earlier in the {DAYS} days; {len(empty)} are empty"
    )
    record_property("expressions", said)
    with capsys.disabled():
        print(f"\n{said}")
    unforeseen = sorted({f"{one.where}: {one.name}" for one in empty if one.name not in listed})
    assert not unforeseen, "\n".join(unforeseen)
    gone = listed - {one.name for one in found}
    assert not gone, f"listed as empty, but not there any more: {sorted(gone)}"


@pytest.mark.e2e
def test_every_metric_and_label_exists(proof: Proof) -> None:
    wrong = [
        f"{one.where}: {fault}"
        for one in expressions(generated(), proof)
        for fault in faults(one.texts[0], proof.labels)
    ]
    assert not wrong, "\n".join(wrong)


def faults(expr: str, labels: dict[str, dict[str, set[str]]]) -> Iterator[str]:
    """What an expression asks for that is nowhere: metrics, labels, values of labels."""
    found: list[dict[str, set[str]]] = []
    for selector in selectors(expr):
        if selector.name in NOT_IN_THE_PAST:
            continue
        if selector.name not in labels:
            yield f"no metric {selector.name}"
            continue
        has = labels[selector.name]
        found.append(has)
        for matcher in selector.matchers.matchers:
            if matcher.name not in has:
                yield f"{selector.name} has no label {matcher.name}"
            elif str(matcher.op) == "MatchOp.Equal" and matcher.value not in (
                VALUES.get((selector.name, matcher.name)) or has[matcher.name]
            ):
                yield f"{selector.name} has no {matcher.name}={matcher.value}"
    made = set(re.findall(r'label_replace\([^"]*"(\w+)"', expr))
    for named in re.findall(r"\b(?:by|on|ignoring|without)\s*\(([\w, ]*)\)", expr):
        for label in filter(None, re.split(r"[, ]+", named)):
            if label not in made and not any(label in has for has in found):
                yield f"no metric of it has a label {label}"


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("sum(noisegate_decision_total)", "no metric noisegate_decision_total"),
        ('noisegate_decisions_total{state="ok"}', "noisegate_decisions_total has no label state"),
        (
            'noisegate_decisions_total{status="fine"}',
            "noisegate_decisions_total has no status=fine",
        ),
        ("sum by (slo) (noisegate_decisions_total)", "no metric of it has a label slo"),
    ],
    ids=["misspelt metric", "misspelt label", "a value that is not there", "lost label"],
)
def test_the_check_sees_what_is_wrong(expr: str, fault: str) -> None:
    labels = {"noisegate_decisions_total": {"status": {"ok", "failed"}, "action": {"page"}}}
    assert list(faults(expr, labels)) == [fault]


def test_every_file_has_expressions_that_are_found() -> None:
    # A change of a file's form must not hide them.
    files = {name for name, text in generated().items() if "expr" in text}
    rules = {f"rules/{slo.name}.rules.yaml" for slo in load_slos()}
    assert files == {*rules, *dashboard_files(), "alerts.grafana.yaml"}
