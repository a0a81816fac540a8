r"""Ruin and drawdown: how likely an account falls below a level, in closed form and from a track record.

The closed forms know drift and volatility. A strategy has a track record instead: `bootstrap_ruin` resamples it, and
says with a band how far the record itself can be believed. Its point estimate, like every closed form fed with
estimates, takes the record's mean for the true one; the mean is what a record of a few years tells least about, and the
band is mostly that.

In the closed forms levels are distances > 0 (in log units: ``-log`` of a share of the start), horizons and volatilities
share one unit of time. In results of the bootstrap a drawdown is a fraction <= 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, log_ndtr, ndtr

from quantcore.kernels.paths import (
    DEEPEST,
    FINAL,
    LOWEST,
    path_outcomes,
    record_outcomes,
    restart_threshold,
)
from quantcore.types import FloatArray

CONFIDENCE = 0.9
"""Of every band of `bootstrap_ruin`, two-sided."""
N_RECORDS = 300
"""Records that might have been, whose spread makes the bands."""
PATHS_SHARE = 25
"""Each of them gets one of so many of the paths, but no fewer than `PATHS_MIN`."""
PATHS_MIN = 100


def first_passage(
    distance: float, *, log_drift: float, sigma: float, horizon: float = math.inf
) -> float:
    r"""Return the probability that a drifted Brownian motion falls by `distance` within a horizon.

    .. math:: \Phi\!\left(\frac{-a - m T}{\sigma \sqrt T}\right)
        + e^{-2 m a / \sigma^2}\, \Phi\!\left(\frac{-a + m T}{\sigma \sqrt T}\right)

    Parameters
    ----------
    distance : float
        a, in log units, >= 0: ``-log(0.5)`` for half of the wealth.
    log_drift : float
        m, drift of the logarithm: :math:`\mu - \sigma^2/2`.
    sigma : float
        Volatility per square root of the unit of time, > 0.
    horizon : float
        T, > 0; infinite for "ever".

    Returns
    -------
    float
        In [0, 1]; rises with the horizon, and with `sigma` unless the drift is downwards.

    Raises
    ------
    ValueError
        If an argument is out of its range or NaN.

    References
    ----------
    Karatzas and Shreve, *Brownian Motion and Stochastic Calculus*, 2nd ed., 1991, sec. 3.5.C (reflection principle).
    Watched continuously: an account looked at once a day is found below the level less often.

    Examples
    --------
    >>> round(first_passage(0.2, log_drift=0.3, sigma=0.4, horizon=1.0), 6)
    0.388459
    """
    _require(0.0 <= distance < math.inf, "distance must be >= 0 and finite", distance)
    _require(math.isfinite(log_drift), "log_drift must be finite", log_drift)
    _require(0.0 < sigma < math.inf, "sigma must be > 0 and finite", sigma)
    _require(horizon > 0.0, "horizon must be > 0", horizon)
    # As a logarithm: the exponential may overflow where the normal probability vanishes.
    log_tilt = -2.0 * log_drift * distance / sigma**2
    if math.isinf(horizon):
        return math.exp(min(log_tilt, 0.0))
    spread = sigma * math.sqrt(horizon)
    ahead, back = (
        (-distance - log_drift * horizon) / spread,
        (-distance + log_drift * horizon) / spread,
    )
    return min(float(ndtr(ahead)) + math.exp(log_tilt + float(log_ndtr(back))), 1.0)


def ever_below(wealth_fraction: float, *, kelly_fraction: float) -> float:
    r"""Return the probability that a bettor at a fraction of Kelly ever falls below a share of the start.

    .. math:: x^{2/c - 1} \;(c < 2), \qquad 1 \;(c \ge 2)

    Parameters
    ----------
    wealth_fraction : float
        x, in (0, 1].
    kelly_fraction : float
        c, share of the full Kelly bet, > 0; from 2 on growth is not positive and every level is reached.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Thorp, "The Kelly Criterion in Blackjack, Sports Betting, and the Stock Market", 2006, sec. 7.3; continuous betting
    on a lognormal asset whose parameters are known.

    Examples
    --------
    >>> ever_below(0.5, kelly_fraction=0.5)
    0.125
    """
    _require(0.0 < wealth_fraction <= 1.0, "wealth_fraction must be in (0, 1]", wealth_fraction)
    _require(0.0 < kelly_fraction < math.inf, "kelly_fraction must be > 0", kelly_fraction)
    return float(wealth_fraction ** max(2.0 / kelly_fraction - 1.0, 0.0))


def reach_before(upper: float, lower: float, *, kelly_fraction: float) -> float:
    r"""Return the probability that a bettor at a fraction of Kelly reaches `upper` before `lower`.

    .. math:: \frac{1 - a^{1 - 2/c}}{b^{1 - 2/c} - a^{1 - 2/c}},
        \qquad \frac{-\ln a}{\ln b - \ln a} \text{ at } c = 2

    Parameters
    ----------
    upper, lower : float
        b > 1 and a in (0, 1), multiples of the start.
    kelly_fraction : float
        c, share of the full Kelly bet, > 0.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Thorp (2006), sec. 7.3: full Kelly doubles before it halves with probability 2/3, half Kelly with 8/9.

    Examples
    --------
    >>> round(reach_before(2.0, 0.5, kelly_fraction=1.0), 6)
    0.666667
    """
    _require(1.0 < upper < math.inf, "upper must be > 1 and finite", upper)
    _require(0.0 < lower < 1.0, "lower must be in (0, 1)", lower)
    _require(0.0 < kelly_fraction < math.inf, "kelly_fraction must be > 0", kelly_fraction)
    return _exit_above(2.0 / kelly_fraction - 1.0, -math.log(lower), math.log(upper))


def gamblers_ruin(p_win: float, *, units: int, target: int | None = None) -> float:
    r"""Return the probability that a gambler who stakes one unit at even odds loses all.

    .. math:: \frac{\rho^k - \rho^N}{1 - \rho^N}, \quad \rho = \frac{1-p}{p}; \qquad
        1 - \frac{k}{N} \text{ at } p = \tfrac{1}{2}; \qquad \min(\rho^k, 1) \text{ without a target}

    Parameters
    ----------
    p_win : float
        p, in [0, 1].
    units : int
        k, the gambler's fortune, >= 1.
    target : int, optional
        N, the fortune at which the gambler stops, > k; None plays on for ever.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Feller, *An Introduction to Probability Theory and Its Applications*, vol. 1, 3rd ed., 1968, sec. XIV.2.

    Examples
    --------
    >>> round(gamblers_ruin(0.49, units=5, target=15), 6)
    0.730701
    """
    _require(0.0 <= p_win <= 1.0, "p_win must be in [0, 1]", p_win)
    _require(units >= 1, "units must be >= 1", units)
    _require(target is None or target > units, f"target must be > units = {units}", target)
    if p_win in (0.0, 1.0):
        return 1.0 - p_win
    tilt = math.log(p_win) - math.log1p(-p_win)
    if target is None:
        return math.exp(-max(tilt, 0.0) * units)
    return _exit_above(-tilt, target - units, units)


def expected_max_drawdown(*, sigma: float, horizon: float) -> float:
    r"""Return the expected maximum drawdown of a Brownian motion without drift, :math:`\sigma\sqrt{\pi T / 2}`.

    Parameters
    ----------
    sigma : float
        Volatility per square root of the unit of time, > 0; of log wealth, for a drawdown in log units.
    horizon : float
        T, > 0.

    Returns
    -------
    float
        A distance >= 0 in the unit of the motion.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Magdon-Ismail, Atiya, Pratap and Abu-Mostafa, "On the Maximum Drawdown of a Brownian Motion", *Journal of Applied
    Probability* 41(1), 2004.
    """
    return _spread(sigma, horizon) * math.sqrt(math.pi / 2.0)


def max_drawdown_probability(depth: float, *, sigma: float, horizon: float) -> float:
    r"""Return the probability that the maximum drawdown of a driftless Brownian motion is at least `depth`.

    The drawdown is a reflected Brownian motion (Lévy), so that with :math:`x = h / \sigma\sqrt T`

    .. math:: P = 4 \sum_{k \ge 0} (-1)^k\, \Phi(-(2k+1) x) = 1 - \frac{4}{\pi} \sum_{k \ge 0}
        \frac{(-1)^k}{2k+1} \exp\!\left(-\frac{(2k+1)^2 \pi^2}{8 x^2}\right)

    of which the first converges quickly for large x, the second for small.

    Parameters
    ----------
    depth : float
        h, a distance >= 0 in the unit of the motion.
    sigma, horizon : float
        As in `expected_max_drawdown`.

    Returns
    -------
    float
        In [0, 1]; rises with volatility and horizon.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Magdon-Ismail et al. (2004); for both series Feller, vol. 2, 2nd ed., 1971, ch. X.

    Examples
    --------
    >>> round(max_drawdown_probability(0.25, sigma=0.2, horizon=1.0), 6)
    0.422245
    """
    _require(depth >= 0.0, "depth must be >= 0", depth)
    x = depth / _spread(sigma, horizon)
    if x < 1e-3:
        return 1.0
    odd, signs = np.arange(1.0, 20.0, 2.0), np.resize([1.0, -1.0], 10)
    if x > 1.0:
        return float(4.0 * signs @ ndtr(-odd * x))
    return 1.0 - float(4.0 / math.pi * (signs / odd) @ np.exp(-((odd * math.pi / x) ** 2) / 8.0))


def share_below(returns: npt.ArrayLike, *, threshold: float) -> float:
    """Return the share of paths whose wealth falls below a share of the start at the end of some period.

    Parameters
    ----------
    returns : array-like, shape (n_paths, n_periods)
        Arithmetic returns, >= -1; NaN is refused.
    threshold : float
        Share of the start, in (0, 1).

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> share_below([[-0.4, -0.4, 2.0], [0.1, -0.2, -0.2]], threshold=0.5)
    0.5
    """
    _require(0.0 < threshold < 1.0, "threshold must be in (0, 1)", threshold)
    paths = np.asarray(returns, dtype=np.float64)
    _require(paths.ndim == 2 and paths.size > 0, "returns must be a matrix", paths.shape)
    _require((paths >= -1.0).all(), "returns must be >= -1", paths.min())
    return float((np.cumprod(1.0 + paths, axis=1).min(axis=1) < threshold).mean())


class Band(NamedTuple):
    """An estimate and the confidence band around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, kw_only=True)
