"""Commands from a chat: who may, asked twice, never twice, never late; against a stand-in for Telegram's API."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from live.alerts import commands
from live.alerts.alert import Severity
from live.alerts.commands import Commander, Deeds, serve
from live.alerts.hands import Hands
from live.alerts.process import now_us
from live.alerts.queue import Queue
from live.alerts.settings import CommandSettings
from live.alerts.telegram import Telegram, Unreachable
from live.alerts.teller import Teller
from live.kill_switch import Level
from live.monitor.standing import Standing, Watch
from live.monitor.view import View
from tests.alerts.made import NOW_US, SECOND_US, BotServer, alert, bot_server, settings, update
from tests.journal.entries import Loop, opened, url_of

TOKEN = "123:MARKER"
SETTINGS = CommandSettings(
    token="QUANTCORE_TELEGRAM_TOKEN",
    chats=(7, 8),
    base_url="https://api.telegram.org",
    confirm_s=60.0,
    old_s=180.0,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with opened(tmp_path) as journal:
        loop = Loop(journal)
        loop.step()
        loop.step(extras=True)
    return tmp_path / "live"


@pytest.fixture
def queue(folder: Path) -> Iterator[Queue]:
    found = Queue(folder / "alerts.sqlite")
    yield found
    found.close()


class Person:
    """Writes commands at a time of the test's, and reads the answers."""

    def __init__(self, queue: Queue, folder: Path) -> None:
        self.us = NOW_US
        self.number = 500
        self.folder = folder
        self.url = url_of(folder.parent)
        self.commander = self.begin(queue)

    def begin(self, queue: Queue) -> Commander:
        self.commander = Commander(queue, deeds(self.url, self.folder), SETTINGS, lambda: self.us)
        return self.commander

    def __call__(
        self, text: str, *, chat: int = 7, sender: int = 70, late_s: float = 0.0
    ) -> str | None:
        self.number += 1
        self.us += SECOND_US
        sent_s = self.us / SECOND_US - late_s
        found = asyncio.run(
            self.commander.take(update(self.number, text, chat=chat, sender=sender, sent_s=sent_s))
        )
        return None if found is None else found[1]

    def switch(self) -> dict[str, str]:
        return {
            level.name: path.read_text().strip()
            for level in Level
            if (path := self.folder / level.name).exists()
        }


def deeds(url: str, folder: Path | None) -> Deeds:
    def now() -> Standing:
        with View(url) as view:
            return Watch(view, folder).look()

    hands = Hands(now, folder)

    async def status() -> str:
        return hands.status()

    async def positions() -> str:
        return hands.positions()

    async def warning(level: Level) -> str:
        return hands.warning(level)

    async def pull(level: Level, by: str) -> str:
        return hands.pull(level, by)

    return Deeds(status=status, positions=positions, warning=warning, pull=pull)


@pytest.fixture
def person(queue: Queue, folder: Path) -> Person:
    return Person(queue, folder)


def test_status_and_positions_are_told(person: Person) -> None:
    status = str(person("/status"))
    assert status.startswith("sim: running, last word")
    assert "Equity 1,010.00 USDT" in status
    assert "drawdown −1.0 %" in status
    assert "No open alerts" in status
    assert str(person("/positions@quantcore_bot")).startswith(
        "BTCUSDT long 0.01 at 49,000, now 50,000"
    )
    assert "/flatten" in str(person("/help"))
    assert person("good morning") is None


def test_pause_freezes_at_once_and_says_who(person: Person) -> None:
    assert str(person("/pause")).startswith("Asked for: kill switch FREEZE")
    assert person.switch() == {"FREEZE": "/pause of @anna (70) in Telegram chat 7"}
    assert "already" in str(person("/pause"))


