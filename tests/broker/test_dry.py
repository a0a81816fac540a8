"""A dry run reads the account, tells every change, and sends none."""

from __future__ import annotations

import inspect

import pytest

from live.broker.dry import DryBroker
from live.broker.interface import Broker, Cancel, Order, Outcome
from quantcore.types import OrderType, Side, TimeInForce, WorkingType
from tests.account.random_cases import Case
from tests.broker.test_paper import broker_of

ORDERS = (
    (
        Order(client_id="a-1", symbol="AAAUSDT", side=Side.BUY, type=OrderType.MARKET, qty="2.0"),
        "BUY MARKET 2.0 AAAUSDT (a-1)",
    ),
    (
        Order(
            client_id="a-2", symbol="AAAUSDT", side=Side.SELL, type=OrderType.LIMIT, qty="2.0", price="101.5",
            time_in_force=TimeInForce.GTX, reduce_only=True,
        ),
        "SELL LIMIT 2.0 AAAUSDT at 101.5 GTX reduce-only (a-2)",
    ),
    (
        Order(
            client_id="a-3", symbol="AAAUSDT", side=Side.SELL, type=OrderType.STOP_MARKET, stop_price="75.0",
            working_type=WorkingType.MARK_PRICE, close_position=True,
        ),
        "SELL STOP_MARKET all AAAUSDT from 75.0 of MARK_PRICE close-position (a-3)",
    ),
    (
        Order(
            client_id="a-4", symbol="AAAUSDT", side=Side.SELL, type=OrderType.TRAILING_STOP_MARKET, qty="1.0",
            callback="1.0", reduce_only=True,
        ),
        "SELL TRAILING_STOP_MARKET 1.0 AAAUSDT following by 1.0 % reduce-only (a-4)",
    ),
)  # fmt: skip
CHANGES = {
    "send": (ORDERS[0][0],),
    "cancel": (Cancel(client_id="a-1", symbol="AAAUSDT", conditional=False),),
    "set_leverage": ("AAAUSDT", 3),
    "set_isolated": ("AAAUSDT", True),
    "set_one_way": (),
    "countdown": ("AAAUSDT", 1000),
}
READS = {
    "query": (CHANGES["cancel"][0],),
    "open_orders": (),
    "positions": (),
    "account": (),
    "symbol_settings": (),
    "fills_since": ("AAAUSDT", 0),
    "incomes_since": (0,),
    "instruments": (["AAAUSDT"],),
}


@pytest.mark.parametrize(("order", "line"), ORDERS)
async def test_an_order_is_told_in_one_line(order: Order, line: str) -> None:
    told: list[str] = []
    answer = await DryBroker(broker_of(Case()), told.append).send(order)
    assert told == [f"would send: {line}"]
    assert answer.outcome is Outcome.REFUSED


async def test_what_changes_the_account_is_told_and_not_sent() -> None:
    broker, told = broker_of(Case()), list[str]()
    dry = DryBroker(broker, told.append)
    await dry.start()
    before = broker.to_bytes()
    for name, arguments in CHANGES.items():
        answer = await getattr(dry, name)(*arguments)
        assert answer.outcome is Outcome.REFUSED
        assert "dry run" in answer.message
    assert len(told) == len(CHANGES)
    assert broker.to_bytes() == before
    await dry.close()


async def test_what_is_read_is_the_exchanges() -> None:
    broker, told = broker_of(Case()), list[str]()
    dry: Broker = DryBroker(broker, told.append)
    for name, arguments in READS.items():
        assert await getattr(dry, name)(*arguments) == await getattr(broker, name)(*arguments)
    assert dry.now_us() == broker.now_us()
    assert told == []


def test_every_method_of_a_broker_is_one_or_the_other() -> None:
    methods = {name for name, _ in inspect.getmembers(Broker, inspect.isfunction) if name[0] != "_"}
    neither = {"start", "close", "now_us", "health", "events"}
    assert methods == {*CHANGES, *READS, *neither}
    assert {name for name in methods if hasattr(DryBroker, name)} == methods
    assert not CHANGES.keys() & READS.keys()
