"""The report of a whole back-test: what stands in it, that it stands alone, and how it looks."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from noisegate.alert import ALERT_SCHEMA, Reason
from noisegate.decision.decide import floors, wanted_by_people
from noisegate.decision.history import FINGERPRINT, NEIGHBOURS, Keys, buckets, replay
from noisegate.decision.outcomes import NEVER, outcomes
from noisegate.decision.policy import NO_POINT
from noisegate.learning.backtest import Candidates, Lived, live_through
from noisegate.learning.breakdown import Judged, fates, noisiest, over_time, services
from noisegate.learning.card import Figure, GateResult
from noisegate.learning.curves import Fixed, ablation_rows, gate_curve
from noisegate.learning.examples import Examples
from noisegate.learning.figures import fixed_hold_noise_off, measure
from noisegate.learning.report import report_html, save_picture
from noisegate.model.champion import Champion
from noisegate.scrub import Scrubber
from noisegate.settings import Settings
from noisegate.simulate import SimulationPlan, simulate
from noisegate.store.database import open_store
from noisegate.store.identity import Identity
from noisegate.store.ingest import store_alerts
from noisegate.store.prepare import prepare
from noisegate.store.snapshot import extend

N = 900  # under the first fit: no model is trained, and Ray is not needed
PASSED = (
    GateResult("delay_promise", True, 50.0, 60.0, "delayed by 50 s"),
    GateResult("nothing_lost", True, 0.0, 0.01, "0 % lost"),
)


def history(**changed: Callable[[pa.Table], pa.Array]) -> pa.Table:
    """A simulated history with columns made anew."""
    raw = simulate(SimulationPlan(alerts=N, days=60, services=5))
    table = pa.Table.from_batches(list(raw)).slice(0, N)
    for name, make in changed.items():
        table = table.set_column(table.column_names.index(name), name, make(table))
    return table


def learned(table: pa.Table, settings: Settings) -> Examples:
    """What is learned from a history, without embeddings."""
    n = len(table)
    transient_s = np.full(n, settings.transient_s)
    outcome = outcomes(table, transient_s, NEVER - 1)
    names = table["name"].to_pylist()
    service = table["service"].to_pylist()
    columns = [
        [f"{s}|{n}" for s, n in zip(service, names, strict=True)], service, names, [""] * n
    ]  # fmt: skip
    ids, base = np.full((n, 5), -1, dtype=np.int32), 0
    levels: list[int] = []
    for level, column in enumerate(columns):
        found, code = np.unique(column, return_inverse=True)
        ids[:, level] = code + base
        base += len(found)
        levels += [level] * len(found)
    near = np.full((n, NEIGHBOURS), -1, dtype=np.int32)
    keys = Keys(ids, np.array(levels, np.int32), near, np.zeros((n, NEIGHBOURS), np.float32))
    seen, _ = replay(outcome, keys, transient_s)
    return Examples(
        alerts=table.append_column("alert_id", pa.array([str(i) for i in range(n)])),
        outcome=outcome,
        keys=keys,
        transient_s=transient_s,
        max_hold_s=transient_s,
        floor=floors(
            table["severity"].to_pylist(),
            np.zeros(n, dtype=np.bool_),
            wanted_by_people(ids[:, FINGERPRINT].astype(np.int64), outcome),
            seen.known,
            settings.min_outcomes,
            settings.never_hold,
            settings.severities,
        ),
        seen=seen,
        bucket=buckets(outcome, transient_s),
        templates=None,
        data_digest="d1" * 16,
    )


@dataclass
class Case:
    """A history that has been judged."""

    settings: Settings
    table: pa.Table
    first: int = N * 7 // 10
    gates: tuple[GateResult, ...] = PASSED
    examples: Examples = field(init=False)
    candidates: Candidates = field(init=False)
    lived: Lived = field(init=False)
    figures: dict[str, Figure] = field(init=False)

    def __post_init__(self) -> None:
        self.examples = learned(self.table, self.settings)
        self.candidates = Candidates.of(self.settings, self.examples)
        self.lived = live_through(self.settings, self.examples, self.candidates, self.first)
        rows = np.arange(self.first, len(self.examples))
        self.figures = measure(self.examples.outcome, rows, self.lived.hold_s, seed=7)

    @property
    def judged(self) -> Judged:
        return Judged.of(self.examples, self.lived)

    def html(self) -> str:
        model = Champion("rule", None, {"": NO_POINT}, None)
        return report_html(
            self.settings,
            self.examples,
            self.candidates,
            self.candidates,
            self.lived,
            model,
            self.figures,
            self.gates,
        )


@pytest.fixture
def case(make_settings: Callable[..., Settings]) -> Case:
    return Case(make_settings(), history())


class Page(HTMLParser):
    """A page's text, and its tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags = "", list[tuple[str, dict[str, str | None]]]()
        self._within: str | None = None
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within not in ("style", "script"):
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._within = None
        if tag != "wbr":
            self.text += " "


