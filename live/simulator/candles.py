"""Candles of any interval up to now, from the path inside the bars where the interval is not theirs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from live.simulator.market import Tape
from live.simulator.wire import digits_of
from quantcore.kernels.compiled import inner
from quantcore.timegrid import DAY_US, interval_us
from quantcore.types import FloatArray, IntArray

INTERVALS = (
    "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip
"""What the exchange has of them."""

MONTH = "1M"
_MONDAY_US = 4 * DAY_US
"""Weeks begin on Mondays; 1970 began on a Thursday."""
_QUOTE_DIGITS = 8
_FLOW_FIELDS = ("volume", "quote_volume", "trades", "taker_buy_volume")
_NOT_KNOWN = np.empty((0, 0))
_NOT_KNOWN.flags.writeable = False


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
        Increasing opens, the last one closing the last candle. What lies before the bars or after now is not seen.
    now_us : int
        Microseconds since 1970.
    mark : bool
        Whether of mark prices; they have no volume, and their `trades` are seconds.
    """
    start = np.maximum(bounds_us[:-1], tape.history_us)
    stop = np.minimum(np.minimum(bounds_us[1:] - 1, now_us), tape.end_us - 1)
    seen = np.flatnonzero(start <= stop)
    if len(seen) == 0:
        return []
    start, stop = start[seen], stop[seen]
    extent = tape.extents(np.array([s]), start, stop, mark=mark)
    flow = np.zeros((len(seen), 5)) if mark else _flows(tape, s, start, stop)
    if mark:
        flow[:, 2] = (stop - start) // 1_000_000 + 1
    ids = _ids(tape, s, start, stop)
    table = np.column_stack([*(part[:, 0] for part in extent), flow])
    known = ~np.isnan(table[:, 3])
    rows = zip(
        bounds_us[seen][known].tolist(),
        bounds_us[seen + 1][known].tolist(),
        table[known].tolist(),
        ids[known].tolist(),
        strict=True,
    )
    return [
        Candle._make((opened, end, *values[:6], int(values[6]), values[7], values[8], first, last))
        for opened, end, values, (first, last) in rows
    ]


def _flows(tape: Tape, s: int, start: IntArray, stop: IntArray) -> FloatArray:
    """Return volume, quote volume, trades, and both volumes of takers between some times, shape ``(n, 5)``."""
    first, begun = _share(tape, s, start - 1)
    opening = (start - tape.history_us) // tape.bar_us
    begun = np.where(first < opening, 0.0, begun)
    last, done = _share(tape, s, stop)
    bars, prices = tape.bars, tape.prices
    volume, quote, trades, bought = (
        bars.array(name) if bars.has(name) else _NOT_KNOWN for name in _FLOW_FIELDS
    )
    total = _sums(
        prices.open, prices.high, prices.low, prices.close, volume, quote, trades, bought, s,
        tape.n_seconds + 1, opening, begun, last, done,
    )  # fmt: skip
    whole = (opening == last) & (begun == 0.0) & (done == 1.0)
    digits = digits_of(tape.instruments[s].step_size)
    places = (digits, _QUOTE_DIGITS, 0, digits, _QUOTE_DIGITS)
    for column, name in enumerate((*_FLOW_FIELDS, "")):
        told = whole & bars.has(name)
        rounded = np.round(total[:, column], places[column])
        total[:, column] = np.where(told, total[:, column], rounded)
    return total


def _share(tape: Tape, s: int, times_us: IntArray) -> tuple[IntArray, FloatArray]:
    """Return the bars of some times and the shares of their volumes that have traded."""
    row, lots, slots = tape.traded(s, times_us)
    total = tape.flows[s].lots[row]
    by_slot = slots / (tape.n_seconds + 1)
    share = np.divide(lots, total, out=by_slot, where=total > 0)
    return row, np.asarray(share)


@njit(cache=True)
def _sums(
    opens: FloatArray, highs: FloatArray, lows: FloatArray, closes: FloatArray, volumes: FloatArray,
    quotes: FloatArray, trades: FloatArray, buys: FloatArray, s: int, n_slots: int, first: IntArray,
    begun: FloatArray, last: IntArray, done: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return the columns of `_flows` from the bars, the share `begun` of the first and `1 - done` of the last left out.

    Where bars do not say it, quote volume is at the mean of the four prices, takers bought half of the volume, and
    every place for a print is a trade.
    """
    result = np.zeros((len(first), 5))
    for i in range(len(first)):
        for row in range(first[i], last[i] + 1):
            share = 1.0
            if row == first[i]:
                share -= begun[i]
            if row == last[i]:
                share -= 1.0 - done[i]
            volume = volumes[row, s] if len(volumes) else 0.0
            if not volume > 0.0:
                continue
            mean = (opens[row, s] + highs[row, s] + lows[row, s] + closes[row, s]) / 4.0
            quote = _known(quotes, row, s, volume * mean)
            bought = _known(buys, row, s, volume / 2.0)
            result[i, 0] += share * volume
            result[i, 1] += share * quote
            result[i, 2] += share * _known(trades, row, s, float(n_slots))
            result[i, 3] += share * bought
            result[i, 4] += share * bought * (quote / volume)
    return result


@inner()
def _known(values: FloatArray, row: int, s: int, otherwise: float) -> float:
    if len(values) == 0 or math.isnan(values[row, s]):
        return otherwise
    return float(values[row, s])


def _ids(tape: Tape, s: int, start: IntArray, stop: IntArray) -> IntArray:
    """Return the ids of the first and last place for a print between some times, shape ``(n, 2)``."""
    row, _, slots = tape.traded(s, start - 1)
    first = [tape.trade_id(r, k) for r, k in zip(row.tolist(), slots.tolist(), strict=True)]
    row, _, slots = tape.traded(s, stop)
    last = [tape.trade_id(r, k) - 1 for r, k in zip(row.tolist(), slots.tolist(), strict=True)]
    return np.column_stack([first, np.maximum(last, first)])


def rolling(tape: Tape, s: int, now_us: int, length_us: int) -> Candle | None:
    """Return the last so many microseconds up to now as one candle; None without a price in them."""
    bounds = np.array([now_us - length_us + 1, now_us + 1], dtype=np.int64)
    found = candles(tape, s, bounds, now_us)
    return found[0] if found else None
