r"""Trend following: an ensemble of exponentially weighted moving-average crossovers, in units of price volatility.

With :math:`\bar P^{(s)}` the exponentially weighted mean of the close over span s, and :math:`\sigma` the exponentially
weighted volatility of price changes about zero,

.. math::
    y_t = \sum_{k=0}^{K-1} g_k\,\frac{\bar P_t^{(f\,2^k)} - \bar P_t^{(s\,2^k)}}{\sigma_t},
    \qquad
    \text{forecast}_t = \min\!\Big(1, \max\!\Big(-1, \frac{y_t}{c}\Big)\Big)

The gains :math:`g_k` give every crossover the same size, and the ensemble the mean size E|y| = 1, on a driftless random
walk. They follow from the spans in closed form (`parameters`): nothing is fitted to data, and no state is spent on it.

**Evidence for.** Two centuries of futures and spot prices (Lempérière et al. 2014); 58 futures (Moskowitz, Ooi and
Pedersen 2012); crossovers in this form (Baz et al. 2015; Carver 2015). Among coins, returns of one to four weeks
predict those of the weeks that follow (Liu and Tsyvinski 2021), so the speeds of `conf/strategy/trend.yaml` look back
5 to 20 days (the mean age of the returns in a crossover is (f + s) / 2 - 1 bars).
**Against.** Grobys and Sapkota (2019) find no momentum across 143 coins in 2014-2018; Dobrynskaya (2023) finds reversal
beyond one month; Grobys et al. (2025) find crashes that a single coin can cause. Samples are short, begin in a
bull market, and survivors are easier to get than the dead.
**Turnover.** On a random walk a crossover of spans (f, s) changes sign every :math:`\pi\sqrt{fs}/2` bars: 6, 13 and 25
days for the speeds in `conf`. With the portfolio in `conf` that is about 50 times equity a year before the no-trade
band (20 coins, hourly, 2023-2024).
**What kills it.** Markets that turn faster than the fast span (whipsaw, paid in costs), a gap against a full position,
and funding: a crowded long trend pays it for as long as the trend lasts.

References
----------
J. Baz, N. Granger, C. R. Harvey, N. Le Roux and S. Rattray, "Dissecting Investment Strategies in the Cross Section and
Time Series", 2015, SSRN 2695101. Deviation: linear up to a cap, as in Carver, in place of their response
x exp(-x**2 / 4), which takes a position off as its trend becomes strong; and gains in closed form in place of a second
rolling standard deviation.
R. Carver, *Systematic Trading*, 2015, ch. 7 and app. B (price changes as the unit; pairs of spans that double).
Y. Lempérière et al., "Two centuries of trend following", Journal of Investment Strategies 3(3), 2014.
T. Moskowitz, Y. H. Ooi and L. Pedersen, "Time series momentum", Journal of Financial Economics 104(2), 2012.
Y. Liu and A. Tsyvinski, "Risks and Returns of Cryptocurrency", Review of Financial Studies 34(6), 2021.
K. Grobys and N. Sapkota, "Cryptocurrencies and momentum", Economics Letters 180, 2019.
V. Dobrynskaya, "Cryptocurrency Momentum and Reversal", Journal of Alternative Investments 26(1), 2023.
K. Grobys et al., "Cryptocurrency momentum has (not) its moments", Financial Markets and Portfolio Management, 2025.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import (
    bars_to_forget,
    ewm_step,
    ewm_var_step,
    half_life_decay,
    span_decay,
)
from quantcore.kernels.fields import Features, Fields, n_filled, stacked
from quantcore.types import FloatArray, IntArray, Panel

KIND = "trend"
VERSION = 1
VARIANTS = 1
"""Variants looked at, which the deflated Sharpe ratio counts."""

# Columns of the state, one row per symbol; then mean and weight of the fast and the slow average of each pair.
_COUNT, _CLOSE, _VARIANCE, _VARIANCE_WEIGHT, _AVERAGES = 0, 1, 2, 3, 4
# Places in the parameters; then fast decay, slow decay and gain of each pair.
_FIRST, _VARIANCE_DECAY, _PAIRS = 0, 1, 2
_FORGOTTEN = 0.01
_NORMAL_MEAN_SIZE = math.sqrt(2.0 / math.pi)


@dataclass(frozen=True, kw_only=True)
class TrendSettings:
    """Spans, scaling and exits of the trend ensemble.

    Parameters
    ----------
    fast, slow : int
        Spans of the fastest pair in bars, 1 <= fast < slow.
    speeds : int
        Number of pairs, >= 1; the k-th has the spans ``fast * 2**k`` and ``slow * 2**k``.
    volatility_half_life : float
        Of the volatility of price changes, in bars, > 0.
    cap : float
        Size of the ensemble, in multiples of its mean size on a random walk, that is a forecast of 1; > 0.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    fast: int
    slow: int
    speeds: int
    volatility_half_life: float
    cap: float
    exits: ExitSettings

    def __post_init__(self) -> None:
        if self.fast < 1:
            raise ValueError(f"fast must be >= 1, was {self.fast}")
        if self.slow <= self.fast:
            raise ValueError(f"slow must be > fast = {self.fast}, was {self.slow}")
        if self.speeds < 1:
            raise ValueError(f"speeds must be >= 1, was {self.speeds}")
        if not self.volatility_half_life > 0.0:
            raise ValueError(f"volatility_half_life must be > 0, was {self.volatility_half_life}")
        if not self.cap > 0.0:
            raise ValueError(f"cap must be > 0, was {self.cap}")


