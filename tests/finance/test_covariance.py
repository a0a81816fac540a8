"""Covariances against numpy, pandas, scikit-learn, skfolio and a slow copy of the papers; positive definite always."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quantcore.finance.covariance import (
    EIGENVALUE_FLOOR,
    CovarianceEstimate,
    HistoryRules,
    correlation,
    ewma_covariance,
    from_correlation,
    ledoit_wolf,
    nearest_positive_definite,
    sample_covariance,
    volatilities,
)
from quantcore.kernels.ewm import ewm_cov_init, ewm_cov_scan, half_life_decay
from quantcore.types import FloatArray

CONSERVATIVE = HistoryRules(minimum_rows=10, short="conservative")


def market(seed: int, n: int, n_symbols: int) -> FloatArray:
    """Returns with a common factor, different loadings and volatilities, and heavy tails."""
    rng = np.random.default_rng(seed)
    factor = rng.standard_t(4, (n, 1)) * np.linspace(1.0, -0.2, n_symbols)
    own = rng.standard_t(4, (n, n_symbols))
    return np.asarray((factor + 0.6 * own) * np.linspace(0.01, 0.05, n_symbols))


def late(seed: int, n: int, n_symbols: int) -> FloatArray:
    """The same with staggered listings and single holes."""
    values = market(seed, n, n_symbols)
    for i in range(n_symbols):
        values[: i * n // (2 * n_symbols), i] = np.nan
    values[np.random.default_rng(seed).random(values.shape) < 0.03] = np.nan
    return values


ESTIMATORS: dict[str, Callable[..., CovarianceEstimate]] = {
    "sample": sample_covariance,
    "ewma": lambda r, **kw: ewma_covariance(r, half_life=30.0, **kw),
    "identity": lambda r, **kw: ledoit_wolf(r, target="identity", **kw),
    "constant correlation": lambda r, **kw: ledoit_wolf(r, target="constant_correlation", **kw),
}


def least_eigenvalue(covariance: FloatArray) -> float:
    return float(np.linalg.eigvalsh(correlation(covariance))[0])


@pytest.mark.parametrize("ddof", [0, 1])
def test_sample_covariance_is_numpys(ddof: int) -> None:
    returns = market(1, 100, 6)
    found = sample_covariance(returns, ddof=ddof)
    np.testing.assert_allclose(found.covariance, np.cov(returns.T, ddof=ddof), rtol=1e-12)
    assert found.correlation_change == 0.0
    assert not found.filled.any()


def test_ewma_covariance_is_the_kernels_where_nothing_is_missing() -> None:
    returns = market(2, 300, 5)
    scan = ewm_cov_scan(returns, half_life_decay(40.0), ewm_cov_init(5))
    found = ewma_covariance(returns, half_life=40.0)
    np.testing.assert_allclose(found.covariance, scan[-1], rtol=1e-10)


def test_ewma_covariance_is_that_of_skfolio() -> None:
    from skfolio.moments import EWCovariance

    returns = market(3, 300, 4)
    theirs = EWCovariance(half_life=40.0, assume_centered=True).fit(returns).covariance_
    ours = ewma_covariance(returns, half_life=40.0).covariance
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize(("n", "n_symbols"), [(24, 4), (250, 25), (20, 30)])
def test_identity_target_is_that_of_scikit_learn(n: int, n_symbols: int) -> None:
    from sklearn.covariance import ledoit_wolf as theirs

    returns = market(4, n, n_symbols)
    covariance, shrinkage = theirs(returns)
    ours = ledoit_wolf(returns, target="identity")
    assert ours.shrinkage == pytest.approx(shrinkage, rel=1e-10)
    assert ours.mean_variance == pytest.approx(returns.var(axis=0).mean(), rel=1e-12)
    np.testing.assert_allclose(ours.covariance, covariance, rtol=1e-9, atol=1e-18)
    assert ours.correlation_change == 0.0


def slow_constant_correlation(x: Any, ddof: int) -> tuple[float, float]:
    """Shrinkage and mean correlation of the paper's appendix, sum by sum."""
    n, m = x.shape
    y = x - x.mean(axis=0)
    s = y.T @ y / (n - ddof)
    sd: Any = np.sqrt(np.diag(s))
    pairs = [(i, j) for i in range(m) for j in range(m) if i != j]
    r_bar = float(np.mean([s[i, j] / sd[i] / sd[j] for i, j in pairs]))
    pi = rho = gamma = 0.0
    for i in range(m):
        for j in range(m):
            noise = np.mean((y[:, i] * y[:, j] - s[i, j]) ** 2)
            pi += noise
            if i == j:
                rho += noise
                continue
            gamma += (r_bar * sd[i] * sd[j] - s[i, j]) ** 2
            for a, b in ((i, j), (j, i)):
                theta = np.mean((y[:, a] ** 2 - s[a, a]) * (y[:, i] * y[:, j] - s[i, j]))
                rho += r_bar / 2.0 * sd[b] / sd[a] * theta
    return min(max((pi - rho) / gamma / n, 0.0), 1.0), r_bar


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(("n", "n_symbols"), [(40, 6), (60, 3), (15, 20)])
def test_constant_correlation_is_the_papers(n: int, n_symbols: int, ddof: int) -> None:
    returns = market(5, n, n_symbols)
    shrinkage, mean_correlation = slow_constant_correlation(returns, ddof)
    ours = ledoit_wolf(returns, target="constant_correlation", ddof=ddof)
    assert 0.0 < shrinkage < 1.0
    assert ours.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    assert ours.mean_correlation == pytest.approx(mean_correlation, rel=1e-9)
    np.testing.assert_allclose(np.diag(ours.covariance), returns.var(axis=0, ddof=ddof), rtol=1e-12)
    sample = np.corrcoef(returns.T)
    expected: Any = shrinkage * mean_correlation + (1.0 - shrinkage) * sample
    off = ~np.eye(n_symbols, dtype=bool)
    np.testing.assert_allclose(correlation(ours.covariance)[off], expected[off], rtol=1e-8)


