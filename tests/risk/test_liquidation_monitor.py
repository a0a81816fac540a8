"""The closed form of the liquidation monitor against Student's distribution and against the simulation with shocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from quantcore.finance.liquidation import MarginAccount
from quantcore.finance.liquidation_probability import filter_shocks, liquidation_probability
from quantcore.risk.liquidation_monitor import chance_of_sigmas, sigmas_of_chance
from quantcore.types import FloatArray

HOURS = 8_760
MAINTENANCE = 0.01
SYMBOLS = 6


@pytest.mark.parametrize("sigmas", [0.1, 0.5, 1.0, 2.0, 4.3, 10.0, 200.0])
def test_the_chance_is_twice_the_tail_of_student_with_three_degrees(sigmas: float) -> None:
    expected = 2.0 * stats.t.sf(sigmas * math.sqrt(3.0), df=3)  # unit variance
    assert chance_of_sigmas(sigmas) == pytest.approx(expected, rel=1e-9)


def test_no_room_is_certain_and_the_distance_is_the_inverse() -> None:
    assert chance_of_sigmas(0.0) == chance_of_sigmas(-1.0) == 1.0
    for chance in (0.4, 0.05, 0.005, 1e-6):
        assert chance_of_sigmas(sigmas_of_chance(chance)) == pytest.approx(chance, rel=1e-9)


def hourly_returns(degrees: float, seed: int) -> FloatArray:
    """Return correlated hourly returns of a year at 80 % a year, with tails of so many degrees."""
    rng = np.random.default_rng(seed)
    shape = (HOURS, SYMBOLS)
    draws = rng.standard_t(degrees, shape) if np.isfinite(degrees) else rng.normal(size=shape)
    common = (
        rng.standard_t(degrees, (HOURS, 1)) if np.isfinite(degrees) else rng.normal(size=(HOURS, 1))
    )
    unit = math.sqrt(degrees / (degrees - 2.0)) if np.isfinite(degrees) else 1.0
    mixed = (math.sqrt(0.7) * common + math.sqrt(0.3) * draws) / unit
    return np.asarray(np.maximum(mixed * 0.8 / math.sqrt(365.0 * 24.0), -0.5))


def both(leverage: float, degrees: float, seed: int) -> tuple[float, float]:
    """Return the closed form's and the simulation's probability for a cross account, all coins long alike."""
    returns = hourly_returns(degrees, seed)
    share = leverage / SYMBOLS
    day = np.cov(returns.T) * 24.0
    weights = np.full(SYMBOLS, share)
    sigma = math.sqrt(weights @ day @ weights)
    closed = chance_of_sigmas((1.0 - leverage * MAINTENANCE) / sigma)
    one = np.ones(SYMBOLS)
    account = MarginAccount(
        wallet=1.0, qty=weights, entry=one, mark=one,
        brackets=np.tile(np.array([[0.0, np.inf, MAINTENANCE, 0.0]]), (SYMBOLS, 1, 1)),
        isolated_margin=np.full(SYMBOLS, np.nan), liquidation_fee=0.0 * one, funding_rate=0.0 * one,
        funding_interval_hours=8.0 * one,
    )  # fmt: skip
    estimate = liquidation_probability(
        account, filter_shocks(returns, half_life_hours=240.0, block_hours=24.0), horizon_hours=24,
        n_paths=20_000, rng=np.random.default_rng(seed),
    )  # fmt: skip
    return closed, estimate.probability


@pytest.mark.parametrize("degrees", [math.inf, 4.0])
@pytest.mark.parametrize("leverage", [5.0, 7.0, 10.0])
def test_where_liquidation_is_near_the_closed_form_is_on_the_careful_side(
    leverage: float, degrees: float
) -> None:
    closed, simulated = both(leverage, degrees, seed=3)
    assert closed >= simulated - 0.002
    assert closed > 0.002


def test_it_is_no_more_than_some_times_too_careful_where_it_matters() -> None:
    closed, simulated = both(15.0, 4.0, seed=3)
    assert simulated > 0.02
    assert simulated < closed * 1.5
    assert closed < 5.0 * simulated


def test_at_ten_times_it_fails_where_the_design_says_even_a_normal_market_fails() -> None:
    """At 10x a normal distribution passes half a percent above some 70 % a year; fat tails do so earlier."""

    def chance(annual: float) -> float:
        return chance_of_sigmas((1.0 - 10.0 * 0.005) / (10.0 * annual / math.sqrt(365.0)))

    assert chance(0.70) > 0.005
    assert chance(0.30) < 0.005
