"""Performance statistics: what an equity curve says; `sharpe` tells how far it can be believed.

Returns are arithmetic fractions per period, here UTC days. Statistics drop NaN returns (the period does not
count). A statistic that does not exist (no return, no variation, no loss) is NaN.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from quantcore.kernels.drawdown import deepest_drawdown
from quantcore.timegrid import DAY_US, to_index
from quantcore.types import FloatArray

ROUNDING = 1e-12
"""Below this share of the mean, a standard deviation is rounding error of a constant series."""


def unit_values(equity: FloatArray, flow: FloatArray, *, capital: float) -> FloatArray:
    r"""Return the value of one unit of the account: equity with deposits and withdrawals taken out.

    .. math:: u_t = u_{t-1} \frac{E_t - F_t}{E_{t-1}}, \qquad u_{-1} = 1,\; E_{-1} = \text{capital}

    The chain of sub-period returns is the time-weighted return; a flow counts at the end of its row's interval.

    Parameters
    ----------
    equity : float64 array, shape (n_rows,)
        USDT, flows included.
    flow : float64 array, shape (n_rows,)
        USDT deposited (> 0) or withdrawn (< 0) since the previous row.
    capital : float
        Equity before the first row, USDT, > 0.

    Returns
    -------
    float64 array, shape (n_rows,)
        Dimensionless, >= 0. Once the equity before a row is zero, the value stays where it is. NaN is passed on.

    Raises
    ------
    ValueError
        If `capital` is not positive or the shapes differ.

    References
    ----------
    CFA Institute, *Global Investment Performance Standards*, 2020, provision 2.A.23 (time-weighted returns).

    Examples
    --------
    >>> unit_values(np.array([110.0, 210.0]), np.array([0.0, 100.0]), capital=100.0).round(6).tolist()
    [1.1, 1.1]
    """
    if not capital > 0.0:
        raise ValueError(f"capital must be > 0, was {capital}")
    if equity.shape != flow.shape:
        raise ValueError(f"flow must have the shape of equity {equity.shape}, was {flow.shape}")
    before = np.concatenate([[capital], equity[:-1]])
    alive = ~(before <= 0.0)
    growth = np.ones(len(equity))
    np.divide(equity - flow, before, out=growth, where=alive)
    return np.asarray(np.cumprod(np.where(alive, np.maximum(growth, 0.0), 1.0)))


def daily_returns(ts_us: npt.NDArray[np.int64], values: FloatArray, *, start: float) -> pd.Series:
    r"""Return the return of each UTC day in which the curve has a row.

    A row stamped exactly at midnight belongs to the day that ends there; a day's return runs from the last row
    of the day before (from `start` for the first day) to its own last row, so incomplete first and last days
    count as days.

    Parameters
    ----------
    ts_us : int64 array, shape (n_rows,)
        Increasing stamps, microseconds since 1970.
    values : float64 array, shape (n_rows,)
        Unit values or any curve without flows.
    start : float
        The curve's value before its first row.

    Returns
    -------
    Series, shape (n_days,)
        Fractions, index ``ts`` = the day's 00:00 UTC. NaN where either value is NaN, and for the days after the
        curve reached zero, where no return exists.

    Examples
    --------
    >>> stamps = np.array([12, 24, 36]) * 3_600_000_000
    >>> daily_returns(stamps, np.array([1.1, 1.2, 1.5]), start=1.0).round(4).tolist()
    [0.2, 0.25]
    """
    if len(ts_us):
        midnights = np.arange((ts_us[0] - 1) // DAY_US + 1, (ts_us[-1] - 1) // DAY_US + 2) * DAY_US
        last = np.unique(np.searchsorted(ts_us, midnights, side="right") - 1)
    else:
        last = np.empty(0, dtype=np.int64)
    closing = values[last]
    before = np.concatenate([[start], closing[:-1]])[: len(closing)]
    returns = np.full(len(closing), np.nan)
    np.divide(closing, before, out=returns, where=before > 0.0)
    return pd.Series(returns - 1.0, index=to_index((ts_us[last] - 1) // DAY_US * DAY_US))


def annual_return(total_return: float, *, days: float) -> float:
    r"""Return the compound annual return.

    .. math:: (1 + R)^{365 / \text{days}} - 1

    Parameters
    ----------
    total_return : float
        Fraction, >= -1.
    days : float
        Length of the span.

    Returns
    -------
    float
        Fraction; NaN for a span under one day or where the power overflows, because nothing can be extrapolated
        from it.

    Examples
    --------
    >>> round(annual_return(0.21, days=730), 6)
    0.1
    """
    if days < 1.0 or math.isnan(total_return):
        return math.nan
    if total_return <= -1.0:
        return -1.0
    exponent = math.log1p(total_return) * 365.0 / days
    return math.expm1(exponent) if exponent < 700.0 else math.nan


def annual_volatility(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    r"""Return the annual standard deviation of returns.

    .. math:: \sqrt{q \, \tfrac{1}{n-1} \sum (r_t - \bar r)^2}

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.
    periods_per_year : float
        q, 365 for days.

    Returns
    -------
    float
        Fraction per year; NaN with fewer than two returns.
    """
    known = _known(returns)
    return float(known.std(ddof=1)) * math.sqrt(periods_per_year) if len(known) > 1 else math.nan


def sharpe(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    r"""Return the annual Sharpe ratio with a risk-free rate of zero.

    .. math:: \sqrt{q}\,\bar r / s, \qquad s^2 = \tfrac{1}{n-1} \sum (r_t - \bar r)^2

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.
    periods_per_year : float
        q; 1 gives the ratio per period.

    Returns
    -------
    float
        Dimensionless; NaN with fewer than two returns or for constant ones.

    References
    ----------
    Sharpe, "The Sharpe Ratio", *Journal of Portfolio Management* 21(1), 1994. Deviation: no risk-free rate; the margin
    balance of a futures account earns none.
    """
    known = _known(returns)
    if len(known) < 2:
        return math.nan
    mean, deviation = float(known.mean()), float(known.std(ddof=1))
    if deviation <= ROUNDING * abs(mean) or deviation == 0.0:
        return math.nan
    return mean / deviation * math.sqrt(periods_per_year)


def sortino(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    r"""Return the annual Sortino ratio with a target of zero.

    .. math:: \sqrt{q}\,\bar r \Big/ \sqrt{\tfrac{1}{n} \sum \min(r_t, 0)^2}

    The denominator runs over all returns, not over the losses alone.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped.
    periods_per_year : float
        q.

    Returns
    -------
    float
        Dimensionless; NaN without returns or without a loss.

    References
    ----------
    Sortino and Price, "Performance Measurement in a Downside Risk Framework", *Journal of Investing* 3(3), 1994.
    """
    downside = downside_deviation(returns, periods_per_year=1.0)
    if not downside > 0.0:
        return math.nan
    return float(_known(returns).mean()) / downside * math.sqrt(periods_per_year)


def downside_deviation(returns: npt.ArrayLike, *, periods_per_year: float) -> float:
    r"""Return the annual root mean square of the losses.

    .. math:: \sqrt{q\,\tfrac{1}{n} \sum \min(r_t, 0)^2}

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped; gains count as zero.
    periods_per_year : float
        q.

    Returns
    -------
    float
        Fraction per year; NaN without returns.
    """
    known = _known(returns)
    if not len(known):
        return math.nan
    return float(np.sqrt(np.mean(np.minimum(known, 0.0) ** 2))) * math.sqrt(periods_per_year)


def calmar(annual: float, deepest: float) -> float:
    """Return the annual return over the size of the maximum drawdown; NaN without a drawdown.

    References
    ----------
    Young, "Calmar Ratio: A Smoother Tool", *Futures* 20(1), 1991. Deviation: the whole span instead of 36 months.

    Examples
    --------
    >>> calmar(0.25, -0.125)
    2.0
    """
    return annual / -deepest if deepest < 0.0 else math.nan


def compound(returns: npt.ArrayLike) -> float:
    """Return the total return of a chain of returns, a fraction; NaN returns are dropped, none gives 0.

    Examples
    --------
    >>> round(compound([0.1, -0.1]), 6)
    -0.01
    """
    return float(np.prod(1.0 + _known(returns))) - 1.0


def drawdowns(values: FloatArray, *, start: float) -> FloatArray:
    r"""Return the drawdown of a curve at each row.

    .. math:: d_t = u_t / \max(u_{-1}, u_0, \ldots, u_t) - 1

    Parameters
    ----------
    values : float64 array, shape (n_rows,)
        A curve without flows; NaN rows give NaN and leave the peak unchanged.
    start : float
        Its value before the first row, the first peak, > 0.

    Returns
    -------
    float64 array, shape (n_rows,)
        Fractions, <= 0.

    Examples
    --------
    >>> drawdowns(np.array([0.9, 1.2, 0.6]), start=1.0).round(6).tolist()
    [-0.1, 0.0, -0.5]
    """
    peaks = np.fmax.accumulate(np.concatenate([[start], values]))[1:]
    return np.asarray(values / peaks - 1.0)


def max_drawdown(values: FloatArray, *, start: float) -> float:
    """Return the deepest drawdown of a curve, a fraction <= 0; NaN for an empty or all-NaN one."""
    return float(deepest_drawdown(np.asarray(values, dtype=np.float64), float(start)))


def drawdown_table(
    ts_us: npt.NDArray[np.int64], values: FloatArray, *, start: float
) -> pd.DataFrame:
    """Return each time under water: from a peak to the row that reaches it again.

    Parameters
    ----------
    ts_us : int64 array, shape (n_rows,)
        Increasing stamps, microseconds since 1970.
    values : float64 array, shape (n_rows,)
        A curve without flows; NaN rows are dropped.
    start : float
        Its value before the first row; a drawdown from it begins at the first row's stamp.

    Returns
    -------
    DataFrame, shape (n_drawdowns, 5)
        ``peak_ts``, ``trough_ts``, ``recovery_ts`` (NaT while it lasts), ``depth`` (fraction, < 0) and ``days``
        (peak to recovery, or to the last row); deepest first.
    """
    known = ~np.isnan(values)
    stamps = ts_us[known]
    depth = drawdowns(values[known], start=start)
    under = np.concatenate([[False], depth < 0.0, [False]]).astype(np.int8)
    change = np.diff(under)
    first, after = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    lasts = after >= len(stamps)
    peak = stamps[np.maximum(first - 1, 0)]
    end = stamps[np.minimum(after, len(stamps) - 1)] if len(stamps) else stamps
    trough = np.array(
        [a + int(np.argmin(depth[a:b])) for a, b in zip(first, after, strict=True)], dtype=np.int64
    )
    table = pd.DataFrame(
        {
            "peak_ts": to_index(peak),
            "trough_ts": to_index(stamps[trough]),
            "recovery_ts": to_index(end),
            "depth": depth[trough],
            "days": (end - peak) / DAY_US,
        }
    )
    table.loc[lasts, "recovery_ts"] = pd.NaT
    return table.sort_values("depth", kind="stable").reset_index(drop=True)


def longest_drawdown_days(
    ts_us: npt.NDArray[np.int64], values: FloatArray, *, start: float
) -> float:
    """Return the longest time under water in days, from peak to recovery or to the last row; 0 without a drawdown."""
    days = drawdown_table(ts_us, values, start=start)["days"]
    return float(days.max()) if len(days) else 0.0


def win_rate(profits: npt.ArrayLike) -> float:
    """Return the share of profits above zero, in [0, 1]; NaN is dropped, none gives NaN."""
    known = _known(profits)
    return float(np.mean(known > 0.0)) if len(known) else math.nan


def profit_factor(profits: npt.ArrayLike) -> float:
    """Return the sum of gains over the sum of losses, >= 0; NaN is dropped, no loss gives NaN."""
    known = _known(profits)
    lost = -float(known[known < 0.0].sum())
    return float(known[known > 0.0].sum()) / lost if lost > 0.0 else math.nan


def expectancy(profits: npt.ArrayLike) -> float:
    """Return the mean profit, in the profits' unit; NaN is dropped, none gives NaN."""
    known = _known(profits)
    return float(known.mean()) if len(known) else math.nan


