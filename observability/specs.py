"""OpenSLO v1 YAML -> SLOs: what is read is checked, what is not read is refused, each by its line.

The format: https://github.com/OpenSLO/OpenSLO (README, version v1), one SLO a document, its
indicator inline. What OpenSLO lacks is written as it allows: `metricSource: {type: noisegate}`
and annotations `noisegate/...`. docs/slos.md shows every kind.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from noisegate.errors import InputError, MissingError
from noisegate.metrics import MetricSpec
from observability.checks import judge
from observability.documents import Fields, Finding, Source, near
from observability.indicators import GAUGES, Indicator, read_indicator
from observability.slo import WORKBOOK, Burn, Slo, known_metrics
from observability.tiers import INLINE, METADATA, POLICY, PREFIX, SEVERITIES, read_policy

SLOS = Path(__file__).parent / "slos"
"""Our own specs."""

OURS = known_metrics()
"""Our exporter's series."""

MOST_WINDOW_S = 366 * 86_400.0
"""Longest window, seconds."""

ANNOTATIONS = ("events-per-minute", "runbook", "severity", "tiers")
"""Ours, after `noisegate/`."""

_OTHERS = ("openslo/v1alpha", "openslo/v2alpha", "openslo.com/v2alpha")
_VERSIONS = {"openslo/v1": "", **dict.fromkeys(_OTHERS, "write openslo/v1")}
_INLINED = ("AlertCondition", "AlertPolicy", "SLI")
_NEEDLESS = ("AlertNotificationTarget", "DataSource", "Service")
_KINDS = {
    "SLO": "",
    **dict.fromkeys(_INLINED, INLINE),
    **dict.fromkeys(_NEEDLESS, "an SLO needs none here, take the document away"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What files of specs hold."""

    slos: tuple[Slo, ...]
    """The ones without a problem, in the order of the files."""
    findings: tuple[Finding, ...]
    """Problems and remarks, in the order of files and lines."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are no remarks."""
        return tuple(finding for finding in self.findings if not finding.remark)


def load_slos(
    folder: Path = SLOS, metrics: Mapping[str, MetricSpec] | None = OURS
) -> tuple[Slo, ...]:
    """Read the SLOs of a folder.

    Args:
        folder: of YAML files (or one file); default: our own.
        metrics: series by name, against which the specs are checked; None: not checked.

    Raises:
        MissingError: there is no spec.
        InputError: a spec cannot be used; the first problem's file, line, value and way out.
    """
    reading = read_specs(folder, metrics)
    if problems := reading.problems:
        more = f" (and {len(problems) - 1} more: `noisegate slo check`)" if problems[1:] else ""
        raise InputError(f"{problems[0]}{more}")
    return reading.slos


def read_specs(folder: Path, metrics: Mapping[str, MetricSpec] | None) -> Reading:
    """Read the specs of a folder, or one file, with all that is wrong with them.

    Raises:
        MissingError: there is no spec.
    """
    files = [folder] if folder.is_file() else sorted(spec_files(folder))
    if not files:
        raise MissingError(f"{folder} holds no *.yaml: name a folder of OpenSLO files")
    slos: list[Slo] = []
    findings: list[Finding] = []
    names: dict[str, Finding] = {}
    for file in files:
        source = Source(_shown(file))
        for node in source.documents():
            slo = _document(source, node, names, metrics)
            slos += [slo] if slo else []
        findings += sorted(source.findings)
    return Reading(tuple(slos), tuple(findings))


def spec_files(folder: Path) -> Iterable[Path]:
    """The YAML files of a folder, without those of its folders."""
    return (p for p in folder.glob("*") if p.suffix in (".yaml", ".yml") and p.is_file())


def _shown(file: Path) -> Path:
    """A path as people read it: from here, where it lies below."""
    here = Path.cwd()
    return file.absolute().relative_to(here) if file.absolute().is_relative_to(here) else file


def _document(
    source: Source,
    node: yaml.Node,
    names: dict[str, Finding],
    metrics: Mapping[str, MetricSpec] | None,
) -> Slo | None:
    before = len(source.findings)
    top = Fields(source, node, "", ("apiVersion", "kind", "metadata", "spec"))
    top.choice("apiVersion", _VERSIONS)
    top.choice("kind", _KINDS)
    if top.text("kind", default="SLO") != "SLO":
        return None  # of another kind: every field would be unknown
    reader = _Reader(top)
    slo = reader.slo()
    first = names.setdefault(slo.name, Finding(source.file, reader.lines["name"], ""))
    if (first.file, first.line) != (source.file, reader.lines["name"]):
        reader.metadata.refuse(
            "name", f"{slo.name} is taken by {first.file}:{first.line}: give one another name"
        )
    if len(source.findings) > before:
        return None
    wrong = False
    for judgement in judge(slo, metrics):
        line = reader.lines.get(judgement.about, reader.lines["name"])
        source.note(line, judgement.message, remark=judgement.remark)
        wrong |= not judgement.remark
    return None if wrong else slo


class _Reader:
    """Reads one SLO document; `lines` says where each part stands."""

    def __init__(self, top: Fields) -> None:
        self.lines: dict[str, int] = {}
        self.file = top.source.file
        self.metadata = top.child("metadata", METADATA)
        self.metadata.unsupported({"labels": "alerts do not carry them, write annotations"})
        self.annotations = self._annotations()
        self.spec = top.child(
            "spec",
            (
                *("description", "service", "indicator", "indicatorRef", "timeWindow"),
                *("budgetingMethod", "objectives", "alertPolicies"),
            ),
        )
        self.spec.unsupported({"indicatorRef": f"{INLINE}, as `indicator`"})

    def slo(self) -> Slo:
        """The SLO; to be used only if nothing was noted."""
        name = self.metadata.name()
        self.lines["name"] = self.metadata.line_of("name")
        indicator = read_indicator(self.spec.child("indicator", ("metadata", "spec")), self.lines)
        objective, value = self._objective(indicator)
        self.lines["window"] = self.spec.line_of("timeWindow")
        return Slo(
            name=name,
            display_name=self._short(self.metadata, "displayName", 63) or _title(name),
            description=" ".join(self._short(self.spec, "description", 1050).split()),
            service=self.spec.name("service"),
            objective=objective,
            kind=indicator.kind(value),
            window_s=self._window(),
            tiers=self._tiers(indicator),
            severity=self._severity(indicator),
            traffic_per_min=self._traffic(indicator),
            runbook=self._annotation("runbook") or name,
            file=self.file,
        )

    @staticmethod
    def _short(fields: Fields, key: str, most: int) -> str:
        value = fields.text(key, default="").strip()
        if len(value) > most:
            fields.refuse(key, f"has {len(value)} characters: OpenSLO allows {most}")
        return value

    def _annotations(self) -> Fields:
        found = self.metadata.child("annotations", (), required=False)
        known = [f"{PREFIX}{name}" for name in ANNOTATIONS]
        for key in found:
            if key in known:
                self.lines[key.removeprefix(PREFIX)] = found.line_of(key)
                continue
            found.text(key)
            if key.startswith(PREFIX) or "did you mean" in near(key, known):
                found.refuse(key, f"is not known: {near(key, known)}")
        return found

    def _annotation(self, name: str) -> str:
        self.lines.setdefault(name, self.lines.get("name", 1))
        return self.annotations.text(f"{PREFIX}{name}", default="")

    def _traffic(self, indicator: Indicator) -> float | None:
        key, text = f"{PREFIX}events-per-minute", self._annotation("events-per-minute")
        if not text:
            return None
        if indicator.name in GAUGES:
            self.annotations.refuse(key, f"says nothing of {indicator.name}: take it away")
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) == 0:
            self.annotations.refuse(key, f'{text[:60]} is no traffic: give a number such as "0.5"')
            return 1.0
        return float(text)

    def _severity(self, indicator: Indicator) -> str:
        key = f"{PREFIX}severity"
        if key in self.annotations and indicator.burns:
            self.annotations.refuse(key, "is of kinds without burn rates: a tier has its own")
        return self.annotations.choice(key, SEVERITIES, "ticket")

    def _window(self) -> float:
        windows = self.spec.children("timeWindow", ("duration", "isRolling", "calendar"))
        if len(windows) != 1:
            if "timeWindow" in self.spec:
                self.spec.refuse("timeWindow", f"has {len(windows)} items: give exactly one")
            return 30 * 86_400.0
        one = windows[0]
        one.unsupported({"calendar": "budgets are rolling, write `isRolling: true`"})
        if not one.flag("isRolling", False) and "calendar" not in one:
            one.refuse("isRolling", "must be true: budgets are rolling")
        seconds = one.duration("duration")
        if seconds > MOST_WINDOW_S:
            one.refuse("duration", "is more than 366d: give a shorter window, such as 30d")
        return seconds

    def _objective(self, indicator: Indicator) -> tuple[float, float]:
        """The objective, and the value that an SLI of one number is compared with."""
        method = self.spec.choice(
            "budgetingMethod",
            {
                "Occurrences": "",
                "Timeslices": "",
                "RatioTimeslices": "a mean of ratios forgets how many events each had, "
                "write Occurrences",
            },
        )
        gauge = indicator.name in GAUGES
        if not indicator.unread and method != ("Timeslices" if gauge else "Occurrences"):
            self.spec.refuse(
                "budgetingMethod",
                f"{method} does not fit {indicator.name}: "
                + ("time is counted, write Timeslices" if gauge else "write Occurrences"),
            )
        known = ("displayName", "op", "value", "target", "targetPercent")
        composite = ("indicator", "indicatorRef", "compositeWeight")
        slices = ("timeSliceTarget", "timeSliceWindow")
        items = self.spec.children("objectives", (*known, *slices, *composite))
        if len(items) != 1:
            self.spec.refuse("objectives", f"are {len(items)}: one SLO has one, write a second SLO")
            return 0.5, 1.0
        one = items[0]
        one.unsupported(dict.fromkeys(composite, "composites are not read, write two SLOs"))
        one.text("displayName", default="")
        share = self._share(one)
        if indicator.unread:
            return share, 1.0
        self._slices(one, gauge)
        if not indicator.has_value:
            way = f"{indicator.name} has no threshold, take it away"
            one.unsupported({"op": way, "value": way})
            return share, 1.0
        self.lines["value"] = one.line_of("value")
        one.choice("op", {"lte": ""} | dict.fromkeys(("lt", "gte", "gt"), "write lte"))
        value = one.number("value", "a number, such as 0.5")
        if value < 0 or (value == 0 and indicator.name != "consecutive-failures"):
            one.refuse("value", f"{value} is too low: give a number above 0")
        return share, float(value)

    @staticmethod
    def _slices(one: Fields, gauge: bool) -> None:
        if not gauge:
            way = "it belongs to Timeslices, take it away"
            one.unsupported({"timeSliceTarget": way, "timeSliceWindow": way})
        elif one.number("timeSliceTarget", "1", "1") != 1:
            one.refuse("timeSliceTarget", "must be 1: one minute is good or it is not")
        elif one.text("timeSliceWindow", default="1m") != "1m":
            one.refuse("timeSliceWindow", "must be 1m: a gauge is looked at each minute")

    def _share(self, one: Fields) -> float:
        keys = [key for key in ("target", "targetPercent") if key in one]
        key = keys[0] if keys else "target"
        self.lines["objective"] = one.line_of(key)
        if len(keys) == 2:
            one.refuse("target", "and targetPercent are both given: give one")
        most = 100 if key == "targetPercent" else 1
        number = one.number(key, f"a share between 0 and {most}")
        if keys and not 0 < number < most:
            good = "99.9" if most == 100 else "0.999"
            one.refuse(key, f"{number} is not between 0 and {most}: give a share such as {good}")
            return 0.5
        # As decimals: 99.9 / 100 is not 0.999 in binary.
        return float(number / most)

    def _tiers(self, indicator: Indicator) -> tuple[Burn, ...]:
        if indicator.unread:
            return ()
        key, text = f"{PREFIX}tiers", self._annotation("tiers")
        if not indicator.burns:
            for fields, name in ((self.annotations, key), (self.spec, "alertPolicies")):
                if name in fields:
                    fields.refuse(
                        name, f"holds burn rates, {indicator.name} has none: take it away"
                    )
            return ()
        if "alertPolicies" in self.spec:
            policies = self.spec.children("alertPolicies", POLICY)
            if not policies:
                way = f'leave it out, or annotate {key}: "none"'
                self.spec.refuse("alertPolicies", f"holds no policy: {way}")
            if text:
                self.annotations.refuse(key, "and spec.alertPolicies are both given: give one")
            self.lines["tiers"] = self.spec.line_of("alertPolicies")
            tiers = tuple(read_policy(policy) for policy in policies)
            names = [tier.name for tier in tiers]
            for index, policy in enumerate(policies):
                if names.index(names[index]) < index:
                    policy.refuse("spec", f"makes the tier {names[index]} once more: keep one")
            return tiers
        if not text:
            return WORKBOOK
        by_name = {tier.name: tier for tier in WORKBOOK}
        chosen = [] if text == "none" else [part.strip() for part in text.split(",")]
        for name in chosen:
            if name not in by_name:
                way = near(name, (*by_name, "none"))
                self.annotations.refuse(key, f"{name[:60]} is no tier: {way}")
        return tuple(tier for tier in WORKBOOK if tier.name in chosen)


def _title(name: str) -> str:
    return name.replace("-", " ").capitalize()
