"""Pairs: the whole rule again with the tests of statsmodels, and a relation's life by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.timegrid import DAY_US, interval_us
from quantcore.types import Array, FloatArray
from strategies import pairs
from strategies.pairs import PairsSettings, find_relations, forecast, refit, warm_up
from tests.strategies.market import NO_EXITS, bars_of, daily_closes, random_bars

SETTINGS = PairsSettings(
    window_days=60,
    review="week",
    lags=1,
    significance=0.1,
    half_life_max_days=20.0,
    hedge_min=0.33,
    hedge_max=3.0,
    relations_max=3,
    entry=1.0,
    exit=0.2,
    stop=2.2,
    exits=NO_EXITS,
)


def run(bars: Bars, settings: PairsSettings = SETTINGS) -> FloatArray:
    return forecast(bars, settings)[0].to_numpy()


def relations_of(window: FloatArray, settings: PairsSettings) -> list[dict[str, Any]]:
    """The relations of a window of daily closes, the strongest first."""
    from statsmodels.tsa.stattools import coint

    logs = np.log(window)
    known = np.flatnonzero(~np.isnan(window).any(axis=0))
    found = []
    for pair in itertools.combinations(known.tolist(), 2):
        y, x, statistic, p_value = min(
            (
                (y, x, *coint(logs[:, y], logs[:, x], maxlag=settings.lags, autolag=None)[:2])
                for y, x in (pair, pair[::-1])
            ),
            key=lambda each: float(each[2]),
        )
        hedge, intercept = np.polyfit(logs[:, x], logs[:, y], 1)
        spread = logs[:, y] - intercept - hedge * logs[:, x]
        phi = (spread[1:] * spread[:-1]).sum() / (spread[:-1] ** 2).sum()
        days = np.log(0.5) / np.log(phi) if 0.0 < phi < 1.0 else np.inf
        if (
            p_value <= settings.significance
            and settings.hedge_min <= hedge <= settings.hedge_max
            and 1.0 <= days <= settings.half_life_max_days
        ):
            risks = np.diff(logs[:, [y, x]], axis=0).std(axis=0) * [1.0, hedge]
            found.append(
                {
                    "statistic": statistic, "symbols": (y, x), "intercept": intercept, "hedge": hedge,
                    "deviation": np.sqrt((spread**2).sum() / (len(spread) - 2)), "half_life": days,
                    "legs": risks / risks.max(), "side": 0, "age": 0.0, "stopped": False,
                }
            )  # fmt: skip
    taken: list[int] = []
    chosen: list[dict[str, Any]] = []
    for relation in sorted(found, key=lambda each: float(each["statistic"])):
        if len(chosen) < settings.relations_max and all(
            taken.count(s) < 2 for s in relation["symbols"]
        ):
            chosen.append(relation)
            taken.extend(relation["symbols"])
    return chosen


def move(relation: dict[str, Any], z: float, bar_days: float, settings: PairsSettings) -> None:
    """Enter, hold or leave one spread."""
    if relation["side"]:
        relation["age"] += bar_days
        if abs(z) > settings.stop or relation["age"] > 2 * relation["half_life"]:
            relation["side"], relation["stopped"] = 0, True
        elif -relation["side"] * z <= settings.exit:
            relation["side"] = 0
    if not relation["side"] and not relation["stopped"] and settings.entry < abs(z) < settings.stop:
        relation["side"], relation["age"] = -int(np.sign(z)), 0.0


def in_python(bars: Bars, settings: PairsSettings) -> FloatArray:
    """The rule again, row by row."""
    daily, closes = daily_closes(bars), bars.array("close")
    bar_days = interval_us(bars.interval) / DAY_US
    index, every = bars.index, settings.review
    begins = (index.hour == 0) & ((index.day_of_week == 0) if every == "week" else (index.day == 1))
    result = np.where(np.isnan(closes), np.nan, 0.0)
    relations: list[dict[str, Any]] = []
    for t in range(bars.n_bars):
        if t and begins[t - 1]:
            window = daily.loc[: bars.ts_us[t - 1] // DAY_US - 1].to_numpy()[
                -settings.window_days :
            ]
            old = {r["symbols"]: r for r in relations if r["side"]}
            relations = (
                relations_of(window, settings) if len(window) == settings.window_days else []
            )
            for relation in relations:
                if relation["symbols"] in old:
                    relation.update({k: old[relation["symbols"]][k] for k in ("side", "age")})
        for relation in relations:
            y, x = relation["symbols"]
            log_y, log_x = np.log(closes[t, [y, x]])
            z = (log_y - relation["intercept"] - relation["hedge"] * log_x) / relation["deviation"]
            move(relation, z, bar_days, settings)
            result[t, y] += relation["side"] * relation["legs"][0] / 2
            result[t, x] -= relation["side"] * relation["legs"][1] / 2
    return result


@pytest.mark.parametrize("review", ["week", "month"])
@pytest.mark.parametrize("seed", range(2))
def test_forecast_is_the_rule(seed: int, review: str) -> None:
    settings = replace(SETTINGS, review=review)
    bars = random_bars(seed, n_days=150)
    found = run(bars, settings)
    np.testing.assert_allclose(found, in_python(bars, settings), rtol=1e-7, atol=1e-9)
    assert (np.abs(found) > 0.1).any()


def test_forecast_is_the_rule_with_other_lags_and_bounds() -> None:
    settings = replace(
        SETTINGS, lags=0, significance=0.2, relations_max=8, half_life_max_days=6.0, hedge_max=1.4
    )
    bars = random_bars(3, interval="8h", n_days=200)
    found = run(bars, settings)
    np.testing.assert_allclose(found, in_python(bars, settings), rtol=1e-7, atol=1e-9)
    assert (np.abs(found) > 0.1).any()


class Spread:
    """One relation of two symbols, log y - log x in hundredths, with a half-life of three days and bars of a day."""

    def __init__(self) -> None:
        self.relations = np.array([[0.0, 1.0, 0.0, 1.0, 0.01, 3.0, 1.0, -0.5]])
        self.places = np.zeros((1, 3))

    def sides(self, *zs: float) -> list[float]:
        """Return the sides held at spreads of so many deviations, NaN a missing close of y."""
        result = []
        for z in zs:
            row = np.empty(3)
            closes = np.array([np.exp(0.01 * z), 1.0, 7.0])
            levels = np.array([2.0, 0.5, 4.0])
            pairs.step(closes, 1.0, levels, self.relations, self.places, row)
            assert row[2] == 0.0
            assert np.isnan(row[0]) == np.isnan(z)
            if not np.isnan(z):
                assert row[1] == -0.5 * row[0]
            result.append(float(row[1] / -0.25))
        return result


def test_a_spread_is_sold_above_the_entry_and_held_until_it_is_within_the_exit() -> None:
    assert Spread().sides(1.9, 2.1, 3.0, 1.0, 0.6, 0.4, 1.9) == [0, -1, -1, -1, -1, 0, 0]


def test_a_spread_is_bought_below_the_entry_and_held_until_it_is_within_the_exit() -> None:
    assert Spread().sides(-1.9, -2.1, -3.0, -1.0, -0.6, -0.4) == [0, 1, 1, 1, 1, 0]


def test_a_spread_that_left_may_be_entered_again() -> None:
    assert Spread().sides(2.1, 0.0, 2.1, 0.4, -2.1) == [-1, 0, -1, 0, 1]


def test_a_spread_that_crosses_its_mean_to_beyond_the_entry_is_turned_over() -> None:
    assert Spread().sides(2.1, -2.1) == [-1, 1]


def test_a_spread_beyond_the_stop_is_left_and_dropped() -> None:
    assert Spread().sides(2.1, 4.1, 3.0, 0.0, 2.1, -2.1) == [-1, 0, 0, 0, 0, 0]


def test_a_spread_is_left_and_dropped_after_two_half_lives() -> None:
    assert Spread().sides(2.1, *[1.5] * 6, 1.5, 2.1, 0.0, 2.1) == [-1] * 7 + [0] * 4


def test_a_spread_is_not_entered_beyond_the_stop() -> None:
    assert Spread().sides(4.1, 5.0, 3.9) == [0, 0, -1]


def test_without_one_of_the_closes_the_other_leg_stays_and_nothing_is_entered() -> None:
    spread = Spread()
    assert spread.sides(np.nan, 2.1, np.nan, 1.0, 0.4, np.nan) == [0, -1, -1, -1, 0, 0]


def test_time_ends_a_spread_also_while_a_close_is_missing() -> None:
    assert Spread().sides(2.1, *[np.nan] * 7, 2.1) == [-1] * 7 + [0, 0]


def test_no_relation_is_no_position() -> None:
    row = np.empty(2)
    pairs.step(np.ones(2), 1.0, np.array([2.0, 0.5, 4.0]), np.full((2, 8), -1.0), np.zeros((2, 3)), row)  # fmt: skip
    assert (row == 0.0).all()


def with_places(state: FoldState, places: FloatArray) -> FoldState:
    arrays: dict[str, Array] = {**state.arrays, "places": places}
    return FoldState(state.kind, state.version, arrays)


def before_a_test(bars: Bars) -> tuple[int, FoldState]:
    """Return a row after the twelfth Monday's test, which found a relation that the next test finds again."""
    due = np.flatnonzero((bars.index.hour == 0) & (bars.index.day_of_week == 0))
    for k in range(9, len(due) - 1):
        _, state = forecast(bars.rows(0, due[k] + 2), SETTINGS)
        _, later = forecast(bars.rows(due[k] + 2, due[k + 1] + 1), SETTINGS, state)
        now, then = state["relations"][0], refit(later, SETTINGS)["relations"][0]
        if now[0] >= 0 and (now[:2] == then[:2]).all():
            return int(due[k]) + 2, state
    raise AssertionError


