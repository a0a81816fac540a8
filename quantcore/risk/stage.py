"""A stage that holds a share of the normal size, in whole lots of the symbols that fit.

Every target is scaled down alike, as far as the exchange takes what is left. Where it does not, the symbols whose
smallest order is too large for their share are left out, and the others take their part, none more than its own full
target. So the account holds a small picture of the normal portfolio: with much capital its exact proportions, with
little the few symbols that fit. Which symbols these are is chosen once a UTC day, with some preference for those that
are held: else a tenth of an account would be turned over whenever a share crosses its smallest order.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.kernels.allocation import grid_of, hold_greedily
from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    CHOSEN,
    EQUITY,
    LOTS,
    MARGIN_BUFFER,
    MARK,
    MIN_LOTS,
    MIN_NOTIONAL,
    NO,
    ONE,
    SIZE_LIMIT,
    Account,
    Market,
    Rules,
)
from quantcore.kernels.rules import quantity
from quantcore.timegrid import DAY_US
from quantcore.types import BoolArray, FloatArray

_PREFERENCE = 1.25
"""So much less than a smallest order its share may be before a symbol that is held is left out."""


@inner()
def spread_over_fitting(
    weights: FloatArray, smallest: FloatArray, held: BoolArray, limit: float, fits: BoolArray, scaled: FloatArray
) -> None:  # fmt: skip
    """Scale weights to a share of their gross exposure over the symbols that fit, none beyond its own weight.

    Parameters
    ----------
    weights : float64 array, shape (n_symbols,)
        Signed notional over equity at the normal size.
    smallest : float64 array, shape (n_symbols,)
        Of the order that opens a position, over equity; infinite or NaN where there is no price.
    held : bool array, shape (n_symbols,)
        Symbols that are preferred.
    limit : float
        Share of the gross exposure, in (0, 1].
    fits : bool array, shape (n_symbols,)
        Symbols that may be held; those that do not fit are taken out in place.
    scaled : float64 array, shape (n_symbols,)
        Filled; 0 where a symbol does not fit. A preferred one gets at least its smallest order.
    """
    n, total = len(weights), 0.0
    for s in range(n):
        total += abs(weights[s])
        fits[s] = fits[s] and weights[s] != 0.0 and smallest[s] <= abs(weights[s])
    factor = 0.0
    while True:
        among = 0.0
        for s in range(n):
            among += abs(weights[s]) if fits[s] else 0.0
        if among == 0.0:
            break
        factor = min(1.0, limit * total / among)
        least, tightest = 1.0, -1
        for s in range(n):
            if fits[s]:
                ratio = factor * abs(weights[s]) * (_PREFERENCE if held[s] else 1.0) / smallest[s]
                if ratio < least:
                    least, tightest = ratio, s
        if tightest < 0:
            break
        fits[tightest] = False
    for s in range(n):
        share = max(factor * abs(weights[s]), smallest[s]) if fits[s] else 0.0
        scaled[s] = math.copysign(share, weights[s])


@njit(cache=True, error_model="numpy")
def spread_decisions(
    weights: FloatArray, smallest: FloatArray, limit: float, scaled: FloatArray
) -> None:
    """Fill `scaled` of many decisions, each taken afresh: arrays of shape ``(n_decisions, n_symbols)``."""
    held = np.zeros(weights.shape[1], dtype=np.bool_)
    for t in range(len(weights)):
        fits = np.ones(weights.shape[1], dtype=np.bool_)
        spread_over_fitting(weights[t], smallest[t], held, limit, fits, scaled[t])


@inner()
def _smallest_order(rules: Rules, s: int, lot_value: float) -> float:
    """Return the notional of the smallest order that opens, USDT; infinite where there is no price."""
    if not lot_value > 0.0:
        return math.inf
    least = math.ceil(rules.rate[s, MIN_NOTIONAL] / lot_value)
    return float(max(rules.size[s, MIN_LOTS], least, 1) * lot_value)


@inner()
def hold_what_fits(
    account: Account, rules: Rules, market: Market, row: int, config: FloatArray, allowed: FloatArray, forced: BoolArray
) -> None:  # fmt: skip
    """Make allowed weights those of the stage: scaled over what fits, and allocated greedily in whole lots."""
    n, equity = len(account.held), account.cash[EQUITY]
    if not equity > 0.0:
        return
    weights, prices, smallest = np.zeros(n), np.zeros(n), np.zeros(n)
    scaled, lots = np.zeros(n), np.zeros(n, dtype=np.int64)
    held, fits = np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    total, known = 0.0, False
    for s in range(n):
        mark = market.mark_close[row, s]
        price = mark if mark > 0.0 else market.close[row, s]
        prices[s] = price if price > 0.0 else account.position[s, MARK]
        lot_value = quantity(rules, s, ONE) * prices[s]
        smallest[s] = _smallest_order(rules, s, lot_value) / equity
        held[s] = account.held[s, LOTS] != 0
        weights[s] = allowed[0, s]
        if math.isnan(weights[s]):
            weights[s] = quantity(rules, s, account.held[s, LOTS]) * prices[s] / equity
        total += abs(weights[s])
        fits[s] = account.held[s, CHOSEN] != 0
        known |= fits[s] and weights[s] != 0.0
    if total == 0.0:
        return
    anew = market.ts_us[row] % DAY_US == 0 or not known
    for s in range(n):
        fits[s] |= anew
    spread_over_fitting(weights, smallest, held, config[SIZE_LIMIT], fits, scaled)
    if anew:
        for s in range(n):
            account.held[s, CHOSEN] = fits[s]
    caps = np.empty(2)
    caps[0], caps[1] = config[SIZE_LIMIT] * total, 1.0 - config[MARGIN_BUFFER]
    hold_greedily(grid_of(scaled, prices, equity, rules, caps, NO), lots)
    for s in range(n):
        if not math.isnan(allowed[0, s]) and not forced[s]:
            share = quantity(rules, s, lots[s]) * prices[s] / equity
            allowed[0, s] = math.copysign(share, weights[s])
