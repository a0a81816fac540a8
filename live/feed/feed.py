"""The feed: streams, REST and the assembler joined; rows and skipped decisions in order, and quotes between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import aiohttp
import numpy as np

from live.feed.assembler import STREAM, Ask, Assembler, AssemblerSettings
from live.feed.backfill import backfill
from live.feed.line import StreamSettings
from live.feed.market_rest import HttpMarketRest, MarketRest, MarketRestSettings
from live.feed.messages import Event, KlineEvent, MarkEvent
from live.feed.quotes import Quotes
from live.feed.rows import Row, RowForm, Skipped
from live.feed.streams import Streams
from quantcore.errors import QuantcoreError
from quantcore.frames import Bars

_TICK_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the feed does, for monitoring.

    Parameters
    ----------
    next_close_us : int
        Stamp of the row that is put together, -1 before the start.
    sockets, connected : int
        How many there should be, and how many bring something.
    ages_s : dict of kind to float
        Seconds since the newest event of the oldest stream of ``book``, ``mark`` and ``kline``; symbols that do not
        trade left out.
    stale_seconds : dict of kind to float
        Seconds of the exchange's clock for which streams were stale, summed over streams.
    counts : dict of str to int
        Since the start: ``rows``, ``skipped``, ``late_bars``, ``rest_repairs``, ``rest_failures``, ``conflicts``,
        ``doubts``, ``duplicates``, ``malformed``, ``connections``, ``replaced: …``, ``ended: …``, and others alike.
    rest_requests, rest_failures, used_weight : int
        Requests since the start, those of them that the exchange did not serve, and the weight of the running minute
        as the exchange counts it.
    """

    next_close_us: int
    sockets: int
    connected: int
    ages_s: dict[str, float]
    stale_seconds: dict[str, float]
    counts: dict[str, int]
    rest_requests: int
    rest_failures: int
    used_weight: int


