r"""Trend: how far and how straight a price has moved, in units that make symbols comparable.

**Holes.** A bar without a close is NaN and, but for one exception, as if it were not there: averages and paths run over
the last known closes. The exception is the return of `time_series_momentum`, whose bars are time. All is unchanged
where prices are scaled, up to rounding. `features.channel` has the trends that are measured by highs and lows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from quantcore.features.folding import empty_state, fold, positive, whole
from quantcore.features.lag import lag_init, lag_last, lag_step
from quantcore.features.volatility import realised_volatility_init, realised_volatility_step
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels.ewm import ewm_step, ewm_var_step, half_life_decay, span_decay
from quantcore.kernels.rolling import SUM, rolling_init, rolling_step
from quantcore.types import FloatArray, Panel

VERSION = 1

# Columns of the state of a crossover, one row per symbol.
_COUNT, _CLOSE, _FAST, _FAST_WEIGHT, _SLOW, _SLOW_WEIGHT, _VARIANCE, _VARIANCE_WEIGHT = range(8)


@njit(cache=True, error_model="numpy")
def crossover_init(n_symbols: int) -> FloatArray:
    """Return the empty state, shape ``(n_symbols, 8)``: zeros, and no close yet."""
    state = np.zeros((n_symbols, 8))
    state[:, _CLOSE] = np.nan
    return state


@njit(cache=True, error_model="numpy")
def crossover_step(
    state: FloatArray,
    i: int,
    close: float,
    fast_decay: float,
    slow_decay: float,
    variance_decay: float,
) -> float:
    """Return the crossover of one symbol after one more close, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 8)
        From `crossover_init`; row `i` is advanced in place, unless the close is NaN.
    i : int
        Row of the symbol.
    close : float
        USDT per coin, NaN where missing.
    fast_decay, slow_decay, variance_decay : float
        Decays per bar of the two averages and of the variance of price changes, in [0, 1).

    Returns
    -------
    float
        Averages' distance in standard deviations of a bar's price change; 0 while the price has never moved, NaN
        where the close is missing.
    """
    if np.isnan(close):
        return np.nan
    fast, fast_weight = ewm_step(state[i, _FAST], state[i, _FAST_WEIGHT], close, fast_decay)
    slow, slow_weight = ewm_step(state[i, _SLOW], state[i, _SLOW_WEIGHT], close, slow_decay)
    variance, weight = ewm_var_step(
        state[i, _VARIANCE], state[i, _VARIANCE_WEIGHT], close - state[i, _CLOSE], variance_decay
    )
    state[i, _COUNT] += 1.0
    state[i, _CLOSE] = close
    state[i, _FAST], state[i, _FAST_WEIGHT] = fast, fast_weight
    state[i, _SLOW], state[i, _SLOW_WEIGHT] = slow, slow_weight
    state[i, _VARIANCE], state[i, _VARIANCE_WEIGHT] = variance, weight
    return (fast - slow) / math.sqrt(variance) if variance > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def crossover_scan(
    closes: FloatArray,
    fast_decay: float,
    slow_decay: float,
    variance_decay: float,
    first: int,
    state: FloatArray,
) -> FloatArray:
    """Return `crossover_step` of every row and symbol, NaN before a symbol's `first` closes, advancing `state`."""
    n_bars, n_symbols = closes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            value = crossover_step(state, i, closes[t, i], fast_decay, slow_decay, variance_decay)
            values[t, i] = value if state[i, _COUNT] >= first else np.nan
    return values


def crossover(
    bars: Bars,
    *,
    fast: int,
    slow: int,
    volatility_half_life: float,
    state: FoldState | None = None,
) -> tuple[Panel, FoldState]:
    r"""Return the distance of two moving averages of the close in units of price volatility.

    .. math:: \frac{\bar P_t^{(f)} - \bar P_t^{(s)}}{\sigma_t}

    with exponentially weighted means over the spans f and s, and the exponentially weighted volatility of price changes
    about zero. It is one pair of `strategies/trend.py` without its gain: on a random walk its standard deviation comes
    to about :math:`(s - f) / (2\sqrt{f + s})`, and thus grows with the spans.

    Parameters
    ----------
    bars : Bars
        Only `close` is used.
    fast, slow : int
        Spans in bars, 1 <= fast < slow.
    volatility_half_life : float
        Bars until a weight halves, > 0.
    state : FoldState, optional
        From an earlier call with the same settings; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Dimensionless, positive above. NaN where the close is missing and before a symbol's `slow` closes; 0 while the
        price has never moved.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    SchemaMismatch
        If `state` is of another feature, other settings or another number of symbols.

    References
    ----------
    Baz, Granger, Harvey, Le Roux and Rattray, "Dissecting Investment Strategies in the Cross Section and Time Series",
    2015, SSRN 2695101. Deviation: price changes weighted exponentially in place of a window.
    """
    fast, slow = whole("fast", fast, least=1), whole("slow", slow, least=1)
    if fast >= slow:
        raise ValueError(f"slow must be > fast = {fast}, was {slow}")
    half_life = positive("volatility_half_life", volatility_half_life)
    decays = (span_decay(float(fast)), span_decay(float(slow)), half_life_decay(half_life))
    symbols = crossover_init(bars.n_symbols)
    empty = empty_state("crossover", VERSION, (fast, slow, half_life), symbols=symbols)
    closes = bars.array("close")
    return fold(
        bars, state, empty, lambda held: crossover_scan(closes, *decays, slow, held["symbols"])
    )


