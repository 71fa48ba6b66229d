"""Operating points: only known outcomes count, the promise and its bound are kept."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from noisegate.alert import MICROS
from noisegate.decision.history import STEPS, Keys, Seen, grid
from noisegate.decision.outcomes import Outcomes
from noisegate.decision.policy import NO_POINT, PRICES
from noisegate.learning.backtest import Candidates, decisions_table, live_through
from noisegate.learning.examples import Examples
from noisegate.learning.figures import fixed_hold_noise_off, measure, paired_gain
from noisegate.learning.promise import AIM, BOUND, LEAST_REAL, Ledger, choose_candidate
from noisegate.settings import ServiceSettings, Settings

T = 300.0
HOURLY = Settings(tune_every_hours=1)


def history(n: int = 2_000, seed: int = 2) -> Examples:
    """Alerts a minute apart: half clear after 30 s, half never; every service sees both."""
    rng = np.random.default_rng(seed)
    noise = rng.random(n) < 0.5
    starts = np.arange(n, dtype=np.int64) * 60 * MICROS
    clear_s = np.where(noise, 30.0, np.inf)
    known = starts + np.where(noise, 30, 300) * MICROS
    outcome = Outcomes(
        starts_us=starts,
        clear_s=clear_s,
        known_us=known,
        transient=noise,
        censored=np.zeros(n, bool),
        noise=noise,
        real=~noise,
        verdict_us=np.full(n, np.iinfo(np.int64).max),
        wanted=np.zeros(n, bool),
        noise_then=noise,
        real_then=~noise,
    )
    nothing = np.zeros((n, 5), np.int32)
    return Examples(
        alerts=pa.table({"alert_id": [str(i) for i in range(n)], "service": ["a", "b"] * (n // 2)}),
        outcome=outcome,
        keys=Keys(nothing, np.zeros(1, np.int32), nothing, nothing.astype(np.float32)),
        transient_s=np.full(n, T),
        max_hold_s=np.full(n, T),
        floor=np.full(n, -1, np.int8),
        seen=Seen(np.zeros((n, 1), np.float32), np.zeros((n, 1, 1), np.float32), nothing),
        bucket=np.where(noise, 10, STEPS),
        templates=None,
        data_digest="made up",
    )


def cheaper_holds_longer(n: int) -> np.ndarray:
    """Each price's hold for every alert: the lowest holds for T, the highest not at all."""
    return np.tile(np.linspace(STEPS, 0, len(PRICES)).astype(np.uint8), (n, 1))


@pytest.fixture(scope="module")
def examples() -> Examples:
    return history()


def test_the_lowest_price_that_keeps_the_promise_is_in_force(examples: Examples) -> None:
    ledger = Ledger.of(examples, cheaper_holds_longer(len(examples)))
    end = np.array([int(examples.outcome.known_us.max()) + 1])
    price = int(ledger.choose(end, 60.0)[0])
    assert ledger.mean_delay_s(end)[0, price] <= 60
    assert ledger.upper_delay_s(end)[0, price] <= BOUND * 60
    assert ledger.upper_delay_s(end, AIM)[0, price] <= 60
    assert (
        ledger.upper_delay_s(end, AIM)[0, price - 1] > 60
        or ledger.upper_delay_s(end)[0, price - 1] > BOUND * 60
    )


def test_an_outcome_counts_only_once_it_is_known(examples: Examples) -> None:
    ledger = Ledger.of(examples, cheaper_holds_longer(len(examples)))
    first_real = int(np.flatnonzero(examples.outcome.real)[0])
    known = int(examples.outcome.known_us[first_real])
    assert ledger.real_before(np.array([known])).tolist() == [0]
    assert ledger.real_before(np.array([known + 1])).tolist() == [1]


def test_with_too_few_real_alerts_everything_pages() -> None:
    few = history(LEAST_REAL)
    ledger = Ledger.of(few, cheaper_holds_longer(len(few)))
    assert ledger.point(int(few.outcome.known_us.max()) + 1, 60.0) == NO_POINT


def test_a_budget_of_nothing_holds_nothing(examples: Examples) -> None:
    steps = {"rule": cheaper_holds_longer(len(examples))}
    lived = live_through(HOURLY, examples, Candidates(steps), 1_000, budget_s=0, only="rule")
    assert lived.hold_s.max() == 0


def test_a_service_with_a_stricter_budget_is_held_less(examples: Examples) -> None:
    steps = {"rule": cheaper_holds_longer(len(examples))}
    strict = Settings(tune_every_hours=1, services={"a": ServiceSettings(delay_budget_s=10)})
    lived = live_through(strict, examples, Candidates(steps), 1_000, only="rule")
    own = np.array(examples.services)[1_000:] == "a"
    assert lived.hold_s[own].mean() <= 10 < lived.hold_s[~own].mean() <= 60


def test_ties_go_to_the_rule_and_a_clear_gain_does_not(examples: Examples) -> None:
    plain = cheaper_holds_longer(len(examples))
    # Knows the future: holds only what clears, just long enough.
    clever = np.where(examples.outcome.noise[:, None], 11, 0) * np.ones_like(plain)
    clever[:, -1] = 0
    end = int(examples.outcome.known_us.max()) + 1
    none = np.zeros_like(plain)
    tie = {"rule": plain, "hazard": plain, "blend": plain}
    assert choose_candidate(examples, tie, end, 20.0) == "rule"
    better = {"rule": none, "hazard": clever, "blend": plain}
    assert choose_candidate(examples, better, end, 20.0) == "hazard"


def test_decisions_say_why(examples: Examples) -> None:
    floored = replace(examples, floor=np.where(np.arange(len(examples)) % 2, 0, -1))
    steps = {"rule": cheaper_holds_longer(len(examples))}
    steps["rule"][1::2] = 0
    lived = live_through(HOURLY, floored, Candidates(steps), 1_000, only="rule")
    table = decisions_table(floored, lived)
    assert set(table["reason"].to_pylist()) == {"severity_floor", "usually_clears"}
    assert set(table["action"].to_pylist()) == {"page", "hold"}


def test_figures_are_what_they_say(examples: Examples) -> None:
    rows = np.arange(1_000, 2_000)
    hold = np.full(1_000, 40.0)
    got = measure(examples.outcome, rows, hold, seed=1)
    assert got["noise_off"].value == 1
    assert got["delay_s"].value == pytest.approx(40)
    assert got["lost"].value == 0
    low, high = got["pages_off"].lo or 0, got["pages_off"].hi or 0
    assert low <= got["pages_off"].value <= high
    assert fixed_hold_noise_off(examples.outcome, rows, 29) == 0
    assert fixed_hold_noise_off(examples.outcome, rows, 30) == 1
    gain = paired_gain(examples.outcome, rows, hold, np.zeros(1_000), seed=1)
    assert (gain.value, gain.lo, gain.hi) == (1, 1, 1)


def test_a_hold_costs_its_grid_step(examples: Examples) -> None:
    steps = {"rule": np.full((len(examples), len(PRICES)), 8, np.uint8)}
    lived = live_through(HOURLY, examples, Candidates(steps), 1_000, budget_s=200, only="rule")
    assert np.unique(lived.hold_s).tolist() == pytest.approx([grid(T)[7]])
