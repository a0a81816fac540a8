"""Rows at which a calendar period begins, against the calendar of pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quantcore.errors import ConfigError
from quantcore.timegrid import (
    CALENDAR,
    DAY_US,
    HOUR_US,
    MINUTE_US,
    calendar_rows,
    check_days,
    index_us,
    interval_us,
    review_spans,
    to_index,
    to_us,
)
from quantcore.types import BoolArray, IntArray


def in_pandas(ts_us: IntArray, every: str) -> BoolArray:
    index = to_index(ts_us)
    midnight = (index.hour == 0) & (index.minute == 0)
    also = {"day": midnight, "week": index.day_of_week == 0, "month": index.day == 1}[every]
    return np.asarray(midnight & also)


@pytest.mark.parametrize("every", CALENDAR)
@pytest.mark.parametrize("interval", ["1h", "4h", "8h", "1d"])
@pytest.mark.parametrize("start", ["1969-11-20", "2019-12-30 04:00", "2023-12-28"])
def test_rows_are_those_of_the_calendar(every: str, interval: str, start: str) -> None:
    length = interval_us(interval)
    ts_us = to_us(start) // length * length + length * np.arange(100 * DAY_US // length)
    found = calendar_rows(ts_us, every)
    np.testing.assert_array_equal(found, in_pandas(ts_us, every))
    assert found.any()


def test_a_leap_day_begins_no_month_and_the_day_after_it_does() -> None:
    ts_us = index_us(pd.date_range("2024-02-28", "2024-03-02", freq="D", tz="UTC"))
    assert calendar_rows(ts_us, "month").tolist() == [False, False, True, False]


def test_weeks_begin_on_mondays() -> None:
    ts_us = index_us(pd.date_range("2024-01-01", "2024-01-09", freq="D", tz="UTC"))
    assert np.flatnonzero(calendar_rows(ts_us, "week")).tolist() == [0, 7]


@pytest.mark.parametrize("every", CALENDAR)
def test_a_minute_beside_midnight_begins_nothing(every: str) -> None:
    monday = to_us("2024-01-01")
    beside = np.array([monday - MINUTE_US, monday, monday + MINUTE_US, monday + 12 * HOUR_US])
    assert calendar_rows(beside, every).tolist() == [False, True, False, False]


@pytest.mark.parametrize("every", CALENDAR)
def test_no_stamps_begin_nothing(every: str) -> None:
    found = calendar_rows(np.empty(0, dtype=np.int64), every)
    assert found.shape == (0,)
    assert found.dtype == np.bool_


def test_another_period_is_refused() -> None:
    with pytest.raises(ValueError, match="every must be one of day, week, month, was 'year'"):
        calendar_rows(np.zeros(1, dtype=np.int64), "year")


def test_an_interval_that_does_not_divide_a_day_is_refused() -> None:
    with pytest.raises(ConfigError, match="the decision interval must divide a day, was 5h"):
        check_days("5h")
    check_days("1d")


@pytest.mark.parametrize("hours", [1, 6, 24])
def test_spans_end_with_what_is_due_and_hold_every_row(hours: int) -> None:
    ts_us = np.arange(1, 80 * 24 // hours, dtype=np.int64) * hours * HOUR_US
    periods = ("day", None, "week", "month")
    whole = review_spans(ts_us, *periods)
    due = [np.zeros(len(ts_us), bool) if p is None else calendar_rows(ts_us, p) for p in periods]
    assert [start for start, _, _ in whole] == [0, *(stop for _, stop, _ in whole[:-1])]
    assert whole[-1][1] == len(ts_us)
    for start, stop, said in whole:
        assert said == tuple(bool(rows[stop - 1]) for rows in due)
        assert not any(rows[start : stop - 1].any() for rows in due)
    alone = [review_spans(ts_us[t : t + 1], *periods) for t in range(len(ts_us))]
    assert alone == [[(0, 1, tuple(bool(rows[t]) for rows in due))] for t in range(len(ts_us))]


def test_no_rows_have_no_spans() -> None:
    assert review_spans(np.empty(0, dtype=np.int64), "week") == []
