"""Allocation kernels: compiled equals interpreted, the account step's rule on awkward inputs, lots counted exactly."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.kernels.allocation import (
    Cut,
    Grid,
    allocate_greedily,
    branch_and_bound,
    explain_cuts,
    greedy_lots,
    improve_lots,
    lot_grid,
    nearest_lots,
    tracking_objective,
)
from quantcore.kernels.layout import (
    LEVERAGE,
    MARKET_MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    N_BRACKET,
    N_RATE,
    N_SIZE,
    NOTIONAL_MAX,
    STEP_DENOMINATOR,
    STEP_NUMERATOR,
    Rules,
)
from quantcore.types import FloatArray, IntArray


def rules_of(n: int, *, minimum: float = 0.0, leverage: float = 5.0, least: int = 1) -> Rules:
    """Rules of symbols with a step of 0.1 coin."""
    rate, size = np.zeros((n, N_RATE)), np.zeros((n, N_SIZE), dtype=np.int64)
    rate[:, MIN_NOTIONAL], rate[:, LEVERAGE], rate[:, NOTIONAL_MAX] = minimum, leverage, math.inf
    size[:, STEP_NUMERATOR], size[:, STEP_DENOMINATOR] = 1, 10
    size[:, MIN_LOTS], size[:, MARKET_MAX_LOTS] = least, 10**9
    return Rules(rate, size, np.zeros((n, 0, N_BRACKET)))


def random_grid(seed: int, n: int, *, may_exceed: bool) -> Grid:
    rng = np.random.default_rng(seed)
    caps = np.array([rng.uniform(0.2, 4.0), rng.uniform(0.05, 0.6)])
    weights = rng.normal(0.0, rng.uniform(0.2, 1.0), n)
    prices = 10.0 ** rng.uniform(0.0, 3.5, n)
    rules = rules_of(n, minimum=float(rng.choice([0.0, 20.0])))
    rules.rate[:, LEVERAGE] = rng.choice([2.0, 5.0, 20.0], n)
    return lot_grid(weights, prices, 1_000.0, rules, caps, may_exceed)


def correlated(seed: int, n: int) -> tuple[FloatArray, FloatArray]:
    """A curvature and a diagonal that it exceeds."""
    loadings = np.random.default_rng(seed).normal(size=(n, 2))
    return loadings @ loadings.T + np.eye(n), np.full(n, 1.0)


INPUTS: dict[str, tuple[list[float], list[float]]] = {
    "some": ([0.5, -0.3, 0.02, 0.9], [100.0, 55.5, 7.0, 0.3]),
    "nothing known": ([np.nan, np.nan], [np.nan, 10.0]),
    "no price": ([0.5, 0.5], [np.nan, 0.0]),
    "constant": ([0.4] * 6, [50.0] * 6),
    "one": ([1.0], [999.0]),
    "none": ([], []),
}


@pytest.mark.parametrize("may_exceed", [False, True])
@pytest.mark.parametrize("name", INPUTS)
def test_compiled_rule_of_the_account_step_equals_its_interpreted_twin(
    name: str, may_exceed: bool
) -> None:
    weights, prices = (np.array(values, dtype=np.float64) for values in INPUTS[name])
    n, caps = len(weights), np.array([0.8, 0.3])
    results: list[tuple[IntArray, IntArray]] = []
    for kernel in (allocate_greedily, allocate_greedily.py_func):
        lots, cuts = np.full(n, 99), np.full(n, 99)
        kernel(weights, prices, 500.0, rules_of(n, minimum=5.0), caps, may_exceed, lots, cuts)
        results.append((lots, cuts))
    np.testing.assert_array_equal(results[0], results[1])


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), may_exceed=st.booleans())
@settings(max_examples=20)
def test_compiled_search_equals_its_interpreted_twin(seed: int, n: int, may_exceed: bool) -> None:
    grid = random_grid(seed, n, may_exceed=may_exceed)
    twin = random_grid(seed, n, may_exceed=may_exceed)
    for curvature, own in ((np.eye(n), np.ones(n)), correlated(seed, n)):
        lots, others = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        greedy_lots(grid, lots)
        greedy_lots.py_func(twin, others)
        np.testing.assert_array_equal(lots, others)
        improve_lots(grid, curvature, lots)
        improve_lots.py_func(twin, curvature, others)
        np.testing.assert_array_equal(lots, others)
        found = branch_and_bound(grid, curvature, own, 60, lots)
        expected = branch_and_bound.py_func(twin, curvature, own, 60, others)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
        np.testing.assert_array_equal(lots, others)
        cuts, twins = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        explain_cuts(grid, lots, cuts)
        explain_cuts.py_func(twin, others, twins)
        np.testing.assert_array_equal(cuts, twins)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 4), may_exceed=st.booleans())
@settings(max_examples=300)
def test_a_search_from_nothing_finds_the_best_of_all(seed: int, n: int, may_exceed: bool) -> None:
    """From no lots at all, so that neither the greedy start nor luck hides a branch left out."""
    grid = random_grid(seed, n, may_exceed=may_exceed)
    coarse = grid._replace(
        share=np.where(grid.most > 6, grid.share * np.ceil(grid.most / 6), grid.share),
        most=np.minimum(grid.most, 6),
    )
    menus = [[0, *range(coarse.least[s], coarse.most[s] + 1)] for s in range(n)]
    for curvature, own in ((np.eye(n), np.ones(n)), correlated(seed, n)):
        best = math.inf
        for held in itertools.product(*menus):
            lots = np.array(held, dtype=np.int64)
            used = (lots * coarse.share) @ np.c_[np.ones(n), coarse.use[:, 1]]
            if (used <= coarse.cap).all():
                best = min(best, tracking_objective(coarse, curvature, lots))
        lots = np.zeros(n, dtype=np.int64)
        objective, bound, _ = branch_and_bound(coarse, curvature, own, 10**6, lots)
        assert objective == pytest.approx(best, rel=1e-8, abs=1e-12)
        assert bound == objective == tracking_objective(coarse, curvature, lots)


@pytest.mark.parametrize("cap", [0, 1])
def test_with_fine_lots_the_first_bound_is_nearly_the_optimum(cap: int) -> None:
    caps = np.array([9.0, 9.0])
    caps[cap] = 0.4
    rules = rules_of(8)
    rules.rate[:, LEVERAGE] = [1.0, 2.0, 3.0, 5.0, 1.0, 2.0, 3.0, 5.0]
    grid = lot_grid(np.linspace(0.1, 0.5, 8), np.linspace(1, 2, 8), 1_000.0, rules, caps, False)
    lots = np.zeros(8, dtype=np.int64)
    greedy_lots(grid, lots)
    objective, bound, nodes = branch_and_bound(grid, np.eye(8), np.ones(8), 1, lots)
    assert nodes == 1
    assert bound > objective * (1 - 1e-4)


@given(
    target=st.floats(-1.0, 3.0),
    share=st.floats(0.01, 1.0),
    least=st.integers(1, 5),
    most=st.integers(0, 60),
)
def test_nearest_lots_are_nearest_of_all_that_are_allowed(
    target: float, share: float, least: int, most: int
) -> None:
    lots = nearest_lots(target, share, least, most)
    assert lots == nearest_lots.py_func(target, share, least, most)
    allowed = [0, *range(least, most + 1)]
    distances = [abs(k * share - target) for k in allowed]
    assert lots in allowed
    assert abs(lots * share - target) == pytest.approx(min(distances), abs=1e-12)


def test_of_two_equally_near_the_fewer_lots_are_held() -> None:
    assert nearest_lots(0.25, 0.1, 1, 9) == 2
    assert nearest_lots(0.125, 0.25, 1, 9) == 0
    assert nearest_lots(0.5, 0.25, 4, 9) == 0


def test_a_target_that_float_error_puts_just_below_a_lot_gets_it() -> None:
    caps = np.array([9.0, 9.0])
    for k in range(1, 400):
        weights, prices = np.array([k * 0.1 * 7.3 / 1_000.0]), np.array([7.3])
        grid = lot_grid(weights, prices, 1_000.0, rules_of(1), caps, False)
        assert grid.most[0] == k


def test_the_least_lots_reach_the_minimum_exactly() -> None:
    caps = np.array([9.0, 9.0])
    for k in range(1, 400):
        price = 0.3 + 0.07 * k
        for minimum in (k * 0.1 * price, 5.0):
            rules = rules_of(1, minimum=minimum)
            grid = lot_grid(np.array([9.0]), np.array([price]), 1e6, rules, caps, False)
            lot_value = 0.1 * price
            assert grid.least[0] * lot_value >= minimum
            assert (grid.least[0] - 1) * lot_value < minimum
    rules = rules_of(1, least=7)
    assert lot_grid(np.array([9.0]), np.array([1.0]), 1e6, rules, caps, False).least[0] == 7


def test_the_bracket_and_the_market_limit_what_is_held() -> None:
    caps, rules = np.array([9.0, 9.0]), rules_of(2)
    rules.rate[0, NOTIONAL_MAX] = 55.0
    rules.size[1, MARKET_MAX_LOTS] = 3
    grid = lot_grid(np.array([0.9, 0.9]), np.array([100.0, 100.0]), 100.0, rules, caps, False)
    assert grid.most.tolist() == [5, 3]
    cuts, lots = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    greedy_lots(grid, lots)
    explain_cuts(grid, lots, cuts)
    assert cuts.tolist() == [Cut.MARKET_MAX, Cut.MARKET_MAX]


@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), may_exceed=st.booleans())
def test_greedy_lots_keep_the_caps_and_no_single_lot_more_would_help(
    seed: int, n: int, may_exceed: bool
) -> None:
    grid = random_grid(seed, n, may_exceed=may_exceed)
    lots = np.zeros(n, dtype=np.int64)
    greedy_lots(grid, lots)
    used = np.array([(lots * grid.share).sum(), (lots * grid.share * grid.use[:, 1]).sum()])
    assert (used <= grid.cap * (1 + 1e-12)).all()
    assert (lots <= grid.wish).all()
    assert ((lots == 0) | (lots >= grid.least)).all()
    for s in np.flatnonzero(lots < grid.wish):
        more = max(1 if lots[s] else grid.least[s], 1) * grid.share[s]
        assert (used + more * grid.use[s] > grid.cap * (1 - 1e-9)).any()


@given(seed=st.integers(0, 10**6), n=st.integers(1, 12))
def test_exchanges_only_improve_and_keep_the_caps(seed: int, n: int) -> None:
    grid = random_grid(seed, n, may_exceed=True)
    curvature, _ = correlated(seed, n)
    lots = np.zeros(n, dtype=np.int64)
    greedy_lots(grid, lots)
    before = tracking_objective(grid, curvature, lots)
    improve_lots(grid, curvature, lots)
    assert tracking_objective(grid, curvature, lots) <= before
    assert (lots * grid.share).sum() <= grid.cap[0] * (1 + 1e-12)
    assert (lots * grid.share * grid.use[:, 1]).sum() <= grid.cap[1] * (1 + 1e-12)
    assert ((lots == 0) | ((lots >= grid.least) & (lots <= grid.most))).all()


def test_lots_have_the_sign_of_their_target() -> None:
    weights, prices, caps = np.array([0.5, -0.4]), np.array([100.0, 30.0]), np.array([2.0, 2.0])
    lots, cuts = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    allocate_greedily(weights, prices, 500.0, rules_of(2), caps, False, lots, cuts)
    assert lots.tolist() == [25, -66]


@pytest.mark.parametrize("equity", [0.0, -10.0, math.nan])
@pytest.mark.parametrize("may_exceed", [False, True])
def test_without_equity_nothing_is_held(may_exceed: bool, equity: float) -> None:
    weights, prices, caps = np.array([0.5, -0.4]), np.array([100.0, 30.0]), np.array([2.0, 2.0])
    lots, cuts = np.full(2, 9), np.zeros(2, dtype=np.int64)
    allocate_greedily(weights, prices, equity, rules_of(2), caps, may_exceed, lots, cuts)
    assert lots.tolist() == [0, 0]
    assert cuts.tolist() == [Cut.NO_PRICE, Cut.NO_PRICE]


def test_arguments_are_left_as_they_were() -> None:
    weights, prices, caps = np.array([0.5, -0.4]), np.array([100.0, 30.0]), np.array([0.4, 0.4])
    rules = rules_of(2)
    copies = [a.copy() for a in (weights, prices, caps, rules.rate, rules.size)]
    lots, cuts = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    allocate_greedily(weights, prices, 500.0, rules, caps, False, lots, cuts)
    for one, other in zip((weights, prices, caps, rules.rate, rules.size), copies, strict=True):
        np.testing.assert_array_equal(one, other)
