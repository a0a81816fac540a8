"""Whole lots against the target portfolio: deviations by hand, and the account's greedy rule against exact search."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.research.feasibility_demand import Stage
from quantcore.research.feasibility_measures import fitting
from quantcore.research.feasibility_rounding import (
    allocation_summary,
    allocation_table,
    greedy_weights,
    rounding_summary,
    rounding_table,
    sample_allocations,
    stage_weights,
)
from tests.research.test_feasibility_demand import WEIGHTS, stage, wanting


def test_rounding_error_is_the_sum_of_deviations_over_gross_and_the_volatility_of_the_difference() -> (
    None
):
    wanted, account = wanting([[0.5, 0.0, 0.0, -0.095]] * 3), stage(1000.0)
    held = greedy_weights(wanted, account, 1000.0)
    assert held[0].tolist() == pytest.approx([0.48, 0.0, 0.0, -0.09])
    covariance = np.diag([0.25, 0.25, 0.25, 1.0])
    sampled = sample_allocations(wanted, account, samples=2)
    table = rounding_table(wanted, account, {"greedy": held}, covariance, sampled=sampled)
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
    sampled = sample_allocations(wanted, account, samples=1)
    table = rounding_table(wanted, account, {"greedy": held}, None, sampled=sampled)
    assert table["gross_wanted"].tolist() == pytest.approx([0.1, 0.1])
    assert (table["gross_held"] <= 0.1 + 1e-9).all()
    deviation = np.abs(held[0] - 0.1 * wanted.weights[0]).sum() / 0.1
    assert table["deviation"].iloc[0] == pytest.approx(deviation)
    assert table["difference_volatility"].isna().all()


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


def little_margin(capital: float) -> Stage:
    """An account whose margin is enough for 0.285 of its equity, at a leverage of 3."""
    made = stage(capital)
    return replace(made, account=replace(made.account, margin_buffer=1.0 - 0.095))


def test_what_a_tenth_leaves_too_small_is_left_out_and_the_others_share_it_up_to_their_own_targets() -> (
    None
):
    # At 1,000 USDT a tenth of (0.4, 0.3, 0.2, 0.1) is 40, 30, 20, 10 USDT. Smallest orders as in `wanting`.
    wanted, account = wanting([0.4, 0.3, 0.2, 0.1]), stage(1000.0, size_limit=0.1)
    orders = wanted.orders[0]
    weights = stage_weights(wanted, account, 1000.0)[0]
    fits = weights != 0.0
    assert 0 < fits.sum() < 4
    assert weights.sum() == pytest.approx(0.1)
    among = wanted.weights[0][fits]
    np.testing.assert_allclose(weights[fits], 0.1 * among / among.sum())
    assert (1000.0 * weights[fits] >= orders[fits]).all()
    # With capital enough it is a tenth of each.
    rich = stage_weights(wanted, account, 1e6)[0]
    np.testing.assert_allclose(rich, 0.1 * wanted.weights[0])


def test_greedy_gives_the_room_to_the_symbol_that_fits_where_exact_search_shares_it() -> None:
    """500 USDT want 160 of A and 125 of C, the margin is enough for 142.5. An order of A is 120 at least.

    The price of the room takes the same from both until it fits. Then A is below its order: all is left to C, which
    takes its 125. Better are 120 of A and the 22.5 that are left of C.
    """
    wanted, account = wanting([0.32, 0.0, 0.25, 0.0]), little_margin(500.0)
    sampled = sample_allocations(wanted, account, samples=1)
    assert sampled.greedy[0].lots.tolist() == [0, 0, 2500, 0]
    assert sampled.exact[0].lots.tolist() == [2, 0, 450, 0]
    row = allocation_table(wanted, sampled).iloc[0]
    assert row["greedy_tracking_error"] == pytest.approx(0.32)
    assert row["exact_tracking_error"] == pytest.approx(math.hypot(0.08, 0.205))
    assert not row["same_lots"]
    assert row["proven"]


def test_a_comparison_counts_the_same_lots_and_by_how_much_greedy_is_worse() -> None:
    wanted = wanting([[0.32, 0.0, 0.25, 0.0], [0.0, 0.1, 0.1, 0.0], [0.32, 0.0, 0.25, 0.0]])
    table = allocation_table(wanted, sample_allocations(wanted, little_margin(500.0), samples=9))
    assert list(table["ts"]) == list(wanted.index)
    assert table["same_lots"].tolist() == [False, True, False]
    worse, best = 0.32 - math.hypot(0.08, 0.205), table["exact_tracking_error"]
    summary = allocation_summary(table)
    assert (summary["decisions"], summary["exact_proven"], summary["same_lots"]) == (3, 3, 1)
    assert summary["same_lots_share"] == pytest.approx(1.0 / 3.0)
    assert summary["greedy_tracking_error_median"] == pytest.approx(0.32)
    assert summary["exact_tracking_error_median"] == pytest.approx(best.median())
    assert summary["greedy_excess_mean"] == pytest.approx(2.0 / 3.0 * worse)
    assert summary["greedy_excess_max"] == pytest.approx(worse)


@given(
    weights=WEIGHTS,
    capital=st.floats(1.0, 1e5),
    size_limit=st.sampled_from([0.05, 0.1, 0.5, 1.0]),
    samples=st.integers(1, 7),
)
def test_exact_search_is_never_worse_than_greedy_and_the_same_lots_have_the_same_error(
    weights: list[list[float]], capital: float, size_limit: float, samples: int
) -> None:
    wanted, account = wanting(weights), stage(capital, size_limit=size_limit)
    sampled = sample_allocations(wanted, account, samples=samples)
    table = allocation_table(wanted, sampled)
    assert len(table) == min(samples, len(weights))
    greedy, exact = table["greedy_tracking_error"], table["exact_tracking_error"]
    assert (exact <= greedy).all()
    assert (exact == greedy)[table["same_lots"]].all()
    held = np.array([one.weights for one in sampled.greedy])
    account_s_own = greedy_weights(wanted, account, capital)[sampled.rows]
    np.testing.assert_allclose(held, account_s_own, rtol=1e-12)
    asked = stage_weights(wanted, account, capital)
    off = np.linalg.norm(held - asked[sampled.rows], axis=1)
    np.testing.assert_allclose(greedy, off, rtol=1e-9, atol=1e-12)


@given(weights=WEIGHTS, capital=st.floats(1.0, 1e5))
def test_where_no_cap_binds_greedy_is_exact(weights: list[list[float]], capital: float) -> None:
    # A gross exposure of at most 2 takes 0.67 of equity as margin at a leverage of 3: within 95 %.
    wanted, account = wanting(weights), stage(capital)
    table = allocation_table(wanted, sample_allocations(wanted, account, samples=5))
    assert table["proven"].all()
    np.testing.assert_array_equal(table["greedy_tracking_error"], table["exact_tracking_error"])


def test_without_decisions_there_is_nothing_to_compare() -> None:
    wanted, account = wanting(np.zeros((0, 4))), stage()
    sampled = sample_allocations(wanted, account, samples=5)
    summary = allocation_summary(allocation_table(wanted, sampled))
    assert (summary["decisions"], summary["same_lots"]) == (0, 0)
    assert math.isnan(summary["greedy_tracking_error_median"])
    table = rounding_table(wanted, account, {"greedy": np.zeros((0, 4))}, None, sampled=sampled)
    assert table.empty
    assert rounding_summary(table)["samples"] == 0
