"""The heartbeat: what it says, and that a journal which does not take it ends nothing."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from live.broker.interface import BrokerHealth
from live.feed.feed import Health as FeedHealth
from live.heartbeat import Heart, beat, health_of
from live.journal import Journal
from live.monitor.view import View
from quantcore.errors import JournalError
from tests.journal.entries import opened, url_of


class Account:
    """A broker that does as it says."""

    def now_us(self) -> int:
        return 5

    def health(self) -> BrokerHealth:
        return BrokerHealth(requests=7, failures=1, clock_off_ms=-3.5, account_stream=True)


class Market:
    """A feed of which one kind of stream has not spoken yet."""

    def health(self) -> FeedHealth:
        return FeedHealth(
            next_close_us=1,
            sockets=2,
            connected=1,
            ages_s={"book": 0.5, "mark": 1.5},
            stale_seconds={},
            counts={"rows": 3},
            rest_requests=10,
            rest_failures=2,
            used_weight=40,
        )


class Trading:
    """A driver that opens nothing."""

    loop = SimpleNamespace(halted={"ETHUSDT"})
    doubtful: ClassVar[set[str]] = {"BTCUSDT", "XRPUSDT"}
    stopped: ClassVar[dict[str, str]] = {"operator": "frozen"}


def heart(**changed: object) -> Heart:
    given = {"broker": Account(), "feed": Market(), "driver": Trading()}
    return Heart(**given | changed)  # type: ignore[arg-type]  # stand-ins that know only what is asked


def test_requests_of_account_and_market_are_counted_together() -> None:
    told = health_of(heart(), late_us=9, wall_us=11)
    assert (told.requests, told.failures, told.used_weight) == (17, 3, 40)
    assert (told.ts_us, told.wall_us, told.late_us, told.clock_off_ms) == (5, 11, 9, -3.5)
    assert (told.book_age_s, told.mark_age_s, told.sockets, told.connected) == (0.5, 1.5, 2, 1)
    assert math.isnan(told.kline_age_s)
    assert told.account_stream
    assert (told.doubtful, told.halted, told.stopped, told.copy_behind) == (2, 1, "frozen", None)
    assert math.isnan(told.disk_free_mb)


def test_the_disk_beside_the_journal_and_the_copy_are_told_of(tmp_path: Path) -> None:
    told = health_of(heart(folder=tmp_path, copy_behind=lambda: 12), late_us=0, wall_us=0)
    assert told.disk_free_mb > 0.0
    assert told.copy_behind == 12
    gone = health_of(heart(folder=tmp_path / "gone"), late_us=0, wall_us=0)
    assert math.isnan(gone.disk_free_mb)


async def test_it_is_written_again_and_again(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        task = asyncio.create_task(beat(journal, heart(), every_s=0.001))
        with View(url_of(tmp_path)) as view:
            while view.marks().health < 3:
                await asyncio.sleep(0.001)
            assert view.rows("health")["requests"].tolist()[:3] == [17, 17, 17]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_journal_that_does_not_take_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    def refuse(self: Journal, health: object) -> None:
        tried.append(health)
        raise JournalError("the disk is full")

    with opened(tmp_path) as journal:
        monkeypatch.setattr(Journal, "health", refuse)
        task = asyncio.create_task(beat(journal, heart(), every_s=0.001))
        while len(tried) < 3:
            await asyncio.sleep(0.001)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "the heartbeat was not written: the disk is full" in caplog.text
