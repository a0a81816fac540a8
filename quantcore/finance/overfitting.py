"""How much of a backtest's result comes from having tried many: what luck alone would have found.

Sharpe ratios are per period unless said otherwise, kurtosis is raw (normal = 3).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy import special

from quantcore.finance.sharpe import probabilistic_sharpe, varying_columns
from quantcore.types import FloatArray

_NORMAL = NormalDist()
_CHUNK = 256
"""Combinations evaluated at a time: their performance of a thousand strategies stays in the processor's cache."""

Metric = Callable[[FloatArray], FloatArray]
"""From returns of shape (n_rows, n_strategies) to the performance of each strategy; above 0 is a gain."""


@dataclass(frozen=True)
class Overfitting:
    r"""What combinatorially symmetric cross-validation found; one entry per combination where it is an array.

    Attributes
    ----------
    pbo : float
        Probability of backtest overfitting: share of logits <= 0, that is, of combinations in which the strategy that
        was best in sample comes out in the lower half (or exactly in the middle) out of sample.
    probability_of_loss : float
        Share of combinations in which that strategy performs below 0 out of sample.
    slope, intercept, r_squared : float
        Performance degradation: regression of its performance out of sample on that in sample; NaN where the latter
        never varies.
    logits : float64 array, shape (n_combinations,)
        :math:`\ln \frac{w}{1 - w}`, w = rank out of sample / (n_strategies + 1); rank 1 is the worst.
    in_sample, out_of_sample : float64 array, shape (n_combinations,)
        Performance of the strategy that was best in sample.
    """

    pbo: float
    probability_of_loss: float
    slope: float
    intercept: float
    r_squared: float
    logits: FloatArray
    in_sample: FloatArray
    out_of_sample: FloatArray


