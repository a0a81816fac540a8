"""The broker on the simulator on bad days, at other speeds, and in lock-step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from live.broker.interface import Balance, Cancel, Doubt, Fill, Order, OrderChange, Outcome
from quantcore.types import OrderStatus, OrderType, Side, WorkingType
from tests.broker.on_simulator import Simulator, connected, simulator

SYMBOL = "BTCUSDT"
NUMBERS = count(1)
POST = "POST /fapi/v1/order"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator whose faults end with each test."""
    with simulator(tmp_path_factory.mktemp("troubled"), "clock=real") as found:
        yield found


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator at sixty times the speed."""
    place = tmp_path_factory.mktemp("fast")
    with simulator(place, "clock=accelerated", "speed=60") as found:
        yield found


def market(side: Side = Side.BUY, *, reduce_only: bool = False) -> Order:
    return Order(
        client_id=f"f-{next(NUMBERS)}", symbol=SYMBOL, side=side, type=OrderType.MARKET, qty="0.010",
        reduce_only=reduce_only,
    )  # fmt: skip


def named(order: Order) -> Cancel:
    return Cancel(client_id=order.client_id, symbol=SYMBOL, conditional=order.conditional)


@pytest.mark.parametrize(
    ("fault", "filled"),
    [
        ({"kind": "unknown_outcome", "placed": True}, True),
        ({"kind": "unknown_outcome", "placed": False}, False),
        ({"kind": "timeout", "stage": "after", "seconds": 0.2}, True),
        ({"kind": "timeout", "stage": "after", "seconds": 3.0}, True),
        ({"kind": "timeout", "stage": "before", "seconds": 0.2}, False),
        ({"kind": "connection_drop", "stage": "after"}, True),
        ({"kind": "connection_drop", "stage": "before"}, False),
    ],
)
async def test_an_unknown_outcome_is_resolved_by_a_query_and_sent_once(
    troubled: Simulator, fault: dict[str, object], filled: bool
) -> None:
    async with connected(troubled.settings(timeout_s=1.5)) as there:
        await troubled.control("/fault", requests=POST, times=1, **fault)
        order = market()
        answer = await there.broker.send(order)
        assert answer.outcome is Outcome.UNKNOWN
        found = await there.broker.query(named(order))
        if filled:
            assert found is not None
            assert found.status is OrderStatus.FILLED
            await there.heard(Fill, client_id=order.client_id)
            await there.broker.send(market(Side.SELL, reduce_only=True))
        assert (found is not None) == filled
        assert await there.broker.positions() == []


async def test_overload_lets_exits_pass_and_refuses_entries(troubled: Simulator) -> None:
    async with connected(troubled.settings()) as there:
        await there.broker.send(market())
        await troubled.control("/fault", kind="overload", duration_seconds=5)
        entry = await there.broker.send(market())
        assert (entry.outcome, entry.code) == (Outcome.REFUSED, -1008)
        leave = await there.broker.send(market(Side.SELL, reduce_only=True))
        assert leave.outcome is Outcome.ACCEPTED
        await asyncio.sleep(5.0)


async def test_a_service_that_is_unavailable_for_a_moment_is_asked_again(
    troubled: Simulator,
) -> None:
    async with connected(troubled.settings()) as there:
        await troubled.control("/fault", kind="service_unavailable", requests=POST, times=2)
        assert (await there.broker.send(market())).outcome is Outcome.ACCEPTED
        assert (
            await there.broker.send(market(Side.SELL, reduce_only=True))
        ).outcome is Outcome.ACCEPTED
        assert await there.broker.positions() == []


async def test_a_rate_limit_is_waited_out_by_reads_and_exits(troubled: Simulator) -> None:
    async with connected(troubled.settings()) as there:
        await there.broker.send(market())
        await troubled.control("/fault", kind="rate_limit", times=1, seconds=1)
        began = time.monotonic()
        assert len(await there.broker.positions()) == 1
        assert time.monotonic() - began >= 1.0
        await there.broker.send(market(Side.SELL, reduce_only=True))


async def test_a_drifting_clock_is_measured_again(troubled: Simulator) -> None:
    async with connected(troubled.settings()) as there:
        await troubled.control("/fault", kind="clock_drift", seconds=-90, duration_seconds=3)
        before_us = there.broker.now_us()
        assert (await there.broker.send(market())).outcome is Outcome.ACCEPTED
        assert there.broker.now_us() < before_us - 80_000_000
        await asyncio.sleep(3.0)
        leave = await there.broker.send(market(Side.SELL, reduce_only=True))
        assert leave.outcome is Outcome.ACCEPTED
        assert there.broker.now_us() > before_us


async def test_duplicates_are_told_once_and_what_comes_out_of_order_is_told(
    troubled: Simulator,
) -> None:
    async with connected(troubled.settings()) as there:
        await troubled.control(
            "/fault", kind="message_duplicate", streams="user:*", duration_seconds=2
        )
        await troubled.control("/fault", kind="account_reorder", seconds=0.3, duration_seconds=2)
        bought, sold = market(), market(Side.SELL, reduce_only=True)
        await there.broker.send(bought)
        await there.broker.send(sold)
        await there.heard(Balance)
        await asyncio.sleep(2.0)
        fills = [event for event in there.events if isinstance(event, Fill)]
        assert len({f.trade_id for f in fills}) == len(fills)
        assert {f.client_id for f in fills} == {bought.client_id, sold.client_id}


async def test_an_expired_key_and_a_cut_connection_lose_nothing_that_is_not_read_again(
    troubled: Simulator,
) -> None:
    async with connected(troubled.settings()) as there:
        since_us = there.broker.now_us()
        for fault in ("listen_key_expiry", "disconnect"):
            there.events.clear()
            await troubled.control("/fault", kind=fault)
            await there.heard(
                Doubt, reason="user stream open again: what happened meanwhile was not heard"
            )
            order = market()
            await there.broker.send(order)
            await there.heard(Fill, client_id=order.client_id)
            await there.broker.send(market(Side.SELL, reduce_only=True))
        fills = await there.broker.fills_since(SYMBOL, since_us)
        assert len({fill.client_id for fill in fills}) == 4
        assert all(fill.client_id.startswith("f-") for fill in fills)


async def test_a_mute_user_stream_is_noticed_by_an_order_and_replaced(
    troubled: Simulator,
) -> None:
    async with connected(troubled.settings(mute_seconds=0.5)) as there:
        await troubled.control("/fault", kind="stream_mute", streams="user:*", duration_seconds=1)
        order = market()
        await there.broker.send(order)
        doubt = await there.heard(Doubt)
        assert doubt.reason == f"user stream lost: mute: no word of order {order.client_id}"
        await asyncio.sleep(1.0)
        leave = market(Side.SELL, reduce_only=True)
        await there.broker.send(leave)
        await there.heard(Fill, client_id=leave.client_id)


@pytest.mark.parametrize(
    ("kind", "name"), [("liquidation", "autoclose-"), ("adl", "adl_autoclose")]
)
async def test_what_the_exchange_closes_itself_is_told_by_its_name(
    troubled: Simulator, kind: str, name: str
) -> None:
    async with connected(troubled.settings()) as there:
        await there.broker.send(market())
        await there.heard(Fill)
        there.events.clear()
        await troubled.control("/fault", kind=kind, symbol=SYMBOL)
        fill = await there.heard(Fill, side=Side.SELL)
        assert fill.client_id.startswith(name)
        assert await there.broker.positions() == []


async def test_a_clock_of_another_speed_is_followed_without_a_refusal(fast: Simulator) -> None:
    """Danger 13: at 60 times the speed a fixed offset would be a minute off after each second."""
    async with connected(fast.settings(clock_speed=60.0)) as there:
        measured_us = there.broker.clock.jump_us
        for _ in range(3):
            await asyncio.sleep(0.5)
            assert (await there.broker.send(market())).outcome is Outcome.ACCEPTED
            leave = await there.broker.send(market(Side.SELL, reduce_only=True))
            assert leave.outcome is Outcome.ACCEPTED
        server_ms = (await fast.control("/time"))["time"]
        assert there.broker.now_us() / 1e6 == pytest.approx(server_ms / 1e3, abs=10.0)
        assert there.broker.clock.jump_us == measured_us, "it was never measured again"


async def test_a_stop_that_hangs_in_triggering_is_told_as_stuck(fast: Simulator) -> None:
    async with connected(fast.settings(clock_speed=60.0)) as there:
        broker = there.broker
        await broker.send(market())
        mark = float((await broker.positions())[0].mark_price)
        guard = Order(
            client_id=f"f-{next(NUMBERS)}", symbol=SYMBOL, side=Side.SELL, type=OrderType.STOP_MARKET,
            stop_price=f"{mark * 0.9995:.1f}", close_position=True, working_type=WorkingType.MARK_PRICE,
        )  # fmt: skip
        assert (await broker.send(guard)).outcome is Outcome.ACCEPTED
        await fast.control("/fault", kind="stuck_triggering", duration_seconds=3600)
        stuck = await there.heard(
            OrderChange, seconds=50.0, client_id=guard.client_id, why="stuck in TRIGGERING"
        )
        assert stuck.order.stuck
        assert [o.stuck for o in await broker.open_orders() if o.conditional] == [True]
        assert len(await broker.positions()) == 1, "naked, and nothing else said so"
        await broker.send(market(Side.SELL, reduce_only=True))


async def test_in_lock_step_time_is_what_the_exchange_last_said(tmp_path: Path) -> None:
    """Danger 13: the exchange's clock stands between two bars."""
    with simulator(tmp_path, "clock=lock_step") as steps:
        async with connected(steps.settings(clock_speed=0.0)) as there:
            broker = there.broker
            at_us = broker.now_us()
            order = market()
            assert (await broker.send(order)).outcome is Outcome.ACCEPTED
            assert broker.now_us() == at_us
            await steps.control("/advance", bars=1)
            fill = await there.heard(Fill, client_id=order.client_id)
            assert fill.time_us == at_us + 60_000_000 == broker.now_us()
            await steps.control("/advance", bars=5)
            leave = market(Side.SELL, reduce_only=True)
            assert (await broker.send(leave)).outcome is Outcome.ACCEPTED
            assert broker.now_us() == at_us + 6 * 60_000_000
            await steps.control("/advance", bars=1)
            await there.heard(Fill, client_id=leave.client_id)
            fills = await broker.fills_since(SYMBOL, at_us)
            assert [f.client_id for f in fills] == [order.client_id, leave.client_id]
            incomes = await broker.incomes_since(at_us)
            assert {i.kind for i in incomes} <= {"FUNDING_FEE", "TRANSFER"}
            assert not [e for e in there.events if isinstance(e, Doubt)]
