"""Inference on the Sharpe ratio: how far a ratio that was measured can be believed.

Ratios are per period unless said otherwise, kurtosis is raw (normal = 3).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from quantcore.finance.performance import ROUNDING, raw_kurtosis, sharpe, skewness
from quantcore.types import FloatArray

_NORMAL = NormalDist()
_LARGEST_ROOT = 0.97
"""Andrews and Monahan's bound on the coefficient that whitens: beyond it the recolouring explodes."""


def sharpe_standard_error(
    sharpe_ratio: float, n: int, *, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    r"""Return the standard error of a Sharpe ratio per period.

    .. math:: \sqrt{\frac{1 - \gamma_3 \widehat{SR} + \tfrac{\gamma_4 - 1}{4} \widehat{SR}^2}{n}}

    With normal returns (skew 0, kurtosis 3) this is Lo's :math:`\sqrt{(1 + SR^2/2)/n}`.

    Parameters
    ----------
    sharpe_ratio : float
        Per period, not annual.
    n : int
        Number of returns.
    skew, kurtosis : float
        Of the returns; kurtosis is raw (normal = 3).

    Returns
    -------
    float
        Per period; NaN without returns or where the moments are not possible together.

    References
    ----------
    Lo, "The Statistics of Sharpe Ratios", *Financial Analysts Journal* 58(4), 2002; Mertens, "Comments on
    Variance of the IID Estimator in Lo", 2002. Both assume independent returns; see `robust_sharpe_error` for
    dependent ones.

    Examples
    --------
    >>> round(sharpe_standard_error(0.5, 60), 6)
    0.136931
    """
    spread = _sharpe_variance(sharpe_ratio, skew, kurtosis)
    return math.sqrt(spread / n) if n > 0 and spread > 0.0 else math.nan


def sharpe_interval(
    returns: npt.ArrayLike, *, periods_per_year: float, confidence: float
) -> tuple[float, float]:
    r"""Return a two-sided confidence interval of the annual Sharpe ratio.

    .. math:: \sqrt{q}\,\bigl(\widehat{SR} \pm z_{(1+c)/2}\, \mathrm{se}\bigr)

    with `sharpe_standard_error` at the sample skew and kurtosis.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.
    periods_per_year : float
        q.
    confidence : float
        c, in (0, 1).

    Returns
    -------
    tuple of float
        Lower and upper bound; NaN where the ratio is NaN.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1).

    References
    ----------
    Mertens (2002), as in `sharpe_standard_error`. The normal approximation is poor below some thirty returns.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), was {confidence}")
    known = np.asarray(returns, dtype=np.float64)
    known = known[~np.isnan(known)]
    ratio = sharpe(known, periods_per_year=1.0)
    error = sharpe_standard_error(
        ratio, len(known), skew=skewness(known), kurtosis=raw_kurtosis(known)
    )
    half = _NORMAL.inv_cdf((1.0 + confidence) / 2.0) * error
    scale = math.sqrt(periods_per_year)
    return (ratio - half) * scale, (ratio + half) * scale


def sharpe_annualisation(periods: int, autocorrelations: npt.ArrayLike) -> float:
    r"""Return the factor that takes a Sharpe ratio per period to `periods` periods under autocorrelation.

    .. math:: \eta(q) = \frac{q}{\sqrt{q + 2 \sum_{k=1}^{q-1} (q - k) \rho_k}}

    Parameters
    ----------
    periods : int
        q, >= 1.
    autocorrelations : array-like, shape (n_lags,)
        :math:`\rho_1, \rho_2, \ldots` of the returns; lags beyond the last given count as zero, lags beyond q -
        1 are unused.

    Returns
    -------
    float
        :math:`\sqrt{q}` without autocorrelation; NaN if the variance it implies is not positive.

    Raises
    ------
    ValueError
        If `periods` is below 1.

    References
    ----------
    Lo, "The Statistics of Sharpe Ratios", *Financial Analysts Journal* 58(4), 2002, eq. 20.

    Examples
    --------
    >>> round(sharpe_annualisation(12, 0.2 ** np.arange(1, 12)), 6)
    2.878849
    """
    if periods < 1:
        raise ValueError(f"periods must be >= 1, was {periods}")
    rho = np.atleast_1d(np.asarray(autocorrelations, dtype=np.float64))[: periods - 1]
    weights = periods - np.arange(1, len(rho) + 1)
    variance = periods + 2.0 * float(weights @ rho)
    return periods / math.sqrt(variance) if variance > 0.0 else math.nan


def autocorrelations(returns: npt.ArrayLike, *, n_lags: int) -> FloatArray:
    r"""Return the sample autocorrelations of lags 1 to `n_lags`.

    .. math:: \hat\rho_k = \sum_{t>k} (r_t - \bar r)(r_{t-k} - \bar r) \Big/ \sum_t (r_t - \bar r)^2

    Parameters
    ----------
    returns : array-like, shape (n,)
        In any unit; NaN is dropped, which makes neighbours of the values on either side.
    n_lags : int
        From 0 to n - 1.

    Returns
    -------
    float64 array, shape (n_lags,)
        In [-1, 1].

    Raises
    ------
    ValueError
        If `n_lags` is out of range, or the returns are constant or fewer than two.

    References
    ----------
    Box and Jenkins, *Time Series Analysis*, 1970, ch. 2: one divisor for all lags, so that no estimate leaves [-1, 1].
    """
    centred = varying(returns, n_min=2)
    centred = centred - centred.mean()
    if not 0 <= n_lags < len(centred):
        raise ValueError(f"n_lags must be in [0, {len(centred) - 1}], was {n_lags}")
    return autocovariances(centred, n_lags)[1:] / float(np.mean(centred * centred))


def autocorrelated_sharpe(returns: npt.ArrayLike, *, periods_per_year: int, n_lags: int) -> float:
    r"""Return the annual Sharpe ratio of returns that are correlated in time.

    .. math:: \eta(q)\,\bar r / s

    with `sharpe_annualisation` at the sample autocorrelations: a trend in the returns makes a year riskier than
    :math:`\sqrt q` says.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.
    periods_per_year : int
        q, >= 1.
    n_lags : int
        Autocorrelations that count, later ones being taken as zero; 0 gives the plain ratio. A handful for days:
        each further lag adds an estimation error of :math:`1/\sqrt n` with a weight near 2.

    Returns
    -------
    float
        Dimensionless; NaN if the variance of a year that the autocorrelations imply is not positive.

    Raises
    ------
    ValueError
        If an argument is out of range, or the returns are constant or fewer than two.

    References
    ----------
    Lo, "The Statistics of Sharpe Ratios", *Financial Analysts Journal* 58(4), 2002, eq. 20.
    """
    rho = autocorrelations(returns, n_lags=n_lags)
    return sharpe(returns, periods_per_year=1.0) * sharpe_annualisation(periods_per_year, rho)


def long_run_variance(values: npt.ArrayLike) -> float:
    r"""Return the long-run variance of a series: n times the variance of its mean under autocorrelation.

    .. math::

        \hat V = \frac{1}{(1 - \hat a)^2} \sum_{|k| < n} w\!\left(\frac{k}{S}\right) \hat\gamma_k(e), \qquad
        e_t = x_t - \hat a x_{t-1}, \qquad
        S = 1.3221 \left(\frac{4 \hat b^2}{(1 - \hat b)^4} n\right)^{1/5}

    where x is centred, :math:`\hat a` and :math:`\hat b` are the slopes of x and e on their own last values, and w is
    the quadratic spectral weight :math:`\frac{25}{12 \pi^2 z^2}\bigl(\frac{\sin u}{u} - \cos u\bigr)`, u = 6 π z / 5.

    Parameters
    ----------
    values : array-like, shape (n,)
        In any unit; NaN is dropped.

    Returns
    -------
    float
        In the square of that unit, > 0.

    Raises
    ------
    ValueError
        If the values are constant or fewer than four.

    References
    ----------
    Andrews, "Heteroskedasticity and Autocorrelation Consistent Covariance Matrix Estimation", *Econometrica* 59(3),
    1991, eq. 6.2 and 6.4; Andrews and Monahan, "An Improved Heteroskedasticity and Autocorrelation Consistent
    Covariance Matrix Estimator", *Econometrica* 60(4), 1992, with their bound of 0.97 on both slopes.
    """
    centred = varying(values, n_min=4)
    centred = centred - centred.mean()
    slope = _slope(centred)
    whitened = centred[1:] - slope * centred[:-1]
    second = _slope(whitened)
    n = len(centred)
    bandwidth = 1.3221 * (4.0 * second**2 / (1.0 - second) ** 4 * n) ** 0.2
    covariances = autocovariances(whitened, len(whitened) - 1) * (len(whitened) / n)
    variance = covariances[0] + 2.0 * float(
        _quadratic_spectral(len(whitened), bandwidth) @ covariances[1:]
    )
    return float(variance / (1.0 - slope) ** 2)


def robust_sharpe_error(returns: npt.ArrayLike) -> float:
    r"""Return the standard error of a Sharpe ratio per period under autocorrelation and changing volatility.

    .. math::

        \sqrt{\hat V(\psi) / n}, \qquad
        \psi_t = z_t - \tfrac{\widehat{SR}}{2}(z_t^2 - 1), \qquad z_t = (r_t - \bar r)/\hat\sigma

    with `long_run_variance` :math:`\hat V` of the ratio's influence function. Without dependence it estimates what
    `sharpe_standard_error` does at the sample skew and kurtosis.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.

    Returns
    -------
    float
        Per period, > 0.

    Raises
    ------
    ValueError
        If the returns are constant or fewer than four.

    References
    ----------
    Ledoit and Wolf, "Robust Performance Hypothesis Testing with the Sharpe Ratio", *Journal of Empirical Finance*
    15(5), 2008, section 3.1, for one ratio instead of the difference of two. Lo (2002) has Newey-West weights instead;
    with them the interval of one record held the truth less often in our trials.
    """
    known = varying(returns, n_min=4)
    z = (known - known.mean()) / known.std()
    ratio = sharpe(known, periods_per_year=1.0)
    return math.sqrt(long_run_variance(z - ratio / 2.0 * (z * z - 1.0)) / len(known))


def probabilistic_sharpe(
    sharpe_ratio: float, n: int, *, skew: float, kurtosis: float, benchmark: float
) -> float:
    r"""Return the probability that the true Sharpe ratio exceeds a benchmark.

    .. math::

        \Phi\!\left(\frac{(\widehat{SR} - SR^*)\sqrt{n-1}}
        {\sqrt{1 - \gamma_3 \widehat{SR} + \tfrac{\gamma_4 - 1}{4}\widehat{SR}^2}}\right)

    Parameters
    ----------
    sharpe_ratio, benchmark : float
        Per period, not annual.
    n : int
        Number of returns.
    skew, kurtosis : float
        Of the returns; kurtosis is raw (normal = 3).

    Returns
    -------
    float
        In [0, 1]; NaN with fewer than two returns or where an input is NaN.

    References
    ----------
    Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier", *Journal of Risk* 15(2), 2012, eq. 11.

    Examples
    --------
    >>> round(probabilistic_sharpe(0.458, 24, skew=0.0, kurtosis=3.0, benchmark=0.0), 4)
    0.9817
    """
    spread = _sharpe_variance(sharpe_ratio, skew, kurtosis)
    if n < 2 or not spread > 0.0:
        return math.nan
    return _NORMAL.cdf((sharpe_ratio - benchmark) * math.sqrt((n - 1) / spread))


def min_track_record(
    sharpe_ratio: float, *, skew: float, kurtosis: float, benchmark: float, confidence: float
) -> float:
    r"""Return how many returns it takes to believe that a Sharpe ratio exceeds a benchmark.

    .. math::

        1 + \Bigl(1 - \gamma_3 \widehat{SR} + \tfrac{\gamma_4 - 1}{4}\widehat{SR}^2\Bigr)
        \left(\frac{z_c}{\widehat{SR} - SR^*}\right)^2

    Parameters
    ----------
    sharpe_ratio, benchmark : float
        Per period, not annual.
    skew, kurtosis : float
        Of the returns; kurtosis is raw (normal = 3).
    confidence : float
        c, in (0, 1), usually 0.95.

    Returns
    -------
    float
        Number of returns; infinite where the ratio does not exceed the benchmark, NaN where an input is NaN.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1).

    References
    ----------
    Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier", *Journal of Risk* 15(2), 2012, eq. 13.

    Examples
    --------
    >>> round(min_track_record(1.14, skew=0.0, kurtosis=3.0, benchmark=1.0, confidence=0.95), 3)
    228.735
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), was {confidence}")
    spread = _sharpe_variance(sharpe_ratio, skew, kurtosis)
    if math.isnan(spread) or math.isnan(benchmark):
        return math.nan
    if sharpe_ratio <= benchmark:
        return math.inf
    return 1.0 + spread * (_NORMAL.inv_cdf(confidence) / (sharpe_ratio - benchmark)) ** 2


