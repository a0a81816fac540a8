"""The path of a price inside its bars: on a grid of 100 ms, by the bar alone, through all four of its prices.

A bar that closes at or above its open runs open, low, high, close, any other open, high, low, close, on straight lines
over three equal thirds of its time, and shows its close in its last 100 ms. Within a third prices are rounded to the
tick, which keeps their order; the four prices themselves stay what they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quantcore.types import BoolArray, FloatArray, IntArray

STEP_US = 100_000
"""The market moves in such steps; the exchange's fastest depth stream has them too."""


class Knots(NamedTuple):
    """The prices that a path runs through, each of the same shape; NaN where there is no bar.

    Attributes
    ----------
    open, high, low, close : float64 array
        USDT per coin.
    low_first : bool array
        Whether the low comes before the high.
    """

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    low_first: BoolArray


class Extent(NamedTuple):
    """First, highest, lowest and last price of a stretch of path, arrays of the same shape; NaN where there is none."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray


def price_at(
    knots: Knots, step: IntArray, n_steps: int, *, tick: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Return the price at a step of its bar.

    Parameters
    ----------
    knots : Knots
        Of the bars.
    step : int64 array
        Steps since the bar's open, in ``[0, n_steps)``; broadcast against the knots.
    n_steps : int
        Steps of a bar, a multiple of 3.
    tick : tuple of float64 array
        Numerator and denominator of `decimal_fraction`, per column.

    Returns
    -------
    float64 array
        USDT per coin, between low and high; NaN where there is no bar.
    """
    third = n_steps // 3
    leg = step // third
    second = np.where(knots.low_first, knots.low, knots.high)
    third_knot = np.where(knots.low_first, knots.high, knots.low)
    start = np.where(leg == 0, knots.open, np.where(leg == 1, second, third_knot))
    stop = np.where(leg == 0, second, np.where(leg == 1, third_knot, knots.close))
    numerator, denominator = tick
    raw = start + (stop - start) * ((step - leg * third) / third)
    rounded = np.rint(raw * denominator / numerator) * numerator / denominator
    inside = np.clip(rounded, np.minimum(start, stop), np.maximum(start, stop))
    exact = np.where(step == leg * third, start, inside)
    return np.asarray(np.where(step == n_steps - 1, knots.close, exact))


def extent_within(
    knots: Knots,
    first: IntArray,
    last: IntArray,
    n_steps: int,
    *,
    tick: tuple[FloatArray, FloatArray],
) -> Extent:
    """Return the extent of the path from a first to a last step of the same bar, both included.

    Parameters
    ----------
    knots, n_steps, tick
        As in `price_at`.
    first, last : int64 array
        Steps since the bar's open, ``first <= last``; broadcast against the knots.
    """
    third = n_steps // 3
    start = price_at(knots, first, n_steps, tick=tick)
    stop = price_at(knots, last, n_steps, tick=tick)
    turns_low = np.where(knots.low_first, third, 2 * third)
    turns_high = 3 * third - turns_low
    low_seen = (first <= turns_low) & (turns_low <= last)
    high_seen = (first <= turns_high) & (turns_high <= last)
    low = np.where(low_seen, knots.low, np.minimum(start, stop))
    high = np.where(high_seen, knots.high, np.maximum(start, stop))
    return Extent(start, high, low, stop)
