"""What the sets of a sweep say together: whether the best one stands alone, and which one rather to take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from quantcore.finance.overfitting import expected_max_sharpe
from quantcore.research.parameter_importance import Importance, importance
from quantcore.research.sweep_axes import Axis, axes_of
from quantcore.types import FloatArray, IntArray

OBJECTIVE = "sharpe"
"""Column by which sets are judged."""
NEAREST_MIN = 4
"""Fewest nearest sets that are a neighbourhood where sets were sampled."""
LATTICE_FILLED = 2.0 / 3.0
"""Share of all combinations that must be there for the next value of one parameter to be looked for.

More than the half that is there where one parameter is drawn anew for every set and another has two options.
"""
PLATEAU = 0.75
"""Share of the best set's value that its median neighbour keeps on a plateau."""
NOBODY = -1
"""In place of a neighbour that is not there."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The sets around each set.

    Parameters
    ----------
    rows : int64 array, shape (n_sets, n_most)
        Row numbers, `NOBODY` where there are fewer.
    adjacent : bool
        True: those one step away in a single parameter. False: the nearest ones of a sample.
    """

    rows: IntArray = field(repr=False)
    adjacent: bool

    def values(self, known: FloatArray) -> FloatArray:
        """Return the neighbours' values, shape (n_sets, n_most), NaN where there is none or it is unknown."""
        padded = np.append(known, np.nan)
        return np.asarray(padded[self.rows])


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The best set and what surrounds it.

    Parameters
    ----------
    best : int
        Row of the set with the highest value, the first of several.
    value, median : float
        Its value, and the median over all sets.
    around : int
        Known neighbours of it.
    around_median : float
        Median of their values, NaN without any.
    kept : float
        `around_median` as a share of `value`; NaN without neighbours, or if `value` is not positive.
    centre : int
        Row of the set whose neighbourhood, itself included, has the highest mean: the one rather to take.
    centre_value, centre_mean : float
        That set's own value, and the mean.
    adjacent : bool
        As in `Neighbours`.
    """

    best: int
    value: float
    median: float
    around: int
    around_median: float
    kept: float
    centre: int
    centre_value: float
    centre_mean: float
    adjacent: bool

    @property
    def holds(self) -> bool | None:
        """Whether the neighbours keep at least `PLATEAU` of the value; None where there is nothing to compare with."""
        return None if math.isnan(self.kept) else self.kept >= PLATEAU


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the table of a finished sweep says by itself.

    Parameters
    ----------
    axes : tuple of Axis
        The parameters that differ between sets.
    values : float64 array, shape (n_sets,)
        The objective of each set, NaN where unknown.
    peak : Peak or None
        None if no set has a value.
    luck : float
        The highest value that as many independent trials without any skill would be expected to show, in the unit of
        the values; NaN where it cannot be said.
    importance : Importance or None
        None if the sets are too few or all alike.
    """

    axes: tuple[Axis, ...]
    values: FloatArray = field(repr=False)
    peak: Peak | None
    luck: float
    importance: Importance | None = field(repr=False)


