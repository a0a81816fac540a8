"""Residual returns: their formula as sums over all earlier days, what they are of, and missing returns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from quantcore.kernels.residual import SEEN_MIN, residual_init, residual_step, residual_vol
from quantcore.types import FloatArray

HALF_LIFE = 15.0
DECAY = 0.5 ** (1.0 / HALF_LIFE)
FIRST = int(SEEN_MIN)


@njit(cache=True, error_model="numpy")
def scan(
    state: FloatArray, returns: FloatArray, decay: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the residuals, the volatilities after each row and the market's returns."""
    residuals, vols = np.empty(returns.shape), np.empty(returns.shape)
    market = np.empty(len(returns))
    for t in range(len(returns)):
        market[t] = residual_step(state, returns[t], decay, residuals[t])
        for i in range(returns.shape[1]):
            vols[t, i] = residual_vol(state, i)
    return residuals, vols, market


def run(returns: FloatArray, decay: float = DECAY) -> tuple[FloatArray, FloatArray, FloatArray]:
    return scan(residual_init(returns.shape[1]), returns, decay)


def random_returns(seed: int, n_days: int = 90, n_symbols: int = 4) -> FloatArray:
    """A market with exposures from a half to two, holes and a late symbol."""
    rng = np.random.default_rng(seed)
    market = rng.standard_t(4, (n_days, 1)) * 0.03
    returns = market * np.linspace(0.5, 2.0, n_symbols) + rng.normal(0, 0.02, (n_days, n_symbols))
    returns[rng.random(returns.shape) < 0.1] = np.nan
    returns[:30, -1] = np.nan
    return returns


def in_numpy(returns: FloatArray) -> FloatArray:
    """The formula again: sums over the symbol's earlier returns, the youngest with weight one."""
    counts = (~np.isnan(returns)).sum(axis=1)
    market = np.nansum(returns, axis=1) / np.where(counts > 0, counts, np.nan)
    result = np.full(returns.shape, np.nan)
    for i in range(returns.shape[1]):
        days = np.flatnonzero(~np.isnan(returns[:, i]))
        for n, day in enumerate(days):
            weights = DECAY ** np.arange(n)[::-1]
            r, m = returns[days[:n], i], market[days[:n]]
            beta = (weights @ (r * m)) / (weights @ m**2) if n >= FIRST else 1.0
            result[day, i] = returns[day, i] - beta * market[day]
    return result


@pytest.mark.parametrize("seed", range(3))
def test_residuals_are_the_formula(seed: int) -> None:
    returns = random_returns(seed)
    residuals, vols, market = run(returns)
    np.testing.assert_allclose(residuals, in_numpy(returns), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(market, pd.DataFrame(returns).mean(axis=1), rtol=1e-12)
    squares = pd.DataFrame(residuals**2).ewm(halflife=HALF_LIFE, ignore_na=True).mean()
    np.testing.assert_allclose(vols, np.sqrt(squares.fillna(0.0)), rtol=1e-10)


def test_exposure_is_one_until_twenty_returns_were_seen() -> None:
    returns = random_returns(3)
    residuals, _, market = run(returns)
    implied = (returns - residuals) / market[:, None]
    seen_before = (~np.isnan(returns)).cumsum(axis=0) - 1
    early = (seen_before < FIRST) & ~np.isnan(returns)
    np.testing.assert_allclose(implied[early], 1.0, rtol=1e-9)
    later = (seen_before >= FIRST) & ~np.isnan(returns)
    assert (np.abs(implied[later] - 1.0) > 1e-6).all()


def test_a_return_does_not_explain_itself() -> None:
    returns = random_returns(4)
    changed = returns.copy()
    changed[60] *= 3.0
    residuals, _, market = run(returns)
    other, _, shifted = run(changed)
    np.testing.assert_array_equal(other[:60], residuals[:60])
    exposure = (returns[60] - residuals[60]) / market[60]
    np.testing.assert_allclose((changed[60] - other[60]) / shifted[60], exposure, rtol=1e-9)


def test_symbols_that_follow_the_market_exactly_have_no_residual_once_their_exposure_is_known() -> (
    None
):
    market = np.random.default_rng(5).normal(0.0, 0.02, (60, 1))
    residuals, _, _ = run(market * np.array([0.5, 1.0, 1.5]))
    np.testing.assert_allclose(residuals[FIRST:], 0.0, atol=1e-15)
    assert np.abs(residuals[:FIRST, 0]).min() > 0.0


def test_a_missing_return_leaves_the_symbols_moments_as_they_are() -> None:
    returns = random_returns(6, n_symbols=3)
    state = residual_init(3)
    scan(state, returns, DECAY)
    before = state.copy()
    residuals, _, market = scan(state, np.array([[np.nan, 0.01, -0.02]]), DECAY)
    assert np.isnan(residuals[0, 0])
    np.testing.assert_array_equal(state[0], before[0])
    assert (state[1:, :] != before[1:, :]).all()
    assert market[0] == pytest.approx(-0.005)


def test_without_any_return_there_is_no_market_and_nothing_changes() -> None:
    state = residual_init(2)
    residuals, vols, market = scan(state, np.full((3, 2), np.nan), DECAY)
    assert np.isnan(residuals).all()
    assert np.isnan(market).all()
    assert (vols == 0.0).all()
    assert (state == 0.0).all()


def test_a_market_that_never_moved_has_exposures_of_one() -> None:
    residuals, _, _ = run(np.vstack([np.zeros((30, 2)), [[0.02, 0.04]]]))
    np.testing.assert_allclose(residuals[-1], [-0.01, 0.01], rtol=1e-12)
    assert (residuals[:30] == 0.0).all()


def test_no_rows_give_no_residuals() -> None:
    assert run(np.empty((0, 3)))[0].shape == (0, 3)
    one, _, market = run(np.array([[0.01, 0.03]]))
    np.testing.assert_allclose(one, [[-0.01, 0.01]])
    assert market[0] == pytest.approx(0.02)


def test_compiled_scan_equals_its_interpreted_twin() -> None:
    for returns in (random_returns(7), np.zeros((30, 2)), np.full((3, 2), np.nan)):
        compiled, twin = residual_init(returns.shape[1]), residual_init(returns.shape[1])
        found = scan(compiled, returns, DECAY)
        with np.errstate(invalid="ignore"):
            expected = scan.py_func(twin, returns, DECAY)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(compiled, twin, rtol=1e-12, atol=1e-18)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), cut=st.integers(0, 90))
def test_two_parts_give_the_residuals_of_the_whole(seed: int, cut: int) -> None:
    returns = random_returns(seed)
    whole, parts = residual_init(4), residual_init(4)
    expected = scan(whole, returns, DECAY)[0]
    found = [scan(parts, returns[:cut], DECAY)[0], scan(parts, returns[cut:], DECAY)[0]]
    np.testing.assert_array_equal(np.concatenate(found), expected)
    np.testing.assert_array_equal(parts, whole)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), order=st.permutations(range(4)))
def test_permuting_symbols_permutes_residuals(seed: int, order: list[int]) -> None:
    returns = random_returns(seed)
    np.testing.assert_allclose(
        run(returns[:, order])[0], run(returns)[0][:, order], rtol=1e-9, atol=1e-14
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_residuals_scale_with_the_returns(seed: int, power: int) -> None:
    returns = random_returns(seed)
    factor = 2.0**power
    np.testing.assert_array_equal(run(returns * factor)[0], run(returns)[0] * factor)
