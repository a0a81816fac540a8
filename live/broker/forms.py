"""Orders as the exchange wants them sent, and what it answers, as the loop reads it; text stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final

from live.broker.interface import (
    AccountReport,
    Cancel,
    Fill,
    Income,
    Order,
    OrderReport,
    PositionReport,
    SymbolSettings,
)
from quantcore.errors import VenueError
from quantcore.types import OrderStatus, OrderType, Side

Json = Mapping[str, Any]
MILLISECOND_US: Final = 1000

_CLIENT_ID = re.compile(r"[.A-Za-z0-9_-]{1,36}")
"""The exchange also takes ``:`` and ``/``; the client signs before it encodes them, so such a signature is wrong."""
_TYPES: Final = {
    "MARKET": OrderType.MARKET,
    "LIQUIDATION": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "STOP": OrderType.STOP_MARKET,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT_MARKET,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "TRAILING_STOP_MARKET": OrderType.TRAILING_STOP_MARKET,
}
_STATUSES: Final = {
    "NEW": OrderStatus.NEW,
    "NEW_INSURANCE": OrderStatus.NEW,
    "NEW_ADL": OrderStatus.NEW,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
_BY_TRADES: Final = frozenset({"COMMISSION", "REALIZED_PNL"})
_LARGEST: Final = Decimal(10) ** 12
"""Beyond any price, quantity or balance; a fold counts lots and money in 64 bits."""
_WHOLE_BITS: Final = 63
TRIGGERING: Final = "TRIGGERING"


def number_of(told: Any) -> str:
    """Return a number as the exchange's text.

    Raises
    ------
    ValueError
        If it is none: what is booked or compared must be finite, and of a size that an exchange knows.
    """
    text = str(told)
    number = Decimal(text)
    if not (number.is_finite() and abs(number) < _LARGEST):
        raise ValueError(f"a number must be finite and below {_LARGEST:.0e}, was {text:.40}")
    return text


def positive_of(told: Any) -> str:
    """Return a number > 0 as the exchange's text; ValueError where it is none."""
    text = number_of(told)
    if Decimal(text) <= 0:
        raise ValueError(f"a price or a quantity traded must be > 0, was {text:.40}")
    return text


def whole_of(told: Any) -> int:
    """Return an id; ValueError where it is none, or has more than 63 bits."""
    number = int(str(told))
    if number.bit_length() > _WHOLE_BITS:
        raise ValueError(f"an id must have at most {_WHOLE_BITS} bits, was {told!s:.40}")
    return number


def flag_of(told: Any) -> bool:
    """Return a switch; ValueError where it is neither true nor false: of text ``bool`` would make true."""
    if not isinstance(told, bool):
        raise ValueError(f"a switch must be true or false, was {told!s:.40}")
    return told


def time_of(told: Any) -> int:
    """Return milliseconds as microseconds since 1970; ValueError where they are none."""
    time_us = whole_of(told) * MILLISECOND_US
    if not 0 <= time_us < 2**_WHOLE_BITS:
        raise ValueError(f"a time must be milliseconds since 1970, was {told!s:.40}")
    return time_us


def rows_of(told: Any) -> list[Json]:
    """Return an answer that must be a list; nothing else is an empty one.

    Raises
    ------
    TypeError
        If it is none: an empty answer must not pass for "no position".
    """
    if not isinstance(told, list):
        raise TypeError(f"an answer must be a list, was {type(told).__name__}")
    return told


