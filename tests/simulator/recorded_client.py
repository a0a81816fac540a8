"""A client in lock-step that writes down every byte that an exchange answers and sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from tests.simulator.requests_sent import signed

LAST = "GET /fapi/v1/ticker/price"
CUT = ("disconnect", "maintenance")
"""Faults that cut connections."""
BEGUN = ("connections closed", "down until")
"""What the log says when they begin."""
PAUSE_SECONDS = 0.12
"""Between two messages of a client, of which there may be ten in a second."""
STREAMS = {
    "market": "/market/stream?streams=btcusdt@markPrice/ethusdt@kline_1h/!forceOrder@arr",
    "user": "/private/ws?listenKey={key}",
}

Action = int | tuple[str, dict[str, Any]]
"""Bars to go on by, or a request: numbers among its parameters are shares of the last price."""


@dataclass
class RecordedClient:
    """One client of one exchange.

    Parameters
    ----------
    rest, control : str
        Addresses, such as ``"http://127.0.0.1:40001"``.
    key, secret : str
        Credentials.
    """

    rest: str
    control: str
    key: str
    secret: str
    answers: list[str] = field(default_factory=list)
    """Status, headers but the date, and body of each answer, in order."""
    heard: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in STREAMS})
    """What each stream has sent, over all its connections."""

    async def start(self, faults: Sequence[dict[str, Any]]) -> None:
        """Let faults be in force from now on, and listen."""
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(connector=connector)
        self._records = 0
        self._sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._replies: asyncio.Queue[str] = asyncio.Queue()
        for rule in faults:
            await self._told("POST", f"{self.control}/fault", json.dumps(rule))
        await self._go_on(1)

    async def play(self, actions: Sequence[Action]) -> None:
        """Do some things, then go on by a bar."""
        for action in actions:
            if isinstance(action, int):
                await self._go_on(action)
            else:
                await self._ask(*action)
        await self._go_on(1)

    async def settle(self) -> None:
        """Hear all that has been sent until now."""
        await asyncio.sleep(PAUSE_SECONDS)
        for name, socket in self._sockets.items():
            await socket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":1}')
            assert await asyncio.wait_for(self._replies.get(), 5.0) == name

    async def stop(self) -> None:
        """Leave."""
        for reader in self._readers.values():
            reader.cancel()
        await self._session.close()

    async def _go_on(self, bars: int) -> None:
        told = await self._told("POST", f"{self.control}/advance", json.dumps({"bars": bars}))
        self._now_ms = int(json.loads(told)["time"])
        told = await self._told("GET", f"{self.control}/faults?since={self._records}")
        log = json.loads(told)["log"]
        self._records += len(log)
        if any(record["kind"] in CUT and record["done"].startswith(BEGUN) for record in log):
            for reader in self._readers.values():
                await asyncio.wait_for(reader, 5.0)
            self._sockets, self._readers = {}, {}
        await self._listen({record["kind"] for record in log})

    async def _listen(self, happened: set[str]) -> None:
        """Open the streams that are closed; the user stream also anew where its key has run out."""
        body = await self._ask("POST /fapi/v1/listenKey", {})
        if body is None or "listenKey" not in body:
            return
        if "listen_key_expiry" in happened and "user" in self._sockets:
            await self._sockets.pop("user").close()
            await asyncio.wait_for(self._readers.pop("user"), 5.0)
        for name, path in STREAMS.items():
            if name in self._sockets:
                continue
            url = URL(self.rest + path.format(key=body["listenKey"]), encoded=True)
            try:
                socket = await self._session.ws_connect(url)
            except aiohttp.WSServerHandshakeError as refused:
                self.answers.append(f"{name} {refused.status}")
                continue
            self._sockets[name] = socket
            self._readers[name] = asyncio.create_task(self._read(name, socket))

    async def _read(self, name: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.data.startswith('{"result"') or message.data.startswith('{"id"'):
                self._replies.put_nowait(name)
            else:
                self.heard[name].append(message.data)

    async def _ask(self, name: str, params: dict[str, Any]) -> Any:
        """Send a request with its prices, return its body, None where there was no answer."""
        method, path = name.split()
        if any(isinstance(value, float) for value in params.values()):
            body = await self._ask(LAST, {"symbol": "BTCUSDT"})
            if body is None or "price" not in body:
                return None
            last = float(body["price"])
            params = {
                k: f"{v * last:.1f}" if isinstance(v, float) else v for k, v in params.items()
            }
        query = signed(params, secret=self.secret, at_ms=self._now_ms)
        told = await self._told(method, f"{self.rest}{path}?{query}")
        return json.loads(told) if told else None

    async def _told(self, method: str, url: str, data: str | None = None) -> str:
        headers = {"X-MBX-APIKEY": self.key}
        try:
            async with self._session.request(
                method, URL(url, encoded=True), data=data, headers=headers
            ) as response:
                body = await response.text()
        except aiohttp.ClientError as error:
            self.answers.append(type(error).__name__)
            return ""
        kept = sorted((k, v) for k, v in response.headers.items() if k != "Date")
        self.answers.append(f"{response.status} {kept} {body}")
        return body
