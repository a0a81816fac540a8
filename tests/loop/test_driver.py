"""The driver with an exchange and a feed made by hand: late bars, bars that were missed, refusals, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live import driver as driver_module
from live.broker.interface import Answer, Order, Outcome
from live.driver import Driver, DriverSettings
from live.feed.quotes import Quotes
from live.feed.rows import Row, Skipped
from live.folds import Decided, SignalFold
from live.journal import Journal, open_journal, reading
from live.journal.records import START, Intent, Session, Step
from live.ledger import Ledger
from live.loop import Due, Loop
from live.reconcile import Finding
from live.status import AnyDriver
from live.wanted import ClientIds, Wanted
from quantcore import account_follow as said
from quantcore.data.instruments import load_instruments
from quantcore.errors import JournalError, VenueError
from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars, no_settlements
from quantcore.types import OrderStatus, OrderType, Rule, Side
from tests.loop.made import PREFIX, ScriptedBroker, parts_of, report
from tests.loop.on_exchange import QUICK

SYMBOLS = ("BTCUSDT", "ETHUSDT")
MINUTE_US = 60_000_000
LATE_US = 2 * MINUTE_US


@dataclass
class Feed:
    """Rows as they are put, and no quotes."""

    quotes: Quotes = field(default_factory=lambda: Quotes(SYMBOLS))
    waiting: asyncio.Queue[Row | Skipped] = field(default_factory=asyncio.Queue)

    async def rows(self) -> AsyncIterator[Row | Skipped]:
        while True:
            yield await self.waiting.get()


@dataclass
class Watching:
    """What a watcher was told."""

    decided: list[bool] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    compared: int = 0

    def decision(self, close_us: int, decided: Decided | None, driver: AnyDriver) -> None:
        self.decided.append(decided is not None)

    def recovered(self, n_events: int, n_differences: int) -> None:
        self.compared += 1

    def caught_up(self, n_bars: int) -> None:
        self.missed.append(n_bars)


@dataclass
class Agreeing:
    """A comparison that finds nothing."""

    rounds: int = 0
    read: int = 0

    async def read_missed(self, driver: Driver) -> None:
        self.read += 1

    async def reconcile(self, driver: Driver) -> list[Finding]:
        self.rounds += 1
        return []


@dataclass
class Made:
    """A driver and all that it is made of."""

    driver: Driver
    feed: Feed
    watching: Watching
    comparison: Agreeing
    journal: Journal

    def row(self, bar: int, *, late_us: int = 1_000_000, in_time: bool = True) -> Row:
        """Return a row of prices that closed so long before the exchange's now."""
        close_us = (self.driver.broker.now_us() - late_us) // MINUTE_US * MINUTE_US
        close_us += bar * MINUTE_US
        prices = np.array([[42_000.0 + bar, 2000.0]])
        fields = {
            **dict.fromkeys((*PRICE_FIELDS, *MARK_FIELDS), prices),
            **dict.fromkeys(("volume", "quote_volume", "trades", "taker_buy_volume"), prices),
            "funding_rate": np.full((1, 2), np.nan),
        }
        bars = Bars(
            interval="1m", ts_us=np.array([close_us]), symbols=SYMBOLS, fields=fields, settlements=no_settlements()
        )  # fmt: skip
        return Row(close_us=close_us, bars=bars, in_time=in_time)

    def open_intent(self) -> int:
        """Commit a step with an order that has no answer, as a killed run leaves it; return the intent's number."""
        order = Order(
            client_id="made-5", symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, qty="0.010"
        )
        loop = self.driver.loop
        step = Step(
            seq=self.journal.next_seq, ts_us=1, kind=START, inputs={}, account=loop.ledger.state, snapshot=True,
            intents=[Intent(order_number=5, request=order)],
        )  # fmt: skip
        (number,) = self.journal.commit_step(step)
        return number

    def skipped(self) -> list[str]:
        """Return why decisions were skipped, empty for those taken."""
        with self.journal.transaction() as connection:
            steps = list(reading.steps(connection))
        return [step.decision.skipped for step in steps if step.decision is not None]


