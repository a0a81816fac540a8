"""What is held, open, traded and told, as tables: each section a pure function of the board."""

from __future__ import annotations

import math
from html import escape

from live.dashboard.board import Board, Entry, Holding, OpenOrder, State, Told, Traded
from live.dashboard.pieces import (
    MANY,
    Column,
    chance,
    folded,
    gain,
    mark,
    price,
    quantity,
    section,
    side,
    stamp,
    symbol,
    table,
    times,
    words,
)
from quantcore.backtest.markup import MISSING, known, money, percent, plural, sentence, share

FAR = 1.0
"""Adverse move from which nobody needs to know how far liquidation is."""

_POSITIONS = (
    Column("Symbol", is_text=True),
    Column("Quantity", place="rest"),
    Column("Entry", place="rest"),
    Column("Mark", place="rest"),
    Column("Profit, USDT", place="top"),
    Column("Leverage"),
    Column("To liquidation", short="Liquidation"),
    Column("Chance, 24 h", short="in 24 h"),
    Column("Protective stop", place="last", short="Stop"),
)


_LIVE = 3
"""Columns at the table's end that a results folder does not keep."""


def positions(board: Board) -> str:
    """Return what is held, the largest first."""
    held = sorted(board.holdings, key=lambda h: -_size(h))
    total = sum(h.profit for h in held if known(h.profit))
    aside = f"{plural(len(held), 'position')}, {gain(money(total, signed=True), total)} USDT"
    shown = len(_POSITIONS) - (0 if board.is_live else _LIVE)
    rows = (_position(h)[:shown] for h in held)
    body = table(_POSITIONS[:shown], rows, "Nothing is held.", cards=True)
    return section("Positions", body, aside=aside if held else "")


def _size(holding: Holding) -> float:
    return abs(holding.qty * (holding.mark if known(holding.mark) else holding.entry))


def _position(h: Holding) -> tuple[str, ...]:
    cost = abs(h.qty) * h.entry
    part = percent(h.profit / cost if cost > 0.0 else math.nan, signed=True, decimals=2)
    way = "long" if h.qty > 0.0 else "short"
    away = share(abs(h.mark - h.stop) / h.mark) if known(h.stop) and h.mark > 0.0 else ""
    stop = f"{price(h.stop)} <small>{away}</small>" if known(h.stop) else _no_stop(h)
    return (
        f'{symbol(h.symbol)} <span class="way {way}">{way}</span>',
        quantity(abs(h.qty)),
        price(h.entry),
        price(h.mark),
        f"{gain(money(h.profit, signed=True), h.profit)} <small>{part}</small>",
        times(h.leverage),
        f"> {percent(FAR, decimals=0)}" if h.distance > FAR else share(h.distance),
        chance(h.chance),
        stop,
    )


def _no_stop(h: Holding) -> str:
    return mark(State.BAD, "none") if h.needs_stop else MISSING


_ORDERS = (
    Column("Symbol", is_text=True),
    Column("Side", is_text=True),
    Column("Kind", is_text=True),
    Column("Price"),
    Column("Quantity"),
    Column("Filled", is_wide=True),
    Column("Since", is_text=True, is_wide=True),
)


def orders(board: Board) -> str:
    """Return the open orders, those that protect last and folded up where they are many; a finished run has none."""
    if not board.is_live:
        return ""
    ordered = sorted(board.orders, key=lambda o: (o.protects, o.symbol, o.sent_us))
    stops = [o for o in ordered if o.protects and o.state == "open"]
    others = [o for o in ordered if o not in stops]
    if len(stops) <= MANY:
        stops, others = [], ordered
    body = table(_ORDERS, (_order(o, board) for o in others), "No order is open.")
    if stops:
        told = plural(len(stops), "protective stop")
        rows = table(_ORDERS, (_order(o, board) for o in stops), "")
        body = f"{body if others else ''}{folded('stops', told, rows)}"
    protecting = sum(o.protects for o in ordered)
    aside = f"{plural(len(ordered) - protecting, 'order')}, {plural(protecting, 'protective stop')}"
    return section("Open orders", body, aside=aside if ordered else "")


