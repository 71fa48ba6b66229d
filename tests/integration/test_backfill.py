"""The past is what scrapes and rules would have seen, and Prometheus goes on from there."""

import random
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_fd_to_metric_families
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, delete
from typer.testing import CliRunner

from noisegate.alert import MICROS, Action, Origin, Reason
from noisegate.cli.app import app
from noisegate.errors import InputError, MissingError, SettingsError
from noisegate.settings import Settings
from noisegate.store.database import open_store, writing
from noisegate.store.facts import (
    Became,
    DecisionFact,
    Event,
    Kind,
    OutcomeFact,
    Status,
    append_decisions,
    append_events,
    append_outcomes,
)
from noisegate.store.runs import PastRun, append_ended
from noisegate.store.tables import DecisionRow, OutcomeRow
from observability.backfill import backfill, write_text
from observability.burn import CompileOptions, Record, compile_slo
from observability.exporter import metrics_page
from observability.past_counts import PastCounts
from observability.past_metrics import REPEAT_S, Span
from observability.past_rules import followed, levels, record_past
from observability.prometheus_rules import rule_files
from observability.slo import Freshness
from observability.specs import load_slos
from observability.tsdb import Server, create_blocks, serving

LABELS = {"job": "noisegate", "instance": "exporter:9464"}
HOUR_S = 3_600
NOT_IN_THE_PAST = re.compile("noisegate_exporter_collect_|.*_created$")


@dataclass(frozen=True)
class History:
    """A store in which much happened in the last ten hours."""

    settings: Settings
    engine: Engine
    until_s: int

    def span(self, hours: float) -> Span:
        return Span.of(hours / 24, self.until_s)


@pytest.fixture
def history(sqlite_settings: Settings) -> Iterator[History]:
    until_s = int(time.time()) // 60 * 60
    engine = open_store(sqlite_settings)
    _happen(engine, (until_s - 10 * HOUR_S) * MICROS, until_s * MICROS)
    yield History(sqlite_settings, engine, until_s)
    engine.dispose()


def _happen(engine: Engine, since_us: int, until_us: int) -> None:
    """A decision every 40 s; for half an hour of the seventh hour a third of them fails."""
    luck, at = random.Random(3), since_us
    decisions, outcomes = [], []
    while (at := at + round(luck.expovariate(1 / 40) * MICROS)) < until_us:
        number, hours = len(decisions), (at - since_us) / MICROS / HOUR_S
        broken = 6 <= hours < 6.5 and luck.random() < 0.4
        held = not broken and luck.random() < 0.5
        decisions.append(
            DecisionFact(
                f"d{number}", f"a{number}", Origin.LIVE, f"shop-{number % 3}", at,
                Action.HOLD if held else Action.PAGE,
                (Reason.USUALLY_CLEARS if held else Reason.SEVERITY_FLOOR).value,
                60.0 if held else 0.0, Status.FAILED if broken else Status.OK,
                None if broken else round(luck.lognormvariate(-6, 1) * MICROS), 1, trace_id=None,
            )
        )  # fmt: skip
        became = luck.choice([Became.UNSEEN, Became.REAL, Became.NOISE] if held else [Became.REAL])
        paged = became is not Became.UNSEEN
        if at + 400 * MICROS < until_us:
            outcomes.append(
                OutcomeFact(
                    f"d{number}", f"a{number}", Origin.LIVE, f"shop-{number % 3}", became, paged,
                    17.3 if held else 0.0, at + 400 * MICROS, holdout=number % 50 == 0,
                )
            )  # fmt: skip
    runs = [
        PastRun(f"r{n}", "retrain", "live", end - 50 * MICROS, end, end, outcome, {"stages": {}})
        for n, (outcome, end) in enumerate(
            (outcome, since_us + hours * HOUR_S * MICROS)
            for hours, outcome in ((1, "promoted"), (5, "failed"), (8, "unchanged"))
        )
    ]
    clean = {"planted": 14, "missed": 0}
    with writing(engine) as connection:
        append_decisions(connection, decisions)
        append_outcomes(connection, outcomes)
        append_ended(connection, runs)
        append_events(
            connection,
            [Event(Kind.CANARY, run.ended_at, run.ended_at, Origin.LIVE, clean) for run in runs],
        )


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[int, float]]]


def samples_of(paths: Sequence[Path]) -> Samples:
    """Every series in the text, without the labels of the scrape."""
    found: Samples = {}
    for path in paths:
        for line in path.read_text().splitlines()[:-1]:
            name, inner, value, at = re.fullmatch(r"(\S+?)\{(.*)\} (\S+) (\d+)", line).groups()
            labels = dict(re.findall(r'(\w+)="([^"]*)"', inner))
            assert (labels.pop("job"), labels.pop("instance")) == tuple(LABELS.values())
            key = (name, tuple(sorted(labels.items())))
            found.setdefault(key, []).append((int(at), float(value)))
    return found


