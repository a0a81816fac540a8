"""Budgets: published limits, headers, who goes first, waiting instead of failing, back-off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import pytest

from live.broker.budget import Budget, OutOfPatience, Priority, windows_of
from live.clock import ExchangeClock, Measurement

LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 50},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 10},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 1000},
]
MINUTE_MS = 60_000
SPEED = 200.0
"""A minute of the exchange lasts 0.3 s."""


def budget(speed: float = SPEED, at_ms: int = 28_000_000 * MINUTE_MS) -> Budget:
    clock = ExchangeClock(speed=speed)
    now_s = time.monotonic()
    clock.set_by(Measurement(sent_s=now_s, received_s=now_s, server_ms=at_ms))
    found = Budget(clock)
    found.publish(LIMITS)
    return found


def used(of: Budget) -> dict[str, int]:
    return {f"{w.kind} {w.name}": w.used for w in of.windows}


async def take(
    of: Budget, weight: int, priority: Priority, orders: int = 0, patience_s: float = 5.0
) -> None:
    await of.take(weight, orders=orders, priority=priority, patience_s=patience_s)


def test_windows_are_those_that_the_exchange_publishes() -> None:
    found = [(w.kind, w.name, w.length_us, w.limit) for w in windows_of(LIMITS)]
    assert found == [
        ("REQUEST_WEIGHT", "1M", 60_000_000, 100),
        ("ORDERS", "1M", 60_000_000, 50),
        ("ORDERS", "10S", 10_000_000, 10),
    ]


async def test_what_fits_goes_at_once_and_is_counted() -> None:
    of = budget(speed=1.0)
    await take(of, 7, Priority.READ, orders=1)
    await take(of, 5, Priority.EXIT)
    assert used(of) == {"REQUEST_WEIGHT 1M": 12, "ORDERS 1M": 1, "ORDERS 10S": 1}


async def test_entries_leave_a_fifth_of_a_window_to_exits() -> None:
    of = budget(speed=1.0)
    await take(of, 80, Priority.ENTRY)
    with pytest.raises(OutOfPatience, match=r"must leave room within 0\.01 s, did not"):
        await take(of, 1, Priority.ENTRY, patience_s=0.01)
    await take(of, 10, Priority.READ)
    with pytest.raises(OutOfPatience):
        await take(of, 1, Priority.READ, patience_s=0.01)
    await take(of, 10, Priority.EXIT)
    with pytest.raises(OutOfPatience):
        await take(of, 1, Priority.EXIT, patience_s=0.01)
    assert used(of)["REQUEST_WEIGHT 1M"] == 100


async def test_a_request_waits_for_the_next_window_instead_of_failing() -> None:
    of = budget()
    await take(of, 80, Priority.ENTRY)
    began = time.monotonic()
    await take(of, 50, Priority.ENTRY)
    assert 0.1 < time.monotonic() - began < 1.0
    assert used(of)["REQUEST_WEIGHT 1M"] == 50


async def test_exits_go_before_reads_and_reads_before_entries_that_came_first() -> None:
    of = budget()
    await take(of, 100, Priority.EXIT)
    gone: list[str] = []

    async def ask(name: str, priority: Priority) -> None:
        await take(of, 45, priority)
        gone.append(name)

    asked = []
    for name, priority in [
        ("entry", Priority.ENTRY),
        ("read", Priority.READ),
        ("exit", Priority.EXIT),
        ("later exit", Priority.EXIT),
    ]:
        asked.append(asyncio.create_task(ask(name, priority)))
        await asyncio.sleep(0.005)
    await asyncio.gather(*asked)
    assert gone == ["exit", "later exit", "read", "entry"]


async def test_orders_are_counted_in_their_own_windows() -> None:
    of = budget(speed=1.0)
    for _ in range(8):
        await take(of, 0, Priority.ENTRY, orders=1)
    with pytest.raises(OutOfPatience):
        await take(of, 0, Priority.ENTRY, orders=1, patience_s=0.01)
    await take(of, 1, Priority.ENTRY)  # a request without an order has room
    for _ in range(2):
        await take(of, 0, Priority.EXIT, orders=1)


async def test_headers_raise_the_counts_and_never_lower_them() -> None:
    of = budget(speed=1.0)
    await take(of, 20, Priority.READ)
    of.heard({"x-mbx-used-weight-1m": "70", "X-MBX-ORDER-COUNT-10S": "3", "Other": "x"})
    of.heard({"X-MBX-USED-WEIGHT-1M": "21", "X-MBX-ORDER-COUNT-10S": "?"})
    assert used(of) == {"REQUEST_WEIGHT 1M": 70, "ORDERS 1M": 0, "ORDERS 10S": 3}


async def test_headers_of_concurrent_answers_count_in_any_order() -> None:
    orders: Iterable[list[int]] = ([1, 9, 5], [9, 5, 1], [5, 1, 9])
    for told in orders:
        of = budget(speed=1.0)
        for value in told:
            of.heard({"X-MBX-USED-WEIGHT-1M": str(value)})
        assert used(of)["REQUEST_WEIGHT 1M"] == 9


async def test_after_429_nothing_goes_until_it_may_then_the_exit_first() -> None:
    of = budget()
    of.limited(429, 0.2)
    gone: list[str] = []

    async def ask(name: str, priority: Priority) -> None:
        await take(of, 1, priority)
        gone.append(name)

    began = time.monotonic()
    entry = asyncio.create_task(ask("entry", Priority.ENTRY))
    await asyncio.sleep(0.01)
    leave = asyncio.create_task(ask("exit", Priority.EXIT))
    await asyncio.gather(entry, leave)
    assert time.monotonic() - began >= 0.19
    assert gone == ["exit", "entry"]


async def test_a_pause_of_unknown_length_doubles_and_a_ban_is_two_minutes_at_least() -> None:
    of = budget()
    of.limited(429, 0.0)
    assert of.closed_seconds == pytest.approx(5.0, abs=0.1)
    of.limited(429, 0.0)
    assert of.closed_seconds == pytest.approx(10.0, abs=0.1)
    of.answered()
    banned = budget()
    banned.limited(418, 0.0)
    assert banned.closed_seconds == pytest.approx(120.0, abs=0.1)
    banned.limited(429, 3.0)  # a shorter word does not end a ban
    assert banned.closed_seconds == pytest.approx(120.0, abs=0.1)


async def test_too_many_orders_hold_orders_back_and_nothing_else() -> None:
    of = budget(speed=1.0)
    of.orders_limited(5.0)
    await take(of, 1, Priority.EXIT, patience_s=0.01)
    with pytest.raises(OutOfPatience):
        await take(of, 0, Priority.EXIT, orders=1, patience_s=0.01)


async def test_a_request_that_gives_up_leaves_the_queue() -> None:
    of = budget(speed=1.0)
    await take(of, 80, Priority.ENTRY)
    with pytest.raises(OutOfPatience):
        await take(of, 30, Priority.READ, patience_s=0.02)
    await take(of, 5, Priority.READ, patience_s=0.02)


async def test_new_limits_keep_what_was_counted() -> None:
    of = budget(speed=1.0)
    await take(of, 60, Priority.READ)
    of.publish([{**LIMITS[0], "limit": 6000}])
    assert used(of) == {"REQUEST_WEIGHT 1M": 60}
    await take(of, 2000, Priority.ENTRY, patience_s=0.01)


async def test_where_the_clock_stands_nothing_is_held_back_but_by_word_of_the_exchange() -> None:
    of = budget(speed=0.0)
    for _ in range(5):
        await take(of, 90, Priority.ENTRY, orders=9, patience_s=0.01)
    of.limited(429, 5.0)
    with pytest.raises(OutOfPatience):
        await take(of, 1, Priority.EXIT, patience_s=0.01)
