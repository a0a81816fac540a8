"""One session of the loop: everything is opened here, and left in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from live.accounts import Reached, account, beside
from live.asked import Asked
from live.broker.interface import Broker
from live.broker.paper import PaperBroker
from live.comparison import Comparison
from live.driver import Driver, DriverSettings
from live.dry_run import dry_run
from live.feed.feed import Feed
from live.guard.checks import refuse
from live.guard.dead_man import EVERY_S, DeadMansSwitch, armed, is_armed_by
from live.guard.modes import MODES
from live.journal.database import sqlite_path
from live.journal.journal import Journal, open_journal
from live.journal.records import Session
from live.kill_switch import KillSwitch, Level
from live.loop import Due
from live.metrics import MeteredJournal, Metrics
from live.opening import checked, connected, feed_of
from live.paper import PaperDriver
from live.parts import session_text
from live.place import Place
from live.settings import LiveSettings
from live.start import Begun, begin, flatten
from live.status import Status
from live.watched import logged, served, watched
from quantcore.errors import ConfigError, QuantcoreError

T = TypeVar("T")

_PACKAGES = ("numba", "numpy", "python-binance", "quantcore", "sqlalchemy")
_SECOND_US = 1_000_000


async def run_session(asked: Asked, switch: KillSwitch) -> None:
    """Trade until a signal says stop, or say what would be done if that is asked for.

    Raises
    ------
    QuantcoreError
        If something that is needed is not there, or a check does not hold: one line.
    """
    status = Status(sys.stderr)
    switch.listen(asyncio.get_running_loop())
    if asked.flight.dry_run:
        await _unless(switch.ends, dry_run(asked, status, switch.level))
        return
    async with contextlib.AsyncExitStack() as stack:
        session = begun(asked, status, switch)
        opened = await _unless(switch.ends, stack.enter_async_context(session))
        if opened is None:
            status.say("Ended before anything was traded.")
            return
        driver, due = opened
        # What the start has loaded stays: the collector need not walk through it in the middle of a decision.
        gc.collect()
        gc.freeze()
        await driver.run(switch.ends, due)
        driver.journal.end("told to stop", now_us=driver.loop.broker.now_us())
        status.ended(driver)


async def _unless(ends: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what comes of some work, None if it is told to end before."""
    working, ending = asyncio.create_task(work), asyncio.create_task(ends.wait())
    await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return None
    return working.result()


@contextlib.asynccontextmanager
async def begun(
    asked: Asked, status: Status, switch: KillSwitch
) -> AsyncIterator[tuple[Driver | PaperDriver, tuple[Due, ...]]]:
    """Give the driver with its states, and the requests of earlier sessions without an answer."""
    settings, parts = asked.settings, asked.parts
    async with contextlib.AsyncExitStack() as stack:
        place, there, symbols = await stack.enter_async_context(connected(asked, status))
        stack.enter_context(logged(settings, there.secrets))
        metrics = Metrics()
        stack.enter_context(served(metrics, settings.metrics_port))
        journal = stack.enter_context(_journal(settings, symbols, there, status, metrics))
        before = journal.recover().session
        broker, instruments = await account(asked, place, there, symbols, before)
        feed = await stack.enter_async_context(feed_of(asked, place, there.now_us, symbols))
        checks = await checked(asked, place, there, broker, instruments, fresh=before is None)
        refuse(settings.mode, checks)
        status.checked(checks, whole=MODES[settings.mode].real_money)
        if before is None and place.started:
            # What a simulator of ours holds from before belongs to no journal.
            await flatten(broker, _prefix())
        session = Session(
            mode=settings.mode,
            account=settings.account,
            prefix=_prefix() if before is None else before.session.prefix,
            symbols=symbols,
            config_yaml=session_text(asked.cfg, instruments),
            versions={name: version(name) for name in _PACKAGES},
        )
        speed = place.broker.clock_speed
        found = await begin(
            parts, session, instruments, broker=broker, journal=journal, feed=feed, speed=speed
        )
        driver = _driver(asked, place, found, broker, feed, status)
        if isinstance(driver, PaperDriver):
            driver.check(fresh=before is None)
        status.begun(journal.place, driver, resumed=before is not None)
        await stack.enter_async_context(_pulled(switch, driver, status))
        if is_armed_by(settings.mode, wanted=asked.flight.dead_man):
            pause_s = EVERY_S / speed
            await stack.enter_async_context(armed(DeadMansSwitch(broker, symbols), pause_s))
        closes = found.last_row.array("close")[-1].tolist()
        after_us = int(found.last_row.ts_us[-1])
        await feed.start(after_us, dict(zip(symbols, closes, strict=True)))
        await stack.enter_async_context(watched(settings, driver, broker, feed))
        yield driver, found.open_requests


@contextlib.asynccontextmanager
async def _pulled(
    switch: KillSwitch, driver: Driver | PaperDriver, status: Status
) -> AsyncIterator[None]:
    """Let the kill switch stop a driver, and watch its files."""

    def stand(level: Level) -> None:
        status.stands(level, switch)
        try:
            driver.stand(level, switch.why)
        except QuantcoreError as error:
            driver.failed(error)

    switch.report_to(stand)
    async with beside(switch.watch(), driver.failed):
        yield


def _driver(
    asked: Asked, place: Place, found: Begun, broker: Broker, feed: Feed, status: Status
) -> Driver | PaperDriver:
    if isinstance(broker, PaperBroker):
        return PaperDriver(found.loop, broker, feed, status)
    settings, speed = asked.settings, place.broker.clock_speed
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
    return driver


@contextlib.contextmanager
def _journal(
    settings: LiveSettings,
    symbols: tuple[str, ...],
    there: Reached,
    status: Status,
    metrics: Metrics,
) -> Iterator[Journal]:
    """Give the mode's journal; that of a simulated exchange which is gone is moved aside."""
    path = sqlite_path(settings.journal)
    journal = _opened(settings, there, metrics)
    try:
        why = stranger(journal, symbols, there.now_us())
        if why and (settings.mode != "sim" or path is None):
            raise ConfigError(f"the journal must be of this exchange and its symbols: {why}")
        if why and path is not None:
            journal.close()
            aside = move_aside(path, datetime.now(UTC))
            status.say(
                f"The journal is of another exchange, {why}: it is kept as {aside}, and a new one begins."
            )
            journal = _opened(settings, there, metrics)
        yield journal
    finally:
        journal.close()


def _opened(settings: LiveSettings, there: Reached, metrics: Metrics) -> Journal:
    return open_journal(
        settings.journal,
        secrets=there.secrets,
        synchronous=settings.synchronous,
        make=lambda database, redact: MeteredJournal(database, redact, metrics),
    )


def stranger(journal: Journal, symbols: tuple[str, ...], now_us: int) -> str:
    """Return why a journal cannot be of an exchange with these symbols and this time, empty if it can."""
    recovery = journal.recover()
    if recovery.session is None:
        return ""
    held = recovery.session.session.symbols
    if not set(held) & set(symbols):
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
    for ending in ("", "-wal", "-shm"):
        file = path.with_name(path.name + ending)
        if file.exists():
            file.rename(aside.with_name(aside.name + ending))
    return aside


def _prefix() -> str:
    """Return the beginning of this journal's client ids, which no other journal of the account has."""
    return f"q{secrets.token_hex(5)}"
