"""How much of what there is, as bars and sums: each section a pure function of the board."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from live.dashboard.board import Board, Gauge, State, Weight
from live.dashboard.pieces import bar, chance, gain, mark, section, symbol, times, words
from quantcore.backtest.markup import known, money, percent, sentence


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
