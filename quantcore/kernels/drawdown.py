"""The deepest drawdown of a curve in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.types import FloatArray


@njit(cache=True, error_model="numpy")
def deepest_drawdown(values: FloatArray, start: float) -> float:
    """Return the lowest ``value / peak - 1`` with `start` as the first peak; NaN rows are passed over."""
    peak, deepest = start, np.nan
    for value in values:
        peak = value if value > peak else peak
        depth = value / peak - 1.0
        if depth < deepest or np.isnan(deepest):
            deepest = depth
    return float(deepest)
