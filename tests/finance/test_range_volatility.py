"""Range estimators on simulated Brownian bars and against slow formulas; HAR against statsmodels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.finance.range_volatility import (
    EFFICIENCY,
    fit_har,
    garman_klass,
    parkinson,
    rogers_satchell,
    yang_zhang,
    yang_zhang_weight,
)
from quantcore.types import FloatArray

Prices = tuple[FloatArray, FloatArray, FloatArray, FloatArray]
STEPS = 1500
SIGMA = 0.02


def brownian(seed: int, n: int, *, drift: float = 0.0, overnight: float = 0.0) -> Prices:
    """Open, high, low, close of bars of a geometric Brownian motion, with jumps between bars."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(drift / STEPS, SIGMA / math.sqrt(STEPS), (n, STEPS))
    within = np.cumsum(steps, axis=1)
    jumps = rng.normal(0.0, overnight, n) if overnight else np.zeros(n)
    opens = np.cumsum(np.r_[0.0, within[:-1, -1]] + jumps)
    path = opens[:, None] + np.column_stack([np.zeros(n), within])
    return tuple(100.0 * np.exp(x) for x in (opens, path.max(1), path.min(1), path[:, -1]))


def walk(seed: int, n: int = 60, n_symbols: int = 3) -> Prices:
    """Bars of any shape, with gaps between them."""
    rng = np.random.default_rng(seed)
    shape = (n, n_symbols)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, shape), axis=0))
    opens = closes * np.exp(rng.normal(0.0, 0.01, shape))
    highs = np.maximum(opens, closes) * np.exp(rng.exponential(0.005, shape))
    lows = np.minimum(opens, closes) * np.exp(-rng.exponential(0.005, shape))
    return opens, highs, lows, closes


def parkinson_of(o: FloatArray, h: FloatArray, low: FloatArray, c: FloatArray, **kw: Any) -> Any:
    return parkinson(h, low, **kw)


ESTIMATORS: dict[str, Callable[..., Any]] = {
    "parkinson": parkinson_of,
    "garman_klass": garman_klass,
    "rogers_satchell": rogers_satchell,
    "yang_zhang": yang_zhang,
}
BARS = brownian(1, 4000)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_brownian_bars_give_their_variance_a_little_low(name: str) -> None:
    """Highs and lows of a sampled path lie inside those of the continuous one: about 2 % at 1,500 steps."""
    ratio = ESTIMATORS[name](*BARS) / SIGMA**2
    assert 0.93 < ratio < 1.01


@pytest.mark.parametrize(
    ("name", "expected"),
    [("parkinson", 4.9), ("garman_klass", 7.4), ("rogers_satchell", EFFICIENCY["rogers_satchell"])],
)
def test_efficiencies_are_those_published(name: str, expected: float) -> None:
    opens, _, _, closes = BARS
    squares = np.log(closes / opens) ** 2
    terms = ESTIMATORS[name](*BARS, window=1)
    spread = [np.var(x) / np.mean(x) ** 2 for x in (squares, terms)]
    assert spread[0] / spread[1] == pytest.approx(expected, rel=0.12)
    assert EFFICIENCY[name] == pytest.approx(expected, rel=0.07)


def test_parkinsons_exact_efficiency_is_below_the_figure_he_gives() -> None:
    zeta3 = 1.2020569031595943
    exact = 2.0 / (9.0 * zeta3 / (16.0 * math.log(2.0) ** 2) - 1.0)
    assert exact == pytest.approx(4.9, abs=0.02)


def test_yang_zhang_is_more_efficient_than_closes_where_jumps_are_few() -> None:
    bars = brownian(2, 4000, overnight=0.005)
    closes = bars[3]
    whole = np.array([yang_zhang(*(x[k : k + 11] for x in bars)) for k in range(0, 3989, 11)])
    returns = np.log(closes[1:] / closes[:-1])
    squares = np.array([returns[k : k + 10].var(ddof=1) for k in range(0, 3989, 11)])
    spread = [np.var(x) / np.mean(x) ** 2 for x in (squares, whole)]
    assert 5.0 < spread[0] / spread[1] <= EFFICIENCY["yang_zhang_max"]


