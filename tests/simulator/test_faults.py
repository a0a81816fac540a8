"""Faults happen as configured, the same again for the same seed, and each is in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from live.simulator.faults import FaultRecord, Faults, RequestFault
from live.simulator.replies import is_exempt_from_overload
from live.simulator.scenario import KINDS, LASTING, FaultRule, Scenario, rule_of, scenario_of
from quantcore.config import conf_folder

ORDER = "POST /fapi/v1/order"
START_US = 1_704_067_200_000_000
SECOND_US = 1_000_000
CANDLE = {"e": "kline", "E": 1}
NEEDED: dict[str, dict[str, Any]] = {
    "partial_fill": {"fraction": 0.25},
    "price_gap": {"fraction": -0.1},
    "delisting": {"symbol": "ETHUSDT"},
    "filter_change": {"symbol": "ETHUSDT", "changes": {"stepSize": "0.1"}},
    "maintenance": {"duration_seconds": 60},
    "ban": {"duration_seconds": 60},
}
REQUESTS = [kind for kind in KINDS if KINDS[kind].family == "request"]
MESSAGES = [kind for kind in KINDS if KINDS[kind].family == "message"]
VENUE = [kind for kind in KINDS if KINDS[kind].family == "venue"]


def rule(kind: str, **settings: Any) -> FaultRule:
    return rule_of({"kind": kind, **NEEDED.get(kind, {}), **settings})


def faults(*rules: FaultRule, seed: int = 7) -> Faults:
    return Faults(Scenario(seed=seed, faults=rules), START_US)


def at(seconds: float) -> int:
    return START_US + round(seconds * SECOND_US)


def ask(of: Faults, seconds: float = 0.0, name: str = ORDER, key: str = "k") -> RequestFault | None:
    return of.on_request(name, key, at(seconds))


def told(of: Faults, kind: str, seconds: float) -> bool:
    """Bring one request or message at a time; return whether the fault happened to it."""
    before = of.counts.total()
    if KINDS[kind].family == "request":
        happened = ask(of, seconds) is not None
    else:
        event = {"e": "ACCOUNT_UPDATE" if kind == "account_reorder" else "kline"}
        deliveries = of.on_message("user:k", event, at(seconds))
        happened = [(d.payload, d.at_us) for d in deliveries] != [(event, at(seconds))]
    if kind != "stream_mute":
        assert of.counts.total() == before + happened
    return happened


def plain(log: list[FaultRecord]) -> list[tuple[Any, ...]]:
    return [((r.time_us - START_US) / SECOND_US, r.kind, r.target, r.done) for r in log]


@pytest.mark.parametrize("kind", [*REQUESTS, *MESSAGES])
def test_it_is_in_force_from_its_time_for_its_duration_and_again(kind: str) -> None:
    of = faults(rule(kind, at_seconds=10, duration_seconds=5, every_seconds=20))
    happened = [second for second in range(60) if told(of, kind, second)]
    assert happened == [*range(10, 15), *range(30, 35), *range(50, 55)]


@pytest.mark.parametrize("kind", [k for k in (*REQUESTS, *MESSAGES) if "nth" in KINDS[k].reads])
def test_it_happens_to_the_nth_that_it_meets_while_in_force(kind: str) -> None:
    of = faults(rule(kind, at_seconds=2, nth=3))
    assert [i for i in range(10) if told(of, kind, i)] == [4]


@pytest.mark.parametrize("kind", [k for k in (*REQUESTS, *MESSAGES) if k != "stream_mute"])
def test_it_happens_with_its_probability_and_at_most_so_often(kind: str) -> None:
    brief = {"seconds": 0.001} if "seconds" in KINDS[kind].reads else {}

    def happened(**settings: Any) -> int:
        of = faults(rule(kind, **brief, **settings))
        return sum(told(of, kind, i / 100) for i in range(3000))

    assert 0.17 < happened(probability=0.2) / 3000 < 0.23
    assert happened(probability=0.2, times=3) == 3
    assert happened(probability=0.0) == 0


def test_a_stream_is_mute_in_a_share_of_the_periods() -> None:
    of = faults(rule("stream_mute", probability=0.3, duration_seconds=2, every_seconds=10))
    mute = [told(of, "stream_mute", second) for second in range(20_000)]
    periods = [mute[k : k + 2] for k in range(0, 20_000, 10)]
    assert all(first == second for first, second in periods)
    assert 0.27 < sum(first for first, _ in periods) / len(periods) < 0.33
    assert len(of.log) == sum(first for first, _ in periods)


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


def test_a_lost_message_is_lost_and_a_doubled_one_comes_twice() -> None:
    of = faults(rule("message_drop", nth=2), rule("message_duplicate", nth=1))
    sent = [of.on_message("btcusdt@kline_1m", CANDLE | {"E": i}, at(i)) for i in range(3)]
    assert [[d.payload["E"] for d in deliveries] for deliveries in sent] == [[0, 0], [], [2]]
    assert plain(of.log) == [
        (0.0, "message_duplicate", "btcusdt@kline_1m kline", "sent twice"),
        (1.0, "message_drop", "btcusdt@kline_1m kline", "lost"),
    ]


def test_two_rules_that_double_a_message_send_it_three_times() -> None:
    of = faults(rule("message_duplicate"), rule("message_duplicate"))
    assert len(of.on_message("btcusdt@kline_1m", CANDLE, START_US)) == 3


def test_a_doubled_message_that_is_lost_is_lost_altogether() -> None:
    of = faults(rule("message_duplicate"), rule("message_drop"), rule("message_duplicate"))
    assert of.on_message("btcusdt@kline_1m", CANDLE, START_US) == []


def test_a_late_message_holds_up_all_behind_it() -> None:
    of = faults(rule("message_delay", nth=1, seconds=2.5))
    sent = [of.on_message("btcusdt@kline_1m", CANDLE | {"E": i}, at(i)) for i in range(5)]
    due = [(d.at_us - START_US) / SECOND_US for deliveries in sent for d in deliveries]
    assert due == [2.5, 2.5, 2.5, 3.0, 4.0]
    (other,) = of.on_message("ethusdt@kline_1m", CANDLE, at(5))
    assert other.at_us == at(7.5)


@pytest.mark.parametrize("kind", ["message_reorder", "account_reorder"])
def test_a_message_out_of_order_is_overtaken_by_those_behind_it(kind: str) -> None:
    of = faults(rule(kind, nth=1, seconds=1.5))
    event = {"e": "ACCOUNT_UPDATE"}
    sent = [of.on_message("user:k", event | {"E": i}, at(i)) for i in range(4)]
    due = sorted((d.at_us, d.payload["E"]) for deliveries in sent for d in deliveries)
    assert [number for _, number in due] == [1, 0, 2, 3]
    assert plain(of.log) == [
        (0.0, kind, "user:k ACCOUNT_UPDATE", "held 1.5 s, overtaken by others")
    ]


def test_only_account_updates_are_put_out_of_order_by_that_kind() -> None:
    of = faults(rule("account_reorder"))
    order = of.on_message("user:k", {"e": "ORDER_TRADE_UPDATE"}, START_US)
    account = of.on_message("user:k", {"e": "ACCOUNT_UPDATE"}, START_US)
    assert [d.at_us - START_US for d in (*order, *account)] == [0, SECOND_US]


def test_a_message_fault_meets_only_its_streams_and_events() -> None:
    candles = rule("message_drop", streams="btc*", events="kline")
    of = faults(candles, rule("message_drop", events="24hrTicker"))
    sent = {
        "btcusdt@kline_1m": CANDLE,
        "btcusdt@aggTrade": {"e": "aggTrade"},
        "ethusdt@kline_1m": CANDLE,
        "!ticker@arr": [{"e": "24hrTicker"}],
        "!odd": "text",
    }
    kept = [stream for stream, payload in sent.items() if of.on_message(stream, payload, START_US)]
    assert kept == ["btcusdt@aggTrade", "ethusdt@kline_1m", "!odd"]


def test_a_mute_stream_is_logged_once_a_period_with_its_end() -> None:
    of = faults(rule("stream_mute", streams="btc*", at_seconds=5, duration_seconds=3))
    kept = [i for i in range(12) if of.on_message("btcusdt@trade", {"e": "trade"}, at(i))]
    assert kept == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert of.on_message("ethusdt@trade", {"e": "trade"}, at(6))
    assert plain(of.log) == [(5.0, "stream_mute", "btcusdt@trade", "mute until 2024-01-01 00:00:08")]  # fmt: skip


@pytest.mark.parametrize("kind", VENUE)
def test_a_fault_of_the_exchange_comes_at_its_times_once_each(kind: str) -> None:
    lasting = {"duration_seconds": 2} if kind in LASTING else {}
    of = faults(rule(kind, at_seconds=10, every_seconds=20, times=3, **lasting))
    assert of.on_venue(at(9.999)) == []
    seen = [fault for seconds in (10, 10.5, 49, 50, 200) for fault in of.on_venue(at(seconds))]
    assert [(fault.time_us - START_US) / SECOND_US for fault in seen] == [10, 30, 50]
    lasts_us = [fault.until_us and fault.until_us - fault.time_us for fault in seen]
    assert lasts_us == [2 * SECOND_US if lasting else None] * 3
    assert [(r.number, r.time_us, r.kind) for r in of.log] == [
        (i, fault.time_us, kind) for i, fault in enumerate(seen, start=1)
    ]
    assert all(record.target and record.done for record in of.log)


@pytest.mark.parametrize("kind", VENUE)
def test_a_fault_of_the_exchange_comes_with_its_probability(kind: str) -> None:
    lasting = {"duration_seconds": 1} if kind in LASTING else {}
    of = faults(rule(kind, every_seconds=2, probability=0.2, **lasting))
    seen = of.on_venue(at(2 * 4999))
    assert 0.17 < len(seen) / 5000 < 0.23
    assert len(of.log) == len(seen)
    assert of.schedules[0].happened == len(seen)


@pytest.mark.parametrize(
    ("settings", "target", "done"),
    [
        ({"kind": "disconnect", "streams": "/private*"}, "streams /private*", "connections closed"),
        ({"kind": "listen_key_expiry", "account": "a"}, "account a", "listen key expired"),
        ({"kind": "clock_drift", "seconds": -2}, "exchange", "clock 2 s behind for good"),
        ({"kind": "stuck_triggering"}, "symbol * account *", "algo orders stay TRIGGERING for good"),
        (
            {"kind": "partial_fill", "fraction": 0.25, "duration_seconds": 60},
            "symbol * account *",
            "orders fill by 0.25 of what is open until 2024-01-01 00:01:00",
        ),
        ({"kind": "liquidation", "symbol": "BTC*"}, "symbol BTC* account *", "positions liquidated"),
        ({"kind": "adl"}, "symbol * account *", "positions deleveraged"),
        ({"kind": "delisting", "symbol": "XRPUSDT"}, "symbol XRPUSDT", "positions settled, symbol ended"),
        (
            {"kind": "filter_change", "symbol": "ETHUSDT", "changes": {"stepSize": "0.1", "minQty": "0.2"}},
            "symbol ETHUSDT",
            "stepSize 0.1, minQty 0.2",
        ),
        ({"kind": "maintenance", "duration_seconds": 60}, "exchange", "down until 2024-01-01 00:01:00"),
        ({"kind": "price_gap", "fraction": -0.12}, "symbol *", "price jumps by -12 %"),
    ],
)  # fmt: skip
def test_the_log_says_whom_a_fault_of_the_exchange_met_and_what_was_done(
    settings: dict[str, Any], target: str, done: str
) -> None:
    of = faults(rule_of(settings))
    assert len(of.on_venue(START_US)) == 1
    assert plain(of.log) == [(0.0, settings["kind"], target, done)]


def test_a_fault_of_the_exchange_says_whom_it_meets() -> None:
    (fault,) = faults(rule("partial_fill", symbol="BTC*", account="a")).on_venue(START_US)
    assert fault.meets(symbol="BTCUSDT", account="a")
    assert fault.meets(symbol="BTCUSDT")
    assert not fault.meets(symbol="ETHUSDT", account="a")
    assert not fault.meets(symbol="BTCUSDT", account="b")


def test_faults_of_the_exchange_come_in_order_of_time() -> None:
    late, soon = rule("adl", at_seconds=5), rule("liquidation", at_seconds=3, every_seconds=4)
    seen = faults(late, soon).on_venue(at(8))
    assert [fault.kind for fault in seen] == ["liquidation", "adl", "liquidation"]


def test_maintenance_refuses_requests_and_connections_and_sends_nothing() -> None:
    of = faults(rule("maintenance", at_seconds=10, duration_seconds=60))
    up = {
        second: (
            ask(of, second) is None,
            bool(of.on_message("btcusdt@trade", {"e": "trade"}, at(second))),
            of.on_connect("/market/ws", at(second)),
        )
        for second in (9, 10, 69, 70)
    }
    works, down = (True, True, True), (False, False, False)
    assert up == {9: works, 10: down, 69: down, 70: works}
    fault = ask(of, 20)
    assert fault is not None
    assert (fault.accepted, fault.reply.status if fault.reply else 0) == (False, 503)
    assert plain(of.log)[:2] == [
        (10.0, "maintenance", f"{ORDER} k", "503 (-1000), not carried out"),
        (10.0, "maintenance", "/market/ws", "connection refused"),
    ]


def test_connections_of_a_lasting_disconnect_are_refused_and_logged() -> None:
    of = faults(rule("disconnect", streams="/market*", at_seconds=5, duration_seconds=3))
    accepted = [of.on_connect("/market/stream", at(second)) for second in (4, 5, 7, 8)]
    assert accepted == [True, False, False, True]
    assert of.on_connect("/private/ws", at(6))
    assert [record.done for record in of.log] == ["connection refused"] * 2
    assert faults(rule("disconnect")).on_connect("/market/ws", START_US)


def test_the_clock_drifts_while_it_is_in_force() -> None:
    of = faults(
        rule("clock_drift", seconds=-2, at_seconds=10, duration_seconds=5),
        rule("clock_drift", seconds=0.5, at_seconds=12),
    )
    drifts = [of.drift_us(at(second)) / SECOND_US for second in (9, 10, 12, 15)]
    assert drifts == [0.0, -2.0, -1.5, 0.5]


def test_an_injected_fault_counts_from_its_injection() -> None:
    of = faults()
    assert ask(of, 99) is None
    of.inject(rule("ban", at_seconds=1, duration_seconds=2), at(100))
    of.inject(rule("adl"), at(100))
    assert [ask(of, second) is not None for second in (100, 101, 102.9, 103)] == [False, True, True, False]  # fmt: skip
    assert [fault.time_us for fault in of.on_venue(at(101))] == [at(100)]


def test_without_a_start_time_counts_from_the_first_call() -> None:
    of = Faults(Scenario(faults=(rule("service_unavailable", at_seconds=10),)))
    assert [ask(of, second) is not None for second in (100, 109, 110)] == [False, False, True]


def day(of: Faults, seconds: range) -> Iterator[Any]:
    """Yield all that a scenario does to a few clients over some seconds."""
    for second in seconds:
        yield of.on_venue(at(second))
        yield of.drift_us(at(second))
        yield of.on_connect("/market/ws", at(second))
        for key in ("a", "b"):
            yield of.on_request(ORDER, key, at(second), {"side": "BUY"})
            yield of.on_message(f"user:{key}", {"e": "ACCOUNT_UPDATE", "E": second}, at(second))
        for symbol in ("btcusdt", "ethusdt"):
            yield of.on_message(f"{symbol}@kline_1m", CANDLE | {"E": second}, at(second))


@pytest.fixture(scope="module")
def bad_day() -> Scenario:
    return scenario_of((conf_folder() / "faults" / "bad_day.yaml").read_text(encoding="utf-8"))


def test_the_same_seed_and_requests_give_the_same_faults(bad_day: Scenario) -> None:
    first, second = (Faults(bad_day, START_US) for _ in range(2))
    assert list(day(first, range(2500))) == list(day(second, range(2500)))
    assert first.log == second.log
    other = Faults(Scenario(seed=8, faults=bad_day.faults), START_US)
    list(day(other, range(2500)))
    assert other.log != first.log


def test_a_bad_day_has_every_kind_of_fault_within_six_hours(bad_day: Scenario) -> None:
    of = Faults(bad_day, START_US)
    for _ in day(of, range(0, 21_600, 3)):
        pass
    assert set(of.counts) == set(KINDS)
    assert of.counts.total() == of.log[-1].number == len(of.log)


def test_a_restored_state_goes_on_as_the_first_did(bad_day: Scenario) -> None:
    first = Faults(bad_day, START_US)
    list(day(first, range(1000)))
    first.inject(rule("message_delay", seconds=5, nth=3), at(1000))
    list(day(first, range(1000, 1004)))
    state = json.loads(json.dumps(first.state()))
    expected = list(day(first, range(1004, 2500)))
    second = Faults(Scenario())
    second.restore(state)
    assert list(day(second, range(1004, 2500))) == expected
    first.restore(state)
    assert list(day(first, range(1004, 2500))) == expected


def test_the_log_and_the_counts_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.simulator.faults.LOG_LIMIT", 10)
    monkeypatch.setattr("live.simulator.schedule.SCOPE_LIMIT", 10)
    of = faults(rule("service_unavailable"))
    for i in range(50):
        ask(of, i, key=f"key{i}")
    assert [record.number for record in of.log] == list(range(41, 51))
    assert of.counts == {"service_unavailable": 50}
    assert len(of.schedules[0].met) == 11
