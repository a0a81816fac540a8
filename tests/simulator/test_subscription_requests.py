"""What a subscriber may say, and the exchange's objections."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.hub import MAX_STREAMS, Hub, Subscriber
from live.simulator.subscription_requests import answer


@pytest.fixture
def hub() -> Hub:
    return Hub(legacy="mute")


@pytest.fixture
def listener() -> Subscriber:
    return Subscriber("market", combined=False)


def ask(hub: Hub, listener: Subscriber, request: Any) -> Any:
    return json.loads(answer(hub, listener, json.dumps(request)))


def test_subscriptions_are_made_listed_and_taken_back(hub: Hub, listener: Subscriber) -> None:
    names = ["btcusdt@aggTrade", "ethusdt@kline_1m"]
    assert ask(hub, listener, {"method": "SUBSCRIBE", "params": names, "id": 1}) == {
        "result": None,
        "id": 1,
    }
    listed = ask(hub, listener, {"method": "LIST_SUBSCRIPTIONS", "id": 3})
    assert listed == {"result": names, "id": 3}
    ask(hub, listener, {"method": "UNSUBSCRIBE", "params": names[:1], "id": 312})
    assert ask(hub, listener, {"method": "LIST_SUBSCRIPTIONS", "id": 0})["result"] == names[1:]
    assert hub.streams() == names[1:]


def test_the_combined_property_is_set_and_told(hub: Hub, listener: Subscriber) -> None:
    asked = {"method": "GET_PROPERTY", "params": ["combined"], "id": 2}
    assert ask(hub, listener, asked) == {"result": False, "id": 2}
    told = ask(hub, listener, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 5})
    assert told == {"result": None, "id": 5}
    assert ask(hub, listener, asked) == {"result": True, "id": 2}
    assert listener.combined


VARIANTS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ('{"method": "SET_PROPERTY", "params": ["speed", true], "id": 1}', 0, "Unknown property"),
        ('{"method": "GET_PROPERTY", "params": ["speed"], "id": 1}', 0, "Unknown property"),
        (
            '{"method": "SET_PROPERTY", "params": ["combined", "yes"], "id": 1}',
            1,
            "Invalid value type: expected Boolean",
        ),
        (
            '{"method": "SET_PROPERTY", "params": ["combined"], "id": 1}',
            1,
            "Invalid value type: expected Boolean",
        ),
        (
            '{"method": "GET_PROPERTY", "params": [5], "id": 1}',
            2,
            "Invalid request: property name must be a string",
        ),
        (
            '{"method": "GET_PROPERTY", "params": ["combined", true], "id": 1}',
            2,
            "Invalid request: too many parameters",
        ),
        (
            '{"method": "LIST_SUBSCRIPTIONS", "params": ["x"], "id": 1}',
            2,
            "Invalid request: too many parameters",
        ),
        (
            '{"method": "SUBSCRIBED", "params": [], "id": 1}',
            2,
            f"Invalid request: unknown variant `SUBSCRIBED`, expected one of {VARIANTS} at line 1 column 23",
        ),
        (
            '{\n"params": [],\n"id": 1\n}',
            2,
            "Invalid request: missing field `method` at line 4 column 1",
        ),
        (
            '{"method": "SUBSCRIBE", "id": 1}',
            2,
            "Invalid request: missing field `params` at line 1 column 32",
        ),
    ],
)
def test_an_objection_has_the_exchanges_code_and_words(
    hub: Hub, listener: Subscriber, text: str, code: int, message: str
) -> None:
    assert json.loads(answer(hub, listener, text)) == {
        "error": {"code": code, "msg": message},
        "id": 1,
    }


@pytest.mark.parametrize("sent", ["-1", "1.0", '"1"', "null", "true", "18446744073709551616", "[]"])
def test_an_id_is_an_unsigned_integer(hub: Hub, listener: Subscriber, sent: str) -> None:
    text = f'{{"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": {sent}}}'
    assert json.loads(answer(hub, listener, text)) == {
        "error": {
            "code": 2,
            "msg": "Invalid request: request ID must be an unsigned integer",
        }
    }
    assert hub.streams() == []


@pytest.mark.parametrize("text", ["", "ping", "{", "[" * 100_000, "9" * 5000])
def test_what_is_not_json_is_told_so(hub: Hub, listener: Subscriber, text: str) -> None:
    error = json.loads(answer(hub, listener, text))["error"]
    assert error["code"] == 3
    assert error["msg"].startswith("Invalid JSON")


@pytest.mark.parametrize("params", ["x", [1], {"a": 1}, ["s" * 257]])
def test_streams_are_a_list_of_names(hub: Hub, listener: Subscriber, params: Any) -> None:
    error = ask(hub, listener, {"method": "SUBSCRIBE", "params": params, "id": 1})["error"]
    assert error["code"] == 2
    assert listener.names == {}


def test_there_is_an_end_of_subscriptions(hub: Hub, listener: Subscriber) -> None:
    names = [f"s{i}usdt@aggTrade" for i in range(MAX_STREAMS + 1)]
    told = ask(hub, listener, {"method": "SUBSCRIBE", "params": names, "id": 9})
    assert told == {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 9}


@given(
    st.text()
    | st.fixed_dictionaries(
        {
            "method": st.sampled_from(["SUBSCRIBE", "UNSUBSCRIBE", "SET_PROPERTY", "x"])
            | st.none(),
            "params": st.none() | st.text() | st.lists(st.text() | st.booleans() | st.none()),
            "id": st.integers() | st.none() | st.text(),
        }
    ).map(json.dumps)
)
def test_whatever_is_said_is_answered(text: str) -> None:
    hub, listener = Hub(legacy="deliver"), Subscriber("legacy", combined=False)
    told = json.loads(answer(hub, listener, text))
    assert ("result" in told) != ("error" in told)
    hub.remove(listener)
    assert hub.streams() == []
