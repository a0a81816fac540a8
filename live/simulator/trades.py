"""The prints of a bar: one a second along its path and at each of its four prices, with its volume in whole steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from live.simulator.noise import uniform
from live.simulator.path import STEP_US
from quantcore.types import BoolArray, FloatArray, IntArray

SECOND_US = 1_000_000
_STEPS_PER_SECOND = SECOND_US // STEP_US
_MILLISECOND_US = 1_000
_N_KNOTS = 4


class Trade(NamedTuple):
    """A print.

    Attributes
    ----------
    id : int
        Increasing, with gaps where a second has no trade.
    time_us : int
        Microseconds since 1970, whole milliseconds.
    price : float
        USDT per coin.
    lots : int
        Whole steps of the symbol, > 0.
    buyer_is_maker : bool
        Whether the taker sold.
    """

    id: int
    time_us: int
    price: float
    lots: int
    buyer_is_maker: bool


class Slots(NamedTuple):
    """The places for prints of a bar, ``n_seconds + 1``: one in each second and one at the close."""

    time_us: IntArray
    """Since the bar's open."""
    step: IntArray
    """Of the path, since the bar's open."""


def slots(seed: int, bar: IntArray, slot: IntArray, n_seconds: int) -> Slots:
    """Return when the places of some slots are.

    Parameters
    ----------
    seed : int
        Of the symbol.
    bar : int64 array
        Number of the bar since 1970.
    slot : int64 array
        In ``[0, n_seconds]``; broadcast against the bars.
    n_seconds : int
        Seconds of a bar, a multiple of 3.
    """
    on_knot = slot % (n_seconds // 3) == 0
    late = np.floor(uniform(seed, bar, slot, 1) * (_STEPS_PER_SECOND - 1)).astype(np.int64)
    step = slot * _STEPS_PER_SECOND + np.where(on_knot, 0, late)
    step = np.where(slot == n_seconds, step - 1, step)
    thousandths = np.floor(uniform(seed, bar, slot, 2) * (STEP_US // _MILLISECOND_US))
    return Slots(step * STEP_US + thousandths.astype(np.int64) * _MILLISECOND_US, step)


def lots_before(
    seed: int, bar: IntArray, slot: IntArray, total: IntArray, n_seconds: int
) -> IntArray:
    """Return what has traded before a slot: 0 for the first, the bar's whole volume for ``n_seconds + 1``.

    The first four lots go to the slots at the bar's four prices, the rest evenly to all, give or take one place.

    Parameters
    ----------
    seed, bar, slot, n_seconds
        As in `slots`; a slot may be ``n_seconds + 1``.
    total : int64 array
        The bars' volumes in whole steps.
    """
    third = n_seconds // 3
    knots = np.minimum(np.minimum(total, _N_KNOTS), -(-slot // third))
    rest = np.maximum(total - _N_KNOTS, 0)
    place = (slot - 1 + uniform(seed, bar, slot, 3)) / (n_seconds + 1)
    shared = np.floor(rest * place).astype(np.int64)
    shared = np.where(slot <= 0, 0, np.where(slot > n_seconds, rest, shared))
    return np.asarray(knots + shared)


def taker_sells(seed: int, bar: IntArray, slot: IntArray, buy_share: FloatArray) -> BoolArray:
    """Return in which slots the taker sold, where takers buy a given share of the volume."""
    return np.asarray(uniform(seed, bar, slot, 4) >= buy_share)