@inner()
def _walk_covariance(decay: float, other: float) -> float:
    r"""Return the covariance, on a random walk of unit steps, of the price's distances from two of its averages.

    :math:`P_t - \bar P_t = \sum_{j \ge 0} \lambda^{j+1} \Delta P_{t-j}`, hence :math:`\lambda\mu / (1 - \lambda\mu)`.
    """
    return decay * other / (1.0 - decay * other)


@njit(cache=True, error_model="numpy")
def parameters(
    fast: int, slow: int, speeds: int, volatility_half_life: float, cap: float
) -> FloatArray:
    r"""Return the settings as the vector that `step` reads, shape ``(2 + 3 * speeds,)``.

    Closes a symbol needs before its first forecast (the slowest span); decay of the variance; then for each pair fast
    decay, slow decay and gain. With :math:`v_{kl}` the covariance of the crossovers k and l on a random walk of unit
    steps, gain k is :math:`1 / (c \sqrt{2/\pi} \sqrt{v_{kk}} \sqrt{\sum_{lm} v_{lm} / \sqrt{v_{ll} v_{mm}}})`.
    """
    result = np.empty(_PAIRS + 3 * speeds)
    result[_FIRST] = slow * 2.0 ** (speeds - 1)
    result[_VARIANCE_DECAY] = half_life_decay(volatility_half_life)
    covariance = np.empty((speeds, speeds))
    for k in range(speeds):
        result[_PAIRS + 3 * k] = span_decay(fast * 2.0**k)
        result[_PAIRS + 3 * k + 1] = span_decay(slow * 2.0**k)
        for m in range(k + 1):
            fast_k, slow_k = result[_PAIRS + 3 * k], result[_PAIRS + 3 * k + 1]
            fast_m, slow_m = result[_PAIRS + 3 * m], result[_PAIRS + 3 * m + 1]
            covariance[k, m] = (
                _walk_covariance(fast_k, fast_m)
                - _walk_covariance(fast_k, slow_m)
                - _walk_covariance(slow_k, fast_m)
                + _walk_covariance(slow_k, slow_m)
            )
            covariance[m, k] = covariance[k, m]
    size = np.sqrt(np.diag(covariance))
    ensemble_variance = 0.0
    for k in range(speeds):
        for m in range(speeds):
            ensemble_variance += covariance[k, m] / (size[k] * size[m])
    for k in range(speeds):
        unit = size[k] * np.sqrt(ensemble_variance) * _NORMAL_MEAN_SIZE
        result[_PAIRS + 3 * k + 2] = 1.0 / (cap * unit)
    return result


@njit(cache=True, error_model="numpy")
def init(n_symbols: int, speeds: int) -> FloatArray:
    """Return the empty state, shape ``(n_symbols, 4 + 4 * speeds)``: zeros, and no close yet."""
    state = np.zeros((n_symbols, _AVERAGES + 4 * speeds))
    state[:, _CLOSE] = np.nan
    return state


@inner()
def _response(crossovers: float, variance: float) -> float:
    if variance <= 0.0:
        return 0.0
    return min(1.0, max(-1.0, crossovers / math.sqrt(variance)))


