"""Rolling kernels against pandas and numpy: exact windows, no drift, equal in parts and whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.kernels.rolling import (
    MAX,
    MIN,
    SUM,
    rolling_init,
    rolling_mean_scan,
    rolling_scan,
    rolling_std_init,
    rolling_std_scan,
)
from quantcore.types import FloatArray


def holed(seed: int, n_bars: int, n_symbols: int) -> FloatArray:
    """Random values with a late symbol and single holes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.3, 1.0, (n_bars, n_symbols))
    values[rng.random(values.shape) < 0.03] = np.nan
    values[: n_bars // 3, -1] = np.nan
    return values


def apply(name: str, values: FloatArray, state: FloatArray, *, interpreted: bool) -> FloatArray:
    """Run the scan of a name, compiled or interpreted."""
    scan = {"mean": rolling_mean_scan, "std": rolling_std_scan}.get(name)
    if scan is not None:
        return (scan.py_func if interpreted else scan)(values, state)
    operation = {"sum": SUM, "min": MIN, "max": MAX}[name]
    return (rolling_scan.py_func if interpreted else rolling_scan)(values, operation, state)


def init(name: str, n_symbols: int, window: int) -> FloatArray:
    return (rolling_std_init if name == "std" else rolling_init)(n_symbols, window)


def by_window(function: Callable[..., Any], values: FloatArray, n: int) -> FloatArray:
    """The slow version: every whole window on its own; numpy gives NaN where one value is."""
    result = np.full(values.shape, np.nan)
    for t in range(n - 1, len(values)):
        result[t] = function(values[t - n + 1 : t + 1], axis=0)
    return result


SLOW: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
    "std": partial(np.std, ddof=1),
}
INPUTS = {
    "holes": holed(1, 90, 3),
    "nothing but NaN": np.full((9, 2), np.nan),
    "constant": np.full((40, 2), 0.1),
    "one row": np.array([[1.0, np.nan]]),
    "empty": np.empty((0, 3)),
}


@pytest.mark.parametrize("window", [2, 3, 7, 64])
@pytest.mark.parametrize("name", SLOW)
def test_result_is_that_of_each_window_on_its_own(name: str, window: int) -> None:
    values = holed(0, 400, 3)
    result = apply(name, values, init(name, 3, window), interpreted=False)
    np.testing.assert_allclose(
        result, by_window(SLOW[name], values, window), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("name", SLOW)
def test_result_is_that_of_pandas(name: str) -> None:
    values = holed(4, 400, 3)
    expected = getattr(pd.DataFrame(values).rolling(9), name)().to_numpy(dtype=np.float64)
    result = apply(name, values, init(name, 3, 9), interpreted=False)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["sum", "mean", "min", "max"])
def test_window_of_one_is_the_value_itself(name: str) -> None:
    values = holed(0, 20, 2)
    np.testing.assert_array_equal(apply(name, values, init(name, 2, 1), interpreted=False), values)


@pytest.mark.parametrize("name", ["min", "max"])
def test_extremes_are_exact(name: str) -> None:
    values = holed(5, 300, 2)
    result = apply(name, values, init(name, 2, 11), interpreted=False)
    np.testing.assert_array_equal(result, by_window(SLOW[name], values, 11))


def test_a_spike_leaves_no_trace_once_it_has_left_the_window() -> None:
    values = np.full((100, 1), 0.1)
    values[20] = 1e17
    window = 10
    sums = rolling_scan(values, SUM, rolling_init(1, window))
    deviations = rolling_std_scan(values, rolling_std_init(1, window))
    np.testing.assert_allclose(sums[30:], 1.0, rtol=1e-15)
    assert (deviations[30:] == 0.0).all()


def test_sum_does_not_drift_over_a_long_stream() -> None:
    values = np.random.default_rng(3).normal(size=(500_000, 1)) * 1e3
    sums = rolling_scan(values, SUM, rolling_init(1, 100))
    assert sums[-1, 0] == pytest.approx(values[-100:].sum(), rel=1e-13)


def test_deviation_of_a_constant_is_exactly_zero() -> None:
    deviations = rolling_std_scan(np.full((50, 1), 0.1), rolling_std_init(1, 7))
    assert (deviations[6:] == 0.0).all()


def test_deviation_of_small_changes_on_a_high_level_keeps_its_digits() -> None:
    changes = np.random.default_rng(6).integers(0, 8, (300, 1)).astype(np.float64)
    high = rolling_std_scan(1e9 + changes, rolling_std_init(1, 20))
    low = rolling_std_scan(changes, rolling_std_init(1, 20))
    np.testing.assert_allclose(high[19:], low[19:], rtol=1e-7)


def test_nan_empties_the_window() -> None:
    values = np.ones((12, 1))
    values[5] = np.nan
    sums = rolling_scan(values, SUM, rolling_init(1, 3))[:, 0]
    np.testing.assert_array_equal(np.isnan(sums), [1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize("data", INPUTS)
@pytest.mark.parametrize("name", SLOW)
def test_compiled_scan_equals_its_interpreted_twin(name: str, data: str) -> None:
    values = INPUTS[data]
    compiled, twin = init(name, values.shape[1], 4), init(name, values.shape[1], 4)
    np.testing.assert_array_equal(
        apply(name, values, compiled, interpreted=False),
        apply(name, values, twin, interpreted=True),
    )
    np.testing.assert_array_equal(compiled, twin)


@given(seed=st.integers(0, 999), cut=st.integers(0, 50), window=st.integers(2, 12))
@pytest.mark.parametrize("name", SLOW)
def test_scan_in_two_parts_equals_scan_in_one(name: str, seed: int, cut: int, window: int) -> None:
    values = holed(seed, 50, 2)
    whole, state = init(name, 2, window), init(name, 2, window)
    expected = apply(name, values, whole, interpreted=False)
    parts = [apply(name, part, state, interpreted=False) for part in (values[:cut], values[cut:])]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    np.testing.assert_array_equal(state, whole)
