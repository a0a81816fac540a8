"""The exchange's WebSockets: market and user streams by route, and `/ws-fapi/v1`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol

from aiohttp import WSCloseCode, web

from live.simulator.connection import Connection, StreamSettings
from live.simulator.hub import (
    EXPIRED,
    Hub,
    Message,
    Subscriber,
    SubscriptionError,
    expired,
    forced_streams,
    in_order,
    private_names,
)
from live.simulator.hub import Route as StreamRoute
from live.simulator.listen_keys import ListenKeys
from live.simulator.subscription_requests import answer
from live.simulator.wire import Refused
from live.simulator.ws_api import Call, read

log = logging.getLogger(__name__)

SLICE_US = 60_000_000
"""Market data of longer spans are made and sent in pieces, so that they never lie in memory all together."""
_BREATH = 256
TURN_SECONDS = 0.001
"""On the wall, after which a burst of messages lets requests in between."""
_USER = "user:"
_DOWN = Refused(-1001, "Internal error; unable to process your request. Please try again.", 503)
_TOO_MANY = Refused(-1003, "Too many connections; please close some.", 429)
_WEBSOCKETS_ONLY = Refused(-1000, "This address takes WebSocket connections only.")


class Exchange(Protocol):
    """What the streams ask of the venue."""

    now_us: int

    @property
    def lock_step(self) -> bool:
        """Whether a driver moves the clock."""

    def drain_forced(self) -> Iterable[dict[str, Any]]:
        """Return the forced orders since the last call, in order."""

    def drain(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Return (account, payload) of the user events since the last call, in order."""


Due = Callable[[int, int], Iterable[Any]]
"""Takes two times in microseconds, gives the payloads of one stream that are due in (from, to]; None is not sent."""


class Api(NamedTuple):
    """What answers requests over the WebSocket API.

    Parameters
    ----------
    perform : callable
        Answers a call from an address as REST does: its limits, key, signature and handler; raises `Refused`.
    limits : callable
        The `rateLimits` that stand in the answer to a call (None: one that could not be read) from an address.
    """

    perform: Callable[[Call, str], Awaitable[Any]]
    limits: Callable[[Call | None, str], list[dict[str, Any]]]


class Delivery(Protocol):
    """What is sent of a message, and when, in simulated microseconds."""

    @property
    def payload(self) -> Any:
        """As JSON has it."""

    @property
    def at_us(self) -> int:
        """When it is due."""


class Faults(Protocol):
    """What goes wrong with messages and handshakes."""

    def on_message(self, stream: str, payload: Any, now_us: int) -> Sequence[Delivery]:
        """Return what becomes of a message; user events come as the stream ``user:KEY``."""

    def on_connect(self, path: str, now_us: int) -> bool:
        """Return whether a connection is accepted."""


