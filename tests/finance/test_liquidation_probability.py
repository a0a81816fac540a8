"""Probability of liquidation: closed form, jumps and resampled paths, against each other and against small steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quantcore.finance.first_passage import (
    JumpDiffusion,
    Jumps,
    first_passage,
    first_passage_with_jumps,
    leverage_max,
)
from quantcore.finance.liquidation import (
    MarginAccount,
    bracket_table,
    liquidation_distance,
    liquidation_price,
    liquidation_prices,
)
from quantcore.finance.liquidation_probability import (
    FilteredShocks,
    LiquidationEstimate,
    filter_shocks,
    liquidation_probability,
)

BRACKETS = bracket_table([0, 10_000, 100_000, 500_000], [0.005, 0.0065, 0.01, 0.02])
SIDES = st.sampled_from([1.0, -1.0])
HOURS = math.sqrt(8760.0)


def gaussian(
    n_symbols: int, *, vol: float, correlation: float = 0.0, seed: int = 0
) -> FilteredShocks:
    """Independent hours of normal shocks, with sample moments made exact."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((60_000, n_symbols))
    values -= values.mean(axis=0)
    values = (
        values
        @ np.linalg.inv(
            np.linalg.cholesky(np.cov(values, rowvar=False, ddof=0).reshape(n_symbols, -1))
        ).T
    )
    matrix = correlation + (1.0 - correlation) * np.eye(n_symbols)
    values = values @ np.linalg.cholesky(matrix).T
    return FilteredShocks(
        values=values, hourly_vol=np.full(n_symbols, vol / HOURS), block_hours=1.0
    )


def history(n_symbols: int, *, seed: int = 3, n_hours: int = 2500) -> FilteredShocks:
    """Fat-tailed returns with a common factor and clustered volatility, filtered."""
    rng = np.random.default_rng(seed)
    level = np.exp(0.5 * np.sin(np.arange(n_hours) / 90.0))[:, None]
    factor = rng.standard_t(4, (n_hours, 1))
    returns = 0.004 * level * (factor + rng.standard_t(4, (n_hours, n_symbols)))
    return filter_shocks(np.clip(returns, -0.2, 0.2), half_life_hours=48, block_hours=6)


def account(
    qty: list[float], *, margin: float, isolated: bool = False, **changes: Any
) -> MarginAccount:
    """Positions entered now at 100 USDT; `margin` is the wallet, or each isolated position's."""
    n = len(qty)
    fields: dict[str, Any] = {
        "wallet": 0.0 if isolated else margin,
        "qty": np.array(qty),
        "entry": np.full(n, 100.0),
        "mark": np.full(n, 100.0),
        "brackets": np.repeat(BRACKETS[None], n, axis=0),
        "isolated_margin": margin if isolated else math.nan,
    }
    return MarginAccount(**{**fields, **changes})


def estimate(of: MarginAccount, by: FilteredShocks, **settings: Any) -> LiquidationEstimate:
    defaults: dict[str, Any] = {"n_paths": 4000, "rng": np.random.default_rng(5)}
    return liquidation_probability(of, by, **{**defaults, **settings})


# Closed form


@given(
    distance=st.floats(0.005, 0.95),
    side=SIDES,
    vol=st.floats(0.05, 4.0),
    hours=st.floats(0.5, 300.0),
    more=st.floats(1.0, 4.0),
)
def test_probability_rises_with_volatility_and_horizon_and_falls_with_distance(
    distance: float, side: float, vol: float, hours: float, more: float
) -> None:
    def at(d: float, s: float, h: float) -> float:
        return float(first_passage(d, side=side, annual_vol=s, horizon_hours=h))

    base = at(distance, vol, hours)
    assert 0.0 <= base <= 1.0
    assert at(distance, vol * more, hours) >= base - 1e-14
    assert at(distance, vol, hours * more) >= base - 1e-14
    assert at(distance / more, vol, hours) >= base - 1e-14


