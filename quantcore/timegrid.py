"""Bar intervals and UTC instants: the only place that turns `"4h"` into microseconds and times into stamps."""

from __future__ import annotations

import functools
import re
from datetime import date

import numpy as np
import pandas as pd

from quantcore.errors import ConfigError
from quantcore.types import BoolArray, IntArray

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
DAYS_PER_YEAR = 365
"""Markets never close (STYLE.md 2)."""

CALENDAR = ("day", "week", "month")
"""Periods at whose beginning something is reviewed or fitted."""
_MONDAY = 4  # 1970-01-01 was a Thursday
_EPOCH = date(1970, 1, 1).toordinal()
_UNITS_US = {"s": 1_000_000, "m": MINUTE_US, "h": HOUR_US, "d": DAY_US, "w": 7 * DAY_US}


@functools.cache
def interval_us(interval: str) -> int:
    """Return the length of a bar interval such as ``"15m"``, ``"1h"``, ``"1d"`` in microseconds.

    Raises
    ------
    ConfigError
        If the text is not a positive whole number followed by one of ``s m h d w``.

    Examples
    --------
    >>> interval_us("15m")
    900000000
    """
    match = re.fullmatch(r"([1-9]\d*)([smhdw])", interval)
    if match is None:
        raise ConfigError(f"interval must be a whole number and one of s m h d w, was {interval!r}")
    return int(match[1]) * _UNITS_US[match[2]]


def interval_name(length_us: int) -> str:
    """Return the shortest name of an interval length, the inverse of `interval_us`.

    Examples
    --------
    >>> interval_name(3_600_000_000)
    '1h'
    """
    for unit in ("d", "h", "m", "s"):
        if length_us % _UNITS_US[unit] == 0:
            return f"{length_us // _UNITS_US[unit]}{unit}"
    raise ConfigError(f"an interval must be whole seconds, was {length_us} us")


def periods_per_year(interval: str) -> float:
    """Return how many bars of an interval a year of 365 days holds."""
    return DAYS_PER_YEAR * DAY_US / interval_us(interval)


def check_grids(decision: str, execution: str) -> int:
    """Return how many execution bars a decision bar holds.

    Raises
    ------
    ConfigError
        If the decision interval is not a whole multiple of the execution interval.
    """
    ratio, remainder = divmod(interval_us(decision), interval_us(execution))
    if remainder or ratio < 1:
        raise ConfigError(
            f"decision interval must be a whole multiple of the execution interval, was "
            f"{decision} on {execution}"
        )
    return ratio


def to_timestamp(value: str | pd.Timestamp) -> pd.Timestamp:
    """Return a UTC timestamp in microseconds; a value without a zone is taken as UTC.

    Raises
    ------
    ConfigError
        If the text is not a date or time.
    """
    try:
        stamp = pd.Timestamp(value)
    except ValueError as error:
        raise ConfigError(f"a time must be an ISO date or time, was {value!r}") from error
    if pd.isna(stamp):
        raise ConfigError(f"a time must be an ISO date or time, was {value!r}")
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")
    return stamp.as_unit("us")


def to_us(value: str | pd.Timestamp) -> int:
    """Return a UTC instant as microseconds since 1970."""
    naive = to_timestamp(value).tz_localize(None)
    return int(naive.to_datetime64().astype("datetime64[us]").astype(np.int64))


def to_index(stamps_us: IntArray) -> pd.DatetimeIndex:
    """Return microseconds since 1970 as the `ts` index of the frames contract."""
    values = np.ascontiguousarray(stamps_us, dtype=np.int64).view("datetime64[us]")
    return pd.DatetimeIndex(values, tz="UTC", name="ts")


def index_us(index: pd.DatetimeIndex) -> IntArray:
    """Return a `ts` index as microseconds since 1970, shape ``(n_bars,)``."""
    return np.asarray(index.as_unit("us").asi8, dtype=np.int64)


def check_days(interval: str) -> None:
    """Refuse a decision interval of which no whole number makes a day: its rows would miss most midnights.

    Raises
    ------
    ConfigError
        Naming the interval.
    """
    if DAY_US % interval_us(interval):
        raise ConfigError(f"the decision interval must divide a day, was {interval}")


def calendar_rows(ts_us: IntArray, every: str) -> BoolArray:
    """Return which stamps are the UTC instants at which a calendar period begins.

    Parameters
    ----------
    ts_us : int64 array, shape (n_bars,)
        Microseconds since 1970.
    every : str
        ``"day"``, ``"week"`` (Mondays) or ``"month"``, each at 00:00.

    Raises
    ------
    ValueError
        If `every` is something else.
    """
    if every not in CALENDAR:
        raise ValueError(f"every must be one of {', '.join(CALENDAR)}, was {every!r}")
    midnight: BoolArray = np.asarray(ts_us % DAY_US == 0)
    if every == "day" or not midnight.any():
        return midnight
    days = ts_us // DAY_US
    if every == "week":
        return np.asarray(midnight & (days % 7 == _MONDAY))
    dates = days.astype("datetime64[D]")
    return np.asarray(midnight & (dates == dates.astype("datetime64[M]").astype("datetime64[D]")))


def review_spans(ts_us: IntArray, *periods: str | None) -> list[tuple[int, int, tuple[bool, ...]]]:
    """Return the rows in spans that end with a review: first row, row after the last, and what is due after it.

    Parameters
    ----------
    ts_us : int64 array, shape (n_bars,)
        Microseconds since 1970.
    *periods : str or None
        ``"day"``, ``"week"`` or ``"month"``, as in `calendar_rows`; None is never due.

    Returns
    -------
    list of tuple
        All rows in order; at most the last span ends with no review.

    Examples
    --------
    >>> review_spans(np.array([1, 2, 4]) * 12 * HOUR_US, "day", None)
    [(0, 2, (True, False)), (2, 3, (True, False))]
    """
    n_rows = len(ts_us)
    if n_rows == 1:
        return [(0, 1, tuple([_begins(int(ts_us[0]), every) for every in periods]))]
    due = np.zeros((len(periods), n_rows), dtype=np.bool_)
    for k, every in enumerate(periods):
        if every is not None:
            due[k] = calendar_rows(ts_us, every)
    stops = (np.flatnonzero(due.any(axis=0)) + 1).tolist()
    if n_rows and (not stops or stops[-1] != n_rows):
        stops.append(n_rows)
    return [
        (start, stop, tuple(due[:, stop - 1].tolist()))
        for start, stop in zip([0, *stops], stops, strict=False)
    ]


def _begins(ts_us: int, every: str | None) -> bool:
    """Return what `calendar_rows` says of one stamp, without arrays: a live decision asks it in every stage."""
    days, rest = divmod(ts_us, DAY_US)
    if rest or every is None:
        return False
    if every == "month":
        return date.fromordinal(_EPOCH + days).day == 1
    return every == "day" or days % 7 == _MONDAY
