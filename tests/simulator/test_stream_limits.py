"""Pings, limits and ends of connections through real sockets, and bad clients, none of which stops the others."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import tracemalloc
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from live.simulator.connection import LARGEST_MESSAGE, StreamSettings
from tests.simulator.stream_stand_ins import (
    SECOND_US,
    START_US,
    Exchange,
    end_of,
    exchange,
    messages,
    next_json,
    silence,
)

TRADES = "/market/ws/btcusdt@aggTrade"


async def settled(e: Exchange, count: int) -> None:
    """Wait until so many connections are left."""
    async with asyncio.timeout(5.0):
        while len(e.streams) != count:
            await asyncio.sleep(0.01)


async def test_a_client_that_answers_pings_is_kept_and_one_that_does_not_is_dropped() -> None:
    async with exchange(ping_seconds=0.15, pong_seconds=0.4) as e:
        good = await e.connect(TRADES)  # answers by itself, while it reads
        bad = await e.connect(TRADES, autoping=False)
        assert (await bad.receive()).type is WSMsgType.PING
        reader = asyncio.create_task(good.receive())
        assert await end_of(bad) == 1008
        await asyncio.sleep(0.5)
        assert not good.closed
        await e.pass_time()
        assert json.loads((await reader).data)["e"] == "aggTrade"
        await settled(e, 1)


async def test_a_pong_that_nobody_asked_for_does_not_keep_a_connection() -> None:
    async with exchange(ping_seconds=0.3, pong_seconds=0.5) as e:
        client = await e.connect(TRADES, autoping=False)
        ended = asyncio.create_task(end_of(client))
        for _ in range(12):
            await asyncio.sleep(0.1)
            if not client.closed:
                await client.pong(b"unasked")
        assert ended.done()
        assert await ended == 1008


async def test_a_pings_payload_comes_back() -> None:
    async with exchange() as e:
        client = await e.connect(TRADES, autoping=False)
        await client.ping(b"1700000000000")
        message = await client.receive()
        assert (message.type, bytes(message.data)) == (WSMsgType.PONG, b"1700000000000")


async def test_a_second_holds_so_many_messages_and_one_more_disconnects() -> None:
    async with exchange(messages_per_second=10) as e:
        loud, quiet = await e.connect(TRADES), await e.connect(TRADES)
        for client, count in ((quiet, 10), (loud, 11)):
            for i in range(count):
                await client.send_json({"method": "LIST_SUBSCRIPTIONS", "id": i})
        assert await end_of(loud) == 1008
        assert [(await next_json(quiet))["id"] for _ in range(10)] == list(range(10))
        await asyncio.sleep(1.0)
        await quiet.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 10})
        assert (await next_json(quiet))["id"] == 10


async def test_a_connection_ends_after_a_day_of_simulated_time() -> None:
    day_us = 86_400 * SECOND_US
    async with exchange(market=lambda *_: []) as e:
        old = await e.connect(TRADES)
        await e.pass_time(SECOND_US)
        young = await e.connect(TRADES)
        await e.pass_time(day_us - SECOND_US - 1)
        assert await silence(old)
        await e.pass_time(1)
        assert await end_of(old) == 1001
        assert await silence(young)


def slow_reader(e: Exchange, path: str) -> socket.socket:
    """Shake hands and read nothing more, with the smallest buffer."""
    host, port = e.address.split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect((host, int(port)))
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {e.address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    client.setblocking(False)
    return client


def heavy(stream: str, from_us: int, to_us: int) -> list[dict[str, Any]]:
    return [m | {"pad": "x" * 20_000} for m in messages(stream, from_us, to_us)]


async def test_a_slow_reader_is_dropped_with_bounded_memory_and_the_others_hear_on() -> None:
    limit = 300_000
    async with exchange(market=heavy, backlog_bytes=limit) as e:
        good = await e.connect(TRADES)
        client = slow_reader(e, TRADES)
        await settled(e, 2)
        heard, most = 0, 0
        for _ in range(1000):
            await e.pass_time()
            await next_json(good)
            heard += 1
            most = max(most, e.streams.backlog)
            if len(e.streams) == 1:
                break
        await settled(e, 1)
        assert 0 < most <= limit + 21_000
        await e.pass_time()
        assert (await next_json(good))["E"] == START_US // 1000 + 100 * (heard + 1)
        client.close()


async def test_a_connection_whose_end_is_not_read_is_cut() -> None:
    async with exchange(market=heavy, backlog_bytes=50_000_000, lifetime_us=80 * SECOND_US) as e:
        client = slow_reader(e, TRADES)
        await settled(e, 1)
        await e.pass_time(60 * SECOND_US)
        await asyncio.sleep(0.1)
        assert e.streams.backlog > 0
        await e.pass_time(20 * SECOND_US)
        await settled(e, 0)
        client.close()


async def test_in_lock_step_the_exchange_waits_for_readers_but_not_for_ever() -> None:
    async with exchange(
        market=heavy, backlog_bytes=6_000_000, lock_step=True, patience_seconds=0.5
    ) as e:
        good = await e.connect(TRADES)

        async def read() -> int:
            return sum([len(await good.receive_str()) > 20_000 for _ in range(1200)])

        reading = asyncio.create_task(read())
        await e.pass_time(120 * SECOND_US)  # 24 MB through a backlog of 6
        assert await reading == 1200
        client = slow_reader(e, TRADES)
        await settled(e, 2)
        reading = asyncio.create_task(read())
        async with asyncio.timeout(10.0):
            await e.pass_time(120 * SECOND_US)
        assert await reading == 1200
        await settled(e, 1)
        client.close()


async def test_two_hundred_connections_hear_the_same_and_leave_nothing_behind() -> None:
    async with exchange() as e:
        clients = await asyncio.gather(*(e.connect(TRADES) for _ in range(200)))
        assert len(e.streams) == 200
        await e.pass_time(SECOND_US)
        told = await asyncio.gather(*(next_json(client) for client in clients))
        assert told == [told[0]] * 200
        await asyncio.gather(*(client.close() for client in clients))
        await settled(e, 0)
        assert e.streams.hub.streams() == []


async def test_connections_that_come_and_go_leave_no_memory_behind() -> None:
    async def come_and_go(e: Exchange, times: int) -> None:
        for _ in range(times):
            client = await e.connect(TRADES)
            await e.pass_time()
            await client.close()
            e.sockets.clear()
        await settled(e, 0)

    async with exchange() as e:
        await come_and_go(e, 30)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await come_and_go(e, 100)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < 100_000


async def test_one_connection_too_many_is_refused() -> None:
    async with exchange(connections=2) as e:
        for _ in range(2):
            await e.connect(TRADES)
        with pytest.raises(WSServerHandshakeError) as refused:
            await e.connect(TRADES)
        assert refused.value.status == 429


async def test_a_plain_request_gets_the_exchanges_error_form() -> None:
    async with exchange() as e:
        for path in ("/market/stream", "/ws/btcusdt@aggTrade", "/private/ws"):
            async with e.session.get(f"http://{e.address}{path}") as response:
                assert response.status == 400
                assert set(await response.json()) == {"code", "msg"}


async def test_too_many_streams_in_the_address_are_refused() -> None:
    async with exchange() as e:
        names = "/".join(f"{i}@t" for i in range(1025))
        with pytest.raises(WSServerHandshakeError) as refused:
            await e.connect(f"/market/stream?streams={names}")
        assert refused.value.status == 400
        assert e.streams.hub.streams() == []


@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_an_absurd_message_ends_its_connection_alone(kind: str) -> None:
    async with exchange() as e:
        bad, good = await e.connect(TRADES), await e.connect(TRADES)
        if kind == "text":
            await bad.send_str("x" * (LARGEST_MESSAGE + 1))
        else:
            await bad.send_bytes(b"x" * (LARGEST_MESSAGE + 1))
        assert await end_of(bad) == 1009
        await e.pass_time()
        assert (await next_json(good))["e"] == "aggTrade"


async def test_frames_that_are_none_end_their_connection_alone() -> None:
    async with exchange() as e:
        good = await e.connect(TRADES)
        client = slow_reader(e, TRADES)
        await settled(e, 2)
        await asyncio.get_running_loop().sock_sendall(client, b"\xff" * 4096)
        await settled(e, 1)
        client.close()
        await e.pass_time()
        assert (await next_json(good))["e"] == "aggTrade"


async def test_the_end_of_the_server_closes_every_connection_quickly() -> None:
    async with exchange() as e:
        client = await e.connect(TRADES)
        stuck = slow_reader(e, TRADES)
        await settled(e, 2)
        reading = asyncio.create_task(end_of(client))
        started = asyncio.get_running_loop().time()
        await e.stop()
        assert asyncio.get_running_loop().time() - started < 4.0
        assert await reading == 1001
        assert len(e.streams) == 0
        stuck.close()


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ({"legacy": "maybe"}, "legacy must be one of deliver, mute, was maybe"),
        ({"ping_seconds": 0.0}, r"ping_seconds must be > 0, was 0\.0"),
        ({"pong_seconds": float("nan")}, "pong_seconds must be > 0, was nan"),
        ({"patience_seconds": -1.0}, r"patience_seconds must be >= 0, was -1\.0"),
        ({"backlog_bytes": 0}, "backlog_bytes must be >= 1, was 0"),
        ({"messages_per_second": 0}, "messages_per_second must be >= 1, was 0"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        StreamSettings(**({"legacy": "mute"} | setting))
