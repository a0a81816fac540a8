r"""Two records side by side: how far apart their means, volatilities and Sharpe ratios are, and whether that is luck.

The records share their days, so their noise is shared too: every resampled series takes the same rows of all columns,
and what is studentised is the difference itself. Returns are fractions per period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from quantcore.finance.bootstrap import N_MIN, politis_white_block
from quantcore.finance.sharpe import long_run_variance, varying_columns
from quantcore.kernels import bootstrap as kernel
from quantcore.types import FloatArray, IntArray

SAME = 1e-9
"""Below this share of the influences themselves, a difference of influences is rounding error of the same record."""

_CHUNK = 1_000_000
"""Returns that are resampled at once."""

Pair: TypeAlias = tuple[int, int]
"""Two columns; the difference is that of the first minus the second."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference of one statistic between two records.

    Parameters
    ----------
    estimate : float
        On the records themselves, the first minus the second.
    low, high : float
        Bounds of the two-sided interval, symmetric about `estimate`.
    error : float
        Its standard error.
    p_value : float
        Of "there is no difference", in (0, 1]; 1 where both records say the same.
    confidence : float
        Level of the interval.
    mean_block : float
        Mean block length of the resampled series, in periods.
    """

    estimate: float
    low: float
    high: float
    error: float
    p_value: float
    confidence: float
    mean_block: float


def sharpe_differences(
    returns: npt.ArrayLike,
    *,
    pairs: Sequence[Pair],
    periods_per_year: float,
    confidence: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> tuple[Difference, ...]:
    r"""Return differences of annual Sharpe ratios by the studentised stationary bootstrap, with both-sided tests.

    .. math::

        \widehat\Delta \pm d^*_c\,\hat s, \qquad
        d^* = \frac{|\widehat\Delta^* - \widehat\Delta|}{\hat s^*}, \qquad
        p = \frac{1 + \#\{d^* \ge |\widehat\Delta| / \hat s\}}{1 + M}

    where :math:`d^*_c` is the c quantile over M resampled series, :math:`\hat s` comes from `long_run_variance` of the
    difference of the ratios' influence functions, :math:`\psi_t = z_t - \tfrac{\widehat{SR}}{2}(z_t^2 - 1)`, and
    :math:`\hat s^*` from its sums over the blocks of the resampled series.

    In 600 pairs each of 120 to 730 correlated, autocorrelated, fat-tailed, skewed or GARCH returns an interval of 95 %
    held the true difference in 94 to 95 %. On the hedge funds of the source's section 5 it gives p = 0.22 at blocks of
    5, where the authors' program gives 0.25 to 0.30.

    Parameters
    ----------
    returns : array-like, shape (n_periods, n_records)
        Fractions per period, rows in common.
    pairs : sequence of Pair
        Which columns are compared.
    periods_per_year : float
        > 0; 1 gives ratios per period.
    confidence : float
        c, in (0, 1).
    n_paths : int
        M, the same for all pairs; at least one must fall outside the interval. 5,000 keep the noise of p small.
    mean_block : float or None
        Mean block length in periods, in [1, n_periods]; None takes the median over the pairs of `politis_white_block`
        of the difference of influences, at least 1.
    rng : Generator
        Advanced.

    Returns
    -------
    tuple of Difference
        One per pair, annual. A resampled series in which a record does not vary is left out of its pairs; one that is
        a single block counts as d = 0.

    Raises
    ------
    ValueError
        If an argument is out of range, or a column is NaN, infinite, constant or shorter than `N_MIN`.

    References
    ----------
    Ledoit and Wolf, "Robust Performance Hypothesis Testing with the Sharpe Ratio", *Journal of Empirical Finance*
    15(5), 2008, sections 3.1 and 3.2. Deviations: the kernel is quadratic spectral on the scalar difference of
    influences, whitened by its own last value, instead of Parzen or quadratic spectral on the four moments; blocks are
    stationary instead of circular and their length is after Politis and White instead of calibrated.
    """
    return _differences(
        returns, _SHARPE, pairs, math.sqrt(_positive(periods_per_year)),
        confidence=confidence, n_paths=n_paths, mean_block=mean_block, rng=rng,
    )  # fmt: skip


def mean_differences(
    returns: npt.ArrayLike,
    *,
    pairs: Sequence[Pair],
    periods_per_year: float,
    confidence: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> tuple[Difference, ...]:
    r"""Return differences of mean returns per year, as `sharpe_differences` does for ratios.

    The influence function is :math:`\psi_t = r_t - \bar r`: this is the studentised bootstrap of the mean of the
    differences.
    """
    return _differences(
        returns, _MEAN, pairs, _positive(periods_per_year),
        confidence=confidence, n_paths=n_paths, mean_block=mean_block, rng=rng,
    )  # fmt: skip


def log_volatility_differences(
    returns: npt.ArrayLike,
    *,
    pairs: Sequence[Pair],
    confidence: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> tuple[Difference, ...]:
    r"""Return differences of the logarithms of volatilities, as `sharpe_differences` does for ratios.

    The influence function is :math:`\psi_t = \tfrac12 (z_t^2 - 1)`; a year cancels. Where volatility clusters for
    weeks (GARCH with a persistence of 0.95) an interval of 95 % held the true difference in only 85 % of 600 pairs.

    References
    ----------
    Ledoit and Wolf, "Robust Performance Hypothesis Testing with the Variance", *Wilmott* 55, 2011, with the deviations
    of `sharpe_differences`.
    """
    return _differences(
        returns, _LOG_VOLATILITY, pairs, 1.0,
        confidence=confidence, n_paths=n_paths, mean_block=mean_block, rng=rng,
    )  # fmt: skip


def sharpe_difference_error(returns: npt.ArrayLike, base: npt.ArrayLike) -> float:
    """Return the standard error of the difference of two Sharpe ratios per period, under autocorrelation.

    Parameters
    ----------
    returns, base : array-like, shape (n_periods,)
        Fractions per period, of the same periods.

    Returns
    -------
    float
        Per period; 0 where both say the same.

    Raises
    ------
    ValueError
        If a record is NaN, infinite, constant or shorter than four, or the lengths differ.

    References
    ----------
    Ledoit and Wolf (2008), section 3.1, as in `sharpe_differences`.
    """
    first, second = np.asarray(returns, np.float64), np.asarray(base, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"base must have the shape of returns {first.shape}, had {second.shape}")
    influences = _sharpe_influences(varying_columns(np.column_stack([first, second]), n_min=4))
    return _error(influences, (0, 1))


def holm(p_values: npt.ArrayLike) -> FloatArray:
    r"""Return p-values adjusted so that the chance of even one false finding stays under the level they are held to.

    .. math:: \tilde p_{(k)} = \min\bigl(1, \max_{j \le k} (m - j + 1)\, p_{(j)}\bigr)

    Parameters
    ----------
    p_values : array-like, shape (m,)
        In [0, 1]; NaN is no test, does not count, and stays NaN.

    Returns
    -------
    float64 array, shape (m,)
        In the order given.

    Raises
    ------
    ValueError
        If a value is not in [0, 1].

    References
    ----------
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", *Scandinavian Journal of Statistics* 6(2), 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(given))
    if ((given[tested] < 0.0) | (given[tested] > 1.0)).any():
        raise ValueError(f"p_values must be in [0, 1], were {given.tolist()}")
    order = tested[np.argsort(given[tested], kind="stable")]
    scaled = given[order] * (len(order) - np.arange(len(order)))
    adjusted = np.full(len(given), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


@dataclass(frozen=True)
class _Statistic:
    """What is compared: its value per column of samples of shape (n_paths, n_periods), and its influence function."""

    value: Callable[[FloatArray], FloatArray]
    influences: Callable[[FloatArray], FloatArray]


def _means(samples: FloatArray) -> FloatArray:
    return np.asarray(samples.mean(axis=-1))


def _mean_influences(samples: FloatArray) -> FloatArray:
    return np.asarray(samples - samples.mean(axis=-1, keepdims=True))


def _log_volatilities(samples: FloatArray) -> FloatArray:
    with np.errstate(
        divide="ignore"
    ):  # a series that does not vary has no logarithm and is left out
        return np.asarray(np.log(samples.std(axis=-1, ddof=1)))


def _log_volatility_influences(samples: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (_standardised(samples) ** 2 - 1.0))


def _sharpes(samples: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(samples.mean(axis=-1) / samples.std(axis=-1, ddof=1))


def _sharpe_influences_of(samples: FloatArray) -> FloatArray:
    z = _standardised(samples)
    return np.asarray(z - 0.5 * _sharpes(samples)[..., np.newaxis] * (z * z - 1.0))


def _standardised(samples: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = samples - samples.mean(axis=-1, keepdims=True)
        return np.asarray(centred / samples.std(axis=-1, keepdims=True))


def _sharpe_influences(columns: FloatArray) -> FloatArray:
    return _sharpe_influences_of(columns.T).T


_MEAN = _Statistic(_means, _mean_influences)
_LOG_VOLATILITY = _Statistic(_log_volatilities, _log_volatility_influences)
_SHARPE = _Statistic(_sharpes, _sharpe_influences_of)


def _differences(
    returns: npt.ArrayLike,
    statistic: _Statistic,
    pairs: Sequence[Pair],
    scale: float,
    *,
    confidence: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> tuple[Difference, ...]:
    columns = varying_columns(returns, n_min=N_MIN)
    _check(columns, pairs, confidence, n_paths)
    values = statistic.value(columns.T)
    influences = statistic.influences(columns.T).T
    block = _block(influences, pairs, mean_block)
    errors = [_error(influences, pair) for pair in pairs]
    drawn = np.concatenate(
        list(_studentised(columns, statistic, pairs, n_paths, 1.0 / block, rng)), axis=0
    )
    found = []
    for (a, b), error, d in zip(pairs, errors, drawn.T, strict=True):
        estimate = float(values[a] - values[b])
        if error == 0.0:
            low, high, p = estimate, estimate, 1.0
        else:
            d = d[~np.isnan(d)]
            half = float(np.quantile(d, confidence)) * error
            low, high = estimate - half, estimate + half
            p = (1.0 + float((d >= abs(estimate) / error).sum())) / (1.0 + len(d))
        found.append(
            Difference(
                estimate=estimate * scale,
                low=low * scale,
                high=high * scale,
                error=error * scale,
                p_value=p,
                confidence=confidence,
                mean_block=block,
            )
        )
    return tuple(found)


def _studentised(
    columns: FloatArray,
    statistic: _Statistic,
    pairs: Sequence[Pair],
    n_paths: int,
    restart: float,
    rng: np.random.Generator,
) -> Iterator[FloatArray]:
    """Yield |t*| of resampled series, shape (some paths, n_pairs); NaN where a record of the pair does not vary."""
    n = len(columns)
    values = statistic.value(columns.T)
    size = max(_CHUNK // n, 1)
    for first in range(0, n_paths, size):
        count = min(size, n_paths - first)
        rows = kernel.stationary_paths(count, n, n, restart, rng)
        starts, of_path = _blocks(rows, n)
        drawn = [columns[rows, c] for c in range(columns.shape[1])]
        moved = [statistic.value(sample) for sample in drawn]
        sums = [np.add.reduceat(statistic.influences(sample).ravel(), starts) for sample in drawn]
        blocks = np.diff(np.append(of_path, len(starts)))
        found = np.zeros((count, len(pairs)))
        for k, (a, b) in enumerate(pairs):
            error = np.sqrt(np.add.reduceat((sums[a] - sums[b]) ** 2, of_path)) / n
            gap = np.abs(moved[a] - moved[b] - (values[a] - values[b]))
            several = (blocks > 1) & ~(error <= 0.0)
            np.divide(gap, error, out=found[:, k], where=several)
        yield found


def _blocks(rows: IntArray, n: int) -> tuple[IntArray, IntArray]:
    """Return where blocks start in the flattened rows, and the first block of each path.

    A block that happens to begin where the one before ended, once in n, counts as its continuation.
    """
    begins = np.ones(rows.shape, dtype=np.bool_)
    begins[:, 1:] = rows[:, 1:] != (rows[:, :-1] + 1) % n
    starts = np.flatnonzero(begins.ravel())
    return starts, np.searchsorted(starts, np.arange(len(rows)) * n)


def _error(influences: FloatArray, pair: Pair) -> float:
    apart = influences[:, pair[0]] - influences[:, pair[1]]
    if not _differs(influences, pair):
        return 0.0
    return math.sqrt(long_run_variance(apart) / len(influences))


def _differs(influences: FloatArray, pair: Pair) -> bool:
    first, second = influences[:, pair[0]], influences[:, pair[1]]
    return bool((first - second).std() > SAME * max(first.std(), second.std()))


def _block(influences: FloatArray, pairs: Sequence[Pair], mean_block: float | None) -> float:
    if mean_block is not None:
        if not 1.0 <= mean_block <= len(influences):
            raise ValueError(f"mean_block must be in [1, {len(influences)}], was {mean_block}")
        return float(mean_block)
    lengths = [
        politis_white_block(influences[:, a] - influences[:, b]).stationary
        for a, b in pairs
        if _differs(influences, (a, b))
    ]
    return max(1.0, float(np.median(lengths))) if lengths else 1.0


def _positive(periods_per_year: float) -> float:
    if not periods_per_year > 0.0:
        raise ValueError(f"periods_per_year must be > 0, was {periods_per_year}")
    return periods_per_year


def _check(columns: FloatArray, pairs: Sequence[Pair], confidence: float, n_paths: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), was {confidence}")
    if n_paths * (1.0 - confidence) < 1.0:
        raise ValueError(f"n_paths must be >= 1 / (1 - confidence), was {n_paths}")
    n = columns.shape[1]
    for a, b in pairs:
        if not (0 <= a < n and 0 <= b < n) or a == b:
            raise ValueError(f"pairs must be two different columns of {n}, were {(a, b)}")