def test_arrays_broadcast_and_nan_is_passed_on() -> None:
    probabilities = first_passage(
        [[0.1], [math.inf]], side=[1, -1, 1], annual_vol=[0.8, 0.8, math.nan]
    )
    assert probabilities.shape == (2, 3)
    assert probabilities[1, :2].tolist() == [0.0, 0.0]
    assert np.isnan(probabilities[:, 2]).all()
    assert probabilities[0, 0] == pytest.approx(float(first_passage(0.1, side=1, annual_vol=0.8)))


def test_at_ten_times_leverage_the_limit_is_passed_near_70_percent_volatility() -> None:
    """The sentence of DESIGN.md 7, with the maintenance rate of a small position in a large symbol."""
    for rate in (0.004, 0.005):
        price = liquidation_price(1.0, 100.0, bracket_table([0], [rate]), wallet=10.0)
        distance = liquidation_distance(price, 100.0, side=1)
        vols = np.array([0.65, 0.75])
        low, high = first_passage(distance, side=1, annual_vol=vols)
        assert low < 0.005 < high
        calm, wild = leverage_max(0.005, side=1, annual_vol=vols, maintenance_rate=rate)
        assert wild < 10.0 < calm


@given(
    limit=st.floats(1e-5, 0.5),
    side=SIDES,
    vol=st.floats(0.1, 3.0),
    drift=st.floats(-2.0, 2.0),
    rate=st.floats(0.003, 0.2),
)
def test_at_the_highest_leverage_the_probability_is_the_limit(
    limit: float, side: float, vol: float, drift: float, rate: float
) -> None:
    how: dict[str, Any] = {"side": side, "annual_vol": vol, "annual_drift": drift}
    leverage = float(leverage_max(limit, maintenance_rate=rate, **how))
    assert 0.0 < leverage <= 1.0 / rate
    price = liquidation_price(side, 100.0, bracket_table([0], [rate]), wallet=100.0 / leverage)
    distance = liquidation_distance(price, 100.0, side=side)
    assert float(first_passage(distance, **how)) == pytest.approx(limit, rel=1e-6)


@given(
    limit=st.floats(1e-4, 0.3),
    side=SIDES,
    vol=st.floats(0.1, 3.0),
    rate=st.floats(0.0, 0.2),
    more=st.floats(1.01, 3.0),
)
def test_highest_leverage_falls_with_volatility_horizon_and_rate(
    limit: float, side: float, vol: float, rate: float, more: float
) -> None:
    def at(limit: float, vol: float, rate: float, hours: float) -> float:
        how: dict[str, Any] = {"side": side, "annual_vol": vol, "horizon_hours": hours}
        return float(leverage_max(limit, maintenance_rate=rate, **how))

    base = at(limit, vol, rate, 24.0)
    assert at(limit, vol * more, rate, 24.0) < base
    assert at(limit, vol, rate, 24.0 * more) < base
    assert at(limit * more, vol, rate, 24.0) > base
    assert at(limit, vol, min(rate + 0.01 * more, 0.9), 24.0) < base


def test_leverage_of_many_symbols_is_that_of_each() -> None:
    vols, sides, rates = (
        np.array([0.5, 0.9, math.nan]),
        np.array([1, -1, 1]),
        np.array([0.004, 0.02, 0.01]),
    )
    together = leverage_max(0.005, side=sides, annual_vol=vols, maintenance_rate=rates)
    for k in (0, 1):
        alone = leverage_max(0.005, side=sides[k], annual_vol=vols[k], maintenance_rate=rates[k])
        assert together[k] == float(alone)
    assert math.isnan(together[2])


# Jumps


def jump_diffusion(vol: float = 0.6, drift: float = 0.0, **jumps: Any) -> JumpDiffusion:
    return JumpDiffusion(annual_vol=vol, annual_drift=drift, jumps=Jumps(**jumps))


def test_without_jumps_it_is_the_closed_form_exactly(rng: np.random.Generator) -> None:
    process = jump_diffusion(drift=0.3, intensity=0.0, mean=0.1, sd=0.1)
    expected = float(first_passage(0.1, side=-1, annual_vol=0.6, annual_drift=0.3))
    assert first_passage_with_jumps(0.1, process, side=-1, rng=rng) == (expected, 0.0)


