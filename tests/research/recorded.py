"""Finished runs for the tests of comparisons: simulated accounts, and cuts of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from quantcore.research.compare_records import Record, records
from quantcore.timegrid import DAY_US, HOUR_US, index_us, to_index, to_us
from quantcore.types import FloatArray
from tests.backtest.conftest import simulate

START_US = to_us("2023-01-01")


def pair(days: int = 60, **second: Any) -> tuple[Record, Record]:
    """Two runs on the same market, with a deposit and a liquidation; the second with other orders."""
    one, other = records([simulate(days=days), simulate(days=days, **{"seed": 8, **second})])
    return one, other


def cut(run: Record, *, first: int = 0, last: int | None = None, every: int = 1) -> Record:
    """The run as if it had had only some of its decisions: rows `first` to `last`, each `every`-th."""
    equity = run.tables["equity"].iloc[first:last].iloc[every - 1 :: every].reset_index(drop=True)
    return replace(run, tables={**run.tables, "equity": equity})


def curve(returns: Mapping[str, FloatArray], *, start_us: int = START_US) -> list[Record]:
    """Runs that only have equity, one row a day, with these daily returns."""
    template = simulate(days=2, deposits=(), liquidation_at=None)
    found = []
    for record, values in zip(records([template] * len(returns)), returns.values(), strict=True):
        nav = np.cumprod(1.0 + values)
        stamps = to_index(start_us + DAY_US * np.arange(1, len(values) + 1))
        row = record.tables["equity"].iloc[[0] * len(values)].reset_index(drop=True)
        equity = row.assign(ts=stamps, nav=nav, equity=1000.0 * nav, drawdown=0.0, flow=0.0)
        tables = {name: table.iloc[:0] for name, table in record.tables.items()}
        found.append(replace(record, tables={**tables, "equity": equity}))
    return found


def rows_between(table: pd.DataFrame, first_us: int, last_us: int) -> pd.DataFrame:
    """Rows stamped after the first instant, up to the last."""
    ts_us = index_us(pd.DatetimeIndex(table["ts"]))
    return table[(ts_us > first_us) & (ts_us <= last_us)]


def at(day: float) -> int:
    """An instant so many days after the start."""
    return START_US + round(day * 24) * HOUR_US
