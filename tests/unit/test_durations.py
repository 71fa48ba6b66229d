"""The duration model: what it learns, one alert alone and among others, a trip to disk."""

from pathlib import Path

import numpy as np
import pytest

from noisegate.decision.history import CURVES, FEATURES, STEPS, Seen
from noisegate.decision.policy import NO_POINT, OperatingPoint
from noisegate.errors import MissingError
from noisegate.model.champion import Champion
from noisegate.model.durations import Hazard, blend, rule


def made_up(n: int = 3_000) -> tuple[Seen, np.ndarray]:
    """Alerts whose first feature says whether they clear early; the rule's curve knows nothing."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(n, len(FEATURES))).astype(np.float32)
    curves = np.full((n, len(CURVES), STEPS + 1), 1 / (STEPS + 1), dtype=np.float32)
    clears = features[:, 0] > 0
    bucket = np.where(clears, rng.integers(0, 12, n), STEPS)
    return Seen(features, curves, np.full((n, 3), 9, dtype=np.int32)), bucket


@pytest.fixture(scope="module")
def fitted() -> tuple[Seen, Hazard]:
    seen, bucket = made_up()
    return seen, Hazard.fit(seen, bucket, seed=1)


def test_it_learns_where_the_rule_is_wrong(fitted: tuple[Seen, Hazard]) -> None:
    seen, hazard = fitted
    within_t = hazard.predict(seen).cdf[:, -1]
    assert within_t[seen.features[:, 0] > 0.1].mean() > 0.9
    assert within_t[seen.features[:, 0] < -0.1].mean() < 0.1
    assert np.ptp(rule(seen).cdf[:, -1]) == 0


def test_a_forecast_is_a_distribution(fitted: tuple[Seen, Hazard]) -> None:
    seen, hazard = fitted
    for forecast in (hazard.predict(seen), rule(seen), blend(rule(seen), hazard.predict(seen))):
        assert (np.diff(forecast.cdf, axis=1) >= -1e-6).all()
        assert forecast.cdf.min() >= 0
        assert forecast.cdf.max() <= 1 + 1e-6


def test_one_alert_alone_gets_the_bits_it_gets_among_others(fitted: tuple[Seen, Hazard]) -> None:
    seen, hazard = fitted
    together = hazard.predict(seen.rows(slice(0, 50))).cdf
    alone = np.concatenate([hazard.predict(seen.rows(slice(i, i + 1))).cdf for i in range(50)])
    np.testing.assert_array_equal(together, alone)


def test_without_text_no_column_of_the_text_is_used() -> None:
    seen, bucket = made_up(1_500)
    column = FEATURES.index("neighbour_share")
    plain = Hazard.fit(seen, bucket, seed=1, text=False)
    before = plain.predict(seen).cdf
    seen.features[:, column] = 7
    np.testing.assert_array_equal(before, plain.predict(seen).cdf)


def test_a_champion_decides_the_same_after_a_trip_to_disk(
    fitted: tuple[Seen, Hazard], tmp_path: Path
) -> None:
    seen, hazard = fitted
    points = {"": OperatingPoint(1.5, 100, 50.0, 60.0, 0.5), "pay": NO_POINT}
    champion = Champion("blend", hazard, points, None)
    champion.save(tmp_path)
    again = Champion.load(tmp_path)
    np.testing.assert_array_equal(champion.forecast(seen).cdf, again.forecast(seen).cdf)
    assert again.point("pay") == NO_POINT
    assert again.point("anything else") == points[""]


@pytest.mark.parametrize("name", ["points.json", "hazard.txt", "hazard_columns.npy"])
def test_a_damaged_champion_is_named_with_the_way_out(
    fitted: tuple[Seen, Hazard], tmp_path: Path, name: str
) -> None:
    Champion("hazard", fitted[1], {"": NO_POINT}, None).save(tmp_path)
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(MissingError, match=r"cannot be loaded.*noisegate doctor --fix"):
        Champion.load(tmp_path)
