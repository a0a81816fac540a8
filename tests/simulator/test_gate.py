"""The exchange's checks in its order, whatever the request came by."""

from __future__ import annotations

from typing import Any

import pytest

from live.simulator.gate import Answer
from live.simulator.limits import Limits
from live.simulator.routes import ROUTES, Security
from live.simulator.security import read_request
from live.simulator.wire import Refused
from tests.simulator.requests_sent import KEY, LIMITS, NOW_MS, Venue, gate_of, signed

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
POST_ORDER = "POST /fapi/v1/order"


def ask(
    name: str,
    query: str = "",
    *,
    key: str | None = None,
    venue: Venue | None = None,
    **options: Any,
) -> Answer:
    gate = gate_of(venue or Venue(), **options)
    return gate.answer(name, read_request(query, b""), key=key, address="127.0.0.1")


def code(answer: Answer) -> int:
    return int(answer.body.get("code", 0))


def test_a_signed_order_reaches_the_venue_without_what_only_proves_it() -> None:
    venue = Venue()
    answered: list[int] = []
    answer = ask(POST_ORDER, signed(ORDER), key=KEY, venue=venue, answered=answered)
    assert answer.status == 200
    assert venue.asked == [(POST_ORDER, ORDER)]
    assert answered == [venue.now_us]
    assert answer.headers == {
        "X-MBX-USED-WEIGHT-1M": "0",
        "X-MBX-ORDER-COUNT-10S": "1",
        "X-MBX-ORDER-COUNT-1M": "1",
    }


@pytest.mark.parametrize(
    ("name", "query", "key", "expected"),
    [
        ("GET /fapi/v1/nowhere", "a=1", None, -5000),
        ("PATCH /fapi/v1/order", "", None, -5000),
        (POST_ORDER, "", None, -2014),
        (POST_ORDER, "", "x" * 64, -2015),
        (POST_ORDER, "", KEY, -1102),
        (POST_ORDER, "symbol=BTCUSDT&side=&type=LIMIT", KEY, -1105),
        (POST_ORDER, "symbol=BTC%20USDT&side=BUY&type=LIMIT", KEY, -1100),
        (POST_ORDER, "symbol=BTCUSDT&side=BUY&type=LIMIT", KEY, -1102),
        (POST_ORDER, signed(ORDER, at_ms=NOW_MS - 9000, secret="wrong"), KEY, -1021),
        (POST_ORDER, signed(ORDER, secret="wrong"), KEY, -1022),
        ("GET /fapi/v1/depth", "symbol=NOPE", None, -1121),
        ("GET /fapi/v1/depth", "", None, -1102),
    ],
)
def test_refusals_come_in_the_order_of_the_exchange(
    name: str, query: str, key: str | None, expected: int
) -> None:
    venue = Venue()
    assert code(ask(name, query, key=key, venue=venue)) == expected
    assert venue.asked == []


def test_unknown_route_is_404_and_names_itself() -> None:
    answer = ask("GET /fapi/v1/nowhere")
    assert answer.status == 404
    assert answer.body == {"code": -5000, "msg": "Path /fapi/v1/nowhere, Method GET is invalid"}


def test_limit_comes_before_the_key() -> None:
    gate = gate_of(Venue(), limits=Limits(LIMITS))
    request = read_request("", b"")
    for _ in range(60):
        last = gate.answer("GET /fapi/v1/openOrders", request, key=None, address="a")
        assert last.status == 401
    assert last.headers["X-MBX-USED-WEIGHT-1M"] == "2400"
    refused = gate.answer("GET /fapi/v1/openOrders", request, key=None, address="a")
    assert (refused.status, code(refused)) == (429, -1003)
    assert refused.headers["Retry-After"] == "60"
    assert gate.answer("GET /fapi/v1/ping", request, key=None, address="b").status == 200


def test_order_count_is_refused_as_too_many_orders() -> None:
    limits = Limits(LIMITS)
    gate = gate_of(Venue(), limits=limits)
    limits.place(KEY, {"10S": 300}, NOW_MS * 1000)
    refused = gate.answer(
        POST_ORDER, read_request(signed(ORDER), b""), key=KEY, address="127.0.0.1"
    )
    assert (refused.status, code(refused)) == (429, -1015)
    assert refused.headers["Retry-After"] == "10"


def test_timestamps_are_held_against_the_exchanges_own_clock() -> None:
    assert code(ask(POST_ORDER, signed(ORDER), key=KEY, drift_us=6_000_000)) == -1021
    ahead = signed(ORDER, at_ms=NOW_MS + 6000)
    assert ask(POST_ORDER, ahead, key=KEY, drift_us=6_000_000).status == 200


def test_a_refusal_of_the_venue_keeps_its_status_and_tells_what_happened() -> None:
    def refuse(name: str, params: Any) -> Any:
        raise Refused(-2011, "Unknown order sent.", 400)

    answered: list[int] = []
    answer = ask(
        "DELETE /fapi/v1/order",
        signed({"symbol": "BTCUSDT"}),
        key=KEY,
        venue=Venue(answer=refuse),
        answered=answered,
    )
    assert (answer.status, answer.body) == (400, {"code": -2011, "msg": "Unknown order sent."})
    assert answered


def test_listen_key_needs_a_key_but_no_signature() -> None:
    assert code(ask("POST /fapi/v1/listenKey")) == -2014
    assert ask("POST /fapi/v1/listenKey", key=KEY).body == {"listenKey": KEY[::-1]}


def test_every_signed_route_refuses_an_unsigned_request() -> None:
    names = [n for n, route in ROUTES.items() if route.security is Security.SIGNED]
    assert len(names) > 40
    for name in names:
        venue = Venue()
        fields = dict.fromkeys(ROUTES[name].mandatory, "1")
        query = "&".join(f"{k}={v}" for k, v in fields.items())
        assert code(ask(name, query, key=KEY, venue=venue)) == -1102
        assert venue.asked == []
