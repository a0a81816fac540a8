r"""Momentum in plain pandas: the t-statistic of the mean return over the window, halved and capped. An example.

.. math:: \text{forecast} = \min\!\Big(1, \max\!\Big(-1, \tfrac12\,\frac{\bar r}{s_r / \sqrt n}\Big)\Big)

A first idea needs a settings class with an exact `lookback` and a function of a window of bars; the adapter in
`quantcore.signals.plain` runs it row by row with the guarantees of a compiled strategy. Once an idea is worth a sweep
it is rewritten like `strategies.trend`, which also names the evidence for and against momentum, and what kills it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.frames import Bars


@dataclass(frozen=True, kw_only=True)
class PlainMomentumSettings:
    """Window and exits of plain momentum.

    Parameters
    ----------
    lookback : int
        Closes in the window, >= 3; the returns between them are one fewer.
    exits : ExitSettings
        Protective exits, none if left out; the account plane's business, not the forecast's.
    """

    lookback: int
    exits: ExitSettings = NO_EXITS

    def __post_init__(self) -> None:
        if self.lookback < 3:
            raise ValueError(f"lookback must be >= 3, was {self.lookback}")


def forecast(bars: Bars) -> pd.Series[float]:
    """Return the capped t-statistic of the mean return; NaN where a close of the window is missing.

    Parameters
    ----------
    bars : Bars
        The window, `lookback` rows; only `close` is used.

    Returns
    -------
    Series, shape (n_symbols,)
        In [-1, 1], of the window's last row; NaN also where the price did not move.
    """
    closes = bars.close
    returns = (closes / closes.shift() - 1.0).iloc[1:]
    sharpe = returns.mean(skipna=False) / returns.std(skipna=False)
    t_statistic: pd.Series[float] = len(returns) ** 0.5 * sharpe
    return (0.5 * t_statistic).clip(-1.0, 1.0)
