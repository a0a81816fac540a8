"""Bootstrap intervals and the overfitting test, beside arch and a plain numpy loop."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.finance import bootstrap, overfitting
from quantcore.types import FloatArray
from tests.benchmarks.timing import Table, keep, race

DAYS, PATHS, BLOCK = 1095, 10_000, 10


def returns_of(n_days: int, n_strategies: int) -> FloatArray:
    return np.random.default_rng(1).normal(0.0005, 0.02, (n_days, n_strategies))


def sharpe_of(returns: FloatArray) -> FloatArray:
    return np.atleast_1d(returns.mean() / returns.std(ddof=1))


def drawdown_of(returns: FloatArray) -> FloatArray:
    curve = np.cumprod(1.0 + returns)
    return np.atleast_1d((curve / np.maximum(np.maximum.accumulate(curve), 1.0)).min() - 1.0)


def slow_overfitting(returns: FloatArray, n_blocks: int) -> float:
    """Every combination from its rows, as the definition reads."""
    blocks = np.array_split(returns, n_blocks)
    below = 0
    combinations = list(itertools.combinations(range(n_blocks), n_blocks // 2))
    for chosen in combinations:
        one = np.concatenate([blocks[k] for k in chosen])
        rest = np.concatenate([blocks[k] for k in range(n_blocks) if k not in chosen])
        best = np.argmax(one.mean(axis=0) / one.std(axis=0, ddof=1))
        there = rest.mean(axis=0) / rest.std(axis=0, ddof=1)
        below += 1 + int((there < there[best]).sum()) <= (returns.shape[1] + 1) / 2
    return below / len(combinations)


def test_block_length(benchmark: BenchmarkFixture, table: Table) -> None:
    returns = returns_of(DAYS, 1)[:, 0]
    ours = partial(bootstrap.politis_white_block, returns)
    timings = race(
        {"ours": ours, "arch": partial(optimal_block_length, returns)},
        rounds=1 if benchmark.disabled else 21,
    )
    table.add(f"block length of {DAYS:,} days", timings, goal="none set")
    keep(benchmark, ours, rounds=20)


def test_interval_of_the_sharpe_ratio(benchmark: BenchmarkFixture, table: Table) -> None:
    returns, rng = returns_of(DAYS, 1)[:, 0], np.random.default_rng(2)
    ours = partial(
        bootstrap.bootstrap_sharpe,
        returns,
        periods_per_year=365.0,
        confidence=0.95,
        n_paths=PATHS,
        mean_block=float(BLOCK),
        rng=rng,
    )

    def arch() -> object:
        resampler = StationaryBootstrap(BLOCK, returns, seed=rng)
        return resampler.conf_int(sharpe_of, PATHS, method="percentile")

    timings = race(
        {"ours, studentised": ours, "arch, percentile": arch}, rounds=1 if benchmark.disabled else 5
    )
    table.add(f"interval of a ratio, {PATHS:,} x {DAYS:,} days", timings, goal="none set")
    keep(benchmark, ours, rounds=3)


def test_interval_of_the_drawdown(benchmark: BenchmarkFixture, table: Table) -> None:
    returns, rng = returns_of(DAYS, 1)[:, 0], np.random.default_rng(3)
    ours = partial(
        bootstrap.bootstrap_max_drawdown,
        returns,
        confidence=0.95,
        n_paths=PATHS,
        mean_block=float(BLOCK),
        rng=rng,
    )

    def arch() -> object:
        resampler = StationaryBootstrap(BLOCK, returns, seed=rng)
        return resampler.conf_int(drawdown_of, PATHS, method="percentile")

    timings = race({"ours": ours, "arch": arch}, rounds=1 if benchmark.disabled else 5)
    table.add(f"range of a drawdown, {PATHS:,} x {DAYS:,} days", timings, goal="<= 1 s")
    keep(benchmark, ours, rounds=3)


def test_overfitting_beside_a_numpy_loop(benchmark: BenchmarkFixture, table: Table) -> None:
    returns = returns_of(2000, 200)
    ours = partial(overfitting.backtest_overfitting, returns, n_blocks=8)
    slow = partial(slow_overfitting, returns, 8)
    assert ours().pbo == slow()
    timings = race({"ours": ours, "numpy loop": slow}, rounds=1 if benchmark.disabled else 5)
    table.add("overfitting, 8 blocks x 200 strategies x 2,000 days", timings, goal="none set")
    keep(benchmark, ours, rounds=5)


def test_overfitting_of_a_thousand_strategies(benchmark: BenchmarkFixture, table: Table) -> None:
    ours = partial(overfitting.backtest_overfitting, returns_of(2000, 1000), n_blocks=16)
    timings = race({"ours": ours}, rounds=1 if benchmark.disabled else 3)
    table.add("overfitting, 16 blocks x 1,000 strategies x 2,000 days", timings, goal="seconds")
    assert timings["ours"].cpu < 10.0
    keep(benchmark, ours, rounds=1)
