"""Schedule and slices: the schedule against a quadratic programme, the slices against their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.execution import slices
from quantcore.types import FloatArray

MARKET = slices.LinearMarket(volatility=0.95, permanent=2.5e-7, temporary=2.5e-6, fixed=0.0625)


def positive(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


# Almgren and Chriss (2000)


def quadratic_programme(
    qty: float, market: slices.LinearMarket, horizon: float, n: int, risk_aversion: float
) -> FloatArray:
    """Trades of least cost plus risk, from the conditions of optimality as a linear system."""
    tau = horizon / n
    after = np.tril(np.ones((n, n)))  # holdings are what the trades up to then have left
    risk = risk_aversion * market.volatility**2 * tau * after.T @ after
    pull = risk_aversion * market.volatility**2 * tau * qty * after.sum(axis=0)
    eta = market.temporary - market.permanent * tau / 2.0
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = 2.0 * (eta / tau * np.eye(n) + risk)
    system[n, n] = 0.0
    return np.asarray(np.linalg.solve(system, [*(2.0 * pull), qty])[:n])


def cost_and_variance(
    trades: FloatArray, market: slices.LinearMarket, tau: float
) -> tuple[float, float]:
    """Expectation and variance of the cost, interval by interval as section 1 of the paper tells it."""
    left, moved, cost, variance = trades.sum(), 0.0, 0.0, 0.0
    for trade in trades:
        price = moved + math.copysign(market.fixed, trade) + market.temporary / tau * trade
        cost += trade * price
        moved += market.permanent * trade
        left -= trade
        variance += market.volatility**2 * tau * left**2
    return cost, variance


def test_the_papers_example_is_reproduced() -> None:
    plan = slices.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-6)
    assert round(plan.kappa, 2) == 0.61
    straight = slices.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=5, risk_aversion=0.0)
    assert straight.trades.tolist() == pytest.approx([2e5] * 5)
    assert straight.expected_cost == pytest.approx(662500.0)
    assert straight.std == pytest.approx(0.95 * math.sqrt(1.2) * 1e6)


@given(
    positive(1.0, 1e6),
    st.integers(1, 40),
    positive(0.1, 10.0),
    positive(0.0, 0.09),
    positive(0.0, 5.0),
)
def test_the_schedule_solves_the_quadratic_programme(
    qty: float, n: int, horizon: float, permanent: float, risk_aversion: float
) -> None:
    market = slices.LinearMarket(
        volatility=0.5, permanent=permanent, temporary=0.5, fixed=0.01
    )  # fmt: skip
    plan = slices.almgren_chriss(
        qty, market, horizon=horizon, intervals=n, risk_aversion=risk_aversion
    )
    best = quadratic_programme(qty, market, horizon, n, risk_aversion)
    np.testing.assert_allclose(plan.trades, best, rtol=1e-7, atol=1e-9 * qty)
    cost, variance = cost_and_variance(plan.trades, market, horizon / n)
    assert plan.expected_cost == pytest.approx(cost, rel=1e-9)
    assert plan.variance == pytest.approx(variance, rel=1e-9, abs=1e-12 * qty**2)
    assert plan.trades.sum() == pytest.approx(qty, rel=1e-12)
    assert (plan.holdings[0], plan.holdings[-1]) == (qty, 0.0)


@given(positive(0.0, 1e-5), positive(1e-7, 1e-5))
def test_less_risk_costs_more(averse: float, more: float) -> None:
    calm, nervous = (
        slices.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=20, risk_aversion=aversion)
        for aversion in (averse, averse + more)
    )
    assert nervous.variance < calm.variance
    assert nervous.expected_cost > calm.expected_cost


def test_no_schedule_nearby_is_better() -> None:
    plan = slices.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=8, risk_aversion=1e-6)
    rng = np.random.default_rng(12)
    for _ in range(200):
        change = rng.normal(0.0, 1e4, 8)
        cost, variance = cost_and_variance(plan.trades + change - change.mean(), MARKET, 5.0 / 8)
        assert cost + 1e-6 * variance > plan.expected_cost + 1e-6 * plan.variance


def test_a_sale_is_a_purchase_with_the_other_sign() -> None:
    bought, sold = (
        slices.almgren_chriss(qty, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-6)
        for qty in (1e6, -1e6)
    )
    assert sold.holdings.tolist() == (-bought.holdings).tolist()
    assert sold.expected_cost == bought.expected_cost


def test_extreme_urgency_neither_overflows_nor_loses_the_straight_line() -> None:
    passing = replace(MARKET, permanent=0.0)
    hurried = slices.almgren_chriss(1.0, passing, horizon=5e4, intervals=50, risk_aversion=1.0)
    assert hurried.trades[0] == pytest.approx(1.0)
    assert np.isfinite(hurried.holdings).all()
    relaxed = slices.almgren_chriss(1.0, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-25)
    np.testing.assert_allclose(relaxed.trades, 0.2, rtol=1e-12)


# Slices


def slices_of(
    lots: int, n: int, urgency: float = 0.0, minimum: int = 1, maximum: int = 10**9
) -> list[int]:
    return [slices.slice_lots(lots, n, k, urgency, minimum, maximum) for k in range(n)]


def ideal_first(urgency: float, n: int) -> float:
    if urgency < 1e-6:
        return 1.0 / n
    return 1.0 - math.sinh(urgency * (1.0 - 1.0 / n)) / math.sinh(urgency)


def test_equal_slices_differ_by_one_lot() -> None:
    assert slices_of(10, 4) == [3, 2, 3, 2]
    assert slices_of(12, 4) == [3, 3, 3, 3]


def test_slices_follow_the_schedule() -> None:
    plan = slices.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-6)
    found = slices_of(1_000_000, 5, plan.kappa * 5.0)
    np.testing.assert_allclose(found, plan.trades, atol=2.0)


orders = st.tuples(
    st.integers(0, 10**6),
    st.integers(1, 40),
    positive(0.0, 30.0),
    st.integers(0, 2000),
    st.integers(0, 10**5),
)


@given(orders)
def test_slices_add_up_and_keep_to_minimum_and_maximum(
    order: tuple[int, int, float, int, int],
) -> None:
    lots, n, _, minimum, maximum = order
    found = slices_of(*order)
    assert sum(found) == lots
    sent = [size for size in found if size > 0]
    assert found == sent + [0] * (n - len(sent))
    if lots >= minimum:
        assert all(size >= minimum for size in sent)
    if minimum * n <= lots <= maximum * n and minimum <= maximum:
        assert all(size <= maximum for size in sent)
        assert len(sent) == (n if lots >= n else lots)


@given(orders)
def test_a_plan_is_the_next_slice_again_and_again(order: tuple[int, int, float, int, int]) -> None:
    lots, n, urgency, minimum, maximum = order
    left = lots
    for k in range(n):
        size = slices.next_slice(left, n - k, urgency / n, minimum, maximum)
        assert size == slices.next_slice.py_func(left, n - k, urgency / n, minimum, maximum)
        assert size == slices.slice_lots.py_func(lots, n, k, urgency, minimum, maximum)
        assert size == slices.slice_lots(lots, n, k, urgency, minimum, maximum)
        left -= size
    assert slices.slice_lots(lots, n, n, urgency, minimum, maximum) == 0


@given(positive(0.0, 8.0), st.integers(200, 10**6), st.integers(1, 10**6))
def test_an_order_has_no_more_slices_than_its_first_one_needs(
    urgency: float, lots: int, maximum: int
) -> None:
    found = slices.slice_count(lots, 1, maximum, urgency, 2000)
    assert found == slices.slice_count.py_func(lots, 1, maximum, urgency, 2000)
    share = maximum / lots
    if found < min(lots, 2000):
        assert ideal_first(urgency, found) <= share * (1.0 + 1e-6) or found == 1
        assert all(size <= maximum for size in slices_of(lots, found, urgency, 1, maximum))
    if found > 1:
        assert ideal_first(urgency, found - 1) > share * (1.0 - 1e-6)


def test_minimum_and_time_win_over_the_maximum() -> None:
    assert slices.slice_count(100, 30, 20, 0.0, 50) == 3
    assert slices.slice_count(100, 1, 20, 0.0, 4) == 4
    assert slices.slice_count(100, 10, 0, 0.0, 50) == 10
    assert slices.slice_count(0, 10, 20, 0.0, 50) == 0
    assert slices.slice_count(5, 10, 20, 0.0, 50) == 1
    assert slices.slice_count(100, 1, 20, 1000.0, 50) == 50


def test_a_slice_has_at_most_its_share_of_the_bar_in_whole_lots() -> None:
    cap = slices.slice_cap
    assert [cap(0.1, 1e5, lot) for lot in (3.0, 1e4, 1.01e4, 0.0, math.nan)] == [3333, 1, 0, 0, 0]
    assert [cap(0.1, volume, 3.0) for volume in (0.0, math.nan, 1e30)] == [0, 0, 10**15]
    assert cap(0.1, 1e5, 3.0) == cap.py_func(0.1, 1e5, 3.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(MARKET, temporary=0.0), r"temporary must be > 0 and finite, was 0\.0"),
        (
            lambda: slices.almgren_chriss(
                1.0, MARKET, horizon=160.0, intervals=5, risk_aversion=0.0
            ),
            r"temporary must be > permanent \* horizon / intervals / 2 = 4e-06, was 2\.5e-06",
        ),
        (
            lambda: slices.almgren_chriss(1.0, MARKET, horizon=2.0, intervals=0, risk_aversion=0.0),
            "intervals must be >= 1, was 0",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
