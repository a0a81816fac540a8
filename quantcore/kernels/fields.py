"""Decision bars as kernels that run many parameter sets read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray


class Fields(NamedTuple):
    """Fields of decision bars, each of shape ``(n_bars, n_symbols)`` but the stamps; NaN where not known."""

    ts_us: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    funding_rate: FloatArray


@dataclass(frozen=True, kw_only=True)
class Features:
    """What several parameter sets of a strategy have in common, each measured once.

    Parameters
    ----------
    vector : float64 array
        Settings of the features, as the strategy's `fill_features` reads them.
    state : float64 array
        Their empty state.
    vectors : float64 array, shape (n_sets, n)
        Settings of each set, as its `fill_from_features` reads them, with the places of its features; from `stacked`.
    n_features : int
        Rows that `fill_features` fills for each bar and symbol.
    n_alone : int
        Features that the sets would measure without sharing.
    """

    vector: FloatArray = field(repr=False)
    state: FloatArray = field(repr=False)
    vectors: FloatArray = field(repr=False)
    n_features: int
    n_alone: int


def stacked(vectors: Sequence[FloatArray]) -> FloatArray:
    """Return vectors as the rows of one array; those shorter than the longest are filled up with NaN."""
    filled = np.full((len(vectors), max(len(each) for each in vectors)), np.nan)
    for row, vector in zip(filled, vectors, strict=True):
        row[: len(vector)] = vector
    return filled


@inner()
def n_filled(vector: FloatArray) -> int:
    """Return how many numbers a vector holds without the NaN that `stacked` filled it up with."""
    n = len(vector)
    while n > 0 and math.isnan(vector[n - 1]):
        n -= 1
    return n
