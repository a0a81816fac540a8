"""Inference on the Sharpe ratio: coverage, record length, and errors that hold when returns depend on each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.finance import performance, sharpe
from quantcore.types import FloatArray


def autoregression(n: int, slope: float, rng: np.random.Generator) -> FloatArray:
    """A stationary series of mean 0 and variance 1."""
    values = rng.standard_normal(n)
    values[1:] *= math.sqrt(1 - slope**2)
    for t in range(1, n):
        values[t] += slope * values[t - 1]
    return values


def test_the_interval_holds_the_ratio_and_narrows_with_more_returns(
    rng: np.random.Generator,
) -> None:
    returns = rng.normal(0.001, 0.01, 2000)
    widths = []
    for n in (200, 2000):
        low, high = sharpe.sharpe_interval(returns[:n], periods_per_year=365, confidence=0.95)
        assert low < performance.sharpe(returns[:n], periods_per_year=365) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2.5


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says(
    rng: np.random.Generator,
) -> None:
    true = 0.1
    inside = 0
    for _ in range(400):
        returns = rng.normal(true * 0.01, 0.01, 365)
        low, high = sharpe.sharpe_interval(returns, periods_per_year=1, confidence=0.9)
        inside += low <= true <= high
    assert 0.86 < inside / 400 < 0.94


def test_the_probability_and_the_record_length_agree() -> None:
    record = sharpe.min_track_record(0.1, skew=-0.5, kurtosis=5.0, benchmark=0.0, confidence=0.95)
    psr = sharpe.probabilistic_sharpe(
        0.1, math.ceil(record), skew=-0.5, kurtosis=5.0, benchmark=0.0
    )
    assert 0.95 <= psr < 0.951


def test_a_ratio_below_the_benchmark_is_never_long_enough() -> None:
    length = sharpe.min_track_record(-0.1, skew=0.0, kurtosis=3.0, benchmark=0.0, confidence=0.95)
    assert length == math.inf


def test_the_autocorrelations_are_those_of_statsmodels(rng: np.random.Generator) -> None:
    from statsmodels.tsa.stattools import acf

    returns = autoregression(150, 0.4, rng)
    found = sharpe.autocorrelations(np.insert(returns, 30, np.nan), n_lags=149)
    np.testing.assert_allclose(found, acf(returns, nlags=149, fft=False)[1:], atol=1e-12)
    assert sharpe.autocorrelations(returns, n_lags=0).size == 0


@pytest.mark.parametrize("bandwidth", [0.3, 2.5, 40.0])
def test_the_quadratic_spectral_weights_are_those_of_arch(
    rng: np.random.Generator, bandwidth: float
) -> None:
    from arch.covariance.kernel import QuadraticSpectral

    values = autoregression(200, 0.3, rng)
    centred = values - values.mean()
    covariances = sharpe.autocovariances(centred, 199)
    weights = sharpe._quadratic_spectral(200, bandwidth)
    theirs = QuadraticSpectral(values, bandwidth=bandwidth).cov.long_run[0, 0]
    assert covariances[0] + 2 * weights @ covariances[1:] == pytest.approx(theirs, rel=1e-10)


def test_the_bandwidth_is_that_of_arch_without_whitening(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first slope put to zero only Andrews' estimator is left, whose bandwidth is 1.3221 (alpha n)^(1/5)."""
    from arch.covariance.kernel import QuadraticSpectral

    values = autoregression(300, 0.5, rng)
    centred = values - values.mean()
    slope = float(centred[2:] @ centred[1:-1]) / float(centred[1:-1] @ centred[1:-1])
    bandwidth = 1.3221 * (4 * slope**2 / (1 - slope) ** 4 * 300) ** 0.2
    slopes = iter([0.0, slope])
    monkeypatch.setattr(sharpe, "_slope", lambda _: next(slopes))
    theirs = QuadraticSpectral(centred[1:], bandwidth=bandwidth, center=False).cov.long_run[0, 0]
    assert sharpe.long_run_variance(values) == pytest.approx(theirs * 299 / 300, rel=1e-10)


