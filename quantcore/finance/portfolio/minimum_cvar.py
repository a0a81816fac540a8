"""Weights of least expected shortfall over scenarios of returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from quantcore.finance.portfolio.checks import require
from quantcore.finance.portfolio.limits import WeightLimits
from quantcore.types import FloatArray


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
    require(np.isfinite(scenarios), "returns must be finite", scenarios)
    require(np.ptp(scenarios, axis=0) > 0.0, "returns must vary in each column", scenarios[0])
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
