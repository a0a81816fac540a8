"""Signed requests that place, change and cancel orders, and the list of all signed requests."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from live.simulator import answers, margins, matching
from live.simulator.accounts import VenueAccount
from live.simulator.filters import (
    decimal_of,
    integer_of,
    mandatory,
    symbol_of,
    terms_of,
    whole_steps,
)
from live.simulator.orders import AlgoOrder, Order, Terms, qty_of
from live.simulator.refusals import refusal
from live.simulator.wire import Refused, digits_of, text
from quantcore.types import OrderStatus, Rule

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]
Request = Callable[["Engine", VenueAccount, Params], Any]

BATCH_MAX = 5
"""Orders of one batch."""
CANCELS_MAX = 10
OPEN_ALGOS_MAX = 200
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
    lots = whole_steps(
        qty, instrument.step_size, Refused(-4023, "Quantity not increased by step size.")
    )
    whole_steps(price, instrument.tick_size, Refused(-4014, "Price not increased by tick size."))
    if Decimal(params["quantity"]) <= 0:
        raise Refused(-4003, "Quantity less than or equal to zero.")
    if lots == order.terms.lots and float(price) == order.terms.price:
        raise Refused(-5027, "No need to modify the order.")
    if lots <= order.done:
        matching.end(venue, account, order, OrderStatus.CANCELED)
        return order.answer()
    return matching.amend(venue, account, order, lots, float(price)).answer()


def _batch(params: Params, name: str, most: int) -> list[Any]:
    try:
        found = json.loads(mandatory(params, name))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not 1 <= len(found) <= most:
        raise Refused(-1130, f"Data sent for parameter '{name}' is not valid.")
    return found


def place_batch(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST batchOrders: each answer in its place, an order's or a refusal's."""
    return [
        _one(place_order, venue, account, each) for each in _batch(params, "batchOrders", BATCH_MAX)
    ]


