"""Value at risk and expected shortfall of a portfolio, split into what each position contributes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.finance.risk_metrics import (
    ROUNDING,
    historical_tail_loss,
    normal_factors,
)
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Contributions:
    r"""What each position adds to a portfolio's value at risk, or to its expected shortfall.

    Parameters
    ----------
    total : float
        :math:`\rho(w)`, as a fraction of equity, > 0 for losses.
    marginal : float64 array, shape (n_symbols,)
        :math:`\partial \rho / \partial w_i`: by how much a little more of the symbol raises the total, per weight.
    component : float64 array, shape (n_symbols,)
        :math:`w_i\, \partial \rho / \partial w_i`; they add up to the total (Euler), hedges are negative.
    incremental : float64 array, shape (n_symbols,)
        :math:`\rho(w) - \rho(w \text{ without } i)`: what closing the position would save. They do not add up.

    References
    ----------
    Garman, "Improving on VaR", *Risk* 9(5), 1996; Tasche, "Risk contributions and performance measurement", 1999.
    """

    total: float
    marginal: FloatArray
    component: FloatArray
    incremental: FloatArray


def normal_contributions(
    weights: npt.ArrayLike,
    covariance: npt.ArrayLike,
    *,
    tail_probability: float,
    mean: npt.ArrayLike | None = None,
) -> tuple[Contributions, Contributions]:
    r"""Return the contributions to value at risk and expected shortfall of normal returns.

    .. math::

        \rho(w) = -w'\mu + c\, \sqrt{w'\Sigma w}, \qquad
        \frac{\partial\rho}{\partial w_i} = -\mu_i + c\, \frac{(\Sigma w)_i}{\sqrt{w'\Sigma w}}

    with :math:`c = z_{1-p}` for value at risk and :math:`\varphi(z_{1-p})/p` for expected shortfall.

    Parameters
    ----------
    weights : array-like, shape (n_symbols,)
        Signed notional over equity.
    covariance : array-like, shape (n_symbols, n_symbols)
        Of the returns; positive semidefinite. It may be singular, as long as the portfolio has a variance.
    tail_probability : float
        p, in (0, 1).
    mean : array-like, shape (n_symbols,), optional
        Of the returns; by default 0.

    Returns
    -------
    tuple of Contributions
        To value at risk, to expected shortfall.

    Raises
    ------
    ValueError
        If shapes do not fit, an entry is not finite, the covariance is not symmetric and positive semidefinite, or the
        portfolio's variance is zero.
    """
    held = _finite(weights, "weights", ndim=1)
    sigma = _checked_covariance(covariance, len(held))
    drift = np.zeros(len(held)) if mean is None else _finite(mean, "mean", ndim=1)
    if drift.shape != held.shape:
        raise ValueError(f"mean must have the shape of weights {held.shape}, was {drift.shape}")
    with_portfolio = sigma @ held
    variance = float(held @ with_portfolio)
    if not variance > ROUNDING * float(np.abs(held) @ np.sqrt(np.diag(sigma))) ** 2:
        raise ValueError(f"weights must have a portfolio variance > 0, was {variance}")
    # The variance without position i, from that of the whole.
    rest = variance - 2.0 * held * with_portfolio + held**2 * np.diag(sigma)
    deviation, without = math.sqrt(variance), np.sqrt(np.maximum(rest, 0.0))
    return_, each = float(held @ drift), held * drift

    def of(factor: float) -> Contributions:
        total = factor * deviation - return_
        marginal = factor * with_portfolio / deviation - drift
        return Contributions(
            total=total,
            marginal=marginal,
            component=held * marginal,
            incremental=total - (factor * without - return_ + each),
        )

    at_risk, shortfall = normal_factors(tail_probability)
    return of(at_risk), of(shortfall)


def historical_contributions(
    weights: npt.ArrayLike, returns: npt.ArrayLike, *, tail_probability: float
) -> tuple[Contributions, Contributions]:
    r"""Return the contributions to value at risk and expected shortfall over historical or simulated scenarios.

    .. math::

        \frac{\partial \mathrm{VaR}}{\partial w_i} = -E[r_i \mid L = \mathrm{VaR}], \qquad
        \frac{\partial \mathrm{ES}}{\partial w_i} = -E[r_i \mid \text{worst } p]

    The first rests on the scenario at the order statistic alone (on the mean of those that tie): it adds up exactly,
    but is as noisy as one row. The second averages the tail, with the boundary scenarios at the weight that the
    fractional atom of `historical_tail_loss` leaves them, and is the one to act on.

    Parameters
    ----------
    weights : array-like, shape (n_symbols,)
        Signed notional over equity.
    returns : array-like, shape (n_rows, n_symbols)
        Fractions; a row with a NaN is dropped, so a symbol with a short history shortens it for all.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    tuple of Contributions
        To value at risk, to expected shortfall.

    Raises
    ------
    ValueError
        If shapes do not fit, an entry is infinite or no row is complete.

    References
    ----------
    Tasche (1999), as in `Contributions`; Hallerbach, "Decomposing portfolio value-at-risk: a general analysis",
    *Journal of Risk* 5(2), 2003.
    """
    held = _finite(weights, "weights", ndim=1)
    scenarios = np.asarray(returns, dtype=np.float64)
    if scenarios.ndim != 2 or scenarios.shape[1] != len(held):
        raise ValueError(f"returns must have {len(held)} columns, had shape {scenarios.shape}")
    scenarios = _finite(scenarios[~np.isnan(scenarios).any(axis=1)], "returns", ndim=2)
    if not len(scenarios):
        raise ValueError("returns must have a row without NaN, had none")
    each = -scenarios * held
    losses = each.sum(axis=1)
    totals = historical_tail_loss(-losses, tail_probability=tail_probability)
    rest = [historical_tail_loss(-(losses - x), tail_probability=tail_probability) for x in each.T]
    at, beyond = losses == totals[0], losses > totals[0]
    mass = len(losses) * tail_probability
    boundary = at * ((mass - beyond.sum()) / at.sum())

    def of(measure: int, likelihood: FloatArray) -> Contributions:
        return Contributions(
            total=totals[measure],
            marginal=-(likelihood @ scenarios),
            component=likelihood @ each,
            incremental=totals[measure] - np.array([pair[measure] for pair in rest]),
        )

    return of(0, at / at.sum()), of(1, (beyond + boundary) / mass)


def _finite(values: npt.ArrayLike, name: str, *, ndim: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), had shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, held {array[~np.isfinite(array)][0]}")
    return array


def _checked_covariance(covariance: npt.ArrayLike, n: int) -> FloatArray:
    sigma = _finite(covariance, "covariance", ndim=2)
    if sigma.shape != (n, n):
        raise ValueError(f"covariance must have shape {(n, n)}, had {sigma.shape}")
    if not np.allclose(sigma, sigma.T, rtol=1e-9, atol=1e-12 * float(np.abs(sigma).max())):
        raise ValueError("covariance must be symmetric, was not")
    smallest, largest = np.linalg.eigvalsh(sigma)[[0, -1]]
    if smallest < -1e-10 * abs(largest):
        raise ValueError(f"covariance must be positive semidefinite, had the eigenvalue {smallest}")
    return sigma