@pytest.mark.parametrize(("side", "mean"), [(1.0, -0.5), (-1.0, 0.5)])
def test_jumps_that_always_kill_leave_the_chance_of_none(
    side: float, mean: float, rng: np.random.Generator
) -> None:
    process = jump_diffusion(intensity=80.0, mean=mean, sd=0.0)
    probability, _ = first_passage_with_jumps(0.095, process, side=side, rng=rng)
    plain = float(first_passage(0.095, side=side, annual_vol=0.6))
    none = math.exp(-80.0 / 365.0)
    # Whoever is hit before the jump is among the dead already: only paths without jumps can live.
    assert probability == pytest.approx(1.0 - none * (1.0 - plain), abs=1e-7)


def test_jumps_alone_are_counted(rng: np.random.Generator) -> None:
    """Without diffusion two jumps of -6 % kill at a distance of 9.5 %, one does not."""
    process = jump_diffusion(vol=0.0, intensity=365.0, mean=-0.06, sd=0.0)
    probability, error = first_passage_with_jumps(0.095, process, side=1, rng=rng)
    assert probability == pytest.approx(1.0 - 2.0 * math.exp(-1.0), abs=1e-7)
    assert error < 1e-12


def test_jumps_of_no_size_leave_the_closed_form(rng: np.random.Generator) -> None:
    process = jump_diffusion(vol=0.9, drift=-1.0, intensity=500.0, mean=0.0, sd=0.0)
    probability, error = first_passage_with_jumps(0.08, process, side=1, rng=rng)
    plain = float(first_passage(0.08, side=1, annual_vol=0.9, annual_drift=-1.0))
    assert probability == pytest.approx(plain, abs=max(4.0 * error, 1e-6))
    assert error < 0.01 * plain


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_jump_diffusion_agrees_with_small_steps(side: float) -> None:
    """Euler steps with Bernoulli jumps, watched at each step of a barrier moved nearer by 0.5826 s sqrt(dt).

    That shift makes up for what happens between steps (Broadie, Glasserman and Kou 1997).
    """
    process = jump_diffusion(vol=0.8, intensity=150.0, mean=-0.02, sd=0.04)
    rng = np.random.default_rng(2)
    n, steps = 40_000, 288
    dt = 1.0 / 365.0 / steps
    level, alive = np.zeros(n), np.ones(n, dtype=bool)
    barrier = -side * math.log1p(-side * 0.1) - 0.5826 * 0.8 * math.sqrt(dt)
    for _ in range(steps):
        level += -0.32 * dt + 0.8 * math.sqrt(dt) * rng.standard_normal(n)
        jumping = np.flatnonzero(rng.random(n) < 150.0 * dt)
        level[jumping] += rng.normal(-0.02, 0.04, len(jumping))
        alive &= side * level > -barrier
    plain = 1.0 - alive.mean()
    probability, error = first_passage_with_jumps(0.1, process, side=side, rng=rng)
    assert error < 2e-4
    assert probability == pytest.approx(plain, abs=4.0 * math.sqrt(plain / n))


def test_probability_with_jumps_falls_with_distance_point_by_point() -> None:
    process = jump_diffusion(intensity=200.0, mean=-0.01, sd=0.05)
    curve = [
        first_passage_with_jumps(d, process, side=1, n_points=512, rng=np.random.default_rng(1))[0]
        for d in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    ]
    assert curve[0] == 1.0
    assert curve[-1] == 0.0
    assert (np.diff(curve) < 0.0).all()


# Shocks


