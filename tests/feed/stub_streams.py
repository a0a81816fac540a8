"""A server of streams that does what a test tells it to, connection by connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

Behaviour = Callable[["StubStreams", web.WebSocketResponse, list[str]], Awaitable[None]]
EVERY_SECONDS = 0.02


class StubStreams:
    """What it was asked, and what is open."""

    def __init__(self, behaviours: list[Behaviour], now_us: Callable[[], int]) -> None:
        self.behaviours = behaviours
        self.now_us = now_us
        self.paths: list[str] = []
        self.open = 0
        self.most_open = 0
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        number = len(self.paths)
        self.paths.append(request.rel_url.raw_path_qs)
        behaviour = self.behaviours[min(number, len(self.behaviours) - 1)]
        if behaviour is refuse:
            return web.Response(status=503)
        socket = web.WebSocketResponse(timeout=0.2)
        await socket.prepare(request)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        names = request.query["streams"].split("/")
        talk = asyncio.create_task(self._talk(behaviour, socket, names))
        try:
            async for _ in socket:
                pass
        finally:
            self.open -= 1
            talk.cancel()
            await asyncio.wait({talk})
        return socket

    async def _talk(
        self, behaviour: Behaviour, socket: web.WebSocketResponse, names: list[str]
    ) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await behaviour(self, socket, names)

    async def say(self, socket: web.WebSocketResponse, name: str, late_us: int = 0) -> None:
        await socket.send_str(payload(name, (self.now_us() - late_us) // 1000))


def payload(name: str, time_ms: int) -> str:
    """Return an event of a stream."""
    symbol, _, channel = name.partition("@")
    told: dict[str, Any] = {"s": symbol.upper(), "E": time_ms, "st": 1}
    if channel == "bookTicker":
        told |= {"e": "bookTicker", "u": time_ms, "b": "10", "B": "1", "a": "11", "A": "1"}
    elif channel == "markPrice@1s":
        told |= {"e": "markPriceUpdate", "p": "10.5", "T": time_ms + 1}
    else:
        open_ms = time_ms // 60_000 * 60_000
        prices = {"o": "10", "h": "11", "l": "9", "c": "10", "v": "1", "q": "10", "n": 1, "V": "1"}
        k = {"t": open_ms, "T": open_ms + 59_999, "i": "1m", "x": False, **prices}
        told |= {"e": "kline", "k": k}
    return json.dumps({"stream": name, "data": told})


async def speak(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    while True:
        for name in names:
            await stub.say(socket, name)
        await asyncio.sleep(EVERY_SECONDS)


async def lag(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    while True:
        for name in names:
            await stub.say(socket, name, 5_000_000)
        await asyncio.sleep(EVERY_SECONDS)


async def speak_partly(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    await speak(stub, socket, [name for name in names if not name.startswith("busdt@")])


async def babble(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    for text in ("{", '{"stream":"x","data":{"e":"kline"}}', payload("zusdt@bookTicker", 1)):
        await socket.send_str(text)
    await speak(stub, socket, names)


async def foretell(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    for name in names:
        await stub.say(socket, name, -3_600_000_000)
    await asyncio.sleep(3600)


async def burst(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    for _ in range(20_000):
        await stub.say(socket, names[0])
    await speak(stub, socket, names)


async def mute(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    await asyncio.sleep(3600)


async def die(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    await socket.close()


async def refuse(stub: StubStreams, socket: web.WebSocketResponse, names: list[str]) -> None:
    """Answer the handshake with status 503."""


@contextlib.asynccontextmanager
async def served(
    behaviours: list[Behaviour], now_us: Callable[[], int]
) -> AsyncIterator[StubStreams]:
    """Give a server on a free port; every connection past the last behaviour has that one."""
    stub = StubStreams(behaviours, now_us)
    app = web.Application()
    app.router.add_get("/{path:.*}", stub.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    stub.url = f"ws://{host}:{port}"
    try:
        yield stub
    finally:
        await runner.cleanup()
