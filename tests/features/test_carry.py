"""Funding per unit of time, whatever the settlement interval, and the premium of the mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.features.carry import (
    HOURS_PER_YEAR,
    basis,
    basis_mean,
    carry_init,
    carry_step,
    funding_mean,
    funding_surprise,
)
from quantcore.frames import Bars, resample_bars
from quantcore.types import FloatArray
from tests.features.market import bars_of, random_bars, same

HALF_LIFE = 30.0
SETTINGS: dict[str, Any] = {"half_life_hours": HALF_LIFE, "stale_hours": 12.0}


def funding_bars(rates: Sequence[float] | FloatArray, *, interval: str = "1h") -> Bars:
    """Return bars of one symbol of which only the funding matters."""
    column = np.asarray(rates, dtype=np.float64).reshape(-1, 1)
    return bars_of({"close": np.ones(column.shape), "funding_rate": column}, interval=interval)


def means_of(rates: Sequence[float] | FloatArray, *, interval: str = "1h") -> FloatArray:
    values, _ = funding_mean(funding_bars(rates, interval=interval), **SETTINGS)
    return values["AAA"].to_numpy(dtype=np.float64)


def every(hours: int, n_settlements: int, rate: float) -> FloatArray:
    """Return hourly rates with a settlement of the same rate every so many hours, the first in the first row."""
    rates = np.full(hours * n_settlements, np.nan)
    rates[::hours] = rate
    return rates


def slow_mean(rates: FloatArray, stale_hours: float) -> FloatArray:
    """The mean as an integral over hours: each hour between two settlements has the later one's rate per hour."""
    means = np.full(len(rates), np.nan)
    hourly = np.full(len(rates), np.nan)
    settled = np.flatnonzero(~np.isnan(rates))
    last, pairs = -1, 0
    for t in range(len(rates)):
        if t in settled:
            if last >= 0 and t - last <= stale_hours:
                hourly[last + 1 : t + 1] = rates[t] / (t - last)
                pairs += 1
            else:
                pairs = 0
            last = t
        if pairs and t - last <= stale_hours:
            weights = 0.5 ** ((last - np.arange(last + 1)) / HALF_LIFE)
            known = ~np.isnan(hourly[: last + 1])
            means[t] = np.average(hourly[: last + 1][known], weights=weights[known])
    return means * HOURS_PER_YEAR


@pytest.mark.parametrize("hours", [1, 2, 4, 8])
def test_the_same_funding_per_hour_has_the_same_mean_whatever_the_interval(hours: int) -> None:
    means = means_of(every(hours, 40, 1e-5 * hours))
    assert np.isnan(means[:hours]).all()
    np.testing.assert_allclose(means[hours:], 1e-5 * HOURS_PER_YEAR, rtol=1e-12)


def test_a_change_of_the_interval_does_not_show_if_the_funding_per_hour_stays() -> None:
    rates = np.concatenate([every(8, 5, 8e-5), every(4, 5, 4e-5), every(1, 20, 1e-5)])
    # The first settlement after a change pays for the time since the last one of the interval before it.
    rates[40], rates[60] = 8e-5, 4e-5
    np.testing.assert_allclose(means_of(rates)[8:], 1e-5 * HOURS_PER_YEAR, rtol=1e-12)


