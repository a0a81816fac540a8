"""The account against books kept by hand: 16 bars, 3 symbols, the arithmetic beside each balance."""

from __future__ import annotations

from decimal import Decimal as D

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
from quantcore.backtest.engine import check_conservation
from quantcore.backtest.tables import run_tables
from quantcore.data.instruments import Bracket, Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements, funding_rows
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, OrderScript, order_script
from quantcore.timegrid import HOUR_US, to_us
from quantcore.types import OrderType, Side, TimeInForce

SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
FIRST = "2024-01-01T00:00"  # open of bar 0

NO_EXITS = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None)


def instrument(symbol: str, tick: str, step: str, min_notional: float) -> Instrument:
    """A symbol with three brackets: 1 % to 1,000, 2 % to 5,000 (cum 10), 5 % beyond (cum 160)."""
    return Instrument(
        symbol=symbol,
        tick_size=tick,
        step_size=step,
        min_qty=step,
        market_max_qty="100000",
        limit_max_qty="100000",
        min_notional=min_notional,
        maker_fee=0.0002,
        taker_fee=0.0005,
        liquidation_fee=0.01,
        funding_interval_hours=8,
        brackets=(
            Bracket(floor=0.0, cap=1e3, maintenance_margin_rate=0.01, cum=0.0, leverage_max=20),
            Bracket(floor=1e3, cap=5e3, maintenance_margin_rate=0.02, cum=10.0, leverage_max=10),
            Bracket(floor=5e3, cap=1e6, maintenance_margin_rate=0.05, cum=160.0, leverage_max=5),
        ),
        origin="made up for the hand ledger",
    )


INSTRUMENTS = (
    instrument("AAAUSDT", "0.1", "0.1", 5.0),
    instrument("BBBUSDT", "0.01", "1", 5.0),
    instrument("CCCUSDT", "1", "0.001", 100.0),
)

# open, high, low, close of each bar
AAA = [
    (100, 101, 99, 100), (100, 102, 100, 102), (102, 103, 101, 103), (103, 104, 102, 104),
    (104, 105, 103, 103), (103, 103, 102, 102), (102, 102, 100, 100), (100, 101, 100, 100),
    (99, 99, 70, 75), (75, 76, 74, 75), (75, 76, 74, 75), (75, 76, 74, 75),
    (75, 76, 74, 75), (75, 76, 74, 75), (75, 76, 74, 75), (75, 76, 74, 75),
]  # fmt: skip
BBB = [
    (10, 10, 10, 10), (10, 10, 10, 10), (10, 10.1, 9.9, 9.9), (9.9, 9.95, 9.8, 9.8),
    (9.8, 9.8, 9.7, 9.7), (10.2, 10.3, 10.1, 10.2), (10, 10, 10, 10), (10, 10, 10, 10),
    (10, 10, 10, 10), (10, 10, 10, 10), (10, 10.05, 9.95, 10), (6, 6.1, 5.9, 6),
    (6, 6.1, 5.9, 6), (6, 6.1, 5.9, 6), (6, 6.1, 5.9, 6), (6, 6.1, 5.9, 6),
]  # fmt: skip
CCC = [
    (20000, 20000, 20000, 20000), (20000, 20000, 20000, 20000), (20000, 20000, 20000, 20000),
    (20000, 20000, 20000, 20000), (20000, 20000, 20000, 20000), (20000, 20010, 19980, 20000),
    (20000, 20000, 20000, 20000), (20000, 20000, 20000, 20000), (20000, 20000, 20000, 20000),
    (20000, 20000, 20000, 20000), (20000, 20000, 20000, 20000), (20000, 20000, 20000, 20000),
    (20000, 20000, 20000, 20000), (20000, 20100, 19900, 20000), (20000, 20300, 20000, 20200),
    (20200, 20200, 20200, 20200),
]  # fmt: skip


def stamp(bar: int) -> str:
    """The close of a bar."""
    return str(pd.Timestamp(FIRST) + pd.Timedelta(hours=bar + 1))


def market() -> Bars:
    """The bars, with three settlements at the opens of bars 2, 3 and 6; marks are last prices."""
    prices = np.array([AAA, BBB, CCC], dtype=np.float64)
    ts_us = to_us(FIRST) + HOUR_US * np.arange(1, len(AAA) + 1)
    settlements = Settlements(
        time_us=ts_us[[1, 2, 5]],
        symbol=np.array([0, 1, 0]),
        rate=np.array([0.0001, 0.0003, -0.0004]),
        mark_price=np.array([102.0, 9.9, np.nan]),
    )
    fields = {
        name: np.ascontiguousarray(prices[:, :, k].T)
        for k, name in enumerate(("open", "high", "low", "close"))
    }
    bars = Bars(interval="1h", ts_us=ts_us, symbols=SYMBOLS, fields=fields, settlements=settlements)
    fields["funding_rate"] = funding_rows(bars, settlements)
    return Bars(interval="1h", ts_us=ts_us, symbols=SYMBOLS, fields=fields, settlements=settlements)


