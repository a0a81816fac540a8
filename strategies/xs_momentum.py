r"""Cross-sectional momentum: hold what rose most beside the market over one to four weeks, against what rose least.

On the close of each UTC day, with the residual returns :math:`e` of `quantcore.kernels.residual` and their
exponentially weighted volatility :math:`s`, for every horizon n of days

.. math::
    x_i^{(n)} = \frac{\sum_{k=0}^{n-1} e_{i,d-k}}{s_i \sqrt n}, \qquad
    \text{forecast}_i = \frac1N \sum_n \operatorname{rank}_i\big(x^{(n)}\big)

The ranks run from -1 to 1 over the symbols that have the horizon's returns, so that longs and shorts are in balance.
They hold until the next day has closed.

**Evidence for.** Coins that rose over one to four weeks outperform in the weeks that follow: Liu, Tsyvinski and Wu
(2022), whose momentum factor earns about 3 % a week over 1,500 coins, mostly among the large ones. Residual momentum
has less of the crash risk (Blitz, Huij and Martens 2011, on shares).
**Against.** Reversal beyond a month (Dobrynskaya 2023), hence no longer horizon here; nothing in 2014-2018 (Grobys and
Sapkota 2019); single coins can undo years (Grobys et al. 2025). Twenty perpetuals are no cross-section of 1,500.
**Turnover.** About 100 times equity a year on hourly bars, 60 on 4-hourly ones: ranks move every day.
**What kills it.** A rebound of the losers, which comes to all of them at once after a crash; a pump of one short.
**Variants looked at.** One: the horizons are those of the evidence.

References
----------
Y. Liu, A. Tsyvinski and X. Wu, "Common Risk Factors in Cryptocurrency", Journal of Finance 77(2), 2022.
D. Blitz, J. Huij and M. Martens, "Residual Momentum", Journal of Empirical Finance 18(3), 2011. Deviation: the market
is the only factor, and its exposure is exponentially weighted.
V. Dobrynskaya, "Cryptocurrency Momentum and Reversal", Journal of Alternative Investments 26(1), 2023.
K. Grobys and N. Sapkota, "Cryptocurrencies and momentum", Economics Letters 180, 2019.
K. Grobys et al., "Cryptocurrency momentum has (not) its moments", Financial Markets and Portfolio Management, 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.features.cross_section import rank_row
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import close_day, day_ring, days_ago, ends_day, hold, last_return
from quantcore.kernels.ewm import bars_to_forget, half_life_decay
from quantcore.kernels.fields import Features, Fields, n_filled, stacked
from quantcore.kernels.memory import lent
from quantcore.kernels.residual import N_RESIDUAL, residual_init, residual_step, residual_vol
from quantcore.timegrid import DAY_US, interval_us
from quantcore.types import Array, FloatArray, IntArray, Panel

KIND = "xs_momentum"
VERSION = 1
VARIANTS = 1
"""Variants looked at, which the deflated Sharpe ratio counts."""
HORIZON_MAX = 28
"""Days; beyond a month coins reverse (Dobrynskaya 2023)."""


@dataclass(frozen=True, kw_only=True)
class XsMomentumSettings:
    """Horizons, exposure and exits of cross-sectional momentum.

    Parameters
    ----------
    horizon_days : list of int
        Days over which residual returns are summed, increasing, in [2, 28].
    exposure_half_life_days : float
        Of the exposures to the market and of the residuals' volatility, > 0.
    symbols_min : int
        Symbols that must be ranked for anybody to have a view, >= 2.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    horizon_days: list[int]
    exposure_half_life_days: float
    symbols_min: int
    exits: ExitSettings

    def __post_init__(self) -> None:
        days = list(self.horizon_days)
        if not days or days != sorted(set(days)) or not 2 <= days[0] <= days[-1] <= HORIZON_MAX:
            raise ValueError(
                f"horizon_days must be increasing numbers in [2, {HORIZON_MAX}], were {days}"
            )
        if not self.exposure_half_life_days > 0.0:
            raise ValueError(
                f"exposure_half_life_days must be > 0, was {self.exposure_half_life_days}"
            )
        if self.symbols_min < 2:
            raise ValueError(f"symbols_min must be >= 2, was {self.symbols_min}")


@inner()
def _advance(
    ring: FloatArray, count: IntArray, moments: FloatArray, decay: float, residuals: FloatArray
) -> None:
    """Put the last day's residual returns into their ring, advancing the moments."""
    returns = np.empty(ring.shape[1])
    for i in range(len(returns)):
        returns[i] = last_return(ring, count, i)
    residual_step(moments, returns, decay, residuals[(count[0] - 1) % len(residuals)])


