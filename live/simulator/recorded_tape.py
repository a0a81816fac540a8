"""The market that is replayed from recorded streams: their prints, their book and their marks, at their own times.

Prints and mark prices come at their own milliseconds; the book is that of the last whole step of 100 ms, as the
exchange of this package shows books. After the last event the market stands still.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from live.simulator import book as books
from live.simulator.book import Book
from live.simulator.market import FUNDING_RATE, Ohlc, Stretches, settled
from live.simulator.noise import seed_of
from live.simulator.path import STEP_US
from live.simulator.recorded_bars import minute_bars
from live.simulator.recorded_symbol import RecordedSymbol, first_price, recorded_symbol
from live.simulator.recordings import Recording
from live.simulator.trades import Trade
from quantcore.data.instruments import Instrument, decimal_fraction
from quantcore.errors import ConfigError, DataGap
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, MINUTE_US, to_index
from quantcore.types import FloatArray, IntArray

_MILLISECOND_US = 1000


@dataclass(frozen=True, kw_only=True)
class RecordedTape:
    """A market replayed from a recording.

    Parameters
    ----------
    known : tuple of RecordedSymbol
        Sorted by symbol.
    history_us, last_us : int
        Times of the first and the last event, microseconds since 1970.
    first_us : int
        When the replay begins.
    half_spread_bps : float
        From the price to the touch where no book is known, basis points, >= 0.
    notes : tuple of str
        Sentences on what is missing.
    """

    known: tuple[RecordedSymbol, ...] = field(repr=False)
    history_us: int
    last_us: int
    first_us: int
    half_spread_bps: float
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.history_us <= self.first_us < self.end_us:
            first, last, start = to_index(np.array([self.history_us, self.last_us, self.first_us]))
            raise ConfigError(
                f"start must lie within the recording, from {first} to {last}, was {start}"
            )
        if not (math.isfinite(self.half_spread_bps) and self.half_spread_bps >= 0.0):
            raise ConfigError(f"half_spread_bps must be >= 0, was {self.half_spread_bps}")

    @property
    def end_us(self) -> int:
        """Just after the last event, microseconds since 1970."""
        return self.last_us + _MILLISECOND_US

    @property
    def candles_us(self) -> int:
        """The first whole minute: of the one in which the recording begins the beginning is not known."""
        return -(-self.history_us // MINUTE_US) * MINUTE_US

    @property
    def bar_us(self) -> int:
        """A minute."""
        return MINUTE_US

    @cached_property
    def instruments(self) -> tuple[Instrument, ...]:
        """The rules of each symbol."""
        return tuple(each.instrument for each in self.known)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(each.symbol for each in self.instruments)

    @property
    def listed_us(self) -> tuple[int, ...]:
        """The begin of the recording: nothing is known of any listing."""
        return (self.history_us,) * len(self.known)

    @property
    def fills_by_prints(self) -> bool:
        """True: what rests fills by what was traded."""
        return True

    @cached_property
    def bars(self) -> Bars:
        """Bars of the minutes that the recording touches; NaN in those of which it lacks a part."""
        return minute_bars(self.known, self.history_us, self.last_us)

    def row(self, now_us: int) -> int:
        """Return the row of the minute that contains a time; the first or last one outside."""
        row = (now_us - int(self.bars.ts_us[0])) // MINUTE_US + 1
        return min(max(row, 0), self.bars.n_bars - 1)

    def price(self, now_us: int) -> FloatArray:
        """Return the last price of each symbol, USDT per coin, shape ``(n_symbols,)``."""
        return np.array([each.last(now_us) for each in self.known])

    def mark(self, now_us: int) -> FloatArray:
        """Return the mark price of each symbol, USDT per coin, shape ``(n_symbols,)``."""
        return np.array([self.last_mark(s, now_us) for s in range(len(self.known))])

    def last(self, s: int, now_us: int) -> float:
        """Return the last price of one symbol, USDT per coin."""
        return self.known[s].last(now_us)

    def last_mark(self, s: int, now_us: int) -> float:
        """Return the mark price of one symbol, USDT per coin."""
        return self.known[s].mark(now_us)

    def swept(self, from_us: int, to_us: int) -> Ohlc:
        """Return what last and mark prices did over ``[from_us, to_us]``, both ends included."""
        columns = []
        for each in self.known:
            last = each.prints.extent(from_us, to_us, each.last(from_us))
            if len(each.marks.time_us) == 0:
                columns.append((*last, *last))
            else:
                columns.append((*last, *each.marks.extent(from_us, to_us, each.mark(from_us))))
        return Ohlc(*np.array(columns).T)

    def stretches(self, s: int, start_us: IntArray, stop_us: IntArray, *, mark: bool) -> Stretches:
        """Return what one symbol did over ``[start_us, stop_us]``, arrays of shape ``(n,)``.

        A stretch without prints stands at the last one before it; its last id is one below its first.
        """
        return self.known[s].stretches(start_us, stop_us, mark=mark)

    def is_marked(self, s: int, from_us: int, to_us: int) -> bool:
        """Return whether marks are known in ``[from_us, to_us)``: where none was recorded, prints stand in for them."""
        return True

    def settlements(self, from_us: int, to_us: int) -> list[tuple[int, int, float, float]]:
        """Return the funding settlements in ``(from_us, to_us]``: time, symbol, rate, mark price.

        One happens where the recorded marks have announced it before its time; its rate and mark are the last ones
        before it.
        """
        return settled(self.bars, from_us, to_us)

    def next_funding(self, s: int, now_us: int) -> tuple[int, float]:
        """Return when a symbol settles next, and the rate to expect, as the last mark price announces them.

        Where none does it is the next multiple of the symbol's regular interval, at the exchange's interest.
        """
        marks = self.known[s].marks
        row = marks.row(now_us)
        rate = float(marks.rate[row]) if row >= 0 else FUNDING_RATE
        if row >= 0 and marks.next_us[row] > now_us:
            return int(marks.next_us[row]), rate
        interval = self.instruments[s].funding_interval_hours * HOUR_US
        return (now_us // interval + 1) * interval, rate

    def book(self, s: int, now_us: int, levels: int) -> Book:
        """Return a symbol's book, at most `levels` (up to 1000) a side."""
        return books.book_of(*self.ladders(s, now_us, levels), now_us)

    def ladders(self, s: int, now_us: int, levels: int) -> tuple[IntArray, IntArray]:
        """Return bids and asks as arrays of price in ticks and size in lots, best first.

        They are the recorded ones at the last whole step of 100 ms. Where nothing is known of one of the sides, both
        are made up around the last price, as they are for bars.
        """
        most = min(levels, books.LEVELS_MAX)
        at_us = now_us // STEP_US * STEP_US
        bids, asks = self.known[s].book.sides(at_us)
        if len(bids) and len(asks):
            return bids[:most], asks[:most]
        price = self.last(s, at_us)
        return books.around(
            self._surroundings[s], price, self.half_spread_bps, at_us // STEP_US, most
        )

    @cached_property
    def _surroundings(self) -> tuple[books.Surroundings, ...]:
        first_step = (int(self.bars.ts_us[0]) - MINUTE_US) // STEP_US
        found = []
        for s, rules in enumerate(self.instruments):
            step = float(rules.step_size)
            lots = np.rint(np.nan_to_num(self.bars.array("volume")[:, s]) / step).astype(np.int64)
            tick = decimal_fraction(rules.tick_size)
            seed = seed_of(rules.symbol)
            found.append(
                books.Surroundings(seed, lots, first_step, MINUTE_US // STEP_US, tick, step)
            )
        return tuple(found)

    def trades(self, s: int, from_us: int, to_us: int) -> list[Trade]:
        """Return a symbol's prints in ``(from_us, to_us]``, oldest first."""
        prints = self.known[s].prints
        return prints.trades(prints.row(from_us) + 1, prints.row(to_us) + 1)

    def trades_after(self, s: int, from_us: int, to_us: int, limit: int) -> list[Trade]:
        """Return the first prints in ``(from_us, to_us]``, at most `limit`, oldest first."""
        prints = self.known[s].prints
        first = prints.row(from_us) + 1
        return prints.trades(first, min(prints.row(to_us) + 1, first + limit))

    def trades_from(self, s: int, first_id: int, now_us: int, limit: int) -> list[Trade]:
        """Return at most `limit` prints from an id on that are known now, oldest first."""
        prints = self.known[s].prints
        first = int(prints.id.searchsorted(first_id))
        return prints.trades(first, min(prints.row(now_us) + 1, first + limit))

    def last_trades(self, s: int, now_us: int, limit: int, *, back_us: int) -> list[Trade]:
        """Return the last prints known now, at most `limit` and none older than `back_us`, oldest first."""
        prints = self.known[s].prints
        stop = prints.row(now_us) + 1
        return prints.trades(max(prints.row(now_us - back_us) + 1, stop - limit), stop)

    def open_interest(self, s: int, now_us: int) -> float:
        """Return 0: no stream tells the open interest."""
        return 0.0


def recorded_tape(
    recording: Recording, *, start_us: int | None = None, half_spread_bps: float = 1.0
) -> RecordedTape:
    """Return the market of a recording; symbols without prints and touches have no price and are left out.

    Parameters
    ----------
    recording : Recording
        From `read_recording`.
    start_us : int or None
        When the replay begins, microseconds since 1970; None: with the first event.
    half_spread_bps : float
        As of `RecordedTape`.

    Raises
    ------
    ConfigError
        If the start lies outside the recording.
    DataGap
        If no symbol has a price, or its numbers or the chain of its book are broken (`recorded_rules`,
        `recorded_book`).
    """
    notes, without = [], []
    known = []
    for symbol, recorded in recording.symbols.items():
        price = first_price(recorded)
        if price is None:
            without.append(symbol)
            continue
        known.append(recorded_symbol(symbol, recorded, price))
        lost = known[-1].prints.n_lost
        if lost:
            notes.append(f"{symbol}: {lost} prints are missing by their ids")
    if not known:
        raise DataGap("a recording must hold prints or bookTicker of a symbol, held neither")
    if without:
        notes.append(f"left out, without prints and bookTicker: {', '.join(without)}")
    return RecordedTape(
        known=tuple(known),
        history_us=recording.start_us,
        last_us=recording.last_us,
        first_us=recording.start_us if start_us is None else start_us,
        half_spread_bps=half_spread_bps,
        notes=tuple(notes),
    )
