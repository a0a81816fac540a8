"""The supervised socket: dead, mute, expired, deaf and overflowing ones, and a host that is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest

from live.broker import user_socket
from live.broker.binance import BinanceBroker
from live.broker.interface import Doubt, Fill, Order, OrderChange, Outcome
from live.broker.user_socket import EventQueue
from quantcore.types import OrderType, Side
from tests.broker.hand_made import HandMade, hand_made, order_answer, refuse
from tests.broker.messages import order_update, trade
from tests.broker.on_simulator import Connected, connected


@asynccontextmanager
async def both(**changes: object) -> AsyncIterator[tuple[HandMade, Connected]]:
    async with hand_made() as exchange, connected(exchange.settings(**changes)) as there:
        yield exchange, there


def reasons(there: Connected) -> list[str]:
    return [event.reason for event in there.events if isinstance(event, Doubt)]


def entry(name: str = "q-1") -> Order:
    return Order(
        client_id=name, symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, qty="0.010", price="1.0"
    )  # fmt: skip


async def test_events_come_in_order_and_the_key_stands_in_the_private_path() -> None:
    async with both() as (exchange, there):
        for t in range(50):
            await exchange.tell(trade(t=t))
        await exchange.until(lambda: len(there.events) == 50)
        assert [e.trade_id for e in there.events if isinstance(e, Fill)] == list(range(50))
        assert exchange.sockets[0].key == "key-0"


async def test_a_burst_beyond_the_clients_queue_of_a_hundred_is_heard_whole() -> None:
    """Danger 4: the client's own read loop dies at the hundredth message that waits."""
    async with hand_made() as exchange:
        broker = BinanceBroker(exchange.settings())
        await broker.start()
        try:
            for t in range(1500):
                await exchange.tell(trade(t=t))
            await exchange.until(lambda: len(broker._queue) == 1500)
            events = broker.events()
            told = await anext(events)
            assert [e.trade_id for e in told if isinstance(e, Fill)] == list(range(1500))
        finally:
            await broker.close()


async def test_what_overflows_is_told_before_anything_newer() -> None:
    """Danger 4: nothing is lost silently."""
    queue = EventQueue(3, lambda: 7)
    for t in range(5):
        queue.put(Doubt(time_us=t, reason="x"))
    *kept, lost = await queue.get()
    assert [e.time_us for e in kept] == [0, 1, 2]
    assert lost == Doubt(time_us=7, reason="user stream: 2 events were lost, at most 3 may wait")
    queue.put(Doubt(time_us=6, reason="x"))
    assert [e.time_us for e in await queue.get()] == [6]


async def test_a_reader_that_breaks_is_not_silence() -> None:
    queue = EventQueue(3, lambda: 7)
    queue.put(Doubt(time_us=1, reason="x"))
    queue.end(RuntimeError("broken"))
    assert [e.time_us for e in await queue.get()] == [1]
    with pytest.raises(RuntimeError, match="broken"):
        await queue.get()


async def test_a_ping_of_the_exchange_is_answered_with_its_payload() -> None:
    async with both() as (exchange, _):
        await exchange.sockets[0].response.ping(b"1704182280123")
        await exchange.until(lambda: exchange.sockets[0].pongs == [b"1704182280123"])


async def test_a_ping_that_cannot_be_answered_ends_the_connection_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*_: object) -> None:
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")

    async with both() as (exchange, there):
        monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "pong", refuse)
        await exchange.sockets[0].response.ping(b"1")
        await exchange.until(lambda: len(exchange.sockets) == 2)
        monkeypatch.undo()
        await exchange.tell(trade())
        await there.heard(Fill, trade_id=77)


async def test_a_lost_connection_is_replaced_and_told_twice() -> None:
    async with both() as (exchange, there):
        exchange.cut(exchange.sockets[0])
        await exchange.until(lambda: len(exchange.sockets) == 2)
        await there.heard(
            Doubt, reason="user stream open again: what happened meanwhile was not heard"
        )
        assert reasons(there)[0].startswith("user stream lost: connection ended")
        await exchange.tell(trade())
        await there.heard(Fill, trade_id=77)
        assert len(exchange.open_sockets) == 1


