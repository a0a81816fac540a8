"""Instruments: committed facts, exact decimals, the exchange's own JSON, conservative defaults."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.data.instruments import (
    DEFAULT_BRACKETS,
    FACTS,
    Bracket,
    Instrument,
    check_maintenance_amounts,
    decimal_fraction,
    default_instrument,
    instruments_from_exchange,
    load_instruments,
    maintenance_amounts,
    step_values,
    write_instruments,
)
from quantcore.errors import ConfigError

COMMITTED = tuple(sorted(path.stem for path in FACTS.glob("*.json")))
KLINE_SYMBOLS = "ADA APT ARB ATOM AVAX BCH BNB BTC DOGE DOT ETC ETH FIL LINK LTC MATIC NEAR OP SOL SUI TRX XMR XRP"


def _rules(**changes: Any) -> Instrument:
    return replace(default_instrument("TESTUSDT", price=8.7), **changes)


def _row(floor: float, cap: float, rate: float, cum: float, leverage: int) -> Bracket:
    return Bracket(
        floor=floor, cap=cap, maintenance_margin_rate=rate, cum=cum, leverage_max=leverage
    )


def test_committed_facts_cover_the_symbols_of_the_real_data_and_many_more() -> None:
    wanted = {f"{coin}USDT" for coin in KLINE_SYMBOLS.split()}
    assert wanted <= set(COMMITTED)
    assert len(COMMITTED) >= 60


@pytest.mark.parametrize("symbol", COMMITTED)
def test_committed_facts_load_with_origin_and_consistent_brackets(symbol: str) -> None:
    (rules,) = load_instruments([symbol])
    assert rules.symbol == symbol
    assert len(rules.origin) > 20
    assert any(year in rules.origin for year in ("2021", "2025", "2026"))
    check_maintenance_amounts(rules)
    assert rules.maker_fee == 0.0002
    assert rules.taker_fee == 0.0005


def test_bitcoin_has_the_live_facts_of_2026() -> None:
    (rules,) = load_instruments(["BTCUSDT"])
    assert Decimal(rules.tick_size) == Decimal("0.10")
    assert (rules.step_size, rules.min_qty, rules.market_max_qty) == ("0.001", "0.001", "120")
    assert rules.min_notional == 50.0
    assert rules.leverage_max == 125
    assert not rules.defaulted


def test_ethereum_has_a_minimum_notional_of_20() -> None:
    assert load_instruments(["ETHUSDT"])[0].min_notional == 20.0


def test_loading_keeps_the_order_asked_for_and_is_fast() -> None:
    wanted = COMMITTED[:25][::-1]
    load_instruments(wanted)
    started = time.perf_counter()
    loaded = load_instruments(wanted)
    assert time.perf_counter() - started < 0.05
    assert tuple(i.symbol for i in loaded) == wanted


def test_unlisted_symbol_gets_defaults_from_its_price_and_is_refused_without_one() -> None:
    (rules,) = load_instruments(["NEWCOINUSDT"], prices={"NEWCOINUSDT": 0.31})
    assert rules.defaulted
    with pytest.raises(ConfigError, match="prices must hold a price of NEWCOINUSDT"):
        load_instruments(["NEWCOINUSDT"])


def test_written_instruments_read_back_equal(tmp_path: Path) -> None:
    instruments = (*load_instruments(COMMITTED[:5]), _rules(ends="2025-01-01T00:00:00+00:00"))
    paths = write_instruments(instruments, tmp_path)
    assert load_instruments([i.symbol for i in instruments], root=tmp_path) == instruments
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_committed_files_are_as_the_writer_lays_them_out(tmp_path: Path) -> None:
    for path in write_instruments(load_instruments(COMMITTED), tmp_path):
        assert path.read_bytes() == (FACTS / path.name).read_bytes()


@pytest.mark.parametrize(
    "text", ["{", '{"symbol": "XUSDT"}', '{"symbol": "XUSDT", "brackets": [], "origin": []}']
)
def test_malformed_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "XUSDT.json").write_text(text)
    with pytest.raises(ConfigError, match=r"XUSDT\.json"):
        load_instruments(["XUSDT"], root=tmp_path)


def test_file_named_after_another_symbol_is_refused(tmp_path: Path) -> None:
    (path,) = write_instruments([_rules()], tmp_path)
    path.rename(tmp_path / "XUSDT.json")
    with pytest.raises(ConfigError, match="symbol must be XUSDT, was TESTUSDT"):
        load_instruments(["XUSDT"], root=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tick_size": "0"}, "tick_size must be > 0, was 0"),
        ({"tick_size": "NaN"}, "tick_size must be > 0, was NaN"),
        ({"step_size": "one"}, "step_size must be a decimal number, was 'one'"),
        ({"step_size": "0.4", "min_qty": "1"}, "min_qty must be a whole multiple of step_size"),
        ({"market_max_qty": "0.5"}, "market_max_qty must be >= min_qty 1, was 0.5"),
        ({"min_notional": -1.0}, "min_notional must be >= 0, was -1.0"),
        ({"min_notional": float("nan")}, "min_notional must be >= 0, was nan"),
        ({"taker_fee": -0.001}, r"taker_fee must be in \[0, 1\), was -0.001"),
        ({"maker_fee": -0.5}, r"maker_fee must be in \[-0.01, 1\), was -0.5"),
        ({"liquidation_fee": 1.0}, r"liquidation_fee must be in \[0, 1\), was 1.0"),
        ({"funding_interval_hours": 0}, "funding_interval_hours must be >= 1, was 0"),
        ({"brackets": ()}, "brackets must start at notional 0"),
        ({"brackets": (_row(5.0, 9.0, 0.1, 0.0, 5),)}, "brackets must start at notional 0"),
        ({"brackets": (_row(0.0, 0.0, 0.1, 0.0, 5),)}, "cap must be > its floor"),
        ({"brackets": (_row(0.0, 9.0, 1.5, 0.0, 5),)}, r"rate must be in \(0, 1\), was 1.5"),
        ({"brackets": (_row(0.0, 9.0, 0.1, -1.0, 5),)}, "cum must be >= 0, was -1.0"),
        ({"brackets": (_row(0.0, 9.0, 0.1, 0.0, 0),)}, "leverage_max must be >= 1, was 0"),
        (
            {"brackets": (_row(0.0, 9.0, 0.1, 0.0, 5), _row(10.0, 20.0, 0.2, 1.0, 5))},
            "brackets must not have holes, 9.0 is followed by 10.0",
        ),
        (
            {"brackets": (_row(0.0, 9.0, 0.2, 0.0, 5), _row(9.0, 20.0, 0.1, 0.0, 5))},
            "maintenance_margin_rate must not fall",
        ),
        (
            {"brackets": (_row(0.0, 9.0, 0.1, 0.0, 5), _row(9.0, 20.0, 0.2, 0.9, 6))},
            "leverage_max must not rise",
        ),
    ],
)
def test_contradictory_facts_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _rules(**changes)
    assert "\n" not in str(caught.value)


def test_wrong_cum_is_refused_on_loading(tmp_path: Path) -> None:
    good = _rules()
    bad = replace(good, brackets=(*good.brackets[:-1], replace(good.brackets[-1], cum=1.0)))
    write_instruments([bad], tmp_path)
    with pytest.raises(ConfigError, match="cum must be 386450 at 1e"):
        load_instruments(["TESTUSDT"], root=tmp_path)


@pytest.mark.parametrize(
    "name", ["maintenance_amount_chain_eth_2021", "maintenance_margin_continuous_at_tier_edges"]
)
def test_maintenance_amounts_agree_with_the_reference_cases(name: str, shared: Path) -> None:
    cases = json.loads((shared / "reference" / "binance_margin.json").read_text())["cases"]
    case = next(c for c in cases if c["name"] == name)
    floors, rates = case["inputs"]["floors"], case["inputs"]["mmr"]
    amounts = maintenance_amounts(floors, rates)
    for key, expected in case["expected"].items():
        if key == "maint_amount":
            measured = amounts
        elif key == "margin_at_floor_lower_tier":
            measured = [floors[n] * rates[n - 1] - amounts[n - 1] for n in range(1, len(floors))]
        else:
            measured = [floors[n] * rates[n] - amounts[n] for n in range(1, len(floors))]
        np.testing.assert_allclose(measured, expected, rtol=0.0, atol=case["tolerance"]["abs"])


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        ("0.10", (1, 10)),
        ("0.001", (1, 1000)),
        ("1E-7", (1, 10**7)),
        ("0.0000001", (1, 10**7)),
        ("1", (1, 1)),
        ("1.000", (1, 1)),
        ("10", (10, 1)),
        ("0.25", (25, 100)),
    ],
)
def test_decimal_fraction_has_a_power_of_ten_below(text: str, fraction: tuple[int, int]) -> None:
    assert decimal_fraction(text) == fraction


@pytest.mark.parametrize("text", ["0", "-1", "nan", "abc", "1E-23"])
def test_decimal_fraction_refuses_what_is_no_step(text: str) -> None:
    with pytest.raises(ConfigError, match="step: text must be"):
        decimal_fraction(text)


@given(
    lots=st.integers(min_value=0, max_value=2**46),
    digits=st.integers(min_value=1, max_value=99),
    decimals=st.integers(min_value=0, max_value=10),
)
def test_lots_as_a_fraction_are_the_float_of_the_decimal_text(
    lots: int, digits: int, decimals: int
) -> None:
    step = Decimal(digits).scaleb(-decimals)
    numerator, denominator = decimal_fraction(str(step))
    exact = float(str(lots * step))
    assert lots * numerator / denominator == exact
    assert float(lots) * float(numerator) / float(denominator) == exact
    assert step_values(np.array([lots]), (numerator, denominator))[0] == exact


def test_step_values_keep_missing_values_missing() -> None:
    values = step_values(np.array([3.0, np.nan]), decimal_fraction("0.1"))
    assert values[0] == 0.3
    assert np.isnan(values[1])


@given(price=st.floats(min_value=1e-9, max_value=1e7))
def test_default_sizes_suit_the_price(price: float) -> None:
    rules = default_instrument("TESTUSDT", price=price)
    tick, step = float(rules.tick_size), float(rules.step_size)
    assert 1e-5 * (1 - 1e-12) < tick / price <= 1e-4 * (1 + 1e-12)
    if price < 1.0:
        assert rules.step_size == "1"
    else:
        assert 1.0 - 1e-12 <= step * price < 10.0 + 1e-9
    assert float(rules.market_max_qty) * price <= 100_000.0 * (1 + 1e-9) or (
        rules.market_max_qty == rules.step_size
    )
    assert rules.defaulted
    check_maintenance_amounts(rules)


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_default_needs_a_positive_price(price: float) -> None:
    with pytest.raises(ConfigError, match="price must be > 0"):
        default_instrument("TESTUSDT", price=price)


def _exchange_info(**changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "symbol": "AAAUSDT",
        "contractType": "PERPETUAL",
        "quoteAsset": "USDT",
        "status": "TRADING",
        "deliveryDate": 4133404800000,
        "liquidationFee": "0.012500",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.0100"},
            {"filterType": "LOT_SIZE", "stepSize": "0.1", "minQty": "0.1", "maxQty": "10000"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.1", "minQty": "0.1", "maxQty": "500"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
    }
    dated = {**entry, "symbol": "AAAUSDT_260925", "contractType": "CURRENT_QUARTER"}
    return {"symbols": [{**entry, **changes}, dated]}


BRACKETS = [
    {
        "bracket": 1,
        "initialLeverage": 50,
        "notionalCap": 5000,
        "notionalFloor": 0,
        "maintMarginRatio": 0.01,
        "cum": 0.0,
    },
    {
        "bracket": 2,
        "initialLeverage": 20,
        "notionalCap": 50000,
        "notionalFloor": 5000,
        "maintMarginRatio": 0.02,
        "cum": 50.0,
    },
]


def test_exchange_json_becomes_instruments() -> None:
    (rules,) = instruments_from_exchange(
        _exchange_info(),
        [{"symbol": "AAAUSDT", "brackets": BRACKETS}],
        funding_hours={"AAAUSDT": 4},
        origin="demo, 2026-11-22",
    )
    assert (rules.tick_size, rules.step_size, rules.min_qty) == ("0.0100", "0.1", "0.1")
    assert (rules.market_max_qty, rules.limit_max_qty, rules.min_notional) == ("500", "10000", 5.0)
    assert (rules.liquidation_fee, rules.funding_interval_hours) == (0.0125, 4)
    assert rules.brackets[1] == _row(5000.0, 50000.0, 0.02, 50.0, 20)
    assert rules.ends is None
    assert rules.origin == "demo, 2026-11-22"


def test_exchange_brackets_may_be_one_object_or_the_published_form() -> None:
    one = instruments_from_exchange(_exchange_info(), {"symbol": "AAAUSDT", "brackets": BRACKETS})
    texts = [{"info": {key: str(value) for key, value in row.items()}} for row in BRACKETS]
    published = instruments_from_exchange(_exchange_info(), {"AAA/USDT:USDT": texts})
    assert one == published


def test_a_delivery_date_ends_a_perpetual() -> None:
    info = _exchange_info(deliveryDate=1725868800000)
    (rules,) = instruments_from_exchange(info, [{"symbol": "AAAUSDT", "brackets": BRACKETS}])
    assert rules.ends == "2024-09-09T08:00:00+00:00"


def test_exchange_json_without_a_wanted_symbol_filter_or_table_is_refused() -> None:
    table = [{"symbol": "AAAUSDT", "brackets": BRACKETS}]
    with pytest.raises(ConfigError, match="BBBUSDT: exchangeInfo must list"):
        instruments_from_exchange(_exchange_info(), table, symbols=["BBBUSDT"])
    with pytest.raises(ConfigError, match="AAAUSDT: leverageBracket must have"):
        instruments_from_exchange(_exchange_info(), [], symbols=["AAAUSDT"])
    with pytest.raises(ConfigError, match="exchangeInfo must have 'PRICE_FILTER'"):
        instruments_from_exchange(_exchange_info(filters=[]), table)


def test_recorded_exchange_answers_load_whole(shared: Path) -> None:
    folder = shared / "data" / "binance_api"
    info = json.loads((folder / "exchangeInfo_2021-09-06.json").read_text())
    tables = json.loads((folder / "leverage_brackets_2024-10_ccxt_form.json").read_text())
    instruments = instruments_from_exchange(info, tables, origin="recorded")
    assert len(instruments) > 80
    by_symbol = {i.symbol: i for i in instruments}
    committed = {i.symbol: i for i in load_instruments(COMMITTED)}
    for symbol in set(by_symbol) & set(committed):
        assert by_symbol[symbol].brackets == committed[symbol].brackets


def test_committed_ticks_and_steps_divide_the_prices_and_volumes_of_2024(shared: Path) -> None:
    table = pytest.importorskip("pyarrow.parquet")
    coarser = []
    for path in sorted((shared / "data" / "klines_1h").glob("*.parquet")):
        (rules,) = load_instruments([path.stem])
        columns = table.read_table(path, columns=["close", "volume"])
        for name, step in (("close", rules.tick_size), ("volume", rules.step_size)):
            numerator, denominator = decimal_fraction(step)
            steps = columns[name].to_numpy()[-3_000:] * denominator / numerator
            if np.abs(steps - np.rint(steps)).max() > 1e-3:
                coarser.append((path.stem, name))
    # SOLUSDT moved from a tick of 0.001 to 0.01 in 2025; its file says so.
    assert coarser == [("SOLUSDT", "close")]


def test_default_brackets_are_the_worst_of_the_small_symbols_of_2024(shared: Path) -> None:
    path = shared / "data" / "binance_api" / "leverage_brackets_2024-10_ccxt_form.json"
    tables = [
        rows
        for name, rows in json.loads(path.read_text()).items()
        if name.endswith("/USDT:USDT") and rows[0]["maxLeverage"] == 20
    ]
    for floor, cap, rate, leverage in DEFAULT_BRACKETS:
        for notional in (floor, 0.5 * (floor + cap)):
            rows = [[r for r in t if r["minNotional"] <= notional][-1] for t in tables]
            assert rate == max(r["maintenanceMarginRate"] for r in rows)
            assert leverage == min(r["maxLeverage"] for r in rows)
