"""Candles of any interval up to now."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from live.simulator.market import Tape
from quantcore.timegrid import DAY_US, interval_us
from quantcore.types import IntArray

INTERVALS = (
    "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip
"""What the exchange has of them."""

MONTH = "1M"
_MONDAY_US = 4 * DAY_US
"""Weeks begin on Mondays; 1970 began on a Thursday."""
_SECOND_US = 1_000_000
_CLOSE, _TRADES = 3, 6
"""Columns of `Stretches.table`."""


class Candle(NamedTuple):
    """A candle up to now.

    Attributes
    ----------
    open_us, end_us : int
        Of its interval, microseconds since 1970; the end is the next one's open.
    open, high, low, close : float
        USDT per coin.
    volume, quote_volume : float
        Coins and USDT.
    trades : int
        As the bars say it; where they do not, the places for prints.
    taker_volume, taker_quote_volume : float
        Of which takers bought.
    first_id, last_id : int
        Of the prints in it.
    """

    open_us: int
    end_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    taker_volume: float
    taker_quote_volume: float
    first_id: int
    last_id: int


def opens(interval: str, from_us: int, to_us: int) -> IntArray:
    """Return the opens of all candles that overlap ``[from_us, to_us]``, and the open after them.

    Weeks begin on Mondays, months on their first day, all others on multiples of their length since 1970.
    """
    if interval == MONTH:
        first, last = np.array([from_us, to_us]).astype("datetime64[us]").astype("datetime64[M]")
        months = np.arange(first, last + 2)
        return months.astype("datetime64[us]").astype(np.int64)
    length = interval_us(interval)
    offset = _MONDAY_US if interval == "1w" else 0
    start = (from_us - offset) // length * length + offset
    return np.arange(start, to_us + length + 1, length, dtype=np.int64)[
        : (to_us - start) // length + 2
    ]


def candles(
    tape: Tape, s: int, bounds_us: IntArray, now_us: int, *, mark: bool = False
) -> list[Candle]:
    """Return the candles between bounds as they stand now, without those in which nothing has a price.

    Parameters
    ----------
    tape : Tape
        The market.
    s : int
        Symbol.
    bounds_us : int64 array, shape (n + 1,)
        Increasing opens, the last one closing the last candle. What lies before whole candles or after now is not seen.
    now_us : int
        Microseconds since 1970.
    mark : bool
        Whether of mark prices; they have no volume, and their `trades` are seconds.
    """
    return _candles(tape, s, bounds_us, tape.candles_us, now_us, mark=mark)


def rolling(tape: Tape, s: int, now_us: int, length_us: int) -> Candle | None:
    """Return the last so many microseconds up to now as one candle; None without a price in them."""
    bounds = np.array([now_us - length_us + 1, now_us + 1], dtype=np.int64)
    found = _candles(tape, s, bounds, tape.history_us, now_us, mark=False)
    return found[0] if found else None


def _candles(
    tape: Tape, s: int, bounds_us: IntArray, since_us: int, now_us: int, *, mark: bool
) -> list[Candle]:
    """Return the candles of what is known since a time."""
    last_us = min(now_us, tape.end_us - 1)
    bounds = bounds_us.tolist()
    seen = [
        (opened, end)
        for opened, end in pairwise(bounds)
        if max(opened, since_us) <= min(end - 1, last_us)
    ]
    if not seen:
        return []
    start = [max(opened, since_us) for opened, _ in seen]
    stop = [min(end - 1, last_us) for _, end in seen]
    told = tape.stretches(s, np.array(start), np.array(stop), mark=mark)
    found = []
    for k, (values, ids) in enumerate(zip(told.table.tolist(), told.ids.tolist(), strict=True)):
        if math.isnan(values[_CLOSE]):
            continue
        trades = (stop[k] - start[k]) // _SECOND_US + 1 if mark else int(values[_TRADES])
        found.append(Candle._make((*seen[k], *values[:6], trades, *values[7:], *ids)))
    return found
