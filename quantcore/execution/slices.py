r"""How an order is worked over time: Almgren and Chriss's schedule, and its slices in whole lots.

The schedule balances impact, which wants time, against the risk of waiting. The slices are compiled and take scalars:
the account step calls them as they are, and so does Python. Cost is >= 0; quantities and holdings are signed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from quantcore.execution.checks import above_zero, at_least_zero, require
from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray

_EQUAL = 1e-4  # urgencies below it are straight lines to eight digits, where a quotient of sinh loses as many
_MOST_LOTS = 1e15  # well inside both int64 and the whole numbers that a float holds


@dataclass(frozen=True, kw_only=True)
class LinearMarket:
    r"""A market with linear impact, as Almgren and Chriss (2000) describe it, in any consistent units.

    Parameters
    ----------
    volatility : float
        :math:`\sigma`, price units per square root of the unit of time, >= 0.
    permanent : float
        :math:`\gamma`, price units per coin traded, >= 0.
    temporary : float
        :math:`\eta`, price units per coin per unit of time, > 0.
    fixed : float
        :math:`\epsilon`, paid on every coin: half-spread and fee in price units, >= 0.
    """

    volatility: float
    permanent: float
    temporary: float
    fixed: float

    def __post_init__(self) -> None:
        for name in ("volatility", "permanent", "fixed"):
            at_least_zero(getattr(self, name), name)
        above_zero(self.temporary, "temporary")


@dataclass(frozen=True)
class Schedule:
    """How an order is worked: n intervals of equal length."""

    times: FloatArray = field(repr=False)
    """Ends of the intervals and the start, shape ``(n + 1,)``."""
    holdings: FloatArray = field(repr=False)
    """What is left to trade at each of them: from the order's quantity to 0, shape ``(n + 1,)``."""
    trades: FloatArray = field(repr=False)
    """What each interval trades, with the order's sign, shape ``(n,)``."""
    kappa: float
    """Urgency per unit of time; 0 is the straight line."""
    eta_tilde: float
    """Temporary impact less what permanent impact takes off it in discrete time."""
    expected_cost: float
    """Price units times coins."""
    variance: float
    """Of the cost."""

    @property
    def std(self) -> float:
        """Standard deviation of the cost."""
        return math.sqrt(self.variance)


def almgren_chriss(
    qty: float, market: LinearMarket, *, horizon: float, intervals: int, risk_aversion: float
) -> Schedule:
    r"""Return the schedule of least expected cost plus risk aversion times its variance.

    .. math:: x_j = X \frac{\sinh \kappa (T - t_j)}{\sinh \kappa T}, \qquad
        \frac{2}{\tau^2} (\cosh \kappa\tau - 1) = \frac{\lambda \sigma^2}{\tilde\eta}, \qquad
        \tilde\eta = \eta - \frac{\gamma \tau}{2}

    .. math:: E = \frac{\gamma X^2}{2} + \epsilon |X| + \frac{\tilde\eta}{\tau} \sum_k n_k^2, \qquad
        V = \sigma^2 \tau \sum_k x_k^2

    Parameters
    ----------
    qty : float
        X, coins to be traded; buying and selling cost the same, and the schedule carries the sign.
    market : LinearMarket
        Volatility and impact.
    horizon : float
        T, in the unit of time of `market`, > 0.
    intervals : int
        N, >= 1; :math:`\tau = T / N`.
    risk_aversion : float
        :math:`\lambda`, per price unit and coin, >= 0; 0 is the straight line.

    Returns
    -------
    Schedule
        The whole order, spread over the intervals.

    Raises
    ------
    ValueError
        If an argument is out of its range, or permanent impact within an interval exceeds the temporary one, which
        would make waiting worthless and the problem unbounded.

    References
    ----------
    Almgren and Chriss, "Optimal Execution of Portfolio Transactions", *Journal of Risk* 3, 2000, section 2.

    Examples
    --------
    >>> market = LinearMarket(volatility=0.95, permanent=2.5e-7, temporary=2.5e-6, fixed=0.0625)
    >>> plan = almgren_chriss(1e6, market, horizon=5.0, intervals=5, risk_aversion=1e-6)
    >>> round(plan.kappa, 3), plan.holdings.round().astype(int).tolist()
    (0.607, [1000000, 541956, 289854, 147897, 62142, 0])
    """
    require(math.isfinite(qty), "qty must be finite", qty)
    above_zero(horizon, "horizon")
    require(intervals >= 1, "intervals must be >= 1", intervals)
    at_least_zero(risk_aversion, "risk_aversion")
    tau = horizon / intervals
    eta = market.temporary - 0.5 * market.permanent * tau
    rule = "temporary must be > permanent * horizon / intervals / 2"
    require(eta > 0.0, f"{rule} = {market.permanent * tau / 2}", market.temporary)
    # cosh(z) - 1 = 2 sinh(z / 2)**2, which keeps its digits where kappa is small.
    kappa_tilde = math.sqrt(risk_aversion / eta) * market.volatility
    kappa = 2.0 / tau * math.asinh(0.5 * kappa_tilde * tau)
    times = np.linspace(0.0, horizon, intervals + 1)
    holdings = qty * _left(kappa * (horizon - times), kappa * horizon, 1.0 - times / horizon)
    trades = -np.diff(holdings)
    spent = market.permanent * qty**2 / 2.0 + market.fixed * np.abs(trades).sum()
    return Schedule(
        times=times,
        holdings=holdings,
        trades=trades,
        kappa=kappa,
        eta_tilde=eta,
        expected_cost=float(spent + eta / tau * (trades**2).sum()),
        variance=float(market.volatility**2 * tau * (holdings[1:] ** 2).sum()),
    )


