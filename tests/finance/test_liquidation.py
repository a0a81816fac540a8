"""Margin facts: brackets as the exchange publishes them, prices at which accounts are due, returns, funding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quantcore.account_plane import (
    AccountSettings,
    compile_rules,
)
from quantcore.data.instruments import load_instruments
from quantcore.execution.settings import ExecutionSettings
from quantcore.finance import liquidation
from quantcore.finance.liquidation import MarginAccount, bracket_table
from quantcore.kernels.layout import CAP, CUM, FLOOR, MAINTENANCE_RATE
from quantcore.kernels.margin import excess
from quantcore.types import FloatArray

BRACKETS = bracket_table([0, 10_000, 100_000, 500_000], [0.005, 0.0065, 0.01, 0.02])
SIDES = st.sampled_from([1.0, -1.0])
PRICES = st.floats(0.01, 1e5)


def account(**changes: Any) -> MarginAccount:
    """Three symbols: a long and a short on cross margin, an isolated long."""
    fields: dict[str, Any] = {
        "wallet": 900.0,
        "qty": np.array([30.0, -4.0, 10.0]),
        "entry": np.array([100.0, 500.0, 20.0]),
        "mark": np.array([103.0, 520.0, 19.0]),
        "brackets": np.repeat(BRACKETS[None], 3, axis=0),
        "isolated_margin": np.array([math.nan, math.nan, 25.0]),
    }
    return MarginAccount(**{**fields, **changes})


def cross_excess(of: MarginAccount, mark: FloatArray) -> float:
    members = np.flatnonzero(of.cross)
    return excess(
        of.wallet, of.qty[members], of.entry[members], mark[members], members, of.brackets
    )


def test_table_gives_the_amounts_of_the_committed_instruments(root: Path) -> None:
    names = [path.stem for path in sorted((root / "data" / "instruments").glob("*.json"))]
    assert len(names) > 5
    for instrument in load_instruments(names):
        table = bracket_table(
            [b.floor for b in instrument.brackets],
            [b.maintenance_margin_rate for b in instrument.brackets],
        )
        published = [b.cum for b in instrument.brackets]
        np.testing.assert_allclose(table[:, CUM], published, rtol=1e-6, atol=1e-6)
        assert table[:-1, CAP].tolist() == [b.cap for b in instrument.brackets[:-1]]


@given(notional=st.floats(0.0, 1e7))
def test_maintenance_margin_is_what_each_part_of_the_notional_owes_at_its_own_rate(
    notional: float,
) -> None:
    parts = np.clip(notional - BRACKETS[:, FLOOR], 0.0, BRACKETS[:, CAP] - BRACKETS[:, FLOOR])
    owed = float(parts @ BRACKETS[:, MAINTENANCE_RATE])
    margin = liquidation.maintenance_margin(notional, BRACKETS)
    assert margin == pytest.approx(owed, rel=1e-12, abs=1e-9)


def test_a_floor_belongs_to_its_own_bracket() -> None:
    assert [liquidation.bracket_index(x, BRACKETS) for x in (0.0, 9_999.0, 10_000.0, 1e9)] == [
        0,
        0,
        1,
        3,
    ]


def test_rules_of_symbols_with_fewer_brackets_are_padded_and_accepted() -> None:
    rules = compile_rules(
        load_instruments(["BTCUSDT", "NEWUSDT"], prices={"NEWUSDT": 2.0}),
        account=AccountSettings(
            capital=1.0,
            margin="cross",
            leverage_max=5,
            no_trade_band=0.0,
            margin_buffer=0.0,
            missing_funding_rate=0.0,
            cash_flows=(),
        ),
        execution=ExecutionSettings(
            half_spread_bps=0.0, slippage_bps=0.0, latency_ms=0.0, maker_fee=None, taker_fee=None
        ),
    )
    depths = np.isposinf(rules.bracket[:, :, CAP]).sum(axis=1)
    assert depths.tolist() == [1, 6]
    held = MarginAccount(
        wallet=10.0,
        qty=np.array([0.01, 20.0]),
        entry=np.array([60_000.0, 2.0]),
        mark=np.array([60_000.0, 2.0]),
        brackets=rules.bracket,
    )
    assert np.isfinite(liquidation.liquidation_prices(held)).all()


@given(
    side=SIDES,
    qty=st.floats(1e-3, 1e4),
    entry=PRICES,
    leverage=st.floats(1.0, 100.0),
    other_margin=st.floats(0.0, 1e4),
    other_pnl=st.floats(-1e4, 1e4),
)
def test_balance_equals_maintenance_margin_at_the_price(
    side: float, qty: float, entry: float, leverage: float, other_margin: float, other_pnl: float
) -> None:
    wallet = qty * entry / leverage
    price = liquidation.liquidation_price(
        side * qty,
        entry,
        BRACKETS,
        wallet=wallet,
        other_margin=other_margin,
        other_pnl=other_pnl,
    )
    if math.isnan(price):
        # A short has always a price unless it is due at any; a long has none if it survives the price of 0.
        balance = wallet - other_margin + other_pnl - side * qty * entry
        assert balance >= -1e-9 * (abs(wallet) + qty * entry) if side > 0 else balance <= 1e-6
        return
    balance = wallet + other_pnl + side * qty * (price - entry)
    required = other_margin + liquidation.maintenance_margin(qty * price, BRACKETS)
    assert balance == pytest.approx(required, abs=1e-8 * (wallet + qty * (entry + price) + 1e4))


@given(side=SIDES, entry=PRICES, leverage=st.floats(1.5, 100.0), scale=st.floats(0.1, 10.0))
def test_price_of_an_isolated_position_scales_with_the_price_level(
    side: float, entry: float, leverage: float, scale: float
) -> None:
    assume(1.0 / leverage > 0.03)
    prices = [
        liquidation.liquidation_price(side * 100.0 / p, p, BRACKETS, wallet=100.0 / leverage)
        for p in (entry, entry * scale)
    ]
    assert prices[1] == pytest.approx(prices[0] * scale, rel=1e-9)
    assert side * (entry - prices[0]) > 0.0


def test_more_wallet_moves_the_price_away() -> None:
    for side in (1.0, -1.0):
        prices = [
            liquidation.liquidation_price(side * 2.0, 1000.0, BRACKETS, wallet=w)
            for w in (50.0, 100.0, 200.0)
        ]
        assert (np.diff(prices) * side < 0.0).all()


def test_each_cross_price_leaves_the_whole_account_with_no_excess() -> None:
    held = account()
    prices = liquidation.liquidation_prices(held)
    for s in (0, 1):
        mark = held.mark.copy()
        mark[s] = prices[s]
        assert cross_excess(held, mark) == pytest.approx(0.0, abs=1e-9)
    alone = liquidation.liquidation_price(10.0, 20.0, BRACKETS, wallet=25.0)
    assert prices[2] == alone


def test_isolated_and_flat_symbols_do_not_count_for_the_cross_account() -> None:
    prices = liquidation.liquidation_prices(account())
    without = liquidation.liquidation_prices(account(qty=np.array([30.0, -4.0, 0.0])))
    np.testing.assert_array_equal(prices[:2], without[:2])
    assert math.isnan(without[2])
    flat = account(qty=np.zeros(3), mark=np.full(3, math.nan), entry=np.full(3, math.nan))
    assert np.isnan(liquidation.liquidation_prices(flat)).all()


def test_prices_follow_a_permutation_of_the_symbols() -> None:
    order = np.array([2, 0, 1])
    held = account()
    turned = account(
        qty=held.qty[order],
        entry=held.entry[order],
        mark=held.mark[order],
        isolated_margin=np.asarray(held.isolated_margin)[order],
    )
    np.testing.assert_allclose(
        liquidation.liquidation_prices(turned), liquidation.liquidation_prices(held)[order], 1e-14
    )


def test_distance_is_positive_towards_the_loss() -> None:
    assert liquidation.liquidation_distance(110.0, 100.0, side=-1) == pytest.approx(0.1)
    assert liquidation.liquidation_distance(110.0, 100.0, side=1) == pytest.approx(-0.1)
    assert liquidation.liquidation_distance(math.nan, 100.0, side=1) == math.inf
    assert math.isnan(liquidation.liquidation_distance(90.0, math.nan, side=1))


@given(side=SIDES, entry=PRICES, roe=st.floats(-0.9, 3.0), leverage=st.floats(4.0, 125.0))
def test_target_price_gives_the_return_on_entry_margin(
    side: float, entry: float, roe: float, leverage: float
) -> None:
    price = liquidation.target_price(entry, side=side, roe=roe, leverage=leverage)
    how = {"side": side, "leverage": leverage}
    given_back = liquidation.entry_margin_return(entry, price, **how)
    assert given_back == pytest.approx(roe, abs=1e-10 * leverage)
    pnl = float(liquidation.position_pnl(side * 3.0, entry, price))
    at_entry = liquidation.initial_margin(3.0, entry, leverage=leverage)
    at_exit = liquidation.initial_margin(3.0, price, leverage=leverage)
    assert pnl / at_entry == pytest.approx(roe, abs=1e-9 * leverage)
    exchange = liquidation.exchange_roe(entry, price, **how)
    assert pnl / at_exit == pytest.approx(exchange, abs=1e-9 * leverage)


@given(premium=st.floats(-0.02, 0.02), more=st.floats(0.0, 0.01))
def test_funding_rate_sticks_to_the_interest_and_never_falls_with_the_premium(
    premium: float, more: float
) -> None:
    rate = liquidation.funding_rate(premium, interest=0.0001)
    if abs(premium - 0.0001) <= 0.0005:
        assert rate == pytest.approx(0.0001, abs=1e-15)
    assert abs(rate - premium) <= 0.0005 + 1e-15
    assert liquidation.funding_rate(premium + more, interest=0.0001) >= rate - 1e-15
    assert abs(liquidation.funding_rate(premium, interest=0.0001, cap=0.003)) <= 0.003


def test_funding_rate_of_a_shorter_interval_is_its_share_of_eight_hours() -> None:
    whole = liquidation.funding_rate(0.002, interest=0.0001)
    hour = liquidation.funding_rate(0.002, interest=0.0001, interval_hours=1.0)
    assert hour == pytest.approx(whole / 8.0)
    assert liquidation.funding_interest(0.0003, interval_hours=1.0) == pytest.approx(0.0001 / 8)
    assert math.isnan(liquidation.funding_rate(math.nan, interest=0.0001))


def test_funding_is_paid_by_longs_to_shorts_when_the_rate_is_positive() -> None:
    paid = liquidation.funding_cash_flow(5_000.0, 0.0004, settlements=2)
    assert paid == pytest.approx(-4.0)
    assert liquidation.funding_cash_flow(-5_000.0, 0.0004, settlements=2) == -paid
    assert liquidation.funding_cash_flow(-5_000.0, -0.0004) == pytest.approx(-2.0)


def test_settlements_fall_into_the_hours_that_end_with_them() -> None:
    held = account(
        funding_rate=np.array([1e-4, 2e-4, 3e-4]),
        funding_interval_hours=np.array([8.0, 4.0, 0.5]),
        hours_to_funding=np.array([math.nan, 1.5, 0.0]),
    )
    rates = held.settled_rates(10)
    assert np.flatnonzero(rates[:, 0]).tolist() == [7]
    assert np.flatnonzero(rates[:, 1]).tolist() == [1, 5, 9]
    np.testing.assert_allclose(rates[:, 2], [9e-4] + [6e-4] * 9)
    np.testing.assert_array_equal(rates[:4], held.settled_rates(4))


@pytest.mark.parametrize(
    ("floors", "rates", "message"),
    [
        ([], [], "rates must have one value per floor"),
        ([0, 10], [0.1], "rates must have one value per floor"),
        ([5, 10], [0.1, 0.2], "brackets must join from floor 0 upwards"),
        ([0, 10, 10], [0.1, 0.2, 0.3], "brackets must join from floor 0 upwards"),
        ([0, math.nan], [0.1, 0.2], "brackets must join from floor 0 upwards"),
        ([0, 10], [0.2, 0.1], r"rates must be in \(0, 1\) and not fall"),
        ([0, 10], [0.2, 1.0], r"rates must be in \(0, 1\) and not fall"),
        ([0, 10], [0.2, math.nan], r"rates must be in \(0, 1\) and not fall"),
    ],
)
def test_impossible_brackets_are_refused(
    floors: list[float], rates: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bracket_table(floors, rates)


def test_brackets_without_an_open_end_or_of_another_shape_are_refused() -> None:
    closed = BRACKETS.copy()
    closed[-1, CAP] = 1e6
    with pytest.raises(ValueError, match="brackets must end in an infinite cap, was 1000000"):
        liquidation.maintenance_margin(5.0, closed)
    with pytest.raises(ValueError, match=r"brackets must have shape \(n_brackets, 4\), was \(4,\)"):
        liquidation.check_brackets(BRACKETS[0])
    broken = BRACKETS.copy()
    broken[1, CUM] = math.nan
    with pytest.raises(ValueError, match="cum must be finite"):
        liquidation.check_brackets(broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wallet": math.nan}, "wallet must be finite, was nan"),
        ({"qty": np.array([1.0, math.nan, 0.0])}, "qty must be finite"),
        ({"entry": np.array([100.0, 0.0, 20.0])}, "entry must be finite and > 0 where held, was 0"),
        ({"mark": np.array([math.nan, 1.0, 1.0])}, "mark must be finite and > 0 where held"),
        ({"mark": np.ones(2)}, r"mark must have shape \(3,\), was \(2,\)"),
        ({"mark": 100.0}, r"mark must have shape \(3,\), was \(\)"),
        ({"brackets": BRACKETS}, r"brackets must have shape \(3, n_brackets, 4\)"),
        ({"isolated_margin": math.inf}, "isolated_margin must be finite"),
        ({"liquidation_fee": -0.01}, "liquidation_fee must be finite and >= 0"),
        ({"funding_rate": math.nan}, "funding_rate must be finite"),
        ({"funding_interval_hours": 0.0}, "funding_interval_hours must be finite and > 0"),
        ({"hours_to_funding": -1.0}, "hours_to_funding must be finite and >= 0"),
    ],
)
def test_account_names_what_it_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        account(**changes)


def test_functions_name_what_they_refuse() -> None:
    with pytest.raises(ValueError, match="qty must be finite and not 0"):
        liquidation.liquidation_price(0.0, 100.0, BRACKETS, wallet=1.0)
    with pytest.raises(ValueError, match="entry > 0"):
        liquidation.liquidation_price(1.0, -100.0, BRACKETS, wallet=1.0)
    with pytest.raises(ValueError, match="notional must be finite and >= 0, was -1"):
        liquidation.maintenance_margin(-1.0, BRACKETS)
    with pytest.raises(ValueError, match="leverage must be > 0, was 0"):
        liquidation.initial_margin(1.0, 1.0, leverage=0.0)
    with pytest.raises(ValueError, match="price must be > 0, was nan"):
        liquidation.exchange_roe(1.0, math.nan, side=1, leverage=1.0)
    with pytest.raises(ValueError, match="entry must be > 0, was 0"):
        liquidation.target_price(0.0, side=1, roe=0.1, leverage=1.0)
    with pytest.raises(ValueError, match="clamp must be >= 0, was -1"):
        liquidation.funding_rate(0.0, interest=0.0, clamp=-1.0)
    with pytest.raises(ValueError, match="interval_hours must be > 0, was 0"):
        liquidation.funding_interest(0.0003, interval_hours=0.0)
    with pytest.raises(ValueError, match="settlements must be >= 0, was -1"):
        liquidation.funding_cash_flow(1.0, 1.0, settlements=-1)
