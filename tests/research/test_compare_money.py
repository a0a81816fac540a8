"""Where the money of a span came from: it adds up over any span, and by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.attribution import PARTS
from quantcore.backtest.attribution import profit_by_symbol as profit_of_a_whole_run
from quantcore.backtest.metrics import compute_metrics
from quantcore.research.compare_metrics import COMMON, metrics_table
from quantcore.research.compare_money import (
    profit_by_symbol,
    symbol_table,
    trips,
    trips_in_common,
)
from quantcore.research.compare_records import records
from quantcore.research.compare_span import common_span
from tests.backtest.conftest import simulate
from tests.research.recorded import at, cut, pair, rows_between


@pytest.mark.parametrize(("first", "last"), [(0, 60), (3, 50), (16, 17), (16.5, 31), (29, 60)])
def test_the_parts_add_up_to_the_change_of_equity_less_the_flows(first: float, last: float) -> None:
    run, _ = pair(days=60)
    found = profit_by_symbol(run, at(first), at(last))
    equity = run.tables["equity"]["equity"].to_numpy()
    changed = equity[round(last * 24)] - equity[round(first * 24)]
    moved = rows_between(run.tables["cash_flows"], at(first), at(last))["amount"].sum()
    assert found["net"].sum() == pytest.approx(changed - moved, abs=1e-9)
    np.testing.assert_allclose(found[list(PARTS)].sum(axis=1), found["net"], atol=1e-12)


def test_two_spans_add_up_to_the_one_that_they_make() -> None:
    run, _ = pair(days=60)
    whole = profit_by_symbol(run, at(0), at(60))
    parts = [profit_by_symbol(run, at(a), at(b)) for a, b in ((0, 17.25), (17.25, 60))]
    joined = parts[0].add(parts[1], fill_value=0.0)
    pd.testing.assert_frame_equal(joined, whole, rtol=1e-9, atol=1e-9)


def test_over_the_whole_run_it_is_the_tearsheet_s_attribution() -> None:
    run = simulate(days=60)
    one, _ = records([run, run])
    found = profit_by_symbol(one, one.begin_us, int(one.ts_us[-1]))
    theirs = profit_of_a_whole_run(run).sort_index()
    pd.testing.assert_frame_equal(
        found[[*PARTS, "net"]], theirs[[*PARTS, "net"]], check_names=False, check_index_type=False,
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip


def test_the_metrics_of_a_whole_span_are_those_of_metrics_json() -> None:
    both = [simulate(days=120), simulate(days=120, seed=8)]
    runs = records(both)
    span = common_span(runs)
    table = metrics_table(runs, span, symbol_table(runs, span))
    common = table[table["basis"] == COMMON].set_index("metric")
    compared = 0
    for run, label in zip(both, "AB", strict=True):
        theirs = compute_metrics(run)
        for name in common.index.intersection(list(theirs)):
            if theirs[name] is not None:
                assert common.loc[name, label] == pytest.approx(theirs[name], rel=1e-9), name
                compared += 1
        paid = theirs["gross_pnl"] + theirs["slippage_cost"]
        assert common.loc["price_share", label] == pytest.approx(paid / run.capital)
        for part, key in (("fees", "fees"), ("funding", "funding"), ("slippage", "slippage_cost")):
            assert common.loc[f"{part}_share", label] == pytest.approx(theirs[key] / run.capital)
    assert compared >= 30


def test_the_metrics_of_a_part_know_nothing_of_the_rest() -> None:
    one, other = pair(days=60)
    late = cut(other, first=30 * 24)
    span = common_span([one, late])
    table = metrics_table([one, late], span, symbol_table([one, late], span))
    common = table[table["basis"] == COMMON].set_index("metric")
    nav = one.nav[30 * 24 :]
    assert common.loc["total_return", "A"] == pytest.approx(nav[-1] / nav[0] - 1.0)
    deepest = (nav / np.maximum.accumulate(nav) - 1.0).min()
    assert common.loc["max_drawdown", "A"] == pytest.approx(deepest)
    fills = rows_between(one.tables["fills"], span.opening_us, span.closing_us)
    fees = fills["fee"].sum() / one.tables["equity"]["equity"].iloc[30 * 24]
    assert common.loc["fees_share", "A"] == pytest.approx(fees)
    own = table[table["basis"] != COMMON].set_index("metric")
    assert own.loc["fees", "A"] == one.metrics["fees"]


def round_trips(rows: Sequence[tuple[str, str, str, str | None]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["symbol", "side", "entry_ts", "exit_ts"])
    for column in ("entry_ts", "exit_ts"):
        table[column] = pd.to_datetime(table[column], utc=True).dt.as_unit("us")
    return table.assign(exit_reason=np.where(table["exit_ts"].isna(), "open", "target"))


def test_round_trips_in_common_are_counted_and_their_hours_overlap_as_by_hand() -> None:
    mine = round_trips([
        ("BTC", "long", "2024-01-01 00:00", "2024-01-01 10:00"),
        ("BTC", "long", "2024-01-01 20:00", "2024-01-02 00:00"),
        ("BTC", "short", "2024-01-01 12:00", "2024-01-01 14:00"),
        ("ETH", "long", "2024-01-01 00:00", "2024-01-01 01:00"),
    ])  # fmt: skip
    base = round_trips([
        ("BTC", "long", "2024-01-01 00:00", "2024-01-01 10:00"),
        ("BTC", "long", "2024-01-01 18:00", "2024-01-01 21:00"),
        ("BTC", "long", "2024-01-01 23:00", "2024-01-02 05:00"),
        ("ETH", "short", "2024-01-01 00:00", "2024-01-01 01:00"),
    ])  # fmt: skip
    assert trips_in_common(mine, base) == {
        "trips": 4, "base_trips": 4, "same": 1, "hours": 17.0, "base_hours": 20.0, "same_hours": 12.0,
    }  # fmt: skip
    assert trips_in_common(base, mine)["same_hours"] == 12.0
    assert trips_in_common(mine, base.iloc[:0])["same_hours"] == 0.0
    assert trips_in_common(mine.iloc[:0], base)["hours"] == 0.0


def test_round_trips_that_span_the_bounds_are_cut_there() -> None:
    one, other = pair(days=60)
    late = cut(other, first=20 * 24, last=40 * 24 + 1)
    span = common_span([one, late])
    trades = one.tables["trades"]
    found = trips(one, span)
    before = trades["exit_ts"] <= pd.Timestamp(at(20), unit="us", tz="UTC")
    after = trades["entry_ts"] > pd.Timestamp(at(40), unit="us", tz="UTC")
    still_open = trades["exit_reason"] == "open"
    assert len(found) == len(trades) - int((before & ~still_open).sum()) - int(after.sum())
    assert found["entry_ts"].min() >= pd.Timestamp(at(20), unit="us", tz="UTC")
    assert found["exit_ts"].max() <= pd.Timestamp(at(40), unit="us", tz="UTC")
    assert not found.loc[
        found["exit_ts"] == pd.Timestamp(at(40), unit="us", tz="UTC"), "closed"
    ].all()
