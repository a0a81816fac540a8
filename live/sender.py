"""Requests on their way: what protects first, symbols beside each other, unknown outcomes asked for until known.

No request is ever sent twice. One whose outcome is unknown blocks its symbol until a query has told what became of it;
only what makes a position smaller, or protects it, passes by, whatever it is that is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from live.broker.interface import (
    Answer,
    Broker,
    Cancel,
    Fill,
    OrderChange,
    OrderReport,
    Outcome,
)
from live.clock import monotonic_us
from live.journal.journal import Journal
from live.journal.records import Answered, AnsweredBy, Latency
from live.loop import Due, request
from live.wanted import Wanted
from quantcore.errors import VenueError
from quantcore.types import OrderStatus

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_ENDS = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED)
Finding = Callable[[], Coroutine[None, None, None]]
"""Asks until it is known what became of a request."""


class Learnt(Protocol):
    """Who is told what became of requests."""

    def refused(self, wanted: Wanted, answer: Answer) -> None:
        """Take an order that was certainly not carried out; `wanted` may be the cancel by which that was found."""
        ...

    def heard(self, events: Sequence[Fill | OrderChange]) -> None:
        """Take what a query found out and the stream may not have told."""
        ...

    def failed(self, error: BaseException) -> None:
        """Take an error after which nothing more can be sent, such as that of the journal."""
        ...


@dataclass(frozen=True, kw_only=True)
class SenderSettings:
    """How long nothing is believed.

    Parameters
    ----------
    grace_s : float
        After a request, on the wall, until it is believed that an order is not there: longer than the exchange may
        take to receive it, > 0.
    stale_s : float
        On the wall, from its step, after which an order that opens is not sent any more, > 0.
    fills_before_us : int
        How far back, on the exchange's clock, the fills of an order are looked for that a query found, > 0.
    """

    grace_s: float
    stale_s: float = 15.0
    fills_before_us: int = 86_400_000_000


class Sender:
    """Carries out what steps have committed.

    Parameters
    ----------
    broker : Broker
        Where it goes.
    journal : Journal
        Where every answer is written before it is used.
    settings : SenderSettings
        Patience.
    learnt : Learnt
        Told of what concerns the account.
    """

    def __init__(
        self, broker: Broker, journal: Journal, settings: SenderSettings, learnt: Learnt
    ) -> None:
        self._broker = broker
        self._journal = journal
        self._settings = settings
        self._learnt = learnt
        self._lanes: defaultdict[tuple[str, bool], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._answered: dict[int, asyncio.Event] = {}
        self._flying: defaultdict[str, int] = defaultdict(int)
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.unknown = 0
        self.doubtful: set[str] = set()
        """Symbols with a request of which nobody knows what became."""
        self.activity: defaultdict[str, int] = defaultdict(int)
        """By symbol, how often something began or ended."""

    @property
    def busy(self) -> frozenset[str]:
        """Symbols with a request on its way."""
        return frozenset(symbol for symbol, count in self._flying.items() if count)

    def submit(self, batch: Sequence[Due]) -> None:
        """Send a step's requests beside everything else; returns at once.

        Cancels and what reduces go first; the rest right behind, or once those are answered where its margin is theirs.

        Parameters
        ----------
        batch : sequence of Due
            In their order.
        """
        lanes: defaultdict[tuple[str, bool], list[Due]] = defaultdict(list)
        for due in sorted(batch, key=lambda due: not due.wanted.urgent):
            self._begin(due.wanted)
            lanes[due.wanted.request.symbol, due.wanted.urgent].append(due)
        first: dict[str, asyncio.Task[None]] = {}
        for (symbol, urgent), dues in lanes.items():
            if urgent:
                first[symbol] = self._spawn(self._lane(dues, urgent))
            else:
                waits = any(due.wanted.waits for due in dues)
                before = first.values() if waits else filter(None, [first.get(symbol)])
                self._spawn(self._after(tuple(before), dues))

    def withhold(self, due: Due, why: str) -> Answer:
        """Write down that a request is not sent, and return that as its answer."""
        answer = Answer(outcome=Outcome.REFUSED, message=f"not sent: {why}")
        self._write(due, answer, AnsweredBy.REQUEST, None)
        return answer

    def resolve(self, due: Due) -> None:
        """Find out beside everything else what became of a request of an earlier run."""
        self._begin(due.wanted)
        self._spawn(self._resolved(due))

    async def settled(self) -> None:
        """Wait until nothing is on its way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self, timeout_s: float) -> None:
        """Wait a while for answers, then leave; what is not known then is asked for at the next start."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, wanted: Wanted) -> None:
        symbol = wanted.request.symbol
        self._flying[symbol] += 1
        self.activity[symbol] += 1
        if not isinstance(wanted.request, Cancel):
            self._answered[wanted.number] = asyncio.Event()

    def _end(self, wanted: Wanted) -> None:
        symbol = wanted.request.symbol
        self._flying[symbol] -= 1
        self.activity[symbol] += 1
        if not isinstance(wanted.request, Cancel):
            self._answered.pop(wanted.number).set()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._learnt.failed(error)

    async def _after(self, before: Sequence[asyncio.Task[None]], dues: Sequence[Due]) -> None:
        """Send what opens in a symbol once what goes before is answered; nothing after an answer that was not kept."""
        if before:
            await asyncio.gather(*before)
        await self._lane(dues, False)

    async def _lane(self, dues: Sequence[Due], urgent: bool) -> None:
        """Send requests of a symbol, cancels first: the exchange takes one close-position stop a side at a time.

        Meanwhile the position is bare, so that the answer to a cancel is written once what protects is on its way.
        """
        written: list[asyncio.Task[None]] = []
        ordered = sorted(dues, key=lambda due: not isinstance(due.wanted.request, Cancel))
        for due in ordered:
            order = self._answered.get(due.wanted.number)
            if isinstance(due.wanted.request, Cancel) and order is not None:
                self._spawn(self._cancel_after(order, due))
            else:
                await self._carry_out(due, urgent, written if due is not ordered[-1] else None)
        await asyncio.gather(*written)

    async def _cancel_after(self, order: asyncio.Event, due: Due) -> None:
        """Cancel an order once it is known that it is there; nothing else waits for that."""
        await order.wait()
        await self._carry_out(due, True)

    async def _carry_out(
        self, due: Due, urgent: bool, written: list[asyncio.Task[None]] | None = None
    ) -> None:
        async with self._lanes[due.wanted.request.symbol, urgent]:
            finding = await self._send(due, written)
            if finding is not None and not urgent:
                await self._found(due, finding)
        if finding is not None and urgent:
            self._spawn(self._found(due, finding))

    async def _send(self, due: Due, written: list[asyncio.Task[None]] | None) -> Finding | None:
        """Send a request once; return how to find out what became of it where the answer does not say.

        With `written`, where the order is gone, that is written beside what follows, and the task added there.
        """
        finding: Finding | None = None
        try:
            sent_us = monotonic_us()
            waited_s = (sent_us - due.since_us) / 1e6
            if not due.wanted.urgent and waited_s > self._settings.stale_s:
                answer = self.withhold(due, f"it had waited for {waited_s:.0f} s")
                self._learnt.refused(due.wanted, answer)
                return None
            answer = await request(self._broker, due.wanted)
            self.sent += 1
            took = Latency(
                sent_after_us=sent_us - due.since_us, answered_after_us=monotonic_us() - sent_us
            )
            is_gone = isinstance(due.wanted.request, Cancel) and answer.outcome is Outcome.ACCEPTED
            if is_gone and written is not None:
                written.append(self._spawn(self._write_beside(due, answer, took)))
                return None
            self._write(due, answer, AnsweredBy.REQUEST, took)
            if isinstance(due.wanted.request, Cancel):
                if answer.outcome is not Outcome.ACCEPTED:
                    finding = partial(self._find_end, due, answer)
            elif answer.outcome is Outcome.REFUSED:
                self._learnt.refused(due.wanted, answer)
            elif answer.outcome is Outcome.UNKNOWN:
                finding = partial(self._find, due, sent_us)
            return finding
        finally:
            if finding is None:
                self._end(due.wanted)

    async def _found(self, due: Due, finding: Finding) -> None:
        try:
            await finding()
        finally:
            self._end(due.wanted)

    async def _resolved(self, due: Due) -> None:
        try:
            if isinstance(due.wanted.request, Cancel):
                await self._cancel_again(due)
            elif due.wanted.urgent:
                # As old as its step: one that protects is sent anew soon, and if both came one would be cancelled.
                await self._find(due, due.since_us)
            else:
                async with self._lanes[due.wanted.request.symbol, False]:
                    await self._find(due, monotonic_us())
        finally:
            self._end(due.wanted)

    async def _cancel_again(self, due: Due) -> None:
        """Cancel what may be cancelled already: that is no order, and may be asked twice."""
        answer = await request(self._broker, due.wanted)
        self._write(due, answer, AnsweredBy.QUERY, None)
        if answer.outcome is not Outcome.ACCEPTED:
            await self._find_end(due, answer)

    async def _find(self, due: Due, sent_us: int) -> None:
        """Ask for an order until it is known whether it is there."""
        symbol = due.wanted.request.symbol
        self.unknown += 1
        self.doubtful.add(symbol)
        log.warning("%s: nobody knows yet what became of the order", due.wanted.request.client_id)
        try:
            name = _name_of(due.wanted)
            order = await self._query(name, lambda: self._waited(sent_us))
            if order is None:
                answer = Answer(outcome=Outcome.REFUSED, message="it is not at the exchange")
                log.warning("%s: it never arrived", due.wanted.request.client_id)
                self._write(due, answer, AnsweredBy.QUERY, None)
                self._learnt.refused(due.wanted, answer)
                return
            log.warning("%s: it is %s", due.wanted.request.client_id, order.status.name.lower())
            answer = Answer(outcome=Outcome.ACCEPTED, order=order, message="found by query")
            self._write(due, answer, AnsweredBy.QUERY, None)
            await self._tell_end(order)
        finally:
            self.doubtful.discard(symbol)

    async def _find_end(self, due: Due, answer: Answer) -> None:
        """Find out what became of an order whose cancel was not accepted."""
        name = _name_of(due.wanted)
        pause_s, began_us = _FIRST_PAUSE_S, monotonic_us()
        is_open = answer.outcome is Outcome.UNKNOWN
        while True:
            order = await self._query(name, lambda: self._waited(began_us))
            if order is None or order.status in _ENDS:
                break
            await asyncio.sleep(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)
            answer = await request(self._broker, due.wanted)
            if is_open:
                self._write(due, answer, AnsweredBy.QUERY, None)
                is_open = answer.outcome is Outcome.UNKNOWN
            if answer.outcome is Outcome.ACCEPTED:
                return
        if is_open:
            said = "the order has ended" if order is not None else "the order is not there"
            self._write(due, Answer(outcome=Outcome.REFUSED, message=said), AnsweredBy.QUERY, None)
        if order is not None:
            await self._tell_end(order)
        else:
            absent = Answer(outcome=Outcome.REFUSED, message="the order is not there")
            self._learnt.refused(due.wanted, absent)

    async def _query(self, name: Cancel, is_over: Callable[[], bool]) -> OrderReport | None:
        """Return an order; None once it was not there after the time in which it may still arrive."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                order = await self._broker.query(name)
                if order is not None or is_over():
                    return order
            except VenueError as error:
                log.warning("%s could not be asked for: %s", name.client_id, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)

    async def _tell_end(self, order: OrderReport) -> None:
        """Tell an order's fills and its end, which the stream may have lost."""
        now_us = self._broker.now_us()
        events: list[Fill | OrderChange] = []
        if float(order.filled):
            fills = await self._fills(order.symbol)
            events += [fill for fill in fills if fill.client_id == order.client_id]
        if order.status in _ENDS:
            events.append(OrderChange(time_us=now_us, order=order, why="found by query"))
        if events:
            self._learnt.heard(events)

    async def _fills(self, symbol: str) -> list[Fill]:
        since_us = self._broker.now_us() - self._settings.fills_before_us
        while True:
            try:
                return await self._broker.fills_since(symbol, since_us)
            except VenueError as error:
                log.warning("fills of %s could not be read: %s", symbol, error)
            await asyncio.sleep(_LONGEST_PAUSE_S)

    def _waited(self, since_us: int) -> bool:
        return monotonic_us() - since_us > self._settings.grace_s * 1e6

    async def _write_beside(self, due: Due, answer: Answer, took: Latency) -> None:
        self._write(due, answer, AnsweredBy.REQUEST, took)

    def _write(self, due: Due, answer: Answer, by: AnsweredBy, latency: Latency | None) -> None:
        self._journal.answer(
            Answered(
                intent_id=due.intent_id,
                ts_us=self._broker.now_us(),
                answer=answer,
                by=by,
                latency=latency,
            )
        )


def _name_of(wanted: Wanted) -> Cancel:
    request = wanted.request
    if isinstance(request, Cancel):
        return request
    return Cancel(
        client_id=request.client_id, symbol=request.symbol, conditional=request.conditional
    )
