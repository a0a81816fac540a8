r"""Short-term reversal: against the day's residual moves, of the symbols whose moves gave back more than costs of late.

On the close of each UTC day, with the residual returns :math:`e` of `quantcore.kernels.residual` and
:math:`z_i = e_i / s_i` in units of their volatility, the autocorrelation of one symbol and of all together,

.. math::
    \rho_i = \frac{\sum_k \lambda^k z_{i,d-k}\,z_{i,d-k-1}}{\sum_k \lambda^k z_{i,d-k-1}^2}, \qquad
    \bar\rho = \frac{\sum_i \sum_k \lambda^k z_{i,d-k}\,z_{i,d-k-1}}{\sum_i \sum_k \lambda^k z_{i,d-k-1}^2}

are estimates with a standard error of :math:`1/\sqrt n`, n the effective number of pairs of days, and shrunk by it: the
mean towards 0, a symbol towards the mean,

.. math:: \tilde\rho = \bar\rho\,(1 - 1/(\bar\rho^2 n))^+, \qquad
    \tilde\rho_i = \tilde\rho + (\rho_i - \tilde\rho)\,(1 - 1/((\rho_i - \tilde\rho)^2 n_i))^+

A move is expected to give back :math:`g_i = -\tilde\rho_i\,|e_i|`, and

.. math:: \text{forecast}_i = -\min(1, \max(-1, z_i / c)) \text{ where } g_i > \text{cost, else } 0

for one day. A symbol that does not reverse, or by less than a round trip costs, has no position: the strategy is idle
most of the time, by intent.

**Evidence for.** Small and illiquid coins reverse from day to day (Zaremba et al. 2021); the reward is that of
providing liquidity and larger when volume is low (Bianchi, Babiak and Dickerson 2022).
**Against.** The same papers: large and liquid coins do not reverse but continue, and most of the rest is eaten by
costs. Perpetuals of the twenty largest coins are the least likely place for it.
**Turnover.** When active, the whole position every day; else none.
**What kills it.** News: a residual move with a reason goes on. Costs, if the gate is too optimistic about them.
**Variants looked at.** Three: the first had one autocorrelation for all symbols, and never traded on 2023-2024; the
second scored moves from the second day on, and a tiny first move then shut a symbol out for years.

References
----------
A. Zaremba, M. Bilgin, H. Long, A. Mercik and J. Szczygielski, "Up or down? Short-term reversal, momentum, and liquidity
effects in cryptocurrency markets", International Review of Financial Analysis 78, 2021.
D. Bianchi, M. Babiak and A. Dickerson, "Trading volume and liquidity provision in cryptocurrency markets", Journal of
Banking and Finance 142, 2022.
W. James and C. Stein, "Estimation with quadratic loss", 1961 (the shrinkage, positive part).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import close_day, day_ring, ends_day, hold, last_return
from quantcore.kernels.ewm import bars_to_forget, half_life_decay
from quantcore.kernels.fields import Features, Fields
from quantcore.kernels.memory import lent
from quantcore.kernels.residual import N_RESIDUAL, residual_init, residual_step, settled_vol
from quantcore.timegrid import DAY_US, interval_us
from quantcore.types import Array, FloatArray, IntArray, Panel

KIND = "reversal"
VERSION = 1
VARIANTS = 3
"""Variants looked at, which the deflated Sharpe ratio counts."""

# Columns of the products, one row per symbol: weighted sums of products and of squares, effective number of pairs.
_PRODUCT, _SQUARE, _PAIRS = 0, 1, 2
# Places of the parameters.
_EXPOSURE_DECAY, _MEMORY_DECAY, _COST, _CAP = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class ReversalSettings:
    """Memory, costs, scaling and exits of the reversal.

    Parameters
    ----------
    exposure_half_life_days : float
        Of the exposures to the market and of the residuals' volatility, > 0.
    memory_half_life_days : float
        Of the autocorrelation, > 0.
    round_trip_cost : float
        What entering and leaving costs, as a fraction of the position, >= 0.
    cap : float
        Residual in standard deviations that is a forecast of 1, > 0.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    exposure_half_life_days: float
    memory_half_life_days: float
    round_trip_cost: float
    cap: float
    exits: ExitSettings

    def __post_init__(self) -> None:
        for name in ("exposure_half_life_days", "memory_half_life_days", "cap"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if not self.round_trip_cost >= 0.0:
            raise ValueError(f"round_trip_cost must be >= 0, was {self.round_trip_cost}")


@inner()
def _shrunk(product: float, square: float, pairs: float, towards: float) -> float:
    """Return an autocorrelation of its sums, pulled towards another as far as its error says."""
    if not square > 0.0:
        return towards
    beyond = product / square - towards
    certain = beyond * beyond * pairs
    return towards + beyond * (1.0 - 1.0 / certain) if certain > 1.0 else towards


@inner()
def _score(
    ring: FloatArray, count: IntArray, moments: FloatArray, decay: float, scores: FloatArray, residuals: FloatArray
) -> None:  # fmt: skip
    """Fill the last day's residual returns, alone and in units of their volatility, advancing the moments."""
    n_symbols = len(scores)
    returns = np.empty(n_symbols)
    for i in range(n_symbols):
        returns[i] = last_return(ring, count, i)
        scores[i] = settled_vol(moments, i)  # of the days before this one
    residual_step(moments, returns, decay, residuals)
    for i in range(n_symbols):
        scores[i] = residuals[i] / scores[i] if scores[i] > 0.0 else np.nan


@inner()
def _expect(
    products: FloatArray, before: FloatArray, scores: FloatArray, residuals: FloatArray, decay: float, gains: FloatArray
) -> None:  # fmt: skip
    """Fill what the last day's moves are expected to give back, advancing the products by a pair of days' scores."""
    product, square, pairs = 0.0, 0.0, 0.0
    for i in range(len(scores)):
        if not np.isnan(scores[i]) and not np.isnan(before[i]):
            products[i, _PRODUCT] = decay * products[i, _PRODUCT] + scores[i] * before[i]
            products[i, _SQUARE] = decay * products[i, _SQUARE] + before[i] * before[i]
            products[i, _PAIRS] = decay * products[i, _PAIRS] + 1.0
        product += products[i, _PRODUCT]
        square += products[i, _SQUARE]
        pairs += products[i, _PAIRS]
    mean = _shrunk(product, square, pairs, 0.0)
    for i in range(len(scores)):
        own = _shrunk(products[i, _PRODUCT], products[i, _SQUARE], products[i, _PAIRS], mean)
        gains[i] = -own * abs(residuals[i])


@inner()
def _view(score: float, gain: float, cost: float, cap: float) -> float:
    if np.isnan(score):
        return np.nan
    return -min(1.0, max(-1.0, score / cap)) if gain > cost else 0.0


@njit(cache=True, error_model="numpy")
def step(
    closes: FloatArray, ts_us: int, settings: FloatArray, today: FloatArray, ring: FloatArray,
    count: IntArray, moments: FloatArray, scores: FloatArray, products: FloatArray, view: FloatArray,
) -> None:  # fmt: skip
    """Take one row of closes, shape ``(n_symbols,)``; after it `view` is the forecast, advancing the state.

    The state is `today`, `ring` (two days) and `count` (see `kernels.days`), `moments` (see `kernels.residual`), the
    last day's `scores`, the sums of their `products`, and `view`, which changes when a day closes.
    """
    if not close_day(closes, ts_us, today, ring, count):
        return
    before, residuals, gains = scores.copy(), np.empty(len(closes)), np.empty(len(closes))
    _score(ring, count, moments, settings[_EXPOSURE_DECAY], scores, residuals)
    _expect(products, before, scores, residuals, settings[_MEMORY_DECAY], gains)
    for i in range(len(closes)):
        view[i] = _view(scores[i], gains[i], settings[_COST], settings[_CAP])


@njit(cache=True, error_model="numpy")
def scan(
    closes: FloatArray, ts_us: IntArray, settings: FloatArray, today: FloatArray, ring: FloatArray,
    count: IntArray, moments: FloatArray, scores: FloatArray, products: FloatArray, view: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return the forecasts of all rows, shape ``(n_bars, n_symbols)``: `step` in order; NaN where the close is."""
    forecasts = np.empty(closes.shape)
    for t in range(len(closes)):
        step(closes[t], ts_us[t], settings, today, ring, count, moments, scores, products, view)
        hold(view, closes[t], forecasts[t])
    return forecasts


@njit(cache=True, error_model="numpy", nogil=True)
def fill_features(
    fields: Fields,
    decays: FloatArray,
    state: FloatArray,
    start: int,
    stop: int,
    features: FloatArray,
) -> int:
    """Fill what sets have in common for rows that end a day of ``[start, stop)``, ``(n_features, n_rows, n_symbols)``.

    `decays` holds how many exposures there are, their decays, then place of exposure and decay of each memory; the
    features are the scores on each exposure, then the gains of each memory. The state, from `_features_state`, holds
    days so far, today, the ring, moments and scores of each exposure, and products of each memory.
    """
    n_symbols, n_exposures = features.shape[2], int(decays[0])
    n_memories = (len(decays) - 1 - n_exposures) // 2
    closes, ts_us, rows = lent(fields.close), lent(fields.ts_us), lent(features)
    count, at = np.array([int(state[0])]), 1 + n_symbols
    today = lent(state[1:at])
    ring = lent(state[at : at + 2 * n_symbols].reshape((2, n_symbols)))
    at += 2 * n_symbols
    until = at + n_exposures * n_symbols * N_RESIDUAL
    moments = lent(state[at:until].reshape((n_exposures, n_symbols, N_RESIDUAL)))
    at, until = until, until + n_exposures * n_symbols
    scores = lent(state[at:until].reshape((n_exposures, n_symbols)))
    products = lent(state[until:].reshape((n_memories, n_symbols, 3)))
    before, residuals = np.empty((n_exposures, n_symbols)), np.empty((n_exposures, n_symbols))
    for t in range(start, stop):
        if not close_day(closes[t], ts_us[t], today, ring, count):
            continue
        before[:] = scores
        for k in range(n_exposures):
            _score(ring, count, moments[k], decays[1 + k], scores[k], residuals[k])
            rows[k, t - start] = scores[k]
        for m in range(n_memories):
            place = 1 + n_exposures + 2 * m
            k = int(decays[place])
            gains = rows[n_exposures + m, t - start]
            _expect(products[m], before[k], scores[k], residuals[k], decays[place + 1], gains)
    state[0] = count[0]
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_from_features(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)`` from `fill_features`, the same as `fill_rows` to the last bit.

    `settings` are those of `step`, with the places of scores and gains for the decays; the state begins with the view.
    """
    n_symbols = forecasts.shape[1]
    view, closes, ts_us = lent(state[:n_symbols]), lent(fields.close), lent(fields.ts_us)
    scores = lent(features[int(settings[_EXPOSURE_DECAY])])
    gains = lent(features[int(settings[_MEMORY_DECAY])])
    for t in range(start, stop):
        if ends_day(ts_us[t]):
            for i in range(n_symbols):
                score, gain = scores[t - start, i], gains[t - start, i]
                view[i] = _view(score, gain, settings[_COST], settings[_CAP])
        hold(view, closes[t], forecasts[t - start])
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_rows(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)``, with scores and gains of the set's own."""
    n_symbols, placed = forecasts.shape[1], settings.copy()
    own = np.empty((2, stop - start, n_symbols))
    decays = np.array([1.0, settings[_EXPOSURE_DECAY], 0.0, settings[_MEMORY_DECAY]])
    fill_features(fields, decays, state[n_symbols:], start, stop, own)
    placed[_EXPOSURE_DECAY], placed[_MEMORY_DECAY] = 0.0, 1.0
    return fill_from_features(fields, own, placed, state, counts, start, stop, forecasts)


def sweep_parts(
    settings: ReversalSettings, interval: str, n_symbols: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return settings, empty state and counts as the vectors that `fill_rows` takes."""
    state = np.concatenate([np.full(n_symbols, np.nan), _features_state(n_symbols, 1, 1)])
    return _parameters(settings), state, np.empty(0, dtype=np.int64)


def shared_features(
    settings: Sequence[ReversalSettings], interval: str, n_symbols: int
) -> Features:
    """Return what some sets have in common: the scores on each exposure and the gains of each memory once."""
    vectors = np.array([_parameters(each) for each in settings])
    exposures = sorted(set(vectors[:, _EXPOSURE_DECAY]))
    memories = sorted({(v[_EXPOSURE_DECAY], v[_MEMORY_DECAY]) for v in vectors})
    place = {decay: k for k, decay in enumerate(exposures)}
    gains = {memory: len(exposures) + k for k, memory in enumerate(memories)}
    for vector in vectors:
        exposure, memory = vector[_EXPOSURE_DECAY], vector[_MEMORY_DECAY]
        vector[_EXPOSURE_DECAY], vector[_MEMORY_DECAY] = place[exposure], gains[exposure, memory]
    return Features(
        vector=np.array(
            [len(exposures), *exposures]
            + [x for exposure, decay in memories for x in (place[exposure], decay)]
        ),
        state=_features_state(n_symbols, len(exposures), len(memories)),
        vectors=vectors,
        n_features=len(exposures) + len(memories),
        n_alone=2 * len(settings),
    )


def forecast(
    bars: Bars, settings: ReversalSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the reversal forecast of each symbol in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used.
    settings : ReversalSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1], dimensionless. NaN where the close is and until a symbol has had `residual.SEEN_MIN` daily returns;
        0 where the move is not expected to pay for its costs.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold or of other symbols.
    """
    forecasts, after = forecast_array(bars, settings, state)
    return to_panel(forecasts, bars), after


def forecast_array(
    bars: Bars, settings: ReversalSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `forecast` does, as an array: the signal plane's own way, which spares each decision a frame."""
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: _empty(bars.n_symbols),
    )  # fmt: skip
    forecasts = scan(
        bars.array("close"), bars.ts_us, _parameters(settings), held["today"], held["ring"], held["count"],
        held["moments"], held["scores"], held["products"], held["view"],
    )  # fmt: skip
    return forecasts, held.state()


def warm_up(settings: ReversalSettings, interval: str) -> int:
    """Return how many bars a cold start replays: after them, what is older weighs less than 1 % in every moment."""
    longest = max(settings.exposure_half_life_days, settings.memory_half_life_days)
    days = bars_to_forget(half_life_decay(float(longest)), 0.01) + 2
    return days * (DAY_US // interval_us(interval))


def _empty(n_symbols: int) -> dict[str, Array]:
    return {
        "today": np.full(n_symbols, np.nan),
        "ring": day_ring(2, n_symbols),
        "count": np.zeros(1, dtype=np.int64),
        "moments": residual_init(n_symbols),
        "scores": np.full(n_symbols, np.nan),
        "products": np.zeros((n_symbols, 3)),
        "view": np.full(n_symbols, np.nan),
    }


def _parameters(settings: ReversalSettings) -> FloatArray:
    return np.array(
        [
            half_life_decay(float(settings.exposure_half_life_days)),
            half_life_decay(float(settings.memory_half_life_days)),
            settings.round_trip_cost,
            settings.cap,
        ]
    )


def _features_state(n_symbols: int, n_exposures: int, n_memories: int) -> FloatArray:
    """Return the empty state of `fill_features`."""
    empty = _empty(n_symbols)
    parts = [empty[name] for name in ("count", "today", "ring")]
    parts += [empty["moments"]] * n_exposures + [empty["scores"]] * n_exposures
    parts += [empty["products"]] * n_memories
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float64)