@pytest.fixture
def made(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Made]:
    monkeypatch.setattr("live.driver._CALLED_OFF_S", 0.1)  # the scripted exchange tells of no end
    parts = parts_of(f"execution={getattr(request, 'param', 'taker')}", *QUICK)
    instruments = load_instruments(SYMBOLS)
    journal = open_journal(f"sqlite:///{tmp_path / 'live' / 'journal.sqlite'}")
    session = Session(
        mode="sim", account="made", prefix=PREFIX, symbols=SYMBOLS, config_yaml="", versions={}
    )
    journal.begin(session, now_us=0)
    broker: Any = ScriptedBroker()
    loop = Loop(
        ledger=Ledger(parts.plane(instruments), instruments, ClientIds(PREFIX)),
        signal=SignalFold(parts.signal, interval="1m"),
        broker=broker,
        journal=journal,
        in_order=False,
    )
    loop.begin(1)
    pace = DriverSettings(tick_s=0.01, reconcile_s=60.0, grace_s=0.1, late_us=LATE_US)
    feed: Any = Feed()
    watching, comparison = Watching(), Agreeing()
    driver = Driver(loop, feed, pace, watching, comparison)
    yield Made(driver, feed, watching, comparison, journal)
    journal.close()


async def test_a_bar_in_time_is_decided_on_and_a_late_one_is_only_known(made: Made) -> None:
    made.driver.take_row(made.row(0, late_us=3 * MINUTE_US))
    made.driver.take_row(made.row(1, late_us=3 * MINUTE_US))
    made.driver.take_row(made.row(2, late_us=3 * MINUTE_US))
    assert made.watching.decided == [False, True, True]
    first, *others = made.skipped()
    assert "after its close" in first
    assert others == ["", ""]


async def test_a_decision_that_was_given_up_is_skipped_with_its_reason(made: Made) -> None:
    row = made.row(0, in_time=False)
    made.driver.take_row(Skipped(close_us=row.close_us, reason="no klines of BTCUSDT within 20 s"))
    made.driver.take_row(row)
    assert made.watching.decided == [False]
    assert made.skipped() == ["no klines of BTCUSDT within 20 s"]


async def test_bars_that_were_missed_are_known_and_told_of_once(made: Made) -> None:
    for bar in range(3):
        made.driver.take_row(made.row(bar, late_us=4 * MINUTE_US, in_time=False))
    assert made.watching.decided == []
    made.driver.take_row(made.row(3, late_us=4 * MINUTE_US))
    assert made.watching.missed == [3]
    assert made.watching.decided == [True]
    assert made.driver.loop.decisions == 4


async def test_refusals_that_repeat_are_heard_with_growing_pauses(made: Made) -> None:
    order = report("x")
    wanted = Wanted(number=5, request=order, urgent=True)  # type: ignore[arg-type]  # it has a symbol
    before = made.journal.next_seq
    for _ in range(3):
        made.driver.refused(wanted, Answer(outcome=Outcome.REFUSED, code=-2021))
    await asyncio.sleep(0.1)
    assert made.journal.next_seq == before + 2
    await asyncio.sleep(0.6)
    assert made.journal.next_seq == before + 3


async def test_it_recovers_takes_bars_and_ends_when_told(made: Made) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(made.driver.run(stop))
    made.feed.waiting.put_nowait(made.row(0))
    async with asyncio.timeout(10.0):
        while not made.watching.decided:
            await asyncio.sleep(0.01)
    assert made.comparison.rounds == 1
    made.driver.doubt("something")
    await asyncio.sleep(0.05)
    assert made.comparison.rounds == 2
    stop.set()
    await running
    assert made.comparison.rounds == 3  # what was sent last is known and protected before it leaves


async def test_what_filled_while_nobody_was_there_is_read_before_anything_is_asked_for(
    made: Made,
) -> None:
    order = Wanted(number=5, request=report("made-5"), urgent=False)  # type: ignore[arg-type]  # it has a symbol
    seen: list[list[tuple[str, str]]] = []
    read_missed = made.comparison.read_missed

    async def read(driver: Driver) -> None:
        seen.append(list(asked))
        await read_missed(driver)

    asked = made.driver.broker.asked  # type: ignore[attr-defined]  # of the broker that is scripted
    made.comparison.read_missed = read  # type: ignore[method-assign]  # to see when it is called
    stop = asyncio.Event()
    due = Due(wanted=order, intent_id=made.open_intent(), since_us=0)
    running = asyncio.create_task(made.driver.run(stop, [due]))
    async with asyncio.timeout(10.0):
        while made.comparison.rounds == 0:
            await asyncio.sleep(0.01)
    stop.set()
    await running
    assert seen == [[]]
    assert ("query", "made-5") in asked


