"""The figures of a sweep's page, as what plotly draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.research.sweep_axes import Axis
from quantcore.research.sweep_findings import Peak
from quantcore.types import FloatArray

CELLS_WITH_NUMBERS = 150
"""Most cells of a heat map that hold their number."""
COLUMNS_WITH_NUMBERS = 10
HALF = 400
"""Pixels of a figure of which two stand side by side, about."""
BEST, CENTRE = "Best set", "Plateau\u2019s centre"


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The objective over two parameters.

    Parameters
    ----------
    across, down : Axis
        Levels of `across` run to the right, those of `down` upwards.
    values : float64 array, shape (n_down, n_across)
        Median over the other parameters, NaN where no set has a value.
    """

    across: Axis
    down: Axis
    values: FloatArray


def surface(across: Axis, down: Axis, values: FloatArray) -> Surface:
    """Return the median of the sets' values in each pair of levels."""
    shape = (len(down.labels), len(across.labels))
    cells = np.full(shape, np.nan)
    table = pd.Series(values).groupby([down.codes, across.codes]).median()
    at = np.array(table.index.tolist(), dtype=np.int64).reshape(-1, 2)
    cells[at[:, 0], at[:, 1]] = table.to_numpy(np.float64)
    return Surface(across=across, down=down, values=cells)


def distribution_figure(values: FloatArray, *, best: float, luck: float) -> plots.Spec:
    """Return a histogram of the sets' Sharpe ratios with marks at the best and at what luck alone would show.

    Values far below the bulk are counted in the first bar.

    Parameters
    ----------
    values : float64 array
        NaN is left out; at least one is known.
    best, luck : float
        Sharpe ratios; NaN draws no mark.
    """
    known = values[~np.isnan(values)]
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    start = max(float(known.min()), float(low - 6.0 * (high - low))) if high > low else known.min()
    end = max(float(known.max()), luck if math.isfinite(luck) else -math.inf)
    bins = int(np.clip(2.0 * math.sqrt(len(known)), 8, 60))
    pad = 0.5 if end == start else 0.0
    counts, edges = np.histogram(np.maximum(known, start), bins, (start - pad, end + pad))
    width = float(edges[1] - edges[0])
    middles = (edges[:-1] + edges[1:]) / 2.0
    bars = {
        "type": "bar",
        "x": rounded(middles),
        "y": counts.tolist(),
        "width": 0.94 * width,
        "marker": {"color": ["@second" if x < luck else "@accent" for x in middles.tolist()]},
        "hovertemplate": "about %{x:.2f}: %{y} sets<extra></extra>",
    }
    layout = plots.blank(300, "Sets")
    layout["margin"]["t"] = 44
    layout["xaxis"]["title"]["text"] = "Sharpe ratio, annual"
    first = min(float(edges[0]), luck) if math.isfinite(luck) else float(edges[0])
    layout["xaxis"]["range"] = [first - width, float(edges[-1]) + width]
    span = float(edges[-1]) - first
    marks = [("luck alone", luck, "@loss", 1.13), ("best", best, "@ink", 1.03)]
    if best - middle > 0.35 * span:
        marks.append(("median", float(middle), "@muted", 1.03))
    marks = [mark for mark in marks if math.isfinite(mark[1])]
    layout["shapes"] = [_upright(x, colour) for _, x, colour, _ in marks]
    layout["annotations"] = [
        _above(f"{name} {x:.2f}", x, colour, height, right=x - first > 0.4 * span)
        for name, x, colour, height in marks
    ]
    return {"data": [bars], "layout": layout}


def importance_figure(names: Sequence[str], main: FloatArray, pairs: FloatArray) -> plots.Spec:
    """Return bars of the share of variance that each parameter explains alone and together with one other.

    Parameters
    ----------
    names : sequence of str
        From the most important parameter on.
    main, pairs : float64 array, shape (n_parameters,)
        Shares alone, and summed over the other parameters.
    """
    data: list[plots.Spec] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": list(names)[::-1],
            "x": rounded(100.0 * shares[::-1]),
            "marker": {"color": colour},
            "hovertemplate": f"%{{y}}: %{{x:.1f}} %<extra>{name}</extra>",
        }
        for name, shares, colour in (("Alone", main, "@accent"), ("With one other", pairs, "@teal"))
    ]
    layout = plots.blank(96 + 30 * len(names), "", legend=True) | {
        "barmode": "stack",
        "bargap": 0.35,
    }
    layout["legend"]["traceorder"] = "normal"
    layout["xaxis"]["title"]["text"] = "Share of the variance, %"
    layout["xaxis"]["rangemode"] = "tozero"
    layout["yaxis"] |= {"type": "category", "showgrid": False, "nticks": 0, "dtick": 1}
    return {"data": data, "layout": layout}


