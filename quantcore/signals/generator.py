r"""The Signal Generator: forecasts into target weights by inverse volatility, a volatility target and two caps.

For the symbols i that have a price in the row, with forecast f, volatility :math:`\sigma` and covariance C per bar,

.. math::
    q_i = \frac{1/\sigma_i}{\sum_j 1/\sigma_j}, \qquad r_i = q_i f_i, \qquad k = \sum_i |r_i| \in [0, 1]

.. math::
    w = \min\!\Big(1, \frac{k}{k^*}\Big)\,\frac{\tau}{s}\; r, \qquad
    s^2 = \max\!\Big(r^\top C\, r,\; \sum_i r_i^2\, C_{ii}\Big)

then each :math:`|w_i| \le` `weight_max`, then :math:`\sum |w_i| \le` `gross_max`. :math:`\tau` is the target per bar.

**Weak forecasts.** Scaling r to the target whatever its size would turn forecasts near zero, which are noise, into full
positions. So the target falls in proportion to the conviction k, the mean size of the forecasts, once that is below
`full_conviction` :math:`k^*`: ex ante the portfolio never has more than the target, and less when it knows little.
A listed symbol without a view keeps its share and counts as no conviction.

**Hedges are not trusted.** The variance is never taken below that of the same positions uncorrelated. A book of longs
and shorts is small in variance only as long as correlations hold, and among coins they change in the hours that matter;
without the floor such a book would be levered up to the caps. It also settles the case of a covariance that is
not positive semidefinite, possible where histories differ. A market-neutral book therefore runs below the target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars, panel_times, to_kernel, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import (
    bars_to_forget,
    ewm_cov_init,
    ewm_cov_step,
    ewm_var_step,
    half_life_decay,
)
from quantcore.timegrid import periods_per_year
from quantcore.types import FloatArray, Panel

KIND = "inverse_volatility"
VERSION = 1

# Columns of the state of a symbol.
_COUNT, _CLOSE, _VARIANCE, _VARIANCE_WEIGHT = 0, 1, 2, 3
# Places in the parameters.
_FIRST, _VARIANCE_DECAY, _COVARIANCE_DECAY, _TARGET, _FULL_CONVICTION = 0, 1, 2, 3, 4
_WEIGHT_MAX, _GROSS_MAX = 5, 6
_FORGOTTEN = 0.01


@dataclass(frozen=True, kw_only=True)
class PortfolioSettings:
    """How forecasts become weights.

    Parameters
    ----------
    volatility_half_life : float
        Of each symbol's own volatility, which sets its share; bars, > 0.
    covariance_half_life : float
        Of the covariance that scales the whole portfolio; bars, > 0.
    annual_volatility_target : float
        Ex-ante volatility of the portfolio at full conviction, as a fraction per year of 365 days; > 0.
    full_conviction : float
        Mean size of the forecasts from which on the whole target is used, in (0, 1].
    weight_max : float
        Largest absolute weight of one symbol, as a fraction of equity; > 0.
    gross_max : float
        Largest sum of absolute weights, as a fraction of equity; > 0.
    """

    volatility_half_life: float
    covariance_half_life: float
    annual_volatility_target: float
    full_conviction: float
    weight_max: float
    gross_max: float

    def __post_init__(self) -> None:
        for name in (
            "volatility_half_life",
            "covariance_half_life",
            "annual_volatility_target",
            "full_conviction",
            "weight_max",
            "gross_max",
        ):
            value = getattr(self, name)
            if not (value > 0.0 and math.isfinite(value)):
                raise ValueError(f"{name} must be finite and > 0, was {value}")
        if self.full_conviction > 1.0:
            raise ValueError(f"full_conviction must be in (0, 1], was {self.full_conviction}")


def parameters(settings: PortfolioSettings, interval: str) -> FloatArray:
    """Return the settings on bars of an interval as the vector that `step` reads, shape ``(7,)``."""
    return np.array(
        [
            math.ceil(max(settings.volatility_half_life, settings.covariance_half_life)),
            half_life_decay(float(settings.volatility_half_life)),
            half_life_decay(float(settings.covariance_half_life)),
            settings.annual_volatility_target / math.sqrt(periods_per_year(interval)),
            settings.full_conviction,
            settings.weight_max,
            settings.gross_max,
        ],
        dtype=np.float64,
    )


@njit(cache=True, error_model="numpy")
def init(n_symbols: int) -> FloatArray:
    """Return the empty state of the symbols, shape ``(n_symbols, 4)``: returns seen, close, variance, its weight."""
    state = np.zeros((n_symbols, 4))
    state[:, _CLOSE] = np.nan
    return state


@inner()
def _observe(symbols: FloatArray, closes: FloatArray, decay: float) -> FloatArray:
    """Return the row's returns since each symbol's last known close, advancing closes, counts and variances."""
    returns = np.empty(closes.shape[0])
    for i in range(closes.shape[0]):
        returns[i] = closes[i] / symbols[i, _CLOSE] - 1.0
        variance, weight = ewm_var_step(
            symbols[i, _VARIANCE], symbols[i, _VARIANCE_WEIGHT], returns[i], decay
        )
        symbols[i, _VARIANCE], symbols[i, _VARIANCE_WEIGHT] = variance, weight
        if not np.isnan(returns[i]):
            symbols[i, _COUNT] += 1.0
        if not np.isnan(closes[i]):
            symbols[i, _CLOSE] = closes[i]
    return returns


@inner()
def _shares(symbols: FloatArray, closes: FloatArray, first: float) -> FloatArray:
    """Return the inverse-volatility shares, which sum to 1; 0 for a symbol without a price or known volatility."""
    shares = np.zeros(closes.shape[0])
    total = 0.0
    for i in range(closes.shape[0]):
        known = symbols[i, _COUNT] >= first and symbols[i, _VARIANCE] > 0.0
        if known and not np.isnan(closes[i]):
            shares[i] = 1.0 / np.sqrt(symbols[i, _VARIANCE])
            total += shares[i]
    return shares / total if total > 0.0 else shares


@inner()
def _variance(weights: FloatArray, pairs: FloatArray) -> float:
    """Return a portfolio's variance, not below that of its positions uncorrelated; unseen pairs move as one."""
    correlated = 0.0
    uncorrelated = 0.0
    for i in range(weights.shape[0]):
        if weights[i] == 0.0:
            continue
        uncorrelated += weights[i] * weights[i] * pairs[0, i, i]
        for j in range(i):
            covariance = pairs[0, i, j]
            if pairs[1, i, j] == 0.0:
                covariance = np.sqrt(pairs[0, i, i] * pairs[0, j, j])
            correlated += 2.0 * weights[i] * weights[j] * covariance
    return uncorrelated + max(correlated, 0.0)


