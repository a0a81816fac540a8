"""Rules of the account that were once broken, each in the smallest market that shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from quantcore.account_plane import (
    AccountPlane,
    AccountSettings,
    CashFlow,
    Events,
    account_plane,
)
from quantcore.data.instruments import Bracket, Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, order_script
from quantcore.timegrid import HOUR_US, to_us
from quantcore.types import FillReason, OrderStatus, OrderType, Rule, Side, TimeInForce

Ohlc = tuple[float, float, float, float]

FIRST = "2024-01-01T00:00"
A, B = "AAAUSDT", "BBBUSDT"
HOLE: Ohlc = (math.nan, math.nan, math.nan, math.nan)
NO_EXITS = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None)
STOP_LOSS = ExitSettings(stop_loss=0.05, take_profit=None, trailing_stop=None, time_exit=None)


def flat(price: float) -> Ohlc:
    return (price, price, price, price)


def stamp(bar: int) -> str:
    """The close of a bar."""
    return str(pd.Timestamp(FIRST) + pd.Timedelta(hours=bar + 1))


def instrument(
    symbol: str, notional_max: float, ends: str | None, fee: float, liquidation_fee: float
) -> Instrument:
    return Instrument(
        symbol=symbol,
        tick_size="0.1",
        step_size="1",
        min_qty="1",
        market_max_qty="100000",
        limit_max_qty="100000",
        min_notional=5.0,
        maker_fee=0.0,
        taker_fee=fee,
        liquidation_fee=liquidation_fee,
        funding_interval_hours=8,
        brackets=(
            Bracket(floor=0.0, cap=notional_max, maintenance_margin_rate=0.01, cum=0.0, leverage_max=20),
            Bracket(
                floor=notional_max, cap=1e9, maintenance_margin_rate=0.02, cum=0.01 * notional_max,
                leverage_max=1,
            ),
        ),
        ends=ends,
        origin="made up",
    )  # fmt: skip


def hourly_funding(n_bars: int, rate: float) -> Settlements:
    """A settlement of AAA at each open; none where the rate is 0."""
    count = n_bars if rate else 0
    return Settlements(
        time_us=to_us(FIRST) + HOUR_US * np.arange(count),
        symbol=np.zeros(count, dtype=np.int64),
        rate=np.full(count, rate),
        mark_price=np.full(count, np.nan),
    )


def run(
    *prices: Sequence[Ohlc],
    requests: Sequence[OrderRequest] = (),
    targets: Sequence[Sequence[float]] | None = None,
    margin: str = "cross",
    leverage: int = 10,
    capital: float = 1000.0,
    latency_bars: int = 1,
    exits: ExitSettings = NO_EXITS,
    notional_max: float = 1e6,
    ends: str | None = None,
    fee: float = 0.0,
    liquidation_fee: float = 0.0,
    flows: tuple[CashFlow, ...] = (),
    funding_rate: float = 0.0,
) -> tuple[AccountPlane, FoldState, Events]:
    """Take one account, without fees and slippage, through hourly bars of AAA and, where given, BBB."""
    symbols = (A, B)[: len(prices)]
    instruments = [
        instrument(s, notional_max, ends if s == A else None, fee, liquidation_fee) for s in symbols
    ]
    plane = account_plane(
        instruments,
        interval="1h",
        account=AccountSettings(
            capital=capital,
            margin=margin,
            leverage_max=leverage,
            no_trade_band=0.0,
            margin_buffer=0.0,
            missing_funding_rate=0.0,
            cash_flows=flows,
        ),
        execution=ExecutionSettings(
            half_spread_bps=0.0,
            slippage_bps=0.0,
            latency_ms=3_600_000.0 * latency_bars - 1.0,
            maker_fee=None,
            taker_fee=None,
        ),
        exits=exits,
    )
    table = np.array(prices, dtype=np.float64)
    n_bars = table.shape[1]
    bars = Bars(
        interval="1h",
        ts_us=to_us(FIRST) + HOUR_US * np.arange(1, n_bars + 1),
        symbols=symbols,
        fields={
            name: np.ascontiguousarray(table[:, :, k].T)
            for k, name in enumerate(("open", "high", "low", "close"))
        },
        settlements=hourly_funding(n_bars, funding_rate),
    )
    state, events = plane.advance(
        plane.start(),
        bars,
        targets=None if targets is None else np.array(targets, dtype=np.float64),
        decisions=None if targets is not None else np.full(n_bars, -2),
        script=order_script(requests, bars, instruments),
    )
    return plane, state, events


def endings(events: Events) -> list[tuple[int, str, str]]:
    """Return status and rule per ended order of the script."""
    new, _ = events.of(at.EVENT_NEW_ORDER)
    client = {int(w[at.EVENT_ORDER]): int(w[at.EVENT_CLIENT]) for w in new}
    status, _ = events.of(at.EVENT_STATUS)
    rows = []
    for w in status:
        rule = int(w[at.EVENT_REASON])
        named = Rule(rule).name if rule >= 0 else ""
        number = client[int(w[at.EVENT_ORDER])]
        if number >= 0:
            rows.append((number, OrderStatus(int(w[at.EVENT_STATE])).name, named))
    return sorted(rows)


def trades(events: Events) -> list[tuple[int, str]]:
    """Return signed lots and reason of each fill."""
    return [
        (int(w[at.EVENT_SIDE] * w[at.EVENT_LOTS]), FillReason(int(w[at.EVENT_REASON])).name)
        for w in events.of(at.EVENT_FILL)[0]
    ]


def test_a_gap_takes_no_more_than_the_isolated_margin() -> None:
    # Long 10 at 100, 10x: margin 100. The bar opens at 50 and the close order trades there: -500.
    _, state, events = run(
        [flat(100.0), flat(100.0), flat(50.0)],
        requests=[
            OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=10.0),
            OrderRequest(ts=stamp(1), symbol=A, side=Side.SELL, close_position=True),
        ],
        margin="isolated",
    )
    assert events.curve[-1, at.CURVE_EQUITY] == pytest.approx(900.0)
    assert state["cash"][at.INSURANCE] == pytest.approx(400.0)


@pytest.mark.parametrize("margin", ["cross", "isolated"])
def test_a_gap_through_a_stop_leaves_no_negative_equity(margin: str) -> None:
    # Long 90 at 100 with 1,000: the bar opens at 50, far below bankruptcy near 88.9, and the stop trades there.
    _, state, events = run(
        [flat(100.0), flat(100.0), flat(50.0)],
        requests=[
            OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=90.0),
            OrderRequest(
                ts=stamp(1), symbol=A, side=Side.SELL, type=OrderType.STOP_MARKET, stop_price=95.0,
                close_position=True,
            ),
        ],
        margin=margin,
    )  # fmt: skip
    assert (events.curve[:, at.CURVE_EQUITY] >= 0.0).all()
    kept = {"cross": 0.0, "isolated": 100.0}[margin]
    assert events.curve[-1, at.CURVE_EQUITY] == pytest.approx(kept)
    assert state["cash"][at.INSURANCE] == pytest.approx(3500.0 + kept)


def test_a_post_only_order_that_waited_through_a_hole_is_rejected_where_it_would_cross() -> None:
    # The first open that the buy at 101 meets is 100, after the hole.
    _, _, events = run(
        [flat(102.0), HOLE, (100.0, 100.5, 99.0, 100.0)],
        requests=[
            OrderRequest(
                ts=stamp(0), symbol=A, side=Side.BUY, type=OrderType.LIMIT, qty=1.0, price=101.0,
                time_in_force=TimeInForce.GTX,
            )
        ],
    )  # fmt: skip
    assert endings(events) == [(0, "REJECTED", "POST_ONLY_WOULD_CROSS")]


@pytest.mark.parametrize("time_in_force", [TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK])
def test_a_limit_that_waited_through_a_hole_takes_the_first_open(
    time_in_force: TimeInForce,
) -> None:
    _, _, events = run(
        [flat(102.0), HOLE, (100.0, 100.5, 99.0, 100.0)],
        requests=[
            OrderRequest(
                ts=stamp(0), symbol=A, side=Side.BUY, type=OrderType.LIMIT, qty=1.0, price=101.0,
                time_in_force=time_in_force,
            )
        ],
    )  # fmt: skip
    assert endings(events) == [(0, "FILLED", "")]
    assert events.of(at.EVENT_FILL)[1][0, at.B] == 100.0


def test_a_second_cancel_does_not_delay_the_first() -> None:
    # Three bars from decision to venue: the cancel sent at bar 1 works from bar 4, where the limit would fill.
    prices = [flat(100.0)] * 4 + [(100.0, 100.0, 90.0, 100.0)] * 2
    _, _, events = run(
        prices,
        requests=[
            OrderRequest(
                ts=stamp(0), symbol=A, side=Side.BUY, type=OrderType.LIMIT, qty=1.0, price=95.0
            ),
            OrderRequest(ts=stamp(1), symbol=A, cancel=0),
            OrderRequest(ts=stamp(2), symbol=A, cancel=0),
        ],
        latency_bars=3,
    )
    assert endings(events) == [(0, "CANCELED", "")]


def test_an_order_inside_a_bar_does_not_know_how_the_bar_closes() -> None:
    # Long 50 AAA at 100, 10x of 1,000: 500 are free at the last close, 20 at the close of the bar in which a
    # take-profit opens 45 BBB at 100 for 450.
    _, _, events = run(
        [flat(100.0), flat(100.0), (100.0, 100.0, 90.4, 90.4)],
        [flat(99.0), flat(99.0), (99.0, 101.0, 99.0, 99.0)],
        requests=[
            OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=50.0),
            OrderRequest(
                ts=stamp(1), symbol=B, side=Side.SELL, type=OrderType.TAKE_PROFIT_MARKET, qty=45.0,
                stop_price=100.0,
            ),
        ],
    )  # fmt: skip
    assert endings(events) == [(0, "FILLED", ""), (1, "FILLED", "")]


def test_a_position_that_survives_a_liquidation_keeps_its_stop() -> None:
    # Long 95 AAA and long 1 BBB with 1,000; AAA at 90.0 brings the account to liquidation and is closed; BBB stays
    # and later falls through its stop at 95.
    _, state, events = run(
        [flat(100.0), flat(100.0), (100.0, 100.0, 90.0, 90.0), flat(90.0), flat(90.0), flat(90.0)],
        [flat(100.0), flat(100.0), flat(100.0), flat(100.0), flat(80.0), flat(80.0)],
        targets=[[9.5, 0.1]] + [[math.nan, math.nan]] * 5,
        exits=STOP_LOSS_B,
    )
    reasons = [FillReason(int(w[at.EVENT_REASON])).name for w in events.of(at.EVENT_FILL)[0]]
    assert reasons == ["TARGET", "TARGET", "LIQUIDATION", "STOP_LOSS"]
    assert int(state["held"][1, at.LOTS]) == 0


STOP_LOSS_B = ExitSettings(stop_loss=0.15, take_profit=None, trailing_stop=None, time_exit=None)


def test_a_position_whose_exit_met_a_hole_leaves_after_it() -> None:
    # The fill's bar closes below the stop at 95, so the position should leave at the next open: a hole.
    _, state, _ = run(
        [flat(100.0), (100.0, 100.0, 90.0, 90.0), HOLE, flat(90.0), flat(90.0), flat(80.0), flat(80.0)],
        targets=[[1.0]] + [[math.nan]] * 6,
        exits=STOP_LOSS,
    )  # fmt: skip
    assert int(state["held"][0, at.LOTS]) == 0


def test_a_position_above_the_bracket_is_not_cut_when_more_is_wanted() -> None:
    # The bracket at this leverage ends at 1,000: long 9 at 100 is within it, at 120 above it.
    _, state, events = run(
        [flat(100.0), flat(100.0), flat(120.0), flat(120.0), flat(120.0)],
        targets=[[0.95], [math.nan], [2.0], [math.nan], [math.nan]],
        notional_max=1000.0,
    )
    sides = [int(w[at.EVENT_SIDE]) for w in events.of(at.EVENT_FILL)[0]]
    assert sides == [int(Side.BUY)]
    assert int(state["held"][0, at.LOTS]) == 9


def test_a_flip_of_an_isolated_position_uses_no_margin_that_its_loss_has_eaten() -> None:
    # Long 99 at 100, 10x: 990 of 1,000 are its margin. At 92 selling it frees 990 - 792 = 198, not 910.8:
    # a short of 99 would need 910.8.
    _, state, events = run(
        [flat(100.0), (100.0, 100.0, 92.0, 92.0), flat(92.0), flat(92.0)],
        requests=[
            OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=99.0),
            OrderRequest(ts=stamp(1), symbol=A, side=Side.SELL, qty=198.0),
        ],
        margin="isolated",
    )
    assert state["cash"][at.WALLET] >= 0.0
    assert endings(events)[1] == (1, "REJECTED", "MARGIN")


TIME_EXIT = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=2)


def test_a_time_exit_is_not_undone_by_a_target_decided_at_the_same_close() -> None:
    # Long 10 fills in bar 1; at the close of bar 3 two bars have passed, and the target there asks for 20.
    _, _, events = run(
        [flat(100.0)] * 6,
        targets=[[1.0], [1.0], [1.0], [2.0], [2.0], [2.0]],
        exits=TIME_EXIT,
    )
    assert trades(events) == [(10, "TARGET"), (-10, "TIME_EXIT")]


def test_a_time_exit_and_a_turned_target_do_not_both_close_the_position() -> None:
    # At the close of bar 3 the target turns to short 10 while the time exit closes the long 10.
    _, state, _ = run(
        [flat(100.0)] * 5,
        targets=[[1.0], [1.0], [1.0], [-1.0], [math.nan]],
        exits=TIME_EXIT,
    )
    assert int(state["held"][0, at.LOTS]) == -10


def test_a_refused_stop_and_a_target_at_the_same_close_leave_the_position_closed() -> None:
    # The fill's bar closes below the stop at 95: the position leaves at the next open, whatever more the target wants.
    _, _, events = run(
        [flat(100.0), (100.0, 100.0, 90.0, 90.0), flat(90.0), flat(90.0)],
        targets=[[1.0], [2.0], [2.0], [2.0]],
        exits=STOP_LOSS,
    )
    assert trades(events) == [(10, "TARGET"), (-10, "STOP_LOSS")]


def test_a_symbol_that_ends_settles_at_its_closing_mark_whatever_orders_are_open() -> None:
    # Long 10 from 100; AAA ends at the close of bar 2, at 110, while an order on BBB rests.
    _, state, events = run(
        [flat(100.0), flat(100.0), (100.0, 110.0, 100.0, 110.0), HOLE],
        [flat(100.0)] * 4,
        requests=[
            OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=10.0),
            OrderRequest(
                ts=stamp(0), symbol=B, side=Side.BUY, type=OrderType.LIMIT, qty=1.0, price=50.0
            ),
        ],
        ends=stamp(2),
    )
    assert events.of(at.EVENT_FILL)[1][-1, at.B] == 110.0
    assert state["cash"][at.EQUITY] == pytest.approx(1100.0)


def test_a_position_opened_anew_at_the_old_entry_price_is_protected_anew() -> None:
    # The stop closes the long 10 at 98 in bar 2; a target decided two bars before buys 10 at 100 in bar 3.
    _, state, _ = run(
        [
            flat(100.0),
            flat(100.0),
            flat(100.0),
            (100.0, 100.0, 94.0, 100.0),
            flat(100.0),
            flat(100.0),
        ],
        targets=[[1.0], [math.nan], [2.0], [math.nan], [math.nan], [math.nan]],
        latency_bars=2,
        exits=STOP_LOSS,
    )
    lots = int(state["held"][0, at.LOTS])
    tickets = state["ticket"][: state["counter"][at.OPEN_ORDERS]]
    guards = [t for t in tickets if t[at.FLAGS] & at.CLOSE_POSITION]
    assert lots == 0 or guards


def test_a_position_whose_closing_order_met_a_hole_is_protected() -> None:
    # The fill's bar closes below the stop while the target closes the position; the next bar is a hole, and no
    # target is given after it.
    _, state, _ = run(
        [flat(100.0), (100.0, 100.0, 90.0, 90.0), HOLE, flat(90.0), flat(80.0), flat(80.0)],
        targets=[[1.0], [0.0], [math.nan], [math.nan], [math.nan], [math.nan]],
        exits=STOP_LOSS,
    )
    assert int(state["held"][0, at.LOTS]) == 0


def test_a_position_whose_turning_order_was_refused_is_protected() -> None:
    # Long 50 from 100 closes its bar at 90, below the stop, while the target turns it to short 50. The next bar opens
    # at 85: turning it needs 425 where 250 are free, so the order is refused and the position must still leave.
    _, state, events = run(
        [flat(100.0), (100.0, 100.0, 90.0, 90.0), flat(85.0), flat(85.0), flat(85.0)],
        targets=[[5.0], [-9.0], [math.nan], [math.nan], [math.nan]],
        exits=STOP_LOSS,
    )
    status, _ = events.of(at.EVENT_STATUS)
    assert Rule.MARGIN in status[:, at.EVENT_REASON]
    assert int(state["held"][0, at.LOTS]) == 0


def test_the_fee_of_an_isolated_exit_leaves_no_negative_equity() -> None:
    # Long 10 at 100, 10x, fee 0.2 %: of 102 the wallet keeps 2, which are withdrawn, and the margin 100 - 2. The sale
    # at 90.3 leaves 98 - 97 = 1 of it, and its fee is 1.806.
    _, _, events = run(
        [flat(100.0), flat(100.0), (90.3, 90.4, 90.3, 90.4)],
        requests=[
            OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=10.0),
            OrderRequest(ts=stamp(1), symbol=A, side=Side.SELL, close_position=True),
        ],
        margin="isolated",
        capital=102.0,
        fee=0.002,
        flows=(CashFlow(ts=stamp(1), amount=-2.0),),
    )
    assert (events.curve[:, at.CURVE_EQUITY] >= 0.0).all()


def test_funding_beyond_an_isolated_margin_leaves_no_negative_equity() -> None:
    # Long 10 at 100, 10x, of 101: at 110 the profit of 100 carries the position while 13 settlements of 11 eat its
    # margin of 100 and 43 more. At 101.5 a profit of 15 is left, above the maintenance margin of 10.15.
    _, _, events = run(
        [flat(100.0), flat(100.0), *[flat(110.0)] * 13, flat(101.5)],
        requests=[OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=10.0)],
        margin="isolated",
        capital=101.0,
        funding_rate=0.01,
    )
    assert (events.curve[:, at.CURVE_EQUITY] >= 0.0).all()


def test_an_exchange_that_takes_over_a_position_keeps_what_is_left_as_its_fee() -> None:
    # Long 90 at 100 with 1,000, for a fee of 9; the bar opens at 89 and the sale there leaves 991 - 990 = 1, less than
    # its fee of 8.01: the exchange takes over, for min(1 % of 8,010, 1).
    _, state, events = run(
        [flat(100.0), flat(100.0), flat(89.0)],
        requests=[
            OrderRequest(ts=stamp(0), symbol=A, side=Side.BUY, qty=90.0),
            OrderRequest(ts=stamp(1), symbol=A, side=Side.SELL, close_position=True),
        ],
        fee=0.001,
        liquidation_fee=0.01,
    )
    assert trades(events)[-1][1] == "LIQUIDATION"
    assert state["cash"][at.WALLET] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("margin", ["cross", "isolated"])
def test_a_symbol_that_ends_below_its_margin_is_liquidated_and_not_settled(margin: str) -> None:
    # A take-profit buys 90 at 90 inside the last bar, which closes at 70: 1,800 are lost of 1,000, or of 810.
    _, state, events = run(
        [flat(100.0), (100.0, 100.0, 70.0, 70.0), HOLE],
        requests=[
            OrderRequest(
                ts=stamp(0), symbol=A, side=Side.BUY, type=OrderType.TAKE_PROFIT_MARKET, qty=90.0,
                stop_price=90.0,
            )
        ],
        margin=margin,
        ends=stamp(1),
    )  # fmt: skip
    reasons = [FillReason(int(w[at.EVENT_REASON])).name for w in events.of(at.EVENT_FILL)[0]]
    assert reasons == ["SCRIPT", "LIQUIDATION"]
    kept = {"cross": 0.0, "isolated": 190.0}[margin]
    assert events.curve[-1, at.CURVE_EQUITY] == pytest.approx(kept)
    assert state["cash"][at.WALLET] == pytest.approx(kept)
