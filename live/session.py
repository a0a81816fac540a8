"""One session of the loop from its first connection to its last: everything is opened here, and left in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from live.broker.binance import BinanceBroker
from live.broker.settings import BrokerSettings, Credentials
from live.driver import Driver, DriverSettings
from live.feed.assembler import AssemblerSettings
from live.feed.feed import Feed, opened
from live.feed.line import StreamSettings
from live.feed.market_rest import MarketRestSettings
from live.feed.rows import RowForm
from live.journal.database import sqlite_path
from live.journal.journal import Journal, open_journal
from live.journal.records import Session
from live.parts import Parts, session_text
from live.settings import LiveSettings
from live.simulator_process import attach
from live.start import apply_settings, begin, resolve
from live.status import Status
from quantcore.errors import ConfigError, VenueError

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

_PACKAGES = ("numba", "numpy", "python-binance", "quantcore", "sqlalchemy")
_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the exchange is.

    Parameters
    ----------
    broker : BrokerSettings
        How its account is reached.
    words : str
        For people.
    """

    broker: BrokerSettings
    words: str


async def run_session(cfg: DictConfig, settings: LiveSettings, parts: Parts) -> None:
    """Trade until a signal says stop.

    Raises
    ------
    QuantcoreError
        If something that is needed is not there: one line.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    status = Status(sys.stderr)
    place = await _place(settings, status)
    broker = BinanceBroker(place.broker)
    await broker.start()
    try:
        symbols = await _symbols(cfg, settings, place)
        with contextlib.closing(_journal(settings, symbols, broker, status)) as journal:
            async with _feed(settings, parts, place, broker, symbols) as feed:
                driver = await _begun(cfg, settings, parts, broker, journal, feed, symbols, status)
                await driver.run(stop)
                journal.end("told to stop", now_us=broker.now_us())
                status.ended(driver)
    finally:
        await broker.close()


async def _begun(
    cfg: DictConfig,
    settings: LiveSettings,
    parts: Parts,
    broker: BinanceBroker,
    journal: Journal,
    feed: Feed,
    symbols: tuple[str, ...],
    status: Status,
) -> Driver:
    """Return the driver with its states, everything of an earlier run resolved and compared."""
    instruments = await broker.instruments(symbols)
    await apply_settings(broker, symbols, parts)
    before = journal.recover().session
    session = Session(
        mode=settings.mode,
        account=settings.account,
        prefix=_prefix() if before is None else before.session.prefix,
        symbols=symbols,
        config_yaml=session_text(cfg, instruments),
        versions={name: version(name) for name in _PACKAGES},
    )
    begun = await begin(parts, session, instruments, broker=broker, journal=journal, feed=feed)
    begun.loop.ledger.warm()
    driver = Driver(
        begun.loop,
        feed,
        DriverSettings(
            tick_s=settings.tick_s, reconcile_s=settings.reconcile_s, grace_s=settings.grace_s
        ),
        lambda close_us, decided: status.decision(close_us, decided, driver),
    )
    driver.last_row, driver.counted_us = begun.last_row, begun.counted_us
    status.begun(settings.mode, journal.place, driver, resumed=before is not None)
    row = begun.last_row
    closes = {} if row is None else dict(zip(symbols, row.array("close")[-1].tolist(), strict=True))
    await feed.start(begun.after_us, closes)
    resolve(driver, begun.recovery)
    await driver.sender.settled()
    await driver.reconcile()
    return driver


async def _place(settings: LiveSettings, status: Status) -> Place:
    """Return where the exchange is; a simulator is found, or started."""
    common = {
        "permissions_url": settings.permissions_url,
        "recv_window_ms": settings.recv_window_ms,
        "api_key": settings.api_key,
        "api_secret": settings.api_secret,
    }
    if settings.simulator is None:
        if settings.rest_url is None or settings.stream_url is None:
            raise ConfigError("conf.rest_url and conf.stream_url must be given, were not")
        exchange = BrokerSettings(
            rest_url=settings.rest_url, stream_url=settings.stream_url, **common
        )
        return Place(broker=exchange, words=settings.rest_url)
    found, started = await attach(settings.simulator)
    clock = await _clock_of(found.control)
    words = f"the simulator at {found.rest}, {clock}"
    status.say(f"{'Started' if started else 'Found'} {words}; watch it at {found.control}")
    exchange = BrokerSettings(
        rest_url=found.rest,
        stream_url=found.ws,
        credentials=Credentials(found.api_key, found.api_secret),
        clock_speed=speed_of(clock),
        clock_off_max_ms=None,
        **common,
    )
    return Place(broker=exchange, words=words)


def speed_of(clock: str) -> float:
    """Return how fast a simulator's clock runs, from its words.

    Raises
    ------
    ConfigError
        If somebody moves it by hand.

    Examples
    --------
    >>> speed_of("20 × real time"), speed_of("real time")
    (20.0, 1.0)
    """
    found = re.fullmatch(r"(?:(\S+) × )?real time", clock)
    if found is None:
        raise ConfigError(f"the simulator's clock must run, was {clock}")
    return float(found.group(1) or 1.0)


async def _clock_of(control: str) -> str:
    return str((await _get(f"{control}/time"))["clock"])


async def _get(url: str) -> dict[str, Any]:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.get(url) as answer,
        ):
            told: dict[str, Any] = await answer.json()
            return told
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise VenueError(f"{url} must answer, did not ({type(error).__name__})") from None


async def _symbols(cfg: DictConfig, settings: LiveSettings, place: Place) -> tuple[str, ...]:
    """Return what is traded: the data's own symbols, else the first that the exchange lists."""
    info = await _get(f"{place.broker.rest_url}/fapi/v1/exchangeInfo")
    listed = [
        str(each["symbol"])
        for each in info["symbols"]
        if each["status"] == "TRADING"
        and each.get("quoteAsset") == "USDT"
        and each.get("contractType") == "PERPETUAL"
    ]
    wanted = cfg.data.symbols
    if wanted is None:
        return tuple(sorted(listed[: settings.symbols_max]))
    missing = [symbol for symbol in wanted if symbol not in listed]
    if missing:
        raise ConfigError(
            f"data.symbols must trade at {place.words}, {', '.join(missing[:3])} does not"
        )
    return tuple(sorted(wanted))


