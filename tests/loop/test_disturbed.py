"""Disconnects, duplicates and restarts change nothing: in lock-step every state of the ledger is the same to the bit.

The same market twice, over the exchange's ports. Undisturbed, and with a seed that says at which bars the user stream
was cut (what it told is thrown away, and found out by REST), what of it is told a second time, and at which bars the
loop is left behind and another begins from its journal.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from sqlalchemy import select

from live.broker.binance import BinanceBroker
from live.broker.interface import Fill, OrderChange
from live.broker.settings import BrokerSettings, Credentials
from live.folds import SignalFold, advance
from live.journal import Journal, open_journal, reading, tables
from live.journal.records import SEND, Session
from live.journal.told import Event
from live.ledger import Ledger
from live.loop import Loop
from live.parity import lockstep
from live.parity.case import Case
from live.parity.exchange import exchange_of
from live.wanted import ClientIds
from quantcore.types import OrderStatus
from tests.parity import markets

pytestmark = [pytest.mark.integration, pytest.mark.slow]

STOPS = ("strategy.exits.stop_loss=0.006", "strategy.exits.take_profit=0.01")
ENDS = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED)


@dataclass
class Disturbance:
    """What goes wrong, and how often it did."""

    rng: np.random.Generator
    cut: float = 0.6
    twice: float = 0.5
    restart: float = 0.1
    counts: Counter[str] = field(default_factory=Counter)

    def happens(self, what: str, probability: float) -> bool:
        found = bool(self.rng.random() < probability)
        self.counts[what] += found
        return found


@dataclass
class Trading:
    """A loop in lock-step that can be left and begun anew from its journal."""

    case: Case
    broker: BinanceBroker
    url: str
    journal: Journal
    loop: Loop

    async def heard(self, since_us: int, disturbance: Disturbance | None) -> list[Event]:
        """Return what the exchange said since a bar's close, as far as the stream was there."""
        told: list[Event] = list(await self.broker.caught_up())
        if disturbance is None:
            return told
        if told and disturbance.happens("cut", disturbance.cut):
            told = await self.found_out(since_us)
        again = [event for event in told if disturbance.happens("twice", disturbance.twice)]
        return told + again

    async def found_out(self, since_us: int) -> list[Event]:
        """Return fills and ends of orders as REST has them, without the user stream."""
        ends: list[Event] = []
        there = {order.client_id for order in await self.broker.open_orders()}
        for name in self.loop.ledger.open_orders().values():
            if name.client_id not in there:
                order = await self.broker.query(name)
                if order is not None and order.status in ENDS:
                    ends.append(OrderChange(time_us=self.broker.now_us(), order=order))
        fills: list[Fill] = []
        for symbol in self.loop.ledger.plane.symbols:
            fills += await self.broker.fills_since(symbol, since_us)
        return [*sorted(fills, key=lambda fill: (fill.time_us, fill.trade_id)), *ends]

    def may_begin_anew(self, when: str, disturbance: Disturbance | None) -> None:
        """Begin anew if the disturbance says so."""
        if disturbance is not None and disturbance.happens(when, disturbance.restart):
            self.begin_anew()

    def begin_anew(self) -> None:
        """Leave the loop as a kill does, and go on from the journal with another one."""
        self.journal.close()
        self.journal = open_journal(self.url, synchronous="normal")
        recovery = self.journal.recover()
        assert recovery.session is not None
        former = self.loop
        plane = former.ledger.plane
        replayed = recovery.resume(
            advance(plane, self.case.signal, interval=self.case.data.interval)
        )
        assert replayed is not None
        self.journal.begin(recovery.session.session, now_us=self.broker.now_us())
        ledger = Ledger(
            plane, former.ledger.instruments, ClientIds(lockstep.PREFIX), replayed.account
        )
        signal = SignalFold(
            self.case.signal, interval=self.case.data.interval, state=replayed.signal
        )
        self.loop = Loop(
            ledger=ledger, signal=signal, broker=self.broker, journal=self.journal, in_order=True
        )
        for _, event in recovery.unused:
            self.loop.mean(event)
        self.loop.begin(former.last_us)


