"""The router's state machine: scripted stories, and what holds against an exchange that does its worst."""

from __future__ import annotations

import io
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.execution.router import (
    RouterAction,
    RouterEvent,
    RouterSettings,
    RouterState,
    idle_routes,
    parameters,
    react,
)
from quantcore.kernels import layout as at
from quantcore.kernels.layout import REDUCE_ONLY
from quantcore.types import FloatArray, IntArray, Rule

NAN = math.nan
SECOND = 1_000_000
TICK = 0.1
MANY = 10**9
PATIENT = RouterSettings(
    post_only=True,
    inside_ticks=0,
    requote_after_seconds=60.0,
    requote_bps=20.0,
    requotes_max=2,
    cross_after_seconds=600.0,
    participation_max=0.1,
    slice_pause_seconds=30.0,
    schedule_urgency=1.0,
)
CROSSES = replace(PATIENT, post_only=False)

Step = Callable[..., int]


@dataclass(frozen=True)
class Limits:
    """What the exchange takes, in lots; ticks of 0.1."""

    open_min: int = 5
    post_max: int = 1000
    cross_max: int = 500
    slice: int = MANY

    def row(self) -> IntArray:
        return np.array([self.open_min, self.post_max, self.cross_max, self.slice, 1, 10])


class Desk:
    """One route, told event by event."""

    def __init__(self, how: RouterSettings, step: Step = react) -> None:
        self.parameters = parameters(how)
        self.step = step
        routes, prices = idle_routes(1)
        self.route: IntArray = routes[0]
        self.price: FloatArray = prices[0]

    def tell(
        self,
        event: RouterEvent,
        *,
        limits: Limits,
        held: int,
        ts: int,
        touch: tuple[float, float],
        child: int = -1,
        lots: int = 0,
        code: int = 0,
    ) -> RouterAction:
        asked = self.step(
            self.route, self.price, limits.row(), self.parameters, held, int(event), child, lots, code, ts, *touch
        )  # fmt: skip
        return RouterAction(asked)

    @property
    def state(self) -> RouterState:
        return RouterState(self.route[at.STATE])

    @property
    def signed_lots(self) -> int:
        return int(self.route[at.CHILD_SIDE] * self.route[at.CHILD_LOTS])

    @property
    def reduce_only(self) -> bool:
        return bool(self.route[at.CHILD_FLAGS] == REDUCE_ONLY)


class Story:
    """A desk with its position, its clock and the touch it sees; every telling returns what is asked, in words."""

    def __init__(
        self, how: RouterSettings = PATIENT, limits: Limits | None = None, *, held: int = 0
    ) -> None:
        self.desk = Desk(how)
        self.limits = limits or Limits()
        self.held = held
        self.ts = 0
        self.touch = (100.0, 100.1)

    def tell(self, event: RouterEvent, *, child: int = -1, lots: int = 0, code: int = 0) -> str:
        asked = self.desk.tell(
            event, limits=self.limits, held=self.held, ts=self.ts, touch=self.touch, child=child, lots=lots, code=code
        )  # fmt: skip
        if asked == RouterAction.NOTHING:
            return ""
        if asked == RouterAction.CANCEL:
            return "cancel"
        how = " to reduce" if self.desk.reduce_only else ""
        if asked == RouterAction.POST:
            how += f" at {self.desk.price[at.QUOTE]}"
        return f"{asked.name.lower()} {self.desk.signed_lots:+d}{how}"

    def decide(self, goal: int, *, urgent: bool = False) -> str:
        return self.tell(RouterEvent.DECIDE, lots=goal, code=int(urgent))

    def wait(self, seconds: float, bid: float | None = None, ask: float | None = None) -> str:
        self.ts += int(seconds * SECOND)
        if bid is not None:
            self.touch = (bid, bid + TICK if ask is None else ask)
        return self.tell(RouterEvent.CLOCK)

    def fill(self, lots: int) -> str:
        self.held += int(self.desk.route[at.CHILD_SIDE]) * lots
        return self.tell(RouterEvent.FILL, child=self.child, lots=lots)

    def stop(self, held: int) -> str:
        """Something else trades: the clock tells only what is held now."""
        self.held = held
        return self.tell(RouterEvent.CLOCK)

    def ends(self, event: RouterEvent, rule: Rule | None = None) -> str:
        return self.tell(event, child=self.child, code=0 if rule is None else int(rule))

    def canceled(self) -> str:
        return self.ends(RouterEvent.CANCELED)

    def would_cross(self) -> str:
        return self.ends(RouterEvent.REJECTED, Rule.POST_ONLY_WOULD_CROSS)

    @property
    def child(self) -> int:
        return int(self.desk.route[at.CHILD])

    @property
    def state(self) -> RouterState:
        return self.desk.state

    @property
    def refused_by(self) -> Rule | None:
        rule = int(self.desk.route[at.REFUSED_BY])
        return None if rule < 0 else Rule(rule)


