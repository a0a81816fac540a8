"""Whole lots: rules and caps kept, no target enlarged, the best holding found and proven, what was given up said."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.finance.allocation import (
    Allocation,
    AllocationCaps,
    Cut,
    allocate,
    allocate_greedily,
    lot_rules,
)
from quantcore.kernels.layout import (
    LEVERAGE,
    MARKET_MAX_LOTS,
    MIN_NOTIONAL,
    STEP_DENOMINATOR,
    STEP_NUMERATOR,
    Rules,
)
from quantcore.types import FloatArray

PRICES = np.array([64_000.0, 3_100.0, 150.0, 0.16])
RULES = lot_rules(["0.001", "0.001", "1", "1"], min_notionals=[100, 20, 5, 5], leverages=5)
CAPS = AllocationCaps(equity=230.0, gross_max=2.0, margin_share=0.9)
WEIGHTS = np.array([0.5, 0.3, -0.15, 0.03])
EXHAUSTIVE = 3_000_000


@dataclass(frozen=True)
class Task:
    """An account's allocation, few lots per symbol, so that all holdings can be tried."""

    weights: FloatArray
    prices: FloatArray
    rules: Rules
    caps: AllocationCaps
    covariance: FloatArray | None


def random_task(seed: int, n: int, *, correlated: bool, coarse: bool = True) -> Task:
    rng = np.random.default_rng(seed)
    equity = float(rng.choice([230.0, 770.0, 7_700.0]))
    lot_share = rng.uniform(0.04, 0.4, n) if coarse else 10.0 ** rng.uniform(-5, -0.5, n)
    steps = rng.choice(["0.001", "0.1", "1"], n).tolist()
    rules = lot_rules(
        steps,
        min_notionals=rng.choice([0.0, 0.02, 0.1], n) * equity,
        leverages=rng.choice([1.0, 2.0, 5.0, 20.0], n),
        max_qtys=[float(s) * k for s, k in zip(steps, rng.integers(1, 9, n), strict=True)]
        if coarse
        else math.inf,
    )
    loadings = rng.normal(size=(n, 2))
    return Task(
        weights=rng.normal(0.0, 0.5, n) * rng.choice([0.0, 1.0, 1.0, 1.0], n),
        prices=lot_share * equity / np.array([float(s) for s in steps]),
        rules=rules,
        caps=AllocationCaps(
            equity=equity,
            gross_max=float(rng.uniform(0.3, 2.5)),
            margin_share=float(rng.uniform(0.1, 1.0)),
            nodes_max=EXHAUSTIVE,
        ),
        covariance=loadings @ loadings.T + np.diag(rng.uniform(0.05, 1.0, n))
        if correlated
        else None,
    )


def solve(task: Task, *, may_exceed: bool) -> Allocation:
    return allocate(
        task.weights,
        task.prices,
        task.rules,
        caps=task.caps,
        may_exceed_target=may_exceed,
        covariance=task.covariance,
    )


def greedy(task: Task, *, may_exceed: bool) -> Allocation:
    return allocate_greedily(
        task.weights,
        task.prices,
        task.rules,
        caps=task.caps,
        may_exceed_target=may_exceed,
        covariance=task.covariance,
    )


def lot_values(task: Task) -> FloatArray:
    size = task.rules.size
    return np.asarray(size[:, STEP_NUMERATOR] / size[:, STEP_DENOMINATOR] * task.prices)


