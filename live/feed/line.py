"""One set of streams that is kept connected: its socket, and the judgement of it by what it brings."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from live.feed.messages import Event, read
from quantcore.errors import ConfigError, SchemaMismatch

_SECOND_US = 1_000_000
_LARGEST_MESSAGE = 1 << 20
_CLOSE_SECONDS = 1.0
_TURN_SECONDS = 0.002


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How market streams are kept.

    Parameters
    ----------
    base_url : str
        Such as ``"wss://fstream.binance.com"``; the routes are added to it.
    streams_per_socket : int
        Names on one connection, in [1, 1024].
    book_stale_s, mark_stale_s, kline_stale_s : float
        Seconds of the exchange's clock without an event, or by which events lag behind it, after which a stream of a
        kind counts as stale and its socket is replaced, > 0. A book is quiet as long as its touch stands.
    patience_max_s : float
        A stream that stays mute on a new socket is given twice the time before the next one, up to this; a bar or a
        symbol that does not trade sends nothing.
    lifetime_s : float
        Seconds of the exchange's clock after which a socket is renewed, before the exchange's 24 h, > 0.
    connect_s : float
        Seconds on the wall to connect, > 0.
    backoff_s, backoff_max_s : float
        Seconds on the wall before a further attempt: the first, doubled each time up to the last; a random part of
        up to a half is taken off.
    look_s : float
        Seconds on the wall between two looks at the sockets, > 0.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    """

    base_url: str
    streams_per_socket: int = 50
    book_stale_s: float = 60.0
    mark_stale_s: float = 10.0
    kline_stale_s: float = 30.0
    patience_max_s: float = 3600.0
    lifetime_s: float = 23.0 * 3600.0
    connect_s: float = 10.0
    backoff_s: float = 0.25
    backoff_max_s: float = 30.0
    look_s: float = 0.25

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("ws://", "wss://")):
            raise ConfigError(f"base_url must start with ws:// or wss://, was {self.base_url!r}")
        if not 1 <= self.streams_per_socket <= 1024:
            raise ConfigError(
                f"streams_per_socket must be in [1, 1024], was {self.streams_per_socket}"
            )
        for name in (
            "book_stale_s",
            "mark_stale_s",
            "kline_stale_s",
            "patience_max_s",
            "lifetime_s",
            "connect_s",
            "backoff_s",
            "look_s",
        ):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"{name} must be > 0, was {getattr(self, name)}")
        if self.backoff_max_s < self.backoff_s:
            raise ConfigError(
                f"backoff_max_s must be >= backoff_s, was {self.backoff_max_s} < {self.backoff_s}"
            )


@dataclass
class Stream:
    """One stream of a line.

    Parameters
    ----------
    symbol : str
        Whose.
    kind : str
        ``"book"``, ``"mark"`` or ``"kline"``.
    limit_us : int
        Exchange's time without an event after which it is stale.
    event_us : int
        Newest event time, -1 before the first.
    patience : int
        By how much the limit is stretched, doubled by each socket that did not help.
    """

    symbol: str
    kind: str
    limit_us: int
    event_us: int = -1
    patience: int = 1


Sink = Callable[[Event], None]
"""Takes an event as it is read. There is no queue that could overflow: who reads too slowly is dropped by the exchange,
or falls behind its clock, and either is seen."""


@dataclass(eq=False)
class Socket:
    """One connection, from its handshake to its end.

    Parameters
    ----------
    born_us : int
        When it was begun, on the exchange's clock.
    task : asyncio.Task
        Connects and reads.
    heard : asyncio.Event
        Set with its first event.
    lag_us : int
        By how much its newest event was behind the exchange's clock.
    end : str
        Why it ended.
    """

    born_us: int
    task: asyncio.Task[None] = field(init=False)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    lag_us: int = 0
    end: str = ""


