"""Numbers as people read them, and the few pieces of HTML that the report repeats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import pandas as pd

MISSING, MINUS, TIMES = "\u2013", "\u2212", "\u00d7"
"""A dash for no number, the minus sign and the multiplication sign."""


def money(value: float | None, *, signed: bool = False, decimals: int = 2) -> str:
    """Return USDT with thousands separators, without the unit; a dash where there is no number.

    Examples
    --------
    >>> money(1234.5, signed=True)
    '+1,234.50'
    """
    return _number(value, f",.{decimals}f", signed=signed)


def percent(value: float | None, *, signed: bool = False, decimals: int = 1) -> str:
    """Return a fraction as per cent; a dash where there is no number.

    Examples
    --------
    >>> percent(0.1234, signed=True)
    '+12.3 %'
    """
    scaled = None if value is None else 100.0 * value
    text = _number(scaled, f",.{decimals}f", signed=signed)
    return text if text == MISSING else f"{text} %"


def share(value: float | None, *, signed: bool = False) -> str:
    """Return a fraction as per cent with one decimal, two below 1 %; a dash where there is no number.

    Examples
    --------
    >>> share(0.1234), share(0.0009), share(-0.00001), share(0.0)
    ('12.3 %', '0.09 %', '0.00 %', '0.0 %')
    """
    small = value is not None and 0.0 < abs(value) < 0.01
    return percent(value, signed=signed, decimals=2 if small else 1)


def ratio(value: float | None, *, signed: bool = False, decimals: int = 2) -> str:
    """Return a dimensionless number; a dash where there is none."""
    return _number(value, f",.{decimals}f", signed=signed)


def whole(value: float | None) -> str:
    """Return a count with thousands separators; a dash where there is none."""
    return _number(value, ",.0f", signed=False)


def toned(text: str, value: float | None) -> str:
    """Return escaped text, in the colour of losses where the value is negative; the sign says it too."""
    lost = value is not None and value < 0.0 and not is_zero(text)
    return f'<span class="loss">{escape(text)}</span>' if lost else escape(text)


def tile(name: str, value: str, aside: str) -> str:
    """Return one headline number with its name above and its context beneath."""
    return (
        f'<div class="tile"><div class="name">{escape(name)}</div>'
        f'<div class="value">{value}</div><div class="aside">{escape(aside)}</div></div>'
    )


def tiles(items: Iterable[str], *, small: bool = False) -> str:
    """Return a grid of tiles."""
    return f'<div class="tiles{" small" if small else ""}">{"".join(items)}</div>'


def chart(name: str, **state: str) -> str:
    """Return the place of a figure; `state` are the switches' values at the start, such as ``scale="log"``."""
    kept = "".join(f' data-{key}="{escape(value)}"' for key, value in state.items())
    return f'<div class="chart" id="{escape(name)}"{kept}></div>'


def switch(name: str, key: str, label: str, buttons: Iterable[tuple[str, str, str]]) -> str:
    """Return buttons of which one is chosen, for a figure's state `key`.

    Parameters
    ----------
    name, key : str
        The figure and what of it is switched.
    label : str
        For readers who do not see the group.
    buttons : iterable of tuple of str
        Value, text, and the scale that it begins with (empty: as it is).
    """
    made = "".join(
        f'<button type="button" data-value="{value}" data-begin="{begin}">{escape(text)}</button>'
        for value, text, begin in buttons
    )
    return (
        f'<div class="switch" data-chart="{escape(name)}" data-key="{key}" role="group" '
        f'aria-label="{escape(label)}">{made}</div>'
    )


def pair(*items: tuple[str, str]) -> str:
    """Return headed pieces of HTML side by side."""
    return f'<div class="pair">{"".join(f"<div><h3>{escape(h)}</h3>{b}</div>" for h, b in items)}</div>'


def sentence(text: str) -> str:
    """Return a sentence that stands where a figure or table would be empty."""
    return f'<p class="empty">{escape(text)}</p>'


def listed(notes: Iterable[str]) -> str:
    """Return sentences as a list."""
    return f'<ul class="notes">{"".join(f"<li>{escape(n)}</li>" for n in notes)}</ul>'


def stacked(head: Sequence[str], rows: Iterable[str], *, text: Sequence[int]) -> str:
    """Return a table whose rows, HTML already, become short blocks on a narrow screen."""
    cells = "".join(
        f'<th class="text">{name}</th>' if i in text else f"<th>{name}</th>"
        for i, name in enumerate(head)
    )
    top = f"<thead><tr>{cells}</tr></thead>"
    return f'<div class="scroll"><table class="stack">{top}<tbody>{"".join(rows)}</tbody></table></div>'


def section(title: str, lead: str, *body: str, aside: str = "") -> str:
    """Return a section with a heading and one sentence that says what it shows."""
    heading = f'<div class="head"><h2>{escape(title)}</h2>{aside}</div>'
    told = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f"<section>{heading}{told}{''.join(body)}</section>"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text: Sequence[int] = (0,),
    total: Sequence[str] | None = None,
) -> str:
    """Return a table of cells that are HTML already.

    Parameters
    ----------
    head : sequence of str
        Column names, plain text.
    rows : iterable of sequence of str
        Cells, HTML.
    text : sequence of int
        Columns that are aligned to the left.
    total : sequence of str or None
        A last row that stands out.
    """
    left = set(text)

    def cells(tag: str, items: Sequence[str]) -> str:
        made = (
            f'<{tag} class="text">{c}</{tag}>' if i in left else f"<{tag}>{c}</{tag}>"
            for i, c in enumerate(items)
        )
        return "".join(made)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    if total is not None:
        body += f'<tr class="total">{cells("td", total)}</tr>'
    top = cells("th", [escape(name) for name in head])
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "round trip"), plural(2, "round trip")
    ('1 round trip', '2 round trips')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def is_zero(text: str) -> bool:
    """Return whether a number, as it was written, shows no digit but zero.

    Examples
    --------
    >>> is_zero("0.00 %"), is_zero("0.01 %")
    (True, False)
    """
    return any(c.isdigit() for c in text) and not any(c in "123456789" for c in text)


def day(stamp: Any) -> str:
    """Return the day of a stamp, as ``2024-06-01``."""
    return f"{pd.Timestamp(stamp):%Y-%m-%d}"


def words(name: str) -> str:
    """Return a name of code as people read it.

    Examples
    --------
    >>> words("below_step")
    'Below step'
    """
    return name.replace("_", " ").capitalize()


def known(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return value is not None and math.isfinite(value)


def _number(value: float | None, form: str, *, signed: bool) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    text = format(value, form)
    if not text.strip("-0.,"):
        return text.lstrip("-")
    if signed and value > 0.0:
        text = f"+{text}"
    return text.replace("-", MINUS)
