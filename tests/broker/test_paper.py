"""A paper account is the account of the backtest, bar by bar, to the last bit; and what it was survives it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from live.broker.interface import (
    Answer,
    Balance,
    BrokerEvent,
    Cancel,
    Fill,
    Income,
    Order,
    OrderChange,
    Outcome,
)
from live.broker.paper import PaperBroker, PaperSettings
from live.decimals import lots_of, price_text, qty_text
from live.simulator.wire import text
from quantcore.account_plane import Events
from quantcore.data.instruments import Instrument
from quantcore.errors import ConfigError, DataGap
from quantcore.execution.settings import RestingSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, _down, _nearest, _passive, order_script
from quantcore.timegrid import to_us
from quantcore.types import (
    FillReason,
    Liquidity,
    OrderStatus,
    OrderType,
    Rule,
    Side,
    TimeInForce,
    WorkingType,
)
from tests.account.random_cases import (
    Case,
    case_bars,
    case_instruments,
    case_plane,
    case_requests,
    case_settings,
)

FORCED = (FillReason.LIQUIDATION, FillReason.SETTLEMENT)
HINTS = [at.TIER, at.ASKED_LOTS]
CASES = st.builds(
    Case,
    seed=st.integers(0, 2**31 - 1),
    n_bars=st.sampled_from([30, 80]),
    leverage=st.sampled_from([1, 3, 5, 20]),
    isolated=st.booleans(),
    capital=st.sampled_from([1000.0, 3e4]),
    volatility=st.sampled_from([0.01, 0.003, 0.03]),
    crash=st.sampled_from([0.0, 0.0, 0.5]),
    marks=st.booleans(),
    holes=st.booleans(),
    ends=st.booleans(),
    funding=st.booleans(),
    missing_rate=st.sampled_from([0.0, 0.003]),
    small_maximum=st.booleans(),
    bracket_scale=st.sampled_from([1.0, 100.0]),
    resting=st.sampled_from([None, RestingSettings(queue_ahead=0.0, touch_share=1.0)]),
    orders=st.lists(st.integers(0, 2**31 - 1), min_size=5, max_size=60).map(tuple),
)


def broker_of(case: Case, *, path: Path | None = None) -> PaperBroker:
    return PaperBroker(
        PaperSettings.of(*case_settings(case)),
        case_instruments(case),
        interval=case.interval,
        path=path,
    )


def order_of(request: OrderRequest, number: int, instrument: Instrument) -> Order:
    """Return a request as the loop sends it."""
    trailing = request.type == OrderType.TRAILING_STOP_MARKET
    stop = None if trailing or request.stop_price is None else request.stop_price
    limit = request.price
    lots = _down(request.qty, instrument.step_size)
    return Order(
        client_id=f"c-{number}",
        symbol=request.symbol,
        side=request.side,
        type=request.type,
        qty=None if request.close_position else qty_text(instrument, lots),
        price=None if limit is None else price_text(
            instrument, _passive(limit, instrument.tick_size, request.side)
        ),
        stop_price=None if stop is None else price_text(
            instrument, _nearest(stop, instrument.tick_size)
        ),
        callback=f"{100.0 * (request.callback or 0.0):.1f}" if trailing else None,
        time_in_force=request.time_in_force,
        working_type=request.working_type,
        reduce_only=request.reduce_only,
        close_position=request.close_position,
    )  # fmt: skip


class Player:
    """Plays the requests of a case to a paper account bar by bar, and keeps those that it took."""

    def __init__(self, case: Case, *, path: Path | None = None) -> None:
        self.case = case
        self.bars = case_bars(case)
        self.instruments = case_instruments(case)
        self.broker = broker_of(case, path=path)
        self.taken: list[OrderRequest] = []
        self.place: dict[int, int] = {}
        """Where a request stands among those taken, by its number."""
        self.events: list[BrokerEvent] = []

    async def begin(self) -> None:
        await self.broker.start()
        for symbol in self.bars.symbols:
            assert (await self.broker.set_leverage(symbol, self.case.leverage)).outcome is (
                Outcome.ACCEPTED
            )
            answer = await self.broker.set_isolated(symbol, self.case.isolated)
            assert answer.outcome is Outcome.ACCEPTED

    async def play(self, requests: Sequence[OrderRequest], first: int, stop: int) -> None:
        for row in range(first, stop):
            await self.broker.show(self.bars.rows(row, row + 1))
            self.events += await self.broker.caught_up()
            for number, request in enumerate(requests):
                if to_us(request.ts) == int(self.bars.ts_us[row]):
                    await self.send(number, request)

    async def send(self, number: int, request: OrderRequest) -> None:
        if request.cancel is not None:
            await self.cancel(request)
            return
        unknown = request.type in (OrderType.MARKET, OrderType.TRAILING_STOP_MARKET)
        if request.close_position and unknown:
            return  # the exchange has no such order
        instrument = self.instruments[self.bars.symbols.index(request.symbol)]
        answer = await self.broker.send(order_of(request, number, instrument))
        if answer.outcome is Outcome.ACCEPTED:
            assert answer.order is not None
            assert answer.order.client_id == f"c-{number}"
            self.place[number] = len(self.taken)
            self.taken.append(request)
        else:
            assert answer.outcome is Outcome.REFUSED
            assert answer.code is not None

    async def cancel(self, request: OrderRequest) -> None:
        assert request.cancel is not None
        if request.cancel not in self.place:
            return
        first = self.taken[self.place[request.cancel]]
        conditional = first.type not in (OrderType.MARKET, OrderType.LIMIT)
        cancel = Cancel(
            client_id=f"c-{request.cancel}", symbol=first.symbol, conditional=conditional
        )
        if (await self.broker.cancel(cancel)).outcome is Outcome.ACCEPTED:
            self.taken.append(replace(request, cancel=self.place[request.cancel]))

    def backtest(self) -> tuple[FoldState, Events]:
        """Return what the account step makes of the requests that were taken, all bars at once."""
        plane = case_plane(self.case)
        script = order_script(self.taken, self.bars, self.instruments)
        return plane.advance(plane.start(), self.bars, script=script)

    def state(self) -> dict[str, Any]:
        return self.broker._account.held


def requests_of(case: Case, bars: Bars) -> list[OrderRequest]:
    # A close-position order ends with its position here, as on the exchange; the backtest's waits for another one.
    return [r for r in case_requests(case, bars) if not r.close_position]


def same_account(player: Player) -> None:
    """Assert that a paper account is the backtest's, to the last bit, and that its events told all fills."""
    state, events = player.backtest()
    held = player.state()
    for name in ("cash", "position"):
        np.testing.assert_array_equal(held[name], state[name], err_msg=name)
    ours, theirs = (np.delete(a["held"], HINTS, axis=1) for a in (held, state))
    np.testing.assert_array_equal(ours, theirs)
    fills = [event for event in player.events if isinstance(event, Fill)]
    whole, number = events.of(at.EVENT_FILL)
    assert len(fills) == len(whole)
    for fill, which, row in zip(fills, whole, number, strict=True):
        instrument = player.instruments[which[at.EVENT_SYMBOL]]
        assert fill.symbol == instrument.symbol
        assert lots_of(instrument, fill.qty) == which[at.EVENT_LOTS]
        # What the exchange closes has no price on the tick, but its text has: liquidations and settlements.
        forced = which[at.EVENT_REASON] in FORCED
        off = abs(float(fill.price) - row[at.B])
        assert off <= (0.5001 * float(instrument.tick_size) if forced else 0.0)
        assert (fill.fee, fill.realised) == (text(row[at.C], 8), text(row[at.F], 8))
        assert fill.maker == (which[at.EVENT_STATE] == Liquidity.MAKER)
        assert fill.time_us == which[at.TS]


