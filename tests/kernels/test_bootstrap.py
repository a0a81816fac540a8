"""Resampled paths: blocks that follow the record round its circle, even draws, and statistics against plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.kernels import bootstrap as kernel
from quantcore.types import FloatArray, IntArray


def paths(seed: int, *, n_paths: int = 200, n_rows: int = 50, restart: float = 0.2) -> IntArray:
    return kernel.stationary_paths(n_paths, n_rows, n_rows, restart, np.random.default_rng(seed))


@given(
    seed=st.integers(0, 2**32),
    n_rows=st.integers(1, 40),
    length=st.integers(0, 60),
    restart=st.floats(0.001, 1.0),
)
def test_compiled_and_interpreted_paths_agree(
    seed: int, n_rows: int, length: int, restart: float
) -> None:
    compiled = kernel.stationary_paths(3, length, n_rows, restart, np.random.default_rng(seed))
    interpreted = np.empty_like(compiled)
    rng = np.random.default_rng(seed)
    for path in interpreted:
        kernel.stationary_path.py_func(path, n_rows, restart, rng)
    np.testing.assert_array_equal(compiled, interpreted)
    assert compiled.size == 0 or 0 <= compiled.min() <= compiled.max() < n_rows


def test_a_row_is_followed_by_the_next_round_the_circle_unless_a_block_begins() -> None:
    drawn = paths(1, n_paths=2000, n_rows=50, restart=0.2)
    follows = drawn[:, 1:] == (drawn[:, :-1] + 1) % 50
    # A new block begins at the following row by chance too.
    assert abs(follows.mean() - (0.8 + 0.2 / 50)) < 0.005
    last = drawn[:, :-1] == 49
    assert (drawn[:, 1:][last] == 0).mean() > 0.75


def test_every_row_is_drawn_equally_often() -> None:
    counts = np.bincount(paths(2, n_paths=4000, n_rows=25, restart=0.1).ravel(), minlength=25)
    assert counts.max() / counts.min() < 1.12


def test_restart_probability_one_draws_independent_rows() -> None:
    drawn = paths(3, n_paths=2000, n_rows=50, restart=1.0)
    follows = drawn[:, 1:] == (drawn[:, :-1] + 1) % 50
    assert abs(follows.mean() - 1 / 50) < 0.003


def test_blocks_have_the_geometric_distribution() -> None:
    rng = np.random.default_rng(4)
    lengths = np.array([kernel.draw_block(10_000, 0.25, rng)[1] for _ in range(20_000)])
    for k in range(1, 6):
        assert (lengths == k).mean() == pytest.approx(0.25 * 0.75 ** (k - 1), abs=0.01)


def slow_sharpe(sample: FloatArray, starts: IntArray) -> FloatArray:
    n = len(sample)
    ratio = sample.mean() / sample.std(ddof=1)
    z = (sample - sample.mean()) / sample.std()
    influence = z - ratio / 2 * (z**2 - 1)
    sums = [part.sum() for part in np.split(influence, starts[1:])]
    return np.array([ratio, np.sqrt(np.sum(np.square(sums))) / n if len(sums) > 1 else 0.0])


@pytest.mark.parametrize("restart", [1.0, 0.5, 0.08])
def test_resampled_sharpes_are_those_of_the_paths(rng: np.random.Generator, restart: float) -> None:
    returns = rng.normal(0.01, 0.02, 60)
    found = kernel.resampled_sharpes(returns, 30, restart, np.random.default_rng(5))
    same = np.random.default_rng(5)
    for k in range(30):
        rows, starts, t = np.empty(60, dtype=np.int64), [], 0
        while t < 60:
            start, length = kernel.draw_block(60, restart, same)
            starts.append(t)
            end = min(t + length, 60)
            rows[t:end] = (start + np.arange(end - t)) % 60
            t = end
        expected = slow_sharpe(returns[rows], np.array(starts))
        np.testing.assert_allclose(found[k], expected, rtol=1e-11, atol=1e-15)


def test_resampled_drawdowns_are_those_of_the_paths(rng: np.random.Generator) -> None:
    returns = rng.normal(0.001, 0.05, 80)
    found = kernel.resampled_drawdowns(returns, 50, 0.2, np.random.default_rng(6))
    rows = kernel.stationary_paths(50, 80, 80, 0.2, np.random.default_rng(6))
    curves = np.cumprod(1 + returns[rows], axis=1)
    peaks = np.maximum(np.maximum.accumulate(curves, axis=1), 1.0)
    np.testing.assert_allclose(found, (curves / peaks - 1).min(axis=1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("restart", [1.0, 0.3])
@pytest.mark.parametrize("compute", [kernel.resampled_sharpes, kernel.resampled_drawdowns])
def test_compiled_and_interpreted_statistics_agree(
    rng: np.random.Generator, compute: Any, restart: float
) -> None:
    returns = rng.normal(0.0, 0.02, 40)
    compiled = compute(returns, 20, restart, np.random.default_rng(7))
    interpreted = compute.py_func(returns, 20, restart, np.random.default_rng(7))
    np.testing.assert_allclose(compiled, interpreted, rtol=1e-12, atol=1e-15)


def test_a_series_that_does_not_vary_has_no_ratio_and_none_that_loses_all_comes_back() -> None:
    generator = np.random.default_rng(8)
    assert np.isnan(kernel.resampled_sharpes(np.full(20, 0.01), 5, 0.2, generator)).all()
    lost = kernel.resampled_drawdowns(np.full(20, -1.0), 5, 0.2, generator)
    np.testing.assert_array_equal(lost, -1.0)
    gained = kernel.resampled_drawdowns(np.full(2000, 10.0), 5, 0.2, generator)
    np.testing.assert_array_equal(gained, 0.0)


def test_a_series_of_one_block_is_marked_by_an_error_of_zero(rng: np.random.Generator) -> None:
    returns = rng.normal(0.0, 0.02, 30)
    found = kernel.resampled_sharpes(returns, 200, 0.02, np.random.default_rng(9))
    whole = found[:, 1] == 0.0
    assert 0.3 < whole.mean() < 0.8  # (1 - p) ** 29 = 0.56 of the first blocks reach the end
    np.testing.assert_allclose(found[whole, 0], returns.mean() / returns.std(ddof=1), rtol=1e-9)
