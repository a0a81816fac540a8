"""Requests on their way, to an exchange that answers as it is told: order, unknown outcomes, cancels that come late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from live.broker.interface import Answer, Cancel, Fill, Order, OrderChange, Outcome
from live.clock import monotonic_us
from live.journal import START, Intent, Journal, Step
from live.journal.records import Answered, Recorded
from live.journal.recovery import Recovery
from live.loop import Due
from live.sender import Sender, SenderSettings
from live.wanted import Wanted
from quantcore.errors import JournalError
from quantcore.types import OrderStatus, OrderType, Side
from tests.journal.entries import account, opened, signal
from tests.loop.made import ScriptedBroker, report

UNKNOWN = Answer(outcome=Outcome.UNKNOWN, message="no legible answer")
REFUSED = Answer(outcome=Outcome.REFUSED, code=-2011, message="Unknown order sent.")
MARGIN = Answer(outcome=Outcome.REFUSED, code=-2019, message="Margin is insufficient.")
ACCEPTED = Answer(outcome=Outcome.ACCEPTED)


def name(number: int) -> str:
    return f"qc-{number}"


def order(number: int, symbol: str = "BTCUSDT", *, urgent: bool = False) -> Wanted:
    sent = Order(
        client_id=name(number), symbol=symbol, side=Side.BUY, type=OrderType.MARKET, qty="0.010",
        reduce_only=urgent,
    )  # fmt: skip
    return Wanted(number=number, request=sent, urgent=urgent)


def cancel(number: int, symbol: str = "BTCUSDT") -> Wanted:
    asked = Cancel(client_id=name(number), symbol=symbol, conditional=False)
    return Wanted(number=number, request=asked, urgent=True)


@dataclass
class Learning:
    """What the sender told."""

    not_done: list[tuple[int, str]] = field(default_factory=list)
    found: list[Fill | OrderChange] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def refused(self, wanted: Wanted, answer: Answer) -> None:
        self.not_done.append((wanted.number, answer.message))

    def heard(self, events: Sequence[Fill | OrderChange]) -> None:
        self.found += events

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


@dataclass
class Desk:
    """A sender, its exchange, its journal."""

    journal: Journal
    broker: ScriptedBroker = field(default_factory=ScriptedBroker)
    learnt: Learning = field(default_factory=Learning)

    def __post_init__(self) -> None:
        settings = SenderSettings(grace_s=0.25)
        self.sender = Sender(self.broker, self.journal, settings, self.learnt)  # type: ignore[arg-type]  # as far as it is used

    def commit(self, *batch: Wanted) -> list[Due]:
        """Commit a step with these requests, as the loop does before it sends them."""
        seq = self.journal.next_seq
        intents = [Intent(order_number=w.number, request=w.request) for w in batch]
        step = Step(
            seq=seq, ts_us=seq, kind=START, inputs={}, account=account(0.0, seq), signal=signal(0.0),
            intents=intents, snapshot=True,
        )  # fmt: skip
        ids = self.journal.commit_step(step)
        return [
            Due(wanted=w, intent_id=i, since_us=monotonic_us())
            for w, i in zip(batch, ids, strict=True)
        ]

    async def done(self, *batch: Wanted) -> Recovery:
        """Send a step's requests, and return what the journal knows once all is known."""
        self.sender.submit(self.commit(*batch))
        async with asyncio.timeout(10.0):
            await self.sender.settled()
        return self.journal.recover()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with opened(tmp_path) as journal:
        yield Desk(journal)


async def test_cancels_and_what_reduces_go_before_what_opens(desk: Desk) -> None:
    await desk.done(order(1), order(2, "ETHUSDT", urgent=True), cancel(0))
    asked = desk.broker.asked
    assert set(asked[:2]) == {("send", name(2)), ("cancel", name(0))}
    assert asked[2:] == [("send", name(1))]
    assert desk.learnt.not_done == []


