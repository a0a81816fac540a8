"""A small exchange that does as told, for what the simulator cannot do: strange answers, deaf and mute sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from live.broker.settings import BrokerSettings, Credentials

KEY = "K3YMARKER" + "a" * 55
SECRET = "S3CR3TMARKER" + "b" * 52
Handler = Callable[[Mapping[str, str]], Any]


@dataclass
class Asked:
    """One request: method and path, parameters in the order sent, and headers."""

    name: str
    params: dict[str, str]
    headers: Mapping[str, str]


@dataclass
class Socket:
    """One connection of the user stream."""

    key: str
    response: web.WebSocketResponse
    is_closed: bool = False
    pongs: list[bytes] = field(default_factory=list)


@dataclass
class HandMade:
    """The exchange."""

    answers: dict[str, Handler] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    sockets: list[Socket] = field(default_factory=list)
    other_paths: list[str] = field(default_factory=list)
    pongs: bool = True
    deaf: bool = False
    """Whether it reads nothing of a socket: neither pings nor a farewell are answered."""
    ahead_ms: int = 0
    keys: int = 0
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_sockets(self) -> list[Socket]:
        return [socket for socket in self.sockets if not socket.is_closed]

    def settings(self, **changes: Any) -> BrokerSettings:
        given: dict[str, Any] = {
            "rest_url": self.url,
            "stream_url": self.url.replace("http", "ws"),
            "credentials": Credentials(KEY, SECRET),
        }
        return BrokerSettings(**{**given, **changes})

    def requests(self, name: str) -> list[dict[str, str]]:
        return [each.params for each in self.asked if each.name == name]

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/private/ws", self._stream)
        app.router.add_route("*", "/{path:.*}", self._rest)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner is not None
        for socket in self.open_sockets:
            self.cut(socket)
        await self._runner.cleanup()

    def cut(self, socket: Socket) -> None:
        """End a connection without a farewell."""
        socket.is_closed = True
        transport = socket.response._req.transport if socket.response._req else None
        if transport is not None:
            transport.abort()

    async def tell(self, event: Any, socket: int = -1) -> None:
        """Send an event of the user stream."""
        response = self.sockets[socket].response
        await (response.send_str(event) if isinstance(event, str) else response.send_json(event))

    async def until(self, what: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.005)

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.method} {request.path}"
        params = dict(request.query) | dict(parse_qsl(await request.text()))
        self.asked.append(Asked(name, params, request.headers))
        handler = self.answers.get(name, _DEFAULTS.get(name))
        if name == "POST /fapi/v1/listenKey" and name not in self.answers:
            return web.json_response({"listenKey": f"key-{self.keys}"})
        if name == "GET /fapi/v1/time" and name not in self.answers:
            return web.json_response({"serverTime": int(time.time() * 1000) + self.ahead_ms})
        if handler is None:
            self.other_paths.append(name)
            return web.json_response({"code": -5000, "msg": f"Path {name} is invalid"}, status=404)
        found = handler(params)
        if asyncio.iscoroutine(found):
            found = await found
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(autoping=False, timeout=0.2)
        await response.prepare(request)
        socket = Socket(request.query["listenKey"], response)
        self.sockets.append(socket)
        try:
            while self.deaf:
                await asyncio.sleep(0.01)
            async for message in response:
                if message.type is WSMsgType.PING and self.pongs:
                    await response.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    socket.pongs.append(bytes(message.data))
        finally:
            socket.is_closed = True
        return response


_DEFAULTS: dict[str, Handler] = {
    "GET /fapi/v1/exchangeInfo": lambda _: {"rateLimits": [], "symbols": []},
    "PUT /fapi/v1/listenKey": lambda _: {},
}


def refuse(status: int, code: int | None, text: str, **headers: str) -> Handler:
    """Return what refuses in the exchange's form."""
    body = {"msg": text} if code is None else {"code": code, "msg": text}
    return lambda _: web.json_response(body, status=status, headers=headers)


def page(status: int, text: str = "<html>Bad Gateway</html>") -> Handler:
    """Return what answers with something that is no JSON."""
    return lambda _: web.Response(status=status, text=text, content_type="text/html")


def order_answer(params: Mapping[str, str]) -> dict[str, Any]:
    """Return the exchange's answer to an order."""
    return {
        "clientOrderId": params["newClientOrderId"], "cumQty": "0", "executedQty": "0", "orderId": 22542179,
        "origQty": params.get("quantity", "0"), "price": params.get("price", "0"), "reduceOnly": False,
        "side": params["side"], "positionSide": "BOTH", "status": "NEW", "stopPrice": "0",
        "closePosition": False, "symbol": params["symbol"], "timeInForce": "GTC", "type": params["type"],
        "origType": params["type"], "updateTime": 1, "workingType": "CONTRACT_PRICE", "priceProtect": False,
    }  # fmt: skip


@asynccontextmanager
async def hand_made() -> AsyncIterator[HandMade]:
    """Start and stop one."""
    found = HandMade()
    await found.start()
    try:
        yield found
    finally:
        await found.stop()
