from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from live.simulator.bar_tape import BarTape
from live.simulator.public import answer
from live.simulator.ticker_streams import opened
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, MINUTE_US
from tests.simulator.messages_due import messages

FIRST_US = 1_704_067_200_000_000
START_US = FIRST_US + 100 * MINUTE_US
Make = Callable[..., BarTape]
STREAMS = (
    "btcusdt@kline_1m",
    "btcusdt@kline_1h",
    "btcusdt_perpetual@continuousKline_1m",
    "btcusdt@aggTrade",
    "btcusdt@trade",
    "btcusdt@markPrice",
    "btcusdt@markPrice@1s",
    "!markPrice@arr",
    "!markPrice@arr@1s",
    "btcusdt@bookTicker",
    "!bookTicker",
    "btcusdt@depth",
    "btcusdt@depth@100ms",
    "btcusdt@depth@250ms",
    "btcusdt@depth@500ms",
    "btcusdt@depth5",
    "btcusdt@depth10@100ms",
    "btcusdt@depth20@500ms",
    "btcusdt@ticker",
    "!ticker@arr",
    "btcusdt@miniTicker",
    "!miniTicker@arr",
)
TIMES = st.integers(FIRST_US + 40 * MINUTE_US, FIRST_US + 230 * MINUTE_US)


def event_ms(payload: Any) -> int:
    return int((payload[0] if isinstance(payload, list) else payload)["E"])


@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_of_the_market_is_known_and_speaks(tape: BarTape, stream: str) -> None:
    assert opened(tape, stream) is not None
    sent = messages(tape, stream, START_US, START_US + 5_000_000)
    assert sent
    times = [event_ms(payload) for payload in sent]
    assert times == sorted(times)
    assert times[0] > START_US // 1000
    assert times[-1] <= (START_US + 5_000_000) // 1000


@pytest.mark.parametrize(
    "stream",
    [
        "", "btcusdt", "btcusdt@", "btcusdt@kline", "btcusdt@kline_2m", "btcusdt@kline_1m@100ms",
        "BTCUSDT@aggTrade", "none@aggTrade", "btcusdt@depth7", "btcusdt@depth@1s", "btcusdt@markPrice@100ms",
        "btcusdt@aggTrade@100ms", "btcusdt@ticker5", "btcusdt@depth_1m", "!ticker", "!depth@arr", "!forceOrder@arr",
        "btcusdt@forceOrder", "btcusdt_perpetual@kline_1m", "btcusdt@continuousKline_1m", "btcusdt@aggTrade ",
    ],
)  # fmt: skip
def test_other_names_are_not_known_and_silent(tape: BarTape, stream: str) -> None:
    assert opened(tape, stream) is None


@given(
    st.sampled_from(STREAMS),
    TIMES,
    st.lists(st.integers(0, 2_000_000), min_size=1, max_size=2),
)
def test_messages_of_parts_are_those_of_the_whole(
    tape: BarTape, stream: str, start_us: int, parts: list[int]
) -> None:
    cuts = [start_us, *(start_us + np.cumsum(parts)).tolist()]
    joined = [
        payload for a, b in itertools.pairwise(cuts) for payload in messages(tape, stream, a, b)
    ]
    assert joined == messages(tape, stream, cuts[0], cuts[-1])


@given(st.sampled_from(STREAMS), TIMES)
def test_no_message_knows_what_comes_after_it(tape: BarTape, stream: str, now_us: int) -> None:
    rng = np.random.default_rng(9)
    factor = np.ones((tape.bars.n_bars, 2))
    later = tape.row(now_us) + 1
    factor[later:] = rng.uniform(0.5, 2.0, factor[later:].shape)
    fields = {n: v * factor for n, v in tape.bars.fields.items()}
    other = replace(tape, bars=replace(tape.bars, fields=fields))
    for length_us in (1_000_000, 20_000_000):
        span = (now_us - length_us, now_us)
        assert messages(tape, stream, *span) == messages(other, stream, *span)


def applied(side: dict[str, str], changes: list[list[str]]) -> None:
    for price, size in changes:
        if float(size) == 0.0:
            side.pop(price, None)  # of what a snapshot between two events knows already
        else:
            side[price] = size


