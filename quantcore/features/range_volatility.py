r"""Volatility from the ranges of bars, exponentially weighted.

A variance is measured from each bar and averaged with weights that halve every half-life; the feature is the root of
the mean, per bar, of log returns. With :math:`o = \ln(O_t/C_{t-1})`, :math:`u = \ln(H_t/O_t)`,
:math:`d = \ln(L_t/O_t)` and :math:`c = \ln(C_t/O_t)` a bar gives

.. math::
    \text{Parkinson}\;\frac{(u-d)^2}{4\ln 2}, \quad
    \text{Garman-Klass}\;\tfrac12 (u-d)^2 - (2\ln 2 - 1)\,c^2, \quad
    \text{Rogers-Satchell}\;u(u-c) + d(d-c)

and Yang-Zhang's estimator adds the variances of o and c around their means. `finance.range_volatility` has the same
estimators over plain windows, and their efficiencies.

Holes: a bar without its prices is NaN and changes nothing. All is unchanged where prices are scaled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from quantcore.features.folding import empty_state, fold, positive
from quantcore.fold import FoldState
from quantcore.frames import PRICE_FIELDS, Bars
from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import ewm_init, ewm_step, half_life_decay
from quantcore.types import FloatArray, Panel

VERSION = 1
PARKINSON = 0
GARMAN_KLASS = 1
ROGERS_SATCHELL = 2

# Columns of the state of Yang-Zhang; variances are around the means, weighted like them.
_LAST, _WEIGHT, _SQUARED_WEIGHTS, _OVERNIGHT, _OVERNIGHT_VAR, _WITHIN, _WITHIN_VAR, _SATCHELL = (
    range(8)
)


@njit(cache=True, error_model="numpy")
def range_variance(open_: float, high: float, low: float, close: float, estimator: int) -> float:
    """Return the variance that one bar measures of itself, by `PARKINSON`, `GARMAN_KLASS` or `ROGERS_SATCHELL`.

    Parameters
    ----------
    open_, high, low, close : float
        USDT per coin, > 0, the range holding open and close; NaN where missing.
    estimator : int
        One of the three constants.

    Returns
    -------
    float
        Of the log return from open to close, >= 0; NaN where a price is.
    """
    u, d, c = math.log(high / open_), math.log(low / open_), math.log(close / open_)
    if estimator == PARKINSON:
        return (u - d) * (u - d) / (4.0 * math.log(2.0)) + 0.0 * c
    if estimator == GARMAN_KLASS:
        return 0.5 * (u - d) * (u - d) - (2.0 * math.log(2.0) - 1.0) * c * c
    return u * (u - c) + d * (d - c)


@njit(cache=True, error_model="numpy")
def range_volatility_step(
    state: FloatArray,
    i: int,
    open_: float,
    high: float,
    low: float,
    close: float,
    decay: float,
    estimator: int,
) -> float:
    """Return the range volatility of one symbol after one more bar, advancing row `i` of an `ewm_init` state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 2)
        From `ewm_init`; row `i` is advanced in place, unless a price is NaN.
    i : int
        Row of the symbol.
    open_, high, low, close, estimator
        As for `range_variance`.
    decay : float
        Decay per bar, in [0, 1).

    Returns
    -------
    float
        Per bar; NaN where a price is missing.
    """
    variance = range_variance(open_, high, low, close, estimator)
    mean, weight = ewm_step(state[i, 0], state[i, 1], variance, decay)
    state[i, 0], state[i, 1] = mean, weight
    return np.nan if np.isnan(variance) else math.sqrt(mean)


@njit(cache=True, error_model="numpy")
def range_volatility_scan(
    opens: FloatArray,
    highs: FloatArray,
    lows: FloatArray,
    closes: FloatArray,
    decay: float,
    estimator: int,
    state: FloatArray,
) -> FloatArray:
    """Return `range_volatility_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = closes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = range_volatility_step(
                state, i, opens[t, i], highs[t, i], lows[t, i], closes[t, i], decay, estimator
            )
    return values


@njit(cache=True, error_model="numpy")
def yang_zhang_init(n_symbols: int) -> FloatArray:
    """Return the empty state, shape ``(n_symbols, 8)``: no bar and no close yet."""
    state = np.zeros((n_symbols, 8))
    state[:, _LAST] = np.nan
    return state


@inner()
def _moments(mean: float, variance: float, value: float, gain: float) -> tuple[float, float]:
    """Return a mean and the variance around it after one more value of weight `gain`."""
    delta = value - mean
    return mean + gain * delta, (1.0 - gain) * (variance + gain * delta * delta)


@njit(cache=True, error_model="numpy")
def yang_zhang_step(
    state: FloatArray, i: int, open_: float, high: float, low: float, close: float, decay: float
) -> float:
    """Return Yang and Zhang's volatility of one symbol after one more bar, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 8)
        From `yang_zhang_init`; row `i` is advanced in place, unless a price is NaN.
    i : int
        Row of the symbol.
    open_, high, low, close : float
        USDT per coin, > 0, the range holding open and close; NaN where missing.
    decay : float
        Decay per bar, in [0, 1).

    Returns
    -------
    float
        Per bar; NaN where a price is missing and before the third bar.
    """
    satchell = range_variance(open_, high, low, close, ROGERS_SATCHELL)
    if np.isnan(satchell):
        return np.nan
    overnight = math.log(open_ / state[i, _LAST])
    state[i, _LAST] = close
    if np.isnan(overnight):
        return np.nan
    weight = decay * state[i, _WEIGHT] + 1.0
    squares = decay * decay * state[i, _SQUARED_WEIGHTS] + 1.0
    gain = 1.0 / weight
    mean, overnight_var = _moments(state[i, _OVERNIGHT], state[i, _OVERNIGHT_VAR], overnight, gain)
    state[i, _OVERNIGHT], state[i, _OVERNIGHT_VAR] = mean, overnight_var
    within = math.log(close / open_)
    mean, within_var = _moments(state[i, _WITHIN], state[i, _WITHIN_VAR], within, gain)
    state[i, _WITHIN], state[i, _WITHIN_VAR] = mean, within_var
    satchell = state[i, _SATCHELL] + gain * (satchell - state[i, _SATCHELL])
    state[i, _WEIGHT], state[i, _SQUARED_WEIGHTS] = weight, squares
    state[i, _SATCHELL] = satchell
    n = weight * weight / squares
    if not n > 1.0:
        return np.nan
    k = 0.34 / (1.34 + (n + 1.0) / (n - 1.0))
    sample = n / (n - 1.0)
    return math.sqrt(sample * (overnight_var + k * within_var) + (1.0 - k) * satchell)


@njit(cache=True, error_model="numpy")
def yang_zhang_scan(
    opens: FloatArray,
    highs: FloatArray,
    lows: FloatArray,
    closes: FloatArray,
    decay: float,
    state: FloatArray,
) -> FloatArray:
    """Return `yang_zhang_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = closes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = yang_zhang_step(
                state, i, opens[t, i], highs[t, i], lows[t, i], closes[t, i], decay
            )
    return values


