"""What accounts are told and answered has the fields and types of the documented payloads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from live.simulator.user_events import margin_call
from tests.simulator.test_venue_live import Trader, trader

PAYLOADS = Path(__file__).parents[3] / "shared" / "data" / "binance_api"
pytestmark = pytest.mark.skipif(
    not PAYLOADS.is_dir(), reason="the documented payloads in ../shared/data are not there"
)
GONE = {"avgPrice", "cumQuote"}
"""No longer in the answers to POST and DELETE (BINANCE.md)."""
TRAILING = {"activatePrice", "priceRate"}
"""Of trailing stops, which are conditional orders of the Algo Service now."""


def documented(name: str) -> Any:
    """Return a payload: JSON, or JSON after a request's method, path and whether it is signed."""
    if "/" not in name:
        name = f"binance_net/endpoints/{name}.txt"
    raw = (PAYLOADS / name).read_text(encoding="utf-8")
    if name.endswith(".json"):
        return json.loads(raw)
    begin = min(k for k in (raw.find("["), raw.find("{")) if k >= 0)
    if "subscriptions" in name:
        begin = raw.find("{", raw.find("\n=") + 1)
    return json.loads(raw[begin:], strict=False)


def kind(value: Any) -> str:
    return {bool: "bool", int: "number", float: "number", str: "text", type(None): "none"}.get(
        type(value), type(value).__name__
    )


def compare(theirs: Any, ours: Any, where: str, left_out: set[str]) -> list[str]:
    """Return what the documented payload has and ours has not, or has otherwise."""
    if isinstance(theirs, dict):
        if not isinstance(ours, dict):
            return [f"{where} is {kind(ours)}"]
        wrong = [f"{where}.{k} is missing" for k in theirs if k not in ours and k not in left_out]
        for k in theirs:
            if k in ours and k not in left_out:
                wrong += compare(theirs[k], ours[k], f"{where}.{k}", left_out)
        return wrong
    if isinstance(theirs, list):
        if not isinstance(ours, list):
            return [f"{where} is {kind(ours)}"]
        return compare(theirs[0], ours[0], f"{where}[0]", left_out) if theirs and ours else []
    if theirs is None or ours is None or kind(theirs) == kind(ours):
        return []
    return [f"{where} is {kind(ours)}, documented as {kind(theirs)}"]


@pytest.fixture(scope="module")
def situation() -> Trader:
    """An account with a position, resting and conditional orders, trades and funding."""
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    t.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity=t.qty(500), price=t.price(0.97))
    t.algo(side="SELL", type="STOP_MARKET", closePosition="true", triggerPrice=t.price(0.7))
    t.algo(side="SELL", type="TAKE_PROFIT_MARKET", quantity=t.qty(500), triggerPrice=t.price(1.001))
    for _ in range(10):
        t.wait(3600)
    return t


def position(t: Trader, name: str) -> Any:
    return t.ask(f"GET {name}", symbol=t.symbol)


ANSWERS: list[tuple[str, str, str, set[str]]] = [
    ("nautilus/crate/account_info_v2.json", "GET /fapi/v2/account", "", set()),
    ("Account__GetAccountInfoV3", "GET /fapi/v3/account", "", set()),
    ("nautilus/crate/balance.json", "GET /fapi/v2/balance", "", set()),
    ("Account__GetBalances", "GET /fapi/v3/balance", "", set()),
    ("nautilus/crate/position_risk.json", "GET /fapi/v2/positionRisk", "", set()),
    (
        "nautilus/py/http_futures_account_positions_one_way.json",
        "GET /fapi/v2/positionRisk",
        "",
        set(),
    ),
    ("nautilus/py/http_futures_account_symbol_config.json", "GET /fapi/v1/symbolConfig", "", set()),
    ("Account__GetBrackets", "GET /fapi/v1/leverageBracket", "", set()),
    ("Account__GetUserCommissionRate", "GET /fapi/v1/commissionRate", "symbol=", set()),
    ("Account__GetOrderRateLimit", "GET /fapi/v1/rateLimit/order", "", set()),
    ("Account__GetPositionAdlQuantileEstimation", "GET /fapi/v1/adlQuantile", "", {"HEDGE"}),
    ("Account__GetIncomeHistory", "GET /fapi/v1/income", "", {"tranId"}),
    ("Trading__GetUserTrades", "GET /fapi/v1/userTrades", "symbol=", set()),
    ("nautilus/py/http_futures_account_trades.json", "GET /fapi/v1/userTrades", "symbol=", set()),
    ("Trading__GetOpenOrders", "GET /fapi/v1/openOrders", "", TRAILING),
    ("Trading__GetOrders", "GET /fapi/v1/allOrders", "symbol=", TRAILING),
    ("nautilus/py/http_futures_account_orders.json", "GET /fapi/v1/allOrders", "symbol=", TRAILING),
    ("Trading__GetOpenConditionalOrders", "GET /fapi/v1/openAlgoOrders", "", set()),
    ("Trading__GetConditionalOrders", "GET /fapi/v1/allAlgoOrders", "symbol=", set()),
    (
        "nautilus/py/http_futures_account_position_side_dual.json",
        "GET /fapi/v1/positionSide/dual",
        "",
        set(),
    ),
    (
        "Trading__CancelAllOrdersAfterTimeout",
        "POST /fapi/v1/countdownCancelAll",
        "symbol=&countdownTime=0",
        set(),
    ),
    ("Account__ChangeInitialLeverage", "POST /fapi/v1/leverage", "symbol=&leverage=19", set()),
]
"""Fixture, request, its parameters (an empty symbol is the trader's), and what the exchange has and ours has not."""


