"""Maintenance margin by brackets, and the price or moment at which an account is liquidated."""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import CAP, CUM, FLOOR, MAINTENANCE_RATE, ZERO
from quantcore.types import FloatArray, IntArray


@inner()
def bracket_of(brackets: FloatArray, notional: float, hint: int) -> int:
    """Return the row of a symbol's brackets ``(n_brackets, N_BRACKET)`` that holds a notional, starting at a hint."""
    tier = hint
    while notional < brackets[tier, FLOOR]:
        tier -= 1
    while notional >= brackets[tier, CAP]:
        tier += 1
    return tier


@inner()
def maintenance_margin(brackets: FloatArray, notional: float, tier: int) -> float:
    """Return notional times the bracket's rate less its cum, USDT."""
    return float(notional * brackets[tier, MAINTENANCE_RATE] - brackets[tier, CUM])


@njit(cache=True, error_model="numpy")
def liquidation_price(
    wallet: float,
    other_margin: float,
    other_pnl: float,
    qty: float,
    entry: float,
    brackets: FloatArray,
) -> float:
    r"""Return the mark price at which margin balance equals maintenance margin, NaN where there is none above 0.

    .. math:: p = \frac{W - M_o + U_o + c - q e}{|q| r - q}

    with the bracket's rate :math:`r` and cum :math:`c` taken at the notional **at that price**.

    Parameters
    ----------
    wallet : float
        Cross wallet, or the isolated wallet, USDT.
    other_margin, other_pnl : float
        Maintenance margin and unrealised PnL of the other positions, USDT; 0 for isolated margin.
    qty, entry : float
        Signed coins and entry price.
    brackets : float64 array, shape (n_brackets, N_BRACKET)
        Floor, cap, rate and cum.

    References
    ----------
    Binance FAQ, *How to calculate liquidation price of USD-M futures contracts*.
    """
    for tier in range(len(brackets)):
        rate, cum = brackets[tier, MAINTENANCE_RATE], brackets[tier, CUM]
        price = (wallet - other_margin + other_pnl + cum - qty * entry) / (abs(qty) * rate - qty)
        notional = abs(qty) * price
        # Margin is continuous at the floors, so at most one bracket holds its own solution.
        if price > 0.0 and brackets[tier, FLOOR] <= notional < brackets[tier, CAP]:
            return float(price)
    return np.nan


@inner()
def crossing(
    wallet: float, qty: FloatArray, entry: FloatArray, start: FloatArray, stop: FloatArray,
    members: IntArray, brackets: FloatArray,
) -> float:  # fmt: skip
    r"""Return how far along the straight path of marks the account is when it must be liquidated.

    Margin balance less maintenance margin is concave in the path's parameter (balance is linear, maintenance
    margin convex), so Newton's method from the far end falls monotonically onto the first crossing, one bracket
    segment a step.

    Parameters
    ----------
    wallet : float
        USDT that is not in positions.
    qty, entry, start, stop : float64 arrays, shape (n_positions,)
        Signed coins, entry prices, and marks at both ends of the path.
    members : int64 array, shape (n_positions,)
        Row of each position's symbol in `brackets`.
    brackets : float64 array, shape (n_symbols, n_brackets, N_BRACKET)
        Margin brackets.

    Returns
    -------
    float
        In [0, 1]; 0 if the account is already due at the start. Only meaningful if it is due at the end.
    """
    if excess(wallet, qty, entry, start, members, brackets) <= 0.0:
        return 0.0
    at = 1.0
    for _ in range(64):
        value, slope = wallet, 0.0
        for k in range(len(qty)):
            mark = start[k] + at * (stop[k] - start[k])
            notional = abs(qty[k]) * mark
            bracket = brackets[members[k]]
            tier = bracket_of(bracket, notional, ZERO)
            rate = bracket[tier, MAINTENANCE_RATE]
            value += qty[k] * (mark - entry[k]) - maintenance_margin(bracket, notional, tier)
            slope += (qty[k] - abs(qty[k]) * rate) * (stop[k] - start[k])
        if slope >= 0.0:
            break
        step = value / slope
        if not step > 0.0:
            break
        at -= step
        if step < 1e-15:
            break
    return max(at, 0.0)


@inner()
def excess(
    wallet: float,
    qty: FloatArray,
    entry: FloatArray,
    mark: FloatArray,
    members: IntArray,
    brackets: FloatArray,
) -> float:
    """Return margin balance less maintenance margin at given marks, USDT; <= 0 means liquidation."""
    value = wallet
    for k in range(len(qty)):
        notional = abs(qty[k]) * mark[k]
        bracket = brackets[members[k]]
        tier = bracket_of(bracket, notional, ZERO)
        value += qty[k] * (mark[k] - entry[k]) - maintenance_margin(bracket, notional, tier)
    return value