def expected_max_normal(n: float) -> float:
    r"""Return the expected maximum of n independent standard normals, by quadrature.

    .. math:: \int_0^\infty 1 - \Phi(x)^n - \Phi(-x)^n \, dx

    Parameters
    ----------
    n : float
        >= 1; need not be whole.

    Returns
    -------
    float
        >= 0, exact to about 1e-10.

    Raises
    ------
    ValueError
        If `n` is below 1 or not finite.

    References
    ----------
    David and Nagaraja, *Order Statistics*, 3rd ed., 2003, ch. 3.

    Examples
    --------
    >>> round(expected_max_normal(10), 6)
    1.538753
    """
    from scipy.integrate import quad

    _check_trials(n)
    if n == 1:
        return 0.0

    def missing(x: float) -> float:
        return float(-special.expm1(n * special.log_ndtr(x)) - special.ndtr(-x) ** n)

    typical = max(-float(special.ndtri(1.0 / n)), 0.5)
    parts = [0.0, typical / 2.0, typical, 2.0 * typical, math.inf]
    return math.fsum(
        quad(missing, a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in itertools.pairwise(parts)
    )


def expected_max_sharpe(n_trials: float, *, variance: float) -> float:
    r"""Return the Sharpe ratio that the best of many independent trials is expected to show by luck alone.

    .. math:: \sqrt V \bigl[(1 - \gamma)\,\Phi^{-1}(1 - \tfrac{1}{N}) + \gamma\,\Phi^{-1}(1 - \tfrac{1}{N e})\bigr]

    with Euler's :math:`\gamma`. An approximation for large N: 1 % above `expected_max_normal` at 3 and 100, 2.5 % at
    its highest near 5; 8 % below it at 2.

    Parameters
    ----------
    n_trials : float
        N, independent trials, >= 1; see `effective_trials`.
    variance : float
        V, of the ratios over the trials, >= 0.

    Returns
    -------
    float
        In the unit of :math:`\sqrt V`. Never below 0, which is the value at N = 1; NaN where `variance` is.

    Raises
    ------
    ValueError
        If `n_trials` is below 1 or `variance` negative.

    References
    ----------
    Bailey and López de Prado, "The Deflated Sharpe Ratio", *Journal of Portfolio Management* 40(5), 2014, eq. 1.
    Deviation: 0 instead of a negative value below about 1.3 trials.

    Examples
    --------
    >>> round(expected_max_sharpe(10, variance=1.0), 6)
    1.574598
    """
    _check_trials(n_trials)
    if variance < 0.0:
        raise ValueError(f"variance must be >= 0, was {variance}")
    if n_trials == 1.0:
        return 0.0 * variance
    best = -(1.0 - np.euler_gamma) * _NORMAL.inv_cdf(1.0 / n_trials)
    best -= np.euler_gamma * _NORMAL.inv_cdf(1.0 / (n_trials * math.e))
    return math.sqrt(variance) * max(float(best), 0.0)


def deflated_sharpe(
    sharpe_ratio: float,
    n: int,
    *,
    skew: float,
    kurtosis: float,
    n_trials: float,
    variance: float,
) -> float:
    r"""Return the probability that the best of many trials has a true Sharpe ratio above what luck alone would show.

    `probabilistic_sharpe` against `expected_max_sharpe` as the benchmark.

    Parameters
    ----------
    sharpe_ratio : float
        Of the trial that was chosen, per period, not annual.
    n : int
        Number of returns.
    skew, kurtosis : float
        Of the returns; kurtosis is raw (normal = 3).
    n_trials : float
        Independent trials, >= 1; 1 gives the probability against 0.
    variance : float
        Of the ratios per period over all trials, >= 0 (an annual one is divided by the periods per year).

    Returns
    -------
    float
        In [0, 1], at most the probability against 0; NaN with fewer than two returns or where an input is NaN.

    Raises
    ------
    ValueError
        If `n_trials` is below 1 or `variance` negative.

    References
    ----------
    Bailey and López de Prado, "The Deflated Sharpe Ratio", *Journal of Portfolio Management* 40(5), 2014, eq. 2.

    Examples
    --------
    >>> ratio, variance = 2.5 / math.sqrt(250), 0.5 / 250
    >>> round(deflated_sharpe(ratio, 1250, skew=-3, kurtosis=10, n_trials=100, variance=variance), 4)
    0.9004
    """
    luck = expected_max_sharpe(n_trials, variance=variance)
    return probabilistic_sharpe(sharpe_ratio, n, skew=skew, kurtosis=kurtosis, benchmark=luck)


def min_backtest_length(n_trials: float, *, annual_sharpe: float) -> float:
    r"""Return the years below which the best of many worthless trials is expected to show a Sharpe ratio or more.

    .. math:: \left(\frac{\operatorname{E}[\max_N]}{SR}\right)^2 < \frac{2 \ln N}{SR^2}

    with `expected_max_sharpe` at unit variance: over y years the annual ratio of a worthless strategy has the standard
    deviation :math:`1/\sqrt y`.

    Parameters
    ----------
    n_trials : float
        Independent trials, >= 1.
    annual_sharpe : float
        Ratio that is not to come from luck, > 0.

    Returns
    -------
    float
        Years, >= 0.

    Raises
    ------
    ValueError
        If `n_trials` is below 1 or `annual_sharpe` not positive.

    References
    ----------
    Bailey, Borwein, López de Prado and Zhu, "Pseudo-Mathematics and Financial Charlatanism", *Notices of the AMS*
    61(5), 2014, theorem 2 (five years: no more than 45 trials for a ratio of 1).

    Examples
    --------
    >>> round(min_backtest_length(45, annual_sharpe=1.0), 1)
    5.0
    """
    if not annual_sharpe > 0.0:
        raise ValueError(f"annual_sharpe must be > 0, was {annual_sharpe}")
    return (expected_max_sharpe(n_trials, variance=1.0) / annual_sharpe) ** 2


def effective_trials(returns: npt.ArrayLike, *, n_draws: int, rng: np.random.Generator) -> float:
    r"""Return how many independent trials would make luck as likely as these correlated ones do.

    .. math:: \operatorname{E} \max_{i \le N_e} Z_i = \operatorname{E} \max_{i \le N} X_i, \quad X \sim \mathcal N(0, C)

    with independent standard normal Z and the trials' correlation matrix C: under no skill at all the trials' Sharpe
    ratios are distributed like X, up to scale. The right-hand side is simulated as :math:`X = S^\top g / \sqrt n` from
    the standardised returns S, which needs neither C nor its factor. Copies count once, m groups of copies as m.

    Parameters
    ----------
    returns : array-like, shape (n_rows, n_trials)
        Fractions per period of every trial, over the same periods.
    n_draws : int
        Simulated X, >= 1; 1,000 give a standard error of 2 to 3 %.
    rng : Generator
        Advanced.

    Returns
    -------
    float
        From 1 to n_trials. Goes with the sampling variance of one trial's ratio, about 1 / n_rows; the variance over
        correlated trials is already reduced by what they share, so that it goes with their plain number.

    Raises
    ------
    ValueError
        If a return is NaN or infinite, a trial is constant, there are fewer than two rows, or `n_draws` is below 1.

    References
    ----------
    The problem is that of Bailey and López de Prado (2014), appendix A.3. Deviation: their interpolation
    :math:`\bar\rho + (1 - \bar\rho) N` takes ten groups of ten copies for 91 trials; this gives 10.
    """
    trials = varying_columns(returns, n_min=2)
    n_rows, n_trials = trials.shape
    if n_draws < 1:
        raise ValueError(f"n_draws must be >= 1, was {n_draws}")
    if n_trials == 1:
        return 1.0
    standard = (trials - trials.mean(axis=0)) / (trials.std(axis=0) * math.sqrt(n_rows))
    total = 0.0
    for done in range(0, n_draws, _CHUNK):
        luck = rng.standard_normal((min(_CHUNK, n_draws - done), n_rows)) @ standard
        # -X is as likely as X: half the range has the mean of the maximum and less noise.
        total += float((luck.max(axis=1) - luck.min(axis=1)).sum()) / 2.0
    best = total / n_draws
    if best >= expected_max_normal(n_trials):
        return float(n_trials)
    from scipy.optimize import brentq

    return float(brentq(lambda n: expected_max_normal(n) - best, 1.0, n_trials))


def backtest_overfitting(
    returns: npt.ArrayLike, *, n_blocks: int = 16, metric: Metric | None = None
) -> Overfitting:
    """Return how often the best of many strategies in one half of the record disappoints in the other half (CSCV).

    The rows are cut into blocks; each way of taking half of the blocks gives a pair of halves, in sample and out of
    sample. The Sharpe ratio of a half comes from sums over its blocks, so that 12,870 pairs of 16 blocks need no pass
    over the rows.

    Parameters
    ----------
    returns : array-like, shape (n_rows, n_strategies)
        Fractions per period of every strategy that was tried, over the same periods; at least two strategies.
    n_blocks : int
        Even, from 2 to n_rows / 2. Where it does not divide n_rows, the first blocks are one row longer.
    metric : callable or None
        Called once per half, with its rows in order of time; it must give a finite number for each strategy. None is
        the Sharpe ratio per period, in which a strategy that does not vary over a half counts as 0, like cash.

    Returns
    -------
    Overfitting
        Ties in sample go to the first strategy; ties out of sample share the mean of their ranks.

    Raises
    ------
    ValueError
        If `n_blocks` is odd or out of range, a return is NaN or infinite, a strategy is constant over all rows, there
        are fewer than two strategies, or the metric gives something else than finite numbers.

    References
    ----------
    Bailey, Borwein, López de Prado and Zhu, "The Probability of Backtest Overfitting", *Journal of Computational
    Finance* 20(4), 2017. Deviation: none; the two halves of a pair exchange their parts, so each is evaluated once.
    """
    strategies = varying_columns(returns, n_min=2)
    n_rows, n_strategies = strategies.shape
    if n_strategies < 2:
        raise ValueError(f"returns must have >= 2 strategies, had {n_strategies}")
    if n_blocks % 2 or not 2 <= n_blocks <= n_rows // 2:
        raise ValueError(f"n_blocks must be even and in [2, {n_rows // 2}], was {n_blocks}")
    blocks = np.array_split(np.arange(n_rows), n_blocks)
    evaluate = (
        _block_sharpe(strategies, blocks) if metric is None else _called(metric, strategies, blocks)
    )
    chosen = _halves(n_blocks)
    n = len(chosen)
    inside, outside, ranks = np.empty(n), np.empty(n), np.empty(n)
    for first in range(0, n // 2, _CHUNK):
        # Taken in order, the k-th combination from the end is the complement of the k-th.
        head = np.arange(first, min(first + _CHUNK, n // 2))
        tail = n - 1 - head
        one, other = evaluate(chosen[head]), evaluate(chosen[tail])
        inside[head], outside[head], ranks[head] = _judge(one, other)
        inside[tail], outside[tail], ranks[tail] = _judge(other, one)
    logits = np.log(ranks / (n_strategies + 1.0 - ranks))
    slope, intercept, r_squared = _regression(inside, outside)
    return Overfitting(
        pbo=float(np.mean(logits <= 0.0)),
        probability_of_loss=float(np.mean(outside < 0.0)),
        slope=slope,
        intercept=intercept,
        r_squared=r_squared,
        logits=logits,
        in_sample=inside,
        out_of_sample=outside,
    )


def _halves(n_blocks: int) -> npt.NDArray[np.bool_]:
    """Return every choice of half of the blocks as a row of flags, in lexicographic order."""
    picked = np.array(list(itertools.combinations(range(n_blocks), n_blocks // 2)))
    chosen = np.zeros((len(picked), n_blocks), dtype=np.bool_)
    np.put_along_axis(chosen, picked, True, axis=1)
    return chosen


_Evaluate = Callable[[npt.NDArray[np.bool_]], FloatArray]


def _block_sharpe(strategies: FloatArray, blocks: list[npt.NDArray[np.int64]]) -> _Evaluate:
    """Return the Sharpe ratios of halves from the blocks' sums, about each strategy's mean so that nothing cancels."""
    mean = strategies.mean(axis=0)
    centred = strategies - mean
    sizes = np.array([float(len(block)) for block in blocks])
    sums = np.array([centred[block].sum(axis=0) for block in blocks])
    squares = np.array([(centred[block] ** 2).sum(axis=0) for block in blocks])

    def evaluate(chosen: npt.NDArray[np.bool_]) -> FloatArray:
        weights = chosen.astype(np.float64)
        rows = (weights @ sizes)[:, np.newaxis]
        total, about_mean = weights @ sums, weights @ squares
        spread = about_mean - total * total / rows
        varies = spread > 1e-12 * about_mean
        deviation = np.sqrt(np.where(varies, spread, 1.0) / (rows - 1.0))
        return np.asarray(np.where(varies, (total / rows + mean) / deviation, 0.0))

    return evaluate


def _called(
    metric: Metric, strategies: FloatArray, blocks: list[npt.NDArray[np.int64]]
) -> _Evaluate:
    def performance(flags: npt.NDArray[np.bool_]) -> FloatArray:
        rows = np.concatenate([blocks[k] for k in np.flatnonzero(flags)])
        values = np.asarray(metric(strategies[rows]), dtype=np.float64)
        if values.shape != strategies.shape[1:] or not np.isfinite(values).all():
            raise ValueError(
                f"metric must give {strategies.shape[1]} finite numbers, gave {values}"
            )
        return values

    return lambda chosen: np.array([performance(flags) for flags in chosen])


def _judge(inside: FloatArray, outside: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best performance in sample, the same strategies' out of sample, and their ranks there."""
    every = np.arange(len(inside))
    best = inside.argmax(axis=1)
    reached = outside[every, best]
    below = (outside < reached[:, np.newaxis]).sum(axis=1)
    equal = (outside == reached[:, np.newaxis]).sum(axis=1)
    return inside[every, best], reached, below + (equal + 1.0) / 2.0


def _regression(x: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    dx, dy = x - x.mean(), y - y.mean()
    sxx, syy = float(dx @ dx), float(dy @ dy)
    if sxx <= 1e-24 * float(x @ x):
        return math.nan, math.nan, math.nan
    slope = float(dx @ dy) / sxx
    r_squared = slope * slope * sxx / syy if syy > 0.0 else math.nan
    return slope, float(y.mean()) - slope * float(x.mean()), r_squared


def _check_trials(n: float) -> None:
    if not 1.0 <= n < math.inf:
        raise ValueError(f"n_trials must be >= 1 and finite, was {n}")
