"""The market that is replayed from bars: all that the exchange shows of it, as a function of them and of the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from live.simulator import book as books
from live.simulator import trades as prints
from live.simulator.bar_stretches import Volumes, stretched
from live.simulator.book import Book
from live.simulator.market import FUNDING_RATE, Ohlc, Stretches, settled
from live.simulator.noise import seed_of
from live.simulator.path import STEP_US, Prices, extents, last_at, prices_at
from live.simulator.trades import Flow, Trade
from live.simulator.wire import digits_of
from quantcore.backtest.engine import traded_instruments
from quantcore.data.instruments import Instrument, decimal_fraction
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars
from quantcore.timegrid import HOUR_US, MINUTE_US, interval_us
from quantcore.types import FloatArray, IntArray

_BOOKS_KEPT = 512


@dataclass(frozen=True, kw_only=True)
class BarTape:
    """A market replayed from bars.

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
    def candles_us(self) -> int:
        """From when on candles are known whole: the open of the first bar."""
        return self.history_us

    @property
    def fills_by_prints(self) -> bool:
        """False: what rests fills when the path trades through it."""
        return False

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
    def ticks(self) -> FloatArray:
        """Numerator and denominator of each symbol's tick, shape ``(n_symbols, 2)`` (`decimal_fraction`)."""
        return np.array([decimal_fraction(i.tick_size) for i in self.instruments], dtype=np.float64)

    @cached_property
    def step_size(self) -> tuple[float, ...]:
        """Each symbol's quantity step, in coins."""
        return tuple(float(i.step_size) for i in self.instruments)

    @cached_property
    def listed_us(self) -> tuple[int, ...]:
        """Open of each symbol's first bar with a close, microseconds since 1970; the end of all bars if it has none."""
        known = ~np.isnan(self.bars.array("close"))
        first = np.where(known.any(axis=0), known.argmax(axis=0), self.bars.n_bars)
        return tuple((self.history_us + first * self.bar_us).tolist())

    @cached_property
    def flows(self) -> tuple[Flow, ...]:
        """What is known of each symbol's volumes."""
        return tuple(self._flow(s) for s in range(self.bars.n_symbols))

    @cached_property
    def _surroundings(self) -> tuple[books.Surroundings, ...]:
        return tuple(
            books.Surroundings(
                flow.seed,
                flow.lots,
                self.history_us // STEP_US,
                self.n_steps,
                decimal_fraction(instrument.tick_size),
                float(instrument.step_size),
            )
            for flow, instrument in zip(self.flows, self.instruments, strict=True)
        )

    @cached_property
    def prices(self) -> Prices:
        """The bars' prices, as the path takes them."""
        last = [self.bars.array(name) for name in PRICE_FIELDS]
        known = all(self.bars.has(name) for name in MARK_FIELDS)
        marks = [self.bars.array(name) for name in MARK_FIELDS] if known else last
        return Prices(*last, *marks)

    @cached_property
    def _volumes(self) -> Volumes:
        return Volumes(
            *(
                self.bars.array(name) if self.bars.has(name) else np.empty((0, 0))
                for name in Volumes._fields
            )
        )

    @cached_property
    def _marked(self) -> IntArray | None:
        """Count of bars with a mark before a row, shape ``(n_bars + 1, n_symbols)``; None where the market has none."""
        if not all(self.bars.has(name) for name in MARK_FIELDS):
            return None
        known = ~np.isnan(self.bars.array("mark_price"))
        return np.concatenate([np.zeros((1, len(self.symbols)), np.int64), known.cumsum(axis=0)])

    @cached_property
    def _columns(self) -> IntArray:
        return np.arange(self.bars.n_symbols, dtype=np.int64)

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
        row, step = divmod(self._step(now_us), self.n_steps)
        return prices_at(self.prices, row, step, self.n_steps, self.ticks, False)

    def mark(self, now_us: int) -> FloatArray:
        """Return the mark price of each symbol, USDT per coin, shape ``(n_symbols,)``; NaN if there is none."""
        row, step = divmod(self._step(now_us), self.n_steps)
        return prices_at(self.prices, row, step, self.n_steps, self.ticks, True)

    def last(self, s: int, now_us: int) -> float:
        """Return the last price of one symbol, USDT per coin; NaN if there is none."""
        row, step = divmod(self._step(now_us), self.n_steps)
        return last_at(self.prices, s, False, row, step, self.n_steps, self.ticks)

    def last_mark(self, s: int, now_us: int) -> float:
        """Return the mark price of one symbol, USDT per coin; NaN if there is none."""
        row, step = divmod(self._step(now_us), self.n_steps)
        return last_at(self.prices, s, True, row, step, self.n_steps, self.ticks)

    def swept(self, from_us: int, to_us: int) -> Ohlc:
        """Return what the paths did over ``[from_us, to_us]``, both ends included.

        Where a symbol has no price at one of the ends, its open is the first there is, its close the last.
        """
        first, last = np.array([self._step(from_us)]), np.array([self._step(to_us)])
        rest = first, last, self.n_steps, self.ticks
        traded = extents(self.prices, self._columns, False, *rest)
        marks = extents(self.prices, self._columns, True, *rest)
        return Ohlc(*traded[:, 0], *marks[:, 0])

    def stretches(self, s: int, start_us: IntArray, stop_us: IntArray, *, mark: bool) -> Stretches:
        """Return what one symbol did over ``[start_us, stop_us]`` within the bars, arrays of shape ``(n,)``."""
        start, stop = start_us - self.history_us, stop_us - self.history_us
        digits = digits_of(self.instruments[s].step_size)
        return Stretches(
            *stretched(
                self.prices, self._volumes, self.flows[s], s, self.n_steps, self.ticks, digits, start, stop, mark
            )
        )  # fmt: skip

    def is_marked(self, s: int, from_us: int, to_us: int) -> bool:
        """Return whether a bar in ``[from_us, to_us)`` has a mark of its own, or the market has none at all."""
        if self._marked is None:
            return True
        begin, end = self.row(from_us), self.row(to_us - 1) + 1
        return bool(self._marked[end, s] > self._marked[begin, s])

    def settlements(self, from_us: int, to_us: int) -> list[tuple[int, int, float, float]]:
        """Return the funding settlements in ``(from_us, to_us]``: time, symbol, rate, mark price or NaN."""
        return settled(self.bars, from_us, to_us)

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
        return books.book_of(*self.ladders(s, now_us, levels), now_us)

    def ladders(self, s: int, now_us: int, levels: int) -> tuple[IntArray, IntArray]:
        """Return bids and asks of a symbol's book as read-only arrays of `book.ladder`; empty where it has no price."""
        return self._ladders_at(s, now_us // STEP_US, min(levels, books.LEVELS_MAX))

    @cached_property
    def _ladders_at(self) -> Callable[[int, int, int], tuple[IntArray, IntArray]]:
        """The books that were asked for last, since streams compare each with the one before."""
        return lru_cache(maxsize=_BOOKS_KEPT)(self._ladders)

    def _ladders(self, s: int, step: int, levels: int) -> tuple[IntArray, IntArray]:
        price = self.last(s, step * STEP_US)
        if math.isnan(price):
            return books.no_levels(), books.no_levels()
        sides = books.around(self._surroundings[s], price, self.half_spread_bps, step, levels)
        for side in sides:
            side.flags.writeable = False
        return sides

    def trades(self, s: int, from_us: int, to_us: int) -> list[Trade]:
        """Return a symbol's prints in ``(from_us, to_us]``, oldest first."""
        start = self.history_us
        first, last = max(from_us - start, -1), to_us - start
        whole, price = prints.prints(self.flows[s], self.prices, s, self.ticks, first, last)
        return [
            Trade(slot + 1, start + time_us, paid, lots, sold == 1, slot + 1, slot + 1)
            for (slot, time_us, lots, sold), paid in zip(
                whole.tolist(), price.tolist(), strict=True
            )
        ]

    def trades_after(self, s: int, from_us: int, to_us: int, limit: int) -> list[Trade]:
        """Return the first prints in ``(from_us, to_us]``, at most `limit`, oldest first."""
        found: list[Trade] = []
        at, last = max(from_us, self.history_us - 1), min(to_us, self.end_us - 1)
        window = limit * prints.SECOND_US
        while at < last and len(found) < limit:
            until = min(at + window, last)
            found += self.trades(s, at, until)
            at, window = until, 2 * window
        return found[:limit]

    def trades_from(self, s: int, first_id: int, now_us: int, limit: int) -> list[Trade]:
        """Return at most `limit` prints from an id on that are known now, oldest first."""
        bar, slot = divmod(first_id - 1, self.n_seconds + 1)
        start = bar * self.bar_us + min(slot, self.n_seconds - 1) * prints.SECOND_US - 1
        found = self.trades_after(s, start, now_us, limit + 1)
        return [t for t in found if t.id >= first_id][:limit]

    def last_trades(self, s: int, now_us: int, limit: int, *, back_us: int) -> list[Trade]:
        """Return the last prints known now, at most `limit` and none older than `back_us`, oldest first."""
        found: list[Trade] = []
        at, oldest = min(now_us, self.end_us - 1), max(now_us - back_us, self.history_us - 1)
        window = limit * prints.SECOND_US
        while at > oldest and len(found) < limit:
            start = max(at - window, oldest)
            found = self.trades(s, start, at) + found
            at, window = start, 2 * window
        return found[-limit:]

    def open_interest(self, s: int, now_us: int) -> float:
        """Return the open interest of the last closed bar that has one, in coins; 0 where none is known."""
        if not self.bars.has("open_interest"):
            return 0.0
        n_closed = int(np.searchsorted(self.bars.ts_us, now_us, side="right"))
        known = self.bars.array("open_interest")[:n_closed, s]
        rows = np.flatnonzero(~np.isnan(known))
        return float(known[rows[-1]]) if len(rows) else 0.0

    def _step(self, now_us: int) -> int:
        """Return the steps since the open of the first bar, inside the bars."""
        step = (now_us - self.history_us) // STEP_US
        return min(max(step, 0), self.bars.n_bars * self.n_steps - 1)

    def _flow(self, s: int) -> Flow:
        n_bars = self.bars.n_bars
        lots = np.zeros(n_bars, dtype=np.int64)
        share = np.full(n_bars, 0.5)
        if self.bars.has("volume"):
            volume = np.nan_to_num(self.bars.array("volume")[:, s])
            lots = np.rint(volume / self.step_size[s]).astype(np.int64)
            if self.bars.has("taker_buy_volume"):
                bought = self.bars.array("taker_buy_volume")[:, s]
                known = (volume > 0.0) & ~np.isnan(bought)
                np.divide(bought, volume, out=share, where=known)
        seed = seed_of(self.symbols[s])
        return Flow(seed, self.history_us // self.bar_us, self.n_seconds, lots, share)


def replay(
    data: MarketData,
    *,
    half_spread_bps: float = 1.0,
    instruments: tuple[Instrument, ...] | None = None,
) -> BarTape:
    """Return the market of a data source, whose clock starts at the first bar of the traded span.

    Without `instruments` the rules of its symbols are the committed ones (`traded_instruments`).

    Raises
    ------
    ConfigError
        As `BarTape`.
    """
    bars = data.bars
    length = interval_us(bars.interval)
    first = int(bars.ts_us[0]) - length if bars.n_bars else 0
    wanted = first if data.start_us is None else max(data.start_us, first)
    return BarTape(
        bars=bars,
        instruments=instruments or traded_instruments(data),
        first_us=first - (first - wanted) // length * length,
        half_spread_bps=half_spread_bps,
    )
