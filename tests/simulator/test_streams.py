"""The streams through real sockets: routing, muteness, subscriptions, users' events and their expiry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from live.simulator.listen_keys import LIFETIME_US
from live.simulator.streams import SLICE_US
from tests.simulator.stream_stand_ins import (
    ACCOUNT,
    SECOND_US,
    START_US,
    STEP_US,
    exchange,
    messages,
    next_json,
    silence,
)


@pytest.mark.parametrize(
    ("right", "wrong", "stream"),
    [
        ("public", "market", "btcusdt@bookTicker"),
        ("market", "public", "btcusdt@kline_1m"),
        ("market", "private", "!markPrice@arr"),
    ],
)
async def test_a_stream_of_the_wrong_route_connects_and_stays_silent(
    right: str, wrong: str, stream: str
) -> None:
    async with exchange() as e:
        hears = await e.connect(f"/{right}/ws/{stream}")
        mute = await e.connect(f"/{wrong}/ws/{stream}")
        await e.pass_time()
        told = await next_json(hears)
        assert told["E"] == (START_US + STEP_US) // 1000
        assert await silence(mute)


async def test_several_streams_come_raw_by_path_and_wrapped_by_query() -> None:
    names = ["btcusdt@aggTrade", "ethusdt@markPrice"]
    async with exchange() as e:
        raw = await e.connect(f"/market/ws/{'/'.join(names)}")
        wrapped = await e.connect(f"/market/stream?streams={'/'.join(names)}")
        await e.pass_time()
        assert [(await next_json(raw))["s"] for _ in names] == ["BTCUSDT", "ETHUSDT"]
        told = [await next_json(wrapped) for _ in names]
        assert [t["stream"] for t in told] == names
        assert [t["data"]["e"] for t in told] == ["aggTrade", "markPrice"]


@pytest.mark.parametrize("legacy", ["deliver", "mute"])
async def test_legacy_paths_are_open_or_mute(legacy: str) -> None:
    async with exchange(legacy=legacy) as e:
        key = e.streams.keys.create(ACCOUNT, e.venue.now_us)
        one = await e.connect("/ws/btcusdt@aggTrade")
        several = await e.connect("/stream?streams=btcusdt@bookTicker/btcusdt@ticker")
        user = await e.connect(f"/ws/{key}")
        e.venue.events.append((ACCOUNT, {"e": "ACCOUNT_UPDATE", "E": 1}))
        await e.pass_time()
        if legacy == "mute":
            assert all([await silence(socket) for socket in (one, several, user)])
        else:
            assert (await next_json(one))["e"] == "aggTrade"
            assert (await next_json(several))["stream"] == "btcusdt@bookTicker"
            assert (await next_json(user))["e"] == "ACCOUNT_UPDATE"


async def test_a_connection_subscribes_and_unsubscribes_while_it_lives() -> None:
    async with exchange() as e:
        socket = await e.connect("/market/ws")
        await socket.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 1})
        assert await next_json(socket) == {"result": None, "id": 1}
        await e.pass_time()
        assert (await next_json(socket))["e"] == "aggTrade"
        await socket.send_json({"method": "SET_PROPERTY", "params": ["combined", True], "id": 2})
        assert await next_json(socket) == {"result": None, "id": 2}
        await e.pass_time()
        assert (await next_json(socket))["stream"] == "btcusdt@aggTrade"
        await socket.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 3})
        assert await next_json(socket) == {"result": None, "id": 3}
        await e.pass_time()
        assert await silence(socket)
        await socket.send_str("hello")
        assert (await next_json(socket))["error"]["code"] == 3
        await socket.send_bytes(b"\xff\xfe")
        assert (await next_json(socket))["error"]["code"] == 3


async def test_unknown_streams_are_accepted_and_silent() -> None:
    async with exchange() as e:
        socket = await e.connect("/market/stream?streams=nopeusdt@aggTrade")
        await e.pass_time()
        assert await silence(socket)


async def test_a_user_hears_the_events_asked_for() -> None:
    async with exchange() as e:
        key = e.streams.keys.create(ACCOUNT, e.venue.now_us)
        every = await e.connect(f"/private/ws?listenKey={key}")
        some = await e.connect(f"/private/stream?listenKey={key}&events=TRADE_LITE/ALGO_UPDATE")
        by_path = await e.connect(f"/private/ws/{key}")
        invalid = await e.connect("/private/ws?listenKey=invalid")
        e.venue.events = [
            (ACCOUNT, {"e": "ACCOUNT_UPDATE", "E": 1}),
            ("b" * 64, {"e": "TRADE_LITE", "E": 2}),
            (ACCOUNT, {"e": "TRADE_LITE", "E": 3}),
        ]
        await e.streams.deliver(e.venue.now_us, e.venue.now_us)  # no time need pass
        for socket in (every, by_path):
            assert [(await next_json(socket))["E"] for _ in range(2)] == [1, 3]
        assert await next_json(some) == {"stream": key, "data": {"e": "TRADE_LITE", "E": 3}}
        assert all([await silence(socket, 0.02) for socket in (every, some, by_path, invalid)])


async def test_an_expired_listen_key_is_told_and_the_socket_goes_mute_without_closing() -> None:
    async with exchange() as e:
        key = e.streams.keys.create(ACCOUNT, e.venue.now_us)
        old = await e.connect(f"/private/ws?listenKey={key}&events=ORDER_TRADE_UPDATE")
        await e.pass_time(LIFETIME_US)
        assert await next_json(old) == {
            "e": "listenKeyExpired",
            "E": str(e.venue.now_us // 1000),
            "listenKey": key,
        }
        fresh = e.streams.keys.create(ACCOUNT, e.venue.now_us)
        assert fresh != key
        new = await e.connect(f"/private/ws?listenKey={fresh}")
        e.venue.events.append((ACCOUNT, {"e": "ORDER_TRADE_UPDATE", "E": 9}))
        await e.pass_time()
        assert (await next_json(new))["E"] == 9
        assert await silence(old)
        await old.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert (await next_json(old))["result"] == [f"{key}@ORDER_TRADE_UPDATE"]


async def test_a_deleted_listen_key_falls_silent_without_a_word() -> None:
    async with exchange() as e:
        key = e.streams.keys.create(ACCOUNT, e.venue.now_us)
        socket = await e.connect(f"/private/ws?listenKey={key}")
        e.streams.keys.delete(ACCOUNT, e.venue.now_us)
        e.venue.events.append((ACCOUNT, {"e": "ACCOUNT_UPDATE", "E": 1}))
        await e.pass_time(2 * LIFETIME_US)
        assert await silence(socket)


async def test_forced_orders_come_once_on_both_their_streams() -> None:
    async with exchange(market=lambda *_: []) as e:
        socket = await e.connect("/market/stream?streams=btcusdt@forceOrder/!forceOrder@arr")
        e.venue.forced.append({"e": "forceOrder", "E": 1, "o": {"s": "BTCUSDT"}})
        await e.pass_time()
        await e.pass_time()
        told = [(await next_json(socket))["stream"] for _ in range(2)]
        assert told == ["btcusdt@forceOrder", "!forceOrder@arr"]
        assert await silence(socket)


async def test_a_long_span_is_made_in_pieces_without_gap_or_overlap() -> None:
    spans: list[tuple[int, int]] = []

    def market(stream: str, from_us: int, to_us: int) -> list[dict[str, Any]]:
        spans.append((from_us, to_us))
        return []

    async with exchange(market=market, lock_step=True) as e:
        await e.connect("/market/ws/btcusdt@aggTrade")
        await e.pass_time(3 * SLICE_US + 1)
    assert spans[0][0] == START_US
    assert spans[-1][1] == START_US + 3 * SLICE_US + 1
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert max(end - start for start, end in spans) == SLICE_US


@dataclass
class Due:
    payload: Any
    at_us: int


class Trouble:
    """Doubles trades, drops klines, delays marks by a second and user events by two."""

    def __init__(self) -> None:
        self.open = True
        self.seen: list[str] = []

    def on_message(self, stream: str, payload: Any, now_us: int) -> list[Due]:
        self.seen.append(stream)
        late_us = {"markPrice": SECOND_US, "ACCOUNT_UPDATE": 2 * SECOND_US}.get(payload["e"], 0)
        copies = {"aggTrade": 2, "kline_1m": 0}.get(payload["e"], 1)
        return [Due(payload, now_us + late_us)] * copies

    def on_connect(self, path: str, now_us: int) -> bool:
        return self.open or not path.startswith("/market")


async def test_faults_double_drop_and_delay_messages() -> None:
    trouble = Trouble()
    async with exchange(faults=trouble) as e:
        key = e.streams.keys.create(ACCOUNT, e.venue.now_us)
        market = await e.connect(
            "/market/stream?streams=btcusdt@aggTrade/btcusdt@kline_1m/btcusdt@markPrice"
        )
        user = await e.connect(f"/private/ws?listenKey={key}")
        e.venue.events.append((ACCOUNT, {"e": "ACCOUNT_UPDATE", "E": 1}))
        await e.pass_time()
        assert [(await next_json(market))["data"]["e"] for _ in range(2)] == ["aggTrade"] * 2
        assert await silence(market)
        assert f"user:{ACCOUNT}" in trouble.seen
        first_ms = e.venue.now_us // 1000
        await e.pass_time(SECOND_US)
        told = [(await next_json(market))["data"] for _ in range(21)]
        assert [t["E"] for t in told if t["e"] == "markPrice"] == [first_ms]
        assert await silence(user)
        await e.pass_time(SECOND_US)
        assert (await next_json(user))["e"] == "ACCOUNT_UPDATE"


async def test_a_fault_refuses_and_cuts_connections_by_their_path() -> None:
    trouble = Trouble()
    async with exchange(faults=trouble) as e:
        market = await e.connect("/market/ws/btcusdt@aggTrade")
        public = await e.connect("/public/ws/btcusdt@bookTicker")
        trouble.open = False
        assert e.streams.disconnect("/market/*") == 1
        async with asyncio.timeout(5.0):
            await market.receive()
        assert market.closed
        with pytest.raises(WSServerHandshakeError) as refused:
            await e.connect("/market/ws/btcusdt@aggTrade")
        assert refused.value.status == 503
        await e.pass_time()
        assert (await next_json(public))["e"] == "bookTicker"


async def test_nobody_listens_and_nothing_is_made() -> None:
    asked: list[str] = []

    def market(stream: str, from_us: int, to_us: int) -> Sequence[Any]:
        asked.append(stream)
        return messages(stream, from_us, to_us)

    async with exchange(market=market) as e:
        await e.connect("/public/ws/btcusdt@aggTrade")  # which that route does not carry
        await e.pass_time()
        assert asked == []
        heard = await e.connect("/market/ws/btcusdt@aggTrade")
        await e.pass_time()
        assert (await next_json(heard))["e"] == "aggTrade"
        assert asked == ["btcusdt@aggTrade"]


def test_the_stand_in_market_covers_a_span_once() -> None:
    whole = messages("btcusdt@aggTrade", START_US, START_US + 10 * STEP_US)
    parts = [
        message
        for i in range(10)
        for message in messages(
            "btcusdt@aggTrade", START_US + i * STEP_US, START_US + (i + 1) * STEP_US
        )
    ]
    assert whole == parts
    assert len(whole) == 10
