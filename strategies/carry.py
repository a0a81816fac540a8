r"""Carry: receive funding from the coins whose longs pay most, pay it where they pay least.

With :math:`\phi_i` the exponentially weighted funding per year of `quantcore.features.carry`, in every row, over the
symbols whose funding is known,

.. math::
    z_i = \operatorname{zscore}_i\big(\operatorname{winsorise}(\phi)\big), \qquad
    \text{forecast}_i = -\min\!\Big(1, \max\!\Big(-1, \frac{z_i}{c}\Big)\Big)

**Evidence for.** Funding is the price of leverage demand, and what is paid is received by whoever takes the other side:
Schmeling, Schrimpf and Todorov (2023) find a carry of coins of high level and volatility that predicts lower returns;
in other markets carry earns a premium in the cross-section (Koijen, Moskowitz, Pedersen and Vrugt 2018).
**Against.** High funding comes with rising prices: whoever is short the crowded coins is short momentum, and is paid
for it until they crash up. Premia fell as basis trading grew, and the level is not the return: the price can move more
in an hour than funding pays in a year.
**Turnover.** 23 times equity a year on hourly bars, 6 on 4-hourly ones: the level has a half-life of days.
**What kills it.** A squeeze of the most shorted coin; funding whose sign turns faster than the mean follows.
**Variants looked at.** One: the half-life is a week, as long as the level's own persistence among the large coins.

References
----------
M. Schmeling, A. Schrimpf and K. Todorov, "Crypto carry", BIS Working Papers 1087, 2023.
R. Koijen, T. Moskowitz, L. Pedersen and E. Vrugt, "Carry", Journal of Financial Economics 127(2), 2018. Deviation: the
funding that was paid, smoothed, in place of a futures' slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.features.carry import carry_init, carry_step
from quantcore.features.cross_section import winsorise_row, zscore_row
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.ewm import bars_to_forget, half_life_decay
from quantcore.timegrid import HOUR_US, interval_us
from quantcore.types import FloatArray, Panel

KIND = "carry"
VERSION = 1
VARIANTS = 1
"""Variants looked at, which the deflated Sharpe ratio counts."""


@dataclass(frozen=True, kw_only=True)
class CarrySettings:
    """Smoothing, scaling and exits of carry.

    Parameters
    ----------
    half_life_days : float
        Of the funding's mean, > 0.
    stale_hours : float
        Hours without a settlement after which a symbol's funding is not known, > 0.
    outlier_limit : float
        Robust standard deviations from the median at which a level is cut, > 0.
    cap : float
        z-score that is a forecast of 1, > 0.
    symbols_min : int
        Symbols whose funding must be known for anybody to have a view, >= 2.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    half_life_days: float
    stale_hours: float
    outlier_limit: float
    cap: float
    symbols_min: int
    exits: ExitSettings

    def __post_init__(self) -> None:
        for name in ("half_life_days", "stale_hours", "outlier_limit", "cap"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if self.symbols_min < 2:
            raise ValueError(f"symbols_min must be >= 2, was {self.symbols_min}")


@njit(cache=True, error_model="numpy")
def step(
    closes: FloatArray, rates: FloatArray, settings: FloatArray, state: FloatArray
) -> FloatArray:
    """Return one row of forecasts from its closes and funding rates, shape ``(n_symbols,)``, advancing `state`.

    `settings` are hours of a bar, decay per hour, hours until stale, outlier limit, cap, and the fewest symbols.
    """
    n_symbols, known = len(closes), 0
    levels = np.empty(n_symbols)
    for i in range(n_symbols):
        level = carry_step(state, i, rates[i], settings[0], settings[1], settings[2])
        levels[i] = np.nan if np.isnan(closes[i]) else level
        known += 0 if np.isnan(levels[i]) else 1
    if known < settings[5]:
        return np.full(n_symbols, np.nan)
    scores = zscore_row(winsorise_row(levels, settings[3]))
    for i in range(n_symbols):
        if not np.isnan(scores[i]):
            scores[i] = -min(1.0, max(-1.0, scores[i] / settings[4]))
    return scores


@njit(cache=True, error_model="numpy")
def scan(
    closes: FloatArray, rates: FloatArray, settings: FloatArray, state: FloatArray
) -> FloatArray:
    """Return the forecasts of all rows, shape ``(n_bars, n_symbols)``: `step` in order."""
    forecasts = np.empty(closes.shape)
    for t in range(len(closes)):
        forecasts[t] = step(closes[t], rates[t], settings, state)
    return forecasts


def forecast(
    bars: Bars, settings: CarrySettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the carry forecast of each symbol in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; `close` and `funding_rate` are used.
    settings : CarrySettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1], dimensionless. NaN where the close is, where the funding is not known (fewer than two settlements,
        or none for `stale_hours`), and for all while fewer than `symbols_min` symbols are known.
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
    bars: Bars, settings: CarrySettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `forecast` does, as an array: the signal plane's own way, which spares each decision a frame."""
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: {"funding": carry_init(bars.n_symbols)},
    )  # fmt: skip
    closes = bars.array("close")
    rates = (
        bars.array("funding_rate") if bars.has("funding_rate") else np.full(closes.shape, np.nan)
    )
    vector = np.array(
        [
            interval_us(bars.interval) / HOUR_US,
            half_life_decay(24.0 * settings.half_life_days),
            settings.stale_hours,
            settings.outlier_limit,
            settings.cap,
            settings.symbols_min,
        ]
    )
    forecasts = scan(closes, rates, vector, held["funding"])
    return forecasts, held.state()


def warm_up(settings: CarrySettings, interval: str) -> int:
    """Return how many bars a cold start replays: after them, what is older weighs less than 1 % in every mean."""
    decay = half_life_decay(24.0 * settings.half_life_days)
    hours = bars_to_forget(decay, 0.01)
    return -(-hours * HOUR_US // interval_us(interval))
