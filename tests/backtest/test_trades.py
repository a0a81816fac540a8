"""Round trips: hand-made fills with known answers, a slow twin, and sums that reconcile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest import trades as trades_module
from quantcore.backtest.metrics import run_trades, signed_qty
from quantcore.backtest.result import SCHEMAS, Run
from quantcore.backtest.trades import round_trips
from quantcore.errors import DataGap
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, to_index

Fill = tuple[int, float, float, float]
"""Bar number, signed quantity, price, fee."""

NO_FUNDING: list[tuple[int, float]] = []


def bars_of(low: Sequence[float], high: Sequence[float]) -> Bars:
    lows, highs = np.array(low)[:, None], np.array(high)[:, None]
    return Bars(
        interval="1h",
        ts_us=HOUR_US * np.arange(1, len(lows) + 1),
        symbols=("BTCUSDT",),
        fields={"low": lows, "high": highs, "close": (lows + highs) / 2.0},
    )


def trips_of(
    fills: Sequence[Fill], funding: Sequence[tuple[int, float]] = NO_FUNDING, n_bars: int = 10
) -> pd.DataFrame:
    bars = bars_of([90.0] * n_bars, [110.0] * n_bars)
    return round_trips(*tables_of(fills, funding), bars, last_marks={"BTCUSDT": 105.0})


def tables_of(
    fills: Sequence[Fill], funding: Sequence[tuple[int, float]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    at, qty, price, fee = (
        np.array(column, dtype=np.float64) for column in zip(*fills, strict=True)
    )
    stamps = to_index((HOUR_US * at).astype(np.int64))
    made = pd.DataFrame(
        {
            "ts": stamps,
            "symbol": "BTCUSDT",
            "side": np.where(qty > 0, "buy", "sell"),
            "qty": np.abs(qty),
            "price": price,
            "fee": fee,
            "liquidity": "taker",
            "reason": "target",
            "order_id": np.arange(len(qty)),
            "decision_ts": stamps,
        }
    )
    paid = pd.DataFrame(
        {
            "ts": to_index(HOUR_US * np.array([t for t, _ in funding], dtype=np.int64)),
            "symbol": "BTCUSDT",
            "rate": 0.0,
            "mark_price": 100.0,
            "qty": 1.0,
            "amount": [amount for _, amount in funding],
        }
    )
    return made, paid.astype({"amount": "float64"})


def test_a_long_gains_when_it_is_sold_higher() -> None:
    [trip] = trips_of([(2, 2.0, 100.0, 0.1), (5, -2.0, 103.0, 0.2)]).to_dict("records")
    assert (trip["side"], trip["qty"]) == ("long", 2.0)
    assert (trip["entry_price"], trip["exit_price"]) == (100.0, 103.0)
    assert trip["pnl"] == pytest.approx(6.0)
    assert trip["fees"] == pytest.approx(0.3)
    assert trip["duration"] == pd.Timedelta(hours=3)
    assert trip["exit_reason"] == "target"


def test_a_short_gains_when_it_is_bought_lower() -> None:
    [trip] = trips_of([(2, -2.0, 100.0, 0.0), (5, 2.0, 97.0, 0.0)]).to_dict("records")
    assert (trip["side"], trip["pnl"]) == ("short", pytest.approx(6.0))


def test_adds_and_reduces_stay_in_one_round_trip_at_weighted_prices() -> None:
    fills = [
        (1, 1.0, 100.0, 0.0),
        (2, 3.0, 104.0, 0.0),
        (3, -2.0, 106.0, 0.0),
        (4, -2.0, 108.0, 0.0),
    ]
    [trip] = trips_of(fills).to_dict("records")
    assert (trip["qty"], trip["entry_price"], trip["exit_price"]) == (4.0, 103.0, 107.0)
    assert trip["pnl"] == pytest.approx(16.0)


def test_a_turn_closes_one_and_opens_the_other_and_splits_its_fee() -> None:
    first, second = trips_of(
        [(1, 1.0, 100.0, 0.1), (3, -4.0, 102.0, 0.8), (5, 3.0, 101.0, 0.3)]
    ).to_dict("records")
    assert (first["side"], first["pnl"], first["fees"]) == ("long", 2.0, pytest.approx(0.3))
    assert (second["side"], second["pnl"], second["fees"]) == ("short", 3.0, pytest.approx(0.9))
    assert first["exit_ts"] == second["entry_ts"]


def test_what_is_open_at_the_end_is_left_at_the_last_mark() -> None:
    [trip] = trips_of([(2, 2.0, 100.0, 0.0), (4, -1.0, 103.0, 0.0)]).to_dict("records")
    assert trip["exit_ts"] is pd.NaT
    assert trip["exit_reason"] == "open"
    assert trip["pnl"] == pytest.approx(3.0 + 5.0)
    assert trip["duration"] == pd.Timedelta(hours=8)


def test_a_remainder_of_rounding_is_flat() -> None:
    fills = [
        (1, 0.1, 100.0, 0.0),
        (2, 0.2, 100.0, 0.0),
        (3, -0.3, 101.0, 0.0),
        (4, 1.0, 100.0, 0.0),
    ]
    made = trips_of(fills)
    assert made["exit_reason"].tolist() == ["target", "open"]
    assert made["qty"].tolist() == [pytest.approx(0.3), 1.0]


def test_funding_at_a_fill_s_stamp_belongs_to_what_the_fill_leaves() -> None:
    fills = [(2, 1.0, 100.0, 0.0), (4, -2.0, 100.0, 0.0), (6, 1.0, 100.0, 0.0)]
    first, second = trips_of(fills, [(2, 0.5), (3, 0.25), (4, -0.125)])["funding"]
    assert (first, second) == (0.75, -0.125)


def test_excursions_see_the_entry_bar_and_the_exit_price_but_not_the_exit_bar() -> None:
    bars = bars_of([50, 95, 99, 10], [150, 108, 101, 500])
    fills, funding = tables_of([(2, 1.0, 100.0, 0.0), (4, -1.0, 109.0, 0.0)], NO_FUNDING)
    [trip] = round_trips(fills, funding, bars, last_marks={}).to_dict("records")
    assert trip["mae"] == pytest.approx(-0.05)
    assert trip["mfe"] == pytest.approx(0.09)


def test_a_short_s_worst_excursion_is_the_high() -> None:
    bars = bars_of([98, 95, 99], [101, 108, 101])
    fills, funding = tables_of([(1, -1.0, 100.0, 0.0), (3, 1.0, 100.0, 0.0)], NO_FUNDING)
    [trip] = round_trips(fills, funding, bars, last_marks={}).to_dict("records")
    assert (trip["mae"], trip["mfe"]) == (pytest.approx(-0.08), pytest.approx(0.05))


def test_bars_that_are_missing_are_skipped() -> None:
    bars = bars_of([98, math.nan, math.nan], [101, math.nan, math.nan])
    fills, funding = tables_of([(1, 1.0, 100.0, 0.0)], NO_FUNDING)
    [trip] = round_trips(fills, funding, bars, last_marks={}).to_dict("records")
    assert (trip["mae"], trip["mfe"]) == (pytest.approx(-0.02), pytest.approx(0.01))
    assert trip["exit_price"] == 99.5


def test_no_fills_make_no_round_trips() -> None:
    fills, funding = tables_of([(1, 1.0, 100.0, 0.0)], NO_FUNDING)
    made = round_trips(fills.iloc[:0], funding, bars_of([1.0], [2.0]), last_marks={})
    assert made.empty
    assert list(made) == SCHEMAS["trades"].names


def test_a_symbol_without_bars_is_refused() -> None:
    fills, funding = tables_of([(1, 1.0, 100.0, 0.0)], NO_FUNDING)
    with pytest.raises(DataGap, match="missing ETHUSDT"):
        round_trips(fills.assign(symbol="ETHUSDT"), funding, bars_of([1], [2]), last_marks={})


def test_round_trips_add_up_to_the_account(run: Run) -> None:
    made = run_trades(run)
    fills = run.tables["fills"]
    last = run.tables["positions"][
        run.tables["positions"]["ts"] == run.tables["equity"]["ts"].iloc[-1]
    ]
    gross = (last["qty"] * last["mark_price"]).sum() - (signed_qty(fills) * fills["price"]).sum()
    assert len(made) > 100
    assert {"long", "short"} == set(made["side"])
    assert made["pnl"].sum() == pytest.approx(gross, abs=1e-8)
    assert made["fees"].sum() == pytest.approx(fills["fee"].sum(), abs=1e-10)
    assert made["funding"].sum() == pytest.approx(run.tables["funding"]["amount"].sum(), abs=1e-10)
    assert (made["mae"] <= 0.0).all()
    assert (made["mfe"] >= 0.0).all()
    assert (made["exit_reason"] == "liquidation").sum() == 1


def test_the_scan_agrees_with_a_slow_twin_without_a_compiler(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = run_trades(run)
    for name in ("_excurse", "_settle", "_leave", "_enter", "_watch", "scan_round_trips"):
        monkeypatch.setattr(trades_module, name, getattr(trades_module, name).py_func)
    pd.testing.assert_frame_equal(compiled, run_trades(run), rtol=1e-12)


def test_each_round_trip_agrees_with_a_walk_over_its_own_fills(run: Run) -> None:
    expected = []
    for _, fills in run.tables["fills"].groupby("symbol"):
        position, entered, spent, cash = 0.0, 0.0, 0.0, 0.0
        for qty, price in zip(signed_qty(fills), fills["price"], strict=True):
            parts = [qty]
            if position * qty < 0.0 and abs(qty) > abs(position) + 1e-9:
                parts = [-position, qty + position]
            for part in parts:
                cash -= part * price
                if position * part >= 0.0:
                    entered, spent = entered + abs(part), spent + abs(part) * price
                position = round(position + part, 6)
                if position == 0.0:
                    expected.append((round(entered, 6), spent / entered, cash))
                    entered, spent, cash = 0.0, 0.0, 0.0
    closed = run_trades(run).query("exit_reason != 'open'")
    made = sorted(zip(closed["qty"].round(6), closed["entry_price"], closed["pnl"], strict=True))
    np.testing.assert_allclose(made, sorted(expected), rtol=1e-9, atol=1e-9)


def test_many_fills_take_a_fraction_of_a_second(make_run: Callable[..., Run]) -> None:
    many = make_run(symbols=20, days=200, orders_per_bar=3.0, deposits=(), liquidation_at=None)
    run_trades(many)
    started = time.process_time()
    run_trades(many)
    assert time.process_time() - started < 1.0
