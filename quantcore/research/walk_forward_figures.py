"""The figures of the walk-forward page, as what plotly draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.research.walk_forward_verdict import Summary, short, value_text
from quantcore.types import FloatArray

SCATTERED = 600
"""Combinations drawn of the many: enough to see the cloud."""
VALUES_MAX = 40
"""Values of all parameters together up to which their choice is drawn."""


def curve_figure(curves: pd.DataFrame, folds: pd.DataFrame) -> plots.Spec:
    """Return what the joined account earned beside the experiment's own settings; every other test is shaded."""
    parts = {
        name: 100.0 * (curves[column].ffill().to_numpy(np.float64) - 1.0)
        for name, column in (
            ("Walk-forward", "walk_forward"),
            ("Experiment as it stands", "experiment"),
        )
    }
    day = pd.Timedelta(days=1)
    shaded = [
        (row["test_start"], row["test_end"] + day)
        for k, row in enumerate(folds.to_dict("records"))
        if k % 2
    ]
    spec = plots.contributions(pd.DatetimeIndex(curves.index), parts, wild=shaded)
    spec["layout"]["yaxis"]["title"]["text"] = "Return since the first test, %"
    spec["layout"]["yaxis"] |= {"zeroline": True, "zerolinecolor": "@muted"}
    spec["data"][0]["line"] |= {"color": "@accent", "width": 2.0}
    spec["data"][1]["line"] |= {"color": "@second"}
    return spec


def fold_figure(folds: pd.DataFrame) -> plots.Spec:
    """Return for each fold what its choice promised in training, what it brought, and what the others brought."""
    names = _fold_names(folds["test_start"])
    bars: list[plots.Spec] = [
        _bars("Promised in training", names, folds["train_sharpe"], "@second"),
        _bars("Brought in the test", names, folds["test_sharpe"], "@accent"),
    ]
    bars.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Mean of all sets in the test",
            "x": names,
            "y": _values(folds["mean_test_sharpe"]),
            "marker": {
                "symbol": "line-ew",
                "size": 16,
                "line": {"color": "@ink", "width": 2.5},
            },
            "hovertemplate": "%{x}: %{y:.2f}<extra>Mean of all sets</extra>",
        }
    )
    layout = plots.layout(320, "Sharpe ratio, annual", legend=True)
    layout["xaxis"] = plots.axis("Test beginning in") | {"type": "category", "automargin": True}
    layout["yaxis"] |= {"zeroline": True, "zerolinecolor": "@muted"}
    return {
        "data": bars,
        "layout": layout | {"barmode": "group", "bargap": 0.3, "hovermode": "closest"},
    }


def degradation_figure(overfitting: pd.DataFrame, degradation: Mapping[str, Any]) -> plots.Spec:
    """Return the best of each half of the record against what it brought in the other half, with the regression."""
    rows = np.linspace(0, len(overfitting) - 1, min(SCATTERED, len(overfitting))).astype(int)
    x = overfitting["in_sample"].to_numpy(np.float64)
    y = overfitting["out_of_sample"].to_numpy(np.float64)
    data: list[plots.Spec] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{len(rows):,} of {len(overfitting):,} halves",
            "x": _rounded(x[rows]),
            "y": _rounded(y[rows]),
            "marker": {"color": "@accent", "size": 4, "opacity": 0.45},
            "hovertemplate": "%{x:.2f} in, %{y:.2f} out<extra></extra>",
        }
    ]
    low, high = float(x.min()), float(x.max())
    if math.isfinite(degradation["slope"]):
        ends = np.array([low, high])
        data.append(
            _rule(
                "Regression",
                ends,
                degradation["intercept"] + degradation["slope"] * ends,
                "@loss",
                "solid",
            )
        )
    data.append(_rule("No loss", np.array([low, high]), np.array([low, high]), "@ink", "dot"))
    layout = plots.layout(340, "Sharpe ratio in the other half", legend=True)
    layout["xaxis"] = plots.axis("Sharpe ratio in the half it was chosen on") | {"automargin": True}
    layout["yaxis"] |= {"zeroline": True, "zerolinecolor": "@muted"}
    return {"data": data, "layout": layout | {"hovermode": "closest"}}


