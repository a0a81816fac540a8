r"""What each strategy earned on paper, and what the account earned in each regime.

With the weights :math:`w_i` of a row, the combined forecast :math:`F_i = \sum_s c_s f_{s,i}` before its cap and the
next return :math:`r_i`, strategy s has earned

.. math:: \sum_i w_i\,\frac{c_s f_{s,i}}{F_i}\; r_i

so that the strategies add up to what the target weights earned at closing prices. Where forecasts cancel to nothing
there is no weight to divide. Smoothed forecasts are divided as if they were not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantcore.plots import Span
from quantcore.signal_plane import Signals
from quantcore.types import FloatArray


def paper_returns(said: Signals) -> pd.DataFrame:
    """Return what each strategy's part of the target weights earned in each row, fractions of equity.

    Returns
    -------
    DataFrame, shape (n_bars, n_strategies)
        Index ``ts``; 0 in the first row. A symbol without a close keeps the weight it had.
    """
    closes = said.bars.array("close")
    returns = _returns(closes)
    views = np.stack([np.nan_to_num(view) for view in said.forecasts.values()], axis=1)
    parts = said.counted[:, :, None] * views
    together = parts.sum(axis=1)
    weights = pd.DataFrame(said.weight_array).ffill().fillna(0.0).to_numpy()
    spoken = np.abs(together) > 1e-12
    per_forecast = np.where(spoken, weights / np.where(spoken, together, 1.0), 0.0)
    earned = parts[:-1] * per_forecast[:-1, None, :] * returns[1:, None, :]
    papers = np.vstack([np.zeros((1, len(said.forecasts))), earned.sum(axis=2)])
    return pd.DataFrame(papers[: len(closes)], index=said.bars.index, columns=list(said.forecasts))


def regime_profit(equity: pd.DataFrame) -> pd.DataFrame:
    """Return what the account earned by regime: each row's return counts for the regime known at the row before.

    Returns
    -------
    DataFrame
        Index the regime's name; ``days total volatility``: days, sum of returns, annual volatility. Empty where no
        regime was detected.
    """
    known = equity["regime"].shift()
    nav = equity["nav"].to_numpy(np.float64)
    returns = pd.Series(np.append(0.0, nav[1:] / nav[:-1] - 1.0), index=equity.index)
    hours = equity["ts"].diff().dt.total_seconds() / 3600.0
    rows = []
    for name in sorted(known.dropna().unique()):
        mine = known == name
        yearly = np.sqrt(8760.0 / float(hours[mine].mean()))
        rows.append(
            (
                name,
                float(hours[mine].sum()) / 24.0,
                float(returns[mine].sum()),
                float(returns[mine].std()) * yearly,
            )
        )
    return pd.DataFrame(rows, columns=["regime", "days", "total", "volatility"]).set_index("regime")


def regime_spans(equity: pd.DataFrame) -> dict[str, list[Span]]:
    """Return when each regime was the likeliest, as spans from its first row to the first of the next regime."""
    return label_spans(equity, "regime")


def label_spans(equity: pd.DataFrame, column: str) -> dict[str, list[Span]]:
    """Return when each label of a column of the equity table held, as spans; rows without a label have none."""
    labels = equity[column].to_numpy(dtype=object)
    ts = pd.DatetimeIndex(equity["ts"])
    spans: dict[str, list[Span]] = {}
    start = 0
    for row in range(1, len(labels) + 1):
        if row == len(labels) or labels[row] != labels[start]:
            if labels[start] is not None and not pd.isna(labels[start]):
                spans.setdefault(str(labels[start]), []).append(
                    (ts[start], ts[min(row, len(labels) - 1)])
                )
            start = row
    return spans


def _returns(closes: FloatArray) -> FloatArray:
    """Return each row's return since the last known close, 0 where there is none."""
    known = pd.DataFrame(closes).ffill()
    return np.asarray((known / known.shift() - 1.0).fillna(0.0).to_numpy())
