"""Prices that bars know at instants, for whatever is measured against them afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantcore.errors import DataGap
from quantcore.frames import Bars
from quantcore.timegrid import interval_us
from quantcore.types import FloatArray, IntArray


def columns_of(bars: Bars, names: Sequence[str]) -> IntArray:
    """Return the column of each symbol.

    Raises
    ------
    DataGap
        If the bars lack a symbol.
    """
    absent = sorted(set(names) - set(bars.symbols))
    if absent:
        raise DataGap(f"bars must hold every symbol that was traded, lacked {', '.join(absent)}")
    return np.array([bars.symbols.index(name) for name in names], dtype=np.int64)


def close_at(bars: Bars, stamps_us: IntArray, column: IntArray) -> FloatArray:
    """Return the close of the last bar known at each instant, of the symbol in each column.

    Parameters
    ----------
    bars : Bars
        On an even grid, as bars are.
    stamps_us, column : int64 array, shape (n,)
        Instants, microseconds since 1970, and columns.

    Returns
    -------
    float64 array, shape (n,)
        NaN in a hole of the bars, and where the bar lies before or after all bars.
    """
    return _at(bars.array("close"), _row(bars, stamps_us), column)


def next_open(bars: Bars, stamps_us: IntArray, column: IntArray) -> FloatArray:
    """Return the open of the bar after the last one known at each instant; arguments and NaN as in `close_at`.

    Raises
    ------
    DataGap
        If the bars have no opens.
    """
    return _at(bars.array("open"), _row(bars, stamps_us) + 1, column)


def _row(bars: Bars, stamps_us: IntArray) -> IntArray:
    # A search takes ten times as long, and each bar closes one interval after the one before.
    first_us = int(bars.ts_us[0]) if bars.n_bars else 0
    return np.asarray((stamps_us - first_us) // interval_us(bars.interval))


def _at(panel: FloatArray, row: IntArray, column: IntArray) -> FloatArray:
    known = (row >= 0) & (row < len(panel))
    if known.all():
        return panel[row, column]
    found = np.full(len(row), np.nan)
    found[known] = panel[row[known], column[known]]
    return found
