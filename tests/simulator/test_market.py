from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.bar_tape import BarTape, replay
from live.simulator.market import Ohlc
from live.simulator.path import STEP_US
from live.simulator.trades import traded
from quantcore.data.instruments import load_instruments
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, MINUTE_US

FIRST_US = 1_704_067_200_000_000
SPAN_US = 240 * MINUTE_US
TIMES = st.integers(FIRST_US - MINUTE_US, FIRST_US + SPAN_US + MINUTE_US)
Make = Callable[..., BarTape]
MakeBars = Callable[..., Bars]


def walked(tape: BarTape, row: int) -> np.ndarray:
    opens = tape.history_us + row * tape.bar_us
    return np.array([tape.price(opens + k * STEP_US) for k in range(tape.n_steps)])


def first_known(values: list[np.ndarray]) -> np.ndarray:
    return functools.reduce(lambda known, other: np.where(np.isnan(known), other, known), values)


def changed(bars: Bars, from_row: int) -> Bars:
    """Return bars whose rows from one on are other ones, settlements too."""
    rng = np.random.default_rng(3)
    factor = np.ones((bars.n_bars, bars.n_symbols))
    factor[from_row:] = np.exp(rng.normal(0.0, 0.1, factor[from_row:].shape))
    fields = {name: values * factor for name, values in bars.fields.items()}
    opens = int(bars.ts_us[0]) + (from_row - 1) * MINUTE_US
    known = bars.settlements
    later = known.time_us >= opens
    return replace(
        bars, fields=fields, settlements=replace(known, rate=np.where(later, 9.0, known.rate))
    )


@pytest.mark.parametrize("row", [0, 7, 30, 130, 239])
def test_the_path_stays_inside_its_bar_and_hits_all_four_prices(tape: BarTape, row: int) -> None:
    path = walked(tape, row)
    four = np.array([tape.bars.array(n)[row] for n in ("open", "high", "low", "close")])
    for s in range(2):
        if np.isnan(four[3, s]):
            assert np.isnan(path[:, s]).all()
            continue
        assert path[0, s] == four[0, s]
        assert path[-1, s] == four[3, s]
        assert path[:, s].max() == four[1, s]
        assert path[:, s].min() == four[2, s]
        low_first = np.argmin(path[:, s]) < np.argmax(path[:, s])
        assert low_first == (four[3, s] >= four[0, s])


def test_a_bar_that_closes_where_it_opened_sees_its_low_first(bars: Bars, tape_of: Make) -> None:
    fields = {n: v.copy() for n, v in bars.fields.items()}
    fields["close"][5, 0] = fields["open"][5, 0]
    path = walked(tape_of(replace(bars, fields=fields)), 5)[:, 0]
    assert np.argmin(path) < np.argmax(path)


