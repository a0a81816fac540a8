"""Target weights in whole lots: what an account of some hundred USDT can really hold, and what it gives up.

An exchange takes whole multiples of a step above a minimum notional. With 230 USDT one step may be a quarter of the
account, so that rounding is a decision of its own: `allocate` finds the holding that tracks the targets best and proves
it where it can, `allocate_greedily` is the fast rule of the account step. Both keep the signs of the targets and every
cap, and report per symbol what was cut and why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

import numpy as np
import numpy.typing as npt

from quantcore.finance.covariance import correlation, volatilities
from quantcore.kernels import layout as at
from quantcore.kernels.allocation import (
    Cut,
    Grid,
    branch_and_bound,
    explain_cuts,
    greedy_lots,
    improve_lots,
    lot_grid,
)
from quantcore.types import FloatArray, IntArray

__all__ = ["Allocation", "AllocationCaps", "Cut", "allocate", "allocate_greedily", "lot_rules"]

_UNLIMITED = 1e9  # a cap that never binds; infinity times a price of zero would be no number
_NO_MAXIMUM = 2**53
_SINGULAR = 1e-10  # least eigenvalue of a correlation matrix that counts as positive
_LEAST_ERROR = 1e-12  # what it may be wrong by


@dataclass(frozen=True, kw_only=True)
class AllocationCaps:
    """What the account allows.

    Parameters
    ----------
    equity : float
        USDT, > 0.
    gross_max : float
        Largest sum of absolute notionals over equity, > 0; may be infinite.
    margin_share : float
        Largest sum of initial margins (notional over leverage) as a share of equity, > 0; may be infinite.
    nodes_max : int
        Nodes of the search tree after which `allocate` stops without a proof, >= 1. The default takes about
        10 ms with 25 symbols.

    Raises
    ------
    ValueError
        If one of them is not positive, or `equity` not finite.
    """

    equity: float
    gross_max: float
    margin_share: float
    nodes_max: int = 5_000

    def __post_init__(self) -> None:
        if not 0.0 < self.equity < math.inf:
            raise ValueError(f"equity must be > 0 and finite, was {self.equity}")
        for name in ("gross_max", "margin_share"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if self.nodes_max < 1:
            raise ValueError(f"nodes_max must be >= 1, was {self.nodes_max}")


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """A holding in whole lots, and what was given up for it; arrays have one entry per symbol.

    Parameters
    ----------
    lots : int64 array
        Signed whole steps.
    qty, notional : float64 array
        Signed coins (the float of the decimal text) and USDT.
    target_weights, weights : float64 array
        Signed notional over equity, wanted and held.
    cuts : tuple of Cut
        The rule that kept a symbol below its target by more than rounding.
    objective, bound : float
        Sum of squared deviations of the weights, or the variance per period of the deviation; and a proven lower
        bound of it for any holding that keeps the same rules.
    proven : bool
        Whether no holding is better by more than 1e-9 of the objective.
    margin : float
        Initial margin over equity.
    nodes : int
        Nodes of the search tree.
    """

    lots: IntArray
    qty: FloatArray = field(repr=False)
    notional: FloatArray
    target_weights: FloatArray
    weights: FloatArray
    cuts: tuple[Cut, ...]
    objective: float
    bound: float
    proven: bool
    margin: float
    nodes: int

    @property
    def tracking_error(self) -> float:
        """Root of the objective: norm of the weights' deviation, or its volatility per period."""
        return math.sqrt(self.objective)

    @property
    def gap(self) -> float:
        """By how much of the objective a better holding could still beat it; 0 if `proven`."""
        return 0.0 if self.proven else 1.0 - self.bound / self.objective

    @property
    def gross(self) -> float:
        """Sum of absolute weights held."""
        return float(np.abs(self.weights).sum())

    @property
    def gross_wanted(self) -> float:
        """Sum of absolute target weights."""
        return float(np.abs(self.target_weights).sum())

    @property
    def dropped(self) -> dict[int, Cut]:
        """Columns that have a target and hold nothing, with the rule that says why."""
        held = zip(self.target_weights, self.lots, self.cuts, strict=True)
        return {s: cut for s, (weight, lots, cut) in enumerate(held) if weight and not lots}


