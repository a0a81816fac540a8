"""Daily returns laid out by the calendar: months, weeks, the worst days, a trailing window."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from quantcore.finance.performance import ROUNDING, compound


def monthly_returns(daily: pd.Series) -> pd.DataFrame:
    """Return compound returns by year and month.

    Parameters
    ----------
    daily : Series, shape (n_days,)
        Daily returns with a UTC index; NaN is dropped.

    Returns
    -------
    DataFrame, shape (n_years, 13)
        Fractions, index ``year``, columns 1 to 12 and ``"year"``; NaN for months without a day.
    """
    known = daily.dropna()
    index = pd.DatetimeIndex(known.index)
    growth = 1.0 + known.to_numpy()
    cells = pd.Series(growth).groupby([index.year, index.month]).prod().unstack()
    table = cells.reindex(columns=range(1, 13)) - 1.0
    table.columns = pd.Index([*range(1, 13), "year"][:12], dtype=object)
    table["year"] = pd.Series(growth).groupby(index.year).prod() - 1.0
    return table.rename_axis(index="year")


def worst_days(daily: pd.Series, *, count: int) -> pd.Series:
    """Return the `count` most negative daily returns, worst first; fewer where there are fewer losses."""
    losses = daily[daily < 0.0]
    return losses.sort_values(kind="stable").head(count)


def without_best_days(daily: pd.Series, *, count: int) -> float:
    """Return the compound return of all days but the best ones: how much of a result hangs on few days.

    Parameters
    ----------
    daily : Series, shape (n_days,)
        Daily returns as fractions; NaN is dropped.
    count : int
        Number of best days to leave out, >= 0.

    Returns
    -------
    float
        Fraction; NaN where no day is left.

    Raises
    ------
    ValueError
        If `count` is negative.

    Examples
    --------
    >>> round(without_best_days(pd.Series([0.5, -0.1, 0.1]), count=1), 6)
    -0.01
    """
    if count < 0:
        raise ValueError(f"count must be >= 0, was {count}")
    known = daily.dropna().sort_values(kind="stable")
    kept = known.iloc[: max(len(known) - count, 0)]
    return compound(kept) if len(kept) else math.nan


def rolling_sharpe(daily: pd.Series, *, window: int, periods_per_year: float) -> pd.Series:
    """Return the annual Sharpe ratio of each trailing window.

    Parameters
    ----------
    daily : Series, shape (n_days,)
        Returns per period.
    window : int
        Periods, >= 2.
    periods_per_year : float
        365 for days.

    Returns
    -------
    Series, shape (n_days,)
        NaN until the window is full, where it holds a NaN, and where its returns are constant.

    Raises
    ------
    ValueError
        If `window` is below 2.
    """
    if window < 2:
        raise ValueError(f"window must be >= 2, was {window}")
    values = daily.to_numpy(dtype=np.float64)
    result = np.full(len(values), np.nan)
    if len(values) >= window:
        windows = np.lib.stride_tricks.sliding_window_view(values, window)
        mean, deviation = windows.mean(axis=1), windows.std(axis=1, ddof=1)
        varies = deviation > ROUNDING * np.abs(mean)
        tail = result[window - 1 :]
        np.divide(mean * math.sqrt(periods_per_year), deviation, out=tail, where=varies)
    return pd.Series(result, index=daily.index)


def weekly_returns(daily: pd.Series) -> pd.DataFrame:
    """Return daily returns by week and weekday, with the compound return of each week.

    Parameters
    ----------
    daily : Series, shape (n_days,)
        Daily returns with a UTC index; NaN is dropped.

    Returns
    -------
    DataFrame, shape (n_weeks, 8)
        Fractions, index ``monday`` (the week's first day, ``YYYY-MM-DD``), columns 1 (Monday) to 7 and ``"week"``;
        NaN for days without a return.
    """
    known = daily.dropna()
    index = pd.DatetimeIndex(known.index)
    mondays = (index.normalize() - pd.to_timedelta(index.day_of_week, unit="D")).strftime(
        "%Y-%m-%d"
    )
    growth = pd.Series(1.0 + known.to_numpy())
    cells = growth.groupby([mondays, index.day_of_week + 1]).prod().unstack()
    table = cells.reindex(columns=range(1, 8)) - 1.0
    table.columns = pd.Index([*range(1, 8), "week"][:7], dtype=object)
    table["week"] = growth.groupby(mondays).prod() - 1.0
    return table.rename_axis(index="monday")
