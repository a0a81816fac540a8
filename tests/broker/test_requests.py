"""What is sent again, and what never is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

from live.broker import requests
from live.broker.budget import Budget, Priority
from live.broker.calls import Call
from live.broker.errors import Failure, classify, never_sent, unanswered
from live.broker.interface import Outcome
from live.broker.requests import RequestFailed, Requests
from live.clock import ExchangeClock, Measurement
from quantcore.errors import VenueError

CALL = Call("futures_create_order", 0, orders=1)
UNKNOWN = classify(503, -1000, "Unknown error, please check your request or try again later.")
UNAVAILABLE = classify(503, -1000, "Service Unavailable.")
OVERLOADED = classify(503, -1008, "Request throttled by system-level protection.")
OFF_CLOCK = classify(400, -1021, "Timestamp for this request is outside of the recvWindow.")
LIMITED = classify(429, -1003, "Too many requests.")
MARGIN = classify(400, -2019, "Margin is insufficient.")
WRONG_KEY = classify(401, -2015, "Invalid API-key, IP, or permissions for action")


class Exchange:
    """Answers what it is told to, one after the other, then with success."""

    def __init__(self, *failures: Failure) -> None:
        self.failures = list(failures)
        self.asked = 0
        self.measured = 0

    async def perform(self, call: Call, /, **params: Any) -> Any:
        self.asked += 1
        if self.failures:
            raise RequestFailed(self.failures.pop(0))
        return {"done": params}

    async def measure(self) -> None:
        self.measured += 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "PAUSES_S", (0.001, 0.002, 0.004))


def requests_of(exchange: Exchange, *, patience_s: float = 1.0) -> Requests:
    clock = ExchangeClock()
    now_s = time.monotonic()
    clock.set_by(Measurement(sent_s=now_s, received_s=now_s, server_ms=1_704_182_280_000))
    return Requests(
        exchange.perform, Budget(clock), measure_clock=exchange.measure, read_attempts=3, patience_s=patience_s,
        exit_patience_s=patience_s,
    )  # fmt: skip


async def change(
    exchange: Exchange, *, priority: Priority = Priority.ENTRY, exempt: bool = False
) -> tuple[Outcome, int]:
    answer, told = await requests_of(exchange).change(
        CALL, priority=priority, exempt=exempt, symbol="BTCUSDT"
    )
    assert (told is None) == (answer.outcome is not Outcome.ACCEPTED)
    return answer.outcome, exchange.asked


@pytest.mark.parametrize(
    "failure", [UNKNOWN, unanswered("timed out"), classify(408, -1007, "Timeout"), classify(502, None, None)]
)  # fmt: skip
async def test_an_unknown_outcome_is_never_sent_again(failure: Failure) -> None:
    for priority in Priority:
        outcome = await change(Exchange(failure), priority=priority, exempt=True)
        assert outcome == (Outcome.UNKNOWN, 1)


async def test_a_certain_failure_of_the_service_is_sent_again_three_times() -> None:
    assert await change(Exchange(UNAVAILABLE, UNAVAILABLE)) == (Outcome.ACCEPTED, 3)
    assert await change(Exchange(*[UNAVAILABLE] * 9)) == (Outcome.REFUSED, 4)
    assert await change(Exchange(never_sent("no connection"))) == (Outcome.ACCEPTED, 2)


async def test_under_load_only_what_is_exempt_is_sent_again() -> None:
    assert await change(Exchange(OVERLOADED)) == (Outcome.REFUSED, 1)
    assert await change(Exchange(OVERLOADED), exempt=True) == (Outcome.ACCEPTED, 2)


async def test_an_entry_over_the_limits_is_refused_and_an_exit_waits() -> None:
    assert await change(Exchange(LIMITED)) == (Outcome.REFUSED, 1)
    assert await change(Exchange(LIMITED), priority=Priority.EXIT) == (Outcome.ACCEPTED, 2)


async def test_a_timestamp_refused_measures_the_clock_and_is_sent_again() -> None:
    exchange = Exchange(OFF_CLOCK)
    assert await change(exchange) == (Outcome.ACCEPTED, 2)
    assert exchange.measured == 1


async def test_a_clock_that_cannot_be_measured_does_not_raise_out_of_an_order() -> None:
    class Broken(Exchange):
        async def measure(self) -> None:
            raise RequestFailed(unanswered("timed out"))

    assert await change(Broken(*[OFF_CLOCK] * 9)) == (Outcome.REFUSED, 4)


async def test_a_retry_that_ends_unknown_is_unknown() -> None:
    assert await change(Exchange(UNAVAILABLE, UNKNOWN)) == (Outcome.UNKNOWN, 2)


@pytest.mark.parametrize("failure", [MARGIN, WRONG_KEY])
async def test_a_refusal_for_good_is_not_sent_again(failure: Failure) -> None:
    assert await change(Exchange(failure), priority=Priority.EXIT, exempt=True) == (
        Outcome.REFUSED,
        1,
    )


async def test_the_answer_carries_code_text_and_rule() -> None:
    answer, _ = await requests_of(Exchange(MARGIN)).change(
        CALL, priority=Priority.ENTRY, exempt=False
    )
    assert (answer.code, answer.message, answer.rule) == (-2019, MARGIN.message, MARGIN.rule)


async def test_what_has_no_turn_in_time_is_refused_and_was_not_sent() -> None:
    exchange = Exchange()
    asking = requests_of(exchange, patience_s=0.01)
    asking._budget.limited(429, 30.0)
    answer, _ = await asking.change(CALL, priority=Priority.EXIT, exempt=True)
    assert (answer.outcome, exchange.asked) == (Outcome.REFUSED, 0)
    assert answer.message == "the exchange's limits must leave room within 0.01 s, did not"


@pytest.mark.parametrize(
    "failures",
    [
        [UNKNOWN, unanswered("timed out")],
        [UNAVAILABLE, OVERLOADED],
        [LIMITED, OFF_CLOCK],
        [never_sent("no connection")],
    ],
)
async def test_a_read_is_repeated(failures: Iterable[Failure]) -> None:
    exchange = Exchange(*failures)
    assert await requests_of(exchange).read(CALL, symbol="X") == {"done": {"symbol": "X"}}


async def test_a_read_gives_up_with_one_line_that_says_what_and_why() -> None:
    exchange = Exchange(*[UNKNOWN] * 9)
    with pytest.raises(VenueError, match=r"^futures_create_order: -1000 Unknown error") as raised:
        await requests_of(exchange).read(CALL)
    assert exchange.asked == 3
    assert raised.value.__context__ is None


@pytest.mark.parametrize("failure", [MARGIN, WRONG_KEY])
async def test_a_read_refused_for_good_is_not_repeated(failure: Failure) -> None:
    exchange = Exchange(failure)
    with pytest.raises(VenueError, match=str(failure.code)):
        await requests_of(exchange).read(CALL)
    assert exchange.asked == 1
