"""What a search maximises, out of a set's daily returns, and the growing spans after which it is asked."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from quantcore.errors import ConfigError
from quantcore.finance.performance import sharpe
from quantcore.finance.sharpe import sharpe_interval
from quantcore.timegrid import DAYS_PER_YEAR
from quantcore.types import FloatArray

Objective = Literal["sharpe", "sharpe_lower"]
OBJECTIVES = ("sharpe", "sharpe_lower")
CONFIDENCE = 0.95
"""Of the two-sided interval whose lower end is the cautious objective."""


def objective_values(daily: FloatArray, objective: Objective) -> FloatArray:
    """Return what each set's daily returns are worth.

    The lower end of the Sharpe ratio's interval prefers, of equal ratios, the one with the longer record, the thinner
    tails and the milder skew.

    Parameters
    ----------
    daily : float64 array, shape (n_days, n_sets)
        Fractions; days that are NaN are left out.
    objective : str
        sharpe (annual) or sharpe_lower (the lower end of its 95 % interval).

    Returns
    -------
    float64 array, shape (n_sets,)
        NaN where a set has too few returns or they do not vary.

    Raises
    ------
    ConfigError
        If there is no such objective.

    References
    ----------
    As `finance.sharpe.sharpe_interval`.
    """
    if objective not in OBJECTIVES:
        raise ConfigError(f"objective must be one of {', '.join(OBJECTIVES)}, was {objective}")
    if objective == "sharpe":
        values = [sharpe(column, periods_per_year=DAYS_PER_YEAR) for column in daily.T]
    else:
        intervals = (
            sharpe_interval(column, periods_per_year=DAYS_PER_YEAR, confidence=CONFIDENCE)
            for column in daily.T
        )
        values = [low for low, _ in intervals]
    return np.array([v if math.isfinite(v) else math.nan for v in values], dtype=np.float64)


def stage_ends(n_rows: int, stages: int) -> list[int]:
    """Return how many rows from the first on each stage of a search sees: equal steps, the last is all.

    Parameters
    ----------
    n_rows : int
        Rows of the whole span, at least `stages`.
    stages : int
        >= 1.

    Raises
    ------
    ConfigError
        If `stages` is below 1 or there are fewer rows.

    Examples
    --------
    >>> stage_ends(10, 3)
    [3, 6, 10]
    """
    if not 1 <= stages <= n_rows:
        raise ConfigError(f"stages must be from 1 to the {n_rows:,} rows of the span, was {stages}")
    return [n_rows * (stage + 1) // stages for stage in range(stages)]
