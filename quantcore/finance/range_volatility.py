r"""Variance measured from the ranges of bars, and the forecast of measured variances (HAR).

A bar's high and low say more about its variance than its close alone. With :math:`o = \ln(O_t/C_{t-1})`,
:math:`u = \ln(H_t/O_t)`, :math:`d = \ln(L_t/O_t)` and :math:`c = \ln(C_t/O_t)` the estimators are means over bars of

.. math::
    \text{Parkinson}\;\frac{(u-d)^2}{4\ln 2}, \qquad
    \text{Garman-Klass}\;\tfrac12 (u-d)^2 - (2\ln 2 - 1)\,c^2, \qquad
    \text{Rogers-Satchell}\;u(u-c) + d(d-c)

and of Yang-Zhang's combination of these with the variance of o. Variances are per bar, of log returns. High and low of
a market that trades in steps are seen too close together, so that all four are biased downwards on short, thin bars.

Arrays are of shape ``(n,)`` or ``(n, n_symbols)``. Without `window` the result is one number per symbol, over the bars
whose values are all known; with it the result has the shape of the input, each row over the `window` bars that end in
it, and is NaN until that many in a row are known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from quantcore.kernels.rolling import (
    rolling_init,
    rolling_mean_scan,
    rolling_std_init,
    rolling_std_scan,
)
from quantcore.types import FloatArray

EFFICIENCY: Mapping[str, float] = MappingProxyType(
    {"parkinson": 5.2, "garman_klass": 7.4, "rogers_satchell": 6.0, "yang_zhang_max": 14.0}
)
"""Published efficiencies: how many times smaller the sampling variance is than that of squared open-to-close returns
(close-to-close for Yang-Zhang, at the best share of overnight variance), for continuous trading without drift.