class RuinEstimate:
    """What resampling a track record says of its future.

    Attributes
    ----------
    probability, low, high : float
        Probability that equity closes a day below `threshold` within the horizon, and its band.
    confidence : float
        Of this band and of those that the methods give.
    threshold : float
        Share of the starting equity that counts as ruin.
    horizon_days, n_days, n_paths : int
        Length of a path, of the record, and number of paths.
    mean_block : float
        Mean block length of the resampling, days.
    max_drawdowns, terminal_wealth : float64 array, shape (n_paths,)
        Of each path: fraction <= 0, and multiple of the start.
    record_max_drawdowns, record_terminal_wealth : float64 array, shape (n_records, n_paths_per_record)
        The same for paths through records that might have been, a row per record.
    """

    probability: float
    low: float
    high: float
    confidence: float
    threshold: float
    horizon_days: int
    n_days: int
    n_paths: int
    mean_block: float
    max_drawdowns: FloatArray
    terminal_wealth: FloatArray
    record_max_drawdowns: FloatArray
    record_terminal_wealth: FloatArray

    def drawdown_quantile(self, share: float) -> Band:
        """Return the drawdown, <= 0, than which a share of the paths is deeper; 0.05 gives a bad case."""
        return self._quantile(self.max_drawdowns, self.record_max_drawdowns, share)

    def terminal_quantile(self, share: float) -> Band:
        """Return the multiple of the start below which a share of the paths ends."""
        return self._quantile(self.terminal_wealth, self.record_terminal_wealth, share)

    def drawdown_probability(self, level: float) -> Band:
        """Return the probability that the maximum drawdown is deeper than a level in (-1, 0)."""
        _require(-1.0 < level < 0.0, "level must be in (-1, 0)", level)
        deeper = self.max_drawdowns < level
        return _probability(deeper, self.record_max_drawdowns < level, self.confidence)

    def _quantile(self, values: FloatArray, by_record: FloatArray, share: float) -> Band:
        _require(0.0 <= share <= 1.0, "share must be in [0, 1]", share)
        value = float(np.quantile(values, share))
        return _band(value, value, value, np.quantile(by_record, share, axis=1), self.confidence)