def scrape(settings: Settings) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The live scrape, by series."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics_page(settings))
        for sample in family.samples
        if not NOT_IN_THE_PAST.match(sample.name)
    }


@pytest.mark.parametrize("hours", [3, 24], ids=["within the history", "from before it began"])
def test_every_series_ends_at_the_value_of_the_live_scrape(
    history: History, tmp_path: Path, hours: int
) -> None:
    paths = write_text(
        history.settings, history.engine, history.span(hours), LABELS, tmp_path / "out"
    )
    past, live = samples_of(paths), scrape(history.settings)
    assert set(past) - {("up", ())} == set(live)
    assert {key: past[key][-1][1] for key in live} == live


def test_counters_begin_at_what_was_counted_before_and_never_fall(
    history: History, tmp_path: Path
) -> None:
    span = history.span(3)
    past = samples_of(write_text(history.settings, history.engine, span, LABELS, tmp_path))
    key = ("noisegate_decision_latency_seconds_count", ())
    with history.engine.connect() as connection:
        before = connection.execute(
            DecisionRow.__table__.select().where(
                DecisionRow.at <= span.since_s * MICROS, DecisionRow.latency_us.is_not(None)
            )
        ).fetchall()
    assert past[key][0] == (span.since_s, len(before))
    for (name, _), samples in past.items():
        times = [at for at, _ in samples]
        assert all(0 < b - a <= REPEAT_S and a % 60 == 0 for a, b in pairwise(times))
        if name.endswith(("_total", "_count", "_sum", "_bucket")):
            values = [value for _, value in samples]
            assert values == sorted(values), name


def test_rows_that_are_gone_are_still_counted(history: History, tmp_path: Path) -> None:
    span = history.span(3)
    write = lambda where: samples_of(  # noqa: E731
        write_text(history.settings, history.engine, span, LABELS, tmp_path / where)
    )
    before = write("before")
    with writing(history.engine) as connection:
        old = span.since_s * MICROS
        connection.execute(delete(DecisionRow).where(DecisionRow.at <= old))
        connection.execute(delete(OutcomeRow).where(OutcomeRow.known_at <= old))
    assert write("after") == before


def test_the_text_is_openmetrics(history: History, tmp_path: Path) -> None:
    (*_, path) = write_text(history.settings, history.engine, history.span(1), LABELS, tmp_path)
    families = list(text_fd_to_metric_families(StringIO(path.read_text())))
    assert {family.name for family in families} > {"up", "noisegate_decisions_total"}


@pytest.fixture
def data(history: History, tmp_path: Path) -> Path:
    """A Prometheus' data folder with the metrics of the ten hours, no rules."""
    folder = tmp_path / "data"
    span = history.span(10)
    for path in write_text(history.settings, history.engine, span, LABELS, tmp_path / "text"):
        create_blocks(path, folder)
    return folder


@pytest.mark.e2e
def test_rules_over_the_past_agree_with_and_without_counting_from_rows(
    history: History, data: Path, tmp_path: Path
) -> None:
    span, slos = history.span(10), load_slos()
    records = [record for slo in slos for record in compile_slo(slo).records]
    counts = PastCounts.of(slos, span.changes(history.settings, history.engine), span)
    asked, counted = tmp_path / "asked", tmp_path / "counted"
    for beside, known in ((asked, lambda _record, _times: None), (counted, counts.of_record)):
        mine = tmp_path / f"of-{beside.name}"
        subprocess.run(["cp", "-r", data, mine], check=True)
        record_past(records, mine, tmp_path, span, step_s=60, beside=beside, known=known)
    # From where each window lies within the past: before, Prometheus extrapolates.
    times = range(span.since_s + 2 * HOUR_S, span.until_s + 1, 60)
    with serving(asked) as one, serving(counted) as other:
        for name in sorted({record.name for record in records}):
            a, b = (_by_labels(server, name, times) for server in (one, other))
            assert a.keys() == b.keys(), name
            for labels in a:
                assert a[labels] == pytest.approx(b[labels], rel=1e-9, abs=1e-6), (name, labels)


def _by_labels(server: Server, expr: str, times: range) -> dict[str, dict[int, float]]:
    return {
        str(sorted(labels.items())): {at: float(value) for at, value in samples}
        for labels, samples in server.range(expr, times)
    }


