"""Orders as the matching engine takes, fills, changes and ends them.

In lock-step an order waits for the next bar, as in the backtest. Else what crosses the spread fills at once, level by
level, against the book of the moment, and what rests waits for the market to trade through it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from live.simulator import booking, user_events
from live.simulator.accounts import VenueAccount
from live.simulator.kernels import cancel, close_by_force, execute, rest, send
from live.simulator.moment import Moment
from live.simulator.orders import AlgoOrder, Order, Terms, qty_of
from live.simulator.refusals import refusal
from live.simulator.wire import Refused
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Journal
from quantcore.types import (
    FillReason,
    FloatArray,
    IntArray,
    Liquidity,
    OrderStatus,
    OrderType,
    Rule,
    TimeInForce,
    WorkingType,
)

if TYPE_CHECKING:
    from live.simulator.engine import Engine

DEPTH = 500
"""Levels of the book that an order may take."""
NEAR = 10
"""Levels that are looked at first."""
STEP_KINDS = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "TRAILING_STOP_MARKET": OrderType.TRAILING_STOP_MARKET,
}


def submit(
    venue: Engine, account: VenueAccount, terms: Terms, *, algo: AlgoOrder | None = None
) -> Order:
    """Take an order of the matching engine, and match it unless the clock is a driver's.

    Raises
    ------
    Refused
        If a rule of the exchange forbids it; nothing is left of it then.
    """
    moment = venue.moment()
    if not venue.lock_step:
        _check_takeable(venue, terms)
        _check_margin(venue, account, terms)
    order = Order(
        terms=terms, order_id=venue.order_id(), number=account.next_number, made_us=venue.now_us,
        changed_us=venue.now_us, original=terms.type if algo is None else algo.terms.type, algo=algo,
    )  # fmt: skip
    account.next_number += 1
    journal = account.journal(np.empty(0, dtype=np.int64))
    _send(venue, account, moment, journal, order)
    account.orders[order.order_id] = order
    venue.tell(account, user_events.order_update(order, "NEW", venue.now_us))
    if not venue.lock_step:
        _match(venue, account, moment, order)
    return order


def submit_conditional(venue: Engine, account: VenueAccount, terms: Terms) -> AlgoOrder:
    """Take a conditional order, which the account step watches.

    Raises
    ------
    Refused
        If a rule of the exchange forbids it.
    """
    moment = venue.moment()
    algo = AlgoOrder(
        terms=terms, algo_id=venue.algo_id(), number=account.next_number, made_us=venue.now_us,
        changed_us=venue.now_us,
    )  # fmt: skip
    account.next_number += 1
    journal = account.journal(np.empty(0, dtype=np.int64))
    place = _send(venue, account, moment, journal, algo)
    if not venue.lock_step:
        # It watches from now on, not from the next bar.
        account.held["ticket"][place, at.SEEN] = 1
    account.watch(algo)
    venue.tell(account, user_events.algo_update(algo, venue.now_us))
    return algo


def submit_watched(venue: Engine, account: VenueAccount, terms: Terms) -> AlgoOrder:
    """Take a conditional order whose trigger the venue watches: a limit, or a trailing stop with an activation.

    Raises
    ------
    Refused
        -2021 if it would trigger at once.
    """
    algo = AlgoOrder(
        terms=terms,
        algo_id=venue.algo_id(),
        number=-1,
        made_us=venue.now_us,
        changed_us=venue.now_us,
    )
    basis = (venue.marks if terms.working_type == "MARK_PRICE" else venue.prices)[terms.s]
    if terms.stop is not None:
        beyond = (
            (terms.stop - basis) * terms.side * (1.0 if terms.type.startswith("STOP") else -1.0)
        )
        if not beyond > 0.0:
            raise refusal(venue.instruments[terms.s], Rule.WOULD_TRIGGER)
    account.watch(algo)
    venue.tell(account, user_events.algo_update(algo, venue.now_us))
    return algo


def end_algo(venue: Engine, account: VenueAccount, algo: AlgoOrder, status: str) -> None:
    """End a conditional order that has not triggered."""
    if algo.step_id >= 0:
        end(venue, account, algo, OrderStatus[status])
        return
    algo.status, algo.changed_us = status, venue.now_us
    venue.tell(account, user_events.algo_update(algo, venue.now_us))


def amend(venue: Engine, account: VenueAccount, order: Order, lots: int, price: float) -> Order:
    """Give a resting limit another quantity and price; it loses its place in the queue.

    Raises
    ------
    Refused
        If the changed order is refused; the old one stays where nothing was taken back yet, else it is cancelled.
    """
    changed = replace(order.terms, lots=lots, price=price)
    if not venue.lock_step:
        _check_takeable(venue, changed)
    moment, journal = venue.moment(), account.journal(np.empty(0, dtype=np.int64))
    cancel(account.account, journal, order.number, venue.now_us, int(OrderStatus.CANCELED))
    journal.filled[:] = 0
    account.by_step_id.pop(order.step_id, None)
    order.terms = replace(changed, lots=lots - order.done)
    try:
        _send(venue, account, moment, journal, order)
    except Refused:
        order.terms, order.status = replace(changed), "CANCELED"
        venue.tell(account, user_events.order_update(order, "CANCELED", venue.now_us))
        raise
    order.terms, order.changed_us = changed, venue.now_us
    venue.tell(account, user_events.order_update(order, "AMENDMENT", venue.now_us))
    if not venue.lock_step:
        _match(venue, account, moment, order)
    return order


def _send(
    venue: Engine, account: VenueAccount, moment: Moment, journal: Journal, order: Order | AlgoOrder
) -> int:
    """Hand an order to the account step and return its place in the table of open ones."""
    whole, value = _script(order.number, order.terms)
    place = send(
        account.account, account.rules, journal, moment.market, moment.row, account.config, whole, value
    )  # fmt: skip
    rule = _rule_of(journal)
    journal.filled[:] = 0
    if rule is not None:
        raise refusal(venue.instruments[order.terms.s], rule)
    order.step_id = int(account.held["ticket"][place, at.ORDER_ID])
    account.by_step_id[order.step_id] = order
    return int(place)


def _rule_of(journal: Journal) -> int | None:
    """Return the rule by which an order was refused, None where none was."""
    for row in range(int(journal.filled[0])):
        whole = journal.whole[row]
        if whole[at.KIND] == at.EVENT_STATUS and whole[at.EVENT_STATE] == OrderStatus.REJECTED:
            return int(whole[at.EVENT_REASON])
    return None


def _check_takeable(venue: Engine, terms: Terms) -> None:
    """Refuse what may only rest and would cross, or may only fill whole and would not."""
    if terms.type != "LIMIT" or terms.tif not in ("GTX", "FOK"):
        return
    takeable = sum(lots for _, lots in _levels(venue, terms))
    if terms.tif == "GTX" and takeable > 0:
        raise refusal(venue.instruments[terms.s], Rule.POST_ONLY_WOULD_CROSS)
    if terms.tif == "FOK" and takeable < terms.lots:
        raise refusal(venue.instruments[terms.s], Rule.FOK_NOT_FILLABLE)


def _check_margin(venue: Engine, account: VenueAccount, terms: Terms) -> None:
    """Refuse an order whose opening part the available margin does not carry at the price of the moment."""
    if terms.reduce_only:
        return
    s, touch = terms.s, _touch(venue, terms)
    price = touch if terms.price is None else terms.price
    if terms.side < 0 and not math.isnan(touch):
        price = max(price, touch)
    opening = opening_lots(account.lots(s), terms.lots * int(terms.side))
    if opening == 0 or math.isnan(price):
        return
    after = abs(account.lots(s) + terms.lots * int(terms.side))
    if qty_of(terms, after) * price > account.rules.rate[s, at.NOTIONAL_MAX]:
        raise refusal(venue.instruments[s], Rule.BRACKET_NOTIONAL)
    needed = qty_of(terms, opening) * price / account.leverage(s)
    needed += qty_of(terms, terms.lots) * price * float(account.rules.rate[s, at.TAKER_FEE])
    free = account.available(venue.marks)
    if opening < terms.lots:  # a turn frees what it closes first
        mark = float(venue.marks[s])
        free += abs(account.qty(s)) * mark / account.leverage(s)
    if needed > free:
        raise refusal(venue.instruments[s], Rule.MARGIN)


def _levels(venue: Engine, terms: Terms) -> list[tuple[float, int]]:
    """Return price and lots of what an order may take from the book, best first, at least as far as it reaches."""
    found: list[tuple[float, int]] = []
    for levels in (NEAR, DEPTH):
        book = venue.tape.book(terms.s, venue.now_us, levels)
        side = book.asks if terms.side > 0 else book.bids
        found = []
        for ticks, lots in side:
            price = round(ticks * float(terms.instrument.tick_size), 12)
            if terms.price is not None and (price - terms.price) * terms.side > 1e-12:
                return found
            found.append((price, lots))
        if len(side) < levels or sum(lots for _, lots in found) >= terms.lots:
            return found
    return found


def _touch(venue: Engine, terms: Terms) -> float:
    """Return the best price of the other side, NaN where there is none."""
    book = venue.tape.book(terms.s, venue.now_us, 1)
    side = book.asks if terms.side > 0 else book.bids
    return round(side[0][0] * float(terms.instrument.tick_size), 12) if side else math.nan


def _match(venue: Engine, account: VenueAccount, moment: Moment, order: Order) -> None:
    terms = order.terms
    left = _takes_now(venue, account, terms, terms.lots - order.done)
    for price, lots in _levels(venue, terms):
        if not order.is_open or left <= 0:
            break
        taken = min(lots, left)
        left -= taken
        fill(venue, account, moment, order, taken, price, Liquidity.TAKER)
    if not order.is_open:
        return
    if terms.type == "MARKET" or terms.tif in ("IOC", "FOK"):
        end(venue, account, order, OrderStatus.EXPIRED)
        return
    touch = _touch(venue, terms)
    if terms.price is not None and (terms.price - touch) * terms.side >= 0.0:
        # What the book has not given, for its depth or by a fault, stands at its price from now on.
        table = account.held["ticket"]
        table[table[:, at.ORDER_ID] == order.step_id, at.SEEN] = 1
        return
    journal = account.journal(np.empty(0, dtype=np.int64))
    rest(account.account, account.rules, journal, moment.market, moment.row, order.number, touch)
    _refuse_or_book(venue, account, order, journal)


def _takes_now(venue: Engine, account: VenueAccount, terms: Terms, lots: int) -> int:
    """Return how many of an order's lots meet the book at once: all, unless a fault lets orders fill in part."""
    for fault in venue.in_force("partial_fill", terms.s, account):
        return max(int(lots * fault.rule.fraction), 1)
    return lots