@given(
    TIMES,
    st.sampled_from(["", "@100ms", "@250ms", "@500ms"]),
    st.lists(st.integers(1, 40_000_000), min_size=1, max_size=4),
)
@example(FIRST_US + 41 * MINUTE_US + 4_300_000, "", [1])
@example(FIRST_US + 41 * MINUTE_US + 4_310_000, "", [20_000_000])
def test_differences_turn_a_snapshot_into_the_next(
    tape: BarTape, start_us: int, speed: str, parts: list[int]
) -> None:
    """As the exchange tells its clients to keep a book, whatever the stretches in which it is sent."""
    snapshot = answer("GET /fapi/v1/depth", tape, start_us, {"symbol": "BTCUSDT", "limit": "1000"})
    book = {side: dict(snapshot[side]) for side in ("bids", "asks")}
    previous, joined, last_us = None, False, start_us
    at = start_us - 3_000_000
    for part in (3_000_000, *parts, 1_000_000):
        for event in messages(tape, f"btcusdt@depth{speed}", at, at + part):
            if previous is not None:
                assert event["pu"] == previous
            previous = event["u"]
            assert event["U"] <= event["u"]
            if event["u"] < snapshot["lastUpdateId"]:
                continue
            assert joined or event["U"] <= snapshot["lastUpdateId"]
            joined = True
            applied(book["bids"], event["b"])
            applied(book["asks"], event["a"])
            assert max(map(float, book["bids"])) < min(map(float, book["asks"]))
            last_us = event["E"] * 1000
        at += part
    now = answer("GET /fapi/v1/depth", tape, last_us, {"symbol": "BTCUSDT", "limit": "1000"})
    assert book == {side: dict(now[side]) for side in ("bids", "asks")}
    assert joined


@given(TIMES, st.sampled_from(["", "@100ms", "@500ms"]))
def test_the_first_difference_after_a_snapshot_joins_it(
    tape: BarTape, now_us: int, speed: str
) -> None:
    told = answer("GET /fapi/v1/depth", tape, now_us, {"symbol": "BTCUSDT", "limit": "5"})
    sent = messages(tape, f"btcusdt@depth{speed}", now_us, now_us + 1_000_000)
    first = next(event for event in sent if event["u"] >= told["lastUpdateId"])
    assert first["U"] <= told["lastUpdateId"]


def test_a_late_listing_sends_its_whole_book(tape: BarTape) -> None:
    listed = FIRST_US + 30 * MINUTE_US
    assert messages(tape, "ethusdt@depth@100ms", listed - 1_000_000, listed - 1) == []
    (first,) = messages(tape, "ethusdt@depth@100ms", listed - 1, listed)
    assert (len(first["b"]), len(first["a"])) == (1000, 1000)
    assert (
        messages(tape, "ethusdt@bookTicker", listed - 1_000_000, listed)[0]["E"] == listed // 1000
    )
    for stream in ("ethusdt@markPrice@1s", "ethusdt@ticker", "ethusdt@kline_1m", "ethusdt@depth5"):
        assert messages(tape, stream, listed - 4_000_000, listed - 1) == []
    everybody = messages(tape, "!markPrice@arr@1s", listed - 1_000_000, listed)
    assert [[p["s"] for p in sent] for sent in everybody] == [["BTCUSDT", "ETHUSDT"]]
    before = messages(tape, "!ticker@arr", listed - 2_000_000, listed - 1)
    assert [[p["s"] for p in sent] for sent in before] == [["BTCUSDT"]]


def test_partial_books_are_the_top_of_the_snapshot(tape: BarTape) -> None:
    for sent in messages(tape, "btcusdt@depth5@100ms", START_US, START_US + 1_000_000):
        now_us = sent["E"] * 1000
        told = answer("GET /fapi/v1/depth", tape, now_us, {"symbol": "BTCUSDT", "limit": "5"})
        assert (sent["b"], sent["a"]) == (told["bids"], told["asks"])


