"""Replay later alerts as production would have lived them: with what was known at the time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from noisegate.alert import MICROS
from noisegate.decision.decide import Steps, decision, seconds
from noisegate.decision.outcomes import Floats, Ints
from noisegate.decision.policy import CANDIDATES
from noisegate.errors import InputError
from noisegate.learning.examples import Examples
from noisegate.learning.folds import candidate_forecasts, hazard_forecasts, plan_folds
from noisegate.learning.promise import LEAST_REAL, Ledger, choose_candidate, replayed_steps
from noisegate.model.durations import Forecast
from noisegate.settings import Settings


@dataclass(frozen=True)
class Candidates:
    """What every candidate would do with every alert at every price: (n, prices) each."""

    steps: dict[str, Steps]

    @classmethod
    def of(
        cls,
        settings: Settings,
        examples: Examples,
        progress: Callable[[str], None] | None = None,
    ) -> "Candidates":
        """Fit the folds (those not kept from before) and replay every candidate."""
        forecasts, _ = hazard_forecasts(settings, examples, progress=progress)
        return cls.replayed(examples, forecasts[0])

    @classmethod
    def replayed(cls, examples: Examples, hazard: Forecast) -> "Candidates":
        """Replay every candidate, given the hazard's forecasts."""
        forecasts = candidate_forecasts(examples, hazard)
        return cls({name: replayed_steps(examples, f) for name, f in forecasts.items()})


@dataclass(frozen=True)
class Lived:
    """What the gate would have done with the alerts from `first` on; arrays of shape (n - first,).

    Attributes:
        first: index of the first alert that was judged.
        hold_s: seconds each was held, 0: paged at once.
        candidate: index into CANDIDATES of the forecast in force.
        price: index into PRICES of the price in force, -1: too little evidence, so it paged.
    """

    first: int
    hold_s: Floats
    candidate: npt.NDArray[np.int8]
    price: Ints


def live_through(
    settings: Settings,
    examples: Examples,
    candidates: Candidates,
    first: int,
    *,
    budget_s: float | None = None,
    only: str | None = None,
    ledgers: dict[str, Ledger] | None = None,
) -> Lived:
    """Decide each alert from `first` on with what was known when it fired.

    Models are those of the folds, the candidate is chosen at the start of each fold, prices are
    chosen anew every `tune_every_hours`, at whole multiples of it since 1970, so that the end of
    the history moves none of them.

    Args:
        settings: budget, cadence, services.
        examples: n alerts.
        candidates: what each candidate would do.
        first: index of the first alert that is judged.
        budget_s: instead of the settings' delay budget, seconds.
        only: judge this candidate alone.
        ledgers: keeps each candidate's ledger for the next call on the same examples.
    """
    budget_s = settings.delay_budget_s if budget_s is None else budget_s
    starts = examples.outcome.starts_us
    every = round(settings.tune_every_hours * 3600 * MICROS)
    slot = starts[first:] // every
    times, slot_of = np.unique(slot, return_inverse=True)
    in_force = _candidates_in_force(examples, candidates, first, budget_s, only)
    ledgers = {} if ledgers is None else ledgers
    price = np.full(len(starts) - first, -1, dtype=np.int64)
    for index in np.unique(in_force):
        name = CANDIDATES[index]
        steps = candidates.steps[name]
        if name not in ledgers:
            ledgers[name] = Ledger.of(examples, steps)
        prices = ledgers[name].choose(times * every, budget_s)
        rows = in_force == index
        price[rows] = _ceilings(settings, examples, steps, times * every, prices, slot_of, first)[
            rows
        ]
    step = np.zeros(len(price), dtype=np.uint8)
    for index in np.unique(in_force):
        rows = np.flatnonzero((in_force == index) & (price >= 0))
        step[rows] = candidates.steps[CANDIDATES[index]][rows + first, price[rows]]
    return Lived(first, seconds(step, examples.transient_s[first:]), in_force, price)


