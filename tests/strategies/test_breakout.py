"""The breakout forecast: its rules row by row in Python, and the trailing stop on the middle by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantcore.errors import SchemaMismatch
from quantcore.frames import Bars
from quantcore.types import FloatArray
from strategies import breakout
from strategies.breakout import BreakoutSettings, forecast, warm_up
from tests.strategies.market import (
    LATE_DAYS,
    NO_EXITS,
    bars_of,
    daily_closes,
    last_finished_day,
    random_bars,
)

SETTINGS = BreakoutSettings(lookback_days=[2, 5, 12], exits=NO_EXITS)
ONE = replace(SETTINGS, lookback_days=[2])


def run(bars: Bars, settings: BreakoutSettings = SETTINGS) -> FloatArray:
    return forecast(bars, settings)[0].to_numpy()


def position(
    close: float, edges: tuple[float, float], held: tuple[int, float]
) -> tuple[int, float]:
    """Return position and stop after a close, as the module's docstring has them."""
    (upper, lower), (side, stop) = edges, held
    middle = (upper + lower) / 2
    if side > 0:
        stop = max(stop, middle)
    elif side < 0:
        stop = min(stop, middle)
    if close > upper:
        return (1, stop if side > 0 else middle)
    if close < lower:
        return (-1, stop if side < 0 else middle)
    left = (side > 0 and close < stop) or (side < 0 and close > stop)
    return (0, 0.0) if left else (side, stop)


def in_python(bars: Bars, lookbacks: list[int]) -> FloatArray:
    daily, finished = daily_closes(bars), last_finished_day(bars)
    first = daily.index[0]
    closes = bars.array("close")
    result = np.full(closes.shape, np.nan)
    for i in range(bars.n_symbols):
        held: dict[int, tuple[int, float]] = dict.fromkeys(lookbacks, (0, 0.0))
        # The channel of a row is that of the days that were complete before it.
        for t in range(bars.n_bars):
            last = finished[t - 1] - first if t else -1
            sides = []
            for n in lookbacks:
                window = daily[i].to_numpy()[max(last - n + 1, 0) : last + 1]
                if len(window) == n and not np.isnan(window).any() and not np.isnan(closes[t, i]):
                    edges = (window.max(), window.min())
                    held[n] = position(closes[t, i], edges, held[n])
                    sides.append(held[n][0])
            if sides:
                result[t, i] = np.mean(sides)
    return result


@pytest.mark.parametrize("interval", ["4h", "1d"])
@pytest.mark.parametrize("seed", range(2))
def test_forecast_is_the_rules(seed: int, interval: str) -> None:
    bars = random_bars(seed, n_days=100, n_symbols=3, interval=interval)
    found = run(bars)
    np.testing.assert_allclose(found, in_python(bars, [2, 5, 12]), rtol=1e-12, atol=1e-15)
    assert len(np.unique(found[~np.isnan(found)])) > 5


def daily_positions(*closes: float) -> list[float]:
    """The positions of the channel of two days on daily closes."""
    found = run(bars_of(np.array(closes)[:, None], interval="1d"), ONE)
    return [float(each) for each in found[:, 0]]


def test_a_long_is_left_below_the_middle_and_not_on_it() -> None:
    # The third close breaks out of 10 to 12; the channel of the next row is 12 to 14 with 13 as its middle.
    assert daily_positions(10.0, 12.0, 14.0, 13.0)[2:] == [1.0, 1.0]
    assert daily_positions(10.0, 12.0, 14.0, 12.9)[2:] == [1.0, 0.0]


def test_a_short_is_left_above_the_middle_and_not_on_it() -> None:
    assert daily_positions(14.0, 12.0, 10.0, 11.0)[2:] == [-1.0, -1.0]
    assert daily_positions(14.0, 12.0, 10.0, 11.1)[2:] == [-1.0, 0.0]


def test_the_stop_of_a_long_never_falls_with_the_middle() -> None:
    # Channels of the rows from the third on: 10-12, 12-20, 18-20, 18-18.5. The stop is 16, then 19 > 18.5.
    assert daily_positions(10.0, 12.0, 20.0, 19.5, 19.6)[2:] == [1.0, 1.0, 0.0]
    # Channels 10-12, 12-20 (stop 16), 16.5-20 (stop 18.25), 16.5-18.5 (middle 17.5): 18 is below the stop.
    assert daily_positions(10.0, 12.0, 20.0, 16.5, 18.5, 18.0)[2:] == [1.0, 1.0, 1.0, 0.0]


def test_the_stop_of_a_short_never_rises_with_the_middle() -> None:
    # The same below: stops 24, then 21.75 while the middle goes up to 22.5.
    assert daily_positions(30.0, 28.0, 20.0, 23.5, 21.5, 22.0)[2:] == [-1.0, -1.0, -1.0, 0.0]


