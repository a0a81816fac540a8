"""UTC days out of finer rows, as a fold: the close of the day in progress, and a ring of the last complete days.

A day is complete with the row stamped at midnight. A ring of n days holds the close of day d, counted from the fold's
first row, in row ``d mod n``; NaN where a symbol had no bar in a whole day, and before the first.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.timegrid import DAY_US
from quantcore.types import FloatArray, IntArray


@njit(cache=True, error_model="numpy")
def day_ring(n_days: int, n_symbols: int) -> FloatArray:
    """Return an empty ring of days, shape ``(n_days, n_symbols)``, of NaN."""
    return np.full((n_days, n_symbols), np.nan)


@inner()
def ends_day(ts_us: int) -> bool:
    """Return whether a row completes a UTC day."""
    return ts_us % DAY_US == 0


@inner()
def close_day(
    closes: FloatArray, ts_us: int, today: FloatArray, ring: FloatArray, count: IntArray
) -> bool:
    """Take one row; return whether it completed a UTC day, whose closes are then in the ring.

    Parameters
    ----------
    closes : float64 array, shape (n_symbols,)
        Of the row, NaN where missing.
    ts_us : int
        Its stamp.
    today : float64 array, shape (n_symbols,)
        Last close of the day in progress, NaN where there is none yet; advanced in place.
    ring : float64 array, shape (n_days, n_symbols)
        From `day_ring`; advanced in place.
    count : int64 array, shape (1,)
        Complete days so far; advanced in place.
    """
    for i in range(len(closes)):
        if not np.isnan(closes[i]):
            today[i] = closes[i]
    if not ends_day(ts_us):
        return False
    row = count[0] % len(ring)
    for i in range(len(closes)):
        ring[row, i] = today[i]
        today[i] = np.nan
    count[0] += 1
    return True


@inner()
def days_ago(ring: FloatArray, count: IntArray, days: int, i: int) -> float:
    """Return a symbol's value some days before the last complete one (0); NaN before the ring's oldest."""
    if days >= len(ring) or days >= count[0]:
        return np.nan
    return float(ring[(count[0] - 1 - days) % len(ring), i])


@inner()
def last_return(ring: FloatArray, count: IntArray, i: int) -> float:
    """Return the return of the last complete day on the day before; NaN where either has no close."""
    return days_ago(ring, count, 0, i) / days_ago(ring, count, 1, i) - 1.0


@inner()
def hold(view: FloatArray, closes: FloatArray, forecasts: FloatArray) -> None:
    """Fill a row of forecasts, shape ``(n_symbols,)``, with what holds until the next day ends; NaN without a close."""
    for i in range(len(view)):
        forecasts[i] = np.nan if np.isnan(closes[i]) else view[i]


def in_order(ring: FloatArray, count: int) -> FloatArray:
    """Return a ring's days, the oldest first, shape ``(n_days, n_symbols)``; NaN rows before the first day."""
    n_days = len(ring)
    days = np.arange(count - n_days, count)
    return np.where((days >= 0)[:, None], ring[days % n_days], np.nan)
