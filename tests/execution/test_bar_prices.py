"""Prices of bars at instants: on the grid, between two closes, in holes and outside."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantcore.errors import DataGap
from quantcore.execution.bar_prices import close_at, columns_of, next_open
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, to_us

START_US = to_us("2024-01-01")


def bars(n: int = 3) -> Bars:
    close = np.array([[10.0, 20.0], [11.0, math.nan], [12.0, 22.0]])[:n]
    ts_us = START_US + HOUR_US * np.arange(1, n + 1)
    fields = {"open": close - 0.5, "close": close}
    return Bars(interval="1h", ts_us=ts_us, symbols=("AAAUSDT", "BBBUSDT"), fields=fields)


def at(*hours: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return (START_US + HOUR_US * np.array(hours)).astype(np.int64)


def test_the_last_close_is_known_until_the_next_one() -> None:
    column = np.zeros(4, dtype=np.int64)
    found = close_at(bars(), at(1.0, 1.99, 2.0, 3.0), column)
    assert found.tolist() == [10.0, 10.0, 11.0, 12.0]
    assert next_open(bars(), at(0.0, 1.0, 1.5, 2.0), column).tolist() == [9.5, 10.5, 10.5, 11.5]


def test_holes_and_the_outside_are_nan() -> None:
    found = close_at(bars(), at(0.99, 2.0, 3.0, 4.0), np.ones(4, dtype=np.int64))
    np.testing.assert_array_equal(found, [math.nan, math.nan, 22.0, math.nan])
    assert np.isnan(next_open(bars(), at(3.0), np.zeros(1, dtype=np.int64))).all()
    assert np.isnan(close_at(bars(0), at(1.0), np.zeros(1, dtype=np.int64))).all()


def test_columns_are_those_of_the_symbols() -> None:
    assert columns_of(bars(), ["BBBUSDT", "AAAUSDT"]).tolist() == [1, 0]
    with pytest.raises(DataGap, match="bars must hold every symbol that was traded, lacked X, Y"):
        columns_of(bars(), ["Y", "AAAUSDT", "X"])
