from __future__ import annotations

import asyncio
import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from quantcore.data.rest import PAGE, RestClient, RestSettings, backfill
from quantcore.data.schema import EVENT, column, times
from quantcore.data.store import Store
from quantcore.errors import ConfigError, VenueError
from quantcore.timegrid import HOUR_US, to_us

HOUR_MS = 3_600_000
FIRST_MS = to_us("2024-01-01") // 1000


class Exchange:
    """A loopback server that speaks the public part of the futures REST interface."""

    def __init__(self) -> None:
        self.now_ms = FIRST_MS + 1500 * HOUR_MS + HOUR_MS // 2
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.refusals: list[tuple[int, dict[str, str], dict[str, Any]]] = []
        self.weight = "5"
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exchange.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.asked.append((url.path, query))
        if self.refusals:
            status, headers, body = self.refusals.pop(0)
            self.send(request, status, body, headers)
            return
        bodies = {
            "/fapi/v1/time": self.time,
            "/fapi/v1/klines": self.klines,
            "/fapi/v1/markPriceKlines": self.klines,
            "/fapi/v1/fundingRate": self.funding,
        }
        self.send(request, 200, bodies[url.path](query), {"X-MBX-USED-WEIGHT-1M": self.weight})

    def send(
        self, request: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str]
    ) -> None:
        content = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    def time(self, _: dict[str, str]) -> Any:
        return {"serverTime": self.now_ms}

    def klines(self, query: dict[str, str]) -> Any:
        opens = range(FIRST_MS, self.now_ms + 1, HOUR_MS)
        chosen = [t for t in opens if int(query["startTime"]) <= t <= int(query["endTime"])]
        return [
            [t, "100", "102", "99", "101.5", "5", t + HOUR_MS - 1, "505", 7, "2", "202", "0"]
            for t in chosen[: int(query["limit"])]
        ]

    def funding(self, query: dict[str, str]) -> Any:
        at = [t + 13 for t in range(FIRST_MS, self.now_ms + 1, 8 * HOUR_MS)]
        chosen = [t for t in at if int(query["startTime"]) <= t <= int(query["endTime"])]
        return [
            {
                "symbol": query["symbol"],
                "fundingTime": t,
                "fundingRate": "0.00010000",
                "markPrice": "" if t < FIRST_MS + HOUR_MS else "100.5",
            }
            for t in chosen[: int(query["limit"])]
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    pytest.importorskip("binance", reason="needs python-binance, the extra live")
    server = Exchange()
    yield server
    server.close()


@pytest.fixture
def naps() -> list[float]:
    return []


@pytest.fixture
def client(exchange: Exchange, naps: list[float]) -> Iterator[RestClient]:
    settings = RestSettings(
        base_url=f"http://127.0.0.1:{exchange.server.server_port}",
        timeout_s=5.0,
        retries=2,
        backoff_s=0.5,
    )
    with RestClient(settings, sleep=naps.append) as opened:
        yield opened


def test_a_backfill_pages_through_closed_bars_only(
    client: RestClient, exchange: Exchange, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path), create=True)
    series = [("klines", "1h", "AUSDT"), ("mark", "1h", "AUSDT"), ("funding", EVENT, "AUSDT")]
    added = dict(backfill(client, store, series, start_us=FIRST_MS * 1000))
    assert list(added.values()) == [1500, 1500, 188]
    table = store.read("klines", "1h", "AUSDT")
    assert times(table)[-1] == (FIRST_MS + 1500 * HOUR_MS) * 1000
    assert (np.diff(times(table)) == HOUR_US).all()
    assert column(table, "close")[0] == 101.5
    assert column(table, "taker_buy_volume")[0] == 2.0
    asked = [query for path, query in exchange.asked if path.endswith("/klines")]
    assert [query["limit"] for query in asked] == [str(PAGE)] * 2