def alpha_beta(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike, *, periods_per_year: float
) -> tuple[float, float]:
    r"""Return the annual intercept and the slope of a regression on a benchmark.

    .. math:: r_t = \alpha + \beta b_t + \varepsilon_t

    Parameters
    ----------
    returns, benchmark : array-like, shape (n,)
        Fractions per period; a period in which either is NaN is dropped.
    periods_per_year : float
        q; the intercept is multiplied by it, not compounded.

    Returns
    -------
    tuple of float
        Alpha per year and beta; NaN with fewer than two periods or a constant benchmark.

    Raises
    ------
    ValueError
        If the two differ in length.

    References
    ----------
    Jensen, "The Performance of Mutual Funds in the Period 1945-1964", *Journal of Finance* 23(2), 1968. Deviation: no
    risk-free rate.
    """
    r, b = np.asarray(returns, dtype=np.float64), np.asarray(benchmark, dtype=np.float64)
    if r.shape != b.shape:
        raise ValueError(f"benchmark must have the shape of returns {r.shape}, was {b.shape}")
    both = ~(np.isnan(r) | np.isnan(b))
    r, b = r[both], b[both]
    if len(r) < 2:
        return math.nan, math.nan
    centred = b - b.mean()
    spread = float(centred @ centred)
    if spread <= (ROUNDING * abs(float(b.mean()))) ** 2 * len(b):
        return math.nan, math.nan
    beta = float(centred @ (r - r.mean())) / spread
    return (float(r.mean()) - beta * float(b.mean())) * periods_per_year, beta


def skewness(returns: npt.ArrayLike) -> float:
    r"""Return the skew :math:`m_3 / m_2^{3/2}` with population moments; NaN for constant returns, NaN dropped."""
    return _moment(returns, 3)


def raw_kurtosis(returns: npt.ArrayLike) -> float:
    r"""Return the kurtosis :math:`m_4 / m_2^2` with population moments (normal = 3); NaN for constant returns."""
    return _moment(returns, 4)


def _known(values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]


def _moment(returns: npt.ArrayLike, order: int) -> float:
    known = _known(returns)
    if len(known) < 2:
        return math.nan
    centred = known - known.mean()
    variance = float(np.mean(centred * centred))
    if math.sqrt(variance) <= ROUNDING * abs(float(known.mean())) or variance == 0.0:
        return math.nan
    moment = float(np.mean(centred**order))
    return float(moment / math.sqrt(variance) ** order)
