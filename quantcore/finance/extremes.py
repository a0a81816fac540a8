r"""Peaks over threshold: the tail beyond a high loss as a generalised Pareto distribution (GPD).

The excess :math:`y = L - u` of a loss over a high threshold has approximately the distribution

.. math:: G(y) = 1 - (1 + \xi y / \beta)^{-1/\xi}, \qquad y \ge 0,\; 1 + \xi y/\beta > 0

whatever that of the losses (Pickands; Balkema and de Haan). :math:`\xi` > 0 is a power tail of index :math:`1/\xi`, 0
an exponential one, < 0 one that ends. Losses are positive numbers, in any unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.finance.risk_metrics import check_tail_probability, known_values
from quantcore.types import FloatArray

LOWEST_XI = -0.5
"""Below it the estimator has no normal limit (Smith 1985), and under -1 the likelihood has no maximum."""
SEARCHED, GRID = (-36.0, 40.0), 200
"""Range of ln(1 + xi y / beta) at the largest excess, and the points on it from which the best one is refined."""


@dataclass(frozen=True, kw_only=True)
class ParetoTail:
    """The tail of a loss distribution: how often a threshold is exceeded, and by how much.

    Parameters
    ----------
    threshold : float
        u, in the unit of the losses.
    xi, beta : float
        Shape, dimensionless, and scale, > 0, in the unit of the losses.
    n, n_exceed : int
        Losses, and those above the threshold: 0 < `n_exceed` <= `n`.

    Raises
    ------
    ValueError
        If `beta` is not positive, a parameter is not finite or the counts do not fit.
    """

    threshold: float
    xi: float
    beta: float
    n: int
    n_exceed: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta > 0.0):
            raise ValueError(f"beta must be finite and > 0, was {self.beta}")
        for name in ("threshold", "xi"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, was {getattr(self, name)}")
        if not 0 < self.n_exceed <= self.n:
            raise ValueError(f"n_exceed must be in [1, n = {self.n}], was {self.n_exceed}")


@dataclass(frozen=True, kw_only=True)
class ParetoFit:
    """A tail estimated by maximum likelihood.

    `se_xi` and `se_beta` are standard errors from the observed information, NaN where xi is at its lower bound or the
    likelihood is not curved downwards; `log_likelihood` is that of the excesses.
    """

    tail: ParetoTail
    se_xi: float
    se_beta: float
    log_likelihood: float


def tail_threshold(losses: npt.ArrayLike, *, exceed_share: float) -> float:
    r"""Return the threshold that a share of the losses exceeds.

    .. math:: u = L_{(k+1)}, \qquad k = \lfloor n s \rfloor

    with :math:`L_{(k)}` the k-th largest loss, so that k losses lie above it, fewer only with ties.

    Parameters
    ----------
    losses : array-like, shape (n,)
        Positive for losses; NaN is dropped.
    exceed_share : float
        s, in (0, 1); a tenth is common. A low threshold biases the shape, a high one leaves few excesses.

    Returns
    -------
    float
        In the unit of the losses.

    Raises
    ------
    ValueError
        If `exceed_share` is not in (0, 1), no loss is known or one is infinite.

    References
    ----------
    McNeil and Frey, "Estimation of tail-related risk measures for heteroscedastic financial time series", *Journal of
    Empirical Finance* 7, 2000, section 2.2.2.

    Examples
    --------
    >>> tail_threshold([1.0, 5.0, 2.0, 4.0, 3.0], exceed_share=0.4)
    3.0
    """
    if not 0.0 < exceed_share < 1.0:
        raise ValueError(f"exceed_share must be in (0, 1), was {exceed_share}")
    known = np.sort(known_values(losses, "losses"))[::-1]
    return float(known[math.floor(len(known) * exceed_share * (1.0 + 1e-12))])


def fit_pareto_tail(losses: npt.ArrayLike, *, threshold: float) -> ParetoFit:
    r"""Fit a generalised Pareto distribution to the excesses over a threshold by maximum likelihood.

    .. math::
        \ell(\xi, \beta) = -k \ln\beta - (1 + 1/\xi) \sum_{i=1}^{k} \ln(1 + \xi y_i/\beta)

    For a given :math:`\theta = \xi/\beta` the best shape is :math:`\xi(\theta) = \tfrac1k \sum \ln(1 + \theta y_i)`, so
    the search has one dimension: a grid over all :math:`\theta` with :math:`\xi \ge -\tfrac12`, then refinement. The
    standard errors are those of the inverse of the observed information.

    Parameters
    ----------
    losses : array-like, shape (n,)
        Positive for losses; NaN is dropped.
    threshold : float
        u; a loss equal to it does not exceed it.

    Returns
    -------
    ParetoFit
        Poor below some thirty excesses, and `se_xi` says how poor.

    Raises
    ------
    ValueError
        If fewer than three losses exceed the threshold (two parameters), all excesses are equal, a loss is infinite
        or the threshold is not finite.

    References
    ----------
    Grimshaw, "Computing maximum likelihood estimates for the generalized Pareto distribution", *Technometrics* 35(2),
    1993 (the reduction to one dimension); Smith, "Estimating tails of probability distributions", *Annals of
    Statistics* 15(3), 1987 (the errors). Deviation: the shape is kept at or above -1/2.
    """
    if not math.isfinite(threshold):
        raise ValueError(f"threshold must be finite, was {threshold}")
    known = known_values(losses, "losses")
    excesses = known[known > threshold] - threshold
    if len(excesses) < 3:
        raise ValueError(
            f"losses above threshold = {threshold} must be >= 3 to fit two parameters, were {len(excesses)}"
        )
    unit = float(excesses.mean())
    scaled = excesses / unit
    if float(np.ptp(scaled)) < 1e-12:
        raise ValueError(f"losses above threshold must differ, all were {known.max()}")
    xi, beta, loss = _maximum(scaled)
    se_xi, se_beta = _errors(xi, beta, scaled)
    return ParetoFit(
        tail=ParetoTail(
            threshold=float(threshold), xi=xi, beta=beta * unit, n=len(known), n_exceed=len(scaled)
        ),
        se_xi=se_xi,
        se_beta=se_beta * unit,
        log_likelihood=-len(scaled) * (loss + math.log(unit)),
    )


def pareto_tail_loss(tail: ParetoTail, *, tail_probability: float) -> tuple[float, float]:
    r"""Return value at risk and expected shortfall far out in a generalised Pareto tail.

    .. math::

        \mathrm{VaR} = u + \frac{\beta}{\xi} \left(\Bigl(\frac{n_u}{n p}\Bigr)^{\xi} - 1\right), \qquad
        \mathrm{ES} = \frac{\mathrm{VaR} + \beta - \xi u}{1 - \xi}

    and :math:`u + \beta \ln(n_u / (n p))` for :math:`\xi = 0`.

    Parameters
    ----------
    tail : ParetoTail
        Fitted by `fit_pareto_tail`, or given.
    tail_probability : float
        p, in (0, `n_exceed` / `n`]: below the threshold the tail says nothing.

    Returns
    -------
    tuple of float
        Value at risk and expected shortfall in the unit of the losses; the shortfall is infinite for :math:`\xi \ge 1`.

    Raises
    ------
    ValueError
        If `tail_probability` is out of its range.

    References
    ----------
    McNeil and Frey (2000), as in `tail_threshold`, eqs. 15 and 16 for the residuals.

    Examples
    --------
    >>> tail = ParetoTail(threshold=0.05, xi=0.25, beta=0.015, n=1000, n_exceed=50)
    >>> tuple(round(loss, 6) for loss in pareto_tail_loss(tail, tail_probability=0.01))
    (0.079721, 0.109628)
    """
    from scipy.special import boxcox

    check_tail_probability(tail_probability)
    share = tail.n_exceed / tail.n
    if tail_probability > share * (1.0 + 1e-12):
        raise ValueError(
            f"tail_probability must be <= n_exceed / n = {share:.6g}, was {tail_probability}"
        )
    at_risk = tail.threshold + tail.beta * float(boxcox(share / tail_probability, tail.xi))
    if tail.xi >= 1.0:
        return at_risk, math.inf
    return at_risk, at_risk + (tail.beta + tail.xi * (at_risk - tail.threshold)) / (1.0 - tail.xi)


def peaks_over_threshold_tail_loss(
    returns: npt.ArrayLike, *, tail_probability: float, exceed_share: float = 0.1
) -> tuple[float, float]:
    """Return value at risk and expected shortfall of returns by peaks over threshold.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.
    tail_probability : float
        In (0, share of losses above the threshold].
    exceed_share : float
        Share of the losses that makes the tail, as in `tail_threshold`; a tenth as in McNeil and Frey (2000).

    Returns
    -------
    tuple of float
        As fractions, > 0 for losses.

    Raises
    ------
    ValueError
        As `tail_threshold`, `fit_pareto_tail` and `pareto_tail_loss` do.
    """
    losses = -np.asarray(returns, dtype=np.float64)
    threshold = tail_threshold(losses, exceed_share=exceed_share)
    fit = fit_pareto_tail(losses, threshold=threshold)
    return pareto_tail_loss(fit.tail, tail_probability=tail_probability)


def _profile(theta: float, excesses: FloatArray) -> tuple[float, float, float]:
    """Return shape, scale and negative log-likelihood per excess at the best allowed shape for theta = xi / beta."""
    best = float(np.mean(np.log1p(theta * excesses)))
    xi = max(best, LOWEST_XI)
    beta = xi / theta if theta != 0.0 else 1.0
    return xi, beta, math.log(beta) + best + (best / xi if xi > best else 1.0)


def _maximum(excesses: FloatArray) -> tuple[float, float, float]:
    """Return `_profile` at its lowest point over all theta that the excesses, of mean 1, allow."""
    from scipy.optimize import minimize_scalar

    def at(stretch: float) -> tuple[float, float, float]:
        return _profile(math.expm1(stretch) / float(excesses.max()), excesses)

    grid = np.linspace(*SEARCHED, GRID)
    best = int(np.argmin([at(s)[2] for s in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)])
    found = minimize_scalar(
        lambda s: at(s)[2], bounds=bounds, method="bounded", options={"xatol": 1e-10}
    )
    return at(float(found.x))


def _errors(xi: float, beta: float, excesses: FloatArray) -> tuple[float, float]:
    """Return the standard errors of shape and scale from the second derivatives of the log-likelihood."""
    if xi <= LOWEST_XI:
        return math.nan, math.nan
    t = excesses / beta
    w = t / (1.0 + xi * t)
    if abs(xi) < 3e-4:  # the terms below cancel; this is their limit and its first order
        by_xi = float(np.sum(t**2 - t**3 / 1.5 + xi * (1.5 * t**4 - 2.0 * t**3)))
    else:
        logs = np.log1p(xi * t)
        by_xi = float(np.sum(-2.0 * logs / xi**3 + 2.0 * w / xi**2 + (1.0 + 1.0 / xi) * w**2))
    by_beta = float(np.sum(1.0 - (1.0 + xi) * w * (1.0 + 1.0 / (1.0 + xi * t)))) / beta**2
    mixed = float(np.sum(w - (1.0 + xi) * w**2)) / beta
    determinant = by_xi * by_beta - mixed**2
    if not (by_xi < 0.0 and determinant > 0.0):
        return math.nan, math.nan
    return math.sqrt(-by_beta / determinant), math.sqrt(-by_xi / determinant)
