"""From an alert to its delivery, with a clock of the test's: nothing is lost, nothing floods, nothing is forgotten."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.alerts.alert import Severity
from live.alerts.courier import Backoff, Courier
from live.alerts.history import latencies_us, newest
from live.alerts.outbox import Due
from live.alerts.queue import ALERT, Queue
from live.alerts.settings import AlertSettings
from live.alerts.teller import Teller
from live.alerts.wording import BODY_LENGTH, SUBJECT_LENGTH
from live.journal.records import Resolution
from quantcore.errors import ConfigError, JournalError
from tests.alerts.made import NOW_US, SECOND_US, alert, news, settings

PHONE = "+alerts.channels.phone={url: PHONE_URL, least: critical, reminder: 1}"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    found = Queue(tmp_path / "alerts.sqlite")
    yield found
    found.close()


class Clock:
    def __init__(self) -> None:
        self.us = NOW_US

    def __call__(self) -> int:
        return self.us

    def pass_s(self, seconds: float) -> None:
        self.us += int(seconds * SECOND_US)


class Receiver:
    """Takes what is sent, or refuses while it is down."""

    def __init__(self) -> None:
        self.got: list[Due] = []
        self.tries = 0
        self.is_down = False
        self.refuses = ""

    def __call__(self, due: Due) -> str:
        self.tries += 1
        if self.is_down or (self.refuses and self.refuses in due.subject):
            return "answered 503"
        self.got.append(due)
        return ""


def put(queue: Queue, *alerts: object, at_us: int = NOW_US) -> None:
    queue.take(alerts, {}, absent_us=at_us, seen_us=at_us)  # type: ignore[arg-type]  # the tests' own


def tell_all(teller: Teller, from_us: int, seconds: float, step_s: float = 0.1) -> None:
    for number in range(int(seconds / step_s)):
        teller.tell(from_us + int(number * step_s * SECOND_US))


def subjects(queue: Queue) -> list[str]:
    return [message["subject"] for message in reversed(newest(queue.store, 10_000))]


def test_an_alert_becomes_a_message_after_what_came_in_the_same_moment(queue: Queue) -> None:
    teller = Teller(queue, settings(), "prod")
    put(queue, alert(Severity.CRITICAL))
    assert not teller.tell(NOW_US + 90_000)
    put(queue, alert(Severity.CRITICAL, "ETHUSDT"), alert(key="XRPUSDT"), at_us=NOW_US + 90_000)
    assert teller.tell(NOW_US + 100_000)
    assert subjects(queue) == ["CRITICAL prod: BTCUSDT is not well – and 1 more"]
    assert teller.tell(NOW_US + 190_000)
    assert subjects(queue)[1:] == ["WARNING prod: XRPUSDT is not well"]


def test_a_storm_of_ten_thousand_is_a_few_messages_and_names_all_that_is_critical(
    queue: Queue,
) -> None:
    teller = Teller(queue, settings(), "prod")
    symbols = [f"S{number:02d}USDT" for number in range(25)]
    for batch in range(10):
        at_us = NOW_US + batch * SECOND_US
        alerts = [
            alert(Severity(number % 3), symbols[number % 25])
            for number in range(1000 * batch, 1000 * (batch + 1))
        ]
        put(queue, *alerts, at_us=at_us)
        tell_all(teller, at_us, 1.0)
    tell_all(teller, NOW_US + 10 * SECOND_US, 3600.0, step_s=5.0)
    messages = newest(queue.store, 10_000)
    alerts_told = [m for m in messages if m["kind"] == ALERT]
    assert len(alerts_told) <= 14
    assert sum(m["n_alerts"] for m in alerts_told) == 10_000
    critical = [
        due_text(queue, m["message_id"]) for m in alerts_told if m["severity"] == Severity.CRITICAL
    ]
    assert all(any(symbol in text for text in critical) for symbol in symbols)
    first = critical[-1]
    assert len(first) < 4_096
    # Reminders of an hour: after 5, 10, 30 and 30 minutes, all open ones at once.
    assert len(messages) - len(alerts_told) <= 5


def due_text(queue: Queue, message_id: int) -> str:
    row = queue.store.one("SELECT subject, body FROM messages WHERE message_id = ?", message_id)
    return f"{row[0]}\n{row[1]}"


def test_many_different_critical_alerts_are_all_named_over_several_messages(queue: Queue) -> None:
    teller = Teller(queue, settings(), "prod")
    names = [f"S{number:03d}USDT" for number in range(100)]
    put(queue, *(alert(Severity.CRITICAL, name) for name in names))
    assert teller.tell(NOW_US + SECOND_US)
    texts = [due_text(queue, m["message_id"]) for m in newest(queue.store, 100)]
    assert 1 < len(texts) <= 5
    assert all(any(f"{name} is" in text for text in texts) for name in names)
    assert all(len(text) <= BODY_LENGTH + SUBJECT_LENGTH + 100 for text in texts)


def test_quiet_hours_hold_what_is_not_critical_until_they_end(queue: Queue) -> None:
    quiet = 'alerts.quiet_hours={begin: "22:00", end: "07:00", zone: UTC}'
    teller = Teller(queue, settings(quiet), "prod")  # the tests' now is 22:13
    put(queue, alert(), alert(Severity.CRITICAL))
    tell_all(teller, NOW_US, 60.0)
    assert subjects(queue) == ["CRITICAL prod: BTCUSDT is not well"]
    morning_us = NOW_US + int(8.778 * 3600) * SECOND_US
    assert not [s for s in subjects(queue) if s.startswith("WARNING")]
    teller.tell(morning_us)
    assert subjects(queue)[-1] != "WARNING prod: BTCUSDT is not well"
    teller.tell(morning_us + 60 * SECOND_US)
    assert "WARNING prod: BTCUSDT is not well" in subjects(queue)


def test_what_nobody_acknowledges_comes_again_and_goes_to_more_channels(queue: Queue) -> None:
    teller = Teller(queue, settings(PHONE), "prod")
    put(queue, alert(Severity.CRITICAL))
    teller.tell(NOW_US + SECOND_US)
    assert queue.outbox.undelivered() == {"main": 1}
    teller.tell(NOW_US + 300 * SECOND_US)
    assert queue.outbox.undelivered() == {"main": 1}
    assert teller.tell(NOW_US + 301 * SECOND_US)
    assert queue.outbox.undelivered() == {"main": 2, "phone": 1}
    assert (
        subjects(queue)[-1] == "STILL CRITICAL prod: 5 min without an answer: BTCUSDT is not well"
    )
    assert not teller.tell(NOW_US + 302 * SECOND_US)
    assert teller.tell(NOW_US + 902 * SECOND_US)
    assert queue.acknowledge(None, by="anna", now_us=NOW_US) == [1]
    assert not teller.tell(NOW_US + 90_000 * SECOND_US)


def test_a_receiver_that_is_down_for_ten_minutes_gets_everything_after(queue: Queue) -> None:
    clock, receiver = Clock(), Receiver()
    courier = Courier(queue.outbox, "main", receiver, Backoff(first_s=1.0, most_s=60.0), clock)
    teller = Teller(queue, settings(), "prod")
    receiver.is_down = True
    n_critical = 0

    async def ten_minutes_and_one() -> None:
        nonlocal n_critical
        wake_us = clock.us
        for second in range(660):
            receiver.is_down = second < 600
            if second % 30 == 0 and second < 600:
                put(queue, alert(Severity.CRITICAL, f"S{second}USDT"), at_us=clock.us)
                n_critical += 1
            if teller.tell(clock.us) or clock.us >= wake_us:
                wake_us = clock.us + int(await courier.carry() * SECOND_US)
            clock.pass_s(1.0)

    asyncio.run(ten_minutes_and_one())
    assert queue.outbox.undelivered() == {}
    assert (
        len({due.message_id for due in receiver.got})
        == len(receiver.got)
        == len(newest(queue.store, 1000))
    )
    everything = " ".join(f"{due.subject} {due.body}" for due in receiver.got)
    assert all(f"S{second}USDT" in everything for second in range(0, 600, 30))
    assert receiver.tries - len(receiver.got) <= 20  # with growing pauses


def test_the_most_severe_goes_first_and_a_message_that_is_never_taken_stops_nobody(
    queue: Queue,
) -> None:
    clock, receiver = Clock(), Receiver()
    receiver.refuses = "POISON"
    courier = Courier(queue.outbox, "main", receiver, Backoff(first_s=1.0, most_s=60.0), clock)
    teller = Teller(queue, settings(), "prod")
    put(queue, alert(), alert(Severity.CRITICAL, "POISON"))
    teller.tell(NOW_US + SECOND_US)
    clock.pass_s(2.0)
    asyncio.run(courier.carry())
    assert receiver.got == []
    put(queue, alert(Severity.CRITICAL, "ETHUSDT"), at_us=clock.us)
    clock.pass_s(1.0)
    teller.tell(clock.us)
    for _ in range(3):
        asyncio.run(courier.carry())
        clock.pass_s(2.0)
    assert [due.subject.partition(" ")[0] for due in receiver.got] == ["CRITICAL", "WARNING"]


def test_a_queue_goes_on_where_another_process_left_it(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite"
    first = Queue(path)
    first.take([alert(Severity.CRITICAL)], {"rules": {"a": 1}}, absent_us=NOW_US, seen_us=NOW_US)
    with pytest.raises(JournalError, match="must have one sender"):
        Queue(path)
    first.close()
    second = Queue(path)
    assert second.store.remember("rules") == {"a": 1}
    assert Teller(second, settings(), "prod").tell(NOW_US + SECOND_US)
    second.close()
    third = Queue(path)
    receiver, clock = Receiver(), Clock()
    clock.pass_s(2.0)
    courier = Courier(third.outbox, "main", receiver, Backoff(first_s=1.0, most_s=60.0), clock)
    asyncio.run(courier.carry())
    assert len(receiver.got) == 1
    assert re.search(r"#1 · 2023-11-14 22:13:21 UTC", receiver.got[0].body)
    asyncio.run(courier.carry())
    assert len(receiver.got) == 1
    third.close()


def test_what_waits_for_a_channel_that_is_no_more_goes_over_the_others(queue: Queue) -> None:
    teller = Teller(queue, settings(), "prod")
    put(queue, alert())
    teller.tell(NOW_US + SECOND_US)
    queue.outbox.move_to(("mail", "chat"))
    assert queue.outbox.undelivered() == {"mail": 1, "chat": 1}


def test_latencies_are_kept_of_what_was_not_held_back(queue: Queue) -> None:
    teller = Teller(queue, settings(), "prod")
    for number in range(12):
        at_us = NOW_US + number * SECOND_US
        put(queue, alert(key=f"S{number}"), at_us=at_us)
        tell_all(teller, at_us, 1.0)
    receiver, clock = Receiver(), Clock()
    clock.pass_s(15.0)
    courier = Courier(queue.outbox, "main", receiver, Backoff(first_s=1.0, most_s=60.0), clock)
    asyncio.run(courier.carry())
    assert len(latencies_us(queue.store)) == 3  # then the pace held them
    assert min(latencies_us(queue.store)) == 13 * SECOND_US


def test_the_days_report_comes_once_a_day_whatever_the_hour(queue: Queue) -> None:
    teller = Teller(queue, settings(), "prod")
    hour_us = 3600 * SECOND_US
    assert teller.report_due(NOW_US) is None  # it began after today's
    assert teller.report_due(NOW_US + 7 * hour_us) is None
    day = teller.report_due(NOW_US + 8 * hour_us)
    assert day == "2023-11-15"
    teller.add_report(day, "prod, 15 Nov: +0.1 %", "Fine.", NOW_US + 8 * hour_us)
    assert teller.report_due(NOW_US + 9 * hour_us) is None
    again = Teller(queue, settings(), "prod")
    assert again.report_due(NOW_US + 31 * hour_us) is None
    assert again.report_due(NOW_US + 32 * hour_us) == "2023-11-16"
    assert queue.outbox.undelivered() == {"main": 1}


def test_a_look_is_judged_and_kept_in_one_commit(queue: Queue) -> None:
    from live.alerts.news import DifferenceRow

    teller = Teller(queue, settings(), "prod")
    row = DifferenceRow(NOW_US, "position", "ETHUSDT", "0", "1", Resolution.HALT.value)
    teller.take(news(differences=[row]), {"marks": [1], "journal": [0, "q"]})
    assert queue.store.remember("reader") == {"marks": [1], "journal": [0, "q"]}
    assert [kept.alert.key for kept in queue.waiting(Severity.CRITICAL)] == [
        "ETHUSDT position halt"
    ]
    again = Teller(queue, settings(), "prod")
    assert again.reader_memory == {"marks": [1], "journal": [0, "q"]}


def test_a_queue_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite"
    path.touch(0o644)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="has mode 0644"):
        Queue(path)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "alerts.channels.main.url=https://token@host",
            "must be the name of an environment variable",
        ),
        ("alerts.channels.main.reminder=1", "at least one with reminder 0"),
        ("alerts.niceness=20", "niceness must be from 0 to 19, was 20"),
        ("alerts.reminders_s=[]", "reminders_s must be at least one"),
        ('alerts.daily_report.at="25:00"', "at must be a time such as '07:30', was '25:00'"),
        ("alerts.commands.base_url=http://elsewhere.org", "base_url must be https://host"),
        ("alerts.commands.base_url=http://localhost@evil.org", "base_url must be https://host"),
        (
            "alerts.rules.interventions.actions={dance: info}",
            "unknown key alerts.rules.interventions.actions.dance",
        ),
        ("alerts.pace.warning=[{messages: 0, seconds: 1}]", "messages must be >= 1, was 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        settings(override)
    assert "token@host" not in str(refused.value)


def test_settings_are_what_the_file_says() -> None:
    found = settings()
    assert isinstance(found, AlertSettings)
    assert found.channels_of(Severity.INFO) == ("main",)