async def test_an_expired_key_brings_a_new_key_and_a_new_socket_and_leaks_no_old_one() -> None:
    """Danger 7."""
    async with both() as (exchange, there):
        exchange.keys = 1
        await exchange.tell({"e": "listenKeyExpired", "E": "1704182280123", "listenKey": "key-0"})
        await exchange.until(lambda: len(exchange.sockets) == 2 and exchange.sockets[0].is_closed)
        assert [socket.key for socket in exchange.sockets] == ["key-0", "key-1"]
        await there.heard(Doubt, reason="user stream lost: the listen key has expired")
        await exchange.tell(trade())
        await there.heard(Fill, trade_id=77)
        assert len([reason for reason in reasons(there) if "expired" in reason]) == 1


async def test_the_key_is_extended_every_half_hour() -> None:
    async with both(clock_speed=10_000.0, clock_off_max_ms=None, mute_seconds=0.02) as (
        exchange,
        _,
    ):
        await exchange.until(lambda: len(exchange.requests("PUT /fapi/v1/listenKey")) >= 3)
        assert exchange.requests("PUT /fapi/v1/listenKey")[0] == {"listenKey": "key-0"}
        assert len(exchange.sockets) == 1


async def test_a_key_that_is_not_known_any_more_is_replaced_with_its_socket() -> None:
    """Danger 7: the exchange may forget a key without a word, and the socket goes mute."""
    async with both(clock_speed=10_000.0, clock_off_max_ms=None, mute_seconds=0.02) as (
        exchange,
        there,
    ):
        exchange.keys = 1
        exchange.answers["PUT /fapi/v1/listenKey"] = refuse(
            400, -1125, "This listenKey does not exist."
        )
        await exchange.until(lambda: len(exchange.sockets) > 1)
        assert exchange.sockets[1].key == "key-1"
        assert "user stream lost: the listen key is not known any more" in reasons(there)


async def test_a_failed_extension_is_tried_again_before_the_key_ends() -> None:
    async with both(clock_speed=10_000.0, clock_off_max_ms=None, mute_seconds=0.02) as (
        exchange,
        _,
    ):
        exchange.answers["PUT /fapi/v1/listenKey"] = refuse(503, -1000, "Service Unavailable.")
        await exchange.until(lambda: len(exchange.requests("PUT /fapi/v1/listenKey")) >= 3)
        assert len(exchange.sockets) == 1


async def test_a_connection_is_replaced_before_its_twenty_four_hours_are_over() -> None:
    async with both(clock_speed=200_000.0, clock_off_max_ms=None) as (exchange, there):
        await exchange.until(lambda: len(exchange.sockets) >= 2 and exchange.sockets[0].is_closed)
        assert "user stream lost: replaced before the exchange ends it" in reasons(there)


async def test_a_host_that_answers_no_ping_is_dead_and_its_socket_replaced() -> None:
    """Danger 6."""
    async with both(ping_seconds=0.1) as (exchange, there):
        exchange.pongs = False
        await exchange.until(lambda: len(exchange.sockets) >= 2)
        assert reasons(there)[0].startswith("user stream lost: dead: nothing heard for 0.")
        exchange.pongs = True
        await exchange.until(lambda: len(exchange.open_sockets) == 1)
        count = len(exchange.sockets)
        await asyncio.sleep(0.5)
        assert len(exchange.sockets) == count, "a quiet account is not a dead socket"


async def test_a_socket_that_says_nothing_of_an_accepted_order_is_mute_and_replaced() -> None:
    """Danger 6: pings are answered, events do not come."""
    async with both(mute_seconds=0.2) as (exchange, there):
        exchange.answers["POST /fapi/v1/order"] = order_answer
        answer = await there.broker.send(entry())
        assert answer.outcome is Outcome.ACCEPTED
        await exchange.until(lambda: len(exchange.sockets) == 2)
        assert reasons(there)[0] == "user stream lost: mute: no word of order q-1"
        await asyncio.sleep(0.5)
        assert len(exchange.sockets) == 2