def test_flatten_and_resume_are_asked_twice(person: Person) -> None:
    first = str(person("/flatten"))
    assert first.startswith("FLATTEN closes all 1 positions of sim at the market, 500 USDT")
    assert person.switch() == {}
    code = first.rpartition(" ")[2]
    assert str(person(f"/confirm {code}")).startswith("Asked for: kill switch FLATTEN")
    assert person.switch() == {"FLATTEN": "/flatten of @anna (70) in Telegram chat 7"}
    assert str(person(f"/confirm {code}")) == "NOT DONE: nothing waits to be confirmed."
    again = str(person("/resume"))
    assert "The kill switch stands at FLATTEN" in again
    assert person.switch() != {}
    assert str(person(f"/confirm {again.rpartition(' ')[2]}")).startswith(
        "Asked for: kill switch off"
    )
    assert person.switch() == {}


def test_a_confirmation_expires_and_is_only_the_askers_and_only_in_his_chat(person: Person) -> None:
    code = str(person("/flatten")).rpartition(" ")[2]
    assert (
        person(f"/confirm {code}", sender=71)
        == "NOT DONE: whoever asked for /flatten must confirm it."
    )
    assert person(f"/confirm {code}", chat=8) == "NOT DONE: nothing waits to be confirmed."
    person.us += 61 * SECOND_US
    assert "has expired" in str(person(f"/confirm {code}"))
    code = str(person("/flatten")).rpartition(" ")[2]
    wrong = f"{(int(code) + 1) % 10_000:04d}"
    assert [person(f"/confirm {wrong}") for _ in range(3)] == [
        "NOT DONE: wrong code.",
        "NOT DONE: wrong code.",
        "NOT DONE: wrong code. Send /flatten again.",
    ]
    assert person(f"/confirm {code}") == "NOT DONE: nothing waits to be confirmed."
    assert person.switch() == {}


def test_a_stranger_is_ignored_and_logged_once(
    person: Person, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert [person("/flatten", chat=666), person("/pause", chat=666)] == [None, None]
    assert person("/pause", chat=667) is None
    assert [r.getMessage()[:8] for r in caplog.records] == ["chat 666", "chat 667"]
    assert person.switch() == {}
    assert queue.store.all("SELECT * FROM commands") == []


def test_a_command_that_comes_late_is_not_carried_out(person: Person) -> None:
    answer = str(person("/pause", late_s=181.0))
    assert answer == "NOT DONE: /pause came 3 min late. Send it again if you still want it."
    assert person.switch() == {}
    assert str(person("/pause", late_s=179.0)).startswith("Asked for")


def test_every_command_is_kept_with_who_and_what_came_of_it(person: Person, queue: Queue) -> None:
    person("/pause")
    person("/dance")
    rows = queue.store.all("SELECT chat_id, sender, text, outcome FROM commands ORDER BY update_id")
    assert rows[0][:3] == (7, "@anna (70)", "/pause")
    assert rows[0][3].startswith("Asked for: kill switch FREEZE")
    assert rows[1][2] == "/dance"


def test_alerts_are_acknowledged_one_by_one_or_all(person: Person, queue: Queue) -> None:
    teller = Teller(queue, settings(), "sim")
    for number in range(2):
        at_us = NOW_US + number * SECOND_US
        queue.take([alert(Severity.CRITICAL, f"S{number}")], {}, absent_us=at_us, seen_us=at_us)
        teller.tell(at_us + SECOND_US)
    assert "2 open alerts, the last #2" in str(person("/status"))
    assert person("/ack #1") == "Acknowledged: #1"
    assert person("/ack 1") == "#1 is not open."
    assert "takes the number of a message" in str(person("/ack DROP TABLE"))
    assert person("/ack") == "Acknowledged: #2"
    assert person("/ack") == "Nothing was open."


def test_the_kill_switch_is_not_pulled_where_its_folder_is_not_known(
    queue: Queue, folder: Path
) -> None:
    person = Person(queue, folder)
    person.commander = Commander(queue, deeds(person.url, None), SETTINGS, lambda: person.us)
    assert str(person("/pause")).startswith("NOT DONE: the run's folder")


def test_flatten_is_possible_while_the_journal_cannot_be_read(queue: Queue, folder: Path) -> None:
    person = Person(queue, folder)
    broken = deeds("sqlite:////nowhere/live/journal.sqlite", folder)
    person.commander = Commander(queue, broken, SETTINGS, lambda: person.us)
    assert str(person("/status")).startswith("NOT DONE: ")
    code = str(person("/flatten")).rpartition(" ")[2]
    person(f"/confirm {code}")
    assert "FLATTEN" in person.switch()


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"update_id": 1},
        {"update_id": 1, "message": None},
        {"update_id": 1, "edited_message": {"text": "/pause"}},
        {"update_id": "1", "message": update(1, "/pause", sent_s=0.0)["message"]},
        {"update_id": 1, "message": update(1, "/pause", sent_s=0.0)["message"] | {"text": 5}},
        {"update_id": 1, "message": update(1, "/pause", sent_s=0.0)["message"] | {"from": None}},
        {"update_id": 2**70, "message": update(1, "/pause", sent_s=0.0)["message"]},
    ],
)
def test_what_is_no_new_text_message_is_ignored(person: Person, strange: dict[str, object]) -> None:
    assert asyncio.run(person.commander.take(strange)) is None
    assert person.switch() == {}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BotServer]:
    monkeypatch.setattr(commands, "_PAUSE_S", 0.01)
    monkeypatch.setattr(commands, "_REST_S", (0.01,))
    async with bot_server(TOKEN) as found:
        yield found


