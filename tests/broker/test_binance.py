"""The broker on the real simulator: orders, what is heard of them, what is asked of the account."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from live.broker.interface import (
    Balance,
    Cancel,
    Doubt,
    Fill,
    Order,
    OrderChange,
    Outcome,
)
from quantcore.types import OrderStatus, OrderType, Rule, Side, TimeInForce, WorkingType
from tests.broker.on_simulator import Simulator, connected

SYMBOL = "BTCUSDT"
NUMBERS = count(1)

pytestmark = pytest.mark.integration


def market(side: Side, qty: str = "0.010", *, reduce_only: bool = False) -> Order:
    return Order(
        client_id=f"m-{next(NUMBERS)}", symbol=SYMBOL, side=side, type=OrderType.MARKET, qty=qty,
        reduce_only=reduce_only,
    )  # fmt: skip


def limit(price: str, **changes: object) -> Order:
    order = Order(
        client_id=f"l-{next(NUMBERS)}", symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, qty="0.010", price=price,
    )  # fmt: skip
    return replace(order, **changes)  # type: ignore[arg-type]  # fields by name


def stop(price: str) -> Order:
    return Order(
        client_id=f"s-{next(NUMBERS)}", symbol=SYMBOL, side=Side.SELL, type=OrderType.STOP_MARKET,
        stop_price=price, close_position=True, working_type=WorkingType.MARK_PRICE,
    )  # fmt: skip


def named(order: Order) -> Cancel:
    return Cancel(client_id=order.client_id, symbol=order.symbol, conditional=order.conditional)


async def test_an_order_is_sent_filled_heard_protected_and_closed(exchange: Simulator) -> None:
    async with connected(exchange.settings()) as there:
        broker = there.broker
        bought, guard = market(Side.BUY), stop("20000.0")
        answer = await broker.send(bought)
        assert answer.outcome is Outcome.ACCEPTED
        assert answer.order is not None
        assert answer.order.client_id == bought.client_id
        fill = await there.heard(Fill, client_id=bought.client_id)
        assert (fill.qty, fill.side, fill.fee_asset) == ("0.010", Side.BUY, "USDT")
        assert fill.order_status is OrderStatus.FILLED
        balance = await there.heard(Balance, kind="ORDER")
        assert balance.positions[0][:2] == (SYMBOL, "0.010")

        guarded = await broker.send(guard, urgent=True)
        assert guarded.order is not None
        assert (guarded.order.conditional, guarded.order.client_id) == (True, guard.client_id)
        await there.heard(OrderChange, client_id=guard.client_id, status=OrderStatus.NEW)
        held = await broker.positions()
        assert [(p.symbol, p.qty, p.entry_price) for p in held] == [
            (SYMBOL, "0.010", balance.positions[0][2])
        ]
        resting = limit("57000.0", time_in_force=TimeInForce.GTX)
        assert (await broker.send(resting)).outcome is Outcome.ACCEPTED
        seen = {order.client_id: order for order in await broker.open_orders()}
        assert seen.keys() == {guard.client_id, resting.client_id}
        assert seen[guard.client_id].close_position
        assert seen[guard.client_id].stop_price == "20000.0"
        assert seen[resting.client_id].price == "57000.0"
        gone = await broker.cancel(named(resting))
        assert gone.order is not None
        assert gone.order.status is OrderStatus.CANCELED

        sold = market(Side.SELL, reduce_only=True)
        assert (await broker.send(sold)).outcome is Outcome.ACCEPTED
        await there.heard(Fill, client_id=sold.client_id)
        ended = await there.heard(
            OrderChange, client_id=guard.client_id, status=OrderStatus.EXPIRED
        )
        assert ended.order.conditional
        assert await broker.positions() == []
        assert await broker.open_orders() == []
        fills = await broker.fills_since(SYMBOL, fill.time_us)
        told = {f.trade_id: f for f in there.events if isinstance(f, Fill)}
        assert {
            f.trade_id: replace(f, order_status=told[f.trade_id].order_status) for f in fills
        } == told
        assert not [e for e in there.events if isinstance(e, Doubt)]


async def test_refusals_are_answers_with_their_rules(exchange: Simulator) -> None:
    async with connected(exchange.settings()) as there:
        broker = there.broker
        crossing = await broker.send(limit("61000.0", time_in_force=TimeInForce.GTX))
        assert (crossing.outcome, crossing.code) == (Outcome.REFUSED, -5022)
        assert crossing.rule is Rule.POST_ONLY_WOULD_CROSS
        small = await broker.send(market(Side.BUY, "0.000"))
        assert (small.outcome, small.code) == (Outcome.REFUSED, -4003)
        closing = await broker.send(market(Side.SELL, reduce_only=True))
        assert (closing.code, closing.rule) == (-2022, Rule.REDUCE_ONLY)
        large = await broker.send(market(Side.BUY, "100.000"))
        assert large.outcome is Outcome.REFUSED
        assert large.rule in (Rule.MARGIN, Rule.BRACKET_NOTIONAL)
        assert (await broker.cancel(named(limit("1.0")))).code == -2011
        assert await broker.query(named(limit("1.0"))) is None
        assert await broker.query(named(stop("1.0"))) is None


async def test_the_account_its_switches_and_the_rules_of_symbols_are_read(
    exchange: Simulator,
) -> None:
    async with connected(exchange.settings()) as there:
        broker = there.broker
        report = await broker.account()
        assert float(report.wallet) > 7000.0
        assert (report.hedge_mode, report.multi_assets, report.burns_bnb) == (False, False, False)
        assert report.can_withdraw is None
        for answer in (
            await broker.set_leverage(SYMBOL, 4),
            await broker.set_isolated(SYMBOL, True),
            await broker.set_isolated(SYMBOL, True),
            await broker.set_one_way(),
        ):
            assert answer.outcome is Outcome.ACCEPTED
        settings = (await broker.symbol_settings())[SYMBOL]
        assert (settings.leverage, settings.isolated) == (4, True)
        await broker.set_isolated(SYMBOL, False)
        (rules,) = await broker.instruments([SYMBOL])
        assert (rules.tick_size, rules.step_size, rules.min_notional) == ("0.1", "0.001", 50.0)
        assert (rules.maker_fee, rules.taker_fee) == (0.0002, 0.0005)
        assert len(rules.brackets) > 5
        assert (await broker.countdown(SYMBOL, 60_000)).outcome is Outcome.ACCEPTED
        assert (await broker.countdown(SYMBOL, 0)).outcome is Outcome.ACCEPTED
        await asyncio.sleep(0.2)
        assert not [e for e in there.events if isinstance(e, Doubt)]