def _sharpe_variance(sharpe_ratio: float, skew: float, kurtosis: float) -> float:
    return 1.0 - skew * sharpe_ratio + (kurtosis - 1.0) / 4.0 * sharpe_ratio**2


def varying(values: npt.ArrayLike, *, n_min: int) -> FloatArray:
    """Return the values that are not NaN.

    Raises
    ------
    ValueError
        If the array is not one-dimensional, fewer than `n_min` values are left, one is infinite, or all are equal.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"returns must be one-dimensional, had shape {array.shape}")
    known = array[~np.isnan(array)]
    if len(known) < n_min:
        raise ValueError(f"returns must hold >= {n_min} values other than NaN, held {len(known)}")
    if not np.isfinite(known).all():
        raise ValueError(f"returns must be finite, held {known[~np.isfinite(known)][0]}")
    if known.std() <= ROUNDING * abs(float(known.mean())):
        raise ValueError(f"returns must vary, were all {known[0]}")
    return known


def varying_columns(returns: npt.ArrayLike, *, n_min: int) -> FloatArray:
    """Return returns of shape (n_rows, n_strategies) as an array.

    Raises
    ------
    ValueError
        If there are not two axes and a column, a value is NaN, or `varying` refuses a column.
    """
    matrix = np.asarray(returns, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 1:
        raise ValueError(f"returns must have shape (n_rows, n_strategies), had {matrix.shape}")
    for k, column in enumerate(matrix.T):
        if np.isnan(column).any():
            raise ValueError(f"returns must not be NaN, were in column {k}")
        varying(column, n_min=n_min)
    return matrix


def autocovariances(centred: FloatArray, n_lags: int) -> FloatArray:
    """Return the autocovariances of lags 0 to `n_lags` of a series of mean zero, each divided by its full length."""
    n = len(centred)
    spectrum = np.fft.rfft(centred, 2 * n)
    products = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n)
    return np.asarray(products[: n_lags + 1] / n)


def _slope(series: FloatArray) -> float:
    before = series[:-1]
    squares = float(before @ before)
    slope = float(series[1:] @ before) / squares if squares > 0.0 else 0.0
    return min(max(slope, -_LARGEST_ROOT), _LARGEST_ROOT)


def _quadratic_spectral(n: int, bandwidth: float) -> FloatArray:
    if bandwidth < ROUNDING:
        return np.zeros(n - 1)
    z = np.arange(1, n) / bandwidth
    u = 1.2 * np.pi * z
    return np.asarray(25.0 / (12.0 * np.pi**2 * z * z) * (np.sin(u) / u - np.cos(u)))