# Patience


def test_a_patient_goal_is_posted_at_the_touch_and_done_when_filled() -> None:
    for goal, asked in ((10, "post +10 at 100.0"), (-10, "post -10 at 100.1")):
        story = Story()
        assert story.decide(goal) == asked
        assert story.state == RouterState.RESTING
        assert story.wait(1) == ""
        assert story.fill(4) == ""
        assert story.fill(6) == ""
        assert (story.state, story.held, story.child) == (RouterState.IDLE, goal, -1)
        assert story.wait(1000, 90.0) == ""


def test_an_order_follows_the_touch_once_the_first_has_ended() -> None:
    story = Story()
    story.decide(10)
    assert story.wait(1, 100.1) == ""  # 10 basis points
    assert story.wait(1, 100.3) == "cancel"
    assert story.wait(1, 100.4) == ""
    assert story.canceled() == "post +10 at 100.4"
    assert story.wait(1, 99.0) == ""  # the touch came nearer: the order is the best bid


def test_an_older_order_follows_any_move_and_without_one_keeps_its_place_in_the_queue() -> None:
    story = Story()
    story.decide(-10)
    assert story.wait(61) == ""
    assert story.wait(1, 99.9) == "cancel"
    assert story.canceled() == "post -10 at 100.0"
    assert story.wait(59, 99.8) == ""
    assert story.wait(1) == "cancel"


def test_after_so_many_requotes_the_rest_crosses() -> None:
    story = Story()
    story.decide(10)
    for bid in (101.0, 102.0):
        assert story.wait(1, bid) == "cancel"
        assert story.canceled() == f"post +10 at {bid}"
    assert story.fill(3) == ""
    assert story.wait(1, 103.0) == "cancel"
    assert story.canceled() == "cross +7"
    assert story.fill(7) == ""
    assert (story.state, story.held) == (RouterState.IDLE, 10)


def test_after_so_long_the_rest_crosses_less_what_filled_while_the_cancel_was_on_its_way() -> None:
    story = Story()
    story.decide(20)
    assert story.wait(599.9) == ""
    assert story.fill(3) == ""
    assert story.wait(0.1) == "cancel"
    assert story.fill(7) == ""
    assert story.canceled() == "cross +10"
    assert story.wait(1) == ""
    assert story.fill(10) == ""
    assert story.held == 20


def test_a_cancel_that_comes_too_late_buys_nothing_twice() -> None:
    story = Story()
    story.decide(20)
    assert story.wait(600) == "cancel"
    assert story.fill(20) == ""
    assert story.state == RouterState.IDLE
    assert story.canceled() == ""


def test_a_post_only_order_that_would_have_crossed_is_quoted_again_and_counted() -> None:
    story = Story()
    assert story.decide(10) == "post +10 at 100.0"
    story.touch = (99.8, 99.9)
    assert story.would_cross() == "post +10 at 99.8"
    story.touch = (99.6, 99.7)
    assert story.would_cross() == "post +10 at 99.6"
    assert story.would_cross() == "cross +10"


def test_a_rest_too_small_to_be_sent_again_stays_until_the_route_crosses() -> None:
    story = Story()
    story.decide(10)
    story.fill(6)
    assert story.wait(100, 105.0) == ""
    assert story.wait(500) == "cancel"
    assert story.canceled() == ""
    assert (story.state, story.held, story.refused_by) == (RouterState.IDLE, 6, Rule.MIN_NOTIONAL)


def test_inside_the_spread_it_stays_a_tick_short_of_the_other_side_and_does_not_chase_itself() -> (
    None
):
    story = Story(replace(PATIENT, inside_ticks=2))
    story.touch = (100.0, 101.0)
    assert story.decide(10) == "post +10 at 100.2"
    assert story.wait(100, 100.2, 101.0) == ""  # its own order is the touch now
    assert story.wait(100, 100.3, 100.5) == "cancel"
    assert story.canceled() == "post +10 at 100.4"
    story.touch = (100.4, 100.4)  # locked
    assert story.would_cross() == "post +10 at 100.3"


