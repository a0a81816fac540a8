"""Exponentially weighted kernels against pandas, RiskMetrics, and their own interpreted twins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.kernels.ewm import (
    bars_to_forget,
    ewm_cov_init,
    ewm_cov_scan,
    ewm_cov_step,
    ewm_init,
    ewm_mean_scan,
    ewm_step,
    ewm_var_scan,
    ewm_var_step,
    half_life_decay,
    span_decay,
)
from quantcore.types import FloatArray

DECAY = half_life_decay(7.0)
SCANS: list[tuple[Callable[..., FloatArray], Callable[[int], FloatArray]]] = [
    (ewm_mean_scan, ewm_init),
    (ewm_var_scan, ewm_init),
    (ewm_cov_scan, ewm_cov_init),
]


def holed(seed: int, n_bars: int, n_symbols: int) -> FloatArray:
    """Random values with a late symbol and single holes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.3, 1.0, (n_bars, n_symbols))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[: n_bars // 3, -1] = np.nan
    return values


INPUTS = {
    "holes": holed(1, 60, 3),
    "nothing but NaN": np.full((5, 2), np.nan),
    "constant": np.full((40, 2), 0.1),
    "one row": np.array([[1.0, np.nan]]),
    "empty": np.empty((0, 3)),
    "no symbols": np.empty((4, 0)),
}


def pandas_mean(values: FloatArray) -> FloatArray:
    return (
        pd.DataFrame(values)
        .ewm(halflife=7.0, adjust=True, ignore_na=True)
        .mean()
        .to_numpy(dtype=np.float64)
    )


def test_mean_equals_pandas_with_normalised_weights_and_holes_ignored() -> None:
    values = holed(0, 500, 4)
    means = ewm_mean_scan(values, DECAY, ewm_init(4))
    np.testing.assert_allclose(means, pandas_mean(values), rtol=1e-12, atol=1e-14)


def test_variance_is_the_mean_of_the_squares() -> None:
    values = holed(2, 500, 4)
    variances = ewm_var_scan(values, DECAY, ewm_init(4))
    np.testing.assert_allclose(variances, pandas_mean(values**2), rtol=1e-12)


def test_covariance_is_the_mean_of_the_products_of_pairs_seen_together() -> None:
    values = holed(3, 300, 3)
    covariances = ewm_cov_scan(values, DECAY, ewm_cov_init(3))
    products = values[:, :, None] * values[:, None, :]
    expected = pandas_mean(products.reshape(300, 9)).reshape(300, 3, 3)
    np.testing.assert_allclose(covariances, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(covariances, covariances.transpose(0, 2, 1))


def test_recursion_is_riskmetrics_once_the_weights_are_full(shared: Path) -> None:
    cases = json.loads((shared / "reference" / "volatility.json").read_text())["cases"]
    case = next(c for c in cases if c["name"] == "ewma_0.94")
    returns, decay = case["inputs"]["returns"], case["inputs"]["lambda_"]
    path = case["expected"]["variance_path"]
    state = np.array([[path[0], 1.0 / (1.0 - decay)]])
    variances = ewm_var_scan(np.array(returns)[:, None], decay, state)
    np.testing.assert_allclose(variances[:, 0], path[1:], rtol=1e-9, atol=1e-12)
    assert half_life_decay(case["expected"]["half_life_bars"]) == pytest.approx(decay, rel=1e-12)


def test_first_value_is_the_mean_whatever_the_decay() -> None:
    assert ewm_step(0.0, 0.0, 3.7, 0.99) == (3.7, 1.0)
    assert ewm_var_step(0.0, 0.0, -2.0, 0.99) == (4.0, 1.0)


def test_nan_changes_nothing() -> None:
    assert ewm_step(1.5, 2.0, np.nan, 0.9) == (1.5, 2.0)
    state = ewm_cov_init(2)
    ewm_cov_step(state, np.array([1.0, 2.0]), 0.9)
    before = state.copy()
    ewm_cov_step(state, np.full(2, np.nan), 0.9)
    np.testing.assert_array_equal(state, before)


def test_mean_of_a_constant_is_exactly_that_constant() -> None:
    means = ewm_mean_scan(np.full((5000, 1), 0.1), span_decay(192.0), ewm_init(1))
    assert (means == 0.1).all()


@pytest.mark.parametrize("decay", [0.0, 0.5, span_decay(192.0), half_life_decay(1e4)])
def test_mean_stays_accurate_where_the_weights_have_stopped_growing(decay: float) -> None:
    values = np.random.default_rng(5).normal(size=(3000, 1))
    state = np.array([[0.0, 1.0 / (1.0 - decay)]])
    mean = 0.0
    for value in values[:, 0]:
        mean = decay * mean + (1.0 - decay) * value
    assert ewm_mean_scan(values, decay, state)[-1, 0] == pytest.approx(mean, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize(("scan", "init"), SCANS)
def test_compiled_scan_equals_its_interpreted_twin(
    scan: Callable[..., FloatArray], init: Callable[[int], FloatArray], name: str
) -> None:
    values = INPUTS[name]
    compiled, interpreted = init(values.shape[1]), init(values.shape[1])
    twin = scan.py_func  # type: ignore[attr-defined] # a Callable stands for the compiled function
    np.testing.assert_array_equal(scan(values, DECAY, compiled), twin(values, DECAY, interpreted))
    np.testing.assert_array_equal(compiled, interpreted)


@given(mean=st.floats(-1e6, 1e6), weight=st.floats(0, 1e4), value=st.floats(-1e6, 1e6))
def test_compiled_step_equals_its_interpreted_twin(
    mean: float, weight: float, value: float
) -> None:
    expected = ewm_step.py_func(mean, weight, value, 0.97)
    assert ewm_step(mean, weight, value, 0.97) == expected


@given(seed=st.integers(0, 999), cut=st.integers(0, 60))
@pytest.mark.parametrize(("scan", "init"), SCANS)
def test_scan_in_two_parts_equals_scan_in_one(
    scan: Callable[..., FloatArray], init: Callable[[int], FloatArray], seed: int, cut: int
) -> None:
    values = holed(seed, 60, 3)
    whole, state = init(3), init(3)
    expected = scan(values, DECAY, whole)
    parts = [scan(values[:cut], DECAY, state), scan(values[cut:], DECAY, state)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    np.testing.assert_array_equal(state, whole)


def test_decays_are_those_of_pandas() -> None:
    assert half_life_decay(3.0) ** 3 == pytest.approx(0.5, rel=1e-15)
    assert span_decay(9.0) == 0.8


@given(half_life=st.floats(0.5, 5000), share=st.floats(1e-6, 0.9))
def test_bars_to_forget_is_the_first_count_that_weighs_no_more_than_the_share(
    half_life: float, share: float
) -> None:
    decay = half_life_decay(half_life)
    n = bars_to_forget(decay, share)
    assert decay**n <= share * (1 + 1e-8)
    assert n == 1 or decay ** (n - 1) > share * (1 - 1e-8)


def test_bars_to_forget_names_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), was 1.0"):
        bars_to_forget(1.0, 0.5)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\), was 0.0"):
        bars_to_forget(0.5, 0.0)
