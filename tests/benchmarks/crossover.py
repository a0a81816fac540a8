"""A dual moving average, long above and short below: what the contestants of the benchmarks trade.

Written as a user's strategy would be: settings, a compiled scan for the backtest, and the kernels of a sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars
from quantcore.kernels.compiled import inner
from quantcore.kernels.fields import Features, Fields
from quantcore.types import FloatArray, IntArray

KIND = "crossover"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class CrossoverSettings:
    """Windows in bars, 1 <= fast < slow."""

    fast: int
    slow: int
    exits: ExitSettings = NO_EXITS

    def __post_init__(self) -> None:
        if not 1 <= self.fast < self.slow:
            raise ValueError(f"fast must be in [1, slow), was {self.fast} with slow {self.slow}")


@inner()
def side(fast: float, slow: float, last: float) -> float:
    """Return 1 above, -1 below; equal averages change nothing."""
    return 1.0 if fast > slow else (-1.0 if fast < slow else last)


@njit(cache=True, error_model="numpy", nogil=True)
def averages(
    fields: Fields,
    windows: FloatArray,
    state: FloatArray,
    start: int,
    stop: int,
    features: FloatArray,
) -> int:
    """Fill the mean of each window's last closes; NaN until there are as many. The state holds the sums."""
    closes = fields.close  # once: every look into a tuple counts a reference
    for k in range(len(windows)):
        window, total = int(windows[k]), state[k]
        for t in range(start, stop):
            total += closes[t, 0]
            if t >= window:
                total -= closes[t - window, 0]
            features[k, t - start, 0] = total / window if t >= window - 1 else np.nan
        state[k] = total
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def sides(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the side of rows from the averages at the places in `settings`."""
    fast, slow, last = features[int(settings[0])], features[int(settings[1])], state[0]
    for t in range(stop - start):
        last = side(fast[t, 0], slow[t, 0], last)
        forecasts[t, 0] = last
    state[0] = last
    return 0


fill_features = averages
fill_from_features = sides


@njit(cache=True, error_model="numpy", nogil=True)
def fill_rows(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the side of rows, with averages of its own; the state holds the last side and the sums."""
    own = np.empty((2, stop - start, 1))
    averages(fields, settings, state[1:], start, stop, own)
    last = state[0]
    for t in range(stop - start):
        last = side(own[0, t, 0], own[1, t, 0], last)
        forecasts[t, 0] = last
    state[0] = last
    return 0


def sweep_parts(
    settings: CrossoverSettings, interval: str, n_symbols: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return settings, empty state and counts as vectors."""
    start = np.array([np.nan, 0.0, 0.0])
    return np.array([settings.fast, settings.slow], float), start, np.empty(0, np.int64)


def shared_features(
    settings: Sequence[CrossoverSettings], interval: str, n_symbols: int
) -> Features:
    """Return each average once."""
    windows = sorted({window for each in settings for window in (each.fast, each.slow)})
    place = {window: k for k, window in enumerate(windows)}
    return Features(
        vector=np.array(windows, dtype=np.float64),
        state=np.zeros(len(windows)),
        vectors=np.array([[place[s.fast], place[s.slow]] for s in settings], dtype=np.float64),
        n_features=len(windows),
        n_alone=2 * len(settings),
    )


def forecast_array(
    bars: Bars, settings: CrossoverSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return the sides of all rows; only from the first row on, as the benchmarks need it."""
    vector, start, counts = sweep_parts(settings, bars.interval, bars.n_symbols)
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings, empty=lambda: {"held": start}
    )  # fmt: skip
    forecasts = np.empty((bars.n_bars, 1))
    closes = bars.array("close")
    fields = Fields(bars.ts_us, closes, closes, closes, closes, closes, closes)
    fill_rows(fields, np.empty((0, 1, 1)), vector, held["held"], counts, 0, bars.n_bars, forecasts)
    return forecasts, held.state()


def forecast(bars: Bars) -> None:
    """Mark the module as a strategy; `forecast_array` is what runs."""


def warm_up(settings: CrossoverSettings, interval: str) -> int:
    """Return how many bars the slow average needs."""
    return settings.slow
