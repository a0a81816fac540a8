"""A journal as the tables of a results folder (DESIGN.md 6), so that what reads a backtest reads a live run.

Known of a live run only in part: the rate, mark and quantity of a funding payment are null, as the exchange tells the
amount alone. A fill of an order that the loop did not send has order number -1 and the reason ``foreign``, or
``liquidation`` or ``settlement`` where the exchange sent it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select

from live.broker.interface import Fill, Income, Order, OrderChange, Outcome
from live.journal import reading, tables
from live.journal.records import SEND, Intent
from live.journal.told import Event
from quantcore.backtest.result import SCHEMAS
from quantcore.types import OrderStatus, OrderType, RiskLevel

_EXCHANGE_MADE = {
    "autoclose": "liquidation",
    "adl_autoclose": "liquidation",
    "settlement_autoclose": "settlement",
}
"""Why the exchange sent an order itself, by the beginning of its client id (BINANCE.md)."""
_HALTED = {level.name.lower() for level in RiskLevel if level >= RiskLevel.HALT}


def contract_tables(connection: Connection) -> Mapping[str, pa.Table]:
    """Return fills, orders, funding, equity, positions, reasons and targets."""
    told = [event for _, event in reading.events(connection)]
    sent = _sent(connection)
    rows = {
        "fills": _fills(connection, told, sent),
        "orders": _orders(connection, told, sent),
        "funding": _funding(told),
        "equity": _equity(connection),
        "positions": _positions(connection),
        "reasons": _reasons(connection),
    }
    found = {name: pa.Table.from_pylist(each, schema=SCHEMAS[name]) for name, each in rows.items()}
    return found | {"targets": _targets(connection)}


_Sent = Mapping[str, tuple[int, Intent, int]]
"""By client id: the intent's number, the intent, and the time of its step."""


def _sent(connection: Connection) -> _Sent:
    table, steps = tables.intents, tables.steps
    wanted = select(table, steps.c.ts_us).join(steps).where(table.c.action == SEND)
    return {
        row.client_id: (row.intent_id, reading.intent_of(row), row.ts_us)
        for row in connection.execute(wanted.order_by(table.c.intent_id))
    }


def _fills(connection: Connection, told: Sequence[Event], sent: _Sent) -> list[dict[str, Any]]:
    stepped = list(connection.scalars(select(tables.steps.c.ts_us).order_by(tables.steps.c.seq)))
    rows = []
    for fill in told:
        if not isinstance(fill, Fill):
            continue
        number, reason, decided_us = -1, _foreign(fill.client_id), 0
        if fill.client_id in sent:
            _, intent, decided_us = sent[fill.client_id]
            number, reason = intent.order_number, intent.reason
        elif before := bisect_left(stepped, fill.time_us):
            decided_us = stepped[before - 1]
        rows.append(
            {
                "ts": fill.time_us,
                "symbol": fill.symbol,
                "side": fill.side.name.lower(),
                "qty": float(fill.qty),
                "price": float(fill.price),
                "fee": float(fill.fee),
                "liquidity": "maker" if fill.maker else "taker",
                "reason": reason,
                "order_id": number,
                "decision_ts": decided_us,
            }
        )
    return sorted(rows, key=lambda row: row["ts"])


def _foreign(client_id: str) -> str:
    return next(
        (why for how, why in _EXCHANGE_MADE.items() if client_id.startswith(how)), "foreign"
    )


def _orders(connection: Connection, told: Sequence[Event], sent: _Sent) -> list[dict[str, Any]]:
    table = tables.answers
    refused = select(table.c.intent_id, table.c.rule).where(
        table.c.outcome == Outcome.REFUSED.value
    )
    rules = {row.intent_id: row.rule for row in connection.execute(refused)}
    status: dict[str, OrderStatus] = {}
    for event in told:
        if isinstance(event, OrderChange):
            status[event.order.client_id] = event.order.status
        elif isinstance(event, Fill) and event.order_status is not None:
            status[event.client_id] = event.order_status
    rows = []
    for client_id, (number, intent, decided_us) in sent.items():
        order = intent.request
        assert isinstance(order, Order)
        last = OrderStatus.REJECTED if number in rules else status.get(client_id, OrderStatus.NEW)
        limit = order.type is OrderType.LIMIT
        rows.append(
            {
                "order_id": intent.order_number,
                "decision_ts": decided_us,
                "symbol": order.symbol,
                "side": order.side.name.lower(),
                "type": order.type.name.lower(),
                "time_in_force": order.time_in_force.name if limit else None,
                "qty": _real(order.qty),
                "price": _real(order.price),
                "stop_price": _real(order.stop_price),
                "reduce_only": order.reduce_only or order.close_position,
                "status": last.name.lower(),
                "reason": rules.get(number) or intent.reason,
                "wanted_qty": intent.wanted_qty,
            }
        )
    return sorted(rows, key=lambda row: row["order_id"])


def _real(text: str | None) -> float | None:
    return None if text is None else float(text)


def _funding(told: Sequence[Event]) -> list[dict[str, Any]]:
    return sorted(
        (
            {
                "ts": event.time_us,
                "symbol": event.symbol,
                "amount": -float(event.amount),
                "assumed": False,
            }
            for event in told
            if isinstance(event, Income) and event.kind == "FUNDING_FEE"
        ),
        key=lambda row: row["ts"],
    )


def _equity(connection: Connection) -> list[dict[str, Any]]:
    table, risks = tables.equity, tables.risk_states
    wanted = (
        select(tables.steps.c.ts_us.label("ts"), *table.c[1:], risks)
        .join(tables.steps, tables.steps.c.seq == table.c.seq)
        .outerjoin(risks, risks.c.seq == table.c.seq)
        .order_by(table.c.seq)
    )
    names = SCHEMAS["equity"].names
    rows = []
    for found in connection.execute(wanted):
        row = found._asdict()
        level = row.pop("level")
        gross, equity = row["gross_exposure"] or 0.0, row["equity"] or 0.0
        row |= {
            "leverage": gross / equity if equity > 0.0 else 0.0,
            "halted": level in _HALTED,
            "risk_level": level,
        }
        rows.append({name: row[name] for name in names})
    return rows


def _positions(connection: Connection) -> list[dict[str, Any]]:
    table = tables.positions
    wanted = select(tables.steps.c.ts_us.label("ts"), *table.c[1:]).join(tables.steps)
    return [
        row._asdict() | {"unrealised_pnl": row.qty * (row.mark_price - row.entry_price)}
        for row in connection.execute(wanted.order_by(table.c.seq, table.c.symbol))
    ]


def _reasons(connection: Connection) -> list[dict[str, Any]]:
    table = tables.reasons
    wanted = select(tables.steps.c.ts_us.label("ts"), *table.c[2:]).join(tables.steps)
    return [
        row._asdict() for row in connection.execute(wanted.order_by(table.c.seq, table.c.position))
    ]


def _targets(connection: Connection) -> pa.Table:
    symbols = {s.session_id: s.session.symbols for s in reading.sessions(connection)}
    rows = []
    for step in reading.steps(connection):
        if step.decision is not None and step.decision.targets is not None:
            weights = zip(symbols[step.session_id], step.decision.targets.tolist(), strict=True)
            rows.append({"ts": step.ts_us} | dict(weights))
    columns = sorted({symbol for row in rows for symbol in row if symbol != "ts"})
    schema = pa.schema(
        [("ts", pa.timestamp("us", tz="UTC")), *((name, pa.float64()) for name in columns)]
    )
    return pa.Table.from_pylist(rows, schema=schema)
