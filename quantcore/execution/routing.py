"""The router in bars: at each close it hears what became of its orders, is asked for positions, and sends.

The touch is the close, half a spread away on either side. What a close sends is active with the next bar that opens,
and so is a cancel: at once where an order takes no longer than that, so that the next order can follow at the same
close. Within a close the router first takes note of what its orders traded, then the decisions are told it, reducing
ones first, and at last it looks at the clock.
"""

from __future__ import annotations

import math

import numpy as np

from quantcore.execution.costing import affordable_goal, slice_us
from quantcore.execution.router import (
    CROSS_MAX_LOTS,
    N_LIMITS,
    OPEN_MIN_LOTS,
    POST_MAX_LOTS,
    PRICE_TICK_DENOMINATOR,
    PRICE_TICK_NUMERATOR,
    SLICE_LOTS,
    RouterAction,
    RouterEvent,
    RouterState,
    move,
    note,
)
from quantcore.execution.slices import next_slice
from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import volume_at
from quantcore.kernels.layout import (
    ACTIVE_ROUTES,
    ASKED,
    ASKED_LOTS,
    ASKED_URGENT,
    CANCEL_TS,
    CHILD,
    CHILD_FLAGS,
    CHILD_LOTS,
    CHILD_SIDE,
    CLIENT,
    DECIDED_TS,
    ENDED,
    GOAL,
    GOAL_REASON,
    HALF_SPREAD,
    HEARD_END,
    HEARD_LOTS,
    HEARD_RULE,
    LATENCY_US,
    LIMIT_MAX_LOTS,
    LOCK,
    LOTS,
    MARKET_MAX_LOTS,
    MIN_NOTIONAL,
    NONE,
    OFF,
    ONE,
    PARTICIPATION_MAX,
    QUOTE,
    REFUSED_BY,
    ROUTED,
    SCHEDULE_URGENCY,
    SLICES,
    SLIPPAGE,
    STATE,
    SYMBOL,
    TICK_DENOMINATOR,
    TICK_NUMERATOR,
    YES,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import explain, opening_lots
from quantcore.kernels.orders import (
    CANCELED,
    GTX,
    LIMIT,
    MARKET,
    REJECTED,
    ask,
    end_order,
    place,
    queue_up,
    smallest_order,
)
from quantcore.kernels.rules import quantity, tick_down, tick_nearest, tick_price, tick_up
from quantcore.types import Action, FillReason, FloatArray, IntArray, Rule, Stage, WorkingType

_IDLE = constant(RouterState.IDLE)
_DECIDE = constant(RouterEvent.DECIDE)
_CLOCK = constant(RouterEvent.CLOCK)
_FILL = constant(RouterEvent.FILL)
_CANCELED = constant(RouterEvent.CANCELED)
_REJECTED = constant(RouterEvent.REJECTED)
_EXPIRED = constant(RouterEvent.EXPIRED)
_NOTHING = constant(RouterAction.NOTHING)
_POST = constant(RouterAction.POST)
_CANCEL = constant(RouterAction.CANCEL)
_ON_LAST = constant(WorkingType.CONTRACT_PRICE)
_TARGET = constant(FillReason.TARGET)
_ROUTER = constant(Stage.ROUTER)
_DROPPED = constant(Action.REFUSED)
_MARGIN = constant(Rule.MARGIN)
_MIN_NOTIONAL = constant(Rule.MIN_NOTIONAL)
_NO_PRICE = constant(Rule.NO_PRICE)
_TURNS_MAX = 5
"""Events of one close at most: told something, it cancels, then sends, is refused, and asks for nothing more."""


@inner()
def hear_orders(account: Account, market: Market, row: int, config: FloatArray) -> None:
    """Let the router take in at a close what became of its orders, before anything is decided; it sends nothing yet."""
    ts, freeing = market.ts_us[row], _frees_margin(account)
    for s in range(len(account.held)):
        route, quote, held = account.route[s], account.quote[s], account.held[s]
        if route[STATE] == _IDLE:
            continue
        child, lots, end, rule = route[CHILD], held[HEARD_LOTS], held[HEARD_END], held[HEARD_RULE]
        if lots > 0:
            note(route, quote, config, held[LOTS], _FILL, child, lots, ZERO, ts)
        if end != 0 and route[CHILD] == child:
            what = _EXPIRED  # filled less than was left, as a reducing order may
            if end == CANCELED + 1:
                what = _CANCELED
            elif end == REJECTED + 1 and rule != _NO_PRICE and not (rule == _MARGIN and freeing):
                what = _REJECTED  # else it is tried again: after a hole, or once margin is free
            note(route, quote, config, held[LOTS], what, child, ZERO, rule, ts)
        held[HEARD_LOTS] = held[HEARD_END] = 0
        if held[ENDED]:
            route[STATE] = _IDLE
        if route[STATE] == _IDLE:
            account.counter[ACTIVE_ROUTES] -= 1
        # An exit rule closed this side: whatever rests there is called off.
        elif held[LOCK] * route[GOAL] > 0:
            ask(account, s, ZERO, _TARGET, YES)


@inner()
def work_routes(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray
) -> None:
    """Tell the router at a close what is asked of it, then the time."""
    limits = np.empty(N_LIMITS, dtype=np.int64)
    for reducing in (True, False):
        for s in range(len(account.held)):
            held = account.held[s]
            if held[ASKED] == 0 or math.isnan(market.close[row, s]):
                continue
            goal = held[ASKED_LOTS]
            if (opening_lots(held[LOTS], goal - held[LOTS]) == 0) == reducing:
                account.route[s, GOAL_REASON] = held[ASKED] - 1
                account.route[s, SLICES] = held[ASKED] = 0
                if config[SLIPPAGE] != OFF and not reducing and not held[ASKED_URGENT]:
                    goal = affordable_goal(
                        account, rules, journal, market, row, config, s, held[LOTS], goal
                    )
                urgent = held[ASKED_URGENT]
                _tell(
                    account, rules, journal, market, row, config, limits, s, _DECIDE, goal, urgent
                )
    for s in range(len(account.held)):
        route, held = account.route[s], account.held[s]
        if route[STATE] == _IDLE:
            continue
        if math.isnan(market.close[row, s]) and route[CHILD] == NONE:
            # In a hole nothing is sent.
            note(
                route, account.quote[s], config, held[LOTS], _CLOCK, NONE, ZERO, ZERO, market.ts_us[row]
            )  # fmt: skip
        else:
            _tell(account, rules, journal, market, row, config, limits, s, _CLOCK, ZERO, ZERO)


@inner()
def _frees_margin(account: Account) -> bool:
    """Return whether some route makes a position smaller, or turns it."""
    for s in range(len(account.held)):
        lots, goal = account.held[s, LOTS], account.route[s, GOAL]
        if account.route[s, STATE] != _IDLE and (goal * lots < 0 or abs(goal) < abs(lots)):
            return True
    return False


@inner()
def _touch(rules: Rules, market: Market, row: int, s: int) -> tuple[float, float]:
    """Return bid and ask at a close, half a spread and at least a tick apart; NaN where there is no close."""
    close, half = market.close[row, s], rules.rate[s, HALF_SPREAD]
    if not close > 0.0:
        return math.nan, math.nan
    bid, tick = tick_down(rules, s, close * (1.0 - half)), tick_price(rules, s, ONE)
    return bid, max(tick_up(rules, s, close * (1.0 + half)), tick_nearest(rules, s, bid + tick))


@inner()
def _tell(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, limits: IntArray,
    s: int, event: int, lots: int, urgent: int,
) -> None:  # fmt: skip
    """Tell the router a goal or the time, and do what it asks for until that is nothing, or takes until later."""
    route, quote, ts = account.route[s], account.quote[s], market.ts_us[row]
    held = account.held[s, LOTS]
    delay, idle = int(config[LATENCY_US]), route[STATE] == _IDLE
    bid, ask_price = _touch(rules, market, row, s)
    decides = event == _DECIDE
    left = abs((lots if decides else route[GOAL]) - held)
    since_us = 0 if decides else ts - route[DECIDED_TS]
    _fill_limits(account, rules, market, row, config, s, limits, left, since_us)
    child, code = NONE, urgent
    for _ in range(_TURNS_MAX):
        action = move(
            route, quote, limits, config, held, event, child, lots, code, ts, bid, ask_price
        )
        if action == _NOTHING:
            break
        child, lots = route[CHILD], ZERO
        if action == _CANCEL:
            k = _slot(account, s)
            if delay > 0:
                account.ticket[k, CANCEL_TS] = min(account.ticket[k, CANCEL_TS], ts + delay)
                break
            end_order(account, journal, k, ts, CANCELED, NONE)
            account.held[s, HEARD_END] = 0
            event, code = _CANCELED, ZERO
        else:
            code = _send(account, rules, journal, market, row, config, s, action == _POST)
            if code < 0:
                break
            event = _EXPIRED if code == _NO_PRICE else _REJECTED
    if route[STATE] == _IDLE and not idle:
        account.counter[ACTIVE_ROUTES] -= 1
        if route[REFUSED_BY] == _MIN_NOTIONAL:
            missing = quantity(rules, s, abs(route[GOAL] - held)) * market.close[row, s]
            least = rules.rate[s, MIN_NOTIONAL]
            explain(journal, ts, s, _ROUTER, _MIN_NOTIONAL, _DROPPED, least, missing)
    elif route[STATE] != _IDLE and idle:
        account.counter[ACTIVE_ROUTES] += 1


@inner()
def _fill_limits(
    account: Account, rules: Rules, market: Market, row: int, config: FloatArray, s: int, limits: IntArray, lots: int,
    since_us: int,
) -> None:  # fmt: skip
    """Fill what the exchange takes at a close, and the lots of a slice of what is left to trade since a decision."""
    size = rules.size[s]
    lot = quantity(rules, s, ONE)
    limits[OPEN_MIN_LOTS] = smallest_order(account, rules, market, row, s)
    limits[POST_MAX_LOTS] = size[LIMIT_MAX_LOTS]
    limits[CROSS_MAX_LOTS] = size[MARKET_MAX_LOTS]
    slice_lots = max(size[LIMIT_MAX_LOTS], size[MARKET_MAX_LOTS])
    volume = volume_at(market, row, s)
    if volume >= 0.0:
        slice_lots = min(slice_lots, int(config[PARTICIPATION_MAX] * volume / lot))
    slices = account.route[s, SLICES]
    if slices > 0:  # the schedule of a goal that is slowed, from what is left of it and of its time
        left, urgency = slices - since_us // slice_us(config), config[SCHEDULE_URGENCY] / slices
        slice_lots = next_slice(lots, left, urgency, limits[OPEN_MIN_LOTS], slice_lots)
    limits[SLICE_LOTS] = slice_lots
    limits[PRICE_TICK_NUMERATOR] = size[TICK_NUMERATOR]
    limits[PRICE_TICK_DENOMINATOR] = size[TICK_DENOMINATOR]


@inner()
def _slot(account: Account, s: int) -> int:
    """Return the place of a symbol's child in the table of orders: what has left it was heard of before."""
    k = 0
    while account.ticket[k, SYMBOL] != s or account.ticket[k, CLIENT] > ROUTED:
        k += 1
    return k


@inner()
def _send(
    account: Account, rules: Rules, journal: Journal, market: Market, row: int, config: FloatArray, s: int, posts: bool
) -> int:  # fmt: skip
    """Send the child that the route holds; return the rule by which the venue refuses it at once, else -1."""
    route, ts = account.route[s], market.ts_us[row]
    close, mark = market.close[row, s], market.mark_close[row, s]
    mark = mark if mark > 0.0 else close
    held = account.held[s, LOTS]
    wanted = -held if route[GOAL] * held < 0 else route[GOAL] - held
    # Of a turn that an exit rule asked for, only the first half is the exit.
    reason = route[GOAL_REASON] if route[CHILD_FLAGS] != 0 else _TARGET
    rule = place(
        account, rules, journal, ts, route[DECIDED_TS], int(config[LATENCY_US]), s, route[CHILD_SIDE],
        LIMIT if posts else MARKET, GTX if posts else ZERO, route[CHILD_LOTS], abs(wanted), route[CHILD_FLAGS],
        _ON_LAST, reason, ROUTED - route[CHILD], account.quote[s, QUOTE] if posts else mark,
        math.nan, math.nan, mark, close,
    )  # fmt: skip
    if rule < 0 and posts:
        queue_up(account, market, row, config, s)
    return rule
