"""The figures and words of the report, each on values small enough to work out by hand."""

import math

import numpy as np
import pytest
from markupsafe import Markup

from noisegate.learning.breakdown import Noisy, Service, spread, suggested_for
from noisegate.learning.curves import Fixed, Reliability
from noisegate.learning.plots import Curve, Line, Operating, curve_plot, ticks
from noisegate.learning.sections import suggestion
from noisegate.learning.wording import (
    breakable,
    clipped,
    day,
    duration,
    many,
    percent,
    prometheus_duration,
)

DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    ("share", "digits", "written"),
    [
        pytest.param(0.786, 0, "79 %", id="rounded"),
        pytest.param(0.786, 1, "78.6 %", id="with a digit"),
        pytest.param(0.0, 0, "0 %", id="nothing"),
        pytest.param(1.0, 0, "100 %", id="everything"),
        pytest.param(0.001, 0, "< 1 %", id="little is not nothing"),
        pytest.param(0.9999, 0, "> 99 %", id="almost all is not everything"),
        pytest.param(0.0004, 1, "< 0.1 %", id="little, with a digit"),
        pytest.param(math.nan, 0, "–", id="not known"),
    ],
)
def test_a_share_in_percent(share: float, digits: int, written: str) -> None:
    assert percent(share, digits).replace("\N{NO-BREAK SPACE}", " ") == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        pytest.param(0.0, "0 s", id="none"),
        pytest.param(3.24, "3.2 s", id="a few seconds"),
        pytest.param(133.6, "134 s", id="up to three minutes in seconds"),
        pytest.param(352.0, "5.9 min", id="minutes"),
        pytest.param(3 * 3600.0, "3 h", id="hours"),
        pytest.param(12 * 86_400.0, "12 days", id="days"),
        pytest.param(math.inf, "never", id="never"),
        pytest.param(math.nan, "–", id="not known"),
    ],
)
def test_a_duration_in_the_unit_people_use(seconds: float, written: str) -> None:
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == written


def test_a_day_is_a_date_or_a_number_where_the_clock_is_relative() -> None:
    jan_2026 = 1_767_571_200_000_000
    assert day(jan_2026, jan_2026).split() == ["5", "Jan", "2026"]
    assert day(jan_2026, jan_2026, year=False).split() == ["5", "Jan"]
    assert day(159 * DAY_US + 5, 0).split() == ["day", "159"]


def test_one_of_a_thing_has_no_s() -> None:
    assert many(1, "real alert").split() == ["1", "real", "alert"]
    assert many(1234, "real alert").split() == ["1,234", "real", "alerts"]


@pytest.mark.parametrize(
    ("seconds", "written"), [(60, "1m"), (600, "10m"), (3600, "1h"), (90, "90s")]
)
def test_a_duration_as_prometheus_writes_it(seconds: int, written: str) -> None:
    assert prometheus_duration(seconds) == written


def test_a_long_or_strange_name_becomes_one_short_line() -> None:
    assert clipped("a\nb\t\u202e  c\x00d") == "a b c d"
    assert clipped("x" * 500) == "x" * 119 + "…"


def test_a_name_may_break_between_its_words_and_is_escaped() -> None:
    assert breakable("NodeLoad<b>High") == Markup("Node<wbr>Load&lt;b&gt;High")
    assert breakable("db-main.eu") == Markup("db-<wbr>main.<wbr>eu")
    assert breakable("x" * 60).count("<wbr>") == 2


FIXED = Fixed(
    clear_s=np.array([10.0, 20.0, 30.0]), noise=4, real_share=0.5, ceiling=0.75, floored=True
)


def test_a_fixed_hold_keeps_off_what_clears_within_it_and_delays_what_may_be_held() -> None:
    assert [FIXED.noise_off(h) for h in (0.0, 9.9, 10.0, 25.0, 99.0)] == [0, 0, 0.25, 0.5, 0.75]
    assert FIXED.delay_s(20.0) == 10.0
    assert FIXED.hold_for(10.0) == 20.0


@pytest.mark.parametrize(
    ("noise_off", "delay_s"),
    [(0.0, 0.0), (0.25, 5.0), (0.26, 10.0), (0.75, 15.0), (0.76, math.inf)],
)
def test_the_delay_at_which_a_fixed_hold_is_as_good(noise_off: float, delay_s: float) -> None:
    assert FIXED.delay_for(noise_off) == delay_s


