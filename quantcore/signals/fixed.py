r"""A fixed share of equity for each symbol: a target only when the forecast changes, and nothing is rebalanced between.

.. math:: w_i = s\, f_i

for the forecasts f of symbols that have a price; a symbol without a view is to be flat. Between two changes of its
forecast a symbol has no target (NaN), so that a position is left as it is while price and equity move. It suits rules
that are in or out of the market, one symbol at a time; it knows neither volatility nor what other symbols do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.fold import FoldState, resume
from quantcore.frames import Bars
from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray

KIND = "fixed"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FixedSettings:
    """How forecasts become weights.

    Parameters
    ----------
    weight : float
        Size of the position at a forecast of 1, as a fraction of equity, > 0.
    """

    weight: float

    def __post_init__(self) -> None:
        if not (self.weight > 0.0 and math.isfinite(self.weight)):
            raise ValueError(f"weight must be finite and > 0, was {self.weight}")

    @property
    def remembers_forecasts(self) -> bool:
        """Whether weights depend on forecasts of earlier rows: on the last, from which a change is told."""
        return True


@inner(forceinline=True)
def change(forecast: float, close: float, last: float, weight: float) -> float:
    """Return the target of a symbol's row, NaN where it has no price or wants what it wanted `last`."""
    if math.isnan(close):
        return math.nan
    target = 0.0 if math.isnan(forecast) else weight * forecast
    return target if target != last else math.nan


@njit(cache=True, error_model="numpy", nogil=True)
def scan(forecasts: FloatArray, closes: FloatArray, weight: float, last: FloatArray) -> FloatArray:
    """Return the targets of all rows, shape ``(n_bars, n_symbols)``, advancing `last`, the target before."""
    weights = np.empty(closes.shape)
    for t in range(closes.shape[0]):
        for i in range(closes.shape[1]):
            target = change(forecasts[t, i], closes[t, i], last[i], weight)
            weights[t, i] = target
            if not math.isnan(target):
                last[i] = target
    return weights


def weigh(
    bars: Bars, forecasts: FloatArray, settings: FixedSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return the target weight of each symbol in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used.
    forecasts : float64 array, shape (n_bars, n_symbols)
        Of the same rows and symbols, in [-1, 1]; NaN where there is no view.
    settings : FixedSettings
        The same for all calls that share a state.
    state : FoldState or None
        From an earlier call; None starts flat.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold, or of other symbols or settings.
    """
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: {"last": np.zeros(bars.n_symbols)},
    )  # fmt: skip
    weights = scan(forecasts, bars.array("close"), settings.weight, held["last"])
    return weights, held.state()
