"""Answers about the market that need no key, as functions of the market and of the time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from live.simulator import exchange_info
from live.simulator.candles import INTERVALS, Candle, candles, opens, rolling
from live.simulator.filters import integer_of, mandatory, symbol_of
from live.simulator.market import Tape
from live.simulator.quotes import MARK_DIGITS, RATE_DIGITS, Quotes, quotes
from live.simulator.trades import Trade
from live.simulator.wire import Refused, exact_text, milliseconds, text
from quantcore.data.instruments import Instrument
from quantcore.timegrid import DAY_US
from quantcore.types import IntArray

Params = Mapping[str, str]
Answer = Callable[[Tape, int, Params], Any]

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_MILLISECOND_US = 1_000
_QUOTE_DIGITS = 2
_TRADES_BACK_US = DAY_US


def answer(
    name: str,
    tape: Tape,
    now_us: int,
    params: Params,
    *,
    instruments: Sequence[Instrument] | None = None,
) -> Any:
    """Answer a request about the market; nothing that it says comes from after now.

    Parameters
    ----------
    name : str
        Method and route, such as ``"GET /fapi/v1/depth"``; one of `PUBLIC`.
    tape : Tape
        The market.
    now_us : int
        Microseconds since 1970.
    params : mapping of str to str
        As the client sent them.
    instruments : sequence of Instrument, optional
        The rules that hold now, where they are not the market's own any more.

    Returns
    -------
    object
        What is sent as JSON.

    Raises
    ------
    Refused
        -1102, -1120, -1121, -1130, -4021 or -4144 for a parameter that the exchange does not take.
    """
    if name == "GET /fapi/v1/exchangeInfo":
        return exchange_info.exchange_info(tape, now_us, instruments or tape.instruments)
    return PUBLIC[name](tape, now_us, params)


def _ping(_tape: Tape, _now_us: int, _params: Params) -> dict[str, Any]:
    return {}


def _time(_tape: Tape, now_us: int, _params: Params) -> dict[str, int]:
    return {"serverTime": milliseconds(now_us)}


def _exchange_info(tape: Tape, now_us: int, _params: Params) -> dict[str, Any]:
    return exchange_info.exchange_info(tape, now_us, tape.instruments)


def _depth(tape: Tape, now_us: int, params: Params) -> dict[str, Any]:
    s = symbol_of(params, tape.symbols)
    limit = _limit(params, 500, 10**9)
    if limit not in DEPTH_LIMITS:
        raise Refused(-4021, f"{limit} is not valid depth limit.")
    told = quotes(tape, s)
    bids, asks = told.book(now_us, limit)
    return {
        "lastUpdateId": told.snapshot_id(now_us),
        "E": milliseconds(now_us),
        "T": told.book_ms(now_us),
        "bids": bids,
        "asks": asks,
    }


def _trades(tape: Tape, now_us: int, params: Params) -> list[dict[str, Any]]:
    s = symbol_of(params, tape.symbols)
    limit = _limit(params, 500, 1000)
    found = tape.last_trades(s, now_us, limit, back_us=_TRADES_BACK_US)
    return [_printed(quotes(tape, s), t) for t in found]


def _historical_trades(tape: Tape, now_us: int, params: Params) -> list[dict[str, Any]]:
    s = symbol_of(params, tape.symbols)
    limit = _limit(params, 100, 500)
    first = integer_of(params, "fromId")
    if first is None:
        found = tape.last_trades(s, now_us, limit, back_us=_TRADES_BACK_US)
    else:
        found = tape.trades_from(s, first, now_us, limit)
    return [_printed(quotes(tape, s), t) for t in found]


def _aggregate_trades(tape: Tape, now_us: int, params: Params) -> list[dict[str, Any]]:
    s = symbol_of(params, tape.symbols)
    limit = _limit(params, 500, 1000)
    first = integer_of(params, "fromId")
    start, end = _span(params, now_us)
    if first is not None:
        found = tape.trades_from(s, first, now_us, limit)
    elif start is not None:
        found = tape.trades_after(s, start - 1, min(end, now_us), limit)
    else:
        found = tape.last_trades(s, min(end, now_us), limit, back_us=_TRADES_BACK_US)
    told = quotes(tape, s)
    return [
        {
            "a": t.id,
            "p": told.price(t.price),
            "q": told.lots(t.lots),
            "f": t.first_id,
            "l": t.last_id,
            "T": milliseconds(t.time_us),
            "m": t.buyer_is_maker,
        }
        for t in found
    ]


def _klines(tape: Tape, now_us: int, params: Params) -> list[list[Any]]:
    s = symbol_of(params, tape.symbols)
    told = quotes(tape, s)
    return [told.kline(c) for c in _candles(tape, s, now_us, params, mark=False)]


def _continuous_klines(tape: Tape, now_us: int, params: Params) -> list[list[Any]]:
    s = _pair_of(params, tape.symbols)
    if mandatory(params, "contractType") != "PERPETUAL":
        raise _not_valid("contractType")
    told = quotes(tape, s)
    return [told.kline(c) for c in _candles(tape, s, now_us, params, mark=False)]


def _mark_klines(tape: Tape, now_us: int, params: Params) -> list[list[Any]]:
    s = symbol_of(params, tape.symbols)
    return [_without_flow(c) for c in _candles(tape, s, now_us, params, mark=True)]


def _index_klines(tape: Tape, now_us: int, params: Params) -> list[list[Any]]:
    s = _pair_of(params, tape.symbols)
    return [_without_flow(c) for c in _candles(tape, s, now_us, params, mark=True)]


def _premium_klines(tape: Tape, now_us: int, params: Params) -> list[list[Any]]:
    s = symbol_of(params, tape.symbols)
    marks = {c.open_us: c for c in _candles(tape, s, now_us, params, mark=True)}
    rows = []
    for last in _candles(tape, s, now_us, params, mark=False):
        mark = marks[last.open_us]
        premiums = [a / b - 1.0 for a, b in zip(last[2:6], mark[2:6], strict=True)]
        rows.append(
            _without_flow(
                mark._replace(
                    open=premiums[0], high=max(premiums), low=min(premiums), close=premiums[3]
                ),
                rounded=True,
            )
        )
    return rows


def _premium_index(tape: Tape, now_us: int, params: Params) -> Any:
    def entry(s: int) -> dict[str, Any]:
        mark = exact_text(tape.last_mark(s, now_us), MARK_DIGITS)
        time_us, rate = tape.next_funding(s, now_us)
        return {
            "symbol": tape.symbols[s],
            "markPrice": mark,
            "indexPrice": mark,
            "estimatedSettlePrice": mark,
            "lastFundingRate": exact_text(rate, RATE_DIGITS),
            "interestRate": "0.00010000",
            "nextFundingTime": milliseconds(time_us),
            "time": milliseconds(now_us),
        }

    return _one_or_all(tape, now_us, params, entry)


def _funding_rate(tape: Tape, now_us: int, params: Params) -> list[dict[str, Any]]:
    wanted = symbol_of(params, tape.symbols) if params.get("symbol") else None
    limit = _limit(params, 100, 1000)
    start, end = _span(params, now_us)
    found = [
        settled
        for settled in tape.settlements(-1 if start is None else start - 1, min(end, now_us))
        if wanted in (None, settled[1])
    ]
    chosen = found[-limit:] if start is None else found[:limit]
    return [
        {
            "symbol": tape.symbols[s],
            "fundingTime": milliseconds(time_us),
            "fundingRate": exact_text(rate, RATE_DIGITS),
            "markPrice": _known_text(tape.last_mark(s, time_us) if math.isnan(mark) else mark),
        }
        for time_us, s, rate, mark in chosen
    ]


def _known_text(mark: float) -> str:
    """Return a mark price as text, empty where there is none, as in the exchange's old records."""
    return "" if math.isnan(mark) else exact_text(mark, MARK_DIGITS)