def test_without_a_touch_a_patient_route_waits_and_an_urgent_one_does_not() -> None:
    story = Story()
    story.touch = (NAN, NAN)
    assert story.decide(10) == ""
    assert story.state == RouterState.PAUSING
    assert story.wait(1, 100.0, NAN) == ""
    assert story.wait(1, 100.0) == "post +10 at 100.0"
    assert story.wait(1, NAN, NAN) == ""
    assert story.decide(0, urgent=True) == "cancel"
    assert story.fill(4) == ""
    assert story.canceled() == "cross -4 to reduce"


def test_the_mid_price_at_the_decision_is_kept() -> None:
    story = Story()
    story.decide(10)
    story.wait(1, 101.0)
    assert story.desk.price[at.ARRIVAL] == pytest.approx(100.05)


# Urgency


def test_an_urgent_exit_crosses_at_once_and_whole() -> None:
    story = Story(limits=Limits(slice=10), held=120)
    assert story.decide(0, urgent=True) == "cross -120 to reduce"
    assert story.fill(120) == ""
    assert story.state == RouterState.IDLE


def test_an_urgent_exit_larger_than_the_exchange_takes_goes_in_pieces_without_a_pause() -> None:
    story = Story(limits=Limits(cross_max=50), held=120)
    assert story.decide(0, urgent=True) == "cross -50 to reduce"
    assert story.fill(50) == "cross -50 to reduce"
    assert story.fill(50) == "cross -20 to reduce"


def test_an_urgent_exit_first_calls_back_the_order_that_rests() -> None:
    story = Story(held=10)
    assert story.decide(30) == "post +20 at 100.0"
    assert story.decide(0, urgent=True) == "cancel"
    assert story.fill(5) == ""
    assert story.canceled() == "cross -15 to reduce"


def test_what_became_urgent_crosses_although_the_goal_is_the_same() -> None:
    story = Story(held=10)
    assert story.decide(0) == "post -10 to reduce at 100.1"
    assert story.decide(0, urgent=True) == "cancel"
    assert story.decide(0) == ""  # the same goal once more does not calm it
    assert story.canceled() == "cross -10 to reduce"


def test_a_market_order_that_found_nobody_is_sent_again_a_second_later() -> None:
    story = Story(held=10)
    story.decide(0, urgent=True)
    story.fill(4)
    assert story.ends(RouterEvent.EXPIRED) == ""
    assert story.wait(0.5) == ""
    assert story.wait(0.5) == "cross -6 to reduce"


def test_an_exit_is_not_held_up_by_the_end_of_the_entry_before_it() -> None:
    for event, rule in ((RouterEvent.EXPIRED, None), (RouterEvent.REJECTED, Rule.MARGIN)):
        story = Story(CROSSES, held=10)
        assert story.decide(30) == "cross +20"
        assert story.decide(0, urgent=True) == ""  # a market order is not called back
        assert story.ends(event, rule) == "cross -10 to reduce"


# Slices, turns, minima


def test_a_large_order_goes_in_slices_with_pauses() -> None:
    story = Story(CROSSES, Limits(slice=40))
    assert story.decide(100) == "cross +40"
    assert story.fill(40) == ""
    assert story.wait(29) == ""
    assert story.wait(1) == "cross +40"
    assert story.fill(40) == ""
    assert story.wait(30) == "cross +20"
    assert story.fill(20) == ""
    assert story.state == RouterState.IDLE


def test_what_would_be_left_below_the_minimum_joins_the_last_slice() -> None:
    story = Story(CROSSES, Limits(slice=40))
    assert story.decide(84) == "cross +40"
    story.fill(40)
    assert story.wait(30) == "cross +44"


def test_where_the_exchange_takes_no_more_the_slice_before_leaves_enough_for_the_last() -> None:
    story = Story(CROSSES, Limits(slice=40, cross_max=40))
    assert story.decide(42) == "cross +37"
    story.fill(37)
    assert story.wait(30) == "cross +5"


def test_a_slice_is_never_below_the_smallest_order() -> None:
    story = Story(CROSSES, Limits(slice=0))
    assert story.decide(10) == "cross +5"
    story = Story(CROSSES, Limits(slice=0), held=2)
    assert story.decide(0) == "cross -1 to reduce"


