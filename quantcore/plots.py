"""Figures as plain dicts of plotly's `data` and `layout`: quick to build for the report, real figures in a notebook.

Colours are tokens such as ``"@accent"``; `themed` and the report's page replace them by a palette, so that one
figure serves light and dark pages. Gains and losses differ in hue that colour-blind readers tell apart, and in
symbol or sign.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from quantcore.timegrid import index_us
from quantcore.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Spec: TypeAlias = dict[str, Any]
Span: TypeAlias = tuple["pd.Timestamp", "pd.Timestamp"]
"""A figure: ``{"data": [...], "layout": {...}}`` in plotly's own words."""

PALETTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "light": MappingProxyType(
            {
                "page": "#ffffff",
                "raised": "#f6f7f9",
                "ink": "#14181f",
                "muted": "#5c6675",
                "line": "#dfe3e8",
                "grid": "#eceff3",
                "accent": "#1f5fbf",
                "accent-soft": "rgba(31,95,191,0.12)",
                "loss": "#c2570c",
                "loss-soft": "rgba(194,87,12,0.14)",
                "second": "#8a94a3",
                "teal": "#0f857b",
                "violet": "#7d55b8",
                "amber": "#c08a00",
            }
        ),
        "dark": MappingProxyType(
            {
                "page": "#101318",
                "raised": "#181c23",
                "ink": "#e8ebf0",
                "muted": "#9aa4b2",
                "line": "#2b313b",
                "grid": "#222831",
                "accent": "#6ea8fe",
                "accent-soft": "rgba(110,168,254,0.16)",
                "loss": "#f0974f",
                "loss-soft": "rgba(240,151,79,0.18)",
                "second": "#7f8a9a",
                "teal": "#4cc3b7",
                "violet": "#b497ea",
                "amber": "#e5b94a",
            }
        ),
    }
)
"""Colours of the report's page by theme and token."""

