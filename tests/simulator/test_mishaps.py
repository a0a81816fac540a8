"""What goes wrong with the exchange itself happens to accounts as it would on the real one."""

from __future__ import annotations

from typing import Any

import pytest

from live.simulator.faults import VenueFault
from live.simulator.scenario import FaultRule
from tests.simulator.test_venue_live import Trader, kinds, trader


def strike(t: Trader, kind: str, seconds: float | None = None, **values: Any) -> None:
    until = None if seconds is None else t.venue.now_us + round(seconds * 1e6)
    rule = FaultRule(kind=kind, duration_seconds=seconds, **values)
    t.venue.suffer(VenueFault(time_us=t.venue.now_us, until_us=until, rule=rule))


def missing(t: Trader) -> float:
    return float(t.venue.ledger()["accounts"][0]["missing"])


def test_a_stuck_guard_ends_with_its_position() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    guard = {"side": "SELL", "type": "STOP_MARKET", "closePosition": "true"}
    t.algo(**guard, triggerPrice=t.price(0.9), clientAlgoId="g")
    strike(t, "stuck_triggering", 3600.0)
    t.order(side="SELL", type="MARKET", quantity=t.qty(2000), reduceOnly="true")
    t.wait(1)
    assert t.ask("GET /fapi/v1/algoOrder", clientAlgoId="g")["algoStatus"] == "EXPIRED"


def test_a_stop_is_taken_on_its_own_side_of_the_price_while_triggers_hang() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    strike(t, "stuck_triggering", 3600.0)
    guard = {"side": "SELL", "type": "STOP_MARKET", "closePosition": "true"}
    with pytest.raises(Exception, match="-2021"):
        t.algo(**guard, triggerPrice=t.price(1.1), clientAlgoId="h")
    assert t.algo(**guard, triggerPrice=t.price(0.9), clientAlgoId="g")["algoStatus"] == "NEW"


def test_an_order_fills_in_part_and_rests() -> None:
    t = trader()
    strike(t, "partial_fill", 60.0, fraction=0.25)
    limit = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    sent = t.order(**limit, quantity=t.qty(2000), price=t.price(1.01), newOrderRespType="RESULT")
    assert sent["status"] == "PARTIALLY_FILLED"
    assert float(sent["executedQty"]) == pytest.approx(0.25 * float(sent["origQty"]), rel=0.05)
    assert len(t.account.open_orders()) == 1
    resting = t.order(**limit, quantity=t.qty(1000), price=t.price(0.98))
    strike(t, "partial_fill", 1.0, fraction=0.5)
    found = t.ask("GET /fapi/v1/order", symbol=t.symbol, orderId=resting["orderId"])
    assert found["status"] == "PARTIALLY_FILLED"
    assert missing(t) == pytest.approx(0.0, abs=1e-8)


def test_a_stop_stuck_in_triggering_leaves_the_position_naked_until_the_fault_ends() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    t.algo(
        side="SELL",
        type="STOP_MARKET",
        closePosition="true",
        triggerPrice=t.price(0.999),
        clientAlgoId="s",
    )
    strike(t, "stuck_triggering", 40 * 3600.0)
    for _ in range(39):
        t.wait(3600)
        if t.ask("GET /fapi/v1/algoOrder", clientAlgoId="s")["algoStatus"] == "TRIGGERING":
            break
    assert t.ask("GET /fapi/v1/algoOrder", clientAlgoId="s")["algoStatus"] == "TRIGGERING"
    assert t.account.lots(0) > 0
    with pytest.raises(Exception, match="-2011"):
        t.ask("DELETE /fapi/v1/algoOrder", clientAlgoId="s")
    t.wait(41 * 3600)
    assert t.account.lots(0) == 0
    assert t.ask("GET /fapi/v1/algoOrder", clientAlgoId="s")["algoStatus"] == "FINISHED"
    assert missing(t) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(
    ("kind", "start"), [("liquidation", "autoclose-"), ("adl", "adl_autoclose")]
)
def test_positions_are_closed_by_orders_that_the_exchange_makes(kind: str, start: str) -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    t.events()
    strike(t, kind)
    assert t.account.lots(0) == 0
    closing = list(t.account.orders.values())[-1]
    assert closing.terms.client_id.startswith(start)
    assert closing.status == "FILLED"
    assert "ACCOUNT_UPDATE" in kinds(t.events())
    assert bool(t.venue.forced) == (kind == "liquidation")
    assert missing(t) == pytest.approx(0.0, abs=1e-8)


def test_a_liquidation_is_told_once_and_listed_for_a_week() -> None:
    t = trader()
    for _ in range(3):
        t.order(side="BUY", type="MARKET", quantity=t.qty(500))
        strike(t, "liquidation")
    assert len(t.venue.drain_forced()) == 3
    assert t.venue.drain_forced() == t.venue.forced == []
    listed = t.ask("GET /fapi/v1/forceOrders", limit=2)
    assert [o["status"] for o in listed] == ["FILLED", "FILLED"]
    assert listed[0]["orderId"] < listed[1]["orderId"]
    assert t.refusal("GET /fapi/v1/forceOrders", limit=101) == -1130
    closing = t.account.orders[listed[1]["orderId"]]
    closing.made_us -= 7 * 24 * 3600 * 1_000_000 + 1_000
    [found] = t.ask("GET /fapi/v1/forceOrders", limit=1)
    assert found["orderId"] == listed[0]["orderId"]
    early = {"startTime": closing.made_us // 1000, "endTime": closing.made_us // 1000}
    assert len(t.ask("GET /fapi/v1/forceOrders", **early)) == 1


def test_a_delisted_symbol_settles_and_takes_no_orders() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(2000))
    strike(t, "delisting", symbol=t.symbol)
    t.wait(1)
    assert t.account.lots(0) == 0
    closing = list(t.account.orders.values())[-1]
    assert closing.terms.client_id.startswith("settlement_autoclose-")
    assert (
        t.refusal("POST /fapi/v1/order", side="BUY", type="MARKET", quantity=t.qty(2000)) == -4140
    )


def test_a_filter_changes_for_orders_that_follow() -> None:
    t = trader()
    strike(t, "filter_change", symbol=t.symbol, changes={"notional": "300"})
    assert t.refusal("POST /fapi/v1/order", side="BUY", type="MARKET", quantity=t.qty(200)) == -4164
    t.order(side="BUY", type="MARKET", quantity=t.qty(400))
    assert t.venue.instruments[0].min_notional == 300.0


def test_a_gap_triggers_stops_and_liquidates_whom_it_must() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(60_000))
    strike(t, "price_gap", symbol=t.symbol, fraction=-0.3)
    assert t.account.lots(0) == 0
    assert t.venue.forced
    assert missing(t) == pytest.approx(0.0, abs=1e-7)
