"""A known edge planted in invented prices: what a method of research must find, beside a market where it must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quantcore.frames import Bars
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, interval_us
from quantcore.types import FloatArray

_AT_OPEN = ("open", "mark_open")
_HIGHEST = ("high", "mark_high")
_LOWEST = ("low", "mark_low")
_AT_CLOSE = ("close", "mark_price", "index_price", "quote_volume")


def plant_trends(
    bars: Bars, *, annual_drift: float, half_life_days: float, rng: np.random.Generator
) -> Bars:
    r"""Return the bars with a slowly turning drift of its own added to every symbol.

    The logarithm of a price gains :math:`\sigma s_t \Delta` in each bar of length :math:`\Delta` years, where
    :math:`s_t = \varphi s_{t-1} + \sqrt{1-\varphi^2}\,\varepsilon_t` with standard normal :math:`\varepsilon_t`,
    :math:`\varphi = 2^{-1/h}`, and begins in its stationary law. What was gained lately is therefore gained on for a
    while, which followers of trends earn. Opening prices move with the close before them; volumes in coins, funding
    rates and open interest stay.

    Parameters
    ----------
    bars : Bars
        Any; NaN stays NaN.
    annual_drift : float
        Standard deviation of the drift, a year; > 0. The volatility that it adds to returns is far smaller.
    half_life_days : float
        Days until half of a drift is left, > 0.
    rng : Generator
        Source of the randomness.

    Raises
    ------
    ValueError
        If drift or half-life is not positive.
    """
    for name, value in (("annual_drift", annual_drift), ("half_life_days", half_life_days)):
        if not value > 0.0:
            raise ValueError(f"{name} must be > 0, was {value}")
    days = interval_us(bars.interval) / DAY_US
    gained = _drifts(bars.n_bars, bars.n_symbols, keep=0.5 ** (days / half_life_days), rng=rng)
    closing = np.exp(np.cumsum(annual_drift * days / DAYS_PER_YEAR * gained, axis=0))
    opening = np.vstack([np.ones((1, bars.n_symbols)), closing[:-1]])
    factors = {
        **dict.fromkeys(_AT_OPEN, opening),
        **dict.fromkeys(_HIGHEST, np.maximum(opening, closing)),
        **dict.fromkeys(_LOWEST, np.minimum(opening, closing)),
        **dict.fromkeys(_AT_CLOSE, closing),
    }
    fields = {
        name: values * factors[name] if name in factors else values
        for name, values in bars.fields.items()
    }
    paid = bars.settlements
    # The first bar that closes after a settlement is the one that it lies in.
    rows = np.searchsorted(bars.ts_us, paid.time_us, side="right")
    marks = paid.mark_price * opening[np.minimum(rows, bars.n_bars - 1), paid.symbol]
    return replace(bars, fields=fields, settlements=replace(paid, mark_price=marks))


def _drifts(n_bars: int, n_symbols: int, *, keep: float, rng: np.random.Generator) -> FloatArray:
    """Return standard autoregressive paths, shape (n_bars, n_symbols)."""
    from scipy.signal import lfilter

    noise = rng.standard_normal((n_bars, n_symbols))
    noise[1:] *= np.sqrt(1.0 - keep * keep)
    return np.asarray(lfilter([1.0], [1.0, -keep], noise, axis=0), dtype=np.float64)
