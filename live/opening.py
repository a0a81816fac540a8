"""What a session is opened on: its exchange, symbols and prices, and the checks before it trades."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import numpy as np

from live.accounts import Reached, reached
from live.asked import Asked
from live.broker.interface import Broker
from live.feed.assembler import AssemblerSettings
from live.feed.feed import Feed, opened
from live.feed.line import StreamSettings
from live.feed.market_rest import MarketRestSettings
from live.feed.rows import RowForm
from live.guard.checks import Check, failed, refuse
from live.guard.portfolio import check_portfolio
from live.guard.preflight import Flight, at_the_exchange, on_the_ground
from live.place import Place, find_place, symbols_at
from live.status import Status
from quantcore.data.instruments import Instrument
from quantcore.errors import QuantcoreError
from quantcore.frames import Bars


@contextlib.asynccontextmanager
async def connected(
    asked: Asked, status: Status
) -> AsyncIterator[tuple[Place, Reached, tuple[str, ...]]]:
    """Connect to the exchange of a session, once its address is known to be the mode's.

    Yields
    ------
    tuple
        Where it is, the connection, and the symbols that are traded.
    """
    settings = asked.settings
    place = await find_place(settings)
    refuse(settings.mode, on_the_ground(_at(asked.flight, place)))
    async with reached(asked, place) as there:
        wanted = asked.cfg.data.symbols
        names = None if wanted is None else list(wanted)
        symbols = await symbols_at(place, names, settings.symbols_max)
        what = "takes prices from" if settings.mode == "paper" else "trades on"
        status.say(f"conf={settings.mode} {what} {place.words}.")
        yield place, there, symbols


async def checked(
    asked: Asked,
    place: Place,
    there: Reached,
    broker: Broker,
    instruments: Sequence[Instrument],
    *,
    fresh: bool,
) -> list[Check]:
    """Make all checks of the pre-flight, and set what can be set if they hold.

    Parameters
    ----------
    asked, place, there
        The session, and its connection.
    broker : Broker
        Its account.
    instruments : sequence of Instrument
        By which it trades.
    fresh : bool
        Whether the journal begins with this start.
    """
    symbols = tuple(instrument.symbol for instrument in instruments)
    flight = _at(asked.flight, place)
    flight = replace(flight, wanted=replace(flight.wanted, symbols=symbols), fresh=fresh)
    return await at_the_exchange(
        flight,
        broker,
        instruments,
        clock_off_ms=there.clock_off_ms,
        earlier=on_the_ground(flight),
        further=[await _portfolio(asked, place, there, broker, instruments)],
    )


async def decision_bars(
    asked: Asked, place: Place, there: Reached, symbols: tuple[str, ...], span_us: tuple[int, int]
) -> Bars:
    """Return the decision bars between two closes."""
    there_by_rest = feed_of(asked, place, there.now_us, symbols, interval=asked.parts.interval)
    async with there_by_rest as feed:
        return await feed.backfill(*span_us)


@contextlib.asynccontextmanager
async def feed_of(
    asked: Asked,
    place: Place,
    now_us: Callable[[], int],
    symbols: tuple[str, ...],
    *,
    interval: str | None = None,
) -> AsyncIterator[Feed]:
    """Give the feed of a session, not started yet; of another interval than the execution bars' by REST alone."""
    form = RowForm(symbols=symbols, interval=interval or asked.parts.execution_interval)
    speed = place.broker.clock_speed
    assembler = AssemblerSettings(form=form, **asked.settings.feed.at_speed(speed))
    streams = StreamSettings(
        base_url=place.broker.stream_url,
        book_stale_s=max(60.0, 10.0 * speed),
        mark_stale_s=max(10.0, 5.0 * speed),
        kline_stale_s=max(30.0, 5.0 * speed),
    )
    rest = MarketRestSettings(base_url=place.broker.rest_url)
    rng = np.random.default_rng(secrets.randbits(64))
    kept = streams if interval is None else None
    async with opened(assembler, kept, rest, now_us=now_us, rng=rng) as feed:
        yield feed


async def _portfolio(
    asked: Asked, place: Place, there: Reached, broker: Broker, instruments: Sequence[Instrument]
) -> Check:
    symbols = tuple(instrument.symbol for instrument in instruments)

    async def backfill(first_us: int, last_us: int) -> Bars:
        return await decision_bars(asked, place, there, symbols, (first_us, last_us))

    try:
        wallet = float((await broker.account()).wallet)
    except QuantcoreError as error:
        return failed("feasibility", str(error))
    return await check_portfolio(
        asked.settings.mode,
        asked.parts,
        instruments,
        backfill=backfill,
        now_us=there.now_us(),
        wallet=wallet,
        positions_min=int(asked.cfg.positions_min),
    )


def _at(flight: Flight, place: Place) -> Flight:
    """Return a start with the addresses that are really talked to."""
    return replace(
        flight,
        rest_url=place.broker.rest_url,
        stream_url=place.broker.stream_url,
        permissions_url=place.broker.permissions_url,
    )
