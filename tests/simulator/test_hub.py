"""Which route carries what, and who hears it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from live.simulator.hub import (
    MAX_STREAMS,
    Hub,
    Message,
    Subscriber,
    SubscriptionError,
    event_us,
    expired,
    forced_streams,
    in_order,
    private_names,
    route_of,
)


def heard(hub: Hub, message: Message) -> list[tuple[Subscriber, str]]:
    return list(hub.fan_out(message))


@pytest.mark.parametrize(
    "name",
    [
        "btcusdt@bookTicker",
        "!bookTicker",
        "btcusdt@depth",
        "btcusdt@depth@100ms",
        "btcusdt@depth20@500ms",
        "btcusdt@rpiDepth@500ms",
        "btcusdt@trade",
    ],
)
def test_the_books_are_public(name: str) -> None:
    assert route_of(name) == "public"


@pytest.mark.parametrize(
    "name",
    [
        "btcusdt@kline_1m",
        "btcusdt@aggTrade",
        "btcusdt@markPrice@1s",
        "!markPrice@arr",
        "btcusdt@ticker",
        "!miniTicker@arr",
        "btcusdt@forceOrder",
        "!forceOrder@arr",
        "btcusdt_perpetual@continuousKline_1m",
        "!contractInfo",
    ],
)
def test_everything_else_of_the_market_is_market(name: str) -> None:
    assert route_of(name) == "market"


@pytest.mark.parametrize(
    "name", ["pqia91ma19a5", "pqia91ma19a5@ORDER_TRADE_UPDATE", "pqia91ma19a5@listenKeyExpired"]
)
def test_a_listen_key_is_private(name: str) -> None:
    assert route_of(name) == "private"


@pytest.mark.parametrize("route", ["public", "market", "private"])
@pytest.mark.parametrize("name", ["btcusdt@depth", "btcusdt@aggTrade", "pqia91"])
def test_a_name_on_the_wrong_route_is_kept_and_silent(route: str, name: str) -> None:
    hub, listener = Hub(legacy="mute"), Subscriber(route, combined=False)  # type: ignore[arg-type]  # parametrized
    hub.subscribe(listener, [name])
    assert list(listener.names) == [name]
    payload = {"e": "ORDER_TRADE_UPDATE"}
    assert bool(heard(hub, Message(name, payload))) == (route_of(name) == route)


@pytest.mark.parametrize(("legacy", "count"), [("deliver", 2), ("mute", 0)])
def test_legacy_paths_carry_everything_or_nothing(legacy: str, count: int) -> None:
    hub, listener = Hub(legacy=legacy), Subscriber("legacy", combined=False)
    hub.subscribe(listener, ["btcusdt@aggTrade", "pqia91"])
    messages = [Message("btcusdt@aggTrade", {"e": "aggTrade"}), Message("pqia91", {"e": "A"})]
    assert sum(len(heard(hub, message)) for message in messages) == count


def test_legacy_is_one_of_two_words() -> None:
    with pytest.raises(ValueError, match="legacy must be one of deliver, mute, was maybe"):
        Hub(legacy="maybe")


def test_a_payload_is_wrapped_for_those_that_combine() -> None:
    hub = Hub(legacy="mute")
    raw, combined = (Subscriber("market", combined=c) for c in (False, True))
    for listener in (raw, combined):
        hub.subscribe(listener, ["!ticker@arr"])
    texts = dict(heard(hub, Message("!ticker@arr", [{"e": "24hrTicker", "E": 5}])))
    assert json.loads(texts[raw]) == [{"e": "24hrTicker", "E": 5}]
    assert json.loads(texts[combined]) == {
        "stream": "!ticker@arr",
        "data": [{"e": "24hrTicker", "E": 5}],
    }


def test_events_choose_what_a_user_hears_but_the_expiry_is_heard_by_all() -> None:
    hub = Hub(legacy="mute")
    every, some = (Subscriber("private", combined=False) for _ in range(2))
    hub.subscribe(every, ["key"])
    hub.subscribe(some, ["key@ACCOUNT_UPDATE", "key@TRADE_LITE"])

    def hearers(event: str) -> list[Subscriber]:
        return [listener for listener, _ in heard(hub, Message("key", {"e": event}))]

    assert hearers("ACCOUNT_UPDATE") == [every, some]
    assert hearers("ORDER_TRADE_UPDATE") == [every]
    assert hearers("listenKeyExpired") == [every, some]
    hub.unsubscribe(some, ["key@ACCOUNT_UPDATE"])
    assert hearers("ACCOUNT_UPDATE") == [every]
    assert hearers("TRADE_LITE") == [every, some]
    hub.unsubscribe(some, ["key@TRADE_LITE", "unheard"])
    assert hearers("listenKeyExpired") == [every]


def test_one_stream_too_many_adds_none() -> None:
    hub, listener = Hub(legacy="mute"), Subscriber("market", combined=False)
    names = [f"s{i}usdt@aggTrade" for i in range(MAX_STREAMS)]
    hub.subscribe(listener, names)
    hub.subscribe(listener, names[:3])
    with pytest.raises(SubscriptionError) as error:
        hub.subscribe(listener, ["btcusdt@aggTrade"])
    assert error.value.body == {"code": 4, "msg": "Too many subscriptions"}
    assert list(listener.names) == names
    assert len(hub.streams()) == MAX_STREAMS


def test_nothing_is_left_of_those_who_go() -> None:
    hub = Hub(legacy="mute")
    for leave in (hub.remove, lambda gone: hub.unsubscribe(gone, list(gone.names))):
        listener = Subscriber("market", combined=False)
        hub.subscribe(listener, ["btcusdt@aggTrade", "ethusdt@ticker", "key"])
        assert hub.streams() == ["btcusdt@aggTrade", "ethusdt@ticker"]
        leave(listener)
        assert hub.streams() == []
        assert listener.names == {}
        assert heard(hub, Message("btcusdt@aggTrade", {})) == []


def test_messages_go_out_by_event_time() -> None:
    due: dict[str, list[Any]] = {
        "a": [{"E": 1}, {"E": 3}],
        "b": [{"E": 1}, {"E": 2}],
        "c": [[{"E": 2}], []],
    }
    messages = [
        Message(stream, payload) for stream, payloads in due.items() for payload in payloads
    ]
    assert [(m.stream, event_us(m)) for m in in_order(messages)] == [
        ("c", 0),
        ("a", 1000),
        ("b", 1000),
        ("b", 2000),
        ("c", 2000),
        ("a", 3000),
    ]


def test_a_forced_order_has_two_streams() -> None:
    order = {"e": "forceOrder", "o": {"s": "BTCUSDT"}}
    assert forced_streams(order) == ("btcusdt@forceOrder", "!forceOrder@arr")


def test_the_expiry_is_what_the_exchange_sends() -> None:
    assert expired("key", 1_693_427_319_838) == {
        "e": "listenKeyExpired",
        "E": "1693427319838",
        "listenKey": "key",
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ([("listenKey", "k")], ["k"]),
        ([("listenKey", "k"), ("events", "A/B")], ["k@A", "k@B"]),
        ([("events", "A"), ("listenKey", "k"), ("events", "")], ["k"]),
        ([("listenKey", "")], []),
    ],
)
def test_listen_keys_and_events_are_read_from_the_address(
    query: list[tuple[str, str]], names: list[str]
) -> None:
    assert private_names(query) == names
