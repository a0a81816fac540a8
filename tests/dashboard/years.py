"""A journal of 25 symbols over a year of hours, as a loop would have left it behind, made in a few seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy
from sqlalchemy import Table

from live.broker.interface import Order
from live.folds import bars_arrays
from live.journal import (
    Decision,
    Equity,
    Intent,
    Journal,
    Position,
    Step,
    open_journal,
    tables,
)
from live.journal.codec import pack, pack_row, request_json
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US
from quantcore.types import Array, FloatArray, OrderStatus, OrderType, Side
from tests.journal.entries import (
    EXTRAS,
    account,
    answered,
    change,
    fill,
    intent,
    order,
    session,
    signal,
    url_of,
)

_NAMES = "1000PEPE AAVE ADA APT ARB AVAX BCH BNB BTC DOGE DOT ETC ETH FIL INJ LINK LTC NEAR OP SOL SUI TON TRX UNI XRP"
SYMBOLS = tuple(f"{name}USDT" for name in _NAMES.split())
HOURS = 8_760
BEGIN_US = 1_704_067_200_000_000
"""2024-01-01."""
_FILLS_A_DAY = 12


def year(folder: Path, *, hours: int = HOURS) -> Journal:
    """Return a journal that is open for its writer: a year of hours, then a last close with orders and positions."""
    with open_journal(url_of(folder)) as journal:
        journal.begin(session(symbols=SYMBOLS), now_us=BEGIN_US)
        journal.commit_step(_step(1, BEGIN_US, "start", np.ones(25)))
    engine = sqlalchemy.create_engine(url_of(folder), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for table, rows in _history(np.random.default_rng(7), hours):
            connection.execute(table.insert(), rows)
    journal = open_journal(url_of(folder), synchronous="normal")
    journal.begin(session(symbols=SYMBOLS), now_us=BEGIN_US + hours * HOUR_US)
    close(journal, hours + 1, intents=stops())
    return journal


def close(journal: Journal, hour: int, *, intents: Sequence[Intent] = ()) -> None:
    """Close an hour in which each symbol is held, and an order fills at a price that tells the hour."""
    ts_us = BEGIN_US + hour * HOUR_US
    seq = journal.next_seq
    marks: FloatArray = np.linspace(100.0, 340.0, 25) + hour % 7
    bought = intent(10**5 + hour, symbol=SYMBOLS[0])
    numbers = journal.commit_step(_step(seq, ts_us, "close", marks, intents=(*intents, bought)))
    for number in numbers:
        journal.answer(answered(number))
    for n in range(len(intents)):
        named = {"client_id": f"qc-stop-{n}", "symbol": SYMBOLS[n], "exchange_id": n}
        journal.hear([change(OrderStatus.NEW, time_us=ts_us + n, **named)], heard_us=ts_us)
    filled = fill(
        10**6 + seq,
        time_us=ts_us,
        client_id=f"qc-{10**5 + hour}",
        symbol=SYMBOLS[0],
        price=f"{hour}.5",
    )
    journal.hear([filled], heard_us=ts_us)


def stops() -> list[Intent]:
    """Return a protective stop of each symbol."""
    return [
        Intent(
            order_number=10**6 + n,
            request=Order(
                client_id=f"qc-stop-{n}",
                symbol=name,
                side=Side.SELL,
                type=OrderType.STOP_MARKET,
                stop_price=f"{80 + 8 * n}.0",
                close_position=True,
            ),
            reason="protective_stop",
            wanted_qty=0.0,
        )
        for n, name in enumerate(SYMBOLS)
    ]


def _step(
    seq: int, ts_us: int, kind: str, marks: FloatArray, *, intents: Sequence[Intent] = ()
) -> Step:
    told: dict[str, Any] = dict(EXTRAS)
    told["equity"] = Equity(
        equity=7_700.0 + seq % 97,
        wallet_balance=7_700.0,
        unrealised_pnl=12.0,
        margin_ratio=0.02,
        gross_exposure=9_000.0,
        net_exposure=4_000.0,
        drawdown=-0.02,
        flow=0.0,
        nav=1.0 + seq % 97 / 7_700.0,
        regime="calm",
    )
    told["positions"] = [
        Position(
            symbol=name,
            qty=1.0 if n % 3 else -1.0,
            entry_price=95.0 + 10.0 * n,
            mark_price=float(marks[n]),
            liquidation_chance=1e-4,
        )
        for n, name in enumerate(SYMBOLS)
    ]
    decision = None
    if kind == "close":
        decision = Decision(
            targets=np.linspace(-0.1, 0.1, 25), inputs={"closes": marks}, strategies={"trend": 1.0}
        )
    return Step(
        seq=seq,
        ts_us=ts_us,
        kind=kind,
        inputs=_row(ts_us, marks),
        account=account(0.0, seq),
        signal=signal(float(seq)),
        decision=decision,
        intents=intents,
        snapshot=seq == 1,
        **told,
    )


def _row(ts_us: int, closes: FloatArray) -> dict[str, Array]:
    """Return what a step of the loop was given: the bar that closed."""
    bars = Bars(
        interval="1h",
        ts_us=np.array([ts_us]),
        symbols=SYMBOLS,
        fields={"close": closes[np.newaxis]},
    )
    return bars_arrays(bars)


def _history(rng: np.random.Generator, hours: int) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Yield the rows of all hours but the first, table by table."""
    nav = np.exp(np.cumsum(rng.normal(3e-5, 2e-3, hours)))
    peak = np.maximum.accumulate(nav)
    seqs = range(2, hours + 1)
    closes: FloatArray = np.linspace(100.0, 340.0, 25)
    yield tables.steps, [
        {"seq": s, "session_id": 1, "ts_us": BEGIN_US + s * HOUR_US, "kind": "close", "last_event": 0,
         "inputs": pack(_row(BEGIN_US + s * HOUR_US, closes)), "account_sha": "", "took_us": 900, "account_us": 90}
        for s in seqs
    ]  # fmt: skip
    targets = pack_row(np.linspace(-0.1, 0.1, 25))
    yield (
        tables.decisions,
        [{"seq": s, "targets": targets, "strategies": '{"trend": 1.0}'} for s in seqs],
    )
    yield tables.equity, [
        {"seq": s, "equity": 7_700.0 * nav[s - 1], "wallet_balance": 7_700.0, "unrealised_pnl": 1.0,
         "margin_ratio": 0.02, "gross_exposure": 9_000.0, "net_exposure": 4_000.0,
         "drawdown": nav[s - 1] / peak[s - 1] - 1.0, "flow": 0.0, "nav": nav[s - 1], "regime": "calm"}
        for s in seqs
    ]  # fmt: skip
    yield tables.risk_states, [
        {"seq": s, "level": "normal", "level_since_us": 0, "peak_nav": peak[s - 1], "day_nav": nav[s - 1],
         "halts": 0, "daily_var": 0.01, "liquidation_probability": 1e-4, "binding": 0}
        for s in seqs
    ]  # fmt: skip
    yield tables.positions, [
        {"seq": s, "symbol": name, "qty": 1.0, "entry_price": 100.0, "mark_price": 101.0,
         "liquidation_chance": 1e-4}
        for s in seqs
        for name in SYMBOLS
    ]  # fmt: skip
    yield tables.reasons, [
        {"seq": s, "position": 0, "symbol": SYMBOLS[s % 25], "stage": "planner", "rule": "min_notional",
         "limit": 50.0, "value": 10.0, "action": "refused"}
        for s in seqs
    ]  # fmt: skip
    yield from _traded(hours)


