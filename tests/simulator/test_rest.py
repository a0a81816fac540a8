"""REST through aiohttp's test client: every answer in the exchange's own form, whatever is sent."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from live.simulator.gate import Gate
from live.simulator.limits import Limits
from live.simulator.listener import Listener, listen
from live.simulator.replies import reply_of
from live.simulator.rest import BODY_MAX, OnRequest, add_rest
from live.simulator.routes import ROUTES
from tests.simulator.requests_sent import (
    KEY,
    LIMITS,
    NOW_MS,
    SECRET,
    Venue,
    digest,
    gate_of,
    nothing,
    signed,
)

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
HEADERS = {"X-MBX-APIKEY": KEY}
Client = TestClient[web.Request, web.Application]


def application(gate: Gate, on_request: OnRequest = nothing) -> web.Application:
    app = web.Application(client_max_size=BODY_MAX)
    add_rest(app, gate, on_request)
    return app


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
async def client(venue: Venue) -> AsyncIterator[Client]:
    async with TestClient(TestServer(application(gate_of(venue)))) as client:
        yield client


def encoded(path: str) -> URL:
    return URL(path, encoded=True)


async def test_answers_are_compact_json_with_the_weight(client: Client) -> None:
    response = await client.get("/fapi/v1/time")
    assert await response.text() == f'{{"serverTime":{NOW_MS}}}'
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-MBX-USED-WEIGHT-1M"] == "1"


async def test_an_order_may_come_in_query_body_or_both(client: Client, venue: Venue) -> None:
    query = signed(ORDER)
    head, body = "symbol=BTCUSDT&side=BUY", f"type=MARKET&quantity=1&timestamp={NOW_MS}"
    mixed = f"{body}&signature={digest(head + body)}"
    for path, data in (
        (f"/fapi/v1/order?{query}", None),
        ("/fapi/v1/order", query),
        (f"/fapi/v1/order?{head}", mixed),
    ):
        response = await client.post(encoded(path), data=data, headers=HEADERS)
        assert response.status == 200, await response.text()
        assert response.headers["X-MBX-ORDER-COUNT-1M"] == str(len(venue.asked))
    assert venue.asked == [("POST /fapi/v1/order", ORDER)] * 3


async def test_query_is_signed_as_it_was_written(client: Client, venue: Venue) -> None:
    text = f"symbol=BTCUSDT&orderIdList=%5b1%2C2%5D&timestamp={NOW_MS}"
    path = f"/fapi/v1/batchOrders?{text}&signature={digest(text)}"
    response = await client.delete(encoded(path), headers=HEADERS)
    assert response.status == 200, await response.text()
    assert venue.asked[0][1]["orderIdList"] == "[1,2]"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, -5000),
        ("GET", "/fapi/v1/nowhere", 404, -5000),
        ("GET", "/fapi/v1/order/", 404, -5000),
        ("PATCH", "/fapi/v1/order", 404, -5000),
        ("OPTIONS", "/fapi/v1/order", 404, -5000),
        ("GET", "/fapi/v1/depth?symbol=NOPE", 400, -1121),
        ("POST", "/fapi/v1/order", 401, -2014),
    ],
)
async def test_refusals_are_in_the_exchanges_form(
    client: Client, method: str, path: str, status: int, code: int
) -> None:
    response = await client.request(method, path)
    assert response.status == status
    body = await response.json()
    assert set(body) == {"code", "msg"}
    assert body["code"] == code


@pytest.mark.parametrize("declared", [True, False])
async def test_ten_megabytes_are_refused_and_the_server_stays(
    client: Client, declared: bool
) -> None:
    big = b"a=" + b"1" * 10_000_000

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 1 << 16):
            yield big[start : start + (1 << 16)]

    response = await client.post(
        "/fapi/v1/order", data=io.BytesIO(big) if declared else in_pieces(), headers=HEADERS
    )
    assert response.status == 413
    assert (await response.json())["code"] == -1101
    assert (await client.get("/fapi/v1/ping")).status == 200


async def test_a_defect_becomes_unknown_error_and_a_line_in_the_log(
    venue: Venue, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str, params: Any) -> Any:
        raise ZeroDivisionError("a defect")

    venue.answer = broken
    response = await client.post("/fapi/v1/order", data=signed(ORDER), headers=HEADERS)
    assert response.status == 400
    assert (await response.json())["code"] == -1000
    assert "POST /fapi/v1/order failed" in caplog.text
    assert "a defect" in caplog.text
    assert SECRET not in caplog.text


async def test_a_number_that_is_none_is_never_sent(venue: Venue, client: Client) -> None:
    venue.answer = lambda name, params: {"price": float("nan")}
    response = await client.post("/fapi/v1/order", data=signed(ORDER), headers=HEADERS)
    assert (await response.json())["code"] == -1000


def fault(**given_fields: Any) -> SimpleNamespace:
    fields = {"delay_s": 0.0, "answer_delay_s": 0.0, "accepted": True, "reply": None, "drop": False}
    return SimpleNamespace(**{**fields, **given_fields})


REPLY = SimpleNamespace(status=503, body={"code": -1000, "msg": "?"}, retry_us=2_500_000)


@pytest.mark.parametrize(("speed", "wait"), [(1.0, "90"), (20.0, "5"), (1e6, "1")])
async def test_a_client_is_told_to_wait_in_its_own_seconds(speed: float, wait: str) -> None:
    reply = reply_of("ban", now_us=0, until_us=90_000_000)
    gate = gate_of(Venue(), speed=speed)
    app = application(gate, lambda *asked: fault(accepted=False, reply=reply))
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/fapi/v1/ping")
        assert (response.status, response.headers["Retry-After"]) == (418, wait)


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_fault_answers_whether_or_not_the_order_was_placed(
    venue: Venue, accepted: bool
) -> None:
    asked: list[tuple[str, str]] = []

    def on_request(name: str, key: str, now_us: int, params: Any) -> Any:
        asked.append((name, key))
        assert params["symbol"] == "BTCUSDT"
        return fault(accepted=accepted, reply=REPLY)

    app = application(gate_of(venue), on_request)
    async with TestClient(TestServer(app)) as client:
        response = await client.post("/fapi/v1/order", data=signed(ORDER), headers=HEADERS)
        assert response.status == 503
        assert response.headers["Retry-After"] == "3"
    assert len(venue.asked) == accepted
    assert asked == [("POST /fapi/v1/order", KEY)]


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_dropped_connection_gives_no_answer(venue: Venue, accepted: bool) -> None:
    app = application(gate_of(venue), lambda *_: fault(accepted=accepted, drop=True))
    async with TestClient(TestServer(app)) as client:
        with pytest.raises(aiohttp.ClientError):
            await client.post("/fapi/v1/order", data=signed(ORDER), headers=HEADERS)
    assert len(venue.asked) == accepted


async def test_latency_lets_other_requests_pass(venue: Venue) -> None:
    def on_request(name: str, key: str, now_us: int, params: Any) -> Any:
        return fault(delay_s=0.2) if name == "POST /fapi/v1/order" else None

    async with TestClient(TestServer(application(gate_of(venue), on_request))) as client:
        slow = asyncio.create_task(
            client.post("/fapi/v1/order", data=signed(ORDER), headers=HEADERS)
        )
        await asyncio.sleep(0.02)
        assert (await client.get("/fapi/v1/ping")).status == 200
        assert not slow.done()
        assert venue.asked == []
        assert (await slow).status == 200


async def test_a_thousand_connections_at_once_are_all_answered(venue: Venue) -> None:
    gate = gate_of(venue, limits=Limits(LIMITS, enforced=False))
    async with (
        TestServer(application(gate)) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session,
    ):

        async def ping() -> int:
            async with session.get(server.make_url("/fapi/v1/ping")) as response:
                return response.status

        assert set(await asyncio.gather(*(ping() for _ in range(1000)))) == {200}


class Exchange:
    """One exchange on a port for all examples of the fuzz tests, in a loop of its own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        gate = gate_of(Venue(), limits=Limits(LIMITS, enforced=False))
        self.listener, self.session = runner.run(self._start(gate))

    async def _start(self, gate: Gate) -> tuple[Listener, aiohttp.ClientSession]:
        listener = await listen(application(gate), host="127.0.0.1", port=0)
        return listener, aiohttp.ClientSession(f"http://{listener.address}")

    def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async def send() -> tuple[int, Any]:
            async with self.session.request(method, encoded(path), **options) as response:
                return response.status, json.loads(await response.read() or b"null")

        return self.runner.run(send())

    def close(self) -> None:
        self.runner.run(self.session.close())
        self.runner.run(self.listener.close())


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    with asyncio.Runner() as runner:
        made = Exchange(runner)
        yield made
        made.close()