async def run(
    case: Case, ready: dict[str, str], folder: Path, disturbance: Disturbance | None
) -> list[str]:
    """Trade a case's span; return the hash of the account's state after each bar."""
    broker = BinanceBroker(
        BrokerSettings(
            rest_url=ready["rest"], stream_url=ready["ws"], clock_speed=0.0, clock_off_max_ms=None,
            credentials=Credentials(ready["api_key"], ready["api_secret"]),
        )
    )  # fmt: skip
    await broker.start()
    folder.mkdir(mode=0o700)
    url = f"sqlite:///{folder / 'journal.sqlite'}"
    journal = open_journal(url, synchronous="normal")
    session = Session(
        mode="sim", account="disturbed", prefix=lockstep.PREFIX, symbols=case.data.bars.symbols, config_yaml="",
        versions={},
    )  # fmt: skip
    journal.begin(session, now_us=broker.now_us())
    trading = Trading(case, broker, url, journal, await lockstep._loop(case, broker, journal))
    digests = []
    try:
        async with (
            lockstep._feed(case, ready, broker) as feed,
            aiohttp.ClientSession(ready["control"]) as control,
        ):
            since_us = broker.now_us()
            for number, close_us in enumerate(case.bars.ts_us.tolist()):
                if number:
                    await lockstep._advance(control)
                told = await trading.heard(since_us, disturbance)
                await trading.loop.hear(told, heard_us=close_us)
                trading.may_begin_anew("restart before a bar", disturbance)
                await trading.loop.close_bar((await feed.row_of(close_us)).bars)
                digests.append(trading.loop.ledger.state.digest())
                if not trading.loop.has_news:
                    trading.may_begin_anew("restart after a bar", disturbance)
                since_us = close_us
        assert trading.loop.doubts == []
        return digests
    finally:
        trading.journal.close()
        await broker.close()


def traded(case: Case, folder: Path, disturbance: Disturbance | None) -> list[str]:
    lockstep.warm(case)
    with exchange_of(case) as ready:
        return asyncio.run(run(case, ready, folder, disturbance))


@dataclass(frozen=True)
class Calm:
    """What happens undisturbed."""

    case: Case
    folder: Path
    digests: list[str]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    place = tmp_path_factory.mktemp("calm")
    case = markets.case(place / "market", [*markets.HOURLY, *STOPS], days=6)
    return Calm(case, place / "journal", traded(case, place / "journal", None))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_ledger_is_the_same_after_every_bar(tmp_path: Path, calm: Calm, seed: int) -> None:
    disturbance = Disturbance(np.random.default_rng(seed))
    disturbed = traded(calm.case, tmp_path / "disturbed", disturbance)
    pairs = zip(calm.digests, disturbed, strict=True)
    differing = [bar for bar, (own, other) in enumerate(pairs) if own != other]
    assert differing == []
    assert min(disturbance.counts.values()) >= 3, disturbance.counts
    assert told(calm.folder) == told(tmp_path / "disturbed")


def told(folder: Path) -> dict[str, list[object]]:
    """Return the fills of a journal, and what was sent, each by its name."""
    url = f"sqlite:///{folder / 'journal.sqlite'}"
    wanted = select(tables.intents.c.client_id).where(tables.intents.c.action == SEND)
    with open_journal(url, read_only=True) as journal, journal.transaction() as connection:
        fills = [event for _, event in reading.events(connection) if isinstance(event, Fill)]
        numbers = list(connection.scalars(wanted))
    assert len(set(numbers)) == len(numbers)
    return {
        "fills": sorted((f.symbol, f.trade_id, f.client_id, f.qty, f.price, f.fee) for f in fills),
        "sent": sorted(numbers),
    }
