"""Kelly's criterion: against cone solvers and simulation, inside its limits, concave, refused without sense."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.finance import kelly
from quantcore.finance.ruin import share_below
from quantcore.types import FloatArray

COVARIANCE = [[0.09, 0.03], [0.03, 0.0625]]
COIN = [[1.0], [-1.0]]


def market(seed: int, n_assets: int) -> tuple[FloatArray, FloatArray]:
    """Means and covariance per day of assets that move together, as coins do."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(0.8, 0.3, (n_assets, 2))
    correlations = loadings @ loadings.T + np.diag(rng.uniform(0.05, 1.0, n_assets))
    scale = rng.uniform(0.01, 0.08, n_assets) / np.sqrt(np.diag(correlations))
    covariance = correlations * np.outer(scale, scale)
    return rng.normal(0.0, 0.05, n_assets) * np.sqrt(np.diag(covariance)), covariance


def days(seed: int, n_days: int, n_assets: int) -> tuple[FloatArray, FloatArray]:
    """Fat-tailed daily returns, each as likely as any other."""
    rng = np.random.default_rng(seed)
    shocks = rng.standard_t(4.0, (n_days, n_assets)) + rng.standard_t(4.0, (n_days, 1))
    returns = 0.015 * shocks + rng.normal(0.001, 0.002, n_assets)
    return np.clip(returns, -0.6, None), np.full(n_days, 1.0 / n_days)


def optimum(mean: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.solve(matrix, mean), dtype=np.float64)


def limits(seed: int, n_assets: int, full: FloatArray) -> dict[str, Any]:
    """A cap that binds more or less, and a box that sometimes forbids one side."""
    rng = np.random.default_rng(seed)
    cap = float(np.abs(full).sum() * rng.uniform(0.02, 1.2)) + 1e-9
    side = rng.integers(0, 3, n_assets)
    return {
        "gross_cap": cap,
        "lower": np.where(side == 0, 0.0, -cap * rng.uniform(0.05, 1.0, n_assets)),
        "upper": np.where(side == 1, 0.0, cap * rng.uniform(0.05, 1.0, n_assets)),
    }


def assert_inside(weights: FloatArray, limits: dict[str, Any]) -> None:
    assert np.abs(weights).sum() <= limits["gross_cap"] * (1.0 + 1e-15)
    assert (weights >= limits["lower"]).all()
    assert (weights <= limits["upper"]).all()


# One bet


def test_a_bet_without_an_edge_is_not_taken() -> None:
    for p_win in (0.0, 0.3, 0.5):
        bet = {"p_win": p_win, "win_per_unit": 1.0, "loss_per_unit": 1.0}
        assert kelly.binary_kelly(**bet, fraction=1.0) == 0.0


@given(
    p=st.floats(0.0, 1.0),
    win=st.floats(0.01, 100.0),
    loss=st.floats(0.01, 100.0),
    other=st.floats(0.0, 0.999),
)
def test_no_stake_grows_faster_than_the_kelly_stake(
    p: float, win: float, loss: float, other: float
) -> None:
    bet = {"p_win": p, "win_per_unit": win, "loss_per_unit": loss}
    full = kelly.binary_kelly(**bet, fraction=1.0)
    assert 0.0 <= full * loss <= 1.0
    best = kelly.binary_growth(min(full, 0.9999999 / loss), **bet)
    assert kelly.binary_growth(other / loss, **bet) <= best + 1e-5 * (p == 1.0) + 1e-12


@given(mean=st.floats(-1.0, 1.0), sigma=st.floats(0.05, 2.0), r=st.floats(0.0, 0.1))
def test_half_kelly_keeps_three_quarters_and_double_kelly_nothing(
    mean: float, sigma: float, r: float
) -> None:
    asset: dict[str, Any] = {"mean": mean, "sigma": sigma, "risk_free": r}
    full = kelly.lognormal_kelly(**asset, fraction=1.0, long_only=False)
    best, volatility = kelly.lognormal_growth(full, **asset)
    assert kelly.lognormal_growth(full / 2, **asset)[0] - r == pytest.approx(0.75 * (best - r))
    assert kelly.lognormal_growth(2 * full, **asset)[0] == pytest.approx(r, abs=1e-9 + 1e-9 * best)
    assert volatility == pytest.approx(abs(mean - r) / sigma)