def test_shocks_of_clustered_returns_have_unit_variance_and_less_clustering() -> None:
    rng = np.random.default_rng(0)
    level = 0.01 * np.exp(np.sin(np.arange(20_000) / 500.0))
    returns = np.expm1(level * rng.standard_normal(20_000))[:, None]
    shocks = filter_shocks(returns, half_life_hours=50, block_hours=1)
    values = shocks.values[200:, 0]
    assert values.var() == pytest.approx(1.0, abs=0.05)
    raw = np.log1p(returns[200:, 0]) ** 2
    assert np.corrcoef(raw[:-1], raw[1:])[0, 1] > 0.15
    assert abs(np.corrcoef(values[:-1] ** 2, values[1:] ** 2)[0, 1]) < 0.05
    assert shocks.hourly_vol[0] == pytest.approx(level[-1], rel=0.3)


def test_shocks_know_nothing_of_the_future_and_scale_with_nothing() -> None:
    rng = np.random.default_rng(1)
    returns = rng.normal(0.0, 0.01, (400, 2))
    shocks = filter_shocks(returns, half_life_hours=20.5, block_hours=1)
    shorter = filter_shocks(returns[:300], half_life_hours=20.5, block_hours=1)
    np.testing.assert_array_equal(shocks.values[:300], shorter.values)
    assert np.isnan(shocks.values[:21]).all()
    assert not np.isnan(shocks.values[21:]).any()
    double = filter_shocks((1.0 + returns) ** 2 - 1.0, half_life_hours=20.5, block_hours=1)
    np.testing.assert_allclose(double.values, shocks.values, rtol=1e-9)
    np.testing.assert_allclose(double.hourly_vol, 2.0 * shocks.hourly_vol, rtol=1e-9)


def test_a_shock_is_measured_by_the_volatility_before_it() -> None:
    quiet = 0.01 * np.tile([1.0, -1.0], 100)
    logs = np.append(quiet, [0.2, 0.01])
    shocks = filter_shocks(np.expm1(logs)[:, None], half_life_hours=20, block_hours=1)
    assert shocks.values[200, 0] == pytest.approx(20.0, rel=1e-9)
    gain = (1.0 - 0.5**0.05) / (1.0 - 0.5 ** (201 / 20.0))  # the weight of the newest of 201 values
    after = math.sqrt(0.01**2 + gain * (0.2**2 - 0.01**2))
    assert shocks.values[201, 0] == pytest.approx(0.01 / after, rel=1e-9)


def test_missing_returns_give_no_shock_and_leave_the_volatility() -> None:
    returns = np.random.default_rng(1).normal(0.0, 0.01, (300, 1))
    holed = np.insert(returns, [100, 150], math.nan, axis=0)
    shocks = filter_shocks(holed, half_life_hours=10, block_hours=1)
    assert np.isnan(shocks.values[[100, 151], 0]).all()
    whole = filter_shocks(returns, half_life_hours=10, block_hours=1)
    np.testing.assert_array_equal(np.delete(shocks.values, [100, 151], axis=0), whole.values)
    np.testing.assert_array_equal(shocks.hourly_vol, whole.hourly_vol)


# Simulation


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize(("side", "vol"), [(1.0, 0.9), (-1.0, 0.9), (1.0, 1.5)])
def test_one_symbol_with_normal_shocks_converges_to_the_closed_form(
    side: float, vol: float, isolated: bool
) -> None:
    held = account([side], margin=10.0, isolated=isolated)
    distance = liquidation_distance(liquidation_prices(held)[0], 100.0, side=side)
    closed = float(first_passage(distance, side=side, annual_vol=vol))
    measured = estimate(held, gaussian(1, vol=vol), n_paths=60_000)
    assert abs(measured.probability - closed) < 4.0 * measured.standard_error
    assert measured.standard_error < 0.03 * closed
    assert measured.cross_probability == (0.0 if isolated else measured.probability)
    np.testing.assert_allclose(measured.position_probability, measured.probability, rtol=1e-9)


