"""A copy of the journal in a database server, carried on as the journal grows: the loop never waits for the server.

The loop writes a file of its own, an ordinary journal, so that neither a start nor a step needs the server. While that
is away the file holds what the copy lacks; afterwards the copy catches up from its own last rows, in one transaction:
nothing is in it twice and nothing is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from sqlalchemy import Column, Connection, Table, func, insert, select, update

from live.journal import reading, tables
from live.journal.database import without_password
from live.journal.journal import Journal, open_journal
from live.journal.told import DETAILS
from quantcore.errors import JournalError

log = logging.getLogger(__name__)

_CHUNK = 2_000
_LONGEST_PAUSE_S = 30.0
_BY_STEP = (
    tables.decisions,
    tables.reasons,
    tables.equity,
    tables.positions,
    tables.risk_states,
    tables.snapshots,
)
_COUNTED = (
    tables.sessions.c.session_id,
    tables.steps.c.seq,
    tables.intents.c.intent_id,
    tables.answers.c.answer_id,
    tables.events.c.event_id,
    tables.notes.c.note_id,
    tables.differences.c.difference_id,
    tables.health.c.health_id,
)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """How the copy stands after a round.

    Parameters
    ----------
    rows : int
        Copied in this round.
    behind : int
        Steps that the copy lacks.
    trouble : str
        Why it could not be carried on, empty if it was.
    """

    rows: int = 0
    behind: int = 0
    trouble: str = ""


def copy_new(source: Connection, target: Connection) -> int:
    """Copy what a journal has beyond its copy, in transactions of both, and return how many rows that were.

    Raises
    ------
    JournalError
        If the copy is of another journal, or has more than it.
    """
    has = {column.table.name: _last(target, column) for column in _COUNTED}
    _check_same(source, target, has)
    rows = 0
    for table in tables.metadata.sorted_tables:
        column = _counter(table)
        wanted = select(table).where(column > has[_counted_by(table)])
        found = source.execute(wanted.execution_options(yield_per=_CHUNK))
        for part in found.partitions():
            target.execute(insert(table), [row._asdict() for row in part])
            rows += len(part)
    return rows + _end_sessions(source, target) + _name_incomes(source, target)


class Mirror:
    """Carries a journal's rows to its copy, in a thread of its own.

    Parameters
    ----------
    source, target : str
        URLs of the journal, a SQLite file, and of the copy.
    """

    def __init__(self, source: str, target: str) -> None:
        self.place = without_password(target)
        self._urls = (source, target)
        self._open: tuple[Journal, Journal] | None = None
        self._copied: int | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mirror")

    def __enter__(self) -> Mirror:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave both databases, after the round that is under way."""
        self._thread.submit(self._leave).result()
        self._thread.shutdown()

    def carry(self) -> Carried:
        """Copy what is new, and return how the copy stands; a server that is away is waited for by nobody."""
        return self._thread.submit(self._round).result()

    async def keep(self, pause_s: float, tell: Callable[[Carried], None]) -> None:
        """Carry on for ever, with growing pauses while the server is away; `tell` is told after each round."""
        loop, waited_s = asyncio.get_running_loop(), pause_s
        while True:
            done = await loop.run_in_executor(self._thread, self._round)
            tell(done)
            waited_s = min(2.0 * waited_s, _LONGEST_PAUSE_S) if done.trouble else pause_s
            await asyncio.sleep(waited_s)

    def _round(self) -> Carried:
        try:
            source, target = self._open or self._opened()
            with source.transaction() as read, target.transaction() as written:
                rows = copy_new(read, written)
                last = reading.last_seq(read)
        except JournalError as error:
            self._leave()
            return Carried(behind=self._behind(), trouble=str(error))
        self._copied = last
        return Carried(rows=rows)

    def _opened(self) -> tuple[Journal, Journal]:
        source = open_journal(self._urls[0], read_only=True)
        try:
            self._open = (source, open_journal(self._urls[1]))
        except BaseException:
            source.close()
            raise
        return self._open

    def _behind(self) -> int:
        with (
            contextlib.suppress(JournalError),
            open_journal(self._urls[0], read_only=True) as source,
            source.transaction() as read,
        ):
            if self._copied is None:
                self._copied = _known_copied(read, self._urls[1])
            return reading.last_seq(read) - self._copied
        return 0

    def _leave(self) -> None:
        for journal in self._open or ():
            journal.close()
        self._open = None