def best_by_trying_all(task: Task, *, may_exceed: bool) -> float:
    """The least objective, from the rules as written and nothing of the code under test."""
    values, equity = lot_values(task), task.caps.equity
    wanted = np.abs(task.weights) * equity
    menus: list[list[int]] = []
    for s, value in enumerate(values):
        largest = int(task.rules.size[s, MARKET_MAX_LOTS])
        least = max(math.ceil(task.rules.rate[s, MIN_NOTIONAL] / value - 1e-9), 1)
        most = math.floor(wanted[s] / value + 1e-6)
        if may_exceed:
            most = max(math.ceil(wanted[s] / value - 1e-6), least)
        if wanted[s] == 0.0:
            most = 0
        menus.append([0, *range(least, min(most, largest) + 1)])
    lots = np.array(list(itertools.product(*menus)), dtype=np.float64)
    notional = lots * values
    margin = (notional / task.rules.rate[:, LEVERAGE]).sum(axis=1)
    fits = (notional.sum(axis=1) <= task.caps.gross_max * equity * (1 + 1e-12)) & (
        margin <= task.caps.margin_share * equity * (1 + 1e-12)
    )
    off = task.weights - np.sign(task.weights) * notional[fits] / equity
    covariance = np.eye(len(values)) if task.covariance is None else task.covariance
    return float(np.einsum("ki,ij,kj->k", off, covariance, off).min())


def check_rules(task: Task, found: Allocation, *, may_exceed: bool) -> None:
    """Every rule of the exchange and the account, from the result's own numbers."""
    values, equity = lot_values(task), task.caps.equity
    size, rate = task.rules.size, task.rules.rate
    expected = found.lots * size[:, STEP_NUMERATOR] / size[:, STEP_DENOMINATOR]
    np.testing.assert_array_equal(found.qty, expected)
    notional, held = np.abs(found.notional), found.lots != 0
    np.testing.assert_allclose(found.notional, found.lots * values, rtol=1e-12)
    assert (notional[held] >= rate[held, MIN_NOTIONAL] * (1 - 1e-9)).all()
    assert (np.abs(found.lots) <= size[:, MARKET_MAX_LOTS]).all()
    assert (np.sign(found.lots)[held] == np.sign(task.weights)[held]).all()
    assert notional.sum() <= task.caps.gross_max * equity * (1 + 1e-9)
    assert (notional / rate[:, LEVERAGE]).sum() <= task.caps.margin_share * equity * (1 + 1e-9)
    assert found.margin <= task.caps.margin_share * (1 + 1e-9)
    assert found.gross <= task.caps.gross_max * (1 + 1e-9)
    wanted = np.abs(task.weights) * equity
    if may_exceed:
        one_more = np.maximum(wanted + values, np.ceil(rate[:, MIN_NOTIONAL] / values) * values)
        assert (notional <= one_more * (1 + 1e-9)).all()
    else:
        assert (notional <= wanted + 1e-6 * values).all()
    off = task.weights - found.weights
    covariance = np.eye(len(off)) if task.covariance is None else task.covariance
    assert found.objective == pytest.approx(off @ covariance @ off, rel=1e-9, abs=1e-14)
    assert found.bound <= found.objective
    assert found.gross_wanted == pytest.approx(np.abs(task.weights).sum())
    assert found.tracking_error == pytest.approx(math.sqrt(found.objective))


def test_230_usdt_hold_the_nearest_lots_where_a_target_may_be_exceeded() -> None:
    found = allocate(WEIGHTS, PRICES, RULES, caps=CAPS, may_exceed_target=True)
    assert found.qty.tolist() == [0.002, 0.022, 0.0, 43.0]
    np.testing.assert_allclose(found.notional, [128.0, 68.2, 0.0, 6.88])
    assert found.objective == pytest.approx(0.025706812854442342, abs=1e-12)
    assert found.proven
    assert found.gap == 0.0
    assert found.dropped == {2: Cut.BELOW_STEP}


def test_230_usdt_give_up_bitcoin_where_no_target_may_be_enlarged() -> None:
    found = allocate(WEIGHTS, PRICES, RULES, caps=CAPS, may_exceed_target=False)
    assert found.lots.tolist() == [0, 22, 0, 43]
    assert found.dropped == {0: Cut.BELOW_MINIMUM, 2: Cut.BELOW_STEP}
    assert found.proven
    assert found.gross == pytest.approx((68.2 + 6.88) / 230)
    assert found.gross_wanted == pytest.approx(0.98)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), may_exceed=st.booleans())
