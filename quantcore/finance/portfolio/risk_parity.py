"""Weights from risk alone: inverse volatility, risk budgets (equal risk contributions) and hierarchical risk parity."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from quantcore.finance.portfolio.checks import parts, require, vector
from quantcore.types import FloatArray, IntArray

_NEWTON_STEPS = 200
_EXACT = 1e-11  # error of a risk share that is aimed at
_BUDGET_ERROR = 5e-9  # and that is accepted where rounding allows no better
_NO_RISK = 1e-15


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
    require((sigma > 0.0) & np.isfinite(sigma), "volatility must be finite and > 0", sigma)
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
    sigma, corr = parts(covariance, singular=True)
    n = len(sigma)
    budget = np.ones(n) if budgets is None else vector("budgets", budgets, n)
    require(budget > 0.0, "budgets must be > 0", budget)
    side = np.ones(n) if signs is None else np.sign(vector("signs", signs, n))
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
    sigma, corr = parts(covariance, singular=True)
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
