r"""Smart Order Router: one explicit state machine per symbol that works a wanted position into the market.

`react` is a pure step ``(order state, event) -> (order state', action)`` in whole lots and prices on ticks. In a
backtest execution bars drive it, in the live loop the exchange's own events. A call asks for at most one action and a
symbol has at most one order alive, its *child*: nothing can be sent twice, and no two orders ever stand against each
other.

A child is sent where none is out and the position is not at the goal. It is *posted* (post-only, at the touch) while
the route is *patient*, else it *crosses* (a market order). A route is patient while posting is on, the goal is not
urgent, at most `requotes_max` re-quotes were needed, and less than `cross_after_seconds` has passed since the decision.

========= =============================================== ========= ==============================================
State     Event                                           Then      Action
========= =============================================== ========= ==============================================
IDLE      DECIDE: there is something to trade             PAUSING   as from there, in the same call
IDLE      anything else                                   IDLE      nothing
PAUSING   any, once the pause is over and a touch known   RESTING   POST where patient
PAUSING   the same                                        CROSSING  CROSS where not
RESTING   any, if the touch has moved away, the route is  CANCELING CANCEL
          no longer patient, or the child no longer fits
          what is held and wanted
CANCELING any that does not end the child                 CANCELING nothing; the child may still fill
CROSSING  any that does not end the child                 CROSSING  nothing; a market order is not called back
any       FILL of all that was left, CANCELED, EXPIRED,   PAUSING   as from there, in the same call
          REJECTED as it would have crossed
any       REJECTED by another rule                        IDLE      nothing until the next DECIDE
PAUSING   any, if the goal is reached or the rest is too  IDLE      nothing
          small to open
========= =============================================== ========= ==============================================

What it keeps to:

- A child never goes beyond the goal, given what is held. One that reduces is reduce-only and never larger than the
  position; a turn from long to short is a child to flat and then one that opens.
- A child that no longer fits a new goal is cancelled, and what follows starts from what is held when it has ended,
  whatever it filled meanwhile.
- A rest too small to open is dropped, or joined to the last slice; what only reduces may be of any size.
- A new goal on the same way joins the route: patience counts from the decision that began it. Any other begins anew.
- Urgent goals cross at once, in one piece if the exchange takes it, whether or not a touch is known.
- Once something else has traded, such as a protective stop or a liquidation, the position may only become smaller
  until the next decision.
- A refusal, or an end that nobody asked for, counts only for a child that would be sent again: it never holds up what
  was decided since. After such an end the next child waits a second, after a refusal for the next decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    ARRIVAL,
    CHILD,
    CHILD_FLAGS,
    CHILD_LOTS,
    CHILD_SIDE,
    CHILD_TS,
    CHILDREN,
    CROSS_AFTER_US,
    DECIDED_TS,
    EXPECTED,
    GOAL,
    INSIDE_TICKS,
    N_CONFIG,
    N_QUOTE,
    N_ROUTE,
    NEXT_TS,
    NONE,
    OFF,
    OTHERS_TRADED,
    PARTICIPATION_MAX,
    POST_ONLY,
    QUOTE,
    REDUCE_ONLY,
    REFUSED_BY,
    REQUOTE_AFTER_US,
    REQUOTE_FRACTION,
    REQUOTES,
    REQUOTES_MAX,
    SCHEDULE_URGENCY,
    SLICE_PAUSE_US,
    SLICED,
    STATE,
    URGENT,
    ZERO,
    constant,
)
from quantcore.kernels.memory import lent
from quantcore.types import FloatArray, IntArray, Rule


class RouterState(IntEnum):
    """Where a symbol's route stands."""

    IDLE = 0
    PAUSING = 1
    RESTING = 2
    CROSSING = 3
    CANCELING = 4


class RouterEvent(IntEnum):
    """What happened."""

    DECIDE = 0
    CLOCK = 1
    FILL = 2
    CANCELED = 3
    REJECTED = 4
    EXPIRED = 5


