"""Inference on the Sharpe ratio: coverage of the interval, and the record length that the probability asks for."""

from __future__ import annotations

import math

import numpy as np

from quantcore.finance import performance, sharpe


def test_the_interval_holds_the_ratio_and_narrows_with_more_returns(
    rng: np.random.Generator,
) -> None:
    returns = rng.normal(0.001, 0.01, 2000)
    widths = []
    for n in (200, 2000):
        low, high = sharpe.sharpe_interval(returns[:n], periods_per_year=365, confidence=0.95)
        assert low < performance.sharpe(returns[:n], periods_per_year=365) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2.5


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says(
    rng: np.random.Generator,
) -> None:
    true = 0.1
    inside = 0
    for _ in range(400):
        returns = rng.normal(true * 0.01, 0.01, 365)
        low, high = sharpe.sharpe_interval(returns, periods_per_year=1, confidence=0.9)
        inside += low <= true <= high
    assert 0.86 < inside / 400 < 0.94


def test_the_probability_and_the_record_length_agree() -> None:
    record = sharpe.min_track_record(0.1, skew=-0.5, kurtosis=5.0, benchmark=0.0, confidence=0.95)
    psr = sharpe.probabilistic_sharpe(
        0.1, math.ceil(record), skew=-0.5, kurtosis=5.0, benchmark=0.0
    )
    assert 0.95 <= psr < 0.951


def test_a_ratio_below_the_benchmark_is_never_long_enough() -> None:
    length = sharpe.min_track_record(-0.1, skew=0.0, kurtosis=3.0, benchmark=0.0, confidence=0.95)
    assert length == math.inf