def test_a_negative_edge_is_sold_only_where_that_is_allowed() -> None:
    assert kelly.lognormal_kelly(-0.1, sigma=0.5, fraction=0.5) == 0.0
    short = kelly.lognormal_kelly(-0.1, sigma=0.5, fraction=0.5, long_only=False)
    assert short == pytest.approx(-0.2)
    assert kelly.kelly_weights([-0.1], [[0.25]], fraction=0.5) == pytest.approx([-0.2])
    assert kelly.kelly_weights([-0.1], [[0.25]], fraction=0.5, lower=0.0).tolist() == [0.0]
    losing = [0.4, 0.6]
    assert kelly.scenario_kelly(COIN, losing, fraction=1.0) == pytest.approx([-0.2])
    assert kelly.scenario_kelly(COIN, losing, fraction=1.0, lower=0.0).tolist() == [0.0]
    assert kelly.risk_constrained_kelly(COIN, losing, lambda_=3.0, lower=0.0).tolist() == [0.0]
    mean, second = [-0.2], [[1.0]]
    assert kelly.quadratic_risk_constrained_kelly(mean, second, lambda_=3.0, lower=0.0) == [0.0]


# Several assets, means and covariance


def test_without_limits_the_weights_are_the_closed_form() -> None:
    mean, covariance = market(1, 6)
    full = np.linalg.solve(covariance, mean)
    for fraction in (0.25, 1.0):
        weights = kelly.kelly_weights(mean, covariance, fraction=fraction)
        np.testing.assert_allclose(weights, fraction * full, rtol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_limited_weights_are_those_of_a_cone_solver_and_grow_no_slower(seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    n_assets = 3 + 4 * seed
    mean, covariance = market(seed, n_assets)
    bounds = limits(seed, n_assets, optimum(mean, covariance))
    ours = kelly.kelly_weights(mean, covariance, fraction=1.0, **bounds)
    held = cp.Variable(n_assets)
    growth = mean @ held - 0.5 * cp.quad_form(held, cp.psd_wrap(covariance))
    inside = [
        cp.norm1(held) <= bounds["gross_cap"],
        held >= bounds["lower"],
        held <= bounds["upper"],
    ]
    # In its own units the solver stops while weights are still off by a thousandth.
    cp.Problem(cp.Maximize(growth * 1e3), inside).solve(solver="CLARABEL")
    np.testing.assert_allclose(ours, held.value, atol=2e-4 * bounds["gross_cap"])
    lost = kelly.gaussian_growth(held.value, mean, covariance) - kelly.gaussian_growth(
        ours, mean, covariance
    )
    assert lost <= 1e-9 * abs(growth.value)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), n_assets=st.integers(1, 12), fraction=st.floats(0.05, 1.0))
def test_weights_stay_inside_and_no_allowed_move_grows_faster(
    seed: int, n_assets: int, fraction: float
) -> None:
    mean, covariance = market(seed, n_assets)
    bounds = limits(seed, n_assets, fraction * optimum(mean, covariance))
    weights = kelly.kelly_weights(mean, covariance, fraction=fraction, **bounds)
    assert_inside(weights, bounds)
    gradient = fraction * mean - covariance @ weights
    # Over the allowed set a linear function is largest where the best assets are filled up to the cap.
    room = np.where(gradient > 0.0, bounds["upper"], bounds["lower"])
    order = np.argsort(-np.abs(gradient))
    filled = np.minimum(np.cumsum(np.abs(room[order])), bounds["gross_cap"])
    best = float(np.abs(gradient[order]) @ np.diff(filled, prepend=0.0))
    scale = float(np.abs(mean) @ np.abs(weights)) + best
    assert best - float(gradient @ weights) <= 1e-9 * scale


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n_assets=st.integers(2, 10))
def test_weights_follow_a_permutation_and_a_change_of_sign(seed: int, n_assets: int) -> None:
    mean, covariance = market(seed, n_assets)
    bounds = limits(seed, n_assets, optimum(mean, covariance))
    weights = kelly.kelly_weights(mean, covariance, fraction=1.0, **bounds)
    order = np.random.default_rng(seed).permutation(n_assets)
    moved = kelly.kelly_weights(
        mean[order],
        covariance[np.ix_(order, order)],
        fraction=1.0,
        gross_cap=bounds["gross_cap"],
        lower=bounds["lower"][order],
        upper=bounds["upper"][order],
    )
    np.testing.assert_allclose(moved, weights[order], atol=1e-9 * bounds["gross_cap"])
    mirrored = kelly.kelly_weights(
        -mean,
        covariance,
        fraction=1.0,
        gross_cap=bounds["gross_cap"],
        lower=-bounds["upper"],
        upper=-bounds["lower"],
    )
    np.testing.assert_allclose(mirrored, -weights, atol=1e-9 * bounds["gross_cap"])


