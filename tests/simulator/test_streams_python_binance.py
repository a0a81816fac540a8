"""The unmodified python-binance client on the streams and the WebSocket API, by the loopback recipe of its notes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from live.simulator.listen_keys import LIFETIME_US
from live.simulator.streams import Api
from live.simulator.wire import Refused
from live.simulator.ws_api import Call
from tests.simulator.stream_stand_ins import ACCOUNT, Exchange, exchange

SECRET = "s" * 64
LIMITS = [
    {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 2400,
        "count": 1,
    }
]

pytestmark = [
    # python-binance imports the old client of websockets, and on a later Python asks for a loop that is none yet.
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning"),
]


@asynccontextmanager
async def client_of(e: Exchange) -> AsyncIterator[tuple[Any, Any]]:
    """A client and its socket manager whose constants point at the exchange."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from binance import AsyncClient, BinanceSocketManager

    class Client(AsyncClient):  # type: ignore[misc]  # it has no types
        API_URL = f"http://{e.address}/api"
        FUTURES_URL = f"http://{e.address}/fapi"
        WS_FUTURES_URL = f"ws://{e.address}/ws-fapi/v1"

    class Manager(BinanceSocketManager):  # type: ignore[misc]  # it has no types
        FSTREAM_URL = f"ws://{e.address}/"

    client = await Client.create(ACCOUNT, SECRET)
    try:
        yield client, Manager(client)
    finally:
        await closed_quickly(client.ws_future)  # close_connection leaves it open
        await client.close_connection()


async def closed_quickly(stream: Any) -> None:
    """Close a socket of the client, which otherwise waits until its next message or ten seconds."""
    if stream.ws is not None:
        await asyncio.gather(stream.__aexit__(None, None, None), stream.ws.close())


@asynccontextmanager
async def opened(stream: Any) -> AsyncIterator[Any]:
    await stream.__aenter__()
    try:
        yield stream
    finally:
        await closed_quickly(stream)


async def received(stream: Any) -> Any:
    async with asyncio.timeout(5.0):
        return await stream.recv()


async def is_silent(stream: Any) -> bool:
    try:
        async with asyncio.timeout(0.1):
            await stream.recv()
    except TimeoutError:
        return True
    return False


async def test_klines_and_several_streams_come_by_their_routes() -> None:
    async with exchange() as e, client_of(e) as (_, manager):
        names = ["btcusdt@aggTrade", "btcusdt@bookTicker"]
        async with (
            opened(manager.kline_futures_socket("BTCUSDT")) as klines,
            opened(manager.futures_multiplex_socket(names)) as market,
            # Backwards: the manager takes sockets of the same names for one, whatever their routes.
            opened(manager.futures_multiplex_socket(names[::-1], category="public")) as public,
        ):
            await e.pass_time()
            assert (await received(klines))["e"].startswith("continuousKline_1m")
            assert (await received(market))["stream"] == "btcusdt@aggTrade"
            assert (await received(public))["stream"] == "btcusdt@bookTicker"
            assert await is_silent(market)
            assert await is_silent(public)


async def test_the_user_socket_hears_events_and_the_expiry_and_goes_mute() -> None:
    async with exchange() as e, client_of(e) as (client, manager):
        key = await client.futures_stream_get_listen_key()
        assert await client.futures_stream_get_listen_key() == key
        async with opened(manager.futures_user_socket()) as user:
            e.venue.events.append((ACCOUNT, {"e": "ORDER_TRADE_UPDATE", "E": 1, "o": {"i": 7}}))
            await e.pass_time()
            assert (await received(user))["o"] == {"i": 7}
            await client.futures_stream_keepalive(key)
            await e.pass_time(LIFETIME_US)
            told = await received(user)
            assert (told["e"], told["listenKey"]) == ("listenKeyExpired", key)
            e.venue.events.append((ACCOUNT, {"e": "ACCOUNT_UPDATE", "E": 2}))
            await e.pass_time()
            assert await is_silent(user)
            assert user.ws_state.value == "Streaming"


