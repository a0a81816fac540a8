"""Combinatorial purged cross-validation of a choice among parameter sets: many out-of-sample records, not one.

A walk-forward gives one record, and one record can be lucky. Here the days are cut into groups; each way of testing
some of them chooses on the others, and the tests join up to several whole records, each day of which was chosen without
that day. Their ratios are a distribution. They are not independent (all are made of the same days), and a choice
may rest on days after its test, so this is evidence about the *procedure*, not a record that could have been traded.

What has to be left out beside a test block, for daily returns in place of labels:

- *purge*, on both sides: as many days as a position is held, for it earns on both sides of the border;
- *embargo*, after it only: signals remember the block's prices, and returns that were earned on them are not
  independent of it. The slowest averages remember for longer than a record can spare; what is left is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantcore.errors import ConfigError
from quantcore.research.selection import Choice, Chooser, annual_sharpe, choose
from quantcore.research.splits import combinatorial_paths, combinatorial_splits
from quantcore.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """What cross-validation found; ratios are annual.

    Parameters
    ----------
    choices : tuple of Choice
        Of each split, in the order of `splits.combinatorial_splits`.
    tests : tuple of int64 array
        Each split's test days.
    paths : float64 array, shape (n_paths, n_days)
        Daily returns of the joined records.
    sharpe : float64 array, shape (n_paths,)
        Ratio of each path; NaN where it does not vary.
    naive_sharpe : float64 array, shape (n_paths,)
        Ratio of each path had the best set of each split been taken.
    split_train, split_test : float64 array, shape (n_splits,)
        Ratio of the chosen set on the training and test days of each split.
    """

    choices: tuple[Choice, ...]
    tests: tuple[IntArray, ...]
    paths: FloatArray
    sharpe: FloatArray
    naive_sharpe: FloatArray
    split_train: FloatArray
    split_test: FloatArray

    @property
    def most_chosen_share(self) -> float:
        """Share of the splits that chose the set most often chosen."""
        return Counter(c.chosen for c in self.choices).most_common(1)[0][1] / len(self.choices)


def cross_validate(
    returns: FloatArray,
    chooser: Chooser,
    *,
    n_groups: int,
    n_test_groups: int,
    purge: int,
    embargo: int,
) -> CrossValidation:
    """Choose on every combination of groups and join the tests to paths.

    Parameters
    ----------
    returns : float64 array, shape (n_days, n_sets)
        Daily fractions from the first day on which a set held a position; no NaN.
    chooser : Chooser
        How a set is chosen.
    n_groups, n_test_groups, purge, embargo : int
        As in `splits.combinatorial_splits`.

    Raises
    ------
    ConfigError
        If the groups are out of range, or the gaps leave nothing to train on.
    DataGap
        If on the training days of a split no set held a position.
    """
    check_groups(len(returns), n_groups=n_groups, n_test_groups=n_test_groups, gap=purge + embargo)
    splits = list(
        combinatorial_splits(
            len(returns),
            n_groups=n_groups,
            n_test_groups=n_test_groups,
            purge=purge,
            embargo=embargo,
        )
    )
    choices = tuple(choose(returns[split.train], chooser) for split in splits)
    tests = [split.tests for split in splits]
    paths = _joined(returns, tests, [c.chosen for c in choices], n_groups, n_test_groups)
    naive = _joined(returns, tests, [c.naive for c in choices], n_groups, n_test_groups)
    tested = tuple(np.concatenate(split.tests) for split in splits)
    return CrossValidation(
        choices=choices,
        tests=tested,
        paths=paths,
        sharpe=annual_sharpe(paths.T),
        naive_sharpe=annual_sharpe(naive.T),
        split_train=np.array([choice.sharpe for choice in choices]),
        split_test=np.array(
            [
                annual_sharpe(returns[rows, c.chosen : c.chosen + 1])[0]
                for rows, c in zip(tested, choices, strict=True)
            ]
        ),
    )


def check_groups(n_days: int, *, n_groups: int, n_test_groups: int, gap: int) -> None:
    """Refuse groups that the days cannot make, or gaps as long as a group.

    Raises
    ------
    ConfigError
        Naming the setting.
    """
    if not 2 <= n_groups <= n_days // 2:
        raise ConfigError(
            f"walk_forward.groups must be from 2 to {n_days // 2}, half of the days with positions, was {n_groups}"
        )
    if not 1 <= n_test_groups < n_groups:
        raise ConfigError(
            f"walk_forward.test_groups must be from 1 to {n_groups - 1}, was {n_test_groups}"
        )
    if gap >= n_days // n_groups:
        raise ConfigError(
            f"walk_forward.purge_days and walk_forward.embargo_days together must be shorter than a group of "
            f"{n_days // n_groups} days, were {gap}"
        )


def spared(n_days: int, *, n_groups: int, purge: int, embargo: int) -> tuple[int, int]:
    """Return purge and embargo cut to what a group can spare: each to a quarter of its days."""
    most = n_days // n_groups // 4
    return min(purge, most), min(embargo, most)


def _joined(
    returns: FloatArray,
    tests: Sequence[tuple[IntArray, ...]],
    chosen: Sequence[int],
    n_groups: int,
    n_test_groups: int,
) -> FloatArray:
    """Return the paths' daily returns: each group's from the split that tests it in that path."""
    order = combinatorial_paths(n_groups, n_test_groups)
    paths = np.empty((len(order), len(returns)))
    for path, splits in enumerate(order.tolist()):
        for group, split in enumerate(splits):
            rows = _group_rows(tests[split], group, len(returns), n_groups)
            paths[path, rows] = returns[rows, chosen[split]]
    return paths


def _group_rows(tests: tuple[IntArray, ...], group: int, n_days: int, n_groups: int) -> IntArray:
    """Return the test block of a split that is a given group."""
    first = group * (n_days // n_groups)
    return next(rows for rows in tests if rows[0] == first)
