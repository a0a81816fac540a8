from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quantcore.data.assemble import assemble_bars, disassemble_bars, without_ended
from quantcore.data.folder import Folder
from quantcore.data.schema import EVENT, column, long_table, times
from quantcore.data.tables import MarketTables, first_universe, read_tables
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, interval_us, to_us
from quantcore.types import FloatArray

FIRST_MS = 1_672_531_200_000
FIRST_US = FIRST_MS * 1000
HOUR_MS = 3_600_000

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def load(root: Path, interval: str = "1h", **options: Any) -> Bars:
    options = {"symbols": None, "end_us": None, **options}
    tables, _ = read_tables(Folder(str(root / "folder")), interval, **options)
    return assemble_bars(tables, interval)


def test_bars_are_stamped_with_their_close_on_the_union_of_spans(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    early, late = kline_columns(5), kline_columns(5, seed=2)
    write_klines("AUSDT", early)
    write_klines("BUSDT", late, times_ms=FIRST_MS + HOUR_MS * np.arange(3, 8))
    bars = load(tmp_path)
    assert bars.symbols == ("AUSDT", "BUSDT")
    assert bars.ts_us.tolist() == [FIRST_US + k * HOUR_US for k in range(1, 9)]
    np.testing.assert_array_equal(bars.array("close")[:5, 0], early["close"])
    np.testing.assert_array_equal(bars.array("open")[3:, 1], late["open"])
    assert np.isnan(bars.array("close")[5:, 0]).all()
    assert np.isnan(bars.array("volume")[:3, 1]).all()
    assert list(bars.fields) == ["open", "high", "low", "close", "volume"]


def test_a_hole_stays_a_hole(tmp_path: Path, kline_columns: Make, write_klines: Write) -> None:
    write_klines("AUSDT", kline_columns(4), times_ms=FIRST_MS + HOUR_MS * np.array([0, 1, 4, 5]))
    close = load(tmp_path).array("close")[:, 0]
    assert np.isnan(close).tolist() == [False, False, True, True, False, False]


def test_flows_are_held_where_one_symbol_knows_them(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    rich = kline_columns(3) | {"quote_volume": [1.0, 2.0, 3.0], "trades": [4, 5, 6]}
    write_klines("AUSDT", rich)
    write_klines("BUSDT", kline_columns(3))
    bars = load(tmp_path)
    assert bars.array("trades")[:, 0].tolist() == [4.0, 5.0, 6.0]
    assert np.isnan(bars.array("quote_volume")[:, 1]).all()
    assert not bars.has("taker_buy_volume")


def test_settlements_are_floored_to_the_second_and_lie_in_the_bar_that_opens_then(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(12))
    at = FIRST_MS + np.array([-HOUR_MS, 17, 8 * HOUR_MS + 29, 12 * HOUR_MS])
    write_series("funding/AUSDT", "funding_time", at, funding_rate=[9.0, 1e-4, -2e-4, 9.0])
    bars = load(tmp_path)
    assert bars.settlements.time_us.tolist() == [FIRST_US, FIRST_US + 8 * HOUR_US]
    assert bars.settlements.rate.tolist() == [1e-4, -2e-4]
    rows = bars.array("funding_rate")[:, 0]
    assert rows[[0, 8]].tolist() == [1e-4, -2e-4]
    assert np.isnan(np.delete(rows, [0, 8])).all()
    assert np.isnan(bars.settlements.mark_price).all()
    assert not bars.has("mark_price")


def flat(value: float, n: int) -> dict[str, list[float]]:
    return {name: [value + k for k in range(n)] for name in ("open", "high", "low", "close")}


def test_a_settlements_mark_is_the_finest_open_at_that_instant_else_a_close(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(17))
    at = FIRST_MS + HOUR_MS * np.array([0, 8, 16])
    write_series("funding/AUSDT", "funding_time", at, funding_rate=[0.0, 0.0, 0.0])
    # 1 h marks cover only the second settlement; the third is where the 8 h bar closes.
    write_series("mark_1h/AUSDT", "open_time", [FIRST_MS + 8 * HOUR_MS], **flat(500.0, 1))
    write_series("mark_8h/AUSDT", "open_time", at[:2], **flat(100.0, 2))
    bars = load(tmp_path)
    assert bars.settlements.mark_price.tolist() == [100.0, 500.0, 101.0]


def test_a_published_mark_of_a_settlement_goes_before_mark_bars(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(2))
    values = {"funding_rate": [0.0], "mark_price": [77.0]}
    write_series("funding/AUSDT", "funding_time", [FIRST_MS], **values)
    write_series("mark_1h/AUSDT", "open_time", [FIRST_MS], **flat(100.0, 1))
    assert load(tmp_path).settlements.mark_price.tolist() == [77.0]


def test_marks_of_the_own_interval_are_fields_and_coarser_ones_are_not(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(3))
    write_klines("BUSDT", kline_columns(3))
    hours = FIRST_MS + HOUR_MS * np.arange(2)
    write_series("mark_1h/AUSDT", "open_time", hours, **flat(100.0, 2))
    write_series("mark_8h/BUSDT", "open_time", [FIRST_MS], **flat(100.0, 1))
    bars = load(tmp_path)
    np.testing.assert_array_equal(bars.array("mark_price")[:, 0], [100.0, 101.0, np.nan])
    assert np.isnan(bars.array("mark_high")[:, 1]).all()


def test_finer_marks_are_aggregated(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(2))
    quarters = FIRST_MS + HOUR_MS // 4 * np.arange(8)
    marks = {
        "open": [1.0, 2, 3, 4, 5, 6, 7, 8],
        "high": [2.0, 9, 4, 5, 6, 7, 8, 9],
        "low": [0.9, 1, 0.5, 3, 4, 5, 6, 7],
        "close": [2.0, 3, 4, 5, 6, 7, 8, 8.5],
    }
    write_series("mark_15m/AUSDT", "open_time", quarters, **marks)
    bars = load(tmp_path)
    assert bars.array("mark_open")[:, 0].tolist() == [1.0, 5.0]
    assert bars.array("mark_high")[:, 0].tolist() == [9.0, 9.0]
    assert bars.array("mark_low")[:, 0].tolist() == [0.5, 4.0]
    assert bars.array("mark_price")[:, 0].tolist() == [5.0, 8.5]


def test_open_interest_is_carried_for_one_interval_of_its_own_at_most(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(8))
    at = [FIRST_MS + 2 * HOUR_MS]
    write_series("open_interest_4h/AUSDT", "time", at, sum_open_interest=[5.0])
    held = load(tmp_path).array("open_interest")[:, 0]
    np.testing.assert_array_equal(held, [np.nan, 5, 5, 5, 5, np.nan, np.nan, np.nan])


def test_what_a_cut_leaves_does_not_depend_on_what_was_cut(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(24))
    at = FIRST_MS + HOUR_MS * np.array([0, 8, 16])
    write_series("funding/AUSDT", "funding_time", at, funding_rate=[1e-4, 2e-4, 3e-4])
    write_series("mark_8h/AUSDT", "open_time", at, **flat(100.0, 3))
    whole = load(tmp_path)
    cut = load(tmp_path, end_us=FIRST_US + 12 * HOUR_US)
    assert cut.n_bars == 12
    assert cut.fingerprint() == whole.rows(0, 12).fingerprint()


def test_bars_survive_the_way_into_long_tables_and_back(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(24), times_ms=FIRST_MS + HOUR_MS * np.arange(24))
    write_klines("BUSDT", kline_columns(3), times_ms=FIRST_MS + HOUR_MS * np.array([1, 2, 5]))
    at = FIRST_MS + HOUR_MS * np.array([0, 8, 16])
    write_series("funding/AUSDT", "funding_time", at, funding_rate=[1e-4, 2e-4, 3e-4])
    hours = FIRST_MS + HOUR_MS * np.arange(20)
    write_series("mark_1h/AUSDT", "open_time", hours, **flat(100.0, 20))
    write_series("open_interest_4h/AUSDT", "time", at, sum_open_interest=[5.0, 6.0, 7.0])
    bars = load(tmp_path)
    again = assemble_bars(disassemble_bars(bars), "1h")
    assert again.fingerprint() == bars.fingerprint()


def test_bars_and_settlements_after_a_declared_end_are_left_out(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(10))
    write_klines("BUSDT", kline_columns(10))
    at = FIRST_MS + HOUR_MS * np.array([0, 8])
    for symbol in ("AUSDT", "BUSDT"):
        write_series(f"funding/{symbol}", "funding_time", at, funding_rate=[1e-4, 2e-4])
    end_us = FIRST_US + 5 * HOUR_US + HOUR_US // 2
    bars = without_ended(load(tmp_path), {"AUSDT": end_us})
    known = ~np.isnan(bars.array("close"))
    assert known.sum(axis=0).tolist() == [6, 10]
    assert bars.settlements.symbol.tolist() == [0, 1, 1]
    assert np.isnan(bars.array("funding_rate")[8]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": np.inf}, "klines_1h/AUSDT.parquet: close must be finite and > 0, was inf"),
        ({"open": 0.0}, "klines_1h/AUSDT.parquet: open must be finite and > 0, was 0.0"),
        ({"high": 1.0}, "klines_1h/AUSDT.parquet: open must be between low and high"),
        ({"volume": -1.0}, "klines_1h/AUSDT.parquet: volume must be finite and >= 0, was -1.0"),
    ],
)
def test_corrupt_values_stop_the_load_with_file_time_and_value(
    tmp_path: Path, kline_columns: Make, write_klines: Write, change: dict[str, float], message: str
) -> None:
    columns = kline_columns(5)
    for name, value in change.items():
        columns[name] = columns[name].copy()
        columns[name][3] = value
    write_klines("AUSDT", columns)
    with pytest.raises(SchemaMismatch, match=f"{message}.* at 2023-01-01T03:00:00Z$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        ([0, 2, 1], "must be sorted, was 2023-01-01T01:00:00Z after 2023-01-01T02:00:00Z"),
        ([0, 1, 1], "must be unique, was twice 2023-01-01T01:00:00Z"),
    ],
)
def test_times_in_disorder_stop_the_load(
    tmp_path: Path, kline_columns: Make, write_klines: Write, hours: list[int], message: str
) -> None:
    write_klines("AUSDT", kline_columns(3), times_ms=FIRST_MS + HOUR_MS * np.array(hours))
    place = f"^{tmp_path}/folder/klines_1h/AUSDT.parquet"
    with pytest.raises(SchemaMismatch, match=f"{place}: times {message}"):
        load(tmp_path)


