r"""Pairs: spreads of coins that were cointegrated, entered far from their mean, left near it or when time is up.

On the first of each month (or Monday) all pairs of symbols whose daily closes are known over the trailing window are
tested by Engle and Granger's method, :math:`\log y_t = a + h \log x_t + u_t`, on that window alone: nothing of an
earlier test is kept. A relation is traded until the next test if the unit root of u is rejected at `significance`, the
hedge ratio h lies in the bounds, and the half-life of u (first-order autoregression) is between one day and
`half_life_max_days`. The best are taken by their test statistic, none with a symbol that is in two better ones. With
:math:`z_t = u_t / s_u` in every row,

- enter against z when :math:`|z|` first exceeds `entry`, leave when it is back within `exit`,
- leave after two half-lives, or when :math:`|z|` exceeds `stop`: then the relation is dropped until it is tested anew.

While a leg has no close, the other keeps its position and the time runs on. A symbol that lacks a whole day takes no
part until that day has left the window.

The forecast of a symbol is the sum over its relations of the sides in units of risk, so that after the portfolio's
division by volatility the two legs stand in the ratio 1 : h, over the relations a symbol can be in.

**Evidence for.** Gatev, Goetzmann and Rouwenhorst (2006) on shares; on coins Fil and Kristoufek (2020), at intervals of
minutes to a day, with profits that hang on costs; Tadi and Kortchemski (2021) on Binance futures.
**Against.** With 190 pairs and a test of 1 % two relations are found where there is none, and relations break when they
matter: Fil and Kristoufek find daily pairs unprofitable; profits on shares have all but gone (Do and Faff 2010).
**Turnover.** One to two times equity a year: few relations pass, and each takes a small part.
**What kills it.** A relation that was chance, or that ends: one coin is revalued and the spread never comes back.
**Variants looked at.** One.

References
----------
R. Engle and C. Granger, "Co-integration and Error Correction", Econometrica 55(2), 1987.
E. Gatev, W. Goetzmann and K. Rouwenhorst, "Pairs Trading", Review of Financial Studies 19(3), 2006.
M. Fil and L. Kristoufek, "Pairs Trading in Cryptocurrency Markets", IEEE Access 8, 2020.
M. Tadi and I. Kortchemski, "Evaluation of dynamic cointegration-based pairs trading strategy in the cryptocurrency
market", Studies in Economics and Finance 38(5), 2021.
B. Do and R. Faff, "Does Simple Pairs Trading Still Work?", Financial Analysts Journal 66(4), 2010.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.exits import ExitSettings
from quantcore.features.cointegration import engle_granger, half_life
from quantcore.fold import FoldState, reopen, resume
from quantcore.frames import Bars, to_panel
from quantcore.kernels.days import close_day, day_ring, in_order
from quantcore.timegrid import CALENDAR, DAY_US, interval_us, review_spans
from quantcore.types import Array, FloatArray, IntArray, Panel

KIND = "pairs"
VERSION = 1
VARIANTS = 1
"""Variants looked at, which the deflated Sharpe ratio counts."""
PER_SYMBOL = 2
"""Relations that a symbol can be in."""

# Columns of the relations: symbols of y and x (-1: no relation), intercept, hedge ratio, deviation of the spread,
# half-life in days, and the legs' sizes in units of risk.
_Y, _X, _INTERCEPT, _HEDGE, _DEVIATION, _HALF_LIFE, _LEG_Y, _LEG_X = range(8)
N_RELATION = 8
# Columns of the places: side of the spread held, days since it was entered, 1 once a stop was hit.
_SIDE, _AGE, _STOPPED = range(3)
N_PLACE = 3
_NONE = -1.0


@dataclass(frozen=True, kw_only=True)
class PairsSettings:
    """Tests, levels and exits of the pairs.

    Parameters
    ----------
    window_days : int
        Daily closes in each test, >= 60.
    review : str
        When relations are tested anew, UTC: ``"week"`` or ``"month"``.
    lags : int
        Lagged changes in the test, >= 0.
    significance : float
        Largest p-value of the test, in (0, 0.2].
    half_life_max_days : float
        Slowest reversion that is traded, > 1.
    hedge_min, hedge_max : float
        Bounds of the hedge ratio, 0 < min < max.
    relations_max : int
        Relations traded at a time, >= 1.
    entry, exit, stop : float
        Of the spread in standard deviations, 0 <= exit < entry < stop.
    exits : ExitSettings
        Protective exits; the account plane's business, not the forecast's.
    """

    window_days: int
    review: str
    lags: int
    significance: float
    half_life_max_days: float
    hedge_min: float
    hedge_max: float
    relations_max: int
    entry: float
    exit: float
    stop: float
    exits: ExitSettings

    def __post_init__(self) -> None:
        if self.window_days < 60:
            raise ValueError(f"window_days must be >= 60, was {self.window_days}")
        if self.review not in CALENDAR[1:]:
            raise ValueError(f"review must be week or month, was {self.review!r}")
        if self.lags < 0:
            raise ValueError(f"lags must be >= 0, was {self.lags}")
        if not 0.0 < self.significance <= 0.2:
            raise ValueError(f"significance must be in (0, 0.2], was {self.significance}")
        if not self.half_life_max_days > 1.0:
            raise ValueError(f"half_life_max_days must be > 1, was {self.half_life_max_days}")
        if not 0.0 < self.hedge_min < self.hedge_max:
            raise ValueError(
                f"hedge_min and hedge_max must be 0 < min < max, were {self.hedge_min} and {self.hedge_max}"
            )
        if self.relations_max < 1:
            raise ValueError(f"relations_max must be >= 1, was {self.relations_max}")
        if not 0.0 <= self.exit < self.entry < self.stop:
            raise ValueError(
                f"exit, entry and stop must be 0 <= exit < entry < stop, were {self.exit}, {self.entry} and {self.stop}"
            )


@njit(cache=True, error_model="numpy")
def step(
    closes: FloatArray, bar_days: float, levels: FloatArray, relations: FloatArray, places: FloatArray,
    forecasts: FloatArray,
) -> None:  # fmt: skip
    """Fill one row of forecasts from its closes, shape ``(n_symbols,)``, advancing `places`.

    `levels` are entry, exit and stop; `relations` and `places` have one row for each relation.
    """
    for i in range(len(closes)):
        forecasts[i] = np.nan if np.isnan(closes[i]) else 0.0
    for k in range(len(relations)):
        y, x = int(relations[k, _Y]), int(relations[k, _X])
        if y < 0:
            continue
        # While a leg has no close the spread is not known: the other leg stays as it is, and only time can end it.
        spread = (
            np.log(closes[y]) - relations[k, _INTERCEPT] - relations[k, _HEDGE] * np.log(closes[x])
        )
        z = spread / relations[k, _DEVIATION]
        side = places[k, _SIDE]
        if side != 0.0:
            places[k, _AGE] += bar_days
            if abs(z) > levels[2] or places[k, _AGE] > 2.0 * relations[k, _HALF_LIFE]:
                places[k, _STOPPED] = 1.0
                side = 0.0
            elif -z * side <= levels[1]:
                side = 0.0
        if side == 0.0 and places[k, _STOPPED] == 0.0 and levels[0] < abs(z) < levels[2]:
            side = -1.0 if z > 0.0 else 1.0
            places[k, _AGE] = 0.0
        places[k, _SIDE] = side
        forecasts[y] += side * relations[k, _LEG_Y] / PER_SYMBOL
        forecasts[x] += side * relations[k, _LEG_X] / PER_SYMBOL


@njit(cache=True, error_model="numpy")
def scan(
    closes: FloatArray, ts_us: IntArray, bar_days: float, levels: FloatArray, today: FloatArray,
    ring: FloatArray, count: IntArray, relations: FloatArray, places: FloatArray, forecasts: FloatArray,
) -> None:  # fmt: skip
    """Fill the forecasts of rows between two tests, shape ``(n_bars, n_symbols)``: `step` in order."""
    for t in range(len(closes)):
        step(closes[t], bar_days, levels, relations, places, forecasts[t])
        close_day(closes[t], ts_us[t], today, ring, count)


def find_relations(closes: FloatArray, settings: PairsSettings) -> FloatArray:
    """Return the relations of a window of daily closes, the strongest first, shape ``(relations_max, 8)``.

    Parameters
    ----------
    closes : float64 array, shape (window_days, n_symbols)
        USDT per coin; symbols with a NaN are left out.
    settings : PairsSettings
        Tests and bounds.
    """
    logs = np.log(closes)
    known = [i for i in range(closes.shape[1]) if not np.isnan(closes[:, i]).any()]
    risk = np.diff(logs, axis=0).std(axis=0)
    found = []
    for a, b in itertools.combinations(known, 2):
        if not (risk[a] > 0.0 and risk[b] > 0.0):
            continue
        # Whichever of the two explains the other better, so that the order of the symbols decides nothing.
        try:
            x, y, test = min(
                (
                    (x, y, engle_granger(logs[:, y], logs[:, x], lags=settings.lags))
                    for x, y in ((a, b), (b, a))
                ),
                key=lambda each: each[2].t_statistic,
            )
        except ValueError:  # one is a multiple of the other: there is no spread to trade
            continue
        accepted = test.p_value <= settings.significance
        if not (accepted and settings.hedge_min <= test.hedge_ratio <= settings.hedge_max):
            continue
        spread = logs[:, y] - test.intercept - test.hedge_ratio * logs[:, x]
        days = _half_life(spread)
        if 1.0 <= days <= settings.half_life_max_days:
            leg_y, leg_x = risk[y], test.hedge_ratio * risk[x]
            largest = max(leg_y, leg_x)
            terms = (y, x, test.intercept, test.hedge_ratio, spread.std(ddof=2), days)
            found.append((test.t_statistic, (*terms, leg_y / largest, -leg_x / largest)))
    relations = np.full((settings.relations_max, N_RELATION), _NONE)
    taken = np.zeros(closes.shape[1], dtype=np.int64)
    n = 0
    for _, row in sorted(found):
        y, x = int(row[_Y]), int(row[_X])
        if n < settings.relations_max and max(taken[y], taken[x]) < PER_SYMBOL:
            relations[n] = row
            taken[[y, x]] += 1
            n += 1
    return relations


def _half_life(spread: FloatArray) -> float:
    """Return the half-life in days by first-order autoregression; infinite where the spread does not revert."""
    phi = float(spread[:-1] @ spread[1:]) / float(spread[:-1] @ spread[:-1])
    return half_life(phi) if 0.0 < phi < 1.0 else np.inf


def refit(state: FoldState, settings: PairsSettings) -> FoldState:
    """Return the state with its relations tested anew if that is due; `forecast` does it else, before its next row.

    A spread that is held goes on if its relation is found again, on the new terms.
    """
    if not state.expect(KIND, VERSION)["due"][0]:
        return state
    held = reopen(state, KIND, VERSION)
    _refit(held, settings)
    return held.state()


def forecast(
    bars: Bars, settings: PairsSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the sum of each symbol's sides in the spreads in each row, and the state after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used.
    settings : PairsSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1], dimensionless. NaN where the close is; 0 without a relation. A test on data up to the first instant
        of a period takes effect one row later.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold, or of other symbols or settings.
    """
    forecasts, after = forecast_array(bars, settings, state)
    return to_panel(forecasts, bars), after


