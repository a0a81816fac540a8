"""What is wanted and what the exchange takes at least: smallest orders by hand, the normal size by its properties."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from quantcore.account_plane import (
    AccountSettings,
    compile_rules,
)
from quantcore.backtest.engine import Decided, decide, traded_instruments
from quantcore.backtest.experiment import signal_settings
from quantcore.config import build, compose
from quantcore.data.instruments import Instrument, default_instrument
from quantcore.execution.settings import ExecutionSettings
from quantcore.research.feasibility_demand import Demand, Stage, normal_weights, smallest_orders
from quantcore.risk.limits import RiskSettings
from tests.research.market import SmallMarket

ACCOUNT = AccountSettings(
    capital=1000.0,
    margin="cross",
    leverage_max=3,
    no_trade_band=0.01,
    margin_buffer=0.05,
    missing_funding_rate=0.0001,
    cash_flows=(),
)
EXECUTION = ExecutionSettings(
    half_spread_bps=0.5, slippage_bps=1.0, latency_ms=100.0, maker_fee=None, taker_fee=None
)
RISK = replace(
    build(compose("backtest", ["risk=testnet"]).risk, RiskSettings),
    net_max=None,
    symbol_max=None,
    cluster_max=None,
    daily_var_max=None,
    drawdown_max=None,
    drawdown_reduce=1.0,
    daily_loss_max=None,
    liquidation_probability_max=None,
    protective_stop=None,
    stage_capital=5000.0,
)
"""A mode that limits the leverage to 3 and nothing else."""
FACTS = (
    ("AAAUSDT", "0.001", "0.001", 100.0, 60_000.0),  # lots of 60 USDT, two of them are 120
    ("BBBUSDT", "0.001", "0.001", 20.0, 3_000.0),  # lots of 3 USDT, seven of them are 21
    ("CCCUSDT", "0.1", "0.1", 5.0, 0.5),  # lots of 5 cents, a hundred of them are 5
    ("DDDUSDT", "1", "3", 5.0, 10.0),  # lots of 10 USDT, three at least are 30
)
ORDERS = [120.0, 21.0, 5.0, 30.0]
LOTS = [60.0, 3.0, 0.05, 10.0]
WEIGHTS = st.lists(
    st.lists(
        st.floats(-0.5, 0.5).filter(lambda w: w == 0.0 or abs(w) > 1e-6), min_size=4, max_size=4
    ).filter(any),
    min_size=1,
    max_size=5,
)
"""Rows of what may be wanted of the four symbols: each row wants something, and no dust."""


def instrument(symbol: str, step: str, least: str, notional: float, price: float) -> Instrument:
    made = default_instrument(symbol, price=price)
    return replace(made, step_size=step, min_qty=least, min_notional=notional)


def stage(capital: float = 1000.0, *, size_limit: float = 1.0) -> Stage:
    return Stage(
        account=replace(ACCOUNT, capital=capital),
        execution=EXECUTION,
        risk=replace(RISK, size_limit=size_limit),
    )


def wanting(weights: Any, *, ended: Any = False) -> Demand:
    """What is wanted of the four symbols above, whose prices never change."""
    given_weights = np.atleast_2d(np.array(weights, dtype=np.float64))
    n = len(given_weights)
    facts = [instrument(*fact) for fact in FACTS]
    rules = compile_rules(facts, account=ACCOUNT, execution=EXECUTION)
    prices = np.tile([fact[4] for fact in FACTS], (n, 1))
    lots, orders = smallest_orders(prices, rules)
    last_lots, last_orders = smallest_orders(np.array([[fact[4] for fact in FACTS]]), rules)
    return Demand(
        rows=np.arange(n),
        index=pd.date_range("2024-01-01", periods=n, freq="8h", tz="UTC", unit="us", name="ts"),
        symbols=tuple(fact[0] for fact in FACTS),
        weights=given_weights,
        prices=prices,
        lots=lots,
        orders=orders,
        last_lots=last_lots[0],
        last_orders=last_orders[0],
        ended=np.broadcast_to(np.array(ended), 4),
        rules=rules,
        instruments=tuple(facts),
    )


MARKET = {"days": 40, "n_symbols": 4, "interval": "8h", "execution_interval": "8h"}
STRATEGY = {
    "_target_": "strategies.trend.TrendSettings",
    **{"fast": 2, "slow": 5, "speeds": 2, "volatility_half_life": 6.0, "cap": 2.0},
    "exits": {
        "_target_": "quantcore.exits.ExitSettings",
        **dict.fromkeys(("stop_loss", "take_profit", "trailing_stop", "time_exit")),
    },
}
PORTFOLIO = {
    "_target_": "quantcore.signals.generator.PortfolioSettings",
    **{"volatility_half_life": 4.0, "covariance_half_life": 6.0, "annual_volatility_target": 0.2},
    **{"full_conviction": 0.5, "weight_max": 0.3, "gross_max": 1.0},
}


def configured(folder: Path, **changes: Any) -> DictConfig:
    """What the command is given, on the small market."""
    composed = compose("feasibility")
    return OmegaConf.create(
        {
            "account": OmegaConf.to_container(composed.account),
            "execution": OmegaConf.to_container(composed.execution),
            "risk": {},
            "runs": str(folder / "runs"),
            "name": "small",
            "seed": 7,
            "positions_min": 3,
            "capitals": [50, 1000],
            "samples": 4,
            "data": {"_target_": "tests.research.market.SmallMarket", **MARKET},
            "universe": {},
            "regime": {},
            "matrix": {},
            "strategy": STRATEGY,
            "portfolio": PORTFOLIO,
            **changes,
        }
    )


@cache
def small_decided() -> Decided:
    """What the strategy of `configured` says of the small market."""
    market = SmallMarket(days=40, n_symbols=4, interval="8h", execution_interval="8h").load()
    return decide(market, signal=signal_settings(configured(Path())))


def test_the_smallest_order_keeps_minimum_notional_minimum_lots_and_step() -> None:
    wanted = wanting([0.1] * 4)
    assert wanted.orders[0].tolist() == pytest.approx(ORDERS, rel=1e-12)
    assert wanted.lots[0].tolist() == pytest.approx(LOTS, rel=1e-12)


def test_a_symbol_without_a_price_has_no_smallest_order() -> None:
    rules = wanting([0.1] * 4).rules
    lots, orders = smallest_orders(np.array([[np.nan, 3000.0, 0.5, 10.0]]), rules)
    assert np.isnan(lots[0, 0])
    assert np.isnan(orders[0, 0])
    assert orders[0, 1:].tolist() == pytest.approx(ORDERS[1:])


def test_the_normal_size_is_the_targets_of_the_decision_before_where_the_mode_limits_nothing() -> (
    None
):
    decided = small_decided()
    free = replace(stage(10.0), risk=None)
    weights = normal_weights(decided, free, traded_instruments(decided.data))
    targets = decided.found.weight_array
    prices = decided.found.bars.array("close")
    known = ~np.isnan(targets[:-1] + prices[:-1] + prices[1:]).any(axis=1)
    assert known.sum() > 60
    assert np.abs(targets[:-1][known]).sum(axis=1).mean() > 0.2
    # Eight hours move a weight by its return, which is some per cent of it, and equity by that of all.
    np.testing.assert_allclose(weights[1:][known], targets[:-1][known], rtol=0.15, atol=0.002)


def test_the_normal_size_keeps_the_mode_s_limits_but_neither_its_size_limit_nor_its_ladder() -> (
    None
):
    decided = small_decided()
    limited = stage(10.0, size_limit=0.1)
    assert limited.risk is not None
    risk = replace(
        limited.risk, symbol_max=0.1, drawdown_max=0.01, drawdown_reduce=0.005, drawdown_restore=0.001,
    )  # fmt: skip
    facts = traded_instruments(decided.data)
    weights = normal_weights(decided, replace(limited, risk=risk), facts)
    assert np.abs(weights).max() == pytest.approx(0.1, rel=0.1)
    assert np.abs(weights[-10:]).sum() > 0.5


def test_the_normal_size_does_not_depend_on_the_capital() -> None:
    decided = small_decided()
    facts = traded_instruments(decided.data)
    small, large = (normal_weights(decided, stage(c), facts) for c in (10.0, 1e6))
    np.testing.assert_array_equal(small, large)