@pytest.mark.parametrize("correlated", [False, True])
def test_small_sets_equal_the_best_of_all_holdings(
    correlated: bool, seed: int, n: int, may_exceed: bool
) -> None:
    task = random_task(seed, n, correlated=correlated)
    best = best_by_trying_all(task, may_exceed=may_exceed)
    found = solve(task, may_exceed=may_exceed)
    assert found.proven
    assert found.objective == pytest.approx(best, rel=1e-8, abs=1e-12)
    check_rules(task, found, may_exceed=may_exceed)
    simple = greedy(task, may_exceed=may_exceed)
    check_rules(task, simple, may_exceed=may_exceed)
    assert simple.bound <= best * (1 + 1e-9) + 1e-12
    assert found.objective <= simple.objective * (1 + 1e-9)


@given(seed=st.integers(0, 10**6), may_exceed=st.booleans(), correlated=st.booleans())
def test_25_symbols_keep_every_rule_and_are_never_worse_than_greedy(
    seed: int, may_exceed: bool, correlated: bool
) -> None:
    task = random_task(seed, 25, correlated=correlated, coarse=False)
    task = replace(task, caps=replace(task.caps, nodes_max=500))
    found, simple = solve(task, may_exceed=may_exceed), greedy(task, may_exceed=may_exceed)
    for one in (found, simple):
        check_rules(task, one, may_exceed=may_exceed)
    assert found.objective <= simple.objective * (1 + 1e-12)
    assert found.nodes <= 500
    assert found.bound >= simple.bound - 1e-12
    again = solve(task, may_exceed=may_exceed)
    np.testing.assert_array_equal(again.lots, found.lots)
    assert again.bound == found.bound


@given(seed=st.integers(0, 10**6), n=st.integers(2, 6))
def test_a_deeper_search_only_improves_and_its_bound_only_rises(seed: int, n: int) -> None:
    task = random_task(seed, n, correlated=True)
    objectives, bounds = [], []
    for nodes_max in (1, 3, 10, EXHAUSTIVE):
        found = solve(replace(task, caps=replace(task.caps, nodes_max=nodes_max)), may_exceed=True)
        objectives.append(found.objective)
        bounds.append(found.bound)
    assert objectives == sorted(objectives, reverse=True)
    assert max(bounds) <= objectives[-1]


@given(seed=st.integers(0, 10**6), factor=st.sampled_from([0.5, 2.0, 1024.0]))
@settings(max_examples=30)
def test_lots_do_not_depend_on_the_unit_of_money(seed: int, factor: float) -> None:
    task = random_task(seed, 6, correlated=False)
    rate = task.rules.rate.copy()
    rate[:, MIN_NOTIONAL] *= factor
    other = replace(
        task,
        prices=task.prices * factor,
        rules=task.rules._replace(rate=rate),
        caps=replace(task.caps, equity=task.caps.equity * factor),
    )
    one, two = solve(task, may_exceed=False), solve(other, may_exceed=False)
    np.testing.assert_array_equal(one.lots, two.lots)
    assert one.cuts == two.cuts


@given(seed=st.integers(0, 10**6), n=st.integers(2, 8))
def test_greedy_follows_a_permutation(seed: int, n: int) -> None:
    task = random_task(seed, n, correlated=False)
    order = np.random.default_rng(seed).permutation(n)
    rules = Rules(task.rules.rate[order], task.rules.size[order], task.rules.bracket[order])
    other = replace(task, weights=task.weights[order], prices=task.prices[order], rules=rules)
    one, two = greedy(task, may_exceed=False), greedy(other, may_exceed=False)
    np.testing.assert_array_equal(two.lots, one.lots[order])
    assert two.cuts == tuple(one.cuts[k] for k in order)


