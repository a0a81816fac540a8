"""A recorded market shows its own prints, book, marks and funding, at their times and not before."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live.simulator import public
from live.simulator.book import ASK, BID
from live.simulator.candles import Candle, candles, opens, rolling
from live.simulator.market import FUNDING_RATE
from live.simulator.quotes import quotes
from live.simulator.recorded_bars import whole_bars
from live.simulator.recorded_data import RecordedData
from live.simulator.recorded_tape import RecordedTape, recorded_tape
from live.simulator.recordings import read_recording
from quantcore.errors import ConfigError, DataGap
from quantcore.frames import check_bars
from quantcore.timegrid import DAY_US, HOUR_US, MINUTE_US
from tests.simulator.messages_due import messages
from tests.simulator.recording_made import START_MS, START_US, SYMBOL, Lines, snapshot

SECOND_MS = 1000


def tape_of(folder: Path, lines: Lines, **settings: Any) -> RecordedTape:
    lines.write(folder / "a.jsonl")
    return recorded_tape(read_recording(folder), **settings)


def us(ms: int) -> int:
    return START_US + 1000 * ms


def traded() -> Lines:
    """Return two minutes of prints that begin 20 s before a minute, and a third that is cut."""
    lines = Lines().touch(-20_000, ("99.5", "2"), ("100.5", "3"))
    lines.trade(-5_000, "100.5", "9", n=2)
    lines.trade(1_000, "100.0", "1", n=3).trade(2_000, "101.0", "2").trade(
        30_000, "98.5", "0.5", sold=True
    )
    lines.trade(59_999, "99.0", "1", sold=True)
    return lines.trade(125_000, "97.0", "4")


def test_prints_are_the_recorded_ones(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, traded())
    found = tape.trades(0, us(0), us(30_000))
    assert [(t.id, t.time_us, t.price, t.lots, t.buyer_is_maker, t.first_id, t.last_id) for t in found] == [
        (71, us(1_000), 100.0, 10, False, 502, 504),
        (72, us(2_000), 101.0, 20, False, 505, 505),
        (73, us(30_000), 98.5, 5, True, 506, 506),
    ]  # fmt: skip
    assert tape.trades(0, us(1_000), us(1_999)) == []
    assert tape.trades(0, us(999), us(1_000)) == found[:1]
    assert [t.id for t in tape.trades_after(0, us(0), us(60_000), 2)] == [71, 72]
    assert [t.id for t in tape.trades_from(0, 72, us(30_000), 9)] == [72, 73]
    assert [t.id for t in tape.last_trades(0, us(60_000), 2, back_us=DAY_US)] == [73, 74]
    assert [t.id for t in tape.last_trades(0, us(60_000), 9, back_us=40_000_000)] == [73, 74]
    told = public.answer(
        "GET /fapi/v1/aggTrades", tape, us(1_500), {"symbol": SYMBOL, "fromId": "71"}
    )
    assert told == [
        {"a": 71, "p": "100.0", "q": "1.0", "f": 502, "l": 504, "T": START_MS + 1000, "m": False}
    ]
    (sent,) = messages(tape, "newusdt@aggTrade", us(1_000), us(2_000))
    assert {name: sent[name] for name in "apqflTm"} == {
        "a": 72, "p": "101.0", "q": "2.0", "f": 505, "l": 505, "T": START_MS + 2000, "m": False,
    }  # fmt: skip


def test_the_last_price_is_the_last_print_and_before_it_the_first_touchs_middle(
    tmp_path: Path,
) -> None:
    tape = tape_of(tmp_path, traded())
    assert tape.last(0, us(-20_000)) == 100.0
    assert tape.last(0, us(-5_001)) == 100.0
    assert tape.last(0, us(-5_000)) == 100.5
    assert tape.last(0, us(1_999)) == 100.0
    assert tape.last(0, tape.end_us + DAY_US) == 97.0
    np.testing.assert_array_equal(tape.price(us(2_000)), [101.0])
    np.testing.assert_array_equal(tape.mark(us(2_000)), [101.0])
    bare = tape_of(tmp_path, Lines().mark(-9, "7.5", "0", START_MS).trade(0, "8.0", "1"))
    assert bare.last(0, us(-9)) == 8.0


def test_a_stretch_of_path_holds_what_stood_at_its_begin(tmp_path: Path) -> None:
    lines = (
        traded().mark(0, "100.25", "0", 1).mark(20_000, "99.75", "0", 1).mark(130_000, "90", "0", 1)
    )
    swept = tape_of(tmp_path, lines).swept(us(1_500), us(30_000))
    assert [float(part[0]) for part in swept] == [
        100.0,
        101.0,
        98.5,
        98.5,
        100.25,
        100.25,
        99.75,
        99.75,
    ]
    still = tape_of(tmp_path, lines).swept(us(2_000), us(29_999))
    assert [float(part[0]) for part in still[:4]] == [101.0] * 4


def minute(tape: RecordedTape, k: int, now_ms: int) -> Candle | None:
    bounds = np.array([us(60_000 * k), us(60_000 * (k + 1))])
    found = candles(tape, 0, bounds, us(now_ms))
    return found[0] if found else None


def test_candles_are_made_of_prints_from_the_first_whole_minute_on(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, traded())
    assert minute(tape, -1, 200_000) is None
    assert minute(tape, 0, 200_000) == Candle(
        us(0), us(60_000), 100.0, 101.0, 98.5, 99.0, 4.5, 450.25, 6, 3.0, 302.0, 502, 507
    )
    assert minute(tape, 0, 1_999) == Candle(
        us(0), us(60_000), 100.0, 100.0, 100.0, 100.0, 1.0, 100.0, 3, 1.0, 100.0, 502, 504
    )
    # Nothing traded in the second minute: the price stands, and no id lies in it.
    assert minute(tape, 1, 200_000) == Candle(
        us(60_000), us(120_000), 99.0, 99.0, 99.0, 99.0, 0.0, 0.0, 0, 0.0, 0.0, 508, 507
    )
    day = rolling(tape, 0, us(30_000), DAY_US)
    assert day is not None
    assert (day.open, day.high, day.low, day.volume, day.trades) == (100.5, 101.0, 98.5, 12.5, 7)
    assert (
        public.answer("GET /fapi/v1/ticker/24hr", tape, us(-4_000), {"symbol": SYMBOL})["count"]
        == 2
    )


def test_bars_are_of_whole_minutes_and_lack_those_with_missing_prints(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, traded())
    data = whole_bars(tape.bars, tape.notes)
    assert data.bars.ts_us.tolist() == [us(60_000), us(120_000)]
    assert {n: data.bars.array(n)[:, 0].tolist() for n in ("open", "high", "low", "close", "volume", "trades")} == {
        "open": [100.0, 99.0], "high": [101.0, 99.0], "low": [98.5, 99.0], "close": [99.0, 99.0],
        "volume": [4.5, 0.0], "trades": [6.0, 0.0],
    }  # fmt: skip
    check_bars(data.bars)
    lines = traded()
    gap = json.loads(lines.lines[-1])
    gap["message"]["data"]["a"] += 3
    lines.lines[-1] = json.dumps(gap)
    torn = tape_of(tmp_path, lines)
    assert torn.notes == ("NEWUSDT: 3 prints are missing by their ids",)
    with pytest.raises(
        DataGap, match=r"must hold a whole minute to be replayed by bars, held only parts of 4"
    ):
        whole_bars(torn.bars, torn.notes)  # they are missing after the first minute's last print
    assert RecordedData(path=str(tmp_path / "a.jsonl")).recording().notes == ()


def test_settings_load_bars_for_other_commands(tmp_path: Path) -> None:
    traded().add("newusdt@kline_1m", {"e": "kline"}).write(tmp_path / "a.jsonl")
    data = RecordedData(path=str(tmp_path)).load()
    assert (data.interval, data.bars.n_bars) == ("1m", 2)
    assert data.notes == ("1 lines are not read: kline",)
    with pytest.raises(ConfigError, match=r"data.path must name a file or folder, was empty"):
        RecordedData(path="")


def test_funding_is_what_the_marks_announce(tmp_path: Path) -> None:
    due_ms = START_MS + 60_000
    later_ms = due_ms + 8 * 3_600_000
    lines = traded().mark(0, "100.25", "0.0001", due_ms).mark(59_000, "100.5", "0.0003", due_ms)
    tape = tape_of(tmp_path, lines.mark(60_500, "99.5", "0.0002", later_ms))
    assert tape.next_funding(0, us(-1)) == (
        us(-1) // (8 * HOUR_US) * 8 * HOUR_US + 8 * HOUR_US,
        FUNDING_RATE,
    )
    assert tape.next_funding(0, us(1_000)) == (1000 * due_ms, 0.0001)
    assert tape.next_funding(0, us(59_000)) == (1000 * due_ms, 0.0003)
    assert tape.next_funding(0, us(60_500)) == (1000 * later_ms, 0.0002)
    assert tape.settlements(us(0), us(59_999)) == []
    assert tape.settlements(us(0), us(200_000)) == [(1000 * due_ms, 0, 0.0003, 100.5)]
    assert tape.last_mark(0, us(-10_000)) == 100.25
    assert tape.last_mark(0, us(59_001)) == 100.5
    (mark,) = messages(tape, "newusdt@markPrice@1s", us(58_000), us(59_999))
    assert (mark["p"], mark["r"], mark["T"]) == ("100.50000000", "0.00030000", due_ms)
    bars = whole_bars(tape.bars, tape.notes).bars
    assert bars.array("mark_open")[:, 0].tolist() == [100.25, 100.5]
    assert bars.array("mark_price")[:, 0].tolist() == [100.5, 99.5]
    assert bars.settlements.rate.tolist() == [0.0003]


def test_the_book_moves_in_steps_and_streams_chain_from_a_snapshot_of_any_time(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    lines = Lines().trade(0, "100.0", "1")
    snapshot(
        tmp_path,
        0,
        lines.depth_id,
        [("99.9", "1"), ("99.5", "2")],
        [("100.1", "4"), ("100.5", "1")],
    )
    for k in range(1, 60):
        bid = f"{99.9 - 0.1 * rng.integers(6):.1f}"
        ask = f"{100.1 + 0.1 * rng.integers(6):.1f}"
        sizes = [str(lots / 2) for lots in rng.integers(3, size=2)]
        lines.depth(37 * k, [(bid, sizes[0])], [(ask, sizes[1])])
    tape = tape_of(tmp_path, lines.trade(3_000, "100.0", "1"))
    assert tape.book(0, us(199), 9) == tape.book(0, us(100), 9)
    for taken_ms in (130, 700, 1_477):
        sides = {
            side: dict(levels.tolist())
            for side, levels in zip((BID, ASK), tape.ladders(0, us(taken_ms), 1000), strict=True)
        }
        last_id = quotes(tape, 0).snapshot_id(us(taken_ms))
        for sent in messages(tape, "newusdt@depth@100ms", us(0), us(2_400)):
            if sent["u"] < last_id:
                continue
            for side, letter in ((BID, "b"), (ASK, "a")):
                for price, qty in sent[letter]:
                    ticks, lots = round(float(price) * 10), round(float(qty) * 10)
                    sides[side].pop(ticks, None)
                    if lots:
                        sides[side][ticks] = lots
        for side, levels in zip((BID, ASK), tape.ladders(0, us(2_400), 1000), strict=True):
            assert sides[side] == dict(levels.tolist())


def test_where_no_book_is_known_one_is_made_up_around_the_last_price(tmp_path: Path) -> None:
    tape = tape_of(
        tmp_path, Lines().trade(0, "100.0", "1").trade(60_000, "90.1", "1"), half_spread_bps=20.0
    )
    bids, asks, _ = tape.book(0, us(500), 5)
    assert (bids[0][0], asks[0][0]) == (998, 1002)
    assert len(bids) == len(asks) == 5
    assert tape.book(0, us(60_000), 1).bids[0][0] == 899
    later = tape_of(
        tmp_path, Lines().trade(0, "100.0", "1").touch(1_000, ("99.1", "2"), ("101.0", "2"))
    )
    assert later.book(0, us(999), 1).bids[0][0] == 999
    assert later.book(0, us(1_000), 9)[:2] == (((991, 2),), ((1010, 2),))


def test_rules_are_the_known_ones_where_what_was_recorded_fits_them(tmp_path: Path) -> None:
    def rules(price: str, qty: str) -> tuple[str, str, bool]:
        lines = Lines().trade(0, price, qty, symbol="BTCUSDT")
        found = tape_of(tmp_path, lines).instruments[0]
        return found.tick_size, found.step_size, found.defaulted

    assert rules("42000.10", "0.015") == ("0.1", "0.001", False)
    assert rules("42000.13", "0.015") == ("0.01", "0.001", False)
    assert rules("42000.10", "0.0155") == ("0.1", "0.0001", False)
    found = tape_of(tmp_path, Lines().trade(0, "3.1250", "7")).instruments[0]
    assert (found.tick_size, found.step_size, found.min_qty, found.defaulted) == (
        "0.001",
        "1",
        "1",
        True,
    )
    with pytest.raises(
        DataGap, match="NEWUSDT: prices and quantities must have at most 8 decimals"
    ):
        tape_of(tmp_path, Lines().trade(0, "3.123456789", "7"))
    with pytest.raises(
        DataGap, match=r"NEWUSDT: prices and quantities must be finite and >= 0, was -1.0"
    ):
        tape_of(tmp_path, Lines().trade(0, "3.1", "-1"))


def test_symbols_without_a_price_are_left_out_and_the_start_lies_within(tmp_path: Path) -> None:
    lines = traded().depth(0, [("1.0", "1")], symbol="AUSDT")
    tape = tape_of(tmp_path, lines, start_us=us(3_000))
    assert (tape.symbols, tape.notes) == (
        (SYMBOL,),
        ("left out, without prints and bookTicker: AUSDT",),
    )
    assert (tape.history_us, tape.first_us, tape.end_us) == (us(-20_000), us(3_000), us(125_001))
    with pytest.raises(
        ConfigError, match=r"start must lie within the recording, from 2023-11-14 .*, was 2023"
    ):
        tape_of(tmp_path, lines, start_us=us(125_001))
    with pytest.raises(ConfigError, match="half_spread_bps must be >= 0, was -1"):
        tape_of(tmp_path, lines, half_spread_bps=-1.0)
    with pytest.raises(DataGap, match="must hold prints or bookTicker of a symbol, held neither"):
        tape_of(tmp_path, Lines().mark(0, "1", "0", 1))


def test_nothing_after_now_is_visible(tmp_path: Path) -> None:
    lines = traded().mark(100, "100.25", "0.0001", START_MS + 60_000)
    lines.touch(10_000, ("99.0", "2"), ("99.5", "1")).depth(10_050, [("98.0", "1")], previous=9_000)
    whole = tape_of(tmp_path, lines)
    now = us(40_000)
    cut = Lines()
    cut.lines = [x for x in lines.lines if _time(x) <= START_MS + 40_000]
    past = tape_of(tmp_path, cut)
    for tape in (whole, past):
        assert tape.instruments == whole.instruments
    assert whole.trades(0, 0, now) == past.trades(0, 0, now)
    assert whole.book(0, now, 9) == past.book(0, now, 9)
    assert whole.swept(us(0), now) == past.swept(us(0), now)
    assert whole.next_funding(0, now) == past.next_funding(0, now)
    bounds = opens("1m", us(0), us(0))
    assert candles(whole, 0, bounds, now) == candles(past, 0, bounds, now)


def _time(line: str) -> int:
    data = json.loads(line)["message"]["data"]
    return int(data["E"] if data["e"] == "markPriceUpdate" else data["T"])


def test_the_real_klines_are_the_candles_of_the_real_prints(shared: Path) -> None:
    folder = shared / "data" / "binance_api" / "ws_recorded"
    tape = recorded_tape(read_recording(folder))
    equal = split = 0
    for line in (
        (folder / "futures_combined_stream_2021-07-22.jsonl").read_text("utf-8").splitlines()
    ):
        data = json.loads(line)["message"]["data"]
        if data["e"] != "kline" or 1000 * data["k"]["t"] < tape.candles_us:
            continue
        kline, s = data["k"], tape.symbols.index(data["s"])
        prints = tape.known[s].prints
        row = int(prints.last_id.searchsorted(kline["L"]))
        if prints.last_id[prints.row(int(prints.time_us[row]))] != kline["L"]:
            split += 1  # it was sent between two prints of the same millisecond
            continue
        now_us = int(prints.time_us[row])
        (candle,) = candles(tape, s, opens("1m", now_us, now_us), now_us)
        made = quotes(tape, s).kline_payload(candle, "1m", closed=False)
        for name in "ochlvqVQ":
            assert Decimal(made[name]) == Decimal(kline[name])
        assert all(made[name] == kline[name] for name in ("t", "T", "s", "i", "f", "L", "n", "x"))
        equal += 1
    assert (equal, split) == (14, 3)


@pytest.mark.parametrize("snapshots", [True, False])
def test_the_real_touch_is_shown_at_every_step_from_the_first_on(
    shared: Path, snapshots: bool
) -> None:
    folder = shared / "data" / "binance_api" / "ws_recorded"
    path = folder if snapshots else folder / "futures_combined_stream_2021-07-22.jsonl"
    tape = recorded_tape(read_recording(path))
    compared = 0
    for s, known in enumerate(tape.known):
        touches = known.book.touches
        for time_us in range(int(touches.time_us[0]) + 100_000, tape.end_us, 100_000):
            row = known.book.touch_row(time_us // 100_000 * 100_000)
            bids, asks = tape.ladders(s, time_us, 1)
            compared += 1
            assert [*bids[0].tolist(), *asks[0].tolist()] == [int(c[row]) for c in touches[2:]]
    assert compared == 598


def test_minutes_are_rows(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, traded())
    assert [tape.row(us(ms)) for ms in (-99_000, -1, 0, 59_999, 60_000, 999_000)] == [
        0,
        0,
        1,
        1,
        2,
        3,
    ]
    assert tape.bars.n_bars == 4
    assert tape.bar_us == MINUTE_US
