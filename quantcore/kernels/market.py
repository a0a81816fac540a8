"""Recurrences of the synthetic market: autoregressions, and funding settlements whose interval changes."""

from __future__ import annotations

import numpy as np
from numba import njit

from quantcore.types import FloatArray, IntArray


@njit(cache=True)
def autoregression(shocks: FloatArray, decay: float, start: float) -> FloatArray:
    """Return x with x[0] = start and x[t] = decay * x[t-1] + shocks[t], shape ``(n,)``."""
    path = np.empty(shocks.shape[0])
    value = start
    for t in range(shocks.shape[0]):
        if t > 0:
            value = decay * value + shocks[t]
        path[t] = value
    return path


@njit(cache=True)
def settle_funding(
    premium: FloatArray,
    first: int,
    hour_of_day: int,
    regular_hours: int,
    interest: float,
    band: float,
    cap: float,
    quiet_rate: float,
    quiet_settlements: int,
    calm_hours: int,
) -> tuple[IntArray, FloatArray]:
    """Return the hours at which funding settles and its rates, from the hourly premium of one symbol.

    The rate is F = (P + clamp(I - P, -band, band)) * hours / 8, clamped to the cap, where P is the premium since the
    last settlement, the k-th hour weighted by k, and I the interest of 8 hours. A settlement that reaches the cap
    moves the symbol to hourly settlements; `quiet_settlements` hourly ones in a row of at most `quiet_rate` move it
    to `calm_hours`, from which the cap moves it back to hourly ones (BINANCE.md).

    `premium` has shape ``(n_hours,)``; hour h ends h + 1 hours after the start of the grid, which lies
    `hour_of_day` hours after midnight UTC. `first` is the hour of the listing. Settlements lie on multiples of their
    interval after midnight; the result counts hours from the start of the grid.
    """
    hours = premium.shape[0]
    times = np.empty(hours, dtype=np.int64)
    rates = np.empty(hours)
    count = 0
    interval = regular_hours
    quiet = 0
    last = first
    for hour in range(first + 1, hours):
        if (hour_of_day + hour) % interval != 0:
            continue
        weighted = 0.0
        weights = 0.0
        for k in range(last, hour):
            weight = k - last + 1.0
            weighted += weight * premium[k]
            weights += weight
        average = weighted / weights
        rate = (average + min(max(interest - average, -band), band)) * interval / 8.0
        clamped = min(max(rate, -cap), cap)
        times[count] = hour
        rates[count] = clamped
        count += 1
        last = hour
        if abs(rate) >= cap:
            interval = 1
            quiet = 0
        elif interval == 1:
            quiet = quiet + 1 if abs(clamped) <= quiet_rate else 0
            if quiet >= quiet_settlements:
                interval = calm_hours
    return times[:count].copy(), rates[:count].copy()
