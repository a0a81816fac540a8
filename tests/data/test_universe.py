"""The universe: its rules again in pandas, its memory by hand, and the guarantees of a fold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.data import universe
from quantcore.data.universe import (
    UniverseSettings,
    check_universe,
    members,
    quote_volumes,
    refit,
    survivorship_note,
    warm_up,
)
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.timegrid import DAY_US, interval_us, to_us
from quantcore.types import BoolArray, FloatArray

SETTINGS = UniverseSettings(
    symbols_min=2,
    symbols_max=3,
    review="week",
    window_days=5,
    listed_days_min=9,
    memory_reviews=3,
)
START_US = to_us("2021-03-01")
"""A Monday, and the first of a month; the first bar opens with it."""


def bars_of(volumes: FloatArray, interval: str = "1d") -> Bars:
    """Return bars of these quote volumes with closes where there is a volume."""
    return Bars(
        interval=interval,
        ts_us=START_US + interval_us(interval) * (1 + np.arange(len(volumes), dtype=np.int64)),
        symbols=tuple(f"S{i:02}" for i in range(volumes.shape[1])),
        fields={"close": np.where(np.isnan(volumes), np.nan, 1.0), "quote_volume": volumes},
    )


def random_volumes(seed: int, n_days: int = 80, n_symbols: int = 6, per_day: int = 3) -> FloatArray:
    """Volumes whose order changes slowly, with holes, whole days missing, a late symbol and one that ends."""
    rng = np.random.default_rng(seed)
    shape = (n_days * per_day, n_symbols)
    levels = np.cumsum(rng.normal(0.0, 0.08, shape), axis=0)
    volumes = np.exp(levels + rng.normal(0.0, 0.8, shape))
    volumes[rng.random(shape) < 0.1] = np.nan
    quiet = rng.random((n_days, n_symbols)) < 0.06
    volumes[np.repeat(quiet, per_day, axis=0)] = np.nan
    volumes[rng.random(shape) < 0.05] = 0.0
    volumes[: 25 * per_day, -1] = np.nan
    volumes[60 * per_day :, 0] = np.nan
    return volumes


def in_pandas(bars: Bars, settings: UniverseSettings) -> BoolArray:
    """The rules again."""
    day = (bars.ts_us - 1) // DAY_US
    daily = pd.DataFrame(quote_volumes(bars)).groupby(day).sum(min_count=1)
    symbols = range(bars.n_symbols)
    remembered = max(settings.window_days, settings.listed_days_min)
    index = bars.index
    begins = (index.hour == 0) & (
        (index.day_of_week == 0) if settings.review == "week" else (index.day == 1)
    )
    result = np.zeros((bars.n_bars, bars.n_symbols), dtype=np.bool_)
    points: list[set[int]] = []
    for t in np.flatnonzero(begins):
        past = daily.loc[: bars.ts_us[t] // DAY_US - 1]
        past = past.reindex(range(past.index[-1] - remembered + 1, past.index[-1] + 1))
        traded = past > 0.0
        may = [
            s for s in symbols if traded[s].sum() >= settings.listed_days_min and traded[s].iloc[-1]
        ]
        volume = past.fillna(0.0).tail(settings.window_days).median()
        by_volume = sorted(may, key=lambda s: (-volume[s], s))
        points = [*points, set(by_volume[: settings.symbols_max])][-settings.memory_reviews :]
        earned = {s: sum(s in each for each in points) for s in may}
        best = sorted(may, key=lambda s: (-earned[s], -volume[s], s))[: settings.symbols_max]
        row = np.isin(np.arange(bars.n_symbols), best)
        result[t + 1 :] = row if len(may) >= settings.symbols_min else False
    return result


@pytest.mark.parametrize("review", ["week", "month"])
@pytest.mark.parametrize("seed", range(4))
def test_members_are_the_rules(seed: int, review: str) -> None:
    rules = replace(SETTINGS, review=review, window_days=5 + 10 * (seed % 2))
    bars = bars_of(random_volumes(seed, n_days=170), "8h")
    found = members(bars, rules)[0]
    np.testing.assert_array_equal(found, in_pandas(bars, rules))
    assert len(np.unique(found, axis=0)) > 2


def weekly(*weeks: tuple[float, ...]) -> list[list[int]]:
    """Return the two members after each week of constant volumes, of a universe that remembers three reviews."""
    rules = replace(
        SETTINGS, symbols_min=1, symbols_max=2, window_days=7, listed_days_min=7, memory_reviews=3
    )
    volumes = np.repeat(np.array(weeks), 7, axis=0)
    found = members(bars_of(np.vstack([volumes, volumes[-1:]])), rules)[0]
    return [np.flatnonzero(row).tolist() for row in found[7::7]]


USUAL = (30.0, 20.0, 10.0)


def test_the_most_liquid_are_members_from_the_row_after_a_review() -> None:
    rules = replace(SETTINGS, symbols_max=2, window_days=7, listed_days_min=7)
    found = members(bars_of(np.tile(USUAL, (9, 1))), rules)[0]
    assert not found[:7].any()
    assert found[7:].tolist() == [[True, True, False]] * 2


def test_one_quiet_review_throws_nobody_out_and_two_do() -> None:
    quiet = (30.0, 5.0, 10.0)
    assert weekly(USUAL, USUAL, quiet, USUAL) == [[0, 1]] * 4
    assert weekly(USUAL, USUAL, quiet, quiet) == [[0, 1], [0, 1], [0, 1], [0, 2]]


def test_one_loud_review_lets_nobody_past_a_long_standing_member_and_two_do() -> None:
    loud = (30.0, 20.0, 99.0)
    assert weekly(USUAL, USUAL, loud, USUAL, USUAL) == [[0, 1]] * 5
    assert weekly(USUAL, USUAL, loud, loud) == [[0, 1], [0, 1], [0, 1], [0, 2]]


def test_equal_points_are_decided_by_volume() -> None:
    assert weekly(USUAL, (30.0, 20.0, 99.0)) == [[0, 1], [0, 2]]


def test_one_review_to_remember_is_no_memory() -> None:
    rules = replace(
        SETTINGS,
        symbols_min=1,
        symbols_max=1,
        window_days=1,
        listed_days_min=1,
        memory_reviews=1,
    )
    volumes = np.repeat([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0]], 7, axis=0)
    found = members(bars_of(volumes), rules)[0]
    assert found[7].tolist() == [True, False]
    assert found[14].tolist() == [False, True]


def test_a_symbol_listed_later_joins_after_enough_days_and_not_before() -> None:
    rules = replace(SETTINGS, symbols_max=2, memory_reviews=1, listed_days_min=10)
    volumes = np.tile([30.0, 20.0, 99.0], (40, 1))
    volumes[:12, 2] = np.nan
    found = members(bars_of(volumes), rules)[0][:, 2]
    # Reviews are after rows 6, 13, 20, 27. It has traded 2 days at the second, 9 at the third and 10 at the fourth.
    assert found.argmax() == 28
    volumes[11, 2] = 99.0
    assert members(bars_of(volumes), rules)[0][:, 2].argmax() == 21


def test_a_symbol_that_did_not_trade_on_the_last_day_is_out_at_once() -> None:
    rules = replace(SETTINGS, symbols_max=2)
    volumes = np.tile([30.0, 20.0, 10.0], (30, 1))
    volumes[20:, 0] = np.nan
    found = members(bars_of(volumes), rules)[0]
    assert found[20].tolist() == [True, True, False]
    assert found[21].tolist() == [False, True, True]
    volumes[20, 0] = 0.0
    assert members(bars_of(volumes), rules)[0][21].tolist() == [False, True, True]


def test_nobody_is_a_member_while_fewer_than_the_least_are_eligible() -> None:
    rules = replace(SETTINGS, symbols_min=3)
    volumes = np.tile([30.0, 20.0, 10.0], (35, 1))
    volumes[:12, 2] = np.nan
    volumes[25:, 1] = np.nan
    found = members(bars_of(volumes), rules)[0]
    sizes = found.sum(axis=1)
    assert set(sizes[:21].tolist()) == {0}
    assert set(sizes[21:28].tolist()) == {3}
    assert set(sizes[28:].tolist()) == {0}


def test_data_with_too_few_symbols_is_refused() -> None:
    rules = replace(SETTINGS, symbols_min=3)
    check_universe(3, rules)
    with pytest.raises(ConfigError, match=r"symbols_min asks for 3 symbols, the data holds 2"):
        check_universe(2, rules)


@settings(max_examples=10)
@given(seed=st.integers(0, 999), cut=st.integers(0, 240))
def test_members_of_two_parts_equal_members_of_the_whole(seed: int, cut: int) -> None:
    bars = bars_of(random_volumes(seed), "8h")
    whole, end = members(bars, SETTINGS)
    first, state = members(bars.rows(0, cut), SETTINGS)
    saved = FoldState.from_bytes(state.to_bytes())
    second, after = members(bars.rows(cut, 240), SETTINGS, saved)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    assert after.digest() == end.digest()
    assert saved.digest() == state.digest()


@pytest.mark.parametrize("offset", [-1, 0, 1, 2])
def test_a_review_may_be_made_before_the_row_that_makes_it(offset: int) -> None:
    bars = bars_of(random_volumes(1), "8h")
    cut = 28 * 3 + offset
    _, state = members(bars.rows(0, cut), SETTINGS)
    early = refit(state, SETTINGS)
    assert state["due"][0] == (offset == 0)
    assert early["due"][0] == 0
    assert (early.digest() == state.digest()) == (offset != 0)
    assert refit(early, SETTINGS).digest() == early.digest()
    lazy, end = members(bars.rows(cut, 240), SETTINGS, state)
    found, after = members(bars.rows(cut, 240), SETTINGS, early)
    np.testing.assert_array_equal(found, lazy)
    assert after.digest() == end.digest()


@settings(max_examples=10)
@given(seed=st.integers(0, 999), cut=st.integers(1, 239))
def test_later_data_changes_no_earlier_membership(seed: int, cut: int) -> None:
    volumes = random_volumes(seed)
    changed = volumes.copy()
    changed[cut:] = random_volumes(seed + 1)[cut:, ::-1] * 50.0
    before = members(bars_of(volumes, "8h"), SETTINGS)[0]
    # The volumes of a row decide on the rows after it.
    np.testing.assert_array_equal(
        members(bars_of(changed, "8h"), SETTINGS)[0][: cut + 1], before[: cut + 1]
    )


@settings(max_examples=10)
@given(seed=st.integers(0, 999), order=st.permutations(range(6)))
def test_permuting_symbols_permutes_members(seed: int, order: list[int]) -> None:
    volumes = random_volumes(seed)
    np.testing.assert_array_equal(
        members(bars_of(volumes[:, order], "8h"), SETTINGS)[0],
        members(bars_of(volumes, "8h"), SETTINGS)[0][:, order],
    )


@pytest.mark.parametrize("power", [-30, 1, 30])
def test_volumes_in_another_unit_change_nothing(power: int) -> None:
    volumes = random_volumes(2)
    np.testing.assert_array_equal(
        members(bars_of(volumes * 2.0**power, "8h"), SETTINGS)[0],
        members(bars_of(volumes, "8h"), SETTINGS)[0],
    )


@pytest.mark.parametrize("review", ["week", "month"])
@pytest.mark.parametrize("seed", range(3))
def test_a_cold_start_has_the_same_members_after_its_warm_up(seed: int, review: str) -> None:
    rules = replace(SETTINGS, review=review, memory_reviews=2)
    bars = bars_of(random_volumes(seed, n_days=160), "8h")
    whole = members(bars, rules)[0]
    replayed = warm_up(rules, "8h")
    assert replayed == (9 + (7 if review == "week" else 31) * 2) * 3
    for start in range(0, bars.n_bars - replayed - 1, 17):
        cold = members(bars.rows(start, bars.n_bars), rules)[0]
        np.testing.assert_array_equal(cold[replayed:], whole[start + replayed :])


@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_there_are_never_more_than_the_most_and_all_of_them_traded(seed: int) -> None:
    bars = bars_of(random_volumes(seed), "8h")
    found = members(bars, SETTINGS)[0]
    assert found.sum(axis=1).max() <= 3
    assert not found[: 25 * 3, -1].any()


def test_no_rows_and_one_row_have_no_members() -> None:
    nothing, state = members(bars_of(np.empty((0, 3))), SETTINGS)
    assert nothing.shape == (0, 3)
    assert not members(bars_of(np.ones((1, 3))), SETTINGS, state)[0].any()


def test_quote_volume_is_close_times_volume_where_it_is_not_told() -> None:
    close = np.array([[2.0, 3.0], [4.0, np.nan]])
    volume = np.array([[10.0, 20.0], [np.nan, 30.0]])
    told = np.array([[7.0, np.nan], [8.0, np.nan]])

    def of(**fields: FloatArray) -> FloatArray:
        bars = bars_of(close)
        return quote_volumes(replace(bars, fields={"close": close, **fields}))

    np.testing.assert_array_equal(of(volume=volume), [[20.0, 60.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(of(quote_volume=told), told)
    np.testing.assert_array_equal(
        of(volume=volume, quote_volume=told), [[7.0, 60.0], [8.0, np.nan]]
    )
    np.testing.assert_array_equal(of(), [[1.0, 1.0], [1.0, np.nan]])


def test_bars_without_volumes_still_have_members() -> None:
    bars = replace(bars_of(np.ones((20, 2))), fields={"close": np.full((20, 2), 5.0)})
    assert members(bars, SETTINGS)[0][-1].all()


def test_the_note_on_survivorship_names_who_stopped() -> None:
    volumes = np.ones((5, 3))
    assert "all 3 symbols still trade" in survivorship_note(bars_of(volumes))
    volumes[3:, 1] = np.nan
    assert "1 of 3 symbols stop before the data's end (S01)" in survivorship_note(bars_of(volumes))


def test_a_state_of_another_fold_or_of_other_symbols_or_settings_is_refused() -> None:
    bars = bars_of(np.ones((5, 3)))
    _, state = members(bars, SETTINGS)
    with pytest.raises(SchemaMismatch, match="universe state must have members of shape"):
        members(bars_of(np.ones((5, 2))), SETTINGS, state)
    with pytest.raises(
        SchemaMismatch, match="universe state must be of the settings memory_reviews=4"
    ):
        members(bars, replace(SETTINGS, memory_reviews=4), state)
    with pytest.raises(SchemaMismatch, match="kind 'universe'"):
        members(bars, SETTINGS, FoldState("other", universe.VERSION, {}))
    with pytest.raises(SchemaMismatch, match="kind 'universe'"):
        refit(FoldState("other", universe.VERSION, {}), SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols_min": 0}, "must be 1 <= min <= max <= 25, were 0 and 3"),
        ({"symbols_min": 4}, "must be 1 <= min <= max <= 25, were 4 and 3"),
        ({"symbols_max": 26}, "must be 1 <= min <= max <= 25, were 2 and 26"),
        ({"review": "day"}, "review must be week or month, was 'day'"),
        ({"window_days": 0}, "window_days must be >= 1, was 0"),
        ({"listed_days_min": 0}, "listed_days_min must be >= 1, was 0"),
        ({"memory_reviews": 0}, "memory_reviews must be >= 1, was 0"),
    ],
)
def test_settings_name_what_they_refuse(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)
