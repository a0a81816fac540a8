"""Looks at a journal: what is new in it since the look before."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from sqlalchemy import Connection, Row, Select, select

from live.alerts.news import (
    AccountRow,
    DifferenceRow,
    DoubtRow,
    HealthRow,
    News,
    NoteRow,
    ReasonRow,
    Run,
    SkippedRow,
    StuckRow,
)
from live.journal import tables
from live.journal.codec import number
from live.journal.records import KeptSession
from live.monitor.view import Marks, View, marks_of, selected

ROWS_MAX = 2_000
"""Of each table in one look: the next one takes the rest."""
_STOPS = ("strategy.exits.stop_loss", "strategy.exits.trailing_stop", "risk.protective_stop")
"""Settings of which each gives every position a stop."""
_DISK_US = 5_000_000
_NO_MARKS = Marks(*(0 for _ in Marks._fields))


class Reader:
    """Looks at a journal again and again, from where an earlier one has left off. Of one thread.

    Parameters
    ----------
    view : View
        Of the journal.
    folders : sequence of Path
        Whose disks are watched, the mode's first.
    memory : mapping or None
        What `memory` gave at the last look that was kept; None begins at what is newest now.
    """

    def __init__(
        self, view: View, folders: Sequence[Path], memory: Mapping[str, Any] | None = None
    ) -> None:
        self._view = view
        self._folders = tuple(folders)
        self._marks = _NO_MARKS
        self._identity: list[Any] | None = None
        if memory is not None:
            self._marks, self._identity = (
                _NO_MARKS._replace(**memory["marks"]),
                list(memory["journal"]),
            )
        self._begins = memory is None
        self._run: Run | None = None
        self._disk_us = 0

    @property
    def memory(self) -> dict[str, Any] | None:
        """What another reader needs to go on from here, a JSON value; None before a session was seen."""
        if self._identity is None:
            return None
        return {"marks": self._marks._asdict(), "journal": self._identity}

    def look(self, *, absent_us: int, seen_us: int) -> News:
        """Return what is new.

        Raises
        ------
        JournalError
            If the journal cannot be read; the next look goes on from the same rows.
        """
        if self._view.replaced:
            self._view.reopen()
        with self._view.journal.transaction() as connection:
            newest = marks_of(connection)
            ended = _ended(connection)
            rows: dict[str, Any] = {}
            marks = newest
            if newest != self._marks:
                self._check_identity(connection)
                begins = self._begins and bool(newest.steps)
                before = newest if begins else self._marks
                marks = Marks(*(min(n, m + ROWS_MAX) for n, m in zip(newest, before, strict=True)))
                rows = _rows(connection, before, marks)
                if begins:
                    rows["account"] = _account(connection, last=1)
        is_new, self._marks, self._begins = newest != self._marks, marks, False
        return News(
            absent_us=absent_us,
            seen_us=seen_us,
            run=self._run_now(ended),
            is_more=marks != newest,
            is_new=is_new,
            free_bytes=self._free_bytes(seen_us),
            **rows,
        )

    def _check_identity(self, connection: Connection) -> None:
        """Begin anew with a journal that is another one than before."""
        sessions = tables.sessions.c
        wanted = select(sessions.started_us, sessions.prefix).order_by(sessions.session_id)
        first = connection.execute(wanted.limit(1)).first()
        if first is None:
            return
        identity = [first.started_us, first.prefix]
        if self._identity is not None and identity != self._identity:
            self._marks, self._run = _NO_MARKS, None
        self._identity = identity

    def _run_now(self, ended: Row[Any] | None) -> Run | None:
        if ended is None:
            return None
        if self._run is None or self._run.session_id != ended.session_id:
            self._run = run_of(self._view.sessions()[-1])
        self._run = self._run._replace(ended_us=ended.ended_us, why_ended=ended.why_ended or "")
        return self._run

    def _free_bytes(self, now_us: int) -> Mapping[str, int]:
        if now_us - self._disk_us < _DISK_US:
            return {}
        self._disk_us = now_us
        found = {}
        for folder in self._folders:
            with contextlib.suppress(OSError):
                found[str(folder)] = shutil.disk_usage(folder).free
        return found


def run_of(session: KeptSession) -> Run:
    """Return a session as the rules mind it."""
    cfg = OmegaConf.create(session.session.config_yaml)
    return Run(
        session_id=session.session_id,
        mode=session.session.mode,
        started_us=session.started_us,
        ended_us=session.ended_us,
        why_ended=session.why_ended or "",
        wants_stops=any(OmegaConf.select(cfg, key) is not None for key in _STOPS),
    )


def _ended(connection: Connection) -> Row[Any] | None:
    sessions = tables.sessions.c
    wanted: Select[Any] = select(sessions.session_id, sessions.ended_us, sessions.why_ended)
    return connection.execute(wanted.order_by(sessions.session_id.desc()).limit(1)).first()


def _rows(connection: Connection, before: Marks, upto: Marks) -> dict[str, Any]:
    """Return what is new in the tables whose newest row is another than before."""
    rows: dict[str, Any] = {}
    if upto.steps > before.steps:
        of_steps = {"after": before.steps, "upto": upto.steps}
        rows["account"] = _account(connection, **of_steps)
        rows["reasons"] = [
            ReasonRow(
                r.ts_us, r.symbol, r.stage, r.rule, number(r.limit), number(r.value), r.action
            )
            for r in connection.execute(selected("reasons", **of_steps))
        ]
        skipped = selected("decisions", **of_steps).where(tables.decisions.c.skipped.is_not(None))
        rows["skipped"] = [SkippedRow(r.ts_us, r.skipped) for r in connection.execute(skipped)]
    if upto.events > before.events:
        rows |= _heard(connection, before.events, upto.events)
    if upto.health > before.health:
        wanted = selected("health", after=before.health, upto=upto.health)
        rows["health"] = [_health(row) for row in connection.execute(wanted)]
    if upto.notes > before.notes:
        rows["notes"] = [
            NoteRow(r.ts_us, r.kind, r.source, r.symbol, r.message)
            for r in connection.execute(selected("notes", after=before.notes, upto=upto.notes))
        ]
    if upto.differences > before.differences:
        wanted = selected("differences", after=before.differences, upto=upto.differences)
        rows["differences"] = [
            DifferenceRow(r.ts_us, r.subject, r.symbol, r.expected, r.found, r.rule)
            for r in connection.execute(wanted)
        ]
    return rows


def _account(connection: Connection, **which: int) -> list[AccountRow]:
    return [
        AccountRow(
            r.ts_us,
            number(r.equity),
            number(r.drawdown),
            number(r.margin_ratio),
            r.level,
            number(r.liquidation_probability),
        )
        for r in connection.execute(selected("equity", **which))
    ]


def _health(row: Row[Any]) -> HealthRow:
    told = {name: getattr(row, name) for name in HealthRow._fields}
    return HealthRow(**told | {"clock_off_ms": number(row.clock_off_ms)})


def _heard(connection: Connection, after: int, upto: int) -> dict[str, Any]:
    changes = tables.order_changes.c
    stuck = selected("order_changes", after=after, upto=upto).where(changes.stuck)
    return {
        "stuck": [StuckRow(r.ts_us, r.symbol, r.client_id) for r in connection.execute(stuck)],
        "doubts": [
            DoubtRow(r.ts_us, r.heard_us, r.reason)
            for r in connection.execute(selected("doubts", after=after, upto=upto))
        ],
    }
