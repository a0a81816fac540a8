"""A journal is read as it grows: what is new is seen, what is wrong is told, and nothing is written."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from pathlib import Path

import pytest

from live.dashboard.board import State, Target
from live.dashboard.feed import Feed
from live.dashboard.running import SILENT_S, RunningAccount
from live.journal import Journal, Note, NoteKind
from live.kill_switch import KillSwitch
from live.monitor.place import place_of
from quantcore.errors import JournalError
from quantcore.types import OrderStatus
from tests.journal.entries import HOUR_US, Loop, change, fill, income, opened, url_of, whole_run


class Wall:
    """A clock that begins now, as files are as old as they are, and is turned by hand."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return opened(tmp_path)


def looking(tmp_path: Path, wall: Wall | None = None) -> RunningAccount:
    return RunningAccount(place_of(None, url_of(tmp_path)), wall_s=wall or Wall())


def states(account: RunningAccount) -> dict[str, State]:
    return {check.name: check.state for check in account.board().checks}


def test_a_whole_run_is_shown(tmp_path: Path, journal: Journal) -> None:
    whole_run(journal)
    account = looking(tmp_path)
    board = account.board()
    assert (board.name, board.kind, board.runs, board.level) == ("main", "sim", True, "normal")
    assert board.curve.equity.tolist() == [1010.0] * 5
    assert board.gross == 500.0
    assert board.regime == "calm"
    assert [f.symbol for f in board.fills] == ["ETHUSDT", "BTCUSDT", "BTCUSDT"]
    assert [f.reason for f in board.fills] == ["not of an own order", "target", "target"]
    assert board.reasons[0].rule == "min_notional"
    amounts = {cost.name: cost.amount for cost in board.costs}
    assert amounts["Fees"] == pytest.approx(-(0.25000050 + 0.1 + 0.25000050))
    assert amounts["Funding"] == pytest.approx(-0.05)
    assert amounts["Deposits, net"] == pytest.approx(5.0)
    assert any(stream.name == "last doubt" for stream in board.streams)
    account.close()


def test_what_is_added_is_news_and_is_summed_once(tmp_path: Path, journal: Journal) -> None:
    loop = Loop(journal)
    loop.step()
    loop.step(extras=True)
    account = looking(tmp_path)
    assert account.has_news()
    assert len(account.board().fills) == 0
    assert not account.has_news()
    journal.hear([fill(), income()], heard_us=5)
    assert account.has_news()
    for _ in range(2):
        board = account.board()
        assert [f.price for f in board.fills] == [50000.10]
        assert {c.name: c.amount for c in board.costs}["Fees"] == pytest.approx(-0.2500005)
    loop.step(extras=True)
    assert account.has_news()
    assert account.board().curve.ts_us.tolist() == [2 * HOUR_US, 3 * HOUR_US]
    account.close()


def test_an_open_order_is_shown_until_it_ends(tmp_path: Path, journal: Journal) -> None:
    from tests.journal.entries import answered, intent

    loop = Loop(journal)
    loop.step()
    (sent,) = loop.step([intent(1)], extras=True)
    account = looking(tmp_path)
    assert [(o.symbol, o.kind, o.state) for o in account.board().orders] == [
        ("BTCUSDT", "limit", "sent")
    ]
    journal.answer(answered(sent))
    assert [o.state for o in account.board().orders] == ["open"]
    journal.hear([change(OrderStatus.CANCELED)], heard_us=9)
    assert account.board().orders == ()
    account.close()


def test_silence_is_told_once_and_ends_with_the_next_word(tmp_path: Path, journal: Journal) -> None:
    Loop(journal).step(extras=True)
    wall = Wall()
    account = looking(tmp_path, wall)
    account.has_news()
    account.board()
    wall.now_s = account_word_s = wall.now_s + 1.0
    journal.note(Note(ts_us=1, kind=NoteKind.INTERVENTION, source="operator", message="hello"))
    assert account.has_news()
    assert states(account)["loop runs"] is State.GOOD
    wall.now_s = account_word_s + SILENT_S + 1.0
    assert account.has_news()
    assert states(account)["loop silent"] is State.BAD
    assert not account.has_news()
    journal.note(Note(ts_us=2, kind=NoteKind.INTERVENTION, source="operator", message="again"))
    assert account.has_news()
    assert states(account)["loop runs"] is State.GOOD
    account.close()


def test_an_end_is_told(tmp_path: Path, journal: Journal) -> None:
    Loop(journal).step(extras=True)
    account = looking(tmp_path)
    account.has_news()
    journal.end("told to stop", now_us=HOUR_US)
    assert account.has_news()
    board = account.board()
    assert not board.runs
    assert board.log[0].kind == "ended"
    assert states(account)["loop ended"] is State.BAD
    account.close()


