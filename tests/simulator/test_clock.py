"""The simulated clock: real, accelerated, and moved by a driver alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.clock import SimulatedClock

START = 1_700_000_000_000_000
END = START + 3_600_000_000


def clock(mode: str = "real", speed: float = 1.0) -> SimulatedClock:
    return SimulatedClock(mode=mode, speed=speed, start_us=START, end_us=END, origin_s=100.0)


def test_real_time_passes_as_on_the_wall() -> None:
    assert clock().now_us(100.0) == START
    assert clock().now_us(102.5) == START + 2_500_000


def test_time_goes_in_whole_milliseconds() -> None:
    assert clock().now_us(100.0012) == START + 1000
    assert clock().now_us(100.0019) == START + 1000
    assert clock().now_us(100.0021) == START + 2000


def test_accelerated_time_passes_so_many_times_faster() -> None:
    fast = clock("accelerated", 60.0)
    assert fast.now_us(101.0) == START + 60_000_000
    assert fast.wall_seconds(60_000_000) == 1.0


def test_lock_step_stands_still_until_it_is_moved() -> None:
    still = clock("lock_step")
    assert not still.runs
    assert still.now_us(1e9) == START
    assert still.moved_to(START + 5, 200.0).now_us(1e9) == START + 5


def test_time_stops_at_the_end_of_the_market() -> None:
    assert clock("accelerated", 1e300).now_us(1e9) == END
    assert clock().moved_to(END + 7, 0.0).now_us(0.0) == END


def test_moved_clock_goes_on_from_there() -> None:
    assert clock("accelerated", 10.0).moved_to(START, 500.0).now_us(501.0) == START + 10_000_000


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0.01, 1e5))
def test_time_never_runs_back(one: float, other: float, speed: float) -> None:
    fast = clock("accelerated", speed)
    early, late = sorted((one, other))
    assert START <= fast.now_us(early) <= fast.now_us(late) <= END


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "slow"}, "clock must be one of real, accelerated, lock_step, was slow"),
        ({"mode": "accelerated", "speed": 0.0}, "speed must be > 0 and finite, was 0.0"),
        ({"mode": "accelerated", "speed": float("nan")}, "speed must be > 0 and finite, was nan"),
        ({"speed": 2.0}, "speed must be 1 unless clock=accelerated, was 2.0"),
        ({"start_us": END + 1}, "start_us must be <= end_us"),
    ],
)
def test_an_impossible_clock_is_refused(options: dict[str, object], message: str) -> None:
    given_options = {
        "mode": "real",
        "speed": 1.0,
        "start_us": START,
        "end_us": END,
        "origin_s": 0.0,
    }
    with pytest.raises(ValueError, match=message):
        SimulatedClock(**{**given_options, **options})  # type: ignore[arg-type]  # a wrong type is the point