NAMES = sorted({p for route in ROUTES.values() for p in route.mandatory} | {"timestamp", "limit"})
PERCENT = st.lists(st.integers(0, 255)).map(lambda b: "".join(f"%{x:02X}" for x in b))
SAFE = st.text("abcXYZ019-_.~%+=&;,:@!$'()*/?", max_size=40)
VALUES = st.one_of(
    st.sampled_from(
        ["BTCUSDT", "", "null", "[]", "{}", '[{"symbol":', "NaN", "-1", "1e999", "9" * 400]
    ),
    st.integers(-(10**25), 10**25).map(str),
    st.floats().map(str),
    st.text(max_size=30),
)
FIELDS = st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), VALUES, max_size=6)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
PATHS = st.one_of(
    st.sampled_from(sorted({name.split()[1] for name in ROUTES})),
    SAFE.map(lambda text: "/x" + text.replace("?", "").replace("%", "")),
)
KEYS = st.sampled_from([None, KEY, "x", "y" * 64, "z" * 3000])
FUZZ = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def is_in_form(status: int, body: Any) -> bool:
    if status == 200:
        return not (isinstance(body, dict) and "code" in body)
    return (
        400 <= status < 500
        and set(body) == {"code", "msg"}
        and isinstance(body["code"], int)
        and body["code"] < 0
        and isinstance(body["msg"], str)
    )


