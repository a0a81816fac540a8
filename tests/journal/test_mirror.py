"""The copy of a journal: equal to the last row however it was carried, and through a server that goes away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from live.journal import open_journal
from live.journal.mirror import Carried, Mirror
from live.journal.replay_check import Replayer
from live.journal.verify import verify
from tests.journal.entries import (
    ADVANCE,
    HOUR_US,
    Loop,
    answered,
    change,
    fill,
    health,
    income,
    intent,
    one_of_each,
    opened,
    session,
    url_of,
    whole_run,
)
from tests.journal.server import Server
from tests.journal.test_transfer import fingerprints


def copy_of(url: str) -> dict[str, object]:
    with open_journal(url, read_only=True) as journal:
        return fingerprints(journal)


@pytest.fixture
def copy_url(url: str) -> str:
    return url


def test_a_copy_carried_after_every_transaction_is_the_journal(
    tmp_path: Path, copy_url: str
) -> None:
    with opened(tmp_path) as journal, Mirror(url_of(tmp_path), copy_url) as mirror:
        loop = Loop(journal)
        assert mirror.carry() == Carried(rows=1)
        for number in range(1, 6):
            numbers = loop.step([intent(number)] if number > 1 else (), extras=True)
            mirror.carry()
            for each in numbers:
                journal.answer(answered(each))
                mirror.carry()
        for event in one_of_each():
            journal.hear([event], heard_us=1)
            assert mirror.carry().rows == 2
        journal.end("told to stop", now_us=9)
        assert mirror.carry() == Carried(rows=1)
        assert mirror.carry() == Carried()
        expected = fingerprints(journal)
    assert copy_of(copy_url) == expected
    with open_journal(copy_url) as copy:
        assert copy.replay(ADVANCE).account == loop.account


def test_an_income_that_gets_its_id_later_has_it_in_the_copy(tmp_path: Path, copy_url: str) -> None:
    with opened(tmp_path) as journal, Mirror(url_of(tmp_path), copy_url) as mirror:
        journal.hear([income(""), income("", time_us=9 * HOUR_US)], heard_us=1)
        mirror.carry()
        journal.hear([income("77")], heard_us=2)
        assert mirror.carry() == Carried(rows=1)
        expected = fingerprints(journal)
    assert copy_of(copy_url) == expected


def test_a_mirror_that_begins_anew_goes_on_where_the_copy_ends(
    tmp_path: Path, copy_url: str
) -> None:
    with opened(tmp_path) as journal:
        loop = whole_run(journal)
        with Mirror(url_of(tmp_path), copy_url) as mirror:
            mirror.carry()
        journal.begin(session(), now_us=3)
        loop.step([intent(40)])
        with Mirror(url_of(tmp_path), copy_url) as mirror:
            mirror.carry()
        expected = fingerprints(journal)
    assert copy_of(copy_url) == expected


@pytest.mark.parametrize(("same", "behind"), [(True, 3), (False, 5)])
def test_what_a_copy_lacks_is_known_although_its_server_is_away_at_the_start(
    tmp_path: Path, same: bool, behind: int
) -> None:
    away = "postgresql+psycopg://user@127.0.0.1:1/journal"
    other = "postgresql+psycopg://user@127.0.0.1:1/another"
    with opened(tmp_path) as journal:
        journal.begin(replace(session(), config_yaml=f"conf: {{copy_url: {away}}}"), now_us=1)
        loop = Loop(journal)
        loop.step()
        loop.step()
        loop.step()
        journal.health(health(ts_us=3 * HOUR_US, copy_behind=1))
        loop.step()
        loop.step()
        with Mirror(url_of(tmp_path), away if same else other) as mirror:
            assert mirror.carry().behind == behind


def test_the_copy_of_another_journal_is_left_alone(tmp_path: Path, copy_url: str) -> None:
    with open_journal(copy_url) as other:
        other.begin(session(prefix="other-"), now_us=0)
    before = copy_of(copy_url)
    with opened(tmp_path) as journal, Mirror(url_of(tmp_path), copy_url) as mirror:
        Loop(journal).step()
        trouble = mirror.carry()
    assert trouble == Carried(behind=1, trouble="the copy must be of this journal, is of another")
    assert copy_of(copy_url) == before


def test_a_copy_that_has_more_than_the_journal_is_left_alone(tmp_path: Path, copy_url: str) -> None:
    with opened(tmp_path) as journal, open_journal(copy_url) as copy:
        copy.begin(session(), now_us=0)
        Loop(copy).step()
        copy.close()
        with Mirror(url_of(tmp_path), copy_url) as mirror:
            assert mirror.carry().trouble == (
                "the copy must not have more than the journal, has 1 steps"
            )
        assert journal.next_seq == 1


def test_keeping_on_tells_every_round_and_waits_longer_while_there_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    told: list[Carried] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 8:
            raise Enough

    monkeypatch.setattr("live.journal.mirror.asyncio.sleep", sleep)
    with (
        opened(tmp_path),
        Mirror(url_of(tmp_path), "sqlite:////proc/none/copy") as mirror,
        pytest.raises(Enough),
    ):
        asyncio.run(mirror.keep(1.0, told.append))
    assert waited == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert len(told) == 8
    assert all("/proc/none" in each.trouble for each in told)


@pytest.mark.integration
def test_a_server_that_goes_away_is_caught_up_with_when_it_is_back(
    tmp_path: Path, own_server: Server
) -> None:
    with opened(tmp_path) as journal, Mirror(url_of(tmp_path), own_server.url) as mirror:
        loop = Loop(journal)
        loop.step()
        assert mirror.carry().trouble == ""
        own_server.end()
        for number in range(1, 8):
            (sent,) = loop.step([intent(number)], extras=True)
            journal.answer(answered(sent))
            journal.hear([change(client_id=f"qc-{number}")], heard_us=1)
            journal.hear([fill(number, client_id=f"qc-{number}")], heard_us=1)
            away = mirror.carry()
            assert away.behind == number
            assert away.trouble.startswith("journal must be a database that works, postgresql")
            assert "\n" not in away.trouble
        own_server.begin()
        caught_up = mirror.carry()
        assert caught_up.rows > 7 * 4
        assert (caught_up.behind, caught_up.trouble) == (0, "")
        assert mirror.carry() == Carried()
        expected = fingerprints(journal)
    assert copy_of(own_server.url) == expected
    with open_journal(own_server.url) as copy:
        assert copy.replay(ADVANCE).account == loop.account
        assert copy.next_seq == 9


@pytest.mark.integration
def test_a_copy_in_postgresql_is_verified_like_the_journal(tmp_path: Path, server: Server) -> None:
    copied = server.database("copy")
    with opened(tmp_path) as journal, Mirror(url_of(tmp_path), copied) as mirror:
        whole_run(journal)
        mirror.carry()

        def checks(of: Any) -> list[Any]:
            told = verify(of, lambda session: Replayer(advance=ADVANCE))
            return [replace(check) for check in told]

        with open_journal(copied, read_only=True) as copy:
            assert checks(copy) == checks(journal)
