from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import numpy as np
import pytest

from live.feed.line import StreamSettings
from live.feed.messages import Event
from live.feed.rows import RowForm
from live.feed.streams import Streams
from quantcore.errors import ConfigError
from tests.feed.stub_streams import (
    Behaviour,
    StubStreams,
    babble,
    burst,
    die,
    foretell,
    lag,
    mute,
    refuse,
    served,
    speak,
    speak_partly,
)

FORM = RowForm(symbols=("AUSDT", "BUSDT"), interval="1m")
STALE_S = 0.4
PATIENCE_S = 10.0


def now_us() -> int:
    return int(time.monotonic() * 1e6)


def settings(url: str, **changes: Any) -> StreamSettings:
    spans = dict.fromkeys(("book_stale_s", "mark_stale_s", "kline_stale_s"), STALE_S)
    quick = {"look_s": 0.02, "backoff_s": 0.02, "backoff_max_s": 0.2, "connect_s": 2.0}
    return StreamSettings(base_url=url, **{**spans, **quick, **changes})


class Running:
    """Streams at work, and the events that they brought."""

    def __init__(self, stub: StubStreams, streams: Streams, events: list[Event]) -> None:
        self.stub = stub
        self.streams = streams
        self.events = events

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.01)

    def replaced(self, reason: str) -> int:
        return self.streams.counts[f"replaced: {reason}"]


@contextlib.asynccontextmanager
async def running(
    behaviours: list[Behaviour], form: RowForm = FORM, **changes: Any
) -> AsyncIterator[Running]:
    """Give streams that run; afterwards nothing of them is left."""
    events: list[Event] = []
    async with served(behaviours, now_us) as stub, aiohttp.ClientSession() as session:
        before = asyncio.all_tasks()
        streams = Streams(
            session,
            settings(stub.url, **changes),
            form,
            now_us=now_us,
            sink=events.append,
            rng=np.random.default_rng(7),
        )
        task = asyncio.create_task(streams.run())
        made = Running(stub, streams, events)
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert all(line.open_tasks == 0 for line in streams.lines)
            await made.until(lambda: stub.open == 0)
            own = {t for t in asyncio.all_tasks() - before if "live" in repr(t)}
            assert own == set()
    assert task.cancelled()


async def test_every_stream_is_asked_for_once_on_the_route_that_carries_it() -> None:
    async with running([speak], streams_per_socket=3) as made:
        await made.until(lambda: all(line.connected for line in made.streams.lines))
        asked = sorted(made.stub.paths)
        assert asked == [
            "/market/stream?streams=ausdt@markPrice@1s/ausdt@kline_1m/busdt@markPrice@1s",
            "/market/stream?streams=busdt@kline_1m",
            "/public/stream?streams=ausdt@bookTicker/busdt@bookTicker",
        ]
        await made.until(lambda: len({event.stream for event in made.events}) == 6)
        assert set(made.streams.oldest(now_us(), frozenset())) == {"book", "mark", "kline"}


@pytest.mark.parametrize(
    ("behaviour", "reason"), [(mute, "mute"), (speak_partly, "partly mute"), (lag, "lagging")]
)
async def test_a_socket_that_does_not_do_its_work_is_replaced_and_none_is_left_over(
    behaviour: Behaviour, reason: str
) -> None:
    async with running([behaviour, behaviour, speak]) as made:
        await made.until(lambda: made.replaced(reason) >= 2)
        await made.until(lambda: made.stub.open == len(made.streams.lines))
        await asyncio.sleep(2.0 * STALE_S)
        ages = made.streams.oldest(now_us(), frozenset())
        assert max(ages.values()) < STALE_S
        assert made.stub.open == len(made.streams.lines)
        assert made.replaced(reason) == 2
        assert sum(made.streams.stale_seconds.values()) > 0.0


async def test_a_socket_that_ends_is_connected_again() -> None:
    async with running([die, die, die, die, speak]) as made:
        await made.until(lambda: all(line.connected for line in made.streams.lines))
        assert made.streams.counts["ended: closed"] == 4


async def test_refused_connections_are_repeated_with_growing_pauses() -> None:
    async with running([refuse], backoff_s=0.05, backoff_max_s=0.8) as made:
        await asyncio.sleep(2.0)
        attempts = len(made.stub.paths) / len(made.streams.lines)
        # 0.1, 0.2, 0.4, 0.8, 0.8 … with up to a half taken off; without growth there would be 20 at least.
        assert 3 <= attempts <= 8
        made.stub.behaviours = [speak]
        await made.until(lambda: all(line.connected for line in made.streams.lines))


async def test_an_old_socket_is_renewed_before_it_is_closed() -> None:
    async with running([speak], lifetime_s=0.8) as made:
        await made.until(lambda: made.replaced("old") >= 4)
        times = [e.time_us for e in made.events if e.stream == "ausdt@bookTicker"]
        assert max(np.diff(times)) < STALE_S * 1e6
        assert len(made.streams.lines) < made.stub.most_open <= 2 * len(made.streams.lines)
        assert made.streams.counts["ended: closed"] == 0


async def test_a_symbol_that_does_not_trade_is_not_judged() -> None:
    async with running([speak_partly]) as made:
        made.streams.dormant = frozenset({"BUSDT"})
        await asyncio.sleep(3.0 * STALE_S)
        assert made.streams.counts["connections"] == len(made.streams.lines)
        assert made.streams.stale_seconds == {"book": 0.0, "mark": 0.0, "kline": 0.0}


async def test_a_stream_that_stays_mute_is_given_ever_more_time() -> None:
    async with running([speak_partly]) as made:
        await asyncio.sleep(10.0 * STALE_S)
        # After 1, 1 + 2 and 1 + 2 + 4 spans; the fourth would come after 15.
        assert made.replaced("partly mute") in (2 * len(made.streams.lines), 3 * len(made.streams.lines))  # fmt: skip


async def test_messages_that_are_not_understood_are_counted_and_cost_nothing() -> None:
    async with running([babble]) as made:
        await made.until(lambda: all(line.connected for line in made.streams.lines))
        await asyncio.sleep(STALE_S)
        assert made.streams.counts["malformed"] == 2 * len(made.streams.lines)
        assert made.streams.counts["foreign"] == len(made.streams.lines)
        assert made.streams.counts["connections"] == len(made.streams.lines)


async def test_an_event_of_the_future_does_not_hide_that_its_stream_is_mute() -> None:
    async with running([foretell, foretell, speak]) as made:
        await made.until(lambda: made.replaced("mute") >= 2)
        await made.until(lambda: len(made.events) > 0)
        assert made.streams.counts["from the future"] == 6
        assert max(event.time_us for event in made.events) <= now_us()


async def test_a_burst_of_messages_does_not_hold_up_the_loop() -> None:
    """20,000 messages wait at once; others of the loop have their turns while they are read."""
    async with running([burst]) as made:
        turns = 0
        await made.until(lambda: len(made.events) > 0)
        while len(made.events) < 20_000:
            before = len(made.events)
            await asyncio.sleep(0)
            turns += 1
            assert len(made.events) - before < 2_000
        assert turns > 20


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"base_url": "http://x"}, "base_url must start with ws:// or wss://, was 'http://x'"),
        ({"streams_per_socket": 1025}, r"streams_per_socket must be in \[1, 1024\], was 1025"),
        ({"look_s": 0.0}, r"look_s must be > 0, was 0\.0"),
        ({"backoff_max_s": 0.1}, r"backoff_max_s must be >= backoff_s, was 0\.1 < 0\.25"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        StreamSettings(**{"base_url": "ws://x", **changes})
