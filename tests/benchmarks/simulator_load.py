"""The exchange under load: ``python -m tests.benchmarks.simulator_load SECONDS``.

Ten clients in a process of their own listen to every kind of stream, more than 500 messages a second together, and
place 50 limit orders a second, each of which is cancelled: 100 requests. 25 symbols of minutes. Printed are the
requests' round trips, the messages heard and the server's memory every tenth of the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from quantcore.data.synthetic import DEFAULT_SYMBOLS

CLIENTS = 10
ORDERS_PER_SECOND = 50
PUBLIC = ("bookTicker", "depth@500ms", "depth5@500ms", "trade")
MARKET = ("aggTrade", "markPrice@1s", "kline_1m", "ticker", "miniTicker", "forceOrder")
PUBLIC_ALL = ("!bookTicker",)
MARKET_ALL = ("!markPrice@arr@1s", "!ticker@arr", "!miniTicker@arr", "!forceOrder@arr")
SYMBOLS = (*DEFAULT_SYMBOLS, "AAVEUSDT", "UNIUSDT", "FTMUSDT", "EOSUSDT", "XLMUSDT")
COMMAND = [
    sys.executable,
    "-m",
    "live.simulator",
    "data=synthetic",
    "data.interval=1m",
    "data.execution_interval=1m",
    "data.days=3",
    f"data.symbols=[{','.join(SYMBOLS)}]",
    "data.late_listings=0",
    "capital=100000",
    "limits.orders_10s=100000",
    "limits.orders_1m=1000000",
    "limits.weight_1m=1000000",
]


@dataclass
class Load:
    """What was measured."""

    heard: int = 0
    trips: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    memory: list[float] = field(default_factory=list)


async def sign_and_send(
    session: aiohttp.ClientSession,
    ready: dict[str, str],
    method: str,
    path: str,
    params: dict[str, Any],
) -> Any:
    """Send a signed request and return the answer."""
    query = urlencode(
        params | {"timestamp": int(time.time() * 1000) + OFFSET[0], "recvWindow": 50_000}
    )
    signature = hmac.new(ready["api_secret"].encode(), query.encode(), hashlib.sha256).hexdigest()
    url = f"{ready['rest']}{path}?{query}&signature={signature}"
    async with session.request(method, url, headers={"X-MBX-APIKEY": ready["api_key"]}) as answer:
        return await answer.json()


OFFSET = [0]


def open_sockets(
    session: aiohttp.ClientSession,
    ready: dict[str, str],
    number: int,
    symbols: list[str],
    load: Load,
) -> list[asyncio.Task[None]]:
    """Hear every stream of a few symbols, and those of all symbols."""
    mine = [s.lower() for s in [*symbols[number::CLIENTS], symbols[(number + 3) % len(symbols)]]]
    routes = (("public", PUBLIC, PUBLIC_ALL), ("market", MARKET, MARKET_ALL))
    return [
        asyncio.create_task(_hear(session, f"{ready['ws']}/{route}/stream?streams={names}", load))
        for route, each, of_all in routes
        for names in ["/".join([*(f"{s}@{stream}" for s in mine for stream in each), *of_all])]
    ]


async def open_user_stream(
    session: aiohttp.ClientSession, ready: dict[str, str], load: Load
) -> asyncio.Task[None]:
    """Hear what happens to the account."""
    key = (await sign_and_send(session, ready, "POST", "/fapi/v1/listenKey", {}))["listenKey"]
    url = f"{ready['ws']}/private/ws?listenKey={key}"
    return asyncio.create_task(_hear(session, url, load))


async def _hear(session: aiohttp.ClientSession, url: str, load: Load) -> None:
    async with session.ws_connect(url) as socket:
        async for _ in socket:
            load.heard += 1


async def trade(
    session: aiohttp.ClientSession,
    ready: dict[str, str],
    number: int,
    prices: dict[str, str],
    until: float,
    load: Load,
) -> None:
    """Send a limit and its cancel, again and again, at its share of the rate."""
    symbols = list(prices)
    pause, turn = CLIENTS / ORDERS_PER_SECOND, number
    due = time.perf_counter() + pause * number / CLIENTS
    while time.perf_counter() < until:
        await asyncio.sleep(max(due - time.perf_counter(), 0.0))
        due += pause
        symbol = symbols[turn % len(symbols)]
        turn += 1
        digits = len(prices[symbol].partition(".")[2])
        sent = {
            "symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
            "price": f"{float(prices[symbol]) * 0.97:.{digits}f}",
            "quantity": f"{max(round(200 / float(prices[symbol])), 1)}",
        }  # fmt: skip
        start = time.perf_counter()
        placed = await sign_and_send(session, ready, "POST", "/fapi/v1/order", sent)
        load.trips.append(time.perf_counter() - start)
        if "orderId" not in placed:
            load.refused[placed["code"]] = load.refused.get(placed["code"], 0) + 1
            continue
        start = time.perf_counter()
        await sign_and_send(
            session,
            ready,
            "DELETE",
            "/fapi/v1/order",
            {"symbol": symbol, "orderId": placed["orderId"]},
        )
        load.trips.append(time.perf_counter() - start)


async def run(ready: dict[str, str], server: int, seconds: float) -> Load:
    """Load the exchange; return what was measured."""
    load = Load()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{ready['rest']}/fapi/v1/time") as answer:
            OFFSET[0] = (await answer.json())["serverTime"] - int(time.time() * 1000)
        async with session.get(f"{ready['rest']}/fapi/v1/ticker/price") as answer:
            prices = {each["symbol"]: each["price"] for each in await answer.json()}
        hearing = [await open_user_stream(session, ready, load)]
        for number in range(CLIENTS):
            hearing += open_sockets(session, ready, number, list(prices), load)
        await asyncio.sleep(2.0)
        load.heard, start = 0, time.perf_counter()
        until = start + seconds
        watching = asyncio.create_task(watch(server, seconds, load))
        await asyncio.gather(
            *(trade(session, ready, n, prices, until, load) for n in range(CLIENTS))
        )
        await watching
        if ended := [task for task in hearing if task.done()]:
            sys.stdout.write(f"{len(ended)} of {len(hearing)} connections ended\n")
        taken = time.perf_counter() - start
        sys.stdout.write(
            f"{load.heard / taken:.0f} messages/s heard, {len(load.trips) / taken:.0f} requests/s\n"
        )
    return load


async def watch(server: int, seconds: float, load: Load) -> None:
    """Write the server's memory down, ten times."""
    for _ in range(10):
        await asyncio.sleep(seconds / 10.0)
        status = Path(f"/proc/{server}/status").read_text()
        load.memory.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024.0)


def main(seconds: float) -> None:
    """Start the exchange, load it, print what was measured."""
    with tempfile.TemporaryDirectory() as place:
        process = subprocess.Popen(
            [*COMMAND, f"state_file={place}/state.json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            load = asyncio.run(run(ready, process.pid, seconds))
        finally:
            process.terminate()
            process.communicate(timeout=30)
    milliseconds = sorted(1e3 * trip for trip in load.trips)
    quantiles = statistics.quantiles(milliseconds, n=100)
    sys.stdout.write(
        f"round trips: p50 {quantiles[49]:.1f} ms, p99 {quantiles[98]:.1f} ms, most {milliseconds[-1]:.0f} ms\n"
    )
    sys.stdout.write(
        f"memory: {', '.join(f'{each:.0f}' for each in load.memory)} MiB; refused: {load.refused}\n"
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)
