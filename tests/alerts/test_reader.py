"""A reader tells each row of a journal once, through restarts, storms and journals that are replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from live.alerts import reader as reading
from live.alerts.news import News
from live.alerts.reader import Reader, run_of
from live.alerts.survey import Survey
from live.journal import Journal
from live.journal.records import Difference, Health, KeptSession, Note, NoteKind, Resolution
from live.monitor.view import View
from live.parts import session_text
from quantcore.config import compose
from quantcore.data.instruments import load_instruments
from quantcore.errors import JournalError
from tests.journal.entries import Loop, change, opened, session, url_of


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with opened(tmp_path) as found:
        loop = Loop(found)
        loop.step()
        loop.step(extras=True)
        yield found


@pytest.fixture
def view(journal: Journal, tmp_path: Path) -> Iterator[View]:
    with View(url_of(tmp_path)) as found:
        yield found


def look(reader: Reader) -> News:
    return reader.look(absent_us=0, seen_us=1)


def note(journal: Journal, *messages: str) -> None:
    for message in messages:
        journal.note(Note(ts_us=1, kind=NoteKind.ERROR, source="test", message=message))


def messages(found: News) -> list[str]:
    return [row.message for row in found.notes]


def resumed(view: View, reader: Reader) -> Reader:
    """A reader of another process, whose memory went through the queue."""
    return Reader(view, (), json.loads(json.dumps(reader.memory)))


def test_a_first_look_knows_what_is_there_and_tells_only_how_the_account_stands(
    journal: Journal, view: View
) -> None:
    note(journal, "old")
    reader = Reader(view, ())
    first = look(reader)
    assert messages(first) == []
    assert [row.drawdown for row in first.account] == [-0.01]
    assert first.reasons == ()
    assert (first.run is not None and first.run.mode) == "sim"
    assert not look(reader).is_new


def test_each_row_is_told_once_also_by_another_reader(journal: Journal, view: View) -> None:
    reader = Reader(view, ())
    look(reader)
    note(journal, "one", "two")
    told = look(reader)
    assert (messages(told), told.is_new) == (["one", "two"], True)
    assert messages(look(reader)) == []
    other = resumed(view, reader)
    note(journal, "three")
    assert messages(look(other)) == ["three"]
    assert messages(look(reader)) == ["three"]


def test_every_table_is_told(journal: Journal, view: View) -> None:
    reader = Reader(view, ())
    look(reader)
    Loop(journal).step(extras=True)
    journal.hear([change(stuck=True)], heard_us=5)
    journal.difference(
        Difference(
            ts_us=6,
            subject="position",
            expected="0",
            found="1",
            rule=Resolution.HALT,
            symbol="ETHUSDT",
        )
    )
    journal.health(
        Health(
            ts_us=7, wall_us=8, late_us=9, clock_off_ms=float("nan"), requests=10, failures=1, used_weight=0,
            account_stream=True, sockets=2, connected=1, book_age_s=0.1, mark_age_s=0.1, kline_age_s=0.1, doubtful=3,
            halted=4, stopped="fees", memory_mb=100.0, disk_free_mb=1000.0, copy_behind=6, counts={},
        )
    )  # fmt: skip
    told = look(reader)
    assert [(row.rule, row.action) for row in told.reasons] == [("min_notional", "refused")]
    assert [row.symbol for row in told.stuck] == ["BTCUSDT"]
    assert [(row.found, row.rule) for row in told.differences] == [("1", "halt")]
    (beat,) = told.health
    assert (beat.wall_us, beat.connected) == (8, 1)
    assert (beat.doubtful, beat.halted, beat.stopped, beat.copy_behind) == (3, 4, "fees", 6)
    assert len(told.account) == 1


def test_a_storm_is_taken_in_batches_without_a_loss(
    journal: Journal, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS_MAX", 3)
    reader = Reader(view, ())
    look(reader)
    note(journal, *(str(number) for number in range(8)))
    batches = [look(reader) for _ in range(3)]
    assert [len(batch.notes) for batch in batches] == [3, 3, 2]
    assert [batch.is_more for batch in batches] == [True, True, False]


def test_a_journal_that_was_empty_tells_everything(tmp_path: Path) -> None:
    with opened(tmp_path) as journal, View(url_of(tmp_path)) as view:
        reader = Reader(view, ())
        look(reader)
        note(journal, "first")
        assert messages(look(reader)) == ["first"]


def test_another_journal_in_the_same_place_is_told_from_its_begin(
    journal: Journal, view: View, tmp_path: Path
) -> None:
    reader = Reader(view, ())
    note(journal, "one", "two")
    look(reader)
    journal.close()
    for file in (tmp_path / "live").iterdir():
        file.unlink()
    with pytest.raises(JournalError):
        look(reader)
    with opened(tmp_path) as other:
        other.end("told to stop", now_us=7)
    from live.journal import open_journal

    (tmp_path / "live" / "journal.sqlite").unlink()
    with open_journal(url_of(tmp_path)) as other:
        other.begin(session(prefix="other-"), now_us=9)
        note(other, "new")
        view.reopen()
        assert messages(look(reader)) == ["new"]
        assert messages(look(resumed(view, reader))) == []


def test_the_end_of_a_session_is_seen_although_no_row_is_added(
    journal: Journal, view: View
) -> None:
    reader = Reader(view, ())
    look(reader)
    journal.end("told to stop", now_us=77)
    told = look(reader)
    assert told.run is not None
    assert (told.run.ended_us, told.run.why_ended) == (77, "told to stop")


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ((), True),  # of the risk controller
        (("risk=none",), False),
        (("risk=none", "strategy.exits.stop_loss=0.1"), True),
    ],
)
def test_a_run_wants_stops_if_its_strategy_or_its_risk_controller_does(
    overrides: tuple[str, ...], wanted: bool
) -> None:
    text = session_text(compose("live", list(overrides)), load_instruments(("BTCUSDT",)))
    kept = KeptSession(
        session_id=1,
        session=session(config_yaml=text),
        started_us=0,
        ended_us=None,
        why_ended=None,
    )
    assert run_of(kept).wants_stops is wanted


def test_holdings_are_asked_for_only_when_something_is_new(journal: Journal, view: View) -> None:
    survey = Survey(view, None)
    held = survey.holdings()
    assert held is not None
    assert [(each.symbol, each.has_stop) for each in held] == [("BTCUSDT", False)]
    assert survey.holdings() is None
    note(journal, "something")
    assert survey.holdings() is not None


def test_free_space_is_asked_for_now_and_then(view: View, tmp_path: Path) -> None:
    reader = Reader(view, (tmp_path,))
    first = reader.look(absent_us=0, seen_us=10_000_000)
    assert first.free_bytes[str(tmp_path)] > 0
    assert reader.look(absent_us=0, seen_us=11_000_000).free_bytes == {}


def test_a_look_that_finds_nothing_asks_twice(view: View) -> None:
    reader = Reader(view, ())
    look(reader)
    asked: list[str] = []
    connection = view.journal._database._connection
    assert connection is not None
    event.listen(
        connection,
        "before_cursor_execute",
        lambda c, cursor, statement, *rest: asked.append(statement),
    )
    look(reader)
    assert len([statement for statement in asked if statement.startswith("SELECT")]) == 2
