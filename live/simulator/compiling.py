"""The exchange's kernels, compiled before anybody asks it for anything: it answers nobody meanwhile."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from live.simulator import kernels, matching
from live.simulator.bar_tape import BarTape
from live.simulator.engine import VenueSettings
from live.simulator.public import answer
from live.simulator.venue import Venue
from quantcore.data.instruments import load_instruments
from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars, no_settlements
from quantcore.kernels.cache import is_compiled
from quantcore.timegrid import interval_us

_SYMBOL = "BTCUSDT"
_PRICE = 40_000.0
_N_BARS = 4
_DEEP = {"symbol": _SYMBOL, "limit": "1000"}


def compile_exchange() -> None:
    """Let one account trade on a made-up market; what was compiled before is read from the disk."""
    if not is_compiled(kernels.execute):
        sys.stderr.write("compiling the exchange's kernels, once: about a minute\n")
    bars = _bars()
    instruments = load_instruments((_SYMBOL,))
    tape = BarTape(bars=bars, instruments=instruments)
    venue = Venue(tape, VenueSettings())
    account = venue.open_account("key", "secret", 1e6)

    def order(service: str = "order", **params: str) -> Any:
        return venue.handle(account, f"POST /fapi/v1/{service}", {"symbol": _SYMBOL} | params)

    for _ in range(2):
        venue.advance(venue.now_us + interval_us("1m"))
    for name in ("depth", "klines", "aggTrades"):
        asked = _DEEP if name == "depth" else {**_DEEP, "interval": "1m"}
        answer(f"GET /fapi/v1/{name}", tape, venue.now_us, asked, instruments=instruments)
    order(side="BUY", type="MARKET", quantity="0.010")
    order(
        side="BUY",
        type="LIMIT",
        timeInForce="GTX",
        quantity="0.010",
        price="38000.0",
        newClientOrderId="resting",
    )
    order(
        "algoOrder",
        algoType="CONDITIONAL",
        side="SELL",
        type="STOP_MARKET",
        closePosition="true",
        triggerPrice="30000.0",
    )
    venue.advance(venue.now_us + interval_us("1m"))
    venue.handle(
        account, "DELETE /fapi/v1/order", {"symbol": _SYMBOL, "origClientOrderId": "resting"}
    )
    matching.force(venue, account, 0, _PRICE, liquidates=True)
    venue.drain()


def _bars() -> Bars:
    """Return bars in which prices move a little, as written before they are shared."""
    prices = np.array([[_PRICE], [_PRICE + 10.0], [_PRICE - 10.0], [_PRICE]])
    fields = dict.fromkeys((*PRICE_FIELDS, *MARK_FIELDS), prices)
    fields |= {
        "volume": np.full(prices.shape, 100.0),
        "taker_buy_volume": np.full(prices.shape, 50.0),
    }
    return Bars(
        interval="1m",
        ts_us=1_704_182_400_000_000 + interval_us("1m") * np.arange(_N_BARS, dtype=np.int64),
        symbols=(_SYMBOL,),
        fields=fields,
        settlements=no_settlements(),
    )
