"""How what rests fills where prints are recorded: by what was traded, in the order in which it was.

A print beyond a limit's price fills it up to the print's quantity, at the limit's price. A print at its price first
works off what stood there when the order came: the recorded size of its level; what is left of the print then fills
it. A print at its price by a taker of the order's own side shows that nothing stands there any more, and fills it. A
print's quantity is given once: to the better price first, then to the older order. What others took back before it is
not seen, so an order waits rather too long than too short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from live.simulator import matching, user_events
from live.simulator.accounts import VenueAccount
from live.simulator.book import LEVELS_MAX
from live.simulator.orders import Order
from live.simulator.resting import tickets
from live.simulator.trades import Trade
from live.simulator.wire import Refused
from quantcore.data.instruments import decimal_fraction
from quantcore.kernels import layout as at
from quantcore.types import Liquidity, OrderType

if TYPE_CHECKING:
    from live.simulator.engine import Engine


def meet_prints(venue: Engine, to_us: int, pass_to: Callable[[Engine, int], None]) -> None:
    """Let what rests meet the prints after now, up to a time.

    The clock goes to just before each print that fills something, for a price passes what rests above a trigger before
    it comes to the trigger.

    Parameters
    ----------
    venue : Engine
        Whose tape has prints of its own.
    to_us : int
        Microseconds since 1970.
    pass_to : callable
        Lets all accounts meet the path up to a time.
    """
    waiting = {order.terms.s for a in venue.accounts.values() for order in a.open_orders()}
    for account in venue.accounts.values():
        _queue_up(venue, account)
    prints = [
        (trade.time_us, s, trade)
        for s in sorted(waiting)
        for trade in venue.tape.trades(s, max(venue.now_us, venue.reopens_us), to_us)
    ]
    for _, s, trade in sorted(prints, key=lambda each: each[:2]):
        _meet(venue, s, trade, pass_to)


def _queue_up(venue: Engine, account: VenueAccount) -> None:
    """Let limits that are new in the book stand behind the recorded size of their level."""
    table = tickets(account)
    for k in np.flatnonzero(table[:, at.TYPE] == OrderType.LIMIT).tolist():
        if table[k, at.ACTIVE_TS] == at.NEVER:  # its place is counted already
            continue
        table[k, at.ACTIVE_TS] = at.NEVER
        s = int(table[k, at.SYMBOL])
        bids, asks = venue.tape.ladders(s, int(table[k, at.DECISION_TS]), LEVELS_MAX)
        level = bids if table[k, at.SIDE] > 0 else asks
        price = _ticks(venue, s, float(account.held["order"][k, at.LIMIT_PRICE]))
        lots = int(level[level[:, 0] == price, 1].sum())
        account.held["order"][k, at.QUEUE] = lots * _step(venue, s)


def _meet(venue: Engine, s: int, trade: Trade, pass_to: Callable[[Engine, int], None]) -> None:
    """Give a print to the limits that it reaches."""
    left = trade.lots
    for account, order in _resting(venue, s):
        if left == 0:
            return
        lots = _given(venue, account, order, trade, left)
        if lots == 0:
            continue
        if trade.time_us - 1 > venue.now_us:
            pass_to(venue, trade.time_us - 1)
        if not order.is_open:  # what happened on the way ended it
            continue
        done = order.done
        _fill(venue, account, order, lots, trade.time_us)
        left -= order.done - done


def _resting(venue: Engine, s: int) -> list[tuple[VenueAccount, Order]]:
    """Return a symbol's limits in the book, the better price first, then the older."""
    found = [
        (account, order)
        for account in venue.accounts.values()
        for order in account.open_orders(s)
        if order.terms.type == "LIMIT"
    ]
    return sorted(found, key=lambda each: (-each[1].terms.side * _price(each[1]), each[1].order_id))


def _given(venue: Engine, account: VenueAccount, order: Order, trade: Trade, left: int) -> int:
    """Return what a print gives to a limit, of `left` lots that better ones have left; its queue gets shorter."""
    terms, table = order.terms, tickets(account)
    places = np.flatnonzero(table[:, at.ORDER_ID] == order.step_id)
    if len(places) == 0 or trade.time_us <= table[places[0], at.DECISION_TS]:
        return 0
    s, k = terms.s, int(places[0])
    beyond = (_ticks(venue, s, _price(order)) - _ticks(venue, s, trade.price)) * terms.side
    if beyond < 0:
        return 0
    own_side_took = trade.buyer_is_maker == (terms.side < 0)
    queue, step = account.held["order"], _step(venue, s)
    ahead = 0 if beyond > 0 or own_side_took else round(float(queue[k, at.QUEUE]) / step)
    queue[k, at.QUEUE] = max(ahead - trade.lots, 0) * step
    return min(max(left - ahead, 0), terms.lots - order.done)


def _fill(venue: Engine, account: VenueAccount, order: Order, lots: int, time_us: int) -> None:
    """Fill a limit at the time of a print, before what else the print does at that time."""
    before_us, venue.now_us = venue.now_us, time_us
    try:
        matching.fill(venue, account, None, order, lots, _price(order), Liquidity.MAKER)
    except Refused:  # an isolated position's margin: the order ends, and its owner is told
        account.orders[order.order_id] = order
        venue.tell(account, user_events.order_update(order, "EXPIRED", time_us))
    venue.now_us = before_us


def _price(order: Order) -> float:
    """Return a limit's price."""
    return 0.0 if order.terms.price is None else order.terms.price


def _ticks(venue: Engine, s: int, price: float) -> int:
    numerator, denominator = decimal_fraction(venue.tape.instruments[s].tick_size)
    return round(price * denominator / numerator)


def _step(venue: Engine, s: int) -> float:
    return float(venue.tape.instruments[s].step_size)
