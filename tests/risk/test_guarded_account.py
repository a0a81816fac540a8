"""The account with limits: emergencies, stages, and a state that survives being saved at any bar."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.risk.liquidation_monitor import chance_of_sigmas
from quantcore.types import FillReason, RiskLevel, Rule, Stage
from tests.account.random_cases import (
    Case,
    case_bars,
    case_plane,
    case_targets,
    random_case,
    random_limits,
)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 59))
def test_a_run_in_two_parts_is_one_run_also_through_save_and_load(seed: int, cut: int) -> None:
    draw = random.Random(seed)
    case = replace(
        random_case(draw), n_bars=60, orders=(), risk=random_limits(draw), interval=draw.choice(["15m", "1h"])
    )  # fmt: skip
    bars, plane, targets = case_bars(case), case_plane(case), case_targets(case, 2.0)
    whole, events = plane.advance(plane.start(), bars, targets=targets)
    state, first = plane.advance(plane.start(), bars.rows(0, cut), targets=targets[:cut])
    state = FoldState.from_bytes(state.to_bytes())
    state, second = plane.advance(state, bars.rows(cut, 60), targets=targets[cut:])
    assert state.digest() == whole.digest()
    np.testing.assert_array_equal(np.concatenate([first.whole, second.whole]), events.whole)
    np.testing.assert_array_equal(np.concatenate([first.curve, second.curve]), events.curve)


CALM = Case(seed=5, n_bars=48, leverage=20, volatility=0.0005, funding=False, capital=1000.0)


def emergency(*, isolated: bool) -> tuple[list[int], np.ndarray]:
    """Run into a fall that takes the margin ratio past its limit, with nothing else in the way."""
    limits = replace(
        random_limits(random.Random(3)), leverage_max=100.0, net_max=None, symbol_max=None, cluster_max=None,
        daily_var_max=None, drawdown_max=None, drawdown_reduce=0.9, drawdown_restore=0.1, daily_loss_max=None,
        liquidation_probability_max=None, stress_move=0.0, margin_ratio_max=0.3, margin_ratio_after=0.2, size_limit=1.0,
        protective_stop=None,
    )  # fmt: skip
    case = replace(CALM, risk=limits, isolated=isolated, bracket_scale=100.0)
    bars = case_bars(case)
    fields = {name: values.copy() for name, values in bars.fields.items()}
    for name, values in fields.items():
        if name != "funding_rate":
            values[20:] *= 0.967 if isolated else 0.94
    bars = replace(bars, fields=fields)
    targets = np.full((48, 3), np.nan)
    targets[0] = (12.0, 0.0, 0.0)
    plane = case_plane(case)
    _, events = plane.advance(plane.start(), bars, targets=targets)
    whole, number = events.of(at.EVENT_WHY)
    told = whole[whole[:, at.EVENT_STATE] == Stage.LIQUIDATION_MONITOR]
    assert (number[whole[:, at.EVENT_STATE] == Stage.LIQUIDATION_MONITOR, at.B] > 0.3).all()
    fills, _ = events.of(at.EVENT_FILL)
    return list(told[:, at.EVENT_REASON]), fills[fills[:, at.EVENT_REASON] == FillReason.RISK]


@pytest.mark.parametrize("isolated", [False, True])
def test_a_margin_ratio_beyond_its_limit_is_reduced_by_the_next_open(isolated: bool) -> None:
    rules, fills = emergency(isolated=isolated)
    assert set(rules) == {Rule.MARGIN_RATIO}
    assert len(fills) == len(rules) == 1
    assert (fills[:, at.EVENT_SIDE] == -1).all()


def test_at_a_tenth_of_the_size_whole_lots_of_what_fits_are_held() -> None:
    limits = replace(
        random_limits(random.Random(3)), leverage_max=3.0, net_max=None, symbol_max=None, cluster_max=None,
        daily_var_max=None, liquidation_probability_max=None, stress_move=0.0, drawdown_max=None, drawdown_reduce=0.9,
        drawdown_restore=0.1, daily_loss_max=None, margin_ratio_max=None, margin_ratio_after=None, size_limit=0.1,
        protective_stop=None,
    )  # fmt: skip
    case = replace(CALM, capital=230.0, risk=limits, leverage=3, no_trade_band=0.05)
    bars, plane = case_bars(case), case_plane(case)
    targets = np.tile([0.4, -0.3, 0.3], (48, 1))
    state, events = plane.advance(plane.start(), bars, targets=targets)
    gross = events.curve[1:, at.CURVE_GROSS] / events.curve[1:, at.CURVE_EQUITY]
    assert gross.max() <= 0.1 * 1.02  # of a normal size of 1.0, and what the market moved since
    assert gross.min() > 0.04
    # The third symbol's smallest order is 100 USDT: more than a tenth of the account.
    assert state["held"][2, at.LOTS] == 0
    assert np.count_nonzero(state["held"][:, at.LOTS]) >= 1
    # A tenth of 1.0 over the two that fit, 0.4 and 0.3 of 0.7: 0.0571 and -0.0429.
    equity = events.curve[-1, at.CURVE_EQUITY]
    prices, qty = bars.array("mark_price")[-1], state["position"][:, at.QTY]
    held = qty * prices / equity
    lots = np.array([0.1, 1.0, 0.001]) * prices / equity
    assert abs(held[0] - 0.4 / 7.0) <= lots[0] + 0.1 * 0.05  # a lot, and the band of a tenth
    assert abs(held[1] + 0.3 / 7.0) <= lots[1] + 0.1 * 0.05


def test_a_stopped_account_is_flat_until_the_end() -> None:
    limits = replace(
        random_limits(random.Random(1)), drawdown_max=0.03, drawdown_reduce=0.02, drawdown_restore=0.01,
        resume_hours=None, daily_loss_max=None, size_limit=1.0,
    )  # fmt: skip
    case = Case(seed=2, n_bars=200, volatility=0.02, risk=limits, funding=False)
    plane, bars = case_plane(case), case_bars(case)
    state, events = plane.advance(plane.start(), bars, targets=np.tile([0.2, 0.1, 0.0], (200, 1)))
    level = events.curve[:, at.CURVE_LEVEL]
    stopped = int(np.argmax(level == RiskLevel.STOPPED))
    assert 0 < stopped < 190
    assert (level[stopped:] == RiskLevel.STOPPED).all()
    assert (events.curve[stopped + 1 :, at.CURVE_GROSS] == 0.0).all()
    assert state["risk"][at.LEVEL] == RiskLevel.STOPPED


@pytest.mark.parametrize("isolated", [False, True])
def test_each_position_knows_its_distance_to_liquidation_and_the_chance_of_it(
    isolated: bool,
) -> None:
    limits = replace(
        random_limits(random.Random(3)), leverage_max=100.0, net_max=None, symbol_max=None, cluster_max=None,
        daily_var_max=None, drawdown_max=None, drawdown_reduce=0.9, drawdown_restore=0.1, daily_loss_max=None,
        liquidation_probability_max=None, stress_move=0.0, volatility_floor=1.5, margin_ratio_max=None,
        margin_ratio_after=None, size_limit=1.0, protective_stop=None,
    )  # fmt: skip
    case = replace(CALM, risk=limits, isolated=isolated, bracket_scale=100.0, leverage=10, n_bars=4)
    targets = np.full((4, 3), np.nan)
    targets[0] = (4.0, -2.0, 0.0)
    plane = case_plane(case)
    state, events = plane.advance(plane.start(), case_bars(case), targets=targets)
    equity, position = state["cash"][at.EQUITY], state["position"]
    notional = np.abs(position[:2, at.QTY]) * position[:2, at.MARK]
    assert (notional > 1000.0).all()
    if isolated:
        pnl = position[:2, at.QTY] * (position[:2, at.MARK] - position[:2, at.ENTRY])
        margin = position[:2, at.MARGIN] + pnl
        expected = margin / notional - 0.01  # the first bracket's rate
    else:
        expected = (equity - 0.01 * notional.sum()) / notional
    np.testing.assert_allclose(position[:2, at.DISTANCE], expected, rtol=1e-12)
    assert position[2, at.DISTANCE] == np.inf
    daily = max(1.5 / np.sqrt(365.0), float(np.sqrt(24.0 * state["pairs"][0, 0, 0])))
    assert position[0, at.CHANCE] == pytest.approx(chance_of_sigmas(expected[0] / daily))
    assert 0.0 == position[2, at.CHANCE] < position[1, at.CHANCE]
    assert events.curve[-1, at.CURVE_LIQUIDATION] > 0.0
