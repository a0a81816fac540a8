"""What is now, as the journal tells it: account, positions, open orders, limits, and what is not in order."""

from __future__ import annotations

import contextlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Row, exists, func, select

from live.broker.interface import Order, Outcome
from live.folds import HALTED
from live.journal import reading, tables
from live.journal.codec import number, unpack, unpack_row
from live.journal.database import sqlite_path
from live.journal.records import SEND, Health, KeptSession, Resolution
from live.kill_switch import FILES, Level
from live.monitor.view import Marks, View, marks_of, rows_of, selected
from live.parts import kept_settings
from quantcore.account_plane import AccountSettings, compile_rules
from quantcore.config import build
from quantcore.execution.settings import ExecutionSettings
from quantcore.finance.liquidation import MarginAccount, liquidation_distance, liquidation_prices
from quantcore.risk.limits import RiskSettings
from quantcore.types import FloatArray, OrderStatus, RiskLevel

_ENDS = ("filled", "canceled", "rejected", "expired")
assert {status.name.lower() for status in OrderStatus} - set(_ENDS) == {"new", "partially_filled"}
_STOPS = ("stop_market", "trailing_stop_market")
_FLAT = 1e-9
"""Of a fill's quantity: what is left by rounding is nothing."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account at the last closed bar, in the units of `equity.parquet`.

    Parameters
    ----------
    ts : Timestamp
        Of the bar.
    day_return : float
        Since the UTC day's start; NaN before the risk controller has spoken.
    leverage : float
        Gross exposure over equity.
    risk_level : RiskLevel
        On the controller's ladder.
    """

    ts: pd.Timestamp
    equity: float
    wallet_balance: float
    unrealised_pnl: float
    margin_ratio: float
    gross_exposure: float
    net_exposure: float
    leverage: float
    drawdown: float
    nav: float
    day_return: float
    regime: str | None
    daily_var: float
    liquidation_probability: float
    risk_level: RiskLevel
    level_since: pd.Timestamp | None
    halts: int


@dataclass(frozen=True, kw_only=True)
class OpenOrder:
    """An order that may be at the exchange.

    Parameters
    ----------
    client_id, symbol, side, type, reason : str
        As it was sent, in the words of `orders.parquet`.
    qty, filled, price, stop_price : float
        Coins and USDT per coin; NaN where it has none.
    protects : bool
        Whether it can only make its position smaller.
    state : str
        ``"sent"`` before an answer, ``"in doubt"`` after one that left open what happened, else ``"open"``.
    stuck : bool
        Whether it is a conditional order that triggered and became nothing.
    since : Timestamp
        When it was decided.
    """

    client_id: str
    symbol: str
    side: str
    type: str
    reason: str
    qty: float
    filled: float
    price: float
    stop_price: float
    protects: bool
    state: str
    stuck: bool
    since: pd.Timestamp


