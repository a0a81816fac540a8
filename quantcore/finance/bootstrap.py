"""The bootstrap of dependent returns: block length, confidence intervals, and tests of the best of many strategies.

Rows are resampled in blocks, so that what holds between neighbouring periods holds in the resampled series too; the
series is bent to a circle, so that every row is drawn equally often. Returns are fractions per period. Everything but
the tests of many strategies runs on numpy and compiled code alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.finance.performance import ROUNDING, max_drawdown, sharpe
from quantcore.finance.sharpe import autocovariances, robust_sharpe_error, varying, varying_columns
from quantcore.kernels import bootstrap as kernel
from quantcore.types import FloatArray, IntArray

N_MIN = 11
"""Fewest returns from which a block length can be estimated: its autocorrelations need that many lags."""


@dataclass(frozen=True)
class BlockLength:
    """Mean block lengths, in periods: of the stationary bootstrap, and of the one with circular blocks of equal length.

    As estimated, > 0 and possibly below 1, which means independent rows.
    """

    stationary: float
    circular: float


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval, with the estimate on the record itself and the mean block length behind it."""

    low: float
    high: float
    estimate: float
    confidence: float
    mean_block: float


@dataclass(frozen=True)
class SuperiorAbility:
    """The p-value of "no strategy beats the benchmark" with its bounds, and the columns of those that do."""

    lower: float
    consistent: float
    upper: float
    superior: IntArray


def politis_white_block(returns: npt.ArrayLike) -> BlockLength:
    r"""Return the block lengths that minimise the error of the bootstrapped variance of the mean.

    .. math::

        b = \left(\frac{2 g^2}{c\, v^2}\, n\right)^{1/3}, \qquad
        g = \sum_{|k| \le M} h\!\left(\tfrac{k}{M}\right) |k|\, \hat\gamma_k, \qquad
        v = \sum_{|k| \le M} h\!\left(\tfrac{k}{M}\right) \hat\gamma_k

    with :math:`h(x) = \min(1, 2(1 - |x|))`, c = 2 for the stationary and 4/3 for the circular bootstrap. M is twice the
    lag that begins the first run of K = max(5, ⌊lg n⌋) autocorrelations within :math:`\pm 2 \sqrt{\lg n / n}`, at most
    :math:`\lceil \sqrt n \rceil + K`; b is at most :math:`\lceil \min(3 \sqrt n, n / 3) \rceil`.

    Parameters
    ----------
    returns : array-like, shape (n,)
        In any unit; NaN is dropped. Of absolute returns it is the length that keeps clusters of volatility.

    Returns
    -------
    BlockLength
        In periods.

    Raises
    ------
    ValueError
        If the returns are constant, infinite or fewer than `N_MIN`.

    References
    ----------
    Politis and White, "Automatic Block-Length Selection for the Dependent Bootstrap", *Econometric Reviews* 23(1),
    2004; Patton, Politis and White, correction, *Econometric Reviews* 28(4), 2009. Deviation: autocorrelations are
    scaled by the squares of the overlapping rows, and M is the largest where there is no run, both as in arch 8.
    """
    centred = varying(returns, n_min=N_MIN)
    centred = centred - centred.mean()
    n = len(centred)
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    run = max(5, int(math.log10(n)))
    m_max = math.ceil(math.sqrt(n)) + run
    covariances = autocovariances(centred, m_max)
    m = min(_significant_lags(centred, covariances, run), m_max)
    lags = np.arange(1, m + 1)
    weighted = 2.0 * np.minimum(1.0, 2.0 * (1.0 - lags / m)) * covariances[1 : m + 1]
    g, v = float(weighted @ lags), float(covariances[0] + weighted.sum())

    def length(c: float) -> float:
        return min((2.0 * g**2 / (c * v**2) * n) ** (1.0 / 3.0), longest) if v else float(longest)

    return BlockLength(stationary=length(2.0), circular=length(4.0 / 3.0))


def _significant_lags(centred: FloatArray, covariances: FloatArray, run: int) -> int:
    """Return M before its upper limit; without a run of insignificant lags, one lag more than there are."""
    n, n_lags = len(centred), len(covariances)
    squares = np.concatenate([[0.0], np.cumsum(centred * centred)])
    left_out = np.arange(1, n_lags + 1)  # one row more than the product has: as in arch
    scale = np.sqrt((squares[n] - squares[left_out]) * squares[n - left_out])
    correlations = np.zeros(n_lags)
    np.divide(np.abs(covariances) * n, scale, out=correlations, where=scale > 0.0)
    small = correlations < 2.0 * math.sqrt(math.log10(n) / n)
    for lag in range(1, n_lags - run):
        if small[lag : lag + run].all():
            return 2 * lag
    return n_lags


