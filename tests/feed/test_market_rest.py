from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from live.feed.backfill import backfill
from live.feed.market_rest import HttpMarketRest, MarketRestSettings
from live.feed.rows import RowForm
from live.simulator.market import Tape
from live.simulator.public import answer
from live.simulator.wire import Refused
from quantcore.errors import ConfigError, SchemaMismatch, VenueError
from quantcore.frames import PRICE_FIELDS, Bars
from quantcore.timegrid import MINUTE_US
from tests.simulator.conftest import FIRST_US, make_bars, make_tape

Reply = tuple[int, str | Any, dict[str, str]]
FORM = RowForm(symbols=("BTCUSDT", "ETHUSDT"), interval="1m")


class Host:
    """The public interface over a tape, with replies that a test puts before its own."""

    def __init__(self) -> None:
        self.tape = make_tape(make_bars(n_bars=1300, late=700))
        self.now_us = self.tape.end_us - 1
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.replies: list[Reply] = []
        self.used = "5"
        self.hangs_s = 0.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self.client: HttpMarketRest

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query)))
        await asyncio.sleep(self.hangs_s)
        headers = {"X-MBX-USED-WEIGHT-1M": self.used}
        if self.replies:
            status, body, more = self.replies.pop(0)
            text = body if isinstance(body, str) else json.dumps(body)
            return web.Response(status=status, text=text, headers=headers | more)
        try:
            body = answer(f"GET {request.path}", self.tape, self.now_us, dict(request.query))
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status, headers=headers)
        return web.json_response(body, headers=headers)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def hosted(**changes: Any) -> AsyncIterator[Host]:
    host = Host()
    app = web.Application()
    app.router.add_get("/{path:.*}", host.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    name, port = runner.addresses[0][:2]
    settings = MarketRestSettings(base_url=f"http://{name}:{port}/", **changes)
    async with aiohttp.ClientSession() as session:
        host.client = HttpMarketRest(session, settings, lambda: host.now_us, host.sleep)
        try:
            yield host
        finally:
            await runner.cleanup()


def same(found: Bars, tape: Tape, start: int, stop: int) -> bool:
    bars = tape.bars.rows(start, stop)
    names = [name for name in bars.fields if name in (*PRICE_FIELDS, "volume", "mark_price")]
    return all(
        (found.array(n) == bars.array(n)).tolist()
        == (bars.array(n) == bars.array(n)).tolist()  # NaN where the source is
        for n in names
    )


async def test_a_long_span_comes_in_pages_of_the_least_weight_and_as_the_source_has_it() -> None:
    """The second symbol is listed after 700 bars, more than a page."""
    async with hosted() as host:
        ts_us = host.tape.bars.ts_us
        found = await backfill(host.client, FORM, int(ts_us[0]), int(ts_us[1297]))
        assert same(found, host.tape, 0, 1298)
        pages = [q["limit"] for path, q in host.asked if path == "/fapi/v1/klines"]
        assert sorted(pages) == ["300", "499", "499", "499", "99"]
        settled = host.tape.bars.settlements
        assert found.settlements.time_us.tolist() == settled.time_us.tolist()
        assert found.settlements.rate.tolist() == settled.rate.tolist()


async def test_one_row_asks_for_settlements_once_for_all() -> None:
    async with hosted() as host:
        close_us = int(host.tape.bars.ts_us[0])
        row = await backfill(host.client, FORM, close_us, close_us)
        asked = [query for path, query in host.asked if path == "/fapi/v1/fundingRate"]
        assert asked == [
            {
                "startTime": str(FIRST_US // 1000),
                "endTime": str(close_us // 1000 - 1),
                "limit": "1000",
            }
        ]
        assert len(row.settlements) == 2
        assert {q["limit"] for path, q in host.asked if "lines" in path} == {"1"}


async def test_stamps_with_jitter_are_floored_to_the_second() -> None:
    row = {"symbol": "BTCUSDT", "fundingRate": "0.00010000", "markPrice": ""}
    async with hosted() as host:
        host.replies = [(200, [row | {"fundingTime": FIRST_US // 1000 + 29}], {})]
        (one,) = await host.client.funding("BTCUSDT", FIRST_US, FIRST_US + MINUTE_US - 1)
        assert (one.time_us, one.rate) == (FIRST_US, 1e-4)
        assert math.isnan(one.mark_price)


async def test_pages_of_settlements_of_all_symbols_lose_none_at_their_seam() -> None:
    first_ms = FIRST_US // 1000
    rows = [
        {"symbol": f"S{k:04d}", "fundingTime": first_ms + k // 900, "fundingRate": "1e-4"}
        for k in range(1800)
    ]
    async with hosted() as host:
        host.replies = [(200, rows[:1000], {}), (200, rows[900:], {})]
        found = await host.client.funding(None, FIRST_US, FIRST_US + MINUTE_US)
        assert len(found) == 1800
        assert host.asked[1][1]["startTime"] == str(first_ms + 1)


async def test_a_symbol_that_is_not_known_has_no_bars() -> None:
    async with hosted() as host:
        assert await host.client.klines("klines", "NOUSDT", "1m", FIRST_US, FIRST_US) == []
        with pytest.raises(VenueError, match=r"/fapi/v1/openInterest: HTTP 400: .*-1121"):
            await host.client.open_interest("NOUSDT")


@pytest.mark.parametrize(
    ("reply", "waits"),
    [
        ((503, {"code": 0, "msg": "Service Unavailable"}, {}), [0.2]),
        ((500, "<html>", {}), [0.2]),
        ((200, "<html>", {}), [0.2]),
        ((408, {"code": -1007, "msg": "Timeout"}, {}), [0.2]),
    ],
)
async def test_failures_that_pass_are_repeated(reply: Reply, waits: list[float]) -> None:
    async with hosted() as host:
        host.replies = [reply]
        assert await host.client.server_us() == host.now_us // 1000 * 1000
        assert host.slept == waits
        assert (host.client.requests, host.client.failures) == (2, 1)


async def test_a_limit_that_was_met_is_waited_for_as_long_as_the_exchange_says() -> None:
    async with hosted() as host:
        host.replies = [(429, {"code": -1003, "msg": "Too many requests"}, {"Retry-After": "1"})]
        began_s = asyncio.get_running_loop().time()
        await host.client.server_us()
        assert asyncio.get_running_loop().time() - began_s >= 1.0


async def test_failures_that_stay_are_an_error_in_one_line() -> None:
    async with hosted() as host:
        host.replies = [(400, {"code": -1130, "msg": "Data\nsent"}, {})]
        with pytest.raises(VenueError) as caught:
            await host.client.server_us()
        assert "\n" not in str(caught.value)
        assert len(host.asked) == 1
        host.replies = [(503, "no", {})] * 4
        with pytest.raises(VenueError, match="/fapi/v1/time: HTTP 503"):
            await host.client.server_us()
        assert host.slept == [0.2, 0.4, 0.8]


async def test_a_host_that_is_not_there_is_an_error_in_one_line() -> None:
    async with aiohttp.ClientSession() as session:
        settings = MarketRestSettings(base_url="http://127.0.0.1:9", retries=0)
        client = HttpMarketRest(session, settings, lambda: 0)
        with pytest.raises(VenueError, match=r"/fapi/v1/time: .*127"):
            await client.server_us()


async def test_a_host_that_does_not_answer_is_left() -> None:
    async with hosted(timeout_s=0.1, retries=0) as host:
        host.hangs_s = 0.3
        with pytest.raises(VenueError, match=r"no answer within 0\.1 s"):
            await host.client.server_us()


async def test_the_weight_that_is_left_to_others_is_waited_for_until_the_next_minute() -> None:
    async with hosted(weight_max=100) as host:
        host.used = "100"
        await host.client.server_us()
        assert host.client.used_weight == 100

        def pass_time() -> None:
            host.now_us += 10 * 1_000_000

        host.on_sleep = pass_time
        host.used = "1"
        await host.client.server_us()
        assert 1 <= len(host.slept) <= 6
        assert host.client.used_weight == 1


@pytest.mark.parametrize("body", [{}, [[1, 2]], [{"a": 1}], ["x"], 5])
async def test_an_answer_that_is_none_is_an_error(body: Any) -> None:
    async with hosted() as host:
        host.replies = [(200, body, {})]
        with pytest.raises((VenueError, SchemaMismatch)):
            await host.client.klines("klines", "BTCUSDT", "1m", FIRST_US, FIRST_US)


INFINITE = float("inf")


async def test_numbers_that_are_none_are_errors_of_the_exchange() -> None:
    row = [INFINITE, "10", "11", "9", "10", "1", 0, "1", 1, "1", "1", "0"]
    paid = {"symbol": "BTCUSDT", "fundingTime": INFINITE, "fundingRate": "0.0001"}
    rate = paid | {"fundingTime": FIRST_US // 1000, "fundingRate": "nan"}
    async with hosted() as host:
        asked: list[tuple[Any, Callable[[], Awaitable[Any]]]] = [
            ([row], lambda: host.client.klines("klines", "BTCUSDT", "1m", FIRST_US, FIRST_US)),
            ([paid], lambda: host.client.funding(None, FIRST_US, FIRST_US)),
            ([rate], lambda: host.client.funding(None, FIRST_US, FIRST_US)),
            ({"openInterest": "nan"}, lambda: host.client.open_interest("BTCUSDT")),
            ({"openInterest": "-1"}, lambda: host.client.open_interest("BTCUSDT")),
            ({"serverTime": INFINITE}, host.client.server_us),
        ]
        for body, ask in asked:
            host.replies = [(200, body, {})]
            with pytest.raises((VenueError, SchemaMismatch)):
                await ask()


async def test_an_impossible_bar_is_named() -> None:
    row = [FIRST_US // 1000, "10", "9", "8", "9", "1", 0, "1", 1, "1", "1", "0"]
    async with hosted() as host:
        host.replies = [(200, [row], {})] * 2
        with pytest.raises(SchemaMismatch, match=r"BTCUSDT: open and close must be between"):
            await backfill(
                host.client,
                RowForm(symbols=("BTCUSDT",), interval="1m", fields=PRICE_FIELDS),
                FIRST_US + MINUTE_US,
                FIRST_US + MINUTE_US,
            )


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"base_url": "ws://x"}, "base_url must start with http:// or https://, was 'ws://x'"),
        ({"timeout_s": 0.0}, r"timeout_s must be > 0, was 0\.0"),
        ({"retries": -1}, "retries must be >= 0, was -1"),
        ({"concurrency": 0}, "concurrency must be >= 1, was 0"),
        ({"weight_max": 0}, "weight_max must be >= 1 or null, was 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        MarketRestSettings(**{"base_url": "http://x", **changes})