class Streams:
    """All WebSockets of one exchange.

    Parameters
    ----------
    venue : Exchange
        The venue.
    market : callable
        Returns what sends a stream's messages, None where there is none: ``partial(ticker_streams.opened, tape)``.
    keys : ListenKeys
        Shared with REST.
    settings : StreamSettings
        How they behave.
    api : Api or None
        Answers requests over the WebSocket API; None has no such address.
    faults : Faults or None
        What goes wrong.
    """

    def __init__(
        self,
        venue: Exchange,
        market: Callable[[str], Due | None],
        keys: ListenKeys,
        settings: StreamSettings,
        *,
        api: Api | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.hub = Hub(legacy=settings.legacy)
        self.keys = keys
        self._venue = venue
        self._market = market
        self._settings = settings
        self._api = api
        self._faults = faults
        self._connections: dict[Connection, Subscriber | None] = {}
        self._of: dict[Subscriber, Connection] = {}
        self._named: list[str] = []  # what someone hears, and what of that the market has
        self._real: dict[str, Due] = {}
        self._rested_s = 0.0  # when others were last let in
        self._late: list[tuple[int, int, str, Any]] = []  # heap of (due, number, stream, payload)
        self._delayed = 0
        self._half = settings.backlog_bytes // 2
        self._crowded = False  # whether some backlog is more than half full

    def add_routes(self, app: web.Application) -> None:
        """Add the addresses to an application, and the end of all connections to its end."""
        for route in ("public", "market", "private"):
            self._add(app, f"/{route}", route)
        self._add(app, "", "legacy")
        if self._api is not None:
            app.router.add_get("/ws-fapi/v1", partial(self._serve_api, api=self._api))
        app.on_shutdown.append(self._shut)

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._connections)

    @property
    def backlog(self) -> int:
        """Bytes that wait for all readers together."""
        return sum(connection.backlog for connection in self._connections)

    def disconnect(self, pattern: str) -> int:
        """Cut the connections whose path with its query matches a pattern as of a shell, and return how many."""
        cut = [c for c in self._connections if fnmatchcase(c.path, pattern)]
        for connection in cut:
            connection.drop()
        return len(cut)

    async def deliver(self, from_us: int, to_us: int) -> None:
        """Send what is due in (from, to]; called after each step of the venue, also with no time passed.

        User events go out first where time passes by itself, and again whenever others are let in: they wait for no
        market data. In lock-step each bar's market data come before what its fills tell.
        """
        if not self._venue.lock_step:
            self._tell_users(to_us)
        for start_us in range(from_us, to_us, SLICE_US):
            await self._deliver_market(start_us, min(start_us + SLICE_US, to_us))
        self._send_late(to_us)
        self._tell_users(to_us)
        if not self._venue.lock_step:  # there a bar may be as long as a connection lives
            self._end_the_old(to_us)

    async def _deliver_market(self, from_us: int, to_us: int) -> None:
        due = []
        for stream, send in self._heard().items():
            for payload in send(from_us, to_us):
                if payload is not None:
                    due.append(Message(stream, payload))
                await self._let_others_in()
        self._send_late(to_us)
        for count, message in enumerate(in_order(due), start=1):
            self._spread(*message, to_us)
            if self._crowded or count % _BREATH == 0:
                await self._breathe()
            else:
                await self._let_others_in()

    async def _let_others_in(self) -> None:
        """Let requests be answered between the messages of a burst, and tell what they set off."""
        now_s = asyncio.get_running_loop().time()
        if self._venue.lock_step or now_s - self._rested_s < TURN_SECONDS:
            return
        await asyncio.sleep(0)
        self._tell_users(self._venue.now_us)
        self._rested_s = asyncio.get_running_loop().time()

    def _tell_users(self, now_us: int) -> None:
        for account, key in self.keys.expire(now_us):
            self._spread(_USER + account, expired(key, now_us // 1000), now_us)
        for payload in self._venue.drain_forced():
            for stream in forced_streams(payload):
                self._spread(stream, payload, now_us)
        for account, payload in self._venue.drain():
            self._spread(_USER + account, payload, now_us)

    def _heard(self) -> dict[str, Due]:
        """Return what the market sends to someone, by stream; found once for each change of who listens."""
        named = self.hub.streams()
        if named is not self._named:
            opened = {name: self._real.get(name) or self._market(name) for name in named}
            self._named = named
            self._real = {name: send for name, send in opened.items() if send is not None}
        return self._real

    def _spread(self, stream: str, payload: Any, now_us: int) -> None:
        if self._faults is None:
            self._send(stream, payload, now_us)
            return
        for delivery in self._faults.on_message(stream, payload, now_us):
            if delivery.at_us <= now_us:
                self._send(stream, delivery.payload, now_us)
            else:
                self._delayed += 1
                heappush(self._late, (delivery.at_us, self._delayed, stream, delivery.payload))

    def _send_late(self, now_us: int) -> None:
        while self._late and self._late[0][0] <= now_us:
            _, _, stream, payload = heappop(self._late)
            self._send(stream, payload, now_us)

    def _send(self, stream: str, payload: Any, now_us: int) -> None:
        if stream.startswith(_USER):
            account = stream.removeprefix(_USER)
            key = (
                payload["listenKey"]
                if payload["e"] == EXPIRED
                else self.keys.key_of(account, now_us)
            )
            if key is None:
                return
            stream = key
        for subscriber, text in self.hub.fan_out(Message(stream, payload)):
            connection = self._of[subscriber]
            connection.send(text)
            self._crowded = self._crowded or connection.backlog > self._half

    async def _breathe(self) -> None:
        """Let the writers write; in lock-step, where no time passes meanwhile, wait for slow readers."""
        await asyncio.sleep(0)
        self._crowded = False
        if not self._venue.lock_step:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.patience_seconds
        while slow := [c for c in self._connections if c.backlog > self._half]:
            if loop.time() >= until:
                for connection in slow:
                    connection.drop()
                return
            await asyncio.sleep(0.001)

    def _end_the_old(self, now_us: int) -> None:
        for connection in self._connections:
            if now_us - connection.born_us >= self._settings.lifetime_us:
                connection.end(WSCloseCode.GOING_AWAY, "24 hours are over")

    def _add(self, app: web.Application, prefix: str, route: StreamRoute) -> None:
        async def raw(request: web.Request) -> web.StreamResponse:
            path = request.match_info.get("names", "")
            return await self._serve(request, Subscriber(route, combined=False), path.split("/"))

        async def combined(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, Subscriber(route, combined=True), [])

        app.router.add_get(f"{prefix}/ws", raw)
        app.router.add_get(f"{prefix}/ws/{{names:.*}}", raw)
        app.router.add_get(f"{prefix}/stream", combined)

    async def _serve(
        self, request: web.Request, subscriber: Subscriber, names: list[str]
    ) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return web.json_response(refusal.body, status=refusal.status)
        listed = request.query.get("streams", "").split("/")
        names = [*names, *listed, *private_names(request.query.items())]
        limited = not self._venue.lock_step  # as requests are
        connection = Connection(request, self._settings, self._venue.now_us, limited=limited)
        self._connections[connection], self._of[subscriber] = subscriber, connection
        try:
            self.hub.subscribe(subscriber, (name for name in names if name))

            async def reply(text: str) -> str:
                return answer(self.hub, subscriber, text)

            return await connection.run(reply)
        except SubscriptionError as error:
            return web.json_response(error.body, status=400)
        finally:
            self.hub.remove(subscriber)
            del self._connections[connection], self._of[subscriber]

    async def _serve_api(self, request: web.Request, api: Api) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return web.json_response(refusal.body, status=refusal.status)
        with_limits = request.query.get("returnRateLimits", "true") != "false"
        address = request.remote or ""

        async def reply(text: str) -> str:
            return await self._reply(api, text, address, with_limits=with_limits)

        connection = Connection(request, self._settings, self._venue.now_us, limited=False)
        self._connections[connection] = None
        try:
            return await connection.run(reply)
        finally:
            del self._connections[connection]

    async def _reply(self, api: Api, text: str, address: str, *, with_limits: bool) -> str:
        envelope, asked = read(text, with_limits=with_limits)
        call = asked if isinstance(asked, Call) else None
        outcome: Any = asked
        if call is not None:
            try:
                outcome = await api.perform(call, address)
            except Refused as refused:
                outcome = refused
            except Exception:  # the exchange answers whatever happens inside
                log.exception("request failed: %s", call.name)
                outcome = Refused(-1000, "An unknown error occurred while processing the request.")
        told = api.limits(call, address)
        if isinstance(outcome, Refused):
            return envelope.failure(outcome, told)
        return envelope.success(outcome, told)

    def _refusal(self, request: web.Request) -> Refused | None:
        if not web.WebSocketResponse().can_prepare(request):
            return _WEBSOCKETS_ONLY
        path, now_us = request.rel_url.raw_path_qs, self._venue.now_us
        if self._faults is not None and not self._faults.on_connect(path, now_us):
            return _DOWN
        return _TOO_MANY if len(self._connections) >= self._settings.connections else None

    async def _shut(self, app: web.Application) -> None:
        for connection in self._connections:
            connection.end(WSCloseCode.GOING_AWAY, "Server shutdown")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                while self._connections:
                    await asyncio.sleep(0.01)
