"""Messages of the market streams: what each is due to send over a stretch of time, as a function of the market.

A stream that repeats itself sends at whole multiples of its period. Over more than a few seconds at once, as when the
clock jumps from bar to bar, it sends its last message only; closing candles and trades are always sent, and differences
of the book then span what was left out, so that they still chain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from live.simulator.book import ASK, BID, LEVELS_MAX, difference, update_id
from live.simulator.candles import INTERVALS, candles, opens, rolling
from live.simulator.market import Tape
from live.simulator.path import STEP_US
from live.simulator.quotes import MARK_DIGITS, RATE_DIGITS, Quotes, quotes
from live.simulator.trades import Trade
from live.simulator.wire import exact_text, milliseconds
from quantcore.timegrid import DAY_US
from quantcore.types import IntArray

JUMP_US = 5_000_000
"""Beyond so long a stretch a stream that repeats itself sends its last message only."""

Payload = Any
Sender = Callable[[int, int], Iterator[Payload | None]]
"""Yields the payloads that are due in ``(from_us, to_us]``, in the order of their times; None while it is at work."""

_USDT_MARGINED = 1
_SECOND_US = 1_000_000
_KLINE_US = 250_000
_TICKERS_KEPT = 256
_DEPTH_US = 250_000

_CHANNEL = re.compile(
    r"(?P<kind>aggTrade|trade|markPrice|bookTicker|ticker|miniTicker|kline|depth|continuousKline)"
    r"(?P<levels>5|10|20)?(?:_(?P<interval>\w+))?(?:@(?P<speed>1s|3s|100ms|250ms|500ms))?"
)
_SPEEDS_US = {
    "1s": _SECOND_US,
    "3s": 3 * _SECOND_US,
    "100ms": 100_000,
    "250ms": 250_000,
    "500ms": 500_000,
}
_MARK_SPEEDS = (None, "1s", "3s")
_DEPTH_SPEEDS = (None, "100ms", "250ms", "500ms")
_PERPETUAL = "_perpetual"


class _Channel(NamedTuple):
    """What stands behind the ``@`` of a stream's name."""

    kind: str
    levels: str | None
    interval: str | None
    speed: str | None


def opened(tape: Tape, stream: str) -> Sender | None:
    """Return what sends a stream's messages, None if the market has no stream of this name.

    Parameters
    ----------
    tape : Tape
        The market.
    stream : str
        Name as the exchange has it, such as ``"btcusdt@depth5@100ms"``. Forced orders come from the venue.

    Returns
    -------
    callable or None
        Takes two times, microseconds since 1970, and yields the payloads that are due in ``(from_us, to_us]``: objects,
        of the streams ``…@arr`` lists of them, each with its event time ``E`` in milliseconds. Between the symbols of a
        list it yields None, so that others need not wait for the whole of it.
    """
    if stream.startswith("!"):
        return _of_all(stream, [quotes(tape, s) for s in range(len(tape.symbols))])
    name, _, rest = stream.partition("@")
    match = _CHANNEL.fullmatch(rest)
    if match is None or name != name.lower():
        return None
    channel = _Channel(**match.groupdict())
    perpetual = channel.kind == "continuousKline"
    if perpetual != name.endswith(_PERPETUAL):
        return None
    symbol = name.removesuffix(_PERPETUAL).upper()
    if symbol not in tape.symbols or not _is_whole(channel):
        return None
    return _of_symbol(channel, quotes(tape, tape.symbols.index(symbol)))


def _is_whole(channel: _Channel) -> bool:
    """Return whether a channel has the parts that its kind takes, and no others."""
    kind, levels, interval, speed = channel
    if kind in ("kline", "continuousKline"):
        return interval in INTERVALS and levels is None and speed is None
    if interval is not None:
        return False
    if kind == "depth":
        return speed in _DEPTH_SPEEDS
    return levels is None and speed in (_MARK_SPEEDS if kind == "markPrice" else (None,))


def _of_symbol(channel: _Channel, told: Quotes) -> Sender:
    kind, levels, interval, speed = channel
    if kind == "depth":
        period = _SPEEDS_US[speed] if speed else _DEPTH_US
        if levels is None:
            return partial(_differences, told, period)
        return partial(_repeated, period, partial(_partial_book, told, int(levels)))
    if kind == "markPrice":
        return partial(_repeated, _SPEEDS_US[speed or "3s"], partial(_mark_price, told))
    if interval is not None:
        return partial(_klines, told, interval, kind == "continuousKline")
    senders: dict[str, Sender] = {
        "aggTrade": partial(_trades, told, _aggregate_trade),
        "trade": partial(_trades, told, _trade),
        "bookTicker": partial(_book_tickers, told),
        "ticker": partial(_repeated, 2 * _SECOND_US, partial(_ticker, told)),
        "miniTicker": partial(_repeated, 2 * _SECOND_US, partial(_mini_ticker, told)),
    }
    return senders[kind]