def _known_copied(source: Connection, url: str) -> int:
    """Return the last step that a copy held as the journal's last heartbeat knew it; 0 if it knew nothing of it."""
    health, sessions = tables.health, tables.sessions
    last = source.execute(
        select(health.c.ts_us, health.c.copy_behind, sessions.c.config_yaml)
        .join(sessions)
        .where(health.c.copy_behind.is_not(None))
        .order_by(health.c.health_id.desc())
        .limit(1)
    ).first()
    if last is None or url not in last.config_yaml:
        return 0
    behind: int = last.copy_behind
    return max(reading.last_seq(source, at_us=last.ts_us) - behind, 0)


def _last(connection: Connection, column: Column[int]) -> int:
    return connection.scalar(select(func.max(column))) or 0


def _counter(table: Table) -> Column[int]:
    """Return the number by which a table's rows are new."""
    if table in _BY_STEP:
        return table.c.seq
    if table in DETAILS.values():
        return table.c.event_id
    (key,) = table.primary_key.columns
    return key


def _counted_by(table: Table) -> str:
    """Return the table that counts it; whatever belongs to a step or an event is committed with it."""
    if table in _BY_STEP:
        return tables.steps.name
    return tables.events.name if table in DETAILS.values() else table.name


def _check_same(source: Connection, target: Connection, has: dict[str, int]) -> None:
    sessions = tables.sessions
    columns = (sessions.c.prefix, sessions.c.mode, sessions.c.account, sessions.c.started_us)
    first = select(*columns).where(sessions.c.session_id == 1)
    copied = target.execute(first).first()
    if copied is not None and copied != source.execute(first).first():
        raise JournalError("the copy must be of this journal, is of another")
    for column in _COUNTED:
        name = column.table.name
        if has[name] > _last(source, column):
            raise JournalError(
                f"the copy must not have more than the journal, has {has[name]} {name}"
            )


def _end_sessions(source: Connection, target: Connection) -> int:
    """Copy the ends of sessions that were open when they were copied."""
    sessions = tables.sessions
    running = target.scalars(
        select(sessions.c.session_id).where(sessions.c.ended_us.is_(None))
    ).all()
    ended = source.execute(
        select(sessions.c.session_id, sessions.c.ended_us, sessions.c.why_ended).where(
            sessions.c.session_id.in_(running), sessions.c.ended_us.is_not(None)
        )
    ).all()
    for row in ended:
        target.execute(
            update(sessions)
            .where(sessions.c.session_id == row.session_id)
            .values(ended_us=row.ended_us, why_ended=row.why_ended)
        )
    return len(ended)


def _name_incomes(source: Connection, target: Connection) -> int:
    """Copy the ids of incomes that the stream told without one, and the list later with it."""
    events, incomes = tables.events, tables.incomes
    nameless = target.scalars(select(incomes.c.event_id).where(incomes.c.income_id == "")).all()
    named = source.execute(
        select(events.c.event_id, events.c.identity, incomes.c.income_id)
        .join(incomes)
        .where(events.c.event_id.in_(nameless), incomes.c.income_id != "")
    ).all()
    for row in named:
        mine = events.c.event_id == row.event_id
        target.execute(update(events).where(mine).values(identity=row.identity))
        detail = incomes.c.event_id == row.event_id
        target.execute(update(incomes).where(detail).values(income_id=row.income_id))
    return len(named)