def test_drift_biases_parkinson_and_neither_of_the_later_two() -> None:
    bars = brownian(3, 3000, drift=SIGMA)
    assert parkinson_of(*bars) > 1.2 * SIGMA**2
    assert 0.93 < rogers_satchell(*bars) / SIGMA**2 < 1.02
    assert 0.93 < yang_zhang(*bars) / SIGMA**2 < 1.02


def test_only_yang_zhang_sees_the_move_between_bars() -> None:
    bars = brownian(4, 3000, overnight=SIGMA)
    assert yang_zhang(*bars) == pytest.approx(2.0 * SIGMA**2, rel=0.06)
    for name in ("parkinson", "garman_klass", "rogers_satchell"):
        assert ESTIMATORS[name](*bars) == pytest.approx(SIGMA**2, rel=0.07)


def slow(name: str, o: FloatArray, h: FloatArray, low: FloatArray, c: FloatArray) -> float:
    """The papers' formulas, bar by bar."""
    terms, overnight, within = [], [], []
    for t in range(len(o)):
        u, d, m = (math.log(x / o[t]) for x in (h[t], low[t], c[t]))
        terms.append(
            {
                "parkinson": (u - d) ** 2 / (4.0 * math.log(2.0)),
                "garman_klass": 0.5 * (u - d) ** 2 - (2.0 * math.log(2.0) - 1.0) * m**2,
                "rogers_satchell": u * (u - m) + d * (d - m),
                "yang_zhang": u * (u - m) + d * (d - m),
            }[name]
        )
        overnight.append(math.log(o[t] / c[t - 1]) if t else math.nan)
        within.append(m)
    if name != "yang_zhang":
        return sum(terms) / len(terms)
    n = len(o) - 1
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    first, second = (float(np.var(x[1:], ddof=1)) for x in (overnight, within))
    return first + k * second + (1.0 - k) * sum(terms[1:]) / n


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_are_the_papers_formulas(name: str) -> None:
    bars = walk(5)
    found = ESTIMATORS[name](*bars)
    assert found.shape == (3,)
    for i in range(3):
        column = [x[:, i] for x in bars]
        assert found[i] == pytest.approx(slow(name, *column), rel=1e-10)
        assert ESTIMATORS[name](*column) == pytest.approx(found[i], rel=1e-13)
        assert isinstance(ESTIMATORS[name](*column), float)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_rolling_estimates_are_those_of_their_windows(name: str) -> None:
    bars = walk(6, n=30)
    window = 7
    rolling = ESTIMATORS[name](*bars, window=window)
    reach = window + (name == "yang_zhang")
    assert np.isnan(rolling[: reach - 1]).all()
    for t in range(reach - 1, 30):
        expected = ESTIMATORS[name](*(x[t + 1 - reach : t + 1] for x in bars))
        np.testing.assert_allclose(rolling[t], expected, rtol=1e-9)
    np.testing.assert_array_equal(
        ESTIMATORS[name](*(x[:, 0] for x in bars), window=7), rolling[:, 0]
    )


@given(cut=st.integers(1, 40), name=st.sampled_from(list(ESTIMATORS)))
def test_rolling_estimates_are_causal(cut: int, name: str) -> None:
    bars = walk(7, n=40)
    bars[1][:10, 2] = np.nan
    whole = ESTIMATORS[name](*bars, window=5)
    part = ESTIMATORS[name](*(x[:cut] for x in bars), window=5)
    np.testing.assert_array_equal(whole[:cut], part)


@given(scale=st.floats(1e-6, 1e6), name=st.sampled_from(list(ESTIMATORS)), seed=st.integers(0, 50))
def test_the_price_level_does_not_matter_and_symbols_do_not_mix(
    scale: float, name: str, seed: int
) -> None:
    bars = walk(seed, n=12)
    found = ESTIMATORS[name](*bars)
    np.testing.assert_allclose(ESTIMATORS[name](*(x * scale for x in bars)), found, rtol=1e-6)
    order = [2, 0, 1]
    permuted = ESTIMATORS[name](*(x[:, order] for x in bars))
    np.testing.assert_allclose(permuted, found[order], rtol=1e-12)
    if name != "garman_klass":
        assert (found >= 0.0).all()


