"""The prices of a moment as one row of bars, and the spread that the router sees around them (both pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from live.feed.quotes import Quote
from live.folds import MOMENT
from quantcore.data.instruments import Instrument
from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars, no_settlements
from quantcore.types import FloatArray

_SECOND_US = 1_000_000


def moment(
    quotes: Mapping[str, Quote], symbols: Sequence[str], now_us: int, last: Bars | None
) -> Bars:
    """Return the prices of now as a row: the middle of the book, or the last price where there is no book.

    Parameters
    ----------
    quotes : mapping of str to Quote
        The newest of each symbol.
    symbols : sequence of str
        Sorted.
    now_us : int
        The exchange's time; the row has that of the full second before it.
    last : Bars or None
        The last closed row: its volumes are those of the row, its closes and marks hold where no quote is known.
    """
    prices, marks = np.empty((1, len(symbols))), np.empty((1, len(symbols)))
    volumes = np.full((1, len(symbols)), math.nan)
    for s, symbol in enumerate(symbols):
        quote = quotes[symbol]
        middle = 0.5 * (quote.bid + quote.ask)
        prices[0, s] = _first(middle, quote.last, _last(last, "close", s))
        marks[0, s] = _first(quote.mark, _last(last, "mark_price", s))
    if last is not None and last.has("volume"):
        volumes = last.array("volume")[-1:]
    return Bars(
        interval=MOMENT,
        ts_us=np.array([now_us // _SECOND_US * _SECOND_US], dtype=np.int64),
        symbols=tuple(symbols),
        fields={
            **dict.fromkeys(PRICE_FIELDS, prices),
            **dict.fromkeys(MARK_FIELDS, marks),
            "volume": volumes,
        },
        settlements=no_settlements(),
    )


def half_spreads(
    quotes: Mapping[str, Quote], instruments: Sequence[Instrument], closes: FloatArray
) -> FloatArray:
    """Return half of the spread around some prices within which the book lies, fractions; NaN without a book.

    Around the middle of the book it is the book's own. A quarter of a tick less, so that rounding to ticks, which
    goes outwards, ends at the book's prices.

    Parameters
    ----------
    quotes : mapping of str to Quote
        The newest of each symbol.
    instruments : sequence of Instrument
        Of the symbols, in their order.
    closes : float64 array, shape (n_symbols,)
        The prices, USDT per coin.
    """
    found = np.full(len(instruments), math.nan)
    for s, instrument in enumerate(instruments):
        quote, close = quotes[instrument.symbol], float(closes[s])
        if quote.bid > 0.0 and quote.ask >= quote.bid and close > 0.0:
            away = max(close - quote.bid, quote.ask - close)
            found[s] = max(away - 0.25 * float(instrument.tick_size), 0.0) / close
    return found


def _first(*known: float) -> float:
    """Return the first of some prices that is one."""
    return next((price for price in known if price > 0.0), math.nan)


def _last(last: Bars | None, name: str, s: int) -> float:
    return math.nan if last is None or not last.has(name) else float(last.array(name)[-1, s])
