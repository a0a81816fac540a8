"""The exchange's description of itself: limits, assets, and the filters of each symbol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from live.simulator.market import Tape
from live.simulator.wire import digits_of, milliseconds, text
from quantcore.data.instruments import Instrument
from quantcore.timegrid import DAY_US, to_us

FOR_EVER_MS = 4_133_404_800_000
"""Delivery of a perpetual that is not delisted (2100-12-25)."""
ANNOUNCED_US = 7 * DAY_US
"""How long before its end a delisting is published."""
ORDERS_MAX = 200
PRICE_BAND = 0.05
"""Largest distance of a limit from the mark price, as a fraction (BINANCE.md)."""
_PRICE_MAX = "1000000000"
_QUOTE_ASSETS = ("USDT", "USDC")

ORDER_TYPES = (
    "LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET",
)  # fmt: skip
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD")


def exchange_info(tape: Tape, now_us: int, instruments: Sequence[Instrument]) -> dict[str, Any]:
    """Return the answer of ``exchangeInfo``.

    Parameters
    ----------
    tape : Tape
        The market, which knows when a symbol was listed.
    now_us : int
        Microseconds since 1970. A delisting is published `ANNOUNCED_US` before it, a listing when it happens.
    instruments : sequence of Instrument
        The rules that hold now, in the order of the tape's symbols.
    """
    return {
        "timezone": "UTC",
        "serverTime": milliseconds(now_us),
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, 2400),
            _rate_limit("ORDERS", "MINUTE", 1, 1200),
            _rate_limit("ORDERS", "SECOND", 10, 300),
        ],
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_symbol(tape, s, i, now_us) for s, i in enumerate(instruments)],
    }


def status(tape: Tape, s: int, instrument: Instrument, now_us: int) -> str:
    """Return whether a symbol is listed, not yet, or no more."""
    if instrument.ends is not None and to_us(instrument.ends) <= now_us:
        return "SETTLING"
    return "TRADING" if tape.listed_us[s] <= now_us else "PENDING_TRADING"


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _symbol(tape: Tape, s: int, instrument: Instrument, now_us: int) -> dict[str, Any]:
    state = status(tape, s, instrument, now_us)
    ends_us = None if instrument.ends is None else to_us(instrument.ends)
    published = ends_us is not None and now_us >= ends_us - ANNOUNCED_US
    quote = next((q for q in _QUOTE_ASSETS if instrument.symbol.endswith(q)), "USDT")
    first = instrument.brackets[0]
    return {
        "symbol": instrument.symbol,
        "pair": instrument.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": milliseconds(ends_us) if ends_us is not None and published else FOR_EVER_MS,
        "onboardDate": FOR_EVER_MS
        if state == "PENDING_TRADING"
        else milliseconds(tape.listed_us[s]),
        "status": state,
        "maintMarginPercent": text(100.0 * first.maintenance_margin_rate, 4),
        "requiredMarginPercent": text(100.0 / instrument.leverage_max, 4),
        "baseAsset": instrument.symbol.removesuffix(quote),
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": digits_of(instrument.tick_size),
        "quantityPrecision": digits_of(instrument.step_size),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": text(PRICE_BAND, 4),
        "liquidationFee": text(instrument.liquidation_fee, 6),
        "marketTakeBound": text(PRICE_BAND, 2),
        "maxMoveOrderLimit": 10_000,
        "filters": _filters(instrument),
        "orderTypes": list(ORDER_TYPES),
        "timeInForce": list(TIMES_IN_FORCE),
    }


def _filters(instrument: Instrument) -> list[dict[str, Any]]:
    smallest = {"stepSize": instrument.step_size, "minQty": instrument.min_qty}
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": instrument.tick_size,
            "maxPrice": _PRICE_MAX,
            "tickSize": instrument.tick_size,
        },
        {"filterType": "LOT_SIZE", "maxQty": instrument.limit_max_qty, **smallest},
        {"filterType": "MARKET_LOT_SIZE", "maxQty": instrument.market_max_qty, **smallest},
        {"filterType": "MAX_NUM_ORDERS", "limit": ORDERS_MAX},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": ORDERS_MAX},
        {"filterType": "MIN_NOTIONAL", "notional": f"{instrument.min_notional:g}"},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": text(1.0 + PRICE_BAND, 4),
            "multiplierDown": text(1.0 - PRICE_BAND, 4),
            "multiplierDecimal": "4",
        },
    ]
