"""One session of the loop: everything is opened here, and left in order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from live.broker.binance import BinanceBroker
from live.comparison import Comparison
from live.driver import Driver, DriverSettings
from live.feed.assembler import AssemblerSettings
from live.feed.feed import Feed, opened
from live.feed.line import StreamSettings
from live.feed.market_rest import MarketRestSettings
from live.feed.rows import RowForm
from live.heartbeat import beat
from live.journal.database import sqlite_path
from live.journal.journal import Journal, open_journal
from live.journal.records import Session
from live.loop import Due
from live.parts import Parts, session_text
from live.place import Place, find_place, symbols_at
from live.settings import LiveSettings
from live.start import apply_settings, begin, flatten
from live.status import Status
from quantcore.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PACKAGES = ("numba", "numpy", "python-binance", "quantcore", "sqlalchemy")
_SECOND_US = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a session is to be."""

    cfg: DictConfig
    settings: LiveSettings
    parts: Parts


async def run_session(asked: Asked) -> None:
    """Trade until a signal says stop.

    Raises
    ------
    QuantcoreError
        If something that is needed is not there: one line.
    """
    stop, status = asyncio.Event(), Status(sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    async with contextlib.AsyncExitStack() as stack:
        opening = asyncio.create_task(stack.enter_async_context(begun(asked, status)))
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            status.say("Ended before anything was traded.")
            return
        driver, due = opening.result()
        await driver.run(stop, due)
        driver.journal.end("told to stop", now_us=driver.broker.now_us())
        status.ended(driver)


@contextlib.asynccontextmanager
async def begun(asked: Asked, status: Status) -> AsyncIterator[tuple[Driver, tuple[Due, ...]]]:
    """Give the driver with its states, and the requests of earlier sessions without an answer."""
    settings, parts = asked.settings, asked.parts
    place = await find_place(settings)
    status.say(f"conf={settings.mode} trades on {place.words}.")
    async with contextlib.AsyncExitStack() as stack:
        broker = BinanceBroker(place.broker)
        await broker.start()
        stack.push_async_callback(broker.close)
        wanted = asked.cfg.data.symbols
        symbols = await symbols_at(
            place, None if wanted is None else list(wanted), settings.symbols_max
        )
        journal = stack.enter_context(_journal(settings, symbols, broker, status))
        feed = await stack.enter_async_context(_feed(asked, place, broker, symbols))
        instruments = await broker.instruments(symbols)
        await apply_settings(broker, symbols, parts)
        before = journal.recover().session
        if (
            before is None and place.started
        ):  # what a simulator of ours holds from before belongs to no journal
            await flatten(broker, _prefix())
        session = Session(
            mode=settings.mode,
            account=settings.account,
            prefix=_prefix() if before is None else before.session.prefix,
            symbols=symbols,
            config_yaml=session_text(asked.cfg, instruments),
            versions={name: version(name) for name in _PACKAGES},
        )
        found = await begin(parts, session, instruments, broker=broker, journal=journal, feed=feed)
        speed = place.broker.clock_speed
        pace = DriverSettings(
            tick_s=settings.tick_s,
            reconcile_s=settings.reconcile_s,
            grace_s=settings.grace_s,
            late_us=int(2.0 * settings.feed.deadline_s * speed * _SECOND_US),
        )
        unheard_us = int(2.0 * settings.reconcile_s * speed * _SECOND_US)
        comparison = Comparison(equal_us=found.equal_us - unheard_us, first_us=found.first_us)
        driver = Driver(found.loop, feed, pace, status, comparison)
        driver.last_row = found.last_row
        status.begun(journal.place, driver, resumed=before is not None)
        closes = found.last_row.array("close")[-1].tolist()
        after_us = int(found.last_row.ts_us[-1])
        await feed.start(after_us, dict(zip(symbols, closes, strict=True)))
        beating = asyncio.create_task(beat(journal, broker, feed))
        stack.callback(beating.cancel)
        yield driver, found.open_requests


@contextlib.contextmanager
def _journal(
    settings: LiveSettings, symbols: tuple[str, ...], broker: BinanceBroker, status: Status
) -> Iterator[Journal]:
    """Give the mode's journal; that of a simulated exchange which is gone is moved aside."""
    path = sqlite_path(settings.journal)
    journal = _opened(settings, broker)
    try:
        why = stranger(journal, symbols, broker.now_us())
        if why and (settings.mode != "sim" or path is None):
            raise ConfigError(f"the journal must be of this exchange and its symbols: {why}")
        if why and path is not None:
            journal.close()
            aside = move_aside(path, datetime.now(UTC))
            status.say(
                f"The journal is of another exchange, {why}: it is kept as {aside}, and a new one begins."
            )
            journal = _opened(settings, broker)
        yield journal
    finally:
        journal.close()


def _opened(settings: LiveSettings, broker: BinanceBroker) -> Journal:
    hidden = broker.settings.find_credentials()
    return open_journal(
        settings.journal,
        secrets=(hidden.api_key, hidden.api_secret),
        synchronous=settings.synchronous,
    )


def stranger(journal: Journal, symbols: tuple[str, ...], now_us: int) -> str:
    """Return why a journal cannot be of an exchange with these symbols and this time, empty if it can."""
    recovery = journal.recover()
    if recovery.session is None:
        return ""
    held = recovery.session.session.symbols
    if held != symbols:
        return f"whose symbols were {', '.join(held)}"
    last_us = recovery.session.started_us
    if recovery.steps:
        last_us = max(last_us, recovery.steps[-1].ts_us)
    if last_us > now_us:
        return f"which was {(last_us - now_us) / _SECOND_US:,.0f} s further"
    return ""


def move_aside(path: Path, now: datetime) -> Path:
    """Rename a closed journal of SQLite with all its files, and return its new name."""
    aside = path.with_name(f"{path.stem}-{now:%Y%m%dT%H%M%S%f}{path.suffix}")
    for beside in ("", "-wal", "-shm"):
        file = path.with_name(path.name + beside)
        if file.exists():
            file.rename(aside.with_name(aside.name + beside))
    return aside


@contextlib.asynccontextmanager
async def _feed(
    asked: Asked, place: Place, broker: BinanceBroker, symbols: tuple[str, ...]
) -> AsyncIterator[Feed]:
    form = RowForm(symbols=symbols, interval=asked.parts.execution_interval)
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
    async with opened(assembler, streams, rest, now_us=broker.now_us, rng=rng) as feed:
        yield feed


def _prefix() -> str:
    """Return the beginning of this journal's client ids, which no other journal of the account has."""
    return f"q{secrets.token_hex(5)}"
