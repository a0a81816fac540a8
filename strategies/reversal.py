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

from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import close_day, day_ring, last_return
from quantcore.kernels.ewm import bars_to_forget, half_life_decay
from quantcore.kernels.residual import residual_init, residual_step, settled_vol
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
    n_symbols = len(closes)
    returns, residuals = np.empty(n_symbols), np.empty(n_symbols)
    for i in range(n_symbols):
        returns[i] = last_return(ring, count, i)
        view[i] = settled_vol(moments, i)  # of the days before this one
    residual_step(moments, returns, settings[_EXPOSURE_DECAY], residuals)
    product, square, pairs = 0.0, 0.0, 0.0
    for i in range(n_symbols):
        score = residuals[i] / view[i] if view[i] > 0.0 else np.nan
        if not np.isnan(score) and not np.isnan(scores[i]):
            decay = settings[_MEMORY_DECAY]
            products[i, _PRODUCT] = decay * products[i, _PRODUCT] + score * scores[i]
            products[i, _SQUARE] = decay * products[i, _SQUARE] + scores[i] * scores[i]
            products[i, _PAIRS] = decay * products[i, _PAIRS] + 1.0
        scores[i] = score
        product += products[i, _PRODUCT]
        square += products[i, _SQUARE]
        pairs += products[i, _PAIRS]
    mean = _shrunk(product, square, pairs, 0.0)
    for i in range(n_symbols):
        own = _shrunk(products[i, _PRODUCT], products[i, _SQUARE], products[i, _PAIRS], mean)
        pays = -own * abs(residuals[i]) > settings[_COST]
        capped = -min(1.0, max(-1.0, scores[i] / settings[_CAP]))
        view[i] = np.nan if np.isnan(scores[i]) else (capped if pays else 0.0)


@njit(cache=True, error_model="numpy")
def scan(
    closes: FloatArray, ts_us: IntArray, settings: FloatArray, today: FloatArray, ring: FloatArray,
    count: IntArray, moments: FloatArray, scores: FloatArray, products: FloatArray, view: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return the forecasts of all rows, shape ``(n_bars, n_symbols)``: `step` in order; NaN where the close is."""
    forecasts = np.empty(closes.shape)
    for t in range(len(closes)):
        step(closes[t], ts_us[t], settings, today, ring, count, moments, scores, products, view)
        for i in range(closes.shape[1]):
            forecasts[t, i] = np.nan if np.isnan(closes[t, i]) else view[i]
    return forecasts


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
    vector = np.array(
        [
            half_life_decay(float(settings.exposure_half_life_days)),
            half_life_decay(float(settings.memory_half_life_days)),
            settings.round_trip_cost,
            settings.cap,
        ]
    )
    forecasts = scan(
        bars.array("close"), bars.ts_us, vector, held["today"], held["ring"], held["count"],
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