async def test_a_socket_that_tells_of_the_order_even_before_its_answer_is_not_mute() -> None:
    async with both(mute_seconds=0.1) as (exchange, there):

        async def early(params: Mapping[str, str]) -> dict[str, object]:
            await exchange.tell(order_update(c=params["newClientOrderId"]))
            await asyncio.sleep(0.05)
            return order_answer(params)

        exchange.answers["POST /fapi/v1/order"] = early
        await there.broker.send(entry())
        exchange.answers["POST /fapi/v1/order"] = refuse(400, -2019, "Margin is insufficient.")
        await there.broker.send(entry("q-2"))
        await asyncio.sleep(0.4)
        assert len(exchange.sockets) == 1
        await there.heard(OrderChange, client_id="q-1")


async def test_a_host_that_is_down_is_tried_until_it_is_back() -> None:
    """Danger 5: the client gives up after four attempts."""
    async with both() as (exchange, there):
        await exchange.stop()
        await there.heard(Doubt)
        await asyncio.sleep(2.0)
        await exchange.start()
        exchange.sockets.clear()
        await exchange.until(lambda: len(exchange.open_sockets) == 1, seconds=15.0)
        await exchange.tell(trade())
        await there.heard(Fill, trade_id=77)


async def test_the_pauses_between_attempts_grow_and_do_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Danger 5."""
    monkeypatch.setattr(user_socket, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(user_socket, "_LONGEST_PAUSE_S", 0.04)
    async with both() as (exchange, _):
        exchange.answers["POST /fapi/v1/listenKey"] = refuse(503, -1000, "Service Unavailable.")
        before = len(exchange.requests("POST /fapi/v1/listenKey"))
        exchange.cut(exchange.sockets[0])
        await exchange.until(
            lambda: len(exchange.requests("POST /fapi/v1/listenKey")) >= before + 12
        )
        del exchange.answers["POST /fapi/v1/listenKey"]
        await exchange.until(lambda: len(exchange.sockets) == 2)


async def test_a_farewell_that_takes_ten_seconds_delays_neither_the_next_socket_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Danger 12."""
    at_once = aiohttp.ClientWebSocketResponse.close

    async def slowly(socket: aiohttp.ClientWebSocketResponse) -> bool:
        try:
            await asyncio.sleep(10.0)
        finally:
            await at_once(socket)
        return True

    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "close", slowly)
    async with both(ping_seconds=0.1) as (exchange, there):
        exchange.deaf = True
        exchange.cut(exchange.sockets[0])
        await exchange.until(lambda: len(exchange.sockets) == 2)
        began = time.monotonic()
        await exchange.until(lambda: len(exchange.sockets) >= 5)
        assert time.monotonic() - began < 1.9, "replacing waited for a farewell"
        began = time.monotonic()
        await there.broker.close()
        assert time.monotonic() - began < 4.0
        exchange.deaf = False
        await exchange.until(lambda: not exchange.open_sockets)


async def test_closing_leaves_no_connection_and_no_task_behind() -> None:
    """Danger 9."""
    async with hand_made() as exchange:
        before = asyncio.all_tasks()
        broker = BinanceBroker(exchange.settings())
        await broker.start()
        began = time.monotonic()
        await broker.close()
        assert time.monotonic() - began < 1.0
        await exchange.until(lambda: not exchange.open_sockets)
        ours = {t for t in asyncio.all_tasks() - before if "live/broker" in str(t.get_coro())}
        assert ours == set()
        assert exchange.other_paths == [], "neither the spot host nor the WebSocket API was asked"


@pytest.mark.parametrize("text", ["not JSON", "[1]", '"text"', "null", '{"e": 7}'])
async def test_a_malformed_message_is_doubt_and_the_stream_goes_on(text: str) -> None:
    async with both() as (exchange, there):
        await exchange.tell(text)
        doubt = await there.heard(Doubt)
        assert doubt.time_us > 1_600_000_000_000_000
        await exchange.tell(trade())
        await there.heard(Fill, trade_id=77)
        assert len(exchange.sockets) == 1