def force(venue: Engine, account: VenueAccount, s: int, price: float, *, liquidates: bool) -> None:
    """Close an account's position in a symbol at a price, as the exchange does."""
    journal = account.journal(np.empty(0, dtype=np.int64))
    close_by_force(
        account.account, account.rules, journal, s, price, venue.now_us, int(FillReason.RISK), liquidates
    )  # fmt: skip
    booking.book(venue, account, journal)


def fill(
    venue: Engine,
    account: VenueAccount,
    moment: Moment | None,
    order: Order,
    lots: int,
    price: float,
    liquidity: Liquidity,
) -> None:
    """Fill part of an open order at a price.

    Raises
    ------
    Refused
        If margin or bracket forbid it and nothing of the order has filled yet: nothing is left of it then.
    """
    here = moment or venue.moment()
    journal = account.journal(np.empty(0, dtype=np.int64))
    execute(
        account.account, account.rules, journal, here.market, here.row, order.number, lots, price, int(liquidity)
    )  # fmt: skip
    _refuse_or_book(venue, account, order, journal)


def _refuse_or_book(venue: Engine, account: VenueAccount, order: Order, journal: Journal) -> None:
    rule = _rule_of(journal)
    booking.book(venue, account, journal)
    if rule is not None and order.done == 0:
        account.orders.pop(order.order_id, None)
        venue.take_back(order.order_id)
        raise refusal(venue.instruments[order.terms.s], rule)