async def test_requests_of_one_symbol_keep_their_order_and_symbols_go_together(desk: Desk) -> None:
    desk.broker.gates[name(1)] = asyncio.Event()
    desk.sender.submit(desk.commit(order(1), order(2), order(3, "ETHUSDT")))
    await asyncio.sleep(0.02)
    assert desk.broker.asked == [("send", name(1)), ("send", name(3))]
    assert desk.sender.busy == {"BTCUSDT"}
    desk.broker.gates[name(1)].set()
    await desk.sender.settled()
    assert desk.broker.asked[2:] == [("send", name(2))]
    assert desk.sender.busy == frozenset()


async def test_a_refusal_is_told_after_it_is_written(desk: Desk) -> None:
    desk.broker.answers[name(1)] = [MARGIN]
    recovery = await desk.done(order(1))
    assert recovery.open_intents == ()
    assert desk.learnt.not_done == [(1, "Margin is insufficient.")]


async def test_an_order_of_unknown_outcome_is_found_by_query_and_never_sent_again(
    desk: Desk,
) -> None:
    desk.broker.answers[name(1)] = [UNKNOWN]
    desk.broker.found[name(1)] = [None, None, report(name(1))]
    recovery = await desk.done(order(1))
    assert desk.broker.asked.count(("send", name(1))) == 1
    assert recovery.open_intents == ()
    assert desk.learnt.not_done == []
    assert desk.sender.doubtful == set()


async def test_an_order_that_is_not_there_counts_as_refused_only_after_the_grace(
    desk: Desk,
) -> None:
    desk.broker.answers[name(1)] = [UNKNOWN]
    began = asyncio.get_running_loop().time()
    await desk.done(order(1))
    assert asyncio.get_running_loop().time() - began > 0.25
    assert desk.learnt.not_done == [(1, "it is not at the exchange")]
    assert desk.broker.asked.count(("send", name(1))) == 1


async def test_in_doubt_nothing_else_opens_in_the_symbol_but_protection_passes(desk: Desk) -> None:
    desk.broker.answers[name(1)] = [UNKNOWN]
    desk.sender.submit(desk.commit(order(1)))
    await asyncio.sleep(0.05)
    assert desk.sender.doubtful == {"BTCUSDT"}
    desk.sender.submit(desk.commit(order(2), order(3, urgent=True), order(4, "ETHUSDT")))
    await asyncio.sleep(0.05)
    sent = [who for what, who in desk.broker.asked if what == "send"]
    assert sent == [name(1), name(3), name(4)]
    await desk.sender.settled()
    assert desk.broker.asked[-1] == ("send", name(2))


async def test_what_an_unknown_order_has_traded_is_told_before_its_end(desk: Desk) -> None:
    desk.broker.answers[name(1)] = [UNKNOWN]
    desk.broker.found[name(1)] = [report(name(1), status=OrderStatus.FILLED, filled="0.010")]
    mine, other = fill(name(1)), fill(name(7))
    desk.broker.fills = [other, mine]
    await desk.done(order(1))
    assert desk.learnt.found[0] == mine
    assert [type(event) for event in desk.learnt.found] == [Fill, OrderChange]


async def test_a_cancel_waits_for_the_order_that_is_on_its_way(desk: Desk) -> None:
    desk.broker.gates[name(1)] = asyncio.Event()
    desk.sender.submit(desk.commit(order(1)))
    desk.sender.submit(desk.commit(cancel(1)))
    await asyncio.sleep(0.02)
    assert desk.broker.asked == [("send", name(1))]
    desk.broker.gates[name(1)].set()
    await desk.sender.settled()
    assert desk.broker.asked == [("send", name(1)), ("cancel", name(1))]


async def test_of_a_symbol_a_stop_is_cancelled_before_the_next_one_is_sent(desk: Desk) -> None:
    await desk.done(order(2, urgent=True), cancel(1))
    assert desk.broker.asked == [("cancel", name(1)), ("send", name(2))]


