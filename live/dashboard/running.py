"""A running account as the page shows it, read out of its journal again and again; nothing is ever written there."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import yaml
from sqlalchemy import Row, func, select

from live.dashboard.board import EMPTY, Amount, Board, Weight
from live.dashboard.health import Health, checks, streams
from live.dashboard.rows import (
    gauge,
    holdings,
    joined,
    log,
    orders,
    regimes,
    strategies,
    told,
    traded,
    weights,
)
from live.journal import reading, tables
from live.journal.records import KeptSession
from live.kill_switch import Level
from live.monitor.place import Place
from live.monitor.standing import Standing, Watch, kill_switch
from live.monitor.view import Marks, View, selected

SHOWN = 12
"""Rows of a table, the newest."""
SILENT_S = 45.0
"""Without a word from the loop, whose heart beats every ten seconds, until that is told."""
LOOKED = 200
"""Newest notes and decisions that are looked through."""
ANSWERS = 500
"""Newest answers, of which latency and errors are told."""
WORDS = 80
"""Letters that are shown of who moved the kill switch."""
_MARKS = MappingProxyType(
    {
        "fills": "events",
        "doubts": "events",
        "reasons": "steps",
        "decisions": "steps",
        "answers": "answers",
        "notes": "notes",
        "differences": "differences",
    }
)
"""The count that moves when a table is added to."""
_NOTHING = Marks(*(0,) * len(Marks._fields))


class RunningAccount:
    """Looks at a journal; of one thread.

    Parameters
    ----------
    place : Place
        With a journal's URL.
    wall_s : callable
        Seconds since 1970.

    Raises
    ------
    ConfigError, JournalError
        As `View`.
    """

    def __init__(self, place: Place, *, wall_s: Callable[[], float] = time.time) -> None:
        assert place.url is not None
        self._folder = place.folder
        self._view = View(place.url)
        self._wall_s = wall_s
        self._marks: Marks = _NOTHING
        self._seen: tuple[object, ...] | None = None
        self._heard_s: float | None = None
        self._silent = False
        self._forget()

    def close(self) -> None:
        """Leave the journal."""
        self._view.close()

    def has_news(self) -> bool:
        """Return whether something was written, the kill switch was moved, or the loop has fallen silent.

        Raises
        ------
        JournalError
            If the journal cannot be read; one that was replaced is opened anew.
        """
        if self._view.replaced:
            self._view.reopen()
            self._forget()
        marks = self._view.marks()
        if any(new < old for new, old in zip(marks, self._marks, strict=True)):
            self._forget()  # another journal in the same database
        self._marks = marks
        seen = (marks, kill_switch(self._folder), self._ended())
        if self._seen is not None and seen != self._seen:
            self._heard_s = self._wall_s()
        silent = self.silent_s > SILENT_S
        is_new = seen != self._seen or silent != self._silent
        self._seen, self._silent = seen, silent
        return is_new

    @property
    def silent_s(self) -> float:
        """Seconds since something was written, as far as this process can tell; 0 before the first look."""
        return 0.0 if self._heard_s is None else self._wall_s() - self._heard_s

    def board(self) -> Board:
        """Return all of the page.

        Raises
        ------
        JournalError
            If the journal cannot be read, or holds no session yet.
        """
        standing = self._watch.look()
        session = standing.session
        if session.session_id != self._session:
            self._forget()
            self._settle(session)
        self._follow()
        if self._heard_s is None:
            beat_s = None if standing.health is None else standing.health.wall_us / 1e6
            self._heard_s = beat_s or standing.written_s or self._wall_s()
        account = standing.account
        health = self._health(standing)
        return Board(
            name=session.session.account,
            kind=session.session.mode,
            is_live=True,
            runs=standing.running,
            begun_us=self._begun_us,
            clock_us=standing.last_us,
            level="normal" if account is None else account.risk_level.name.lower(),
            curve=self._curve,
            gross=math.nan if account is None else account.gross_exposure,
            net=math.nan if account is None else account.net_exposure,
            daily_var=math.nan if account is None else account.daily_var,
            liquidation_chance=math.nan if account is None else account.liquidation_probability,
            regime=(account.regime if account is not None else None) or "",
            checks=tuple(checks(health)),
            holdings=tuple(holdings(standing, needs_stop=self._needs_stop)),
            orders=tuple(orders(standing)),
            strategies=strategies(standing.strategies),
            regimes=self._regimes,
            targets=tuple(weights(standing)),
            gauges=tuple(map(gauge, standing.limits)),
            fills=tuple(traded(self._newest("fills", standing))),
            reasons=tuple(told(self._newest("reasons", standing))),
            streams=tuple(streams(health)),
            costs=tuple(self._costs()),
            log=log(
                self._view.sessions()[-SHOWN:],
                self._newest("notes", standing, LOOKED),
                self._newest("differences", standing),
                self._newest("reasons", standing),
                most=SHOWN,
            ),
        )

    def _forget(self) -> None:
        self._watch = Watch(self._view, self._folder)
        self._marks = _NOTHING
        self._session = -1
        self._kept: dict[str, tuple[int | None, list[Row[Any]]]] = {}
        self._curve, self._row = EMPTY, 0
        self._fill_row = self._income_row = 0
        self._fees = self._realised = self._funding = self._deposits = 0.0
        self._regimes: tuple[Weight, ...] = ()
        self._snapshot = 0
        self._needs_stop = False
        self._begun_us = 0

    def _settle(self, session: KeptSession) -> None:
        """Read what a session was started with."""
        self._session = session.session_id
        self._begun_us = self._view.sessions()[0].started_us
        plain = yaml.safe_load(session.session.config_yaml)
        risk = plain.get("risk") if isinstance(plain, dict) else None
        self._needs_stop = bool((risk or {}).get("protective_stop"))

    def _ended(self) -> int | None:
        with self._view.journal.transaction() as connection:
            last = tables.sessions.c
            wanted = select(last.ended_us).order_by(last.session_id.desc()).limit(1)
            ended: int | None = connection.scalar(wanted)
            return ended

    def _follow(self) -> None:
        """Read what is new of all that is summed or drawn over the account's whole life."""
        with self._view.journal.transaction() as connection:
            equity = connection.execute(selected("equity", after=self._row)).all()
            fills = connection.execute(selected("fills", after=self._fill_row)).all()
            incomes = connection.execute(selected("incomes", after=self._income_row)).all()
        if equity:
            self._row = equity[-1].row
            self._curve = joined(self._curve, equity)
        for fill in fills:
            self._fill_row = fill.row
            self._fees += float(fill.fee)
            self._realised += float(fill.realised)
        for income in incomes:
            self._income_row = income.row
            if income.kind == "FUNDING_FEE":
                self._funding += float(income.amount)
            elif income.kind == "TRANSFER":
                self._deposits += float(income.amount)
        self._weigh()

    def _weigh(self) -> None:
        """Read the regimes out of the last state that was kept of the signal plane."""
        table = tables.snapshots.c
        newest = select(func.max(table.seq)).where(table.plane == "signal")
        with self._view.journal.transaction() as connection:
            seq = connection.scalar(newest)
            if not seq or seq == self._snapshot:
                return
            found = reading.snapshot(connection, "signal", upto=seq)
        self._snapshot = seq
        self._regimes = () if found is None else regimes(found.state)

    def _newest(self, table: str, standing: Standing, most: int = SHOWN) -> list[Row[Any]]:
        """Return the newest rows of a table, the newest first; asked for again only when some were added."""
        mark = getattr(standing.marks, _MARKS[table])
        if self._kept.get(table, (None, []))[0] != mark:
            with self._view.journal.transaction() as connection:
                rows = connection.execute(selected(table, last=most)).all()
            self._kept[table] = (mark, list(rows))
        return self._kept[table][1]

    def _health(self, standing: Standing) -> Health:
        return Health(
            standing=standing,
            silent_s=self.silent_s,
            is_silent=self.silent_s > SILENT_S,
            needs_stop=self._needs_stop,
            asked_by=self._asked_by(standing.kill_switch),
            answers=self._newest("answers", standing, ANSWERS),
            notes=self._newest("notes", standing, LOOKED),
            decisions=self._newest("decisions", standing, LOOKED),
            doubts=self._newest("doubts", standing),
        )

    def _asked_by(self, level: Level | None) -> str:
        if level is None or level is Level.NONE or self._folder is None:
            return ""
        with contextlib.suppress(OSError):
            text = (self._folder / level.name).read_text(encoding="utf-8", errors="replace")
            return text.strip()[:WORDS]
        return ""

    def _costs(self) -> Iterator[Amount]:
        yield Amount(
            name="Realised",
            amount=self._realised,
            text="of positions closed, at the prices of fills",
        )
        yield Amount(name="Fees", amount=-self._fees, text="of trading")
        yield Amount(name="Funding", amount=self._funding, text="of positions held")
        if self._deposits:
            yield Amount(name="Deposits, net", amount=self._deposits, text="no profit")
