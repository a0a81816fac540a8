"""The replayed market: what the exchange asks of it, whatever it is replayed from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from live.simulator.book import Book
from live.simulator.trades import Trade
from quantcore.data.instruments import Instrument
from quantcore.frames import Bars
from quantcore.types import FloatArray, IntArray

FUNDING_RATE = 1e-4
"""The rate that is predicted where none has been settled: the exchange's interest of 8 hours."""


class Ohlc(NamedTuple):
    """What the paths of last and mark prices did over a stretch, shape ``(n_symbols,)``; NaN without a price."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    mark_open: FloatArray
    mark_high: FloatArray
    mark_low: FloatArray
    mark_close: FloatArray


class Stretches(NamedTuple):
    """What one symbol did over each of several stretches of time.

    Attributes
    ----------
    table : float64 array, shape (n, 9)
        Open, high, low, close, volume, quote volume, trades, and volume and quote volume of takers who bought; the
        prices are NaN where there is none, of mark prices the rest is 0.
    ids : int64 array, shape (n, 2)
        Of the first and the last print in it.
    """

    table: FloatArray
    ids: IntArray


class Tape(Protocol):
    """A replayed market; times are microseconds since 1970, symbols are numbered in the order of `symbols`.

    All that it says of a time is known at that time. Books change at whole steps of 100 ms.
    """

    @property
    def bars(self) -> Bars:
        """Bars of the market, which lock-step is driven by."""

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The rules of each symbol."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Sorted."""

    @property
    def history_us(self) -> int:
        """When what is known begins."""

    @property
    def candles_us(self) -> int:
        """From when on candles are known whole."""

    @property
    def first_us(self) -> int:
        """When the replay begins."""

    @property
    def end_us(self) -> int:
        """When it ends; the market stands still from then on."""

    @property
    def bar_us(self) -> int:
        """Length of a bar."""

    @property
    def listed_us(self) -> tuple[int, ...]:
        """When each symbol is traded for the first time."""

    @property
    def fills_by_prints(self) -> bool:
        """Whether what rests fills by the prints' own quantities, and not by the path."""

    def row(self, now_us: int) -> int:
        """Return the row of the bar that contains a time (open <= now < close); the first or last one outside."""

    def price(self, now_us: int) -> FloatArray:
        """Return the last price of each symbol, USDT per coin, shape ``(n_symbols,)``; NaN if there is none."""

    def mark(self, now_us: int) -> FloatArray:
        """Return the mark price of each symbol, USDT per coin, shape ``(n_symbols,)``; NaN if there is none."""

    def last(self, s: int, now_us: int) -> float:
        """Return the last price of one symbol, USDT per coin; NaN if there is none."""

    def last_mark(self, s: int, now_us: int) -> float:
        """Return the mark price of one symbol, USDT per coin; NaN if there is none."""

    def swept(self, from_us: int, to_us: int) -> Ohlc:
        """Return what the paths did over ``[from_us, to_us]``, both ends included."""

    def stretches(self, s: int, start_us: IntArray, stop_us: IntArray, *, mark: bool) -> Stretches:
        """Return what one symbol did over ``[start_us, stop_us]``, arrays of shape ``(n,)``."""

    def is_marked(self, s: int, from_us: int, to_us: int) -> bool:
        """Return whether a symbol has marks of its own in ``[from_us, to_us)``, or the market has none at all."""

    def settlements(self, from_us: int, to_us: int) -> list[tuple[int, int, float, float]]:
        """Return the funding settlements in ``(from_us, to_us]``: time, symbol, rate, mark price or NaN."""

    def next_funding(self, s: int, now_us: int) -> tuple[int, float]:
        """Return when a symbol settles next, and the rate to expect."""

    def book(self, s: int, now_us: int, levels: int) -> Book:
        """Return a symbol's book, at most `levels` (up to 1000) a side."""

    def ladders(self, s: int, now_us: int, levels: int) -> tuple[IntArray, IntArray]:
        """Return bids and asks as arrays of price in ticks and size in lots, best first; empty without a price."""

    def trades(self, s: int, from_us: int, to_us: int) -> list[Trade]:
        """Return a symbol's prints in ``(from_us, to_us]``, oldest first."""

    def trades_after(self, s: int, from_us: int, to_us: int, limit: int) -> list[Trade]:
        """Return the first prints in ``(from_us, to_us]``, at most `limit`, oldest first."""

    def trades_from(self, s: int, first_id: int, now_us: int, limit: int) -> list[Trade]:
        """Return at most `limit` prints from an id on that are known now, oldest first."""

    def last_trades(self, s: int, now_us: int, limit: int, *, back_us: int) -> list[Trade]:
        """Return the last prints known now, at most `limit` and none older than `back_us`, oldest first."""

    def open_interest(self, s: int, now_us: int) -> float:
        """Return the open interest in coins; 0 where none is known."""


def settled(bars: Bars, from_us: int, to_us: int) -> list[tuple[int, int, float, float]]:
    """Return the funding settlements of bars in ``(from_us, to_us]``, as `Tape.settlements`."""
    known = bars.settlements
    start, stop = known.time_us.searchsorted([from_us, to_us], side="right")
    return [
        (
            int(known.time_us[k]),
            int(known.symbol[k]),
            float(known.rate[k]),
            float(known.mark_price[k]),
        )
        for k in range(start, stop)
    ]