def bootstrap_ruin(
    daily_returns: npt.ArrayLike,
    *,
    threshold: float,
    horizon_days: int,
    n_paths: int,
    mean_block: float,
    rng: np.random.Generator,
) -> RuinEstimate:
    r"""Return the probability of ruin and the drawdowns that a track record promises, with confidence bands.

    The point estimate is the share of `n_paths` paths, drawn from the record by the stationary bootstrap, that end some
    day below the threshold. It takes the record for the whole truth. The band does not: the same estimate is made from
    `N_RECORDS` records that might have been observed instead, each a resampling of the record with its length, and the
    band holds the middle `CONFIDENCE` of these (percentile method, which respects the transformation from mean and
    volatility to probability). It also holds the Clopper-Pearson interval of the simulation itself, so that no ruin in
    n paths is not called impossible.

    Parameters
    ----------
    daily_returns : array-like, shape (n_days,)
        Arithmetic returns, >= -1. NaN is dropped: the day does not count, its neighbours become adjacent.
    threshold : float
        Ruin is equity that closes a day below this share of the start, in (0, 1). Intraday lows are not seen.
    horizon_days : int
        Length of the future, >= 1 day; it may exceed the record.
    n_paths : int
        Paths of the point estimate, >= 1.
    mean_block : float
        Mean block length, >= 1 day, from `bootstrap` (Politis and White); 1 supposes independent days.
    rng : numpy.random.Generator
        Draws the seeds of the paths. The result does not depend on the number of threads.

    Returns
    -------
    RuinEstimate
        From generators of one seed, probabilities rise path by path with the horizon and with leverage (returns times
        a constant), and with the volatility about a mean >= 0: log wealth is concave in both.

    Raises
    ------
    ValueError
        If fewer than two returns are known, all are equal, one is below -1 or infinite, or a setting is out of its
        range.

    References
    ----------
    Politis and Romano, "The Stationary Bootstrap", *JASA* 89, 1994; Efron and Tibshirani, *An Introduction to the
    Bootstrap*, 1993, ch. 13 (percentile intervals). Deviation: a path through a resampled record is resampled twice,
    which would cut the record's runs of days twice as often; both resamplings therefore begin a new block with
    probability :math:`1 - \sqrt{1 - 1/b}`, so that runs are as long as in the point estimate.
    """
    steps = _log_growth(daily_returns)
    _require(0.0 < threshold < 1.0, "threshold must be in (0, 1)", threshold)
    _require(horizon_days >= 1, "horizon_days must be >= 1", horizon_days)
    _require(n_paths >= 1, "n_paths must be >= 1", n_paths)
    _require(1.0 <= mean_block < math.inf, "mean_block must be >= 1 and finite", mean_block)
    seeds = rng.integers(2**64, size=n_paths + N_RECORDS, dtype=np.uint64)
    outcomes = path_outcomes(steps, seeds[:n_paths], restart_threshold(mean_block), horizon_days)
    per_record = max(n_paths // PATHS_SHARE, PATHS_MIN)
    block_of_each = mean_block * (1.0 + math.sqrt(1.0 - 1.0 / mean_block))
    by_record = record_outcomes(
        steps, seeds[n_paths:], restart_threshold(block_of_each), per_record, horizon_days
    )
    level = math.log(threshold)
    ruined = _probability(outcomes[:, LOWEST] < level, by_record[:, :, LOWEST] < level, CONFIDENCE)
    return RuinEstimate(
        probability=ruined.value,
        low=ruined.low,
        high=ruined.high,
        confidence=CONFIDENCE,
        threshold=threshold,
        horizon_days=horizon_days,
        n_days=len(steps),
        n_paths=n_paths,
        mean_block=mean_block,
        max_drawdowns=np.expm1(outcomes[:, DEEPEST]),
        terminal_wealth=np.exp(outcomes[:, FINAL]),
        record_max_drawdowns=np.expm1(by_record[:, :, DEEPEST]),
        record_terminal_wealth=np.exp(by_record[:, :, FINAL]),
    )


def _probability(
    hits: npt.NDArray[np.bool_], by_record: npt.NDArray[np.bool_], confidence: float
) -> Band:
    """Return a share of paths with its band, widened to the Clopper-Pearson interval of their number."""
    n, k, tail = len(hits), int(hits.sum()), (1.0 - confidence) / 2.0
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1.0 - tail)) if k < n else 1.0
    return _band(k / n, low, high, by_record.mean(axis=1), confidence)


