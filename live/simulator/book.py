"""The book around a price, which bars do not show: a touch half a spread away, and levels on a lattice beyond it.

A level's size changes every ten seconds, each level at its own time, so that a step of 100 ms changes a few of them. It
is a share of the volume per minute of the last bar that had closed when it changed, so that the book knows no future.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from live.simulator.noise import uniform
from live.simulator.path import STEP_US
from quantcore.timegrid import MINUTE_US
from quantcore.types import IntArray

LEVELS_MAX = 1000
"""Levels of a side: what the exchange's longest snapshot shows is the whole book."""

REFRESH_STEPS = 100
"""Steps after which a level's size changes."""

LEVEL_SHARE = 0.02
"""Mean size of a level as a share of the volume of a minute."""
LEVEL_NOTIONAL_MIN = 1_000.0
"""USDT; the mean size of a level is not smaller, however little traded."""
_LEVEL_GAP = 2e-5
"""Distance of levels as a fraction of price, where the tick is finer."""
_SIZE_MIN, _SIZE_RANGE = 0.25, 1.5
"""Sizes are spread evenly around their mean: from a quarter of it to one and three quarters."""
_BPS = 1e-4
_PHASE, _SIZE = 5, 6
_IDS_PER_STEP = 10
BID, ASK = -1, 1
"""The direction in which the levels of a side follow each other."""


class Book(NamedTuple):
    """One moment of a book.

    Attributes
    ----------
    bids, asks : tuple of (int, int)
        Price in ticks and size in whole steps, best first; empty where the symbol has no price.
    update_id : int
        Increasing with time.
    """

    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]
    update_id: int


def update_id(time_us: int) -> int:
    """Return the number of the last change up to a time; ten are left for each step."""
    return time_us // STEP_US * _IDS_PER_STEP


def touch(price_ticks: float, half_spread_bps: float) -> tuple[int, int]:
    """Return best bid and ask in ticks: at least one tick on either side of the price."""
    half = max(price_ticks * half_spread_bps * _BPS, 1.0)
    return max(math.floor(price_ticks - half), 1), math.ceil(price_ticks + half)


def level_gap(price_ticks: float) -> int:
    """Return the ticks between levels, a power of two, so that the lattice stays where it is while prices move."""
    return 1 << math.floor(math.log2(max(price_ticks * _LEVEL_GAP, 1.0)))


@njit(cache=True)
def ladder(
    seed: int, side: int, best: int, gap: int, levels: int, step: int, first_step: int, bar_steps: int,
    bar_lots: IntArray, tick_lot: float,
) -> IntArray:  # fmt: skip
    """Return one side of a book.

    Parameters
    ----------
    seed : int
        The symbol's key.
    side : int
        `BID` or `ASK`.
    best : int
        Price of the touch in ticks.
    gap : int
        Ticks between the levels beyond it, which are multiples of it.
    levels : int
        How many at most; prices stay positive.
    step, first_step : int
        Now and the open of the first bar, in steps since 1970.
    bar_steps : int
        Steps of a bar.
    bar_lots : int64 array, shape (n_bars,)
        Volumes in whole steps of quantity.
    tick_lot : float
        USDT of one lot at a price of one tick.

    Returns
    -------
    int64 array, shape (n, 2)
        Price in ticks and size in lots, best first.
    """
    result = np.empty((levels, 2), dtype=np.int64)
    price = best
    per_minute = MINUTE_US / (bar_steps * STEP_US)
    for k in range(levels):
        phase = int(uniform(seed, price, 0, _PHASE) * REFRESH_STEPS)
        changed = (step - phase) // REFRESH_STEPS * REFRESH_STEPS + phase
        row = min((changed - first_step) // bar_steps - 1, len(bar_lots) - 1)
        mean = bar_lots[row] * per_minute * LEVEL_SHARE if row >= 0 else 0.0
        mean = max(mean, LEVEL_NOTIONAL_MIN / (price * tick_lot))
        size = _SIZE_MIN + _SIZE_RANGE * uniform(seed, price, changed, _SIZE + side)
        result[k, 0] = price
        result[k, 1] = max(int(np.rint(mean * size)), 1)
        price = (price // gap + 1) * gap if side == ASK else (price - 1) // gap * gap
        if price <= 0:
            return result[: k + 1]
    return result


class Surroundings(NamedTuple):
    """What a symbol's book is made of where none is known.

    Attributes
    ----------
    seed : int
        The symbol's key (`noise.seed_of`).
    bar_lots : int64 array, shape (n_bars,)
        Volumes in whole steps of quantity.
    first_step : int
        Open of the first bar, in steps since 1970.
    bar_steps : int
        Steps of a bar.
    tick : tuple of int
        Numerator and denominator (`decimal_fraction`).
    step_size : float
        Coins.
    """

    seed: int
    bar_lots: IntArray
    first_step: int
    bar_steps: int
    tick: tuple[int, int]
    step_size: float


def around(
    known: Surroundings, price: float, half_spread_bps: float, step: int, levels: int
) -> tuple[IntArray, IntArray]:
    """Return bids and asks around a price at a step since 1970, at most `levels` a side, as `ladder` has them."""
    numerator, denominator = known.tick
    in_ticks = price * denominator / numerator
    bid, ask = touch(in_ticks, half_spread_bps)
    rest = (
        level_gap(in_ticks),
        min(levels, LEVELS_MAX),
        step,
        known.first_step,
        known.bar_steps,
        known.bar_lots,
        numerator / denominator * known.step_size,
    )
    return ladder(known.seed, BID, bid, *rest), ladder(known.seed, ASK, ask, *rest)


def book_of(bids: IntArray, asks: IntArray, now_us: int) -> Book:
    """Return the book of two sides at a time."""
    return Book(_pairs(bids), _pairs(asks), update_id(now_us))


def _pairs(levels: IntArray) -> tuple[tuple[int, int], ...]:
    return tuple((price, lots) for price, lots in levels.tolist())


@njit(cache=True)
def difference(before: IntArray, after: IntArray, side: int) -> IntArray:
    """Return the levels of a side that are new or have another size, and with size 0 those that are gone.

    Parameters
    ----------
    before, after : int64 array, shape (n, 2)
        From `ladder`.
    side : int
        `BID` or `ASK`.
    """
    result = np.empty((len(before) + len(after), 2), dtype=np.int64)
    i, j, count = 0, 0, 0
    while i < len(before) or j < len(after):
        if j == len(after) or (i < len(before) and before[i, 0] * side < after[j, 0] * side):
            result[count, 0], result[count, 1] = before[i, 0], 0
            i += 1
            count += 1
            continue
        if i < len(before) and before[i, 0] == after[j, 0]:
            if before[i, 1] != after[j, 1]:
                result[count, 0], result[count, 1] = after[j, 0], after[j, 1]
                count += 1
            i += 1
        else:
            result[count, 0], result[count, 1] = after[j, 0], after[j, 1]
            count += 1
        j += 1
    return result[:count]


def no_levels() -> IntArray:
    """Return the side of a book that is empty."""
    return np.empty((0, 2), dtype=np.int64)
