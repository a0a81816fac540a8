"""Lots, ticks and minimum orders: exact whole numbers of the exchange's steps."""

from __future__ import annotations

import math

import numpy as np

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    STEP_DENOMINATOR,
    STEP_NUMERATOR,
    TICK_DENOMINATOR,
    TICK_NUMERATOR,
    Rules,
)

# A price that should lie on a tick misses it by float error; this many ticks count as on it.
_ON_TICK = 1e-6


@inner()
def quantity(rules: Rules, s: int, lots: int) -> float:
    """Return lots as coins: the float of the decimal string, since the denominator is a power of ten."""
    return float(lots * rules.size[s, STEP_NUMERATOR] / rules.size[s, STEP_DENOMINATOR])


@inner()
def whole_lots(rules: Rules, s: int, qty: float) -> int:
    """Return coins as lots, rounded toward zero so that rounding never enlarges an order."""
    lots = qty * rules.size[s, STEP_DENOMINATOR] / rules.size[s, STEP_NUMERATOR]
    return int(np.trunc(lots + math.copysign(_ON_TICK, lots)))


@inner()
def tick_price(rules: Rules, s: int, ticks: float) -> float:
    """Return whole ticks as a price."""
    return float(ticks * rules.size[s, TICK_NUMERATOR] / rules.size[s, TICK_DENOMINATOR])


@inner()
def tick_up(rules: Rules, s: int, price: float) -> float:
    """Return the lowest tick at or above a price."""
    ticks = price * rules.size[s, TICK_DENOMINATOR] / rules.size[s, TICK_NUMERATOR]
    return tick_price(rules, s, math.ceil(ticks - _ON_TICK))


@inner()
def tick_down(rules: Rules, s: int, price: float) -> float:
    """Return the highest tick at or below a price."""
    ticks = price * rules.size[s, TICK_DENOMINATOR] / rules.size[s, TICK_NUMERATOR]
    return tick_price(rules, s, math.floor(ticks + _ON_TICK))


@inner()
def tick_nearest(rules: Rules, s: int, price: float) -> float:
    """Return the tick nearest to a price."""
    ticks = price * rules.size[s, TICK_DENOMINATOR] / rules.size[s, TICK_NUMERATOR]
    return tick_price(rules, s, math.floor(ticks + 0.5))
