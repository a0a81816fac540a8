"""A journal as those who look on read it: each table as a typed frame, whole or what is new since a row.

Nothing is written, no revision is changed, and every call is one short transaction of its own, so that the loop never
waits. What is now is told by `live.monitor.standing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sqlalchemy import Column, ColumnElement, Connection, Row, Select, func, select

from live.broker.interface import Order
from live.journal import reading, tables
from live.journal.codec import request_of, unpack_row
from live.journal.journal import Journal, open_journal
from live.journal.records import CANCEL, SEND, KeptSession
from quantcore.errors import JournalError
from quantcore.timegrid import to_index


class Marks(NamedTuple):
    """Numbers of the newest rows, 0 where there are none; two that are equal mean that nothing was added."""

    sessions: int
    steps: int
    events: int
    intents: int
    answers: int
    notes: int
    differences: int
    health: int


_COUNTED = (
    tables.sessions.c.session_id,
    tables.steps.c.seq,
    tables.events.c.event_id,
    tables.intents.c.intent_id,
    tables.answers.c.answer_id,
    tables.notes.c.note_id,
    tables.differences.c.difference_id,
    tables.health.c.health_id,
)


def _of_step(*columns: Column[Any]) -> Select[Any]:
    table = columns[0].table
    steps = tables.steps
    named = (table.c.seq.label("row"), steps.c.ts_us, *columns)
    return select(*named).join(steps, steps.c.seq == table.c.seq)


def _of_event(table: Any) -> Select[Any]:
    heard = tables.events
    kept = [column for column in table.c if column.name != "event_id"]
    named = (heard.c.event_id.label("row"), heard.c.time_us.label("ts_us"), heard.c.heard_us, *kept)
    return select(*named).join(heard, heard.c.event_id == table.c.event_id)


def _fills() -> Select[Any]:
    sent, steps = tables.intents, tables.steps
    return (
        _of_event(tables.fills)
        .add_columns(sent.c.reason, sent.c.order_number, steps.c.ts_us.label("decided_us"))
        .outerjoin(sent, (sent.c.client_id == tables.fills.c.client_id) & (sent.c.action == SEND))
        .outerjoin(steps, steps.c.seq == sent.c.seq)
    )


def _requests() -> Select[Any]:
    table = tables.intents
    columns = (table.c.seq, table.c.order_number, table.c.action, table.c.client_id, table.c.symbol,
               table.c.reason, table.c.wanted_qty, table.c.request)  # fmt: skip
    named = (table.c.intent_id.label("row"), tables.steps.c.ts_us, *columns)
    return select(*named).join(tables.steps, tables.steps.c.seq == table.c.seq)


def _answers() -> Select[Any]:
    table, asked = tables.answers, tables.intents
    kept = [column for column in table.c if column.name not in ("answer_id", "ts_us")]
    named = (table.c.answer_id.label("row"), table.c.ts_us, *kept)
    return select(*named, asked.c.action, asked.c.symbol, asked.c.client_id, asked.c.seq).join(
        asked
    )


def _plain(table: Any, key: str) -> Select[Any]:
    kept = [column for column in table.c if column.name != key]
    return select(table.c[key].label("row"), *kept)


_EQUITY, _RISK = tables.equity.c, tables.risk_states.c
_SELECTS: Mapping[str, Select[Any]] = MappingProxyType(
    {
        "steps": select(
            tables.steps.c.seq.label("row"),
            *(
                tables.steps.c[name]
                for name in ("ts_us", "session_id", "kind", "last_event", "took_us", "account_us")
            ),
        ),
        "decisions": _of_step(
            *(tables.decisions.c[name] for name in ("targets", "skipped", "strategies"))
        ).add_columns(tables.steps.c.session_id),
        "requests": _requests(),
        "answers": _answers(),
        "fills": _fills(),
        "order_changes": _of_event(tables.order_changes),
        "balances": _of_event(tables.balances),
        "incomes": _of_event(tables.incomes),
        "doubts": _of_event(tables.doubts),
        "reasons": _of_step(*list(tables.reasons.c)[1:]),
        "equity": _of_step(*list(_EQUITY)[1:])
        .add_columns(*list(_RISK)[1:])
        .outerjoin(tables.risk_states, _RISK.seq == _EQUITY.seq),
        "positions": _of_step(*list(tables.positions.c)[1:]),
        "notes": _plain(tables.notes, "note_id"),
        "differences": _plain(tables.differences, "difference_id"),
        "health": _plain(tables.health, "health_id"),
    }
)
TABLES = tuple(_SELECTS)
"""What `View.rows` knows."""
_NUMBERS = (
    "qty", "price", "fee", "realised", "stop_price", "filled", "wallet", "change", "amount", "limit", "value",
    "wanted_qty", "entry_price", "mark_price", "isolated_margin", "liquidation_chance", "equity", "wallet_balance",
    "unrealised_pnl", "margin_ratio", "gross_exposure", "net_exposure", "drawdown", "flow", "nav", "peak_nav",
    "day_nav", "daily_var", "liquidation_probability", "took_us", "account_us", "sent_after_us", "answered_after_us",
    "clock_off_ms", "book_age_s", "mark_age_s", "kline_age_s", "memory_mb", "disk_free_mb",
)  # fmt: skip
_TIMES = MappingProxyType(
    {
        "ts_us": "ts",
        "heard_us": "heard_ts",
        "decided_us": "decision_ts",
        "level_since_us": "level_since",
        "wall_us": "wall_ts",
    }
)


class View:
    """An open journal; `close` it in the end. Of one thread.

    Parameters
    ----------
    url : str
        Of the journal.

    Raises
    ------
    ConfigError
        If it is none of SQLite or PostgreSQL, or others than its owner may read it.
    JournalError
        If it does not open, or is of another revision than the code.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._journal = open_journal(url, read_only=True)

    @property
    def place(self) -> str:
        """Where it is, without a password."""
        return self._journal.place

    @property
    def url(self) -> str:
        """Where it is, as it was given."""
        return self._url

    @property
    def replaced(self) -> bool:
        """Whether another file lies where it was: the loop puts the journal of another exchange aside."""
        return self._journal.replaced

    @property
    def journal(self) -> Journal:
        """The journal itself, for what is read otherwise."""
        return self._journal

    def __enter__(self) -> View:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the journal."""
        self._journal.close()

    def reopen(self) -> None:
        """Open what is at the place now: the loop may have put another journal there."""
        self._journal.close()
        self._journal = open_journal(self._url, read_only=True)

    def marks(self) -> Marks:
        """Return the numbers of the newest rows: cheap enough to ask several times a second."""
        with self._journal.transaction() as connection:
            return marks_of(connection)

    def sessions(self) -> list[KeptSession]:
        """Return all sessions, in order.

        Raises
        ------
        JournalError
            If the journal cannot be read, or holds none yet.
        """
        with self._journal.transaction() as connection:
            found = reading.sessions(connection)
        if not found:
            raise JournalError(f"journal must hold a session, {self.place} holds none")
        return found

    def rows(
        self,
        table: str,
        *,
        after: int = 0,
        upto: int | None = None,
        since_us: int | None = None,
        last: int | None = None,
    ) -> pd.DataFrame:
        """Return rows of a table in the order in which they were written.

        Parameters
        ----------
        table : str
            One of `TABLES`.
        after, upto : int
            Rows with numbers > `after` and <= `upto`: steps, events or own ones, as `Marks` counts them.
        since_us : int, optional
            Rows not before a time.
        last : int, optional
            At most so many, the newest.

        Returns
        -------
        DataFrame
            First `row`, the number (not unique where a step has several rows), and `ts`, UTC; numbers as float64 with
            NaN where there is none, in USDT and coins. A request's words stand in columns of its own.

        Raises
        ------
        ValueError
            If there is no such table.
        JournalError
            If the journal cannot be read.
        """
        wanted = selected(table, after=after, upto=upto, since_us=since_us, last=last)
        with self._journal.transaction() as connection:
            found = _fetched(connection, wanted)
        return _framed(found, is_turned=last is not None)

    def targets(self, *, after: int = 0, last: int | None = None) -> pd.DataFrame:
        """Return the target weights of decisions, wide, index `ts`; decisions that were skipped are left out."""
        columns = {each.session_id: each.session.symbols for each in self.sessions()}
        decided = self.rows("decisions", after=after, last=last)
        decided = decided[decided["targets"].notna()]
        rows = [
            dict(zip(columns[session], targets, strict=True))
            for session, targets in zip(decided["session_id"], decided["targets"], strict=True)
        ]
        wide = pd.DataFrame(
            rows, index=pd.DatetimeIndex(decided["ts"], name="ts"), dtype=np.float64
        )
        return wide.sort_index(axis=1)


def marks_of(connection: Connection) -> Marks:
    """Return the numbers of the newest rows, inside a transaction that reads."""
    newest = [select(func.max(column)).scalar_subquery() for column in _COUNTED]
    found = connection.execute(select(*newest)).one()
    return Marks(*(number or 0 for number in found))


def rows_of(
    connection: Connection,
    table: str,
    *,
    after: int = 0,
    upto: int | None = None,
    since_us: int | None = None,
    last: int | None = None,
) -> pd.DataFrame:
    """Return rows of a table, inside a transaction that reads: see `View.rows`."""
    wanted = selected(table, after=after, upto=upto, since_us=since_us, last=last)
    return _framed(_fetched(connection, wanted), is_turned=last is not None)


def _fetched(connection: Connection, wanted: Select[Any]) -> tuple[Sequence[Row[Any]], list[str]]:
    """Return rows and names of columns: what there is to do inside a transaction."""
    found = connection.execute(wanted)
    return found.all(), list(found.keys())


def _framed(found: tuple[Sequence[Row[Any]], list[str]], *, is_turned: bool) -> pd.DataFrame:
    rows, names = found
    frame = pd.DataFrame(rows, columns=names)
    return _typed(frame[::-1].reset_index(drop=True) if is_turned else frame)


def selected(
    table: str,
    *,
    after: int = 0,
    upto: int | None = None,
    since_us: int | None = None,
    last: int | None = None,
) -> Select[Any]:
    """Return what asks the database for `View.rows`; with `last` the newest row comes first."""
    if table not in _SELECTS:
        raise ValueError(f"table must be one of {', '.join(TABLES)}, was {table!r}")
    wanted = _SELECTS[table]
    number, ts_us = wanted.selected_columns["row"], wanted.selected_columns["ts_us"]
    key: ColumnElement[Any] = getattr(number, "element", number)
    when: ColumnElement[Any] = getattr(ts_us, "element", ts_us)
    if after:
        wanted = wanted.where(key > after)
    if upto is not None:
        wanted = wanted.where(key <= upto)
    if since_us is not None:
        wanted = wanted.where(when >= since_us)
    wanted = wanted.order_by(key if last is None else key.desc())
    return wanted if last is None else wanted.limit(last)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with times, numbers, weights and requests as such."""
    if "request" in frame:
        frame = _with_requests(frame)
    for name in {"strategies", "counts"} & set(frame.columns):
        # Beside texts, null is NaN to pandas.
        told = [json.loads(raw) if isinstance(raw, str) else {} for raw in frame[name]]
        frame[name] = pd.Series(told, index=frame.index, dtype=object)
    if "targets" in frame:
        weights = [unpack_row(raw) for raw in frame["targets"]]
        frame["targets"] = pd.Series(weights, index=frame.index, dtype=object)
    for name in set(_NUMBERS) & set(frame.columns):
        frame[name] = pd.to_numeric(frame[name]).astype(np.float64)
    for name in _TIMES.keys() & set(frame.columns):
        frame[name] = _times(frame[name])
    return frame.rename(columns=_TIMES)


def _times(column: pd.Series) -> pd.Series:
    known = column.notna().to_numpy(dtype=bool)
    whole = np.where(known, column.to_numpy(dtype=object), 0).astype(np.int64)
    times = pd.Series(to_index(whole), index=column.index)
    return times.where(known)


def _with_requests(frame: pd.DataFrame) -> pd.DataFrame:
    requests = [request_of(text) for text in frame.pop("request")]
    orders = [request if isinstance(request, Order) else None for request in requests]
    words: dict[str, list[Any]] = {
        "side": [None if order is None else order.side.name.lower() for order in orders],
        "type": [CANCEL if order is None else order.type.name.lower() for order in orders],
        "time_in_force": [None if order is None else order.time_in_force.name for order in orders],
    }
    for name in ("qty", "price", "stop_price", "reduce_only", "close_position"):
        words[name] = [None if order is None else getattr(order, name) for order in orders]
    return frame.assign(**words)
