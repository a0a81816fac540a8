"""Volatility of closes against pandas."""

from __future__ import annotations

import numpy as np

from quantcore.features.returns import log_returns
from quantcore.features.volatility import realised_volatility
from tests.features.market import closes_of, random_bars, same


def test_volatility_is_the_root_of_the_weighted_mean_of_squared_returns() -> None:
    bars = random_bars(0, 300)
    squares = log_returns(bars)[0] ** 2
    expected = squares.ewm(halflife=7.0, adjust=True, ignore_na=True).mean() ** 0.5
    same(realised_volatility(bars, half_life=7.0)[0], expected.where(bars.close.notna()))


def test_a_price_that_never_moves_has_no_volatility() -> None:
    values = realised_volatility(closes_of(*[0.1] * 4), half_life=3.0)[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(values, [np.nan, 0.0, 0.0, 0.0])


def test_first_volatility_is_the_size_of_the_first_return_whatever_the_half_life() -> None:
    values, _ = realised_volatility(closes_of(100.0, np.nan, 90.0), half_life=1000.0)
    np.testing.assert_allclose(values["AAA"], [np.nan, np.nan, -np.log(0.9)], rtol=1e-12)
