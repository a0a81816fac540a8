r"""Liquidation Monitor: how likely the exchange closes the account within a day, and what to hold so that it does not.

A cross account is one pot: with weights w, maintenance margin :math:`m(w)` and a day's volatility :math:`\sigma(w)`,
both as fractions of equity, its equity falls to the maintenance margin within a day with the probability

.. math:: p = 2\,\Phi\!\left(-\frac{1 - m}{\sigma}\right)

of a driftless Brownian motion that is watched all the time (reflection principle). Both m and :math:`\sigma` grow in
proportion to w, so that p stays within its limit as long as every weight is multiplied by at most
:math:`1 / (z\sigma + m)`, where z is the quantile of the limit. An isolated position, and each symbol as if it were
alone, has a pot of its own; what it may be leveraged to is the same expression with its own volatility.

Jumps are not in it: tests compare it with the simulation of `quantcore.finance.liquidation_probability`, which has
them, and the margin ratio is watched on every execution bar besides.
"""

from __future__ import annotations

import math

from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    ENTRY,
    LEVERAGE_SET,
    LOTS,
    MAINTENANCE_RATE,
    MARGIN,
    MARGIN_RATIO_AFTER,
    MARGIN_RATIO_MAX,
    MARGIN_TYPE,
    MARK,
    NONE,
    OPEN_ORDERS,
    ORDER_LOTS,
    QTY,
    REASON,
    REDUCE_ONLY,
    RESTING,
    SEEN,
    SYMBOL,
    WALLET,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import ISOLATED, explain, position_margin
from quantcore.kernels.margin import bracket_of
from quantcore.kernels.orders import MARKET, ON_MARK, place
from quantcore.types import Action, FillReason, FloatArray, Rule, Stage

_STAGE = constant(Stage.LIQUIDATION_MONITOR)
_REDUCED = constant(Action.REDUCED)
_RATIO = constant(Rule.MARGIN_RATIO)
_RISK = constant(FillReason.RISK)
_REDUCING = constant(REDUCE_ONLY)
_SQRT_2 = math.sqrt(2.0)


@njit(cache=True, error_model="numpy")
def chance_of_sigmas(sigmas: float) -> float:
    """Return the probability that a driftless Brownian motion reaches a distance in standard deviations; 1 at <= 0."""
    return math.erfc(sigmas / _SQRT_2) if sigmas > 0.0 else 1.0


@inner()
def _rate(rules: Rules, s: int, notional: float) -> float:
    """Return the maintenance margin rate at a notional; without what the brackets take off, so rather too much."""
    return float(rules.bracket[s, bracket_of(rules.bracket[s], notional, 0), MAINTENANCE_RATE])


@inner()
def symbol_ceiling(
    rules: Rules, s: int, notional: float, volatility: float, per_day: float, sigmas: float
) -> float:
    """Return the largest leverage at which a position alone keeps the probability; infinite without a limit."""
    if sigmas <= 0.0:
        return math.inf
    return 1.0 / (sigmas * volatility * math.sqrt(per_day) + _rate(rules, s, notional))


@inner()
def account_ceiling(
    rules: Rules, weights: FloatArray, equity: float, sigma: float, sigmas: float
) -> float:
    """Return what cross weights may be multiplied by to keep the probability; infinite without a limit or weights."""
    if sigmas <= 0.0:
        return math.inf
    needed = 0.0
    for s in range(len(weights)):
        if weights[s] != 0.0 and rules.size[s, MARGIN_TYPE] != ISOLATED:
            needed += abs(weights[s]) * _rate(rules, s, abs(weights[s]) * equity)
    burden = sigmas * sigma + needed
    return 1.0 / burden if burden > 0.0 else math.inf


