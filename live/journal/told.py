"""Exchange events as rows, and what makes two tellings the same event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Table

from live.broker.interface import (
    Balance,
    BrokerEvent,
    Doubt,
    Fill,
    Income,
    OrderChange,
    OrderReport,
)
from live.journal import tables
from live.journal.codec import to_json
from quantcore.types import OrderStatus, OrderType, Side

Event = BrokerEvent | Income
"""Whatever is heard of the account."""

DETAILS: Mapping[str, Table] = {
    "fill": tables.fills,
    "order": tables.order_changes,
    "balance": tables.balances,
    "income": tables.incomes,
    "doubt": tables.doubts,
}
"""Where each kind of event keeps what it says."""

_NUMBERS = ("qty", "price", "fee", "realised", "amount")
_MAY_DIFFER = ("order_status", "exchange_id")
"""Of a fill: the list of trades tells less than the stream, and a triggered order has two ids."""


def kind_of(event: Event) -> str:
    """Return the kind of an event, a key of `DETAILS`."""
    match event:
        case Fill():
            return "fill"
        case OrderChange():
            return "order"
        case Balance():
            return "balance"
        case Income():
            return "income"
        case Doubt():
            return "doubt"


def row_of(event: Event) -> dict[str, Any]:
    """Return what an event says, as a row of its table."""
    match event:
        case Fill():
            row = {k: v for k, v in vars(event).items() if k != "time_us"}
            status = event.order_status
            return row | {
                "side": event.side.name.lower(),
                "order_status": None if status is None else status.name.lower(),
            }
        case OrderChange():
            words = {
                "side": event.order.side.name.lower(),
                "type": event.order.type.name.lower(),
                "status": event.order.status.name.lower(),
            }
            return vars(event.order) | words | {"why": event.why}
        case Balance():
            return {
                "wallet": event.wallet,
                "change": event.change,
                "kind": event.kind,
                "positions": to_json(event.positions),
            }
        case Income():
            return {k: v for k, v in vars(event).items() if k != "time_us"}
        case Doubt():
            return {"reason": event.reason}


def identity_of(event: Event, row: Mapping[str, Any]) -> str:
    """Return the text that two tellings of one event have in common.

    A fill has its trade id and an income its own; of everything else it is all that it says, the time included: a
    second telling of the same state adds nothing.
    """
    match event:
        case Fill():
            return f"fill {event.symbol} {event.trade_id}"
        case Income() if event.income_id:
            return f"income {event.kind} {event.income_id}"
    said = to_json([event.time_us, dict(row)])
    return f"{kind_of(event)} {hashlib.sha256(said.encode()).hexdigest()}"


def contradiction(told: Mapping[str, Any], held: Mapping[str, Any]) -> str | None:
    """Return the first column in which a second telling contradicts the first, None if it says the same."""
    for name, value in told.items():
        if name in _MAY_DIFFER:
            continue
        if not _same(name, value, held[name]):
            return name
    return None


def _same(name: str, told: Any, held: Any) -> bool:
    if name in _NUMBERS and told is not None and held is not None:
        try:
            return Decimal(told) == Decimal(held)
        except InvalidOperation:
            pass
    return bool(told == held)


def event_of(kind: str, time_us: int, row: Mapping[str, Any]) -> Event:
    """Return an event from its rows."""
    said = {k: v for k, v in row.items() if k != "event_id"}
    match kind:
        case "fill":
            status = said.pop("order_status")
            return Fill(
                time_us=time_us,
                order_status=None if status is None else OrderStatus[status.upper()],
                **said | {"side": Side[said["side"].upper()]},
            )
        case "order":
            why = said.pop("why")
            codes = {
                "side": Side[said["side"].upper()],
                "type": OrderType[said["type"].upper()],
                "status": OrderStatus[said["status"].upper()],
            }
            return OrderChange(time_us=time_us, order=OrderReport(**said | codes), why=why)
        case "balance":
            held = tuple((s, qty, entry) for s, qty, entry in json.loads(said.pop("positions")))
            return Balance(time_us=time_us, positions=held, **said)
        case "income":
            return Income(time_us=time_us, **said)
        case "doubt":
            return Doubt(time_us=time_us, **said)
    raise ValueError(f"kind must be one of {', '.join(DETAILS)}, was {kind!r}")
