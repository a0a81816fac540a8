"""Messages of the market streams as events of the feed; what is not understood is an error in one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import orjson

from quantcore.data.rest_rows import Candle
from quantcore.errors import SchemaMismatch
from quantcore.timegrid import interval_us

Route = Literal["public", "market"]
Channel = Literal["bookTicker", "markPrice", "kline"]

_MS_US = 1000
_USDT_MARGINED = 1


class KlineEvent(NamedTuple):
    """A bar as the stream tells it.

    Attributes
    ----------
    stream, symbol : str
        Whose.
    time_us : int
        Event time, microseconds since 1970.
    bar : Candle
        As it stands.
    closed : bool
        Whether it is final.
    """

    stream: str
    symbol: str
    time_us: int
    bar: Candle
    closed: bool


class MarkEvent(NamedTuple):
    """A mark price, USDT per coin, and when the symbol settles next, microseconds since 1970."""

    stream: str
    symbol: str
    time_us: int
    mark: float
    next_funding_us: int


class BookEvent(NamedTuple):
    """The touch, USDT per coin and coins, with the update id that orders it."""

    stream: str
    symbol: str
    time_us: int
    update_id: int
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float


Event = KlineEvent | MarkEvent | BookEvent


def stream_name(symbol: str, channel: Channel, interval: str) -> str:
    """Return a stream's name; mark prices are those of every second.

    Examples
    --------
    >>> stream_name("BTCUSDT", "kline", "1m"), stream_name("BTCUSDT", "markPrice", "1m")
    ('btcusdt@kline_1m', 'btcusdt@markPrice@1s')
    """
    behind = {"kline": f"kline_{interval}", "markPrice": "markPrice@1s", "bookTicker": "bookTicker"}
    return f"{symbol.lower()}@{behind[channel]}"


def route_of(channel: Channel) -> Route:
    """Return the routed path that carries a channel; an address without a route is mute (BINANCE.md)."""
    return "public" if channel == "bookTicker" else "market"


def read(text: str | bytes, interval: str) -> Event | None:
    """Return a message of a combined stream as an event.

    Parameters
    ----------
    text : str or bytes
        ``{"stream": name, "data": payload}``.
    interval : str
        Of the klines that were asked for.

    Returns
    -------
    event or None
        None for what is not of USDT-margined futures (``st``), and for answers to requests.

    Raises
    ------
    SchemaMismatch
        If it is anything else.
    """
    try:
        message = orjson.loads(text)
        if "stream" not in message and "result" in message:
            return None
        stream, data = message["stream"], message["data"]
        if data.get("st", _USDT_MARGINED) != _USDT_MARGINED:
            return None
        channel, reader = _EVENTS[data["e"]]
        event = reader(stream, data, interval)
        if stream != stream_name(event.symbol, channel, interval):
            raise ValueError("another stream")
        return event
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        told = text if isinstance(text, str) else text.decode(errors="replace")
        raise SchemaMismatch(
            f"a stream's message must be an event that was asked for, was {told!r:.200}"
        ) from error


def _kline(stream: str, data: dict[str, Any], interval: str) -> KlineEvent:
    k = data["k"]
    open_us, end_us = int(k["t"]) * _MS_US, (int(k["T"]) + 1) * _MS_US
    if k["i"] != interval or end_us - open_us != interval_us(interval):
        raise ValueError("another interval")
    bar = Candle(
        open_us,
        *(_positive(k[name]) for name in ("o", "h", "l", "c")),
        *(_amount(k[name]) for name in ("v", "q", "n", "V")),
    )
    if not isinstance(k["x"], bool):
        raise TypeError("x must be true or false")
    return KlineEvent(stream, str(data["s"]), _time_us(data), bar, k["x"])


def _mark_price(stream: str, data: dict[str, Any], interval: str) -> MarkEvent:
    mark = _positive(data["p"])
    return MarkEvent(stream, str(data["s"]), _time_us(data), mark, int(data["T"]) * _MS_US)


def _book_ticker(stream: str, data: dict[str, Any], interval: str) -> BookEvent:
    return BookEvent(
        stream,
        str(data["s"]),
        _time_us(data),
        int(data["u"]),
        _positive(data["b"]),
        _amount(data["B"]),
        _positive(data["a"]),
        _amount(data["A"]),
    )


def _time_us(data: dict[str, Any]) -> int:
    return int(data["E"]) * _MS_US


def _positive(text: str) -> float:
    price = float(text)
    if not (math.isfinite(price) and price > 0.0):
        raise ValueError("a price must be finite and > 0")
    return price


def _amount(text: str) -> float:
    amount = float(text)
    if not (math.isfinite(amount) and amount >= 0.0):
        raise ValueError("an amount must be finite and >= 0")
    return amount


_EVENTS: dict[str, tuple[Channel, Callable[[str, dict[str, Any], str], Event]]] = {
    "kline": ("kline", _kline),
    "markPriceUpdate": ("markPrice", _mark_price),
    "bookTicker": ("bookTicker", _book_ticker),
}
