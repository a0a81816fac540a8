"""Value at risk and expected shortfall against quadrature, other programs and their own axioms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from quantcore.finance import risk_metrics, volatility_models
from quantcore.finance.risk_contributions import historical_contributions, normal_contributions
from quantcore.finance.risk_metrics import (
    CornishFisherLoss,
    cornish_fisher_monotone,
    cornish_fisher_tail_loss,
    filtered_historical_tail_loss,
    fit_student_t,
    garch_filter,
    historical_tail_loss,
    normal_tail_loss,
    student_t_scale,
    student_t_tail_loss,
)
from quantcore.finance.volatility_models import GarchParameters, fit_garch
from quantcore.types import FloatArray

RETURNS = st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=60).map(np.array)
TAIL = st.floats(0.01, 0.6)
SEEDS = st.integers(0, 2**32 - 1)
GARCH = GarchParameters(mu=0.001, omega=2e-6, alpha=0.08, beta=0.9)
EXPLOSIVE = GarchParameters(mu=0.0, omega=1e-6, alpha=0.2, beta=0.9)
EMPTY = GarchParameters(mu=0.0, omega=0.0, alpha=0.5, beta=0.0)
GJR = GarchParameters(mu=0.0, omega=2e-6, alpha=0.03, beta=0.9, gamma=0.1)


def by_quadrature(quantile: Callable[[float], float], p: float) -> tuple[float, float]:
    """Value at risk and expected shortfall of any return with this quantile function."""
    mass, _ = integrate.quad(quantile, 0.0, p, epsabs=1e-13, epsrel=1e-11, limit=500)
    return -quantile(p), -mass / p


# --- a sample


def test_the_historical_loss_is_an_order_statistic_with_a_fractional_atom() -> None:
    returns = [-0.05, -0.03, -0.02, 0.01, 0.02]
    assert historical_tail_loss(returns, tail_probability=0.5) == pytest.approx(
        (0.02, (0.05 + 0.03 + 0.5 * 0.02) / 2.5)
    )


@pytest.mark.parametrize("p", [0.01, 0.05, 0.1, 0.5])
def test_the_historical_shortfall_is_the_least_value_of_the_convex_programme(p: float) -> None:
    """Rockafellar and Uryasev: the minimum over x of x + E max(L - x, 0) / p, at a value at risk."""
    returns = np.random.default_rng(1).standard_t(3, 137) * 0.01

    def objective(x: float) -> float:
        return x + float(np.maximum(-returns - x, 0.0).mean()) / p

    at_risk, shortfall = historical_tail_loss(returns, tail_probability=p)
    assert shortfall == pytest.approx(min(objective(-r) for r in returns), rel=1e-12)
    assert objective(at_risk) == pytest.approx(shortfall, rel=1e-12)


def test_a_whole_number_of_tail_returns_is_not_rounded_up() -> None:
    # 0.07 * 100 is 7.000000000000001 in floating point.
    returns = -np.arange(100.0)
    assert historical_tail_loss(returns, tail_probability=0.07)[0] == 93.0


def test_missing_returns_do_not_count() -> None:
    with_holes = [np.nan, -0.04, -0.02, np.nan, 0.01, 0.03]
    assert historical_tail_loss(with_holes, tail_probability=0.5) == (0.02, 0.03)


@given(RETURNS, TAIL)
def test_the_historical_shortfall_is_at_least_the_value_at_risk(
    returns: FloatArray, tail: float
) -> None:
    at_risk, shortfall = historical_tail_loss(returns, tail_probability=tail)
    assert at_risk <= shortfall <= -returns.min() + 1e-12
    assert -returns.max() <= at_risk <= -returns.min()


@given(RETURNS, TAIL, st.floats(1e-3, 1e3), st.floats(-1.0, 1.0))
def test_the_historical_loss_scales_with_the_stake_and_shifts_with_cash(
    returns: FloatArray, tail: float, stake: float, cash: float
) -> None:
    plain = np.array(historical_tail_loss(returns, tail_probability=tail))
    moved = historical_tail_loss(stake * returns + cash, tail_probability=tail)
    np.testing.assert_allclose(moved, stake * plain - cash, rtol=1e-9, atol=1e-12)


@given(SEEDS, TAIL)
def test_the_historical_shortfall_of_a_sum_is_at_most_the_sum(seed: int, tail: float) -> None:
    one, other = np.random.default_rng(seed).standard_t(2, (2, 40))
    _, together = historical_tail_loss(one + other, tail_probability=tail)
    apart = sum(historical_tail_loss(each, tail_probability=tail)[1] for each in (one, other))
    assert together <= apart + 1e-9


@given(RETURNS, TAIL, TAIL)
def test_rarer_losses_are_no_smaller(returns: FloatArray, one: float, other: float) -> None:
    rare = historical_tail_loss(returns, tail_probability=min(one, other))
    common = historical_tail_loss(returns, tail_probability=max(one, other))
    assert rare[0] >= common[0]
    assert rare[1] >= common[1] - 1e-12


# --- distributions


@pytest.mark.parametrize("p", [0.001, 0.025, 0.3, 0.8])
def test_the_normal_loss_is_that_of_its_quantile_function(p: float) -> None:
    found = normal_tail_loss(0.002, 0.03, tail_probability=p)
    expected = by_quadrature(lambda u: float(stats.norm.ppf(u, 0.002, 0.03)), p)
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("dof", [1.5, 4.0, 30.0])
@pytest.mark.parametrize("p", [0.005, 0.05, 0.7])
def test_the_t_loss_is_that_of_its_density(dof: float, p: float) -> None:
    at_risk, shortfall = student_t_tail_loss(0.001, 0.02, dof=dof, tail_probability=p)
    law = stats.t(dof, 0.001, 0.02)
    assert at_risk == pytest.approx(-law.ppf(p), rel=1e-10)
    # Far out by x = -1/v, so that a heavy tail ends.
    split = -abs(at_risk) - 1.0
    near, _ = integrate.quad(lambda x: x * law.pdf(x), split, -at_risk, epsrel=1e-10, limit=500)
    far, _ = integrate.quad(lambda v: -law.pdf(-1.0 / v) / v**3, 0.0, -1.0 / split, limit=500)
    assert shortfall == pytest.approx(-(near + far) / p, rel=1e-6)


def test_a_t_return_without_mean_has_an_infinite_shortfall() -> None:
    at_risk, shortfall = student_t_tail_loss(0.0, 1.0, dof=1.0, tail_probability=0.05)
    assert at_risk == pytest.approx(-math.tan(math.pi * (0.05 - 0.5)))
    assert shortfall == math.inf


def test_many_degrees_of_freedom_give_the_normal_loss() -> None:
    t = student_t_tail_loss(0.0, student_t_scale(0.02, dof=1e7), dof=1e7, tail_probability=0.01)
    assert t == pytest.approx(normal_tail_loss(0.0, 0.02, tail_probability=0.01), rel=1e-6)


def test_the_scale_of_a_t_return_gives_its_standard_deviation() -> None:
    assert stats.t.std(5.0, scale=student_t_scale(0.02, dof=5.0)) == pytest.approx(0.02)


@given(
    st.floats(-0.01, 0.01), st.floats(1e-4, 0.2), st.floats(1.05, 200.0), TAIL, st.floats(0.1, 9.0)
)
def test_the_closed_forms_obey_the_axioms(
    mean: float, sigma: float, dof: float, tail: float, stake: float
) -> None:
    laws: tuple[Callable[[float, float], tuple[float, float]], ...] = (
        lambda m, s: normal_tail_loss(m, s, tail_probability=tail),
        lambda m, s: student_t_tail_loss(m, s, dof=dof, tail_probability=tail),
    )
    for law in laws:
        at_risk, shortfall = law(mean, sigma)
        assert shortfall >= at_risk
        np.testing.assert_allclose(
            law(stake * mean, stake * sigma), [stake * at_risk, stake * shortfall]
        )
        np.testing.assert_allclose(
            law(mean + 0.5, sigma), [at_risk - 0.5, shortfall - 0.5], atol=1e-12
        )


@pytest.mark.parametrize(("dof", "n"), [(1.3, 60), (3.0, 40), (3.0, 800), (8.0, 300), (40.0, 150)])
def test_no_other_t_distribution_is_likelier_than_the_fitted_one(dof: float, n: int) -> None:
    returns = 0.003 + 0.02 * np.random.default_rng(n).standard_t(dof, n)
    fit = fit_student_t(returns)

    def loss(at: FloatArray) -> float:
        return -float(stats.t.logpdf(returns, math.exp(at[0]), at[1], math.exp(at[2])).mean())

    found = np.array([math.log(fit.dof), fit.location, math.log(fit.scale)])
    others = [
        optimize.minimize(
            loss,
            [math.log(start), np.median(returns), math.log(returns.std())],
            method="Nelder-Mead",
            bounds=[(0.0, math.log(1000.0)), (None, None), (None, None)],
            options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000},
        ).fun
        for start in (2.0, 20.0)
    ]
    assert loss(found) <= min(others) + 1e-9


def test_the_fit_of_a_large_sample_finds_the_parameters() -> None:
    returns = 0.001 + 0.02 * np.random.default_rng(5).standard_t(4.0, 40_000)
    assert fit_student_t(returns) == pytest.approx((0.001, 0.02, 4.0), rel=0.03, abs=3e-4)


def test_thin_tails_are_fitted_by_the_most_degrees_of_freedom() -> None:
    fit = fit_student_t(np.random.default_rng(6).uniform(-1.0, 1.0, 400))
    assert fit.dof == pytest.approx(risk_metrics.DOF_MAX)


@given(SEEDS, st.floats(1e-3, 1e3), st.floats(-5.0, 5.0))
def test_the_fit_moves_with_the_unit_and_the_origin(seed: int, unit: float, origin: float) -> None:
    returns = np.random.default_rng(seed).standard_t(3.0, 80)
    m, s, nu = fit_student_t(returns)
    moved = fit_student_t(unit * (returns + origin))
    np.testing.assert_allclose(
        moved[:2], [unit * (m + origin), unit * s], rtol=1e-4, atol=1e-4 * unit
    )
    assert math.log(moved.dof) == pytest.approx(math.log(nu), abs=1e-3)


# --- Cornish-Fisher


@pytest.mark.parametrize(
    ("p", "skew", "excess_kurtosis", "quantile"),
    [(0.01, 0.1, 1.0, -2.482841), (0.01, 0.1, 0.0, -2.249053), (0.01, 0.1, -1.0, -2.015265),
     (0.9, 0.1, 1.0, 1.220374)],
)  # fmt: skip
def test_the_expansion_gives_the_quantiles_documented_for_mir_stat(
    p: float, skew: float, excess_kurtosis: float, quantile: float
) -> None:
    found = cornish_fisher_tail_loss(
        0.0, 1.0, skew=skew, excess_kurtosis=excess_kurtosis, tail_probability=p
    )
    assert found.value_at_risk == pytest.approx(-quantile, abs=1e-6)


def expansion(z: FloatArray, skew: float, excess: float) -> FloatArray:
    """The expansion in Hermite polynomials, from the cumulants of the standardised return."""
    he = np.polynomial.hermite_e.hermeval
    return np.asarray(
        z
        + skew / 6.0 * he(z, [0, 0, 1])
        + excess / 24.0 * he(z, [0, 0, 0, 1])
        - skew**2 / 36.0 * (2.0 * he(z, [0, 0, 0, 1]) + he(z, [0, 1]))
    )


@pytest.mark.parametrize(("skew", "excess"), [(-0.5, 3.0), (0.8, 4.0), (-3.0, 1.0)])
@pytest.mark.parametrize("p", [0.01, 0.2])
def test_the_shortfall_integrates_the_expanded_quantile(
    skew: float, excess: float, p: float
) -> None:
    at_risk, shortfall, _ = cornish_fisher_tail_loss(
        0.1, 2.0, skew=skew, excess_kurtosis=excess, tail_probability=p
    )
    z = float(stats.norm.ppf(p))
    mass, _ = integrate.quad(
        lambda x: float(expansion(np.array(x), skew, excess) * stats.norm.pdf(x)), -40.0, z
    )
    assert at_risk == pytest.approx(-0.1 - 2.0 * float(expansion(np.array(z), skew, excess)))
    assert shortfall == pytest.approx(-0.1 - 2.0 * mass / p)


@given(st.floats(-4.0, 4.0), st.floats(-3.0, 12.0))
def test_the_domain_is_where_no_quantile_falls(skew: float, excess: float) -> None:
    wide = np.concatenate([np.linspace(-30.0, 30.0, 20_001), [-1e6, 1e6]])
    z = np.sort(wide)
    steps = np.diff(expansion(z, skew, excess))
    # Either may differ on the boundary itself.
    if cornish_fisher_monotone(skew, excess):
        assert steps.min() >= -1e-9
    else:
        near = [
            cornish_fisher_monotone(skew * a, excess + b)
            for a in (0.98, 1.0, 1.02)
            for b in (-0.03, 0.0, 0.03)
        ]
        assert steps.min() < 0.0 or any(near)


def test_the_domain_ends_where_maillard_says() -> None:
    assert cornish_fisher_monotone(0.0, 0.0)
    assert cornish_fisher_monotone(0.0, 8.0)
    assert not cornish_fisher_monotone(0.0, 8.001)
    assert not cornish_fisher_monotone(0.0, -0.001)
    assert not cornish_fisher_monotone(30.0, 1104.0), "a quantile function that falls throughout"
    largest = 6.0 * (math.sqrt(2.0) - 1.0)
    kurtosis = 4.0 * (1.0 + 11.0 / 36.0 * largest**2)
    assert cornish_fisher_monotone(largest - 1e-6, kurtosis)
    assert not any(cornish_fisher_monotone(largest + 1e-6, k) for k in np.linspace(0.0, 40.0, 4001))


@given(st.floats(-2.5, 2.5), st.floats(0.0, 12.0), TAIL)
def test_inside_the_domain_the_shortfall_is_at_least_the_value_at_risk(
    skew: float, excess: float, tail: float
) -> None:
    found: CornishFisherLoss = cornish_fisher_tail_loss(
        0.0, 1.0, skew=skew, excess_kurtosis=excess, tail_probability=tail
    )
    assert found.expected_shortfall >= found.value_at_risk - 1e-9 or not found.monotone


def test_without_skew_and_excess_the_expansion_is_normal() -> None:
    found = cornish_fisher_tail_loss(
        0.01, 0.2, skew=0.0, excess_kurtosis=0.0, tail_probability=0.03
    )
    assert found[:2] == pytest.approx(normal_tail_loss(0.01, 0.2, tail_probability=0.03))
    assert found.monotone


# --- filtered historical simulation


@pytest.fixture(scope="module")
def clustered() -> FloatArray:
    """Returns of a GARCH with t shocks."""
    generator = np.random.default_rng(8)
    variance, returns = 1e-4, np.empty(800)
    for t in range(800):
        returns[t] = 0.001 + math.sqrt(variance) * generator.standard_t(6) * math.sqrt(4 / 6)
        variance = 2e-6 + 0.08 * (returns[t] - 0.001) ** 2 + 0.9 * variance
    return returns


def test_shocks_are_returns_over_the_volatility_known_before(clustered: FloatArray) -> None:
    shocks, mean, variance = garch_filter(clustered, GJR, start_variance=3e-4)
    h = 3e-4
    for t, r in enumerate(clustered):
        assert shocks[t] == pytest.approx(r / math.sqrt(h), rel=1e-9)
        h = 2e-6 + (0.13 if r < 0.0 else 0.03) * r**2 + 0.9 * h
    assert mean == 0.0
    assert variance == pytest.approx(h, rel=1e-9)


def test_the_filter_starts_at_the_long_run_variance(clustered: FloatArray) -> None:
    plain = garch_filter(clustered, GARCH)
    started = garch_filter(clustered, GARCH, start_variance=2e-6 / 0.02)
    np.testing.assert_allclose(plain.standardised, started.standardised, rtol=1e-9)


def test_the_filtered_loss_follows_the_volatility_of_the_day(clustered: FloatArray) -> None:
    calm, excited = np.append(clustered, [0.001] * 20), np.append(clustered, [-0.08, 0.07])
    losses = [
        filtered_historical_tail_loss(r, tail_probability=0.05, parameters=GARCH)
        for r in (calm, excited)
    ]
    assert losses[1][0] > 2.0 * losses[0][0]
    assert losses[1][1] > losses[1][0]


def test_given_and_fitted_parameters_give_the_same_filter(clustered: FloatArray) -> None:
    fit = fit_garch(clustered)
    filtered = garch_filter(clustered)
    np.testing.assert_array_equal(filtered.standardised, fit.standardised)
    again = garch_filter(clustered, fit.parameters, start_variance=float(fit.variances[0]))
    np.testing.assert_allclose(again.standardised, fit.standardised, rtol=1e-9)
    fitted = filtered_historical_tail_loss(clustered, tail_probability=0.05)
    given_ = filtered_historical_tail_loss(
        clustered,
        tail_probability=0.05,
        parameters=fit.parameters,
        start_variance=float(fit.variances[0]),
    )
    assert fitted == pytest.approx(given_, rel=1e-9)


def test_a_fit_that_did_not_converge_is_refused_unless_it_ended_on_a_bound(
    clustered: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = replace(fit_garch(clustered), converged=False, at_bound=())
    monkeypatch.setattr(volatility_models, "fit_garch", lambda _: lost)
    with pytest.raises(ValueError, match="returns must let the GARCH fit converge, ended at Garch"):
        garch_filter(clustered)
    lost = replace(lost, at_bound=("alpha",))
    np.testing.assert_array_equal(garch_filter(clustered).standardised, lost.standardised)


@pytest.mark.parametrize("stake", [0.01, 100.0])
def test_the_fitted_filtered_loss_scales_and_shifts(clustered: FloatArray, stake: float) -> None:
    plain = np.array(filtered_historical_tail_loss(clustered, tail_probability=0.05))
    scaled = filtered_historical_tail_loss(stake * clustered, tail_probability=0.05)
    shifted = filtered_historical_tail_loss(clustered + 0.01, tail_probability=0.05)
    np.testing.assert_allclose(scaled, stake * plain, rtol=1e-5)
    np.testing.assert_allclose(shifted, plain - 0.01, rtol=1e-5)


def test_a_missing_return_gives_no_shock(clustered: FloatArray) -> None:
    holed = clustered.copy()
    holed[100] = np.nan
    shocks = garch_filter(holed, GARCH).standardised
    assert np.flatnonzero(np.isnan(shocks)).tolist() == [100]
    at_risk, _ = filtered_historical_tail_loss(holed, tail_probability=0.05, parameters=GARCH)
    assert at_risk > 0.0


# --- portfolios


def portfolio(seed: int, n: int = 4) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Signed weights, a covariance and returns."""
    generator = np.random.default_rng(seed)
    factor = generator.standard_normal((n, n)) * 0.02
    returns = generator.standard_t(4, (300, n)) @ factor
    return generator.standard_normal(n), factor.T @ factor, returns