def change_batch(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """PUT batchOrders."""
    return [
        _one(change_order, venue, account, each)
        for each in _batch(params, "batchOrders", BATCH_MAX)
    ]


def cancel_batch(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """DELETE batchOrders."""
    symbol, name = mandatory(params, "symbol"), "orderIdList"
    key = "orderId"
    if not params.get(name):
        name, key = "origClientOrderIdList", "origClientOrderId"
    wanted = [{"symbol": symbol, key: str(each)} for each in _batch(params, name, CANCELS_MAX)]
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


# The Algo Service.


def place_algo(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST algoOrder."""
    if mandatory(params, "algoType") != "CONDITIONAL":
        raise Refused(-1130, "Data sent for parameter 'algoType' is not valid.")
    made = f"sim-algo-{venue.algo_id()}"
    terms = terms_of(
        params, venue.instruments, conditional=True, made_id=made, now_ms=venue.now_us // 1000
    )
    mine = account.open_algos()
    if any(a.terms.client_id == terms.client_id for a in mine):
        raise Refused(-4116, "ClientOrderId is duplicated.")
    if len(mine) >= OPEN_ALGOS_MAX:
        raise Refused(-4045, "Reach max stop order limit.")
    if terms.close_position:
        _check_guard(account, mine, terms)
    elif terms.reduce_only and account.lots(terms.s) * terms.side >= 0:
        raise refusal(venue.instruments[terms.s], Rule.REDUCE_ONLY)
    watched = terms.type in ("STOP", "TAKE_PROFIT") or terms.activation is not None
    watched = watched or bool(venue.in_force("stuck_triggering", terms.s, account))
    return (
        matching.submit_watched(venue, account, terms)
        if watched
        else matching.submit_conditional(venue, account, terms)
    ).answer()


def _check_guard(account: VenueAccount, mine: list[AlgoOrder], terms: Terms) -> None:
    """Refuse a close-position order without a position of the other side, or beside one of its kind."""
    if account.lots(terms.s) * terms.side >= 0:
        raise Refused(
            -4509,
            "Time in Force (TIF) GTE can only be used with open positions. Please ensure that positions are available.",
        )
    profit = terms.type.startswith("TAKE_PROFIT")
    for other in mine:
        same = (
            other.terms.s == terms.s
            and other.terms.side == terms.side
            and other.terms.close_position
        )
        if same and other.terms.type.startswith("TAKE_PROFIT") == profit:
            raise Refused(
                -4130,
                "An open stop or take profit order with GTE and closePosition in the direction is existing.",
            )


def _found_algo(account: VenueAccount, params: Params, refusal: tuple[int, str]) -> AlgoOrder:
    number, client = integer_of(params, "algoId"), params.get("clientAlgoId")
    if number is None and not client:
        raise Refused(
            -1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!"
        )
    if number is not None:
        if number in account.algos:
            return account.algos[number]
        raise Refused(*refusal)
    named = [a for a in account.algos.values() if a.terms.client_id == client]
    named.sort(key=lambda a: a.is_open)
    if not named:
        raise Refused(*refusal)
    return named[-1]


def query_algo(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET algoOrder."""
    return _found_algo(account, params, MISSING).listed()


def cancel_algo(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """DELETE algoOrder."""
    algo = _found_algo(account, params, UNKNOWN)
    if algo.status != "NEW":
        raise Refused(*UNKNOWN)
    matching.end_algo(venue, account, algo, "CANCELED")
    return {
        "algoId": algo.algo_id, "clientAlgoId": algo.terms.client_id, "code": "200", "msg": "success",
    }  # fmt: skip


def cancel_algos(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """DELETE algoOpenOrders: all of one symbol."""
    for algo in account.open_algos(symbol_of(params, venue.symbols)):
        if algo.status == "NEW":
            matching.end_algo(venue, account, algo, "CANCELED")
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


REQUESTS: dict[str, Request] = {
    "POST /fapi/v1/order": place_order,
    "PUT /fapi/v1/order": change_order,
    "GET /fapi/v1/order": query_order,
    "DELETE /fapi/v1/order": cancel_order,
    "POST /fapi/v1/order/test": test_order,
    "POST /fapi/v1/batchOrders": place_batch,
    "PUT /fapi/v1/batchOrders": change_batch,
    "DELETE /fapi/v1/batchOrders": cancel_batch,
    "GET /fapi/v1/openOrder": query_open_order,
    "GET /fapi/v1/openOrders": answers.open_orders,
    "DELETE /fapi/v1/allOpenOrders": cancel_all,
    "GET /fapi/v1/allOrders": answers.all_orders,
    "POST /fapi/v1/countdownCancelAll": countdown,
    "POST /fapi/v1/algoOrder": place_algo,
    "GET /fapi/v1/algoOrder": query_algo,
    "DELETE /fapi/v1/algoOrder": cancel_algo,
    "GET /fapi/v1/openAlgoOrders": answers.open_algos,
    "GET /fapi/v1/allAlgoOrders": answers.all_algos,
    "DELETE /fapi/v1/algoOpenOrders": cancel_algos,
    "GET /fapi/v2/account": answers.account_v2,
    "GET /fapi/v3/account": answers.account_v3,
    "GET /fapi/v2/balance": answers.balance,
    "GET /fapi/v3/balance": answers.balance,
    "GET /fapi/v2/positionRisk": answers.position_risk_v2,
    "GET /fapi/v3/positionRisk": answers.position_risk_v3,
    "GET /fapi/v1/symbolConfig": answers.symbol_config,
    "GET /fapi/v1/accountConfig": answers.account_config,
    "GET /fapi/v1/leverageBracket": answers.leverage_bracket,
    "GET /fapi/v1/commissionRate": answers.commission_rate,
    "GET /fapi/v1/userTrades": answers.user_trades,
    "GET /fapi/v1/income": answers.income,
    "GET /fapi/v1/adlQuantile": answers.adl_quantile,
    "GET /fapi/v1/forceOrders": answers.force_orders,
    "GET /fapi/v1/rateLimit/order": answers.order_limits,
    "POST /fapi/v1/leverage": margins.set_leverage,
    "POST /fapi/v1/marginType": margins.set_margin_type,
    "POST /fapi/v1/positionMargin": margins.move_margin,
    "GET /fapi/v1/positionMargin/history": margins.margin_history,
    "GET /fapi/v1/positionSide/dual": margins.position_side,
    "POST /fapi/v1/positionSide/dual": margins.set_position_side,
    "GET /fapi/v1/multiAssetsMargin": margins.multi_assets,
    "POST /fapi/v1/multiAssetsMargin": margins.set_multi_assets,
    "GET /fapi/v1/feeBurn": margins.fee_burn,
    "POST /fapi/v1/feeBurn": margins.set_fee_burn,
}
"""Every signed request by method and path."""
