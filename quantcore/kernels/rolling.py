r"""Sum, mean, minimum, maximum and standard deviation over an exact window, as folds.

A running sum that adds the new value and subtracts the old one drifts. Here nothing is ever subtracted: the stream is
cut into blocks of the window's length, and a window is the end of one block plus the beginning of the next,

.. math:: \bigoplus_{k=t-n+1}^{t} x_k = \Big(\bigoplus_{k=t-n+1}^{b-1} x_k\Big) \oplus \Big(\bigoplus_{k=b}^{t} x_k\Big)

with b the block's first bar. The right part grows by one value per bar; the left parts of all bars of a block are
computed together, from its end backwards, when the block is complete. So a step costs O(1) on average for every
associative operation, the error is that of one plain pass over the window, and a minimum or maximum is exact.
(van Herk 1992; Gil and Werman 1993; for the moments: Chan, Golub and LeVeque 1983, eq. 2.1.)

Every window must be whole: a NaN empties it, and the result is NaN until as many values in a row have been seen as the
window is long (pandas: ``rolling(n)`` with its default ``min_periods``). Scans advance the state they are given in
place.

The state of one symbol is a row of ``window + 2`` numbers: the block (values up to the present position, beyond it the
left parts of the previous block), the right part, and how many values have been seen since the last NaN. `rolling_std`
has two such rows, for means and sums of squared deviations.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray

SUM = 0
MIN = 1
MAX = 2


@inner()
def _combine(left: float, right: float, operation: int) -> float:
    if operation == SUM:
        return left + right
    if operation == MIN:
        return min(left, right)
    return max(left, right)


@njit(cache=True, error_model="numpy")
def rolling_init(n_symbols: int, window: int) -> FloatArray:
    """Return the empty state of a sum, minimum or maximum, shape ``(n_symbols, window + 2)``; window >= 1 bars."""
    return np.zeros((n_symbols, window + 2))


@njit(cache=True, error_model="numpy")
def rolling_step(state: FloatArray, value: float, operation: int) -> float:
    """Return `SUM`, `MIN` or `MAX` of the last `window` values, the new one included, advancing one symbol's state.

    Parameters
    ----------
    state : float64 array, shape (window + 2,)
        One row of `rolling_init`; advanced in place.
    value : float
        NaN empties the window.
    operation : int
        `SUM`, `MIN` or `MAX`.

    Returns
    -------
    float
        NaN until `window` values in a row have been seen.
    """
    window = state.shape[0] - 2
    if np.isnan(value):
        state[window + 1] = 0.0
        return np.nan
    count = int(state[window + 1])
    at = count % window
    state[window + 1] = count + 1.0
    state[at] = value
    right = value if at == 0 else _combine(state[window], value, operation)
    state[window] = right
    if at < window - 1:
        return _combine(state[at + 1], right, operation) if count >= window else np.nan
    for k in range(window - 2, -1, -1):
        state[k] = _combine(state[k], state[k + 1], operation)
    return right


@njit(cache=True, error_model="numpy")
def rolling_scan(values: FloatArray, operation: int, state: FloatArray) -> FloatArray:
    """Return `SUM`, `MIN` or `MAX` of the window that ends in each row, advancing `state`.

    Parameters
    ----------
    values : float64 array, shape (n_bars, n_symbols)
        NaN where missing.
    operation : int
        `SUM`, `MIN` or `MAX`.
    state : float64 array, shape (n_symbols, window + 2)
        From `rolling_init` or an earlier scan; advanced in place.

    Returns
    -------
    float64 array, shape (n_bars, n_symbols)
        In the unit of the values; NaN where the window is not whole.
    """
    return _scan(values, operation, 1.0, state)


@inner()
def _scan(values: FloatArray, operation: int, divisor: float, state: FloatArray) -> FloatArray:
    # `rolling_step` with the position and the right part in registers: no modulo, and no load after a store.
    n_bars, n_symbols = values.shape
    window = state.shape[1] - 2
    results = np.empty((n_bars, n_symbols))
    for i in range(n_symbols):
        count, right = int(state[i, window + 1]), state[i, window]
        at = count % window
        for t in range(n_bars):
            value = values[t, i]
            if np.isnan(value):
                count = at = 0
                results[t, i] = np.nan
                continue
            state[i, at] = value
            right = value if at == 0 else _combine(right, value, operation)
            count += 1
            if at < window - 1:
                whole = _combine(state[i, at + 1], right, operation)
                results[t, i] = whole / divisor if count > window else np.nan
                at += 1
                continue
            for k in range(window - 2, -1, -1):
                state[i, k] = _combine(state[i, k], state[i, k + 1], operation)
            results[t, i] = right / divisor
            at = 0
        state[i, window], state[i, window + 1] = right, count
    return results


@njit(cache=True, error_model="numpy")
def rolling_mean_scan(values: FloatArray, state: FloatArray) -> FloatArray:
    """Return the mean of the window that ends in each row: the sum of `rolling_scan` over the window's length."""
    return _scan(values, SUM, float(state.shape[1] - 2), state)


