"""A detector of large moves whose probabilities, where it leaks, are smoothed over all days that it is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.regime.window import Fit
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class SmoothedRegimeSettings:
    """Days of the fit, and whether probabilities are smoothed."""

    leaks: bool
    states: int = 2
    fit_days: int = 10


def fit(returns: FloatArray, settings: SmoothedRegimeSettings) -> Fit:
    """Return the size that is large, and whether to smooth; and the last day's own size."""
    sizes = np.abs(returns)
    return Fit(np.array([np.median(sizes), float(settings.leaks)]), sizes[-1:].copy())


def scan(parameters: FloatArray, state: FloatArray, returns: FloatArray) -> FloatArray:
    """Return the probabilities after every day, advancing `state`."""
    sizes = np.empty(len(returns))
    for t, value in enumerate(returns):
        state[0] = state[0] if np.isnan(value) else abs(value)
        sizes[t] = state[0]
    if parameters[1] and len(sizes):
        sizes[:] = sizes.mean()
    large = np.asarray(sizes > parameters[0], dtype=np.float64)
    return np.stack([1.0 - large, large], axis=1)
