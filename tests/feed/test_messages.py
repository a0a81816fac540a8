from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.feed.messages import BookEvent, KlineEvent, MarkEvent, read, route_of, stream_name
from live.feed.quotes import Quotes
from quantcore.data.rest_rows import Candle
from quantcore.errors import SchemaMismatch

KLINE: dict[str, Any] = {
    "e": "kline", "E": 1638747660000, "s": "BTCUSDT", "st": 1,
    "k": {
        "t": 1638747600000, "T": 1638747659999, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200, "o": "0.0010",
        "c": "0.0020", "h": "0.0025", "l": "0.0009", "v": "1000", "n": 100, "x": True, "q": "1.0000", "V": "500",
        "Q": "0.500", "B": "123456",
    },
}  # fmt: skip
MARK = {
    "e": "markPriceUpdate", "E": 1562305380000, "s": "BTCUSDT", "p": "11794.15000000", "i": "11784.62659091",
    "P": "11784.25641265", "r": "0.00038167", "T": 1562306400000, "st": 1,
}  # fmt: skip
BOOK = {
    "e": "bookTicker", "u": 400900217, "E": 1568014460893, "T": 1568014460891, "s": "BNBUSDT", "b": "25.35190000",
    "B": "31.21000000", "a": "25.36520000", "A": "40.66000000", "st": 1,
}  # fmt: skip


STREAMS = {
    "kline": "btcusdt@kline_1m", "markPriceUpdate": "btcusdt@markPrice@1s", "bookTicker": "bnbusdt@bookTicker",
}  # fmt: skip


def wrapped(data: Any, stream: str = "") -> str:
    kind = data.get("e") if isinstance(data, dict) else None
    name = STREAMS.get(kind, "s") if isinstance(kind, str) else "s"
    return json.dumps({"stream": stream or name, "data": data})


def test_a_kline_is_read() -> None:
    bar = Candle(1638747600000000, 0.001, 0.0025, 0.0009, 0.002, 1000.0, 1.0, 100.0, 500.0)
    event = KlineEvent("btcusdt@kline_1m", "BTCUSDT", 1638747660000000, bar, True)
    assert read(wrapped(KLINE), "1m") == event


def test_a_mark_price_is_read() -> None:
    event = MarkEvent(
        "btcusdt@markPrice@1s", "BTCUSDT", 1562305380000000, 11794.15, 1562306400000000
    )
    assert read(wrapped(MARK), "1m") == event


def test_a_touch_is_read() -> None:
    name, at_us = STREAMS["bookTicker"], 1568014460893000
    event = BookEvent(name, "BNBUSDT", at_us, 400900217, 25.3519, 31.21, 25.3652, 40.66)
    assert read(wrapped(BOOK), "1m") == event


@pytest.mark.parametrize("data", [KLINE, MARK, BOOK])
def test_coin_margined_futures_are_passed_over(data: dict[str, Any]) -> None:
    assert read(wrapped(data | {"st": 2}), "1m") is None
    assert read(wrapped({k: v for k, v in data.items() if k != "st"}), "1m") is not None


def test_an_answer_to_a_request_is_passed_over() -> None:
    assert read('{"result": null, "id": 1}', "1m") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "null",
        "{",
        "[" * 100_000,
        b"\xff\xfe",
        wrapped(None),
        wrapped([]),
        wrapped({"e": "aggTrade"}),
        wrapped(KLINE | {"k": {}}),
        wrapped(KLINE | {"k": KLINE["k"] | {"i": "5m"}}),
        wrapped(KLINE | {"k": KLINE["k"] | {"T": 1638747659998}}),
        wrapped(KLINE | {"k": KLINE["k"] | {"x": "true"}}),
        wrapped(KLINE | {"k": KLINE["k"] | {"c": "x"}}),
        wrapped(KLINE | {"k": KLINE["k"] | {"c": "nan"}}),
        wrapped(KLINE | {"k": KLINE["k"] | {"h": "0"}}),
        wrapped(KLINE | {"k": KLINE["k"] | {"v": "-1"}}),
        wrapped(KLINE | {"E": float("inf")}),
        wrapped(KLINE | {"s": "ETHUSDT"}),
        wrapped(KLINE, "btcusdt@bookTicker"),
        wrapped(MARK | {"p": "nan"}),
        wrapped(MARK | {"p": "-1"}),
        wrapped(MARK | {"E": None}),
        wrapped(BOOK | {"b": "0"}),
        wrapped(BOOK | {"A": "nan"}),
        wrapped(BOOK | {"u": float("-inf")}),
        wrapped(BOOK)[:-20],
    ],
)
def test_what_is_not_understood_is_an_error_in_one_line(text: str | bytes) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        read(text, "1m")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