def test_a_turn_first_closes_and_then_opens() -> None:
    story = Story(CROSSES, held=10)
    assert story.decide(-20) == "cross -10 to reduce"
    assert story.fill(10) == "cross -20"
    assert story.fill(20) == ""
    assert (story.state, story.held) == (RouterState.IDLE, -20)


def test_a_turn_too_small_on_the_other_side_only_closes() -> None:
    story = Story(CROSSES, held=-10)
    assert story.decide(4) == "cross +10 to reduce"
    assert story.fill(10) == ""
    assert (story.state, story.refused_by) == (RouterState.IDLE, Rule.MIN_NOTIONAL)


def test_too_little_to_open_is_dropped_and_any_dust_closes() -> None:
    story = Story(held=0)
    assert story.decide(4) == ""
    assert (story.state, story.refused_by) == (RouterState.IDLE, Rule.MIN_NOTIONAL)
    story = Story(held=4)
    assert story.decide(3) == "post -1 to reduce at 100.1"
    assert story.fill(1) == ""
    assert (story.state, story.refused_by) == (RouterState.IDLE, None)


# New goals while a child is out


def test_a_child_on_the_right_way_stays_and_the_route_goes_on_after_it() -> None:
    story = Story()
    story.decide(10)
    story.wait(100)
    assert story.decide(25) == ""
    assert story.fill(10) == "post +15 at 100.0"
    assert story.wait(499) == ""
    assert story.wait(1) == "cancel"  # patience counts from the first decision


def test_a_child_beyond_the_new_goal_is_cancelled_and_what_it_filled_counts() -> None:
    story = Story()
    story.decide(20)
    assert story.decide(10) == "cancel"
    assert story.fill(3) == ""
    assert story.canceled() == "post +7 at 100.0"


def test_a_child_that_filled_beyond_the_new_goal_is_followed_by_the_way_back() -> None:
    story = Story()
    story.decide(20)
    assert story.decide(12) == "cancel"
    assert story.fill(20) == "post -8 to reduce at 100.1"


def test_there_is_never_an_order_against_another() -> None:
    story = Story()
    story.decide(20)
    assert story.decide(-20) == "cancel"
    assert story.decide(-30) == ""
    assert story.wait(1) == ""
    assert story.fill(6) == ""
    assert story.canceled() == "post -6 to reduce at 100.1"
    assert story.fill(6) == "post -30 at 100.1"


def test_a_turned_goal_has_patience_of_its_own() -> None:
    story = Story(held=10)
    story.decide(20)
    story.wait(590)
    story.decide(0)
    assert story.canceled() == "post -10 to reduce at 100.1"
    assert story.wait(599) == ""
    assert story.wait(1) == "cancel"


def test_the_goal_that_is_held_already_ends_the_route() -> None:
    story = Story(held=10)
    assert story.decide(10) == ""
    assert story.state == RouterState.IDLE
    story.decide(20)
    assert story.decide(10) == "cancel"
    assert story.canceled() == ""
    assert story.state == RouterState.IDLE


# Refusals and other hands


def test_a_refusal_ends_the_goal_and_the_next_decision_tries_anew() -> None:
    story = Story()
    story.decide(10)
    assert story.ends(RouterEvent.REJECTED, Rule.MARGIN) == ""
    assert (story.state, story.refused_by) == (RouterState.IDLE, Rule.MARGIN)
    assert story.wait(1000) == ""
    assert story.decide(10) == "post +10 at 100.0"
    assert story.refused_by is None


def test_what_a_stop_closed_is_not_opened_again() -> None:
    story = Story(held=10)
    story.decide(20)
    assert story.stop(0) == "cancel"
    assert story.canceled() == ""
    assert story.state == RouterState.IDLE
    assert story.wait(1000) == ""


def test_what_a_stop_left_is_still_closed() -> None:
    story = Story(CROSSES, Limits(cross_max=6), held=10)
    assert story.decide(-10, urgent=True) == "cross -6 to reduce"
    assert story.stop(8) == ""
    assert story.fill(6) == "cross -2 to reduce"
    assert story.fill(2) == ""  # and not turned
    assert (story.state, story.held) == (RouterState.IDLE, 0)


def test_an_order_that_somebody_else_cancelled_is_sent_again_a_second_later() -> None:
    story = Story()
    story.decide(10)
    assert story.canceled() == ""
    assert story.wait(1) == "post +10 at 100.0"


