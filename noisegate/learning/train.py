"""Retrain and tune: candidates judged on later data behind gates, into one plain folder."""

import hashlib
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import stats

from noisegate.decision.decide import hold_steps, seconds
from noisegate.decision.outcomes import Floats, Ints
from noisegate.decision.policy import CANDIDATES, OperatingPoint
from noisegate.learning.backtest import Candidates, Lived, first_of_fraction, live_through
from noisegate.learning.card import Figure, GateResult, Manifest, manifest_json, read_manifest
from noisegate.learning.cluster import Task
from noisegate.learning.examples import Examples, load_examples
from noisegate.learning.figures import measure, paired_gain
from noisegate.learning.folds import (
    LEAST_FIT,
    Wanted,
    forget_old,
    hazard_forecasts,
    known_before,
)
from noisegate.learning.promise import BOUND, LEAST_REAL, Ledger, choose_candidate
from noisegate.learning.report import report_html
from noisegate.model.champion import Champion
from noisegate.model.durations import MODEL_VERSION, fit
from noisegate.settings import Settings
from noisegate.spans import span
from noisegate.store.snapshot import SnapshotRef

Progress = Callable[[str], None]

TEST_FRACTION = 0.3
"""Share of the newest alerts on which a candidate is judged."""
DECIDES_WITHIN_S = 0.015
"""P99 limit of one decision in process, seconds."""
_PACKAGES = ("noisegate", "lightgbm", "numpy", "faiss-cpu", "scikit-learn", "pyarrow")


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate that has been judged: its folder, and what its manifest says."""

    path: Path
    digest: str
    figures: dict[str, Figure]
    gates: tuple[GateResult, ...]
    report: Path


def config_digest(settings: Settings) -> str:
    """Digest of every setting (and the version of the model) that changes what is learned."""
    ignored = {
        "home", "db_url", "alert_db_uri", "source", "mlflow_tracking_uri", "ray_address",
        "ray_workers", "audit_texts", "max_bad_row_share", "identity_labels", "ignore_labels",
        "replica_labels", "retrain_every_days", "exporter_origin", "alerts_by", "grafana_url",
        "runbook_url",
        "scrub",  # what it changes are texts, and so the digest of the data
    }  # fmt: skip
    chosen = settings.model_dump(mode="json", exclude=ignored)
    content = json.dumps([MODEL_VERSION, chosen], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def train(
    settings: Settings,
    ref: SnapshotRef,
    champion: Path | None,
    progress: Progress | None = None,
    test_fraction: float = TEST_FRACTION,
) -> Trained:
    """Train the candidates, judge the best on later data, and write it into its folder.

    Args:
        settings: policy and cadence.
        ref: the snapshot to learn from.
        champion: folder of the model in force, for the paired comparison; None: there is none.
        progress: told what is being done.
        test_fraction: share of the newest alerts that it is judged on.

    Raises:
        MissingError: the history holds no alerts.
        InputError: it holds too few to judge on.
        UnreachableError: Ray does not answer or does not finish.
    """
    say = progress or (lambda _: None)
    with span("load_examples"):
        examples = load_examples(settings, ref, progress=say)
    first = first_of_fraction(len(examples), test_fraction)
    # The model of the future is fitted beside the models of the past, whatever is chosen then.
    known = known_before(examples, len(examples))
    extra = [Task(fit, (known, settings.seed))] if len(known) >= LEAST_FIT else []
    wanted = [Wanted(), Wanted(text=False, first=first)]
    forecasts, fitted = hazard_forecasts(settings, examples, wanted, extra=extra, progress=say)
    with span("replay"):
        candidates, ablation = (Candidates.replayed(examples, forecast) for forecast in forecasts)
    say("judging on later data")
    now_us = _end_us(examples)
    chosen = CANDIDATES[0]
    if fitted:
        chosen = choose_candidate(examples, candidates.steps, now_us, settings.delay_budget_s)
    index = examples.templates.index() if examples.templates is not None else None
    points = _points(settings, examples, candidates, chosen, now_us)
    model = Champion(chosen, fitted[0] if chosen != CANDIDATES[0] else None, points, index)
    forget_old(settings)
    with span("live_through"):
        lived = live_through(settings, examples, candidates, first)
    trained_to = int(examples.outcome.starts_us[-1])
    return _judge(settings, examples, candidates, ablation, lived, model, champion, trained_to, say)


def tune(
    settings: Settings, ref: SnapshotRef, champion: Path, progress: Progress | None = None
) -> Trained:
    """Choose operating points anew on the newest outcomes; the model stays the champion's.

    Returns:
        The champion itself where its prices are still the best ones.
    """
    say = progress or (lambda _: None)
    with span("load_examples"):
        examples = load_examples(settings, ref, progress=say)
    candidates = Candidates.of(settings, examples, say)
    old = Champion.load(champion)
    points = _points(settings, examples, candidates, old.candidate, _end_us(examples))
    manifest = read_manifest(champion)
    if _prices(points) == _prices(old.points):
        report = champion / "report.html"
        return Trained(champion, manifest.digest, dict(manifest.figures), manifest.gates, report)
    model = Champion(old.candidate, old.hazard, points, old.index)
    first = first_of_fraction(len(examples), TEST_FRACTION)
    lived = live_through(settings, examples, candidates, first, only=old.candidate)
    return _judge(
        settings, examples, candidates, None, lived, model, champion, manifest.trained_to, say
    )


def _prices(points: dict[str, OperatingPoint]) -> dict[str, float | None]:
    return {service: point.price for service, point in points.items()}


def _end_us(examples: Examples) -> int:
    """The moment at which everything in the history is known."""
    known = examples.outcome.known_us[~examples.outcome.censored]
    return int(max(known.max(initial=0), examples.outcome.starts_us[-1])) + 1


@span("choose_points")
def _points(
    settings: Settings, examples: Examples, candidates: Candidates, chosen: str, now_us: int
) -> dict[str, OperatingPoint]:
    """The team's operating point, and that of each service with a budget of its own."""
    steps = candidates.steps[chosen]
    team = Ledger.of(examples, steps).point(now_us, settings.delay_budget_s)
    points = {"": team}
    for name, own in settings.services.items():
        if own.delay_budget_s is None:
            continue
        ledger = Ledger.of(examples, steps, examples.services == name)
        if len(ledger.known_us) < LEAST_REAL:
            continue  # too few to judge it alone: it lives by the team's point
        point = ledger.point(now_us, own.delay_budget_s)
        dearer = point.price is None or (team.price is not None and point.price > team.price)
        points[name] = point if dearer else team
    return points


