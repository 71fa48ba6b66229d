"""The stream: days of firings, joined with texts and with what people do, in order of start."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisegate.alert import MICROS
from noisegate.errors import SettingsError
from noisegate.simulate.firing import DAY_S, Fired, Firing, daily_counts
from noisegate.simulate.people import ACK_SHARE, People
from noisegate.simulate.population import Floats, Ints, Population, populate
from noisegate.simulate.texts import RULES, Phrases, messages, phrases

_TIME = pa.timestamp("us", tz="UTC")
RAW_SCHEMA = pa.schema(
    [
        pa.field("service", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("severity", pa.string()),
        pa.field("message", pa.string()),
        pa.field("labels", pa.string()),  # a JSON object with sorted keys
        pa.field("starts_at", _TIME, nullable=False),
        pa.field("ends_at", _TIME),
        pa.field("acked_at", _TIME),
        pa.field("verdict", pa.string()),
        pa.field("verdict_at", _TIME),
    ]
)
"""One raw alert a row: not scrubbed, not identified.

Times are null where it did not happen within the history.
"""

_NAME = pa.array([rule.name for rule in RULES])
_SEVERITY = pa.array([rule.severity for rule in RULES])
_REPLICA = pa.array(["a", "b"])
_ACK_SHARE = np.array([ACK_SHARE[rule.severity] for rule in RULES])


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """What to simulate. The same plan gives the same bytes."""

    alerts: int = 100_000
    days: float = 180.0
    services: int = 80
    seed: int = 7
    ends_at_us: int = 1_767_571_200_000_000
    """End of the history, microseconds since 1970, UTC; default: 2026-01-05, a Monday."""
    pii_share: float = 0.05
    """Share of messages with synthetic personal data in them."""
    secret_share: float = 0.01
    """Share of messages with a synthetic secret in them."""

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            SettingsError: names the field, its value and what is allowed.
        """
        for field, least in (("alerts", 1), ("days", 0.01), ("services", 1), ("seed", 0)):
            value = getattr(self, field)
            if not least <= value < float("inf"):
                raise SettingsError(f"{field} is {value}: give a number from {least} on")
        for field in ("pii_share", "secret_share"):
            if not 0 <= getattr(self, field) <= 0.5:
                raise SettingsError(f"{field} is {getattr(self, field)}: give a share up to 0.5")


def simulate(plan: SimulationPlan, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """Yield a history as raw alerts of RAW_SCHEMA, in order of start.

    Memory grows with the fingerprints (one for about 36 alerts) and with the alerts of one day.

    Args:
        plan: what to simulate.
        batch_rows: rows of each batch but the last; changes no row.

    Raises:
        SettingsError: batch_rows is under 1.
    """
    if batch_rows < 1:
        raise SettingsError(f"batch_rows is {batch_rows}: give a number from 1 on")
    return _rebatch(_days(plan), batch_rows)


def _rebatch(tables: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    waiting: list[Any] = []
    rows = 0
    for batch in tables:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= batch_rows:
            table = pa.Table.from_batches(waiting).combine_chunks()
            whole = rows - rows % batch_rows
            yield from table.slice(0, whole).to_batches(max_chunksize=batch_rows)
            waiting = table.slice(whole).to_batches()
            rows -= whole
    if rows:
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()


def _days(plan: SimulationPlan) -> Iterator[pa.RecordBatch]:
    days = int(np.ceil(plan.days))
    span_s = plan.days * DAY_S
    begins_at_us = plan.ends_at_us - round(span_s * MICROS)
    clock_s = begins_at_us / MICROS % DAY_S
    rng = np.random.default_rng([plan.seed, 0])
    population = populate(plan.alerts, plan.days, plan.services, rng)
    words = phrases(population.services, rng)
    weekday = (begins_at_us // (DAY_S * MICROS) + 3 + np.arange(days)).astype(np.int64) % 7
    share = np.ones(days)
    share[-1] = plan.days - (days - 1)
    counts = daily_counts(plan.alerts, share, weekday, rng)
    firing = Firing.begin(population, clock_s, rng)
    rows = _Rows(plan, population, words, begins_at_us, clock_s, People({True: 0.5, False: 0.5}))
    waiting = Fired.nothing()
    for day, count in enumerate(counts.tolist()):
        rng = np.random.default_rng([plan.seed, 1, day])
        fired = firing.day(day, count, day * DAY_S, rng)
        if day == days - 1:
            waiting = _folded(waiting.merged(fired), day * DAY_S, span_s)
            ready = len(waiting.start_s)
        else:
            # What an incident of today starts after midnight waits for the next day.
            waiting = waiting.merged(fired)
            ready = int(np.searchsorted(waiting.start_s, (day + 1) * DAY_S))
        if ready:
            yield rows.batch(waiting.rows(0, ready), rng)
        waiting = waiting.rows(ready)


def _folded(fired: Fired, low_s: float, high_s: float) -> Fired:
    """Alerts moved to between two times, as if mirrored at both: none is lost at the end."""
    width = high_s - low_s
    place = (fired.start_s - low_s) % (2 * width)
    start = low_s + np.minimum(place, 2 * width - place).clip(max=width - 1e-3)
    return Fired.nothing().merged(Fired(fired.fingerprint, start, fired.duration_s))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Turns firings into rows."""

    plan: SimulationPlan
    population: Population
    words: Phrases
    begins_at_us: int
    clock_s: float
    people: People

    def batch(self, fired: Fired, rng: np.random.Generator) -> pa.RecordBatch:
        service = self.population.service[fired.fingerprint]
        rule = self.population.rule[fired.fingerprint]
        ack_share = _ACK_SHARE[rule]
        did = self.people.handle(fired.start_s, fired.duration_s, ack_share, self.clock_s, rng)
        judged = self._at_us(did.verdict_s)
        verdict = pa.array(did.says_noise.astype(np.int8), mask=np.asarray(judged.is_null()))
        shares = (self.plan.pii_share, self.plan.secret_share)
        return pa.record_batch(
            [
                self.words.services.take(pa.array(service)),
                _NAME.take(pa.array(rule)),
                _SEVERITY.take(pa.array(rule)),
                messages(self.words, rule, service, shares, rng),
                self._labels(fired.fingerprint, rng),
                self._at_us(fired.start_s),
                self._at_us(fired.start_s + fired.duration_s),
                self._at_us(did.acked_s),
                pa.array(["real", "noise"]).take(verdict),
                judged,
            ],
            schema=RAW_SCHEMA,
        )

    def _at_us(self, at_s: Floats) -> Any:
        """Times in the schema's type; null where they lie after the history's end."""
        known = at_s < self.plan.days * DAY_S
        # Whole milliseconds, as monitoring systems give them.
        at_ms = np.round(np.where(known, at_s, 0.0) * 1e3).astype(np.int64)
        return pa.array(self.begins_at_us + 1000 * at_ms, mask=~known).cast(_TIME)

    def _labels(self, fingerprint: Ints, rng: np.random.Generator) -> Any:
        row = pa.array(fingerprint)
        before, between, after = (part.take(row) for part in self.population.labels)
        pods = rng.integers(len(self.words.pods), size=len(fingerprint))
        pod = self.words.pods.take(pa.array(pods))
        replica = _REPLICA.take(pa.array(rng.integers(2, size=len(fingerprint))))
        return pc.binary_join_element_wise(before, pod, between, replica, after, "")
