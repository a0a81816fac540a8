"""The loop of the two folds: the exchange's events and bars in, orders out, all in the journal; no rule of its own.

A step is committed with its inputs and its intents before anything of it is sent. So a start after any end finds the
state by replaying, and knows of every order that may be at the exchange. Taking a step never waits for anything: who
drives the loop (in lock-step `close_bar`, in real time `live.driver`) sends what it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from live.broker.interface import (
    Answer,
    Balance,
    Broker,
    Cancel,
    Doubt,
    Income,
    Outcome,
)
from live.clock import monotonic_us
from live.folds import (
    CLOSE,
    EVENT,
    Decided,
    SignalFold,
    bars_arrays,
    step_inputs,
    traded,
)
from live.hand import restrain
from live.journal.journal import Journal
from live.journal.records import (
    START,
    Answered,
    Decision,
    Intent,
    Latency,
    Recorded,
    Step,
)
from live.journal.told import Event
from live.kill_switch import Level
from live.ledger import Ledger, LedgerStep, Row
from live.wanted import Wanted
from live.words import equity, positions, reasons, risk_state
from quantcore.account_follow import Heard
from quantcore.account_plane import Events
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.types import BoolArray, FloatArray, OrderStatus, Rule

CLEARED = "INSURANCE_CLEAR"
"""What the exchange calls the income that is a liquidation's cost, or what insurance paid of it."""
SNAPSHOT_EVERY = 24
"""Decisions between two kept states."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """A request that is committed and is to be sent.

    Parameters
    ----------
    wanted : Wanted
        What is sent.
    intent_id : int
        As the journal counts it.
    since_us : int
        When what made its step was there, on the monotonic clock: a bar, or the first event heard.
    """

    wanted: Wanted
    intent_id: int
    since_us: int


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
        Whether a driver moves the exchange bar by bar: requests go one after the other, and funding is that of the
        rows, as in the backtest; else it is what the exchange says that it paid.
    """

    ledger: Ledger
    signal: SignalFold
    broker: Broker
    journal: Journal
    in_order: bool
    decisions: int = 0
    sent: int = 0
    """Requests in lock-step."""
    doubts: list[str] = field(default_factory=list)
    halted: set[str] = field(default_factory=set)
    """Symbols that are not traded."""
    level: Level = Level.NONE
    """How far a person has stopped it."""
    last_events: Events | None = None
    """Of the account in the last step."""
    last_us: int = 0
    """Time of the last step."""
    _unused: list[Row] = field(default_factory=list)
    _heard_us: int | None = None
    """When the first of them was heard, on the monotonic clock."""

    def begin(self, now_us: int, *, known: int | None = None) -> None:
        """Write down the states from which on everything is replayed.

        Parameters
        ----------
        now_us : int
            When.
        known : int, optional
            The last event that they know, as the journal counts; every one told so far by default.
        """
        self.last_us = now_us
        self.journal.commit_step(
            Step(
                seq=self.journal.next_seq,
                ts_us=now_us,
                kind=START,
                inputs={},
                account=self.ledger.state,
                signal=self.signal.state,
                snapshot=True,
                last_event=known,
            )
        )

    @property
    def has_news(self) -> bool:
        """Whether something was heard that no step has taken yet."""
        return bool(self._unused)

    def take(self, events: Sequence[Event], *, heard_us: int) -> list[Event]:
        """Write down what the exchange said, keep what it means for the next step, and return what was new."""
        began_us = monotonic_us()
        told = self.journal.hear(events, heard_us=heard_us)
        new = [
            event
            for event, recorded in zip(events, told, strict=True)
            if recorded is not Recorded.KNOWN
        ]
        for event in new:
            self.mean(event)
        if self._unused and self._heard_us is None:
            self._heard_us = began_us
        return new

    def mean(self, event: Event) -> None:
        """Keep for the next step what an event means that is written down already."""
        if isinstance(event, Doubt):
            self.doubts.append(event.reason)
            return
        if isinstance(event, Income) and event.kind == CLEARED:
            joined = self.ledger.cleared(self._unused, event)
            if joined is not None:
                self._unused = joined
                return
        if not isinstance(event, Balance):
            rows = self.ledger.hear(event)
            if rows is None:
                self.doubts.append(f"{event} is not of an own order")
            else:
                self._unused += rows

    def tell(self, row: Row) -> None:
        """Keep for the next step what did not come from the exchange's stream."""
        self._unused.append(row)

    async def hear(self, events: Sequence[Event], *, heard_us: int) -> None:
        """Take what the exchange said in lock-step."""
        self.take(events, heard_us=heard_us)

    async def close_bar(self, row: Bars, *, skipped: str = "") -> Decided | None:
        """Take a bar that has closed in lock-step, and send what is wanted, one after the other; see `close`."""
        decided, due = self.close(row, skipped=skipped)
        for each in due:
            await self.send(each)
        return decided

    def close(
        self, row: Bars, *, skipped: str = "", half_spread: FloatArray | None = None
    ) -> tuple[Decided | None, list[Due]]:
        """Take a bar that has closed: book what was heard, decide, commit, and return what is to be sent.

        Parameters
        ----------
        row : Bars
            One row.
        skipped : str
            Why nothing is decided although a decision bar may close; the signal plane sees the bar all the same.
        half_spread : float64 array, shape (n_symbols,), optional
            Of the book, around the row's closes.
        """
        since_us = monotonic_us()
        heard = self._take_heard()
        if self.in_order:
            heard = [*self.ledger.settlements(row), *heard]
        bar = self.signal.see(row)
        decided = None if bar is None else self.signal.decide(bar)
        halted = self._halted()
        targets = None if decided is None or skipped else decided.targets
        restrained = None
        if targets is not None and self.level is not Level.NONE:
            restrained = restrain(targets, self.level, self.ledger, row)
        step = self.ledger.step(
            row,
            heard,
            targets=traded(targets, halted, restrained),
            recorded=True,
            half_spread=half_spread,
        )
        inputs = step_inputs(
            row, Heard.of(heard), half_spread=half_spread, halted=halted, restrained=restrained
        )
        due = self._commit(row, inputs, step, CLOSE, decided, skipped, since_us)
        return decided, due

    def follow(self, moment: Bars, *, half_spread: FloatArray | None = None) -> list[Due]:
        """Take what was heard between two closes, at the prices of the moment, and return what is to be sent.

        A step in which nothing was heard and nothing happens is not taken at all.
        """
        since_us = monotonic_us() if self._heard_us is None else self._heard_us
        heard = self._take_heard()
        step = self.ledger.step(moment, heard, closes=False, half_spread=half_spread)
        if not heard and not len(step.events.whole) and not step.wanted:
            return []
        inputs = step_inputs(moment, Heard.of(heard), half_spread=half_spread)
        return self._commit(moment, inputs, step, EVENT, None, "", since_us)

    def refused(self, wanted: Wanted, answer: Answer) -> Row:
        """Return the end of an order that was not carried out as the account step hears it.

        What the exchange has refused is rejected by its rule; what never came to it has expired, and may follow anew.
        """
        status, rule = OrderStatus.EXPIRED, None
        if answer.code is not None or answer.rule is not None:
            status, rule = OrderStatus.REJECTED, answer.rule or Rule.EXCHANGE
        return self.ledger.ended(
            wanted.number, wanted.request.symbol, status, rule, self.broker.now_us()
        )

    def _take_heard(self) -> list[Row]:
        heard, self._unused = self._unused, []
        self._heard_us = None
        return heard

    def _halted(self) -> BoolArray | None:
        if not self.halted:
            return None
        return np.array([symbol in self.halted for symbol in self.ledger.plane.symbols])

    def _commit(
        self,
        row: Bars,
        inputs: dict[str, np.ndarray],
        step: LedgerStep,
        kind: str,
        decided: Decided | None,
        skipped: str,
        since_us: int,
    ) -> list[Due]:
        symbols = self.ledger.plane.symbols
        self.decisions += decided is not None
        self.last_us = max(self.last_us, int(row.ts_us[-1]))
        state = step.state
        ids = self.journal.commit_step(
            Step(
                seq=self.journal.next_seq,
                ts_us=self.last_us,
                kind=kind,
                inputs=inputs,
                account=state,
                signal=None if decided is None else decided.state,
                decision=None if decided is None else _decision(decided, skipped),
                intents=[_intent(wanted) for wanted in step.wanted],
                reasons=tuple(reasons(step.events, symbols)),
                equity=equity(
                    step.events,
                    flow=_flow(step.events),
                    regime=None if decided is None else decided.regime,
                ),
                positions=tuple(positions(state, symbols)) if kind == CLOSE else (),
                risk=risk_state(state) if kind == CLOSE else None,
                snapshot=decided is not None and self.decisions % SNAPSHOT_EVERY == 1,
                took_us=monotonic_us() - since_us,
                account_us=step.account_us,
            )
        )
        self.ledger.take(step)
        self.last_events = step.events
        if decided is not None:
            self.signal.take(decided)
        return [
            Due(wanted=wanted, intent_id=number, since_us=since_us)
            for wanted, number in zip(step.wanted, ids, strict=True)
        ]

    async def send(self, due: Due) -> None:
        """Send a request in lock-step, write its answer down, and keep a refusal for the next step."""
        sent_us = monotonic_us()
        answer = await request(self.broker, due.wanted)
        self.sent += 1
        latency = Latency(
            sent_after_us=sent_us - due.since_us, answered_after_us=monotonic_us() - sent_us
        )
        self.journal.answer(
            Answered(
                intent_id=due.intent_id,
                ts_us=self.broker.now_us(),
                answer=answer,
                latency=latency,
            )
        )
        if answer.outcome is Outcome.REFUSED and not isinstance(due.wanted.request, Cancel):
            self._unused.append(self.refused(due.wanted, answer))


async def request(broker: Broker, wanted: Wanted) -> Answer:
    """Send an order or a cancel once."""
    if isinstance(wanted.request, Cancel):
        return await broker.cancel(wanted.request, urgent=wanted.urgent)
    return await broker.send(wanted.request, urgent=wanted.urgent)


def _flow(events: Events) -> float:
    """Return what was deposited, less what was withdrawn, USDT."""
    return float(events.of(at.EVENT_FLOW)[1][:, at.A].sum())


def _intent(wanted: Wanted) -> Intent:
    reason = "" if wanted.reason is None else wanted.reason.name.lower()
    return Intent(
        order_number=wanted.number,
        request=wanted.request,
        reason=reason,
        wanted_qty=wanted.wanted_qty,
    )


def _decision(decided: Decided, skipped: str) -> Decision:
    return Decision(
        targets=None if skipped else decided.targets,
        inputs=bars_arrays(decided.bar),
        skipped=skipped,
        strategies=decided.strategies,
    )
