"""The figures of the feasibility page, as what plotly draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.research.feasibility_wording import usdt

SHARE_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Labels of the shares of equity, per cent."""


def orders_figure(symbols: pd.DataFrame) -> plots.Spec:
    """Return bars of each symbol's smallest order over equity, with a mark at its typical target; logarithmic."""
    rows = symbols.iloc[::-1]
    size, aim = 100.0 * rows["smallest_share"], 100.0 * rows["target_weight"]
    names = rows["symbol"].tolist()
    spec = plots.profit_by_symbol(symbols["symbol"].tolist(), {"": np.zeros(len(rows))})
    layout = spec["layout"] | {"showlegend": True}
    data: list[plots.Spec] = []
    for name, mask, colour in (
        ("Smallest order, tradable", rows["tradable"], "@accent"),
        ("Smallest order, too large", ~rows["tradable"], "@loss"),
    ):
        if mask.any():
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": name,
                    "y": [n for n, keep in zip(names, mask, strict=True) if keep],
                    "x": _values(size[mask]),
                    "marker": {"color": colour},
                    "hovertemplate": "%{y}: smallest order %{x:.3g} %<extra></extra>",
                }
            )
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Typical target",
            "y": names,
            "x": _values(aim),
            "marker": {
                "symbol": "line-ns",
                "size": 13,
                "line": {"color": "@ink", "width": 2.5},
            },
            "hovertemplate": "%{y}: typical target %{x:.3g} %<extra></extra>",
        }
    )
    shown = pd.concat([size, aim]).dropna()
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (1.0, 10.0)
    low, high = 0.6 * low, 1.3 * high
    layout["yaxis"] |= {"categoryorder": "array", "categoryarray": names}
    layout["xaxis"] |= {
        "title": layout["xaxis"]["title"] | {"text": "% of equity"},
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": [t for t in SHARE_TICKS if low <= t <= high],
        "ticktext": [f"{t:g}" for t in SHARE_TICKS if low <= t <= high],
        "zeroline": False,
    }
    return {"data": data, "layout": layout | {"barmode": "overlay"}}


def positions_figure(positions: pd.DataFrame, positions_min: int) -> plots.Spec:
    """Return daily medians of how many positions are wanted, fit and are held, with a line at the minimum."""
    daily = positions.set_index("ts").resample("1D").median().dropna()
    parts = {
        "Held": daily["held"].to_numpy(np.float64),
        "Fit": daily["fit"].to_numpy(np.float64),
        "Wanted": daily["wanted"].to_numpy(np.float64),
    }
    spec = _lines(pd.DatetimeIndex(daily.index), parts, "Positions", "%{y:g}")
    for trace in spec["data"]:
        trace["line"]["shape"] = "hv"
    spec["layout"]["yaxis"] |= {"rangemode": "tozero"}
    spec["layout"]["shapes"] = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": positions_min,
            "y1": positions_min,
            "line": {"color": "@loss", "width": 1.2, "dash": "dash"},
        }
    ]
    spec["layout"]["annotations"] = [
        {
            "text": f"a portfolio: {positions_min}",
            "showarrow": False,
            "xref": "paper",
            "x": 1.0,
            "y": positions_min,
            "xanchor": "right",
            "yshift": 9,
            "font": {"size": 11, "color": "@loss"},
        }
    ]
    return spec


def rounding_figure(rounding: pd.DataFrame) -> plots.Spec:
    """Return the deviation from the target portfolio at the sampled decisions, greedy beside exact."""
    exact = rounding[rounding["method"] == "exact"]
    greedy = rounding[(rounding["method"] == "greedy") & rounding["ts"].isin(exact["ts"])]
    parts = {
        "Greedy": 100.0 * greedy["deviation"].to_numpy(np.float64),
        "Exact": 100.0 * exact["deviation"].to_numpy(np.float64),
    }
    unit = "Deviation, % of gross"
    spec = _lines(pd.DatetimeIndex(exact["ts"]), parts, unit, "%{y:.1f} %")
    for trace, symbol in zip(spec["data"], ("circle", "x-thin-open"), strict=True):
        trace |= {"mode": "lines+markers", "marker": {"symbol": symbol, "size": 7}}
        trace["marker"]["line"] = {"width": 1.6, "color": trace["line"]["color"]}
        trace["marker"]["color"] = trace["line"]["color"]
    spec["layout"]["yaxis"] |= {"rangemode": "tozero"}
    return spec


def capitals_figure(curves: pd.DataFrame) -> plots.Spec:
    """Return each capital's return since the start, per cent."""
    parts = {
        _capital(name): 100.0 * (values.ffill().to_numpy(np.float64) - 1.0)
        for name, values in curves.items()
    }
    return _lines(pd.DatetimeIndex(curves.index), parts, "Return since the start, %", "%{y:+.2f} %")


def _lines(index: pd.DatetimeIndex, parts: Mapping[str, Any], unit: str, hover: str) -> plots.Spec:
    """Return lines over time in the look of the other figures."""
    spec = plots.contributions(index, parts, wild=())
    spec["layout"]["yaxis"]["title"]["text"] = unit
    for trace in spec["data"]:
        trace["hovertemplate"] = hover
    return spec


def _values(column: pd.Series) -> list[float | None]:
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in column.tolist()]


def _capital(name: object) -> str:
    try:
        return usdt(float(str(name)))
    except ValueError:
        return str(name).capitalize()
