"""What is measured with its uncertainty, and whether a target is met, missed, or cannot be told yet (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

import numpy as np
from scipy.special import betaincinv
from scipy.stats import binom

from quantcore.types import FloatArray, IntArray

CONFIDENCE = 0.95
"""Of every verdict: an end of the interval is passed by the truth in at most 5 % of cases."""
_Z = NormalDist().inv_cdf(CONFIDENCE)


class State(Enum):
    """What can be said of a target."""

    MET = "met"
    MISSED = "not met"
    EARLY = "too early to say"
    UNKNOWN = "not measured"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and the interval that holds the truth in 90 % of cases, 5 % beyond each end; NaN is not known.

    Parameters
    ----------
    value, low, high : float
        In one unit; an end that is not known is infinite.
    n : int
        Of how many observations.
    """

    value: float
    low: float
    high: float
    n: int

    def state(self, *, above: float | None = None, below: float | None = None) -> State:
        """Return whether the truth is above, or below, a target: met or not only if the whole interval says so."""
        if (above is None) == (below is None):
            raise ValueError("exactly one of above and below must be given")
        if math.isnan(self.value):
            return State.UNKNOWN
        if above is not None:
            met, missed = self.low >= above, self.high < above
        else:
            assert below is not None
            met, missed = self.high <= below, self.low > below
        return State.MET if met else State.MISSED if missed else State.EARLY


NOTHING = Estimate(value=math.nan, low=-math.inf, high=math.inf, n=0)
"""Of no observation."""


def fact(value: float, n: int) -> Estimate:
    """Return what is known without error."""
    return Estimate(value=value, low=value, high=value, n=n)


def around(value: float, error: float, n: int) -> Estimate:
    """Return an estimate with a standard error, its distribution being about normal."""
    if not math.isfinite(error):
        return Estimate(value=value, low=-math.inf, high=math.inf, n=n)
    return Estimate(value=value, low=value - _Z * error, high=value + _Z * error, n=n)


def proportion(hits: int, n: int) -> Estimate:
    """Return a share with its exact interval (Clopper and Pearson 1934).

    Raises
    ------
    ValueError
        If `hits` is not in [0, n].

    Examples
    --------
    >>> found = proportion(0, 59)
    >>> found.value, round(found.high, 4)
    (0.0, 0.0495)
    """
    if not 0 <= hits <= n:
        raise ValueError(f"hits must be in [0, n = {n}], was {hits}")
    if n == 0:
        return NOTHING
    tail = 1.0 - CONFIDENCE
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1.0 - tail)) if hits < n else 1.0
    return Estimate(value=hits / n, low=low, high=high, n=n)


def quantile(values: FloatArray, share: float) -> Estimate:
    """Return a quantile with the interval between two order statistics, whatever the distribution.

    An end is infinite where there are too few values: the 99 % quantile has an upper one from 299 values on.

    Parameters
    ----------
    values : float64 array, shape (n,)
        Independent; NaN is dropped.
    share : float
        In (0, 1).

    References
    ----------
    Conover, *Practical Nonparametric Statistics*, 3rd ed., 1999, section 3.2.
    """
    known = np.sort(values[~np.isnan(values)])
    n = len(known)
    if not n:
        return NOTHING
    tail = 1.0 - CONFIDENCE
    # P(k-th smallest <= quantile) = P(Binomial(n, share) >= k)
    below = int(binom.ppf(tail, n, share))
    if binom.cdf(below - 1, n, share) > tail:
        below -= 1
    above = int(binom.ppf(CONFIDENCE, n, share)) + 1
    return Estimate(
        value=float(np.quantile(known, share)),
        low=float(known[below - 1]) if below >= 1 else -math.inf,
        high=float(known[above - 1]) if above <= n else math.inf,
        n=n,
    )


def clustered_share(shares: FloatArray, clusters: IntArray) -> Estimate:
    """Return the mean of shares in [0, 1] that are correlated inside clusters, with an interval inside [0, 1].

    Where all are 1, or all are 0, nothing varies and no error can be told from it: the interval is then that of so
    many clusters of which every one did, or did not (`proportion`).

    Parameters
    ----------
    shares, clusters : array, shape (n,)
        Each share, and the cluster to which it belongs.

    Returns
    -------
    Estimate
        Its `n` is the number of clusters.

    Examples
    --------
    >>> found = clustered_share(np.ones(59), np.arange(59))
    >>> round(found.low, 3), found.high
    (0.95, 1.0)
    """
    found = clustered_ratio(shares, np.ones(len(shares)), clusters)
    for end in (0.0, 1.0):
        if len(shares) and (shares == end).all():
            return proportion(int(end) * found.n, found.n)
    return Estimate(
        value=found.value, low=max(found.low, 0.0), high=min(found.high, 1.0), n=found.n
    )


def clustered_ratio(
    numerators: FloatArray, denominators: FloatArray, clusters: IntArray
) -> Estimate:
    r"""Return a ratio of sums whose terms are correlated inside clusters.

    .. math:: R = \frac{\sum x}{\sum y}, \qquad
              \mathrm{se} = \frac{1}{\sum y}\sqrt{\frac{g}{g-1}\sum_c \Bigl(\sum_{i \in c} x_i - R y_i\Bigr)^2}

    Parameters
    ----------
    numerators, denominators, clusters : array, shape (n,)
        Of each term, and the g clusters to which they belong.

    Returns
    -------
    Estimate
        Its `n` is the number of clusters; no interval with fewer than two.

    References
    ----------
    Cochran, *Sampling Techniques*, 3rd ed., 1977, section 9A.1 (ratio estimates from cluster samples).
    """
    total = float(denominators.sum())
    if not total > 0.0:
        return NOTHING
    ratio = float(numerators.sum()) / total
    _, place = np.unique(clusters, return_inverse=True)
    residuals = np.bincount(place, weights=numerators - ratio * denominators)
    g = len(residuals)
    error = math.sqrt(g / (g - 1) * float(residuals @ residuals)) / total if g > 1 else math.inf
    return around(ratio, error, g)
