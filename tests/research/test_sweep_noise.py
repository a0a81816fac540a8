"""Whole sweeps over invented markets whose truth is known: nothing to find in most, planted trends in some."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import quantcore as qc
from quantcore.data.planted import plant_trends
from quantcore.data.synthetic import DEFAULT_SYMBOLS, SyntheticMarket, generate

N_EMPTY = 60
N_PLANTED = 8
PARAMETERS = {"strategy.fast": [4, 8, 16, 32, 64], "strategy.slow": [96, 144, 192, 288]}
FIXED = {
    "strategy.volatility_half_life": 48,
    "portfolio.volatility_half_life": 48,
    "portfolio.covariance_half_life": 96,
    "ledger": "off",
}

pytestmark = [pytest.mark.slow, pytest.mark.integration]


def empty(seed: int) -> qc.Bars:
    """Return two years of six coins in which no price can be predicted."""
    market = SyntheticMarket(
        interval="4h", symbols=DEFAULT_SYMBOLS[:6], first_day="2023-01-01", days=731, seed=seed, late_listings=0
    )  # fmt: skip
    return generate(market)


@cache
def on_noise() -> tuple[dict[str, float], ...]:
    return tuple(swept(empty(seed)) for seed in range(1000, 1000 + N_EMPTY))


def swept(bars: qc.Bars) -> dict[str, float]:
    return qc.sweep("quickstart", PARAMETERS, FIXED, data=bars).summary


def test_the_best_of_worthless_sets_is_deflated_away_as_often_as_the_level_says() -> None:
    # 60 markets at 5 %: more than 8 come once in 300 times.
    assert sum(found["dsr"] >= 0.95 for found in on_noise()) <= 8
    assert 0.3 < np.mean([found["dsr"] for found in on_noise()]) < 0.6


def test_choosing_among_worthless_sets_helps_as_often_as_it_hurts() -> None:
    # Markets are independent; the probability of one has a standard deviation of about 0.3.
    assert np.mean([found["pbo"] for found in on_noise()]) == pytest.approx(0.5, abs=0.1)


def test_planted_trends_are_found() -> None:
    found = [
        swept(
            plant_trends(
                empty(seed), annual_drift=2.5, half_life_days=20.0, rng=np.random.default_rng(seed)
            )
        )
        for seed in range(2000, 2000 + N_PLANTED)
    ]
    assert np.mean([each["dsr"] >= 0.95 for each in found]) >= 0.75
    assert np.mean([each["pbo"] for each in found]) < 0.5
