from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.bar_tape import BarTape
from live.simulator.public import PUBLIC, answer
from live.simulator.wire import Refused
from quantcore.frames import MARK_FIELDS, Bars, Settlements
from quantcore.timegrid import DAY_US, HOUR_US, MINUTE_US

FIRST_US = 1_704_067_200_000_000
NOW_US = FIRST_US + 150 * MINUTE_US + 17_345_000
Make = Callable[..., BarTape]
EVERYTHING = {
    "symbol": "BTCUSDT",
    "pair": "BTCUSDT",
    "contractType": "PERPETUAL",
    "interval": "5m",
    "limit": "20",
}


def ask(tape: BarTape, route: str, now_us: int = NOW_US, /, **params: str) -> Any:
    return answer(f"GET /fapi/v1/{route}", tape, now_us, params)


def refusal(tape: BarTape, route: str, **params: str) -> int:
    with pytest.raises(Refused) as caught:
        ask(tape, route, **params)
    return caught.value.code


@given(st.integers(FIRST_US, FIRST_US + 239 * MINUTE_US))
def test_no_answer_knows_what_comes_after_now(tape: BarTape, now_us: int) -> None:
    rng = np.random.default_rng(9)
    row = tape.row(now_us)
    factor = np.ones((tape.bars.n_bars, 2))
    factor[row + 1 :] = rng.uniform(0.5, 2.0, factor[row + 1 :].shape)
    settled = tape.bars.settlements
    rate = np.where(settled.time_us > now_us, 0.5, settled.rate)
    bars = replace(
        tape.bars,
        fields={n: v * factor for n, v in tape.bars.fields.items()},
        settlements=replace(settled, rate=rate),
    )
    other = replace(tape, bars=bars)
    for name in PUBLIC:
        assert answer(name, tape, now_us, EVERYTHING) == answer(name, other, now_us, EVERYTHING)


def test_klines_read_back_are_the_bars_bit_for_bit(tape: BarTape) -> None:
    rows = ask(tape, "klines", symbol="BTCUSDT", interval="1m", limit="1500")
    names = ("open", "high", "low", "close", "volume")
    for k, row in enumerate(rows[:-1]):
        assert [float(x) for x in row[1:6]] == [tape.bars.array(n)[k, 0] for n in names]
        assert (row[0], row[6]) == (
            (FIRST_US + k * MINUTE_US) // 1000,
            (FIRST_US + (k + 1) * MINUTE_US) // 1000 - 1,
        )
    assert len(rows) == 151


def test_prices_off_the_tick_are_written_in_full(bars: Bars, tape_of: Make) -> None:
    fields = {n: v.copy() for n, v in bars.fields.items()}
    fields["close"][4, 0] = np.nextafter(fields["close"][4, 0], 0.0)
    fields["volume"][4, 0] = 1e-05
    tape = tape_of(replace(bars, fields=fields))
    row = ask(tape, "klines", symbol="BTCUSDT", interval="1m", limit="1500")[4]
    assert float(row[4]) == fields["close"][4, 0]
    assert row[5] == "0.00001"


