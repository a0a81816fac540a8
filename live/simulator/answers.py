"""Signed requests that only read: account, positions, orders, trades, income, limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from live.simulator.accounts import VenueAccount, notional_max
from live.simulator.filters import integer_of, symbol_of
from live.simulator.liquidation_price import liquidation_price
from live.simulator.orders import MONEY
from live.simulator.user_events import break_even
from live.simulator.wire import Refused, digits_of, milliseconds, text
from quantcore.kernels import layout as at
from quantcore.types import FloatArray

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]
LIMIT = 500
LIMIT_MAX = 1000
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


def _limit(params: Params) -> int:
    limit = integer_of(params, "limit")
    if limit is None:
        return LIMIT
    if not 1 <= limit <= LIMIT_MAX:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    return limit


def _span(params: Params) -> tuple[int, int]:
    """Return a request's first and last millisecond."""
    begin, end = integer_of(params, "startTime"), integer_of(params, "endTime")
    if begin is not None and end is not None and begin > end:
        raise Refused(-4166, "Search window is restricted to recent 90 days only.")
    return 0 if begin is None else begin, 2**62 if end is None else end


def _totals(venue: Engine, account: VenueAccount) -> dict[str, FloatArray]:
    marks = venue.marks
    position = account.held["position"]
    known = np.where(np.isnan(marks), position[:, at.MARK], marks)
    n = len(venue.symbols)
    return {
        "mark": known,
        "profit": account.unrealised(known),
        "initial": account.initial_margin(known),
        "maintenance": np.array([account.maintenance_margin(s, float(known[s])) for s in range(n)]),
        "orders": np.array(
            [
                account.order_margin(s, float(known[s]))
                if account.held["held"][s, at.RESTING]
                else 0.0
                for s in range(n)
            ]
        ),
    }


def _sums(venue: Engine, account: VenueAccount, totals: dict[str, FloatArray]) -> dict[str, str]:
    profit = float(totals["profit"].sum())
    cross = np.array([not account.isolated(s) for s in range(len(venue.symbols))])
    free = account.available(totals["mark"])
    initial, orders = float(totals["initial"].sum()), float(totals["orders"].sum())
    amounts = {
        "initialMargin": initial + orders,
        "maintMargin": float(totals["maintenance"].sum()),
        "walletBalance": account.balance,
        "unrealizedProfit": profit,
        "marginBalance": account.balance + profit,
        "positionInitialMargin": initial,
        "openOrderInitialMargin": orders,
        "crossWalletBalance": account.wallet,
        "crossUnPnl": float(totals["profit"][cross].sum()),
        "availableBalance": free,
        "maxWithdrawAmount": min(free, max(account.wallet, 0.0)),
    }
    return {name: text(value, MONEY) for name, value in amounts.items()}


def _account(venue: Engine, account: VenueAccount) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    totals = _totals(venue, account)
    sums = _sums(venue, account, totals)
    names = {
        f"total{name[0].upper()}{name[1:]}": value
        for name, value in sums.items()
        if name not in ("availableBalance", "maxWithdrawAmount")
    }
    names["totalUnrealizedProfit"] = sums["unrealizedProfit"]
    answer: dict[str, Any] = names | {
        "availableBalance": sums["availableBalance"],
        "maxWithdrawAmount": sums["maxWithdrawAmount"],
        "assets": [{"asset": "USDT", **sums, "updateTime": milliseconds(venue.now_us)}],
    }
    return answer, totals