NEUTRAL: Mapping[str, str] = MappingProxyType(
    {
        "page": "rgba(0,0,0,0)",
        "raised": "#ffffff",
        "ink": "#757b85",
        "muted": "#7b818b",
        "line": "rgba(128,128,128,0.4)",
        "grid": "rgba(128,128,128,0.18)",
        "accent": "#3b7dd8",
        "accent-soft": "rgba(59,125,216,0.16)",
        "loss": "#d4631c",
        "loss-soft": "rgba(212,99,28,0.18)",
        "second": "#8a94a3",
        "teal": "#0f8f85",
        "violet": "#9068cc",
        "amber": "#b07d00",
    }
)
"""Colours for a page whose theme nobody knows, such as a notebook's: text has a contrast of 3.9 or more on white and
on the dark grey of JupyterLab and VS Code, lines of 3 or more."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
HOLDING_LIMITS = (
    (0.25, "15 min"),
    (1.0, "1 h"),
    (4.0, "4 h"),
    (12.0, "12 h"),
    (24.0, "1 d"),
    (72.0, "3 d"),
    (168.0, "7 d"),
    (720.0, "30 d"),
)
"""Upper limits in hours of the bars of `durations`, with their names."""

LOG_FROM = 3.0
"""Times the account's range from which a benchmark's asks for a logarithmic axis."""

LIQUIDATION_SHOWN = 0.5
"""Peak of the margin ratio from which its chart reaches up to liquidation at 1."""

TICKS = 7
"""Labels of an axis, at most about."""

POINTS = 1600
"""Points to which a curve is thinned: about two to a pixel column of the page."""


def figure(spec: Spec, *, theme: str = "light") -> Figure:
    """Return a spec as a plotly figure, for notebooks; imports plotly only here."""
    import plotly.graph_objects as go

    return go.Figure(themed(spec, theme))


def themed(spec: Any, theme: str) -> Any:
    """Return a copy of a spec with its colour tokens replaced by a palette's: light, dark, or neutral for either page.

    Raises
    ------
    ValueError
        If there is no such theme.
    """
    palettes = {**PALETTES, "neutral": NEUTRAL}
    if theme not in palettes:
        raise ValueError(f"theme must be one of {sorted(palettes)}, was {theme!r}")
    return _replaced(spec, palettes[theme])


def thin(values: FloatArray, *, points: int) -> IntArray:
    """Return the rows to draw of a long curve, so that every peak and trough stays visible.

    Parameters
    ----------
    values : float64 array, shape (n_rows,)
        The curve; NaN is never an extreme.
    points : int
        Rows to keep at most, about; >= 4.

    Returns
    -------
    int64 array, shape (n_kept,)
        Increasing row numbers: the lowest and highest row of each of ``points / 2`` stretches, the first and the last.
    """
    n = len(values)
    if n <= points:
        return np.arange(n, dtype=np.int64)
    stretches = max(points // 2 - 1, 1)
    size = -(-n // stretches)
    padded = np.full(size * stretches, np.nan)
    padded[:n] = values
    cells = padded.reshape(stretches, size)
    offsets = np.arange(stretches) * size
    lowest = np.where(np.isnan(cells), np.inf, cells).argmin(axis=1) + offsets
    highest = np.where(np.isnan(cells), -np.inf, cells).argmax(axis=1) + offsets
    rows = np.unique(np.concatenate([lowest, highest, [0, n - 1]]))
    return np.asarray(rows[rows < n], dtype=np.int64)


def equity_curve(
    index: pd.DatetimeIndex,
    equity: FloatArray,
    drawdown: FloatArray,
    benchmark: FloatArray,
    *,
    benchmark_name: str,
    wild: Sequence[Span] = (),
) -> Spec:
    """Return the equity curve with a benchmark above, and the drawdown beneath.

    The axis is logarithmic where the benchmark's range is over `LOG_FROM` times the account's, which a linear one
    would press into a flat line. The benchmark's trace has the name ``benchmark`` in ``meta``.

    Parameters
    ----------
    index : DatetimeIndex, shape (n_rows,)
        Stamps.
    equity, benchmark : float64 array, shape (n_rows,)
        USDT from the same start; an all-NaN benchmark is left out.
    drawdown : float64 array, shape (n_rows,)
        Fraction, <= 0.
    benchmark_name : str
        For the legend.
    wild : sequence of Span
        Times of a wild market, shaded.
    """
    data = []
    if np.isfinite(benchmark).any():
        data.append(_line(index, benchmark, benchmark_name, "@second", width=1.2))
        data[-1]["meta"] = "benchmark"
    data.append(_line(index, equity, "Account", "@accent", width=1.8))
    under = _line(index, 100.0 * drawdown, "Drawdown", "@loss", width=1.0)
    data.append(under | {"yaxis": "y2", "fill": "tozeroy", "fillcolor": "@loss-soft"})
    layout = _layout(440, "USDT", legend=True)
    scale = "log" if _dwarfs(benchmark, equity) else "linear"
    layout["yaxis"] |= {"domain": [0.34, 1.0], "type": scale, "tickformat": ",~f"}
    layout["meta"] = {"log_ticks": _log_ticks(np.concatenate([equity, benchmark]))}
    if scale == "log":
        layout["yaxis"]["tickvals"] = layout["meta"]["log_ticks"]
    layout["yaxis2"] = _axis("Drawdown, %") | {"domain": [0.0, 0.26], "rangemode": "tozero"}
    layout["xaxis"] |= {"anchor": "y2"}
    layout["shapes"] = shaded(wild, "@accent-soft")
    for trace in data[:-1]:
        trace["hovertemplate"] = "%{y:,.2f} USDT"
    data[-1]["hovertemplate"] = "%{y:.2f} %"
    return {"data": data, "layout": layout}


def exposure(index: pd.DatetimeIndex, gross: FloatArray, net: FloatArray) -> Spec:
    """Return gross and net exposure over time, both in multiples of equity."""
    above = _line(index, gross, "Gross", "@second", width=1.0)
    data = [
        above | {"fill": "tozeroy", "fillcolor": "@accent-soft"},
        _line(index, net, "Net", "@accent", width=1.4),
    ]
    for trace in data:
        trace["hovertemplate"] = "%{y:.2f}\u00d7"
    return {"data": data, "layout": _layout(260, "Multiple of equity, \u00d7", legend=True)}


def margin_ratio(index: pd.DatetimeIndex, ratio: FloatArray) -> Spec:
    """Return the margin ratio (maintenance margin over margin balance), with the liquidation line where it is near.

    The axis follows the data: a peak under `LIQUIDATION_SHOWN` leaves liquidation at 1 outside.
    """
    trace = _line(index, ratio, "Margin ratio", "@accent", width=1.2)
    trace |= {"fill": "tozeroy", "fillcolor": "@accent-soft", "hovertemplate": "%{y:.3f}"}
    layout = _layout(260, "Maintenance margin / balance", legend=False)
    top = float(np.nanmax(ratio)) if np.isfinite(ratio).any() else 0.0
    if top < LIQUIDATION_SHOWN:
        layout["yaxis"] |= {"range": [0.0, 1.12 * top or 1.12], "tickformat": "~f"}
        return {"data": [trace], "layout": layout}
    layout["yaxis"] |= {"range": [0.0, max(1.12, min(top, 2.0) * 1.05)]}
    layout["shapes"] = [_rule(y=1.0)]
    layout["annotations"] = [_label("Liquidation at 1", x=1.0, y=1.0, xref="paper", yshift=10)]
    return {"data": [trace], "layout": layout}


def profit_by_symbol(symbols: Sequence[str], parts: Mapping[str, FloatArray]) -> Spec:
    """Return stacked bars of what made each symbol's net profit, with the net as a mark.

    Parameters
    ----------
    symbols : sequence of str
        From top to bottom.
    parts : mapping of str to float64 array, shape (n_symbols,)
        Named parts in USDT, costs as negative numbers; they add up to the net.
    """
    colours = ("@accent", "@violet", "@loss", "@amber", "@teal")
    reverse = list(symbols)[::-1]
    data: list[Spec] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": reverse,
            "x": _rounded(values[::-1]),
            "marker": {"color": colour},
            "hovertemplate": f"%{{y}}: %{{x:,.2f}} USDT<extra>{name}</extra>",
        }
        for (name, values), colour in zip(parts.items(), itertools.cycle(colours))
    ]
    net = np.sum(list(parts.values()), axis=0)
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Net",
            "y": reverse,
            "x": _rounded(net[::-1]),
            "marker": {
                "symbol": "diamond",
                "size": 9,
                "color": "@page",
                "line": {"color": "@ink", "width": 1.6},
            },
            "hovertemplate": "%{y}: %{x:,.2f} USDT<extra>Net</extra>",
        }
    )
    layout = _layout(110 + 24 * len(reverse), "", legend=True)
    layout["xaxis"] = _axis("USDT") | {
        "zeroline": True,
        "zerolinecolor": "@muted",
        "automargin": True,
    }
    layout["yaxis"] = _axis("") | {"automargin": True, "showgrid": False, "dtick": 1}
    return {
        "data": data,
        "layout": layout | {"barmode": "relative", "bargap": 0.35, "hovermode": "closest"},
    }


def excursions(mae: FloatArray, mfe: FloatArray, won: BoolArray, labels: Sequence[str]) -> Spec:
    """Return each round trip's worst against its best excursion, in per cent of the entered notional.

    Parameters
    ----------
    mae, mfe : float64 array, shape (n_trades,)
        Fractions, <= 0 and >= 0.
    won : bool array, shape (n_trades,)
        Whether the round trip gained after fees and funding.
    labels : sequence of str
        For the hover text.
    """
    data = []
    for name, mask, colour, symbol in (
        ("Gained", won, "@accent", "circle"),
        ("Lost", ~won, "@loss", "x-thin-open"),
    ):
        rows = np.flatnonzero(mask)
        data.append(
            {
                "type": "scattergl" if len(rows) > 5000 else "scatter",
                "mode": "markers",
                "name": f"{name} ({len(rows)})",
                "x": _rounded(100.0 * mae[rows]),
                "y": _rounded(100.0 * mfe[rows]),
                "text": [labels[i] for i in rows.tolist()],
                "marker": {
                    "color": colour,
                    "symbol": symbol,
                    "size": 5,
                    "opacity": 0.6,
                    "line": {"width": 1.2 if symbol != "circle" else 0, "color": colour},
                },
                "hovertemplate": "%{text}<br>%{x:.2f} % / +%{y:.2f} %<extra></extra>",
            }
        )
    layout = _layout(320, "Best excursion, %", legend=True)
    layout["xaxis"] = _axis("Worst excursion, %") | {"automargin": True}
    return {"data": data, "layout": layout | {"hovermode": "closest"}}


def durations(hours: FloatArray) -> Spec:
    """Return how long round trips lasted, counted between limits that people think in (`HOLDING_LIMITS`).

    Parameters
    ----------
    hours : float64 array, shape (n_trades,)
        Time held.
    """
    limits = np.array([limit for limit, _ in HOLDING_LIMITS])
    counts = np.bincount(np.searchsorted(limits, hours, side="left"), minlength=len(limits) + 1)
    names = [f"to {name}" for _, name in HOLDING_LIMITS] + [f"over {HOLDING_LIMITS[-1][1]}"]
    used = np.flatnonzero(counts)
    inside = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
    data = [
        {
            "type": "bar",
            "x": names[inside],
            "y": counts[inside].tolist(),
            "marker": {"color": "@accent"},
            "hovertemplate": "%{x}: %{y}<extra></extra>",
        }
    ]
    layout = _layout(320, "Round trips", legend=False) | {"hovermode": "closest", "bargap": 0.15}
    layout["xaxis"] = _axis("Time held, each bar from the one before") | {
        "type": "category",
        "automargin": True,
        "nticks": 0,
    }
    return {"data": data, "layout": layout}


def return_distribution(
    daily: FloatArray, *, value_at_risk: float, expected_shortfall: float
) -> Spec:
    """Return a histogram of daily returns with the normal density of the same mean and deviation.

    Zero is an edge between two bins, so that a bar holds gains or losses only; days without any change have a
    narrow bar of their own on that edge.

    Parameters
    ----------
    daily : float64 array, shape (n_days,)
        Fractions; NaN is dropped.
    value_at_risk, expected_shortfall : float
        Losses as fractions, drawn as lines; NaN draws none.
    """
    known = 100.0 * daily[~np.isnan(daily)]
    moved = known[known != 0.0]
    edges = _edges_at_zero(moved, bins=int(np.clip(np.sqrt(len(moved)) * 2.0, 8, 60)))
    counts, _ = np.histogram(moved, edges)
    centres, width = (edges[:-1] + edges[1:]) / 2.0, float(edges[1] - edges[0])
    bars = (
        ("Losses", centres < 0.0, "@loss"),
        ("Gains", centres > 0.0, "@accent"),
    )
    data = [
        _bars(name, centres[side], counts[side], 0.92 * width, colour) | {"showlegend": False}
        for name, side, colour in bars
        if counts[side].any()
    ]
    still = len(known) - len(moved)
    if still:
        named = f"No change ({still})"
        data.append(_bars(named, np.zeros(1), np.array([still]), width, "@second"))
        data[-1]["marker"]["line"] = {"color": "@page", "width": 1.5}
    deviation = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    if deviation > 0.0:
        data.append(_normal(float(known.mean()), deviation, edges, len(known) * width))
    layout = _layout(320, "Days", legend=True)
    layout["xaxis"] = _axis("Daily return, %") | {"automargin": True}
    layout["shapes"], layout["annotations"] = [], []
    for name, loss, side in (("VaR", value_at_risk, "left"), ("ES", expected_shortfall, "right")):
        if np.isfinite(loss):
            place = {"x": -100.0 * loss, "y": 1.0, "yref": "paper", "yanchor": "top"}
            shift = 4 if side == "left" else -4
            layout["shapes"].append(_rule(x=-100.0 * loss))
            layout["annotations"].append(_label(name, xanchor=side, xshift=shift, **place))
    return {"data": data, "layout": layout | {"hovermode": "closest", "barmode": "overlay"}}


def _edges_at_zero(values: FloatArray, *, bins: int) -> FloatArray:
    """Return equal bins over all values, about as many as asked, of which one edge is zero."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    width = (max(high, 0.0) - min(low, 0.0)) / bins
    below = int(np.ceil(max(-low, 0.0) / width - 1e-9))
    above = int(np.ceil(max(high, 0.0) / width - 1e-9))
    edges = width * np.arange(-below, above + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return np.asarray(edges, dtype=np.float64)


def _bars(name: str, x: FloatArray, counts: IntArray, width: float, colour: str) -> Spec:
    return {
        "type": "bar",
        "name": name,
        "x": _rounded(x),
        "y": counts.tolist(),
        "width": width,
        "marker": {"color": colour},
        "hovertemplate": "%{x:.2f} %: %{y} days<extra></extra>",
    }


def _normal(mean: float, deviation: float, edges: FloatArray, area: float) -> Spec:
    grid = np.linspace(edges[0], edges[-1], 121)
    density = np.exp(-0.5 * ((grid - mean) / deviation) ** 2) / (deviation * np.sqrt(2.0 * np.pi))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Normal, same spread",
        "x": _rounded(grid),
        "y": _rounded(density * area),
        "line": {"color": "@ink", "width": 1.3, "dash": "dot"},
        "hoverinfo": "skip",
    }