def test_true_probabilities_lie_on_the_diagonal_and_false_ones_do_not() -> None:
    said = np.repeat([0.15, 0.85], 100)
    true = np.concatenate([np.arange(100) < 15, np.arange(100) < 85])
    found = Reliability.of(said, true)
    assert found.count.tolist() == [0, 100, 0, 0, 0, 0, 0, 0, 100, 0]
    assert found.off_by == pytest.approx(0.0)
    assert Reliability.of(said, ~true).off_by == pytest.approx(0.7)


def test_certainty_falls_into_the_last_bin() -> None:
    assert Reliability.of(np.array([1.0]), np.array([True])).count[-1] == 1


@pytest.mark.parametrize(
    ("clear_s", "for_s", "removes"),
    [
        pytest.param([1, 2, 3, 4, 500], 60, 0.8, id="the shortest that removes most"),
        pytest.param([130] * 10, 180, 1.0, id="a value that people write"),
        pytest.param([30, 30, 30, math.inf, math.inf], None, 0.0, id="none removes most"),
        pytest.param([], None, 0.0, id="no noise"),
    ],
)
def test_the_for_that_would_help(clear_s: list[float], for_s: int | None, removes: float) -> None:
    assert suggested_for(np.array(clear_s, dtype=float)) == (for_s, removes)


def noisy(**changes: object) -> Noisy:
    values: dict[str, object] = {
        "service": "db", "name": "Slow", "alerts": 100, "noise": 80, "real": 20, "transient": 0.8,
        "noise_off": 0.9, "median_s": 40.0, "p90_s": 100.0, "for_s": 120, "removes": 0.9,
        "useless": False, "floored": False,
    }  # fmt: skip
    return Noisy(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        pytest.param(
            noisy(), "for: 2m would remove 90 % of its noise, and delay 20 real alerts.", id="for"
        ),
        pytest.param(
            noisy(alerts=80, real=0), "for: 2m would remove 90 % of its noise.", id="no real ones"
        ),
        pytest.param(
            noisy(noise=100, real=0, useless=True),
            "Delete it or fix it: 100 of 100 firings were noise.",
            id="useless",
        ),
        pytest.param(
            noisy(noise=40, real=60),
            "Leave it to the gate: most of its firings are real.",
            id="mostly real",
        ),
        pytest.param(
            noisy(noise=40, real=60, floored=True),
            "Leave it, for the gate may not hold it: most of its firings are real.",
            id="mostly real and never held",
        ),
        pytest.param(
            noisy(for_s=None),
            "Leave it to the gate: its noise lasts too long for a for:.",
            id="no for helps",
        ),
    ],
)
def test_plain_advice_for_a_noisy_alert(row: Noisy, says: str) -> None:
    assert suggestion(row).striptags().replace("\N{NO-BREAK SPACE}", " ") == says


def service(name: str, noise: int, real: int, noise_off: float, delay_s: float) -> Service:
    return Service(name, noise + real, noise, real, noise_off, 0.5, delay_s, 0)


def test_the_worst_service_and_the_mean_over_services_leave_out_small_ones() -> None:
    rows = [
        service("large", 900, 100, 0.9, 10.0),
        service("slow", 60, 40, 0.5, 50.0),
        service("tiny", 3, 2, 0.0, 290.0),
    ]
    found = spread(rows)
    assert found.slowest is not None and found.slowest.name == "slow"
    assert found.noisiest is not None and found.noisiest.name == "slow"
    assert found.macro_noise_off == pytest.approx(0.7)
    assert found.macro_delay_s == pytest.approx(30.0)
    assert found.largest_share == pytest.approx(1000 / 1105)


@pytest.mark.parametrize(
    ("hi", "most", "expected"),
    [
        (180.0, 9, [20.0 * i for i in range(10)]),
        (540.0, 9, [60.0 * i for i in range(10)]),
        (0.5, 4, [0.0]),
    ],
)
def test_ticks_are_round(hi: float, most: int, expected: list[float]) -> None:
    assert ticks(hi, most) == expected


def test_names_of_curves_do_not_lie_on_each_other() -> None:
    flat = Curve(np.array([30.0, 60.0]), np.array([0.8, 0.81]))
    lines = [Line(name, "gate", flat) for name in ("one", "two", "three")]
    drawing = curve_plot(
        lines, Operating((60.0, 50.0, 70.0), (0.8, 0.7, 0.9), 60.0, math.inf), 180.0
    )
    heights = [
        float(part.split('y="')[1].split('"')[0])
        for part in drawing.parts
        if any(f">{name}<" in part for name in ("one", "two", "three"))
    ]
    assert len(heights) == 3
    assert min(np.diff(sorted(heights))) >= 16
