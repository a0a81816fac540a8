"""Market impact: closed forms against brute force, estimates against simulations, slices against their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from quantcore.execution import impact
from quantcore.types import FloatArray

MARKET = impact.LinearMarket(volatility=0.95, permanent=2.5e-7, temporary=2.5e-6, fixed=0.0625)
FIT = {"prior": 1.0, "prior_error": 0.5}


def positive(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


# The square-root law


def law(notionals: Any, volumes: Any = 1e8, vols: Any = 0.03, y: float = 0.9) -> FloatArray:
    return impact.square_root_law(
        notionals, daily_notionals=volumes, daily_vols=vols, coefficient=y
    ).peak


def test_a_hundredth_of_the_days_volume_moves_the_price_by_a_tenth_of_its_volatility() -> None:
    assert law(1e6, 1e8, 0.04, 1.0) == pytest.approx(0.004, rel=1e-15)
    assert law([1e6, -4e6], [1e8, 1e8]).tolist() == pytest.approx([0.0027, 0.0054], rel=1e-14)


def test_the_mean_cost_is_the_mean_of_the_impact_on_the_way() -> None:
    way = (np.arange(200_000) + 0.5) / 200_000
    found = impact.square_root_law(5e5, daily_notionals=1e8, daily_vols=0.03, coefficient=0.9)
    assert float(found.mean_cost) == pytest.approx(law(5e5 * way).mean(), rel=1e-8)


def test_no_order_has_no_impact_and_no_volume_an_infinite_one() -> None:
    assert law([0.0, 0.0, 1.0], [np.nan, 0.0, 0.0]).tolist() == [0.0, 0.0, math.inf]
    assert np.isnan(law([np.nan, 1.0, 1.0], [1.0, np.nan, 1.0], [0.1, 0.1, np.nan])).all()


@given(positive(1.0, 1e8), positive(1.0, 1e8), positive(1e3, 1e10), positive(1e-4, 0.2))
def test_impact_rises_with_size_and_falls_with_volume(
    size: float, more: float, volume: float, vol: float
) -> None:
    assert law(size + more, volume, vol) > law(size, volume, vol)
    assert law(size, volume + more, vol) <= law(size, volume, vol)
    assert law(4.0 * size, volume, vol) == pytest.approx(2.0 * law(size, volume, vol), rel=1e-12)


@pytest.mark.parametrize("size", [0.0, 5e4, -5e4, math.nan])
@pytest.mark.parametrize("volume", [2e7, 0.0, math.nan])
def test_the_scalar_is_the_law_and_its_interpreted_twin(size: float, volume: float) -> None:
    compiled = impact.square_root_impact(0.9, 0.03, size, volume)
    assert compiled == pytest.approx(float(law(size, volume)), rel=1e-15, nan_ok=True)
    twin = impact.square_root_impact.py_func(0.9, 0.03, size, volume)
    assert compiled == pytest.approx(twin, rel=0.0, abs=0.0, nan_ok=True)


# Its coefficient


def realised(
    seed: int, n: int, *, coefficient: float, noise: float, share: float = 0.02
) -> list[FloatArray]:
    """Slippage, sizes, volumes and volatilities of fat-tailed orders, some hundredths of the day's volume."""
    rng = np.random.default_rng(seed)
    volumes = 10.0 ** rng.uniform(7.0, 9.0, n)
    vols = rng.uniform(0.02, 0.08, n)
    sizes = volumes * share * rng.uniform(0.05, 1.0, n)
    shocks = rng.standard_t(4.0, n) / math.sqrt(2.0)
    paid = vols * (coefficient * impact.MEAN_OF_PEAK * np.sqrt(sizes / volumes) + noise * shocks)
    return [paid, sizes, volumes, vols]


def test_a_coefficient_is_found_where_there_is_no_noise() -> None:
    found = impact.fit_coefficient(*realised(1, 30, coefficient=0.7, noise=0.0), **FIT)
    assert found.coefficient == pytest.approx(0.7, rel=1e-9)
    assert found.sample_weight == pytest.approx(1.0, abs=1e-9)


def test_the_estimate_minimises_hubers_loss() -> None:
    paid, sizes, volumes, vols = realised(2, 200, coefficient=0.7, noise=0.1)
    found = impact.fit_coefficient(paid, sizes, volumes, vols, **FIT)
    x, y = 2.0 / 3.0 * np.sqrt(sizes / volumes), paid / vols
    bound = 1.345 * found.noise

    def loss(slope: float) -> float:
        error = np.abs(y - slope * x)
        return float(np.where(error < bound, error**2 / 2, bound * error - bound**2 / 2).sum())

    best = minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded", options={"xatol": 1e-10})
    assert found.sample_coefficient == pytest.approx(best.x, abs=1e-6)