def test_bracket_at_the_liquidation_price_counts() -> None:
    """A short that grows into a higher bracket on its way is liquidated earlier than its bracket now would say."""
    brackets = bracket_table([0, 10_200], [0.005, 0.4])
    held = account([-100.0], margin=1_200.0, brackets=brackets[None])
    price = liquidation_prices(held)[0]
    naive = liquidation_price(-100.0, 100.0, bracket_table([0], [0.005]), wallet=1_200.0)
    assert 104.0 < price < naive - 2.0
    closed = float(first_passage(price / 100.0 - 1.0, side=-1, annual_vol=1.0))
    measured = estimate(held, gaussian(1, vol=1.0), n_paths=60_000)
    assert abs(measured.probability - closed) < 4.0 * measured.standard_error
    assert closed > 1.3 * float(first_passage(naive / 100.0 - 1.0, side=-1, annual_vol=1.0))


def test_cross_account_on_hours_agrees_with_steps_of_five_minutes() -> None:
    """The bridge's linear value against a grid on which it hardly matters: the same law in twelve times finer steps."""
    held = account([60.0, -30.0, 25.0], margin=700.0, liquidation_fee=0.0)
    hourly = gaussian(3, vol=1.1, correlation=0.5)
    fine = FilteredShocks(
        values=hourly.values, hourly_vol=hourly.hourly_vol / math.sqrt(12.0), block_hours=1.0
    )
    coarse = estimate(held, hourly, n_paths=60_000)
    exact = estimate(held, fine, n_paths=60_000, horizon_hours=288)
    assert 0.03 < exact.probability < 0.2
    error = math.hypot(coarse.standard_error, exact.standard_error)
    assert abs(coarse.probability - exact.probability) < 4.0 * error
    # Also who is closed, and what is left, do not depend on the step.
    np.testing.assert_allclose(
        coarse.position_probability / coarse.probability,
        exact.position_probability / exact.probability,
        atol=0.05,
    )
    assert coarse.expected_loss == pytest.approx(exact.expected_loss, rel=0.02)


def test_bridge_of_the_value_hardly_differs_from_the_exact_one_of_the_log_mark() -> None:
    shocks = gaussian(1, vol=1.2)
    for side in (1.0, -1.0):
        linear = estimate(account([side], margin=10.0), shocks, n_paths=20_000)
        exact = estimate(account([side], margin=10.0, isolated=True), shocks, n_paths=20_000)
        assert linear.probability == pytest.approx(exact.probability, rel=0.01)
        assert linear.expected_loss == pytest.approx(exact.expected_loss, rel=0.01)


def test_a_hedged_cross_account_lives_where_its_isolated_legs_die() -> None:
    shocks = gaussian(2, vol=1.2, correlation=0.98)
    together = estimate(account([50.0, -50.0], margin=1000.0), shocks)
    apart = estimate(account([50.0, -50.0], margin=500.0, isolated=True), shocks)
    assert together.probability < 1e-3
    assert apart.probability > 0.2
    assert apart.probability > apart.position_probability.max()


@pytest.mark.parametrize("shared", [True, False])
def test_added_jumps_agree_with_the_jump_diffusion(shared: bool) -> None:
    jumps = Jumps(intensity=120.0, mean=-0.03, sd=0.03, shared=shared)
    process = JumpDiffusion(annual_vol=0.9, jumps=jumps)
    held = account([1.0], margin=10.0, isolated=True)
    distance = liquidation_distance(liquidation_prices(held)[0], 100.0, side=1)
    exact, _ = first_passage_with_jumps(distance, process, side=1, rng=np.random.default_rng(1))
    for isolated in (True, False):
        held = account([1.0], margin=10.0, isolated=isolated)
        measured = estimate(held, gaussian(1, vol=0.9), n_paths=60_000, jumps=jumps)
        assert abs(measured.probability - exact) < 4.0 * measured.standard_error


def test_own_jumps_hurt_a_hedged_account_and_shared_ones_do_not() -> None:
    held = account([50.0, -50.0], margin=600.0)
    shocks = gaussian(2, vol=0.6, correlation=0.95)
    values: dict[str, Any] = {"intensity": 200.0, "mean": -0.1, "sd": 0.05}
    shared = estimate(held, shocks, jumps=Jumps(**values))
    own_jumps = estimate(held, shocks, jumps=Jumps(**values, shared=False))
    assert shared.probability < 0.02
    assert own_jumps.probability > 0.1


