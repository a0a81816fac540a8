"""The figures of a comparison, as what plotly draws."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.research.compare_wording import named
from quantcore.research.comparison import Comparison
from quantcore.types import FloatArray

COLOURS = ("@ink", "@accent", "@loss", "@teal", "@violet", "@amber")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS_SHOWN = 12
"""Symbols of which the difference is drawn, at most."""

_PART_NAMES = {
    "price": "Price", "slippage": "Slippage", "fees": "Fees", "funding": "Funding", "liquidation": "Liquidation",
}  # fmt: skip


def equity_figure(found: Comparison) -> plots.Spec:
    """Return the value of one unit of each run since the opening, and the drawdowns beneath."""
    spec = _empty(460, "One unit at the opening")
    looks = _looks(len(found.labels))
    for entry, (colour, dash) in zip(found.summary["runs"], looks, strict=True):
        curve = found.curves[found.curves["label"] == entry["label"]]
        index, name = pd.DatetimeIndex(curve["ts"]), named(entry)
        above = _line(index, curve["value"].to_numpy(np.float64), name, colour, dash)
        below = _line(index, 100.0 * curve["drawdown"].to_numpy(np.float64), name, colour, dash)
        above["hovertemplate"], below["hovertemplate"] = "%{y:.3f}", "%{y:.2f} %"
        below["line"]["width"] = 1.1
        spec["data"] += [above, below | {"yaxis": "y2", "showlegend": False}]
    layout = spec["layout"]
    layout["yaxis"] |= {"domain": [0.38, 1.0]}
    layout["yaxis2"] = _axis(layout, "Drawdown, %") | {"domain": [0.0, 0.3], "rangemode": "tozero"}
    layout["xaxis"] |= {"anchor": "y2"}
    return spec


def ratio_figure(found: Comparison) -> plots.Spec:
    """Return each run's value over the base's since the opening, at the ends of the common days."""
    spec = _empty(240, f"Value over {found.labels[0]}'s")
    worth = (1.0 + found.returns).cumprod()
    ends = pd.DatetimeIndex(worth.index) + pd.Timedelta(days=1)
    index = ends.insert(0, pd.Timestamp(found.summary["start"])).as_unit("us")
    for entry, (colour, dash) in itertools.islice(
        zip(found.summary["runs"], _looks(len(found.labels)), strict=True), 1, None
    ):
        over = (worth[entry["label"]] / worth.iloc[:, 0]).to_numpy(np.float64)
        trace = _line(index, np.append(1.0, over), named(entry), colour, dash)
        spec["data"].append(trace | {"hovertemplate": "%{y:.3f}"})
    spec["layout"]["shapes"] = [_rule(y=1.0)]
    return spec


def intervals_figure(found: Comparison) -> plots.Spec:
    """Return the difference of Sharpe ratios to the base with its interval, one row per run, and a line at zero."""
    tests = found.differences
    chosen = (tests["statistic"] == "sharpe") & (tests["base"] == found.labels[0])
    rows = tests[chosen].dropna(subset=["estimate"]).iloc[::-1]
    limit = 1.0 - found.summary["confidence"]
    names = {entry["label"]: named(entry) for entry in found.summary["runs"]}
    beyond = (rows["p_base"] <= limit).to_numpy()
    estimate = rows["estimate"].to_numpy(np.float64)
    data = []
    for name, mask, colour in (("beyond luck", beyond, "@accent"), ("luck", ~beyond, "@second")):
        if mask.any():
            half = (rows["high"] - rows["estimate"]).to_numpy(np.float64)[mask]
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "x": _rounded(estimate[mask]),
                    "y": [names[label] for label in rows["label"][mask]],
                    "error_x": {
                        "type": "data",
                        "array": _rounded(half),
                        "thickness": 2,
                        "width": 6,
                    },
                    "marker": {"color": colour, "size": 10},
                    "hovertemplate": "%{y}: %{x:.2f} ± %{error_x.array:.2f}<extra></extra>",
                }
            )
    layout = _bars_layout(90 + 44 * len(rows), "Difference of annual Sharpe ratios")
    layout["yaxis"] |= {
        "categoryorder": "array",
        "categoryarray": [names[x] for x in rows["label"]],
    }
    layout["yaxis"]["range"] = [-0.6, len(rows) - 0.4]
    return {"data": data, "layout": layout | {"showlegend": False}}


def parts_figure(found: Comparison) -> plots.Spec:
    """Return what made each run's profit differ from the base's, stacked, with the net as a mark."""
    beside = found.summary["against_base"]
    names = {entry["label"]: named(entry) for entry in found.summary["runs"]}
    parts = {
        _PART_NAMES[part]: np.array([100.0 * entry["parts"][part] for entry in beside])
        for part in _PART_NAMES
    }
    spec = plots.profit_by_symbol([names[entry["label"]] for entry in beside], parts)
    for trace in spec["data"]:
        trace["hovertemplate"] = trace["hovertemplate"].replace("USDT", "%")
    spec["layout"]["xaxis"]["title"]["text"] = "% of the opening equity, against the base"
    spec["layout"]["height"] = 130 + 44 * len(beside)
    return spec


def symbols_figure(found: Comparison) -> plots.Spec:
    """Return the symbols whose net profit differs most from the base's, a bar per run."""
    apart = symbol_differences(found)
    names = {entry["label"]: named(entry) for entry in found.summary["runs"]}
    looks = dict(zip(found.labels, _looks(len(found.labels)), strict=True))
    shown = apart.head(SYMBOLS_SHOWN).iloc[::-1]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": names[str(label)],
            "y": [str(symbol) for symbol in shown.index],
            "x": _rounded(100.0 * values.to_numpy(np.float64)),
            "marker": {"color": looks[str(label)][0]},
            "hovertemplate": "%{y}: %{x:+.2f} %<extra></extra>",
        }
        for label, values in shown.items()
    ]
    data.reverse()  # plotly stacks groups upwards
    several = len(data) > 1
    layout = _bars_layout(
        90 + max(24, 12 * len(data)) * len(shown), "% of the opening equity, against the base"
    )
    layout["legend"] |= {"traceorder": "reversed"}
    return {"data": data, "layout": layout | {"showlegend": several, "barmode": "group"}}


