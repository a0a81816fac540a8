r"""Whether a forecast of the tail can be believed: rolling forecasts of VaR and ES, and the tests of their failures.

A day is a failure (a hit) when its loss exceeds the VaR forecast for it. If the forecasts are right, failures come
with probability p, independently of each other (Christoffersen 1998), and their losses average the ES forecast.
P-values are the probability of so bad a result under right forecasts; below 0.05 one usually stops believing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from quantcore.finance.risk_metrics import (
    check_tail_probability,
    known_values,
)
from quantcore.finance.tail_forecasts import TailForecast, rolling_tail_loss
from quantcore.types import BoolArray, FloatArray

# scipy is imported where it is used: the report of a backtest imports this module on its way to the first line.

YELLOW, RED = 0.95, 0.9999
"""Cumulative probabilities from which the traffic light changes."""
BASE_MULTIPLIER = 3.0
PLUS_FACTORS = (0.40, 0.50, 0.65, 0.75, 0.85)
"""What 5 to 9 failures in 250 days at 1 % add to the multiplier; 10 and more add 1."""


class LikelihoodRatio(NamedTuple):
    """A likelihood-ratio test: its statistic, >= 0, and the probability of a larger one if the forecasts are right."""

    statistic: float
    p_value: float


class Transitions(NamedTuple):
    """Pairs of consecutive days by whether the first (digit one) and the second (digit two) was a failure."""

    n00: int
    n01: int
    n10: int
    n11: int


def transitions(hits: npt.ArrayLike) -> Transitions:
    """Count the pairs of consecutive days of a series of failures.

    Parameters
    ----------
    hits : bool array-like, shape (n,)
        Whether each day was a failure, in order of time.

    Examples
    --------
    >>> transitions([False, True, True, False])
    Transitions(n00=0, n01=1, n10=1, n11=1)
    """
    failed = np.asarray(hits, dtype=np.bool_)
    counts = np.bincount(2 * failed[:-1] + failed[1:], minlength=4)
    return Transitions(*(int(count) for count in counts))


def kupiec_pof(n: int, failures: int, *, tail_probability: float) -> LikelihoodRatio:
    r"""Test the proportion of failures.

    .. math:: LR = -2 \ln \frac{(1-p)^{n-x} p^x}{(1 - x/n)^{n-x} (x/n)^x} \sim \chi^2_1

    with :math:`0 \ln 0 = 0`.

    Parameters
    ----------
    n, failures : int
        Days tested, >= 1, and failures x among them.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    LikelihoodRatio
        Two-sided: too few failures are rejected as well.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Kupiec, "Techniques for verifying the accuracy of risk measurement models", *Journal of Derivatives* 3(2), 1995.

    Examples
    --------
    >>> kupiec_pof(1043, 57, tail_probability=0.05).p_value.__round__(5)
    0.49694
    """
    _check_counts(n, failures)
    check_tail_probability(tail_probability)
    return _chi_squared(float(_pof(n, failures, tail_probability)), degrees=1)


def christoffersen_independence(pairs: Transitions) -> LikelihoodRatio:
    r"""Test whether a failure changes the probability of a failure on the next day.

    .. math::

        LR = -2 \ln \frac{(1-\pi)^{n_{00}+n_{10}}\, \pi^{n_{01}+n_{11}}}
        {(1-\pi_0)^{n_{00}} \pi_0^{n_{01}} (1-\pi_1)^{n_{10}} \pi_1^{n_{11}}} \sim \chi^2_1

    with :math:`\pi_i = n_{i1}/(n_{i0} + n_{i1})` and :math:`\pi` the same over both rows.

    Parameters
    ----------
    pairs : Transitions
        From `transitions`.

    Returns
    -------
    LikelihoodRatio
        Statistic 0 and p-value 1 where there was no failure, or no day after one: nothing speaks against it. The test
        sees clustering on consecutive days only.

    Raises
    ------
    ValueError
        If a count is negative.

    References
    ----------
    Christoffersen, "Evaluating interval forecasts", *International Economic Review* 39(4), 1998.
    """
    if min(pairs) < 0:
        raise ValueError(f"pairs must be >= 0, were {tuple(pairs)}")
    n00, n01, n10, n11 = pairs
    together = _bernoulli(n00 + n10, n01 + n11)
    return _chi_squared(2.0 * (_bernoulli(n00, n01) + _bernoulli(n10, n11) - together), degrees=1)


def christoffersen_conditional_coverage(
    n: int, failures: int, pairs: Transitions, *, tail_probability: float
) -> LikelihoodRatio:
    r"""Test proportion and independence of failures together.

    .. math:: LR_{cc} = LR_{pof} + LR_{ind} \sim \chi^2_2

    Parameters
    ----------
    n, failures, tail_probability
        As in `kupiec_pof`.
    pairs : Transitions
        From `transitions`; n - 1 of them.

    Returns
    -------
    LikelihoodRatio
        Of two degrees of freedom.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Christoffersen (1998), as above. Deviation: the proportion is tested on all n days, not on the n - 1 that have a
    day before them, as is common in software; the difference is of order 1 / n.
    """
    coverage = kupiec_pof(n, failures, tail_probability=tail_probability).statistic
    return _chi_squared(coverage + christoffersen_independence(pairs).statistic, degrees=2)


def time_until_first_failure(day: int, *, tail_probability: float) -> LikelihoodRatio:
    r"""Test the day of the first failure.

    .. math:: LR = -2 \ln \frac{p (1-p)^{v-1}}{\tfrac1v (1 - \tfrac1v)^{v-1}} \sim \chi^2_1

    Parameters
    ----------
    day : int
        v, >= 1: the first day tested is 1. Without any failure there is no v; `kupiec_pof` says what n days without
        one mean.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    LikelihoodRatio
        Of little power: at p = 0.05 any day from 2 to 86 passes at a level of 5 %.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Kupiec (1995), as in `kupiec_pof`.
    """
    check_tail_probability(tail_probability)
    if day < 1:
        raise ValueError(f"day must be >= 1, was {day}")
    given = math.log(tail_probability) + (day - 1) * math.log1p(-tail_probability)
    return _chi_squared(2.0 * (_bernoulli(day - 1, 1) - given), degrees=1)


def non_rejection_region(
    n: int, *, tail_probability: float, test_level: float = 0.95
) -> tuple[int, int]:
    r"""Return the fewest and the most failures that `kupiec_pof` does not reject.

    Parameters
    ----------
    n : int
        Days tested, >= 1.
    tail_probability : float
        p, in (0, 1).
    test_level : float
        Confidence of the test, in (0, 1): statistics up to that quantile of :math:`\chi^2_1` pass.

    Returns
    -------
    tuple of int
        Both inclusive.

    Raises
    ------
    ValueError
        If an argument is out of its range, or no number of failures passes (few days and a low level).

    Examples
    --------
    >>> non_rejection_region(1000, tail_probability=0.01)
    (5, 16)
    """
    _check_counts(n, 0)
    check_tail_probability(tail_probability)
    if not 0.0 < test_level < 1.0:
        raise ValueError(f"test_level must be in (0, 1), was {test_level}")
    limit = NormalDist().inv_cdf((1.0 + test_level) / 2.0) ** 2  # the quantile of chi-squared
    passed = np.flatnonzero(_pof(n, np.arange(n + 1), tail_probability) <= limit)
    if not len(passed):
        raise ValueError(f"test_level must let a number of failures pass, was {test_level}")
    return int(passed[0]), int(passed[-1])


class TrafficLight(NamedTuple):
    """A verdict of the traffic light.

    `cumulative_probability` is that of at most so many failures under right forecasts, `type_1_error` that of at
    least so many: the risk of rejecting a right model here. `increase` is added to the `multiplier` of 3.
    """

    zone: Literal["green", "yellow", "red"]
    cumulative_probability: float
    type_1_error: float
    increase: float
    multiplier: float


def traffic_light(n: int, failures: int, *, tail_probability: float) -> TrafficLight:
    r"""Return the supervisors' verdict on a number of failures.

    Green while :math:`F(x) = P(X \le x) < 0.95` for a binomial X, yellow below 0.9999, red from there on. In the
    yellow zone the increase takes the VaR back to its level as if losses were normal,

    .. math:: 3 \left(\frac{z_{1-p}}{z_{1-x/n}} - 1\right)

    within [0, 1]; for 250 days at 1 % it is the rounded one of the supervisors' table.

    Parameters
    ----------
    n, failures : int
        Days tested, >= 1, and failures x among them.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    TrafficLight
        One-sided: too few failures are green.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Basel Committee on Banking Supervision, *Supervisory framework for the use of "backtesting" in conjunction with the
    internal models approach to market risk capital requirements*, 1996, section III and table 2.
    """
    from scipy.special import bdtr, bdtrc, ndtri

    _check_counts(n, failures)
    check_tail_probability(tail_probability)
    cumulative = float(bdtr(failures, n, tail_probability))
    at_least = 1.0 if failures == 0 else float(bdtrc(failures - 1, n, tail_probability))
    if cumulative < YELLOW:
        return TrafficLight("green", cumulative, at_least, 0.0, BASE_MULTIPLIER)
    if cumulative >= RED:
        return TrafficLight("red", cumulative, at_least, 1.0, BASE_MULTIPLIER + 1.0)
    if (n, tail_probability) == (250, 0.01):
        increase = PLUS_FACTORS[failures - 5]
    else:
        observed = float(ndtri(1.0 - failures / n))
        ratio = float(ndtri(1.0 - tail_probability)) / observed if observed > 0.0 else math.inf
        increase = min(max(BASE_MULTIPLIER * (ratio - 1.0), 0.0), 1.0)
    return TrafficLight("yellow", cumulative, at_least, increase, BASE_MULTIPLIER + increase)


class ShortfallTest(NamedTuple):
    """Acerbi and Szekely's second statistic, 0 in expectation and negative where losses are worse than forecast."""

    z2: float
    p_value: float