def test_the_search_agrees_with_an_integer_programme_of_highs() -> None:
    """Eleven symbols under a cap that binds: a piecewise linear copy of the squares, whole at every lot."""
    for seed in range(3):
        task = random_task(seed + 40, 11, correlated=False)
        task = replace(task, caps=replace(task.caps, gross_max=0.9, margin_share=9.0))
        found = solve(task, may_exceed=False)
        assert found.proven
        assert found.objective == pytest.approx(_by_milp(task), rel=1e-6)


def _by_milp(task: Task) -> float:
    from scipy.optimize import LinearConstraint, milp

    share, target = lot_values(task) / task.caps.equity, np.abs(task.weights)
    most = np.minimum(np.floor(target / share + 1e-6), task.rules.size[:, MARKET_MAX_LOTS])
    least = np.maximum(np.ceil(task.rules.rate[:, MIN_NOTIONAL] / lot_values(task) - 1e-9), 1.0)
    n = len(share)
    pieces = [(s, k) for s in range(n) for k in range(1, int(most[s]) + 1)]
    gains = [
        (target[s] - k * share[s]) ** 2 - (target[s] - (k - 1) * share[s]) ** 2 for s, k in pieces
    ]
    # Variables: pieces in [0, 1], lots (whole), held (0 or 1).
    of = np.array([[float(s == i) for s, _ in pieces] for i in range(n)])
    eye, zero = np.eye(n), np.zeros((n, n))
    rows = [
        LinearConstraint(np.hstack([of, -eye, zero]), 0.0, 0.0),
        LinearConstraint(np.hstack([0.0 * of, eye, -np.diag(most)]), -np.inf, 0.0),
        LinearConstraint(np.hstack([0.0 * of, eye, -np.diag(least)]), 0.0, np.inf),
        LinearConstraint(np.r_[np.zeros(len(pieces)), share, np.zeros(n)], -np.inf, task.caps.gross_max),
    ]  # fmt: skip
    found = milp(
        np.r_[gains, np.zeros(2 * n)],
        constraints=rows,
        integrality=np.r_[np.zeros(len(pieces)), np.ones(2 * n)],
        bounds=(0.0, np.r_[np.ones(len(pieces)), most, np.ones(n)]),
        options={"mip_rel_gap": 1e-9},
    )
    assert found.success
    return float(found.fun + (target**2).sum())


# What was given up, and why


def test_a_gross_cap_takes_the_same_from_equal_lots_and_is_named() -> None:
    rules = lot_rules(["1"] * 3, min_notionals=0, leverages=10)
    caps = AllocationCaps(equity=1_000.0, gross_max=1.5, margin_share=1.0)
    found = allocate([1.0, -1.0, 1.0], [10.0] * 3, rules, caps=caps, may_exceed_target=False)
    assert found.lots.tolist() == [50, -50, 50]
    assert set(found.cuts) == {Cut.GROSS_CAP}
    assert found.gross == pytest.approx(1.5)
    assert found.proven


def test_margin_binds_the_symbol_with_little_leverage_first() -> None:
    rules = lot_rules(["1", "1"], min_notionals=0, leverages=[1.0, 10.0])
    caps = AllocationCaps(equity=1_000.0, gross_max=9.0, margin_share=0.5)
    found = allocate([0.8, 0.8], [10.0, 10.0], rules, caps=caps, may_exceed_target=False)
    assert found.cuts[0] == Cut.MARGIN
    assert found.margin <= 0.5
    assert found.weights[1] > 0.75 > 0.46 > found.weights[0] > 0.4


