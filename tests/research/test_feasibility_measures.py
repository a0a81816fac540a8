"""What can be held: capitals and positions by hand, and what the verdict says of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.research.feasibility_demand import Demand, Stage
from quantcore.research.feasibility_measures import (
    capital_for,
    fitting,
    judge,
    position_counts,
    position_table,
    symbol_table,
)
from quantcore.research.feasibility_rounding import greedy_weights
from tests.research.test_feasibility_demand import WEIGHTS, stage, wanting


def symbols_of(wanted: Demand, account: Stage) -> pd.DataFrame:
    table = symbol_table(wanted, account, greedy_weights(wanted, account, account.account.capital))
    return table.set_index("symbol")


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


def test_counts_are_the_median_least_and_most_of_each_column() -> None:
    table = pd.DataFrame({"wanted": [3, 4, 4], "fit": [0, 1, 3], "greedy": [0, 1, 2], "held": 1})
    counts = position_counts(table)
    assert list(counts) == ["wanted", "fit", "greedy", "held"]
    assert counts["fit"] == {"median": 1.0, "min": 0.0, "max": 3.0}
    assert position_counts(table.iloc[:0]) == {}


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