def rolling_sharpe(index: pd.DatetimeIndex, ratio: FloatArray, *, window_days: int) -> Spec:
    """Return the rolling annual Sharpe ratio, with a line at zero."""
    trace = _line(index, ratio, f"{window_days} days", "@accent", width=1.4)
    trace["hovertemplate"] = "%{y:.2f}"
    layout = _layout(320, "Sharpe ratio, annual", legend=False)
    layout["yaxis"] |= {"zeroline": True, "zerolinecolor": "@muted"}
    return {"data": [trace], "layout": layout}


def turnover(periods: Sequence[str], multiples: FloatArray, *, unit: str) -> Spec:
    """Return traded notional per period in multiples of that period's mean equity.

    Parameters
    ----------
    periods : sequence of str
        Names of the days or months, in order.
    multiples : float64 array, shape (n_periods,)
        NaN where there was no equity.
    unit : str
        What a period is, for the axis.
    """
    trace = {
        "type": "bar",
        "x": list(periods),
        "y": _rounded(multiples),
        "marker": {"color": "@accent"},
        "hovertemplate": "%{x}: %{y:.2f}\u00d7<extra></extra>",
    }
    layout = _layout(260, "Traded / mean equity, \u00d7", legend=False) | {"hovermode": "closest"}
    layout["xaxis"] = _axis(unit) | {"type": "category", "automargin": True, "tickangle": 0}
    return {"data": [trace], "layout": layout}


