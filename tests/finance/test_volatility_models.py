"""EWMA and GARCH against RiskMetrics, arch, the published benchmark of Fiorentini et al., and simulated truth."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.finance.volatility_models import (
    GarchFit,
    GarchParameters,
    ewma_half_life,
    ewma_mean_lag,
    ewma_variance,
    fit_garch,
    garch_forecast,
    garch_log_likelihood,
    garch_variances,
)
from quantcore.types import FloatArray

TRUTH = GarchParameters(mu=0.0005, omega=2e-6, alpha=0.06, beta=0.88, gamma=0.06)


def simulated(seed: int, n: int, *, truth: GarchParameters = TRUTH) -> FloatArray:
    """Returns of a GARCH or GJR process, as fractions."""
    rng = np.random.default_rng(seed)
    if math.isinf(truth.nu):
        shocks = rng.standard_normal(n)
    else:
        shocks = rng.standard_t(truth.nu, n) * math.sqrt((truth.nu - 2.0) / truth.nu)
    returns, h = np.empty(n), truth.long_run_variance
    for t in range(n):
        e = math.sqrt(h) * shocks[t]
        returns[t] = truth.mu + e
        h = truth.omega + (truth.alpha + truth.gamma * (e < 0.0)) * e * e + truth.beta * h
    return returns


def arch_fit(returns: FloatArray, *, asymmetric: bool, distribution: Any) -> Any:
    from arch import arch_model

    model = arch_model(
        returns, vol="GARCH", p=1, o=int(asymmetric), q=1, dist=distribution, rescale=False
    )  # fmt: skip
    with warnings.catch_warnings():
        # Its starting values may break its own bounds by a rounding error.
        warnings.simplefilter("ignore")
        return model.fit(disp="off", cov_type="classic", options={"ftol": 1e-12})


def vector(fit: GarchFit) -> FloatArray:
    return np.array([getattr(fit.parameters, name) for name in fit.standard_errors])


@pytest.mark.parametrize("distribution", ["normal", "t"])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_estimates_are_those_of_arch(seed: int, asymmetric: bool, distribution: Any) -> None:
    nu = 6.0 if distribution == "t" else math.inf
    truth = GarchParameters(mu=0.05, omega=0.05, alpha=0.06, beta=0.85, gamma=0.08, nu=nu)
    returns = simulated(seed, 1500, truth=truth)
    ours = fit_garch(
        returns, asymmetric=asymmetric, distribution=distribution, presample="backcast"
    )
    theirs = arch_fit(returns, asymmetric=asymmetric, distribution=distribution)
    assert ours.converged
    assert ours.at_bound == ()
    assert ours.log_likelihood >= theirs.loglikelihood - 1e-6
    assert ours.log_likelihood == pytest.approx(theirs.loglikelihood, abs=1e-3)
    errors = np.array(list(ours.standard_errors.values()))
    assert list(ours.standard_errors) == [
        {"alpha[1]": "alpha", "gamma[1]": "gamma", "beta[1]": "beta"}.get(name, name)
        for name in theirs.params.index
    ]
    # Two optimisers stop at different points of the same flat top: far inside the standard errors.
    assert (np.abs(vector(ours) - theirs.params.to_numpy()) < 0.02 * errors).all()
    np.testing.assert_allclose(errors, theirs.std_err.to_numpy(), rtol=0.02)
    ahead = theirs.forecast(horizon=5, reindex=False).variance.to_numpy()[-1]
    np.testing.assert_allclose(ours.forecast(horizon=5), ahead, rtol=2e-3)
    np.testing.assert_allclose(np.sqrt(ours.variances), theirs.conditional_volatility, rtol=2e-3)


@pytest.mark.parametrize("distribution", ["normal", "t"])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_likelihood_at_given_parameters_is_that_of_arch(
    asymmetric: bool, distribution: str
) -> None:
    from arch import arch_model

    returns = simulated(4, 500) * 100.0
    values = {"mu": 0.05, "omega": 0.02, "alpha": 0.05, "gamma": 0.07, "beta": 0.85, "nu": 7.0}
    names = [
        k for k in values if (k != "gamma" or asymmetric) and (k != "nu" or distribution == "t")
    ]
    chosen = {name: values[name] for name in names}
    model = arch_model(
        returns, vol="GARCH", p=1, o=int(asymmetric), q=1, dist=distribution, rescale=False  # type: ignore[arg-type] # a name
    )  # fmt: skip
    fixed = model.fix(list(chosen.values()))
    ours = garch_log_likelihood(returns, GarchParameters(**chosen), presample="backcast")
    # Its presample is the deviation from its first guess of the mean; the same number here.
    assert ours == pytest.approx(fixed.loglikelihood, rel=1e-10)
    path = garch_variances(returns, GarchParameters(**chosen), presample="backcast")
    np.testing.assert_allclose(np.sqrt(path[:-1]), fixed.conditional_volatility, rtol=1e-10)


def test_zero_mean_estimates_are_those_of_arch() -> None:
    returns = simulated(6, 1500) * 100.0
    ours = fit_garch(returns, mean="zero", presample=float(np.mean(returns**2)))
    assert ours.parameters.mu == 0.0
    assert list(ours.standard_errors) == ["omega", "alpha", "beta"]
    from arch import arch_model

    model = arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, rescale=False)
    theirs = model.fit(disp="off", backcast=float(np.mean(returns**2)))
    np.testing.assert_allclose(vector(ours), theirs.params.to_numpy(), rtol=2e-3)


@pytest.mark.parametrize("distribution", ["normal", "t"])
def test_large_samples_find_the_truth(distribution: Any) -> None:
    nu = 5.0 if distribution == "t" else math.inf
    truth = GarchParameters(mu=5e-4, omega=4e-6, alpha=0.05, beta=0.85, gamma=0.1, nu=nu)
    fit = fit_garch(simulated(8, 20_000, truth=truth), asymmetric=True, distribution=distribution)
    true = np.array([getattr(truth, name) for name in fit.standard_errors])
    errors = np.array(list(fit.standard_errors.values()))
    assert (np.abs(vector(fit) - true) < 4.0 * errors).all()
    assert fit.standardised.std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("scale", [1e-4, 100.0])
@pytest.mark.parametrize("distribution", ["normal", "t"])
def test_estimates_follow_the_unit_of_the_returns(scale: float, distribution: Any) -> None:
    returns = simulated(9, 800)
    one = fit_garch(returns, asymmetric=True, distribution=distribution)
    other = fit_garch(returns * scale, asymmetric=True, distribution=distribution)
    units = np.array([scale, scale**2, 1.0, 1.0, 1.0, 1.0])[: len(vector(one))]
    np.testing.assert_allclose(vector(other), vector(one) * units, rtol=1e-5)
    n = len(returns)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - n * math.log(scale), rel=1e-9)
    np.testing.assert_allclose(other.variances, one.variances * scale**2, rtol=1e-5)


def test_mirrored_returns_mirror_the_asymmetry() -> None:
    returns = simulated(10, 1500)
    one, other = (fit_garch(r, asymmetric=True).parameters for r in (returns, -returns))
    assert other.mu == pytest.approx(-one.mu, rel=1e-5)
    assert other.alpha == pytest.approx(one.alpha + one.gamma, rel=1e-5)
    assert other.gamma == pytest.approx(-one.gamma, rel=1e-5)


def test_a_bar_without_return_is_no_observation() -> None:
    returns = simulated(11, 1200)
    holed = returns.copy()
    holed[100:104] = np.nan
    fit = fit_garch(holed)
    assert fit.n_returns == 1196
    assert fit.converged
    assert len(fit.variances) == 1200
    assert np.isnan(fit.standardised[100:104]).all()
    assert np.isfinite(np.delete(fit.standardised, slice(100, 104))).all()
    p = fit.parameters
    expected = garch_forecast(p, float(fit.variances[100]), horizon=5)
    np.testing.assert_allclose(fit.variances[100:105], expected, rtol=1e-12)


def test_a_persistence_at_its_bound_is_reported_and_has_no_long_run_variance() -> None:
    rng = np.random.default_rng(12)
    growing = rng.standard_normal(1000) * np.exp(np.linspace(0.0, 4.0, 1000))
    fit = fit_garch(growing)
    assert fit.converged
    assert "persistence" in fit.at_bound
    assert not fit.is_stationary
    assert fit.long_run_variance == math.inf
    assert all(math.isnan(error) for error in fit.standard_errors.values())
    assert np.isfinite(fit.forecast(horizon=100)).all()


def test_a_stationary_fit_has_a_long_run_variance_near_the_sample() -> None:
    returns = simulated(13, 5000)
    fit = fit_garch(returns)
    assert fit.is_stationary
    assert fit.long_run_variance == pytest.approx(returns.var(), rel=0.2)
    assert fit.long_run_variance == fit.parameters.long_run_variance


@pytest.mark.parametrize("seed", range(6))
def test_returns_without_memory_still_converge(seed: int) -> None:
    returns = np.random.default_rng(seed).normal(0.0, 0.01, 300)
    fit = fit_garch(returns, asymmetric=bool(seed % 2), distribution="t" if seed > 2 else "normal")
    assert fit.converged
    # The constant variance lies inside every model; t innovations only come close to it.
    constant = GarchParameters(mu=returns.mean(), omega=returns.var(), alpha=0.0, beta=0.0)
    plain = garch_log_likelihood(returns, constant, presample="mean_square")
    assert fit.log_likelihood >= plain - (0.5 if seed > 2 else 1e-9)


@pytest.mark.parametrize("seed", [3, 4, 12])
def test_the_highest_of_several_maxima_is_found(seed: int) -> None:
    """One shift of the level: a fast reaction fits some of it, a slow one more; both are maxima."""
    returns = np.random.default_rng(seed).standard_normal(300)
    returns[:100] *= 1.5
    fit = fit_garch(returns, presample="backcast")
    theirs = arch_fit(returns, asymmetric=False, distribution="normal")
    assert fit.log_likelihood >= theirs.loglikelihood - 1e-4
    assert fit.parameters.persistence > 0.9
    p = fit.parameters
    fast = GarchParameters(mu=p.mu, omega=0.95 * returns.var(), alpha=0.05, beta=0.0)
    assert fit.log_likelihood > garch_log_likelihood(returns, fast, presample="backcast") + 1.0


def test_a_fit_starts_anew_each_time() -> None:
    returns = simulated(14, 600)
    first, second = fit_garch(returns), fit_garch(returns)
    assert first.parameters == second.parameters
    np.testing.assert_array_equal(first.variances, second.variances)


@given(cut=st.integers(1, 199), seed=st.integers(0, 5))
def test_variances_at_given_parameters_are_causal(cut: int, seed: int) -> None:
    returns = simulated(seed, 200)
    whole = garch_variances(returns, TRUTH, presample=1e-4)
    part = garch_variances(returns[:cut], TRUTH, presample=1e-4)
    np.testing.assert_array_equal(whole[: cut + 1], part)


def test_named_presamples() -> None:
    returns = simulated(15, 300)
    mean_square = float(np.mean((returns - TRUTH.mu) ** 2))
    named = garch_variances(returns, TRUTH, presample="mean_square")
    given = garch_variances(returns, TRUTH, presample=mean_square)
    np.testing.assert_allclose(named, given, rtol=1e-13)
    assert named[0] == pytest.approx(TRUTH.omega + TRUTH.persistence * mean_square)
    deviations = (returns - returns.mean())[:75] ** 2
    backcast = np.average(deviations, weights=0.94 ** np.arange(75))
    back = garch_variances(returns, TRUTH, presample="backcast")
    assert back[0] == pytest.approx(TRUTH.omega + TRUTH.persistence * backcast)


def test_forecast_tends_to_the_long_run_variance_and_halves_in_the_half_life() -> None:
    parameters = GarchParameters(mu=0.0, omega=0.1, alpha=0.1, beta=0.8)
    path = garch_forecast(parameters, 4.0, horizon=2000)
    assert path[-1] == pytest.approx(parameters.long_run_variance)
    k = parameters.half_life
    excess = path - parameters.long_run_variance
    assert np.interp(k, np.arange(2000), np.log(excess[:2000].clip(1e-300))) == pytest.approx(
        math.log(excess[0] / 2.0)
    )


def test_forecast_without_a_long_run_grows_by_omega() -> None:
    parameters = GarchParameters(mu=0.0, omega=0.5, alpha=0.25, beta=0.75)
    assert parameters.long_run_variance == math.inf
    assert parameters.half_life == math.inf
    assert not parameters.is_stationary
    assert garch_forecast(parameters, 1.0, horizon=4).tolist() == [1.0, 1.5, 2.0, 2.5]


@given(
    alpha=st.floats(0.0, 0.4), gamma=st.floats(0.0, 0.4), beta=st.floats(0.0, 0.9), h=st.floats(1e-6, 1e3)
)  # fmt: skip
def test_forecast_is_the_expected_recursion(
    alpha: float, gamma: float, beta: float, h: float
) -> None:
    parameters = GarchParameters(mu=0.0, omega=0.3, alpha=alpha, beta=beta, gamma=gamma)
    path = [h]
    for _ in range(9):
        path.append(0.3 + parameters.persistence * path[-1])
    np.testing.assert_allclose(garch_forecast(parameters, h, horizon=10), path, rtol=1e-10)


@pytest.mark.parametrize("decay", [0.8, 0.97])
def test_ewma_is_what_pandas_calls_not_adjusted(decay: float, rng: np.random.Generator) -> None:
    returns = rng.normal(0.0, 0.02, 300)
    path = ewma_variance(returns, decay=decay, initial_variance="first_square")
    theirs = pd.Series(returns**2).ewm(alpha=1.0 - decay, adjust=False).mean().to_numpy()
    np.testing.assert_allclose(path[1:], theirs, rtol=1e-12)
    assert path[0] == returns[0] ** 2


@given(cut=st.integers(1, 59), start=st.sampled_from([0.0, 0.3, "first_square"]))
def test_ewma_is_causal(cut: int, start: Any) -> None:
    returns = np.random.default_rng(cut).normal(size=(60, 2))
    returns[:5, 1] = np.nan
    whole = ewma_variance(returns, decay=0.9, initial_variance=start)
    if cut > 5:
        part = ewma_variance(returns[:cut], decay=0.9, initial_variance=start)
        np.testing.assert_array_equal(whole[: cut + 1], part)


def test_ewma_starts_with_a_symbols_first_return_and_ignores_holes() -> None:
    returns = np.array([[0.1, np.nan], [np.nan, 0.2], [0.3, np.nan], [0.1, 0.4]])
    path = ewma_variance(returns, decay=0.5, initial_variance="first_square")
    np.testing.assert_allclose(
        path,
        [[0.01, np.nan], [0.01, 0.04], [0.01, 0.04], [0.05, 0.04], [0.03, 0.1]],
        rtol=1e-12,
    )  # fmt: skip


def test_ewma_of_constant_squares_stays_there() -> None:
    returns = np.tile([0.02, -0.02], 50)
    path = ewma_variance(returns, decay=0.9, initial_variance="mean_square")
    np.testing.assert_allclose(path, 4e-4, rtol=1e-12)


def test_mean_lag_and_half_life_of_the_weights() -> None:
    weights = 0.9 ** np.arange(2000)
    assert ewma_mean_lag(0.9) == pytest.approx(np.average(np.arange(1, 2001), weights=weights))
    assert 0.9 ** ewma_half_life(0.9) == pytest.approx(0.5)


GOOD = simulated(16, 200)


@pytest.mark.parametrize(
    ("returns", "settings", "message"),
    [
        (np.full(100, np.nan), {}, "returns must hold at least one known value, held none of 100"),
        ([0.01], {}, "returns must hold at least 40 known values, held 1"),
        (GOOD[:59], {"asymmetric": True, "distribution": "t"}, "at least 60 known values, held 59"),
        (np.full(100, 0.01), {}, r"returns must vary, were all 0\.01"),
        (np.zeros(100), {"mean": "zero"}, r"returns must vary, were all 0\.0"),
        (np.r_[GOOD, np.inf], {}, "returns must be finite or NaN, was inf at row 200"),
        (GOOD.reshape(2, -1), {}, r"returns must have one dimension, had shape \(2, 100\)"),
        (GOOD, {"distribution": "cauchy"}, 'distribution must be "normal" or "t", was \'cauchy\''),
        (GOOD, {"mean": "ar"}, 'mean must be "constant" or "zero", was \'ar\''),
        (GOOD, {"presample": -1.0}, r"presample must be > 0, .* was -1\.0"),
        (GOOD, {"presample": "zero"}, "presample must be > 0, .* was 'zero'"),
    ],
)
def test_a_fit_refuses(returns: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_garch(returns, **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"omega": -1e-6}, "omega must be >= 0 and finite, was -1e-06"),
        ({"alpha": -0.1}, r"alpha must be >= 0 and finite, was -0\.1"),
        ({"beta": math.nan}, "beta must be >= 0 and finite, was nan"),
        ({"gamma": -0.2}, r"gamma must be >= -alpha = -0\.1, was -0\.2"),
        ({"nu": 2.0}, r"nu must be > 2, was 2\.0"),
        ({"mu": math.inf}, "mu must be finite, was inf"),
    ],
)
def test_parameters_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    good = {"mu": 0.0, "omega": 0.1, "alpha": 0.1, "beta": 0.8}
    with pytest.raises(ValueError, match=message):
        GarchParameters(**(good | change))


def test_forecasts_and_variances_refuse_bad_input() -> None:
    with pytest.raises(ValueError, match=r"next_variance must be > 0 and finite, was -1\.0"):
        garch_forecast(TRUTH, -1.0, horizon=3)
    with pytest.raises(ValueError, match="horizon must be >= 1, was 0"):
        garch_forecast(TRUTH, 1.0, horizon=0)
    dead = GarchParameters(mu=0.0, omega=0.0, alpha=0.5, beta=0.0)
    with pytest.raises(ValueError, match=r"parameters must keep every variance > 0, was 0\.0"):
        garch_variances([0.0, 0.1], dead, presample=1.0)


@pytest.mark.parametrize(
    ("returns", "settings", "message"),
    [
        ([0.1], {"decay": 1.0}, r"decay must be in \(0, 1\), was 1\.0"),
        ([0.1], {"initial_variance": -1.0}, r"initial_variance must be >= 0 .* was -1\.0"),
        ([0.1], {"initial_variance": "last"}, "initial_variance must be >= 0 .* was 'last'"),
        ([np.inf], {}, "returns must be finite or NaN, was inf at row 0"),
        ([[0.1, np.nan]], {}, "column 1 of returns must hold at least one known value"),
        ([], {}, "returns must hold at least one known value, held none of 0"),
        (0.1, {}, r"returns must have one or two dimensions, had shape \(\)"),
    ],
)
def test_ewma_refuses(returns: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ewma_variance(returns, **({"decay": 0.9, "initial_variance": 1.0} | settings))


def test_half_life_refuses_a_decay_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\), was 0\.0"):
        ewma_half_life(0.0)
