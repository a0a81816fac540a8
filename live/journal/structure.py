"""Checks of the journal's own order: numbers without holes, ids once, hashes of what is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from sqlalchemy import Column, Connection, func, select

from live.broker.interface import Outcome
from live.journal import reading, tables
from live.journal.findings import Check
from live.journal.records import CANCEL, SEND, START
from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState


def structure_checks(connection: Connection) -> list[Check]:
    """Return what can be told without replaying anything."""
    return [
        _database(connection),
        _steps(connection),
        _client_ids(connection),
        _answers(connection),
        _snapshots(connection),
    ]


def _database(connection: Connection) -> Check:
    found: list[str] = []
    if connection.dialect.name == "sqlite":
        said = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
        found += [f"the file is damaged: {line}" for line in said if line != "ok"]
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        found += [f"a row of {row[0]} names one of {row[2]} that is not there" for row in broken]
    total = sum(
        connection.scalar(select(func.count()).select_from(table)) or 0
        for table in tables.metadata.sorted_tables
    )
    return Check("database", total, tuple(found))


def _steps(connection: Connection) -> Check:
    table = tables.steps
    wanted = select(
        table.c.seq, table.c.kind, table.c.ts_us, table.c.session_id, table.c.last_event
    )
    rows = connection.execute(wanted.order_by(table.c.seq)).all()
    found = []
    if rows and (rows[0].seq, rows[0].kind) != (1, START):
        found.append(
            f"step {rows[0].seq} of kind {rows[0].kind} comes first, 1 of kind {START} must"
        )
    for former, row in pairwise(rows):
        if row.seq != former.seq + 1:
            found.append(f"step {former.seq + 1} is missing: {row.seq} follows {former.seq}")
        found += [
            f"step {row.seq} goes back in {name}, from {getattr(former, name)} to {getattr(row, name)}"
            for name in ("ts_us", "session_id", "last_event")
            if getattr(row, name) < getattr(former, name)
        ]
    newest = connection.scalar(select(func.max(tables.events.c.event_id))) or 0
    if rows and rows[-1].last_event > newest:
        found.append(f"step {rows[-1].seq} knows event {rows[-1].last_event}, {newest} is the last")
    return Check("steps", len(rows), tuple(found))


def _client_ids(connection: Connection) -> Check:
    table = tables.intents
    rows = connection.execute(
        select(table, tables.sessions.c.prefix)
        .join(tables.steps, tables.steps.c.seq == table.c.seq)
        .join(tables.sessions, tables.sessions.c.session_id == tables.steps.c.session_id)
        .order_by(table.c.intent_id)
    ).all()
    sent = Counter(row.client_id for row in rows if row.action == SEND)
    found = [f"client id {name} is sent {times} times" for name, times in sent.items() if times > 1]
    by_number = Counter(row.order_number for row in rows if row.action == SEND)
    found += [
        f"order number {n} is sent {times} times" for n, times in by_number.items() if times > 1
    ]
    for row in rows:
        request = reading.intent_of(row).request
        if (request.client_id, request.symbol) != (row.client_id, row.symbol):
            found.append(
                f"intent {row.intent_id} is of {row.client_id}, its request of {request.client_id}"
            )
        if row.action == SEND and not row.client_id.startswith(row.prefix):
            found.append(f"client id {row.client_id} must begin with {row.prefix}")
        if (
            row.action == CANCEL
            and row.client_id.startswith(row.prefix)
            and row.client_id not in sent
        ):
            found.append(f"intent {row.intent_id} cancels {row.client_id}, which was never sent")
    rising = [row.seq for row in rows]
    if rising != sorted(rising):
        found.append("intents must rise with their steps, do not")
    return Check("client ids", len(rows), tuple(found))


def _answers(connection: Connection) -> Check:
    table = tables.answers
    rows = connection.execute(
        select(table, tables.intents.c.action, tables.intents.c.client_id).join(tables.intents)
    ).all()
    final = Counter(row.intent_id for row in rows if row.outcome != Outcome.UNKNOWN.value)
    found = [f"intent {number} has {n} final answers" for number, n in final.items() if n > 1]
    found += [
        f"answer {row.answer_id} to {row.client_id} took less than no time"
        for row in rows
        if any(us is not None and us < 0 for us in (row.sent_after_us, row.answered_after_us))
    ]
    return Check("answers", len(rows), tuple(found))


def _snapshots(connection: Connection) -> Check:
    table, steps = tables.snapshots, tables.steps
    shas: dict[str, Column[str]] = {"account": steps.c.account_sha, "signal": steps.c.signal_sha}
    found: list[str] = []
    examined = 0
    for plane, sha in shas.items():
        wanted = select(table.c.seq, table.c.state, sha.label("sha")).join(steps)
        for row in connection.execute(wanted.where(table.c.plane == plane)):
            examined += 1
            found += _differing(row.seq, plane, row.state, row.sha)
    return Check("snapshots", examined, tuple(found))


def _differing(seq: int, plane: str, raw: bytes, sha: str | None) -> Iterator[str]:
    try:
        digest = FoldState.from_bytes(raw).digest()
    except SchemaMismatch as error:
        yield f"the {plane} snapshot of step {seq} is not whole: {error}"
        return
    if digest != sha:
        yield f"the {plane} snapshot of step {seq} has another hash than the step"
