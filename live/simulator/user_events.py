"""Messages of the user data stream: what happened to an account's orders, balance and positions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from live.simulator.accounts import Trade, VenueAccount
from live.simulator.orders import MONEY, AlgoOrder, Order
from live.simulator.wire import digits_of, milliseconds, text
from quantcore.kernels import layout as at
from quantcore.types import FloatArray

Message = dict[str, Any]


def order_update(
    order: Order, execution: str, now_us: int, *, trade: Trade | None = None, bids: float = 0.0,
    asks: float = 0.0, expiry: str = "0",
) -> Message:  # fmt: skip
    """Return ORDER_TRADE_UPDATE.

    Parameters
    ----------
    order : Order
        After what happened.
    execution : str
        NEW, TRADE, CANCELED, EXPIRED, AMENDMENT or CALCULATED (a liquidation).
    now_us : int
        When.
    trade : Trade or None
        The fill, of a TRADE.
    bids, asks : float
        Value of the symbol's open buys and sells, USDT.
    expiry : str
        The exchange's number of the reason for its end, ``"0"`` for none.
    """
    terms, stamp = order.terms, milliseconds(now_us)
    digits = digits_of(terms.instrument.tick_size)
    detail: Message = {
        "s": terms.instrument.symbol,
        "c": terms.client_id,
        "S": terms.side.name,
        "o": terms.type,
        "f": terms.tif,
        "q": terms.lots_text(terms.lots),
        "p": terms.price_text(terms.price),
        "ap": text(order.average, digits + 3),
        "sp": terms.price_text(terms.stop),
        "x": execution,
        "X": order.status,
        "i": order.order_id,
        "l": terms.lots_text(0 if trade is None else trade.lots),
        "z": terms.lots_text(order.done),
        "L": terms.traded_text(0.0 if trade is None else trade.price),
        "N": "USDT",
        "n": text(0.0 if trade is None else trade.fee, MONEY),
        "T": stamp,
        "t": 0 if trade is None else trade.id,
        "b": text(bids, MONEY),
        "a": text(asks, MONEY),
        "m": trade is not None and trade.maker,
        "R": terms.reduce_only,
        "wt": terms.working_type,
        "ot": order.original or terms.type,
        "ps": "BOTH",
        "cp": terms.close_position,
        "pP": terms.price_protect,
        "si": 0,
        "ss": 0,
        "rp": text(0.0 if trade is None else trade.realised, MONEY),
        "V": terms.prevention,
        "pm": "NONE",
        "gtd": terms.good_till_ms,
        "er": expiry,
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": stamp, "T": stamp, "o": detail}


def trade_lite(trade: Trade) -> Message:
    """Return TRADE_LITE: a fill without what ORDER_TRADE_UPDATE adds to it."""
    terms, stamp = trade.order.terms, milliseconds(trade.time_us)
    return {
        "e": "TRADE_LITE",
        "E": stamp,
        "T": stamp,
        "s": terms.instrument.symbol,
        "q": terms.lots_text(terms.lots),
        "p": terms.price_text(terms.price),
        "m": trade.maker,
        "c": terms.client_id,
        "S": terms.side.name,
        "L": terms.traded_text(trade.price),
        "l": terms.lots_text(trade.lots),
        "t": trade.id,
        "i": trade.order.order_id,
    }


def account_update(
    account: VenueAccount,
    reason: str,
    changed: Iterable[int],
    change: float,
    marks: FloatArray,
    now_us: int,
) -> Message:
    """Return ACCOUNT_UPDATE.

    Parameters
    ----------
    account : VenueAccount
        After what happened.
    reason : str
        ORDER, FUNDING_FEE, DEPOSIT, MARGIN_TRANSFER, INSURANCE_CLEAR, ADMIN_DEPOSIT, ...
    changed : iterable of int
        Columns of the symbols whose positions are sent.
    change : float
        Of the balance apart from profit and fees, USDT.
    marks : float64 array
        Of all symbols.
    now_us : int
        When.
    """
    stamp, profits = milliseconds(now_us), account.unrealised(marks)
    balance = {
        "a": "USDT",
        "wb": text(account.balance, MONEY),
        "cw": text(account.wallet, MONEY),
        "bc": text(change, MONEY),
    }
    positions = [_position(account, s, float(profits[s])) for s in sorted(changed)]
    return {
        "e": "ACCOUNT_UPDATE",
        "E": stamp,
        "T": stamp,
        "a": {"m": reason, "B": [balance], "P": positions},
    }


def _position(account: VenueAccount, s: int, profit: float) -> Message:
    instrument = account.instruments[s]
    digits = digits_of(instrument.tick_size) + 3
    isolated = account.isolated(s)
    return {
        "s": instrument.symbol,
        "pa": text(account.qty(s), digits_of(instrument.step_size)),
        "ep": text(account.entry(s), digits),
        "bep": text(break_even(account, s), digits),
        "cr": text(account.realised.get(s, 0.0), MONEY),
        "up": text(profit, MONEY),
        "mt": "isolated" if isolated else "cross",
        "iw": text(float(account.held["position"][s, at.MARGIN]) if isolated else 0.0, MONEY),
        "ps": "BOTH",
        "ma": "USDT",
    }


def break_even(account: VenueAccount, s: int) -> float:
    """Return the price at which a position covers the fees of opening and closing it; 0 without one."""
    lots = account.lots(s)
    if lots == 0:
        return 0.0
    fee = float(account.rules.rate[s, at.TAKER_FEE])
    side = 1.0 if lots > 0 else -1.0
    return account.entry(s) * (1.0 + side * fee) / (1.0 - side * fee)


def algo_update(algo: AlgoOrder, now_us: int, *, why: str = "") -> Message:
    """Return ALGO_UPDATE; `why` says why it was rejected or has expired."""
    terms, order, stamp = algo.terms, algo.order, milliseconds(now_us)
    digits = digits_of(terms.instrument.tick_size)
    detail: Message = {
        "caid": terms.client_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": terms.type,
        "s": terms.instrument.symbol,
        "S": terms.side.name,
        "ps": "BOTH",
        "f": terms.tif,
        "q": terms.lots_text(terms.lots),
        "X": algo.status,
        "ai": "" if order is None else str(order.order_id),
        "ap": text(0.0 if order is None else order.average, digits + 3),
        "aq": terms.lots_text(0 if order is None else order.done),
        "act": "0" if order is None else order.terms.type,
        "tp": terms.price_text(terms.stop),
        "p": terms.price_text(terms.price),
        "V": terms.prevention,
        "wt": terms.working_type,
        "pm": "NONE",
        "cp": terms.close_position,
        "pP": terms.price_protect,
        "R": terms.reduce_only,
        "tt": milliseconds(algo.triggered_us),
        "gtd": terms.good_till_ms,
        "rm": why,
    }
    return {"e": "ALGO_UPDATE", "E": stamp, "T": stamp, "o": detail}


def leverage_update(account: VenueAccount, s: int, now_us: int) -> Message:
    """Return ACCOUNT_CONFIG_UPDATE of a symbol's leverage."""
    stamp = milliseconds(now_us)
    changed = {"s": account.instruments[s].symbol, "l": account.leverage(s)}
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": stamp, "T": stamp, "ac": changed}