def effect_figure(axis: Axis, curve: FloatArray, values: FloatArray) -> plots.Spec:
    """Return the mean objective over a parameter's levels, with the quartiles of the sets there.

    Parameters
    ----------
    axis : Axis
        The parameter.
    curve : float64 array, shape (n_levels,)
        Mean over the values of all other parameters.
    values : float64 array, shape (n_sets,)
        The objective, NaN where unknown.
    """
    levels = pd.Series(values).groupby(axis.codes)
    quartiles = pd.DataFrame({"low": levels.quantile(0.25), "high": levels.quantile(0.75)})
    bounds = quartiles.reindex(range(len(axis.labels))).to_numpy(np.float64)
    labels = list(axis.labels)
    band = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "x": labels}
    shape = {"line": {"color": "rgba(0,0,0,0)", "width": 0}, "showlegend": False}
    data: list[plots.Spec] = [
        band | shape | {"y": rounded(bounds[:, 0])},
        band | shape | {"y": rounded(bounds[:, 1]), "fill": "tonexty", "fillcolor": "@accent-soft"},
        {
            "type": "scatter",
            "mode": "lines+markers" if axis.is_numeric else "markers",
            "x": labels,
            "y": rounded(curve),
            "line": {"color": "@accent", "width": 1.8},
            "marker": {"color": "@accent", "size": 6},
            "hovertemplate": "%{x}: %{y:.2f}<extra></extra>",
        },
    ]
    if not axis.is_numeric:
        data[:2] = [_quartile_bars(labels, bounds)]
    layout = plots.blank(220, "Sharpe ratio")
    layout["xaxis"] |= _categories(labels, room=HALF) | {"showgrid": False}
    layout["yaxis"] |= {"zeroline": True, "zerolinecolor": "@muted", "nticks": 5}
    layout["showlegend"] = False
    return {"data": data, "layout": layout}


def heat_figure(
    found: Surface, names: Mapping[str, str], peak: Peak, *, height: int, legend: bool
) -> plots.Spec:
    """Return a heat map over two parameters, with frames around the best set and the plateau's centre.

    Colours run from losses over none to gains where the values have both signs, else from the lowest to the highest.

    Parameters
    ----------
    found : Surface
        Values by cell.
    names : mapping of str to str
        How to name the parameters' paths.
    peak : Peak
        Where the frames are.
    height : int
        Pixels.
    legend : bool
        Whether the frames are explained, and the figure has the whole width.
    """
    cells, across, down = found.values, found.across, found.down
    numbers = cells.size <= CELLS_WITH_NUMBERS and cells.shape[1] <= COLUMNS_WITH_NUMBERS
    columns, rows = list(across.labels), list(down.labels)
    heat: plots.Spec = {
        "type": "heatmap",
        "x": columns,
        "y": rows,
        "z": [rounded(row) for row in cells],
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "hovertemplate": f"{names[across.path]} %{{x}}, {names[down.path]} %{{y}}: %{{z:.2f}}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 1.0, "nticks": 5, "tickfont": {"color": "@muted"}},
        "showlegend": False,
        **colours(cells),
    }  # fmt: skip
    if numbers:
        heat |= {"texttemplate": "%{z:.2f}", "textfont": {"size": 11}, "showscale": False}
    layout = plots.blank(height, names[down.path], legend=legend)
    layout["xaxis"] |= _categories(columns, room=2 * HALF if legend else HALF) | {"showgrid": False}
    layout["xaxis"]["title"]["text"] = names[across.path]
    layout["yaxis"] |= _categories(rows, room=2 * HALF) | {
        "showgrid": False,
        "nticks": height // 22,
    }
    marks = [(BEST, peak.best, "@ink")]
    if peak.centre != peak.best:
        marks.append((CENTRE, peak.centre, "@amber"))
    layout["shapes"] = [
        _frame(int(across.codes[row]), int(down.codes[row]), colour, inset=0.06 * k)
        for k, (_, row, colour) in enumerate(marks)
    ]
    shown = [_legend_frame(name, columns[0], rows[0], colour) for name, _, colour in marks]
    return {"data": [heat, *shown], "layout": layout}


