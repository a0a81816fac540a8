"""Adverse selection: moves after maker fills, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.errors import DataGap
from quantcore.execution.adverse_selection import adverse_selection
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, MINUTE_US, to_index, to_us

START_US = to_us("2024-01-01")
DELAYS_US = (0, 10 * MINUTE_US)


def bars() -> Bars:
    """Four bars of five minutes: AAA closes at 100, 99, 101, 102, BBB at 50, 50, 40 and in a hole."""
    close = np.array([[100.0, 50.0], [99.0, 50.0], [101.0, 40.0], [102.0, math.nan]])
    return Bars(
        interval="5m",
        ts_us=START_US + 5 * MINUTE_US * np.arange(1, 5),
        symbols=("AAAUSDT", "BBBUSDT"),
        fields={"close": close},
    )


def fills(*rows: dict[str, Any]) -> pd.DataFrame:
    """Maker buys of 2 AAA at 100 in the second bar, unless said otherwise; `bar` counts from 1."""
    usual = {
        "bar": 2,
        "symbol": "AAAUSDT",
        "side": "buy",
        "qty": 2.0,
        "price": 100.0,
        "liquidity": "maker",
    }
    table = pd.DataFrame([{**usual, **row} for row in rows], columns=list(usual))
    bar = table.pop("bar").to_numpy(dtype=np.int64)
    return table.assign(ts=to_index(START_US + 5 * MINUTE_US * bar))


def moves(*rows: dict[str, Any]) -> tuple[float, ...]:
    return adverse_selection(fills(*rows), bars(), delays_us=DELAYS_US).moves_bps


def test_a_bought_coin_that_falls_is_against_us_and_a_sold_one_is_not() -> None:
    """Bought at 100: the bar closes at 99, 100 bps against us; ten minutes later at 102, 200 for us."""
    assert moves({}) == pytest.approx((100.0, -200.0))
    assert moves({"side": "sell"}) == pytest.approx((-100.0, 200.0))


def test_fills_count_by_their_notional() -> None:
    """200 USDT lose 1 % and 50 USDT, sold at 50 and closing at 50, nothing: 2 of 250."""
    found = adverse_selection(
        fills({}, {"symbol": "BBBUSDT", "side": "sell", "qty": 1.0, "price": 50.0}),
        bars(),
        delays_us=(0,),
    )
    assert found.moves_bps == pytest.approx((80.0,))
    assert (found.fills, found.notional) == (2, 250.0)


def test_a_close_that_is_not_known_leaves_its_fill_out() -> None:
    """Ten minutes after the second bar BBB has a hole; after the third there are no bars."""
    hole = {"symbol": "BBBUSDT", "price": 50.0}
    assert moves(hole, {})[1] == pytest.approx(-200.0)
    soon, later = moves({"bar": 3, "price": 101.0})
    assert (soon, math.isnan(later)) == (0.0, True)


def test_takers_do_not_count() -> None:
    assert moves({"liquidity": "taker", "price": 90.0}, {}) == moves({})
    found = adverse_selection(fills({"liquidity": "taker"}), bars(), delays_us=(0, HOUR_US))
    assert (found.fills, found.notional) == (0, 0.0)
    assert np.isnan(found.moves_bps).tolist() == [True, True]


def test_a_symbol_without_bars_is_refused() -> None:
    with pytest.raises(DataGap, match="bars must hold every symbol that was traded, lacked X"):
        moves({"symbol": "X"})
