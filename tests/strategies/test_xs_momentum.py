"""Cross-sectional momentum: its formula in pandas, when it has a view, and what it is neutral to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quantcore.errors import SchemaMismatch
from quantcore.frames import Bars
from quantcore.types import FloatArray
from strategies.xs_momentum import XsMomentumSettings, forecast, warm_up
from tests.strategies.market import (
    LATE_DAYS,
    NO_EXITS,
    bars_of,
    daily_closes,
    random_bars,
    residual_returns,
    spread_over_rows,
)

SETTINGS = XsMomentumSettings(
    horizon_days=[3, 7], exposure_half_life_days=20.0, symbols_min=3, exits=NO_EXITS
)


def run(bars: Bars, settings: XsMomentumSettings = SETTINGS) -> FloatArray:
    return forecast(bars, settings)[0].to_numpy()


def in_pandas(bars: Bars, settings: XsMomentumSettings) -> FloatArray:
    """The formula again."""
    residuals = residual_returns(daily_closes(bars), settings.exposure_half_life_days)
    squares = (residuals**2).ewm(halflife=settings.exposure_half_life_days, ignore_na=True).mean()
    views = pd.DataFrame(0.0, index=residuals.index, columns=residuals.columns)
    for n in settings.horizon_days:
        scores = residuals.rolling(n).sum() / (squares * n) ** 0.5
        known = scores.count(axis=1)
        ranks = 2.0 * scores.rank(axis=1).sub(1.0).div(known - 1, axis=0) - 1.0
        views += ranks[known >= settings.symbols_min] / len(settings.horizon_days)
    return spread_over_rows(views, bars)


@pytest.mark.parametrize("horizons", [[3, 7], [2], [5, 10, 28]])
@pytest.mark.parametrize("interval", ["8h", "1d"])
def test_forecast_is_the_formula(horizons: list[int], interval: str) -> None:
    settings = replace(SETTINGS, horizon_days=horizons)
    bars = random_bars(len(horizons), interval=interval)
    found = run(bars, settings)
    np.testing.assert_allclose(found, in_pandas(bars, settings), rtol=1e-9, atol=1e-12)
    assert (np.abs(found) > 0.5).any()


def test_views_of_a_row_are_in_balance() -> None:
    bars = random_bars(3)
    found = run(bars)[(~np.isnan(bars.array("close"))).all(axis=1)]
    known = ~np.isnan(found).any(axis=1)
    assert known.sum() > 100
    np.testing.assert_allclose(found[known].sum(axis=1), 0.0, atol=1e-12)


def test_a_view_holds_until_the_next_day_has_closed() -> None:
    closes = random_bars(4, n_symbols=4).array("close")[:, :3]
    found = run(bars_of(pd.DataFrame(closes).ffill().to_numpy()))
    moved = np.flatnonzero((np.diff(found, axis=0) != 0.0).any(axis=1) & ~np.isnan(found[:-1, 0]))
    assert len(moved) > 10
    assert ((moved + 2) % 6 == 0).all()  # rows are counted from the day's first


def test_first_view_comes_with_a_return_for_every_day_of_the_longest_horizon() -> None:
    closes = np.exp(np.random.default_rng(5).normal(0, 0.05, (40, 4)).cumsum(axis=0))
    closes[:11, 3] = np.nan
    seen = ~np.isnan(run(bars_of(closes, interval="1d")))
    assert seen.argmax(axis=0).tolist() == [7, 7, 7, 11 + 7]


def test_nobody_has_a_view_while_fewer_than_the_least_are_ranked() -> None:
    bars = random_bars(6, n_symbols=4)
    found = run(bars, replace(SETTINGS, symbols_min=4))
    assert np.isnan(found[: LATE_DAYS * 6]).all()
    assert not np.isnan(found).all()


def test_a_day_without_a_close_takes_the_view_until_its_returns_are_past() -> None:
    closes = np.exp(np.random.default_rng(7).normal(0, 0.05, (60, 4)).cumsum(axis=0))
    closes[30, 0] = np.nan
    found = run(bars_of(closes, interval="1d"))
    # Two returns are missing, of the day itself and of the next; a horizon of seven looks back six.
    assert np.flatnonzero(np.isnan(found[8:, 0])).tolist() == list(range(22, 22 + 8))
    assert not np.isnan(found[8:, 1:]).any()


def test_the_symbol_that_rose_most_beside_the_market_is_first() -> None:
    rng = np.random.default_rng(8)
    market = rng.normal(-0.01, 0.03, (60, 1))
    drift = np.array([0.01, 0.0, -0.01])
    closes = np.exp((market + drift + rng.normal(0.0, 1e-4, (60, 3))).cumsum(axis=0))
    assert run(bars_of(closes, interval="1d"))[-1].tolist() == [1.0, 0.0, -1.0]


def test_a_symbol_that_never_moved_off_the_market_has_no_view() -> None:
    closes = np.ones((40, 3))
    assert np.isnan(run(bars_of(closes, interval="1d"))).all()


def test_a_state_of_other_horizons_is_refused() -> None:
    bars = random_bars(0, n_days=3)
    _, state = forecast(bars, SETTINGS)
    with pytest.raises(
        SchemaMismatch, match=r"xs_momentum state must be of the settings 8\], was of"
    ):
        forecast(bars, replace(SETTINGS, horizon_days=[3, 8]), state)


def test_a_cold_start_differs_little_after_its_warm_up() -> None:
    settings = replace(SETTINGS, exposure_half_life_days=6.0)
    bars = random_bars(9, n_days=150)
    replayed = warm_up(settings, "4h")
    cold = run(bars.rows(bars.n_bars - replayed - 60, bars.n_bars), settings)[-60:]
    difference = np.abs(cold - run(bars, settings)[-60:])
    assert np.nanmean(difference) < 0.05
    assert replayed == (7 + 2 + 40) * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon_days": []}, r"horizon_days must be increasing numbers in \[2, 28\], were \[\]"),
        ({"horizon_days": [1, 7]}, r"horizon_days must be .*, were \[1, 7\]"),
        ({"horizon_days": [7, 7]}, r"horizon_days must be .*, were \[7, 7\]"),
        ({"horizon_days": [7, 29]}, r"horizon_days must be .*, were \[7, 29\]"),
        ({"exposure_half_life_days": 0.0}, r"exposure_half_life_days must be > 0, was 0\.0"),
        ({"exposure_half_life_days": np.nan}, "exposure_half_life_days must be > 0, was nan"),
        ({"symbols_min": 1}, "symbols_min must be >= 2, was 1"),
    ],
)
def test_settings_name_what_they_refuse(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)  # type: ignore[arg-type] # one field at a time
