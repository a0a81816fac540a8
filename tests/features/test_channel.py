"""Donchian channel and breakouts against slow versions."""

from __future__ import annotations

import numpy as np
import pytest

from quantcore.features.channel import breakout, donchian_position
from quantcore.frames import Bars
from quantcore.types import FloatArray, Panel
from tests.features.market import bars_of, closes_of, random_bars, same

WINDOW = 5


def slow_channel(bars: Bars) -> tuple[Panel, Panel]:
    """Lowest low and highest high of the known bars before each, one symbol at a time."""
    lowest, highest = bars.close * np.nan, bars.close * np.nan
    for symbol in bars.symbols:
        known = bars.low[symbol].dropna().index
        before = bars.low.loc[known, symbol].rolling(WINDOW).min().shift(1)
        lowest.loc[known, symbol] = before
        highest.loc[known, symbol] = bars.high.loc[known, symbol].rolling(WINDOW).max().shift(1)
    return lowest, highest


def slow_breakout(bars: Bars, *, exit_at_middle: bool) -> FloatArray:
    lowest, highest = (panel.to_numpy() for panel in slow_channel(bars))
    close = bars.array("close")
    sides = np.full(close.shape, np.nan)
    for i in range(bars.n_symbols):
        side = 0.0
        for t in range(bars.n_bars):
            if np.isnan(close[t, i]) or np.isnan(lowest[t, i]):
                continue
            middle = (lowest[t, i] + highest[t, i]) / 2.0
            if close[t, i] > highest[t, i]:
                side = 1.0
            elif close[t, i] < lowest[t, i]:
                side = -1.0
            elif exit_at_middle and (
                (side > 0.0 and close[t, i] < middle) or (side < 0.0 and close[t, i] > middle)
            ):
                side = 0.0
            sides[t, i] = side
    return sides


def test_position_is_that_of_pandas_over_known_bars() -> None:
    bars = random_bars(0, 200)
    lowest, highest = slow_channel(bars)
    expected = (bars.close - lowest) / (highest - lowest)
    same(donchian_position(bars, window=WINDOW)[0], expected)


@pytest.mark.parametrize("exit_at_middle", [False, True])
def test_breakout_is_that_of_a_plain_loop(exit_at_middle: bool) -> None:
    bars = random_bars(1, 300)
    values, _ = breakout(bars, window=WINDOW, exit_at_middle=exit_at_middle)
    expected = slow_breakout(bars, exit_at_middle=exit_at_middle)
    np.testing.assert_array_equal(values.to_numpy(), expected)
    assert set(np.unique(expected[~np.isnan(expected)])) == {-1.0, 0.0, 1.0}


def test_the_present_bar_is_no_part_of_its_channel() -> None:
    closes = closes_of(10.0, 12.0, 20.0, 11.0)
    values = donchian_position(closes, window=2)[0]["AAA"].to_numpy()
    np.testing.assert_allclose(values, [np.nan, np.nan, 5.0, -0.125])


def test_a_breakout_lasts_until_the_opposite_one_or_the_middle() -> None:
    closes = closes_of(10.0, 12.0, 13.0, 12.4, 11.0, 13.5, 13.0, np.nan, 12.0)
    lasting = breakout(closes, window=2, exit_at_middle=False)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(lasting, [np.nan, np.nan, 1.0, 1.0, -1.0, 1.0, 1.0, np.nan, -1.0])
    ending = breakout(closes, window=2, exit_at_middle=True)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(ending, [np.nan, np.nan, 1.0, 0.0, -1.0, 1.0, 1.0, np.nan, -1.0])


def test_touching_the_edge_or_the_middle_changes_nothing() -> None:
    closes = closes_of(10.0, 12.0, 12.0, 10.0, 13.0, 11.5)
    values = breakout(closes, window=2, exit_at_middle=True)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(values, [np.nan, np.nan, 0.0, -1.0, 1.0, 1.0])


def test_a_channel_without_width_has_no_positions_and_no_breakouts() -> None:
    flat = closes_of(*[0.1] * 6)
    assert donchian_position(flat, window=2)[0].isna().all(axis=None)
    values = breakout(flat, window=2, exit_at_middle=True)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(values, [np.nan, np.nan, 0.0, 0.0, 0.0, 0.0])


def test_a_bar_that_lacks_one_price_is_as_if_it_were_not_there() -> None:
    fields = {name: values.copy() for name, values in random_bars(2, 60).fields.items()}
    fields["high"][20:25, 0] = np.nan
    dropped = {name: values.copy() for name, values in fields.items()}
    for name in ("low", "close"):
        dropped[name][20:25, 0] = np.nan
    one, other = (donchian_position(bars_of(f), window=3)[0] for f in (fields, dropped))
    same(one, other)
