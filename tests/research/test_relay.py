"""Choices traded in one account: joined targets by hand, positions that stay, and legs that tell different things."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.engine import Decided, decide, trade
from quantcore.errors import SchemaMismatch
from quantcore.research.relay import Leg, joined, trade_legs
from quantcore.research.study import Variant
from quantcore.timegrid import DAY_US
from tests.backtest.test_turns import SIGNAL
from tests.research.market import SmallMarket
from tests.research.test_feasibility_demand import ACCOUNT, EXECUTION


@cache
def decided(slow: int, days: int = 60) -> Decided:
    market = SmallMarket(days=days, n_symbols=4, interval="8h", execution_interval="8h")
    strategy = replace(SIGNAL.strategy, slow=slow)
    return decide(market.load(), signal=replace(SIGNAL, strategy=strategy))


def leg(slow: int, day: int, *, held: bool = True) -> Leg:
    found = decided(slow)
    first_us = int(found.found.bars.ts_us[0]) // DAY_US * DAY_US
    return Leg(
        from_us=first_us + day * DAY_US,
        decided=found,
        variant=Variant(signal=found.signal, account=ACCOUNT, execution=EXECUTION, risk=None),
        held=held,
    )


def test_the_joined_account_trades_the_targets_joined_by_hand() -> None:
    legs = [leg(5, 20), leg(9, 35), leg(5, 50)]
    fast, slow = decided(5), decided(9)
    stamps = fast.found.bars.index
    border = [pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=d) for d in (20, 35, 50)]
    # The decision at a midnight is executed after it: it belongs to the test that begins there.
    weights = np.where(
        ((stamps >= border[1]) & (stamps < border[2]))[:, np.newaxis],
        slow.found.weight_array,
        fast.found.weight_array,
    )
    first = int(np.flatnonzero(stamps == border[0])[0])
    by_hand = replace(fast.found, weight_array=weights).since(first)
    expected = trade(replace(fast, found=by_hand), account=ACCOUNT, execution=EXECUTION)
    run = trade_legs(legs)
    assert len(run.tables["fills"]) > 30
    for name, table in expected.tables.items():
        pd.testing.assert_frame_equal(table, run.tables[name])
    assert run.tables["equity"]["ts"].iloc[0] == border[0]
    assert run.tables["equity"]["equity"].iloc[0] == ACCOUNT.capital


def test_a_border_without_a_change_of_set_leaves_no_trace() -> None:
    one, several = trade_legs([leg(5, 20)]), trade_legs([leg(5, 20), leg(5, 33), leg(5, 47)])
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, several.tables[name])


def test_cash_closes_what_is_held_and_holds_nothing() -> None:
    run = trade_legs([leg(5, 20), leg(5, 35, held=False), leg(9, 50)])
    held = run.tables["positions"]
    start = pd.Timestamp("2024-02-05", tz="UTC")  # day 35
    quiet = (held["ts"] > start + pd.Timedelta(days=1)) & (
        held["ts"] <= start + pd.Timedelta(days=15)
    )
    assert not quiet.any()
    assert (held["ts"] <= start).any()
    assert (held["ts"] > start + pd.Timedelta(days=16)).any()


def test_legs_of_other_rows_are_refused() -> None:
    other = replace(leg(9, 35), decided=decided(9, 59))
    with pytest.raises(SchemaMismatch, match="legs must be decided on the same rows"):
        joined([leg(5, 20), other])


def test_legs_with_other_strategies_and_regimes_are_joined_with_gaps() -> None:
    first, second = leg(5, 20), leg(9, 40)
    found = second.decided.found
    n = len(found.weight_array)
    both = replace(
        found,
        forecasts={"trend": found.combined, "carry": found.combined / 2.0},
        counted=np.tile([0.7, 0.3], (n, 1)),
        regimes=np.tile([0.9, 0.1], (n, 1)),
    )
    told = joined([first, replace(second, decided=replace(second.decided, found=both))]).found
    assert list(told.forecasts) == ["trend", "carry"]
    later = np.flatnonzero(told.bars.ts_us >= second.from_us)[0]
    assert np.isnan(told.forecasts["carry"][:later]).all()
    assert np.isnan(told.regimes[:later]).all()
    np.testing.assert_array_equal(told.counted[0], [1.0, 0.0])
    np.testing.assert_array_equal(told.counted[later], [0.7, 0.3])
    np.testing.assert_array_equal(
        told.regimes[later:], both.regimes[-(len(told.regimes) - later) :]
    )
    assert len(told.members) == len(told.weight_array) == told.bars.n_bars
