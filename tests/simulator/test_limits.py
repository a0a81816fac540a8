"""Weights and order counts: what is allowed, 429, then 418, and nothing that grows."""

from __future__ import annotations

import json

import pytest

from live.simulator.limits import MINUTE_US, SECOND_US, Limited, Limits, LimitSettings
from live.simulator.routes import ROUTES, Security

SMALL = LimitSettings(weight_1m=10, orders_10s=3, orders_1m=5, funding_5m=2, refusals_max=2)
MIDNIGHT = 1_735_689_600_000_000


def test_weight_is_counted_per_address_and_minute() -> None:
    limits = Limits(SMALL)
    assert limits.spend("a", 4, MIDNIGHT) == 4
    assert limits.spend("a", 5, MIDNIGHT + 59 * SECOND_US) == 9
    assert limits.spend("b", 1, MIDNIGHT + 59 * SECOND_US) == 1
    assert limits.spend("a", 1, MIDNIGHT + MINUTE_US) == 1


def test_weight_over_the_limit_is_429_until_the_minute_ends() -> None:
    limits = Limits(SMALL)
    limits.spend("a", 10, MIDNIGHT)
    with pytest.raises(Limited, match=r"current limit of IP\(a\) is 10 requests") as refused:
        limits.spend("a", 1, MIDNIGHT + 45 * SECOND_US)
    assert (refused.value.code, refused.value.status) == (-1003, 429)
    assert refused.value.retry_us == 15 * SECOND_US
    assert limits.spend("a", 1, MIDNIGHT + MINUTE_US) == 1


def banned(limits: Limits, now_us: int) -> Limited:
    limits.spend("a", 10, now_us)
    for _ in range(SMALL.refusals_max):
        with pytest.raises(Limited) as refused:
            limits.spend("a", 1, now_us)
        assert refused.value.status == 429
    with pytest.raises(Limited) as refused:
        limits.spend("a", 1, now_us)
    return refused.value


def test_who_goes_on_after_429_is_banned_for_two_minutes_then_four() -> None:
    limits = Limits(SMALL)
    first = banned(limits, MIDNIGHT)
    assert (first.code, first.status, first.retry_us) == (-1003, 418, 2 * MINUTE_US)
    assert f"banned until {(MIDNIGHT + 2 * MINUTE_US) // 1000}" in first.message
    with pytest.raises(Limited) as still:
        limits.spend("a", 1, MIDNIGHT + MINUTE_US)
    assert (still.value.status, still.value.retry_us) == (418, MINUTE_US)
    assert limits.spend("b", 1, MIDNIGHT + MINUTE_US) == 1
    assert banned(limits, MIDNIGHT + 10 * MINUTE_US).retry_us == 4 * MINUTE_US


def test_a_ban_is_never_longer_than_three_days() -> None:
    limits, now_us = Limits(SMALL), MIDNIGHT
    lengths = []
    for _ in range(14):
        lengths.append(banned(limits, now_us).retry_us)
        now_us += lengths[-1]
    assert lengths[-1] == lengths[-2] == 3 * 24 * 60 * MINUTE_US


def test_orders_are_counted_in_both_windows_and_refused_whole() -> None:
    limits = Limits(SMALL)
    one = {"10S": 1, "1M": 1}
    for n in (1, 2, 3):
        assert limits.place("k", one, MIDNIGHT) == {"10S": n, "1M": n}
    with pytest.raises(Limited, match="current limit is 3 orders per TEN_SECONDS") as refused:
        limits.place("k", one, MIDNIGHT + SECOND_US)
    assert (refused.value.code, refused.value.status) == (-1015, 429)
    assert refused.value.retry_us == 9 * SECOND_US
    assert limits.place("other", one, MIDNIGHT) == {"10S": 1, "1M": 1}
    later = MIDNIGHT + 10 * SECOND_US
    assert limits.place("k", one, later) == {"10S": 1, "1M": 4}
    assert limits.place("k", one, later) == {"10S": 2, "1M": 5}
    with pytest.raises(Limited, match="current limit is 5 orders per MINUTE"):
        limits.place("k", one, later)


def test_funding_history_has_a_limit_of_its_own() -> None:
    limits = Limits(SMALL)
    limits.spend_funding("a", MIDNIGHT)
    limits.spend_funding("a", MIDNIGHT)
    with pytest.raises(Limited, match="is 2 requests per 5 minutes"):
        limits.spend_funding("a", MIDNIGHT + 4 * MINUTE_US)
    limits.spend_funding("a", MIDNIGHT + 5 * MINUTE_US)


