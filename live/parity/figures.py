"""The figures of the parity page, as what plotly draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from live.parity.gap import PARTS
from live.parity.study import BACKTEST, LIVE, SIDES, Study
from quantcore import plots
from quantcore.timegrid import index_us

SHOWN = 48
"""Execution bars that are drawn before and after the first difference."""
NAMES = {BACKTEST: "Backtest", LIVE: "Live loop"}

_COLOURS = {BACKTEST: "@accent", LIVE: "@loss"}
_DASHES = {BACKTEST: "solid", LIVE: "dot"}
_SYMBOLS = {BACKTEST: "circle-open", LIVE: "x-thin-open"}


def equity_figure(study: Study) -> plots.Spec:
    """Return both equity curves, and beneath them live less backtest."""
    tables = {side: study.tables[side]["equity"].set_index("ts")["equity"] for side in SIDES}
    apart = (tables[LIVE] - tables[BACKTEST]).dropna()
    data = [_line(tables[side], NAMES[side], side) for side in SIDES]
    beneath = _line(apart, "Live less backtest", LIVE)
    beneath |= {"yaxis": "y2", "showlegend": False, "fill": "tozeroy", "fillcolor": "@loss-soft"}
    beneath["line"] = {"color": "@loss", "width": 1.2}
    layout = plots.layout(400, "USDT", legend=True)
    layout["yaxis"] |= {"domain": [0.36, 1.0]}
    layout["yaxis2"] = layout["yaxis"] | {
        "domain": [0.0, 0.26],
        "title": layout["yaxis"]["title"] | {"text": "Difference"},
    }
    most = float(apart.abs().max()) if len(apart) else 0.0
    if not most:
        layout["yaxis2"] |= {"range": [-1.0, 1.0]}
    layout["xaxis"] |= {"anchor": "y2"}
    return {"data": [*data, beneath], "layout": layout | _ruled(study)}


def price_figure(study: Study) -> plots.Spec:
    """Return the price around the first difference with the fills of both sides; needs a difference of a symbol."""
    first = study.first
    assert first is not None
    rows = _around(study)
    bars, symbol = study.bars, first["symbol"]
    closes = pd.Series(
        bars.array("close")[rows, bars.symbols.index(symbol)], index=bars.index[rows]
    )
    data = [_line(closes, "Close", BACKTEST)]
    data[0]["line"] = {"color": "@second", "width": 1.2}
    for side in SIDES:
        fills = study.tables[side]["fills"]
        near = fills["ts"].between(bars.index[rows[0]], bars.index[rows[-1]])
        mine = fills[near & (fills["symbol"] == symbol)]
        data.append(_marks(mine, side))
    layout = plots.layout(340, "USDT", legend=True) | {"hovermode": "closest"}
    return {"data": data, "layout": layout | _ruled(study)}


def weight_figure(study: Study) -> plots.Spec:
    """Return the symbol's target weights of both sides around the first difference; needs one of a symbol."""
    first = study.first
    assert first is not None
    rows = _around(study)
    begin, end = study.bars.index[rows[0]], study.bars.index[rows[-1]]
    data = []
    for side in SIDES:
        weights = study.tables[side]["targets"][first["symbol"]].loc[begin:end]
        trace = _line(100.0 * weights, NAMES[side], side)
        trace["line"]["shape"] = "hv"
        trace["hovertemplate"] = "%{y:.4f} %"
        data.append(trace)
    layout = plots.layout(220, "Target, % of equity", legend=True)
    return {"data": data, "layout": layout | _ruled(study)}


def gap_figure(study: Study) -> plots.Spec:
    """Return what the difference in equity at the end is made of, as bars."""
    parts = [(name, study.summary["gap"][name]) for name in PARTS][::-1]
    layout = plots.blank(90 + 22 * len(parts), "", legend=False)
    layout["xaxis"]["title"] = layout["yaxis"]["title"] | {"text": "USDT, live less backtest"}
    layout["yaxis"] |= {"automargin": True, "showgrid": False, "dtick": 1}
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "y": [name.capitalize() for name, _ in parts],
            "x": [float(f"{value:.6g}") for _, value in parts],
            "marker": {"color": "@accent"},
            "hovertemplate": "%{y}: %{x:,.4f} USDT<extra></extra>",
        }
    ]
    return {"data": data, "layout": layout | {"hovermode": "closest"}}


def _around(study: Study) -> np.ndarray:
    """Return the rows of the bars that are drawn."""
    first = study.first
    assert first is not None
    at = int(study.bars.index.searchsorted(pd.Timestamp(first["ts"])))
    return np.arange(max(at - SHOWN, 0), min(at + SHOWN + 1, study.bars.n_bars))


def _line(values: pd.Series, name: str, side: str) -> plots.Spec:
    numbers = values.to_numpy(np.float64)
    rows = plots.thin(numbers, points=plots.POINTS)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": (index_us(pd.DatetimeIndex(values.index))[rows] // 1000).tolist(),
        "y": [float(f"{v:.10g}") if np.isfinite(v) else None for v in numbers[rows].tolist()],
        "line": {"color": _COLOURS[side], "width": 1.6, "dash": _DASHES[side]},
    }


def _marks(fills: pd.DataFrame, side: str) -> plots.Spec:
    told = [
        f"{NAMES[side]}: {f.side} {f.qty:g} at {f.price:g}, {f.reason}"
        for f in fills.itertuples(index=False)
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"Fills, {NAMES[side].lower()}",
        "x": (index_us(pd.DatetimeIndex(fills["ts"])) // 1000).tolist(),
        "y": fills["price"].tolist(),
        "text": told,
        "marker": {
            "symbol": _SYMBOLS[side],
            "size": 11,
            "color": _COLOURS[side],
            "line": {"width": 1.8, "color": _COLOURS[side]},
        },
        "hovertemplate": "%{text}<extra></extra>",
    }


def _ruled(study: Study) -> dict[str, Any]:
    """Return a line at the first difference."""
    if study.first is None:
        return {}
    x = pd.Timestamp(study.first["ts"]).as_unit("ms").value
    line = {"color": "@ink", "width": 1.0, "dash": "dash"}
    shape = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x, "line": line}
    return {"shapes": [shape]}
