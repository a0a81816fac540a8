"""The loop in real time: whatever comes is taken at once, one after the other, and what it wants is sent.

Everything that touches the account is a plain function that runs to its end on the one event loop: an event of the
exchange is written down, booked, committed and its orders are on their way before anything else is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from live import hand
from live.broker.interface import (
    Answer,
    Balance,
    Broker,
    Cancel,
    Fill,
    Order,
    OrderChange,
)
from live.feed.feed import Feed
from live.feed.rows import Row, Skipped
from live.folds import Decided
from live.journal.journal import Journal
from live.journal.records import Note, NoteKind
from live.journal.told import Event
from live.kill_switch import Level
from live.loop import Due, Loop
from live.moment import half_spreads, moment
from live.pulled import Pulled
from live.reconcile import Finding
from live.sender import Sender, SenderSettings
from live.status import AnyDriver
from live.wanted import Wanted
from quantcore.errors import JournalError, VenueError
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.types import FloatArray

log = logging.getLogger(__name__)

_REFUSALS_AT_ONCE = 2
_REFUSAL_PAUSE_S, _REFUSAL_PAUSE_MAX_S = 0.5, 30.0
_AGAIN_S, _AGAIN_MAX_S = 1.0, 30.0
_FINISH_S = 20.0
_CALLED_OFF_S = 3.0
_LOOK_S = 0.05
_LEAVE_S = 5.0
_END = "end"


@dataclass(frozen=True, kw_only=True)
class DriverSettings:
    """How often things are looked at, seconds on the wall.

    Parameters
    ----------
    tick_s : float
        Between two looks of the router at the book, > 0.
    reconcile_s : float
        Between two comparisons with the exchange, > 0.
    grace_s : float
        See `SenderSettings`.
    late_us : int
        After a bar's close, on the exchange's clock, from which on nothing is decided on it any more, > 0.
    """

    tick_s: float
    reconcile_s: float
    grace_s: float
    late_us: int


class Watcher(Protocol):
    """Who is told how it goes."""

    def decision(self, close_us: int, decided: Decided | None, driver: AnyDriver) -> None:
        """Take notice of a decision, or of one that was given up."""
        ...

    def recovered(self, n_events: int, n_differences: int) -> None:
        """Take notice that everything was compared at the start: new events heard, and differences found."""
        ...

    def caught_up(self, n_bars: int) -> None:
        """Take notice of bars that had closed before the loop was there, and that are known now."""
        ...


class Comparing(Protocol):
    """What compares everything with the exchange (`live.comparison`)."""

    async def read_missed(self, driver: Driver) -> None:
        """Take fills and incomes that were not heard; raises VenueError if the exchange cannot be read."""
        ...

    async def reconcile(self, driver: Driver) -> list[Finding]:
        """Resolve each difference and return what was found; raises VenueError if the exchange cannot be read."""
        ...


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
    watcher : Watcher
        Told how it goes.
    comparison : Comparing
        Asked on schedule and on every doubt.
    """

    loop: Loop
    feed: Feed
    settings: DriverSettings
    watcher: Watcher
    comparison: Comparing
    sender: Sender = field(init=False)
    _hand: Pulled = field(init=False)
    last_row: Bars | None = None
    stopped: dict[str, str] = field(default_factory=dict)
    """Why no order that opens is sent, by who says so."""
    heard_events: int = 0
    """New events so far."""
    fills: int = 0
    """New fills so far."""
    _missed: int = 0
    _skipped: dict[int, str] = field(default_factory=dict)
    _refusals: dict[str, int] = field(default_factory=dict)
    _doubt: asyncio.Event = field(default_factory=asyncio.Event)
    _broken: asyncio.Event = field(default_factory=asyncio.Event)
    _error: BaseException | None = None
    _later: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        grace = SenderSettings(grace_s=self.settings.grace_s)
        self.sender = Sender(self.broker, self.journal, grace, self)
        self._hand = Pulled(self.loop, self.stopped, self._intervene)

    @property
    def broker(self) -> Broker:
        """Where orders go."""
        return self.loop.broker

    @property
    def sent(self) -> int:
        """Requests so far."""
        return self.sender.sent

    @property
    def doubtful(self) -> set[str]:
        """Symbols with a request of which nobody knows what became."""
        return self.sender.doubtful

    @property
    def journal(self) -> Journal:
        """Where everything is written."""
        return self.loop.journal

    async def run(self, stop: asyncio.Event, open_requests: Sequence[Due] = ()) -> None:
        """Recover, then trade until told to stop; what opens is called off then, what protects stays at the exchange.

        Parameters
        ----------
        stop : asyncio.Event
            Set by whoever ends it.
        open_requests : sequence of Due
            Of an earlier run, without a final answer.

        Raises
        ------
        QuantcoreError
            If the journal fails, the feed does, or the exchange cannot be compared with at the start. Unless it is the
            journal, what opens is called off before that is raised.
        """
        trading = asyncio.create_task(self._trade(open_requests))
        stopping = asyncio.create_task(_until(stop))
        beside = (asyncio.create_task(self._hear()), asyncio.create_task(self._raise()))
        tasks = [trading, stopping, *beside]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            errors = [_first(error) for task in done if (error := task.exception()) is not None]
            if not any(isinstance(error, JournalError) for error in errors):
                await self._finish(trading)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._leave()
        if errors:
            raise errors[0]

    def take(self, events: Sequence[Event]) -> None:
        """Take what the exchange said, whoever heard it; what is known already changes nothing."""
        new = self.loop.take(events, heard_us=self.broker.now_us())
        self.heard_events += len(new)
        for event in new:
            self._mind(event)
        if self.loop.doubts:
            self.doubt(self.loop.doubts[-1])
            self.loop.doubts.clear()
        if self.loop.has_news:
            self.follow()

    def heard(self, events: Sequence[Fill | OrderChange]) -> None:
        """Take what a query has found out."""
        self.take(events)

    def refused(self, wanted: Wanted, answer: Answer) -> None:
        """Take an order that was not carried out: at once, but where that happens again and again."""
        symbol = wanted.request.symbol
        times = self._refusals.get(symbol, 0)
        self._refusals[symbol] = times + 1
        pause_s = 0.0
        if times >= _REFUSALS_AT_ONCE:
            pause_s = _REFUSAL_PAUSE_S * 2.0 ** (times - _REFUSALS_AT_ONCE)
        self._spawn(self._refuse(wanted, answer, min(pause_s, _REFUSAL_PAUSE_MAX_S)))

    def failed(self, error: BaseException) -> None:
        """End the run with an error of a part that works beside it; the first one counts."""
        self._error = self._error or error
        self._broken.set()

    def follow(self) -> None:
        """Let protective orders and routes follow at the prices of now."""
        now_us = max(self.broker.now_us(), self.loop.last_us)
        if _END in self.stopped:
            for word in hand.called_off(self.loop.ledger, Level.FREEZE, now_us).values():
                self.loop.tell(word)
        row = moment(self.feed.quotes, self.loop.ledger.plane.symbols, now_us, self.last_row)
        self._send(self.loop.follow(row, half_spread=self._spreads(row)))

    def take_row(self, row: Row | Skipped) -> None:
        """Take a bar that has closed, or the word that its decision is given up."""
        if isinstance(row, Skipped):
            self._skipped[row.close_us] = row.reason
            log.warning("no decision is taken: %s", row.reason)
            return
        for text in row.notes:
            self.note("feed", text)
        given_up = self._skipped.pop(row.close_us, "")
        late_us = self.broker.now_us() - row.close_us
        if row.in_time and late_us > self.settings.late_us:
            given_up = f"its bar was taken {late_us / 1e6:.0f} s after its close"
        skipped = given_up
        if not row.in_time and not given_up:
            skipped = "its bar had closed before the loop was there"
        decided, due = self.loop.close(
            row.bars, skipped=skipped, half_spread=self._spreads(row.bars)
        )
        self.last_row = row.bars
        self._refusals.clear()
        self._send(due)
        if skipped and not given_up:
            self._missed += 1
            return
        if self._missed:
            self.watcher.caught_up(self._missed)
            self._missed = 0
        if decided is not None:
            self.watcher.decision(row.close_us, None if skipped else decided, self)

    def stand(self, level: Level, why: str) -> None:
        """Let a person's hand stop what opens, or close everything, or let it go on; from the next tick on.

        Parameters
        ----------
        level : Level
            How far.
        why : str
            Who asked for it, in the words of the kill switch.
        """
        self._hand.stand(level, why)

    def note(self, source: str, message: str) -> None:
        """Write down what went wrong."""
        log.warning("%s: %s", source, message)
        now_us = self.broker.now_us()
        self.journal.note(Note(ts_us=now_us, kind=NoteKind.ERROR, source=source, message=message))

    def _intervene(self, message: str) -> None:
        """Write down what a person did, and what came of it."""
        log.info("kill switch: %s", message)
        now_us = self.broker.now_us()
        self.journal.note(
            Note(ts_us=now_us, kind=NoteKind.INTERVENTION, source=hand.SOURCE, message=message)
        )

    def _call_off(self) -> None:
        """Call off what opens, or close what is held, unless that is on its way; after refusals not at once again."""
        if self._hand.call_off(self.broker.now_us()):
            self.follow()
        self._hand.look()

    def doubt(self, reason: str) -> None:
        """Ask for a comparison with the exchange."""
        log.info("doubt: %s", reason)
        self._doubt.set()

    def _mind(self, event: Event) -> None:
        """Take notice of what a new event means beside the books."""
        if isinstance(event, Fill):
            self.fills += 1
            self.sender.activity[event.symbol] += 1
            if event.fee_asset != "USDT":
                self.stopped["fees"] = f"fees must be paid in USDT, were in {event.fee_asset}"
        elif isinstance(event, OrderChange):
            self.sender.activity[event.order.symbol] += 1
            if event.order.stuck:
                self.doubt(f"{event.order.client_id} is stuck as it triggers")
        elif isinstance(event, Balance) and event.kind != "ORDER":
            self.doubt(f"the balance changed by {event.kind}")

    def _spreads(self, row: Bars) -> FloatArray:
        return half_spreads(self.feed.quotes, self.loop.ledger.instruments, row.array("close")[-1])

    def _send(self, batch: Sequence[Due]) -> None:
        """Send what a step wants, but nothing in a symbol in which another hand is, nor what may not open."""
        free = []
        for due in batch:
            wanted = due.wanted
            if wanted.request.symbol in self.loop.halted and not self._may_leave(wanted):
                self.sender.withhold(due, "another hand is in the symbol")
            elif self.stopped and isinstance(wanted.request, Order) and not wanted.urgent:
                answer = self.sender.withhold(due, next(iter(self.stopped.values())))
                self.refused(wanted, answer)
            else:
                free.append(due)
        self.sender.submit(free)

    def _may_leave(self, wanted: Wanted) -> bool:
        """Return whether a request passes though another hand is in its symbol, because a person wants out of it.

        An order that only reduces, of no more than the own position, can neither open nor take what the other hand
        added; a stop that closes the whole position could, so that it goes once nothing of one's own is left.
        """
        request = wanted.request
        if isinstance(request, Cancel):
            needed = request.conditional and self.loop.ledger.lots(request.symbol) != 0
            return self.loop.level is not Level.NONE and not needed
        return self.loop.level is Level.FLATTEN and request.reduce_only

    async def _refuse(self, wanted: Wanted, answer: Answer, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        self.loop.tell(self.loop.refused(wanted, answer))
        self.follow()

    async def _trade(self, open_requests: Sequence[Due]) -> None:
        """Protect what filled while nobody was here, find out what became of requests, compare, then take bars."""
        if self.loop.has_news:
            self.follow()
        await self.comparison.read_missed(self)
        for due in open_requests:
            self.sender.resolve(due)
        await self.sender.settled()
        findings = await self.comparison.reconcile(self)
        self.watcher.recovered(self.heard_events, len(findings))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_rows())
            group.create_task(self._tick())
            group.create_task(self._compare())

    async def _hear(self) -> None:
        async for events in self.broker.events():
            self.take(events)

    async def _take_rows(self) -> None:
        async for row in self.feed.rows():
            self.take_row(row)
            await asyncio.sleep(0)  # many may wait, and events go before them

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.settings.tick_s)
            if self.loop.level is not Level.NONE:
                self._call_off()
            if self.loop.ledger.state["counter"][at.ACTIVE_ROUTES] > 0:
                self.follow()

    async def _compare(self) -> None:
        """Compare with the exchange on schedule and on every doubt; while it cannot be read, with growing pauses."""
        wait_s, again_s = self.settings.reconcile_s, _AGAIN_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._doubt.wait()
            self._doubt.clear()
            try:
                await self.comparison.reconcile(self)
            except VenueError as error:
                self.note("reconcile", str(error))
                wait_s, again_s = again_s, min(2.0 * again_s, _AGAIN_MAX_S)
            else:
                wait_s, again_s = self.settings.reconcile_s, _AGAIN_S

    async def _raise(self) -> None:
        await self._broken.wait()
        assert self._error is not None
        raise self._error

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failed(error)

    async def _finish(self, trading: asyncio.Task[None]) -> None:
        """Decide nothing more, call off what opens, and see that what was sent is known and protected."""
        trading.cancel()
        await asyncio.gather(trading, return_exceptions=True)
        self.stopped[_END] = "the loop ends"
        try:
            async with asyncio.timeout(_FINISH_S):
                self.follow()
                await self._called_off()
                await self.comparison.reconcile(self)
                await self._called_off()
        except (TimeoutError, VenueError) as error:
            self.note(
                "end", f"not all is known of what was sent: {str(error) or 'no answer in time'}"
            )

    async def _called_off(self) -> None:
        """Wait until nothing is on its way, and a while for the word that what opened has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CALLED_OFF_S):
                while self.loop.ledger.opening_orders():
                    await self.sender.settled()
                    await asyncio.sleep(_LOOK_S)
        await self.sender.settled()

    async def _leave(self) -> None:
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        await self.sender.close(_LEAVE_S)


def _first(error: BaseException) -> BaseException:
    """Return the first of errors that came together."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
