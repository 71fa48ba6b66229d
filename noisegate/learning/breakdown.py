"""What the later alerts break down into: services, periods, kinds, fates. Values, no markup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from noisegate.alert import MICROS, Reason
from noisegate.decision.decide import FLOORS
from noisegate.decision.history import FINGERPRINT
from noisegate.decision.outcomes import Floats, Ints
from noisegate.learning.backtest import Lived
from noisegate.learning.examples import Examples
from noisegate.learning.figures import Sums
from noisegate.learning.promise import LEAST_REAL, kept_off

PERIODS = 30
"""Periods that fit into the picture of time."""
FOR_S = (60, 120, 180, 300, 600, 900, 1_200, 1_800, 3_600)
"""Values that people write into `for:`, seconds."""
MOST = 0.8
"""Share of an alert's noise that counts as most of it."""
HARDLY = 0.02
"""Share of real ones under which an alert is one that nobody needs."""
POLICY_FLOORS = [i for i, floor in enumerate(FLOORS) if floor is not Reason.TOO_FEW_OUTCOMES]
"""Floors that hold for any gate: a fixed hold needs no known outcomes."""
DAY_US = 86_400 * MICROS


@dataclass(frozen=True, slots=True)
class Judged:
    """The later alerts whose outcome is known, and what the gate did with them; shape (k,) each."""

    rows: Ints
    hold_s: Floats
    price: Ints
    candidate: Ints
    each: Sums

    @classmethod
    def of(cls, examples: Examples, lived: Lived) -> "Judged":
        """Leave out what is still firing at the end of the history."""
        known = ~examples.outcome.censored[lived.first :]
        rows = np.flatnonzero(known) + lived.first
        hold_s = lived.hold_s[known]
        # A block an alert: the same columns that the figures are made of.
        each = Sums.of(examples.outcome, rows, hold_s, blocks=len(rows))
        return cls(rows, hold_s, lived.price[known], lived.candidate[known].astype(np.int64), each)

    def by(self, code: Ints, size: int) -> Sums:
        """Sum over the alerts of each code 0..size, shape (size,) each; `code` of shape (k,)."""
        columns = (getattr(self.each, field.name) for field in fields(Sums))
        return Sums(*(_sum(code, column, size) for column in columns))


@dataclass(frozen=True, slots=True)
class Shares:
    """Figures of groups of alerts, shape (groups,) each; NaN where there is nothing to divide."""

    noise_off: Floats
    pages_off: Floats
    delay_s: Floats
    lost: Floats

    @classmethod
    def of(cls, sums: Sums) -> "Shares":
        """Divide sums, as `Sums.figures` does for all blocks together."""
        return cls(
            divided(sums.noise_off, sums.noise),
            divided(sums.pages_off, sums.alerts),
            divided(sums.delay_s, sums.real - sums.lost),
            divided(sums.lost, sums.real),
        )


