"""Specs: whatever a file holds, it is read or refused by line; what is written is what is read."""

import tempfile
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from observability.checks import can_fire, limit
from observability.explain import explain
from observability.slo import WORKBOOK, Burn, Events, Selector, Slo
from observability.specs import OURS, SLOS, Reading, read_specs

OWN = sorted(path.read_text(encoding="utf-8") for path in SLOS.glob("*.yaml"))

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
LABELS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
# Printable without surrogates: what a label's value may hold, quotes and backslashes included.
VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
SELECTORS = st.builds(
    lambda metric, matchers: Selector(metric, tuple((k, o, v) for k, (o, v) in matchers.items())),
    st.from_regex(r"[a-z_:][a-z0-9_]{0,12}_total", fullmatch=True),
    st.dictionaries(
        LABELS.filter(lambda label: label != "__name__"),
        st.tuples(st.sampled_from(["=", "!="]), VALUES),
        max_size=3,
    ),
)
SHARES = st.integers(1, 9_999).map(lambda part: part / 10_000)
TIERS = st.builds(
    lambda factor, long_min, part: Burn(
        "page", "page", factor / 10, 60.0 * part * long_min, 60.0 * long_min
    ),
    st.integers(1, 300),
    st.integers(1, 60),
    st.integers(2, 24),
)


def read(data: bytes) -> Reading:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.yaml"
        file.write_bytes(data)
        return read_specs(file, OURS)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """One of our specs, with a few lines lost, doubled, moved in or replaced by something else."""
    lines = draw(st.sampled_from(OWN)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(["lose", "double", "indent", "value", "junk"]))
        if what == "lose" and len(lines) > 1:
            del lines[at]
        elif what == "double":
            lines.insert(at, lines[at])
        elif what == "indent":
            lines[at] = " " * draw(st.integers(0, 8)) + lines[at].lstrip()
        elif what == "value":
            value = draw(
                st.sampled_from(["", "[]", "{}", "no", "1:30", "&a b", "*a", "-1", "!x y"])
            )
            lines[at] = f"{lines[at].split(':')[0]}: {value}"
        else:
            lines[at] = draw(st.text(max_size=20))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@settings(max_examples=150, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), damaged()))
def test_any_file_is_read_or_refused_on_one_line(data: bytes) -> None:
    reading = read(data)
    for finding in reading.findings:
        assert 1 <= finding.line <= len(data) + 1
        assert str(finding).isprintable()
    assert reading.slos or reading.findings


@settings(max_examples=60, deadline=None)
@given(
    name=NAMES,
    bad=SELECTORS,
    total=SELECTORS,
    share=SHARES,
    percent=st.booleans(),
    days=st.integers(3, 366),
    traffic=st.integers(1, 10**6),
)
def test_what_is_written_is_what_is_read(
    name: str, bad: Selector, total: Selector, share: float, percent: bool, days: int, traffic: int
) -> None:
    target = f"targetPercent: {share * 100:.2f}" if percent else f"target: {share:.4f}"
    text = f"""\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: '{name}'
  annotations:
    noisegate/events-per-minute: "{traffic}"
    noisegate/tiers: none
spec:
  service: '{name}'
  description: Something works.
  indicator:
    metadata: {{name: '{name}'}}
    spec:
      ratioMetric:
        counter: true
        bad: {{metricSource: {{type: Prometheus, spec: {{query: {quoted(str(bad))}}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: {quoted(f"sum({total})")}}}}}}}
  timeWindow: [{{duration: {days}d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{{target}}}]
"""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.yaml"
        file.write_text(text, encoding="utf-8")
        reading = read_specs(file, None)
    # Series of one metric that select nothing, or all: refused, and tested with examples.
    assume(bad.metric != total.metric or bad == total)
    if bad == total:
        assert "is the same series" in str(reading.problems)
        return
    assert reading.findings == ()
    (slo,) = reading.slos
    assert slo == Slo(
        name=name,
        display_name=name.replace("-", " ").capitalize(),
        description="Something works.",
        service=name,
        objective=share,
        kind=Events(total, bad=bad),
        window_s=days * 86_400.0,
        tiers=(),
        traffic_per_min=float(traffic),
        runbook=name,
    )


def _slo(objective: float, *tiers: Burn, traffic: float | None = None) -> Slo:
    kind = Events(Selector("a_total"), bad=Selector("b_total"))
    return Slo("x", "X", "x", "x", objective, kind, tiers=tiers, traffic_per_min=traffic)


@given(objective=SHARES, tier=TIERS)
def test_a_tier_can_fire_if_a_total_outage_fires_it(objective: float, tier: Burn) -> None:
    slo = _slo(objective, tier)
    ((outage,),) = (meaning.firings for meaning in explain(slo, shares=[1.0]).tiers)
    assert can_fire(slo, tier) == (outage.after_s is not None)


@given(objective=SHARES)
def test_a_default_spec_is_refused_if_and_only_if_a_tier_cannot_fire(objective: float) -> None:
    text = OWN[2].replace("targetPercent: 99.9", f"target: {objective:.4f}")
    assert "name: decision-availability" in text
    refused = any("can never fire" in found.message for found in read(text.encode()).problems)
    assert refused == (14.4 * (1 - objective) >= 1 - 1e-9)


@given(objective=SHARES, tier=TIERS, share=SHARES)
def test_a_tier_fires_when_both_windows_are_over_its_limit(
    objective: float, tier: Burn, share: float
) -> None:
    slo = _slo(objective, tier)
    ((firing,),) = (meaning.firings for meaning in explain(slo, shares=[share]).tiers)

    def over(after_s: float) -> bool:
        filled = (share * min(after_s, w) / w for w in (tier.long_s, tier.short_s))
        return min(filled) > limit(slo, tier)

    if firing.after_s is None:
        assert not over(2 * tier.long_s * (1 - 1e-6)) or share <= limit(slo, tier) * (1 + 1e-9)
    else:
        assert over(firing.after_s * (1 + 1e-6))
        assert not over(firing.after_s * (1 - 1e-6))


@given(objective=SHARES, share=SHARES, traffic=st.integers(1, 1_000))
def test_more_errors_never_fire_later(objective: float, share: float, traffic: int) -> None:
    meaning = explain(_slo(objective, *WORKBOOK, traffic=traffic / 10), shares=[share, 1.0])
    for tier in meaning.tiers:
        some, all_of_them = tier.firings
        if some.after_s is not None:
            assert all_of_them.after_s is not None
            assert all_of_them.after_s <= some.after_s
