"""The trend forecast: its formula in pandas, its size and speed on a random walk, and the guarantees of a fold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.errors import SchemaMismatch
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels.fields import Fields
from quantcore.types import FloatArray
from strategies import trend
from strategies.trend import TrendSettings, forecast, warm_up

NO_EXITS = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None)
SETTINGS = TrendSettings(
    fast=2, slow=5, speeds=2, volatility_half_life=6.0, cap=2.0, exits=NO_EXITS
)
FIRST = 10
"""Closes before the first forecast of `SETTINGS`: the slowest span."""
UNCAPPED = 1e9


def hourly(closes: FloatArray) -> Bars:
    symbols = tuple(f"S{i:02}" for i in range(closes.shape[1]))
    ts_us = (np.arange(len(closes), dtype=np.int64) + 1) * 3_600_000_000
    return Bars(interval="1h", ts_us=ts_us, symbols=symbols, fields={"close": closes})


def walk(seed: int, n_bars: int, n_symbols: int) -> FloatArray:
    """Geometric random walks."""
    rng = np.random.default_rng(seed)
    return 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (n_bars, n_symbols)), axis=0))


def holed(seed: int, n_bars: int, n_symbols: int) -> FloatArray:
    """Random walks with a late symbol and single holes."""
    closes = walk(seed, n_bars, n_symbols)
    closes[np.random.default_rng(seed + 1).random(closes.shape) < 0.05] = np.nan
    closes[: n_bars // 3, -1] = np.nan
    return closes


def run(closes: FloatArray, settings: TrendSettings = SETTINGS) -> FloatArray:
    return forecast(hourly(closes), settings)[0].to_numpy()


def in_pandas(closes: FloatArray, settings: TrendSettings) -> FloatArray:
    """The formula again, slowly; sizes from the filters' coefficients rather than from their closed form."""
    spans = [(settings.fast * 2**k, settings.slow * 2**k) for k in range(settings.speeds)]
    lags = np.arange(1, 5000)
    filters = [(1 - 2 / (s + 1)) ** lags - (1 - 2 / (f + 1)) ** lags for f, s in spans]
    sizes = [np.sqrt((h**2).sum()) for h in filters]
    ensemble = np.sum([h / size for h, size in zip(filters, sizes, strict=True)], axis=0)
    unit = np.sqrt((ensemble**2).sum()) * math.sqrt(2 / math.pi)
    result = np.full(closes.shape, np.nan)
    for i in range(closes.shape[1]):
        known = ~np.isnan(closes[:, i])
        price = pd.Series(closes[known, i])
        variance = (price.diff() ** 2).ewm(halflife=settings.volatility_half_life).mean()
        total = pd.Series(0.0, index=price.index)
        for (fast, slow), size in zip(spans, sizes, strict=True):
            total += (price.ewm(span=fast).mean() - price.ewm(span=slow).mean()) / size
        score = (total / unit / np.sqrt(variance) / settings.cap).clip(-1.0, 1.0)
        score[variance == 0.0] = 0.0
        score[: spans[-1][1] - 1] = np.nan
        result[known, i] = score
    return result


@pytest.mark.parametrize("speeds", [1, 2, 3])
def test_forecast_is_the_formula(speeds: int) -> None:
    settings = replace(SETTINGS, speeds=speeds)
    closes = holed(0, 400, 3)
    np.testing.assert_allclose(
        run(closes, settings), in_pandas(closes, settings), rtol=1e-9, atol=1e-12
    )


def test_compiled_scan_equals_its_interpreted_twin() -> None:
    vector = trend.parameters(2, 5, 2, 6.0, 2.0)
    np.testing.assert_allclose(vector, trend.parameters.py_func(2, 5, 2, 6.0, 2.0), rtol=1e-15)
    for closes in (holed(1, 80, 3), np.full((30, 2), 7.0), np.full((4, 1), np.nan), walk(0, 1, 2)):
        compiled, twin = trend.init(closes.shape[1], 2), trend.init(closes.shape[1], 2)
        expected = np.array(
            [[trend.step.py_func(twin, i, c, vector) for i, c in enumerate(row)] for row in closes]
        )
        np.testing.assert_array_equal(trend.scan(closes, vector, compiled), expected)
        np.testing.assert_array_equal(compiled, twin)


