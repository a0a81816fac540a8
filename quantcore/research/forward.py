r"""Walk-forward on the daily returns of many parameter sets: choose on each training span, look at the test after it.

Every set is backtested once over the whole record, and a fold reads rows of that one matrix. What a set does on a day
depends on no later day, so a training span holds nothing of its test. What it does depend on is the account's own past:
a set enters its test with the equity, positions and lots that its whole backtest brought it, not with those of the
account that just switched to it. So the returns stitched from the matrix cost nothing at a border; the account that
really carries its positions from one choice to the next is traded once, after all choices are made, and its result is
the one that is reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore.research.folds import Fold
from quantcore.research.selection import Choice, Chooser, annual_sharpe, choose
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Step:
    """One fold: what was chosen and what came of it. Ratios are annual, NaN where returns do not vary.

    Parameters
    ----------
    fold : Fold
        Its days.
    choice : Choice
        Of the training span.
    held : bool
        Whether the choice was traded; False is cash.
    test_sharpe : float
        Of the chosen set in the test.
    naive_train_sharpe, naive_test_sharpe : float
        Of the set that was best in training.
    hindsight_sharpe : float
        Of the set that was best in the test itself.
    mean_test_sharpe : float
        Mean of all sets in the test: what a draw among them brings.
    test_rank : float
        Share of the other sets that the chosen one beat in the test, ties by half.
    rank_correlation : float
        Spearman's, of the sets' ratios in training and test; NaN where either is the same for all.
    """

    fold: Fold
    choice: Choice
    held: bool
    test_sharpe: float
    naive_train_sharpe: float
    naive_test_sharpe: float
    hindsight_sharpe: float
    mean_test_sharpe: float
    test_rank: float
    rank_correlation: float


def walk(
    returns: FloatArray,
    folds: Sequence[Fold],
    chooser: Chooser,
    *,
    first: int = 0,
    cash_if_doubtful: bool = False,
) -> tuple[Step, ...]:
    """Return what each fold chose and what came of it.

    Parameters
    ----------
    returns : float64 array, shape (n_days, n_sets)
        Daily fractions, no NaN.
    folds : sequence of Fold
        In order of time.
    chooser : Chooser
        How a set is chosen.
    first : int
        Row before which no set held a position: training spans begin there at the earliest.
    cash_if_doubtful : bool
        Trade a choice only where its lower confidence bound is above 0.

    Raises
    ------
    DataGap
        If in a training span no set held a position.
    """
    return tuple(_step(returns, fold, chooser, first, cash_if_doubtful) for fold in folds)


def first_traded(returns: FloatArray) -> int:
    """Return the first row in which any set earned or lost something; the number of rows where none did."""
    moved = np.flatnonzero((returns != 0.0).any(axis=1))
    return int(moved[0]) if len(moved) else len(returns)


def stitched(returns: FloatArray, steps: Sequence[Step]) -> FloatArray:
    """Return the chosen sets' returns over all test days, shape ``(n_test_days,)``; cash earns 0."""
    parts = [
        returns[step.fold.test, step.choice.chosen] * (1.0 if step.held else 0.0) for step in steps
    ]
    return np.concatenate(parts)


def stitched_naive(returns: FloatArray, steps: Sequence[Step]) -> FloatArray:
    """Return the returns over all test days of the sets that were best in training."""
    return np.concatenate([returns[step.fold.test, step.choice.naive] for step in steps])


def fold_table(
    steps: Sequence[Step],
    days: pd.DatetimeIndex,
    sets: Sequence[Mapping[str, object]],
    numbers: Sequence[int],
) -> pd.DataFrame:
    """Return the folds as a table: spans, the chosen values by their paths, and what was promised and what came.

    Parameters
    ----------
    steps : sequence of Step
        What `walk` gave.
    days : DatetimeIndex, shape (n_days,)
        The record's UTC days.
    sets : sequence of mapping of str to object
        The values of each column's set by path.
    numbers : sequence of int
        Under which number each column's set is known.

    Returns
    -------
    DataFrame
        A row per fold: ``fold train_start train_end test_start test_end`` (first and last days) ``train_days
        test_days set held``, a column per parameter, then ratios as in `Step` and `Choice`.
    """
    rows = []
    for step in steps:
        fold, choice = step.fold, step.choice
        rows.append(
            {
                "fold": fold.number,
                "train_start": days[fold.train_start],
                "train_end": days[fold.train_stop - 1],
                "test_start": days[fold.test_start],
                "test_end": days[fold.test_stop - 1],
                "train_days": fold.train_stop - fold.train_start,
                "test_days": fold.test_stop - fold.test_start,
                "set": numbers[choice.chosen],
                "held": step.held,
                **sets[choice.chosen],
                "train_sharpe": choice.sharpe,
                "train_lower": choice.lower,
                "train_deflated": choice.deflated,
                "independent_sets": choice.trials,
                "test_sharpe": step.test_sharpe,
                "test_rank": step.test_rank,
                "rank_correlation": step.rank_correlation,
                "mean_test_sharpe": step.mean_test_sharpe,
                "naive_set": numbers[choice.naive],
                "naive_train_sharpe": step.naive_train_sharpe,
                "naive_test_sharpe": step.naive_test_sharpe,
                "hindsight_sharpe": step.hindsight_sharpe,
            }
        )
    return pd.DataFrame(rows)


def rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Return Spearman's rank correlation over the pairs without NaN; NaN below two or where one is constant.

    Examples
    --------
    >>> rank_correlation(np.array([1.0, 2.0, 30.0]), np.array([0.1, 0.2, 0.3]))
    1.0
    """
    both = ~(np.isnan(x) | np.isnan(y))
    ranks = [pd.Series(values[both]).rank().to_numpy(np.float64) for values in (x, y)]
    if both.sum() < 2 or any(np.ptp(r) == 0.0 for r in ranks):
        return math.nan
    return float(np.clip(np.corrcoef(ranks[0], ranks[1])[0, 1], -1.0, 1.0).round(12))


def _step(
    returns: FloatArray, fold: Fold, chooser: Chooser, first: int, cash_if_doubtful: bool
) -> Step:
    train = returns[max(fold.train_start, first) : fold.train_stop]
    test = returns[fold.test]
    choice = choose(train, chooser)
    trained, tested = annual_sharpe(train), annual_sharpe(test)
    known = tested[~np.isnan(tested)]
    reached = tested[choice.chosen]
    return Step(
        fold=fold,
        choice=choice,
        held=not cash_if_doubtful or choice.lower > 0.0,
        test_sharpe=float(reached),
        naive_train_sharpe=float(trained[choice.naive]),
        naive_test_sharpe=float(tested[choice.naive]),
        hindsight_sharpe=float(known.max()) if len(known) else math.nan,
        mean_test_sharpe=float(known.mean()) if len(known) else math.nan,
        test_rank=_share_beaten(known, float(reached)),
        rank_correlation=rank_correlation(trained, tested),
    )


def _share_beaten(values: FloatArray, own: float) -> float:
    """Return the share of the other values below one of them, equal ones by half; NaN where there is no other."""
    others = len(values) - 1
    if others < 1 or math.isnan(own):
        return math.nan
    equal = float((values == own).sum()) - 1.0
    return (float((values < own).sum()) + equal / 2.0) / others
