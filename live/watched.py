"""What stands beside a session for those who look on: the heartbeat, the metrics, the log and the journal's copy.

None of it is waited for, and none of it may end the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from live.accounts import beside
from live.broker.interface import Broker
from live.driver import Driver
from live.feed.feed import Feed
from live.heartbeat import Heart, beat
from live.journal.codec import Redactor
from live.journal.mirror import Carried, Mirror
from live.journal.records import Note, NoteKind
from live.logs import Words, log_into
from live.metrics import Endpoint, Metrics
from live.paper import PaperDriver
from live.settings import LiveSettings

log = logging.getLogger(__name__)

_COPY = "copy"
_COPY_S = 0.5
"""Between two rounds of the copy, on the wall."""


@dataclass(kw_only=True)
class Copy:
    """How the journal's copy stands, and what follows from it.

    Parameters
    ----------
    driver : Driver or PaperDriver
        Stopped from opening while the copy lacks too much.
    most : int
        Steps that it may lack.
    place : str
        Of the copy, for people.
    """

    driver: Driver | PaperDriver
    most: int
    place: str
    behind: int = 0
    _trouble: str = field(default="", repr=False)

    def take(self, carried: Carried) -> None:
        """Take notice of a round."""
        self.behind = carried.behind
        if bool(carried.trouble) != bool(self._trouble):
            told = carried.trouble or f"{self.place} has caught up"
            log.warning("the journal's copy: %s", told)
            now_us = self.driver.loop.broker.now_us()
            note = Note(ts_us=now_us, kind=NoteKind.ERROR, source=_COPY, message=told)
            self.driver.journal.note(note)
        self._trouble = carried.trouble
        if carried.behind > self.most:
            rule = f"the journal's copy must lack at most {self.most:,} steps, lacks more"
            self.driver.stopped[_COPY] = rule
        else:
            self.driver.stopped.pop(_COPY, None)


@contextlib.contextmanager
def logged(settings: LiveSettings, secrets: Sequence[str]) -> Iterator[None]:
    """Keep a log beside the journal, and secrets out of what a person is shown."""
    redact = Redactor(secrets)
    for shown in logging.getLogger().handlers:
        shown.setFormatter(Words(redact))
    handler = log_into(settings.folder, redact)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def served(metrics: Metrics, port: int | None) -> Iterator[int | None]:
    """Serve the metrics where a port is named, and give it."""
    if port is None:
        yield None
        return
    with contextlib.closing(Endpoint(metrics, port)) as endpoint:
        yield endpoint.port


@contextlib.asynccontextmanager
async def watched(
    settings: LiveSettings, driver: Driver | PaperDriver, broker: Broker, feed: Feed
) -> AsyncIterator[None]:
    """Let the heart beat, and carry the journal to its copy."""
    async with contextlib.AsyncExitStack() as stack:
        mirror, copy = None, None
        if settings.copy_url is not None:
            mirror = stack.enter_context(Mirror(settings.journal, settings.copy_url))
            copy = Copy(driver=driver, most=settings.copy_behind_max, place=mirror.place)
            await stack.enter_async_context(beside(mirror.keep(_COPY_S, copy.take), driver.failed))
        heart = Heart(
            broker=broker,
            feed=feed,
            driver=driver,
            folder=settings.folder,
            copy_behind=lambda: None if copy is None else copy.behind,
        )
        await stack.enter_async_context(beside(beat(driver.journal, heart), driver.failed))
        yield
        if mirror is not None:
            await asyncio.to_thread(mirror.carry)  # the end of the session too