@pytest.mark.parametrize("slope", [-0.6, 0.0, 0.3, 0.8])
def test_the_long_run_variance_of_an_autoregression_is_found(slope: float) -> None:
    generator = np.random.default_rng(2)
    found = [sharpe.long_run_variance(autoregression(4000, slope, generator)) for _ in range(20)]
    assert np.mean(found) == pytest.approx((1 + slope) / (1 - slope), rel=0.06)


@pytest.mark.parametrize("slope", [-0.3, 0.0, 0.5])
def test_the_robust_error_is_the_spread_of_the_ratio_over_records(slope: float) -> None:
    generator = np.random.default_rng(3)
    records = [0.15 + autoregression(500, slope, generator) for _ in range(800)]
    ratios = [performance.sharpe(each, periods_per_year=1.0) for each in records]
    errors = [sharpe.robust_sharpe_error(each) for each in records[:200]]
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.1)


def test_of_independent_returns_the_robust_error_is_that_of_the_moments() -> None:
    returns = np.random.default_rng(4).gamma(2.0, 0.01, 4000) - 0.01
    plain = sharpe.sharpe_standard_error(
        performance.sharpe(returns, periods_per_year=1.0),
        4000,
        skew=performance.skewness(returns),
        kurtosis=performance.raw_kurtosis(returns),
    )
    assert sharpe.robust_sharpe_error(returns) == pytest.approx(plain, rel=0.05)


@given(seed=st.integers(0, 2**32), n=st.integers(4, 60), scale=st.floats(1e-4, 1e4))
def test_the_robust_error_is_positive_and_the_same_at_any_leverage(
    seed: int, n: int, scale: float
) -> None:
    returns = np.random.default_rng(seed).standard_t(4, n)
    error = sharpe.robust_sharpe_error(returns)
    assert error > 0.0
    assert sharpe.robust_sharpe_error(-scale * returns) == pytest.approx(error, rel=1e-6)


def test_a_trend_in_the_returns_lowers_the_annual_ratio(rng: np.random.Generator) -> None:
    returns = 0.1 + autoregression(20_000, 0.3, rng)
    plain, found = (
        sharpe.autocorrelated_sharpe(returns, periods_per_year=365, n_lags=lags) for lags in (0, 8)
    )
    assert plain == pytest.approx(performance.sharpe(returns, periods_per_year=365))
    # Over many periods the sum's variance grows by (1 + rho) / (1 - rho).
    assert found / plain == pytest.approx(math.sqrt(0.7 / 1.3), rel=0.04)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (np.full(9, np.nan), "returns must hold >= 4 values other than NaN, held 0"),
        (np.array([0.1]), "returns must hold >= 4 values other than NaN, held 1"),
        (np.full(9, 0.1), "returns must vary, were all 0.1"),
        (np.array([0.1, 0.2, -np.inf, 0.1]), "returns must be finite, held -inf"),
        (np.zeros((4, 4)), r"returns must be one-dimensional, had shape \(4, 4\)"),
    ],
)
def test_returns_without_a_ratio_are_refused(returns: FloatArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sharpe.robust_sharpe_error(returns)
    with pytest.raises(ValueError, match=message):
        sharpe.long_run_variance(returns)


@pytest.mark.parametrize("n_lags", [-1, 3])
def test_lags_beyond_the_record_are_refused(n_lags: int) -> None:
    message = rf"n_lags must be in \[0, 2\], was {n_lags}"
    with pytest.raises(ValueError, match=message):
        sharpe.autocorrelations([0.1, 0.2, 0.4], n_lags=n_lags)
    with pytest.raises(ValueError, match="periods must be >= 1, was 0"):
        sharpe.autocorrelated_sharpe([0.1, 0.2, 0.4], periods_per_year=0, n_lags=1)
