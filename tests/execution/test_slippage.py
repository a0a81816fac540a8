"""Slippage controller: what is expected, what may be sent, and what fills teach."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.execution import slippage
from quantcore.execution.slippage import REFUSE, SEND, SLOW, SlippageSettings
from quantcore.kernels.ewm import half_life_decay
from quantcore.types import FloatArray

SETTINGS = SlippageSettings(
    budget_bps=5.0,
    edge_multiple=2.0,
    half_spread_bps=1.0,
    prior_coefficient=1.0,
    prior_error=0.5,
    prior_noise=0.2,
    liquidity_half_life_hours=72.0,
    half_life_fills=50.0,
)
POLICY = slippage.slippage_policy(SETTINGS)
BUDGET = 5e-4
VOL, VOLUME = 0.04, 2e7
costs = st.floats(0.0, 2e-3)
edges = st.floats(-1e-3, 1e-2)


def fresh(policy: FloatArray = POLICY) -> FloatArray:
    return np.array(slippage.slippage_init(policy, 1)[0])


def expected(notional: float, **other: float) -> float:
    known = {"half_spread": 2e-4, "daily_vol": VOL, "daily_notional": VOLUME, **other}
    return slippage.expected_cost(
        POLICY,
        fresh(),
        known["half_spread"],
        known["daily_vol"],
        notional,
        known["daily_notional"],
    )


def fill(
    state: FloatArray,
    paid: float,
    notional: float = 5e4,
    *,
    side: int = 1,
    policy: FloatArray = POLICY,
    half_spread: float = 0.0,
    daily_vol: float = VOL,
    daily_notional: float = VOLUME,
    compiled: bool = True,
) -> None:
    """Let the controller see an order that paid a fraction of its price more than at arrival."""
    observe = slippage.observe if compiled else slippage.observe.py_func
    price = 100.0 * (1.0 + side * paid)
    observe(
        policy, state, side, 100.0, price, half_spread, daily_vol, notional, daily_notional
    )  # fmt: skip


def simulated(seed: int, n: int, *, coefficient: float, noise: float) -> tuple[FloatArray, ...]:
    """Sizes, and what they paid with noise in daily volatilities."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(4.0, 6.5, n)
    law = 2.0 / 3.0 * coefficient * np.sqrt(sizes / VOLUME)
    return sizes, 1e-4 + VOL * (law + noise * rng.standard_normal(n))


# Before an order


def test_an_order_costs_half_the_spread_and_two_thirds_of_its_impact() -> None:
    assert expected(5e4) == pytest.approx(2e-4 + 2.0 / 3.0 * 0.04 * 0.05, rel=1e-14)
    assert expected(-5e4) == expected(5e4)
    assert expected(0.0) == 2e-4


def test_the_half_spread_is_at_least_the_settings_one_and_that_where_no_book_is_known() -> None:
    assert expected(0.0, half_spread=0.2e-4) == 1e-4
    assert expected(0.0, half_spread=math.nan) == 1e-4


def test_an_order_in_no_volume_costs_infinitely_much_and_in_unknown_volume_nobody_knows() -> None:
    assert expected(5e4, daily_notional=0.0) == math.inf
    assert math.isnan(expected(5e4, daily_notional=math.nan))
    assert math.isnan(expected(5e4, daily_vol=math.nan))


@pytest.mark.parametrize(
    ("cost", "patient", "edge", "reduces", "said"),
    [
        (3e-4, 2e-4, 1e-3, False, SEND),
        (5e-4, 5e-4, 1e-3, False, SEND),  # just within both
        (6e-4, 2e-4, 1e-3, False, SLOW),  # over the budget, not if it waits
        (6e-4, 5.5e-4, 1e-2, False, REFUSE),  # over the budget however slowly
        (4e-4, 2e-4, 6e-4, False, SLOW),  # the edge pays for patience only
        (4e-4, 2e-4, 3e-4, False, REFUSE),  # the edge pays for nothing
        (4e-4, 4e-4, 3e-4, False, REFUSE),
        (4e-4, 2e-4, math.nan, False, SEND),
        (6e-4, 2e-4, math.nan, False, SLOW),
        (math.nan, math.nan, 1.0, False, REFUSE),
        (math.inf, math.inf, 1.0, False, REFUSE),
        (3e-4, 2e-4, 0.0, True, SEND),
        (6e-4, 2e-4, 0.0, True, SLOW),
        (6e-4, 6e-4, 0.0, True, SEND),  # nothing is saved by waiting
        (math.inf, math.inf, -1.0, True, SEND),
        (math.nan, math.nan, math.nan, True, SEND),
    ],
)
def test_the_verdict_weighs_cost_against_budget_and_edge(
    cost: float, patient: float, edge: float, reduces: bool, said: int
) -> None:
    assert slippage.verdict(POLICY, cost, patient, edge, reduces) == said
    assert slippage.verdict.py_func(POLICY, cost, patient, edge, reduces) == said