def _traded(hours: int) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
    """Yield orders that filled, some each day, with their answers."""
    count = hours * _FILLS_A_DAY // 24 - _FILLS_A_DAY
    seq_of = [2 + n * 24 // _FILLS_A_DAY for n in range(count)]
    numbers = range(1, count + 1)
    orders = [
        {"intent_id": n, "seq": s, "order_number": n, "action": "send", "client_id": f"qc-{n}",
         "symbol": SYMBOLS[n % 25], "request": request_json(order(n, symbol=SYMBOLS[n % 25])), "reason": "target",
         "wanted_qty": 1.0}
        for n, s in zip(numbers, seq_of, strict=True)
    ]  # fmt: skip
    yield tables.intents, orders
    yield tables.answers, [
        {"answer_id": n, "intent_id": n, "ts_us": 1, "by": "request", "outcome": "accepted", "message": "",
         "sent_after_us": 100, "answered_after_us": 20_000}
        for n in numbers
    ]  # fmt: skip
    yield tables.events, [
        {"event_id": n, "session_id": 1, "heard_us": BEGIN_US + s * HOUR_US, "time_us": BEGIN_US + s * HOUR_US,
         "kind": "fill", "identity": f"fill {n}"}
        for n, s in zip(numbers, seq_of, strict=True)
    ]  # fmt: skip
    yield tables.fills, [
        {"event_id": n, "symbol": SYMBOLS[n % 25], "trade_id": n, "client_id": f"qc-{n}", "exchange_id": n,
         "side": "buy", "qty": "0.010", "price": "50000.5", "fee": "0.05", "fee_asset": "USDT", "maker": n % 2 == 0,
         "order_status": "filled", "realised": "0.1"}
        for n in numbers
    ]  # fmt: skip