@inner()
def _rank_sums(
    residuals: FloatArray, count: IntArray, horizon: int, moments: FloatArray
) -> FloatArray:
    """Return the ranks of the residuals' sums over a horizon; NaN where a day is missing."""
    n_symbols = residuals.shape[1]
    sums = np.empty(n_symbols)
    for i in range(n_symbols):
        total = 0.0
        for day in range(horizon):
            total += days_ago(residuals, count, day, i)
        vol = residual_vol(moments, i)
        sums[i] = total / (vol * np.sqrt(horizon)) if vol > 0.0 else np.nan
    return rank_row(sums)


@inner()
def _add(view: FloatArray, ranks: FloatArray, least: float, n_horizons: int) -> None:
    """Add a horizon's ranks to a mean over horizons; NaN for all where too few symbols are ranked."""
    known = 0
    for i in range(len(view)):
        known += 0 if np.isnan(ranks[i]) else 1
    for i in range(len(view)):
        view[i] += ranks[i] / n_horizons if known >= least else np.nan


@njit(cache=True, error_model="numpy")
def step(
    closes: FloatArray, ts_us: int, horizons: IntArray, decay: float, least: int, today: FloatArray,
    ring: FloatArray, count: IntArray, moments: FloatArray, residuals: FloatArray, view: FloatArray,
) -> None:  # fmt: skip
    """Take one row of closes, shape ``(n_symbols,)``; after it `view` is the forecast, advancing the state.

    The state is `today`, `ring` (two days) and `count` (see `kernels.days`), `moments` (see `kernels.residual`),
    `residuals`, a ring of daily residual returns, and `view`, which changes when a day closes.
    """
    if not close_day(closes, ts_us, today, ring, count):
        return
    _advance(ring, count, moments, decay, residuals)
    view[:] = 0.0
    for k in range(len(horizons)):
        _add(view, _rank_sums(residuals, count, horizons[k], moments), least, len(horizons))


