r"""Liquidation Monitor: how likely the exchange closes the account within a day, and what to hold so that it does not.

A cross account is one pot: with weights w, maintenance margin :math:`m(w)` and a day's volatility :math:`\sigma(w)`,
both as fractions of equity, it is :math:`x = (1 - m)/\sigma` standard deviations away from liquidation, which the
equity reaches within the day with the probability

.. math:: p(x) = 2\,P(T > x) = 1 - \frac2\pi\Big(\frac{x}{1 + x^2} + \arctan x\Big)

twice that of ending there (reflection principle), where T has Student's distribution with three degrees of freedom and
unit variance: the tails of coins' returns fall about with the third power (Cont 2001; Begušić et al. 2018), and a
normal distribution would call days impossible that come every year. Both m and :math:`\sigma` grow in proportion to w,
so that p stays within its limit as long as every weight is multiplied by at most :math:`1 / (z\sigma + m)`, where
:math:`p(z)` is the limit. An isolated position, and each symbol as if it were alone, has a pot of its own; what it may
be leveraged to is the same expression with its own volatility. At an isolated symbol that leverage is also set before
a position is opened, and where its margin no longer suffices the position is closed.

No coin's volatility is believed to be less than a floor: what was calm for weeks falls by a tenth in an hour. And a day
with a probability of half a percent comes twice a year, so the account is to outlive a stress besides: a move of all
coins at once against what is held, a third of it where longs and shorts hedge one another. Tests compare p with the
simulation of `quantcore.finance.liquidation_probability` and replay real bad days; the margin ratio is watched on every
execution bar as well.

References
----------
R. Cont, "Empirical properties of asset returns: stylized facts and statistical issues", *Quantitative Finance* 1, 2001.
S. Begušić, Z. Kostanjčar, H. E. Stanley and B. Podobnik, "Scaling properties of extreme price fluctuations in Bitcoin
markets", *Physica A* 510, 2018.
"""

from __future__ import annotations

import math

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    CAP,
    CHANCE,
    DISTANCE,
    ENTRY,
    LEVERAGE,
    LEVERAGE_SET,
    LOTS,
    MAINTENANCE_RATE,
    MARGIN,
    MARGIN_RATIO_AFTER,
    MARGIN_RATIO_MAX,
    MARGIN_TYPE,
    MARK,
    QTY,
    REDUCE_ONLY,
    RESTING,
    URGENT,
    WALLET,
    YES,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import ISOLATED, explain, position_margin
from quantcore.kernels.orders import ask, expected_lots
from quantcore.types import Action, FillReason, FloatArray, Rule, Stage

_STAGE = constant(Stage.LIQUIDATION_MONITOR)
_REDUCED = constant(Action.REDUCED)
_RATIO = constant(Rule.MARGIN_RATIO)
_RISK = constant(FillReason.RISK)
_REDUCING = constant(REDUCE_ONLY)
_TWO_OVER_PI = 2.0 / math.pi
# Conventions of this project.
_ROOM = (
    0.8  # of the leverage that the probability allows: the market moves while the position lives
)
_UNHEDGED = 1.0 / 3.0  # of a position that another one hedges: in a crash some fall further


@inner()
def chance_of_sigmas(sigmas: float) -> float:
    """Return the probability p of reaching a distance in standard deviations within a day; 1 at a distance <= 0."""
    if sigmas <= 0.0:
        return 1.0
    # 1 - 2/pi arctan(x) as 2/pi arctan(1/x): else small probabilities would be lost to rounding.
    inner_part = math.atan(1.0 / sigmas) - sigmas / (1.0 + sigmas * sigmas)
    return _TWO_OVER_PI * inner_part


def sigmas_of_chance(chance: float) -> float:
    """Return the distance in standard deviations that is reached with a probability in (0, 1)."""
    low, high = 0.0, 1e6
    while (middle := 0.5 * (low + high)) not in (low, high):
        low, high = (middle, high) if chance_of_sigmas(middle) > chance else (low, middle)
    return low


@inner()
def _rate(rules: Rules, s: int, notional: float) -> float:
    """Return the maintenance margin rate at a notional; without what the brackets take off, so rather too much."""
    tier = 0
    while notional >= rules.bracket[s, tier, CAP]:  # the last cap is infinite
        tier += 1
    return float(rules.bracket[s, tier, MAINTENANCE_RATE])


@inner()
def symbol_ceiling(
    rules: Rules, s: int, notional: float, volatility: float, sigmas: float, stress: float
) -> float:  # fmt: skip
    """Return the largest leverage at which a position alone keeps the probability, and outlives the stress."""
    move = max(sigmas * volatility, stress)
    return 1.0 / (move + _rate(rules, s, notional)) if move > 0.0 else math.inf


@inner()
def account_ceiling(
    rules: Rules, weights: FloatArray, equity: float, sigma: float, sigmas: float, stress: float
) -> float:
    """Return what cross weights may be multiplied by to keep the probability and to outlive the stress."""
    needed = longs = shorts = 0.0
    for s in range(len(weights)):
        if rules.size[s, MARGIN_TYPE] != ISOLATED:
            needed += abs(weights[s]) * _rate(rules, s, abs(weights[s]) * equity)
            longs += max(weights[s], 0.0)
            shorts += max(-weights[s], 0.0)
    net = abs(longs - shorts)
    move = max(sigmas * sigma, stress * (net + _UNHEDGED * (longs + shorts - net)))
    return 1.0 / (move + needed) if move > 0.0 else math.inf