def test_the_market_maximum_a_missing_price_and_a_zero_target_are_told_apart() -> None:
    rules = lot_rules(["1"] * 4, min_notionals=5, leverages=5, max_qtys=[3, 9, 9, 9])
    caps = AllocationCaps(equity=100.0, gross_max=5.0, margin_share=1.0)
    for may_exceed in (False, True):
        found = allocate(
            [0.5, 0.5, 0.0, -0.52], [10.0, np.nan, 10.0, 10.0], rules, caps=caps,
            may_exceed_target=may_exceed,
        )  # fmt: skip
        assert found.lots.tolist() == [3, 0, 0, -5]
        assert found.cuts == (Cut.MARKET_MAX, Cut.NO_PRICE, Cut.NONE, Cut.NONE)
        assert found.dropped == {1: Cut.NO_PRICE}
        assert found.notional.tolist() == [30.0, 0.0, 0.0, -50.0]


def test_a_minimum_that_is_not_worth_its_room_is_left_out_for_the_gross_cap() -> None:
    rules = lot_rules(["1", "1"], min_notionals=[60, 0], leverages=5)
    caps = AllocationCaps(equity=100.0, gross_max=0.5, margin_share=1.0)
    found = allocate([0.6, 0.4], [1.0, 1.0], rules, caps=caps, may_exceed_target=False)
    assert found.lots.tolist() == [0, 40]
    assert found.dropped == {0: Cut.GROSS_CAP}


def test_with_a_covariance_a_twin_makes_up_for_what_cannot_be_held() -> None:
    """The second of two alike symbols is too large for a lot; the first may take one lot more in its place."""
    rules = lot_rules(["1", "1", "1"], min_notionals=0, leverages=5)
    caps = AllocationCaps(equity=1_000.0, gross_max=5.0, margin_share=1.0)
    weights, prices = [0.04, 0.14, 0.3], [100.0, 300.0, 1.0]
    twins = np.array([[1.0, 0.99, 0.0], [0.99, 1.0, 0.0], [0.0, 0.0, 1.0]]) * 1e-3
    alone = allocate(weights, prices, rules, caps=caps, may_exceed_target=True)
    found = allocate(weights, prices, rules, caps=caps, may_exceed_target=True, covariance=twins)
    assert alone.lots.tolist() == [0, 0, 300]
    assert found.lots.tolist() == [1, 0, 300]
    hedged = allocate(
        [-0.04, 0.14, 0.3], prices, rules, caps=caps, may_exceed_target=True, covariance=twins
    )
    assert hedged.lots.tolist() == [0, 0, 300]


def test_a_position_that_others_make_needless_is_called_so() -> None:
    """A long and a short of twins: the long cannot be held, so that the short is better left out too."""
    rules = lot_rules(["1", "1"], min_notionals=0, leverages=5)
    caps = AllocationCaps(equity=1_000.0, gross_max=5.0, margin_share=1.0)
    twins = np.array([[1.0, 0.99], [0.99, 1.0]])
    found = allocate(
        [0.2, -0.2], [300.0, 1.0], rules, caps=caps, may_exceed_target=False, covariance=twins
    )
    assert found.lots[0] == 0
    assert -5 <= found.lots[1] <= 0
    assert found.cuts == (Cut.BELOW_STEP, Cut.TRACKING)


def test_a_search_that_gives_up_says_so() -> None:
    task = random_task(3, 25, correlated=True, coarse=False)
    task = replace(task, caps=replace(task.caps, gross_max=0.5, nodes_max=20))
    found = solve(task, may_exceed=True)
    assert not found.proven
    assert found.nodes == 20
    assert found.bound < found.objective
    assert found.gap == pytest.approx(1.0 - found.bound / found.objective)


def test_quantities_are_the_floats_of_their_decimal_text() -> None:
    rules = lot_rules(["0.1", 0.01], min_notionals=0, leverages=1)
    caps = AllocationCaps(equity=1_000.0, gross_max=5.0, margin_share=5.0)
    found = allocate([0.3, 0.07], [1_000.0, 1_000.0], rules, caps=caps, may_exceed_target=False)
    assert found.qty.tolist() == [0.3, 0.07]


