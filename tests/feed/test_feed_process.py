"""The feed on the simulator as a process of its own: rows equal the replayed data's bit for bit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from live.feed.assembler import AssemblerSettings
from live.feed.feed import Feed, opened
from live.feed.line import StreamSettings
from live.feed.market_rest import MarketRestSettings
from live.feed.rows import Row, RowForm, Skipped
from quantcore.frames import Bars
from quantcore.timegrid import MINUTE_US
from tests.feed.exchange_process import ExchangeProcess, exchange

pytestmark = pytest.mark.integration

SYNTHETIC = ("data.days=4", "data.n_symbols=4", "data.late_listings=1")
SPEED = 60.0
"""Of the accelerated clock: a second on the wall is a minute of the exchange."""


def form_of(bars: Bars) -> RowForm:
    return RowForm(symbols=bars.symbols, interval=bars.interval, fields=tuple(bars.fields))


async def lock_step_differs(ex: ExchangeProcess, closes_us: Sequence[int]) -> list[int]:
    """Drive an exchange from bar to bar; return the stamps whose rows differ from the source."""
    bars = ex.bars
    form = form_of(bars)
    rest = MarketRestSettings(base_url=ex.rest, weight_max=None)
    differ = []
    async with opened(
        AssemblerSettings(form=form), None, rest, now_us=ex.now_us, rng=np.random.default_rng(7)
    ) as feed:
        now_us = ex.now_us()
        history = bars.between(0, now_us)
        first_us, last_us = int(history.ts_us[0]), int(history.ts_us[-1])
        assert last_us == now_us
        found = await feed.backfill(first_us, last_us)
        assert found.fingerprint() == history.fingerprint()
        for close_us in closes_us:
            await ex.advance(close_us)
            row = await feed.row_of(close_us)
            if row.bars.fingerprint() != bars.between(close_us, close_us).fingerprint():
                differ.append(close_us)
    return differ


@pytest.mark.parametrize("interval", ["1m", "1h"])
async def test_rows_in_lock_step_are_those_of_the_synthetic_source(
    tmp_path: Path, interval: str
) -> None:
    """One symbol is listed during the span; 4 days of hours have their first listing after the first day."""
    data = [f"data.root={tmp_path / 'data'}", *SYNTHETIC, f"data.execution_interval={interval}"]
    start = ["start=2024-01-01T23:00"] if interval == "1m" else ["start=2024-01-01T12:00"]
    async with exchange(tmp_path, data, start, clock="lock_step") as ex:
        bars = ex.bars
        ahead = bars.ts_us[bars.ts_us > ex.now_us()][: 90 if interval == "1m" else 60]
        span = bars.between(int(ahead[0]), int(ahead[-1]))
        assert len(span.settlements) > 0
        listed = ~np.isnan(span.array("close"))
        assert (listed.any(axis=0) & ~listed.all(axis=0)).any()
        assert await lock_step_differs(ex, ahead.tolist()) == []


@pytest.mark.slow
async def test_rows_in_lock_step_are_those_of_real_hours(tmp_path: Path, shared: Path) -> None:
    """20 symbols of two years, of which one is listed on 2024-01-01 and one ends there; few have marks."""
    data = [
        "data=folder",
        f"data.root={shared / 'data'}",
        "data.start=2024-01-01",
        "data.end=2024-01-04",
        "data.ends={DOTUSDT: 2024-01-01T12:00}",
    ]
    start = ["start=2023-12-31T16:00"]
    async with exchange(tmp_path, data, start, clock="lock_step") as ex:
        bars = ex.bars
        ahead = bars.ts_us[bars.ts_us > ex.now_us()][:40]
        span = bars.between(int(ahead[0]), int(ahead[-1]))
        known = ~np.isnan(span.array("close"))
        assert set(np.array(bars.symbols)[~known.all(axis=0)]) == {"ARBUSDT", "DOTUSDT"}
        marked = ~np.isnan(span.array("mark_price"))
        assert marked.any()
        assert not marked[known].all()
        assert len(span.settlements) > 0
        assert await lock_step_differs(ex, ahead.tolist()) == []


@pytest.mark.slow
async def test_rows_in_lock_step_have_holes_and_open_interest_where_the_source_has(
    tmp_path: Path, shared: Path
) -> None:
    data = [
        "data=folder",
        f"data.root={holed(shared, tmp_path)}",
        "data.symbols=[BTCUSDT, ETHUSDT]",
        "data.start=2024-01-01",
        "data.end=2024-01-04",
    ]
    async with exchange(tmp_path, data, ["start=2024-01-01"], clock="lock_step") as ex:
        bars = ex.bars
        ahead = bars.ts_us[bars.ts_us > ex.now_us()][:30]
        span = bars.between(int(ahead[0]), int(ahead[-1]))
        assert np.isnan(span.array("close")[:, 1]).sum() == 5
        assert np.isnan(span.array("open_interest")).sum() == 5
        form = form_of(bars)
        rest = MarketRestSettings(base_url=ex.rest, weight_max=None)
        settings = AssemblerSettings(form=form)
        rng = np.random.default_rng(7)
        async with opened(settings, None, rest, now_us=ex.now_us, rng=rng) as feed:
            for close_us in ahead.tolist():
                await ex.advance(close_us)
                row = await feed.row_of(close_us)
                source = bars.between(close_us, close_us)
                assert row.bars.fingerprint() == source.fingerprint()


def holed(shared: Path, tmp_path: Path) -> Path:
    """Return a copy of some real files in which one symbol lacks five hours, one of a settlement among them.

    Real hours have no open interest beside them; it is made of their volumes.
    """
    root = tmp_path / "holed"
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for folder in ("klines_1h", "mark_1h", "funding"):
            table = pd.read_parquet(shared / "data" / folder / f"{symbol}.parquet")
            if folder == "klines_1h":
                table = table[table["open_time"] >= "2023-12-20"]
                interest = pd.DataFrame(
                    {"time": table["open_time"], "sum_open_interest": table["volume"].round(1)}
                )
                written(interest, root / "open_interest_1h" / f"{symbol}.parquet")
                if symbol == "ETHUSDT":
                    times = table["open_time"]
                    table = table[(times < "2024-01-01T06:00Z") | (times > "2024-01-01T10:00Z")]
            written(table, root / folder / f"{symbol}.parquet")
    return root


def written(table: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path, index=False)


def quick(form: RowForm, **changes: Any) -> AssemblerSettings:
    """Return settings for a clock on which a tenth of a second of the wall is six seconds."""
    spans = {"settle_s": 2.0, "grace_s": 8.0, "absent_s": 12.0, "deadline_s": 55.0, "retry_s": 6.0}
    return AssemblerSettings(form=form, **{**spans, **changes})


def kept(ws: str) -> StreamSettings:
    return StreamSettings(
        base_url=ws, streams_per_socket=4, book_stale_s=90.0, mark_stale_s=40.0, kline_stale_s=40.0
    )


async def play(feed: Feed, ex: ExchangeProcess, n_rows: int) -> tuple[list[Row], list[Skipped]]:
    """Return the next rows of a feed that has not been started, and what was skipped."""
    length = MINUTE_US
    await feed.start(ex.now_us() // length * length)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    async for one in feed.rows():
        if isinstance(one, Skipped):
            skipped.append(one)
            continue
        rows.append(one)
        if len(rows) >= n_rows:
            break
    return rows, skipped


@pytest.mark.slow
async def test_an_hour_of_flaky_streams_gives_the_bars_of_the_source(tmp_path: Path) -> None:
    """Messages are lost, doubled, swapped and late, streams go mute, sockets are cut; REST works."""
    data = [f"data.root={tmp_path / 'data'}", *SYNTHETIC, "data.execution_interval=1m"]
    words = ["faults=flaky_streams"]
    async with exchange(tmp_path, data, words, clock="accelerated", speed=SPEED) as ex:
        bars = ex.bars
        rest = MarketRestSettings(base_url=ex.rest)
        rng = np.random.default_rng(7)
        settings = quick(form_of(bars))
        async with opened(settings, kept(ex.ws), rest, now_us=ex.now_us, rng=rng) as feed:
            async with asyncio.timeout(150.0):
                rows, skipped = await play(feed, ex, 60)
            health = feed.health()
            counted = (await ex.ask("GET", f"{ex.control}/faults"))["counts"]
        for row in rows:
            source = bars.between(row.close_us, row.close_us)
            assert row.bars.fingerprint() == source.fingerprint()
        assert np.diff([row.close_us for row in rows]).tolist() == [MINUTE_US] * 59
        late = {row.close_us for row in rows if not row.in_time}
        assert late == {one.close_us for one in skipped}
        for kind in ("message_drop", "message_duplicate", "message_reorder", "stream_mute"):
            assert counted[kind] > 0, counted
        assert counted["disconnect"] > 0
        assert health.counts["ended: closed"] + health.counts.get("ended: error", 0) > 0
        assert health.counts["rest_repairs"] > 0
        assert health.counts["rows"] >= 60
        assert len(late) <= 6, (late, health)
        trading = [s for s in bars.symbols if not np.isnan(rows[-1].bars.panel("close")[s].iloc[0])]
        for symbol in trading:
            quote = feed.quotes[symbol]
            assert quote.bid < quote.ask
            assert quote.mark_us > rows[0].close_us
            assert quote.last > 0.0


@pytest.mark.slow
async def test_sampled_marks_come_close_to_the_source_and_all_else_is_equal(tmp_path: Path) -> None:
    data = [f"data.root={tmp_path / 'data'}", *SYNTHETIC, "data.execution_interval=1m"]
    async with exchange(tmp_path, data, [], clock="accelerated", speed=20.0) as ex:
        bars = ex.bars
        rest = MarketRestSettings(base_url=ex.rest)
        rng = np.random.default_rng(7)
        settings = quick(form_of(bars), marks="stream")
        async with opened(settings, kept(ex.ws), rest, now_us=ex.now_us, rng=rng) as feed:
            async with asyncio.timeout(60.0):
                rows, _ = await play(feed, ex, 4)
        for row in rows[1:]:
            assert any("samples" in note for note in row.notes)
            source = bars.between(row.close_us, row.close_us)
            for name in bars.fields:
                if not name.startswith("mark_"):
                    same = np.array_equal(row.bars.array(name), source.array(name), equal_nan=True)
                    assert same, name
            for name, sign in (("mark_high", -1.0), ("mark_low", 1.0)):
                seen, true = row.bars.array(name), source.array(name)
                known = ~np.isnan(true)
                assert (sign * (seen - true)[known] >= 0.0).all()
                assert np.allclose(seen[known], true[known], rtol=1e-3)


@pytest.mark.slow
async def test_a_feed_that_starts_late_tells_the_rows_between_first(tmp_path: Path) -> None:
    data = [f"data.root={tmp_path / 'data'}", *SYNTHETIC, "data.execution_interval=1m"]
    async with exchange(tmp_path, data, [], clock="accelerated", speed=SPEED) as ex:
        bars = ex.bars
        rest = MarketRestSettings(base_url=ex.rest)
        rng = np.random.default_rng(7)
        settings = replace(quick(form_of(bars)), horizon=2000)
        after_us = int(bars.ts_us[0]) + 99 * MINUTE_US
        async with opened(settings, kept(ex.ws), rest, now_us=ex.now_us, rng=rng) as feed:
            began_us = ex.now_us()
            await feed.start(after_us)
            rows: list[Row] = []
            async with asyncio.timeout(60.0):
                async for one in feed.rows():
                    if isinstance(one, Row):
                        rows.append(one)
                    if rows and rows[-1].close_us > began_us + 2 * MINUTE_US:
                        break
        assert rows[0].close_us == after_us + MINUTE_US
        assert len(rows) > 900
        for row in rows:
            source = bars.between(row.close_us, row.close_us)
            assert row.bars.fingerprint() == source.fingerprint()
            assert not (row.in_time and row.close_us <= began_us)
