r"""Covariance of returns: sample, exponentially weighted and shrunk; always positive definite.

Every estimate is built alike:

1. **Pairs.** A symbol's variance uses all rows in which it is known; the correlation of two symbols the rows in which
   both are, with deviations from each symbol's own mean. Without missing values that is the usual estimate.
2. **Short histories**, by `HistoryRules`: a symbol with too few rows is refused by name, or else gets the largest
   variance among the others and their mean correlation. Two symbols with too few rows in common get the mean
   correlation of the pairs that have enough.
3. **Repair.** Pairs of unequal length need not fit together. Eigenvalues of the correlation matrix below a floor are
   raised to it; variances stay as they are, and the largest change of a correlation is reported.

Covariances are per bar, in the square of the returns' unit. A NaN return is a bar without observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from quantcore.types import BoolArray, FloatArray, Panel

EIGENVALUE_FLOOR = 1e-6
"""Least eigenvalue of a correlation matrix after repair; the greatest is at most the number of symbols."""
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class HistoryRules:
    """What to do with symbols that were listed late and with matrices that are not positive definite.

    Parameters
    ----------
    minimum_rows : int
        Known returns, of a symbol and in common of a pair, from which on an estimate counts; >= 2.
    short : {"refuse", "conservative"}
        Whether a symbol with fewer is refused, or gets the largest variance among the others (its own, if that is
        larger still) and their mean correlation.
    eigenvalue_floor : float
        Least eigenvalue of the correlation matrix, in (0, 1).
    """

    minimum_rows: int = 10
    short: Literal["refuse", "conservative"] = "refuse"
    eigenvalue_floor: float = EIGENVALUE_FLOOR

    def __post_init__(self) -> None:
        if self.minimum_rows < 2:
            raise ValueError(f"minimum_rows must be >= 2, was {self.minimum_rows}")
        if self.short not in ("refuse", "conservative"):
            raise ValueError(f'short must be "refuse" or "conservative", was {self.short!r}')
        if not 0.0 < self.eigenvalue_floor < 1.0:
            raise ValueError(f"eigenvalue_floor must be in (0, 1), was {self.eigenvalue_floor}")


STRICT = HistoryRules()
"""The default: symbols with fewer than ten returns are refused."""


@dataclass(frozen=True, kw_only=True)
class CovarianceEstimate:
    """A positive definite covariance matrix, and what had to be done to it.

    Parameters
    ----------
    covariance : float64 array, shape (n_symbols, n_symbols)
        Symmetric, positive definite.
    correlation_change : float
        Largest change of a correlation by the repair; 0 where none was needed.
    filled : bool array, shape (n_symbols, n_symbols)
        Pairs whose correlation is a mean of others, for want of common rows; on the diagonal, symbols whose variance
        was chosen by the rule for short histories.
    """

    covariance: FloatArray
    correlation_change: float
    filled: BoolArray


@dataclass(frozen=True, kw_only=True)
class ShrunkCovariance(CovarianceEstimate):
    """A covariance matrix shrunk towards a target.

    Parameters
    ----------
    shrinkage : float
        Weight of the target, in [0, 1].
    mean_variance : float
        Of the sample: the identity target is this times the identity.
    mean_correlation : float
        Of the sample's pairs: that of the constant-correlation target; NaN for a single symbol.
    """

    shrinkage: float
    mean_variance: float
    mean_correlation: float


def sample_covariance(
    returns: npt.ArrayLike | Panel, *, ddof: int = 1, rules: HistoryRules = STRICT
) -> CovarianceEstimate:
    r"""Return the sample covariance.

    .. math:: S_{ij} = \frac{1}{n - \text{ddof}} \sum_t (r_{ti} - \bar r_i)(r_{tj} - \bar r_j)

    Parameters
    ----------
    returns : array-like or Panel, shape (n, n_symbols)
        NaN where missing; see the module.
    ddof : int
        0 or 1.
    rules : HistoryRules
        For short histories.

    Returns
    -------
    CovarianceEstimate
        With few rows per symbol mostly noise: prefer `ledoit_wolf`.

    Raises
    ------
    ValueError
        If rows are not more than symbols, a symbol is constant or has too few rows, or a return is infinite.
    """
    values, short = _checked(returns, rules)
    n, n_long = len(values), int((~short).sum())
    if n <= n_long:
        raise ValueError(f"returns must have more rows than symbols ({n_long}), had {n}")
    pairs = _pairwise(_centred(values), np.ones(n), ddof, short, rules)
    return _completed(pairs.covariance, pairs, short, rules)


def ewma_covariance(
    returns: npt.ArrayLike | Panel, *, half_life: float, rules: HistoryRules = STRICT
) -> CovarianceEstimate:
    r"""Return the exponentially weighted covariance about zero, as it stands after the last row.

    .. math:: S_{ij} = \frac{\sum_k \lambda^k r_{n-k,i} r_{n-k,j}}{\sum_k \lambda^k}, \qquad \lambda = 2^{-1/h}

    Parameters
    ----------
    returns : array-like or Panel, shape (n, n_symbols)
        NaN where missing; missing rows age the others like any row.
    half_life : float
        Bars until a weight halves, > 0. Below the number of symbols the matrix is close to singular.
    rules : HistoryRules
        For short histories.

    Returns
    -------
    CovarianceEstimate
        Without missing values that of `kernels.ewm.ewm_cov_scan`.

    Raises
    ------
    ValueError
        If `half_life` is not positive, a symbol is constant or has too few rows, or a return is infinite.

    References
    ----------
    J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th ed., 1996, ch. 5. Deviations: weights normalised from
    the start; correlations over common rows where histories differ.
    """
    if not half_life > 0.0:
        raise ValueError(f"half_life must be > 0, was {half_life}")
    values, short = _checked(returns, rules)
    weights = 2.0 ** (-np.arange(len(values))[::-1] / half_life)
    pairs = _pairwise(values, weights, 0, short, rules)
    return _completed(pairs.covariance, pairs, short, rules)


def ledoit_wolf(
    returns: npt.ArrayLike | Panel,
    *,
    target: Literal["identity", "constant_correlation"],
    ddof: int = 0,
    rules: HistoryRules = STRICT,
) -> ShrunkCovariance:
    r"""Return the sample covariance shrunk towards a target by the amount that minimises the expected squared error.

    .. math::

        \Sigma = \delta F + (1 - \delta) S, \qquad
        \delta = \frac{\sum_{ij} (\hat\pi_{ij} - \hat\rho_{ij}) / n_{ij}}{\sum_{ij} (F_{ij} - S_{ij})^2}
        \text{ within } [0, 1]

    with :math:`\hat\pi_{ij}` the asymptotic variance of :math:`\sqrt n S_{ij}`, :math:`\hat\rho_{ij}` its asymptotic
    covariance with :math:`F_{ij}` (0 for the identity target) and :math:`n_{ij}` the common rows.

    Parameters
    ----------
    returns : array-like or Panel, shape (n, n_symbols)
        NaN where missing; see the module. There may be fewer rows than symbols.
    target : {"identity", "constant_correlation"}
        The mean variance times the identity, or the sample's variances with its mean correlation. The first pulls
        different variances together; the second suits symbols that move together.
    ddof : int
        Of the sample covariance S, 0 (as both sources) or 1; moments within the intensity always divide by n.
    rules : HistoryRules
        For short histories; symbols with too few rows take no part in the shrinkage and are added after it.

    Returns
    -------
    ShrunkCovariance
        Repaired only where it is not positive definite as it stands.

    Raises
    ------
    ValueError
        If a symbol is constant or has too few rows, a return is infinite, or `target` is unknown.

    References
    ----------
    Ledoit and Wolf, "A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices", *Journal of Multivariate
    Analysis* 88(2), 2004 (identity); "Honey, I Shrunk the Sample Covariance Matrix", *Journal of Portfolio Management*
    30(4), 2004 (constant correlation). Deviation: sums over pairs with their own number of rows where values are
    missing.
    """
    if target not in ("identity", "constant_correlation"):
        raise ValueError(f'target must be "identity" or "constant_correlation", was {target!r}')
    values, short = _checked(returns, rules)
    centred = _centred(values)
    pairs = _pairwise(centred, np.ones(len(values)), ddof, short, rules)
    sample, constant = pairs.covariance, target == "constant_correlation"
    mean_variance, mean_correlation = float(np.diag(sample).mean()), _mean_pair(correlation(sample))
    aim = np.eye(len(sample)) * mean_variance
    if constant and len(sample) > 1:
        aim = np.outer(volatilities(sample), volatilities(sample)) * mean_correlation
        np.fill_diagonal(aim, np.diag(sample))
    weight = _intensity(
        centred[:, ~short], sample, aim, ~pairs.filled, mean_correlation if constant else None
    )
    estimate = _completed(weight * aim + (1.0 - weight) * sample, pairs, short, rules)
    return ShrunkCovariance(
        **vars(estimate),
        shrinkage=weight,
        mean_variance=mean_variance,
        mean_correlation=mean_correlation,
    )


class Repaired(NamedTuple):
    """A positive definite matrix, the largest change of a correlation, and how many eigenvalues were raised."""

    covariance: FloatArray
    correlation_change: float
    n_raised: int


def nearest_positive_definite(
    covariance: npt.ArrayLike, *, floor: float = EIGENVALUE_FLOOR
) -> Repaired:
    r"""Return a covariance matrix with the same variances whose correlation matrix has no eigenvalue below a floor.

    Eigenvalues of the correlation matrix below the floor are raised to it, and the result is scaled back to a unit
    diagonal; where this takes one below the floor again, the matrix is mixed with the identity just enough.

    Parameters
    ----------
    covariance : array-like, shape (n_symbols, n_symbols)
        Symmetric, with variances > 0.
    floor : float
        In (0, 1).

    Returns
    -------
    Repaired
        The matrix as given where it needs no repair. Close to the nearest, not the nearest in a norm: that would
        take iterations and be singular.

    Raises
    ------
    ValueError
        If the matrix is not square, finite and symmetric, a variance is not positive, or `floor` is out of its range.

    References
    ----------
    Rebonato and Jaeckel, "The Most General Methodology to Create a Valid Correlation Matrix", *Journal of Risk* 2(2),
    1999 (spectral decomposition). Deviation: the floor is above 0.

    Examples
    --------
    >>> nearest_positive_definite([[1.0, 2.0], [2.0, 4.0]], floor=0.01).covariance.round(6).tolist()
    [[1.0, 1.98], [1.98, 4.0]]
    """
    if not 0.0 < floor < 1.0:
        raise ValueError(f"floor must be in (0, 1), was {floor}")
    matrix = _matrix(covariance)
    given = correlation(matrix)
    roots, vectors = np.linalg.eigh(given)
    if roots[0] >= floor:
        return Repaired(matrix, 0.0, 0)
    raised = (vectors * np.maximum(roots, floor)) @ vectors.T
    deviations = np.sqrt(np.diag(raised))
    raised = raised / np.outer(deviations, deviations)
    least = float(np.linalg.eigvalsh(raised)[0])
    if least < floor:
        raised = raised * ((1.0 - floor) / (1.0 - least))
    np.fill_diagonal(raised, 1.0)
    repaired = from_correlation(volatilities(matrix), 0.5 * (raised + raised.T))
    np.fill_diagonal(repaired, np.diag(matrix))
    return Repaired(repaired, float(np.abs(raised - given).max()), int((roots < floor).sum()))


def volatilities(covariance: npt.ArrayLike) -> FloatArray:
    """Return the square roots of the variances, shape ``(n_symbols,)``; ValueError as `nearest_positive_definite`."""
    return np.asarray(np.sqrt(np.diag(_matrix(covariance))))


def correlation(covariance: npt.ArrayLike) -> FloatArray:
    """Return the correlation matrix, its diagonal exactly 1; ValueError as `nearest_positive_definite`.

    Examples
    --------
    >>> correlation([[4.0, 1.0], [1.0, 1.0]]).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    matrix = _matrix(covariance)
    deviations = np.sqrt(np.diag(matrix))
    scaled = matrix / deviations / deviations[:, None]
    np.fill_diagonal(scaled, 1.0)
    return np.asarray(scaled)


