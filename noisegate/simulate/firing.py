"""When which fingerprint fires, and for how long: one day at a time."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from noisegate.simulate.population import (
    FINGERPRINT_WEIGHT,
    RULE_WEIGHT,
    SERVICE_WEIGHT,
    Floats,
    Ints,
    Population,
)

DAY_S = 86_400.0

DURATIONS = ((0.33, 45.0, 0.75), (0.515, 430.0, 1.0), (0.155, 5200.0, 2.3))
"""Durations of all alerts together: lognormals, as (share, median in s, sigma)."""

DRIFT_WEIGHT, REGIME_WEIGHT, INCIDENT_WEIGHT, RUN_WEIGHT = 0.10, 0.12, 0.06, 0.18
"""Shares of the variance of the duration score; what is left is the single alert's luck."""

ALERT_WEIGHT = 1 - sum(
    (
        *(FINGERPRINT_WEIGHT, RULE_WEIGHT, SERVICE_WEIGHT),
        *(DRIFT_WEIGHT, REGIME_WEIGHT, INCIDENT_WEIGHT, RUN_WEIGHT),
    )
)
REGIME_DAYS = 10.0
"""Memory of a fingerprint's present habit, days."""

DRIFT_DAYS = 30
"""A service changes its habit once in this time, days."""

STORM_SHARE, STORM_EXPONENT, STORM_MAX = 0.24, 1.9, 100
"""Share of incidents that may spread, and the tail exponent of how far inside their service."""

STORM_GAP_S = 50.0
"""Mean pause between two alerts of a storm, seconds."""

RUN_GAP_S, RUN_GAP_SIGMA = 420.0, 1.1
"""Median and sigma of the pause before an alert of a flapping run comes back."""

DAY_SWING, WEEKEND_SHARE = 0.45, 0.8
"""How far the hourly rate swings around its mean, and what is left of it at the weekend."""

MAINTENANCE_DAYS, MAINTENANCE_SHARE, MAINTENANCE_SHIFT = 28, 0.3, -0.7
"""Days between windows of a service, share of that day's incidents in it, shift of the score."""

DAILY_FANO = 45.0
"""Variance over mean of the alerts of a day."""

SLOW_SHARE, SLOW_MEMORY = 0.75, 0.85
"""Share of that variance that swings slowly, and its correlation from day to day."""