def order_params(order: Order) -> dict[str, str]:
    """Return an order as request parameters, all of them text (dangers 1 to 3).

    Raises
    ------
    ValueError
        If the client id has characters that do not survive the client's signature, or is too long.
    """
    if not _CLIENT_ID.fullmatch(order.client_id):
        raise ValueError(f"client_id must be 1 to 36 of . A-Z a-z 0-9 _ -, was {order.client_id!r}")
    params = {"symbol": order.symbol, "side": order.side.name, "type": order.type.name}
    params["clientAlgoId" if order.conditional else "newClientOrderId"] = order.client_id
    if order.close_position:
        params["closePosition"] = "true"
    elif order.reduce_only:
        params["reduceOnly"] = "true"
    optional = {
        "quantity": None if order.close_position else order.qty,
        "price": order.price,
        "triggerPrice": order.stop_price if order.type is not OrderType.TRAILING_STOP_MARKET else None,
        "activatePrice": order.stop_price if order.type is OrderType.TRAILING_STOP_MARKET else None,
        "callbackRate": order.callback,
        "timeInForce": order.time_in_force.name if order.type is OrderType.LIMIT else None,
        "workingType": order.working_type.name if order.conditional else None,
    }  # fmt: skip
    return params | {name: value for name, value in optional.items() if value is not None}


def cancel_params(cancel: Cancel) -> dict[str, str]:
    """Return what names an own order in a cancel or a query."""
    if cancel.conditional:
        return {"clientAlgoId": cancel.client_id}
    return {"symbol": cancel.symbol, "origClientOrderId": cancel.client_id}


def order_report(told: Json) -> OrderReport:
    """Return an ordinary order from an answer; KeyError or ValueError where it is none."""
    return OrderReport(
        client_id=str(told["clientOrderId"]),
        symbol=str(told["symbol"]),
        side=Side[told["side"]],
        type=type_of(told["type"]),
        exchange_id=whole_of(told["orderId"]),
        conditional=False,
        status=status_of(told["status"]),
        qty=number_of(told["origQty"]),
        filled=number_of(told["executedQty"]),
        price=price_of(told.get("price")),
        stop_price=price_of(told.get("stopPrice")),
        reduce_only=flag_of(told.get("reduceOnly", False)),
        close_position=flag_of(told.get("closePosition", False)),
    )


def algo_report(told: Json, *, stuck: bool = False) -> OrderReport:
    """Return a conditional order from an answer; its status is `algo_status`."""
    qty, filled = number_of(told.get("quantity") or "0"), number_of(told.get("actualQty") or "0")
    return OrderReport(
        client_id=str(told["clientAlgoId"]),
        symbol=str(told["symbol"]),
        side=Side[told["side"]],
        type=type_of(told["orderType"]),
        exchange_id=whole_of(told["algoId"]),
        conditional=True,
        status=algo_status(str(told["algoStatus"]), qty, filled),
        qty=qty,
        filled=filled,
        price=price_of(told.get("price")),
        stop_price=price_of(told.get("triggerPrice")),
        reduce_only=flag_of(told.get("reduceOnly", False)),
        close_position=flag_of(told.get("closePosition", False)),
        stuck=stuck,
    )


def algo_status(state: str, qty: str, filled: str) -> OrderStatus:
    """Return an Algo Service's state as that of an order.

    FINISHED says that the order it became has ended: filled, or cancelled where a part or all of it is missing. A
    close-position order has no quantity before it triggers, so any fill is taken for all of it.

    Raises
    ------
    ValueError
        If the state is not known.
    """
    done = Decimal(filled)
    if state in ("NEW", TRIGGERING):
        return OrderStatus.NEW
    if state == "TRIGGERED":
        return OrderStatus.PARTIALLY_FILLED if done > 0 else OrderStatus.NEW
    if state == "FINISHED":
        return OrderStatus.FILLED if done > 0 and done >= Decimal(qty) else OrderStatus.CANCELED
    return status_of(state)


def status_of(text: str) -> OrderStatus:
    """Return the exchange's status of an order; ValueError where it is not known."""
    if text not in _STATUSES:
        raise ValueError(f"status must be one of {', '.join(_STATUSES)}, was {text}")
    return _STATUSES[text]


def type_of(text: str) -> OrderType:
    """Return the exchange's type of an order; ValueError where it is not known."""
    if text not in _TYPES:
        raise ValueError(f"order type must be one of {', '.join(_TYPES)}, was {text}")
    return _TYPES[text]