def _funding_info(tape: Tape, _now_us: int, _params: Params) -> list[dict[str, Any]]:
    return [
        {
            "symbol": instrument.symbol,
            "adjustedFundingRateCap": "0.02000000",
            "adjustedFundingRateFloor": "-0.02000000",
            "fundingIntervalHours": instrument.funding_interval_hours,
            "disclaimer": False,
        }
        for instrument in tape.instruments
    ]


def _price(tape: Tape, now_us: int, params: Params) -> Any:
    def entry(s: int) -> dict[str, Any]:
        told = quotes(tape, s)
        return {
            "symbol": tape.symbols[s],
            "price": told.price(tape.last(s, now_us)),
            "time": told.book_ms(now_us),
        }

    return _one_or_all(tape, now_us, params, entry)


def _book_ticker(tape: Tape, now_us: int, params: Params) -> Any:
    def entry(s: int) -> dict[str, Any]:
        told = quotes(tape, s)
        ((bid, bid_qty),), ((ask, ask_qty),) = told.book(now_us, 1)
        return {
            "symbol": tape.symbols[s],
            "bidPrice": bid,
            "bidQty": bid_qty,
            "askPrice": ask,
            "askQty": ask_qty,
            "time": told.book_ms(now_us),
            "lastUpdateId": told.snapshot_id(now_us),
        }

    return _one_or_all(tape, now_us, params, entry)


def _day_ticker(tape: Tape, now_us: int, params: Params) -> Any:
    def entry(s: int) -> dict[str, Any]:
        day = rolling(tape, s, now_us, DAY_US)
        if day is None:
            raise Refused(-1121, "Invalid symbol.")
        return quotes(tape, s).day_ticker(day, now_us)

    return _one_or_all(tape, now_us, params, entry)


def _open_interest(tape: Tape, now_us: int, params: Params) -> dict[str, Any]:
    s = symbol_of(params, tape.symbols)
    return {
        "openInterest": quotes(tape, s).qty(tape.open_interest(s, now_us)),
        "symbol": tape.symbols[s],
        "time": milliseconds(now_us),
    }


