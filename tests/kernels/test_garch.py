"""GARCH kernels against a slow loop, their interpreted twins, densities of scipy and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from quantcore.kernels.garch import (
    ALPHA,
    BETA,
    GAMMA,
    MU,
    NU,
    OMEGA,
    density_constant,
    garch_likelihood,
    garch_scan,
    maximise_garch,
    mean_square,
)
from quantcore.types import FloatArray


def residuals(seed: int = 0, n: int = 400) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_t(5, n) * (1.0 + 0.5 * np.sin(np.arange(n) / 30.0)))


def holed(seed: int = 0, n: int = 400) -> FloatArray:
    values = residuals(seed, n)
    values[::17] = np.nan
    values[:3] = np.nan
    return values


INPUTS = {
    "whole": residuals(),
    "holes": holed(),
    "constant": np.full(30, 0.1),
    "zero": np.zeros(5),
    "one row": np.array([-1.0]),
    "nothing but NaN": np.full(4, np.nan),
    "empty": np.empty(0),
}
VECTORS = {
    "GARCH": [0.05, 0.1, 0.1, 0.0, 0.8, math.inf],
    "GJR": [0.05, 0.1, 0.05, 0.1, 0.8, math.inf],
    "GARCH t": [-0.02, 0.2, 0.1, 0.0, 0.7, 5.0],
    "GJR t": [0.0, 0.2, 0.15, -0.1, 0.75, 8.0],
}


def slow_variances(e: FloatArray, w: float, a: float, g: float, b: float, h: float) -> list[float]:
    path = [h]
    for x in e:
        square, below = (x * x, float(x < 0)) if not math.isnan(x) else (path[-1], 0.5)
        path.append(w + (a + g * below) * square + b * path[-1])
    return path


@pytest.mark.parametrize("name", INPUTS)
def test_scan_is_the_recursion_compiled_or_not(name: str) -> None:
    settings = (0.1, 0.05, 0.1, 0.8, 1.5)
    compiled = garch_scan(INPUTS[name], *settings)
    np.testing.assert_allclose(compiled, slow_variances(INPUTS[name], *settings), rtol=1e-13)
    np.testing.assert_allclose(compiled, garch_scan.py_func(INPUTS[name], *settings), rtol=1e-13)


@given(st.integers(0, 30), st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 0.6))
def test_scan_is_causal(cut: int, alpha: float, gamma: float, beta: float) -> None:
    whole = garch_scan(INPUTS["holes"][:60], 0.1, alpha, gamma, beta, 1.0)
    np.testing.assert_array_equal(
        whole[: cut + 1], garch_scan(INPUTS["holes"][:cut], 0.1, alpha, gamma, beta, 1.0)
    )


def test_a_fall_raises_the_variance_by_gamma_more() -> None:
    up = garch_scan(np.array([2.0]), 0.1, 0.05, 0.1, 0.8, 1.0)
    down = garch_scan(np.array([-2.0]), 0.1, 0.05, 0.1, 0.8, 1.0)
    assert down[1] - up[1] == pytest.approx(0.1 * 4.0)


def test_a_missing_return_moves_the_variance_by_its_expectation() -> None:
    variances = garch_scan(np.full(2000, np.nan), 0.1, 0.05, 0.1, 0.8, 9.0)
    assert variances[-1] == pytest.approx(0.1 / (1.0 - 0.9))


@pytest.mark.parametrize("model", VECTORS)
@pytest.mark.parametrize("name", ["whole", "holes", "constant", "one row"])
def test_likelihood_is_the_sum_of_log_densities(model: str, name: str) -> None:
    values, vector = INPUTS[name], np.array(VECTORS[model])
    mu, omega, alpha, gamma, beta, nu = vector
    known = ~np.isnan(values)
    start = omega + (alpha + gamma / 2 + beta) * np.mean((values[known] - mu) ** 2)
    h = np.array(slow_variances(values - mu, omega, alpha, gamma, beta, start)[:-1])
    shocks, spread = (values - mu)[known] / np.sqrt(h[known]), np.sqrt(h[known])
    if math.isinf(nu):
        expected = float((stats.norm.logpdf(shocks) - np.log(spread)).sum())
    else:
        unit = math.sqrt(nu / (nu - 2.0))
        expected = float((stats.t.logpdf(shocks * unit, nu) + np.log(unit / spread)).sum())
    gradient = np.empty(6)
    value = garch_likelihood(values, vector, math.nan, gradient)
    constant = int(known.sum()) * density_constant(nu)[0]
    assert value + constant == pytest.approx(expected, rel=1e-12)
    twin = np.empty(6)
    assert garch_likelihood.py_func(values, vector, math.nan, twin) == pytest.approx(
        value, rel=1e-13
    )
    np.testing.assert_allclose(gradient, twin, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("presample", [math.nan, 0.7])
@pytest.mark.parametrize("model", VECTORS)
def test_gradient_is_that_of_the_value(model: str, presample: float) -> None:
    vector = np.array(VECTORS[model])
    moving = np.isfinite(vector)

    def value(part: FloatArray) -> float:
        whole = vector.copy()
        whole[moving] = part
        n = int((~np.isnan(INPUTS["holes"])).sum())
        constant = n * density_constant(whole[NU])[0]
        return constant + garch_likelihood(INPUTS["holes"], whole, presample, np.empty(6))

    gradient = np.empty(6)
    garch_likelihood(INPUTS["holes"], vector, presample, gradient)
    gradient[NU] += int((~np.isnan(INPUTS["holes"])).sum()) * density_constant(vector[NU])[1]
    numeric = optimize.approx_fprime(vector[moving], value, 1e-7)
    np.testing.assert_allclose(gradient[moving], numeric, rtol=2e-4, atol=2e-3)
    if not moving[NU]:
        assert gradient[NU] == 0.0


def test_mean_square_skips_what_is_missing() -> None:
    value, slope = mean_square(np.array([1.0, np.nan, 4.0]), 2.0)
    assert (value, slope) == (2.5, -1.0)
    assert mean_square.py_func(np.array([1.0, np.nan, 4.0]), 2.0) == (2.5, -1.0)


@pytest.mark.parametrize("nu", [2.5, 4.0, 30.0])
def test_density_constant_and_its_slope(nu: float) -> None:
    unit = math.sqrt(nu / (nu - 2.0))
    assert density_constant(nu)[0] == pytest.approx(float(stats.t.logpdf(0.0, nu)) + math.log(unit))
    step = 1e-6
    slope = (density_constant(nu + step)[0] - density_constant(nu - step)[0]) / (2.0 * step)
    assert density_constant(nu)[1] == pytest.approx(slope, rel=1e-6)


def test_what_is_held_stays_where_it_is() -> None:
    values = residuals(3) / residuals(3).std()
    free = np.array([False, True, True, False, True, False])
    found = maximise_garch(values, math.nan, free)
    assert found.parameters[MU] == 0.0
    assert found.parameters[GAMMA] == 0.0
    assert found.parameters[NU] == math.inf
    assert np.isnan(found.standard_errors[~free]).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_start_leads_higher_than_the_maximum(seed: int) -> None:
    """A general search over the same likelihood from many random starts finds nothing better."""
    rng = np.random.default_rng(seed)
    e = rng.standard_normal(600)
    h = 1.0
    for t in range(len(e)):
        e[t] *= math.sqrt(h)
        h = 0.05 + (0.05 + 0.1 * (e[t] < 0.0)) * e[t] ** 2 + 0.85 * h
    e /= e.std()
    free = np.array([True, True, True, True, True, False])
    found = maximise_garch(e, math.nan, free)
    best = garch_likelihood(e, found.parameters, math.nan, np.empty(6))

    def loss(x: FloatArray) -> float:
        return -garch_likelihood(e, np.array([*x, math.inf]), math.nan, np.empty(6))

    bounds = [(-0.5, 0.5), (1e-6, 2.0), (0.0, 0.5), (0.0, 0.5), (0.0, 0.999)]
    stays = {"type": "ineq", "fun": lambda x: 1.0 - x[ALPHA] - x[GAMMA] / 2.0 - x[BETA]}
    for _ in range(5):
        start = [0.0, rng.uniform(0.01, 0.5), *rng.uniform(0.0, 0.2, 2), rng.uniform(0.2, 0.7)]
        other = optimize.minimize(loss, start, bounds=bounds, constraints=stays, method="SLSQP")
        if np.isfinite(other.fun) and stays["fun"](other.x) >= 0.0:  # type: ignore[operator] # a function
            assert -other.fun <= best + 1e-4
    assert found.parameters[OMEGA] > 0.0
    assert found.slope < 1e-6
