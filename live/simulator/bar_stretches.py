"""What a symbol did over stretches of time, where the market is replayed from bars: candles off the bars' own grid."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from live.simulator.path import STEP_US, Prices, extents
from live.simulator.trades import SECOND_US, Flow, traded
from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray

_QUOTE_DIGITS = 8
_N_PRICES, _N_COLUMNS = 4, 9


class Volumes(NamedTuple):
    """What the bars say of their volumes, arrays of shape ``(n_bars, n_symbols)``, or ``(0, 0)`` where they do not."""

    volume: FloatArray
    quote_volume: FloatArray
    trades: FloatArray
    taker_buy_volume: FloatArray


@njit(cache=True)
def stretched(
    prices: Prices, volumes: Volumes, flow: Flow, s: int, n_steps: int, tick: FloatArray, qty_digits: int,
    start_us: IntArray, stop_us: IntArray, mark: bool,
) -> tuple[FloatArray, IntArray]:  # fmt: skip
    """Return what a symbol did over some stretches of time, as `market.Stretches`.

    Parameters
    ----------
    volumes : Volumes
        Where bars do not say it, quote volume is at the mean of the four prices, takers bought half of the volume, and
        every place for a print is a trade.
    flow : Flow
        Of symbol `s`.
    qty_digits : int
        Decimals of its quantity step.
    start_us, stop_us : int64 array, shape (n,)
        Both included, since the open of the first bar; within the bars.
    prices, n_steps, tick
        As in `path.prices_at`.
    mark : bool
        Whether of mark prices.
    """
    n = len(start_us)
    table, ids = np.zeros((n, _N_COLUMNS)), np.empty((n, 2), dtype=np.int64)
    first, last = start_us // STEP_US, stop_us // STEP_US
    extent = extents(prices, np.array([s]), mark, first, last, n_steps, tick)
    before, until = traded(flow, start_us - 1), traded(flow, stop_us)
    bar_us = flow.n_seconds * SECOND_US
    for i in range(n):
        for k in range(_N_PRICES):
            table[i, k] = extent[k, i, 0]
        ids[i, 0] = _print_id(flow, before[0, i], before[2, i])
        ids[i, 1] = max(_print_id(flow, until[0, i], until[2, i]) - 1, ids[i, 0])
        if mark:
            continue
        opening, closing = start_us[i] // bar_us, until[0, i]
        begun = _share(flow, before[:, i]) if before[0, i] >= opening else 0.0
        done = _share(flow, until[:, i])
        _add(table[i], prices, volumes, s, flow.n_seconds + 1, opening, begun, closing, done)
        whole = opening == closing and begun == 0.0 and done == 1.0
        _round(table[i], volumes, qty_digits, whole)
    return table, ids


@inner()
def _print_id(flow: Flow, row: int, slot: int) -> int:
    """Return the id of the print in a slot of a bar, which depends on the time alone."""
    return (row + flow.bar) * (flow.n_seconds + 1) + slot + 1


@inner()
def _share(flow: Flow, passed: IntArray) -> float:
    """Return the share of a bar's volume that has traded; `passed` is a column of `trades.traded`."""
    total = flow.lots[passed[0]]
    if total > 0:
        return float(passed[1] / total)
    return float(passed[2] / (flow.n_seconds + 1))


@inner()
def _add(
    row: FloatArray, prices: Prices, volumes: Volumes, s: int, n_slots: int, first: int, begun: float, last: int,
    done: float,
) -> None:  # fmt: skip
    """Add up the bars' volumes, the share `begun` of the first and `1 - done` of the last left out."""
    for bar in range(first, last + 1):
        share = 1.0
        if bar == first:
            share -= begun
        if bar == last:
            share -= 1.0 - done
        volume = volumes.volume[bar, s] if len(volumes.volume) else 0.0
        if not volume > 0.0:
            continue
        mean = (
            prices.open[bar, s] + prices.high[bar, s] + prices.low[bar, s] + prices.close[bar, s]
        ) / 4.0
        quote = _known(volumes.quote_volume, bar, s, volume * mean)
        bought = _known(volumes.taker_buy_volume, bar, s, volume / 2.0)
        row[4] += share * volume
        row[5] += share * quote
        row[6] += share * _known(volumes.trades, bar, s, float(n_slots))
        row[7] += share * bought
        row[8] += share * bought * (quote / volume)


@inner()
def _round(row: FloatArray, volumes: Volumes, qty_digits: int, whole: bool) -> None:
    """Round what was added up to the decimals of its kind; what whole bars say of themselves stays as it is."""
    if not (whole and len(volumes.volume)):
        row[4] = _rounded(row[4], qty_digits)
    if not (whole and len(volumes.quote_volume)):
        row[5] = _rounded(row[5], _QUOTE_DIGITS)
    if not (whole and len(volumes.trades)):
        row[6] = _rounded(row[6], 0)
    if not (whole and len(volumes.taker_buy_volume)):
        row[7] = _rounded(row[7], qty_digits)
    row[8] = _rounded(row[8], _QUOTE_DIGITS)


@inner()
def _rounded(value: float, digits: int) -> float:
    """Return a number with so many decimals, a half to the even one."""
    scale = 10.0**digits
    return float(np.rint(value * scale) / scale)


@inner()
def _known(values: FloatArray, row: int, s: int, otherwise: float) -> float:
    if len(values) == 0 or math.isnan(values[row, s]):
        return otherwise
    return float(values[row, s])
