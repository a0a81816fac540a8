r"""The Strategy Matrix: how much each strategy counts in each regime, and the one forecast that comes of it.

With forecasts :math:`f_s` of the strategies s, regime probabilities :math:`p_k` and the matrix :math:`M_{ks}`, whose
rows sum to 1,

.. math::
    m_s = \sum_k p_k M_{ks}, \qquad
    F_i = \min\!\Big(1, \max\!\Big(-1,\; d \sum_s m_s\, a_s f_{s,i}\Big)\Big), \qquad
    a_s = \min\!\Big(a_{\max}, \frac{b}{\bar f_s}\Big)

The weights :math:`m` move with the probabilities and do not jump with a label; before the first fit of the regime
every row of the matrix counts alike. :math:`\bar f_s` is the exponentially weighted mean size of a strategy's
forecasts where it has one that is not 0, so that all strategies speak equally loud (Carver 2015, ch. 7), and d makes
up for what is lost where they disagree. A strategy without a view of a symbol counts as 0 for it.

**Given or estimated.** The matrix is given in YAML, or estimated at fixed UTC dates from the strategies' daily paper
returns over a trailing window of fixed length,

.. math::
    M_{ks} = (1 - \delta_k)\frac1S + \delta_k \frac{\max(0, \theta_{ks})}{\sum_r \max(0, \theta_{kr})}, \qquad
    \delta_k = \frac{n_k}{n_k + n_0}

with :math:`\theta_{ks}` the Sharpe ratio of strategy s over the days weighted by :math:`p_k`, and :math:`n_k` the
effective number of such days: with little history, or where nothing gained, all strategies count alike.

References
----------
R. Carver, *Systematic Trading*, 2015, ch. 7 and 8 (scaling and combining forecasts).
V. DeMiguel, L. Garlappi and R. Uppal, "Optimal Versus Naive Diversification", Review of Financial Studies 22(5), 2009
(why the estimate is pulled so hard towards equal shares).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.errors import ConfigError
from quantcore.fold import FoldState, reopen, resume
from quantcore.kernels.compiled import inner
from quantcore.kernels.days import day_ring, in_order
from quantcore.kernels.ewm import half_life_decay
from quantcore.timegrid import CALENDAR, DAY_US, interval_us, review_spans
from quantcore.types import Array, FloatArray, IntArray

KIND = "strategy_matrix"
VERSION = 1
ROW_SUM_ERROR = 1e-6
METHODS = ("equal", "given", "estimated")

# Places of the settings that the kernel reads.
_DECAY, _SIZE, _SCALE_MAX, _DIVERSIFICATION = range(4)
# Columns of the state of a strategy: mean size of its forecasts and weight; paper return of the day in progress.
_MEAN, _WEIGHT, _PAPER = range(3)


@dataclass(frozen=True, kw_only=True)
class MatrixSettings:
    """How strategies are combined.

    Parameters
    ----------
    method : str
        ``"equal"``, ``"given"`` by `rows`, or ``"estimated"``.
    rows : mapping of str to mapping of str to float, or None
        Regime, the calmest first, to strategy to weight; each row sums to 1 and names every strategy. None but where
        the matrix is given.
    size_half_life_days : float
        Of the mean size of a strategy's forecasts, > 0.
    size : float
        Mean size that forecasts are scaled to, in (0, 1].
    scale_max : float
        Most by which a forecast is enlarged, >= 1.
    diversification : float
        d, what the combined forecast is multiplied by, >= 1.
    review : str
        When an estimated matrix is estimated anew, UTC: ``"week"`` or ``"month"``.
    window_days : int
        Days of paper returns in an estimate, >= 30.
    prior_days : float
        n0, days at which history and equal shares count alike, > 0.
    """

    method: str
    rows: Mapping[str, Mapping[str, float]] | None
    size_half_life_days: float
    size: float
    scale_max: float
    diversification: float
    review: str
    window_days: int
    prior_days: float

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, was {self.method!r}")
        if (self.method == "given") != (self.rows is not None):
            raise ValueError(
                f"rows must be given with method given and null else, was method {self.method}"
            )
        for regime, row in (self.rows or {}).items():
            _check_row(regime, row)
        if not 0.0 < self.size <= 1.0:
            raise ValueError(f"size must be in (0, 1], was {self.size}")
        for name, least in (("scale_max", 1.0), ("diversification", 1.0), ("window_days", 30)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be >= {least:g}, was {getattr(self, name)}")
        for name in ("size_half_life_days", "prior_days"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if self.review not in CALENDAR[1:]:
            raise ValueError(f"review must be week or month, was {self.review!r}")


def _check_row(regime: str, row: Mapping[str, float]) -> None:
    total = sum(row.values())
    if not (min(row.values(), default=-1.0) >= 0.0 and abs(total - 1.0) <= ROW_SUM_ERROR):
        raise ValueError(
            f"matrix row {regime} must have weights >= 0 that sum to 1, was {dict(row)} with sum {total:g}"
        )


def given_matrix(
    settings: MatrixSettings, strategies: Sequence[str], n_regimes: int
) -> FloatArray | None:
    """Return the matrix of the settings, shape ``(n_regimes, n_strategies)``; None if it is to be estimated.

    Raises
    ------
    ConfigError
        If it has another number of regimes, or a row does not name exactly the strategies.
    """
    if settings.method == "equal":
        return np.full((n_regimes, len(strategies)), 1.0 / len(strategies))
    if settings.rows is None:
        return None
    if len(settings.rows) != n_regimes:
        raise ConfigError(
            f"matrix.rows must have one row for each of {n_regimes} regimes, had {list(settings.rows)}"
        )
    for regime, row in settings.rows.items():
        if set(row) != set(strategies):
            raise ConfigError(
                f"matrix row {regime} must name the strategies {sorted(strategies)}, named {sorted(row)}"
            )
    return np.array([[row[name] for name in strategies] for row in settings.rows.values()])


def combine(
    forecasts: FloatArray,
    probabilities: FloatArray,
    closes: FloatArray,
    ts_us: IntArray,
    settings: MatrixSettings,
    *,
    interval: str,
    strategies: Sequence[str],
    state: FoldState | None = None,
) -> tuple[FloatArray, FloatArray, FoldState]:
    r"""Return the combined forecast, what each strategy counted in it, and the state after the last row.

    Parameters
    ----------
    forecasts : float64 array, shape (n_bars, n_strategies, n_symbols)
        In [-1, 1], NaN where a strategy has no view.
    probabilities : float64 array, shape (n_bars, n_regimes)
        Of each regime, the calmest first; NaN before the first fit.
    closes : float64 array, shape (n_bars, n_symbols)
        USDT per coin, NaN where missing.
    ts_us : int64 array, shape (n_bars,)
        Stamps of the rows.
    settings : MatrixSettings
        The same for all calls that share a state.
    interval : str
        Of the rows.
    strategies : sequence of str
        Their names, in the order of `forecasts`.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    combined : float64 array, shape (n_bars, n_symbols)
        In [-1, 1]; NaN where the close is missing or no strategy has a view.
    counted : float64 array, shape (n_bars, n_strategies)
        :math:`d\,m_s a_s`, what a strategy's forecast is multiplied by before the cap.
    state : FoldState
        To hand to the next call.

    Raises
    ------
    ConfigError
        If the matrix does not fit the regimes and strategies.
    SchemaMismatch
        If `state` is of another fold, or of other symbols, strategies or settings.
    """
    _, n_strategies, n_symbols = forecasts.shape
    n_regimes = probabilities.shape[1]
    matrix = given_matrix(settings, strategies, n_regimes)
    held = resume(
        state, KIND, VERSION, n_symbols=n_symbols, settings=(settings, tuple(strategies), n_regimes),
        empty=lambda: _empty(n_strategies, n_symbols, n_regimes, settings),
    )  # fmt: skip
    if matrix is not None:
        held["matrix"] = matrix
    vector = np.array(
        [
            half_life_decay(settings.size_half_life_days * DAY_US / interval_us(interval)),
            settings.size,
            settings.scale_max,
            settings.diversification,
        ]
    )
    combined, counted = np.empty(closes.shape), np.empty((len(closes), n_strategies))
    for start, stop, (due,) in review_spans(ts_us, settings.review):
        if held["due"][0] and matrix is None:
            _estimate(held, settings)
        scan(
            forecasts[start:stop], probabilities[start:stop], closes[start:stop], ts_us[start:stop], vector,
            held["matrix"], held["strategies"], held["last"], held["spoken"], held["papers"], held["regimes"],
            held["count"], combined[start:stop], counted[start:stop],
        )  # fmt: skip
        held["due"][0] = due
    return combined, counted, held.state()


def refit(state: FoldState, settings: MatrixSettings) -> FoldState:
    """Return the state after the estimate that is due, if one is; `combine` makes it else, before its next row."""
    if settings.method != "estimated" or not state.expect(KIND, VERSION)["due"][0]:
        return state
    held = reopen(state, KIND, VERSION)
    _estimate(held, settings)
    return held.state()


@inner()
def _mix(probabilities: FloatArray, matrix: FloatArray, s: int) -> float:
    """Return a strategy's weight under the probabilities; the mean of its rows where they are not known."""
    known = not np.isnan(probabilities[0])
    total = 0.0
    for k in range(len(matrix)):
        total += matrix[k, s] * (probabilities[k] if known else 1.0 / len(matrix))
    return total