def test_it_says_first_what_would_have_been_saved(case: Case) -> None:
    text = Page(case.html()).text
    off, delay = case.figures["noise_off"], case.figures["delay_s"]
    assert off.value > 0.1, "a history on which nothing is kept off tests nothing"
    assert text.index(f"{100 * off.value:.0f} % of the noise would not have paged") < 600
    assert f"{100 * (off.lo or 0):.0f} % to {100 * (off.hi or 0):.0f} %" in text
    assert f"Real alerts would have come {delay.value:.0f} s later on average" in text


@pytest.mark.parametrize(
    "section",
    [
        "What it buys: noise off for delay",
        "May it be promoted? Yes: all 2 gates passed",
        "Does the promise hold over time?",
        "By service",
        "The noisiest alerts, and what would help",
        "What each part of the model is good for",
        "Are its probabilities true?",
        "What became of the later alerts",
        "The data",
    ],
)
def test_each_section_is_there(case: Case, section: str) -> None:
    assert section in Page(case.html()).text


def test_the_same_input_gives_the_same_bytes(case: Case) -> None:
    assert case.html() == case.html()


def test_it_refers_to_nothing_outside_itself(case: Case) -> None:
    html = case.html()
    page = Page(html)
    named = {name for _, attributes in page.tags for name in attributes}
    assert not named & {"src", "href", "xlink:href", "action", "srcset", "data", "poster"}
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "base", "form"}
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp|import\(", html)
    assert len(html) < 1_000_000


@pytest.mark.parametrize("column", ["name", "service", "severity"])
def test_texts_of_alerts_are_escaped(make_settings: Callable[..., Settings], column: str) -> None:
    nasty = "<script>alert(1)</script></style>\"'>{{7*7}}\u202e"

    def spoil(table: pa.Table) -> pa.Array:
        return pa.array([nasty if i % 2 else str(v) for i, v in enumerate(table[column])])

    html = Case(make_settings(), history(**{column: spoil})).html()
    assert "<script>alert" not in html
    assert "{{7*7}}" in Page(html).text
    assert "\u202e" not in html
    assert [tag for tag, _ in Page(html).tags].count("script") == 1


def test_a_refusal_names_each_failed_gate_and_its_reason_first(case: Case) -> None:
    case.gates = (*PASSED, GateResult("delay_bound", False, 80.0, 66.0, "upper bound is <80> s"))
    text = Page(case.html()).text
    assert "May it be promoted? No: 1 of 3 gates failed" in text
    assert "✗ Delay bound (failed): upper bound is <80> s" in text
    assert text.index("Delay bound (failed)") < text.index("Delay promise")


def test_too_little_evidence_says_that_everything_pages(
    make_settings: Callable[..., Settings],
) -> None:
    case = Case(make_settings(), history().slice(0, 45), first=30)
    text = Page(case.html()).text
    assert "Not yet: everything would have paged" in text
    assert "too little evidence" in text


def nothing(kind: pa.DataType) -> Callable[[pa.Table], pa.Array]:
    return lambda table: pa.nulls(len(table), kind)


TIME = ALERT_SCHEMA.field("starts_at").type


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"ends_at": nothing(TIME)}, id="nothing ever ends: no noise"),
        pytest.param(
            {"ends_at": lambda t: t["starts_at"], "acked_at": nothing(TIME),
             "verdict": nothing(pa.string())},
            id="all clears at once: nothing is real",
        ),
        pytest.param({"service": lambda t: pa.repeat("", len(t))}, id="one service, no name"),
        pytest.param({"severity": nothing(pa.string())}, id="no severities"),
        pytest.param({"severity": lambda t: pa.repeat("critical", len(t))}, id="all critical"),
        pytest.param(
            {"starts_at": lambda t: pa.array(range(len(t))).cast(TIME),
             "ends_at": lambda t: pa.array(range(1, len(t) + 1)).cast(TIME)},
            id="all within a second of 1970",
        ),
    ],
)  # fmt: skip
def test_odd_histories_have_a_report_too(
    make_settings: Callable[..., Settings], changed: dict[str, Callable[[pa.Table], pa.Array]]
) -> None:
    page = Page(Case(make_settings(), history(**changed)).html())
    assert "By service" in page.text
    assert not re.search(r"\b(nan|inf|None)\b", page.text)


