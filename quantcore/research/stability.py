"""Stability of parameters over the folds of a walk-forward: how often a choice stays, and how far it moves.

Distances are counted in steps of the tried values, so that they need no unit: a parameter whose values are numbers
moves by the share of its range of tried values that lies between two choices, any other one by 1 where it changes at
all. Beside each number stands what drawing a set anew for every fold would give: choices that move as far as draws do
say that the parameter was fitted to noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from quantcore.types import Array, FloatArray


@dataclass(frozen=True, kw_only=True)
class Stability:
    """How stable the choices of successive folds are; NaN with a single fold.

    Parameters
    ----------
    same_set : float
        Share of the borders between folds at which the chosen set stays.
    same_set_drawn : float
        The same if sets were drawn.
    distance : float
        Mean over borders and parameters of how far the choice moves, in [0, 1].
    distance_drawn : float
        The same if sets were drawn.
    parameters : mapping of str to tuple of float
        By path: share of the borders at which the value stays, the same if drawn, mean distance, the same if drawn.
    """

    same_set: float
    same_set_drawn: float
    distance: float
    distance_drawn: float
    parameters: Mapping[str, tuple[float, float, float, float]]


def stability(sets: Sequence[Mapping[str, object]], chosen: Sequence[int]) -> Stability:
    """Return how stable choices are.

    Parameters
    ----------
    sets : sequence of mapping of str to object
        Each set's values by path; all with the same paths.
    chosen : sequence of int
        Row of the chosen set of each fold, in order of time; at least one.

    Raises
    ------
    ValueError
        If there are no sets, no parameters or no choices.
    """
    if not sets or not sets[0] or not chosen:
        raise ValueError(f"sets and chosen must not be empty, were {len(sets)} and {len(chosen)}")
    borders = list(pairwise(chosen))
    found: dict[str, tuple[float, float, float, float]] = {}
    for path in sets[0]:
        places = _places([values[path] for values in sets])
        steps = _apart(places[list(chosen[1:])], places[list(chosen[:-1])])
        levels, counts = np.unique(places, return_counts=True)
        shares = counts / len(sets)
        drawn = float(shares @ _apart(levels[:, np.newaxis], levels[np.newaxis, :]) @ shares)
        found[path] = (_mean(steps == 0.0), float(shares @ shares), _mean(steps), drawn)
    means = np.array([[distance, drawn] for _, _, distance, drawn in found.values()])
    return Stability(
        same_set=_mean(np.array([a == b for a, b in borders])),
        same_set_drawn=1.0 / len(sets),
        distance=_mean(means[:, 0]),
        distance_drawn=_mean(means[:, 1]),
        parameters=found,
    )


def _places(values: Sequence[object]) -> FloatArray:
    """Return where each value stands: numbers by rank from 0 to 1, others one apart from each other."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        levels = sorted(set(numbers))
        top = max(len(levels) - 1, 1)
        return np.array([levels.index(v) / top for v in numbers])
    names = list(dict.fromkeys(map(repr, values)))
    return np.array([float(names.index(repr(v))) for v in values])


def _apart(one: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(np.abs(one - other).clip(max=1.0))


def _mean(values: Array) -> float:
    return float(np.mean(values)) if len(values) else math.nan