def test_what_concerns_an_earlier_child_is_not_taken_in() -> None:
    story = Story()
    story.decide(10)
    first = story.child
    story.wait(1, 101.0)
    assert story.canceled() == "post +10 at 101.0"
    for event in (RouterEvent.CANCELED, RouterEvent.EXPIRED, RouterEvent.REJECTED):
        assert story.tell(event, child=first) == ""
    assert (story.state, story.child) == (RouterState.RESTING, first + 1)


# Settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inside_ticks": -1}, r"^inside_ticks must be finite and >= 0, was -1$"),
        ({"requote_bps": NAN}, r"^requote_bps must be finite and >= 0, was nan$"),
        ({"requotes_max": -2}, r"^requotes_max must be finite and >= 0, was -2$"),
        ({"slice_pause_seconds": math.inf}, r"^slice_pause_seconds must be .* was inf$"),
        ({"requote_after_seconds": 0.0}, r"^requote_after_seconds must be finite and > 0, was 0"),
        ({"cross_after_seconds": math.inf}, r"^cross_after_seconds must be .* was inf$"),
        ({"participation_max": 0.0}, r"^participation_max must be in \(0, 1\], was 0.0$"),
        ({"participation_max": 1.5}, r"^participation_max must be in \(0, 1\], was 1.5$"),
    ],
)
def test_settings_say_which_rule_a_value_breaks(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PATIENT, **change)  # type: ignore[arg-type]  # one name and value at a time


def test_parameters_are_in_microseconds_and_fractions() -> None:
    vector = parameters(PATIENT)
    assert vector[at.REQUOTE_FRACTION] == pytest.approx(0.002)
    assert vector[at.CROSS_AFTER_US] == 600 * SECOND
    assert vector[at.PARTICIPATION_MAX] == 0.1


# What holds against every exchange

Move = tuple[str, int, int]
"""What happens next, and two numbers that say how."""

GOALS = st.one_of(st.sampled_from([0, 1, 8, 25, -1, -8, -25]), st.integers(-60, 60))
MOVES: st.SearchStrategy[list[Move]] = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), GOALS, st.sampled_from([0, 0, 1])),
        st.tuples(st.just("clock"), st.integers(0, 90), st.integers(-4, 4)),
        st.tuples(st.just("lose touch"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("fill"), st.integers(1, 60), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 4), st.just(0)),
        st.tuples(st.just("hear"), st.integers(1, 3), st.just(0)),
        st.tuples(st.just("hear again"), st.just(0), st.just(0)),
        st.tuples(st.just("stop"), st.integers(1, 60), st.just(0)),
        st.tuples(st.just("minimum"), st.integers(1, 12), st.just(0)),
    ),
    min_size=15,  # without it half the lists have fewer than five moves
    max_size=60,
)


@dataclass(frozen=True)
class Case:
    how: RouterSettings
    limits: Limits
    held: int


CASES = st.builds(
    Case,
    how=st.builds(
        RouterSettings,
        post_only=st.sampled_from([True, True, False]),
        inside_ticks=st.integers(0, 2),
        requote_after_seconds=st.sampled_from([5.0, 100.0]),
        requote_bps=st.sampled_from([0.0, 15.0]),
        requotes_max=st.integers(0, 3),
        cross_after_seconds=st.sampled_from([30.0, 600.0]),
        participation_max=st.just(0.1),
        slice_pause_seconds=st.sampled_from([0.0, 60.0]),
        schedule_urgency=st.just(1.0),
    ),
    limits=st.builds(
        Limits,
        open_min=st.integers(1, 12),
        post_max=st.sampled_from([15, 40, 1000]),
        cross_max=st.sampled_from([12, 30, 1000]),
        slice=st.sampled_from([1, 8, 30, MANY]),
    ),
    held=st.integers(-60, 60),
)


@dataclass
class Child:
    number: int
    side: int
    left: int
    posted: bool
    reduce_only: bool
    alive: bool = True
    touched: bool = False
    cancel_asked: bool = False


@dataclass(frozen=True)
class News:
    """What the exchange has told and the desk has not heard yet."""

    event: RouterEvent | None
    child: int = -1
    lots: int = 0
    code: int = 0
    change: int = 0


