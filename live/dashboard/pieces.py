"""Small pieces of HTML that the sections are made of; every text of others is escaped here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

from live.dashboard.board import State
from quantcore.backtest.markup import MISSING, TIMES, is_zero, known, percent, ratio, sentence
from quantcore.timegrid import DAY_US

MANY = 6
"""Rows of one kind from which on a reader wants to see less of each."""


class Column(NamedTuple):
    """A column of a table: its name, whether it is text, whether a narrow screen leaves it out, and its place there."""

    name: str
    is_text: bool = False
    is_wide: bool = False
    place: str = ""
    """In a card: ``"top"`` beside the first cell, ``"last"`` in the corner, ``"rest"`` only where cards are few."""
    short: str = ""
    """Its name in a card, where there is less room."""


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], empty: str, *, cards: bool = False
) -> str:
    """Return a table of cells that are HTML already, or a sentence where there is no row.

    Parameters
    ----------
    columns : sequence of Column
        Their names are plain text.
    rows : iterable of sequence of str
        Cells, HTML.
    empty : str
        Said instead of an empty table.
    cards : bool
        Whether a narrow screen shows each row as a card with the columns' names, instead of leaving columns out; more
        than `MANY` cards are smaller ones.
    """
    looks = [
        " ".join(filter(None, ("text" * c.is_text, "wide" * c.is_wide, c.place))) for c in columns
    ]
    names = [escape(column.name) for column in columns]
    shorts = [escape(column.short or column.name) for column in columns]
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{look}" data-name="{name}">{cell}</td>'
            for look, name, cell in zip(looks, shorts, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    if not body:
        return sentence(empty)
    pairs = zip(looks, names, strict=True)
    head = "".join(f'<th class="{look}">{name}</th>' for look, name in pairs)
    kind = ""
    if cards:
        kind = f' class="cards{" dense" if body.count("<tr>") > MANY else ""}"'
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def section(title: str, body: str, *, aside: str = "") -> str:
    """Return a section with its heading; `aside`, HTML, stands at the heading's end."""
    told = f'<div class="aside">{aside}</div>' if aside else ""
    return f'<section><div class="head"><h2>{escape(title)}</h2>{told}</div>{body}</section>'


def folded(name: str, summary: str, body: str) -> str:
    """Return what a reader may unfold; the page's script keeps by its name what is unfolded."""
    return f'<details data-fold="{name}"><summary>{escape(summary)}</summary>{body}</details>'


def mark(state: State, text: str) -> str:
    """Return a word with the sign of its state, which colour-blind readers tell apart as well."""
    return f'<span class="mark {state.value}">{escape(text)}</span>'


def price(value: float) -> str:
    """Return a price with six digits that count, a dash where there is none."""
    if not known(value):
        return MISSING
    decimals = 5 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:,.{min(max(decimals, 0), 8)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float) -> str:
    """Return coins as they are counted, a dash where there is no number."""
    return f"{value:,.10g}" if known(value) else MISSING


def gain(text: str, value: float) -> str:
    """Return a number in the colour of gains or losses; its sign says it too."""
    if not known(value) or value == 0.0 or is_zero(text):
        return escape(text)
    return f'<span class="{"gain" if value > 0.0 else "loss"}">{escape(text)}</span>'


def symbol(name: str) -> str:
    """Return a symbol with its quote currency less loud."""
    if name.endswith("USDT") and len(name) > 4:
        return f'<b class="symbol">{escape(name[:-4])}<small>USDT</small></b>'
    return f'<b class="symbol">{escape(name)}</b>'


def side(name: str) -> str:
    """Return ``buy`` or ``sell`` in its colour."""
    return f'<span class="{"gain" if name == "buy" else "loss"}">{escape(name)}</span>'


def stamp(ts_us: int, *, now_us: int) -> str:
    """Return a time: without its day on the day of now, without its year in its year; all of it in the title."""
    at = datetime.fromtimestamp(ts_us / 1e6, UTC)
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    if ts_us // DAY_US == now_us // DAY_US:
        text = f"{at:%H:%M:%S}"
    elif at.year == now.year:
        text = f"{at.day} {at:%b %H:%M}"
    else:
        text = f"{at:%Y-%m-%d %H:%M}"
    return f'<span class="stamp" title="{at:%Y-%m-%d %H:%M:%S} UTC">{text}</span>'


def bar(used: float, *, state: State) -> str:
    """Return a horizontal bar that is filled by a share; what is over the whole is a full one."""
    width = 0.0 if math.isnan(used) else 100.0 * min(max(used, 0.0), 1.0)
    return f'<div class="bar {state.value}"><i style="width:{width:.1f}%"></i></div>'


def words(name: str) -> str:
    """Return a name of code as people read it, escaped: ``post_only_would_cross`` as ``post only would cross``."""
    return escape(name.replace("_", " "))


def times(value: float) -> str:
    """Return a multiple, such as of equity."""
    text = ratio(value)
    return text if text == MISSING else f"{text} {TIMES}"


def chance(value: float) -> str:
    """Return a small probability."""
    if not known(value):
        return MISSING
    return "< 0.01 %" if 0.0 < value < 1e-4 else percent(value, decimals=2)
