"""Limits, halts and emergencies meet orders that are on their way, between two decisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quantcore.execution.router import RouterSettings
from quantcore.execution.settings import RestingSettings
from quantcore.kernels import layout as at
from quantcore.risk.limits import RiskSettings
from quantcore.types import FillReason, RiskLevel
from tests.account.random_cases import NO_EXITS, Case
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


@pytest.mark.parametrize("router", [RESTS, CROSSES, None])
def test_what_was_asked_and_heard_at_a_close_is_not_left_to_the_next(
    router: RouterSettings | None,
) -> None:
    case = replace(BASE, router=router)
    bars = {3: {0: FILLS}, 9: {0: FILLS}}
    states, _ = tell_bars(case, bars, {2: [0.5, 0.3, -0.2], 8: [0.2, -0.3, 0.0]})
    for state in states:
        assert not state["held"][:, [at.ASKED, at.HEARD_LOTS, at.HEARD_END]].any()


def test_routes_that_reduce_send_before_those_that_enlarge() -> None:
    case = replace(BASE, router=CROSSES)
    _, events = tell_bars(case, {}, {0: [NAN, NAN, 0.5], 4: [0.5, NAN, 0.2]})
    assert [line for line in told(events) if line.startswith("4 ")] == [
        "4 C market sell 0.015",
        "4 A market buy 4.9",
    ]


def test_each_half_of_a_turn_says_what_it_still_wants() -> None:
    case = replace(BASE, router=CROSSES)
    _, events = tell_bars(case, {}, {0: [0.5, NAN, NAN], 4: [-0.3, NAN, NAN]})
    _, numbers = events.of(at.EVENT_NEW_ORDER)
    np.testing.assert_allclose(numbers[:, at.D], [5.0, 5.0, 2.9])


def test_an_order_that_is_not_urgent_is_no_more_than_its_share_of_the_volume() -> None:
    # The volume is 10,000 coins a bar, of which a ten-thousandth is 1.
    case = replace(BASE, router=replace(CROSSES, participation_max=1e-4))
    states, events = tell_bars(case, {}, {0: [0.5, NAN, NAN]})
    assert lots_held(states, 0)[:7] == [0, 10, 20, 30, 40, 50, 50]
    assert sum("market buy 1" in line for line in told(events)) == 5


def test_a_touch_does_not_fill_an_order_that_has_not_arrived() -> None:
    case = replace(
        BASE, latency_bars=3, resting=RestingSettings(queue_ahead=0.0, touch_share=1.0)
    )  # fmt: skip
    touch = (100.1, 100.2, 100.0, 100.1)
    states, _ = tell_bars(case, {1: {0: touch}, 2: {0: touch}, 3: {0: touch}}, {0: [0.5, NAN, NAN]})
    assert lots_held(states, 0)[:4] == [0, 0, 0, 50]


def test_margin_of_what_rests_is_counted_once() -> None:
    """Half of the capital rests in the book: the other half is there for A, less the buffer and fees."""
    case = replace(BASE, leverage=1, margin_buffer=0.1)
    _, events = tell_bars(case, {1: {1: ABOVE}}, {0: [NAN, 0.5, NAN], 2: [0.9, NAN, NAN]})
    ordered = [line for line in told(events) if line.startswith("2 A limit buy")]
    # 1,000 less a tenth, less 500 for B and its fee: 399.75, at 100 and fees of 0.05 %.
    assert ordered == ["2 A limit buy 3.9"]


def test_more_of_what_rests_needs_margin_for_the_whole_of_it() -> None:
    """50 lots rest; of the 120 wanted, margin is there for 99, and what rests stays in its place."""
    case = replace(BASE, leverage=1, margin_buffer=0.0)
    states, events = tell_bars(case, {1: {1: ABOVE}}, {0: [NAN, 0.5, NAN], 2: [NAN, 1.2, NAN]})
    assert states[2]["route"][1, at.GOAL] == 99
    assert [line for line in told(events) if line.startswith("2 B")] == ["2 B margin cut"]


@pytest.mark.parametrize("router", [CROSSES, None])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_an_emergency_reduces_on_either_side(router: RouterSettings | None, side: float) -> None:
    case = replace(
        BASE, router=router, risk=limits(margin_ratio_max=0.1, margin_ratio_after=0.05)
    )  # fmt: skip
    end = 100.0 - 9.0 * side
    bars = {5: {0: (100.0, max(100.0, end), min(100.0, end), end)}}
    states, events = tell_bars(case, bars, {0: [6.0 * side, NAN, NAN]})
    lots = lots_held(states, 0)
    assert abs(lots[5]) > 590
    assert 0 < lots[6] * side < 300
    fills, _ = events.of(at.EVENT_FILL)
    assert fills[-1, at.EVENT_REASON] == FillReason.RISK


def test_an_emergency_does_not_take_back_an_exit_that_is_being_worked() -> None:
    case = replace(BASE, risk=limits(margin_ratio_max=0.1, margin_ratio_after=0.05))
    bars = {1: {0: FILLS}, 6: {0: (100.0, 100.0, 90.0, 90.0)}}
    states, _ = tell_bars(case, bars, {0: [6.0, NAN, NAN], 4: [0.0, NAN, NAN]})
    assert lots_held(states, 0)[6:8] == [600, 0]


@pytest.mark.parametrize(
    ("limit", "held", "wanted", "end"),
    [
        (limits(net_max=0.8), [0.4, 0.39, NAN], [0.1, 0.39, NAN], 130.0),
        (limits(cluster_max=0.8), [0.4, 0.39, NAN], [0.1, 0.39, NAN], 130.0),
        (limits(leverage_max=0.8), [0.4, 0.39, NAN], [0.1, 0.39, NAN], 130.0),
        (limits(daily_var_max=0.0635), [0.4, 0.39, NAN], [0.1, 0.39, NAN], 130.0),
        (limits(stress_move=0.9), [0.55, 0.54, NAN], [0.1, 0.54, NAN], 70.0),
    ],
)
def test_a_target_that_reduces_what_exceeds_a_limit_has_no_patience(
    limit: RiskSettings, held: list[float], wanted: list[float], end: float
) -> None:
    """A moves by almost a third in the bar at whose close it is asked to shrink: the totals are beyond the limit."""
    case = replace(BASE, risk=limit)
    bars = {
        1: {0: FILLS, 1: (10.01, 10.02, 9.9, 10.0)},
        5: {0: (100.1, max(100.1, end), min(100.1, end), end)},
    }
    states, events = tell_bars(case, bars, {0: held, 5: wanted})
    assert (states[4]["held"][:2, at.LOTS] > 0).all()
    assert [line.split()[1:3] for line in told(events) if line.startswith("5 A m")] == [
        ["A", "market"]
    ]


def test_a_time_exit_at_the_close_of_a_turn_does_not_lose_its_other_half() -> None:
    case = replace(BASE, router=CROSSES, exits=replace(NO_EXITS, time_exit=4))
    states, _ = tell_bars(case, {}, {0: [0.5, NAN, NAN], 5: [-0.3, NAN, NAN]})
    assert lots_held(states, 0)[5:8] == [50, 0, -29]


def test_a_time_exit_beats_a_target_that_only_reduces() -> None:
    case = replace(BASE, router=CROSSES, exits=replace(NO_EXITS, time_exit=4))
    states, _ = tell_bars(case, {}, {0: [0.5, NAN, NAN], 5: [0.2, NAN, NAN]})
    assert lots_held(states, 0)[5:8] == [50, 0, 0]
