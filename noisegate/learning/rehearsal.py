"""A gate that never ran, rehearsed: a replayed history -> the rows that it would have written.

What is decided comes from the back-test (`Lived`: what was known at the time); this module adds
what only a running gate has: the holdout drawn by lot, latencies, outcomes when they became known,
late verdicts, and incidents in which decisions are slow, fail, or come too late. Everything drawn
is a function of the seed and the alert alone, so a longer history changes no earlier row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from noisegate.alert import MICROS, Action, Origin, Reason
from noisegate.decision.outcomes import NEVER, Bools, Floats, Ints
from noisegate.learning.backtest import Lived, decisions_table
from noisegate.learning.examples import Examples
from noisegate.learning.promise import kept_off
from noisegate.store.facts import Became, DecisionFact, OutcomeFact, Status

HOLDOUT_SHARE = 0.02
"""Share of alerts that page by lot, whatever the model says."""

KNOWN_LATENCY_S, NEW_LATENCY_S = (0.0002, 0.0004), (0.0045, 0.006)
"""P50 and P99 of a decision in process, known and new template, as the benchmarks measured them;
latencies are drawn from the lognormal with these two quantiles."""

INCIDENT_SLOWER = 90.0
"""In an incident a decision takes so many times as long."""

TOO_LATE_S = (0.4, 2.0)
"""Latency of decisions that came too late, seconds, from and to."""

BUDGET_SPENT, BUDGET_SHARE = 0.65, 0.001
"""An incident fails so much of what the 99.9 % objective of 30 days allows."""

TRACED_SHARE = 0.1
"""Share of decisions with a trace id."""

_DAYS_30_US = 30 * 86_400 * MICROS


@dataclass(frozen=True, slots=True)
class Incident:
    """A time in which the gate does badly; microseconds since 1970, UTC."""

    begins_us: int
    ends_us: int


class Luck(NamedTuple):
    """What each alert draws, by the seed and what it is, n alerts."""

    decision_id: list[str]
    trace_id: list[str]
    lots: Floats
    """In (0, 1), shape (n, 4): the same in every home, unlike ids, which are keyed."""

    @classmethod
    def of(cls, alerts: pa.Table, seed: int) -> "Luck":
        """Draw for these alerts."""
        ids = [sha256(f"{seed}:{i}".encode()).hexdigest() for i in alerts["alert_id"].to_pylist()]
        names = ("service", "name", "starts_at")
        said = zip(*(alerts[name].cast(pa.string()).to_pylist() for name in names), strict=True)
        drawn = b"".join(sha256(f"{seed}:{one}".encode()).digest()[:16] for one in said)
        words = np.frombuffer(drawn, dtype=">u4").reshape(-1, 4)
        return cls(
            [drawn_id[:32] for drawn_id in ids],
            [drawn_id[32:] for drawn_id in ids],
            (words.astype(np.float64) + 0.5) / 2**32,
        )


def decided(
    examples: Examples,
    lived: Lived,
    version: Ints,
    *,
    since_us: int,
    until_us: int,
    seed: int,
    incidents: Sequence[Incident],
) -> list[DecisionFact]:
    """The decisions taken after `since_us`, up to `until_us`, in order.

    Args:
        examples: n alerts.
        lived: how they were judged; all that started from `since_us` on must be in it.
        version: the champion's version when each judged alert fired, shape (n - lived.first,).
        since_us: microseconds since 1970, UTC.
        until_us: likewise.
        seed: of all that is drawn.
        incidents: when the gate does badly.
    """
    starts = examples.outcome.starts_us
    longest_us = round(TOO_LATE_S[1] * MICROS)  # who fired before may have been decided after
    low = max(lived.first, int(np.searchsorted(starts, since_us - longest_us)))
    rows = np.arange(low, int(np.searchsorted(starts, until_us, side="right")))
    told = decisions_table(examples, lived).slice(low - lived.first, len(rows))
    luck = Luck.of(examples.alerts.slice(low, len(rows)), seed)
    status = _statuses(starts, rows, incidents)
    latency_us = _latencies_us(examples, rows, luck.lots, status, incidents)
    holdout = luck.lots[:, 0] < HOLDOUT_SHARE
    traced = luck.lots[:, 1] < TRACED_SHARE
    services, facts = examples.services, []
    for k, (i, fact) in enumerate(zip(rows.tolist(), told.to_pylist(), strict=True)):
        action, reason = Action(fact["action"]), str(fact["reason"])
        if status[k] is not Status.OK:
            action = Action.PAGE  # whatever the reason would have been
        elif holdout[k]:
            action, reason = Action.PAGE, Reason.HOLDOUT.value
        facts.append(
            DecisionFact(
                decision_id=luck.decision_id[k],
                alert_id=fact["alert_id"],
                origin=Origin.SIMULATED,
                service=services[i],
                at=int(starts[i] + latency_us[k]),
                action=action,
                reason=reason,
                hold_s=float(fact["hold_seconds"]) if action is Action.HOLD else 0.0,
                status=status[k],
                latency_us=None if status[k] is Status.FAILED else int(latency_us[k]),
                version=int(version[i - lived.first]),
                holdout=reason == Reason.HOLDOUT.value,
                trace_id=luck.trace_id[k] if traced[k] else None,
            )
        )
    facts = [fact for fact in facts if since_us < fact.at <= until_us]
    return sorted(facts, key=lambda fact: fact.at)


def _statuses(starts: Ints, rows: Ints, incidents: Sequence[Incident]) -> list[Status]:
    """Of each alert of `rows`: amid an incident so many in a row are bad as spend the budget."""
    status = {int(row): Status.OK for row in rows}
    for incident in incidents:
        low = np.searchsorted(starts, (incident.begins_us + incident.ends_us) // 2)
        month = low - np.searchsorted(starts, incident.ends_us - _DAYS_30_US)
        bad = max(4, round(BUDGET_SPENT * BUDGET_SHARE * float(month)))
        for n, row in enumerate(range(int(low), int(low) + bad)):
            if row in status:
                status[row] = Status.TOO_LATE if n % 3 == 2 else Status.FAILED
    return list(status.values())


def _latencies_us(
    examples: Examples,
    rows: Ints,
    lots: Floats,
    status: Sequence[Status],
    incidents: Sequence[Incident],
) -> Ints:
    """From arrival to decision, microseconds, shape of `rows`."""
    template = examples.keys.ids[:, 4]
    _, first = np.unique(template, return_index=True)
    is_new = np.isin(rows, first)
    p50, p99 = (
        np.where(is_new, new, known)
        for known, new in zip(KNOWN_LATENCY_S, NEW_LATENCY_S, strict=True)
    )
    latency_s = p50 * np.exp(np.log(p99 / p50) / ndtri(0.99) * ndtri(lots[:, 2]))
    slow = _during(examples.outcome.starts_us[rows], incidents)
    latency_s = np.where(slow, INCIDENT_SLOWER, 1.0) * latency_s
    late = np.array([s is Status.TOO_LATE for s in status], dtype=np.bool_)
    low, high = TOO_LATE_S
    latency_s = np.where(late, low + (high - low) * lots[:, 3], latency_s)
    return np.maximum(np.round(latency_s * MICROS), 1).astype(np.int64)


def _during(at_us: Ints, incidents: Sequence[Incident]) -> Bools:
    found = np.zeros(len(at_us), dtype=np.bool_)
    for incident in incidents:
        found |= (at_us >= incident.begins_us) & (at_us < incident.ends_us)
    return found


def became(
    examples: Examples, decisions: Sequence[DecisionFact], *, since_us: int, until_us: int
) -> list[OutcomeFact]:
    """What became of decided alerts, and what late verdicts corrected, in the order of knowing.

    Args:
        examples: n alerts, those decided among them; others are passed over.
        decisions: what was decided.
        since_us: what was known by then is left out, microseconds.
        until_us: what is known later is left out, microseconds.
    """
    row = {alert_id: i for i, alert_id in enumerate(examples.alerts["alert_id"].to_pylist())}
    facts = [
        fact
        for decision in decisions
        if decision.alert_id in row
        for fact in _outcomes(examples, row[decision.alert_id], decision)
        if since_us < fact.known_at <= until_us
    ]
    return sorted(facts, key=lambda fact: fact.known_at)


def _outcomes(examples: Examples, i: int, decision: DecisionFact) -> Iterator[OutcomeFact]:
    """The first word on it, and its correction if a person said otherwise later."""
    outcome = examples.outcome
    if outcome.censored[i]:
        return
    clear_s, hold_s = float(outcome.clear_s[i]), decision.hold_s
    off = bool(kept_off(np.array([hold_s]), np.array([clear_s]))[0])
    said = Became.UNSEEN if off else Became.REAL if outcome.real_then[i] else Became.NOISE
    starts = int(outcome.starts_us[i])
    known_at = starts + round((clear_s if off else hold_s) * MICROS)
    # An alert that pages is known to be noise or real once it has paged, at the earliest.
    known_at = max(known_at, decision.at) if off else max(known_at, int(outcome.known_us[i]))

    def fact(became: Became, at: int, was: Became | None) -> OutcomeFact:
        return OutcomeFact(
            decision_id=decision.decision_id,
            alert_id=decision.alert_id,
            origin=decision.origin,
            service=decision.service,
            outcome=became,
            paged=not off,
            delay_s=min(hold_s, clear_s),
            known_at=at,
            was=was,
            holdout=decision.holdout,
        )

    yield fact(said, known_at, None)
    verdict_us = int(outcome.verdict_us[i])
    # Where there is a verdict, it is what the label says at the end of the history.
    verdict = Became.NOISE if outcome.noise[i] else Became.REAL
    if verdict_us != NEVER and verdict is not said:
        yield fact(verdict, max(verdict_us, known_at), said)
