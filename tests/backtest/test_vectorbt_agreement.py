"""The account against vectorbt on the same signals: leverage 1, no funding, market orders at the next open.

Once without any cost and once with the exchange's taker fee.

Community vectorbt has no leverage and cuts orders to the cash silently, so gross exposure stays well below the equity.
Its `size_granularity` rounds down without a tolerance, so that a position of 9.129 closes by 9.128; so where vectorbt
finds the sizes itself, our step is a ten-billionth of a coin and vectorbt has none. What then remains is rounding: a
step per position, so two per order, and the last digits of floats (we keep whole lots and book profit per fill,
vectorbt adds up coins and cash). Prices are equal, equity and fees agree to 1e-9 relative, sizes to that and two steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.account_plane import (
    AccountSettings,
    Events,
    account_plane,
)
from quantcore.data.instruments import Bracket, Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import ExitSettings
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, OrderScript, order_script
from quantcore.timegrid import HOUR_US, to_index, to_us
from quantcore.types import FloatArray, Side

vbt = pytest.importorskip("vectorbt")

CAPITAL = 10_000.0
COARSE = "0.001"
FINE = "0.0000000001"
TOLERANCE = 1e-9
ENGINES = [pytest.param("numba", marks=pytest.mark.slow), "rust"]  # compiles for 20 s
FEES = [0.0, 0.0005]


def market(rng: np.random.Generator, n_bars: int, n_symbols: int) -> Bars:
    """Random walks on ticks of 0.01 with gaps between close and open."""
    steps = rng.normal(0.0, 0.01, (n_bars, n_symbols))
    closes = np.round(100.0 * np.exp(np.cumsum(steps, axis=0)), 2)
    gaps = rng.normal(0.0, 0.002, (n_bars, n_symbols))
    opens = np.round(np.vstack([np.full((1, n_symbols), 100.0), closes[:-1]]) * (1.0 + gaps), 2)
    return Bars(
        interval="1h",
        ts_us=to_us("2024-01-01T00:00") + HOUR_US * np.arange(1, n_bars + 1),
        symbols=tuple(f"S{k}USDT" for k in range(n_symbols)),
        fields={
            "open": opens,
            "high": np.maximum(opens, closes) + 0.05,
            "low": np.minimum(opens, closes) - 0.05,
            "close": closes,
        },
    )


def instruments(bars: Bars, step: str, fee: float = 0.0) -> list[Instrument]:
    bracket = Bracket(floor=0.0, cap=1e9, maintenance_margin_rate=0.005, cum=0.0, leverage_max=20)
    return [
        Instrument(
            symbol=symbol,
            tick_size="0.01",
            step_size=step,
            min_qty=step,
            market_max_qty="1000000",
            limit_max_qty="1000000",
            min_notional=0.0,
            maker_fee=0.0,
            taker_fee=fee,
            liquidation_fee=0.0,
            funding_interval_hours=8,
            brackets=(bracket,),
            origin="made up for the comparison",
        )
        for symbol in bars.symbols
    ]


def ours(
    bars: Bars,
    step: str,
    *,
    fee: float,
    targets: FloatArray | None = None,
    script: OrderScript | None = None,
) -> Events:
    plane = account_plane(
        instruments(bars, step, fee),
        interval=bars.interval,
        account=AccountSettings(
            capital=CAPITAL,
            margin="cross",
            leverage_max=1,
            no_trade_band=0.0,
            margin_buffer=0.0,
            missing_funding_rate=0.0,
            cash_flows=(),
        ),
        execution=ExecutionSettings(
            half_spread_bps=0.0, slippage_bps=0.0, latency_ms=0.0, maker_fee=None, taker_fee=None
        ),
        exits=ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None),
    )
    decisions = np.full(bars.n_bars, -2) if targets is None else None
    _, events = plane.advance(
        plane.start(), bars, targets=targets, decisions=decisions, script=script
    )
    return events


def fills(events: Events, bars: Bars) -> pd.DataFrame:
    """Our fills as vectorbt counts them: row and column, signed size, price."""
    whole, number = events.of(at.EVENT_FILL)
    table = {
        "row": np.searchsorted(bars.ts_us, whole[:, at.TS]),
        "column": whole[:, at.EVENT_SYMBOL],
        "size": whole[:, at.EVENT_SIDE] * number[:, at.A],
        "price": number[:, at.B],
        "fee": number[:, at.C],
    }
    return pd.DataFrame(table).sort_values(["row", "column"], ignore_index=True)


def their_fills(portfolio: Any) -> pd.DataFrame:
    records = portfolio.orders.values
    table = {
        "row": records["idx"].astype(np.int64),
        "column": records["col"].astype(np.int64),
        "size": np.where(records["side"] == 0, 1.0, -1.0) * records["size"],
        "price": records["price"],
        "fee": records["fees"],
    }
    return pd.DataFrame(table).sort_values(["row", "column"], ignore_index=True)


def assert_agrees(events: Events, bars: Bars, portfolio: Any) -> None:
    mine, theirs = fills(events, bars), their_fills(portfolio)
    assert len(mine) > 20
    pd.testing.assert_frame_equal(mine[["row", "column"]], theirs[["row", "column"]])
    np.testing.assert_array_equal(mine.price, theirs.price)
    np.testing.assert_allclose(mine["size"], theirs["size"], rtol=TOLERANCE, atol=2 * float(FINE))
    np.testing.assert_allclose(mine["fee"], theirs["fee"], rtol=TOLERANCE, atol=2 * float(FINE))
    equity = np.asarray(portfolio.value()).ravel()
    np.testing.assert_allclose(events.curve[:, at.CURVE_EQUITY], equity, rtol=TOLERANCE)


def next_bar(values: FloatArray, fill: float) -> FloatArray:
    """What is decided at a close acts in the next bar; vectorbt is told so by a shift."""
    return np.vstack([np.full((1, values.shape[1]), fill), values[:-1]])


@pytest.mark.parametrize("fee", FEES)
@pytest.mark.parametrize("engine", ENGINES)
def test_target_weights_of_several_symbols_give_the_fills_and_equity_of_vectorbt(
    engine: str, fee: float, rng: np.random.Generator
) -> None:
    bars = market(rng, n_bars=2_000, n_symbols=3)
    targets = rng.uniform(-0.2, 0.2, (bars.n_bars, bars.n_symbols))
    targets[rng.random(targets.shape) < 0.2] = 0.0
    targets[rng.random(targets.shape) < 0.9] = np.nan
    events = ours(bars, FINE, fee=fee, targets=targets)
    assert (events.whole[:, at.KIND] != at.EVENT_WHY).all(), "an order was cut or refused"

    index, columns = to_index(bars.ts_us), list(bars.symbols)
    closes = bars.array("close")
    portfolio = vbt.Portfolio.from_orders(
        pd.DataFrame(closes, index=index, columns=columns),
        size=next_bar(targets, np.nan),
        size_type="targetpercent",
        price=bars.array("open"),
        val_price=next_bar(closes, 100.0),
        init_cash=CAPITAL,
        fees=fee,
        slippage=0.0,
        cash_sharing=True,
        group_by=True,
        freq="1h",
        engine=engine,
    )
    assert_agrees(events, bars, portfolio)


@pytest.mark.parametrize("fee", FEES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_dual_moving_average_gives_the_fills_and_equity_of_vectorbt(
    engine: str, fee: float, rng: np.random.Generator
) -> None:
    bars = market(rng, n_bars=2_000, n_symbols=1)
    closes = pd.Series(bars.array("close")[:, 0], index=to_index(bars.ts_us), name=bars.symbols[0])
    difference = closes.rolling(10).mean() - closes.rolling(40).mean()
    above, below = difference > 0.0, difference < 0.0
    up = above & ~above.shift(fill_value=False)
    down = below & ~below.shift(fill_value=False)

    # Always 20 coins, a fifth of the capital, long or short: the first order opens, every later one turns.
    size = 20.0
    requests = [
        OrderRequest(
            ts=str(ts)[:19],
            symbol=bars.symbols[0],
            side=Side.BUY if up[ts] else Side.SELL,
            qty=size if k == 0 else 2.0 * size,
        )
        for k, ts in enumerate(closes.index[up | down])
        if ts < closes.index[-1]
    ]
    script = order_script(requests, bars, instruments(bars, COARSE))
    events = ours(bars, COARSE, fee=fee, script=script)

    portfolio = vbt.Portfolio.from_signals(
        closes,
        entries=up.shift(fill_value=False),
        short_entries=down.shift(fill_value=False),
        size=size,
        price=pd.Series(bars.array("open")[:, 0], index=closes.index),
        upon_opposite_entry="reverse",
        init_cash=CAPITAL,
        fees=fee,
        slippage=0.0,
        freq="1h",
        engine=engine,
    )
    assert_agrees(events, bars, portfolio)
