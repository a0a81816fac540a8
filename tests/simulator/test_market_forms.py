"""What the simulator sends of its market has the keys and types of the stored payloads of the exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from live.simulator.bar_tape import BarTape
from live.simulator.public import answer
from quantcore.timegrid import HOUR_US
from tests.simulator.messages_due import messages

FIRST_US = 1_704_067_200_000_000
NOW_US = FIRST_US + 2 * HOUR_US + 17_312_000
NEWER = {"st", "ps"}
"""Keys of streams that BINANCE.md names and older payloads lack."""

ONE, PAIR = {"symbol": "BTCUSDT"}, {"pair": "BTCUSDT", "contractType": "PERPETUAL"}
CANDLES = {"interval": "1m"}
ANSWERS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("http_futures_market_agg_trades", "GetAggregatedTradeHistory", "aggTrades", ONE),
    ("http_futures_market_book_ticker", "GetBookPrice", "ticker/bookTicker", ONE),
    (
        "http_futures_market_continuous_klines",
        "GetContinuousContractKlines",
        "continuousKlines",
        PAIR | CANDLES,
    ),
    ("http_futures_market_depth", "GetOrderBook", "depth", ONE | {"limit": "20"}),
    ("http_futures_market_funding_rate", "GetFundingRates", "fundingRate", ONE),
    ("http_futures_market_historical_trades", "GetTradeHistory", "historicalTrades", ONE),
    (
        "http_futures_market_index_price_klines",
        "GetIndexPriceKlines",
        "indexPriceKlines",
        PAIR | CANDLES,
    ),
    ("http_futures_market_klines", "GetKlines", "klines", ONE | CANDLES),
    (
        "http_futures_market_mark_price_klines",
        "GetMarkPriceKlines",
        "markPriceKlines",
        ONE | CANDLES,
    ),
    ("http_futures_market_open_interest", "GetOpenInterest", "openInterest", ONE),
    ("http_futures_market_premium_index", "GetMarkPrice", "premiumIndex", ONE),
    ("http_futures_market_ticker_24hr", "", "ticker/24hr", ONE),
    ("http_futures_market_ticker_price", "", "ticker/price", ONE),
    ("http_futures_market_trades", "GetRecentTrades", "trades", ONE),
    ("", "GetPremiumIndexKlines", "premiumIndexKlines", ONE | CANDLES),
)
STREAMS = (
    ("py/ws_futures_book_ticker", "BookTicker", "btcusdt@bookTicker"),
    ("crate/book_ticker_stream", "BookTicker", "!bookTicker"),
    ("py/ws_futures_depth_diff_update", "Book", "btcusdt@depth@100ms"),
    ("crate/depth_update_stream", "Book", "btcusdt@depth"),
    ("py/ws_futures_depth_update", "PartialBook", "btcusdt@depth5@100ms"),
    ("py/ws_futures_ticker_24hr", "", "btcusdt@ticker"),
    ("crate/ticker_stream", "", "!ticker@arr"),
    ("crate/agg_trade_stream", "AggTrades", "btcusdt@aggTrade"),
    ("crate/kline_stream_open", "Klines", "btcusdt@kline_1M"),
    ("crate/kline_stream_closed", "Klines", "btcusdt@kline_1m"),
    ("crate/mark_price_stream", "MarkPrice", "btcusdt@markPrice@1s"),
    ("crate/mark_price_stream", "MarkPrice", "!markPrice@arr"),
    ("crate/trade_stream", "", "btcusdt@trade"),
    ("crate/kline_stream_open", "MiniTicker", "btcusdt@miniTicker"),
)


def differences(ours: Any, theirs: Any, *, extra: set[str], at: str = "") -> Iterator[str]:
    """Yield where our payload has other keys or types than the exchange's; of lists the first elements are compared."""
    if type(ours) is not type(theirs):
        yield f"{at}: {ours!r} is no {type(theirs).__name__} like {theirs!r}"
    elif isinstance(theirs, dict):
        for key in sorted(theirs.keys() ^ ours.keys()):
            if key in theirs or key not in extra:
                yield f"{at}.{key} only in {'theirs' if key in theirs else 'ours'}"
        for key in theirs.keys() & ours.keys():
            yield from differences(ours[key], theirs[key], extra=extra, at=f"{at}.{key}")
    elif isinstance(theirs, list):
        yield from row_differences(ours, theirs, extra=extra, at=at)
    elif isinstance(theirs, str) and is_number(theirs) != is_number(ours):
        yield f"{at}: {ours!r} is no number in text like {theirs!r}, or is one"


def row_differences(
    ours: list[Any], theirs: list[Any], *, extra: set[str], at: str
) -> Iterator[str]:
    """Yield the differences of lists: of rows by the first one, of a row by each element."""
    rows = bool(theirs) and isinstance(theirs[0], list | dict)
    if rows and not ours:
        yield f"{at} is empty"
    elif theirs and not rows and len(ours) != len(theirs):
        yield f"{at} has {len(ours)} elements, not {len(theirs)}"
    count = 1 if rows else len(theirs)
    for k, (mine, other) in enumerate(zip(ours[:count], theirs[:count], strict=False)):
        yield from differences(mine, other, extra=extra, at=f"{at}[{k}]")


