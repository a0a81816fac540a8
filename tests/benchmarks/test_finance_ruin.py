"""Ruin from a track record: the whole estimate, and its resampling beside arch, numpy and a loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.finance.ruin import RuinEstimate, bootstrap_ruin
from quantcore.kernels.paths import SeedArray, path_outcomes, restart_threshold
from quantcore.types import FloatArray
from tests.benchmarks.timing import Table, Timing, keep, race

THREE_YEARS = 1_095
MEAN_BLOCK = 10


def record(n_days: int) -> FloatArray:
    shocks = np.random.default_rng(1).standard_t(4.0, n_days)
    return np.asarray(0.001 + 0.015 * shocks, dtype=np.float64)


def test_ruin_of_a_track_record(benchmark: BenchmarkFixture, table: Table) -> None:
    returns = record(730)
    whole = partial(estimated, returns, n_paths=10_000)
    rounds = 1 if benchmark.disabled else 5
    timings = race({"ours, with bands": whole}, rounds=rounds)
    table.add("ruin, 10,000 paths x 3 years of days", timings, goal="wall <= 1 s on two idle cores")
    keep(benchmark, whole, rounds=3)


def test_resampling_beside_what_would_be_used_instead(
    benchmark: BenchmarkFixture, table: Table
) -> None:
    # arch resamples a record to its own length, so that record and horizon are of one length here.
    returns, n_paths = record(THREE_YEARS), 1_000
    seeds = np.random.default_rng(2).integers(2**64, size=n_paths, dtype=np.uint64)
    contestants: dict[str, Callable[[], object]] = {
        "ours": partial(compiled, returns, seeds),
        "numpy, all paths at once": partial(vectorised, returns, n_paths),
        "arch StationaryBootstrap": partial(by_arch, returns, n_paths),
        "Python loop over days": partial(looped, returns, n_paths // 50),
    }
    timings = race(contestants, rounds=1 if benchmark.disabled else 5)
    part = timings["Python loop over days"]
    timings["Python loop over days"] = Timing(part.wall * 50, part.cpu * 50)
    table.add(
        "resampling, 1,000 paths x 3 years of days (loop: 20 paths, times 50)",
        timings,
        goal="none set",
    )
    keep(benchmark, contestants["ours"], rounds=5)


def estimated(returns: FloatArray, *, n_paths: int) -> RuinEstimate:
    return bootstrap_ruin(
        returns,
        threshold=0.5,
        horizon_days=THREE_YEARS,
        n_paths=n_paths,
        mean_block=MEAN_BLOCK,
        rng=np.random.default_rng(3),
    )


def compiled(returns: FloatArray, seeds: SeedArray) -> FloatArray:
    return path_outcomes(np.log1p(returns), seeds, restart_threshold(MEAN_BLOCK), THREE_YEARS)


def outcomes(steps: FloatArray) -> tuple[Any, Any, Any]:
    """Return lowest wealth, deepest drawdown and final wealth along the last axis, in logs."""
    wealth = np.cumsum(steps, axis=-1)
    peaks = np.maximum.accumulate(np.maximum(wealth, 0.0), axis=-1)
    return wealth.min(axis=-1), (wealth - peaks).min(axis=-1), wealth[..., -1]


def vectorised(returns: FloatArray, n_paths: int) -> tuple[Any, Any, Any]:
    """Draw every restart and every start at once; a day is its block's start plus the days since."""
    rng, n_days = np.random.default_rng(4), len(returns)
    restarts = rng.random((n_paths, THREE_YEARS)) < 1.0 / MEAN_BLOCK
    restarts[:, 0] = True
    days = np.arange(THREE_YEARS)
    begun = np.maximum.accumulate(np.where(restarts, days, 0), axis=1)
    starts = rng.integers(n_days, size=(n_paths, THREE_YEARS))
    drawn = (np.take_along_axis(starts, begun, axis=1) + days - begun) % n_days
    return outcomes(np.log1p(returns)[drawn])


def by_arch(returns: FloatArray, n_paths: int) -> FloatArray:
    from arch.bootstrap import StationaryBootstrap

    bootstrap = StationaryBootstrap(MEAN_BLOCK, np.log1p(returns), seed=5)
    return np.asarray(bootstrap.apply(lambda path: np.array(outcomes(path)), n_paths))


def looped(returns: FloatArray, n_paths: int) -> list[tuple[float, float, float]]:
    rng, steps, n_days = np.random.default_rng(6), np.log1p(returns).tolist(), len(returns)
    found = []
    for _ in range(n_paths):
        wealth = lowest = peak = deepest = 0.0
        day = 0
        for t in range(THREE_YEARS):
            fresh = t == 0 or rng.random() < 1.0 / MEAN_BLOCK
            day = int(rng.integers(n_days)) if fresh else (day + 1) % n_days
            wealth += steps[day]
            lowest, peak = min(lowest, wealth), max(peak, wealth)
            deepest = min(deepest, wealth - peak)
        found.append((lowest, deepest, wealth))
    return found
