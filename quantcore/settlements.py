"""Which funding settlements the account pays: those that happened, and an assumed charge where history is missing."""

from __future__ import annotations

import numpy as np

from quantcore.frames import Bars
from quantcore.kernels.layout import (
    N_SETTLEMENT,
    SETTLEMENT_ASSUMED,
    SETTLEMENT_ROW,
    SETTLEMENT_SYMBOL,
    SETTLEMENT_TIME,
)
from quantcore.timegrid import HOUR_US, interval_us
from quantcore.types import FloatArray, IntArray

ASSUMED_INTERVAL_US = 8 * HOUR_US
"""The exchange's regular settlement times are 00, 08 and 16 h UTC; symbols that settle more often include them."""


def settlement_rows(bars: Bars, *, missing_rate: float) -> tuple[IntArray, FloatArray]:
    """Return the settlements of a run in the order in which the account pays them.

    A regular settlement time at which a symbol has none counts as missing history: the account charges
    `missing_rate` to a long position there and pays a short one nothing (DESIGN.md 1). Whether one is missing is seen
    from its own bar alone, so that bars taken one at a time give the same settlements.

    Parameters
    ----------
    bars : Bars
        Execution bars with the settlements inside them.
    missing_rate : float
        Fraction of notional charged per missing settlement; 0 assumes none.

    Returns
    -------
    whole : int64 array, shape (n, N_SETTLEMENT)
        Row of the bar, settlement time in microseconds, symbol, and 1 where the rate is assumed.
    number : float64 array, shape (n, 2)
        Rate, and mark price (NaN where it is not known).
    """
    known = bars.settlements
    first = int(bars.ts_us[0]) - interval_us(bars.interval)
    slots = np.arange(
        -(-first // ASSUMED_INTERVAL_US) * ASSUMED_INTERVAL_US, bars.ts_us[-1], ASSUMED_INTERVAL_US
    )
    if missing_rate == 0.0:
        slots = slots[:0]
    time_us = np.repeat(slots, bars.n_symbols)
    symbol = np.tile(np.arange(bars.n_symbols), len(slots))
    inside = (known.time_us >= first) & (known.time_us < bars.ts_us[-1])
    happened = known.where(inside)
    missing = ~np.isin(
        time_us * bars.n_symbols + symbol, happened.time_us * bars.n_symbols + happened.symbol
    )
    time_us, symbol = time_us[missing], symbol[missing]
    n_known, n_assumed = len(happened), len(time_us)
    whole = np.zeros((n_known + n_assumed, N_SETTLEMENT), dtype=np.int64)
    whole[:, SETTLEMENT_TIME] = np.concatenate([happened.time_us, time_us])
    whole[:, SETTLEMENT_SYMBOL] = np.concatenate([happened.symbol, symbol])
    whole[n_known:, SETTLEMENT_ASSUMED] = 1
    whole[:, SETTLEMENT_ROW] = np.searchsorted(bars.ts_us, whole[:, SETTLEMENT_TIME], side="right")
    number = np.empty((n_known + n_assumed, 2))
    number[:, 0] = np.concatenate([happened.rate, np.full(n_assumed, missing_rate)])
    number[:, 1] = np.concatenate([happened.mark_price, np.full(n_assumed, np.nan)])
    order = np.lexsort((whole[:, SETTLEMENT_SYMBOL], whole[:, SETTLEMENT_TIME]))
    return np.ascontiguousarray(whole[order]), np.ascontiguousarray(number[order])
