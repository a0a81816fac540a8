"""The loop on an account of paper: each bar of the feed is shown to the account, and only then to the loop.

The account fills by the backtest's step, so the two go in lock-step: what the loop sends after a close meets the next
bar, and nothing happens in between. A start hears again what the account told since its last bar.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from live import hand
from live.broker.interface import Answer, Cancel, Fill, Outcome
from live.broker.paper import PaperBroker
from live.driver import Watcher
from live.feed.feed import Feed
from live.feed.rows import Row, Skipped
from live.journal import reading
from live.journal.journal import Journal
from live.journal.records import Answered, AnsweredBy, Note, NoteKind
from live.kill_switch import Level
from live.loop import Due, Loop
from live.pulled import Pulled
from live.wanted import Wanted
from quantcore.errors import ConfigError
from quantcore.kernels import layout as at
from quantcore.timegrid import interval_us
from quantcore.types import OrderStatus

log = logging.getLogger(__name__)

_ENDS = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED)


@dataclass
class PaperDriver:
    """One account of paper that is traded.

    Parameters
    ----------
    loop : Loop
        With its states.
    account : PaperBroker
        Its broker.
    feed : Feed
        Started.
    watcher : Watcher
        Told how it goes.
    """

    loop: Loop
    account: PaperBroker
    feed: Feed
    watcher: Watcher
    stopped: dict[str, str] = field(default_factory=dict)
    """Why nothing opens, by who says so."""
    _skipped: dict[int, str] = field(default_factory=dict)
    fills: int = 0
    """New fills so far."""
    _missed: int = 0
    _hand: Pulled = field(init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _broken: asyncio.Event = field(default_factory=asyncio.Event)
    _error: BaseException | None = None

    def __post_init__(self) -> None:
        self._hand = Pulled(
            self.loop, self.stopped, partial(self._note, NoteKind.INTERVENTION, hand.SOURCE)
        )

    @property
    def sent(self) -> int:
        """Requests so far."""
        return self.loop.sent

    @property
    def doubtful(self) -> set[str]:
        """None: what was sent is answered at once."""
        return set()

    @property
    def journal(self) -> Journal:
        """Where everything is written."""
        return self.loop.journal

    def check(self, *, fresh: bool) -> None:
        """Refuse an account and a journal that do not belong together.

        Parameters
        ----------
        fresh : bool
            Whether the journal begins with this start.

        Raises
        ------
        ConfigError
            If the one has seen what the other has not.
        """
        shown_us = self.account.last_row_us
        if fresh and not self.account.is_idle:
            raise ConfigError(
                "a fresh journal must begin with an account of paper without positions and orders: move its file away"
            )
        known_us = int(self.loop.ledger.state["counter"][at.LAST_TS])
        ahead_us = shown_us - known_us
        length_us = interval_us(self.loop.ledger.plane.interval)
        if not fresh and shown_us and ahead_us not in (0, length_us):
            raise ConfigError(
                "journal and account of paper must have seen the same bars, the account is "
                f"{ahead_us / 1e6:,.0f} s ahead"
            )
        if not fresh and not shown_us and self.loop.ledger.wallet != self.account.wallet:
            raise ConfigError(
                "the account of paper on which the journal goes on must be there, its file is not"
            )

    async def run(self, stop: asyncio.Event, open_requests: Sequence[Due] = ()) -> None:
        """Recover, then trade until told to stop; a bar that is being taken is taken to its end.

        Parameters
        ----------
        stop : asyncio.Event
            Set by whoever ends it.
        open_requests : sequence of Due
            Of an earlier run, without an answer.

        Raises
        ------
        QuantcoreError
            If the journal or the feed fails, or bars are missing.
        """
        await self.resume(open_requests)
        rows = asyncio.create_task(self._take_rows())
        ends = [asyncio.create_task(each.wait()) for each in (stop, self._broken)]
        try:
            await asyncio.wait({rows, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            async with self._turn:
                for task in (rows, *ends):
                    task.cancel()
            await asyncio.gather(rows, *ends, return_exceptions=True)
        if self._error is not None:
            raise self._error
        if not rows.cancelled():
            rows.result()

    def failed(self, error: BaseException) -> None:
        """End the run with an error of a part that works beside it; the first one counts."""
        self._error = self._error or error
        self._broken.set()

    async def resume(self, open_requests: Sequence[Due]) -> None:
        """Hear what the account told before the end of an earlier run, and send what that had committed to send.

        Nothing is on its way to an account of paper: an order that it does not know was never sent.
        """
        await self._hear()
        pending = {due.wanted.number for due in open_requests}
        for due in open_requests:
            await self._settle(due)
        lost = {
            name.client_id: number
            for number, name in self.loop.ledger.open_orders().items()
            if number not in pending and await self.account.query(name) is None
        }
        with self.journal.transaction() as connection:
            refused = reading.refusals(connection, list(lost))
        for intent, answer in refused:
            wanted = Wanted(number=intent.order_number, request=intent.request, urgent=False)
            self.loop.tell(self.loop.refused(wanted, answer))

    async def take_row(self, row: Row | Skipped) -> None:
        """Take a bar that has closed: the account first, then the loop, whose orders wait for the next one."""
        if isinstance(row, Skipped):
            self._skipped[row.close_us] = row.reason
            log.warning("no decision is taken: %s", row.reason)
            return
        for text in row.notes:
            self._note(NoteKind.ERROR, "feed", text)
        await self._hear()
        await self.account.show(row.bars)
        await self._hear()
        self._hand.call_off(row.close_us)
        self._hand.look()
        given_up = self._skipped.pop(row.close_us, "")
        skipped = given_up
        if not row.in_time and not given_up:
            skipped = "its bar had closed before the loop was there"
        decided = await self.loop.close_bar(row.bars, skipped=skipped)
        if skipped and not given_up:
            self._missed += 1
            return
        if self._missed:
            self.watcher.caught_up(self._missed)
            self._missed = 0
        if decided is not None:
            self.watcher.decision(row.close_us, None if skipped else decided, self)

    def stand(self, level: Level, why: str) -> None:
        """Let a person's hand stop what opens, or close everything, or let it go on, from the next close on."""
        self._hand.stand(level, why)

    async def _take_rows(self) -> None:
        async for row in self.feed.rows():
            async with self._turn:
                await self.take_row(row)
            await asyncio.sleep(0)

    async def _hear(self) -> None:
        events = await self.account.caught_up()
        if events:
            new = self.loop.take(events, heard_us=self.account.now_us())
            self.fills += sum(isinstance(event, Fill) for event in new)
        for doubt in self.loop.doubts:
            self._note(NoteKind.ERROR, "account", doubt)
        self.loop.doubts.clear()

    async def _settle(self, due: Due) -> None:
        """Find out what became of a request without an answer, and send it if it never was."""
        wanted = due.wanted.request
        is_cancel = isinstance(wanted, Cancel)
        name = Cancel(
            client_id=wanted.client_id, symbol=wanted.symbol, conditional=wanted.conditional
        )
        order = await self.account.query(name)
        if order is None if not is_cancel else order is not None and order.status not in _ENDS:
            await self.loop.send(due)
            return
        answer = Answer(outcome=Outcome.ACCEPTED, order=order, message="found by query")
        self.journal.answer(
            Answered(
                intent_id=due.intent_id,
                ts_us=self.account.now_us(),
                answer=answer,
                by=AnsweredBy.QUERY,
            )
        )

    def _note(self, kind: NoteKind, source: str, message: str) -> None:
        log.warning("%s: %s", source, message)
        note = Note(ts_us=self.account.now_us(), kind=kind, source=source, message=message)
        self.journal.note(note)
