"""Start is recovery: the states from the journal, what is open asked for, what was missed read, then everything compared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from live.broker.interface import Broker, Cancel, Outcome
from live.clock import monotonic_us
from live.driver import Driver
from live.feed.feed import Feed
from live.folds import SignalFold
from live.journal.journal import Journal
from live.journal.records import Session
from live.journal.recovery import Recovery
from live.ledger import ClientIds, Ledger, Wanted
from live.loop import Due, Loop
from live.parts import Parts
from live.replayer import replayer_of
from quantcore.data.instruments import Instrument
from quantcore.errors import VenueError
from quantcore.fold import FoldState
from quantcore.frames import Bars, resample_bars
from quantcore.kernels import layout as at
from quantcore.signal_plane import signals, warm_up
from quantcore.timegrid import interval_us

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Where a session begins.

    Parameters
    ----------
    loop : Loop
        With its states.
    recovery : Recovery
        Of the journal before.
    after_us : int
        Close of the last row that the states know.
    last_row : Bars or None
        That row, where it was read.
    counted_us : int
        Exchange's time up to which the journal is known to have heard everything.
    """

    loop: Loop
    recovery: Recovery = field(repr=False)
    after_us: int
    last_row: Bars | None = field(repr=False)
    counted_us: int


async def apply_settings(broker: Broker, symbols: Sequence[str], parts: Parts) -> None:
    """Set one-way mode, leverage and margin type, and see that they are set.

    Raises
    ------
    VenueError
        If one is refused.
    """
    answers = [("position mode", await broker.set_one_way())]
    for symbol in symbols:
        isolated = parts.account.margin == "isolated"
        answers.append((symbol, await broker.set_leverage(symbol, parts.account.leverage_max)))
        answers.append((symbol, await broker.set_isolated(symbol, isolated)))
    for name, answer in answers:
        if answer.outcome is not Outcome.ACCEPTED:
            raise VenueError(f"{name}: must be set, was not: {answer.message}")


async def begin(
    parts: Parts,
    session: Session,
    instruments: Sequence[Instrument],
    *,
    broker: Broker,
    journal: Journal,
    feed: Feed,
) -> Begun:
    """Return the loop with the states of the journal, or with fresh ones of a journal without steps.

    Raises
    ------
    JournalError
        If the journal does not give its states again.
    VenueError, SchemaMismatch
        If the bars before the start cannot be had.
    """
    recovery = journal.recover()
    plane = parts.plane(instruments)
    now_us = broker.now_us()
    length_us = interval_us(parts.execution_interval)
    if recovery.session is None or recovery.account is None:
        signal, last_row = await _warm(parts, feed, now_us // length_us * length_us)
        capital = float((await broker.account()).wallet)
        state = replace(plane, capital=capital).start()
        after_us = (
            int(last_row.ts_us[-1]) if last_row is not None else now_us // length_us * length_us
        )
        state = _dated(state, after_us)
    else:
        replayed = recovery.resume(replayer_of(recovery.session).advance)
        assert replayed is not None
        state = replayed.account
        after_us = int(state["counter"][at.LAST_TS]) or now_us // length_us * length_us
        signal, last_row = await _resumed(parts, feed, replayed.signal, after_us)
    journal.begin(session, now_us=now_us)
    loop = Loop(
        ledger=Ledger(plane, instruments, ClientIds(session.prefix), state),
        signal=signal,
        broker=broker,
        journal=journal,
        in_order=False,
    )
    for _, event in recovery.unused:
        loop.mean(event)
    loop.doubts.clear()
    loop.begin(
        max(now_us, _last_us(recovery)),
        known=recovery.unused[0][0] - 1 if recovery.unused else None,
    )
    return Begun(
        loop=loop,
        recovery=recovery,
        after_us=after_us,
        last_row=last_row,
        counted_us=_last_us(recovery) or now_us,
    )


def resolve(driver: Driver, recovery: Recovery) -> None:
    """Find out what became of every request without an answer."""
    for open_intent in recovery.open_intents:
        intent = open_intent.intent
        urgent = isinstance(intent.request, Cancel) or (
            intent.request.reduce_only or intent.request.close_position
        )
        wanted = Wanted(number=intent.order_number, request=intent.request, urgent=urgent)
        driver.sender.resolve(
            Due(wanted=wanted, intent_id=open_intent.intent_id, since_us=monotonic_us())
        )


async def _warm(parts: Parts, feed: Feed, last_us: int) -> tuple[SignalFold, Bars | None]:
    """Return the signal plane after its declared warm-up, and the last row of it."""
    n_bars = warm_up(parts.signal, parts.interval)
    decision_us = interval_us(parts.interval)
    first_us = (last_us // decision_us - n_bars) * decision_us
    first_us += interval_us(parts.execution_interval)
    bars = await feed.backfill(first_us, last_us)
    listed = np.flatnonzero(~np.isnan(bars.array("close")).all(axis=1))
    if not len(listed):
        return SignalFold(parts.signal, interval=parts.interval), None
    bars = bars.rows(int(listed[0]), bars.n_bars)
    if bars.n_bars < n_bars:
        log.warning("the signals are warmed up with %d bars of %d", bars.n_bars, n_bars)
    whole = int(np.searchsorted(bars.ts_us, last_us // decision_us * decision_us, side="right"))
    state = None
    if whole:
        state = signals(resample_bars(bars.rows(0, whole), parts.interval), parts.signal).state
    rest = bars.rows(whole, bars.n_bars) if whole < bars.n_bars else None
    fold = SignalFold(parts.signal, interval=parts.interval, state=state, rows=rest)
    return fold, bars.rows(bars.n_bars - 1, bars.n_bars)


async def _resumed(
    parts: Parts, feed: Feed, state: FoldState | None, after_us: int
) -> tuple[SignalFold, Bars]:
    """Return the signal plane as the journal left it, with the rows since its last decision."""
    length_us, decision_us = interval_us(parts.execution_interval), interval_us(parts.interval)
    decided_us = after_us // decision_us * decision_us
    first_us = min(decided_us + length_us, after_us)
    bars = await feed.backfill(first_us, after_us)
    rows = bars if decided_us < after_us else None
    fold = SignalFold(parts.signal, interval=parts.interval, state=state, rows=rows)
    return fold, bars.rows(bars.n_bars - 1, bars.n_bars)


def _last_us(recovery: Recovery) -> int:
    """Return when the journal's last step was, as far as steps follow its last snapshot."""
    return recovery.steps[-1].ts_us if recovery.steps else 0


def _dated(state: FoldState, after_us: int) -> FoldState:
    """Return a fresh account's state that knows the close before its first bar."""
    arrays = state.copies()
    arrays["counter"][at.LAST_TS] = after_us
    return FoldState(state.kind, state.version, arrays)