@pytest.mark.parametrize("name", ["parkinson", "garman_klass", "rogers_satchell"])
def test_an_unknown_bar_does_not_count(name: str) -> None:
    opens, highs, lows, closes = walk(8)
    highs[10] = np.nan
    rest = [np.delete(x, 10, axis=0) for x in (opens, highs, lows, closes)]
    found = ESTIMATORS[name](opens, highs, lows, closes)
    np.testing.assert_allclose(found, ESTIMATORS[name](*rest), rtol=1e-12)


def test_after_an_unknown_bar_yang_zhang_has_no_overnight_move() -> None:
    bars = tuple(x[:, 0] for x in walk(9, n=20))
    for x in bars:
        x[10] = np.nan
    counted = [t for t in range(1, 20) if t not in (10, 11)]
    o, h, low, c = (np.log(x) for x in bars)
    k = yang_zhang_weight(len(counted))
    terms = (h - o) * (h - c) + (low - o) * (low - c)
    expected = (
        np.var([o[t] - c[t - 1] for t in counted], ddof=1)
        + k * np.var((c - o)[counted], ddof=1)
        + (1.0 - k) * terms[counted].mean()
    )
    assert yang_zhang(*bars) == pytest.approx(expected, rel=1e-12)


def test_a_symbol_without_bars_is_refused_but_only_empty_when_rolling() -> None:
    bars = walk(10)
    bars[0][:, 1] = np.nan
    with pytest.raises(ValueError, match="prices must hold a whole bar, column 1 held none"):
        garman_klass(*bars)
    with pytest.raises(ValueError, match="bars that count must be >= 2, were 0"):
        yang_zhang(*bars)
    assert np.isnan(garman_klass(*bars, window=3)[:, 1]).all()  # type: ignore[index] # an array