@njit(cache=True, error_model="numpy")
def scan(
    closes: FloatArray, ts_us: IntArray, horizons: IntArray, decay: float, least: int, today: FloatArray,
    ring: FloatArray, count: IntArray, moments: FloatArray, residuals: FloatArray, view: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return the forecasts of all rows, shape ``(n_bars, n_symbols)``: `step` in order; NaN where the close is."""
    forecasts = np.empty(closes.shape)
    for t in range(len(closes)):
        step(
            closes[t],
            ts_us[t],
            horizons,
            decay,
            least,
            today,
            ring,
            count,
            moments,
            residuals,
            view,
        )
        hold(view, closes[t], forecasts[t])
    return forecasts


@njit(cache=True, error_model="numpy", nogil=True)
def fill_features(
    fields: Fields,
    measured: FloatArray,
    state: FloatArray,
    start: int,
    stop: int,
    features: FloatArray,
) -> int:
    """Fill what sets have in common for rows that end a day of ``[start, stop)``, ``(n_features, n_rows, n_symbols)``.

    It is the ranks over a horizon on an exposure. `measured` holds how many exposures there are and the longest
    horizon, the exposures' decays, then each feature's place of exposure and horizon. The state, from
    `_features_state`, holds days so far, today, the ring, and moments and residuals of each exposure.
    """
    n_symbols, n_exposures, longest = features.shape[2], int(measured[0]), int(measured[1])
    closes, ts_us = lent(fields.close), lent(fields.ts_us)
    count, at = np.array([int(state[0])]), 1 + n_symbols
    today = lent(state[1:at])
    ring = lent(state[at : at + 2 * n_symbols].reshape((2, n_symbols)))
    at += 2 * n_symbols
    until = at + n_exposures * n_symbols * N_RESIDUAL
    moments = lent(state[at:until].reshape((n_exposures, n_symbols, N_RESIDUAL)))
    at, until = until, until + n_exposures * longest * n_symbols
    residuals = lent(state[at:until].reshape((n_exposures, longest, n_symbols)))
    for t in range(start, stop):
        if not close_day(closes[t], ts_us[t], today, ring, count):
            continue
        for k in range(n_exposures):
            _advance(ring, count, moments[k], measured[2 + k], residuals[k])
        for m in range(len(features)):
            place = 2 + n_exposures + 2 * m
            k, horizon = int(measured[place]), int(measured[place + 1])
            features[m, t - start] = _rank_sums(residuals[k], count, horizon, moments[k])
    state[0] = count[0]
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_from_features(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)`` from `fill_features`, the same as `fill_rows` to the last bit.

    `settings` are the fewest symbols, then the places of the ranks; the state begins with the view.
    """
    n_symbols, n_horizons = forecasts.shape[1], n_filled(settings) - 1
    view, closes, ts_us = lent(state[:n_symbols]), lent(fields.close), lent(fields.ts_us)
    ranks = lent(features)
    for t in range(start, stop):
        if ends_day(ts_us[t]):
            view[:] = 0.0
            for k in range(n_horizons):
                _add(view, ranks[int(settings[1 + k]), t - start], settings[0], n_horizons)
        hold(view, closes[t], forecasts[t - start])
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_rows(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)``, with ranks of the set's own.

    `settings` are the fewest symbols, the decay of the exposure, then the horizons.
    """
    n_symbols, n_horizons = forecasts.shape[1], n_filled(settings) - 2
    own = np.empty((n_horizons, stop - start, n_symbols))
    measured, placed = np.zeros(3 + 2 * n_horizons), np.empty(1 + n_horizons)
    measured[0], measured[1], measured[2] = 1.0, settings[1 + n_horizons], settings[1]
    placed[0] = settings[0]
    for k in range(n_horizons):
        measured[4 + 2 * k], placed[1 + k] = settings[2 + k], k
    fill_features(fields, measured, state[n_symbols:], start, stop, own)
    return fill_from_features(fields, own, placed, state, counts, start, stop, forecasts)


def sweep_parts(
    settings: XsMomentumSettings, interval: str, n_symbols: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return settings, empty state and counts as the vectors that `fill_rows` takes."""
    vector = np.array([settings.symbols_min, _decay(settings), *settings.horizon_days])
    own = _features_state(n_symbols, 1, settings.horizon_days[-1])
    return vector, np.concatenate([np.full(n_symbols, np.nan), own]), np.empty(0, dtype=np.int64)


def shared_features(
    settings: Sequence[XsMomentumSettings], interval: str, n_symbols: int
) -> Features:
    """Return what some sets have in common: the ranks over each horizon on each exposure once."""
    exposures = sorted({_decay(each) for each in settings})
    ranks = sorted({(_decay(each), days) for each in settings for days in each.horizon_days})
    longest = max(days for _, days in ranks)
    place = {rank: k for k, rank in enumerate(ranks)}
    measured = [x for decay, days in ranks for x in (exposures.index(decay), days)]
    vectors = [
        np.array(
            [each.symbols_min, *(place[_decay(each), days] for days in each.horizon_days)], float
        )
        for each in settings
    ]
    return Features(
        vector=np.array([len(exposures), longest, *exposures, *measured]),
        state=_features_state(n_symbols, len(exposures), longest),
        vectors=stacked(vectors),
        n_features=len(ranks),
        n_alone=sum(len(each.horizon_days) for each in settings),
    )


def forecast(
    bars: Bars, settings: XsMomentumSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the mean rank of each symbol's residual momentum in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used.
    settings : XsMomentumSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1], dimensionless. NaN where the close is, until a symbol has a daily return for every day of the
        longest horizon, and for all while fewer than `symbols_min` symbols have.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold, or of other symbols or horizons.
    """
    forecasts, after = forecast_array(bars, settings, state)
    return to_panel(forecasts, bars), after


def forecast_array(
    bars: Bars, settings: XsMomentumSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `forecast` does, as an array: the signal plane's own way, which spares each decision a frame."""
    horizons = np.array(settings.horizon_days, dtype=np.int64)
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: _empty(bars.n_symbols, horizons),
    )  # fmt: skip
    forecasts = scan(
        bars.array("close"), bars.ts_us, horizons, _decay(settings), settings.symbols_min, held["today"],
        held["ring"], held["count"], held["moments"], held["residuals"], held["view"],
    )  # fmt: skip
    return forecasts, held.state()


def warm_up(settings: XsMomentumSettings, interval: str) -> int:
    """Return how many bars a cold start replays: the longest horizon on exposures that forgot 99 % of what is older."""
    forgotten = bars_to_forget(_decay(settings), 0.01)
    days = max(settings.horizon_days) + 2 + forgotten
    return days * (DAY_US // interval_us(interval))


def _empty(n_symbols: int, horizons: IntArray) -> dict[str, Array]:
    return {
        "today": np.full(n_symbols, np.nan),
        "ring": day_ring(2, n_symbols),
        "count": np.zeros(1, dtype=np.int64),
        "moments": residual_init(n_symbols),
        "residuals": day_ring(int(horizons.max()), n_symbols),
        "view": np.full(n_symbols, np.nan),
    }


def _decay(settings: XsMomentumSettings) -> float:
    return half_life_decay(float(settings.exposure_half_life_days))


def _features_state(n_symbols: int, n_exposures: int, longest: int) -> FloatArray:
    """Return the empty state of `fill_features`."""
    empty = _empty(n_symbols, np.array([longest]))
    parts = [empty[name] for name in ("count", "today", "ring")]
    parts += [empty["moments"]] * n_exposures + [empty["residuals"]] * n_exposures
    return np.concatenate([part.reshape(-1) for part in parts]).astype(np.float64)