def test_nearly_equal_assets_are_solved_too() -> None:
    n_assets = 25
    covariance = 1e-4 * (0.9999 + 0.0001 * np.eye(n_assets))
    mean = np.random.default_rng(2).normal(0.0, 1e-4, n_assets)
    weights = kelly.kelly_weights(mean, covariance, fraction=0.5, gross_cap=2.0)
    gradient = 0.5 * mean - covariance @ weights
    active, price = weights != 0.0, np.abs(gradient).max()
    assert 0 < active.sum() < n_assets
    assert np.abs(weights).sum() == pytest.approx(2.0, rel=1e-9)
    np.testing.assert_allclose(gradient[active], price * np.sign(weights[active]), rtol=1e-6)


# Scenarios


@pytest.mark.parametrize(("n_days", "n_assets"), [(60, 2), (400, 8)])
@pytest.mark.parametrize("cap", [0.5, 4.0])
def test_scenario_weights_are_those_of_a_cone_solver_and_grow_no_slower(
    n_days: int, n_assets: int, cap: float
) -> None:
    cp = pytest.importorskip("cvxpy")
    returns, probabilities = days(n_days, n_days, n_assets)
    ours = kelly.scenario_kelly(returns, probabilities, fraction=1.0, gross_cap=cap, lower=-0.4)
    held = cp.Variable(n_assets)
    growth = probabilities @ cp.log(1.0 + returns @ held)
    cp.Problem(cp.Maximize(growth), [cp.norm1(held) <= cap, held >= -0.4]).solve(solver="CLARABEL")
    np.testing.assert_allclose(ours, held.value, atol=1e-3)
    assert kelly.scenario_growth(ours, returns, probabilities) >= growth.value - 1e-12


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n_assets=st.integers(1, 6), fraction=st.floats(0.1, 1.0))
def test_scenario_weights_stay_inside_and_no_mixture_grows_faster(
    seed: int, n_assets: int, fraction: float
) -> None:
    returns, probabilities = days(seed, 80, n_assets)
    bounds = limits(seed, n_assets, np.ones(n_assets))
    weights = kelly.scenario_kelly(returns, probabilities, fraction=fraction, **bounds)
    assert_inside(weights, bounds)
    full = weights / fraction
    best = kelly.scenario_growth(full, returns, probabilities)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        other = rng.uniform(bounds["lower"], bounds["upper"])
        other *= min(1.0, bounds["gross_cap"] / np.abs(other).sum()) / fraction
        # A short way towards any allowed bet; the whole way may lose everything.
        moved = full + 1e-3 * (other - full)
        assert kelly.scenario_growth(moved, returns, probabilities) <= best + 1e-13


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 1.0))
def test_growth_is_concave(seed: int, share: float) -> None:
    returns, probabilities = days(seed, 30, 3)
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(-0.3, 0.3, (2, 3))
    mixed = share * one + (1.0 - share) * other
    mean, covariance = market(seed, 3)

    def by_scenario(held: FloatArray) -> float:
        return kelly.scenario_growth(held, returns, probabilities)

    def by_moments(held: FloatArray) -> float:
        return kelly.gaussian_growth(held, mean, covariance)

    for growth in (by_scenario, by_moments):
        assert growth(mixed) >= share * growth(one) + (1 - share) * growth(other) - 1e-14


def test_scenarios_and_assets_may_come_in_any_order() -> None:
    returns, probabilities = days(4, 100, 4)
    weights = kelly.scenario_kelly(returns, probabilities, fraction=0.5, gross_cap=1.0)
    rng = np.random.default_rng(4)
    rows, columns = rng.permutation(100), rng.permutation(4)
    moved = kelly.scenario_kelly(
        returns[np.ix_(rows, columns)], probabilities[rows], fraction=0.5, gross_cap=1.0
    )
    np.testing.assert_allclose(moved, weights[columns], atol=1e-9)