@njit(cache=True, error_model="numpy")
def rolling_std_init(n_symbols: int, window: int) -> FloatArray:
    """Return the empty state of a standard deviation, shape ``(n_symbols, 2, window + 2)``; window >= 2 bars."""
    return np.zeros((n_symbols, 2, window + 2))


@inner()
def _merge_moments(
    n_left: int, mean_left: float, m2_left: float, n_right: int, mean_right: float, m2_right: float
) -> tuple[float, float]:
    n = n_left + n_right
    delta = mean_right - mean_left
    mean = mean_left + delta * n_right / n
    return mean, m2_left + m2_right + delta * delta * n_left * n_right / n


@njit(cache=True, error_model="numpy")
def rolling_std_step(state: FloatArray, value: float) -> float:
    """Return the sample standard deviation (n - 1) of the last `window` values, advancing one symbol's state.

    Parameters
    ----------
    state : float64 array, shape (2, window + 2)
        One entry of `rolling_std_init`; advanced in place.
    value : float
        NaN empties the window.

    Returns
    -------
    float
        In the unit of the values; exactly 0 for a constant, NaN until `window` values in a row have been seen.
    """
    window = state.shape[1] - 2
    if np.isnan(value):
        state[0, window + 1] = 0.0
        return np.nan
    count = int(state[0, window + 1])
    at = count % window
    state[0, window + 1] = count + 1.0
    state[0, at] = value
    state[1, at] = 0.0
    mean, m2 = value, 0.0
    if at > 0:
        mean, m2 = _merge_moments(at, state[0, window], state[1, window], 1, value, 0.0)
    state[0, window] = mean
    state[1, window] = m2
    if at < window - 1:
        if count < window:
            return np.nan
        n_left = window - 1 - at
        _, m2 = _merge_moments(n_left, state[0, at + 1], state[1, at + 1], at + 1, mean, m2)
        return float(np.sqrt(m2 / (window - 1)))
    for k in range(window - 2, -1, -1):
        left_mean, left_m2 = _merge_moments(
            1, state[0, k], 0.0, window - 1 - k, state[0, k + 1], state[1, k + 1]
        )
        state[0, k] = left_mean
        state[1, k] = left_m2
    return float(np.sqrt(m2 / (window - 1)))


@njit(cache=True, error_model="numpy")
def rolling_std_scan(values: FloatArray, state: FloatArray) -> FloatArray:
    """Return the sample standard deviation of the window that ends in each row, advancing `state`.

    Parameters
    ----------
    values : float64 array, shape (n_bars, n_symbols)
        NaN where missing.
    state : float64 array, shape (n_symbols, 2, window + 2)
        From `rolling_std_init` or an earlier scan; advanced in place.

    Returns
    -------
    float64 array, shape (n_bars, n_symbols)
        In the unit of the values; NaN where the window is not whole.
    """
    n_bars, n_symbols = values.shape
    results = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            results[t, i] = rolling_std_step(state[i], values[t, i])
    return results
