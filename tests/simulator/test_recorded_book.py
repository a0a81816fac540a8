"""A recorded book is kept by the exchange's rules: snapshot, differences that chain, and touches over them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator import recorded_book as module
from live.simulator.book import ASK, BID
from live.simulator.recorded_book import (
    Changes,
    Differences,
    Grid,
    RecordedBook,
    Sides,
    Touches,
    changed,
    recorded_book,
)
from live.simulator.recorded_rules import recorded_instrument
from live.simulator.recordings import SymbolRecording, read_recording
from quantcore.data.instruments import decimal_fraction
from quantcore.errors import DataGap
from tests.simulator.recording_made import START_US, SYMBOL, Lines, snapshot

GRID = Grid((1, 10), (1, 100))


def book_of(folder: Path, lines: Lines) -> RecordedBook:
    lines.write(folder / "a.jsonl")
    return recorded_book(SYMBOL, read_recording(folder).symbols[SYMBOL], GRID)


def at(book: RecordedBook, ms: int) -> tuple[list[list[int]], list[list[int]]]:
    bids, asks = book.sides(START_US + 1000 * ms)
    return bids.tolist(), asks.tolist()


def test_a_snapshot_goes_on_with_the_difference_that_spans_it(tmp_path: Path) -> None:
    lines = Lines().depth(0, [("9.0", "7")], previous=100)  # 101-110, older than the snapshot
    lines.depth(
        100, [("9.9", "3"), ("9.8", "0")], [("10.2", "1")], previous=110
    )  # 111-120 spans 115
    lines.depth(200, [("9.9", "0")], [("10.1", "5"), ("10.0", "2.5")])
    snapshot(tmp_path, 50, 115, [("9.9", "1"), ("9.8", "2")], [("10.1", "4")])
    book = book_of(tmp_path, lines)
    assert at(book, -1) == ([], [])
    assert at(book, 0) == ([[90, 700]], [])
    assert at(book, 49) == ([[90, 700]], [])
    assert at(book, 50) == ([[99, 100], [98, 200]], [[101, 400]])
    assert at(book, 100) == ([[99, 300]], [[101, 400], [102, 100]])
    assert at(book, 200) == ([], [[100, 250], [101, 500], [102, 100]])
    assert at(book, 60) == ([[99, 100], [98, 200]], [[101, 400]])


def test_a_hole_is_an_error_that_names_symbol_and_ids(tmp_path: Path) -> None:
    lines = Lines().depth(0, [("9.0", "7")], previous=100).depth(100, previous=111)
    with pytest.raises(
        DataGap, match=r"NEWUSDT: depth differences must chain, .* pu was 111 after u 110"
    ):
        book_of(tmp_path, lines)
    snapshot(tmp_path, -50, 100, [], [])  # it lies before the hole and does not mend it
    with pytest.raises(DataGap, match="pu was 111 after u 110"):
        book_of(tmp_path, lines)


def test_after_a_hole_the_next_snapshot_begins_anew(tmp_path: Path) -> None:
    lines = Lines().depth(0, [("9.0", "7")], [("9.5", "1")], previous=100)
    lines.depth(100, [("8.0", "1")], previous=150).depth(200, [("8.1", "2")])
    snapshot(tmp_path, 0, 105, [("9.0", "6")], [("9.4", "1")], name="a")
    snapshot(tmp_path, 150, 165, [("8.0", "1"), ("7.9", "3")], [("8.5", "9")], name="b")
    book = book_of(tmp_path, lines)
    assert at(book, 50) == ([[90, 700]], [[94, 100], [95, 100]])
    assert at(book, 100) == ([[80, 100]], [])  # what stood before the hole is not known any more
    assert at(book, 150) == ([[80, 100], [79, 300]], [[85, 900]])
    assert at(book, 200) == ([[81, 200], [80, 100], [79, 300]], [[85, 900]])


def test_of_two_holes_the_second_may_lack_its_differences(tmp_path: Path) -> None:
    lines = Lines().depth(0, [("9.0", "7")], previous=100).depth(100, [("8.9", "1")], previous=150)
    lines.depth(200, [("8.8", "2")], previous=300)
    snapshot(tmp_path, 250, 400, [("8.0", "1")], [("8.5", "9")])
    book = book_of(tmp_path, lines)
    assert [at(book, ms)[0] for ms in (0, 100, 200)] == [[[90, 700]], [[89, 100]], [[88, 200]]]
    assert at(book, 250) == ([[80, 100]], [[85, 900]])


def test_a_snapshot_within_a_whole_chain_changes_nothing(tmp_path: Path) -> None:
    lines = Lines().depth(100, [("9.0", "7")], [("9.5", "1")], previous=100).depth(200)
    snapshot(tmp_path, 0, 100, [("8.0", "1")], [("9.4", "1")], name="a")
    snapshot(tmp_path, 150, 110, [("9.0", "7")], [("9.4", "1")], name="b")
    assert at(book_of(tmp_path, lines), 200) == ([[90, 700], [80, 100]], [[94, 100], [95, 100]])


def test_a_snapshot_that_does_not_reach_the_differences_is_named(tmp_path: Path) -> None:
    snapshot(tmp_path, 0, 99, [], [])
    lines = Lines().depth(100, [("9.0", "7")], previous=100)
    match = (
        r"NEWUSDT: depth_snapshot_NEWUSDT_1.json must reach .* had lastUpdateId 99 before pu 100"
    )
    with pytest.raises(DataGap, match=match):
        book_of(tmp_path, lines)


def test_a_snapshot_after_all_differences_or_alone_is_the_book(tmp_path: Path) -> None:
    snapshot(tmp_path, 50, 200, [("8.0", "1")], [("9.4", "1")])
    late = book_of(tmp_path, Lines().depth(0, [("9.0", "7")], previous=100))
    assert at(late, 49) == ([[90, 700]], [])
    assert at(late, 50) == ([[80, 100]], [[94, 100]])
    alone = book_of(tmp_path, Lines().trade(0, "9.0", "1"))
    assert at(alone, 50) == ([[80, 100]], [[94, 100]])


def test_a_newer_touch_stands_over_the_differences_and_an_older_one_does_not(
    tmp_path: Path,
) -> None:
    lines = Lines()
    snapshot(
        tmp_path, 0, lines.update_id, [("9.9", "1"), ("9.8", "2")], [("10.0", "4"), ("10.1", "1")]
    )
    lines.touch(50, ("9.8", "3"), ("10.1", "6"))  # the best of both sides are gone
    lines.depth(100, [("9.9", "0"), ("9.8", "5")], [("10.0", "0"), ("10.1", "6")], previous=9000)
    lines.touch(150, ("9.9", "1"), ("10.1", "2"))
    book = book_of(tmp_path, lines)
    assert at(book, 0) == ([[99, 100], [98, 200]], [[100, 400], [101, 100]])
    assert at(book, 50) == ([[98, 300]], [[101, 600]])
    assert at(book, 100) == ([[98, 500]], [[101, 600]])
    assert at(book, 150) == ([[99, 100], [98, 500]], [[101, 200]])


def test_without_a_snapshot_the_book_is_what_was_named_and_the_last_touch(tmp_path: Path) -> None:
    lines = Lines().touch(0, ("9.9", "1"), ("10.0", "4"))
    lines.depth(100, [("9.7", "2")], [("10.3", "1")])  # newer, but the touch need not be in it
    book = book_of(tmp_path, lines)
    assert at(book, 50) == ([[99, 100]], [[100, 400]])
    assert at(book, 100) == ([[99, 100], [97, 200]], [[100, 400], [103, 100]])


def test_levels_off_the_tick_are_left_out(tmp_path: Path) -> None:
    snapshot(tmp_path, 0, 100, [("9.9", "1"), ("0.123", "2")], [("10.0", "4")])
    lines = Lines().depth(100, [("0.456", "1"), ("9.8", "2"), ("0.123", "0")], previous=100)
    lines.depth(200, [("9.7", "3")])
    book = book_of(tmp_path, lines)
    assert at(book, 0)[0] == [[99, 100]]
    assert at(book, 200)[0] == [[99, 100], [98, 200], [97, 300]]


SIDE = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=4)


def wide(changes: list[list[tuple[int, int]]]) -> Changes:
    flat = np.array([pair for each in changes for pair in each], dtype=np.int64).reshape(-1, 2)
    offset = np.cumsum([0, *map(len, changes)]).astype(np.int64)
    return Changes(offset, flat[:, 0].copy(), flat[:, 1].copy())


def told(changes: list[list[tuple[int, int]]], side: int) -> list[list[int]]:
    known = {ticks: lots for each in changes for ticks, lots in each}
    return sorted(([t, n] for t, n in known.items() if n > 0), key=lambda level: side * level[0])


@given(
    bids=st.lists(SIDE, min_size=1, max_size=12),
    asks=st.lists(SIDE, min_size=1, max_size=12),
    asked=st.lists(st.integers(0, 12), min_size=1, max_size=30),
    every=st.integers(1, 5),
)
def test_going_to_and_fro_gives_the_same_books(
    bids: list[list[tuple[int, int]]],
    asks: list[list[tuple[int, int]]],
    asked: list[int],
    every: int,
) -> None:
    n = min(len(bids), len(asks))
    bids, asks = bids[:n], asks[:n]
    ids = np.arange(n, dtype=np.int64)
    none = Touches(*(np.empty(0, dtype=np.int64) for _ in Touches._fields))
    empty: Sides = (np.empty((0, 2), dtype=np.int64), np.empty((0, 2), dtype=np.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHECKPOINT", every)
        patch.setattr(module, "_RECENT", 2)
        book = RecordedBook(
            differences=Differences(ids, ids, ids + 1, wide(bids), wide(asks)),
            touches=none,
            begins=(module.Begin(0, 0, 0, empty),),
        )
        for k in asked:
            until = min(k, n)
            found = book.after(0, until)
            assert found[0].tolist() == told(bids[:until], BID)
            assert found[1].tolist() == told(asks[:until], ASK)


def test_going_back_takes_up_the_last_book_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT", 2)
    monkeypatch.setattr(module, "_RECENT", 1)
    bids = [[(k, 1)] for k in range(1, 9)]
    ids = np.arange(8, dtype=np.int64)
    none = Touches(*(np.empty(0, dtype=np.int64) for _ in Touches._fields))
    empty: Sides = (np.empty((0, 2), dtype=np.int64), np.empty((0, 2), dtype=np.int64))
    book = RecordedBook(
        differences=Differences(ids, ids, ids + 1, wide(bids), wide([[]] * 8)),
        touches=none,
        begins=(module.Begin(0, 0, 0, empty),),
    )
    steps: list[tuple[int, int]] = []
    applied = RecordedBook._changed

    def counted(self: RecordedBook, sides: Sides, start: int, stop: int) -> Sides:
        steps.append((start, stop))
        return applied(self, sides, start, stop)

    monkeypatch.setattr(RecordedBook, "_changed", counted)
    for until, taken in (
        (7, [(0, 2), (2, 4), (4, 6), (6, 7)]),
        (5, [(4, 5)]),
        (6, []),
        (8, [(6, 8)]),
    ):
        steps.clear()
        assert book.after(0, until)[0].tolist() == told(bids[:until], BID)
        assert steps == taken


@given(before=SIDE, after=SIDE, side=st.sampled_from([BID, ASK]))
def test_the_compiled_change_is_the_interpreted_one(
    before: list[tuple[int, int]], after: list[tuple[int, int]], side: int
) -> None:
    levels = np.array(told([before], side), dtype=np.int64).reshape(-1, 2)
    ticks, lots = np.array(after, dtype=np.int64).reshape(-1, 2).T.copy()
    found = changed(levels, ticks, lots, side)
    np.testing.assert_array_equal(found, changed.py_func(levels, ticks, lots, side))
    assert found.tolist() == told([before, after], side)


@pytest.fixture(scope="module")
def real(shared: Path) -> dict[str, SymbolRecording]:
    return dict(read_recording(shared / "data" / "binance_api" / "ws_recorded").symbols)


@pytest.mark.parametrize("symbol", ["CTKUSDT", "SUSHIUSDT"])
def test_the_top_of_the_real_book_is_the_recorded_touch_after_every_difference(
    real: dict[str, SymbolRecording], symbol: str
) -> None:
    recording = real[symbol]
    rules = recorded_instrument(
        symbol, recording, float(recording.events["aggTrade"].columns["p"][0])
    )
    grid = Grid(decimal_fraction(rules.tick_size), decimal_fraction(rules.step_size))
    book = recorded_book(symbol, recording, grid)
    touches, compared = book.touches, 0
    whole = next(k for k, begin in enumerate(book.begins) if begin.whole)
    for k in range(book.begins[whole].first, len(book.differences.last_id)):
        bids, asks = book.after(whole, k + 1)
        row = int(touches.update_id.searchsorted(book.differences.last_id[k], side="right")) - 1
        if row < 0:
            continue
        compared += 1
        recorded = [int(column[row]) for column in touches[2:]]
        assert [*bids[0].tolist(), *asks[0].tolist()] == recorded
        assert all(a[0] > b[0] for a, b in pairwise(bids.tolist()))
    assert compared == {"CTKUSDT": 180, "SUSHIUSDT": 252}[symbol]


def test_the_ticks_of_the_real_symbols_are_those_that_the_exchange_published(
    shared: Path, real: dict[str, SymbolRecording]
) -> None:
    text = (shared / "data" / "binance_api" / "exchangeInfo_2021-09-06.json").read_text("utf-8")
    published = {each["symbol"]: each["filters"] for each in json.loads(text)["symbols"]}
    for symbol, recording in real.items():
        rules = recorded_instrument(
            symbol, recording, float(recording.events["aggTrade"].columns["p"][0])
        )
        sizes = {f["filterType"]: f for f in published[symbol]}
        assert float(rules.tick_size) == float(sizes["PRICE_FILTER"]["tickSize"])
        assert float(rules.step_size) == float(sizes["LOT_SIZE"]["stepSize"])
