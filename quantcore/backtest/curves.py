"""The equity curve of a run without its flows, its daily returns, and BTC held beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore.backtest.result import Recorded, Run
from quantcore.finance import performance
from quantcore.frames import Bars
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, index_us, periods_per_year, to_index
from quantcore.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The equity curve without its flows, and what is derived from it.

    Parameters
    ----------
    ts_us : int64 array, shape (n_rows,)
        Stamps of the equity rows, microseconds since 1970.
    equity, flow : float64 array, shape (n_rows,)
        USDT.
    nav : float64 array, shape (n_rows,)
        Value of one unit, 1.0 before the first row.
    drawdown : float64 array, shape (n_rows,)
        Fraction <= 0: the deeper of the one at the row and the one the account recorded since the row before.
    benchmark : float64 array, shape (n_rows,)
        BTC held, 1.0 at the first row with a BTC bar; NaN before it, and without BTC bars.
    daily, benchmark_daily : Series, shape (n_days,)
        Daily UTC returns.
    first : int
        First row that belongs to a day: 1 where the opening row is stamped at midnight and nothing has happened
        yet, for it would be a day of no length; else 0.
    days_per_year : float
        Returns per year in `daily`: 365 unless decisions are rarer than daily.
    """

    ts_us: IntArray
    equity: FloatArray
    flow: FloatArray
    nav: FloatArray
    drawdown: FloatArray
    benchmark: FloatArray
    daily: pd.Series
    benchmark_daily: pd.Series
    days_per_year: float
    first: int

    @property
    def days(self) -> float:
        """Length of the span in days."""
        return float(self.ts_us[-1] - self.ts_us[0]) / DAY_US

    @property
    def returns(self) -> int:
        """Number of daily returns."""
        return int(self.daily.notna().sum())

    @property
    def benchmark_from(self) -> pd.Timestamp | None:
        """First row at which BTC can be held; None without BTC bars."""
        held = np.flatnonzero(np.isfinite(self.benchmark))
        return to_index(self.ts_us[held[:1]])[0] if len(held) else None

    @property
    def years(self) -> float:
        """Length of the span in years of 365 days."""
        return self.days / DAYS_PER_YEAR


def curves(run: Recorded) -> Curves:
    """Return the curves of a run; without its bars, as in a results folder, there is no benchmark.

    The unit value is ``equity.nav`` where the account gives it, else it follows from equity and flows
    (``equity.flow``, else ``cash_flows``).
    """
    table = run.tables["equity"]
    ts_us = index_us(pd.DatetimeIndex(table["ts"]))
    equity = _numbers(table["equity"])
    flow = _numbers(table["flow"]) if "flow" in table else _flows(run, ts_us)
    implied = performance.unit_values(equity, flow, capital=run.capital)
    nav = _numbers(table["nav"]) if "nav" in table else implied
    depth = performance.drawdowns(nav, start=1.0)
    benchmark = np.full(len(ts_us), np.nan)
    if isinstance(run, Run):
        benchmark = benchmark_curve(run.bars, ts_us)
    first = int(len(ts_us) > 1 and ts_us[0] % DAY_US == 0 and nav[0] == 1.0)
    return Curves(
        ts_us=ts_us,
        equity=equity,
        flow=flow,
        nav=nav,
        drawdown=np.fmin(depth, _numbers(table["drawdown"])),
        benchmark=benchmark,
        daily=performance.daily_returns(ts_us[first:], nav[first:], start=1.0),
        benchmark_daily=performance.daily_returns(ts_us[first:], benchmark[first:], start=1.0),
        first=first,
        days_per_year=min(float(DAYS_PER_YEAR), periods_per_year(run.interval)),
    )


def _flows(run: Recorded, ts_us: IntArray) -> FloatArray:
    moved = run.tables["cash_flows"]
    rows = np.searchsorted(ts_us, index_us(pd.DatetimeIndex(moved["ts"])))
    flow = np.zeros(len(ts_us))
    np.add.at(flow, np.minimum(rows, len(ts_us) - 1), _numbers(moved["amount"]))
    return flow


def benchmark_curve(bars: Bars, ts_us: IntArray) -> FloatArray:
    """Return BTC held at some stamps, 1.0 at the first with a BTC bar; NaN before it, and without BTC bars."""
    column = next((i for i, s in enumerate(bars.symbols) if s.startswith("BTC")), None)
    if column is None:
        return np.full(len(ts_us), np.nan)
    rows = np.searchsorted(bars.ts_us, ts_us, side="right") - 1
    close = bars.array("close")[:, column]
    held = pd.Series(np.where(rows >= 0, close[np.maximum(rows, 0)], np.nan)).ffill()
    known = held.dropna()
    return _numbers(held / known.iloc[0]) if len(known) else np.full(len(ts_us), np.nan)


def _numbers(column: pd.Series) -> FloatArray:
    return column.to_numpy(dtype=np.float64)