def test_a_candle_closes_once_and_as_the_bar(tape: BarTape) -> None:
    sent = messages(tape, "btcusdt@kline_1m", START_US, START_US + 3 * MINUTE_US)
    closed = [m for m in sent if m["k"]["x"]]
    assert [m["E"] for m in closed] == [(START_US + k * MINUTE_US) // 1000 for k in (1, 2, 3)]
    for k, message in enumerate(closed):
        candle = message["k"]
        names = ("open", "high", "low", "close", "volume")
        bar = [tape.bars.array(n)[100 + k, 0] for n in names]
        assert [float(candle[n]) for n in "ohlcv"] == bar
        assert candle["T"] - candle["t"] == MINUTE_US // 1000 - 1


def test_open_candles_are_those_that_can_be_asked_for(tape: BarTape) -> None:
    for message in messages(tape, "btcusdt@kline_5m", START_US + 1, START_US + 2_000_000):
        assert not message["k"]["x"]
        query = {"symbol": "BTCUSDT", "interval": "5m", "limit": "1"}
        (row,) = answer("GET /fapi/v1/klines", tape, message["E"] * 1000, query)
        candle = message["k"]
        assert row == [
            candle[n] for n in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")
        ] + ["0"]


def test_a_jump_sends_every_close_and_trade_but_repeats_nothing(tape: BarTape) -> None:
    end = START_US + HOUR_US
    candles = messages(tape, "btcusdt@kline_1m", START_US, end)
    assert [m["k"]["x"] for m in candles] == [True] * 60
    assert len(messages(tape, "btcusdt@kline_1m", START_US, end + 250_000)) == 61
    assert len(messages(tape, "btcusdt@aggTrade", START_US, end)) == len(
        tape.trades(0, START_US, end)
    )
    for stream in (
        "btcusdt@depth@100ms",
        "btcusdt@bookTicker",
        "btcusdt@markPrice@1s",
        "!ticker@arr",
    ):
        (last,) = messages(tape, stream, START_US, end)
        assert event_ms(last) == end // 1000


def test_streams_repeat_themselves_at_their_own_pace(tape: BarTape) -> None:
    end = START_US + 5_000_000
    counts = {
        "btcusdt@markPrice": 1, "btcusdt@markPrice@1s": 5, "btcusdt@depth": 20, "btcusdt@depth@100ms": 50,
        "btcusdt@depth20@500ms": 10, "btcusdt@kline_1m": 20, "btcusdt@ticker": 2, "!miniTicker@arr": 5,
        "!bookTicker": 2,
    }  # fmt: skip
    assert {s: len(messages(tape, s, START_US, end)) for s in counts} == counts


def test_the_touch_is_sent_when_it_changes(bars: Bars, tape_of: Make) -> None:
    tape = tape_of(bars)
    sent = messages(tape, "btcusdt@bookTicker", START_US, START_US + 5_000_000)
    touches = [(m["b"], m["B"], m["a"], m["A"]) for m in sent]
    assert all(a != b for a, b in itertools.pairwise(touches))
    flat = {n: np.full_like(v, 42_000.0) if n != "volume" else v for n, v in bars.fields.items()}
    quiet = messages(
        tape_of(replace(bars, fields=flat)), "btcusdt@bookTicker", START_US, START_US + 5_000_000
    )
    assert len(quiet) <= 2


def test_the_mark_stream_tells_what_the_premium_index_tells(tape: BarTape) -> None:
    (sent,) = messages(tape, "btcusdt@markPrice@1s", START_US, START_US + 1_000_000)
    told = answer("GET /fapi/v1/premiumIndex", tape, START_US + 1_000_000, {"symbol": "BTCUSDT"})
    assert (sent["p"], sent["i"], sent["r"], sent["T"]) == (
        told["markPrice"],
        told["indexPrice"],
        told["lastFundingRate"],
        told["nextFundingTime"],
    )


def test_after_its_end_the_market_stands_still(tape: BarTape) -> None:
    end = tape.end_us
    assert messages(tape, "btcusdt@aggTrade", end, end + MINUTE_US) == []
    assert messages(tape, "btcusdt@kline_1m", end, end + 4_000_000) == []
    (mark,) = messages(tape, "btcusdt@markPrice@1s", end + 1_000_000, end + 2_000_000)
    assert float(mark["p"]) == tape.bars.array("mark_price")[-1, 0]