@pytest.mark.parametrize("made", ["router"], indirect=True)
async def test_at_the_end_what_opens_is_called_off_and_nothing_opens_any_more(made: Made) -> None:
    stop = asyncio.Event()
    broker: Any = made.driver.broker
    running = asyncio.create_task(made.driver.run(stop))
    await asyncio.sleep(0.05)
    for bar in range(3):
        made.driver.take_row(made.row(bar))
    made.driver.loop.ledger.take(
        made.driver.loop.ledger.step(
            made.row(3).bars, [], targets=np.array([0.2, 0.1]), recorded=True
        )
    )
    opening = {name.client_id for name in made.driver.loop.ledger.opening_orders().values()}
    assert len(opening) >= 2
    stop.set()
    await running
    assert opening <= {client_id for what, client_id in broker.asked if what == "cancel"}
    assert made.comparison.rounds == 2


@pytest.mark.parametrize("made", ["router"], indirect=True)
async def test_when_the_feed_fails_what_opens_is_called_off_before_that_is_told(made: Made) -> None:
    broker: Any = made.driver.broker

    async def rows() -> AsyncIterator[Row | Skipped]:
        made.driver.take_row(made.row(0))
        ledger = made.driver.loop.ledger
        ledger.take(ledger.step(made.row(1).bars, [], targets=np.array([0.2, 0.1]), recorded=True))
        if made.driver.last_row is not None:
            raise VenueError("the feed is gone")
        yield made.row(2)

    made.feed.rows = rows  # type: ignore[method-assign]  # a feed that fails
    with pytest.raises(VenueError, match="the feed is gone"):
        await made.driver.run(asyncio.Event())
    assert {what for what, _ in broker.asked} >= {"cancel"}


async def test_an_error_of_the_journal_ends_it_and_is_told_as_it_is(
    made: Made, tmp_path: Path
) -> None:
    running = asyncio.create_task(made.driver.run(asyncio.Event()))
    await asyncio.sleep(0.05)
    (tmp_path / "live" / "journal.sqlite").unlink()
    made.feed.waiting.put_nowait(made.row(0))
    with pytest.raises(JournalError):
        await running


async def test_an_error_beside_it_ends_it_as_well(made: Made) -> None:
    running = asyncio.create_task(made.driver.run(asyncio.Event()))
    await asyncio.sleep(0.05)
    made.driver.failed(JournalError("the disk is full"))
    with pytest.raises(JournalError, match="the disk is full"):
        await running


async def test_an_exchange_that_cannot_be_read_is_asked_with_growing_pauses_and_at_once_on_a_doubt(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "_AGAIN_S", 0.04)
    clock = asyncio.get_running_loop().time
    asked_s: list[float] = []

    class Away(Agreeing):
        async def reconcile(self, driver: Driver) -> list[Finding]:
            asked_s.append(clock())
            if 1 < len(asked_s) < 6:
                raise VenueError("the exchange is away")
            return []

    made.driver.comparison = Away()
    stop = asyncio.Event()
    running = asyncio.create_task(made.driver.run(stop))
    async with asyncio.timeout(10.0):
        while len(asked_s) < 1:
            await asyncio.sleep(0.001)
        made.driver.doubt("something")
        while len(asked_s) < 5:
            await asyncio.sleep(0.001)
        first, second, third = np.diff(asked_s[1:5])
        assert 0.035 < first < second < third
        made.driver.doubt("it may be back")  # else it were asked after 0.32 s
        while len(asked_s) < 6:
            await asyncio.sleep(0.001)
        assert asked_s[5] - asked_s[4] < 0.25
    stop.set()
    await running
    with made.journal.transaction() as connection:
        notes = connection.exec_driver_sql("SELECT message FROM notes").scalars().all()
    assert notes == ["the exchange is away"] * 4


@pytest.mark.parametrize(
    ("answer", "status", "rule"),
    [
        (Answer(outcome=Outcome.REFUSED, code=-2015), OrderStatus.REJECTED, Rule.EXCHANGE),
        (
            Answer(outcome=Outcome.REFUSED, code=-2019, rule=Rule.MARGIN),
            OrderStatus.REJECTED,
            Rule.MARGIN,
        ),
        (Answer(outcome=Outcome.REFUSED, message="it never arrived"), OrderStatus.EXPIRED, -1),
    ],
)
async def test_a_refusal_is_told_to_the_account_by_its_rule_or_as_the_exchanges_own(
    made: Made, answer: Answer, status: OrderStatus, rule: int
) -> None:
    order = Order(
        client_id="made-5", symbol="BTCUSDT", side=Side.BUY, type=OrderType.MARKET, qty="0.010"
    )
    wanted = Wanted(number=5, request=order, urgent=False)
    whole, _ = made.driver.loop.refused(wanted, answer)
    assert (whole[said.STATE], whole[said.RULE]) == (status, rule)