def divided(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """Divide elementwise; NaN where there is nothing to divide by."""
    nothing = np.full(len(part), np.nan)
    return np.asarray(np.divide(part, whole, out=nothing, where=whole > 0))


@dataclass(frozen=True, slots=True)
class Periods:
    """Figures over time: start of each period in microseconds, its length in days, its sums."""

    starts_us: Ints
    days: int
    sums: Sums
    running_delay_s: Floats


def over_time(examples: Examples, judged: Judged) -> Periods:
    """Cut the later part into about PERIODS periods at most: days, weeks, or some four weeks."""
    starts = examples.outcome.starts_us[judged.rows]
    span = (int(starts[-1]) - int(starts[0])) / DAY_US
    days = next((d for d in (1, 7, 28) if span <= d * PERIODS), 28 * int(np.ceil(span / 840)))
    monday = 3 * DAY_US  # 1970 began on a Thursday
    slot = (starts + monday) // (days * DAY_US)
    code = slot - slot[0]
    size = int(code[-1]) + 1
    sums = judged.by(code, size)
    paged_real = np.cumsum(sums.real - sums.lost)
    running = divided(np.cumsum(sums.delay_s), paged_real)
    at = (np.arange(size) + int(slot[0])) * days * DAY_US - monday
    return Periods(at, days, sums, running)


@dataclass(frozen=True, slots=True)
class Service:
    """A service, or several together, on the later part; shares are NaN where nothing is known."""

    name: str
    alerts: int
    noise: int
    real: int
    noise_off: float
    pages_off: float
    delay_s: float
    lost: int


def services(examples: Examples, judged: Judged) -> list[Service]:
    """The services by number of later alerts, most first."""
    names, code = _coded(examples.alerts["service"], judged.rows)
    sums = judged.by(code, len(names))
    order = np.lexsort((np.arange(len(names)), -sums.alerts))
    shares = Shares.of(sums)
    return [_service(names[i], sums, shares, i) for i in order if sums.alerts[i]]


def all_but_largest(examples: Examples, judged: Judged) -> Service | None:
    """Everything without the service that has most alerts; None where there is but one."""
    names, code = _coded(examples.alerts["service"], judged.rows)
    alerts = judged.by(code, len(names)).alerts
    rest = (code != alerts.argmax()).astype(np.int64)
    if not rest.any():
        return None
    sums = judged.by(rest, 2)
    return _service("", sums, Shares.of(sums), 1)


def _service(name: str, sums: Sums, shares: Shares, i: int) -> Service:
    return Service(
        name=name,
        alerts=int(sums.alerts[i]),
        noise=int(sums.noise[i]),
        real=int(sums.real[i]),
        noise_off=float(shares.noise_off[i]),
        pages_off=float(shares.pages_off[i]),
        delay_s=float(shares.delay_s[i]),
        lost=int(sums.lost[i]),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """How evenly services fare, among those with at least LEAST_REAL real (or noise) alerts."""

    slowest: Service | None
    """Longest mean delay of real alerts."""
    noisiest: Service | None
    """Least of its noise kept off."""
    macro_noise_off: float
    """Mean over services of noise off, each counting once."""
    macro_delay_s: float
    largest_share: float
    """Share of the largest service in all later alerts."""


def spread(rows: Sequence[Service]) -> Spread:
    """Worst service, macro mean, largest service's share."""
    real = [row for row in rows if row.real >= LEAST_REAL]
    noise = [row for row in rows if row.noise >= LEAST_REAL]
    return Spread(
        max(real, key=lambda row: row.delay_s, default=None),
        min(noise, key=lambda row: row.noise_off, default=None),
        float(np.mean([row.noise_off for row in noise])) if noise else np.nan,
        float(np.mean([row.delay_s for row in real])) if real else np.nan,
        max((row.alerts for row in rows), default=0) / max(1, sum(row.alerts for row in rows)),
    )


@dataclass(frozen=True, slots=True)
class Noisy:
    """An alert that is mostly noise: one fingerprint on the later part, and what would help.

    Attributes:
        transient: share of its alerts that cleared by themselves within T.
        median_s: median seconds to clear of its noise, NaN where none cleared by itself.
        p90_s: nine tenths of its noise cleared by then.
        for_s: the `for:` that removes most of its noise, None where none does.
        removes: share of its noise that this removes.
        useless: it was hardly ever real.
        floored: it may not be held, by its severity or label, or because people want it.
    """

    service: str
    name: str
    alerts: int
    noise: int
    real: int
    transient: float
    noise_off: float
    median_s: float
    p90_s: float
    for_s: int | None
    removes: float
    useless: bool
    floored: bool


def noisiest(examples: Examples, judged: Judged, most: int = 10) -> list[Noisy]:
    """The fingerprints with most noise on the later part, most first."""
    outcome = examples.outcome
    keys, code = np.unique(examples.keys.ids[judged.rows, FINGERPRINT], return_inverse=True)
    sums = judged.by(code, len(keys))
    order = np.lexsort((np.arange(len(keys)), -sums.noise))[:most]
    found = []
    for i in order[sums.noise[order] > 0]:
        rows = judged.rows[code == i]
        clear_s = outcome.clear_s[rows[outcome.noise[rows]]]
        for_s, removes = suggested_for(clear_s)
        finite = clear_s[np.isfinite(clear_s)]
        median, p90 = np.quantile(finite, [0.5, 0.9]) if len(finite) else (np.nan, np.nan)
        alerts, noise, real = (int(c[i]) for c in (sums.alerts, sums.noise, sums.real))
        last = int(rows[-1])
        found.append(
            Noisy(
                service=examples.alerts["service"][last].as_py(),
                name=examples.alerts["name"][last].as_py(),
                alerts=alerts,
                noise=noise,
                real=real,
                transient=float(outcome.transient[rows].mean()),
                noise_off=float(sums.noise_off[i] / noise),
                median_s=float(median),
                p90_s=float(p90),
                for_s=for_s,
                removes=removes,
                useless=noise >= LEAST_REAL and real <= HARDLY * alerts,
                floored=bool(np.isin(examples.floor[rows], POLICY_FLOORS).mean() > 0.5),
            )
        )
    return found


def suggested_for(clear_s: Floats) -> tuple[int | None, float]:
    """The shortest `for:` that removes most of an alert's noise, and the share it removes.

    Args:
        clear_s: seconds until each of its noise alerts cleared, inf where none is on record.
    """
    for for_s in FOR_S:
        removes = float((clear_s <= for_s).mean()) if len(clear_s) else 0.0
        if removes >= MOST:
            return for_s, removes
    return None, 0.0


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of the later alerts: paged at once (why), held and cleared, or held and paged."""

    paged: Mapping[Reason, int]
    held_cleared: int
    held_paged: int


def fates(examples: Examples, judged: Judged) -> Fates:
    """Count decisions by reason, in the order in which reasons are checked."""
    floor = examples.floor[judged.rows]
    held = judged.hold_s > 0
    code = np.where(floor >= 0, floor, np.where(judged.price < 0, len(FLOORS), len(FLOORS) + 1))
    reasons = (*FLOORS, Reason.NO_OPERATING_POINT, Reason.NOT_WORTH_THE_DELAY)
    count = np.bincount(code[~held], minlength=len(reasons))
    cleared = int(kept_off(judged.hold_s, examples.outcome.clear_s[judged.rows]).sum())
    return Fates(
        {reason: int(n) for reason, n in zip(reasons, count, strict=True) if n},
        cleared,
        int(held.sum()) - cleared,
    )


@dataclass(frozen=True, slots=True)
class Severity:
    """The alerts of one severity in the whole history; None: they carry none."""

    name: str | None
    alerts: int
    noise: float
    held: float
    """Share of the later ones that were held."""


def severities(examples: Examples, judged: Judged) -> list[Severity]:
    """Severities by number of alerts, most first."""
    everything = np.arange(len(examples))
    names, code = _coded(examples.alerts["severity"], everything)
    count = np.bincount(code, minlength=len(names))
    known = np.bincount(code, ~examples.outcome.censored, minlength=len(names))
    noise = divided(np.bincount(code, examples.outcome.noise, minlength=len(names)), known)
    later = code[judged.rows]
    held = divided(
        np.bincount(later, judged.hold_s > 0, minlength=len(names)),
        np.bincount(later, minlength=len(names)),
    )
    order = np.lexsort((np.arange(len(names)), -count))
    return [Severity(names[i], int(count[i]), float(noise[i]), float(held[i])) for i in order]


def _coded(column: pa.ChunkedArray, rows: Ints) -> tuple[list[str], Ints]:
    """Distinct values of a column in order of first appearance, and which of them each row has."""
    combined = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = combined.dictionary_encode(null_encoding="encode")
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()[rows].astype(np.int64)


def _sum(code: Ints, column: npt.NDArray[Any], size: int) -> Floats:
    return np.asarray(np.bincount(code, column, minlength=size), dtype=np.float64)
