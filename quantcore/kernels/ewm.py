r"""Exponentially weighted mean, variance and covariance as folds: an `init`, a `step` and a scan of each.

The weights are normalised from the first value on, so that there is no start-up bias and no start value to choose:

.. math::
    \bar x_t = \frac{\sum_{i \ge 0} \lambda^i x_{t-i}}{\sum_{i \ge 0} \lambda^i}
    \qquad\text{by}\qquad
    w_t = \lambda w_{t-1} + 1, \quad \bar x_t = \bar x_{t-1} + \frac{x_t - \bar x_{t-1}}{w_t}

A NaN leaves mean and weight as they are, as if the row were not there (pandas: ``adjust=True, ignore_na=True``).
The correction form keeps the mean of a constant exactly constant, which quotients of two sums do not.

A state starts as zeros; a weight of 0 means "nothing seen". Scans advance the state they are given in place.
Divisions are IEEE (``error_model="numpy"``): Python's check for zero is a second way out of a function, and numba then
keeps reference counts on its arrays in every call.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray


@njit(cache=True, error_model="numpy")
def half_life_decay(half_life: float) -> float:
    r"""Return the decay per bar :math:`\lambda = 2^{-1/h}` of a half-life in bars, > 0."""
    return float(2.0 ** (-1.0 / half_life))


@njit(cache=True, error_model="numpy")
def span_decay(span: float) -> float:
    r"""Return the decay per bar :math:`\lambda = 1 - 2/(s+1)` of a span in bars, >= 1."""
    return 1.0 - 2.0 / (span + 1.0)


def bars_to_forget(decay: float, share: float) -> int:
    r"""Return the least n with :math:`\lambda^n \le` share: all but the last n values together weigh at most `share`.

    Parameters
    ----------
    decay : float
        Decay per bar, in [0, 1).
    share : float
        In (0, 1).

    Raises
    ------
    ValueError
        If `decay` or `share` is out of its range.

    Examples
    --------
    >>> bars_to_forget(half_life_decay(10.0), 0.25)
    20
    """
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay must be in [0, 1), was {decay}")
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must be in (0, 1), was {share}")
    if decay <= share:
        return 1
    # The tolerance keeps a whole number of half-lives whole where a logarithm rounds up.
    return math.ceil(math.log(share) / math.log(decay) - 1e-9)


@njit(cache=True, error_model="numpy")
def ewm_init(n_symbols: int) -> FloatArray:
    """Return the empty state of a mean or variance, shape ``(n_symbols, 2)``: mean, weight."""
    return np.zeros((n_symbols, 2))


@njit(cache=True, error_model="numpy")
def ewm_step(mean: float, weight: float, value: float, decay: float) -> tuple[float, float]:
    """Return mean and weight after one more value; a NaN changes neither.

    Parameters
    ----------
    mean, weight : float
        The state; both 0 before the first value.
    value : float
        In any unit; the mean is in the same one.
    decay : float
        Decay per value, in [0, 1).

    Returns
    -------
    (float, float)
        The mean and the sum of the weights, 1 after the first value and rising to ``1 / (1 - decay)``.
    """
    if np.isnan(value):
        return mean, weight
    heavier = decay * weight + 1.0
    # The weights rise to a fixed point; from there on the division, the slow part, is not needed.
    gain = 1.0 - decay if heavier == weight else 1.0 / heavier
    return mean + (value - mean) * gain, heavier


@njit(cache=True, error_model="numpy")
def ewm_mean_scan(values: FloatArray, decay: float, state: FloatArray) -> FloatArray:
    """Return the mean after every row, advancing `state`.

    Parameters
    ----------
    values : float64 array, shape (n_bars, n_symbols)
        NaN where missing.
    decay : float
        Decay per value, in [0, 1).
    state : float64 array, shape (n_symbols, 2)
        From `ewm_init` or an earlier scan; advanced in place.

    Returns
    -------
    float64 array, shape (n_bars, n_symbols)
        NaN before a symbol's first value; where a value is missing, the mean as it stands.
    """
    n_bars, n_symbols = values.shape
    means = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            mean, weight = ewm_step(state[i, 0], state[i, 1], values[t, i], decay)
            state[i, 0] = mean
            state[i, 1] = weight
            means[t, i] = mean if weight > 0.0 else np.nan
    return means


@njit(cache=True, error_model="numpy")
def ewm_var_step(variance: float, weight: float, value: float, decay: float) -> tuple[float, float]:
    """Return variance about zero and weight after one more value: `ewm_step` of the squares."""
    return ewm_step(variance, weight, value * value, decay)


@njit(cache=True, error_model="numpy")
def ewm_var_scan(values: FloatArray, decay: float, state: FloatArray) -> FloatArray:
    """Return the variance about zero after every row, advancing `state`.

    Parameters
    ----------
    values : float64 array, shape (n_bars, n_symbols)
        Returns or price changes, NaN where missing.
    decay : float
        Decay per value, in [0, 1).
    state : float64 array, shape (n_symbols, 2)
        From `ewm_init` or an earlier scan; advanced in place.

    Returns
    -------
    float64 array, shape (n_bars, n_symbols)
        In the square of the values' unit; NaN before a symbol's first value, unchanged where one is missing.

    References
    ----------
    J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th ed., 1996, ch. 5: zero mean. Deviation: the weights
    are normalised from the start instead of beginning with the first squared return.
    """
    n_bars, n_symbols = values.shape
    variances = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            variance, weight = ewm_var_step(state[i, 0], state[i, 1], values[t, i], decay)
            state[i, 0] = variance
            state[i, 1] = weight
            variances[t, i] = variance if weight > 0.0 else np.nan
    return variances


@njit(cache=True, error_model="numpy")
def ewm_cov_init(n_symbols: int) -> FloatArray:
    """Return the empty state of a covariance, shape ``(2, n_symbols, n_symbols)``: covariance, weight."""
    return np.zeros((2, n_symbols, n_symbols))


@inner()
def ewm_cov_step(state: FloatArray, values: FloatArray, decay: float) -> None:
    """Advance a covariance about zero by one row; a pair moves only when both values are there.

    Each pair is an `ewm_step` of the products, with a weight of its own. So a symbol listed late is unbiased from its
    first return on and takes nothing from the others; the price is that the matrix need not be positive semidefinite
    where histories differ, which a user of it must guard against.

    Parameters
    ----------
    state : float64 array, shape (2, n_symbols, n_symbols)
        Covariance and weight, both symmetric; advanced in place. A weight of 0 means "never seen together".
    values : float64 array, shape (n_symbols,)
        Returns of one bar, NaN where missing.
    decay : float
        Decay per value, in [0, 1).
    """
    n_symbols = values.shape[0]
    for i in range(n_symbols):
        if np.isnan(values[i]):
            continue
        for j in range(i + 1):
            if np.isnan(values[j]):
                continue
            covariance, weight = ewm_step(
                state[0, i, j], state[1, i, j], values[i] * values[j], decay
            )
            state[0, i, j] = covariance
            state[0, j, i] = covariance
            state[1, i, j] = weight
            state[1, j, i] = weight


@njit(cache=True, error_model="numpy")
def ewm_cov_scan(values: FloatArray, decay: float, state: FloatArray) -> FloatArray:
    """Return the covariance about zero after every row, advancing `state`.

    Parameters
    ----------
    values : float64 array, shape (n_bars, n_symbols)
        Returns, NaN where missing.
    decay : float
        Decay per value, in [0, 1).
    state : float64 array, shape (2, n_symbols, n_symbols)
        From `ewm_cov_init` or an earlier scan; advanced in place.

    Returns
    -------
    float64 array, shape (n_bars, n_symbols, n_symbols)
        Covariance per bar; NaN for pairs never seen together. Takes ``8 * n_bars * n_symbols**2`` bytes: long
        histories call `ewm_cov_step` and keep what they need.
    """
    n_bars, n_symbols = values.shape
    covariances = np.empty((n_bars, n_symbols, n_symbols))
    for t in range(n_bars):
        ewm_cov_step(state, values[t], decay)
        for i in range(n_symbols):
            for j in range(n_symbols):
                covariances[t, i, j] = state[0, i, j] if state[1, i, j] > 0.0 else np.nan
    return covariances
