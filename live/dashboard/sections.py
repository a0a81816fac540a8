"""The page's sections as HTML, each a pure function of the board; what matters first comes first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape
from types import MappingProxyType

from live.dashboard.board import (
    Board,
    Entry,
    Gauge,
    Holding,
    OpenOrder,
    State,
    Told,
    Traded,
    Weight,
)
from live.dashboard.headline import headline, masthead
from live.dashboard.pieces import (
    Column,
    bar,
    chance,
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
    Column("Quantity"),
    Column("Entry"),
    Column("Mark"),
    Column("Profit, USDT", place="top"),
    Column("Leverage"),
    Column("To liquidation", short="Liquidation"),
    Column("Chance, 24 h", short="in 24 h"),
    Column("Protective stop", place="last"),
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
    """Return the open orders, those that protect last; a finished run has none to show."""
    if not board.is_live:
        return ""
    ordered = sorted(board.orders, key=lambda o: (o.protects, o.symbol, o.sent_us))
    stops = sum(o.protects for o in ordered)
    aside = f"{plural(len(ordered) - stops, 'order')}, {plural(stops, 'protective stop')}"
    body = table(_ORDERS, (_order(o, board) for o in ordered), "No order is open.")
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


def limits(board: Board) -> str:
    """Return every limit as a gauge, the most used first."""
    ordered = sorted(board.gauges, key=lambda g: -g.used if known(g.used) else 0.0)
    body = "".join(map(_gauge, ordered)) or sentence("This account has no limits.")
    level = board.level
    state = {"normal": State.GOOD, "reduce": State.WATCH}.get(level, State.BAD)
    return section("Limits", f'<div class="gauges">{body}</div>', aside=mark(state, level))


def _gauge(g: Gauge) -> str:
    told = _unit(g)
    return (
        f'<div class="gauge" title="{escape(g.explained)}"><div class="row"><span>{escape(g.name.capitalize())}</span>'
        f"<span>{told(g.value)} <small>of {told(g.limit)}</small></span></div>{bar(g.used, state=g.state)}</div>"
    )


def _unit(g: Gauge) -> Callable[[float], str]:
    if g.unit == "times":
        return times
    return chance if g.limit < 0.01 else lambda value: percent(value, decimals=1)


def exposure(board: Board) -> str:
    """Return what each symbol is as a share of equity, and what it is wanted to be."""
    ordered = sorted(board.targets, key=lambda w: -max(_abs(w.held), _abs(w.wanted)))
    rows = "".join(_weight(w, _most(board)) for w in ordered)
    aside = f"gross {money(board.gross)} · net {money(board.net, signed=True)} USDT"
    body = f'<div class="weights">{rows}</div>' if rows else sentence("Nothing is held or wanted.")
    return section("Exposure", body, aside=escape(aside) if known(board.gross) else "")


def _most(board: Board) -> float:
    return max((max(_abs(w.held), _abs(w.wanted)) for w in board.targets), default=0.0) or 1.0


def _abs(value: float) -> float:
    return abs(value) if known(value) else 0.0


def _weight(w: Weight, most: float) -> str:
    """Return a share of equity as a bar to the left or the right, and a tick where it is wanted to be."""
    held = w.held if known(w.held) else 0.0
    width = 50.0 * abs(held) / most
    left = 50.0 if held >= 0.0 else 50.0 - width
    look = "long" if held >= 0.0 else "short"
    tick = f'<u style="left:{50.0 + 50.0 * w.wanted / most:.1f}%"></u>' if known(w.wanted) else ""
    wanted = f"wanted {percent(w.wanted, signed=True)}"
    return (
        f'<div class="weight" title="{escape(wanted)}">{symbol(w.name)}<div class="span"><i class="{look}" '
        f'style="left:{left:.1f}%;width:{width:.1f}%"></i>{tick}</div><span>{percent(held, signed=True)}</span></div>'
    )


def signals(board: Board) -> str:
    """Return the market's regime and how much each strategy counts."""
    groups = (("Regime", board.regimes), ("Strategies", board.strategies))
    body = "".join(
        f"<h3>{name}</h3>{''.join(_part(w.name, w.held) for w in parts)}"
        for name, parts in groups
        if parts
    )
    told = f'<span class="pill">{words(board.regime or "one regime")}</span>'
    return section("Regime and strategies", body or sentence("Not kept."), aside=told)


def _part(name: str, value: float) -> str:
    return (
        f'<div class="gauge"><div class="row"><span>{words(name)}</span><span>{percent(value)}</span></div>'
        f"{bar(value, state=State.GOOD)}</div>"
    )


def costs(board: Board) -> str:
    """Return what trading earned and cost."""
    rows = "".join(
        f'<div class="row" title="{escape(a.text)}"><span>{escape(a.name)}</span>'
        f"<span>{gain(money(a.amount, signed=True), a.amount)}</span></div>"
        for a in board.costs
    )
    body = f'<div class="amounts">{rows}</div>' if rows else sentence("Nothing was paid so far.")
    return section("Profit and costs", body, aside="USDT, since the start")


def streams(board: Board) -> str:
    """Return how data and streams are; a finished run has none."""
    if not board.is_live:
        return ""
    rows = "".join(
        f'<div class="row"><span>{mark(c.state, c.name)}</span><span>{escape(c.text)}</span></div>'
        for c in board.streams
    )
    body = f'<div class="amounts">{rows}</div>' if rows else sentence("Nothing was heard so far.")
    return section("Data and streams", body)


_SCORES = (
    Column("Target", is_text=True),
    Column("Wanted"),
    Column("Result"),
    Column("State", is_text=True),
    Column("Why", is_text=True, is_wide=True),
)


def scorecard(board: Board) -> str:
    """Return the system's targets against what became of them."""
    rows = (
        (
            escape(s.name),
            escape(s.target),
            escape(s.result),
            mark(s.state, s.verdict),
            f'<span class="why">{escape(s.reason)}</span>',
        )
        for s in board.scores
    )
    met = sum(s.state is State.GOOD for s in board.scores)
    aside = f"{met} of {len(board.scores)} met" if board.scores else ""
    return section("Scorecard", table(_SCORES, rows, "No target was measured so far."), aside=aside)


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


SECTIONS: Mapping[str, Callable[[Board], str]] = MappingProxyType(
    {
        "masthead": masthead,
        "headline": headline,
        "positions": positions,
        "limits": limits,
        "exposure": exposure,
        "orders": orders,
        "fills": fills,
        "signals": signals,
        "costs": costs,
        "streams": streams,
        "reasons": reasons,
        "scorecard": scorecard,
        "log": log,
    }
)
"""By name; each is sent to a reader only when it differs from what he has."""


def _plain(value: float) -> str:
    return f"{value:,.4g}" if known(value) else MISSING
