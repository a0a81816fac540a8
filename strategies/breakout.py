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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import close_day, day_ring
from quantcore.kernels.fields import Features, Fields, n_filled, stacked
from quantcore.kernels.memory import lent
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
    last, n_known = (count[0] - 1) % len(ring), min(count[0], len(ring))
    for k in range(len(lookbacks)):
        while whole and day < lookbacks[k]:
            # A row below 0 counts from the end; a modulo for each would take longer than all the rest.
            close = ring[last - day, i] if day < n_known else np.nan
            whole = not np.isnan(close)
            upper, lower = max(upper, close), min(lower, close)
            day += 1
        channel[k, i, _UPPER] = upper if whole else np.nan
        channel[k, i, _LOWER] = lower if whole else np.nan


@inner()
def _follow(channel: FloatArray, place: FloatArray, k: int, i: int, close: float) -> float:
    """Return the position of a symbol's channel after a close, advancing position and stop; NaN where not known."""
    upper, lower = channel[k, i, _UPPER], channel[k, i, _LOWER]
    if np.isnan(upper) or np.isnan(close):
        return np.nan
    middle = 0.5 * (upper + lower)
    held, stop = place[k, i, _POSITION], place[k, i, _STOP]
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
    place[k, i, _POSITION], place[k, i, _STOP] = held, stop
    return float(held)


@inner()
def _mean(total: float, known: float) -> float:
    return total / known if known > 0 else np.nan


@inner()
def _end_row(
    closes: FloatArray, ts_us: int, lookbacks: IntArray, today: FloatArray, ring: FloatArray,
    count: IntArray, channel: FloatArray,
) -> None:  # fmt: skip
    """Take the closes that the channels of later days are made of."""
    if close_day(closes, ts_us, today, ring, count):
        for i in range(len(closes)):
            _set_channel(ring, count, lookbacks, i, channel)


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
        total, known = 0.0, 0
        for k in range(len(lookbacks)):
            position = _follow(channel, place, k, i, closes[i])
            if not np.isnan(position):
                total += position
                known += 1
        forecasts[i] = _mean(total, known)
    _end_row(closes, ts_us, lookbacks, today, ring, count, channel)


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


@njit(cache=True, error_model="numpy", nogil=True)
def fill_features(
    fields: Fields,
    lookbacks: FloatArray,
    state: FloatArray,
    start: int,
    stop: int,
    features: FloatArray,
) -> int:
    """Fill what sets have in common for rows ``[start, stop)``, shape ``(n_lookbacks, n_rows, n_symbols)``.

    It is the position of every lookback's channel, NaN where not known. The state is that of `step`, from `_vector`.
    """
    n_symbols, n_lookbacks = features.shape[2], len(lookbacks)
    days, count = lookbacks.astype(np.int64), np.array([int(state[0])])
    n_ring, n_edges = days[-1] * n_symbols, 2 * n_lookbacks * n_symbols
    at = 1 + n_symbols
    today = lent(state[1:at])
    ring = lent(state[at : at + n_ring].reshape((days[-1], n_symbols)))
    at += n_ring
    channel = lent(state[at : at + n_edges].reshape((n_lookbacks, n_symbols, 2)))
    at += n_edges
    place = lent(state[at : at + n_edges].reshape((n_lookbacks, n_symbols, 2)))
    closes, ts_us = fields.close, fields.ts_us  # once: every look into a tuple counts a reference
    for t in range(start, stop):
        for k in range(n_lookbacks):
            for i in range(n_symbols):
                features[k, t - start, i] = _follow(channel, place, k, i, closes[t, i])
        _end_row(closes[t], ts_us[t], days, today, ring, count, channel)
    state[0] = count[0]
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_from_features(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the mean of the positions at the places in `settings` for rows ``[start, stop)``; there is no state."""
    n_symbols = forecasts.shape[1]
    known = np.empty(n_symbols)
    for t in range(stop - start):
        for i in range(n_symbols):
            forecasts[t, i], known[i] = 0.0, 0.0
        for k in range(n_filled(settings)):
            place = int(settings[k])
            for i in range(n_symbols):
                position = features[place, t, i]
                forecasts[t, i] += 0.0 if np.isnan(position) else position
                known[i] += 0.0 if np.isnan(position) else 1.0
        for i in range(n_symbols):
            forecasts[t, i] = _mean(forecasts[t, i], known[i])
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_rows(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)``, with channels of the set's own."""
    lookbacks = settings[: n_filled(settings)]
    own = np.empty((len(lookbacks), stop - start, forecasts.shape[1]))
    fill_features(fields, lookbacks, state, start, stop, own)
    places = np.arange(len(lookbacks)).astype(np.float64)
    return fill_from_features(fields, own, places, state, counts, start, stop, forecasts)


def sweep_parts(
    settings: BreakoutSettings, interval: str, n_symbols: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return lookbacks, empty state and counts as the vectors that `fill_rows` takes."""
    lookbacks = np.array(settings.lookback_days, dtype=np.int64)
    return lookbacks.astype(np.float64), _vector(n_symbols, lookbacks), np.empty(0, dtype=np.int64)


def shared_features(
    settings: Sequence[BreakoutSettings], interval: str, n_symbols: int
) -> Features:
    """Return what some sets have in common: the channel of each lookback once."""
    lookbacks = sorted({days for each in settings for days in each.lookback_days})
    place = {days: k for k, days in enumerate(lookbacks)}
    return Features(
        vector=np.array(lookbacks, dtype=np.float64),
        state=_vector(n_symbols, np.array(lookbacks, dtype=np.int64)),
        vectors=stacked([np.array([place[d] for d in s.lookback_days], float) for s in settings]),
        n_features=len(lookbacks),
        n_alone=sum(len(each.lookback_days) for each in settings),
    )


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


def _vector(n_symbols: int, lookbacks: IntArray) -> FloatArray:
    """Return the empty state as one vector: days so far, today, ring, channel, place."""
    empty = _empty(n_symbols, lookbacks)
    return np.concatenate(
        [empty[name].reshape(-1) for name in ("count", "today", "ring", "channel", "place")]
    ).astype(np.float64)