def test_prices_that_do_not_move_have_no_variance() -> None:
    flat = np.full(10, 50.0)
    for name, estimate in ESTIMATORS.items():
        assert estimate(flat, flat, flat, flat) == 0.0, name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"high": 90.0}, r"opens must not be above the high, was 100\.0 at \(0,\)"),
        ({"low": 100.5}, r"opens must not be below the low, was 100\.0 at \(0,\)"),
        ({"open": -1.0}, r"opens must be finite and > 0, was -1\.0 at \(0,\)"),
        ({"close": math.inf}, r"closes must be finite and > 0, was inf at \(0,\)"),
    ],
)
def test_prices_out_of_order_are_refused(change: dict[str, float], message: str) -> None:
    prices = {"open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0} | change
    with pytest.raises(ValueError, match=message):
        garman_klass(*([x, 100.0] for x in prices.values()))


def test_shapes_and_windows_are_checked() -> None:
    with pytest.raises(ValueError, match="window must be >= 1, was 0"):
        parkinson([101.0] * 3, [99.0] * 3, window=0)
    with pytest.raises(ValueError, match=r"lows must have the shape \(2,\), was \(3,\)"):
        parkinson([101.0] * 2, [99.0] * 3)
    with pytest.raises(ValueError, match=r"prices must have one or two dimensions, had shape \(\)"):
        parkinson(101.0, 99.0)
    with pytest.raises(ValueError, match="bars that count must be >= 2, were 1"):
        yang_zhang(*walk(1), window=1)
    with pytest.raises(ValueError, match="prices must hold a whole bar, column 0 held none"):
        parkinson([], [])


def autoregressive(seed: int, n: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    values = np.full(n, 1.0)
    for t in range(1, n):
        values[t] = 0.3 + 0.7 * values[t - 1] + 0.05 * rng.standard_normal()
    return values


@pytest.mark.parametrize("lags", [(1, 5, 22), (1, 7, 30), (2,)])
def test_har_is_statsmodels_least_squares(lags: tuple[int, ...]) -> None:
    import statsmodels.api as sm

    values = autoregressive(1, 300) * 1e-4
    rows = range(max(lags), 300)
    design = np.array([[values[t - lag : t].mean() for lag in lags] for t in rows])
    theirs = sm.OLS(values[max(lags) :], sm.add_constant(design)).fit()
    ours = fit_har(values, lags=lags)
    np.testing.assert_allclose([ours.constant, *ours.coefficients], theirs.params, rtol=1e-6)
    np.testing.assert_allclose(ours.standard_errors, theirs.bse, rtol=1e-6)
    assert ours.r_squared == pytest.approx(theirs.rsquared, rel=1e-8)
    assert ours.n_rows == theirs.nobs
    last = [1.0, *(values[-lag:].mean() for lag in lags)]
    assert ours.forecast(values, horizon=1)[0] == pytest.approx(float(theirs.params @ last))


def test_har_forecasts_feed_on_themselves_and_tend_to_the_mean() -> None:
    values = autoregressive(2, 2000)
    fit = fit_har(values, lags=(1, 5, 22))
    path = fit.forecast(values, horizon=500)
    again = fit.forecast(np.r_[values, path[:3]], horizon=1)[0]
    assert again == pytest.approx(path[3], rel=1e-12)
    mean = fit.constant / (1.0 - fit.coefficients.sum())
    assert path[-1] == pytest.approx(mean, rel=1e-9)
    assert mean == pytest.approx(values.mean(), rel=0.03)


@given(scale=st.floats(1e-10, 1e4))
def test_har_follows_the_unit(scale: float) -> None:
    values = autoregressive(3, 120)
    one, other = fit_har(values, lags=(1, 5)), fit_har(values * scale, lags=(1, 5))
    np.testing.assert_allclose(other.coefficients, one.coefficients, rtol=1e-8)
    assert other.constant == pytest.approx(one.constant * scale, rel=1e-8)


def test_har_leaves_out_rows_that_touch_a_hole() -> None:
    values = autoregressive(4, 200)
    values[100] = np.nan
    fit = fit_har(values, lags=(1, 5))
    assert fit.n_rows == 200 - 5 - 6
    assert np.isfinite(fit.forecast(values, horizon=2)).all()


@pytest.mark.parametrize(
    ("values", "lags", "message"),
    [
        (np.full(60, 0.5), (1, 5), "variances must not make the lags collinear, rank was 1"),
        (np.zeros(60), (1, 5), "variances must not make the lags collinear"),
        (autoregressive(5, 7), (1, 5), "variances must give more than 3 rows .* gave 2"),
        (np.full(60, np.nan), (1, 5), "variances must give more than 3 rows .* gave 0"),
        ([0.5], (1,), "variances must give more than 2 rows .* gave 0"),
        ([], (1,), "variances must give more than 2 rows .* gave 0"),
        (np.r_[autoregressive(5, 60), -0.1], (1,), r"finite and >= 0, was -0\.1 at row 60"),
        (np.r_[autoregressive(5, 60), np.inf], (1,), "finite and >= 0, was inf at row 60"),
        (np.ones((5, 2)), (1,), r"variances must have one dimension, had shape \(5, 2\)"),
        (autoregressive(5, 60), (5, 1), r"lags must be increasing and >= 1, were \(5, 1\)"),
        (autoregressive(5, 60), (0, 5), r"lags must be increasing and >= 1, were \(0, 5\)"),
        (autoregressive(5, 60), (), r"lags must be increasing and >= 1, were \(\)"),
    ],
)
def test_har_refuses(values: Any, lags: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_har(values, lags=lags)


def test_har_forecast_refuses_what_it_cannot_know() -> None:
    values = autoregressive(6, 100)
    fit = fit_har(values, lags=(1, 5))
    with pytest.raises(ValueError, match="horizon must be >= 1, was 0"):
        fit.forecast(values, horizon=0)
    with pytest.raises(ValueError, match="variances must end with 5 known values, had 4"):
        fit.forecast(values[:4], horizon=1)
    with pytest.raises(ValueError, match="variances must end with 5 known values, had 4"):
        fit.forecast(np.r_[values, np.nan], horizon=1)