async def test_the_client_comes_back_after_a_disconnect() -> None:
    async with exchange() as e, client_of(e) as (_, manager):
        market = manager.futures_multiplex_socket(["btcusdt@aggTrade"])
        async with opened(market):
            assert e.streams.disconnect("/market/*") == 1
            told = await received(market)
            assert told["e"] == "error"
            async with asyncio.timeout(8.0):
                while len(e.streams) == 0:
                    await asyncio.sleep(0.02)
            await e.pass_time()
            while told.get("e") == "error":
                told = await received(market)
            assert told["data"]["e"] == "aggTrade"


async def perform(call: Call, address: str) -> Any:
    """Check the signature, and tell what was asked."""
    if call.name == "GET /fapi/v2/ticker/price":
        raise RuntimeError("broken inside")
    if call.key is not None:
        expected = hmac.new(SECRET.encode(), call.payload.encode(), hashlib.sha256).hexdigest()
        if expected != call.params["signature"]:
            raise Refused(-1022, "Signature for this request is not valid.")
    if call.params.get("quantity") == "0":
        raise Refused(-4003, "Quantity less than or equal to zero.")
    return {"name": call.name, "from": address, **call.params}


async def test_orders_go_over_the_websocket_api_signed_and_are_refused_in_its_form() -> None:
    api = Api(perform, lambda call, address: LIMITS)
    async with exchange(api=api) as e, client_of(e) as (client, _):
        placed = await client.ws_futures_create_order(
            symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.001", price="50000.10",
            timeInForce="GTC", reduceOnly="true", newClientOrderId="ours-1",
        )  # fmt: skip
        assert placed["name"] == "POST /fapi/v1/order"
        assert placed["from"] == "127.0.0.1"
        assert placed["price"] == "50000.10"
        assert placed["newClientOrderId"] == "ours-1"
        cancelled = await client.ws_futures_cancel_order(symbol="BTCUSDT", orderId=7)
        assert (cancelled["name"], cancelled["orderId"]) == ("DELETE /fapi/v1/order", "7")
        stop = await client.ws_futures_create_order(
            symbol="BTCUSDT",
            side="SELL",
            type="STOP_MARKET",
            stopPrice="40000",
            closePosition="true",
        )
        assert (stop["name"], stop["triggerPrice"]) == ("POST /fapi/v1/algoOrder", "40000")
        with pytest.raises(Exception, match=r"code=-4003") as refused:
            await client.ws_futures_create_order(
                symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0"
            )
        assert type(refused.value).__name__ == "BinanceAPIException"


async def test_the_websocket_api_answers_whatever_happens_inside() -> None:
    api = Api(perform, lambda call, address: LIMITS)
    async with exchange(api=api, messages_per_second=2) as e:
        socket = await e.connect("/ws-fapi/v1")
        for i in range(5):  # no limit of messages here
            await socket.send_json({"id": f"x-{i}", "method": "time"})
        for i in range(5):
            told = await socket.receive_json()
            assert (told["id"], told["status"], told["rateLimits"]) == (f"x-{i}", 200, LIMITS)
        await socket.send_json({"id": 1, "method": "ticker.price"})
        assert await socket.receive_json() == {
            "id": 1,
            "status": 400,
            "error": {
                "code": -1000,
                "msg": "An unknown error occurred while processing the request.",
            },
            "rateLimits": LIMITS,
        }
        await socket.send_str("nonsense")
        told = await socket.receive_json()
        assert (told["id"], told["error"]["code"]) == (None, -1135)
        mute = await e.connect("/ws-fapi/v1?returnRateLimits=false")
        await mute.send_json({"id": None, "method": "session.logon", "params": {}})
        told = await mute.receive_json()
        assert "rateLimits" not in told
        assert told["error"]["code"] == -1020
