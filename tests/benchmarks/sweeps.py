"""A dual moving average over many windows, as our sweep runs it and as vectorbt does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from quantcore.account_plane import AccountSettings, account_plane
from quantcore.data.sources import MarketData
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import NO_EXITS
from quantcore.frames import Bars
from quantcore.research import set_group
from quantcore.research.set_group import SetGroup, Stage
from quantcore.research.study import Variant
from quantcore.signal_plane import SignalSettings
from quantcore.signals.fixed import FixedSettings
from quantcore.types import FloatArray
from tests.benchmarks.crossover import CrossoverSettings
from tests.benchmarks.markets import CAPITAL, FEE, SLIPPAGE, instrument

GROUP = 2_000
"""Sets that are run together: what they carry from block to block is their memory."""
CELLS = 1_000_000
"""Bars times columns of one vectorbt portfolio: its quickest of 1 to 500 columns, for minutes and for hours."""
WEIGHT = 0.9


def stage_of(bars: Bars) -> Stage:
    data = MarketData(bars=bars, interval=bars.interval, start_us=None, notes=())
    facts = tuple(instrument(symbol) for symbol in bars.symbols)
    return replace(set_group.stage(data), instruments=facts)


def variants(fasts: Sequence[int], slows: Sequence[int]) -> list[Variant]:
    account = AccountSettings(
        capital=CAPITAL,
        margin="cross",
        leverage_max=5,
        no_trade_band=0.01,
        margin_buffer=0.0,
        missing_funding_rate=0.0,
        cash_flows=(),
    )
    execution = ExecutionSettings(
        half_spread_bps=SLIPPAGE * 5e3,
        slippage_bps=SLIPPAGE * 5e3,
        latency_ms=100.0,
        maker_fee=None,
        taker_fee=None,
    )
    portfolio = FixedSettings(weight=WEIGHT)
    return [
        Variant(
            signal=SignalSettings(
                strategy=CrossoverSettings(fast=fast, slow=slow), portfolio=portfolio
            ),
            account=account,
            execution=execution,
            risk=None,
        )
        for fast in fasts
        for slow in slows
    ]


def sweep(where: Stage, sets: Sequence[Variant]) -> FloatArray:
    """Return the metrics of all sets: from bars and settings, with fees, funding, margin and liquidation."""
    plane = account_plane(
        where.instruments,
        interval=where.bars.interval,
        account=sets[0].account,
        execution=sets[0].execution,
        exits=NO_EXITS,
    )
    found = []
    for first in range(0, len(sets), GROUP):
        part = sets[first : first + GROUP]
        group = SetGroup(where, part, [plane] * len(part))
        group.run()
        found.append(group.result()[0])
    return np.concatenate(found)


def vectorbt_sweep(
    engine: str, bars: Bars, fasts: Sequence[int], slows: Sequence[int]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Tuned: each average once, crossings in numpy, columns in chunks, room for just the orders there are."""
    import vectorbt as vbt

    vbt.settings["engine"] = engine
    closes, opens = bars.array("close")[:, 0], bars.array("open")[:, 0]
    total = np.concatenate([[0.0], np.cumsum(closes)])
    means = {w: np.full(len(closes), np.nan) for w in (*fasts, *slows)}
    for window, mean in means.items():
        mean[window - 1 :] = (total[window:] - total[:-window]) / window
    pairs = [(fast, slow) for fast in fasts for slow in slows]
    columns = max(1, CELLS // len(closes))
    found: list[list[FloatArray]] = [[], [], []]
    for first in range(0, len(pairs), columns):
        chunk = pairs[first : first + columns]
        long = np.zeros((len(closes), len(chunk)), dtype=bool)
        short = np.zeros_like(long)
        for k, (fast, slow) in enumerate(chunk):
            above, below = means[fast] > means[slow], means[fast] < means[slow]
            long[2:, k] = above[1:-1] & ~above[:-2]
            short[2:, k] = below[1:-1] & ~below[:-2]
        portfolio = vbt.Portfolio.from_signals(
            pd.DataFrame(closes),
            entries=long,
            short_entries=short,
            price=opens[:, None],
            size=WEIGHT * CAPITAL,
            size_type="value",
            upon_opposite_entry="reverse",
            init_cash=CAPITAL,
            fees=FEE,
            slippage=SLIPPAGE,
            max_orders=int((long | short).sum()) + 1,
            freq=bars.interval.replace("1m", "1min"),
            engine=engine,
        )
        for k, name in enumerate(("total_return", "sharpe_ratio", "max_drawdown")):
            found[k].append(np.asarray(getattr(portfolio, name)(), dtype=np.float64))
    total_return, ratio, drawdown = (np.concatenate(parts) for parts in found)
    return total_return, ratio, drawdown
