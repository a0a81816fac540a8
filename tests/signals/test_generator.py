"""Forecasts into weights: the formula in numpy, the contract of NaN and zero, the target, the floor and the caps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars, to_panel
from quantcore.signals import generator
from quantcore.signals.generator import PortfolioSettings, portfolio_weights, warm_up
from quantcore.types import FloatArray

SETTINGS = PortfolioSettings(
    volatility_half_life=5.0,
    covariance_half_life=8.0,
    annual_volatility_target=0.2,
    full_conviction=0.5,
    weight_max=0.6,
    gross_max=1.0,
)
FREE = replace(SETTINGS, weight_max=1e9, gross_max=1e9)
FIRST = 8
"""Returns that a symbol needs before its first weight under `SETTINGS`."""
TARGET = 0.2 / np.sqrt(365 * 24)


def hourly(closes: FloatArray) -> Bars:
    symbols = tuple(f"S{i:02}" for i in range(closes.shape[1]))
    ts_us = (np.arange(len(closes), dtype=np.int64) + 1) * 3_600_000_000
    return Bars(interval="1h", ts_us=ts_us, symbols=symbols, fields={"close": closes})


def holed(seed: int, n_bars: int, n_symbols: int) -> tuple[FloatArray, FloatArray]:
    """Forecasts and correlated walks of unequal volatility with a late symbol and holes in both."""
    rng = np.random.default_rng(seed)
    changes = rng.normal(0.0, 0.01, (n_bars, n_symbols)) * (1.0 + np.arange(n_symbols))
    changes += rng.normal(0.0, 0.01, (n_bars, 1))
    closes = 50.0 * np.exp(np.cumsum(changes, axis=0))
    closes[rng.random(closes.shape) < 0.05] = np.nan
    closes[: n_bars // 3, -1] = np.nan
    forecasts = rng.uniform(-1.0, 1.0, closes.shape)
    forecasts[rng.random(closes.shape) < 0.05] = np.nan
    return forecasts, closes


def run(
    forecasts: FloatArray, closes: FloatArray, settings: PortfolioSettings = SETTINGS
) -> FloatArray:
    bars = hourly(closes)
    return portfolio_weights(bars, to_panel(forecasts, bars), settings)[0].to_numpy()


def moments(closes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Variances and covariances of every row by pandas, and how many returns each symbol has had."""
    last_known = pd.DataFrame(closes).ffill().shift().to_numpy()
    returns = closes / last_known - 1.0
    n = closes.shape[1]
    products = pd.DataFrame((returns[:, :, None] * returns[:, None, :]).reshape(len(closes), n * n))
    squares = pd.DataFrame(returns**2)
    variances = squares.ewm(halflife=5.0, ignore_na=True).mean().to_numpy()
    covariances = products.ewm(halflife=8.0, ignore_na=True).mean().to_numpy()
    return variances, covariances.reshape(-1, n, n), (~np.isnan(returns)).cumsum(axis=0)


def in_numpy(forecasts: FloatArray, closes: FloatArray, settings: PortfolioSettings) -> FloatArray:
    """The formula again, row by row."""
    variances, covariances, counts = moments(closes)
    result = np.full(closes.shape, np.nan)
    for t in range(len(closes)):
        priced = ~np.isnan(closes[t])
        ready = priced & (counts[t] >= FIRST)
        inverse = np.where(ready, 1.0 / np.sqrt(variances[t]), 0.0)
        raw = np.nan_to_num(forecasts[t]) * inverse / max(inverse.sum(), 1e-300)
        raw[~ready] = 0.0
        own = np.diag(covariances[t])
        cross = np.where(np.isnan(covariances[t]), np.sqrt(np.outer(own, own)), covariances[t])
        both = np.outer(raw, raw)
        variance = np.nansum(np.where(both == 0.0, 0.0, both * cross))
        variance = max(variance, np.nansum(np.where(raw == 0.0, 0.0, raw**2 * own)))
        weights = np.zeros_like(raw)
        if variance > 0.0:
            strength = min(1.0, np.abs(raw).sum() / settings.full_conviction)
            weights = raw * strength * TARGET / np.sqrt(variance)
        weights = np.clip(weights, -settings.weight_max, settings.weight_max)
        gross = np.abs(weights).sum()
        result[t, priced] = (weights * min(1.0, settings.gross_max / max(gross, 1e-300)))[priced]
    return result


