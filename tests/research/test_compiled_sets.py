from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from quantcore.account_plane import account_plane
from quantcore.backtest.engine import decide, trade
from quantcore.data.instruments import Instrument
from quantcore.data.sources import MarketData
from quantcore.exits import ExitSettings
from quantcore.frames import Bars, Settlements
from quantcore.kernels import layout as at
from quantcore.research import set_group
from quantcore.research.compiled_sets import run_group
from quantcore.research.outcomes import SET_METRICS, set_metrics
from quantcore.research.set_group import SetGroup, Stage
from quantcore.research.study import Variant
from quantcore.signal_plane import SignalSettings
from quantcore.signals.fixed import FixedSettings
from quantcore.signals.generator import PortfolioSettings
from quantcore.types import FloatArray
from tests.account.random_cases import Case, bar_stamps, case_bars, case_instruments, case_settings
from tests.research.scripted import ScriptedSettings

PORTFOLIO = PortfolioSettings(
    volatility_half_life=5.0,
    covariance_half_life=8.0,
    annual_volatility_target=2.0,
    full_conviction=0.3,
    weight_max=3.0,
    gross_max=6.0,
)
PHASES = (Phase.explicit, Phase.generate)  # a failing case is small enough to be read as it is
STATE = ("cash", "counter", "position", "held")
CASES = st.builds(
    Case,
    seed=st.integers(0, 2**31 - 1),
    n_bars=st.sampled_from([20, 150, 400]),
    leverage=st.sampled_from([1, 3, 20]),
    isolated=st.sampled_from([False, False, False, True]),
    capital=st.sampled_from([1000.0, 30.0, 1e4, 1e6]),
    interval=st.sampled_from(["1h", "4h"]),
    volatility=st.sampled_from([0.01, 0.001, 0.05]),
    crash=st.sampled_from([0.0, 0.6]),
    marks=st.booleans(),
    holes=st.booleans(),
    ends=st.booleans(),
    funding=st.booleans(),
    missing_rate=st.sampled_from([0.0, 0.003]),
    costs_bps=st.sampled_from([0.0, 50.0]),
    latency_bars=st.sampled_from([1, 1, 1, 2]),
    small_maximum=st.booleans(),
    bracket_scale=st.sampled_from([1.0, 100.0]),
    flows=st.lists(st.integers(0, 2**31 - 1), max_size=2).map(tuple),
    no_trade_band=st.sampled_from([0.0, 0.02]),
    margin_buffer=st.sampled_from([0.0, 0.1]),
)


def only(bars: Bars, symbol: int | None) -> Bars:
    """Return one symbol's bars, or all."""
    if symbol is None:
        return bars
    mine = bars.settlements.symbol == symbol
    kept = bars.settlements
    return Bars(
        interval=bars.interval,
        ts_us=bars.ts_us,
        symbols=(bars.symbols[symbol],),
        fields={name: bars.array(name)[:, [symbol]] for name in bars.fields},
        settlements=Settlements(
            time_us=kept.time_us[mine],
            symbol=np.zeros(int(mine.sum()), dtype=np.int64),
            rate=kept.rate[mine],
            mark_price=kept.mark_price[mine],
        ),
    )


def stage_of(case: Case, symbol: int | None, paid: Settlements | None = None) -> Stage:
    bars = only(case_bars(case), symbol)
    if paid is not None:
        bars = replace(bars, settlements=paid)
    data = MarketData(bars=bars, interval=bars.interval, start_us=None, notes=())
    instruments = case_instruments(case)
    chosen: Sequence[Instrument] = instruments if symbol is None else [instruments[symbol]]
    return replace(set_group.stage(data), instruments=tuple(chosen))


def variant(
    case: Case,
    seed: int,
    *,
    weight: float | None,
    changes: float = 0.2,
    exits: ExitSettings | None = None,
) -> Variant:
    account, execution = case_settings(case)
    strategy = ScriptedSettings(seed=seed, changes=changes, exits=exits or case.exits)
    portfolio = PORTFOLIO if weight is None else FixedSettings(weight=weight)
    signal = SignalSettings(strategy=strategy, portfolio=portfolio)
    return Variant(signal=signal, account=account, execution=execution, risk=case.risk)