def test_targets_that_equal_their_lots_and_the_caps_are_held_in_full() -> None:
    rules = lot_rules(["0.1"] * 3, min_notionals=10, leverages=3)
    caps = AllocationCaps(
        equity=100.0, gross_max=0.3 + 0.1 + 0.2, margin_share=(0.3 + 0.1 + 0.2) / 3
    )
    found = allocate([0.3, -0.1, 0.2], [100.0] * 3, rules, caps=caps, may_exceed_target=False)
    assert found.lots.tolist() == [3, -1, 2]
    assert set(found.cuts) == {Cut.NONE}
    assert found.objective == pytest.approx(0.0, abs=1e-30)
    assert found.proven


def test_no_symbols_hold_nothing() -> None:
    found = allocate(
        [], [], lot_rules([], min_notionals=0, leverages=1), caps=CAPS, may_exceed_target=True
    )
    assert (found.objective, found.proven, found.gross, found.nodes) == (0.0, True, 0.0, 0)


# Bad input


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"equity": 0.0}, r"equity must be > 0 and finite, was 0\.0"),
        ({"equity": math.nan}, "equity must be > 0 and finite, was nan"),
        ({"gross_max": -1.0}, r"gross_max must be > 0, was -1\.0"),
        ({"margin_share": math.nan}, "margin_share must be > 0, was nan"),
        ({"nodes_max": 0}, "nodes_max must be >= 1, was 0"),
    ],
)
def test_caps_that_allow_nothing_are_refused(changed: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CAPS, **changed)  # type: ignore[arg-type] # one of the four


@pytest.mark.parametrize(
    ("step", "minimum", "leverage", "largest", "message"),
    [
        ("0", 5.0, 1.0, 9.0, "step_sizes must be > 0, was 0"),
        ("x", 5.0, 1.0, 9.0, "step_sizes must be decimal numbers, was 'x'"),
        ("inf", 5.0, 1.0, 9.0, "step_sizes must be > 0, was inf"),
        ("1", -5.0, 1.0, 9.0, r"min_notionals must be >= 0, was -5\.0 at 0"),
        ("1", 5.0, 0.0, 9.0, r"leverages must be > 0, was 0\.0 at 0"),
        ("1", 5.0, 1.0, math.nan, "max_qtys must be >= 0, was nan at 0"),
    ],
)
def test_lot_rules_name_what_they_refuse(
    step: str, minimum: float, leverage: float, largest: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lot_rules([step], min_notionals=minimum, leverages=leverage, max_qtys=largest)


@pytest.mark.parametrize(
    ("weights", "prices", "covariance", "message"),
    [
        ([0.1, np.nan], [1.0, 1.0], None, "weights must be finite, was nan at 1"),
        ([0.1], [1.0, 1.0], None, r"weights must have the 2 entries of rules, had shape \(1,\)"),
        ([0.1, 0.1], [1.0, -1.0], None, r"prices must be >= 0 and finite, was -1\.0 at 1"),
        ([0.1, 0.1], [1.0, np.inf], None, "prices must be >= 0 and finite, was inf at 1"),
        ([0.1, 0.1], [1.0, 1.0], np.eye(3), "covariance must have 2 rows, had 3"),
        ([0.1, 0.1], [1.0, 1.0], np.ones((2, 2)), "covariance must be positive definite"),
        ([0.1, 0.1], [1.0, 1.0], np.diag([1.0, -1.0]), "covariance must have variances > 0"),
        ([0.1, 0.1], [1.0, 1.0], np.full((2, 2), np.nan), "covariance must be finite"),
    ],
)
def test_allocate_names_what_it_refuses(
    weights: list[float], prices: list[float], covariance: FloatArray | None, message: str
) -> None:
    rules = lot_rules(["1", "1"], min_notionals=0, leverages=1)
    with pytest.raises(ValueError, match=message):
        allocate(weights, prices, rules, caps=CAPS, may_exceed_target=True, covariance=covariance)