@given(SEEDS, st.floats(0.01, 0.2))
def test_components_add_up_to_the_whole(seed: int, tail: float) -> None:
    weights, covariance, returns = portfolio(seed)
    mean = np.full(4, 0.001)
    for pair in (
        normal_contributions(weights, covariance, tail_probability=tail, mean=mean),
        historical_contributions(weights, returns, tail_probability=tail),
    ):
        for found in pair:
            assert found.component.sum() == pytest.approx(found.total, rel=1e-9)
            np.testing.assert_allclose(found.component, weights * found.marginal)


def test_the_totals_are_the_losses_of_the_portfolio() -> None:
    weights, covariance, returns = portfolio(1)
    sigma = math.sqrt(weights @ covariance @ weights)
    normal = normal_contributions(weights, covariance, tail_probability=0.05)
    found = [each.total for each in normal]
    assert found == pytest.approx(normal_tail_loss(0.0, sigma, tail_probability=0.05))
    simulated = historical_contributions(weights, returns, tail_probability=0.05)
    assert [each.total for each in simulated] == pytest.approx(
        historical_tail_loss(returns @ weights, tail_probability=0.05)
    )


def test_marginals_are_the_slopes_of_the_total() -> None:
    weights, covariance, returns = portfolio(2)
    mean = np.array([0.001, -0.002, 0.0, 0.003])

    def totals(w: FloatArray) -> FloatArray:
        pairs = (
            normal_contributions(w, covariance, tail_probability=0.07, mean=mean),
            historical_contributions(w, returns, tail_probability=0.07),
        )
        return np.array([each.total for pair in pairs for each in pair])

    slopes = np.array(
        [(totals(weights + e) - totals(weights - e)) / 2e-6 for e in np.eye(4) * 1e-6]
    )
    found = (
        *normal_contributions(weights, covariance, tail_probability=0.07, mean=mean),
        *historical_contributions(weights, returns, tail_probability=0.07),
    )
    for k, each in enumerate(found):
        np.testing.assert_allclose(each.marginal, slopes[:, k], rtol=1e-5, atol=1e-8)


