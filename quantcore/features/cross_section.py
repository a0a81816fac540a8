r"""Cross-sectional features: what a value says beside those of the other symbols in the same row.

Each is a stateless function of one row, compiled as `..._row`, and a function of panels that maps it over the rows. NaN
is a symbol without a value: it has no part in the others' results and its own is NaN.

Permuting the symbols permutes the results. Ranks and winsorised values are exactly the same in any order; the others
rest on sums in the order of the symbols, and may differ in the last bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numba import njit

from quantcore.errors import SchemaMismatch
from quantcore.features.folding import positive
from quantcore.frames import to_kernel
from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray, Panel

MAD_TO_SD = 1.4826
"""Standard deviations in a median absolute deviation of a normal distribution: 1 / 0.6745."""
_SINGULAR = 1e-10
"""Share of an exposure's size that has to be left when the constant and the other exposures are taken out of it."""


@njit(cache=True, error_model="numpy")
def rank_row(values: FloatArray) -> FloatArray:
    r"""Return the ranks of a row, mapped linearly to [-1, 1].

    .. math:: u_i = \frac{\#\{j: x_j < x_i\} - \#\{j: x_j > x_i\}}{m - 1}

    over the m known values: the smallest is -1, the largest 1, and equal values share the mean of their ranks.

    Parameters
    ----------
    values : float64 array, shape (n_symbols,)
        In any unit, NaN where missing.

    Returns
    -------
    float64 array, shape (n_symbols,)
        Dimensionless, with mean 0; NaN where the value is, 0 where only one is known. Compares all pairs.
    """
    n_symbols = values.shape[0]
    ranks = np.full(n_symbols, np.nan)
    for i in range(n_symbols):
        if np.isnan(values[i]):
            continue
        known, above = 0, 0
        for j in range(n_symbols):
            if not np.isnan(values[j]):
                known += 1
                above += int(values[i] > values[j]) - int(values[i] < values[j])
        ranks[i] = above / (known - 1) if known > 1 else 0.0
    return ranks


@inner()
def _known_mean(values: FloatArray) -> float:
    total, count = 0.0, 0
    for value in values:
        if not np.isnan(value):
            total += value
            count += 1
    return total / count if count > 0 else np.nan


@njit(cache=True, error_model="numpy")
def demean_row(values: FloatArray) -> FloatArray:
    r"""Return the deviations of a row from its mean, :math:`x_i - \bar x` over the known values.

    Parameters
    ----------
    values : float64 array, shape (n_symbols,)
        NaN where missing.

    Returns
    -------
    float64 array, shape (n_symbols,)
        In the unit of the values; NaN where the value is.
    """
    deviations = np.empty(values.shape[0])
    mean = _known_mean(values)
    for i in range(values.shape[0]):
        deviations[i] = values[i] - mean
    return deviations


@njit(cache=True, error_model="numpy")
def zscore_row(values: FloatArray) -> FloatArray:
    r"""Return a row with mean 0 and population standard deviation 1, :math:`(x_i - \bar x) / s` over the known values.

    Parameters
    ----------
    values : float64 array, shape (n_symbols,)
        In any unit, NaN where missing.

    Returns
    -------
    float64 array, shape (n_symbols,)
        Dimensionless; NaN where the value is, 0 where all known values are equal (or only one is known).
    """
    scores = demean_row(values)
    lowest, highest, total, count = np.inf, -np.inf, 0.0, 0
    for i in range(values.shape[0]):
        if not np.isnan(values[i]):
            lowest, highest = min(lowest, values[i]), max(highest, values[i])
            total += scores[i] * scores[i]
            count += 1
    # Rounding gives equal values a mean a little off them, and so a deviation that is not 0.
    deviation = math.sqrt(total / count) if lowest < highest else 0.0
    for i in range(values.shape[0]):
        if not np.isnan(values[i]):
            scores[i] = scores[i] / deviation if deviation > 0.0 else 0.0
    return scores