def margin_call(account: VenueAccount, marks: FloatArray, now_us: int) -> Message:
    """Return MARGIN_CALL with every position held, and with the cross wallet if one of them is margined by it."""
    profits = account.unrealised(marks)
    held = []
    for s in np.flatnonzero(account.held["position"][:, at.QTY]).tolist():
        instrument = account.instruments[s]
        mark = float(marks[s])
        isolated = account.isolated(s)
        held.append(
            {
                "s": instrument.symbol,
                "ps": "BOTH",
                "pa": text(account.qty(s), digits_of(instrument.step_size)),
                "mt": "ISOLATED" if isolated else "CROSSED",
                "iw": text(
                    float(account.held["position"][s, at.MARGIN]) if isolated else 0.0, MONEY
                ),
                "mp": text(mark, digits_of(instrument.tick_size) + 3),
                "up": text(float(profits[s]), MONEY),
                "mm": text(account.maintenance_margin(s, mark), MONEY),
            }
        )
    crossed = any(each["mt"] == "CROSSED" for each in held)
    wallet = {"cw": text(account.wallet, MONEY)} if crossed else {}
    return {"e": "MARGIN_CALL", "E": milliseconds(now_us), **wallet, "p": held}


def force_order(trade: Trade, average: float) -> Message:
    """Return the market stream's forceOrder of a liquidation."""
    terms, stamp = trade.order.terms, milliseconds(trade.time_us)
    digits = digits_of(terms.instrument.tick_size)
    return {
        "e": "forceOrder",
        "E": stamp,
        "o": {
            "s": terms.instrument.symbol,
            "S": terms.side.name,
            "o": "LIMIT",
            "f": "IOC",
            "q": terms.lots_text(terms.lots),
            "p": terms.traded_text(trade.price),
            "ap": text(average, digits + 3),
            "X": "FILLED",
            "l": terms.lots_text(trade.lots),
            "z": terms.lots_text(terms.lots),
            "T": stamp,
        },
    }
