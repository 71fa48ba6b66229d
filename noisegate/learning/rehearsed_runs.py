"""Runs that a rehearsed gate would have had: tune daily, retrain weekly, what they promoted.

Times, durations and outcomes are drawn by seed and date, so a longer period changes no earlier run.
Durations are those measured with 100,000 alerts on two cores; figures are measured by replay.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from noisegate.alert import MICROS, Origin
from noisegate.learning.card import Figure
from noisegate.learning.rehearsal import Incident
from noisegate.store.audit import AuditAction
from noisegate.store.canary import PLANTED
from noisegate.store.facts import Event, Kind
from noisegate.store.runs import PastRun, RunOutcome

DAY_US = 86_400 * MICROS
HOUR_US = 3_600 * MICROS

TUNE_AT_US, RETRAIN_AT_US = 5 * HOUR_US, 6 * HOUR_US
"""Time of day (UTC) of the two flows; retrain on the weekday of the incident."""

INCIDENT_AT_US, INCIDENT_US = 4 * HOUR_US, 6 * HOUR_US
"""Time of day and length of the incident: both flows run into it."""

MENDED_AFTER_US = 90 * 60 * MICROS
"""From the end of the incident to the retrain that goes well again."""

ROLLBACK_DAYS = 11
"""So many days before the incident a person rolled a tuned champion back, after two hours."""

STAGES = {
    "retrain": (("snapshot", 3.0), ("train", 38.0), ("register", 6.0)),
    "tune": (("snapshot", 2.0), ("train", 11.0), ("register", 4.0)),
}
"""Median seconds of each stage, as measured with 100,000 alerts on two cores."""

PROMOTE_S = 1.0
START_S = 7.0
"""Prefect and MLflow, before the first stage."""


class Standing(NamedTuple):
    """The champion of a moment."""

    version: int
    digest: str


@dataclass(slots=True)
class Operated:
    """What the runs of a period left behind."""

    standing: Standing
    """At the end."""
    runs: list[PastRun] = field(default_factory=list)
    """In the order in which they ended."""
    events: list[Event] = field(default_factory=list)
    versions: list[tuple[int, int]] = field(default_factory=list)
    """(microseconds since 1970, version in force from then on)."""


def bad_day(now_us: int) -> Incident:
    """The incident of a rehearsal that is begun now: in the morning, five days ago."""
    begins_us = now_us // DAY_US * DAY_US - 5 * DAY_US + INCIDENT_AT_US
    return Incident(begins_us, begins_us + INCIDENT_US)


def operated(
    figures: Callable[[int], Mapping[str, Figure]],
    standing: Standing | None,
    *,
    since_us: int,
    until_us: int,
    seed: int,
    incident: Incident,
) -> Operated:
    """The runs that ended after `since_us`, up to `until_us`.

    Args:
        figures: what a champion showed on the later data of that moment (microseconds).
        standing: the champion before; None: version 1 is promoted at the start.
        since_us: microseconds since 1970, UTC.
        until_us: likewise.
        seed: of all that is drawn.
        incident: when runs crash and fail.
    """
    told = Operated(standing or Standing(1, _drawn(seed, "first", since_us).hex()[:32]))
    if standing is None:
        promote(told, Standing(0, ""), since_us + 1, "retrain flow", "the first champion", None)
    for flow, begins_us in _schedule(since_us, until_us, incident):
        run = _run(flow, begins_us, seed, incident)
        assert run.ended_at is not None
        if not since_us < run.ended_at <= until_us:
            continue
        before = told.standing
        if run.outcome == RunOutcome.PROMOTED:
            told.standing = Standing(before.version + 1, _drawn(seed, flow, begins_us).hex()[:32])
            why = f"every gate passed ({flow})"
            promote(told, before, run.ended_at, f"{flow} flow", why, run.run_id)
        told.runs.append(_completed(run, told.standing, figures))
        if run.outcome not in (RunOutcome.FAILED, RunOutcome.CRASHED):
            canary: dict[str, object] = {"planted": len(PLANTED), "missed": 0}
            told.events.append(
                Event(Kind.CANARY, run.ended_at, run.ended_at, Origin.SIMULATED, canary)
            )
        if _is_rolled_back(run, incident) and run.ended_at + 2 * HOUR_US <= until_us:
            told.standing, gone = before, told.standing
            at = run.ended_at + 2 * HOUR_US
            promote(told, gone, at, "on-call", "holds felt too long on a Monday", None)
    return told


def promote(
    told: Operated, before: Standing, at_us: int, who: str, why: str, run_id: str | None
) -> None:
    """Note that `told.standing` became champion; to an older version it is a roll-back."""
    back = told.standing.version < before.version
    payload: dict[str, object] = {
        "action": (AuditAction.ROLLBACK if back else AuditAction.PROMOTE).value,
        "version": told.standing.version,
        "digest": told.standing.digest,
        "from_version": before.version or None,
        "who": who,
        "why": why,
        "run_id": run_id,
    }
    told.events.append(Event(Kind.PROMOTION, at_us, at_us, Origin.SIMULATED, payload))
    told.versions.append((at_us, told.standing.version))


def _schedule(since_us: int, until_us: int, incident: Incident) -> Iterator[tuple[str, int]]:
    """(flow, start) of the runs of these days, in order."""
    bad_day_us = incident.begins_us // DAY_US * DAY_US
    first = since_us // DAY_US * DAY_US - DAY_US
    for day_us in range(first, until_us + 1, DAY_US):
        yield "tune", day_us + TUNE_AT_US
        if (day_us - bad_day_us) % (7 * DAY_US) == 0:
            yield "retrain", day_us + RETRAIN_AT_US
        if day_us == bad_day_us:
            yield "retrain", incident.ends_us + MENDED_AFTER_US


def _drawn(seed: int, flow: str, begins_us: int) -> bytes:
    return hashlib.sha256(f"{seed}:{flow}:{begins_us}".encode()).digest()


def _run(flow: str, begins_us: int, seed: int, incident: Incident) -> PastRun:
    drawn = _drawn(seed, flow, begins_us)
    outcome = _outcome(flow, begins_us, drawn, incident)
    stages = {
        stage: round(median_s * (0.85 + drawn[k] / 255 * 0.4), 3)
        for k, (stage, median_s) in enumerate(STAGES[flow])
    }
    if outcome is RunOutcome.PROMOTED:
        stages["promote"] = PROMOTE_S
    if outcome in (RunOutcome.UNCHANGED, RunOutcome.FAILED):
        stages = dict(list(stages.items())[:1])
    lasted_s = START_S + sum(stages.values())
    if outcome is RunOutcome.FAILED:
        lasted_s += 60.0  # the retries of the snapshot
    if outcome is RunOutcome.CRASHED:
        stages, lasted_s = {}, (RETRAIN_AT_US - TUNE_AT_US) / MICROS  # closed by the next run
    detail: dict[str, object] = {"stages": stages} if stages else {}
    return PastRun(
        run_id=drawn[:16].hex(),
        flow=flow,
        origin=Origin.SIMULATED.value,
        started_at=begins_us,
        heartbeat_at=begins_us + round(min(lasted_s, 20.0) * MICROS),
        ended_at=begins_us + round(lasted_s * MICROS),
        outcome=outcome.value,
        detail=detail,
    )


def _outcome(flow: str, begins_us: int, drawn: bytes, incident: Incident) -> RunOutcome:
    if incident.begins_us <= begins_us < incident.ends_us:
        return RunOutcome.FAILED if flow == "retrain" else RunOutcome.CRASHED
    days = round((incident.begins_us - begins_us) / DAY_US)
    if flow == "retrain":
        return RunOutcome.REFUSED if days == 14 else RunOutcome.PROMOTED
    if days == ROLLBACK_DAYS:
        return RunOutcome.PROMOTED
    lot = drawn[8] / 256
    if lot < 0.1:
        return RunOutcome.REFUSED
    return RunOutcome.UNCHANGED if lot < 0.55 else RunOutcome.PROMOTED


def _is_rolled_back(run: PastRun, incident: Incident) -> bool:
    days = round((incident.begins_us - run.started_at) / DAY_US)
    promoted = run.outcome == RunOutcome.PROMOTED
    return run.flow == "tune" and days == ROLLBACK_DAYS and promoted


def _completed(
    run: PastRun, standing: Standing, figures: Callable[[int], Mapping[str, Figure]]
) -> PastRun:
    """The run with what its row says of how it went."""
    detail = dict(run.detail)
    if run.outcome == RunOutcome.FAILED:
        detail["error"] = "NOISEGATE_DB_URL does not answer (too many connections): start that "
        detail["error"] = str(detail["error"]) + "database or mend the setting"
    elif run.outcome != RunOutcome.CRASHED:
        said = {
            RunOutcome.PROMOTED: "every gate passed",
            RunOutcome.UNCHANGED: "the best points are the present ones",
            RunOutcome.REFUSED: "better: not clearly better than the champion on later data",
        }
        detail |= {
            "reasons": [said[RunOutcome(str(run.outcome))]],
            "version": standing.version,
            "digest": standing.digest,
            "figures": {name: asdict(f) for name, f in figures(run.started_at).items()},
            "mended": [],
        }
    return PastRun(
        run.run_id, run.flow, run.origin, run.started_at, run.heartbeat_at, run.ended_at,
        run.outcome, detail,
    )  # fmt: skip