@dataclass(frozen=True, kw_only=True)
class Held:
    """A position.

    Parameters
    ----------
    symbol : str
        Of what.
    qty : float
        Coins, > 0 long; with the fills since the last closed bar.
    entry_price, mark_price : float
        USDT per coin; the mark is that of the last closed bar, NaN of a position younger than that.
    unrealised_pnl, notional : float
        USDT; the notional has the position's sign.
    leverage : float
        Notional over equity, > 0.
    liquidation_price, liquidation_distance : float
        Mark at which it is liquidated while the others' stand still, NaN if at none, and how far that is, a fraction.
    liquidation_probability : float
        Within 24 hours, as the liquidation monitor had it at its last check; NaN where it has not spoken.
    stop_price : float
        Trigger of the protective stop nearest to the mark; NaN without one.
    stop_stuck : bool
        Whether one of its stops has triggered and became nothing.
    """

    symbol: str
    qty: float
    entry_price: float
    mark_price: float
    unrealised_pnl: float
    notional: float
    leverage: float
    liquidation_price: float
    liquidation_distance: float
    liquidation_probability: float
    stop_price: float
    stop_stuck: bool

    @property
    def has_stop(self) -> bool:
        """Whether a protective stop is open."""
        return not math.isnan(self.stop_price)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit of the mode, and what of it is in use; both are >= 0."""

    name: str
    value: float
    limit: float

    @property
    def share(self) -> float:
        """How much of the limit is in use, 1 at the limit."""
        return self.value / self.limit


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


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """What a session kept of its rules: limits, kind of margin, margin brackets by symbol."""

    risk: RiskSettings | None
    margin: str
    brackets: Mapping[str, FloatArray]

    @classmethod
    def of(cls, session: KeptSession) -> _Rules | None:
        """Return those of a session; None where it kept none."""
        try:
            cfg, instruments = kept_settings(session)
        except (AttributeError, KeyError, TypeError):
            return None
        account = build(cfg.account, AccountSettings)
        execution = build(cfg.execution, ExecutionSettings)
        rules = compile_rules(instruments, account=account, execution=execution)
        symbols = (instrument.symbol for instrument in instruments)
        return cls(
            risk=build(cfg.risk, RiskSettings) if cfg.risk else None,
            margin=account.margin,
            brackets=dict(zip(symbols, rules.bracket, strict=True)),
        )


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
            account = _account(connection)
            orders = self._open_orders(connection, marks)
            halted = _halted(connection, session.session.symbols)
            positions = _positions(connection, account, orders, rules)
            differences = _open_differences(connection, session, halted)
            last_us = _last_us(connection, marks)
            targets, strategies = _decided(connection, session)
            health = _health(connection)
        return Standing(
            session=session,
            marks=marks,
            account=account,
            positions=positions,
            orders=orders,
            limits=limits(account, positions, None if rules is None else rules.risk),
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
        self._rules: _Rules | None = None

    def _rules_of(self, session: KeptSession) -> _Rules | None:
        if session.session_id != self._session:
            self._session, self._rules = session.session_id, _Rules.of(session)
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


def open_orders(
    connection: Connection, *, among: Sequence[str] = (), after: int = 0
) -> tuple[OpenOrder, ...]:
    """Return the orders that may be at the exchange, of those `among` and of those sent after an intent."""
    sent, answers = tables.intents, tables.answers
    changes, fills = tables.order_changes, tables.fills
    refused = exists().where(
        answers.c.intent_id == sent.c.intent_id, answers.c.outcome == Outcome.REFUSED.value
    )
    ended = exists().where(changes.c.client_id == sent.c.client_id, changes.c.status.in_(_ENDS))
    filled = exists().where(fills.c.client_id == sent.c.client_id, fills.c.order_status.in_(_ENDS))
    wanted = (
        select(sent, tables.steps.c.ts_us)
        .join(tables.steps, tables.steps.c.seq == sent.c.seq)
        .where(sent.c.action == SEND, (sent.c.intent_id > after) | sent.c.client_id.in_(among))
        .where(~refused, ~ended, ~filled)
        .order_by(sent.c.intent_id)
    )
    rows = connection.execute(wanted).all()
    return tuple(_with_news(connection, rows))


def _with_news(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[OpenOrder]:
    """Yield the orders of intents, with what was answered, told and filled of each."""
    ids, numbers = [row.client_id for row in rows], [row.intent_id for row in rows]
    answers, changes, fills = tables.answers.c, tables.order_changes.c, tables.fills.c
    outcomes: dict[int, set[str]] = defaultdict(set)
    given = select(answers.intent_id, answers.outcome).where(answers.intent_id.in_(numbers))
    for intent_id, outcome in connection.execute(given):
        outcomes[intent_id].add(outcome)
    told = select(changes.client_id, changes.stuck).where(changes.client_id.in_(ids))
    told = told.order_by(changes.event_id)
    stuck = {client_id: bool(is_stuck) for client_id, is_stuck in connection.execute(told)}
    filled: dict[str, float] = defaultdict(float)
    for client_id, qty in connection.execute(
        select(fills.client_id, fills.qty).where(fills.client_id.in_(ids))
    ):
        filled[client_id] += float(qty)
    for row in rows:
        yield _open_order(
            row,
            outcomes=outcomes[row.intent_id],
            stuck=stuck.get(row.client_id),
            filled=filled[row.client_id],
        )


def _open_order(
    row: Row[Any], *, outcomes: set[str], stuck: bool | None, filled: float
) -> OpenOrder:
    """Return an order; `stuck` is None where the exchange has said nothing of it yet."""
    intent = reading.intent_of(row)
    order = intent.request
    assert isinstance(order, Order)
    told = stuck is not None or Outcome.ACCEPTED.value in outcomes
    return OpenOrder(
        client_id=order.client_id,
        symbol=order.symbol,
        side=order.side.name.lower(),
        type=order.type.name.lower(),
        reason=intent.reason,
        qty=_real(order.qty),
        filled=filled,
        price=_real(order.price),
        stop_price=_real(order.stop_price),
        protects=order.reduce_only or order.close_position,
        state="open" if told else "in doubt" if outcomes else "sent",
        stuck=bool(stuck),
        since=_time(row.ts_us),
    )


def _account(connection: Connection) -> Account | None:
    row = connection.execute(selected("equity", last=1)).first()
    if row is None:
        return None
    spoken, since_us = row.level is not None, row.level_since_us or 0
    equity, gross, nav = number(row.equity), number(row.gross_exposure), number(row.nav)
    return Account(
        ts=_time(row.ts_us),
        equity=equity,
        wallet_balance=number(row.wallet_balance),
        unrealised_pnl=number(row.unrealised_pnl),
        margin_ratio=number(row.margin_ratio),
        gross_exposure=gross,
        net_exposure=number(row.net_exposure),
        leverage=_ratio(gross, equity),
        drawdown=number(row.drawdown),
        nav=nav,
        day_return=_ratio(nav, number(row.day_nav)) - 1.0,
        regime=row.regime,
        daily_var=number(row.daily_var),
        liquidation_probability=number(row.liquidation_probability),
        risk_level=RiskLevel[row.level.upper()] if spoken else RiskLevel.NORMAL,
        level_since=_time(since_us) if since_us > 0 else None,
        halts=row.halts if spoken else 0,
    )


class _Position(NamedTuple):
    qty: float
    entry: float
    mark: float
    isolated_margin: float
    chance: float


_NOTHING = _Position(0.0, math.nan, math.nan, math.nan, math.nan)


def _positions(
    connection: Connection,
    account: Account | None,
    orders: Sequence[OpenOrder],
    rules: _Rules | None,
) -> tuple[Held, ...]:
    """Return what is held: the last closed bar's positions and the fills since."""
    seq = connection.scalar(select(func.max(tables.equity.c.seq))) or 0
    held = {
        row.symbol: _Position(
            number(row.qty),
            number(row.entry_price),
            number(row.mark_price),
            number(row.isolated_margin),
            number(row.liquidation_chance),
        )
        for row in connection.execute(selected("positions", after=seq - 1, upto=seq))
    }
    known = connection.scalar(select(tables.steps.c.last_event).where(tables.steps.c.seq == seq))
    for fill in connection.execute(selected("fills", after=known or 0)):
        before = held.get(fill.symbol, _NOTHING)
        moved = float(fill.qty) if fill.side == "buy" else -float(fill.qty)
        qty, entry = booked(before.qty, before.entry, moved, float(fill.price))
        held[fill.symbol] = _Position(qty, entry, before.mark, before.isolated_margin, math.nan)
    held = {symbol: each for symbol, each in sorted(held.items()) if each.qty != 0.0}
    prices = _liquidation_prices(account, held, rules)
    equity = math.nan if account is None else account.equity
    return tuple(
        _held(symbol, each, prices.get(symbol, math.nan), equity, orders)
        for symbol, each in held.items()
    )