@given(st.one_of(costs, st.just(math.nan)), st.one_of(costs, st.just(math.nan)), edges)
def test_what_reduces_a_position_is_never_refused(cost: float, patient: float, edge: float) -> None:
    assert slippage.verdict(POLICY, cost, patient, edge, True) != REFUSE


@given(costs, costs, costs, edges)
def test_a_dearer_order_never_gets_a_milder_verdict(
    cost: float, more: float, saved: float, edge: float
) -> None:
    patient = max(cost - saved, 0.0)
    said = slippage.verdict(POLICY, cost, patient, edge, False)
    assert slippage.verdict(POLICY, cost + more, patient + more, edge, False) >= said
    assert slippage.verdict(POLICY, cost, patient, edge + more, False) <= said
    if said == SEND:
        assert cost <= BUDGET
        assert edge >= 2.0 * cost


# After a fill


def test_mean_and_variance_are_the_exponentially_weighted_ones() -> None:
    paid = np.random.default_rng(1).normal(3e-4, 5e-4, 200)
    state = fresh()
    for k, one in enumerate(paid):
        fill(state, one, side=1 if k % 3 else -1)
    weighted = pd.Series(paid).ewm(halflife=50.0)
    assert state[slippage.MEAN] == pytest.approx(weighted.mean().iloc[-1], rel=1e-9)
    assert state[slippage.VARIANCE] == pytest.approx(weighted.var(bias=True).iloc[-1], rel=1e-9)


def test_the_coefficient_is_the_posterior_mean_of_all_fills() -> None:
    sizes, paid = simulated(2, 120, coefficient=1.4, noise=0.05)
    state = fresh()
    for size, one in zip(sizes, paid, strict=True):
        fill(state, one, size)
    weight = half_life_decay(50.0) ** np.arange(120)[::-1]
    x = 2.0 / 3.0 * np.sqrt(sizes / VOLUME)
    y = (paid - 1e-4) / VOL
    # No fill is an outlier of noise 0.2, so that only the errors of prediction need the history.
    before, errors = 1.0, np.empty(120)
    for k in range(120):
        errors[k] = y[k] - before * x[k]
        past = weight[: k + 1] / weight[k]
        noise = (10.0 * 0.2**2 + (past * errors[: k + 1] ** 2).sum()) / (10.0 + past.sum())
        prior = noise / 0.5**2
        top = (past * x[: k + 1] * y[: k + 1]).sum() + prior * 1.0
        before = top / ((past * x[: k + 1] ** 2).sum() + prior)
    assert state[slippage.COEFFICIENT] == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.0])
def test_the_coefficient_finds_the_truth(truth: float) -> None:
    policy = slippage.slippage_policy(replace(SETTINGS, half_life_fills=1000.0))
    state = fresh(policy)
    sizes, paid = simulated(3, 5000, coefficient=truth, noise=0.05)
    for size, one in zip(sizes, paid, strict=True):
        fill(state, one, size, policy=policy)
    assert state[slippage.COEFFICIENT] == pytest.approx(truth, abs=0.05)
    noise = slippage.noise_variance(policy, state)
    assert math.sqrt(noise) == pytest.approx(0.05, rel=0.15)


def test_small_orders_teach_nothing_however_many() -> None:
    state, rng = fresh(), np.random.default_rng(4)
    for _ in range(2000):
        fill(state, 1e-4 + VOL * 0.2 * rng.standard_normal(), 10.0)
    assert state[slippage.COEFFICIENT] == pytest.approx(1.0, abs=0.02)


