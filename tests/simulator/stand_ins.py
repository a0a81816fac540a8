"""A small exchange for the control port's tests: two symbols on a short market, and a ledger that is only told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from live.simulator.bar_tape import BarTape
from live.simulator.control import Controls
from live.simulator.faults import Faults
from live.simulator.scenario import Scenario
from quantcore.data.instruments import load_instruments
from quantcore.frames import Bars

START_US = 1_704_067_200_000_000
BAR_US = 3_600_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def tape(n_bars: int = 240, replayed_from: int = 120) -> BarTape:
    """Return a market of hourly bars that wander about 60,000 and 2,600 USDT; ETHUSDT has no price at the end."""
    rng = np.random.default_rng(7)
    closes = np.array([60_000.0, 2_600.0]) * np.exp(
        rng.normal(0.0, 0.004, (n_bars, 2)).cumsum(axis=0)
    )
    closes = np.round(closes, 1)
    opens = np.vstack([closes[:1], closes[:-1]])
    fields = {
        "open": opens,
        "high": np.round(np.maximum(opens, closes) * 1.001, 1),
        "low": np.round(np.minimum(opens, closes) * 0.999, 1),
        "close": closes,
        "volume": rng.uniform(500.0, 3_000.0, (n_bars, 2)),
    }
    for values in fields.values():
        values[-10:, 1] = np.nan
    bars = Bars(
        interval="1h",
        ts_us=START_US + BAR_US * np.arange(1, n_bars + 1),
        symbols=SYMBOLS,
        fields=fields,
    )
    first_us = START_US + BAR_US * replayed_from
    return BarTape(bars=bars, instruments=load_instruments(SYMBOLS), first_us=first_us)


def account(key: str, **changes: Any) -> dict[str, Any]:
    """Return one account's books, empty but for `changes`."""
    empty = {
        "key": key,
        "capital": 7700.0,
        "wallet": 7700.0,
        "equity": 7700.0,
        "available": 7700.0,
        "realised": 0.0,
        "fees": 0.0,
        "funding": 0.0,
        "liquidation_fees": 0.0,
        "insurance": 0.0,
        "missing": 0.0,
        "positions": [],
        "orders": [],
        "algo_orders": [],
        "trades": 0,
    }
    return empty | changes


class StandIn:
    """A venue that knows its time and is told its books."""

    def __init__(self, market: BarTape, accounts: list[dict[str, Any]]) -> None:
        self.now_us = market.first_us
        self.accounts = accounts

    def ledger(self) -> dict[str, Any]:
        return {"time": self.now_us // 1000, "accounts": self.accounts}

    def snapshot(self) -> bytes:
        return json.dumps([self.now_us, self.accounts]).encode()

    def restore(self, raw: bytes) -> None:
        self.now_us, self.accounts = json.loads(raw)


def controls(
    *accounts: dict[str, Any], scenario: Scenario | None = None, lock_step: bool = True
) -> Controls:
    """Return the controls of a stand-in, whose faults are asked whenever time is."""
    market = tape()
    venue = StandIn(market, list(accounts))
    faults = Faults(scenario or Scenario(), market.first_us)

    def now_us() -> int:
        faults.on_venue(venue.now_us)
        return venue.now_us

    async def advance(to_us: int) -> None:
        venue.now_us = to_us
        now_us()

    async def restored(to_us: int) -> None:
        assert venue.now_us == to_us

    return Controls(
        venue=venue,
        tape=market,
        faults=faults,
        lock_step=lock_step,
        clock="lock-step" if lock_step else "real time",
        now_us=now_us,
        advance=advance,
        restored=restored,
        kept={"faults": faults},
    )


def busy() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two accounts with positions, orders and conditional orders, as the exchange writes them."""
    order = {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTX", "price": "58120.00",
        "origQty": "0.010", "executedQty": "0.004", "status": "PARTIALLY_FILLED", "clientOrderId": "trend-00017",
        "reduceOnly": False,
    }  # fmt: skip
    algo = {
        "symbol": "BTCUSDT", "side": "SELL", "orderType": "STOP_MARKET", "timeInForce": "GTC", "quantity": "0.000",
        "closePosition": True, "reduceOnly": True, "triggerPrice": "54810.00", "algoStatus": "NEW",
        "clientAlgoId": "protect-<b>", "price": "0.00",
    }  # fmt: skip
    bitcoin = {
        "symbol": "BTCUSDT", "qty": 0.034, "entry": 58880.5, "mark": 59011.2, "profit": 4.44, "leverage": 3,
        "isolated": False,
    }  # fmt: skip
    ether = {
        "symbol": "ETHUSDT", "qty": -1.25, "entry": 2571.3, "mark": 2602.14, "profit": -38.55, "leverage": 5,
        "isolated": True,
    }  # fmt: skip
    first = account(
        "f3a9c2d17be04c55", wallet=7712.6, equity=7678.49, available=6731.02, realised=21.4, fees=8.12, funding=0.68,
        positions=[bitcoin, ether], orders=[order], algo_orders=[algo], trades=41,
    )  # fmt: skip
    return first, account("paper", capital=100.0, wallet=100.0, equity=100.0, available=100.0)
