"""Weights from risk, scenarios and utility: budgets met, order followed, limits kept, libraries agreed with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.finance import portfolio
from quantcore.finance.portfolio import LONG_ONLY, Linkage, WeightLimits
from quantcore.types import FloatArray

FREE = WeightLimits(lower=-50.0, upper=50.0, net=(-1e4, 1e4), gross_max=math.inf)


def random_covariance(seed: int, n: int) -> FloatArray:
    """A well-conditioned covariance with volatilities over two decades."""
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(n, 3))
    base = loadings @ loadings.T + np.diag(rng.uniform(0.1, 2.0, n))
    scale = 10.0 ** rng.uniform(-3, -1, n)
    return np.asarray(base * np.outer(scale, scale))


def random_returns(seed: int, rows: int, n: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    market = rng.standard_t(4, (rows, 1)) * 0.02
    return np.asarray(market + rng.standard_t(4, (rows, n)) * rng.uniform(0.01, 0.03, n))


def expected_shortfall(losses: FloatArray, tail: float) -> float:
    """Mean of the worst share of equally likely losses, the last one counted in part."""
    worst = np.sort(losses)[::-1]
    share = np.clip(tail * len(worst) - np.arange(len(worst)), 0.0, 1.0)
    return float(share @ worst / (tail * len(worst)))


# Inverse volatility and risk budgets


def test_equal_correlations_make_equal_risk_inverse_volatility() -> None:
    sigma = np.array([0.1, 0.2, 0.3, 0.4])
    corr = np.where(np.eye(4) > 0, 1.0, 0.3)
    found = portfolio.risk_budgeting(corr * np.outer(sigma, sigma))
    np.testing.assert_allclose(found.weights, portfolio.inverse_volatility(sigma), atol=1e-10)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), signed=st.booleans(), even=st.booleans())
def test_risk_shares_equal_their_budgets(seed: int, n: int, signed: bool, even: bool) -> None:
    covariance = random_covariance(seed, n)
    rng = np.random.default_rng(seed)
    budgets = None if even else rng.uniform(0.01, 1.0, n)
    signs = rng.choice([-1.0, 1.0], n) if signed else None
    found = portfolio.risk_budgeting(covariance, budgets=budgets, signs=signs)
    wanted = np.full(n, 1.0 / n) if budgets is None else budgets / budgets.sum()
    risk = found.weights * (covariance @ found.weights)
    np.testing.assert_allclose(risk / risk.sum(), wanted, atol=1e-8)
    np.testing.assert_allclose(found.risk_shares, wanted, atol=1e-8)
    assert found.volatility == pytest.approx(math.sqrt(risk.sum()), rel=1e-9)
    assert found.risk_contributions.sum() == pytest.approx(found.volatility, rel=1e-12)
    assert np.abs(found.weights).sum() == pytest.approx(1.0, rel=1e-12)
    assert (np.sign(found.weights) == (1.0 if signs is None else signs)).all()


@given(seed=st.integers(0, 10**6), n=st.integers(2, 10))
def test_risk_budgets_follow_a_permutation(seed: int, n: int) -> None:
    covariance, rng = random_covariance(seed, n), np.random.default_rng(seed)
    budgets, shuffled = rng.uniform(0.1, 1.0, n), rng.permutation(n)
    found = portfolio.risk_budgeting(covariance, budgets=budgets)
    other = portfolio.risk_budgeting(
        covariance[np.ix_(shuffled, shuffled)], budgets=budgets[shuffled]
    )
    np.testing.assert_allclose(other.weights, found.weights[shuffled], atol=1e-9)


def test_risk_budgets_do_not_depend_on_the_unit_of_a_symbol() -> None:
    covariance, unit = random_covariance(3, 5), np.array([1.0, 10.0, 0.01, 1.0, 5.0])
    found = portfolio.risk_budgeting(covariance)
    scaled = portfolio.risk_budgeting(covariance * np.outer(unit, unit))
    expected = found.weights / unit
    np.testing.assert_allclose(scaled.weights, expected / expected.sum(), rtol=1e-9)


def test_signs_mirror_the_covariance_and_zero_drops_a_symbol() -> None:
    covariance = random_covariance(5, 4)
    signs = np.array([2.0, -0.1, 0.0, 3.0])
    found = portfolio.risk_budgeting(covariance, signs=signs, budgets=[1.0, 2.0, 9.0, 1.0])
    kept = [0, 1, 3]
    sides = np.sign(signs[kept])
    mirrored = covariance[np.ix_(kept, kept)] * np.outer(sides, sides)
    expected = portfolio.risk_budgeting(mirrored, budgets=[1.0, 2.0, 1.0])
    np.testing.assert_allclose(found.weights[kept], expected.weights * sides, rtol=1e-12)
    assert found.weights[2] == found.risk_shares[2] == 0.0
    np.testing.assert_allclose(found.risk_shares[kept], [0.25, 0.5, 0.25], atol=1e-8)


def test_a_singular_covariance_of_twins_shares_their_risk() -> None:
    found = portfolio.risk_budgeting([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert found.weights[0] == pytest.approx(found.weights[1], abs=1e-10)
    np.testing.assert_allclose(found.risk_shares, 1.0 / 3.0, atol=1e-8)


def test_very_unequal_budgets_are_met() -> None:
    budgets = np.array([1e-6, 1e-3, 1.0, 0.5])
    found = portfolio.risk_budgeting(random_covariance(8, 4), budgets=budgets)
    np.testing.assert_allclose(found.risk_shares, budgets / budgets.sum(), atol=1e-9)


def test_equal_risk_equals_skfolio() -> None:
    from skfolio import RiskMeasure
    from skfolio.optimization import RiskBudgeting

    returns = random_returns(1, 400, 8)
    library = RiskBudgeting(risk_measure=RiskMeasure.VARIANCE).fit(returns)
    found = portfolio.risk_budgeting(np.cov(returns.T))
    np.testing.assert_allclose(found.weights, library.weights_, atol=1e-4)


@pytest.mark.parametrize(
    ("covariance", "settings_", "message"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], {"signs": [1, -1]}, "covariance must leave every portfolio"),
        ([[1.0, 2.0], [2.0, 1.0]], {}, "covariance must be positive semidefinite, .* was -1"),
        ([[1.0, 0.0], [0.0, -1.0]], {}, r"covariance must have variances > 0, was -1\.0 in row 1"),
        ([[1.0, np.nan], [np.nan, 1.0]], {}, "covariance must be finite"),
        ([[1.0, 0.1]], {}, "covariance must be square"),
        ([[1.0]], {"budgets": [0.0]}, r"budgets must be > 0, was 0\.0 at 0"),
        ([[1.0]], {"budgets": [1.0, 1.0]}, r"budgets must have the 1 entries .* shape \(2,\)"),
        ([[1.0]], {"signs": [0]}, "signs must have one that is not 0"),
        ([[1.0]], {"signs": [np.nan]}, "signs must be finite, was nan at 0"),
    ],
)
def test_risk_budgeting_names_what_it_refuses(
    covariance: list[list[float]], settings_: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        portfolio.risk_budgeting(covariance, **settings_)


@pytest.mark.parametrize("volatility", [[], [0.0], [-1.0], [np.nan], [np.inf]])
def test_inverse_volatility_refuses_what_is_no_volatility(volatility: list[float]) -> None:
    with pytest.raises(ValueError, match="volatility must"):
        portfolio.inverse_volatility(volatility)


# Hierarchical risk parity


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 12),
    linkage=st.sampled_from(["single", "average", "complete", "ward"]),
    second=st.booleans(),
    optimal=st.booleans(),
)
def test_hierarchical_weights_follow_a_permutation(
    seed: int, n: int, linkage: Linkage, second: bool, optimal: bool
) -> None:
    covariance = random_covariance(seed, n)
    shuffled = np.random.default_rng(seed).permutation(n)
    one, other = (
        portfolio.hierarchical_risk_parity(
            given_,
            linkage=linkage,
            distances_of_distances=second,
            leaf_order="optimal" if optimal else "canonical",
        )
        for given_ in (covariance, covariance[np.ix_(shuffled, shuffled)])
    )
    np.testing.assert_array_equal(other.weights, one.weights[shuffled])
    np.testing.assert_array_equal(shuffled[other.order], one.order)
    assert one.weights.sum() == pytest.approx(1.0, rel=1e-12)
    assert (one.weights > 0.0).all()


def test_equal_distances_do_not_make_weights_depend_on_the_order_given() -> None:
    sigma = np.array([0.3, 0.1, 0.2, 0.5, 0.4])
    covariance = np.where(np.eye(5) > 0, 1.0, 0.5) * np.outer(sigma, sigma)
    one = portfolio.hierarchical_risk_parity(covariance)
    back = portfolio.hierarchical_risk_parity(covariance[::-1, ::-1])
    np.testing.assert_array_equal(back.weights[::-1], one.weights)


@given(seed=st.integers(0, 10**6), n=st.integers(3, 9))
def test_equal_variances_do_not_make_weights_depend_on_the_order_given(seed: int, n: int) -> None:
    covariance = random_covariance(seed, n)
    scale = np.sqrt(np.diag(covariance))
    corr = covariance / np.outer(scale, scale)
    np.fill_diagonal(corr, 1.0)
    shuffled = np.random.default_rng(seed).permutation(n)
    one = portfolio.hierarchical_risk_parity(corr)
    other = portfolio.hierarchical_risk_parity(corr[np.ix_(shuffled, shuffled)])
    np.testing.assert_array_equal(other.weights, one.weights[shuffled])


def test_with_the_order_given_a_permutation_changes_weights() -> None:
    """What the canonical order is for: five symbols, halved through the middle of a pair."""
    blocks = np.array([[1.0, 0.9, 0.5], [0.9, 1.0, 0.5], [0.5, 0.5, 1.0]])
    corr = np.full((5, 5), 0.1)
    corr[:3, :3], corr[3:, 3:] = blocks, [[1.0, 0.8], [0.8, 1.0]]
    sigma = np.array([0.1, 0.4, 0.2, 0.3, 0.3])
    covariance, swapped = corr * np.outer(sigma, sigma), [1, 0, 2, 3, 4]
    for order, equal in (("given", False), ("canonical", True)):
        one, other = (
            portfolio.hierarchical_risk_parity(c, leaf_order=order)  # type: ignore[arg-type] # a word of the two
            for c in (covariance, covariance[np.ix_(swapped, swapped)])
        )
        assert np.array_equal(other.weights, one.weights[swapped]) == equal


def test_similar_symbols_stand_side_by_side() -> None:
    sides = np.array([0, 1, 0, 1, 0, 1])
    corr = np.where(sides[:, None] == sides, 0.8, 0.0)
    np.fill_diagonal(corr, 1.0)
    found = portfolio.hierarchical_risk_parity(corr)
    assert sorted(found.order[:3] % 2) in ([0, 0, 0], [1, 1, 1])
    assert sorted(found.order.tolist()) == list(range(6))
    leaves = [int(k) for k in found.links[:, :2].ravel() if k < 6]
    assert sorted(leaves) == list(range(6))


def test_the_tree_names_columns() -> None:
    corr = np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])
    sigma = np.array([3.0, 1.0, 2.0])
    found = portfolio.hierarchical_risk_parity(corr * np.outer(sigma, sigma))
    assert set(found.links[0, :2]) == {0.0, 2.0}
    assert found.links[0, 2] == pytest.approx(math.sqrt(0.05))
    assert set(found.links[1, :2]) == {1.0, 3.0}
    assert found.order.tolist() == [1, 2, 0]


def test_optimal_order_gives_the_weights_of_skfolio() -> None:
    from skfolio import RiskMeasure
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.distance import PearsonDistance
    from skfolio.optimization import HierarchicalRiskParity
    from skfolio.seriation import HierarchicalSeriation

    for seed in range(5):
        returns = random_returns(seed, 300, 9)
        library = HierarchicalRiskParity(
            risk_measure=RiskMeasure.VARIANCE,
            distance_estimator=PearsonDistance(),
            seriation_estimator=HierarchicalSeriation(
                hierarchical_clustering_estimator=HierarchicalClustering(
                    linkage_method=LinkageMethod.SINGLE
                )
            ),
        ).fit(returns)
        found = portfolio.hierarchical_risk_parity(np.cov(returns.T), leaf_order="optimal")
        np.testing.assert_allclose(found.weights, library.weights_, atol=1e-9)


def test_a_hedge_without_risk_does_not_divide_by_zero() -> None:
    found = portfolio.hierarchical_risk_parity([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_allclose(found.weights, 0.5)
    four = np.kron(np.eye(2), [[1.0, -1.0], [-1.0, 1.0]])
    assert portfolio.hierarchical_risk_parity(four).weights.tolist() == [0.25] * 4


def test_hierarchical_risk_parity_names_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"linkage must be one of single.*was 'median'"):
        portfolio.hierarchical_risk_parity(np.eye(2), linkage="median")  # type: ignore[arg-type] # a wrong word
    with pytest.raises(ValueError, match=r"leaf_order must be one of canonical.*was 'none'"):
        portfolio.hierarchical_risk_parity(np.eye(2), leaf_order="none")  # type: ignore[arg-type] # a wrong word
    with pytest.raises(ValueError, match="covariance must have variances > 0"):
        portfolio.hierarchical_risk_parity(np.diag([1.0, 0.0]))


# Minimum CVaR

LONG_SHORT = WeightLimits(lower=-0.5, upper=0.6, net=(1.0, 1.0), gross_max=1.6)


@pytest.mark.parametrize("limits", [LONG_ONLY, LONG_SHORT])
def test_cvar_is_the_shortfall_of_the_weights_and_of_the_scenarios_that_count(
    limits: WeightLimits,
) -> None:
    returns = random_returns(2, 203, 6)
    found = portfolio.minimum_cvar(returns, tail_probability=0.06, limits=limits)
    losses = -returns @ found.weights
    assert found.cvar == pytest.approx(expected_shortfall(losses, 0.06), rel=1e-9)
    assert found.scenario_weights.sum() == pytest.approx(1.0, rel=1e-9)
    assert found.scenario_weights.max() <= 1.0 / (0.06 * 203) * (1 + 1e-9)
    assert (found.scenario_weights[losses < found.value_at_risk - 1e-9] == 0.0).all()
    assert found.scenario_weights @ losses == pytest.approx(found.cvar, rel=1e-9)
    assert found.risk_contributions.sum() == pytest.approx(found.cvar, rel=1e-9)
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-9)
    assert np.abs(found.weights).sum() <= limits.gross_max + 1e-9
    assert (found.weights >= np.asarray(limits.lower) - 1e-9).all()
    assert (found.weights <= np.asarray(limits.upper) + 1e-9).all()


def test_no_other_portfolio_within_the_limits_has_a_smaller_shortfall() -> None:
    returns, rng = random_returns(4, 150, 4), np.random.default_rng(0)
    best = portfolio.minimum_cvar(returns, tail_probability=0.1, limits=LONG_ONLY)
    for weights in [*rng.dirichlet(np.ones(4), 300), *np.eye(4)]:
        for mix in (1.0, 0.1, 0.01):
            tried = mix * weights + (1.0 - mix) * best.weights
            assert expected_shortfall(-returns @ tried, 0.1) >= best.cvar - 1e-12


def test_minimum_cvar_equals_skfolio() -> None:
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    returns = random_returns(6, 300, 7)
    library = MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=0.9).fit(returns)
    found = portfolio.minimum_cvar(returns, tail_probability=0.1, limits=LONG_ONLY)
    shortfall = expected_shortfall(-returns @ library.weights_, 0.1)
    assert found.cvar == pytest.approx(shortfall, abs=1e-7)
    np.testing.assert_allclose(found.weights, library.weights_, atol=1e-3)


def test_long_short_programme_equals_the_primal_in_cvxpy() -> None:
    import cvxpy as cp

    returns = random_returns(9, 120, 5)
    returns[:, 0] += 0.004
    limits = WeightLimits(
        lower=[-0.4, -0.4, 0.05, -0.4, -0.4], upper=0.7, net=(-0.2, 0.3), gross_max=1.2
    )
    found = portfolio.minimum_cvar(returns, tail_probability=0.1, limits=limits, mean_min=0.001)
    w, level = cp.Variable(5), cp.Variable()
    shortfall = level + cp.sum(cp.pos(-returns @ w - level)) / (0.1 * 120)
    within = [w >= limits.lower, w <= 0.7, cp.sum(w) >= -0.2, cp.sum(w) <= 0.3, cp.norm1(w) <= 1.2]
    problem = cp.Problem(cp.Minimize(shortfall), [*within, returns.mean(axis=0) @ w >= 0.001])
    problem.solve(solver=cp.CLARABEL)
    assert found.cvar == pytest.approx(float(problem.value), abs=1e-8)
    assert returns.mean(axis=0) @ found.weights >= 0.001 - 1e-9
    assert found.weights[2] >= 0.05 - 1e-9
    np.testing.assert_allclose(found.weights, w.value, atol=1e-4)


@given(scale=st.floats(0.01, 100.0), shift=st.floats(-0.02, 0.02))
@settings(max_examples=15)
def test_minimum_cvar_scales_and_shifts_with_the_returns(scale: float, shift: float) -> None:
    returns = random_returns(11, 60, 3)
    one = portfolio.minimum_cvar(returns, tail_probability=0.2, limits=LONG_ONLY)
    other = portfolio.minimum_cvar(
        scale * (returns + shift), tail_probability=0.2, limits=LONG_ONLY
    )
    assert other.cvar == pytest.approx(scale * (one.cvar - shift), rel=1e-6, abs=1e-9 * scale)


def test_where_nothing_may_be_held_nothing_is_lost() -> None:
    limits = WeightLimits(lower=-1.0, upper=1.0, net=(-1.0, 1.0), gross_max=1.0)
    returns = random_returns(3, 50, 3)
    returns -= returns.mean(axis=0)
    found = portfolio.minimum_cvar(returns, tail_probability=0.1, limits=limits)
    np.testing.assert_allclose(found.weights, 0.0, atol=1e-12)
    assert found.cvar == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("returns", "tail", "message"),
    [
        (np.ones((1, 1)), 0.1, "returns must have more rows than columns"),
        (random_returns(0, 3, 3), 0.1, "returns must have more rows than columns"),
        (np.full((5, 2), np.nan), 0.1, "returns must be finite, was nan at 0, 0"),
        (np.c_[random_returns(0, 5, 1), np.zeros(5)], 0.1, r"returns must vary .* was 0\.0 at 1"),
        (random_returns(0, 9, 2), 0.0, r"tail_probability must be in \(0, 1\), was 0\.0"),
        (random_returns(0, 9, 2), 1.5, r"tail_probability must be in \(0, 1\), was 1\.5"),
    ],
)
def test_minimum_cvar_names_what_it_refuses(returns: FloatArray, tail: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        portfolio.minimum_cvar(returns, tail_probability=tail, limits=LONG_ONLY)


def test_a_mean_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="limits and mean_min must leave a portfolio, left none"):
        portfolio.minimum_cvar(
            random_returns(0, 20, 2), tail_probability=0.1, limits=LONG_ONLY, mean_min=1.0
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.5, 0.1, (1.0, 1.0), 1.0), "lower must be finite and <= upper"),
        ((0.0, math.inf, (1.0, 1.0), 1.0), "lower must be finite and <= upper"),
        ((0.0, 1.0, (1.0, 0.0), 1.0), "net must be"),
        ((0.0, 1.0, (0.0, 1.0), 0.0), r"gross_max must be > 0, was 0\.0"),
    ],
)
def test_limits_that_contradict_are_refused(
    values: tuple[float, float, tuple[float, float], float], message: str
) -> None:
    lower, upper, net, gross = values
    with pytest.raises(ValueError, match=message):
        WeightLimits(lower=lower, upper=upper, net=net, gross_max=gross)


@pytest.mark.parametrize(
    "limits",
    [
        WeightLimits(lower=0.0, upper=0.2, net=(1.0, 1.0), gross_max=1.0),
        WeightLimits(lower=0.4, upper=1.0, net=(0.0, 1.0), gross_max=9.0),
        WeightLimits(lower=[-1.0, 0.6, 0.6], upper=1.0, net=(0.0, 1.0), gross_max=1.0),
    ],
)
def test_limits_without_a_portfolio_are_refused(limits: WeightLimits) -> None:
    with pytest.raises(ValueError, match="limits must leave a portfolio"):
        limits.box(3)


# Shrunk means, the band, and mean-variance


def test_bayes_stein_means_equal_skfolio() -> None:
    from skfolio.moments import ShrunkMu, ShrunkMuMethods

    returns = random_returns(7, 90, 6)
    library = ShrunkMu(method=ShrunkMuMethods.BAYES_STEIN, vol_weighted_target=True).fit(returns)
    found = portfolio.shrink_means(
        returns.mean(axis=0), np.cov(returns.T, ddof=1), n_observations=90, method="bayes_stein"
    )
    library_covariance = library.covariance_estimator_.covariance_
    assert np.allclose(library_covariance, np.cov(returns.T, ddof=1))
    np.testing.assert_allclose(found.means, library.mu_, rtol=1e-8)
    assert found.shrinkage == pytest.approx(float(library.beta_), rel=1e-8)


@given(seed=st.integers(0, 10**6), n=st.integers(3, 8), extra=st.integers(3, 2000))
def test_shrinkage_is_a_share_that_falls_with_more_observations(
    seed: int, n: int, extra: int
) -> None:
    covariance = random_covariance(seed, n)
    means = np.random.default_rng(seed).normal(0.0, 0.01, n)
    for method in ("bayes_stein", "james_stein"):
        few, many = (
            portfolio.shrink_means(means, covariance, n_observations=k, method=method)
            for k in (n + extra, 10 * (n + extra))
        )
        assert 0.0 <= many.shrinkage <= few.shrinkage <= 1.0
        expected = few.shrinkage * few.target + (1.0 - few.shrinkage) * means
        np.testing.assert_allclose(few.means, expected, rtol=1e-12)


def test_equal_means_stay_and_james_stein_lowers_the_error(rng: np.random.Generator) -> None:
    same = portfolio.shrink_means(
        [0.01] * 4, random_covariance(0, 4), n_observations=50, method="james_stein"
    )
    np.testing.assert_allclose(same.means, 0.01)
    true, covariance = np.linspace(0.0, 0.2, 8), np.eye(8)
    raw = shrunk = 0.0
    for _ in range(300):
        sample = true + rng.normal(size=8) / math.sqrt(30)
        found = portfolio.shrink_means(sample, covariance, n_observations=30, method="james_stein")
        raw += float(((sample - true) ** 2).sum())
        shrunk += float(((found.means - true) ** 2).sum())
    assert shrunk < 0.6 * raw


@pytest.mark.parametrize(
    ("n", "observations", "method", "message"),
    [
        (3, 5, "bayes_stein", "n_observations must be > 5, was 5"),
        (2, 50, "james_stein", "means must have 3 entries or more"),
        (3, 50, "lasso", "method must be bayes_stein or james_stein, was 'lasso'"),
    ],
)
def test_shrink_means_names_what_it_refuses(
    n: int, observations: int, method: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        portfolio.shrink_means(
            np.zeros(n),
            np.eye(n),
            n_observations=observations,
            method=method,  # type: ignore[arg-type] # a wrong word
        )
    with pytest.raises(ValueError, match="covariance must be positive definite"):
        portfolio.shrink_means([0.0, 0.0], np.ones((2, 2)), n_observations=9, method="bayes_stein")


@given(
    mu=st.floats(-0.2, 0.2),
    variance=st.floats(0.01, 1.0),
    previous=st.floats(-2.0, 2.0),
    cost=st.floats(0.0, 0.05),
)
def test_the_band_holds_every_weight_from_which_no_trade_pays(
    mu: float, variance: float, previous: float, cost: float
) -> None:
    band = portfolio.no_trade_band(
        mu, variance, risk_aversion=2.0, previous=previous, linear_cost=cost
    )

    def utility(w: float) -> float:
        return mu * w - variance * w * w - cost * abs(w - previous)

    assert band.lower <= band.weight <= band.upper
    assert (band.weight == previous) == (band.lower <= previous <= band.upper)
    for step in (-0.1, -1e-4, 1e-4, 0.1):
        assert utility(band.weight) >= utility(band.weight + step) - 1e-12


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variance": -1.0}, r"variance must be > 0 and finite, was -1\.0"),
        ({"risk_aversion": 0.0}, r"risk_aversion must be > 0 and finite, was 0\.0"),
        ({"linear_cost": -0.1}, r"linear_cost must be >= 0 and finite, was -0\.1"),
        ({"expected_return": math.nan}, "expected_return must be finite, was nan"),
        ({"previous": math.inf}, "previous must be finite, was inf"),
    ],
)
def test_the_band_names_what_it_refuses(changed: dict[str, float], message: str) -> None:
    x = {
        "expected_return": 0.1,
        "variance": 0.1,
        "risk_aversion": 1.0,
        "previous": 0.0,
        "linear_cost": 0.0,
    } | changed
    with pytest.raises(ValueError, match=message):
        portfolio.no_trade_band(
            x["expected_return"],
            x["variance"],
            risk_aversion=x["risk_aversion"],
            previous=x["previous"],
            linear_cost=x["linear_cost"],
        )


@given(seed=st.integers(0, 10**6), n=st.integers(1, 5))
@settings(max_examples=12)
def test_uncorrelated_symbols_without_limits_have_the_band_of_one(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    mu, variance = rng.normal(0.0, 0.05, n), rng.uniform(0.02, 0.3, n)
    previous, costs = rng.normal(0.0, 0.5, n), rng.uniform(0.0, 0.03, n)
    found = portfolio.mean_variance(
        mu,
        np.diag(variance),
        risk_aversion=2.0,
        limits=FREE,
        previous=previous,
        linear_costs=costs,
    )
    bands = [
        portfolio.no_trade_band(m, v, risk_aversion=2.0, previous=p, linear_cost=c)
        for m, v, p, c in zip(mu, variance, previous, costs, strict=True)
    ]
    np.testing.assert_allclose(found.weights, [b.weight for b in bands], atol=1e-7)
    inside = np.array([b.lower < p < b.upper for b, p in zip(bands, previous, strict=True)])
    assert (found.trades[inside] == 0.0).all()
    assert found.gross_price == 0.0
    assert found.net_price == pytest.approx(0.0, abs=1e-9)


def problem(seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means, covariance and weights held, of hourly size."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 2e-4, 8), random_covariance(seed, 8) * 1e-2, rng.normal(0.0, 0.1, 8)


@pytest.mark.parametrize("seed", range(4))
def test_no_portfolio_within_the_limits_has_more_utility(seed: int) -> None:
    mu, covariance, held = problem(seed)
    limits = WeightLimits(lower=-0.3, upper=0.4, net=(-0.1, 0.2), gross_max=1.0)
    found = portfolio.mean_variance(
        mu, covariance, risk_aversion=3.0, limits=limits, previous=held, linear_costs=1e-4
    )

    def utility(w: FloatArray) -> float:
        return float(mu @ w - 1.5 * w @ covariance @ w - 1e-4 * np.abs(w - held).sum())

    assert found.utility == pytest.approx(utility(found.weights), rel=1e-9)
    assert found.utility == pytest.approx(
        found.expected_return - 1.5 * found.variance - found.cost, rel=1e-12
    )
    assert found.cost == pytest.approx(1e-4 * found.turnover, rel=1e-12)
    assert np.abs(found.weights).sum() <= 1.0 + 1e-7
    assert -0.1 - 1e-7 <= found.weights.sum() <= 0.2 + 1e-7
    assert (found.weights >= -0.3 - 1e-7).all()
    assert (found.weights <= 0.4 + 1e-7).all()
    rng, tried = np.random.default_rng(seed), 0
    while tried < 200:
        w = rng.uniform(-0.3, 0.4, 8) * rng.integers(0, 2, 8)
        if np.abs(w).sum() <= 1.0 and -0.1 <= w.sum() <= 0.2:
            tried += 1
            for mix in (1.0, 0.1, 0.001):
                assert utility(mix * w + (1.0 - mix) * found.weights) <= found.utility + 1e-11


def test_prices_of_the_limits_are_what_widening_them_is_worth() -> None:
    mu, covariance, held = problem(1)

    def solve(gross: float, net: float) -> portfolio.MeanVariance:
        limits = WeightLimits(lower=-1.0, upper=1.0, net=(-0.5, net), gross_max=gross)
        return portfolio.mean_variance(
            np.abs(mu) + 1e-4, covariance, risk_aversion=1.0, limits=limits, previous=held
        )

    base = solve(0.8, 0.3)
    assert base.gross_price > 0.0
    assert base.net_price > 0.0
    wider, higher = solve(0.801, 0.3), solve(0.8, 0.301)
    assert (wider.utility - base.utility) / 0.001 == pytest.approx(base.gross_price, rel=0.02)
    assert (higher.utility - base.utility) / 0.001 == pytest.approx(base.net_price, rel=0.02)


def test_higher_costs_trade_less_until_nothing_is_traded() -> None:
    mu, covariance, _ = problem(2)
    held = np.full(8, 0.1)
    turnover = [
        portfolio.mean_variance(
            mu, covariance, risk_aversion=3.0, limits=FREE, previous=held, linear_costs=cost
        ).turnover
        for cost in (0.0, 5e-5, 2e-4, 1e-2)
    ]
    assert turnover == sorted(turnover, reverse=True)
    assert turnover[0] > turnover[1] > 0.0 == turnover[-1]


def test_mean_variance_names_what_it_refuses() -> None:
    def solve(**changed: object) -> None:
        x: dict[str, object] = {"mu": [0.1, 0.1], "aversion": 1.0, "previous": None, "costs": 0.0}
        x |= changed
        portfolio.mean_variance(
            x["mu"],  # type: ignore[arg-type] # bad values are the point
            np.eye(2),
            risk_aversion=x["aversion"],  # type: ignore[arg-type] # as above
            limits=LONG_ONLY,
            previous=x["previous"],  # type: ignore[arg-type] # as above
            linear_costs=x["costs"],  # type: ignore[arg-type] # as above
        )

    solve()
    for changed, message in (
        ({"mu": [0.1, np.nan]}, "expected_returns must be finite, was nan at 1"),
        ({"mu": [0.1]}, "expected_returns must have the 2 entries"),
        ({"aversion": -1.0}, r"risk_aversion must be > 0 and finite, was -1\.0"),
        ({"previous": [0.0, np.inf]}, "previous must be finite, was inf at 1"),
        ({"costs": [0.0, -0.1]}, r"linear_costs must be >= 0, was -0\.1 at 1"),
    ):
        with pytest.raises(ValueError, match=message):
            solve(**changed)
    with pytest.raises(ValueError, match="covariance must be positive semidefinite"):
        portfolio.mean_variance(
            [0.1, 0.1], [[1.0, 2.0], [2.0, 1.0]], risk_aversion=1.0, limits=LONG_ONLY
        )
