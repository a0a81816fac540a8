"""The driver: the exchange's events and bars in, both folds, orders out, all in the journal; it has no rule of its own.

A step is committed with its inputs and its intents before anything of it is sent. So a start after any end finds the
state by replaying, and knows of every order that may be at the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from live.broker.interface import (
    Answer,
    Balance,
    Broker,
    BrokerEvent,
    Cancel,
    Doubt,
    Fill,
    OrderChange,
    Outcome,
)
from live.clock import monotonic_us
from live.folds import CLOSE, EVENT, Decided, SignalFold, step_inputs
from live.journal.journal import Journal
from live.journal.records import START, Answered, Decision, Intent, Latency, Recorded, Step
from live.ledger import Ledger, LedgerStep, Row, Wanted
from live.words import equity, positions, reasons, risk_state
from quantcore.account_follow import Heard
from quantcore.account_plane import Events
from quantcore.frames import Bars
from quantcore.types import OrderStatus, Rule

SNAPSHOT_EVERY = 24
"""Decisions between two kept states."""


@dataclass(kw_only=True)
class Loop:
    """One account that is traded.

    Parameters
    ----------
    ledger : Ledger
        What is believed to be held.
    signal : SignalFold
        What decides.
    broker : Broker
        Where orders go.
    journal : Journal
        With a session begun.
    in_order : bool
        Whether requests go one after the other, as in lock-step; else those of different symbols go together.
    """

    ledger: Ledger
    signal: SignalFold
    broker: Broker
    journal: Journal
    in_order: bool
    decisions: int = 0
    doubts: list[str] = field(default_factory=list)
    last_events: Events | None = None
    """Of the account in the last step."""
    _unused: list[Row] = field(default_factory=list)

    def begin(self, now_us: int) -> None:
        """Write down the states from which on everything is replayed."""
        self.journal.commit_step(
            Step(
                seq=self.journal.next_seq,
                ts_us=now_us,
                kind=START,
                inputs={},
                account=self.ledger.state,
                signal=self.signal.state,
                snapshot=True,
            )
        )

    async def hear(self, events: Sequence[BrokerEvent], *, heard_us: int) -> None:
        """Write down what the exchange said, and keep what is new for the next step."""
        for event, recorded in zip(
            events, self.journal.hear(events, heard_us=heard_us), strict=True
        ):
            if recorded is Recorded.KNOWN:
                continue
            if isinstance(event, Fill | OrderChange):
                rows = self.ledger.hear(event)
                if rows is None:
                    self.doubts.append(f"{event} is not of an own order")
                else:
                    self._unused += rows
            elif isinstance(event, Doubt):
                self.doubts.append(event.reason)
            elif isinstance(event, Balance):
                self._check_balance(event)

    async def close_bar(self, row: Bars, *, decides: bool = True) -> Decided | None:
        """Take a bar that has closed: book what was heard within it, decide, and send what is wanted."""
        started_us = monotonic_us()
        heard = [*self.ledger.settlements(row), *self._take_heard()]
        bar = self.signal.see(row)
        decided = None if bar is None or not decides else self.signal.decide(bar)
        step = self.ledger.step(
            row, heard, targets=None if decided is None else decided.targets, recorded=True
        )
        await self._commit(row, heard, step, CLOSE, decided, started_us)
        return decided

    async def follow(self, moment: Bars) -> None:
        """Take what was heard between two closes, at the prices of the moment."""
        started_us = monotonic_us()
        heard = self._take_heard()
        step = self.ledger.step(moment, heard, closes=False)
        await self._commit(moment, heard, step, EVENT, None, started_us)

    def _take_heard(self) -> list[Row]:
        heard, self._unused = self._unused, []
        return heard

    async def _commit(
        self,
        row: Bars,
        heard: Iterable[Row],
        step: LedgerStep,
        kind: str,
        decided: Decided | None,
        started_us: int,
    ) -> None:
        symbols = self.ledger.plane.symbols
        self.decisions += decided is not None
        state = step.state
        intents = [_intent(wanted) for wanted in step.wanted]
        ids = self.journal.commit_step(
            Step(
                seq=self.journal.next_seq,
                ts_us=int(row.ts_us[-1]),
                kind=kind,
                inputs=step_inputs(row, Heard.of(list(heard))),
                account=state,
                signal=None if decided is None else decided.state,
                decision=None if decided is None else _decision(decided),
                intents=intents,
                reasons=tuple(reasons(step.events, symbols)),
                equity=equity(
                    step.events, flow=0.0, regime=None if decided is None else decided.regime
                ),
                positions=tuple(positions(state, symbols)) if kind == CLOSE else (),
                risk=risk_state(state) if kind == CLOSE else None,
                snapshot=decided is not None and self.decisions % SNAPSHOT_EVERY == 1,
            )
        )
        self.ledger.take(step)
        self.last_events = step.events
        if decided is not None:
            self.signal.take(decided)
        for wanted, intent_id in zip(step.wanted, ids, strict=True):
            await self._send(wanted, intent_id, started_us)

    async def _send(self, wanted: Wanted, intent_id: int, started_us: int) -> None:
        sent_us = monotonic_us()
        answer = await self._request(wanted)
        latency = Latency(
            sent_after_us=sent_us - started_us, answered_after_us=monotonic_us() - sent_us
        )
        self.journal.answer(
            Answered(
                intent_id=intent_id, ts_us=self.broker.now_us(), answer=answer, latency=latency
            )
        )
        if answer.outcome is Outcome.REFUSED and not isinstance(wanted.request, Cancel):
            self._unused.append(self._refused(wanted, answer))

    async def _request(self, wanted: Wanted) -> Answer:
        if isinstance(wanted.request, Cancel):
            return await self.broker.cancel(wanted.request, urgent=wanted.urgent)
        return await self.broker.send(wanted.request, urgent=wanted.urgent)

    def _refused(self, wanted: Wanted, answer: Answer) -> Row:
        rule = Rule.MARGIN if answer.rule is None else answer.rule
        return self.ledger.ended(
            wanted.number, wanted.request.symbol, OrderStatus.REJECTED, rule, self.broker.now_us()
        )

    def _check_balance(self, balance: Balance) -> None:
        """Note a doubt where the exchange's wallet is not the one that its own events explain."""


def _intent(wanted: Wanted) -> Intent:
    reason = "" if wanted.reason is None else wanted.reason.name.lower()
    return Intent(order_number=wanted.number, request=wanted.request, reason=reason)


def _decision(decided: Decided) -> Decision:
    from live.folds import bars_arrays

    return Decision(targets=decided.targets, inputs=bars_arrays(decided.bar))
