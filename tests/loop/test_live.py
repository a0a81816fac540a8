"""The loop on the real simulator in accelerated time: on calm and on bad days both sides have the same in the end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from live.broker.interface import Order, Outcome
from quantcore.errors import ConfigError
from quantcore.kernels import layout as at
from quantcore.types import OrderType, Side
from tests.loop.on_exchange import agreed, ground, total, trading, until, whole

pytestmark = [pytest.mark.integration, pytest.mark.slow]

UNKNOWN_OUTCOMES = (
    {"kind": "unknown_outcome", "requests": "POST /fapi/v1/*rder", "probability": 0.1, "placed": True},
    {"kind": "unknown_outcome", "requests": "POST /fapi/v1/*rder", "probability": 0.1, "placed": False},
    {"kind": "connection_drop", "requests": "* /fapi/v1/*rder", "probability": 0.05, "stage": "after"},
    {"kind": "connection_drop", "requests": "* /fapi/v1/*rder", "probability": 0.05, "stage": "before"},
)  # fmt: skip
STREAMS = (
    {"kind": "message_duplicate", "probability": 0.1},
    {"kind": "message_delay", "probability": 0.1, "distribution": "exponential", "seconds": 0.5},
    {"kind": "account_reorder", "probability": 0.3, "seconds": 0.5},
    {"kind": "disconnect", "streams": "/private*", "at_seconds": 60, "every_seconds": 150, "duration_seconds": 5},
    {"kind": "disconnect", "streams": "/market*", "at_seconds": 100, "every_seconds": 200, "duration_seconds": 5},
    {"kind": "listen_key_expiry", "at_seconds": 200, "every_seconds": 300},
)  # fmt: skip


@pytest.mark.parametrize("execution", ["router", "taker"])
async def test_on_a_calm_day_the_ledger_is_the_exchanges(tmp_path: Path, execution: str) -> None:
    with ground(tmp_path, "start=2024-01-02T07:47:00") as there:  # funding is settled at eight
        async with trading(there, f"execution={execution}") as driver:
            await until(lambda: driver.loop.decisions >= 8, 60, "eight decisions")
            await until(lambda: total(driver, at.FUNDING) != 0.0, 60, "funding must be booked")
            await agreed(there, driver)
            assert total(driver, at.FEES) > 0.0
            assert there.books()["funding"] == pytest.approx(total(driver, at.FUNDING), abs=1e-7)
        examined = whole(there)
    assert examined["fills"] > 5
    assert examined["replay"] > 10
    assert examined["own wallet"] > 3


@pytest.mark.parametrize("faults", [UNKNOWN_OUTCOMES, STREAMS], ids=["unknown outcomes", "streams"])
async def test_on_a_bad_day_nothing_is_lost_or_doubled(
    tmp_path: Path, faults: tuple[dict[str, object], ...]
) -> None:
    with ground(tmp_path) as there:
        async with trading(there) as driver:
            await until(lambda: driver.loop.decisions >= 2, 60, "two decisions")
            for fault in faults:
                lasting = {} if "every_seconds" in fault else {"duration_seconds": 600}
                await there.simulator.control("/fault", **lasting, **fault)
            await asyncio.sleep(25.0)
            assert driver.sender.sent > 20
            await asyncio.sleep(3.0)
            await agreed(there, driver)
        assert there.books()["trades"] == whole(there)["fills"]


async def test_a_foreign_hand_is_never_traded_against_and_let_go_when_it_leaves(
    tmp_path: Path,
) -> None:
    with ground(tmp_path) as there:
        async with trading(there, "execution=taker") as driver:
            await until(lambda: driver.loop.decisions >= 3, 60, "three decisions")
            price = f"{0.97 * driver.feed.quotes['BTCUSDT'].bid:.0f}"
            manual = Order(
                client_id="web-1", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, qty="0.010", price=price
            )  # fmt: skip
            answer = await driver.broker.send(manual)
            assert answer.outcome is Outcome.ACCEPTED
            driver.doubt("a foreign order")
            await until(lambda: driver.loop.halted == {"BTCUSDT"}, 20, "the symbol must halt")
            await until(lambda: "BTCUSDT" not in driver.sender.busy, 10, "nothing on its way")
            await asyncio.sleep(0.5)  # what was sent before has traded
            own = driver.loop.ledger.lots("BTCUSDT")
            decided = driver.loop.decisions
            await until(lambda: driver.loop.decisions >= decided + 3, 30, "three decisions")
            assert driver.loop.ledger.lots("BTCUSDT") == own
            still = {each["clientOrderId"] for each in there.books()["orders"]}
            assert "web-1" in still
            from live.broker.interface import Cancel

            await driver.broker.cancel(
                Cancel(client_id="web-1", symbol="BTCUSDT", conditional=False)
            )
            await until(lambda: driver.loop.halted == set(), 20, "the symbol must be let go")
            await agreed(there, driver)
        whole(there)


async def test_a_second_session_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    with ground(tmp_path) as there:
        async with trading(there) as driver:
            await until(lambda: driver.loop.decisions >= 4, 60, "four decisions")
            sent = driver.loop.ledger.state["counter"][0]
        async with trading(there) as driver:
            assert driver.loop.ledger.state["counter"][0] >= sent
            await until(lambda: driver.comparison.rounds > 0, 30, "a comparison")  # type: ignore[attr-defined]
            await until(lambda: driver.loop.decisions >= 3, 60, "three decisions")
            await agreed(there, driver)
        whole(there)


async def test_a_journal_goes_on_under_other_symbols_execution_and_signals(tmp_path: Path) -> None:
    first = ("data.symbols=[BTCUSDT,ETHUSDT]", "execution=taker")
    then = ("data.symbols=[ADAUSDT,BTCUSDT,ETHUSDT]", "execution=router", "strategy.slow=6")
    with ground(tmp_path, "data.symbols=[ADAUSDT,BTCUSDT,ETHUSDT]") as there:
        async with trading(there, *first) as driver:
            await until(lambda: driver.loop.ledger.lots("BTCUSDT") != 0, 90, "a position")
        held = {symbol: driver.loop.ledger.qty(symbol) for symbol in ("BTCUSDT", "ETHUSDT")}
        async with trading(there, *then) as driver:
            assert {symbol: driver.loop.ledger.qty(symbol) for symbol in held} == held
            assert driver.loop.ledger.qty("ADAUSDT") == "0"
            await until(lambda: driver.loop.decisions >= 4, 60, "four decisions")
            await agreed(there, driver)
        with pytest.raises(ConfigError, match=r"data\.execution_interval must stay 1m"):
            async with trading(there, "data.execution_interval=5m", "data.interval=5m"):
                pass
        whole(there)
