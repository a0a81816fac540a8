"""How much may be asked of the exchange: its windows of weight and orders, exits and cancels first.

A request waits for its turn instead of failing. What opens a position leaves a share of every window to what closes
one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from live.clock import ExchangeClock

_SECOND_US = 1_000_000
_INTERVAL_US: Final = {
    "SECOND": _SECOND_US,
    "MINUTE": 60 * _SECOND_US,
    "HOUR": 3600 * _SECOND_US,
    "DAY": 24 * 3600 * _SECOND_US,
}
_LETTER: Final = {"SECOND": "S", "MINUTE": "M", "HOUR": "H", "DAY": "D"}
_WEIGHT: Final = "REQUEST_WEIGHT"
_ORDERS: Final = "ORDERS"
_WEIGHT_HEADER: Final = "X-MBX-USED-WEIGHT-"
_ORDERS_HEADER: Final = "X-MBX-ORDER-COUNT-"
_FIRST_PAUSE_S = 5.0
_FIRST_BAN_S = 120.0
"""Where a 429 or a 418 does not say how long: a ban is two minutes at least (BINANCE.md)."""
_ORDERS_PAUSE_S = 1.0
_GRAIN_US = 1000


class Priority(IntEnum):
    """Who goes first."""

    EXIT = 0
    """What reduces, closes or cancels."""
    READ = 1
    ENTRY = 2


_SHARE: Final = {Priority.EXIT: 1.0, Priority.READ: 0.9, Priority.ENTRY: 0.8}
"""Of every window, up to which it may be filled."""


class OutOfPatience(Exception):
    """The limits leave no room for a request within its patience; it was not sent."""


@dataclass
class Window:
    """A limit, counted in spans that begin at whole multiples of their length.

    Parameters
    ----------
    kind : str
        ``REQUEST_WEIGHT`` or ``ORDERS``.
    name : str
        As in the headers, such as ``1M`` and ``10S``.
    length_us : int
        Of a span.
    limit : int
        As the exchange publishes it.
    """

    kind: str
    name: str
    length_us: int
    limit: int
    index: int = 0
    used: int = 0

    def roll(self, now_us: int) -> None:
        """Begin a new span if the present one is over."""
        index = now_us // self.length_us
        if index != self.index:
            self.index, self.used = index, 0

    def left_us(self, now_us: int) -> int:
        """Return how long the present span lasts."""
        return self.length_us - now_us % self.length_us


@dataclass(order=True)
class _Waiter:
    priority: Priority
    number: int
    weight: int = field(compare=False)
    orders: int = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)


def windows_of(rate_limits: Iterable[Mapping[str, Any]]) -> list[Window]:
    """Return the windows that exchangeInfo's ``rateLimits`` publishes; kinds that are not known are left out."""
    return [
        Window(
            kind=str(each["rateLimitType"]),
            name=f"{each['intervalNum']}{_LETTER[each['interval']]}",
            length_us=int(each["intervalNum"]) * _INTERVAL_US[each["interval"]],
            limit=int(each["limit"]),
        )
        for each in rate_limits
        if each["rateLimitType"] in (_WEIGHT, _ORDERS) and each["interval"] in _INTERVAL_US
    ]


