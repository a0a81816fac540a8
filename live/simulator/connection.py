"""One WebSocket of a client: what it says, what waits for it, pings, limits and its end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from live.simulator.hub import LEGACY

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 256 * 1024
"""Bytes of one message of a client; 1024 names fit."""
_CONTROL_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How the streams behave; the numbers are the exchange's (BINANCE.md, Streams).

    Parameters
    ----------
    legacy : {"deliver", "mute"}
        Whether the paths without a route carry anything, as on the demo host, or connect and stay silent.
    ping_seconds : float
        Between two pings of the server, > 0, on the wall.
    pong_seconds : float
        Without an answer to a ping until the connection is dropped, > 0, on the wall.
    lifetime_us : int
        Simulated microseconds that a connection lives, > 0.
    messages_per_second : int
        Messages, pings and pongs of a client within a second, >= 1; one more and it is disconnected.
    backlog_bytes : int
        What may wait for a slow reader, >= 1; when there is more, it is dropped.
    patience_seconds : float
        In lock-step, how long the exchange waits for slow readers before it drops them, >= 0, on the wall.
    connections : int
        How many there may be at once, >= 1.

    Raises
    ------
    ValueError
        If one is out of its range.
    """

    legacy: str
    ping_seconds: float = 180.0
    pong_seconds: float = 600.0
    lifetime_us: int = 86_400_000_000
    messages_per_second: int = 10
    backlog_bytes: int = 4 * 1024 * 1024
    patience_seconds: float = 10.0
    connections: int = 2000

    def __post_init__(self) -> None:
        if self.legacy not in LEGACY:
            raise ValueError(f"legacy must be one of {', '.join(LEGACY)}, was {self.legacy}")
        for name in ("ping_seconds", "pong_seconds"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if not self.patience_seconds >= 0.0:
            raise ValueError(f"patience_seconds must be >= 0, was {self.patience_seconds}")
        for name in ("lifetime_us", "messages_per_second", "backlog_bytes", "connections"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, was {getattr(self, name)}")


class Connection:
    """One WebSocket: a reader that hears the client, and a writer with a bounded backlog.

    Parameters
    ----------
    request : web.Request
        The handshake.
    settings : StreamSettings
        Its limits.
    born_us : int
        Simulated time of the handshake.
    limited : bool
        Whether the client's messages are limited; requests over the WebSocket API have their weights instead.
    """

    def __init__(
        self, request: web.Request, settings: StreamSettings, born_us: int, *, limited: bool
    ) -> None:
        self.path = request.rel_url.raw_path_qs
        self.born_us = born_us
        self.backlog = 0
        # A close that is not answered must not hold the socket for the library's ten seconds.
        self._socket = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=LARGEST_MESSAGE, timeout=1.0
        )
        self._request = request
        self._settings = settings
        self._limited = limited
        self._pending: deque[tuple[WSMsgType, str | bytes]] = deque()
        self._wake = asyncio.Event()
        self._ending: tuple[int, bytes] | None = None
        self._heard: deque[float] = deque(maxlen=settings.messages_per_second)
        self._pings: deque[bytes] = deque(maxlen=8)
        self._answered = 0.0

    async def run(self, reply: Callable[[str], Awaitable[str]]) -> web.WebSocketResponse:
        """Hold the connection until it ends; `reply` answers what the client says."""
        await self._socket.prepare(self._request)
        writer = asyncio.create_task(self._write())
        try:
            await self._read(reply)
        finally:
            if self._ending is None:
                self._ending = (int(WSCloseCode.OK), b"")
                writer.cancel()
            await asyncio.wait({writer}, timeout=2.0)
            writer.cancel()
            self._forget()
        return self._socket

    def send(self, text: str) -> None:
        """Put a message behind those that wait; a reader too slow for it is dropped."""
        if self._ending is not None:
            return
        if self.backlog + len(text) > self._settings.backlog_bytes:
            log.info("slow reader dropped with %d bytes waiting: %s", self.backlog, self.path)
            self.drop()
            return
        self._put(WSMsgType.TEXT, text)

    def end(self, code: int, reason: str) -> None:
        """Close the connection in order, after what waits; it is dropped if the client does not follow."""
        if self._ending is None:
            self._ending = (code, reason.encode())
            self._wake.set()
            asyncio.get_running_loop().call_later(1.5, self.drop)

    def drop(self) -> None:
        """Cut the connection and forget what waits for it."""
        if self._ending is None:
            self._ending = (int(WSCloseCode.ABNORMAL_CLOSURE), b"")
        self._forget()
        self._wake.set()
        if self._request.transport is not None:
            self._request.transport.abort()

    def _forget(self) -> None:
        self._pending.clear()
        self.backlog = 0

    def _put(self, kind: WSMsgType, content: str | bytes) -> None:
        self._pending.append((kind, content))
        self.backlog += len(content)
        self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                while self._pending:
                    kind, content = self._pending.popleft()
                    self.backlog -= len(content)
                    await self._send(kind, content)
                if self._ending is not None:
                    await self._socket.close(code=self._ending[0], message=self._ending[1])
                    return
                self._wake.clear()
                await self._wake.wait()
        except (ConnectionError, RuntimeError):  # the client is gone
            self.drop()

    async def _send(self, kind: WSMsgType, content: str | bytes) -> None:
        if isinstance(content, str):
            await self._socket.send_str(content)
        elif kind is WSMsgType.PING:
            await self._socket.ping(content)
        else:
            await self._socket.pong(content)

    async def _read(self, reply: Callable[[str], Awaitable[str]]) -> None:
        loop = asyncio.get_running_loop()
        self._answered = loop.time()
        next_ping = self._answered + self._settings.ping_seconds
        while True:
            now, deadline = loop.time(), self._answered + self._settings.pong_seconds
            if now >= deadline:
                self.end(WSCloseCode.POLICY_VIOLATION, "Pong timeout")
                deadline = now + self._settings.pong_seconds
            if now >= next_ping:
                self._ping(now)
                next_ping = now + self._settings.ping_seconds
            try:
                async with asyncio.timeout(min(next_ping, deadline) - now):
                    message = await self._socket.receive()
            except TimeoutError:
                continue
            if message.type not in (
                WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG
            ):  # fmt: skip
                return
            if self._ending is None and self._within_limit(loop.time()):
                await self._hear(message, reply, loop.time())

    def _ping(self, now: float) -> None:
        if self._ending is None and self.backlog <= self._settings.backlog_bytes:
            payload = str(int(now * 1000)).encode()
            self._pings.append(payload)
            self._put(WSMsgType.PING, payload)

    def _within_limit(self, now: float) -> bool:
        full = len(self._heard) == self._settings.messages_per_second
        if self._limited and full and now - self._heard[0] < 1.0:
            self.end(WSCloseCode.POLICY_VIOLATION, "Too many requests")
            return False
        self._heard.append(now)
        return True

    async def _hear(
        self, message: WSMessage, reply: Callable[[str], Awaitable[str]], now: float
    ) -> None:
        if message.type is WSMsgType.PONG:
            if bytes(message.data) in self._pings:  # one that nobody asked for does not count
                self._answered = now
        elif message.type is WSMsgType.PING:
            if self.backlog + _CONTROL_BYTES <= self._settings.backlog_bytes:
                self._put(WSMsgType.PONG, bytes(message.data))
        else:
            data = message.data
            text = data if isinstance(data, str) else bytes(data).decode(errors="replace")
            self.send(await reply(text))
