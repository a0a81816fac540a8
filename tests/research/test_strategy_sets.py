"""Sets of the strategies in one compiled pass: each comes to what its own backtest comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from quantcore.account_plane import AccountSettings
from quantcore.backtest.engine import decide, trade
from quantcore.data.sources import MarketData
from quantcore.execution.settings import ExecutionSettings
from quantcore.research.compiled_sets import group_key, qualifies, run_group
from quantcore.research.outcomes import SET_METRICS, Chunk, set_metrics
from quantcore.research.set_group import Stage, stage
from quantcore.research.study import Variant
from quantcore.signal_plane import PORTFOLIOS, SignalSettings
from quantcore.signals.fixed import FixedSettings
from quantcore.signals.generator import PortfolioSettings
from quantcore.types import FloatArray
from tests.research.market import small_bars
from tests.strategies.swept import SWEPT

PORTFOLIO = PortfolioSettings(
    volatility_half_life=30.0,
    covariance_half_life=30.0,
    annual_volatility_target=0.4,
    full_conviction=0.5,
    weight_max=0.5,
    gross_max=2.0,
)
ACCOUNT = AccountSettings(
    capital=10_000.0,
    margin="cross",
    leverage_max=5,
    no_trade_band=0.01,
    margin_buffer=0.0,
    missing_funding_rate=0.0,
    cash_flows=(),
)
EXECUTION = ExecutionSettings(
    half_spread_bps=1.0, slippage_bps=1.0, latency_ms=100.0, maker_fee=None, taker_fee=None
)
CHOICES: dict[str, PORTFOLIOS] = {"generated": PORTFOLIO, "fixed": FixedSettings(weight=0.3)}
TOLERANCE = 1e-12
both = pytest.mark.parametrize("portfolio", CHOICES)
every = pytest.mark.parametrize("kind", SWEPT)


@cache
def where() -> Stage:
    """Five months of five symbols: holes, two days without a bar of one, 16 hours without funding, a late listing."""
    bars = small_bars(days=150, n_symbols=5, interval="4h", seed=3)
    fields = {name: values.copy() for name, values in bars.fields.items()}
    for name in ("open", "high", "low", "close", "volume", "quote_volume"):
        fields[name][480:492, 1] = np.nan
    fields["funding_rate"][300:304, 2] = np.nan
    data = MarketData(
        bars=replace(bars, fields=fields), interval="4h", start_us=int(bars.ts_us[60]), notes=()
    )
    return stage(data)


def variants(kind: str, portfolio: str) -> list[Variant]:
    return [
        Variant(
            signal=SignalSettings(strategy=strategy, portfolio=CHOICES[portfolio]),
            account=ACCOUNT,
            execution=EXECUTION,
            risk=None,
        )
        for strategy in SWEPT[kind]
    ]


def run(sets: Sequence[Variant]) -> Chunk:
    """Run sets as one group, which they must be."""
    assert all(qualifies(each) for each in sets)
    assert len({group_key(each, where()) for each in sets}) == 1
    return run_group(where(), sets, range(len(sets)))


def backtest(each: Variant) -> FloatArray:
    decided = decide(where().data, signal=each.signal)
    result = trade(decided, account=each.account, execution=each.execution, risk=each.risk)
    metrics, daily, _ = set_metrics(result)
    return np.concatenate([metrics, daily])


def column(chunk: Chunk, name: str) -> FloatArray:
    found: Any = chunk.metrics[:, SET_METRICS.index(name)]
    return np.asarray(found)


@every
@both
def test_each_set_comes_to_what_its_backtest_comes_to(kind: str, portfolio: str) -> None:
    sets = variants(kind, portfolio)
    chunk = run(sets)
    assert chunk.refused == ("",) * len(sets)
    assert (column(chunk, "trades") > 20).all()
    assert (column(chunk, "final_equity")[1:] != column(chunk, "final_equity")[0]).all()
    for k, each in enumerate(sets):
        ours, theirs = np.concatenate([chunk.metrics[k], chunk.daily[:, k]]), backtest(each)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        difference = np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))
        assert np.nanmax(difference) <= TOLERANCE, each


@every
@both
def test_a_set_alone_comes_to_the_same_bits_as_among_others(kind: str, portfolio: str) -> None:
    sets = variants(kind, portfolio)
    among = run([*sets, *sets])
    for k, each in enumerate(sets):
        alone = run([each])
        for other in (k, k + len(sets)):
            np.testing.assert_array_equal(alone.metrics[0], among.metrics[other])
            np.testing.assert_array_equal(alone.daily[:, 0], among.daily[:, other])