class Exchange:
    """Fills, refuses and ends orders as a list of moves wants it, tells late, and checks all that it is sent."""

    def __init__(self, case: Case, step: Step = react) -> None:
        self.how, self.limits = case.how, case.limits
        self.desk = Desk(case.how, step)
        self.held = self.heard = case.held
        self.goal, self.urgent, self.other_hands = case.held, False, False
        self.range = (case.held, case.held)
        self.ts = 0
        self.bid, self.spread, self.lost = 1000, 1, 0
        self.child: Child | None = None
        self.news: deque[News] = deque()
        self.last_end: News | None = None
        self.expired_ts = -SECOND
        self.asked: list[tuple[str, int, int, float]] = []

    # What happens at the exchange

    def move(self, move: Move) -> None:
        what, a, b = move
        moves: dict[str, Callable[[], None]] = {
            "decide": lambda: self.decide(a, urgent=bool(b)),
            "clock": lambda: self.clock(a, b),
            "lose touch": lambda: setattr(self, "lost", a),
            "fill": lambda: self.fill(a),
            "end": lambda: self.end(a),
            "hear": lambda: self.listen(a),
            "hear again": self.hear_again,
            "stop": lambda: self.stop(a),
            "minimum": lambda: setattr(self, "limits", replace(self.limits, open_min=a)),
        }
        moves[what]()

    def decide(self, goal: int, *, urgent: bool) -> None:
        self.urgent = urgent or (self.urgent and goal == self.goal and self.routing)
        self.goal, self.other_hands = goal, False
        self.range = (goal, goal)
        self.widen()
        self.tell(News(RouterEvent.DECIDE, lots=goal, code=int(urgent)))

    @property
    def out(self) -> int:
        """Signed lots that the order alive may still trade."""
        child = self.child
        if child is None or not child.alive:
            return 0
        lots = min(child.left, abs(self.held)) if child.reduce_only else child.left
        return child.side * lots

    def widen(self) -> None:
        """Let the position be where the order alive may bring it: the desk cannot know better yet."""
        reach = (*self.range, self.held, self.held + self.out)
        self.range = (min(reach), max(reach))

    def clock(self, seconds: int, move: int) -> None:
        self.ts += seconds * SECOND
        self.bid += move
        self.spread = 1 + abs(move)
        self.tell(News(RouterEvent.CLOCK))

    def fill(self, lots: int) -> None:
        child = self.child
        if child is None or not child.alive:
            return
        lots = min(lots, child.left)
        if child.reduce_only:
            lots = min(lots, max(-self.held * child.side, 0))
        if lots == 0:
            self.finish(RouterEvent.EXPIRED)
            return
        before = self.held
        self.held += child.side * lots
        child.left -= lots
        child.touched = True
        child.alive = child.left > 0
        low, high = self.range
        assert low <= self.held <= high, "beyond the goal"
        if child.reduce_only:
            assert self.held * before >= 0, "turned while reducing"
        self.news.append(News(RouterEvent.FILL, child.number, lots, change=child.side * lots))

    def end(self, how: int) -> None:
        child = self.child
        if child is None or not child.alive:
            return
        if how == 0 and child.posted and not child.touched:
            self.finish(RouterEvent.REJECTED, Rule.POST_ONLY_WOULD_CROSS)
        elif how == 1 and not child.touched:
            self.finish(RouterEvent.REJECTED, Rule.MARGIN)
        elif how == 2:
            self.finish(RouterEvent.EXPIRED)
        elif how == 3 or child.cancel_asked:
            self.finish(RouterEvent.CANCELED)

    def finish(self, event: RouterEvent, rule: Rule | None = None) -> None:
        assert self.child is not None
        self.child.alive = False
        self.news.append(News(event, self.child.number, code=0 if rule is None else int(rule)))

    def stop(self, lots: int) -> None:
        """Something else makes the position smaller."""
        change = -int(math.copysign(min(lots, abs(self.held)), self.held))
        if change:
            self.held += change
            self.widen()
            self.news.append(News(None, change=change))

    # What the desk hears, and what it asks for

    def listen(self, most: int) -> None:
        for _ in range(min(most, len(self.news))):
            self.hear(self.news.popleft())

    def hear(self, news: News) -> None:
        self.heard += news.change
        if news.event is None:
            if self.routing:
                self.other_hands = True
            self.shrink()
            self.tell(News(RouterEvent.CLOCK))
            return
        self.shrink()
        if news.event != RouterEvent.FILL:
            self.last_end = news
        self.tell(news)

    def shrink(self) -> None:
        """After something else has traded, want no more than is held."""
        if self.other_hands:
            self.goal = min(max(self.goal, min(self.heard, 0)), max(self.heard, 0))
            self.range = (min(self.range[0], self.goal), max(self.range[1], self.goal))

    def hear_again(self) -> None:
        if self.last_end is not None:
            self.tell(self.last_end)

    @property
    def touch(self) -> tuple[float, float]:
        bid, ask = self.bid / 10, (self.bid + self.spread) / 10
        return ((bid, ask), (NAN, ask), (NAN, NAN))[self.lost]

    @property
    def routing(self) -> bool:
        return self.desk.state != RouterState.IDLE

    def tell(self, news: News) -> None:
        assert news.event is not None
        known = int(self.desk.route[at.CHILD])
        asked = self.desk.tell(
            news.event, limits=self.limits, held=self.heard, ts=self.ts, touch=self.touch, child=news.child,
            lots=news.lots, code=news.code,
        )  # fmt: skip
        if known == news.child and news.event in (RouterEvent.EXPIRED, RouterEvent.CANCELED):
            self.expired_ts = self.ts
        if asked in (RouterAction.POST, RouterAction.CROSS):
            self.take(posted=asked == RouterAction.POST)
        elif asked == RouterAction.CANCEL:
            child = self.child
            assert child is not None
            assert child.number == self.desk.route[at.CHILD]
            assert child.posted
            assert not child.cancel_asked
            child.cancel_asked = True
        price = float(self.desk.price[at.QUOTE])
        self.asked.append((asked.name, known, self.desk.signed_lots, price))
        self.check_route()

    def take(self, *, posted: bool) -> None:
        desk, limits = self.desk, self.limits
        assert self.child is None or not self.child.alive, "two orders alive"
        side, lots = int(desk.route[at.CHILD_SIDE]), int(desk.route[at.CHILD_LOTS])
        reducing = self.heard * side < 0
        assert desk.reduce_only == reducing
        assert not self.other_hands or reducing, "opened what something else had closed"
        assert 0 < lots <= (limits.post_max if posted else limits.cross_max)
        assert lots <= side * (self.goal - self.heard), "meant to go beyond the goal"
        if reducing:
            assert lots <= abs(self.heard), "meant to turn while reducing"
        else:
            assert lots >= limits.open_min
        least = 1 if reducing else limits.open_min
        if self.urgent:
            most = min(limits.cross_max, abs(self.heard) if reducing else MANY)
            assert lots > min(side * (self.goal - self.heard), most) - least, "in slices"
        else:
            assert lots < max(limits.slice, least) + least
        if posted:
            self.check_quote(side)
        number = int(desk.route[at.CHILD])
        assert self.child is None or number == self.child.number + 1
        self.child = Child(number, side, lots, posted, reducing)
        if any(news.event is None for news in self.news):
            self.widen()

    def check_quote(self, side: int) -> None:
        assert self.how.post_only
        assert not self.urgent
        bid, ask = self.touch
        price = float(self.desk.price[at.QUOTE])
        assert price < ask if side > 0 else price > bid, "crosses"
        best = self.bid + self.how.inside_ticks if side > 0 else self.bid + self.spread
        best -= self.how.inside_ticks if side < 0 else 0
        short = self.bid + self.spread - 1 if side > 0 else self.bid + 1
        ticks = min(best, short) if side > 0 else max(best, short)
        assert price == ticks / 10

    def check_route(self) -> None:
        state, out = self.desk.state, self.desk.signed_lots
        if state == RouterState.RESTING:
            assert abs(out) <= math.copysign(1, out) * (self.goal - self.heard), "does not fit"
            assert not self.urgent, "an urgent goal rests"
        if state == RouterState.PAUSING and self.urgent:
            assert self.ts - self.expired_ts < SECOND, "an urgent goal waits for nothing else"

    # The exchange without malice

    def calm(self, clocks: int) -> int:
        """Answer all at once, fill market orders only; return how many clocks the route took to end."""
        self.lost = 0
        for clock in range(clocks):
            while self.news or self.answers():
                self.listen(len(self.news))
            if not self.routing:
                return clock
            self.clock(30, 0)
        raise AssertionError(f"not done after {clocks} clocks: {self.desk.route}")

    def answers(self) -> bool:
        child = self.child
        if child is None or not child.alive:
            return False
        if not child.posted:
            self.fill(child.left)
        elif child.cancel_asked:
            self.finish(RouterEvent.CANCELED)
        return bool(self.news)

    def patience(self) -> int:
        """The most clocks of 30 seconds that a route may take: its patience, then its slices with their pauses."""
        slice_lots = min(self.limits.slice, self.limits.post_max, self.limits.cross_max)
        orders = math.ceil(240 / max(slice_lots, 1)) + 3
        pause = math.ceil(self.how.slice_pause_seconds / 30) + 1
        return math.ceil(self.how.cross_after_seconds / 30) + 4 + orders * pause

    def check_reached(self) -> None:
        left = self.goal - self.heard
        dropped = abs(left) < self.limits.open_min and self.heard * left >= 0
        assert self.heard == self.held
        assert left == 0 or dropped


