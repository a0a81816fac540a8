"""Reconciliation: what was missed is read, everything is compared with the exchange, each difference is resolved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from live.broker.interface import Answer, OrderChange, Outcome
from live.driver import Driver
from live.journal.records import Difference, Resolution
from live.journal.told import Event
from live.reconcile import Finding, Found, believed, compare, halts
from live.wanted import Wanted

log = logging.getLogger(__name__)

OVERLAP_US = 120_000_000
"""By which fills and incomes are read further back than to the last comparison that found nothing."""
LATE_US = 3_600_000_000
"""By which they are read further back while a difference stands, such as another hand's for weeks: it may be theirs."""
_LOOKS = 8
"""Readings of the exchange until one falls into a quiet moment."""
_LOOK_PAUSE_S = 0.25
_CONFIRMED = 2
"""Readings that must confirm a difference."""
_WALLET = "wallet"


@dataclass
class Comparison:
    """Compares one account with its exchange; one at a time.

    Parameters
    ----------
    equal_us : int
        Exchange's time up to which everything is known to have been heard.
    first_us : int
        Exchange's time at which the account began: what moved money before is in its wallet already.
    """

    equal_us: int
    first_us: int
    rounds: int = 0
    """Comparisons so far."""
    _halting: list[Finding] = field(default_factory=list)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reconcile(self, driver: Driver) -> list[Finding]:
        """Read what was missed, compare, and resolve each difference; return what was found.

        Raises
        ------
        VenueError
            If the exchange cannot be read.
        """
        async with self._turn:
            began_us = driver.broker.now_us()
            findings = await self._confirmed(driver)
            stopped = halts(findings)
            for finding in findings:
                if finding.rule is not Resolution.HALT and finding.symbol not in stopped:
                    await _resolve(driver, finding)
                elif finding.rule is Resolution.HALT and finding not in self._halting:
                    _write(driver, finding)
            _halt(driver, findings)
            self._halting = [f for f in findings if f.rule is Resolution.HALT]
            known_us = began_us - LATE_US if findings else began_us
            self.equal_us = max(self.equal_us, known_us)
            self.rounds += 1
            return findings

    async def read_missed(self, driver: Driver) -> None:
        """Read fills and incomes since all was known, and take what was not heard.

        Raises
        ------
        VenueError
            If the exchange cannot be read.
        """
        since_us = max(self.equal_us - OVERLAP_US, 0)
        await _name_triggered(driver)
        events: list[Event] = []
        for symbol in driver.loop.ledger.plane.symbols:
            events += await driver.broker.fills_since(symbol, since_us)
        events += await driver.broker.incomes_since(max(since_us, self.first_us))
        driver.take(sorted(events, key=lambda event: event.time_us))

    async def _confirmed(self, driver: Driver) -> list[Finding]:
        """Return the differences that several readings have in common, each after what was missed was read.

        What has happened at the exchange a moment ago may not have been heard yet.
        """
        await self.read_missed(driver)
        findings = await _compared(driver)
        for _ in range(_CONFIRMED):
            if not findings:
                break
            await asyncio.sleep(_LOOK_PAUSE_S)
            await self.read_missed(driver)
            again = await _compared(driver)
            findings = [finding for finding in findings if finding in again]
        return findings


async def _name_triggered(driver: Driver) -> None:
    """Ask for conditional orders that are gone: the broker then knows the orders that they became."""
    there = {order.client_id for order in await driver.broker.open_orders()}
    for name in driver.loop.ledger.open_orders().values():
        if name.conditional and name.client_id not in there:
            await driver.broker.query(name)


async def _compared(driver: Driver) -> list[Finding]:
    """Return the differences, without those of symbols in which something happened while the exchange was read."""
    findings: list[Finding] = []
    for _ in range(_LOOKS):
        before, events = dict(driver.sender.activity), driver.heard_events
        busy = driver.sender.busy
        found = Found(
            orders=await driver.broker.open_orders(),
            positions=await driver.broker.positions(),
            account=await driver.broker.account(),
        )
        after = dict(driver.sender.activity)
        moved = {s for s in after if after[s] != before.get(s, 0)} | busy
        quiet = not moved and events == driver.heard_events
        findings = [
            finding
            for finding in compare(believed(driver.loop.ledger), found, driver.loop.ledger.ids)
            if (quiet if finding.symbol is None else finding.symbol not in moved)
        ]
        if quiet:
            break
        await asyncio.sleep(_LOOK_PAUSE_S)
    return findings


async def _resolve(driver: Driver, finding: Finding) -> None:
    """Write a difference down, and do what its rule says."""
    _write(driver, finding)
    if finding.rule is Resolution.CANCEL and finding.order is not None:
        await driver.broker.cancel(finding.order, urgent=True)
    elif finding.rule is Resolution.ADOPT and finding.order is not None:
        await _adopt_end(driver, finding)
    elif finding.rule is Resolution.ADOPT:
        now_us = driver.broker.now_us()
        driver.loop.tell(driver.loop.ledger.corrected(finding.amount, now_us))
        driver.follow()


def _write(driver: Driver, finding: Finding) -> None:
    name = finding.client_id or finding.symbol or ""
    log.warning(
        "%s %s: %s here, %s at the exchange: %s",
        finding.subject, name, finding.expected, finding.found, finding.rule.value,
    )  # fmt: skip
    driver.journal.difference(
        Difference(
            ts_us=driver.broker.now_us(),
            subject=finding.subject,
            expected=finding.expected,
            found=finding.found,
            rule=finding.rule,
            symbol=finding.symbol,
            client_id=finding.client_id,
        )
    )


async def _adopt_end(driver: Driver, finding: Finding) -> None:
    """Take the end of an order that is not at the exchange any more."""
    assert finding.order is not None
    assert finding.number is not None
    order = await driver.broker.query(finding.order)
    if finding.number not in driver.loop.ledger.open_orders():
        return  # it was heard meanwhile
    if order is None:
        absent = Answer(outcome=Outcome.REFUSED, message="it is not at the exchange")
        wanted = Wanted(number=finding.number, request=finding.order, urgent=True)
        driver.refused(wanted, absent)
        return
    now_us = driver.broker.now_us()
    driver.take([OrderChange(time_us=now_us, order=order, why="found by query")])


def _halt(driver: Driver, findings: Collection[Finding]) -> None:
    """Trade no symbol in which another hand is, and open nothing while money is missing; let go what is well again."""
    found = halts(findings)
    held = set(driver.loop.ledger.at)
    for symbol in sorted((found & held) - driver.loop.halted):
        driver.note("reconcile", f"{symbol} is not traded: another hand is in it")
    for symbol in sorted(driver.loop.halted - found):
        driver.note("reconcile", f"{symbol} is traded again")
    driver.loop.halted.clear()
    driver.loop.halted |= found
    driver.stopped.pop(_WALLET, None)
    if any(f.rule is Resolution.HALT and f.symbol is None for f in findings):
        driver.stopped[_WALLET] = "the wallet differs from the exchange's"