def test_funding_is_paid_at_its_settlements() -> None:
    still = FilteredShocks(
        values=gaussian(2, vol=1.0).values, hourly_vol=np.full(2, 1e-7), block_hours=1.0
    )
    # 1000 USDT of notional each; maintenance margin 5 each, 100 of margin: 0.03 is paid three times before it fails.
    charges: dict[str, Any] = {
        "funding_rate": 0.03,
        "funding_interval_hours": 4.0,
        "hours_to_funding": 3.5,
    }
    longs = account([10.0, 10.0], margin=100.0, isolated=True, **charges)
    for hours, expected in ((11, 0.0), (15, 0.0), (16, 1.0)):
        assert estimate(longs, still, horizon_hours=hours, n_paths=10).probability == expected
    cross = account([10.0, 10.0], margin=200.0, **charges)
    for hours, expected in ((15, 0.0), (16, 1.0)):
        assert estimate(cross, still, horizon_hours=hours, n_paths=10).probability == expected
    assert estimate(account([-10.0, -10.0], margin=200.0, **charges), still).probability == 0.0
    assert estimate(account([10.0, -10.0], margin=50.0, **charges), still).probability == 0.0


def test_funding_received_makes_liquidation_less_likely() -> None:
    shocks = history(2)
    pays, receives = (
        estimate(account([50.0, 40.0], margin=1200.0, funding_rate=rate), shocks).probability
        for rate in (0.005, -0.005)
    )
    assert pays > receives > 0.0


@settings(max_examples=25)
@given(
    qty=st.lists(st.floats(-80.0, 80.0), min_size=1, max_size=4),
    leverage=st.floats(3.0, 30.0),
    more=st.floats(1.05, 2.0),
    isolated=st.booleans(),
)
def test_probability_is_one_and_rises_with_leverage_horizon_and_volatility(
    qty: list[float], leverage: float, more: float, isolated: bool
) -> None:
    assume(min(abs(q) for q in qty) > 0.1)
    shocks = history(len(qty))
    # Each isolated position gets the whole margin, so that one number serves all of them.
    margin = 100.0 * (max if isolated else sum)(abs(q) for q in qty) / leverage
    base = estimate(account(qty, margin=margin, isolated=isolated), shocks, n_paths=300)
    everything = [base.probability, base.cross_probability, *base.position_probability]
    assert all(0.0 <= p <= 1.0 for p in everything)
    lower = estimate(account(qty, margin=margin / more, isolated=isolated), shocks, n_paths=300)
    assert lower.probability >= base.probability - 1e-12
    longer = estimate(
        account(qty, margin=margin, isolated=isolated), shocks, n_paths=300, horizon_hours=36
    )
    assert longer.probability >= base.probability - 1e-12
    wilder = FilteredShocks(
        values=shocks.values, hourly_vol=shocks.hourly_vol * more, block_hours=6.0
    )
    louder = estimate(account(qty, margin=margin, isolated=isolated), wilder, n_paths=300)
    assert louder.probability >= base.probability - 0.01


def test_result_follows_a_permutation_of_the_symbols() -> None:
    shocks = history(5)
    qty = np.array([20.0, -15.0, 30.0, 0.0, 12.0])
    isolated = np.array([math.nan, math.nan, math.nan, math.nan, 100.0])
    rates = np.array([1e-3, 2e-3, 0.0, 0.0, -1e-3])
    order = np.array([3, 4, 1, 0, 2])
    one = estimate(
        account(qty.tolist(), margin=500.0, isolated_margin=isolated, funding_rate=rates), shocks
    )
    other = estimate(
        account(
            qty[order].tolist(),
            margin=500.0,
            isolated_margin=isolated[order],
            funding_rate=rates[order],
        ),
        FilteredShocks(
            values=shocks.values[:, order], hourly_vol=shocks.hourly_vol[order], block_hours=6.0
        ),
    )
    assert 0.01 < one.probability < 0.9
    assert other.probability == pytest.approx(one.probability, rel=1e-10)
    assert other.expected_loss == pytest.approx(one.expected_loss, rel=1e-10)
    np.testing.assert_allclose(
        other.position_probability, one.position_probability[order], rtol=1e-10, atol=1e-14
    )