def test_first_forecast_comes_with_as_many_closes_as_the_slowest_span() -> None:
    closes = walk(0, 30, 2)
    closes[:7, 1] = np.nan
    seen = ~np.isnan(run(closes))
    assert seen[:, 0].argmax() == FIRST - 1
    assert seen[:, 1].argmax() == 7 + FIRST - 1
    assert seen[FIRST - 1 :, 0].all()


def test_forecast_is_long_in_a_rising_market_and_short_in_a_falling_one() -> None:
    steps = np.exp(0.01 * np.arange(60.0))[:, None]
    assert run(100.0 * steps)[-1, 0] > 0.5
    assert run(100.0 / steps)[-1, 0] < -0.5


@pytest.mark.parametrize(("fast", "slow", "speeds"), [(8, 32, 1), (8, 24, 3), (48, 192, 3)])
def test_mean_size_is_one_over_the_cap_on_a_random_walk(fast: int, slow: int, speeds: int) -> None:
    rng = np.random.default_rng(11)
    closes = 1e6 + np.cumsum(rng.normal(size=(60_000, 4)), axis=0)
    vector = trend.parameters(fast, slow, speeds, 500.0, UNCAPPED)
    scores = UNCAPPED * trend.scan(closes, vector, trend.init(4, speeds))
    assert np.nanmean(np.abs(scores)) == pytest.approx(1.0, abs=0.08)


def test_a_crossover_changes_sign_as_rarely_as_the_docstring_says() -> None:
    closes = 1e6 + np.cumsum(np.random.default_rng(12).normal(size=(400_000, 1)), axis=0)
    scores = trend.scan(closes, trend.parameters(16, 64, 1, 500.0, UNCAPPED), trend.init(1, 1))
    signs = np.sign(scores[~np.isnan(scores)])
    spacing = len(signs) / np.count_nonzero(np.diff(signs))
    assert spacing == pytest.approx(math.pi * math.sqrt(16 * 64) / 2, rel=0.05)


def test_forecast_moves_little_from_bar_to_bar_with_the_published_spans() -> None:
    settings = replace(SETTINGS, fast=48, slow=192, speeds=3, volatility_half_life=269.0)
    moves = np.abs(np.diff(run(walk(2, 10_000, 3), settings), axis=0))
    assert np.nanmean(moves) < 0.01


@given(seed=st.integers(0, 999), cut=st.integers(0, 60))
def test_forecast_of_two_parts_equals_forecast_of_the_whole(seed: int, cut: int) -> None:
    bars = hourly(holed(seed, 60, 3))
    whole, end = forecast(bars, SETTINGS)
    first, state = forecast(bars.rows(0, cut), SETTINGS)
    second, after = forecast(bars.rows(cut, 60), SETTINGS, FoldState.from_bytes(state.to_bytes()))
    pd.testing.assert_frame_equal(pd.concat([first, second]), whole, check_exact=True)
    assert after.digest() == end.digest()


@given(seed=st.integers(0, 999), cut=st.integers(1, 59))
def test_no_past_forecast_depends_on_the_future(seed: int, cut: int) -> None:
    closes = holed(seed, 60, 3)
    changed = closes.copy()
    changed[cut:] = walk(seed + 1, 60, 3)[cut:] * 3.0
    np.testing.assert_array_equal(run(changed)[:cut], run(closes)[:cut])


@given(seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_prices_times_a_power_of_two_change_nothing(seed: int, power: int) -> None:
    closes = holed(seed, 60, 2)
    np.testing.assert_array_equal(run(closes * 2.0**power), run(closes))


@given(seed=st.integers(0, 999), scale=st.floats(1e-6, 1e6))
def test_prices_in_another_unit_change_nothing(seed: int, scale: float) -> None:
    closes = holed(seed, 60, 2)
    np.testing.assert_allclose(run(closes * scale), run(closes), rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 999), order=st.permutations(range(4)))
def test_permuting_symbols_permutes_forecasts(seed: int, order: list[int]) -> None:
    closes = holed(seed, 60, 4)
    np.testing.assert_array_equal(run(closes[:, order]), run(closes)[:, order])


@given(seed=st.integers(0, 999))
def test_forecast_is_bounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    closes = np.exp(np.cumsum(rng.standard_t(2, (80, 2)), axis=0))
    assert (np.abs(run(closes)[FIRST - 1 :]) <= 1.0).all()