@njit(cache=True, error_model="numpy")
def momentum_step(
    closes: FloatArray, volatilities: FloatArray, i: int, close: float, decay: float
) -> float:
    """Return the momentum of one symbol after one more bar, advancing row `i` of both states.

    Parameters
    ----------
    closes : float64 array, shape (n_symbols, lookback + 1)
        From `lag_init`.
    volatilities : float64 array, shape (n_symbols, 3)
        From `realised_volatility_init`.
    i : int
        Row of the symbol.
    close : float
        USDT per coin, NaN where missing.
    decay : float
        Decay per bar of the variance, in [0, 1).

    Returns
    -------
    float
        Log return over the bars of the lag in its standard deviations; 0 while the price has never moved, NaN where
        the close is missing or none was known that long ago.
    """
    change = math.log(close / lag_step(closes, i, close))
    volatility = realised_volatility_step(volatilities, i, close, decay)
    if np.isnan(change):
        return np.nan
    return change / (volatility * math.sqrt(closes.shape[1] - 1)) if volatility > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def momentum_scan(
    prices: FloatArray, decay: float, closes: FloatArray, volatilities: FloatArray
) -> FloatArray:
    """Return `momentum_step` of every row and symbol, advancing both states in place."""
    n_bars, n_symbols = prices.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = momentum_step(closes, volatilities, i, prices[t, i], decay)
    return values


def time_series_momentum(
    bars: Bars, *, lookback: int, volatility_half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the log return over the last bars in units of its volatility.

    .. math:: \frac{\ln(C_t / C_{t-n})}{\sigma_t \sqrt n}

    with :math:`\sigma` as in `volatility.realised_volatility`: about a standard normal number on a random walk.

    Parameters
    ----------
    bars : Bars
        Only `close` is used.
    lookback : int
        Bars n, >= 1.
    volatility_half_life : float
        Bars until a weight halves, > 0.
    state : FoldState, optional
        From an earlier call with the same settings; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Dimensionless. NaN where the close is missing and where the symbol was not listed n bars ago; where it had a
        hole then, the last close known before counts. 0 while the price has never moved.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If a setting is out of its range.
    SchemaMismatch
        If `state` is of another feature, other settings or another number of symbols.

    References
    ----------
    Moskowitz, Ooi and Pedersen, "Time Series Momentum", *Journal of Financial Economics* 104(2), 2012. Deviation: a
    number of standard deviations in place of the sign of the return.
    """
    lag = whole("lookback", lookback, least=1)
    half_life = positive("volatility_half_life", volatility_half_life)
    empty = empty_state(
        "time_series_momentum",
        VERSION,
        (lag, half_life),
        closes=lag_init(bars.n_symbols, lag),
        volatilities=realised_volatility_init(bars.n_symbols),
    )
    prices, decay = bars.array("close"), half_life_decay(half_life)

    def scan(held: Mapping[str, FloatArray]) -> FloatArray:
        return momentum_scan(prices, decay, held["closes"], held["volatilities"])

    return fold(bars, state, empty, scan)


@njit(cache=True, error_model="numpy")
def efficiency_step(closes: FloatArray, paths: FloatArray, i: int, close: float) -> float:
    """Return the efficiency ratio of one symbol after one more close, advancing row `i` of both states.

    Parameters
    ----------
    closes : float64 array, shape (n_symbols, window + 1)
        From `lag_init`; unchanged by a NaN.
    paths : float64 array, shape (n_symbols, window + 2)
        From `rolling_init`; unchanged by a NaN.
    i : int
        Row of the symbol.
    close : float
        USDT per coin, NaN where missing.

    Returns
    -------
    float
        In [0, 1]; NaN where the close is missing and before ``window + 1`` closes, 0 where none of them moved.
    """
    if np.isnan(close):
        return np.nan
    last = lag_last(closes, i)
    first = lag_step(closes, i, close)
    if np.isnan(last):
        return np.nan
    path = rolling_step(paths[i], abs(close - last), SUM)
    if np.isnan(path) or path == 0.0:
        return 0.0 * path
    return min(1.0, abs(close - first) / path)


@njit(cache=True, error_model="numpy")
def efficiency_scan(prices: FloatArray, closes: FloatArray, paths: FloatArray) -> FloatArray:
    """Return `efficiency_step` of every row and symbol, advancing both states in place."""
    n_bars, n_symbols = prices.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = efficiency_step(closes, paths, i, prices[t, i])
    return values


def efficiency_ratio(
    bars: Bars, *, window: int, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return Kaufman's efficiency ratio: the way from first to last close over the way that the price took.

    .. math:: \frac{|C_t - C_{t-n}|}{\sum_{k=0}^{n-1} |C_{t-k} - C_{t-k-1}|}

    Parameters
    ----------
    bars : Bars
        Only `close` is used.
    window : int
        Changes n of known closes, >= 1.
    state : FoldState, optional
        From an earlier call with the same window; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [0, 1], without direction: 1 for a straight move. NaN where the close is missing and before a symbol has
        n + 1 closes; 0 where none of them moved.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `window` is not a whole number >= 1.
    SchemaMismatch
        If `state` is of another feature, another window or another number of symbols.

    References
    ----------
    Kaufman, *Smarter Trading*, McGraw-Hill, 1995.
    """
    n = whole("window", window, least=1)
    empty = empty_state(
        "efficiency_ratio",
        VERSION,
        (n,),
        closes=lag_init(bars.n_symbols, n),
        paths=rolling_init(bars.n_symbols, n),
    )
    prices = bars.array("close")
    return fold(
        bars, state, empty, lambda held: efficiency_scan(prices, held["closes"], held["paths"])
    )
