"""What is now, as the journal tells it: account, positions, open orders, limits, and what is not in order."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from sqlalchemy import Connection, func, select

from live.folds import HALTED
from live.journal import tables
from live.journal.codec import number, unpack, unpack_row
from live.journal.database import sqlite_path
from live.journal.records import Health, KeptSession, Resolution
from live.kill_switch import FILES, Level
from live.monitor.account import Account, account_of
from live.monitor.limits import Limit, limits
from live.monitor.open_orders import OpenOrder, open_orders
from live.monitor.positions import Held, positions
from live.monitor.rules import Rules
from live.monitor.view import Marks, View, marks_of, rows_of


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is now.

    Parameters
    ----------
    session : KeptSession
        The last one.
    marks : Marks
        Newest rows of which it knows.
    account : Account or None
        None before the first closed bar.
    positions, orders, limits
        By symbol; in the order of sending; in the order of `RiskSettings`.
    targets : mapping of str to float
        Weights of the last decision that was taken.
    strategies : mapping of str to float
        What each strategy's forecast was multiplied by in it.
    halted : tuple of str
        Symbols that are not traded, because another hand is in them.
    differences : DataFrame
        From the exchange, that the last step still knows as open: rows of `View.rows`.
    health : Health or None
        The last heartbeat; None of a journal without.
    kill_switch : Level or None
        None where its folder is not known.
    last_us : int
        Exchange's time of the last thing that was written down, 0 before the first.
    written_s : float or None
        Wall clock's seconds since 1970 at which the journal's file was last changed; None of a database.
    """

    session: KeptSession
    marks: Marks
    account: Account | None
    positions: tuple[Held, ...]
    orders: tuple[OpenOrder, ...]
    limits: tuple[Limit, ...]
    targets: Mapping[str, float]
    strategies: Mapping[str, float]
    halted: tuple[str, ...]
    differences: pd.DataFrame = field(repr=False)
    health: Health | None
    kill_switch: Level | None
    last_us: int
    written_s: float | None

    @property
    def running(self) -> bool:
        """Whether the session has not ended in order; a killed one has not either."""
        return self.session.ended_us is None


class Watch:
    """Looks at a journal again and again; what a look has found out makes the next one cheap.

    Parameters
    ----------
    view : View
        Of the journal.
    folder : Path or None
        Of the mode, with the kill switch's files.
    """

    def __init__(self, view: View, folder: Path | None = None) -> None:
        self._view = view
        self._folder = folder
        self._path = sqlite_path(view.url)
        self._forget()

    def look(self) -> Standing:
        """Return what is now.

        Raises
        ------
        JournalError
            If the journal cannot be read, or holds no session yet; a journal that was replaced is opened anew.
        """
        if self._view.replaced:
            self._view.reopen()
            self._forget()
        session = self._view.sessions()[-1]
        rules = self._rules_of(session)
        with self._view.journal.transaction() as connection:
            marks = marks_of(connection)
            account = account_of(connection)
            orders = self._open_orders(connection, marks)
            halted = _halted(connection, session.session.symbols)
            held = positions(connection, account, orders, rules)
            differences = _open_differences(connection, session, halted)
            last_us = _last_us(connection, marks)
            targets, strategies = _decided(connection, session)
            health = _health(connection)
        return Standing(
            session=session,
            marks=marks,
            account=account,
            positions=held,
            orders=orders,
            limits=limits(account, held, None if rules is None else rules.risk),
            targets=targets,
            strategies=strategies,
            halted=halted,
            differences=differences,
            health=health,
            kill_switch=kill_switch(self._folder),
            last_us=last_us,
            written_s=None if self._path is None else _written_s(self._path),
        )

    def _forget(self) -> None:
        self._open: tuple[str, ...] = ()
        self._intent = 0
        self._session = -1
        self._rules: Rules | None = None

    def _rules_of(self, session: KeptSession) -> Rules | None:
        if session.session_id != self._session:
            self._session, self._rules = session.session_id, Rules.of(session)
        return self._rules

    def _open_orders(self, connection: Connection, marks: Marks) -> tuple[OpenOrder, ...]:
        found = open_orders(connection, among=self._open, after=self._intent)
        self._open, self._intent = tuple(order.client_id for order in found), marks.intents
        return found


