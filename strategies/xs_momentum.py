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

from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.features.cross_section import rank_row
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import close_day, day_ring, days_ago, last_return
from quantcore.kernels.ewm import bars_to_forget, half_life_decay
from quantcore.kernels.residual import residual_init, residual_step, residual_vol
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
def _rank_sums(
    residuals: FloatArray, count: IntArray, horizon: int, moments: FloatArray, least: int
) -> FloatArray:
    """Return the ranks of the residuals' sums over a horizon; NaN where a day is missing, or for all if too few."""
    n_symbols = residuals.shape[1]
    sums = np.empty(n_symbols)
    known = 0
    for i in range(n_symbols):
        total = 0.0
        for day in range(horizon):
            total += days_ago(residuals, count, day, i)
        vol = residual_vol(moments, i)
        sums[i] = total / (vol * np.sqrt(horizon)) if vol > 0.0 else np.nan
        known += 0 if np.isnan(sums[i]) else 1
    if known < least:
        sums[:] = np.nan
        return sums
    return rank_row(sums)


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
    n_symbols = len(closes)
    returns = np.empty(n_symbols)
    for i in range(n_symbols):
        returns[i] = last_return(ring, count, i)
    residual_step(moments, returns, decay, residuals[(count[0] - 1) % len(residuals)])
    view[:] = 0.0
    for k in range(len(horizons)):
        ranks = _rank_sums(residuals, count, horizons[k], moments, least)
        for i in range(n_symbols):
            view[i] += ranks[i] / len(horizons)


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
        for i in range(closes.shape[1]):
            forecasts[t, i] = np.nan if np.isnan(closes[t, i]) else view[i]
    return forecasts


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
        bars.array("close"), bars.ts_us, horizons, half_life_decay(float(settings.exposure_half_life_days)),
        settings.symbols_min, held["today"], held["ring"], held["count"], held["moments"], held["residuals"],
        held["view"],
    )  # fmt: skip
    return forecasts, held.state()


def warm_up(settings: XsMomentumSettings, interval: str) -> int:
    """Return how many bars a cold start replays: the longest horizon on exposures that forgot 99 % of what is older."""
    forgotten = bars_to_forget(half_life_decay(float(settings.exposure_half_life_days)), 0.01)
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
