r"""What the Signal Generator estimates at fixed UTC dates: shares by risk, and how far the edge can be trusted.

**Shares** come from the covariance of daily returns over the window (Ledoit and Wolf, towards constant correlation), by
equal risk contributions or hierarchical risk parity. Symbols without `days_min` returns in it have none.

**Kelly.** With mean :math:`\mu` and variance :math:`\sigma^2` of the daily paper returns of the unscaled portfolio
over the window, the growth-optimal multiple of it is :math:`\mu / \sigma^2`; of that the fraction `fraction` is held,
shrunk by :math:`c`, the share that estimation error leaves (Kan and Zhou 2007), and never more than the portfolio
itself:

.. math:: \text{scale} = \min\Big(1,\; \text{fraction} \cdot c\,\frac{\mu}{\sigma^2}\Big), \qquad 0 \text{ if } \mu \le
0

The paper portfolio goes on while nothing is held, so trading resumes when its edge is back. Before the window is whole
the scale is 1: the volatility target alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.timegrid import CALENDAR
from quantcore.types import FloatArray

METHODS = ("risk_parity", "hierarchical")


@dataclass(frozen=True, kw_only=True)
class SharesSettings:
    """How shares are estimated.

    Parameters
    ----------
    method : str
        ``"risk_parity"`` (equal risk contributions) or ``"hierarchical"`` (hierarchical risk parity).
    review : str
        When, UTC: ``"week"`` or ``"month"``.
    window_days : int
        Daily closes in an estimate, >= 20.
    days_min : int
        Returns that a symbol must have in the window, in [10, window_days - 1].
    """

    method: str
    review: str
    window_days: int
    days_min: int

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, was {self.method!r}")
        if self.review not in CALENDAR[1:]:
            raise ValueError(f"review must be week or month, was {self.review!r}")
        if self.window_days < 20:
            raise ValueError(f"window_days must be >= 20, was {self.window_days}")
        if not 10 <= self.days_min < self.window_days:
            raise ValueError(f"days_min must be in [10, window_days - 1], was {self.days_min}")


@dataclass(frozen=True, kw_only=True)
class KellySettings:
    """How far the edge is trusted.

    Parameters
    ----------
    fraction : float
        Of the growth-optimal multiple, in (0, 1]; a quarter to a half is usual.
    review : str
        When, UTC: ``"week"`` or ``"month"``.
    window_days : int
        Daily paper returns in an estimate, >= 60.
    """

    fraction: float
    review: str
    window_days: int

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise ValueError(f"fraction must be in (0, 1], was {self.fraction}")
        if self.review not in CALENDAR[1:]:
            raise ValueError(f"review must be week or month, was {self.review!r}")
        if self.window_days < 60:
            raise ValueError(f"window_days must be >= 60, was {self.window_days}")


def shares(closes: FloatArray, settings: SharesSettings) -> FloatArray:
    """Return the shares by daily closes, the oldest first; they sum to 1, NaN for all while no two symbols are known.

    A symbol without `days_min` returns in the window has the share 0.
    """
    # Imported here: what they need of scipy takes longer to load than a backtest without estimates runs.
    from quantcore.finance.covariance import ledoit_wolf
    from quantcore.finance.portfolio import hierarchical_risk_parity, risk_budgeting

    window = closes[-settings.window_days :]
    returns = window[1:] / window[:-1] - 1.0
    known = ~np.isnan(returns)
    varies = np.where(known, returns, -np.inf).max(axis=0) > np.where(known, returns, np.inf).min(
        axis=0
    )
    enough = np.flatnonzero((known.sum(axis=0) >= settings.days_min) & varies)
    if len(enough) < 2:
        return np.full(closes.shape[1], np.nan)
    covariance = ledoit_wolf(returns[:, enough], target="constant_correlation").covariance
    if settings.method == "risk_parity":
        weights = risk_budgeting(covariance).weights
    else:
        weights = hierarchical_risk_parity(covariance).weights
    result = np.zeros(closes.shape[1])
    result[enough] = weights
    return result


def kelly_scale(papers: FloatArray, settings: KellySettings) -> float:
    """Return the scale by the daily paper returns, the oldest first; 1 while the window is not whole."""
    from quantcore.finance.kelly import adjusted_squared_sharpe, estimation_shrinkage

    window = papers[-settings.window_days :]
    whole = len(window) == settings.window_days and not np.isnan(window).any()
    if not whole or not window.std() > 0.0:
        return 1.0
    mean, variance = float(window.mean()), float(window.var())
    if mean <= 0.0:
        return 0.0
    n = len(window)
    squared = adjusted_squared_sharpe(mean**2 / variance, n_observations=n, n_assets=1)
    known = estimation_shrinkage(squared, n_observations=n, n_assets=1)
    return min(1.0, settings.fraction * known * mean / variance)
