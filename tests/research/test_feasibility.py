"""What an account can hold: smallest orders and capitals by hand, verdicts, and a results folder that says it all."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from quantcore import signal_plane
from quantcore.account_plane import AccountSettings, CashFlow, ExecutionSettings, compile_rules
from quantcore.backtest import engine
from quantcore.backtest.engine import Decided, decide, traded_instruments
from quantcore.backtest.experiment import signal_settings
from quantcore.config import build, compose
from quantcore.data.instruments import Instrument, default_instrument
from quantcore.errors import ConfigError
from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.frames import Bars
from quantcore.research import feasibility
from quantcore.research.feasibility import (
    UNLIMITED,
    Demand,
    Stage,
    capital_for,
    fitting,
    greedy_weights,
    judge,
    normal_weights,
    position_table,
    rounding_table,
    smallest_orders,
    study,
    symbol_table,
)
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


def symbols_of(wanted: Demand, account: Stage) -> pd.DataFrame:
    table = symbol_table(wanted, account, greedy_weights(wanted, account, account.account.capital))
    return table.set_index("symbol")


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


def test_a_symbol_is_tradable_from_its_smallest_order_over_its_target() -> None:
    table = symbols_of(wanting([0.1, -0.1, 0.01, 0.1]), stage(210.0))
    assert table["capital_min"].to_dict() == pytest.approx(
        {"AAAUSDT": 1200.0, "BBBUSDT": 210.0, "CCCUSDT": 500.0, "DDDUSDT": 300.0}
    )
    assert table["tradable"].to_dict() == {
        "AAAUSDT": False, "BBBUSDT": True, "CCCUSDT": False, "DDDUSDT": False,
    }  # fmt: skip
    assert table.loc["AAAUSDT", "reason"] == "smallest order above its target"
    assert table.loc["BBBUSDT", "reason"] == "fits"
    assert table.loc["AAAUSDT", "smallest_share"] == pytest.approx(120.0 / 210.0)
    assert table.loc["AAAUSDT", "lot_share"] == pytest.approx(60.0 / 210.0)
    assert table.loc["AAAUSDT", "order_over_target"] == pytest.approx(120.0 / 21.0)
    assert list(table.index) == ["CCCUSDT", "BBBUSDT", "DDDUSDT", "AAAUSDT"]


def test_a_size_limit_leaves_no_symbol_more_than_its_share_of_the_gross_exposure() -> None:
    table = symbols_of(wanting([0.5, 0.3, 0.1, 0.1]), stage(1000.0, size_limit=0.1))
    # The gross exposure is 1, so that 100 USDT are held in sum: 120 are not among them, whatever the target.
    assert table.loc["AAAUSDT", "reason"] == "smallest order above the size limit"
    assert table.loc["AAAUSDT", "capital_min"] == pytest.approx(1200.0)
    assert table.loc["AAAUSDT", "capital_proportional"] == pytest.approx(120.0 / 0.05)
    assert table.loc["BBBUSDT", "limited_weight"] == pytest.approx(0.1)
    assert table.loc["BBBUSDT", "capital_min"] == pytest.approx(210.0)
    assert table.loc["CCCUSDT", "capital_proportional"] == pytest.approx(500.0)


def test_a_symbol_that_nobody_wants_or_that_has_ended_is_not_tradable_at_any_capital() -> None:
    wanted = wanting([0.5, 0.0, 0.1, 0.1], ended=[True, False, False, False])
    table = symbols_of(wanted, stage(1e8))
    assert table.loc["AAAUSDT", "reason"] == "no price at the end of the data"
    assert table.loc["BBBUSDT", "reason"] == "never wanted"
    assert not table.loc[["AAAUSDT", "BBBUSDT"], "tradable"].any()
    assert table.loc[["AAAUSDT", "BBBUSDT"], "capital_min"].isna().all()


def test_targets_and_shares_count_only_decisions_that_want_the_symbol() -> None:
    rows = [[0.0, 0.1, 0.1, 0.1], [0.2, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1], [0.05, 0.1, 0.1, 0.1]]
    table = symbols_of(wanting(rows), stage(1000.0))
    assert table.loc["AAAUSDT", "target_weight"] == pytest.approx(0.1)
    assert table.loc["AAAUSDT", "fits_share"] == pytest.approx(1.0 / 3.0)
    assert table.loc["AAAUSDT", "held_share"] == pytest.approx(1.0 / 3.0)


@pytest.mark.parametrize(
    ("size_limit", "capital", "fit"),
    [
        (1.0, 20.0, 1),  # C: 5 of 5
        (1.0, 83.0, 1),  # B wants 20.75, its smallest is 21
        (1.0, 84.0, 2),
        (1.0, 120.0, 3),
        (1.0, 479.0, 3),
        (1.0, 480.0, 4),
        (0.1, 49.0, 0),
        (0.1, 50.0, 1),
        (0.1, 259.0, 1),
        (0.1, 260.0, 2),  # 26 in sum
        (0.1, 560.0, 3),
        (0.1, 1760.0, 4),
    ],
)
def test_the_positions_that_fit_are_the_most_that_can_be_opened_at_once(
    size_limit: float, capital: float, fit: int
) -> None:
    wanted = wanting([0.25, -0.25, 0.25, 0.25])
    assert fitting(wanted, stage(size_limit=size_limit), capital).tolist() == [fit]


def test_margin_bounds_how_many_positions_fit() -> None:
    wanted = wanting([1.0] * 4)
    small = stage()
    tight = replace(small, account=replace(small.account, leverage_max=1, margin_buffer=0.5))
    assert fitting(wanted, small, 125.0).tolist() == [4]  # 176 of 125 x 3 x 0.95
    assert fitting(wanted, tight, 125.0).tolist() == [3]  # 62.5 in sum


@pytest.mark.parametrize(
    ("size_limit", "positions", "capital"),
    [(1.0, 1, 20.0), (1.0, 4, 480.0), (0.1, 2, 260.0), (0.1, 4, 1760.0)],
)
def test_the_capital_from_which_positions_fit_is_found(
    size_limit: float, positions: int, capital: float
) -> None:
    wanted = wanting([0.25, -0.25, 0.25, 0.25])
    found = capital_for(wanted, stage(size_limit=size_limit), positions)
    assert found == pytest.approx(capital, rel=1e-6)


def test_no_capital_is_enough_for_positions_that_nobody_wants() -> None:
    assert math.isnan(capital_for(wanting([0.5, 0.5, 0.0, 0.0]), stage(), 3))
    assert math.isnan(capital_for(wanting(np.zeros((0, 4))), stage(), 1))


WEIGHTS = st.lists(
    st.lists(
        st.floats(-0.5, 0.5).filter(lambda w: w == 0.0 or abs(w) > 1e-6), min_size=4, max_size=4
    ).filter(any),
    min_size=1,
    max_size=5,
)


@given(
    weights=WEIGHTS,
    capital=st.floats(1.0, 1e5),
    more=st.floats(1.0, 10.0),
    size_limit=st.sampled_from([0.05, 0.1, 1.0]),
)
def test_more_capital_never_makes_a_symbol_untradable_nor_fewer_positions_fit(
    weights: list[list[float]], capital: float, more: float, size_limit: float
) -> None:
    wanted = wanting(weights)
    small, large = (stage(c, size_limit=size_limit) for c in (capital, capital * more))
    before, after = (symbols_of(wanted, account)["tradable"] for account in (small, large))
    assert not (before & ~after).any()
    fit, fit_after = (fitting(wanted, s, s.account.capital) for s in (small, large))
    assert (fit_after >= fit).all()


@given(weights=WEIGHTS, capital=st.floats(1.0, 1e5), size_limit=st.sampled_from([0.1, 1.0]))
def test_the_greedy_rule_holds_whole_orders_within_targets_and_no_more_than_fit(
    weights: list[list[float]], capital: float, size_limit: float
) -> None:
    wanted, account = wanting(weights), stage(capital, size_limit=size_limit)
    held = greedy_weights(wanted, account, capital)
    assert (held * wanted.weights >= 0.0).all()
    assert (np.abs(held) <= np.abs(wanted.weights) * (1.0 + 1e-5) + 1e-9).all()
    assert (np.abs(held).sum(axis=1) <= size_limit * wanted.gross + 1e-9).all()
    value = np.abs(held) * capital
    assert ((value == 0.0) | (value >= wanted.orders * (1.0 - 1e-9))).all()
    assert ((held != 0.0).sum(axis=1) <= fitting(wanted, account, capital)).all()


def test_rounding_error_is_the_sum_of_deviations_over_gross_and_the_volatility_of_the_difference() -> (
    None
):
    wanted, account = wanting([[0.5, 0.0, 0.0, -0.095]] * 3), stage(1000.0)
    held = greedy_weights(wanted, account, 1000.0)
    assert held[0].tolist() == pytest.approx([0.48, 0.0, 0.0, -0.09])
    covariance = np.diag([0.25, 0.25, 0.25, 1.0])
    table = rounding_table(wanted, account, {"greedy": held}, covariance, samples=2)
    greedy = table[table["method"] == "greedy"]
    assert len(greedy) == 3
    assert greedy["deviation"].tolist() == pytest.approx([0.025 / 0.595] * 3)
    volatility = math.sqrt((0.5 * 0.02) ** 2 + 0.005**2)
    assert greedy["difference_volatility"].tolist() == pytest.approx([volatility] * 3)
    assert greedy["target_volatility"].iloc[0] == pytest.approx(math.hypot(0.25, 0.095))
    assert greedy["positions"].tolist() == [2, 2, 2]
    exact = table[table["method"] == "exact"]
    assert list(exact["ts"]) == [wanted.index[0], wanted.index[2]]
    assert exact["proven"].all()
    assert exact["deviation"].tolist() == pytest.approx([0.025 / 0.595] * 2)


def test_within_a_size_limit_the_target_portfolio_is_that_share_of_the_normal_one() -> None:
    wanted, account = wanting([0.4, 0.3, 0.2, 0.1]), stage(1000.0, size_limit=0.1)
    held = greedy_weights(wanted, account, 1000.0)
    table = rounding_table(wanted, account, {"greedy": held}, None, samples=1)
    assert table["gross_wanted"].tolist() == pytest.approx([0.1, 0.1])
    assert (table["gross_held"] <= 0.1 + 1e-9).all()
    deviation = np.abs(held[0] - 0.1 * wanted.weights[0]).sum() / 0.1
    assert table["deviation"].iloc[0] == pytest.approx(deviation)
    assert table["difference_volatility"].isna().all()


def judged(weights: Any, account: Stage, positions_min: int) -> tuple[str, str]:
    wanted = wanting(weights)
    capital = account.account.capital
    greedy = greedy_weights(wanted, account, capital)
    return judge(
        position_table(wanted, account, greedy, greedy),
        account,
        positions_min=positions_min,
        capital_from=capital_for(wanted, account, positions_min),
    )


def test_a_stage_in_which_too_few_positions_fit_is_not_feasible_and_its_sentence_says_the_numbers() -> (
    None
):
    verdict, reason = judged([[0.25] * 4] * 3, stage(100.0), 3)
    assert verdict == "not_feasible"
    assert reason == (
        "With 100 USDT 2 positions fit at the median decision (2 to 2), fewer than the 3 that make a portfolio "
        "(the backtest held 2); 3 fit from 120 USDT on."
    )
    assert judged([[0.25] * 4] * 3, stage(120.0), 3) == (
        "feasible",
        "With 120 USDT 3 positions fit at the median decision (3 to 3), at least the 3 that make a portfolio; "
        "the backtest held 3.",
    )


def test_a_verdict_names_the_share_of_the_normal_size() -> None:
    verdict, reason = judged([0.25] * 4, stage(230.0, size_limit=0.1), 2)
    assert verdict == "not_feasible"
    assert reason.startswith("With 230 USDT at 10 % of the normal size 1 position fits")
    assert reason.endswith("2 fit from 260 USDT on.")


def test_a_verdict_says_where_the_targets_and_not_the_capital_are_too_few() -> None:
    verdict, reason = judged([0.5, 0.5, 0.0, 0.0], stage(1e6), 3)
    assert verdict == "not_feasible"
    assert reason.endswith("only 2 are wanted there, so no capital is enough.")
    assert judged(np.zeros((0, 4)), stage(), 1) == (
        "not_feasible",
        "With 1,000 USDT nothing can be held: no position was ever wanted.",
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


@pytest.fixture(scope="module")
def decided() -> Decided:
    market = SmallMarket(days=40, n_symbols=4, interval="8h", execution_interval="8h").load()
    return decide(market, signal=signal_settings(configured(Path())))


def test_the_normal_size_is_the_targets_of_the_decision_before_where_the_mode_limits_nothing(
    decided: Decided,
) -> None:
    free = replace(stage(10.0), risk=None)
    weights = normal_weights(decided, free, traded_instruments(decided.data))
    targets = decided.found.weight_array
    prices = decided.found.bars.array("close")
    known = ~np.isnan(targets[:-1] + prices[:-1] + prices[1:]).any(axis=1)
    assert known.sum() > 60
    assert np.abs(targets[:-1][known]).sum(axis=1).mean() > 0.2
    # Eight hours move a weight by its return, which is some per cent of it, and equity by that of all.
    np.testing.assert_allclose(weights[1:][known], targets[:-1][known], rtol=0.15, atol=0.002)


def test_the_normal_size_keeps_the_mode_s_limits_but_neither_its_size_limit_nor_its_ladder(
    decided: Decided,
) -> None:
    limited = stage(10.0, size_limit=0.1)
    assert limited.risk is not None
    risk = replace(
        limited.risk, symbol_max=0.1, drawdown_max=0.01, drawdown_reduce=0.005, drawdown_restore=0.001,
    )  # fmt: skip
    facts = traded_instruments(decided.data)
    weights = normal_weights(decided, replace(limited, risk=risk), facts)
    assert np.abs(weights).max() == pytest.approx(0.1, rel=0.1)
    assert np.abs(weights[-10:]).sum() > 0.5


def test_the_normal_size_does_not_depend_on_the_capital(decided: Decided) -> None:
    facts = traded_instruments(decided.data)
    small, large = (normal_weights(decided, stage(c), facts) for c in (10.0, 1e6))
    np.testing.assert_array_equal(small, large)


def test_a_study_compares_capitals_and_leaves_out_what_would_make_them_differ(
    decided: Decided,
) -> None:
    flow = CashFlow(ts="2024-01-20", amount=500.0)
    mode = stage(200.0)
    mode = replace(mode, account=replace(mode.account, cash_flows=(flow,)))
    summary, tables = study(decided, mode, capitals=[1000.0, 50.0], positions_min=2, samples=5)
    capitals = tables["capitals"].set_index("name")
    assert list(capitals.index) == ["50", "200", "1000", UNLIMITED]
    assert capitals.loc[UNLIMITED, "capital"] == math.inf
    assert capitals.loc[UNLIMITED, "refusals"] == 0
    assert capitals["refusals"].iloc[0] > 0
    assert capitals["positions_max"].is_monotonic_increasing
    own = capitals.loc["200"]
    costs = own[["fees", "funding", "slippage_cost", "liquidation_fees"]].sum()
    assert own["costs"] == pytest.approx(costs)
    ruled = capitals[[c for c in capitals if str(c).startswith("refused_")]].sum(axis=1)
    assert (ruled == capitals["refusals"]).all()
    assert list(tables["curves"].columns) == list(capitals.index)
    last = tables["curves"].iloc[-1] - 1.0
    np.testing.assert_allclose(last, capitals["total_return"], rtol=1e-9)
    assert (tables["rounding"]["method"] == "exact").sum() == 5
    assert any("meant for 5,000 USDT" in note for note in summary["notes"])
    assert any("Deposits and withdrawals are left out" in note for note in summary["notes"])


def test_an_unlimited_account_is_the_same_whichever_capital_it_is_compared_with(
    decided: Decided,
) -> None:
    one, other = (
        study(decided, stage(c), capitals=[], positions_min=2, samples=1)[1]["curves"][UNLIMITED]
        for c in (70.0, 700.0)
    )
    pd.testing.assert_series_equal(one, other)


def test_the_signal_plane_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = signal_plane.signals

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return original(*arguments, **named)

    monkeypatch.setattr(engine, "signals", counted)
    assert feasibility.main(configured(tmp_path)) == 0
    assert calls == [1]


@pytest.mark.parametrize(("capital", "verdict"), [(8.0, "not_feasible"), (1e5, "feasible")])
def test_the_command_publishes_its_verdict_and_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], capital: float, verdict: str
) -> None:
    cfg = configured(tmp_path)
    cfg.account.capital = capital
    assert feasibility.main(cfg) == 0
    told = capsys.readouterr().out.rstrip().splitlines()
    folder = Path(told[-1])
    assert folder.parent == tmp_path / "runs" / "feasibility"
    assert folder.name.endswith("-small")
    assert {path.name for path in folder.iterdir()} == {
        "summary.json", "config.yaml", "feasibility.html", "symbols.parquet", "positions.parquet",
        "rounding.parquet", "capitals.parquet", "curves.parquet",
    }  # fmt: skip
    assert not list((tmp_path / "runs" / ".partial").iterdir())
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["verdict"] == verdict
    assert summary["capital"] == capital
    assert summary["positions_min"] == 3
    printed = " ".join(" ".join(told).split())
    assert f"small: {verdict.replace('_', ' ')} as a portfolio. {summary['reason']}" in printed
    symbols = pd.read_parquet(folder / "symbols.parquet")
    assert summary["tradable"] == int(symbols["tradable"].sum())
    positions = pd.read_parquet(folder / "positions.parquet")
    assert summary["positions"]["fit"]["median"] == positions["fit"].median()
    text = (folder / "feasibility.html").read_text("utf-8")
    for name in ("orders", "positions", "rounding", "capitals"):
        assert f'id="{name}"' in text
    assert summary["reason"] in text
    assert "<link" not in text
    assert "<script src" not in text


def test_a_strategy_that_wants_nothing_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    silent = {"_target_": f"{__name__}.SilentSettings", "lookback": 2}
    assert feasibility.main(configured(tmp_path, strategy=silent)) == 0
    folder = next((tmp_path / "runs" / "feasibility").iterdir())
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["verdict"] == "not_feasible"
    assert summary["reason"].endswith("nothing can be held: no position was ever wanted.")
    assert (folder / "feasibility.html").stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions_min": 0}, "positions_min must be a whole number >= 1, was 0"),
        ({"positions_min": 2.5}, "positions_min must be a whole number >= 1, was 2.5"),
        ({"samples": -1}, "samples must be a whole number >= 1, was -1"),
        ({"capitals": [230, -1]}, r"capitals must be a list of numbers in \(0, 1,000,000,000\]"),
        ({"capitals": ["all"]}, "capitals must be a list of numbers"),
    ],
)
def test_settings_out_of_their_range_are_refused_before_anything_is_loaded(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        feasibility.main(configured(tmp_path, data={"_target_": "nowhere.Data"}, **changes))
    assert not (tmp_path / "runs" / "feasibility").exists()


@pytest.mark.parametrize("experiment", ["quickstart", "stage_230"])
def test_the_minimum_is_the_universe_s_own_or_ten(experiment: str) -> None:
    assert compose("feasibility", [f"+experiment={experiment}"]).positions_min == 10
    changed = compose("feasibility", ["universe=liquid", "universe.symbols_min=4"])
    assert changed.positions_min == 4


def ask_from_outside(workplace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    small = ("data.n_symbols=4", "data.days=100", "data.late_listings=1")
    return subprocess.run(
        [sys.executable, "-m", "quantcore.research.feasibility", "+experiment=quickstart", *small, *arguments],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.integration
def test_the_command_ends_in_nought_and_its_last_line_is_the_folder(tmp_path: Path) -> None:
    done = ask_from_outside(tmp_path, "account.capital=230", "risk=staging")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert (summary["experiment"], summary["size_limit"]) == ("quickstart", 0.1)
    assert summary["verdict"] == "not_feasible"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("capitals=[0]", "capitals must be a list of numbers in (0, 1,000,000,000], was [0]"),
        ("account.capital=-5", "capital must be > 0, was -5"),
        ("account.leverage_max=500", "account.leverage_max must be <="),
    ],
)
def test_a_refused_command_says_one_line_and_leaves_nothing(
    tmp_path: Path, override: str, said: str
) -> None:
    done = ask_from_outside(tmp_path, override)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "compiling the kernels" not in line]
    assert len(lines) == 1
    assert said in lines[0]
    runs = tmp_path / "data" / "runs"
    assert not list(runs.glob("feasibility/*"))
    assert not list(runs.glob(".partial/*"))


@dataclass(frozen=True, kw_only=True)
class SilentSettings:
    """Of the plain strategy below."""

    lookback: int
    exits: ExitSettings = NO_EXITS


def forecast(bars: Bars) -> pd.Series[float]:
    """Return that nothing is wanted."""
    return pd.Series(0.0, index=list(bars.symbols))
