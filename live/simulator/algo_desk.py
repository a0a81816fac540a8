"""Signed requests of the Algo Service: conditional orders are placed, found and cancelled here."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from live.simulator import matching
from live.simulator.accounts import VenueAccount
from live.simulator.desk import MISSING, UNKNOWN
from live.simulator.filters import integer_of, mandatory, symbol_of, terms_of
from live.simulator.orders import AlgoOrder, Terms
from live.simulator.refusals import refusal
from live.simulator.wire import Refused
from quantcore.types import Rule

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]
OPEN_ALGOS_MAX = 200


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
    newest_first = chain(reversed(account.open_algos()), reversed(account.algos.values()))
    for algo in newest_first:
        if algo.terms.client_id == client:
            return algo
    raise Refused(*refusal)


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
