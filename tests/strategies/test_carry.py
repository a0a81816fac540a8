"""The carry forecast: its formula as weighted sums in numpy, and whose funding is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, interval_us
from quantcore.types import FloatArray
from strategies.carry import CarrySettings, forecast, warm_up
from tests.strategies.market import NO_EXITS, bars_of, random_bars

SETTINGS = CarrySettings(
    half_life_days=2.0, stale_hours=24.0, outlier_limit=1.5, cap=1.2, symbols_min=3, exits=NO_EXITS
)
HOURS_PER_YEAR = 24 * 365


def run(bars: Bars, settings: CarrySettings = SETTINGS) -> FloatArray:
    return forecast(bars, settings)[0].to_numpy()


def level(rates: FloatArray, bar_hours: float, settings: CarrySettings) -> FloatArray:
    """One symbol's funding per year after each row, as a sum over all settlements so far."""
    result = np.full(len(rates), np.nan)
    at = np.flatnonzero(~np.isnan(rates))
    hours = np.diff(at) * bar_hours
    usable = hours <= settings.stale_hours
    per_year = rates[at[1:]] / hours * HOURS_PER_YEAR
    own = 1.0 - 0.5 ** (hours / (24 * settings.half_life_days))
    for t in range(len(rates)):
        n = np.searchsorted(at, t, side="right") - 1  # intervals that have ended
        if n < 1 or not usable[n - 1] or (t - at[n]) * bar_hours > settings.stale_hours:
            continue
        age = (at[n] - at[1 : n + 1]) * bar_hours
        weights = usable[:n] * own[:n] * 0.5 ** (age / (24 * settings.half_life_days))
        result[t] = (weights * per_year[:n]).sum() / weights.sum()
    return result


def in_numpy(bars: Bars, settings: CarrySettings) -> FloatArray:
    """The formula again, row by row."""
    hours = interval_us(bars.interval) / HOUR_US
    rates, closes = bars.array("funding_rate"), bars.array("close")
    levels = np.column_stack([level(column, hours, settings) for column in rates.T])
    levels[np.isnan(closes)] = np.nan
    result = np.full(closes.shape, np.nan)
    for t, row in enumerate(levels):
        known = ~np.isnan(row)
        if known.sum() < settings.symbols_min:
            continue
        median = np.median(row[known])
        band = settings.outlier_limit * 1.4826 * np.median(np.abs(row[known] - median))
        cut = np.clip(row[known], median - band, median + band) if band > 0 else row[known]
        scores = (cut - cut.mean()) / cut.std() if np.ptp(cut) > 0 else np.zeros(len(cut))
        result[t, known] = -np.clip(scores / settings.cap, -1.0, 1.0)
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("change", [{}, {"outlier_limit": 9.0, "cap": 0.6}, {"stale_hours": 9.0}])
def test_forecast_is_the_formula(seed: int, change: dict[str, float]) -> None:
    settings = replace(SETTINGS, **change)  # type: ignore[arg-type] # floats only
    bars = random_bars(seed)
    found = run(bars, settings)
    np.testing.assert_allclose(found, in_numpy(bars, settings), rtol=1e-9, atol=1e-10)
    assert (found > 0.5).any()
    assert (found < -0.5).any()


def funded(rates: FloatArray) -> Bars:
    """Bars of 8 hours with these funding rates and closes that do not matter."""
    return bars_of(np.full(rates.shape, 5.0), interval="8h", funding_rate=rates)


def test_whose_longs_pay_most_is_sold_and_whose_longs_receive_is_bought() -> None:
    found = run(funded(np.tile([3e-4, 1e-4, -1e-4], (10, 1))))[-1]
    np.testing.assert_allclose(found, [-1.0, 0.0, 1.0], atol=1e-12)


def test_the_same_funding_of_all_gives_no_view_for_anybody() -> None:
    found = run(funded(np.full((10, 4), 1e-4)))
    assert (found[1:] == 0.0).all()


def test_funding_is_known_from_the_second_settlement_until_it_is_stale() -> None:
    rates = np.tile([3e-4, 1e-4, -1e-4, 5e-4], (20, 1))
    rates[:5, 3] = np.nan
    rates[12:16, 3] = np.nan
    seen = ~np.isnan(run(funded(rates))[:, 3])
    # Settled in row 5; silent after row 11: 24 hours on, in row 14, still known. Row 16 is 40 hours after row 11.
    assert np.flatnonzero(seen).tolist() == [*range(6, 15), 17, 18, 19]


def test_nobody_has_a_view_while_fewer_than_the_least_are_known() -> None:
    rates = np.tile([3e-4, 1e-4, -1e-4], (10, 1))
    rates[5:, 0] = np.nan
    found = run(funded(rates))
    assert not np.isnan(found[1:8]).any()
    assert np.isnan(found[8:]).all()


def test_a_symbol_without_a_close_has_no_part_in_the_others_scores() -> None:
    rates = np.random.default_rng(1).normal(0.0, 1e-4, (10, 4))
    closes = np.full(rates.shape, 5.0)
    closes[:, 3] = np.nan
    with_fourth = run(bars_of(closes, interval="8h", funding_rate=rates))
    without = run(funded(rates[:, :3]))
    np.testing.assert_array_equal(with_fourth[:, :3], without)
    assert np.isnan(with_fourth[:, 3]).all()


def test_prices_do_not_matter() -> None:
    bars = random_bars(2)
    others = random_bars(3).array("close")
    both = ~np.isnan(bars.array("close")) & ~np.isnan(others)
    shown = [
        run(bars_of(np.where(both, closes, np.nan), funding_rate=bars.array("funding_rate")))
        for closes in (bars.array("close"), others)
    ]
    np.testing.assert_array_equal(shown[0], shown[1])


def test_bars_without_funding_give_no_view() -> None:
    assert np.isnan(run(bars_of(np.full((10, 4), 5.0)))).all()


def test_a_cold_start_differs_little_after_its_warm_up() -> None:
    bars = random_bars(4)
    replayed = warm_up(SETTINGS, "4h")
    cold = run(bars.rows(bars.n_bars - replayed - 60, bars.n_bars))[-60:]
    assert np.nanmean(np.abs(cold - run(bars)[-60:])) < 0.02
    assert replayed == int(np.ceil(2 * 24 * np.log2(100.0) / 4))


@pytest.mark.parametrize("name", ["half_life_days", "stale_hours", "outlier_limit", "cap"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_settings_name_what_they_refuse(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be > 0, was {value}"):
        replace(SETTINGS, **{name: value})  # type: ignore[arg-type] # one field at a time


def test_a_cross_section_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="symbols_min must be >= 2, was 1"):
        replace(SETTINGS, symbols_min=1)