class RouterAction(IntEnum):
    """What the caller has to send."""

    NOTHING = 0
    POST = 1
    CROSS = 2
    CANCEL = 3


# Limits of a symbol
OPEN_MIN_LOTS = 0  # of an order that opens, at this price
POST_MAX_LOTS = 1
CROSS_MAX_LOTS = 2
SLICE_LOTS = 3  # `participation_max` of the volume
PRICE_TICK_NUMERATOR = 4
PRICE_TICK_DENOMINATOR = 5
N_LIMITS = 6

_IDLE = constant(RouterState.IDLE)
_PAUSING = constant(RouterState.PAUSING)
_RESTING = constant(RouterState.RESTING)
_CROSSING = constant(RouterState.CROSSING)
_CANCELING = constant(RouterState.CANCELING)
_DECIDE = constant(RouterEvent.DECIDE)
_CLOCK = constant(RouterEvent.CLOCK)
_FILL = constant(RouterEvent.FILL)
_REJECTED = constant(RouterEvent.REJECTED)
_NOTHING = constant(RouterAction.NOTHING)
_POST = constant(RouterAction.POST)
_CROSS = constant(RouterAction.CROSS)
_CANCEL = constant(RouterAction.CANCEL)
_WOULD_CROSS = constant(Rule.POST_ONLY_WOULD_CROSS)
_MIN_NOTIONAL = constant(Rule.MIN_NOTIONAL)

