"""A request that meets a fault is answered, delayed or lost as configured, whatever happens to others."""

from __future__ import annotations

from typing import Any

import pytest

from live.simulator.replies import is_exempt_from_overload
from live.simulator.scenario import rule_of
from tests.simulator.fault_cases import ORDER, START_US, ask, at, faults, rule


@pytest.mark.parametrize(
    ("settings", "fate", "status", "code"),
    [
        ({"kind": "unknown_outcome", "placed": True}, (True, False, 0.0), 503, -1000),
        ({"kind": "unknown_outcome", "placed": False}, (False, False, 0.0), 503, -1000),
        ({"kind": "service_unavailable"}, (False, False, 0.0), 503, -1000),
        ({"kind": "overload"}, (False, False, 0.0), 503, -1008),
        ({"kind": "timeout", "stage": "after", "seconds": 2}, (True, False, 2.0), 408, -1007),
        ({"kind": "timeout", "stage": "before", "seconds": 2}, (False, False, 2.0), 408, -1007),
        ({"kind": "connection_drop", "stage": "after"}, (True, True, 0.0), None, None),
        ({"kind": "connection_drop", "stage": "before"}, (False, True, 0.0), None, None),
        ({"kind": "rate_limit", "seconds": 7}, (False, False, 0.0), 429, -1003),
        ({"kind": "ban", "duration_seconds": 120}, (False, False, 0.0), 418, -1003),
    ],
)  # fmt: skip
def test_a_failed_request_is_answered_as_the_exchange_does(
    settings: dict[str, Any], fate: tuple[bool, bool, float], status: int | None, code: int | None
) -> None:
    of = faults(rule_of(settings))
    fault = ask(of)
    assert fault is not None
    assert fault.fails
    assert (fault.accepted, fault.drop, fault.answer_delay_s) == fate
    assert (fault.reply.status if fault.reply else None) == status
    assert (fault.reply.body["code"] if fault.reply else None) == code
    (record,) = of.log
    assert (record.number, record.time_us, record.kind) == (1, START_US, settings["kind"])
    assert record.target == f"{ORDER} k"
    assert ("not carried out" in record.done) == (not fault.accepted)


def test_the_kinds_of_503_differ_in_their_words() -> None:
    replies = [ask(faults(rule(kind))) for kind in ("unknown_outcome", "service_unavailable", "overload")]  # fmt: skip
    assert [fault.reply.body["msg"] for fault in replies if fault and fault.reply] == [
        "Unknown error, please check your request or try again later.",
        "Service Unavailable.",
        "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. Please try again.",
    ]


def test_a_ban_says_until_when_and_a_limit_after_how_long() -> None:
    ban = ask(faults(rule("ban", at_seconds=10, duration_seconds=120)), 40.5)
    assert ban is not None
    assert ban.reply is not None
    assert ban.reply.retry_us == 89_500_000
    assert f"banned until {at(130) // 1000}." in ban.reply.body["msg"]
    limit = ask(faults(rule("rate_limit", seconds=7)), 3)
    assert limit is not None
    assert limit.reply is not None
    assert limit.reply.retry_us == 7_000_000


@pytest.mark.parametrize(
    ("name", "params", "exempt"),
    [
        (ORDER, {"side": "BUY"}, False),
        (ORDER, {"side": "SELL", "reduceOnly": "true"}, True),
        (ORDER, {"side": "SELL", "reduceOnly": "false"}, False),
        (ORDER, {"side": "SELL", "positionSide": "LONG"}, True),
        (ORDER, {"side": "BUY", "positionSide": "LONG"}, False),
        ("DELETE /fapi/v1/order", {}, True),
        ("POST /fapi/v1/algoOrder", {"closePosition": "true"}, True),
        ("GET /fapi/v2/account", {}, True),
        ("POST /fapi/v1/batchOrders", {"batchOrders": '[{"reduceOnly":"true"}]'}, True),
        ("POST /fapi/v1/batchOrders", {"batchOrders": '[{"reduceOnly":"true"},{"side":"BUY"}]'}, False),
        ("POST /fapi/v1/batchOrders", {"batchOrders": "[1"}, False),
        ("POST /fapi/v1/batchOrders", {"batchOrders": "[]"}, False),
        ("POST /fapi/v1/batchOrders", {}, False),
    ],
)  # fmt: skip
def test_overload_lets_pass_what_reduces_and_what_is_no_order(
    name: str, params: dict[str, str], exempt: bool
) -> None:
    assert is_exempt_from_overload(name, params) == exempt
    fault = faults(rule("overload")).on_request(name, "k", START_US, params)
    assert (fault is None) == exempt


@pytest.mark.parametrize(
    ("shape", "mean", "median"),
    [
        ({"distribution": "constant"}, 0.2, 0.2),
        ({"distribution": "uniform", "spread": 0.1}, 0.2, 0.2),
        ({"distribution": "exponential"}, 0.2, 0.2 * 0.6931),
        ({"distribution": "lognormal", "spread": 0.5}, 0.2 * 1.1331, 0.2),
    ],
)
@pytest.mark.parametrize("stage", ["before", "after"])
def test_latency_follows_its_distribution_before_or_after_acceptance(
    stage: str, shape: dict[str, Any], mean: float, median: float
) -> None:
    of = faults(rule("latency", seconds=0.2, stage=stage, **shape))
    fates = [fault for i in range(5000) if (fault := ask(of, i)) is not None]
    delays = sorted(f.delay_s if stage == "before" else f.answer_delay_s for f in fates)
    assert all((f.answer_delay_s if stage == "before" else f.delay_s) == 0.0 for f in fates)
    assert len(fates) == 5000
    assert not any(f.fails or not f.accepted for f in fates)
    assert sum(delays) / 5000 == pytest.approx(mean, rel=0.04)
    assert delays[2500] == pytest.approx(median, rel=0.05)
    assert delays[0] >= 0.0
    if shape["distribution"] == "uniform":
        assert delays[0] == pytest.approx(0.1, abs=0.001)
        assert delays[-1] == pytest.approx(0.3, abs=0.001)


def test_delays_add_up_and_the_first_failure_answers() -> None:
    slow, slower = rule("latency", seconds=0.2), rule("latency", seconds=0.3)
    of = faults(slow, rule("service_unavailable"), rule("ban"), slower)
    fault = ask(of)
    assert fault is not None
    assert fault.delay_s == pytest.approx(0.5)
    assert fault.reply is not None
    assert fault.reply.status == 503
    assert [record.kind for record in of.log] == ["latency", "service_unavailable", "latency"]


def test_a_request_fault_meets_only_its_routes_and_accounts() -> None:
    of = faults(rule("service_unavailable", requests="* /fapi/v?/*rder*", account="a*"))
    met = [
        ask(of, 0, name, key) is not None
        for name in (ORDER, "GET /fapi/v2/openOrders", "GET /fapi/v1/depth")
        for key in ("alice", "bob", "")
    ]
    assert met == [True, False, False, True, False, False, False, False, False]


def test_what_happens_to_one_account_does_not_depend_on_the_others() -> None:
    alone, mixed = (faults(rule("timeout", probability=0.3)) for _ in range(2))
    expected = [ask(alone, i, key="a") is not None for i in range(200)]
    seen = []
    for i in range(200):
        for _ in range(i % 3):
            ask(mixed, i, key="b")
        seen.append(ask(mixed, i, key="a") is not None)
    assert seen == expected