def from_correlation(volatilities: npt.ArrayLike, correlation: npt.ArrayLike) -> FloatArray:
    """Return the covariance of given volatilities (> 0) and a correlation matrix, both checked by ValueError."""
    matrix, deviations = _matrix(correlation), np.asarray(volatilities, dtype=np.float64)
    if deviations.shape != (len(matrix),):
        raise ValueError(f"volatilities must have shape ({len(matrix)},), had {deviations.shape}")
    if not ((deviations > 0.0) & np.isfinite(deviations)).all():
        raise ValueError(f"volatilities must be finite and > 0, were {deviations.tolist()}")
    if np.abs(np.diag(matrix) - 1.0).max() > _ROUNDING or np.abs(matrix).max() > 1.0 + _ROUNDING:
        raise ValueError("correlation must be within [-1, 1], with a unit diagonal")
    return np.asarray(matrix * np.outer(deviations, deviations))


class _Pairs(NamedTuple):
    """Covariance of the symbols with enough rows, its filled pairs, and the variances of the others."""

    covariance: FloatArray
    filled: BoolArray
    short_variances: FloatArray


def _pairwise(
    values: FloatArray, weights: FloatArray, ddof: int, short: BoolArray, rules: HistoryRules
) -> _Pairs:
    """Return variances over all of a symbol's rows, joined by correlations over the common rows of each pair."""
    if ddof not in (0, 1):
        raise ValueError(f"ddof must be 0 or 1, was {ddof}")
    mask = (~np.isnan(values)).astype(np.float64)
    zeroed = np.where(np.isnan(values), 0.0, values)
    weighted, rows = mask * weights[:, None], mask.T @ mask
    own = np.diag(rows)
    squares = (zeroed**2).T @ weighted
    with np.errstate(divide="ignore", invalid="ignore"):
        variances = np.diag(squares) / weighted.sum(axis=0) * own / (own - ddof)
        matrix = zeroed.T @ (zeroed * weights[:, None]) / (np.sqrt(squares) * np.sqrt(squares.T))
    if not (variances[~short] > 0.0).all():
        column = np.flatnonzero(~short & ~(variances > 0.0))[0]
        raise ValueError(f"returns must vary where they have weight, column {column} did not")
    filled = ~((rows >= rules.minimum_rows) & np.isfinite(matrix))
    long = np.ix_(~short, ~short)
    matrix, filled = matrix[long], filled[long]
    if len(matrix) > 1 and filled[~np.eye(len(matrix), dtype=bool)].all():
        rule = f"a pair of symbols with {rules.minimum_rows} rows in common"
        raise ValueError(f"returns must hold {rule}, held none")
    if filled.any():
        matrix = np.where(filled, np.nan, matrix)
        matrix = np.where(filled, _mean_pair(matrix), matrix)
    matrix = np.clip(matrix, -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    deviations = np.sqrt(variances[~short])
    covariance = matrix * np.outer(deviations, deviations)
    return _Pairs(covariance, filled, np.where(own[short] > ddof, variances[short], 0.0))


def _intensity(
    values: FloatArray,
    sample: FloatArray,
    aim: FloatArray,
    known: BoolArray,
    mean_pair: float | None,
) -> float:
    """Return the weight of the target; `mean_pair` is the correlation in it, None where it holds none."""
    mask = (~np.isnan(values)).astype(np.float64)
    x = np.where(np.isnan(values), 0.0, values)
    rows = np.where(known, mask.T @ mask, 1.0)
    squares, products = (x**2).T @ mask / rows, x.T @ x / rows
    noise = (x**2).T @ x**2 / rows - 2.0 * products * sample + sample**2
    shared = np.zeros_like(noise)
    if mean_pair is not None:
        variances = np.diag(sample)[:, None]
        shared = (x**3).T @ x / rows - variances * products - sample * squares + variances * sample
        shared *= mean_pair * np.sqrt(variances.T / variances)
        np.fill_diagonal(shared, np.diag(noise))
    distance = float(((aim - sample) ** 2)[known].sum())
    if distance <= _ROUNDING**2 * float((sample**2).sum()):
        return 0.0
    return min(max(float(((noise - shared) / rows)[known].sum()) / distance, 0.0), 1.0)


def _completed(
    covariance: FloatArray, pairs: _Pairs, short: BoolArray, rules: HistoryRules
) -> CovarianceEstimate:
    """Return the estimate of all symbols: those with short histories added, and repaired."""
    n, long = len(short), np.ix_(~short, ~short)
    variances, matrix = np.empty(n), np.eye(n)
    matrix[:], filled = _mean_pair(correlation(covariance)), np.ones((n, n), dtype=bool)
    matrix[long], filled[long] = correlation(covariance), pairs.filled
    np.fill_diagonal(matrix, 1.0)
    variances[~short] = np.diag(covariance)
    variances[short] = np.maximum(pairs.short_variances, np.diag(covariance).max())
    whole = covariance if not short.any() else from_correlation(np.sqrt(variances), matrix)
    repaired, change, _ = nearest_positive_definite(whole, floor=rules.eigenvalue_floor)
    return CovarianceEstimate(covariance=repaired, correlation_change=change, filled=filled)


def _mean_pair(matrix: FloatArray) -> float:
    """Return the mean of the known entries off the diagonal; NaN for a single symbol."""
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    return float(np.nanmean(off)) if len(off) else math.nan


def _checked(returns: npt.ArrayLike | Panel, rules: HistoryRules) -> tuple[FloatArray, BoolArray]:
    """Return the values, and which symbols have too few of them."""
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"returns must have two dimensions and a column, had shape {values.shape}")
    columns = returns.columns if isinstance(returns, Panel) else range(values.shape[1])
    names = [str(name) if isinstance(returns, Panel) else f"column {name}" for name in columns]
    counts = (~np.isnan(values)).sum(axis=0)
    short = counts < rules.minimum_rows
    for name, column, is_short in zip(names, values.T, short, strict=True):
        known = column[~np.isnan(column)]
        if np.isinf(known).any():
            raise ValueError(f"returns must not be infinite, were for {name}")
        if not is_short and np.ptp(known) <= _ROUNDING * np.abs(known).max():
            raise ValueError(f"returns must vary, were all {known[0]} for {name}")
    few = {names[i]: int(counts[i]) for i in np.flatnonzero(short)}
    if few and (rules.short == "refuse" or (~short).sum() < 2):
        rule = f"at least {rules.minimum_rows} rows per symbol"
        raise ValueError(f"returns must hold {rule}, held {few}")
    return values, short


def _centred(values: FloatArray) -> FloatArray:
    """Return the values less each symbol's mean."""
    known = ~np.isnan(values)
    means = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.asarray(values - means)


def _matrix(covariance: npt.ArrayLike) -> FloatArray:
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"covariance must be square, had shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("covariance must be finite, was not")
    diagonal = np.diag(matrix)
    if not (diagonal > 0.0).all():
        at = int(diagonal.argmin())
        raise ValueError(f"covariance must have variances > 0, was {diagonal[at]} in row {at}")
    limit = 1e-8 * np.sqrt(np.outer(diagonal, diagonal))
    if (np.abs(matrix - matrix.T) > limit).any():
        raise ValueError("covariance must be symmetric, was not")
    return np.asarray(0.5 * (matrix + matrix.T))