def lot_rules(
    step_sizes: Sequence[str | float],
    *,
    min_notionals: npt.ArrayLike,
    leverages: npt.ArrayLike,
    max_qtys: npt.ArrayLike = math.inf,
) -> at.Rules:
    """Return the exchange's rules of some symbols as arrays; an account's own `Rules` serve as well.

    Parameters
    ----------
    step_sizes : sequence of str or float
        Coins, as decimal text (``"0.001"``) or as a float that prints as such.
    min_notionals : array-like
        USDT, >= 0; one for all symbols or one each, as the two below.
    leverages : array-like
        Initial leverage, > 0.
    max_qtys : array-like, optional
        The market's largest quantity in coins, >= 0; unlimited if not given.

    Raises
    ------
    ValueError
        If a step is not a positive decimal, or a number is out of its range.

    Examples
    --------
    >>> lot_rules(["0.001", "1"], min_notionals=5.0, leverages=3.0).size[:, :2].tolist()
    [[1, 1000], [1, 1]]
    """
    n = len(step_sizes)
    rate, size = np.zeros((n, at.N_RATE)), np.zeros((n, at.N_SIZE), dtype=np.int64)
    rate[:, at.MIN_NOTIONAL] = min_notionals
    rate[:, at.LEVERAGE] = leverages
    rate[:, at.NOTIONAL_MAX] = math.inf
    largest = np.broadcast_to(np.asarray(max_qtys, dtype=np.float64), (n,))
    _refuse(~(rate[:, at.MIN_NOTIONAL] >= 0.0), "min_notionals must be >= 0", min_notionals)
    _refuse(~(rate[:, at.LEVERAGE] > 0.0), "leverages must be > 0", leverages)
    _refuse(~(largest >= 0.0), "max_qtys must be >= 0", max_qtys)
    for s, text in enumerate(step_sizes):
        numerator, denominator = _fraction(text)
        size[s, at.STEP_NUMERATOR], size[s, at.STEP_DENOMINATOR] = numerator, denominator
        lots = min(largest[s] * denominator / numerator, _NO_MAXIMUM)
        size[s, at.MARKET_MAX_LOTS] = math.floor(lots * (1.0 + 1e-12))
    size[:, at.MIN_LOTS] = 1
    return at.Rules(rate, size, np.zeros((n, 0, at.N_BRACKET)))


def _fraction(step: str | float) -> tuple[int, int]:
    try:
        value = Decimal(str(step))
    except InvalidOperation as error:
        raise ValueError(f"step_sizes must be decimal numbers, was {step!r}") from error
    exponent = value.as_tuple().exponent
    if not value.is_finite() or value <= 0 or not isinstance(exponent, int):
        raise ValueError(f"step_sizes must be > 0, was {step}")
    denominator = 10 ** max(0, -value.normalize().as_tuple().exponent)  # type: ignore[operator]
    return int(value * denominator), denominator


def _refuse(wrong: npt.NDArray[np.bool_], rule: str, value: object) -> None:
    if wrong.any():
        worst = np.broadcast_to(np.asarray(value), wrong.shape)[wrong][0]
        raise ValueError(f"{rule}, was {worst} at {int(np.argmax(wrong))}")


def allocate(
    weights: npt.ArrayLike,
    prices: npt.ArrayLike,
    rules: at.Rules,
    *,
    caps: AllocationCaps,
    may_exceed_target: bool,
    covariance: npt.ArrayLike | None = None,
) -> Allocation:
    r"""Return the whole lots that track target weights best.

    .. math::

        \min_q \sum_i \Bigl(w_i - \frac{q_i p_i}{E}\Bigr)^2 \quad\text{or}\quad
        \min_q \Bigl(w - \frac{q p}{E}\Bigr)^\top \Sigma \Bigl(w - \frac{q p}{E}\Bigr)

    over :math:`q_i = 0` or whole steps on the side of :math:`w_i`, at least the minimum notional, at most the market's
    maximum, with :math:`\sum |q_i| p_i \le G E` and :math:`\sum |q_i| p_i / L_i \le M E`. A greedy holding is improved
    by exchanges of pairs, then by branch and bound until it is proven or `caps.nodes_max` is reached. Without a
    covariance small sets are always proven, and 25 symbols mostly; with one, sets of up to about ten.

    Parameters
    ----------
    weights : array-like, shape (n_symbols,)
        Signed notional over equity, finite.
    prices : array-like, shape (n_symbols,)
        USDT per coin; a symbol whose price is NaN or 0 holds nothing.
    rules : Rules
        From `lot_rules`, or an account's.
    caps : AllocationCaps
        Equity, gross cap, margin, effort.
    may_exceed_target : bool
        False: no symbol holds more than its target (what the account does), so that a target below the minimum is
        given up. True: the step just above a target may be held, or the minimum, where that is nearer.
    covariance : array-like, shape (n_symbols, n_symbols), optional
        Of returns per period, positive definite; the variance of the deviation is then the objective. Lots that make
        up for what another symbol lacks are within the same rules: at most a step above the own target.

    Returns
    -------
    Allocation
        Deterministic; of equal symbols the first in the order given is served first.

    Raises
    ------
    ValueError
        If lengths differ, a weight is not finite, a price is negative or infinite, or the covariance is not
        symmetric and positive definite.

    References
    ----------
    Li and Sun, *Nonlinear Integer Programming*, 2006, ch. 3 and 11: separable quadratic knapsacks by Lagrangian
    bounds. Deviation: depth-first, with a limit on nodes and a bound instead of a time limit.

    Examples
    --------
    >>> rules = lot_rules(["0.001", "0.001"], min_notionals=[100, 20], leverages=3)
    >>> caps = AllocationCaps(equity=230, gross_max=2, margin_share=0.9)
    >>> allocate([0.5, 0.3], [64_000, 3_100], rules, caps=caps, may_exceed_target=False).lots.tolist()
    [0, 22]
    >>> allocate([0.5, 0.3], [64_000, 3_100], rules, caps=caps, may_exceed_target=True).lots.tolist()
    [2, 22]
    """
    task = _task(weights, prices, rules, caps, may_exceed_target, covariance)
    lots = np.zeros(len(task.weights), dtype=np.int64)
    greedy_lots(task.grid, lots)
    improve_lots(task.grid, task.curvature, lots)
    return _result(task, rules, lots, caps.nodes_max)


