"""A venue, a market and faults that are just enough for the streams, served on a port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, WSMsgType, web

from live.simulator.connection import StreamSettings
from live.simulator.listen_keys import ListenKeys
from live.simulator.streams import Api, Due, Faults, Streams

START_US = 1_700_000_000_000_000
STEP_US = 100_000
SECOND_US = 1_000_000
ACCOUNT = "a" * 64


@dataclass
class QuietVenue:
    """Knows the time; its events are put in by the test."""

    now_us: int = START_US
    lock_step: bool = False
    forced: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def drain_forced(self) -> list[dict[str, Any]]:
        drained, self.forced = self.forced, []
        return drained

    def drain(self) -> list[tuple[str, dict[str, Any]]]:
        drained, self.events = self.events, []
        return drained


def messages(stream: str, from_us: int, to_us: int) -> list[dict[str, Any]]:
    """One message each 100 ms, on the grid of the epoch."""
    symbol, _, channel = stream.partition("@")
    first = from_us // STEP_US + 1
    return [
        {"e": channel, "E": step * STEP_US // 1000, "s": symbol.upper()}
        for step in range(first, to_us // STEP_US + 1)
    ]


def known(stream: str) -> bool:
    return stream.startswith(("btcusdt", "ethusdt@", "!"))


@dataclass
class Exchange:
    """What a test holds: the streams, their venue, and a client."""

    venue: QuietVenue
    streams: Streams
    session: ClientSession
    address: str
    """Such as ``127.0.0.1:40001``."""
    stop: Callable[[], Awaitable[None]]
    sockets: list[ClientWebSocketResponse] = field(default_factory=list)

    async def connect(self, path: str, **options: Any) -> ClientWebSocketResponse:
        socket: ClientWebSocketResponse = await self.session.ws_connect(
            f"ws://{self.address}{path}", **options
        )
        self.sockets.append(socket)
        return socket

    async def pass_time(self, span_us: int = STEP_US) -> None:
        start_us = self.venue.now_us
        self.venue.now_us += span_us
        await self.streams.deliver(start_us, self.venue.now_us)


@asynccontextmanager
async def exchange(
    *,
    lock_step: bool = False,
    market: Callable[[str, int, int], Sequence[Any]] = messages,
    api: Api | None = None,
    faults: Faults | None = None,
    **settings: Any,
) -> AsyncIterator[Exchange]:
    """Serve the streams, and of REST what python-binance asks for before it opens them."""
    venue = QuietVenue(lock_step=lock_step)
    keys = ListenKeys(seed=7)
    options = StreamSettings(**({"legacy": "mute"} | settings))

    def opened(stream: str) -> Due | None:
        return partial(market, stream) if known(stream) else None

    streams = Streams(venue, opened, keys, options, api=api, faults=faults)
    app = web.Application()
    streams.add_routes(app)

    async def spot(request: web.Request) -> web.Response:
        return web.json_response({"serverTime": venue.now_us // 1000})

    async def listen_key(request: web.Request) -> web.Response:
        name = f"{request.method} {request.path}"
        account = request.headers["X-MBX-APIKEY"]
        return web.json_response(keys.handle(name, account, dict(request.query), venue.now_us))

    app.router.add_get("/api/v3/{what:ping|time}", spot)
    app.router.add_route("*", "/fapi/v1/listenKey", listen_key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with ClientSession(connector=TCPConnector(limit=0)) as session:
            held = Exchange(venue, streams, session, f"127.0.0.1:{port}", runner.cleanup)
            yield held
            await asyncio.gather(*(socket.close() for socket in held.sockets))
    finally:
        await runner.cleanup()


async def next_json(socket: ClientWebSocketResponse) -> Any:
    async with asyncio.timeout(5.0):
        return json.loads(await socket.receive_str())


async def silence(socket: ClientWebSocketResponse, seconds: float = 0.1) -> bool:
    """Say whether nothing comes, and the connection stays open."""
    try:
        async with asyncio.timeout(seconds):
            await socket.receive()
    except TimeoutError:
        return not socket.closed
    return False


async def end_of(socket: ClientWebSocketResponse) -> int | None:
    """Return the close code when the connection has ended; what comes before is passed over."""
    async with asyncio.timeout(5.0):
        while True:
            message = await socket.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
                return socket.close_code