def test_small_scenarios_agree_with_their_moments() -> None:
    returns, probabilities = days(5, 500, 3)
    small = returns * 0.01
    by_scenario = kelly.scenario_kelly(small, probabilities, fraction=0.5, gross_cap=20.0)
    mean = probabilities @ small
    by_moments = kelly.kelly_weights(
        mean, (small.T * probabilities) @ small, fraction=0.5, gross_cap=20.0
    )
    np.testing.assert_allclose(by_scenario, by_moments, rtol=2e-3, atol=0.02)


def test_limits_bind_what_is_held_after_the_fraction() -> None:
    generous = kelly.scenario_kelly(COIN, [0.9, 0.1], fraction=0.5, gross_cap=0.5)
    assert generous == pytest.approx([0.4])
    tight = kelly.scenario_kelly(COIN, [0.9, 0.1], fraction=0.5, gross_cap=0.3)
    assert tight == pytest.approx([0.3])


def test_a_total_loss_however_improbable_is_kept_survivable() -> None:
    returns, probabilities = [[0.05], [-1.0]], [1.0 - 1e-6, 1e-6]
    (weight,) = kelly.scenario_kelly(returns, probabilities, fraction=1.0, gross_cap=10.0)
    assert 0.99 < weight < 1.0
    assert math.isfinite(kelly.scenario_growth([weight], returns, probabilities))
    with pytest.raises(ValueError, match=r"weights must keep some wealth in scenario 1"):
        kelly.scenario_growth([1.0], returns, probabilities)


def test_scenarios_of_probability_zero_do_not_count() -> None:
    with_ghost = kelly.scenario_kelly([*COIN, [-50.0]], [0.6, 0.4, 0.0], fraction=1.0)
    assert with_ghost == pytest.approx([0.2], abs=1e-12)


def test_growth_without_bound_is_refused_and_capped_growth_is_not() -> None:
    sure = [[0.1], [0.2]]
    with pytest.raises(ValueError, match=r"gross_cap must bound the growth .* was inf"):
        kelly.scenario_kelly(sure, [0.5, 0.5], fraction=0.5)
    capped = kelly.scenario_kelly(sure, [0.5, 0.5], fraction=0.5, gross_cap=3.0)
    assert capped == pytest.approx([3.0], rel=1e-14)


# Risk-constrained


@pytest.mark.parametrize("lambda_", [1.5, 6.0, 20.0])
def test_risk_constrained_weights_are_those_of_a_cone_solver(lambda_: float) -> None:
    cp = pytest.importorskip("cvxpy")
    returns, probabilities = days(6, 60, 4)
    returns = returns * 3.0
    bounds = {"gross_cap": 1.5, "lower": -0.5}
    ours = kelly.risk_constrained_kelly(returns, probabilities, lambda_=lambda_, **bounds)
    held = cp.Variable(4)
    logs = cp.log(1.0 + returns @ held)
    inside = [
        cp.norm1(held) <= 1.5,
        held >= -0.5,
        cp.log_sum_exp(np.log(probabilities) - lambda_ * logs) <= 0.0,
    ]
    cp.Problem(cp.Maximize(probabilities @ logs), inside).solve(solver="CLARABEL")
    np.testing.assert_allclose(ours, held.value, atol=2e-3)
    growth = kelly.scenario_growth(ours, returns, probabilities)
    assert growth >= float(probabilities @ np.log(1.0 + returns @ held.value)) - 1e-8


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), lambda_=st.floats(0.0, 60.0))
def test_the_risk_constraint_holds_and_more_of_it_means_less_growth(
    seed: int, lambda_: float
) -> None:
    returns, probabilities = days(seed, 50, 3)
    bounds = limits(seed, 3, np.full(3, 4.0))
    weights = kelly.risk_constrained_kelly(returns, probabilities, lambda_=lambda_, **bounds)
    assert_inside(weights, bounds)
    assert float(probabilities @ (1.0 + returns @ weights) ** -lambda_) <= 1.0 + 1e-10
    stricter = kelly.risk_constrained_kelly(
        returns, probabilities, lambda_=2.0 * lambda_ + 1.0, **bounds
    )
    assert (
        kelly.scenario_growth(stricter, returns, probabilities)
        <= kelly.scenario_growth(weights, returns, probabilities) + 1e-12
    )