def plane() -> AccountPlane:
    """1,000 USDT at 5x, 10 bps from the open to a taker's price; 200 are added at bar 4, 500 at bar 10."""
    return account_plane(
        INSTRUMENTS,
        interval="1h",
        account=AccountSettings(
            capital=1000.0,
            margin="cross",
            leverage_max=5,
            no_trade_band=0.0,
            margin_buffer=0.0,
            missing_funding_rate=0.0,
            cash_flows=(
                CashFlow(ts=stamp(3), amount=200.0),
                CashFlow(ts=stamp(9), amount=500.0),
            ),
        ),
        execution=ExecutionSettings(
            half_spread_bps=5.0, slippage_bps=5.0, latency_ms=100.0, maker_fee=None, taker_fee=None
        ),
        exits=NO_EXITS,
    )


def script(bars: Bars) -> OrderScript:
    """The orders, each sent at the close of the bar it names."""
    buy, sell = Side.BUY, Side.SELL
    a, b, c = SYMBOLS
    requests = [
        OrderRequest(ts=stamp(0), symbol=a, side=buy, qty=5.0),
        OrderRequest(ts=stamp(1), symbol=b, side=sell, qty=50.0),
        OrderRequest(
            ts=stamp(1), symbol=a, side=buy, type=OrderType.LIMIT, qty=1.0, price=101.0,
            time_in_force=TimeInForce.GTX,
        ),
        OrderRequest(ts=stamp(2), symbol=a, cancel=2),
        OrderRequest(ts=stamp(2), symbol=a, side=sell, qty=2.0, reduce_only=True),
        OrderRequest(ts=stamp(3), symbol=a, side=sell, qty=5.0),
        OrderRequest(ts=stamp(3), symbol=c, side=buy, qty=0.0049),
        OrderRequest(
            ts=stamp(4), symbol=b, side=buy, type=OrderType.STOP_MARKET, stop_price=9.9,
            close_position=True,
        ),
        OrderRequest(
            ts=stamp(4), symbol=c, side=buy, type=OrderType.LIMIT, qty=0.01, price=19990.0
        ),
        OrderRequest(
            ts=stamp(5), symbol=a, side=buy, type=OrderType.LIMIT, qty=1.0, price=102.5,
            time_in_force=TimeInForce.GTX,
        ),
        OrderRequest(ts=stamp(6), symbol=a, side=buy, qty=57.0),
        OrderRequest(ts=stamp(6), symbol=c, side=sell, close_position=True),
        OrderRequest(ts=stamp(9), symbol=b, side=buy, qty=200.0),
        OrderRequest(ts=stamp(11), symbol=c, side=buy, qty=0.005),
        OrderRequest(ts=stamp(12), symbol=c, side=buy, qty=0.005),
    ]  # fmt: skip
    return order_script(requests, bars, INSTRUMENTS)


# Each row: what happened in the bar, wallet, unrealised PnL. Written by hand, in decimals.
LEDGER: list[tuple[str, D, D]] = [
    ("nothing yet", D("1000"), D("0")),
    # long 5 AAA at 100 x 1.001 = 100.1, fee 5 x 100.1 x 0.0005 = 0.25025; 5 x (102 - 100.1)
    ("long AAA", D("999.74975"), D("9.5")),
    # AAA pays 5 x 102 x 0.0001 = 0.051; short 50 BBB at 9.99, fee 0.24975; post-only 101 touched only
    ("funding paid, short BBB, post-only touched", D("999.449"), D("14.5") + D("4.5")),
    # BBB receives 50 x 9.9 x 0.0003 = 0.1485; sell 2 AAA at 102.897 -> 102.8: 2 x 2.7 = 5.4, fee 0.1028
    ("funding received, partial reduce", D("1004.8947"), D("11.7") + D("9.5")),
    # +200; sell 5 AAA at 103.896 -> 103.8: 3 x 3.7 = 11.1, short 2, fee 0.2595; CCC 0.004 x 20000 < 100
    ("deposit, flip, below minimum notional", D("1215.7352"), D("1.6") + D("14.5")),
    # stop 9.9 gapped to 10.2: 10.2102 -> 10.22, -50 x 0.23 = -11.5, fee 0.2555; CCC 0.01 at 19990, fee 0.03998
    ("gap through a stop, limit filled", D("1203.93972"), D("3.6") + D("0.1")),
    # no mark known: at the open 102; -2 x 102 x -0.0004 = 0.0816 is paid by the short; post-only 102.5 >= 102
    ("funding paid by the short, post-only would cross", D("1203.85812"), D("7.6") + D("0.1")),
    # buy 57 AAA at 100.1: -2 x (100.1 - 103.8) = 7.4, fee 57 x 100.1 x 0.0005 = 2.85285, long 55;
    # sell 0.01 CCC at 19980: 0.01 x (19980 - 19990) = -0.1, fee 0.0999
    ("flip to a large long, CCC closed", D("1208.20537"), D("-5.5")),
    # liquidation in the second bracket (below 5,000): 1208.20537 + 55 (m - 100.1) = 1.1 m - 10
    # -> m = 4287.29463 / 53.9 = 79.5416...; 79.5 on the tick below; -55 x 20.6 = -1133;
    # fee 0.01 x 55 x 79.5 = 43.725 of 75.20537 left
    ("liquidation across a bracket", D("31.48037"), D("0")),
    ("nothing", D("31.48037"), D("0")),
    # +500; long 200 BBB at 10.01, fee 200 x 10.01 x 0.0005 = 1.001
    ("deposit, long BBB", D("530.47937"), D("-2")),
    # open 6, gone below bankruptcy 10.01 - 530.47937 / 200 = 7.3576...: closed at 6.1, the best mark of the bar;
    # -200 x 3.91 = -782; the insurance fund pays 251.52063
    ("liquidation that leaves a shortfall", D("0"), D("0")),
    # nothing left: the order is rejected for want of margin
    ("rejected for margin", D("0"), D("0")),
    ("rejected for margin again", D("0"), D("0")),
    ("nothing", D("0"), D("0")),
    ("nothing", D("0"), D("0")),
]


