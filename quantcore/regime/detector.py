r"""The Regime Detector: probabilities of the market's state in each row, filtered from data up to it.

Any of the detectors beside this file works on the market's daily return, the mean over the symbols that have one. A
detector's parameters are fitted anew on the first of each month (or Monday) to the last `fit_days` daily returns and
to nothing else; a fit on data up to the first instant of a period takes effect one row later. Between fits the filter
takes one return a day, at the day's close.

A detector is found from the class of its settings: the module that defines the class holds ``fit`` and ``scan``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from quantcore.errors import ConfigError
from quantcore.fold import FoldState, reopen, resume
from quantcore.frames import Bars
from quantcore.kernels.days import close_day, day_ring, in_order, last_return
from quantcore.timegrid import CALENDAR, DAY_US, interval_us, review_spans
from quantcore.types import Array, FloatArray, IntArray

KIND = "regime"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RegimeSettings:
    """The detector and when it is fitted.

    Parameters
    ----------
    detector : settings dataclass of a detector
        With `states` and `fit_days`; its module holds the detector.
    review : str
        When it is fitted, UTC: ``"week"`` or ``"month"``.

    Raises
    ------
    ConfigError
        If no detector can be found from `detector`.
    """

    detector: Any
    review: str

    def __post_init__(self) -> None:
        module = sys.modules[type(self.detector).__module__]
        if not (callable(getattr(module, "fit", None)) and hasattr(module, "scan")):
            raise ConfigError(
                "detector must be settings whose module holds fit and scan, "
                f"was {type(self.detector).__qualname__} of {type(self.detector).__module__}"
            )
        if self.review not in CALENDAR[1:]:
            raise ValueError(f"review must be week or month, was {self.review!r}")

    @property
    def states(self) -> int:
        """Number of states."""
        states: int = self.detector.states
        return states


LABELS = {
    2: ("calm", "wild"),
    3: ("calm", "normal", "wild"),
    4: ("calm", "quiet", "restless", "wild"),
}
"""Names of the states by their number, the calmest first."""


def regime_labels(probabilities: FloatArray) -> list[str | None]:
    """Return the likeliest state's name in each row; None before the first fit and where there is but one."""
    names = LABELS.get(probabilities.shape[1])
    if names is None:
        return [None] * len(probabilities)
    known = ~np.isnan(probabilities[:, 0])
    likeliest = np.where(np.isnan(probabilities), 0.0, probabilities).argmax(axis=1)
    return [names[k] if there else None for k, there in zip(likeliest, known, strict=True)]


def regime_probabilities(
    bars: Bars, settings: RegimeSettings, state: FoldState | None = None
) -> tuple[FloatArray, FoldState]:
    """Return the probability of each state in each row, and the state of the fold after the last row.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`; only `close` is used.
    settings : RegimeSettings
        The same for all calls that share a state.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    float64 array, shape (n_bars, states)
        The calmest state first; each row sums to 1. NaN before the first fit, which needs `fit_days` returns, and after
        a window that the detector refuses, such as one of equal returns.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another fold, or of other symbols or settings.
    """
    held = resume(
        state, KIND, VERSION, n_symbols=bars.n_symbols, settings=settings,
        empty=lambda: _empty(bars.n_symbols, settings), free=("parameters", "filter"),
    )  # fmt: skip
    closes = bars.array("close")
    result = np.empty((bars.n_bars, settings.states))
    for start, stop, (due,) in review_spans(bars.ts_us, settings.review):
        if held["due"][0]:
            _fit(held, settings)
        stamps = bars.ts_us[start:stop]
        closed = np.flatnonzero(stamps % DAY_US == 0)
        days = _market_days(
            closes[start:stop], stamps, len(closed), held["today"], held["ring"], held["count"], held["returns"]
        )  # fmt: skip
        result[start:stop] = held["probabilities"]
        if held["fitted"][0]:
            each = _detector(settings).scan(held["parameters"], held["filter"], days)
            for at, probabilities in zip(closed, each, strict=True):
                result[start + at : stop] = probabilities
                held["probabilities"] = probabilities.copy()
        held["due"][0] = due
    return result, held.state()


def refit(state: FoldState, settings: RegimeSettings) -> FoldState:
    """Return the state after the fit that is due, if one is.

    `regime_probabilities` makes it else, before its next row, with the same result.
    """
    if not state.expect(KIND, VERSION)["due"][0]:
        return state
    held = reopen(state, KIND, VERSION)
    _fit(held, settings)
    return held.state()


def warm_up(settings: RegimeSettings, interval: str) -> int:
    """Return how many bars a cold start replays: a whole window before the first fit, and the period after it."""
    days: int = settings.detector.fit_days + 32
    return days * (DAY_US // interval_us(interval))


@njit(cache=True, error_model="numpy")
def _market_days(
    closes: FloatArray, ts_us: IntArray, n_days: int, today: FloatArray, ring: FloatArray, count: IntArray,
    returns: FloatArray,
) -> FloatArray:  # fmt: skip
    """Return the market's return on each day that the rows complete, shape ``(n_days,)``; NaN where nobody has one."""
    days = np.empty(n_days)
    n = 0
    for t in range(len(closes)):
        if close_day(closes[t], ts_us[t], today, ring, count):
            total, known = 0.0, 0
            for i in range(closes.shape[1]):
                value = last_return(ring, count, i)
                if not np.isnan(value):
                    total += value
                    known += 1
            days[n] = total / known if known > 0 else np.nan
            returns[(count[0] - 1) % len(returns), 0] = days[n]
            n += 1
    return days


def _fit(held: dict[str, Array], settings: RegimeSettings) -> None:
    held["due"][0] = 0
    window = in_order(held["returns"], int(held["count"][0]))[:, 0]
    held["fitted"][0], held["probabilities"] = 0, np.full(settings.states, np.nan)
    if np.isnan(window).any():
        return
    detector = _detector(settings)
    try:
        parameters, after = detector.fit(window, settings.detector)
    except ValueError:  # a window that has no regimes, such as one of equal returns: none is known
        return
    held["parameters"], held["filter"] = parameters, after.copy()
    held["fitted"][0] = 1
    # Until the next day's close the rows know the window's last day, in the new terms: what the filter says when the
    # next return is missing (a hidden Markov model predicts the day that has begun).
    held["probabilities"] = detector.scan(parameters, after.copy(), np.array([np.nan]))[0]


def _detector(settings: RegimeSettings) -> Any:
    return sys.modules[type(settings.detector).__module__]


def _empty(n_symbols: int, settings: RegimeSettings) -> dict[str, Array]:
    return {
        "today": np.full(n_symbols, np.nan),
        "ring": day_ring(2, n_symbols),
        "returns": day_ring(settings.detector.fit_days, 1),
        "count": np.zeros(1, dtype=np.int64),
        "due": np.zeros(1, dtype=np.int64),
        "fitted": np.zeros(1, dtype=np.int64),
        "parameters": np.zeros(0),
        "filter": np.zeros(0),
        "probabilities": np.full(settings.states, np.nan),
    }
