r"""Flow: how much is traded, who trades, and how many contracts are open.

Quote volume is `quote_volume` where it is known, else `volume` times `close`; what is not known at all is NaN and
leaves every mean unchanged. Means have weights that halve every half-life, in bars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from quantcore.features.folding import empty_state, fold, known, positive, whole
from quantcore.features.lag import lag_init, lag_step
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels.ewm import ewm_init, ewm_step, half_life_decay
from quantcore.types import FloatArray, Panel

VERSION = 1


@njit(cache=True, error_model="numpy")
def volume_mean_step(state: FloatArray, i: int, quote_volume: float, decay: float) -> float:
    """Return the mean of one symbol's quote volume after one more bar, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 2)
        From `ewm_init`; row `i` is advanced in place, unless the volume is NaN.
    i : int
        Row of the symbol.
    quote_volume : float
        USDT, NaN where missing.
    decay : float
        Decay per bar, in [0, 1).

    Returns
    -------
    float
        USDT per bar; NaN where the volume is missing.
    """
    mean, weight = ewm_step(state[i, 0], state[i, 1], quote_volume, decay)
    state[i, 0], state[i, 1] = mean, weight
    return np.nan if np.isnan(quote_volume) else float(mean)


@njit(cache=True, error_model="numpy")
def volume_mean_scan(quote_volumes: FloatArray, decay: float, state: FloatArray) -> FloatArray:
    """Return `volume_mean_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = quote_volumes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = volume_mean_step(state, i, quote_volumes[t, i], decay)
    return values


@njit(cache=True, error_model="numpy")
def volume_surprise_step(state: FloatArray, i: int, quote_volume: float, decay: float) -> float:
    """Return the log of a bar's quote volume over `volume_mean_step`, with its arguments; NaN for no volume."""
    mean = volume_mean_step(state, i, quote_volume, decay)
    return math.log(quote_volume / mean) if quote_volume > 0.0 else np.nan


@njit(cache=True, error_model="numpy")
def volume_surprise_scan(quote_volumes: FloatArray, decay: float, state: FloatArray) -> FloatArray:
    """Return `volume_surprise_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = quote_volumes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = volume_surprise_step(state, i, quote_volumes[t, i], decay)
    return values


@njit(cache=True, error_model="numpy")
def taker_imbalance_step(
    state: FloatArray, i: int, volume: float, taker_buy_volume: float, decay: float
) -> float:
    """Return the mean taker imbalance of one symbol after one more bar, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 2)
        From `ewm_init`; row `i` is advanced in place, unless a volume is NaN or nothing was traded.
    i : int
        Row of the symbol.
    volume, taker_buy_volume : float
        Coins, NaN where missing.
    decay : float
        Decay per bar, in [0, 1).

    Returns
    -------
    float
        In [-1, 1]; NaN where a volume is missing and before the first trade.
    """
    if np.isnan(volume + taker_buy_volume):
        return np.nan
    imbalance = 2.0 * taker_buy_volume / volume - 1.0 if volume > 0.0 else np.nan
    mean, weight = ewm_step(state[i, 0], state[i, 1], imbalance, decay)
    state[i, 0], state[i, 1] = mean, weight
    return float(mean) if weight > 0.0 else np.nan