def _printed(told: Quotes, trade: Trade) -> dict[str, Any]:
    qty = told.lots(trade.lots)
    return {
        "id": trade.id,
        "price": told.price(trade.price),
        "qty": qty,
        "quoteQty": text(trade.price * float(qty), _QUOTE_DIGITS),
        "time": milliseconds(trade.time_us),
        "isBuyerMaker": trade.buyer_is_maker,
    }


def _without_flow(candle: Candle, *, rounded: bool = False) -> list[Any]:
    write = text if rounded else exact_text
    return [
        milliseconds(candle.open_us),
        *(write(price, MARK_DIGITS) for price in candle[2:6]),
        "0",
        milliseconds(candle.end_us) - 1,
        "0",
        candle.trades,
        "0",
        "0",
        "0",
    ]


def _candles(tape: Tape, s: int, now_us: int, params: Params, *, mark: bool) -> list[Candle]:
    interval = mandatory(params, "interval")
    if interval not in INTERVALS:
        raise Refused(-1120, "Invalid interval.")
    limit = _limit(params, 500, 1500)
    start, end = _span(params, now_us)
    bounds = opens(interval, tape.history_us, min(now_us, tape.end_us - 1))
    first = 0 if start is None else int(np.searchsorted(bounds, start))
    stop = min(int(np.searchsorted(bounds, end, side="right")), len(bounds) - 1)
    found: list[Candle] = []
    window = limit
    while len(found) < limit and first < stop:  # where a symbol has no price there is no candle
        begin, until = max(first, stop - window), min(stop, first + window)
        if start is None:
            found = _priced(tape, s, bounds[begin : stop + 1], now_us, mark) + found
            stop = begin
        else:
            found += _priced(tape, s, bounds[first : until + 1], now_us, mark)
            first = until
        window *= 2
    return found[-limit:] if start is None else found[:limit]


def _priced(tape: Tape, s: int, bounds: IntArray, now_us: int, mark: bool) -> list[Candle]:
    """Return the candles that have a price of their own: where last prices stand in for marks they have none."""
    found = candles(tape, s, bounds, now_us, mark=mark)
    return [c for c in found if tape.is_marked(s, c.open_us, c.end_us)] if mark else found


def _one_or_all(
    tape: Tape, now_us: int, params: Params, entry: Callable[[int], dict[str, Any]]
) -> Any:
    """Return one symbol's entry, or without a symbol a list of those that have a price."""
    price = tape.price(now_us)
    if not params.get("symbol"):
        return [entry(s) for s in range(len(tape.symbols)) if not math.isnan(price[s])]
    s = symbol_of(params, tape.symbols)
    if math.isnan(price[s]):
        raise Refused(-1121, "Invalid symbol.")
    return entry(s)


def _pair_of(params: Params, symbols: Sequence[str]) -> int:
    name = mandatory(params, "pair")
    if name not in symbols:
        raise Refused(-4144, "Invalid pair")
    return symbols.index(name)


def _limit(params: Params, default: int, largest: int) -> int:
    limit = integer_of(params, "limit")
    if limit is None:
        return default
    if not 1 <= limit <= largest:
        raise _not_valid("limit")
    return limit


def _span(params: Params, now_us: int) -> tuple[int | None, int]:
    """Return start and end in microseconds, the latter now where it was not sent."""
    start, end = (integer_of(params, name) for name in ("startTime", "endTime"))
    if start is not None and end is not None and start > end:
        raise Refused(-1023, "Start time is greater than end time.")
    start_us = None if start is None else start * _MILLISECOND_US
    return start_us, now_us if end is None else end * _MILLISECOND_US


def _not_valid(name: str) -> Refused:
    return Refused(-1130, f"Data sent for parameter '{name}' is not valid.")


PUBLIC: Mapping[str, Answer] = MappingProxyType(
    {
        "GET /api/v3/ping": _ping,
        "GET /api/v3/time": _time,
        "GET /fapi/v1/ping": _ping,
        "GET /fapi/v1/time": _time,
        "GET /fapi/v1/exchangeInfo": _exchange_info,
        "GET /fapi/v1/depth": _depth,
        "GET /fapi/v1/trades": _trades,
        "GET /fapi/v1/historicalTrades": _historical_trades,
        "GET /fapi/v1/aggTrades": _aggregate_trades,
        "GET /fapi/v1/klines": _klines,
        "GET /fapi/v1/continuousKlines": _continuous_klines,
        "GET /fapi/v1/markPriceKlines": _mark_klines,
        "GET /fapi/v1/indexPriceKlines": _index_klines,
        "GET /fapi/v1/premiumIndexKlines": _premium_klines,
        "GET /fapi/v1/premiumIndex": _premium_index,
        "GET /fapi/v1/fundingRate": _funding_rate,
        "GET /fapi/v1/fundingInfo": _funding_info,
        "GET /fapi/v1/ticker/price": _price,
        "GET /fapi/v2/ticker/price": _price,
        "GET /fapi/v1/ticker/bookTicker": _book_ticker,
        "GET /fapi/v1/ticker/24hr": _day_ticker,
        "GET /fapi/v1/openInterest": _open_interest,
    }
)
"""What can be asked, by method and route."""