class Line:
    """Streams that share a socket, and the sockets that they had.

    Parameters
    ----------
    session : aiohttp.ClientSession
        Of its owner.
    url : str
        A routed address with the names.
    streams : dict of name to Stream
        What it carries.
    settings : StreamSettings
        Limits.
    now_us : callable
        The exchange's time.
    sink : callable
        Where events go.
    counts : Counter
        Shared: connections, replacements by their reason, malformed messages.
    rng : numpy.random.Generator
        Of the jitter.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        streams: dict[str, Stream],
        settings: StreamSettings,
        *,
        interval: str,
        now_us: Callable[[], int],
        sink: Sink,
        counts: Counter[str],
        rng: np.random.Generator,
    ) -> None:
        self.url = url
        self.streams = streams
        self._session = session
        self._settings = settings
        self._interval = interval
        self._now_us = now_us
        self._sink = sink
        self._counts = counts
        self._rng = rng
        self._socket: Socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._not_before_s = 0.0

    @property
    def connected(self) -> bool:
        """Whether its socket has brought an event and has not ended."""
        socket = self._socket
        return socket is not None and socket.heard.is_set() and not socket.task.done()

    @property
    def open_tasks(self) -> int:
        """Sockets and their replacements that have not ended yet."""
        return len(self._tasks)

    def look(self, now_us: int, dormant: frozenset[str]) -> None:
        """Connect where nothing is connected, and replace a socket that does not do its work."""
        now_s = asyncio.get_running_loop().time()
        socket = self._socket
        if socket is not None and socket.task.done():
            if not socket.task.cancelled():
                socket.task.result()  # what nobody expected ends the feed
            self._counts[f"ended: {socket.end}"] += 1
            self._back_off(now_s, failed=not socket.heard.is_set())
            self._socket = socket = None
        if now_s < self._not_before_s:
            return
        if socket is None:
            self._begin(now_us)
            return
        reason = self._complaint(socket, now_us, dormant)
        if reason:
            self._counts[f"replaced: {reason}"] += 1
            self._back_off(now_s, failed=not socket.heard.is_set())
            self._retire(socket, self._begin(now_us))

    async def close(self) -> None:
        """End every socket; nothing of it is left."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket = None

    def stale(self, now_us: int, dormant: frozenset[str]) -> list[Stream]:
        """Return the streams that have been silent, or behind, for longer than their kind may be."""
        return [
            stream
            for stream in self.streams.values()
            if stream.symbol not in dormant and now_us - stream.event_us > stream.limit_us
        ]

    def _complaint(self, socket: Socket, now_us: int, dormant: frozenset[str]) -> str:
        """Return why a socket is to be replaced, nothing if it is not."""
        if now_us - socket.born_us > self._settings.lifetime_s * _SECOND_US:
            return "old"
        ceiling_us = int(self._settings.patience_max_s * _SECOND_US)
        bad = [
            stream
            for stream in self.stale(now_us, dormant)
            if now_us - max(stream.event_us, socket.born_us)
            > min(stream.limit_us * stream.patience, max(ceiling_us, stream.limit_us))
        ]
        if not bad:
            return ""
        for stream in bad:
            stream.patience *= 2
        if any(socket.lag_us > stream.limit_us for stream in bad):
            return "lagging"
        return "mute" if len(bad) == len(self.streams) else "partly mute"

    def _begin(self, now_us: int) -> Socket:
        socket = Socket(now_us)
        socket.task = self._start(self._live(socket))
        self._socket = socket
        self._counts["connections"] += 1
        return socket

    def _retire(self, old: Socket, new: Socket) -> None:
        """End a socket when its successor speaks, or has had the time to."""

        async def end() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.connect_s):
                    await new.heard.wait()
            old.task.cancel()

        self._start(end())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _back_off(self, now_s: float, *, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        wait_s = min(
            self._settings.backoff_s * 2.0 ** min(self._failures, 30), self._settings.backoff_max_s
        )
        self._not_before_s = now_s + wait_s * (1.0 - 0.5 * float(self._rng.random()))

    async def _live(self, socket: Socket) -> None:
        try:
            async with asyncio.timeout(self._settings.connect_s):
                connected = await self._session.ws_connect(
                    self.url,
                    max_msg_size=_LARGEST_MESSAGE,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                )
        except TimeoutError:
            socket.end = "no handshake"
            return
        except (aiohttp.ClientError, OSError) as error:
            socket.end = type(error).__name__
            return
        try:
            socket.end = await self._read(socket, connected)
        except (aiohttp.ClientError, OSError) as error:
            socket.end = type(error).__name__
        finally:
            await connected.close()

    async def _read(self, socket: Socket, connected: aiohttp.ClientWebSocketResponse) -> str:
        loop = asyncio.get_running_loop()
        rested_s = loop.time()
        async for message in connected:
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return str(message.type.name).lower()
            self._hear(socket, message.data)
            now_s = loop.time()
            if now_s - rested_s > _TURN_SECONDS:  # messages that wait must not hold up the others
                await asyncio.sleep(0)
                rested_s = loop.time()
        return "closed"

    def _hear(self, socket: Socket, text: str | bytes) -> None:
        try:
            event = read(text, self._interval)
        except SchemaMismatch:
            self._counts["malformed"] += 1
            return
        stream = None if event is None else self.streams.get(event.stream)
        if event is None or stream is None:
            self._counts["foreign"] += 1
            return
        now_us = self._now_us()
        socket.lag_us = now_us - event.time_us
        if socket.lag_us < -stream.limit_us:  # it would outlast every later event
            self._counts["from the future"] += 1
            return
        if event.time_us > stream.event_us:
            stream.event_us = event.time_us
            if socket.lag_us <= stream.limit_us:
                stream.patience = 1
        socket.heard.set()
        self._counts["messages"] += 1
        self._sink(event)