def cumulative_costs(index: pd.DatetimeIndex, costs: Mapping[str, FloatArray]) -> Spec:
    """Return what has been paid so far, one line per named cost, in USDT."""
    colours = ("@loss", "@teal", "@violet", "@amber")
    dashes = ("solid", "dash", "dot", "dashdot")
    data = []
    for (name, paid), colour, dash in zip(
        costs.items(), itertools.cycle(colours), itertools.cycle(dashes)
    ):
        trace = _line(index, paid, name, colour, width=1.6)
        trace["line"]["dash"] = dash
        trace["hovertemplate"] = "%{y:,.2f} USDT"
        data.append(trace)
    return {"data": data, "layout": _layout(260, "Paid so far, USDT", legend=True)}


def shortfall(parts: Sequence[str], bps: FloatArray) -> Spec:
    """Return the parts of a shortfall from top to bottom, each bar from where the one before ends, and their total.

    Parameters
    ----------
    parts : sequence of str
        Names, in the order in which they arise.
    bps : float64 array, shape (n_parts,)
        Basis points, > 0 where they cost.
    """
    ends = np.cumsum(bps)
    lengths, starts = np.append(bps, ends[-1]), np.append(ends - bps, 0.0)
    names, right = [*parts, "Total"], np.maximum(starts, starts + lengths)
    colours = ["@loss" if length > 0.0 else "@accent" for length in bps.tolist()] + ["@second"]
    data: list[Spec] = [
        {
            "type": "bar",
            "orientation": "h",
            "y": names,
            "x": _rounded(lengths),
            "base": _rounded(starts),
            "marker": {"color": colours},
            "hovertemplate": "%{y}: %{x:.2f} bps<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "text",
            "y": names,
            "x": _rounded(right),
            "text": [f" {v:.2f}".replace("-", "\u2212") for v in (lengths + 0.0).round(2).tolist()],
            "textposition": "middle right",
            "textfont": {"color": "@ink"},
            "hoverinfo": "skip",
        },
    ]
    low, high = min(float(starts.min()), float(ends.min())), float(right.max())
    span = high - low or 1.0
    layout = _layout(260, "", legend=False) | {"hovermode": "closest", "bargap": 0.35}
    layout["xaxis"] = _axis("bps, > 0 against us") | {
        "zeroline": True,
        "zerolinecolor": "@muted",
        "automargin": True,
        "range": [low - 0.03 * span, high + 0.28 * span],
    }
    layout["yaxis"] = _axis("") | {
        "automargin": True,
        "showgrid": False,
        "dtick": 1,
        "autorange": "reversed",
    }
    return {"data": data, "layout": layout}


