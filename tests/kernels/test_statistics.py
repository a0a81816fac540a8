from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quantcore.finance import performance, risk_metrics, sharpe
from quantcore.kernels import statistics as of
from quantcore.kernels.statistics import record_statistics
from quantcore.types import FloatArray

TAIL, CONFIDENCE, DAYS = 0.05, 0.95, 365.0
RETURNS = st.one_of(st.floats(-0.2, 0.2).map(lambda value: round(value, 6)), st.just(math.nan))


def compiled(daily: FloatArray, benchmark: FloatArray) -> FloatArray:
    quantile = NormalDist().inv_cdf(CONFIDENCE)
    found: FloatArray = record_statistics(daily[np.newaxis], benchmark, DAYS, TAIL, quantile)[0]
    return found


def one_at_a_time(daily: FloatArray, benchmark: FloatArray) -> dict[int, float]:
    ratio = performance.sharpe(daily, periods_per_year=1.0)
    skew, kurtosis = performance.skewness(daily), performance.raw_kurtosis(daily)
    n = int((~np.isnan(daily)).sum())
    alpha, beta = performance.alpha_beta(daily, benchmark, periods_per_year=DAYS)
    loss = (math.nan, math.nan)
    if n:
        loss = risk_metrics.historical_tail_loss(daily, tail_probability=TAIL)
    record = sharpe.min_track_record(
        ratio, skew=skew, kurtosis=kurtosis, benchmark=0.0, confidence=CONFIDENCE
    )
    return {
        of.VOLATILITY: performance.annual_volatility(daily, periods_per_year=DAYS),
        of.SHARPE: performance.sharpe(daily, periods_per_year=DAYS),
        of.SORTINO: performance.sortino(daily, periods_per_year=DAYS),
        of.PSR: sharpe.probabilistic_sharpe(ratio, n, skew=skew, kurtosis=kurtosis, benchmark=0.0),
        of.TRACK_RECORD: record if math.isfinite(record) else math.nan,
        of.ALPHA: alpha,
        of.BETA: beta,
        of.VALUE_AT_RISK: loss[0],
        of.SHORTFALL: loss[1],
    }


def assert_same(daily: FloatArray, benchmark: FloatArray) -> None:
    found = compiled(daily, benchmark)
    for column, expected in one_at_a_time(daily, benchmark).items():
        assert found[column] == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True), column


@settings(max_examples=200, deadline=None)
@given(
    daily=arrays(np.float64, st.integers(0, 40), elements=RETURNS),
    seed=st.integers(0, 100),
)
def test_many_records_at_once_have_the_statistics_of_one_at_a_time(
    daily: FloatArray, seed: int
) -> None:
    assert_same(daily, np.random.default_rng(seed).normal(0.0, 0.02, len(daily)))


@pytest.mark.parametrize(
    "daily",
    [[], [0.01], [0.01, 0.01, 0.01], [0.0, 0.0], [math.nan, math.nan], [0.1, math.nan, -0.1], [-1.0, 0.0]],
    ids=str,
)  # fmt: skip
def test_short_and_constant_records_have_what_one_at_a_time_has(daily: list[float]) -> None:
    array = np.array(daily, dtype=np.float64)
    assert_same(array, np.linspace(-0.01, 0.02, len(array)))
    assert_same(array, np.zeros(len(array)))


def test_each_record_is_its_own() -> None:
    daily = np.random.default_rng(1).normal(0.0, 0.01, (3, 50))
    benchmark = np.random.default_rng(2).normal(0.0, 0.01, 50)
    together = record_statistics(daily, benchmark, DAYS, TAIL, 1.6)
    for k in range(3):
        alone = record_statistics(daily[[k]], benchmark, DAYS, TAIL, 1.6)
        np.testing.assert_array_equal(together[k], alone[0])