def _order(o: OpenOrder, board: Board) -> tuple[str, ...]:
    at = o.price if known(o.price) else o.stop_price
    kind = f"{words(o.kind)}{' · reduce only' if o.reduce_only and not o.protects else ''}"
    if o.state != "open":
        kind += f" {mark(State.BAD if o.state == 'stuck' else State.WATCH, o.state)}"
    return (
        symbol(o.symbol),
        side(o.side),
        kind,
        price(at),
        quantity(o.qty) if o.qty > 0.0 else "all",
        quantity(o.filled),
        stamp(o.sent_us, now_us=board.clock_us),
    )


_FILLS = (
    Column("Time", is_text=True),
    Column("Symbol", is_text=True),
    Column("Side", is_text=True),
    Column("Quantity", is_wide=True),
    Column("Price", is_wide=True),
    Column("USDT"),
    Column("Fee", is_wide=True),
    Column("Why", is_text=True),
)


def fills(board: Board) -> str:
    """Return what was traded last, the newest first."""
    rows = (_fill(fill, board) for fill in board.fills)
    return section("Recent fills", table(_FILLS, rows, "Nothing was traded so far."))


def _fill(f: Traded, board: Board) -> tuple[str, ...]:
    return (
        stamp(f.ts_us, now_us=board.clock_us),
        symbol(f.symbol),
        side(f.side),
        quantity(f.qty),
        price(f.price),
        money(f.qty * f.price),
        f"{money(f.fee, decimals=4)} <small>{'maker' if f.maker else 'taker'}</small>",
        words(f.reason) or MISSING,
    )


_REASONS = (
    Column("Time", is_text=True),
    Column("Symbol", is_text=True),
    Column("What", is_text=True),
    Column("By", is_text=True, is_wide=True),
    Column("Value", is_wide=True),
    Column("Limit", is_wide=True),
)


def reasons(board: Board) -> str:
    """Return what was cut or refused last, and by which rule."""
    rows = (_reason(told, board) for told in board.reasons)
    return section("Cuts and refusals", table(_REASONS, rows, "Nothing was cut or refused."))


def _reason(told: Told, board: Board) -> tuple[str, ...]:
    return (
        stamp(told.ts_us, now_us=board.clock_us),
        symbol(told.symbol) if told.symbol else "account",
        f"{words(told.action)}: {words(told.rule)}",
        words(told.stage),
        _plain(told.value),
        _plain(told.limit),
    )


_SCORES = (
    Column("Target", is_text=True),
    Column("Wanted", is_wide=True),
    Column("Result"),
    Column("State", is_text=True),
    Column("Why", is_text=True, is_wide=True),
)


def scorecard(board: Board) -> str:
    """Return the system's targets against what became of them."""
    rows = (
        (
            f'{escape(s.name)} <small class="narrow">{escape(s.target)}</small>',
            escape(s.target),
            escape(s.result),
            mark(s.state, s.verdict),
            f'<span class="why">{escape(s.reason)}</span>',
        )
        for s in board.scores
    )
    met = sum(s.state is State.GOOD for s in board.scores)
    aside = f"{met} of {len(board.scores)} met" if board.scores else ""
    body = table(_SCORES, rows, "No target was measured so far.")
    if board.unscored:
        body += sentence(f"Not measured the last time: {board.unscored}.")
    return section("Scorecard", body, aside=aside)


_LOG = (
    Column("Time", is_text=True),
    Column("Kind", is_text=True),
    Column("Who", is_text=True, is_wide=True),
    Column("What", is_text=True),
)


def log(board: Board) -> str:
    """Return the log of interventions, errors and differences, the newest first."""
    rows = (_entry(entry, board) for entry in board.log)
    return section("Log", table(_LOG, rows, "Nobody had to intervene."))


def _entry(entry: Entry, board: Board) -> tuple[str, ...]:
    of = f"{symbol(entry.symbol)} " if entry.symbol else ""
    return (
        stamp(entry.ts_us, now_us=board.clock_us),
        mark(entry.state, entry.kind),
        words(entry.source),
        f'{of}<span class="why">{escape(entry.text)}</span>',
    )


def _plain(value: float) -> str:
    return f"{value:,.4g}" if known(value) else MISSING
