from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.feed.rows import Parts, RowForm, bars_of, fault_of
from quantcore.data.rest_rows import Candle, Settled
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US

FIRST_US = 1_704_067_200_000_000
GOOD = Candle(FIRST_US, 10.0, 12.0, 9.0, 11.0, 5.0, 50.0, 7.0, 2.0)
FORM = RowForm(symbols=("AUSDT", "BUSDT"), interval="1h")


def test_rows_hold_what_the_parts_say_wherever_they_stand() -> None:
    late = GOOD._replace(open_us=FIRST_US + HOUR_US, close=10.5)
    mark = GOOD._replace(open=10.1, high=11.9, low=9.1, close=10.9)
    outside = GOOD._replace(open_us=FIRST_US + 5 * HOUR_US)
    form = RowForm(
        symbols=("AUSDT", "BUSDT"), interval="1h", fields=(*FORM.fields, "open_interest")
    )
    parts = Parts(
        {"AUSDT": [outside, late, GOOD], "CUSDT": [GOOD]},
        {"AUSDT": [mark], "BUSDT": [mark]},
        [
            Settled(FIRST_US + HOUR_US, "AUSDT", 2e-4, math.nan),
            Settled(FIRST_US, "BUSDT", 3e-4, math.nan),
            Settled(FIRST_US, "AUSDT", 1e-4, math.nan),
            Settled(FIRST_US + 2 * HOUR_US, "AUSDT", 9e-4, 1.0),
            Settled(FIRST_US, "CUSDT", 9e-4, 1.0),
        ],
        {"AUSDT": 77.0, "BUSDT": 78.0},
    )
    bars = bars_of(form, FIRST_US + HOUR_US, 2, parts)
    nan = math.nan
    expected = {
        "open": [[10.0, nan], [10.0, nan]],
        "close": [[11.0, nan], [10.5, nan]],
        "volume": [[5.0, nan], [5.0, nan]],
        "quote_volume": [[50.0, nan], [50.0, nan]],
        "trades": [[7.0, nan], [7.0, nan]],
        "taker_buy_volume": [[2.0, nan], [2.0, nan]],
        "mark_open": [[10.1, nan], [nan, nan]],
        "mark_price": [[10.9, nan], [nan, nan]],
        "funding_rate": [[1e-4, 3e-4], [2e-4, nan]],
        "open_interest": [[nan, nan], [77.0, nan]],
    }
    for name, values in expected.items():
        assert np.array_equal(bars.array(name), np.array(values), equal_nan=True), name
    assert bars.settlements.time_us.tolist() == [FIRST_US, FIRST_US, FIRST_US + HOUR_US]
    assert bars.settlements.symbol.tolist() == [0, 1, 0]
    assert np.array_equal(bars.settlements.mark_price, [10.1, nan, nan], equal_nan=True)


def test_fields_that_the_backtest_does_not_have_are_left_out() -> None:
    form = RowForm(
        symbols=("AUSDT",), interval="1h", fields=("open", "high", "low", "close", "volume")
    )
    parts = Parts({"AUSDT": [GOOD]}, {}, [Settled(FIRST_US, "AUSDT", 1e-4, 10.0)], {})
    bars = bars_of(form, FIRST_US + HOUR_US, 1, parts)
    assert tuple(bars.fields) == form.fields
    assert len(bars.settlements) == 0


def test_an_impossible_value_is_refused() -> None:
    parts = Parts({"AUSDT": [GOOD._replace(high=10.5)]}, {}, [], {})
    with pytest.raises(SchemaMismatch, match=r"close must be between low and high, was 11\.0"):
        bars_of(FORM, FIRST_US + HOUR_US, 1, parts)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"open_us": FIRST_US + 1}, "open time must be on the grid"),
        ({"open_us": -HOUR_US}, "open time must be on the grid"),
        ({"close": math.nan}, "prices must be finite and > 0"),
        ({"high": math.inf}, "prices must be finite and > 0"),
        ({"low": 0.0}, "prices must be finite and > 0"),
        ({"low": 10.5}, "open and close must be between low and high"),
        ({"high": 10.5}, "open and close must be between low and high"),
        ({"volume": -1.0}, "flows must be finite and >= 0"),
        ({"taker_buy_volume": math.nan}, "flows must be finite and >= 0"),
    ],
)
def test_what_is_impossible_is_named(changes: dict[str, Any], rule: str) -> None:
    assert fault_of(GOOD, HOUR_US) is None
    fault = fault_of(GOOD._replace(**changes), HOUR_US)
    assert fault is not None
    assert fault.startswith(rule)


PRICES = st.floats(allow_nan=True, allow_infinity=True)


@given(st.tuples(PRICES, PRICES, PRICES, PRICES, PRICES))
def test_what_has_no_fault_makes_a_row(values: tuple[float, float, float, float, float]) -> None:
    opened, high, low, close, volume = values
    bar = Candle(FIRST_US, opened, high, low, close, volume, 0.0, 0.0, 0.0)
    parts = Parts({"AUSDT": [bar]}, {}, [], {})
    if fault_of(bar, HOUR_US) is None:
        row: Bars = bars_of(FORM, FIRST_US + HOUR_US, 1, parts)
        assert row.array("close")[0, 0] == bar.close


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"symbols": ()}, "symbols must be some, sorted and unique"),
        ({"symbols": ("B", "A")}, "symbols must be some, sorted and unique"),
        ({"interval": "1w"}, "interval must be one of 1m, .*, was '1w'"),
        ({"interval": "7m"}, "interval must be one of 1m, .*, was '7m'"),
        ({"fields": ("open", "close")}, "fields must be among .* and hold open, high, low, close"),
        ({"fields": ("open", "high", "low", "close", "x")}, "fields must be among"),
        ({"fields": ("open", "high", "low", "close", "mark_price")}, "fields must hold all of"),
    ],
)
def test_a_form_out_of_range_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        RowForm(**{"symbols": ("A",), "interval": "1h", **changes})
