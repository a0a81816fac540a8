"""The proofs that take minutes: ninety days of real hours, and a week of synthetic minutes with the router."""

from __future__ import annotations

from pathlib import Path

import pytest

from live.parity.study import LIVE
from tests.parity.markets import case, compared

pytestmark = pytest.mark.slow


def test_ninety_days_of_ten_real_symbols_under_multi_strategy_are_equal(shared: Path) -> None:
    overrides = ["+experiment=multi_strategy", "data=folder"]
    ran = case(shared / "data", overrides, days=90, symbols=10)
    found = compared(ran)
    assert ran.bars.n_symbols == 10
    assert found.comparison.equal, found.summary
    assert found.summary["decisions"] == 90 * 24 + 1
    assert found.summary["fills"] > 0
    assert found.summary["max_equity_error"] <= 1e-9 * ran.account.capital


def test_week_of_minutes_of_ten_symbols_with_the_router_is_equal(tmp_path: Path) -> None:
    overrides = [
        "+experiment=multi_strategy", "data=synthetic", "data.n_symbols=10", "data.late_listings=0", "data.days=280",
        "data.execution_interval=1m", "execution=router",
    ]  # fmt: skip
    ran = case(tmp_path, overrides, days=7, symbols=10)
    found = compared(ran)
    assert ran.bars.n_symbols == 10
    assert found.comparison.equal, found.summary
    assert found.summary["bars"] == 7 * 24 * 60 + 1
    assert found.summary["fills"] > 0
    assert "maker" in set(found.tables[LIVE]["fills"]["liquidity"])
    assert found.summary["max_equity_error"] <= 1e-9 * ran.account.capital