@njit(cache=True, error_model="numpy")
def taker_imbalance_scan(
    volumes: FloatArray, taker_buy_volumes: FloatArray, decay: float, state: FloatArray
) -> FloatArray:
    """Return `taker_imbalance_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = volumes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = taker_imbalance_step(
                state, i, volumes[t, i], taker_buy_volumes[t, i], decay
            )
    return values


@njit(cache=True, error_model="numpy")
def open_interest_change_step(state: FloatArray, i: int, open_interest: float) -> float:
    """Return the relative change of one symbol's open interest, advancing row `i` of a `lag_init` state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, lookback + 1)
        From `lag_init`; row `i` is advanced in place.
    i : int
        Row of the symbol.
    open_interest : float
        Coins, NaN where missing.

    Returns
    -------
    float
        Fraction; NaN where the open interest is missing, or was unknown or 0 `lookback` bars ago.
    """
    earlier = lag_step(state, i, open_interest)
    return open_interest / earlier - 1.0 if earlier > 0.0 else np.nan


@njit(cache=True, error_model="numpy")
def open_interest_change_scan(open_interests: FloatArray, state: FloatArray) -> FloatArray:
    """Return `open_interest_change_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = open_interests.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = open_interest_change_step(state, i, open_interests[t, i])
    return values


def quote_volumes(bars: Bars) -> FloatArray:
    """Return the quote volume of each bar, USDT, shape ``(n_bars, n_symbols)``.

    `quote_volume` where it is known, else `volume` times `close`; NaN where neither is.
    """
    given = known(bars, "quote_volume")
    return np.where(np.isnan(given), known(bars, "volume") * bars.array("close"), given)


def quote_volume_mean(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the exponentially weighted mean of the quote volume per bar.

    Parameters
    ----------
    bars : Bars
        `quote_volume`, or `volume` and `close`.
    half_life : float
        Bars until a weight halves, > 0.
    state : FoldState, optional
        From an earlier call with the same half-life; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        USDT per bar; a bar without trades counts as 0. NaN where the volume is missing, which leaves the mean as it is.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `half_life` is not finite and > 0.
    SchemaMismatch
        If `state` is of another feature, another half-life or another number of symbols.
    """
    decay = half_life_decay(positive("half_life", half_life))
    empty = empty_state("quote_volume_mean", VERSION, (decay,), symbols=ewm_init(bars.n_symbols))
    volumes = quote_volumes(bars)
    return fold(bars, state, empty, lambda held: volume_mean_scan(volumes, decay, held["symbols"]))


def volume_surprise(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the logarithm of each bar's quote volume over its mean, `quote_volume_mean`.

    Parameters
    ----------
    bars, half_life, state
        As for `quote_volume_mean`.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Dimensionless, 0 in a symbol's first bar. The mean includes the bar, so that no surprise is above the logarithm
        of the sum of the weights. NaN where the volume is missing or 0 (the mean takes the 0 in).
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError, SchemaMismatch
        As `quote_volume_mean`.
    """
    decay = half_life_decay(positive("half_life", half_life))
    empty = empty_state("volume_surprise", VERSION, (decay,), symbols=ewm_init(bars.n_symbols))
    volumes = quote_volumes(bars)
    return fold(
        bars, state, empty, lambda held: volume_surprise_scan(volumes, decay, held["symbols"])
    )


def taker_imbalance(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the exponentially weighted mean of the imbalance between buying and selling takers.

    .. math:: 2\,\frac{\text{taker buy volume}}{\text{volume}} - 1

    Parameters
    ----------
    bars : Bars
        `volume` and `taker_buy_volume`, coins.
    half_life : float
        Bars until a weight halves, > 0.
    state : FoldState, optional
        From an earlier call with the same half-life; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1]: 1 where takers only bought. NaN where a volume is missing, everywhere if bars lack one, and before
        the first trade; a bar without trades leaves the mean as it stands.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `half_life` is not finite and > 0.
    SchemaMismatch
        If `state` is of another feature, another half-life or another number of symbols.
    """
    decay = half_life_decay(positive("half_life", half_life))
    empty = empty_state("taker_imbalance", VERSION, (decay,), symbols=ewm_init(bars.n_symbols))
    volumes, bought = known(bars, "volume"), known(bars, "taker_buy_volume")

    def scan(held: Mapping[str, FloatArray]) -> FloatArray:
        return taker_imbalance_scan(volumes, bought, decay, held["symbols"])

    return fold(bars, state, empty, scan)


def open_interest_change(
    bars: Bars, *, lookback: int, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the relative change of the open interest, :math:`I_t / I_{t-k} - 1`.

    Parameters
    ----------
    bars : Bars
        Only `open_interest` is used, coins.
    lookback : int
        Bars k, >= 1.
    state : FoldState, optional
        From an earlier call with the same lookback; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Fraction. NaN where the open interest is missing, everywhere if bars lack it, and where it was not known yet, or
        was 0, k bars ago; where there was a hole then, the last one known before counts.
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
    empty = empty_state(
        "open_interest_change", VERSION, (lag,), symbols=lag_init(bars.n_symbols, lag)
    )
    interests = known(bars, "open_interest")
    return fold(
        bars, state, empty, lambda held: open_interest_change_scan(interests, held["symbols"])
    )