@FUZZ
@given(METHODS, PATHS, st.one_of(PERCENT, SAFE), st.binary(max_size=300), KEYS)
def test_noise_gets_the_exchanges_form(
    exchange: Exchange, method: str, path: str, query: str, body: bytes, key: str | None
) -> None:
    headers = {} if key is None else {"X-MBX-APIKEY": key}
    data = body if method != "TRACE" else None
    outcome = exchange.ask(method, f"{path}?{query}", data=data, headers=headers)
    assert is_in_form(*outcome)


@FUZZ
@given(st.sampled_from(sorted(ROUTES)), FIELDS, st.booleans(), st.booleans())
def test_signed_nonsense_gets_the_exchanges_form(
    exchange: Exchange, name: str, fields: dict[str, str], in_body: bool, as_json: bool
) -> None:
    method, path = name.split()
    fields = {k: v for k, v in fields.items() if k not in ("timestamp", "signature", "recvWindow")}
    query = signed({k: v.encode("utf-8", "ignore") for k, v in fields.items()})
    headers = {**HEADERS, "Content-Type": "application/json" if as_json else "text/plain"}
    where: dict[str, Any] = {"data": query} if in_body else {}
    target = path if in_body else f"{path}?{query}"
    status, body = exchange.ask(method, target, headers=headers, **where)
    assert is_in_form(status, body)
    assert not (isinstance(body, dict) and body.get("code") == -1022)


@FUZZ
@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "nonsense"]))
def test_bodies_that_are_not_what_they_say_get_the_exchanges_form(
    exchange: Exchange, body: bytes, encoding: str
) -> None:
    outcome = exchange.ask(
        "POST", "/fapi/v1/order", data=body, headers={**HEADERS, "Content-Encoding": encoding}
    )
    assert is_in_form(*outcome)
    assert outcome[0] != 200
    assert outcome[1]["code"] != -1000
