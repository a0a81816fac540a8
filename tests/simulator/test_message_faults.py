"""Messages are lost, doubled, late, out of order or mute, each stream by itself."""

from __future__ import annotations

import pytest

from tests.simulator.fault_cases import CANDLE, SECOND_US, START_US, at, faults, plain, rule


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