def test_settlements_are_floored_and_their_mark_kept_where_it_is_known(
    client: RestClient, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path), create=True)
    list(backfill(client, store, [("funding", EVENT, "AUSDT")], start_us=FIRST_MS * 1000))
    table = store.read("funding", EVENT, "AUSDT")
    assert times(table)[0] == FIRST_MS * 1000
    np.testing.assert_array_equal(column(table, "mark_price")[:2], [np.nan, 100.5])


def test_a_second_backfill_asks_only_for_what_is_new(
    client: RestClient, exchange: Exchange, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path), create=True)
    series = [("klines", "1h", "AUSDT"), ("funding", EVENT, "AUSDT")]
    list(backfill(client, store, series, start_us=FIRST_MS * 1000))
    exchange.asked.clear()
    assert [n for _, n in backfill(client, store, series, start_us=FIRST_MS * 1000)] == [0, 0]
    assert [q.get("startTime") for _, q in exchange.asked[1:]] == [
        str(FIRST_MS + 1500 * HOUR_MS),
        str(FIRST_MS + 187 * 8 * HOUR_MS + 1000),
    ]
    exchange.now_ms += 2 * HOUR_MS
    assert [n for _, n in backfill(client, store, series, start_us=FIRST_MS * 1000)] == [2, 0]


def test_an_overload_is_waited_out_and_a_rate_limit_as_long_as_it_says(
    client: RestClient, exchange: Exchange, naps: list[float]
) -> None:
    body = {"code": -1003, "msg": "Too many requests"}
    exchange.refusals = [
        (503, {}, {"code": -1008, "msg": "busy"}),
        (429, {"Retry-After": "7"}, body),
    ]
    assert client.now_us() == exchange.now_ms * 1000
    assert naps == [0.5, 7.0]


def test_a_used_up_weight_waits_for_the_next_minute(
    client: RestClient, exchange: Exchange, naps: list[float]
) -> None:
    exchange.weight = "2000"
    client.now_us()
    assert naps == [60.0]


def test_a_refusal_is_one_line_and_not_tried_again(client: RestClient, exchange: Exchange) -> None:
    exchange.refusals = [(400, {}, {"code": -1121, "msg": "Invalid symbol."})]
    with pytest.raises(VenueError, match=r"^HTTP 400, code -1121: Invalid symbol\.$"):
        client.bars("klines", "1h", "NOPE", FIRST_MS * 1000, exchange.now_ms * 1000)
    assert len(exchange.asked) == 1


def test_a_host_that_does_not_answer_is_one_line() -> None:
    pytest.importorskip("binance", reason="needs python-binance, the extra live")
    settings = RestSettings(base_url="http://127.0.0.1:9", timeout_s=1.0, retries=1, backoff_s=0.0)
    with (
        RestClient(settings, sleep=lambda _: None) as client,
        pytest.raises(VenueError, match=r"^http://127\.0\.0\.1:9: .*refused"),
    ):
        client.now_us()


async def test_a_client_leaves_no_event_loop_open_and_takes_none_that_runs() -> None:
    pytest.importorskip("binance", reason="needs python-binance, the extra live")
    settings = RestSettings(base_url="http://127.0.0.1:9", timeout_s=1.0, retries=0, backoff_s=0.0)
    with RestClient(settings) as client:
        assert client._client.loop is not asyncio.get_running_loop()
        assert client._client.loop.is_closed()


def test_without_python_binance_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    settings = RestSettings(base_url="http://x", timeout_s=1.0, retries=0, backoff_s=0.0)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'quantcore\[live\]'"):
        RestClient(settings)


@pytest.mark.parametrize(
    ("name", "value"), [("base_url", "x"), ("timeout_s", 0.0), ("retries", -1), ("backoff_s", -1.0)]
)
def test_settings_out_of_range_are_refused(name: str, value: Any) -> None:
    values: dict[str, Any] = {
        "base_url": "http://x",
        "timeout_s": 1.0,
        "retries": 0,
        "backoff_s": 0.0,
    }
    shown = "rest_url" if name == "base_url" else name
    with pytest.raises(ConfigError, match=f"{shown} must"):
        RestSettings(**(values | {name: value}))
