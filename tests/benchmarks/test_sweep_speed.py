"""Many parameter sets of a dual moving average: 100 on a year of minutes, 10,000 on a year of hours."""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.frames import Bars
from quantcore.research.outcomes import SET_METRICS
from quantcore.types import FloatArray
from tests.benchmarks.markets import CAPITAL, FEE, MINUTES, SLIPPAGE, bare_pass, market
from tests.benchmarks.sweeps import WEIGHT, stage_of, sweep, variants, vectorbt_sweep
from tests.benchmarks.timing import Table, keep, race

pytest.importorskip("vectorbt")

pytestmark = [
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning"),
]

HOURS = 8_760


def bare(bars: Bars, n_sets: int) -> float:
    """The lower bound: as many bare passes as there are sets, with a hundred targets each."""
    targets = np.full((bars.n_bars, 1), np.nan)
    rows = np.linspace(50, bars.n_bars - 2, 100).astype(int)
    targets[rows, 0] = np.where(np.arange(100) % 2 == 0, WEIGHT, -WEIGHT)
    opens, highs, lows, closes = (bars.array(name) for name in ("open", "high", "low", "close"))
    last = 0.0
    for _ in range(n_sets):
        last = float(bare_pass(opens, highs, lows, closes, targets, CAPITAL, FEE + SLIPPAGE)[-1])
    return last


def check(found: FloatArray, n_sets: int) -> None:
    """Assert that what is timed also happened."""
    column = {name: found[:, k] for k, name in enumerate(SET_METRICS)}
    assert len(found) == n_sets
    assert np.isfinite(column["sharpe"]).all()
    assert (column["trades"] > 5).all()
    assert (column["fees"] > 0.0).all()
    assert (column["funding"] != 0.0).all()


@pytest.mark.parametrize(
    ("n_bars", "interval", "fasts", "slows", "goal"),
    [
        (MINUTES, "1m", range(60, 660, 60), range(720, 2720, 200), "<= 0.4 s, <= 1 GB"),
        (HOURS, "1h", range(2, 102), range(104, 404, 3), "<= 0.5 s, <= 1 GB"),
    ],
    ids=["minutes", "hours"],
)
def test_sweep(
    benchmark: BenchmarkFixture,
    table: Table,
    n_bars: int,
    interval: str,
    fasts: range,
    slows: range,
    goal: str,
) -> None:
    bars = market(n_bars, 1, interval=interval, funding=True)
    where, sets = stage_of(bars), variants(fasts, slows)
    check(sweep(where, sets), len(sets))
    rounds = 1 if benchmark.disabled else 3
    ours: dict[str, Callable[[], Any]] = {
        "ours, bars to metrics": partial(sweep, where, sets),
        "bare compiled passes": partial(bare, bars, len(sets)),
    }
    others: dict[str, Callable[[], Any]] = {
        f"vectorbt {engine}": partial(vectorbt_sweep, engine, bars, fasts, slows)
        for engine in ("rust", "numba")
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timings = race(ours, rounds=rounds)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    timings |= race(others, rounds=1, tidy=True)
    work = f"sweep, {n_bars:,} bars x {len(sets):,} sets, futures account; vectorbt: fees only"
    table.add(work, timings, goal=f"{goal}; memory grew by {grown:.0f} MiB")
    keep(benchmark, partial(sweep, where, sets), rounds=1)