@njit(cache=True, error_model="numpy")
def step(state: FloatArray, i: int, close: float, settings: FloatArray) -> float:
    """Return the forecast of one symbol after one more close, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 4 + 4 * speeds)
        From `init`; row `i` is advanced in place, unless the close is NaN.
    i : int
        Row of the symbol.
    close : float
        USDT per coin, NaN where missing.
    settings : float64 array, shape (2 + 3 * speeds,)
        From `parameters`.

    Returns
    -------
    float
        In [-1, 1]; NaN where the close is missing or fewer closes were seen than the slowest span holds bars.
    """
    # A missing close passes through every line and changes nothing. No branch here uses an array: numba would then
    # count references to it on every call, with locked instructions that cost more than the arithmetic.
    last, first = state[i, _CLOSE], settings[_FIRST]
    variance, weight = ewm_var_step(
        state[i, _VARIANCE], state[i, _VARIANCE_WEIGHT], close - last, settings[_VARIANCE_DECAY]
    )
    crossovers = 0.0
    for k in range((settings.shape[0] - _PAIRS) // 3):
        at, pair = _AVERAGES + 4 * k, _PAIRS + 3 * k
        fast, fast_weight = ewm_step(state[i, at], state[i, at + 1], close, settings[pair])
        slow, slow_weight = ewm_step(state[i, at + 2], state[i, at + 3], close, settings[pair + 1])
        state[i, at], state[i, at + 1] = fast, fast_weight
        state[i, at + 2], state[i, at + 3] = slow, slow_weight
        crossovers += settings[pair + 2] * (fast - slow)
    missing = np.isnan(close)
    count = state[i, _COUNT] + (0.0 if missing else 1.0)
    state[i, _COUNT] = count
    state[i, _CLOSE] = last if missing else close
    state[i, _VARIANCE], state[i, _VARIANCE_WEIGHT] = variance, weight
    has_view = not missing and count >= first
    return _response(crossovers, variance) if has_view else np.nan


@njit(cache=True, error_model="numpy")
def scan(closes: FloatArray, settings: FloatArray, state: FloatArray) -> FloatArray:
    """Return the forecasts of all rows, shape ``(n_bars, n_symbols)``: `step` in order, advancing `state` in place."""
    n_bars, n_symbols = closes.shape
    forecasts = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            forecasts[t, i] = step(state, i, closes[t, i], settings)
    return forecasts


@njit(cache=True, error_model="numpy", nogil=True)
def fill_rows(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)``: `step` in order, on a state as one vector; for sweeps."""
    n_symbols, own = forecasts.shape[1], settings[: n_filled(settings)]
    columns = _AVERAGES + 4 * ((len(own) - _PAIRS) // 3)
    symbols = state[: n_symbols * columns].reshape((n_symbols, columns))
    closes = fields.close  # once: every look into a tuple counts a reference
    for t in range(start, stop):
        for i in range(n_symbols):
            forecasts[t - start, i] = step(symbols, i, closes[t, i], own)
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_features(
    fields: Fields,
    decays: FloatArray,
    state: FloatArray,
    start: int,
    stop: int,
    features: FloatArray,
) -> int:
    """Fill what sets have in common for rows ``[start, stop)``, shape ``(n_features, n_rows, n_symbols)``.

    `decays` holds how many are of variances, then all decays; the features are the closes seen, the variances of price
    changes, and the averages. The state holds closes seen, last close, then value and weight of each, by symbol.
    """
    n_symbols, n_variances = features.shape[2], int(decays[0])
    held, closes = state.reshape((n_symbols, len(state) // n_symbols)), fields.close
    for i in range(n_symbols):
        for t in range(start, stop):
            close, last = closes[t, i], held[i, 1]
            if not np.isnan(close):
                held[i, 0] += 1.0
                held[i, 1] = close
            features[0, t - start, i] = held[i, 0]
            for k in range(n_variances):
                value, weight = ewm_var_step(
                    held[i, 2 + 2 * k], held[i, 3 + 2 * k], close - last, decays[1 + k]
                )
                held[i, 2 + 2 * k], held[i, 3 + 2 * k] = value, weight
                features[1 + k, t - start, i] = value
        for k in range(n_variances, len(decays) - 1):
            value, weight, decay = held[i, 2 + 2 * k], held[i, 3 + 2 * k], decays[1 + k]
            for t in range(start, stop):
                value, weight = ewm_step(value, weight, closes[t, i], decay)
                features[1 + k, t - start, i] = value
            held[i, 2 + 2 * k], held[i, 3 + 2 * k] = value, weight
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_from_features(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)`` from `fill_features`, the same as `fill_rows` to the last bit.

    `settings` are the closes needed and the place of the variance; then of each pair the places of the fast and of the
    slow average, and the gain.
    """
    first, variance, closes = settings[_FIRST], int(settings[_VARIANCE_DECAY]), fields.close
    n_pairs = (n_filled(settings) - _PAIRS) // 3
    for t in range(stop - start):
        for i in range(forecasts.shape[1]):
            forecasts[t, i] = 0.0
    for k in range(n_pairs):
        fast, slow = int(settings[_PAIRS + 3 * k]), int(settings[_PAIRS + 3 * k + 1])
        gain = settings[_PAIRS + 3 * k + 2]
        for t in range(stop - start):
            for i in range(forecasts.shape[1]):
                forecasts[t, i] += gain * (features[fast, t, i] - features[slow, t, i])
    for t in range(stop - start):
        for i in range(forecasts.shape[1]):
            has_view = not np.isnan(closes[start + t, i]) and features[0, t, i] >= first
            response = _response(forecasts[t, i], features[variance, t, i])
            forecasts[t, i] = response if has_view else np.nan
    return 0


def sweep_parts(
    settings: TrendSettings, interval: str, n_symbols: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return settings, empty state and counts as the vectors that `fill_rows` takes."""
    state = init(n_symbols, settings.speeds).reshape(-1)
    return _parameters(settings), state, np.empty(0, dtype=np.int64)


def shared_features(settings: Sequence[TrendSettings], interval: str, n_symbols: int) -> Features:
    """Return what some sets have in common: each variance and each average once."""
    own = [_parameters(each) for each in settings]
    variances = {decay: 1 + k for k, decay in enumerate(sorted({v[_VARIANCE_DECAY] for v in own}))}
    spans = [v[_PAIRS:].reshape(-1, 3) for v in own]
    decays = sorted({decay for pairs in spans for decay in pairs[:, :2].ravel()})
    places = {decay: 1 + len(variances) + k for k, decay in enumerate(decays)}
    vectors = stacked(own)
    for vector, pairs in zip(vectors, spans, strict=True):
        vector[_VARIANCE_DECAY] = variances[vector[_VARIANCE_DECAY]]
        for k, (fast, slow, _) in enumerate(pairs):
            vector[_PAIRS + 3 * k : _PAIRS + 3 * k + 2] = places[fast], places[slow]
    state = np.zeros((n_symbols, 2 + 2 * (len(variances) + len(decays))))
    state[:, 1] = np.nan
    return Features(
        vector=np.array([len(variances), *variances, *decays], dtype=np.float64),
        state=state.reshape(-1),
        vectors=vectors,
        n_features=1 + len(variances) + len(decays),
        n_alone=sum(2 + 2 * len(pairs) for pairs in spans),
    )


def forecast(
    bars: Bars, settings: TrendSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the trend forecast of each symbol in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used.
    settings : TrendSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1], dimensionless. NaN where the close is, and until a symbol has as many closes as the slowest span
        has bars. A missing close leaves the symbol's state as it was; the price change after a hole counts as one.
        0 where the price has never moved.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold, or of another number of symbols or speeds.
    """
    forecasts, after = forecast_array(bars, settings, state)
    return to_panel(forecasts, bars), after


def forecast_array(
    bars: Bars, settings: TrendSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `forecast` does, as an array: the signal plane's own way, which spares each decision a frame."""
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: {"symbols": init(bars.n_symbols, settings.speeds)},
    )  # fmt: skip
    forecasts = scan(bars.array("close"), _parameters(settings), held["symbols"])
    return forecasts, held.state()


def warm_up(settings: TrendSettings, interval: str) -> int:
    """Return how many bars a cold start replays: after them, what is older weighs less than 1 % in every average.

    A symbol's first forecast comes earlier, after as many closes as the slowest span holds bars.
    """
    slowest = span_decay(settings.slow * 2.0 ** (settings.speeds - 1))
    decay = max(slowest, half_life_decay(settings.volatility_half_life))
    return bars_to_forget(decay, _FORGOTTEN)


@functools.lru_cache(maxsize=64)
def _parameters(settings: TrendSettings) -> FloatArray:
    return parameters(
        settings.fast,
        settings.slow,
        settings.speeds,
        float(settings.volatility_half_life),
        float(settings.cap),
    )
