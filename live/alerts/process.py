"""The process: looks at the journal, tells people, takes their commands, and says that it lives."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import aiohttp

from live.alerts.alert import Alert, Severity
from live.alerts.channels import Send, apprise_channel, secret_of
from live.alerts.commands import Commander, Deeds, serve
from live.alerts.courier import Courier
from live.alerts.hands import Hands
from live.alerts.news import Holding, News
from live.alerts.queue import Queue
from live.alerts.reader import Reader
from live.alerts.report import daily_report
from live.alerts.settings import AlertSettings, HeartbeatSettings
from live.alerts.survey import Survey
from live.alerts.telegram import Telegram
from live.alerts.teller import Teller
from live.kill_switch import Level
from live.monitor.place import Place
from live.monitor.view import View
from quantcore.errors import ConfigError, JournalError, QuantcoreError

log = logging.getLogger(__name__)

STALL_S: Final = 5.0
"""After which a look that has not come back counts as failed."""
_CALL_S: Final = 10.0
_CALLS_FAILED: Final = 5
_END_S: Final = 25.0
_REOPEN_S: Final = 1.0
_SURVEY_S: Final = 1.0
_REPORT_S: Final = 5.0
_NEWS, _SURVEY = range(2)
_T = TypeVar("_T")


def now_us() -> int:
    """Return this machine's time, microseconds since 1970."""
    return time.time_ns() // 1000


