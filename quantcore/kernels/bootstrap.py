r"""Stationary bootstrap paths: circular blocks of geometric length, and the statistics of each path in one pass.

A block starts at a row drawn evenly and has the length L with probability :math:`p (1 - p)^{L - 1}`, p being the
restart probability; after the last row comes the first. Drawing L at once, as
:math:`1 + \lfloor \ln(1 - u) / \ln(1 - p) \rfloor`, costs one random number per block instead of one per row.

Random numbers come from the numpy Generator handed in, which compiled and interpreted code advance alike.
(Politis and Romano 1994.)
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray


@njit(cache=True, error_model="numpy")
def draw_block(
    n_rows: int, restart_probability: float, rng: np.random.Generator
) -> tuple[int, int]:
    """Return the first row and the length, cut at `n_rows`, of a block; `restart_probability` in (0, 1]."""
    start = int(rng.random() * n_rows)
    if restart_probability >= 1.0:
        return start, 1
    length = math.log1p(-rng.random()) / math.log1p(-restart_probability)
    return start, 1 + int(min(length, n_rows - 1.0))


@njit(cache=True, error_model="numpy")
def stationary_path(
    path: IntArray, n_rows: int, restart_probability: float, rng: np.random.Generator
) -> None:
    """Fill `path` with the rows, from 0 to `n_rows` - 1, of one resampled series of its length."""
    t = 0
    while t < len(path):
        row, length = draw_block(n_rows, restart_probability, rng)
        for _ in range(min(length, len(path) - t)):
            path[t] = row
            t += 1
            row = row + 1 if row + 1 < n_rows else 0


@njit(cache=True, error_model="numpy")
def stationary_paths(
    n_paths: int, length: int, n_rows: int, restart_probability: float, rng: np.random.Generator
) -> IntArray:
    """Return the rows of `n_paths` resampled series, shape ``(n_paths, length)``."""
    paths = np.empty((n_paths, length), dtype=np.int64)
    for k in range(n_paths):
        stationary_path(paths[k], n_rows, restart_probability, rng)
    return paths


@inner()
def _fill(
    sample: FloatArray, starts: IntArray, returns: FloatArray, restart_probability: float,
    rng: np.random.Generator,
) -> int:  # fmt: skip
    # One resampled series and where its blocks start in it; returns how many blocks there are.
    n_rows, t, n_blocks = len(returns), 0, 0
    while t < n_rows:
        row, length = draw_block(n_rows, restart_probability, rng)
        starts[n_blocks] = t
        n_blocks += 1
        for _ in range(min(length, n_rows - t)):
            sample[t] = returns[row]
            t += 1
            row = row + 1 if row + 1 < n_rows else 0
    starts[n_blocks] = n_rows
    return n_blocks


@njit(cache=True, error_model="numpy")
def resampled_sharpes(
    returns: FloatArray, n_paths: int, restart_probability: float, rng: np.random.Generator
) -> FloatArray:
    r"""Return the Sharpe ratio of resampled series, and the standard error that each series gives of its own.

    .. math:: \mathrm{se}^* = \frac{1}{n} \sqrt{\sum_{\text{blocks}} \Bigl(\sum_{t \in \text{block}} \psi^*_t\Bigr)^2}

    with the influence function of the ratio, :math:`\psi = z - \tfrac{SR}{2} (z^2 - 1)`: resampled blocks are
    independent, so that their sums estimate the variance of the mean without a kernel.

    Parameters
    ----------
    returns : float64 array, shape (n_rows,)
        Fractions per period, at least two, no NaN.
    n_paths : int
        Number of series, each of `n_rows` returns.
    restart_probability : float
        1 / mean block length, in (0, 1].
    rng : Generator
        Advanced.

    Returns
    -------
    float64 array, shape (n_paths, 2)
        Ratio per period (n - 1) and its error. NaN where a series does not vary; an error of zero marks a series that
        is one single block.

    References
    ----------
    Götze and Künsch, "Second-Order Correctness of the Blockwise Bootstrap for Stationary Observations", *Annals of
    Statistics* 24(5), 1996; Ledoit and Wolf (2008), section 3.2. Deviation: blocks of random length.
    """
    n = len(returns)
    sample, starts = np.empty(n), np.empty(n + 1, dtype=np.int64)
    results = np.empty((n_paths, 2))
    for k in range(n_paths):
        n_blocks = _fill(sample, starts, returns, restart_probability, rng)
        mean, squares = 0.0, 0.0
        for value in sample:
            mean += value
        mean /= n
        for value in sample:
            squares += (value - mean) * (value - mean)
        if squares <= 1e-24 * mean * mean * n:
            results[k] = np.nan
            continue
        ratio, deviation = mean / math.sqrt(squares / (n - 1)), math.sqrt(squares / n)
        total = 0.0
        for b in range(n_blocks):
            within = 0.0
            for t in range(starts[b], starts[b + 1]):
                z = (sample[t] - mean) / deviation
                within += z - ratio / 2.0 * (z * z - 1.0)
            total += within * within
        results[k, 0] = ratio
        results[k, 1] = math.sqrt(total) / n if n_blocks > 1 else 0.0
    return results


@njit(cache=True, error_model="numpy")
def resampled_drawdowns(
    returns: FloatArray, n_paths: int, restart_probability: float, rng: np.random.Generator
) -> FloatArray:
    """Return the maximum drawdown of resampled series that start at their first peak.

    Parameters
    ----------
    returns : float64 array, shape (n_rows,)
        Fractions per period, >= -1, no NaN.
    n_paths : int
        Number of series, each of `n_rows` returns.
    restart_probability : float
        1 / mean block length, in (0, 1].
    rng : Generator
        Advanced.

    Returns
    -------
    float64 array, shape (n_paths,)
        Fractions in [-1, 0].
    """
    n = len(returns)
    sample, starts = np.empty(n), np.empty(n + 1, dtype=np.int64)
    deepest = np.zeros(n_paths)
    for k in range(n_paths):
        _fill(sample, starts, returns, restart_probability, rng)
        # The curve over its peak: no overflow however long and good the series is.
        below, lowest = 1.0, 1.0
        for value in sample:
            below = min(below * (1.0 + value), 1.0)
            lowest = min(lowest, below)
        deepest[k] = lowest - 1.0
    return deepest