@pytest.fixture
def threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_equal_generators_give_equal_results_on_any_number_of_threads() -> None:
    held, shocks = account([20.0, -15.0], margin=300.0), history(2)
    results = []
    for count in (numba.config.NUMBA_NUM_THREADS, 1):
        numba.set_num_threads(count)
        results.append(
            estimate(held, shocks, n_paths=9000, jumps=Jumps(intensity=50, mean=0, sd=0.05))
        )
    assert results[0].probability == results[1].probability > 0.0
    assert results[0].expected_loss == results[1].expected_loss
    other = estimate(held, shocks, n_paths=9000, rng=np.random.default_rng(6))
    assert other.probability != results[0].probability


def test_joint_rows_keep_the_history_together_in_blocks() -> None:
    """A crash of four hours in all symbols at once: resampled alone its hours are harmless, in a row they are not."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.0, 0.3, (600, 2))
    values[300:304] = -4.0
    vol = np.full(2, 0.01)
    held = account([10.0, 10.0], margin=280.0)
    single, block = (
        estimate(held, FilteredShocks(values=values, hourly_vol=vol, block_hours=b), n_paths=6000)
        for b in (1.0, 24.0)
    )
    assert block.probability > 0.02
    assert single.probability < 0.2 * block.probability


def test_a_missing_shock_is_that_of_the_hour_most_like_it() -> None:
    """A twin listed late: long one and short the other is riskless only if the missing half is filled in step."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.standard_t(4, (4000, 1)), 2, axis=1)
    values[:2000, 1] = math.nan
    values[50, :] = math.nan
    shocks = FilteredShocks(values=values, hourly_vol=np.full(2, 0.01), block_hours=4.0)
    hedged = estimate(account([40.0, -40.0], margin=150.0), shocks)
    assert hedged.probability < 0.01
    late = estimate(account([0.0, 40.0], margin=400.0), shocks)
    complete = FilteredShocks(
        values=values[2000:, 1:], hourly_vol=np.full(1, 0.01), block_hours=4.0
    )
    alone = estimate(account([40.0], margin=400.0), complete)
    assert late.probability == alone.probability > 0.0


def test_expected_loss_of_an_isolated_position_is_what_the_fee_does_not_leave() -> None:
    shocks = gaussian(1, vol=1.5)
    maintenance = 0.005 * liquidation_prices(account([1.0], margin=10.0))[0]
    free = estimate(account([1.0], margin=10.0, isolated=True), shocks)
    assert free.expected_loss == pytest.approx(10.0 - maintenance, rel=1e-9)
    charged = estimate(account([1.0], margin=10.0, isolated=True, liquidation_fee=0.0125), shocks)
    assert charged.expected_loss == pytest.approx(10.0, rel=1e-9)
    assert charged.probability == free.probability


