r"""Momentum in plain pandas: the t-statistic of the mean return over the window, halved and capped. An example.

.. math:: \text{forecast} = \min\!\Big(1, \max\!\Big(-1, \tfrac12\,\frac{\bar r}{s_r / \sqrt n}\Big)\Big)

A first idea needs a settings class with an exact `lookback` and a function of a window of bars; the adapter in
`quantcore.signals.plain` runs it row by row with the guarantees of a compiled strategy. Once an idea is worth a sweep
it is rewritten like `strategies.trend`, which also names the evidence for and against momentum, and what kills it.
"""

from __future__ import annotations

from dataclasses import dataclass

from quantcore.exits import ExitSettings
from quantcore.frames import Bars
from quantcore.types import Panel


@dataclass(frozen=True, kw_only=True)
class PlainMomentumSettings:
    """Window and exits of plain momentum.

    Parameters
    ----------
    lookback : int
        Closes in the window, >= 3; the returns between them are one fewer.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    lookback: int
    exits: ExitSettings

    def __post_init__(self) -> None:
        if self.lookback < 3:
            raise ValueError(f"lookback must be >= 3, was {self.lookback}")


def forecast(bars: Bars, settings: PlainMomentumSettings) -> Panel:
    """Return the capped t-statistic of the mean return; NaN where a close of the window is missing.

    Parameters
    ----------
    bars : Bars
        At least `lookback` rows; only `close` is used.
    settings : PlainMomentumSettings
        The window.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1]; NaN also where the price did not move.
    """
    n = settings.lookback - 1
    returns = bars.close.pct_change(fill_method=None)
    window = returns.rolling(n)
    deviation = window.std()
    t_statistic = window.mean() / deviation.where(deviation > 0.0) * n**0.5
    forecasts: Panel = (0.5 * t_statistic).clip(-1.0, 1.0)
    return forecasts
