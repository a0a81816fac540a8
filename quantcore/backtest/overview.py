"""One figure of a run: equity with its benchmark, drawdown, and exposure beneath each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.curves import Curves
from quantcore.backtest.markup import TIMES
from quantcore.timegrid import to_index

HEIGHT = 620
"""Of the figure, pixels."""

_MODEBAR = {"bgcolor": "rgba(0,0,0,0)", "color": "@muted", "activecolor": "@accent"}


def overview(curve: Curves, equity: pd.DataFrame, *, capital: float, benchmark: str) -> plots.Spec:
    """Return a run's equity, drawdown and exposure as one figure; deposits and withdrawals are taken out of the curve.

    Parameters
    ----------
    curve : Curves
        Of the run.
    equity : DataFrame
        Its table of equity.
    capital : float
        USDT at the start; the benchmark begins with it.
    benchmark : str
        Its name; it is left out where its values are NaN.
    """
    index = to_index(curve.ts_us)
    spec = plots.equity_curve(
        index,
        capital * curve.nav,
        curve.drawdown,
        capital * curve.benchmark,
        benchmark_name=benchmark or "BTC held",
    )
    below = plots.exposure(index, _multiples(equity, "gross"), _multiples(equity, "net"))
    layout: dict[str, Any] = spec["layout"] | {"height": HEIGHT, "modebar": _MODEBAR}
    layout["yaxis"] |= {"domain": [0.50, 1.0]}
    layout["yaxis2"] |= {"domain": [0.26, 0.44]}
    layout["yaxis3"] = below["layout"]["yaxis"] | {"domain": [0.0, 0.20]}
    layout["yaxis3"]["title"] = layout["yaxis3"]["title"] | {"text": f"Exposure, {TIMES}"}
    layout["xaxis"] |= {"anchor": "y3"}
    exposed = [
        trace | {"yaxis": "y3", "name": f"{trace['name']} exposure"} for trace in below["data"]
    ]
    exposed[-1]["line"] = exposed[-1]["line"] | {
        "color": "@teal"
    }  # the account's line has the accent
    return {"data": [*spec["data"], *exposed], "layout": layout}


def _multiples(equity: pd.DataFrame, side: str) -> Any:
    """Return an exposure in multiples of equity, NaN where nothing is left."""
    value = equity["equity"].to_numpy(np.float64)
    exposed = equity[f"{side}_exposure"].to_numpy(np.float64)
    return np.divide(exposed, value, out=np.full(len(value), np.nan), where=value > 0.0)
