r"""All that the daily returns of many parameter sets say about choosing among them.

How much a number of trials counts for, is said three times, for it is easily got wrong:

- The best set of the whole record is the best of all sets: its ratio is deflated by how many independent ones they
  amount to.
- The joined out-of-sample record comes from one procedure that was fixed before: it is *one* trial, and its ratio
  stands against zero. That holds for the first run only. Whoever changes the procedure after having seen the result
  and runs it again has made another trial.
- Deflated by the sets all the same, the joined record passes a test that is stricter than it has to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantcore.errors import ConfigError
from quantcore.finance.overfitting import (
    Overfitting,
    backtest_overfitting,
    deflated_sharpe,
)
from quantcore.finance.performance import raw_kurtosis, sharpe, skewness
from quantcore.research.cross_validation import CrossValidation, cross_validate
from quantcore.research.folds import Fold
from quantcore.research.forward import Step, first_traded, stitched, stitched_naive, walk
from quantcore.research.selection import Chooser, annual_sharpe, independent_sets
from quantcore.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What cross-validation and the probability of overfitting are computed with.

    Parameters
    ----------
    n_groups, n_test_groups : int
        As in `splits.combinatorial_splits`.
    purge, embargo : int
        Days left out beside a test block.
    n_blocks : int
        Of `backtest_overfitting`; even, >= 2.
    """

    n_groups: int
    n_test_groups: int
    purge: int
    embargo: int
    n_blocks: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What `examine` found; ratios are annual.

    Parameters
    ----------
    first : int
        Row of the first day on which a set held a position.
    steps : tuple of Step
        The folds of the walk-forward.
    forward, naive : float64 array, shape (n_test_days,)
        Stitched returns of the chosen sets, and of those that were best in training.
    overfitting : Overfitting
        Of the sets that ever held a position, from `first` on; its arrays are ratios per day.
    cross_validation : CrossValidation
        From `first` on.
    independent_sets : float
        How many independent ones all sets amount to.
    best : int
        Column with the highest ratio of the whole record.
    best_sharpe : float
        Its ratio, from `first` on.
    best_deflated : float
        Its deflated Sharpe ratio.
    """

    first: int
    steps: tuple[Step, ...]
    forward: FloatArray
    naive: FloatArray
    overfitting: Overfitting
    cross_validation: CrossValidation
    independent_sets: float
    best: int
    best_sharpe: float
    best_deflated: float


def examine(
    returns: FloatArray,
    folds: Sequence[Fold],
    chooser: Chooser,
    validation: Validation,
    *,
    cash_if_doubtful: bool = False,
) -> Evidence:
    """Choose forward, across and in hindsight.

    Parameters
    ----------
    returns : float64 array, shape (n_days, n_sets)
        Daily fractions, no NaN; at least two columns that vary.
    folds : sequence of Fold
        Of the walk-forward.
    chooser : Chooser
        How a set is chosen.
    validation : Validation
        Of cross-validation and PBO.
    cash_if_doubtful : bool
        As in `walk`.

    Raises
    ------
    ConfigError
        If fewer than two sets ever held a position, or groups, gaps or blocks do not fit the days.
    DataGap
        If on the days of some choice no set held a position.
    """
    first = first_traded(returns)
    record = returns[first:]
    ratios = annual_sharpe(record)
    alive = ~np.isnan(ratios)
    if alive.sum() < 2:
        raise ConfigError(
            f"walk_forward.parameters must give at least two sets that ever hold a position, gave {int(alive.sum())} "
            f"of {returns.shape[1]}"
        )
    check_blocks(len(record), validation.n_blocks)
    steps = walk(returns, folds, chooser, first=first, cash_if_doubtful=cash_if_doubtful)
    trials = independent_sets(record, chooser)
    best = int(np.nanargmax(ratios))
    return Evidence(
        first=first,
        steps=steps,
        forward=stitched(returns, steps),
        naive=stitched_naive(returns, steps),
        overfitting=backtest_overfitting(record[:, alive], n_blocks=validation.n_blocks),
        cross_validation=cross_validate(
            record,
            chooser,
            n_groups=validation.n_groups,
            n_test_groups=validation.n_test_groups,
            purge=validation.purge,
            embargo=validation.embargo,
        ),
        independent_sets=trials,
        best=best,
        best_sharpe=float(ratios[best]),
        best_deflated=deflated(record[:, best], trials=trials),
    )


def deflated(daily: FloatArray, *, trials: float) -> float:
    """Return the deflated Sharpe ratio of daily returns among some number of independent, skill-less trials.

    Parameters
    ----------
    daily : float64 array, shape (n_days,)
        Fractions; NaN is dropped.
    trials : float
        >= 1; 1 gives the probability that the true ratio is above zero.

    Returns
    -------
    float
        Probability; NaN where the returns do not vary.
    """
    known = daily[~np.isnan(daily)]
    if len(known) < 2:
        return math.nan
    return deflated_sharpe(
        sharpe(known, periods_per_year=1.0),
        len(known),
        skew=skewness(known),
        kurtosis=raw_kurtosis(known),
        n_trials=trials,
        variance=1.0 / len(known),
    )


def check_blocks(n_days: int, n_blocks: int) -> None:
    """Refuse blocks that the days cannot make.

    Raises
    ------
    ConfigError
        If there is an odd number of them, fewer than two or more than half of the days.
    """
    if n_blocks % 2 or not 2 <= n_blocks <= n_days // 2:
        raise ConfigError(
            f"walk_forward.blocks must be even and from 2 to {n_days // 2}, half of the days with positions, "
            f"was {n_blocks}"
        )


def tested_days(folds: Sequence[Fold]) -> IntArray:
    """Return the rows of all tests, in order of time."""
    return np.arange(folds[0].test_start, folds[-1].test_stop, dtype=np.int64)