def _candidates_in_force(
    examples: Examples, candidates: Candidates, first: int, budget_s: float, only: str | None
) -> npt.NDArray[np.int8]:
    n = len(examples)
    in_force = np.full(n - first, CANDIDATES.index(only or CANDIDATES[0]), dtype=np.int8)
    if only is None:
        for fold in plan_folds(n):
            if fold.stop > first:
                at_us = int(examples.outcome.starts_us[fold.start])
                name = choose_candidate(examples, candidates.steps, at_us, budget_s)
                rows = slice(max(0, fold.start - first), fold.stop - first)
                in_force[rows] = CANDIDATES.index(name)
    return in_force


def _ceilings(
    settings: Settings,
    examples: Examples,
    steps: Steps,
    times_us: Ints,
    team: Ints,
    slot_of: npt.NDArray[np.integer],
    first: int,
) -> Ints:
    """The team's price for each alert, raised where its service has a budget of its own.

    A service with fewer than LEAST_REAL known real alerts is pooled: it lives by the team's price.
    """
    price = team[slot_of]
    for name, own in settings.services.items():
        rows = examples.services == name
        if own.delay_budget_s is None or not rows.any():
            continue
        ledger = Ledger.of(examples, steps, rows)
        ceiling = ledger.choose(times_us, own.delay_budget_s)
        ceiling = np.where(ledger.real_before(times_us) >= LEAST_REAL, ceiling, team)
        raised: Ints = np.where((ceiling < 0) | (team < 0), -1, np.maximum(ceiling, team))
        price = np.where(rows[first:], raised[slot_of], price)
    return np.asarray(price, dtype=np.int64)


def check_fraction(fraction: float) -> None:
    """Refuse what is no share.

    Raises:
        InputError: it is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise InputError(
            f"--test-fraction is {fraction:g}: give a share between 0 and 1, such as 0.3"
        )


def first_of_fraction(n: int, fraction: float) -> int:
    """Index of the first alert of the last `fraction` of n alerts in order of start.

    Raises:
        InputError: the fraction is not between 0 and 1, or leaves nothing on one side.
    """
    check_fraction(fraction)
    first = n - round(n * fraction)
    if not 0 < first < n:
        raise InputError(
            f"--test-fraction is {fraction:g}, of {n:,} alerts: that leaves none to learn from or "
            "none to test on; import a longer history"
        )
    return first


def decisions_table(examples: Examples, lived: Lived) -> pa.Table:
    """alert_id, action, hold_seconds and reason of each judged alert."""
    rows = range(lived.first, len(examples))
    step = np.where(lived.hold_s > 0, 1, 0)
    taken = [
        decision(
            int(examples.floor[i]),
            None if lived.price[i - lived.first] < 0 else int(step[i - lived.first]),
            float(examples.transient_s[i]),
        )
        for i in rows
    ]
    return pa.table(
        {
            "alert_id": examples.alerts["alert_id"][lived.first :],
            "action": [d.action.value for d in taken],
            "hold_seconds": lived.hold_s,
            "reason": [d.reason.value for d in taken],
        }
    )


def alerts_table(examples: Examples, first: int) -> pa.Table:
    """alert_id, starts_at and ends_at (seconds since 1970; empty: no end) from `first` on."""
    judged = examples.alerts.slice(first)
    times = {
        name: pa.chunked_array(judged[name]).cast(pa.int64()) for name in ("starts_at", "ends_at")
    }
    return pa.table(
        {"alert_id": judged["alert_id"]}
        | {name: pa.array([_seconds(t.as_py()) for t in column]) for name, column in times.items()}
    )


def _seconds(micros: int | None) -> str | None:
    if micros is None:
        return None
    whole, rest = divmod(micros, MICROS)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a table as CSV, values quoted only where they must be."""
    pa_csv.write_csv(table, path, pa_csv.WriteOptions(quoting_style="needed"))