def test_an_unknown_symbol_is_answered_with_the_nearest(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    write_klines("BTCUSDT", kline_columns(3))
    with pytest.raises(DataGap, match="BTCUSD is not held, nearest is BTCUSDT; held are BTCUSDT"):
        load(tmp_path, symbols=["BTCUSD"])


def test_an_interval_that_is_not_there_is_answered_with_those_that_are(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    write_klines("AUSDT", kline_columns(3))
    write_klines("AUSDT", kline_columns(3), interval="15m")
    with pytest.raises(DataGap, match="has no klines of 4h; it has klines of 15m, 1h"):
        load(tmp_path, "4h")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.root must be an existing folder, was"):
        Folder(str(tmp_path / "nowhere"))
    with pytest.raises(DataGap, match="has no klines of 1h; it has no klines"):
        read_tables(Folder(str(tmp_path)), "1h", symbols=None, end_us=None)


def test_a_file_that_is_no_parquet_or_lacks_a_column_is_named(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    columns = kline_columns(3)
    path = write_klines("AUSDT", {k: v for k, v in columns.items() if k != "high"})
    with pytest.raises(SchemaMismatch, match=r"klines_1h/AUSDT.parquet must have the column high"):
        load(tmp_path)
    write_klines("AUSDT", columns | {"open": ["a", "b", "c"]})
    with pytest.raises(SchemaMismatch, match=r"AUSDT.parquet: open must be a number, was string"):
        load(tmp_path)
    pq.write_table(pa.table({"open_time": [1, 2]} | columns | {"open_time": [1, 2, 3]}), path)
    with pytest.raises(SchemaMismatch, match="open_time must be a UTC timestamp, was int64"):
        load(tmp_path)
    path.write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(SchemaMismatch, match=f"^{path} must be a readable Parquet"):
        load(tmp_path)


def test_the_first_universe_is_the_largest_turnover_of_the_first_thirty_days() -> None:
    def table(symbol: str, volume: FloatArray) -> pa.Table:
        stamps = FIRST_US + HOUR_US * np.arange(1, len(volume) + 1)
        prices = dict.fromkeys(("open", "high", "low", "close"), np.full(len(volume), 2.0))
        return long_table("klines", symbol, stamps, {**prices, "volume": volume})

    n_bars = 24 * 60
    klines = {f"S{k:02d}": table(f"S{k:02d}", np.full(n_bars, 1.0 + k)) for k in range(26)}
    later = np.full(n_bars, 0.5)
    later[24 * 30 :] = 1e9
    klines["LATE"] = table("LATE", later)
    assert first_universe(klines, "1h") == [f"S{k:02d}" for k in range(1, 26)]


def test_the_real_folder_gives_its_own_numbers(real_data: Path) -> None:
    folder = Folder(str(real_data))
    assert folder.intervals("klines") == ["1m", "5m", "15m", "1h", "4h", "1d"]
    assert folder.intervals("funding") == [EVENT]
    tables, _ = read_tables(folder, "1h", symbols=["BTCUSDT", "SUIUSDT"], end_us=None)
    bars = assemble_bars(tables, "1h")
    raw = pq.read_table(real_data / "klines_1h" / "SUIUSDT.parquet")
    assert bars.n_bars == 17_544
    first = int(np.flatnonzero(~np.isnan(bars.array("close")[:, 1]))[0])
    assert bars.ts_us[first] == to_us("2023-05-03 17:00")
    np.testing.assert_array_equal(bars.array("close")[first:, 1], raw.column("close").to_numpy())
    marks = pq.read_table(real_data / "mark_1h" / "BTCUSDT.parquet")
    np.testing.assert_array_equal(bars.array("mark_low")[:, 0], marks.column("low").to_numpy())
    # Each settlement's mark is the open of the mark bar of its hour.
    own = bars.settlements.where(bars.settlements.symbol == 0)
    rows = (own.time_us - bars.ts_us[0] + interval_us("1h")) // HOUR_US
    np.testing.assert_array_equal(own.mark_price, marks.column("open").to_numpy()[rows])


def test_tables_of_one_market_need_not_have_funding_or_marks() -> None:
    empty = MarketTables(klines={})
    with pytest.raises(DataGap, match="there are no 1h bars"):
        assemble_bars(empty, "1h")


def test_funding_in_the_folder_is_read_as_settlement_times(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    write_klines("AUSDT", kline_columns(2))
    write_series("funding/AUSDT", "funding_time", [FIRST_MS + 30], funding_rate=[1e-4])
    table = Folder(str(tmp_path / "folder")).read("funding", EVENT, "AUSDT")
    assert times(table).tolist() == [FIRST_US]
    assert column(table, "funding_rate").tolist() == [1e-4]