Facts of the papers below, not used in any computation. Parkinson's exact value is
:math:`2 / (9\\zeta(3)/(16 \\ln^2 2) - 1) \\approx 4.9`; the usual 5.2 is the figure he gives."""


def parkinson(
    highs: npt.ArrayLike, lows: npt.ArrayLike, *, window: int | None = None
) -> float | FloatArray:
    r"""Return Parkinson's variance, the mean of :math:`\ln^2(H/L) / (4 \ln 2)`.

    Parameters
    ----------
    highs, lows : array-like, shape (n,) or (n, n_symbols)
        Prices > 0; a bar with a NaN does not count.
    window : int, optional
        Bars, >= 1, for a rolling result.

    Returns
    -------
    float or float64 array
        Per bar; see the module for shapes. It ignores the move between bars, and drift biases it upwards.

    Raises
    ------
    ValueError
        If prices are not positive or not in order, shapes differ, `window` is below 1, or a symbol has no whole bar
        (a rolling result is NaN there).

    References
    ----------
    Parkinson, "The Extreme Value Method for Estimating the Variance of the Rate of Return", *Journal of Business*
    53(1), 1980.

    Examples
    --------
    >>> round(parkinson([101.0, 102.0], [99.0, 100.0]), 8)
    0.00014286
    """
    high, low = _logs(high=highs, low=lows)
    return _mean((high - low) ** 2 / (4.0 * math.log(2.0)), window)


def garman_klass(
    opens: npt.ArrayLike,
    highs: npt.ArrayLike,
    lows: npt.ArrayLike,
    closes: npt.ArrayLike,
    *,
    window: int | None = None,
) -> float | FloatArray:
    r"""Return the variance of Garman and Klass, the mean of :math:`\tfrac12 \ln^2(H/L) - (2\ln 2 - 1) \ln^2(C/O)`.

    Parameters
    ----------
    opens, highs, lows, closes : array-like, shape (n,) or (n, n_symbols)
        Prices > 0; a bar with a NaN does not count.
    window : int, optional
        Bars, >= 1, for a rolling result.

    Returns
    -------
    float or float64 array
        Per bar; see the module for shapes. It ignores the move between bars and assumes no drift.

    Raises
    ------
    ValueError
        As `parkinson`.

    References
    ----------
    Garman and Klass, "On the Estimation of Security Price Volatilities from Historical Data", *Journal of Business*
    53(1), 1980, eq. 19: the practical form, without its small cross terms.
    """
    open_, high, low, close = _logs(open=opens, high=highs, low=lows, close=closes)
    terms = 0.5 * (high - low) ** 2 - (2.0 * math.log(2.0) - 1.0) * (close - open_) ** 2
    return _mean(terms, window)


def rogers_satchell(
    opens: npt.ArrayLike,
    highs: npt.ArrayLike,
    lows: npt.ArrayLike,
    closes: npt.ArrayLike,
    *,
    window: int | None = None,
) -> float | FloatArray:
    r"""Return the variance of Rogers and Satchell, the mean of :math:`u(u-c) + d(d-c)`; drift does not bias it.

    Parameters
    ----------
    opens, highs, lows, closes : array-like, shape (n,) or (n, n_symbols)
        Prices > 0; a bar with a NaN does not count.
    window : int, optional
        Bars, >= 1, for a rolling result.

    Returns
    -------
    float or float64 array
        Per bar, >= 0; see the module for shapes. It ignores the move between bars.

    Raises
    ------
    ValueError
        As `parkinson`.

    References
    ----------
    Rogers and Satchell, "Estimating Variance from High, Low and Closing Prices", *Annals of Applied Probability* 1(4),
    1991.
    """
    open_, high, low, close = _logs(open=opens, high=highs, low=lows, close=closes)
    return _mean((high - open_) * (high - close) + (low - open_) * (low - close), window)


def yang_zhang(
    opens: npt.ArrayLike,
    highs: npt.ArrayLike,
    lows: npt.ArrayLike,
    closes: npt.ArrayLike,
    *,
    window: int | None = None,
) -> float | FloatArray:
    r"""Return the variance of Yang and Zhang, which counts the move between bars and is not biased by drift.

    .. math:: s_o^2 + k s_c^2 + (1 - k)\,\overline{u(u-c) + d(d-c)}

    with sample variances (n - 1) of o and c and k = `yang_zhang_weight` (n), all over the same n bars. A bar counts
    only with the close of the bar before it, so that N bars give n = N - 1.

    Parameters
    ----------
    opens, highs, lows, closes : array-like, shape (n,) or (n, n_symbols)
        Prices > 0; a bar with a NaN does not count, nor does the bar after it.
    window : int, optional
        Bars that count, >= 2, for a rolling result (which is NaN before row `window`).

    Returns
    -------
    float or float64 array
        Per bar, >= 0; see the module for shapes. Markets that never close have next to no overnight move.

    Raises
    ------
    ValueError
        As `parkinson`; at least two bars must count.

    References
    ----------
    Yang and Zhang, "Drift-Independent Volatility Estimation Based on High, Low, Open, and Close Prices", *Journal of
    Business* 73(3), 2000, eqs. 8 to 10.
    """
    open_, high, low, close = _logs(open=opens, high=highs, low=lows, close=closes)
    before = np.full_like(close, np.nan)
    before[1:] = close[:-1]
    overnight, within = open_ - before, close - open_
    satchell = (high - open_) * (high - close) + (low - open_) * (low - close)
    known = ~np.isnan(overnight + satchell)
    overnight, within, satchell = (
        np.where(known, terms, np.nan) for terms in (overnight, within, satchell)
    )
    if window is not None:
        k = yang_zhang_weight(window)
        spread = _rolling_variance(overnight, window) + k * _rolling_variance(within, window)
        return np.asarray(spread + (1.0 - k) * _mean(satchell, window))
    counts = known.sum(axis=0)
    k = np.vectorize(yang_zhang_weight, otypes=[np.float64])(counts)
    spread = np.nanvar(overnight, axis=0, ddof=1) + k * np.nanvar(within, axis=0, ddof=1)
    return _plain(spread + (1.0 - k) * np.nanmean(satchell, axis=0))


def yang_zhang_weight(n: int) -> float:
    r"""Return the weight :math:`k = 0.34 / (1.34 + (n + 1)/(n - 1))` of Yang and Zhang for n bars.

    Raises
    ------
    ValueError
        If `n` is below 2.
    """
    if n < 2:
        raise ValueError(f"bars that count must be >= 2, were {n}")
    return 0.34 / (1.34 + (n + 1) / (n - 1))


@dataclass(frozen=True, kw_only=True)
class HarFit:
    r"""A heterogeneous autoregression of realised variance as estimated by `fit_har`.

    Parameters
    ----------
    lags : tuple of int
        Lengths of the means, in bars.
    constant : float
        In the unit of the variances.
    coefficients : float64 array, shape (n_lags,)
        One per lag, dimensionless.
    standard_errors : float64 array, shape (1 + n_lags,)
        Of the constant and the coefficients; ordinary least squares, errors taken as homoskedastic.
    r_squared : float
        Share of the variance explained in sample.
    n_rows : int
        Rows of the regression.
    """

    lags: tuple[int, ...]
    constant: float
    coefficients: FloatArray
    standard_errors: FloatArray
    r_squared: float
    n_rows: int

    def forecast(self, variances: npt.ArrayLike, *, horizon: int) -> FloatArray:
        """Return the expected variances of the next `horizon` bars, each forecast used as the next one's input.

        Parameters
        ----------
        variances : array-like, shape (n,)
            Up to now; the last ``max(lags)`` must be known and >= 0.
        horizon : int
            Bars, >= 1.

        Returns
        -------
        float64 array, shape (horizon,)
            Not kept from falling below 0: a regression knows no bounds.

        Raises
        ------
        ValueError
            If there are too few variances, one is missing or negative, or `horizon` is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon must be >= 1, was {horizon}")
        longest = max(self.lags)
        recent = _checked_variances(variances)[-longest:]
        if len(recent) < longest or np.isnan(recent).any():
            known = int((~np.isnan(recent)).sum())
            raise ValueError(f"variances must end with {longest} known values, had {known}")
        path = np.concatenate([recent, np.empty(horizon)])
        for k in range(longest, longest + horizon):
            means = np.array([path[k - lag : k].mean() for lag in self.lags])
            path[k] = self.constant + float(self.coefficients @ means)
        return path[longest:]


