"""What all features that are folds have in common, and the helper that makes them so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.registry import CPUDispatcher

from quantcore.errors import SchemaMismatch
from quantcore.features import (
    carry,
    channel,
    flow,
    lag,
    range_volatility,
    returns,
    trend,
    volatility,
)
from quantcore.features.folding import empty_state, fold, known, positive, whole
from quantcore.fold import SETTINGS, FoldState
from quantcore.frames import FIELDS, Bars
from quantcore.types import FloatArray, Panel
from tests.features.market import (
    bars_of,
    random_bars,
    random_fields,
    with_columns,
    with_prices_scaled,
)

Feature = Callable[..., tuple[Panel, FoldState]]

FUNDING = {"half_life_hours": 30.0, "stale_hours": 12.0}
FEATURES: dict[str, tuple[Feature, dict[str, Any]]] = {
    "simple_returns": (returns.simple_returns, {"lookback": 1}),
    "log_returns": (returns.log_returns, {"lookback": 5}),
    "realised_volatility": (volatility.realised_volatility, {"half_life": 7.0}),
    "parkinson": (range_volatility.parkinson_volatility, {"half_life": 7.0}),
    "garman_klass": (range_volatility.garman_klass_volatility, {"half_life": 7.0}),
    "rogers_satchell": (range_volatility.rogers_satchell_volatility, {"half_life": 7.0}),
    "yang_zhang": (range_volatility.yang_zhang_volatility, {"half_life": 7.0}),
    "crossover": (trend.crossover, {"fast": 3, "slow": 9, "volatility_half_life": 7.0}),
    "momentum": (trend.time_series_momentum, {"lookback": 6, "volatility_half_life": 7.0}),
    "efficiency_ratio": (trend.efficiency_ratio, {"window": 5}),
    "donchian_position": (channel.donchian_position, {"window": 5}),
    "breakout": (channel.breakout, {"window": 5, "exit_at_middle": False}),
    "breakout to the middle": (channel.breakout, {"window": 5, "exit_at_middle": True}),
    "funding_mean": (carry.funding_mean, FUNDING),
    "funding_surprise": (carry.funding_surprise, FUNDING),
    "basis_mean": (carry.basis_mean, {"half_life": 7.0}),
    "quote_volume_mean": (flow.quote_volume_mean, {"half_life": 7.0}),
    "volume_surprise": (flow.volume_surprise, {"half_life": 7.0}),
    "taker_imbalance": (flow.taker_imbalance, {"half_life": 7.0}),
    "open_interest_change": (flow.open_interest_change, {"lookback": 4}),
}
MODULES = (carry, channel, flow, lag, range_volatility, returns, trend, volatility)
IN_USDT = {"quote_volume_mean"}

feature_of = pytest.mark.parametrize("name", FEATURES)


def run(name: str, bars: Bars, state: FoldState | None = None) -> tuple[Panel, FoldState]:
    feature, arguments = FEATURES[name]
    return feature(bars, **arguments, state=state)


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace every compiled function that a feature calls by its interpreted twin."""
    for module in MODULES:
        _interpret_module(monkeypatch, module)