def _band(value: float, low: float, high: float, by_record: FloatArray, confidence: float) -> Band:
    """Return `value` with the middle of the records' values, widened to [low, high]."""
    tail = (1.0 - confidence) / 2.0
    lowest, highest = np.quantile(by_record, [tail, 1.0 - tail])
    return Band(value, min(low, float(lowest)), max(high, float(highest)))


def _log_growth(daily_returns: npt.ArrayLike) -> FloatArray:
    returns = np.asarray(daily_returns, dtype=np.float64)
    _require(returns.ndim == 1, "daily_returns must be a vector", returns.shape)
    known = returns[~np.isnan(returns)]
    _require(len(known) >= 2, "daily_returns must hold at least 2 known returns", len(known))
    bad = known[(known < -1.0) | np.isinf(known)]
    _require(not len(bad), "daily_returns must be >= -1 and finite", bad[:1])
    _require(known.min() < known.max(), "daily_returns must not all be equal", known[0])
    growth: FloatArray = np.full(len(known), -math.inf)
    np.log1p(known, out=growth, where=known > -1.0)
    return growth


def _exit_above(tilt: float, down: float, up: float) -> float:
    """Return the probability that a motion rises by `up` before it falls by `down`; `tilt` is 2 drift / variance.

    The quotient of scale functions (1 - exp(-tilt down)) / (1 - exp(-tilt (down + up))), free of overflow.
    """
    if tilt == 0.0:
        return down / (down + up)
    odds = math.expm1(-abs(tilt) * down) / math.expm1(-abs(tilt) * (down + up))
    return odds if tilt > 0.0 else odds * math.exp(tilt * up)


def _spread(sigma: float, horizon: float) -> float:
    _require(0.0 < sigma < math.inf, "sigma must be > 0 and finite", sigma)
    _require(0.0 < horizon < math.inf, "horizon must be > 0 and finite", horizon)
    return sigma * math.sqrt(horizon)


def _require(holds: bool | np.bool_, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{rule}, was {value}")
