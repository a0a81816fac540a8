"""One account whose settings change at given decisions: nothing else than that changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.engine import Decided, Turn, decide, trade, trade_in_turn
from quantcore.config import build, compose
from quantcore.errors import ConfigError
from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.risk.limits import RiskSettings
from quantcore.signal_plane import SignalSettings
from quantcore.signals.generator import PortfolioSettings
from strategies.trend import TrendSettings
from tests.research.market import SmallMarket
from tests.research.test_feasibility_demand import ACCOUNT, EXECUTION

GUARD = replace(build(compose("backtest", ["risk=testnet"]).risk, RiskSettings), stage_capital=None)
SIGNAL = SignalSettings(
    strategy=TrendSettings(
        fast=2, slow=5, speeds=2, volatility_half_life=6.0, cap=2.0, exits=NO_EXITS
    ),
    portfolio=PortfolioSettings(
        volatility_half_life=4.0,
        covariance_half_life=6.0,
        annual_volatility_target=0.3,
        full_conviction=0.5,
        weight_max=0.3,
        gross_max=1.0,
    ),
)


@pytest.fixture(scope="module")
def decided() -> Decided:
    market = SmallMarket(days=60, n_symbols=4, interval="8h", execution_interval="4h")
    return decide(market.load(), signal=SIGNAL)


def turn(decided: Decided, row: int, **changes: Any) -> Turn:
    usual = Turn(
        from_us=int(decided.found.bars.ts_us[row]),
        account=ACCOUNT,
        execution=EXECUTION,
        exits=NO_EXITS,
        risk=None,
    )
    return replace(usual, **changes)


@pytest.mark.parametrize("risk", [None, GUARD], ids=["free", "guarded"])
def test_turns_of_the_same_settings_trade_as_one(
    decided: Decided, risk: RiskSettings | None
) -> None:
    whole = trade(decided, account=ACCOUNT, execution=EXECUTION, risk=risk)
    turns = [turn(decided, row, risk=risk) for row in (0, 31, 32, 120)]
    parts = trade_in_turn(decided, turns)
    assert len(whole.tables["fills"]) > 50
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(table, parts.tables[name])
    assert parts.notes == whole.notes
    assert parts.quality == whole.quality


def test_stops_are_sent_from_their_turn_on(decided: Decided) -> None:
    stops = ExitSettings(stop_loss=0.05, take_profit=None, trailing_stop=None, time_exit=None)
    run = trade_in_turn(decided, [turn(decided, 0), turn(decided, 90, exits=stops)])
    sent = run.tables["orders"]
    sent = sent[sent["type"] == "stop_market"]
    assert len(sent)
    assert sent["decision_ts"].min() >= decided.found.bars.index[90]
    before = trade(decided, account=ACCOUNT, execution=EXECUTION).tables["fills"]
    same = before["ts"] <= decided.found.bars.index[90]
    pd.testing.assert_frame_equal(before[same], run.tables["fills"].head(int(same.sum())))


def test_a_wider_band_trades_less_from_its_turn_on(decided: Decided) -> None:
    wide = replace(ACCOUNT, no_trade_band=0.2)
    run = trade_in_turn(decided, [turn(decided, 0), turn(decided, 90, account=wide)])
    usual = trade(decided, account=ACCOUNT, execution=EXECUTION)
    border = decided.found.bars.index[90]
    counts = [(r.tables["fills"]["ts"] > border).sum() for r in (run, usual)]
    assert counts[0] < counts[1] / 2
    held = run.tables["positions"]
    assert (held["ts"] == decided.found.bars.index[91]).any()  # what was held is not closed


@pytest.mark.parametrize(
    "changes",
    [
        {"account": replace(ACCOUNT, capital=999.0)},
        {"account": replace(ACCOUNT, leverage_max=2)},
        {"execution": replace(EXECUTION, taker_fee=0.001)},
        {"risk": GUARD},
        {"execution": build(compose("backtest", ["execution=router"]).execution)},
    ],
)
def test_what_one_account_cannot_change_is_refused(
    decided: Decided, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="must be the same in all turns of one account"):
        trade_in_turn(decided, [turn(decided, 0), turn(decided, 50, **changes)])


def test_the_curve_of_turns_has_a_row_per_decision_and_a_closing_one(decided: Decided) -> None:
    run = trade_in_turn(decided, [turn(decided, 0), turn(decided, 77)])
    stamps = run.tables["equity"]["ts"]
    assert stamps.is_unique
    assert stamps.is_monotonic_increasing
    expected = np.union1d(decided.found.bars.ts_us, decided.data.bars.ts_us[-1:])
    assert len(stamps) == len(expected)
