"""Watching days against a record: sums by hand, the chance of a false alarm, and what is found how soon."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from quantcore.finance.sequential import (
    HALF_LIFE_DAYS,
    Expectation,
    expectation,
    growth_band,
    power,
    watch,
)
from quantcore.types import FloatArray

PLAIN = Expectation(
    mean=0.001,
    deviation=0.01,
    z_mean=0.0,
    z_deviation=1.0,
    slack=0.5,
    limit=2.0,
    false_alarm=0.05,
    horizon=365,
    n_days=365,
    mean_block=1.0,
)


def record(rng: np.random.Generator, n: int = 400, mean: float = 0.001) -> FloatArray:
    return rng.normal(mean, 0.01, n)


def clustered(rng: np.random.Generator, n: int) -> FloatArray:
    """Days whose volatility comes in clusters, with fat tails: GARCH(1, 1) with Student's shocks."""
    variance, shocks = 1e-4, rng.standard_t(6, n) / math.sqrt(1.5)
    days = np.empty(n)
    for day, shock in enumerate(shocks.tolist()):
        days[day] = math.sqrt(variance) * shock
        variance = 4e-6 + 0.08 * days[day] ** 2 + 0.88 * variance
    return days + 0.001


def test_the_sum_follows_by_hand() -> None:
    found = watch([-0.009, -0.021, 0.021], PLAIN)
    decay = 0.5 ** (1.0 / HALF_LIFE_DAYS)
    second = math.sqrt(
        decay * 1e-4 + (1.0 - decay) * 1e-4
    )  # the first day was as large as expected
    third = math.sqrt(decay * second**2 + (1.0 - decay) * 0.022**2)
    sums = [0.5, 0.5 + 0.022 / second - 0.5, max(2.2 - 0.02 / third - 0.5, 0.0)]
    np.testing.assert_allclose(2.0 * found.sums, sums, rtol=1e-12)
    assert found.alarm == 1


def test_a_day_without_a_return_says_nothing() -> None:
    with_gap = watch([-0.009, math.nan, -0.005], PLAIN)
    assert with_gap.sums[1] == with_gap.sums[0]
    assert watch([math.nan, math.nan], PLAIN).alarm is None
    assert watch([], PLAIN).alarm is None


def test_a_wild_month_with_the_promised_mean_is_no_alarm(rng: np.random.Generator) -> None:
    days = record(rng)
    against = expectation(days, false_alarm=0.05, horizon=365, n_paths=500, rng=rng)
    wild = 0.001 + 4.0 * (days[:120] - days[:120].mean())
    assert watch(wild, against).alarm is None
    assert watch(wild - 0.02, against).alarm is not None


def test_the_rarer_the_false_alarm_the_higher_the_limit(rng: np.random.Generator) -> None:
    days = record(rng)
    limits = [
        expectation(
            days, false_alarm=rate, horizon=250, n_paths=500, rng=np.random.default_rng(3)
        ).limit
        for rate in (0.2, 0.05, 0.01)
    ]
    assert limits[0] < limits[1] < limits[2]


def test_what_is_lost_is_found_the_sooner_the_more_it_is(rng: np.random.Generator) -> None:
    days = record(rng, mean=0.003)
    against = expectation(days, false_alarm=0.05, horizon=365, n_paths=500, rng=rng)
    found = [power(days, against, kept=kept, n_paths=500, rng=rng) for kept in (1.0, 0.0, -1.0)]
    assert found[0].found < 0.1 < 0.8 < found[1].found <= found[2].found
    assert found[2].median_days < found[1].median_days < 200.0
    assert math.isinf(found[0].median_days)


def test_the_band_of_independent_days_is_that_of_the_normal_distribution() -> None:
    rng = np.random.default_rng(11)
    days = np.expm1(rng.normal(0.001, 0.01, 2_000))
    logs = np.log1p(days)
    band = growth_band(days, days=100, confidence=0.9, n_paths=4_000, rng=rng)
    middle, half = 100 * logs.mean(), 1.645 * 10 * logs.std()
    np.testing.assert_allclose(np.log(band[-1]), [middle - half, middle, middle + half], atol=0.006)
    widths = np.log(band[[0, 24, 49, 99], 2] / band[[0, 24, 49, 99], 0])
    assert (np.diff(widths) > 0.0).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"false_alarm": 0.0}, r"false_alarm must be in \(0, 1\), was 0.0"),
        ({"horizon": 0}, "horizon must be >= 1, was 0"),
        ({"n_paths": 99}, "n_paths must be >= 100, was 99"),
    ],
)
def test_settings_out_of_range_are_refused(
    rng: np.random.Generator, changed: dict[str, float], words: str
) -> None:
    given = {"false_alarm": 0.05, "horizon": 100, "n_paths": 200}
    with pytest.raises(ValueError, match=words):
        expectation(record(rng), rng=rng, **given | changed)  # type: ignore[arg-type]  # as given


def test_a_record_that_is_none_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="returns must hold >= 60 values other than NaN, held 59"):
        expectation(record(rng, 59), false_alarm=0.05, horizon=100, n_paths=200, rng=rng)
    with pytest.raises(ValueError, match="returns must vary"):
        growth_band(np.zeros(80), days=5, confidence=0.9, n_paths=10, rng=rng)
    ruined = np.append(record(rng, 80), -1.0)
    with pytest.raises(ValueError, match=r"returns must be > -1, was -1\.0"):
        growth_band(ruined, days=5, confidence=0.9, n_paths=10, rng=rng)
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\), was 1.0"):
        growth_band(record(rng), days=5, confidence=1.0, n_paths=10, rng=rng)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["independent", "clustered"])
def test_false_alarms_come_as_rarely_as_is_stated(kind: str) -> None:
    """The live days come from the very process of the record; of 200 runs 10 are expected to raise an alarm."""
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        days = record(rng, 545) if kind == "independent" else clustered(rng, 745)[200:]
        against = expectation(days[:180], false_alarm=0.05, horizon=365, n_paths=300, rng=rng)
        alarms += watch(days[180:], against).alarm is not None
    # P(Binomial(200, 0.05) > 19) and P(< 3) are below 0.003 each.
    assert 3 <= alarms <= 19


def test_a_limit_scales_the_sums() -> None:
    days = [-0.02, -0.02]
    once, twice = watch(days, PLAIN), watch(days, replace(PLAIN, limit=4.0))
    np.testing.assert_allclose(once.sums, 2.0 * twice.sums)
