"""What watching costs: one risk check of 25 symbols, and ten symbols of minutes with all limits on."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit
from pytest_benchmark.fixture import BenchmarkFixture

from quantcore.account_plane import Events, market_arrays
from quantcore.config import build, compose
from quantcore.execution.settings import ExecutionSettings
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Account, Journal
from quantcore.kernels.memory import lent
from quantcore.risk.controller import N_WORK, check_risk
from quantcore.risk.limits import RiskSettings, configure
from quantcore.timegrid import HOUR_US
from quantcore.types import FloatArray, Liquidity
from tests.benchmarks.markets import MINUTES, market, plane
from tests.benchmarks.test_account_speed import targets_of
from tests.benchmarks.timing import Table, Timing, keep, race

CHECKS = 20_000


def limits() -> RiskSettings:
    """The limits of production, wide enough not to stop a random walk."""
    wide = [f"risk.{name}=0.99" for name in ("drawdown_max", "drawdown_reduce", "daily_loss_max")]
    cfg = compose("backtest", ["risk=prod", *wide, "risk.stage_capital=null"])
    return build(cfg.risk, RiskSettings)


@njit(cache=True, error_model="numpy")
def check_often(
    n: int, account: Any, rules: Any, journal: Any, market: Any, config: Any, targets: Any, work: Any, allowed: Any,
    forced: Any,
) -> float:  # fmt: skip
    account, rules, journal, market = lent(account), lent(rules), lent(journal), lent(market)
    config, targets, work, allowed, forced = (
        lent(config), lent(targets), lent(work), lent(allowed), lent(forced)
    )  # fmt: skip
    total = 0.0
    for _ in range(n):
        journal.filled[0] = 0
        check_risk(account, rules, journal, market, 0, config, targets, 0, work, allowed, forced)
        total += allowed[0, 0]
    return total


def test_one_risk_check(benchmark: BenchmarkFixture, table: Table) -> None:
    bars = market(2, 25, interval="1h")
    guarded = plane(bars, risk=limits())
    state = guarded.start().copies()
    del state["symbols"]
    account = Account(**state)
    account.held[:, at.LOTS] = 100
    account.position[:, at.QTY] = 0.1
    account.position[:, at.MARK] = bars.array("close")[0]
    journal = Journal(
        np.zeros(2, dtype=np.int64), np.zeros((200, at.N_WHOLE), dtype=np.int64),
        np.zeros((200, at.N_NUMBER)), np.zeros((1, 1)),
    )  # fmt: skip
    config = np.full(at.N_CONFIG, at.OFF)
    configure(config, limits(), HOUR_US)
    targets = np.random.default_rng(1).normal(0.0, 0.2, (1, 25))
    work = partial(
        check_often, CHECKS, account, guarded.rules, journal, market_arrays(bars), config, targets,
        np.empty((N_WORK, 25)), np.empty((1, 25)), np.zeros(25, dtype=np.bool_),
    )  # fmt: skip
    assert np.isfinite(work())
    timings = race({"all": work}, rounds=1 if benchmark.disabled else 5)
    each = {
        "ours, every limit on": Timing(timings["all"].wall / CHECKS, timings["all"].cpu / CHECKS)
    }
    table.add("one risk check, 25 symbols, inside the loop", each, goal="<= 5 us")
    keep(benchmark, work, rounds=3)


def patient() -> ExecutionSettings:
    """The router with the slippage controller and the fill model, as configured."""
    return build(compose("backtest", ["execution=router"]).execution, ExecutionSettings)


def guarded_curve(
    bars: Bars,
    targets: FloatArray,
    settings: RiskSettings | None,
    execution: ExecutionSettings | None = None,
) -> Events:
    account = plane(bars, risk=settings, execution=execution)
    return account.advance(account.start(), bars, targets=targets, full_curve=False)[1]


def test_ten_symbols_with_every_limit_on(benchmark: BenchmarkFixture, table: Table) -> None:
    bars = market(MINUTES, 10, funding=True, volume=True)
    targets = targets_of(bars, 0.09)
    settings, execution = limits(), patient()
    events = guarded_curve(bars, targets, settings, execution)
    assert np.isfinite(events.curve).all()
    fills = events.of(at.EVENT_FILL)[0]
    made = fills[:, at.EVENT_STATE] == Liquidity.MAKER
    assert made.sum() > 1000
    assert (~made).sum() > 10
    timings = race(
        {
            "ours, limits, router, fills, slippage": partial(
                guarded_curve, bars, targets, settings, execution
            ),
            "ours, every limit on": partial(guarded_curve, bars, targets, settings),
            "ours, without": partial(guarded_curve, bars, targets, None),
        },
        rounds=1 if benchmark.disabled else 5,
    )
    table.add(
        f"10 symbols x {MINUTES:,} bars, targets at crossings, with limits and router", timings, goal="<= 300 ms"
    )  # fmt: skip
    keep(benchmark, partial(guarded_curve, bars, targets, settings, execution), rounds=3)