def test_outliers_do_not_move_the_estimate() -> None:
    orders = realised(3, 300, coefficient=0.8, noise=0.05)
    clean = impact.fit_coefficient(*orders, **FIT)
    orders[0][:15] += 50.0 * orders[3][:15]
    dirty = impact.fit_coefficient(*orders, **FIT)
    assert dirty.sample_coefficient == pytest.approx(
        clean.sample_coefficient, abs=3.0 * clean.sample_error
    )
    assert dirty.noise < 1.5 * clean.noise


def test_nine_of_ten_intervals_of_the_estimate_hold_the_truth() -> None:
    held = 0
    for seed in range(400):
        orders = realised(seed, 60, coefficient=0.8, noise=0.1)
        more = 5.0 * orders[1] / orders[2]  # large orders are noisier
        orders[0] += more * orders[3] * np.random.default_rng(seed + 1000).standard_normal(60)
        found = impact.fit_coefficient(*orders, **FIT)
        held += abs(found.sample_coefficient - 0.8) < 1.645 * found.sample_error
    assert 0.85 < held / 400 < 0.95


def test_the_shrunk_coefficient_is_nearer_to_the_truth_than_the_fills_alone() -> None:
    rng = np.random.default_rng(5)
    shrunk, alone = [], []
    for seed in range(300):
        truth = 1.0 + 0.3 * rng.standard_normal()
        orders = realised(seed, 40, coefficient=truth, noise=0.2)
        found = impact.fit_coefficient(*orders, prior=1.0, prior_error=0.3)
        shrunk.append((found.coefficient - truth) ** 2)
        alone.append((found.sample_coefficient - truth) ** 2)
    assert np.mean(shrunk) < 0.7 * np.mean(alone)


def test_the_weight_of_the_fills_rises_with_their_number_and_their_size() -> None:
    def weight(n: int, share: float) -> float:
        orders = realised(6, n, coefficient=0.8, noise=0.2, share=share)
        return impact.fit_coefficient(*orders, **FIT).sample_weight

    assert weight(20, 1e-5) < 0.05 < weight(20, 0.02) < weight(500, 0.02) < 1.0


def test_the_prior_holds_where_fills_say_nothing_and_not_where_it_is_infinitely_wide() -> None:
    orders = realised(7, 25, coefficient=0.8, noise=0.3, share=1e-7)
    held = impact.fit_coefficient(*orders, prior=1.1, prior_error=0.2)
    assert held.coefficient == pytest.approx(1.1, abs=0.02)
    assert held.standard_error == pytest.approx(0.2, rel=0.01)
    alone = impact.fit_coefficient(*orders, prior=1.1, prior_error=math.inf)
    assert alone.coefficient == max(alone.sample_coefficient, 0.0)


@given(st.integers(0, 50), positive(0.1, 10.0), positive(1e-3, 1e3))
def test_the_estimate_scales_with_slippage_and_not_with_the_unit_of_money(
    seed: int, factor: float, unit: float
) -> None:
    paid, sizes, volumes, vols = realised(seed, 40, coefficient=0.8, noise=0.1)
    one = impact.fit_coefficient(paid, sizes, volumes, vols, **FIT)
    other = impact.fit_coefficient(factor * paid, unit * sizes, unit * volumes, vols, **FIT)
    assert other.sample_coefficient == pytest.approx(factor * one.sample_coefficient, rel=1e-6)
    assert other.sample_error == pytest.approx(factor * one.sample_error, rel=1e-6)


def test_orders_with_a_nan_do_not_count() -> None:
    orders = realised(8, 45, coefficient=0.8, noise=0.1)
    whole = impact.fit_coefficient(*(column[5:] for column in orders), **FIT)
    for k, column in enumerate(orders):
        column[k] = np.nan
    orders[0][4] = np.nan
    assert impact.fit_coefficient(*orders, **FIT) == whole
    assert whole.n_observations == 40


def test_a_negative_estimate_is_cut_to_zero() -> None:
    orders = realised(9, 200, coefficient=-2.0, noise=0.01)
    found = impact.fit_coefficient(*orders, **FIT)
    assert (found.coefficient, found.sample_coefficient < -1.5) == (0.0, True)