@settings(max_examples=300)
@given(case=CASES, moves=MOVES)
def test_no_exchange_makes_it_overshoot_double_or_break_a_limit(
    case: Case, moves: list[Move]
) -> None:
    exchange = Exchange(case)
    for move in moves:
        exchange.move(move)
        child = exchange.child
        if exchange.desk.route[at.CHILD] >= 0:
            assert child is not None
            assert exchange.desk.route[at.CHILD] == child.number
        elif child is not None:
            assert not child.alive


@settings(max_examples=200)
@given(case=CASES, moves=MOVES, goal=GOALS, urgent=st.booleans())
def test_once_the_exchange_is_calm_it_ends_at_the_goal_within_its_patience(
    case: Case, moves: list[Move], goal: int, urgent: bool
) -> None:
    exchange = Exchange(case)
    for move in moves:
        exchange.move(move)
    exchange.calm(exchange.patience())
    exchange.decide(goal, urgent=urgent)
    clocks = exchange.calm(exchange.patience())
    exchange.check_reached()
    if urgent:
        assert clocks == 0


@settings(max_examples=100)
@given(case=CASES, moves=MOVES)
def test_started_again_from_its_arrays_it_goes_on_identically(
    case: Case, moves: list[Move]
) -> None:
    whole, restarted = Exchange(case), Exchange(case)
    for move in moves:
        stored = _saved(restarted.desk.route), _saved(restarted.desk.price)
        restarted.desk = Desk(case.how)
        restarted.desk.route, restarted.desk.price = stored
        whole.move(move)
        restarted.move(move)
    assert repr(whole.asked) == repr(restarted.asked)
    assert whole.desk.route.tobytes() == restarted.desk.route.tobytes()