@inner()
def account_chance(
    account: Account, rules: Rules, weights: FloatArray, volatility: FloatArray, equity: float, per_day: float,
    sigma: float,
) -> float:  # fmt: skip
    """Return the probability that the account, or one of its isolated positions, is liquidated within a day."""
    survival, needed, cross = 1.0, 0.0, False
    for s in range(len(weights)):
        if weights[s] == 0.0:
            continue
        rate = _rate(rules, s, abs(weights[s]) * equity)
        if rules.size[s, MARGIN_TYPE] == ISOLATED:
            position = account.position
            own = position[s, MARGIN] + position[s, QTY] * (position[s, MARK] - position[s, ENTRY])
            room = own / (abs(weights[s]) * equity) - rate
            survival *= 1.0 - chance_of_sigmas(room / (volatility[s] * math.sqrt(per_day)))
        else:
            needed += abs(weights[s]) * rate
            cross = True
    if cross and sigma > 0.0:
        survival *= 1.0 - chance_of_sigmas((1.0 - needed) / sigma)
    return 1.0 - survival


@inner()
def set_leverage(
    account: Account, rules: Rules, s: int, most: float, volatility: float, notional: float, per_day: float,
    sigmas: float,
) -> None:  # fmt: skip
    """Set the leverage of a symbol that is flat: the settings', or what keeps an isolated position's probability."""
    if account.held[s, LOTS] != 0 or account.held[s, RESTING] > 0:
        return
    ceiling = symbol_ceiling(rules, s, notional, volatility, per_day, sigmas)
    account.position[s, LEVERAGE_SET] = max(1.0, math.floor(min(most, ceiling)))


@inner()
def reduce_in_emergency(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, delay: int, config: FloatArray
) -> bool:  # fmt: skip
    """Reduce every pot of margin whose ratio is too high at a row's close; return whether anything was sent."""
    balance, needed = account.cash[WALLET], 0.0
    sent = False
    for s in range(len(account.held)):
        if account.held[s, LOTS] == 0:
            continue
        profit = account.position[s, QTY] * (account.position[s, MARK] - account.position[s, ENTRY])
        margin = position_margin(account, rules, s, account.position[s, MARK])
        if rules.size[s, MARGIN_TYPE] == ISOLATED:
            own = account.position[s, MARGIN] + profit
            sent |= _reduce(account, rules, journal, market, row, delay, config, s, margin, own)
        else:
            balance += profit
            needed += margin
    if needed > config[MARGIN_RATIO_MAX] * balance:
        for s in range(len(account.held)):
            if account.held[s, LOTS] != 0 and rules.size[s, MARGIN_TYPE] != ISOLATED:
                sent |= _reduce(account, rules, journal, market, row, delay, config, s, needed, balance)  # fmt: skip
    return sent


@inner()
def _reduce(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, delay: int, config: FloatArray, s: int,
    needed: float, balance: float,
) -> bool:  # fmt: skip
    """Close so much of a position that its pot's ratio falls to what it should be afterwards; once, while it is due."""
    if not needed > config[MARGIN_RATIO_MAX] * balance or math.isnan(market.close[row, s]):
        return False
    ratio = needed / balance if balance > 0.0 else math.inf
    lots = account.held[s, LOTS]
    closing = math.ceil(abs(lots) * (1.0 - config[MARGIN_RATIO_AFTER] / ratio))
    for k in range(account.counter[OPEN_ORDERS]):
        ticket = account.ticket[k]
        if ticket[SYMBOL] == s and ticket[SEEN] == 0 and ticket[REASON] == _RISK:
            closing -= ticket[ORDER_LOTS]
    if closing <= 0:
        return False
    ts, mark = market.ts_us[row], account.position[s, MARK]
    explain(journal, ts, s, _STAGE, _RATIO, _REDUCED, config[MARGIN_RATIO_MAX], ratio)
    place(
        account, rules, journal, ts, delay, s, -1 if lots > 0 else 1, MARKET, ZERO, closing, _REDUCING, ON_MARK,
        _RISK, NONE, mark, math.nan, math.nan, mark, market.close[row, s],
    )  # fmt: skip
    return True
