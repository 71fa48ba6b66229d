"""`noisegate slo`: specs are checked by line, explained in numbers, built into files."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import noisegate.cli
from noisegate.cli.slo import kind_name
from noisegate.errors import InputError, MissingError
from observability.explain import as_text, duration, explain
from observability.slo import WORKBOOK, Burn, Events, Mean, Selector, Slo
from observability.specs import OURS, SLOS, load_slos, read_specs

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command where no noisegate.toml lies: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISEGATE_HOME", str(tmp_path / "home"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["noisegate", "slo", *arguments])
        with pytest.raises(SystemExit) as left:
            noisegate.cli.main()
        out, err = capsys.readouterr()
        code = left.value.code
        return (0 if code is None else int(code)), out, err

    return call


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    """A folder of two specs, of which one is refused twice."""
    folder = tmp_path / "specs"
    folder.mkdir()
    good = (SLOS / "decision-latency.yaml").read_text(encoding="utf-8")
    good = good.replace('events-per-minute: "0.2"', 'events-per-minute: "120"')  # no remark
    (folder / "good.yaml").write_text(good, encoding="utf-8")
    bad = good.replace("decision-latency", "bad").replace("0.015", "0.02")
    bad = bad.replace("decision_latency_seconds", "decision_latency_seconds{team='a'}")
    (folder / "bad.yaml").write_text(bad, encoding="utf-8")
    return folder


def test_check_of_our_own_specs_is_good(run: Run) -> None:
    code, out, err = run("check")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("10 SLOs are good, 0 problems, ")


def test_check_says_each_problem_on_a_line_and_exits_with_the_code_of_bad_input(
    specs: Path, run: Run
) -> None:
    code, out, err = run("check", str(specs))
    lines = out.splitlines()
    assert (code, err) == (InputError.exit_code, "")
    assert [line for line in lines if "remark" not in line] == [
        "specs/bad.yaml:23: noisegate_decision_latency_seconds has no label team: "
        "known are instance, job",
        "specs/bad.yaml:31: 0.02 is no bucket bound of noisegate_decision_latency_seconds: "
        "give 0.015 or 0.03, the nearest ones",
    ]
    assert lines[-1] == "1 SLOs are good, 2 problems, 0 remarks"


def test_check_can_leave_out_metrics(specs: Path, run: Run) -> None:
    assert run("check", str(specs), "--no-metrics")[0] == 0


def test_check_prints_json(specs: Path, run: Run) -> None:
    code, out, _ = run("check", str(specs), "--json")
    assert code == InputError.exit_code
    found = json.loads(out)
    assert [(one["file"], one["line"], one["remark"]) for one in found] == [
        ("specs/bad.yaml", 23, False),
        ("specs/bad.yaml", 31, False),
    ]


def test_list_names_every_slo(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [slo.name for slo in load_slos()]
    assert "delay-promise          80 %       mean" in out


def test_list_prints_json(run: Run) -> None:
    listed = json.loads(run("list", "--json")[1])
    one = next(slo for slo in listed if slo["name"] == "delay-promise")
    assert (one["kind"], one["objective"], one["window_s"]) == ("mean", 0.8, 2_592_000)
    assert one["series"] == {
        "sum": "noisegate_real_delay_seconds_sum",
        "count": "noisegate_real_delay_seconds_count",
    }
    assert [tier["name"] for tier in one["tiers"]] == ["ticket_1d", "ticket_3d"]


@pytest.mark.parametrize("command", ["list", "build", "explain"])
def test_a_bad_spec_is_an_error_on_one_line(command: str, specs: Path, run: Run) -> None:
    name = ["decision-latency"] if command == "explain" else []
    code, out, err = run(command, *name, "--specs", str(specs))
    assert (code, out) == (InputError.exit_code, "")
    assert err.startswith("noisegate: specs/bad.yaml:23: ")
    assert err.endswith("(and 1 more: `noisegate slo check`)\n")


def test_explain_of_an_unknown_name_offers_a_near_one(run: Run) -> None:
    code, _, err = run("explain", "decision-latenzy")
    assert code == MissingError.exit_code
    assert err == "noisegate: no SLO decision-latenzy: did you mean decision-latency?\n"


@pytest.mark.parametrize("slo", load_slos(), ids=lambda slo: slo.name)
def test_explain_says_what_each_of_our_slos_means(slo: Slo, run: Run) -> None:
    code, out, err = run("explain", slo.name)
    assert (code, err) == (0, "")
    assert out.startswith(f"{slo.name}: {slo.display_name}\n")
    assert f"objective  {100 * slo.objective:g} % " in out
    assert "absent   page: no series for 6 min" in out
    for tier in slo.tiers:
        assert f"\n{tier.name} " in out


def test_explain_prints_json(run: Run) -> None:
    meaning = json.loads(run("explain", "decision-availability", "--json")[1])
    assert meaning["budget_minutes"] == pytest.approx(43.2)
    assert meaning["budget_events"] == pytest.approx(8.64)
    assert [tier["tier"]["name"] for tier in meaning["tiers"]] == [t.name for t in WORKBOOK]
    assert meaning["slo"]["name"] == "decision-availability"


# The numbers, by hand: the Site Reliability Workbook, chapter 5


def events(objective: float, *tiers: Burn, traffic: float | None = None) -> Slo:
    kind = Events(Selector("a_total"), bad=Selector("b_total"))
    return Slo("x", "X", "x", "x", objective, kind, tiers=tiers, traffic_per_min=traffic)


@pytest.mark.parametrize(
    ("tier", "share", "after_s", "spent", "resolves_s"),
    [
        (WORKBOOK[0], 1.0, 51.84, 0.02, 296.1),
        (WORKBOOK[0], 0.1, 518.4, 0.02, 261.1),
        (WORKBOOK[0], 0.02, 2_592.0, 0.02, 105.6),
        (WORKBOOK[1], 1.0, 129.6, 0.05, 1_790.3),
        (WORKBOOK[2], 0.1, 2_592.0, 0.1, 7_005.6),
        (WORKBOOK[3], 0.002, 129_600.0, 0.1, 11_880.0),
    ],
    ids=lambda value: value.name if isinstance(value, Burn) else f"{value:g}",
)
def test_when_a_tier_fires_at_99_9_per_cent(
    tier: Burn, share: float, after_s: float, spent: float, resolves_s: float
) -> None:
    ((firing,),) = (m.firings for m in explain(events(0.999, tier), shares=[share]).tiers)
    assert firing.after_s == pytest.approx(after_s)
    assert firing.budget_spent == pytest.approx(spent)
    assert firing.resolves_s == pytest.approx(resolves_s, abs=0.1)


NEVER = {
    "too slow a burn": (events(0.99, WORKBOOK[0]), 0.1, "burns at 10x, not above 14.4x"),
    "exactly at the limit": (events(0.9, WORKBOOK[3]), 0.1, "burns at 1x, not above 1x"),
    "too few bad events": (events(0.999, WORKBOOK[0], traffic=0.4), 0.1,
        "2.4 bad in 1h, 3 are needed"),
}  # fmt: skip


@pytest.mark.parametrize(("slo", "share", "why"), NEVER.values(), ids=NEVER)
def test_why_a_tier_never_fires(slo: Slo, share: float, why: str) -> None:
    ((firing,),) = (m.firings for m in explain(slo, shares=[share]).tiers)
    assert (firing.after_s, firing.resolves_s, firing.budget_spent) == (None, None, None)
    assert firing.why == why


def test_little_traffic_fires_later_because_three_bad_events_are_needed() -> None:
    slo = events(0.999, WORKBOOK[0], traffic=0.4)
    ((firing,),) = (m.firings for m in explain(slo, shares=[1.0]).tiers)
    assert firing.after_s == pytest.approx(3 / 0.4 * 60)
    assert firing.budget_spent == pytest.approx(3 / 17.28)


def test_a_ticket_of_little_traffic_resolves_when_its_long_window_is_empty() -> None:
    few, many = (
        explain(events(0.999, WORKBOOK[3], traffic=traffic), shares=[0.01]).tiers[0].firings[0]
        for traffic in (1.0, 1e6)
    )
    assert few.resolves_s == 3 * 86_400
    assert many.resolves_s == pytest.approx(21_600 * (1 - 0.09), rel=0.01)


def test_the_budget_of_a_mean_is_what_may_be_spent(run: Run) -> None:
    slo = next(slo for slo in load_slos() if slo.name == "delay-promise")
    assert isinstance(slo.kind, Mean)
    out = run("explain", slo.name)[1]
    assert "objective  80 % of 300 an event: a mean of at most 60, over 30 days" in out
    assert "budget     259,200 for 4,320 events (at 0.1 a minute)" in out
    assert "10 % (mean 30)" in out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (51.84, "52 s"), (60, "1 min"), (518.4, "8 min 38 s"), (86_400, "1 d"),
     (90_061, "1 d 1 h"), (7_200, "2 h")],
)  # fmt: skip
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


CONDITIONS = {
    "alert-freshness": "fires when it is older than 12 h; resolves when one is younger than "
    "10 h 48 min",
    "retrain-duration": "fires when it is above 30 min; resolves below 27 min",
    "retrain-success": "fires at failure 1 in a row; resolves with the next good run",
}


@pytest.mark.parametrize(("name", "says"), CONDITIONS.items(), ids=CONDITIONS)
def test_explain_says_when_the_alert_of_a_gauge_resolves(name: str, says: str) -> None:
    assert explain(next(slo for slo in load_slos() if slo.name == name)).condition == says


# Files


@pytest.fixture
def two(tmp_path: Path) -> str:
    """A folder of two of our specs."""
    (tmp_path / "two").mkdir()
    for name in ("decision-latency", "pii-canary"):
        text = (SLOS / f"{name}.yaml").read_text(encoding="utf-8")
        (tmp_path / "two" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return "two"


def test_build_writes_rules_tests_and_grafana_files_once(
    two: str, run: Run, tmp_path: Path
) -> None:
    code, out, err = run("build", "--specs", two, "--out", "built")
    assert (code, err) == (0, "")
    files = sorted(path for path in (tmp_path / "built").rglob("*") if path.is_file())
    written = f"{len(files)} of them written now"
    assert out == f"{len(files)} files below built are up to date, {written}\n"
    names = {path.name for path in files}
    assert {"decision-latency.rules.yaml", "decision-latency.test.yaml"} <= names
    assert any(name.endswith(".grafana.yaml") for name in names)
    for path in files:
        if path.suffix == ".yaml":
            assert yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    assert "0 of them written now" in run("build", "--specs", two, "--out", "built")[1]


def test_build_check_names_a_stale_file_and_writes_nothing(
    two: str, run: Run, tmp_path: Path
) -> None:
    run("build", "--specs", two, "--out", "built")
    assert run("build", "--specs", two, "--out", "built", "--check")[0] == 0
    stale = tmp_path / "built" / "rules" / "pii-canary.rules.yaml"
    stale.write_text("groups: []\n", encoding="utf-8")
    code, _, err = run("build", "--specs", two, "--out", "built", "--check")
    assert code == MissingError.exit_code
    assert "below built are stale or missing, 0 are of no spec, rules/pii-canary.rules.y" in err
    assert err.endswith("first: run `noisegate slo build`\n")
    assert stale.read_text(encoding="utf-8") == "groups: []\n"


def test_build_removes_the_rules_of_specs_that_are_gone_and_nothing_else(
    two: str, run: Run, tmp_path: Path
) -> None:
    run("build", "--specs", two, "--out", "built")
    (tmp_path / two / "pii-canary.yaml").unlink()
    own = tmp_path / "built" / "rules" / "own.rules.yaml"
    own.write_text("groups: []\n", encoding="utf-8")
    code, _, err = run("build", "--specs", two, "--out", "built", "--check")
    assert (code, "2 are of no spec" in err) == (MissingError.exit_code, True)
    assert "2 of specs that are gone removed" in run("build", "--specs", two, "--out", "built")[1]
    left = sorted(path.name for path in (tmp_path / "built" / "rules").glob("*.yaml"))
    assert left == ["decision-latency.rules.yaml", "own.rules.yaml", "slo_watchdog.rules.yaml"]


def test_build_into_a_file_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, _, err = run("build", "--out", "file")
    assert (code, err) == (2, "noisegate: --out file: that is a file, give a folder\n")


def test_build_of_others_specs_needs_no_metrics_of_ours(run: Run, tmp_path: Path) -> None:
    text = (SLOS / "decision-availability.yaml").read_text(encoding="utf-8")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.yaml").write_text(
        text.replace("noisegate_decisions_total", "http_requests_total"), encoding="utf-8"
    )
    code, _, err = run("build", "--specs", "s", "--no-metrics", "--out", "built")
    assert (code, err) == (0, "")
    rules = (tmp_path / "built/rules/decision-availability.rules.yaml").read_text(encoding="utf-8")
    assert "http_requests_total" in rules


UNUSUAL = {
    "a set and a count": ('code=~"5[0-9]{2}"', "", True),
    "an escape": (r'code=~"5\\d\\d"', "", True),
    "groups and alternatives": ('code=~"(?:5(?:00|03)|timeout-[a-f]+)"', "", True),
    "all but one letter": ('code=~"[^x]+"', "", True),
    "a label that is not there": ('code=""', "", True),
    "quotes": (r'code="a\\\"b"', "", True),
    "two buckets of one histogram": ('le="0.5"', 'le="+Inf"', True),
    "a regex of Prometheus alone": (r'code=~"[[:digit:]]+"', "", False),
    "a regex that cannot be expanded": ('code!~"[^x]+|x|x[a-z]+[0-9]?|",code!~".x.*"', "", False),
}


@pytest.mark.parametrize(("part", "total", "tested"), UNUSUAL.values(), ids=UNUSUAL)
def test_build_of_a_spec_that_is_good_never_crashes(
    part: str, total: str, tested: bool, run: Run, tmp_path: Path
) -> None:
    query = "query: noisegate_decisions_total"
    document = (SLOS / "decision-availability.yaml").read_text(encoding="utf-8")
    document = document.replace(f'{query}{{status=~"failed|too_late"}}', f"query: 'x{{{part}}}'")
    document = document.replace(f"{query}\n", f"query: 'x{{{total}}}'\n")
    (tmp_path / "a.yaml").write_text(document, encoding="utf-8")
    assert run("check", "a.yaml", "--no-metrics")[0] == 0
    assert run("build", "--specs", "a.yaml", "--no-metrics", "--out", "built")[0] == 0
    path = tmp_path / "built/rules/tests/decision-availability.test.yaml"
    text = path.read_text(encoding="utf-8")
    tests = yaml.load(text, yaml.CSafeLoader)
    assert bool(tests["tests"]) == tested
    assert ("\n# No tests: no label values are known" in text) == (not tested)
    if tested and (promtool := shutil.which("promtool")):
        # The shortest of them: what is made up is read, and the rules count it.
        tests["tests"] = [one for one in tests["tests"] if one["name"].endswith("idle, and back")]
        path.write_text(yaml.safe_dump(tests), encoding="utf-8")
        command = [promtool, "test", "rules", path.name]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_build_of_a_level_whose_labels_are_a_regex(run: Run, tmp_path: Path) -> None:
    text = (SLOS / "retrain-duration.yaml").read_text(encoding="utf-8")
    text = text.replace('flow="retrain"', 'pool=~"a[0-9]{3}"').replace("noisegate_run", "x")
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert run("build", "--specs", "a.yaml", "--no-metrics", "--out", "built")[0] == 0
    tests = (tmp_path / "built/rules/tests/retrain-duration.test.yaml").read_text(encoding="utf-8")
    assert 'x_last_duration_seconds{pool="a000"}' in tests


def test_build_shortens_windows(two: str, run: Run, tmp_path: Path) -> None:
    assert run("build", "--specs", two, "--out", "built", "--shorten", "60")[0] == 0
    rules = (tmp_path / "built/rules/decision-latency.rules.yaml").read_text(encoding="utf-8")
    assert "[5s]" in rules


@pytest.mark.parametrize("command", ["check", "list", "explain", "build"])
def test_help_shows_examples(command: str, run: Run) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"noisegate slo {command}" in out


# docs/slos.md

DOCS = (Path(__file__).parents[2] / "docs" / "slos.md").read_text(encoding="utf-8")
BLOCKS = [block.split("```")[0] for block in DOCS.split("```yaml\n")[1:]]
WHOLE, *PARTS = BLOCKS
"""The first example is a whole spec, the others are what differs under `spec`."""


def title(block: str) -> str:
    return DOCS[: DOCS.index(block)].rsplit("## ", 1)[1].splitlines()[0]


def whole_of(part: str) -> str:
    given = yaml.safe_load(part)
    document = yaml.safe_load(WHOLE)
    document["spec"] |= given
    kind = str(given.get("indicator", ""))
    annotations = {"noisegate/events-per-minute": "120"}
    if "'most'" in kind:
        annotations["noisegate/tiers"] = "ticket_1d,ticket_3d"
    document["metadata"]["annotations"] = {} if "Timeslices" in part else annotations
    return yaml.safe_dump(document)


@pytest.mark.parametrize("block", BLOCKS, ids=title)
def test_every_example_of_the_docs_is_a_good_spec(block: str, tmp_path: Path) -> None:
    text = WHOLE if block == WHOLE else whole_of(block)
    (tmp_path / "example.yaml").write_text(text, encoding="utf-8")
    ours = block in PARTS and "noisegate_" in block
    assert read_specs(tmp_path, OURS if ours else None).findings == ()


def test_every_kind_has_an_example_in_the_docs() -> None:
    for kind in ("latency", "mean", "delayed", "freshness", "consecutive-failures", "level"):
        assert f"kind: {kind}\n" in DOCS


def test_the_docs_list_our_slos_as_they_are() -> None:
    table = [line for line in DOCS.splitlines() if line.startswith("| [`")]
    rows = []
    for slo in load_slos():
        alerts = ", ".join(f"`{tier.name}`" for tier in slo.tiers) or slo.severity
        link = f"[`{slo.name}`](../observability/slos/{slo.name}.yaml)"
        share = f"{100 * slo.objective:g} %"
        rows.append(f"| {link} | {kind_name(slo)} | {share} | {alerts} | {slo.display_name} |")
    assert table == rows


def test_every_refusal_that_the_docs_explain_is_said_somewhere() -> None:
    section = DOCS.split("## What is refused")[1].split("## Our own")[0]
    said = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    fragments = [part for cell in said for part in cell.split("`")[1::2]]
    sources = " ".join(path.read_text(encoding="utf-8") for path in SLOS.parent.glob("*.py"))
    assert len(fragments) > 20
    assert [fragment for fragment in fragments if fragment not in sources] == []


def test_the_example_of_explain_in_the_docs_is_what_it_prints() -> None:
    meaning = explain(events(0.999, *WORKBOOK))
    for line in as_text(meaning):
        if line.startswith("page_1h"):
            assert f"    {line}\n" in DOCS