def end(
    venue: Engine, account: VenueAccount, order: Order | AlgoOrder, status: OrderStatus
) -> None:
    """End an open order at once."""
    journal = account.journal(np.empty(0, dtype=np.int64))
    cancel(account.account, journal, order.number, venue.now_us, int(status))
    booking.book(venue, account, journal)


def _script(number: int, terms: Terms) -> tuple[IntArray, FloatArray]:
    """Return an order as the account step's script has it."""
    whole = np.zeros((1, at.N_SCRIPT), dtype=np.int64)
    value = np.full((1, 3), np.nan)
    tif = {"IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK, "GTX": TimeInForce.GTX}
    whole[0, at.SCRIPT_CLIENT] = number
    whole[0, at.SCRIPT_SYMBOL] = terms.s
    whole[0, at.SCRIPT_SIDE] = int(terms.side)
    whole[0, at.SCRIPT_TYPE] = int(STEP_KINDS[terms.type])
    whole[0, at.SCRIPT_TIF] = int(tif.get(terms.tif, TimeInForce.GTC))
    whole[0, at.SCRIPT_LOTS] = terms.lots
    flags = at.CLOSE_POSITION if terms.close_position else 0
    whole[0, at.SCRIPT_FLAGS] = flags or (at.REDUCE_ONLY if terms.reduce_only else 0)
    whole[0, at.SCRIPT_WORKING] = int(WorkingType[terms.working_type])
    for place, number_or_none in enumerate((terms.price, terms.stop)):
        if number_or_none is not None:
            value[0, place] = number_or_none
    if terms.callback is not None:
        value[0, 2] = callback_fraction(terms.callback)
    return whole, value


def callback_fraction(percent: float) -> float:
    """Return per cent as a fraction: the float of its decimal text, which a division of floats need not give."""
    return float(Decimal(str(percent)) / 100)


def opening_lots(held: int, lots: int) -> int:
    """Return how many of an order's signed lots would enlarge or turn the position held; as the ledger has it."""
    if held == 0 or (held > 0) == (lots > 0):
        return abs(lots)
    return max(abs(lots) - abs(held), 0)
