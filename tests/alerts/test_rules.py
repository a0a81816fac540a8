"""Each rule tells what it is there for, once, and is silent about what is routine."""

from __future__ import annotations

import math
from typing import Any

import pytest

from live.alerts.alert import Severity
from live.alerts.news import (
    AccountRow,
    DifferenceRow,
    DoubtRow,
    Holding,
    NoteRow,
    ReasonRow,
    SkippedRow,
    StuckRow,
)
from live.alerts.rules.rule import Step
from tests.alerts.made import NOW_US, RUN, Judge, beat, news, titles

NAN = math.nan


def account(drawdown: float = 0.0, **changed: Any) -> AccountRow:
    row = AccountRow(
        ts_us=NOW_US,
        equity=7000.0,
        drawdown=drawdown,
        margin_ratio=0.1,
        level="normal",
        liquidation_probability=0.001,
    )
    return row._replace(**changed)


def test_each_step_of_the_drawdown_is_told_once_and_again_only_after_a_recovery() -> None:
    judge = Judge("drawdown")
    assert judge(news(account=[account(-0.01), account(NAN)])) == []
    told = judge(news(account=[account(-0.031)]))
    assert titles(told) == ["Drawdown −3.1 %, past the step of 3 %"]
    assert judge(news(account=[account(-0.035), account(-0.029), account(-0.033)])) == []
    far = judge(news(account=[account(-0.102)]))
    assert [(a.severity, a.title) for a in far] == [
        (Severity.CRITICAL, "Drawdown −10.2 %, past the step of 9 %")
    ]
    assert "7,000.00 USDT" in far[0].text
    assert "12 %" in far[0].text
    assert judge(news(account=[account(-0.02)])) == []  # recovered from all of them by a quarter
    assert len(judge(news(account=[account(-0.031)]))) == 1


def test_liquidation_is_told_by_probability_by_margin_and_by_distance() -> None:
    judge = Judge("liquidation")
    near = [
        Holding("BTCUSDT", True, 0.14),
        Holding("ETHUSDT", True, 0.5),
        Holding("XRPUSDT", True, NAN),
    ]
    told = judge(
        news(account=[account(liquidation_probability=0.03, margin_ratio=0.55)], holdings=near)
    )
    assert [(a.severity, a.title) for a in told] == [
        (Severity.CRITICAL, "Liquidation probability 3.00 % within 24 h"),
        (Severity.WARNING, "Margin ratio 55.0 %: at 100 % the account is liquidated"),
        (Severity.WARNING, "BTCUSDT is 14.0 % away from its liquidation price"),
    ]
    assert judge(news(holdings=near)) == []
    assert len(judge(news(holdings=[Holding("BTCUSDT", True, 0.04)]))) == 1
    assert judge(news(holdings=[])) == []
    assert len(judge(news(holdings=[Holding("BTCUSDT", True, 0.0)]))) == 1


def reason(action: str, **changed: Any) -> ReasonRow:
    row = ReasonRow(NOW_US, "", "controller", "drawdown", 0.12, 0.131, action)
    return row._replace(**changed)


def test_interventions_of_the_risk_layer_are_told_by_what_they_do() -> None:
    rows = [
        reason("stopped"),
        reason("cut", symbol="BTCUSDT", rule="leverage", limit=3.0, value=3.4),
        reason("released", rule="cool_down", limit=14_400_000_000.0, value=1.0),
        reason("refused", stage="planner", rule="min_notional"),
        reason("closed", stage="account", rule="liquidation", symbol="ETHUSDT"),
    ]
    told = Judge("interventions")(news(reasons=rows))
    assert [(a.severity, a.title) for a in told] == [
        (Severity.CRITICAL, "Trading is STOPPED: drawdown 13.10 %, limit 12.00 %"),
        (Severity.INFO, "BTCUSDT cut by a limit: leverage 3.4, limit 3"),
        (Severity.WARNING, "Trading goes on: the cool-down of 4 h is over"),
        (Severity.CRITICAL, "ETHUSDT was LIQUIDATED"),
    ]


def test_a_hand_that_intervenes_is_told() -> None:
    note = NoteRow(NOW_US, "intervention", "kill switch", None, "freeze by @anna")
    (told,) = Judge("interventions")(news(notes=[note]))
    assert (told.severity, told.title) == (Severity.WARNING, "Kill switch: freeze by @anna")