@dataclass(frozen=True, slots=True)
class Fired:
    """Alerts, arrays of shape (alerts,)."""

    fingerprint: Ints
    start_s: Floats
    """Seconds since the history began."""
    duration_s: Floats

    @classmethod
    def nothing(cls) -> "Fired":
        """No alert."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))

    def rows(self, low: int, high: int | None = None) -> "Fired":
        """The alerts from `low` to before `high`."""
        part = slice(low, high)
        return Fired(self.fingerprint[part], self.start_s[part], self.duration_s[part])

    def merged(self, other: "Fired") -> "Fired":
        """Both, in order of start."""
        start_s = np.concatenate([self.start_s, other.start_s])
        order = np.argsort(start_s, kind="stable")
        return Fired(
            np.concatenate([self.fingerprint, other.fingerprint])[order],
            start_s[order],
            np.concatenate([self.duration_s, other.duration_s])[order],
        )


def _quantile_table() -> tuple[Floats, Floats]:
    """Normal scores and the log durations that belong to them."""
    log_s = np.linspace(np.log(0.05), np.log(3e7), 6000)
    chance = sum(
        share * ndtr((log_s - np.log(median)) / sigma) for share, median, sigma in DURATIONS
    )
    score = ndtri(np.clip(chance, 1e-12, 1 - 1e-12))
    kept = np.concatenate([[True], np.diff(score) > 0])
    return score[kept], log_s[kept]


_SCORE, _LOG_S = _quantile_table()


def durations(score: Floats) -> Floats:
    """Durations in seconds of standard normal scores: the lower, the sooner it clears."""
    return np.exp(np.interp(score, _SCORE, _LOG_S)).clip(1.0)


def daily_counts(alerts: int, shares: Floats, weekday: Ints, rng: np.random.Generator) -> Ints:
    """Alerts of each day, which sum up to `alerts`.

    The swings are a sum of waves with set heights and random phases: unlike a random walk, it has
    the same variance and the same lag-1 correlation in each history, however short.

    Args:
        alerts: how many in all.
        shares: part of each day that belongs to the history, in (0, 1], shape (days,).
        weekday: 0 is Monday, shape (days,).
        rng: what to draw with.
    """
    days = len(shares)
    spread = np.clip(DAILY_FANO * shares.sum() / alerts, 0.001, 0.25)
    waves = np.arange(1, days // 2 + 1)
    # Spectrum of an autoregression of order 1, on a floor of noise.
    power = 1 / (1 + SLOW_MEMORY**2 - 2 * SLOW_MEMORY * np.cos(2 * np.pi * waves / days))
    power = SLOW_SHARE * power / max(power.sum(), 1e-12) + (1 - SLOW_SHARE) / max(len(waves), 1)
    phase = rng.uniform(0, 2 * np.pi, len(waves))
    height = np.concatenate([[0.0], np.sqrt(2 * spread * power) * np.exp(1j * phase)])
    swing = np.fft.irfft(height, days) * days / 2
    rate = np.exp(swing) * np.where(weekday >= 5, WEEKEND_SHARE, 1.0) * shares
    total = np.round(alerts * np.cumsum(rate) / rate.sum()).astype(np.int64)
    counts: Ints = np.diff(total, prepend=0)
    return counts


def _tail_table(exponent: float, largest: int) -> Floats:
    sizes = np.arange(1, largest + 1, dtype=np.float64) ** -exponent
    table: Floats = np.cumsum(sizes) / sizes.sum()
    return table


_STORM_TABLE = _tail_table(STORM_EXPONENT, STORM_MAX)


def _clock_table() -> Floats:
    """Share of a day's alerts that start before each five minutes, shape (289,)."""
    hour = np.arange(288) / 12
    rate = 1 + DAY_SWING * np.sin(2 * np.pi * (hour - 8.5) / 24)
    table: Floats = np.concatenate([[0.0], np.cumsum(rate)]) / rate.sum()
    return table


_CLOCK = _clock_table()


def _of_group(sizes: Ints) -> Ints:
    """Number of the group of each member, for groups of these sizes."""
    return np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)


def _sum_before(values: Floats, sizes: Ints) -> Floats:
    """Sum of the earlier values of the same group, shape as `values`."""
    total = np.cumsum(values) - values
    start = np.cumsum(sizes) - sizes
    before: Floats = total - np.repeat(total[start], sizes)
    return before


