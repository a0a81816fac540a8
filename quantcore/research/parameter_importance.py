"""How much of the differences between sets each parameter explains: functional analysis of variance of a forest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantcore.research.sweep_axes import Axis
from quantcore.types import BoolArray, FloatArray

TREES = 32
SETS_MIN = 8
"""Fewest sets with a value from which anything is said."""
LEAVES = 2000
"""Leaves of a tree at most, about: what many sets are pooled to."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Shares of the variance of an objective over a space of parameters.

    Parameters
    ----------
    main : float64 array, shape (n_axes,)
        Share that each parameter explains alone.
    pairs : float64 array, shape (n_axes, n_axes)
        Share that two explain together beyond what they explain alone; symmetric, zero diagonal.
    curves : tuple of float64 array
        For each axis the mean objective at each of its levels, over all values of the other parameters.
    spreads : tuple of float64 array
        Standard deviation of that mean over the trees.
    predicted : float
        Share of the variance that the forest explains of sets that it was not fitted to, at most 1; the rest is noise
        or too intricate, and shares of it mean little where this is low.
    """

    main: FloatArray
    pairs: FloatArray
    curves: tuple[FloatArray, ...] = field(repr=False)
    spreads: tuple[FloatArray, ...] = field(repr=False)
    predicted: float

    @property
    def total(self) -> FloatArray:
        """Share of each parameter alone and together with one other."""
        return np.asarray(self.main + self.pairs.sum(axis=1))

    def order(self) -> list[int]:
        """Return the axes from the most important one on, by `total`."""
        return [int(k) for k in np.argsort(-self.total, kind="stable")]

    def pair_order(self) -> dict[tuple[int, int], float]:
        """Return pairs of axes from the most telling one on: what both matter, and what they explain together."""
        pairs = itertools.combinations(range(len(self.main)), 2)
        told = {(i, j): float(min(self.main[i], self.main[j]) + self.pairs[i, j]) for i, j in pairs}
        return dict(sorted(told.items(), key=lambda item: -item[1]))


def importance(axes: Sequence[Axis], values: FloatArray, *, seed: int) -> Importance | None:
    r"""Return how much of the variance of `values` each parameter and each pair of parameters explains.

    A random forest is fitted to the sets. Each tree is constant on boxes, so that its mean over all other parameters,
    :math:`a_U(x_U) = \sum_\ell c_\ell\, [x_U \in \ell] \prod_{i \notin U} p_i(\ell)`, and with it the variance that
    the parameters U explain, is exact. Every level of a parameter (`Axis.labels`) weighs the same.

    Parameters
    ----------
    axes : sequence of Axis
        Parameters that differ.
    values : float64 array, shape (n_sets,)
        The objective; sets where it is NaN are left out.
    seed : int
        Of the forest.

    Returns
    -------
    Importance or None
        None with no axis, with fewer than `SETS_MIN` known values, or if these are all alike.

    References
    ----------
    Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", *ICML* 2014, algorithms
    1 and 2. Deviation: over the levels that were tried, each weighing the same, instead of a continuous uniform
    distribution; parameters with many values are put into bins.
    """
    from sklearn.ensemble import RandomForestRegressor

    known = ~np.isnan(values)
    if not axes or known.sum() < SETS_MIN or np.ptp(values[known]) == 0.0:
        return None
    grid = _Grid.of(axes)
    features = grid.features[:, known].T
    forest = RandomForestRegressor(
        TREES,
        min_samples_leaf=max(1, int(known.sum()) // LEAVES),
        random_state=seed,
    )
    target = values[known]
    forest.fit(features, target)
    told = [grid.variances(tree.tree_) for tree in forest.estimators_]
    parts = [part for part in told if part is not None]
    if not parts:
        return None
    curves = [np.array([part.curves[i] for part in parts]) for i in range(len(axes))]
    return Importance(
        main=np.mean([part.main for part in parts], axis=0),
        pairs=np.mean([part.pairs for part in parts], axis=0),
        curves=tuple(curve.mean(axis=0) for curve in curves),
        spreads=tuple(curve.std(axis=0) for curve in curves),
        predicted=_out_of_bag(forest, features, target),
    )


@dataclass(frozen=True)
class _Parts:
    main: FloatArray
    pairs: FloatArray
    curves: list[FloatArray]


@dataclass(frozen=True)
class _Grid:
    """The levels of all axes side by side, and the features that a tree sees of them.

    A numerical axis is one feature, its level's number. Of words each is a feature of its own, 1 where it is the one.

    Parameters
    ----------
    slices : list of slice
        Where each axis's levels stand among all levels.
    features : array, shape (n_features, n_sets)
        Of the sets.
    at_levels : array, shape (n_features, n_levels)
        Of the levels; NaN at the levels of other axes.
    """

    slices: list[slice]
    features: FloatArray
    at_levels: FloatArray

    @classmethod
    def of(cls, axes: Sequence[Axis]) -> _Grid:
        ends = np.cumsum([0, *(len(axis.labels) for axis in axes)]).tolist()
        slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
        features, at_levels = [], []
        for axis, part in zip(axes, slices, strict=True):
            levels = np.arange(len(axis.labels), dtype=np.float64)
            seen = levels[None] if axis.is_numeric else np.eye(len(levels))
            for row in seen:
                features.append(row[axis.codes])
                everywhere = np.full(ends[-1], np.nan)
                everywhere[part] = row
                at_levels.append(everywhere)
        return cls(slices, np.array(features), np.array(at_levels))

    def variances(self, tree: Any) -> _Parts | None:
        """Return the shares of one tree's variance; None where it is constant."""
        inside, values = self._boxes(tree)
        shares = np.column_stack([inside[:, part].mean(axis=1) for part in self.slices])
        volumes = shares.prod(axis=1)
        mean = float(volumes @ values)
        total = float(volumes @ (values - mean) ** 2)
        if total <= 1e-300:
            return None
        without = [volumes / shares[:, i] for i in range(len(self.slices))]
        boxes = [inside[:, part].astype(np.float64) for part in self.slices]
        curves = [(values * without[i]) @ boxes[i] for i in range(len(boxes))]
        main = np.array([float(((curve - mean) ** 2).mean()) for curve in curves])
        pairs = np.zeros((len(boxes), len(boxes)))
        for i, j in itertools.combinations(range(len(boxes)), 2):
            weights = values * without[i] / shares[:, j]
            surface = (boxes[i] * weights[:, None]).T @ boxes[j]
            own = surface - curves[i][:, None] - curves[j][None, :] + mean
            pairs[i, j] = pairs[j, i] = float((own**2).mean())
        return _Parts(main / total, pairs / total, curves)

    def _boxes(self, tree: Any) -> tuple[BoolArray, FloatArray]:
        """Return which levels each leaf's box holds, shape (n_leaves, n_levels), and the leaves' values."""
        inside = np.ones((tree.node_count, self.at_levels.shape[1]), dtype=np.bool_)
        nodes = np.zeros(1, dtype=np.int64)
        while len(nodes):
            nodes = nodes[tree.children_left[nodes] != tree.children_right[nodes]]
            at = self.at_levels[tree.feature[nodes]]
            low = at <= tree.threshold[nodes][:, None]
            other = np.isnan(at)
            left, right = tree.children_left[nodes], tree.children_right[nodes]
            inside[left] = inside[nodes] & (low | other)
            inside[right] = inside[nodes] & (~low | other)
            nodes = np.concatenate([left, right])
        leaves = tree.children_left == tree.children_right
        return inside[leaves], np.asarray(tree.value[leaves, 0, 0])


def _out_of_bag(forest: Any, features: FloatArray, target: FloatArray) -> float:
    """Return the share of variance that trees explain of the sets which they were not fitted to."""
    total, count = np.zeros(len(target)), np.zeros(len(target))
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        out = np.ones(len(target), dtype=np.bool_)
        out[drawn] = False
        if out.any():
            total[out] += tree.predict(features[out])
            count[out] += 1
    seen = count > 0
    errors = target[seen] - total[seen] / count[seen]
    return float(1.0 - (errors @ errors) / ((target[seen] - target[seen].mean()) ** 2).sum())
