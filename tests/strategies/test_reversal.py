"""The reversal forecast: its formula in pandas, and the gate that keeps it idle where reversing does not pay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quantcore.frames import Bars
from quantcore.kernels.residual import SEEN_MIN
from quantcore.types import FloatArray
from strategies.reversal import ReversalSettings, forecast, warm_up
from tests.strategies.market import (
    NO_EXITS,
    bars_of,
    daily_closes,
    random_bars,
    residual_returns,
    spread_over_rows,
)

SETTINGS = ReversalSettings(
    exposure_half_life_days=20.0,
    memory_half_life_days=30.0,
    round_trip_cost=0.0014,
    cap=2.0,
    exits=NO_EXITS,
)


def run(bars: Bars, settings: ReversalSettings = SETTINGS) -> FloatArray:
    return forecast(bars, settings)[0].to_numpy()


def shrink(estimate: float, pairs: float, towards: float) -> float:
    beyond = estimate - towards
    return towards + beyond * max(0.0, 1.0 - 1.0 / (beyond**2 * pairs))


def sums(scores: pd.Series[float], day: int, half_life: float) -> FloatArray:
    """Weighted sums of products, of squares and of pairs up to a day, of days whose day before is known."""
    both = pd.DataFrame({"now": scores, "before": scores.shift(1)}).iloc[: day + 1].dropna()
    weights = 0.5 ** (np.arange(len(both))[::-1] / half_life)
    terms = [both["now"] * both["before"], both["before"] ** 2, both["now"] * 0.0 + 1.0]
    return np.array([(weights * term.to_numpy()).sum() for term in terms])


def in_pandas(bars: Bars, settings: ReversalSettings) -> FloatArray:
    """The formula again, day by day."""
    residuals = residual_returns(daily_closes(bars), settings.exposure_half_life_days)
    squares = (residuals**2).ewm(halflife=settings.exposure_half_life_days, ignore_na=True).mean()
    vols = (squares**0.5).ffill().shift(1)  # a move is not measured by itself
    seen = residuals.notna().cumsum().shift(1, fill_value=0)
    scores = residuals / vols.where((vols > 0.0) & (seen >= SEEN_MIN))
    moves, z = residuals.to_numpy(), scores.to_numpy()
    views = np.full(moves.shape, np.nan)
    for d in range(len(moves)):
        own = np.array(
            [sums(scores[i], d, settings.memory_half_life_days) for i in range(bars.n_symbols)]
        )
        product, square, pairs = own.sum(axis=0)
        mean = shrink(product / square, pairs, 0.0) if square > 0.0 else 0.0
        for i, (product, square, pairs) in enumerate(own):
            rho = shrink(product / square, pairs, mean) if square > 0.0 else mean
            pays = -rho * abs(moves[d, i]) > settings.round_trip_cost
            if not np.isnan(z[d, i]):
                views[d, i] = -np.clip(z[d, i] / settings.cap, -1.0, 1.0) if pays else 0.0
    return spread_over_rows(pd.DataFrame(views, index=residuals.index), bars)


@pytest.mark.parametrize("cost", [0.0, 0.0014, 0.01])
@pytest.mark.parametrize("interval", ["8h", "1d"])
def test_forecast_is_the_formula(cost: float, interval: str) -> None:
    settings = replace(SETTINGS, round_trip_cost=cost)
    bars = random_bars(1, interval=interval)
    found = run(bars, settings)
    np.testing.assert_allclose(found, in_pandas(bars, settings), rtol=1e-9, atol=1e-12)
    assert (np.abs(found) > 0.1).any()
    assert (found == 0.0).any()


def beside_a_market(*residuals: FloatArray) -> Bars:
    """Daily bars of symbols whose returns are a random market and these, which sum to nothing with the last's."""
    columns = np.column_stack([*residuals, -np.sum(residuals, axis=0)])
    market = np.random.default_rng(2).normal(0.0, 0.01, (len(columns), 1))
    closes = 100.0 * np.cumprod(1.0 + market + columns, axis=0)
    return bars_of(np.asarray(closes, dtype=np.float64), interval="1d")


def alternating(size: float, n_days: int = 120) -> FloatArray:
    return np.asarray(size * (-1.0) ** np.arange(n_days), dtype=np.float64)


def test_a_symbol_that_reverses_by_more_than_costs_is_held_against_its_last_move() -> None:
    moves = alternating(0.02)
    found = run(beside_a_market(moves, 0.0 * moves))[-40:, 0]
    np.testing.assert_allclose(found, -0.5 * np.sign(moves[-40:]), atol=0.3)