def test_shrinkage_beats_the_sample_where_rows_are_few() -> None:
    rng = np.random.default_rng(6)
    true = from_correlation(np.full(20, 0.02), np.full((20, 20), 0.5) + 0.5 * np.eye(20))
    root = np.linalg.cholesky(true)
    errors = dict.fromkeys(("sample", "identity", "constant correlation"), 0.0)
    for _ in range(20):
        returns = rng.standard_normal((40, 20)) @ root.T
        for name in errors:
            errors[name] += float(((ESTIMATORS[name](returns).covariance - true) ** 2).sum())
    assert errors["constant correlation"] < 0.8 * errors["identity"] < 0.8 * errors["sample"]


@pytest.mark.parametrize("name", ESTIMATORS)
@given(seed=st.integers(0, 1000), n=st.integers(40, 90), n_symbols=st.integers(1, 12))
def test_estimates_are_positive_definite_and_symmetric(
    name: str, seed: int, n: int, n_symbols: int
) -> None:
    returns = late(seed, n, n_symbols)
    if n_symbols > 2:
        returns[:, 1] = returns[:, 0] * 2.0  # one of them says nothing new
    found = ESTIMATORS[name](returns, rules=CONSERVATIVE)
    np.testing.assert_array_equal(found.covariance, found.covariance.T)
    assert least_eigenvalue(found.covariance) >= EIGENVALUE_FLOOR * (1.0 - 1e-6)
    np.linalg.cholesky(found.covariance)
    assert 0.0 <= found.correlation_change < 1.0


@pytest.mark.parametrize("name", ESTIMATORS)
@given(seed=st.integers(0, 100), scale=st.floats(1e-5, 1e5))
def test_estimates_follow_units_and_order_of_the_symbols(
    name: str, seed: int, scale: float
) -> None:
    returns = late(seed, 80, 6)
    found = ESTIMATORS[name](returns)
    scaled = ESTIMATORS[name](returns * scale)
    np.testing.assert_allclose(scaled.covariance, found.covariance * scale**2, rtol=1e-7)
    order = np.random.default_rng(seed).permutation(6)
    permuted = ESTIMATORS[name](returns[:, order])
    np.testing.assert_allclose(
        permuted.covariance, found.covariance[np.ix_(order, order)], rtol=1e-7
    )
    np.testing.assert_array_equal(permuted.filled, found.filled[np.ix_(order, order)])