def test_a_second_break_does_not_set_the_stop_back() -> None:
    # The last day's channel is 16.5 to 18.5 with 17.5 as its middle; the stop has come to 18.25 the day before.
    days = np.repeat([10.0, 12.0, 20.0, 16.5, 18.5], 6)
    last = np.array([19.0, 18.3, 18.2])
    found = run(bars_of(np.concatenate([days, last])[:, None]), ONE)[-4:, 0]
    assert found.tolist() == [1.0, 1.0, 1.0, 0.0]
    mirrored = run(bars_of(40.0 - np.concatenate([days, last])[:, None]), ONE)[-4:, 0]
    assert mirrored.tolist() == [-1.0, -1.0, -1.0, 0.0]


def test_a_break_of_the_other_edge_turns_the_position_over() -> None:
    assert daily_positions(10.0, 12.0, 14.0, 5.0, 4.0, 20.0)[2:] == [1.0, -1.0, -1.0, 1.0]


def test_a_close_on_an_edge_breaks_nothing() -> None:
    assert daily_positions(10.0, 12.0, 12.0)[2:] == [0.0]
    assert daily_positions(10.0, 12.0, 10.0)[2:] == [0.0]


def test_rows_within_a_day_face_the_channel_of_complete_days() -> None:
    closes = np.array([10.0] * 6 + [12.0] * 6 + [13.0, 10.9, 13.0, 12.5, 12.5, 12.0])[:, None]
    found = run(bars_of(closes), ONE)[:, 0]
    assert np.isnan(found[:12]).all()
    # The channel stays 10 to 12 all day: below 11 the long is left, above 12 entered again.
    assert found[12:].tolist() == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_a_lookback_has_no_part_in_the_mean_before_its_days_are_known() -> None:
    closes = np.exp(0.01 * np.arange(12.0))[:, None]
    found = run(bars_of(closes, interval="1d"))[:, 0]
    assert np.isnan(found[:2]).all()
    assert (found[2:] == 1.0).all()


def test_a_day_without_a_close_leaves_out_every_lookback_that_reaches_over_it() -> None:
    closes = np.exp(0.01 * np.arange(30.0))[:, None]
    closes[20] = np.nan
    settings = replace(SETTINGS, lookback_days=[2, 5])
    found = run(bars_of(closes, interval="1d"), settings)[:, 0]
    assert np.isnan(found[20:23]).all()
    assert (found[23:] == 1.0).all()


def test_a_symbol_listed_late_has_a_forecast_after_the_shortest_lookback() -> None:
    closes = random_bars(0).array("close").copy()
    closes[LATE_DAYS * 6 :, -1] = 10.0
    seen = ~np.isnan(run(bars_of(closes))[:, -1])
    assert seen.argmax() == (LATE_DAYS + 2) * 6


def test_compiled_step_equals_its_interpreted_twin() -> None:
    bars = random_bars(7, n_days=20, n_symbols=3)
    lookbacks = np.array([2, 5], dtype=np.int64)

    today, ring = (
        (np.full(3, np.nan) for _ in range(2)),
        (np.full((5, 3), np.nan) for _ in range(2)),
    )
    channels = [np.full((2, 3, 2), np.nan) for _ in range(2)]
    places = [np.zeros((2, 3, 2)) for _ in range(2)]
    counts = [np.zeros(1, dtype=np.int64) for _ in range(2)]
    closes = bars.array("close")
    compiled = breakout.scan(
        closes, bars.ts_us, lookbacks, next(today), next(ring), counts[0], channels[0], places[0]
    )
    twin, day, days = np.empty(closes.shape), next(today), next(ring)
    for t in range(bars.n_bars):
        breakout.step.py_func(
            closes[t], int(bars.ts_us[t]), lookbacks, day, days, counts[1], channels[1], places[1],
            twin[t],
        )  # fmt: skip
    np.testing.assert_array_equal(compiled, twin)
    np.testing.assert_array_equal(places[0], places[1])


def test_a_state_of_other_lookbacks_is_refused() -> None:
    bars = random_bars(0, n_days=3)
    _, state = forecast(bars, SETTINGS)
    with pytest.raises(SchemaMismatch, match=r"breakout state must be of the settings .*12"):
        forecast(bars, replace(SETTINGS, lookback_days=[2, 12]), state)


def test_warm_up_is_twice_the_longest_lookback() -> None:
    assert warm_up(SETTINGS, "4h") == 2 * 12 * 6


@pytest.mark.parametrize("days", [[], [1, 5], [5, 3], [3, 3]])
def test_settings_name_what_they_refuse(days: list[int]) -> None:
    with pytest.raises(ValueError, match="lookback_days must be increasing numbers >= 2, were"):
        replace(SETTINGS, lookback_days=days)
