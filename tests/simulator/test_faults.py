"""Faults happen as configured, the same again for the same seed, and each is in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from live.simulator.faults import Faults
from live.simulator.scenario import KINDS, Scenario, scenario_of
from quantcore.config import conf_folder
from tests.simulator.fault_cases import (
    CANDLE,
    MESSAGES,
    ORDER,
    REQUESTS,
    START_US,
    ask,
    at,
    faults,
    rule,
    told,
)


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
