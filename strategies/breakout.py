r"""Breakout: an ensemble of Donchian channels over many lookbacks, each left at a trailing stop on its middle.

For every lookback n the channel of the last n complete UTC days has the highest and the lowest close as its edges
:math:`U^{(n)}, L^{(n)}` and :math:`M^{(n)} = (U^{(n)} + L^{(n)})/2` as its middle. With the close :math:`c_t` of any
row,

.. math::
    p^{(n)} \leftarrow \begin{cases} +1 & c_t > U^{(n)} \\ -1 & c_t < L^{(n)} \\
    0 & p^{(n)} > 0,\ c_t < s^{(n)} \text{ or } p^{(n)} < 0,\ c_t > s^{(n)} \end{cases}
    \qquad \text{forecast}_t = \frac1N \sum_n p^{(n)}

where the stop :math:`s^{(n)}` of a long position starts at the middle and only rises to later middles, of a short only
falls. Lookbacks whose days are not all known have no part in the mean.

**Evidence for.** Donchian channels on coins with these lookbacks and this stop, sized by volatility (Zarattini, Pagani
and Barbon 2025; long only there, survivorship-free, net of 10 bps); breakouts and crossovers are kin, and what is
known of trends speaks for both (Lempérière et al. 2014; Baz et al. 2015; see `strategies.trend`).
**Against.** The paper is young, its sample is one of rising prices, and its short side is untested; the rules of
technical analysis that once paid often stopped once known (Sullivan, Timmermann and White 1999).
**Turnover.** About 60 times equity a year on hourly bars, 20 on 4-hourly ones (20 coins, with the portfolio in `conf`);
most of it from the short lookbacks.
**What kills it.** Ranges: every false break pays twice the costs. A crash through the stops of many long lookbacks at
once, since their positions are alike.
**Variants looked at.** One: lookbacks and stop are the paper's; the short side mirrors the long one.

References
----------
C. Zarattini, A. Pagani and A. Barbon, "Catching Crypto Trends: A Tactical Approach for Bitcoin and Altcoins", 2025,
SSRN 5209907. Deviations: closes of any row against channels of complete days; a short side; no daily rebalancing rule.
R. Sullivan, A. Timmermann and H. White, "Data-Snooping, Technical Trading Rule Performance, and the Bootstrap",
Journal of Finance 54(5), 1999.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import close_day, day_ring, days_ago
from quantcore.timegrid import DAY_US, interval_us
from quantcore.types import Array, FloatArray, IntArray, Panel

KIND = "breakout"
VERSION = 1
VARIANTS = 1
"""Variants looked at, which the deflated Sharpe ratio counts."""

_UPPER, _LOWER = 0, 1
_POSITION, _STOP = 0, 1


@dataclass(frozen=True, kw_only=True)
class BreakoutSettings:
    """Lookbacks and exits of the channels.

    Parameters
    ----------
    lookback_days : list of int
        Days of each channel, >= 2, increasing.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    lookback_days: list[int]
    exits: ExitSettings

    def __post_init__(self) -> None:
        days = list(self.lookback_days)
        if not days or min(days) < 2 or days != sorted(set(days)):
            raise ValueError(f"lookback_days must be increasing numbers >= 2, were {days}")


@inner()
def _set_channel(
    ring: FloatArray, count: IntArray, lookbacks: IntArray, i: int, channel: FloatArray
) -> None:
    """Set a symbol's edges for every lookback; NaN where a day of it has no close."""
    upper, lower, day, whole = -np.inf, np.inf, 0, True
    for k in range(len(lookbacks)):
        while whole and day < lookbacks[k]:
            close = days_ago(ring, count, day, i)
            whole = not np.isnan(close)
            upper, lower = max(upper, close), min(lower, close)
            day += 1
        channel[k, i, _UPPER] = upper if whole else np.nan
        channel[k, i, _LOWER] = lower if whole else np.nan


