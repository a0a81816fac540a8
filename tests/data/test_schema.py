from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quantcore.data.checks import check_rows
from quantcore.data.schema import (
    KINDS,
    SCHEMAS,
    check_table,
    column,
    empty_table,
    interval_order,
    is_known,
    long_table,
    times,
)
from quantcore.errors import SchemaMismatch
from quantcore.timegrid import HOUR_US

OHLC = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0}


def bars(n: int = 3, **changed: Any) -> pa.Table:
    values = {name: np.full(n, value) for name, value in OHLC.items()}
    values["volume"] = np.ones(n)
    for name, array in changed.items():
        values[name] = np.asarray(array, dtype=float)
    return long_table("klines", "AUSDT", HOUR_US * np.arange(1, n + 1), values)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_table_of_each_kind_has_its_schema(kind: str) -> None:
    assert check_table(empty_table(kind), kind).schema == SCHEMAS[kind]


def test_a_long_table_gives_back_its_stamps_and_values_and_leaves_the_rest_null() -> None:
    table = check_table(bars(), "klines")
    assert times(table).tolist() == [HOUR_US, 2 * HOUR_US, 3 * HOUR_US]
    assert column(table, "close").tolist() == [11.0, 11.0, 11.0]
    assert np.isnan(column(table, "trades")).all()
    assert is_known(table, "volume")
    assert not is_known(table, "trades")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SchemaMismatch, match="must have columns ts, symbol, open"):
        check_table(bars().drop_columns(["close"]), "klines")


def test_a_column_of_another_type_is_named() -> None:
    table = bars()
    wrong = table.set_column(2, "open", table.column("open").cast(pa.float32()))
    with pytest.raises(SchemaMismatch, match="column open must be double, was float"):
        check_table(wrong, "klines")


def test_a_null_stamp_is_refused() -> None:
    schema = pa.schema([f.with_nullable(True) for f in SCHEMAS["funding"]])
    row = {"ts": [None], "symbol": ["A"], "funding_rate": [0.0], "mark_price": [None]}
    with pytest.raises(SchemaMismatch, match="ts must not be null"):
        check_table(pa.table(row, schema=schema), "funding")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="kind must be among klines, mark"):
        check_table(empty_table("mark"), "trades")


def test_intervals_are_ordered_by_length_and_other_names_left_out() -> None:
    assert interval_order({"1d", "15m", "4h", "event", "1h"}) == ["15m", "1h", "4h", "1d"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"close": [11, np.inf, 11]}, r"x: close must be finite and > 0, was inf at 1970-01-01T01"),
        ({"low": [9, 9, 0]}, r"low must be finite and > 0, was 0.0 at 1970-01-01T02:00:00Z"),
        ({"open": [10, -1, 10]}, r"open must be finite and > 0, was -1.0"),
        ({"open": [10, np.nan, 10]}, r"open must be finite and > 0, was nan"),
        ({"close": [11, 13, 11]}, r"close must be between low and high, was 13.0"),
        ({"open": [8, 10, 10]}, r"open must be between low and high, was 8.0"),
        ({"volume": [1, -2, 1]}, r"volume must be finite and >= 0, was -2.0"),
        ({"quote_volume": [1, np.inf, 1]}, r"quote_volume must be finite and >= 0, was inf"),
    ],
)
def test_impossible_bars_are_refused_with_time_and_value(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        check_rows(bars(**changed), kind="klines", interval="1h", name="x")


def test_a_bar_of_four_missing_prices_is_a_hole_not_a_fault() -> None:
    hole: dict[str, Any] = {name: [value, np.nan, value] for name, value in OHLC.items()}
    table = bars(**hole)
    assert check_rows(table, kind="klines", interval="1h", name="x") is table


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        ([1, 3, 2], "times must be sorted, was 1970-01-01T01:00:00Z after 1970-01-01T02:00:00Z"),
        ([1, 2, 2], "times must be unique, was twice 1970-01-01T01:00:00Z"),
        ([1, 2, 2.5], "bars must open on the interval's grid, was 1970-01-01T01:30:00Z"),
    ],
)
def test_times_in_disorder_are_refused(stamps: list[float], message: str) -> None:
    stamps_us = (np.array(stamps) * HOUR_US).astype(np.int64)
    values = {name: np.full(3, value) for name, value in OHLC.items()}
    table = long_table("mark", "AUSDT", stamps_us, values)
    with pytest.raises(SchemaMismatch, match=message):
        check_rows(table, kind="mark", interval="1h", name="x")


def test_a_settlement_without_a_rate_is_refused() -> None:
    table = long_table("funding", "A", np.array([0, 5]), {"funding_rate": np.array([0.1, np.nan])})
    with pytest.raises(SchemaMismatch, match="funding_rate must be finite, was nan"):
        check_rows(table, kind="funding", interval="event", name="x")
