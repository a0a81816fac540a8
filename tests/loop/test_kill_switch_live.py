"""The kill switch and paper on the real simulator: files stop it, a second session finds it stopped, books agree."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from live.broker.interface import Order, Outcome
from live.driver import Driver
from live.hand import FLAT, is_flat
from live.journal import open_journal, tables
from live.journal.verify import verify
from live.kill_switch import Level
from live.replayer import replayer_of
from quantcore.types import OrderType, Side
from tests.loop.on_exchange import QUICK, SPEED, Ground, agreed, ground, trading, until, whole
from tests.loop.test_kill import decisions

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MARKET = (
    "data.interval=1m", "data.execution_interval=1m", "execution.slippage=null", "account.capital=7700",
    "data.symbols=[BTCUSDT,ETHUSDT,SOLUSDT]", *QUICK,
)  # fmt: skip
FEED = {
    "settle_s": 0.05, "grace_s": 0.25, "absent_s": 1.5, "deadline_s": 2.5, "retry_s": 0.1, "funding_after_s": 0.5,
}  # fmt: skip


def interventions(journal_url: str) -> list[str]:
    with open_journal(journal_url, read_only=True) as journal, journal.transaction() as connection:
        notes = connection.execute(tables.notes.select()).all()
    return [note.message for note in notes if note.kind == "intervention"]


def held(driver: Driver) -> int:
    ledger = driver.loop.ledger
    return sum(ledger.lots(symbol) != 0 for symbol in ledger.at)


async def more(driver: Driver, n_decisions: int) -> None:
    before = driver.loop.decisions
    await until(lambda: driver.loop.decisions >= before + n_decisions, 40, "decisions")


async def test_files_freeze_and_flatten_it_over_a_restart_until_they_are_removed(
    tmp_path: Path,
) -> None:
    with ground(tmp_path) as there:
        freeze, flatten = (
            tmp_path / "live" / level.name for level in (Level.FREEZE, Level.FLATTEN)
        )
        async with trading(there) as driver:
            await until(lambda: held(driver) >= 3, 60, "three positions")
            freeze.touch()
            await until(lambda: driver.loop.level is Level.FREEZE, 10, "the freeze")
            await more(driver, 1)
            lots = {s: abs(driver.loop.ledger.lots(s)) for s in driver.loop.ledger.at}
            await more(driver, 3)
            assert all(abs(driver.loop.ledger.lots(s)) <= was for s, was in lots.items())
            flatten.touch()
            freeze.unlink()
            await until(lambda: is_flat(driver.loop.ledger), 20, "everything to be closed")
            assert there.books()["positions"] == []
            await until(lambda: interventions(there.journal)[-1] == FLAT, 10, "that all is flat")
        async with trading(there) as driver:
            assert driver.loop.level is Level.FLATTEN
            await until(lambda: interventions(there.journal)[-1] == FLAT, 40, "that all is flat")
            await more(driver, 2)
            assert is_flat(driver.loop.ledger)
            flatten.unlink()
            await until(lambda: held(driver) > 0, 60, "a position again")
            await agreed(there, driver)
        whole(there)
        assert interventions(there.journal) == [
            "freeze by hand", "flatten by hand", "all own positions are closed", "flatten by hand",
            "all own positions are closed", "released",
        ]  # fmt: skip


async def test_flattened_it_leaves_what_another_hand_holds(tmp_path: Path) -> None:
    with ground(tmp_path) as there:
        async with trading(there) as driver:
            await until(lambda: driver.loop.ledger.lots("BTCUSDT") != 0, 60, "a position")
            (tmp_path / "live" / "FREEZE").touch()  # else it may turn meanwhile
            await more(driver, 2)
            assert driver.loop.ledger.lots("BTCUSDT") != 0
            side = Side.BUY if driver.loop.ledger.lots("BTCUSDT") > 0 else Side.SELL
            manual = Order(
                client_id="web-1", symbol="BTCUSDT", side=side, type=OrderType.MARKET, qty="0.050"
            )
            assert (await driver.broker.send(manual)).outcome is Outcome.ACCEPTED
            driver.doubt("a foreign order")
            await until(lambda: "BTCUSDT" in driver.loop.halted, 40, "the symbol to be halted")
            (tmp_path / "live" / "FLATTEN").touch()
            await until(lambda: is_flat(driver.loop.ledger), 30, "everything to be closed")
            left = {each["symbol"]: each["qty"] for each in there.books()["positions"]}
            assert left == {"BTCUSDT": int(side) * 0.05}
            await until(lambda: there.books()["algo_orders"] == [], 10, "own stops to be gone")


def paper(there: Ground) -> subprocess.Popen[str]:
    ready = there.simulator.ready
    overrides = (
        "conf=paper", f"conf.rest_url={ready['rest']}", f"conf.stream_url={ready['ws']}", f"conf.clock_speed={SPEED}",
        f"conf.journal={there.journal}", *(f"conf.feed.{k}={v}" for k, v in FEED.items()), *MARKET,
    )  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "live.run", *overrides], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


async def test_paper_trades_on_a_simulators_prices_and_goes_on_after_it_was_killed(
    tmp_path: Path,
) -> None:
    with ground(tmp_path) as there:
        for last in (False, False, True):
            process = paper(there)
            try:
                await asyncio.to_thread(decisions, process, 3, 240.0)
                process.send_signal(signal.SIGTERM if last else signal.SIGKILL)
                assert process.wait(timeout=60) == (0 if last else -signal.SIGKILL)
            finally:
                process.kill()
                process.wait()
                assert process.stderr is not None
                process.stderr.close()
        with open_journal(there.journal, read_only=True) as journal:
            checks = verify(journal, replayer_of)
        assert {check.name: check.differences[:2] for check in checks if check.differences} == {}
        assert {check.name: check.examined for check in checks}["fills"] > 0
        assert there.books()["trades"] == 0