def test_a_later_part_that_still_fires_has_a_report_too(case: Case) -> None:
    outcome = case.examples.outcome
    later = np.arange(N) >= case.first
    case.examples = replace(
        case.examples,
        outcome=replace(
            outcome, censored=later, noise=outcome.noise & ~later, real=outcome.real & ~later
        ),
    )
    assert "None of the later alerts has an outcome yet" in Page(case.html()).text


def test_a_history_from_prometheus_speaks_of_alerts_and_counts_what_was_scrubbed(
    sqlite_settings: Settings, case: Case
) -> None:
    raw = pa.record_batch(
        {
            "name": ["Slow", "Slow"],
            "service": ["db", "db"],
            "message": ["ask ann@example.org", "ask ann@example.org or bob@example.org"],
            "starts_at": pa.array([10**15, 10**15 + 1], TIME),
        }
    )
    made = prepare(
        raw,
        identity=Identity.from_settings(sqlite_settings),
        scrubber=Scrubber(),
        source="prometheus",
    )
    engine = open_store(sqlite_settings)
    store_alerts(engine, [made.alerts])
    ref = extend(sqlite_settings, engine)
    engine.dispose()
    case.settings = sqlite_settings
    case.examples = replace(case.examples, data_digest=ref.digest)
    text = Page(case.html()).text
    assert "of the noise would not have reached anyone" in text
    assert "Alerts off" in text and "Pages off" not in text
    assert "it counts alerts, not what reached a pager" in text
    assert re.search(r"EMAIL(_ADDRESS)? 3 ", text)


def test_services_and_fates_add_up_to_the_whole(case: Case) -> None:
    judged, found = case.judged, services(case.examples, case.judged)
    assert sum(row.alerts for row in found) == len(judged.rows)
    off = sum(row.noise_off * row.noise for row in found if row.noise)
    assert off / judged.each.noise.sum() == pytest.approx(case.figures["noise_off"].value)
    fate = fates(case.examples, judged)
    assert fate.held_cleared + fate.held_paged + sum(fate.paged.values()) == len(judged.rows)
    assert Reason.SEVERITY_FLOOR in fate.paged
    assert over_time(case.examples, judged).sums.alerts.sum() == len(judged.rows)


def test_the_noisiest_come_first_and_are_counted_right(case: Case) -> None:
    found = noisiest(case.examples, case.judged)
    assert [row.noise for row in found] == sorted((row.noise for row in found), reverse=True)
    top = found[0]
    alerts, outcome = case.examples.alerts, case.examples.outcome
    same = [
        i
        for i in case.judged.rows
        if (alerts["service"][i].as_py(), alerts["name"][i].as_py()) == (top.service, top.name)
    ]
    assert top.noise == outcome.noise[same].sum()
    assert top.alerts == len(same)


def test_the_curve_rises_with_the_budget_and_beats_no_gate(case: Case) -> None:
    curve = gate_curve(case.settings, case.examples, case.candidates, case.first)
    assert curve.delay_s[0] < curve.delay_s[-1]
    assert curve.noise_off[0] < curve.noise_off[-1]