def expected_shortfall_test(
    returns: npt.ArrayLike,
    value_at_risk: npt.ArrayLike,
    expected_shortfall: npt.ArrayLike,
    *,
    tail_probability: float,
) -> ShortfallTest:
    r"""Test whether losses beyond VaR are as frequent and as large together as the ES forecasts say.

    .. math:: Z_2 = 1 - \frac{1}{T p} \sum_t \frac{L_t\, 1[L_t > \mathrm{VaR}_t]}{\mathrm{ES}_t}

    The p-value is that of a sum as large. Under right forecasts its mean is :math:`T p`, its variance
    :math:`T p (m_2 - p)` with :math:`m_2` the mean square of :math:`L/\mathrm{ES}` in the tail, estimated from the
    failures and at least 1; a gamma distribution with these two moments stands for it.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per day.
    value_at_risk, expected_shortfall : array-like, shape (n,)
        Forecasts made before each return, as positive losses; a day with a NaN in any of the three is not tested.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    ShortfallTest
        One-sided. A failure against a shortfall forecast that is not a loss gives minus infinity and 0.

    Raises
    ------
    ValueError
        If shapes differ, no day can be tested or `tail_probability` is out of its range.

    References
    ----------
    Acerbi and Szekely, "Backtesting expected shortfall", *Risk*, December 2014. Deviation: p-values from two moments
    instead of a simulation of the forecast distribution, which VaR and ES alone do not give. At their critical values
    for 250 days at 2.5 % (-0.70 for normal, -0.82 for t3 returns, 5 %) they come out near 0.06.
    """
    from scipy.special import gammaincc

    check_tail_probability(tail_probability)
    losses = -np.asarray(returns, dtype=np.float64)
    at_risk = np.asarray(value_at_risk, dtype=np.float64)
    shortfall = np.asarray(expected_shortfall, dtype=np.float64)
    for name, forecast in (("value_at_risk", at_risk), ("expected_shortfall", shortfall)):
        if forecast.shape != losses.shape:
            raise ValueError(
                f"{name} must have the shape of returns {losses.shape}, was {forecast.shape}"
            )
    tested = ~np.isnan(losses + at_risk + shortfall)
    if not tested.any():
        raise ValueError("returns must have a day with forecasts, had none")
    failed = tested & (losses > at_risk)
    if (shortfall[failed] <= 0.0).any():
        return ShortfallTest(-math.inf, 0.0)
    ratios = losses[failed] / shortfall[failed]
    expected = float(tested.sum()) * tail_probability
    total, square = float(ratios.sum()), float(np.mean(ratios**2)) if len(ratios) else 1.0
    spread = max(square, 1.0) - tail_probability
    tail = float(gammaincc(expected / spread, max(total, 0.0) / spread))
    return ShortfallTest(1.0 - total / expected, tail)