async def test_the_next_stop_is_on_its_way_before_the_cancels_answer_is_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(answered: Answered) -> Recorded:
        desk.broker.asked.append(("written", name(numbers[answered.intent_id])))
        return written(answered)

    written = desk.journal.answer
    monkeypatch.setattr(desk.journal, "answer", told)
    batch = desk.commit(cancel(1), order(2, urgent=True), order(3))
    numbers = {due.intent_id: due.wanted.number for due in batch}
    desk.sender.submit(batch)
    await desk.sender.settled()
    requests = [
        ("cancel", 1),
        ("send", 2),
        ("written", 1),
        ("written", 2),
        ("send", 3),
        ("written", 3),
    ]
    assert desk.broker.asked == [(what, name(number)) for what, number in requests]
    assert desk.journal.recover().open_intents == ()


async def test_a_cancels_answer_that_cannot_be_written_keeps_the_stop_but_nothing_that_opens(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(answered: Answered) -> Recorded:
        if answered.intent_id == batch[0].intent_id:
            raise JournalError("journal must have room, had none")
        return written(answered)

    written = desk.journal.answer
    batch = desk.commit(cancel(1), order(2, urgent=True), order(3))
    monkeypatch.setattr(desk.journal, "answer", fail)
    desk.sender.submit(batch)
    await desk.sender.settled()
    await asyncio.sleep(0)
    assert desk.broker.asked == [("cancel", name(1)), ("send", name(2))]
    assert {type(error) for error in desk.learnt.errors} == {JournalError}


async def test_a_cancel_that_waits_for_its_own_order_keeps_no_stop_back(desk: Desk) -> None:
    desk.broker.gates[name(1)] = asyncio.Event()
    desk.sender.submit(desk.commit(order(1)))
    await asyncio.sleep(0.02)
    desk.sender.submit(desk.commit(cancel(1), order(2, urgent=True)))
    await asyncio.sleep(0.02)
    assert desk.broker.asked[1:] == [("send", name(2))]
    desk.broker.gates[name(1)].set()
    await desk.sender.settled()
    assert desk.broker.asked[2:] == [("cancel", name(1))]


@pytest.mark.parametrize("unknown", [order(1, urgent=True), cancel(1)], ids=["stop", "cancel"])
async def test_what_protects_passes_a_stop_or_a_cancel_of_unknown_outcome(
    desk: Desk, unknown: Wanted
) -> None:
    desk.broker.answers[name(1)] = [UNKNOWN]
    desk.sender.submit(desk.commit(unknown))
    await asyncio.sleep(0.02)
    desk.sender.submit(desk.commit(order(2, urgent=True)))
    await asyncio.sleep(0.02)
    assert ("send", name(2)) in desk.broker.asked
    assert "BTCUSDT" in desk.sender.busy  # nobody knows yet what became of the first
    await desk.sender.settled()
    assert desk.sender.busy == frozenset()
    assert desk.journal.recover().open_intents == ()


@pytest.mark.parametrize("answer", [REFUSED, UNKNOWN])
async def test_a_cancel_that_was_not_taken_is_resolved_by_the_orders_end(
    desk: Desk, answer: Answer
) -> None:
    desk.broker.answers[name(1)] = [answer]
    desk.broker.found[name(1)] = [report(name(1), status=OrderStatus.CANCELED)]
    recovery = await desk.done(cancel(1))
    assert recovery.open_intents == ()
    (told,) = desk.learnt.found
    assert isinstance(told, OrderChange)
    assert told.order.status is OrderStatus.CANCELED


@pytest.mark.parametrize("answer", [REFUSED, UNKNOWN])
async def test_a_cancel_is_asked_again_while_the_order_is_open(desk: Desk, answer: Answer) -> None:
    desk.broker.answers[name(1)] = [answer, ACCEPTED]
    desk.broker.found[name(1)] = [report(name(1))]
    recovery = await desk.done(cancel(1))
    assert [what for what, _ in desk.broker.asked] == ["cancel", "query", "cancel"]
    assert recovery.open_intents == ()


async def test_a_request_of_an_earlier_run_is_asked_for_and_not_sent(desk: Desk) -> None:
    here, gone = desk.commit(order(1), order(2))
    desk.broker.found[name(1)] = [report(name(1))]
    for due in (here, gone):
        desk.sender.resolve(due)
    await desk.sender.settled()
    assert {what for what, _ in desk.broker.asked} == {"query"}
    assert desk.learnt.not_done == [(2, "it is not at the exchange")]
    assert desk.journal.recover().open_intents == ()


async def test_a_request_of_long_ago_that_is_not_there_never_arrived_and_needs_no_grace(
    desk: Desk,
) -> None:
    (gone,) = desk.commit(order(1, urgent=True))
    began = asyncio.get_running_loop().time()
    desk.sender.resolve(replace(gone, since_us=monotonic_us() - 1_000_000))
    await desk.sender.settled()
    assert asyncio.get_running_loop().time() - began < 0.2
    assert desk.learnt.not_done == [(1, "it is not at the exchange")]


async def test_a_withheld_request_is_written_down_and_not_sent(desk: Desk) -> None:
    (due,) = desk.commit(order(1))
    answer = desk.sender.withhold(due, "another hand is in the symbol")
    assert answer.outcome is Outcome.REFUSED
    assert desk.broker.asked == []
    assert desk.journal.recover().open_intents == ()


async def test_an_order_that_opens_is_not_sent_late_but_one_that_reduces_is(desk: Desk) -> None:
    late = [replace(due, since_us=0) for due in desk.commit(order(1), order(2, urgent=True))]
    desk.sender.submit(late)
    await desk.sender.settled()
    assert desk.broker.asked == [("send", name(2))]
    assert [number for number, _ in desk.learnt.not_done] == [1]
    assert desk.journal.recover().open_intents == ()


async def test_an_error_of_the_journal_ends_the_run(desk: Desk, tmp_path: Path) -> None:
    due = desk.commit(order(1))
    (tmp_path / "live" / "journal.sqlite").unlink()
    desk.sender.submit(due)
    await desk.sender.settled()
    await asyncio.sleep(0)
    assert len(desk.learnt.errors) == 1


def fill(client_id: str) -> Fill:
    return Fill(
        time_us=5, trade_id=len(client_id) + ord(client_id[-1]), client_id=client_id, exchange_id=1, symbol="BTCUSDT",
        side=Side.BUY, qty="0.010", price="42000", fee="0.168", fee_asset="USDT", maker=False, order_status=None,
        realised="0",
    )  # fmt: skip


@pytest.mark.parametrize("waits", [False, True])
async def test_what_opens_waits_for_an_answer_only_where_its_margin_does(
    desk: Desk, waits: bool
) -> None:
    desk.broker.gates[name(2)] = asyncio.Event()
    opening = replace(order(1), waits=waits)
    desk.sender.submit(desk.commit(opening, order(2, "ETHUSDT", urgent=True)))
    await asyncio.sleep(0.02)
    ahead = [("send", name(2))]
    assert desk.broker.asked == ahead + [("send", name(1))] * (not waits)
    desk.broker.gates[name(2)].set()
    await desk.sender.settled()
    assert desk.broker.asked == [*ahead, ("send", name(1))]


async def test_what_opens_waits_for_what_is_urgent_in_its_own_symbol(desk: Desk) -> None:
    desk.broker.gates[name(2)] = asyncio.Event()
    desk.sender.submit(desk.commit(order(1), order(2, urgent=True)))
    await asyncio.sleep(0.02)
    assert desk.broker.asked == [("send", name(2))]
    desk.broker.gates[name(2)].set()
    await desk.sender.settled()
    assert desk.broker.asked == [("send", name(2)), ("send", name(1))]
