r"""Watching returns day by day against an expected record, until they have stayed behind it.

A cumulative sum (Page 1954) is kept of standardised days,

.. math:: S_t = \max(0,\; S_{t-1} - z_t - k), \qquad z_t = \frac{(r_t - \hat\mu)/\hat\sigma_t - \bar z}{s_z}

with the record's mean :math:`\hat\mu`, a volatility :math:`\hat\sigma_t` forecast from the days before (exponentially
weighted, so that a wild month does not count as a bad one), mean and deviation of the record's own z, and k half of
what z loses where the mean is gone. An alarm is the first day on which S reaches its limit. The limit follows from the
record itself: paths of its z, resampled in blocks, are watched as live days are, each against a record that might have
been observed instead, so that the error of the expectation is part of the game. It is set so that within `horizon` days
a share `false_alarm` of the paths has an alarm although nothing has changed.

References
----------
E. S. Page, "Continuous Inspection Schemes", *Biometrika* 41, 1954. S. Chatterjee and P. Qiu, "Distribution-free
cumulative sum control charts using bootstrap-based control limits", *Annals of Applied Statistics* 3, 2009. Deviations:
a bound on the chance of an alarm within a horizon instead of the mean time to one, as an account is not watched for
ever; blocks, as days depend on each other; the record resampled as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.finance.bootstrap import politis_white_block, stationary_indices
from quantcore.finance.sharpe import varying
from quantcore.kernels.ewm import half_life_decay
from quantcore.types import FloatArray

N_MIN = 60
"""Days of a record below which it is no expectation."""
HALF_LIFE_DAYS = 20.0
"""Of the volatility that a day is measured by."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What days are watched against.

    Parameters
    ----------
    mean, deviation : float
        Of the record's returns per day.
    z_mean, z_deviation : float
        Of its days over the volatility forecast for them.
    slack : float
        k, >= 0.
    limit : float
        Of the sum.
    false_alarm : float
        Chance of an alarm within `horizon` days although nothing has changed.
    horizon, n_days : int
        Days that are watched, and of the record.
    mean_block : float
        Of the resampling, days.
    """

    mean: float
    deviation: float
    z_mean: float
    z_deviation: float
    slack: float
    limit: float
    false_alarm: float
    horizon: int
    n_days: int
    mean_block: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """Days as they were watched.

    Parameters
    ----------
    sums : float64 array, shape (n_days,)
        After each day, as a share of the limit: an alarm at 1.
    alarm : int or None
        Place of the first day with an alarm.
    """

    sums: FloatArray
    alarm: int | None


@dataclass(frozen=True, kw_only=True)
class Power:
    """How a change from the first day on is found: the share of paths within the horizon, and days until half have."""

    found: float
    median_days: float


def expectation(
    returns: npt.ArrayLike,
    *,
    false_alarm: float,
    horizon: int,
    n_paths: int,
    rng: np.random.Generator,
) -> Expectation:
    """Return what live days are watched against.

    Parameters
    ----------
    returns : array-like, shape (n_days,)
        Daily returns of the expected record, such as a backtest's, as fractions; NaN is dropped.
    false_alarm : float
        In (0, 1).
    horizon : int
        Days, >= 1.
    n_paths : int
        Resampled paths, >= 100.
    rng : Generator
        Advanced.

    Raises
    ------
    ValueError
        If fewer than `N_MIN` days are known, they do not vary, or a setting is out of its range.
    """
    known = varying(returns, n_min=N_MIN)
    if not 0.0 < false_alarm < 1.0:
        raise ValueError(f"false_alarm must be in (0, 1), was {false_alarm}")
    for name, value, least in (("horizon", horizon, 1), ("n_paths", n_paths, 100)):
        if value < least:
            raise ValueError(f"{name} must be >= {least}, was {value}")
    mean, deviation = float(known.mean()), float(known.std())
    z = _over_volatility(known, mean, deviation)
    block = min(max(politis_white_block(z).stationary, 1.0), float(len(z)))
    slack = max(0.5 * _edge(known, mean, deviation), 0.0)
    highest = _resampled_sums(z, slack, 0.0, horizon, n_paths, block, rng).max(axis=1)
    return Expectation(
        mean=mean,
        deviation=deviation,
        z_mean=float(z.mean()),
        z_deviation=float(z.std()),
        slack=slack,
        limit=float(np.quantile(highest, 1.0 - false_alarm)),
        false_alarm=false_alarm,
        horizon=horizon,
        n_days=len(known),
        mean_block=block,
    )


def watch(returns: npt.ArrayLike, against: Expectation) -> Watched:
    """Return the sum after each day, and the first alarm.

    Parameters
    ----------
    returns : array-like, shape (n_days,)
        Daily returns since the watch began, as fractions; a day of NaN says nothing.
    against : Expectation
        What was expected.
    """
    days = np.asarray(returns, dtype=np.float64)
    known = np.where(np.isnan(days), against.mean, days)
    z = _over_volatility(known, against.mean, against.deviation)
    steps = -(z - against.z_mean) / against.z_deviation - against.slack
    sums = _page(np.where(np.isnan(days), 0.0, steps)[np.newaxis])[0] / against.limit
    over = np.flatnonzero(sums >= 1.0)
    return Watched(sums=sums, alarm=int(over[0]) if len(over) else None)


def power(
    returns: npt.ArrayLike,
    against: Expectation,
    *,
    kept: float,
    n_paths: int,
    rng: np.random.Generator,
) -> Power:
    """Return how soon it is found that only a part of the record's mean is left.

    Paths are watched as in `expectation`, each against a record that might have been observed: where all of the mean is
    left they have an alarm as often as `against.false_alarm` says.

    Parameters
    ----------
    returns : array-like, shape (n_days,)
        The record.
    against : Expectation
        What `expectation` made of it.
    kept : float
        Share of the mean that is left: 0 where the edge is gone, -1 where it turned.
    n_paths : int
        Resampled paths, >= 1.
    rng : Generator
        Advanced.
    """
    known = varying(returns, n_min=N_MIN)
    z = _over_volatility(known, against.mean, against.deviation)
    lost = (1.0 - kept) * _edge(known, against.mean, against.deviation)
    sums = _resampled_sums(
        z, against.slack, lost, against.horizon, n_paths, against.mean_block, rng
    )
    over = sums >= against.limit
    found = over.any(axis=1)
    when = np.where(found, over.argmax(axis=1) + 1.0, math.inf)
    return Power(
        found=float(found.mean()), median_days=float(np.quantile(when, 0.5, method="lower"))
    )


def growth_band(
    returns: npt.ArrayLike,
    *,
    days: int,
    confidence: float,
    n_paths: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the band in which the growth of an account is expected, day by day.

    Parameters
    ----------
    returns : array-like, shape (n_days,)
        Daily returns of the expected record, > -1, as fractions; NaN is dropped.
    days : int
        Length of the band, >= 1.
    confidence : float
        Share of resampled paths that are inside on a given day, in (0, 1); more of them leave it at some time.
    n_paths : int
        Resampled paths, >= 1.
    rng : Generator
        Advanced.

    Returns
    -------
    float64 array, shape (days, 3)
        Lower end, median and upper end of the multiple of the start after each day.

    Raises
    ------
    ValueError
        If fewer than `N_MIN` days are known, they do not vary, one is <= -1, or `confidence` is not in (0, 1).
    """
    known = varying(returns, n_min=N_MIN)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be in (0, 1), was {confidence}")
    if (known <= -1.0).any():
        raise ValueError(f"returns must be > -1, was {known.min()}")
    lengths = [politis_white_block(each).stationary for each in (known, np.abs(known))]
    block = min(max(*lengths, 1.0), float(len(known)))
    paths = resampled(np.log1p(known), n_paths=n_paths, days=days, mean_block=block, rng=rng)
    tail = 0.5 * (1.0 - confidence)
    ends = np.quantile(np.cumsum(paths, axis=1), [tail, 0.5, 1.0 - tail], axis=0)
    return np.asarray(np.exp(ends).T)