def is_number(text: str) -> bool:
    try:
        return Decimal(text.strip()).is_finite()
    except InvalidOperation:
        return False


def quoted(path: Path, lines: int) -> Any:
    return json.loads("\n".join(path.read_text(encoding="utf-8").splitlines()[lines:]))


@pytest.mark.parametrize(("file", "quote", "route", "params"), ANSWERS)
def test_answers_have_the_form_of_the_stored_ones(
    tape: BarTape, shared: Path, file: str, quote: str, route: str, params: dict[str, str]
) -> None:
    api = shared / "data" / "binance_api"
    ours = answer(f"GET /fapi/v1/{route}", tape, NOW_US, params)
    newer = {"lastUpdateId"} if route == "ticker/bookTicker" else set()
    newer |= {"markPrice"} if route == "fundingRate" else set()
    if file:
        theirs = json.loads((api / "nautilus" / "py" / f"{file}.json").read_text())
        assert list(differences(ours, theirs, extra=newer)) == []
    if quote:
        theirs = quoted(api / "binance_net" / "endpoints" / f"ExchangeData__{quote}.txt", 3)
        assert list(differences(ours, theirs, extra=set())) == []


@pytest.mark.parametrize(("file", "quote", "stream"), STREAMS)
def test_messages_have_the_form_of_the_stored_ones(
    tape: BarTape, shared: Path, file: str, quote: str, stream: str
) -> None:
    api = shared / "data" / "binance_api"
    sent = messages(tape, stream, NOW_US - 4_000_000, NOW_US + 2_000_000 - 17)
    ours = sent[-1][0] if isinstance(sent[-1], list) else sent[-1]
    assert ours["st"] == 1
    if not stream.endswith("miniTicker"):
        theirs = json.loads((api / "nautilus" / f"{file}.json").read_text())
        extra = NEWER | ({"X"} if stream.endswith("@trade") else set())
        assert list(differences(ours, theirs, extra=extra)) == []
    if quote:
        theirs = quoted(api / "binance_net" / "subscriptions" / f"{quote}.txt", 3)["data"]
        assert list(differences(ours, theirs, extra=NEWER)) == []


def test_messages_have_the_form_of_the_recorded_ones(tape: BarTape, shared: Path) -> None:
    recorded = shared / "data" / "binance_api" / "ws_recorded"
    seen: set[str] = set()
    lines = (recorded / "futures_combined_stream_2021-07-22.jsonl").read_text().split("\n")
    for line in lines:
        message = json.loads(line)["message"] if line.strip() else {}
        channel = message.get("stream", "").partition("@")[2]
        if channel in seen or not channel or channel.startswith("forceOrder"):
            continue
        seen.add(channel)
        ours = messages(tape, f"btcusdt@{channel}", NOW_US - 4_000_000, NOW_US)[-1]
        found = differences(ours, message["data"], extra=NEWER)
        assert [d for d in found if " is no " not in d] == [], channel
    assert len(seen) >= 3


def test_a_recorded_snapshot_has_the_form_of_ours(tape: BarTape, shared: Path) -> None:
    folder = shared / "data" / "binance_api" / "ws_recorded"
    theirs = json.loads((folder / "depth_snapshot_SUSHIUSDT_2021-07-22.json").read_text())
    ours = answer("GET /fapi/v1/depth", tape, NOW_US, {"symbol": "BTCUSDT"})
    assert list(differences(ours, theirs, extra=set())) == []


@pytest.mark.parametrize("stored", ["recorded", "nautilus"])
def test_exchange_info_has_the_form_of_the_stored_ones(
    tape: BarTape, shared: Path, stored: str
) -> None:
    api = shared / "data" / "binance_api"
    path = {
        "recorded": api / "exchangeInfo_2021-09-06.json",
        "nautilus": api / "nautilus" / "py" / "http_futures_market_exchange_info.json",
    }[stored]
    theirs = json.loads(path.read_text())
    ours = answer("GET /fapi/v1/exchangeInfo", tape, NOW_US, {})
    ours["symbols"][0]["timeInForce"].remove("GTD")  # newer than what is stored
    assert list(differences(ours, theirs, extra={"maxMoveOrderLimit"})) == []
    mine, other = (
        {f["filterType"]: f for f in entry["symbols"][0]["filters"]} for entry in (ours, theirs)
    )
    assert list(differences(mine, other, extra=set())) == []
    assert set(other) == set(mine)
    for name in ("orderTypes", "timeInForce"):
        assert ours["symbols"][0][name] == theirs["symbols"][0][name]


def test_a_payload_of_another_form_is_seen() -> None:
    theirs = {"a": "1.0", "b": [["1", "2"]], "c": 1}
    assert list(differences(theirs, theirs, extra=set())) == []
    for ours in (
        {"a": "1.0", "b": [["1", "2"]]},
        {**theirs, "d": 1},
        {**theirs, "a": 1.0},
        {**theirs, "a": "x"},
        {**theirs, "b": [["1"]]},
        {**theirs, "b": []},
        {**theirs, "c": True},
    ):
        assert len(list(differences(ours, theirs, extra=set()))) == 1, ours
