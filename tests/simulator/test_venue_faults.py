"""Faults of the exchange itself come at their times, once each, and say whom they meet."""

from __future__ import annotations

from typing import Any

import pytest

from live.simulator.scenario import LASTING, rule_of
from tests.simulator.fault_cases import (
    ORDER,
    SECOND_US,
    START_US,
    VENUE,
    ask,
    at,
    faults,
    plain,
    rule,
)


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