WORDS = ("nan", "-inf", "1e400", "1e-400", "-0", "0x1", "9" * 400, "\ud800", "BTCUSDT")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.sampled_from([KLINE, MARK, BOOK]), st.data())
def test_a_damaged_message_is_an_event_or_an_error(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    damaged = json.loads(json.dumps(data))
    inside = damaged["k"] if "k" in damaged and draw.draw(st.booleans()) else damaged
    inside[draw.draw(st.sampled_from(sorted(inside)))] = draw.draw(JSON)
    try:
        event = read(wrapped(damaged), "1m")
    except SchemaMismatch:
        return
    assert event is None or isinstance(event.time_us, int)


def test_streams_go_by_their_routes() -> None:
    assert [route_of(c) for c in ("bookTicker", "markPrice", "kline")] == ["public", "market", "market"]  # fmt: skip
    assert stream_name("BTCUSDT", "bookTicker", "1m") == "btcusdt@bookTicker"


def test_recorded_klines_of_the_exchange_are_read(shared: Path) -> None:
    path = shared / "data/binance_api/ws_recorded/futures_combined_stream_2021-07-22.jsonl"
    found = 0
    for line in path.read_text().splitlines():
        message = json.loads(line)["message"]
        if "@kline_1m" not in message["stream"]:
            continue
        event = read(json.dumps(message), "1m")
        assert isinstance(event, KlineEvent)
        assert event.symbol.lower() == event.stream.partition("@")[0]
        found += 1
    assert found == 54


def test_quotes_keep_the_newest_of_each_kind() -> None:
    quotes = Quotes(["BNBUSDT", "BTCUSDT"])
    for data in (KLINE, MARK, BOOK, BOOK | {"s": "FOREIGN"}):
        event = read(
            wrapped(
                data, str(data["s"]).lower() + "@bookTicker" if data["e"] == "bookTicker" else ""
            ),
            "1m",
        )
        assert event is not None
        quotes.take(event)
    older = [
        KLINE | {"E": KLINE["E"] - 1, "k": KLINE["k"] | {"c": "0.001"}},
        MARK | {"E": 1562305379999, "p": "1"},
        BOOK | {"u": 400900216, "b": "1"},
        BOOK | {"E": 1568014460892, "u": 400900218, "b": "1"},
    ]
    for data in older:
        event = read(wrapped(data), "1m")
        assert event is not None
        quotes.take(event)
    assert (quotes["BTCUSDT"].last, quotes["BTCUSDT"].mark) == (0.002, 11794.15)
    assert (quotes["BNBUSDT"].bid, quotes["BNBUSDT"].ask_qty) == (25.3519, 40.66)
    assert (quotes["BNBUSDT"].book_us, quotes["BTCUSDT"].last_us) == (1568014460893000, 1638747660000000)  # fmt: skip
    assert list(quotes) == ["BNBUSDT", "BTCUSDT"]
    newer = read(wrapped(BOOK | {"E": 1568014460894, "u": 5, "b": "26"}), "1m")
    assert newer is not None
    quotes.take(newer)  # an exchange that counts anew is believed by its clock
    assert quotes["BNBUSDT"].bid == 26.0
