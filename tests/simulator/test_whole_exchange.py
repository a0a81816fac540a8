"""The whole exchange behind its port: nonsense on every route is refused in its own form, and never as unknown."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live.simulator.routes import ROUTES
from tests.simulator.whole import Whole


@pytest.fixture(scope="module", params=["real", "lock_step"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    with asyncio.Runner() as runner:
        made = Whole(runner, tmp_path_factory.mktemp("market"), request.param)
        yield made
        made.close()


def one_of(*words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words)


SIZES = one_of(
    "0", "0.001", "0.01", "1", "1.5", "-1", "1000000", "0.00000001", "9" * 20, "1e5", "NaN", ""
)
PRICES = one_of(
    "1", "0.1", "42000", "42000.1", "2500.55", "0", "-5", "9" * 20, "0." + "1" * 20, "x"
)
NUMBERS = one_of(
    "0", "1", "5", "7", "50", "500", "1000", "1500", "1501", "-1", "x", "9" * 20, "1.5"
)
TIMES = one_of("0", "1", "1704067200000", "1735689600000", "9" * 20, "x")
IDS = one_of("1", "1000000001", "2000000001", "abc", "é", "a" * 40, "", "x/y:z")
BOOLS = one_of("true", "false", "TRUE", "1", "")
FIELDS: dict[str, st.SearchStrategy[str]] = {
    "symbol": one_of("BTCUSDT", "ETHUSDT", "btcusdt", "NOPEUSDT", "", "BTC USDT", "币安USDT", "A" * 50),
    "pair": one_of("BTCUSDT", "NOPE"),
    "contractType": one_of("PERPETUAL", "NEXT_QUARTER", "x"),
    "interval": one_of("1m", "1h", "1d", "1M", "7h", ""),
    "side": one_of("BUY", "SELL", "HOLD"),
    "type": one_of(
        "LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET", "1", "2"
    ),
    "timeInForce": one_of("GTC", "IOC", "FOK", "GTX", "GTD", "RPI", "x"),
    "positionSide": one_of("BOTH", "LONG", "SHORT", "x"),
    "workingType": one_of("MARK_PRICE", "CONTRACT_PRICE", "x"),
    "newOrderRespType": one_of("ACK", "RESULT", "x"),
    "selfTradePreventionMode": one_of("NONE", "EXPIRE_TAKER", "x"),
    "priceMatch": one_of("NONE", "OPPONENT", "QUEUE_5", "x"),
    "algoType": one_of("CONDITIONAL", "VP", "x"),
    "marginType": one_of("CROSSED", "ISOLATED", "x"),
    "incomeType": one_of("FUNDING_FEE", "COMMISSION", "x"),
    "autoCloseType": one_of("LIQUIDATION", "ADL", "x"),
    "batchOrders": one_of("[]", "{}", "[", "[1]", '[{"symbol":1}]', "null", "[" * 2000, '[{"symbol":"BTCUSDT"}]'),
    "orderIdList": one_of("[]", "[1]", "[", '["x"]', "{}", "null", "[[1]]", "[1,2,3,4,5,6,7,8,9,10,11]"),
    "origClientOrderIdList": one_of("[]", '["a"]', "[1]", "["),
    **dict.fromkeys(("quantity", "amount", "callbackRate"), SIZES),
    **dict.fromkeys(("price", "stopPrice", "triggerPrice", "activatePrice", "activationPrice"), PRICES),
    **dict.fromkeys(("limit", "leverage", "countdownTime", "page"), NUMBERS),
    **dict.fromkeys(("startTime", "endTime", "goodTillDate"), TIMES),
    **dict.fromkeys(("orderId", "fromId", "algoId", "newClientOrderId", "clientAlgoId", "origClientOrderId"), IDS),
    **dict.fromkeys(
        ("reduceOnly", "closePosition", "priceProtect", "dualSidePosition", "multiAssetsMargin", "feeBurn"), BOOLS
    ),
}  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A route with its mandatory parameters most of the time, and some others."""
    name = draw(st.sampled_from(sorted(ROUTES)))
    likely = [n for n in ROUTES[name].mandatory if draw(st.integers(0, 9))]
    others = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=6, unique=True))
    return name, {n: draw(FIELDS[n]) for n in dict.fromkeys([*likely, *others])}


