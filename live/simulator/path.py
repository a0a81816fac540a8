"""The path of a price inside its bars: on a grid of 100 ms, by the bar alone, through all four of its prices.

A bar that closes at or above its open runs open, low, high, close, any other open, high, low, close, on straight lines
over three equal thirds of its time, and shows its close in its last 100 ms. Within a third prices are rounded to the
tick, which keeps their order; the four prices themselves stay what they are. Mark prices turn when last prices do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray

STEP_US = 100_000
"""The market moves in such steps; the exchange's fastest depth stream has them too."""

MARK_TICK = (1.0, 1e8)
"""The exchange writes mark prices with eight decimals."""


class Prices(NamedTuple):
    """The prices of all bars, arrays of shape ``(n_bars, n_symbols)``; without marks, last prices stand there too."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    mark_open: FloatArray
    mark_high: FloatArray
    mark_low: FloatArray
    mark_close: FloatArray


@inner()
def _knots(prices: Prices, row: int, s: int, mark: bool) -> tuple[float, float, float, float, bool]:
    """Return open, high, low, close, and whether the low comes first; last prices where a mark is missing."""
    opens, close = prices.open[row, s], prices.close[row, s]
    low_first = close >= opens
    if mark:
        known = (
            prices.mark_open[row, s]
            + prices.mark_high[row, s]
            + prices.mark_low[row, s]
            + prices.mark_close[row, s]
        )
        if not math.isnan(known):
            if math.isnan(opens + close):
                low_first = prices.mark_close[row, s] >= prices.mark_open[row, s]
            return (
                prices.mark_open[row, s],
                prices.mark_high[row, s],
                prices.mark_low[row, s],
                prices.mark_close[row, s],
                low_first,
            )
    return opens, prices.high[row, s], prices.low[row, s], close, low_first


@inner()
def path_price(
    prices: Prices, row: int, s: int, mark: bool, step: int, n_steps: int, tick: FloatArray
) -> float:
    """Return the price at a step of a bar, in ``[0, n_steps)``; `tick` as in `prices_at`."""
    opens, high, low, close, low_first = _knots(prices, row, s, mark)
    if step == n_steps - 1:
        return close
    third = n_steps // 3
    leg = step // third
    second, other = (low, high) if low_first else (high, low)
    start, stop = opens, second
    if leg == 1:
        start, stop = second, other
    elif leg == 2:
        start, stop = other, close
    if step == leg * third:
        return start
    numerator, denominator = (MARK_TICK[0], MARK_TICK[1]) if mark else (tick[s, 0], tick[s, 1])
    raw = start + (stop - start) * ((step - leg * third) / third)
    price = float(np.rint(raw * denominator / numerator)) * numerator / denominator
    return float(min(max(price, min(start, stop)), max(start, stop)))


@njit(cache=True)
def prices_at(
    prices: Prices, row: int, step: int, n_steps: int, tick: FloatArray, mark: bool
) -> FloatArray:
    """Return the price of each symbol at a step of a bar, shape ``(n_symbols,)``.

    Parameters
    ----------
    prices : Prices
        Of all bars.
    row, step : int
        The bar, and steps since its open.
    n_steps : int
        Steps of a bar, a multiple of 3.
    tick : float64 array, shape (n_symbols, 2)
        Numerator and denominator of each symbol's tick (`decimal_fraction`).
    mark : bool
        Whether mark prices.
    """
    result = np.empty(prices.close.shape[1])
    for s in range(len(result)):
        result[s] = path_price(prices, row, s, mark, step, n_steps, tick)
    return result


@njit(cache=True)
def last_at(
    prices: Prices, s: int, mark: bool, row: int, step: int, n_steps: int, tick: FloatArray
) -> float:
    """Return the price of one symbol at a step of a bar; parameters as `prices_at`."""
    return path_price(prices, row, s, mark, step, n_steps, tick)


@njit(cache=True)
def extents(
    prices: Prices, columns: IntArray, mark: bool, first: IntArray, last: IntArray, n_steps: int,
    tick: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return open, high, low and close of the paths of some symbols over some stretches.

    Parameters
    ----------
    columns : int64 array, shape (n_columns,)
        Symbols.
    first, last : int64 array, shape (n,)
        Steps since the open of the first bar, both included.
    prices, mark, n_steps, tick
        As in `prices_at`.

    Returns
    -------
    float64 array, shape (4, n, n_columns)
        Of what is known of the stretch; NaN where nothing is.
    """
    result = np.full((4, len(first), len(columns)), np.nan)
    for i in range(len(first)):
        row, step = divmod(first[i], n_steps)
        last_row, last_step = divmod(last[i], n_steps)
        for j in range(len(columns)):
            s = columns[j]
            for at in range(row, last_row + 1):
                if row < at < last_row and not mark and not math.isnan(result[0, i, j]):
                    if not math.isnan(prices.close[at, s]):
                        result[1, i, j] = max(result[1, i, j], prices.high[at, s])
                        result[2, i, j] = min(result[2, i, j], prices.low[at, s])
                        result[3, i, j] = prices.close[at, s]
                    continue
                begin = step if at == row else 0
                end = last_step if at == last_row else n_steps - 1
                _extend(result, i, j, prices, at, s, mark, begin, end, n_steps, tick)
    return result


@inner()
def _extend(
    result: FloatArray, i: int, j: int, prices: Prices, row: int, s: int, mark: bool, begin: int,
    end: int, n_steps: int, tick: FloatArray,
) -> None:  # fmt: skip
    """Take the steps from `begin` to `end` of one bar into a stretch."""
    opens, high, low, close, low_first = _knots(prices, row, s, mark)
    if math.isnan(close):
        return
    third = n_steps // 3
    low_at = third if low_first else 2 * third
    high_at = 3 * third - low_at
    start = path_price(prices, row, s, mark, begin, n_steps, tick) if begin else opens
    stop = close if end == n_steps - 1 else path_price(prices, row, s, mark, end, n_steps, tick)
    highest = high if begin <= high_at <= end else max(start, stop)
    lowest = low if begin <= low_at <= end else min(start, stop)
    if math.isnan(result[0, i, j]):
        result[0, i, j] = start
        result[1, i, j] = highest
        result[2, i, j] = lowest
    else:
        result[1, i, j] = max(result[1, i, j], highest)
        result[2, i, j] = min(result[2, i, j], lowest)
    result[3, i, j] = stop
