"""Parts of a loop made by hand: an account, its ledger, and an exchange that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from live.broker.interface import Answer, Cancel, Fill, Order, OrderReport, Outcome
from live.ledger import Ledger
from live.parts import Parts
from live.wanted import ClientIds
from quantcore.account_plane import AccountPlane
from quantcore.config import compose
from quantcore.data.instruments import load_instruments
from quantcore.types import OrderStatus, OrderType, Side

PREFIX = "made"


def parts_of(*overrides: str) -> Parts:
    """Return the settings of ``conf=sim``."""
    from live import parts

    return parts.parts_of(compose("live", ["conf=sim", *overrides]))


def plane_of(symbols: Sequence[str], *overrides: str) -> AccountPlane:
    return parts_of(*overrides).plane(load_instruments(symbols))


def ledger_of(symbols: Sequence[str], *overrides: str) -> Ledger:
    instruments = load_instruments(symbols)
    return Ledger(parts_of(*overrides).plane(instruments), instruments, ClientIds(PREFIX))


def report(client_id: str, *, symbol: str = "BTCUSDT", **changed: Any) -> OrderReport:
    given: dict[str, Any] = {
        "client_id": client_id, "symbol": symbol, "side": Side.BUY, "type": OrderType.LIMIT, "exchange_id": 1,
        "conditional": False, "status": OrderStatus.NEW, "qty": "0.010", "filled": "0",
    }  # fmt: skip
    return OrderReport(**given | changed)


@dataclass
class ScriptedBroker:
    """An exchange that gives the answers it is told to, in order, and keeps what it was asked.

    Parameters
    ----------
    answers : dict of str to list
        By client id: what `send` and `cancel` answer, each once; ACCEPTED where nothing is left.
    found : dict of str to list
        By client id: what `query` returns, each once; the last one for ever.
    """

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    found: dict[str, list[OrderReport | None]] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """By client id: what a request waits for."""

    def now_us(self) -> int:
        return 1_704_182_280_000_000

    async def send(self, order: Order, *, urgent: bool = False) -> Answer:
        return await self._answer("send", order.client_id)

    async def cancel(self, cancel: Cancel, *, urgent: bool = False) -> Answer:
        return await self._answer("cancel", cancel.client_id)

    async def query(self, cancel: Cancel) -> OrderReport | None:
        self.asked.append(("query", cancel.client_id))
        await asyncio.sleep(0)
        left = self.found.get(cancel.client_id, [None])
        return left.pop(0) if len(left) > 1 else left[0]

    async def fills_since(self, symbol: str, time_us: int) -> list[Fill]:
        return [fill for fill in self.fills if fill.symbol == symbol]

    async def events(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    async def _answer(self, what: str, client_id: str) -> Answer:
        self.asked.append((what, client_id))
        if client_id in self.gates:
            await self.gates[client_id].wait()
        await asyncio.sleep(0)
        left = self.answers.get(client_id, [])
        return left.pop(0) if left else Answer(outcome=Outcome.ACCEPTED)
