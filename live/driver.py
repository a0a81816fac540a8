"""The loop in real time: whatever comes is taken at once, one after the other, and what it wants is sent.

Everything that touches the account is a plain function that runs to its end on the one event loop: an event of the
exchange is written down, booked, committed and its orders are on their way before anything else is looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from live.broker.interface import (
    Answer,
    Balance,
    Broker,
    Doubt,
    Fill,
    Order,
    OrderChange,
    Outcome,
)
from live.feed.feed import Feed
from live.feed.rows import Row, Skipped
from live.folds import Decided
from live.journal.journal import Journal
from live.journal.records import Difference, Note, NoteKind, Resolution
from live.journal.told import Event
from live.ledger import Wanted
from live.loop import Loop
from live.moment import half_spreads, moment
from live.reconcile import Finding, Found, believed, compare, halts
from live.sender import Sender, SenderSettings
from quantcore.errors import VenueError
from quantcore.frames import Bars
from quantcore.kernels import layout as at

log = logging.getLogger(__name__)

_LOOKS = 8
"""Readings of the exchange until one falls into a quiet moment."""
_LOOK_PAUSE_S = 0.25
_OVERLAP_US = 120_000_000
"""By which fills and incomes are read further back than to the last comparison."""
_REFUSAL_PAUSE_S, _REFUSAL_PAUSE_MAX_S = 0.5, 30.0
_LEAVE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class DriverSettings:
    """How often things are looked at, seconds on the wall.

    Parameters
    ----------
    tick_s : float
        Between two looks of the router at the book.
    reconcile_s : float
        Between two comparisons with the exchange.
    grace_s : float
        See `SenderSettings`.
    """

    tick_s: float
    reconcile_s: float
    grace_s: float


@dataclass
class Driver:
    """One account that is traded in real time.

    Parameters
    ----------
    loop : Loop
        With its states.
    feed : Feed
        Started.
    settings : DriverSettings
        How often things are looked at.
    show : callable
        Told of every decision bar: the row's close, and the decision or None.
    """

    loop: Loop
    feed: Feed
    settings: DriverSettings
    show: Callable[[int, Decided | None], None]
    sender: Sender = field(init=False)
    last_row: Bars | None = None
    opens_nothing: str = ""
    """Why no order that opens is sent; empty as long as they are."""
    counted_us: int = 0
    """Exchange's time up to which everything was compared and equal."""
    _skipped: dict[int, str] = field(default_factory=dict)
    _refusals: dict[str, int] = field(default_factory=dict)
    _doubt: asyncio.Event = field(default_factory=asyncio.Event)
    _events: int = 0
    _comparing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        grace = SenderSettings(grace_s=self.settings.grace_s)
        self.sender = Sender(self.broker, self.journal, grace, self)

    @property
    def broker(self) -> Broker:
        """Where orders go."""
        return self.loop.broker

    @property
    def journal(self) -> Journal:
        """Where everything is written."""
        return self.loop.journal

    async def run(self, stop: asyncio.Event) -> None:
        """Trade until told to stop; orders and stops stay at the exchange.

        Raises
        ------
        QuantcoreError
            If the journal or a part of the feed fails: nothing is sent any more.
        """
        parts = [self._hear(), self._take_rows(), self._tick(), self._compare_on_schedule()]
        tasks = [asyncio.create_task(part) for part in (*parts, stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.sender.close(_LEAVE_S)
        for task in done:
            await task

    def take(self, events: Sequence[Event]) -> None:
        """Take what the exchange said, whoever heard it; what is known already changes nothing."""
        new = self.loop.take(events, heard_us=self.broker.now_us())
        self._mind(new)
        if self.loop.has_news:
            self.follow()

    def _mind(self, new: Collection[Event]) -> None:
        """Take notice of what new events mean beside the books."""
        self._events += len(new)
        for event in new:
            if isinstance(event, Fill):
                self.sender.activity[event.symbol] += 1
                if event.fee_asset != "USDT":
                    self.opens_nothing = f"fees must be paid in USDT, were in {event.fee_asset}"
            elif isinstance(event, OrderChange):
                self.sender.activity[event.order.symbol] += 1
                if event.order.stuck:
                    self.doubt(f"{event.order.client_id} is stuck as it triggers")
            elif isinstance(event, Doubt):
                self.doubt(event.reason)
            elif isinstance(event, Balance) and event.kind != "ORDER":
                self.doubt(f"the balance changed by {event.kind}")
        if self.loop.doubts:
            self.loop.doubts.clear()
            self._doubt.set()

    def heard(self, events: Sequence[Fill | OrderChange]) -> None:
        """Take what a query has found out."""
        self.take(events)

    def refused(self, wanted: Wanted, answer: Answer) -> None:
        """Take the refusal of an order: at once, but for one that is refused again and again."""
        symbol = wanted.request.symbol
        times = self._refusals.get(symbol, 0)
        self._refusals[symbol] = times + 1
        if times < 2:
            self._refuse(wanted, answer)
            return
        pause_s = min(_REFUSAL_PAUSE_S * 2 ** (times - 2), _REFUSAL_PAUSE_MAX_S)
        asyncio.get_running_loop().call_later(pause_s, self._refuse, wanted, answer)

    def _refuse(self, wanted: Wanted, answer: Answer) -> None:
        self.loop.tell(self.loop.refused(wanted, answer))
        self.follow()

    def follow(self) -> None:
        """Let protective orders and routes follow at the prices of now."""
        row = moment(
            self.feed.quotes, self.loop.ledger.plane.symbols, self._now_us(), self.last_row
        )
        spread = half_spreads(self.feed.quotes, self.loop.ledger.instruments, row.array("close")[0])
        self.sender.submit(self.loop.follow(row, half_spread=spread), allowed=self._withheld)

    def take_row(self, row: Row | Skipped) -> None:
        """Take a bar that has closed, or the word that its decision is given up."""
        if isinstance(row, Skipped):
            self._skipped[row.close_us] = row.reason
            log.warning("no decision is taken: %s", row.reason)
            return
        for text in row.notes:
            self.note("feed", text)
        why = self._skipped.pop(row.close_us, "")
        if not row.in_time:
            why = why or "its bar had closed before the loop was there"
        spread = half_spreads(
            self.feed.quotes, self.loop.ledger.instruments, row.bars.array("close")[0]
        )
        decided, due = self.loop.close(row.bars, skipped=why, half_spread=spread)
        self.last_row = row.bars
        self._refusals.clear()
        self.sender.submit(due, allowed=self._withheld)
        if decided is not None:
            self.show(row.close_us, None if why else decided)

    def note(self, source: str, message: str) -> None:
        """Write down what went wrong."""
        log.warning("%s: %s", source, message)
        self.journal.note(
            Note(ts_us=self.broker.now_us(), kind=NoteKind.ERROR, source=source, message=message)
        )

    def doubt(self, reason: str) -> None:
        """Ask for a comparison with the exchange."""
        log.info("doubt: %s", reason)
        self._doubt.set()

    async def reconcile(self) -> list[Finding]:
        """Compare everything with the exchange, and resolve each difference; return what was found.

        Raises
        ------
        VenueError
            If the exchange cannot be read.
        """
        async with self._comparing:
            began_us = self.broker.now_us()
            await self.read_missing()
            first = await self._compared()
            if first:  # what is new at the exchange may not be heard yet
                await self.read_missing()
            findings = await self._compared() if first else first
            for finding in findings:
                await self._resolve(finding)
            self._halt(findings)
            if not findings:
                self.counted_us = began_us
            return findings

    async def read_missing(self) -> None:
        """Read fills and incomes since the last comparison, and take what was not heard."""
        since_us = max(self.counted_us - _OVERLAP_US, 0)
        await self._name_triggered()
        events: list[Event] = []
        for symbol in self.loop.ledger.plane.symbols:
            events += await self.broker.fills_since(symbol, since_us)
        events += await self.broker.incomes_since(since_us)
        events.sort(key=lambda event: event.time_us)
        self.take(events)

    async def _name_triggered(self) -> None:
        """Ask for conditional orders that are gone: the broker then knows the orders that they became."""
        there = {order.client_id for order in await self.broker.open_orders()}
        for name in self.loop.ledger.open_orders().values():
            if name.conditional and name.client_id not in there:
                await self.broker.query(name)

    async def _compared(self) -> list[Finding]:
        """Return the differences of symbols in which nothing happened while the exchange was read."""
        findings: list[Finding] = []
        for _ in range(_LOOKS):
            before, events = dict(self.sender.activity), self._events
            busy = self.sender.busy
            orders = await self.broker.open_orders()
            positions = await self.broker.positions()
            account = await self.broker.account()
            after, quiet = self.sender.activity, events == self._events
            findings = [
                finding
                for finding in compare(
                    believed(self.loop.ledger),
                    Found(orders=orders, positions=positions, account=account),
                    self.loop.ledger.ids,
                )
                if (
                    finding.symbol not in busy
                    and before.get(finding.symbol, 0) == after.get(finding.symbol, 0)
                    if finding.symbol is not None
                    else quiet and not busy
                )
            ]
            if quiet and not busy and before == dict(after):
                break
            await asyncio.sleep(_LOOK_PAUSE_S)
        return findings

    async def _resolve(self, finding: Finding) -> None:
        """Write a difference down, and do what its rule says."""
        log.warning(
            "%s %s: %s here, %s at the exchange: %s",
            finding.subject,
            finding.client_id or finding.symbol or "",
            finding.expected,
            finding.found,
            finding.rule.value,
        )
        self.journal.difference(
            Difference(
                ts_us=self.broker.now_us(),
                subject=finding.subject,
                expected=finding.expected,
                found=finding.found,
                rule=finding.rule,
                symbol=finding.symbol,
                client_id=finding.client_id,
            )
        )
        if finding.rule is Resolution.CANCEL and finding.order is not None:
            await self.broker.cancel(finding.order, urgent=True)
        elif finding.rule is Resolution.ADOPT and finding.order is not None:
            await self._adopt_end(finding)
        elif finding.rule is Resolution.ADOPT:
            self.loop.tell(self.loop.ledger.corrected(finding.amount, self.broker.now_us()))
            self.follow()

    async def _adopt_end(self, finding: Finding) -> None:
        """Take the end of an order that is not at the exchange any more."""
        assert finding.order is not None
        assert finding.number is not None
        order = await self.broker.query(finding.order)
        if finding.number not in self.loop.ledger.open_orders():
            return
        if order is None:
            answer = Answer(outcome=Outcome.REFUSED, message="it is not at the exchange")
            wanted = Wanted(number=finding.number, request=finding.order, urgent=True)
            self._refuse(wanted, answer)
            return
        change = OrderChange(time_us=self.broker.now_us(), order=order, why="found by query")
        self.take([change])

    def _halt(self, findings: Collection[Finding]) -> None:
        """Trade no symbol in which somebody else trades, and open nothing while money is missing."""
        found = halts(findings)
        for symbol in sorted(found - self.loop.halted):
            self.note("reconcile", f"{symbol} is not traded: another hand is in it")
        self.loop.halted.clear()
        self.loop.halted |= found
        wrong = any(f.rule is Resolution.HALT and f.symbol is None for f in findings)
        self.opens_nothing = "the wallet differs from the exchange's" if wrong else ""

    def _withheld(self, wanted: Wanted) -> str:
        if wanted.request.symbol in self.loop.halted:
            return "another hand is in the symbol"
        opens = isinstance(wanted.request, Order) and not wanted.urgent
        return self.opens_nothing if opens else ""

    def _now_us(self) -> int:
        return max(self.broker.now_us(), self.loop.last_us)

    async def _hear(self) -> None:
        async for event in self.broker.events():
            self.take([event])

    async def _take_rows(self) -> None:
        async for row in self.feed.rows():
            self.take_row(row)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.settings.tick_s)
            if self.loop.ledger.state["counter"][at.ACTIVE_ROUTES] > 0:
                self.follow()

    async def _compare_on_schedule(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.settings.reconcile_s):
                    await self._doubt.wait()
            except TimeoutError:
                pass
            self._doubt.clear()
            try:
                await self.reconcile()
            except VenueError as error:
                self.note("reconcile", str(error))
                await asyncio.sleep(1.0)
                self._doubt.set()
