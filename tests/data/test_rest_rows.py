from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.data.rest_rows import Candle, bar_table, candle, funding_table, settled
from quantcore.data.schema import check_table, column, times
from quantcore.errors import SchemaMismatch
from quantcore.timegrid import MINUTE_US

ROW = [1499040000000, "0.01634790", "0.8", "0.01575800", "0.01577100", "148976.11427815", 1499644799999,
       "2434.19055334", 308, "1756.87402397", "28.46694368", "17928899.62484339"]  # fmt: skip
BAR = Candle(
    1499040000000000, 0.0163479, 0.8, 0.015758, 0.015771, 148976.11427815, 2434.19055334, 308.0, 1756.87402397
)  # fmt: skip
SETTLED = {
    "symbol": "BTCUSDT",
    "fundingRate": "-0.03750000",
    "fundingTime": 1570608000013,
    "markPrice": "34287.54619963",
}


def test_a_kline_is_read_without_rounding() -> None:
    assert candle(ROW) == BAR


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_a_price_is_the_float_of_its_text(price: float) -> None:
    row = [*ROW]
    row[4] = repr(price)
    assert candle(row).close == price


def test_a_settlement_is_floored_to_the_second() -> None:
    one = settled(SETTLED)
    assert one == (1570608000000000, "BTCUSDT", -0.0375, 34287.54619963)


@pytest.mark.parametrize("mark", ["", None, "0", "0.00000000"])
def test_a_mark_that_was_not_published_is_not_known(mark: Any) -> None:
    assert math.isnan(settled(SETTLED | {"markPrice": mark}).mark_price)


@pytest.mark.parametrize("row", [None, [], [1, 2], ["x"] * 12, {"a": 1}, 5, ROW[:9]])
def test_what_is_no_kline_is_an_error(row: Any) -> None:
    with pytest.raises(SchemaMismatch, match="a kline must be a list of numbers"):
        candle(row)


@pytest.mark.parametrize("row", [None, [], {}, SETTLED | {"fundingRate": "x"}, "x"])
def test_what_is_no_settlement_is_an_error(row: Any) -> None:
    with pytest.raises(SchemaMismatch, match="a settlement must have symbol"):
        settled(row)


def test_rows_become_long_tables_stamped_at_their_closes() -> None:
    klines = check_table(bar_table("klines", "A", [BAR], MINUTE_US), "klines")
    assert times(klines).tolist() == [BAR.open_us + MINUTE_US]
    assert column(klines, "taker_buy_volume").tolist() == [BAR.taker_buy_volume]
    marks = check_table(bar_table("mark", "A", [BAR], MINUTE_US), "mark")
    assert column(marks, "low").tolist() == [BAR.low]
    funding = check_table(funding_table("A", [settled(SETTLED)]), "funding")
    assert column(funding, "funding_rate").tolist() == [-0.0375]
    assert len(bar_table("mark", "A", [], MINUTE_US)) == len(funding_table("A", [])) == 0


def test_documented_answers_of_the_exchange_are_read(shared: Path) -> None:
    folder = shared / "data/binance_api/binance_net/endpoints"
    for name in ("GetKlines", "GetMarkPriceKlines", "GetFundingRates"):
        text = (folder / f"ExchangeData__{name}.txt").read_text(encoding="utf-8-sig")
        rows = json.loads(text[text.index("[") :])
        assert rows
        for row in rows:
            read = settled(row) if name == "GetFundingRates" else candle(row)
            assert read[0] > 10**15
