"""What every strategy of the house promises: bounds, NaN, causality, symmetry, and a state that can be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.types import FloatArray, Panel
from strategies import breakout, carry, pairs, reversal, trend, xs_momentum
from tests.strategies.market import (
    LATE_DAYS,
    NO_EXITS,
    bars_of,
    random_bars,
    with_columns,
    with_fields,
)


@dataclass(frozen=True)
class Strategy:
    """A strategy with settings short enough for a few months of bars."""

    kind: str
    forecast: Callable[[Bars, Any, FoldState | None], tuple[Panel, FoldState]]
    forecast_array: Callable[[Bars, Any, FoldState | None], tuple[FloatArray, FoldState]]
    warm_up: Callable[[Any, str], int]
    settings: Any

    def run(self, bars: Bars) -> FloatArray:
        return self.forecast_array(bars, self.settings, None)[0]


TREND = trend.TrendSettings(
    fast=2, slow=6, speeds=2, volatility_half_life=12.0, cap=2.0, exits=NO_EXITS
)
BREAKOUT = breakout.BreakoutSettings(lookback_days=[3, 8, 15], exits=NO_EXITS)
MOMENTUM = xs_momentum.XsMomentumSettings(
    horizon_days=[3, 7], exposure_half_life_days=20.0, symbols_min=3, exits=NO_EXITS
)
CARRY = carry.CarrySettings(
    half_life_days=3.0, stale_hours=30.0, outlier_limit=2.0, cap=1.5, symbols_min=3, exits=NO_EXITS
)
REVERSAL = reversal.ReversalSettings(
    exposure_half_life_days=20.0, memory_half_life_days=30.0, round_trip_cost=0.001, cap=1.5,
    exits=NO_EXITS,
)  # fmt: skip
PAIRS = pairs.PairsSettings(
    window_days=60, review="week", lags=1, significance=0.15, half_life_max_days=20.0,
    hedge_min=0.3, hedge_max=3.0, relations_max=4, entry=1.0, exit=0.2, stop=3.0, exits=NO_EXITS,
)  # fmt: skip
STRATEGIES = {
    m.KIND: Strategy(m.KIND, m.forecast, m.forecast_array, m.warm_up, chosen)
    for m, chosen in (
        (trend, TREND),
        (breakout, BREAKOUT),
        (xs_momentum, MOMENTUM),
        (carry, CARRY),
        (reversal, REVERSAL),
        (pairs, PAIRS),
    )
}
SEEDS = 3
SUMS = ("xs_momentum", "carry", "reversal", "pairs")
"""Those with a mean over the symbols in them, which is summed in their order."""

every = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES.keys())
few = settings(max_examples=6)


@cache
def market(seed: int) -> Bars:
    return random_bars(seed)


@cache
def whole(kind: str, seed: int) -> tuple[FloatArray, str]:
    """Forecasts of all rows, and the digest of the state after them."""
    strategy = STRATEGIES[kind]
    forecasts, state = strategy.forecast_array(market(seed), strategy.settings, None)
    forecasts.flags.writeable = False
    return forecasts, state.digest()


@every
@pytest.mark.parametrize("seed", range(SEEDS))
def test_forecasts_are_bounded_and_take_both_sides(strategy: Strategy, seed: int) -> None:
    found = whole(strategy.kind, seed)[0]
    known = found[~np.isnan(found)]
    assert np.abs(known).max() <= 1.0
    assert (known > 0.1).any()
    assert (known < -0.1).any()


@every
def test_forecasts_are_bounded_when_prices_jump(strategy: Strategy) -> None:
    bars = market(0)
    jumps = np.random.default_rng(1).standard_cauchy(bars.array("close").shape)
    wild = np.exp(np.cumsum(np.clip(jumps, -9.0, 9.0) * 0.1, axis=0)) * bars.array("close")
    rates = bars.array("funding_rate") * jumps
    found = strategy.run(with_fields(bars, {"close": wild, "funding_rate": rates}))
    assert np.nanmax(np.abs(found)) <= 1.0


@every
@pytest.mark.parametrize("seed", range(SEEDS))
def test_there_is_no_forecast_where_there_is_no_close(strategy: Strategy, seed: int) -> None:
    missing = np.isnan(market(seed).array("close"))
    found = whole(strategy.kind, seed)[0]
    assert np.isnan(found[missing]).all()
    assert not np.isnan(found[~missing]).all()


@every
@few
@given(seed=st.integers(0, SEEDS - 1), cut=st.integers(0, 780))
def test_two_parts_give_the_forecasts_of_the_whole(strategy: Strategy, seed: int, cut: int) -> None:
    bars = market(seed)
    expected, end = whole(strategy.kind, seed)
    first, state = strategy.forecast_array(bars.rows(0, cut), strategy.settings, None)
    saved = FoldState.from_bytes(state.to_bytes())
    rest = bars.rows(cut, bars.n_bars)
    for held in (state, saved):
        second, after = strategy.forecast_array(rest, strategy.settings, held)
        np.testing.assert_array_equal(np.concatenate([first, second]), expected)
        assert after.digest() == end
    assert state.digest() == saved.digest()  # neither call advanced what it was given


@every
def test_row_by_row_gives_the_forecasts_of_the_whole(strategy: Strategy) -> None:
    bars = market(1)
    expected, end = whole(strategy.kind, 1)
    state: FoldState | None = None
    for t in range(bars.n_bars):
        row, state = strategy.forecast_array(bars.rows(t, t + 1), strategy.settings, state)
        np.testing.assert_array_equal(row[0], expected[t])
    assert state is not None
    assert state.digest() == end


@every
def test_a_state_survives_its_file(strategy: Strategy, tmp_path: Path) -> None:
    bars = market(2)
    _, state = strategy.forecast_array(bars.rows(0, 500), strategy.settings, None)
    state.save(tmp_path / "state")
    held = FoldState.load(tmp_path / "state")
    found, after = strategy.forecast_array(bars.rows(500, bars.n_bars), strategy.settings, held)
    expected, end = whole(strategy.kind, 2)
    np.testing.assert_array_equal(found, expected[500:])
    assert after.digest() == end


@every
@few
@given(seed=st.integers(0, SEEDS - 1), cut=st.integers(1, 779))
def test_no_past_forecast_depends_on_the_future(strategy: Strategy, seed: int, cut: int) -> None:
    bars, other = market(seed), market(seed + 1)
    changed = {name: values.copy() for name, values in bars.fields.items()}
    for name, values in changed.items():
        values[cut:] = 3.0 * other.array(name)[cut:]
    found = strategy.run(with_fields(bars, changed))
    np.testing.assert_array_equal(found[:cut], whole(strategy.kind, seed)[0][:cut])
    np.testing.assert_array_equal(strategy.run(bars.rows(0, cut)), found[:cut])


@every
@few
@given(seed=st.integers(0, SEEDS - 1), order=st.permutations(range(5)))
def test_permuting_symbols_permutes_forecasts(
    strategy: Strategy, seed: int, order: list[int]
) -> None:
    found = strategy.run(with_columns(market(seed), order))
    expected = whole(strategy.kind, seed)[0][:, order]
    if strategy.kind in SUMS:
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    else:
        np.testing.assert_array_equal(found, expected)


@every
@few
@given(seed=st.integers(0, SEEDS - 1), power=st.integers(-20, 20))
def test_prices_times_a_power_of_two_change_nothing(
    strategy: Strategy, seed: int, power: int
) -> None:
    bars = market(seed)
    found = strategy.run(with_fields(bars, {"close": bars.array("close") * 2.0**power}))
    expected = whole(strategy.kind, seed)[0]
    if strategy.kind == "pairs":  # which takes logarithms
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    else:
        np.testing.assert_array_equal(found, expected)


@every
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_symbol_changes_nothing_for_others_before_it_is_listed(
    strategy: Strategy, seed: int
) -> None:
    without = strategy.run(with_columns(market(seed), range(4)))
    first = LATE_DAYS * 6
    np.testing.assert_array_equal(whole(strategy.kind, seed)[0][:first, :4], without[:first])


@every
def test_a_symbol_listed_late_gets_its_forecasts(strategy: Strategy) -> None:
    found = np.concatenate([whole(strategy.kind, seed)[0][:, -1] for seed in range(SEEDS)])
    assert (np.abs(found) > 0.1).any()


@every
def test_a_symbol_that_never_trades_is_never_held(strategy: Strategy) -> None:
    closes = market(0).array("close").copy()
    closes[:, 2] = np.nan
    found = strategy.run(with_fields(market(0), {"close": closes}))
    assert np.isnan(found[:, 2]).all()
    assert (np.abs(found[:, [0, 1, 3, 4]]) > 0.1).any()


@every
def test_nothing_but_holes_gives_nothing(strategy: Strategy) -> None:
    closes = np.full((200, 3), np.nan)
    assert np.isnan(strategy.run(bars_of(closes, funding_rate=closes))).all()


@every
def test_prices_that_never_move_give_no_position(strategy: Strategy) -> None:
    found = strategy.run(bars_of(np.full((780, 4), 0.1), funding_rate=np.full((780, 4), 1e-4)))
    assert (np.nan_to_num(found) == 0.0).all()


@every
def test_one_symbol_alone_is_no_error(strategy: Strategy) -> None:
    found = strategy.run(with_columns(market(0), [0]))
    assert found.shape == (780, 1)
    assert np.nanmax(np.abs(np.nan_to_num(found))) <= 1.0


@every
def test_no_rows_change_nothing_and_one_row_has_one_forecast(strategy: Strategy) -> None:
    bars = market(0)
    nothing, empty = strategy.forecast_array(bars.rows(0, 0), strategy.settings, None)
    assert nothing.shape == (0, 5)
    one, state = strategy.forecast_array(bars.rows(0, 1), strategy.settings, empty)
    assert one.shape == (1, 5)
    assert (np.nan_to_num(one) == 0.0).all()
    for cut in (1, 36, 500):  # the second is after a Monday's first instant
        _, state = strategy.forecast_array(bars.rows(0, cut), strategy.settings, None)
        _, same = strategy.forecast_array(bars.rows(cut, cut), strategy.settings, state)
        assert same.digest() == state.digest()


@every
def test_the_panel_is_the_array_with_its_labels(strategy: Strategy) -> None:
    bars = market(0)
    panel, after = strategy.forecast(bars, strategy.settings, None)
    expected, end = whole(strategy.kind, 0)
    pd.testing.assert_frame_equal(
        panel, pd.DataFrame(expected, index=bars.index, columns=list(bars.symbols))
    )
    assert after.digest() == end


@every
def test_a_state_of_another_fold_or_of_other_symbols_is_refused(strategy: Strategy) -> None:
    bars = market(0).rows(0, 20)
    _, state = strategy.forecast_array(bars, strategy.settings, None)
    assert state.kind == strategy.kind
    for stranger in (
        FoldState("other", state.version, state.arrays),
        FoldState(state.kind, state.version + 1, state.arrays),
    ):
        with pytest.raises(SchemaMismatch, match=f"state must be of kind '{strategy.kind}'"):
            strategy.forecast(bars, strategy.settings, stranger)
    with pytest.raises(SchemaMismatch, match=f"{strategy.kind} state must have .* other symbols"):
        strategy.forecast(with_columns(bars, range(4)), strategy.settings, state)


@every
def test_warm_up_is_in_bars_and_the_forecasts_of_a_cold_start_are_known_after_it(
    strategy: Strategy,
) -> None:
    bars = market(0)
    replayed = strategy.warm_up(strategy.settings, "4h")
    assert replayed >= 12
    if replayed < bars.n_bars:
        cold = strategy.run(bars.rows(bars.n_bars - replayed - 1, bars.n_bars))[-1]
        np.testing.assert_array_equal(np.isnan(cold), np.isnan(whole(strategy.kind, 0)[0][-1]))


def test_a_due_test_of_pairs_may_be_made_before_the_next_row() -> None:
    bars = market(0)
    due = np.flatnonzero((bars.index.hour == 0) & (bars.index.day_of_week == 0))
    changed = 0
    for cut in (due[-6:] + 1).tolist():
        _, state = pairs.forecast_array(bars.rows(0, cut), PAIRS, None)
        early = pairs.refit(state, PAIRS)
        changed += early.digest() != state.digest()
        assert pairs.refit(early, PAIRS).digest() == early.digest()
        rest = bars.rows(cut, bars.n_bars)
        lazy, end = pairs.forecast_array(rest, PAIRS, state)
        found, after = pairs.forecast_array(rest, PAIRS, early)
        np.testing.assert_array_equal(found, lazy)
        assert after.digest() == end.digest()
    assert changed == 6


def test_exits_are_not_the_forecasts_business() -> None:
    closer = replace(NO_EXITS, stop_loss=0.01)
    for strategy in STRATEGIES.values():
        other = replace(strategy.settings, exits=closer)
        found = strategy.forecast_array(market(0), other, None)[0]
        np.testing.assert_array_equal(found, whole(strategy.kind, 0)[0])
