"""The account that a session trades: one of an exchange, or one of paper on an exchange's prices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from live.asked import Asked
from live.broker.binance import BinanceBroker
from live.broker.interface import Broker
from live.broker.paper import PaperBroker, PaperSettings
from live.journal.records import KeptSession
from live.parity.case import check_words
from live.parts import kept
from live.place import Place, clock_at, keep_measured, prices_at
from quantcore.data.instruments import Instrument, load_instruments

PAPER_STATE = "paper.state"
"""File of a paper account, beside its journal."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A connection, before it is known what is traded.

    Parameters
    ----------
    now_us : callable
        The exchange's time.
    secrets : tuple of str
        What no text may hold.
    clock_off_ms : float or None
        What is added to this machine's clock to have the exchange's; None where that has a time of its own.
    broker : BinanceBroker or None
        None of paper, which is asked for by `account`.
    """

    now_us: Callable[[], int]
    secrets: tuple[str, ...] = field(repr=False)
    clock_off_ms: float | None
    broker: BinanceBroker | None


@contextlib.asynccontextmanager
async def reached(asked: Asked, place: Place) -> AsyncIterator[Reached]:
    """Connect to the exchange of a session, and leave it in the end."""
    if asked.settings.mode == "paper":
        clock = await clock_at(place)
        off_ms = clock.wall_offset_ms() if place.is_real else None
        async with beside(keep_measured(clock, place)):
            yield Reached(now_us=clock.now_us, secrets=(), clock_off_ms=off_ms, broker=None)
        return
    broker = BinanceBroker(place.broker)
    await broker.start()
    try:
        hidden = place.broker.find_credentials()
        yield Reached(
            now_us=broker.now_us,
            secrets=(hidden.api_key, hidden.api_secret),
            clock_off_ms=broker.clock.wall_offset_ms() if place.is_real else None,
            broker=broker,
        )
    finally:
        await broker.close()


async def account(
    asked: Asked, place: Place, there: Reached, symbols: tuple[str, ...], before: KeptSession | None
) -> tuple[Broker, tuple[Instrument, ...]]:
    """Return the account of a session, and the rules by which it trades.

    Parameters
    ----------
    before : KeptSession or None
        The session before, whose rules an account of paper keeps.

    Raises
    ------
    ConfigError
        If an account of paper cannot go on, or cannot do what the settings ask for.
    VenueError
        If the exchange does not answer.
    """
    if there.broker is not None:
        return there.broker, await there.broker.instruments(symbols)
    parts = asked.parts
    check_words(
        parts.execution_interval,
        parts.account,
        parts.execution,
        where="conf=paper",
    )
    rules = () if before is None else kept(before).instruments
    rules = rules or load_instruments(symbols, prices=await prices_at(place))
    path = asked.settings.folder / PAPER_STATE
    broker = PaperBroker(
        PaperSettings.of(replace(parts.account, cash_flows=()), parts.execution),
        rules,
        interval=parts.execution_interval,
        path=None if asked.flight.dry_run and not path.exists() else path,
        now_us=there.now_us,
    )
    await broker.start()
    return broker, await broker.instruments(symbols)


@contextlib.asynccontextmanager
async def beside(
    work: Coroutine[Any, Any, None], failed: Callable[[BaseException], None] | None = None
) -> AsyncIterator[None]:
    """Let something go on beside the body, and end it with it; `failed` is told of an error of it."""
    task = asyncio.create_task(work)

    def done(ended: asyncio.Task[None]) -> None:
        error = None if ended.cancelled() else ended.exception()
        if error is not None and failed is not None:
            failed(error)

    task.add_done_callback(done)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
