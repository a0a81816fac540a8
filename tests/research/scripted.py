"""A strategy whose forecasts are given: its settings are the seed from which they are drawn. For tests of sweeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels.fields import Fields
from quantcore.types import FloatArray, IntArray

ROWS = 2000
"""Most rows that are scripted; what follows repeats them."""


@dataclass(frozen=True, kw_only=True)
class ScriptedSettings:
    """How often a forecast changes, and from which seed."""

    seed: int
    changes: float = 0.2
    exits: ExitSettings = NO_EXITS


def script(settings: ScriptedSettings, n_symbols: int) -> FloatArray:
    """Return the forecasts, shape ``(ROWS, n_symbols)``: they stand until they change; some are NaN or 0."""
    rng = np.random.default_rng(settings.seed)
    shape = (ROWS, n_symbols)
    drawn = np.round(rng.uniform(-1.0, 1.0, shape), 2)
    drawn[rng.random(shape) < 0.1] = np.nan
    drawn[rng.random(shape) < 0.2] = 0.0
    changed = rng.random(shape) < settings.changes
    changed[0] = True
    last = np.where(changed, np.arange(ROWS)[:, np.newaxis], 0)
    return np.take_along_axis(drawn, np.maximum.accumulate(last, axis=0), axis=0)


@njit(cache=True, error_model="numpy", nogil=True)
def fill_rows(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows from the script."""
    n_symbols = forecasts.shape[1]
    rows = len(settings) // n_symbols
    for t in range(start, stop):
        for i in range(n_symbols):
            forecasts[t - start, i] = settings[(t % rows) * n_symbols + i]
    return 0


def sweep_parts(
    settings: ScriptedSettings, interval: str, n_symbols: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return the script as the settings of `fill_rows`; there is no state."""
    return script(settings, n_symbols).reshape(-1), np.empty(0), np.empty(0, dtype=np.int64)


def forecast_array(
    bars: Bars, settings: ScriptedSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return the script from its first row on."""
    rows = np.arange(bars.n_bars) % ROWS
    return script(settings, bars.n_symbols)[rows], FoldState("scripted", 1, {})


def forecast(bars: Bars) -> None:
    """Mark the module as a strategy; `forecast_array` is what runs."""


def warm_up(settings: ScriptedSettings, interval: str) -> int:
    """Return that nothing needs to be known before."""
    return 1