def test_the_path_runs_straight_over_three_equal_thirds(tape: BarTape) -> None:
    path = walked(tape, 5)[:, 0]
    third = tape.n_steps // 3
    middle = (path[0] + path[third]) / 2
    assert path[third // 2] == pytest.approx(middle, abs=0.051)
    assert np.abs(path * 10 - np.rint(path * 10)).max() < 1e-6


@given(TIMES)
def test_a_bar_holds_its_open_and_not_its_close(tape: BarTape, time_us: int) -> None:
    row = tape.row(time_us)
    if tape.history_us <= time_us < tape.end_us:
        assert tape.bars.ts_us[row] - tape.bar_us <= time_us < tape.bars.ts_us[row]
    else:
        assert row == (0 if time_us < tape.history_us else 239)


@given(TIMES, st.lists(st.integers(0, 10 * MINUTE_US), min_size=2, max_size=5))
def test_what_was_swept_in_parts_was_swept_at_once(
    tape: BarTape, start_us: int, parts: list[int]
) -> None:
    cuts = start_us + np.cumsum([0, *parts])
    whole = tape.swept(int(cuts[0]), int(cuts[-1]))
    pieces = [tape.swept(int(a), int(b)) for a, b in itertools.pairwise(cuts)]
    joined = Ohlc(
        first_known([p.open for p in pieces]),
        np.fmax.reduce([p.high for p in pieces]),
        np.fmin.reduce([p.low for p in pieces]),
        first_known([p.close for p in reversed(pieces)]),
        first_known([p.mark_open for p in pieces]),
        np.fmax.reduce([p.mark_high for p in pieces]),
        np.fmin.reduce([p.mark_low for p in pieces]),
        first_known([p.mark_close for p in reversed(pieces)]),
    )
    for ours, theirs in zip(joined, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(st.integers(FIRST_US, FIRST_US + 20 * MINUTE_US), st.integers(0, 3 * MINUTE_US))
def test_what_was_swept_is_what_prices_went_through(
    tape: BarTape, from_us: int, length_us: int
) -> None:
    to_us = from_us + length_us
    steps = range(from_us // STEP_US * STEP_US, to_us + 1, STEP_US)
    seen = np.array([tape.price(t)[0] for t in steps])
    marks = np.array([tape.mark(t)[0] for t in steps])
    swept = tape.swept(from_us, to_us)
    assert (swept.open[0], swept.close[0]) == (seen[0], seen[-1])
    assert (swept.high[0], swept.low[0]) == (seen.max(), seen.min())
    assert (swept.mark_high[0], swept.mark_low[0]) == (marks.max(), marks.min())


def test_several_bars_crossed_at_once_give_their_extremes(tape: BarTape) -> None:
    swept = tape.swept(tape.history_us, tape.end_us)
    for name in ("high", "low"):
        extreme = np.fmax if name == "high" else np.fmin
        np.testing.assert_array_equal(
            getattr(swept, name), extreme.reduce(tape.bars.array(name), axis=0)
        )
    np.testing.assert_array_equal(swept.close, tape.bars.array("close")[-1])
    assert swept.open[1] == tape.bars.array("open")[30, 1]


def test_last_prices_stand_in_for_missing_marks(bars: Bars, tape_of: Make) -> None:
    without = replace(
        bars, fields={n: v for n, v in bars.fields.items() if not n.startswith("mark")}
    )
    holed = {n: v.copy() for n, v in bars.fields.items()}
    holed["mark_low"][3, 0] = np.nan
    now = FIRST_US + 3 * MINUTE_US + 25_000_000
    bare = tape_of(without)
    half_a_tick = 0.0501
    np.testing.assert_allclose(bare.mark(now), bare.price(now), atol=half_a_tick, rtol=0.0)
    patched = tape_of(replace(bars, fields=holed))
    assert abs(patched.mark(now)[0] - patched.price(now)[0]) < half_a_tick
    later = now + MINUTE_US
    assert abs(patched.mark(later)[0] - patched.price(later)[0]) > 1.0


@given(st.integers(FIRST_US, FIRST_US + SPAN_US - 1))
def test_nothing_after_now_is_visible(tape: BarTape, now_us: int) -> None:
    other = replace(tape, bars=changed(tape.bars, tape.row(now_us) + 1))
    start = now_us - 3 * MINUTE_US
    np.testing.assert_array_equal(tape.price(now_us), other.price(now_us))
    np.testing.assert_array_equal(tape.mark(now_us), other.mark(now_us))
    for ours, theirs in zip(tape.swept(start, now_us), other.swept(start, now_us), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for s in range(2):
        assert tape.book(s, now_us, 50) == other.book(s, now_us, 50)
        assert tape.trades(s, start, now_us) == other.trades(s, start, now_us)
        assert tape.next_funding(s, now_us) == other.next_funding(s, now_us)


def test_the_book_knows_no_volume_of_a_bar_that_is_open(bars: Bars, tape_of: Make) -> None:
    fields = {n: v.copy() for n, v in bars.fields.items()}
    fields["volume"][10] *= 1000.0
    louder = tape_of(replace(bars, fields=fields))
    tape = tape_of(bars)
    inside, after = FIRST_US + 11 * MINUTE_US - 1, FIRST_US + 11 * MINUTE_US + 30_000_000
    assert tape.book(0, inside, 1000) == louder.book(0, inside, 1000)
    assert tape.book(0, after, 1000) != louder.book(0, after, 1000)


@given(TIMES, st.sampled_from([0.0, 1.0, 25.0]))
def test_the_book_never_crosses_and_holds_the_last_price(
    tape: BarTape, time_us: int, half_bps: float
) -> None:
    tape = replace(tape, half_spread_bps=half_bps)
    for s in range(2):
        book = tape.book(s, time_us, 1000)
        price = tape.price(time_us)[s]
        if np.isnan(price):
            assert (book.bids, book.asks) == ((), ())
            continue
        numerator, denominator = tape.ticks[s]
        last = price * denominator / numerator
        bids, asks = (np.array(side)[:, 0] for side in (book.bids, book.asks))
        assert bids[0] < last < asks[0]
        assert (np.diff(bids) < 0).all()
        assert (np.diff(asks) > 0).all()
        half = max(last * half_bps * 1e-4, 1.0)
        assert last - half - 1 <= bids[0] <= last - half
        assert last + half <= asks[0] <= last + half + 1
        assert min(lots for side in (book.bids, book.asks) for _, lots in side) >= 1
        assert len(bids) == len(asks) == 1000


def test_a_shorter_book_is_the_top_of_a_longer_one(tape: BarTape) -> None:
    now = FIRST_US + 100 * MINUTE_US + 12_345_678
    short, long = tape.book(0, now, 5), tape.book(0, now, 1000)
    assert (short.bids, short.asks) == (long.bids[:5], long.asks[:5])
    assert short.update_id == long.update_id
    assert tape.book(0, now, 5000) == long


def test_a_step_changes_a_few_levels_only(tape: BarTape) -> None:
    now = FIRST_US + 100 * MINUTE_US
    before, after = (dict(tape.book(0, t, 1000).bids) for t in (now, now + STEP_US))
    touched = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    assert 1 <= len(touched) <= 60
    assert tape.book(0, now, 1000) == tape.book(0, now + STEP_US - 1, 1000)


@pytest.mark.parametrize("row", [0, 59, 60, 200])
def test_prints_add_up_to_the_bar_and_reach_its_four_prices(tape: BarTape, row: int) -> None:
    opens = tape.history_us + row * tape.bar_us
    for s in range(2):
        found = tape.trades(s, opens - 1, opens + tape.bar_us - 1)
        if np.isnan(tape.bars.array("close")[row, s]):
            assert found == []
            continue
        prices = [t.price for t in found]
        bar = {n: tape.bars.array(n)[row, s] for n in ("open", "high", "low", "close", "volume")}
        assert (prices[0], max(prices), min(prices), prices[-1]) == (
            bar["open"],
            bar["high"],
            bar["low"],
            bar["close"],
        )
        assert sum(t.lots for t in found) == round(bar["volume"] / tape.step_size[s])
        ids, times = [t.id for t in found], [t.time_us for t in found]
        assert ids == sorted(set(ids))
        assert times == sorted(times)
        assert all(opens <= t < opens + tape.bar_us for t in times)
        assert all(t.price == tape.price(t.time_us)[s] for t in found)


@given(st.lists(TIMES, min_size=3, max_size=3))
def test_prints_of_parts_are_the_prints_of_the_whole(tape: BarTape, cuts: list[int]) -> None:
    first, middle, last = sorted(cuts)
    last = min(last, first + 10 * MINUTE_US)
    middle = min(middle, last)
    joined = tape.trades(0, first, middle) + tape.trades(0, middle, last)
    assert joined == tape.trades(0, first, last)


@given(TIMES)
def test_lots_until_now_are_the_prints_until_now(tape: BarTape, now_us: int) -> None:
    row, lots, _ = traded(tape.flows[0], np.array([now_us - tape.history_us]))
    opens = tape.history_us + int(row[0]) * tape.bar_us
    assert int(lots[0]) == sum(t.lots for t in tape.trades(0, opens - 1, now_us))


def test_prints_are_found_by_their_ids_and_from_the_end(tape: BarTape) -> None:
    now = FIRST_US + 90 * MINUTE_US + 17_300_000
    every = tape.trades(0, FIRST_US, now)
    assert tape.last_trades(0, now, 70, back_us=HOUR_US) == every[-70:]
    assert tape.last_trades(0, now, 7000, back_us=MINUTE_US) == tape.trades(0, now - MINUTE_US, now)
    assert tape.trades_from(0, every[100].id, now, 65) == every[100:165]
    assert tape.trades_from(0, every[-2].id, now, 65) == every[-2:]
    assert tape.trades_from(0, 1, now, 3) == every[:3]


def test_a_bar_of_a_few_lots_keeps_its_volume(bars: Bars, tape_of: Make) -> None:
    fields = {n: v.copy() for n, v in bars.fields.items()}
    for row, lots in enumerate((0, 1, 2, 3, 4, 5)):
        fields["volume"][row, 0] = lots / 1000
    tape = tape_of(replace(bars, fields=fields))
    for row in range(6):
        opens = FIRST_US + row * MINUTE_US
        assert sum(t.lots for t in tape.trades(0, opens - 1, opens + MINUTE_US - 1)) == row


def test_settlements_are_those_after_from_and_up_to_to(tape: BarTape) -> None:
    known = tape.bars.settlements
    at = int(known.time_us[0])
    assert [s[:3] for s in tape.settlements(at - 1, at)] == [
        (at, 0, known.rate[0]),
        (at, 1, known.rate[1]),
    ]
    assert tape.settlements(at, at + HOUR_US) == []


def test_the_next_funding_is_the_next_that_happened_or_else_regular(
    bars_of: MakeBars, tape_of: Make
) -> None:
    tape = tape_of(bars_of(n_bars=400))
    rates = tape.bars.settlements.rate
    second = FIRST_US + 4 * HOUR_US
    assert tape.next_funding(1, FIRST_US + 1) == (second, rates[1])
    assert tape.next_funding(1, second) == (FIRST_US + 8 * HOUR_US, rates[3])
    assert tape.next_funding(1, FIRST_US - 1) == (FIRST_US, 1e-4)


def test_a_tape_refuses_what_it_cannot_replay(bars: Bars, tape_of: Make) -> None:
    with pytest.raises(ConfigError, match="first_us must be the open of a bar"):
        tape_of(bars, first_us=FIRST_US + 1)
    with pytest.raises(ConfigError, match=r"half_spread_bps must be >= 0, was -1"):
        tape_of(bars, half_spread_bps=-1.0)
    with pytest.raises(ConfigError, match="bars must be at least one"):
        tape_of(bars.rows(0, 0))
    with pytest.raises(ConfigError, match="instruments must be those of"):
        BarTape(bars=bars, instruments=load_instruments(["ETHUSDT", "BTCUSDT"]))


def test_the_replay_of_a_source_starts_with_its_traded_span(bars: Bars) -> None:
    start = FIRST_US + 60 * MINUTE_US
    data = MarketData(bars=bars, interval="1h", start_us=start, notes=())
    assert replay(data).first_us == start
    assert replay(replace(data, start_us=start - 1)).first_us == start
    assert replay(replace(data, start_us=None)).first_us == FIRST_US
    assert replay(data, half_spread_bps=3.0).half_spread_bps == 3.0