def contributions(
    index: pd.DatetimeIndex,
    parts: Mapping[str, FloatArray],
    *,
    wild: Sequence[Span],
) -> Spec:
    """Return what each named part has earned so far, in per cent of equity; spans of a wild market are shaded."""
    colours = ("@accent", "@teal", "@violet", "@amber", "@loss", "@second")
    dashes = ("solid", "solid", "dash", "dash", "dot", "dot")
    data = []
    for k, (name, earned) in enumerate(parts.items()):
        trace = _line(index, earned, name, colours[k % len(colours)], width=1.6)
        trace["line"]["dash"] = dashes[k % len(dashes)]
        trace["hovertemplate"] = "%{y:+.2f} %"
        data.append(trace)
    layout = _layout(300, "Sum of returns, %", legend=True)
    layout["shapes"] = shaded(wild, "@accent-soft")
    return {"data": data, "layout": layout}


def limits_watched(
    index: pd.DatetimeIndex,
    at_risk: FloatArray,
    chance: FloatArray,
    *,
    reduced: Sequence[Span],
    halted: Sequence[Span],
) -> Spec:
    """Return a day's value at risk and probability of liquidation in per cent; reduced and halted times are shaded."""
    data = [
        _line(index, 100.0 * at_risk, "Value at risk, one day", "@accent", width=1.2),
        _line(index, 100.0 * chance, "Liquidation within 24 h", "@loss", width=1.4),
    ]
    for trace in data:
        trace["hovertemplate"] = "%{y:.3f} %"
    layout = _layout(260, "% of equity; probability, %", legend=True)
    layout["shapes"] = [*shaded(reduced, "@accent-soft"), *shaded(halted, "@loss-soft")]
    return {"data": data, "layout": layout}