def findings(
    table: pd.DataFrame,
    parameters: Sequence[str],
    *,
    trials: float,
    variance: float | None = None,
    seed: int = 0,
) -> Findings:
    """Return what the table of a finished sweep says.

    Parameters
    ----------
    table : DataFrame
        One row per set with the parameters' columns and `OBJECTIVE`, NaN where a set was refused or did not trade.
    parameters : sequence of str
        Override paths, names of columns.
    trials : float
        Effectively independent trials among the sets, see `finance.overfitting.effective_trials`; NaN where unknown.
    variance : float or None
        Of annual Sharpe ratios of records of this length without skill: what the best is deflated by. None takes that
        of the sets.
    seed : int
        Of the forest by which importance is measured.

    Raises
    ------
    KeyError
        If the table lacks one of the columns.
    """
    axes = axes_of(table, parameters)
    values = table[OBJECTIVE].to_numpy(np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    return Findings(
        axes=axes,
        values=values,
        peak=peak(values, neighbours(axes, len(values))),
        luck=luck(values, trials, variance),
        importance=importance(axes, values, seed=seed),
    )


def luck(values: FloatArray, trials: float, variance: float | None = None) -> float:
    """Return the best value to expect of trials without skill.

    Parameters
    ----------
    values : float64 array, shape (n_sets,)
        Sharpe ratios; NaN is left out.
    trials : float
        Independent ones among them.
    variance : float or None
        Of such trials; None takes that of the sets, which is too little where they hold nearly the same.

    Returns
    -------
    float
        NaN with fewer than two known values or if `trials` is NaN.

    References
    ----------
    As `finance.overfitting.expected_max_sharpe`.
    """
    known = values[~np.isnan(values)]
    if len(known) < 2 or math.isnan(trials):
        return math.nan
    scatter = float(known.var(ddof=1)) if variance is None else variance
    return expected_max_sharpe(max(trials, 1.0), variance=scatter)


def neighbours(axes: Sequence[Axis], n_sets: int) -> Neighbours:
    """Return the sets around each set.

    On a grid, of which at least `LATTICE_FILLED` is there, these are the sets that differ by one step in one numerical
    parameter. Otherwise they are the nearest sets with the same words, as many as a grid's set would have but at least
    `NEAREST_MIN`, by the Euclidean distance of the ranks on each axis (scaled to [0, 1], so that neither units nor
    logarithms matter).

    Parameters
    ----------
    axes : sequence of Axis
        Parameters that differ.
    n_sets : int
        Number of sets.
    """
    numeric = [axis for axis in axes if int(axis.numeric.sum()) > 1]
    combinations = math.prod(len(axis.values) for axis in axes)
    if not numeric:
        return Neighbours(rows=np.empty((n_sets, 0), np.int64), adjacent=True)
    if combinations * LATTICE_FILLED <= n_sets:
        return Neighbours(rows=_adjacent(axes), adjacent=True)
    return Neighbours(rows=_nearest(axes, numeric, n_sets), adjacent=False)


def peak(values: FloatArray, around: Neighbours) -> Peak | None:
    """Return the best set, what surrounds it, and the centre of the best plateau; None if no value is known.

    Only sets with at least half as many known neighbours as the best surrounded one can be the centre: a lone set at
    the edge of what was refused has nothing that speaks for it.
    """
    known = ~np.isnan(values)
    if not known.any():
        return None
    best = int(np.nanargmax(values))
    beside = around.values(values)
    counts = (~np.isnan(beside)).sum(axis=1)
    total = np.nansum(beside, axis=1) + np.where(known, values, 0.0)
    enough = known & (2 * counts >= counts[known].max())
    means = np.where(enough, total / (counts + 1), -np.inf)
    centre = int(means.argmax()) if counts[known].max() else best
    own = beside[best][~np.isnan(beside[best])]
    value, median = float(values[best]), float(np.median(values[known]))
    middle = float(np.median(own)) if len(own) else math.nan
    return Peak(
        best=best,
        value=value,
        median=median,
        around=len(own),
        around_median=middle,
        kept=middle / value if value > 0.0 else math.nan,
        centre=centre,
        centre_value=float(values[centre]),
        centre_mean=float(total[centre] / (counts[centre] + 1)),
        adjacent=around.adjacent,
    )


def _adjacent(axes: Sequence[Axis]) -> IntArray:
    """Return the rows one step up and one step down each axis of a grid."""
    sizes = tuple(len(axis.values) for axis in axes)
    keys = np.ravel_multi_index(tuple(axis.ranks for axis in axes), sizes)
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    strides = np.cumprod([1, *sizes[:0:-1]])[::-1]
    columns = []
    for axis, stride in zip(axes, strides.tolist(), strict=True):
        for step in (-1, 1):
            to = axis.ranks + step
            inside = (to >= 0) & (to < len(axis.values))
            inside &= axis.numeric[axis.ranks] & axis.numeric[np.clip(to, 0, len(axis.values) - 1)]
            place = np.searchsorted(sorted_keys, keys + step * stride)
            place = np.minimum(place, len(keys) - 1)
            found = inside & (sorted_keys[place] == keys + step * stride)
            columns.append(np.where(found, order[place], NOBODY))
    return np.column_stack(columns)


def _nearest(axes: Sequence[Axis], numeric: Sequence[Axis], n_sets: int) -> IntArray:
    """Return the nearest rows among those with the same words."""
    from scipy.spatial import cKDTree

    most = max(NEAREST_MIN, 2 * len(numeric))
    places = np.column_stack([axis.ranks / (len(axis.values) - 1) for axis in numeric])
    words = [np.where(axis.numeric[axis.ranks], NOBODY, axis.ranks) for axis in axes]
    _, group = np.unique(np.column_stack(words), axis=0, return_inverse=True)
    rows = np.full((n_sets, most), NOBODY, dtype=np.int64)
    for g in range(int(group.max()) + 1):
        members = np.flatnonzero(group == g)
        reach = min(most + 1, len(members))
        if reach < 2:
            continue
        _, near = cKDTree(places[members]).query(places[members], k=reach)
        own = near == np.arange(len(members))[:, None]
        own[~own.any(axis=1), -1] = (
            True  # among sets in the same place its own row may not be listed
        )
        others = near[~own].reshape(len(members), reach - 1)
        rows[members, : reach - 1] = members[others]
    return rows