@inner()
def _known_median(values: FloatArray) -> float:
    """Return the median of the known values; NaN where there are none.

    Sorts by insertion: a row is short, and the library's sort takes a second to compile.
    """
    ordered, count = np.empty(values.shape[0]), 0
    for value in values:
        if np.isnan(value):
            continue
        at = count
        while at > 0 and ordered[at - 1] > value:
            ordered[at] = ordered[at - 1]
            at -= 1
        ordered[at] = value
        count += 1
    if count == 0:
        return np.nan
    return float(0.5 * (ordered[(count - 1) // 2] + ordered[count // 2]))


@njit(cache=True, error_model="numpy")
def winsorise_row(values: FloatArray, limit: float) -> FloatArray:
    r"""Return a row with its outliers moved to the edge of a band around the median.

    .. math:: \min(\max(x_i,\; m - b),\; m + b), \qquad b = 1.4826\, c\, \operatorname{median}_j |x_j - m|

    Parameters
    ----------
    values : float64 array, shape (n_symbols,)
        In any unit, NaN where missing.
    limit : float
        Half-width c of the band in robust standard deviations, > 0.

    Returns
    -------
    float64 array, shape (n_symbols,)
        In the unit of the values; NaN where the value is. Where more than half of the known values are equal, the
        band has no width and says nothing about the others: the row is returned as it is.

    References
    ----------
    Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", *Journal of the American Statistical
    Association* 88(424), 1993: the factor 1.4826. Deviation: a row without a deviation is not flattened, because
    funding rates of most symbols are often the same and those of the others are the ones that matter.
    """
    clipped = np.empty(values.shape[0])
    median = _known_median(values)
    for i in range(values.shape[0]):
        clipped[i] = abs(values[i] - median)
    band = limit * MAD_TO_SD * _known_median(clipped)
    for i in range(values.shape[0]):
        clipped[i] = values[i]
        if band > 0.0 and not np.isnan(values[i]):
            clipped[i] = min(max(values[i], median - band), median + band)
    return clipped


@inner()
def _product(one: FloatArray, other: FloatArray) -> float:
    total = 0.0
    for i in range(one.shape[0]):
        total += one[i] * other[i]
    return total


@inner()
def _take_out(vector: FloatArray, others: FloatArray, n_others: int) -> None:
    """Make a vector orthogonal to the first rows of others, which are orthonormal, and to the constant, in place.

    Modified Gram-Schmidt, done twice: once would leave the rounding errors of nearly parallel vectors.
    """
    for _ in range(2):
        mean = _known_mean(vector)
        for i in range(vector.shape[0]):
            vector[i] -= mean
        for k in range(n_others):
            share = _product(vector, others[k])
            for i in range(vector.shape[0]):
                vector[i] -= share * others[k, i]


@inner()
def _orthonormalise(vectors: FloatArray) -> bool:
    """Make the rows orthonormal and orthogonal to the constant, in place; tell whether none of them was redundant."""
    for k in range(vectors.shape[0]):
        size = math.sqrt(_product(vectors[k], vectors[k]))
        _take_out(vectors[k], vectors, k)
        left = math.sqrt(_product(vectors[k], vectors[k]))
        if not left > _SINGULAR * size:
            return False
        for i in range(vectors.shape[1]):
            vectors[k, i] /= left
    return True


@inner()
def _known_columns(values: FloatArray, exposures: FloatArray) -> IntArray:
    columns, count = np.empty(values.shape[0], dtype=np.int64), 0
    for i in range(values.shape[0]):
        known = not np.isnan(values[i])
        for k in range(exposures.shape[0]):
            known = known and not np.isnan(exposures[k, i])
        if known:
            columns[count] = i
            count += 1
    return columns[:count]


@njit(cache=True, error_model="numpy")
def neutralise_row(values: FloatArray, exposures: FloatArray) -> FloatArray:
    r"""Return what the exposures do not explain of a row: the residual of least squares on them and a constant.

    .. math:: e = x - \hat a - \sum_k \hat b_k z_k, \qquad \sum_i e_i = 0, \quad \sum_i z_{ki} e_i = 0

    over the symbols whose value and exposures are all known.

    Parameters
    ----------
    values : float64 array, shape (n_symbols,)
        In any unit, NaN where missing.
    exposures : float64 array, shape (n_exposures, n_symbols)
        Each in a unit of its own, such as beta or log volume.

    Returns
    -------
    float64 array, shape (n_symbols,)
        In the unit of the values; NaN where the value or an exposure is. Where the exposures are singular over the
        known symbols (one is constant, or a combination of others, or symbols are too few), only the mean is taken
        out. With one symbol more than exposures nothing is left but rounding.
    """
    columns = _known_columns(values, exposures)
    n_known, n_exposures = columns.shape[0], exposures.shape[0]
    residual, vectors = np.empty(n_known), np.empty((n_exposures, n_known))
    for j in range(n_known):
        residual[j] = values[columns[j]]
        for k in range(n_exposures):
            vectors[k, j] = exposures[k, columns[j]]
    regular = n_known > n_exposures and _orthonormalise(vectors)
    _take_out(residual, vectors, n_exposures if regular else 0)
    residuals = np.full(values.shape[0], np.nan)
    for j in range(n_known):
        residuals[columns[j]] = residual[j]
    return residuals


@njit(cache=True, error_model="numpy")
def rank_scan(values: FloatArray) -> FloatArray:
    """Return `rank_row` of every row, shape ``(n_bars, n_symbols)``."""
    results = np.empty(values.shape)
    for t in range(values.shape[0]):
        results[t] = rank_row(values[t])
    return results


@njit(cache=True, error_model="numpy")
def zscore_scan(values: FloatArray) -> FloatArray:
    """Return `zscore_row` of every row, shape ``(n_bars, n_symbols)``."""
    results = np.empty(values.shape)
    for t in range(values.shape[0]):
        results[t] = zscore_row(values[t])
    return results


@njit(cache=True, error_model="numpy")
def winsorise_scan(values: FloatArray, limit: float) -> FloatArray:
    """Return `winsorise_row` of every row, shape ``(n_bars, n_symbols)``."""
    results = np.empty(values.shape)
    for t in range(values.shape[0]):
        results[t] = winsorise_row(values[t], limit)
    return results


@njit(cache=True, error_model="numpy")
def demean_scan(values: FloatArray) -> FloatArray:
    """Return `demean_row` of every row, shape ``(n_bars, n_symbols)``."""
    results = np.empty(values.shape)
    for t in range(values.shape[0]):
        results[t] = demean_row(values[t])
    return results


@njit(cache=True, error_model="numpy")
def neutralise_scan(values: FloatArray, exposures: FloatArray) -> FloatArray:
    """Return `neutralise_row` of every row; exposures of shape ``(n_bars, n_exposures, n_symbols)``."""
    results = np.empty(values.shape)
    for t in range(values.shape[0]):
        results[t] = neutralise_row(values[t], exposures[t])
    return results


def rank(values: Panel) -> Panel:
    """Return the ranks of each row in [-1, 1]; see `rank_row`.

    Parameters
    ----------
    values : Panel, shape (n_bars, n_symbols)
        In any unit, NaN where missing.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Dimensionless; NaN where the value is.
    """
    return _like(values, rank_scan(to_kernel(values)))


def zscore(values: Panel) -> Panel:
    """Return each row with mean 0 and population standard deviation 1; see `zscore_row`.

    Takes and returns what `rank` does; 0 where a row's known values are equal.
    """
    return _like(values, zscore_scan(to_kernel(values)))


def winsorise(values: Panel, *, limit: float) -> Panel:
    """Return each row with its outliers moved to the edge of a band around its median; see `winsorise_row`.

    Parameters
    ----------
    values : Panel, shape (n_bars, n_symbols)
        In any unit, NaN where missing.
    limit : float
        Half-width of the band in robust standard deviations, > 0.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In the unit of the values; NaN where the value is.

    Raises
    ------
    ValueError
        If `limit` is not finite and > 0.
    """
    return _like(values, winsorise_scan(to_kernel(values), positive("limit", limit)))


def demean(values: Panel) -> Panel:
    """Return the deviations of each row from its mean; see `demean_row`.

    Takes and returns what `rank` does, but in the unit of the values.
    """
    return _like(values, demean_scan(to_kernel(values)))


def neutralise(values: Panel, *, exposures: Sequence[Panel]) -> Panel:
    """Return what the exposures do not explain of each row; see `neutralise_row`.

    Parameters
    ----------
    values : Panel, shape (n_bars, n_symbols)
        In any unit, NaN where missing.
    exposures : sequence of Panel
        On the rows and symbols of `values`; none: only the mean is taken out.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In the unit of the values; NaN where the value or an exposure is.

    Raises
    ------
    SchemaMismatch
        If an exposure has other rows or symbols.
    """
    for k, exposure in enumerate(exposures):
        if not (exposure.index.equals(values.index) and exposure.columns.equals(values.columns)):
            raise SchemaMismatch(f"exposure {k} must have the rows and symbols of the values")
    stacked = np.empty((len(values), len(exposures), len(values.columns)))
    for k, exposure in enumerate(exposures):
        stacked[:, k] = to_kernel(exposure)
    return _like(values, neutralise_scan(to_kernel(values), stacked))


def _like(panel: Panel, values: FloatArray) -> Panel:
    return pd.DataFrame(values, index=panel.index, columns=panel.columns)
