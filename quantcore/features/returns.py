r"""Returns of closes: since the last known close, and over a number of bars.

A position is held through a hole. So the close of a bar without one is the last that was known, and the return after a
hole is one return, over all of it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.features.folding import empty_state, fold, whole
from quantcore.features.lag import lag_init, lag_step
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.types import FloatArray, Panel

VERSION = 1


@njit(cache=True, error_model="numpy")
def simple_return_step(state: FloatArray, i: int, close: float) -> float:
    """Return the arithmetic return of one symbol since `lag` bars ago, advancing row `i` of a `lag_init` state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, lag + 1)
        From `lag_init`; row `i` is advanced in place.
    i : int
        Row of the symbol.
    close : float
        USDT per coin, NaN where missing.

    Returns
    -------
    float
        Fraction; NaN where the close is missing or none was known `lag` bars ago.
    """
    return close / lag_step(state, i, close) - 1.0


@njit(cache=True, error_model="numpy")
def simple_return_scan(closes: FloatArray, state: FloatArray) -> FloatArray:
    """Return `simple_return_step` of every row and symbol, shape ``(n_bars, n_symbols)``, advancing `state`."""
    n_bars, n_symbols = closes.shape
    returns = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            returns[t, i] = simple_return_step(state, i, closes[t, i])
    return returns


@njit(cache=True, error_model="numpy")
def log_return_step(state: FloatArray, i: int, close: float) -> float:
    """Return the logarithmic return of one symbol; arguments and NaN as `simple_return_step`."""
    return math.log(close / lag_step(state, i, close))


@njit(cache=True, error_model="numpy")
def log_return_scan(closes: FloatArray, state: FloatArray) -> FloatArray:
    """Return `log_return_step` of every row and symbol, shape ``(n_bars, n_symbols)``, advancing `state`."""
    n_bars, n_symbols = closes.shape
    returns = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            returns[t, i] = log_return_step(state, i, closes[t, i])
    return returns


def simple_returns(
    bars: Bars, *, lookback: int = 1, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the arithmetic return of each close, :math:`C_t / C_{t-k} - 1`.

    Parameters
    ----------
    bars : Bars
        Only `close` is used.
    lookback : int
        Bars k, >= 1; with 1 the return since the last known close.
    state : FoldState, optional
        From an earlier call with the same lookback; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Fraction. NaN where the close is missing and where the symbol was not listed k bars ago; where it had a hole
        then, the last close known before counts.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `lookback` is not a whole number >= 1.
    SchemaMismatch
        If `state` is of another feature, another lookback or another number of symbols.
    """
    lag = whole("lookback", lookback, least=1)
    empty = empty_state("simple_returns", VERSION, (lag,), closes=lag_init(bars.n_symbols, lag))
    closes = bars.array("close")
    return fold(bars, state, empty, lambda held: simple_return_scan(closes, held["closes"]))


def log_returns(
    bars: Bars, *, lookback: int = 1, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the logarithmic return of each close, :math:`\ln(C_t / C_{t-k})`.

    Parameters
    ----------
    bars, lookback, state
        As for `simple_returns`.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        NaN as for `simple_returns`; the returns of one symbol add up to that over all bars, holes included.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError, SchemaMismatch
        As `simple_returns`.
    """
    lag = whole("lookback", lookback, least=1)
    empty = empty_state("log_returns", VERSION, (lag,), closes=lag_init(bars.n_symbols, lag))
    closes = bars.array("close")
    return fold(bars, state, empty, lambda held: log_return_scan(closes, held["closes"]))
