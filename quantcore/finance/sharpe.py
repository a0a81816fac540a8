"""Inference on the Sharpe ratio: how far a ratio that was measured can be believed.

Ratios are per period unless said otherwise, kurtosis is raw (normal = 3).
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from quantcore.finance.performance import raw_kurtosis, sharpe, skewness

_NORMAL = NormalDist()


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
    Variance of the IID Estimator in Lo", 2002. Both assume independent returns; see `sharpe_annualisation` for
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
