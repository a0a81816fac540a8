"""In real time orders meet the book of the moment; money is never made or lost on the way."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from live.simulator.bar_tape import BarTape
from live.simulator.engine import VenueSettings
from live.simulator.orders import AlgoOrder, Order
from live.simulator.venue import Venue
from live.simulator.wire import Refused, digits_of, lots_text, text
from quantcore.kernels import layout as at
from tests.account.random_cases import Case, case_bars, case_instruments

SECOND = 1_000_000


class Trader:
    """One account on a small market."""

    def __init__(self, case: Case) -> None:
        bars = case_bars(case)
        tape = BarTape(bars=bars, instruments=case_instruments(case))
        self.venue = Venue(tape, VenueSettings())
        self.account = self.venue.open_account("key", "secret", case.capital)
        self.symbol = bars.symbols[0]
        self.wait(10)

    def ask(self, name: str, **params: Any) -> Any:
        return self.venue.handle(self.account, name, {k: str(v) for k, v in params.items()})

    def order(self, **params: Any) -> Any:
        return self.ask("POST /fapi/v1/order", **({"symbol": self.symbol} | params))

    def algo(self, **params: Any) -> Any:
        return self.ask(
            "POST /fapi/v1/algoOrder",
            **({"symbol": self.symbol, "algoType": "CONDITIONAL"} | params),
        )

    def refusal(self, name: str, **params: Any) -> int:
        with pytest.raises(Refused) as refused:
            self.ask(name, **({"symbol": self.symbol} | params))
        return refused.value.code

    def wait(self, seconds: float) -> None:
        self.venue.advance(self.venue.now_us + round(seconds * SECOND))

    def events(self) -> list[dict[str, Any]]:
        return [message for _, message in self.venue.drain()]

    def qty(self, usdt: float) -> str:
        instrument = self.venue.instruments[0]
        step = float(instrument.step_size)
        return lots_text(int(usdt / float(self.venue.prices[0]) / step), instrument.step_size)

    def price(self, share: float) -> str:
        tick = self.venue.instruments[0].tick_size
        value = float(self.venue.prices[0]) * share
        return text(round(value / float(tick)) * float(tick), digits_of(tick))


def trader(**changes: Any) -> Trader:
    return Trader(
        Case(seed=4, capital=10_000.0, n_bars=60, volatility=0.004, bracket_scale=100.0, **changes)
    )


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [
        f"{e['o']['x']} {e['o']['X']}" if e["e"] == "ORDER_TRADE_UPDATE" else
        f"ALGO {e['o']['X']}" if e["e"] == "ALGO_UPDATE" else e["e"]
        for e in events
    ]  # fmt: skip


def test_a_market_order_fills_at_once_against_the_book() -> None:
    t = trader()
    best = t.venue.tape.book(0, t.venue.now_us, 1).asks[0][0]
    sent = t.order(side="BUY", type="MARKET", quantity=t.qty(500), newClientOrderId="one")
    assert (sent["status"], sent["clientOrderId"]) == ("NEW", "one")
    assert kinds(t.events()) == ["NEW NEW", "TRADE_LITE", "TRADE FILLED", "ACCOUNT_UPDATE"]
    found = t.ask("GET /fapi/v1/order", symbol=t.symbol, origClientOrderId="one")
    assert found["status"] == "FILLED"
    tick = float(t.venue.instruments[0].tick_size)
    assert float(found["avgPrice"]) == pytest.approx(best * tick)
    result = t.order(side="SELL", type="MARKET", quantity=t.qty(100), newOrderRespType="RESULT")
    assert result["status"] == "FILLED"


def test_what_is_larger_than_the_best_level_walks_the_book() -> None:
    t = trader()
    asks = t.venue.tape.book(0, t.venue.now_us, 20).asks
    lots = asks[0][1] + asks[1][1]
    instrument = t.venue.instruments[0]
    t.account.held["cash"][at.WALLET] = t.account.capital = 1e9
    for s in range(3):
        t.account.rules.rate[s, at.NOTIONAL_MAX] = 1e12
    t.order(side="BUY", type="MARKET", quantity=lots_text(lots, instrument.step_size))
    trades = list(t.account.trades)
    assert [trade.lots for trade in trades] == [asks[0][1], asks[1][1]]
    assert trades[0].price < trades[1].price


def test_limits_rest_post_only_refuses_and_fill_or_kill_kills() -> None:
    t = trader()
    resting = {"side": "BUY", "type": "LIMIT", "quantity": t.qty(500), "price": t.price(0.99)}
    t.order(timeInForce="GTX", newClientOrderId="r", **resting)
    assert [o["clientOrderId"] for o in t.ask("GET /fapi/v1/openOrders")] == ["r"]
    crossing = resting | {"price": t.price(1.01)}
    assert t.refusal("POST /fapi/v1/order", timeInForce="GTX", **crossing) == -5022
    assert t.refusal("POST /fapi/v1/order", timeInForce="FOK", **resting) == -5021
    gone = t.order(timeInForce="IOC", newOrderRespType="RESULT", **resting)
    assert gone["status"] == "EXPIRED"
    assert (
        t.refusal("POST /fapi/v1/order", timeInForce="GTC", newClientOrderId="r", **resting)
        == -4116
    )
    assert t.order(timeInForce="GTC", newOrderRespType="RESULT", **crossing)["status"] == "FILLED"


def test_a_resting_limit_fills_as_maker_when_the_path_trades_through_it() -> None:
    t = trader()
    t.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity=t.qty(500), price=t.price(0.9985))
    for _ in range(400):
        t.wait(60)
        if t.account.trades:
            break
    trade = t.account.trades[0]
    assert trade.maker
    assert trade.fee == pytest.approx(0.0002 * trade.price * t.account.qty(0))


def test_orders_are_changed_cancelled_and_counted_down() -> None:
    t = trader()
    limit = {
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": t.qty(500),
        "price": t.price(0.98),
    }
    sent = t.order(**limit)
    changed = t.ask(
        "PUT /fapi/v1/order", symbol=t.symbol, orderId=sent["orderId"], side="BUY", quantity=t.qty(300),
        price=t.price(0.97),
    )  # fmt: skip
    assert (changed["orderId"], changed["price"]) == (sent["orderId"], t.price(0.97))
    again = {
        "symbol": t.symbol,
        "orderId": sent["orderId"],
        "side": "BUY",
        "quantity": t.qty(300),
        "price": t.price(0.97),
    }
    assert t.refusal("PUT /fapi/v1/order", **again) == -5027
    assert (
        t.ask("DELETE /fapi/v1/order", symbol=t.symbol, orderId=sent["orderId"])["status"]
        == "CANCELED"
    )
    assert t.refusal("DELETE /fapi/v1/order", orderId=sent["orderId"]) == -2011
    assert t.refusal("GET /fapi/v1/order", orderId=1) == -2013
    t.order(**limit)
    t.ask("POST /fapi/v1/countdownCancelAll", symbol=t.symbol, countdownTime=30_000)
    t.wait(29)
    assert len(t.account.open_orders()) == 1
    t.wait(2)
    assert t.account.open_orders() == []


def test_a_protective_stop_goes_through_its_states_and_closes_the_position() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    stop = {
        "side": "SELL",
        "type": "STOP_MARKET",
        "closePosition": "true",
        "triggerPrice": t.price(0.998),
    }
    sent = t.algo(clientAlgoId="guard", **stop)
    assert (sent["clientAlgoId"], sent["algoStatus"]) == ("guard", "NEW")
    assert t.refusal("POST /fapi/v1/algoOrder", algoType="CONDITIONAL", **stop) == -4130
    assert t.refusal("POST /fapi/v1/order", **(stop | {"stopPrice": t.price(0.9)})) == -4120
    beyond = stop | {
        "triggerPrice": t.price(1.01),
        "closePosition": "false",
        "quantity": t.qty(100),
        "reduceOnly": "true",
    }
    assert t.refusal("POST /fapi/v1/algoOrder", algoType="CONDITIONAL", **beyond) == -2021
    t.events()
    for _ in range(400):
        t.wait(60)
        if t.account.lots(0) == 0:
            break
    said = kinds(t.events())
    assert [k for k in said if k.startswith("ALGO")] == [
        "ALGO TRIGGERING",
        "ALGO TRIGGERED",
        "ALGO FINISHED",
    ]
    assert said.index("ALGO TRIGGERED") < said.index("TRADE FILLED") < said.index("ALGO FINISHED")
    found = t.ask("GET /fapi/v1/algoOrder", clientAlgoId="guard")
    assert found["algoStatus"] == "FINISHED"
    assert int(found["actualOrderId"]) in t.account.orders
    assert t.ask("GET /fapi/v1/openAlgoOrders") == []


def test_an_exchange_that_is_asked_often_within_a_step_does_the_same() -> None:
    often, seldom = trader(), trader()
    for t in (often, seldom):
        t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
        t.algo(side="SELL", type="STOP_MARKET", closePosition="true", triggerPrice=t.price(0.998))
        for level in (1.0, 0.999, 0.9):
            t.order(
                side="BUY",
                type="LIMIT",
                timeInForce="GTC",
                quantity=t.qty(300),
                price=t.price(level),
            )
        t.events()
    assert often.venue.now_us % 100_000 == 0
    for _ in range(400):
        for seconds in (59.8, *[0.02] * 10):
            often.wait(seconds)
        for seconds in (59.8, 0.1, 0.1):
            seldom.wait(seconds)
    said = often.events()
    assert said == seldom.events()
    assert {"TRADE FILLED", "ALGO FINISHED"} <= set(kinds(said))
    assert often.venue.ledger() == seldom.venue.ledger()


def test_ended_conditional_orders_are_kept_up_to_a_count_and_open_ones_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("live.simulator.accounts.ENDED_ORDERS", 10)
    t = trader()
    far = {"side": "BUY", "type": "STOP_MARKET", "quantity": t.qty(300), "triggerPrice": t.price(2)}
    t.algo(clientAlgoId="first", **far)
    for k in range(40):
        t.algo(clientAlgoId=f"a-{k}", **far)
        t.ask("DELETE /fapi/v1/algoOrder", clientAlgoId=f"a-{k}")
    t.algo(clientAlgoId="last", **far)
    assert len(t.account.algos) <= 11
    assert [a["clientAlgoId"] for a in t.ask("GET /fapi/v1/openAlgoOrders")] == ["first", "last"]
    assert t.ask("GET /fapi/v1/algoOrder", clientAlgoId="a-39")["algoStatus"] == "CANCELED"
    assert t.refusal("GET /fapi/v1/algoOrder", clientAlgoId="a-0") == -2013


def test_a_guard_ends_with_its_position() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(500))
    t.algo(side="SELL", type="STOP_MARKET", closePosition="true", triggerPrice=t.price(0.5))
    t.order(
        side="SELL",
        type="MARKET",
        quantity=t.account.trades[0].order.terms.lots_text(t.account.lots(0)),
        reduceOnly="true",
    )
    t.wait(1)
    assert t.ask("GET /fapi/v1/openAlgoOrders") == []
    assert (
        t.refusal(
            "POST /fapi/v1/algoOrder",
            algoType="CONDITIONAL",
            side="SELL",
            type="STOP_MARKET",
            closePosition="true",
            triggerPrice=t.price(0.5),
        )
        == -4509
    )


def test_a_conditional_limit_and_an_activated_trail_are_watched() -> None:
    t = trader()
    t.algo(
        side="BUY",
        type="STOP",
        quantity=t.qty(300),
        price=t.price(1.01),
        triggerPrice=t.price(1.002),
    )
    t.algo(
        side="SELL",
        type="TRAILING_STOP_MARKET",
        quantity=t.qty(300),
        callbackRate="0.2",
        activatePrice=t.price(1.003),
    )
    for _ in range(55):
        t.wait(60)
    assert {a.status for a in t.account.algos.values()} <= {
        "FINISHED",
        "NEW",
        "TRIGGERED",
        "REJECTED",
    }
    assert any(a.status == "FINISHED" for a in t.account.algos.values())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "NOPEUSDT"}, -1121),
        ({"side": "LONG"}, -1117),
        ({"type": "FANCY"}, -1116),
        ({"quantity": "0.00000123"}, -1111),
        ({"quantity": "0"}, -4003),
        ({"quantity": "-1"}, -4003),
        ({"quantity": "1e400"}, -1102),
        ({"quantity": "abc"}, -1102),
        ({"quantity": "100000000"}, -4005),
        ({"quantity": "30000"}, -2027),
        ({"price": "1.0"}, -1106),
        ({"reduceOnly": "maybe"}, -1102),
        ({"reduceOnly": "true"}, -2022),
        ({"positionSide": "LONG"}, -4061),
        ({"newClientOrderId": "x" * 40}, -4015),
        ({"newClientOrderId": "ä"}, -1100),
        ({"timeInForce": "DAY"}, -1115),
        ({"priceMatch": "OPPONENT"}, -5037),
        ({"positionSide": "FLAT"}, -4060),
        ({"newOrderRespType": "FULL"}, -1136),
        ({"selfTradePreventionMode": "ALL"}, -5039),
        ({"workingType": "INDEX_PRICE"}, -4031),
        ({"type": "LIMIT", "price": "-1", "timeInForce": "GTC"}, -4001),
        ({"type": "LIMIT", "timeInForce": "GTD", "goodTillDate": "1", "price": "100"}, -5040),
        ({"quantity": ""}, -1102),
    ],
)  # fmt: skip
def test_orders_are_refused_by_the_exchanges_codes(changes: dict[str, str], code: int) -> None:
    t = trader()
    sent = {"side": "BUY", "type": "MARKET", "quantity": t.qty(500)} | changes
    assert t.refusal("POST /fapi/v1/order", **sent) == code
    assert not t.account.orders


def test_what_margin_does_not_carry_is_refused_and_leaves_no_trace() -> None:
    t = trader()
    t.ask("POST /fapi/v1/leverage", symbol=t.symbol, leverage=1)
    t.events()
    assert (
        t.refusal("POST /fapi/v1/order", side="BUY", type="MARKET", quantity=t.qty(11_000)) == -2019
    )
    assert t.events() == []
    assert t.account.orders == {}
    t.order(side="BUY", type="MARKET", quantity=t.qty(9_000))
    turn = {"side": "SELL", "type": "MARKET", "quantity": t.qty(17_000)}
    t.order(**turn)  # closes, then opens the other side with what that freed
    assert t.account.lots(0) < 0


def test_margins_are_set_by_the_exchanges_rules() -> None:
    t = trader()
    assert t.ask("POST /fapi/v1/leverage", symbol=t.symbol, leverage=3)["leverage"] == 3
    assert t.refusal("POST /fapi/v1/leverage", leverage=126) == -4028
    assert t.refusal("POST /fapi/v1/marginType", marginType="CROSSED") == -4046
    t.ask("POST /fapi/v1/marginType", symbol=t.symbol, marginType="ISOLATED")
    t.order(side="BUY", type="MARKET", quantity=t.qty(900))
    assert t.refusal("POST /fapi/v1/marginType", marginType="CROSSED") == -4048
    before = t.account.balance
    t.ask("POST /fapi/v1/positionMargin", symbol=t.symbol, amount="50", type=1)
    assert t.account.balance == pytest.approx(before)
    margin = "POST /fapi/v1/positionMargin"
    assert t.refusal(margin, amount="1e6", type=1) == -4050
    assert t.refusal(margin, amount="1e6", type=2) == -4051
    assert t.refusal(margin, amount="0", type=1) == -4055
    assert t.refusal(margin, symbol="BBBUSDT", amount="1", type=1) == -4049
    assert t.refusal("POST /fapi/v1/leverage", leverage=2) == -4161
    assert t.refusal("POST /fapi/v1/positionSide/dual", dualSidePosition="false") == -4059
    assert t.refusal("POST /fapi/v1/positionSide/dual", dualSidePosition="true") == -4084
    assert t.refusal("POST /fapi/v1/multiAssetsMargin", multiAssetsMargin="false") == -4171
    assert t.refusal("POST /fapi/v1/multiAssetsMargin", multiAssetsMargin="true") == -4084
    risk = t.ask("GET /fapi/v2/positionRisk", symbol=t.symbol)[0]
    assert (risk["marginType"], risk["leverage"]) == ("isolated", "3")
    assert 0.0 < float(risk["liquidationPrice"]) < float(risk["entryPrice"])


def act(t: Trader, draw: random.Random) -> None:
    """Send some request or other; what is refused is refused."""
    s = draw.randrange(3)
    instrument = t.venue.instruments[s]
    last = float(t.venue.prices[s])
    if np.isnan(last):
        return
    lots = max(int(draw.uniform(10, 20_000) / last / float(instrument.step_size)), 1)
    tick = float(instrument.tick_size)
    near = round(last * draw.uniform(0.97, 1.03) / tick) * tick
    sent = {"symbol": instrument.symbol, "side": draw.choice(["BUY", "SELL"])}
    qty = {"quantity": lots_text(lots, instrument.step_size)}
    price = text(near, digits_of(instrument.tick_size))
    kind = draw.randrange(5)
    try:
        if kind == 0:
            t.order(**sent, **qty, type="MARKET", reduceOnly=draw.choice(["true", "false"]))
        elif kind == 1:
            tif = draw.choice(["GTC", "IOC", "GTX"])
            t.order(**sent, **qty, type="LIMIT", price=price, timeInForce=tif)
        elif kind == 2:
            word = draw.choice(["STOP_MARKET", "TAKE_PROFIT_MARKET"])
            t.algo(**sent, **qty, type=word, triggerPrice=price)
        elif kind == 3:
            t.algo(**sent, type="STOP_MARKET", closePosition="true", triggerPrice=price)
        else:
            t.ask("DELETE /fapi/v1/allOpenOrders", symbol=instrument.symbol)
    except Refused:
        return


@settings(
    max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(
    seed=st.integers(0, 2**31 - 1),
    volatility=st.sampled_from([0.003, 0.02]),
    crash=st.sampled_from([0.0, 0.5]),
    isolated=st.booleans(),
    holes=st.booleans(),
)
def test_money_is_conserved_and_the_lists_agree_with_the_books(
    seed: int, volatility: float, crash: float, isolated: bool, holes: bool
) -> None:
    draw = random.Random(seed)
    case = Case(
        seed=seed,
        capital=5_000.0,
        n_bars=40,
        volatility=volatility,
        crash=crash,
        holes=holes,
        bracket_scale=100.0,
    )
    t = Trader(case)
    for symbol in t.venue.symbols:
        t.ask("POST /fapi/v1/leverage", symbol=symbol, leverage=draw.choice([1, 5, 20]))
        if isolated:
            t.ask("POST /fapi/v1/marginType", symbol=symbol, marginType="ISOLATED")
    for _ in range(60):
        act(t, draw)
        t.wait(draw.uniform(1, 2 * 3600))
    books = t.venue.ledger()["accounts"][0]
    assert books["missing"] == pytest.approx(0.0, abs=1e-8)
    account = t.account
    incomes = sum(each.amount for each in account.incomes)
    assert account.balance == pytest.approx(case.capital + incomes, abs=1e-6)
    n = int(account.held["counter"][at.OPEN_ORDERS])
    table = set(account.held["ticket"][:n, at.ORDER_ID].tolist())
    assert table == set(account.by_step_id)
    listed = {o.step_id for o in account.open_orders()} | {
        a.step_id for a in account.open_algos() if a.step_id >= 0
    }
    assert listed == table
    for order in account.orders.values():
        done = sum(trade.lots for trade in account.trades if trade.order is order)
        assert done == order.done
        assert (order.status == "FILLED") == (order.done == order.terms.lots and order.done > 0)
    assert all(isinstance(each, Order | AlgoOrder) for each in account.by_step_id.values())
