"""What the loop tells its journal: committed once, in order, and refused in one line where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from live.broker.interface import Outcome
from live.journal import (
    AnsweredBy,
    Decision,
    Difference,
    Note,
    NoteKind,
    Recorded,
    Resolution,
    Step,
    open_journal,
    reading,
)
from quantcore.errors import JournalError
from quantcore.types import OrderStatus
from tests.journal.entries import (
    ADVANCE,
    HOUR_US,
    Loop,
    account,
    answered,
    balance,
    cancel,
    change,
    fill,
    income,
    intent,
    one_of_each,
    opened,
    order,
    session,
)

NEW, KNOWN = Recorded.NEW, Recorded.KNOWN


def test_a_start_finds_the_steps_after_the_snapshot_and_what_is_open(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal)
        loop.step()
        first, second, third, fourth = loop.step([intent(number) for number in (1, 2, 3, 4)])
        journal.answer(answered(first))
        journal.answer(answered(fourth, Outcome.REFUSED))
        journal.answer(answered(second, Outcome.UNKNOWN))
        for _ in range(4):
            loop.step()
        journal.hear([fill()], heard_us=1)
    with open_journal(url) as journal:
        found = journal.recover()
    assert found.session is not None
    assert found.session.session == session()
    assert found.session.ended_us is None
    assert (found.seq, [step.seq for step in found.steps]) == (6, [5, 6])
    assert [(o.intent_id, o.intent.request, o.asked) for o in found.open_intents] == [
        (second, order(2), True),
        (third, order(3), False),
    ]
    assert found.unused == ((1, fill()),)
    resumed = found.resume(ADVANCE)
    assert resumed is not None
    assert resumed.account == loop.account
    assert resumed.signal == loop.signal


def test_an_empty_journal_has_nothing_to_resume(url: str) -> None:
    with open_journal(url) as journal:
        found = journal.recover()
        assert (journal.next_seq, journal.last_event) == (1, 0)
    assert (found.session, found.seq, found.account, found.steps) == (None, 0, None, ())
    assert found.resume(ADVANCE) is None


def test_any_moment_of_the_past_is_rebuilt(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal)
        states = []
        for _ in range(11):
            loop.step()
            states.append((loop.account, loop.signal))
        for seq, (held, signal) in enumerate(states, start=1):
            by_number = journal.replay(ADVANCE, at_seq=seq)
            by_time = journal.replay(ADVANCE, at_us=seq * HOUR_US + 1)
            assert by_number == by_time
            assert (by_number.account, by_number.signal) == (held, signal)
            assert (by_number.seq, by_number.ts_us) == (seq, seq * HOUR_US)
        assert journal.replay(ADVANCE).seq == 11
        with pytest.raises(JournalError, match="step 0 has none"):
            journal.replay(ADVANCE, at_us=HOUR_US - 1)
        with pytest.raises(JournalError, match="step 12 has none"):
            journal.replay(ADVANCE, at_seq=12)


def test_a_fold_that_became_another_is_seen_at_its_first_step(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal)
        for _ in range(7):
            loop.step()
        changed = replace(ADVANCE, account=lambda state, step: account(0.0, step.seq))
        with pytest.raises(JournalError, match=r"^step 5 must give its account state again, "):
            journal.replay(changed)
        late = replace(ADVANCE, signal=lambda s, step: (ADVANCE.signal(s, step)[0], np.zeros(2)))  # type: ignore[misc]  # it has one
        with pytest.raises(JournalError, match=r"^step 6 must give its targets again, "):
            journal.replay(late)


def test_what_was_told_comes_back_as_it_was(url: str) -> None:
    told = one_of_each()
    with opened(url) as journal:
        loop = Loop(journal)
        loop.step()
        numbers = loop.step([intent(1), cancel(1)])
        assert journal.hear(told, heard_us=6) == (NEW,) * 5
        with journal.transaction() as connection:
            assert [event for _, event in reading.events(connection)] == list(told)
            assert reading.intents(connection, seq=2) == list(
                zip(numbers, [intent(1), cancel(1)], strict=True)
            )
            steps = list(reading.steps(connection))
    assert [step.kind for step in steps] == ["start", "close"]
    assert steps[1].inputs is not None
    assert list(steps[1].inputs["market"]) == [0.2, 2.0]
    assert steps[1].decision is not None
    assert steps[1].decision.targets is not None
    assert np.array_equal(steps[1].decision.targets, [1.6, np.nan], equal_nan=True)


def test_a_second_telling_changes_nothing(url: str) -> None:
    with opened(url) as journal:
        journal.hear(one_of_each(), heard_us=6)
        assert journal.hear(one_of_each(), heard_us=7) == (KNOWN,) * 5
        # The list of trades knows no status; another spelling of a number is the same number.
        assert journal.hear([fill(order_status=None, qty="0.01")], heard_us=8) == (KNOWN,)
        assert journal.hear([fill(symbol="ETHUSDT"), fill(trade_id=8)], heard_us=9) == (NEW, NEW)
        assert journal.hear([balance("999.75", time_us=1), change(filled="0.001")], heard_us=9) == (
            NEW,
            NEW,
        )
        assert journal.last_event == 9
        market = change(price=None, filled="0.002")
        assert journal.hear([market], heard_us=10) == (NEW,)
        assert journal.hear([market], heard_us=11) == (KNOWN,)


def test_a_telling_that_contradicts_the_first_is_refused_with_its_batch(url: str) -> None:
    with opened(url) as journal:
        journal.hear([fill(), income()], heard_us=6)
        with pytest.raises(
            JournalError,
            match=r"^fill BTCUSDT 7 must be told the same twice, qty was 0\.010 and is 0\.02$",
        ):
            journal.hear([fill(trade_id=8), fill(qty="0.02")], heard_us=7)
        with pytest.raises(
            JournalError, match=r"income FUNDING_FEE 9 .* amount was -0\.05 and is 1"
        ):
            journal.hear([income(amount="1")], heard_us=7)
        assert journal.last_event == 2
        assert journal.hear([fill(trade_id=8)], heard_us=8) == (NEW,)


def test_an_income_of_the_stream_and_of_the_list_is_one(url: str) -> None:
    late = {"time_us": 4 * HOUR_US + 30_000}
    with opened(url) as journal:
        assert journal.hear([income("")], heard_us=1) == (NEW,)
        assert journal.hear([income("9", **late)], heard_us=2) == (KNOWN,)
        assert journal.hear([income("9"), income("")], heard_us=3) == (KNOWN, KNOWN)
        assert journal.hear([income("10", **late)], heard_us=4) == (NEW,)
        assert journal.hear([income("", amount="-0.06"), income("", symbol=None)], heard_us=5) == (
            NEW,
            NEW,
        )
        with journal.transaction() as connection:
            assert reading.events(connection)[0][1] == income("9")


def test_an_intent_has_one_outcome(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal)
        loop.step()
        (number,) = loop.step([intent(1)])
        assert journal.answer(answered(number, Outcome.UNKNOWN)) is NEW
        assert journal.answer(answered(number, Outcome.UNKNOWN)) is KNOWN
        assert journal.answer(answered(number, by=AnsweredBy.QUERY)) is NEW
        assert journal.answer(answered(number)) is KNOWN
        with pytest.raises(JournalError, match="1 was accepted and is told refused"):
            journal.answer(answered(number, Outcome.REFUSED))
        assert journal.recover().open_intents == ()
        with pytest.raises(JournalError, match=r"(?i)violates foreign key|foreign key .* failed"):
            journal.answer(answered(99))


def test_a_client_id_is_sent_once_but_may_be_cancelled_twice(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal)
        loop.step()
        loop.step([intent(1), cancel(1)])
        loop.step([cancel(1)])
        with pytest.raises(JournalError, match=r"intents\.client_id|one_send_per_client"):
            loop.step([intent(2), intent(1)])
        assert journal.next_seq == 4
        loop.step([intent(2)])


def test_a_step_told_again_after_an_error_is_the_same_step(url: str) -> None:
    step = Step(
        seq=1, ts_us=1, kind="start", inputs={}, account=account(0, 0), snapshot=True, intents=[]
    )
    after = Step(
        seq=2, ts_us=2, kind="event", inputs={}, account=account(1, 1), intents=[intent(1)]
    )
    with opened(url) as journal:
        journal.commit_step(step)
        assert journal.commit_step(after) == journal.commit_step(after) == (1,)
        other = Step(seq=2, ts_us=2, kind="event", inputs={}, account=account(2, 1))
        with pytest.raises(ValueError, match="seq must be 3, was 2: another step has it"):
            journal.commit_step(other)
        with pytest.raises(ValueError, match="seq must be 3, was 4"):
            journal.commit_step(
                Step(seq=4, ts_us=2, kind="event", inputs={}, account=account(2, 1))
            )
        assert journal.next_seq == 3


def test_notes_and_differences_are_kept(url: str) -> None:
    with opened(url) as journal:
        note = Note(ts_us=1, kind=NoteKind.ERROR, source="feed", message="mute")
        journal.note(note)
        journal.difference(
            Difference(
                ts_us=2, subject="order", expected="open", found="gone", rule=Resolution.ADOPT
            )
        )
        with journal.transaction() as connection:
            rows = connection.exec_driver_sql(
                "SELECT kind, source, message FROM notes UNION ALL SELECT subject, found, rule FROM differences"
            ).all()
    assert [tuple(row) for row in rows] == [("error", "feed", "mute"), ("order", "gone", "adopt")]


def test_a_session_ends_and_another_account_is_refused(url: str) -> None:
    with opened(url) as journal:
        journal.end("asked to", now_us=9)
        with pytest.raises(ValueError, match="a session must have begun"):
            journal.note(Note(ts_us=1, kind=NoteKind.ERROR, source="feed", message="mute"))
    with open_journal(url) as journal:
        for changed in ({"mode": "prod"}, {"account": "other"}):
            with pytest.raises(
                JournalError, match=r"journal must be of mode .* is of sim and main"
            ):
                journal.begin(session(**changed), now_us=1)
        assert journal.begin(session(), now_us=10) == 2
        last = journal.recover().session
        with journal.transaction() as connection:
            first = reading.sessions(connection)[0]
    assert (first.ended_us, first.why_ended) == (9, "asked to")
    assert last is not None
    assert (last.session_id, last.started_us) == (2, 10)


def test_records_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="either targets or a reason"):
        Decision(targets=None, inputs={})
    with pytest.raises(ValueError, match="one row of float64"):
        Decision(targets=np.zeros((2, 2)), inputs={})
    with pytest.raises(ValueError, match="snapshot must be true of a step of kind start"):
        Step(seq=1, ts_us=1, kind="start", inputs={}, account=account(0, 0))
    with pytest.raises(ValueError, match="prefix must not be empty"):
        session(prefix="")


def test_a_skipped_decision_says_why(url: str) -> None:
    with opened(url) as journal:
        Loop(journal).step()
        skipped = Decision(targets=None, inputs={}, skipped="ETHUSDT had no bar")
        journal.commit_step(
            Step(seq=2, ts_us=2, kind="close", inputs={}, account=account(1, 1), decision=skipped)
        )
        with journal.transaction() as connection:
            assert [step.decision for step in reading.steps(connection)] == [None, skipped]


def test_the_order_of_statuses_is_told_in_words(url: str) -> None:
    with opened(url) as journal:
        journal.hear([change(status) for status in OrderStatus], heard_us=1)
        with journal.transaction() as connection:
            told = [event for _, event in reading.events(connection)]
            words = connection.exec_driver_sql("SELECT status FROM order_changes").scalars().all()
    assert told == [change(status) for status in OrderStatus]
    assert list(words) == [status.name.lower() for status in OrderStatus]


def test_the_first_state_of_a_signal_plane_is_always_kept(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal, snapshot_every=100)
        loop.step(with_signal=False)
        for _ in range(3):
            loop.step()
        with journal.transaction() as connection:
            kept = reading.snapshot(connection, "signal", upto=4)
        assert kept is not None
        assert kept.seq == 2
        assert journal.replay(ADVANCE).signal == loop.signal
