"""What is asked over `/ws-fapi/v1` and how it is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.wire import Refused
from live.simulator.ws_api import METHODS, Call, read


def call(text: str) -> Call:
    asked = read(text, with_limits=True)[1]
    assert isinstance(asked, Call)
    return asked


def refusal(text: str) -> tuple[Any, Refused]:
    envelope, refused = read(text, with_limits=True)
    assert isinstance(refused, Refused)
    return envelope.request_id, refused


def test_a_call_names_the_route_and_keeps_numbers_as_written() -> None:
    asked = call(
        '{"id": "a-1", "method": "order.place", "params": {"symbol": "BTCUSDT", "price": 1.50, '
        '"reduceOnly": true, "timestamp": 1700000000000, "apiKey": "k", "signature": "s"}}'
    )
    assert asked.name == "POST /fapi/v1/order"
    assert asked.key == "k"
    assert asked.params == {
        "symbol": "BTCUSDT",
        "price": "1.50",
        "reduceOnly": "true",
        "timestamp": "1700000000000",
        "signature": "s",
    }
    assert asked.payload == (
        "apiKey=k&price=1.50&reduceOnly=true&symbol=BTCUSDT&timestamp=1700000000000"
    )


def test_the_two_apis_number_their_versions_differently() -> None:
    assert METHODS["v2/account.position"] == "GET /fapi/v3/positionRisk"
    assert METHODS["account.balance"] == "GET /fapi/v2/balance"


@pytest.mark.parametrize("sent", ["7", '"x-7.ü"', "null", '""', f'"{"x" * 36}"'])
def test_an_answer_carries_the_id_as_it_came(sent: str) -> None:
    envelope, _ = read(f'{{"id": {sent}, "method": "ping"}}', with_limits=True)
    answer = json.loads(envelope.success({}, [{"limit": 2400}]))
    assert answer == {
        "id": json.loads(sent),
        "status": 200,
        "result": {},
        "rateLimits": [{"limit": 2400}],
    }


@pytest.mark.parametrize("sent", ["1.5", "[]", "true", f'"{"x" * 37}"', "9" * 5000])
def test_a_wrong_id_is_refused_and_not_sent_back(sent: str) -> None:
    known, refused = refusal(f'{{"id": {sent}, "method": "ping"}}')
    assert known is None
    assert refused.code == -1135
    assert "'id'" in refused.message


def test_a_refusal_is_framed_as_the_exchange_has_it() -> None:
    envelope, _ = read('{"id": 7, "method": "order.place", "params": {}}', with_limits=False)
    text = envelope.failure(Refused(-2015, "Invalid API-key.", 401), [])
    assert json.loads(text) == {
        "id": 7,
        "status": 401,
        "error": {"code": -2015, "msg": "Invalid API-key."},
    }


@pytest.mark.parametrize(("asked", "told"), [("true", True), ("false", False)])
def test_a_request_may_ask_for_its_limits(asked: str, told: bool) -> None:
    text = f'{{"id": 1, "method": "time", "params": {{"returnRateLimits": {asked}}}}}'
    envelope, time = read(text, with_limits=not told)
    assert ("rateLimits" in json.loads(envelope.success({}, []))) == told
    assert isinstance(time, Call)
    assert time.params == {}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", -1135, "JSON"),
        ("[" * 100_000, -1135, "JSON"),
        ("[1]", -1135, "JSON"),
        ('{"id": 1}', -1020, "unknown method"),
        ('{"id": 1, "method": "order.destroy"}', -1020, "unknown method"),
        ('{"id": 1, "method": 5}', -1020, "unknown method"),
        ('{"id": 1, "method": "session.logon"}', -1020, "Ed25519"),
        ('{"id": 1, "method": "ping", "params": [1]}', -1135, "'params'"),
        ('{"id": 1, "method": "depth", "params": {"symbol": ["BTCUSDT"]}}', -1102, "'symbol'"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, code: int, words: str) -> None:
    _, refused = refusal(text)
    assert refused.code == code
    assert words in refused.message


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["id", "method", "params"]) | st.text(), inner)
        ),
    ).map(json.dumps)
)
def test_whatever_is_sent_is_answered(text: str) -> None:
    envelope, asked = read(text, with_limits=True)
    refused = asked if isinstance(asked, Refused) else Refused(-1000, "x")
    assert json.loads(envelope.failure(refused, []))["status"] == 400
