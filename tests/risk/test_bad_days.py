"""Real bad days, replayed with every symbol held long at 3 and 10 times equity: the monitor keeps the account alive."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantcore.account_plane import (
    AccountSettings,
    account_plane,
)
from quantcore.backtest.engine import traded_instruments
from quantcore.config import build, compose
from quantcore.data.sources import DataSource, MarketData
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import NO_EXITS
from quantcore.kernels import layout as at
from quantcore.risk.limits import RiskSettings
from quantcore.timegrid import DAY_US, to_us
from quantcore.types import BoolArray

DAYS = ("2023-06-10", "2023-08-17", "2024-03-05", "2024-04-13", "2024-08-05")
WARM_UP_DAYS, AFTER_DAYS = 30, 4


def only_the_monitor() -> RiskSettings:
    """The limits of production with all but the liquidation monitor left away."""
    prod = build(compose("backtest", ["risk=prod"]).risk, RiskSettings)
    return replace(
        prod, net_max=None, symbol_max=None, cluster_max=None, daily_var_max=None, drawdown_max=None,
        drawdown_reduce=0.99, drawdown_restore=0.5, daily_loss_max=None, protective_stop=None,
    )  # fmt: skip


def replay(
    data: MarketData, day: str, leverage: int, risk: RiskSettings | None, margin: str = "cross"
) -> tuple[int, float, float]:
    """Return liquidations, the largest leverage held, and what is left of the capital."""
    start, stop = to_us(day) - WARM_UP_DAYS * DAY_US, to_us(day) + AFTER_DAYS * DAY_US
    rows = np.searchsorted(data.bars.ts_us, [start, stop])
    bars = data.bars.rows(int(rows[0]), int(rows[1]))
    known: BoolArray = np.asarray(~np.isnan(bars.array("close")).any(axis=0))
    chosen = [s for s, there in zip(bars.symbols, known, strict=True) if there]
    bars = bars.select(chosen)
    plane = account_plane(
        traded_instruments(replace(data, bars=bars)),
        interval="1h",
        account=AccountSettings(
            capital=7700.0, margin=margin, leverage_max=leverage, no_trade_band=0.01,
            margin_buffer=0.02, missing_funding_rate=0.0001, cash_flows=(),
        ),
        execution=ExecutionSettings(
            half_spread_bps=0.5, slippage_bps=1.0, latency_ms=100.0, maker_fee=None, taker_fee=None
        ),
        exits=NO_EXITS,
        risk=risk,
    )  # fmt: skip
    # In from the day before on; before that the covariance learns from an account that holds next to nothing.
    targets = np.zeros((bars.n_bars, bars.n_symbols))
    targets[bars.ts_us >= to_us(day) - DAY_US] = 0.97 * leverage / bars.n_symbols
    _, events = plane.advance(plane.start(), bars, targets=targets)
    equity = events.curve[:, at.CURVE_EQUITY]
    gross = events.curve[:, at.CURVE_GROSS]
    held = np.divide(gross, equity, out=np.zeros_like(equity), where=equity > 0.0)
    return len(events.of(at.EVENT_LIQUIDATION)[0]), float(held.max()), float(equity[-1] / 7700.0)


@pytest.fixture(scope="module")
def hourly(shared: Path) -> MarketData:
    root = shared / "data"
    wanted = ["data=folder", f"data.root={root}", "data.interval=1h", "data.execution_interval=1h"]
    source: DataSource = build(compose("backtest", wanted).data)
    return source.load()


@pytest.mark.parametrize("margin", ["cross", "isolated"])
@pytest.mark.parametrize("leverage", [3, 10])
@pytest.mark.parametrize("day", DAYS)
def test_no_liquidation_with_the_monitor_on(
    hourly: MarketData, day: str, leverage: int, margin: str
) -> None:
    liquidations, _, left = replay(hourly, day, leverage, only_the_monitor(), margin)
    assert liquidations == 0
    assert left > 0.0


def test_without_the_monitor_ten_times_ends_in_liquidation_on_every_one(hourly: MarketData) -> None:
    assert all(replay(hourly, day, 10, None)[0] > 0 for day in DAYS)