@pytest.mark.parametrize(("fixture", "request_name", "query", "left_out"), ANSWERS)
def test_answers(
    situation: Trader, fixture: str, request_name: str, query: str, left_out: set[str]
) -> None:
    pairs = dict(pair.split("=") for pair in query.split("&") if pair)
    sent = pairs | ({"symbol": situation.symbol} if "symbol" in pairs else {})
    ours = situation.ask(request_name, **sent)
    assert ours not in ([], {})
    assert compare(documented(fixture), ours, "", left_out) == []


def test_the_answer_to_an_order() -> None:
    t = trader()
    limit = {
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": t.qty(500),
        "price": t.price(0.97),
    }
    ours = t.order(**limit)
    theirs = documented("Trading__PlaceOrder")
    assert compare(theirs, ours, "", GONE | TRAILING) == []
    assert not GONE & set(ours)
    limit["symbol"] = t.symbol
    batch = json.dumps([limit, limit | {"quantity": "0"}])
    placed = t.ask("POST /fapi/v1/batchOrders", batchOrders=batch)
    assert (
        compare(
            documented("Trading__PlaceMultipleOrders"),
            placed,
            "",
            GONE | TRAILING,
        )
        == []
    )
    assert placed[1]["code"] == -4003
    ids = f"[{placed[0]['orderId']},1]"
    gone = t.ask("DELETE /fapi/v1/batchOrders", symbol=t.symbol, orderIdList=ids)
    assert (
        compare(
            documented("Trading__CancelMultipleOrders"),
            gone,
            "",
            GONE | TRAILING,
        )
        == []
    )
    assert gone[1] == {"code": -2011, "msg": "Unknown order sent."}
    many = json.dumps(list(range(11)))
    assert t.refusal("DELETE /fapi/v1/batchOrders", orderIdList=many) == -4032
    assert t.refusal("POST /fapi/v1/batchOrders", batchOrders=json.dumps([limit] * 6)) == -4082


def test_the_answer_to_a_conditional_order() -> None:
    t = trader()
    ours = t.algo(
        side="BUY",
        type="TAKE_PROFIT",
        quantity=t.qty(500),
        price=t.price(0.97),
        triggerPrice=t.price(0.98),
    )
    assert compare(documented("Trading__PlaceConditionalOrder"), ours, "", set()) == []


@pytest.mark.parametrize(
    ("fixture", "event", "left_out"),
    [
        ("nautilus/crate/order_update_trade.json", "ORDER_TRADE_UPDATE", {"AP", "cr"}),
        ("binance_net/subscriptions/OrderUpdate.txt", "ORDER_TRADE_UPDATE", {"AP", "cr"}),
        ("nautilus/crate/account_update.json", "ACCOUNT_UPDATE", set()),
        ("nautilus/crate/trade_lite.json", "TRADE_LITE", set()),
        ("binance_net/subscriptions/TradeUpdate.txt", "TRADE_LITE", set()),
        ("nautilus/crate/algo_update_new.json", "ALGO_UPDATE", set()),
        ("binance_net/subscriptions/AlgoOrderUpdate.txt", "ALGO_UPDATE", set()),
        ("nautilus/py/ws_futures_algo_update_triggered.json", "ALGO_UPDATE", set()),
    ],
)
def test_messages(fixture: str, event: str, left_out: set[str]) -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    t.algo(side="SELL", type="STOP_MARKET", closePosition="true", triggerPrice=t.price(0.7))
    ours = [m for m in t.events() if m["e"] == event][-1]
    theirs = documented(fixture)
    assert compare(theirs.get("data", theirs), ours, "", left_out) == []


def test_a_margin_call_and_a_forced_order() -> None:
    t = Trader_in_trouble()
    call = next(m for m in t.told if m["e"] == "MARGIN_CALL")
    theirs = documented("binance_net/subscriptions/MarginUpdate.txt")
    assert compare(theirs.get("data", theirs), call, "", set()) == []
    forced = t.ask("GET /fapi/v1/forceOrders")
    assert compare(documented("Trading__GetForcedOrders"), forced, "", set()) == []
    assert forced[0]["clientOrderId"].startswith("autoclose-")
    assert t.account.lots(0) == 0


def test_a_margin_call_of_isolated_positions_leaves_the_cross_wallet_out() -> None:
    t = trader()
    t.ask("POST /fapi/v1/marginType", symbol=t.symbol, marginType="ISOLATED")
    t.order(side="BUY", type="MARKET", quantity=t.qty(500))
    marks = t.venue.marks
    assert "cw" not in margin_call(t.account, marks, t.venue.now_us)
    t.order(symbol="BBBUSDT", side="BUY", type="MARKET", quantity="10")
    assert "cw" in margin_call(t.account, marks, t.venue.now_us)


class Trader_in_trouble(Trader):
    """Twenty times leveraged, until the exchange closes the position."""

    def __init__(self) -> None:
        from tests.account.random_cases import Case

        super().__init__(
            Case(seed=8, capital=10_000.0, n_bars=200, volatility=0.01, bracket_scale=100.0)
        )
        self.told: list[dict[str, Any]] = []
        self.order(side="BUY", type="MARKET", quantity=self.qty(95_000))
        for _ in range(190 * 6):
            self.wait(600)
            self.told += self.events()
            if self.account.lots(0) == 0:
                return
