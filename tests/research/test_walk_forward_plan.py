"""What a walk-forward will do: spans and gaps from settings and decisions, and settings that are refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from quantcore.backtest.curves import curves
from quantcore.backtest.engine import Decided, decide, trade
from quantcore.config import build, compose
from quantcore.errors import ConfigError
from quantcore.research.walk_forward_plan import (
    WalkForwardSettings,
    check_switchable,
    make_plan,
    traded_days,
)
from quantcore.timegrid import index_us
from tests.backtest.test_turns import SIGNAL
from tests.research.market import SmallMarket
from tests.research.test_feasibility_demand import ACCOUNT, EXECUTION


@cache
def decided(days: int = 200, slow: int = 5) -> Decided:
    market = SmallMarket(days=days, n_symbols=3, interval="8h", execution_interval="8h")
    strategy = replace(SIGNAL.strategy, slow=slow)
    return decide(market.load(), signal=replace(SIGNAL, strategy=strategy))


def settings(**changes: Any) -> WalkForwardSettings:
    usual: WalkForwardSettings = build(compose("walk_forward").walk_forward, WalkForwardSettings)
    return replace(usual, **changes)


def wanting(weights: Any) -> Decided:
    found = decided().found
    whole = np.zeros_like(found.weight_array)
    whole[:] = np.asarray(weights)
    return replace(decided(), found=replace(found, weight_array=whole))


def test_the_days_planned_are_those_on_which_a_backtest_has_returns() -> None:
    run = trade(decided(), account=ACCOUNT, execution=EXECUTION)
    daily = curves(run).daily
    np.testing.assert_array_equal(traded_days(decided()), index_us(daily.index))  # type: ignore[arg-type]
    assert len(daily) == 200


def test_purge_is_the_holding_period_and_embargo_the_memory_as_far_as_a_group_spares_it() -> None:
    rows = np.arange(600)
    # The other side every 12 rows of 8 hours: held for four days.
    weights = np.where(rows // 12 % 2 == 0, 0.2, -0.2)[:, np.newaxis]
    plan = make_plan(settings(groups=5), wanting(weights))
    assert plan.holding == pytest.approx(4.0, abs=0.02)  # the border cuts the last position short
    assert plan.purge == 4
    assert [f.test_start - f.train_stop for f in plan.folds] == [4] * 6
    assert plan.memory == 14  # 42 bars of 8 hours
    assert plan.validation.embargo == 10  # a quarter of 200 / 5
    assert any("need 14 days to forget" in note for note in plan.notes)
    roomy = make_plan(settings(groups=3), wanting(weights))
    assert roomy.validation.embargo == 14
    assert any("14 days, until the signals have forgotten" in note for note in roomy.notes)


def test_holding_is_measured_before_the_first_test_only() -> None:
    rows = np.arange(600)
    early = np.where(rows // 12 % 2 == 0, 0.2, -0.2)
    late = np.where(rows < 300, early, 0.2)
    one, other = (make_plan(settings(), wanting(w[:, np.newaxis])) for w in (early, late))
    assert one.holding == other.holding


def test_a_position_that_never_ends_purges_no_more_than_a_quarter_of_the_training() -> None:
    plan = make_plan(settings(groups=4), wanting(0.2))
    assert plan.purge == 25
    assert "no more than a quarter of the first training span" in plan.notes[0]
    assert plan.validation.purge == 12  # of a group's 50 days
    assert "12 days are purged on either side of a test block" in plan.notes[1]


def test_given_gaps_are_taken_as_they_are() -> None:
    plan = make_plan(settings(purge_days=0, embargo_days=3), decided())
    assert (plan.purge, plan.validation.purge, plan.validation.embargo) == (0, 0, 3)
    assert all("given" in note for note in plan.notes)


def test_warm_up_ends_with_the_first_position_wanted() -> None:
    weights = np.zeros((600, 1))
    weights[3 * 50 :] = 0.1  # the decision stamped 08:00 on day 50
    assert make_plan(settings(), wanting(weights)).warm_up == 50
    with pytest.raises(
        ConfigError, match=r"train_days must be at least .* days, was 60: .* for 50"
    ):
        make_plan(settings(train_days=60), wanting(weights))


def test_data_too_short_for_warm_up_and_spans_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="train_days must be at least") as caught:
        make_plan(settings(), decided(days=50))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parameters": ()}, "walk_forward.parameters must name at least one setting"),
        ({"sampling": "sobol"}, "walk_forward.sets must be >= 2 for sobol sampling, was None"),
        ({"sets": 5}, "walk_forward.sets must be null on a grid, .* was 5"),
        ({"train_days": 0}, "walk_forward.train_days must be >= 1, was 0"),
        ({"folds": 0}, "walk_forward.folds must be >= 1, was 0"),
        ({"purge_days": -1}, "walk_forward.purge_days must be >= 0, was -1"),
        ({"scheme": "sliding"}, "walk_forward.scheme must be one of expanding, rolling"),
        ({"choose": "luckiest"}, "walk_forward.choose must be one of"),
        ({"confidence": 1.0}, "walk_forward.confidence must be in"),
    ],
)
def test_settings_out_of_their_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_days": 200}, "train_days must leave days to test on, was 200 of the 200"),
        ({"blocks": 15}, "blocks must be even"),
        ({"groups": 120}, "groups must be from 2 to"),
        ({"embargo_days": 60}, "together must be shorter than a group"),
    ],
)
def test_spans_that_the_data_does_not_hold_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_plan(settings(**changes), decided())


@pytest.mark.parametrize(
    "path", ["strategy.fast", "strategy.exits.stop_loss", "portfolio", "risk.daily_var_max", "account.no_trade_band"]
)  # fmt: skip
def test_what_an_account_can_change_is_chosen_among(path: str) -> None:
    check_switchable(path)


@pytest.mark.parametrize(
    "path", ["account.capital", "account", "risk", "execution.slippage_bps", "data.interval", "seed"]
)  # fmt: skip
def test_what_it_cannot_change_is_refused_by_name(path: str) -> None:
    with pytest.raises(ConfigError, match=f"walk_forward.parameters must .* was {path}$"):
        check_switchable(path)