@given(seed=st.integers(0, 999))
def test_mean_is_the_integral_over_the_hours_between_settlements(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates = np.where(rng.random(120) < 0.2, rng.normal(1e-4, 1e-4, 120), np.nan)
    rates[40:60] = np.nan
    expected = slow_mean(rates, 12.0)
    np.testing.assert_allclose(means_of(rates), expected, rtol=1e-9, atol=1e-12)


def test_nothing_accrues_between_settlements() -> None:
    means = means_of([1e-4, np.nan, 3e-4, np.nan, np.nan, -1e-4])
    assert np.isnan(means[:2]).all()
    assert means[2] == means[3] == means[4] == pytest.approx(1.5e-4 * HOURS_PER_YEAR)
    assert means[5] < means[4]


def test_a_silence_beyond_the_limit_is_missing_data_until_two_settlements_have_come() -> None:
    rates = np.concatenate([[1e-4, 1e-4], np.full(12, np.nan), [9.0, np.nan, 4e-4]])
    means = means_of(rates)
    assert np.isfinite(means[1:13]).all()
    assert means[12] == means[1]
    assert not np.isnan(means[13])
    assert np.isnan(means[14:16]).all()
    old = 0.5 ** (15.0 / HALF_LIFE) * (1.0 - 0.5 ** (1.0 / HALF_LIFE))
    new = 1.0 - 0.5 ** (2.0 / HALF_LIFE)
    expected = (old * 1e-4 + new * 2e-4) / (old + new) * HOURS_PER_YEAR
    assert means[16] == pytest.approx(expected, rel=1e-9)


def test_an_interval_as_long_as_the_limit_is_none_beyond_it() -> None:
    means = means_of(every(12, 3, 12e-5))
    np.testing.assert_allclose(means[12:], 1e-5 * HOURS_PER_YEAR, rtol=1e-12)
    assert np.isnan(means_of(every(13, 3, 12e-5))).all()


def test_longer_bars_hold_the_sum_of_their_settlements() -> None:
    rates = every(4, 60, 4e-5) * np.random.default_rng(1).random(240)
    coarse = resample_bars(funding_bars(rates), "8h")
    values, _ = funding_mean(coarse, **SETTINGS)
    assert values.iloc[0].isna().all()
    sums = np.array([np.nansum(rates[k : k + 8]) for k in range(0, 240, 8)])
    hourly = pd.Series(sums[1:] / 8.0 * HOURS_PER_YEAR)
    expected = hourly.ewm(halflife=HALF_LIFE / 8.0, adjust=True).mean()
    np.testing.assert_allclose(values["AAA"].iloc[1:], expected, rtol=1e-9)


def test_minute_bars_give_what_hourly_bars_give() -> None:
    hourly = np.random.default_rng(2).normal(1e-5, 1e-5, 20)
    minutely = np.full(20 * 60, np.nan)
    minutely[::60] = hourly
    np.testing.assert_allclose(
        means_of(minutely, interval="1m")[::60], means_of(hourly), rtol=1e-12
    )


def test_positive_funding_is_positive_carry_paid_by_longs() -> None:
    assert means_of([1e-4, 1e-4])[-1] > 0.0 > means_of([-1e-4, -1e-4])[-1]


def test_surprise_is_the_last_rate_per_year_minus_the_mean() -> None:
    bars = random_bars(3, 120)
    mean, _ = funding_mean(bars, **SETTINGS)
    surprise, _ = funding_surprise(bars, **SETTINGS)
    pd.testing.assert_frame_equal(surprise.isna(), mean.isna())
    for symbol in bars.symbols:
        rates = bars.funding_rate[symbol].reset_index(drop=True)
        settled = rates.dropna()
        hours = pd.Series(settled.index, settled.index).diff()
        last = (settled / hours * HOURS_PER_YEAR).reindex(rates.index).ffill()
        expected = (last.to_numpy() - mean[symbol]).where(mean[symbol].notna())
        np.testing.assert_allclose(surprise[symbol], expected, rtol=1e-9, atol=1e-12)


def test_step_is_what_a_strategy_calls_for_one_symbol() -> None:
    state = carry_init(2)
    decay = 0.5 ** (1.0 / HALF_LIFE)
    seen = [carry_step(state, 1, rate, 4.0, decay, 12.0) for rate in (1e-4, np.nan, 8e-5)]
    np.testing.assert_allclose(seen, [np.nan, np.nan, 1e-5 * HOURS_PER_YEAR], rtol=1e-12)
    np.testing.assert_array_equal(state[0], carry_init(2)[0])


@pytest.mark.parametrize("stale_hours", [0.5, 0.0, np.nan, np.inf])
def test_a_limit_shorter_than_a_bar_is_refused(stale_hours: float) -> None:
    rule = f"stale_hours must be finite and >= 1.0, the length of a bar, was {stale_hours}"
    with pytest.raises(ValueError, match=rule):
        funding_mean(random_bars(0), half_life_hours=3.0, stale_hours=stale_hours)


def test_basis_is_the_log_of_the_mark_over_the_last_price() -> None:
    bars = random_bars(4, 100)
    premium = (bars.mark_price / bars.close).apply(np.log)
    same(basis(bars), premium)
    mean = premium.ewm(halflife=5.0, adjust=True, ignore_na=True).mean()
    same(basis_mean(bars, half_life=5.0)[0], mean.where(premium.notna()))


def test_basis_without_marks_is_missing() -> None:
    assert basis(bars_of({"close": np.ones((3, 2))})).isna().all(axis=None)
