"""What a run's own record says of its future: intervals, tail forecasts, ruin, and the nearest liquidation.

Everything here is estimated from the run's daily returns and positions alone, with seeds that are the run's constants:
the same run gives the same numbers. A record too short for an estimate has none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.backtest.curves import Curves
from quantcore.backtest.liquidation_risk import PATHS, SEED, LiquidationRisk, liquidation_risk
from quantcore.backtest.result import Run
from quantcore.finance.bootstrap import (
    Interval,
    bootstrap_max_drawdown,
    bootstrap_sharpe,
    politis_white_block,
)
from quantcore.finance.ruin import RuinEstimate, bootstrap_ruin
from quantcore.finance.var_backtests import TailBacktest, tail_backtest
from quantcore.types import FloatArray

CONFIDENCE = 0.95
TAIL_PROBABILITY = 0.05
RETURNS_MIN = 90
"""Daily returns below which nothing is estimated."""
RUIN_THRESHOLD = 0.5
"""Ruin: equity below this share of what the account begins with, within `RUIN_DAYS`."""
RUIN_DAYS = 365
TAIL_WINDOW = 250
"""Days from which the next day's tail is forecast; half of the record where that is shorter."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run's record says of its future; None where it is too short, or nothing was held.

    Parameters
    ----------
    sharpe, drawdown : Interval or None
        By stationary bootstrap: of the annual Sharpe ratio, and of the maximum drawdown of such a record.
    tail : TailBacktest or None
        How one-day forecasts of VaR and ES from the days before fared.
    ruin : RuinEstimate or None
        Of falling below `RUIN_THRESHOLD` within `RUIN_DAYS`.
    liquidation : LiquidationRisk or None
        Within 24 hours.
    """

    sharpe: Interval | None
    drawdown: Interval | None
    tail: TailBacktest | None
    ruin: RuinEstimate | None
    liquidation: LiquidationRisk | None


def outlook(run: Run, curve: Curves) -> Outlook:
    """Return what a run's record says of its future."""
    daily = curve.daily.dropna().to_numpy(np.float64)
    varies = len(daily) >= RETURNS_MIN and bool(np.ptp(daily) > 0.0)
    if not varies or (daily <= -1.0).any():
        return Outlook(
            sharpe=None, drawdown=None, tail=None, ruin=None, liquidation=liquidation_risk(run)
        )
    rng = np.random.default_rng(SEED)
    block = max(
        politis_white_block(daily).stationary, politis_white_block(np.abs(daily)).stationary, 1.0
    )
    return Outlook(
        sharpe=bootstrap_sharpe(
            daily,
            periods_per_year=curve.days_per_year,
            confidence=CONFIDENCE,
            n_paths=PATHS,
            mean_block=None,
            rng=rng,
        ),
        drawdown=bootstrap_max_drawdown(
            daily, confidence=CONFIDENCE, n_paths=PATHS, mean_block=block, rng=rng
        ),
        tail=_tail(daily),
        ruin=bootstrap_ruin(
            daily,
            threshold=RUIN_THRESHOLD,
            horizon_days=RUIN_DAYS,
            n_paths=PATHS,
            mean_block=block,
            rng=rng,
        ),
        liquidation=liquidation_risk(run),
    )


def _tail(daily: FloatArray) -> TailBacktest | None:
    # Days before the first position have no risk to forecast: the first loss after them would refute any model.
    traded = daily[int(np.flatnonzero(daily)[0]) :]
    if len(traded) < RETURNS_MIN:
        return None
    window = min(TAIL_WINDOW, len(traded) // 2)
    return tail_backtest(traded, window=window, tail_probability=TAIL_PROBABILITY)
