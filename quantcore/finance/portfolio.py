"""Portfolio Optimizer: weights from risk alone, from scenarios of loss, or from expected returns and costs.

Weights are signed notionals over equity; covariances and means are per period, in fractions. Nothing here knows lots:
`quantcore.finance.allocation` turns weights into what an account can hold. Inputs must be finite (the estimates of
`quantcore.finance.covariance` are, however short a symbol's history); NaN is refused, never dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy
from scipy.optimize import linprog
from scipy.spatial.distance import pdist, squareform

from quantcore.finance.covariance import correlation, volatilities
from quantcore.types import FloatArray, IntArray

_NEWTON_STEPS = 200
_EXACT = 1e-11  # error of a risk share that is aimed at
_BUDGET_ERROR = 5e-9  # and that is accepted where rounding allows no better
_NO_RISK = 1e-15
_ROUNDING = 1e-10  # an eigenvalue of a correlation matrix within it is zero
_SOLVER_TOLERANCE = 1e-11
_NO_TRADE = 1e-7  # a smaller change of weight is the solver's error


@dataclass(frozen=True, kw_only=True)
class WeightLimits:
    """What a portfolio may hold.

    Parameters
    ----------
    lower, upper : float or array-like, shape (n_symbols,)
        Box of each weight, finite.
    net : tuple of float
        Lowest and highest sum of the weights.
    gross_max : float
        Largest sum of the absolute weights, > 0; may be infinite.

    Raises
    ------
    ValueError
        If bounds cross, or no weights can satisfy them.
    """

    lower: npt.ArrayLike
    upper: npt.ArrayLike
    net: tuple[float, float]
    gross_max: float

    def __post_init__(self) -> None:
        low, high = np.asarray(self.lower, np.float64), np.asarray(self.upper, np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise ValueError(
                f"lower must be finite and <= upper, were {low.tolist()} and {high.tolist()}"
            )
        if not self.net[0] <= self.net[1]:
            raise ValueError(f"net must be (lowest, highest), was {self.net}")
        if not self.gross_max > 0.0:
            raise ValueError(f"gross_max must be > 0, was {self.gross_max}")

    def box(self, n_symbols: int) -> tuple[FloatArray, FloatArray]:
        """Return the bounds of each weight, checked against the number of symbols and each other."""
        low, high = (
            np.broadcast_to(np.asarray(b, np.float64), (n_symbols,))
            for b in (self.lower, self.upper)
        )
        least_gross = np.maximum(np.maximum(low, -high), 0.0).sum()
        if low.sum() > self.net[1] or high.sum() < self.net[0] or least_gross > self.gross_max:
            raise ValueError(
                f"limits must leave a portfolio: {n_symbols} weights of sums {low.sum():g} to {high.sum():g} and gross "
                f"{least_gross:g} or more cannot have net {self.net} and gross {self.gross_max:g}"
            )
        return low, high


LONG_ONLY = WeightLimits(lower=0.0, upper=1.0, net=(1.0, 1.0), gross_max=1.0)
"""Fully invested without short positions."""


def inverse_volatility(volatility: npt.ArrayLike) -> FloatArray:
    r"""Return long-only weights of equal volatility.

    .. math:: w_i = \frac{1/\sigma_i}{\sum_j 1/\sigma_j}

    Parameters
    ----------
    volatility : array-like, shape (n_symbols,)
        Per period, finite and > 0.

    Returns
    -------
    float64 array, shape (n_symbols,)
        Sums to 1. They are the equal risk contributions where all correlations are equal.

    Raises
    ------
    ValueError
        If there is no symbol, or a volatility is not finite and > 0.

    Examples
    --------
    >>> inverse_volatility([0.1, 0.3]).round(6).tolist()
    [0.75, 0.25]
    """
    sigma = np.asarray(volatility, dtype=np.float64)
    if sigma.ndim != 1 or not len(sigma):
        raise ValueError(f"volatility must have one entry per symbol, had shape {sigma.shape}")
    _require((sigma > 0.0) & np.isfinite(sigma), "volatility must be finite and > 0", sigma)
    return np.asarray((1.0 / sigma) / (1.0 / sigma).sum())


@dataclass(frozen=True, kw_only=True)
class RiskBudget:
    r"""Weights with given shares of the portfolio's volatility.

    Parameters
    ----------
    weights : float64 array
        Absolute weights sum to 1.
    risk_contributions : float64 array
        :math:`w_i (\Sigma w)_i / \sigma_p`; they sum to `volatility`.
    risk_shares : float64 array
        The same over the volatility; equal to the budgets.
    volatility : float
        Per period.
    steps : int
        Newton steps taken.
    """

    weights: FloatArray
    risk_contributions: FloatArray
    risk_shares: FloatArray
    volatility: float
    steps: int


def risk_budgeting(
    covariance: npt.ArrayLike,
    *,
    budgets: npt.ArrayLike | None = None,
    signs: npt.ArrayLike | None = None,
) -> RiskBudget:
    r"""Return weights whose contributions to volatility have given shares (equal ones: ERC).

    .. math:: \min_{y > 0} \tfrac12 y^\top \Sigma y - \sum_i b_i \log y_i, \qquad w = y / \sum_j y_j

    by Newton's method with line search, in units of each symbol's volatility. With `signs` the covariance is mirrored
    (:math:`s_i s_j \Sigma_{ij}`) and the weights get those signs: the forecasts' directions stand, their sizes do not
    matter.

    Parameters
    ----------
    covariance : array-like, shape (n_symbols, n_symbols)
        Positive semidefinite, variances > 0.
    budgets : array-like, shape (n_symbols,), optional
        Shares > 0 of risk, scaled to sum 1; equal if not given.
    signs : array-like, shape (n_symbols,), optional
        Of which the sign counts; a symbol with 0 gets weight 0, and its budget goes to the others in proportion. All
        long if not given.

    Returns
    -------
    RiskBudget
        Shares equal to the budgets within 1e-8, mostly 1e-11.

    Raises
    ------
    ValueError
        If the covariance is no covariance, a budget is not > 0, no sign is left, or a portfolio with these signs has
        no risk at all (then no budget can be met).

    References
    ----------
    Maillard, Roncalli and Teïletche, "The Properties of Equally Weighted Risk Contribution Portfolios", *Journal of
    Portfolio Management* 36(4), 2010; Spinu, "An Algorithm for Computing Risk Parity Weights", 2013, for the convex
    form. Deviation: backtracking instead of Spinu's damping constants.

    Examples
    --------
    >>> risk_budgeting([[0.36, 0.378], [0.378, 0.81]]).weights.round(6).tolist()
    [0.6, 0.4]
    """
    sigma, corr = _parts(covariance, singular=True)
    n = len(sigma)
    budget = np.ones(n) if budgets is None else _vector("budgets", budgets, n)
    _require(budget > 0.0, "budgets must be > 0", budget)
    side = np.ones(n) if signs is None else np.sign(_vector("signs", signs, n))
    held = side != 0.0
    if not held.any():
        raise ValueError("signs must have one that is not 0, had none")
    mirrored = (corr * np.outer(side, side))[np.ix_(held, held)]
    scaled, steps = _budget_newton(mirrored, budget[held] / budget[held].sum())
    weights, shares = np.zeros(n), np.zeros(n)
    weights[held] = scaled / sigma[held]
    gross = weights.sum()
    risk = scaled * (mirrored @ scaled)
    shares[held] = risk / risk.sum()
    volatility = math.sqrt(risk.sum()) / float(gross)
    return RiskBudget(
        weights=weights * side / gross,
        risk_contributions=shares * volatility,
        risk_shares=shares,
        volatility=volatility,
        steps=steps,
    )


def _budget_newton(corr: FloatArray, budget: FloatArray) -> tuple[FloatArray, int]:
    """Return y > 0 with y * (corr @ y) proportional to the budgets, and the steps it took."""
    y = np.sqrt(budget)
    y /= math.sqrt(max(float(y @ corr @ y), 1e-4))
    best, least = y, math.inf
    for step in range(_NEWTON_STEPS):
        risk = y * (corr @ y)
        if not risk.sum() > _NO_RISK * float(y @ y):
            break
        error = float(np.abs(risk / risk.sum() - budget).max())
        # A portfolio of little risk meets its budgets no closer than rounding of the risks that cancel.
        stuck = least < _BUDGET_ERROR and error > 0.5 * least
        if error < least:
            best, least = y, error
        if least < _EXACT or stuck:
            return best, step
        y = _budget_step(corr, budget, y)
    raise ValueError(
        "covariance must leave every portfolio of these signs some risk, found one whose volatility is "
        f"{math.sqrt(max(float(y @ corr @ y), 0.0)) / y.sum():.3g} of that of its parts"
    )


def _budget_step(corr: FloatArray, budget: FloatArray, y: FloatArray) -> FloatArray:
    """Return the point of one Newton step, shortened to stay positive and to gain."""

    def value(at: FloatArray) -> float:
        return float(0.5 * at @ corr @ at - budget @ np.log(at))

    gradient = corr @ y - budget / y
    move = np.linalg.solve(corr + np.diag(budget / y**2), -gradient)
    size = min(1.0, 0.95 / max(float((-move / y).max()), 1e-300))
    start, slope = value(y), float(gradient @ move)
    # Near the optimum the gain is below the rounding error of the objective: then the full step is right.
    while slope < -1e-14 and value(y + size * move) > start + 1e-4 * size * slope and size > 1e-8:
        size *= 0.5
    return np.asarray(y + size * move)


@dataclass(frozen=True, kw_only=True)
class HierarchicalRiskParity:
    """Weights from a tree of the symbols.

    Parameters
    ----------
    weights : float64 array
        Positive, sum to 1.
    order : int64 array
        Columns in quasi-diagonal order: similar symbols stand side by side.
    links : float64 array, shape (n_symbols - 1, 4)
        The tree in scipy's form: joined clusters, their distance, symbols; leaves numbered by column.
    """

    weights: FloatArray
    order: IntArray
    links: FloatArray = field(repr=False)


Linkage = Literal["single", "average", "complete", "ward"]


def hierarchical_risk_parity(
    covariance: npt.ArrayLike,
    *,
    linkage: Linkage = "single",
    distances_of_distances: bool = False,
    leaf_order: Literal["canonical", "given", "optimal"] = "canonical",
) -> HierarchicalRiskParity:
    r"""Return hierarchical risk parity weights.

    Symbols are joined by the distance :math:`d_{ij} = \sqrt{(1 - \rho_{ij}) / 2}` and put in the order of the tree's
    leaves. That order is halved again and again (by count); of two halves with inverse-variance portfolios of variance
    :math:`V_1, V_2` the first gets the share :math:`1 - V_1 / (V_1 + V_2)`.

    Parameters
    ----------
    covariance : array-like, shape (n_symbols, n_symbols)
        Variances > 0; need not be invertible.
    linkage : {"single", "average", "complete", "ward"}
        How the distance of clusters follows from that of their members.
    distances_of_distances : bool
        Whether the tree is built on the Euclidean distance between the columns of d (the article's second step)
        rather than on d (as libraries do).
    leaf_order : {"canonical", "given", "optimal"}
        Halving by count depends on which of two joined symbols stands first, joining on which of two equal distances
        comes first. "given": the lower column, as in the article's program; a permutation of the symbols may then
        change weights. "canonical": the symbol of lower variance, then of lower sorted correlations, so that weights
        follow any permutation; only symbols alike in all of these keep the order given. "optimal": the same, and
        branches are turned so that neighbours are near each other (scipy's optimal ordering, as skfolio has it).

    Returns
    -------
    HierarchicalRiskParity

    Raises
    ------
    ValueError
        If the covariance is no covariance.

    References
    ----------
    López de Prado, "Building Diversified Portfolios that Outperform Out of Sample", *Journal of Portfolio Management*
    42(4), 2016. Deviations: as the two last arguments say.
    """
    sigma, corr = _parts(covariance, singular=True)
    n = len(sigma)
    for name, value, words in (
        ("linkage", linkage, get_args(Linkage)),
        ("leaf_order", leaf_order, ("canonical", "given", "optimal")),
    ):
        if value not in words:
            raise ValueError(f"{name} must be one of {', '.join(words)}, was {value!r}")
    first = np.arange(n)
    if leaf_order != "given":
        first = np.lexsort([*np.sort(corr, axis=1).T[::-1], sigma])
    distance = np.sqrt(np.clip(0.5 * (1.0 - corr[np.ix_(first, first)]), 0.0, 1.0))
    links = np.empty((0, 4))
    order = first
    if n > 1:
        condensed = (
            pdist(distance) if distances_of_distances else squareform(distance, checks=False)
        )
        links = hierarchy.linkage(
            condensed, method=linkage, optimal_ordering=leaf_order == "optimal"
        )
        order = first[hierarchy.leaves_list(links)]
        joined = links[:, :2].astype(np.int64)
        links[:, :2] = np.where(joined < n, first[np.minimum(joined, n - 1)], joined)
    weights = _bisected(corr * np.outer(sigma, sigma), order)
    return HierarchicalRiskParity(weights=weights, order=order.astype(np.int64), links=links)


def _bisected(covariance: FloatArray, order: IntArray) -> FloatArray:
    """Halve an order until single symbols are left, sharing out weight by the halves' variances."""

    def variance(symbols: IntArray) -> float:
        inside = covariance[np.ix_(symbols, symbols)]
        weights = 1.0 / np.diagonal(inside)
        return float(weights @ inside @ weights / weights.sum() ** 2)

    weights = np.ones(len(order))
    parts = [order]
    while parts:
        part = parts.pop()
        if len(part) > 1:
            halves = part[: len(part) // 2], part[len(part) // 2 :]
            one, other = variance(halves[0]), variance(halves[1])
            share = other / (one + other) if one + other > 0.0 else 0.5
            weights[halves[0]] *= share
            weights[halves[1]] *= 1.0 - share
            parts += halves
    return weights


@dataclass(frozen=True, kw_only=True)
class MinimumCvar:
    r"""The portfolio of least expected shortfall.

    Parameters
    ----------
    weights : float64 array
        Within the limits.
    cvar, value_at_risk : float
        Mean loss in the worst share of the scenarios, and the loss from which on they count; > 0 is a loss.
    risk_contributions : float64 array
        :math:`-w_i \sum_s q_s r_{si}`; they sum to `cvar`.
    scenario_weights : float64 array, shape (n_scenarios,)
        The duals q: how much each scenario counts in the tail, >= 0, at most 1 / (tail probability * n), sum 1.
    """

    weights: FloatArray
    cvar: float
    value_at_risk: float
    risk_contributions: FloatArray
    scenario_weights: FloatArray = field(repr=False)


def minimum_cvar(
    returns: npt.ArrayLike,
    *,
    tail_probability: float,
    limits: WeightLimits,
    mean_min: float = -math.inf,
) -> MinimumCvar:
    r"""Return the portfolio whose mean loss in the worst scenarios is least.

    .. math:: \min_{w, a, u \ge 0} a + \frac{1}{\tau n} \sum_s u_s \quad\text{s.t.}\quad u_s \ge -r_s^\top w - a

    a linear programme, solved through its dual by HiGHS.

    Parameters
    ----------
    returns : array-like, shape (n_scenarios, n_symbols)
        Equally likely returns per period, finite, more rows than columns.
    tail_probability : float
        :math:`\tau`, in (0, 1): 0.05 for the 95 % expected shortfall.
    limits : WeightLimits
        `LONG_ONLY`, or box, net and gross limits. Limits that allow holding nothing give just that, unless...
    mean_min : float, optional
        ...the mean return per period over the scenarios must be at least this.

    Returns
    -------
    MinimumCvar
        One vertex where several portfolios are equally good.

    Raises
    ------
    ValueError
        If returns are not finite, too few, constant in a column; a probability is out of range; or no portfolio
        meets limits and mean.

    References
    ----------
    Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk", *Journal of Risk* 2(3), 2000.
    """
    scenarios = np.asarray(returns, dtype=np.float64)
    if scenarios.ndim != 2 or not 0 < scenarios.shape[1] < scenarios.shape[0]:
        raise ValueError(
            f"returns must have more rows than columns, and those, had shape {scenarios.shape}"
        )
    _require(np.isfinite(scenarios), "returns must be finite", scenarios)
    _require(np.ptp(scenarios, axis=0) > 0.0, "returns must vary in each column", scenarios[0])
    if not 0.0 < tail_probability < 1.0:
        raise ValueError(f"tail_probability must be in (0, 1), was {tail_probability}")
    n = scenarios.shape[1]
    low, high = limits.box(n)
    # Long and short parts are variables of their own, so that gross is linear in them.
    least = np.r_[np.maximum(low, 0.0), np.maximum(-high, 0.0)]
    most = np.r_[np.maximum(high, 0.0), np.maximum(-low, 0.0)]
    part = np.flatnonzero(most > 0.0)
    column, side = part % n, np.where(part < n, 1.0, -1.0)
    gains = scenarios[:, column] * side
    rows = np.array([side, -side, np.abs(side), -gains.mean(axis=0)])
    caps = np.array([limits.net[1], -limits.net[0], limits.gross_max, -mean_min])
    binding = np.isfinite(caps)
    held, counts, cvar, value_at_risk = _tail_dual(
        gains, tail_probability, rows[binding], caps[binding], (least[part], most[part])
    )
    weights = np.zeros(n)
    np.add.at(weights, column, held * side)
    return MinimumCvar(
        weights=weights,
        cvar=cvar,
        value_at_risk=value_at_risk,
        risk_contributions=-weights * (counts @ scenarios),
        scenario_weights=counts,
    )


def _tail_dual(
    gains: FloatArray,
    tail_probability: float,
    rows: FloatArray,
    caps: FloatArray,
    box: tuple[FloatArray, FloatArray],
) -> tuple[FloatArray, FloatArray, float, float]:
    r"""Return holdings, scenario weights, CVaR and VaR from the dual programme.

    .. math::

        \max_{q, y, s \ge 0} -c^\top y + l^\top g - (h - l)^\top s \quad\text{s.t.}\quad
        g = A^\top y - R^\top q, \; s \ge -g, \; q \le \tfrac{1}{\tau n}, \; \mathbf 1^\top q = 1

    Its basis has a row per symbol instead of one per scenario, which is several times faster; the holdings are the
    multipliers of the rows :math:`s \ge -g`.
    """
    n, symbols = gains.shape
    low, high = box
    found = linprog(
        np.r_[gains @ low, caps - rows @ low, high - low],
        A_ub=np.hstack([gains.T, -rows.T, -np.eye(symbols)]),
        b_ub=np.zeros(symbols),
        A_eq=np.r_[np.ones(n), np.zeros(len(caps) + symbols)][None, :],
        b_eq=[1.0],
        bounds=[(0.0, 1.0 / (tail_probability * n))] * n + [(0.0, None)] * (len(caps) + symbols),
        method="highs",
    )
    if found.status != 0:
        found_none = "left none" if found.status in (2, 3) else found.message
        raise ValueError(f"limits and mean_min must leave a portfolio, {found_none}")
    counts = np.clip(found.x[:n], 0.0, None)
    held = low - found.ineqlin.marginals
    return held, counts, -float(found.fun), -float(found.eqlin.marginals[0])


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
    sigma, corr = _parts(covariance, singular=False)
    n = len(sigma)
    mu = _vector("means", means, n)
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
    sigma, corr = _parts(covariance, singular=True)
    n = len(sigma)
    mu = _vector("expected_returns", expected_returns, n)
    held = np.zeros(n) if previous is None else _vector("previous", previous, n)
    costs = _vector("linear_costs", np.broadcast_to(np.asarray(linear_costs, np.float64), (n,)), n)
    _require(costs >= 0.0, "linear_costs must be >= 0", costs)
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


def _parts(covariance: npt.ArrayLike, *, singular: bool) -> tuple[FloatArray, FloatArray]:
    """Return volatilities and correlations; `singular` says whether the least eigenvalue may be 0."""
    corr = correlation(covariance)
    least = float(np.linalg.eigvalsh(corr)[0])
    if least < (-_ROUNDING if singular else _ROUNDING):
        word = "semidefinite" if singular else "definite"
        raise ValueError(
            f"covariance must be positive {word}, its correlations' least eigenvalue was {least:.3g}"
        )
    return volatilities(covariance), corr


def _vector(name: str, values: npt.ArrayLike, n: int) -> FloatArray:
    vector = np.array(values, dtype=np.float64)
    if vector.shape != (n,):
        raise ValueError(
            f"{name} must have the {n} entries of covariance, had shape {vector.shape}"
        )
    _require(np.isfinite(vector), f"{name} must be finite", vector)
    return vector


def _require(good: npt.ArrayLike, rule: str, values: FloatArray) -> None:
    """Refuse values that break a rule, naming the first and where it is."""
    kept = np.asarray(good, dtype=np.bool_)
    if not kept.all():
        at = tuple(int(k) for k in np.argwhere(~kept)[0])
        raise ValueError(f"{rule}, was {values[at]} at {', '.join(map(str, at))}")
