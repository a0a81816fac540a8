"""The broker against a hand-made exchange: strange answers, what goes over the wire, and what is never shown."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import json
import logging
import pickle
import random
import re
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from live.broker.binance import BinanceBroker
from live.broker.interface import Broker, Cancel, Doubt, Order, Outcome
from live.broker.settings import BrokerSettings, Credentials
from quantcore.errors import ConfigError, VenueError
from quantcore.types import OrderStatus, OrderType, Side, WorkingType
from tests.broker.hand_made import (
    KEY,
    SECRET,
    Handler,
    HandMade,
    hand_made,
    order_answer,
    page,
    refuse,
)
from tests.broker.on_simulator import Connected, connected

ENTRY = Order(
    client_id="q-1", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, qty="0.00001", price="41000.10",
)  # fmt: skip
STOP = Order(
    client_id="q-9", symbol="BTCUSDT", side=Side.SELL, type=OrderType.STOP_MARKET, stop_price="38000.0",
    close_position=True, working_type=WorkingType.MARK_PRICE,
)  # fmt: skip
CANCEL = Cancel(client_id="q-1", symbol="BTCUSDT", conditional=False)
GUARD = {
    "clientAlgoId": "q-9",
    "algoType": "CONDITIONAL",
    "type": "STOP_MARKET",
    "symbol": "BTCUSDT",
    "side": "SELL",
}
ORDER = "POST /fapi/v1/order"
ALGO = "POST /fapi/v1/algoOrder"


@asynccontextmanager
async def both(**changes: object) -> AsyncIterator[tuple[HandMade, Connected]]:
    async with hand_made() as exchange, connected(exchange.settings(**changes)) as there:
        exchange.answers[ORDER] = order_answer
        exchange.answers[ALGO] = algo_answer
        yield exchange, there


def algo_answer(params: Mapping[str, str]) -> dict[str, Any]:
    return {
        "algoId": 2146760, "clientAlgoId": params["clientAlgoId"], "algoType": params["algoType"],
        "orderType": params["type"], "symbol": params["symbol"], "side": params["side"], "positionSide": "BOTH",
        "timeInForce": "GTC", "quantity": params.get("quantity", "0"), "algoStatus": "NEW",
        "triggerPrice": params.get("triggerPrice", "0"), "price": "0", "closePosition": True, "reduceOnly": False,
        "createTime": 1, "updateTime": 1, "triggerTime": 0,
    }  # fmt: skip


async def test_it_is_a_broker_for_the_loop() -> None:
    async with hand_made() as exchange:
        broker: Broker = BinanceBroker(exchange.settings())  # held by mypy
        await broker.start()
        assert broker.now_us() / 1e6 == pytest.approx(time.time(), abs=0.5)
        await broker.close()


# What goes over the wire.


async def test_a_conditional_order_goes_to_the_algo_service_under_our_own_id() -> None:
    """Danger 1."""
    async with both() as (exchange, there):
        answer = await there.broker.send(STOP)
        assert answer.order is not None
        assert (answer.order.client_id, answer.order.conditional) == ("q-9", True)
        (params,) = exchange.requests(ALGO)
        assert params["clientAlgoId"] == "q-9"
        assert "newClientOrderId" not in params
        assert (params["triggerPrice"], params["closePosition"], params["workingType"]) == (
            "38000.0",
            "true",
            "MARK_PRICE",
        )
        assert not {"quantity", "reduceOnly", "timeInForce", "stopPrice"} & params.keys()


async def test_a_trailing_stop_follows_by_its_callback_from_its_activation() -> None:
    async with both() as (exchange, there):
        trailing = replace(
            STOP, type=OrderType.TRAILING_STOP_MARKET, callback="0.5", qty="0.010", close_position=False,
            reduce_only=True,
        )  # fmt: skip
        await there.broker.send(trailing)
        (params,) = exchange.requests(ALGO)
        assert (params["callbackRate"], params["activatePrice"], params["quantity"]) == (
            "0.5",
            "38000.0",
            "0.010",
        )
        assert params["reduceOnly"] == "true"
        assert "triggerPrice" not in params


async def test_ids_are_our_own_whatever_the_global_generator_does() -> None:
    """Danger 2."""
    async with both() as (exchange, there):
        for name in ("q-1", "q-2"):
            random.seed(1)
            await there.broker.send(replace(ENTRY, client_id=name))
        assert [p["newClientOrderId"] for p in exchange.requests(ORDER)] == ["q-1", "q-2"]


@pytest.mark.parametrize("client_id", ["", "a" * 37, "a b", "a:b", "a/b", "ä", "a&x=1"])
async def test_an_id_that_would_not_arrive_as_it_is_is_refused_before_it_is_sent(
    client_id: str,
) -> None:
    async with both() as (exchange, there):
        with pytest.raises(ValueError, match=r"client_id must be 1 to 36 of"):
            await there.broker.send(replace(ENTRY, client_id=client_id))
        assert exchange.requests(ORDER) == []


async def test_numbers_arrive_as_the_text_that_was_computed() -> None:
    """Danger 3."""
    async with both() as (exchange, there):
        await there.broker.send(ENTRY)
        (params,) = exchange.requests(ORDER)
        assert (params["quantity"], params["price"]) == ("0.00001", "41000.10")
        assert (params["timeInForce"], params["type"], params["side"]) == ("GTC", "LIMIT", "BUY")
        assert params["recvWindow"] == "5000"


async def test_orders_go_by_rest_and_nothing_by_the_websocket_api_or_the_spot_host() -> None:
    """Dangers 8 and 9."""
    async with both() as (exchange, there):
        await there.broker.send(ENTRY)
        await there.broker.send(STOP)
        assert exchange.other_paths == []


async def test_both_services_are_asked_for_open_orders_and_each_for_its_own() -> None:
    """Danger 14."""
    async with both() as (exchange, there):
        ordinary = order_answer(
            {"newClientOrderId": "q-1", "side": "BUY", "symbol": "BTCUSDT", "type": "LIMIT"}
        )
        algo = algo_answer(GUARD)
        exchange.answers |= {
            "GET /fapi/v1/openOrders": lambda _: [ordinary],
            "GET /fapi/v1/openAlgoOrders": lambda _: [algo],
            "DELETE /fapi/v1/order": lambda _: ordinary | {"status": "CANCELED"},
            "DELETE /fapi/v1/algoOrder": lambda _: {"algoId": 1, "code": "200", "msg": "success"},
            "GET /fapi/v1/order": lambda _: ordinary,
            "GET /fapi/v1/algoOrder": lambda _: algo,
        }
        broker = there.broker
        assert [(o.client_id, o.conditional) for o in await broker.open_orders()] == [
            ("q-1", False),
            ("q-9", True),
        ]
        guard = Cancel(client_id="q-9", symbol="BTCUSDT", conditional=True)
        assert (await broker.cancel(CANCEL)).outcome is Outcome.ACCEPTED
        assert (await broker.cancel(guard)).outcome is Outcome.ACCEPTED
        assert exchange.requests("DELETE /fapi/v1/order")[0]["origClientOrderId"] == "q-1"
        assert exchange.requests("DELETE /fapi/v1/algoOrder")[0]["clientAlgoId"] == "q-9"
        found = [await broker.query(CANCEL), await broker.query(guard)]
        assert [order.client_id for order in found if order is not None] == ["q-1", "q-9"]


async def test_a_triggered_order_has_the_state_of_the_order_that_it_became() -> None:
    async with both() as (exchange, there):
        algo = algo_answer(GUARD)
        became = order_answer({"newClientOrderId": "x", "side": "SELL", "symbol": "BTCUSDT", "type": "MARKET",
                               "quantity": "0.010"})  # fmt: skip
        exchange.answers |= {
            "GET /fapi/v1/algoOrder": lambda _: (
                algo | {"algoStatus": "FINISHED", "actualOrderId": "991"}
            ),
            "GET /fapi/v1/order": lambda _: became | {"status": "FILLED", "executedQty": "0.010"},
        }
        found = await there.broker.query(
            Cancel(client_id="q-9", symbol="BTCUSDT", conditional=True)
        )
        assert found is not None
        assert (found.client_id, found.status, found.filled) == ("q-9", OrderStatus.FILLED, "0.010")
        assert exchange.requests("GET /fapi/v1/order")[0]["orderId"] == "991"


async def test_an_open_order_is_stuck_only_after_some_seconds_in_triggering() -> None:
    async with both(stuck_seconds=2.0) as (exchange, there):
        now_ms = there.broker.now_us() // 1000
        algo = algo_answer(GUARD)
        exchange.answers |= {
            "GET /fapi/v1/openOrders": lambda _: [],
            "GET /fapi/v1/openAlgoOrders": lambda _: [
                algo | {"algoStatus": "TRIGGERING", "triggerTime": now_ms - late_ms}
                for late_ms in (500, 3000)
            ],
        }
        assert [order.stuck for order in await there.broker.open_orders()] == [False, True]


# What answers mean (danger 10).


async def late(_: Mapping[str, str]) -> dict[str, Any]:
    await asyncio.sleep(2.0)
    return {}


STRANGE: dict[str, tuple[Handler, Outcome, int | None]] = {
    "bare TimeoutError": (late, Outcome.UNKNOWN, None),
    "ContentTypeError": (page(200), Outcome.UNKNOWN, None),
    "success without JSON": (lambda _: web.Response(text="?", content_type="application/json"), Outcome.UNKNOWN, None),
    "success that is no order": (lambda _: {"fine": True}, Outcome.UNKNOWN, None),
    "success that is a list": (lambda _: [], Outcome.UNKNOWN, None),
    "success that is empty": (lambda _: web.Response(text=""), Outcome.UNKNOWN, None),
    "code None": (refuse(400, None, "no code"), Outcome.REFUSED, None),
    "code 0": (refuse(400, 0, "code 0"), Outcome.REFUSED, None),
    "code None, 5xx": (refuse(502, None, "Bad Gateway"), Outcome.UNKNOWN, None),
    "a proxy's page, 502": (page(502), Outcome.UNKNOWN, None),
    "a proxy's page, 503": (page(503), Outcome.UNKNOWN, None),
    "a proxy's page, 404": (page(404), Outcome.REFUSED, None),
    "a JSON list, 500": (lambda _: web.json_response([], status=500), Outcome.UNKNOWN, None),
    "unknown error": (refuse(503, -1000, "Unknown error, please check your request or try again later."),
                      Outcome.UNKNOWN, -1000),
    "overload": (refuse(503, -1008, "Request throttled by system-level protection."), Outcome.REFUSED, -1008),
    "timeout": (refuse(408, -1007, "Timeout waiting for response from backend server."), Outcome.UNKNOWN, -1007),
    "duplicate id": (refuse(400, -4116, "ClientOrderId is duplicated."), Outcome.UNKNOWN, -4116),
    "margin": (refuse(400, -2019, "Margin is insufficient."), Outcome.REFUSED, -2019),
}  # fmt: skip


async def test_requests_and_failures_are_counted_for_monitoring() -> None:
    async with both() as (exchange, there):
        before = there.broker.health()
        for what, failures in (("margin", 0), ("overload", 1), ("unknown error", 2)):
            exchange.answers[ORDER] = STRANGE[what][0]
            await there.broker.send(ENTRY)
            assert there.broker.health().failures == before.failures + failures
        assert there.broker.health().requests == before.requests + 3
        assert there.broker.health().account_stream


@pytest.mark.parametrize("what", STRANGE)
async def test_an_answer_is_judged_by_its_status_first(what: str) -> None:
    handler, outcome, code = STRANGE[what]
    async with both(timeout_s=0.5) as (exchange, there):
        exchange.answers[ORDER] = handler
        answer = await there.broker.send(ENTRY)
        assert (answer.outcome, answer.code) == (outcome, code)
        assert answer.message
        assert len(exchange.requests(ORDER)) == 1, "never sent again blindly"


async def test_a_connection_cut_before_the_answer_is_unknown_and_one_refused_was_not_made() -> None:
    """Danger 8: a lost answer is not "unable to connect"."""
    async with both() as (exchange, there):

        async def cut(_: Mapping[str, str]) -> web.Response:
            response = web.Response()
            response.force_close()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
            return response

        exchange.answers[ORDER] = cut
        answer = await there.broker.send(ENTRY)
        assert answer.outcome is Outcome.UNKNOWN
        await exchange.stop()
        answer = await there.broker.send(ENTRY)
        assert answer.outcome is Outcome.REFUSED
        assert "could not be reached" in answer.message
        await exchange.start()


async def test_an_order_whose_answer_says_that_it_ended_is_told_so() -> None:
    async with both() as (exchange, there):
        exchange.answers[ORDER] = lambda p: order_answer(p) | {"status": "EXPIRED"}
        answer = await there.broker.send(ENTRY)
        assert answer.order is not None
        assert answer.order.status is OrderStatus.EXPIRED


# Limits and clock (danger 11).


async def test_counts_of_concurrent_answers_do_not_race() -> None:
    """Danger 11: ``client.response`` is of whoever came last."""
    limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}
    ]
    async with hand_made() as exchange:
        exchange.answers["GET /fapi/v1/exchangeInfo"] = lambda _: {
            "rateLimits": limits,
            "symbols": [],
        }
        async with connected(exchange.settings()) as there:
            told = iter([700, 900, 800])

            async def counted(_: Mapping[str, str]) -> web.Response:
                used = next(told)
                await asyncio.sleep(0.001 * (1000 - used))
                return web.json_response([], headers={"X-MBX-USED-WEIGHT-1M": str(used)})

            exchange.answers["GET /fapi/v3/positionRisk"] = counted
            await asyncio.gather(*(there.broker.positions() for _ in range(3)))
            (window,) = there.broker.budget.windows
            assert window.used == 900


async def test_429_is_waited_out_by_an_exit_as_long_as_it_says() -> None:
    async with both() as (exchange, there):
        refusals = iter([refuse(429, -1003, "Too many requests.", **{"Retry-After": "1"})])

        def once(params: Mapping[str, str]) -> Any:
            return next(refusals, order_answer)(params)

        exchange.answers[ORDER] = once
        began = time.monotonic()
        leave = replace(ENTRY, reduce_only=True)
        assert (await there.broker.send(leave)).outcome is Outcome.ACCEPTED
        assert time.monotonic() - began >= 1.0
        assert len(exchange.requests(ORDER)) == 2


async def test_a_ban_holds_everything_back_and_an_entry_gives_up() -> None:
    async with both(patience_s=0.1) as (exchange, there):
        exchange.answers[ORDER] = refuse(418, -1003, "Way too many requests; banned.")
        assert (await there.broker.send(ENTRY)).code == -1003
        assert there.broker.budget.closed_seconds > 100.0
        again = await there.broker.send(ENTRY)
        assert (again.outcome, len(exchange.requests(ORDER))) == (Outcome.REFUSED, 1)


async def test_too_many_orders_hold_back_orders_and_let_cancels_pass() -> None:
    async with both(patience_s=0.1) as (exchange, there):
        exchange.answers[ORDER] = refuse(429, -1015, "Too many new orders.", **{"Retry-After": "9"})
        await there.broker.send(ENTRY)
        exchange.answers["DELETE /fapi/v1/order"] = refuse(400, -2011, "Unknown order sent.")
        assert (await there.broker.cancel(CANCEL)).code == -2011
        assert (await there.broker.send(ENTRY)).outcome is Outcome.REFUSED
        assert len(exchange.requests(ORDER)) == 1


async def test_requests_are_stamped_with_the_futures_hosts_time_and_again_after_1021() -> None:
    """Dangers 11 and 13."""
    async with both(clock_off_max_ms=None) as (exchange, there):

        def strict(params: Mapping[str, str]) -> Any:
            off_ms = int(params["timestamp"]) - int(time.time() * 1000) - exchange.ahead_ms
            if abs(off_ms) > 500:
                return refuse(400, -1021, "Timestamp for this request is outside.")(params)
            return order_answer(params)

        exchange.answers[ORDER] = strict
        exchange.ahead_ms = -90_000
        assert (await there.broker.send(ENTRY)).outcome is Outcome.ACCEPTED
        assert len(exchange.requests(ORDER)) == 2
        assert (await there.broker.send(ENTRY)).outcome is Outcome.ACCEPTED
        assert len(exchange.requests(ORDER)) == 3


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
async def test_a_machines_clock_that_jumps_an_hour_moves_no_stamp(
    jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both(clock_seconds=0.05) as (exchange, there):
        right = time.time
        exchange.answers["GET /fapi/v1/time"] = lambda _: {"serverTime": int(right() * 1000)}
        there.broker.clock.wall_s = lambda: right() + jump_s
        monkeypatch.setattr(time, "time", lambda: right() + jump_s)  # by which the client stamps
        await there.broker.send(ENTRY)
        (params,) = exchange.requests(ORDER)
        assert abs(int(params["timestamp"]) - right() * 1000) < 1000
        doubt = await there.heard(Doubt)
        way = "ahead" if jump_s > 0 else "behind"
        assert re.fullmatch(rf"this machine's clock must be .*, is 3\d{{6}} ms {way}", doubt.reason)


async def test_the_clock_is_measured_on_schedule_and_a_clock_far_off_is_reported_once() -> None:
    async with both(clock_seconds=0.05) as (exchange, there):
        assert abs(there.broker.clock.wall_offset_ms()) < 500
        exchange.ahead_ms = 3_600_000
        doubt = await there.heard(Doubt)
        assert doubt.reason.startswith(
            "this machine's clock must be within 1000 ms of the exchange's, is 3"
        )
        assert doubt.reason.endswith("ms behind")
        await asyncio.sleep(0.3)
        assert len(there.events) == 1
        assert there.broker.now_us() / 1e6 - time.time() == pytest.approx(3600.0, abs=0.5)


async def test_under_load_an_exit_is_sent_again_and_an_entry_is_not() -> None:
    async with both() as (exchange, there):
        overload = refuse(503, -1008, "Request throttled by system-level protection.")
        exchange.answers[ORDER] = overload
        answer = await there.broker.send(ENTRY, urgent=True)
        assert (answer.outcome, len(exchange.requests(ORDER))) == (Outcome.REFUSED, 1)
        refusals = iter([overload])
        exchange.answers[ORDER] = lambda p: next(refusals, order_answer)(p)
        assert (
            await there.broker.send(replace(ENTRY, reduce_only=True))
        ).outcome is Outcome.ACCEPTED
        refusals = iter([overload])
        exchange.answers[ALGO] = lambda p: next(refusals, algo_answer)(p)
        assert (await there.broker.send(STOP)).outcome is Outcome.ACCEPTED


# Reads.


async def test_the_keys_permissions_are_told_where_a_host_has_them() -> None:
    async with hand_made() as exchange:
        exchange.answers |= {
            "GET /fapi/v2/account": lambda _: {
                "canTrade": True,
                "canWithdraw": True,
                "assets": [
                    {"asset": "BNB", "walletBalance": "0.5", "availableBalance": "0.5"},
                    {"asset": "USDC", "walletBalance": "0.00000000", "availableBalance": "0"},
                    {"asset": "USDT", "walletBalance": "230.10", "availableBalance": "12.5"},
                ],
            },
            "GET /fapi/v1/positionSide/dual": lambda _: {"dualSidePosition": True},
            "GET /fapi/v1/multiAssetsMargin": lambda _: {"multiAssetsMargin": True},
            "GET /fapi/v1/feeBurn": lambda _: {"feeBurn": True},
            "GET /sapi/v1/account/apiRestrictions": lambda _: {
                "enableWithdrawals": True,
                "enableFutures": False,
            },
        }
        async with connected(exchange.settings()) as there:
            plain = await there.broker.account()
        async with connected(exchange.settings(permissions_url=f"{exchange.url}/sapi")) as there:
            told = await there.broker.account()
        assert (plain.wallet, plain.available, plain.other_assets) == (
            "230.10",
            "12.5",
            (("BNB", "0.5"),),
        )
        assert (plain.hedge_mode, plain.multi_assets, plain.burns_bnb) == (True, True, True)
        assert (plain.can_trade, plain.can_withdraw) == (True, None)
        assert (told.can_trade, told.can_withdraw) == (False, True)


async def test_incomes_of_trades_are_left_out_and_none_is_told_twice() -> None:
    async with both() as (exchange, there):
        now_ms = there.broker.now_us() // 1000
        rows = [
            {"symbol": "BTCUSDT", "incomeType": kind, "income": "-1.5", "asset": "USDT", "info": "", "time": now_ms - 9,
             "tranId": 7, "tradeId": ""}
            for kind in ("FUNDING_FEE", "COMMISSION", "REALIZED_PNL", "TRANSFER", "FUNDING_FEE")
        ]  # fmt: skip
        rows[3]["symbol"] = ""
        exchange.answers["GET /fapi/v1/income"] = lambda _: rows
        found = await there.broker.incomes_since(there.broker.now_us() - 10**9)
        assert [(i.kind, i.symbol, i.amount, i.income_id) for i in found] == [
            ("FUNDING_FEE", "BTCUSDT", "-1.5", "7"),
            ("TRANSFER", None, "-1.5", "7"),
        ]


async def test_fills_learn_their_orders_names_and_ask_for_each_once() -> None:
    async with both() as (exchange, there):
        now_ms = there.broker.now_us() // 1000
        rows = [
            {"symbol": "BTCUSDT", "id": t, "orderId": order, "side": "BUY", "price": "1.0", "qty": "0.1",
             "realizedPnl": "0", "commission": "0.01", "commissionAsset": "USDT", "time": now_ms - 100, "maker": False}
            for t, order in ((12, 501), (11, 501), (13, 502), (14, 22542179))
        ]  # fmt: skip

        def order(params: Mapping[str, str]) -> Any:
            if params["orderId"] == "502":
                return refuse(400, -2013, "Order does not exist.")(params)
            return order_answer(
                {"newClientOrderId": "old", "side": "BUY", "symbol": "BTCUSDT", "type": "LIMIT"}
            )

        exchange.answers |= {"GET /fapi/v1/userTrades": lambda _: rows, "GET /fapi/v1/order": order}
        await there.broker.send(ENTRY)
        fills = await there.broker.fills_since("BTCUSDT", there.broker.now_us() - 10**9)
        assert [(f.trade_id, f.client_id) for f in fills] == [
            (11, "old"),
            (12, "old"),
            (13, ""),
            (14, "q-1"),
        ]
        await there.broker.fills_since("BTCUSDT", there.broker.now_us() - 10**9)
        assert len(exchange.requests("GET /fapi/v1/order")) == 2


@pytest.mark.parametrize("body", [[], [[]], [{"symbol": 7}], {}, {"code": 0}, "text", 7, None])
async def test_an_answer_of_another_form_is_one_line(body: object) -> None:
    async with both(read_attempts=1) as (exchange, there):
        broker = there.broker
        for name in (
            "GET /fapi/v1/openOrders", "GET /fapi/v1/openAlgoOrders", "GET /fapi/v3/positionRisk",
            "GET /fapi/v2/account", "GET /fapi/v1/positionSide/dual", "GET /fapi/v1/multiAssetsMargin",
            "GET /fapi/v1/feeBurn", "GET /fapi/v1/symbolConfig", "GET /fapi/v1/userTrades", "GET /fapi/v1/income",
            "GET /fapi/v1/order", "GET /fapi/v1/leverageBracket", "GET /fapi/v1/fundingInfo",
            "GET /fapi/v1/exchangeInfo",
        ):  # fmt: skip
            exchange.answers[name] = lambda _: web.json_response(body)
        now_us = broker.now_us()
        asked: list[Callable[[], Awaitable[object]]] = [
            broker.open_orders,
            broker.positions,
            broker.account,
            broker.symbol_settings,
            lambda: broker.query(CANCEL),
            lambda: broker.fills_since("BTCUSDT", now_us),
            lambda: broker.incomes_since(now_us),
            lambda: broker.instruments(["BTCUSDT"]),
        ]
        for read in asked:
            with contextlib.suppress(VenueError):
                assert (body, await read()) in (([], []), ([], {})), "only an empty list is empty"


# Starting.


async def test_a_key_that_is_not_taken_a_host_that_is_not_there_and_a_dead_stream_end_the_start() -> (
    None
):
    async with hand_made() as exchange:
        exchange.answers["POST /fapi/v1/listenKey"] = refuse(
            401, -2015, "Invalid API-key, IP, or permissions for action"
        )
        with pytest.raises(
            VenueError, match=r"-2015 Invalid API-key, IP, or permissions for action"
        ):
            await BinanceBroker(exchange.settings()).start()
        del exchange.answers["POST /fapi/v1/listenKey"]
        nowhere = exchange.settings(stream_url="ws://127.0.0.1:9", timeout_s=0.5)
        with pytest.raises(VenueError, match=r"the user stream must open within 0.5 s, did not"):
            await BinanceBroker(nowhere).start()
        gone = exchange.settings(rest_url="http://127.0.0.1:9", read_attempts=2)
        with pytest.raises(VenueError, match=r"futures_time: the exchange could not be reached"):
            await BinanceBroker(gone).start()


# Secrets.


def places_where_secrets_could_stand(error: BaseException) -> str:
    """Everything that a careless handler could print of an exception."""
    text = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=False).format()
    )
    chain: BaseException | None = error
    while chain is not None:
        text += repr(chain) + repr(chain.args) + repr(vars(chain))
        chain = chain.__context__ or chain.__cause__
    return text


def echo(status: int) -> Handler:
    """Return what sends back everything that was sent, key and signature too."""

    def answer(params: Mapping[str, str]) -> web.Response:
        said = json.dumps({**params, "key": KEY, "secret": SECRET})
        return web.json_response({"code": -1100, "msg": f"Illegal: {said}"}, status=status)

    return answer


@pytest.mark.parametrize(
    "handler", [page(502), page(200), page(400), echo(400), echo(503), late, lambda _: []]
)
async def test_no_secret_signature_or_listen_key_is_ever_shown(
    handler: Handler, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with both(timeout_s=0.3, read_attempts=1) as (exchange, there):
        exchange.keys = 424242
        broker = there.broker
        exchange.answers |= dict.fromkeys(
            [ORDER, ALGO, "GET /fapi/v3/positionRisk", "GET /fapi/v1/order", "PUT /fapi/v1/listenKey"], handler
        )  # fmt: skip
        shown = [repr(await broker.send(ENTRY)), repr(await broker.send(STOP))]
        for read in (broker.positions(), broker.query(CANCEL)):
            with contextlib.suppress(VenueError):
                shown.append(repr(await read))
        try:
            await broker.query(CANCEL)
        except VenueError as error:
            shown.append(places_where_secrets_could_stand(error))
        await exchange.tell({"e": "listenKeyExpired", "E": "1", "listenKey": "key-0"})
        await exchange.until(lambda: len(exchange.sockets) == 2)
        exchange.answers["POST /fapi/v1/listenKey"] = handler
        exchange.cut(exchange.sockets[-1])
        await asyncio.sleep(0.4)
        shown += [repr(broker), str(broker.settings), repr(there.events), repr(broker.clock)]
        asked = exchange.requests(ORDER)[0]
        out, err = capfd.readouterr()
        everything = "\n".join([*shown, caplog.text, out, err])
        for hidden in (
            KEY,
            SECRET,
            "K3YMARKER",
            "S3CR3TMARKER",
            asked["signature"],
            "key-424242",
            "signature=",
        ):
            assert hidden not in everything, hidden


def test_credentials_show_themselves_nowhere() -> None:
    credentials = Credentials(KEY, SECRET)
    settings = BrokerSettings(rest_url="http://h", stream_url="ws://h", credentials=credentials)
    shown = [
        repr(credentials), str(credentials), f"{credentials}", repr(settings), repr(dataclasses.asdict(settings)),
        repr(copy.deepcopy(settings)), json.dumps(dataclasses.asdict(settings), default=str),
    ]  # fmt: skip
    assert not [text for text in shown if "MARKER" in text]
    with pytest.raises(TypeError, match="must not be pickled"):
        pickle.dumps(settings)
    assert credentials.scrub(f"a {KEY} b {SECRET} c") == "a *** b *** c"


def test_credentials_come_from_the_environment_by_name() -> None:
    settings = BrokerSettings(
        rest_url="http://h", stream_url="ws://h", api_key="MY_KEY", api_secret="MY_SECRET"
    )
    found = settings.find_credentials({"MY_KEY": f" {KEY}\n", "MY_SECRET": SECRET})
    assert (found.api_key, found.api_secret) == (KEY, SECRET)
    with pytest.raises(
        ConfigError, match=r"the environment variable MY_SECRET must be set, was not"
    ) as raised:
        settings.find_credentials({"MY_KEY": KEY})
    assert "MARKER" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rest_url": "fapi.binance.com"}, "rest_url must start with http:// or https://"),
        ({"stream_url": "http://h"}, "stream_url must start with ws:// or wss://"),
        ({"permissions_url": "h"}, "permissions_url must start with"),
        ({"recv_window_ms": 0}, r"recv_window_ms must be in \[1, 60000\], was 0"),
        ({"recv_window_ms": 60_001}, "recv_window_ms"),
        ({"timeout_s": 0.0}, "timeout_s must be > 0, was 0.0"),
        ({"ping_seconds": float("nan")}, "ping_seconds must be > 0, was nan"),
        ({"read_attempts": 0}, "read_attempts must be >= 1, was 0"),
        ({"queue_max": 0}, "queue_max must be >= 1"),
        ({"patience_s": 200.0}, r"patience_s must be in \[0, exit_patience_s = 150.0\], was 200.0"),
        ({"clock_speed": -1.0}, "clock_speed must be >= 0, was -1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BrokerSettings(**{"rest_url": "http://h", "stream_url": "ws://h", **changes})


@pytest.mark.parametrize("name", ["api_key", "api_secret"])
def test_a_key_given_in_place_of_its_name_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ConfigError, match="must name an environment variable") as raised:
        BrokerSettings(rest_url="http://h", stream_url="ws://h", **{name: "vmPUZE6mv9SD5VNHk4Hl"})  # type: ignore[arg-type]  # a name of text fields
    assert "vmPUZE" not in str(raised.value)
