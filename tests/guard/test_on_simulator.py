"""The pre-flight against an exchange over its ports, by the broker that trades."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from live.broker.interface import SymbolSettings
from live.guard.checks import Verdict, failures
from live.guard.dead_man import DeadMansSwitch
from live.guard.preflight import Flight, at_the_exchange, on_the_ground
from live.guard.set_up import Wanted
from tests.broker.on_simulator import Simulator, connected, simulator

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator of its own: the account is set up here."""
    with simulator(tmp_path_factory.mktemp("exchange"), "clock=real") as found:
        yield found


async def test_a_simulated_account_is_checked_and_set_up(exchange: Simulator) -> None:
    async with connected(exchange.settings()) as there:
        broker = there.broker
        symbols = tuple(sorted(await broker.symbol_settings()))
        instruments = await broker.instruments(symbols)
        flight = Flight(
            mode="sim", arguments=["conf=sim"], environment={}, rest_url=exchange.ready["rest"],
            stream_url=exchange.ready["ws"], permissions_url=None,
            wanted=Wanted(symbols=symbols, leverage=3, isolated=True), limits={"risk": None}, fresh=True,
        )  # fmt: skip
        earlier = on_the_ground(flight)
        dry = await at_the_exchange(
            replace(flight, dry_run=True), broker, instruments, clock_off_ms=None, earlier=earlier
        )
        assert failures(dry) == []
        before = await broker.symbol_settings()
        assert SymbolSettings(leverage=3, isolated=True) not in before.values()
        checks = await at_the_exchange(
            flight, broker, instruments, clock_off_ms=None, earlier=earlier
        )
        assert failures(checks) == []
        assert set((await broker.symbol_settings()).values()) == {
            SymbolSettings(leverage=3, isolated=True)
        }
        told = {check.name: check for check in checks}
        assert told["filters and brackets"].verdict is Verdict.PASSED
        assert told["leverage"].line.startswith("must be 3x for 3 symbols, was set now for ")
        switch = DeadMansSwitch(broker, symbols)
        assert await switch.arm() == []
        assert await switch.disarm() == []


async def test_a_clock_that_is_off_and_a_leverage_beyond_the_brackets_are_told(
    exchange: Simulator,
) -> None:
    async with connected(exchange.settings()) as there:
        symbols = tuple(sorted(await there.broker.symbol_settings()))
        instruments = await there.broker.instruments(symbols)
        flight = Flight(
            mode="sim", arguments=[], environment={}, rest_url=exchange.ready["rest"],
            stream_url=exchange.ready["ws"], permissions_url=None,
            wanted=Wanted(symbols=symbols, leverage=500, isolated=False), limits={"risk": None}, fresh=True,
        )  # fmt: skip
        off_ms = there.broker.clock.wall_offset_ms()  # the simulated time is years ago
        checks = await at_the_exchange(
            flight, there.broker, instruments, clock_off_ms=off_ms, earlier=on_the_ground(flight)
        )
        assert [check.name for check in failures(checks)] == [
            "clock",
            "leverage within the brackets",
        ]