def test_the_increment_is_what_closing_the_position_saves() -> None:
    weights, covariance, returns = portfolio(3)
    whole = (
        *normal_contributions(weights, covariance, tail_probability=0.05, mean=[0.001] * 4),
        *historical_contributions(weights, returns, tail_probability=0.05),
    )
    for i in range(4):
        rest = np.where(np.arange(4) == i, 0.0, weights)
        without = (
            *normal_contributions(rest, covariance, tail_probability=0.05, mean=[0.001] * 4),
            *historical_contributions(rest, returns, tail_probability=0.05),
        )
        for one, other in zip(whole, without, strict=True):
            assert one.incremental[i] == pytest.approx(one.total - other.total, rel=1e-9)


def test_a_single_position_is_the_whole_risk() -> None:
    at_risk, _ = normal_contributions([0.5], [[4e-4]], tail_probability=0.05)
    assert at_risk.component[0] == at_risk.incremental[0] == pytest.approx(at_risk.total)


def test_a_hedge_has_a_negative_component() -> None:
    covariance = 1e-4 * np.array([[1.0, 0.8], [0.8, 1.0]])
    at_risk, shortfall = normal_contributions([1.0, -0.3], covariance, tail_probability=0.05)
    assert at_risk.component[1] < 0.0
    assert shortfall.incremental[1] < 0.0


