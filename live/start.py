"""Start is recovery: the states out of the journal or out of the bars before, and what is to be asked for first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np

from live.broker.interface import Broker, Cancel, Fill, Order
from live.clock import monotonic_us
from live.feed.feed import Feed
from live.folds import CLOSE, SignalFold
from live.journal import reading
from live.journal.journal import Journal
from live.journal.records import OpenIntent, Session
from live.journal.recovery import Recovery
from live.ledger import Ledger
from live.loop import Due, Loop
from live.parts import Kept, Parts, kept
from live.replayer import replayer_of
from live.wanted import ClientIds, Wanted
from quantcore.account_adopt import adopt
from quantcore.data.instruments import Instrument
from quantcore.errors import ConfigError, VenueError
from quantcore.fold import FoldState
from quantcore.frames import Bars, resample_bars
from quantcore.kernels import layout as at
from quantcore.signal_plane import signals, warm_up
from quantcore.timegrid import interval_us
from quantcore.types import OrderType, Side

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """Where a session begins.

    Parameters
    ----------
    loop : Loop
        With its states.
    last_row : Bars
        The last execution bar that they know.
    open_requests : tuple of Due
        Of earlier sessions, without a final answer.
    equal_us : int
        Exchange's time up to which the journal is known to have heard everything.
    first_us : int
        Of the journal's first step: what moved money before is in its wallet.
    """

    loop: Loop
    last_row: Bars = field(repr=False)
    open_requests: tuple[Due, ...]
    equal_us: int
    first_us: int


async def flatten(broker: Broker, prefix: str) -> int:
    """Cancel every order and close every position of a simulated account; return how many of both there were.

    Raises
    ------
    VenueError
        If the exchange cannot be read.
    """
    orders, positions = await broker.open_orders(), await broker.positions()
    for order in orders:
        name = Cancel(client_id=order.client_id, symbol=order.symbol, conditional=order.conditional)
        await broker.cancel(name, urgent=True)
    for number, held in enumerate(positions):
        closing = Order(
            client_id=f"{prefix}flat-{number}",
            symbol=held.symbol,
            side=Side.SELL if Decimal(held.qty) > 0 else Side.BUY,
            type=OrderType.MARKET,
            qty=format(abs(Decimal(held.qty)), "f"),
            reduce_only=True,
        )
        await broker.send(closing, urgent=True)
    return len(orders) + len(positions)


async def begin(
    parts: Parts,
    session: Session,
    instruments: Sequence[Instrument],
    *,
    broker: Broker,
    journal: Journal,
    feed: Feed,
    speed: float = 1.0,
) -> Begun:
    """Return the loop with the states of the journal, or with fresh ones of a journal without steps.

    A fresh account has the capital that the exchange says; what it holds besides is found by the first comparison.

    Parameters
    ----------
    speed : float
        Seconds of the exchange per second here.

    Raises
    ------
    JournalError
        If the journal does not give its states again.
    VenueError, SchemaMismatch
        If the bars before the start cannot be had.
    ConfigError
        If the account of the journal cannot go on under these settings.
    """
    recovery = journal.recover()
    plane = parts.plane(instruments)
    now_us = broker.now_us()
    if recovery.session is None or recovery.account is None:
        closed_us = _floor(now_us, parts.execution_interval)
        signal, last_row = await _warm(parts, feed, closed_us)
        wallet = float((await broker.account()).wallet)
        state = dated(replace(plane, capital=wallet).start(), closed_us)
    else:
        replayed = recovery.resume(replayer_of(recovery.session).advance)
        assert replayed is not None
        before = kept(recovery.session)
        _check_kept(before, parts)
        state = adopt(plane, replayed.account)
        _check_steps(before.instruments, instruments, state)
        closed_us = int(state["counter"][at.LAST_TS])
        _check_heard(recovery, plane.symbols)
        same = (parts.signal, parts.interval) == (before.parts.signal, before.parts.interval)
        if same and [each.symbol for each in before.instruments] == list(plane.symbols):
            signal, last_row = await _resumed(parts, feed, replayed.signal, closed_us)
        else:
            log.warning("the signals' settings are not those of the journal: they begin anew")
            signal, last_row = await _warm(parts, feed, closed_us)
    first_us, equal_us = _heard(journal) or (now_us, now_us)
    journal.begin(session, now_us=now_us)
    ledger = Ledger(plane, instruments, ClientIds(session.prefix), state)
    loop = Loop(
        ledger=ledger, signal=signal, broker=broker, journal=journal, in_order=parts.in_order
    )
    for _, event in recovery.unused:
        loop.mean(event)
    loop.begin(
        max(now_us, recovery.steps[-1].ts_us if recovery.steps else 0),
        known=recovery.unused[0][0] - 1 if recovery.unused else None,
    )
    return Begun(
        loop=loop,
        last_row=last_row,
        open_requests=tuple(_open_requests(recovery, now_us, speed)),
        equal_us=equal_us,
        first_us=first_us,
    )


async def _warm(parts: Parts, feed: Feed, last_us: int) -> tuple[SignalFold, Bars]:
    """Return the signal plane after its declared warm-up, and the last row of it."""
    n_bars = warm_up(parts.signal, parts.interval)
    decided_us = _floor(last_us, parts.interval)
    first_us = decided_us - n_bars * interval_us(parts.interval)
    bars = await feed.backfill(first_us + interval_us(parts.execution_interval), last_us)
    listed = np.flatnonzero(~np.isnan(bars.array("close")).all(axis=1))
    bars = bars.rows(int(listed[0]) if len(listed) else bars.n_bars - 1, bars.n_bars)
    whole = int(np.searchsorted(bars.ts_us, decided_us, side="right"))
    state = None
    if whole:
        past = resample_bars(bars.rows(0, whole), parts.interval)
        state = signals(past, parts.signal).state
        if past.n_bars < n_bars:
            log.warning("the signals begin after %d bars of the %d asked", past.n_bars, n_bars)
    return _fold(parts, state, bars, whole), bars.rows(bars.n_bars - 1, bars.n_bars)


async def _resumed(
    parts: Parts, feed: Feed, state: FoldState | None, closed_us: int
) -> tuple[SignalFold, Bars]:
    """Return the signal plane as the journal left it, with the rows since its last decision."""
    decided_us = _floor(closed_us, parts.interval)
    first_us = min(decided_us + interval_us(parts.execution_interval), closed_us)
    bars = await feed.backfill(first_us, closed_us)
    whole = bars.n_bars if decided_us == closed_us else 0
    return _fold(parts, state, bars, whole), bars.rows(bars.n_bars - 1, bars.n_bars)


def _fold(parts: Parts, state: FoldState | None, bars: Bars, decided: int) -> SignalFold:
    """Return the signal plane with the rows after those that were decided on."""
    rows = bars.rows(decided, bars.n_bars) if decided < bars.n_bars else None
    return SignalFold(parts.signal, interval=parts.interval, state=state, rows=rows)


def _heard(journal: Journal) -> tuple[int, int] | None:
    """Return the times of the first step and of the last closed bar: none is taken before all is read."""
    with journal.transaction() as connection:
        first_us = reading.first_ts(connection)
        closed_us = reading.last_ts(connection, CLOSE)
    return None if first_us is None else (first_us, closed_us or first_us)


def _check_kept(before: Kept, parts: Parts) -> None:
    """Refuse an execution grid that the account's clock does not stand on."""
    former = before.parts.execution_interval
    if parts.execution_interval != former:
        raise ConfigError(
            f"data.execution_interval must stay {former}, with which the journal was written, is "
            f"{parts.execution_interval}"
        )