def rank_figure(overfitting: pd.DataFrame) -> plots.Spec:
    """Return how the best set of one half ranks in the other: share of halves by tenth of the ranks."""
    share = 1.0 / (1.0 + np.exp(-overfitting["logit"].to_numpy(np.float64)))
    counts, edges = np.histogram(share, bins=np.linspace(0.0, 1.0, 11))
    centres = 100.0 * (edges[:-1] + edges[1:]) / 2.0
    lower = centres < 50.0
    data = [
        {
            "type": "bar",
            "name": name,
            "x": centres[side].tolist(),
            "y": _rounded(100.0 * counts[side] / len(share)),
            "width": 9.2,
            "marker": {"color": colour},
            "hovertemplate": "%{y:.0f} % of the halves<extra></extra>",
        }
        for name, side, colour in (
            ("Lower half: overfitted", lower, "@loss"),
            ("Upper half", ~lower, "@accent"),
        )
    ]
    layout = plots.layout(340, "% of the halves", legend=True)
    layout["xaxis"] = plots.axis("Rank in the other half, % from the worst") | {
        "automargin": True,
        "range": [0, 100],
    }
    return {"data": data, "layout": layout | {"hovermode": "closest"}}


def crossed_figure(summary: Summary, paths: pd.DataFrame, splits: pd.DataFrame) -> plots.Spec:
    """Return the distribution of ratios out of sample: of the splits' tests as bars, of the joined paths as marks."""
    tests = splits["test_sharpe"].dropna().to_numpy(np.float64)
    joined = paths["sharpe"].dropna().to_numpy(np.float64)
    bins = int(np.clip(round(math.sqrt(len(tests)) * 1.6), 5, 30))
    counts, edges = (
        np.histogram(tests, bins=bins) if len(tests) else (np.zeros(1, int), np.array([0.0, 1.0]))
    )
    data: list[plots.Spec] = [
        {
            "type": "bar",
            "name": f"Tests of {len(splits)} splits",
            "x": _rounded((edges[:-1] + edges[1:]) / 2.0),
            "y": counts.tolist(),
            "width": 0.94 * float(edges[1] - edges[0]),
            "marker": {"color": "@accent-soft", "line": {"color": "@accent", "width": 1}},
            "hovertemplate": "%{x:.2f}: %{y}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{len(paths)} whole records",
            "x": _rounded(joined),
            "y": [0.06 * max(int(counts.max()), 1)] * len(joined),
            "marker": {
                "symbol": "diamond",
                "size": 10,
                "color": "@accent",
                "line": {"color": "@page", "width": 1.2},
            },
            "hovertemplate": "%{x:.2f}<extra>whole record</extra>",
        },
    ]
    layout = plots.layout(320, "Splits", legend=True)
    layout["xaxis"] = plots.axis("Sharpe ratio out of sample, annual") | {
        "automargin": True,
        "zeroline": True,
        "zerolinecolor": "@muted",
    }
    layout["yaxis"] |= {"range": [0.0, 1.18 * max(int(counts.max()), 1)]}  # room for the names
    layout["shapes"], layout["annotations"] = [], []
    marks = [
        (summary["sharpe_oos"], "joined account", "@ink"),
        (summary["best_in_sample"]["sharpe"], "best in hindsight", "@loss"),
    ]
    told = sorted(mark for mark in marks if mark[0] is not None and math.isfinite(mark[0]))
    for k, (value, name, colour) in enumerate(told):
        layout["shapes"].append(_vertical(value, colour))
        layout["annotations"].append(_note(name, value, colour, left=k == 0 and len(told) > 1))
    return {"data": data, "layout": layout | {"hovermode": "closest", "bargap": 0.05}}