def symbol_differences(found: Comparison) -> pd.DataFrame:
    """Return each symbol's net profit less the base's, fractions of the opening equity, the widest apart first.

    Returns
    -------
    DataFrame, shape (n_symbols, n_runs - 1)
        Index ``symbol``; a symbol that a run never held counts as 0.
    """
    net = found.symbols.pivot_table(index="symbol", columns="label", values="net", observed=True)
    net = net.reindex(columns=found.labels).fillna(0.0)
    apart = net.iloc[:, 1:].sub(net.iloc[:, 0], axis=0)
    order = apart.abs().max(axis=1).sort_values(ascending=False, kind="stable").index
    return apart.loc[order]


def _looks(n: int) -> Iterator[tuple[str, str]]:
    """Return a colour and a dash for each run; dashes change once the colours are used up."""
    looks = ((colour, dash) for dash in itertools.cycle(DASHES) for colour in COLOURS)
    return itertools.islice(looks, n)


def _empty(height: int, unit: str) -> plots.Spec:
    """Return a figure over time in the look of the others, without a line."""
    spec = plots.contributions(pd.DatetimeIndex([]), {}, wild=())
    spec["layout"] |= {"height": height}
    spec["layout"]["yaxis"]["title"]["text"] = unit
    return spec


def _line(
    index: pd.DatetimeIndex, values: FloatArray, name: str, colour: str, dash: str
) -> plots.Spec:
    parts: Mapping[str, FloatArray] = {name: values}
    trace: plots.Spec = plots.contributions(index, parts, wild=())["data"][0]
    trace["line"] = {"color": colour, "dash": dash, "width": 1.6}
    return trace


def _bars_layout(height: int, unit: str) -> plots.Spec:
    layout: plots.Spec = plots.profit_by_symbol([], {"": np.zeros(0)})["layout"]
    layout["xaxis"]["title"]["text"] = unit
    return layout | {"height": height}


def _axis(layout: plots.Spec, unit: str) -> plots.Spec:
    """Return another vertical axis in the look of a figure's first."""
    title = layout["yaxis"]["title"] | {"text": unit}
    return {k: v for k, v in layout["yaxis"].items() if k != "domain"} | {"title": title}


def _rule(*, y: float) -> plots.Spec:
    line = {"color": "@muted", "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _rounded(values: Sequence[float] | FloatArray) -> list[float]:
    return [float(f"{v:.6g}") for v in np.asarray(values, dtype=np.float64).tolist()]
