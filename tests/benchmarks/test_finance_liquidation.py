"""Liquidation probability: an account of 25 symbols on 10,000 paths of a day, and the closed form inside a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numba import njit
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.finance.liquidation import MarginAccount
from quantcore.finance.liquidation_probability import FilteredShocks, liquidation_probability
from quantcore.kernels import passage
from tests.benchmarks.timing import Table, Timing, keep, race
from tests.kernels.test_passage import book, draws, plain_simulation, run

SYMBOLS, PATHS, HOURS = 25, 10_000, 24
CALLS = 1_000_000


def estimate(account: MarginAccount, shocks: FilteredShocks) -> object:
    return liquidation_probability(
        account, shocks, horizon_hours=HOURS, n_paths=PATHS, rng=np.random.default_rng(0)
    )


def test_account_on_paths_of_a_day(benchmark: BenchmarkFixture, table: Table) -> None:
    """The numpy loop is given rows and shocks ready made, and knows neither isolated margin nor who is closed."""
    of = book(1, n=SYMBOLS, n_cross=SYMBOLS, leverage=9.0)
    by = draws(2, of, n_paths=PATHS)
    vol = np.full(SYMBOLS, 0.012)
    account = MarginAccount(
        wallet=of.wallet,
        qty=of.position[:, passage.QTY],
        entry=of.position[:, passage.ENTRY],
        mark=of.position[:, passage.MARK],
        brackets=of.bracket,
        liquidation_fee=of.position[:, passage.FEE],
        funding_rate=3e-4,
    )
    shocks = FilteredShocks(
        values=np.tile(np.log(of.growth) / vol, (6, 1)), hourly_vol=vol, block_hours=1.0
    )
    work = partial(estimate, account, shocks)
    contestants: dict[str, Callable[[], object]] = {
        "ours, from account and history": work,
        "ours, the paths alone": partial(run, of, by),
        "numpy, a loop over hours": partial(plain_simulation, of, by),
    }
    timings = race(contestants, rounds=1 if benchmark.disabled else 9)
    table.add(
        f"24 h liquidation probability, {SYMBOLS} symbols x {PATHS:,} paths",
        timings,
        goal="<= 0.5 s",
    )
    assert timings["ours, from account and history"].cpu < 0.5
    keep(benchmark, work, rounds=5)


@njit(cache=True, error_model="numpy")
def closed_forms(calls: int) -> float:
    """Return a sum of closed forms at as many distances, so that none can be left out."""
    total = 0.0
    for k in range(calls):
        distance = 0.02 + 0.2 * k / calls
        total += passage.passage_probability(distance, 1.0, 0.8, 0.0, 1.0 / 365.0)
    return total


def test_closed_form_inside_a_step(benchmark: BenchmarkFixture, table: Table) -> None:
    timings = race({"ours": partial(closed_forms, CALLS)}, rounds=1 if benchmark.disabled else 9)
    once = {
        f"{name}, mean of a call": Timing(timing.wall / CALLS, timing.cpu / CALLS)
        for name, timing in timings.items()
    }
    table.add("closed-form liquidation probability of one symbol", once, goal="<= 1 us")
    assert once["ours, mean of a call"].cpu < 1e-6
    keep(benchmark, partial(closed_forms, CALLS), rounds=5)