@pytest.mark.parametrize("settings", [SETTINGS, FREE])
@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_formula(seed: int, settings: PortfolioSettings) -> None:
    forecasts, closes = holed(seed, 120, 4)
    np.testing.assert_allclose(
        run(forecasts, closes, settings),
        in_numpy(forecasts, closes, settings),
        rtol=1e-9,
        atol=1e-13,
    )


def test_compiled_step_equals_its_interpreted_twin() -> None:
    vector = generator.parameters(SETTINGS, "1h")
    forecasts, closes = holed(5, 60, 3)
    symbols, pairs = generator.init(3), np.zeros((2, 3, 3))
    twin_symbols, twin_pairs = generator.init(3), np.zeros((2, 3, 3))
    none, today = np.full(3, np.nan), np.append(np.full(3, np.nan), 0.0)
    weights = generator.scan(
        forecasts, closes, vector, symbols, pairs, none, 1.0, np.arange(60), np.empty((0, 3)),
        np.empty((0, 1)), today, np.zeros(1, dtype=np.int64),
    )  # fmt: skip
    for t in range(60):
        row = generator.step.py_func(
            twin_symbols, twin_pairs, forecasts[t], closes[t], vector, none, 1.0, today[4:]
        )
        np.testing.assert_allclose(weights[t], row, rtol=1e-14, atol=0.0)
    np.testing.assert_array_equal(symbols, twin_symbols)
    np.testing.assert_array_equal(pairs, twin_pairs)


@given(seed=st.integers(0, 999))
def test_nan_means_no_price_and_zero_means_no_view(seed: int) -> None:
    forecasts, closes = holed(seed, 60, 3)
    weights = run(forecasts, closes)
    np.testing.assert_array_equal(np.isnan(weights), np.isnan(closes))
    no_view = np.isnan(forecasts) & ~np.isnan(closes)
    assert (weights[no_view] == 0.0).all()


@given(seed=st.integers(0, 999))
def test_caps_hold_in_every_row(seed: int) -> None:
    forecasts, closes = holed(seed, 60, 3)
    weights = np.nan_to_num(run(np.sign(forecasts), closes, replace(SETTINGS, weight_max=0.1)))
    assert np.abs(weights).max() <= 0.1
    tight = np.nan_to_num(run(np.sign(forecasts), closes, replace(SETTINGS, gross_max=0.05)))
    assert np.abs(tight).sum(axis=1).max() <= 0.05 * (1 + 1e-12)


def test_first_weight_comes_with_the_returns_of_the_longer_half_life() -> None:
    _, closes = holed(0, 40, 1)
    closes = closes[~np.isnan(closes)][:, None]
    weights = run(np.ones_like(closes), closes)
    assert (weights[:FIRST] == 0.0).all()
    assert (weights[FIRST:] != 0.0).all()


def test_volatility_is_the_target_at_full_conviction_and_falls_with_it_below() -> None:
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, (200, 1)), axis=0))
    volatility = np.sqrt(moments(closes)[1][:, 0, 0])
    for forecast, share in ((1.0, 1.0), (0.5, 1.0), (-0.25, -0.5), (0.1, 0.2), (1e-9, 2e-9)):
        weights = run(np.full_like(closes, forecast), closes, FREE)[FIRST:, 0]
        np.testing.assert_allclose(weights * volatility[FIRST:], share * TARGET, rtol=1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-160, 1e-310])
def test_forecasts_near_zero_give_weights_near_zero(size: float) -> None:
    forecasts, closes = holed(2, 60, 3)
    weights = run(forecasts * size, closes, FREE)
    assert np.nanmax(np.abs(weights)) <= 10.0 * size


def test_two_coins_that_move_as_one_share_the_risk_of_one() -> None:
    walk = 100.0 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, (100, 1)), axis=0))
    one = run(np.ones((100, 1)), walk, FREE)
    two = run(np.ones((100, 2)), np.hstack([walk, 3.0 * walk]), FREE)
    np.testing.assert_allclose(two.sum(axis=1), one[:, 0], rtol=1e-9)


def test_a_hedged_book_is_sized_as_if_it_were_uncorrelated() -> None:
    rng = np.random.default_rng(4)
    common = rng.normal(0, 0.01, (300, 1))
    closes = 100.0 * np.exp(np.cumsum(common + rng.normal(0, 0.001, (300, 2)), axis=0))
    weights = run(np.tile([1.0, -1.0], (300, 1)), closes, FREE)
    own = np.stack([np.diag(c) for c in moments(closes)[1]])
    uncorrelated = np.sqrt((weights**2 * own).sum(axis=1))
    np.testing.assert_allclose(uncorrelated[FIRST:], TARGET, rtol=1e-9)


