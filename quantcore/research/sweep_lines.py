"""Parallel coordinates of a sweep: each set a line through its parameters and results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.research.sweep_axes import Axis
from quantcore.research.sweep_figures import colours, rounded
from quantcore.types import FloatArray, IntArray

LINES_MAX = 800
"""Most sets drawn as lines."""
TICKS_MAX = 8


def drawn_rows(values: FloatArray, *, lines: int = LINES_MAX) -> IntArray:
    """Return the rows to draw as lines: of the known ones by rank every so many, with the best and the worst."""
    ranked = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    if len(ranked) <= lines:
        return ranked
    return ranked[np.linspace(0, len(ranked) - 1, lines).round().astype(np.int64)]


def parallel_figure(
    axes: Sequence[Axis], names: Mapping[str, str], table: pd.DataFrame, values: FloatArray
) -> plots.Spec:
    """Return parallel coordinates of parameters and a few results; each line is a set, coloured by its Sharpe ratio.

    Parameters
    ----------
    axes : sequence of Axis
        Parameters, from the left.
    names : mapping of str to str
        How to name the parameters' paths.
    table : DataFrame
        One row per set, with the results.
    values : float64 array, shape (n_sets,)
        Sharpe ratios, NaN where unknown: such sets are not drawn.
    """
    rows = drawn_rows(values)
    dimensions = [_dimension(axis, names[axis.path], rows) for axis in axes]
    for column, name, scale in (
        ("turnover_annual", "turnover \u00d7/y", 1.0),
        ("max_drawdown", "drawdown %", 100.0),
    ):
        if column in table and table[column].iloc[rows].notna().all():
            results = scale * table[column].to_numpy(np.float64)[rows]
            dimensions.append({"label": name, "values": rounded(results)})
    dimensions.append({"label": "Sharpe", "values": rounded(values[rows])})
    coloured = colours(values[rows], neutral="@line")
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {
            "color": rounded(values[rows]),
            "colorscale": coloured["colorscale"],
            "cmin": coloured["zmin"],
            "cmax": coloured["zmax"],
        },
        "labelfont": {"color": "@ink", "size": 12},
        "tickfont": {"color": "@muted", "size": 11},
        "rangefont": {"color": "@muted", "size": 1},
        "unselected": {"line": {"color": "@line", "opacity": 0.15}},
    }
    layout = plots.blank(400, "")
    layout |= {"margin": {"l": 84, "r": 44, "t": 64, "b": 24}, "paper_bgcolor": "@page"}
    return {"data": [trace], "layout": layout}


def _dimension(axis: Axis, name: str, rows: IntArray) -> plots.Spec:
    last = len(axis.values) - 1
    ticks = np.unique(np.linspace(0, last, min(last + 1, TICKS_MAX)).round().astype(np.int64))
    texts = [_short(axis.values[t]) for t in ticks.tolist()]
    return {
        "label": _wrapped(name),
        "values": axis.ranks[rows].tolist(),
        "range": [0, last],
        "tickvals": ticks.tolist(),
        "ticktext": texts,
    }


def _wrapped(name: str, *, most: int = 14) -> str:
    """Return a long name in two lines, broken after the underscore or dot nearest to its middle."""
    breaks = [match.end() for match in re.finditer(r"[_.](?=.)", name)]
    if len(name) <= most or not breaks:
        return name
    at = min(breaks, key=lambda end: abs(end - len(name) / 2))
    return f"{name[:at]}<br>{name[at:]}"


def _short(value: float | str) -> str:
    text = value if isinstance(value, str) else f"{value:.3g}"
    return text if len(text) <= 18 else f"{text[:17]}\u2026"