_SECOND_US = 1_000_000
_RETRY_US = _SECOND_US  # a market without liquidity must not be asked at every update of the book


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """How patiently orders are worked.

    Parameters
    ----------
    post_only : bool
        Whether to post before crossing; false where execution bars are coarser than a resting order's life.
    inside_ticks : int
        Ticks by which a post-only order is better than the touch, never reaching the other side; >= 0.
    requote_after_seconds : float
        Age from which an order follows a touch that has moved away at all; > 0. An order still at the touch stays, and
        keeps its place in the queue.
    requote_bps : float
        Move of the touch away from the order, in basis points, beyond which it follows at once; >= 0.
    requotes_max : int
        Re-quotes per decision, after which the rest crosses; post-only orders that would have crossed count; >= 0.
    cross_after_seconds : float
        Time since the decision after which the rest crosses; > 0.
    participation_max : float
        Largest share of the traded volume in one order that is not urgent, in (0, 1].
    slice_pause_seconds : float
        Between a filled slice and the next; >= 0.
    schedule_urgency : float
        Kappa times the horizon of the Almgren-Chriss schedule of an order that is slowed for its cost, >= 0: 0 is
        equal slices, and the larger, the more is traded early.
    """

    post_only: bool
    inside_ticks: int
    requote_after_seconds: float
    requote_bps: float
    requotes_max: int
    cross_after_seconds: float
    participation_max: float
    slice_pause_seconds: float
    schedule_urgency: float

    def __post_init__(self) -> None:
        for name in ("requote_after_seconds", "cross_after_seconds"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be finite and > 0, was {value}")
        for name in (
            "inside_ticks", "requote_bps", "requotes_max", "slice_pause_seconds", "schedule_urgency",
        ):  # fmt: skip
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and >= 0, was {value}")
        if not 0.0 < self.participation_max <= 1.0:
            raise ValueError(f"participation_max must be in (0, 1], was {self.participation_max}")


def configure(config: FloatArray, settings: RouterSettings) -> None:
    """Write the settings into the account's vector of numbers, times in microseconds."""
    config[POST_ONLY] = settings.post_only
    config[INSIDE_TICKS] = settings.inside_ticks
    config[REQUOTE_AFTER_US] = settings.requote_after_seconds * _SECOND_US
    config[REQUOTE_FRACTION] = settings.requote_bps * 1e-4
    config[REQUOTES_MAX] = settings.requotes_max
    config[CROSS_AFTER_US] = settings.cross_after_seconds * _SECOND_US
    config[PARTICIPATION_MAX] = settings.participation_max
    config[SLICE_PAUSE_US] = settings.slice_pause_seconds * _SECOND_US
    config[SCHEDULE_URGENCY] = settings.schedule_urgency


def parameters(settings: RouterSettings) -> FloatArray:
    """Return the settings as `react` reads them, in a vector that holds nothing else, shape ``(N_CONFIG,)``."""
    config = np.full(N_CONFIG, OFF)
    configure(config, settings)
    return config


def idle_routes(symbols: int) -> tuple[IntArray, FloatArray]:
    """Return idle routes, shapes ``(symbols, N_ROUTE)`` and ``(symbols, N_QUOTE)``."""
    routes = np.zeros((symbols, N_ROUTE), dtype=np.int64)
    routes[:, [CHILD, REFUSED_BY]] = NONE
    return routes, np.full((symbols, N_QUOTE), np.nan)


@njit(cache=True, error_model="numpy")
def react(
    route: IntArray, price: FloatArray, limits: IntArray, parameters: FloatArray, held: int, event: int, child: int,
    lots: int, code: int, ts: int, bid: float, ask: float,
) -> int:  # fmt: skip
    """Advance a symbol's route by one event, in place, and return what to send.

    The caller gives every order event of a child once and in the exchange's order, and finds out what became of an
    order whose outcome is unknown before it tells: a child counts as alive until an event ends it.

    Parameters
    ----------
    route, price : int64 array, shape (N_ROUTE,); float64 array, shape (N_QUOTE,)
        The symbol's row of `idle_routes`. After POST and CROSS they hold the order to send: its number in `CHILD`,
        `CHILD_SIDE`, `CHILD_LOTS`, `CHILD_FLAGS` and, for a post-only order, its price in `QUOTE`. After CANCEL the
        order in `CHILD` is to be cancelled.
    limits : int64 array, shape (N_LIMITS,)
        What the exchange takes at this price, and the lots of a slice: at least the smallest order is sent.
    parameters : float64 array, shape (N_CONFIG,)
        From `parameters`, or the account's own.
    held : int
        Signed lots held after this event and before any later one.
    event : int
        A `RouterEvent`, as a plain number.
    child : int
        Number of the child whose order event this is, else -1; what concerns an earlier child is not taken in.
    lots : int
        DECIDE: signed lots of the position wanted; those held call the route off. FILL: lots filled, > 0.
    code : int
        DECIDE: 1 if urgent, else 0; the same goal again stays urgent. REJECTED: the `Rule`.
    ts : int
        Time of the event, microseconds.
    bid, ask : float
        The touch as the caller knows it, on ticks; NaN where it is not known.

    Returns
    -------
    int
        A `RouterAction`.
    """
    route, price, limits, parameters = lent(route), lent(price), lent(limits), lent(parameters)
    return move(route, price, limits, parameters, held, event, child, lots, code, ts, bid, ask)


@inner()
def move(
    route: IntArray, price: FloatArray, limits: IntArray, parameters: FloatArray, held: int, event: int, child: int,
    lots: int, code: int, ts: int, bid: float, ask: float,
) -> int:  # fmt: skip
    """Do what `react` does, for the account step."""
    if event == _DECIDE:
        _decide(route, price, held, lots, code, ts, bid, ask)
    elif route[STATE] == _IDLE:
        return _NOTHING
    else:
        note(route, price, parameters, held, event, child, lots, code, ts)
    if route[CHILD] != NONE:
        return _review(route, price, limits, parameters, held, ts, bid, ask)
    return _send(route, price, limits, parameters, held, ts, bid, ask)


@inner()
def note(
    route: IntArray, price: FloatArray, parameters: FloatArray, held: int, event: int, child: int, lots: int, code: int,
    ts: int,
) -> None:  # fmt: skip
    """Take in what happened to a route that is not idle, and ask for nothing yet."""
    if event == _FILL and child == route[CHILD]:
        route[EXPECTED] += route[CHILD_SIDE] * lots
    if held != route[EXPECTED]:
        route[OTHERS_TRADED] = 1
        route[EXPECTED] = held
    if route[OTHERS_TRADED]:
        route[GOAL] = min(max(route[GOAL], min(held, 0)), max(held, 0))
    if event != _CLOCK and child == route[CHILD] and child != NONE:
        _take_in(route, price, parameters, held, event, lots, code, ts)


@inner()
def _decide(
    route: IntArray, price: FloatArray, held: int, goal: int, urgent: int, ts: int, bid: float, ask: float
) -> None:  # fmt: skip
    """Take a goal; it begins anew unless it goes the way on which the route already is, no more urgent than before."""
    idle = route[STATE] == _IDLE
    turns = route[GOAL] == held or (route[GOAL] > held) != (goal > held)
    if idle or turns or urgent > route[URGENT]:
        route[DECIDED_TS] = ts
        route[REQUOTES] = 0
        route[NEXT_TS] = 0
        price[ARRIVAL] = 0.5 * (bid + ask)
    if idle or goal != route[GOAL] or urgent > route[URGENT]:
        route[URGENT] = urgent
    if idle:
        route[STATE] = _PAUSING
    route[GOAL] = goal
    route[EXPECTED] = held
    route[OTHERS_TRADED] = 0
    route[REFUSED_BY] = NONE


@inner()
def _take_in(
    route: IntArray, price: FloatArray, parameters: FloatArray, held: int, event: int, lots: int, code: int, ts: int
) -> None:  # fmt: skip
    """Apply an order event to the child; if that ends it, note when and whether the next may follow."""
    if event == _FILL:
        route[CHILD_LOTS] -= lots
        if route[CHILD_LOTS] > 0:
            return
        if route[SLICED] and not route[URGENT]:
            route[NEXT_TS] = ts + int(parameters[SLICE_PAUSE_US])
        after = _PAUSING
    else:
        # An end that was not asked for concerns what follows only if that would be the same order once more.
        again = route[STATE] != _CANCELING and _fits(route, held)
        after = _PAUSING
        if event == _REJECTED and code != _WOULD_CROSS:
            route[REFUSED_BY] = code
            after = _IDLE if again else _PAUSING
        elif event == _REJECTED:
            route[REQUOTES] += 1 if again else 0
        elif again:
            route[NEXT_TS] = ts + _RETRY_US
    route[STATE] = after
    route[CHILD] = NONE
    route[CHILD_LOTS] = 0
    price[QUOTE] = math.nan


@inner()
def _review(
    route: IntArray, price: FloatArray, limits: IntArray, parameters: FloatArray, held: int, ts: int, bid: float,
    ask: float,
) -> int:  # fmt: skip
    """Return whether the child that is out stays or is to be cancelled."""
    if route[STATE] != _RESTING:
        return _NOTHING
    if _fits(route, held) and _patient(route, parameters, ts):
        if not _left_behind(route, price, limits, parameters, held, ts, bid, ask):
            return _NOTHING
        route[REQUOTES] += 1
    route[STATE] = _CANCELING
    return _CANCEL


@inner()
def _left_behind(
    route: IntArray, price: FloatArray, limits: IntArray, parameters: FloatArray, held: int, ts: int, bid: float,
    ask: float,
) -> bool:  # fmt: skip
    """Return whether the touch has moved so far away, or the child is so old, that it is to follow."""
    side = route[CHILD_SIDE]
    # Mostly the child is itself the touch, or better: NaN, too, moves nothing.
    if not side * ((bid if side > 0 else ask) - price[QUOTE]) > 0.0:
        return False
    least = 1 if route[CHILD_FLAGS] == REDUCE_ONLY else limits[OPEN_MIN_LOTS]
    if abs(_way(route[GOAL], held)) < least:
        return False  # too small to be sent again: it stays until the rest crosses
    away = side * (_quote(limits, side, bid, ask, 0.0) - price[QUOTE])
    late = ts - route[CHILD_TS] >= parameters[REQUOTE_AFTER_US]
    return bool(away > 0.0 and (late or away > parameters[REQUOTE_FRACTION] * price[QUOTE]))


@inner()
def _send(
    route: IntArray, price: FloatArray, limits: IntArray, parameters: FloatArray, held: int, ts: int, bid: float,
    ask: float,
) -> int:  # fmt: skip
    """Send the next child toward the goal, if there is one to send and now is the time."""
    way = _way(route[GOAL], held)
    side = 1 if way > 0 else -1
    reduces = held * side < 0
    posts = _patient(route, parameters, ts)
    most = limits[POST_MAX_LOTS if posts else CROSS_MAX_LOTS]
    least = 1 if reduces else max(limits[OPEN_MIN_LOTS], 1)
    if route[STATE] == _IDLE or min(abs(way), most) < least:
        if route[STATE] != _IDLE and way != 0:
            route[REFUSED_BY] = _MIN_NOTIONAL
        route[STATE] = _IDLE
        return _NOTHING
    quote = _quote(limits, side, bid, ask, parameters[INSIDE_TICKS])
    if ts < route[NEXT_TS] or not (quote > 0.0 or route[URGENT]):
        route[STATE] = _PAUSING
        return _NOTHING
    slice_lots = most if route[URGENT] else min(most, max(limits[SLICE_LOTS], least))
    lots = _slice(abs(way), slice_lots, most, least)
    route[CHILD] = route[CHILDREN]
    route[CHILDREN] += 1
    route[CHILD_SIDE] = side
    route[CHILD_LOTS] = lots
    route[CHILD_FLAGS] = REDUCE_ONLY if reduces else ZERO
    route[CHILD_TS] = ts
    route[SLICED] = lots < abs(way)
    route[STATE] = _RESTING if posts else _CROSSING
    price[QUOTE] = quote if posts else math.nan
    return _POST if posts else _CROSS


@inner()
def _way(goal: int, held: int) -> int:
    """Return the signed lots to trade next: up to the goal, of a turn those up to flat."""
    turns = goal < 0 < held or held < 0 < goal
    return -held if turns else goal - held


@inner()
def _fits(route: IntArray, held: int) -> bool:
    """Return whether the child, filled whole, would bring the position toward the goal and not beyond it."""
    side = route[CHILD_SIDE]
    reduces = held * side < 0
    right = reduces == (route[CHILD_FLAGS] == REDUCE_ONLY)
    return bool(right and route[CHILD_LOTS] <= side * _way(route[GOAL], held))


@inner()
def _patient(route: IntArray, parameters: FloatArray, ts: int) -> bool:
    return bool(
        parameters[POST_ONLY] != 0.0
        and not route[URGENT]
        and route[REQUOTES] <= parameters[REQUOTES_MAX]
        and ts - route[DECIDED_TS] < parameters[CROSS_AFTER_US]
    )


@inner()
def _quote(limits: IntArray, side: int, bid: float, ask: float, inside_ticks: float) -> float:
    """Return the price some ticks inside the touch and a tick short of the other side, NaN where no touch is known."""
    if not (bid > 0.0 and ask > 0.0):
        return math.nan
    over, under = limits[PRICE_TICK_NUMERATOR], limits[PRICE_TICK_DENOMINATOR]
    own, other = (bid, ask) if side > 0 else (ask, bid)
    own_ticks = side * math.floor(own * under / over + 0.5)
    other_ticks = side * math.floor(other * under / over + 0.5)
    ticks = side * min(own_ticks + inside_ticks, other_ticks - 1.0)
    return float(ticks * over / under)


@inner()
def _slice(lots: int, slice_lots: int, most: int, least: int) -> int:
    """Return the lots of the next child, so that what it leaves is nothing or no less than the smallest order."""
    rest = lots - min(lots, slice_lots)
    if rest == 0 or rest >= least:
        return lots - rest
    if lots <= most:
        return lots
    return lots - least if lots >= 2 * least else lots - rest