def kill_switch(folder: Path | None) -> Level | None:
    """Return how far trading is stopped by the files of a mode's folder; None where that is not known."""
    if folder is None or not folder.is_dir():
        return None
    return max((level for level in FILES if (folder / level.name).exists()), default=Level.NONE)


def _decided(
    connection: Connection, session: KeptSession
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the weights of the last decision that was taken, and what each strategy counted in it."""
    decided = tables.decisions.c
    newest = select(decided.targets, decided.strategies).where(decided.targets.is_not(None))
    row = connection.execute(newest.order_by(decided.seq.desc()).limit(1)).first()
    weights = None if row is None else unpack_row(row.targets)
    symbols = session.session.symbols
    if row is None or weights is None or len(weights) != len(symbols):
        return {}, {}  # an earlier session's may be of other symbols
    counted = json.loads(row.strategies or "{}")
    return dict(zip(symbols, weights.tolist(), strict=True)), {
        name: number(value) for name, value in counted.items()
    }


def _health(connection: Connection) -> Health | None:
    """Return the last heartbeat."""
    table = tables.health
    row = connection.execute(select(table).order_by(table.c.health_id.desc()).limit(1)).first()
    if row is None:
        return None
    told = row._asdict()
    del told["health_id"], told["session_id"]
    reals = ("clock_off_ms", "book_age_s", "mark_age_s", "kline_age_s", "memory_mb", "disk_free_mb")
    known = {name: number(told[name]) for name in reals} | {"counts": json.loads(told["counts"])}
    return Health(**told | known)


def _halted(connection: Connection, symbols: Sequence[str]) -> tuple[str, ...]:
    """Return the symbols that the last closed bar's step did not trade."""
    steps = tables.steps.c
    seq = connection.scalar(select(func.max(tables.equity.c.seq)))
    raw = connection.scalar(select(steps.inputs).where(steps.seq == seq)) if seq else None
    if raw is None:
        return ()
    halted = unpack(raw).get(HALTED)
    if halted is None:
        return ()
    return tuple(symbol for symbol, is_halted in zip(symbols, halted, strict=True) if is_halted)


def _open_differences(
    connection: Connection, session: KeptSession, halted: Sequence[str]
) -> pd.DataFrame:
    """Return the newest difference of each symbol that is halted, and those of the account since its last close."""
    found = rows_of(connection, "differences", last=200)
    found = found[found["session_id"] == session.session_id]
    found = found[found["rule"] == Resolution.HALT.value]
    of_symbols = found[found["symbol"].isin(list(halted))]
    closed_us = connection.scalar(
        select(func.max(tables.steps.c.ts_us)).where(
            tables.steps.c.seq == select(func.max(tables.equity.c.seq)).scalar_subquery()
        )
    )
    since = pd.Timestamp(closed_us or 0, unit="us", tz="UTC")
    of_account = found[found["symbol"].isna() & (found["ts"] >= since)]
    newest = of_symbols.drop_duplicates(["symbol", "subject"], keep="last")
    return pd.concat([newest, of_account]).sort_values("row")


def _last_us(connection: Connection, marks: Marks) -> int:
    """Return the exchange's time of the newest step, event, answer, note or heartbeat."""
    newest = (
        (tables.steps.c.ts_us, tables.steps.c.seq, marks.steps),
        (tables.events.c.heard_us, tables.events.c.event_id, marks.events),
        (tables.answers.c.ts_us, tables.answers.c.answer_id, marks.answers),
        (tables.notes.c.ts_us, tables.notes.c.note_id, marks.notes),
        (tables.health.c.ts_us, tables.health.c.health_id, marks.health),
    )
    return max(connection.scalar(select(ts).where(key == row)) or 0 for ts, key, row in newest)


def _written_s(path: Path) -> float | None:
    """Return when a file of SQLite, or what it wrote ahead, was last changed."""
    found = []
    for each in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            found.append(each.stat().st_mtime)
    return max(found, default=None)
