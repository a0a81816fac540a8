"""Signed requests that list what has happened to an account: orders, trades, incomes, liquidations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from live.simulator.accounts import VenueAccount
from live.simulator.filters import integer_of, symbol_of
from live.simulator.orders import MONEY
from live.simulator.wire import Refused, milliseconds, text

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]
LIMIT = 500
LIMIT_MAX = 1000
FORCED_LIMIT = 50
FORCED_LIMIT_MAX = 100
INCOME_LIMIT = 100
WEEK_MS = 7 * 24 * 3600 * 1000


def open_orders(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET openOrders: of one symbol or all."""
    s = symbol_of(params, venue.symbols) if params.get("symbol") else None
    return [order.listed() for order in account.open_orders(s)]


def all_orders(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET allOrders: of one symbol, from an id on or within a span, the last ones."""
    s = symbol_of(params, venue.symbols)
    first, begin, end = integer_of(params, "orderId"), *_span(params)
    found = [
        order
        for order in account.orders.values()
        if order.terms.s == s
        and (first is None or order.order_id >= first)
        and begin <= order.made_us // 1000 <= end
    ]
    limit = _limit(params)
    chosen = found[:limit] if first is not None else found[-limit:]
    return [order.listed() for order in chosen]


def open_algos(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET openAlgoOrders."""
    s = symbol_of(params, venue.symbols) if params.get("symbol") else None
    return [algo.listed() for algo in account.open_algos(s)]


def all_algos(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET allAlgoOrders: of one symbol."""
    s = symbol_of(params, venue.symbols)
    begin, end = _span(params)
    found = [
        a for a in account.algos.values() if a.terms.s == s and begin <= a.made_us // 1000 <= end
    ]
    return [algo.listed() for algo in found[-_limit(params) :]]


def user_trades(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET userTrades: of one symbol, from an id on or within a span of at most seven days."""
    s = symbol_of(params, venue.symbols)
    begin, end = _span(params)
    first, order_id = integer_of(params, "fromId"), integer_of(params, "orderId")
    if params.get("startTime") and params.get("endTime") and end - begin > WEEK_MS:
        raise Refused(-4165, "Invalid time interval")
    found = [
        trade
        for trade in account.trades
        if trade.order.terms.s == s
        and begin <= trade.time_us // 1000 <= end
        and (first is None or trade.id >= first)
        and (order_id is None or trade.order.order_id == order_id)
    ]
    limit = _limit(params)
    chosen = found[:limit] if first is not None or params.get("startTime") else found[-limit:]
    answer = []
    for trade in chosen:
        terms = trade.order.terms
        qty = terms.lots_text(trade.lots)
        answer.append(
            {
                "symbol": terms.instrument.symbol,
                "id": trade.id,
                "orderId": trade.order.order_id,
                "side": terms.side.name,
                "price": terms.traded_text(trade.price),
                "qty": qty,
                "realizedPnl": text(trade.realised, MONEY),
                "quoteQty": text(float(qty) * trade.price, MONEY),
                "commission": text(trade.fee, MONEY),
                "commissionAsset": "USDT",
                "time": milliseconds(trade.time_us),
                "positionSide": "BOTH",
                "maker": trade.maker,
                "buyer": terms.side > 0,
                "marginAsset": "USDT",
            }
        )
    return answer


def income(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET income: of a symbol or all, of a kind or all."""
    symbol = venue.symbols[symbol_of(params, venue.symbols)] if params.get("symbol") else None
    kind = params.get("incomeType")
    begin, end = _span(params)
    wanted = _limit(params, INCOME_LIMIT)
    found = [
        each
        for each in account.incomes
        if (symbol is None or each.symbol == symbol)
        and (not kind or each.kind == kind)
        and begin <= each.time_us // 1000 <= end
    ]
    chosen = found[:wanted] if params.get("startTime") else found[-wanted:]
    return [
        {
            "symbol": each.symbol,
            "incomeType": each.kind,
            "income": text(each.amount, MONEY),
            "asset": "USDT",
            "info": each.info,
            "time": milliseconds(each.time_us),
            "tranId": each.id,
            "tradeId": "" if each.trade is None else str(each.trade),
        }
        for each in chosen
    ]


def force_orders(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET forceOrders: liquidations and deleveraging, of a span or the last seven days."""
    s = symbol_of(params, venue.symbols) if params.get("symbol") else None
    kinds = {"LIQUIDATION": "autoclose-", "ADL": "adl_autoclose"}
    wanted = params.get("autoCloseType")
    if wanted and wanted not in kinds:
        raise Refused(-1130, "Data sent for parameter 'autoCloseType' is not valid.")
    starts = tuple(kinds.values()) if not wanted else (kinds[wanted],)
    begin, end = _span(params)
    if not params.get("startTime"):
        begin = min(end, milliseconds(venue.now_us)) - WEEK_MS
    found = [
        order.listed()
        for order in account.orders.values()
        if order.terms.client_id.startswith(starts)
        and (s is None or order.terms.s == s)
        and begin <= order.made_us // 1000 <= end
    ]
    return found[-_limit(params, FORCED_LIMIT, FORCED_LIMIT_MAX) :]


def _limit(params: Params, default: int = LIMIT, most: int = LIMIT_MAX) -> int:
    limit = integer_of(params, "limit")
    if limit is None:
        return default
    if not 1 <= limit <= most:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return limit


def _span(params: Params) -> tuple[int, int]:
    """Return a request's first and last millisecond."""
    begin, end = integer_of(params, "startTime"), integer_of(params, "endTime")
    if begin is not None and end is not None and begin > end:
        raise Refused(-1023, "Start time is greater than end time.")
    return 0 if begin is None else begin, 2**62 if end is None else end
