"""What a server's own configuration says about its alerts: pure, from the JSON of its API.

`ALERTS` holds the labels of a rule. What Alertmanager (and so a webhook) sees has the external
labels too, and has passed `alert_relabel_configs`; both are applied here as Prometheus does it
(notifier/notifier.go, model/relabel/relabel.go).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from noisegate.adapters.prometheus.episodes import Labels
from noisegate.errors import InputError

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNITS |= {"w": 7 * _UNITS["d"], "y": 365 * _UNITS["d"]}
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))", re.ASCII)
_LABEL_NAME = re.compile(r"[a-zA-Z_]\w*", re.ASCII)
_TEXTS = ("summary", "message", "description")


def duration_ms(text: str) -> int | None:
    """Prometheus' durations, such as `1m30s`, in ms; None if it is none."""
    if _PART.sub("", text) or not text:
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


@dataclass(frozen=True, slots=True)
class RelabelStep:
    """One entry of `relabel_configs`, with Prometheus' defaults."""

    action: str = "replace"
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: re.Pattern[str] = re.compile(r"(.*)")
    modulus: int = 0
    target_label: str = ""
    replacement: str = "$1"

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> "RelabelStep":
        """Read an entry of the configuration.

        Raises:
            InputError: its regex is one that Python does not know.
        """
        text = str(entry.get("regex", "(.*)"))
        try:
            # RE2's classes are ASCII.
            regex = re.compile(text, re.ASCII)
        except re.error as error:
            raise InputError(
                f"alert_relabel_configs: regex {text!r} cannot be read here ({error}): "
                "write it without RE2's own syntax, or import without relabelling"
            ) from None
        return cls(
            action=str(entry.get("action", "replace")).lower(),
            source_labels=tuple(map(str, entry.get("source_labels") or ())),
            separator=str(entry.get("separator", ";")),
            regex=regex,
            modulus=int(entry.get("modulus", 0)),
            target_label=str(entry.get("target_label", "")),
            replacement=str(entry.get("replacement", "$1")),
        )

    def apply(self, labels: dict[str, str]) -> bool:
        """Change the labels in place; False: the alert is dropped."""
        value = self.separator.join(labels.get(name, "") for name in self.source_labels)
        match self.action:
            case "keep":
                return self.regex.fullmatch(value) is not None
            case "drop":
                return self.regex.fullmatch(value) is None
            case "keepequal":
                return labels.get(self.target_label, "") == value
            case "dropequal":
                return labels.get(self.target_label, "") != value
            case "replace":
                self._replace(labels, value)
            case "lowercase":
                labels[self.target_label] = value.lower()
            case "uppercase":
                labels[self.target_label] = value.upper()
            case "hashmod":
                digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
                rest = int.from_bytes(digest[8:], "big") % max(self.modulus, 1)
                labels[self.target_label] = str(rest)
            case "labelmap":
                for name in list(labels):
                    if found := self.regex.fullmatch(name):
                        labels[_expand(self.replacement, found)] = labels[name]
            case "labeldrop" | "labelkeep":
                wanted = self.action == "labelkeep"
                for name in list(labels):
                    if (self.regex.fullmatch(name) is not None) != wanted:
                        del labels[name]
        return True

    def _replace(self, labels: dict[str, str], value: str) -> None:
        found = self.regex.fullmatch(value)
        if found is None:
            return
        target = _expand(self.target_label, found)
        text = _expand(self.replacement, found)
        if not text or not _LABEL_NAME.fullmatch(target):
            labels.pop(self.target_label, None)
        else:
            labels[target] = text


