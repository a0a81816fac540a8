"""What a symbol did over stretches of time, where the market is replayed from bars: candles off the bars' own grid."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numba import njit

from live.simulator.market import Stretches
from live.simulator.path import Extent, Prices
from live.simulator.trades import Flow
from live.simulator.wire import digits_of
from quantcore.data.instruments import Instrument
from quantcore.frames import Bars
from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray

_QUOTE_DIGITS = 8
_FLOW_FIELDS = ("volume", "quote_volume", "trades", "taker_buy_volume")
_NOT_KNOWN = np.empty((0, 0))
_NOT_KNOWN.flags.writeable = False


class Barred(Protocol):
    """What is asked of a market of bars; `BarTape` says more of each."""

    @property
    def bars(self) -> Bars:
        """The bars."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The rules of each symbol."""

    @property
    def prices(self) -> Prices:
        """The bars' prices."""

    @property
    def flows(self) -> tuple[Flow, ...]:
        """What is known of each symbol's volumes."""

    @property
    def history_us(self) -> int:
        """Open of the first bar."""

    @property
    def bar_us(self) -> int:
        """Length of a bar."""

    @property
    def n_seconds(self) -> int:
        """Seconds in a bar."""

    def extents(
        self, columns: IntArray, from_us: IntArray, to_us: IntArray, *, mark: bool
    ) -> Extent:
        """Return the extent of the path of some symbols over some stretches of time."""

    def traded(self, s: int, times_us: IntArray) -> IntArray:
        """Return what their bars have traded up to some times."""

    def trade_id(self, row: int, slot: int) -> int:
        """Return the id of the print in a slot of a bar."""


def stretches(
    tape: Barred, s: int, start_us: IntArray, stop_us: IntArray, *, mark: bool
) -> Stretches:
    """Return what a symbol did over ``[start_us, stop_us]``, as `Tape.stretches`."""
    extent = tape.extents(np.array([s]), start_us, stop_us, mark=mark)
    flow = np.zeros((len(start_us), 5)) if mark else _flows(tape, s, start_us, stop_us)
    table = np.column_stack([*(part[:, 0] for part in extent), flow])
    return Stretches(table, _ids(tape, s, start_us, stop_us))


def _flows(tape: Barred, s: int, start: IntArray, stop: IntArray) -> FloatArray:
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


def _share(tape: Barred, s: int, times_us: IntArray) -> tuple[IntArray, FloatArray]:
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


def _ids(tape: Barred, s: int, start: IntArray, stop: IntArray) -> IntArray:
    """Return the ids of the first and last place for a print between some times, shape ``(n, 2)``."""
    row, _, slots = tape.traded(s, start - 1)
    first = [tape.trade_id(r, k) for r, k in zip(row.tolist(), slots.tolist(), strict=True)]
    row, _, slots = tape.traded(s, stop)
    last = [tape.trade_id(r, k) - 1 for r, k in zip(row.tolist(), slots.tolist(), strict=True)]
    return np.column_stack([first, np.maximum(last, first)])