@dataclass(frozen=True, kw_only=True)
class TailBacktest:
    """How rolling forecasts of the tail fared out of sample.

    Parameters
    ----------
    days, failures : int
        Days tested, and those whose loss exceeded the value at risk forecast for them.
    expected_failures : float
        Days times tail probability.
    kupiec_p, independence_p, conditional_coverage_p : float
        P-values of `kupiec_pof`, `christoffersen_independence` and both together.
    zone : str
        Of `traffic_light`: "green", "yellow" or "red".
    first_failure : int or None
        Day of the first failure, the first tested day being 1; None without one.
    first_failure_p : float
        Of `time_until_first_failure`; NaN without a failure.
    mean_value_at_risk, mean_expected_shortfall : float
        Mean forecasts, fractions.
    shortfall_z2, shortfall_p : float
        Of `expected_shortfall_test`.
    """

    days: int
    failures: int
    expected_failures: float
    kupiec_p: float
    independence_p: float
    conditional_coverage_p: float
    zone: Literal["green", "yellow", "red"]
    first_failure: int | None
    first_failure_p: float
    mean_value_at_risk: float
    mean_expected_shortfall: float
    shortfall_z2: float
    shortfall_p: float


def tail_backtest(
    returns: npt.ArrayLike,
    *,
    window: int,
    tail_probability: float,
    method: str | TailForecast = "historical",
) -> TailBacktest:
    """Forecast the tail of each day from the days before it, and test the forecasts.

    Parameters
    ----------
    returns, window, tail_probability, method
        As in `rolling_tail_loss`.

    Returns
    -------
    TailBacktest
        Over the known returns that have a forecast.

    Raises
    ------
    ValueError
        As `rolling_tail_loss`, and if no more than `window` returns are known.
    """
    array = np.asarray(returns, dtype=np.float64)
    known_values(array, "returns", at_least=window + 1)
    at_risk, shortfall = rolling_tail_loss(
        array, window=window, tail_probability=tail_probability, method=method
    )
    tested = ~(np.isnan(array) | np.isnan(at_risk))
    return judge_forecasts(
        array[tested], at_risk[tested], shortfall[tested], tail_probability=tail_probability
    )