def booked(qty: float, entry: float, moved: float, price: float) -> tuple[float, float]:
    """Return quantity and entry price of a position after a fill of signed coins.

    What is reduced keeps its entry price; what is enlarged has the mean; what turns has that of the fill.

    Examples
    --------
    >>> booked(1.0, 100.0, 1.0, 110.0), booked(2.0, 100.0, -3.0, 110.0), booked(1.0, 100.0, -1.0, 9.0)
    ((2.0, 105.0), (-1.0, 110.0), (0.0, nan))
    """
    after = qty + moved
    if abs(after) <= _FLAT * abs(moved):
        return 0.0, math.nan
    if qty == 0.0 or qty * after < 0.0:
        return after, price
    if abs(after) < abs(qty):
        return after, entry
    return after, (qty * entry + moved * price) / after


def _held(
    symbol: str,
    position: _Position,
    liquidation_price: float,
    equity: float,
    orders: Sequence[OpenOrder],
) -> Held:
    qty, entry, mark, _, chance = position
    side = math.copysign(1.0, qty)
    stops = [
        order
        for order in orders
        if order.symbol == symbol
        and order.protects
        and order.type in _STOPS
        and order.side == ("sell" if qty > 0.0 else "buy")
    ]
    live = [order.stop_price for order in stops if not order.stuck]
    nearest = (max if side > 0.0 else min)(live) if live else math.nan
    return Held(
        symbol=symbol,
        qty=qty,
        entry_price=entry,
        mark_price=mark,
        unrealised_pnl=qty * (mark - entry),
        notional=qty * mark,
        leverage=_ratio(abs(qty * mark), equity),
        liquidation_price=liquidation_price,
        liquidation_distance=liquidation_distance(liquidation_price, mark, side=side),
        liquidation_probability=chance,
        stop_price=nearest,
        stop_stuck=any(order.stuck for order in stops),
    )