class Process:
    """One run's alerts.

    Parameters
    ----------
    place : Place
        Of a journal.
    settings : AlertSettings
        What is done.
    queue : Queue
        Owned.
    run : str
        How the account is called in messages.
    runs : str
        Folder into which the day's report is written.

    Raises
    ------
    QuantcoreError
        If the journal does not open, or a channel has no URL.
    """

    def __init__(
        self, place: Place, settings: AlertSettings, queue: Queue, run: str, runs: str
    ) -> None:
        if place.url is None:
            raise ConfigError(f"run must be a journal, was a finished run: {place.words}")
        self._settings = settings
        self._queue = queue
        self._sends = sends(settings)
        self._call_url = optional_secret(settings.heartbeat)
        chats = settings.commands.chats
        self._token = secret_of(settings.commands.token, "commands.token") if chats else ""
        self._place, self._runs = place, runs
        self._pools = [
            ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("news", "survey")
        ]
        news, survey = (pool.submit(View, place.url).result() for pool in self._pools)
        self._view = news  # a connection of SQLite is of one thread
        self._teller = Teller(queue, settings, run)
        disks = dict.fromkeys(
            path for path in (place.folder, queue.path.parent) if path is not None
        )
        self._reader = Reader(news, tuple(disks), self._teller.reader_memory)
        self._survey = Survey(survey, place.folder)
        self._holdings: Sequence[Holding] | None = (
            self._pools[_SURVEY].submit(self._survey.holdings).result()
        )
        self._couriers = [
            Courier(queue.outbox, name, send, settings.backoff, now_us)
            for name, send in self._sends.items()
        ]
        self._unreadable_us: int | None = None
        self._is_silent = False

    async def run(self, ends: asyncio.Event) -> None:
        """Work until told to end.

        Raises
        ------
        QuantcoreError
            If the queue fails: what was not told yet is told by the next process.
        """
        self._queue.outbox.move_to(tuple(self._sends))
        for name in self._sends:
            self._queue.outbox.retry_now(name, now_us=now_us())
        carrying = [asyncio.create_task(courier.run()) for courier in self._couriers]
        async with aiohttp.ClientSession() as session:
            tasks = [
                asyncio.create_task(work)
                for work in (self._look_on(), self._survey_on(), *self._others(session))
            ]
            ending = asyncio.create_task(ends.wait())
            try:
                await asyncio.wait({ending, *tasks, *carrying}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (ending, *tasks):
                    task.cancel()
                await asyncio.gather(*tasks, ending, return_exceptions=True)
                for courier in self._couriers:
                    courier.end()
                await asyncio.wait(carrying, timeout=_END_S)
                for pool in self._pools:
                    pool.shutdown(wait=False, cancel_futures=True)
        for task in (*tasks, *carrying):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _others(self, session: aiohttp.ClientSession) -> list[Coroutine[Any, Any, None]]:
        works: list[Coroutine[Any, Any, None]] = []
        if self._call_url:
            works.append(self._call(session, self._call_url))
        if self._token:
            bot = Telegram(session, self._settings.commands.base_url, self._token)
            commander = Commander(self._queue, self._deeds(), self._settings.commands, now_us)
            works.append(serve(bot, commander, now_us))
        if self._settings.daily_report is not None:
            works.append(self._report_on(self._settings.daily_report.overrides))
        return works

    async def _look_on(self) -> None:
        """Look at the journal for ever."""
        absent_us = now_us()
        while True:
            began_us = now_us()
            news = await self._news(absent_us, began_us)
            memory = self._reader.memory
            is_due = self._teller.take(news, memory)
            self._is_silent = self._teller.is_silent
            if is_due:
                self._wake()
            if not news.is_more and not news.unreadable:
                absent_us = began_us
            rest_s = self._settings.look_s - (now_us() - began_us) / 1e6
            await asyncio.sleep(0.0 if news.is_more else max(rest_s, 0.01))

    async def _survey_on(self) -> None:
        """Look at what is held for ever; a journal that cannot be read is told by the other look."""
        is_lost = False
        while True:
            await asyncio.sleep(_SURVEY_S)
            try:
                if is_lost:
                    await self._reading(self._survey.reopen)
                found = await self._reading(self._survey.holdings)
                self._holdings = self._holdings if found is None else found
                is_lost = False
            except QuantcoreError:
                is_lost = True

    async def _news(self, absent_us: int, began_us: int) -> News:
        look = functools.partial(self._look, absent_us=absent_us, seen_us=began_us)
        looking = asyncio.get_running_loop().run_in_executor(self._pools[_NEWS], look)
        try:
            while True:
                done, _ = await asyncio.wait({looking}, timeout=STALL_S)
                if done:
                    break
                self._teller.take(self._unreadable("it does not answer", now_us()), None)
            news = looking.result()
        except QuantcoreError as error:
            await asyncio.sleep(_REOPEN_S)
            return self._unreadable(str(error), now_us())
        self._unreadable_us = None
        holdings, self._holdings = self._holdings, None
        return dataclasses.replace(news, holdings=holdings)

    def _look(self, *, absent_us: int, seen_us: int) -> News:
        if self._unreadable_us is not None:
            self._view.reopen()
        return self._reader.look(absent_us=absent_us, seen_us=seen_us)

    def _unreadable(self, why: str, at_us: int) -> News:
        if self._unreadable_us is None:
            self._unreadable_us = at_us
            log.warning("the journal cannot be read: %s", why)
        return News(
            absent_us=at_us, seen_us=at_us, unreadable=why, unreadable_us=self._unreadable_us
        )

    async def _report_on(self, overrides: tuple[str, ...]) -> None:
        """Make each day's report when it is due."""
        while True:
            await asyncio.sleep(_REPORT_S)
            day = self._teller.report_due(now_us())
            if day is None:
                continue
            try:
                subject, body = await daily_report(self._place, self._runs, overrides)
            except JournalError as error:
                subject, body = f"{self._teller.run}: no report of {day}", str(error)
            self._teller.add_report(day, subject, body, now_us())
            self._wake()

    def _wake(self) -> None:
        for courier in self._couriers:
            courier.wake()

    async def _call(self, session: aiohttp.ClientSession, url: str) -> None:
        """Call the heartbeat's URL for ever, but only while the journal is read and the loop is heard."""
        failures = 0
        while True:
            if self._unreadable_us is None and not self._is_silent:
                failure = await called(session, url)
                failures = failures + 1 if failure else 0
                if failures == 1:
                    log.warning("the heartbeat's URL %s", failure)
                if failures == _CALLS_FAILED:
                    self._teller.say(_uncalled(failure, failures), now_us())
            await asyncio.sleep(self._settings.heartbeat.every_s)

    def _deeds(self) -> Deeds:
        hands = Hands(self._survey.now, self._place.folder)

        def ask(level: Level) -> Coroutine[Any, Any, str]:
            return self._reading(functools.partial(hands.warning, level))

        async def pull(level: Level, by: str) -> str:
            return await asyncio.to_thread(hands.pull, level, by)  # even where the journal hangs

        return Deeds(
            status=lambda: self._reading(hands.status),
            positions=lambda: self._reading(hands.positions),
            warning=ask,
            pull=pull,
        )

    async def _reading(self, work: Callable[[], _T]) -> _T:
        """Return what the survey's own thread finds out.

        Raises
        ------
        JournalError
            If it does not come back in time.
        """
        looking = asyncio.get_running_loop().run_in_executor(self._pools[_SURVEY], work)
        try:
            async with asyncio.timeout(STALL_S):
                return await asyncio.shield(looking)
        except TimeoutError as error:
            raise JournalError("the journal does not answer") from error


def sends(settings: AlertSettings) -> dict[str, Send]:
    """Return what sends over each channel.

    Raises
    ------
    ConfigError
        If one has no URL.
    """
    return {name: apprise_channel(name, channel.url) for name, channel in settings.channels.items()}


def optional_secret(settings: HeartbeatSettings) -> str:
    """Return the heartbeat's URL, empty if its variable is not set."""
    return os.environ.get(settings.url, "").strip()


async def called(session: aiohttp.ClientSession, url: str) -> str:
    """Call a URL, and return why that failed, without the URL; empty if it did not."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=_CALL_S)) as answer:
            return "" if answer.status < 400 else f"answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return f"cannot be reached ({type(error).__name__})"


async def run_until_signal(process: Process) -> None:
    """Work until SIGINT or SIGTERM; a second one ends at once."""
    ends, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        ends.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    await process.run(ends)


def _uncalled(failure: str, times: int) -> Alert:
    return Alert(
        rule="heartbeat_url",
        severity=Severity.WARNING,
        title=f"The heartbeat's URL {failure}, {times} times in a row",
        text="Whoever waits for it will think that alerts are dead.",
        advice="Look at the URL and the network.",
        key="url",
    )