@inner()
def _hear(
    forecasts: FloatArray, closes: FloatArray, last: FloatArray, spoken: FloatArray, strategy: FloatArray,
    settings: FloatArray,
) -> float:  # fmt: skip
    """Return what a strategy's forecasts of a row are scaled by, advancing its mean size and its paper return."""
    gained, total, views = 0.0, 0.0, 0
    for i in range(len(closes)):
        gain = spoken[i] * (closes[i] / last[i] - 1.0)
        gained += 0.0 if np.isnan(gain) else gain
        if abs(forecasts[i]) > 0.0:
            total += abs(forecasts[i])
            views += 1
    strategy[_PAPER] += gained / len(closes)
    if views > 0:
        strategy[_MEAN] = settings[_DECAY] * strategy[_MEAN] + total / views
        strategy[_WEIGHT] = settings[_DECAY] * strategy[_WEIGHT] + 1.0
    scale = 1.0
    if strategy[_MEAN] > 0.0:
        scale = min(settings[_SCALE_MAX], settings[_SIZE] * strategy[_WEIGHT] / strategy[_MEAN])
    for i in range(len(closes)):
        if not np.isnan(closes[i]):
            spoken[i] = forecasts[i] * scale
    return scale


@inner()
def _sum(forecasts: FloatArray, counted: FloatArray, i: int) -> float:
    """Return the strategies' forecasts of a symbol together, capped; NaN where none has a view."""
    total, views = 0.0, 0
    for s in range(len(counted)):
        if not np.isnan(forecasts[s, i]):
            total += counted[s] * forecasts[s, i]
            views += 1
    return min(1.0, max(-1.0, total)) if views > 0 else np.nan


