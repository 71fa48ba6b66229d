"""Names, kinds and labels of the metrics follow Prometheus' conventions, and ours."""

import re

import pytest

from noisegate.metrics import METRICS, MetricSpec
from observability.totals import zeros

EACH = pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
UNITS = ("seconds", "ratio", "info", "total", "rows", "version", "failures")


@EACH
def test_a_name_says_whose_it_is_and_its_unit(spec: MetricSpec) -> None:
    assert re.fullmatch(r"noisegate_[a-z][a-z_]*[a-z]", spec.name)
    assert spec.name.endswith(UNITS)
    assert spec.name.endswith("_total") == (spec.kind == "counter")


@EACH
def test_help_is_one_sentence(spec: MetricSpec) -> None:
    assert spec.help.endswith(".") and "\n" not in spec.help


@EACH
def test_labels_are_names_and_never_those_of_a_histogram(spec: MetricSpec) -> None:
    assert all(re.fullmatch(r"[a-z_]+", label) for label in spec.labels)
    assert not {"le", "quantile", "job", "instance"} & set(spec.labels)
    assert len(set(spec.labels)) == len(spec.labels)


@EACH
def test_only_histograms_have_buckets_and_theirs_rise(spec: MetricSpec) -> None:
    assert bool(spec.buckets) == (spec.kind == "histogram")
    assert list(spec.buckets) == sorted(set(spec.buckets))


def test_names_are_unique() -> None:
    assert len({spec.name for spec in METRICS}) == len(METRICS)


def test_every_counter_and_histogram_exists_before_its_first_event_with_just_its_labels() -> None:
    specs = {spec.name: spec for spec in METRICS if spec.kind != "gauge"}
    seen = set()
    for one in zeros(["web"]):
        name = re.sub("_(bucket|count|sum)$", "", one.name)
        spec = specs[name if name in specs else one.name]
        labels = {label for label, _ in one.labels} - {"le"}
        assert labels == set(spec.labels)
        seen.add(spec.name)

    assert seen == set(specs)
