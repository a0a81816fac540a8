"""Performance statistics on curves whose answer can be worked out by hand, and their edges."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.finance import performance, sharpe
from quantcore.timegrid import DAY_US, HOUR_US, to_index

RETURNS = st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=60).map(np.array)


def test_a_deposit_changes_no_return() -> None:
    equity = np.array([110.0, 210.0, 231.0])
    units = performance.unit_values(equity, np.array([0.0, 100.0, 0.0]), capital=100.0)
    np.testing.assert_allclose(units, [1.1, 1.1, 1.21])


def test_the_unit_value_stays_at_zero_after_ruin() -> None:
    equity = np.array([50.0, 0.0, 0.0, 100.0])
    units = performance.unit_values(equity, np.array([0.0, 0.0, 0.0, 100.0]), capital=100.0)
    np.testing.assert_array_equal(units, [0.5, 0.0, 0.0, 0.0])


def test_capital_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match=r"capital must be > 0, was 0\.0"):
        performance.unit_values(np.ones(1), np.zeros(1), capital=0.0)


def test_a_row_at_midnight_belongs_to_the_day_that_ends() -> None:
    stamps = DAY_US + HOUR_US * np.array([12, 24, 36, 48])
    daily = performance.daily_returns(stamps, np.array([1.1, 1.21, 1.3, 1.331]), start=1.0)
    np.testing.assert_allclose(daily, [0.21, 0.1])
    assert [str(day)[:10] for day in daily.index] == ["1970-01-02", "1970-01-03"]


def test_daily_returns_agree_with_a_pandas_grouping(rng: np.random.Generator) -> None:
    stamps = to_index(HOUR_US * np.arange(7, 500))
    curve = pd.Series(np.cumprod(1.0 + rng.normal(0, 0.01, len(stamps))), index=stamps)
    last = curve.groupby((stamps - pd.Timedelta("1us")).floor("D")).last()
    expected = pd.concat([pd.Series([1.0]), last]).pct_change().dropna()
    daily = performance.daily_returns(HOUR_US * np.arange(7, 500), curve.to_numpy(), start=1.0)
    np.testing.assert_allclose(daily, expected)


def test_days_after_ruin_have_no_return() -> None:
    stamps = DAY_US * np.arange(1, 5)
    daily = performance.daily_returns(stamps, np.array([0.5, 0.0, 0.0, 0.0]), start=1.0)
    np.testing.assert_array_equal(daily, [-0.5, -1.0, np.nan, np.nan])
    assert performance.annual_return(-1.0, days=4.0) == -1.0


def test_an_empty_curve_has_no_days() -> None:
    daily = performance.daily_returns(np.empty(0, np.int64), np.empty(0), start=1.0)
    assert daily.empty
    assert performance.compound(daily) == 0.0
    assert math.isnan(performance.max_drawdown(np.empty(0), start=1.0))


@pytest.mark.parametrize("constant", [0.0, 0.001, -0.3])
def test_constant_returns_have_no_sharpe_ratio(constant: float) -> None:
    returns = np.full(40, constant)
    assert math.isnan(performance.sharpe(returns, periods_per_year=365))
    assert math.isnan(performance.skewness(returns))
    assert all(
        math.isnan(bound)
        for bound in sharpe.sharpe_interval(returns, periods_per_year=365, confidence=0.95)
    )


@pytest.mark.parametrize("returns", [[], [0.01]])
def test_one_day_or_none_has_no_spread(returns: list[float]) -> None:
    assert math.isnan(performance.sharpe(returns, periods_per_year=365))
    assert math.isnan(performance.annual_volatility(returns, periods_per_year=365))
    assert math.isnan(performance.raw_kurtosis(returns))


def test_nothing_is_extrapolated_from_less_than_a_day() -> None:
    assert math.isnan(performance.annual_return(0.01, days=0.5))
    assert math.isnan(performance.annual_return(1e6, days=1.0))


def test_drawdowns_are_listed_from_peak_to_recovery_deepest_first() -> None:
    stamps = DAY_US * np.arange(1, 8)
    values = np.array([1.1, 0.99, 1.2, 0.9, 0.6, 1.3, 1.2])
    table = performance.drawdown_table(stamps, values, start=1.0)
    np.testing.assert_allclose(table["depth"], [-0.5, -0.1, 1.2 / 1.3 - 1.0])
    np.testing.assert_allclose(table["days"], [3.0, 2.0, 1.0])
    assert table["recovery_ts"].isna().tolist() == [False, False, True]
    assert performance.longest_drawdown_days(stamps, values, start=1.0) == 3.0


def test_a_curve_that_only_rises_has_no_drawdown() -> None:
    stamps, values = DAY_US * np.arange(1, 4), np.array([1.0, 1.1, 1.2])
    assert performance.drawdown_table(stamps, values, start=1.0).empty
    assert performance.longest_drawdown_days(stamps, values, start=1.0) == 0.0
    assert math.isnan(performance.calmar(0.2, performance.max_drawdown(values, start=1.0)))


def test_alpha_and_beta_are_found_again(rng: np.random.Generator) -> None:
    benchmark = rng.normal(0.0, 0.02, 300)
    returns = 0.001 + 0.7 * benchmark
    returns[5] = np.nan
    alpha, beta = performance.alpha_beta(returns, benchmark, periods_per_year=365)
    assert alpha == pytest.approx(0.365)
    assert beta == pytest.approx(0.7)


def test_a_constant_benchmark_has_no_beta() -> None:
    assert all(
        math.isnan(v)
        for v in performance.alpha_beta([0.1, 0.2], [0.01, 0.01], periods_per_year=365)
    )


def test_profits_are_counted_without_the_missing_ones() -> None:
    profits = np.array([3.0, -1.0, np.nan, -0.5, 0.0])
    assert performance.win_rate(profits) == 0.25
    assert performance.profit_factor(profits) == 2.0
    assert performance.expectancy(profits) == pytest.approx(0.375)
    assert math.isnan(performance.win_rate([]))
    assert math.isnan(performance.profit_factor([1.0]))


@given(RETURNS, st.floats(0.1, 3.0))
def test_leverage_leaves_the_sharpe_ratio_as_it_is(returns: np.ndarray, scale: float) -> None:
    one = performance.sharpe(returns, periods_per_year=365)
    other = performance.sharpe(scale * returns, periods_per_year=365)
    assert one == pytest.approx(other, rel=1e-6, nan_ok=True) or returns.std() < 1e-9


@given(RETURNS)
def test_a_drawdown_lies_between_ruin_and_none(returns: np.ndarray) -> None:
    curve = np.cumprod(1.0 + returns, dtype=np.float64)
    depth = performance.drawdowns(curve, start=1.0)
    assert ((depth <= 0.0) & (depth >= -1.0)).all()
