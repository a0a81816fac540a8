"""What the journal costs on the loop's path: a step with 25 intents, an answer, a fill, in SQLite and durable or not.

The tail of wall times is the machine's as much as the journal's: read it where nothing else runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from live.broker.interface import Answer, Fill, Order, Outcome
from live.journal import (
    START,
    Answered,
    Decision,
    Equity,
    Intent,
    Journal,
    Position,
    Session,
    Step,
    open_journal,
)
from quantcore.fold import FoldState
from quantcore.types import OrderStatus, OrderType, Side
from tests.benchmarks.timing import Table, Timing

SYMBOLS = tuple(f"S{number:02d}USDT" for number in range(25))
STEPS = 600
GOAL_SECONDS = 0.003


def state() -> FoldState:
    """A state of the size of an account of 25 symbols with its risk controller."""
    n = len(SYMBOLS)
    shapes = {"order": (200, 5), "ticket": (200, 14), "pairs": (2, n, n), "position": (n, 11)}
    return FoldState("account", 1, {name: np.ones(shape) for name, shape in shapes.items()})


def step(seq: int, held: FoldState) -> Step:
    orders = [
        Order(
            client_id=f"qc-{25 * seq + i}",
            symbol=symbol,
            side=Side.BUY,
            type=OrderType.LIMIT,
            qty="0.001",
            price="50000.1",
        )
        for i, symbol in enumerate(SYMBOLS)
    ]
    market = np.full((10, 25), 50_000.1)
    return Step(
        seq=seq,
        ts_us=seq,
        kind=START if seq == 1 else "close",
        inputs={"market": market, "heard": np.zeros((25, 6))},
        account=held,
        signal=held,
        decision=Decision(targets=np.zeros(25), inputs={"bars": market}),
        intents=[
            Intent(order_number=25 * seq + i, request=order, reason="target")
            for i, order in enumerate(orders)
        ],
        equity=Equity(
            equity=1.0,
            wallet_balance=1.0,
            unrealised_pnl=0.0,
            margin_ratio=0.0,
            gross_exposure=0.0,
            net_exposure=0.0,
            drawdown=0.0,
            flow=0.0,
            nav=1.0,
        ),
        positions=[
            Position(symbol=symbol, qty=1.0, entry_price=1.0, mark_price=1.0) for symbol in SYMBOLS
        ],
        snapshot=seq % 100 == 1,
    )


def fill(number: int) -> Fill:
    return Fill(
        time_us=number,
        trade_id=number,
        client_id=f"qc-{25 * number}",
        exchange_id=number,
        symbol="S00USDT",
        side=Side.BUY,
        qty="0.001",
        price="50000.1",
        fee="0.01",
        fee_asset="USDT",
        maker=False,
        order_status=OrderStatus.FILLED,
        realised="0",
    )


class Clocks:
    """Wall and CPU times of one kind of call."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)

    def at(self, share: float) -> Timing:
        return Timing(float(np.quantile(self.wall, share)), float(np.quantile(self.cpu, share)))


def opened(folder: Path, synchronous: str) -> Journal:
    journal = open_journal(
        f"sqlite:///{folder / synchronous / 'journal.sqlite'}", synchronous=synchronous
    )
    journal.begin(
        Session(
            mode="sim", account="main", prefix="qc-", symbols=SYMBOLS, config_yaml="", versions={}
        ),
        now_us=0,
    )
    return journal


def test_commits_of_the_journal(tmp_path: Path, table: Table) -> None:
    held = state()
    clocks = {
        (call, sync): Clocks() for call in ("step", "answer", "fill") for sync in ("full", "normal")
    }
    journals = {sync: opened(tmp_path, sync) for sync in ("full", "normal")}
    for seq in range(1, STEPS + 1):
        for sync, journal in journals.items():
            given = step(seq, held)
            with clocks["step", sync].running():
                first, *_ = journal.commit_step(given)
            told = Answered(intent_id=first, ts_us=1, answer=Answer(outcome=Outcome.ACCEPTED))
            with clocks["answer", sync].running():
                journal.answer(told)
            with clocks["fill", sync].running():
                journal.hear([fill(seq)], heard_us=seq)
            if seq % 50 == 0:
                journal.checkpoint()
    for journal in journals.values():
        journal.close()
    for call in ("step", "answer", "fill"):
        rows = {
            f"{sync}, {name}": clocks[call, sync].at(share)
            for sync in ("full", "normal")
            for name, share in (("median", 0.5), ("p99", 0.99))
        }
        table.add(f"journal: one {call}", rows, goal="p99 <= 3 ms" if call == "step" else "-")
    assert clocks["step", "full"].at(0.5).cpu <= GOAL_SECONDS