def fit_har(variances: npt.ArrayLike, *, lags: Sequence[int]) -> HarFit:
    r"""Fit the heterogeneous autoregression (HAR-RV) by ordinary least squares.

    .. math:: v_{t+1} = c + \sum_i b_i \, \frac{1}{l_i} \sum_{j=0}^{l_i - 1} v_{t-j} + \varepsilon_{t+1}

    Parameters
    ----------
    variances : array-like, shape (n,)
        Realised variance per bar, or another measure of it that is >= 0, such as its root. A row counts only where
        its target and all its lags are known.
    lags : sequence of int
        Lengths in bars, increasing: (1, 5, 22) are the source's day, week and month; markets that never close take
        (1, 7, 30).

    Returns
    -------
    HarFit
        With `forecast`.

    Raises
    ------
    ValueError
        If `lags` are not increasing and >= 1, a variance is negative or infinite, rows are not more than
        coefficients, or the regressors are collinear (constant variances).

    References
    ----------
    Corsi, "A Simple Approximate Long-Memory Model of Realized Volatility", *Journal of Financial Econometrics* 7(2),
    2009.
    """
    steps = tuple(int(lag) for lag in lags)
    if not steps or steps[0] < 1 or any(a >= b for a, b in pairwise(steps)):
        raise ValueError(f"lags must be increasing and >= 1, were {tuple(lags)}")
    values = _checked_variances(variances)
    scale = float(np.nanmax(values, initial=0.0)) or 1.0
    design, target = _har_rows(values / scale, steps)
    n_rows, n_columns = design.shape
    if n_rows <= n_columns:
        rule = f"more than {n_columns} rows with all lags known"
        raise ValueError(f"variances must give {rule}, gave {n_rows}")
    solution, _, rank, _ = np.linalg.lstsq(design, target)
    if rank < n_columns:
        raise ValueError(f"variances must not make the lags collinear, rank was {rank}")
    residuals = target - design @ solution
    unexplained, total = float(residuals @ residuals), float(n_rows * target.var())
    spread = np.diag(np.linalg.inv(design.T @ design)) * unexplained / (n_rows - n_columns)
    units = np.array([scale, *[1.0] * len(steps)])
    return HarFit(
        lags=steps,
        constant=float(solution[0]) * scale,
        coefficients=np.asarray(solution[1:], dtype=np.float64),
        standard_errors=np.sqrt(spread) * units,
        r_squared=1.0 - unexplained / total if total > 0.0 else math.nan,
        n_rows=n_rows,
    )


