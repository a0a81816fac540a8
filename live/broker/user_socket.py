"""The socket of the user stream, supervised: a dead, mute or expired one is replaced, and what that may cost is told.

python-binance's own socket manager is not used: its read loop dies of a full queue without draining it and without
saying so (danger 4), it gives up on a host that is down (5), waits for ever on a silent one (6), reconnects with the
key that has expired and leaks the socket of the old one (7), and takes about ten seconds to leave a socket (12). None
of that can be mended from outside its loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import aiohttp
import orjson

from live.broker.forms import time_of
from live.broker.interface import BrokerEvent, Doubt
from live.broker.user_stream import EXPIRED, UserStream
from live.clock import ExchangeClock

log = logging.getLogger(__name__)

KEEP_ALIVE_US: Final = 30 * 60 * 1_000_000
"""A listen key lives 60 minutes from its last extension (BINANCE.md)."""
_KEEP_ALIVE_AGAIN_US: Final = 60 * 1_000_000
LIFETIME_US: Final = 23 * 3600 * 1_000_000
"""The exchange ends every connection after 24 hours; we do before."""
_CLOSE_SECONDS: Final = 2.0
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 30.0
_LARGEST_MESSAGE: Final = 16 * 1024 * 1024


class KeyRefused(Exception):
    """The listen key is not known any more."""


class EventQueue:
    """What waits for the loop, bounded; what does not fit is counted, and told as a `Doubt` before anything newer.

    Parameters
    ----------
    most : int
        Events that may wait.
    now_us : callable
        The exchange's time.
    """

    def __init__(self, most: int, now_us: Callable[[], int]) -> None:
        self._most = most
        self._now_us = now_us
        self._events: deque[BrokerEvent] = deque()
        self._lost = 0
        self._filled = asyncio.Event()
        self._broken: BaseException | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: BrokerEvent) -> None:
        """Add an event; never waits."""
        if len(self._events) >= self._most or self._lost:
            self._lost += 1
        else:
            self._events.append(event)
        self._filled.set()

    def end(self, reason: BaseException) -> None:
        """Note that nothing will come any more: `get` raises this once all is taken."""
        self._broken = reason
        self._filled.set()

    async def get(self) -> list[BrokerEvent]:
        """Return all that waits, in order, when there is something."""
        while not self._events and not self._lost:
            if self._broken is not None:
                raise self._broken
            self._filled.clear()
            await self._filled.wait()
        return self.waiting()

    def waiting(self) -> list[BrokerEvent]:
        """Return all that waits, in order."""
        found = list(self._events)
        self._events.clear()
        if self._lost:
            lost, self._lost = self._lost, 0
            reason = f"user stream: {lost} events were lost, at most {self._most} may wait"
            found.append(Doubt(time_us=self._now_us(), reason=reason))
        return found


@dataclass(frozen=True, kw_only=True)
class ListenKeys:
    """What the socket asks by REST.

    Parameters
    ----------
    create : callable
        Returns the account's key, made or extended.
    extend : callable
        Extends a key; raises `KeyRefused` where it is none any more.
    """

    create: Callable[[], Awaitable[str]]
    extend: Callable[[str], Awaitable[None]]


class UserSocket:
    """One connection after another to the user stream, each with a listen key that lives.

    Parameters
    ----------
    url : str
        Of the streams, without a path.
    keys : ListenKeys
        REST.
    stream : UserStream
        What messages mean.
    clock : ExchangeClock
        The exchange's time; keys and connections age by it.
    queue : EventQueue
        Where events go.
    ping_seconds, mute_seconds : float
        As in `BrokerSettings`.
    """

    def __init__(
        self,
        url: str,
        *,
        keys: ListenKeys,
        stream: UserStream,
        clock: ExchangeClock,
        queue: EventQueue,
        ping_seconds: float,
        mute_seconds: float,
    ) -> None:
        self._url = url.rstrip("/")
        self._keys = keys
        self._stream = stream
        self._clock = clock
        self._queue = queue
        self._ping_seconds = ping_seconds
        self._mute_seconds = mute_seconds
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._opened = asyncio.Event()
        self._awaited: dict[str, float] = {}
        self._replace_for = ""
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._pongs: dict[bytes, asyncio.Event] = {}
        self._pinged = 0
        self.connections = 0
        """How many were opened so far."""

    @property
    def is_open(self) -> bool:
        """Whether a connection stands."""
        return self._opened.is_set()

    async def open(self, timeout_s: float) -> None:
        """Start; returns when the first connection stands, TimeoutError if it does not in time."""
        self._session = aiohttp.ClientSession()
        self._task = asyncio.create_task(self._supervise(), name="user stream")
        self._task.add_done_callback(self._ended)
        async with asyncio.timeout(timeout_s):
            await self._opened.wait()

    async def close(self) -> None:
        """End the connection and everything that belongs to it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_SECONDS + 1.0)
        if self._session is not None:
            await self._session.close()

    def sending(self, client_id: str) -> None:
        """Note that an order is on its way: the stream may tell of it before it is answered."""
        self._awaited[client_id] = math.inf

    def sent(self, client_id: str, *, accepted: bool) -> None:
        """Note its answer: of an accepted order the stream must tell before long, or it is mute.

        Where the exchange's clock stands, events come when a driver moves it, and nothing is awaited.
        """
        if not accepted or not self._clock.runs:
            self._awaited.pop(client_id, None)
        elif client_id in self._awaited:
            self._awaited[client_id] = self._clock.monotonic_s()

    async def caught_up(self, timeout_s: float) -> bool:
        """Wait until everything that the exchange has sent so far is heard; return whether it is.

        Messages and the answer to a ping come in their order.
        """
        if self._socket is None:
            return False
        self._pinged += 1
        payload = f"caught up {self._pinged}".encode()
        answered = self._pongs[payload] = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                await self._socket.ping(payload)
                await answered.wait()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        finally:
            del self._pongs[payload]
        return True

    def replace(self, why: str) -> None:
        """Give the present connection up for a new one."""
        self._replace_for = why

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._queue.end(error)

    async def _supervise(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            why = await self._one_connection()
            if why:
                pause_s = _FIRST_PAUSE_S
                self._doubt(f"user stream lost: {why}")
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)

    async def _one_connection(self) -> str:
        """Connect and read until the connection ends; return why it did, empty if none came about."""
        try:
            key = await self._keys.create()
            socket = await self._connect(key)
        except (aiohttp.ClientError, OSError, TimeoutError, KeyRefused) as error:
            # Its text may hold the address, and with it the key.
            log.warning("user stream: no connection (%s)", type(error).__name__)
            return ""
        self.connections += 1
        self._awaited.clear()
        self._replace_for = ""
        if self.connections > 1:
            self._doubt("user stream open again: what happened meanwhile was not heard")
        self._socket = socket
        self._opened.set()
        reader = asyncio.create_task(self._read(socket))
        try:
            return await self._guard(socket, reader, key)
        finally:
            self._socket = None
            self._opened.clear()
            reader.cancel()
            self._leave(socket, reader)

    async def _connect(self, key: str) -> aiohttp.ClientWebSocketResponse:
        assert self._session is not None
        return await self._session.ws_connect(
            f"{self._url}/private/ws?listenKey={key}",
            autoping=False,
            max_msg_size=_LARGEST_MESSAGE,
            timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
        )

    def _leave(self, socket: aiohttp.ClientWebSocketResponse, reader: asyncio.Task[str]) -> None:
        """Close a socket beside everything else, within a bounded time, and keep nothing of it."""

        async def leave() -> None:
            await asyncio.wait({reader})
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await socket.close()
            except (aiohttp.ClientError, OSError, TimeoutError):
                log.info("user stream: a socket was left without its farewell")

        task = asyncio.create_task(leave(), name="user stream: leaving")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        """Hear messages until the connection ends; return why."""
        while True:
            try:
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.PING:
                    await socket.pong(message.data)
            except (aiohttp.ClientError, OSError) as error:
                return f"connection ended ({type(error).__name__})"
            self._heard_s = self._clock.monotonic_s()
            if message.type is aiohttp.WSMsgType.PING:
                continue
            if message.type is aiohttp.WSMsgType.TEXT:
                if self._tell(message.data):
                    return "the listen key has expired"
            elif message.type is aiohttp.WSMsgType.PONG:
                waiting = self._pongs.get(bytes(message.data))
                if waiting is not None:
                    waiting.set()
            else:
                return f"connection ended ({message.type.name.lower()})"

    def _tell(self, text: str) -> bool:
        """Put what a message means into the queue; return whether it ends the key."""
        try:
            told = orjson.loads(text)
        except (ValueError, RecursionError):
            self._doubt("user stream: a message that is no JSON")
            return False
        for event in self._stream.hear(told):
            if isinstance(event, Doubt) and event.time_us == 0:
                event = replace(event, time_us=self._clock.now_us())
            self._queue.put(event)
        if not isinstance(told, dict):
            return False
        with contextlib.suppress(ValueError):
            self._clock.heard(time_of(told.get("E")))
        order = told.get("o")
        if isinstance(order, dict):
            self._awaited.pop(str(order.get("caid", order.get("c"))), None)
        return told.get("e") == EXPIRED

    async def _guard(
        self, socket: aiohttp.ClientWebSocketResponse, reader: asyncio.Task[str], key: str
    ) -> str:
        """Ping, extend the key, look for silence; return why the connection must go."""
        born_us = extended_us = self._clock.now_us()
        self._heard_s = pinged_s = self._clock.monotonic_s()
        step_s = min(self._ping_seconds, self._mute_seconds, 1.0) / 2.0
        while not reader.done():
            await asyncio.wait({reader}, timeout=step_s)
            now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
            for event in self._stream.watch(now_us):
                self._queue.put(event)
            why = self._silence(now_s)
            if why or self._replace_for:
                return why or self._replace_for
            if self._clock.runs and now_us - born_us > LIFETIME_US:
                return "replaced before the exchange ends it"
            if now_s - pinged_s > self._ping_seconds:
                pinged_s = now_s
                await _ping(socket)
            if now_us - extended_us > KEEP_ALIVE_US:
                try:
                    await self._keys.extend(key)
                    extended_us = now_us
                except KeyRefused:
                    return "the listen key is not known any more"
                except (aiohttp.ClientError, OSError, TimeoutError):
                    log.warning("user stream: the listen key was not extended, it is tried again")
                    extended_us = now_us - KEEP_ALIVE_US + _KEEP_ALIVE_AGAIN_US
        return reader.result()

    def _silence(self, now_s: float) -> str:
        """Return in which way the connection is silent, empty if it is not."""
        if now_s - self._heard_s > 2.0 * self._ping_seconds:
            return f"dead: nothing heard for {now_s - self._heard_s:.1f} s"
        late = [name for name, at_s in self._awaited.items() if now_s - at_s > self._mute_seconds]
        return f"mute: no word of order {late[0]}" if late else ""

    def _doubt(self, reason: str) -> None:
        log.warning("%s", reason)
        self._queue.put(Doubt(time_us=self._clock.now_us(), reason=reason))


async def _ping(socket: aiohttp.ClientWebSocketResponse) -> None:
    try:
        await socket.ping()
    except (aiohttp.ClientError, OSError):
        log.info("user stream: a ping could not be sent")