def _liquidation_prices(
    account: Account | None, held: Mapping[str, _Position], rules: _Rules | None
) -> dict[str, float]:
    """Return liquidation prices by symbol, of positions that a closed bar knows; none without the exchange's rules."""
    if account is None or rules is None:
        return {}
    known = {symbol: each for symbol, each in held.items() if not math.isnan(each.mark)}
    brackets = rules.brackets
    if not known or not brackets.keys() >= known.keys():
        return {}
    isolated = np.array([each.isolated_margin for each in known.values()])
    on_cross = rules.margin == "cross"
    qty, entry, mark = (np.array([each[n] for each in known.values()]) for n in range(3))
    found = liquidation_prices(
        MarginAccount(
            wallet=account.wallet_balance - (0.0 if on_cross else float(np.nansum(isolated))),
            qty=qty,
            entry=entry,
            mark=mark,
            brackets=np.array([brackets[symbol] for symbol in known]),
            isolated_margin=math.nan if on_cross else isolated,
        )
    )
    return dict(zip(known, found.tolist(), strict=True))


def limits(
    account: Account | None, positions: Sequence[Held], risk: RiskSettings | None
) -> tuple[Limit, ...]:
    """Return the limits of a mode, each with what of it is in use; those that are not set are left out."""
    if account is None or risk is None or not account.equity > 0.0:
        return ()
    largest = max((position.leverage for position in positions), default=0.0)
    chance = account.liquidation_probability
    found = (
        ("leverage", account.leverage, risk.leverage_max),
        ("net exposure", abs(account.net_exposure) / account.equity, risk.net_max),
        ("largest position", largest, risk.symbol_max),
        ("daily value at risk", account.daily_var, risk.daily_var_max),
        ("drawdown", -account.drawdown, risk.drawdown_max),
        ("loss of the day", max(-account.day_return, 0.0), risk.daily_loss_max),
        ("liquidation probability", chance, risk.liquidation_probability_max),
        ("margin ratio", account.margin_ratio, risk.margin_ratio_max),
    )
    return tuple(
        Limit(name=name, value=max(0.0, value), limit=limit)  # NaN counts as nothing
        for name, value, limit in found
        if limit is not None
    )


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


def _ratio(value: float, of: float) -> float:
    return float(value / of) if of > 0.0 else math.nan


def _time(time_us: int) -> pd.Timestamp:
    return pd.Timestamp(time_us, unit="us", tz="UTC")


def _real(text: str | None) -> float:
    return math.nan if text is None else float(text)
