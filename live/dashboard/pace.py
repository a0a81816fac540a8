"""How much is asked of the page: whoever floods it waits, so that the loop beside it keeps its processors.

Readers and strangers (another site's page, whoever has not shown the token) have turns of their own: a stranger's flood
holds up no reader, nor his kill switch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from live.dashboard.gate import App, Receive, Scope, Send

REQUESTS: Final = (400, 40.0)
"""Requests at once, and a second: a page with everything that it loads asks for some thirty."""
MESSAGES: Final = (100, 20.0)
"""Messages of one socket at once, and a second."""
MOST_WAIT_S: Final = 10.0
"""Beyond which a request is refused."""


class Pace:
    """Turns for what comes, a burst of them at once and then so many a second.

    Parameters
    ----------
    burst : int
        Turns at once after a calm time, >= 1.
    per_s : float
        Turns a second, > 0.
    now : callable
        Seconds of a clock that never goes back.
    """

    def __init__(
        self, burst: int, per_s: float, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._span_s, self._ahead_s, self._now = 1.0 / per_s, (burst - 1) / per_s, now
        self._next_s = -float("inf")
        """When the next turn would be if nobody might come early."""

    def turn(self, most_wait_s: float = float("inf")) -> float | None:
        """Return the seconds until the next turn and take it; None if they are more than may be waited."""
        now_s = self._now()
        next_s = max(self._next_s, now_s)
        wait_s = max(0.0, next_s - now_s - self._ahead_s)
        if wait_s > most_wait_s:
            return None
        self._next_s = next_s + self._span_s
        return wait_s


class Paced:
    """Lets requests and a socket's messages through at a pace, whoever sends them.

    Parameters
    ----------
    app : callable
        An ASGI application.
    admits : callable
        Says of a scope whether a reader asks; what strangers ask for has turns of its own.
    requests, messages : tuple of int and float
        How many at once, and how many a second: requests and new sockets of all readers, and of all strangers, messages
        of each socket.
    most_wait_s : float
        A request that would wait for longer is refused with 429, after as long.
    sleep : callable
        Waits some seconds.
    """

    def __init__(
        self,
        app: App,
        *,
        admits: Callable[[Scope], bool],
        requests: tuple[int, float] = REQUESTS,
        messages: tuple[int, float] = MESSAGES,
        most_wait_s: float = MOST_WAIT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._app, self._admits, self._messages = app, admits, messages
        self._most_wait_s, self._sleep = most_wait_s, sleep
        self._readers, self._strangers = Pace(*requests), Pace(*requests)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or socket in its turn."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        pace = self._readers if self._admits(scope) else self._strangers
        wait_s = pace.turn(self._most_wait_s)
        if wait_s is None:
            await self._sleep(self._most_wait_s)
            await _refuse(scope, receive, send)
            return
        if wait_s:
            await self._sleep(wait_s)
        if scope["type"] == "websocket":
            receive = self._in_turn(receive)
        await self._app(scope, receive, send)

    def _in_turn(self, receive: Receive) -> Receive:
        pace = Pace(*self._messages)

        async def received() -> MutableMapping[str, Any]:
            message = await receive()
            wait_s = pace.turn()
            if wait_s:
                await self._sleep(wait_s)
            return message

        return received


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013, "reason": "too much is asked"})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"10")]
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": b"Too much is asked of this page.\n"})