def test_a_dropped_relation_has_no_position_until_it_is_tested_anew() -> None:
    bars = random_bars(4, n_days=150)
    start, state = before_a_test(bars)
    places = np.zeros_like(state["places"])
    places[:, 2] = 1.0
    rest = bars.rows(start, bars.n_bars)
    found = forecast(rest, SETTINGS, with_places(state, places))[0].to_numpy()
    due = int(np.flatnonzero((rest.index.hour == 0) & (rest.index.day_of_week == 0))[0])
    assert (np.nan_to_num(found[: due + 1]) == 0.0).all()
    assert (np.nan_to_num(found[due + 1 :]) != 0.0).any()


def test_a_spread_that_is_held_goes_on_if_its_relation_is_found_again() -> None:
    bars = random_bars(4, n_days=150)
    start, state = before_a_test(bars)
    rest = bars.rows(start, bars.n_bars)
    due = int(np.flatnonzero((rest.index.hour == 0) & (rest.index.day_of_week == 0))[0])
    _, later = forecast(rest.rows(0, due + 1), SETTINGS, state)
    places = np.zeros_like(later["places"])
    places[0] = [-1.0, 2.5, 0.0]
    after = refit(with_places(later, places), SETTINGS)
    np.testing.assert_array_equal(after["places"][0], places[0])
    assert (after["relations"][0] != later["relations"][0]).any()
    places[0] = [0.0, 2.5, 1.0]
    anew = refit(with_places(later, places), SETTINGS)
    assert (anew["places"] == 0.0).all()


