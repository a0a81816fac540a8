"""The exchange's time: half a round trip back, drift, simulated speeds, and a clock that stands."""

from __future__ import annotations

import pytest

from live.clock import ExchangeClock, Measurement

START_MS = 1_704_182_280_000


class Wall:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.s = 1000.0

    def now(self) -> float:
        return self.s


def clock_at(wall: Wall, speed: float = 1.0, wall_s: float = 0.0) -> ExchangeClock:
    return ExchangeClock(speed=speed, monotonic_s=wall.now, wall_s=lambda: wall_s)


def measured(sent_s: float, received_s: float, server_ms: int = START_MS) -> Measurement:
    return Measurement(sent_s=sent_s, received_s=received_s, server_ms=server_ms)


def test_the_time_is_taken_for_that_of_the_middle_of_the_round_trip() -> None:
    wall = Wall()
    clock = clock_at(wall)
    clock.set_by(measured(999.0, 1000.0))
    assert clock.now_us() == START_MS * 1000 + 500_000
    assert clock.error_us == 500_000
    wall.s = 1010.0
    assert clock.now_us() == START_MS * 1000 + 10_500_000


async def test_the_quickest_of_several_answers_counts() -> None:
    wall = Wall()
    clock = clock_at(wall)
    lasts, ahead_ms = iter([4.0, 0.2, 2.0]), iter([1500, 0, 700])

    async def ask_ms() -> int:
        wall.s += next(lasts)
        return int(1000.0 * wall.s) + next(ahead_ms)

    best = await clock.measure(ask_ms, samples=3)
    assert best.round_trip_s == pytest.approx(0.2)
    # It was told 1004.2 s, at 1004.1 s by the middle; two seconds more have passed since.
    assert clock.now_us() == pytest.approx(1004.2e6 + 2.1e6)
    assert clock.error_us == pytest.approx(100_000, abs=1)


def test_a_later_measurement_says_by_how_much_the_clock_moved() -> None:
    wall = Wall()
    clock = clock_at(wall)
    clock.set_by(measured(1000.0, 1000.0))
    assert clock.jump_us == 0
    clock.set_by(measured(1010.0, 1010.0, START_MS + 8_500))
    assert clock.jump_us == -1_500_000


def test_the_difference_to_this_machines_clock_is_known() -> None:
    clock = clock_at(Wall(), wall_s=START_MS / 1000.0 - 3600.0)
    clock.set_by(measured(1000.0, 1000.0))
    assert clock.wall_offset_ms() == pytest.approx(3_600_000.0)


def test_an_accelerated_clock_goes_on_at_its_speed() -> None:
    wall = Wall()
    clock = clock_at(wall, speed=60.0)
    clock.set_by(measured(1000.0, 1000.0))
    wall.s += 2.0
    assert clock.now_us() == START_MS * 1000 + 120_000_000
    assert clock.wall_seconds(60_000_000) == 1.0


def test_a_clock_that_stands_moves_by_what_is_heard_and_never_back() -> None:
    wall = Wall()
    clock = clock_at(wall, speed=0.0)
    assert not clock.runs
    clock.set_by(measured(1000.0, 1000.0))
    wall.s += 100.0
    assert clock.now_us() == START_MS * 1000
    clock.heard(START_MS * 1000 + 60_000_000)
    clock.heard(START_MS * 1000 + 30_000_000)
    assert clock.now_us() == START_MS * 1000 + 60_000_000


def test_a_clock_that_runs_is_not_moved_by_what_is_heard() -> None:
    clock = clock_at(Wall())
    clock.set_by(measured(1000.0, 1000.0))
    clock.heard(START_MS * 1000 + 60_000_000)
    assert clock.now_us() == START_MS * 1000


def test_before_the_first_measurement_there_is_no_time() -> None:
    clock = clock_at(Wall())
    assert not clock.is_set
    assert clock.now_us() == 0


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be >= 0 and finite"):
        ExchangeClock(speed=speed)
