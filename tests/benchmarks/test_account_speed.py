"""A year of minutes through the account: one symbol to metrics, ten symbols to equity and fills."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.finance.performance import daily_returns, max_drawdown, sharpe
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.kernels.rolling import rolling_init, rolling_mean_scan
from quantcore.types import FloatArray
from tests.benchmarks.markets import (
    CAPITAL,
    FAST,
    FEE,
    MINUTES,
    SLIPPAGE,
    SLOW,
    bare_pass,
    crossover_targets,
    hold,
    market,
    plane,
)
from tests.benchmarks.timing import Table, Timing, keep, race

vbt = pytest.importorskip("vectorbt")

# Of the contestants, not of ours: vectorbt hands numba lists, backtesting.py asks pandas by an old name.
pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:backtesting"),
    pytest.mark.filterwarnings("ignore:DatetimeIndex.dayofweek:pandas.errors.Pandas4Warning"),
]

PEER_BARS = 50_000
"""Bars given to backtesting.py, which takes seconds for them."""


def targets_of(bars: Bars, weight: float) -> FloatArray:
    closes = bars.array("close")
    fast = rolling_mean_scan(closes, rolling_init(bars.n_symbols, FAST))
    slow = rolling_mean_scan(closes, rolling_init(bars.n_symbols, SLOW))
    return crossover_targets(fast, slow, weight)


def metrics_of(ts_us: Any, equity: FloatArray) -> tuple[float, float, float]:
    daily = daily_returns(ts_us, equity, start=CAPITAL)
    return (
        equity[-1] / CAPITAL - 1.0,
        sharpe(daily, periods_per_year=365.0),
        max_drawdown(equity, start=CAPITAL),
    )


def account_curve(bars: Bars, targets: FloatArray, stop_loss: float | None = None) -> Any:
    account = plane(bars, stop_loss=stop_loss)
    return account.advance(account.start(), bars, targets=targets, full_curve=False)[1]


def check_account(bars: Bars, targets: FloatArray) -> None:
    """Assert that what is timed also happened: every crossing traded, and the money adds up."""
    account = plane(bars)
    state, events = account.advance(account.start(), bars, targets=targets, full_curve=False)
    cash, curve = state["cash"], events.curve[:, at.CURVE_EQUITY]
    crossings = int(np.count_nonzero(~np.isnan(targets)))
    fills = int(np.count_nonzero(events.whole[:, at.KIND] == at.EVENT_FILL))
    assert len(curve) == bars.n_bars
    assert np.isfinite(curve).all()
    assert fills >= 0.99 * crossings > 100
    marks, qty = state["position"][:, at.MARK], state["position"][:, at.QTY]
    unrealised = float(np.sum(qty * (marks - state["position"][:, at.ENTRY])))
    booked = cash[at.REALISED] - cash[at.FEES] - cash[at.FUNDING] - cash[at.LIQUIDATION_FEES]
    assert curve[-1] == pytest.approx(CAPITAL + booked + cash[at.INSURANCE] + unrealised, rel=1e-9)


def bars_to_metrics(bars: Bars) -> tuple[float, float, float]:
    events = account_curve(bars, targets_of(bars, 0.9))
    return metrics_of(events.curve_ts, events.curve[:, at.CURVE_EQUITY])


def lower_bound(bars: Bars, targets: FloatArray) -> FloatArray:
    opens, highs, lows, closes = (bars.array(name) for name in ("open", "high", "low", "close"))
    return bare_pass(opens, highs, lows, closes, targets, CAPITAL, FEE + SLIPPAGE)


def next_bar(values: FloatArray) -> FloatArray:
    return np.vstack([np.full((1, values.shape[1]), np.nan), values[:-1]])


def vectorbt_metrics(engine: str, close: pd.Series, opens: pd.Series) -> tuple[float, float, float]:
    """Tuned: each average once, crossings in numpy (vectorbt's own make a dozen copies), room for the orders needed."""
    vbt.settings["engine"] = engine
    fast, slow = (vbt.MA.run(close, window).ma.to_numpy() for window in (FAST, SLOW))
    above, below = fast > slow, fast < slow
    entries, short_entries = np.zeros(len(close), dtype=bool), np.zeros(len(close), dtype=bool)
    entries[2:] = above[1:-1] & ~above[:-2]
    short_entries[2:] = below[1:-1] & ~below[:-2]
    portfolio = vbt.Portfolio.from_signals(
        close,
        entries=entries,
        short_entries=short_entries,
        price=opens.to_numpy(),
        size=0.9 * CAPITAL,  # it cannot turn a position to a share of equity
        size_type="value",
        upon_opposite_entry="reverse",
        init_cash=CAPITAL,
        fees=FEE,
        slippage=SLIPPAGE,
        max_orders=20_000,
        freq="1min",
        engine=engine,
    )
    return portfolio.total_return(), portfolio.sharpe_ratio(), portfolio.max_drawdown()


def vectorbt_shared(
    engine: str, closes: pd.DataFrame, opens: FloatArray, sizes: FloatArray
) -> tuple[Any, Any]:
    vbt.settings["engine"] = engine
    portfolio = vbt.Portfolio.from_orders(
        closes,
        size=sizes,
        size_type="targetpercent",
        price=opens,
        cash_sharing=True,
        group_by=True,
        init_cash=CAPITAL,
        fees=FEE,
        slippage=SLIPPAGE,
        max_orders=200_000,
        freq="1min",
        engine=engine,
    )
    return portfolio.value(), portfolio.orders.values


def backtesting_py(frame: pd.DataFrame) -> Any:
    from backtesting import Backtest, Strategy  # type: ignore[import-untyped] # it has no types

    class DualAverage(Strategy):  # type: ignore[misc] # nor has its base class
        def init(self) -> None:
            self.fast = self.I(mean, self.data.Close, FAST)
            self.slow = self.I(mean, self.data.Close, SLOW)

        def next(self) -> None:
            if self.fast[-1] > self.slow[-1] and not self.position.is_long:
                self.position.close()
                self.buy(size=0.9)
            elif self.fast[-1] < self.slow[-1] and not self.position.is_short:
                self.position.close()
                self.sell(size=0.9)

    def mean(values: Any, window: int) -> Any:
        return pd.Series(values).rolling(window).mean()

    return Backtest(frame, DualAverage, cash=CAPITAL, commission=FEE, finalize_trades=True).run()


def rounds_of(benchmark: BenchmarkFixture, rounds: int) -> int:
    return 1 if benchmark.disabled else rounds


def test_one_symbol_dual_moving_average(benchmark: BenchmarkFixture, table: Table) -> None:
    bars = market(MINUTES, 1)
    # A plain index: with time stamps vectorbt converts the index again and again and takes 17 s.
    close, opens = (pd.Series(bars.array(name)[:, 0]) for name in ("close", "open"))
    targets = targets_of(bars, 0.9)
    check_account(bars, targets)
    curve = account_curve(bars, targets).curve[:, 0]
    stamps = bars.ts_us
    # A slow contestant would spread the others' rounds over minutes, so the fast parts race among themselves.
    parts: dict[str, Callable[[], object]] = {
        "ours, Bars to metrics": partial(bars_to_metrics, bars),
        "  of it averages and crossings": partial(targets_of, bars, 0.9),
        "  of it the account": partial(account_curve, bars, targets),
        "  of it metrics": partial(metrics_of, stamps, curve),
        "bare compiled pass": partial(lower_bound, bars, targets),
    }
    others: dict[str, Callable[[], object]] = {
        f"vectorbt {engine}": partial(vectorbt_metrics, engine, close, opens)
        for engine in ("rust", "numba")
    }
    timings = race(parts, rounds=rounds_of(benchmark, 15))
    timings |= race(others, rounds=rounds_of(benchmark, 5), tidy=True)
    table.add(
        f"one symbol, {MINUTES:,} bars, dual moving average",
        timings,
        goal="<= 10 ms to metrics, <= 5 ms in the account kernel",
    )
    variants: dict[str, Callable[[], object]] = {
        "ours, targets at crossings": partial(account_curve, bars, targets),
        "ours, a target at every bar": partial(account_curve, bars, hold(targets)),
        "ours, a stop at 2 % resting": partial(account_curve, bars, targets, 0.02),
    }
    table.add(
        f"one symbol, {MINUTES:,} bars, the account alone",
        race(variants, rounds=rounds_of(benchmark, 5)),
        goal="none set",
    )
    keep(benchmark, partial(bars_to_metrics, bars), rounds=3)


def test_ten_symbols_share_an_account(benchmark: BenchmarkFixture, table: Table) -> None:
    bars = market(MINUTES, 10, funding=True)
    closes = pd.DataFrame(bars.array("close"), columns=list(bars.symbols))
    targets = targets_of(bars, 0.09)
    check_account(bars, targets)
    every = hold(targets)
    parts: dict[str, Callable[[], object]] = {
        "ours, targets at crossings": partial(account_curve, bars, targets),
        "ours, a target at every bar": partial(account_curve, bars, every),
        "bare compiled pass": partial(lower_bound, bars, targets),
    }
    others: dict[str, Callable[[], object]] = {
        f"vectorbt {engine}": partial(
            vectorbt_shared, engine, closes, bars.array("open"), next_bar(targets)
        )
        for engine in ("rust", "numba")
    }
    timings = race(parts, rounds=rounds_of(benchmark, 5))
    timings |= race(others, rounds=rounds_of(benchmark, 2), tidy=True)
    table.add(
        f"10 symbols x {MINUTES:,} bars, fees, funding, margin, liquidation; vectorbt: fees only",
        timings,
        goal="<= 150 ms from Bars to equity and fills, targets given",
    )
    keep(benchmark, partial(account_curve, bars, targets), rounds=3)


def test_one_symbol_against_backtesting_py(benchmark: BenchmarkFixture, table: Table) -> None:
    pytest.importorskip("backtesting")
    bars = market(PEER_BARS, 1)
    columns = {"open": "Open", "high": "High", "low": "Low", "close": "Close"}
    frame = pd.DataFrame(
        {title: bars.array(name)[:, 0] for name, title in columns.items()},
        index=bars.index.tz_localize(None),
    )
    timings: dict[str, Timing] = race(
        {
            "ours, Bars to metrics": partial(bars_to_metrics, bars),
            "backtesting.py": partial(backtesting_py, frame),
        },
        rounds=1,
    )
    table.add(f"one symbol, {PEER_BARS:,} bars, event-driven peer", timings, goal="none set")
    keep(benchmark, partial(bars_to_metrics, bars), rounds=3)