@span("judge")
def _judge(
    settings: Settings,
    examples: Examples,
    candidates: Candidates,
    ablation: Candidates | None,
    lived: Lived,
    model: Champion,
    champion: Path | None,
    trained_to: int,
    say: Progress,
) -> Trained:
    rows = np.arange(lived.first, len(examples))
    figures = measure(examples.outcome, rows, lived.hold_s, settings.seed)
    say("checking the gates")
    with tempfile.TemporaryDirectory(dir=_models(settings)) as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        model.save(folder)
        p50, p99 = _decision_time_s(folder, examples)
        figures |= {"decision_p50_s": Figure(p50), "decision_p99_s": Figure(p99)}
        gates = (
            *_promise_gates(settings, examples, lived, figures),
            _champion_gate(settings, examples, lived, champion),
            GateResult("loads_and_decides", p99 <= DECIDES_WITHIN_S, p99, DECIDES_WITHIN_S,
                       f"loaded from its folder; one decision takes {1e3 * p99:.2f} ms (P99)"),
        )  # fmt: skip
        (folder / "plots").mkdir()
        with span("report"):
            html = report_html(
                settings,
                examples,
                candidates,
                ablation,
                lived,
                model,
                figures,
                gates,
                picture=folder / "plots" / "noise-off.svg",
            )
        (folder / "report.html").write_text(html, encoding="utf-8")
        return _publish(settings, examples, model, figures, gates, trained_to, folder)


def _promise_gates(
    settings: Settings, examples: Examples, lived: Lived, figures: dict[str, Figure]
) -> list[GateResult]:
    budget, outcome = settings.delay_budget_s, examples.outcome
    rows = np.arange(lived.first, len(examples))
    upper = measure(outcome, rows, lived.hold_s, settings.seed, upper=0.95)["delay_s"].hi or 0.0
    delay = figures["delay_s"].value
    real, noise = int(outcome.real[rows].sum()), int(outcome.noise[rows].sum())
    lost = round(figures["lost"].value * real)
    # Clopper and Pearson (1934), one-sided.
    lost_upper = float(stats.beta.ppf(0.95, lost + 1, real - lost)) if lost < real else 1.0
    return [
        GateResult("enough_evidence", min(real, noise) >= LEAST_REAL, min(real, noise), LEAST_REAL,
                   f"{real} real and {noise} noise alerts on later data"),
        GateResult("delay_promise", delay <= budget, delay, budget,
                   f"real alerts were delayed by {delay:.1f} s on average, budget {budget:g} s"),
        GateResult("delay_bound", upper <= BOUND * budget, upper, BOUND * budget,
                   f"upper 95 % bound of it {upper:.1f} s, limit {BOUND * budget:.1f} s"),
        GateResult("nothing_lost", lost_upper <= LOST_LIMIT, lost_upper, LOST_LIMIT,
                   f"{lost} of {real} real alerts would never have paged; upper 95 % bound "
                   f"{100 * lost_upper:.2f} %, limit {100 * LOST_LIMIT:g} %"),
    ]  # fmt: skip


