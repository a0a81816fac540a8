"""The loop on an account of paper: the backtest's fills, and none lost or doubled wherever it is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live.broker.interface import Fill
from live.broker.paper import PaperBroker, PaperSettings
from live.feed.rows import Row, Skipped
from live.journal import Journal, open_journal, reading, tables
from live.journal.records import Session
from live.journal.verify import verify
from live.kill_switch import Level
from live.paper import PaperDriver
from live.parts import Parts, parts_of, session_text
from live.replayer import replayer_of
from live.simulator.state_file import write_whole
from live.start import begin, dated
from quantcore.account_plane import Events
from quantcore.config import compose
from quantcore.data.instruments import load_instruments
from quantcore.data.synthetic import SyntheticData
from quantcore.errors import ConfigError
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.signal_plane import signals, warm_up
from tests.loop.on_exchange import QUICK
from tests.loop.test_driver import Watching

OVERRIDES = (
    "conf=paper", "data.interval=1m", "data.execution_interval=1m", "account.capital=7700", "execution.slippage=null",
    *QUICK,
)  # fmt: skip
ROWS = 40


class Killed(Exception):
    """Stands for the end of the process."""


@dataclass
class Market:
    """Bars that close one after another, those before the start to warm up with."""

    bars: Bars
    begin: int
    now_us: int

    @property
    def after(self) -> Bars:
        return self.bars.rows(self.begin, self.begin + ROWS)


@dataclass
class Tape:
    """The feed of a market, from the row on that follows what is known."""

    market: Market
    next: int = 0
    quotes: dict[str, Any] = field(default_factory=dict)

    async def backfill(self, first_us: int, last_us: int) -> Bars:
        first, last = np.searchsorted(self.market.bars.ts_us, [first_us, last_us])
        return self.market.bars.rows(int(first), int(last) + 1)

    async def rows(self) -> AsyncIterator[Row | Skipped]:
        for row in range(self.next, self.market.begin + ROWS):
            bar = self.market.bars.rows(row, row + 1)
            self.market.now_us = int(bar.ts_us[-1])
            yield Row(close_us=self.market.now_us, bars=bar)
        await asyncio.Event().wait()


@dataclass
class Deaths:
    """Ends the run before one of the writes that survive it, after a number drawn anew each time."""

    rng: np.random.Generator | None
    left: int = 10**9
    times: int = 0

    def draw(self) -> None:
        self.left = 10**9 if self.rng is None else int(self.rng.integers(1, 60))

    def before(self, write: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.times += 1
                raise Killed
            return write(*given, **named)

        return counted


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Bars:
    data = SyntheticData(
        root=str(tmp_path_factory.mktemp("market")), interval="1m", execution_interval="1m", symbols=None, start=None,
        end=None, ends=None, seed=7, n_symbols=3, first_day="2024-01-01", days=2, late_listings=0,
    ).load()  # fmt: skip
    return data.bars


@pytest.fixture
def market(bars: Bars) -> Market:
    return begins(bars, 2_200)


def begins(bars: Bars, row: int) -> Market:
    """Return a market of which a row is the first to close."""
    return Market(bars, row, int(bars.ts_us[row - 1]))


@pytest.fixture(scope="module")
def parts() -> Parts:
    return parts_of(compose("live", OVERRIDES))


async def trade(
    folder: Path, market: Market, parts: Parts, deaths: Deaths, level: Level = Level.NONE
) -> tuple[FoldState, PaperBroker]:
    """Trade from where the files stand until the market's end."""
    instruments = load_instruments(market.bars.symbols)
    account = replace(parts.account, cash_flows=())
    broker = PaperBroker(
        PaperSettings.of(account, parts.execution), instruments, interval="1m", path=folder / "paper.state",
        now_us=lambda: market.now_us,
    )  # fmt: skip
    await broker.start()
    for symbol in market.bars.symbols:
        await broker.set_leverage(symbol, parts.account.leverage_max)
    feed = Tape(market)
    with open_journal(f"sqlite:///{folder / 'journal.sqlite'}", synchronous="normal") as journal:
        fresh = journal.recover().session is None
        session = Session(
            mode="paper", account="paper", prefix="paper", symbols=market.bars.symbols, versions={},
            config_yaml=session_text(compose("live", OVERRIDES), instruments),
        )  # fmt: skip
        found = await begin(
            parts, session, instruments, broker=broker, journal=journal, feed=feed  # type: ignore[arg-type]  # a tape
        )  # fmt: skip
        driver = PaperDriver(found.loop, broker, feed, Watching())  # type: ignore[arg-type]  # a tape
        driver.check(fresh=fresh)
        if level is not Level.NONE:
            driver.stand(level, "test")
        feed.next = int(np.searchsorted(market.bars.ts_us, found.last_row.ts_us[-1])) + 1
        for name in ("hear", "commit_step", "answer"):
            setattr(journal, name, deaths.before(getattr(journal, name)))
        stop = asyncio.Event()
        running = asyncio.create_task(driver.run(stop, found.open_requests))
        last_us = int(market.after.ts_us[-1])
        while not running.done() and found.loop.last_us < last_us:
            await asyncio.sleep(0.001)
        stop.set()
        await running
        return found.loop.ledger.state, broker