def resampled(
    values: FloatArray, *, n_paths: int, days: int, mean_block: float, rng: np.random.Generator
) -> FloatArray:
    """Return paths of any length by the stationary bootstrap, shape ``(n_paths, days)``."""
    pieces = [
        stationary_indices(len(values), n_paths=n_paths, mean_block=mean_block, rng=rng)
        for _ in range(-(-days // len(values)))
    ]
    return values[np.concatenate(pieces, axis=1)[:, :days]]


def _resampled_sums(
    z: FloatArray, slack: float, lost: float, days: int, n_paths: int, block: float, rng: np.random.Generator,
) -> FloatArray:  # fmt: skip
    """Return the sums of paths that lost a part of their mean, each against a record of its own."""
    records = z[stationary_indices(len(z), n_paths=n_paths, mean_block=block, rng=rng)]
    paths = resampled(z, n_paths=n_paths, days=days, mean_block=block, rng=rng)
    ends, spread = records.mean(axis=1, keepdims=True), records.std(axis=1, keepdims=True)
    return _page(-(paths - lost - ends) / spread - slack)


def _volatility(returns: FloatArray, mean: float, deviation: float) -> FloatArray:
    """Return the volatility forecast for each day from the days before; at the start it is the record's."""
    decay = half_life_decay(HALF_LIFE_DAYS)
    variances = np.empty(len(returns))
    variance = deviation**2
    for day, squared in enumerate(((returns - mean) ** 2).tolist()):
        variances[day] = variance
        variance = decay * variance + (1.0 - decay) * squared
    return np.sqrt(variances)


def _over_volatility(returns: FloatArray, mean: float, deviation: float) -> FloatArray:
    return np.asarray((returns - mean) / _volatility(returns, mean, deviation))


def _edge(returns: FloatArray, mean: float, deviation: float) -> float:
    """Return what a day's z loses where the mean is gone."""
    return float((mean / _volatility(returns, mean, deviation)).mean())


def _page(steps: FloatArray) -> FloatArray:
    """Return Page's sums of steps along axis 1: each total less its lowest so far, the start included."""
    totals = np.cumsum(steps, axis=1)
    lowest = np.minimum(np.minimum.accumulate(totals, axis=1), 0.0)
    return np.asarray(totals - lowest)