def run(bars: Bars) -> tuple[AccountPlane, FoldState, Events]:
    account = plane()
    every = np.full(bars.n_bars, -2)
    state, events = account.advance(account.start(), bars, decisions=every, script=script(bars))
    return account, state, events


def as_table(rows: list[tuple[str, float, float]]) -> str:
    lines = [f"{'bar':>3} {'wallet':>12} {'unrealised':>11} {'equity':>12}  what"]
    lines += [
        f"{i:>3} {wallet:>12.5f} {pnl:>11.5f} {wallet + pnl:>12.5f}  {what}"
        for i, (what, wallet, pnl) in enumerate(rows)
    ]
    return "\n".join(lines)


def test_every_balance_equals_the_hand_ledger() -> None:
    _, _, events = run(market())
    by_hand = [(what, float(wallet), float(pnl)) for what, wallet, pnl in LEDGER]
    wallets = events.curve[:, at.CURVE_WALLET].tolist()
    unrealised = events.curve[:, at.CURVE_UNREALISED].tolist()
    ours = [(what, w, u) for (what, _, _), w, u in zip(LEDGER, wallets, unrealised, strict=True)]
    message = f"by hand\n{as_table(by_hand)}\n\nengine\n{as_table(ours)}"
    for (_, wallet, pnl), (_, our_wallet, our_pnl) in zip(by_hand, ours, strict=True):
        assert our_wallet == pytest.approx(wallet, abs=1e-9), message
        assert our_pnl == pytest.approx(pnl, abs=1e-9), message


def test_what_the_tables_say_of_the_hand_ledger() -> None:
    bars = market()
    account, state, events = run(bars)
    check_conservation(account.capital, state)
    tables = run_tables(events, account, bars, pd.DataFrame())
    orders = tables["orders"].set_index("order_id")
    assert list(orders.status) == [
        "filled", "filled", "canceled", "filled", "filled", "rejected", "filled", "filled",
        "rejected", "filled", "filled", "filled", "filled", "filled", "rejected", "rejected",
    ]  # fmt: skip
    assert orders.reason[5] == "min_notional"
    assert orders.reason[8] == "post_only_would_cross"
    assert orders.reason[14] == "margin"
    assert list(tables["liquidations"].insurance) == pytest.approx([0.0, 251.52063], abs=1e-9)
    assert list(tables["liquidations"].fee) == pytest.approx([43.725, 0.0], abs=1e-9)
    assert list(tables["funding"].amount) == pytest.approx([0.051, -0.1485, 0.0816], abs=1e-12)
    fills = tables["fills"]
    assert (fills.decision_ts < fills.ts).all()
    assert (fills.liquidity == "maker").sum() == 1
    positions = tables["positions"]
    last = positions[positions.ts == positions.ts.max()]
    assert dict(zip(last.symbol, last.qty, strict=True)) == {"BBBUSDT": 200.0}


def test_a_deposit_is_no_return_and_no_drawdown() -> None:
    _, _, events = run(market())
    nav = events.curve[:, at.CURVE_NAV]
    # Bar 4 ends at 1231.8352 of which 200 came at its start: the unit rose by the rest alone.
    before = 1026.0947
    assert nav[3] == pytest.approx(before / 1000.0, abs=1e-12)
    assert nav[4] == pytest.approx(nav[3] * 1231.8352 / (before + 200.0), abs=1e-12)
    assert events.curve[4, at.CURVE_DRAWDOWN] == 0.0


def test_nothing_comes_back_after_ruin() -> None:
    _, _, events = run(market())
    assert events.curve[-1, at.CURVE_NAV] == 0.0
    assert events.curve[-1, at.CURVE_DRAWDOWN] == -1.0
