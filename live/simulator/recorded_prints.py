"""One symbol's recorded prints and mark prices, looked up by time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from live.simulator.market import Stretches
from live.simulator.recorded_book import Grid
from live.simulator.recordings import SymbolRecording
from live.simulator.trades import Trade
from quantcore.data.instruments import step_values
from quantcore.types import BoolArray, FloatArray, IntArray

_MILLISECOND_US = 1000


@dataclass(frozen=True, kw_only=True)
class Moves:
    """A price that moves at some times and stands between them.

    Parameters
    ----------
    time_us : int64 array, shape (n,)
        Microseconds since 1970, not falling.
    price : float64 array, shape (n,)
        From each time on, USDT per coin.
    """

    time_us: IntArray = field(repr=False)
    price: FloatArray = field(repr=False)

    def row(self, time_us: int) -> int:
        """Return the row of the last move at a time, that time included; -1 before the first."""
        return int(self.time_us.searchsorted(time_us, side="right")) - 1

    def at(self, time_us: int) -> float:
        """Return the price at a time; NaN before the first move."""
        row = self.row(time_us)
        return float(self.price[row]) if row >= 0 else math.nan

    def extent(self, from_us: int, to_us: int, stood: float) -> tuple[float, float, float, float]:
        """Return first, highest, lowest and last price over ``[from_us, to_us]``.

        Parameters
        ----------
        from_us, to_us : int
            Microseconds since 1970.
        stood : float
            The price at `from_us`; with NaN the first move after it is the first price.
        """
        moved = self.price[self.row(from_us) + 1 : self.row(to_us) + 1]
        if len(moved) == 0:
            return stood, stood, stood, stood
        high, low = float(moved.max()), float(moved.min())
        if math.isnan(stood):
            return float(moved[0]), high, low, float(moved[-1])
        return stood, max(high, stood), min(low, stood), float(moved[-1])


@dataclass(frozen=True, kw_only=True)
class Marks(Moves):
    """Mark prices with the funding that each announces.

    Parameters
    ----------
    rate : float64 array, shape (n,)
        Fraction of notional.
    next_us : int64 array, shape (n,)
        When it is settled, microseconds since 1970.
    """

    rate: FloatArray = field(repr=False)
    next_us: IntArray = field(repr=False)

    def settled(self, last_us: int) -> list[tuple[int, float, float]]:
        """Return time, rate and mark price of the settlements that were announced before they came, up to a time."""
        found = []
        for time_us in np.unique(self.next_us).tolist():
            row = int(self.time_us.searchsorted(time_us)) - 1
            if time_us <= last_us and row >= 0 and self.next_us[row] == time_us:
                found.append((time_us, float(self.rate[row]), float(self.price[row])))
        return found


@dataclass(frozen=True, kw_only=True)
class Prints(Moves):
    """What traded.

    Parameters
    ----------
    id, first_id, last_id : int64 array, shape (n,)
        Of the print, and of the first and last trade in it.
    ticks, lots : int64 array, shape (n,)
        Price and quantity.
    sold : bool array, shape (n,)
        Whether the taker sold.
    grid : Grid
        Of ticks and lots.
    aggregate : bool
        Whether they are aggregate trades, whose ids have no gaps.
    """

    id: IntArray = field(repr=False)
    first_id: IntArray = field(repr=False)
    last_id: IntArray = field(repr=False)
    ticks: IntArray = field(repr=False)
    lots: IntArray = field(repr=False)
    sold: BoolArray = field(repr=False)
    grid: Grid
    aggregate: bool

    @cached_property
    def gaps(self) -> IntArray:
        """Rows of the prints before which others are missing."""
        if not self.aggregate:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(np.diff(self.id) > 1) + 1

    @property
    def n_lost(self) -> int:
        """How many prints are missing between the first and the last."""
        return int((self.id[self.gaps] - self.id[self.gaps - 1] - 1).sum())

    @cached_property
    def _sums(self) -> IntArray:
        """Lots, ticks times lots, trades, and the former two of takers who bought, before each row, and in all."""
        bought = np.where(self.sold, 0, self.lots)
        trades = self.last_id - self.first_id + 1
        parts = (self.lots, self.ticks * self.lots, trades, bought, self.ticks * bought)
        sums = np.zeros((len(self.id) + 1, len(parts)), dtype=np.int64)
        np.cumsum(np.column_stack(parts), axis=0, out=sums[1:])
        return sums

    def trades(self, first: int, stop: int) -> list[Trade]:
        """Return the prints of some rows."""
        rows = slice(first, max(stop, first))
        columns = (
            self.id, self.time_us, self.price, self.lots, self.sold, self.first_id, self.last_id,
        )  # fmt: skip
        return [
            Trade._make(each)
            for each in zip(*(column[rows].tolist() for column in columns), strict=True)
        ]

    def stretches(self, start_us: IntArray, stop_us: IntArray) -> Stretches:
        """Return what traded over ``[start_us, stop_us]``, as `Tape.stretches`."""
        first = self.time_us.searchsorted(start_us)
        stop = self.time_us.searchsorted(stop_us, side="right")
        table = np.empty((len(first), 9))
        ids = np.empty((len(first), 2), dtype=np.int64)
        for k, (a, b) in enumerate(zip(first.tolist(), stop.tolist(), strict=True)):
            if a < b:
                inside = self.price[a:b]
                table[k, :4] = inside[0], inside.max(), inside.min(), inside[-1]
                ids[k] = self.first_id[a], self.last_id[b - 1]
            else:
                table[k, :4] = self.price[a - 1] if a else math.nan
                before = int(self.last_id[a - 1]) if a else 0
                ids[k] = before + 1, before
        flow = self._sums[stop] - self._sums[first]
        (tick, ticks_per), (step, steps_per) = self.grid
        coins, value = (step, steps_per), (tick * step, ticks_per * steps_per)
        for column, fraction in enumerate((coins, value, (1, 1), coins, value), start=4):
            table[:, column] = step_values(flow[:, column - 4], fraction)
        return Stretches(table, ids)


def prints_of(recorded: SymbolRecording, grid: Grid) -> Prints:
    """Return a symbol's prints: its aggregate trades, else its trades."""
    aggregate = "aggTrade" in recorded.events
    events = recorded.events.get("aggTrade", recorded.events.get("trade"))
    none = np.empty(0, dtype=np.int64)
    if events is None:
        return Prints(
            time_us=none, price=np.empty(0), id=none, first_id=none, last_id=none, ticks=none, lots=none,
            sold=np.empty(0, dtype=np.bool_), grid=grid, aggregate=aggregate,
        )  # fmt: skip
    of = events.columns
    first, last = ("f", "l") if aggregate else ("t", "t")
    ticks = grid.ticks(of["p"])
    return Prints(
        time_us=events.time_us, price=step_values(ticks, grid.tick), id=of["a" if aggregate else "t"],
        first_id=of[first], last_id=of[last], ticks=ticks, lots=grid.lots(of["q"]), sold=of["m"], grid=grid,
        aggregate=aggregate,
    )  # fmt: skip


def marks_of(recorded: SymbolRecording) -> Marks:
    """Return a symbol's mark prices; none where none were recorded."""
    events = recorded.events.get("markPriceUpdate")
    none = np.empty(0, dtype=np.int64)
    if events is None:
        return Marks(time_us=none, price=np.empty(0), rate=np.empty(0), next_us=none)
    of = events.columns
    return Marks(
        time_us=events.time_us, price=of["p"], rate=of["r"], next_us=of["T"] * _MILLISECOND_US
    )
