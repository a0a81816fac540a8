"""Crossover, momentum and efficiency ratio against slow versions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.features.trend import crossover, efficiency_ratio, time_series_momentum
from quantcore.features.volatility import realised_volatility
from tests.features.market import bars_of, closes_of, over_known, random_bars, same

PAIR: dict[str, Any] = {"fast": 4, "slow": 16, "volatility_half_life": 10.0}


def slow_crossover(closes: pd.Series[float]) -> pd.Series[float]:
    fast, slow = (closes.ewm(span=span, adjust=True).mean() for span in (4, 16))
    variance = (closes.diff() ** 2).ewm(halflife=10.0, adjust=True, ignore_na=True).mean()
    values: pd.Series[float] = ((fast - slow) / np.sqrt(variance)).iloc[15:]
    return values


def test_crossover_is_that_of_pandas_over_known_closes() -> None:
    bars = random_bars(0, 200)
    same(crossover(bars, **PAIR)[0], over_known(bars.close, slow_crossover))


def test_crossover_of_a_random_walk_has_the_size_that_its_documentation_gives() -> None:
    changes = np.random.default_rng(1).normal(size=(20_000, 8))
    bars = bars_of({"close": 1e6 + np.cumsum(changes, axis=0)})
    values, _ = crossover(bars, fast=8, slow=32, volatility_half_life=500.0)
    expected = (32 - 8) / (2.0 * math.sqrt(32 + 8))
    assert values.iloc[500:].to_numpy().std() == pytest.approx(expected, rel=0.05)


def test_crossover_of_a_price_that_never_moves_is_zero() -> None:
    values = crossover(closes_of(*[0.1] * 20), **PAIR)[0]["AAA"]
    assert values.iloc[:15].isna().all()
    assert (values.iloc[15:] == 0.0).all()


def test_crossover_is_positive_in_a_rise() -> None:
    rise = closes_of(*np.linspace(1.0, 2.0, 40))
    assert (crossover(rise, **PAIR)[0].iloc[15:] > 0.0).all(axis=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fast": 0}, "fast must be a whole number >= 1, was 0"),
        ({"slow": 4}, "slow must be > fast = 4, was 4"),
        ({"volatility_half_life": 0.0}, "volatility_half_life must be finite and > 0, was 0.0"),
    ],
)
def test_crossover_names_what_it_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crossover(random_bars(0), **{**PAIR, **change})


def test_momentum_is_the_log_return_over_its_standard_deviation() -> None:
    bars = random_bars(2, 200)
    change = (bars.close / bars.close.ffill().shift(9)).apply(np.log)
    unit = realised_volatility(bars, half_life=20.0)[0] * 3.0
    same(time_series_momentum(bars, lookback=9, volatility_half_life=20.0)[0], change / unit)


def test_momentum_over_one_bar_of_the_first_return_is_one() -> None:
    values, _ = time_series_momentum(closes_of(100.0, 90.0), lookback=1, volatility_half_life=20.0)
    assert values.iloc[1, 0] == pytest.approx(-1.0, rel=1e-12)


def test_momentum_of_a_price_that_never_moves_is_zero() -> None:
    flat = closes_of(*[0.1] * 6)
    values = time_series_momentum(flat, lookback=2, volatility_half_life=3.0)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(values, [np.nan, np.nan, 0.0, 0.0, 0.0, 0.0])


def slow_efficiency(closes: pd.Series[float]) -> pd.Series[float]:
    return closes.diff(6).abs() / closes.diff().abs().rolling(6).sum()


def test_efficiency_ratio_is_that_of_pandas_over_known_closes() -> None:
    bars = random_bars(3, 200)
    same(efficiency_ratio(bars, window=6)[0], over_known(bars.close, slow_efficiency))


def test_efficiency_ratio_is_one_for_a_straight_move_and_zero_for_a_return_to_the_start() -> None:
    straight = efficiency_ratio(closes_of(1.0, 2.0, 4.0, 9.0), window=3)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(straight, [np.nan, np.nan, np.nan, 1.0])
    back = efficiency_ratio(closes_of(1.0, 2.0, 1.0), window=2)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(back, [np.nan, np.nan, 0.0])
    flat = efficiency_ratio(closes_of(0.1, 0.1, 0.1), window=2)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(flat, [np.nan, np.nan, 0.0])


def test_efficiency_ratio_stays_within_its_bounds_whatever_the_rounding() -> None:
    rises = 0.3 + np.cumsum(np.random.default_rng(2).random((30, 2)), axis=0)
    values = efficiency_ratio(bars_of({"close": rises}), window=11)[0].iloc[11:].to_numpy()
    assert (values <= 1.0).all()
    np.testing.assert_allclose(values, 1.0, rtol=1e-12)
