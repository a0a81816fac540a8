"""What is asked of a journal, inside a transaction that reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, exists, func, select

from live.broker.interface import Answer, Outcome
from live.journal import tables
from live.journal.codec import number, request_of, unpack, unpack_row
from live.journal.records import (
    SEND,
    Decision,
    Intent,
    KeptSession,
    KeptStep,
    OpenIntent,
    Session,
    Snapshot,
)
from live.journal.told import DETAILS, Event, event_of
from quantcore.fold import FoldState
from quantcore.types import Rule

_CHUNK = 1_000


def sessions(connection: Connection) -> list[KeptSession]:
    """Return all sessions, in order."""
    rows = connection.execute(select(tables.sessions).order_by(tables.sessions.c.session_id))
    return [_session(row) for row in rows]


def last_session(connection: Connection) -> KeptSession | None:
    """Return the session that began last, None before the first."""
    newest = select(tables.sessions).order_by(tables.sessions.c.session_id.desc()).limit(1)
    row = connection.execute(newest).first()
    return None if row is None else _session(row)


def steps(connection: Connection, *, after: int = 0, upto: int | None = None) -> Iterator[KeptStep]:
    """Yield steps in order: numbers > `after` and <= `upto`, None for all."""
    table, decided = tables.steps, tables.decisions
    columns = (*table.c, decided.c.seq.label("decided"), *decided.c[1:])
    wanted = select(*columns).outerjoin(decided).order_by(table.c.seq).limit(_CHUNK)
    if upto is not None:
        wanted = wanted.where(table.c.seq <= upto)
    while True:
        rows = connection.execute(wanted.where(table.c.seq > after)).all()
        yield from map(_step, rows)
        if len(rows) < _CHUNK:
            return
        after = rows[-1].seq


def last_seq(connection: Connection, *, at_us: int | None = None) -> int:
    """Return the number of the last step, up to a time if one is given; 0 if there is none."""
    wanted = select(func.max(tables.steps.c.seq))
    if at_us is not None:
        wanted = wanted.where(tables.steps.c.ts_us <= at_us)
    return connection.scalar(wanted) or 0


def first_ts(connection: Connection) -> int | None:
    """Return the time of the first step, None if there is none."""
    found: int | None = connection.scalar(select(func.min(tables.steps.c.ts_us)))
    return found


def last_ts(connection: Connection, kind: str) -> int | None:
    """Return the time of the last step of a kind, None if there is none."""
    wanted = select(func.max(tables.steps.c.ts_us)).where(tables.steps.c.kind == kind)
    found: int | None = connection.scalar(wanted)
    return found


def snapshot(connection: Connection, plane: str, *, upto: int) -> Snapshot | None:
    """Return the last snapshot of a plane, ``"account"`` or ``"signal"``, at or before a step."""
    table = tables.snapshots
    wanted = select(table).where(table.c.plane == plane, table.c.seq <= upto)
    row = connection.execute(wanted.order_by(table.c.seq.desc()).limit(1)).first()
    return None if row is None else Snapshot(seq=row.seq, state=FoldState.from_bytes(row.state))


def events(
    connection: Connection, *, after: int = 0, upto: int | None = None
) -> list[tuple[int, Event]]:
    """Return what was heard, with its numbers: > `after` and <= `upto`, None for all."""
    found: list[tuple[int, Event]] = []
    table = tables.events
    for kind, details in DETAILS.items():
        wanted = select(table.c.time_us, details).join(details).where(table.c.event_id > after)
        if upto is not None:
            wanted = wanted.where(table.c.event_id <= upto)
        for row in connection.execute(wanted):
            said = dict(row._mapping)
            time_us = said.pop("time_us")
            found.append((row.event_id, event_of(kind, time_us, said)))
    return sorted(found, key=lambda each: each[0])


def open_intents(connection: Connection) -> list[OpenIntent]:
    """Return the intents of which no final answer is known, in order."""
    table, answers = tables.intents, tables.answers
    mine = answers.c.intent_id == table.c.intent_id
    asked = exists().where(mine)
    final = exists().where(and_(mine, answers.c.outcome != Outcome.UNKNOWN.value))
    wanted = select(table, asked.label("asked")).where(~final).order_by(table.c.intent_id)
    return [
        OpenIntent(
            intent_id=row.intent_id, seq=row.seq, intent=intent_of(row), asked=bool(row.asked)
        )
        for row in connection.execute(wanted)
    ]


def intents(connection: Connection, *, seq: int) -> list[tuple[int, Intent]]:
    """Return a step's intents with their numbers, in the order of sending."""
    table = tables.intents
    wanted: Select[Any] = select(table).where(table.c.seq == seq).order_by(table.c.intent_id)
    return [(row.intent_id, intent_of(row)) for row in connection.execute(wanted)]


def refusals(connection: Connection, client_ids: Collection[str]) -> list[tuple[Intent, Answer]]:
    """Return the orders among some client ids that were refused, with the answer, in the order of sending."""
    table, answers = tables.intents, tables.answers
    wanted = (
        select(table, answers.c.code, answers.c.message, answers.c.rule)
        .join(answers, answers.c.intent_id == table.c.intent_id)
        .where(
            table.c.client_id.in_(client_ids),
            table.c.action == SEND,
            answers.c.outcome == Outcome.REFUSED.value,
        )
        .order_by(table.c.intent_id)
    )
    return [
        (
            intent_of(row),
            Answer(
                outcome=Outcome.REFUSED,
                code=row.code,
                message=row.message,
                rule=None if row.rule is None else Rule[row.rule.upper()],
            ),
        )
        for row in connection.execute(wanted)
    ]


def intent_of(row: Row[Any]) -> Intent:
    """Return an intent from its row."""
    return Intent(
        order_number=row.order_number,
        request=request_of(row.request),
        reason=row.reason,
        wanted_qty=number(row.wanted_qty),
    )


def _session(row: Row[Any]) -> KeptSession:
    return KeptSession(
        session_id=row.session_id,
        session=Session(
            mode=row.mode,
            account=row.account,
            prefix=row.prefix,
            symbols=tuple(json.loads(row.symbols)),
            config_yaml=row.config_yaml,
            versions=json.loads(row.versions),
            git_commit=row.git_commit,
        ),
        started_us=row.started_us,
        ended_us=row.ended_us,
        why_ended=row.why_ended,
    )


def _step(row: Row[Any]) -> KeptStep:
    decision = None
    if row.decided is not None:
        decision = Decision(
            targets=unpack_row(row.targets),
            inputs={} if row.input_row is None else unpack(row.input_row),
            skipped=row.skipped or "",
            strategies={k: number(v) for k, v in json.loads(row.strategies or "{}").items()},
        )
    return KeptStep(
        seq=row.seq,
        session_id=row.session_id,
        ts_us=row.ts_us,
        kind=row.kind,
        last_event=row.last_event,
        inputs=None if row.inputs is None else unpack(row.inputs),
        account_sha=row.account_sha,
        signal_sha=row.signal_sha,
        decision=decision,
    )