def stability_figure(
    folds: Sequence[Mapping[str, Any]], tried: Mapping[str, Sequence[object]]
) -> plots.Spec | None:
    """Return which of the tried values each fold chose; None where there are too many to draw.

    Parameters
    ----------
    folds : sequence of mapping
        As `summary.json` holds them.
    tried : mapping of str to sequence of object
        The different values of each parameter, in order.
    """
    labels = {
        path: [f"{short(path)} {value_text(value)}" for value in values]
        for path, values in tried.items()
    }
    rows = [label for names in labels.values() for label in names]
    if len(rows) > VALUES_MAX:
        return None
    names = _fold_names([fold["test_start"] for fold in folds])
    colours = ("@accent", "@teal", "@violet", "@amber")
    data: list[plots.Spec] = [
        {
            "type": "scatter",
            "mode": "markers",
            "showlegend": False,
            "x": [name for name in names for _ in rows],
            "y": rows * len(names),
            "marker": {"symbol": "square", "size": 15, "color": "@grid"},
            "hoverinfo": "skip",
        }
    ]
    for k, path in enumerate(tried):
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": short(path),
                "x": names,
                "y": [f"{short(path)} {value_text(fold['chosen'][path])}" for fold in folds],
                "line": {"color": colours[k % len(colours)], "width": 1.4},
                "marker": {"symbol": "square", "size": 15, "color": colours[k % len(colours)]},
                "hovertemplate": "%{x}: %{y}<extra></extra>",
            }
        )
    layout = plots.layout(90 + 27 * len(rows), "", legend=False) | {"hovermode": "closest"}
    layout["xaxis"] = plots.axis("Test beginning in") | {"type": "category", "automargin": True}
    layout["yaxis"] = plots.axis("") | {
        "type": "category",
        "automargin": True,
        "categoryorder": "array",
        "categoryarray": rows[::-1],
        "showgrid": False,
        "nticks": 0,
        "dtick": 1,
    }
    return {"data": data, "layout": layout}


def _fold_names(starts: Iterable[Any]) -> list[str]:
    """Return the months in which tests begin, or their days where that does not tell them apart."""
    stamps = [pd.Timestamp(start) for start in starts]
    names = [f"{stamp:%b %y}" for stamp in stamps]
    return names if len(set(names)) == len(names) else [f"{stamp:%d %b %y}" for stamp in stamps]


def _bars(name: str, names: Sequence[str], values: pd.Series, colour: str) -> plots.Spec:
    return {
        "type": "bar",
        "name": name,
        "x": list(names),
        "y": _values(values),
        "marker": {"color": colour},
        "hovertemplate": f"%{{x}}: %{{y:.2f}}<extra>{name}</extra>",
    }


def _rule(name: str, x: FloatArray, y: FloatArray, colour: str, dash: str) -> plots.Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": _rounded(x),
        "y": _rounded(y),
        "line": {"color": colour, "width": 1.6, "dash": dash},
        "hoverinfo": "skip",
    }


def _vertical(value: float, colour: str) -> plots.Spec:
    line = {"color": colour, "width": 1.4, "dash": "dash"}
    return {
        "type": "line",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "x0": value,
        "x1": value,
        "line": line,
    }


def _note(text: str, value: float, colour: str, *, left: bool) -> plots.Spec:
    return {
        "text": text,
        "showarrow": False,
        "x": value,
        "y": 1.0,
        "yref": "paper",
        "xanchor": "right" if left else "left",
        "yanchor": "top",
        "xshift": -5 if left else 5,
        "font": {"size": 11, "color": colour},
    }


def _values(column: pd.Series) -> list[float | None]:
    return _rounded(column.to_numpy(np.float64))


def _rounded(values: FloatArray) -> list[float | None]:
    return [float(f"{v:.6g}") if math.isfinite(v) else None for v in values.tolist()]