@settings(
    max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(case=CASES)
def test_fills_and_books_are_those_of_the_backtest(case: Case) -> None:
    player = Player(case)

    async def play() -> None:
        await player.begin()
        await player.play(requests_of(case, player.bars), 0, player.bars.n_bars)

    asyncio.run(play())
    same_account(player)


@pytest.mark.parametrize("seed", range(3))
async def test_an_account_goes_on_from_its_file_as_if_nothing_had_happened(
    tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "paper" / "account"
    case = Case(
        seed=seed, n_bars=60, capital=3e4, isolated=seed == 1,
        orders=tuple(range(100 * seed, 100 * seed + 50)),
    )  # fmt: skip
    player = Player(case, path=path)
    requests = requests_of(case, player.bars)

    repeated = 0
    await player.begin()
    for row in range(0, 60, 7):
        await player.play(requests, row, min(row + 7, 60))
        player.broker = broker_of(case, path=path)  # the old one is left as after a sudden end
        await player.broker.start()
        await player.broker.show(player.bars.rows(row, row + 1))  # one that it has seen
        told = (
            await player.broker.caught_up()
        )  # of its last bar once more, and what came of the orders since
        again = [event for event in told if event in player.events]
        assert told[: len(again)] == again == player.events[len(player.events) - len(again) :]
        player.events += told[len(again) :]
        repeated += len(again)
    assert repeated > 3
    same_account(player)
    assert (path.stat().st_mode | path.parent.stat().st_mode) & 0o077 == 0
    assert sum(isinstance(event, Fill) for event in player.events) > 5


class Trader:
    """A paper account on a calm market of one bar after the other."""

    def __init__(self, **changes: Any) -> None:
        self.case = Case(**({"seed": 5, "n_bars": 40, "capital": 1e4} | changes))
        self.bars = case_bars(self.case)
        self.broker = broker_of(self.case)
        self.row = -1

    async def next(self, n_bars: int = 1) -> list[BrokerEvent]:
        for _ in range(n_bars):
            self.row += 1
            await self.broker.show(self.bars.rows(self.row, self.row + 1))
        return await self.broker.caught_up()

    def price(self) -> float:
        return float(self.bars.array("close")[self.row, 0])

    async def send(self, name: str, side: Side, kind: OrderType, **terms: Any) -> Answer:
        order = Order(client_id=name, symbol="AAAUSDT", side=side, type=kind, **terms)
        return await self.broker.send(order)


async def test_an_order_is_taken_at_once_and_meets_the_next_bar() -> None:
    trader = Trader()
    assert await trader.next() == []
    answer = await trader.send("a-1", Side.BUY, OrderType.MARKET, qty="2.0")
    assert answer.outcome is Outcome.ACCEPTED
    assert answer.order is not None
    assert answer.order.status is OrderStatus.NEW
    [taken] = await trader.broker.caught_up()
    assert isinstance(taken, OrderChange)
    assert await trader.broker.positions() == []
    fill, balance = await trader.next()
    assert isinstance(fill, Fill)
    assert (fill.client_id, fill.qty, fill.side) == ("a-1", "2.0", Side.BUY)
    assert isinstance(balance, Balance)
    [position] = await trader.broker.positions()
    assert (position.symbol, position.qty) == ("AAAUSDT", "2.0")
    account = await trader.broker.account()
    assert account.wallet == balance.wallet
    assert float(account.wallet) == pytest.approx(1e4 - float(fill.fee), abs=1e-8)
    assert account.can_trade
    assert account.can_withdraw is None
    again = replace(fill, order_status=None)
    assert await trader.broker.fills_since("AAAUSDT", fill.time_us) == [again]
    assert await trader.broker.fills_since("AAAUSDT", fill.time_us + 1) == []
    cancel = Cancel(client_id="a-1", symbol="AAAUSDT", conditional=False)
    report = await trader.broker.query(cancel)
    assert report is not None
    assert (report.status, report.filled) == (OrderStatus.FILLED, "2.0")


async def test_a_protective_stop_is_seen_asked_for_and_cancelled() -> None:
    trader = Trader(volatility=0.001)
    await trader.next()
    await trader.send("a-1", Side.BUY, OrderType.MARKET, qty="2.0")
    await trader.next()
    stop = {"stop_price": f"{0.5 * trader.price():.1f}", "close_position": True}
    kept = {"working_type": WorkingType.MARK_PRICE, **stop}
    answer = await trader.send("a-2", Side.SELL, OrderType.STOP_MARKET, **kept)
    assert answer.outcome is Outcome.ACCEPTED
    [order] = await trader.broker.open_orders()
    assert order.client_id == "a-2"
    assert order.conditional
    assert order.close_position
    low = f"{0.96 * trader.price():.1f}"
    await trader.send("a-3", Side.BUY, OrderType.LIMIT, qty="1.0", price=low)
    assert len(await trader.broker.open_orders()) == 2
    await trader.broker.countdown("AAAUSDT", 1)
    ended = [event for event in await trader.next() if isinstance(event, OrderChange)]
    assert [event.order.client_id for event in ended[-1:]] == ["a-3"]
    assert await trader.broker.open_orders() == [order]  # the dead man's switch spares it
    cancel = Cancel(client_id="a-2", symbol="AAAUSDT", conditional=True)
    assert (await trader.broker.cancel(cancel)).outcome is Outcome.ACCEPTED
    assert await trader.broker.open_orders() == []
    again = await trader.broker.cancel(cancel)
    assert (again.outcome, again.code) == (Outcome.REFUSED, -2011)
    report = await trader.broker.query(cancel)
    assert report is not None
    assert report.status is OrderStatus.CANCELED
    assert await trader.broker.query(replace(cancel, client_id="a-9")) is None


async def test_a_stop_that_triggers_fills_under_its_own_client_id() -> None:
    trader = Trader(seed=8, crash=0.6, volatility=0.03)
    await trader.next()
    await trader.send("a-1", Side.BUY, OrderType.MARKET, qty="2.0")
    await trader.next()
    stop = f"{0.99 * trader.price():.1f}"
    await trader.send("a-2", Side.SELL, OrderType.STOP_MARKET, stop_price=stop, close_position=True)
    fills: list[Fill] = []
    while not fills:
        fills = [event for event in await trader.next() if isinstance(event, Fill)]
    assert [fill.client_id for fill in fills] == ["a-2"]
    told = await trader.broker.fills_since("AAAUSDT", fills[0].time_us)
    assert told == [replace(fills[0], order_status=None)]
    report = await trader.broker.query(Cancel(client_id="a-2", symbol="AAAUSDT", conditional=True))
    assert report is not None
    assert (report.status, report.filled) == (OrderStatus.FILLED, "2.0")


async def test_what_the_exchange_would_refuse_is_refused_with_its_rule() -> None:
    trader = Trader()
    early = await trader.send("a-0", Side.BUY, OrderType.MARKET, qty="2.0")
    assert (early.outcome, early.rule) == (Outcome.REFUSED, Rule.NO_PRICE)
    await trader.next()
    small = await trader.send("a-1", Side.BUY, OrderType.MARKET, qty="0.1", reduce_only=True)
    assert (small.code, small.rule) == (-2022, Rule.REDUCE_ONLY)
    await trader.send("a-2", Side.BUY, OrderType.LIMIT, qty="1.0", price="98.0")
    twice = await trader.send("a-2", Side.BUY, OrderType.LIMIT, qty="1.0", price="98.0")
    assert (twice.outcome, twice.code) == (Outcome.UNKNOWN, -4116)  # as the broker reads it
    through = f"{1.04 * trader.price():.1f}"
    gtx = {"qty": "1.0", "price": through, "time_in_force": TimeInForce.GTX}
    assert (await trader.send("a-3", Side.BUY, OrderType.LIMIT, **gtx)).outcome is (
        Outcome.ACCEPTED
    )
    ends = [event for event in await trader.next() if isinstance(event, OrderChange)]
    ended = [
        e for e in ends if e.order.client_id == "a-3" and e.order.status is not OrderStatus.NEW
    ]
    assert [change.order.status for change in ended] == [OrderStatus.EXPIRED]


async def test_funding_is_told_and_listed() -> None:
    trader = Trader(capital=1e5)
    await trader.next()
    await trader.send("a-1", Side.BUY, OrderType.MARKET, qty="10.0")
    told = await trader.next(30)
    paid = [event for event in told if isinstance(event, Balance) and event.kind == "FUNDING_FEE"]
    incomes = await trader.broker.incomes_since(0)
    assert paid
    assert {income.kind for income in incomes} == {"FUNDING_FEE"}
    assert len({income.income_id for income in incomes}) == len(incomes)
    total = sum(float(event.change) for event in paid)
    assert total == pytest.approx(sum(float(income.amount) for income in incomes), abs=1e-7)
    late: list[Income] = await trader.broker.incomes_since(incomes[-1].time_us + 1)
    assert late == []


async def test_a_missing_row_is_refused_while_something_is_at_stake() -> None:
    trader = Trader()
    await trader.next()
    trader.row += 5
    await trader.next()  # nothing is held
    await trader.send("a-1", Side.BUY, OrderType.MARKET, qty="2.0")
    trader.row += 1
    with pytest.raises(DataGap, match="must follow the last one"):
        await trader.next()


async def test_a_state_of_another_account_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "account"
    await broker_of(Case(), path=path).start()
    with pytest.raises(ConfigError, match="settings"):
        broker_of(Case(costs_bps=6.0), path=path)
    with pytest.raises(ConfigError, match="interval"):
        broker_of(Case(interval="4h"), path=path)


async def test_a_state_that_is_damaged_or_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "account"
    await broker_of(Case(), path=path).start()
    path.chmod(0o660)
    with pytest.raises(ConfigError, match="must be writable by its owner alone, has mode 660"):
        broker_of(Case(), path=path)
    path.chmod(0o600)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no state", whole[10:]):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="must be whole"):
            broker_of(Case(), path=path)


async def test_rules_that_changed_while_it_was_away_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "account"
    case = Case()
    await broker_of(case, path=path).start()
    first, *others = case_instruments(case)
    changed = (replace(first, min_notional=77.0), *others)
    settings = PaperSettings.of(*case_settings(case))
    broker = PaperBroker(settings, changed, interval=case.interval, path=path)
    assert broker._account.rules.rate[0, at.MIN_NOTIONAL] == 77.0
    [told] = await broker.instruments(["AAAUSDT"])
    assert told.min_notional == 77.0


async def test_history_is_forgotten_after_a_month() -> None:
    trader = Trader(interval="1d", n_bars=80, capital=1e5, funding=False)
    await trader.next()
    await trader.send("a-1", Side.BUY, OrderType.MARKET, qty="2.0")
    await trader.next(30)
    assert len(await trader.broker.fills_since("AAAUSDT", 0)) == 1
    await trader.next(5)
    assert await trader.broker.fills_since("AAAUSDT", 0) == []
    assert await trader.broker.query(
        Cancel(client_id="a-1", symbol="AAAUSDT", conditional=False)
    ) is None  # fmt: skip
    assert [p.qty for p in await trader.broker.positions()] == ["2.0"]
