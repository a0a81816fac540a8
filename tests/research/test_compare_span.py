"""What runs have in common in time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.curves import curves
from quantcore.errors import DataGap
from quantcore.research.compare_records import records
from quantcore.research.compare_span import common_span
from quantcore.timegrid import DAY_US
from tests.backtest.conftest import simulate
from tests.research.recorded import START_US, at, curve, cut, pair


def test_runs_of_the_same_span_keep_every_day_s_return_of_their_reports() -> None:
    one, other = simulate(days=60), simulate(days=60, seed=8)
    span = common_span(records([one, other]))
    assert all(piece.whole for piece in span.pieces)
    assert span.periods_per_year == 365.0
    assert (span.opening_us, span.closing_us) == (START_US, at(60))
    for run, label in ((one, "A"), (other, "B")):
        daily = curves(run).daily
        np.testing.assert_allclose(span.returns[label], daily, rtol=1e-12)
        assert span.returns.index.equals(daily.index.rename("ts"))
    assert span.pieces[0].flow == 500.0
    assert span.pieces[0].equity == 1000.0


def test_a_run_that_begins_later_and_ends_earlier_bounds_what_is_compared() -> None:
    one, other = pair(days=60)
    late = cut(other, first=20 * 24 + 6, last=50 * 24 + 1)
    span = common_span([one, late])
    # Its first day is not whole: the first instant in common is the end of that day.
    assert (span.opening_us, span.closing_us) == (at(21), at(50))
    assert len(span.returns) == 29
    whole = common_span([one, other]).returns
    np.testing.assert_allclose(span.returns, whole.iloc[21:50], rtol=1e-12)
    assert [piece.whole for piece in span.pieces] == [False, False]
    assert span.pieces[0].nav[-1] == pytest.approx(one.nav[50 * 24] / one.nav[21 * 24])
    assert span.pieces[0].equity == one.tables["equity"]["equity"].iloc[21 * 24]
    assert span.periods_per_year == 365.0


def test_a_last_day_that_one_run_left_at_noon_is_not_compared() -> None:
    one, other = pair(days=10)
    span = common_span([one, cut(other, last=9 * 24 + 12)])
    assert span.closing_us == at(9)


def test_hourly_and_four_hourly_decisions_from_the_same_midnight_share_every_day() -> None:
    one, other = pair(days=10)
    fast, slow = cut(one, first=1), cut(other, first=1, every=4)
    span = common_span([fast, slow])
    assert len(span.returns) == 10
    assert span.opening_us == START_US
    assert all(piece.whole for piece in span.pieces)


def test_a_day_without_rows_in_one_run_joins_two_days_of_all() -> None:
    rng = np.random.default_rng(1)
    returns = rng.normal(0.0, 0.01, (10, 2))
    one, other = curve({"A": returns[:, 0], "B": returns[:, 1]})
    holed = other.tables["equity"].drop(index=4)
    tables = {**other.tables, "equity": holed}
    span = common_span([one, type(other)(**{**vars(other), "tables": tables})])
    assert len(span.returns) == 9
    joined = (1.0 + returns[4]) * (1.0 + returns[5]) - 1.0
    np.testing.assert_allclose(span.returns.iloc[4], joined, rtol=1e-12)
    assert span.periods_per_year == pytest.approx(365.0 * 9 / 10)


def test_the_days_after_an_account_was_lost_have_no_return() -> None:
    lost = np.array([0.01, -1.0, 0.0, 0.0])
    span = common_span(curve({"A": np.full(4, 0.01), "B": lost}))
    np.testing.assert_allclose(span.returns["B"], [0.01, -1.0])


def test_runs_that_share_no_time_are_refused_with_their_spans() -> None:
    one, other = pair(days=10)
    early, late = cut(one, last=3 * 24), cut(other, first=5 * 24)
    with pytest.raises(
        DataGap, match=r"share at least two days .* A 2023-01-01 00:00 to 2023-01-03 23:00, B 2023"
    ):
        common_span([early, late])


def test_one_shared_instant_is_no_span() -> None:
    one, other = curve({"A": np.full(5, 0.01), "B": np.full(5, 0.01)})
    shifted = other.tables["equity"].assign(
        ts=other.tables["equity"]["ts"] + pd.Timedelta(DAY_US * 4, unit="us")
    )
    tables = {**other.tables, "equity": shifted}
    with pytest.raises(DataGap, match="share at least two days"):
        common_span([one, type(other)(**{**vars(other), "tables": tables})])