def liquidation_distance(index: pd.DatetimeIndex, distance: FloatArray) -> Spec:
    """Return how far everything held would have to move against the account, in per cent; NaN where nothing is held."""
    trace = _line(index, 100.0 * distance, "Distance", "@accent", width=1.2)
    trace["hovertemplate"] = "%{y:.1f} %"
    trace["connectgaps"] = False
    layout = _layout(260, "adverse move, %", legend=False)
    layout["yaxis"]["range"] = [0, 105]
    return {"data": [trace], "layout": layout}


def shaded(spans: Sequence[Span], colour: str) -> list[Spec]:
    """Return shapes that shade spans of time over a figure's whole height."""
    return [
        {
            "type": "rect",
            "layer": "below",
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "x0": start.as_unit("ns").value // 1_000_000,
            "x1": end.as_unit("ns").value // 1_000_000,
            "fillcolor": colour,
            "line": {"width": 0},
        }
        for start, end in spans
    ]


def blank(height: int, unit: str, *, legend: bool = False) -> Spec:
    """Return the layout of a figure without a time axis, for figures that other modules draw.

    Parameters
    ----------
    height : int
        Pixels.
    unit : str
        Title of the vertical axis.
    legend : bool
        Whether there is one, above the figure.
    """
    layout = _layout(height, unit, legend=legend) | {"hovermode": "closest"}
    return layout | {"xaxis": _axis("") | {"automargin": True}}


