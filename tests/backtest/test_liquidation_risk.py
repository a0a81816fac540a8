"""How near a run came to liquidation: nothing without rules or positions, more with leverage, isolated alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.liquidation_risk import LiquidationRisk, liquidation_risk
from quantcore.backtest.result import Run
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Rules
from quantcore.types import MarginType

MAINTENANCE = 0.01
LEVERAGE = 10.0


def rules_of(n_symbols: int, *, isolated: bool = False) -> Rules:
    rate, size = np.zeros((n_symbols, at.N_RATE)), np.zeros((n_symbols, at.N_SIZE), dtype=np.int64)
    rate[:, at.LEVERAGE], rate[:, at.LIQUIDATION_FEE] = LEVERAGE, 0.0125
    size[:, at.MARGIN_TYPE] = int(MarginType.ISOLATED if isolated else MarginType.CROSS)
    bracket = np.zeros((n_symbols, 1, at.N_BRACKET))
    bracket[:, 0] = (0.0, math.inf, MAINTENANCE, 0.0)
    return Rules(rate, size, bracket)


def levered(run: Run, leverage: float, *, isolated: bool = False) -> Run:
    """Return the run with one long position in its first symbol at every decision, entered at its mark."""
    equity = run.tables["equity"].copy()
    equity["equity"] = equity["wallet_balance"] = 1_000.0
    rows = np.searchsorted(run.bars.index, equity["ts"])
    marks = run.bars.array("mark_price")[rows, 0]
    positions = pd.DataFrame(
        {
            "ts": equity["ts"],
            "symbol": run.bars.symbols[0],
            "qty": leverage * 1_000.0 / marks,
            "entry_price": marks,
            "mark_price": marks,
            "unrealised_pnl": 0.0,
        }
    )
    rules = rules_of(run.bars.n_symbols, isolated=isolated)
    return replace(
        run, tables={**run.tables, "equity": equity, "positions": positions}, rules=rules
    )


@pytest.fixture(scope="module")
def long_run(make_run: Callable[..., Run]) -> Run:
    return make_run(days=60, symbols=3)


def risk_of(run: Run) -> LiquidationRisk:
    found = liquidation_risk(run)
    assert found is not None
    return found


def test_a_run_without_rules_says_nothing(long_run: Run) -> None:
    assert liquidation_risk(replace(long_run, rules=None)) is None


def test_a_run_that_held_nothing_says_nothing(long_run: Run) -> None:
    empty = long_run.tables["positions"].iloc[:0]
    run = replace(long_run, tables={**long_run.tables, "positions": empty}, rules=rules_of(3))
    assert liquidation_risk(run) is None


def test_a_first_day_without_history_is_not_rated(long_run: Run) -> None:
    days = long_run.tables["equity"]["ts"].dt.floor("D").nunique()
    assert 0 < risk_of(levered(long_run, 2.0)).days < days


def test_probability_rises_with_leverage(long_run: Run) -> None:
    risks = [risk_of(levered(long_run, leverage)) for leverage in (1.0, 10.0, 20.0, 40.0)]
    chances = [risk.estimate.probability for risk in risks]
    assert chances == sorted(chances)
    assert chances[0] < 0.001 < 0.05 < chances[-1]
    assert [risk.leverage for risk in risks] == pytest.approx([1.0, 10.0, 20.0, 40.0])
    assert risks[-1].typical > risks[1].typical


def test_simulation_and_closed_form_are_of_one_size(long_run: Run) -> None:
    """Fat tails and a riskiest day apart, the two ways see the same distance."""
    risk = risk_of(levered(long_run, 20.0))
    assert risk.typical / 5.0 < risk.estimate.probability < 20.0 * risk.typical


def test_an_isolated_position_is_tested_against_its_own_margin(long_run: Run) -> None:
    """At the leverage it was entered with an isolated position stands where a cross account of that leverage does."""
    alone = risk_of(levered(long_run, 0.5, isolated=True))
    together = risk_of(levered(long_run, LEVERAGE))
    assert alone.leverage == pytest.approx(0.5)
    assert alone.ts_us == together.ts_us
    assert alone.estimate.probability == pytest.approx(together.estimate.probability, abs=0.02)


def test_the_same_run_gives_the_same_number(long_run: Run) -> None:
    first, second = (risk_of(levered(long_run, 20.0)) for _ in range(2))
    assert first.estimate.probability == second.estimate.probability
