"""The verdict on the account's size is that of `feasibility`, with the host's smallest orders."""

from __future__ import annotations

from dataclasses import replace

import pytest

from live.guard.checks import Verdict
from live.guard.feasible import check_feasible
from quantcore.backtest.engine import traded_instruments
from quantcore.errors import DataGap
from quantcore.research.feasibility import study
from tests.research.test_feasibility_demand import small_decided, stage


@pytest.mark.parametrize(("capital", "verdict"), [(8.0, Verdict.FAILED), (1e5, Verdict.PASSED)])
def test_the_verdict_is_that_of_the_command(capital: float, verdict: Verdict) -> None:
    decided, mode = small_decided(), stage(capital)
    summary, _ = study(decided, mode, capitals=[], positions_min=2, samples=1)
    check = check_feasible("prod", decided, mode, traded_instruments(decided.data), positions_min=2)
    assert check.verdict is verdict
    assert check.line == summary["reason"]
    assert summary["reason"].startswith("With ")


def test_too_few_positions_are_told_where_no_real_money_is_at_stake() -> None:
    decided = small_decided()
    facts = traded_instruments(decided.data)
    check = check_feasible("paper", decided, stage(8.0), facts, positions_min=2)
    assert check.verdict is Verdict.NOT_APPLICABLE
    assert check.line.startswith("no real money is at stake: With 8 USDT")


def test_the_smallest_orders_are_those_of_the_host_traded_on() -> None:
    decided = small_decided()
    dear = [replace(each, min_notional=1e6) for each in traded_instruments(decided.data)]
    check = check_feasible("prod", decided, stage(1e5), dear, positions_min=2)
    assert check.verdict is Verdict.FAILED
    assert "0 positions fit" in check.line


def test_a_host_of_other_symbols_is_refused() -> None:
    decided = small_decided()
    others = [replace(traded_instruments(decided.data)[0], symbol="XXXUSDT")]
    with pytest.raises(DataGap, match="the host must describe"):
        check_feasible("prod", decided, stage(1e5), others, positions_min=2)
