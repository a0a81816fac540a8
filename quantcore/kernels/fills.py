"""At which price an order trades inside a bar (DESIGN.md 1, account semantics 2, 3 and 5)."""

from __future__ import annotations

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import TAKER_COST, Market, Rules
from quantcore.kernels.rules import tick_down, tick_up


@inner()
def taker_price(rules: Rules, s: int, side: int, reference: float) -> float:
    """Return what crossing costs: the reference, half-spread and slippage worse, on the tick that is worse still."""
    if side > 0:
        return tick_up(rules, s, reference * (1.0 + rules.rate[s, TAKER_COST]))
    return tick_down(rules, s, reference * (1.0 - rules.rate[s, TAKER_COST]))


@inner()
def volume_at(market: Market, row: int, s: int) -> float:
    """Return the coins traded in a bar, NaN where that is not known."""
    return float(market.volume[min(row, len(market.volume) - 1), s])


@inner()
def worse(side: int, first: float, second: float) -> float:
    """Return the price that is worse for a buyer (side > 0) or a seller."""
    return max(first, second) if side > 0 else min(first, second)


@inner()
def inside(price: float, low: float, high: float) -> float:
    """Return the price of the range nearest to a level that the market has jumped over."""
    return min(max(price, low), high)


@inner()
def trades_through(side: int, limit: float, low: float, high: float) -> bool:
    """Return whether the bar trades beyond a resting limit; a touch leaves it in the queue."""
    return low < limit if side > 0 else high > limit


@inner()
def reaches(side: int, level: float, low: float, high: float) -> bool:
    """Return whether a stop is reached: a buy stop from below, a sell stop from above."""
    return high >= level if side > 0 else low <= level
