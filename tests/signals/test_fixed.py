from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.signals.fixed import FixedSettings, weigh
from quantcore.timegrid import HOUR_US
from quantcore.types import FloatArray

NAN = math.nan
HALF = FixedSettings(weight=0.5)


def bars_of(closes: FloatArray) -> Bars:
    return Bars(
        interval="1h",
        ts_us=HOUR_US * np.arange(1, len(closes) + 1),
        symbols=tuple(f"S{k}USDT" for k in range(closes.shape[1])),
        fields={"close": closes},
    )


def weights(forecasts: list[float], closes: list[float] | None = None) -> list[float]:
    column = np.array(closes or [1.0] * len(forecasts))[:, np.newaxis]
    found, _ = weigh(bars_of(column), np.array(forecasts)[:, np.newaxis], HALF, None)
    return [float(value) for value in found[:, 0]]


def test_a_target_is_given_only_when_the_forecast_changes() -> None:
    found = weights([0.0, 1.0, 1.0, -0.5, -0.5, 0.0, 0.0])
    assert found == pytest.approx([NAN, 0.5, NAN, -0.25, NAN, 0.0, NAN], nan_ok=True)


def test_without_a_view_a_symbol_is_to_be_flat() -> None:
    assert weights([NAN, 1.0, NAN, NAN, 1.0]) == pytest.approx(
        [NAN, 0.5, 0.0, NAN, 0.5], nan_ok=True
    )


def test_without_a_price_a_change_waits() -> None:
    found = weights([1.0, -1.0, -1.0], [1.0, NAN, 1.0])
    assert found == pytest.approx([0.5, NAN, -0.5], nan_ok=True)


@given(cut=st.integers(0, 30), seed=st.integers(0, 50))
def test_rows_taken_in_two_parts_give_the_same_bits(cut: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    closes = np.where(rng.random((30, 2)) < 0.2, NAN, 1.0)
    forecasts = rng.choice([NAN, -1.0, 0.0, 0.7], (30, 2))
    bars = bars_of(closes)
    whole, end = weigh(bars, forecasts, HALF, None)
    first, state = weigh(bars.rows(0, cut), forecasts[:cut], HALF, None)
    kept = FoldState.from_bytes(state.to_bytes())
    second, after = weigh(bars.rows(cut, 30), forecasts[cut:], HALF, kept)
    np.testing.assert_array_equal(np.vstack([first, second]), whole)
    assert after.digest() == end.digest()


def test_a_state_of_another_weight_is_refused() -> None:
    bars = bars_of(np.ones((3, 1)))
    state = weigh(bars, np.ones((3, 1)), HALF, None)[1]
    with pytest.raises(SchemaMismatch, match=r"weight=0\.4"):
        weigh(bars, np.ones((3, 1)), FixedSettings(weight=0.4), state)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight must be finite and > 0, was"):
        FixedSettings(weight=weight)