def parkinson_volatility(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the exponentially weighted volatility of Parkinson, from each bar's :math:`\ln^2(H/L) / (4 \ln 2)`.

    Parameters
    ----------
    bars : Bars
        `open`, `high`, `low` and `close`, each range holding open and close.
    half_life : float
        Bars until a weight halves, > 0.
    state : FoldState, optional
        From an earlier call with the same half-life; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Per bar, not annualised; the move between bars is not in it. NaN where one of the four prices is missing, which
        leaves the estimate unchanged.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `half_life` is not finite and > 0.
    SchemaMismatch
        If `state` is of another feature, another half-life or another number of symbols.
    DataGap
        If bars have no opens, highs or lows.

    References
    ----------
    Parkinson, "The Extreme Value Method for Estimating the Variance of the Rate of Return", *Journal of Business*
    53(1), 1980. Deviation: weights that decay in place of a plain mean.
    """
    return _range_volatility("parkinson_volatility", PARKINSON, bars, half_life, state)


def garman_klass_volatility(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the exponentially weighted volatility of Garman and Klass.

    Arguments, results, NaN and errors are those of `parkinson_volatility`.

    References
    ----------
    Garman and Klass, "On the Estimation of Security Price Volatilities from Historical Data", *Journal of Business*
    53(1), 1980, eq. 19. Deviation: weights that decay in place of a plain mean.
    """
    return _range_volatility("garman_klass_volatility", GARMAN_KLASS, bars, half_life, state)


def rogers_satchell_volatility(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the exponentially weighted volatility of Rogers and Satchell, which drift does not bias.

    Arguments, results, NaN and errors are those of `parkinson_volatility`.

    References
    ----------
    Rogers and Satchell, "Estimating Variance from High, Low and Closing Prices", *Annals of Applied Probability* 1(4),
    1991. Deviation: weights that decay in place of a plain mean.
    """
    return _range_volatility("rogers_satchell_volatility", ROGERS_SATCHELL, bars, half_life, state)


def yang_zhang_volatility(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    r"""Return the exponentially weighted volatility of Yang and Zhang, with the move between bars, free of drift.

    .. math:: \frac{n}{n-1}\big(v_o + k\,v_c\big) + (1 - k)\,\overline{u(u-c) + d(d-c)}, \qquad
        k = \frac{0.34}{1.34 + (n+1)/(n-1)}

    with weighted variances v of o and c around their means and, for the number of bars, the effective one of the
    weights, :math:`n = (\sum_i w_i)^2 / \sum_i w_i^2`: equal weights give the source's estimator.

    Parameters
    ----------
    bars, half_life, state
        As for `parkinson_volatility`.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Per bar, not annualised. NaN where one of the four prices is missing, which leaves the estimate unchanged, and
        before a symbol's third bar; the move over a hole counts as one between bars.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError, SchemaMismatch, DataGap
        As `parkinson_volatility`.

    References
    ----------
    Yang and Zhang, "Drift-Independent Volatility Estimation Based on High, Low, Open, and Close Prices", *Journal of
    Business* 73(3), 2000, eqs. 8 to 10. Deviation: weights that decay.
    """
    decay = half_life_decay(positive("half_life", half_life))
    symbols = yang_zhang_init(bars.n_symbols)
    empty = empty_state("yang_zhang_volatility", VERSION, (decay,), symbols=symbols)
    open_, high, low, close = (bars.array(name) for name in PRICE_FIELDS)
    return fold(
        bars,
        state,
        empty,
        lambda held: yang_zhang_scan(open_, high, low, close, decay, held["symbols"]),
    )


def _range_volatility(
    kind: str, estimator: int, bars: Bars, half_life: float, state: FoldState | None
) -> tuple[Panel, FoldState]:
    decay = half_life_decay(positive("half_life", half_life))
    empty = empty_state(kind, VERSION, (decay,), symbols=ewm_init(bars.n_symbols))
    open_, high, low, close = (bars.array(name) for name in PRICE_FIELDS)

    def scan(held: Mapping[str, FloatArray]) -> FloatArray:
        return range_volatility_scan(open_, high, low, close, decay, estimator, held["symbols"])

    return fold(bars, state, empty, scan)
