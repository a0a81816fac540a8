"""A trading day of the unmodified python-binance client on the exchange: ``python -m tests.simulator.trading_day``.

Leverage, a post-only order that is refused and one that rests, a partial fill, a protective stop through the Algo
Service, funding, the close; each step is written down with what the exchange said.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from binance import AsyncClient
from binance.exceptions import BinanceAPIException
from binance.ws.streams import BinanceSocketManager

SYMBOL = "BTCUSDT"
SPEED = 20
START = "2024-01-02T07:58:00"
"""Two minutes before funding is settled."""
WINDOW_MS = 60_000
"""Of simulated time: at this speed three seconds on the wall."""
COMMAND = [
    sys.executable, "-m", "live.simulator", "data=synthetic", "data.interval=1m",
    "data.execution_interval=1m", "data.days=3", "data.n_symbols=3", "data.late_listings=0",
    "clock=accelerated", f"speed={SPEED}", f"start={START}", "idle_seconds=60",
]  # fmt: skip


class Day:
    """What is done and what came of it."""

    def __init__(self, ready: dict[str, str], say: Callable[[str], None]) -> None:
        self.ready = ready
        self.say = say
        self.events: list[dict[str, Any]] = []

    async def run(self) -> None:
        """Connect, listen, trade, and leave."""
        host = self.ready["rest"]

        class Client(AsyncClient):  # type: ignore[misc] # it has no types
            API_URL = f"{host}/api"
            FUTURES_URL = f"{host}/fapi"
            FUTURES_DATA_URL = f"{host}/futures/data"

        self.client = await Client.create(self.ready["api_key"], self.ready["api_secret"])
        try:
            manager = BinanceSocketManager(self.client)
            manager.FSTREAM_URL = f"{self.ready['ws']}/"
            async with manager.futures_user_socket() as stream:
                heard = asyncio.create_task(self._listen(stream))
                await asyncio.sleep(0.5)
                await self._trade()
                await asyncio.sleep(1.0)
                heard.cancel()
        finally:
            await self.client.close_connection()

    async def _listen(self, stream: Any) -> None:
        while True:
            self.events.append(await stream.recv())

    async def ask(self, name: str, **params: Any) -> Any:
        """Send a request with the exchange's time, as a simulated clock asks for."""
        now = (await self.client.futures_time())["serverTime"]
        self.client.timestamp_offset = now - _wall_ms()
        return await getattr(self.client, f"futures_{name}")(**params, recvWindow=WINDOW_MS)

    async def heard(
        self, what: Callable[[dict[str, Any]], bool], seconds: float = 30.0
    ) -> dict[str, Any]:
        """Wait for a message of the user stream."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if what(event):
                        return event
                await asyncio.sleep(0.02)

    async def inject(self, **fault: Any) -> None:
        """Let a fault happen now, by the control port."""
        body = json.dumps(fault).encode()
        request = urllib.request.Request(
            f"{self.ready['control']}/fault",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=10).read())

    async def _trade(self) -> None:
        say = self.say
        info = await self.client.futures_exchange_info()
        rules = next(s for s in info["symbols"] if s["symbol"] == SYMBOL)
        tick = float(
            next(f["tickSize"] for f in rules["filters"] if f["filterType"] == "PRICE_FILTER")
        )
        digits = max(len(f"{tick:g}".partition(".")[2]), 0)
        found = await self.ask("change_leverage", symbol=SYMBOL, leverage=3)
        say(f"leverage set: {found['leverage']}x, positions up to {found['maxNotionalValue']} USDT")

        book = await self.client.futures_orderbook_ticker(symbol=SYMBOL)
        bid, ask = float(book["bidPrice"]), float(book["askPrice"])
        say(f"book: {book['bidPrice']} / {book['askPrice']}")
        limit = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "quantity": "0.040"}
        try:
            await self.ask(
                "create_order", timeInForce="GTX", price=f"{ask * 1.001:.{digits}f}", **limit
            )
        except BinanceAPIException as refused:
            say(f"post-only above the ask: {refused.code} {refused.message}")
        resting = await self.ask(
            "create_order",
            timeInForce="GTX",
            price=f"{bid * 0.99:.{digits}f}",
            newClientOrderId="day-rest",
            **limit,
        )
        say(f"post-only below the bid: {resting['status']} at {resting['price']}")

        await self.inject(kind="partial_fill", duration_seconds=30, fraction=0.4)
        taken = await self.ask(
            "create_order", timeInForce="GTC", price=f"{ask * 1.001:.{digits}f}", newClientOrderId="day-part",
            newOrderRespType="RESULT", **limit,
        )  # fmt: skip
        say(
            f"limit through the book: {taken['status']}, {taken['executedQty']} of {taken['origQty']}"
        )
        for name in ("day-part", "day-rest"):
            try:
                gone = await self.ask("cancel_order", symbol=SYMBOL, origClientOrderId=name)
                say(f"cancelled {name}: {gone['status']}, {gone['executedQty']} filled")
            except BinanceAPIException as refused:  # the rest has filled meanwhile
                say(f"cancel {name}: {refused.code} {refused.message}")

        stop = await self.ask(
            "create_order", symbol=SYMBOL, side="SELL", type="STOP_MARKET", closePosition="true",
            triggerPrice=f"{bid * 0.8:.{digits}f}", clientAlgoId="day-stop",
        )  # fmt: skip
        say(
            f"protective stop through the Algo Service: {stop['algoStatus']} at {stop['triggerPrice']}"
        )

        await self.heard(lambda e: e.get("a", {}).get("m") == "FUNDING_FEE")
        paid = await self.ask("income_history", symbol=SYMBOL, incomeType="FUNDING_FEE")
        say(f"funding: {paid[-1]['income']} USDT")

        held = await self.ask("position_information", symbol=SYMBOL)
        say(
            f"position: {held[0]['positionAmt']} at {held[0]['entryPrice']}, mark {held[0]['markPrice']}"
        )
        await self.ask(
            "create_order", symbol=SYMBOL, side="SELL", type="MARKET", quantity=held[0]["positionAmt"],
            reduceOnly="true", newClientOrderId="day-close",
        )  # fmt: skip
        done = await self.heard(
            lambda e: e.get("o", {}).get("c") == "day-close" and e["o"]["X"] == "FILLED"
        )
        say(
            f"closed at {done['o']['ap']}, realised {done['o']['rp']} USDT, fee {done['o']['n']} USDT"
        )
        ended = await self.heard(
            lambda e: e.get("o", {}).get("caid") == "day-stop" and e["o"]["X"] != "NEW"
        )
        say(f"the stop ended with its position: {ended['o']['X']}")
        account = await self.ask("account")
        income = await self.ask("income_history", limit=1000)
        total = sum(float(each["income"]) for each in income)
        say(f"wallet {account['totalWalletBalance']}, income {total:.8f} USDT since 7700")
        self.difference = float(account["totalWalletBalance"]) - 7700.0 - total


def _wall_ms() -> int:
    import time

    return int(time.time() * 1000)


def trade_a_day(say: Callable[[str], None]) -> Day:
    """Start the exchange, trade, end it; return the day."""
    with tempfile.TemporaryDirectory() as place:
        command = [*COMMAND, f"state_file={Path(place) / 'state.json'}"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(process.communicate()[1][-2000:])
            day = Day(json.loads(line), say)
            asyncio.run(asyncio.wait_for(day.run(), 120.0))
            return day
        finally:
            process.terminate()
            process.communicate(timeout=30)


if __name__ == "__main__":
    trade_a_day(partial(print, file=sys.stdout))
