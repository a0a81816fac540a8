"""Portfolios of 25 symbols beside skfolio, whole lots beside an integer programme, and the account step's rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numba import njit
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.finance import portfolio
from quantcore.finance.allocation import (
    Allocation,
    AllocationCaps,
    allocate,
    allocate_greedily,
    lot_rules,
)
from quantcore.kernels import allocation as kernels
from quantcore.kernels.layout import STEP_DENOMINATOR, STEP_NUMERATOR, Rules
from quantcore.types import FloatArray
from tests.benchmarks.timing import Table, Timing, keep, race

SYMBOLS = 25
EQUITY = 770.0
DECISIONS = 400
MILP_SECONDS = 5.0
"""After which the integer programme gives up; what it has then is not proven."""
STEPS = ["0.001", "0.001", "1", "0.01", "0.1", "1", "0.1", "1", "1", "0.001", "1", "0.1", "0.01", "1", "0.1", "1", "1",
         "0.001", "0.1", "1", "0.01", "1", "0.1", "1", "1"]  # fmt: skip
PRICES = np.array([
    64_000, 3_100, 150, 590, 0.55, 0.16, 27, 6.4, 0.12, 71, 5.1, 9.2, 14, 0.42, 8.1, 1.9, 0.62, 380, 4.3, 0.09, 11, 1.6,
    0.8, 2.2, 0.35,
])  # fmt: skip


def returns(rows: int) -> FloatArray:
    rng = np.random.default_rng(0)
    market = rng.standard_t(4, (rows, 1)) * 0.02
    return np.asarray(
        market + rng.standard_t(4, (rows, SYMBOLS)) * rng.uniform(0.01, 0.03, SYMBOLS)
    )


def rules() -> Rules:
    minima = np.full(SYMBOLS, 5.0)
    minima[0], minima[1] = 50.0, 20.0
    return lot_rules(STEPS, min_notionals=minima, leverages=5.0)


def targets(gross: float, rows: int) -> FloatArray:
    raw = np.random.default_rng(1).normal(size=(rows, SYMBOLS))
    return np.asarray(gross * raw / np.abs(raw).sum(axis=1, keepdims=True))


CAPS = AllocationCaps(equity=EQUITY, gross_max=1.5, margin_share=0.29)
"""Both bind where the targets have a gross of 2."""


def rounds_of(benchmark: BenchmarkFixture, rounds: int) -> int:
    return 1 if benchmark.disabled else rounds


def test_equal_risk_contributions(benchmark: BenchmarkFixture, table: Table) -> None:
    from skfolio import RiskMeasure
    from skfolio.optimization import RiskBudgeting

    sample = returns(1_000)

    def ours() -> portfolio.RiskBudget:
        return portfolio.risk_budgeting(np.cov(sample.T))

    library = RiskBudgeting(risk_measure=RiskMeasure.VARIANCE)
    timings = race(
        {"ours": ours, "skfolio RiskBudgeting": partial(library.fit, sample)},
        rounds=rounds_of(benchmark, 7),
    )
    table.add("equal risk contributions, 25 symbols", timings, goal="none set")
    np.testing.assert_allclose(ours().weights, library.weights_, atol=1e-3)
    keep(benchmark, ours, rounds=30)


def test_hierarchical_risk_parity(benchmark: BenchmarkFixture, table: Table) -> None:
    from skfolio import RiskMeasure
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.optimization import HierarchicalRiskParity
    from skfolio.seriation import HierarchicalSeriation

    sample = returns(1_000)

    def ours() -> portfolio.HierarchicalRiskParity:
        return portfolio.hierarchical_risk_parity(np.cov(sample.T), leaf_order="optimal")

    clusters = HierarchicalClustering(linkage_method=LinkageMethod.SINGLE)
    library = HierarchicalRiskParity(
        risk_measure=RiskMeasure.VARIANCE,
        seriation_estimator=HierarchicalSeriation(hierarchical_clustering_estimator=clusters),
    )
    timings = race(
        {"ours": ours, "skfolio HierarchicalRiskParity": partial(library.fit, sample)},
        rounds=rounds_of(benchmark, 7),
    )
    table.add("hierarchical risk parity, 25 symbols", timings, goal="none set")
    np.testing.assert_allclose(ours().weights, library.weights_, atol=1e-9)
    keep(benchmark, ours, rounds=30)


def test_minimum_cvar(benchmark: BenchmarkFixture, table: Table) -> None:
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    sample = returns(1_000)
    ours = partial(
        portfolio.minimum_cvar, sample, tail_probability=0.05, limits=portfolio.LONG_ONLY
    )
    library = MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=0.95)
    timings = race(
        {"ours": ours, "skfolio MeanRisk, CVaR": partial(library.fit, sample)},
        rounds=rounds_of(benchmark, 7),
    )
    table.add("minimum CVaR, 25 symbols x 1,000 scenarios", timings, goal="none set")
    np.testing.assert_allclose(ours().weights, library.weights_, atol=1e-2)
    keep(benchmark, ours, rounds=10)


@pytest.mark.parametrize("correlated", [False, True])
def test_allocation_of_25_symbols(
    benchmark: BenchmarkFixture, table: Table, correlated: bool
) -> None:
    wanted = targets(2.0, 1)[0]
    covariance = np.cov(returns(1_000).T) if correlated else None
    ours = partial(
        allocate, wanted, PRICES, rules(), caps=CAPS, may_exceed_target=False, covariance=covariance
    )
    contestants: dict[str, Callable[[], object]] = {"ours": ours}
    if not correlated:
        contestants[f"scipy milp, at most {MILP_SECONDS:.0f} s"] = partial(by_milp, wanted)
    timings = race(contestants, rounds=rounds_of(benchmark, 3 if not correlated else 9))
    kind = "tracking variance" if correlated else "sum of squares"
    table.add(f"whole lots of 25 symbols, caps bind, {kind}", timings, goal="<= 20 ms")
    simple = allocate_greedily(
        wanted, PRICES, rules(), caps=CAPS, may_exceed_target=False, covariance=covariance
    )
    found: Allocation = ours()
    assert found.objective <= simple.objective
    if not correlated:
        assert found.objective <= by_milp(wanted) * (1 + 1e-9)
    keep(benchmark, ours, rounds=10)


def by_milp(wanted: FloatArray) -> float:
    """The same squares, piecewise linear between lots, which changes nothing where lots are whole."""
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import block_array, csr_array, diags_array

    one = rules()
    value = one.size[:, STEP_NUMERATOR] / one.size[:, STEP_DENOMINATOR] * PRICES
    share, target = value / EQUITY, np.abs(wanted)
    most = np.floor(target / share)
    least = np.ceil(one.rate[:, 0] / value)
    symbol = np.repeat(np.arange(SYMBOLS), most.astype(np.int64))
    piece = np.concatenate([np.arange(1, m + 1) for m in most])
    gains = (target[symbol] - piece * share[symbol]) ** 2
    gains -= (target[symbol] - (piece - 1) * share[symbol]) ** 2
    columns = np.arange(len(piece))
    of = csr_array((np.ones(len(piece)), (symbol, columns)), (SYMBOLS, len(piece)))
    unit = diags_array(np.ones(SYMBOLS))
    matrix = block_array([
        [of, -unit, None],
        [None, unit, -diags_array(most)],
        [None, -unit, diags_array(least)],
        [None, csr_array(np.array([share, share / 5.0])), None],
    ], format="csr")  # fmt: skip
    highest = np.r_[np.zeros(3 * SYMBOLS), CAPS.gross_max, CAPS.margin_share]
    lowest = np.r_[np.zeros(SYMBOLS), np.full(2 * SYMBOLS + 2, -np.inf)]
    found = milp(
        np.r_[gains, np.zeros(2 * SYMBOLS)],
        constraints=LinearConstraint(matrix, lowest, highest),
        integrality=np.r_[np.zeros(len(piece)), np.ones(2 * SYMBOLS)],
        bounds=(0.0, np.r_[np.ones(len(piece)), most, np.ones(SYMBOLS)]),
        options={"time_limit": MILP_SECONDS, "mip_rel_gap": 1e-4},
    )
    return float(found.fun + (target**2).sum()) if found.x is not None else math.inf


@njit(cache=True, error_model="numpy")
def many_decisions(
    weights: FloatArray, prices: FloatArray, equity: float, rules: Rules, caps: FloatArray
) -> int:
    """The rule as the account step calls it: inside compiled code, once per decision."""
    lots = np.zeros(weights.shape[1], np.int64)
    cuts = np.zeros(weights.shape[1], np.int64)
    total = 0
    for k in range(len(weights)):
        kernels.allocate_greedily(weights[k], prices, equity, rules, caps, False, lots, cuts)
        total += lots[0]
    return total


@pytest.mark.parametrize(("gross", "says"), [(1.0, "no cap binds"), (2.0, "both caps bind")])
def test_greedy_rule_of_the_account_step(
    benchmark: BenchmarkFixture, table: Table, gross: float, says: str
) -> None:
    caps = np.array([CAPS.gross_max, CAPS.margin_share])
    work = partial(many_decisions, targets(gross, DECISIONS), PRICES, EQUITY, rules(), caps)
    timings = race({"ours": work}, rounds=rounds_of(benchmark, 9))
    each = {
        f"ours, each of {DECISIONS}": Timing(t.wall / DECISIONS, t.cpu / DECISIONS)
        for t in timings.values()
    }
    table.add(f"greedy lots of 25 symbols, {says}", each, goal="<= 15 us")
    keep(benchmark, work, rounds=9)
