"""What answers without success mean."""

from __future__ import annotations

import pytest

from live.broker.errors import Remedy, classify, never_sent, unanswered
from live.broker.interface import Outcome
from live.simulator.refusals import REFUSALS
from live.simulator.replies import reply_of
from quantcore.types import Rule

OVERLOAD = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt."
)
UNKNOWN = "Unknown error, please check your request or try again later."


@pytest.mark.parametrize(
    ("status", "code", "text", "outcome", "remedy"),
    [
        # The three kinds of 503.
        (503, -1000, UNKNOWN, Outcome.UNKNOWN, Remedy.QUERY),
        (503, -1000, "Service Unavailable.", Outcome.REFUSED, Remedy.AGAIN),
        (503, -1008, OVERLOAD, Outcome.REFUSED, Remedy.IF_EXEMPT),
        (503, None, OVERLOAD, Outcome.REFUSED, Remedy.IF_EXEMPT),
        # A proxy's page is none of them.
        (503, None, None, Outcome.UNKNOWN, Remedy.QUERY),
        (502, None, None, Outcome.UNKNOWN, Remedy.QUERY),
        (500, -1021, "Timestamp", Outcome.UNKNOWN, Remedy.QUERY),
        (504, 0, "", Outcome.UNKNOWN, Remedy.QUERY),
        # The code does not make an unknown outcome certain.
        (408, -1007, "Timeout waiting for response", Outcome.UNKNOWN, Remedy.QUERY),
        (400, -1007, "Timeout waiting for response", Outcome.UNKNOWN, Remedy.QUERY),
        (400, -1006, "Execution status unknown", Outcome.UNKNOWN, Remedy.QUERY),
        (400, -1000, "An unknown error occurred", Outcome.UNKNOWN, Remedy.QUERY),
        (400, -1001, "Internal error; unable to process", Outcome.UNKNOWN, Remedy.QUERY),
        (400, -4116, "ClientOrderId is duplicated.", Outcome.UNKNOWN, Remedy.QUERY),
        (503, -1007, "Service Unavailable, timeout", Outcome.UNKNOWN, Remedy.QUERY),
        (200, None, None, Outcome.UNKNOWN, Remedy.QUERY),
        # Limits come before any code.
        (429, -1003, "Too many requests", Outcome.REFUSED, Remedy.WAIT),
        (429, None, None, Outcome.REFUSED, Remedy.WAIT),
        (418, -1003, "Way too many requests", Outcome.REFUSED, Remedy.WAIT),
        (403, None, None, Outcome.REFUSED, Remedy.WAIT),
        (400, -1015, "Too many new orders", Outcome.REFUSED, Remedy.WAIT),
        # Certain.
        (400, -1021, "Timestamp outside", Outcome.REFUSED, Remedy.CLOCK),
        (400, -1008, "Server is currently overloaded", Outcome.REFUSED, Remedy.IF_EXEMPT),
        (401, -2015, "Invalid API-key", Outcome.REFUSED, Remedy.NO_ENTRY),
        (400, -1022, "Signature", Outcome.REFUSED, Remedy.NO_ENTRY),
        (400, -2011, "Unknown order sent.", Outcome.REFUSED, Remedy.NONE),
        (400, -2013, "Order does not exist.", Outcome.REFUSED, Remedy.NONE),
        (400, -4120, "Order type not supported here", Outcome.REFUSED, Remedy.NONE),
        (400, -9999, "Something new", Outcome.REFUSED, Remedy.NONE),
        (404, None, None, Outcome.REFUSED, Remedy.NONE),
        # Already set.
        (400, -4046, "No need to change margin type.", Outcome.ACCEPTED, Remedy.NONE),
        (400, -4059, "No need to change position side.", Outcome.ACCEPTED, Remedy.NONE),
        (400, -4171, "No need to change mode.", Outcome.ACCEPTED, Remedy.NONE),
    ],
)
def test_status_then_code_then_text_say_what_happened(
    status: int, code: int | None, text: str | None, outcome: Outcome, remedy: Remedy
) -> None:
    failure = classify(status, code, text)
    assert (failure.outcome, failure.remedy) == (outcome, remedy)
    assert failure.code == (code or None)
    assert failure.message


@pytest.mark.parametrize(
    ("code", "text", "rule"),
    [
        (-2010, "Account has insufficient balance for requested action.", Rule.MARGIN),
        (-2010, "Order would immediately trigger.", Rule.WOULD_TRIGGER),
        (-2010, "ReduceOnly Order is rejected.", Rule.REDUCE_ONLY),
        (-2010, "Something else", None),
        (-2018, "Balance is insufficient.", Rule.MARGIN),
        (-2024, "Position is not sufficient.", Rule.REDUCE_ONLY),
        (-4045, "Reach max stop order limit.", Rule.OPEN_ORDER_LIMIT),
        (-4509, "TIF GTE can only be used with open positions.", Rule.REDUCE_ONLY),
        (-1121, "Invalid symbol.", None),
    ],
)
def test_a_refusal_names_the_rule_of_the_account_plane(
    code: int, text: str, rule: Rule | None
) -> None:
    assert classify(400, code, text).rule == rule


@pytest.mark.parametrize("rule", [r for r in REFUSALS if r is not Rule.NO_PRICE])
def test_every_rule_that_the_simulator_refuses_by_is_read_back(rule: Rule) -> None:
    code, text = REFUSALS[rule]
    assert classify(400, code, text).rule == rule


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("unknown_outcome", Outcome.UNKNOWN),
        ("service_unavailable", Outcome.REFUSED),
        ("overload", Outcome.REFUSED),
        ("timeout", Outcome.UNKNOWN),
        ("rate_limit", Outcome.REFUSED),
        ("ban", Outcome.REFUSED),
    ],
)
def test_the_simulators_faults_are_read_as_what_they_are(kind: str, outcome: Outcome) -> None:
    reply = reply_of(kind, now_us=0, until_us=7_000_000)
    found = classify(reply.status, reply.body["code"], reply.body["msg"])
    assert found.outcome is outcome


def test_an_unknown_outcome_has_no_rule() -> None:
    assert classify(503, -2019, "Margin is insufficient.").rule is None


def test_what_never_left_is_refused_and_what_was_not_answered_is_unknown() -> None:
    assert never_sent("no connection").outcome is Outcome.REFUSED
    assert unanswered("timed out").outcome is Outcome.UNKNOWN
    assert unanswered("timed out").remedy is Remedy.QUERY


def test_a_failure_says_its_code_and_text() -> None:
    assert str(classify(400, -2019, "Margin is insufficient.")) == "-2019 Margin is insufficient."
    assert str(classify(502, None, None)) == "HTTP 502 without an answer of the exchange's form"


@pytest.mark.parametrize(
    ("status", "code", "is_of_exchange"),
    [
        (503, -1008, True),
        (429, -1003, True),
        (400, -1021, True),
        (400, -1102, True),
        (502, None, True),
        (400, -4116, True),  # unknown: an order with that id is open
        (400, -2019, False),
        (400, -5022, False),
        (400, -4164, False),
    ],
)
def test_refusals_by_the_rules_of_trading_are_no_errors_of_the_exchange(
    status: int, code: int | None, *, is_of_exchange: bool
) -> None:
    assert classify(status, code, "text").is_of_exchange is is_of_exchange