def test_a_test_that_is_not_due_changes_nothing() -> None:
    _, state = forecast(random_bars(0, n_days=70).rows(0, 419), SETTINGS)
    assert state["due"][0] == 0
    assert refit(state, SETTINGS).digest() == state.digest()


def test_a_test_forgets_what_came_before_its_window() -> None:
    bars = random_bars(5)
    due = np.flatnonzero((bars.index.hour == 0) & (bars.index.day_of_week == 0))
    at = int(due[-1]) + 1
    whole = refit(forecast(bars.rows(0, at), SETTINGS)[1], SETTINGS)
    short = refit(forecast(bars.rows(at - 60 * 6, at), SETTINGS)[1], SETTINGS)
    np.testing.assert_array_equal(whole["relations"], short["relations"])
    assert whole["relations"][0, 0] >= 0


def test_no_symbol_is_in_more_than_two_relations() -> None:
    rng = np.random.default_rng(6)
    common = rng.normal(0, 0.03, (120, 1)).cumsum(axis=0)
    window = np.exp(common + rng.normal(0, 0.01, (120, 6)))
    settings = replace(SETTINGS, relations_max=15, half_life_max_days=60.0, lags=0)
    noisy = np.empty_like(window)
    held = np.zeros(6)
    for t in range(120):
        held = 0.7 * held + rng.normal(0, 0.01, 6)
        noisy[t] = np.exp(common[t] + held)
    found = find_relations(noisy, settings)
    found = found[found[:, 0] >= 0]
    assert len(found) >= 5
    assert np.bincount(found[:, :2].astype(int).ravel()).max() == 2
    assert found.shape[1] == 8
    assert len(find_relations(noisy, replace(settings, relations_max=2))) == 2
    np.testing.assert_array_equal(
        find_relations(noisy, replace(settings, relations_max=2)), found[:2]
    )


