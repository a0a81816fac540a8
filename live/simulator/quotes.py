"""How one symbol's prices, sizes, books, candles and tickers are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from live.simulator.book import update_id
from live.simulator.candles import Candle
from live.simulator.market import Tape
from live.simulator.path import STEP_US
from live.simulator.wire import digits_of, exact_text, lots_text, milliseconds, text
from quantcore.types import IntArray

MARK_DIGITS = 8
RATE_DIGITS = 8
_QUOTE_DIGITS = 2
_AVERAGE_DIGITS = 8
_PERCENT_DIGITS = 3
_INSIDE_STEP = 5

Levels = list[list[str]]


@dataclass(frozen=True, eq=False)
class Quotes:
    """One symbol of a market, in the exchange's texts."""

    tape: Tape
    s: int
    step_size: str
    price_digits: int
    qty_digits: int
    tick: float

    @property
    def symbol(self) -> str:
        """Its name."""
        return self.tape.symbols[self.s]

    def price(self, value: float) -> str:
        """Return a price with the tick's decimals, with more where it is off the tick."""
        return exact_text(value, self.price_digits)

    def qty(self, value: float) -> str:
        """Return coins with the step's decimals, with more where they are off the step."""
        return exact_text(value, self.qty_digits)

    def lots(self, lots: int) -> str:
        """Return whole steps as coins."""
        return lots_text(lots, self.step_size)

    def book(self, now_us: int, levels: int) -> tuple[Levels, Levels]:
        """Return bids and asks as pairs of price and size, best first."""
        bids, asks = self.tape.ladders(self.s, now_us, levels)
        return self.levels(bids), self.levels(asks)

    def touch(self, now_us: int) -> tuple[list[list[int]], list[list[int]]]:
        """Return the best bid and the best ask in ticks and lots, each in a list that is empty where there is none."""
        bids, asks = self.tape.ladders(self.s, now_us, 1)
        return bids.tolist(), asks.tolist()

    def levels(self, table: IntArray) -> Levels:
        """Return levels in ticks and lots as pairs of price and size."""
        price, size = f"%.{self.price_digits}f", f"%.{self.qty_digits}f"
        tick, step = self.tick, float(self.step_size)
        return [[price % (ticks * tick), size % (lots * step)] for ticks, lots in table.tolist()]

    def snapshot_id(self, now_us: int) -> int:
        """Return the update id of a snapshot: inside the step, so that the next difference of any speed spans it."""
        return update_id(now_us) + _INSIDE_STEP

    def book_ms(self, now_us: int) -> int:
        """Return when the book and the price changed last, milliseconds since 1970."""
        return milliseconds(now_us // STEP_US * STEP_US)

    def kline(self, candle: Candle) -> list[Any]:
        """Return a candle as the REST interface has it."""
        return [
            milliseconds(candle.open_us),
            *(self.price(p) for p in candle[2:6]),
            self.qty(candle.volume),
            milliseconds(candle.end_us) - 1,
            exact_text(candle.quote_volume, _QUOTE_DIGITS),
            candle.trades,
            self.qty(candle.taker_volume),
            exact_text(candle.taker_quote_volume, _QUOTE_DIGITS),
            "0",
        ]

    def kline_payload(self, candle: Candle, interval: str, *, closed: bool) -> dict[str, Any]:
        """Return a candle as the stream has it."""
        row = self.kline(candle)
        return {
            "t": row[0],
            "T": row[6],
            "s": self.symbol,
            "i": interval,
            "f": candle.first_id,
            "L": candle.last_id,
            "o": row[1],
            "c": row[4],
            "h": row[2],
            "l": row[3],
            "v": row[5],
            "n": row[8],
            "x": closed,
            "q": row[7],
            "V": row[9],
            "Q": row[10],
            "B": "0",
        }

    def day_ticker(self, day: Candle, now_us: int) -> dict[str, Any]:
        """Return the statistics of the last 24 hours as the REST interface has them."""
        change = day.close - day.open
        average = day.quote_volume / day.volume if day.volume > 0.0 else day.close
        last = self.tape.last_trades(self.s, now_us, 1, back_us=now_us - day.open_us)
        return {
            "symbol": self.symbol,
            "priceChange": text(change, self.price_digits),
            "priceChangePercent": text(100.0 * change / day.open, _PERCENT_DIGITS),
            "weightedAvgPrice": text(average, _AVERAGE_DIGITS),
            "lastPrice": self.price(day.close),
            "lastQty": self.lots(last[0].lots if last else 0),
            "openPrice": self.price(day.open),
            "highPrice": self.price(day.high),
            "lowPrice": self.price(day.low),
            "volume": self.qty(day.volume),
            "quoteVolume": exact_text(day.quote_volume, _QUOTE_DIGITS),
            "openTime": milliseconds(day.open_us),
            "closeTime": milliseconds(now_us),
            "firstId": day.first_id,
            "lastId": day.last_id,
            "count": day.last_id - day.first_id + 1,
        }


def quotes(tape: Tape, s: int) -> Quotes:
    """Return what writes one symbol's numbers."""
    instrument = tape.instruments[s]
    return Quotes(
        tape=tape,
        s=s,
        step_size=instrument.step_size,
        price_digits=digits_of(instrument.tick_size),
        qty_digits=digits_of(instrument.step_size),
        tick=float(instrument.tick_size),
    )
