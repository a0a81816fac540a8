r"""Carry: what holding a perpetual pays, per unit of time, and how far its mark stands from its last price.

Funding is paid at settlements, every 1, 4 or 8 hours, and a venue changes the interval of a symbol without notice. So
rates are measured against the time that they pay for: the sum of rates :math:`f_k` in the row that ends :math:`h_k`
hours after the previous row with a settlement is a rate of :math:`f_k / h_k` per hour over all of these hours. The mean
of that rate, with weights that halve every half-life, in hours, back from the last settlement, is

.. math::
    \bar f_k = \frac{W_{k-1} \lambda^{h_k} \bar f_{k-1} + (1 - \lambda^{h_k})\, f_k / h_k}{W_k},
    \qquad W_k = W_{k-1} \lambda^{h_k} + 1 - \lambda^{h_k}

It does not depend on how the same rate per hour is cut into settlements. Between settlements nothing accrues and the
mean stays. A year has 365 days (STYLE.md 2). Positive funding is paid by longs.

A silence longer than `stale_hours` is not a long interval but missing data: the settlement that ends it starts the
clock anew, and the time that passed only makes what was known before weigh less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numba import njit

from quantcore.features.folding import empty_state, fold, known, positive
from quantcore.fold import FoldState
from quantcore.frames import Bars, to_panel
from quantcore.kernels.ewm import ewm_init, ewm_mean_scan, half_life_decay
from quantcore.timegrid import DAYS_PER_YEAR, HOUR_US, interval_us
from quantcore.types import FloatArray, Panel

VERSION = 1
HOURS_PER_YEAR = 24.0 * DAYS_PER_YEAR

# Columns of the state, one row per symbol. Bars since the last settlement are NaN before the first; the last rate per
# year is NaN until two settlements have come without a silence between them.
_BARS, _MEAN, _WEIGHT, _LAST = 0, 1, 2, 3


@njit(cache=True, error_model="numpy")
def carry_init(n_symbols: int) -> FloatArray:
    """Return the empty state of the funding mean, shape ``(n_symbols, 4)``: no settlement yet."""
    state = np.zeros((n_symbols, 4))
    state[:, _BARS] = np.nan
    state[:, _LAST] = np.nan
    return state


@njit(cache=True, error_model="numpy")
def carry_step(
    state: FloatArray,
    i: int,
    rate: float,
    bar_hours: float,
    decay_per_hour: float,
    stale_hours: float,
) -> float:
    """Return the mean funding of one symbol per year after one more bar, advancing row `i` of the state.

    Parameters
    ----------
    state : float64 array, shape (n_symbols, 4)
        From `carry_init`; row `i` is advanced in place.
    i : int
        Row of the symbol.
    rate : float
        Sum of the bar's settlements as a fraction of notional, positive if longs pay; NaN where there is none.
    bar_hours : float
        Length of a bar in hours, > 0; the same in all calls that share a state.
    decay_per_hour : float
        In [0, 1); `half_life_decay` of a half-life in hours.
    stale_hours : float
        Longest time between two settlements, in hours; longer is missing data.

    Returns
    -------
    float
        Fraction of notional per year. NaN before the second settlement, and from `stale_hours` after the last one to
        the second one that follows.
    """
    hours = (state[i, _BARS] + 1.0) * bar_hours
    if np.isnan(rate):
        state[i, _BARS] += 1.0
        fresh = hours <= stale_hours and not np.isnan(state[i, _LAST])
        return float(state[i, _MEAN]) if fresh else np.nan
    state[i, _BARS] = 0.0
    if np.isnan(hours):
        return np.nan
    decay = decay_per_hour**hours
    aged = decay * state[i, _WEIGHT]
    if hours > stale_hours:
        state[i, _WEIGHT] = aged
        state[i, _LAST] = np.nan
        return np.nan
    weight = aged + 1.0 - decay
    annual = rate / hours * HOURS_PER_YEAR
    mean = state[i, _MEAN] + (annual - state[i, _MEAN]) * (1.0 - decay) / weight
    state[i, _MEAN], state[i, _WEIGHT], state[i, _LAST] = mean, weight, annual
    return float(mean)


@njit(cache=True, error_model="numpy")
def carry_scan(
    rates: FloatArray,
    bar_hours: float,
    decay_per_hour: float,
    stale_hours: float,
    state: FloatArray,
) -> FloatArray:
    """Return `carry_step` of every row and symbol, shape ``(n_bars, n_symbols)``, advancing `state` in place."""
    n_bars, n_symbols = rates.shape
    means = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            means[t, i] = carry_step(state, i, rates[t, i], bar_hours, decay_per_hour, stale_hours)
    return means


@njit(cache=True, error_model="numpy")
def carry_surprise_step(
    state: FloatArray,
    i: int,
    rate: float,
    bar_hours: float,
    decay_per_hour: float,
    stale_hours: float,
) -> float:
    """Return the last rate per year minus `carry_step`, with its arguments; NaN where that is."""
    mean = carry_step(state, i, rate, bar_hours, decay_per_hour, stale_hours)
    return float(state[i, _LAST] - mean)


@njit(cache=True, error_model="numpy")
def carry_surprise_scan(
    rates: FloatArray,
    bar_hours: float,
    decay_per_hour: float,
    stale_hours: float,
    state: FloatArray,
) -> FloatArray:
    """Return `carry_surprise_step` of every row and symbol, advancing `state` in place."""
    n_bars, n_symbols = rates.shape
    surprises = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            surprises[t, i] = carry_surprise_step(
                state, i, rates[t, i], bar_hours, decay_per_hour, stale_hours
            )
    return surprises


def funding_mean(
    bars: Bars, *, half_life_hours: float, stale_hours: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the exponentially weighted mean of funding, per year, whatever the settlement interval.

    Parameters
    ----------
    bars : Bars
        Only `funding_rate` is used; bars without it have no settlements. What is settled within one bar pays for the
        time since the bar that held the settlement before: bars longer than the interval do no harm.
    half_life_hours : float
        Hours until a weight halves, > 0.
    stale_hours : float
        Longest time between two settlements, >= that of a bar and of the longest interval in the data (8 hours on
        most venues). A settlement missing within it halves the rate of the one that follows.
    state : FoldState, optional
        From an earlier call with the same settings and interval; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Fraction of notional per year, positive if longs pay. NaN before a symbol's second settlement, and once none
        has come for longer than `stale_hours`, until two have come again. A bar without prices changes nothing.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `half_life_hours` is not finite and > 0, or `stale_hours` is shorter than a bar.
    SchemaMismatch
        If `state` is of another feature, other settings or another number of symbols.

    References
    ----------
    Koijen, Moskowitz, Pedersen and Vrugt, "Carry", *Journal of Financial Economics* 127(2), 2018: carry as what an
    asset pays if its price stays. Zumbach and Müller, "Operators on Inhomogeneous Time Series", *International Journal
    of Theoretical and Applied Finance* 4(1), 2001: weights by time, of a value that holds over the interval before it.
    Deviation: the weights are normalised from the first rate on.
    """
    settings = _settings(bars, half_life_hours, stale_hours)
    empty = empty_state("funding_mean", VERSION, settings, symbols=carry_init(bars.n_symbols))
    rates = known(bars, "funding_rate")
    return fold(bars, state, empty, lambda held: carry_scan(rates, *settings, held["symbols"]))


