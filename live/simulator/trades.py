"""The prints of a bar: one a second along its path and at each of its four prices, with its volume in whole steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from live.simulator.noise import uniform
from live.simulator.path import STEP_US, Prices, path_price
from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray

SECOND_US = 1_000_000
_STEPS_PER_SECOND = SECOND_US // STEP_US
_MILLISECOND_US = 1_000
_MILLISECONDS_PER_STEP = STEP_US // _MILLISECOND_US
_N_KNOTS = 4
_LATENESS, _STAMP, _SHARE, _SIDE = 1, 2, 3, 4


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
    first_id, last_id : int
        Of the trades that it adds up.
    """

    id: int
    time_us: int
    price: float
    lots: int
    buyer_is_maker: bool
    first_id: int
    last_id: int


class Flow(NamedTuple):
    """What is known of a symbol's volumes.

    Attributes
    ----------
    seed : int
        The symbol's key (`noise.seed_of`).
    bar : int
        Number of the first bar since 1970.
    n_seconds : int
        Seconds of a bar, a multiple of 3.
    lots : int64 array, shape (n_bars,)
        Volume in whole steps.
    buy_share : float64 array, shape (n_bars,)
        Share of it in which the taker bought.
    """

    seed: int
    bar: int
    n_seconds: int
    lots: IntArray
    buy_share: FloatArray


@inner()
def _slot(flow: Flow, row: int, slot: int) -> tuple[int, int]:
    """Return when a place for a print is: microseconds and steps of the path since the bar's open.

    A bar has ``n_seconds + 1`` of them, one in each second and one at the close.
    """
    bar = flow.bar + row
    step = slot * _STEPS_PER_SECOND
    if slot == flow.n_seconds:
        step -= 1
    elif slot % (flow.n_seconds // 3):
        step += int(uniform(flow.seed, bar, slot, _LATENESS) * (_STEPS_PER_SECOND - 1))
    late = int(uniform(flow.seed, bar, slot, _STAMP) * _MILLISECONDS_PER_STEP)
    return step * STEP_US + late * _MILLISECOND_US, step


@inner()
def _lots_before(flow: Flow, row: int, slot: int) -> int:
    """Return what a bar has traded before a slot: nothing for the first, all for ``n_seconds + 1``.

    The first four lots go to the slots at the bar's four prices, the rest evenly to all, give or take one place.
    """
    total = int(flow.lots[row])
    third = flow.n_seconds // 3
    knots = min(min(total, _N_KNOTS), (slot + third - 1) // third)
    rest = max(total - _N_KNOTS, 0)
    if slot <= 0:
        return knots
    if slot > flow.n_seconds:
        return knots + rest
    place = (slot - 1 + uniform(flow.seed, flow.bar + row, slot, _SHARE)) / (flow.n_seconds + 1)
    return knots + int(rest * place)


@njit(cache=True)
def traded(flow: Flow, times_us: IntArray) -> IntArray:
    """Return what their bars have traded up to some times, those included.

    Parameters
    ----------
    flow : Flow
        Of the symbol.
    times_us : int64 array, shape (n,)
        Since the open of the first bar; times outside the bars count as their ends.

    Returns
    -------
    int64 array, shape (3, n)
        Row of the bar, and lots and slots passed in it so far.
    """
    result = np.zeros((3, len(times_us)), dtype=np.int64)
    bar_us = flow.n_seconds * SECOND_US
    for i in range(len(times_us)):
        row = min(max(times_us[i] // bar_us, 0), len(flow.lots) - 1)
        inside = times_us[i] - row * bar_us
        result[0, i] = row
        if inside < 0:
            continue
        slot = min(inside // SECOND_US, flow.n_seconds - 1)
        if _slot(flow, row, slot)[0] <= inside:
            slot += 1
        if _slot(flow, row, flow.n_seconds)[0] <= inside:
            slot = flow.n_seconds + 1
        result[1, i] = _lots_before(flow, row, slot)
        result[2, i] = slot
    return result


@njit(cache=True)
def prints(
    flow: Flow, prices: Prices, s: int, tick: FloatArray, from_us: int, to_us: int
) -> tuple[IntArray, FloatArray]:
    """Return the prints in ``(from_us, to_us]``, times counted from the open of the first bar.

    Parameters
    ----------
    flow : Flow
        Of symbol `s`.
    prices, tick
        As in `path.prices_at`.

    Returns
    -------
    whole : int64 array, shape (n, 4)
        Slot counted from 1970, time, lots, and 1 where the taker sold.
    price : float64 array, shape (n,)
        USDT per coin.
    """
    n_slots = flow.n_seconds + 1
    first = max(from_us // SECOND_US, 0)
    last = min(to_us // SECOND_US, len(flow.lots) * flow.n_seconds - 1)
    room = max(last - first + 1, 0)
    room += room // flow.n_seconds + 2
    whole = np.empty((room, 4), dtype=np.int64)
    price = np.empty(room)
    count = 0
    for second in range(first, last + 1):
        row, begin = divmod(second, flow.n_seconds)
        end = begin + 2 if begin == flow.n_seconds - 1 else begin + 1
        for slot in range(begin, end):
            inside, step = _slot(flow, row, slot)
            time_us = row * flow.n_seconds * SECOND_US + inside
            lots = _lots_before(flow, row, slot + 1) - _lots_before(flow, row, slot)
            paid = path_price(prices, row, s, False, step, flow.n_seconds * _STEPS_PER_SECOND, tick)
            if lots <= 0 or np.isnan(paid) or not from_us < time_us <= to_us:
                continue
            chance = uniform(flow.seed, flow.bar + row, slot, _SIDE)
            whole[count, 0] = (flow.bar + row) * n_slots + slot
            whole[count, 1] = time_us
            whole[count, 2] = lots
            whole[count, 3] = 1 if chance >= flow.buy_share[row] else 0
            price[count] = paid
            count += 1
    return whole[:count], price[:count]
