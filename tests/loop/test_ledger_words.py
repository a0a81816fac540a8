"""How the ledger words what it wants, and what it takes the exchange's words for."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from live.broker.interface import Income, Order, OrderChange
from live.ledger import Ledger
from live.loop import CLEARED
from quantcore import account_follow as said
from quantcore.frames import PRICE_FIELDS, Bars, no_settlements
from quantcore.types import FillReason, OrderStatus, OrderType, Rule
from tests.loop.made import ledger_of, report

SYMBOLS = ("BTCUSDT", "ETHUSDT")
NOW_US = 1_704_182_280_000_000


@pytest.fixture
def ledger() -> Ledger:
    return ledger_of(SYMBOLS, "execution=taker")


def ended(
    number: int, *, conditional: bool, why: str, status: OrderStatus = OrderStatus.EXPIRED
) -> OrderChange:
    kind = OrderType.STOP_MARKET if conditional else OrderType.MARKET
    order = report(f"made-{number}", conditional=conditional, status=status, type=kind)
    return OrderChange(time_us=NOW_US, order=order, why=why)


@pytest.mark.parametrize(
    ("change", "status", "rule"),
    [
        (ended(1, conditional=True, why="Reduce Only reject"), "EXPIRED", Rule.REDUCE_ONLY),
        (ended(1, conditional=False, why="EXPIRED (4)"), "EXPIRED", Rule.REDUCE_ONLY),
        (ended(1, conditional=True, why="EXPIRED"), "EXPIRED", None),
        (ended(1, conditional=False, why="EXPIRED (9)"), "REJECTED", Rule.NO_PRICE),
        (
            ended(1, conditional=True, why="CANCELED", status=OrderStatus.CANCELED),
            "CANCELED",
            None,
        ),
    ],
)  # fmt: skip
def test_an_order_ends_as_the_account_step_would_have_ended_it(
    change: OrderChange, status: str, rule: Rule | None, ledger: Ledger
) -> None:
    rows = ledger.hear(change)
    assert rows is not None
    ((whole, _),) = rows
    assert OrderStatus(whole[said.STATE]).name == status
    assert whole[said.RULE] == (-1 if rule is None else rule)


def forced(ledger: Ledger, symbol: str, reason: FillReason) -> tuple[list[int], list[float]]:
    whole = [said.FORCED, NOW_US, ledger.at[symbol], 0, -3, 0, int(reason)]
    return whole, [100.0, 0.0, 0.0]


def cost(symbol: str, amount: str) -> Income:
    return Income(time_us=NOW_US, kind=CLEARED, symbol=symbol, amount=amount, income_id="1")


def test_what_a_liquidation_cost_belongs_to_its_trade(ledger: Ledger) -> None:
    rows = [
        forced(ledger, "BTCUSDT", FillReason.LIQUIDATION),
        forced(ledger, "ETHUSDT", FillReason.LIQUIDATION),
    ]
    found = ledger.cleared(rows, cost("BTCUSDT", "-2.5"))
    assert found is not None
    assert [list(number) for _, number in found] == [[100.0, 2.5, 0.0], [100.0, 0.0, 0.0]]
    again = ledger.cleared(found, cost("ETHUSDT", "4"))
    assert again is not None
    assert list(again[1][1]) == [100.0, 0.0, 4.0]


def test_without_a_liquidation_there_is_nothing_that_it_cost(ledger: Ledger) -> None:
    settled = [forced(ledger, "BTCUSDT", FillReason.SETTLEMENT)]
    assert ledger.cleared(settled, cost("BTCUSDT", "-2.5")) is None
    assert ledger.cleared([], cost("BTCUSDT", "-2.5")) is None


def test_a_trailing_stop_asks_for_the_most_that_a_reducing_order_may_have() -> None:
    ledger = ledger_of(SYMBOLS, "execution=taker", "strategy.exits.trailing_stop=0.012")
    first = ledger.step(row(0), [], targets=np.array([0.1, math.nan]))
    ledger.take(first)
    bought = first.wanted[0].request
    assert isinstance(bought, Order)
    trade = ([said.TRADED, NOW_US, 0, first.wanted[0].number, 18, 1, -1], [42_000.0, 0.0, 0.0])
    sent = [each.request for each in ledger.step(row(1), [trade]).wanted]
    (stop,) = (r for r in sent if isinstance(r, Order) and r.type == OrderType.TRAILING_STOP_MARKET)
    assert stop.callback == "1.2"
    assert (stop.close_position, stop.reduce_only, stop.stop_price) == (False, True, None)
    assert Decimal(stop.qty or 0) == Decimal(ledger.instruments[0].market_max_qty)


def row(bar: int) -> Bars:
    prices = np.array([[42_000.0, 2000.0]])
    return Bars(
        interval="1m",
        ts_us=np.array([NOW_US + bar * 60_000_000]),
        symbols=SYMBOLS,
        fields={**dict.fromkeys(PRICE_FIELDS, prices), "volume": np.array([[100.0, 100.0]])},
        settlements=no_settlements(),
    )
