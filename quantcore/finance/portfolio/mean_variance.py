"""Weights from expected returns and costs: shrunk means, mean-variance with turnover cost, and the no-trade band."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quantcore.finance.portfolio.checks import parts, require, vector
from quantcore.finance.portfolio.limits import WeightLimits
from quantcore.types import FloatArray

_SOLVER_TOLERANCE = 1e-11
_NO_TRADE = 1e-7  # a smaller change of weight is the solver's error


@dataclass(frozen=True, kw_only=True)
class ShrunkMeans:
    """Expected returns drawn toward a common one.

    Parameters
    ----------
    means : float64 array
        Per period.
    shrinkage : float
        Share of the common mean in each, in [0, 1].
    target : float
        The common mean: that of the minimum-variance portfolio.
    """

    means: FloatArray
    shrinkage: float
    target: float


def shrink_means(
    means: npt.ArrayLike,
    covariance: npt.ArrayLike,
    *,
    n_observations: int,
    method: Literal["bayes_stein", "james_stein"],
) -> ShrunkMeans:
    r"""Return expected returns shrunk for estimation error.

    .. math::

        \mu^* = (1 - \phi)\hat\mu + \phi\mu_0 \mathbf 1, \quad
        \mu_0 = \frac{\mathbf 1^\top \Sigma^{-1}\hat\mu}{\mathbf 1^\top \Sigma^{-1}\mathbf 1}, \quad
        D = n (\hat\mu - \mu_0)^\top \Sigma^{-1} (\hat\mu - \mu_0)

    with :math:`\phi = (N + 2) / (N + 2 + D)` (Bayes-Stein) or :math:`\min(1, (N - 2) / D)` (positive-part James-Stein).

    Parameters
    ----------
    means : array-like, shape (n_symbols,)
        Sample means per period.
    covariance : array-like, shape (n_symbols, n_symbols)
        Of the same returns, positive definite; it may be shrunk.
    n_observations : int
        n, periods behind the means; > N + 2.
    method : {"bayes_stein", "james_stein"}
        The latter needs N >= 3.

    Returns
    -------
    ShrunkMeans

    Raises
    ------
    ValueError
        If the covariance is singular, there are too few periods or symbols, or the method is unknown.

    References
    ----------
    Jorion, "Bayes-Stein Estimation for Portfolio Analysis", *Journal of Financial and Quantitative Analysis* 21(3),
    1986, eq. 17. Deviation: the covariance is used as given; Jorion's is the sample one times (n - 1) / (n - N - 2).
    """
    sigma, corr = parts(covariance, singular=False)
    n = len(sigma)
    mu = vector("means", means, n)
    if n_observations <= n + 2:
        raise ValueError(f"n_observations must be > {n + 2}, was {n_observations}")
    if method not in ("bayes_stein", "james_stein"):
        raise ValueError(f"method must be bayes_stein or james_stein, was {method!r}")
    if method == "james_stein" and n < 3:
        raise ValueError(f"means must have 3 entries or more for james_stein, had {n}")
    inverse = np.linalg.inv(corr) / np.outer(sigma, sigma)
    target = float(inverse.sum(axis=0) @ mu / inverse.sum())
    spread = n_observations * float((mu - target) @ inverse @ (mu - target))
    if method == "bayes_stein":
        shrinkage = (n + 2) / (n + 2 + spread)
    else:
        shrinkage = min(1.0, (n - 2) / spread) if spread > 0.0 else 1.0
    return ShrunkMeans(
        means=(1.0 - shrinkage) * mu + shrinkage * target, shrinkage=shrinkage, target=target
    )


@dataclass(frozen=True, kw_only=True)
class NoTradeBand:
    """The weights that are left alone, and the weight to hold.

    Parameters
    ----------
    weight : float
        The previous weight, or the nearer end of the band.
    lower, upper : float
        Ends of the band.
    """

    weight: float
    lower: float
    upper: float


def no_trade_band(
    expected_return: float,
    variance: float,
    *,
    risk_aversion: float,
    previous: float,
    linear_cost: float,
) -> NoTradeBand:
    r"""Return what to hold of one asset when trading costs in proportion.

    .. math::

        \max_w \mu w - \tfrac{\gamma}{2} \sigma^2 w^2 - k |w - w_0|: \qquad
        w = \min\Bigl(\max\Bigl(w_0, \frac{\mu - k}{\gamma\sigma^2}\Bigr), \frac{\mu + k}{\gamma\sigma^2}\Bigr)

    Parameters
    ----------
    expected_return, variance : float
        Per period; the variance > 0.
    risk_aversion : float
        :math:`\gamma > 0`.
    previous : float
        :math:`w_0`.
    linear_cost : float
        k >= 0, fraction of the notional traded: fees, half-spread and slippage, over the periods the return spans.

    Returns
    -------
    NoTradeBand

    Raises
    ------
    ValueError
        If a number is not finite or out of its range.

    References
    ----------
    Davis and Norman, "Portfolio Selection with Transaction Costs", *Mathematics of Operations Research* 15(4), 1990,
    for the band; here its one-period case.

    Examples
    --------
    >>> no_trade_band(0.1, 0.16, risk_aversion=2.0, previous=0.0, linear_cost=0.02).weight
    0.25
    """
    given = {"expected_return": expected_return, "previous": previous}
    for name, value in given.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, was {value}")
    for name, value in {"variance": variance, "risk_aversion": risk_aversion}.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be > 0 and finite, was {value}")
    if not 0.0 <= linear_cost < math.inf:
        raise ValueError(f"linear_cost must be >= 0 and finite, was {linear_cost}")
    lower = (expected_return - linear_cost) / (risk_aversion * variance)
    upper = (expected_return + linear_cost) / (risk_aversion * variance)
    return NoTradeBand(weight=min(max(previous, lower), upper), lower=lower, upper=upper)


@dataclass(frozen=True, kw_only=True)
class MeanVariance:
    r"""The portfolio of greatest utility after costs.

    Parameters
    ----------
    weights, trades : float64 array
        To hold, and the change from the previous weights; exactly 0 within the no-trade band.
    expected_return, variance, cost, utility : float
        Per period; utility is :math:`\mu^\top w - \tfrac\gamma2 w^\top\Sigma w - k^\top|w - w_0|`.
    gross_price, net_price : float
        Utility per unit by which the gross cap, or the net limit that binds, were wider (negative: a higher net sum
        would cost utility); 0 where neither binds.
    """

    weights: FloatArray
    trades: FloatArray
    expected_return: float
    variance: float
    cost: float
    utility: float
    gross_price: float
    net_price: float

    @property
    def turnover(self) -> float:
        """Sum of absolute changes of weight."""
        return float(np.abs(self.trades).sum())


def mean_variance(
    expected_returns: npt.ArrayLike,
    covariance: npt.ArrayLike,
    *,
    risk_aversion: float,
    limits: WeightLimits,
    previous: npt.ArrayLike | None = None,
    linear_costs: npt.ArrayLike = 0.0,
) -> MeanVariance:
    r"""Return the weights of greatest mean-variance utility after linear costs of trading.

    .. math:: \max_w\; \mu^\top w - \tfrac\gamma2 w^\top\Sigma w - \sum_i k_i |w_i - w_{0,i}|

    a quadratic programme, solved by Clarabel through cvxpy. Costs leave a band around each optimum in which a symbol
    is not traded.

    Parameters
    ----------
    expected_returns : array-like, shape (n_symbols,)
        Per period; see `shrink_means`: raw sample means are mostly error.
    covariance : array-like, shape (n_symbols, n_symbols)
        Positive semidefinite, variances > 0; it may be shrunk.
    risk_aversion : float
        :math:`\gamma > 0`.
    limits : WeightLimits
        Box, net and gross limits.
    previous : array-like, shape (n_symbols,), optional
        Weights held; none if not given.
    linear_costs : float or array-like, optional
        k >= 0 per symbol, fraction of the notional traded.

    Returns
    -------
    MeanVariance
        Weights accurate to about 1e-8; a trade below 1e-7 is taken for none.

    Raises
    ------
    ValueError
        If an input is not finite or out of its range, the covariance has a negative eigenvalue, or no portfolio
        meets the limits.

    References
    ----------
    Markowitz, "Portfolio Selection", *Journal of Finance* 7(1), 1952; Boyd et al., "Multi-Period Trading via Convex
    Optimization", *Foundations and Trends in Optimization* 3(1), 2017, sec. 4, for the costs.
    """
    sigma, corr = parts(covariance, singular=True)
    n = len(sigma)
    mu = vector("expected_returns", expected_returns, n)
    held = np.zeros(n) if previous is None else vector("previous", previous, n)
    costs = vector("linear_costs", np.broadcast_to(np.asarray(linear_costs, np.float64), (n,)), n)
    require(costs >= 0.0, "linear_costs must be >= 0", costs)
    if not 0.0 < risk_aversion < math.inf:
        raise ValueError(f"risk_aversion must be > 0 and finite, was {risk_aversion}")
    roots, axes = np.linalg.eigh(corr)
    factor = sigma[:, None] * axes * np.sqrt(np.maximum(roots, 0.0))
    weights, gross_price, net_price = _solve_utility(mu, risk_aversion, factor, limits, held, costs)
    trades = weights - held
    quiet = np.abs(trades) < _NO_TRADE
    weights[quiet], trades[quiet] = held[quiet], 0.0
    gain, variance = float(mu @ weights), float(((weights @ factor) ** 2).sum())
    cost = float(costs @ np.abs(trades))
    return MeanVariance(
        weights=weights,
        trades=trades,
        expected_return=gain,
        variance=variance,
        cost=cost,
        utility=gain - 0.5 * risk_aversion * variance - cost,
        gross_price=gross_price,
        net_price=net_price,
    )


def _solve_utility(
    mu: FloatArray,
    risk_aversion: float,
    factor: FloatArray,
    limits: WeightLimits,
    held: FloatArray,
    costs: FloatArray,
) -> tuple[FloatArray, float, float]:
    import cvxpy as cp

    low, high = limits.box(len(mu))
    # The solver's tolerances mean something where the numbers are about 1; hourly returns are not.
    unit = max(np.abs(mu).max(), risk_aversion * (factor**2).sum(axis=1).max(), costs.max())
    w = cp.Variable(len(mu))
    risk = cp.sum_squares((factor * math.sqrt(risk_aversion / unit)).T @ w)
    utility = (mu / unit) @ w - 0.5 * risk - (costs / unit) @ cp.abs(w - held)
    boxes = [w >= low, w <= high]
    nets = [cp.sum(w) >= limits.net[0], cp.sum(w) <= limits.net[1]]
    gross = [cp.norm1(w) <= limits.gross_max] if limits.gross_max < math.inf else []
    problem = cp.Problem(cp.Maximize(utility), [*boxes, *nets, *gross])
    tolerances = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), _SOLVER_TOLERANCE)
    problem.solve(solver=cp.CLARABEL, **tolerances)
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise ValueError(f"limits must leave a portfolio, were {limits} ({problem.status})")
    prices: list[Any] = [c.dual_value for c in (*nets, *gross)]
    return (
        np.array(w.value, dtype=np.float64),
        float(prices[2]) * unit if gross else 0.0,
        float(prices[1] - prices[0]) * unit,
    )
