"""The first run after an installation or a change of kernels: two processes compile, so that it takes half as long.

The account is more than half of all that compiles. ``python -m quantcore.backtest.compiling`` compiles it from a small
made-up account; meanwhile the run itself compiles what reads its results, from small made-up records. All of it is
kept on disk (`kernels/cache.py`), so nothing compiles twice, and later runs do none of this.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np

from quantcore.account_plane import (
    AccountSettings,
    account_plane,
)
from quantcore.account_step import scan
from quantcore.backtest.result import SCHEMAS
from quantcore.backtest.trades import round_trips
from quantcore.data.instruments import load_instruments
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import NO_EXITS
from quantcore.finance.bootstrap import bootstrap_max_drawdown, bootstrap_sharpe
from quantcore.finance.first_passage import first_passage
from quantcore.finance.liquidation import MarginAccount
from quantcore.finance.liquidation_probability import filter_shocks, liquidation_probability
from quantcore.finance.performance import max_drawdown
from quantcore.finance.ruin import bootstrap_ruin
from quantcore.frames import Bars, to_kernel, to_panel
from quantcore.kernels.cache import is_compiled
from quantcore.timegrid import HOUR_US

SECONDS_MAX = 600.0
"""How long a run waits for the other process before it compiles the account itself."""

_N_BARS = 400


def begin_compiling() -> Callable[[], None]:
    """Begin to compile what is not, in this process and another; return what waits for the other.

    Where the account was compiled before, nothing happens. A run that does not wait, or whose other process failed,
    compiles what is missing when it needs it.
    """
    if is_compiled(scan):
        return _nothing
    sys.stderr.write("compiling the kernels, once: about a minute\n")
    other = subprocess.Popen(
        [sys.executable, "-m", "quantcore.backtest.compiling"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    compile_judges()

    def wait() -> None:
        try:
            other.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            other.kill()

    return wait


def compile_account() -> None:
    """Compile the account plane by advancing a made-up account over a few bars."""
    bars = _bars()
    plane = account_plane(
        load_instruments(bars.symbols),
        interval=bars.interval,
        account=AccountSettings(
            capital=1000.0,
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
        exits=NO_EXITS,
    )
    targets = to_panel(np.zeros((bars.n_bars, bars.n_symbols)), bars)
    plane.advance(
        plane.start(),
        bars,
        targets=to_kernel(targets),
        decisions=np.arange(bars.n_bars, dtype=np.int64),
    )


def compile_judges() -> None:
    """Compile what a finished run is judged by: round trips, bootstraps, ruin and liquidation."""
    bars = _bars()
    rng = np.random.default_rng(0)
    daily = rng.normal(0.0, 0.01, _N_BARS)
    fills, funding = (SCHEMAS[name].empty_table().to_pandas() for name in ("fills", "funding"))
    round_trips(fills, funding, bars, last_marks={})
    max_drawdown(np.cumprod(1.0 + daily, dtype=np.float64), start=1.0)
    bootstrap_sharpe(
        daily, periods_per_year=365.0, confidence=0.5, n_paths=20, mean_block=None, rng=rng
    )
    bootstrap_max_drawdown(daily, confidence=0.5, n_paths=20, mean_block=5.0, rng=rng)
    bootstrap_ruin(daily, threshold=0.5, horizon_days=5, n_paths=2, mean_block=5.0, rng=rng)
    first_passage(0.5, side=1.0, annual_vol=0.5, horizon_hours=24)
    one = np.ones(1)
    liquidation_probability(
        MarginAccount(
            wallet=1.0,
            qty=one,
            entry=one,
            mark=one,
            brackets=np.array([[[0.0, np.inf, 0.01, 0.0]]]),
            isolated_margin=np.full(1, np.nan),
            liquidation_fee=0.0 * one,
            funding_rate=0.0 * one,
            funding_interval_hours=8.0 * one,
        ),
        filter_shocks(daily[:, np.newaxis], half_life_hours=24.0, block_hours=24.0),
        horizon_hours=1,
        n_paths=2,
        rng=rng,
    )


def _bars() -> Bars:
    price = np.ones((_N_BARS, 1))
    return Bars(
        interval="1h",
        ts_us=np.arange(1, _N_BARS + 1, dtype=np.int64) * HOUR_US,
        symbols=("BTCUSDT",),
        fields=dict.fromkeys(("open", "high", "low", "close"), price),
    )


def _nothing() -> None:
    """Wait for nothing."""


if __name__ == "__main__":
    compile_account()
