from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcore.data.coverage import coverage_notes
from quantcore.data.folder import Folder
from quantcore.data.quality import series_of
from quantcore.data.sources import FolderData, MarketData, StoreData
from quantcore.data.store import Store, copy_tables
from quantcore.data.tables import SYMBOLS_MAX
from quantcore.errors import ConfigError, DataGap
from quantcore.timegrid import to_us

FIRST_MS = 1_672_531_200_000
HOUR_MS = 3_600_000

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def folder_data(place: Path, **changed: Any) -> FolderData:
    settings: dict[str, Any] = {
        "root": str(place),
        "interval": "1h",
        "execution_interval": "1h",
        "symbols": None,
        "start": None,
        "end": None,
        "ends": None,
    }
    return FolderData(**(settings | changed))


@pytest.fixture
def folder(tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write) -> Path:
    """Two symbols over 48 hours, one listed late and with a hole, one with funding and a mark series."""
    write_klines("AUSDT", kline_columns(48))
    hours = np.concatenate([np.arange(10, 20), np.arange(23, 48)])
    write_klines("BUSDT", kline_columns(35), times_ms=FIRST_MS + HOUR_MS * hours)
    at = FIRST_MS + 8 * HOUR_MS * np.arange(6)
    write_series("funding/AUSDT", "funding_time", at, funding_rate=np.full(6, 1e-4))
    prices = dict.fromkeys(("open", "high", "low", "close"), np.full(24, 100.0))
    write_series("mark_1h/AUSDT", "open_time", FIRST_MS + HOUR_MS * np.arange(24), **prices)
    return tmp_path / "folder"


def test_notes_say_what_is_missing_and_for_which_share(folder: Path) -> None:
    notes = folder_data(folder).load().notes
    assert notes == (
        "First bar after the start of the span: BUSDT 2023-01-01.",
        "Missing 1h bars between first and last: BUSDT 3.",
        "Funding history: none for BUSDT.",
        "Mark price series: none for BUSDT; missing for a share of the span: AUSDT 50.0%.",
    )


def test_symbols_and_marks_that_are_held_in_other_intervals_only_are_noted(
    tmp_path: Path, kline_columns: Make, write_klines: Write, write_series: Write
) -> None:
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        write_klines(symbol, kline_columns(24))
    write_klines("BUSDT", kline_columns(96), interval="15m")
    prices = dict.fromkeys(("open", "high", "low", "close"), np.full(24, 100.0))
    write_series("mark_1h/BUSDT", "open_time", FIRST_MS + HOUR_MS * np.arange(24), **prices)
    fine = folder_data(tmp_path / "folder", execution_interval="15m")
    assert fine.load().notes == (
        "No klines of 15m: AUSDT, CUSDT; left out.",
        "Funding history: none for all symbols.",
        "Mark prices only as 1h bars for all symbols: used for funding, not inside 15m bars.",
    )
    chosen = folder_data(tmp_path / "folder", execution_interval="15m", symbols=["BUSDT"])
    assert not any("left out" in note for note in chosen.load().notes)
    assert not any("left out" in note for note in folder_data(tmp_path / "folder").load().notes)


@pytest.mark.parametrize(("start", "speaks"), [("2023-01-02 23:00", False), ("2023-01-02", True)])
def test_funding_is_missed_only_where_a_regular_settlement_lies_in_the_span(
    tmp_path: Path, kline_columns: Make, write_klines: Write, start: str, speaks: bool
) -> None:
    write_klines("AUSDT", kline_columns(48))
    notes = folder_data(tmp_path / "folder", start=start).load().notes
    assert any(note.startswith("Funding history") for note in notes) is speaks


def test_notes_count_the_traded_span_only(folder: Path) -> None:
    notes = folder_data(folder, start="2023-01-02").load().notes
    assert notes == (
        "Funding history: none for BUSDT.",
        "Mark price series: none for all symbols.",
    )


def test_rows_before_the_start_are_loaded_and_rows_after_the_end_are_not(folder: Path) -> None:
    market = folder_data(folder, start="2023-01-01 12:00", end="2023-01-02").load()
    assert market.start_us == to_us("2023-01-01 12:00")
    assert market.bars.ts_us[0] == to_us("2023-01-01 01:00")
    assert market.bars.ts_us[-1] == to_us("2023-01-02")


def test_decision_bars_are_made_from_the_execution_bars(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    columns = kline_columns(16)
    write_klines("AUSDT", columns, interval="15m")
    market = folder_data(tmp_path / "folder", execution_interval="15m").load()
    decisions = market.decision_bars()
    assert (market.bars.interval, decisions.interval) == ("15m", "1h")
    assert decisions.array("close")[:, 0].tolist() == columns["close"][3::4].tolist()
    assert decisions.array("high")[0, 0] == columns["high"][:4].max()


def test_a_store_gives_the_same_market_as_the_folder_it_was_copied_from(
    folder: Path, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path / "store"), create=True)
    reader = Folder(str(folder))
    assert dict(copy_tables(reader, store, series_of(reader)))["klines_1h/BUSDT.parquet"] == 35
    settings = folder_data(folder, end="2023-01-02 12:00")
    fields = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    from_store = StoreData(**(fields | {"root": (tmp_path / "store").as_uri()})).load()
    from_folder = settings.load()
    assert from_store.bars.fingerprint() == from_folder.bars.fingerprint()
    assert from_store.notes == from_folder.notes


