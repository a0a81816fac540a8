"""The loop on the real simulator: a process of its own at many times real time, and what both sides have in the end."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live.asked import Asked
from live.driver import Driver
from live.journal import open_journal
from live.journal.verify import verify
from live.kill_switch import KillSwitch
from live.replayer import replayer_of
from live.session import begun
from live.status import Status
from quantcore.config import compose
from tests.broker.on_simulator import Simulator, simulator

SPEED = 30
QUICK = (
    "strategy.fast=2", "strategy.slow=8", "strategy.speeds=1", "strategy.volatility_half_life=30",
    "portfolio.volatility_half_life=60", "account.no_trade_band=0.001",
)  # fmt: skip
"""Signals that turn often, after a short warm-up."""


@dataclass(frozen=True)
class Ground:
    """Where a loop trades: a simulator, and the folder of its journal."""

    simulator: Simulator
    folder: Path

    @property
    def journal(self) -> str:
        return f"sqlite:///{self.folder / 'live' / 'journal.sqlite'}"

    def overrides(self, *more: str) -> list[str]:
        """Return the settings of the loop as on the command line."""
        return [
            "conf=sim", f"conf.journal={self.journal}", f"conf.simulator.state_file={self.folder / 'state.json'}",
            f"conf.simulator.folder={self.folder / 'live'}", "conf.reconcile_s=5", *QUICK, *more,
        ]  # fmt: skip

    def books(self) -> dict[str, Any]:
        """Return the exchange's books of the account."""
        with urllib.request.urlopen(
            f"{self.simulator.ready['control']}/ledger", timeout=20
        ) as told:
            found: dict[str, Any] = json.loads(told.read())["accounts"][0]
            return found


@contextmanager
def ground(folder: Path, *options: str) -> Iterator[Ground]:
    """Give a ground with a simulator of its own."""
    options = ("clock=accelerated", f"speed={SPEED}", "limits.weight_1m=100000", *options)
    with simulator(folder, *options) as found:
        yield Ground(found, folder)


@asynccontextmanager
async def trading(where: Ground, *overrides: str) -> AsyncIterator[Driver]:
    """Let a loop trade beside the body, and end it in order."""
    asked = Asked.of(compose("live", where.overrides(*overrides)), [])
    switch = KillSwitch(asked.settings.folder)
    async with begun(asked, Status(io.StringIO()), switch) as (driver, due):
        assert isinstance(driver, Driver)
        stop = asyncio.Event()
        running = asyncio.create_task(driver.run(stop, due))
        try:
            yield driver
        finally:
            stop.set()
            await running


async def until(holds: Any, seconds: float, what: str) -> None:
    """Wait until something holds."""
    try:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{what} within {seconds} s, did not") from None


async def agreed(where: Ground, driver: Driver) -> None:
    """Hold ledger and exchange against each other in a quiet moment; the wallet to 1e-6 USDT."""
    for _ in range(20):
        findings = await driver.comparison.reconcile(driver)
        if not findings and not driver.sender.busy:
            seen = driver.heard_events
            books = await asyncio.to_thread(where.books)
            await asyncio.sleep(0.3)  # what the books knew may still be on its way
            if seen == driver.heard_events and not driver.sender.busy:
                break
        await asyncio.sleep(0.2)
    else:
        raise AssertionError(f"ledger and exchange must agree, differed in {findings}")
    ledger = driver.loop.ledger
    assert driver.loop.halted == set()
    assert driver.stopped == {}
    assert abs(books["wallet"] - ledger.wallet) < 1e-6
    held = {each["symbol"]: each["qty"] for each in books["positions"]}
    mine = {symbol: float(ledger.qty(symbol)) for symbol in ledger.at if ledger.lots(symbol)}
    assert held == mine
    open_there = {each["clientOrderId"] for each in books["orders"]}
    open_there |= {each["clientAlgoId"] for each in books["algo_orders"]}
    assert open_there == {name.client_id for name in ledger.open_orders().values()}
    guarded = {each["symbol"] for each in books["algo_orders"]}
    assert set(held) <= guarded


def whole(where: Ground) -> dict[str, int]:
    """Prove the journal whole; return what was examined."""
    with open_journal(where.journal, read_only=True) as journal:
        checks = verify(journal, replayer_of)
    assert {check.name: check.differences[:2] for check in checks if check.differences} == {}
    assert [check.name for check in checks if check.skipped] in ([], ["funding"])
    return {check.name: check.examined for check in checks}


def total(driver: Driver, column: int) -> float:
    """Return one of the account's totals, USDT."""
    return float(driver.loop.ledger.state["cash"][column])
