"""The top of the page: whose account it is, and what matters at one glance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from types import MappingProxyType

from live.dashboard.board import Board, Check, State
from live.dashboard.pieces import chance, gain, mark, times
from quantcore.backtest.markup import known, money, percent
from quantcore.timegrid import DAY_US

_ARROWS = ("▼", "■", "▲")
_SAID = MappingProxyType(
    {
        State.GOOD: "All is well",
        State.WATCH: "Worth a look",
        State.BAD: "Needs you",
        State.UNKNOWN: "Not known",
    }
)
_RANK = (State.BAD, State.WATCH, State.UNKNOWN, State.GOOD)
_CENT = 0.005
"""USDT below which nothing has changed."""


def masthead(board: Board) -> str:
    """Return whose account it is, and what time it has."""
    pills = [f'<span class="pill mode {escape(board.kind)}">{escape(board.kind)}</span>']
    if board.is_live and not board.runs:
        pills.append('<span class="pill bad">not running</span>')
    when = "clock" if board.is_live else "ended"
    facts = (f"{when} {_full(board.clock_us)}", f"since {_begun(board)}", *board.facts)
    return (
        f'<div class="who"><h1>{escape(board.name)}</h1>{"".join(pills)}</div>'
        f'<p class="facts">{" · ".join(map(escape, facts))}</p>'
    )


def headline(board: Board) -> str:
    """Return what matters at one glance: equity, today's change, whether all is well, drawdown."""
    amount, fraction = board.curve.change(0.0 if board.is_live else None)
    arrow = _ARROWS[1 + (amount > _CENT) - (amount < -_CENT)]
    moved = f"{arrow} {money(amount, signed=True)} ({percent(fraction, signed=True, decimals=2)})"
    return (
        '<div class="hero"><div class="equity"><div class="name">Equity, USDT</div>'
        f'<div class="big">{escape(money(_equity(board)))}</div><div class="change">{gain(moved, amount)} '
        f"<small>{'today' if board.is_live else 'in all'}</small></div></div>{_well(board)}</div>"
        f'<div class="tiles">{"".join(_tiles(board))}</div>'
    )


def worst(checks: tuple[Check, ...]) -> State:
    """Return the worst state of some checks, unknown without any."""
    return next((s for s in _RANK if any(c.state is s for c in checks)), State.UNKNOWN)


def _well(board: Board) -> str:
    """Return whether all is well: what is not in words, the rest by name."""
    state = worst(board.checks)
    loud = [check for check in board.checks if check.state is not State.GOOD]
    calm = " · ".join(check.name for check in board.checks if check.state is State.GOOD)
    verdict = f'<p class="calm">{escape(board.verdict)}</p>' if board.verdict else ""
    lines = "".join(
        f'<p class="check">{mark(check.state, check.name)} {escape(check.text)}</p>'
        for check in sorted(loud, key=lambda check: _RANK.index(check.state))
    )
    quiet = f'<p class="calm">{mark(State.GOOD, calm)}</p>' if calm else ""
    look, said = (state.value, _SAID[state]) if board.is_live else ("over", "A finished run")
    return f'<div class="well {look}"><div class="said">{said}</div>{verdict}{lines}{quiet}</div>'


def _tiles(board: Board) -> Iterator[str]:
    curve, equity = board.curve, _equity(board)
    yield _drawdown(board)
    for name, days in (("7 days", 7.0), ("Since the start", None)):
        amount, fraction = curve.change(days)
        share = gain(percent(fraction, signed=True, decimals=2), fraction)
        yield _tile(name, share, f"{money(amount, signed=True)} USDT")
    profit = sum(h.profit for h in board.holdings if known(h.profit))
    yield _tile("Open profit", gain(money(profit, signed=True), profit), "USDT, not realised")
    longs = sum(h.qty > 0.0 for h in board.holdings)
    shorts = len(board.holdings) - longs
    yield _tile("Positions", str(len(board.holdings)), f"{longs} long, {shorts} short")
    gross, net = (
        value / equity if equity > 0.0 else math.nan for value in (board.gross, board.net)
    )
    yield _tile("Leverage", times(gross), f"net {times(net)}")
    at_risk = board.daily_var
    yield _tile("VaR, 1 day", percent(at_risk, decimals=2), f"{money(at_risk * equity)} USDT")
    yield _tile("Liquidation, 24 h", chance(board.liquidation_chance), "of the account")


def _tile(name: str, value: str, more: str) -> str:
    """Return a number, HTML already, with its name and what else is to be known of it."""
    return (
        f'<div class="tile"><div class="name">{escape(name)}</div><div class="value">{value}</div>'
        f'<div class="more">{escape(more)}</div></div>'
    )


def _drawdown(board: Board) -> str:
    """Return the drawdown, loud only near its limit: every account is below its peak most of the time."""
    drawdown = board.curve.drawdown
    now = float(drawdown[-1]) if len(drawdown) else math.nan
    gauge = next((g for g in board.gauges if g.name == "drawdown"), None)
    told = percent(now, decimals=2)
    value = escape(told) if gauge is None or gauge.state is State.GOOD else gain(told, now)
    more = f"maximum {percent(float(drawdown.min()), decimals=1)}" if len(drawdown) else ""
    if board.is_live and gauge is not None and known(gauge.limit):
        more = f"stopped at {percent(-gauge.limit, decimals=0)}"
    return _tile("Drawdown", value, more)


def _equity(board: Board) -> float:
    return float(board.curve.equity[-1]) if len(board.curve.equity) else math.nan


def _begun(board: Board) -> str:
    """Return when the account began: a day, on the first day the minute."""
    told = _full(board.begun_us)
    return told[11:16] if board.clock_us - board.begun_us < DAY_US else told[:10]


def _full(ts_us: int) -> str:
    return f"{datetime.fromtimestamp(ts_us / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"
