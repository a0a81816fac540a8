"""How the loop does, looked at once a second for those who watch, and kept in the journal from time to time."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from live.driver import Driver
from live.journal.records import Pulse
from quantcore.errors import JournalError

LOOK_S = 1.0
"""Between two looks, on the wall."""
KEEP_EVERY = 15
"""Looks between two that the journal keeps."""
_MB = 1e-6


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a pulse is taken of.

    Parameters
    ----------
    driver : Driver
        The loop, with its feed and journal.
    folder : Path
        Beside the journal.
    clock_off_ms : callable
        What is added to this machine's clock to have the exchange's; NaN where the exchange has a time of its own.
    copy_behind : callable
        Steps that the journal's copy lacks; None where there is none.
    """

    driver: Driver
    folder: Path
    clock_off_ms: Callable[[], float] = field(default=lambda: math.nan)
    copy_behind: Callable[[], int | None] = field(default=lambda: None)


def pulse_of(watched: Watched) -> Pulse:
    """Take a pulse."""
    driver = watched.driver
    health = driver.feed.health()
    ages = health.ages_s
    return Pulse(
        ts_us=driver.broker.now_us(),
        sockets=health.sockets,
        connected=health.connected,
        book_age_s=ages.get("book", math.nan),
        mark_age_s=ages.get("mark", math.nan),
        kline_age_s=ages.get("kline", math.nan),
        used_weight=health.used_weight,
        clock_off_ms=watched.clock_off_ms(),
        requests=health.rest_requests,
        failures=health.counts.get("rest_failures", 0),
        doubtful=len(driver.sender.doubtful),
        halted=len(driver.loop.halted),
        stopped=next(iter(driver.stopped.values()), None),
        memory_mb=_memory_mb(),
        disk_free_mb=_disk_free_mb(watched.folder),
        copy_behind=watched.copy_behind(),
        counts=health.counts,
    )


async def keep(watched: Watched, tell: Callable[[Pulse], None]) -> None:
    """Look for ever; `tell` is told of every look, the journal of the first and each `KEEP_EVERY`-th after it.

    A journal that takes no pulse would take no step either: the run ends with its error.
    """
    looks, kept = 0, ""
    while True:
        pulse = pulse_of(watched)
        tell(pulse)
        if looks % KEEP_EVERY == 0 or (pulse.stopped or "") != kept:
            kept = pulse.stopped or ""
            try:
                watched.driver.journal.pulse(pulse)
            except JournalError as error:
                watched.driver.failed(error)
        looks += 1
        await asyncio.sleep(LOOK_S)


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