def _saved(array: FloatArray | IntArray) -> np.ndarray:
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    loaded: np.ndarray = np.load(file)
    return loaded


@settings(max_examples=100)
@given(case=CASES, moves=MOVES)
def test_compiled_equals_interpreted(case: Case, moves: list[Move]) -> None:
    compiled, interpreted = Exchange(case), Exchange(case, react.py_func)
    for move in moves:
        compiled.move(move)
        interpreted.move(move)
        assert compiled.desk.route.tobytes() == interpreted.desk.route.tobytes()
        np.testing.assert_array_equal(compiled.desk.price, interpreted.desk.price)
    assert repr(compiled.asked) == repr(interpreted.asked)


@settings(max_examples=100)
@given(held=st.integers(-50, 50), goal=st.integers(-50, 50))
def test_without_posting_a_decision_is_one_market_order_and_a_turn_two(
    held: int, goal: int
) -> None:
    story = Story(CROSSES, Limits(open_min=1), held=held)
    asked = [story.decide(goal)]
    while story.child >= 0:
        asked.append(story.fill(abs(story.desk.signed_lots)))
    if held * goal < 0:
        expected = [f"cross {-held:+d} to reduce", f"cross {goal:+d}"]
    elif held != goal:
        how = " to reduce" if (goal - held) * held < 0 else ""
        expected = [f"cross {goal - held:+d}{how}"]
    else:
        expected = []
    assert asked == [*expected, ""]
    assert (story.held, story.state) == (goal, RouterState.IDLE)


@settings(max_examples=100)
@given(
    seconds=st.lists(st.sampled_from([0, 1, 30, 300]), max_size=30),
    bids=st.lists(st.integers(900, 1100), min_size=30, max_size=30),
    goal=st.sampled_from([20, -20]),
)
def test_it_is_never_more_patient_than_its_settings(
    seconds: Sequence[int], bids: Sequence[int], goal: int
) -> None:
    story = Story()
    sent = [story.decide(goal)]
    for wait, bid in zip(seconds, bids, strict=False):
        if story.wait(wait, bid / 10) == "cancel":
            sent.append(story.canceled())
        if story.state == RouterState.CROSSING:
            break
        assert story.ts < 600 * SECOND
    posted = list(itertools.takewhile(lambda asked: asked.startswith("post"), sent))
    assert len(posted) <= 1 + PATIENT.requotes_max
    assert len(sent) - len(posted) <= 1
