"""The Regime Detector: fits at fixed dates, from a window and nothing else, one row late; the fold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.exits import NO_EXITS
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.regime import hmm, jump_model, volatility_state
from quantcore.regime.detector import (
    LABELS,
    RegimeSettings,
    refit,
    regime_labels,
    regime_probabilities,
    warm_up,
)
from quantcore.regime.hmm import HmmSettings
from quantcore.regime.jump_model import JumpModelSettings
from quantcore.regime.volatility_state import VolatilityStateSettings
from quantcore.timegrid import HOUR_US, calendar_rows, to_us
from quantcore.types import FloatArray

FIT_DAYS = 60
VOLATILITY = RegimeSettings(
    detector=VolatilityStateSettings(states=2, fit_days=FIT_DAYS, half_life=8.0, quantiles=(0.6,)),
    review="month",
)
THREE = RegimeSettings(
    detector=VolatilityStateSettings(
        states=3, fit_days=FIT_DAYS, half_life=8.0, quantiles=(0.3, 0.8)
    ),
    review="week",
)
HMM = RegimeSettings(
    detector=HmmSettings(
        states=2,
        fit_days=FIT_DAYS,
        variance_floor=0.01,
        pseudo_count=1.0,
        tolerance=1e-6,
        max_iterations=100,
    ),
    review="month",
)
JUMP = RegimeSettings(
    detector=JumpModelSettings(
        states=2,
        fit_days=FIT_DAYS,
        downside_half_life=5.0,
        sortino_half_lives=(5.0, 10.0),
        jump_penalty=10.0,
        temperature=3.0,
    ),
    review="month",
)
MODULES: dict[str, Any] = {"volatility": volatility_state, "hmm": hmm, "jump": jump_model}
DETECTORS = [
    pytest.param(VOLATILITY, id="volatility"),
    pytest.param(THREE, id="three"),
    pytest.param(HMM, id="hmm"),
    pytest.param(JUMP, id="jump"),
]
BARS_PER_DAY = 3


def closes_of(seed: int, days: int, n_symbols: int = 3) -> FloatArray:
    """Bars of eight hours, quiet and wild by turns, with holes and a symbol listed late."""
    rng = np.random.default_rng(seed)
    n_bars = days * BARS_PER_DAY
    wild = 1.0 + 3.0 * (np.arange(n_bars) // (15 * BARS_PER_DAY) % 2)
    changes = 0.01 * wild[:, None] * rng.normal(0.0, 1.0, (n_bars, n_symbols))
    closes = 100.0 * np.exp(np.cumsum(changes, axis=0))
    closes[rng.random(closes.shape) < 0.05] = np.nan
    closes[: n_bars // 3, -1] = np.nan
    return np.asarray(closes)


def bars_of(closes: FloatArray) -> Bars:
    """Bars from the first instant of 2024 on."""
    ts_us = to_us("2024-01-01") + 8 * HOUR_US * (1 + np.arange(len(closes), dtype=np.int64))
    symbols = tuple(f"S{i:02}" for i in range(closes.shape[1]))
    return Bars(interval="8h", ts_us=ts_us, symbols=symbols, fields={"close": closes})


def run(
    closes: FloatArray, chosen: RegimeSettings = VOLATILITY, state: FoldState | None = None
) -> FloatArray:
    return regime_probabilities(bars_of(closes), chosen, state)[0]


def row_at(day: str) -> int:
    """The row stamped at the first instant of a day."""
    return int((to_us(day) - to_us("2024-01-01")) // (8 * HOUR_US)) - 1


def market_days(closes: FloatArray) -> FloatArray:
    """The market's return on each day, by pandas."""
    days = pd.DataFrame(closes).groupby(np.arange(len(closes)) // BARS_PER_DAY).last()
    return (days / days.shift() - 1.0).mean(axis=1).to_numpy()


@pytest.mark.parametrize("name", ["volatility", "hmm", "jump"])
def test_probabilities_are_those_of_fits_and_scans_by_hand(name: str) -> None:
    chosen = {"volatility": VOLATILITY, "hmm": HMM, "jump": JUMP}[name]
    module = MODULES[name]
    closes = closes_of(1, 150)
    found, returns = run(closes, chosen), market_days(closes)
    wanted = np.full(found.shape, np.nan)
    firsts = [row_at(day) for day in ("2024-04-01", "2024-05-01")]
    for row, end in zip(firsts, [firsts[1], len(closes) - 1], strict=True):
        day = (row + 1) // BARS_PER_DAY
        parameters, state = module.fit(returns[day - FIT_DAYS : day], chosen.detector)
        # Until the first day's close the rows know the window alone.
        now = module.scan(parameters, state.copy(), np.array([np.nan]))[0]
        for t in range(row + 1, end + 1):
            if (t + 1) % BARS_PER_DAY == 0:
                now = module.scan(parameters, state, returns[t // BARS_PER_DAY][None])[0]
            wanted[t] = now
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chosen", DETECTORS)
def test_nothing_is_known_before_the_first_fit_and_everything_sums_to_one_after_it(
    chosen: RegimeSettings,
) -> None:
    found = run(closes_of(2, 120), chosen)
    # Sixty returns are there from the 61st day's close on; the first instant of a month after it is that of April,
    # the first Monday is 4 March.
    first = row_at("2024-03-04" if chosen.review == "week" else "2024-04-01")
    assert np.isnan(found[: first + 1]).all()
    assert found.shape == (360, chosen.states)
    np.testing.assert_allclose(found[first + 1 :].sum(axis=1), 1.0, rtol=1e-12)
    assert (found[first + 1 :] >= 0.0).all()
    assert len(np.unique(found[first + 1 :, 0])) > 10


@pytest.mark.parametrize("chosen", DETECTORS)
def test_a_fit_takes_effect_one_row_after_its_instant(chosen: RegimeSettings) -> None:
    closes = closes_of(3, 130)
    instant = row_at("2024-05-06" if chosen.review == "week" else "2024-05-01")
    # The window's last day changes at the very instant of the fit: its own row knows it by the old parameters, the
    # next by the new ones.
    bars = bars_of(closes)
    _, state = regime_probabilities(bars.rows(0, instant), chosen)
    assert state["due"][0] == 0
    at, after = regime_probabilities(bars.rows(instant, instant + 1), chosen, state)
    assert after["due"][0] == 1
    np.testing.assert_array_equal(after["parameters"], state["parameters"])
    _, later = regime_probabilities(bars.rows(instant + 1, instant + 2), chosen, after)
    assert later["due"][0] == 0
    assert not np.array_equal(later["parameters"], state["parameters"])
    np.testing.assert_array_equal(run(closes, chosen)[instant], at[0])


def test_fits_are_at_the_calendar_s_instants_wherever_the_bars_begin() -> None:
    bars = bars_of(closes_of(4, 200))
    for start in (0, 50, 151):
        held, state = [], None
        for t in range(start, bars.n_bars):
            _, state = regime_probabilities(bars.rows(t, t + 1), VOLATILITY, state)
            held.append(bool(state["due"][0]))
        np.testing.assert_array_equal(held, calendar_rows(bars.ts_us[start:], "month"))


@pytest.mark.parametrize("chosen", DETECTORS)
def test_nothing_is_carried_over_from_an_earlier_fit(chosen: RegimeSettings) -> None:
    instant = row_at("2024-05-06" if chosen.review == "week" else "2024-06-01")
    # A return needs the close before it: the window holds that of one more day.
    shared = instant + 1 - (FIT_DAYS + 1) * BARS_PER_DAY
    closes, other = closes_of(5, 180), closes_of(6, 180)
    other[shared:] = closes[shared:]
    first, second = run(closes, chosen), run(other, chosen)
    assert not np.array_equal(first[: instant + 1], second[: instant + 1], equal_nan=True)
    np.testing.assert_array_equal(first[instant + 1 :], second[instant + 1 :])


@pytest.mark.parametrize("chosen", DETECTORS)
def test_a_run_that_begins_a_window_earlier_knows_the_same_from_its_first_fit_on(
    chosen: RegimeSettings,
) -> None:
    bars = bars_of(closes_of(7, 180))
    whole, _ = regime_probabilities(bars, chosen)
    replayed = warm_up(chosen, "8h")
    for start in (31, 62, 90, 155):
        cold, _ = regime_probabilities(bars.rows(start, bars.n_bars), chosen)
        np.testing.assert_array_equal(cold[replayed:], whole[start + replayed :])


@pytest.mark.parametrize("chosen", DETECTORS)
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, 450), min_size=1, max_size=4).map(sorted))
def test_parts_equal_the_whole_through_saved_states(
    chosen: RegimeSettings, cuts: list[int]
) -> None:
    bars = bars_of(closes_of(8, 150))
    whole, end = regime_probabilities(bars, chosen)
    state, parts = None, []
    for start, stop in zip([0, *cuts], [*cuts, 450], strict=True):
        part, after = regime_probabilities(bars.rows(start, stop), chosen, state)
        state = FoldState.from_bytes(after.to_bytes())
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert state is not None
    assert state.digest() == end.digest()