def test_a_position_without_a_stop_is_told_after_a_while_and_once() -> None:
    judge = Judge("stops")
    bare = [Holding("BTCUSDT", False, NAN), Holding("ETHUSDT", True, NAN)]
    assert judge(news(0.0, holdings=bare)) == []
    assert judge(news(89.0)) == []
    (told,) = judge(news(90.0))
    assert told.severity is Severity.CRITICAL
    assert told.title == "BTCUSDT has had NO protective stop for 90 s"
    assert judge(news(95.0, holdings=bare)) == []
    assert judge(news(96.0, holdings=[Holding("BTCUSDT", True, NAN)])) == []
    assert judge(news(97.0, holdings=bare)) == []
    assert len(judge(news(187.0))) == 1


def test_a_strategy_without_stops_misses_none() -> None:
    judge = Judge("stops")
    run = RUN._replace(wants_stops=False)
    bare = [Holding("BTCUSDT", False, NAN)]
    assert judge(news(0.0, run=run, holdings=bare)) == []
    assert judge(news(900.0, run=run, holdings=bare)) == []


def test_a_stuck_stop_is_critical() -> None:
    (told,) = Judge("stops")(news(stuck=[StuckRow(NOW_US, "BTCUSDT", "q1-7")]))
    assert (told.severity, told.key) == (Severity.CRITICAL, "stuck BTCUSDT")
    assert "q1-7" in told.text


def test_differences_are_told_by_the_rule_that_resolved_them() -> None:
    rows = [
        DifferenceRow(NOW_US, "position", "ETHUSDT", "0.5", "0.7", "halt"),
        DifferenceRow(NOW_US, "balance", None, "100.0", "100.001", "adopt"),
        DifferenceRow(NOW_US, "balance", None, "100.0", "90.0", "halt"),
    ]
    told = Judge("differences")(news(differences=rows))
    assert [(a.severity, a.title) for a in told] == [
        (Severity.CRITICAL, "ETHUSDT position differs from the exchange: it is not traded"),
        (Severity.INFO, "balance differs from the exchange, rule adopt"),
        (Severity.CRITICAL, "balance differs from the exchange: nothing opens"),
    ]
    assert told[0].text == "Here 0.5, at the exchange 0.7."


def test_failed_requests_are_told_when_they_are_many_and_a_share() -> None:
    judge = Judge("error_rate")
    assert judge(news(health=[beat(0, requests=100, failures=50)])) == []  # from before
    assert judge(news(health=[beat(10, requests=104, failures=54)])) == []  # too few
    (told,) = judge(news(health=[beat(20, requests=106, failures=55)]))
    assert told.title == "5 of 6 requests to the exchange failed (83.3 %)"
    assert judge(news(health=[beat(30, requests=107, failures=56)])) == []
    assert judge(news(health=[beat(700, requests=200, failures=56)])) == []  # the window has passed
    assert judge(news(health=[beat(710, requests=20, failures=0)])) == []  # another session
    assert len(judge(news(health=[beat(720, requests=30, failures=5)]))) == 1
    calm = Judge("error_rate")
    beats = [beat(0), beat(10, requests=200, failures=6)]
    assert calm(news(health=beats)) == []  # 3 %


def test_errors_of_the_loop_are_told_but_not_what_the_feed_has_to_say_of_a_bar() -> None:
    rows = [
        NoteRow(NOW_US, "error", "reconcile", None, "HTTP 503"),
        NoteRow(NOW_US, "error", "feed", None, "BTCUSDT: mark of 2 samples"),
    ]
    assert titles(Judge("error_rate")(news(notes=rows))) == [
        "The loop reports (reconcile): HTTP 503"
    ]


def test_a_skipped_decision_is_told_and_doubts_only_when_they_pile_up() -> None:
    judge = Judge("streams")
    doubts = [DoubtRow(NOW_US + i, NOW_US + i, "user stream: connection lost") for i in range(4)]
    told = judge(news(skipped=[SkippedRow(NOW_US, "bars of BTCUSDT are missing")], doubts=doubts))
    assert titles(told) == ["No decision was taken: bars of BTCUSDT are missing"]
    (many,) = judge(news(doubts=doubts[:1]))
    assert many.title == "5 doubts about the account within 10 min"
    assert judge(news(doubts=doubts[:1])) == []


def test_streams_that_bring_nothing_are_told_if_it_lasts_and_their_return() -> None:
    judge = Judge("streams")
    assert judge(news(health=[beat(0, account_stream=False), beat(10)])) == []
    (told,) = judge(
        news(health=[beat(20, connected=3), beat(30, connected=1, account_stream=False)])
    )
    assert told.title == "Stale: the account's stream and 3 of 4 market streams bring nothing"
    assert judge(news(health=[beat(40, connected=3)])) == []
    assert titles(judge(news(health=[beat(50)]))) == ["All streams bring something again"]
    assert judge(news(health=[beat(60)])) == []


