"""The journal as the loop uses it: every call is one transaction, committed when it returns.

What is to be sent is committed before it is sent, what is heard before it is used. What can be asked for again, answers
and events, does not wait for the disk: it is there with the next step at the latest. A call that raises has written
nothing; the loop may go on protecting positions and try again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, select, update

from live.broker.interface import Outcome
from live.journal import reading, tables
from live.journal.codec import (
    Redactor,
    finite,
    pack,
    pack_row,
    request_json,
    to_json,
)
from live.journal.database import Database
from live.journal.records import (
    START,
    Answered,
    Difference,
    Health,
    Note,
    Recorded,
    Session,
    Step,
)
from live.journal.recovery import Advance, Recovery, Replayed, recover, replay
from live.journal.told import DETAILS, Event, contradiction, identity_of, kind_of, row_of
from quantcore.errors import JournalError

SAME_INCOME_US = 2_000_000
"""Within which an income of the stream, which has no id, is the one that the list of incomes tells with its id."""

_EVENT = select(tables.events.c.event_id).where(tables.events.c.identity == bindparam("identity"))
_ANSWERS = select(tables.answers.c.outcome, tables.answers.c.ts_us, tables.answers.c.by).where(
    tables.answers.c.intent_id == bindparam("intent_id")
)
_NUMBERED = (
    tables.sessions.c.session_id,
    tables.steps.c.seq,
    tables.intents.c.intent_id,
    tables.answers.c.answer_id,
    tables.events.c.event_id,
    tables.notes.c.note_id,
    tables.differences.c.difference_id,
    tables.health.c.health_id,
)


def open_journal(
    url: str,
    *,
    secrets: Sequence[str] = (),
    read_only: bool = False,
    synchronous: str = "full",
    make: Callable[[Database, Redactor], Journal] | None = None,
) -> Journal:
    """Open a journal, made or brought to the code's revision if need be; close it in the end.

    Parameters
    ----------
    url : str
        Such as ``sqlite:///data/live/sim/journal.sqlite``, ``sqlite://`` for one in memory, or
        ``postgresql+psycopg://user@host/database``.
    secrets : sequence of str
        Values that no text of the journal may hold; they are replaced by ``***``.
    read_only : bool
        For those who look on while the loop writes.
    synchronous : str
        Of SQLite: with ``"full"`` a commit survives a loss of power, with ``"normal"`` the end of the process alone.
    make : callable, optional
        Makes a journal of another kind of what was opened.

    Raises
    ------
    ConfigError
        If the URL is none of these, or others than its owner may read the file or its folder.
    JournalError
        If it does not open, has another writer, or is newer than the code.
    """
    database = Database(url, read_only=read_only, synchronous=synchronous)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return (make or Journal)(database, Redactor(secrets))


class Journal:
    """An open journal; `open_journal` opens it.

    Parameters
    ----------
    database : Database
        Migrated.
    redact : Redactor
        Applied to every text that others wrote.
    """

    def __init__(self, database: Database, redact: Redactor) -> None:
        self._database = database
        self._redact = redact
        self._next: dict[str, int] | None = None
        self._committed_upto: dict[str, int] = {}
        self._session_id: int | None = None
        self._signal_kept = False

    @property
    def place(self) -> str:
        """Where it is, without a password."""
        return self._database.place

    @property
    def replaced(self) -> bool:
        """Whether its file was removed, or another one lies there."""
        return self._database.replaced

    @property
    def next_seq(self) -> int:
        """Number of the next step."""
        return self._counted()[tables.steps.name]

    @property
    def last_event(self) -> int:
        """Number of the event told last, 0 before the first."""
        return self._counted()[tables.events.name] - 1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the database."""
        self._database.close()

    def begin(self, session: Session, *, now_us: int) -> int:
        """Begin a session, to which all that follows belongs, and return its number.

        Raises
        ------
        JournalError
            If the journal is of another mode or account.
        """
        with self._writing() as connection:
            last = reading.last_session(connection)
            if last is not None:
                held = (last.session.mode, last.session.account)
                if held != (session.mode, session.account):
                    raise JournalError(
                        f"journal must be of mode {session.mode} and account {session.account}, "
                        f"{self.place} is of {held[0]} and {held[1]}"
                    )
            number = self._take(tables.sessions)
            row = {
                "session_id": number,
                "mode": session.mode,
                "account": session.account,
                "prefix": session.prefix,
                "symbols": to_json(session.symbols),
                "config_yaml": self._redact(session.config_yaml),
                "versions": to_json(dict(session.versions)),
                "git_commit": session.git_commit,
                "started_us": now_us,
            }
            self._database.insert(connection, tables.sessions, row)
        self._session_id = number
        return number

    def end(self, why: str, *, now_us: int) -> None:
        """End the session."""
        with self._writing() as connection:
            connection.execute(
                update(tables.sessions)
                .where(tables.sessions.c.session_id == self._session())
                .values(ended_us=now_us, why_ended=self._redact(why))
            )
        self._session_id = None

    def commit_step(self, step: Step) -> tuple[int, ...]:
        """Commit a step with its intents, before any of them is sent, and return the intents' numbers.

        The step committed last may be told again, after an error that left open whether it was: nothing changes then.

        Raises
        ------
        ValueError
            If its number is not the next one, or the journal's first step does not set the states.
        JournalError
            If it could not be committed, or a client id was used before.
        """
        account_sha = step.account.digest()
        with self._writing() as connection:
            seq = self._counted()[tables.steps.name]
            if step.seq == seq - 1:
                return self._committed(connection, step, account_sha)
            if step.seq != seq:
                raise ValueError(f"seq must be {seq}, was {step.seq}")
            if seq == 1 and step.kind != START:
                raise ValueError(f"kind must be {START} of the first step, was {step.kind!r}")
            last_event = self._counted()[tables.events.name] - 1
            row = {
                "seq": self._take(tables.steps),
                "session_id": self._session(),
                "ts_us": step.ts_us,
                "kind": step.kind,
                "last_event": last_event if step.last_event is None else step.last_event,
                "inputs": pack(step.inputs),
                "account_sha": account_sha,
                "signal_sha": None if step.signal is None else step.signal.digest(),
                "took_us": step.took_us,
                "account_us": step.account_us,
            }
            self._database.insert(connection, tables.steps, row)
            numbers = self._add_intents(connection, step)
            if step.signal is not None and not self._signal_kept:
                self._signal_kept = reading.snapshot(connection, "signal", upto=seq) is not None
            for table, rows in self._outcomes(step):
                if rows:
                    self._database.insert(connection, table, *rows)
        return numbers

    def answer(self, answered: Answered) -> Recorded:
        """Commit what came of an intent; its final answer stands.

        Raises
        ------
        JournalError
            If it contradicts the final answer, there is no such intent, or it could not be committed.
        """
        answer = answered.answer
        table = tables.answers
        row = {
            "intent_id": answered.intent_id,
            "ts_us": answered.ts_us,
            "by": answered.by.value,
            "outcome": answer.outcome.value,
            "code": answer.code,
            "message": self._redact(answer.message),
            "rule": None if answer.rule is None else answer.rule.name.lower(),
            "exchange_id": None if answer.order is None else answer.order.exchange_id,
            "sent_after_us": answered.latency and answered.latency.sent_after_us,
            "answered_after_us": answered.latency and answered.latency.answered_after_us,
        }
        with self._writing(lasting=False) as connection:
            held = self._database.select(
                connection, "answers", _ANSWERS, intent_id=answered.intent_id
            )
            final = [outcome for outcome, *_ in held if outcome != Outcome.UNKNOWN.value]
            if final and row["outcome"] not in (final[0], Outcome.UNKNOWN.value):
                raise JournalError(
                    f"an intent must have one outcome, {answered.intent_id} was {final[0]} "
                    f"and is told {row['outcome']}"
                )
            if final or (row["ts_us"], row["by"]) in [(at_us, by) for _, at_us, by in held]:
                return Recorded.KNOWN
            self._database.insert(connection, table, {"answer_id": self._take(table), **row})
        return Recorded.NEW

    def hear(self, events: Sequence[Event], *, heard_us: int) -> tuple[Recorded, ...]:
        """Commit what the exchange said, before it is used, and say of each event whether it is new.

        Parameters
        ----------
        events : sequence of Fill, OrderChange, Balance, Income or Doubt
            In the order in which they were heard; all of them are committed, or none.
        heard_us : int
            When.

        Raises
        ------
        JournalError
            If a fill or income contradicts what was told of it before, or they could not be committed.
        """
        if not events:
            return ()
        with self._writing(lasting=False) as connection:
            fresh = _Fresh(self._database, connection)
            recorded = tuple(self._hear(connection, event, heard_us, fresh) for event in events)
            fresh.write()
        return recorded

    def note(self, note: Note) -> None:
        """Commit an intervention or an error."""
        row = {
            "ts_us": note.ts_us,
            "kind": note.kind.value,
            "source": note.source,
            "symbol": note.symbol,
            "message": self._redact(note.message),
        }
        self._add(tables.notes, row)

    def health(self, health: Health) -> None:
        """Commit how the loop does."""
        stopped = None if health.stopped is None else self._redact(health.stopped)
        row = {"stopped": stopped, "counts": to_json(dict(health.counts))}
        self._add(tables.health, _finite_row(vars(health)) | row)

    def difference(self, difference: Difference) -> None:
        """Commit a difference from the exchange and the rule that resolves it, before it is applied."""
        row = {
            "ts_us": difference.ts_us,
            "subject": difference.subject,
            "symbol": difference.symbol,
            "client_id": difference.client_id,
            "expected": self._redact(difference.expected),
            "found": self._redact(difference.found),
            "rule": difference.rule.value,
        }
        self._add(tables.differences, row)

    def recover(self) -> Recovery:
        """Return all that a start needs: see `recovery.recover`."""
        with self.transaction() as connection:
            return recover(connection)

    def replay(
        self, advance: Advance, *, at_seq: int | None = None, at_us: int | None = None
    ) -> Replayed:
        """Return the states at a moment of the past: see `recovery.replay`."""
        with self.transaction() as connection:
            return replay(connection, advance, at_seq=at_seq, at_us=at_us)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run the body in one transaction, for the functions of `reading` and for those that change what is kept.

        Raises
        ------
        JournalError
            If the database refuses or is gone; then nothing is changed.
        """
        with self._database.transaction() as connection:
            self._next = None  # the body may add and remove rows
            yield connection
            if self._committed_upto:
                self._committed_upto = _next_numbers(connection)

    def checkpoint(self) -> None:
        """Move what SQLite wrote ahead into its file; call it from another thread when there is time."""
        self._database.checkpoint()

    def compact(self) -> None:
        """Give space that is not needed any more back to the disk."""
        self._database.compact()

    @contextlib.contextmanager
    def _writing(self, *, lasting: bool = True) -> Iterator[Connection]:
        try:
            with self._database.transaction(lasting=lasting) as connection:
                self._next = self._next or self._found_numbers(connection)
                yield connection
        except BaseException:
            self._next = None  # those taken were not used, or a lost connection left that open
            raise
        self._committed_upto = dict(self._next)

    def _counted(self) -> dict[str, int]:
        if self._next is None:
            with self._database.transaction() as connection:
                self._next = self._found_numbers(connection)
        return self._next

    def _found_numbers(self, connection: Connection) -> dict[str, int]:
        """Return the next numbers; a server that fell may have lost what was committed and not on its disk yet."""
        found = _next_numbers(connection)
        for name, upto in self._committed_upto.items():
            if found[name] < upto:
                raise JournalError(
                    f"journal must keep what it took, {self.place} has lost {upto - found[name]} rows of {name}"
                )
        return found

    def _take(self, table: Table) -> int:
        counted = self._counted()
        number = counted[table.name]
        counted[table.name] += 1
        return number

    def _session(self) -> int:
        if self._session_id is None:
            raise ValueError("a session must have begun, none has")
        return self._session_id

    def _add(self, table: Table, row: dict[str, Any]) -> None:
        (key,) = table.primary_key.columns
        with self._writing() as connection:
            number = self._take(table)
            kept = {key.name: number, "session_id": self._session(), **row}
            self._database.insert(connection, table, kept)

    def _committed(self, connection: Connection, step: Step, account_sha: str) -> tuple[int, ...]:
        held = connection.execute(select(tables.steps).where(tables.steps.c.seq == step.seq)).one()
        if (held.ts_us, held.kind, held.account_sha) != (step.ts_us, step.kind, account_sha):
            raise ValueError(f"seq must be {step.seq + 1}, was {step.seq}: another step has it")
        numbers = select(tables.intents.c.intent_id).where(tables.intents.c.seq == step.seq)
        return tuple(connection.scalars(numbers.order_by(tables.intents.c.intent_id)))

    def _add_intents(self, connection: Connection, step: Step) -> tuple[int, ...]:
        rows: list[dict[str, Any]] = [
            {
                "intent_id": self._take(tables.intents),
                "seq": step.seq,
                "order_number": intent.order_number,
                "action": intent.action,
                "client_id": intent.request.client_id,
                "symbol": intent.request.symbol,
                "request": request_json(intent.request),
                "reason": intent.reason,
                "wanted_qty": finite(intent.wanted_qty),
            }
            for intent in step.intents
        ]
        if rows:
            self._database.insert(connection, tables.intents, *rows)
        return tuple(row["intent_id"] for row in rows)

    def _outcomes(self, step: Step) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
        """Yield what else a step has to say, as rows of its tables."""
        seq = {"seq": step.seq}
        if step.decision is not None:
            targets = step.decision.targets
            row = {
                "targets": pack_row(targets),
                "input_row": pack(step.decision.inputs) if step.decision.inputs else None,
                "skipped": self._redact(step.decision.skipped) or None,
                "strategies": None
                if not step.decision.strategies
                else to_json(_finite_row(dict(step.decision.strategies))),
            }
            yield tables.decisions, [seq | row]
        yield (
            tables.reasons,
            [
                seq | {"position": i} | _finite_row(vars(reason))
                for i, reason in enumerate(step.reasons)
            ],
        )
        if step.equity is not None:
            yield tables.equity, [seq | _finite_row(vars(step.equity))]
        yield tables.positions, [seq | _finite_row(vars(held)) for held in step.positions]
        if step.risk is not None:
            row = vars(step.risk) | {"level": step.risk.level.name.lower()}
            yield tables.risk_states, [seq | _finite_row(row)]
        if step.snapshot:
            yield tables.snapshots, [seq | {"plane": "account", "state": step.account.to_bytes()}]
        if step.signal is not None and (step.snapshot or not self._signal_kept):
            yield tables.snapshots, [seq | {"plane": "signal", "state": step.signal.to_bytes()}]

    def _hear(self, connection: Connection, event: Event, heard_us: int, fresh: _Fresh) -> Recorded:
        kind = kind_of(event)
        told = row_of(event)
        said = {k: self._redact(v) if isinstance(v, str) else v for k, v in told.items()}
        identity = self._redact(identity_of(event, said))
        if kind == "income" or identity in fresh.identities:
            fresh.write()
        held = self._database.select(connection, "event", _EVENT, identity=identity)
        if held:
            ((event_id,),) = held
            self._check_same(connection, kind, event_id, said, identity)
            return Recorded.KNOWN
        if kind == "income" and _told_otherwise(connection, event.time_us, said, identity):
            return Recorded.KNOWN
        number = self._take(tables.events)
        row = {
            "event_id": number,
            "session_id": self._session(),
            "heard_us": heard_us,
            "time_us": event.time_us,
            "kind": kind,
            "identity": identity,
        }
        fresh.add(kind, row, {"event_id": number, **said})
        return Recorded.NEW

    def _check_same(
        self, connection: Connection, kind: str, event_id: int, said: dict[str, Any], identity: str
    ) -> None:
        table = DETAILS[kind]
        row = connection.execute(select(table).where(table.c.event_id == event_id)).one()
        held = row._asdict()
        name = contradiction(said, held)
        if name is not None:
            raise JournalError(
                f"{identity} must be told the same twice, {name} was {held[name]} and is {said[name]}"
            )


class _Fresh:
    """Events of one transaction that are not in their tables yet: written together, a statement for each table."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection
        self._rows: dict[Table, list[dict[str, Any]]] = {}
        self.identities: set[str] = set()

    def add(self, kind: str, event: dict[str, Any], detail: dict[str, Any]) -> None:
        """Keep the rows of an event."""
        self._rows.setdefault(tables.events, []).append(event)
        self._rows.setdefault(DETAILS[kind], []).append(detail)
        self.identities.add(event["identity"])

    def write(self) -> None:
        """Insert what is kept."""
        for table, rows in self._rows.items():
            self._database.insert(self._connection, table, *rows)
        self._rows.clear()
        self.identities.clear()


