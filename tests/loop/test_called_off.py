"""At the end whatever opens is called off, by the router where there is one; what reduces or protects stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from live.broker.interface import Cancel, Fill, Order, OrderChange
from live.folds import MOMENT
from live.hand import called_off
from live.kill_switch import Level
from live.ledger import Ledger, LedgerStep
from quantcore.kernels import layout as at
from quantcore.types import OrderStatus, OrderType
from tests.loop.made import ledger_of, report
from tests.loop.test_ledger_money import BEGIN_US, PRICE, SYMBOLS, row

SECOND_US = 1_000_000


class Acting:
    """A ledger that is advanced step by step."""

    def __init__(self, *overrides: str) -> None:
        self.ledger: Ledger = ledger_of(SYMBOLS, *overrides)
        self.now_us = BEGIN_US
        self.bars = 0

    def close(self, *targets: float) -> LedgerStep:
        bar = row(self.bars)
        self.now_us = int(bar.ts_us[0])
        self.bars += 1
        return self._take(self.ledger.step(bar, [], targets=np.array(targets), recorded=True))

    def follow(self, *heard: Any, withdraws: bool = False) -> LedgerStep:
        self.now_us += SECOND_US
        rows = [told for event in heard for told in self.ledger.hear(event) or ()]
        if withdraws:
            rows += called_off(self.ledger, Level.FREEZE, self.now_us).values()
        moment = row(0, interval=MOMENT, late_us=self.now_us - BEGIN_US)
        return self._take(self.ledger.step(moment, rows, closes=False))

    def fill(self, order: Order, qty: str) -> Fill:
        return Fill(
            time_us=self.now_us, trade_id=self.now_us, client_id=order.client_id, exchange_id=1, symbol=order.symbol,
            side=order.side, qty=qty, price=order.price or str(PRICE), fee="0.0", fee_asset="USDT", maker=True,
            order_status=OrderStatus.PARTIALLY_FILLED, realised="0",
        )  # fmt: skip

    def canceled(self, order: Order, filled: str = "0") -> OrderChange:
        told = report(
            order.client_id, symbol=order.symbol, side=order.side, type=order.type, status=OrderStatus.CANCELED,
            filled=filled,
        )  # fmt: skip
        return OrderChange(time_us=self.now_us, order=told)

    @property
    def routes(self) -> int:
        return int(self.ledger.state["counter"][at.ACTIVE_ROUTES])

    def _take(self, step: LedgerStep) -> LedgerStep:
        self.ledger.take(step)
        return step


def orders(step: LedgerStep) -> list[Order]:
    return [w.request for w in step.wanted if isinstance(w.request, Order)]


def cancels(step: LedgerStep) -> list[str]:
    return [w.request.client_id for w in step.wanted if isinstance(w.request, Cancel)]


@pytest.fixture
def acting() -> Acting:
    return Acting("execution=router", "execution.router.post_only=true")


def test_an_entry_that_rests_is_cancelled_and_nothing_follows_it(acting: Acting) -> None:
    (entry,) = orders(acting.close(0.1, np.nan))
    assert entry.type is OrderType.LIMIT
    assert list(acting.ledger.opening_orders().values()) == [
        Cancel(client_id=entry.client_id, symbol=entry.symbol, conditional=False)
    ]
    assert cancels(acting.follow(withdraws=True)) == [entry.client_id]
    step = acting.follow(acting.canceled(entry))
    assert step.wanted == ()
    assert acting.ledger.opening_orders() == {}
    assert acting.routes == 0


def test_what_it_filled_before_the_cancel_is_held_and_protected(acting: Acting) -> None:
    (entry,) = orders(acting.close(0.1, np.nan))
    assert entry.qty is not None
    acting.follow(withdraws=True)
    (stop,) = orders(acting.follow(acting.fill(entry, "0.004"), withdraws=True))
    assert stop.close_position
    step = acting.follow(acting.canceled(entry, "0.004"), withdraws=True)
    assert step.wanted == ()
    assert acting.ledger.qty("BTCUSDT") == "0.004"
    assert acting.routes == 0


def test_stops_and_what_reduces_stay(acting: Acting) -> None:
    (entry,) = orders(acting.close(0.1, np.nan))
    assert entry.qty is not None
    filled = acting.fill(entry, entry.qty)
    acting.follow(filled)
    (leaving,) = orders(acting.close(0.0, np.nan))
    assert leaving.reduce_only
    step = acting.follow(withdraws=True)
    assert cancels(step) == []
    assert acting.ledger.opening_orders() == {}


def test_of_a_turn_only_the_way_to_flat_remains(acting: Acting) -> None:
    (entry,) = orders(acting.close(0.1, np.nan))
    assert entry.qty is not None
    acting.follow(acting.fill(entry, entry.qty))
    acting.close(-0.1, np.nan)
    acting.follow(withdraws=True)
    route = acting.ledger.state["route"][0]
    assert route[at.GOAL] == 0
    assert acting.ledger.lots("BTCUSDT") > 0


def test_without_a_router_there_is_nothing_to_call_off() -> None:
    acting = Acting("execution=taker")
    (entry,) = orders(acting.close(0.1, np.nan))
    assert entry.type is OrderType.MARKET
    assert acting.follow(withdraws=True).wanted == ()


def test_what_fills_while_the_cancel_is_on_its_way_is_kept_and_the_word_is_not_repeated(
    acting: Acting,
) -> None:
    (entry,) = orders(acting.close(0.1, np.nan))
    acting.follow(withdraws=True)
    assert called_off(acting.ledger, Level.FREEZE, acting.now_us) == {}
    acting.follow(acting.fill(entry, "0.004"))
    assert set(called_off(acting.ledger, Level.FREEZE, acting.now_us)) == {"BTCUSDT"}
    acting.follow(withdraws=True)
    assert acting.follow(acting.canceled(entry, "0.004")).wanted == ()
    assert acting.ledger.qty("BTCUSDT") == "0.004"
