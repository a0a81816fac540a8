from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quantcore.data.checks import check_rows
from quantcore.data.findings import BLOCKING, FINDINGS_SCHEMA, findings_table, summarize
from quantcore.data.folder import Folder
from quantcore.data.quality import QualitySettings, series_of, validate_series, validate_table
from quantcore.data.repair import REPAIRS_SCHEMA, clean_table
from quantcore.data.schema import column, long_table, times
from quantcore.errors import ConfigError
from quantcore.timegrid import HOUR_US

SETTINGS = QualitySettings(
    frozen_bars=3, spike_sigmas=8.0, spike_reversal=0.7, spike_window=51, mark_deviation=0.03
)
N = 200
Values = dict[str, np.ndarray]


@pytest.fixture
def values(kline_columns: Callable[..., dict[str, Any]]) -> Values:
    return {name: np.array(array) for name, array in kline_columns(N).items()}


def klines(values: Values, stamps: np.ndarray | None = None, kind: str = "klines") -> pa.Table:
    ts_us = HOUR_US * np.arange(1, N + 1) if stamps is None else stamps
    if kind == "mark":
        values = {name: array for name, array in values.items() if name != "volume"}
    return long_table(kind, "AUSDT", ts_us, values)


def found(table: pa.Table, kind: str = "klines", **options: Any) -> dict[str, list[Any]]:
    result: dict[str, list[Any]] = {}
    for item in validate_table(table, kind, "1h", SETTINGS, **options):
        result.setdefault(item.check, []).append(item)
    return result


def test_good_bars_have_no_findings_and_are_cleaned_into_themselves(values: Values) -> None:
    table = klines(values)
    assert found(table) == {}
    cleaned, repairs = clean_table(table, "klines", "1h", "AUSDT")
    assert cleaned is table
    assert len(repairs) == 0
    assert repairs.schema == REPAIRS_SCHEMA


