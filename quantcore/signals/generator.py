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

**Options.** Forecasts can be smoothed before they are used. The shares q can come from risk budgeting or hierarchical
risk parity on daily returns, and the whole can be scaled down by fractional Kelly, both estimated at fixed UTC dates
from a trailing window of fixed length (`quantcore.signals.estimates`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState, reopen, resume
from quantcore.frames import Bars, panel_times, to_kernel, to_panel
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import close_day, day_ring, in_order
from quantcore.kernels.ewm import (
    bars_to_forget,
    ewm_cov_init,
    ewm_cov_step,
    ewm_step,
    ewm_var_step,
    half_life_decay,
)
from quantcore.signals import estimates
from quantcore.signals.estimates import KellySettings, SharesSettings
from quantcore.timegrid import DAY_US, interval_us, periods_per_year, review_spans
from quantcore.types import Array, FloatArray, IntArray, Panel

KIND = "inverse_volatility"
VERSION = 2

# Columns of the state of a symbol.
_COUNT, _CLOSE, _VARIANCE, _VARIANCE_WEIGHT, _SMOOTH, _SMOOTH_WEIGHT, _HELD = range(7)
# Places in the parameters.
_FIRST, _VARIANCE_DECAY, _COVARIANCE_DECAY, _TARGET, _FULL_CONVICTION = 0, 1, 2, 3, 4
_WEIGHT_MAX, _GROSS_MAX, SMOOTH_DECAY = 5, 6, 7
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
    smoothing_half_life : float or None
        Of the forecasts, bars, > 0; None uses them as they are.
    shares : SharesSettings or None
        How shares are estimated; None for inverse volatility.
    kelly : KellySettings or None
        How the whole is scaled down when its edge is doubtful; None holds the volatility target.
    """

    volatility_half_life: float
    covariance_half_life: float
    annual_volatility_target: float
    full_conviction: float
    weight_max: float
    gross_max: float
    smoothing_half_life: float | None = None
    shares: SharesSettings | None = None
    kelly: KellySettings | None = None

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
        smoothing = self.smoothing_half_life
        if smoothing is not None and not (smoothing > 0.0 and math.isfinite(smoothing)):
            raise ValueError(f"smoothing_half_life must be finite and > 0, was {smoothing}")

    @property
    def remembers_forecasts(self) -> bool:
        """Whether weights depend on forecasts of earlier rows."""
        return self.smoothing_half_life is not None or self.kelly is not None


@functools.lru_cache(maxsize=64)
def parameters(settings: PortfolioSettings, interval: str) -> FloatArray:
    """Return the settings on bars of an interval as the vector that `step` reads, shape ``(8,)``."""
    smoothing = settings.smoothing_half_life
    return np.array(
        [
            math.ceil(max(settings.volatility_half_life, settings.covariance_half_life)),
            half_life_decay(float(settings.volatility_half_life)),
            half_life_decay(float(settings.covariance_half_life)),
            settings.annual_volatility_target / math.sqrt(periods_per_year(interval)),
            settings.full_conviction,
            settings.weight_max,
            settings.gross_max,
            0.0 if smoothing is None else half_life_decay(float(smoothing)),
        ],
        dtype=np.float64,
    )


@njit(cache=True, error_model="numpy")
def init(n_symbols: int) -> FloatArray:
    """Return the empty state of the symbols, shape ``(n_symbols, 7)``.

    Returns seen, close, variance and its weight, smoothed forecast and its weight, and the weight held on paper.
    """
    state = np.zeros((n_symbols, 7))
    state[:, _CLOSE] = np.nan
    return state


@inner()
def measure(
    symbols: FloatArray, pairs: FloatArray, closes: FloatArray, settings: FloatArray, estimated: FloatArray,
    returns: FloatArray, shares: FloatArray, covariance: FloatArray,
) -> None:  # fmt: skip
    """Take one row of closes: what weights need that no forecast decides, advancing the state.

    Parameters
    ----------
    symbols, pairs, closes, settings, estimated : arrays
        As in `step`.
    returns : float64 array, shape (n_symbols,)
        Set to the row's returns since each symbol's last known close.
    shares : float64 array, shape (n_symbols,)
        Set to the shares, which sum to 1: those estimated, else of inverse volatility. 0 for a symbol without a price
        or known volatility, and without an estimate where others have one.
    covariance : float64 array, shape (n_symbols, n_symbols)
        Set to the covariance of returns; pairs never seen together move as one.
    """
    total = 0.0
    for i in range(closes.shape[0]):
        returns[i] = closes[i] / symbols[i, _CLOSE] - 1.0
        variance, weight = ewm_var_step(
            symbols[i, _VARIANCE],
            symbols[i, _VARIANCE_WEIGHT],
            returns[i],
            settings[_VARIANCE_DECAY],
        )
        symbols[i, _VARIANCE], symbols[i, _VARIANCE_WEIGHT] = variance, weight
        if not np.isnan(returns[i]):
            symbols[i, _COUNT] += 1.0
        shares[i] = 0.0
        if not np.isnan(closes[i]):
            symbols[i, _CLOSE] = closes[i]
            if symbols[i, _COUNT] >= settings[_FIRST] and variance > 0.0:
                inverse = 1.0 / math.sqrt(variance)
                shares[i] = inverse if np.isnan(estimated[i]) else estimated[i]
        total += shares[i]
    ewm_cov_step(pairs, returns, settings[_COVARIANCE_DECAY])
    for i in range(closes.shape[0]):
        if total > 0.0:
            shares[i] /= total
        for j in range(i + 1):
            known = pairs[1, i, j] > 0.0
            pair = pairs[0, i, j] if known else math.sqrt(pairs[0, i, i] * pairs[0, j, j])
            covariance[i, j] = covariance[j, i] = pair


@inner()
def weigh_row(
    weights: FloatArray, closes: FloatArray, shares: FloatArray, covariance: FloatArray, settings: FloatArray,
    moved: FloatArray,
) -> None:  # fmt: skip
    """Turn one row of forecasts, in place, into weights before `scale`; NaN forecasts become 0.

    Parameters
    ----------
    weights : float64 array, shape (n_symbols,)
        The forecasts, NaN where there is no view; then the weights.
    closes : float64 array, shape (n_symbols,)
        USDT per coin.
    shares, covariance : float64 arrays
        From `measure` of the same row.
    settings : float64 array, shape (8,)
        From `parameters`.
    moved : float64 array, shape (n_symbols,)
        Room to work in.
    """
    n_symbols = closes.shape[0]
    conviction = 0.0
    for i in range(n_symbols):
        weights[i] = 0.0 if np.isnan(weights[i]) else shares[i] * weights[i]
        conviction += abs(weights[i])
    variance = _variance(weights, covariance, moved)
    scale = 0.0
    if variance > 0.0:
        strength = min(1.0, conviction / settings[_FULL_CONVICTION])
        scale = strength * settings[_TARGET] / math.sqrt(variance)
    gross, most = 0.0, settings[_WEIGHT_MAX]
    for i in range(n_symbols):
        weights[i] = min(max(weights[i] * scale, -most), most)
        gross += abs(weights[i])
    if gross > settings[_GROSS_MAX]:
        for i in range(n_symbols):
            weights[i] *= settings[_GROSS_MAX] / gross


@inner()
def _variance(weights: FloatArray, covariance: FloatArray, moved: FloatArray) -> float:
    """Return a portfolio's variance, not below that of its positions uncorrelated."""
    n_symbols = len(weights)
    correlated = uncorrelated = 0.0
    for i in range(n_symbols):
        moved[i] = 0.0
    for j in range(n_symbols):
        weight = weights[j]
        if weight != 0.0:
            uncorrelated += weight * weight * covariance[j, j]
            # Along the rows, in whole vectors; the diagonal is taken out again below.
            for i in range(n_symbols):
                moved[i] += weight * covariance[j, i]
    for i in range(n_symbols):
        correlated += weights[i] * (moved[i] - weights[i] * covariance[i, i])
    return uncorrelated + max(correlated, 0.0)


@inner()
def smooth(symbols: FloatArray, i: int, forecast: float, decay: float) -> float:
    """Return a symbol's smoothed forecast; without a view there is none, and what was smoothed stays."""
    if np.isnan(forecast):
        return np.nan
    mean, weight = ewm_step(symbols[i, _SMOOTH], symbols[i, _SMOOTH_WEIGHT], forecast, decay)
    symbols[i, _SMOOTH], symbols[i, _SMOOTH_WEIGHT] = mean, weight
    return mean


@njit(cache=True, error_model="numpy")
def step(
    symbols: FloatArray,
    pairs: FloatArray,
    forecasts: FloatArray,
    closes: FloatArray,
    settings: FloatArray,
    estimated: FloatArray,
    scale: float,
    paper: FloatArray,
) -> FloatArray:
    """Return the target weights of one row, advancing the state.

    Parameters
    ----------
    symbols : float64 array, shape (n_symbols, 7)
        From `init`; advanced in place.
    pairs : float64 array, shape (2, n_symbols, n_symbols)
        From `ewm_cov_init`; advanced in place.
    forecasts : float64 array, shape (n_symbols,)
        In [-1, 1], NaN where there is no view.
    closes : float64 array, shape (n_symbols,)
        USDT per coin, NaN where missing.
    settings : float64 array, shape (8,)
        From `parameters`.
    estimated : float64 array, shape (n_symbols,)
        Shares that were estimated; NaN for inverse volatility.
    scale : float
        Of the weights, in [0, 1].
    paper : float64 array, shape (1,) or (0,)
        Return of the weights before `scale` since it was last emptied; the row's is added. Empty where nobody asks.

    Returns
    -------
    float64 array, shape (n_symbols,)
        Signed notional over equity; NaN where the close is missing, 0 where there is no view.
    """
    room = np.empty((3 + len(closes), len(closes)))
    weights = np.empty(len(closes))
    advance(symbols, pairs, forecasts, closes, settings, estimated, scale, paper, room, weights)
    return weights


@inner()
def advance(
    symbols: FloatArray, pairs: FloatArray, forecasts: FloatArray, closes: FloatArray, settings: FloatArray,
    estimated: FloatArray, scale: float, paper: FloatArray, room: FloatArray, weights: FloatArray,
) -> None:  # fmt: skip
    """Fill `weights` as `step` returns them; `room` to work in has shape ``(3 + n_symbols, n_symbols)``."""
    measure(symbols, pairs, closes, settings, estimated, room[0], room[1], room[3:])
    for i in range(closes.shape[0]):
        if len(paper) > 0 and not np.isnan(room[0, i]):
            paper[0] += symbols[i, _HELD] * room[0, i]
        weights[i] = forecasts[i]
        if settings[SMOOTH_DECAY] > 0.0:
            weights[i] = smooth(symbols, i, forecasts[i], settings[SMOOTH_DECAY])
    weigh_row(weights, closes, room[1], room[3:], settings, room[2])
    for i in range(closes.shape[0]):
        if np.isnan(closes[i]):
            weights[i] = np.nan
        else:
            symbols[i, _HELD] = weights[i] if len(paper) > 0 else 0.0
            weights[i] *= scale


@njit(cache=True, error_model="numpy")
def scan(
    forecasts: FloatArray,
    closes: FloatArray,
    settings: FloatArray,
    symbols: FloatArray,
    pairs: FloatArray,
    estimated: FloatArray,
    scale: float,
    ts_us: IntArray,
    days: FloatArray,
    papers: FloatArray,
    today: FloatArray,
    count: IntArray,
) -> FloatArray:
    """Return the weights of all rows, shape ``(n_bars, n_symbols)``: `step` in order, advancing the state in place.

    `days` and `papers` are rings of daily closes and paper returns, which have no rows where nothing is estimated.
    """
    weights = np.empty(closes.shape)
    room = np.empty((3 + closes.shape[1], closes.shape[1]))
    paper = today[len(today) - 1 :] if len(papers) > 0 else today[len(today) :]
    for t in range(closes.shape[0]):
        advance(
            symbols,
            pairs,
            forecasts[t],
            closes[t],
            settings,
            estimated,
            scale,
            paper,
            room,
            weights[t],
        )
        closed = ts_us[t] % DAY_US == 0
        if len(days) > 0:
            close_day(closes[t], ts_us[t], today[:-1], days, count)
        elif closed:
            count[0] += 1
        if closed and len(papers) > 0:
            papers[(count[0] - 1) % len(papers), 0] = today[-1]
            today[-1] = 0.0
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
    weights, after = weigh(bars, to_kernel(forecasts), settings, state)
    return to_panel(weights, bars), after


def weigh(
    bars: Bars, forecasts: FloatArray, settings: PortfolioSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `portfolio_weights` does, as an array: the signal plane's own way."""
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: _empty(bars.n_symbols, settings),
    )  # fmt: skip
    closes, weights = bars.array("close"), np.empty(forecasts.shape)
    vector = parameters(settings, bars.interval)
    reviews = [None if each is None else each.review for each in (settings.shares, settings.kelly)]
    for start, stop, due in review_spans(bars.ts_us, *reviews):
        _estimate(held, settings)
        weights[start:stop] = scan(
            forecasts[start:stop], closes[start:stop], vector, held["symbols"], held["pairs"], held["shares"],
            float(held["scale"][0]), bars.ts_us[start:stop], held["days"], held["papers"], held["today"],
            held["count"],
        )  # fmt: skip
        held["due"][:] = due
    return weights, held.state()


def refit(state: FoldState, settings: PortfolioSettings) -> FoldState:
    """Return the state after the estimates that are due; `portfolio_weights` makes them else, before its next row."""
    if not state.expect(KIND, VERSION)["due"].any():
        return state
    held = reopen(state, KIND, VERSION)
    _estimate(held, settings)
    return held.state()


def _estimate(held: dict[str, Array], settings: PortfolioSettings) -> None:
    count = int(held["count"][0])
    if held["due"][0] and settings.shares is not None:
        held["shares"] = estimates.shares(in_order(held["days"], count), settings.shares)
    if held["due"][1] and settings.kelly is not None:
        papers = in_order(held["papers"], count)[:, 0]
        held["scale"][0] = estimates.kelly_scale(papers, settings.kelly)
    held["due"][:] = 0


def _empty(n_symbols: int, settings: PortfolioSettings) -> dict[str, Array]:
    return {
        "symbols": init(n_symbols),
        "pairs": ewm_cov_init(n_symbols),
        "shares": np.full(n_symbols, np.nan),
        "scale": np.ones(1),
        "days": day_ring(_window(settings.shares), n_symbols),
        "papers": day_ring(_window(settings.kelly), 1),
        "today": np.append(np.full(n_symbols, np.nan), 0.0),
        "count": np.zeros(1, dtype=np.int64),
        "due": np.zeros(2, dtype=np.int64),
    }


def _window(settings: SharesSettings | KellySettings | None) -> int:
    return 0 if settings is None else settings.window_days


def warm_up(settings: PortfolioSettings, interval: str) -> int:
    """Return how many bars a cold start replays: after them, what is older weighs less than 1 % in every estimate.

    A symbol's first weight comes earlier, after as many returns as the longer half-life has bars.
    """
    longest = max(settings.volatility_half_life, settings.covariance_half_life)
    recursions = bars_to_forget(half_life_decay(float(longest)), _FORGOTTEN)
    n_days = max(_window(settings.shares), _window(settings.kelly))
    return max(recursions, (n_days + 32 if n_days else 0) * (DAY_US // interval_us(interval)))
