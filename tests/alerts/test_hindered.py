"""What keeps the loop from trading is told when it lasts, worse when it lasts long, and when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from live.alerts.alert import Alert, Severity
from tests.alerts.made import RUN, Judge, beat, news, titles


def beats(judge: Judge, from_s: int, to_s: int, **changed: Any) -> list[Alert]:
    """What a rule says of heartbeats every 15 s, each in a look of its own."""
    return [
        alert
        for at_s in range(from_s, to_s, 15)
        for alert in judge(news(at_s, health=[beat(at_s, **changed)]))
    ]


def test_nothing_opening_is_told_after_a_while_with_its_reason_and_its_end() -> None:
    judge, why = Judge("opens"), "the wallet differs from the exchange's"
    assert beats(judge, 0, 120, stopped=why) == []
    (told,) = beats(judge, 120, 3600, stopped=why)
    assert (told.severity, told.title) == (
        Severity.WARNING,
        f"Nothing has been opened for 2 min: {why}",
    )
    (far,) = beats(judge, 3600, 7200, stopped=why)
    assert far.severity is Severity.CRITICAL
    (over,) = beats(judge, 7200, 7500)
    assert (over.severity, over.title) == (
        Severity.WARNING,
        "Positions can be opened again, after 120 min",
    )


def test_a_stop_that_does_not_last_is_no_news() -> None:
    judge = Judge("opens")
    assert beats(judge, 0, 105, stopped="the loop ends") == []
    assert beats(judge, 105, 300) == []
    assert beats(judge, 300, 405, stopped="the loop ends") == []  # its time begins anew


@pytest.mark.parametrize("level", ["freeze", "flatten"])
def test_a_kill_switch_that_stays_pulled_is_told_to_be_read_some_time(level: str) -> None:
    judge = Judge("opens")
    told = beats(judge, 0, 3615, stopped=f"{level} by @anna")
    assert [alert.severity for alert in told] == [Severity.INFO, Severity.INFO]
    assert "by @anna" in told[0].title
    fees = "fees must be paid in USDT, were in BNB"
    (other,) = beats(judge, 3615, 3750, stopped=fees)  # a second reason comes to light
    assert (other.severity, other.title) == (
        Severity.WARNING,
        f"Nothing has been opened for 2 min: {fees}",
    )


def test_the_time_of_another_session_does_not_count() -> None:
    judge, why = Judge("opens"), "fees must be paid in USDT, were in BNB"
    assert beats(judge, 0, 120, stopped=why) == []
    other = RUN._replace(session_id=2)
    assert judge(news(900, run=other, health=[beat(900, stopped=why)])) == []
    assert len(judge(news(1020, run=other, health=[beat(1020, stopped=why)]))) == 1


def test_symbols_in_doubt_are_told_when_it_lasts_and_their_end() -> None:
    judge = Judge("doubtful")
    assert beats(judge, 0, 60, doubtful=1) == []
    told = beats(judge, 60, 615, doubtful=2)
    assert [(a.severity, a.title) for a in told] == [
        (Severity.WARNING, "2 symbols have been in doubt for 60 s"),
        (Severity.CRITICAL, "2 symbols have been in doubt for 10 min"),
    ]
    assert titles(beats(judge, 615, 700)) == ["No symbol is in doubt any more, after 10 min"]


def test_symbols_that_another_hand_halts_are_told_when_it_lasts_and_their_end() -> None:
    judge = Judge("halted")
    assert beats(judge, 0, 300, halted=1) == []
    told = beats(judge, 300, 3615, halted=1)
    assert [(a.severity, a.title) for a in told] == [
        (
            Severity.WARNING,
            "1 symbol has not been traded for 5 min: another hand is there",
        ),
        (
            Severity.CRITICAL,
            "1 symbol has not been traded for 60 min: another hand is there",
        ),
    ]
    assert titles(beats(judge, 3615, 3700)) == ["All symbols are traded again, after 60 min"]


def test_a_copy_that_is_behind_is_told_step_by_step_and_when_it_has_caught_up() -> None:
    judge = Judge("copy")
    assert beats(judge, 0, 60) == []  # there is none
    assert beats(judge, 60, 75, copy_behind=999) == []
    (told,) = beats(judge, 75, 105, copy_behind=1_200)
    assert (told.severity, told.title) == (
        Severity.WARNING,
        "The journal's copy lacks 1,200 steps",
    )
    (far,) = beats(judge, 105, 135, copy_behind=50_000)
    assert far.severity is Severity.CRITICAL
    assert beats(judge, 135, 150, copy_behind=600) == []  # not by half
    over = beats(judge, 150, 180, copy_behind=12)
    assert [(a.severity, a.title) for a in over] == [
        (Severity.WARNING, "The journal's copy lacks only 12 steps again")
    ]
    assert len(beats(judge, 180, 210, copy_behind=1_000)) == 1
