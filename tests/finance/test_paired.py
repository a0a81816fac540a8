"""Differences between records: against the source's own algorithm, by hand, and how often the interval is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.finance import paired, performance
from quantcore.types import FloatArray


def records(
    n: int, rng: np.random.Generator, *, slope: float = 0.0, correlation: float = 0.5
) -> FloatArray:
    """Two stationary series of mean 0 and variance 1 that share a part of their noise."""
    shocks = rng.standard_normal((n + 50, 3))
    common, own = math.sqrt(correlation), math.sqrt(1.0 - correlation)
    series = common * shocks[:, :1] + own * shocks[:, 1:]
    for t in range(1, len(series)):
        series[t] = slope * series[t - 1] + math.sqrt(1.0 - slope**2) * series[t]
    return series[50:]


def compared(returns: FloatArray, seed: int = 0, **changed: Any) -> paired.Difference:
    settings = {"periods_per_year": 1.0, "confidence": 0.95, "n_paths": 500, "mean_block": None}
    rng = np.random.default_rng(seed)
    (found,) = paired.sharpe_differences(returns, pairs=[(0, 1)], rng=rng, **(settings | changed))
    return found


# --- against the source ---------------------------------------------------------------------------


def parzen_long_run(moments: FloatArray) -> FloatArray:
    """The long-run covariance of Ledoit and Wolf's published program, after Andrews (1991) with Parzen's kernel."""
    n = len(moments)
    above, below = 0.0, 0.0
    for column in moments.T:
        design = np.column_stack([np.ones(n - 1), column[:-1]])
        (_, slope), *_ = np.linalg.lstsq(design, column[1:], rcond=None)
        rest = column[1:] - design @ np.linalg.lstsq(design, column[1:], rcond=None)[0]
        variance = float(rest @ rest) / (n - 1)
        above += 4.0 * slope**2 * variance**2 / (1.0 - slope) ** 8
        below += variance**2 / (1.0 - slope) ** 4
    bandwidth = min(2.6614 * (above / below * n) ** 0.2, n - 1)
    total = moments.T @ moments / n
    lag = 1
    while lag < bandwidth:
        x = lag / bandwidth
        weight = 1.0 - 6.0 * x**2 + 6.0 * x**3 if x <= 0.5 else 2.0 * (1.0 - x) ** 3
        covariance = moments[lag:].T @ moments[:-lag] / n
        total = total + weight * (covariance + covariance.T)
        lag += 1
    return np.asarray(total * n / (n - 4))


def ledoit_wolf_error(returns: FloatArray) -> float:
    """Their standard error with whitened moments.

    On the hedge funds of the paper's section 5 these lines give 0.3872694, as the authors' own program in R does.
    """
    n, means, squares = len(returns), returns.mean(axis=0), (returns**2).mean(axis=0)
    cubed = (squares - means**2) ** 1.5
    gradient = np.array([squares[0], -squares[1], -0.5 * means[0], 0.5 * means[1]])
    gradient = gradient / np.array([cubed[0], cubed[1], cubed[0], cubed[1]])
    moments = np.column_stack([returns - means, returns**2 - squares])
    whitening = np.linalg.lstsq(moments[:-1], moments[1:], rcond=None)[0].T
    left, sizes, right = np.linalg.svd(whitening)
    whitening = left @ np.diag(np.clip(sizes, -0.97, 0.97)) @ right
    coloured = np.linalg.inv(np.eye(4) - whitening)
    rest = moments[1:] - moments[:-1] @ whitening.T
    covariance = coloured @ parzen_long_run(rest) @ coloured.T
    return math.sqrt(float(gradient @ covariance @ gradient) / n)


@pytest.mark.parametrize("slope", [0.0, 0.2, -0.3, 0.5])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_the_error_is_that_of_ledoit_and_wolf_s_program(slope: float, correlation: float) -> None:
    rng = np.random.default_rng(21)
    ratios = []
    for _ in range(8):
        returns = records(1500, rng, slope=slope, correlation=correlation) + np.array([0.10, 0.04])
        ours = paired.sharpe_difference_error(returns[:, 0], returns[:, 1])
        ratios.append(ours / ledoit_wolf_error(returns))
    # Two kernels and two ways of whitening estimate the same number.
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.07)
    assert max(ratios) < 1.3
    assert min(ratios) > 0.75


def test_the_error_of_independent_normal_returns_is_jobson_and_korkie_s() -> None:
    rng, correlation, first, second = np.random.default_rng(4), 0.6, 0.10, 0.05
    errors = []
    for _ in range(20):
        returns = records(2000, rng, correlation=correlation) + np.array([first, second])
        errors.append(paired.sharpe_difference_error(returns[:, 0], returns[:, 1]))
    # Jobson and Korkie (1981) as corrected by Memmel (2003), eq. 3, at the true moments.
    variance = 2.0 - 2.0 * correlation
    variance += 0.5 * (first**2 + second**2 - 2.0 * first * second * correlation**2)
    assert np.mean(errors) == pytest.approx(math.sqrt(variance / 2000), rel=0.03)


# --- by hand --------------------------------------------------------------------------------------


def test_the_estimate_is_the_difference_of_the_ratios(rng: np.random.Generator) -> None:
    returns = 0.01 * records(200, rng) + np.array([0.001, 0.0])
    found = compared(returns, periods_per_year=365.0)
    ratios = [performance.sharpe(column, periods_per_year=365.0) for column in returns.T]
    assert found.estimate == pytest.approx(ratios[0] - ratios[1], rel=1e-12)
    assert found.low < found.estimate < found.high
    assert found.high - found.estimate == pytest.approx(found.estimate - found.low, rel=1e-9)
    error = paired.sharpe_difference_error(returns[:, 0], returns[:, 1])
    assert found.error == pytest.approx(error * math.sqrt(365.0), rel=1e-12)


def test_the_interval_is_that_of_series_resampled_by_hand(rng: np.random.Generator) -> None:
    from quantcore.finance.bootstrap import stationary_indices

    returns = records(60, rng, slope=0.3) + np.array([0.2, 0.0])
    found = compared(returns, seed=9, mean_block=4.0, n_paths=300)
    rows = stationary_indices(60, n_paths=300, mean_block=4.0, rng=np.random.default_rng(9))
    estimate, error = found.estimate, found.error
    distances = []
    for path in rows:
        sample = returns[path]
        ratios = [performance.sharpe(column, periods_per_year=1.0) for column in sample.T]
        z = (sample - sample.mean(axis=0)) / sample.std(axis=0)
        influence = z - np.array(ratios) / 2.0 * (z * z - 1.0)
        apart, total, within = influence[:, 0] - influence[:, 1], 0.0, 0.0
        for t in range(60):
            if t and path[t] != (path[t - 1] + 1) % 60:
                total, within = total + within**2, 0.0
            within += apart[t]
        spread = math.sqrt(total + within**2) / 60
        distances.append(abs(ratios[0] - ratios[1] - estimate) / spread)
    half = float(np.quantile(distances, 0.95)) * error
    assert found.high == pytest.approx(estimate + half, rel=1e-9)
    assert found.low == pytest.approx(estimate - half, rel=1e-9)
    beyond = sum(d >= abs(estimate) / error for d in distances)
    assert found.p_value == pytest.approx((1 + beyond) / 301, rel=1e-12)


def test_shared_noise_narrows_the_interval_and_rows_are_resampled_together() -> None:
    alone = compared(records(500, np.random.default_rng(1), correlation=0.0))
    together = compared(records(500, np.random.default_rng(1), correlation=0.99))
    # The variance of a difference of two series with correlation c is proportional to 1 - c.
    assert together.error / alone.error == pytest.approx(math.sqrt(0.01), rel=0.15)
    assert (together.high - together.low) / (alone.high - alone.low) < 0.15


def test_the_mean_of_the_differences_has_the_error_of_one_series(rng: np.random.Generator) -> None:
    from quantcore.finance.sharpe import long_run_variance

    returns = 0.01 * records(300, rng, slope=0.2) + np.array([0.0006, 0.0])
    (found,) = paired.mean_differences(
        returns, pairs=[(0, 1)], periods_per_year=365.0, confidence=0.9, n_paths=2000,
        mean_block=2.0, rng=rng,
    )  # fmt: skip
    apart = returns[:, 0] - returns[:, 1]
    error = 365.0 * math.sqrt(long_run_variance(apart) / 300)
    assert found.estimate == pytest.approx(365.0 * apart.mean(), rel=1e-9)
    assert found.error == pytest.approx(error, rel=1e-9)
    assert (found.high - found.low) / (2 * 1.645 * error) == pytest.approx(1.0, abs=0.1)


def test_twice_the_leverage_is_twice_the_volatility_and_no_difference_of_ratios(
    rng: np.random.Generator,
) -> None:
    single = 0.01 * records(300, rng)[:, 0] + 0.001
    both = np.column_stack([2.0 * single, single])
    (found,) = paired.log_volatility_differences(
        both, pairs=[(0, 1)], confidence=0.95, n_paths=100, mean_block=None, rng=rng
    )
    assert found.estimate == pytest.approx(math.log(2.0))
    # It is no estimate: nothing can make it other than two.
    assert (found.error, found.p_value) == (0.0, 1.0)
    same = compared(both)
    assert same.estimate == pytest.approx(0.0, abs=1e-12)
    assert (same.low, same.high, same.p_value) == (same.estimate, same.estimate, 1.0)


def test_a_record_against_itself_does_not_differ(rng: np.random.Generator) -> None:
    single = rng.normal(0.0, 0.01, 100)
    found = compared(np.column_stack([single, single]))
    assert (found.estimate, found.low, found.high, found.error, found.p_value) == (0, 0, 0, 0, 1)


@given(
    seed=st.integers(0, 2**32),
    scale=st.floats(1e-3, 1e3),
    correlation=st.floats(0.0, 0.95),
)
def test_leverage_changes_nothing_and_the_other_way_round_is_the_mirror(
    seed: int, scale: float, correlation: float
) -> None:
    returns = records(60, np.random.default_rng(seed), correlation=correlation)
    found = compared(returns, mean_block=3.0, n_paths=50)
    levered = compared(returns * [scale, 1.0], mean_block=3.0, n_paths=50)
    mirrored = compared(returns[:, ::-1], mean_block=3.0, n_paths=50)
    for name in ("estimate", "low", "high", "error", "p_value"):
        assert getattr(levered, name) == pytest.approx(getattr(found, name), rel=1e-6, abs=1e-9)
    assert mirrored.low == pytest.approx(-found.high, rel=1e-9, abs=1e-12)
    assert mirrored.p_value == found.p_value


def test_several_pairs_are_what_each_is_alone(rng: np.random.Generator) -> None:
    returns = np.column_stack([records(150, rng), records(150, rng)])
    settings: dict[str, Any] = {
        "periods_per_year": 365.0, "confidence": 0.95, "n_paths": 200, "mean_block": 5.0,
    }  # fmt: skip
    pairs = [(0, 1), (2, 0), (3, 1)]
    together = paired.sharpe_differences(
        returns, pairs=pairs, rng=np.random.default_rng(3), **settings
    )
    for pair, found in zip(pairs, together, strict=True):
        (alone,) = paired.sharpe_differences(
            returns, pairs=[pair], rng=np.random.default_rng(3), **settings
        )
        assert alone == found


def test_long_records_are_resampled_in_parts_that_join(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = records(100, np.random.default_rng(2))
    whole = compared(returns, mean_block=4.0, n_paths=60)
    monkeypatch.setattr(paired, "_CHUNK", 700)
    assert compared(returns, mean_block=4.0, n_paths=60) == whole


def test_a_series_that_is_one_block_or_does_not_vary_does_no_harm() -> None:
    rng = np.random.default_rng(6)
    sleeping = np.zeros((40, 2))
    sleeping[5:8] = rng.normal(0.0, 0.01, (3, 2))
    for block in (1.0, 40.0):
        found = compared(sleeping, mean_block=block, n_paths=400)
        assert math.isfinite(found.low)
        assert 0.0 < found.p_value <= 1.0


# --- how often it is right ------------------------------------------------------------------------


def coverage(n_records: int, n: int, slope: float, correlation: float, seed: int) -> float:
    """Share of pairs of records whose interval of 95 % holds the true difference of ratios."""
    rng, inside, means = np.random.default_rng(seed), 0, np.array([0.10, 0.05])
    for _ in range(n_records):
        returns = records(n, rng, slope=slope, correlation=correlation) + means
        found = compared(returns * [0.01, 0.02], seed=int(rng.integers(2**32)), n_paths=300)
        inside += found.low <= 0.05 <= found.high
    return inside / n_records


def test_the_interval_holds_the_true_difference_of_autocorrelated_pairs() -> None:
    held = coverage(250, 250, slope=0.3, correlation=0.6, seed=3)
    assert held == pytest.approx(0.95, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "slope", "correlation"),
    [(365, 0.0, 0.5), (365, 0.2, 0.9), (365, 0.5, 0.5), (730, -0.2, 0.8), (120, 0.2, 0.5)],
)
def test_the_interval_covers_as_often_as_it_says(n: int, slope: float, correlation: float) -> None:
    # Two standard errors of a share of 1,500 are 1.1 points.
    assert coverage(1500, n, slope, correlation, seed=11) == pytest.approx(0.95, abs=0.016)


def test_a_true_difference_is_found_and_none_is_seldom_found() -> None:
    rng, found, wrong = np.random.default_rng(12), 0, 0
    for _ in range(100):
        returns = records(365, rng, correlation=0.9)
        found += compared(returns + np.array([0.20, 0.05]), n_paths=100).p_value <= 0.05
        wrong += compared(returns, n_paths=100).p_value <= 0.05
    assert found > 95
    assert wrong <= 10


# --- many comparisons -----------------------------------------------------------------------------


def test_the_adjusted_p_values_are_those_of_statsmodels(rng: np.random.Generator) -> None:
    from statsmodels.stats.multitest import multipletests

    for m in (1, 2, 5, 20):
        p = rng.beta(0.5, 1.0, m)
        theirs = multipletests(p, method="holm")[1]
        np.testing.assert_allclose(paired.holm(p), theirs, rtol=1e-12)


def test_what_was_not_tested_does_not_count() -> None:
    adjusted = paired.holm([0.04, math.nan, 0.01])
    np.testing.assert_allclose(adjusted, [0.04, math.nan, 0.02])
    assert paired.holm([]).shape == (0,)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"periods_per_year": 0.0}, "periods_per_year must be > 0, was 0.0"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), was 1.0"),
        ({"n_paths": 19}, r"n_paths must be >= 1 / \(1 - confidence\), was 19"),
        ({"mean_block": 0.5}, r"mean_block must be in \[1, 40\], was 0.5"),
    ],
)
def test_arguments_out_of_range_are_refused(
    rng: np.random.Generator, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compared(rng.normal(size=(40, 2)), **changed)


def test_pairs_and_records_that_cannot_be_compared_are_refused(rng: np.random.Generator) -> None:
    returns = rng.normal(size=(40, 2))
    settings: dict[str, Any] = {
        "periods_per_year": 1.0, "confidence": 0.9, "n_paths": 50, "mean_block": None, "rng": rng,
    }  # fmt: skip
    for pair in ((0, 2), (1, 1), (-1, 0)):
        with pytest.raises(ValueError, match="pairs must be two different columns of 2"):
            paired.sharpe_differences(returns, pairs=[pair], **settings)
    with pytest.raises(ValueError, match="must not be NaN"):
        paired.sharpe_differences(
            np.where(returns == returns[3, 1], np.nan, returns), pairs=[(0, 1)], **settings
        )
    with pytest.raises(ValueError, match=">= 11 values"):
        compared(returns[:10])
    with pytest.raises(ValueError, match=r"base must have the shape of returns \(40,\)"):
        paired.sharpe_difference_error(returns[:, 0], returns[:-1, 1])
    with pytest.raises(ValueError, match=r"p_values must be in \[0, 1\]"):
        paired.holm([0.5, 1.2])