@pytest.mark.parametrize("name", ["sample", "ewma", "constant correlation"])
def test_each_symbols_own_unit_leaves_the_correlations(name: str) -> None:
    returns = late(7, 90, 5)
    units = np.array([1.0, 1e-3, 7.0, 2.0, 100.0])
    one, other = (correlation(ESTIMATORS[name](r).covariance) for r in (returns, returns * units))
    if name == "constant correlation":
        # The intensity weighs squared covariances, which the units change; its target does not move.
        assert np.abs(one - other).max() < 0.2
    else:
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_frames_rows_that_miss_a_value_enter_pair_by_pair() -> None:
    returns = late(8, 200, 4)
    found = sample_covariance(returns)
    variances = np.nanvar(returns, axis=0, ddof=1)
    np.testing.assert_allclose(np.diag(found.covariance), variances, rtol=1e-10)
    centred = returns - np.nanmean(returns, axis=0)
    both = ~np.isnan(centred[:, [1, 3]]).any(axis=1)
    x, y = centred[both][:, 1], centred[both][:, 3]
    expected = x @ y / math.sqrt((x @ x) * (y @ y))
    assert correlation(found.covariance)[1, 3] == pytest.approx(expected, rel=1e-10)
    assert expected == pytest.approx(pd.DataFrame(returns).corr().iloc[1, 3], abs=0.02)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_older_rows_of_one_symbol_leave_the_other_pairs(name: str) -> None:
    returns = market(9, 100, 3)
    returns[:50, 2] = np.nan
    other = returns.copy()
    other[60, 2] = np.nan
    first, second = (ESTIMATORS[name](r) for r in (returns, other))
    if name in ("sample", "ewma"):
        np.testing.assert_allclose(first.covariance[:2, :2], second.covariance[:2, :2], rtol=1e-12)
    assert not np.allclose(first.covariance[2], second.covariance[2], rtol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_short_history_is_refused_by_name(name: str) -> None:
    returns = market(10, 60, 3)
    returns[5:, 2] = np.nan
    with pytest.raises(ValueError, match=r"at least 10 rows per symbol, held \{'column 2': 5\}"):
        ESTIMATORS[name](returns)
    panel = pd.DataFrame(returns, columns=["BTCUSDT", "ETHUSDT", "NEWUSDT"])
    with pytest.raises(ValueError, match=r"held \{'NEWUSDT': 5\}"):
        ESTIMATORS[name](panel)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_short_history_may_count_as_a_bad_one(name: str, rows: int) -> None:
    returns = market(11, 60, 4)
    returns[: 60 - rows, 0] = np.nan
    found = ESTIMATORS[name](returns, rules=CONSERVATIVE)
    without = ESTIMATORS[name](returns[:, 1:])
    np.testing.assert_allclose(found.covariance[1:, 1:], without.covariance, rtol=1e-9)
    largest = np.diag(without.covariance).max()
    assert found.covariance[0, 0] >= largest * (1.0 - 1e-12)
    off = correlation(without.covariance)[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(correlation(found.covariance)[0, 1:], off.mean(), rtol=1e-9)
    assert found.filled[0].all()
    assert found.filled[:, 0].all()
    assert not found.filled[1:, 1:].any()


def test_a_wild_short_history_keeps_its_own_variance() -> None:
    returns = market(12, 60, 3)
    returns[:55, 0] = np.nan
    returns[55:, 0] = [0.5, -0.6, 0.4, -0.5, 0.3]
    found = sample_covariance(returns, rules=CONSERVATIVE)
    assert found.covariance[0, 0] == pytest.approx(np.var(returns[55:, 0], ddof=1))


@pytest.mark.parametrize("common", [0, 9])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_pairs_that_hardly_met_get_the_mean_correlation(name: str, common: int) -> None:
    returns = market(13, 100, 4)
    returns[:50, 0] = np.nan
    returns[50 + common :, 1] = np.nan
    found = ESTIMATORS[name](returns)
    assert found.filled[0, 1]
    assert found.filled.sum() == 2
    if name == "sample":
        matrix = correlation(found.covariance)
        others = [matrix[i, j] for i in range(4) for j in range(i) if (i, j) != (1, 0)]
        assert matrix[0, 1] == pytest.approx(np.mean(others), rel=1e-9)


def test_two_symbols_that_never_met_are_refused() -> None:
    returns = market(14, 60, 2)
    returns[:30, 0] = np.nan
    returns[30:, 1] = np.nan
    with pytest.raises(ValueError, match="a pair of symbols with 10 rows in common, held none"):
        sample_covariance(returns)


@given(
    seed=st.integers(0, 500), n=st.integers(2, 8), floor=st.sampled_from([1e-8, 1e-4, 0.05, 0.9])
)
def test_repair_keeps_the_variances_and_reaches_the_floor(seed: int, n: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(-1.0, 1.0, (n, n))
    matrix = (matrix + matrix.T) / 2.0
    np.fill_diagonal(matrix, 1.0)
    covariance = from_correlation(10.0 ** rng.uniform(-4.0, 2.0, n), matrix)
    repaired, change, n_raised = nearest_positive_definite(covariance, floor=floor)
    np.testing.assert_array_equal(np.diag(repaired), np.diag(covariance))
    assert least_eigenvalue(repaired) >= floor - 1e-13
    assert n_raised == (np.linalg.eigvalsh(matrix) < floor).sum()
    assert change == pytest.approx(np.abs(correlation(repaired) - matrix).max(), abs=1e-12)
    assert (change > 0.0) == (n_raised > 0)
    again = nearest_positive_definite(repaired, floor=floor * (1.0 - 1e-6) - 1e-12)
    assert again.n_raised == 0
    np.testing.assert_array_equal(again.covariance, repaired)


def nearest_correlation(matrix: FloatArray) -> FloatArray:
    """The nearest correlation matrix in the Frobenius norm, by Higham's alternating projections (2002)."""
    nearest, correction = matrix, np.zeros_like(matrix)
    for _ in range(500):
        shifted = nearest - correction
        roots, vectors = np.linalg.eigh(shifted)
        projected = (vectors * np.maximum(roots, 0.0)) @ vectors.T
        correction = projected - shifted
        nearest = projected.copy()
        np.fill_diagonal(nearest, 1.0)
    return nearest


def test_repair_leaves_a_sound_matrix_as_it_is_and_stays_close_to_a_bad_one() -> None:
    sound = np.cov(market(15, 200, 5).T)
    np.testing.assert_array_equal(nearest_positive_definite(sound).covariance, sound)
    bad = np.array([[1.0, 0.9, -0.5], [0.9, 1.0, 0.6], [-0.5, 0.6, 1.0]])
    assert np.linalg.eigvalsh(bad)[0] < -0.1
    ours = nearest_positive_definite(bad)
    nearest = nearest_correlation(bad)
    distance = np.linalg.norm(ours.covariance - bad), np.linalg.norm(nearest - bad)
    assert distance[1] < distance[0] < 1.1 * distance[1]


def test_a_repaired_estimate_says_by_how_much() -> None:
    returns = market(16, 60, 3)
    returns[:, 1] = returns[:, 0]
    found = sample_covariance(returns)
    assert 0.0 < found.correlation_change < 1e-5
    wide = HistoryRules(eigenvalue_floor=0.1)
    assert sample_covariance(returns, rules=wide).correlation_change > 0.05


@given(seed=st.integers(0, 100))
def test_volatilities_and_correlations_make_the_covariance_again(seed: int) -> None:
    covariance = np.cov(market(seed, 50, 4).T)
    again = from_correlation(volatilities(covariance), correlation(covariance))
    np.testing.assert_allclose(again, covariance, rtol=1e-12)
    assert (np.diag(correlation(covariance)) == 1.0).all()


@given(seed=st.integers(0, 50), target=st.sampled_from(["identity", "constant_correlation"]))
def test_shrinkage_lies_in_the_unit_interval(seed: int, target: Any) -> None:
    returns = market(seed, 12, 8)
    assume(np.ptp(returns, axis=0).min() > 0.0)
    found = ledoit_wolf(returns, target=target)
    assert 0.0 <= found.shrinkage <= 1.0
    assert -1.0 <= found.mean_correlation <= 1.0


@pytest.mark.parametrize("target", ["identity", "constant_correlation"])
def test_one_symbol_is_its_variance(target: Any) -> None:
    returns = market(17, 50, 1)
    found = ledoit_wolf(returns, target=target)
    assert found.covariance[0, 0] == pytest.approx(returns.var())
    assert found.shrinkage == 0.0
    assert math.isnan(found.mean_correlation)


def test_inputs_are_left_alone() -> None:
    returns = late(18, 60, 4)
    before = returns.copy()
    for estimate in ESTIMATORS.values():
        estimate(returns)
    np.testing.assert_array_equal(returns, before)
    bad = np.array([[1.0, 2.0], [2.0, 1.0]])
    nearest_positive_definite(bad)
    correlation(bad)
    assert bad.tolist() == [[1.0, 2.0], [2.0, 1.0]]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (np.full((40, 2), np.nan), r"at least 10 rows per symbol, held \{'column 0': 0"),
        (np.ones((1, 2)), "at least 10 rows per symbol"),
        (np.ones(20), r"returns must have two dimensions and a column, had shape \(20,\)"),
        (np.ones((20, 0)), r"two dimensions and a column, had shape \(20, 0\)"),
        (np.full((20, 2), 0.01), r"returns must vary, were all 0\.01 for column 0"),
        (np.c_[market(1, 20, 1), np.full(20, np.inf)], "must not be infinite, were for column 1"),
    ],
)
def test_bad_returns_are_refused(name: str, returns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ESTIMATORS[name](returns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_covariance(market(1, 12, 12)), r"more rows than symbols \(12\), had 12"),
        (lambda: sample_covariance(market(1, 20, 2), ddof=2), "ddof must be 0 or 1, was 2"),
        (lambda: ewma_covariance(market(1, 20, 2), half_life=0.0), r"half_life must be > 0, was 0"),
        (lambda: ledoit_wolf(market(1, 20, 2), target="market"), "target must be .* was 'market'"),  # type: ignore[arg-type] # on purpose
        (lambda: HistoryRules(minimum_rows=1), "minimum_rows must be >= 2, was 1"),
        (lambda: HistoryRules(short="drop"), "short must be .* was 'drop'"),  # type: ignore[arg-type] # on purpose
        (lambda: HistoryRules(eigenvalue_floor=1.0), r"eigenvalue_floor must be in \(0, 1\), was 1"),
        (lambda: nearest_positive_definite(np.eye(2), floor=0.0), r"floor must be in \(0, 1\)"),
        (lambda: nearest_positive_definite(np.diag([1.0, -2.0])), r"variances > 0, was -2\.0 in row 1"),
        (lambda: volatilities(np.ones((2, 3))), r"covariance must be square, had shape \(2, 3\)"),
        (lambda: correlation([[1.0, np.nan], [np.nan, 1.0]]), "covariance must be finite"),
        (lambda: correlation([[1.0, 0.5], [0.1, 1.0]]), "covariance must be symmetric"),
        (lambda: from_correlation([1.0, -1.0], np.eye(2)), "volatilities must be finite and > 0"),
        (lambda: from_correlation([1.0], np.eye(2)), r"volatilities must have shape \(2,\)"),
        (lambda: from_correlation([1.0, 1.0], 2.0 * np.eye(2)), r"correlation must be within"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_symbol_whose_weights_have_faded_is_refused() -> None:
    returns = market(19, 3000, 2)
    returns[50:, 1] = np.nan
    with pytest.raises(ValueError, match="must vary where they have weight, column 1 did not"):
        ewma_covariance(returns, half_life=1.0)