def test_too_few_fills_are_refused() -> None:
    orders = realised(10, 25, coefficient=0.8, noise=0.1)
    orders[0][:6] = np.nan
    with pytest.raises(ValueError, match="at least 20 orders without NaN, of 25, was 19"):
        impact.fit_coefficient(*orders, **FIT)


def _broken(column: int, value: float) -> Callable[[], object]:
    orders = realised(11, 25, coefficient=0.8, noise=0.1)
    orders[column][3] = value
    return lambda: impact.fit_coefficient(*orders, **FIT)


# Almgren and others (2005)


def power_laws(qty: float = 656100.0, **other: Any) -> impact.PowerLawImpact:
    known = {"daily_volume": 6.561e6, "daily_vol": 0.0157, "outstanding": 1.728e9}
    return impact.power_law_impact(qty, **{"horizon_days": [0.1, 0.2, 0.5], **known, **other})


def test_ibm_costs_what_table_3_of_the_paper_says() -> None:
    found = power_laws()
    assert round(found.permanent_bps) == 20
    assert found.temporary_bps.round().tolist() == [22.0, 15.0, 8.0]
    assert found.realised_bps.round().tolist() == [32.0, 25.0, 18.0]


def test_a_sale_costs_what_a_purchase_does_and_a_square_root_is_one_of_the_power_laws() -> None:
    assert power_laws(-656100.0).realised_bps.tolist() == power_laws().realised_bps.tolist()
    laws = replace(impact.EQUITIES_2005, permanent=0.0, temporary=1.0, rate_exponent=0.5)
    found = power_laws(laws=laws, horizon_days=1.0)
    expected = law(656100.0, 6.561e6, 0.0157, 1.0)
    assert float(found.realised_bps) == pytest.approx(1e4 * float(expected))


# Almgren and Chriss (2000)


def quadratic_programme(
    qty: float, market: impact.LinearMarket, horizon: float, n: int, risk_aversion: float
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
    trades: FloatArray, market: impact.LinearMarket, tau: float
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
    plan = impact.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-6)
    assert round(plan.kappa, 2) == 0.61
    straight = impact.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=5, risk_aversion=0.0)
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
    market = impact.LinearMarket(
        volatility=0.5, permanent=permanent, temporary=0.5, fixed=0.01
    )  # fmt: skip
    plan = impact.almgren_chriss(
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
        impact.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=20, risk_aversion=aversion)
        for aversion in (averse, averse + more)
    )
    assert nervous.variance < calm.variance
    assert nervous.expected_cost > calm.expected_cost


def test_no_schedule_nearby_is_better() -> None:
    plan = impact.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=8, risk_aversion=1e-6)
    rng = np.random.default_rng(12)
    for _ in range(200):
        change = rng.normal(0.0, 1e4, 8)
        cost, variance = cost_and_variance(plan.trades + change - change.mean(), MARKET, 5.0 / 8)
        assert cost + 1e-6 * variance > plan.expected_cost + 1e-6 * plan.variance


def test_a_sale_is_a_purchase_with_the_other_sign() -> None:
    bought, sold = (
        impact.almgren_chriss(qty, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-6)
        for qty in (1e6, -1e6)
    )
    assert sold.holdings.tolist() == (-bought.holdings).tolist()
    assert sold.expected_cost == bought.expected_cost


def test_extreme_urgency_neither_overflows_nor_loses_the_straight_line() -> None:
    passing = replace(MARKET, permanent=0.0)
    hurried = impact.almgren_chriss(1.0, passing, horizon=5e4, intervals=50, risk_aversion=1.0)
    assert hurried.trades[0] == pytest.approx(1.0)
    assert np.isfinite(hurried.holdings).all()
    relaxed = impact.almgren_chriss(1.0, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-25)
    np.testing.assert_allclose(relaxed.trades, 0.2, rtol=1e-12)


# Transient impact


@pytest.mark.parametrize(
    "decay",
    [
        impact.PowerLawDecay(initial=0.01, scale=20.0, exponent=0.25),
        impact.ExponentialDecay(initial=0.02, rate=0.1),
    ],
)
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_the_price_is_the_sum_over_all_trades_before(decay: impact.Decay, exponent: float) -> None:
    volumes = np.random.default_rng(13).normal(0.0, 100.0, 60)
    volumes[10:20] = 0.0
    found = impact.propagate(volumes, decay, volume_exponent=exponent)
    cost = 0.0
    for t, volume in enumerate(volumes):
        before = sum(
            float(decay.at(np.array(float(t - s))))
            * math.copysign(abs(volumes[s]) ** exponent, volumes[s])
            for s in range(t)
        )
        own = decay.initial * math.copysign(abs(volume) ** exponent, volume)
        assert found.price_shifts[t] == pytest.approx(before + own, abs=1e-11)
        cost += volume * (before + own / (1.0 + exponent))
    assert found.cost == pytest.approx(cost, rel=1e-12)


