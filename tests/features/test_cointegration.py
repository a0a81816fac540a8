"""Cointegration against statsmodels, and mean reversion against closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantcore.features.cointegration import (
    Trend,
    adf_statistic,
    engle_granger,
    fit_ornstein_uhlenbeck,
    half_life,
    mackinnon_critical_values,
    mean_reversion_speed,
)
from quantcore.types import FloatArray


def pair(seed: int, n: int = 200) -> tuple[FloatArray, FloatArray]:
    """A random walk and a series that follows it."""
    rng = np.random.default_rng(seed)
    x = 4.0 + np.cumsum(rng.normal(0.0, 0.02, n))
    return 1.0 + 0.7 * x + ornstein_uhlenbeck(seed, n, phi=0.8, deviation=0.02), x


def ornstein_uhlenbeck(seed: int, n: int, *, phi: float, deviation: float) -> FloatArray:
    """Values around 0 with a standard deviation, in the stationary state."""
    shocks = np.random.default_rng(seed + 1).normal(0.0, deviation * math.sqrt(1 - phi**2), n)
    values = np.empty(n)
    values[0] = shocks[0]
    for t in range(1, n):
        values[t] = phi * values[t - 1] + shocks[t]
    return values


@pytest.mark.parametrize("trend", ["n", "c", "ct", "ctt"])
@pytest.mark.parametrize("lags", [0, 1, 4])
def test_engle_granger_agrees_with_statsmodels(trend: Trend, lags: int) -> None:
    from statsmodels.tsa.stattools import coint

    y, x = pair(3)
    result = engle_granger(y, x, lags=lags, trend=trend)
    statistic, p_value, critical = coint(y, x, trend=trend, maxlag=lags, autolag=None)
    assert result.t_statistic == pytest.approx(statistic, rel=1e-8)
    assert result.p_value == pytest.approx(p_value, rel=1e-6)
    np.testing.assert_allclose(result.critical_values, critical, rtol=1e-12)


def test_engle_granger_finds_the_relation_and_its_spread() -> None:
    y, x = pair(4, 2000)
    result = engle_granger(y, x, lags=1)
    assert result.hedge_ratio == pytest.approx(0.7, abs=0.02)
    assert result.intercept == pytest.approx(1.0, abs=0.1)
    assert result.p_value < 0.01
    expected = y - result.intercept - result.hedge_ratio * x
    np.testing.assert_allclose(result.residuals, expected, atol=1e-12)


def test_engle_granger_rejects_about_its_level_of_unrelated_walks() -> None:
    rng = np.random.default_rng(5)
    walks = np.cumsum(rng.normal(size=(400, 200, 2)), axis=1)
    results = [engle_granger(walk[:, 0], walk[:, 1], lags=0) for walk in walks]
    rejected = np.mean([r.t_statistic < r.critical_values[1] for r in results])
    assert 0.02 < rejected < 0.09
    assert 0.02 < np.mean([r.p_value < 0.05 for r in results]) < 0.09


def test_scaling_prices_moves_only_the_intercept() -> None:
    y, x = pair(6)
    one = engle_granger(y, x, lags=1)
    other = engle_granger(y + math.log(1000.0), x + math.log(7.0), lags=1)
    assert other.hedge_ratio == pytest.approx(one.hedge_ratio, rel=1e-9)
    assert other.t_statistic == pytest.approx(one.t_statistic, rel=1e-8)
    shift = math.log(1000.0) - one.hedge_ratio * math.log(7.0)
    assert other.intercept == pytest.approx(one.intercept + shift, rel=1e-9)


@pytest.mark.parametrize("lags", [0, 2, 7])
def test_statistic_agrees_with_statsmodels(lags: int) -> None:
    from statsmodels.tsa.stattools import adfuller

    values = ornstein_uhlenbeck(7, 150, phi=0.9, deviation=1.0)
    expected = adfuller(values, maxlag=lags, autolag=None, regression="n", result_object=False)[0]
    assert adf_statistic(values, lags=lags) == pytest.approx(expected, rel=1e-9)


def test_critical_values_are_those_of_the_paper_in_the_limit() -> None:
    asymptotic = mackinnon_critical_values(2, math.inf)
    np.testing.assert_allclose(asymptotic, [-3.89644, -3.33613, -3.04445], atol=1e-9)
    assert (mackinnon_critical_values(2, 50) < asymptotic).all()
    assert (mackinnon_critical_values(3, 50) < mackinnon_critical_values(2, 50)).all()
    assert mackinnon_critical_values(12, 100, trend="ct").shape == (3,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.ones(30)}, "y must not be constant, was 1.0 in every row"),
        ({"x": np.ones(30)}, "x must not be constant, was 1.0 in every row"),
        ({"x": np.arange(29.0)}, "x must have the 30 rows of y, had 29"),
        ({"y": np.r_[np.nan, np.arange(29.0)]}, "y must be finite, was nan at row 0"),
        ({"x": np.r_[np.arange(29.0), np.inf]}, "x must be finite, was inf at row 29"),
        ({"x": np.ones((30, 2))}, "x must have one dimension"),
        ({"y": 2.0 + 3.0 * np.arange(30.0)}, "y must not be an exact linear function of x"),
        ({"trend": "q"}, "trend must be one of n, c, ct, ctt, was 'q'"),
        ({"lags": -1}, "lags must be a whole number >= 0, was -1"),
        ({"lags": 14}, "values must have more than 30 rows, had 30"),
    ],
)
def test_engle_granger_names_what_it_refuses(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "y": np.random.default_rng(8).normal(size=30),
        "x": np.arange(30.0),
        "lags": 1,
        "trend": "c",
    }
    with pytest.raises(ValueError, match=message):
        engle_granger(**{**given, **change})  # type: ignore[arg-type] # some are wrong on purpose


def test_fewer_rows_than_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="y must have more than 4 rows, had 4"):
        engle_granger([1.0, 2.0, 1.5, 3.0], [1.0, 2.5, 1.0, 4.0], lags=0, trend="ctt")
    with pytest.raises(ValueError, match="values must have more than 4 rows, had 4"):
        adf_statistic([1.0, 2.0, 1.5, 3.0], lags=1)
    with pytest.raises(ValueError, match="y must have more than 2 rows, had 0"):
        engle_granger([], [], lags=0)


def test_a_trend_as_regressor_twice_is_refused() -> None:
    values = np.random.default_rng(9).normal(size=30)
    with pytest.raises(ValueError, match="regressors must be linearly independent"):
        engle_granger(values, np.arange(30.0), lags=0, trend="ct")


def test_a_series_that_follows_its_regression_exactly_is_refused() -> None:
    with pytest.raises(ValueError, match="values must not follow the test regression exactly"):
        adf_statistic(0.5 ** np.arange(20.0), lags=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_series": 0, "n_rows": 10}, "n_series must be a whole number >= 1, was 0"),
        ({"n_series": 13, "n_rows": 10}, r"n_series must be in \[1, 12\] with trend 'c', was 13"),
        ({"n_series": 2, "n_rows": 10, "trend": "n"}, r"n_series must be in \[1, 1\]"),
        ({"n_series": 2, "n_rows": 0}, "n_rows must be > 0, was 0"),
        ({"n_series": 2, "n_rows": math.nan}, "n_rows must be > 0, was nan"),
    ],
)
def test_critical_values_name_what_they_refuse(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mackinnon_critical_values(**arguments)  # type: ignore[arg-type] # wrong on purpose


def test_half_life_is_exact_and_not_its_limit() -> None:
    assert half_life(0.5, dt=3.0) == 3.0
    assert half_life(0.95) == pytest.approx(13.513407333964874, rel=1e-12)
    assert math.log(2.0) / 0.05 == pytest.approx(13.86, abs=0.01)
    assert 0.95 ** half_life(0.95) == pytest.approx(0.5, rel=1e-12)


def test_what_does_not_revert_has_an_infinite_half_life() -> None:
    assert half_life(1.0) == math.inf
    assert half_life(1.02) == math.inf
    assert mean_reversion_speed(1.0) == 0.0
    assert mean_reversion_speed(1.02) < 0.0


@pytest.mark.parametrize("phi", [0.0, -0.3, math.nan, math.inf])
def test_a_coefficient_without_a_process_in_continuous_time_is_refused(phi: float) -> None:
    with pytest.raises(ValueError, match=f"phi must be finite and > 0, was {phi}"):
        half_life(phi)
    with pytest.raises(ValueError, match=r"dt must be finite and > 0, was 0.0"):
        half_life(0.5, dt=0.0)


@pytest.mark.parametrize("dt", [1.0, 0.25])
def test_fit_finds_the_process_that_made_the_spread(dt: float) -> None:
    speed, deviation = 0.2, 0.03
    phi = math.exp(-speed * dt)
    spread = 5.0 + ornstein_uhlenbeck(10, 200_000, phi=phi, deviation=deviation)
    fit = fit_ornstein_uhlenbeck(spread, dt=dt)
    assert fit.phi == pytest.approx(phi, abs=0.005)
    assert fit.speed == pytest.approx(speed, rel=0.05)
    assert fit.half_life == pytest.approx(math.log(2.0) / speed, rel=0.05)
    assert fit.mean == pytest.approx(5.0, abs=0.001)
    assert fit.stationary_deviation == pytest.approx(deviation, rel=0.02)
    assert fit.sigma == pytest.approx(deviation * math.sqrt(2.0 * speed), rel=0.02)


def test_fit_maximises_the_likelihood_of_the_exact_transition() -> None:
    from scipy.optimize import minimize

    spread = 2.0 + ornstein_uhlenbeck(11, 300, phi=0.9, deviation=0.5)
    fit = fit_ornstein_uhlenbeck(spread, dt=0.5)

    def cost(parameters: FloatArray) -> float:
        speed, mean, sigma = np.exp(parameters[0]), parameters[1], np.exp(parameters[2])
        phi = math.exp(-speed * 0.5)
        variance = sigma**2 * (1.0 - phi**2) / (2.0 * speed)
        residuals = spread[1:] - mean - phi * (spread[:-1] - mean)
        return float(0.5 * (np.log(variance) + residuals**2 / variance).sum())

    start = np.array([math.log(0.5), 1.5, math.log(0.5)])
    found = minimize(
        cost, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-9}
    )
    assert fit.speed == pytest.approx(math.exp(found.x[0]), rel=1e-4)
    assert fit.mean == pytest.approx(found.x[1], rel=1e-4)
    assert fit.sigma == pytest.approx(math.exp(found.x[2]), rel=1e-4)


def test_a_spread_that_runs_away_reverts_to_nothing() -> None:
    fit = fit_ornstein_uhlenbeck(1.05 ** np.arange(30.0) + 1e-3 * np.cos(np.arange(30.0)))
    assert fit.phi > 1.0
    assert fit.speed < 0.0
    assert fit.half_life == math.inf
    assert math.isnan(fit.mean)
    assert fit.stationary_deviation == math.inf
    assert 0.0 < fit.sigma < 0.01


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        ([1.0, 2.0, 3.0], "spread must have more than 3 rows, had 3"),
        (np.full(9, 0.1), "spread must not be constant, was 0.1 in every row"),
        ([0.1, 0.1, 0.1, 0.1, 0.2], "spread before its last value must not be constant"),
        ([0.1, math.nan, 0.2, 0.3, 0.2], "spread must be finite, was nan at row 1"),
        ([1.0, -1.0] * 9, "phi must be finite and > 0"),
    ],
)
def test_fit_names_what_it_refuses(spread: FloatArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_ornstein_uhlenbeck(spread)