@inner()
def account_chance(
    account: Account, rules: Rules, weights: FloatArray, volatility: FloatArray, equity: float, sigma: float,
) -> float:  # fmt: skip
    """Return the probability that the account, or one of its isolated positions, is liquidated within a day.

    Besides, each position gets its own distance to liquidation, were the other prices to stay, and the probability
    that its coin moves so far.
    """
    survival, needed, cross = 1.0, 0.0, False
    for s in range(len(weights)):
        if weights[s] != 0.0 and rules.size[s, MARGIN_TYPE] != ISOLATED:
            needed += abs(weights[s]) * _rate(rules, s, abs(weights[s]) * equity)
            cross = True
    for s in range(len(weights)):
        distance, chance = math.inf, 0.0
        if weights[s] != 0.0:
            distance = (1.0 - needed) / abs(weights[s])
            if rules.size[s, MARGIN_TYPE] == ISOLATED:
                distance = _isolated_room(account, rules, s, abs(weights[s]) * equity)
            chance = chance_of_sigmas(distance / volatility[s])
            if rules.size[s, MARGIN_TYPE] == ISOLATED:
                survival *= 1.0 - chance
        account.position[s, DISTANCE], account.position[s, CHANCE] = distance, chance
    if cross and sigma > 0.0:
        survival *= 1.0 - chance_of_sigmas((1.0 - needed) / sigma)
    return 1.0 - survival


@inner()
def _isolated_room(account: Account, rules: Rules, s: int, notional: float) -> float:
    """Return the adverse move, as a fraction, that takes an isolated position of a notional to its liquidation."""
    position = account.position
    own = position[s, MARGIN] + position[s, QTY] * (position[s, MARK] - position[s, ENTRY])
    return float(own / notional - _rate(rules, s, notional))


@inner()
def isolated_is_near(
    account: Account, rules: Rules, s: int, notional: float, volatility: float, sigmas: float
) -> bool:
    """Return whether an isolated position is held that its margin no longer protects well enough.

    Closing a part frees its part of the margin and changes nothing: such a position is closed whole.
    """
    if rules.size[s, MARGIN_TYPE] != ISOLATED or account.held[s, LOTS] == 0:
        return False
    return _isolated_room(account, rules, s, notional) < sigmas * volatility


@inner()
def lower_leverage(account: Account, rules: Rules, s: int, ceiling: float) -> None:
    """Set the leverage at which an isolated position may be opened: whole, at most the account's, with some room.

    The exchange lowers the leverage of no isolated position, so it is set while there is none.
    """
    if rules.size[s, MARGIN_TYPE] != ISOLATED or account.held[s, LOTS] != 0:
        return
    if account.held[s, RESTING] == 0:
        most = rules.rate[s, LEVERAGE]
        account.position[s, LEVERAGE_SET] = max(math.floor(min(_ROOM * ceiling, most)), 1.0)


@inner()
def reduce_in_emergency(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray
) -> bool:  # fmt: skip
    """Ask to reduce every pot of margin whose ratio is too high at a row's close; return whether that is needed."""
    balance, needed = account.cash[WALLET], 0.0
    sent = False
    for s in range(len(account.held)):
        if account.held[s, LOTS] == 0:
            continue
        profit = account.position[s, QTY] * (account.position[s, MARK] - account.position[s, ENTRY])
        margin = position_margin(account, rules, s, account.position[s, MARK])
        if rules.size[s, MARGIN_TYPE] == ISOLATED:
            own = account.position[s, MARGIN] + profit
            sent |= _reduce(account, rules, journal, market, row, config, s, margin, own)
        else:
            balance += profit
            needed += margin
    if needed > config[MARGIN_RATIO_MAX] * balance:
        for s in range(len(account.held)):
            if rules.size[s, MARGIN_TYPE] == ISOLATED:
                continue
            if account.held[s, LOTS] != 0:
                sent |= _reduce(account, rules, journal, market, row, config, s, needed, balance)  # fmt: skip
            elif len(account.route) > 0 and expected_lots(account, s) != 0:
                ask(account, s, ZERO, _RISK, YES)  # nothing opens meanwhile
    return sent


@inner()
def _reduce(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, s: int,
    needed: float, balance: float,
) -> bool:  # fmt: skip
    """Close so much of a position that its pot's ratio falls to what it should be afterwards; once, while it is due.

    Closing a part of an isolated position frees its part of the margin and changes nothing: it is closed whole.
    """
    if not needed > config[MARGIN_RATIO_MAX] * balance or math.isnan(market.close[row, s]):
        return False
    ratio = needed / balance if balance > 0.0 else math.inf
    lots = account.held[s, LOTS]
    closing = math.ceil(abs(lots) * (1.0 - config[MARGIN_RATIO_AFTER] / ratio))
    if rules.size[s, MARGIN_TYPE] == ISOLATED:
        closing = abs(lots)
    # What was decided before already counts where it holds less, or nothing, or the other side.
    side, goal = (1 if lots > 0 else -1), expected_lots(account, s)
    left = min(side * goal, max(abs(lots) - closing, 0))
    if left == side * goal and (len(account.route) == 0 or account.route[s, URGENT] != 0):
        return True  # it is on its way
    explain(
        journal, market.ts_us[row], s, _STAGE, _RATIO, _REDUCED, config[MARGIN_RATIO_MAX], ratio
    )
    ask(account, s, side * left, _RISK, YES)
    return True