def judge_forecasts(
    returns: FloatArray,
    value_at_risk: FloatArray,
    expected_shortfall: FloatArray,
    *,
    tail_probability: float,
) -> TailBacktest:
    """Run every test on given forecasts; arguments as in `expected_shortfall_test`, without NaN, at least one day."""
    hits: BoolArray = -returns > value_at_risk
    n, failures, pairs = len(hits), int(hits.sum()), transitions(hits)
    p = tail_probability
    first = int(hits.argmax()) + 1 if failures else None
    z2 = expected_shortfall_test(returns, value_at_risk, expected_shortfall, tail_probability=p)
    coverage = christoffersen_conditional_coverage(n, failures, pairs, tail_probability=p)
    return TailBacktest(
        days=n,
        failures=failures,
        expected_failures=n * p,
        kupiec_p=kupiec_pof(n, failures, tail_probability=p).p_value,
        independence_p=christoffersen_independence(pairs).p_value,
        conditional_coverage_p=coverage.p_value,
        zone=traffic_light(n, failures, tail_probability=p).zone,
        first_failure=first,
        first_failure_p=math.nan
        if first is None
        else time_until_first_failure(first, tail_probability=p).p_value,
        mean_value_at_risk=float(value_at_risk.mean()),
        mean_expected_shortfall=float(expected_shortfall.mean()),
        shortfall_z2=z2.z2,
        shortfall_p=z2.p_value,
    )


def _check_counts(n: int, failures: int) -> None:
    if n < 1:
        raise ValueError(f"n must be >= 1, was {n}")
    if not 0 <= failures <= n:
        raise ValueError(f"failures must be in [0, n = {n}], was {failures}")


def _pof(n: int, failures: npt.ArrayLike, p: float) -> FloatArray:
    """Return Kupiec's statistic for each number of failures."""
    hits = np.asarray(failures, dtype=np.float64)
    misses = n - hits
    # A count of 0 adds 0, whatever the logarithm.
    most = hits * np.log(np.maximum(hits, 1.0) / (n * p))
    rest = misses * np.log(np.maximum(misses, 1.0) / (n * (1.0 - p)))
    return np.asarray(2.0 * (most + rest))


def _bernoulli(misses: int, hits: int) -> float:
    """Return the largest log-likelihood of independent days."""
    n = misses + hits
    return sum(count * math.log(count / n) for count in (misses, hits) if count)


def _chi_squared(statistic: float, *, degrees: Literal[1, 2]) -> LikelihoodRatio:
    value = max(statistic, 0.0)  # rounding may leave a little less than nothing
    tail = math.erfc(math.sqrt(value / 2.0)) if degrees == 1 else math.exp(-value / 2.0)
    return LikelihoodRatio(value, tail)