def price_of(text: Any) -> str | None:
    """Return a price as text, None where the exchange writes none or zero."""
    return None if text in (None, "") or Decimal(number_of(text)) == 0 else str(text)


def position_reports(told: Any) -> list[PositionReport]:
    """Return what ``positionRisk`` lists, without flat positions."""
    return [
        PositionReport(
            symbol=str(each["symbol"]),
            qty=number_of(each["positionAmt"]),
            entry_price=number_of(each["entryPrice"]),
            mark_price=number_of(each["markPrice"]),
            liquidation_price=number_of(each.get("liquidationPrice") or "0"),
            isolated_wallet=number_of(each.get("isolatedWallet") or "0"),
        )
        for each in rows_of(told)
        if Decimal(str(each["positionAmt"])) != 0
    ]


def account_report(
    told: Json, *, hedge_mode: bool, multi_assets: bool, burns_bnb: bool, permissions: Json | None
) -> AccountReport:
    """Return the account from ``account`` v2 or v3 and the answers of its switches.

    ``canTrade`` is the account's; the key's own permissions stand in `permissions`, where a host tells them.
    """
    assets = {str(each["asset"]): each for each in told["assets"]}
    dollars = assets.get("USDT", {"walletBalance": "0", "availableBalance": "0"})
    can_trade = None if told.get("canTrade") is None else flag_of(told["canTrade"])
    can_withdraw = None
    if permissions is not None:
        can_trade = can_trade is not False and flag_of(permissions["enableFutures"])
        can_withdraw = flag_of(permissions["enableWithdrawals"])
    return AccountReport(
        wallet=number_of(dollars["walletBalance"]),
        available=number_of(dollars["availableBalance"]),
        other_assets=tuple(
            (name, number_of(each["walletBalance"]))
            for name, each in sorted(assets.items())
            if name != "USDT" and Decimal(str(each["walletBalance"])) != 0
        ),
        can_trade=can_trade,
        can_withdraw=can_withdraw,
        hedge_mode=hedge_mode,
        multi_assets=multi_assets,
        burns_bnb=burns_bnb,
    )


def symbol_settings(told: Any) -> dict[str, SymbolSettings]:
    """Return what ``symbolConfig`` lists."""
    return {
        str(each["symbol"]): SymbolSettings(
            leverage=whole_of(each["leverage"]), isolated=each["marginType"] == "ISOLATED"
        )
        for each in rows_of(told)
    }


def fill_of(told: Json) -> Fill:
    """Return a trade from ``userTrades``, which does not tell its order's client id: it is empty."""
    return Fill(
        time_us=time_of(told["time"]),
        trade_id=whole_of(told["id"]),
        client_id="",
        exchange_id=whole_of(told["orderId"]),
        symbol=str(told["symbol"]),
        side=Side[told["side"]],
        qty=positive_of(told["qty"]),
        price=positive_of(told["price"]),
        fee=number_of(told["commission"]),
        fee_asset=str(told["commissionAsset"]),
        maker=flag_of(told["maker"]),
        order_status=None,
        realised=number_of(told["realizedPnl"]),
    )


def income_of(told: Json) -> Income | None:
    """Return a row of ``income``; None where a trade made it, which `Fill` tells."""
    if told["incomeType"] in _BY_TRADES:
        return None
    return Income(
        time_us=time_of(told["time"]),
        kind=str(told["incomeType"]),
        symbol=str(told["symbol"]) or None,
        amount=number_of(told["income"]),
        income_id=str(told["tranId"]),
    )


@contextmanager
def legible(what: str) -> Iterator[None]:
    """Turn what an answer of another form makes of its reader into one line, which shows nothing of the answer."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError) as error:
        kind = type(error).__name__
    else:
        return
    raise VenueError(f"{what}: answered in a form not understood ({kind})")
