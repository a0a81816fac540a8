"""Many parameter sets of a dual moving average: 100 on a year of minutes, 10,000 on a year of hours."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.account_plane import AccountSettings, account_plane
from quantcore.data.sources import MarketData
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import NO_EXITS
from quantcore.frames import Bars
from quantcore.research import set_group
from quantcore.research.outcomes import SET_METRICS
from quantcore.research.set_group import SetGroup, Stage
from quantcore.research.study import Variant
from quantcore.signal_plane import SignalSettings
from quantcore.signals.fixed import FixedSettings
from quantcore.types import FloatArray
from tests.benchmarks.crossover import CrossoverSettings
from tests.benchmarks.markets import (
    CAPITAL,
    FEE,
    MINUTES,
    SLIPPAGE,
    bare_pass,
    instrument,
    market,
)
from tests.benchmarks.timing import Table, keep, race

vbt = pytest.importorskip("vectorbt")

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning"),
]

HOURS = 8_760
GROUP = 2_000
"""Sets that are run together: what they carry from block to block is their memory."""
COLUMNS = {MINUTES: 2, HOURS: 100}
"""Columns of one vectorbt portfolio by the number of bars: the quickest of 1, 2, 5, 10, 50, 100 and 500."""
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
    vbt.settings["engine"] = engine
    closes, opens = bars.array("close")[:, 0], bars.array("open")[:, 0]
    total = np.concatenate([[0.0], np.cumsum(closes)])
    means = {w: np.full(len(closes), np.nan) for w in (*fasts, *slows)}
    for window, mean in means.items():
        mean[window - 1 :] = (total[window:] - total[:-window]) / window
    pairs = [(fast, slow) for fast in fasts for slow in slows]
    columns = COLUMNS[len(closes)]
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


def bare(bars: Bars, n_sets: int) -> float:
    """The lower bound: as many bare passes as there are sets, with a hundred targets each."""
    targets = np.full((bars.n_bars, 1), np.nan)
    rows = np.linspace(50, bars.n_bars - 2, 100).astype(int)
    targets[rows, 0] = np.where(np.arange(100) % 2 == 0, WEIGHT, -WEIGHT)
    opens, highs, lows, closes = (bars.array(name) for name in ("open", "high", "low", "close"))
    last = 0.0
    for _ in range(n_sets):
        last = float(bare_pass(opens, highs, lows, closes, targets, CAPITAL, FEE + SLIPPAGE)[-1])
    return last


def check(found: FloatArray, n_sets: int) -> None:
    """Assert that what is timed also happened."""
    column = {name: found[:, k] for k, name in enumerate(SET_METRICS)}
    assert len(found) == n_sets
    assert np.isfinite(column["sharpe"]).all()
    assert (column["trades"] > 5).all()
    assert (column["fees"] > 0.0).all()
    assert (column["funding"] != 0.0).all()


@pytest.mark.parametrize(
    ("n_bars", "interval", "fasts", "slows", "goal"),
    [
        (MINUTES, "1m", range(60, 660, 60), range(720, 2720, 200), "<= 0.4 s, <= 1 GB"),
        (HOURS, "1h", range(2, 102), range(104, 404, 3), "<= 0.5 s, <= 1 GB"),
    ],
    ids=["minutes", "hours"],
)
def test_sweep(
    benchmark: BenchmarkFixture,
    table: Table,
    n_bars: int,
    interval: str,
    fasts: range,
    slows: range,
    goal: str,
) -> None:
    bars = market(n_bars, 1, interval=interval, funding=True)
    where, sets = stage_of(bars), variants(fasts, slows)
    check(sweep(where, sets), len(sets))
    rounds = 1 if benchmark.disabled else 3
    ours: dict[str, Callable[[], Any]] = {
        "ours, bars to metrics": partial(sweep, where, sets),
        "bare compiled passes": partial(bare, bars, len(sets)),
    }
    others: dict[str, Callable[[], Any]] = {
        f"vectorbt {engine}": partial(vectorbt_sweep, engine, bars, fasts, slows)
        for engine in ("rust", "numba")
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timings = race(ours, rounds=rounds)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    timings |= race(others, rounds=1, tidy=True)
    work = f"sweep, {n_bars:,} bars x {len(sets):,} sets, futures account; vectorbt: fees only"
    table.add(work, timings, goal=f"{goal}; memory grew by {grown:.0f} MiB")
    keep(benchmark, partial(sweep, where, sets), rounds=1)