def alone(where: Stage, each: Variant) -> FloatArray:
    run = trade(
        decide(where.data, signal=each.signal),
        account=each.account,
        execution=each.execution,
        risk=each.risk,
        instruments=where.instruments,
    )
    metrics, daily, _ = set_metrics(run)
    return np.concatenate([metrics, daily])


def assert_same(where: Stage, variants: Sequence[Variant]) -> None:
    """Assert that each set came to what its own backtest comes to, and its account to the same bits."""
    planes = [
        account_plane(
            where.instruments,
            interval=where.bars.interval,
            account=v.account,
            execution=v.execution,
            exits=v.signal.strategy.exits,
            risk=v.risk,
        )
        for v in variants
    ]
    group = SetGroup(where, variants, planes)
    group.run()
    for g, (each, plane) in enumerate(zip(variants, planes, strict=True)):
        found = decide(where.data, signal=each.signal).found
        state, _ = plane.advance(
            plane.start(), where.bars, targets=found.weight_array, full_curve=False
        )
        for name in STATE:
            ours, theirs = getattr(group.books, name)[g], state[name]
            if name == "held":  # the bracket's row is a hint, what was asked last is done
                gone = [at.TIER, at.ASKED_LOTS]
                ours, theirs = (np.delete(a, gone, axis=1) for a in (ours, theirs))
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
    chunk = run_group(where, variants, range(len(variants)))
    for g, each in enumerate(variants):
        assert chunk.refused[g] == ""
        ours = np.concatenate([chunk.metrics[g], chunk.daily[:, g]])
        theirs = alone(where, each)
        money = each.account.capital * 1e-12
        for name, a, b in zip(
            (*SET_METRICS, *["daily"] * len(chunk.daily)), ours, theirs, strict=True
        ):
            assert a == pytest.approx(b, rel=1e-11, abs=max(1e-11, money), nan_ok=True), name


@settings(
    max_examples=40, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    case=CASES,
    symbol=st.sampled_from([0, 1, 2]),
    weight=st.sampled_from([0.5, 2.0, 12.0]),
    changes=st.sampled_from([0.01, 0.1, 0.9]),
    seed=st.integers(0, 1000),
)
def test_one_symbol_in_many_sets_comes_to_what_each_comes_to_alone(
    case: Case, symbol: int, weight: float, changes: float, seed: int
) -> None:
    where = stage_of(case, symbol)
    sets = [variant(case, seed + k, weight=weight * (1 + k), changes=changes) for k in range(2)]
    assert_same(where, sets)


@settings(
    max_examples=15, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow]
)
@given(case=CASES, weight=st.sampled_from([0.3, 4.0, None]), seed=st.integers(0, 1000))
def test_several_symbols_in_many_sets_come_to_what_each_comes_to_alone(
    case: Case, weight: float | None, seed: int
) -> None:
    where = stage_of(case, None)
    assert_same(where, [variant(case, seed + k, weight=weight) for k in range(2)])


@settings(
    max_examples=25, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    seed=st.integers(0, 2**31 - 1),
    weight=st.sampled_from([0.5, 4.0, 15.0]),
    rate=st.sampled_from([0.002, 0.02]),
    per_bar=st.sampled_from([0.1, 0.4, 1.5]),
    volatility=st.sampled_from([0.0005, 0.01]),
)
def test_funding_moves_an_account_as_much_as_prices_do(
    seed: int, weight: float, rate: float, per_bar: float, volatility: float
) -> None:
    case = Case(seed=seed, n_bars=600, volatility=volatility, marks=seed % 2 == 0, leverage=20)
    stamps, draws = bar_stamps(case), np.random.default_rng(seed)
    times = np.unique(draws.integers(stamps[0], stamps[-1], int(per_bar * len(stamps))))
    paid = Settlements(
        time_us=times,
        symbol=np.zeros(len(times), dtype=np.int64),
        rate=draws.normal(0.0, rate, len(times)),
        mark_price=np.full(len(times), np.nan),
    )
    where = stage_of(case, 0, paid)
    assert_same(where, [variant(case, seed, weight=weight, changes=c) for c in (0.002, 0.05)])