def stationary_indices(
    n_rows: int, *, n_paths: int, mean_block: float, rng: np.random.Generator
) -> IntArray:
    """Return which rows make up each resampled series.

    Parameters
    ----------
    n_rows : int
        Length of the record and of each resampled series, >= 1.
    n_paths : int
        Number of series.
    mean_block : float
        Mean block length in rows, in [1, n_rows]; 1 draws every row on its own.
    rng : Generator
        Advanced.

    Returns
    -------
    int64 array, shape (n_paths, n_rows)
        From 0 to n_rows - 1; ``returns[indices]`` are the resampled series.

    Raises
    ------
    ValueError
        If `n_paths` is below 1 or `mean_block` out of range.

    References
    ----------
    Politis and Romano, "The Stationary Bootstrap", *Journal of the American Statistical Association* 89, 1994.
    """
    if n_paths < 1:
        raise ValueError(f"n_paths must be >= 1, was {n_paths}")
    return kernel.stationary_paths(n_paths, n_rows, n_rows, _restart(n_rows, mean_block), rng)


def bootstrap_variance_of_mean(returns: npt.ArrayLike, *, mean_block: float) -> float:
    r"""Return the variance of the mean over all resampled series, exactly, without resampling.

    .. math::

        \frac{1}{n} \Bigl[\hat c_0 + 2 \sum_{k=1}^{n-1} \Bigl(1 - \frac{k}{n}\Bigr) (1 - p)^k\, \hat c_k\Bigr],
        \qquad \hat c_k = \frac{1}{n} \sum_{t=1}^{n} (r_t - \bar r)(r_{t+k} - \bar r), \quad r_{n+t} = r_t

    with p = 1 / mean block length.

    Parameters
    ----------
    returns : array-like, shape (n,)
        In any unit; NaN is dropped.
    mean_block : float
        Mean block length in periods, in [1, n].

    Returns
    -------
    float
        In the square of that unit, >= 0.

    Raises
    ------
    ValueError
        If the returns are constant or fewer than two, or `mean_block` is out of range.

    References
    ----------
    Politis and Romano (1994), lemma 1.
    """
    return float(_variances_of_mean(varying(returns, n_min=2)[:, np.newaxis], mean_block)[0])


def _variances_of_mean(columns: FloatArray, mean_block: float) -> FloatArray:
    n = len(columns)
    keep = 1.0 - _restart(n, mean_block)
    spectrum = np.fft.rfft(columns - columns.mean(axis=0), axis=0)
    covariances = np.fft.irfft(np.abs(spectrum) ** 2, n, axis=0) / n
    lags = np.arange(n)
    weights = np.where(lags == 0, 1.0, 2.0 * (1.0 - lags / n) * keep**lags)
    return np.asarray(np.maximum(weights @ covariances, 0.0) / n)


