"""A port: what is not even HTTP is answered in the exchange's form, and no client stops the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live.simulator.limits import Limits
from live.simulator.listener import LINE_MAX, Listener, listen
from live.simulator.rest import BODY_MAX, add_rest
from quantcore.errors import ConfigError
from tests.simulator.requests_sent import LIMITS, Venue, gate_of, nothing

PING = b"GET /fapi/v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def application() -> web.Application:
    app = web.Application(client_max_size=BODY_MAX)
    add_rest(app, gate_of(Venue(), limits=Limits(LIMITS, enforced=False)), nothing)
    return app


async def talk(port: int, sent: bytes, *, patience_s: float = 10.0) -> bytes:
    """Send bytes and return what is answered until the server closes, or is waited for no longer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = b""
    try:
        writer.write(sent)
        async with asyncio.timeout(patience_s):
            while piece := await reader.read(1 << 16):
                answered += piece
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return answered


def outcome(answered: bytes) -> tuple[int, object]:
    head, _, body = answered.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = await listen(application(), host="127.0.0.1", port=0)
    yield made
    await made.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"POST /fapi/v1/order HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /fapi/v1/order HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /fapi/v1/ping?a=" + b"1" * 2 * LINE_MAX + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /fapi/v1/ping HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
        b"GET /fapi/v1/ping HTTP/1.1\r\nA: " + b"b" * 2 * LINE_MAX + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_no_http_is_a_bad_request(listener: Listener, sent: bytes) -> None:
    answered = await talk(listener.port, sent)
    assert b"Content-Type: application/json" in answered
    status, body = outcome(answered)
    assert status == 400
    assert body == {"code": -1100, "msg": "Illegal characters found in a parameter."}
    assert outcome(await talk(listener.port, PING))[0] == 200


async def test_a_client_that_asks_before_it_sends_is_let_on(listener: Listener) -> None:
    head = b"POST /fapi/v1/nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\nExpect: "
    assert b"100 Continue" in await talk(listener.port, head + b"100-continue\r\n\r\na=1")
    status, body = outcome(await talk(listener.port, head + b"miracles\r\n\r\na=1"))
    assert status == 404
    assert isinstance(body, dict)
    assert body["code"] == -5000


HEAD = b"POST /fapi/v1/order HTTP/1.1\r\nHost: x\r\nContent-Length: "


async def test_a_body_that_is_announced_too_long_is_refused_before_it_comes(
    listener: Listener,
) -> None:
    status, body = outcome(await talk(listener.port, HEAD + b"10000000\r\n\r\n", patience_s=1.0))
    assert status == 413
    assert isinstance(body, dict)
    assert body["code"] == -1101


async def test_a_body_that_does_not_come_is_given_up(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.simulator.rest.BODY_SECONDS", 0.05)
    status, body = outcome(await talk(listener.port, HEAD + b"10\r\n\r\na=", patience_s=1.0))
    assert status == 400
    assert isinstance(body, dict)
    assert body["code"] == -1100


async def test_clients_that_break_off_leave_nothing_behind(listener: Listener) -> None:
    before = listener.activity[0]
    for sent in (PING, PING[:20], b"POST /fapi/v1/order HTTP/1.1\r\nContent-Length: 99\r\n\r\na="):
        for _ in range(50):
            _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(sent)
            writer.transport.abort()
    for _ in range(100):
        await asyncio.sleep(0.02)
        if listener.activity[0] == before:
            break
    assert listener.activity[0] == before
    assert outcome(await talk(listener.port, PING))[0] == 200


async def test_thousands_of_silent_connections_do_not_keep_others_out(listener: Listener) -> None:
    held = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(3000)]
    await asyncio.sleep(0.1)
    assert listener.activity[0] == 3000
    assert outcome(await talk(listener.port, PING))[0] == 200
    for _, writer in held:
        writer.transport.abort()


async def test_a_port_that_is_taken_is_refused_by_name(listener: Listener) -> None:
    with pytest.raises(
        ConfigError, match=f"control_port must be free on 127.0.0.1, was {listener.port}"
    ):
        await listen(application(), host="127.0.0.1", port=listener.port, key="control_port")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_address_is_where_it_answers(host: str) -> None:
    made = await listen(application(), host=host, port=0)
    try:
        assert made.address.endswith(f":{made.port}")
        assert outcome(await talk(made.port, PING))[0] == 200
    finally:
        await made.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", made.port)


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[tuple[asyncio.Runner, int]]:
    with asyncio.Runner() as runner:
        made = runner.run(listen(application(), host="127.0.0.1", port=0))
        yield runner, made.port
        runner.run(made.close())


PIECES = st.sampled_from(
    [
        b"GET ", b"POST ", b"/fapi/v1/order", b"/ws", b"?a=1", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"\r\n\r\n",
        b"Host: x", b"Content-Length: 5", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip", b"Expect: 100-continue", b"Upgrade: websocket", b"Connection: Upgrade", b"0\r\n",
        b"5\r\nabcde\r\n", b"X-MBX-APIKEY: \xff\xfe", b"\x00", b"%", b"%zz", b"#", b"http://", b"[::1",
    ]
)  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=14).map(b"".join))
def test_bytes_of_any_kind_never_stop_the_server_or_make_it_fail(
    shared_exchange: tuple[asyncio.Runner, int], sent: bytes
) -> None:
    runner, port = shared_exchange
    answered = runner.run(talk(port, sent, patience_s=0.05))
    for line in answered.split(b"HTTP/1.1 ")[1:]:
        assert line[:1] in b"124", line
    assert outcome(runner.run(talk(port, PING)))[0] == 200
