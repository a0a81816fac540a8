from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from quantcore.data.quality import series_of
from quantcore.data.schema import EVENT, column, long_table, times
from quantcore.data.store import Changes, Store
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.timegrid import DAY_US, HOUR_US, to_us

FIRST = to_us("2023-12-31 20:00")


def bars(first: int, n: int, *, close: float = 11.0, symbol: str = "AUSDT") -> pa.Table:
    prices = {"open": 10.0, "high": 12.0, "low": 9.0, "close": close, "volume": 1.0}
    stamps = FIRST + HOUR_US * np.arange(first, first + n)
    return long_table("klines", symbol, stamps, {k: np.full(n, v) for k, v in prices.items()})


@pytest.fixture(params=["path", "url", "mock", "subtree"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "path":
        return Store.open(str(tmp_path / "store"), create=True)
    if request.param == "url":
        return Store.open((tmp_path / "store").as_uri(), create=True)
    filesystem = pafs._MockFileSystem()
    if request.param == "subtree":
        filesystem.create_dir("bucket")
        filesystem = pafs.SubTreeFileSystem("bucket", filesystem)
    filesystem.create_dir("store")
    return Store(filesystem, "store", "memory")


def test_what_was_written_is_read_back_across_years(store: Store) -> None:
    table = bars(0, 10)
    assert store.write(table, "klines", "1h", "AUSDT") == 10
    assert store.read("klines", "1h", "AUSDT").equals(table)


def test_the_bar_that_closes_at_new_year_lies_in_the_old_year(tmp_path: Path) -> None:
    Store.open(str(tmp_path), create=True).write(bars(0, 10), "klines", "1h", "AUSDT")
    parts = sorted(p.name for p in tmp_path.rglob("*.parquet"))
    assert parts == ["part-2023.parquet", "part-2024.parquet"]
    fs_store = Store.open(str(tmp_path))
    old = fs_store.read("klines", "1h", "AUSDT", last_us=to_us("2024-01-01"))
    assert len(old) == 5


def test_writing_again_adds_only_new_times_and_replaces_equal_ones(store: Store) -> None:
    store.write(bars(0, 6), "klines", "1h", "AUSDT")
    assert store.write(bars(0, 6), "klines", "1h", "AUSDT") == 0
    assert store.write(bars(4, 6, close=10.5), "klines", "1h", "AUSDT") == 4
    held = store.read("klines", "1h", "AUSDT")
    assert times(held).tolist() == (FIRST + HOUR_US * np.arange(10)).tolist()
    assert column(held, "close").tolist() == [11.0] * 4 + [10.5] * 6


def test_rows_may_come_in_any_order_but_not_twice(store: Store) -> None:
    store.write(bars(0, 6).take([3, 1, 2, 0, 5, 4]), "klines", "1h", "AUSDT")
    assert (np.diff(times(store.read("klines", "1h", "AUSDT"))) == HOUR_US).all()
    with pytest.raises(SchemaMismatch, match="times must be unique, was twice 2023-12-31T20:00"):
        store.write(bars(0, 6).take([0, 0]), "klines", "1h", "AUSDT")


def test_rows_of_another_symbol_are_refused(store: Store) -> None:
    with pytest.raises(SchemaMismatch, match="every row must be of BUSDT"):
        store.write(bars(0, 2), "klines", "1h", "BUSDT")


def test_a_span_of_symbols_is_read_as_one_long_table(store: Store) -> None:
    for symbol in ("AUSDT", "BUSDT"):
        store.write(bars(0, 10, symbol=symbol), "klines", "1h", symbol)
    first, last = FIRST + 3 * HOUR_US, FIRST + 6 * HOUR_US
    span = store.read_span("klines", "1h", ["AUSDT", "BUSDT"], first_us=first, last_us=last)
    assert span.column("symbol").to_pylist() == ["AUSDT"] * 4 + ["BUSDT"] * 4
    assert times(span)[:4].tolist() == [first + k * HOUR_US for k in range(4)]
    later = FIRST + 900 * DAY_US
    assert len(store.read("klines", "1h", "AUSDT", first_us=later)) == 0


def test_what_is_held_is_listed(store: Store) -> None:
    store.write(bars(0, 2), "klines", "1h", "AUSDT")
    rates = long_table("funding", "AUSDT", np.array([FIRST]), {"funding_rate": np.array([1e-4])})
    store.write(rates, "funding", EVENT, "AUSDT")
    assert series_of(store) == [("klines", "1h", "AUSDT"), ("funding", EVENT, "AUSDT")]
    assert store.symbols("klines", "4h") == []
    assert len(store.read("klines", "4h", "AUSDT")) == 0


def test_replacing_drops_the_rows_and_years_before(store: Store) -> None:
    store.write(bars(0, 10), "klines", "1h", "AUSDT")
    store.replace(bars(6, 2), "klines", "1h", "AUSDT")
    assert store.read("klines", "1h", "AUSDT").equals(bars(6, 2))


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(tmp_path), create=True)
    store.write(bars(0, 3), "klines", "1h", "AUSDT")

    def break_off(table: pa.Table, sink: pa.NativeFile, **_: object) -> None:
        sink.write(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("quantcore.data.store.pq.write_table", break_off)
    with pytest.raises(KeyboardInterrupt):
        store.write(bars(0, 3, close=10.0), "klines", "1h", "AUSDT")
    assert store.read("klines", "1h", "AUSDT").equals(bars(0, 3))
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["part-2023.parquet"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        store = Store.open(str(tmp_path / name), create=True)
        store.write(bars(0, 3), "klines", "1h", "AUSDT")
    one, two = (next((tmp_path / name).rglob("*.parquet")) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    store.write(bars(0, 3), "klines", "1h", "AUSDT")
    next(tmp_path.rglob("*.parquet")).write_bytes(b"nonsense")
    with pytest.raises(SchemaMismatch, match=r"symbol=AUSDT/part-2023.parquet must be a readable"):
        store.read("klines", "1h", "AUSDT")


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.root must be an existing store, was .*nowhere"):
        Store.open(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"data.root must be a URL that opens, was nosuch://x"):
        Store.open("nosuch://x")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="to must be a folder, was the file"):
        Store.open(str(tmp_path / "file"), create=True, key="to")


def test_nothing_appears_before_a_block_of_changes_has_ended_and_then_all_of_it(
    store: Store,
) -> None:
    store.write(bars(0, 3), "klines", "1h", "AUSDT")
    with store.changes() as changes:
        assert changes.write(bars(0, 10), "klines", "1h", "AUSDT") == 7
        changes.write(bars(0, 10, symbol="BUSDT"), "klines", "1h", "BUSDT")
        changes.write_bytes("note.json", b"{}")
        assert store.symbols("klines", "1h") == ["AUSDT"]
        assert store.read("klines", "1h", "AUSDT").equals(bars(0, 3))
    assert store.read("klines", "1h", "AUSDT").equals(bars(0, 10))
    assert store.read("klines", "1h", "BUSDT").equals(bars(0, 10, symbol="BUSDT"))
    assert store.read_notes("note") == {}


def test_a_block_of_changes_that_breaks_off_leaves_the_store_as_it_was(store: Store) -> None:
    store.write(bars(0, 3), "klines", "1h", "AUSDT")

    def break_off() -> None:
        with store.changes() as changes:
            changes.replace(bars(5, 3), "klines", "1h", "AUSDT")
            changes.write(bars(0, 10, symbol="BUSDT"), "klines", "1h", "BUSDT")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert series_of(store) == [("klines", "1h", "AUSDT")]
    assert store.read("klines", "1h", "AUSDT").equals(bars(0, 3))


def test_a_new_store_is_not_there_until_its_first_block_has_ended(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"), create=True)
    with store.changes() as changes:
        changes.write(bars(0, 10), "klines", "1h", "AUSDT")
        assert not (tmp_path / "store").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    other = Store.open(str(tmp_path / "other"), create=True)

    def break_off() -> None:
        with other.changes() as changes:
            changes.write(bars(0, 10), "klines", "1h", "AUSDT")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_an_interruption_waits_until_all_files_are_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(tmp_path), create=True)
    store.write(bars(0, 10), "klines", "1h", "AUSDT")
    publish = Changes._publish_folder

    def interrupt(self: Changes, folder: str, files: list[str]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        publish(self, folder, files)

    monkeypatch.setattr(Changes, "_publish_folder", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write(bars(0, 10, close=10.5), "klines", "1h", "AUSDT")
    assert set(column(store.read("klines", "1h", "AUSDT"), "close")) == {10.5}


def test_a_series_replaced_by_no_rows_is_no_longer_listed(store: Store) -> None:
    store.write(bars(0, 10), "klines", "1h", "AUSDT")
    store.replace(bars(0, 0), "klines", "1h", "AUSDT")
    assert series_of(store) == []
    assert store.intervals("klines") == []


def test_a_series_is_written_once_in_a_block(store: Store) -> None:
    with store.changes() as changes:
        changes.write(bars(0, 3), "klines", "1h", "AUSDT")
        with pytest.raises(ValueError, match="symbol=AUSDT must be written once in a block"):
            changes.write(bars(3, 3), "klines", "1h", "AUSDT")


def test_the_years_that_can_be_read_are_salvaged(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path), create=True)
    store.write(bars(0, 10), "klines", "1h", "AUSDT")
    next(tmp_path.rglob("part-2024.parquet")).write_bytes(b"PAR1")
    table, damaged = store.salvage("klines", "1h", "AUSDT")
    assert table.equals(bars(0, 5))
    assert list(damaged) == ["kind=klines/interval=1h/symbol=AUSDT/part-2024.parquet"]
    with pytest.raises(SchemaMismatch, match=f"^{tmp_path}/kind=klines/.*part-2024.parquet must"):
        store.read("klines", "1h", "AUSDT")


def test_notes_are_kept_beside_the_tables(store: Store) -> None:
    assert store.read_notes("archive") == {}
    store.write_notes("archive", {"b": "2", "a": "1"})
    assert store.read_notes("archive") == {"a": "1", "b": "2"}
    assert series_of(store) == []
