"""Rolling forecasts of value at risk and expected shortfall, each day from the returns before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from quantcore.finance import performance
from quantcore.finance.extremes import peaks_over_threshold_tail_loss
from quantcore.finance.risk_metrics import (
    ROUNDING,
    check_tail_probability,
    cornish_fisher_tail_loss,
    filtered_historical_tail_loss,
    fit_student_t,
    historical_tail_loss,
    known_values,
    normal_tail_loss,
    student_t_tail_loss,
)
from quantcore.types import FloatArray


class TailForecast(Protocol):
    """A method: value at risk and expected shortfall of the next return from a sample of returns before it."""

    def __call__(self, returns: FloatArray, /, *, tail_probability: float) -> tuple[float, float]:
        """Return both as positive losses."""
        ...


def rolling_tail_loss(
    returns: npt.ArrayLike,
    *,
    window: int,
    tail_probability: float,
    method: str | TailForecast = "historical",
) -> tuple[FloatArray, FloatArray]:
    """Return out-of-sample forecasts of value at risk and expected shortfall for each day.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per day. A NaN is no day: windows reach over it to older returns.
    window : int
        Known returns before a day from which its forecast is made, >= 1; methods that fit need more.
    tail_probability : float
        In (0, 1).
    method : str or TailForecast
        A name in `METHODS`, or any function of the window's returns. Those that fit a model do so for every
        day: some milliseconds each, most for "filtered_historical".

    Returns
    -------
    tuple of float64 array, shape (n,)
        Value at risk and expected shortfall, > 0 for losses. Entry t is made of returns before t alone; NaN until
        `window` returns are known.

    Raises
    ------
    ValueError
        If `window` or `tail_probability` is out of its range, `method` is unknown, a return is infinite, or the method
        refuses a window (the message says before which row).
    """
    check_tail_probability(tail_probability)
    if window < 1:
        raise ValueError(f"window must be >= 1, was {window}")
    forecast = _method(method)
    array = np.asarray(returns, dtype=np.float64)
    known = known_values(array, "returns", at_least=0)
    rows = np.append(np.flatnonzero(~np.isnan(array)), len(array))
    forecasts = np.full((2, len(array)), np.nan)
    for k in range(window, len(known) + 1):
        # Rows after the last known return of the window, up to the next known one, share a forecast.
        first, last = rows[k - 1] + 1, rows[k]
        if first >= len(array):
            break
        try:
            pair = forecast(known[k - window : k], tail_probability=tail_probability)
        except ValueError as error:
            raise ValueError(
                f"method {method!r} refuses the window before row {first}: {error}"
            ) from error
        forecasts[:, first : last + 1] = np.array(pair)[:, None]
    return forecasts[0], forecasts[1]


def _normal(returns: FloatArray, *, tail_probability: float) -> tuple[float, float]:
    mean, sigma = _moments(returns)
    return normal_tail_loss(mean, sigma, tail_probability=tail_probability)


def _student_t(returns: FloatArray, *, tail_probability: float) -> tuple[float, float]:
    fit = fit_student_t(returns)
    return student_t_tail_loss(
        fit.location, fit.scale, dof=fit.dof, tail_probability=tail_probability
    )


def _cornish_fisher(returns: FloatArray, *, tail_probability: float) -> tuple[float, float]:
    mean, sigma = _moments(returns)
    skew = performance.skewness(returns)
    excess = performance.raw_kurtosis(returns) - 3.0
    at_risk, shortfall, monotone = cornish_fisher_tail_loss(
        mean, sigma, skew=skew, excess_kurtosis=excess, tail_probability=tail_probability
    )
    if not monotone:
        raise ValueError(
            f"returns must have skew and excess kurtosis in the expansion's domain, had {skew:.4g} and {excess:.4g}"
        )
    return at_risk, shortfall


METHODS: Mapping[str, TailForecast] = {
    "historical": historical_tail_loss,
    "normal": _normal,
    "student_t": _student_t,
    "cornish_fisher": _cornish_fisher,
    "peaks_over_threshold": peaks_over_threshold_tail_loss,
    "filtered_historical": filtered_historical_tail_loss,
}
"""Methods by name; each takes returns and ``tail_probability``. Moments are those of the sample; "cornish_fisher" takes
them for its parameters and refuses returns outside its domain; the GARCH filter is fitted to each window."""


def _method(method: str | TailForecast) -> TailForecast:
    if not isinstance(method, str):
        return method
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, was {method!r}")
    return METHODS[method]


def _moments(returns: FloatArray) -> tuple[float, float]:
    """Return mean and standard deviation; a constant series has none that a distribution could be fitted to."""
    known = known_values(returns, "returns", at_least=2)
    mean, sigma = float(known.mean()), float(known.std(ddof=1))
    if sigma <= ROUNDING * abs(mean):
        raise ValueError(f"returns must vary, were all {mean}")
    return mean, sigma
