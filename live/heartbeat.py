"""The loop's heartbeat: how it does, written into the journal again and again, for those who look on."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Final, Protocol

from live.broker.interface import BrokerHealth
from live.clock import monotonic_us
from live.feed.feed import Health as FeedHealth
from live.journal.journal import Journal
from live.journal.records import Health
from quantcore.errors import JournalError

log = logging.getLogger(__name__)

BEAT_S: Final = 15.0
"""Seconds on the wall between two."""


class Broker(Protocol):
    """What is asked of a broker."""

    def now_us(self) -> int:
        """Return the exchange's time."""
        ...

    def health(self) -> BrokerHealth:
        """Return how it does."""
        ...


class Feed(Protocol):
    """What is asked of a feed."""

    def health(self) -> FeedHealth:
        """Return how it does."""
        ...


async def beat(journal: Journal, broker: Broker, feed: Feed, *, every_s: float = BEAT_S) -> None:
    """Write how the loop does for ever; where the journal does not take it, that is logged and tried again.

    Parameters
    ----------
    journal : Journal
        With a session begun.
    broker, feed
        Asked how they do.
    every_s : float
        Seconds on the wall.
    """
    every_us = int(every_s * 1e6)
    due_us = monotonic_us()
    while True:
        late_us = max(monotonic_us() - due_us, 0)
        try:
            journal.health(health_of(broker, feed, late_us=late_us, wall_us=time.time_ns() // 1000))
        except JournalError as error:
            log.warning("the heartbeat was not written: %s", error)
        due_us = monotonic_us() + every_us
        await asyncio.sleep(every_s)


def health_of(broker: Broker, feed: Feed, *, late_us: int, wall_us: int) -> Health:
    """Return what a heartbeat says."""
    account, market = broker.health(), feed.health()
    age = market.ages_s
    return Health(
        ts_us=broker.now_us(),
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
        counts=market.counts,
    )
