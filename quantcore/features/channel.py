r"""Donchian channel: where the close stands among the extremes of the bars before it, and the breakouts from them.

With the lowest low and the highest high of the n known bars *before* the present one,

.. math:: L_t = \min_{1 \le k \le n} \text{low}_{t-k}, \qquad H_t = \max_{1 \le k \le n} \text{high}_{t-k}

A bar without high, low or close is NaN and as if it were not there. Scaling prices changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numba import njit

from quantcore.features.folding import Empty, empty_state, fold, whole
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels.rolling import MAX, MIN, rolling_init, rolling_step
from quantcore.types import FloatArray, Panel

VERSION = 1

# Columns of the state of a channel, one row per symbol: extremes of the bars so far, side of the last breakout.
_LOW, _HIGH, _SIDE = 0, 1, 2


@njit(cache=True, error_model="numpy")
def channel_init(n_symbols: int) -> FloatArray:
    """Return the empty state of the channels, shape ``(n_symbols, 3)``: no extremes, no breakout."""
    state = np.full((n_symbols, 3), np.nan)
    state[:, _SIDE] = 0.0
    return state


@njit(cache=True, error_model="numpy")
def channel_step(
    state: FloatArray, lows: FloatArray, highs: FloatArray, i: int, low: float, high: float
) -> tuple[float, float]:
    """Return a symbol's channel before one more bar, and take the bar in, advancing row `i` of the states.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 3)
        From `channel_init`.
    lows, highs : float64 array, shape (n_symbols, window + 2)
        From `rolling_init`.
    i : int
        Row of the symbol.
    low, high : float
        USDT per coin, not NaN.

    Returns
    -------
    (float, float)
        Lowest low and highest high of the `window` bars before; NaN where there are fewer.
    """
    lowest, highest = state[i, _LOW], state[i, _HIGH]
    state[i, _LOW] = rolling_step(lows[i], low, MIN)
    state[i, _HIGH] = rolling_step(highs[i], high, MAX)
    return lowest, highest


@njit(cache=True, error_model="numpy")
def donchian_position_step(
    state: FloatArray,
    lows: FloatArray,
    highs: FloatArray,
    i: int,
    low: float,
    high: float,
    close: float,
) -> float:
    """Return where one symbol's close stands in its channel, advancing row `i` of the states.

    Parameters
    ----------
    state, lows, highs, i
        As for `channel_step`; unchanged where a price is NaN.
    low, high, close : float
        USDT per coin, NaN where missing.

    Returns
    -------
    float
        0 at the lowest low, 1 at the highest high, beyond them on a breakout; NaN where a price is missing, the
        channel has fewer bars than its window, or no width.
    """
    if np.isnan(low + high + close):
        return np.nan
    lowest, highest = channel_step(state, lows, highs, i, low, high)
    return (close - lowest) / (highest - lowest) if highest > lowest else np.nan


@njit(cache=True, error_model="numpy")
def breakout_step(
    state: FloatArray,
    lows: FloatArray,
    highs: FloatArray,
    i: int,
    low: float,
    high: float,
    close: float,
    exit_at_middle: bool,
) -> float:
    """Return the side of one symbol's last breakout, advancing row `i` of the states.

    Parameters
    ----------
    state, lows, highs, i, low, high, close
        As for `donchian_position_step`.
    exit_at_middle : bool
        Whether a close beyond the middle of the channel ends a breakout, or only the opposite one does.

    Returns
    -------
    float
        1, -1 or 0; NaN where a price is missing or the channel has fewer bars than its window.
    """
    if np.isnan(low + high + close):
        return np.nan
    lowest, highest = channel_step(state, lows, highs, i, low, high)
    if np.isnan(lowest):
        return np.nan
    side = state[i, _SIDE]
    if close > highest:
        side = 1.0
    elif close < lowest:
        side = -1.0
    elif exit_at_middle and side * (close - 0.5 * (lowest + highest)) < 0.0:
        side = 0.0
    state[i, _SIDE] = side
    return float(side)


@njit(cache=True, error_model="numpy")
def donchian_position_scan(
    low: FloatArray,
    high: FloatArray,
    close: FloatArray,
    state: FloatArray,
    lows: FloatArray,
    highs: FloatArray,
) -> FloatArray:
    """Return `donchian_position_step` of every row and symbol, advancing the states in place."""
    n_bars, n_symbols = close.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = donchian_position_step(
                state, lows, highs, i, low[t, i], high[t, i], close[t, i]
            )
    return values


@njit(cache=True, error_model="numpy")
def breakout_scan(
    low: FloatArray,
    high: FloatArray,
    close: FloatArray,
    exit_at_middle: bool,
    state: FloatArray,
    lows: FloatArray,
    highs: FloatArray,
) -> FloatArray:
    """Return `breakout_step` of every row and symbol, advancing the states in place."""
    n_bars, n_symbols = close.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = breakout_step(
                state, lows, highs, i, low[t, i], high[t, i], close[t, i], exit_at_middle
            )
    return values


def donchian_position(
    bars: Bars, *, window: int, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return where the close stands in the channel of the bars before it, :math:`(C_t - L_t) / (H_t - L_t)`.

    Parameters
    ----------
    bars : Bars
        `high`, `low` and `close`.
    window : int
        Known bars n of the channel, >= 1.
    state : FoldState, optional
        From an earlier call with the same window; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        0 at the lowest low, 1 at the highest high, outside [0, 1] on a breakout. NaN where a price is missing, before
        a symbol's bar n + 1, and where the channel has no width.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `window` is not a whole number >= 1.
    SchemaMismatch
        If `state` is of another feature, another window or another number of symbols.
    DataGap
        If bars have no highs or lows.

    References
    ----------
    Lane's stochastic oscillator over the channel of Donchian; Kaufman, *Trading Systems and Methods*, 5th ed., Wiley,
    2013, chs. 5 and 9. Deviation: the present bar is not part of the channel, so that a breakout shows.
    """
    empty = _empty("donchian_position", bars, whole("window", window, least=1))
    low, high, close = bars.array("low"), bars.array("high"), bars.array("close")

    def scan(held: Mapping[str, FloatArray]) -> FloatArray:
        return donchian_position_scan(
            low, high, close, held["channel"], held["lows"], held["highs"]
        )

    return fold(bars, state, empty, scan)


