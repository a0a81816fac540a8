"""Months, weeks, worst days and trailing windows of daily returns."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from quantcore.finance import calendar, performance


def test_months_compound_and_years_add_up() -> None:
    days = pd.date_range("2023-12-30", "2024-02-01", tz="UTC", unit="us")
    daily = pd.Series(np.full(len(days), 0.01), index=days)
    table = calendar.monthly_returns(daily)
    assert table.loc[2023, 12] == pytest.approx(1.01**2 - 1.0)
    assert table.loc[2024, 1] == pytest.approx(1.01**31 - 1.0)
    assert math.isnan(table.to_numpy()[1, 2])
    assert table.loc[2024, "year"] == pytest.approx(1.01**32 - 1.0)


def test_the_worst_days_are_losses_worst_first() -> None:
    daily = pd.Series([0.1, -0.2, np.nan, -0.3, 0.0])
    assert calendar.worst_days(daily, count=5).tolist() == [-0.3, -0.2]


def test_a_rolling_ratio_is_that_of_its_window(rng: np.random.Generator) -> None:
    daily = pd.Series(rng.normal(0.0, 0.01, 50))
    rolled = calendar.rolling_sharpe(daily, window=20, periods_per_year=365)
    assert rolled.isna().sum() == 19
    assert rolled.iloc[30] == pytest.approx(
        performance.sharpe(daily.iloc[11:31], periods_per_year=365)
    )


def test_weeks_begin_on_monday_and_compound() -> None:
    days = pd.date_range("2024-06-01", "2024-06-05", tz="UTC", unit="us")  # a Saturday
    table = calendar.weekly_returns(pd.Series([0.01, 0.02, -0.01, np.nan, 0.03], index=days))
    assert table.index.tolist() == ["2024-05-27", "2024-06-03"]
    assert table.loc["2024-05-27", 6] == pytest.approx(0.01)
    assert table.loc["2024-05-27", "week"] == pytest.approx(1.01 * 1.02 - 1.0)
    assert table.isna().iloc[1].tolist() == [False, True, False, *[True] * 4, False]