def test_a_trade_pays_the_mean_of_its_own_path() -> None:
    decay = impact.PowerLawDecay(initial=0.01, scale=1.0, exponent=0.5)
    found = impact.propagate([400.0], decay, volume_exponent=0.5)
    path = 0.01 * np.sqrt(400.0 * (np.arange(100_000) + 0.5) / 100_000)
    assert found.cost == pytest.approx(400.0 * path.mean(), rel=1e-7)
    assert found.cost == pytest.approx(impact.MEAN_OF_PEAK * 400.0 * found.price_shifts[0])


@given(st.lists(positive(-1e3, 1e3), min_size=1, max_size=30), positive(0.0, 3.0))
def test_linear_impact_that_decays_never_earns_money(volumes: list[float], rate: float) -> None:
    decay = impact.ExponentialDecay(initial=0.01, rate=rate)
    found = impact.propagate(volumes, decay, volume_exponent=1.0)
    assert found.cost >= -1e-9 * sum(v * v for v in volumes)
    mirrored = impact.propagate(np.negative(volumes), decay, volume_exponent=1.0)
    assert mirrored.price_shifts.tolist() == (-found.price_shifts).tolist()


def test_blocks_and_rate_solve_the_quadratic_programme_on_a_fine_grid() -> None:
    n, horizon, resilience = 1000, 1.5, 2.23
    times = np.linspace(0.0, horizon, n + 1)
    kernel = np.exp(-resilience * np.abs(times[:, None] - times))
    solved = np.linalg.solve(kernel, np.ones(n + 1))
    best = 1e5 * solved / solved.sum()
    plan = impact.obizhaeva_wang(1e5, resilience=resilience, horizon=horizon)
    assert plan.first_block == pytest.approx(best[0], rel=2e-3)
    assert plan.last_block == pytest.approx(best[-1], rel=2e-3)
    assert plan.rate * horizon / n == pytest.approx(best[n // 2], rel=2e-3)
    assert plan.cost(0.01) == pytest.approx(0.01 * 0.5 * best @ kernel @ best, rel=1e-3)
    # The same trades through the propagator, whose lags are the grid's steps.
    decay = impact.ExponentialDecay(initial=0.01, rate=resilience * horizon / n)
    assert impact.propagate(best, decay, volume_exponent=1.0).cost == pytest.approx(
        plan.cost(0.01), rel=1e-3
    )


@given(positive(-1e6, 1e6), positive(0.0, 50.0), positive(0.01, 50.0))
def test_blocks_and_rate_add_up_to_the_order(qty: float, resilience: float, horizon: float) -> None:
    plan = impact.obizhaeva_wang(qty, resilience=resilience, horizon=horizon)
    total = plan.first_block + plan.rate * horizon + plan.last_block
    assert total == pytest.approx(qty, rel=1e-12)
    assert 0.0 <= plan.cost(1.0) <= qty**2 / 2.0 * (1.0 + 1e-12)  # never dearer than one block


# Slices


def slices_of(
    lots: int, n: int, urgency: float = 0.0, minimum: int = 1, maximum: int = 10**9
) -> list[int]:
    return [impact.slice_lots(lots, n, k, urgency, minimum, maximum) for k in range(n)]


def ideal_first(urgency: float, n: int) -> float:
    if urgency < 1e-6:
        return 1.0 / n
    return 1.0 - math.sinh(urgency * (1.0 - 1.0 / n)) / math.sinh(urgency)


def test_equal_slices_differ_by_one_lot() -> None:
    assert slices_of(10, 4) == [3, 2, 3, 2]
    assert slices_of(12, 4) == [3, 3, 3, 3]


def test_slices_follow_the_schedule() -> None:
    plan = impact.almgren_chriss(1e6, MARKET, horizon=5.0, intervals=5, risk_aversion=1e-6)
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
        size = impact.next_slice(left, n - k, urgency / n, minimum, maximum)
        assert size == impact.next_slice.py_func(left, n - k, urgency / n, minimum, maximum)
        assert size == impact.slice_lots.py_func(lots, n, k, urgency, minimum, maximum)
        assert size == impact.slice_lots(lots, n, k, urgency, minimum, maximum)
        left -= size
    assert impact.slice_lots(lots, n, n, urgency, minimum, maximum) == 0


@given(positive(0.0, 8.0), st.integers(200, 10**6), st.integers(1, 10**6))
def test_an_order_has_no_more_slices_than_its_first_one_needs(
    urgency: float, lots: int, maximum: int
) -> None:
    found = impact.slice_count(lots, 1, maximum, urgency, 2000)
    assert found == impact.slice_count.py_func(lots, 1, maximum, urgency, 2000)
    share = maximum / lots
    if found < min(lots, 2000):
        assert ideal_first(urgency, found) <= share * (1.0 + 1e-6) or found == 1
        assert all(size <= maximum for size in slices_of(lots, found, urgency, 1, maximum))
    if found > 1:
        assert ideal_first(urgency, found - 1) > share * (1.0 - 1e-6)


def test_minimum_and_time_win_over_the_maximum() -> None:
    assert impact.slice_count(100, 30, 20, 0.0, 50) == 3
    assert impact.slice_count(100, 1, 20, 0.0, 4) == 4
    assert impact.slice_count(100, 10, 0, 0.0, 50) == 10
    assert impact.slice_count(0, 10, 20, 0.0, 50) == 0
    assert impact.slice_count(5, 10, 20, 0.0, 50) == 1
    assert impact.slice_count(100, 1, 20, 1000.0, 50) == 50


def test_a_slice_has_at_most_its_share_of_the_bar_in_whole_lots() -> None:
    cap = impact.slice_cap
    assert [cap(0.1, 1e5, lot) for lot in (3.0, 1e4, 1.01e4, 0.0, math.nan)] == [3333, 1, 0, 0, 0]
    assert [cap(0.1, volume, 3.0) for volume in (0.0, math.nan, 1e30)] == [0, 0, 10**15]
    assert cap(0.1, 1e5, 3.0) == cap.py_func(0.1, 1e5, 3.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: law(1.0, -1.0), r"daily_notionals must be >= 0, was -1\.0"),
        (lambda: law(1.0, 1.0, -0.1), r"daily_vols must be >= 0, was -0\.1"),
        (lambda: law(1.0, y=math.nan), "coefficient must be >= 0 and finite, was nan"),
        (_broken(0, math.inf), "slippages must be finite or NaN, was inf"),
        (_broken(1, -3.0), r"notionals must be > 0 and finite, or NaN, was -3\.0"),
        (_broken(2, math.inf), "daily_notionals must be > 0 and finite, or NaN, was inf"),
        (_broken(3, 0.0), r"daily_vols must be > 0 and finite, or NaN, was 0\.0"),
        (
            lambda: impact.fit_coefficient([0.1], [1.0, 2.0], [1.0], [1.0], **FIT),
            r"notionals must be of shape \(1,\), was \(2,\)",
        ),
        (
            lambda: impact.fit_coefficient([], [], [], [], prior=1.0, prior_error=0.0),
            r"prior_error must be > 0, was 0\.0",
        ),
        (lambda: power_laws(math.inf), "qty must be finite, was inf"),
        (
            lambda: power_laws(horizon_days=[1.0, 0.0]),
            r"horizon_days must be > 0 and finite, was 0\.0",
        ),
        (
            lambda: impact.PowerLaws(rate_exponent=-0.1),
            r"rate_exponent must be >= 0 and finite, was -0\.1",
        ),
        (lambda: replace(MARKET, temporary=0.0), r"temporary must be > 0 and finite, was 0\.0"),
        (
            lambda: impact.almgren_chriss(
                1.0, MARKET, horizon=160.0, intervals=5, risk_aversion=0.0
            ),
            r"temporary must be > permanent \* horizon / intervals / 2 = 4e-06, was 2\.5e-06",
        ),
        (
            lambda: impact.almgren_chriss(1.0, MARKET, horizon=2.0, intervals=0, risk_aversion=0.0),
            "intervals must be >= 1, was 0",
        ),
        (
            lambda: impact.propagate(
                [1.0, math.nan], impact.ExponentialDecay(initial=1.0, rate=0.0), volume_exponent=1.0
            ),
            "signed_volumes must be finite, was nan",
        ),
        (
            lambda: impact.PowerLawDecay(initial=1.0, scale=0.0, exponent=0.5),
            r"scale must be > 0 and finite, was 0\.0",
        ),
        (
            lambda: impact.obizhaeva_wang(1.0, resilience=-1.0, horizon=1.0),
            r"resilience must be >= 0 and finite, was -1\.0",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
