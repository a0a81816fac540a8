"""The live loop against an exchange in lock-step: one bar after another, everything over its ports."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np

from live.broker.binance import BinanceBroker
from live.broker.interface import Fill, Outcome
from live.broker.settings import BrokerSettings, Credentials
from live.feed.assembler import AssemblerSettings
from live.feed.feed import opened
from live.feed.market_rest import MarketRestSettings
from live.feed.rows import RowForm
from live.folds import SignalFold
from live.journal.journal import Journal, open_journal
from live.journal.records import Session
from live.journal.told import Event
from live.ledger import LIQUIDATED, Ledger
from live.loop import CLEARED, Loop
from live.parity.case import Case
from live.parity.recorded import MODE
from live.wanted import ClientIds
from quantcore.account_plane import Events, joined_events
from quantcore.errors import VenueError
from quantcore.fold import FoldState
from quantcore.types import FloatArray, IntArray

PREFIX = "parity"


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """What the loop did.

    Parameters
    ----------
    events : Events
        Of the account, over all bars.
    decided_us : int64 array, shape (n_decisions,)
        When it decided.
    targets : float64 array, shape (n_decisions, n_symbols)
        What.
    state : FoldState
        Of the account at the end.
    venue_wallet : float
        As the exchange has it at the end, USDT.
    doubts : tuple of str
        What the loop did not understand.
    """

    events: Events = field(repr=False)
    decided_us: IntArray = field(repr=False)
    targets: FloatArray = field(repr=False)
    state: FoldState = field(repr=False)
    venue_wallet: float
    doubts: tuple[str, ...]


def warm(case: Case) -> None:
    """Compile what the loop's account needs, before an exchange waits for it."""
    instruments = case.instruments()
    Ledger(case.plane(instruments), instruments, ClientIds(PREFIX)).warm()


async def trade(
    case: Case,
    ready: dict[str, str],
    *,
    progress: Callable[[int], None],
    config_yaml: str = "",
    journal_url: str | None = None,
) -> LiveRun:
    """Trade a case's span on an exchange in lock-step that stands at its beginning.

    Parameters
    ----------
    case : Case
        What is compared.
    ready : dict
        Where the exchange answers: its one line (DESIGN.md 6).
    progress : callable
        Told the number of bars done.
    config_yaml : str
        Settings that the journal is to hold.
    journal_url : str or None
        Where it is kept; None: nowhere when this ends.
    """
    broker = BinanceBroker(
        BrokerSettings(
            rest_url=ready["rest"],
            stream_url=ready["ws"],
            credentials=Credentials(ready["api_key"], ready["api_secret"]),
            clock_speed=0.0,
            clock_off_max_ms=None,
        )
    )
    await broker.start()
    try:
        async with (
            _feed(case, ready, broker) as feed,
            aiohttp.ClientSession(ready["control"]) as control,
        ):
            with (
                tempfile.TemporaryDirectory() as place,
                open_journal(
                    journal_url or f"sqlite:///{Path(place) / 'journal.sqlite'}",
                    synchronous="normal",
                ) as journal,
            ):
                _begin(journal, case, config_yaml, broker.now_us())
                loop = await _loop(case, broker, journal)
                taken: list[Events] = []
                decided_us, targets = [], []
                bars = case.bars
                for number, close_us in enumerate(bars.ts_us.tolist(), start=1):
                    if number > 1:  # it begins at the close of its first bar
                        await _advance(control)
                    await loop.hear(await _heard(broker, close_us), heard_us=close_us)
                    row = await feed.row_of(close_us)
                    decided = await loop.close_bar(row.bars)
                    assert loop.last_events is not None
                    taken.append(loop.last_events)
                    if decided is not None:
                        decided_us.append(close_us)
                        targets.append(decided.targets)
                    progress(number)
                account = await broker.account()
                return LiveRun(
                    events=joined_events(taken),
                    decided_us=np.array(decided_us, dtype=np.int64),
                    targets=np.array(targets).reshape(len(decided_us), bars.n_symbols),
                    state=loop.ledger.state,
                    venue_wallet=float(account.wallet),
                    doubts=tuple(loop.doubts),
                )
    finally:
        await broker.close()


async def _heard(broker: BinanceBroker, close_us: int) -> list[Event]:
    """Return what the exchange said of a bar; what its liquidations cost is an income, which no stream tells."""
    heard: list[Event] = [*await broker.caught_up()]
    if any(isinstance(event, Fill) and event.client_id.startswith(LIQUIDATED) for event in heard):
        incomes = await broker.incomes_since(close_us)
        heard += [income for income in incomes if income.kind == CLEARED]
    return heard


async def _advance(control: aiohttp.ClientSession) -> None:
    async with control.post("/advance", json={"bars": 1}) as answer:
        if answer.status != 200:
            raise VenueError(f"the exchange must advance, did not: {await answer.text()}")


@asynccontextmanager
async def _feed(case: Case, ready: dict[str, str], broker: BinanceBroker) -> AsyncIterator:  # type: ignore[type-arg]
    bars = case.data.bars
    form = RowForm(symbols=bars.symbols, interval=bars.interval, fields=tuple(bars.fields))
    settings = AssemblerSettings(form=form, marks="rest")
    rest = MarketRestSettings(base_url=ready["rest"], weight_max=None)
    async with opened(
        settings, None, rest, now_us=broker.now_us, rng=np.random.default_rng(0)
    ) as feed:
        yield feed


def _begin(journal: Journal, case: Case, config_yaml: str, now_us: int) -> None:
    session = Session(
        mode=MODE, account="parity", prefix=PREFIX, symbols=case.data.bars.symbols,
        config_yaml=config_yaml, versions={},
    )  # fmt: skip
    journal.begin(session, now_us=now_us)


async def _loop(case: Case, broker: BinanceBroker, journal: Journal) -> Loop:
    symbols = case.data.bars.symbols
    instruments = await broker.instruments(symbols)
    plane = case.plane(instruments)
    for symbol in symbols:
        for answer in (
            await broker.set_leverage(symbol, case.account.leverage_max),
            await broker.set_isolated(symbol, case.account.margin == "isolated"),
        ):
            if answer.outcome is not Outcome.ACCEPTED:
                raise VenueError(
                    f"{symbol}: leverage and margin type must be set: {answer.message}"
                )
    ledger = Ledger(plane, instruments, ClientIds(PREFIX))
    signal = SignalFold(case.signal, interval=case.data.interval, state=case.state, rows=case.begun)
    loop = Loop(ledger=ledger, signal=signal, broker=broker, journal=journal, in_order=True)
    loop.begin(broker.now_us())
    return loop