async def killed(
    folder: Path, market: Market, parts: Parts, deaths: Deaths
) -> tuple[FoldState, PaperBroker]:
    while True:
        deaths.draw()
        try:
            return await trade(folder, market, parts, deaths)
        except Killed:
            continue


def fills_of(folder: Path) -> list[tuple[str, str, int, str, str, bool]]:
    with open_journal(f"sqlite:///{folder / 'journal.sqlite'}", read_only=True) as journal:
        return [
            (e.symbol, e.client_id, int(e.side), e.qty, e.price, e.maker)
            for e in told(journal)
            if isinstance(e, Fill)
        ]


def told(journal: Journal) -> list[Any]:
    with journal.transaction() as connection:
        return [event for _, event in reading.events(connection)]


def backtest(market: Market, parts: Parts) -> tuple[FoldState, Events]:
    """Return what the backtest's two folds make of the same bars."""
    first = market.begin - warm_up(parts.signal, "1m")
    rows = market.bars.rows(first, market.begin + ROWS)
    targets = signals(rows, parts.signal).weight_array[market.begin - first :]
    plane = parts.plane(load_instruments(market.bars.symbols))
    start = dated(plane.start(), int(market.bars.ts_us[market.begin - 1]))
    return plane.advance(start, market.after, targets=targets)


def whole(folder: Path) -> None:
    with open_journal(f"sqlite:///{folder / 'journal.sqlite'}", read_only=True) as journal:
        checks = verify(journal, replayer_of)
    assert {check.name: check.differences[:2] for check in checks if check.differences} == {}


@pytest.mark.parametrize("seed", [None, pytest.param(1, marks=pytest.mark.slow)])
async def test_its_fills_are_the_backtests_wherever_it_was_ended(
    tmp_path: Path, market: Market, parts: Parts, seed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = Deaths(None if seed is None else np.random.default_rng(seed))
    monkeypatch.setattr("live.broker.paper.write_whole", deaths.before(write_whole))
    state, broker = await killed(tmp_path / "live", market, parts, deaths)
    assert (deaths.times > 5) == (seed is not None)
    expected, events = backtest(market, parts)
    np.testing.assert_array_equal(state["cash"], expected["cash"])
    np.testing.assert_array_equal(state["held"][:, at.LOTS], expected["held"][:, at.LOTS])
    np.testing.assert_array_equal(
        broker._account.held["cash"][at.WALLET], expected["cash"][at.WALLET]
    )
    whole_numbers, numbers = events.of(at.EVENT_FILL)
    made = [
        (market.bars.symbols[w[at.EVENT_SYMBOL]], f"paper-{w[at.EVENT_ORDER]}", abs(w[at.EVENT_LOTS]), n[at.B])
        for w, n in zip(whole_numbers, numbers, strict=True)
    ]  # fmt: skip
    steps = {i.symbol: float(i.step_size) for i in load_instruments(market.bars.symbols)}
    ours = [
        (symbol, client_id, round(float(qty) / steps[symbol]), float(price))
        for symbol, client_id, _, qty, price, _ in fills_of(tmp_path / "live")
    ]
    assert len(ours) > 20
    assert sorted(ours) == sorted(made)
    whole(tmp_path / "live")


async def test_a_frozen_account_opens_nothing_and_a_flattened_one_is_flat(
    tmp_path: Path, market: Market, parts: Parts
) -> None:
    state, broker = await trade(tmp_path / "a", market, parts, Deaths(None), Level.FREEZE)
    assert not state["held"][:, at.LOTS].any()
    assert fills_of(tmp_path / "a") == []
    before = begins(market.bars, market.begin - ROWS)
    state, _ = await trade(tmp_path / "b", before, parts, Deaths(None))
    assert state["held"][:, at.LOTS].any()
    after = begins(market.bars, market.begin)
    state, broker = await trade(tmp_path / "b", after, parts, Deaths(None), Level.FLATTEN)
    assert not state["held"][:, at.LOTS].any()
    assert broker.is_idle
    place = f"sqlite:///{tmp_path / 'b' / 'journal.sqlite'}"
    with open_journal(place, read_only=True) as journal, journal.transaction() as connection:
        notes = connection.execute(tables.notes.select()).all()
    assert [n.message for n in notes if n.kind == "intervention"] == [
        "flatten by test",
        "all own positions are closed",
    ]
    whole(tmp_path / "b")


async def test_an_account_and_a_journal_that_do_not_belong_together_are_refused(
    tmp_path: Path, market: Market, parts: Parts
) -> None:
    folder = tmp_path / "live"
    await trade(folder, market, parts, Deaths(None))
    assert market.now_us == market.after.ts_us[-1]
    (folder / "paper.state").rename(tmp_path / "kept")
    with pytest.raises(ConfigError, match="on which the journal goes on must be there"):
        await trade(folder, market, parts, Deaths(None))
    (tmp_path / "kept").rename(folder / "paper.state")
    for file in folder.glob("journal*"):
        file.unlink()
    with pytest.raises(ConfigError, match="a fresh journal must begin with"):
        await trade(folder, market, parts, Deaths(None))