@njit(cache=True, error_model="numpy")
def slice_cap(participation: float, bar_notional: float, lot_notional: float) -> int:
    """Return the most lots that one slice may have: a share of the notional expected in its bar.

    Parameters
    ----------
    participation : float
        Share, in (0, 1].
    bar_notional : float
        What the market is expected to trade in the bar, USDT.
    lot_notional : float
        Of one lot, USDT, > 0.

    Returns
    -------
    int
        Rounded down; 0 where not one lot fits or an argument is NaN.
    """
    lots = participation * bar_notional / lot_notional if lot_notional > 0.0 else 0.0
    return math.floor(min(lots, _MOST_LOTS)) if lots >= 1.0 else 0


@inner()
def slice_count(lots: int, minimum: int, maximum: int, urgency: float, most: int) -> int:
    r"""Return into how many slices an order is cut so that the first and largest does not exceed a maximum.

    .. math:: n = \lceil 1 / (1 - \operatorname{arsinh}((1 - c) \sinh \kappa T) / \kappa T) \rceil, \qquad
        c = \text{maximum} / \text{lots}

    Parameters
    ----------
    lots : int
        Of the order, >= 0.
    minimum : int
        Fewest lots that the exchange takes as an order.
    maximum : int
        Most lots of a slice, from `slice_cap`.
    urgency : float
        :math:`\kappa T` of the whole schedule, >= 0; 0 is equal slices.
    most : int
        Most slices that there is time for.

    Returns
    -------
    int
        0 for no order, else at least 1. Where minimum or `most` stand against the maximum they win, and slices are
        as small as they can be: an order has to be sent some time.
    """
    if lots <= 0:
        return 0
    allowed = max(min(lots // max(minimum, 1), most), 1)
    if maximum >= lots:
        return 1
    if maximum <= 0:
        return allowed
    share = maximum / lots
    kept = 1.0 - share
    if urgency > _EQUAL:
        # arsinh(kept * sinh(u)) with exp(u) taken out, which would overflow.
        tail = math.exp(-2.0 * urgency)
        half = 0.5 * kept * (1.0 - tail)
        kept = 1.0 + math.log(half + math.sqrt(half * half + tail)) / urgency
    needed = 1.0 / (1.0 - kept) - 1e-9 if kept < 1.0 else math.inf
    if needed >= allowed:
        return allowed
    at_least = -(-lots // maximum)
    return min(max(math.ceil(needed), at_least), allowed)


@inner()
def next_slice(lots: int, slices: int, urgency: float, minimum: int, maximum: int) -> int:
    r"""Return the lots of the slice to send now, from what is left of an order.

    .. math:: 1 - \frac{\sinh u (m - 1)}{\sinh u m}

    of what is left, m slices still to come: Almgren and Chriss's trajectory, which from any point on is the best one
    for what is left there. So an order that was filled in part, or whose market has changed, needs no memory of its
    plan.

    Parameters
    ----------
    lots : int
        Left of the order, >= 0.
    slices : int
        m, left, this one included.
    urgency : float
        :math:`u = \kappa\tau` of one slice, >= 0; 0 is equal slices.
    minimum, maximum : int
        Lots of a slice. Where both cannot be, there are fewer slices, and where these cannot hold the order, larger
        ones, as equal as possible.

    Returns
    -------
    int
        The nearest whole number within the bounds; all that is left in the last slice.

    References
    ----------
    Almgren and Chriss (2000), section 2. Deviation: whole lots within bounds.
    """
    if lots <= 0:
        return 0
    least = max(minimum, 1)
    left = max(min(slices, lots // least), 1)
    if left == 1:
        return lots
    most = min(max(maximum, -(-lots // left)), lots)
    wanted = math.floor(lots * _share(left, urgency) + 0.5)
    # The schedule falls, so that its next slice is never less than an equal share, nor is what then is left too much.
    return min(wanted, most, lots - (left - 1) * least)


@njit(cache=True, error_model="numpy")
def slice_lots(lots: int, slices: int, k: int, urgency: float, minimum: int, maximum: int) -> int:
    r"""Return the lots of slice k of an order as it is planned at the start.

    Parameters
    ----------
    lots : int
        Of the order, >= 0.
    slices : int
        How many, from `slice_count`.
    k : int
        Which, from 0 on.
    urgency : float
        :math:`\kappa T` of the whole schedule, >= 0.
    minimum, maximum : int
        As in `next_slice`.

    Returns
    -------
    int
        The slices 0 to ``slices - 1`` add up to the order exactly. Where it is too small for so many, the last ones
        are 0; from ``slices`` on they always are.
    """
    left, size = lots, 0
    for j in range(min(k + 1, slices)):
        size = next_slice(left, slices - j, urgency / slices, minimum, maximum)
        left -= size
    return size if k < slices else 0


@inner()
def _share(left: int, urgency: float) -> float:
    if urgency * left <= _EQUAL:
        return 1.0 / left
    kept = math.expm1(-2.0 * urgency * (left - 1)) / math.expm1(-2.0 * urgency * left)
    return float(1.0 - math.exp(-urgency) * kept)


def _left(part: FloatArray, whole: float, straight: FloatArray) -> FloatArray:
    """Return sinh(part) / sinh(whole) where neither may overflow; a straight line where both vanish."""
    if whole <= 1e-8:
        return straight
    ratio = np.exp(part - whole) * np.expm1(-2.0 * part) / math.expm1(-2.0 * whole)
    return np.asarray(ratio)