LOST_LIMIT = 0.01
"""Upper bound of the share of real alerts that clear while held although a person called them
real: only such an alert can be lost, and one verdict in a hundred is a slip."""


def _champion_gate(
    settings: Settings, examples: Examples, lived: Lived, champion: Path | None
) -> GateResult:
    """Paired with the champion on alerts that neither has learned from.

    A champion that breaks its promise there is no measure: it keeps more off by holding too long.
    """
    name = "not_worse_than_champion"
    if champion is None:
        return GateResult(name, True, None, 0.0, "there is no champion yet")
    trained_to = read_manifest(champion).trained_to
    rows = np.arange(lived.first, len(examples))
    rows = rows[examples.outcome.starts_us[rows] > trained_to]
    outcome = examples.outcome
    if min(outcome.real[rows].sum(), outcome.noise[rows].sum()) < LEAST_REAL:
        why = f"only {len(rows)} alerts are newer than the champion: too few to compare"
        return GateResult(name, True, None, 0.0, why)
    theirs = champion_holds(examples, Champion.load(champion), rows)
    delay_s = measure(outcome, rows, theirs, settings.seed)["delay_s"].value
    if delay_s > BOUND * settings.delay_budget_s:
        why = f"the champion breaks its promise on {len(rows)} newer alerts: {delay_s:.1f} s"
        return GateResult(name, True, None, 0.0, why)
    gain = paired_gain(outcome, rows, lived.hold_s[rows - lived.first], theirs, settings.seed)
    good = (gain.hi or 0.0) >= 0
    why = (
        f"noise off {gain.value:+.3f} ({gain.lo:+.3f} to {gain.hi:+.3f}) against the champion "
        f"on {len(rows)} newer alerts"
    )
    return GateResult(name, good, gain.value, 0.0, why)


def champion_holds(examples: Examples, champion: Champion, rows: Ints) -> Floats:
    """Seconds that a champion holds each of the alerts `rows`, shape (k,)."""
    cdf = champion.forecast(examples.seen.rows(rows)).cdf
    prices = np.array([champion.point(s).price or np.nan for s in examples.services[rows]])
    steps = np.zeros(len(rows), dtype=np.uint8)
    for price in np.unique(prices[~np.isnan(prices)]):
        same = prices == price
        steps[same] = hold_steps(
            cdf[same], [price], examples.transient_s[rows][same], examples.max_hold_s[rows][same]
        )[:, 0]
    steps[examples.floor[rows] >= 0] = 0
    return seconds(steps, examples.transient_s[rows])


def _decision_time_s(folder: Path, examples: Examples, decisions: int = 300) -> tuple[float, float]:
    """P50 and P99 of one decision by the model as loaded from its folder, seconds."""
    model = Champion.load(folder)
    last = len(examples) - 1
    took = []
    for i in range(max(0, last - decisions), last + 1):
        began = time.perf_counter()
        champion_holds(examples, model, np.array([i]))
        took.append(time.perf_counter() - began)
    return float(np.quantile(took[1:], 0.5)), float(np.quantile(took[1:], 0.99))


def _models(settings: Settings) -> Path:
    folder = settings.home / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _publish(
    settings: Settings,
    examples: Examples,
    model: Champion,
    figures: dict[str, Figure],
    gates: tuple[GateResult, ...],
    trained_to: int,
    folder: Path,
) -> Trained:
    """Name the folder by its content and put it in place in one step."""
    config = config_digest(settings)
    content = hashlib.sha256(f"{examples.data_digest}:{config}".encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.name != "report.html":  # it is read; it decides nothing
            content.update(path.name.encode() + b"\0" + path.read_bytes())
    digest = content.hexdigest()[:32]
    manifest = Manifest(
        digest=digest,
        data_digest=examples.data_digest,
        config_digest=config,
        candidate=model.candidate,
        trained_from=int(examples.outcome.starts_us[0]),
        trained_to=trained_to,
        figures=figures,
        gates=gates,
        versions={"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
    )
    (folder / "manifest.json").write_text(manifest_json(manifest))
    final = _models(settings) / digest
    if final.exists():
        # The same model, which may be in force: only what is said of it is renewed.
        shutil.copytree(folder, final, copy_function=_replace, dirs_exist_ok=True)
    else:
        folder.replace(final)
    return Trained(final, digest, figures, gates, final / "report.html")


def _replace(source: str, target: str) -> None:
    Path(source).replace(target)