def _check_heard(recovery: Recovery, symbols: Sequence[str]) -> None:
    """Refuse to leave out a symbol in which something was heard that no step has booked."""
    for _, event in recovery.unused:
        symbol = event.symbol if isinstance(event, Fill) else None
        if symbol is not None and symbol not in symbols:
            raise ConfigError(f"data.symbols must keep {symbol}, of which a fill is not booked yet")


def _check_steps(before: Sequence[Instrument], now: Sequence[Instrument], state: FoldState) -> None:
    """Refuse positions counted in other steps than the exchange's of now."""
    steps = {each.symbol: each for each in before}
    for present, held in zip(now, state["held"], strict=True):
        former = steps.get(present.symbol, present)
        if former.step_size != present.step_size and held[at.LOTS] != 0:
            raise VenueError(
                f"{present.symbol}: the step of a position held must stay {former.step_size}, "
                f"is now {present.step_size}"
            )


def _open_requests(recovery: Recovery, now_us: int, speed: float) -> Iterator[Due]:
    """Yield the requests without a final answer, each as old as the step that committed it."""
    committed_us = {step.seq: step.ts_us for step in recovery.steps}
    first_us = recovery.steps[0].ts_us if recovery.steps else now_us
    for each in recovery.open_intents:
        age_us = max(now_us - committed_us.get(each.seq, first_us), 0)
        yield _due(each, monotonic_us() - int(age_us / speed))


def _due(request: OpenIntent, since_us: int) -> Due:
    intent = request.intent
    sent = intent.request
    reduces = isinstance(sent, Order) and (sent.reduce_only or sent.close_position)
    wanted = Wanted(
        number=intent.order_number, request=sent, urgent=isinstance(sent, Cancel) or reduces
    )
    return Due(wanted=wanted, intent_id=request.intent_id, since_us=since_us)


def dated(state: FoldState, closed_us: int) -> FoldState:
    """Return a fresh account's state that knows the close before its first bar."""
    arrays = state.copies()
    arrays["counter"][at.LAST_TS] = closed_us
    return FoldState(state.kind, state.version, arrays)


def _floor(time_us: int, interval: str) -> int:
    return time_us // interval_us(interval) * interval_us(interval)
