"""Cross-validation in order of time: which rows train and which test, with a gap where they could leak into each other.

A label that looks h rows ahead makes a training row within h rows of a test row know the test's returns: *purging*
leaves such rows out on both sides of a test block. What a training row after it still remembers of the test block
through slow features is kept out by the *embargo*.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quantcore.types import IntArray


@dataclass(frozen=True)
class Split:
    """Rows of one split: those to train on, and one array per test group, in order of time."""

    train: IntArray
    tests: tuple[IntArray, ...]


def count_splits(n_groups: int, n_test_groups: int) -> int:
    r"""Return how many combinations of test groups there are, :math:`\binom{N}{k}`.

    Raises
    ------
    ValueError
        If `n_groups` is below 2 or `n_test_groups` not from 1 to n_groups - 1.

    Examples
    --------
    >>> count_splits(6, 2)
    15
    """
    _check_groups(n_groups, n_test_groups)
    return math.comb(n_groups, n_test_groups)


def count_paths(n_groups: int, n_test_groups: int) -> int:
    r"""Return how many whole backtests the test groups join up to, :math:`\frac{k}{N} \binom{N}{k}`.

    Raises
    ------
    ValueError
        As `count_splits`.

    Examples
    --------
    >>> count_paths(6, 2)
    5
    """
    _check_groups(n_groups, n_test_groups)
    return math.comb(n_groups - 1, n_test_groups - 1)


def combinatorial_splits(
    n_rows: int, *, n_groups: int, n_test_groups: int, purge: int, embargo: int
) -> Iterator[Split]:
    """Return the splits of combinatorial purged cross-validation, in lexicographic order of their test groups.

    Parameters
    ----------
    n_rows : int
        Rows of the record, at least `n_groups`.
    n_groups : int
        Groups of consecutive rows, >= 2; each has n_rows // n_groups of them, and the last one the rest too.
    n_test_groups : int
        Groups that test in each split, from 1 to n_groups - 1.
    purge : int
        Training rows left out on either side of each stretch of test rows, >= 0.
    embargo : int
        Further training rows left out after it, >= 0.

    Returns
    -------
    iterator of Split
        `count_splits` of them, made one by one.

    Raises
    ------
    ValueError
        If an argument is out of range, or purge and embargo together are as long as a group; on reaching a split to
        which they leave no training rows.

    References
    ----------
    López de Prado, *Advances in Financial Machine Learning*, 2018, ch. 7 and 12. Deviation: the purge is a number of
    rows instead of the labels' own ends, as in skfolio 1.12, whose groups these are too.

    Examples
    --------
    >>> first = next(combinatorial_splits(9, n_groups=3, n_test_groups=1, purge=1, embargo=1))
    >>> first.train.tolist(), [rows.tolist() for rows in first.tests]
    ([5, 6, 7, 8], [[0, 1, 2]])
    """
    _check_groups(n_groups, n_test_groups)
    if n_rows < n_groups:
        raise ValueError(f"n_rows must be >= n_groups = {n_groups}, was {n_rows}")
    for name, gap in (("purge", purge), ("embargo", embargo)):
        if gap < 0:
            raise ValueError(f"{name} must be >= 0, was {gap}")
    size = n_rows // n_groups
    if purge + embargo >= size:
        raise ValueError(
            f"purge + embargo must be < {size}, the rows of a group, was {purge + embargo}"
        )
    edges = [*(size * k for k in range(n_groups)), n_rows]
    groups = [np.arange(a, b, dtype=np.int64) for a, b in itertools.pairwise(edges)]
    return (
        _split(groups, chosen, purge, embargo)
        for chosen in itertools.combinations(range(n_groups), n_test_groups)
    )


def combinatorial_paths(n_groups: int, n_test_groups: int) -> IntArray:
    """Return which split tests each group of each path.

    A path is one whole backtest: its k-th entry names the split, in the order of `combinatorial_splits`, whose result
    on group k it takes. Every test group of every split belongs to exactly one path.

    Parameters
    ----------
    n_groups, n_test_groups : int
        As in `combinatorial_splits`.

    Returns
    -------
    int64 array, shape (n_paths, n_groups)
        Indices of splits, from 0.

    Raises
    ------
    ValueError
        As `count_splits`.

    References
    ----------
    López de Prado, *Advances in Financial Machine Learning*, 2018, ch. 12.4.

    Examples
    --------
    >>> combinatorial_paths(3, 2).tolist()
    [[0, 0, 1], [1, 2, 2]]
    """
    _check_groups(n_groups, n_test_groups)
    chosen = itertools.combinations(range(n_groups), n_test_groups)
    tested_in: list[list[int]] = [[] for _ in range(n_groups)]
    for split, groups in enumerate(chosen):
        for group in groups:
            tested_in[group].append(split)
    return np.array(tested_in, dtype=np.int64).T


def _split(groups: list[IntArray], chosen: tuple[int, ...], purge: int, embargo: int) -> Split:
    train = np.ones(groups[-1][-1] + 1, dtype=np.bool_)
    for k in chosen:
        first, last = int(groups[k][0]), int(groups[k][-1])
        # Two test groups side by side are one stretch: only its end is followed by an embargo.
        gap = 0 if k + 1 in chosen else purge + embargo
        train[max(first - purge, 0) : last + 1 + gap] = False
    if not train.any():
        raise ValueError(
            f"purge and embargo must leave training rows beside groups {chosen}, were {purge} and {embargo}"
        )
    return Split(np.flatnonzero(train).astype(np.int64), tuple(groups[k] for k in chosen))


def _check_groups(n_groups: int, n_test_groups: int) -> None:
    if n_groups < 2:
        raise ValueError(f"n_groups must be >= 2, was {n_groups}")
    if not 1 <= n_test_groups < n_groups:
        raise ValueError(f"n_test_groups must be in [1, {n_groups - 1}], was {n_test_groups}")
