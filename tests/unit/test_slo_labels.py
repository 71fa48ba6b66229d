"""Label values: what is written down is what is exported, and samples match their regex."""

import re

import pytest

from noisegate.metrics import OTHER_SERVICES, VALUES
from noisegate.scrub import Entity
from observability.checks import Judgement, judge
from observability.counting import FLOWS, bounds
from observability.gauges import _BOUNDS, STAGES
from observability.labels import OTHER, find, known_values, samples
from observability.slo import Events, Selector, Slo, known_metrics
from observability.totals import zeros

OPEN = {"service", "version", "figure", "le"}
"""Labels whose values are not written down."""


def test_the_values_of_counters_are_those_that_are_exported() -> None:
    exported: dict[tuple[str, str], set[str]] = {}
    for one in zeros(["shop"]):
        spec = known_metrics()[one.name]
        for label, value in one.labels:
            if label not in OPEN:
                exported.setdefault((spec.name, label), set()).add(value)
    written = {
        (metric, label): set(values) - {OTHER_SERVICES}
        for metric, labels in VALUES.items()
        for label, values in labels.items()
    }
    gauges = {key: values for key, values in written.items() if key not in exported}
    assert {key: written.get(key) for key in exported} == exported
    assert {label: values for (_, label), values in gauges.items()} == {
        "flow": set(FLOWS),
        "stage": set(STAGES),
        "bound": set(_BOUNDS.values()),
    }


def test_an_entity_that_is_not_known_is_exported_as_other() -> None:
    values = known_values("noisegate_scrubbed_entities_total", "entity")
    assert values == (*Entity, OTHER_SERVICES)


def test_every_label_but_the_open_ones_has_values() -> None:
    for name, spec in known_metrics().items():
        for label in set(spec.labels) - OPEN:
            assert known_values(name, label), (name, label)


@pytest.mark.parametrize("series", sorted(n for n in known_metrics() if n.endswith("_bucket")))
def test_every_bucket_is_accepted_as_it_is_exported(series: str) -> None:
    spec = known_metrics()[series]
    total = Selector(f"{spec.name}_count")
    for bound in bounds(spec):
        kind = Events(total, good=Selector(series, (("le", "=", bound),)))
        slo = Slo("x", "X", "x", "x", 0.99, kind, traffic_per_min=20.0)
        found: list[Judgement] = list(judge(slo, known_metrics()))
        assert [one.message for one in found if one.about == "good"] == []


@pytest.mark.parametrize(
    "regex",
    ["5[0-9]{2}", r"5\d\d", "5..", "a|b|c", "(?:ab|c)+d?", "[^a-z]{2,3}", "(?P<x>a)b*", "^x$",
     r"\.php", "(?i)ab", "[]a]x", "é+", "(a|(b|c){2})/[xyz]", r"\x41\w+?", ""],
)  # fmt: skip
def test_samples_match_their_regex(regex: str) -> None:
    found = samples(regex)
    assert found
    assert all(re.fullmatch(regex, sample) for sample in found), found


@pytest.mark.parametrize(
    "regex", ["(" * 5_000 + ")" * 5_000, "a{999}" * 9, "(?=a)b", "(", "[[:alpha:]]"]
)
def test_a_regex_that_cannot_be_expanded_is_no_error(regex: str) -> None:
    found = find(Selector("x", (("a", "=~", regex), ("a", "!=", OTHER))))
    assert (found.labels, found.sure) == (None, False)
