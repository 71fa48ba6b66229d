"""What is held, for how long, and what never is."""

import numpy as np
import pytest

from noisegate.alert import Action, Reason
from noisegate.decision.decide import decision, floors, hold_steps, seconds, wanted_by_people
from noisegate.decision.history import STEPS, grid
from noisegate.decision.outcomes import NEVER, Outcomes
from noisegate.decision.policy import PRICES, policy_for
from noisegate.errors import PolicyError
from noisegate.settings import Settings

T = 300.0


def clears_at(step: int, share: float) -> np.ndarray:
    """P(clears within each step) of an alert that clears at `step` with this probability."""
    return np.where(np.arange(STEPS) >= step, share, 0.0).astype(np.float32)[None, :]


def one_hold_s(cdf: np.ndarray, price: float, max_hold_s: float = T) -> float:
    steps = hold_steps(cdf, [price], np.array([T]), np.array([max_hold_s]))
    return float(seconds(steps, np.array([[T]]))[0, 0])


def test_an_alert_that_always_clears_is_held_until_it_has() -> None:
    assert one_hold_s(clears_at(10, 0.99), price=1.0) == pytest.approx(grid(T)[10])


def test_an_alert_that_never_clears_pages_at_once() -> None:
    assert one_hold_s(clears_at(10, 0.0), price=0.1) == 0


def test_a_dearer_delay_holds_less() -> None:
    cdf = np.linspace(0.0, 0.8, STEPS, dtype=np.float32)[None, :]
    holds = [one_hold_s(cdf, price) for price in (0.1, 1.0, 3.0, 10.0)]
    assert holds == sorted(holds, reverse=True)
    assert holds[0] > holds[-1]


def test_many_prices_at_once_choose_what_each_chooses_alone() -> None:
    rng = np.random.default_rng(3)
    cdf = np.cumsum(rng.dirichlet(np.full(STEPS + 1, 0.1), 400), axis=1)[:, :STEPS]
    cdf = cdf.astype(np.float32)
    limits = np.full(400, T), np.full(400, 290.0)
    together = hold_steps(cdf, PRICES, *limits)
    alone = np.stack([hold_steps(cdf, [price], *limits)[:, 0] for price in PRICES], axis=1)
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(together)) > 20


def test_no_hold_is_longer_than_allowed_or_shorter_than_a_silence_takes() -> None:
    assert one_hold_s(clears_at(40, 0.99), price=0.1, max_hold_s=100) == 0
    assert one_hold_s(clears_at(0, 0.99), price=0.1) >= 1.0


@pytest.mark.parametrize(
    ("severity", "protected", "wanted", "known", "reason"),
    [
        pytest.param("critical", False, False, 99, Reason.SEVERITY_FLOOR, id="critical pages"),
        pytest.param("sev-x", False, False, 99, Reason.SEVERITY_FLOOR, id="unranked pages"),
        pytest.param("warning", True, False, 99, Reason.PROTECTED_LABEL, id="protected pages"),
        pytest.param("warning", False, True, 99, Reason.WANTED_BY_PEOPLE, id="wanted pages"),
        pytest.param("warning", False, False, 4, Reason.TOO_FEW_OUTCOMES, id="unknown pages"),
    ],
)
def test_floors(severity: str, protected: bool, wanted: bool, known: int, reason: Reason) -> None:
    index = floors(
        [severity],
        np.array([protected]),
        np.array([wanted]),
        np.array([[0, 0, known]]),
        5,
        ["critical"],
        ["critical", "warning"],
    )
    decided = decision(int(index[0]), 10, T)
    assert decided.action is Action.PAGE
    assert decided.reason is reason


def test_a_history_without_severities_has_no_severity_floor_until_one_has_it() -> None:
    none = np.zeros(3, dtype=bool)
    index = floors([None, "warning", None], none, none, np.full((3, 3), 9), 5, [], ["warning"])
    assert index.tolist() == [-1, -1, 0]


def test_what_is_above_every_floor_is_held_for_its_step() -> None:
    assert decision(-1, 7, T).hold_s == pytest.approx(grid(T)[6])
    assert decision(-1, 0, T).reason is Reason.NOT_WORTH_THE_DELAY
    assert decision(-1, None, T).reason is Reason.NO_OPERATING_POINT


def test_one_verdict_counts_from_the_moment_it_was_given() -> None:
    starts = np.array([0, 100, 200, 300])
    outcome = Outcomes(
        starts_us=starts,
        clear_s=np.full(4, 10.0),
        known_us=starts + 10,
        transient=np.full(4, True),
        censored=np.full(4, False),
        noise=np.full(4, True),
        real=np.full(4, False),
        verdict_us=np.array([150, NEVER, NEVER, NEVER]),
        wanted=np.array([True, False, False, False]),
        noise_then=np.full(4, True),
        real_then=np.full(4, False),
    )
    assert wanted_by_people(np.array([1, 1, 1, 2]), outcome).tolist() == [False, False, True, False]


def test_a_hold_that_may_outlast_t_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"max_hold_s is 300.*transient_s 300"):
        policy_for(Settings(max_hold_s=300, transient_s=300, hold_margin_s=5))


def test_the_longest_hold_is_t_less_margin_and_route_delay() -> None:
    policy = policy_for(Settings(transient_s=300, hold_margin_s=5, route_delay_s=30))
    assert policy.max_hold_s == 265


def test_a_severity_floor_does_not_fail_on_a_capital_letter() -> None:
    chosen = Settings(never_hold=["Critical"])
    none = np.zeros(2, dtype=bool)
    index = floors(
        ["critical", "CRITICAL"],
        none,
        none,
        np.full((2, 3), 9),
        5,
        chosen.never_hold,
        chosen.severities,
    )
    assert index.tolist() == [0, 0]