def test_a_relation_needs_every_close_of_its_window() -> None:
    rng = np.random.default_rng(7)
    common = rng.normal(0, 0.03, 60).cumsum()
    held = np.zeros(60)
    for t in range(1, 60):
        held[t] = 0.6 * held[t - 1] + rng.normal(0, 0.01)
    window = np.exp(np.column_stack([common, common + held]))
    assert find_relations(window, SETTINGS)[0, 0] >= 0
    window[30, 1] = np.nan
    assert (find_relations(window, SETTINGS) == -1.0).all()


def test_two_unrelated_walks_and_constant_prices_have_no_relation() -> None:
    rng = np.random.default_rng(8)
    walks = np.exp(rng.normal(0, 0.03, (60, 2)).cumsum(axis=0))
    walks = np.column_stack([walks, np.full(60, 3.0), np.full(60, 4.0)])
    assert (find_relations(walks, replace(SETTINGS, significance=0.001)) == -1.0).all()


def test_without_a_relation_the_forecast_is_zero() -> None:
    closes = np.exp(np.random.default_rng(9).normal(0, 0.03, (50, 3)).cumsum(axis=0))
    assert (run(bars_of(closes, interval="1d")) == 0.0).all()


def test_a_state_of_another_window_is_refused() -> None:
    bars = random_bars(0, n_days=3)
    _, state = forecast(bars, SETTINGS)
    with pytest.raises(SchemaMismatch, match=r"settings PairsSettings\(window_days=61, was of"):
        forecast(bars, replace(SETTINGS, window_days=61), state)
    with pytest.raises(SchemaMismatch, match="kind 'pairs'"):
        refit(FoldState("other", 1, {}), SETTINGS)


def test_warm_up_is_the_window_and_two_months() -> None:
    assert warm_up(SETTINGS, "4h") == (60 + 62) * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_days": 59}, "window_days must be >= 60, was 59"),
        ({"review": "day"}, "review must be week or month, was 'day'"),
        ({"lags": -1}, "lags must be >= 0, was -1"),
        ({"significance": 0.0}, r"significance must be in \(0, 0\.2\], was 0\.0"),
        ({"significance": 0.3}, r"significance must be in \(0, 0\.2\], was 0\.3"),
        ({"half_life_max_days": 1.0}, r"half_life_max_days must be > 1, was 1\.0"),
        ({"hedge_min": 0.0}, r"hedge_min and hedge_max must be 0 < min < max, were 0\.0 and 3\.0"),
        ({"hedge_max": 0.33}, "hedge_min and hedge_max must be 0 < min < max, were 0.33 and 0.33"),
        ({"relations_max": 0}, "relations_max must be >= 1, was 0"),
        ({"exit": -0.1}, r"exit, entry and stop must be .*, were -0\.1, 1\.0 and 2\.2"),
        ({"exit": 1.0}, r"exit, entry and stop must be .*, were 1\.0, 1\.0 and 2\.2"),
        ({"stop": 1.0}, r"exit, entry and stop must be .*, were 0\.2, 1\.0 and 1\.0"),
    ],
)
def test_settings_name_what_they_refuse(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)


def test_two_multiples_of_one_price_are_no_pair() -> None:
    walk = np.cumprod(
        1.0 + np.random.default_rng(1).normal(0.0, 0.01, (SETTINGS.window_days, 1)), axis=0
    )
    relations = find_relations(np.hstack([walk, 2.0 * walk]), SETTINGS)
    assert (relations[:, 0] == -1.0).all()