def test_a_tiny_first_move_does_not_shut_the_gate() -> None:
    moves = alternating(0.02)
    moves[0] = 1e-6
    found = run(beside_a_market(moves, 0.0 * moves))[-40:, 0]
    assert (found != 0.0).all()


def test_a_symbol_that_reverses_by_less_than_costs_has_no_position() -> None:
    bars = beside_a_market(alternating(0.02), 0.0 * alternating(0.02))
    assert (run(bars, replace(SETTINGS, round_trip_cost=0.005))[-40:, 0] != 0.0).all()
    assert (run(bars, replace(SETTINGS, round_trip_cost=0.03))[-40:, 0] == 0.0).all()


def test_a_symbol_that_continues_has_no_position_even_without_costs() -> None:
    moves = np.repeat(alternating(0.02, 12), 10)
    found = run(beside_a_market(moves, 0.0 * moves), replace(SETTINGS, round_trip_cost=0.0))
    assert (found[30:, 0] == 0.0).all()


def test_one_symbol_may_reverse_while_another_continues() -> None:
    reverses, continues = alternating(0.02), np.repeat(alternating(0.02, 12), 10)
    bars = beside_a_market(reverses, -0.5 * reverses + continues)
    found = run(bars)[-40:]
    assert (found[:, 0] != 0.0).all()
    assert (found[:, 1] == 0.0).mean() > 0.9


def test_noise_is_mostly_left_alone() -> None:
    noise = np.random.default_rng(3).normal(0.0, 0.02, (300, 6))
    found = run(beside_a_market(*noise.T))
    assert (found[60:] == 0.0).mean() > 0.5


@pytest.mark.parametrize("seed", range(2))
def test_higher_costs_only_take_positions_away(seed: int) -> None:
    bars = random_bars(seed)
    free = run(bars, replace(SETTINGS, round_trip_cost=0.0))
    last = free
    for cost in (0.001, 0.004, 0.02, 0.5):
        dearer = run(bars, replace(SETTINGS, round_trip_cost=cost))
        kept = dearer != 0.0
        np.testing.assert_array_equal(dearer[kept], free[kept])
        assert (np.nan_to_num(dearer[last == 0.0]) == 0.0).all()
        last = dearer
    assert (np.nan_to_num(last) == 0.0).all()


def test_a_position_is_held_until_the_next_day_has_closed() -> None:
    closes = beside_a_market(alternating(0.02), 0.0 * alternating(0.02)).array("close")
    found = run(bars_of(np.repeat(closes, 6, axis=0)))[:, 0]
    by_day = found[5:][: len(found) // 6 * 6 - 6].reshape(-1, 6)
    np.testing.assert_array_equal(by_day, np.repeat(by_day[:, :1], 6, axis=1))
    assert (np.diff(by_day[-20:, 0]) != 0.0).all()


def test_first_view_comes_once_the_exposure_is_known() -> None:
    closes = np.exp(np.random.default_rng(4).normal(0, 0.05, (40, 3)).cumsum(axis=0))
    closes[:11, 2] = np.nan
    seen = ~np.isnan(run(bars_of(closes, interval="1d")))
    first = int(SEEN_MIN) + 1
    assert seen.argmax(axis=0).tolist() == [first, first, 11 + first]
    assert seen[11 + first :].all()


def test_a_day_without_a_close_takes_the_view_of_two_days() -> None:
    closes = np.exp(np.random.default_rng(5).normal(0, 0.05, (40, 3)).cumsum(axis=0))
    closes[30, 0] = np.nan
    missing = np.isnan(run(bars_of(closes, interval="1d"))[25:])
    assert np.flatnonzero(missing[:, 0]).tolist() == [5, 6]
    assert not missing[:, 1:].any()


def test_warm_up_follows_the_longer_half_life() -> None:
    assert warm_up(SETTINGS, "4h") == (int(np.ceil(30 * np.log2(100.0))) + 2) * 6
    settings = replace(SETTINGS, exposure_half_life_days=60.0)
    assert warm_up(settings, "1d") == int(np.ceil(60 * np.log2(100.0))) + 2


@pytest.mark.parametrize("name", ["exposure_half_life_days", "memory_half_life_days", "cap"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_settings_name_what_they_refuse(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be > 0, was {value}"):
        replace(SETTINGS, **{name: value})  # type: ignore[arg-type] # one field at a time


@pytest.mark.parametrize("value", [-0.001, np.nan])
def test_negative_costs_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"^round_trip_cost must be >= 0, was {value}"):
        replace(SETTINGS, round_trip_cost=value)