def _journal(
    settings: LiveSettings, symbols: tuple[str, ...], broker: BinanceBroker, status: Status
) -> Journal:
    """Open the journal; that of a simulated exchange which is gone is moved aside."""
    hidden = broker.settings.find_credentials()
    secret = (hidden.api_key, hidden.api_secret)
    path = sqlite_path(settings.journal)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    journal = open_journal(settings.journal, secrets=secret, synchronous=settings.synchronous)
    why = _stranger(journal, symbols, broker.now_us())
    if not why:
        return journal
    journal.close()
    if settings.mode != "sim" or path is None:
        raise ConfigError(f"the journal must be of this exchange and its symbols: {why}")
    aside = path.with_name(f"{path.stem}-{time.strftime('%Y%m%dT%H%M%S')}{path.suffix}")
    for beside in ("", "-wal", "-shm"):
        file = path.with_name(path.name + beside)
        if file.exists():
            file.rename(aside.with_name(aside.name + beside))
    status.say(f"The journal is of another exchange ({why}): moved to {aside}, a new one begins.")
    return open_journal(settings.journal, secrets=secret, synchronous=settings.synchronous)


def _stranger(journal: Journal, symbols: tuple[str, ...], now_us: int) -> str:
    """Return why a journal is not of the exchange that was found, empty if it may be."""
    recovery = journal.recover()
    if recovery.session is None:
        return ""
    held = recovery.session.session.symbols
    if held != symbols:
        return f"its symbols were {', '.join(held)}"
    last_us = recovery.steps[-1].ts_us if recovery.steps else recovery.session.started_us
    if last_us > now_us:
        return f"its last step is {(last_us - now_us) / 1e6:.0f} s ahead of the exchange"
    return ""


@contextlib.asynccontextmanager
async def _feed(
    settings: LiveSettings,
    parts: Parts,
    place: Place,
    broker: BinanceBroker,
    symbols: tuple[str, ...],
) -> AsyncIterator[Feed]:
    form = RowForm(symbols=symbols, interval=parts.execution_interval)
    assembler = AssemblerSettings(form=form, **vars(settings.feed))
    streams = StreamSettings(base_url=place.broker.stream_url)
    rest = MarketRestSettings(base_url=place.broker.rest_url)
    rng = np.random.default_rng(secrets.randbits(64))
    async with opened(assembler, streams, rest, now_us=broker.now_us, rng=rng) as feed:
        yield feed


def _prefix() -> str:
    """Return the beginning of this journal's client ids, which no other journal of the account has."""
    return f"q{secrets.token_hex(5)}"