def layout(height: int, unit: str, *, legend: bool) -> Spec:
    """Return the layout that all figures share, over time unless its ``xaxis`` is replaced; `unit` is of the y axis."""
    return _layout(height, unit, legend=legend)


def axis(unit: str) -> Spec:
    """Return an axis as all figures have it, with its unit."""
    return _axis(unit)


def _line(
    index: pd.DatetimeIndex, values: FloatArray, name: str, colour: str, *, width: float
) -> Spec:
    rows = thin(values, points=POINTS)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": (index_us(index)[rows] // 1000).tolist(),
        "y": _rounded(values[rows]),
        "line": {"color": colour, "width": width},
    }


def _dwarfs(benchmark: FloatArray, equity: FloatArray) -> bool:
    if not (np.isfinite(benchmark).any() and np.isfinite(equity).any()):
        return False
    own, other = (float(np.nanmax(c) - np.nanmin(c)) for c in (equity, benchmark))
    return bool(np.nanmin(equity) > 0.0) and other > LOG_FROM * own


def _log_ticks(values: FloatArray) -> list[float] | None:
    """Return round numbers over the values' range, at most `TICKS`; None where fewer than three would fit."""
    positive = values[np.isfinite(values) & (values > 0.0)]
    if not len(positive):
        return None
    low, high = float(positive.min()), float(positive.max())
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for digits in ((1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = np.outer(decades, digits).ravel()
        inside = ticks[(ticks >= low) & (ticks <= high)]
        if len(inside) <= TICKS:
            return [float(f"{v:.6g}") for v in inside] if len(inside) >= 3 else None
    return None


def _layout(height: int, unit: str, *, legend: bool) -> Spec:
    return {
        "height": height,
        "margin": {"l": 58, "r": 12, "t": 30 if legend else 10, "b": 34},
        "showlegend": legend,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": "@muted"},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "@raised", "bordercolor": "@line", "font": {"color": "@ink"}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.0,
            "yanchor": "bottom",
            "font": {"color": "@ink"},
        },
        "xaxis": _axis("") | {"type": "date", "showgrid": False},
        "yaxis": _axis(unit) | {"automargin": True},
    }


def _axis(unit: str) -> Spec:
    return {
        "title": {"text": unit, "standoff": 8, "font": {"size": 12, "color": "@muted"}},
        "gridcolor": "@grid",
        "linecolor": "@line",
        "zeroline": False,
        "ticks": "",
        "nticks": TICKS,
    }


def _rule(*, x: float | None = None, y: float | None = None) -> Spec:
    line = {"type": "line", "line": {"color": "@loss", "width": 1.2, "dash": "dash"}}
    if y is not None:
        return line | {"xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
    return line | {"yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x}


def _label(text: str, **place: Any) -> Spec:
    return {
        "text": text,
        "showarrow": False,
        "xanchor": "right",
        "font": {"size": 11, "color": "@loss"},
        **place,
    }


def _rounded(values: FloatArray) -> list[float | None]:
    """Return values with six significant digits, NaN as None: half the bytes, the same picture."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()]


def _replaced(part: Any, palette: Mapping[str, str]) -> Any:
    if isinstance(part, str):
        return palette[part[1:]] if part.startswith("@") else part
    if isinstance(part, Mapping):
        return {key: _replaced(item, palette) for key, item in part.items()}
    if isinstance(part, list | tuple):
        return [_replaced(item, palette) for item in part]
    return part