def _har_rows(values: FloatArray, lags: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Return the regressors, a constant first, and the target: the rows in which all are known."""
    means = [rolling_mean_scan(values[:, None], rolling_init(1, lag))[:, 0] for lag in lags]
    rows = np.column_stack([np.ones(len(values)), *means])[:-1]
    whole = ~(np.isnan(rows).any(axis=1) | np.isnan(values[1:]))
    return rows[whole], values[1:][whole]


def _checked_variances(variances: npt.ArrayLike) -> FloatArray:
    values = np.ascontiguousarray(variances, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"variances must have one dimension, had shape {values.shape}")
    bad = np.isinf(values) | (values < 0.0)
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(f"variances must be finite and >= 0, was {values[at]} at row {at}")
    return values


def _logs(**prices: npt.ArrayLike) -> list[FloatArray]:
    """Return the logarithms of a bar's prices, shape (n, ...), all NaN where one is."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in prices.items()}
    shape = next(iter(arrays.values())).shape
    if len(shape) not in (1, 2):
        raise ValueError(f"prices must have one or two dimensions, had shape {shape}")
    for name, values in arrays.items():
        if values.shape != shape:
            raise ValueError(f"{name}s must have the shape {shape}, was {values.shape}")
        _refuse((values <= 0.0) | np.isinf(values), values, f"{name}s must be finite and > 0")
    for name, values in arrays.items():
        _refuse(values > arrays["high"], values, f"{name}s must not be above the high")
        _refuse(values < arrays["low"], values, f"{name}s must not be below the low")
    missing = np.isnan(sum(arrays.values()))
    return [np.where(missing, np.nan, np.log(values)) for values in arrays.values()]


def _refuse(bad: npt.NDArray[np.bool_], values: FloatArray, rule: str) -> None:
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{rule}, was {values[at]} at {at}")


def _mean(terms: FloatArray, window: int | None) -> float | FloatArray:
    if window is None:
        empty = np.isnan(terms).all(axis=0)
        if empty.any():
            column = int(np.atleast_1d(empty).argmax())
            raise ValueError(f"prices must hold a whole bar, column {column} held none")
        return _plain(np.nanmean(terms, axis=0))
    if window < 1:
        raise ValueError(f"window must be >= 1, was {window}")
    columns = np.ascontiguousarray(terms if terms.ndim == 2 else terms[:, None])
    means = rolling_mean_scan(columns, rolling_init(columns.shape[1], window))
    return means.reshape(terms.shape)


def _rolling_variance(terms: FloatArray, window: int) -> FloatArray:
    columns = np.ascontiguousarray(terms if terms.ndim == 2 else terms[:, None])
    deviations = rolling_std_scan(columns, rolling_std_init(columns.shape[1], window))
    return deviations.reshape(terms.shape) ** 2


def _plain(values: FloatArray) -> float | FloatArray:
    return float(values) if values.ndim == 0 else values