def forecast_array(
    bars: Bars, settings: PairsSettings, state: FoldState | None
) -> tuple[FloatArray, FoldState]:
    """Return what `forecast` does, as an array: the signal plane's own way, which spares each decision a frame."""
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: _empty(bars.n_symbols, settings),
    )  # fmt: skip
    closes, forecasts = bars.array("close"), np.empty((bars.n_bars, bars.n_symbols))
    levels = np.array([settings.entry, settings.exit, settings.stop])
    for start, stop, (due,) in review_spans(bars.ts_us, settings.review):
        if held["due"][0]:
            _refit(held, settings)
        scan(
            closes[start:stop], bars.ts_us[start:stop], interval_us(bars.interval) / DAY_US, levels,
            held["today"], held["ring"], held["count"], held["relations"], held["places"],
            forecasts[start:stop],
        )  # fmt: skip
        held["due"][0] = due
    return forecasts, held.state()


def warm_up(settings: PairsSettings, interval: str) -> int:
    """Return how many bars a cold start replays: the window, and two of the longest periods between tests."""
    return (settings.window_days + 62) * (DAY_US // interval_us(interval))


def _refit(held: dict[str, Array], settings: PairsSettings) -> None:
    held["due"][0] = 0
    old, places = held["relations"], held["places"]
    relations = find_relations(in_order(held["ring"], int(held["count"][0])), settings)
    kept = np.zeros_like(places)
    for k in range(len(relations)):
        for j in range(len(old)):
            same = relations[k, _Y] == old[j, _Y] and relations[k, _X] == old[j, _X]
            if same and relations[k, _Y] >= 0 and places[j, _SIDE] != 0.0:
                kept[k] = places[j]
    held["relations"], held["places"] = relations, kept


def _empty(n_symbols: int, settings: PairsSettings) -> dict[str, Array]:
    return {
        "today": np.full(n_symbols, np.nan),
        "ring": day_ring(settings.window_days, n_symbols),
        "count": np.zeros(1, dtype=np.int64),
        "due": np.zeros(1, dtype=np.int64),
        "relations": np.full((settings.relations_max, N_RELATION), _NONE),
        "places": np.zeros((settings.relations_max, N_PLACE)),
    }
