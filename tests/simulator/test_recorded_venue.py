"""Orders against a recorded market: takers meet its book, and what rests fills by what was traded, in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live.simulator.bar_tape import BarTape
from live.simulator.engine import VenueSettings
from live.simulator.recorded_tape import RecordedTape, recorded_tape
from live.simulator.recordings import read_recording
from live.simulator.server import market_of
from live.simulator.venue import Venue
from live.simulator.wire import Refused
from quantcore.errors import ConfigError
from quantcore.kernels import layout as at
from tests.simulator.recording_made import START_MS, START_US, SYMBOL, Lines, snapshot
from tests.simulator.test_server import settings

CAPITAL = 100_000.0


def market() -> Lines:
    """Return a market whose book stands at 99.9 (4 coins, 2 more at 99.8) and 100.1 (3 coins, 5 more at 100.2)."""
    return Lines().trade(0, "100.0", "0.1")


def with_book(folder: Path, lines: Lines) -> Path:
    snapshot(
        folder, 0, 9_000, [("99.9", "4"), ("99.8", "2")], [("100.1", "3"), ("100.2", "5"), ("100.3", "9")]
    )  # fmt: skip
    lines.trade(300_000, "100.0", "0.1")
    lines.write(folder / "a.jsonl")
    return folder


class Trader:
    """One account on a recording."""

    def __init__(self, folder: Path, lines: Lines, *, accounts: int = 1) -> None:
        self.tape = recorded_tape(read_recording(with_book(folder, lines)))
        self.venue = Venue(self.tape, VenueSettings())
        self.accounts = [self.venue.open_account(f"k{n}", "s", CAPITAL) for n in range(accounts)]
        self.account = self.accounts[0]
        self.wait_until(50)

    def wait_until(self, ms: int) -> None:
        self.venue.advance(START_US + 1000 * ms)

    def order(
        self, side: str, qty: str, price: str | None = None, *, n: int = 0, **more: Any
    ) -> Any:
        kind = (
            {"type": "MARKET"}
            if price is None
            else {"type": "LIMIT", "price": price, "timeInForce": "GTC"}
        )
        params = {"symbol": SYMBOL, "side": side, "quantity": qty, **kind, **more}
        return self.venue.handle(
            self.accounts[n], "POST /fapi/v1/order", {k: str(v) for k, v in params.items()}
        )

    def state(self, sent: Any, *, n: int = 0) -> tuple[str, str]:
        order = self.accounts[n].orders[sent["orderId"]]
        return order.status, order.terms.lots_text(order.done)

    def told(self) -> list[tuple[str, str, str]]:
        updates = [e["o"] for _, e in self.venue.drain() if e["e"] == "ORDER_TRADE_UPDATE"]
        return [(o["x"], o["X"], o["l"]) for o in updates]

    def check_money(self) -> None:
        for books in self.venue.ledger()["accounts"]:
            assert abs(books["missing"]) < 1e-6


def test_a_taker_meets_the_recorded_book_level_by_level(tmp_path: Path) -> None:
    t = Trader(tmp_path, market())
    t.order("BUY", "4.5")
    assert [(x.price, x.lots, x.maker) for x in t.account.trades] == [
        (100.1, 30, False),
        (100.2, 15, False),
    ]
    sent = t.order("SELL", "9", newOrderRespType="RESULT")
    assert (sent["status"], sent["executedQty"]) == ("EXPIRED", "6.0")  # the book holds no more
    t.check_money()


def test_what_rests_waits_for_its_queue_and_then_fills_in_parts(tmp_path: Path) -> None:
    lines = market()
    lines.trade(1_000, "99.9", "3", sold=True)  # of the 4 that stood there first
    lines.trade(2_000, "99.9", "1.5", sold=True)
    lines.trade(3_000, "99.9", "2", sold=True).trade(4_000, "99.9", "9", sold=True)
    t = Trader(tmp_path, lines)
    sent = t.order("BUY", "4", "99.9")
    expected = (
        (1_000, "NEW", "0.0"),
        (2_000, "PARTIALLY_FILLED", "0.5"),
        (3_000, "PARTIALLY_FILLED", "2.5"),
        (4_000, "FILLED", "4.0"),
    )
    for ms, status, done in expected:
        t.wait_until(ms - 1)
        t.wait_until(ms)
        assert t.state(sent) == (status, done)
    assert t.told() == [
        ("NEW", "NEW", "0.0"), ("TRADE", "PARTIALLY_FILLED", "0.5"), ("TRADE", "PARTIALLY_FILLED", "2.0"),
        ("TRADE", "FILLED", "1.5"),
    ]  # fmt: skip
    assert {(x.price, x.maker) for x in t.account.trades} == {(99.9, True)}
    t.check_money()


def test_one_step_of_the_clock_over_all_prints_fills_the_same_at_the_same_times(
    tmp_path: Path,
) -> None:
    lines = market().trade(1_000, "99.9", "4.5", sold=True).trade(2_000, "99.9", "2", sold=True)
    t = Trader(tmp_path, lines)
    t.order("BUY", "9", "99.9")
    t.wait_until(250_000)
    assert [(x.time_us, x.lots) for x in t.account.trades] == [
        (START_US + 1_000_000, 5),
        (START_US + 2_000_000, 20),
    ]
    assert t.venue.now_us == START_US + 250_000_000


def test_a_print_through_the_price_fills_up_to_its_quantity_without_the_queue(
    tmp_path: Path,
) -> None:
    lines = market().trade(1_000, "99.7", "1.2", sold=True).trade(2_000, "99.9", "1", sold=True)
    t = Trader(tmp_path, lines)
    sent = t.order("BUY", "2", "99.9")
    t.wait_until(1_500)
    assert t.state(sent) == ("PARTIALLY_FILLED", "1.2")
    assert t.account.trades[0].price == 99.9
    t.wait_until(2_500)  # what stood before it has traded through
    assert t.state(sent) == ("FILLED", "2.0")


def test_sells_rest_alike(tmp_path: Path) -> None:
    lines = (
        market()
        .trade(1_000, "100.1", "3.5")
        .trade(2_000, "100.2", "0.2")
        .trade(3_000, "100.0", "9", sold=True)
    )
    t = Trader(tmp_path, lines)
    sent = t.order("SELL", "1", "100.1")
    t.wait_until(1_500)
    assert t.state(sent) == ("PARTIALLY_FILLED", "0.5")
    t.wait_until(3_500)
    assert t.state(sent) == ("PARTIALLY_FILLED", "0.7")


def test_a_taker_of_the_own_side_at_the_price_shows_that_the_queue_is_gone(tmp_path: Path) -> None:
    lines = market().trade(1_000, "99.9", "0.3").trade(2_000, "99.9", "0.4", sold=True)
    t = Trader(tmp_path, lines)
    sent = t.order("BUY", "2", "99.9")
    t.wait_until(1_500)
    assert t.state(sent) == ("PARTIALLY_FILLED", "0.3")
    t.wait_until(2_500)
    assert t.state(sent) == ("PARTIALLY_FILLED", "0.7")


def test_only_prints_after_the_order_fill_it_and_a_changed_order_queues_again(
    tmp_path: Path,
) -> None:
    lines = market().trade(1_000, "99.9", "3.9", sold=True).trade(2_000, "99.9", "1", sold=True)
    lines.trade(3_000, "99.9", "4.1", sold=True)
    t = Trader(tmp_path, lines)
    t.wait_until(1_000)
    late = t.order("BUY", "2", "99.9")
    t.wait_until(2_500)
    assert t.state(late) == ("NEW", "0.0")
    t.venue.handle(
        t.account, "PUT /fapi/v1/order",
        {"symbol": SYMBOL, "orderId": str(late["orderId"]), "side": "BUY", "quantity": "3", "price": "99.9"},
    )  # fmt: skip
    t.wait_until(3_500)
    assert t.state(late) == ("PARTIALLY_FILLED", "0.1")


def test_a_print_is_given_once_to_the_better_price_and_then_to_the_older_order(
    tmp_path: Path,
) -> None:
    t = Trader(tmp_path, market().trade(1_000, "99.5", "3", sold=True), accounts=2)
    worse = t.order("BUY", "2", "99.8")
    older = t.order("BUY", "1", "99.9", n=1)
    newer = t.order("BUY", "1.5", "99.9")
    t.wait_until(1_500)
    assert t.state(older, n=1) == ("FILLED", "1.0")
    assert t.state(newer) == ("FILLED", "1.5")
    assert t.state(worse) == ("PARTIALLY_FILLED", "0.5")
    t.check_money()


def test_the_path_alone_fills_nothing_that_rests_but_triggers_stops(tmp_path: Path) -> None:
    lines = market().trade(1_000, "99.0", "0.1", sold=True).trade(2_000, "98.0", "0.1", sold=True)
    t = Trader(tmp_path, lines)
    t.order("BUY", "1")
    resting = t.order("BUY", "2", "99.5")
    stop = {
        "symbol": SYMBOL, "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL", "triggerPrice": "98.5",
        "closePosition": "true",
    }  # fmt: skip
    t.venue.handle(t.account, "POST /fapi/v1/algoOrder", stop)
    t.wait_until(1_500)
    assert t.state(resting) == ("PARTIALLY_FILLED", "0.1")
    assert t.account.lots(0) == 11
    t.wait_until(2_500)
    assert t.account.lots(0) == 0
    assert t.state(resting) == ("PARTIALLY_FILLED", "0.2")
    table = t.account.held["ticket"][: t.account.held["counter"][at.OPEN_ORDERS]]
    assert t.account.held["order"][: len(table), at.LIMIT_PRICE].tolist() == [99.5]
    t.check_money()


def test_reduce_only_limits_fill_no_more_than_is_held(tmp_path: Path) -> None:
    t = Trader(tmp_path, market().trade(1_000, "100.6", "9"))
    t.order("BUY", "1")
    reducing = t.order("SELL", "1", "100.5", reduceOnly="true")
    t.order("SELL", "0.6")
    t.wait_until(1_500)
    assert t.state(reducing) == ("FILLED", "0.4")
    assert t.account.lots(0) == 0


def test_an_isolated_fill_without_margin_ends_the_order_and_says_so(tmp_path: Path) -> None:
    t = Trader(tmp_path, market().trade(1_000, "99.0", "5", sold=True))
    t.venue.handle(
        t.account, "POST /fapi/v1/marginType", {"symbol": SYMBOL, "marginType": "ISOLATED"}
    )
    sent = t.order("BUY", "5", "99.5")
    t.account.held["cash"][at.WALLET] = 0.01
    t.wait_until(1_500)
    assert t.state(sent) == ("EXPIRED", "0.0")
    assert t.told()[-1] == ("EXPIRED", "EXPIRED", "0.0")


def test_a_queue_outlives_a_snapshot_of_the_venue(tmp_path: Path) -> None:
    lines = market().trade(1_000, "99.9", "3", sold=True).trade(2_000, "99.9", "1.5", sold=True)
    t = Trader(tmp_path, lines)
    sent = t.order("BUY", "2", "99.9")
    t.wait_until(1_500)
    other = Venue(t.tape, VenueSettings())
    other.restore(t.venue.snapshot())
    other.advance(START_US + 2_500_000)
    assert other.accounts["k0"].orders[sent["orderId"]].done == 5


def test_funding_is_paid_as_recorded(tmp_path: Path) -> None:
    lines = market().mark(100, "100.0", "0.001", START_MS + 5_000)
    t = Trader(tmp_path, lines)
    t.order("BUY", "1")
    t.wait_until(5_100)
    paid = [x.amount for x in t.account.incomes if x.kind == "FUNDING_FEE"]
    assert paid == pytest.approx([-0.1])


def test_the_market_stands_still_when_the_recording_ends(tmp_path: Path) -> None:
    t = Trader(tmp_path, market())
    t.wait_until(10**9)
    assert t.venue.ended
    assert t.venue.now_us == t.tape.end_us - 1
    book = t.tape.book(0, t.venue.now_us, 5)
    t.wait_until(2 * 10**9)
    assert t.tape.book(0, t.venue.now_us, 5) == book
    t.order("BUY", "1")
    assert t.account.lots(0) == 10


def test_lock_step_goes_by_the_bars_of_the_whole_minutes(tmp_path: Path) -> None:
    lines = market()
    for k in range(1, 300):
        lines.trade(1_000 * k, f"{100 + 3 * np.sin(k):.1f}", "1", sold=k % 2 == 0)
    data = read_recording(with_book(tmp_path, lines))
    tape = market_of(data, settings(clock="lock_step"), 1.0)
    assert isinstance(tape, BarTape)
    assert tape.bars.n_bars == 5
    assert tape.instruments[0].tick_size == "0.1"
    assert tape.first_us == START_US + 2 * 60_000_000
    venue = Venue(tape, VenueSettings(lock_step=True))
    account = venue.open_account("k", "s", CAPITAL)
    order = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "1"}
    venue.handle(account, "POST /fapi/v1/order", order)
    venue.advance(tape.end_us)
    assert account.lots(0) == 10
    start = settings(clock="lock_step", start="2023-11-14T22:17")
    assert market_of(data, start, 1.0).first_us == START_US + 3 * 60_000_000


def test_real_time_starts_where_it_is_told(tmp_path: Path) -> None:
    data = read_recording(with_book(tmp_path, market()))
    tape = market_of(data, settings(), 1.0)
    assert isinstance(tape, RecordedTape)
    assert tape.first_us == START_US
    later = market_of(data, settings(start="2023-11-14T22:14:30"), 1.0)
    assert later.first_us == START_US + 30_000_000
    with pytest.raises(ConfigError, match="start must lie within the recording"):
        market_of(data, settings(start="2023-11-14T22:13"), 1.0)


def test_an_order_on_an_unknown_symbol_is_refused_as_ever(tmp_path: Path) -> None:
    t = Trader(tmp_path, market())
    with pytest.raises(Refused):
        t.venue.handle(
            t.account,
            "POST /fapi/v1/order",
            {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"},
        )
