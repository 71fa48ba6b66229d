from datetime import UTC, datetime

import pyarrow as pa
import pytest

from noisegate.store.times import parse_times

MORNING = datetime(2023, 7, 22, 4, 26, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("2023-07-22T04:26:40Z", MORNING, id="ISO with Z"),
        pytest.param("2023-07-22T06:26:40+02:00", MORNING, id="ISO with an offset"),
        pytest.param("2023-07-22 06:26:40 +0200", MORNING, id="ISO with a spaced offset"),
        pytest.param("2023-07-22 04:26:40", MORNING, id="naive is UTC"),
        pytest.param("2023-07-22 04:26:40 UTC", MORNING, id="ISO with UTC"),
        pytest.param("2023-07-22", datetime(2023, 7, 22, tzinfo=UTC), id="a date is its midnight"),
        pytest.param(
            "2023-07-22T04:26:40.123456789Z",
            MORNING.replace(microsecond=123456),
            id="nanoseconds are cut",
        ),
        pytest.param(" 2023-07-22T04:26:40,5Z ", MORNING.replace(microsecond=500000), id="comma"),
        pytest.param("1690000000", MORNING, id="seconds"),
        pytest.param("1690000000.25", MORNING.replace(microsecond=250000), id="fractional seconds"),
        pytest.param("1690000000000", MORNING, id="milliseconds"),
        pytest.param("1690000000000000", MORNING, id="microseconds"),
        pytest.param("1690000000000000000", MORNING, id="nanoseconds"),
        pytest.param("30685", datetime(1970, 1, 1, 8, 31, 25, tzinfo=UTC), id="a relative clock"),
        pytest.param("", None, id="empty is no time"),
        pytest.param("NULL", None, id="NULL is no time"),
        pytest.param("0001-01-01T00:00:00Z", None, id="Go's zero time is no time"),
    ],
)
def test_text_is_read_as(written: str, meant: datetime | None) -> None:
    times, bad = parse_times(pa.array([written]))
    assert (times.to_pylist(), bad.tolist()) == ([meant], [False])


@pytest.mark.parametrize(
    "written",
    [
        "31/12/2023",
        "2023-13-01",
        "2023-02-30T10:00:00Z",
        "2023-01-01T25:00:00Z",
        "2023-01-01T10:001",
        "inf",
        "9" * 19,
        "yesterday",
    ],
)
def test_text_that_is_no_time_is_bad(written: str) -> None:
    times, bad = parse_times(pa.array([written, "1690000000", None]))
    assert times.to_pylist() == [None, MORNING, None]
    assert bad.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([1690000000, None]), id="whole numbers"),
        pytest.param(pa.array([1690000000.0, float("nan")]), id="floats, as pandas writes them"),
        pytest.param(pa.array([MORNING, None]), id="timestamps"),
        pytest.param(pa.array([MORNING.replace(tzinfo=None), None]), id="naive timestamps"),
        pytest.param(
            pa.array([MORNING, None], pa.timestamp("ns", tz="Europe/Berlin")), id="nanoseconds"
        ),
        pytest.param(pa.array([b"1690000000", None]), id="bytes"),
        pytest.param(pa.array(["1690000000", None]).dictionary_encode(), id="dictionary"),
    ],
)
def test_every_type_of_column_is_read(column: pa.Array) -> None:
    times, bad = parse_times(column)
    assert times.to_pylist() == [MORNING, None]
    assert not bad.any()


def test_a_column_may_mix_numbers_and_dates() -> None:
    times, bad = parse_times(pa.array(["1690000000", "2023-07-22T04:26:40Z", "no", ""]))
    assert times.to_pylist() == [MORNING, MORNING, None, None]
    assert bad.tolist() == [False, False, True, False]
