"""What parameter sets came to: the same numbers as `metrics.json` of each, and their daily returns side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.curves import curves
from quantcore.backtest.metrics import compute_metrics
from quantcore.backtest.outlook import Outlook
from quantcore.backtest.result import Run
from quantcore.timegrid import index_us
from quantcore.types import FloatArray, IntArray

REFUSED = "refused"
"""Column that says why the settings refuse a set; empty where they do not."""

SET_METRICS = (
    "sharpe", "total_return", "annual_return", "annual_volatility", "max_drawdown", "max_drawdown_days", "sortino",
    "calmar", "psr", "min_track_record_days", "alpha", "beta", "var_95_daily", "es_95_daily", "trades", "win_rate",
    "profit_factor", "expectancy", "turnover_annual", "fees", "funding", "slippage_cost", "mean_slippage_bps",
    "liquidations", "liquidation_fees", "insurance", "deposits", "gross_pnl", "final_equity",
)  # fmt: skip
"""Keys of `metrics.json` that each set has, with the same meaning and value; NaN where that file has null.

Left out is what is the same for all sets, what is resampled (a seconds' work for each), what belongs to the whole sweep
(`dsr`, `trials`), and how single orders fared.
"""

NO_OUTLOOK = Outlook(sharpe=None, drawdown=None, tail=None, ruin=None, liquidation=None)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What some of the sets came to.

    Parameters
    ----------
    rows : int64 array, shape (n,)
        Which sets, by their number.
    metrics : float64 array, shape (n, len(SET_METRICS))
        NaN where unknown, and for sets that were refused.
    daily : float64 array, shape (n_days, n)
        Daily UTC returns of the flow-adjusted unit value; NaN for sets that were refused.
    days_us : int64 array, shape (n_days,)
        The days' stamps, microseconds since 1970; empty if all were refused.
    refused : tuple of str
        Why a set was, else an empty text.
    """

    rows: IntArray
    metrics: FloatArray = field(repr=False)
    daily: FloatArray = field(repr=False)
    days_us: IntArray = field(repr=False)
    refused: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What all sets came to.

    Parameters
    ----------
    table : DataFrame
        One row per set in their order: the parameters by override path, then `SET_METRICS`, then `REFUSED`.
    daily : float64 array, shape (n_days, n_sets)
        Daily UTC returns of the flow-adjusted unit value; NaN for sets that were refused.
    days_us : int64 array, shape (n_days,)
        The days' stamps, microseconds since 1970.
    """

    table: pd.DataFrame = field(repr=False)
    daily: FloatArray = field(repr=False)
    days_us: IntArray = field(repr=False)


def set_metrics(run: Run) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return `SET_METRICS` of a run, its daily returns, and the days' stamps."""
    told = compute_metrics(run, ahead=NO_OUTLOOK)
    values = [told[key] for key in SET_METRICS]
    metrics = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    daily = curves(run).daily
    return metrics, daily.to_numpy(np.float64), index_us(pd.DatetimeIndex(daily.index))


def refusal(number: int, text: str) -> Chunk:
    """Return the chunk of a set that its settings refuse."""
    return Chunk(
        rows=np.array([number], dtype=np.int64),
        metrics=np.full((1, len(SET_METRICS)), np.nan),
        daily=np.empty((0, 1)),
        days_us=np.empty(0, dtype=np.int64),
        refused=(text,),
    )


def merge(chunks: Sequence[Chunk], rows: Sequence[int]) -> Chunk:
    """Return several chunks as one, with its sets in the order of `rows`."""
    days_us = max((chunk.days_us for chunk in chunks), key=len, default=np.empty(0, np.int64))
    place = {int(number): k for k, number in enumerate(rows)}
    metrics = np.full((len(rows), len(SET_METRICS)), np.nan)
    daily = np.full((len(days_us), len(rows)), np.nan)
    refused = [""] * len(rows)
    for chunk in chunks:
        to = [place[int(number)] for number in chunk.rows]
        metrics[to] = chunk.metrics
        if len(chunk.days_us):
            daily[:, to] = chunk.daily
        for k, text in zip(to, chunk.refused, strict=True):
            refused[k] = text
    return Chunk(
        rows=np.array(rows, dtype=np.int64),
        metrics=metrics,
        daily=daily,
        days_us=days_us,
        refused=tuple(refused),
    )


def join(chunks: Sequence[Chunk], columns: Mapping[str, Sequence[Any]], n_sets: int) -> Outcomes:
    """Return the outcomes of all sets from those of their chunks, in the order of the sets.

    Parameters
    ----------
    chunks : sequence of Chunk
        In any order; together they hold every set once.
    columns : mapping of str to sequence
        The sets' values by override path.
    n_sets : int
        Their number.

    Raises
    ------
    ValueError
        If a set is missing or held twice.
    """
    held = np.concatenate([chunk.rows for chunk in chunks]) if chunks else np.empty(0, np.int64)
    if not np.array_equal(np.sort(held), np.arange(n_sets)):
        raise ValueError(f"chunks must hold each of {n_sets} sets once, held {len(held)}")
    whole = merge(chunks, range(n_sets))
    table = pd.DataFrame({path: list(values) for path, values in columns.items()})
    for k, key in enumerate(SET_METRICS):
        table[key] = whole.metrics[:, k]
    table[REFUSED] = list(whole.refused)
    return Outcomes(table=table, daily=whole.daily, days_us=whole.days_us)