@inner()
def _cap(weights: FloatArray, weight_max: float, gross_max: float) -> FloatArray:
    capped = np.minimum(np.maximum(weights, -weight_max), weight_max)
    gross = np.abs(capped).sum()
    return capped * (gross_max / gross) if gross > gross_max else capped


@njit(cache=True, error_model="numpy")
def step(
    symbols: FloatArray,
    pairs: FloatArray,
    forecasts: FloatArray,
    closes: FloatArray,
    settings: FloatArray,
) -> FloatArray:
    """Return the target weights of one row, advancing the state.

    Parameters
    ----------
    symbols : float64 array, shape (n_symbols, 4)
        From `init`; advanced in place.
    pairs : float64 array, shape (2, n_symbols, n_symbols)
        From `ewm_cov_init`; advanced in place.
    forecasts : float64 array, shape (n_symbols,)
        In [-1, 1], NaN where there is no view.
    closes : float64 array, shape (n_symbols,)
        USDT per coin, NaN where missing.
    settings : float64 array, shape (7,)
        From `parameters`.

    Returns
    -------
    float64 array, shape (n_symbols,)
        Signed notional over equity; NaN where the close is missing, 0 where there is no view.
    """
    returns = _observe(symbols, closes, settings[_VARIANCE_DECAY])
    ewm_cov_step(pairs, returns, settings[_COVARIANCE_DECAY])
    weights = _shares(symbols, closes, settings[_FIRST])
    conviction = 0.0
    for i in range(closes.shape[0]):
        weights[i] *= 0.0 if np.isnan(forecasts[i]) else forecasts[i]
        conviction += abs(weights[i])
    variance = _variance(weights, pairs)
    if variance > 0.0:
        strength = min(1.0, conviction / settings[_FULL_CONVICTION])
        weights *= strength * settings[_TARGET] / np.sqrt(variance)
    else:
        weights[:] = 0.0
    weights = _cap(weights, settings[_WEIGHT_MAX], settings[_GROSS_MAX])
    for i in range(closes.shape[0]):
        if np.isnan(closes[i]):
            weights[i] = np.nan
    return weights


