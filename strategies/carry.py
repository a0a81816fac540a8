r"""Carry: receive funding from the coins whose longs pay most, pay it where they pay least.

With :math:`\phi_i` the exponentially weighted funding per year of `quantcore.features.carry`, in every row, over the
symbols whose funding is known,

.. math::
    z_i = \operatorname{zscore}_i\big(\operatorname{winsorise}(\phi)\big), \qquad
    \text{forecast}_i = -\min\!\Big(1, \max\!\Big(-1, \frac{z_i}{c}\Big)\Big)

**Evidence for.** Funding is the price of leverage demand, and what is paid is received by whoever takes the other side:
Schmeling, Schrimpf and Todorov (2023) find a carry of coins of high level and volatility that predicts lower returns;
in other markets carry earns a premium in the cross-section (Koijen, Moskowitz, Pedersen and Vrugt 2018).
**Against.** High funding comes with rising prices: whoever is short the crowded coins is short momentum, and is paid
for it until they crash up. Premia fell as basis trading grew, and the level is not the return: the price can move more
in an hour than funding pays in a year.
**Turnover.** 23 times equity a year on hourly bars, 6 on 4-hourly ones: the level has a half-life of days.
**What kills it.** A squeeze of the most shorted coin; funding whose sign turns faster than the mean follows.
**Variants looked at.** One: the half-life is a week, as long as the level's own persistence among the large coins.

References
----------
M. Schmeling, A. Schrimpf and K. Todorov, "Crypto carry", BIS Working Papers 1087, 2023.
R. Koijen, T. Moskowitz, L. Pedersen and E. Vrugt, "Carry", Journal of Financial Economics 127(2), 2018. Deviation: the
funding that was paid, smoothed, in place of a futures' slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.features.carry import carry_init, carry_step
from quantcore.features.cross_section import winsorise_row, zscore_row
from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import bars_to_forget, half_life_decay
from quantcore.kernels.fields import Features, Fields
from quantcore.kernels.memory import lent
from quantcore.timegrid import HOUR_US, interval_us
from quantcore.types import FloatArray, IntArray, Panel

KIND = "carry"
VERSION = 1
VARIANTS = 1
"""Variants looked at, which the deflated Sharpe ratio counts."""

# Places of the parameters.
_BAR_HOURS, _DECAY, _STALE, _LIMIT, _CAP, _LEAST = 0, 1, 2, 3, 4, 5


@dataclass(frozen=True, kw_only=True)
class CarrySettings:
    """Smoothing, scaling and exits of carry.

    Parameters
    ----------
    half_life_days : float
        Of the funding's mean, > 0.
    stale_hours : float
        Hours without a settlement after which a symbol's funding is not known, > 0.
    outlier_limit : float
        Robust standard deviations from the median at which a level is cut, > 0.
    cap : float
        z-score that is a forecast of 1, > 0.
    symbols_min : int
        Symbols whose funding must be known for anybody to have a view, >= 2.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    half_life_days: float
    stale_hours: float
    outlier_limit: float
    cap: float
    symbols_min: int
    exits: ExitSettings

    def __post_init__(self) -> None:
        for name in ("half_life_days", "stale_hours", "outlier_limit", "cap"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if self.symbols_min < 2:
            raise ValueError(f"symbols_min must be >= 2, was {self.symbols_min}")


@inner()
def _measure(
    closes: FloatArray, rates: FloatArray, settings: FloatArray, state: FloatArray, levels: FloatArray
) -> None:  # fmt: skip
    """Fill the funding of each symbol per year, NaN where the close is, advancing `state`."""
    for i in range(len(closes)):
        level = carry_step(
            state, i, rates[i], settings[_BAR_HOURS], settings[_DECAY], settings[_STALE]
        )
        levels[i] = np.nan if np.isnan(closes[i]) else level


@inner()
def _score(levels: FloatArray, limit: float) -> FloatArray:
    return zscore_row(winsorise_row(levels, limit))


@inner()
def _view(scores: FloatArray, cap: float, least: float, forecasts: FloatArray) -> None:
    """Fill the forecasts of a row; NaN for all where too few scores are known."""
    known = 0
    for i in range(len(scores)):
        known += 0 if np.isnan(scores[i]) else 1
    for i in range(len(scores)):
        forecasts[i] = -min(1.0, max(-1.0, scores[i] / cap))
        if known < least or np.isnan(scores[i]):
            forecasts[i] = np.nan


@njit(cache=True, error_model="numpy")
def step(
    closes: FloatArray, rates: FloatArray, settings: FloatArray, state: FloatArray
) -> FloatArray:
    """Return one row of forecasts from its closes and funding rates, shape ``(n_symbols,)``, advancing `state`.

    `settings` are hours of a bar, decay per hour, hours until stale, outlier limit, cap, and the fewest symbols.
    """
    row = np.empty(len(closes))
    _measure(closes, rates, settings, state, row)
    _view(_score(row, settings[_LIMIT]), settings[_CAP], settings[_LEAST], row)
    return row


@njit(cache=True, error_model="numpy")
def scan(
    closes: FloatArray, rates: FloatArray, settings: FloatArray, state: FloatArray
) -> FloatArray:
    """Return the forecasts of all rows, shape ``(n_bars, n_symbols)``: `step` in order."""
    forecasts = np.empty(closes.shape)
    for t in range(len(closes)):
        forecasts[t] = step(closes[t], rates[t], settings, state)
    return forecasts


@njit(cache=True, error_model="numpy", nogil=True)
def fill_features(
    fields: Fields,
    measured: FloatArray,
    state: FloatArray,
    start: int,
    stop: int,
    features: FloatArray,
) -> int:
    """Fill what sets have in common for rows ``[start, stop)``, shape ``(n_features, n_rows, n_symbols)``.

    It is the scores of a level with an outlier limit. `measured` holds how many levels there are, hours of a bar, decay
    and hours until stale of each, then each feature's place of level and limit. The state holds that of each level.
    """
    n_symbols, n_levels = features.shape[2], int(measured[0])
    n_settings = 3 * n_levels + 1
    each = measured[1:n_settings].reshape((n_levels, 3))
    closes, rates, rows = lent(fields.close), lent(fields.funding_rate), lent(features)
    held = lent(state.reshape((n_levels, n_symbols, len(state) // (n_levels * n_symbols))))
    levels = np.empty((n_levels, n_symbols))
    for t in range(start, stop):
        for k in range(n_levels):
            _measure(closes[t], rates[t], each[k], held[k], levels[k])
        for m in range(len(rows)):
            place = n_settings + 2 * m
            rows[m, t - start] = _score(levels[int(measured[place])], measured[place + 1])
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_from_features(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)`` from `fill_features`, the same as `fill_rows` to the last bit.

    `settings` are the place of the scores, cap, and the fewest symbols; there is no state.
    """
    scores, rows = lent(features[int(settings[0])]), lent(forecasts)
    for t in range(stop - start):
        _view(scores[t], settings[1], settings[2], rows[t])
    return 0


@njit(cache=True, error_model="numpy", nogil=True)
def fill_rows(
    fields: Fields, features: FloatArray, settings: FloatArray, state: FloatArray, counts: IntArray, start: int,
    stop: int, forecasts: FloatArray,
) -> int:  # fmt: skip
    """Fill the forecasts of rows ``[start, stop)``, with scores of the set's own."""
    own, measured = np.empty((1, stop - start, forecasts.shape[1])), np.empty(6)
    measured[0], measured[4], measured[5] = 1.0, 0.0, settings[_LIMIT]
    measured[1:4] = settings[:_LIMIT]
    placed = np.array([0.0, settings[_CAP], settings[_LEAST]])
    fill_features(fields, measured, state, start, stop, own)
    return fill_from_features(fields, own, placed, state, counts, start, stop, forecasts)


def sweep_parts(
    settings: CarrySettings, interval: str, n_symbols: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return settings, empty state and counts as the vectors that `fill_rows` takes."""
    state = carry_init(n_symbols).reshape(-1)
    return _parameters(settings, interval), state, np.empty(0, dtype=np.int64)


def shared_features(settings: Sequence[CarrySettings], interval: str, n_symbols: int) -> Features:
    """Return what some sets have in common: each level once, and its scores with each outlier limit once."""
    own = [_parameters(each, interval).tolist() for each in settings]
    levels = sorted({tuple(vector[:_LIMIT]) for vector in own})
    scores = sorted({(levels.index(tuple(v[:_LIMIT])), v[_LIMIT]) for v in own})
    places = [scores.index((levels.index(tuple(v[:_LIMIT])), v[_LIMIT])) for v in own]
    return Features(
        vector=np.array([len(levels), *np.ravel(levels), *np.ravel(scores)]),
        state=np.tile(carry_init(n_symbols).reshape(-1), len(levels)),
        vectors=np.array([[p, v[_CAP], v[_LEAST]] for p, v in zip(places, own, strict=True)]),
        n_features=len(scores),
        n_alone=len(settings),
    )


def forecast(
    bars: Bars, settings: CarrySettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the carry forecast of each symbol in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; `close` and `funding_rate` are used.
    settings : CarrySettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1], dimensionless. NaN where the close is, where the funding is not known (fewer than two settlements,
        or none for `stale_hours`), and for all while fewer than `symbols_min` symbols are known.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold or of other symbols.
    """
    forecasts, after = forecast_array(bars, settings, state)
    return to_panel(forecasts, bars), after


def forecast_array(
    bars: Bars, settings: CarrySettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `forecast` does, as an array: the signal plane's own way, which spares each decision a frame."""
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: {"funding": carry_init(bars.n_symbols)},
    )  # fmt: skip
    closes = bars.array("close")
    rates = (
        bars.array("funding_rate") if bars.has("funding_rate") else np.full(closes.shape, np.nan)
    )
    forecasts = scan(closes, rates, _parameters(settings, bars.interval), held["funding"])
    return forecasts, held.state()


def warm_up(settings: CarrySettings, interval: str) -> int:
    """Return how many bars a cold start replays: after them, what is older weighs less than 1 % in every mean."""
    decay = half_life_decay(24.0 * settings.half_life_days)
    hours = bars_to_forget(decay, 0.01)
    return -(-hours * HOUR_US // interval_us(interval))


def _parameters(settings: CarrySettings, interval: str) -> FloatArray:
    return np.array(
        [
            interval_us(interval) / HOUR_US,
            half_life_decay(24.0 * settings.half_life_days),
            settings.stale_hours,
            settings.outlier_limit,
            settings.cap,
            settings.symbols_min,
        ]
    )