def test_quieter_coins_get_larger_weights_for_the_same_forecast() -> None:
    rng = np.random.default_rng(6)
    changes = rng.normal(0, 1, (300, 2)) * np.array([0.005, 0.02])
    closes = 100.0 * np.exp(np.cumsum(changes, axis=0))
    weights = run(np.ones((300, 2)), closes, FREE)[-1]
    assert 2.0 < weights[0] / weights[1] < 8.0


def test_a_price_that_never_moves_gets_no_weight() -> None:
    _, closes = holed(7, 60, 2)
    closes[:, 0] = 5.0
    weights = run(np.ones((60, 2)), closes)
    assert (weights[:, 0] == 0.0).all()


@given(seed=st.integers(0, 999), cut=st.integers(0, 50))
def test_weights_of_two_parts_equal_weights_of_the_whole(seed: int, cut: int) -> None:
    forecasts, closes = holed(seed, 50, 3)
    bars = hourly(closes)
    panel = to_panel(forecasts, bars)
    whole, end = portfolio_weights(bars, panel, SETTINGS)
    first, state = portfolio_weights(bars.rows(0, cut), panel.iloc[:cut], SETTINGS)
    saved = FoldState.from_bytes(state.to_bytes())
    second, after = portfolio_weights(bars.rows(cut, 50), panel.iloc[cut:], SETTINGS, saved)
    pd.testing.assert_frame_equal(pd.concat([first, second]), whole, check_exact=True)
    assert after.digest() == end.digest()


@given(seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_prices_times_a_power_of_two_change_nothing(seed: int, power: int) -> None:
    forecasts, closes = holed(seed, 50, 3)
    np.testing.assert_array_equal(run(forecasts, closes * 2.0**power), run(forecasts, closes))


@given(seed=st.integers(0, 999), order=st.permutations(range(4)))
def test_permuting_symbols_permutes_weights(seed: int, order: list[int]) -> None:
    forecasts, closes = holed(seed, 50, 4)
    np.testing.assert_allclose(
        run(forecasts[:, order], closes[:, order]),
        run(forecasts, closes)[:, order],
        rtol=1e-9,
        atol=1e-14,
    )


@given(seed=st.integers(0, 999))
def test_turning_every_forecast_turns_every_weight(seed: int) -> None:
    forecasts, closes = holed(seed, 50, 3)
    np.testing.assert_array_equal(run(-forecasts, closes), -run(forecasts, closes))


def test_no_rows_give_no_weights() -> None:
    assert run(np.empty((0, 3)), np.empty((0, 3))).shape == (0, 3)


def test_warm_up_follows_the_longer_half_life() -> None:
    assert warm_up(SETTINGS, "1h") == int(np.ceil(8.0 * np.log2(100.0)))


@pytest.mark.parametrize(
    "name", [n for n in PortfolioSettings.__dataclass_fields__ if n not in ("shares", "kelly")]
)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_settings_name_what_they_refuse(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be finite and > 0, was {value}"):
        replace(SETTINGS, **{name: value})  # type: ignore[arg-type] # one field at a time


def test_conviction_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"full_conviction must be in \(0, 1\], was 1\.5"):
        replace(SETTINGS, full_conviction=1.5)


def test_forecasts_of_other_rows_or_symbols_are_refused() -> None:
    forecasts, closes = holed(0, 10, 2)
    bars = hourly(closes)
    panel = to_panel(forecasts, bars)
    with pytest.raises(SchemaMismatch, match="forecasts must have shape"):
        portfolio_weights(bars, panel.iloc[1:], SETTINGS)
    with pytest.raises(SchemaMismatch, match="the columns"):
        portfolio_weights(bars, panel.rename(columns={"S00": "X"}), SETTINGS)
    with pytest.raises(SchemaMismatch, match="forecasts must have the ts of the bars"):
        portfolio_weights(bars, panel.shift(freq="1h"), SETTINGS)


def test_a_state_of_other_symbols_is_refused() -> None:
    forecasts, closes = holed(0, 10, 2)
    bars = hourly(closes)
    _, state = portfolio_weights(bars, to_panel(forecasts, bars), SETTINGS)
    one = bars.select(["S00"])
    with pytest.raises(SchemaMismatch, match="inverse_volatility state must have days of shape"):
        portfolio_weights(one, to_panel(forecasts[:, :1], one), SETTINGS, state)
