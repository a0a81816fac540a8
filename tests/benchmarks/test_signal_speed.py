"""The signal plane over two years of hours, and one live decision."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.backtest.experiment import signal_settings
from quantcore.config import compose
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.signal_plane import SignalSettings, refit, signals, target_weights
from quantcore.signals.generator import PortfolioSettings
from quantcore.types import FloatArray
from strategies.trend import TrendSettings
from tests.benchmarks.markets import market
from tests.benchmarks.timing import Table, Timing, keep, race

SETTINGS = SignalSettings(
    strategy=TrendSettings(
        fast=48,
        slow=192,
        speeds=3,
        volatility_half_life=269.0,
        cap=2.0,
        exits=ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None),
    ),
    portfolio=PortfolioSettings(
        volatility_half_life=269.0,
        covariance_half_life=269.0,
        annual_volatility_target=0.2,
        full_conviction=0.5,
        weight_max=0.25,
        gross_max=2.0,
    ),
)


def check_weights(weights: FloatArray) -> None:
    """Assert that what is timed also decides: every price has a weight, and some are not 0."""
    assert np.isfinite(weights).all()
    assert np.count_nonzero(weights) > 0.2 * weights.size


def test_signals_of_two_years(benchmark: BenchmarkFixture, table: Table) -> None:
    bars = market(17_544, 20, interval="1h")
    check_weights(signals(bars, SETTINGS).weight_array)
    rounds = 1 if benchmark.disabled else 9
    timings = race({"ours": partial(target_weights, bars, SETTINGS)}, rounds=rounds)
    table.add("signal plane, 20 symbols x 17,544 hours", timings, goal="none set")
    keep(benchmark, partial(target_weights, bars, SETTINGS), rounds=3)


def test_one_live_decision(benchmark: BenchmarkFixture, table: Table) -> None:
    bars = market(3_000, 25, interval="1h")
    check_weights(signals(bars, SETTINGS).weight_array)
    _, state = target_weights(bars.rows(0, 1_000), SETTINGS)
    rows = [bars.rows(k, k + 1) for k in range(1_000, bars.n_bars)]
    wall, cpu = decide(rows, state)
    quantiles = {
        f"ours, {name}": Timing(float(np.quantile(wall, q)), float(np.quantile(cpu, q)))
        for name, q in (("p50", 0.5), ("p99", 0.99))
    }
    table.add("one live decision, 25 symbols, from saved state", quantiles, goal="p99 <= 1 ms")
    keep(benchmark, partial(target_weights, rows[0], SETTINGS, state), rounds=100)


def everything() -> SignalSettings:
    """All strategies with universe, regime and matrix, as the experiment has them."""
    return signal_settings(compose("backtest", ["+experiment=multi_strategy", "data=synthetic"]))


def test_all_strategies_over_two_years(benchmark: BenchmarkFixture, table: Table) -> None:
    bars, settings = market(17_544, 20, interval="1h", funding=True), everything()
    check_weights(signals(bars, settings).weight_array)
    rounds = 1 if benchmark.disabled else 3
    timings = race({"ours, fits included": partial(target_weights, bars, settings)}, rounds=rounds)
    table.add(
        "all six strategies, universe, regime, matrix: 20 symbols x 17,544 hours",
        timings,
        goal="<= 5 s, scheduled fits not counted",
    )
    keep(benchmark, partial(target_weights, bars.rows(0, 2_000), settings), rounds=1)


def test_one_live_decision_of_all_strategies(benchmark: BenchmarkFixture, table: Table) -> None:
    bars, settings = market(3_000, 25, interval="1h", funding=True), everything()
    check_weights(signals(bars, settings).weight_array)
    _, state = target_weights(bars.rows(0, 2_000), settings)
    rows = [bars.rows(k, k + 1) for k in range(2_000, bars.n_bars)]
    wall, cpu = decide(rows, state, settings)
    quantiles = {
        f"ours, {name}": Timing(float(np.quantile(wall, q)), float(np.quantile(cpu, q)))
        for name, q in (("p50", 0.5), ("p99", 0.99))
    }
    table.add("one live decision of all six strategies, 25 symbols", quantiles, goal="p99 <= 1 ms")
    keep(benchmark, partial(target_weights, rows[0], settings, state), rounds=100)


def decide(
    rows: list[Bars], state: FoldState, settings: SignalSettings = SETTINGS
) -> tuple[list[float], list[float]]:
    """Return wall and CPU seconds of each decision after the first two hundred, which warm the caches."""
    wall, cpu = [], []
    for row in rows:
        state = refit(state, settings)  # as the live loop does between two decisions
        cpu_start, wall_start = time.thread_time(), time.perf_counter()
        state = signals(row, settings, state).state
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.thread_time() - cpu_start)
    return wall[200:], cpu[200:]