def test_klines_are_chosen_by_start_end_and_limit(tape: BarTape) -> None:
    def opened(**params: str) -> list[int]:
        rows = ask(tape, "klines", symbol="BTCUSDT", interval="1m", **params)
        return [(row[0] * 1000 - FIRST_US) // MINUTE_US for row in rows]

    at = {k: str((FIRST_US + k * MINUTE_US) // 1000) for k in (3, 10, 149, 900)}
    assert opened(limit="3") == [148, 149, 150]
    assert opened(startTime=at[3], limit="3") == [3, 4, 5]
    assert opened(startTime=str(int(at[3]) + 1), limit="2") == [4, 5]
    assert opened(endTime=at[10], limit="2") == [9, 10]
    assert opened(startTime=at[3], endTime=at[10]) == list(range(3, 11))
    assert opened(startTime=at[149], limit="1500") == [149, 150]
    assert opened(startTime=at[900]) == []
    assert len(opened()) == 151
    assert opened(endTime="0") == []


def test_a_page_of_klines_is_full_where_there_are_enough(
    bars_of: Callable[..., Bars], tape_of: Make
) -> None:
    """The second symbol is listed late and has a hole: neither takes places of a page."""
    tape = tape_of(bars_of(n_bars=1200, late=700))
    close = tape.bars.array("close")[:, 1]
    known = np.flatnonzero(~np.isnan(close)).tolist()
    asked = {"symbol": "ETHUSDT", "interval": "1m"}
    for params, rows in (
        ({"startTime": str(FIRST_US // 1000), "limit": "5"}, known[:5]),
        ({"startTime": str(FIRST_US // 1000), "limit": "499"}, known[:499]),
        ({"limit": "499"}, known[-499:]),
        ({"limit": "1000"}, known),
    ):
        found = ask(tape, "klines", tape.end_us - 1, **asked, **params)
        assert [(r[0] * 1000 - FIRST_US) // MINUTE_US for r in found] == rows
        assert [float(r[4]) for r in found] == close[rows].tolist()


def test_there_is_no_mark_kline_where_last_prices_stand_in(bars: Bars, tape_of: Make) -> None:
    fields = {name: values.copy() for name, values in bars.fields.items()}
    for name in MARK_FIELDS:
        fields[name][10:13, 0] = np.nan
    tape = tape_of(replace(bars, fields=fields))
    asked = {"symbol": "BTCUSDT", "limit": "1500"}
    rows = ask(tape, "markPriceKlines", tape.end_us - 1, interval="1m", **asked)
    opens = [(r[0] * 1000 - FIRST_US) // MINUTE_US for r in rows]
    assert opens == [k for k in range(bars.n_bars) if k not in (10, 11, 12)]
    three = ask(tape, "markPriceKlines", tape.end_us - 1, interval="3m", **asked)
    assert len(three) == bars.n_bars // 3


def test_depth_is_the_book(tape: BarTape) -> None:
    book = tape.book(0, NOW_US, 1000)
    for limit in (5, 500, 1000):
        told = ask(tape, "depth", symbol="BTCUSDT", limit=str(limit))
        for side, levels in (("bids", book.bids), ("asks", book.asks)):
            assert told[side] == [
                [f"{ticks / 10:.1f}", f"{lots / 1000:.3f}"] for ticks, lots in levels[:limit]
            ]
    assert len(ask(tape, "depth", symbol="BTCUSDT")["bids"]) == 500
    assert told["E"] == NOW_US // 1000
    assert told["T"] == NOW_US // 100_000 * 100


def test_tickers_agree_with_each_other(tape: BarTape) -> None:
    price = ask(tape, "ticker/price", symbol="BTCUSDT")
    touch = ask(tape, "ticker/bookTicker", symbol="BTCUSDT")
    day = ask(tape, "ticker/24hr", symbol="BTCUSDT")
    book = ask(tape, "depth", symbol="BTCUSDT", limit="5")
    assert float(touch["bidPrice"]) < float(price["price"]) < float(touch["askPrice"])
    assert [touch["bidPrice"], touch["bidQty"]] == book["bids"][0]
    assert [touch["askPrice"], touch["askQty"]] == book["asks"][0]
    assert day["lastPrice"] == price["price"]
    assert float(day["lowPrice"]) <= float(price["price"]) <= float(day["highPrice"])
    assert float(day["priceChange"]) == pytest.approx(
        float(day["lastPrice"]) - float(day["openPrice"])
    )
    assert day["count"] == day["lastId"] - day["firstId"] + 1
    assert day["closeTime"] - day["openTime"] == DAY_US // 1000
    last = ask(tape, "trades", symbol="BTCUSDT", limit="1")[0]
    assert day["lastQty"] == last["qty"]


def test_without_a_symbol_all_that_have_a_price_answer(tape: BarTape) -> None:
    early = FIRST_US + 5 * MINUTE_US
    for route in ("ticker/price", "ticker/bookTicker", "ticker/24hr", "premiumIndex"):
        assert [t["symbol"] for t in ask(tape, route)] == ["BTCUSDT", "ETHUSDT"]
        assert [t["symbol"] for t in ask(tape, route, early)] == ["BTCUSDT"]


def test_trades_are_listed_by_end_id_and_time(tape: BarTape) -> None:
    last = ask(tape, "trades", symbol="BTCUSDT", limit="10")
    assert [t["id"] for t in last] == [t.id for t in tape.trades(0, FIRST_US, NOW_US)][-10:]
    first = str(last[4]["id"])
    assert ask(tape, "historicalTrades", symbol="BTCUSDT", fromId=first, limit="3") == last[4:7]
    found = ask(tape, "aggTrades", symbol="BTCUSDT", fromId=first)
    assert [a["a"] for a in found] == [t["id"] for t in last[4:]]
    start, end = last[2]["time"], last[7]["time"]
    within = ask(tape, "aggTrades", symbol="BTCUSDT", startTime=str(start), endTime=str(end))
    assert [a["T"] for a in within] == [t["time"] for t in last[2:8]]
    two = ask(tape, "aggTrades", symbol="BTCUSDT", startTime=str(start), limit="2")
    assert [a["T"] for a in two] == [t["time"] for t in last[2:4]]
    until = ask(tape, "aggTrades", symbol="BTCUSDT", endTime=str(end), limit="2")
    assert [a["T"] for a in until] == [t["time"] for t in last[6:8]]


def test_funding_that_happened_is_told_with_its_mark(bars: Bars, tape_of: Make) -> None:
    settlements = Settlements(
        time_us=FIRST_US + HOUR_US * np.array([0, 1, 2, 3]),
        symbol=np.array([0, 1, 0, 0]),
        rate=np.array([1e-4, -2.5e-4, 3e-4, 4e-4]),
        mark_price=np.array([42_000.5, np.nan, np.nan, np.nan]),
    )
    tape = tape_of(replace(bars, settlements=settlements))
    found = ask(tape, "fundingRate")
    assert [(f["symbol"], f["fundingRate"]) for f in found] == [
        ("BTCUSDT", "0.00010000"),
        ("ETHUSDT", "-0.00025000"),
        ("BTCUSDT", "0.00030000"),
    ]
    assert found[0]["markPrice"] == "42000.50000000"
    assert float(found[2]["markPrice"]) == tape.bars.array("mark_open")[120, 0]
    start = str((FIRST_US + HOUR_US) // 1000)
    assert len(ask(tape, "fundingRate", startTime=start)) == 2
    assert ask(tape, "fundingRate", symbol="BTCUSDT", limit="1") == found[2:]
    assert ask(tape, "fundingRate", symbol="BTCUSDT", startTime="0", limit="1") == found[:1]
    index = ask(tape, "premiumIndex", symbol="BTCUSDT")
    assert index["lastFundingRate"] == "0.00030000"
    assert index["nextFundingTime"] == (FIRST_US + 3 * HOUR_US) // 1000


def test_open_interest_is_that_of_the_last_closed_bar(bars: Bars, tape_of: Make) -> None:
    held = np.arange(480, dtype=np.float64).reshape(240, 2)
    tape = tape_of(replace(bars, fields={**bars.fields, "open_interest": held}))
    assert ask(tape, "openInterest", symbol="BTCUSDT")["openInterest"] == "298.000"
    assert ask(tape_of(bars), "openInterest", symbol="BTCUSDT")["openInterest"] == "0.000"


def test_premiums_are_of_last_prices_over_marks(tape: BarTape) -> None:
    rows = ask(tape, "premiumIndexKlines", symbol="BTCUSDT", interval="1m", limit="2")
    assert float(rows[0][1]) == pytest.approx(1 / 1.0001 - 1.0, abs=2e-6)
    assert float(rows[0][3]) <= float(rows[0][1]) <= float(rows[0][2])


def test_exchange_info_tells_the_rules_that_hold_now(bars: Bars, tape_of: Make) -> None:
    tape = tape_of(bars)
    entries = {e["symbol"]: e for e in ask(tape, "exchangeInfo", FIRST_US)["symbols"]}
    assert entries["BTCUSDT"]["status"] == "TRADING"
    assert entries["BTCUSDT"]["onboardDate"] == FIRST_US // 1000
    assert entries["ETHUSDT"]["status"] == "PENDING_TRADING"
    filters = {f["filterType"]: f for f in entries["BTCUSDT"]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == tape.instruments[0].tick_size
    assert filters["LOT_SIZE"]["stepSize"] == tape.instruments[0].step_size
    assert filters["MARKET_LOT_SIZE"]["maxQty"] == tape.instruments[0].market_max_qty
    assert float(filters["MIN_NOTIONAL"]["notional"]) == tape.instruments[0].min_notional
    changed = (replace(tape.instruments[0], min_notional=7.5), tape.instruments[1])
    told = answer("GET /fapi/v1/exchangeInfo", tape, FIRST_US, {}, instruments=changed)
    filters = {f["filterType"]: f for f in told["symbols"][0]["filters"]}
    assert filters["MIN_NOTIONAL"]["notional"] == "7.5"


def test_a_delisting_is_told_a_week_before(bars: Bars, tape_of: Make) -> None:
    tape = tape_of(bars)
    ending = replace(tape.instruments[0], ends="2024-01-20T00:00:00+00:00")
    late = replace(tape, instruments=(ending, tape.instruments[1]))

    def state(now_us: int) -> tuple[str, bool]:
        entry = ask(late, "exchangeInfo", now_us)["symbols"][0]
        return entry["status"], entry["deliveryDate"] == 1_705_708_800_000

    assert state(FIRST_US) == ("TRADING", False)
    assert state(FIRST_US + 13 * DAY_US) == ("TRADING", True)
    assert state(FIRST_US + 19 * DAY_US) == ("SETTLING", True)


@pytest.mark.parametrize(
    ("route", "params", "code"),
    [
        ("depth", {}, -1102),
        ("depth", {"symbol": "NONE"}, -1121),
        ("depth", {"symbol": "BTCUSDT", "limit": "7"}, -4021),
        ("depth", {"symbol": "BTCUSDT", "limit": "x"}, -1102),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "2m"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "1501"}, -1130),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        (
            "klines",
            {"symbol": "BTCUSDT", "interval": "1m", "startTime": "2", "endTime": "1"},
            -1023,
        ),
        ("continuousKlines", {"pair": "BTCUSDT", "contractType": "X", "interval": "1m"}, -1130),
        ("continuousKlines", {"pair": "NONE", "contractType": "PERPETUAL"}, -4144),
        ("indexPriceKlines", {"interval": "1m"}, -1102),
        ("trades", {"symbol": "BTCUSDT", "limit": "1001"}, -1130),
        ("historicalTrades", {"symbol": "BTCUSDT", "limit": "501"}, -1130),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "x"}, -1102),
        ("fundingRate", {"limit": "1001"}, -1130),
        ("ticker/price", {"symbol": "btcusdt"}, -1121),
        ("openInterest", {}, -1102),
    ],
)
def test_what_the_exchange_does_not_take_is_refused(
    tape: BarTape, route: str, params: dict[str, str], code: int
) -> None:
    assert refusal(tape, route, **params) == code


WORDS = st.one_of(
    st.sampled_from(["", "0", "-1", "1e30", "nan", "BTCUSDT", "1m", "1M", "PERPETUAL", "9" * 14]),
    st.integers(-(10**14), 10**14).map(str),
    st.text(max_size=5),
)


@given(
    st.sampled_from(sorted(PUBLIC)),
    st.dictionaries(
        st.sampled_from(
            [
                "symbol",
                "pair",
                "contractType",
                "interval",
                "limit",
                "startTime",
                "endTime",
                "fromId",
            ]
        ),
        WORDS,
    ),
    st.integers(-(10**16), 10**16),
)
def test_whatever_is_asked_is_answered_in_full_or_refused_by_a_code(
    tape: BarTape, name: str, params: dict[str, str], shift_us: int
) -> None:
    for now_us in (NOW_US, max(NOW_US + shift_us, 0)):
        told = outcome(name, tape, now_us, EVERYTHING | params)
        if isinstance(told, Refused):
            assert told.status == 400
            assert told.code in (-1023, -1102, -1120, -1121, -1130, -4021, -4144)
            continue
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert all(stamp <= now_us // 1000 for stamp in happened_ms(name, told))


def outcome(name: str, tape: BarTape, now_us: int, params: dict[str, str]) -> Any:
    """Return an answer or a refusal."""
    try:
        return answer(name, tape, now_us, params)
    except Refused as refused:
        return refused


def happened_ms(name: str, told: Any) -> list[int]:
    """Return when what an answer lists happened: candles opened, trades made, funding paid."""
    route = name.rpartition("/")[2].lower()
    key = {
        "trades": "time",
        "historicaltrades": "time",
        "aggtrades": "T",
        "fundingrate": "fundingTime",
    }
    if route.endswith("klines"):
        return [int(row[0]) for row in told]
    return [int(row[key[route]]) for row in told] if route in key else []


def test_a_market_without_volume_has_no_trades_and_says_so_soon(bars: Bars, tape_of: Make) -> None:
    quiet = {n: v for n, v in bars.fields.items() if n != "volume"}
    tape = tape_of(replace(bars, fields=quiet))
    for params in ({}, {"fromId": "1"}, {"startTime": "0"}, {"startTime": str(NOW_US // 500)}):
        sent = {"symbol": "BTCUSDT", "limit": "1", **params}
        assert answer("GET /fapi/v1/aggTrades", tape, NOW_US * 2, sent) == []
    day = ask(tape, "ticker/24hr", symbol="BTCUSDT")
    assert (day["volume"], day["lastQty"]) == ("0.000", "0.000")
    assert day["weightedAvgPrice"] == f"{float(day['lastPrice']):.8f}"