def bootstrap_sharpe(
    returns: npt.ArrayLike,
    *,
    periods_per_year: float,
    confidence: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> Interval:
    r"""Return a confidence interval of the annual Sharpe ratio by the studentised stationary bootstrap.

    .. math::

        \sqrt q\,\bigl[\widehat{SR} - t_{(1+c)/2}\,\hat s,\; \widehat{SR} - t_{(1-c)/2}\,\hat s\bigr], \qquad
        t^* = \frac{\widehat{SR}^* - \widehat{SR}}{\hat s^*}

    where t are quantiles of :math:`t^*` over the resampled series, :math:`\hat s` is `robust_sharpe_error`, and
    :math:`\hat s^*` comes from the sums over the blocks of the resampled series.

    In 600 records each of 100 to 1,000 autocorrelated, skewed, fat-tailed or GARCH returns an interval of 90 % held the
    true ratio in 88 to 92 %; the percentile interval in 82 to 91 %, the formula for independent returns in 64 to 96 %.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.
    periods_per_year : float
        q, > 0; 1 gives the ratio per period.
    confidence : float
        c, in (0, 1).
    n_paths : int
        Resampled series; at least one must fall into each tail. 2,000 and more keep the noise of the bounds small.
    mean_block : float or None
        Mean block length in periods, in [1, n]; None takes `politis_white_block`, at least 1.
    rng : Generator
        Advanced.

    Returns
    -------
    Interval
        Annual. A resampled series that does not vary has no ratio and is left out; one that is a single block counts as
        t = 0.

    Raises
    ------
    ValueError
        If an argument is out of range, or the returns are constant, infinite or fewer than `N_MIN`.

    References
    ----------
    Ledoit and Wolf, "Robust Performance Hypothesis Testing with the Sharpe Ratio", *Journal of Empirical Finance*
    15(5), 2008. Deviations: one ratio instead of the difference of two; stationary instead of circular blocks;
    equal-tailed instead of symmetric; the block length after Politis and White instead of calibrated.
    """
    known = varying(returns, n_min=N_MIN)
    if not periods_per_year > 0.0:
        raise ValueError(f"periods_per_year must be > 0, was {periods_per_year}")
    _check_paths(n_paths, confidence)
    block = _block(known[:, np.newaxis], mean_block)
    ratio, error = sharpe(known, periods_per_year=1.0), robust_sharpe_error(known)
    drawn = kernel.resampled_sharpes(known, n_paths, _restart(len(known), block), rng)
    drawn = drawn[~np.isnan(drawn[:, 0])]
    t = np.zeros(len(drawn))
    np.divide(drawn[:, 0] - ratio, drawn[:, 1], out=t, where=drawn[:, 1] > 0.0)
    lower, upper = _quantiles(t, confidence)
    scale = math.sqrt(periods_per_year)
    return Interval(
        low=(ratio - upper * error) * scale,
        high=(ratio - lower * error) * scale,
        estimate=ratio * scale,
        confidence=confidence,
        mean_block=block,
    )


def bootstrap_max_drawdown(
    returns: npt.ArrayLike,
    *,
    confidence: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> Interval:
    """Return the range of the maximum drawdown over records of the same length and kind, by percentiles.

    The maximum drawdown belongs to a record, not to the process behind it, and grows with the record's length. So this
    is where another such record's drawdown would fall, not a bound on a true value: what was measured is one draw. The
    record's mean return is taken as true; where that was luck, the range is too shallow.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period, >= -1; NaN is dropped.
    confidence, n_paths, rng
        As in `bootstrap_sharpe`.
    mean_block : float or None
        Mean block length in periods, in [1, n]; None takes the larger `politis_white_block` of the returns and of
        their absolute values, at least 1, because drawdowns deepen where volatility clusters.

    Returns
    -------
    Interval
        Fractions <= 0: `low` is the deeper one.

    Raises
    ------
    ValueError
        If an argument is out of range, or the returns are constant, infinite or fewer than `N_MIN`.
    """
    known = varying(returns, n_min=N_MIN)
    if known.min() < -1.0:
        raise ValueError(f"returns must be >= -1, held {known.min()}")
    _check_paths(n_paths, confidence)
    if mean_block is None:
        sizes = np.abs(known)
        clusters = sizes if sizes.std() > ROUNDING * sizes.mean() else known
        mean_block = max(_block(v[:, np.newaxis], None) for v in (known, clusters))
    block = _block(known[:, np.newaxis], mean_block)
    drawn = kernel.resampled_drawdowns(known, n_paths, _restart(len(known), block), rng)
    low, high = _quantiles(drawn, confidence)
    curve = np.asarray(np.cumprod(1.0 + known), dtype=np.float64)
    return Interval(low, high, max_drawdown(curve, start=1.0), confidence, block)


def bootstrap_interval(
    returns: npt.ArrayLike,
    statistic: Callable[[FloatArray], float],
    *,
    confidence: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> Interval:
    """Return the percentile interval of any statistic by the stationary bootstrap, usually a little too narrow.

    Parameters
    ----------
    returns : array-like, shape (n,) or (n, n_columns)
        In any unit. Columns are resampled together; a row in which any value is NaN is dropped.
    statistic : callable
        From returns of that shape to a number; series for which it is NaN are left out.
    confidence, n_paths, rng
        As in `bootstrap_sharpe`.
    mean_block : float or None
        Mean block length in periods, in [1, n]; None takes the median `politis_white_block` of the columns, at least 1.

    Returns
    -------
    Interval
        In the statistic's unit.

    Raises
    ------
    ValueError
        If an argument is out of range, a column is constant, infinite or shorter than `N_MIN`, or the statistic is NaN
        on the record itself or on all series.

    References
    ----------
    Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, ch. 13.
    """
    array = np.asarray(returns, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"returns must have one or two dimensions, had shape {array.shape}")
    known = array[~np.isnan(array if array.ndim == 2 else array[:, np.newaxis]).any(axis=1)]
    columns = varying_columns(known if array.ndim == 2 else known[:, np.newaxis], n_min=N_MIN)
    _check_paths(n_paths, confidence)
    block = _block(columns, mean_block)
    estimate = float(statistic(known))
    if math.isnan(estimate):
        raise ValueError("statistic must be a number on the returns themselves, was nan")
    path, restart = np.empty(len(known), dtype=np.int64), _restart(len(known), block)
    drawn = np.empty(n_paths)
    for k in range(n_paths):
        kernel.stationary_path(path, len(known), restart, rng)
        drawn[k] = statistic(known[path])
    low, high = _quantiles(drawn[~np.isnan(drawn)], confidence)
    return Interval(low, high, estimate, confidence, block)


def superior_ability(
    returns: npt.ArrayLike,
    *,
    benchmark: npt.ArrayLike,
    size: float,
    n_paths: int,
    mean_block: float | None,
    rng: np.random.Generator,
) -> SuperiorAbility:
    r"""Test which of many strategies beat a benchmark by more than searching for them explains (SPA, step-M).

    .. math:: \max_k \bar d_k / \hat\omega_k, \qquad \hat\omega_k^2 = n \operatorname{Var}^*(\bar d_k^*)

    over the strategies' excess returns d, against its distribution under the stationary bootstrap. The upper p-value
    takes every strategy to be as good as the benchmark (White's reality check, here studentised), the lower one takes
    bad ones to be as bad as they look, the consistent one drops the hopeless. Strategies above the critical value of
    the consistent one are superior; they are taken out and the rest tested again, until no more are found.

    Parameters
    ----------
    returns : array-like, shape (n_rows, n_strategies)
        Fractions per period of every strategy that was tried, the bad ones too.
    benchmark : array-like, shape (n_rows,) or ()
        Returns to beat; 0 for cash.
    size : float
        Probability of naming even one strategy superior that is not, in (0, 1).
    n_paths, mean_block, rng
        As in `bootstrap_interval`, with n_paths >= 1 and the block rounded to whole periods.

    Returns
    -------
    SuperiorAbility
        p-values in steps of 1 / n_paths.

    Raises
    ------
    ValueError
        If shapes differ, an argument is out of range, or an excess return is NaN, infinite, or constant over time.

    References
    ----------
    Hansen, "A Test for Superior Predictive Ability", *Journal of Business & Economic Statistics* 23(4), 2005; White, "A
    Reality Check for Data Snooping", *Econometrica* 68(5), 2000; Romano and Wolf, "Stepwise Multiple Testing as
    Formalized Data Snooping", *Econometrica* 73(4), 2005. Through arch 8, with two deviations: its `studentize` leaves
    the statistic as it is, so excess returns are studentised before they are handed over; its step-M fails where every
    strategy is superior, so the steps are ours.
    """
    if not 0.0 < size < 1.0:
        raise ValueError(f"size must be in (0, 1), was {size}")
    if n_paths < 1:
        raise ValueError(f"n_paths must be >= 1, was {n_paths}")
    from arch.bootstrap import SPA

    strategies, base = np.asarray(returns, np.float64), np.asarray(benchmark, np.float64)
    if base.shape not in ((), strategies.shape[:1]):
        raise ValueError(
            f"benchmark must have shape {strategies.shape[:1]} or (), had {base.shape}"
        )
    excess = varying_columns((strategies.T - base).T, n_min=N_MIN)
    block = round(_block(excess, mean_block))
    losses = -excess / np.sqrt(len(excess) * _variances_of_mean(excess, block))
    none = np.zeros(len(losses))
    test = SPA(none, losses, block_size=block, reps=n_paths, studentize=False, seed=rng)
    test.compute()
    lower, consistent, upper = (float(p) for p in test.pvalues)
    left = np.ones(losses.shape[1], dtype=np.bool_)
    found = test.better_models(size)
    while len(found):
        left[found] = False
        if not left.any():
            break
        test.subset(left)
        test.compute()
        found = test.better_models(size)
    return SuperiorAbility(lower, consistent, upper, np.flatnonzero(~left).astype(np.int64))


def _block(columns: FloatArray, mean_block: float | None) -> float:
    if mean_block is None:
        lengths = [politis_white_block(column).stationary for column in columns.T]
        return max(1.0, float(np.median(lengths)))
    _restart(len(columns), mean_block)
    return float(mean_block)


def _restart(n_rows: int, mean_block: float) -> float:
    if not 1.0 <= mean_block <= n_rows:
        raise ValueError(f"mean_block must be in [1, {n_rows}], was {mean_block}")
    return 1.0 / mean_block


def _check_paths(n_paths: int, confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), was {confidence}")
    if n_paths * (1.0 - confidence) / 2.0 < 1.0:
        raise ValueError(f"n_paths must be >= 2 / (1 - confidence), was {n_paths}")


def _quantiles(drawn: FloatArray, confidence: float) -> tuple[float, float]:
    if not len(drawn):
        raise ValueError("statistic must be a number on some resampled series, was nan on all")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return float(low), float(high)