@njit(cache=True, error_model="numpy")
def scan(
    forecasts: FloatArray, probabilities: FloatArray, closes: FloatArray, ts_us: IntArray, settings: FloatArray,
    matrix: FloatArray, strategies: FloatArray, last: FloatArray, spoken: FloatArray, papers: FloatArray,
    regimes: FloatArray, count: IntArray, combined: FloatArray, counted: FloatArray,
) -> None:  # fmt: skip
    """Fill `combined` and `counted` row by row, advancing sizes, paper returns and their rings.

    A strategy's paper return of a row is the mean over symbols of its last scaled forecast times the symbol's return.
    """
    n_strategies, n_symbols = forecasts.shape[1], forecasts.shape[2]
    for t in range(len(closes)):
        for s in range(n_strategies):
            scale = _hear(forecasts[t, s], closes[t], last, spoken[s], strategies[s], settings)
            counted[t, s] = settings[_DIVERSIFICATION] * scale * _mix(probabilities[t], matrix, s)
        for i in range(n_symbols):
            combined[t, i] = _sum(forecasts[t], counted[t], i)
            if np.isnan(closes[t, i]):
                combined[t, i] = np.nan
            else:
                last[i] = closes[t, i]
        if ts_us[t] % DAY_US == 0:
            day = count[0] % len(papers)
            for s in range(n_strategies):
                papers[day, s] = strategies[s, _PAPER]
                strategies[s, _PAPER] = 0.0
            for k in range(probabilities.shape[1]):
                regimes[day, k] = probabilities[t, k]
            count[0] += 1


def estimate_matrix(papers: FloatArray, regimes: FloatArray, *, prior_days: float) -> FloatArray:
    """Return the matrix of daily paper returns and regime probabilities, shape ``(n_regimes, n_strategies)``.

    Days with a NaN are left out; without any, all shares are equal.
    """
    known = ~(np.isnan(papers).any(axis=1) | np.isnan(regimes).any(axis=1))
    papers, regimes = papers[known], regimes[known]
    equal = np.full(papers.shape[1], 1.0 / papers.shape[1])
    matrix = np.tile(equal, (regimes.shape[1], 1))
    for k in range(regimes.shape[1]):
        weights = regimes[:, k]
        if not weights.sum() > 0.0:
            continue
        share = weights / weights.sum()
        days = 1.0 / float((share**2).sum())
        mean = share @ papers
        sd = np.sqrt(share @ (papers - mean) ** 2)
        gains = np.where(sd > 0.0, np.maximum(mean, 0.0) / np.where(sd > 0.0, sd, 1.0), 0.0)
        if gains.sum() > 0.0:
            believed = days / (days + prior_days)
            matrix[k] = (1.0 - believed) * equal + believed * gains / gains.sum()
    return matrix


def _estimate(held: dict[str, Array], settings: MatrixSettings) -> None:
    held["due"][0] = 0
    count = int(held["count"][0])
    papers, regimes = in_order(held["papers"], count), in_order(held["regimes"], count)
    held["matrix"] = estimate_matrix(papers, regimes, prior_days=settings.prior_days)


def _empty(
    n_strategies: int, n_symbols: int, n_regimes: int, settings: MatrixSettings
) -> dict[str, Array]:
    return {
        "strategies": np.zeros((n_strategies, 3)),
        "last": np.full(n_symbols, np.nan),
        "spoken": np.full((n_strategies, n_symbols), np.nan),
        "papers": day_ring(settings.window_days, n_strategies),
        "regimes": day_ring(settings.window_days, n_regimes),
        "count": np.zeros(1, dtype=np.int64),
        "due": np.zeros(1, dtype=np.int64),
        "matrix": np.full((n_regimes, n_strategies), 1.0 / n_strategies),
    }


def warm_up(settings: MatrixSettings, interval: str) -> int:
    """Return how many bars a cold start replays: what the sizes remember, and a whole window where it is estimated."""
    days = 7.0 * settings.size_half_life_days
    if settings.method == "estimated":
        days = max(days, settings.window_days + 32.0)
    return int(days * DAY_US) // interval_us(interval)
