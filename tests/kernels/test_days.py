"""Days out of finer rows: the last close of each, the ring of the last ones, and what is asked of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from quantcore.kernels.days import (
    close_day,
    day_ring,
    days_ago,
    ends_day,
    hold,
    in_order,
    last_return,
)
from quantcore.timegrid import DAY_US, HOUR_US
from quantcore.types import BoolArray, FloatArray, IntArray

START = 18_700 * DAY_US


@njit(cache=True, error_model="numpy")
def add_rows(
    closes: FloatArray, ts_us: IntArray, today: FloatArray, ring: FloatArray, count: IntArray
) -> BoolArray:
    """Return after which rows a day was complete."""
    completed = np.zeros(len(closes), dtype=np.bool_)
    for t in range(len(closes)):
        completed[t] = close_day(closes[t], ts_us[t], today, ring, count)
    return completed


@njit(cache=True, error_model="numpy")
def ask(ring: FloatArray, count: IntArray, most: int) -> tuple[FloatArray, FloatArray]:
    """Return the values of the last days, the last first, and the last return of every symbol."""
    n_symbols = ring.shape[1]
    values, returns = np.empty((most, n_symbols)), np.empty(n_symbols)
    for i in range(n_symbols):
        for day in range(most):
            values[day, i] = days_ago(ring, count, day, i)
        returns[i] = last_return(ring, count, i)
    return values, returns


class Days:
    """The state of the fold."""

    def __init__(self, n_days: int, n_symbols: int) -> None:
        self.today = np.full(n_symbols, np.nan)
        self.ring = day_ring(n_days, n_symbols)
        self.count = np.zeros(1, dtype=np.int64)

    def add(self, closes: FloatArray, ts_us: IntArray) -> BoolArray:
        return add_rows(closes, ts_us, self.today, self.ring, self.count)


def rows(seed: int, n_bars: int, n_symbols: int, hours: int = 6) -> tuple[FloatArray, IntArray]:
    """Random closes with holes; the first row is stamped six hours into a day."""
    rng = np.random.default_rng(seed)
    closes = rng.uniform(1.0, 2.0, (n_bars, n_symbols))
    closes[rng.random(closes.shape) < 0.4] = np.nan
    return closes, START + hours * HOUR_US * (1 + np.arange(n_bars, dtype=np.int64))


def in_pandas(closes: FloatArray, ts_us: IntArray) -> FloatArray:
    """Closes of the complete days."""
    day = (ts_us - 1) // DAY_US
    last = pd.DataFrame(closes).groupby(day).last()
    return np.asarray(last[last.index < ts_us[-1] // DAY_US])


@pytest.mark.parametrize("n_days", [1, 2, 5, 40])
@pytest.mark.parametrize("hours", [1, 6, 24])
def test_ring_holds_the_last_days_of_pandas(n_days: int, hours: int) -> None:
    closes, ts_us = rows(n_days, 163, 3, hours)
    days = Days(n_days, 3)
    days.add(closes, ts_us)
    expected = in_pandas(closes, ts_us)
    assert days.count[0] == len(expected)
    padded = np.vstack([np.full((n_days, 3), np.nan), expected])[-n_days:]
    np.testing.assert_array_equal(in_order(days.ring, int(days.count[0])), padded)
    values, returns = ask(days.ring, days.count, n_days + 3)
    np.testing.assert_array_equal(values[:n_days], padded[::-1])
    assert np.isnan(values[n_days:]).all()
    if n_days > 1:
        np.testing.assert_array_equal(returns, padded[-1] / padded[-2] - 1.0)


def test_a_day_is_complete_with_the_row_stamped_at_midnight() -> None:
    closes, ts_us = rows(0, 9, 2)
    completed = Days(3, 2).add(closes, ts_us)
    assert completed.tolist() == [False, False, False, True, False, False, False, True, False]


def test_the_last_known_close_of_a_day_is_the_days() -> None:
    nan = np.nan
    closes = np.array([[1.0, nan], [2.0, nan], [nan, nan], [nan, nan], [3.0, 9.0]])
    days = Days(2, 2)
    days.add(closes[:4], START + 6 * HOUR_US * np.arange(1, 5))
    np.testing.assert_array_equal(in_order(days.ring, 1), [[nan, nan], [2.0, nan]])
    assert np.isnan(days.today).all()
    days.add(closes[4:], np.array([START + 30 * HOUR_US]))
    np.testing.assert_array_equal(days.today, [3.0, 9.0])
    np.testing.assert_array_equal(in_order(days.ring, 1), [[nan, nan], [2.0, nan]])


def test_a_day_without_a_bar_has_no_return_and_neither_has_the_next() -> None:
    days = Days(5, 1)
    returns = []
    for k, close in enumerate((2.0, 3.0, np.nan, 4.0, 5.0)):
        days.add(np.array([[close]]), np.array([START + DAY_US * (k + 1)]))
        returns.append(ask(days.ring, days.count, 1)[1][0])
    np.testing.assert_array_equal(returns, [np.nan, 0.5, np.nan, np.nan, 0.25])


@settings(max_examples=20)
@given(seed=st.integers(0, 999), cut=st.integers(0, 60))
def test_rows_in_two_parts_give_the_days_of_all_at_once(seed: int, cut: int) -> None:
    closes, ts_us = rows(seed, 60, 2)
    whole, parts = Days(4, 2), Days(4, 2)
    expected = whole.add(closes, ts_us)
    found = [parts.add(closes[:cut], ts_us[:cut]), parts.add(closes[cut:], ts_us[cut:])]
    np.testing.assert_array_equal(np.concatenate(found), expected)
    for name in ("today", "ring", "count"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_compiled_days_equal_their_interpreted_twin() -> None:
    closes, ts_us = rows(5, 70, 3)
    compiled, twin = Days(3, 3), Days(3, 3)
    completed = compiled.add(closes, ts_us)
    expected = add_rows.py_func(closes, ts_us, twin.today, twin.ring, twin.count)
    np.testing.assert_array_equal(completed, expected)
    for name in ("today", "ring", "count"):
        np.testing.assert_array_equal(getattr(compiled, name), getattr(twin, name))
    found, wanted = ask(compiled.ring, compiled.count, 5), ask.py_func(twin.ring, twin.count, 5)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


def test_before_the_first_day_nothing_is_known() -> None:
    days = Days(3, 2)
    assert np.isnan(in_order(days.ring, 0)).all()
    values, returns = ask(days.ring, days.count, 4)
    assert np.isnan(values).all()
    assert np.isnan(returns).all()
    assert len(days.add(np.empty((0, 2)), np.empty(0, dtype=np.int64))) == 0
    assert days.count[0] == 0


@njit(cache=True, error_model="numpy")
def held(view: FloatArray, closes: FloatArray) -> FloatArray:
    """Return the view spread over rows."""
    forecasts = np.empty(closes.shape)
    for t in range(len(closes)):
        hold(view, closes[t], forecasts[t])
    return forecasts


def test_what_holds_for_a_day_is_every_rows_where_there_is_a_close() -> None:
    closes, view = rows(3, 12, 4)[0], np.array([0.5, np.nan, -1.0, 0.0])
    expected = np.where(np.isnan(closes), np.nan, view)
    np.testing.assert_array_equal(held(view, closes), expected)
    np.testing.assert_array_equal(held.py_func(view, closes), expected)


def test_a_day_ends_at_midnight() -> None:
    stamps = START + np.array([-1, 0, 1, DAY_US // 2, DAY_US])
    assert [bool(ends_day(each)) for each in stamps] == [False, True, False, False, True]