def test_the_kill_switch_is_seen_with_who_asked_for_it(tmp_path: Path, journal: Journal) -> None:
    Loop(journal).step(extras=True)
    account = looking(tmp_path)
    account.has_news()
    assert states(account)["kill switch off"] is State.GOOD
    switch = KillSwitch(tmp_path / "live", lambda level: None)
    switch.freeze("somebody")
    assert account.has_news()
    (told,) = (c for c in account.board().checks if c.name.startswith("kill switch"))
    assert (told.name, told.state) == ("kill switch: freeze", State.BAD)
    assert told.text == "nothing that opens is sent; asked for by somebody"
    switch.release("somebody")
    assert account.has_news()
    assert states(account)["kill switch off"] is State.GOOD
    account.close()


def test_errors_and_interventions_are_told(tmp_path: Path, journal: Journal) -> None:
    Loop(journal).step(extras=True)
    for n in range(3):
        journal.note(
            Note(ts_us=HOUR_US + n, kind=NoteKind.ERROR, source="feed", message=f"lost {n}")
        )
    account = looking(tmp_path)
    board = account.board()
    (told,) = (c for c in board.checks if c.name == "errors")
    assert told.text == "3 errors in the last hour, of feed: lost 2"
    assert [entry.text for entry in board.log][:3] == ["lost 2", "lost 1", "lost 0"]
    account.close()


def test_nothing_is_written(tmp_path: Path, journal: Journal) -> None:
    whole_run(journal)
    journal.close()
    file = tmp_path / "live" / "journal.sqlite"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    account = looking(tmp_path)
    account.has_news()
    account.board()
    account.close()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


async def test_a_journal_that_cannot_be_read_is_told_and_the_rest_stays(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    Loop(journal).step(extras=True)
    feed = Feed(place_of(None, url_of(tmp_path)), look_s=0.05)
    feed.begin()
    lost = feed._lost("the disk is gone")
    assert "journal not readable" in lost.sections["headline"]
    assert "the disk is gone" in lost.sections["headline"]
    assert "1,010.00" in lost.sections["headline"]
    feed.close()


def test_an_empty_journal_is_refused(tmp_path: Path) -> None:
    from live.journal import open_journal

    open_journal(url_of(tmp_path)).close()
    account = looking(tmp_path)
    with pytest.raises(JournalError, match="must hold a session"):
        account.board()
    account.close()


def test_a_journal_that_was_put_aside_is_left_for_the_new_one(
    tmp_path: Path, journal: Journal
) -> None:
    whole_run(journal)
    journal.hear([fill(90, price="31000.5")], heard_us=9)
    account = looking(tmp_path)
    account.has_news()
    assert len(account.board().curve.ts_us) == 5
    journal.close()
    (tmp_path / "live").rename(tmp_path / "aside")
    with pytest.raises(JournalError, match="does not"):
        account.has_news()
    with opened(tmp_path) as anew:
        loop = Loop(anew)
        loop.step()
        loop.step(extras=True)
        assert account.has_news()
        board = account.board()
        assert (len(board.curve.ts_us), board.fills) == (1, ())
        assert {c.name: c.amount for c in board.costs}["Fees"] == 0.0
    account.close()


async def test_a_journal_that_does_not_answer_is_told_until_it_does(
    tmp_path: Path, journal: Journal
) -> None:
    Loop(journal).step(extras=True)
    feed = Feed(place_of(None, url_of(tmp_path)), look_s=0.05, answer_s=0.1)
    feed.begin()
    answers = threading.Event()
    feed._thread.submit(answers.wait)  # the look that comes next stands in line behind it
    following = asyncio.create_task(feed.run())

    async def until(lost: bool) -> str:
        async with asyncio.timeout(20):
            while feed.now.board.lost is not lost:
                await asyncio.sleep(0.01)
        return feed.now.sections["headline"]

    assert "it has not answered for" in await until(True)
    answers.set()
    assert "not readable" not in await until(False)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    assert "must be started again" in feed.now.sections["headline"]
    feed.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (JournalError("journal must hold a closed bar, none yet"), "must hold a closed bar"),
        (KeyError("open"), "the journal was not understood: KeyError"),
    ],
)
async def test_targets_that_cannot_be_measured_are_told_and_measured_again(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    Loop(journal).step(extras=True)
    met = Target(
        name="Sharpe", target="> 1", result="2", state=State.GOOD, verdict="met", reason=""
    )
    answers = iter([error])

    def measured(place: object) -> tuple[Target, ...]:
        for failure in answers:
            raise failure
        return (met,)

    monkeypatch.setattr("live.dashboard.feed.targets", measured)
    monkeypatch.setattr("live.dashboard.feed.SCORE_S", 0.2)
    feed = Feed(place_of(None, url_of(tmp_path)), look_s=0.05)
    feed.begin()
    tasks = [asyncio.create_task(each) for each in (feed.run(), feed.measure())]

    async def until(text: str) -> str:
        async with asyncio.timeout(20):
            while text not in feed.now.sections["scorecard"]:
                await asyncio.sleep(0.01)
        return feed.now.sections["scorecard"]

    assert "Not measured the last time" in await until(said)
    assert "Not measured" not in await until("1 of 1 met")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    feed.close()