@njit(cache=True, error_model="numpy")
def scan(
    forecasts: FloatArray,
    closes: FloatArray,
    settings: FloatArray,
    symbols: FloatArray,
    pairs: FloatArray,
) -> FloatArray:
    """Return the weights of all rows, shape ``(n_bars, n_symbols)``: `step` in order, advancing the state in place."""
    weights = np.empty(closes.shape)
    for t in range(closes.shape[0]):
        weights[t] = step(symbols, pairs, forecasts[t], closes[t], settings)
    return weights


def portfolio_weights(
    bars: Bars, forecasts: Panel, settings: PortfolioSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the target weight of each symbol in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used. The return of a row is known at its close
        and counts in its weights.
    forecasts : Panel, shape (n_bars, n_symbols)
        Of the same rows and symbols, in [-1, 1]; NaN where there is no view.
    settings : PortfolioSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        Signed notional as a fraction of equity. NaN where the close is missing: no decision, what is held is kept.
        0 (be flat) where the close is there but no view, or fewer returns than the longer half-life, or no movement.
        After a missing close the return since the last known one counts as one bar's.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `forecasts` is not aligned with `bars`, or `state` is of another fold or number of symbols.

    References
    ----------
    R. Carver, *Systematic Trading*, 2015, ch. 9-11 (forecast times inverse volatility, volatility target). Deviation:
    the whole covariance takes the place of his instrument diversification multiplier, with the floor above.
    """
    shape = (bars.n_bars, bars.n_symbols)
    if forecasts.shape != shape or tuple(forecasts.columns) != bars.symbols:
        raise SchemaMismatch(
            f"forecasts must have shape {shape} and the columns {bars.symbols}, "
            f"was {forecasts.shape} with {tuple(forecasts.columns)}"
        )
    if not np.array_equal(panel_times(forecasts), bars.ts_us):
        raise SchemaMismatch("forecasts must have the ts of the bars, had others")
    symbols, pairs = init(bars.n_symbols), ewm_cov_init(bars.n_symbols)
    if state is not None:
        held = state.expect(KIND, VERSION)
        if held["symbols"].shape != symbols.shape:
            raise SchemaMismatch(
                f"portfolio state must have shape {symbols.shape}, was {held['symbols'].shape}"
            )
        symbols, pairs = held["symbols"].copy(), held["pairs"].copy()
    vector = parameters(settings, bars.interval)
    weights = scan(to_kernel(forecasts), bars.array("close"), vector, symbols, pairs)
    return to_panel(weights, bars), FoldState(KIND, VERSION, {"symbols": symbols, "pairs": pairs})


def warm_up(settings: PortfolioSettings) -> int:
    """Return how many bars a cold start replays: after them, what is older weighs less than 1 % in every estimate.

    A symbol's first weight comes earlier, after as many returns as the longer half-life has bars.
    """
    longest = max(settings.volatility_half_life, settings.covariance_half_life)
    return bars_to_forget(half_life_decay(float(longest)), _FORGOTTEN)
