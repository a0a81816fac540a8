"""Rows of the exchange's public REST answers as numbers: prices as text become floats and are never rounded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from quantcore.data.schema import FLOW_COLUMNS, PRICE_COLUMNS, empty_table, long_table
from quantcore.errors import SchemaMismatch

_SECOND_US = 1_000_000
_MS_US = 1000


class Candle(NamedTuple):
    """A bar of last or mark prices; the flows of mark prices are what the exchange fills in, and mean nothing.

    Attributes
    ----------
    open_us : int
        Open time, microseconds since 1970.
    open, high, low, close : float
        USDT per coin.
    volume, quote_volume, trades, taker_buy_volume : float
        Coins, USDT, a count, coins.
    """

    open_us: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: float
    taker_buy_volume: float


class Settled(NamedTuple):
    """A funding settlement; the mark price is NaN where the exchange does not say it.

    Attributes
    ----------
    time_us : int
        Floored to the second, because stamps have up to 30 ms of jitter, microseconds since 1970.
    symbol : str
        Whose.
    rate : float
        Fraction of notional; longs pay when it is positive.
    mark_price : float
        USDT per coin.
    """

    time_us: int
    symbol: str
    rate: float
    mark_price: float


def candle(row: Sequence[Any]) -> Candle:
    """Return a row of ``klines`` or ``markPriceKlines``.

    Raises
    ------
    SchemaMismatch
        If it is no such row.
    """
    try:
        opened_ms, opened, high, low, close, volume, _, quote, trades, bought = row[:10]
        return Candle(
            int(opened_ms) * _MS_US,
            float(opened),
            float(high),
            float(low),
            float(close),
            float(volume),
            float(quote),
            float(trades),
            float(bought),
        )
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise SchemaMismatch(f"a kline must be a list of numbers, was {row!r:.200}") from error


def settled(row: Mapping[str, Any]) -> Settled:
    """Return a row of ``fundingRate``.

    Raises
    ------
    SchemaMismatch
        If it is no such row.
    """
    try:
        time_us = int(row["fundingTime"]) * _MS_US
        mark_price, rate = float(row.get("markPrice") or "nan"), float(row["fundingRate"])
        if not math.isfinite(rate):
            raise ValueError("a rate must be finite")
        return Settled(
            time_us - time_us % _SECOND_US,
            str(row["symbol"]),
            rate,
            mark_price if mark_price > 0.0 else float("nan"),
        )
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise SchemaMismatch(
            f"a settlement must have symbol, fundingTime and fundingRate, was {row!r:.200}"
        ) from error


def bar_table(kind: str, symbol: str, candles: Sequence[Candle], length_us: int) -> pa.Table:
    """Return bars as a long table of ``klines`` or ``mark``, stamped at their closes."""
    if not candles:
        return empty_table(kind)
    names = (*PRICE_COLUMNS, *FLOW_COLUMNS) if kind == "klines" else PRICE_COLUMNS
    stamps = np.array([bar.open_us + length_us for bar in candles], dtype=np.int64)
    values = {name: np.array([getattr(bar, name) for bar in candles]) for name in names}
    return long_table(kind, symbol, stamps, values)


def funding_table(symbol: str, settlements: Sequence[Settled]) -> pa.Table:
    """Return one symbol's settlements as a long table of ``funding``."""
    if not settlements:
        return empty_table("funding")
    stamps = np.array([one.time_us for one in settlements], dtype=np.int64)
    values = {
        "funding_rate": np.array([one.rate for one in settlements]),
        "mark_price": np.array([one.mark_price for one in settlements]),
    }
    return long_table("funding", symbol, stamps, values)
