"""Orders that may be at the exchange, as the journal tells it: what was sent, answered, told and filled.

A fill that was read after it happened does not say what became of its order: it has ended once its fills are its whole.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Row, exists, select

from live.broker.interface import Order, Outcome
from live.journal import reading, tables
from live.journal.records import SEND
from quantcore.types import OrderStatus

_WHOLE = 1.0 - 1e-9
"""Share of an order from which on it is filled whole: sums of floats."""
_ENDS = ("filled", "canceled", "rejected", "expired")
assert {status.name.lower() for status in OrderStatus} - set(_ENDS) == {"new", "partially_filled"}


@dataclass(frozen=True, kw_only=True)
class OpenOrder:
    """An order that may be at the exchange.

    Parameters
    ----------
    client_id, symbol, side, type, reason : str
        As it was sent, in the words of `orders.parquet`.
    qty, filled, price, stop_price : float
        Coins and USDT per coin; NaN where it has none.
    protects : bool
        Whether it can only make its position smaller.
    state : str
        ``"sent"`` before an answer, ``"in doubt"`` after one that left open what happened, else ``"open"``.
    stuck : bool
        Whether it is a conditional order that triggered and became nothing.
    since : Timestamp
        When it was decided.
    """

    client_id: str
    symbol: str
    side: str
    type: str
    reason: str
    qty: float
    filled: float
    price: float
    stop_price: float
    protects: bool
    state: str
    stuck: bool
    since: pd.Timestamp


def open_orders(
    connection: Connection, *, among: Sequence[str] = (), after: int = 0
) -> tuple[OpenOrder, ...]:
    """Return the orders that may be at the exchange, of those `among` and of those sent after an intent."""
    sent, answers = tables.intents, tables.answers
    changes, fills = tables.order_changes, tables.fills
    refused = exists().where(
        answers.c.intent_id == sent.c.intent_id, answers.c.outcome == Outcome.REFUSED.value
    )
    ended = exists().where(changes.c.client_id == sent.c.client_id, changes.c.status.in_(_ENDS))
    filled = exists().where(fills.c.client_id == sent.c.client_id, fills.c.order_status.in_(_ENDS))
    wanted = (
        select(sent, tables.steps.c.ts_us)
        .join(tables.steps, tables.steps.c.seq == sent.c.seq)
        .where(sent.c.action == SEND, (sent.c.intent_id > after) | sent.c.client_id.in_(among))
        .where(~refused, ~ended, ~filled)
        .order_by(sent.c.intent_id)
    )
    rows = connection.execute(wanted).all()
    found = _with_news(connection, rows)
    return tuple(each for each in found if not each.filled >= _WHOLE * each.qty)


def _with_news(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[OpenOrder]:
    """Yield the orders of intents, with what was answered, told and filled of each."""
    ids, numbers = [row.client_id for row in rows], [row.intent_id for row in rows]
    answers, changes, fills = tables.answers.c, tables.order_changes.c, tables.fills.c
    outcomes: dict[int, set[str]] = defaultdict(set)
    given = select(answers.intent_id, answers.outcome).where(answers.intent_id.in_(numbers))
    for intent_id, outcome in connection.execute(given):
        outcomes[intent_id].add(outcome)
    told = select(changes.client_id, changes.stuck).where(changes.client_id.in_(ids))
    told = told.order_by(changes.event_id)
    stuck = {client_id: bool(is_stuck) for client_id, is_stuck in connection.execute(told)}
    filled: dict[str, float] = defaultdict(float)
    for client_id, qty in connection.execute(
        select(fills.client_id, fills.qty).where(fills.client_id.in_(ids))
    ):
        filled[client_id] += float(qty)
    for row in rows:
        yield _open_order(
            row,
            outcomes=outcomes[row.intent_id],
            stuck=stuck.get(row.client_id),
            filled=filled[row.client_id],
        )


def _open_order(
    row: Row[Any], *, outcomes: set[str], stuck: bool | None, filled: float
) -> OpenOrder:
    """Return an order; `stuck` is None where the exchange has said nothing of it yet."""
    intent = reading.intent_of(row)
    order = intent.request
    assert isinstance(order, Order)
    told = stuck is not None or Outcome.ACCEPTED.value in outcomes
    return OpenOrder(
        client_id=order.client_id,
        symbol=order.symbol,
        side=order.side.name.lower(),
        type=order.type.name.lower(),
        reason=intent.reason,
        qty=_real(order.qty),
        filled=filled,
        price=_real(order.price),
        stop_price=_real(order.stop_price),
        protects=order.reduce_only or order.close_position,
        state="open" if told else "in doubt" if outcomes else "sent",
        stuck=bool(stuck),
        since=pd.Timestamp(row.ts_us, unit="us", tz="UTC"),
    )


def _real(text: str | None) -> float:
    return math.nan if text is None else float(text)