def _of_all(stream: str, every: list[Quotes]) -> Sender | None:
    """Return the sender of a stream of all symbols at once."""
    if stream == "!bookTicker":
        return partial(_one_by_one, 5 * _SECOND_US, every)
    arrays: dict[str, tuple[int, Callable[[Quotes, int], Payload | None]]] = {
        "!markPrice@arr": (3 * _SECOND_US, _mark_price),
        "!markPrice@arr@1s": (_SECOND_US, _mark_price),
        "!ticker@arr": (_SECOND_US, _ticker),
        "!miniTicker@arr": (_SECOND_US, _mini_ticker),
    }
    if stream not in arrays:
        return None
    period_us, payload = arrays[stream]
    return partial(_everything, period_us, payload, every)


def _due(period_us: int, from_us: int, to_us: int) -> range:
    """Return the times at which a stream sends: multiples of its period, after a jump the last one."""
    first = from_us // period_us * period_us + period_us
    if to_us - from_us > JUMP_US:
        first = max(first, to_us // period_us * period_us)
    return range(first, to_us + 1, period_us)


def _repeated(
    period_us: int, payload: Callable[[int], Payload], from_us: int, to_us: int
) -> Iterator[Payload]:
    for time_us in _due(period_us, from_us, to_us):
        sent = payload(time_us)
        if sent:
            yield sent


def _everything(
    period_us: int,
    payload: Callable[[Quotes, int], Payload | None],
    every: list[Quotes],
    from_us: int,
    to_us: int,
) -> Iterator[Payload | None]:
    """Send lists of the payloads of all symbols that have a price."""
    for time_us in _due(period_us, from_us, to_us):
        found = []
        for told in every:
            sent = payload(told, time_us)
            if sent is not None:
                found.append(sent)
            yield None
        if found:
            yield found


def _one_by_one(
    period_us: int, every: list[Quotes], from_us: int, to_us: int
) -> Iterator[Payload | None]:
    for time_us in _due(period_us, from_us, to_us):
        for told in every:
            yield _book_ticker(told, time_us)


def _trades(
    told: Quotes, payload: Callable[..., Payload], from_us: int, to_us: int
) -> Iterator[Payload]:
    for trade in told.tape.trades(told.s, from_us, to_us):
        yield payload(told.symbol, trade, told.price(trade.price), told.lots(trade.lots))


def _aggregate_trade(symbol: str, trade: Trade, price: str, qty: str) -> Payload:
    time_ms = milliseconds(trade.time_us)
    return {
        "e": "aggTrade",
        "E": time_ms,
        "a": trade.id,
        "s": symbol,
        "p": price,
        "q": qty,
        "f": trade.first_id,
        "l": trade.last_id,
        "T": time_ms,
        "m": trade.buyer_is_maker,
        "st": _USDT_MARGINED,
    }


def _trade(symbol: str, trade: Trade, price: str, qty: str) -> Payload:
    time_ms = milliseconds(trade.time_us)
    return {
        "e": "trade",
        "E": time_ms,
        "T": time_ms,
        "s": symbol,
        "t": trade.id,
        "p": price,
        "q": qty,
        "X": "MARKET",
        "m": trade.buyer_is_maker,
        "st": _USDT_MARGINED,
    }


def _mark_price(told: Quotes, time_us: int) -> Payload | None:
    mark = told.tape.last_mark(told.s, time_us)
    if math.isnan(mark):
        return None
    written = exact_text(mark, MARK_DIGITS)
    next_us, rate = told.tape.next_funding(told.s, time_us)
    return {
        "e": "markPriceUpdate",
        "E": milliseconds(time_us),
        "s": told.symbol,
        "p": written,
        "i": written,
        "P": written,
        "r": exact_text(rate, RATE_DIGITS),
        "T": milliseconds(next_us),
        "st": _USDT_MARGINED,
    }


def _klines(
    told: Quotes, interval: str, perpetual: bool, from_us: int, to_us: int
) -> Iterator[Payload]:
    due = _due(_KLINE_US, from_us, to_us)
    if not due:  # no candle closes between two of its times
        return
    bounds = opens(interval, from_us, to_us)
    closing = {t for t in bounds.tolist() if from_us < t <= to_us}
    for time_us in sorted(closing | set(due)):
        spanned = opens(interval, time_us - 1, time_us - 1)
        for candle in candles(told.tape, told.s, spanned, time_us):
            payload = told.kline_payload(candle, interval, closed=time_us >= candle.end_us)
            yield _perpetual(payload, time_us) if perpetual else _kline(payload, time_us)


def _kline(candle: dict[str, Any], time_us: int) -> Payload:
    return {
        "e": "kline",
        "E": milliseconds(time_us),
        "s": candle["s"],
        "k": candle,
        "st": _USDT_MARGINED,
    }


def _perpetual(candle: dict[str, Any], time_us: int) -> Payload:
    return {
        "e": "continuous_kline",
        "E": milliseconds(time_us),
        "ps": candle["s"],
        "ct": "PERPETUAL",
        "k": {name: value for name, value in candle.items() if name != "s"},
        "st": _USDT_MARGINED,
    }


def _book_tickers(told: Quotes, from_us: int, to_us: int) -> Iterator[Payload]:
    """Send the touch in every step that changes it."""
    for time_us in _due(STEP_US, from_us, to_us):
        if told.touch(time_us) != told.touch(time_us - STEP_US):
            payload = _book_ticker(told, time_us)
            if payload is not None:
                yield payload


def _book_ticker(told: Quotes, time_us: int) -> Payload | None:
    bids, asks = told.book(time_us, 1)
    if not bids:
        return None
    return {
        "e": "bookTicker",
        "u": update_id(time_us),
        "s": told.symbol,
        "ps": told.symbol,
        "b": bids[0][0],
        "B": bids[0][1],
        "a": asks[0][0],
        "A": asks[0][1],
        "T": told.book_ms(time_us),
        "E": milliseconds(time_us),
        "st": _USDT_MARGINED,
    }


def _differences(told: Quotes, period_us: int, from_us: int, to_us: int) -> Iterator[Payload]:
    """Send what changed in the whole book since the time before, also when that is nothing.

    A snapshot may have been taken in any step since then, so a level that came and went between is sent as gone.
    """
    before_us = from_us // period_us * period_us
    for time_us in _due(period_us, from_us, to_us):
        seen_us = from_us if time_us - before_us > JUMP_US else time_us - 1
        after = told.tape.ladders(told.s, time_us, LEVELS_MAX)
        seen = [
            told.tape.ladders(told.s, at, LEVELS_MAX)
            for at in range(before_us // STEP_US * STEP_US, seen_us + 1, STEP_US)
        ]
        if any(len(bids) for bids, _ in [*seen, after]):
            bids = _changed([difference(bids, after[0], BID) for bids, _ in seen])
            asks = _changed([difference(asks, after[1], ASK) for _, asks in seen])
            yield _depth(told, time_us, before_us, told.levels(bids), told.levels(asks))
        before_us = time_us


def _changed(found: list[IntArray]) -> IntArray:
    """Return the levels of several differences to the same book, each once, by rising price."""
    every = np.concatenate(found)
    return every[np.unique(every[:, 0], return_index=True)[1]]


def _partial_book(told: Quotes, levels: int, time_us: int) -> Payload | None:
    bids, asks = told.book(time_us, levels)
    if not bids:
        return None
    return _depth(told, time_us, time_us - STEP_US, bids, asks)


def _depth(
    told: Quotes, time_us: int, before_us: int, bids: list[list[str]], asks: list[list[str]]
) -> Payload:
    return {
        "e": "depthUpdate",
        "E": milliseconds(time_us),
        "T": told.book_ms(time_us),
        "s": told.symbol,
        "ps": told.symbol,
        "U": update_id(before_us) + 1,
        "u": update_id(time_us),
        "pu": update_id(before_us),
        "b": bids,
        "a": asks,
        "st": _USDT_MARGINED,
    }


@lru_cache(maxsize=_TICKERS_KEPT)
def _ticker(told: Quotes, time_us: int) -> Payload | None:
    day = rolling(told.tape, told.s, time_us, DAY_US)
    if day is None:
        return None
    sent = told.day_ticker(day, time_us)
    return {
        "e": "24hrTicker",
        "E": milliseconds(time_us),
        "s": sent["symbol"],
        "p": sent["priceChange"],
        "P": sent["priceChangePercent"],
        "w": sent["weightedAvgPrice"],
        "c": sent["lastPrice"],
        "Q": sent["lastQty"],
        "o": sent["openPrice"],
        "h": sent["highPrice"],
        "l": sent["lowPrice"],
        "v": sent["volume"],
        "q": sent["quoteVolume"],
        "O": sent["openTime"],
        "C": sent["closeTime"],
        "F": sent["firstId"],
        "L": sent["lastId"],
        "n": sent["count"],
        "st": _USDT_MARGINED,
    }


def _mini_ticker(told: Quotes, time_us: int) -> Payload | None:
    full = _ticker(told, time_us)
    if full is None:
        return None
    kept = {name: full[name] for name in ("E", "s", "c", "o", "h", "l", "v", "q", "st")}
    return {"e": "24hrMiniTicker", **kept}
