"""What every detector shares: the window it is fitted to, and what a fit gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quantcore.types import FloatArray

_LEAST_DAYS, _LEAST_STATES, _MOST_STATES = 60, 2, 4


class Fit(NamedTuple):
    """What a detector's `fit` gives to its `step`: two flat float64 arrays.

    `parameters` hold until the next fit. `state` is the filter's after the last day of the fit's window, ready for
    the day that follows; `step` advances it in place.
    """

    parameters: FloatArray
    state: FloatArray


def check_window_settings(states: int, fit_days: int) -> None:
    """Raise `ValueError` unless there are 2 to 4 states and at least 60 days: what every detector asks."""
    if not _LEAST_STATES <= states <= _MOST_STATES:
        raise ValueError(f"states must be {_LEAST_STATES} to {_MOST_STATES}, was {states}")
    if fit_days < _LEAST_DAYS:
        raise ValueError(f"fit_days must be >= {_LEAST_DAYS}, was {fit_days}")


def check_window(returns: FloatArray, fit_days: int) -> FloatArray:
    """Return the window as C-contiguous float64; raise `ValueError` if it cannot be fitted.

    It must be of shape ``(fit_days,)`` and finite, and its returns must not all be the same.
    """
    window = np.ascontiguousarray(returns, dtype=np.float64)
    if window.shape != (fit_days,):
        raise ValueError(f"returns must have shape ({fit_days},), had {window.shape}")
    strange = np.flatnonzero(~np.isfinite(window))
    if strange.size:
        raise ValueError(f"returns must be finite, was {window[strange[0]]} in row {strange[0]}")
    if (window == window[0]).all():
        raise ValueError(f"returns must differ among themselves, were all {window[0]}")
    return window