def test_flat_and_lost_accounts_need_no_luck() -> None:
    flat = estimate(account([0.0, 0.0], margin=10.0), history(2), n_paths=7)
    assert (flat.probability, flat.standard_error, flat.cross_probability) == (0.0, 0.0, 0.0)
    assert math.isnan(flat.expected_loss)
    assert (flat.n_paths, flat.horizon_hours) == (7, 24)
    for isolated in (True, False):
        due = account([10.0, 5.0], margin=4.0, isolated=isolated)
        lost = estimate(due, history(2), n_paths=7)
        assert lost.probability == 1.0
        assert lost.position_probability[0] == 1.0
    assert math.isnan(
        estimate(account([1.0, 0.0], margin=10.0), history(2), n_paths=1).standard_error
    )


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: first_passage(0.1, side=1, annual_vol=-1.0), "annual_vol must be >= 0, was -1"),
        (lambda: first_passage(0.1, side=0, annual_vol=1.0), "side must be > 0 or < 0, was 0"),
        (
            lambda: first_passage(0.1, side=1, annual_vol=1.0, horizon_hours=-1.0),
            "horizon_hours must be >= 0, was -1",
        ),
        (
            lambda: leverage_max(1.0, side=1, annual_vol=1.0, maintenance_rate=0.01),
            r"limit must be in \(0, 1\), was 1.0",
        ),
        (
            lambda: leverage_max(0.1, side=1, annual_vol=1.0, maintenance_rate=1.0),
            r"maintenance_rate must be in \[0, 1\), was 1.0",
        ),
        (lambda: Jumps(intensity=-1.0, mean=0.0, sd=0.0), "intensity must be finite and >= 0"),
        (lambda: Jumps(intensity=1.0, mean=math.nan, sd=0.0), "mean must be finite"),
        (lambda: Jumps(intensity=1.0, mean=0.0, sd=-0.1), "sd must be finite and >= 0, was -0.1"),
        (lambda: jump_diffusion(vol=-1.0, intensity=1.0, mean=0.0, sd=0.0), "annual_vol must be"),
        (lambda: jump_diffusion(drift=math.inf, intensity=1.0, mean=0.0, sd=0.0), "annual_drift"),
        (lambda: filter_shocks([0.1, 0.2], half_life_hours=5, block_hours=1), "returns must be"),
        (lambda: filter_shocks([[-1.0]], half_life_hours=5, block_hours=1), "returns must be"),
        (lambda: filter_shocks([[math.inf]], half_life_hours=5, block_hours=1), "returns must be"),
        (lambda: filter_shocks([[0.1]], half_life_hours=0, block_hours=1), "half_life_hours must"),
        (lambda: filter_shocks([[0.1]], half_life_hours=5, block_hours=0.5), "block_hours must be"),
        (
            lambda: FilteredShocks(values=np.ones((3, 2)), hourly_vol=np.ones(3), block_hours=1.0),
            "hourly_vol must have one value per column",
        ),
        (
            lambda: FilteredShocks(values=np.ones((3, 1)), hourly_vol=-np.ones(1), block_hours=1.0),
            "hourly_vol >= 0",
        ),
        (
            lambda: estimate(account([1.0], margin=1.0), history(2)),
            "shocks must have 1 columns, was 2",
        ),
        (
            lambda: estimate(account([1.0], margin=1.0), history(1), n_paths=0),
            "n_paths must be >= 1, was 0",
        ),
        (
            lambda: estimate(account([1.0], margin=1.0), history(1), horizon_hours=0),
            "horizon_hours must be >= 1, was 0",
        ),
        (
            lambda: estimate(account([1.0], margin=1.0), history(1, n_hours=120)),
            "shocks must have >= 100 known values where held, was 72 in column 0",
        ),
        (
            lambda: estimate(
                account([1.0], margin=1.0),
                filter_shocks(np.zeros((500, 1)), half_life_hours=5, block_hours=1),
            ),
            "shocks must have >= 100 known values where held, was 0 in column 0",
        ),
        (
            lambda: estimate(
                account([0.0, 1.0], margin=1.0),
                filter_shocks(np.full((500, 2), math.nan), half_life_hours=5, block_hours=1),
            ),
            "hourly_vol must be known where held, was NaN in column 1",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_histories_that_never_meet_are_refused() -> None:
    values = np.random.default_rng(0).standard_normal((400, 2))
    values[:200, 0] = values[200:, 1] = math.nan
    shocks = FilteredShocks(values=values, hourly_vol=np.full(2, 0.01), block_hours=1.0)
    with pytest.raises(ValueError, match="shocks must overlap with another symbol's"):
        estimate(account([1.0, 1.0], margin=20.0), shocks)
    with pytest.raises(ValueError, match="distance and side must be numbers, was nan and 1"):
        first_passage_with_jumps(
            math.nan,
            jump_diffusion(intensity=1.0, mean=0.0, sd=0.0),
            side=1,
            rng=np.random.default_rng(0),
        )
