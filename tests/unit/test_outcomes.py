"""Which outcome an alert has, and when it becomes known."""

import numpy as np
import pyarrow as pa
import pytest

from noisegate.alert import MICROS
from noisegate.decision.outcomes import NEVER, outcomes

TIME = pa.timestamp("us", tz="UTC")
T = 300.0
START = 1_000_000


def alerts(
    ends: float | None = None,
    acked: float | None = None,
    verdict: str | None = None,
    given: float | None = None,
) -> pa.Table:
    """One alert; times in seconds after its start."""

    def column(seconds: float | None) -> pa.Array:
        at = None if seconds is None else START * MICROS + round(seconds * MICROS)
        return pa.array([at], TIME)

    return pa.table(
        {
            "starts_at": column(0),
            "ends_at": column(ends),
            "acked_at": column(acked),
            "verdict": pa.array([verdict], pa.string()),
            "verdict_at": column(given),
        }
    )


@pytest.mark.parametrize(
    ("alert", "kind", "known_after_s"),
    [
        pytest.param(alerts(ends=20), "noise", 20, id="clears within T: noise, known at the clear"),
        pytest.param(alerts(ends=300), "noise", 300, id="clears exactly at T: noise"),
        pytest.param(alerts(ends=300.5), "real", 300, id="outlives T: real, known at T"),
        pytest.param(alerts(), "real", 300, id="never ends: real, known at T"),
        pytest.param(alerts(ends=20, acked=10), "real", 10, id="acknowledged first: real, then"),
        pytest.param(alerts(ends=20, acked=30), "noise", 20, id="acknowledged after: noise"),
        pytest.param(alerts(ends=20, verdict="real", given=90), "real", 20, id="judged real"),
        pytest.param(alerts(ends=900, verdict="noise", given=950), "noise", 300, id="judged noise"),
    ],
)
def test_outcome(alert: pa.Table, kind: str, known_after_s: float) -> None:
    got = outcomes(alert, T, NEVER - 1)
    assert got.noise[0] == (kind == "noise")
    assert got.real[0] == (kind == "real")
    assert got.known_us[0] == (START + known_after_s) * MICROS


@pytest.mark.parametrize(
    ("now_s", "censored"), [(100, True), (299, True), (300, False), (1_000, False)]
)
def test_a_young_open_alert_is_neither_noise_nor_real(now_s: int, censored: bool) -> None:
    got = outcomes(alerts(ends=5_000), T, (START + now_s) * MICROS)
    assert got.censored[0] == censored
    assert got.real[0] == (not censored)
    assert not got.noise[0]


def test_what_lies_after_the_end_of_the_history_is_not_known() -> None:
    late = alerts(ends=20, verdict="real", given=500)
    got = outcomes(late, T, (START + 400) * MICROS)
    assert got.noise[0]
    assert not got.wanted[0]
    assert outcomes(late, T, (START + 600) * MICROS).wanted[0]


def test_what_a_person_cut_short_has_no_clear() -> None:
    assert np.isinf(outcomes(alerts(ends=20, acked=10), T, NEVER - 1).clear_s[0])


def test_a_late_verdict_changes_the_label_but_not_the_one_of_the_time() -> None:
    late = outcomes(alerts(ends=20, verdict="real", given=90), T, NEVER - 1)
    assert late.real[0]
    assert late.noise_then[0]
    early = outcomes(alerts(ends=20, verdict="real", given=15), T, NEVER - 1)
    assert early.real_then[0]