def _next_numbers(connection: Connection) -> dict[str, int]:
    return {c.table.name: (connection.scalar(select(func.max(c))) or 0) + 1 for c in _NUMBERED}


def _finite_row(row: dict[str, Any]) -> dict[str, Any]:
    return {k: finite(v) if isinstance(v, float) else v for k, v in row.items()}


def _told_otherwise(
    connection: Connection, time_us: int, income: dict[str, Any], identity: str
) -> bool:
    """Return whether stream and list told one income, the one without and the other with its id; keep the id."""
    events, incomes = tables.events, tables.incomes
    income_id = income["income_id"]
    near = (time_us - SAME_INCOME_US, time_us + SAME_INCOME_US)
    found = connection.execute(
        select(events.c.event_id, incomes.c.amount)
        .join(incomes)
        .where(
            incomes.c.kind == income["kind"],
            incomes.c.symbol.is_not_distinct_from(income["symbol"]),
            (incomes.c.income_id == "") if income_id else (incomes.c.income_id != ""),
            events.c.time_us.between(*near),
        )
        .order_by(events.c.event_id)
    )
    same = [event_id for event_id, held in found if Decimal(held) == Decimal(income["amount"])]
    if same and income_id:
        mine, detail = events.c.event_id == same[0], incomes.c.event_id == same[0]
        connection.execute(update(events).where(mine).values(identity=identity))
        connection.execute(update(incomes).where(detail).values(income_id=income_id))
    return bool(same)