def allocate_greedily(
    weights: npt.ArrayLike,
    prices: npt.ArrayLike,
    rules: at.Rules,
    *,
    caps: AllocationCaps,
    may_exceed_target: bool,
    covariance: npt.ArrayLike | None = None,
) -> Allocation:
    """Return the whole lots that the account step's rule gives, judged as `allocate` judges its own.

    The nearest lots are taken; where a cap binds, its price takes the same from every target and what is left over
    goes to the symbols that gain most by it (`quantcore.kernels.allocation.greedy_lots`). Arguments and errors are
    those of `allocate`; the rule does not see the covariance, only the objective and its bound do.
    """
    task = _task(weights, prices, rules, caps, may_exceed_target, covariance)
    lots = np.zeros(len(task.weights), dtype=np.int64)
    greedy_lots(task.grid, lots)
    return _result(task, rules, lots, 1)


@dataclass(frozen=True)
class _Task:
    weights: FloatArray
    prices: FloatArray
    equity: float
    grid: Grid
    curvature: FloatArray
    own: FloatArray


def _task(
    weights: npt.ArrayLike,
    prices: npt.ArrayLike,
    rules: at.Rules,
    caps: AllocationCaps,
    may_exceed: bool,
    covariance: npt.ArrayLike | None,
) -> _Task:
    wanted = np.array(weights, dtype=np.float64)
    price = np.array(prices, dtype=np.float64)
    n = len(rules.rate)
    for name, values in (("weights", wanted), ("prices", price)):
        if values.shape != (n,):
            raise ValueError(f"{name} must have the {n} entries of rules, had shape {values.shape}")
    _refuse(~np.isfinite(wanted), "weights must be finite", wanted)
    _refuse((price < 0.0) | np.isinf(price), "prices must be >= 0 and finite", price)
    limits = np.array([min(caps.gross_max, _UNLIMITED), min(caps.margin_share, _UNLIMITED)])
    grid = lot_grid(wanted, price, float(caps.equity), rules, limits, bool(may_exceed))
    if covariance is None:
        curvature, own = np.eye(n), np.ones(n)
    else:
        curvature, own = _curvature(covariance, wanted)
    return _Task(wanted, price, caps.equity, grid, curvature, own)


def _curvature(covariance: npt.ArrayLike, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the covariance mirrored to the sides of the weights, and a diagonal that it exceeds."""
    variance, corr = volatilities(covariance) ** 2, correlation(covariance)
    if len(variance) != len(weights):
        raise ValueError(f"covariance must have {len(weights)} rows, had {len(variance)}")
    least = float(np.linalg.eigvalsh(corr)[0])
    if not least > _SINGULAR:
        raise ValueError(
            f"covariance must be positive definite, its correlations' least eigenvalue was {least:.3g}"
        )
    scale = np.where(weights < 0.0, -1.0, 1.0) * np.sqrt(variance)
    return corr * np.outer(scale, scale), variance * (least - _LEAST_ERROR)


def _result(task: _Task, rules: at.Rules, lots: IntArray, nodes_max: int) -> Allocation:
    """Search from the lots on, and describe where that ends."""
    found = lots.copy()
    reached, bound, nodes = branch_and_bound(task.grid, task.curvature, task.own, nodes_max, found)
    objective = max(reached, 0.0)
    cuts = np.zeros(len(lots), dtype=np.int64)
    explain_cuts(task.grid, found, cuts)
    signed = np.where(task.weights < 0.0, -found, found)
    qty = signed * rules.size[:, at.STEP_NUMERATOR] / rules.size[:, at.STEP_DENOMINATOR]
    notional = qty * np.where(signed == 0, 0.0, task.prices)
    return Allocation(
        lots=signed,
        qty=qty,
        notional=notional,
        target_weights=task.weights,
        weights=notional / task.equity,
        cuts=tuple(Cut(int(c)) for c in cuts),
        objective=objective,
        bound=min(max(bound, 0.0), objective),
        proven=bound >= reached,
        margin=float((np.abs(notional) / rules.rate[:, at.LEVERAGE]).sum() / task.equity),
        nodes=nodes,
    )
