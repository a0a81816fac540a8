"""What the tests tell a journal, and a fold simple enough to follow by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from live.broker.interface import (
    Answer,
    Balance,
    Cancel,
    Doubt,
    Fill,
    Income,
    Order,
    OrderChange,
    OrderReport,
    Outcome,
)
from live.journal import (
    START,
    Advance,
    Answered,
    AnsweredBy,
    Decision,
    Equity,
    Event,
    Health,
    Intent,
    Journal,
    KeptStep,
    Position,
    Reason,
    RiskState,
    Session,
    Step,
    open_journal,
)
from quantcore.fold import FoldState
from quantcore.types import FloatArray, OrderStatus, OrderType, RiskLevel, Side

SYMBOLS = ("BTCUSDT", "ETHUSDT")
HOUR_US = 3_600_000_000
CAPITAL = 1000.0


def session(**changed: object) -> Session:
    given = {
        "mode": "sim",
        "account": "main",
        "prefix": "qc-",
        "symbols": SYMBOLS,
        "config_yaml": "mode: sim\n",
        "versions": {"quantcore": "0.1.0"},
        "git_commit": "abc",
    }
    return Session(**given | changed)  # type: ignore[arg-type]  # the tests' own values


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'live' / 'journal.sqlite'}"


def opened(place: Path | str, **changed: object) -> Journal:
    """Open the journal of a folder or a URL and begin a session."""
    url = place if isinstance(place, str) else url_of(place)
    journal = open_journal(url, **changed)  # type: ignore[arg-type]  # likewise
    journal.begin(session(), now_us=0)
    return journal


def account(seen: float, steps: int) -> FoldState:
    return FoldState("account", 1, {"seen": np.array([seen]), "steps": np.array([steps])})


def signal(total: float) -> FoldState:
    return FoldState("signal", 1, {"total": np.array([total])})


def advance_account(state: FoldState, step: KeptStep) -> FoldState:
    assert step.inputs is not None
    return account(
        float(state["seen"][0] + step.inputs["market"].sum()), int(state["steps"][0]) + 1
    )


def advance_signal(state: FoldState, step: KeptStep) -> tuple[FoldState, FloatArray]:
    assert step.decision is not None
    total = float(state["total"][0] + step.decision.inputs["closes"].sum())
    return signal(total), np.array([total, np.nan])


ADVANCE = Advance(account=advance_account, signal=advance_signal)


def order(number: int, *, symbol: str = "BTCUSDT") -> Order:
    return Order(
        client_id=f"qc-{number}",
        symbol=symbol,
        side=Side.BUY,
        type=OrderType.LIMIT,
        qty="0.010",
        price="50000.10",
    )


def intent(number: int, *, symbol: str = "BTCUSDT") -> Intent:
    return Intent(
        order_number=number, request=order(number, symbol=symbol), reason="target", wanted_qty=0.5
    )


def cancel(number: int) -> Intent:
    return Intent(
        order_number=number,
        request=Cancel(client_id=f"qc-{number}", symbol="BTCUSDT", conditional=False),
    )


class Loop:
    """The steps of a loop over a market that does not care, deciding at every second one."""

    def __init__(self, journal: Journal, *, snapshot_every: int = 4) -> None:
        self.journal = journal
        self.snapshot_every = snapshot_every
        self.account = account(0.0, 0)
        self.signal = signal(0.0)

    def step(
        self, intents: Sequence[Intent] = (), *, extras: bool = False, with_signal: bool = True
    ) -> tuple[int, ...]:
        seq = self.journal.next_seq
        inputs = {"market": np.array([seq * 0.1, 2.0]), "heard": np.arange(3)}
        closes = {"closes": np.array([seq * 0.3, 1.0])}
        kind, decision, moved = START, None, None
        if seq > 1:
            kind = "close"
            kept = KeptStep(
                seq=seq,
                session_id=1,
                ts_us=0,
                kind=kind,
                last_event=0,
                inputs=inputs,
                account_sha="",
                signal_sha=None,
                decision=Decision(targets=np.zeros(2), inputs=closes),
            )
            self.account = advance_account(self.account, kept)
            if seq % 2 == 0:
                self.signal, targets = advance_signal(self.signal, kept)
                decision = Decision(targets=targets, inputs=closes)
                moved = self.signal
        return self.journal.commit_step(
            Step(
                seq=seq,
                ts_us=seq * HOUR_US,
                kind=kind,
                inputs=inputs,
                account=self.account,
                signal=self.signal if seq == 1 and with_signal else moved,
                decision=decision,
                intents=intents,
                snapshot=seq == 1 or seq % self.snapshot_every == 0,
                **(EXTRAS if extras else {}),  # type: ignore[arg-type]  # one dictionary of several types
            )
        )


EXTRAS = {
    "took_us": 120,
    "reasons": [
        Reason(
            symbol="BTCUSDT",
            stage="planner",
            rule="min_notional",
            limit=50.0,
            value=float("nan"),
            action="refused",
        )
    ],
    "equity": Equity(
        equity=1010.0,
        wallet_balance=1000.0,
        unrealised_pnl=10.0,
        margin_ratio=0.01,
        gross_exposure=500.0,
        net_exposure=500.0,
        drawdown=-0.01,
        flow=0.0,
        nav=1.01,
        regime="calm",
    ),
    "positions": [Position(symbol="BTCUSDT", qty=0.01, entry_price=49000.0, mark_price=50000.0)],
    "risk": RiskState(
        level=RiskLevel.NORMAL,
        level_since_us=5,
        peak_nav=1.02,
        day_nav=1.0,
        halts=0,
        daily_var=0.01,
        liquidation_probability=float("nan"),
        binding=0,
    ),
}


def fill(trade_id: int = 7, **changed: object) -> Fill:
    given = {
        "time_us": 3 * HOUR_US,
        "trade_id": trade_id,
        "client_id": "qc-1",
        "exchange_id": 11,
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "qty": "0.010",
        "price": "50000.10",
        "fee": "0.25000050",
        "fee_asset": "USDT",
        "maker": False,
        "order_status": OrderStatus.FILLED,
        "realised": "0",
    }
    return Fill(**given | changed)  # type: ignore[arg-type]  # the tests' own values


def report(status: OrderStatus = OrderStatus.NEW, **changed: object) -> OrderReport:
    given = {
        "client_id": "qc-1",
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "exchange_id": 11,
        "conditional": False,
        "status": status,
        "qty": "0.010",
        "filled": "0",
        "price": "50000.10",
    }
    return OrderReport(**given | changed)  # type: ignore[arg-type]  # likewise


def change(status: OrderStatus = OrderStatus.NEW, **changed: object) -> OrderChange:
    time_us = changed.pop("time_us", 2 * HOUR_US)
    return OrderChange(time_us=time_us, order=report(status, **changed), why="accepted")  # type: ignore[arg-type]  # likewise


def balance(wallet: str, **changed: object) -> Balance:
    given = {
        "time_us": 3 * HOUR_US,
        "wallet": wallet,
        "change": "0",
        "kind": "ORDER",
        "positions": (("BTCUSDT", "0.010", "50000.10"),),
    }
    return Balance(**given | changed)  # type: ignore[arg-type]  # likewise


def income(income_id: str = "9", **changed: object) -> Income:
    given = {
        "time_us": 4 * HOUR_US,
        "kind": "FUNDING_FEE",
        "symbol": "BTCUSDT",
        "amount": "-0.05",
        "income_id": income_id,
    }
    return Income(**given | changed)  # type: ignore[arg-type]  # likewise


def health(ts_us: int, **changed: object) -> Health:
    given = {
        "ts_us": ts_us,
        "wall_us": ts_us + 5,
        "late_us": 100,
        "account_stream": True,
        "sockets": 2,
        "connected": 1,
        "book_age_s": 0.25,
        "mark_age_s": 1.0,
        "kline_age_s": float("nan"),
        "used_weight": 40,
        "clock_off_ms": -3.0,
        "requests": 10,
        "failures": 1,
        "doubtful": 0,
        "halted": 1,
        "stopped": None,
        "memory_mb": 300.0,
        "disk_free_mb": 1000.0,
        "copy_behind": None,
        "counts": {"rows": 3},
    }
    return Health(**given | changed)  # type: ignore[arg-type]  # likewise


def one_of_each() -> tuple[Event, ...]:
    return (
        change(),
        fill(),
        balance("999.75"),
        income(),
        Doubt(time_us=5 * HOUR_US, reason="the connection was lost"),
    )


def answered(intent_id: int, outcome: Outcome = Outcome.ACCEPTED, **changed: object) -> Answered:
    answer = Answer(
        outcome=outcome, order=report() if outcome is Outcome.ACCEPTED else None, message="told"
    )
    return Answered(intent_id=intent_id, ts_us=HOUR_US, answer=answer, **changed)  # type: ignore[arg-type]  # likewise


def whole_run(journal: Journal) -> Loop:
    """Let a loop buy and sell, be refused and be paid: a journal in which everything fits."""
    loop = Loop(journal)
    journal.hear(
        [balance("1000", time_us=1, kind="DEPOSIT", change="1000", positions=())], heard_us=1
    )
    loop.step()
    bought, refused = loop.step([intent(1), intent(2)], extras=True)
    journal.answer(answered(bought))
    journal.answer(answered(refused, Outcome.REFUSED))
    journal.hear([change(), balance("999.74999950"), fill()], heard_us=2)
    journal.hear([change(OrderStatus.FILLED, time_us=3 * HOUR_US, filled="0.01")], heard_us=3)
    loop.step()
    journal.health(health(3 * HOUR_US))
    (resting,) = loop.step([intent(3)], extras=True)
    journal.answer(answered(resting, Outcome.UNKNOWN))
    journal.answer(answered(resting, by=AnsweredBy.QUERY))
    journal.health(health(6 * HOUR_US, stopped="fees must be paid in USDT", copy_behind=4))
    paid = {"time_us": 4 * HOUR_US, "positions": ()}
    journal.hear(
        [balance("999.69999950", change="-0.05", kind="FUNDING_FEE", **paid), income()], heard_us=4
    )
    (gone,) = loop.step([cancel(3)])
    journal.answer(answered(gone))
    ended = {"client_id": "qc-3", "exchange_id": 13, "filled": "0.004"}
    journal.hear(
        [
            balance("999.59999950", time_us=5 * HOUR_US),
            fill(
                8,
                time_us=5 * HOUR_US,
                client_id="qc-3",
                qty="0.004",
                fee="0.1",
                order_status=OrderStatus.PARTIALLY_FILLED,
            ),
            change(OrderStatus.CANCELED, time_us=6 * HOUR_US, **ended),
            fill(9, client_id="web_x", time_us=6 * HOUR_US, symbol="ETHUSDT"),
            Doubt(time_us=6 * HOUR_US, reason="a fill of an order that is not ours"),
            income("10", time_us=6 * HOUR_US + 5, kind="TRANSFER", symbol=None, amount="5"),
            # Nobody listened when the transfer came: the next wallet has it all the same.
            balance("1004.34999900", time_us=7 * HOUR_US),
        ],
        heard_us=5,
    )
    for _ in range(3):
        loop.step(extras=True)
    return loop
