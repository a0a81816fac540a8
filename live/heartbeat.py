"""The loop's heartbeat: how it does, written into the journal again and again, for those who look on."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from live.broker.interface import Broker
from live.clock import monotonic_us
from live.feed.feed import Health as FeedHealth
from live.journal.journal import Journal
from live.journal.records import Health
from live.status import AnyDriver
from quantcore.errors import JournalError

log = logging.getLogger(__name__)

BEAT_S: Final = 15.0
"""Seconds on the wall between two."""
_MB = 1e-6


class Feed(Protocol):
    """What is asked of a feed."""

    def health(self) -> FeedHealth:
        """Return how it does."""
        ...


@dataclass(frozen=True, kw_only=True)
class Heart:
    """What a heartbeat tells of.

    Parameters
    ----------
    broker, feed, driver
        Asked how they do.
    folder : Path or None
        Beside the journal, whose disk has free space; None of a journal elsewhere.
    copy_behind : callable
        Steps that the journal's copy lacks; None where there is none.
    """

    broker: Broker
    feed: Feed
    driver: AnyDriver
    folder: Path | None = None
    copy_behind: Callable[[], int | None] = field(default=lambda: None)


async def beat(journal: Journal, heart: Heart, *, every_s: float = BEAT_S) -> None:
    """Write how the loop does for ever; where the journal does not take it, that is logged and tried again.

    Parameters
    ----------
    journal : Journal
        With a session begun.
    heart : Heart
        What is told.
    every_s : float
        Seconds on the wall.
    """
    every_us = int(every_s * 1e6)
    due_us = monotonic_us()
    while True:
        late_us = max(monotonic_us() - due_us, 0)
        try:
            journal.health(health_of(heart, late_us=late_us, wall_us=time.time_ns() // 1000))
            await asyncio.to_thread(journal.checkpoint)  # else a commit has to, sooner or later
        except JournalError as error:
            log.warning("the heartbeat was not written: %s", error)
        due_us = monotonic_us() + every_us
        await asyncio.sleep(every_s)


def health_of(heart: Heart, *, late_us: int, wall_us: int) -> Health:
    """Return what a heartbeat says."""
    account, market, driver = heart.broker.health(), heart.feed.health(), heart.driver
    age = market.ages_s
    return Health(
        ts_us=heart.broker.now_us(),
        wall_us=wall_us,
        late_us=late_us,
        clock_off_ms=account.clock_off_ms,
        requests=account.requests + market.rest_requests,
        failures=account.failures + market.rest_failures,
        used_weight=market.used_weight,
        account_stream=account.account_stream,
        sockets=market.sockets,
        connected=market.connected,
        book_age_s=age.get("book", math.nan),
        mark_age_s=age.get("mark", math.nan),
        kline_age_s=age.get("kline", math.nan),
        doubtful=len(driver.doubtful),
        halted=len(driver.loop.halted),
        stopped=next(iter(driver.stopped.values()), None),
        memory_mb=_memory_mb(),
        disk_free_mb=math.nan if heart.folder is None else _disk_free_mb(heart.folder),
        copy_behind=heart.copy_behind(),
        counts=market.counts,
    )


def _memory_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):  # no Linux
        return math.nan
    return pages * os.sysconf("SC_PAGE_SIZE") * _MB


def _disk_free_mb(folder: Path) -> float:
    try:
        return shutil.disk_usage(folder).free * _MB
    except OSError:
        return math.nan