@inner()
def _follow(place: FloatArray, close: float, upper: float, lower: float) -> float:
    """Return the position of one channel after a close, advancing position and stop."""
    middle = 0.5 * (upper + lower)
    held, stop = place[_POSITION], place[_STOP]
    if close > upper:
        stop = middle if held <= 0.0 else max(stop, middle)
        held = 1.0
    elif close < lower:
        stop = middle if held >= 0.0 else min(stop, middle)
        held = -1.0
    elif held > 0.0:
        stop = max(stop, middle)
        held = 0.0 if close < stop else held
    elif held < 0.0:
        stop = min(stop, middle)
        held = 0.0 if close > stop else held
    place[_POSITION], place[_STOP] = held, stop
    return float(held)


@njit(cache=True, error_model="numpy")
def step(
    closes: FloatArray, ts_us: int, lookbacks: IntArray, today: FloatArray, ring: FloatArray,
    count: IntArray, channel: FloatArray, place: FloatArray, forecasts: FloatArray,
) -> None:  # fmt: skip
    """Fill one row of forecasts from its closes, shape ``(n_symbols,)``, advancing the state.

    The state is `today`, `ring` and `count` (see `kernels.days`), `channel` and `place`, shape
    ``(n_lookbacks, n_symbols, 2)``: upper and lower edge of the present day; position and stop.
    """
    for i in range(len(closes)):
        forecasts[i] = np.nan
        if np.isnan(closes[i]):
            continue
        total, known = 0.0, 0
        for k in range(len(lookbacks)):
            upper, lower = channel[k, i, _UPPER], channel[k, i, _LOWER]
            if not np.isnan(upper):
                total += _follow(place[k, i], closes[i], upper, lower)
                known += 1
        if known > 0:
            forecasts[i] = total / known
    if close_day(closes, ts_us, today, ring, count):
        for i in range(len(closes)):
            _set_channel(ring, count, lookbacks, i, channel)


@njit(cache=True, error_model="numpy")
def scan(
    closes: FloatArray, ts_us: IntArray, lookbacks: IntArray, today: FloatArray, ring: FloatArray,
    count: IntArray, channel: FloatArray, place: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return the forecasts of all rows, shape ``(n_bars, n_symbols)``: `step` in order."""
    forecasts = np.empty(closes.shape)
    for t in range(len(closes)):
        step(closes[t], ts_us[t], lookbacks, today, ring, count, channel, place, forecasts[t])
    return forecasts


def forecast(
    bars: Bars, settings: BreakoutSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the mean position of the channels for each symbol in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used.
    settings : BreakoutSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1], dimensionless. NaN where the close is, and until the shortest lookback's days are known. A day
        without any close leaves out every lookback that reaches over it.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold, or of other symbols or lookbacks.
    """
    forecasts, after = forecast_array(bars, settings, state)
    return to_panel(forecasts, bars), after


def forecast_array(
    bars: Bars, settings: BreakoutSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `forecast` does, as an array: the signal plane's own way, which spares each decision a frame."""
    lookbacks = np.array(settings.lookback_days, dtype=np.int64)
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: _empty(bars.n_symbols, lookbacks),
    )  # fmt: skip
    forecasts = scan(
        bars.array("close"), bars.ts_us, lookbacks, held["today"], held["ring"], held["count"],
        held["channel"], held["place"],
    )  # fmt: skip
    return forecasts, held.state()


def warm_up(settings: BreakoutSettings, interval: str) -> int:
    """Return how many bars a cold start replays: twice the longest lookback, by when its channel has turned over.

    A position may be older than that; what it was before the replay began is then not known.
    """
    return 2 * max(settings.lookback_days) * (DAY_US // interval_us(interval))


def _empty(n_symbols: int, lookbacks: IntArray) -> dict[str, Array]:
    shape = (len(lookbacks), n_symbols, 2)
    return {
        "today": np.full(n_symbols, np.nan),
        "ring": day_ring(int(lookbacks.max()), n_symbols),
        "count": np.zeros(1, dtype=np.int64),
        "channel": np.full(shape, np.nan),
        "place": np.zeros(shape),
    }