def account_v3(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET account v3: the symbols with a position or orders alone."""
    answer, totals = _account(venue, account)
    touched = np.flatnonzero((account.held["held"][:, at.LOTS] != 0) | (totals["orders"] > 0.0))
    answer["positions"] = [_position_v3(venue, account, int(s), totals) for s in touched]
    return answer


def _position_v3(
    venue: Engine, account: VenueAccount, s: int, totals: dict[str, FloatArray]
) -> dict[str, Any]:
    instrument = venue.instruments[s]
    isolated = account.isolated(s)
    own = float(account.held["position"][s, at.MARGIN]) if isolated else 0.0
    initial, orders = float(totals["initial"][s]), float(totals["orders"][s])
    return {
        "symbol": instrument.symbol,
        "positionSide": "BOTH",
        "positionAmt": text(account.qty(s), digits_of(instrument.step_size)),
        "unrealizedProfit": text(float(totals["profit"][s]), MONEY),
        "isolatedMargin": text(own + (float(totals["profit"][s]) if isolated else 0.0), MONEY),
        "notional": text(
            account.qty(s) * float(totals["mark"][s]) if account.lots(s) else 0.0, MONEY
        ),
        "isolatedWallet": text(own, MONEY),
        "initialMargin": text(initial + orders, MONEY),
        "maintMargin": text(float(totals["maintenance"][s]), MONEY),
        "updateTime": milliseconds(account.touched_us.get(s, 0)),
    }


def account_v2(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET account v2: all symbols, with leverage."""
    answer, totals = _account(venue, account)
    for asset in answer["assets"]:
        asset["marginAvailable"] = True
    positions = []
    for s, instrument in enumerate(venue.instruments):
        initial, orders = float(totals["initial"][s]), float(totals["orders"][s])
        positions.append(
            {
                "symbol": instrument.symbol,
                "initialMargin": text(initial + orders, MONEY),
                "maintMargin": text(float(totals["maintenance"][s]), MONEY),
                "unrealizedProfit": text(float(totals["profit"][s]), MONEY),
                "positionInitialMargin": text(initial, MONEY),
                "openOrderInitialMargin": text(orders, MONEY),
                "leverage": str(account.leverage(s)),
                "isolated": account.isolated(s),
                "entryPrice": text(account.entry(s), digits_of(instrument.tick_size) + 3),
                "breakEvenPrice": text(break_even(account, s), digits_of(instrument.tick_size) + 3),
                "maxNotional": text(notional_max(instrument, account.leverage(s)), 0),
                "bidNotional": "0",
                "askNotional": "0",
                "positionSide": "BOTH",
                "positionAmt": text(account.qty(s), digits_of(instrument.step_size)),
                "updateTime": milliseconds(account.touched_us.get(s, 0)),
            }
        )
    return {
        "feeTier": 0, "canTrade": True, "canDeposit": True, "canWithdraw": False, "updateTime": 0,
        "multiAssetsMargin": False, "tradeGroupId": -1, **answer, "positions": positions,
    }  # fmt: skip


def balance(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET balance."""
    sums = _sums(venue, account, _totals(venue, account))
    return [
        {
            "accountAlias": "simulated",
            "asset": "USDT",
            "balance": sums["walletBalance"],
            "crossWalletBalance": sums["crossWalletBalance"],
            "crossUnPnl": sums["crossUnPnl"],
            "availableBalance": sums["availableBalance"],
            "maxWithdrawAmount": sums["maxWithdrawAmount"],
            "marginAvailable": True,
            "updateTime": milliseconds(venue.now_us),
        }
    ]


def position_risk_v3(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET positionRisk v3: positions held, or symbols with orders; without leverage and margin type."""
    totals = _totals(venue, account)
    chosen = (
        [symbol_of(params, venue.symbols)] if params.get("symbol") else range(len(venue.symbols))
    )
    found = []
    for s in chosen:
        if account.lots(s) == 0 and not totals["orders"][s]:
            continue
        instrument = venue.instruments[s]
        digits = digits_of(instrument.tick_size)
        brief = _position_v3(venue, account, s, totals)
        initial, orders = float(totals["initial"][s]), float(totals["orders"][s])
        found.append(
            {
                "symbol": instrument.symbol,
                "positionSide": "BOTH",
                "positionAmt": brief["positionAmt"],
                "entryPrice": text(account.entry(s), digits + 3),
                "breakEvenPrice": text(break_even(account, s), digits + 3),
                "markPrice": text(float(np.nan_to_num(totals["mark"][s])), MONEY),
                "unRealizedProfit": brief["unrealizedProfit"],
                "liquidationPrice": text(liquidation_price(account, s, totals["mark"]), digits + 3),
                "isolatedMargin": brief["isolatedMargin"],
                "notional": brief["notional"],
                "marginAsset": "USDT",
                "isolatedWallet": brief["isolatedWallet"],
                "initialMargin": brief["initialMargin"],
                "maintMargin": brief["maintMargin"],
                "positionInitialMargin": text(initial, MONEY),
                "openOrderInitialMargin": text(orders, MONEY),
                "adl": 0,
                "bidNotional": "0",
                "askNotional": "0",
                "updateTime": brief["updateTime"],
            }
        )
    return found


def position_risk_v2(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET positionRisk v2: every symbol, with leverage and margin type."""
    totals = _totals(venue, account)
    chosen = (
        [symbol_of(params, venue.symbols)] if params.get("symbol") else range(len(venue.symbols))
    )
    found = []
    for s in chosen:
        instrument = venue.instruments[s]
        digits = digits_of(instrument.tick_size)
        brief = _position_v3(venue, account, s, totals)
        found.append(
            {
                "symbol": instrument.symbol,
                "positionAmt": brief["positionAmt"],
                "entryPrice": text(account.entry(s), digits + 3),
                "breakEvenPrice": text(break_even(account, s), digits + 3),
                "markPrice": text(float(np.nan_to_num(totals["mark"][s])), MONEY),
                "unRealizedProfit": brief["unrealizedProfit"],
                "liquidationPrice": text(liquidation_price(account, s, totals["mark"]), digits + 3),
                "leverage": str(account.leverage(s)),
                "maxNotionalValue": text(notional_max(instrument, account.leverage(s)), 0),
                "marginType": "isolated" if account.isolated(s) else "cross",
                "isolatedMargin": brief["isolatedMargin"],
                "isAutoAddMargin": "false",
                "positionSide": "BOTH",
                "notional": brief["notional"],
                "isolatedWallet": brief["isolatedWallet"],
                "updateTime": brief["updateTime"],
            }
        )
    return found


def symbol_config(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET symbolConfig: margin type and leverage."""
    chosen = (
        [symbol_of(params, venue.symbols)] if params.get("symbol") else range(len(venue.symbols))
    )
    return [
        {
            "symbol": venue.symbols[s],
            "marginType": "ISOLATED" if account.isolated(s) else "CROSSED",
            "isAutoAddMargin": False,
            "leverage": account.leverage(s),
            "maxNotionalValue": text(notional_max(venue.instruments[s], account.leverage(s)), 0),
        }
        for s in chosen
    ]


def account_config(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET accountConfig."""
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": False,
        "dualSidePosition": False,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
    }


def leverage_bracket(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET leverageBracket: of one symbol or all, always a list."""
    chosen = (
        [symbol_of(params, venue.symbols)] if params.get("symbol") else range(len(venue.symbols))
    )
    return [
        {
            "symbol": venue.symbols[s],
            "notionalCoef": 1.0,
            "brackets": [
                {
                    "bracket": k + 1,
                    "initialLeverage": row.leverage_max,
                    "notionalCap": _whole(row.cap),
                    "notionalFloor": _whole(row.floor),
                    "maintMarginRatio": row.maintenance_margin_rate,
                    "cum": _whole(row.cum),
                }
                for k, row in enumerate(venue.instruments[s].brackets)
            ],
        }
        for s in chosen
    ]


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def commission_rate(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET commissionRate."""
    s = symbol_of(params, venue.symbols)
    rate = account.rules.rate[s]
    return {
        "symbol": venue.symbols[s],
        "makerCommissionRate": text(float(rate[at.MAKER_FEE]), 6),
        "takerCommissionRate": text(float(rate[at.TAKER_FEE]), 6),
    }


def user_trades(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET userTrades: of one symbol, from an id on or within a span of at most seven days."""
    s = symbol_of(params, venue.symbols)
    begin, end = _span(params)
    first, order_id = integer_of(params, "fromId"), integer_of(params, "orderId")
    if params.get("startTime") and params.get("endTime") and end - begin > WEEK_MS:
        raise Refused(-4165, "Invalid time interval.")
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
                "price": terms.price_text(trade.price),
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
    limit = integer_of(params, "limit")
    if limit is not None and not 1 <= limit <= LIMIT_MAX:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    found = [
        each
        for each in account.incomes
        if (symbol is None or each.symbol == symbol)
        and (not kind or each.kind == kind)
        and begin <= each.time_us // 1000 <= end
    ]
    wanted = limit or 100
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


def adl_quantile(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET adlQuantile: 0 for all; who is deleveraged is a fault's business."""
    chosen = (
        [symbol_of(params, venue.symbols)] if params.get("symbol") else range(len(venue.symbols))
    )
    return [
        {"symbol": venue.symbols[s], "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 0}}
        for s in chosen
        if account.lots(s) != 0
    ]


def force_orders(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET forceOrders: liquidations and deleveraging."""
    s = symbol_of(params, venue.symbols) if params.get("symbol") else None
    kinds = {"LIQUIDATION": "autoclose-", "ADL": "adl_autoclose"}
    wanted = params.get("autoCloseType")
    if wanted and wanted not in kinds:
        raise Refused(-1130, "Data sent for parameter 'autoCloseType' is not valid.")
    starts = tuple(kinds.values()) if not wanted else (kinds[wanted],)
    begin, end = _span(params)
    found = [
        order.listed()
        for order in account.orders.values()
        if order.terms.client_id.startswith(starts)
        and (s is None or order.terms.s == s)
        and begin <= order.made_us // 1000 <= end
    ]
    return found[-(integer_of(params, "limit") or 50) :]


def order_limits(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET rateLimit/order."""
    return [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    ]


def books(venue: Engine) -> list[dict[str, Any]]:
    """Return every account's books in plain numbers, and by how much they miss adding up, USDT."""
    found = []
    for account in venue.accounts.values():
        cash = account.held["cash"]
        made = cash[at.REALISED] - cash[at.FEES] - cash[at.FUNDING] - cash[at.LIQUIDATION_FEES]
        owed = account.capital + cash[at.NET_DEPOSITS] + made + cash[at.INSURANCE]
        totals = _totals(venue, account)
        found.append(
            {
                "key": account.key,
                "capital": account.capital,
                "wallet": account.balance,
                "equity": account.balance + float(totals["profit"].sum()),
                "available": account.available(totals["mark"]),
                "realised": float(cash[at.REALISED]),
                "fees": float(cash[at.FEES]),
                "funding": float(cash[at.FUNDING]),
                "liquidation_fees": float(cash[at.LIQUIDATION_FEES]),
                "insurance": float(cash[at.INSURANCE]),
                "missing": float(account.balance - owed),
                "positions": [
                    {
                        "symbol": venue.symbols[s],
                        "qty": account.qty(s),
                        "entry": account.entry(s),
                        "mark": float(totals["mark"][s]),
                        "profit": float(totals["profit"][s]),
                        "leverage": account.leverage(s),
                        "isolated": account.isolated(s),
                    }
                    for s in range(len(venue.symbols))
                    if account.lots(s) != 0
                ],
                "orders": [order.listed() for order in account.open_orders()],
                "algo_orders": [algo.listed() for algo in account.open_algos()],
                "trades": len(account.trades),
            }
        )
    return found