def test_each_gap_is_found_with_its_first_missing_bar_and_is_not_filled(values: Values) -> None:
    keep = np.delete(np.arange(N), [10, 11, 12, 50])
    table = klines(values).take(pa.array(keep))
    gaps = found(table)["gap"]
    assert [(g.ts_us // HOUR_US, g.count) for g in gaps] == [(11, 3), (51, 1)]
    cleaned, repairs = clean_table(table, "klines", "1h", "AUSDT")
    assert (len(cleaned), len(repairs)) == (N - 4, 0)


def test_duplicates_are_told_apart_and_the_first_row_stays(values: Values) -> None:
    table = klines(values)
    other = long_table(
        "klines", "AUSDT", times(table)[20:21], {n: a[20:21] * 2 for n, a in values.items()}
    )
    doubled = pa.concat_tables([table.slice(0, 21), other, table.slice(20)])
    checks = found(doubled)
    assert [c.count for c in checks["duplicate"]] == [1]
    assert [c.count for c in checks["conflicting_duplicate"]] == [1]
    cleaned, repairs = clean_table(doubled, "klines", "1h", "AUSDT")
    assert cleaned.equals(table)
    rules = repairs.column("rule").to_pylist()
    assert rules.count("drop_duplicate") == 1
    assert rules.count("keep_first") == 5
    row = repairs.filter(pa.array([f == "close" for f in repairs.column("field").to_pylist()]))
    assert row.column("before").to_pylist() == [2 * values["close"][20]]
    assert row.column("after").to_pylist() == [values["close"][20]]


def test_rows_out_of_order_are_found_and_sorted(values: Values) -> None:
    table = klines(values)
    mixed = table.take(pa.array([1, 0, *range(2, N)]))
    assert found(mixed)["not_sorted"][0].ts_us == HOUR_US
    cleaned, repairs = clean_table(mixed, "klines", "1h", "AUSDT")
    assert cleaned.equals(table)
    assert repairs.column("rule").to_pylist() == ["sort"]


def test_a_range_that_does_not_hold_open_and_close_is_widened(values: Values) -> None:
    values["high"][5] = values["close"][5] * 0.99
    values["low"][6] = max(values["open"][6], values["close"][6]) * 1.0001
    values["high"][6] = values["low"][6]
    table = klines(values)
    assert [(c.ts_us // HOUR_US, c.count) for c in found(table)["ohlc"]] == [(6, 2)]
    cleaned, repairs = clean_table(table, "klines", "1h", "AUSDT")
    check_rows(cleaned, kind="klines", interval="1h", name="cleaned")
    assert column(cleaned, "high")[5] == max(values["open"][5], values["close"][5])
    assert repairs.column("field").to_pylist() == ["high", "low"]
    assert set(repairs.column("rule").to_pylist()) == {"widen_range"}


def test_bars_with_impossible_prices_are_dropped_and_flows_forgotten(values: Values) -> None:
    values["close"][7] = np.inf
    values["open"][8] = -1.0
    values["volume"][9] = -2.0
    table = klines(values)
    checks = found(table)
    assert [c.count for c in checks["bad_price"]] == [2]
    assert [(c.count, c.value) for c in checks["bad_flow"]] == [(1, -2.0)]
    cleaned, repairs = clean_table(table, "klines", "1h", "AUSDT")
    check_rows(cleaned, kind="klines", interval="1h", name="cleaned")
    assert len(cleaned) == N - 2
    assert np.isnan(column(cleaned, "volume")[7])
    assert sorted(repairs.column("rule").to_pylist()) == [
        "drop_bad_price",
        "drop_bad_price",
        "forget_bad_flow",
    ]


@pytest.mark.parametrize("name", ["open", "high", "low", "close"])
def test_a_price_of_zero_is_impossible_and_divides_nothing(values: Values, name: str) -> None:
    values[name][7] = 0.0
    checks = found(klines(values))
    assert [c.count for c in checks["bad_price"]] == [1]
    assert "ohlc" not in checks


def test_bars_off_the_grid_are_found_and_dropped(values: Values) -> None:
    stamps = HOUR_US * np.arange(1, N + 1)
    stamps[30] += 1_000_000
    table = klines(values, stamps)
    assert found(table)["off_grid"][0].ts_us == stamps[30]
    cleaned, _ = clean_table(table, "klines", "1h", "AUSDT")
    assert len(cleaned) == N - 1


def test_zero_volume_and_frozen_stretches_are_found_but_kept(values: Values) -> None:
    values["volume"][40:44] = 0.0
    for name in ("open", "high", "low", "close"):
        values[name][40:44] = values["close"][39]
    table = klines(values)
    checks = found(table)
    assert [(c.ts_us // HOUR_US, c.count) for c in checks["zero_volume"]] == [(41, 4)]
    assert [(c.ts_us // HOUR_US, c.count) for c in checks["frozen"]] == [(41, 4)]
    assert clean_table(table, "klines", "1h", "AUSDT")[0] is table


def test_a_jump_that_the_next_bar_takes_back_is_an_outlier_and_a_lasting_one_is_not(
    values: Values,
) -> None:
    for name in ("open", "high", "low", "close"):
        values[name][60] *= 1.5
        values[name][120:] *= 1.5
    spikes = found(klines(values))["spike"]
    assert [s.ts_us // HOUR_US for s in spikes] == [61]
    assert spikes[0].value == pytest.approx(np.log(1.5), abs=0.05)


def test_closes_far_from_the_mark_are_found(values: Values) -> None:
    mark = klines(values, kind="mark")
    moved = {name: array.copy() for name, array in values.items()}
    for name in ("open", "high", "low", "close"):
        moved[name][80:82] *= 1.05
    far = found(klines(moved), mark=mark)["mark_deviation"]
    assert [(f.ts_us // HOUR_US, f.count) for f in far] == [(81, 2)]
    assert far[0].value == pytest.approx(0.05)


def settlements(hours: list[int]) -> pa.Table:
    rates = {"funding_rate": np.full(len(hours), 1e-4)}
    return long_table("funding", "AUSDT", HOUR_US * np.array(hours), rates)


@pytest.mark.parametrize(
    ("hours", "holes", "changes"),
    [
        ([0, 8, 16, 24], [], []),
        ([0, 8, 24, 32], [(8, 1)], []),
        ([0, 8, 16, 20, 24, 28], [], [(20, 4.0)]),
        ([0, 4, 8, 16, 24, 32], [], [(16, 8.0)]),
        ([0, 4, 8, 16, 20, 24], [(8, 1)], []),
        ([0, 1, 2, 12, 13], [(2, 1)], []),
    ],
)
def test_funding_holes_and_interval_changes_are_told_apart(
    hours: list[int], holes: list[tuple[int, int]], changes: list[tuple[int, float]]
) -> None:
    checks = found(settlements(hours), "funding")
    assert [(h.ts_us // HOUR_US, h.count) for h in checks.get("funding_hole", [])] == holes
    told = [(c.ts_us // HOUR_US, c.value) for c in checks.get("funding_interval", [])]
    assert told == changes


def test_settlements_without_a_rate_are_dropped() -> None:
    table = long_table(
        "funding", "AUSDT", np.array([0, 8]) * HOUR_US, {"funding_rate": np.array([1e-4, np.nan])}
    )
    assert [c.count for c in found(table, "funding")["bad_value"]] == [1]
    cleaned, repairs = clean_table(table, "funding", "event", "AUSDT")
    assert len(cleaned) == 1
    assert repairs.column("kind").to_pylist() == ["funding"]


def test_the_report_counts_findings_and_an_unreadable_file_is_one(
    tmp_path: Path, write_klines: Callable[..., Path], values: Values
) -> None:
    write_klines("AUSDT", values).write_bytes(b"nothing")
    values["volume"][3:5] = 0.0
    write_klines("BUSDT", values)
    folder = Folder(str(tmp_path / "folder"))
    findings = [f for part in series_of(folder) for f in validate_series(folder, part, SETTINGS)]
    table = findings_table(findings)
    assert table.schema == FINDINGS_SCHEMA
    assert table.column("check").to_pylist() == ["unreadable", "zero_volume"]
    summary = summarize(findings)
    assert (summary["findings"], summary["blocking"]) == (2, 1)
    assert summary["by_check"]["zero_volume"] == {"findings": 1, "count": 2}  # type: ignore[index]  # plain values for JSON


def test_a_file_without_rows_is_found(
    tmp_path: Path, write_klines: Callable[..., Path], values: Values
) -> None:
    write_klines("AUSDT", {name: array[:0] for name, array in values.items()})
    folder = Folder(str(tmp_path / "folder"))
    (finding,) = validate_series(folder, ("klines", "1h", "AUSDT"), SETTINGS)
    assert (finding.check, finding.count) == ("empty", 1)
    assert finding.detail == f"{tmp_path}/folder/klines_1h/AUSDT.parquet has no rows"


def test_a_damaged_mark_file_is_no_fault_of_the_klines(
    tmp_path: Path, write_klines: Callable[..., Path], write_series: Any, values: Values
) -> None:
    write_klines("AUSDT", values)
    write_series("mark_1h/AUSDT", "open_time", [0]).write_bytes(b"nothing")
    folder = Folder(str(tmp_path / "folder"))
    assert validate_series(folder, ("klines", "1h", "AUSDT"), SETTINGS) == []
    (finding,) = validate_series(folder, ("mark", "1h", "AUSDT"), SETTINGS)
    assert finding.check == "unreadable"


def test_what_refuses_to_load_is_called_blocking(values: Values) -> None:
    values["close"][7] = np.inf
    assert set(found(klines(values))) - {"gap"} <= set(BLOCKING)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frozen_bars", 1),
        ("spike_sigmas", 0.0),
        ("spike_reversal", 1.5),
        ("spike_window", 2),
        ("mark_deviation", 0.0),
    ],
)
def test_thresholds_out_of_range_are_refused(name: str, value: float) -> None:
    fields = {field: getattr(SETTINGS, field) for field in SETTINGS.__dataclass_fields__}
    with pytest.raises(ConfigError, match=f"{name} must be"):
        QualitySettings(**(fields | {name: value}))