FACTORS = st.sampled_from([0.7, 0.97, 0.999, 1.0, 1.001, 1.03, 1.4])
FORMS: dict[str, tuple[str, ...]] = {
    "LIMIT": ("timeInForce", "quantity", "price"),
    "MARKET": ("quantity",),
    "STOP_MARKET": ("triggerPrice", "quantity"),
    "TAKE_PROFIT_MARKET": ("triggerPrice", "closePosition"),
    "TRAILING_STOP_MARKET": ("callbackRate", "quantity"),
    "STOP": ("triggerPrice", "price", "quantity"),
}
ORDER_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "timeInForce": one_of("GTC", "IOC", "FOK", "GTX"),
    "quantity": one_of("0.002", "0.01", "0.1"),
    "closePosition": st.just("true"),
    "callbackRate": one_of("0.1", "1", "5"),
    "price": FACTORS,
    "triggerPrice": FACTORS,
}


@st.composite
def order_requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An order as it should be, or with one field of it or besides wrong; prices are shares of the last one."""
    kind = draw(st.sampled_from(sorted(FORMS)))
    name = "POST /fapi/v1/order" if kind in ("LIMIT", "MARKET") else "POST /fapi/v1/algoOrder"
    params = {n: draw(ORDER_FIELDS[n]) for n in FORMS[kind]}
    params |= {"symbol": "BTCUSDT", "side": draw(one_of("BUY", "SELL")), "type": kind}
    if name.endswith("algoOrder"):
        params["algoType"] = "CONDITIONAL"
    if draw(st.booleans()):
        wrong = draw(st.sampled_from(sorted(FIELDS)))
        params[wrong] = draw(FIELDS[wrong])
    return name, params


def check(whole: Whole, name: str, params: dict[str, str]) -> None:
    """Ask for something: it succeeds, or is refused for what it is and leaves nothing behind."""
    before = traces(whole)
    status, body = whole.ask(name, params)
    if status == 200:
        code = body.get("code", 200) if isinstance(body, dict) else 200
        assert int(code) == 200, (name, params, body)
        return
    assert 400 <= status < 500, body
    assert set(body) == {"code", "msg"}
    assert body["code"] not in (-1000, -1022, -5000), (name, params, body)
    assert traces(whole) == before, (name, params, body)


def traces(whole: Whole) -> tuple[int, ...]:
    """Return how many orders there have been, and what else a request may leave on an account."""
    [account] = whole.made.exchange.venue.accounts.values()
    moved, left = len(account.margin_changes), len(account.countdown_us)
    leverages = tuple(account.leverage(s) for s in range(len(account.instruments)))
    return len(account.orders), len(account.algos), moved, left, *leverages


@settings(max_examples=400)
@given(requests())
def test_nonsense_on_any_route_is_refused_for_what_it_is(
    whole: Whole, asked: tuple[str, dict[str, str]]
) -> None:
    logging.getLogger("live.simulator").setLevel(logging.ERROR)
    check(whole, *asked)


@settings(max_examples=300)
@given(order_requests())
def test_orders_that_are_nearly_right_are_answered_and_leave_an_account_that_adds_up(
    whole: Whole, asked: tuple[str, dict[str, Any]]
) -> None:
    name, params = asked
    check(whole, name, whole.priced(params))
    status, account = whole.ask("GET /fapi/v2/account", {})
    assert status == 200
    assert float(account["totalWalletBalance"]) > 0.0
    if whole.settings.lock_step:
        whole.advance()


# Of the client's libraries, not of ours.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_python_binance_cancels_batches_in_its_own_spelling(whole: Whole) -> None:
    from binance import AsyncClient

    host = f"http://{whole.listener.address}"

    class Client(AsyncClient):  # type: ignore[misc] # it has no types
        API_URL = f"{host}/api"
        FUTURES_URL = f"{host}/fapi"

    async def cancel() -> list[Any]:
        client = await Client.create(whole.key, whole.secret)
        try:
            now_ms = whole.made.exchange.present() // 1000
            client.timestamp_offset = now_ms - int(time.time() * 1000)
            answers = [
                await client.futures_cancel_orders(
                    symbol="BTCUSDT", recvWindow=60_000, **{name: ids}
                )
                for name, ids in (
                    ("orderidlist", [1, 2]),
                    ("origclientorderidlist", ["a-1", "b_2"]),
                )
            ]
        finally:
            await client.close_connection()
        return answers

    unknown = {"code": -2011, "msg": "Unknown order sent."}
    assert whole.runner.run(cancel()) == [[unknown] * 2] * 2


def test_every_route_leads_somewhere(whole: Whole) -> None:
    for name, route in ROUTES.items():
        params = {"symbol": "BTCUSDT"} if "symbol" in route.mandatory else {}
        _, body = whole.ask(name, params)
        assert not (isinstance(body, dict) and body.get("code") in (-5000, -1000)), (name, body)