def breakout(
    bars: Bars, *, window: int, exit_at_middle: bool, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the side of the last breakout from the channel of the bars before.

    1 after a close above the channel's high and -1 after one below its low, kept until the opposite breakout, or until
    a close beyond the middle of the channel, on the other side of it, which makes it 0.

    Parameters
    ----------
    bars : Bars
        `high`, `low` and `close`.
    window : int
        Known bars of the channel, >= 1.
    exit_at_middle : bool
        Whether crossing the middle ends a breakout.
    state : FoldState, optional
        From an earlier call with the same settings; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        1, -1 or 0 (no breakout yet, or ended). NaN where a price is missing, which ends nothing, and before a symbol's
        bar ``window + 1``.
    FoldState
        To hand to the next call. It remembers breakouts without limit: a cold start agrees with it only once the next
        breakout has come.

    Raises
    ------
    ValueError, SchemaMismatch, DataGap
        As `donchian_position`.

    References
    ----------
    Donchian's rule, as in Kaufman, *Trading Systems and Methods*, 5th ed., Wiley, 2013, ch. 5.
    """
    empty = _empty("breakout", bars, whole("window", window, least=1), float(exit_at_middle))
    low, high, close = bars.array("low"), bars.array("high"), bars.array("close")
    at_middle = bool(exit_at_middle)

    def scan(held: Mapping[str, FloatArray]) -> FloatArray:
        return breakout_scan(
            low, high, close, at_middle, held["channel"], held["lows"], held["highs"]
        )

    return fold(bars, state, empty, scan)


def _empty(kind: str, bars: Bars, window: int, *settings: float) -> Empty:
    return empty_state(
        kind,
        VERSION,
        (window, *settings),
        channel=channel_init(bars.n_symbols),
        lows=rolling_init(bars.n_symbols, window),
        highs=rolling_init(bars.n_symbols, window),
    )
