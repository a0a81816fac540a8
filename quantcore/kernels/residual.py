r"""Returns beside the market: what of a symbol's return its exposure to the mean of all does not explain.

With :math:`m_t` the mean return of the symbols that have one, and exponentially weighted moments about zero,

.. math:: \beta_{i,t} = \frac{\sum_k \lambda^k r_{i,t-k}\,m_{t-k}}{\sum_k \lambda^k m_{t-k}^2}, \qquad
    e_{i,t} = r_{i,t} - \beta_{i,t-1}\,m_t

The exposure is that of the day before: a return does not explain itself.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray

# Columns of the state, one row per symbol: sums of products, of the market's squares and of squared residuals, their
# weight, and how many returns were seen.
_PRODUCT, _SQUARE, _RESIDUAL, _WEIGHT, _SEEN = 0, 1, 2, 3, 4
N_RESIDUAL = 5
SEEN_MIN = 20.0
"""Returns from which on a symbol's exposure is its own; before, it is 1."""


@njit(cache=True, error_model="numpy")
def residual_init(n_symbols: int) -> FloatArray:
    """Return the empty state, shape ``(n_symbols, 5)``: four weighted sums, and how many returns were seen."""
    return np.zeros((n_symbols, N_RESIDUAL))


@inner()
def residual_step(
    state: FloatArray, returns: FloatArray, decay: float, residuals: FloatArray
) -> float:
    """Fill `residuals` from one row of returns, advancing the state; return the market's return.

    A NaN return gives a NaN residual and leaves the symbol's moments as they are; NaN for all where nobody has one.
    """
    market, known = 0.0, 0
    for i in range(len(returns)):
        if not np.isnan(returns[i]):
            market += returns[i]
            known += 1
    market = market / known if known > 0 else np.nan
    for i in range(len(returns)):
        value = returns[i]
        residuals[i] = np.nan
        if np.isnan(value):
            continue
        beta = 1.0
        if state[i, _SEEN] >= SEEN_MIN and state[i, _SQUARE] > 0.0:
            beta = state[i, _PRODUCT] / state[i, _SQUARE]
        residual = value - beta * market
        residuals[i] = residual
        state[i, _PRODUCT] = decay * state[i, _PRODUCT] + value * market
        state[i, _SQUARE] = decay * state[i, _SQUARE] + market * market
        state[i, _RESIDUAL] = decay * state[i, _RESIDUAL] + residual * residual
        state[i, _WEIGHT] = decay * state[i, _WEIGHT] + 1.0
        state[i, _SEEN] += 1.0
    return market


@inner()
def settled_vol(state: FloatArray, i: int) -> float:
    """Return `residual_vol` once `SEEN_MIN` returns were seen, else 0: the first few would make any score."""
    return residual_vol(state, i) if state[i, _SEEN] >= SEEN_MIN else 0.0


@inner()
def residual_vol(state: FloatArray, i: int) -> float:
    """Return the exponentially weighted volatility of a symbol's residuals about zero; 0 before the first."""
    weight = state[i, _WEIGHT]
    return np.sqrt(state[i, _RESIDUAL] / weight) if weight > 0.0 else 0.0
