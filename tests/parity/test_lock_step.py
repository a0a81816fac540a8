"""A backtest and the live loop on an exchange of its own process: equal over small markets, different where planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from live.parity.case import Case
from live.parity.study import BACKTEST, LIVE, Study
from quantcore.fold import FoldState
from tests.parity import markets

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


def check_equal(found: Study, *, reasons: Sequence[str] = ("target",)) -> None:
    """Check that nothing differs, and that what was to be compared happened at all."""
    assert found.comparison.equal, found.comparison.differences.head(20).to_string()
    assert found.summary["max_equity_error"] == 0.0
    assert found.summary["doubts"] == []
    assert abs(found.summary["wallet_error"]) < 1e-6
    assert found.summary["fills"] > 0
    assert set(reasons) <= set(found.tables[LIVE]["fills"]["reason"])


MARKETS = {
    "market orders": ((), 8, ("target",)),
    "isolated margin": (("account=isolated",), 8, ("target",)),
    "stop loss and take profit": (
        ("strategy.exits.stop_loss=0.01", "strategy.exits.take_profit=0.015"),
        12,
        ("target", "stop_loss", "take_profit"),
    ),
    "time exit": (("strategy.exits.time_exit=7",), 6, ("target", "time_exit")),
    "plain strategy": (("strategy=plain_momentum",), 4, ("target",)),
    "every strategy, regime, universe, matrix and limits": (
        (
            "strategy=all", "regime=jump", "matrix=cautious", "universe=liquid", "universe.symbols_min=2",
            "risk=prod",
        ),
        8,
        ("target", "stop_loss"),
    ),
    "a tenth of the normal size": (("risk=staging", "account.capital=2300"), 8, ("target",)),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [n for n in MARKETS if n != "every strategy, regime, universe, matrix and limits"]
)
def test_hourly_market_is_equal(name: str, generated: Path) -> None:
    overrides, days, reasons = MARKETS[name]
    check_equal(
        markets.compared(markets.case(generated, [*markets.HOURLY, *overrides], days=days)),
        reasons=reasons,
    )


def test_whole_signal_plane_under_limits_is_equal(generated: Path) -> None:
    overrides, days, _ = MARKETS["every strategy, regime, universe, matrix and limits"]
    found = markets.compared(markets.case(generated, [*markets.HOURLY, *overrides], days=days))
    check_equal(found)
    assert "stop_loss" in set(found.tables[LIVE]["orders"]["reason"])


def test_symbol_that_is_listed_within_the_days_is_equal(generated: Path) -> None:
    overrides = [
        "data.days=24",
        "data.n_symbols=3",
        "data.late_listings=1",
        "strategy.slow=32",
        "strategy.fast=8",
    ]
    case = markets.case(generated, overrides, days=20)
    found = markets.compared(case)
    check_equal(found)
    begin = np.isnan(case.bars.array("close")[0])
    assert begin.sum() == 1
    assert case.bars.symbols[int(np.argmax(begin))] in set(found.tables[LIVE]["fills"]["symbol"])


def test_missing_funding_is_charged_on_both_sides(generated: Path) -> None:
    found = markets.compared(
        markets.case(generated, markets.HOURLY, days=15, edit=markets.without_late_funding)
    )
    check_equal(found)
    for side in (BACKTEST, LIVE):
        assert found.tables[side]["funding"]["assumed"].any()


ROUTED = (*markets.MINUTES, "execution=router", "strategy.fast=8", "strategy.slow=24")


def test_router_with_limits_and_slippage_control_on_minutes_is_equal(generated: Path) -> None:
    found = markets.compared(markets.case(generated, ROUTED, days=1))
    check_equal(found)
    fills = found.tables[LIVE]["fills"]
    assert "maker" in set(fills["liquidity"])
    assert "canceled" in set(found.tables[LIVE]["orders"]["status"])


def test_router_with_exits_and_isolated_margin_on_minutes_is_equal(generated: Path) -> None:
    exits = (
        "strategy.exits.stop_loss=0.004",
        "strategy.exits.take_profit=0.004",
        "account=isolated",
    )
    found = markets.compared(markets.case(generated, (*ROUTED, *exits), days=1))
    check_equal(found)
    assert {"stop_loss", "take_profit"} & set(found.tables[LIVE]["fills"]["reason"])


EVERY_EXIT = {
    "hours": (
        markets.HOURLY,
        ("stop_loss=0.01", "take_profit=0.015", "trailing_stop=0.012", "time_exit=30"),
        12,
    ),
    "routed minutes": (
        ROUTED,
        ("stop_loss=0.003", "take_profit=0.004", "trailing_stop=0.004", "time_exit=200"),
        1,
    ),
}


@pytest.mark.parametrize("seed", [3, 5])
@pytest.mark.parametrize("name", EVERY_EXIT)
def test_every_exit_at_once_is_equal(
    name: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base, exits, days = EVERY_EXIT[name]
    root = tmp_path_factory.mktemp("seeded")
    overrides = (*base, *(f"strategy.exits.{each}" for each in exits), f"data.seed={seed}")
    found = markets.compared(markets.case(root, overrides, days=days))
    check_equal(found, reasons=("target", "trailing_stop"))
    assert found.summary["expired_for_canceled"] > 0


BOLD = (
    "account.leverage_max=20", "account.margin_buffer=0.0", "portfolio.full_conviction=0.05",
    "portfolio.weight_max=4", "portfolio.gross_max=12", "portfolio.annual_volatility_target=5",
    "account.no_trade_band=0.5",
)  # fmt: skip


def test_liquidation_of_isolated_positions_is_equal(generated: Path) -> None:
    overrides = (*markets.HOURLY, *BOLD, "account=isolated")
    found = markets.compared(markets.case(generated, overrides, days=20))
    assert found.summary["liquidations"] > 0
    assert found.comparison.equal


@pytest.fixture(scope="module")
def small(generated: Path) -> Case:
    return markets.case(generated, markets.HOURLY, days=5)


def first_kind(found: Study) -> str:
    assert found.first is not None
    return str(found.first["kind"])


def test_exchange_with_another_fee_is_a_difference_of_fee(small: Case) -> None:
    dearer = replace(small, execution=replace(small.execution, taker_fee=0.0008))
    found = markets.against_another(small, dearer)
    assert (first_kind(found), found.first and found.first["field"]) == ("fee", "fee")


def test_exchange_with_another_spread_is_a_difference_of_price(small: Case) -> None:
    wider = replace(small, execution=replace(small.execution, half_spread_bps=5.0))
    found = markets.against_another(small, wider)
    assert first_kind(found) == "price"
    assert found.summary["gap"]["price"] < 0.0
    assert abs(found.summary["gap"]["unexplained"]) < 1e-6


def test_backtest_that_trades_a_bar_later_is_a_difference_of_timing(small: Case) -> None:
    late = replace(small, execution=replace(small.execution, latency_ms=2 * 3_600_000))
    found = markets.against_another(late, small, live=small)
    assert (first_kind(found), found.first and found.first["difference"]) == ("timing", -3600.0)


def test_loop_that_trades_a_tenth_of_the_size_is_a_difference_of_rounding(
    small: Case, generated: Path
) -> None:
    tenth = markets.case(generated, (*markets.HOURLY, "risk=staging"), days=5)
    found = markets.against_another(small, small, live=tenth)
    assert (first_kind(found), found.first and found.first["field"]) == ("rounding", "qty")


def test_exchange_with_another_funding_rate_is_a_difference_of_funding(generated: Path) -> None:
    overrides = (*markets.HOURLY, "strategy=plain_momentum")  # no strategy that reads funding
    small = markets.case(generated, overrides, days=4)
    other = replace(small, data=markets.with_funding(small.data, 2.0))
    assert first_kind(markets.against_another(small, other)) == "funding"


def test_perturbed_signal_state_is_a_difference_of_signal(small: Case) -> None:
    assert small.state is not None
    values = {name: value.copy() for name, value in small.state.items()}
    for value in values.values():
        if value.dtype.kind == "f":
            value *= 1.0 + 1e-9
    odd = replace(small, state=FoldState(small.state.kind, small.state.version, values))
    found = markets.against_another(small, small, live=odd)
    assert first_kind(found) == "signal"
    assert found.comparison.counts["targets"][1] > 0


def test_loop_with_another_band_is_a_difference_of_orders(small: Case) -> None:
    other = replace(small, account=replace(small.account, no_trade_band=0.05))
    assert first_kind(markets.against_another(small, small, live=other)) in (
        "missing",
        "extra",
        "rounding",
    )