class Budget:
    """The windows of one account at one address.

    Where the exchange's clock stands (lock-step) no window ever ends, and nothing is held back: such an exchange counts
    without enforcing.

    Parameters
    ----------
    clock : ExchangeClock
        Windows begin by the exchange's time.
    """

    def __init__(self, clock: ExchangeClock) -> None:
        self._clock = clock
        self._windows: list[Window] = []
        self._waiting: list[_Waiter] = []
        self._numbers = itertools.count()
        self._closed_until_s = 0.0
        self._closures = 0
        self._orders_closed_until_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def windows(self) -> tuple[Window, ...]:
        """The limits and what of them is used."""
        return tuple(self._windows)

    @property
    def closed_seconds(self) -> float:
        """How long the exchange wants no request, seconds; 0 where it takes them."""
        return max(self._closed_until_s - self._clock.monotonic_s(), 0.0)

    def publish(self, rate_limits: Iterable[Mapping[str, Any]]) -> None:
        """Take the limits from exchangeInfo; counts of windows that stay are kept."""
        used = {(w.kind, w.name): (w.index, w.used) for w in self._windows}
        self._windows = windows_of(rate_limits)
        for window in self._windows:
            window.index, window.used = used.get((window.kind, window.name), (0, 0))

    async def take(
        self, weight: int, *, orders: int = 0, priority: Priority, patience_s: float
    ) -> None:
        """Wait until a request may go, and count it.

        Parameters
        ----------
        weight : int
            Of the request.
        orders : int
            How many it counts for.
        priority : Priority
            Who goes first.
        patience_s : float
            How long it may wait, seconds.

        Raises
        ------
        OutOfPatience
            If its turn does not come in time.
        """
        if not self._waiting and self._fits(weight, orders, priority):
            self._count(weight, orders)
            return
        waiter = _Waiter(
            priority,
            next(self._numbers),
            weight,
            orders,
            asyncio.get_running_loop().create_future(),
        )
        heapq.heappush(self._waiting, waiter)
        self._serve()
        try:
            async with asyncio.timeout(patience_s):
                await waiter.turn
        except TimeoutError:
            raise OutOfPatience(
                f"the exchange's limits must leave room within {patience_s:g} s, did not"
            ) from None
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                heapq.heapify(self._waiting)
                self._serve()

    def heard(self, headers: Mapping[str, str]) -> None:
        """Take the counts that came with an answer; a header never lowers what was counted here."""
        now_us = self._clock.now_us()
        told = {name.upper(): value for name, value in headers.items()}
        for window in self._windows:
            prefix = _WEIGHT_HEADER if window.kind == _WEIGHT else _ORDERS_HEADER
            value = told.get(f"{prefix}{window.name}", "")
            window.roll(now_us)
            if value.isdigit():
                window.used = max(window.used, int(value))

    def limited(self, status: int, retry_after_s: float) -> None:
        """Send nothing for as long as a 429 or 418 says; each without a word of how long doubles the pause."""
        self._closures += 1
        pause_s = retry_after_s
        if pause_s <= 0.0:
            first = _FIRST_BAN_S if status == 418 else _FIRST_PAUSE_S
            pause_s = first * 2.0 ** min(self._closures - 1, 6)
        until_s = self._clock.monotonic_s() + pause_s
        self._closed_until_s = max(self._closed_until_s, until_s)

    def orders_limited(self, retry_after_s: float) -> None:
        """Send no order for a while, cancels and reads as before: the exchange counts more orders than we do."""
        until_s = self._clock.monotonic_s() + (retry_after_s or _ORDERS_PAUSE_S)
        self._orders_closed_until_s = max(self._orders_closed_until_s, until_s)

    def answered(self) -> None:
        """Note that the exchange took a request: the next pause without a word of how long begins anew."""
        self._closures = 0

    def _fits(self, weight: int, orders: int, priority: Priority) -> bool:
        if self.closed_seconds > 0.0 or (orders and self._orders_closed_s() > 0.0):
            return False
        if not self._clock.runs:
            return True
        now_us = self._clock.now_us()
        for window in self._windows:
            window.roll(now_us)
            amount = weight if window.kind == _WEIGHT else orders
            if amount and window.used + amount > max(window.limit * _SHARE[priority], amount):
                return False
        return True

    def _count(self, weight: int, orders: int) -> None:
        for window in self._windows:
            window.roll(self._clock.now_us())
            window.used += weight if window.kind == _WEIGHT else orders

    def _serve(self) -> None:
        """Let those go whose turn it is, in their order; nobody overtakes a more urgent one."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._waiting:
            first = self._waiting[0]
            if first.turn.done():
                heapq.heappop(self._waiting)
            elif self._fits(first.weight, first.orders, first.priority):
                heapq.heappop(self._waiting)
                self._count(first.weight, first.orders)
                first.turn.set_result(None)
            else:
                self._alarm = asyncio.get_running_loop().call_later(self._pause_s(), self._serve)
                return

    def _orders_closed_s(self) -> float:
        return max(self._orders_closed_until_s - self._clock.monotonic_s(), 0.0)

    def _pause_s(self) -> float:
        """Return how long until something changes: the shortest window ends, or the exchange takes requests again."""
        closed_s = max(self.closed_seconds, self._orders_closed_s())
        if closed_s > 0.0 or not self._clock.runs:
            return closed_s + 0.001
        now_us = self._clock.now_us()
        left_us = min((window.left_us(now_us) for window in self._windows), default=_SECOND_US)
        return self._clock.wall_seconds(left_us + _GRAIN_US)
