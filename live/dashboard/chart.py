"""Equity and drawdown as a picture: vectors made here, so that a phone has nothing to compute."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from html import escape

import numpy as np

from live.dashboard.board import Curve
from quantcore.backtest.markup import money, percent, sentence
from quantcore.plots import thin
from quantcore.timegrid import DAY_US, HOUR_US
from quantcore.types import FloatArray, IntArray

POINTS = 700
"""To which a curve is thinned, its peaks and troughs kept: about two to a pixel column of a phone."""
WIDTH, HEIGHT, UNDER = 1000, 300, 90
"""Of the pictures, in units of their own; the page stretches them."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def chart(curve: Curve) -> str:
    """Return the curve with the drawdown beneath; what a reader points at is told by the page's script."""
    known = np.flatnonzero(np.isfinite(curve.equity) & np.isfinite(curve.drawdown))
    if len(known) < 2:
        return sentence("The curve begins with the second closed bar.")
    halves = (thin(column[known], points=POINTS // 2) for column in (curve.equity, curve.drawdown))
    rows = known[np.union1d(*halves)]
    ts_us, equity, drawdown = curve.ts_us[rows], curve.equity[rows], curve.drawdown[rows]
    x = (ts_us - ts_us[0]) / max(int(ts_us[-1] - ts_us[0]), 1)
    low, high = float(equity.min()), float(equity.max())
    room = 0.04 * (high - low) or 0.01 * abs(high) or 1.0
    low, high = low - room, high + room
    deepest = min(float(drawdown.min()), -1e-4)
    return (
        f'<figure class="chart" data-points="{escape(_points(ts_us, equity, drawdown))}">'
        f"{_above(x, equity, low, high)}{_under(x, drawdown, deepest)}{_times(ts_us)}"
        '<div class="cross" hidden></div><div class="tip" hidden></div></figure>'
    )


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return round numbers between two, about so many.

    Examples
    --------
    >>> ticks(0.0, 10.0, 4)
    [0.0, 2.5, 5.0, 7.5, 10.0]
    """
    span = high - low
    if not span > 0.0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next((s * power for s in _STEPS if s * power * count >= span), 10.0 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _above(x: FloatArray, equity: FloatArray, low: float, high: float) -> str:
    line = _line(x, 1.0 - (equity - low) / (high - low), HEIGHT)
    marks = ticks(low, high, 4)
    digits = 0 if high - low > 20.0 else 2
    rules = "".join(_rule((high - value) / (high - low), HEIGHT) for value in marks)
    labels = "".join(
        _label((high - value) / (high - low), money(value, decimals=digits)) for value in marks
    )
    area = f"0,{HEIGHT} {line} {WIDTH},{HEIGHT}"
    return (
        f'<div class="plot above"><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="Equity over time">{rules}<polygon class="area" points="{area}"/>'
        f'<polyline class="line" points="{line}"/></svg>{labels}</div>'
    )


def _under(x: FloatArray, drawdown: FloatArray, deepest: float) -> str:
    line = _line(x, drawdown / deepest, UNDER)
    return (
        f'<div class="plot under"><svg viewBox="0 0 {WIDTH} {UNDER}" preserveAspectRatio="none" role="img" '
        f'aria-label="Drawdown over time"><polygon class="fall" points="0,0 {line} {WIDTH},0"/>'
        f'<polyline class="low" points="{line}"/></svg>{_label(1.0, percent(deepest, decimals=2))}</div>'
    )


def _line(x: FloatArray, y: FloatArray, height: int) -> str:
    """Return points whose vertical place is a share of the height, from above."""
    pairs = zip((x * WIDTH).tolist(), (y * height).tolist(), strict=True)
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in pairs)


def _rule(share: float, height: int) -> str:
    y = f"{share * height:.1f}"
    return f'<line class="rule" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>'


def _label(share: float, text: str) -> str:
    return f'<span class="y" style="top:{100.0 * share:.2f}%">{escape(text)}</span>'


def _times(ts_us: IntArray) -> str:
    first, last = int(ts_us[0]), int(ts_us[-1])
    form = _form(last - first)
    places = [first + (last - first) * n // 4 for n in range(5)]
    names = [datetime.fromtimestamp(place / 1e6, UTC).strftime(form) for place in places]
    once = (name * (name not in names[:n]) for n, name in enumerate(names))
    return f'<div class="times">{"".join(f"<span>{name}</span>" for name in once)}</div>'


def _form(span_us: int) -> str:
    if span_us < 36 * HOUR_US:
        return "%H:%M"
    return "%-d %b" if span_us < 300 * DAY_US else "%b %Y"


def _points(ts_us: IntArray, equity: FloatArray, drawdown: FloatArray) -> str:
    """Return what the page's script tells of a point: seconds, USDT, per cent."""
    pairs = zip(
        (ts_us // 1_000_000).tolist(), equity.tolist(), (100.0 * drawdown).tolist(), strict=True
    )
    told = [[t, round(e, 2), round(d, 2)] for t, e, d in pairs]
    return json.dumps(told, separators=(",", ":"))
