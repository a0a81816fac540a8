"""How orders fared, by hand: three decisions on five-minute bars, worked by post-only children and a market order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.execution_quality import (
    decided_orders,
    execution_quality,
    post_only_success,
)
from quantcore.backtest.metrics import compute_metrics, slippage_costs
from quantcore.backtest.result import SCHEMAS, Run
from quantcore.execution.shortfall import PARTS
from quantcore.frames import Bars
from quantcore.timegrid import MINUTE_US, to_index, to_us

START_US = to_us("2024-01-01")
BARS = 20
CLOSES = {3: 100.0, 4: 99.6, 6: 101.0, 7: 101.5, 9: 100.0, 10: 100.1, 16: 100.6, 19: 100.0}
OPENS = {4: 100.2, 7: 101.0, 10: 100.0}


def stamps(numbers: Any) -> pd.DatetimeIndex:
    """Closes of bars, which count from 1."""
    return to_index(START_US + 5 * MINUTE_US * np.asarray(numbers, dtype=np.int64))


def bars() -> Bars:
    """Twenty bars, 90 wherever no price matters."""
    panels = {
        name: np.array([[known.get(bar, 90.0)] for bar in range(1, BARS + 1)])
        for name, known in (("open", OPENS), ("close", CLOSES))
    }
    ts_us = START_US + 5 * MINUTE_US * np.arange(1, BARS + 1)
    return Bars(interval="5m", ts_us=ts_us, symbols=("BTCUSDT",), fields=panels)


def table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    usual: dict[str, Any] = {"symbol": "BTCUSDT", "reason": "target", "reduce_only": False}
    filled = pd.DataFrame([{**usual, **row} for row in rows], columns=SCHEMAS[name].names)
    for column in ("ts", "decision_ts"):
        if column in filled:
            filled[column] = stamps(filled[column].fillna(1))
    return filled


POST = {"type": "limit", "time_in_force": "GTX"}
ORDERS: list[dict[str, Any]] = [
    # Bar 3: buy 10. The first child fills 4, the second would have crossed, the rest crosses.
    {"order_id": 0, "decision_ts": 3, "side": "buy", "qty": 10.0, "status": "canceled", **POST},
    {"order_id": 1, "decision_ts": 3, "side": "buy", "qty": 6.0, "status": "rejected", **POST,
     "reason": "post_only_would_cross"},
    {"order_id": 2, "decision_ts": 3, "side": "buy", "qty": 6.0, "status": "filled", "type": "market"},
    # Bar 6: sell 10, of which 5 are filled until the next decision.
    {"order_id": 3, "decision_ts": 6, "side": "sell", "qty": 10.0, "status": "canceled", **POST, "reduce_only": True},
    # Bar 9: buy 2, filled whole.
    {"order_id": 4, "decision_ts": 9, "side": "buy", "qty": 2.0, "status": "filled", **POST},
    # The last bar's decision, which no bar follows.
    {"order_id": 5, "decision_ts": 20, "side": "buy", "qty": 50.0, "status": "new", "type": "market"},
]  # fmt: skip
FILLS: list[dict[str, Any]] = [
    {"order_id": 0, "ts": 4, "side": "buy", "qty": 4.0, "price": 100.1, "fee": 0.08, "liquidity": "maker",
     "reference_price": 100.1},
    {"order_id": 2, "ts": 5, "side": "buy", "qty": 6.0, "price": 100.5, "fee": 0.3, "liquidity": "taker",
     "reference_price": 100.4},
    {"order_id": 3, "ts": 7, "side": "sell", "qty": 5.0, "price": 101.2, "fee": 0.1, "liquidity": "maker",
     "reference_price": 101.2},
    {"order_id": 4, "ts": 10, "side": "buy", "qty": 2.0, "price": 99.9, "fee": 0.04, "liquidity": "maker",
     "reference_price": 99.9},
]  # fmt: skip


@pytest.fixture
def fine(run: Run) -> Run:
    tables = {**run.tables, "orders": table("orders", ORDERS), "fills": table("fills", FILLS)}
    return replace(run, bars=bars(), interval="15m", tables=tables)


def test_half_of_one_of_three_decisions_was_not_filled(fine: Run) -> None:
    assert len(decided_orders(fine)) == 3
    assert execution_quality(fine).fill_rate == pytest.approx((1.0 + 0.5 + 1.0) / 3)


def test_one_of_four_post_only_orders_was_filled_whole(fine: Run) -> None:
    assert execution_quality(fine).post_only_success == 0.25


def test_a_post_only_order_with_a_taker_fill_did_not_succeed(fine: Run) -> None:
    crossed = fine.tables["fills"].assign(liquidity="taker")
    assert post_only_success({**fine.tables, "fills": crossed}) == 0.0
    market = fine.tables["orders"].assign(time_in_force=None)
    assert math.isnan(post_only_success({**fine.tables, "orders": market}))


def test_the_parts_of_the_shortfall_are_those_of_the_three_decisions(fine: Run) -> None:
    """Of 1,000, 1,010 and 200 USDT.

    The first decision arrives 0.2 higher, at 100.2. Its 4 coins save 0.1 each by resting; its 6 are bought 0.2 above
    the arrival and 0.1 beyond that for crossing. The second sells 5 at 0.2 above its arrival and misses 5 by 1.0, for
    at bar 9 the price is 100. The third saves 0.1 on 2.
    """
    found = execution_quality(fine).shortfall
    money = {
        "delay": 10 * 0.2,
        "spread": 6 * 0.1,
        "impact": (-4 * 0.1 + 6 * 0.2) - 5 * 0.2 - 2 * 0.1,
        "missed": 5 * 1.0,
        "fees": 0.52,
    }
    assert found.notional == pytest.approx(2210.0)
    for part in PARTS:
        assert found.money(part) == pytest.approx(money[part]), part
    assert found.total == pytest.approx(7.72)
    assert found.total_bps == pytest.approx(7.72 / 0.2210)


def test_maker_fills_were_followed_by_a_price_that_is_worse_and_later_better(fine: Run) -> None:
    """Bought 4 at 100.1 and 2 at 99.9, sold 5 at 101.2; of the last one an hour later there is no bar."""
    found = execution_quality(fine).metrics()
    soon = 4 * (100.1 - 99.6) - 5 * (101.2 - 101.5) + 2 * (99.9 - 100.1)
    assert found["adverse_selection_bps"] == pytest.approx(1e4 * soon / (400.4 + 506.0 + 199.8))
    later = 4 * (100.1 - 100.6) - 5 * (101.2 - 100.0)
    assert found["adverse_selection_1h_bps"] == pytest.approx(1e4 * later / (400.4 + 506.0))


def test_a_decision_with_no_bar_after_it_counts_once_there_is_one(fine: Run) -> None:
    longer = fine.tables["orders"].replace({"decision_ts": {stamps([20])[0]: stamps([19])[0]}})
    found = execution_quality(replace(fine, tables={**fine.tables, "orders": longer}))
    assert found.fill_rate == pytest.approx(2.5 / 4)
    assert found.shortfall.notional == pytest.approx(2210.0 + 50.0 * 100.0)


def test_on_coarse_bars_the_shortfall_is_known_and_resting_orders_are_not_measured(
    run: Run,
) -> None:
    """Orders of this run fill whole at the next open, which is the close at the decision: spread and fees are all."""
    found = execution_quality(run)
    assert found.adverse is None
    assert math.isnan(found.fill_rate)
    assert math.isnan(found.post_only_success)
    fills = run.tables["fills"]
    asked = (fills["reason"] == "target").to_numpy()
    spread = float(slippage_costs(fills)[asked].sum())
    assert found.shortfall.money("spread") == pytest.approx(spread)
    assert found.shortfall.money("fees") == pytest.approx(fills["fee"][asked].sum())
    for part in ("delay", "impact", "missed"):
        assert found.shortfall.money(part) == pytest.approx(0.0, abs=1e-9)


def test_metrics_hold_the_shortfall_and_its_parts(run: Run) -> None:
    m = compute_metrics(run)
    assert sum(m[f"shortfall_{part}_bps"] for part in PARTS) == pytest.approx(m["shortfall_bps"])
    found = execution_quality(run).shortfall
    assert m["shortfall_cost"] == found.total
    assert m["shortfall_bps"] == pytest.approx(1e4 * found.total / found.notional)


def test_a_run_without_orders_has_none_of_it(run: Run) -> None:
    tables = {**run.tables, **{name: run.tables[name].iloc[:0] for name in ("orders", "fills")}}
    found = execution_quality(replace(run, tables=tables)).metrics()
    assert np.isnan(list(found.values())).all()
