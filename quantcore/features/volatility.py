r"""Volatility of closes: exponentially weighted, per bar, of log returns about zero.

`features.range_volatility` measures it from the ranges of bars.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.features.folding import empty_state, fold, positive
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels.ewm import ewm_var_step, half_life_decay
from quantcore.types import FloatArray, Panel

VERSION = 1

# Columns of the state, one row per symbol.
_VARIANCE, _WEIGHT, _CLOSE = 0, 1, 2


@njit(cache=True, error_model="numpy")
def realised_volatility_init(n_symbols: int) -> FloatArray:
    """Return the empty state, shape ``(n_symbols, 3)``: variance, its weight, last known close."""
    state = np.zeros((n_symbols, 3))
    state[:, _CLOSE] = np.nan
    return state


@njit(cache=True, error_model="numpy")
def realised_volatility_step(state: FloatArray, i: int, close: float, decay: float) -> float:
    """Return the volatility of one symbol's closes after one more, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 3)
        From `realised_volatility_init`; row `i` is advanced in place, unless the close is NaN.
    i : int
        Row of the symbol.
    close : float
        USDT per coin, NaN where missing.
    decay : float
        Decay per bar, in [0, 1).

    Returns
    -------
    float
        Per bar; NaN where the close is missing and before the first return.
    """
    if np.isnan(close):
        return np.nan
    change = math.log(close / state[i, _CLOSE])
    variance, weight = ewm_var_step(state[i, _VARIANCE], state[i, _WEIGHT], change, decay)
    state[i, _VARIANCE], state[i, _WEIGHT], state[i, _CLOSE] = variance, weight, close
    return math.sqrt(variance) if weight > 0.0 else np.nan


@njit(cache=True, error_model="numpy")
def realised_volatility_scan(closes: FloatArray, decay: float, state: FloatArray) -> FloatArray:
    """Return `realised_volatility_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = closes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = realised_volatility_step(state, i, closes[t, i], decay)
    return values


def realised_volatility(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the exponentially weighted volatility of the log returns of closes, about zero.

    .. math:: \sigma_t^2 = \frac{\sum_{i \ge 0} \lambda^i r_{t-i}^2}{\sum_{i \ge 0} \lambda^i}, \qquad
        \lambda = 2^{-1/h}

    Parameters
    ----------
    bars : Bars
        Only `close` is used.
    half_life : float
        Bars h until a weight halves, > 0.
    state : FoldState, optional
        From an earlier call with the same half-life; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Per bar, not annualised. NaN where the close is missing, which leaves the estimate unchanged, and before a
        symbol's first return; the return over a hole counts as one.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `half_life` is not finite and > 0.
    SchemaMismatch
        If `state` is of another feature, another half-life or another number of symbols.

    References
    ----------
    J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th ed., 1996, ch. 5: zero mean. Deviation: the weights are
    normalised from the start.
    """
    decay = half_life_decay(positive("half_life", half_life))
    symbols = realised_volatility_init(bars.n_symbols)
    empty = empty_state("realised_volatility", VERSION, (decay,), symbols=symbols)
    closes = bars.array("close")
    return fold(
        bars, state, empty, lambda held: realised_volatility_scan(closes, decay, held["symbols"])
    )