class Feed:
    """Market data of a universe.

    Parameters
    ----------
    settings : AssemblerSettings
        What rows hold, and how long to wait for it.
    streams : StreamSettings or None
        How streams are kept; None in lock-step, where rows come by REST alone (`row_of`).
    rest : MarketRest
        Public market data on request.
    session : aiohttp.ClientSession
        Of its owner, for the streams.
    now_us : callable
        The exchange's time, microseconds since 1970.
    rng : numpy.random.Generator
        Of the jitter of reconnects.
    """

    def __init__(
        self,
        settings: AssemblerSettings,
        streams: StreamSettings | None,
        rest: MarketRest,
        session: aiohttp.ClientSession,
        *,
        now_us: Callable[[], int],
        rng: np.random.Generator,
    ) -> None:
        self.quotes = Quotes(settings.form.symbols)
        self._settings = settings
        self._form: RowForm = settings.form
        self._rest = rest
        self._now_us = now_us
        self._assembler: Assembler | None = None
        self._streams = None
        if streams is not None:
            self._streams = Streams(
                session, streams, settings.form, now_us=now_us, sink=self._take, rng=rng
            )
        self._told: deque[Row | Skipped] = deque()
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: tuple[asyncio.Task[None], ...] = ()
        self._broken: asyncio.Task[None] | None = None  # a request that failed as nobody expected

    async def start(self, after_us: int, closes: Mapping[str, float] | None = None) -> None:
        """Open the streams and put rows together from the one on that follows `after_us`.

        Parameters
        ----------
        after_us : int
            Close of the last row that is had already.
        closes : mapping of symbol to float, optional
            Closes of that row, NaN of symbols that did not trade.

        Raises
        ------
        ValueError
            In lock-step, or if it has been started.
        """
        if self._streams is None or self._running:
            raise ValueError("a feed must be started once, and not in lock-step")
        self._assembler = Assembler(self._settings, after_us, self._now_us(), closes or {})
        self._running = (
            asyncio.create_task(self._streams.run()),
            asyncio.create_task(self._drive(self._streams, self._assembler)),
        )
        for task in self._running:
            task.add_done_callback(lambda _: self._news.set())

    async def close(self) -> None:
        """End everything that it began."""
        tasks = [*self._running, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running = ()

    def trades(self, symbol: str, from_us: int, to_us: int) -> None:
        """Take notice that a symbol trades in ``[from_us, to_us)`` only, as the exchange's rules say."""
        if self._assembler is not None:
            self._assembler.trades(symbol, from_us, to_us)

    async def backfill(self, first_close_us: int, last_close_us: int) -> Bars:
        """Return the rows of a span that has closed, as `live.feed.backfill.backfill`."""
        return await backfill(self._rest, self._form, first_close_us, last_close_us)

    async def row_of(self, close_us: int) -> Row:
        """Return the row that has closed at a time, by REST alone: the loop's part in lock-step.

        Raises
        ------
        VenueError
            If the exchange refuses or does not answer.
        SchemaMismatch
            If a bar is impossible.
        """
        return Row(close_us=close_us, bars=await self.backfill(close_us, close_us))

    async def rows(self) -> AsyncIterator[Row | Skipped]:
        """Yield complete rows, each following the one before, and skipped decisions as they are given up, for ever."""
        while True:
            while self._told:
                yield self._told.popleft()
            for task in (*self._running, self._broken):
                if task is not None and task.done():
                    task.result()
            if not self._running:
                return
            self._news.clear()
            await self._news.wait()

    def health(self) -> Health:
        """Return how it does."""
        now_us = self._now_us()
        streams, assembler = self._streams, self._assembler
        lines = [] if streams is None else streams.lines
        dormant = frozenset() if assembler is None else assembler.dormant
        counts: dict[str, int] = {}
        for counter in (assembler, streams):
            counts |= {} if counter is None else counter.counts
        return Health(
            next_close_us=-1 if assembler is None else assembler.next_close_us,
            sockets=len(lines),
            connected=sum(line.connected for line in lines),
            ages_s={} if streams is None else streams.oldest(now_us, dormant),
            stale_seconds={} if streams is None else dict(streams.stale_seconds),
            counts=counts,
            rest_requests=self._rest.requests,
            rest_failures=self._rest.failures,
            used_weight=self._rest.used_weight,
        )

    def _take(self, event: Event) -> None:
        self.quotes.take(event)
        assembler = self._assembler
        if assembler is None:
            return
        if isinstance(event, KlineEvent):
            if event.closed:
                assembler.on_kline(event, self._now_us())
                self._wake.set()
        elif isinstance(event, MarkEvent):
            assembler.on_mark(event)
            if self._settings.marks == STREAM:
                self._wake.set()

    async def _drive(self, streams: Streams, assembler: Assembler) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            now_us = self._now_us()
            told = assembler.ready(now_us)
            if told:
                self._told += told
                self._news.set()
                streams.dormant = assembler.dormant
            for ask in assembler.asks(now_us):
                task = asyncio.create_task(self._fetch(assembler, ask))
                self._tasks.add(task)
                task.add_done_callback(self._fetched)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._broken = task
            self._news.set()

    async def _fetch(self, assembler: Assembler, ask: Ask) -> None:
        asked_us = self._now_us()
        end_us = ask.last_us + self._form.length_us
        try:
            if ask.kind == "funding":
                settled = await self._rest.funding(None, ask.first_us, end_us - 1)
                assembler.on_funding(ask, settled, asked_us, self._now_us())
            elif ask.kind == "open_interest":
                coins = await self._rest.open_interest(ask.symbol)
                assembler.on_interest(ask, coins, self._now_us())
            else:
                # One bar more than is missing: a later bar shows that one before it does not exist.
                found = await self._rest.klines(
                    ask.kind, ask.symbol, self._form.interval, ask.first_us, end_us
                )
                assembler.on_bars(ask, found, asked_us, self._now_us())
        except QuantcoreError as error:
            assembler.on_failure(ask, str(error), self._now_us())
        self._wake.set()


@contextlib.asynccontextmanager
async def opened(
    settings: AssemblerSettings,
    streams: StreamSettings | None,
    rest: MarketRestSettings,
    *,
    now_us: Callable[[], int],
    rng: np.random.Generator,
) -> AsyncIterator[Feed]:
    """Give a feed of one host over a session of its own, and leave nothing of it behind."""
    async with aiohttp.ClientSession() as session:
        client = HttpMarketRest(session, rest, now_us)
        feed = Feed(settings, streams, client, session, now_us=now_us, rng=rng)
        try:
            yield feed
        finally:
            await feed.close()