@dataclass(slots=True)
class Firing:
    """The state that goes from one day to the next: per fingerprint and per service."""

    population: Population
    clock_s: float
    """Time of day at which the history's days begin, seconds."""
    regime: Floats
    drift: Floats
    drift_day: Ints
    maintenance_day: Ints

    @classmethod
    def begin(cls, population: Population, clock_s: float, rng: np.random.Generator) -> "Firing":
        """Before the first day."""
        services = len(population.services)
        return cls(
            population=population,
            clock_s=clock_s,
            regime=rng.normal(size=len(population.service)),
            drift=rng.normal(size=services),
            drift_day=rng.integers(DRIFT_DAYS, size=services),
            maintenance_day=rng.integers(MAINTENANCE_DAYS, size=services),
        )

    def day(self, day: int, count: int, begin_s: float, rng: np.random.Generator) -> Fired:
        """The `count` alerts whose incident starts on this day, some of them after its end."""
        self._age(day, rng)
        if not count:
            return Fired.nothing()
        population = self.population
        alive = (population.born_day < day + 0.5) & (population.gone_day > day)
        mass = np.cumsum(population.rate * alive)
        # Incidents, then the fingerprints each of them reaches, then the flapping of each. Every
        # step may make more than `count`: the rest is cut off.
        size = np.where(
            rng.random(count) < STORM_SHARE,
            1 + np.searchsorted(_STORM_TABLE, rng.random(count)),
            1,
        )
        incident = _of_group(size)[:count]
        picked = self._pick(incident, mass, rng)
        again = population.flapping[picked].clip(0.0, 0.97)
        run = rng.geometric(1 - again)
        member = _of_group(run)[:count]
        run = np.bincount(member)
        picked, incident = picked[: len(run)], incident[: len(run)]
        size = np.bincount(incident)
        start_s, shift = self._begin_members(day, size, incident, picked, begin_s, rng)
        return self._run(picked, incident, run, start_s, shift, rng)

    def _age(self, day: int, rng: np.random.Generator) -> None:
        keep = np.exp(-1 / REGIME_DAYS)
        fresh = rng.normal(size=len(self.regime))
        self.regime = keep * self.regime + (1 - keep**2) ** 0.5 * fresh
        turns = (day + self.drift_day) % DRIFT_DAYS == 0
        self.drift = np.where(turns, rng.normal(size=len(self.drift)), self.drift)

    def _pick(self, incident: Ints, mass: Floats, rng: np.random.Generator) -> Ints:
        """A fingerprint for each member; those of one incident share their service."""
        population = self.population
        luck = rng.random(len(incident))
        lead = np.concatenate([[True], np.diff(incident) > 0])
        low, high = np.zeros(len(incident)), np.full(len(incident), mass[-1])
        leader = np.searchsorted(mass, luck[lead] * mass[-1], side="right")
        service = population.service[leader.clip(max=len(mass) - 1)][incident]
        edges = np.concatenate([[0.0], mass])[population.first]
        low, high = np.where(lead, low, edges[service]), np.where(lead, high, edges[service + 1])
        picked = np.searchsorted(mass, low + luck * (high - low), side="right")
        return picked.clip(max=len(mass) - 1).astype(np.int64)

    def _begin_members(
        self,
        day: int,
        size: Ints,
        incident: Ints,
        picked: Ints,
        begin_s: float,
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:
        """Start in seconds and shift of the duration score of each member."""
        luck = rng.random(len(size))
        clock = np.interp(luck, _CLOCK, np.linspace(0.0, DAY_S, 289))
        service = self.population.service[picked[np.cumsum(size) - size]]
        closed = (day + self.maintenance_day[service]) % MAINTENANCE_DAYS == 0
        closed &= rng.random(len(size)) < MAINTENANCE_SHARE
        # A window of two hours of the night, another hour for each service.
        window = 3600.0 * (1 + service % 4) + 7200.0 * rng.random(len(size))
        clock = np.where(closed, window, clock)
        start = begin_s + (clock - self.clock_s) % DAY_S
        shift = INCIDENT_WEIGHT**0.5 * rng.normal(size=len(size))
        shift += np.where(closed, MAINTENANCE_SHIFT, 0.0)
        spread = _sum_before(rng.exponential(STORM_GAP_S, len(incident)), size)
        return start[incident] + spread, shift[incident]

    def _run(
        self,
        picked: Ints,
        incident: Ints,
        run: Ints,
        start_s: Floats,
        shift: Floats,
        rng: np.random.Generator,
    ) -> Fired:
        """Durations, and the starts of alerts that come back."""
        population = self.population
        score = population.level[picked] + shift
        score += REGIME_WEIGHT**0.5 * self.regime[picked]
        score += DRIFT_WEIGHT**0.5 * self.drift[population.service[picked]]
        score += RUN_WEIGHT**0.5 * rng.normal(size=len(picked))
        member = _of_group(run)
        luck = rng.normal(size=len(member))
        duration = durations(score[member] + ALERT_WEIGHT**0.5 * luck)
        pause = rng.lognormal(np.log(RUN_GAP_S), RUN_GAP_SIGMA, len(member))
        step = np.minimum(duration, 1200.0) + np.minimum(pause, 2400.0)
        return Fired(picked[member], start_s[member] + _sum_before(step, run), duration)