def funding_surprise(
    bars: Bars, *, half_life_hours: float, stale_hours: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return how far the last rate stands from the mean of funding, per year.

    Parameters
    ----------
    bars, half_life_hours, stale_hours, state
        As for `funding_mean`.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        The last rate per year minus `funding_mean`, which includes it; a fraction of notional per year, 0 at the
        second settlement, unchanged between settlements and NaN where the mean is.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError, SchemaMismatch
        As `funding_mean`.
    """
    settings = _settings(bars, half_life_hours, stale_hours)
    empty = empty_state("funding_surprise", VERSION, settings, symbols=carry_init(bars.n_symbols))
    rates = known(bars, "funding_rate")
    return fold(
        bars, state, empty, lambda held: carry_surprise_scan(rates, *settings, held["symbols"])
    )


def _settings(bars: Bars, half_life_hours: float, stale_hours: float) -> tuple[float, float, float]:
    decay = half_life_decay(positive("half_life_hours", half_life_hours))
    bar_hours = interval_us(bars.interval) / HOUR_US
    if not bar_hours <= stale_hours < math.inf:
        rule = f"finite and >= {bar_hours}, the length of a bar"
        raise ValueError(f"stale_hours must be {rule}, was {stale_hours}")
    return bar_hours, decay, float(stale_hours)


@njit(cache=True, error_model="numpy")
def basis_rows(marks: FloatArray, closes: FloatArray) -> FloatArray:
    """Return ``log(mark / close)`` of every row and symbol, shape ``(n_bars, n_symbols)``; NaN where one is missing."""
    n_bars, n_symbols = closes.shape
    values = np.empty((n_bars, n_symbols))
    for t in range(n_bars):
        for i in range(n_symbols):
            values[t, i] = math.log(marks[t, i] / closes[t, i])
    return values


def basis(bars: Bars) -> Panel:
    r"""Return the premium of the mark over the last price, :math:`\ln(M_t / C_t)`.

    Parameters
    ----------
    bars : Bars
        `mark_price` and `close`.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Logarithmic fraction; NaN where the close or the mark is missing, everywhere if bars have no marks. A function
        of one row alone, so that there is no state.
    """
    return to_panel(basis_rows(known(bars, "mark_price"), bars.array("close")), bars)


def basis_mean(
    bars: Bars, *, half_life: float, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the exponentially weighted mean of the premium of the mark over the last price.

    Parameters
    ----------
    bars : Bars
        `mark_price` and `close`.
    half_life : float
        Bars until a weight halves, > 0.
    state : FoldState, optional
        From an earlier call with the same half-life; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Logarithmic fraction. NaN where `basis` is, which leaves the mean unchanged.
    FoldState
        To hand to the next call.

    Raises
    ------
    ValueError
        If `half_life` is not finite and > 0.
    SchemaMismatch
        If `state` is of another feature, another half-life or another number of symbols.
    """
    decay = half_life_decay(positive("half_life", half_life))
    empty = empty_state("basis_mean", VERSION, (decay,), symbols=ewm_init(bars.n_symbols))
    values = basis_rows(known(bars, "mark_price"), bars.array("close"))

    def scan(held: Mapping[str, FloatArray]) -> FloatArray:
        means = ewm_mean_scan(values, decay, held["symbols"])
        return np.where(np.isnan(values), np.nan, means)

    return fold(bars, state, empty, scan)