def test_without_floors_a_fixed_hold_is_what_the_figures_say(
    make_settings: Callable[..., Settings],
) -> None:
    table = history(severity=nothing(pa.string()), verdict=nothing(pa.string()))
    case = Case(make_settings(), table)
    rows, fixed = np.arange(case.first, N), Fixed.of(case.examples, case.first)
    assert (fixed.real_share, fixed.ceiling, fixed.floored) == (1.0, 1.0, False)
    for hold_s in (10.0, 60.0, 200.0):
        expected = fixed_hold_noise_off(case.examples.outcome, rows, hold_s)
        assert fixed.noise_off(hold_s) == pytest.approx(expected)
        assert fixed.delay_for(expected) <= hold_s


def test_a_fixed_hold_spares_what_may_never_be_held(case: Case) -> None:
    fixed = Fixed.of(case.examples, case.first)
    assert fixed.floored
    assert fixed.noise_off(case.settings.transient_s) <= fixed.ceiling < 1.0
    assert fixed.delay_s(100.0) < 100.0


def test_equal_forecasts_gain_nothing_over_each_other(case: Case) -> None:
    rule = case.candidates.steps["rule"]
    rows = ablation_rows(case.examples, {"a": rule, "b": rule}, case.first, [20.0, 60.0], 7)
    assert rows[0].gain is None
    assert rows[1].gain == Figure(0.0, 0.0, 0.0)
    assert rows[0].noise_off == rows[1].noise_off
    assert rows[0].noise_off[0] < rows[0].noise_off[1]


def test_the_picture_is_an_svg_that_stands_alone(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "noise-off.svg"
    save_picture(case.settings, case.examples, case.candidates, case.lived, case.figures, path)
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = "".join(root.itertext())
    assert "delay budget" in text and "same hold for all" in text
    assert "prefers-color-scheme:dark" in text
    assert "var(--card)" in path.read_text(encoding="utf-8")
    assert not re.search(r"(href|src)=|url\(|@import", path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no browser: install the Debian package chromium")
    return found


Browse = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def browse(chromium: str, tmp_path: Path) -> Browse:
    """Opens a page in a real browser that may reach nothing but it."""

    def run(html: str, width: int, *options: str) -> subprocess.CompletedProcess[str]:
        page = tmp_path / "report.html"
        page.write_text(html, encoding="utf-8")
        profile = tmp_path / "profile"
        done = subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
                "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
                f"--window-size={width},1600", *options, page.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        shutil.rmtree(profile, ignore_errors=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done

    return run


MEASURE = (
    "<script>document.body.dataset.over="
    "document.documentElement.scrollWidth-document.documentElement.clientWidth;"
    "document.body.dataset.seen=[...document.querySelectorAll('svg')]"
    ".filter(e=>e.getBoundingClientRect().width>100).length</script></body>"
)


@pytest.mark.parametrize("width", [1280, 420])
def test_a_browser_shows_all_of_it_without_scrolling_sideways(
    case: Case, browse: Browse, width: int
) -> None:
    done = browse(case.html().replace("</body>", MEASURE), width, "--dump-dom")
    body = next(attributes for tag, attributes in Page(done.stdout).tags if tag == "body")
    assert body["data-over"] == "0"
    assert body["data-seen"] == "4", "the curve, the periods and two reliability diagrams"
    assert "CONSOLE" not in done.stderr, "no error, and nothing that its own policy blocks"
    assert "data-tip" in done.stdout and "<title>" not in done.stdout.partition("<body>")[2]


@pytest.mark.parametrize(
    ("width", "scheme", "dark"),
    [(1280, "1", False), (420, "1", False), (1280, "0", True)],
    ids=["desktop", "phone", "dark"],
)
def test_it_looks_like_a_page(
    case: Case, browse: Browse, tmp_path: Path, width: int, scheme: str, dark: bool
) -> None:
    shot = tmp_path / "shot.png"
    browse(
        case.html(),
        width,
        f"--screenshot={shot}",
        f"--blink-settings=preferredColorScheme={scheme}",
    )
    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert picture.width == width
    assert (np.median(pixels) < 64) is np.bool_(dark)
    colours = np.unique(pixels // 32, axis=0)
    assert len(colours) > 20, "text, lines and curves, not an empty page"