def test_what_is_forgotten_returns_to_the_prior() -> None:
    state = fresh()
    sizes, paid = simulated(5, 300, coefficient=3.0, noise=0.05)
    for size, one in zip(sizes, paid, strict=True):
        fill(state, one, size)
    learnt = state[slippage.COEFFICIENT]
    for _ in range(2000):
        fill(state, 1e-4, 1e-3)
    assert learnt > 2.0
    assert state[slippage.COEFFICIENT] == pytest.approx(1.0, abs=0.01)


def test_one_outlier_moves_the_coefficient_no_more_than_three_noises() -> None:
    far, bound = fresh(), fresh()
    x = 2.0 / 3.0 * math.sqrt(5e5 / VOLUME)
    fill(far, 5.0, 5e5)
    fill(bound, 1e-4 + VOL * (x + 3.0 * 0.2), 5e5)
    assert far[slippage.COEFFICIENT] == pytest.approx(bound[slippage.COEFFICIENT], rel=1e-12)
    assert far[slippage.MEAN] == pytest.approx(5.0)


def test_the_coefficient_never_falls_below_zero() -> None:
    state = fresh()
    for _ in range(200):
        fill(state, -0.02, 2e6)
    assert state[slippage.COEFFICIENT] == 0.0


@given(st.floats(-0.01, 0.01), st.floats(1.0, 1e6), st.floats(1e-5, 5e-3))
def test_a_worse_fill_never_makes_the_next_order_look_cheaper(
    paid: float, size: float, worse: float
) -> None:
    one, other = fresh(), fresh()
    fill(one, paid, size)
    fill(other, paid + worse, size)
    assert other[slippage.COEFFICIENT] >= one[slippage.COEFFICIENT] - 1e-12
    assert other[slippage.MEAN] > one[slippage.MEAN]


@pytest.mark.parametrize("price", [math.nan, 0.0, -1.0, math.inf])
def test_a_price_that_is_none_teaches_nothing(price: float) -> None:
    state = fresh()
    fill(state, 3e-4)
    before = state.copy()
    slippage.observe(POLICY, state, 1, price, 100.0, 0.0, VOL, 5e4, VOLUME)
    slippage.observe(POLICY, state, 1, 100.0, price, 0.0, VOL, 5e4, VOLUME)
    assert state.tolist() == before.tolist()


@pytest.mark.parametrize("name", ["daily_vol", "daily_notional"])
@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_an_unknown_market_advances_mean_and_variance_alone(name: str, value: float) -> None:
    state, whole = fresh(), fresh()
    fill(state, 3e-4, **{name: value})  # type: ignore[arg-type] # a float under either name
    fill(whole, 3e-4)
    assert state[slippage.MEAN] == whole[slippage.MEAN]
    assert state[slippage.COEFFICIENT] == 1.0
    assert state[slippage.SUM_XX :].tolist() == [0.0] * (slippage.N_STATE - slippage.SUM_XX)


def test_symbols_learn_apart_and_the_compiled_steps_are_the_interpreted_ones() -> None:
    states = slippage.slippage_init(POLICY, 3)
    assert states.tolist() == slippage.slippage_init.py_func(POLICY, 3).tolist()
    twin = states[1].copy()
    sizes, paid = simulated(6, 100, coefficient=1.4, noise=0.3)
    for size, one in zip(sizes, paid, strict=True):
        fill(states[1], one, size)
        fill(twin, one, size, compiled=False)
    np.testing.assert_allclose(states[1], twin, rtol=1e-12)
    assert states[0].tolist() == states[2].tolist() == fresh().tolist()
    args = (2e-4, VOL, 5e4, VOLUME)
    compiled = slippage.expected_cost(POLICY, twin, *args)
    assert compiled == slippage.expected_cost.py_func(POLICY, twin, *args)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("budget_bps", -1.0, ">= 0"),
        ("edge_multiple", math.nan, ">= 0"),
        ("half_spread_bps", -0.5, ">= 0"),
        ("prior_coefficient", math.inf, ">= 0"),
        ("prior_error", 0.0, "> 0"),
        ("prior_noise", -0.2, "> 0"),
        ("half_life_fills", 0.0, "> 0"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {rule} and finite, was {value}$"):
        replace(SETTINGS, **{name: value})
