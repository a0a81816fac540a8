"""One symbol of a recording: its rules, prints, marks and book."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from live.simulator.market import Stretches
from live.simulator.recorded_book import Grid, RecordedBook, recorded_book
from live.simulator.recorded_prints import Marks, Prints, marks_of, prints_of
from live.simulator.recorded_rules import recorded_instrument
from live.simulator.recordings import SymbolRecording
from quantcore.data.instruments import Instrument, decimal_fraction
from quantcore.types import IntArray


@dataclass(frozen=True, kw_only=True)
class RecordedSymbol:
    """One symbol's recording, ready to be asked.

    Parameters
    ----------
    instrument : Instrument
        Its rules.
    prints : Prints
        What traded.
    marks : Marks
        Mark prices with the funding that they announce; none where none were recorded.
    book : RecordedBook
        What stood in the book.
    first_price : float
        The price before the first print: the middle of the first touch, else that print's own.
    """

    instrument: Instrument
    prints: Prints
    marks: Marks
    book: RecordedBook
    first_price: float

    def last(self, time_us: int) -> float:
        """Return the last price, USDT per coin."""
        row = self.prints.row(time_us)
        return float(self.prints.price[row]) if row >= 0 else self.first_price

    def mark(self, time_us: int) -> float:
        """Return the mark price, USDT per coin: before the first one that one, and without any the last price."""
        if len(self.marks.time_us) == 0:
            return self.last(time_us)
        return float(self.marks.price[max(self.marks.row(time_us), 0)])

    def stretches(self, start_us: IntArray, stop_us: IntArray, *, mark: bool) -> Stretches:
        """Return what happened over ``[start_us, stop_us]``, as `Tape.stretches`.

        A stretch without prints stands at the last one before it; its last id is one below its first.
        """
        if not mark:
            return self.prints.stretches(start_us, stop_us)
        moving = self.marks if len(self.marks.time_us) else self.prints
        table, ids = np.zeros((len(start_us), 9)), np.zeros((len(start_us), 2), dtype=np.int64)
        for k, (start, stop) in enumerate(zip(start_us.tolist(), stop_us.tolist(), strict=True)):
            table[k, :4] = moving.extent(start, stop, moving.at(start))
        return Stretches(table, ids)


def first_price(recorded: SymbolRecording) -> float | None:
    """Return the middle of the first touch, else the first print's price, USDT per coin; None without either."""
    touches = recorded.events.get("bookTicker")
    if touches is not None:
        return float((touches.columns["b"][0] + touches.columns["a"][0]) / 2.0)
    for kind in ("aggTrade", "trade"):
        if kind in recorded.events:
            return float(recorded.events[kind].columns["p"][0])
    return None


def recorded_symbol(symbol: str, recorded: SymbolRecording, price: float) -> RecordedSymbol:
    """Return one symbol of a recording, given its first price; errors as `recorded_tape`."""
    rules = recorded_instrument(symbol, recorded, price)
    grid = Grid(decimal_fraction(rules.tick_size), decimal_fraction(rules.step_size))
    numerator, denominator = grid.tick
    return RecordedSymbol(
        instrument=rules,
        prints=prints_of(recorded, grid),
        marks=marks_of(recorded),
        book=recorded_book(symbol, recorded, grid),
        first_price=int(grid.ticks(np.array([price]))[0]) * numerator / denominator,
    )