def test_declared_ends_are_kept_and_cut_the_bars(folder: Path) -> None:
    market = folder_data(folder, ends={"AUSDT": "2023-01-02"}).load()
    assert dict(market.ends_us) == {"AUSDT": to_us("2023-01-02")}
    assert np.isnan(market.bars.array("close")[24:, 0]).all()
    assert not any("Last bar before the end" in note for note in market.notes)
    undeclared = coverage_notes(market.bars, start_us=None, ends_us={})
    assert any(
        note.startswith("Last bar before the end of the span, without a declared end: AUSDT 2023")
        for note in undeclared
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"symbols": []}, "data.symbols must name at least one symbol or be null"),
        ({"symbols": ["A", "A"]}, "data.symbols must be unique, was twice A"),
        ({"symbols": [f"S{k}" for k in range(26)]}, "data.symbols must be at most 25, were 26"),
        ({"start": "2023-02-01", "end": "2023-01-01"}, "data.start must be before data.end"),
        ({"start": "soon"}, "a time must be an ISO date or time, was 'soon'"),
        ({"interval": "15m"}, "decision interval must be a whole multiple of the execution"),
        ({"interval": "1 hour"}, "interval must be a whole number and one of"),
        ({"ends": {"A": "never"}}, "a time must be an ISO date or time, was 'never'"),
        ({"root": ""}, "data.root must name a folder, was empty"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        folder_data(tmp_path, **changed)


def test_spans_without_data_are_refused(folder: Path) -> None:
    with pytest.raises(DataGap, match=r"data.start must lie before the last bar, was 2024-01-01"):
        folder_data(folder, start="2024-01-01").load()
    with pytest.raises(DataGap, match=r"AUSDT.parquet in .* has no bars up to 2022-01-01T00:00"):
        folder_data(folder, end="2022-01-01").load()
    with pytest.raises(DataGap, match=r"BUSDT.parquet in .* has no bars up to 2023-01-01T05"):
        folder_data(folder, end="2023-01-01 05:00", symbols=["AUSDT", "BUSDT"]).load()
    with pytest.raises(ConfigError, match=r"data.ends must name held symbols, CUSDT is not held"):
        folder_data(folder, ends={"CUSDT": "2023-01-02"}).load()


def test_a_symbol_without_bars_in_the_span_is_left_out_and_noted(folder: Path) -> None:
    market = folder_data(folder, end="2023-01-01 05:00").load()
    assert market.bars.symbols == ("AUSDT",)
    assert market.notes[0] == "No bars in the span, left out: BUSDT."


def test_of_more_than_25_symbols_the_largest_are_kept_with_a_note(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    for k in range(27):
        columns = kline_columns(24)
        columns["volume"] = np.full(24, float(100 - k))
        write_klines(f"S{k:02d}", columns)
    market = folder_data(tmp_path / "folder").load()
    assert market.bars.symbols == tuple(f"S{k:02d}" for k in range(25))
    assert market.notes[0].startswith("Of 27 symbols the 25 with the largest quote volume")


def test_a_market_refuses_a_decision_interval_that_does_not_fit(folder: Path) -> None:
    bars = folder_data(folder).load().bars
    with pytest.raises(ConfigError, match="decision interval must be a whole multiple"):
        MarketData(bars=bars, interval="90m", start_us=None, notes=())


def test_the_real_folder_loads_fast_and_says_what_it_lacks(real_data: Path) -> None:
    settings = folder_data(real_data)
    settings.load()
    began = time.process_time()
    market = settings.load()
    assert time.process_time() - began < 1.0
    assert (market.bars.n_bars, market.bars.n_symbols) == (17_544, 20)
    assert not np.isnan(market.bars.settlements.mark_price).any()
    text = "\n".join(market.notes)
    assert "none for BCHUSDT, NEARUSDT, OPUSDT" in text
    assert "ARBUSDT 2024-01-01, SUIUSDT 2023-05-03" in text
    assert market.bars.fingerprint() == settings.load().bars.fingerprint()


def test_a_universe_that_is_reviewed_gets_every_symbol_that_is_held(
    tmp_path: Path, kline_columns: Make, write_klines: Write
) -> None:
    for number in range(SYMBOLS_MAX + 2):
        write_klines(f"S{number:02d}USDT", kline_columns(24))
    settings = folder_data(tmp_path / "folder")
    assert settings.load().bars.n_symbols == SYMBOLS_MAX
    assert settings.load(reviewed=True).bars.n_symbols == SYMBOLS_MAX + 2