def test_wealth_falls_below_the_level_less_often_than_the_bound_says() -> None:
    returns, probabilities = [[0.25], [-0.2]], [0.55, 0.45]
    alpha, beta = 0.7, 0.2
    weights = kelly.risk_constrained_kelly(
        returns, probabilities, lambda_=kelly.drawdown_lambda(alpha, beta)
    )
    rng = np.random.default_rng(8)
    wins = rng.random((4_000, 3_000)) < probabilities[0]
    paths = np.where(wins, 0.25, -0.2) * weights[0]
    below = share_below(paths, threshold=alpha)
    assert 0.5 * beta < below < beta
    unconstrained = kelly.scenario_kelly(returns, probabilities, fraction=1.0)
    assert share_below(paths * (unconstrained[0] / weights[0]), threshold=alpha) > beta


def test_a_lambda_of_zero_or_one_leaves_the_kelly_bet() -> None:
    returns, probabilities = days(9, 50, 3)
    full = kelly.scenario_kelly(returns, probabilities, fraction=1.0, gross_cap=5.0)
    for lambda_ in (0.0, 1.0):
        weights = kelly.risk_constrained_kelly(
            returns, probabilities, lambda_=lambda_, gross_cap=5.0
        )
        np.testing.assert_allclose(weights, full, atol=1e-9)


@given(alpha=st.floats(0.01, 0.99), beta=st.floats(0.01, 0.99))
def test_bound_and_lambda_are_inverse(alpha: float, beta: float) -> None:
    bound = kelly.drawdown_bound(alpha, kelly.drawdown_lambda(alpha, beta))
    assert bound == pytest.approx(beta)