async def served(server: BotServer, queue: Queue, folder: Path, n_answers: int) -> None:
    """Serve until so many answers were sent."""
    async with aiohttp.ClientSession() as session:
        bot = Telegram(session, server.url, TOKEN)
        commander = Commander(queue, deeds(url_of(folder.parent), folder), SETTINGS, now_us)
        work = asyncio.create_task(serve(bot, commander, now_us))
        async with asyncio.timeout(20.0):
            while len(server.sent) < n_answers or server.fails:
                await asyncio.sleep(0.01)
                assert not work.done()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_a_restart_carries_nothing_out_twice(
    server: BotServer, queue: Queue, folder: Path
) -> None:
    server.write("/pause")
    server.write("/status")
    await served(server, queue, folder, 2)
    (folder / "FREEZE").unlink()
    server.offsets.clear()
    server.write("/positions")  # what was taken before comes again with it
    await served(server, queue, folder, 3)
    assert server.offsets[0] is None
    assert not (folder / "FREEZE").exists()
    assert [text.partition(" ")[0] for _, text in server.sent] == ["Asked", "sim:", "BTCUSDT"]


async def test_a_command_in_whose_midst_the_process_ended_is_told_and_not_repeated(
    server: BotServer, queue: Queue, folder: Path
) -> None:
    server.write("/pause")
    taken = commands.read(server.updates[0])
    assert taken is not None
    assert queue.inbox.take(taken[0], now_us=now_us())  # and then it was killed
    server.write("/status")
    await served(server, queue, folder, 2)
    assert server.sent[0] == (
        7,
        "/pause may not have been carried out, as I was restarted: look at /status.",
    )
    assert not (folder / "FREEZE").exists()


async def test_an_outage_is_waited_out_and_old_commands_do_not_count(
    server: BotServer, queue: Queue, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.fails = 3
    server.write("/pause", sent_s=now_us() / 1e6 - 3600.0)
    await served(server, queue, folder, 1)
    assert re.match(r"NOT DONE: /pause came 60 min late", server.sent[0][1])
    assert not (folder / "FREEZE").exists()
    assert sum("cannot be reached" in record.getMessage() for record in caplog.records) == 1
    assert "MARKER" not in caplog.text


async def test_no_error_has_the_token(server: BotServer) -> None:
    async with aiohttp.ClientSession() as session:
        for base_url in (server.url, "http://127.0.0.1:9", "http://127.0.0.1:99999"):
            bot = Telegram(session, base_url, "456:MARKER")
            with pytest.raises(Unreachable) as refused:
                await bot.updates(None, poll_s=0)
            assert "MARKER" not in "".join(traceback.format_exception(refused.value))