def test_counts_are_told_by_limit() -> None:
    limits = Limits(SMALL)
    limits.spend("a", 4, MIDNIGHT)
    limits.place("k", {"10S": 2, "1M": 1}, MIDNIGHT)
    weight, seconds, minute = limits.counts("a", "k", MIDNIGHT)
    assert weight == {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 10,
        "count": 4,
    }
    assert (seconds["rateLimitType"], seconds["intervalNum"], seconds["count"]) == ("ORDERS", 10, 2)
    assert (minute["interval"], minute["limit"], minute["count"]) == ("MINUTE", 5, 1)
    assert limits.counts("a", None, MIDNIGHT) == [weight]


def test_without_enforcement_requests_are_only_counted() -> None:
    limits = Limits(SMALL, enforced=False)
    assert limits.spend("a", 5000, MIDNIGHT) == 5000
    assert limits.place("k", {"10S": 99}, MIDNIGHT) == {"10S": 99}
    for _ in range(5):
        limits.spend_funding("a", MIDNIGHT)


def test_counting_many_addresses_takes_bounded_memory() -> None:
    limits = Limits(SMALL)
    for i in range(30_000):
        limits.spend(str(i), 1, MIDNIGHT)
    assert len(limits._weight._counts) == 10_000
    assert limits.spend("0", 1, MIDNIGHT) == 2


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"limits\.weight_1m must be >= 1, was 0"):
        LimitSettings(weight_1m=0, orders_10s=1, orders_1m=1, funding_5m=1, refusals_max=1)


@pytest.mark.parametrize(
    ("name", "params", "weight"),
    [
        ("GET /fapi/v1/klines", {"limit": "99"}, 1),
        ("GET /fapi/v1/klines", {"limit": "100"}, 2),
        ("GET /fapi/v1/klines", {}, 5),
        ("GET /fapi/v1/klines", {"limit": "1000"}, 5),
        ("GET /fapi/v1/klines", {"limit": "1500"}, 10),
        ("GET /fapi/v1/klines", {"limit": "x" * 9}, 5),
        ("GET /fapi/v1/klines", {"limit": "9" * 20}, 5),
        ("GET /fapi/v1/depth", {"limit": "50"}, 2),
        ("GET /fapi/v1/depth", {"limit": "100"}, 5),
        ("GET /fapi/v1/depth", {}, 10),
        ("GET /fapi/v1/depth", {"limit": "1000"}, 20),
        ("GET /fapi/v1/ticker/24hr", {"symbol": "BTCUSDT"}, 1),
        ("GET /fapi/v1/ticker/24hr", {}, 40),
        ("GET /fapi/v1/openOrders", {}, 40),
        ("POST /fapi/v1/order", {}, 0),
        ("POST /fapi/v1/countdownCancelAll", {}, 10),
    ],
)
def test_weights_are_those_that_the_exchange_publishes(
    name: str, params: dict[str, str], weight: int
) -> None:
    assert ROUTES[name].weight_of(params) == weight


def test_only_routes_that_send_orders_count_as_orders() -> None:
    counted = {name for name, route in ROUTES.items() if route.orders}
    assert counted == {
        "POST /fapi/v1/order",
        "PUT /fapi/v1/order",
        "POST /fapi/v1/batchOrders",
        "PUT /fapi/v1/batchOrders",
        "POST /fapi/v1/algoOrder",
    }
    assert all(ROUTES[name].security is Security.SIGNED for name in counted)


def test_a_restored_state_has_counts_and_bans() -> None:
    first, second = Limits(SMALL), Limits(SMALL)
    banned(first, MIDNIGHT)
    first.spend("b", 4, MIDNIGHT)
    first.spend_funding("b", MIDNIGHT)
    first.place("key", {"10S": 3, "1M": 3}, MIDNIGHT)
    second.restore(json.loads(json.dumps(first.state())))
    for limits in (first, second):
        assert limits.spend("b", 3, MIDNIGHT + SECOND_US) == 7
        with pytest.raises(Limited, match="banned until") as refused:
            limits.spend("a", 1, MIDNIGHT + MINUTE_US)
        assert refused.value.retry_us == MINUTE_US
        with pytest.raises(Limited, match="3 orders per TEN_SECONDS"):
            limits.place("key", {"10S": 1, "1M": 1}, MIDNIGHT + SECOND_US)
        limits.spend_funding("b", MIDNIGHT)
        with pytest.raises(Limited, match="2 requests per 5 minutes"):
            limits.spend_funding("b", MIDNIGHT)
        longer = 10 * MINUTE_US
        assert banned(limits, MIDNIGHT + longer).retry_us == 4 * MINUTE_US
