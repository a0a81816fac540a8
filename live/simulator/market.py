"""The replayed market: everything that the exchange shows of it, as a function of the bars and of the time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from live.simulator import book as books
from live.simulator import trades as prints
from live.simulator.book import Book, Ladder
from live.simulator.noise import seed_of
from live.simulator.path import STEP_US, Extent, Knots, extent_within, price_at
from live.simulator.trades import Trade
from quantcore.backtest.engine import traded_instruments
from quantcore.data.instruments import Instrument, decimal_fraction, step_values
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars
from quantcore.timegrid import HOUR_US, MINUTE_US, interval_us
from quantcore.types import FloatArray, IntArray

FUNDING_RATE = 1e-4
"""The rate that is predicted where none has been settled: the exchange's interest of 8 hours."""

_MARK_TICK = (1.0, 1e8)
"""The exchange writes mark prices with eight decimals."""
_LAST, _MARK = False, True
_NONE = np.empty(0, dtype=np.int64)


class Ohlc(NamedTuple):
    """What the paths of last and mark prices did over a stretch of time, shape ``(n_symbols,)``; NaN without a bar."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    mark_open: FloatArray
    mark_high: FloatArray
    mark_low: FloatArray
    mark_close: FloatArray


@dataclass(frozen=True, kw_only=True)
class Tape:
    """A replayed market.

    It moves in steps of 100 ms (`path`), between which nothing changes but trades, whose prices are the step's.
    Before the first bar it stands at that bar's open, after the last one at its close.

    Parameters
    ----------
    bars : Bars
        With open, high, low and close, of whole minutes. Where marks are missing, last prices stand in.
    instruments : tuple of Instrument
        One per symbol of the bars, in their order.
    first_us : int or None
        Open of the first replayed bar; bars before it are history. None: the first of all.
    half_spread_bps : float
        From the price to the touch, in basis points, >= 0; at least one tick is kept.

    Raises
    ------
    ConfigError
        If there are no bars, or they are not of whole minutes, or the first replayed bar is not among them, or the
        instruments are not theirs.
    """

    bars: Bars = field(repr=False)
    instruments: tuple[Instrument, ...] = field(repr=False)
    first_us: int = -1
    half_spread_bps: float = 1.0

    def __post_init__(self) -> None:
        if self.bars.n_bars == 0:
            raise ConfigError("bars must be at least one, were 0")
        if self.bar_us % MINUTE_US:
            raise ConfigError(
                f"bars to replay must be of whole minutes, were of {self.bars.interval}"
            )
        if not (math.isfinite(self.half_spread_bps) and self.half_spread_bps >= 0.0):
            raise ConfigError(f"half_spread_bps must be >= 0, was {self.half_spread_bps}")
        named = tuple(i.symbol for i in self.instruments)
        if named != self.bars.symbols:
            raise ConfigError(f"instruments must be those of {self.bars.symbols}, were {named}")
        if self.first_us == -1:
            object.__setattr__(self, "first_us", self.history_us)
        late = self.first_us - self.history_us
        if late % self.bar_us or not 0 <= late < self.bars.n_bars * self.bar_us:
            raise ConfigError(f"first_us must be the open of a bar, was {self.first_us}")

    @cached_property
    def bar_us(self) -> int:
        """Length of a bar, microseconds."""
        return interval_us(self.bars.interval)

    @cached_property
    def history_us(self) -> int:
        """Open of the first bar, microseconds since 1970."""
        return int(self.bars.ts_us[0]) - self.bar_us

    @cached_property
    def end_us(self) -> int:
        """Close of the last bar, microseconds since 1970."""
        return int(self.bars.ts_us[-1])

    @property
    def symbols(self) -> tuple[str, ...]:
        """The bars' symbols."""
        return self.bars.symbols

    @cached_property
    def n_steps(self) -> int:
        """Steps of the path in a bar."""
        return self.bar_us // STEP_US

    @cached_property
    def n_seconds(self) -> int:
        """Seconds in a bar."""
        return self.bar_us // prints.SECOND_US

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Each symbol's key for what the bars do not say."""
        return tuple(seed_of(symbol) for symbol in self.symbols)

    @cached_property
    def tick(self) -> tuple[tuple[int, int], ...]:
        """Each symbol's tick as a fraction (`decimal_fraction`)."""
        return tuple(decimal_fraction(i.tick_size) for i in self.instruments)

    @cached_property
    def step_size(self) -> tuple[float, ...]:
        """Each symbol's quantity step, in coins."""
        return tuple(float(i.step_size) for i in self.instruments)

    @cached_property
    def _columns(self) -> IntArray:
        return np.arange(self.bars.n_symbols, dtype=np.int64)

    @cached_property
    def _ticks(self) -> tuple[FloatArray, FloatArray]:
        pairs = np.array(self.tick, dtype=np.float64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    @cached_property
    def _settled(self) -> tuple[IntArray, ...]:
        symbol = self.bars.settlements.symbol
        return tuple(np.flatnonzero(symbol == s) for s in range(self.bars.n_symbols))

    def row(self, now_us: int) -> int:
        """Return the row of the bar that contains a time (open <= now < close); the first or last one outside."""
        row = (now_us - self.history_us) // self.bar_us
        return min(max(row, 0), self.bars.n_bars - 1)

    def price(self, now_us: int) -> FloatArray:
        """Return the last price of each symbol, USDT per coin, shape ``(n_symbols,)``; NaN if there is none."""
        return self._price(now_us, self._columns, _LAST)

    def mark(self, now_us: int) -> FloatArray:
        """Return the mark price of each symbol, USDT per coin, shape ``(n_symbols,)``; NaN if there is none."""
        return self._price(now_us, self._columns, _MARK)

    def last(self, s: int, now_us: int) -> float:
        """Return the last price of one symbol, USDT per coin; NaN if there is none."""
        return float(self._price(now_us, self._columns[s : s + 1], _LAST)[0])

    def swept(self, from_us: int, to_us: int) -> Ohlc:
        """Return what the paths did over ``[from_us, to_us]``, both ends included.

        A symbol without a price at an end has NaN there as open or close; high and low are of the rest.
        """
        first, last = np.array([from_us]), np.array([to_us])
        sides = (self.extents(self._columns, first, last, mark=m) for m in (_LAST, _MARK))
        return Ohlc(*(part[0] for extent in sides for part in extent))

    def extents(
        self, columns: IntArray, from_us: IntArray, to_us: IntArray, *, mark: bool
    ) -> Extent:
        """Return the extent of the path of some symbols over some stretches of time.

        Parameters
        ----------
        columns : int64 array, shape (n_columns,)
            Symbols.
        from_us, to_us : int64 array, shape (n,)
            Microseconds since 1970, both included, ``from_us <= to_us``.
        mark : bool
            Whether of mark prices.

        Returns
        -------
        Extent
            Arrays of shape ``(n, n_columns)``.
        """
        row, step = self._place(from_us)
        last_row, last_step = self._place(to_us)
        tick = self._tick_of(columns, mark)
        whole = row != last_row
        end = np.where(whole, self.n_steps - 1, last_step)
        head = extent_within(self._knots(row, columns, mark), step, end, self.n_steps, tick=tick)
        if not whole.any():
            return head
        tail = extent_within(
            self._knots(last_row, columns, mark), step * 0, last_step, self.n_steps, tick=tick
        )
        high, low = self._between(row[:, 0] + 1, last_row[:, 0], columns, mark)
        high = np.fmax(np.fmax(head.high, tail.high), high)
        low = np.fmin(np.fmin(head.low, tail.low), low)
        return Extent(
            head.open,
            np.where(whole, high, head.high),
            np.where(whole, low, head.low),
            np.where(whole, tail.close, head.close),
        )

    def settlements(self, from_us: int, to_us: int) -> list[tuple[int, int, float, float]]:
        """Return the funding settlements in ``(from_us, to_us]``: time, symbol, rate, mark price or NaN."""
        known = self.bars.settlements
        start, stop = np.searchsorted(known.time_us, [from_us, to_us], side="right")
        return [
            (int(known.time_us[k]), int(known.symbol[k]), float(known.rate[k]), mark)
            for k, mark in enumerate(known.mark_price[start:stop].tolist(), start=int(start))
        ]

    def next_funding(self, s: int, now_us: int) -> tuple[int, float]:
        """Return when a symbol settles next, and the rate to expect: that of its last settlement.

        Where the bars hold no later settlement it is the next multiple of the symbol's regular interval.
        """
        known = self.bars.settlements
        own = self._settled[s]
        k = int(np.searchsorted(known.time_us[own], now_us, side="right"))
        rate = float(known.rate[own[k - 1]]) if k else FUNDING_RATE
        if k < len(own):
            return int(known.time_us[own[k]]), rate
        interval = self.instruments[s].funding_interval_hours * HOUR_US
        return (now_us // interval + 1) * interval, rate

    def book(self, s: int, now_us: int, levels: int) -> Book:
        """Return a symbol's book, at most `levels` (up to 1000) a side; the last price lies inside the touch."""
        bids, asks = self.ladders(s, now_us, levels)
        return Book(_pairs(bids), _pairs(asks), books.update_id(now_us))

    def ladders(self, s: int, now_us: int, levels: int) -> tuple[Ladder, Ladder]:
        """Return bids and asks of a symbol's book as arrays; empty where it has no price."""
        price = self.last(s, now_us)
        if math.isnan(price):
            return Ladder(_NONE, _NONE), Ladder(_NONE, _NONE)
        numerator, denominator = self.tick[s]
        in_ticks = price * denominator / numerator
        best = books.touch(in_ticks, self.half_spread_bps)
        step = now_us // STEP_US
        sides = []
        for side, ticks in zip((books.BID, books.ASK), best, strict=True):
            levels_at = books.level_ticks(ticks, in_ticks, min(levels, books.LEVELS_MAX), side)
            changed = books.changed_step(self.seeds[s], levels_at, step)
            mean = self._mean_lots(s, step_values(levels_at, self.tick[s]), changed * STEP_US)
            lots = books.level_lots(self.seeds[s], levels_at, changed, side, mean)
            sides.append(Ladder(levels_at, lots))
        return sides[0], sides[1]

    def trades(self, s: int, from_us: int, to_us: int) -> list[Trade]:
        """Return a symbol's prints in ``(from_us, to_us]``, oldest first."""
        first = max(from_us, self.history_us - 1)
        last = min(to_us, self.end_us - 1)
        if last <= first:
            return []
        second_us = prints.SECOND_US
        seconds = np.arange(
            (first - self.history_us) // second_us, (last - self.history_us) // second_us + 1
        )
        seconds = seconds[seconds >= 0]
        row, slot = np.divmod(seconds, self.n_seconds)
        closing = np.flatnonzero(slot == self.n_seconds - 1)
        row = np.insert(row, closing + 1, row[closing])
        slot = np.insert(slot, closing + 1, self.n_seconds)
        return [t for t in self._prints(s, row, slot) if first < t.time_us <= last]

    def trades_from(self, s: int, first_id: int, now_us: int, limit: int) -> list[Trade]:
        """Return at most `limit` prints from an id on that are known now, oldest first."""
        bar, slot = divmod(first_id - 1, self.n_seconds + 1)
        start = bar * self.bar_us + min(slot, self.n_seconds - 1) * prints.SECOND_US - 1
        found: list[Trade] = []
        at = max(start, self.history_us - 1)
        while at < now_us and len(found) < limit:
            until = min(at + limit * prints.SECOND_US, now_us)
            found += [t for t in self.trades(s, at, until) if t.id >= first_id]
            at = until
        return found[:limit]

    def last_trades(self, s: int, now_us: int, limit: int, *, back_us: int) -> list[Trade]:
        """Return the last prints known now, at most `limit` and none older than `back_us`, oldest first."""
        found: list[Trade] = []
        at = now_us
        oldest = max(now_us - back_us, self.history_us - 1)
        while at > oldest and len(found) < limit:
            start = max(at - limit * prints.SECOND_US, oldest)
            found = self.trades(s, start, at) + found
            at = start
        return found[-limit:]

    def bar_lots(self, s: int, rows: IntArray) -> IntArray:
        """Return the volume of some bars of a symbol in whole steps; 0 where it is not known."""
        if not self.bars.has("volume"):
            return np.zeros(np.shape(rows), dtype=np.int64)
        volume = np.nan_to_num(self.bars.array("volume")[rows, s])
        return np.asarray(np.rint(volume / self.step_size[s]), dtype=np.int64)

    def lots_until(self, s: int, times_us: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return how much of their bars has traded up to some times, those included.

        Returns
        -------
        row, lots, trades : int64 array, shape of the times
            The bar, and lots and slots for prints in it so far. At a bar's very open that is nothing, and at or after
            the end of the bars all of the last one.
        """
        times = np.asarray(times_us, dtype=np.int64)
        row = np.clip((times - self.history_us) // self.bar_us, 0, self.bars.n_bars - 1)
        inside = np.clip(times - self.history_us - row * self.bar_us, -1, self.bar_us)
        second = np.clip(inside // prints.SECOND_US, 0, self.n_seconds - 1)
        bar = row + self.history_us // self.bar_us
        seen = prints.slots(self.seeds[s], bar, second, self.n_seconds).time_us <= inside
        ends = prints.slots(self.seeds[s], bar, second * 0 + self.n_seconds, self.n_seconds)
        count = np.where(ends.time_us <= inside, self.n_seconds + 1, second + seen)
        lots = self.bar_lots(s, row)
        return row, prints.lots_before(self.seeds[s], bar, count, lots, self.n_seconds), count

    def trade_id(self, row: IntArray, slot: IntArray) -> IntArray:
        """Return the ids of the prints in some slots, which depend on the time alone."""
        bar = row + self.history_us // self.bar_us
        return np.asarray(bar * (self.n_seconds + 1) + slot + 1)

    def _prints(self, s: int, row: IntArray, slot: IntArray) -> list[Trade]:
        seed, bar = self.seeds[s], row + self.history_us // self.bar_us
        place = prints.slots(seed, bar, slot, self.n_seconds)
        total = self.bar_lots(s, row)
        before = prints.lots_before(seed, bar, slot, total, self.n_seconds)
        lots = prints.lots_before(seed, bar, slot + 1, total, self.n_seconds) - before
        column = self._columns[s : s + 1]
        tick = self._tick_of(column, _LAST)
        knots = self._knots(row[:, None], column, _LAST)
        price = price_at(knots, place.step[:, None], self.n_steps, tick=tick)[:, 0]
        sells = prints.taker_sells(seed, bar, slot, self._buy_share(s, row))
        keep = (lots > 0) & ~np.isnan(price)
        columns = (
            self.trade_id(row, slot),
            self.history_us + row * self.bar_us + place.time_us,
            price,
            lots,
            sells,
        )
        return [Trade(*t) for t in zip(*(c[keep].tolist() for c in columns), strict=True)]

    def _buy_share(self, s: int, rows: IntArray) -> FloatArray:
        half = np.full(len(rows), 0.5)
        if not (self.bars.has("volume") and self.bars.has("taker_buy_volume")):
            return half
        volume, bought = (self.bars.array(name)[rows, s] for name in ("volume", "taker_buy_volume"))
        known = (volume > 0.0) & ~np.isnan(bought)
        np.divide(bought, volume, out=half, where=known)
        return half

    def _mean_lots(self, s: int, prices: FloatArray, times_us: IntArray) -> FloatArray:
        """Return the mean size of levels that changed at some times, by the last bar that was closed then."""
        rows = (times_us - self.history_us) // self.bar_us - 1
        known = self.bar_lots(s, np.clip(rows, 0, self.bars.n_bars - 1))
        per_minute = np.where(rows >= 0, known, 0) * (MINUTE_US / self.bar_us)
        least = books.LEVEL_NOTIONAL_MIN / (prices * self.step_size[s])
        return np.asarray(np.maximum(per_minute * books.LEVEL_SHARE, least))

    def _price(self, now_us: int, columns: IntArray, mark: bool) -> FloatArray:
        row, step = self._place(np.array([now_us]))
        knots = self._knots(row, columns, mark)
        prices = price_at(knots, step, self.n_steps, tick=self._tick_of(columns, mark))
        return np.asarray(prices[0])

    def _place(self, times_us: IntArray) -> tuple[IntArray, IntArray]:
        """Return row and step within the bar of some times, shape ``(n, 1)``."""
        steps = (np.asarray(times_us, dtype=np.int64) - self.history_us) // STEP_US
        inside = np.clip(steps, 0, self.bars.n_bars * self.n_steps - 1)
        row, step = np.divmod(inside, self.n_steps)
        return row[:, None], step[:, None]

    def _tick_of(self, columns: IntArray, mark: bool) -> tuple[FloatArray, FloatArray]:
        if mark:
            return np.array([_MARK_TICK[0]]), np.array([_MARK_TICK[1]])
        return self._ticks[0][columns], self._ticks[1][columns]

    def _knots(self, rows: IntArray, columns: IntArray, mark: bool) -> Knots:
        """Return the four prices of some bars; of mark prices all four are last prices where one is missing."""
        last = [self.bars.array(name)[rows, columns] for name in PRICE_FIELDS]
        low_first = last[3] >= last[0]
        if not mark:
            return Knots(last[0], last[1], last[2], last[3], low_first)
        if not all(self.bars.has(name) for name in MARK_FIELDS):
            return Knots(last[0], last[1], last[2], last[3], low_first)
        marks = [self.bars.array(name)[rows, columns] for name in MARK_FIELDS]
        missing = np.isnan(marks[0] + marks[1] + marks[2] + marks[3])
        chosen = [np.where(missing, traded, m) for traded, m in zip(last, marks, strict=True)]
        alone = np.isnan(last[0] + last[3])
        low_first = np.where(alone, chosen[3] >= chosen[0], low_first)
        return Knots(chosen[0], chosen[1], chosen[2], chosen[3], low_first)

    def _between(
        self, start: IntArray, stop: IntArray, columns: IntArray, mark: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Return highest and lowest price of the whole bars in ``[start, stop)``, shape ``(n, n_columns)``."""
        shape = (len(start), len(columns))
        filled = stop > start
        if not filled.any():
            return np.full(shape, np.nan), np.full(shape, np.nan)
        first, last = int(start[filled].min()), int(stop[filled].max())
        knots = self._knots(np.arange(first, last)[:, None], columns, mark)
        nothing = np.full((1, len(columns)), np.nan)
        cuts = np.stack([start[filled] - first, stop[filled] - first], axis=1).ravel()
        result = []
        for values, extreme in ((knots.high, np.fmax), (knots.low, np.fmin)):
            over = extreme.reduceat(np.concatenate([values, nothing]), cuts, axis=0)[::2]
            whole = np.full(shape, np.nan)
            whole[filled] = over
            result.append(whole)
        return result[0], result[1]


def replay(data: MarketData, *, half_spread_bps: float = 1.0) -> Tape:
    """Return the market of a data source, whose clock starts at the first bar of the traded span.

    Raises
    ------
    ConfigError
        As `Tape`.
    """
    bars = data.bars
    length = interval_us(bars.interval)
    first = int(bars.ts_us[0]) - length if bars.n_bars else 0
    wanted = first if data.start_us is None else max(data.start_us, first)
    return Tape(
        bars=bars,
        instruments=traded_instruments(data),
        first_us=first - (first - wanted) // length * length,
        half_spread_bps=half_spread_bps,
    )


def _pairs(ladder: Ladder) -> tuple[tuple[int, int], ...]:
    return tuple(zip(ladder.ticks.tolist(), ladder.lots.tolist(), strict=True))
