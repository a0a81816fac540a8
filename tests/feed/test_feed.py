from __future__ import annotations

import time
from typing import Any

import aiohttp
import numpy as np
import pytest

from live.feed.assembler import AssemblerSettings
from live.feed.feed import Feed
from live.feed.line import StreamSettings
from live.feed.market_rest import Kind
from live.feed.rows import Row, RowForm, Skipped
from quantcore.data.rest_rows import Candle, Settled
from quantcore.errors import VenueError
from quantcore.frames import PRICE_FIELDS
from quantcore.timegrid import MINUTE_US
from tests.feed.stub_streams import refuse, served

FORM = RowForm(symbols=("AUSDT",), interval="1m", fields=(*PRICE_FIELDS, "funding_rate"))
SPEED = 60.0


class Clock:
    """A minute of the exchange in a second."""

    def __init__(self) -> None:
        self.began_s = time.monotonic()

    def now_us(self) -> int:
        return 1_704_067_200_000_000 + int((time.monotonic() - self.began_s) * SPEED * 1e6)


class Rest:
    """One symbol whose bars are all alike; `fails` requests fail first."""

    def __init__(self, clock: Clock, fails: int = 0, error: Exception | None = None) -> None:
        self.clock = clock
        self.fails = fails
        self.error = error or VenueError("/fapi/v1/klines: HTTP 503")
        self.requests = 0
        self.used_weight = 7
        self.failures = 0

    async def server_us(self) -> int:
        return self.clock.now_us()

    async def klines(
        self, kind: Kind, symbol: str, interval: str, start_us: int, end_us: int
    ) -> list[Candle]:
        self.requests += 1
        if self.requests <= self.fails:
            raise self.error
        last_us = min(end_us, self.clock.now_us())
        opens = range(start_us, last_us + 1, MINUTE_US)
        return [Candle(t, 10.0, 11.0, 9.0, 10.0, 0.0, 0.0, 0.0, 0.0) for t in opens]

    async def funding(self, symbol: str | None, start_us: int, end_us: int) -> list[Settled]:
        return []

    async def open_interest(self, symbol: str) -> float:
        return 1.0


def settings(**changes: Any) -> AssemblerSettings:
    spans = {"settle_s": 1.0, "grace_s": 3.0, "deadline_s": 50.0, "retry_s": 3.0}
    return AssemblerSettings(form=FORM, **{**spans, **changes})


def feed_of(clock: Clock, rest: Rest, session: aiohttp.ClientSession, url: str | None) -> Feed:
    streams = None if url is None else StreamSettings(base_url=url)
    rng = np.random.default_rng(7)
    return Feed(settings(), streams, rest, session, now_us=clock.now_us, rng=rng)


async def test_without_any_stream_rest_carries_the_rows_and_health_says_so() -> None:
    clock = Clock()
    async with served([refuse], clock.now_us) as stub, aiohttp.ClientSession() as session:
        feed = feed_of(clock, Rest(clock), session, stub.url)
        await feed.start(clock.now_us() // MINUTE_US * MINUTE_US)
        rows: list[Row | Skipped] = []
        async for one in feed.rows():
            rows.append(one)
            if len(rows) == 3:
                break
        health = feed.health()
        await feed.close()
    assert all(isinstance(one, Row) and one.in_time for one in rows)
    assert np.diff([one.close_us for one in rows]).tolist() == [MINUTE_US] * 2
    assert (health.sockets, health.connected, health.used_weight) == (2, 0, 7)
    assert health.counts["rest_repairs"] == health.counts["rows"] == 3
    assert health.ages_s["kline"] == float("inf")
    assert health.next_close_us == rows[-1].close_us + MINUTE_US
    assert any(name.startswith("ended: ") for name in health.counts)


async def test_a_row_that_cannot_be_had_is_skipped_and_told_when_it_can() -> None:
    clock = Clock()
    rest = Rest(clock, fails=20)
    async with served([refuse], clock.now_us) as stub, aiohttp.ClientSession() as session:
        feed = feed_of(clock, rest, session, stub.url)
        await feed.start(clock.now_us() // MINUTE_US * MINUTE_US)
        told: list[Row | Skipped] = []
        async for one in feed.rows():
            told.append(one)
            if isinstance(one, Row) and one.in_time:
                break
        await feed.close()
    skipped = [one for one in told if isinstance(one, Skipped)]
    late = [one for one in told if isinstance(one, Row) and not one.in_time]
    assert skipped
    assert skipped[0].reason == "no klines of AUSDT within 50 s; /fapi/v1/klines: HTTP 503"
    assert [one.close_us for one in skipped] == [one.close_us for one in late]


async def test_what_nobody_expected_ends_the_rows_with_it() -> None:
    clock = Clock()
    rest = Rest(clock)
    async with served([refuse], clock.now_us) as stub, aiohttp.ClientSession() as session:
        feed = feed_of(clock, rest, session, stub.url)
        await feed.start(clock.now_us() // MINUTE_US * MINUTE_US)
        rest.fails, rest.error = 10**9, ZeroDivisionError("a fault of ours")
        with pytest.raises(ZeroDivisionError, match="a fault of ours"):
            async for _ in feed.rows():
                pass
        await feed.close()


async def test_in_lock_step_a_feed_has_rows_by_request_only() -> None:
    clock = Clock()
    async with aiohttp.ClientSession() as session:
        feed = feed_of(clock, Rest(clock), session, None)
        with pytest.raises(ValueError, match="a feed must be started once, and not in lock-step"):
            await feed.start(0)
        row = await feed.row_of(1_704_067_200_000_000)
        assert row.bars.array("close").tolist() == [[10.0]]
        assert [one async for one in feed.rows()] == []
        assert feed.health().sockets == 0
        await feed.close()
