"""The book around a price, which bars do not show: a touch half a spread away, and levels on a lattice beyond it.

A level's size changes every ten seconds, each level at its own time, so that a step of 100 ms changes a few of them. It
is a share of the volume per minute of the last bar that had closed when it changed, so that the book knows no future.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from live.simulator.noise import uniform
from live.simulator.path import STEP_US
from quantcore.types import FloatArray, IntArray

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
_BPS = 1e-4
BID, ASK = 1, 2


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


class Ladder(NamedTuple):
    """One side of a book: prices in ticks and sizes in lots, int64 arrays, best first."""

    ticks: IntArray
    lots: IntArray


def update_id(time_us: int) -> int:
    """Return the number of the last change up to a time; ten are left for each step."""
    return time_us // STEP_US * 10


def touch(price_ticks: float, half_spread_bps: float) -> tuple[int, int]:
    """Return best bid and ask in ticks: at least one tick on either side of the price."""
    half = max(price_ticks * half_spread_bps * _BPS, 1.0)
    return max(math.floor(price_ticks - half), 1), math.ceil(price_ticks + half)


def level_ticks(best: int, price_ticks: float, levels: int, side: int) -> IntArray:
    """Return the prices of a side in ticks, best first: the touch, then the lattice beyond it; all are positive."""
    gap = 2 ** max(math.floor(math.log2(max(price_ticks * _LEVEL_GAP, 1.0))), 0)
    if side == BID:
        first = (best - 1) // gap * gap
        lattice = first - gap * np.arange(levels - 1, dtype=np.int64)
        lattice = lattice[lattice > 0]
    else:
        first = (best // gap + 1) * gap
        lattice = first + gap * np.arange(levels - 1, dtype=np.int64)
    return np.concatenate([np.array([best], dtype=np.int64), lattice])


def changed_step(seed: int, ticks: IntArray, step: int) -> IntArray:
    """Return the step, counted from 1970, in which the levels at some prices last changed."""
    phase = np.floor(uniform(seed, ticks, 5) * REFRESH_STEPS).astype(np.int64)
    return np.asarray((step - phase) // REFRESH_STEPS * REFRESH_STEPS + phase)


def level_lots(
    seed: int, ticks: IntArray, changed: IntArray, side: int, mean_lots: FloatArray
) -> IntArray:
    """Return the sizes of levels, at least one lot, spread from a quarter to one and three quarters of their mean."""
    spread = 0.25 + 1.5 * uniform(seed, ticks, changed, side)
    return np.maximum(np.rint(mean_lots * spread).astype(np.int64), 1)
