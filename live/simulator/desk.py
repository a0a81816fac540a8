"""Signed requests that place, change and cancel orders, and the dead man's switch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from live.simulator import matching
from live.simulator.accounts import VenueAccount
from live.simulator.filters import (
    decimal_of,
    integer_of,
    mandatory,
    symbol_of,
    terms_of,
    whole_steps,
)
from live.simulator.orders import Order, Terms, qty_of
from live.simulator.refusals import refusal
from live.simulator.wire import Refused, digits_of, text
from quantcore.types import OrderStatus, Rule

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]
Request = Callable[["Engine", VenueAccount, Params], Any]
"""Answers a signed request."""

BATCH_MAX = 5
"""Orders of one batch."""
CANCELS_MAX = 10
CANCEL_LISTS = ("orderIdList", "origClientOrderIdList")
PERCENT_PRICE = 0.05
"""How far from the mark a limit may lie."""
COUNTDOWN_MAX_MS = 2**53
UNKNOWN = (-2011, "Unknown order sent.")
MISSING = (-2013, "Order does not exist.")


def place_order(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST order."""
    order, first = _place(venue, account, params)
    return order.answer() if params.get("newOrderRespType", "ACK") == "RESULT" else first


def test_order(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST order/test: checks without an order."""
    terms = terms_of(
        params, venue.instruments, conditional=False, made_id="test", now_ms=venue.now_us // 1000
    )
    _check_terms(venue, account, terms)
    return {}


def _place(venue: Engine, account: VenueAccount, params: Params) -> tuple[Order, dict[str, Any]]:
    """Place an order; return it, and what it looked like before it met the market."""
    made = f"sim-{venue.order_id()}"
    terms = terms_of(
        params, venue.instruments, conditional=False, made_id=made, now_ms=venue.now_us // 1000
    )
    _check_terms(venue, account, terms)
    order = matching.submit(venue, account, terms)
    fresh = Order(
        terms=replace(terms), order_id=order.order_id, number=order.number, made_us=order.made_us,
        changed_us=order.made_us, original=order.original,
    )  # fmt: skip
    return order, fresh.answer()


def _check_terms(venue: Engine, account: VenueAccount, terms: Terms) -> None:
    """Refuse what the account and the prices of the moment forbid."""
    if any(o.terms.client_id == terms.client_id for o in account.open_orders()):
        raise Refused(-4116, "ClientOrderId is duplicated.")
    s, mark = terms.s, float(venue.marks[terms.s])
    last = float(venue.prices[s])
    if math.isnan(last) and math.isnan(mark):
        raise Refused(
            -4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit."
        )
    mark = last if math.isnan(mark) else mark
    if terms.price is not None:
        digits = digits_of(terms.instrument.tick_size)
        most, least = mark * (1.0 + PERCENT_PRICE), mark * (1.0 - PERCENT_PRICE)
        if terms.side > 0 and terms.price > most:
            raise Refused(-4016, f"Limit price can't be higher than {text(most, digits)}.")
        if terms.side < 0 and terms.price < least:
            raise Refused(-4024, f"Limit price can't be lower than {text(least, digits)}.")
    value = qty_of(terms, terms.lots) * (mark if terms.price is None else terms.price)
    if not terms.reduce_only and value < terms.instrument.min_notional:
        raise refusal(venue.instruments[s], Rule.MIN_NOTIONAL)
    if terms.reduce_only and account.lots(s) * terms.side >= 0:
        raise refusal(venue.instruments[s], Rule.REDUCE_ONLY)


def _found(account: VenueAccount, params: Params, s: int, refusal: tuple[int, str]) -> Order:
    """Return the order that a request names by one of its ids, an open one before an ended one."""
    number, client = integer_of(params, "orderId"), params.get("origClientOrderId")
    if number is None and not client:
        raise Refused(
            -1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
        )
    if number is not None:
        order = account.orders.get(number)
        if order is not None and order.terms.s == s:
            return order
        raise Refused(*refusal)
    named = [o for o in account.orders.values() if o.terms.client_id == client and o.terms.s == s]
    for order in reversed(named):
        if order.is_open:
            return order
    if named:
        return named[-1]
    raise Refused(*refusal)


def query_order(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET order."""
    return _found(account, params, symbol_of(params, venue.symbols), MISSING).listed()


def query_open_order(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET openOrder."""
    order = _found(account, params, symbol_of(params, venue.symbols), MISSING)
    if not order.is_open:
        raise Refused(*MISSING)
    return order.listed()


def cancel_order(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """DELETE order."""
    order = _found(account, params, symbol_of(params, venue.symbols), UNKNOWN)
    if not order.is_open:
        raise Refused(*UNKNOWN)
    matching.end(venue, account, order, OrderStatus.CANCELED)
    return order.answer()


def cancel_all(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """DELETE allOpenOrders: of one symbol, conditional orders not."""
    for order in account.open_orders(symbol_of(params, venue.symbols)):
        matching.end(venue, account, order, OrderStatus.CANCELED)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def change_order(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """PUT order: price and quantity of a resting limit; it loses its place, and keeps its ids."""
    s = symbol_of(params, venue.symbols)
    order = _found(account, params, s, MISSING)
    if not order.is_open or order.terms.type != "LIMIT":
        raise Refused(*MISSING)
    instrument = order.terms.instrument
    qty, price = decimal_of(params, "quantity"), decimal_of(params, "price")
    if qty is None or price is None:
        raise Refused(
            -1102,
            "Mandatory parameter 'quantity' or 'price' was not sent, was empty/null, or malformed.",
        )
    lots = whole_steps(qty, instrument.step_size, Refused(-4023, "Qty not increased by step size."))
    whole_steps(price, instrument.tick_size, Refused(-4014, "Price not increased by tick size."))
    if Decimal(params["quantity"]) <= 0:
        raise Refused(-4003, "Quantity less than zero.")
    if lots == order.terms.lots and float(price) == order.terms.price:
        raise Refused(-5027, "No need to modify the order.")
    if lots <= order.done:
        matching.end(venue, account, order, OrderStatus.CANCELED)
        return order.answer()
    return matching.amend(venue, account, order, lots, float(price)).answer()


def _batch(params: Params) -> list[Any]:
    found = _list(params, "batchOrders")
    if len(found) > BATCH_MAX:
        raise Refused(-4082, f"Invalid number of batch place orders: {len(found)}")
    return found


def _list(params: Params, name: str) -> list[Any]:
    try:
        found = json.loads(mandatory(params, name))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not found:
        raise Refused(-1130, f"Data sent for parameter '{name}' is not valid.")
    return found


def place_batch(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST batchOrders: each answer in its place, an order's or a refusal's."""
    return [_one(place_order, venue, account, each) for each in _batch(params)]


def change_batch(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """PUT batchOrders."""
    return [_one(change_order, venue, account, each) for each in _batch(params)]


def cancel_batch(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """DELETE batchOrders; the lists also by the names that python-binance gives them, all in small letters."""
    symbol = mandatory(params, "symbol")
    given = {name: params.get(name) or params.get(name.lower(), "") for name in CANCEL_LISTS}
    name = next((name for name in CANCEL_LISTS if given[name]), CANCEL_LISTS[-1])
    listed = _list(given, name)
    if len(listed) > CANCELS_MAX:
        raise Refused(-4032, "Exceed maximum cancel order size.")
    wanted = [{"symbol": symbol, name.removesuffix("List"): str(each)} for each in listed]
    return [_one(cancel_order, venue, account, each) for each in wanted]


def _one(request: Request, venue: Engine, account: VenueAccount, raw: Any) -> Any:
    try:
        if not isinstance(raw, dict):
            raise Refused(-1130, "Data sent for parameter 'batchOrders' is not valid.")
        return request(venue, account, {str(k): _plain(v) for k, v in raw.items()})
    except Refused as refused:
        return refused.body


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def countdown(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST countdownCancelAll: the dead man's switch of one symbol; 0 switches it off."""
    s = symbol_of(params, venue.symbols)
    mandatory(params, "countdownTime")
    wait = integer_of(params, "countdownTime")
    if wait is None or not 0 <= wait < COUNTDOWN_MAX_MS:
        raise Refused(-1130, "Data sent for parameter 'countdownTime' is not valid.")
    account.countdown_us.pop(s, None)
    if wait:
        account.countdown_us[s] = venue.now_us + wait * 1000
    return {"symbol": venue.symbols[s], "countdownTime": str(wait)}
