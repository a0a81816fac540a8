"""A journal in PostgreSQL is shown like the same one in a file, also after its server was away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live.dashboard.feed import Feed, Shown, shown
from live.dashboard.running import RunningAccount
from live.journal import Journal
from live.journal.mirror import Mirror
from live.monitor.place import Place, place_of
from quantcore.errors import QuantcoreError
from tests.dashboard.boards import read
from tests.journal.entries import HOUR_US, fill, opened, whole_run
from tests.journal.server import Server, postgresql

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    journal = opened(tmp_path_factory.mktemp("run"))
    whole_run(journal)
    return journal


@pytest.fixture(scope="module")
def copied(journal: Journal, server: Server) -> Iterator[Mirror]:
    with Mirror(journal.place, server.url) as mirror:
        assert mirror.carry().trouble == ""
        yield mirror


def sections(place: Place) -> dict[str, str]:
    account = RunningAccount(place)
    account.has_news()
    found = shown(account.board())
    account.close()
    return {**found.sections, **found.curves}


def test_the_page_is_that_of_the_file(journal: Journal, copied: Mirror, server: Server) -> None:
    folder = Path(journal.place.removeprefix("sqlite:///")).parent
    assert sections(place_of(str(folder), server.url)) == sections(place_of(str(folder), None))
    alone = sections(place_of(None, server.url))
    differ = {n for n, html in sections(place_of(str(folder), None)).items() if alone[n] != html}
    assert differ == {"headline"}  # without its folder nobody knows where the kill switch stands
    assert "kill switch" not in alone["headline"]


class Reader:
    """Keeps what the page would show."""

    def __init__(self) -> None:
        self.last: Shown | None = None

    def show(self, shown: Shown) -> None:
        self.last = shown

    async def until(self, holds: Callable[[Shown], bool]) -> Shown:
        async with asyncio.timeout(20):
            while self.last is None or not holds(self.last):
                await asyncio.sleep(0.02)
        return self.last


async def test_a_server_that_goes_away_is_told_and_what_it_missed_is_shown(
    journal: Journal, copied: Mirror, server: Server
) -> None:
    feed, reader = Feed(place_of(None, server.url), look_s=0.05), Reader()
    feed.begin()
    before = feed.now
    feed.add(reader)
    following = asyncio.create_task(feed.run())
    server.end()
    away = await reader.until(lambda shown: shown.board.lost)
    headline = read(away.sections["headline"]).words
    assert "Needs you" in headline
    assert "journal not readable" in headline
    assert any("its last word" in word for word in headline)
    others = {name: html for name, html in away.sections.items() if name != "headline"}
    assert others.items() <= before.sections.items()
    journal.hear([fill(77, price="31234.5", time_us=8 * HOUR_US)], heard_us=9)
    server.begin()
    copied.carry()  # finds its connection dead
    assert copied.carry().trouble == ""
    back = await reader.until(lambda shown: "31,234.5" in shown.sections["fills"])
    assert not back.board.lost
    assert "not readable" not in back.sections["headline"]
    following.cancel()
    feed.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://me@127.0.0.1:1/none", "journal must be a database that works"),
        ("postgresql+psycopg://me:word@127.0.0.1:1/none", "url must hold no password"),
        (
            "postgresql://me@127.0.0.1:1/none",
            r"url must begin with sqlite:/// or postgresql\+psycopg",
        ),
        ("journal", r"url must begin with .*, was something else"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(QuantcoreError, match=said) as refused:
        Feed(place_of(None, url), look_s=0.05).begin()
    assert "\n" not in str(refused.value)
    assert "word@" not in str(refused.value)