def test_the_quadratic_bet_is_a_fraction_of_kelly_where_no_limit_binds() -> None:
    mean, second = market(10, 5)
    full = np.linalg.solve(second, mean)
    for lambda_, fraction in ((0.0, 1.0), (1.0, 1.0), (3.0, 0.5), (9.0, 0.2)):
        weights = kelly.quadratic_risk_constrained_kelly(mean, second, lambda_=lambda_)
        np.testing.assert_allclose(weights, fraction * full, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_limited_quadratic_bets_are_those_of_a_cone_solver(seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    mean, second = market(seed, 6)
    bounds, lambda_ = limits(seed, 6, optimum(mean, second)), 2.5
    ours = kelly.quadratic_risk_constrained_kelly(mean, second, lambda_=lambda_, **bounds)
    assert_inside(ours, bounds)
    risk = float(ours @ second @ ours)
    assert 0.5 * (lambda_ + 1.0) * risk <= float(mean @ ours) * (1.0 + 1e-9)
    held = cp.Variable(6)
    spread = cp.quad_form(held, cp.psd_wrap(second * 1e3))
    inside = [
        cp.norm1(held) <= bounds["gross_cap"],
        held >= bounds["lower"],
        held <= bounds["upper"],
        0.5 * (lambda_ + 1.0) * spread <= 1e3 * mean @ held,
    ]
    cp.Problem(cp.Maximize(1e3 * mean @ held - 0.5 * spread), inside).solve(solver="CLARABEL")
    np.testing.assert_allclose(ours, held.value, atol=1e-3 * bounds["gross_cap"])


def test_the_quadratic_bet_approaches_the_exact_one_for_small_returns() -> None:
    returns, probabilities = days(11, 300, 2)
    # A small edge per period makes bets whose results are small too.
    faint = returns - returns.mean(axis=0) + 0.02 * returns.std(axis=0)
    exact = kelly.risk_constrained_kelly(faint, probabilities, lambda_=4.0)
    mean, second = probabilities @ faint, (faint.T * probabilities) @ faint
    quadratic = kelly.quadratic_risk_constrained_kelly(mean, second, lambda_=4.0)
    np.testing.assert_allclose(quadratic, exact, rtol=0.02)


# Estimation error


def test_shrunk_weights_come_closest_to_the_best_on_average() -> None:
    rng = np.random.default_rng(12)
    n_assets, n_days, n_samples = 4, 60, 4_000
    mean = np.full(n_assets, 0.15)
    samples = rng.normal(size=(n_samples, n_days, n_assets)) + mean
    estimates = samples.mean(axis=1)
    centred = samples - estimates[:, None, :]
    covariances = np.einsum("sti,stj->sij", centred, centred) / n_days
    weights = np.linalg.solve(covariances, estimates[:, :, None])[:, :, 0]

    def growth(scale: float) -> float:
        return float(np.mean(scale * weights @ mean - 0.5 * scale**2 * (weights**2).sum(axis=1)))

    best = kelly.estimation_shrinkage(float(mean @ mean), n_observations=n_days, n_assets=n_assets)
    assert 0.3 < best < 0.7
    assert growth(best) > max(growth(1.0), growth(0.5 * best), growth(1.5 * best))
    # A parabola in the scale: its top, found from three points, is where the formula says.
    down, middle, up = growth(0.9 * best), growth(best), growth(1.1 * best)
    top = best + 0.05 * best * (up - down) / (2.0 * middle - up - down)
    assert top == pytest.approx(best, rel=0.05)


def test_the_adjusted_sharpe_ratio_is_nearer_to_the_true_one_than_the_sample_is() -> None:
    rng = np.random.default_rng(13)
    n_assets, n_days, true = 5, 120, 0.02
    mean = np.full(n_assets, math.sqrt(true / n_assets))
    errors = []
    for _ in range(400):
        sample = rng.normal(size=(n_days, n_assets)) + mean
        average = sample.mean(axis=0)
        spread = np.cov(sample.T, ddof=0)
        raw = float(average @ np.linalg.solve(spread, average))
        adjusted = kelly.adjusted_squared_sharpe(raw, n_observations=n_days, n_assets=n_assets)
        assert 0.0 <= adjusted <= raw
        errors.append((raw - true, adjusted - true))
    raw_error, adjusted_error = np.sqrt(np.mean(np.square(errors), axis=0))
    assert adjusted_error < 0.6 * raw_error


def test_an_adjusted_sharpe_ratio_rises_with_the_sample_from_zero() -> None:
    samples = [0.0, 1e-12, 1e-6, 1e-3, 0.01, 0.05, 0.2, 1.0, 10.0]
    adjusted = [kelly.adjusted_squared_sharpe(x, n_observations=60, n_assets=3) for x in samples]
    assert adjusted[0] == 0.0
    assert adjusted == sorted(adjusted)
    assert adjusted[-1] == pytest.approx(((60 - 3 - 2) * 10.0 - 3) / 60, rel=1e-6)


@given(theta=st.floats(0.0, 10.0), n_assets=st.integers(1, 30), more=st.integers(1, 2000))
def test_the_shrinkage_is_a_share(theta: float, n_assets: int, more: int) -> None:
    scale = kelly.estimation_shrinkage(theta, n_observations=n_assets + 4 + more, n_assets=n_assets)
    assert 0.0 <= scale < 1.0


# Bad input

Call = Callable[[], object]
BAD: list[tuple[Call, str]] = [
    (lambda: kelly.binary_kelly(1.2, win_per_unit=1, loss_per_unit=1, fraction=1), "p_win must be in"),
    (lambda: kelly.binary_kelly(math.nan, win_per_unit=1, loss_per_unit=1, fraction=1), "p_win .* nan"),
    (lambda: kelly.binary_kelly(0.6, win_per_unit=0, loss_per_unit=1, fraction=1), "win_per_unit must"),
    (lambda: kelly.binary_kelly(0.6, win_per_unit=1, loss_per_unit=-1, fraction=1), "loss_per_unit .* -1"),
    (lambda: kelly.binary_growth(1.0, p_win=0.6, win_per_unit=1, loss_per_unit=1), "stake must .* 1.0"),
    (lambda: kelly.lognormal_kelly(0.1, sigma=-1.0, fraction=1), r"sigma must be > 0 .* was -1.0"),
    (lambda: kelly.lognormal_kelly(math.nan, sigma=1.0, fraction=1), "must be finite, was nan"),
    (lambda: kelly.kelly_weights([math.nan, 0.1], COVARIANCE, fraction=1), "mean must be finite"),
    (lambda: kelly.kelly_weights([], [], fraction=1), "mean must be a vector"),
    (lambda: kelly.kelly_weights([0.1], COVARIANCE, fraction=1), r"covariance must be of shape \(1, 1\)"),
    (lambda: kelly.kelly_weights([0.1, 0.1], np.ones((2, 2)), fraction=1), "covariance must be positive"),
    (lambda: kelly.kelly_weights([0.1], [[-1.0]], fraction=1), "variances > 0, was -1.0"),
    (lambda: kelly.kelly_weights([0.1], [[0.0]], fraction=1), "variances > 0, was 0.0"),
    (lambda: kelly.kelly_weights([0.1, 0.1], [[1.0, 0.5], [0.1, 1.0]], fraction=1), "must be symmetric"),
    (lambda: kelly.kelly_weights([0.1], [[math.inf]], fraction=1), "must be finite"),
    (lambda: kelly.kelly_weights([0.1], [[1.0]], fraction=1, gross_cap=0.0), "gross_cap must be > 0"),
    (lambda: kelly.kelly_weights([0.1], [[1.0]], fraction=1, gross_cap=math.nan), "gross_cap .* nan"),
    (lambda: kelly.kelly_weights([0.1], [[1.0]], fraction=1, lower=0.1), "lower must be <= 0, was 0.1"),
    (lambda: kelly.kelly_weights([0.1], [[1.0]], fraction=1, upper=[-0.1]), "upper must be >= 0"),
    (lambda: kelly.kelly_weights([0.1], [[1.0]], fraction=1, upper=[1.0, 1.0]), "upper must be a number"),
    (lambda: kelly.scenario_kelly(COIN, [0.6, 0.6], fraction=1), "probabilities must add up to 1"),
    (lambda: kelly.scenario_kelly(COIN, [1.2, -0.2], fraction=1), "probabilities must be >= 0, was -0.2"),
    (lambda: kelly.scenario_kelly(COIN, [1.0], fraction=1), r"returns must be of shape \(1, n_assets\)"),
    (lambda: kelly.scenario_kelly([[math.nan], [1.0]], [0.5, 0.5], fraction=1), "returns must be finite"),
    (lambda: kelly.scenario_kelly([[0.1, 0.2]], [1.0], fraction=1), "must have at least 2 rows, was 1"),
    (lambda: kelly.scenario_kelly([[0.1, 0.2], [0.2, 0.4]], [0.5, 0.5], fraction=1), "positive definite"),
    (lambda: kelly.scenario_kelly(np.zeros((2, 1)), [0.5, 0.5], fraction=1), "variances > 0"),
    (lambda: kelly.scenario_growth([0.1, 0.1], COIN, [0.5, 0.5]), r"weights must be of shape \(1,\)"),
    (lambda: kelly.drawdown_lambda(1.0, 0.1), r"alpha must be in \(0, 1\)"),
    (lambda: kelly.drawdown_lambda(0.5, 0.0), r"beta must be in \(0, 1\)"),
    (lambda: kelly.drawdown_bound(0.0, 1.0), r"alpha must be in \(0, 1\)"),
    (lambda: kelly.risk_constrained_kelly(COIN, [0.6, 0.4], lambda_=-1.0), "lambda_ must be >= 0"),
    (lambda: kelly.quadratic_risk_constrained_kelly([0.1], [[0.0]], lambda_=1.0), "second_moment must"),
    (lambda: kelly.estimation_shrinkage(0.1, n_observations=7, n_assets=3), "n_observations .* 7"),
    (lambda: kelly.estimation_shrinkage(-0.1, n_observations=70, n_assets=3), "Sharpe .* -0.1"),
    (lambda: kelly.adjusted_squared_sharpe(0.1, n_observations=70, n_assets=0), "n_assets must be >= 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, math.nan])
def test_a_fraction_outside_its_range_is_refused_everywhere(fraction: float) -> None:
    for call in (
        lambda: kelly.binary_kelly(0.6, win_per_unit=1.0, loss_per_unit=1.0, fraction=fraction),
        lambda: kelly.lognormal_kelly(0.1, sigma=0.5, fraction=fraction),
        lambda: kelly.kelly_weights([0.1], [[1.0]], fraction=fraction),
        lambda: kelly.scenario_kelly(COIN, [0.6, 0.4], fraction=fraction),
    ):
        with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\], was"):
            call()


def test_inputs_are_left_as_they_were() -> None:
    mean, covariance = market(14, 3)
    before = mean.copy(), covariance.copy()
    mean.flags.writeable = covariance.flags.writeable = False
    kelly.kelly_weights(mean, np.asfortranarray(covariance), fraction=0.5, gross_cap=0.1)
    np.testing.assert_array_equal(mean, before[0])
    np.testing.assert_array_equal(covariance, before[1])