def _expand(template: str, found: re.Match[str]) -> str:
    """Go's `Regexp.Expand`: $1, ${1}, $name, $$; what was not matched is empty."""

    def value(reference: re.Match[str]) -> str:
        dollar, braced, bare = reference.groups()
        if dollar:
            return "$"
        name = braced or bare
        try:
            return found[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(value, template)


@dataclass(frozen=True, slots=True)
class Outbound:
    """What happens to an alert's labels on the way to Alertmanager.

    `external` are added where the alert has no such label; `steps` follow. `replica_labels` tell
    the members of an HA pair apart and are dropped last, so that both send one alert.
    """

    external: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[RelabelStep, ...] = ()
    replica_labels: tuple[str, ...] = ()

    def apply(self, labels: Labels) -> Labels | None:
        """The labels that Alertmanager sees, without replicas; None: it never sees the alert."""
        changed = dict(labels)
        for name, value in self.external.items():
            if not changed.get(name):
                changed[name] = value
        for step in self.steps:
            if not step.apply(changed):
                return None
        dropped = self.replica_labels
        return tuple(sorted((k, v) for k, v in changed.items() if v and k not in dropped))


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The parts of `/api/v1/status/config` that matter here."""

    outbound: Outbound = field(default_factory=Outbound)
    evaluation_interval: int = 60_000
    """ms"""
    ambiguous: bool = False
    """Several Alertmanagers relabel differently: only what is common to all is applied."""


def read_config(text: str, replica_labels: Sequence[str]) -> ServerConfig:
    """Read the YAML of `/api/v1/status/config`.

    Raises:
        InputError: a regex that cannot be used.
    """
    config = _mapping(yaml.safe_load(text))
    general, alerting = _mapping(config.get("global")), _mapping(config.get("alerting"))
    external = {k: str(v) for k, v in _mapping(general.get("external_labels")).items()}
    entries = list(alerting.get("alert_relabel_configs") or [])
    # Newer servers relabel for each Alertmanager as well, after the common part.
    managers = alerting.get("alertmanagers") or []
    each = [_mapping(m).get("alert_relabel_configs") or [] for m in managers]
    ambiguous = any(own != each[0] for own in each)
    if each and not ambiguous:
        entries += each[0]
    steps = tuple(RelabelStep.parse(_mapping(entry)) for entry in entries)
    interval = duration_ms(str(general.get("evaluation_interval", "1m"))) or 60_000
    return ServerConfig(Outbound(external, steps, tuple(replica_labels)), interval, ambiguous)


@dataclass(frozen=True, slots=True)
class Rule:
    """One alerting rule: its own fixed labels, its interval in ms, and its text, a template."""

    labels: Labels
    interval: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a server: alerting ones by name, and some names of recorded series."""

    alerts: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    records: tuple[str, ...] = ()

    def find(self, labels: Labels) -> Rule | None:
        """The rule that a series comes from: of its name, and with the most labels in common."""
        named = dict(labels)
        candidates = self.alerts.get(named.get("alertname", ""), ())
        fitting = [r for r in candidates if set(r.labels) <= set(labels)]
        return max(fitting or candidates, key=lambda r: len(r.labels), default=None)


def read_rules(data: Mapping[str, Any], most_records: int = 20) -> Rules:
    """Read the `data` of `/api/v1/rules`."""
    alerts: dict[str, list[Rule]] = {}
    records: set[str] = set()
    for group in data.get("groups") or []:
        interval = round(float(group.get("interval") or 0) * 1000)
        for rule in group.get("rules") or []:
            name = str(rule.get("name", ""))
            if rule.get("type") == "recording":
                records.add(name)
            elif interval > 0:
                fixed = _mapping(rule.get("labels")).items()
                labels = tuple(sorted((k, str(v)) for k, v in fixed if "{{" not in str(v)))
                text = _text(_mapping(rule.get("annotations")))
                alerts.setdefault(name, []).append(Rule(labels, interval, text))
    chosen = sorted(filter(_is_metric, records))[:most_records]
    return Rules({name: tuple(rules) for name, rules in alerts.items()}, tuple(chosen))


def _is_metric(name: str) -> bool:
    return re.fullmatch(r"[a-zA-Z_:][\w:]*", name, re.ASCII) is not None


def _text(annotations: Mapping[str, Any]) -> str | None:
    for name in _TEXTS:
        if annotations.get(name):
            return str(annotations[name])
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