def test_a_clock_that_is_off_and_a_loop_that_is_late_are_told_once() -> None:
    judge = Judge("clock")
    assert judge(news(health=[beat(0), beat(10, clock_off_ms=-400.0)])) == []
    (told,) = judge(news(health=[beat(20, clock_off_ms=-1500.0)]))
    assert told.title == "This machine's clock is 1.5 s ahead of the exchange's"
    assert judge(news(health=[beat(30, clock_off_ms=-1500.0)])) == []
    (late,) = judge(news(health=[beat(40, late_us=2_500_000)]))
    assert late.title == "The loop was 2.5 s late to its own heartbeat"
    (behind,) = judge(news(health=[beat(50, clock_off_ms=600.0)]))
    assert "behind" in behind.title
    doubt = DoubtRow(0, NOW_US, "this machine's clock must be within 500 ms of the exchange's")
    assert Judge("streams")(news(doubts=[doubt] * 9)) == []


def test_a_disk_that_fills_is_told_step_by_step() -> None:
    judge = Judge("disk")
    assert judge(news(free_bytes={"data": 5_000_000_000})) == []
    (told,) = judge(news(free_bytes={"data": 1_900_000_000}))
    assert (told.severity, told.title) == (Severity.WARNING, "The disk of data has 1.90 GB left")
    assert judge(news(free_bytes={"data": 1_800_000_000})) == []
    assert judge(news(free_bytes={"data": 0}))[0].severity is Severity.CRITICAL
    assert judge(news(free_bytes={"data": 5_000_000_000})) == []
    assert len(judge(news(free_bytes={"data": 1_900_000_000}))) == 1


def test_a_silent_loop_is_told_once_and_its_return() -> None:
    judge = Judge("heartbeat")
    assert judge(news(0.0, is_new=True)) == []
    assert judge(news(44.0)) == []
    (told,) = judge(news(45.0))
    assert (told.severity, told.title) == (Severity.CRITICAL, "The loop has been SILENT for 45 s")
    assert judge(news(400.0)) == []
    (back,) = judge(news(600.0, is_new=True))
    assert back.title == "The loop is back after 10 min of silence"
    assert judge(news(700.0, is_new=True)) == []


def test_silence_goes_on_through_a_restart_of_the_alerts() -> None:
    judge = Judge("heartbeat")
    judge(news(0.0, is_new=True))
    again = Judge("heartbeat")
    again.memories = judge.memories
    assert len(again(news(3600.0))) == 1


def test_begin_and_end_of_a_session_are_told() -> None:
    judge = Judge("heartbeat")
    judge(news(0.0, is_new=True))
    ended = RUN._replace(ended_us=NOW_US, why_ended="told to stop")
    (end,) = judge(news(1.0, run=ended))
    assert (end.severity, end.title) == (
        Severity.WARNING,
        "The loop has ended (session 1): told to stop",
    )
    assert judge(news(9_000.0, run=ended)) == []  # it is silent by right
    (begin,) = judge(news(9_001.0, run=RUN._replace(session_id=2), is_new=True))
    assert begin.title == "The loop has started (session 2)"
    broken = RUN._replace(session_id=2, ended_us=NOW_US, why_ended="the disk is full")
    (crash,) = judge(news(9_002.0, run=broken))
    assert crash.severity is Severity.CRITICAL


def test_a_run_that_had_ended_before_the_alerts_began_is_no_news() -> None:
    ended = RUN._replace(ended_us=NOW_US, why_ended="told to stop")
    judge = Judge("heartbeat")
    assert judge(news(0.0, run=ended, is_new=True)) == []
    assert judge(news(1.0, run=ended)) == []


def test_an_unreadable_journal_is_told_after_a_while_and_its_return() -> None:
    judge = Judge("readable")
    assert judge(news(0.0, unreadable="gone", unreadable_us=NOW_US)) == []
    (told,) = judge(news(10.0, unreadable="gone", unreadable_us=NOW_US))
    assert (told.severity, told.text) == (Severity.CRITICAL, "gone")
    assert judge(news(20.0, unreadable="gone", unreadable_us=NOW_US)) == []
    assert titles(judge(news(21.0))) == ["The journal can be read again"]
    assert judge(news(22.0)) == []


def test_steps_that_do_not_rise_are_refused() -> None:
    from live.alerts.rules.account import Drawdown

    steps = (Step(at=0.1, severity=Severity.INFO), Step(at=0.05, severity=Severity.INFO))
    with pytest.raises(ValueError, match="each above the one before"):
        Drawdown(steps=steps, again=0.1)
    with pytest.raises(ValueError, match=r"again must be in \[0, 1\)"):
        Drawdown(steps=steps[:1], again=1.0)
