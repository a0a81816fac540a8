"""Resampled paths: the generator's published numbers, Politis and Romano's variance, and the interpreted twins."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.kernels import paths
from quantcore.kernels.paths import (
    DEEPEST,
    FINAL,
    LOWEST,
    next_day,
    path_outcomes,
    random_bits,
    record_outcomes,
    resample,
    restart_threshold,
    walk,
)
from quantcore.types import FloatArray

GAMMA = 0x9E3779B97F4A7C15
RECORDS = {
    "noise": np.random.default_rng(3).normal(0.001, 0.02, 50),
    "a lost account": np.array([0.01, -math.inf, 0.02]),
    "constant": np.full(7, 0.01),
    "one day": np.array([-0.02]),
    "NaN": np.array([0.01, math.nan, -0.01]),
}


def seeds(n: int, seed: int = 0) -> paths.SeedArray:
    return np.random.default_rng(seed).integers(2**64, size=n, dtype=np.uint64)


def variance_of_mean(values: FloatArray, restart: float) -> float:
    """Politis and Romano (1994), lemma 1: from the circular autocovariances of the record."""
    n = len(values)
    centred = values - values.mean()
    lags = [float(centred @ np.roll(centred, k)) / n for k in range(n)]
    damped = [(1 - k / n) * (1 - restart) ** k * lags[k] for k in range(1, n)]
    return (lags[0] + 2 * sum(damped)) / n


@pytest.mark.parametrize(
    ("seed", "published"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]),
    ],
)
def test_the_generator_gives_the_published_numbers(seed: int, published: list[int]) -> None:
    states = [np.uint64((seed + k * GAMMA) % 2**64) for k in (1, 2, 3)]
    assert [int(random_bits(state)) for state in states] == published


@pytest.mark.parametrize("mean_block", [1.0, 2.5, 10.0, 200.0])
def test_the_mean_of_a_path_varies_as_the_stationary_bootstrap_must(mean_block: float) -> None:
    record = np.cumsum(np.random.default_rng(5).normal(size=40)) * 0.01
    outcomes = path_outcomes(record, seeds(40_000), restart_threshold(mean_block), len(record))
    expected = variance_of_mean(record, 1.0 / mean_block)
    assert outcomes[:, FINAL].var() / len(record) ** 2 == pytest.approx(expected, rel=0.03)
    assert outcomes[:, FINAL].mean() / len(record) == pytest.approx(
        record.mean(), abs=4.0 * math.sqrt(expected / 40_000)
    )


def test_blocks_have_the_mean_length_and_begin_on_any_day() -> None:
    n_days, path = 97, np.empty(200_000)
    resample(np.arange(float(n_days)), np.uint64(1), restart_threshold(8.0), path)
    begins = np.flatnonzero((path[1:] - path[:-1]) % n_days != 1) + 1
    # One block in 97 begins, by chance, on the day that follows anyway.
    assert len(path) / len(begins) == pytest.approx(8.0 * n_days / (n_days - 1), rel=0.03)
    lengths = np.diff(begins)
    assert lengths.std() == pytest.approx(lengths.mean(), rel=0.1)
    counts = np.bincount(path[begins].astype(int), minlength=n_days)
    chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert chi_square < n_days - 1 + 4.0 * math.sqrt(2.0 * (n_days - 1))


def test_a_block_length_of_one_draws_every_day_anew() -> None:
    path = np.empty(100_000)
    resample(np.arange(10.0), np.uint64(2), restart_threshold(1.0), path)
    assert np.mean((path[1:] - path[:-1]) % 10 == 1) == pytest.approx(0.1, abs=0.005)


@given(seed=st.integers(0, 2**64 - 1), n_days=st.integers(1, 2**32 - 1))
def test_a_day_is_always_one_of_the_record(seed: int, n_days: int) -> None:
    bits = np.uint64(seed)
    for restart in (restart_threshold(1.0), restart_threshold(1e9)):
        assert 0 <= next_day(n_days - 1, bits, restart, n_days) < n_days


@pytest.mark.parametrize("name", ["noise", "a lost account", "constant", "one day"])
@pytest.mark.parametrize("horizon", [1, 3, 400])
def test_a_walk_says_what_numpy_says_of_the_same_path(name: str, horizon: int) -> None:
    record, restart = RECORDS[name], restart_threshold(4.0)
    path, outcome = np.empty(horizon), np.empty(3)
    for seed in seeds(300):
        resample(record, seed, restart, path)
        walk(record, seed, restart, horizon, outcome)
        wealth = np.concatenate([[1.0], np.exp(np.cumsum(path))])
        drawdowns = wealth / np.maximum.accumulate(wealth) - 1.0
        np.testing.assert_allclose(np.exp(outcome[LOWEST]), wealth.min(), rtol=1e-12)
        np.testing.assert_allclose(np.expm1(outcome[DEEPEST]), drawdowns.min(), atol=1e-12)
        np.testing.assert_allclose(np.exp(outcome[FINAL]), wealth[-1], rtol=1e-12)


def test_a_longer_horizon_continues_the_same_path() -> None:
    record, restart = RECORDS["noise"], restart_threshold(5.0)
    short = path_outcomes(record, seeds(500), restart, 30)
    long = path_outcomes(record, seeds(500), restart, 31)
    assert (long[:, LOWEST] <= short[:, LOWEST]).all()
    assert (long[:, DEEPEST] <= short[:, DEEPEST]).all()
    steps = long[:, FINAL] - short[:, FINAL]
    assert all(np.isclose(record, step, atol=1e-12).any() for step in steps)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    record, restart = RECORDS["noise"], restart_threshold(5.0)
    threads = numba.get_num_threads()
    results = []
    try:
        for n in {1, threads}:
            numba.set_num_threads(n)
            results += [
                path_outcomes(record, seeds(301), restart, 50).tobytes(),
                record_outcomes(record, seeds(31), restart, 7, 50).tobytes(),
            ]
    finally:
        numba.set_num_threads(threads)
    assert len(set(results)) == 2


def test_paths_through_a_resampled_record_use_only_its_days() -> None:
    record = np.array([1.0, 100.0, 10_000.0])
    outcomes = record_outcomes(record, seeds(200), restart_threshold(1.0), 50, 1)
    used = [set(row) for row in outcomes[:, :, FINAL]]
    assert all(days <= set(record) for days in used)
    # A draw of three days from three leaves some day out in 7 of 9 cases.
    assert sum(len(days) < 3 for days in used) / 200 == pytest.approx(7 / 9, abs=0.1)


def test_no_path_and_no_record_give_empty_outcomes() -> None:
    record, restart = RECORDS["noise"], restart_threshold(5.0)
    assert path_outcomes(record, seeds(0), restart, 10).shape == (0, 3)
    assert record_outcomes(record, seeds(0), restart, 4, 10).shape == (0, 4, 3)
    assert path_outcomes(record, seeds(2), restart, 0).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("name", list(RECORDS))
def test_compiled_and_interpreted_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record, restart, path = RECORDS[name], restart_threshold(3.0), np.empty(20)
    with np.errstate(invalid="ignore"):
        state = resample(record, np.uint64(9), restart, path)
    compiled = [
        path,
        path_outcomes(record, seeds(5), restart, 20),
        record_outcomes(record, seeds(3), restart, 4, 20),
    ]
    for kernel in ("random_bits", "next_day", "resample", "walk"):
        monkeypatch.setattr(paths, kernel, getattr(paths, kernel).py_func)
    # Numbers of 64 bits are meant to overflow; a lost account subtracts infinities.
    with np.errstate(over="ignore", invalid="ignore"):
        again = np.empty(20)
        assert int(paths.resample(record, np.uint64(9), restart, again)) == int(state)
        interpreted = [
            again,
            path_outcomes.py_func(record, seeds(5), restart, 20),
            record_outcomes.py_func(record, seeds(3), restart, 4, 20),
        ]
    for one, other in zip(compiled, interpreted, strict=True):
        np.testing.assert_array_equal(one, other)