def _interpret_module(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    for name, value in list(vars(module).items()):
        if isinstance(value, CPUDispatcher):
            monkeypatch.setattr(module, name, value.py_func)


INPUTS: Mapping[str, Bars] = {
    "holes": random_bars(1),
    "nothing but NaN": bars_of({name: np.full((8, 2), np.nan) for name in FIELDS}),
    "constant": bars_of({name: np.full((40, 2), 0.1) for name in FIELDS}),
    "one row": random_bars(2).rows(30, 31),
    "empty": random_bars(2).rows(0, 0),
    "no symbols": bars_of({name: np.empty((4, 0)) for name in FIELDS}),
}


@feature_of
@pytest.mark.parametrize("inputs", INPUTS)
def test_compiled_feature_equals_its_interpreted_twin(
    name: str, inputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = INPUTS[inputs]
    values, state = run(name, bars)
    interpret(monkeypatch)
    twin_values, twin_state = run(name, bars)
    pd.testing.assert_frame_equal(values, twin_values, rtol=1e-14, atol=0.0)
    for array in set(state) - {SETTINGS}:
        np.testing.assert_allclose(state[array], twin_state[array], rtol=1e-14, atol=0.0)


@feature_of
@settings(max_examples=25)
@given(seed=st.integers(0, 999), cut=st.integers(0, 60))
def test_two_calls_give_what_one_gives_bit_for_bit_also_through_bytes(
    name: str, seed: int, cut: int
) -> None:
    bars = random_bars(seed)
    expected, last = run(name, bars)
    first, state = run(name, bars.rows(0, cut))
    second, state = run(name, bars.rows(cut, 60), FoldState.from_bytes(state.to_bytes()))
    np.testing.assert_array_equal(np.concatenate([first, second]), expected.to_numpy())
    assert state.digest() == last.digest()


@feature_of
def test_one_row_at_a_time_gives_what_one_call_gives_also_through_files(
    name: str, tmp_path: Path
) -> None:
    bars = random_bars(4)
    expected, _ = run(name, bars)
    state, rows = None, []
    for t in range(bars.n_bars):
        row, state = run(name, bars.rows(t, t + 1), state)
        state.save(tmp_path / "state")
        state = FoldState.load(tmp_path / "state")
        rows.append(row)
    pd.testing.assert_frame_equal(pd.concat(rows), expected, check_exact=True, check_freq=False)


@feature_of
@settings(max_examples=10)
@given(seed=st.integers(0, 999), cut=st.integers(0, 59))
def test_cutting_the_future_off_changes_no_value(name: str, seed: int, cut: int) -> None:
    bars = random_bars(seed)
    pd.testing.assert_frame_equal(
        run(name, bars.rows(0, cut))[0],
        run(name, bars)[0].iloc[:cut],
        check_exact=True,
        check_freq=False,
    )


@feature_of
def test_exchanging_symbols_exchanges_their_values(name: str) -> None:
    bars, order = random_bars(5), [2, 3, 1, 0]
    exchanged, _ = run(name, with_columns(bars, order))
    np.testing.assert_array_equal(exchanged.to_numpy(), run(name, bars)[0].to_numpy()[:, order])


@feature_of
def test_scaling_prices_changes_nothing_but_amounts_in_usdt(name: str) -> None:
    bars, factor = random_bars(6), 1000.0 / 3.0
    scaled, _ = run(name, with_prices_scaled(bars, factor))
    expected = run(name, bars)[0] * (factor if name in IN_USDT else 1.0)
    pd.testing.assert_frame_equal(scaled, expected, rtol=1e-8, atol=1e-9)


@feature_of
def test_a_symbol_listed_late_has_the_values_of_one_whose_bars_begin_then(name: str) -> None:
    fields = random_fields(7, 60, 2)
    for field in fields.values():
        field[:25, 1] = np.nan
    bars = bars_of(fields)
    values, _ = run(name, bars)
    assert values.iloc[:25, 1].isna().all()
    alone, _ = run(name, bars.rows(25, 60))
    np.testing.assert_array_equal(values.iloc[25:, 1], alone.iloc[:, 1])
    assert alone.iloc[-8:, 1].notna().any()


@feature_of
def test_values_are_finite_or_missing_and_bars_and_state_are_not_changed(name: str) -> None:
    bars = random_bars(8)
    before = bars.fingerprint()
    _, state = run(name, bars.rows(0, 30))
    digest = state.digest()
    values, _ = run(name, bars.rows(30, 60), state)
    assert not np.isinf(values.to_numpy()).any()
    assert values.notna().any(axis=None)
    assert (bars.fingerprint(), state.digest()) == (before, digest)
    assert values.index.equals(bars.index[30:])
    assert list(values.columns) == list(bars.symbols)


@feature_of
def test_bars_without_optional_fields_give_nothing_or_do_without(name: str) -> None:
    prices = ("open", "high", "low", "close")
    bars = random_bars(9)
    values, _ = run(name, bars_of({field: bars.fields[field] for field in prices}))
    optional = {
        "funding_mean", "funding_surprise", "basis_mean", "quote_volume_mean", "volume_surprise",
        "taker_imbalance", "open_interest_change",
    }  # fmt: skip
    assert values.isna().all(axis=None) == (name in optional)


@feature_of
def test_state_of_another_feature_is_refused(name: str) -> None:
    bars = random_bars(10)
    with pytest.raises(SchemaMismatch, match="state must be of kind"):
        run(name, bars, FoldState("another", 1, {}))


@feature_of
def test_state_of_other_settings_or_symbols_is_refused(name: str) -> None:
    bars = random_bars(10)
    feature, arguments = FEATURES[name]
    _, state = feature(bars, **arguments)
    key, value = next(iter(arguments.items()))
    with pytest.raises(SchemaMismatch, match="state must be of the settings"):
        feature(bars, **{**arguments, key: value + 1}, state=state)
    with pytest.raises(SchemaMismatch, match="state must have"):
        feature(bars.select(["AAA"]), **arguments, state=state)


@feature_of
def test_settings_out_of_their_range_are_named(name: str) -> None:
    feature, arguments = FEATURES[name]
    numbers = [key for key, value in arguments.items() if not isinstance(value, bool)]
    for key in numbers:
        with pytest.raises(ValueError, match=rf"^{key} must be .*, was -1"):
            feature(random_bars(10), **{**arguments, key: -1})


def test_state_that_holds_other_arrays_is_refused() -> None:
    empty = empty_state("f", 1, (), sums=np.zeros(2))
    bars = random_bars(0)
    _, other = fold(
        bars, None, empty_state("f", 1, (), means=np.zeros(2)), lambda held: bars.array("close")
    )
    with pytest.raises(SchemaMismatch, match="f state must have means of shape and type None"):
        fold(bars, FoldState.from_bytes(other.to_bytes()), empty, lambda held: held["sums"])


def test_fold_hands_writable_copies_to_the_scan() -> None:
    bars = random_bars(0, n_bars=1, n_symbols=2)
    empty = empty_state("count", 1, (), counts=np.zeros((1, 2)))

    def scan(held: Mapping[str, FloatArray]) -> FloatArray:
        held["counts"][:] += 1.0
        return held["counts"].copy()

    _, state = fold(bars, None, empty, scan)
    values, state = fold(bars, state, empty, scan)
    assert (values == 2.0).all(axis=None)
    assert (state["counts"] == 2.0).all()
    assert (empty.arrays["counts"] == 0.0).all()


def test_a_field_that_bars_lack_is_nothing_but_nan() -> None:
    bars = bars_of({"close": np.ones((3, 2))})
    assert np.isnan(known(bars, "mark_price")).all()
    assert known(bars, "mark_price").shape == (3, 2)
    assert known(bars, "close") is bars.array("close")


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_positive_refuses_what_is_not(value: float) -> None:
    with pytest.raises(ValueError, match=f"half_life must be finite and > 0, was {value}"):
        positive("half_life", value)


@pytest.mark.parametrize("value", [0, -3, 2.5])
def test_whole_refuses_what_is_not(value: float) -> None:
    with pytest.raises(ValueError, match=f"window must be a whole number >= 1, was {value}"):
        whole("window", value, least=1)  # type: ignore[arg-type] # what a config may hold


def test_lag_of_a_known_value_is_exact_and_a_hole_holds_what_was_known() -> None:
    state = lag.lag_init(1, 2)
    given_values = [1.0, 2.0, np.nan, 4.0, 5.0, 6.0]
    assert np.isnan(lag.lag_last(state, 0))
    seen = [lag.lag_step(state, 0, value) for value in given_values]
    np.testing.assert_array_equal(seen, [np.nan, np.nan, 1.0, 2.0, 2.0, 4.0])
    assert lag.lag_last(state, 0) == 6.0
