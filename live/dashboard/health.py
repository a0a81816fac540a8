"""Whether all is well, in a few checks a person understands, and how data and streams are (both pure)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from live.broker.interface import Outcome
from live.dashboard.board import Check, State
from live.dashboard.rows import Rows, gauge
from live.journal.records import Health as Heartbeat
from live.journal.records import NoteKind
from live.kill_switch import Level
from live.monitor.standing import Standing
from quantcore.backtest.markup import percent, plural
from quantcore.timegrid import HOUR_US
from quantcore.types import RiskLevel

LATENCY_MS = 200.0
"""Of the 99th percentile of orders, DESIGN.md 7."""
ERRORS_MAX = 0.001
"""Share of requests of which the outcome was unknown, DESIGN.md 7."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What the checks are made of.

    Parameters
    ----------
    standing : Standing
        What is now.
    silent_s, is_silent : float, bool
        Seconds on the wall since something was written, and whether those are too many.
    needs_stop : bool
        Whether every position should have a protective stop.
    asked_by : str
        Who moved the kill switch, empty where that is not known.
    answers, notes, decisions, doubts : sequence of Row
        Newest rows of the view's tables, the newest first.
    """

    standing: Standing = field(repr=False)
    silent_s: float
    is_silent: bool
    needs_stop: bool
    asked_by: str
    answers: Rows = field(repr=False)
    notes: Rows = field(repr=False)
    decisions: Rows = field(repr=False)
    doubts: Rows = field(repr=False)


def checks(health: Health) -> Iterator[Check]:
    """Yield the answers to whether all is well."""
    yield _loop(health)
    if health.standing.kill_switch is not None:
        yield _switch(health.standing.kill_switch, health.asked_by)
    yield _ladder(health.standing)
    if health.needs_stop:
        yield _stops(health.standing)
    yield _limits(health.standing)
    yield _agreement(health.standing)
    yield _errors(health)


def streams(health: Health) -> Iterator[Check]:
    """Yield how data and streams are."""
    account, decisions = health.standing.account, health.decisions
    if account is not None:
        yield _check("last closed bar", State.GOOD, f"{account.ts:%Y-%m-%d %H:%M:%S}")
    if health.standing.health is not None:
        yield from _sockets(health.standing.health)
    if decisions:
        skipped = [row.skipped for row in decisions if row.skipped is not None]
        state = State.WATCH if skipped else State.GOOD
        yield _check("decisions skipped", state, f"{len(skipped)} of the last {len(decisions)}")
        if skipped:
            yield _check("last skipped", State.WATCH, skipped[0])
    yield from _requests(health.answers)
    if health.doubts:
        last = health.doubts[0]
        yield _check("last doubt", State.WATCH, f"{last.reason}, {_time(last.ts_us)}")


def _sockets(beat: Heartbeat) -> Iterator[Check]:
    state = State.GOOD if beat.account_stream else State.BAD
    yield _check("account stream", state, "open" if beat.account_stream else "closed")
    state = State.GOOD if beat.connected >= beat.sockets else State.BAD
    yield _check("market streams", state, f"{beat.connected} of {beat.sockets} bring something")
    ages = (("book", beat.book_age_s), ("mark", beat.mark_age_s), ("candles", beat.kline_age_s))
    told = ", ".join(f"{name} {_seconds(age)}" for name, age in ages if not math.isnan(age))
    if told:
        yield _check("oldest stream", State.GOOD, told)
    failed = beat.failures / beat.requests if beat.requests else 0.0
    state = State.GOOD if failed <= ERRORS_MAX else State.WATCH
    text = f"{percent(failed, decimals=2)} of {beat.requests:,} requests"
    yield _check("exchange errors", state, text)


def _requests(answers: Rows) -> Iterator[Check]:
    if not answers:
        return
    taken = [row.answered_after_us / 1e3 for row in answers if row.answered_after_us is not None]
    if taken:
        half, most = np.percentile(taken, [50, 99])
        state = State.GOOD if most < LATENCY_MS else State.WATCH
        yield _check("order latency", state, f"p50 {half:.0f} ms, p99 {most:.0f} ms")
    told = Counter(row.outcome for row in answers)
    unknown = told[Outcome.UNKNOWN.value] / len(answers)
    state = State.GOOD if unknown <= ERRORS_MAX else State.WATCH
    yield _check("outcomes unknown", state, f"{percent(unknown, decimals=2)} of {len(answers)}")
    refused = told[Outcome.REFUSED.value] / len(answers)
    yield _check("refused", State.GOOD, f"{percent(refused)} of {len(answers)}")


def _loop(health: Health) -> Check:
    session = health.standing.session
    if session.ended_us is not None:
        return _check("loop ended", State.BAD, session.why_ended or "")
    if health.is_silent:
        text = f"nothing was written for {_seconds(health.silent_s)}"
        return _check("loop silent", State.BAD, text)
    return _check("loop runs", State.GOOD, "")


def _switch(level: Level, by: str) -> Check:
    if level is Level.NONE:
        return _check("kill switch off", State.GOOD, "")
    does = {
        Level.FREEZE: "nothing that opens is sent",
        Level.FLATTEN: "all positions are closed, nothing opens",
    }
    who = f"; asked for by {by}" if by else ""
    return _check(f"kill switch: {level.name.lower()}", State.BAD, does[level] + who)


def _ladder(standing: Standing) -> Check:
    account = standing.account
    if account is None:
        return _check("no bar has closed yet", State.UNKNOWN, "")
    level, halts = account.risk_level, account.halts
    if level is RiskLevel.NORMAL:
        return _check("risk normal", State.GOOD, "")
    since = "" if account.level_since is None else f"since {account.level_since:%m-%d %H:%M}"
    if level is RiskLevel.REDUCE:
        return _check("size reduced", State.WATCH, f"{since}, by the drawdown")
    word = "halted" if level is RiskLevel.HALT else "stopped"
    return _check(word, State.BAD, f"{since}, {plural(halts, 'halt')} so far")


def _stops(standing: Standing) -> Check:
    stuck = [p.symbol for p in standing.positions if p.stop_stuck]
    if stuck:
        return _check("stop stuck", State.BAD, ", ".join(stuck))
    # The stop of a position that is younger than the last closed bar is on its way.
    bare = [p for p in standing.positions if not p.has_stop]
    old = [p.symbol for p in bare if not math.isnan(p.mark_price)]
    if old:
        return _check("no protective stop", State.BAD, ", ".join(old))
    if bare:
        return _check("stop on its way", State.WATCH, ", ".join(p.symbol for p in bare))
    return _check("stops in place", State.GOOD, "")


def _limits(standing: Standing) -> Check:
    near = [g for g in map(gauge, standing.limits) if g.state is not State.GOOD]
    if not near:
        return _check("within all limits", State.GOOD, "")
    state = State.BAD if any(g.state is State.BAD for g in near) else State.WATCH
    return _check(
        "limits", state, ", ".join(f"{g.name} {percent(g.used, decimals=0)} used" for g in near)
    )


def _agreement(standing: Standing) -> Check:
    doubtful = sum(order.state == "in doubt" for order in standing.orders)
    if len(standing.differences):
        row = standing.differences.iloc[-1]
        text = f"{row['subject']}: expected {row['expected']}, found {row['found']}"
        return _check("exchange differs", State.BAD, text)
    if standing.halted:
        return _check("another hand", State.WATCH, ", ".join(standing.halted))
    if doubtful:
        return _check("orders in doubt", State.WATCH, plural(doubtful, "order"))
    return _check("agrees with the exchange", State.GOOD, "")


def _errors(health: Health) -> Check:
    since_us = health.standing.last_us - HOUR_US
    errors = [row for row in health.notes if row.kind == NoteKind.ERROR.value]
    recent = [row for row in errors if row.ts_us > since_us]
    if not recent:
        return _check("no errors", State.GOOD, "")
    text = f"{plural(len(recent), 'error')} in the last hour, of {recent[0].source}: {recent[0].message}"
    return _check("errors", State.WATCH, text)


def _time(ts_us: int) -> str:
    return f"{datetime.fromtimestamp(ts_us / 1e6, UTC):%m-%d %H:%M}"


def _check(name: str, state: State, text: str) -> Check:
    return Check(name=name, state=state, text=text)


def _seconds(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.0f} h"
