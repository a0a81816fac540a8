"""Seeded random walks on ticks, an account on them, and the least work that marks it: the same for all contestants."""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.account_plane import (
    AccountPlane,
    AccountSettings,
    account_plane,
)
from quantcore.data.instruments import Bracket, Instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import ExitSettings
from quantcore.frames import Bars, Settlements, no_settlements
from quantcore.risk.limits import RiskSettings
from quantcore.timegrid import HOUR_US, interval_us, to_us
from quantcore.types import FloatArray

MINUTES = 525_600
CAPITAL = 100_000.0
FEE = 0.0005
SLIPPAGE = 0.0002
FAST, SLOW = 240, 1_200
"""Windows of the dual moving average, in bars: several hundred trades in a year of minutes."""


def market(
    n_bars: int,
    n_symbols: int,
    *,
    interval: str = "1m",
    funding: bool = False,
    volume: bool = False,
) -> Bars:
    """Bars whose open is the last close; funding is settled every 8 h; some 1.3 million USDT a bar are traded."""
    rng = np.random.default_rng(11)
    steps = rng.normal(0.0, 4e-4, (n_bars, n_symbols))
    closes = np.round(100.0 * np.exp(np.cumsum(steps, axis=0)), 2)
    opens = np.vstack([np.full((1, n_symbols), 100.0), closes[:-1]])
    wicks = np.round(np.abs(rng.normal(0.0, 0.03, (2, n_bars, n_symbols))), 2)
    first = to_us("2024-01-01T00:00")
    ts_us = first + interval_us(interval) * np.arange(1, n_bars + 1)
    fields = {
        "open": opens,
        "high": np.maximum(opens, closes) + wicks[0],
        "low": np.maximum(np.minimum(opens, closes) - wicks[1], 0.01),
        "close": closes,
    }
    if volume:
        fields["volume"] = rng.lognormal(9.0, 1.0, (n_bars, n_symbols))
    settlements = no_settlements()
    if funding:
        times = np.arange(first, ts_us[-1], 8 * HOUR_US)
        settlements = Settlements(
            time_us=np.repeat(times, n_symbols),
            symbol=np.tile(np.arange(n_symbols), len(times)),
            rate=rng.normal(1e-4, 1e-4, len(times) * n_symbols),
            mark_price=np.full(len(times) * n_symbols, np.nan),
        )
    return Bars(
        interval=interval,
        ts_us=ts_us,
        symbols=tuple(f"S{k:02d}USDT" for k in range(n_symbols)),
        fields=fields,
        settlements=settlements,
    )


def plane(
    bars: Bars,
    *,
    stop_loss: float | None = None,
    risk: RiskSettings | None = None,
    execution: ExecutionSettings | None = None,
) -> AccountPlane:
    """A cross account at 5x with fees, slippage, two brackets and a no-trade band of 1 %; market orders by default."""
    return account_plane(
        [instrument(symbol) for symbol in bars.symbols],
        interval=bars.interval,
        account=AccountSettings(
            capital=CAPITAL,
            margin="cross",
            leverage_max=5,
            no_trade_band=0.01,
            margin_buffer=0.0,
            missing_funding_rate=0.0,
            cash_flows=(),
        ),
        execution=execution
        or ExecutionSettings(
            half_spread_bps=SLIPPAGE * 5e3,
            slippage_bps=SLIPPAGE * 5e3,
            latency_ms=100.0,
            maker_fee=None,
            taker_fee=None,
        ),
        exits=ExitSettings(
            stop_loss=stop_loss, take_profit=None, trailing_stop=None, time_exit=None
        ),
        risk=risk,
    )


def instrument(symbol: str) -> Instrument:
    return Instrument(
        symbol=symbol,
        tick_size="0.01",
        step_size="0.001",
        min_qty="0.001",
        market_max_qty="1000000",
        limit_max_qty="1000000",
        min_notional=5.0,
        maker_fee=0.0002,
        taker_fee=FEE,
        liquidation_fee=0.01,
        funding_interval_hours=8,
        brackets=(
            Bracket(floor=0.0, cap=2e4, maintenance_margin_rate=0.004, cum=0.0, leverage_max=50),
            Bracket(floor=2e4, cap=1e9, maintenance_margin_rate=0.005, cum=20.0, leverage_max=20),
        ),
        origin="made up for the benchmarks",
    )


@njit(cache=True, error_model="numpy")
def crossover_targets(fast: FloatArray, slow: FloatArray, weight: float) -> FloatArray:
    """Return long above and short below at the close of each crossing, NaN elsewhere, shape ``(n_bars, n_symbols)``."""
    targets = np.empty(fast.shape)
    for s in range(fast.shape[1]):
        side = 0.0
        for t in range(fast.shape[0]):
            difference = fast[t, s] - slow[t, s]
            now = 1.0 if difference > 0.0 else (-1.0 if difference < 0.0 else side)
            targets[t, s] = now * weight if now != side else np.nan
            side = now
    return targets


@njit(cache=True, error_model="numpy")
def hold(targets: FloatArray) -> FloatArray:
    """Return the same targets at every bar: the last one stands until the next."""
    held = targets.copy()
    for t in range(1, held.shape[0]):
        for s in range(held.shape[1]):
            if np.isnan(held[t, s]):
                held[t, s] = held[t - 1, s]
    return held


@njit(cache=True, error_model="numpy")
def bare_pass(
    opens: FloatArray, highs: FloatArray, lows: FloatArray, closes: FloatArray, targets: FloatArray,
    capital: float, cost: float,
) -> FloatArray:  # fmt: skip
    """Return the equity of targets traded at the next open: the lower bound, without lots, orders, funding or brackets.

    Each position is also valued at its adverse extreme, as a margin test must.
    """
    n_bars, n_symbols = closes.shape
    qty, wanted = np.zeros(n_symbols), np.full(n_symbols, np.nan)
    equity = np.empty(n_bars)
    cash = capital
    for t in range(n_bars):
        value = worst = 0.0
        for s in range(n_symbols):
            if not np.isnan(wanted[s]):
                change = wanted[s] - qty[s]
                cash -= change * opens[t, s] + abs(change) * opens[t, s] * cost
                qty[s] = wanted[s]
            value += qty[s] * closes[t, s]
            worst += qty[s] * (lows[t, s] if qty[s] > 0.0 else highs[t, s])
        equity[t] = cash + value
        if cash + worst <= 0.0:
            break
        for s in range(n_symbols):
            wanted[s] = targets[t, s] * equity[t] / closes[t, s]
    return equity