@pytest.mark.parametrize("chosen", DETECTORS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_refitting_before_the_next_call_changes_nothing(chosen: RegimeSettings, after: int) -> None:
    bars = bars_of(closes_of(9, 150))
    whole, end = regime_probabilities(bars, chosen)
    for day in ("2024-02-01", "2024-04-01", "2024-05-01"):
        cut = row_at(day) + after
        _, state = regime_probabilities(bars.rows(0, cut), chosen)
        early = refit(state, chosen)
        assert refit(early, chosen).digest() == early.digest()
        part, last = regime_probabilities(bars.rows(cut, 450), chosen, early)
        np.testing.assert_array_equal(part, whole[cut:])
        assert last.digest() == end.digest()


@pytest.mark.parametrize("chosen", DETECTORS)
@settings(max_examples=6)
@given(cut=st.integers(190, 449))
def test_no_past_probability_depends_on_the_future(chosen: RegimeSettings, cut: int) -> None:
    closes, other = closes_of(10, 150), closes_of(11, 150)
    other[:cut] = closes[:cut]
    whole = run(closes, chosen)[:cut]
    np.testing.assert_array_equal(run(other, chosen)[:cut], whole)
    np.testing.assert_array_equal(run(closes[:cut], chosen), whole)


@pytest.mark.parametrize("chosen", DETECTORS)
def test_a_window_of_equal_returns_is_known_to_have_no_regime(chosen: RegimeSettings) -> None:
    closes = closes_of(12, 180)
    still = row_at("2024-03-20")
    closes[:still] = 100.0
    found = run(closes, chosen)
    unknown = row_at("2024-03-18" if chosen.review == "week" else "2024-04-01")
    assert np.isnan(found[: unknown + 1]).all()
    assert not np.isnan(found[row_at("2024-06-10") :]).any()


@pytest.mark.parametrize("chosen", DETECTORS)
def test_what_was_known_is_unknown_again_after_a_window_without_movement(
    chosen: RegimeSettings,
) -> None:
    closes = closes_of(13, 220)
    closes[row_at("2024-04-10") : row_at("2024-06-20")] = 77.0
    found = run(closes, replace(chosen, review="week"))
    assert not np.isnan(found[row_at("2024-04-03") : row_at("2024-04-22") + 1]).any()
    # The sixty days up to the 17th of June are all still; at the end of July most days of the window move again.
    assert np.isnan(found[row_at("2024-06-17") + 1 : row_at("2024-06-20")]).all()
    assert not np.isnan(found[row_at("2024-08-01") :]).any()


@pytest.mark.parametrize("chosen", DETECTORS)
def test_a_day_on_which_nobody_has_a_price_leaves_later_windows_unknown(
    chosen: RegimeSettings,
) -> None:
    closes = closes_of(14, 200)
    gap = row_at("2024-04-20")
    closes[gap + 1 : gap + 1 + BARS_PER_DAY] = np.nan
    found = run(closes, chosen)
    assert not np.isnan(found[row_at("2024-04-02") : row_at("2024-04-22") + 1]).any()
    # The return of the day and of the one after it are missing for sixty days.
    assert np.isnan(found[row_at("2024-06-03") : row_at("2024-06-10")]).all()
    assert not np.isnan(found[row_at("2024-07-02") :]).any()


@settings(max_examples=10)
@given(order=st.permutations(range(3)), power=st.integers(-10, 10))
def test_neither_the_order_of_symbols_nor_the_unit_of_prices_matters(
    order: list[int], power: int
) -> None:
    closes = closes_of(15, 130)
    found = run(closes[:, order] * 2.0**power)
    np.testing.assert_allclose(found, run(closes), rtol=1e-9, atol=1e-12)


def test_wild_days_are_likelier_wild() -> None:
    closes = closes_of(16, 180)
    found = run(closes)
    days = np.arange(len(closes)) // BARS_PER_DAY
    # The volatility needs some days to notice.
    known = ~np.isnan(found[:, 0]) & (days % 15 >= 12)
    wild = days // 15 % 2 == 1
    assert found[known & wild, 1].mean() > found[known & ~wild, 1].mean() + 0.2


@pytest.mark.parametrize("states", [2, 3, 4])
def test_labels_name_the_likeliest_state_the_calmest_first(states: int) -> None:
    probabilities = np.vstack([np.full((1, states), np.nan), 0.1 + np.eye(states)])
    assert regime_labels(probabilities) == [None, *LABELS[states]]
    assert LABELS[states][0] == "calm"
    assert LABELS[states][-1] == "wild"


def test_one_regime_has_no_label() -> None:
    assert regime_labels(np.ones((3, 1))) == [None, None, None]


def test_settings_without_a_detector_or_with_another_review_are_refused() -> None:
    said = (
        "detector must be settings whose module holds fit and scan, was ExitSettings of quantcore"
    )
    with pytest.raises(ConfigError, match=said):
        replace(VOLATILITY, detector=NO_EXITS)
    with pytest.raises(ValueError, match="review must be week or month, was 'day'"):
        replace(VOLATILITY, review="day")


def test_a_state_of_other_settings_or_symbols_is_refused() -> None:
    bars = bars_of(closes_of(0, 20))
    _, state = regime_probabilities(bars, VOLATILITY)
    with pytest.raises(SchemaMismatch, match=r"regime state must be of the settings .*states=3"):
        regime_probabilities(bars, THREE, state)
    with pytest.raises(SchemaMismatch, match="regime state must have ring of shape"):
        regime_probabilities(bars.select(["S00"]), VOLATILITY, state)
    with pytest.raises(SchemaMismatch, match="state must be of kind 'regime'"):
        regime_probabilities(bars, VOLATILITY, FoldState("account", 1, {}))


def test_no_rows_give_nothing_and_keep_the_state() -> None:
    bars = bars_of(closes_of(0, 100))
    _, state = regime_probabilities(bars, VOLATILITY)
    none, after = regime_probabilities(bars.rows(0, 0), VOLATILITY, state)
    assert none.shape == (0, 2)
    assert after.digest() == state.digest()


def test_warm_up_is_a_window_and_the_longest_period_after_it() -> None:
    assert warm_up(VOLATILITY, "8h") == (FIT_DAYS + 32) * BARS_PER_DAY
    assert warm_up(VOLATILITY, "1d") == FIT_DAYS + 32
