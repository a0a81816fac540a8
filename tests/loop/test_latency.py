"""Latencies out of a journal: which orders count to what, and which session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from live.broker.interface import Answer, Cancel, Order, Outcome
from live.folds import CLOSE, EVENT
from live.journal import START, Answered, Decision, Intent, Journal, Step
from live.journal.records import Latency
from live.latency import latencies
from quantcore.types import OrderType, Side
from tests.journal.entries import account, opened, session, signal


def step(
    journal: Journal,
    kind: str,
    *reasons: str,
    sent_ms: float = 0.0,
    account_us: int | None = None,
    decides: bool = False,
) -> None:
    """Commit a step with an order for each reason, and the answers to them."""
    seq = journal.next_seq
    intents = [
        Intent(
            order_number=10 * seq + n,
            request=Order(
                client_id=f"qc-{10 * seq + n}", symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, qty="0.010"
            ),
            reason=reason,
        )
        for n, reason in enumerate(reasons)
    ]  # fmt: skip
    numbers = journal.commit_step(
        Step(
            seq=seq, ts_us=seq, kind=kind, inputs={}, account=account(0.0, seq), signal=signal(0.0), intents=intents,
            snapshot=kind == START, account_us=account_us,
            decision=Decision(targets=np.zeros(2), inputs={}) if decides else None,
        )
    )  # fmt: skip
    for number in numbers:
        took = Latency(sent_after_us=int(1000.0 * sent_ms), answered_after_us=5)
        answer = Answer(outcome=Outcome.ACCEPTED)
        journal.answer(Answered(intent_id=number, ts_us=seq, answer=answer, latency=took))


def test_each_order_counts_to_what_made_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        step(journal, START)
        step(journal, CLOSE, "target", "risk", sent_ms=10.0, account_us=200, decides=True)
        step(journal, CLOSE, "target", sent_ms=40.0, account_us=700)
        step(journal, EVENT, "stop_loss", sent_ms=7.0, account_us=900)
        step(journal, EVENT, "target", sent_ms=99.0)  # the router's, which a tick made
        bars, first, stops, checks = latencies(journal)
    assert (bars.n, bars.p50_ms, bars.most_ms) == (3, 10.0, 40.0)
    assert (first.n, first.p50_ms) == (1, 7.0)
    assert (stops.n, stops.p50_ms) == (1, 7.0)
    assert (checks.n, checks.p99_ms) == (1, 0.2)
    assert stops.words() == (
        "fill heard to new stop sent: p50 7.00 ms, p99 7.00 ms, at most 7.00 ms (1 times)"
    )


@pytest.mark.parametrize(("last", "n"), [(False, 2), (True, 1)])
def test_the_last_session_alone_counts_if_asked(tmp_path: Path, last: bool, n: int) -> None:
    with opened(tmp_path) as journal:
        step(journal, START)
        step(journal, CLOSE, "target")
        journal.begin(session(), now_us=9)
        step(journal, CLOSE, "target")
        bars, first, stops, _ = latencies(journal, last=last)
    assert bars.n == n
    assert stops.n == first.n == 0
    assert stops.words() == "fill heard to new stop sent: never"


def test_the_cancel_that_makes_room_for_a_stop_is_the_first_request_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        step(journal, START)
        seq = journal.next_seq
        requests: list[Order | Cancel] = [
            Cancel(client_id="qc-1", symbol="BTCUSDT", conditional=True),
            Cancel(client_id="qc-2", symbol="ETHUSDT", conditional=False),  # the router's
            Order(
                client_id="qc-3", symbol="BTCUSDT", side=Side.SELL, type=OrderType.STOP_MARKET, stop_price="1",
                qty=None, close_position=True,
            ),
        ]  # fmt: skip
        reasons = ("", "", "stop_loss")
        intents = [
            Intent(order_number=n, request=request, reason=reason)
            for n, (request, reason) in enumerate(zip(requests, reasons, strict=True))
        ]
        numbers = journal.commit_step(
            Step(
                seq=seq, ts_us=seq, kind=EVENT, inputs={}, account=account(0.0, seq), signal=None, intents=intents
            )
        )  # fmt: skip
        for number, sent_us in zip(numbers, (2_000, 3_000, 9_000), strict=True):
            took = Latency(sent_after_us=sent_us, answered_after_us=5)
            answer = Answer(outcome=Outcome.ACCEPTED)
            journal.answer(Answered(intent_id=number, ts_us=seq, answer=answer, latency=took))
        _, first, stops, _ = latencies(journal)
    assert (first.n, first.p50_ms) == (1, 2.0)
    assert (stops.n, stops.p50_ms) == (1, 9.0)
