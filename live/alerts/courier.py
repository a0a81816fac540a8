"""Who carries messages over one channel: the most severe first, again and again until they are there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from live.alerts.channels import Send
from live.alerts.outbox import Outbox

log = logging.getLogger(__name__)

_SECOND_US = 1_000_000
IDLE_S = 60.0
"""Between two looks at the queue where nobody says that there is something."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long a channel rests after failures.

    Parameters
    ----------
    first_s : float
        After the first, > 0; twice as long after each further one.
    most_s : float
        At most, >= `first_s`.
    """

    first_s: float
    most_s: float

    def __post_init__(self) -> None:
        if not 0.0 < self.first_s <= self.most_s:
            raise ValueError(
                f"first_s must be > 0 and at most most_s, was {self.first_s} and {self.most_s}"
            )

    def seconds(self, failures: int) -> float:
        """Return the rest after so many failures in a row, >= 1."""
        return float(min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 60)))


class Courier:
    """Sends what the queue holds for one channel.

    Parameters
    ----------
    outbox : Outbox
        Of this thread.
    channel : str
        By name.
    send : callable
        See `Send`; called in another thread.
    backoff : Backoff
        After failures.
    now_us : callable
        This machine's time.
    """

    def __init__(
        self, outbox: Outbox, channel: str, send: Send, backoff: Backoff, now_us: Callable[[], int]
    ) -> None:
        self.channel = channel
        self.failures = 0
        """In a row."""
        self._outbox = outbox
        self._send = send
        self._backoff = backoff
        self._now_us = now_us
        self._rests_until_us = 0
        self._news = asyncio.Event()
        self._ends = False

    def end(self) -> None:
        """Let `run` return once what is being sent now is there or has failed."""
        self._ends = True
        self._news.set()

    def wake(self) -> None:
        """Say that something may be due."""
        self._news.set()

    async def run(self) -> None:
        """Send until `end`."""
        while not self._ends:
            self._news.clear()
            wait_s = await self.carry()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def carry(self) -> float:
        """Send what is due, one after the other, until nothing is or one fails; return after how long to look again.

        Raises
        ------
        JournalError
            If the queue fails.
        """
        now_us = self._now_us()
        while now_us >= self._rests_until_us and not self._ends:
            due = self._outbox.due(self.channel, now_us)
            if due is None:
                break
            failure = await asyncio.to_thread(self._send, due)
            now_us = self._now_us()
            if not failure:
                self._outbox.delivered(due, self.channel, now_us=now_us)
                if self.failures:
                    log.warning("channel %s works again", self.channel)
                self.failures = 0
                continue
            self.failures += 1
            self._rests_until_us = now_us + int(self._backoff.seconds(self.failures) * _SECOND_US)
            again_us = now_us + int(self._backoff.seconds(due.attempts + 1) * _SECOND_US)
            self._outbox.failed(due, self.channel, failure, next_try_us=again_us)
            if self.failures == 1:
                log.warning(
                    "channel %s: %s; it is tried again until it works", self.channel, failure
                )
        return 0.0 if self._ends else self._wait_s(now_us)

    def _wait_s(self, now_us: int) -> float:
        next_us = self._outbox.next_try_us(self.channel)
        if next_us is None:
            return IDLE_S
        wait_us = max(next_us, self._rests_until_us) - now_us
        return min(max(wait_us / _SECOND_US, 0.0), IDLE_S)