def test_scenarios_that_tie_share_the_boundary() -> None:
    returns = np.array([[-0.02, 0.0], [0.0, -0.02], [0.01, 0.01], [0.02, 0.0]])
    at_risk, shortfall = historical_contributions([1.0, 1.0], returns, tail_probability=0.25)
    np.testing.assert_allclose(at_risk.component, [0.01, 0.01])
    np.testing.assert_allclose(shortfall.component, [0.01, 0.01])


@given(SEEDS)
def test_contributions_follow_a_permutation_of_the_symbols(seed: int) -> None:
    weights, covariance, returns = portfolio(seed)
    order = np.random.default_rng(seed).permutation(4)
    plain = (
        *normal_contributions(weights, covariance, tail_probability=0.05),
        *historical_contributions(weights, returns, tail_probability=0.05),
    )
    mixed = (
        *normal_contributions(
            weights[order], covariance[np.ix_(order, order)], tail_probability=0.05
        ),
        *historical_contributions(weights[order], returns[:, order], tail_probability=0.05),
    )
    for one, other in zip(plain, mixed, strict=True):
        np.testing.assert_allclose(other.component, one.component[order], rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(other.incremental, one.incremental[order], rtol=1e-7, atol=1e-12)


def test_rows_with_a_hole_are_left_out() -> None:
    weights, _, returns = portfolio(4)
    holed = returns.copy()
    holed[::3, 1] = np.nan
    found = historical_contributions(weights, holed, tail_probability=0.05)[1]
    whole = np.delete(returns, np.s_[::3], axis=0)
    assert found.total == historical_contributions(weights, whole, tail_probability=0.05)[1].total


# --- what is refused


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, math.nan])
def test_a_probability_outside_the_unit_interval_is_refused(p: float) -> None:
    weights, covariance, returns = portfolio(5)
    for call in (
        lambda: historical_tail_loss([0.1], tail_probability=p),
        lambda: normal_tail_loss(0.0, 1.0, tail_probability=p),
        lambda: student_t_tail_loss(0.0, 1.0, dof=4.0, tail_probability=p),
        lambda: cornish_fisher_tail_loss(0.0, 1.0, skew=0.0, excess_kurtosis=0.0, tail_probability=p),
        lambda: filtered_historical_tail_loss(returns[:, 0], tail_probability=p, parameters=GARCH),
        lambda: normal_contributions(weights, covariance, tail_probability=p),
        lambda: historical_contributions(weights, returns, tail_probability=p),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"tail_probability must be in \(0, 1\), was"):
            call()


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ([], "returns must hold at least 1 known values, held 0"),
        ([np.nan, np.nan], "returns must hold at least 1 known values, held 0"),
        ([0.1, -np.inf], "returns must be finite or NaN, was infinite at 1"),
        ([[0.1, 0.2]], r"returns must have one dimension, had shape \(1, 2\)"),
    ],
)
def test_returns_that_say_nothing_are_refused(returns: list[float], message: str) -> None:
    for call in (
        lambda: historical_tail_loss(returns, tail_probability=0.05),
        lambda: garch_filter(returns, GARCH),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normal_tail_loss(0.0, -1.0, tail_probability=0.1), r"sigma must be finite and > 0, was -1\.0"),
        (lambda: normal_tail_loss(math.nan, 1.0, tail_probability=0.1), "mean must be finite, was nan"),
        (lambda: student_t_tail_loss(0.0, 0.0, dof=4.0, tail_probability=0.1), r"scale must be .* > 0, was 0\.0"),
        (lambda: student_t_tail_loss(0.0, 1.0, dof=-2.0, tail_probability=0.1), r"dof must be .* > 0, was -2\.0"),
        (lambda: student_t_scale(1.0, dof=2.0), r"dof must be > 2 .* was 2\.0"),
        (lambda: student_t_scale(0.0, dof=3.0), r"sigma must be finite and > 0, was 0\.0"),
        (lambda: fit_student_t([0.1, 0.2, 0.3]), "returns must hold at least 4 known values, held 3"),
        (lambda: fit_student_t([0.1] * 9), "9 of 9 were 0.1"),
        (lambda: fit_student_t([0.0, 0.0, 0.1, 0.2]), "2 of 4 were 0.0"),
        (lambda: cornish_fisher_tail_loss(0.0, 1.0, skew=math.inf, excess_kurtosis=0.0, tail_probability=0.1),
         "skew must be finite, was inf"),
        (lambda: garch_filter([0.1, 0.2], GARCH, start_variance=-1.0), r"start_variance must be .* > 0, was -1\.0"),
        (lambda: garch_filter([0.1, 0.2], EXPLOSIVE), "start_variance must be finite and > 0, was inf"),
        (lambda: garch_filter([0.1, 0.2], start_variance=1.0), r"start_variance must come with parameters, was 1\.0"),
        (lambda: garch_filter([0.0, 0.0], EMPTY, start_variance=1.0), r"parameters must keep the variance > 0, was 0"),
        (lambda: garch_filter([0.01] * 200), "returns must vary"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("weights", "covariance", "message"),
    [
        ([1.0, -1.0], np.ones((2, 2)), "weights must have a portfolio variance > 0, was 0"),
        ([0.0, 0.0], np.eye(2), "weights must have a portfolio variance > 0, was 0"),
        ([1.0, 1.0], np.diag([1.0, -1.0]), "covariance must be positive semidefinite, had the eigenvalue -1"),
        ([1.0, 1.0], np.array([[1.0, 0.5], [0.2, 1.0]]), "covariance must be symmetric"),
        ([1.0, 1.0], np.eye(3), r"covariance must have shape \(2, 2\), had \(3, 3\)"),
        ([1.0, np.nan], np.eye(2), "weights must be finite, held nan"),
        ([1.0, 1.0], np.diag([1.0, np.nan]), "covariance must be finite, held nan"),
        ([[1.0, 1.0]], np.eye(2), r"weights must have 1 dimension\(s\), had shape \(1, 2\)"),
    ],
)  # fmt: skip
def test_portfolios_without_a_risk_are_refused(
    weights: list[float], covariance: FloatArray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        normal_contributions(weights, covariance, tail_probability=0.05)


def test_a_singular_covariance_will_do_if_the_portfolio_has_a_variance() -> None:
    at_risk, _ = normal_contributions([1.0, 1.0], np.ones((2, 2)), tail_probability=0.05)
    np.testing.assert_allclose(at_risk.component, at_risk.total / 2.0)


def test_scenarios_that_do_not_fit_the_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"returns must have 2 columns, had shape \(5, 3\)"):
        historical_contributions([1.0, 1.0], np.zeros((5, 3)), tail_probability=0.05)
    with pytest.raises(ValueError, match="returns must have a row without NaN, had none"):
        historical_contributions([1.0, 1.0], [[np.nan, 0.1]], tail_probability=0.05)
    with pytest.raises(ValueError, match=r"mean must have the shape of weights \(2,\), was \(1,\)"):
        normal_contributions([1.0, 1.0], np.eye(2), tail_probability=0.05, mean=[0.0])
