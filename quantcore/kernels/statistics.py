"""The metrics of a record of daily returns, compiled: for thousands of records at once.

The same numbers as `finance.performance`, `finance.sharpe` and `finance.risk_metrics` give one at a time, which a test
holds together; there are their definitions and sources.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.types import FloatArray

ROUNDING = 1e-12
"""Deviations below this share of the mean are rounding, as in `finance`."""

VOLATILITY = 0
SHARPE = 1
SORTINO = 2
PSR = 3
TRACK_RECORD = 4
ALPHA = 5
BETA = 6
VALUE_AT_RISK = 7
SHORTFALL = 8
N_STATISTICS = 9


@njit(cache=True, error_model="numpy", nogil=True)
def record_statistics(
    daily: FloatArray, benchmark: FloatArray, periods_per_year: float, tail_probability: float, quantile: float
) -> FloatArray:  # fmt: skip
    """Return the statistics of many records, shape ``(n_records, N_STATISTICS)``; NaN where there is none.

    Parameters
    ----------
    daily : float64 array, shape (n_records, n_days)
        Returns, fractions; NaN on days without one.
    benchmark : float64 array, shape (n_days,)
        Returns of the benchmark on the same days.
    periods_per_year : float
        Days in a year.
    tail_probability : float
        Of value at risk and expected shortfall.
    quantile : float
        Of the standard normal distribution at the confidence of the minimum track record.
    """
    n_records, n_days = daily.shape
    result = np.full((n_records, N_STATISTICS), np.nan)
    known = np.empty(n_days)
    for g in range(n_records):
        n = 0
        for t in range(n_days):
            if not math.isnan(daily[g, t]):
                known[n] = daily[g, t]
                n += 1
        _returns(known[:n], periods_per_year, quantile, result[g])
        _benchmark(daily[g], benchmark, periods_per_year, result[g])
        _tail(known[:n], tail_probability, result[g])
    return result


@njit(cache=True, error_model="numpy", nogil=True)
def _returns(known: FloatArray, q: float, quantile: float, result: FloatArray) -> None:
    n = len(known)
    if n == 0:
        return
    mean = known.mean()
    second = third = fourth = below = 0.0
    for value in known:
        distance = value - mean
        square = distance * distance
        second += square
        third += square * distance
        fourth += square * square
        below += min(value, 0.0) ** 2
    downside = math.sqrt(below / n)
    if downside > 0.0:
        result[SORTINO] = mean / downside * math.sqrt(q)
    if n < 2:
        return
    deviation = math.sqrt(second / (n - 1))
    result[VOLATILITY] = deviation * math.sqrt(q)
    if deviation <= ROUNDING * abs(mean) or deviation == 0.0:
        return
    ratio = mean / deviation
    result[SHARPE] = ratio * math.sqrt(q)
    spread = math.sqrt(second / n)
    if spread <= ROUNDING * abs(mean):
        return
    skew, kurtosis = third / n / spread**3, fourth / n / spread**4
    variance = 1.0 - skew * ratio + (kurtosis - 1.0) / 4.0 * ratio**2
    if variance > 0.0:
        z = ratio * math.sqrt((n - 1) / variance)
        result[PSR] = 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))
    if ratio > 0.0:
        result[TRACK_RECORD] = 1.0 + variance * (quantile / ratio) ** 2


@njit(cache=True, error_model="numpy", nogil=True)
def _benchmark(daily: FloatArray, benchmark: FloatArray, q: float, result: FloatArray) -> None:
    n, mean, mean_b = 0, 0.0, 0.0
    for t in range(len(daily)):
        if not math.isnan(daily[t] + benchmark[t]):
            n += 1
            mean += daily[t]
            mean_b += benchmark[t]
    if n < 2:
        return
    mean, mean_b = mean / n, mean_b / n
    spread = product = 0.0
    for t in range(len(daily)):
        if not math.isnan(daily[t] + benchmark[t]):
            spread += (benchmark[t] - mean_b) ** 2
            product += (benchmark[t] - mean_b) * (daily[t] - mean)
    if spread <= (ROUNDING * abs(mean_b)) ** 2 * n:
        return
    result[BETA] = product / spread
    result[ALPHA] = (mean - result[BETA] * mean_b) * q


@njit(cache=True, error_model="numpy", nogil=True)
def _tail(known: FloatArray, probability: float, result: FloatArray) -> None:
    n = len(known)
    if n == 0:
        return
    mass = n * probability
    worst = math.ceil(mass * (1.0 - ROUNDING))
    tail = np.sort(np.partition(known, worst - 1)[:worst])
    at_risk = -tail[worst - 1]
    beyond = 0.0
    for value in tail:
        beyond += max(-value - at_risk, 0.0)
    result[VALUE_AT_RISK], result[SHORTFALL] = at_risk, at_risk + beyond / mass