def line_figure(axis: Axis, values: FloatArray, name: str, peak: Peak) -> plots.Spec:
    """Return the objective over the only parameter, one point per set."""
    order = np.argsort(axis.ranks, kind="stable")
    words = not axis.is_numeric
    places = [axis.values[rank] for rank in axis.ranks[order].tolist()]
    data: list[plots.Spec] = [
        {
            "type": "scatter",
            "mode": "markers" if words else "lines+markers",
            "x": places,
            "y": rounded(values[order]),
            "line": {"color": "@accent", "width": 1.6},
            "marker": {"color": "@accent", "size": 7},
            "name": "Sets",
            "hovertemplate": f"{name} %{{x}}: %{{y:.2f}}<extra></extra>",
        }
    ]
    marks = [(BEST, peak.best, "@ink", "circle-open")]
    if peak.centre != peak.best:
        marks.append((CENTRE, peak.centre, "@amber", "diamond-open"))
    for told, row, colour, symbol in marks:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": told,
                "x": [axis.values[axis.ranks[row]]],
                "y": [float(values[row])],
                "marker": {"symbol": symbol, "size": 15, "color": colour, "line": {"width": 2.2}},
                "hoverinfo": "skip",
            }
        )
    layout = plots.blank(340, "Sharpe ratio, annual", legend=True)
    layout["xaxis"]["title"]["text"] = name
    layout["yaxis"] |= {"zeroline": True, "zerolinecolor": "@muted"}
    if words:
        layout["xaxis"] |= {"type": "category", "nticks": 0}
    return {"data": data, "layout": layout}


def colours(values: FloatArray, *, neutral: str = "@raised") -> plots.Spec:
    """Return a scale of colours for values and its bounds, within which nearly all of them are.

    What is neither gain nor loss, or the lowest gain or loss, has the neutral colour.
    """
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    low = max(low, float(np.quantile(known, 0.03))) if len(known) else low
    if low < 0.0 < high:
        low, high = -max(-low, high), max(-low, high)
        colours = ["@loss", neutral, "@accent"]
    else:
        colours = ["@loss", neutral] if high <= 0.0 else [neutral, "@accent"]
    return {
        "colorscale": [[k / (len(colours) - 1), colour] for k, colour in enumerate(colours)],
        "zmin": low,
        "zmax": high if high > low else low + 1.0,
    }


def _categories(labels: Sequence[str], *, room: int) -> plots.Spec:
    """Return an axis of categories, of whose labels as many are shown as fit side by side into so many pixels."""
    fitting = max(2, room // (14 + 7 * max(len(label) for label in labels)))
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(labels),
        "nticks": fitting if len(labels) > fitting else 0,
        "automargin": True,
        "tickangle": 0,
    }


def _frame(column: int, row: int, colour: str, *, inset: float) -> plots.Spec:
    return {
        "type": "rect",
        "x0": column - 0.47 + inset,
        "x1": column + 0.47 - inset,
        "y0": row - 0.46 + inset,
        "y1": row + 0.46 - inset,
        "line": {"color": colour, "width": 2.8},
    }


def _legend_frame(name: str, x: str, y: str, colour: str) -> plots.Spec:
    """Return a trace that draws nothing but its entry in the legend."""
    marker = {"symbol": "square-open", "size": 11, "color": colour, "line": {"width": 2.2}}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x],
        "y": [None],
        "marker": marker,
        "hoverinfo": "skip",
    }


def _quartile_bars(labels: list[str], bounds: FloatArray) -> plots.Spec:
    return {
        "type": "bar",
        "x": labels,
        "base": rounded(bounds[:, 0]),
        "y": rounded(bounds[:, 1] - bounds[:, 0]),
        "width": 0.5,
        "marker": {"color": "@accent-soft"},
        "hoverinfo": "skip",
    }


def _upright(x: float, colour: str) -> plots.Spec:
    line = {"color": colour, "width": 1.6, "dash": "dash"}
    return {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0.0, "y1": 1.0, "line": line}


def _above(text: str, x: float, colour: str, height: float, *, right: bool) -> plots.Spec:
    return {
        "text": text,
        "x": x,
        "y": height,
        "yref": "paper",
        "xanchor": "right" if right else "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11, "color": colour},
    }


def rounded(values: FloatArray) -> list[float | None]:
    """Return values with four significant digits, NaN as None."""
    return [float(f"{v:.4g}") if math.isfinite(v) else None for v in values.tolist()]