@pytest.mark.e2e
def test_states_of_the_past_are_those_that_live_rules_come_to(
    history: History, data: Path, tmp_path: Path
) -> None:
    # Rules of Freshness ask for the time, which is that of 1970 in promtool's tests.
    slos = [slo for slo in load_slos() if not isinstance(slo.kind, Freshness)]
    span, options = history.span(10), CompileOptions()
    compiled = [compile_slo(slo, options) for slo in slos]
    records = [record for one in compiled for record in one.records]
    counts = PastCounts.of(slos, span.changes(history.settings, history.engine), span)
    record_past(records, data, tmp_path, span, step_s=60, known=counts.of_record)
    times = range(span.since_s + 2 * HOUR_S, span.until_s + 1, 300)
    with serving(data) as server:
        states = server.range("slo:firing:state", times)
    fired = {labels["tier"] for labels, samples in states if {v for _, v in samples} == {"0", "1"}}
    assert fired >= {"page_1h", "page_6h", "ticket_1d", "over"}  # else it would prove little

    past = samples_of(sorted((tmp_path / "text").glob("*.om")))
    rules = {
        Path(n).name: t for n, t in rule_files(compiled, options).items() if "/tests/" not in n
    }
    for name, text in rules.items():
        (tmp_path / name).write_text(text)
    test = {
        "rule_files": sorted(rules),
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [_input(key, samples, span) for key, samples in past.items()],
                "promql_expr_test": [
                    {
                        "expr": "slo:firing:state",
                        "eval_time": f"{at - span.since_s}s",
                        "exp_samples": _expected(states, at),
                    }
                    for at in times
                ],
            }
        ],
    }
    (tmp_path / "states.test.yaml").write_text(yaml.dump(test))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "states.test.yaml")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _input(
    key: tuple[str, tuple[tuple[str, str], ...]], samples: list[tuple[int, float]], span: Span
) -> dict[str, str]:
    by_time = dict(samples)
    values = " ".join(repr(by_time[at]) if at in by_time else "_" for at in span.times())
    labels = ",".join(f'{name}="{value}"' for name, value in key[1])
    return {"series": f"{key[0]}{{{labels}}}", "values": values}


def _expected(states: Sequence[tuple[dict[str, str], object]], at: int) -> list[dict[str, object]]:
    found = []
    for labels, samples in states:
        value = dict(samples).get(at)  # type: ignore[call-overload]
        inner = ",".join(f'{k}="{v}"' for k, v in labels.items() if k != "__name__")
        if value is not None:
            found.append({"labels": f"slo:firing:state{{{inner}}}", "value": float(value)})
    return found


@pytest.mark.e2e
def test_a_new_slo_has_its_history_and_nothing_else_is_written(
    history: History, tmp_path: Path
) -> None:
    folder = tmp_path / "prometheus"
    slos = [slo for slo in load_slos() if slo.name == "decision-availability"]
    filled = backfill(
        history.settings, history.engine, slos, history.span(10), LABELS, folder, only_rules=True
    )
    assert {path.parent for path in filled.blocks} == {folder}
    assert sorted(folder.iterdir()) == sorted(filled.blocks), "nothing else is left behind"
    with serving(folder) as server:
        names = {s["__name__"] for s, _ in server.instant('{__name__=~".+"}', history.until_s)}
        left = server.instant("slo:budget:remaining", history.until_s)
    assert all(name.startswith("slo:") for name in names)
    assert [labels["slo"] for labels, _ in left] == ["decision-availability"]


def rule(name: str, expr: str, **labels: str) -> Record:
    return Record(name, expr, labels)


def test_rules_are_evaluated_after_all_that_they_read() -> None:
    records = [
        rule("c", 'b{w="1h"} / 2'),
        rule("b", "a", w="1h"),
        rule("b", 'c{x!="y"}', w="5m"),
        rule("a", "raw and on () last_over_time(a[1h])"),
    ]
    found = [[(r.name, *r.labels.values()) for r in level] for level in levels(records)]
    assert found == [[("a",)], [("b", "1h")], [("c",)], [("b", "5m")]]


def test_rules_in_a_circle_are_refused() -> None:
    with pytest.raises(InputError, match="a, b read each other in a circle"):
        levels([rule("a", "b + 1"), rule("b", "sum(a)")])


def test_a_state_is_followed_from_moment_to_moment() -> None:
    times = range(0, 360, 60)
    labels = {"tier": "page"}
    after_0 = [(labels, list(zip(times, "001000", strict=True)))]
    after_1 = [(labels, list(zip(times, "011110", strict=True)))]
    assert followed(after_0, after_1, begins="0") == (
        labels,
        list(zip(times, "001110", strict=True)),
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], SettingsError, "give --out DIR, --prometheus-data DIR, or both"),
        (["--out", "o", "--slo", "decision-latencies"], MissingError, "--slo decision-latencies"),
        (["--out", "o", "--days", "0"], SettingsError, "--days 0"),
        (["--out", "o", "--until", "soon"], InputError, "--until 'soon' is no time"),
        (["--prometheus-data", "d", "--step", "45"], SettingsError, "--step 45"),
    ],
    ids=["nowhere to write", "unknown SLO", "no days", "no time", "a step that is not seen"],
)
def test_the_command_says_what_is_wrong(
    sqlite_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setenv("NOISEGATE_HOME", str(sqlite_settings.home))
    result = CliRunner().invoke(app, ["slo", "backfill", *arguments])
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
