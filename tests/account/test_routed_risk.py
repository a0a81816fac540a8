"""Limits, halts and emergencies meet orders that are on their way, between two decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quantcore.execution.router import RouterSettings
from quantcore.kernels import layout as at
from quantcore.types import RiskLevel
from tests.account.random_cases import Case
from tests.account.several import NAN, Prices, limits, lots_held, tell_bars, told

RESTS = RouterSettings(
    post_only=True, inside_ticks=0, requote_after_seconds=36000.0, requote_bps=1e6, requotes_max=1000,
    cross_after_seconds=36000.0, participation_max=1.0, slice_pause_seconds=0.0, schedule_urgency=1.0,
)  # fmt: skip
"""A router whose orders stay where they are for hours."""
CROSSES = replace(RESTS, post_only=False)
BASE = Case(
    capital=1000.0, leverage=10, interval="1m", marks=False, funding=False, costs_bps=0.0, router=RESTS,
    bracket_scale=1e4, n_bars=20,
)  # fmt: skip
Bars3 = dict[int, dict[int, Prices | None]]
HALTS = limits(daily_loss_max=0.05)
ABOVE = (10.01, 10.01, 10.01, 10.01)
FILLS = (100.1, 100.2, 99.9, 100.1)


def test_a_halt_calls_off_what_rests_for_a_symbol_that_is_not_held() -> None:
    bars = {
        1: {0: FILLS, 1: ABOVE},
        5: {0: (100.0, 100.0, 93.0, 93.0)},
        7: {1: (10.01, 10.01, 9.9, 9.9)},
    }
    states, events = tell_bars(replace(BASE, risk=HALTS), bars, {0: [1.0, 1.0, NAN]})  # fmt: skip
    assert states[5]["risk"][at.LEVEL] == RiskLevel.HALT
    assert lots_held(states, 0)[6:] == [0] * 14
    assert lots_held(states, 1) == [0] * 20
    assert "5 B canceled" in told(events)
    assert states[6]["counter"][at.ACTIVE_ROUTES] == 0


@pytest.mark.parametrize("router", [CROSSES, None])
@pytest.mark.parametrize("hole", [5, 6])
def test_a_halted_account_closes_a_symbol_after_a_hole(
    router: RouterSettings | None, hole: int
) -> None:
    bars: Bars3 = {5: {0: (100.0, 100.0, 93.0, 93.0)}}
    bars.setdefault(hole, {})[1] = None
    case = replace(BASE, risk=HALTS, router=router)
    states, _ = tell_bars(case, bars, {0: [1.0, 0.5, NAN]})
    assert states[5]["risk"][at.LEVEL] == RiskLevel.HALT
    assert lots_held(states, 1)[8:] == [0] * 12


def test_a_halted_account_without_a_router_leaves_in_pieces_one_bar_after_the_other() -> None:
    case = replace(BASE, risk=HALTS, router=None, capital=4000.0, small_maximum=True)
    weights = {row: [0.5 * (row + 1), NAN, NAN] for row in range(5)}
    states, _ = tell_bars(case, {8: {0: (100.0, 100.0, 90.0, 90.0)}}, weights)
    assert lots_held(states, 0)[8:15] == [999, 799, 599, 399, 199, 0, 0]


@pytest.mark.parametrize("latency", [2, 3])
def test_what_a_halt_finds_on_its_way_is_closed_as_soon_as_it_has_filled(latency: int) -> None:
    case = replace(BASE, risk=HALTS, router=None, latency_bars=latency, n_bars=30)
    weights = {0: [1.0, NAN, NAN], 4: [NAN, 0.9, NAN]}
    states, _ = tell_bars(case, {5: {0: (100.0, 100.0, 93.0, 93.0)}}, weights)
    assert states[5]["risk"][at.LEVEL] == RiskLevel.HALT
    filled = 4 + latency
    assert lots_held(states, 1)[filled] > 0
    assert lots_held(states, 1)[filled + latency :] == [0] * (30 - filled - latency)


def test_a_step_down_scales_what_is_on_its_way_as_well() -> None:
    """The account steps down while B rests in the book at its full size: what it asks for is halved."""
    case = replace(BASE, risk=limits(drawdown_reduce=0.05, drawdown_restore=0.01))
    bars = {
        1: {0: FILLS, 1: ABOVE},
        5: {0: (100.0, 100.0, 93.0, 93.0)},
        6: {1: (10.02, 10.02, 10.02, 10.02)},
        7: {1: (10.01, 10.01, 9.9, 9.9)},
    }
    states, _ = tell_bars(case, bars, {0: [1.0, 1.0, NAN]})  # fmt: skip
    assert states[5]["risk"][at.LEVEL] == RiskLevel.REDUCE
    assert states[5]["route"][:2, at.GOAL].tolist() == [50, 50]
    assert lots_held(states, 1)[-1] == 50


def test_a_position_that_is_leaving_does_not_take_the_room_of_the_one_that_follows() -> None:
    """B fills before A has left: A is hurried, B is what was decided."""
    case = replace(BASE, risk=limits(leverage_max=1.0))
    bars = {1: {0: FILLS}, 5: {1: ABOVE}, 6: {1: (10.01, 10.02, 9.9, 10.0)}}
    states, events = tell_bars(case, bars, {0: [0.9, 0.0, NAN], 4: [0.0, 0.9, NAN]})
    assert lots_held(states, 0)[6:8] == [90, 0]
    assert lots_held(states, 1)[6:] == [90] * 14 or lots_held(states, 1)[6:] == [89] * 14
    assert "6 A market sell 9" in told(events)


def test_an_emergency_calls_off_what_rests_for_a_symbol_that_is_not_held() -> None:
    case = replace(BASE, risk=limits(margin_ratio_max=0.1, margin_ratio_after=0.05))
    bars = {
        1: {0: FILLS, 1: ABOVE},
        5: {0: (100.0, 100.0, 88.0, 88.0)},
        6: {1: (10.01, 10.01, 9.8, 9.8)},
    }
    states, events = tell_bars(case, bars, {0: [5.0, 4.0, NAN]})  # fmt: skip
    assert "5 A margin_ratio reduced" in told(events)
    assert "5 B canceled" in told(events)
    assert lots_held(states, 1) == [0] * 20


@pytest.mark.parametrize("router", [CROSSES, None])
def test_an_emergency_whose_order_is_on_its_way_is_told_once_and_nothing_is_planned_against_it(
    router: RouterSettings | None,
) -> None:
    case = replace(
        BASE, router=router, latency_bars=3,
        risk=limits(margin_ratio_max=0.1, margin_ratio_after=0.05),
    )  # fmt: skip
    weights = {row: [6.0, 0.0, 0.0] for row in (0, 5, 6, 7)}
    states, events = tell_bars(case, {5: {0: (100.0, 100.0, 91.0, 91.0)}}, weights)
    lines = told(events)
    assert [line for line in lines if "margin_ratio" in line] == ["5 A margin_ratio reduced"]
    assert not [line for line in lines if line.startswith(("6", "7")) and "market" in line]
    assert lots_held(states, 0)[7] == 600
    assert lots_held(states, 0)[8] < 300


def test_an_isolated_position_in_an_emergency_is_closed_whole() -> None:
    """Closing a part frees its part of the margin and leaves the ratio as it is."""
    case = replace(
        BASE, router=None, isolated=True, risk=limits(margin_ratio_max=0.3, margin_ratio_after=0.2)
    )
    states, events = tell_bars(
        case, {5: {0: (100.0, 100.0, 93.0, 93.0)}}, {0: [6.0, NAN, NAN]}
    )  # fmt: skip
    assert lots_held(states, 0)[5:7] == [600, 0]
    assert sum("margin_ratio" in line for line in told(events)) == 1


def test_what_the_venue_refuses_while_margin_is_being_freed_is_sent_again() -> None:
    """At full margin B can only be paid for once A has left; there is no other decision."""
    case = replace(BASE, leverage=1, router=replace(RESTS, cross_after_seconds=600.0))
    bars = {1: {0: FILLS}, 5: {1: ABOVE}, 17: {1: (10.01, 10.02, 9.9, 10.01)}}
    states, _ = tell_bars(case, bars, {0: [0.9, 0.0, NAN], 4: [0.0, 0.9, NAN]})
    assert lots_held(states, 0)[-1] == 0
    assert lots_held(states, 1)[-1] >= 89


def test_margin_that_an_order_in_a_hole_reserves_is_not_planned_with_again() -> None:
    case = replace(BASE, leverage=1)
    bars: Bars3 = {1: {1: ABOVE}, 2: {1: None}, 3: {1: None}}
    _, events = tell_bars(case, bars, {0: [NAN, 0.9, NAN], 2: [0.9, NAN, NAN]})
    assert "2 A margin cut" in told(events)
    assert "2 A limit buy 0.9" in told(events) or "2 A limit buy 1" in told(events)


def test_an_order_that_meets_a_hole_is_sent_again_after_it() -> None:
    case = replace(BASE, router=CROSSES)
    states, events = tell_bars(
        case, {5: {0: None}, 6: {0: None}}, {0: [0.5, NAN, NAN], 4: [0.0, NAN, NAN]}
    )
    assert lots_held(states, 0)[4:10] == [50, 50, 50, 50, 0, 0]
    assert told(events)[-2:] == ["7 A market sell 5", "8 A filled sell 5 taker target"]


def test_a_halted_account_with_a_router_leaves_in_pieces_and_goes_on_after_a_hole() -> None:
    case = replace(BASE, risk=HALTS, router=CROSSES, capital=4000.0, small_maximum=True)
    bars: Bars3 = {8: {0: (100.0, 100.0, 90.0, 90.0)}, 10: {0: None}, 11: {0: None}}
    states, _ = tell_bars(case, bars, {0: [2.0, NAN, NAN]})
    assert lots_held(states, 0)[6:17] == [800, 800, 800, 600, 600, 600, 600, 400, 200, 0, 0]


def test_a_route_of_a_symbol_that_has_ended_ends_with_it() -> None:
    case = replace(BASE, ends=True, seed=0, n_bars=30)
    bars = {row: {2: None} for row in range(19, 30)}
    states, _ = tell_bars(case, bars, {17: [NAN, NAN, 0.5]})
    assert states[18]["counter"][at.ACTIVE_ROUTES] == 1
    assert states[20]["held"][2, at.ENDED] == 1
    assert states[20]["counter"][at.ACTIVE_ROUTES] == 0


def test_a_target_between_the_smallest_order_at_the_mark_and_at_the_touch_is_refused_with_its_reason() -> (
    None
):
    # The smallest order is 100 USDT, and a lot of 0.001 is worth 20 at the mark, less at the bid.
    case = replace(BASE, costs_bps=20.0, leverage=1)
    _, events = tell_bars(case, {}, {row: [NAN, NAN, 0.1] for row in range(19)})
    assert told(events) == ["0 C min_notional refused"]


def test_two_rules_that_refuse_the_same_target_are_told_once() -> None:
    case = replace(BASE, router=None, bracket_scale=1.0, n_bars=20)
    _, events = tell_bars(case, {}, {row: [9.0, 9.0, 9.0] for row in range(19)})
    late = [line for line in told(events) if int(line.split()[0]) >= 4]
    assert late == []


def test_without_a_router_a_target_of_zero_closes_also_what_is_still_on_its_way() -> None:
    case = replace(BASE, router=None, latency_bars=3)
    states, _ = tell_bars(case, {}, {0: [0.5, NAN, NAN], 1: [0.0, NAN, NAN]})
    assert lots_held(states, 0)[2:6] == [0, 50, 0, 0]
