"""The value that a symbol had some rows ago, as a fold: a ring of the last values, holes filled with what was known.

The state of one symbol is a row of ``lag + 1`` numbers: the place in the ring that is next, then the ring.
"""

from __future__ import annotations

import numpy as np
from numba import njit

import quantcore.kernels  # noqa: F401 - tells numba where to keep what it compiles
from quantcore.types import FloatArray


@njit(cache=True, error_model="numpy")
def lag_init(n_symbols: int, lag: int) -> FloatArray:
    """Return the empty state, shape ``(n_symbols, lag + 1)``: nothing known; lag >= 1 rows."""
    state = np.full((n_symbols, lag + 1), np.nan)
    state[:, 0] = 0.0
    return state


@njit(cache=True, error_model="numpy")
def lag_last(state: FloatArray, i: int) -> float:
    """Return the last value known of one symbol; NaN where there was none."""
    at = int(state[i, 0])
    return float(state[i, at if at > 0 else state.shape[1] - 1])


@njit(cache=True, error_model="numpy")
def lag_step(state: FloatArray, i: int, value: float) -> float:
    """Return the last value known `lag` calls ago, and remember this call's, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, lag + 1)
        From `lag_init`; row `i` is advanced in place.
    i : int
        Row of the symbol.
    value : float
        NaN where missing: then the call remembers the value known before it.

    Returns
    -------
    float
        NaN where nothing was known `lag` calls ago.
    """
    at = int(state[i, 0])
    earlier = state[i, at + 1]
    state[i, at + 1] = lag_last(state, i) if np.isnan(value) else value
    state[i, 0] = (at + 1) % (state.shape[1] - 1)
    return float(earlier)