def test_a_hole_has_no_forecast_and_leaves_no_trace() -> None:
    closes = walk(3, 60, 1)
    holes = np.isin(np.arange(70), [0, 15, 16, 40, 41, 42, 43, 55, 60, 69])
    with_holes = np.full((70, 1), np.nan)
    with_holes[~holes] = closes
    result = run(with_holes)
    assert np.isnan(result[holes]).all()
    np.testing.assert_array_equal(result[~holes], run(closes))


def test_a_price_that_never_moves_has_no_trend() -> None:
    result = run(np.full((30, 2), 0.1))
    assert (result[FIRST - 1 :] == 0.0).all()


def test_no_rows_and_one_row_give_no_forecast() -> None:
    assert forecast(hourly(np.empty((0, 3))), SETTINGS)[0].shape == (0, 3)
    assert np.isnan(run(walk(0, 1, 3))).all()


def test_a_cold_start_differs_little_after_its_warm_up() -> None:
    settings = replace(SETTINGS, fast=8, slow=32)
    closes = walk(9, 5_000, 3)
    replayed = warm_up(settings, "1h")
    cold = run(closes[-replayed - 100 :], settings)[-100:]
    assert np.abs(cold - run(closes, settings)[-100:]).max() < 0.05
    assert replayed >= 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fast": 0}, "fast must be >= 1, was 0"),
        ({"slow": 2}, "slow must be > fast = 2, was 2"),
        ({"speeds": 0}, "speeds must be >= 1, was 0"),
        ({"volatility_half_life": 0.0}, r"volatility_half_life must be > 0, was 0\.0"),
        ({"cap": -1.0}, r"cap must be > 0, was -1\.0"),
    ],
)
def test_settings_name_what_they_refuse(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **change)  # type: ignore[arg-type] # one field at a time


def test_a_state_of_other_speeds_or_of_another_fold_is_refused() -> None:
    bars = hourly(walk(0, 5, 2))
    _, state = forecast(bars, SETTINGS)
    with pytest.raises(SchemaMismatch, match="must be of the settings speeds=1, was of speeds=2"):
        forecast(bars, replace(SETTINGS, speeds=1), state)
    with pytest.raises(SchemaMismatch, match=r"must be of the settings cap=9\.0, was of cap="):
        forecast(bars, replace(SETTINGS, cap=9.0), FoldState.from_bytes(state.to_bytes()))
    with pytest.raises(SchemaMismatch, match="kind 'trend'"):
        forecast(bars, SETTINGS, FoldState("other", 1, {}))


def test_sets_that_share_averages_get_the_forecasts_of_each_alone_to_the_last_bit() -> None:
    rng = np.random.default_rng(5)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (300, 3)), axis=0))
    closes[:40, 1] = np.nan
    closes[rng.random(closes.shape) < 0.05] = np.nan
    stamps = 3_600_000_000 * np.arange(1, 301)
    fields = Fields(stamps, closes, closes, closes, closes, closes, closes)
    sets = [
        TrendSettings(fast=f, slow=s, speeds=2, volatility_half_life=h, cap=c, exits=NO_EXITS)
        for f, s, h, c in ((4, 16, 20.0, 2.0), (4, 20, 20.0, 1.0), (8, 16, 30.0, 2.0))
    ]
    shared = trend.shared_features(sets, "1h", 3)
    features = np.empty((shared.n_features, 300, 3))
    for start, stop in ((0, 1), (1, 130), (130, 300)):
        part = np.empty((shared.n_features, stop - start, 3))
        trend.fill_features(fields, shared.vector, shared.state, start, stop, part)
        features[:, start:stop] = part
    for each, vector in zip(sets, shared.vectors, strict=True):
        settings, state, counts = trend.sweep_parts(each, "1h", 3)
        alone, together = np.empty((300, 3)), np.empty((300, 3))
        trend.fill_rows(fields, features, settings, state, counts, 0, 300, alone)
        trend.fill_from_features(fields, features, vector, state, counts, 0, 300, together)
        np.testing.assert_array_equal(together, alone)
        bars = Bars(interval="1h", ts_us=stamps, symbols=("A", "B", "C"), fields={"close": closes})
        np.testing.assert_array_equal(trend.forecast_array(bars, each, None)[0], alone)
